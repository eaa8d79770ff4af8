/* Calls across nodes over real QUIC on the in-memory network. */
#include "mesh_rig.h"

static void start(struct mesh *m, unsigned count) { mesh_start(m, count, NULL); }
static void stop(struct mesh *m) { mesh_stop(m); }

static const struct id *id(struct mesh *m, unsigned i) { return quic_identity_id(m->rig[i].identity); }
static struct peer *peer(struct mesh *m, unsigned of, unsigned who) { return mesh_peer(m, of, who); }
static nanotime now(struct mesh *m) { return sim_net_now(m->rig[0].net); }
static void run(struct mesh *m, nanotime for_ns) { rig_run(&m->rig[0], for_ns); }
static uint32_t pending(struct mesh *m, unsigned i) { return calls_count(router_calls(m->rig[i].node->router)); }

/* Node `at` has found that these (digits) serve the procedure; gateway: of all of them, -1: they are dialled. */
static void knows_via(struct mesh *m, unsigned at, const char *procedure, const char *nodes, int gateway) {
  struct discovery *d = (struct discovery *)router_discovery(m->rig[at].node->router);
  struct remote_node v[MESH_NODES];
  struct discovery_entry *e;
  size_t n = strlen(nodes);
  for (size_t i = 0; i < n; i++) {
    unsigned k = (unsigned)(nodes[i] - '0');
    v[i] = (struct remote_node){.id = *id(m, k)};
    if (gateway < 0)
      v[i].addr = m->rig[k].addr;
    else
      v[i].gateway = *id(m, (unsigned)gateway);
  }
  assert_int_equal(discovery_look(d, slice_str(procedure), now(m), &e), 0);
  assert_int_equal(discovery_found(d, e, v, n, now(m)), 0);
}
static void knows(struct mesh *m, unsigned at, const char *procedure, const char *nodes) {
  knows_via(m, at, procedure, nodes, -1);
}

static struct rig_client *client(struct mesh *m, unsigned at) { return rig_join(&m->rig[at], 0, NULL, RIG_EXT); }
static struct rig_client *provider(struct mesh *m, unsigned at, const char *procedure) {
  struct rig_client *c = client(m, at);
  assert_int_equal(rig_register(c, procedure), 0);
  return c;
}

static void call(struct rig_client *c, uint8_t n, const struct msg_call *as) {
  uint8_t call_id[CALL_ID_LEN] = {n};
  struct msg m = {.type = MSG_CALL, .call = *as};
  m.call.procedure = slice_str("x.y");
  m.call.call_id = slice_of(call_id, sizeof call_id);
  if (!m.call.args.p) m.call.args = slice_str("7");
  rig_send(c, &m);
}
static struct msg_reply answer(struct rig_client *c) { return rig_expect(c, MSG_REPLY).reply; }
static void result_is(struct rig_client *c, const char *result) {
  struct msg_reply r = answer(c);
  if (r.is_error) fail_msg("%.*s: %.*s", (int)r.error.code.n, r.error.code.p, (int)r.error.message.n, r.error.message.p);
  assert_true(slice_is(r.result, result));
}

static void test_there_and_back(void **state) {
  struct mesh m;
  (void)state;
  start(&m, 2);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 1, "x.y");
  knows(&m, 0, "x.y", "1");
  for (uint8_t i = 1; i <= 3; i++) { /* the first time a link is dialled for it */
    call(a, i, &(struct msg_call){.timeout = 3000, .idempotent = true, .strategy = STRATEGY_ROUND_ROBIN});
    struct msg c = rig_expect(p, MSG_CALL);
    assert_true(slice_is(c.call.args, "7") && slice_is(c.call.procedure, "x.y"));
    assert_in_range(c.call.timeout, 2000, 3000);
    assert_int_equal(pending(&m, 0), 1);
    assert_int_equal(pending(&m, 1), 1);
    rig_reply(p, c.call.call_id, "14");
    struct msg_reply r = answer(a);
    assert_true(slice_is(r.result, "14") && r.call_id.p[0] == i);
    assert_int_equal(pending(&m, 0), 0);
    assert_int_equal(pending(&m, 1), 0);
  }
  assert_int_equal(rig_metric(&m.rig[0], "mesh_dials_total"), 1);
  /* A handler's error and its text arrive unchanged. */
  call(a, 4, &(struct msg_call){0});
  struct msg c = rig_expect(p, MSG_CALL);
  struct msg e = {.type = MSG_REPLY,
                  .reply = {.call_id = c.call.call_id,
                            .is_error = true,
                            .error = {.code = slice_str("handler_error"), .message = slice_str("no x")}}};
  rig_send(p, &e);
  struct msg_reply r = answer(a);
  assert_true(slice_is(r.error.code, "handler_error") && slice_is(r.error.message, "no x") && r.error.may_have_run);
  stop(&m);
}

static void test_large(void **state) {
  struct mesh m;
  size_t n = 900000;
  char *json = malloc(n + 1);
  (void)state;
  memset(json, '1', n);
  json[n] = 0;
  start(&m, 2);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 1, "x.y");
  knows(&m, 0, "x.y", "1");
  for (uint8_t i = 1; i <= 4; i++) {
    call(a, i, &(struct msg_call){.args = slice_of(json, n)});
    struct msg c = rig_expect(p, MSG_CALL);
    assert_int_equal(c.call.args.n, n);
    rig_reply(p, c.call.call_id, json);
    assert_int_equal(answer(a).result.n, n);
  }
  free(json);
  stop(&m);
}

