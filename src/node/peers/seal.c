/* Keys for envelopes (trust/agree.h), and the exchanges by which they come.
 *
 * What is to be sent to a node waits while an exchange with it is under way, as it waits for a link (peer_want says
 * MACULA_EBUSY). An offer goes by the node's gateway. If that leads nowhere, or the node can be dialled on paper and our dials
 * fail, it goes by one linked node after the other: the one through which the answer comes is the relay from then on. So the
 * search for a relay is the exchange itself, and a node that hands over what is not answered is left after a moment. */
#include "node/peers/seal.h"

#include <assert.h>

#include "base/check.h"
#include "base/err.h"
#include "node/peers/events.h"
#include "node/peers/forgot.h"
#include "node/peers/peer.h"
#include "node/peers/route.h"
#include "node/session/session.h"

#define OFFER_FIRST (500 * NS_MS) /* until an offer is sent again, doubled up to OFFER_LAST; through a relay always this */
#define OFFER_LAST (4 * NS_SEC)
#define OFFER_TRIES 12u
#define OFFER_BY_GATEWAY 3u
#define OFFER_AGAIN (10 * NS_SEC)   /* after an exchange that failed */
#define DOUBT_AGAIN (1 * NS_SEC)    /* between two that seals under unknown keys make begin */
#define STRANGER_KEPT (30 * NS_SEC) /* keys of a node that is no member, since they were last used */
/* signatures that exchanges make this node verify and make: a second of a link, of all links, and at once of either */
#define AGREE_RATE 50.0
#define AGREE_RATE_ALL 400.0
#define AGREE_BURST 8.0
#define BEGUN_A_SWEEP 16u /* exchanges that nothing waits for: two milliseconds */

static struct sealed *sealed_of(struct list *l) { return container_of(l, struct sealed, used); }

static int sign(void *ctx, struct slice data, uint8_t *ret_sig, size_t *ret_len) {
  return quic_identity_sign(ctx, data, ret_sig, ret_len);
}

static struct agree_self self_of(const struct node *n) {
  return (struct agree_self){.id = n->id,
                             .realm = slice_str(n->realm),
                             .instance = slice_of(n->instance, INSTANCE_LEN),
                             .spki = quic_identity_spki(n->identity),
                             .sign = sign,
                             .verify = quic_verify,
                             .ctx = n->identity};
}

/* ---- what is kept ----------------------------------------------------------------------------------------------------------
 */
void seals_init(struct node *n) {
  list_init(&n->peers.seals.used);
  heap_init(&n->peers.seals.offers, &n->rows.mem[ROW_SEALS], MAX_SEALED);
}

void seal_drop(struct peer *p) {
  struct seals *all = &p->node->peers.seals;
  struct sealed *s = p->sealed;
  if (!s) return;
  assert(all->count > 0);
  all->count--;
  heap_remove(&all->offers, &s->due);
  list_remove(&s->used);
  forgot_keys(p, &s->agree, NULL);
  agree_done(&s->agree);
  mem_free(&p->node->rows.mem[ROW_SEALS], s);
  p->sealed = NULL;
}

void seals_done(struct node *n) {
  if (!n->peers.seals.used.next) return;
  while (!list_empty(&n->peers.seals.used)) seal_drop(sealed_of(n->peers.seals.used.next)->peer);
  heap_done(&n->peers.seals.offers);
  forgot_done(n);
}

static void use(struct sealed *s) {
  struct node *n = s->peer->node;
  s->used_at = n->now;
  list_remove(&s->used);
  list_append(&n->peers.seals.used, &s->used);
}

static bool has_calls(const struct peer *p) { return !list_empty(&p->rpc.calls.made) || !list_empty(&p->rpc.calls.taken); }

/* Whose keys make room, the lower the sooner: a stranger's before a member's, one's with which no calls are under way before
 * another's. For a stranger no member's go. */
static unsigned rank_of(const struct peer *p) { return 2u * p->member + has_calls(p); }

