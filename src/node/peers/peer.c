/* Other nodes: their records, the pool of connections to them, and what waits for one. */
#include "node/peers/peer.h"

#include <assert.h>
#include <stdio.h>

#include "base/err.h"
#include "node/peers/events.h"
#include "node/peers/join.h"
#include "node/peers/link.h"
#include "node/peers/route.h"
#include "node/peers/seal.h"
#include "node/peers/silent.h"
#include "node/session/lane.h"
#include "node/session/session.h"
#include "wire/frame.h"

#define HELD_A_PEER (256u << 10) /* bytes of frames that wait for its link */
#define FARTHER 2u               /* a path through another node is so many times as long as our part of it, at a guess */
#define LEAVE_TIME (2 * NS_SEC)  /* that a busy peer which is to give up its slot gets to finish */

static bool eq(const struct hlink *h, const void *key, size_t len) {
  (void)len;
  return id_eq(&container_of(h, struct peer, h)->id, key);
}

struct peer_text peer_text(const char *name, const struct id *id, const struct addr *at) {
  struct peer_text t = {.name = name, .address = "none"};
  id_hex(id, t.id);
  if (at && addr_is_set(at)) addr_text(at, t.address);
  return t;
}

void peers_init(struct node *n) {
  struct peers *ps = &n->peers;
  htab_init(&ps->tab, &n->rows.mem[ROW_PEERS], n->rng, limits_peer_records(&n->limits), eq);
  pool_init(&ps->pool, &n->rows.mem[ROW_PEERS], n->rng, n->limits.max_peers);
  list_init(&ps->all);
  list_init(&ps->waiting);
  list_init(&ps->leaving);
  list_init(&ps->dialling);
  seals_init(n);
  silent_init(n);
  ps->next = UINT64_C(1) << 62;
}

/* ---- records ---------------------------------------------------------------------------------------------------------------
 */
static void held_free(struct peer *p, struct held *h) {
  struct node *n = p->node;
  assert(p->held_bytes >= h->frame->len && n->peers.held_bytes >= h->frame->len);
  list_remove(&h->of_peer);
  p->held_bytes -= h->frame->len;
  n->peers.held_bytes -= h->frame->len;
  shbuf_unref(h->frame);
  mem_free(&n->rows.mem[ROW_HELD], h);
}

static void set_via(struct peer *p, struct peer *via) {
  if (p->via == via) return;
  assert(via != p);
  list_remove(&p->of_via);
  p->via = via;
  if (via) list_append(&via->vias, &p->of_via);
}

static void peer_free(struct peer *p) {
  struct node *n = p->node;
  while (!list_empty(&p->held)) held_free(p, container_of(p->held.next, struct held, of_peer));
  set_via(p, NULL);
  seal_drop(p);
  assert(!p->link && !p->dial && list_empty(&p->vias));
  peer_forgotten(p);
  pool_remove(&n->peers.pool, &p->slot);
  list_remove(&p->waits);
  list_remove(&p->leaving);
  list_remove(&p->all);
  htab_remove(&n->peers.tab, &p->h);
  mem_free(&n->rows.mem[ROW_PEERS], p);
}

void peers_done(struct node *n) {
  struct peers *ps = &n->peers;
  if (!ps->all.next) return;
  list_for(it, &ps->all) { /* all records end here: unlink each, so that no other one looks at it while it is freed */
    struct peer *p = container_of(it, struct peer, all);
    list_remove(&p->of_via);
    p->via = NULL;
  }
  list_for_safe(it, &ps->all) peer_free(container_of(it, struct peer, all));
  seals_done(n);
  pool_done(&ps->pool);
  silent_done(n);
  htab_done(&ps->tab);
}

struct peer *peer_find(const struct node *n, const struct id *id) {
  struct hlink *h = htab_find(&n->peers.tab, id, sizeof *id);
  return h ? container_of(h, struct peer, h) : NULL;
}

struct peer *peer_get(struct node *n, const struct id *id) {
  if (n->peers.tab.count < n->peers.tab.max - MAX_SEEDS || join_is_configured(n, id)) return peer_get_configured(n, id);
  struct peer *p = peer_find(n, id);
  if (!p) n->peers.tab.refused++;
  return p;
}

