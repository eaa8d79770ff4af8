/* What a node does as a member of the mesh: its own address and gateway, who else is there, links to them.
 *
 * Every two members that can reach each other are linked as far as the pool has room, so that a publish or a call need not wait
 * for a link. The node with the smaller id dials at once, the other one only if no link has come of that; a node that nobody
 * can dial always dials. */
#include "node/mesh/member.h"

#include <assert.h>
#include <stdio.h>

#include "base/check.h"
#include "base/err.h"
#include "base/sha256.h"
#include "node/calls/providers.h"
#include "node/mesh/records.h"
#include "node/messages/spread.h"
#include "node/peers/join.h"
#include "node/peers/link.h"
#include "node/peers/peer.h"
#include "node/session/session.h"
#include "trust/crypto.h"

#define DIAL_LATE (3 * NS_SEC) /* the larger id waits this long for the other's dial */
#define LINKED_MEMBERS 256u    /* the most links kept up without a call or message that needs them */
#define STRANDED (5 * NS_SEC)  /* how long a member that cannot be dialled may be without a live gateway */
#define STRANDED_AT_ONCE 64u
#define UNREACHED_SAID (60 * NS_SEC) /* between two log lines about one node */

static const struct id no_id;

/* ---- ourselves -------------------------------------------------------------------------------------------------------------
 */
static struct member_info self_info(const struct node *n) {
  struct member_info i = {.id = n->id, .addr = n->mesh.self};
  if (n->mesh.gateway) i.gateway = n->mesh.gateway->id;
  snprintf(i.name, sizeof i.name, "%.*s", MEMBER_NAME_LEN, n->name);
  return i;
}

static void tell_self(struct node *n) {
  struct member_info i = self_info(n);
  if (n->mesh.membership) membership_set_self(n->mesh.membership, &i);
  records_self_changed(n);
}

#define VOICES 32 /* the most machines whose word is weighed */

/* Where more than half of the machines see us that we have dialled and are linked to, those of the oldest records; nowhere when
 * they do not agree. A machine has one voice, however many nodes are on it. */
static struct addr seen_by_most(const struct node *n) {
  const struct peer *voice[VOICES];
  size_t count = 0, most = 0;
  struct addr best = {0};
  list_for(it, &n->peers.all) {
    const struct peer *p = container_of(it, struct peer, all);
    bool counts = p->link && p->link->dialled && addr_is_set(&p->seen);
    for (size_t i = 0; counts && i < count; i++) counts = !addr_same_host(&voice[i]->run_at, &p->run_at);
    if (counts) voice[count++] = p;
    if (count == VOICES) break;
  }
  for (size_t i = 0; i < count; i++) {
    size_t agree = 0;
    for (size_t k = 0; k < count; k++) agree += addr_eq(&voice[k]->seen, &voice[i]->seen);
    if (agree > most) most = agree, best = voice[i]->seen;
  }
  return 2 * most > count ? best : (struct addr){0};
}

/* The configured address, else the one that we listen on, else the one that peers see, with our port. A link-local address is
 * never told to others. */
void mesh_find_self(struct node *n) {
  struct addr self = {0};
  if (n->mesh.hidden) return;
  if (addr_is_set(&n->mesh.advertise))
    self = n->mesh.advertise;
  else if (n->mesh.socket_count && !addr_is_any(&n->mesh.sockets[0]) && !addr_is_link_local(&n->mesh.sockets[0]))
    self = n->mesh.sockets[0];
  else
    self = seen_by_most(n);
  if (!addr_is_set(&self) || addr_eq(&self, &n->mesh.self)) return;
  if (addr_is_loopback(&self) && addr_is_set(&n->mesh.self)) return;
  n->mesh.self = self;
  tell_self(n);
}

/* What cannot be is not weighed: whoever is at a private address may know us by one, nobody else does. */
void mesh_observed(struct peer *p, const struct addr *seen, const struct addr *local) {
  if (!local || local->sa.sa_family != seen->sa.sa_family || !addr_can_be_node(seen) || addr_is_link_local(seen) ||
      addr_is_loopback(seen) != addr_is_loopback(&p->run_at) || (addr_is_private(seen) && !addr_is_private(&p->run_at)))
    return;
  p->seen = *seen;
  addr_set_port(&p->seen, addr_port(local));
  mesh_find_self(p->node);
}

/* A node that nobody can dial is reached through its gateway, a node that it has a link to. It keeps that gateway as long as
 * the link is up. */
