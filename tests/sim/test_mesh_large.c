/* Large arguments and results beside small ones, over one link: they have a stream of their own, so that no small call waits
 * behind them. And what becomes of all that where the other node knows no such streams, or the link breaks. */
#include "mesh_calls_rig.h"
#include "node/session/lane.h"

#define LARGE_LEN 700000u

struct beside {
  struct mesh m;
  struct rig_client *small, *small_provider, *large, *large_provider;
  char *json;     /* LARGE_LEN bytes */
  nanotime worst; /* of small calls */
};

static void call_of(struct rig_client *c, const char *procedure, uint64_t n, struct slice args) {
  uint8_t call_id[CALL_ID_LEN] = {0};
  memcpy(call_id, &n, sizeof n);
  struct msg m = {
      .type = MSG_CALL,
      .call = {
          .procedure = slice_str(procedure), .args = args, .call_id = slice_of(call_id, sizeof call_id), .timeout = 60000}};
  rig_send(c, &m);
}

static char *large_text(void) {
  char *json = malloc(LARGE_LEN + 1);
  memset(json, '1', LARGE_LEN);
  json[LARGE_LEN] = 0;
  return json;
}

static void begin(struct beside *b, const struct sim_link *link) {
  struct rig_options o = {.link = link};
  memset(b, 0, sizeof *b);
  b->json = large_text();
  start_joined(&b->m, 2, &o);
  b->small = client(&b->m, 0);
  b->large = client(&b->m, 0);
  b->small_provider = provider(&b->m, 1, "small");
  b->large_provider = provider(&b->m, 1, "large");
  knows(&b->m, 0, "small", "1");
  knows(&b->m, 0, "large", "1");
}
static void end(struct beside *b) {
  stop(&b->m);
  free(b->json);
}

static bool has_a_call(void *ctx) { return pending(ctx, 0) == 1; }

/* One after the other, until so many frames of this type have come to c. */
static void small_calls(struct beside *b, const struct rig_client *c, uint8_t type, uint64_t count) {
  b->worst = 0;
  for (uint64_t i = 0; i < 200 && (!i || c->counts[type] < count); i++) {
    nanotime began = now(&b->m);
    call_of(b->small, "small", 1000 + i, slice_str("7"));
    struct msg m = rig_expect(b->small_provider, MSG_CALL);
    rig_reply(b->small_provider, m.call.call_id, "14");
    result_is(b->small, "14");
    nanotime took = now(&b->m) - began;
    if (took > b->worst) b->worst = took;
  }
  assert_true(c->counts[type] >= count);
}

static const struct sim_link far = {.delay = 25 * NS_MS};

/* On a path of 25 ms each way small calls take hardly longer with large ones beside them than without: what they may wait for
 * is the congestion window. */
static void test_beside(void **state) {
  struct beside b;
  (void)state;
  begin(&b, &far);
  small_calls(&b, b.small, MSG_REPLY, 3);
  nanotime most = b.worst + 50 * NS_MS; /* a round trip of the link; behind a large one it would be 380 ms */
  for (uint64_t i = 1; i <= 3; i++) {
    call_of(b.large, "large", i, slice_of(b.json, LARGE_LEN));
    small_calls(&b, b.large_provider, MSG_CALL, i);
    assert_in_range(b.worst, 1, most);
    struct msg c = rig_expect(b.large_provider, MSG_CALL);
    assert_int_equal(c.call.args.n, LARGE_LEN);
    rig_reply(b.large_provider, c.call.call_id, b.json);
    small_calls(&b, b.large, MSG_REPLY, i);
    assert_in_range(b.worst, 1, most);
    assert_int_equal(answer(b.large).result.n, LARGE_LEN);
  }
  end(&b);
}

/* On a line of 1 MB a second a large one takes 0.7 s; small ones wait for the lines' queues alone, which hold 50 ms, and for
 * what these lose. */
static void test_slow_line(void **state) {
  static const struct sim_link slow = {.delay = 5 * NS_MS, .rate = 1000000, .queue = 50 * NS_MS};
  struct beside b;
  (void)state;
  begin(&b, &slow);
  for (uint64_t i = 1; i <= 3; i++) {
    call_of(b.large, "large", i, slice_of(b.json, LARGE_LEN));
    small_calls(&b, b.large_provider, MSG_CALL, i);
    assert_in_range(b.worst, 1, 400 * NS_MS);
    rig_reply(b.large_provider, rig_expect(b.large_provider, MSG_CALL).call.call_id, b.json);
    small_calls(&b, b.large, MSG_REPLY, i);
    assert_in_range(b.worst, 1, 400 * NS_MS);
    assert_int_equal(answer(b.large).result.n, LARGE_LEN);
  }
  end(&b);
}

