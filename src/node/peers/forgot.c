#include "node/peers/forgot.h"

#include "node/peers/events.h"
#include "node/peers/peer.h"

static struct mem *mem_of(const struct node *n) { return (struct mem *)&n->rows.mem[ROW_SEALS]; }

void forgot_done(struct node *n) {
  mem_free(mem_of(n), n->peers.seals.forgotten);
  n->peers.seals.forgotten = NULL;
}

size_t forgot_owned(const struct node *n) { return mem_cost(n->peers.seals.forgotten); }

void forgot_keys(struct peer *p, const struct agree *before, const struct agree *after) {
  struct seals *all = &p->node->peers.seals;
  struct agree_past past[AGREE_KEYS];
  size_t n = agree_forgotten(before, after, past);
  if (n && !all->forgotten) all->forgotten = mem_calloc(mem_of(p->node), MAX_FORGOTTEN, sizeof *all->forgotten);
  if (!all->forgotten) return;
  while (n--) /* the newest last */
    all->forgotten[all->forgotten_count++ % MAX_FORGOTTEN] = (struct forgotten){.id = p->id, .past = past[n]};
}

/* The newest of this peer's; bytes. */
static size_t past_of(const struct peer *p, uint8_t ret[AGREE_KEYS * AGREE_PAST_LEN]) {
  const struct seals *all = &p->node->peers.seals;
  size_t n = 0;
  for (uint64_t i = 0; all->forgotten && i < MAX_FORGOTTEN && i < all->forgotten_count && n < AGREE_KEYS; i++) {
    const struct forgotten *f = &all->forgotten[(all->forgotten_count - 1 - i) % MAX_FORGOTTEN];
    if (id_eq(&f->id, &p->id)) agree_past_write(&f->past, ret + n++ * AGREE_PAST_LEN);
  }
  return n * AGREE_PAST_LEN;
}

bool forgot_say(struct peer *p, struct wire_agree *m, struct forgot_buf *ret_buf) {
  struct sealed *s = p->sealed;
  size_t past = past_of(p, ret_buf->past);
  bool doubted = s->doubted;
  *m = (struct wire_agree){.step = AGREE_CONFIRM};
  s->doubted = false;
  if (!past && !doubted) return false;
  m->has = slice_of(ret_buf->has, agree_names(&s->agree, ret_buf->has));
  m->past = slice_of(ret_buf->past, past);
  return true;
}

static void say_lost(struct peer *p, uint64_t count) {
  struct node *n = p->node;
  n->peers.seals.lost += count;
  if (!count || !bucket_take(&n->peers.seals.lines, SEAL_LINES, SEAL_LINES_BURST, n->now)) return;
  struct peer_text t = peer_text(p->name, &p->id, &p->addr);
  log_info(n->log, "envelopes_lost",
           PEER_FIELDS " count=%llu text=\"it had forgotten the key: calls among them are sent again, or have failed\"",
           PEER_VALUES(t), (unsigned long long)count);
}

void forgot_heard(struct peer *p, struct slice seal, struct slice payload) {
  struct wire_agree m;
  uint64_t lost[AGREE_SPACES], all = 0;
  if (!p->sealed || wire_agree_decode(payload, &m) || m.step != AGREE_CONFIRM || !m.has.n) return;
  struct agree_told t = {.under = slice_of(seal.p, AGREE_NAME_LEN), .has = m.has, .past = m.past};
  agree_heard_told(&p->sealed->agree, &t, lost);
  for (size_t i = 0; i < AGREE_SPACES; i++) all += lost[i];
  say_lost(p, all);
  peer_forgot(p, &t, lost[AGREE_PLACE_PUBLISHES] > 0);
}