/* The least recently used of the lowest rank makes room. */
static bool make_room(struct node *n, const struct peer *p) {
  struct sealed *oldest = NULL;
  unsigned least = p->member ? 4 : 2;
  list_for(it, &n->peers.seals.used) {
    struct sealed *s = sealed_of(it);
    if (s->agree.offering || rank_of(s->peer) >= least) continue;
    least = rank_of(s->peer);
    oldest = s;
    if (!least) break;
  }
  if (!oldest) return false;
  seal_drop(oldest->peer);
  n->peers.seals.evicted++;
  return true;
}

static struct sealed *get(struct peer *p) {
  struct node *n = p->node;
  struct seals *all = &n->peers.seals;
  if (p->sealed) return p->sealed;
  if (all->count >= MAX_SEALED && !make_room(n, p)) {
    all->refused++;
    return NULL;
  }
  struct sealed *s = mem_calloc(&n->rows.mem[ROW_SEALS], 1, sizeof *s);
  if (!s) return NULL;
  s->peer = p;
  s->used_at = n->now;
  list_append(&all->used, &s->used);
  all->count++;
  p->sealed = s;
  return s;
}

/* ---- offers ----------------------------------------------------------------------------------------------------------------
 */
/* The place of its link among those tried; tried_count: none. */
static uint32_t place(const struct sealed *s, const struct peer *hop) {
  uint32_t i = 0;
  while (i < s->tried_count && s->tried[i] != hop->link->serial) i++;
  return i;
}

static bool was_tried(const struct sealed *s, const struct peer *hop) { return place(s, hop) < s->tried_count; }
static bool refused(const struct sealed *s, const struct peer *hop) { return place(s, hop) < s->refused; }

/* A linked node that may reach it: our gateway, else one that can be dialled, else any. */
static struct peer *relay_for(const struct sealed *s) {
  struct node *n = s->peer->node;
  struct peer *best = NULL;
  list_for(it, &n->peers.all) {
    struct peer *q = container_of(it, struct peer, all);
    if (!q->link || q == s->peer || was_tried(s, q)) continue;
    if (q == n->mesh.gateway) return q;
    if (!best || (!addr_is_set(&best->addr) && addr_is_set(&q->addr))) best = q;
  }
  return best;
}

static struct peer *next_hop(struct sealed *s) {
  struct peer *p = s->peer, *via = p->via && p->via->link ? p->via : NULL;
  if (via && refused(s, via)) via = NULL;
  if (via && (s->tries < OFFER_BY_GATEWAY || !p->member)) return via;
  if (!p->member) return NULL;
  struct peer *relay = relay_for(s);
  if (!relay && s->tried_count > s->refused) { /* again all that have said nothing */
    s->tried_count = s->refused;
    relay = relay_for(s);
  }
  return relay;
}

static void give_up(struct sealed *s) {
  struct node *n = s->peer->node;
  agree_give_up(&s->agree);
  heap_remove(&n->peers.seals.offers, &s->due);
  s->again = time_add(n->now, OFFER_AGAIN);
}

static int send_offer(struct sealed *s) {
  struct peer *p = s->peer, *hop = next_hop(s);
  struct node *n = p->node;
  struct agree_self me = self_of(n);
  uint8_t buf[WIRE_AGREE_MAX];
  size_t len;
  if (!hop || s->tries >= OFFER_TRIES) return MACULA_NOT_CONNECTED;
  uint64_t wait = hop == p->via ? OFFER_FIRST << (s->tries < 3 ? s->tries : 3) : OFFER_FIRST;
  s->tries++;
  if (!was_tried(s, hop) && s->tried_count < SEAL_TRIED) s->tried[s->tried_count++] = hop->link->serial;
  int err = agree_offer(&s->agree, &me, &p->id, buf, &len);
  if (!err) (void)route_bare(hop, &p->id, MSG_AGREE, slice_of(buf, len)); /* else it is sent again */
  return err ? err : heap_set(&n->peers.seals.offers, &s->due, time_add(n->now, wait < OFFER_LAST ? wait : OFFER_LAST));
}

static int begin(struct sealed *s) {
  struct node *n = s->peer->node;
  struct agree_self me = self_of(n);
  s->tries = s->tried_count = s->refused = 0;
  agree_begin(&s->agree, &me, &s->peer->id, ++n->peers.seals.offer_number, n->rng);
  int err = send_offer(s);
  if (err) give_up(s);
  return err;
}

