/* Links between nodes over real QUIC on the in-memory network: joining, one link between two nodes, the pool, death, refusal.
 * Cases named upstream_* are those of the original's mesh suite. */
#include "mesh_rig.h"
#include "node/mesh/member.h"
#include "node/mesh/records.h"
#include "node/messages/spread.h"
#include "node/session/session.h"

static bool linked(struct mesh *m, unsigned a, unsigned b) {
  struct peer *p = mesh_peer(m, a, b), *q = mesh_peer(m, b, a);
  return p && p->link && q && q->link;
}

static bool all_linked(void *ctx) {
  struct mesh *m = ctx;
  for (unsigned i = 0; i < m->count; i++)
    if (m->rig[i].node && pool_count(&m->rig[i].node->peers.pool) != m->links) return false;
  for (unsigned i = 0; i < m->count; i++) {
    if (!m->rig[i].node) continue;
    list_for(it, &m->rig[i].node->peers.all) {
      struct peer *p = container_of(it, struct peer, all);
      if (p->slot.in && !p->link) return false;
    }
  }
  return true;
}

/* Dials another node as a call would; its record must have an address. */
static int dial(struct mesh *m, unsigned from, unsigned to) {
  struct peer *p = peer_get(m->rig[from].node, quic_identity_id(m->rig[to].identity));
  peer_where(p, &m->rig[to].addr, NULL);
  return peer_want(p, WANT_USE);
}

static uint64_t conns(struct mesh *m, unsigned i) {
  struct quic_stats s;
  quic_stats(node_quic(m->rig[i].node), &s);
  return s.conns;
}

static void test_join(void **state) {
  struct mesh m;
  (void)state;
  mesh_start(&m, 2, NULL);
  m.links = 1;
  mesh_join(&m, 1, 0);
  rig_until(&m.rig[0], 5 * NS_SEC, all_linked, &m, "a link");
  assert_true(linked(&m, 0, 1));
  struct peer *p = mesh_peer(&m, 0, 1);
  assert_string_equal(p->name, "node1");
  assert_true(addr_eq(&p->addr, &m.rig[1].addr));
  rig_run(&m.rig[0], 60 * NS_SEC); /* kept alive */
  assert_true(linked(&m, 0, 1));
  assert_int_equal(rig_metric(&m.rig[1], "mesh_dials_total"), 1);
  mesh_stop(&m);
}

static void test_both_dial_at_once(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 20; seed++) {
    struct sim_link link = {.delay = 5 * NS_MS, .jitter = 3 * NS_MS, .loss = seed % 4 ? 0 : 0.1};
    struct mesh m;
    struct rig_options o = {.seed = seed, .link = &link};
    mesh_start(&m, 2, &o);
    m.links = 1;
    mesh_join(&m, 1, 0);
    mesh_join(&m, 0, 1);
    rig_until(&m.rig[0], 30 * NS_SEC, all_linked, &m, "one link");
    rig_run(&m.rig[0], 40 * NS_SEC);
    assert_true(linked(&m, 0, 1));
    assert_int_equal(conns(&m, 0), 1);
    assert_int_equal(conns(&m, 1), 1);
    assert_int_not_equal(mesh_peer(&m, 0, 1)->link->dialled, mesh_peer(&m, 1, 0)->link->dialled);
    mesh_stop(&m);
  }
}

static void test_upstream_reuses_alive(void **state) {
  struct mesh m;
  (void)state;
  mesh_start(&m, 2, NULL);
  m.links = 1;
  for (int i = 0; i < 10; i++) assert_int_equal(dial(&m, 0, 1), MACULA_EBUSY); /* concurrent_connection_requests */
  rig_until(&m.rig[0], 5 * NS_SEC, all_linked, &m, "a link");
  assert_int_equal(dial(&m, 0, 1), 0);
  assert_int_equal(rig_metric(&m.rig[0], "mesh_dials_total"), 1);
  mesh_stop(&m);
}

static bool unlinked(void *ctx) {
  struct mesh *m = ctx;
  return pool_count(&m->rig[0].node->peers.pool) == 0;
}

