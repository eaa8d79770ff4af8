/* Each invariant of a node's rooms, broken, and noticed (node/check.h). */
#include "mesh_rig.h"
#include "node/calls/providers.h"
#include "node/check.h"
#include "node/mesh/member.h"
#include "node/messages/replay.h"
#include "node/peers/join.h"
#include "node/peers/seal.h"
#include "node/receive.h"
#include "node/session/session.h"
#include "unit/broken.h"

static void ignore(void *ctx, int err, const char *json) { (void)ctx, (void)err, (void)json; }

static struct session *session_of(struct node *n, const struct rig_client *c) {
  list_for(it, &n->sessions.all) {
    struct session *s = container_of(it, struct session, all);
    if (door_id(&s->door) && id_eq(door_id(&s->door), quic_identity_id(c->identity))) return s;
  }
  fail_msg("no session");
  return NULL;
}

/* Two nodes that know each other, and a client that subscribes and serves at the first. */
struct scene {
  struct mesh m;
  struct rig_client *c;
  struct node *n;
  struct session *s, *link;
  struct peer *p;
};

static void begin(struct scene *x) {
  mesh_start_joined(&x->m, 2, NULL);
  x->c = rig_join(&x->m.rig[0], 0, NULL, RIG_EXT);
  assert_int_equal(rig_subscribe(x->c, "a.*"), 0);
  assert_int_equal(rig_register(x->c, "a.service"), 0);
  mesh_settle(&x->m);
  x->n = x->m.rig[0].node;
  x->s = session_of(x->n, x->c);
  x->p = mesh_peer(&x->m, 0, 1);
  x->link = x->p->link;
  HOLDS(node_check(x->n));
}

#define BROKEN(what, wrong, text) BREAKS(what, wrong, node_check(x.n), text)

static void test_sessions(void **state) {
  struct scene x;
  (void)state;
  begin(&x);
  BROKEN(x.n->sessions.count, 7, "session: they are not as many as counted");
  BROKEN(x.s->serial, 99, "session: its connection is another's");
  BROKEN(x.s->at, 4, "session: a frame is being handled between turns");
  BROKEN(x.s->window.size, 1, "session: a window is smaller than at the start");
  BROKEN(x.s->state, SESSION_FRESH, "session: one before CONNECT is in no list of those");
  BROKEN(x.s->state, SESSION_OVER, "session: one that is over ends never, or twice");
  BROKEN(x.s->ended, true, "session: one that lives is to end");
  BROKEN(x.s->door.home, -1, "session: one that is in waits for CONNECT, or has no stream");
  BROKEN(x.s->client.in, false, "session: a client is not in the table of clients");
  BROKEN(x.s->peer, x.p, "session: its peer does not know it");
  BROKEN(x.link->peer, NULL, "session: one that is in is no client and no link, or both");
  BROKEN(x.s->unnoticed, 1, "session: what was refused is never told");
  BROKEN(x.s->watched, true, "session: one that is watched is not among those, or another is");
  BROKEN(x.n->sessions.clients.count, 2, "clients: the slots taken are not as many as the entries");
  struct list on = {&x.n->sessions.doomed, &x.n->sessions.doomed};
  BROKEN(x.n->sessions.doomed, ((struct list){&on, &on}), "session: those that are to end are not as many as say so");
  struct list told = {&x.n->sessions.noticed, &x.n->sessions.noticed};
  BROKEN(x.n->sessions.noticed, ((struct list){&told, &told}), "session: those that had a NOTICE are not as many as say so");
  list_append(&x.n->sessions.paused, &x.s->paused);
  HOLDS(node_check(x.n));
  BROKEN(x.n->sessions.paused, ((struct list){&x.n->sessions.paused, &x.n->sessions.paused}),
         "session: the paused are not as many as say so");
  list_remove(&x.s->paused);
  mesh_stop(&x.m);
}

/* One that is over and has not been told yet, and one that has. */
static void test_ends(void **state) {
  struct scene x;
  (void)state;
  begin(&x);
  session_cut(x.s, MACULA_ECLOSED);
  HOLDS(node_check(x.n));
  BROKEN(x.s->ended, true, "session: one that is over ends never, or twice");
  session_end(x.s);
  HOLDS(node_check(x.n));
  BROKEN(x.s->ended, false, "session: one that is over ends never, or twice");
  BROKEN(x.s->state, SESSION_IN, "session: a client is not in the table of clients");
  BROKEN(x.s->client.in, true, "session: one that has ended is still a client");
  BROKEN(x.s->topics.count, 1, "session: one that has ended is still a client");
  BROKEN(x.s->window.size, 2 * STREAM_WINDOW, "session: one that has ended holds what it received, or is to be sent more");
  BROKEN(x.s->peer, x.p, "session: its peer does not know it");
  mesh_stop(&x.m);
}