int seal_want(struct peer *p) {
  struct node *n = p->node;
  if (n->left) return MACULA_SHUTTING_DOWN;
  if (p->via && p->via->link && seal_ready(p)) return 0;
  struct sealed *s = get(p);
  if (!s) return MACULA_ENOMEM;
  if (s->agree.offering) return MACULA_EBUSY;
  if (n->now < s->again) return MACULA_NOT_CONNECTED;
  int err = begin(s);
  return err ? err : MACULA_EBUSY;
}

bool seal_ready(const struct peer *p) { return p->sealed && agree_can_seal(&p->sealed->agree, p->node->now); }
bool seal_busy(const struct peer *p) { return p->sealed && p->sealed->agree.offering; }

/* ---- answers ---------------------------------------------------------------------------------------------------------------
 */
static void say_refused(struct peer *from, const struct id *source, const char *what) {
  struct node *n = from->node;
  char hex[ID_HEX_LEN + 1];
  if (!bucket_take(&n->peers.seals.lines, SEAL_LINES, SEAL_LINES_BURST, n->now)) return;
  struct peer_text t = peer_text(from->name, &from->id, &from->run_at);
  id_hex(source, hex);
  log_warn(n->log, "envelope_refused", PEER_FIELDS " source=%s reason=%s", PEER_VALUES(t), hex, what);
}

/* Envelopes to p go by `from` from now on, unless they have a way already. */
static void goes_by(struct peer *p, struct peer *from) {
  if (p->link || (p->via && p->via->link)) return;
  if (addr_is_set(&p->addr)) {
    struct peer_text t = peer_text(p->name, &p->id, &p->addr);
    char by[ID_HEX_LEN + 1];
    id_hex(&from->id, by);
    p->node->peers.seals.relays++;
    log_info(p->node->log, "relay", PEER_FIELDS " by=%s", PEER_VALUES(t), by);
  }
  peer_through(p, from);
}

/* An exchange is done on both sides; with a new run what its earlier one was to do has failed. */
static void agreed(struct peer *p, struct peer *from, bool new_run) {
  struct node *n = p->node;
  heap_remove(&n->peers.seals.offers, &p->sealed->due);
  n->peers.seals.agreed++;
  p->sealed->again = 0;
  if (new_run) {
    p->sealed->delays = (struct delays){0};
    peer_ended(p);
  }
  goes_by(p, from);
}

/* A seal under the new key, with what we have forgotten if there is anything; always: also if not. */
static void confirm(struct peer *p, bool always) {
  uint8_t buf[WIRE_AGREE_MAX];
  struct forgot_buf room;
  struct wire_agree m;
  if (!forgot_say(p, &m, &room) && !always) return;
  (void)route_sealed(p, MSG_AGREE, slice_of(buf, wire_agree_encode(&m, buf, sizeof buf)));
}

static void made(struct peer *p, struct peer *from, bool new_run) {
  agreed(p, from, new_run);
  confirm(p, true);
  peer_agreed(p);
}

static void was_confirmed(struct peer *p, struct peer *from, bool new_run) {
  use(p->sealed);
  agreed(p, from, new_run);
  confirm(p, false);
  peer_agreed(p);
}

/* Whether the signatures that this takes are within what the link, and all links, may ask for. */
static bool may_cost(struct peer *from) {
  struct node *n = from->node;
  if (bucket_take(&from->agreements, AGREE_RATE, AGREE_BURST, n->now) &&
      bucket_take(&n->peers.seals.rate, AGREE_RATE_ALL, AGREE_BURST, n->now))
    return true;
  n->peers.seals.limited++;
  return false;
}

static void begin_in_doubt(struct sealed *s, struct peer *from) {
  struct node *n = s->peer->node;
  if (s->agree.offering || n->now < s->doubt_at || !may_cost(from)) return;
  s->doubt_at = time_add(n->now, DOUBT_AGAIN);
  (void)begin(s);
}

/* Asks `source` (p, if it has a record) to begin an exchange: for a node that is no member nothing is kept until it has
 * signed. Where there is a way to it already it goes by that, since anybody may have handed over the seal. */