static void test_upstream_dead_is_removed_and_redialled(void **state) {
  struct mesh m;
  struct rig_options o = {.node = {.idle_timeout = 3 * NS_SEC, .keep_alive = NS_SEC, .no_upkeep = true}};
  (void)state;
  mesh_start(&m, 2, &o);
  m.links = 1;
  assert_int_equal(dial(&m, 0, 1), MACULA_EBUSY);
  rig_until(&m.rig[0], 5 * NS_SEC, all_linked, &m, "a link");
  rig_node_kill(&m.rig[1]);
  rig_until(&m.rig[0], 5 * NS_SEC, unlinked, &m, "the dead link's end");
  rig_node_start(&m.rig[1]);
  rig_run(&m.rig[0], 2 * NS_SEC);
  assert_int_equal(dial(&m, 0, 1), MACULA_EBUSY);
  rig_until(&m.rig[0], 5 * NS_SEC, all_linked, &m, "a new link");
  mesh_stop(&m);
}

/* The killed node comes back before its old link is known to be dead: another run, and the old link gives way at once. */
static void test_restart(void **state) {
  struct mesh m;
  (void)state;
  mesh_start(&m, 2, NULL);
  m.links = 1;
  mesh_join(&m, 1, 0);
  rig_until(&m.rig[0], 5 * NS_SEC, all_linked, &m, "a link");
  struct session *old = mesh_peer(&m, 0, 1)->link;
  uint64_t serial = old->serial;
  rig_node_kill(&m.rig[1]);
  rig_node_start(&m.rig[1]);
  mesh_join(&m, 1, 0);
  rig_run(&m.rig[0], 2 * NS_SEC);
  assert_true(linked(&m, 0, 1));
  assert_int_not_equal(mesh_peer(&m, 0, 1)->link->serial, serial);
  assert_int_equal(pool_count(&m.rig[0].node->peers.pool), 1);
  mesh_stop(&m);
}

static void test_upstream_pool_limit_lru(void **state) {
  struct mesh m;
  struct rig_options o = {.node = {.limits = {.max_peers = 3}, .no_upkeep = true}};
  (void)state;
  mesh_start(&m, 6, &o);
  for (unsigned i = 1; i <= 3; i++) {
    assert_int_equal(dial(&m, 0, i), MACULA_EBUSY);
    rig_run(&m.rig[0], 200 * NS_MS);
    assert_true(linked(&m, 0, i));
  }
  assert_int_equal(dial(&m, 0, 1), 0); /* used: the second is the oldest now */
  assert_int_equal(dial(&m, 0, 4), MACULA_EBUSY);
  rig_run(&m.rig[0], 500 * NS_MS);
  assert_true(linked(&m, 0, 1) && !linked(&m, 0, 2) && linked(&m, 0, 3) && linked(&m, 0, 4));
  assert_null(mesh_peer(&m, 2, 0) ? mesh_peer(&m, 2, 0)->link : NULL); /* closed at its other end, too */
  assert_int_equal(pool_count(&m.rig[0].node->peers.pool), 3);
  assert_int_equal(conns(&m, 0), 3);
  /* upkeep neither renews nor evicts */
  assert_int_equal(peer_want(mesh_peer(&m, 0, 3), WANT_UPKEEP), 0);
  struct peer *p5 = peer_get(m.rig[0].node, quic_identity_id(m.rig[5].identity));
  peer_where(p5, &m.rig[5].addr, NULL);
  assert_int_equal(peer_want(p5, WANT_UPKEEP), MACULA_MAX_PEERS_REACHED);
  assert_int_equal(peer_want(p5, WANT_USE), MACULA_EBUSY);
  rig_run(&m.rig[0], 500 * NS_MS);
  assert_true(linked(&m, 0, 1) && !linked(&m, 0, 3) && linked(&m, 0, 4) && linked(&m, 0, 5));
  assert_int_equal(rig_metric(&m.rig[0], "mesh_evictions_total"), 2);
  mesh_stop(&m);
}

/* max_peers lowered by a reload: idle links beyond it go at once, a busy one as soon as it is idle, one that the user named
 * never; then a newcomer finds a slot as ever. */