static void test_cast(void **state) {
  struct mesh m;
  (void)state;
  start(&m, 2);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 1, "x.y");
  knows(&m, 0, "x.y", "1");
  struct msg cast = {.type = MSG_CAST,
                     .call = {.procedure = slice_str("x.y"), .args = slice_str("1"), .ref = 5, .has_ref = true}};
  rig_send(a, &cast);
  struct msg_ack ack = rig_expect(a, MSG_ACK).ack;
  assert_true(ack.ref == 5 && !ack.code.n);
  assert_true(slice_is(rig_expect(p, MSG_CAST).call.args, "1"));
  assert_int_equal(pending(&m, 0), 0);
  stop(&m);
}

/* A refusing node is left for the next; the error names nodes and reasons. */
static void test_refusals(void **state) {
  struct mesh m;
  struct msg_attempt t;
  (void)state;
  start(&m, 4);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 3, "x.y");
  knows(&m, 0, "x.y", "123");
  call(a, 1, &(struct msg_call){.strategy = STRATEGY_FIRST});
  struct msg c = rig_expect(p, MSG_CALL);
  rig_reply(p, c.call.call_id, "1");
  result_is(a, "1");
  knows(&m, 0, "x.y", "12");
  call(a, 2, &(struct msg_call){.strategy = STRATEGY_FIRST});
  struct msg_reply r = answer(a);
  assert_true(slice_is(r.error.code, "all_providers_failed") && !r.error.may_have_run);
  for (unsigned i = 1; i <= 2; i++) {
    assert_true(msg_attempt_next(&r.error, &t));
    assert_true(slice_is(t.code, "no_such_procedure") && slice_eq(t.provider, slice_of(id(&m, i)->b, ID_LEN)));
  }
  /* A node that nobody answers at is given up for the next in time. */
  rig_node_kill(&m.rig[1]);
  struct peer *dead = peer(&m, 0, 1);
  if (dead->link) link_close(dead, MACULA_EVICTED);
  knows(&m, 0, "x.y", "13");
  nanotime began = now(&m);
  call(a, 3, &(struct msg_call){.strategy = STRATEGY_FIRST, .timeout = 5000});
  c = rig_expect(p, MSG_CALL);
  assert_in_range(now(&m) - began, NS_SEC, 3 * NS_SEC);
  rig_reply(p, c.call.call_id, "3");
  result_is(a, "3");
  stop(&m);
}

static void test_round_robin(void **state) {
  struct mesh m;
  (void)state;
  start(&m, 4);
  struct rig_client *a = client(&m, 0), *p[3];
  for (unsigned i = 0; i < 3; i++) p[i] = provider(&m, i + 1, "x.y");
  knows(&m, 0, "x.y", "123");
  for (uint8_t i = 0; i < 6; i++) {
    char text[4];
    call(a, (uint8_t)(i + 1), &(struct msg_call){.strategy = STRATEGY_ROUND_ROBIN});
    struct msg c = rig_expect(p[i % 3], MSG_CALL);
    snprintf(text, sizeof text, "%d", (i % 3 + 2) * 7);
    rig_reply(p[i % 3], c.call.call_id, text);
    result_is(a, text);
  }
  stop(&m);
}

static void test_callers_end_frees_the_chain(void **state) {
  struct mesh m;
  (void)state;
  start(&m, 2);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 1, "x.y");
  knows(&m, 0, "x.y", "1");
  for (uint8_t i = 0; i < 20; i++) call(a, (uint8_t)(i + 1), &(struct msg_call){.timeout = 60000});
  for (int i = 0; i < 20; i++) (void)rig_expect(p, MSG_CALL);
  uint8_t first[CALL_ID_LEN] = {1};
  struct msg cancel = {.type = MSG_CANCEL, .cancel = {.call_id = slice_of(first, sizeof first)}};
  rig_send(a, &cancel);
  (void)rig_expect(p, MSG_CANCEL);
  assert_int_equal(pending(&m, 0), 19);
  assert_int_equal(pending(&m, 1), 19);
  quic_conn_close(a->conn, 0, "bye");
  run(&m, 10 * NS_MS);
  assert_int_equal(pending(&m, 0), 0);
  assert_int_equal(pending(&m, 1), 0);
  for (int i = 0; i < 19; i++) (void)rig_expect(p, MSG_CANCEL);
  stop(&m);
}

static void test_the_callers_node_dies(void **state) {
  struct mesh m;
  (void)state;
  start(&m, 2);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 1, "x.y");
  knows(&m, 0, "x.y", "1");
  call(a, 1, &(struct msg_call){.timeout = 3600000});
  (void)rig_expect(p, MSG_CALL);
  rig_node_kill(&m.rig[0]);
  run(&m, 60 * NS_SEC);
  assert_int_equal(pending(&m, 1), 0);
  (void)rig_expect(p, MSG_CANCEL);
  rig_node_start(&m.rig[0]);
  stop(&m);
}

static void test_a_nodes_death_in_mid_call(void **state) {
  struct mesh m;
  struct msg_attempt t;
  (void)state;
  start(&m, 3);
  struct rig_client *a = client(&m, 0), *p1 = provider(&m, 1, "x.y"), *p2 = provider(&m, 2, "x.y");
  knows(&m, 0, "x.y", "12");
  call(a, 1, &(struct msg_call){.strategy = STRATEGY_FIRST, .timeout = 30000});
  (void)rig_expect(p1, MSG_CALL);
  nanotime began = now(&m);
  rig_node_kill(&m.rig[1]);
  struct msg c = rig_expect(p2, MSG_CALL);
  assert_true(now(&m) - began < 5 * NS_SEC);
  rig_reply(p2, c.call.call_id, "2");
  result_is(a, "2");
  call(a, 2,
       &(struct msg_call){.strategy = STRATEGY_FIRST, .timeout = 30000}); /* the dead one may still be first in the cache */
  c = rig_expect(p2, MSG_CALL);
  rig_node_kill(&m.rig[2]);
  struct msg_reply r = answer(a);
  assert_true(slice_is(r.error.code, "all_providers_failed") && r.error.may_have_run);
  bool ran = false;
  while (msg_attempt_next(&r.error, &t)) ran |= slice_is(t.code, "not_connected") && t.may_have_run;
  assert_true(ran);
  assert_int_equal(pending(&m, 0), 0);
  rig_node_start(&m.rig[1]);
  rig_node_start(&m.rig[2]);
  stop(&m);
}