/* Frames that wait for a client that stopped reading. */
static void test_lanes(void **state) {
  struct scene x;
  char payload[900];
  (void)state;
  begin(&x);
  memset(payload, 'x', sizeof payload - 1);
  payload[sizeof payload - 1] = 0;
  struct rig_client *pub = rig_join(&x.m.rig[0], 0, NULL, RIG_EXT);
  rig_stop_reading(x.c);
  for (uint64_t i = 0; i < 500; i++) assert_int_equal(rig_publish(pub, "a.x", payload, 1, false, i + 1), 0);
  struct lane_queue *l = &x.s->lanes.lane[LANE_PUBLISHES];
  assert_true(l->bytes > 0);
  BROKEN(l->bytes, 1, "lane: the bytes that wait are not as many as counted");
  BROKEN(x.s->lanes.bytes, 1, "lane: the bytes of all lanes are not as many as counted");
  BROKEN(l->last, NULL, "lane: it does not end where it says");
  struct lane_queue was = *l;
  *l = x.s->lanes.lane[LANE_CALLS];
  x.s->lanes.lane[LANE_CALLS] = was;
  assert_string_equal(node_check(x.n), "lane: a frame that is no publish has a part of its receiver's");
  x.s->lanes.lane[LANE_CALLS] = *l;
  *l = was;
  HOLDS(node_check(x.n));
  list_remove(&x.s->lanes.filled);
  assert_string_equal(node_check(x.n), "lane: one with frames that wait is not among those, or another is");
  list_append(&x.n->sessions.filled, &x.s->lanes.filled);
  BROKEN(x.n->sessions.filled, ((struct list){&x.n->sessions.filled, &x.n->sessions.filled}),
         "lane: the sessions with frames that wait are not as many as say so");
  BROKEN(x.n->rows.mem[ROW_SEND].bytes, x.n->rows.mem[ROW_SEND].bytes + 8, "rows: the account send_queues is not what it owns");
  mesh_stop(&x.m);
}

static bool later(void *ctx, struct session *s, const struct msg_connect *m) {
  (void)m;
  *(struct session **)ctx = s;
  return true;
}

/* One on whose CONNECT the verdict comes later. */
static void test_judged(void **state) {
  struct scene x;
  struct session *s = NULL;
  (void)state;
  begin(&x);
  x.n->sessions.judge = later;
  x.n->sessions.judge_ctx = &s;
  struct rig_client *c = rig_join(&x.m.rig[0], 0, NULL, 0);
  rig_connect(c, RIG_EXT, "test", NULL);
  rig_run(&x.m.rig[0], 100 * NS_MS);
  assert_non_null(s);
  BROKEN(s->state, SESSION_FRESH, "session: one waits for a verdict that has none to come");
  BROKEN(s->judged.given, true, "session: one waits for a verdict that has none to come");
  BROKEN(s->judged.way, -1, "session: one that is judged waits for nothing");
  BROKEN(s->judged.connect, (const struct msg_connect *)&s, "session: a CONNECT is being handled between turns");
  BROKEN(x.n->sessions.judged, ((struct list){&x.n->sessions.judged, &x.n->sessions.judged}),
         "session: those that are judged are not as many as say so");
  mesh_stop(&x.m);
}

/* A frame of which half has come. */
static void test_receive(void **state) {
  struct scene x;
  uint8_t half[5000] = {0};
  (void)state;
  begin(&x);
  frame_header(half, MSG_PUBLISH, 9000);
  rig_send_raw(x.c, slice_of(half, sizeof half));
  rig_run(&x.m.rig[0], 100 * NS_MS);
  assert_false(list_empty(&x.n->receive.partials));
  assert_true(x.n->receive.reserved > 0);
  BROKEN(x.n->receive.reserved, 1, "receive: the bytes reserved are not as many as counted");
  BROKEN(x.n->receive.window_more, 5, "receive: the windows are not as large as counted");
  BROKEN(x.n->receive.partials, ((struct list){&x.n->receive.partials, &x.n->receive.partials}),
         "receive: the unfinished frames are not as many as say so");
  BROKEN(x.n->now, 0, "receive: a frame began in the future");
  BROKEN(x.n->rows.mem[ROW_RECEIVE].bytes, 1, "rows: the account receive is not what it owns");
  mesh_stop(&x.m);
}