/* One that takes 3 s for its way is not taken for one that was given up: it is served. */
static void test_slower_line(void **state) {
  static const struct sim_link slow = {.delay = 5 * NS_MS, .rate = 250000, .queue = 50 * NS_MS};
  struct beside b;
  (void)state;
  begin(&b, &slow);
  small_calls(&b, b.small, MSG_REPLY, 3);
  call_of(b.large, "large", 1, slice_of(b.json, LARGE_LEN));
  small_calls(&b, b.large_provider, MSG_CALL, 1);
  rig_reply(b.large_provider, rig_expect(b.large_provider, MSG_CALL).call.call_id, "14");
  result_is(b.large, "14");
  end(&b);
}

/* A CANCEL never comes before its call, however large that is. */
static void test_cancel(void **state) {
  struct beside b;
  (void)state;
  begin(&b, &far);
  uint8_t call_id[CALL_ID_LEN] = {1};
  call_of(b.large, "large", 1, slice_of(b.json, LARGE_LEN));
  rig_until(&b.m.rig[0], 5 * NS_SEC, has_a_call, &b.m, "the call is pending");
  run(&b.m, 60 * NS_MS);
  struct msg m = {.type = MSG_CANCEL,
                  .cancel = {.call_id = slice_of(call_id, sizeof call_id), .reason = slice_str("cancelled")}};
  rig_send(b.large, &m);
  small_calls(&b, b.large_provider, MSG_CANCEL, 1);
  struct msg c = rig_expect(b.large_provider, MSG_CALL);
  assert_true(slice_eq(rig_expect(b.large_provider, MSG_CANCEL).cancel.call_id, c.call.call_id));
  assert_int_equal(pending(&b.m, 0), 0);
  assert_int_equal(pending(&b.m, 1), 0);
  end(&b);
}

/* ---- a node without `streams` ---------------------------------------------------------------------------------------------
 */
/* All goes by the stream of CONNECT, in order, both ways. */
static void test_old_node(void **state) {
  struct mesh m;
  struct discovery_entry *e;
  char *json = large_text();
  (void)state;
  start(&m, 1);
  struct rig_client *old = rig_client(&m.rig[0], 0, NULL), *a = client(&m, 0), *p = provider(&m, 0, "here");
  rig_opened(old);
  struct msg hello = {.type = MSG_CONNECT,
                      .connect = {.version = slice_str("1.0"),
                                  .node_id = slice_of(quic_identity_id(old->identity)->b, ID_LEN),
                                  .realm_id = slice_str("test"),
                                  .caps = RIG_EXT | CAP_NODE,
                                  .instance = slice_of(old->instance, sizeof old->instance)}};
  rig_send(old, &hello);
  assert_false(rig_expect(old, MSG_PONG).pong.caps & CAP_STREAMS);
  struct discovery *d = (struct discovery *)router_discovery(m.rig[0].node->rpc.router);
  struct remote_node there = {.id = *quic_identity_id(old->identity)};
  assert_int_equal(discovery_look(d, slice_str("there"), now(&m), &e), 0);
  assert_int_equal(discovery_found(d, e, &there, 1, now(&m)), 0);
  for (uint64_t i = 0; i < 3; i++) { /* a small one behind a large one, to it */
    call_of(a, "there", 2 * i + 1, slice_of(json, LARGE_LEN));
    call_of(a, "there", 2 * i + 2, slice_str("7"));
    struct msg first = rig_expect(old, MSG_CALL);
    assert_int_equal(first.call.args.n, LARGE_LEN);
    struct msg second = rig_expect(old, MSG_CALL);
    assert_true(slice_is(second.call.args, "7"));
    rig_reply(old, second.call.call_id, "14");
    result_is(a, "14");
    rig_reply(old, first.call.call_id, json);
    assert_int_equal(answer(a).result.n, LARGE_LEN);
  }
  call_of(old, "here", 1, slice_of(json, LARGE_LEN)); /* and from it */
  struct msg c = rig_expect(p, MSG_CALL);
  rig_reply(p, c.call.call_id, json);
  assert_int_equal(answer(old).result.n, LARGE_LEN);
  assert_int_equal(old->by_one_way, 0);
  free(json);
  stop(&m);
}

/* ---- a link that breaks ----------------------------------------------------------------------------------------------------
 */
enum { NEAR = 1, OTHER = 2 };
struct apart { /* providers of x.y at two nodes; the call goes to NEAR first */
  struct mesh m;
  struct rig_client *a, *p[3];
  char *json;
};

static void apart_begin(struct apart *t) {
  struct rig_options o = {.link = &far};
  memset(t, 0, sizeof *t);
  t->json = large_text();
  start_joined(&t->m, 3, &o);
  sim_net_icmp(t->m.rig[0].net, false);
  t->a = client(&t->m, 0);
  for (unsigned i = 1; i < 3; i++) t->p[i] = provider(&t->m, i, "x.y");
  knows(&t->m, 0, "x.y", "12");
}
static void apart_call(struct apart *t, size_t len) {
  call(t->a, 1, &(struct msg_call){.args = slice_of(t->json, len), .timeout = 60000, .strategy = STRATEGY_FIRST});
}
static void apart_end(struct apart *t) {
  stop(&t->m);
  free(t->json);
}