/* A provider's end is told by its node at once, and another node's provider takes over. */
static void test_a_providers_death(void **state) {
  struct mesh m;
  (void)state;
  start(&m, 3);
  struct rig_client *a = client(&m, 0), *p1 = provider(&m, 1, "x.y"), *p2 = provider(&m, 2, "x.y");
  knows(&m, 0, "x.y", "12");
  call(a, 1, &(struct msg_call){.strategy = STRATEGY_FIRST, .timeout = 30000});
  (void)rig_expect(p1, MSG_CALL);
  quic_conn_close(p1->conn, 0, "bye");
  struct msg c = rig_expect(p2, MSG_CALL);
  rig_reply(p2, c.call.call_id, "2");
  result_is(a, "2");
  stop(&m);
}

static void test_deadline(void **state) {
  struct mesh m;
  (void)state;
  start(&m, 2);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 1, "x.y");
  knows(&m, 0, "x.y", "1");
  call(a, 1, &(struct msg_call){.timeout = 500});
  (void)rig_expect(p, MSG_CALL);
  nanotime began = now(&m);
  struct msg_reply r = answer(a);
  assert_true(now(&m) - began <= 520 * NS_MS);
  assert_true(slice_is(r.error.code, "timeout") && r.error.may_have_run);
  (void)rig_expect(p, MSG_CANCEL);
  run(&m, 20 * NS_MS);
  assert_int_equal(pending(&m, 1), 0);
  stop(&m);
}

/* ---- nodes behind a gateway ------------------------------------------------------------------------------------------------
 */
static bool behind(void *ctx) {
  struct mesh *m = ctx;
  struct peer *p = peer(m, 1, 2), *q = peer(m, 0, 1);
  return p && p->link && q && q->link;
}

/* Nobody can dial 2, and it cannot dial 0: what they say to each other goes through 1. */
static void start_hidden(struct mesh *m) {
  start(m, 3);
  sim_net_cut(m->rig[0].net, &m->rig[0].addr, &m->rig[2].addr, true);
  struct node *h = m->rig[2].node;
  h->hidden = true;
  h->self = (struct addr){0};
  assert_int_equal(node_join(h, &m->rig[1].addr, NULL, true, now(m)), 0);
  assert_int_equal(node_join(m->rig[0].node, &m->rig[1].addr, NULL, true, now(m)), 0);
  rig_until(&m->rig[0], 5 * NS_SEC, behind, m, "the hidden node's link");
}

static void test_through_a_gateway(void **state) {
  struct mesh m;
  (void)state;
  start_hidden(&m);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 2, "x.y");
  knows_via(&m, 0, "x.y", "2", 1);
  for (uint8_t i = 1; i <= 3; i++) {
    call(a, i, &(struct msg_call){.timeout = 3000});
    struct msg c = rig_expect(p, MSG_CALL);
    rig_reply(p, c.call.call_id, "9");
    result_is(a, "9");
  }
  assert_true(rig_metric(&m.rig[1], "routes_forwarded_total") >= 6); /* SWIM goes there, too */
  assert_true(rig_metric(&m.rig[2], "routes_delivered_total") >= 3);
  /* Cancelled by the same way. */
  call(a, 4, &(struct msg_call){.timeout = 60000});
  (void)rig_expect(p, MSG_CALL);
  quic_conn_close(a->conn, 0, "bye");
  (void)rig_expect(p, MSG_CANCEL);
  assert_int_equal(pending(&m, 0), 0);
  assert_int_equal(pending(&m, 2), 0);
  stop(&m);
}

static void test_the_hidden_node_is_gone(void **state) {
  struct mesh m;
  struct msg_attempt t;
  (void)state;
  start_hidden(&m);
  struct rig_client *a = client(&m, 0);
  (void)provider(&m, 2, "x.y");
  knows_via(&m, 0, "x.y", "2", 1);
  link_close(peer(&m, 1, 2), MACULA_EVICTED);
  m.rig[2].node->draining = true; /* it does not come back */
  nanotime began = now(&m);
  call(a, 1, &(struct msg_call){.timeout = 10000});
  struct msg_reply r = answer(a);
  assert_true(now(&m) - began < NS_SEC); /* the gateway says so */
  assert_true(slice_is(r.error.code, "all_providers_failed") && !r.error.may_have_run);
  assert_true(msg_attempt_next(&r.error, &t) && slice_is(t.code, "no_route"));
  assert_true(slice_eq(t.provider, slice_of(id(&m, 2)->b, ID_LEN)));
  assert_true(rig_metric(&m.rig[1], "routes_failed_total") >= 1);
  m.rig[2].node->draining = false;
  stop(&m);
}