static void choose_gateway(struct node *n) {
  struct peer *best = NULL;
  if (!n->mesh.hidden || (n->mesh.gateway && n->mesh.gateway->link)) return;
  list_for(it, &n->peers.all) {
    struct peer *p = container_of(it, struct peer, all);
    if (p->link && addr_is_set(&p->addr) && (!best || p->since < best->since)) best = p;
  }
  if (n->mesh.gateway == best) return;
  n->mesh.gateway = best;
  if (best) {
    struct peer_text t = peer_text(best->name, &best->id, &best->addr);
    log_info(n->log, "gateway", PEER_FIELDS, PEER_VALUES(t));
  }
  tell_self(n);
}

static int sign(void *ctx, struct slice text, uint8_t ret_signature[CRYPTO_SIGNATURE_LEN]) {
  const struct node *n = ctx;
  uint8_t sig[QUIC_SIGNATURE_MAX];
  size_t len;
  int err = quic_identity_sign(n->identity, text, sig, &len);
  return err ? err : crypto_flatten(quic_identity_spki(n->identity), slice_of(sig, len), ret_signature);
}

static int verify(void *ctx, struct slice key, struct slice text, struct slice signature, struct id *ret_id) {
  (void)ctx;
  return crypto_verify(key, text, signature, ret_id);
}

static void id_of(void *ctx, struct slice key, struct id *ret_id) {
  (void)ctx;
  sha256_of(key, ret_id->b);
}

int mesh_new(struct node *n) {
  struct membership_config c = {.mem = &n->rows.mem[ROW_MEMBERS],
                                .rng = n->rng,
                                .log = n->log,
                                .self = self_info(n),
                                .crypto = {quic_identity_spki(n->identity), sign, verify, id_of, n},
                                .realm = slice_str(n->realm),
                                .incarnation = node_wall_ms(n),
                                .max_members = n->limits.max_members};
  return membership_new(&c, n->now, &n->mesh.membership);
}

void mesh_free(struct node *n) {
  membership_free(n->mesh.membership);
  n->mesh.membership = NULL;
}

int mesh_become(struct node *n, struct quic_identity *identity) {
  struct quic_identity *was = n->identity;
  struct membership *membership = n->mesh.membership;
  struct dht *dht = n->records.dht;
  n->identity = quic_identity_ref(identity);
  n->id = *quic_identity_id(identity);
  int err = mesh_new(n);
  if (!err && (err = records_new(n, dht_last_seq(dht))) != 0) membership_free(n->mesh.membership);
  if (err) {
    n->mesh.membership = membership;
    n->records.dht = dht;
    n->identity = was;
    n->id = *quic_identity_id(was);
    quic_identity_unref(identity);
    return err;
  }
  membership_free(membership);
  dht_free(dht);
  quic_identity_unref(was);
  list_for(it, &router_services(n->rpc.router)->all) {
    const struct service *v = container_of(it, struct service, all);
    providers_publish(n, slice_of(v->name, v->len));
  }
  return 0;
}

/* ---- links -----------------------------------------------------------------------------------------------------------------
 */
void mesh_link_up(struct peer *p) {
  struct node *n = p->node;
  struct member_info i = {.id = p->id, .addr = p->addr};
  p->unreached = 0;
  mesh_reached(p);
  spread_link_up(p);
  if (!n->mesh.membership) return;
  if (addr_is_link_local(&i.addr)) i.addr = (struct addr){0};
  if (!addr_is_set(&i.addr)) i.gateway = p->via ? p->via->id : n->id;
  snprintf(i.name, sizeof i.name, "%.*s", MEMBER_NAME_LEN, p->name);
  choose_gateway(n);
  membership_connected(n->mesh.membership, &p->id, true);
  (void)membership_met(n->mesh.membership, &i, n->now);
  membership_connected(n->mesh.membership, &p->id, true); /* now that it is known */
  records_link_up(p);
}

/* ---- alive, and not to be reached ------------------------------------------------------------------------------------------
 *
 * Two nodes may both reach a third one but not each other (a firewall, two networks with the same addresses). The third one
 * then relays probes, and whatever else they say to each other (peers/seal.c). */
void mesh_reached(struct peer *p) {
  assert(p->node->peers.unreachable >= p->unreachable);
  p->node->peers.unreachable -= p->unreachable;
  p->unreachable = false;
}

static bool is_alive(const struct peer *p) {
  const struct member *m = membership_find(p->node->mesh.membership, &p->id);
  return m && m->state == MEMBER_ALIVE;
}

static void set_unreachable(struct peer *p) {
  struct node *n = p->node;
  if (p->unreachable || p->link || !addr_is_set(&p->addr)) return;
  p->unreachable = true;
  n->peers.unreachable++;
  n->peers.found_unreachable++;
  if (n->now < p->warn_at) return;
  p->warn_at = time_add(n->now, UNREACHED_SAID);
  struct peer_text t = peer_text(p->name, &p->id, &p->addr);
  log_warn(n->log, "peer_unreachable",
           PEER_FIELDS
           " text=\"alive, as other nodes say, and not reachable directly: messages and calls go through another node, if one "
           "reaches both; see that each can send UDP to the other's address\"",
           PEER_VALUES(t));
}