static void test_reload_pool(void **state) {
  struct mesh m;
  struct rig_options o = {.node = {.limits = {.max_peers = 6, .peer_calls = 10}, .no_upkeep = true}};
  struct node_limits l = o.node.limits;
  struct node_reload change = {.limits = &l};
  (void)state;
  mesh_start(&m, 7, &o);
  mesh_join(&m, 0, 1);
  rig_run(&m.rig[0], 200 * NS_MS);
  for (unsigned i = 2; i <= 5; i++) assert_int_equal(dial(&m, 0, i), MACULA_EBUSY);
  rig_run(&m.rig[0], 500 * NS_MS);
  struct pool *pool = &m.rig[0].node->peers.pool;
  assert_int_equal(pool_count(pool), 5);
  uint32_t records = m.rig[0].node->peers.tab.max;
  sim_net_cut(m.rig[0].net, &m.rig[0].addr, &m.rig[2].addr, true);
  struct msg ping = {.type = MSG_PING, .ping = {.timestamp = 1}};
  assert_int_equal(peer_send(mesh_peer(&m, 0, 2), &ping, WANT_UPKEEP), 0); /* unacknowledged */
  l.max_peers = 1;
  l.peer_calls = 3;
  assert_int_equal(node_reload(m.rig[0].node, &change), 0);
  assert_int_equal(pool_count(pool), 2);
  assert_non_null(mesh_peer(&m, 0, 1)->link);
  assert_non_null(mesh_peer(&m, 0, 2)->link);
  assert_int_equal(mesh_peer(&m, 0, 1)->rpc.calls.max, 3);
  assert_int_equal(m.rig[0].node->peers.tab.max, records - 5);
  sim_net_cut(m.rig[0].net, &m.rig[0].addr, &m.rig[2].addr, false);
  rig_run(&m.rig[0], 5 * NS_SEC);
  assert_int_equal(pool_count(pool), 1);
  assert_non_null(mesh_peer(&m, 0, 1)->link);
  l.max_peers = 2;
  assert_int_equal(node_reload(m.rig[0].node, &change), 0);
  assert_int_equal(dial(&m, 0, 6), MACULA_EBUSY);
  rig_run(&m.rig[0], 500 * NS_MS);
  assert_true(linked(&m, 0, 6));
  mesh_stop(&m);
}

static void test_upstream_unreachable(void **state) {
  struct mesh m;
  (void)state;
  mesh_start(&m, 2, NULL);
  rig_node_kill(&m.rig[1]);
  assert_int_equal(dial(&m, 0, 1), MACULA_EBUSY);
  struct msg ping = {.type = MSG_PING, .ping = {.timestamp = 1}};
  assert_int_equal(peer_post(mesh_peer(&m, 0, 1), &ping, WANT_USE, 0), 0); /* waits */
  rig_until(&m.rig[0], 10 * NS_SEC, unlinked, &m, "the dial's end");
  assert_int_equal(rig_metric(&m.rig[0], "mesh_dial_failures_total"), 1);
  assert_int_equal(rig_metric(&m.rig[0], "mesh_frames_dropped_total"), 1);
  assert_int_equal(dial(&m, 0, 1), MACULA_NOT_CONNECTED); /* backs off */
  rig_run(&m.rig[0], 2 * NS_SEC);
  struct addr nowhere = {0};
  struct id id = {{1}};
  struct peer *p = peer_get(m.rig[0].node, &id);
  peer_where(p, &nowhere, NULL);
  assert_int_equal(peer_want(p, WANT_USE), MACULA_NOT_CONNECTED); /* connection_with_invalid_address */
  mesh_stop(&m);
}