static void test_the_gateway_dies(void **state) {
  struct mesh m;
  (void)state;
  start_hidden(&m);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 2, "x.y");
  knows_via(&m, 0, "x.y", "2", 1);
  call(a, 1, &(struct msg_call){.timeout = 30000});
  (void)rig_expect(p, MSG_CALL);
  nanotime began = now(&m);
  rig_node_kill(&m.rig[1]);
  struct msg_reply r = answer(a);
  assert_true(now(&m) - began < 5 * NS_SEC);
  assert_true(slice_is(r.error.code, "all_providers_failed") && r.error.may_have_run);
  rig_node_start(&m.rig[1]);
  stop(&m);
}

static void test_envelopes_that_cannot_go_on(void **state) {
  struct mesh m;
  struct id nobody = {{9}};
  uint8_t buf[256], call_id[CALL_ID_LEN] = {1};
  (void)state;
  start_hidden(&m);
  struct peer *from = peer(&m, 1, 2);
  struct msg inner = {.type = MSG_CALL,
                      .call = {.procedure = slice_str("x.y"), .args = slice_str("1"), .call_id = slice_of(call_id, 16)}};
  ptrdiff_t len = msg_encode(&inner, buf, sizeof buf);
  struct slice path[2] = {slice_of(id(&m, 1)->b, ID_LEN), slice_of(id(&m, 2)->b, ID_LEN)};
  struct msg e = {.type = MSG_RPC_ROUTE,
                  .route = {.destination = slice_of(nobody.b, ID_LEN),
                            .source = path[1],
                            .max_hops = 10,
                            .payload_type = slice_str("call"),
                            .payload = slice_of(buf + FRAME_HEADER_LEN, (size_t)len - FRAME_HEADER_LEN)}};
  uint8_t frame[1024];
  struct {
    size_t path_from, path_len;
    uint64_t hops, max;
    const struct id *to;
    const char *type;
    bool answered;
  } cases[] = {{1, 1, 0, 10, &nobody, "call", true},   /* nobody knows it */
               {1, 1, 9, 10, id(&m, 0), "call", true}, /* too far */
               {1, 1, 200, UINT64_MAX, id(&m, 0), "call", true},
               {1, 1, 0, 1, id(&m, 0), "call", true},
               {1, 1, 0, 10, &nobody, "reply", false},       /* nobody waits for an answer to that */
               {0, 2, 0, 10, id(&m, 0), "call", false},      /* it was here already */
               {0, 1, 0, 10, id(&m, 0), "call", false},      /* not from whom it says */
               {1, 0, 0, 10, id(&m, 0), "call", false},      /* no path at all */
               {1, 1, 0, 10, id(&m, 1), "rpc_route", false}, /* an envelope in an envelope */
               {1, 1, 0, 10, id(&m, 1), "nonsense", false},
               {1, 1, 0, 10, id(&m, 1), "publish", false}}; /* its payload is none */
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct msg d;
    uint64_t failed = m.rig[1].node->stats.routes_failed, late = router_stats(m.rig[2].node->router)->late;
    e.route.path = (struct msg_list){.count = (uint32_t)cases[i].path_len, .items = path + cases[i].path_from};
    e.route.hop_count = cases[i].hops;
    e.route.max_hops = cases[i].max;
    e.route.destination = slice_of(cases[i].to->b, ID_LEN);
    e.route.payload_type = slice_str(cases[i].type);
    len = msg_encode(&e, frame, sizeof frame);
    assert_true(len > 0);
    assert_int_equal(msg_decode(MSG_RPC_ROUTE, slice_of(frame + FRAME_HEADER_LEN, (size_t)len - FRAME_HEADER_LEN), &d), 0);
    route_received(from, &d);
    run(&m, 50 * NS_MS);
    if (m.rig[1].node->stats.routes_failed != failed + 1) fail_msg("case %zu", i);
    assert_int_equal(router_stats(m.rig[2].node->router)->late, late + cases[i].answered); /* of no call of its own */
  }
  assert_true(behind(&m));
  stop(&m);
}

/* ---- found in the DHT ------------------------------------------------------------------------------------------------------
 */
static void start_joined(struct mesh *m, unsigned count, const struct rig_options *o) {
  mesh_start(m, count, o);
  for (unsigned i = 1; i < count; i++) mesh_join(m, i, 0);
  mesh_settle(m);
}

static void code_is(struct rig_client *c, const char *code) {
  struct msg_reply r = answer(c);
  assert_true(r.is_error);
  if (!slice_is(r.error.code, code)) fail_msg("%.*s and not %s", (int)r.error.code.n, r.error.code.p, code);
}

/* Called the moment that its registration is confirmed, from a node that never heard of it. */
static void test_found_at_once(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 5; seed++) {
    struct sim_link link = {.delay = 2 * NS_MS, .jitter = NS_MS, .loss = seed > 3 ? 0.05 : 0};
    struct rig_options o = {.seed = seed, .link = &link};
    struct mesh m;
    start_joined(&m, 5, &o);
    struct rig_client *a = client(&m, 1), *p = provider(&m, 4, "x.y");
    call(a, 1, &(struct msg_call){.timeout = 10000});
    struct msg c = rig_expect(p, MSG_CALL);
    rig_reply(p, c.call.call_id, "5");
    result_is(a, "5");
    assert_true(rig_metric(&m.rig[1], "discovery_lookups_total") >= 1);
    for (uint8_t i = 2; i < 6; i++) { /* from everywhere, the provider's own node included */
      struct rig_client *b = client(&m, i - 1u);
      call(b, i, &(struct msg_call){.timeout = 10000});
      c = rig_expect(p, MSG_CALL);
      rig_reply(p, c.call.call_id, "6");
      result_is(b, "6");
    }
    assert_int_equal(rig_metric(&m.rig[4], "discovery_lookups_total"), 0); /* local first */
    stop(&m);
  }
}