void mesh_link_down(struct peer *p, bool dead) {
  struct node *n = p->node;
  if (!n->mesh.membership) return;
  membership_connected(n->mesh.membership, &p->id, false);
  if (dead) membership_unreachable(n->mesh.membership, &p->id, n->now);
  choose_gateway(n);
}

/* A dial failed. If the node was held to be alive it becomes suspect, and counts as unreachable once it has refuted the
 * suspicion (heard_of). Where the failure raises no suspicion, as when another node answers at that address, the second such
 * failure makes it unreachable. A node that restarts is suspect already when a dial to it fails, and is not marked. For a node
 * that is known to be unreachable another failure changes nothing. */
void mesh_dial_failed(struct peer *p, bool was_there, bool dead) {
  if (p->node->mesh.membership && is_alive(p)) {
    if (was_there)
      p->unreached = 0;
    else if (p->unreached++)
      set_unreachable(p);
  }
  mesh_link_down(p, dead && !p->unreachable);
}

/* ---- members ---------------------------------------------------------------------------------------------------------------
 */
static bool dials_first(const struct node *n, const struct peer *p) {
  return n->mesh.hidden || memcmp(n->id.b, p->id.b, ID_LEN) < 0;
}

static void heard_of(struct node *n, const struct member_info *i, bool is_new) {
  struct peer *p = peer_told(n, &i->id, true);
  if (!p) return;
  p->member = true;
  peer_where(p, &i->addr, addr_is_set(&i->addr) ? &no_id : &i->gateway);
  if (!p->link) snprintf(p->name, sizeof p->name, "%.*s", NAME_KEPT, i->name);
  spread_alive(p);
  if (p->unreached && is_alive(p)) set_unreachable(p);
  bool dials = dials_first(n, p) || n->mesh.starting; /* others may take a while to notice that this is another run */
  if (is_new && addr_is_set(&i->addr) && dials) (void)peer_want(p, WANT_UPKEEP);
}

static void died(struct node *n, const struct member_info *i) {
  struct peer *p = peer_find(n, &i->id);
  struct peer_text t = peer_text(i->name, &i->id, &i->addr);
  log_info(n->log, "member_dead", PEER_FIELDS, PEER_VALUES(t));
  records_gone(n, &i->id);
  router_forget_node(n->rpc.router, &i->id, n->now);
  if (!p) return;
  p->unreached = 0;
  mesh_reached(p);
  memset(p->other, 0, sizeof p->other); /* the other run with this identity, refused for this one's sake, may come now */
  join_lost(n, p);
  link_close(p, MACULA_NOT_CONNECTED);
  peer_down(p);
  spread_dead(p);
  choose_gateway(n);
}

static void event(struct node *n, const struct membership_event *e) {
  struct peer *p;
  struct peer_text t = peer_text(e->info.name, &e->info.id, &e->info.addr);
  switch (e->type) {
  case MEMBER_EV_UP:
    log_info(n->log, "member_up", PEER_FIELDS, PEER_VALUES(t));
    heard_of(n, &e->info, true);
    break;
  case MEMBER_EV_CHANGED:
  case MEMBER_EV_REFUTED:
    heard_of(n, &e->info, false);
    break;
  case MEMBER_EV_SUSPECT:
    if ((p = peer_find(n, &e->info.id))) spread_mute(p);
    break;
  case MEMBER_EV_DEAD:
    died(n, &e->info);
    break;
  case MEMBER_EV_FORGOTTEN:
    if (!(p = peer_find(n, &e->info.id))) break;
    p->member = false;
    mesh_reached(p);
    spread_forget(p);
    break;
  }
}

/* Takes the frames and events that wait in the state machines. What a received frame causes is taken in the same turn or the
 * next. */
void mesh_step(struct node *n) {
  struct membership_event e;
  struct membership_out out;
  if (!n->mesh.membership) return;
  while (membership_next_event(n->mesh.membership, &e)) event(n, &e);
  while (membership_next(n->mesh.membership, &out)) {
    struct peer *p = peer_get(n, &out.to);
    int err = p ? peer_upkeep_raw(p, out.type, out.payload, 0) : MACULA_ENOMEM;
    if (err == MACULA_MAX_PEERS_REACHED || err == MACULA_ENOMEM || err == MACULA_EFULL)
      membership_unsent(n->mesh.membership, &out.to);
    while (membership_next_event(n->mesh.membership, &e)) event(n, &e);
  }
  records_step(n);
}

void mesh_tick(struct node *n) {
  if (!n->mesh.membership) return;
  membership_tick(n->mesh.membership, n->now);
  records_tick(n);
  mesh_step(n);
}