static void test_wrong_realm_self_and_liar(void **state) {
  struct mesh m;
  (void)state;
  mesh_start(&m, 2, NULL);
  struct rig other;
  struct rig_options o = {.beside = &m.rig[0], .index = 6, .node = {.realm = "elsewhere"}};
  rig_start(&other, &o);
  nanotime now = sim_net_now(m.rig[0].net);
  assert_int_equal(node_join(other.node, &m.rig[0].addr, NULL, true, now), 0);
  assert_int_equal(node_join(m.rig[1].node, &m.rig[1].addr, NULL, true, now), 0);
  rig_run(&m.rig[0], 20 * NS_SEC);
  assert_int_equal(pool_count(&other.node->peers.pool), 0);
  assert_int_equal(pool_count(&m.rig[0].node->peers.pool), 0);
  assert_true(node_joined(m.rig[1].node, &m.rig[1].addr)); /* its own address: nobody is missing there */
  assert_int_equal(rig_metric(&m.rig[1], "mesh_dials_total"), 1);
  assert_int_equal(other.node->join.count, 1);
  /* an address that is said to be node 1's, and is node 0's: the dial fails and node 0 is not mistaken for it */
  struct peer *p = peer_get(other.node, quic_identity_id(m.rig[1].identity));
  peer_where(p, &m.rig[0].addr, NULL);
  assert_int_equal(peer_want(p, WANT_USE), MACULA_EBUSY);
  rig_run(&m.rig[0], 6 * NS_SEC);
  assert_null(peer_find(other.node, quic_identity_id(m.rig[1].identity))); /* forgotten */
  rig_stop(&other);
  mesh_stop(&m);
}

/* We gave way to a dial of the other's that never comes: what waits for it ends all the same. */
static void test_expected_in_vain(void **state) {
  struct mesh m;
  struct rig_options o = {.node = {.no_upkeep = true}};
  (void)state;
  mesh_start(&m, 2, &o);
  struct peer *p = peer_get(m.rig[0].node, quic_identity_id(m.rig[1].identity));
  peer_where(p, &m.rig[1].addr, NULL);
  p->expect = sim_net_now(m.rig[0].net) + 5 * NS_SEC;
  struct msg ping = {.type = MSG_PING, .ping = {.timestamp = 1}};
  assert_int_equal(peer_post(p, &ping, WANT_USE, 0), 0);
  rig_run(&m.rig[0], 4 * NS_SEC);
  assert_int_equal(rig_metric(&m.rig[0], "mesh_frames_dropped_total"), 0);
  rig_run(&m.rig[0], 3 * NS_SEC);
  assert_int_equal(rig_metric(&m.rig[0], "mesh_frames_dropped_total"), 1);
  assert_null(peer_find(m.rig[0].node, quic_identity_id(m.rig[1].identity)));
  mesh_stop(&m);
}

/* All slots busy: the least recently used is drained, and the newcomer gets its slot. */
static void test_busy_pool(void **state) {
  struct mesh m;
  struct rig_options o = {.node = {.limits = {.max_peers = 1}, .no_upkeep = true}};
  (void)state;
  mesh_start(&m, 3, &o);
  assert_int_equal(dial(&m, 0, 1), MACULA_EBUSY);
  rig_run(&m.rig[0], 500 * NS_MS);
  assert_true(linked(&m, 0, 1));
  struct msg ping = {.type = MSG_PING, .ping = {.timestamp = 1}};
  assert_int_equal(peer_send(mesh_peer(&m, 0, 1), &ping, WANT_USE), 0); /* unacknowledged */
  assert_int_equal(dial(&m, 0, 2), MACULA_EBUSY);
  assert_non_null(mesh_peer(&m, 0, 1)->link);
  rig_run(&m.rig[0], 3 * NS_SEC);
  assert_true(linked(&m, 0, 2) && !linked(&m, 0, 1));
  mesh_stop(&m);
}

enum upkeep { PROBE, QUERY, INTEREST };

static void upkeep(struct mesh *m, enum upkeep what) {
  struct node *n = m->rig[0].node;
  if (what == QUERY) {
    dht_join(n->records.dht, n->now);
    records_step(n);
  }
  if (what == INTEREST) {
    interest_set_retained(n->spread.interest, 1);
    spread_step(n);
  }
}

/* What nodes tell each other for upkeep makes no link a busy one: the least recently used goes while a probe, a query of the
 * DHT or news of interest is unacknowledged, unless there is something else as well. */