/* dht_query_not_found_test: an answer and no error of the lookup, soon, and known for a second. */
static void test_nobody_serves_it(void **state) {
  struct mesh m;
  (void)state;
  start(&m, 1);
  struct rig_client *a = client(&m, 0);
  nanotime began = now(&m);
  call(a, 1, &(struct msg_call){0}); /* dht_not_available_test: a node on its own knows at once */
  code_is(a, "no_such_procedure");
  assert_true(now(&m) - began < 100 * NS_MS);
  stop(&m);
  start_joined(&m, 3, NULL);
  a = client(&m, 0);
  began = now(&m);
  call(a, 1, &(struct msg_call){0});
  code_is(a, "no_such_procedure");
  assert_true(now(&m) - began < NS_SEC);
  uint64_t lookups = rig_metric(&m.rig[0], "discovery_lookups_total");
  for (uint8_t i = 2; i < 10; i++) {
    call(a, i, &(struct msg_call){0});
    code_is(a, "no_such_procedure");
  }
  assert_int_equal(rig_metric(&m.rig[0], "discovery_lookups_total"), lookups);
  stop(&m);
}

/* dht_publish_success_test, dht_remove_success_test, full_lifecycle_test: registered, found, unregistered, gone. */
static void test_withdrawn(void **state) {
  (void)state;
  for (int how = 0; how < 3; how++) {
    struct mesh m;
    struct rig_options o = {.node = {.limits = {.service_ttl = 20 * NS_SEC}}};
    start_joined(&m, 4, &o);
    struct rig_client *a = client(&m, 1), *p = provider(&m, 3, "x.y"), *q = provider(&m, 3, "x.y");
    call(a, 1, &(struct msg_call){0});
    run(&m, NS_SEC);
    struct msg unreg = {.type = MSG_UNREGISTER, .unreg = {.procedure = slice_str("x.y"), .ref = 1, .has_ref = true}};
    rig_send(q, &unreg);
    run(&m, NS_SEC);
    struct discovery_entry *e =
        discovery_find(router_discovery(m.rig[1].node->router), slice_str("x.y")); /* one of two is no withdrawal */
    assert_true(e && e->count == 1 && id_eq(&e->v[0].id, id(&m, 3)));
    if (how == 0) rig_send(p, &unreg);
    if (how == 1) quic_conn_close(p->conn, 0, "bye");
    if (how == 2) run(&m, 25 * NS_SEC); /* nobody renews it */
    run(&m, 3 * NS_SEC);
    call(client(&m, 2), 1, &(struct msg_call){0});
    code_is(m.rig[2].clients[m.rig[2].client_count - 1], "no_such_procedure"); /* who never knew it */
    call(a, 2, &(struct msg_call){0});
    struct msg_reply r;
    do r = answer(a);
    while (r.call_id.p[0] != 2);
    assert_true(r.is_error && !r.error.may_have_run); /* and who did */
    assert_true(slice_is(r.error.code, "no_such_procedure") || slice_is(r.error.code, "all_providers_failed"));
    stop(&m);
  }
}

/* A service outlives its TTL as long as it is renewed, at other nodes, too. */
static void test_renewed(void **state) {
  struct mesh m;
  struct rig_options o = {.node = {.limits = {.service_ttl = 20 * NS_SEC}}};
  (void)state;
  start_joined(&m, 3, &o);
  struct rig_client *a = client(&m, 1), *p = provider(&m, 2, "x.y");
  for (uint8_t i = 1; i <= 12; i++) {
    run(&m, 10 * NS_SEC);
    assert_int_equal(rig_register(p, "x.y"), 0);
    call(a, i, &(struct msg_call){0});
    struct msg c = rig_expect(p, MSG_CALL);
    rig_reply(p, c.call.call_id, "1");
    result_is(a, "1");
  }
  stop(&m);
}

/* A client that calls whatever name comes to its mind is answered at once, and leaves lookups for the others of its node. */
static void test_a_client_that_calls_random_names(void **state) {
  struct rig_options o = {.node = {.limits = {.client_lookups = 5}}};
  struct mesh m;
  char name[32];
  unsigned limited = 0, unknown = 0;
  (void)state;
  start_joined(&m, 3, &o);
  struct rig_client *a = client(&m, 0), *b = client(&m, 0), *p = provider(&m, 1, "x.y");
  run(&m, NS_SEC);
  uint64_t lookups = rig_metric(&m.rig[0], "discovery_lookups_total");
  for (unsigned i = 0; i < 500; i++) {
    snprintf(name, sizeof name, "no.such%u", i);
    rig_call(a, name, "1", i, 5000);
  }
  call(b, 1, &(struct msg_call){.timeout = 5000});
  struct msg c = rig_expect(p, MSG_CALL);
  rig_reply(p, c.call.call_id, "1");
  result_is(b, "1");
  for (unsigned i = 0; i < 500; i++) {
    struct msg_reply r = answer(a);
    assert_true(r.is_error && !r.error.may_have_run);
    limited += slice_is(r.error.code, "rate_limited");
    unknown += slice_is(r.error.code, "no_such_procedure");
  }
  assert_int_equal(limited + unknown, 500);
  assert_in_range(unknown, 20, 30);
  assert_in_range(rig_metric(&m.rig[0], "discovery_lookups_total") - lookups, 20, 40);
  assert_int_equal(rig_metric(&m.rig[0], "discovery_lookups_refused_total"), limited);
  call(a, 1, &(struct msg_call){.timeout = 5000}); /* what is known needs no lookup */
  c = rig_expect(p, MSG_CALL);
  rig_reply(p, c.call.call_id, "2");
  result_is(a, "2");
  stop(&m);
}