static void say_lacks(struct peer *p, struct peer *from, const struct id *source, const uint8_t *name) {
  struct peer *hop = p && p->via && p->via->link ? p->via : from;
  uint8_t buf[64];
  struct wire_agree m = {.step = AGREE_LACKS, .lacks = slice_of(name, AGREE_NAME_LEN)};
  if (!id_eq(source, &from->node->id) && may_cost(from))
    (void)route_bare(hop, source, MSG_AGREE, slice_of(buf, wire_agree_encode(&m, buf, sizeof buf)));
}

/* A seal under a key that we do not have: it may be the peer's (NULL: it has no record), and we have forgotten the key. `from`
 * handed it over. */
static void doubt(struct peer *p, struct peer *from, const struct id *source, struct slice seal) {
  struct sealed *s = p && p->member && !p->link ? get(p) : NULL;
  if (s) s->doubted = true;
  if (s)
    begin_in_doubt(s, from);
  else
    say_lacks(p, from, source, seal.p);
}

/* The peer, or a liar, says that the peer lacks a key: an exchange is all that this can lead to. */
static void hear_lacks(struct peer *p, struct peer *from, struct slice name) {
  if (p && p->sealed && !p->link && agree_seals_with(&p->sealed->agree, name)) begin_in_doubt(p->sealed, from);
}

/* Keeps what was agreed with a node that we had no keys of. */
static struct peer *keep(struct node *n, const struct id *id, const struct agree *agree) {
  struct peer *p = peer_told(n, id, false);
  struct sealed *s = p ? get(p) : NULL;
  if (!s) return NULL;
  s->agree = *agree;
  s->doubted = true; /* it may have had keys with us before */
  return p;
}

void seal_heard(struct peer *from, const struct id *source, struct slice payload) {
  struct node *n = from->node;
  struct agree_self me = self_of(n);
  struct peer *p = peer_find(n, source);
  struct agree fresh = {0}, *a = p && p->sealed ? &p->sealed->agree : &fresh;
  struct wire_agree m;
  uint8_t buf[WIRE_AGREE_MAX];
  size_t len;
  bool new_run;
  bool bad = wire_agree_decode(payload, &m) != 0;
  if (!bad && m.step == AGREE_LACKS) {
    hear_lacks(p, from, m.lacks);
    return;
  }
  if (bad || !agree_costs(a, &m)) {
    n->peers.seals.replayed++;
    return;
  }
  if (!may_cost(from)) return;
  struct agree before = *a;
  enum agree_heard heard = agree_receive(a, &me, source, &m, n->rng, n->now, buf, &len, &new_run);
  if (a != &fresh) forgot_keys(p, &before, a);
  agree_done(&before);
  if (heard == AGREE_REPLY && a == &fresh) p = keep(n, source, a);
  if (a == &fresh) agree_done(&fresh);
  switch (heard) {
  case AGREE_NOTHING:
    break;
  case AGREE_FORGED:
    n->peers.seals.forged++;
    say_refused(from, source, "forged_agreement");
    break;
  case AGREE_REPLY:
    if (p) (void)route_bare(from, source, MSG_AGREE, slice_of(buf, len));
    break;
  case AGREE_MADE:
    made(p, from, new_run);
    break;
  }
}

bool seal_not_routed(struct peer *from, struct peer *p) {
  struct sealed *s = p->sealed;
  struct node *n = p->node;
  if (p->link || !s) return false;
  uint32_t at = place(s, from);
  if (s->agree.offering && at < s->tried_count) {
    uint64_t serial = s->tried[at];
    if (at < s->refused) return from == p->via;
    s->tried[at] = s->tried[s->refused];
    s->tried[s->refused++] = serial;
    (void)heap_set(&n->peers.seals.offers, &s->due, n->now); /* it is in: moving never fails */
    return from == p->via;
  }
  if (from != p->via) return false;
  if (addr_is_set(&p->addr)) peer_through(p, NULL); /* a relay that reaches it no more */
  return true;
}

/* ---- envelopes -------------------------------------------------------------------------------------------------------------
 */