static void goes_in_upkeep(enum upkeep what, bool used) {
  struct mesh m;
  struct rig_options o = {.node = {.limits = {.max_peers = 2}, .no_upkeep = true}};
  struct msg ping = {.type = MSG_PING, .ping = {.timestamp = 1}};
  struct membership_stats stats;
  mesh_start(&m, 4, &o);
  for (unsigned i = 1; i < 3; i++) {
    assert_int_equal(dial(&m, 0, i), MACULA_EBUSY);
    rig_run(&m.rig[0], 500 * NS_MS);
    assert_true(linked(&m, 0, i));
  }
  struct peer *p = mesh_peer(&m, 0, 1);
  if (what != PROBE) {
    for (int i = 0; i < 5000 && session_queued(p->link); i++) rig_run(&m.rig[0], NS_MS);
    upkeep(&m, what);
  }
  for (int i = 0; i < 5000 && !session_queued(p->link); i++) rig_run(&m.rig[0], NS_MS);
  assert_true(session_queued(p->link) > 0);
  if (used) assert_int_equal(peer_send(p, &ping, WANT_UPKEEP), 0);
  assert_int_equal(peer_is_busy(p), used);
  assert_int_equal(dial(&m, 0, 3), MACULA_EBUSY);
  rig_run(&m.rig[0], 500 * NS_MS);
  assert_true(linked(&m, 0, 3) && linked(&m, 0, 2) == !used && linked(&m, 0, 1) == used);
  rig_run(&m.rig[0], 20 * NS_SEC); /* nor is it taken for dead, whose answer had no way any more */
  membership_stats(m.rig[0].node->mesh.membership, &stats);
  assert_int_equal(stats.deaths, 0);
  mesh_stop(&m);
}

static void test_upkeep_goes(void **state) {
  (void)state;
  for (enum upkeep what = PROBE; what <= INTEREST; what++) {
    goes_in_upkeep(what, false);
    goes_in_upkeep(what, true);
  }
}

/* All slots are taken by dials that nobody answers: one makes room, and is over then, whoever answers it late. */
static void test_slow_dial_makes_room(void **state) {
  struct mesh m;
  struct rig_options o = {.node = {.limits = {.max_peers = 1}, .no_upkeep = true}};
  (void)state;
  mesh_start(&m, 3, &o);
  sim_net_cut(m.rig[0].net, &m.rig[0].addr, &m.rig[1].addr, true);
  assert_int_equal(dial(&m, 0, 1), MACULA_EBUSY);
  rig_run(&m.rig[0], 500 * NS_MS);
  assert_int_equal(dial(&m, 0, 2), MACULA_EBUSY);
  rig_run(&m.rig[0], 2200 * NS_MS);
  sim_net_cut(m.rig[0].net, &m.rig[0].addr, &m.rig[1].addr, false);
  rig_run(&m.rig[0], 5 * NS_SEC);
  assert_true(linked(&m, 0, 2) && !linked(&m, 0, 1));
  assert_int_equal(pool_count(&m.rig[0].node->peers.pool), 1);
  assert_int_equal(conns(&m, 0), 1);
  mesh_stop(&m);
}

/* An operator's ping dials, and uses what stands. */
static void test_ping(void **state) {
  struct mesh m;
  struct rig_options o = {.node = {.no_upkeep = true}};
  char args[256], hex[ID_HEX_LEN + 1];
  (void)state;
  mesh_start(&m, 2, &o);
  struct rig_client *op = rig_join(&m.rig[0], RIG_LOOPBACK, NULL, RIG_EXT | CAP_OPERATOR),
                    *c = rig_join(&m.rig[0], 0, NULL, RIG_EXT);
  id_hex(quic_identity_id(m.rig[1].identity), hex);
  snprintf(args, sizeof args, "{\"node\":\"macula://%s@10.0.0.2:9443\"}", hex);
  struct msg_reply r = rig_ask(op, "com.macula.node.ping", args);
  assert_false(r.is_error);
  assert_non_null(strstr((const char *)r.result.p, "\"dialled\":true"));
  r = rig_ask(op, "com.macula.node.ping", args);
  assert_non_null(strstr((const char *)r.result.p, "\"dialled\":false"));
  assert_true(slice_is(rig_ask(c, "com.macula.node.ping", args).error.code, "not_authorized"));
  assert_true(slice_is(rig_ask(op, "com.macula.node.ping", "{}").error.code, "invalid_argument"));
  assert_true(slice_is(rig_ask(op, "com.macula.node.ping", "[").error.code, "invalid_argument"));
  snprintf(args, sizeof args, "{\"node\":\"macula://%s@0.0.0.0:9443\"}", hex);
  r = rig_ask(op, "com.macula.node.ping", args);
  assert_true(r.error.message.n > 50 && !memcmp(r.error.message.p, "0.0.0.0:9443 stands for all addresses", 37));
  rig_node_kill(&m.rig[1]);
  snprintf(args, sizeof args, "{\"node\":\"macula://%s@10.0.0.9:9443\"}",
           "0101010101010101010101010101010101010101010101010101010101010101");
  assert_true(slice_is(rig_ask(op, "com.macula.node.ping", args).error.code, "not_connected"));
  rig_call(op, "com.macula.node.ping", args, 7, 5000);
  rig_kill(op); /* its questions go with it */
  rig_run(&m.rig[0], 60 * NS_SEC);
  assert_int_equal(m.rig[0].node->asks.count, 0);
  mesh_stop(&m);
}