/* A second provider is heard of while the first one's entry is still good, and turns go round both. */
static void test_a_newcomer_is_heard_of(void **state) {
  struct mesh m;
  (void)state;
  start_joined(&m, 4, NULL);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 1, "x.y"), *q = NULL;
  nanotime began = 0;
  for (uint8_t i = 1;; i++) {
    if (i == 5) q = provider(&m, 2, "x.y"), began = now(&m);
    call(a, i, &(struct msg_call){.strategy = STRATEGY_ROUND_ROBIN});
    run(&m, 500 * NS_MS);
    if (q && q->counts[MSG_CALL]) break;
    struct msg c = rig_expect(p, MSG_CALL);
    rig_reply(p, c.call.call_id, "1");
    result_is(a, "1");
    assert_true(i < 40);
  }
  assert_true(now(&m) - began < 15 * NS_SEC);
  stop(&m);
}

static void test_a_providers_node_dies(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 3; seed++) {
    struct rig_options o = {.seed = seed};
    struct mesh m;
    start_joined(&m, 5, &o);
    struct rig_client *a = client(&m, 0), *p[3];
    for (unsigned i = 0; i < 3; i++) p[i] = provider(&m, i + 1, "x.y");
    run(&m, 2 * NS_SEC);
    call(a, 1, &(struct msg_call){.timeout = 30000, .strategy = STRATEGY_ROUND_ROBIN});
    run(&m, 2 * NS_SEC);
    unsigned dead = 3;
    for (unsigned i = 0; i < 3; i++)
      if (p[i]->counts[MSG_CALL]) dead = i;
    assert_int_not_equal(dead, 3);
    rig_node_kill(&m.rig[dead + 1]);
    nanotime began = now(&m);
    for (uint8_t i = 1; i < 30; i++) { /* the one in flight, and then one after another */
      bool answered = false;
      while (!answered) {
        run(&m, 20 * NS_MS);
        for (unsigned k = 0; k < 3; k++)
          while (k != dead && p[k]->read < p[k]->kept_count) {
            struct rig_frame *f = &p[k]->kept[p[k]->read++];
            struct msg c;
            if (f->type != MSG_CALL || msg_decode(MSG_CALL, slice_of(f->payload, f->len), &c)) continue;
            rig_reply(p[k], c.call.call_id, "1");
            answered = true;
          }
        assert_true(now(&m) - began < 10 * NS_SEC);
      }
      result_is(a, "1");
      began = now(&m);
      call(a, (uint8_t)(i + 1), &(struct msg_call){.timeout = 30000, .strategy = STRATEGY_ROUND_ROBIN});
    }
    rig_node_start(&m.rig[dead + 1]);
    stop(&m);
  }
}

/* Of a call that waits for its lookup, too, nothing is left. */
static void test_the_caller_goes_during_the_lookup(void **state) {
  struct mesh m;
  (void)state;
  start_joined(&m, 3, NULL);
  struct rig_client *a = client(&m, 1);
  for (unsigned i = 0; i < 3; i += 2) mesh_cut(&m, 1, i, true); /* nobody answers */
  for (uint8_t i = 1; i < 20; i++) call(a, i, &(struct msg_call){.timeout = 60000});
  run(&m, 20 * NS_MS);
  assert_int_equal(pending(&m, 1), 19);
  assert_int_equal(m.rig[1].node->lookups.count, 1);
  quic_conn_close(a->conn, 0, "bye");
  run(&m, 20 * NS_MS);
  assert_int_equal(pending(&m, 1), 0);
  assert_int_equal(m.rig[1].node->lookups.count, 0);
  assert_int_equal(router_discovery(m.rig[1].node->router)->looking, 0);
  a = client(&m, 1);
  call(a, 1, &(struct msg_call){.timeout = 60000});
  code_is(a, "dht_timeout");
  stop(&m);
}

/* A provider at a node that nobody can dial: its record names the gateway. */
static void test_a_hidden_provider_is_found(void **state) {
  struct mesh m;
  (void)state;
  mesh_start(&m, 4, NULL);
  struct node *h = m.rig[3].node;
  h->hidden = true;
  h->self = (struct addr){0};
  mesh_cut(&m, 0, 3, true); /* and it reaches no more than two of them */
  mesh_join(&m, 1, 0);
  mesh_join(&m, 2, 0);
  mesh_join(&m, 3, 1);
  run(&m, 10 * NS_SEC);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 3, "x.y");
  run(&m, 2 * NS_SEC);
  for (uint8_t i = 1; i <= 4; i++) {
    call(a, i, &(struct msg_call){.timeout = 10000});
    struct msg c = rig_expect(p, MSG_CALL);
    rig_reply(p, c.call.call_id, "9");
    result_is(a, "9");
    run(&m, NS_SEC);
  }
  /* Its gateway dies: it stays connected to the other one, and its services with it. */
  unsigned gateway = h->gateway == mesh_peer(&m, 3, 1) ? 1 : 2;
  rig_node_kill(&m.rig[gateway]);
  run(&m, 20 * NS_SEC);
  call(a, 5, &(struct msg_call){.timeout = 10000});
  struct msg c = rig_expect(p, MSG_CALL);
  rig_reply(p, c.call.call_id, "9");
  result_is(a, "9");
  rig_node_start(&m.rig[gateway]);
  stop(&m);
}