nanotime mesh_deadline(const struct node *n) {
  return n->mesh.membership ? time_min(membership_deadline(n->mesh.membership), records_deadline(n)) : TIME_NEVER;
}

/* A member that nobody can dial is reachable only through its gateway. Without a live gateway it is suspected to be gone; if it
 * lives, it refutes that by naming another gateway. */
static bool is_stranded(const struct node *n, const struct member *m, const struct peer *p) {
  if (addr_is_set(&m->info.addr) || (p && p->link) || time_since(n->now, m->since) < STRANDED) return false;
  if (id_eq(&m->info.gateway, &n->id)) return true; /* we are its gateway, and its link to us is gone */
  const struct member *g = membership_find(n->mesh.membership, &m->info.gateway);
  return !g || !addr_is_set(&g->info.addr) || (g->state == MEMBER_DEAD && time_since(n->now, g->since) >= STRANDED);
}

static void sweep_stranded(struct node *n) {
  struct id v[STRANDED_AT_ONCE];
  uint32_t count = 0;
  for (const struct member *m = NULL; (m = membership_each(n->mesh.membership, m)) && count < STRANDED_AT_ONCE;)
    if (m->state == MEMBER_ALIVE && is_stranded(n, m, peer_find(n, &m->info.id))) v[count++] = m->info.id;
  for (uint32_t i = 0; i < count; i++) membership_unreachable(n->mesh.membership, &v[i], n->now);
}

/* Dials links that should be up and are not. */
void mesh_sweep(struct node *n) {
  uint32_t count = 0;
  if (!n->mesh.membership || n->draining || n->mesh.no_upkeep) return;
  sweep_stranded(n);
  for (const struct member *m = NULL; (m = membership_each(n->mesh.membership, m)) && count < LINKED_MEMBERS;) {
    if (m->state != MEMBER_ALIVE || !addr_is_set(&m->info.addr)) continue;
    struct peer *p = peer_find(n, &m->info.id);
    if (!p) {
      heard_of(n, &m->info, false); /* there was no room for its record before */
      continue;
    }
    if (p->link || p->dial) {
      count++;
      continue;
    }
    if (dials_first(n, p) || time_since(n->now, m->since) > DIAL_LATE) {
      bool again = n->now >= p->dial_at;
      int err = peer_dial(p);
      count += err == MACULA_EBUSY;
      /* where so many dials were in vain this one would be, too */
      if (err == MACULA_NOT_CONNECTED && again && link_may_dial(n, &p->addr, p, NULL)) mesh_dial_failed(p, false, true);
    }
  }
}

void mesh_withdraw(struct node *n) {
  if (!n->mesh.membership) return;
  dht_withdraw_all(n->records.dht, n->now);
  mesh_step(n);
}

/* Tells the other nodes that we leave, so that they need not find out by probing. */
void mesh_leave(struct node *n) {
  if (!n->mesh.membership || n->left) return;
  n->left = true;
  membership_leave(n->mesh.membership);
  mesh_step(n);
}

void mesh_frame(struct peer *p, uint8_t type, struct slice payload) {
  struct node *n = p->node;
  int err = 0;
  if (type >= MSG_SWIM_PING && type <= MSG_SWIM_SYNC)
    err = membership_recv(n->mesh.membership, &p->id, type, payload, n->now);
  else if (type >= MSG_INTEREST && type <= MSG_RETAINED_MOVED)
    spread_frame(p, type, payload);
  else if (type >= MSG_FIND_NODE && type <= MSG_STORE_REPLY)
    records_frame(p, type, payload);
  else
    n->stats.ignored_frames++;
  if ((err == MACULA_BAD_FRAME || err == MACULA_BAD_SIGNATURE) && p->link) session_close(p->link, err, NULL);
  n->mesh.due = true;
}

void mesh_unsent(struct peer *p, uint64_t query) { dht_unsent(p->node->records.dht, &p->id, query, p->node->now); }

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
const char *mesh_check(const struct node *n) {
  const struct mesh_self *m = &n->mesh;
  uint32_t forgotten = 0;
  CHECK_PART(membership_check(m->membership));
  CHECK_PART(dht_check(n->records.dht));
  CHECK(m->socket_count <= NODE_MAX_SOCKETS, "mesh: more sockets than there is room for");
  CHECK(!m->gateway || m->hidden, "mesh: we have a gateway and can be dialled");
  list_for(it, &n->peers.all) {
    const struct peer *p = container_of(it, const struct peer, all);
    forgotten += p->member && !membership_find(m->membership, &p->id);
    CHECK(!p->unreachable || p->member, "mesh: a peer is out of reach and no member");
  }
  CHECK(forgotten <= membership_forgotten(m->membership), "mesh: a peer is a member that membership does not know");
  return NULL;
}