/* A link makes room: pings that went over it, to its node or to one behind that, will not be answered any more. */
static void test_ping_over_an_evicted_link(void **state) {
  struct mesh m;
  struct rig_options o = {.node = {.limits = {.max_peers = 1}, .no_upkeep = true}};
  char args[256], hex[ID_HEX_LEN + 1];
  (void)state;
  mesh_start(&m, 3, &o);
  struct rig_client *op = rig_join(&m.rig[0], RIG_LOOPBACK, NULL, RIG_EXT | CAP_OPERATOR);
  assert_int_equal(dial(&m, 0, 1), MACULA_EBUSY);
  rig_run(&m.rig[0], 500 * NS_MS);
  assert_true(linked(&m, 0, 1));
  pool_set_max(&m.rig[1].node->peers.pool, 8);
  struct rig_client *silent = rig_client(&m.rig[1], 0, NULL); /* agrees on no keys, so that the ping waits */
  rig_opened(silent);
  rig_connect(silent, RIG_EXT | CAP_NODE, "test", NULL);
  (void)rig_expect(silent, MSG_PONG);
  struct id hidden = *quic_identity_id(silent->identity);
  struct member_info behind = {.id = hidden, .gateway = *quic_identity_id(m.rig[1].identity)};
  assert_int_equal(membership_met(m.rig[0].node->mesh.membership, &behind, sim_net_now(m.rig[0].net)),
                   0); /* its record stays */
  rig_run(&m.rig[0], NS_MS);
  id_hex(&hidden, hex);
  snprintf(args, sizeof args, "{\"node\":\"%s\"}", hex);
  rig_call(op, "com.macula.node.ping", args, 7, 5000);
  rig_run(&m.rig[0], 500 * NS_MS);
  assert_int_equal(m.rig[0].node->asks.count, 1); /* nobody is there */
  nanotime began = sim_net_now(m.rig[0].net);
  assert_int_equal(dial(&m, 0, 2), MACULA_EBUSY);
  assert_null(mesh_peer(&m, 0, 1)->link);
  assert_true(slice_is(rig_expect(op, MSG_REPLY).reply.error.code, "evicted"));
  assert_true(sim_net_now(m.rig[0].net) - began < 200 * NS_MS);
  assert_int_equal(m.rig[0].node->asks.count, 0);
  mesh_stop(&m);
}