static int try_call(struct rig_client *a, struct rig_client *p, uint8_t n, uint64_t timeout_ms) {
  struct rig *r = a->rig;
  uint64_t replies = a->counts[MSG_REPLY];
  call(a, n, &(struct msg_call){.timeout = timeout_ms});
  while (a->counts[MSG_REPLY] == replies) {
    rig_run(r, 10 * NS_MS);
    while (p->read < p->kept_count) {
      struct rig_frame *f = &p->kept[p->read++];
      struct msg c;
      if (f->type == MSG_CALL && !msg_decode(MSG_CALL, slice_of(f->payload, f->len), &c)) rig_reply(p, c.call.call_id, "1");
    }
  }
  struct msg_reply m = answer(a);
  return m.is_error ? err_from_name((const char *)m.error.code.p, m.error.code.n) : 0;
}

/* Halves that cannot hear each other for 30 s: errors in time, and soon after it heals calls cross again. */
static void test_partition(void **state) {
  struct mesh m;
  uint8_t n = 1;
  (void)state;
  start_joined(&m, 4, NULL);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 3, "x.y");
  run(&m, NS_SEC);
  assert_int_equal(try_call(a, p, n++, 5000), 0);
  for (unsigned i = 0; i < 4; i++) mesh_cut(&m, i / 2, 2 + i % 2, true);
  nanotime began = now(&m);
  while (now(&m) - began < 30 * NS_SEC) {
    nanotime at = now(&m);
    assert_int_not_equal(try_call(a, p, n++, 5000), 0);
    assert_true(now(&m) - at < 5500 * NS_MS);
    run(&m, NS_SEC);
  }
  for (unsigned i = 0; i < 4; i++) mesh_cut(&m, i / 2, 2 + i % 2, false);
  began = now(&m);
  while (try_call(a, p, n++, 5000)) {
    run(&m, 500 * NS_MS);
    assert_true(now(&m) - began < 60 * NS_SEC);
  }
  print_message("calls cross %llu ms after the partition has healed\n", (unsigned long long)((now(&m) - began) / NS_MS));
  stop(&m);
}

/* ---- whatever happens ------------------------------------------------------------------------------------------------------
 */
#define CALLERS 3u
#define STORM_CALLS 400u /* a caller */

struct storm {
  struct mesh m;
  struct rig_client *caller[CALLERS], *provider[MESH_NODES];
  uint64_t asked[CALLERS][STORM_CALLS], answered[CALLERS][STORM_CALLS]; /* when; 0: not */
  nanotime heard[CALLERS]; /* when answers were looked for last: what comes later may have come since */
  unsigned results, errors;
};

static void storm_answer(struct storm *s, struct rig_client *p, struct rng rng) {
  while (p && p->read < p->kept_count) {
    struct rig_frame *f = &p->kept[p->read++];
    struct msg c;
    if (f->type != MSG_CALL || msg_decode(MSG_CALL, slice_of(f->payload, f->len), &c)) continue;
    if (p->closed || rng_below(rng, 20) == 0) continue; /* one in 20 never answers */
    rig_reply(p, c.call.call_id, "1");
  }
  (void)s;
}

static void storm_hear(struct storm *s, unsigned k) {
  struct rig_client *a = s->caller[k];
  while (a->read < a->kept_count) {
    struct rig_frame *f = &a->kept[a->read++];
    struct msg r;
    if (f->type != MSG_REPLY) continue;
    assert_int_equal(msg_decode(MSG_REPLY, slice_of(f->payload, f->len), &r), 0);
    unsigned n = (unsigned)(r.reply.call_id.p[0] | r.reply.call_id.p[1] << 8);
    if (n >= STORM_CALLS || !s->asked[k][n] || s->answered[k][n])
      fail_msg("call %u of %u: answered twice or never asked", n, k);
    s->answered[k][n] = s->heard[k] > s->asked[k][n] ? s->heard[k] : s->asked[k][n];
    if (r.reply.is_error)
      s->errors++;
    else
      s->results++;
  }
  s->heard[k] = now(&s->m);
}

/* Providers come, go and keep silent, nodes are killed and come back, datagrams are lost: each call is answered exactly once,
 * by its deadline, and afterwards nothing is pending anywhere. */