struct peer *peer_get_configured(struct node *n, const struct id *id) {
  struct peer *p = peer_find(n, id);
  if (p || id_eq(id, &n->id)) return p;
  if (!(p = mem_calloc(&n->rows.mem[ROW_PEERS], 1, sizeof *p))) return NULL;
  p->node = n;
  p->id = p->slot.id = *id;
  list_init(&p->vias);
  list_init(&p->of_via);
  list_init(&p->waits);
  list_init(&p->leaving);
  list_init(&p->held);
  peer_made(p);
  if (htab_insert(&n->peers.tab, &p->h, id, sizeof *id)) {
    mem_free(&n->rows.mem[ROW_PEERS], p);
    return NULL;
  }
  list_append(&n->peers.all, &p->all);
  return p;
}

struct peer *peer_told(struct node *n, const struct id *id, bool member) {
  struct peer *p = peer_find(n, id);
  struct membership_stats s;
  uint32_t count = n->peers.tab.count, most = n->peers.tab.max - MAX_SEEDS - PEERS_BESIDES_MEMBERS / 2;
  if (p || id_eq(id, &n->id)) return p;
  if (!member) {
    membership_stats(n->mesh.membership, &s);
    if (n->limits.max_peers + PEERS_BESIDES_MEMBERS / 2 + s.alive + s.suspect + s.dead < most)
      most = n->limits.max_peers + PEERS_BESIDES_MEMBERS / 2 + s.alive + s.suspect + s.dead;
  }
  if (count < most) return peer_get(n, id);
  n->peers.left_out++;
  return NULL;
}

void peer_where(struct peer *p, const struct addr *addr, const struct id *gateway) {
  static const struct addr nowhere;
  if (addr && addr_is_set(addr) && !addr_can_be_node(addr)) addr = &nowhere;
  if (addr && addr_is_set(addr) && !addr_eq(addr, &p->addr)) {
    p->addr = *addr;
    set_via(p, NULL);
    p->dial_at = 0;
    p->failures = p->unreached = 0;
  }
  if (addr && !addr_is_set(addr)) p->addr = *addr;
  if (addr_is_set(&p->addr)) return;
  if (!gateway || id_is_zero(gateway) || id_eq(gateway, &p->id)) return;
  struct peer *via = peer_told(p->node, gateway, false);
  if (via) set_via(p, via);
}

/* Calls `each` for the nodes that are reached through p. Whether p itself has a link or a gateway does not matter, so that a
 * rumour that two nodes are behind each other leads to no endless recursion. `each` may change the gateway of other nodes in
 * the list, so it is rotated instead of walked. */
void peers_behind(struct peer *p, void (*each)(struct peer *q)) {
  size_t n = 0;
  list_for(it, &p->vias) n++;
  while (n-- && !list_empty(&p->vias)) {
    struct peer *q = container_of(p->vias.next, struct peer, of_via);
    list_remove(&q->of_via);
    list_append(&p->vias, &q->of_via);
    if (!q->link) each(q);
  }
}

static bool has_calls(const struct peer *p) { return !list_empty(&p->rpc.calls.made) || !list_empty(&p->rpc.calls.taken); }

bool peer_has_calls(const struct peer *p) {
  if (has_calls(p)) return true;
  list_for(it, &p->vias) if (has_calls(container_of(it, struct peer, of_via))) return true;
  return false;
}

static bool has_unacked(const struct peer *p) {
  if (!p->link) return false;
  uint32_t upkeep = door_written(&p->link->door) == p->upkeep_end ? p->upkeep_len : 0;
  /* what waits in lanes may leave in another order, so upkeep_end tells nothing then */
  return p->link->lanes.bytes || session_queued(p->link) > upkeep;
}

bool peer_is_busy(const struct peer *p) { return peer_has_calls(p) || !list_empty(&p->held) || has_unacked(p); }

static void settle(struct peer *p) {
  if (p->member || p->link || p->dial || p->sealed || !list_empty(&p->waits) || has_calls(p) || !list_empty(&p->held) ||
      p->spread.unacked.count)
    return;
  /* two records that name each other as gateway must not keep each other */
  if (p->via && !list_empty(&p->vias)) set_via(p, NULL);
  if (list_empty(&p->vias)) peer_free(p);
}

/* ---- the pool --------------------------------------------------------------------------------------------------------------
 */
bool peer_pool_full(struct node *n, const struct id *id) {
  const struct pool *pool = &n->peers.pool;
  uint32_t count = pool_count(pool), spared = pool->max / 8, missing;
  if (pool_is_full(pool) || count + spared < pool->max) return pool_is_full(pool);
  if (join_is_configured(n, id)) return false;
  missing = join_missing(n);
  return count + (missing < spared ? missing : spared) >= pool->max;
}