static void test_peers(void **state) {
  struct scene x;
  struct msg ping = {.type = MSG_PING, .ping = {.timestamp = 1}};
  (void)state;
  begin(&x);
  BROKEN(x.n->peers.tab.count, 3, "htab: fewer entries than counted");
  BROKEN(x.p->id.b[0], (uint8_t)~x.p->id.b[0], "peer: it is not found by its id");
  BROKEN(x.p->slot.in, false, "pool: one that is in is not found");
  BROKEN(x.p->dial, x.link, "peer: its dial is none");
  BROKEN(x.p->link, x.s, "session: its peer does not know it");
  BROKEN(x.p->unreachable, true, "peer: it is out of reach though its link stands");
  BROKEN(x.n->peers.unreachable, 1, "peer: those out of reach are not as many as counted");
  BROKEN(x.p->via, x.p, "peer: it is behind a gateway that does not know it");
  BROKEN(x.n->peers.held_bytes, 1, "peer: the frames that wait are not as many bytes as counted");
  BROKEN(x.n->mesh.gateway, (struct peer *)x.s, "peer: our gateway has no link");
  BROKEN(x.n->join.count, 9, "join: the addresses are not as many as counted");
  list_append(&x.n->peers.waiting, &x.p->waits);
  assert_string_equal(node_check(x.n), "peer: it waits for a slot though its link stands");
  list_remove(&x.p->waits);
  /* One behind the other node. */
  struct peer *q = peer_get(x.n, &(struct id){{7}});
  peer_where(q, NULL, &x.p->id);
  HOLDS(node_check(x.n));
  BROKEN(q->via, NULL, "peer: one behind it is behind another");
  /* One with which keys are to be agreed on. */
  struct peer *k = peer_get(x.n, &(struct id){{9}});
  peer_where(k, NULL, &x.p->id);
  assert_int_equal(seal_want(k), MACULA_EBUSY);
  HOLDS(node_check(x.n));
  BROKEN(x.n->peers.seals.count, 7, "seals: they are not as many as counted");
  BROKEN(k->sealed->peer, q, "seals: keys are another's");
  BROKEN(k->sealed->agree.offering, false, "seals: an offer is not sent again, or is without being made");
  BROKEN(k->sealed->agree.next.set, true, "agree: a key waits for its first seal, and nothing was offered");
  BROKEN(x.n->rows.mem[ROW_SEALS].bytes, 1, "rows: the account envelope_keys is not what it owns");
  seal_drop(k);
  /* One that is dialled, and a frame that waits for it. */
  struct addr nowhere;
  assert_int_equal(addr_parse("10.0.0.99:9443", 0, &nowhere), 0);
  struct peer *d = peer_get(x.n, &(struct id){{8}});
  peer_where(d, &nowhere, NULL);
  assert_int_equal(peer_post(d, &ping, WANT_USE, 0), 0);
  HOLDS(node_check(x.n));
  BROKEN(d->held_bytes, 1, "peer: its frames that wait are not as many bytes as counted");
  BROKEN(d->dial, NULL, "session: its peer does not know it");
  BROKEN(x.n->rows.mem[ROW_HELD].bytes, 1, "rows: the account held is not what it owns");
  rig_run(&x.m.rig[0], 3 * NS_SEC); /* no dial of its own is expected any more */
  struct session *dial = d->dial;
  pool_remove(&x.n->peers.pool, &d->slot);
  d->dial = NULL; /* forgotten: who sends the frame? */
  dial->peer = NULL;
  assert_string_equal(peers_check(x.n), "peer: frames wait for a link that nobody makes");
  d->dial = dial;
  dial->peer = d;
  assert_int_equal(pool_add(&x.n->peers.pool, &d->slot, x.n->now), 0);
  HOLDS(node_check(x.n));
  mesh_stop(&x.m);
}

static void test_join(void **state) {
  struct scene x;
  struct addr nowhere;
  (void)state;
  begin(&x);
  assert_int_equal(addr_parse("10.0.0.99:9443", 0, &nowhere), 0);
  assert_int_equal(node_join(x.n, &nowhere, NULL, true, x.n->now), 0);
  join_tick(x.n);
  struct seed *d = container_of(x.n->join.seeds.prev, struct seed, all);
  assert_non_null(d->dial);
  BROKEN(d->pinned, true, "join: an id is expected that is not known");
  BROKEN(d->dial, x.s, "session: the address that it was dialled for does not know it");
  BROKEN(d->dial->native->seed, NULL, "join: the dial of an address is another's");
  BROKEN(x.n->silent.seen.tab.count, 9, "htab: fewer entries than counted");
  struct lru_link *last = container_of(x.n->silent.seen.order.prev, struct lru_link, age);
  struct silent_addr *dialled = container_of(last, struct silent_addr, l);
  BROKEN(dialled->dials, 0, "silent: an address is known that was neither dialled nor has answered");
  BROKEN(x.n->join.count, 9, "join: the addresses are not as many as counted");
  mesh_stop(&x.m);
}