/* A certificate is renewed at any time; another key is taken on only while no other node knows this one. */
static void test_reload_identity(void **state) {
  struct mesh m;
  struct quic_identity *other, *again;
  struct node_reload change = {0};
  char *pem;
  (void)state;
  mesh_start(&m, 2, NULL);
  m.links = 1;
  struct rig_client *provider = rig_join(&m.rig[0], 0, NULL, RIG_EXT), *caller = rig_join(&m.rig[1], 0, NULL, RIG_EXT);
  assert_int_equal(rig_register(provider, "a.b"), 0);
  assert_int_equal(quic_identity_generate(&other), 0);
  change.identity = other;
  assert_int_equal(node_reload(m.rig[0].node, &change), 0);
  quic_identity_unref(m.rig[0].identity);
  m.rig[0].identity = other;
  assert_true(id_eq(node_id(m.rig[0].node), quic_identity_id(other)));
  mesh_join(&m, 1, 0);
  rig_until(&m.rig[0], 5 * NS_SEC, all_linked, &m, "a link to the new identity");
  rig_run(&m.rig[0], NS_SEC);
  rig_call(caller, "a.b", "1", 1, 5000);
  struct msg call = rig_expect(provider, MSG_CALL);
  rig_reply(provider, call.call.call_id, "2");
  assert_true(slice_is(rig_expect(caller, MSG_REPLY).reply.result, "2"));
  assert_int_equal(quic_identity_generate(&other), 0);
  change.identity = other;
  assert_int_equal(node_reload(m.rig[0].node, &change), MACULA_IDENTITY_MISMATCH);
  quic_identity_unref(other);
  assert_int_equal(quic_identity_pem(m.rig[0].identity, &pem), 0);
  assert_int_equal(quic_identity_parse(slice_str(pem), slice_str(pem), 1790000000, &again, NULL), 0);
  free(pem);
  change.identity = again;
  assert_int_equal(node_reload(m.rig[0].node, &change), 0);
  quic_identity_unref(again);
  assert_int_equal(rig_register(provider, "c.d"), 0); /* signed by the same key */
  rig_run(&m.rig[0], NS_SEC);
  rig_call(caller, "c.d", "1", 2, 5000);
  call = rig_expect(provider, MSG_CALL);
  rig_reply(provider, call.call.call_id, "3");
  assert_true(slice_is(rig_expect(caller, MSG_REPLY).reply.result, "3"));
  mesh_stop(&m);
}

/* Records, interest and accusations are taken from admitted nodes, not from clients. */
static void test_clients_are_no_nodes(void **state) {
  static const uint8_t types[] = {MSG_STORE,     MSG_FIND_NODE, MSG_FIND_VALUE, MSG_INTEREST,    MSG_RETAINED_GET,
                                  MSG_SWIM_PING, MSG_SWIM_SYNC, MSG_RPC_ROUTE,  MSG_PUBSUB_ROUTE};
  struct mesh m;
  (void)state;
  mesh_start(&m, 1, NULL);
  struct rig_client *c = rig_join(&m.rig[0], 0, NULL, RIG_EXT);
  rig_run(&m.rig[0], NS_SEC); /* the node's own record is in its place */
  uint64_t records = rig_metric(&m.rig[0], "dht_records"), ignored = rig_metric(&m.rig[0], "frames_ignored_total");
  struct msg store = {.type = MSG_STORE,
                      .store = {.key = slice_of(types, 9), .value = slice_of("\x81\xc4\x07node_id\xc4\x01x", 13)}};
  rig_send(c, &store);
  for (size_t i = 1; i < sizeof types; i++) {
    uint8_t frame[FRAME_HEADER_LEN + 1] = {0};
    if (types[i] == MSG_FIND_NODE || types[i] == MSG_FIND_VALUE || types[i] == MSG_RPC_ROUTE || types[i] == MSG_PUBSUB_ROUTE)
      continue; /* these need fields; the codec's tests have them */
    frame_header(frame, types[i], 1);
    frame[FRAME_HEADER_LEN] = 0x80;
    rig_send_raw(c, slice_of(frame, sizeof frame));
  }
  rig_run(&m.rig[0], NS_SEC);
  if (c->closed) fail_msg("closed: %s", c->why_text);
  assert_int_equal(rig_metric(&m.rig[0], "dht_records"), records);
  assert_int_equal(rig_metric(&m.rig[0], "frames_ignored_total"), ignored + 5);
  assert_int_equal(rig_metric(&m.rig[0], "members_alive"), 0);
  assert_int_equal(rig_subscribe(c, "a"), 0);
  mesh_stop(&m);
}

static void test_drain(void **state) {
  struct mesh m;
  (void)state;
  mesh_start(&m, 2, NULL);
  m.links = 1;
  mesh_join(&m, 1, 0);
  rig_until(&m.rig[0], 5 * NS_SEC, all_linked, &m, "a link");
  node_drain(m.rig[0].node, sim_net_now(m.rig[0].net));
  rig_run(&m.rig[0], 2 * NS_SEC);
  assert_true(node_drained(m.rig[0].node, sim_net_now(m.rig[0].net)));
  assert_int_equal(pool_count(&m.rig[1].node->peers.pool), 0);
  mesh_stop(&m);
}