static bool spare_configured(const struct pool_entry *e) {
  const struct peer *p = container_of(e, struct peer, slot);
  return !list_empty(&p->leaving) || join_is_configured(p->node, &p->id);
}
static bool spare_used(const struct pool_entry *e) {
  return peer_is_busy(container_of(e, struct peer, slot)) || spare_configured(e);
}
static bool spare_busy(const struct pool_entry *e) { return container_of(e, struct peer, slot)->dial || spare_used(e); }

void peer_evict(struct peer *p) {
  link_give_up(p, MACULA_EVICTED);
  peer_evicted(p);
  peers_behind(p, peer_evicted);
}

int peer_evict_idle(struct node *n) {
  struct pool_entry *e = pool_victim(&n->peers.pool, spare_busy);
  /* a dial for upkeep: nothing waits for that node, which may not even exist */
  if (!e) e = pool_victim(&n->peers.pool, spare_used);
  if (!e) return MACULA_MAX_PEERS_REACHED;
  peer_evict(container_of(e, struct peer, slot));
  n->peers.pool.evicted++;
  return 0;
}

/* Closes idle links above max_peers, after that was lowered; busy ones stay until they are idle. */
static void shrink(struct node *n) {
  while (pool_count(&n->peers.pool) > n->peers.pool.max && !peer_evict_idle(n)) continue;
}

void peers_set_limits(struct node *n) {
  n->peers.tab.max = limits_peer_records(&n->limits);
  pool_set_max(&n->peers.pool, n->limits.max_peers);
  list_for(it, &n->peers.all) container_of(it, struct peer, all)->rpc.calls.max = n->limits.peer_calls;
  shrink(n);
}

static bool spare_leaving(const struct pool_entry *e) { return !list_empty(&container_of(e, struct peer, slot)->leaving); }

/* Makes room for a link that is needed for a call or message. An idle link is closed at once; when all are busy, the least
 * recently used one is closed as soon as it is idle, or after LEAVE_TIME (MACULA_EBUSY). Links to configured nodes are chosen
 * last. */
static int make_room(struct node *n) {
  struct peers *ps = &n->peers;
  if (!peer_evict_idle(n)) return 0;
  struct pool_entry *e = pool_victim(&ps->pool, spare_configured);
  if (!e) e = pool_victim(&ps->pool, spare_leaving);
  if (!e) return MACULA_MAX_PEERS_REACHED;
  struct peer *p = container_of(e, struct peer, slot);
  p->leave_at = time_add(n->now, LEAVE_TIME);
  list_append(&ps->leaving, &p->leaving);
  ps->pool.evicted++;
  return MACULA_EBUSY;
}

/* Takes a slot and dials. MACULA_EBUSY: the dial is on its way. */
static int dial_now(struct peer *p) {
  struct node *n = p->node;
  assert(!p->link && !p->dial && list_empty(&p->waits));
  int err = pool_add(&n->peers.pool, &p->slot, n->now);
  if (err && err != MACULA_EBUSY) return err;
  err = link_dial(n, &p->addr, &p->id, p, NULL);
  if (err) pool_remove(&n->peers.pool, &p->slot);
  return err ? err : MACULA_EBUSY;
}

static int want_direct(struct peer *p, enum want want) {
  struct node *n = p->node;
  if (want == WANT_USE) pool_use(&n->peers.pool, &p->slot, n->now);
  if (p->link) return 0;
  if (p->dial || !list_empty(&p->waits) || n->now < p->expect) return MACULA_EBUSY;
  if (!addr_is_set(&p->addr) || n->now < p->dial_at) return MACULA_NOT_CONNECTED;
  if (link_may_dial(n, &p->addr, p, NULL)) {
    n->silent.refused++;
    return MACULA_NOT_CONNECTED;
  }
  if (n->left || (n->draining && want == WANT_UPKEEP)) return MACULA_SHUTTING_DOWN;
  if (want == WANT_UPKEEP && n->mesh.no_upkeep) return MACULA_MAX_PEERS_REACHED;
  /* Dials to nodes that we never had a link to leave an eighth of the slots to nodes that dial us. */
  if (want == WANT_UPKEEP && !p->since && pool_count(&n->peers.pool) >= n->peers.pool.max - n->peers.pool.max / 8)
    return MACULA_MAX_PEERS_REACHED;
  if (peer_pool_full(n, &p->id)) {
    int err = want == WANT_USE ? make_room(n) : MACULA_MAX_PEERS_REACHED;
    if (err == MACULA_EBUSY) {
      list_append(&n->peers.waiting, &p->waits);
      return err;
    }
    if (err) return err;
  }
  return dial_now(p);
}