/* A call to a node whose link is gone from under it. */
static void test_calls_need_a_link(void **state) {
  struct scene x;
  (void)state;
  begin(&x);
  struct rig_client *far = rig_join(&x.m.rig[1], 0, NULL, RIG_EXT);
  assert_int_equal(rig_register(far, "far.service"), 0);
  rig_run(&x.m.rig[0], 2 * NS_SEC);
  rig_call(x.c, "far.service", "{}", 1, 60000);
  rig_run(&x.m.rig[0], 2 * NS_SEC);
  assert_false(list_empty(&x.p->rpc.calls.taken));
  HOLDS(node_check(x.n));
  pool_remove(&x.n->peers.pool, &x.p->slot);
  x.p->link = NULL;
  assert_string_equal(peers_check(x.n), "peer: it has calls under way without a link");
  x.p->link = x.link;
  assert_int_equal(pool_add(&x.n->peers.pool, &x.p->slot, x.n->now), 0);
  HOLDS(node_check(x.n));
  BROKEN(x.p->rpc.owner.user, x.n, "peer: its calls are another's");
  mesh_stop(&x.m);
}

static void test_messages(void **state) {
  struct scene x;
  char topic[16];
  (void)state;
  begin(&x);
  for (int i = 0; i < 3; i++) {
    snprintf(topic, sizeof topic, "kept.%d", i);
    assert_int_equal(rig_publish(x.c, topic, "1", 1, true, (uint64_t)i + 1), 0);
  }
  assert_int_equal(rig_publish(x.c, "kept.0", "", 1, true, 9), 0);
  rig_run(&x.m.rig[0], NS_SEC);
  assert_int_equal(x.n->spread.cleared_count, 1);
  BROKEN(x.n->messages.retained.bytes, 1, "retained: topics and payloads are not as many bytes as counted");
  BROKEN(x.n->spread.cleared_count, 2, "recall: the topics cleared are not as many as counted, or too many");
  BROKEN(x.n->spread.cleared_seq, 0, "recall: the topics cleared are not in order");
  BROKEN(x.n->spread.count, 2, "spread: the nodes are not as many as counted");
  BROKEN(x.p->spread.on, false, "spread: a node is told of subscriptions and is not in the list, or the reverse");
  BROKEN(x.p->spread.path, 0, "spread: a node is told of subscriptions without a path");
  BROKEN(x.p->spread.interest.linked, false, "spread: a node is told of subscriptions without a path");
  BROKEN(x.p->spread.interest.topics.user, NULL, "spread: a node's patterns are another's");
  BROKEN(x.p->spread.unacked.user, NULL, "spread: what a node is to answer is another's");
  BROKEN(x.p->spread.replay_count, 1, "replay: its session or node does not know it");
  BROKEN(x.n->replays.count, 1, "replay: they are not as many as counted");
  /* A pattern counted for nobody, and one twice. */
  assert_int_equal(interest_add(x.n->spread.interest, slice_str("b")), 0);
  assert_string_equal(node_check(x.n), "spread: the interest counted is not what our clients subscribe to");
  interest_remove(x.n->spread.interest, slice_str("a.*"));
  assert_string_equal(node_check(x.n), "spread: the interest counted is not what our clients subscribe to");
  interest_remove(x.n->spread.interest, slice_str("b"));
  assert_int_equal(interest_add(x.n->spread.interest, slice_str("a.*")), 0);
  HOLDS(node_check(x.n));
  mesh_stop(&x.m);
}

