/* Dissemination: each member has at most one update, which is added to frames until it was sent lambda log n times; updates
 * that were sent least often go first. And the queue of frames: a frame is encoded only when the owner takes it, so that it
 * carries the newest updates. */
#include <assert.h>

#include "base/err.h"
#include "membership/internal.h"
#include "wire/msg.h"

uint32_t gossip_limit(const struct membership *m) { /* about 3 ln n, rounded up: 2 for each bit of n, and 2 */
  uint32_t n = m->alive + m->suspect + 1;
  return 2 * (32 - (uint32_t)__builtin_clz(n)) + 2;
}

void gossip_remove(struct membership *m, struct entry *e) {
  if (list_empty(&e->gossip)) return;
  assert(m->queued > 0);
  list_remove(&e->gossip);
  m->queued--;
}

void gossip_add(struct membership *m, struct entry *e, bool urgent) {
  gossip_remove(m, e);
  if (!e->record) return; /* nobody could verify it */
  e->sends = urgent ? 0 : (uint8_t)(gossip_limit(m) / 2);
  list_append(&m->queue[e->sends], &e->gossip);
  m->queued++;
}

void update_of(const struct entry *e, bool with_record, struct swim_update *ret_update) {
  const struct member *v = &e->m;
  enum swim_state state = v->state == MEMBER_ALIVE ? SWIM_ALIVE : v->state == MEMBER_SUSPECT ? SWIM_SUSPECT : SWIM_DEAD;
  *ret_update = (struct swim_update){.state = e->left ? SWIM_LEFT : state, .id = v->info.id, .incarnation = v->incarnation};
  if (with_record || v->state == MEMBER_ALIVE || e->left) ret_update->record.bytes = record_of(e);
}

#define MISSES 4 /* after so many updates that did not fit, a frame counts as full */

/* Whether a frame to this peer counts as a sending of its updates. A peer that pings more often than probes do would otherwise
 * use up the sendings meant for others. */
static bool counts(const struct membership *m, struct entry *to) {
  if (!to) return true;
  if (to->fed_in != m->period_count) to->fed = 0;
  to->fed_in = m->period_count;
  return to->fed < FED_MOST && ++to->fed;
}

static void piggyback(struct membership *m, struct swim_encoder *enc, bool counted) {
  uint32_t limit = gossip_limit(m), misses = 0;
  struct list sent; /* updates in this frame; they are put back into the queues only after the loop, behind the others */
  list_init(&sent);
  for (uint32_t k = 0; k < SENDS_MAX && m->queued && misses < MISSES; k++) list_for_safe(l, &m->queue[k]) {
      struct entry *e = ENTRY(l, gossip);
      struct swim_update u;
      if (k >= limit) { /* the limit fell because the mesh became smaller */
        gossip_remove(m, e);
        continue;
      }
      update_of(e, false, &u);
      if (!swim_encode_update(enc, &u)) {
        if (++misses >= MISSES) break;
        continue;
      }
      list_remove(l);
      list_append(&sent, l);
    }
  list_for_safe(l, &sent) {
    struct entry *e = ENTRY(l, gossip);
    list_remove(l);
    e->sends += counted;
    if (e->sends < limit)
      list_append(&m->queue[e->sends], l);
    else
      m->queued--;
  }
}

void out_push(struct membership *m, const struct id *to, uint8_t type, uint64_t seq, const struct id *target, bool nack) {
  if (m->out_count == m->out_cap && m->out_cap < OUT_MAX) {
    uint32_t cap = m->out_cap ? m->out_cap * 2 : 16;
    struct out *out = mem_alloc(m->mem, cap * sizeof *out);
    if (out) {
      for (uint32_t i = 0; i < m->out_count; i++) out[i] = m->out[(m->out_head + i) % m->out_cap];
      mem_free(m->mem, m->out);
      m->out = out;
      m->out_head = 0;
      m->out_cap = cap;
    }
  }
  if (m->out_count == m->out_cap) {
    m->stats.dropped++;
    if (m->out_cap == 0) {
      if (type == MSG_SWIM_SYNC) sync_dropped(m, to);
      return;
    }
    struct out *old = &m->out[m->out_head];
    if (old->type == MSG_SWIM_SYNC) sync_dropped(m, &old->to);
    m->out_head = (m->out_head + 1) % m->out_cap;
    m->out_count--;
  }
  m->out[(m->out_head + m->out_count++) % m->out_cap] =
      (struct out){.to = *to, .target = target ? *target : (struct id){{0}}, .seq = seq, .type = type, .nack = nack};
}

static struct slice write_frame(struct membership *m, const struct out *o) {
  struct swim_msg msg = {.seq = o->seq, .nack = o->nack, .target = o->target};
  struct swim_encoder enc;
  struct swim_update u;
  (void)self_sign(m); /* without memory the old record goes once more */
  msg.me.bytes = record_of(&m->self);
  swim_encode_begin(&enc, m->frame, m->cfg.datagram, o->type, &msg);
  /* Lifeguard's buddy system: a probe tells a suspect first of all that it is suspected */
  struct entry *to = table_find(m, &o->to);
  if (to && to->record && (to->tell || to->m.state != MEMBER_ALIVE)) {
    update_of(to, true, &u);
    (void)swim_encode_update(&enc, &u);
  }
  piggyback(m, &enc, counts(m, to));
  return swim_encode_end(&enc);
}

static void count(struct membership *m, const struct out *o) {
  if (o->type == MSG_SWIM_PING)
    m->stats.pings++;
  else if (o->type == MSG_SWIM_ACK)
    m->stats.acks++;
  else if (o->type == MSG_SWIM_PING_REQ)
    m->stats.ping_reqs++;
  else
    m->stats.syncs++;
}

bool membership_next(struct membership *m, struct membership_out *ret_out) {
  while (m->out_count) {
    struct out o = m->out[m->out_head];
    m->out_head = (m->out_head + 1) % m->out_cap;
    if (--m->out_count == 0 && m->out_cap > 64) { /* give back the memory of a burst */
      mem_free(m->mem, m->out);
      m->out = NULL;
      m->out_cap = m->out_head = 0;
    }
    struct slice payload = o.type == MSG_SWIM_SYNC ? sync_page(m, &o.to) : write_frame(m, &o);
    if (payload.n == 0) continue;
    count(m, &o);
    *ret_out = (struct membership_out){.to = o.to, .type = o.type, .payload = payload};
    return true;
  }
  return false;
}