int peer_want(struct peer *p, enum want want) {
  if (p->link || (!p->via && !p->unreachable && addr_is_set(&p->addr))) return want_direct(p, want);
  bool out_of_reach = !p->via || (p->via->unreachable && !p->via->link);
  int err = out_of_reach ? MACULA_NOT_CONNECTED : want_direct(p->via, want);
  if (!err || (err == MACULA_NOT_CONNECTED && p->member)) err = seal_want(p);
  return err;
}

int peer_dial(struct peer *p) { return want_direct(p, WANT_UPKEEP); }

bool peer_is_up(const struct peer *p) { return p->link || (p->via && p->via->link && seal_ready(p)); }

struct session *peer_path(const struct peer *p) {
  return p->link ? p->link : peer_is_up(p) ? p->via->link : NULL;
}

uint64_t peer_path_rtt(const struct peer *p, const struct session *path) {
  return door_rtt(&path->door) * (path->peer == p ? 1 : FARTHER);
}

void peer_through(struct peer *p, struct peer *via) { set_via(p, via); }

/* A link is on its way: ours is dialled or waits for a slot, or the other's dial is expected. */
static bool is_coming(const struct peer *p) { return p->dial || !list_empty(&p->waits) || p->node->now < p->expect; }

/* If the peer's own dial was expected and did not come, what waited for it fails. */
static void give_up(struct peer *p) {
  const struct peer *hop = !p->link && p->via ? p->via : p;
  if (!list_empty(&p->held) && !hop->link && !is_coming(hop) && !seal_busy(p)) peer_down(p);
}

void peers_sweep(struct node *n) {
  shrink(n);
  list_for(it, &n->peers.all) give_up(container_of(it, struct peer, all));
  list_for_safe(it, &n->peers.all) settle(container_of(it, struct peer, all));
}

/* Sees to it that there is a free slot or a leaving link for each peer that waits, also when another peer took the slot that
 * had been freed for it. */
static void make_rooms(struct node *n) {
  struct peers *ps = &n->peers;
  if (list_empty(&ps->waiting)) return;
  uint32_t slots = pool_is_full(&ps->pool) ? 0 : ps->pool.max - pool_count(&ps->pool);
  list_for(it, &ps->leaving) slots++;
  list_for_safe(it, &ps->waiting) {
    struct peer *p = container_of(it, struct peer, waits);
    int err = 0;
    if (p->link || p->dial)
      list_remove(&p->waits);
    else if (slots)
      slots--;
    else
      err = make_room(n);
    if (!err || err == MACULA_EBUSY) continue;
    list_remove(&p->waits);
    peer_down(p);
  }
}

void peers_step(struct node *n) {
  struct peers *ps = &n->peers;
  list_for_safe(it, &ps->leaving) {
    struct peer *p = container_of(it, struct peer, leaving);
    if (peer_is_busy(p) && n->now < p->leave_at) continue;
    list_remove(&p->leaving);
    peer_evict(p);
    peer_down(p);
  }
  make_rooms(n);
  while (!list_empty(&ps->waiting)) {
    struct peer *p = container_of(ps->waiting.next, struct peer, waits);
    /* A slot kept for configured nodes is not taken while a leaving link will free another; with no link leaving, the peer
     * takes any slot that is free. */
    if (pool_is_full(&ps->pool) || (!list_empty(&ps->leaving) && peer_pool_full(n, &p->id))) break;
    list_remove(&p->waits);
    if (dial_now(p) != MACULA_EBUSY) peer_down(p);
  }
}

/* ---- frames ----------------------------------------------------------------------------------------------------------------
 */
int peer_send(struct peer *p, const struct msg *m, enum want want) {
  int err = peer_want(p, want);
  if (err) return err;
  return p->link ? session_send(p->link, m, false) : route_send(p, m);
}

static int hold(struct peer *p, struct parcel *parcel, uint64_t query) {
  struct node *n = p->node;
  if (p->held_bytes + parcel->frame.n > HELD_A_PEER || n->peers.held_bytes + parcel->frame.n > n->limits.held_pool) {
    n->peers.held_dropped++;
    return MACULA_EFULL;
  }
  struct shbuf *b = parcel_share(parcel);
  struct held *h = b ? mem_alloc(&n->rows.mem[ROW_HELD], sizeof *h) : NULL;
  if (!h) return MACULA_ENOMEM;
  *h = (struct held){.frame = shbuf_ref(b), .query = query};
  list_append(&p->held, &h->of_peer);
  p->held_bytes += b->len;
  n->peers.held_bytes += b->len;
  return 0;
}