/* Nothing of it was acknowledged: it goes to another node, whichever stream it was on. */
static void test_breaks_before(void **state) {
  (void)state;
  for (int large = 0; large < 2; large++) {
    struct apart t;
    apart_begin(&t);
    rig_node_kill(&t.m.rig[NEAR]);
    apart_call(&t, large ? LARGE_LEN : 7);
    struct msg c = rig_expect(t.p[OTHER], MSG_CALL);
    assert_int_equal(c.call.args.n, large ? LARGE_LEN : 7);
    rig_reply(t.p[OTHER], c.call.call_id, "14");
    result_is(t.a, "14");
    assert_int_equal(t.p[NEAR]->counts[MSG_CALL], 0);
    rig_node_start(&t.m.rig[NEAR]);
    apart_end(&t);
  }
}

/* Some of it was: nobody can say what has become of it. */
static void test_breaks_within(void **state) {
  struct apart t;
  (void)state;
  apart_begin(&t);
  apart_call(&t, LARGE_LEN);
  rig_until(&t.m.rig[0], 5 * NS_SEC, has_a_call, &t.m, "the call is pending");
  run(&t.m, 120 * NS_MS);
  assert_int_equal(t.p[NEAR]->counts[MSG_CALL], 0);
  rig_node_kill(&t.m.rig[NEAR]);
  struct msg_reply r = answer(t.a);
  assert_true(r.is_error && slice_is(r.error.code, "provider_lost") && r.error.may_have_run);
  assert_int_equal(t.p[OTHER]->counts[MSG_CALL], 0);
  assert_int_equal(pending(&t.m, 0), 0);
  rig_node_start(&t.m.rig[NEAR]);
  mesh_settle(&t.m);
  t.p[NEAR] = provider(&t.m, NEAR, "x.y");
  knows(&t.m, 0, "x.y", "1");
  apart_call(&t, LARGE_LEN); /* over the next link, as ever */
  struct msg c = rig_expect(t.p[NEAR], MSG_CALL);
  rig_reply(t.p[NEAR], c.call.call_id, t.json);
  assert_int_equal(answer(t.a).result.n, LARGE_LEN);
  apart_end(&t);
}

/* ---- through a gateway -----------------------------------------------------------------------------------------------------
 */
static bool behind(void *ctx) {
  struct mesh *m = ctx;
  struct peer *p = peer(m, 1, 2), *q = peer(m, 0, 1);
  return p && p->link && q && q->link;
}

enum { SMALL = 200 };

static void many_small(struct rig_client *a, struct rig_client *p, uint64_t first) {
  for (uint64_t i = 0; i < SMALL; i++) call_of(a, "small", first + i, slice_str("7"));
  for (uint64_t i = 0; i < SMALL; i++) rig_reply(p, rig_expect(p, MSG_CALL).call.call_id, "14");
  for (uint64_t i = 0; i < SMALL; i++) result_is(a, "14");
}

/* More small ones overtake a large one than a window of seals takes in another order; both ways, all count. */
static void test_through_a_gateway(void **state) {
  struct rig_options o = {.link = &far};
  struct mesh m;
  char *json = large_text();
  (void)state;
  mesh_start(&m, 3, &o);
  mesh_cut(&m, 0, 2, true);
  m.rig[2].node->mesh.hidden = true;
  m.rig[2].node->mesh.self = (struct addr){0};
  mesh_join(&m, 2, 1);
  mesh_join(&m, 0, 1);
  rig_until(&m.rig[0], 5 * NS_SEC, behind, &m, "the hidden node's link");
  struct rig_client *a = client(&m, 0), *b = client(&m, 0), *p = provider(&m, 2, "small"), *q = provider(&m, 2, "large");
  knows_via(&m, 0, "small", "2", 1);
  knows_via(&m, 0, "large", "2", 1);
  many_small(a, p, 1000); /* there are keys from now on */
  call_of(b, "large", 1, slice_of(json, LARGE_LEN));
  rig_until(&m.rig[0], 5 * NS_SEC, has_a_call, &m, "the large one is on its way");
  many_small(a, p, 2000);
  assert_int_equal(q->counts[MSG_CALL], 0);
  struct msg c = rig_expect(q, MSG_CALL);
  assert_int_equal(c.call.args.n, LARGE_LEN);
  rig_reply(q, c.call.call_id, json);
  while (pending(&m, 2)) run(&m, 10 * NS_MS);
  many_small(a, p, 3000);
  assert_int_equal(b->counts[MSG_REPLY], 0);
  assert_int_equal(answer(b).result.n, LARGE_LEN);
  for (unsigned i = 0; i < 3; i += 2) assert_int_equal(rig_metric(&m.rig[i], "envelopes_replayed_total"), 0);
  free(json);
  stop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_beside),        cmocka_unit_test(test_slow_line),
                                     cmocka_unit_test(test_slower_line),   cmocka_unit_test(test_cancel),
                                     cmocka_unit_test(test_old_node),      cmocka_unit_test(test_breaks_before),
                                     cmocka_unit_test(test_breaks_within), cmocka_unit_test(test_through_a_gateway)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