void seal_make(struct peer *p, enum agree_space space, const struct agree_envelope *e, uint8_t ret_seal[AGREE_SEAL_LEN]) {
  struct sealed *s = p->sealed;
  use(s);
  agree_seal(&s->agree, space, e, ret_seal);
  if (agree_is_due(&s->agree, p->node->now) && p->node->now >= s->again && !p->node->left) (void)begin(s);
}

struct peer *seal_open(struct peer *from, const struct agree_envelope *e, struct slice seal) {
  struct node *n = from->node;
  struct peer *p = peer_find(n, &e->source);
  switch (p && p->sealed ? agree_open(&p->sealed->agree, e, seal, n->now) : AGREE_UNKNOWN) {
  case AGREE_GOOD:
    use(p->sealed);
    goes_by(p, from);
    return p;
  case AGREE_CONFIRMED:
    was_confirmed(p, from, false);
    return p;
  case AGREE_NEW_RUN:
    was_confirmed(p, from, true);
    return p;
  case AGREE_UNKNOWN:
    n->peers.seals.unknown++;
    if (seal.n == AGREE_SEAL_LEN) doubt(p, from, &e->source, seal);
    return NULL;
  case AGREE_ALTERED:
    n->peers.seals.forged++;
    say_refused(from, &e->source, "forged");
    return NULL;
  case AGREE_REPLAYED:
    n->peers.seals.replayed++;
    say_refused(from, &e->source, "replayed");
    return NULL;
  }
  return NULL;
}

/* ---- time ------------------------------------------------------------------------------------------------------------------
 */
static bool is_idle(const struct sealed *s) {
  const struct node *n = s->peer->node;
  if (s->agree.offering) return false;
  uint64_t since = time_since(n->now, s->used_at);
  return since >= AGREE_OVER || (!s->peer->member && since >= STRANGER_KEPT);
}

void seals_sweep(struct node *n) {
  list_for_safe(it, &n->peers.seals.used) {
    struct sealed *s = sealed_of(it);
    if (is_idle(s)) seal_drop(s->peer);
  }
  if (n->draining) return;
  uint32_t left = BEGUN_A_SWEEP;
  list_for(it, &n->spread.peers) { /* those that are told what our clients subscribe to */
    struct peer *p = container_of(it, struct peer, spread.of_node);
    if (p->link || !p->member || p->spread.dead || (!p->via && !p->unreachable) || peer_is_up(p) || seal_busy(p)) continue;
    if (left && peer_want(p, WANT_UPKEEP) == MACULA_EBUSY) left--;
  }
}

void seals_tick(struct node *n) {
  for (struct heap_link *h; (h = heap_pop_due(&n->peers.seals.offers, n->now));) {
    struct sealed *s = container_of(h, struct sealed, due);
    if (!send_offer(s)) continue;
    give_up(s);
    n->peers.seals.failed++;
    if (!peer_is_up(s->peer)) peer_down(s->peer);
  }
}

nanotime seals_deadline(const struct node *n) { return heap_deadline(&n->peers.seals.offers); }

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
const char *seals_check(const struct node *n) {
  const struct seals *all = &n->peers.seals;
  uint32_t offering = 0;
  CHECK(list_has(&all->used, all->count) && all->count <= MAX_SEALED, "seals: they are not as many as counted");
  CHECK_PART(heap_check(&all->offers));
  for (const struct list *it = all->used.next; it != &all->used; it = it->next) {
    const struct sealed *s = container_of(it, const struct sealed, used);
    CHECK(s->peer->sealed == s && s->peer->node == n, "seals: keys are another's");
    CHECK(s->agree.offering == !!heap_has(&all->offers, &s->due),
          "seals: an offer is not sent again, or is without being made");
    CHECK_PART(agree_check(&s->agree));
    offering += s->agree.offering;
  }
  CHECK(offering == all->offers.count, "seals: the offers are not as many as counted");
  return NULL;
}

size_t seals_owned(const struct node *n) {
  size_t sum = heap_owned(&n->peers.seals.offers) + forgot_owned(n);
  list_for(it, &n->peers.seals.used) sum += mem_cost(container_of(it, const struct sealed, used));
  return sum;
}