int peer_post(struct peer *p, const struct msg *m, enum want want, uint64_t query) {
  struct parcel parcel;
  int err = peer_send(p, m, want);
  if (err != MACULA_EBUSY) return err;
  err = parcel_encode(&parcel, &p->node->rows.mem[ROW_HELD], m, SIZE_MAX);
  if (err) return err;
  err = hold(p, &parcel, query);
  parcel_done(&parcel);
  return err;
}

static int write_frame(struct peer *p, struct parcel *parcel) {
  struct msg m = {.type = (enum msg_type)parcel->frame.p[1]};
  if (!p->link) return route_frame(p, parcel);
  if (lane_may_be_large((uint8_t)m.type, parcel->frame.n)) (void)msg_decode((uint8_t)m.type, parcel_payload(parcel), &m);
  return session_write(p->link, lane_for(p->link, &m), parcel);
}

static int post_raw(struct peer *p, uint8_t type, struct slice payload, uint64_t query) {
  struct parcel parcel;
  int wait = peer_want(p, WANT_UPKEEP);
  if (wait && wait != MACULA_EBUSY) return wait;
  int err = parcel_raw(&parcel, &p->node->rows.mem[wait ? ROW_HELD : ROW_SEND], type, payload);
  if (err) return err;
  err = wait ? hold(p, &parcel, query) : write_frame(p, &parcel);
  parcel_done(&parcel);
  return err;
}

static uint32_t written(const struct peer *p) { return p->link ? door_written(&p->link->door) : 0; }

/* Notes that what was written since `before` is upkeep, which does not make the link busy. */
static void was_upkeep(struct peer *p, uint32_t before) {
  if (!p->link) return;
  assert(p->link->peer == p);
  if (before != p->upkeep_end) p->upkeep_len = 0;
  p->upkeep_end = written(p);
  p->upkeep_len += p->upkeep_end - before;
}

int peer_upkeep(struct peer *p, const struct msg *m) {
  uint32_t before = written(p);
  int err = peer_send(p, m, WANT_UPKEEP);
  if (!err) was_upkeep(p, before);
  return err;
}

int peer_upkeep_raw(struct peer *p, uint8_t type, struct slice payload, uint64_t query) {
  uint32_t before = written(p);
  int err = post_raw(p, type, payload, query);
  if (!err) was_upkeep(p, before);
  return err;
}

/* Sends in order what waited for the link; what its queue does not take is lost, as when a link breaks. */
static void flush_held(struct peer *p) {
  while (!list_empty(&p->held)) {
    struct held *h = container_of(p->held.next, struct held, of_peer);
    uint64_t query = h->query;
    uint32_t before = written(p);
    struct parcel parcel;
    parcel_of(&parcel, h->frame);
    int err = write_frame(p, &parcel);
    parcel_done(&parcel);
    held_free(p, h);
    if (!err && query) was_upkeep(p, before); /* frames of the DHT are upkeep */
    if (err) p->node->peers.held_dropped++;
    if (err && query) peer_unsent(p, query);
  }
}

/* Behind a gateway it has come up once there are keys: peer_agreed. They are asked for only if something waits for them, since
 * any number may be behind one gateway. */
static void came_up(struct peer *p) {
  if (!peer_is_up(p) && list_empty(&p->held) && !has_calls(p)) return;
  if (peer_want(p, WANT_UPKEEP)) return;
  flush_held(p);
  peer_ready(p);
}

void peer_agreed(struct peer *p) {
  if (peer_is_up(p)) came_up(p);
}

void peer_up(struct peer *p) {
  if (addr_is_set(&p->addr)) set_via(p, NULL);
  came_up(p);
  peers_behind(p, came_up);
}

static void went_down(struct peer *p) {
  while (!list_empty(&p->held)) {
    struct held *h = container_of(p->held.next, struct held, of_peer);
    uint64_t query = h->query;
    held_free(p, h);
    p->node->peers.held_dropped++;
    if (query) peer_unsent(p, query);
  }
  if (addr_is_set(&p->addr)) set_via(p, NULL); /* a relay's link is gone: another one is looked for */
  peer_ended(p);
}

void peer_down(struct peer *p) {
  went_down(p);
  peers_behind(p, went_down);
}