static void test_no_memory(void **state) {
  (void)state;
  for (uint64_t at = 1;; at++) {
    struct mem_fail fail = {0};
    struct mesh m;
    mesh_start(&m, 1, NULL);
    m.links = 1;
    struct rig_options o = {.beside = &m.rig[0], .index = 1, .node = {.fail = &fail}};
    rig_start(&m.rig[1], &o);
    m.count = 2;
    fail = (struct mem_fail){.countdown = at};
    if (node_join(m.rig[1].node, &m.rig[0].addr, NULL, true, sim_net_now(m.rig[0].net))) mesh_join(&m, 1, 0);
    (void)rig_run(&m.rig[0], 3 * NS_SEC);
    bool failed = fail.seen >= at;
    fail.countdown = 0;
    rig_run(&m.rig[0], 30 * NS_SEC);
    assert_true(linked(&m, 0, 1));
    mesh_stop(&m);
    if (!failed) break;
  }
}

/* A frame's beginning on each of so many streams. */
static void leave_open(struct quic_conn *c, int n) {
  static const uint8_t half[] = {FRAME_VERSION, MSG_PUBLISH, 0, 0, 0, 0x10};
  int64_t id;
  for (int i = 0; i < n && !quic_stream_open(c, &id); i++) (void)quic_stream_write(c, id, slice_of(half, sizeof half));
}

/* In a crowd that fills connection_pool a link holds more than any client, since it carries what many say: it is not the one
 * that ends. */
static void test_crowd(void **state) {
  struct mesh m;
  struct rig_options o = {.node = {.limits = {.connection_pool = 1 << 20}}};
  (void)state;
  mesh_start(&m, 2, &o);
  m.links = 1;
  mesh_join(&m, 1, 0);
  rig_until(&m.rig[0], 5 * NS_SEC, all_linked, &m, "a link");
  for (unsigned i = 0; i < 2; i++) leave_open(mesh_peer(&m, i, 1 - i)->link->door.conn, 99);
  struct session *link[] = {mesh_peer(&m, 0, 1)->link, mesh_peer(&m, 1, 0)->link};
  for (unsigned i = 0; i < 2; i++)
    for (int k = 0; k < 80; k++) leave_open(rig_join(&m.rig[i], 0, NULL, RIG_EXT)->conn, 80);
  rig_run(&m.rig[0], NS_SEC);
  for (unsigned i = 0; i < 2; i++) {
    size_t peak;
    assert_true(rig_metric(&m.rig[i], "quic_refused_memory_total") >= 1);
    assert_ptr_equal(mesh_peer(&m, i, 1 - i)->link, link[i]);
    list_for(it, &m.rig[i].node->sessions.clients.all) {
      const struct session *c = container_of(it, struct clients_entry, all)->user;
      assert_true(door_held(&c->door, &peak) < door_held(&link[i]->door, &peak));
    }
  }
  mesh_stop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_join),
      cmocka_unit_test(test_both_dial_at_once),
      cmocka_unit_test(test_upstream_reuses_alive),
      cmocka_unit_test(test_upstream_dead_is_removed_and_redialled),
      cmocka_unit_test(test_restart),
      cmocka_unit_test(test_upstream_pool_limit_lru),
      cmocka_unit_test(test_reload_pool),
      cmocka_unit_test(test_upstream_unreachable),
      cmocka_unit_test(test_wrong_realm_self_and_liar),
      cmocka_unit_test(test_expected_in_vain),
      cmocka_unit_test(test_busy_pool),
      cmocka_unit_test(test_upkeep_goes),
      cmocka_unit_test(test_slow_dial_makes_room),
      cmocka_unit_test(test_ping),
      cmocka_unit_test(test_ping_over_an_evicted_link),
      cmocka_unit_test(test_reload_identity),
      cmocka_unit_test(test_clients_are_no_nodes),
      cmocka_unit_test(test_drain),
      cmocka_unit_test(test_crowd),
      cmocka_unit_test(test_no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