static void test_storm(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 4; seed++) {
    struct sim_link link = {.delay = 2 * NS_MS, .jitter = 2 * NS_MS, .loss = 0.01};
    struct rig_options o = {.seed = seed, .link = &link};
    struct storm *s = calloc(1, sizeof *s);
    struct rng_seeded seeded;
    rng_seeded_init(&seeded, seed);
    struct rng rng = rng_seeded_view(&seeded);
    start_joined(&s->m, 6, &o);
    for (unsigned k = 0; k < CALLERS; k++) s->caller[k] = client(&s->m, k / 2);
    for (unsigned i = 2; i < 6; i++) s->provider[i] = provider(&s->m, i, "x.y");
    unsigned down = 0;
    nanotime back = 0;
    for (unsigned n = 0; n < STORM_CALLS + 60; n++) {
      for (unsigned k = 0; k < CALLERS && n < STORM_CALLS; k++) {
        uint8_t call_id[CALL_ID_LEN] = {(uint8_t)n, (uint8_t)(n >> 8)};
        struct msg c = {.type = MSG_CALL,
                        .call = {.procedure = slice_str("x.y"),
                                 .args = slice_str("1"),
                                 .call_id = slice_of(call_id, sizeof call_id),
                                 .timeout = 3000,
                                 .strategy = (enum strategy)(1 + rng_below(rng, 5)),
                                 .idempotent = rng_below(rng, 2)}};
        s->asked[k][n] = now(&s->m);
        rig_send(s->caller[k], &c);
      }
      for (int turn = 0; turn < 5; turn++) {
        run(&s->m, 20 * NS_MS);
        for (unsigned i = 2; i < 6; i++)
          if (i != down) storm_answer(s, s->provider[i], rng);
        for (unsigned k = 0; k < CALLERS; k++) storm_hear(s, k);
      }
      if (down && now(&s->m) > back) {
        rig_node_start(&s->m.rig[down]);
        mesh_join(&s->m, down, 0);
        s->provider[down] = provider(&s->m, down, "x.y");
        down = 0;
      } else if (!down && n < STORM_CALLS && rng_below(rng, 60) == 0) {
        down = 2 + (unsigned)rng_below(rng, 4);
        s->provider[down] = NULL;
        rig_node_kill(&s->m.rig[down]);
        back = now(&s->m) + (1 + rng_below(rng, 12)) * NS_SEC;
      }
      unsigned i = 2 + (unsigned)rng_below(rng, 4);
      if (i != down && rng_below(rng, 40) == 0) { /* a provider goes, another comes */
        quic_conn_close(s->provider[i]->conn, 0, "bye");
        s->provider[i] = provider(&s->m, i, "x.y");
      }
    }
    for (unsigned k = 0; k < CALLERS; k++)
      for (unsigned n = 0; n < STORM_CALLS; n++) {
        if (!s->answered[k][n]) fail_msg("call %u of %u was never answered (seed %llu)", n, k, (unsigned long long)seed);
        if (s->answered[k][n] - s->asked[k][n] > 3300 * NS_MS)
          fail_msg("call %u of %u took %llu ms (seed %llu)", n, k,
                   (unsigned long long)((s->answered[k][n] - s->asked[k][n]) / NS_MS), (unsigned long long)seed);
      }
    print_message("seed %llu: %u results, %u errors, %llu failovers, %llu lookups\n", (unsigned long long)seed, s->results,
                  s->errors, (unsigned long long)router_stats(s->m.rig[0].node->router)->failovers,
                  (unsigned long long)router_stats(s->m.rig[0].node->router)->lookups);
    assert_true(s->results > STORM_CALLS * CALLERS / 2);
    run(&s->m, 5 * NS_SEC);
    for (unsigned i = 0; i < 6; i++) {
      if (!s->m.rig[i].node) continue;
      assert_int_equal(pending(&s->m, i), 0);
      assert_int_equal(s->m.rig[i].node->lookups.count, 0);
    }
    if (down) rig_node_start(&s->m.rig[down]);
    stop(&s->m);
    free(s);
  }
}

/* Each node in turn has no memory for its n-th allocation: whatever comes of the call, nothing breaks and nothing is left over.
 */
static void test_every_allocation_may_fail(void **state) {
  (void)state;
  for (unsigned who = 0; who < 2; who++)
    for (uint64_t n = 1; n < 400; n += n < 60 ? 1 : 7) {
      struct mem_fail fail = {0};
      struct mesh m;
      memset(&m, 0, sizeof m);
      m.count = 2;
      for (unsigned i = 0; i < 2; i++) {
        struct rig_options o = {.node = {.fail = i == who ? &fail : NULL}, .index = i, .beside = i ? &m.rig[0] : NULL};
        rig_start(&m.rig[i], &o);
      }
      mesh_join(&m, 1, 0);
      run(&m, 5 * NS_SEC);
      struct rig_client *a = client(&m, 0), *p = client(&m, 1);
      fail.countdown = n;
      struct msg reg = {.type = MSG_REGISTER, .reg = {.procedure = slice_str("x.y")}};
      rig_send(p, &reg);
      for (uint8_t i = 1; i <= 3; i++) {
        if (!a->closed) call(a, i, &(struct msg_call){.timeout = 2000});
        run(&m, 400 * NS_MS);
        while (p->read < p->kept_count && !p->closed) {
          struct rig_frame *f = &p->kept[p->read++];
          struct msg c;
          if (f->type == MSG_CALL && !msg_decode(MSG_CALL, slice_of(f->payload, f->len), &c)) rig_reply(p, c.call.call_id, "1");
        }
      }
      run(&m, 5 * NS_SEC);
      if (!a->closed) assert_int_equal(a->counts[MSG_REPLY], 3);
      assert_int_equal(pending(&m, 0), 0);
      assert_int_equal(pending(&m, 1), 0);
      fail.countdown = 0;
      stop(&m);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_there_and_back),
                                     cmocka_unit_test(test_large),
                                     cmocka_unit_test(test_cast),
                                     cmocka_unit_test(test_refusals),
                                     cmocka_unit_test(test_round_robin),
                                     cmocka_unit_test(test_callers_end_frees_the_chain),
                                     cmocka_unit_test(test_the_callers_node_dies),
                                     cmocka_unit_test(test_a_nodes_death_in_mid_call),
                                     cmocka_unit_test(test_a_providers_death),
                                     cmocka_unit_test(test_deadline),
                                     cmocka_unit_test(test_through_a_gateway),
                                     cmocka_unit_test(test_the_hidden_node_is_gone),
                                     cmocka_unit_test(test_the_gateway_dies),
                                     cmocka_unit_test(test_envelopes_that_cannot_go_on),
                                     cmocka_unit_test(test_found_at_once),
                                     cmocka_unit_test(test_nobody_serves_it),
                                     cmocka_unit_test(test_withdrawn),
                                     cmocka_unit_test(test_renewed),
                                     cmocka_unit_test(test_a_client_that_calls_random_names),
                                     cmocka_unit_test(test_a_newcomer_is_heard_of),
                                     cmocka_unit_test(test_a_providers_node_dies),
                                     cmocka_unit_test(test_the_caller_goes_during_the_lookup),
                                     cmocka_unit_test(test_a_hidden_provider_is_found),
                                     cmocka_unit_test(test_partition),
                                     cmocka_unit_test(test_storm),
                                     cmocka_unit_test(test_every_allocation_may_fail)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