/* Retained messages on their way to a client that takes none. */
static void test_replays(void **state) {
  struct scene x;
  char topic[16];
  static char large[60000];
  (void)state;
  begin(&x);
  memset(large, 'x', sizeof large - 1);
  for (int i = 0; i < 40; i++) {
    snprintf(topic, sizeof topic, "kept.%d", i);
    assert_int_equal(rig_publish(x.c, topic, large, 0, true, (uint64_t)i + 1), 0);
  }
  struct rig_client *c = rig_join(&x.m.rig[0], 0, NULL, RIG_EXT);
  struct msg sub = {.type = MSG_SUBSCRIBE};
  struct slice pattern = slice_str("kept.*");
  sub.subscribe.topics = (struct msg_list){.count = 1, .items = &pattern};
  c->mute = true;
  rig_send(c, &sub);
  rig_run(&x.m.rig[0], NS_SEC);
  assert_int_equal(x.n->replays.count, 1);
  BROKEN(x.n->replays.count, 2, "replay: they are not as many as counted");
  BROKEN(x.n->rows.mem[ROW_REPLAYS].bytes, 1, "rows: the account replays is not what it owns");
  BROKEN(session_of(x.n, c)->ended, true, "session: one that lives is to end");
  struct list *replays = &session_of(x.n, c)->replays, *replay = replays->next;
  list_remove(replays);
  assert_string_equal(replay_check(x.n), "replay: its session or node does not know it");
  list_append(replays, replay);
  mesh_stop(&x.m);
}

/* Questions of the process, and what they look up. */
static void test_asks_and_lookups(void **state) {
  struct scene x;
  (void)state;
  begin(&x);
  node_dht(x.n, "get", "some.procedure", ignore, NULL, x.n->now);
  assert_int_equal(x.n->asks.count, 1);
  BROKEN(x.n->asks.count, 2, "ask: the questions are not as many as counted, or too many");
  BROKEN(x.n->asks.asked, 0, "ask: the questions are not in order");
  BROKEN(x.n->rows.mem[ROW_ASKS].bytes, 1, "rows: the account asks is not what it owns");
  assert_int_equal(providers_discover(x.n, slice_str("some.other")), 0);
  HOLDS(node_check(x.n));
  BROKEN(x.n->rpc.lookup_number, 0, "providers: a lookup has a number that was not given");
  BROKEN(x.n->rpc.lookups.count, 4, "htab: fewer entries than counted");
  BROKEN(x.n->rows.mem[ROW_DISCOVERY].bytes, 1, "rows: the account discovery is not what it owns");
  mesh_stop(&x.m);
}

static void test_mesh(void **state) {
  struct scene x;
  (void)state;
  begin(&x);
  BROKEN(x.n->mesh.socket_count, NODE_MAX_SOCKETS + 1, "mesh: more sockets than there is room for");
  BROKEN(x.n->mesh.gateway, x.p, "mesh: we have a gateway and can be dialled");
  struct peer *q = peer_get(x.n, &(struct id){{7}});
  BROKEN(q->member, true, "mesh: a peer is a member that membership does not know");
  q->unreachable = true;
  assert_string_equal(mesh_check(x.n), "mesh: a peer is out of reach and no member");
  q->unreachable = false;
  mesh_stop(&x.m);
}

/* Each account that is walked, and its limit. */
static void test_rows(void **state) {
  struct scene x;
  char text[96];
  (void)state;
  begin(&x);
  for (int i = 0; i < ROW_COUNT; i++) {
    struct mem *m = &x.n->rows.mem[i];
    bool part = i == ROW_CALLS || i == ROW_RETAINED; /* at least what is walked */
    if (i == ROW_QUIC || i == ROW_TLS || i == ROW_ADMIN || i == ROW_RETAINED || i == ROW_HELD || i == ROW_MQTT || i == ROW_HTTP)
      continue;
    snprintf(text, sizeof text, "rows: the account %s is not what it owns", m->name);
    BROKEN(m->bytes, part ? 0 : m->bytes + 8, text);
  }
  BROKEN(x.n->rows.mem[ROW_SESSIONS].limit, 1, "rows: an account holds more than its limit");
  BROKEN(x.n->rows.lent.borrowed, 1, "rows: a limit is above what the plan and what is lent say");
  struct mem *send = &x.n->rows.mem[ROW_SEND];
  BROKEN(send->limit, send->limit - 1, "rows: a limit is below what the plan and what is lent say");
  mesh_stop(&x.m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sessions),
      cmocka_unit_test(test_ends),
      cmocka_unit_test(test_receive),
      cmocka_unit_test(test_lanes),
      cmocka_unit_test(test_judged),
      cmocka_unit_test(test_peers),
      cmocka_unit_test(test_join),
      cmocka_unit_test(test_calls_need_a_link),
      cmocka_unit_test(test_messages),
      cmocka_unit_test(test_replays),
      cmocka_unit_test(test_asks_and_lookups),
      cmocka_unit_test(test_mesh),
      cmocka_unit_test(test_rows),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
