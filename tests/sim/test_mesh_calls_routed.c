/* Calls to and from nodes that nobody can dial: through their gateways. */
#include "mesh_calls_rig.h"
#include "node/dispatch.h"
#include "node/peers/seal.h"

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
  h->mesh.hidden = true;
  h->mesh.self = (struct addr){0};
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
  struct rig_client *a = client(&m, 0), *b = provider(&m, 2, "x.y");
  assert_int_equal(rig_register(b, "w.w"), 0);
  knows_via(&m, 0, "w.w", "2", 1);
  rig_call(a, "w.w", "1", 9, 3000); /* there are keys from now on */
  rig_reply(b, rig_expect(b, MSG_CALL).call.call_id, "9");
  result_is(a, "9");
  knows_via(&m, 0, "x.y", "2", 1);
  link_close(peer(&m, 1, 2), MACULA_EVICTED);
  m.rig[2].node->draining = true; /* it does not come back */
  nanotime began = now(&m);
  call(a, 1, &(struct msg_call){.timeout = 10000});
  struct msg_reply r = answer(a);
  assert_true(now(&m) - began < 3 * NS_SEC); /* the gateway says so, and a lookup finds nobody else */
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
  sim_net_icmp(m.rig[0].net, true);
  rig_node_kill(&m.rig[1]);
  struct msg_reply r = answer(a);
  assert_true(now(&m) - began < 5 * NS_SEC);
  assert_true(slice_is(r.error.code, "provider_lost") && r.error.may_have_run); /* the gateway had it */
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
    uint64_t failed = m.rig[1].node->stats.routes_failed, told = m.rig[2].node->stats.routes_failed;
    e.route.path = (struct msg_list){.count = (uint32_t)cases[i].path_len, .items = path + cases[i].path_from};
    e.route.hop_count = cases[i].hops;
    e.route.max_hops = cases[i].max;
    e.route.destination = slice_of(cases[i].to->b, ID_LEN);
    e.route.payload_type = slice_str(cases[i].type);
    len = msg_encode(&e, frame, sizeof frame);
    assert_true(len > 0);
    assert_int_equal(msg_decode(MSG_RPC_ROUTE, slice_of(frame + FRAME_HEADER_LEN, (size_t)len - FRAME_HEADER_LEN), &d), 0);
    dispatch_message(from, &d);
    run(&m, 50 * NS_MS);
    if (m.rig[1].node->stats.routes_failed != failed + 1) fail_msg("case %zu", i);
    assert_int_equal(m.rig[2].node->stats.routes_failed, told + cases[i].answered); /* of no envelope of its own */
  }
  assert_true(behind(&m));
  stop(&m);
}

/* A provider at a node that nobody can dial: its record names the gateway. */
static void test_a_hidden_provider_is_found(void **state) {
  struct mesh m;
  (void)state;
  mesh_start(&m, 4, NULL);
  struct node *h = m.rig[3].node;
  h->mesh.hidden = true;
  h->mesh.self = (struct addr){0};
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
  unsigned gateway = h->mesh.gateway == mesh_peer(&m, 3, 1) ? 1 : 2;
  rig_node_kill(&m.rig[gateway]);
  run(&m, 20 * NS_SEC);
  call(a, 5, &(struct msg_call){.timeout = 10000});
  struct msg c = rig_expect(p, MSG_CALL);
  rig_reply(p, c.call.call_id, "9");
  result_is(a, "9");
  rig_node_start(&m.rig[gateway]);
  stop(&m);
}

/* Its gateway knows nobody else: no other node can be asked, and the record is in its own hands. */
static void test_a_gateway_calls_who_is_behind_it(void **state) {
  struct mesh m;
  (void)state;
  mesh_start(&m, 2, NULL);
  m.rig[1].node->mesh.hidden = true;
  m.rig[1].node->mesh.self = (struct addr){0};
  mesh_join(&m, 1, 0);
  run(&m, 10 * NS_SEC);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 1, "x.y");
  run(&m, 2 * NS_SEC);
  call(a, 1, &(struct msg_call){.timeout = 10000});
  rig_reply(p, rig_expect(p, MSG_CALL).call.call_id, "9");
  result_is(a, "9");
  stop(&m);
}

/* A gateway is between two members, and one or both forget the keys. The call comes all the same, at once, and once. */
static void test_forgotten_keys(void **state) {
  struct mesh m;
  (void)state;
  start_hidden(&m);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 2, "x.y");
  knows_via(&m, 0, "x.y", "2", 1);
  for (uint8_t i = 1; i <= 6; i++) {
    struct peer *one = peer(&m, 2, 0), *other = peer(&m, 0, 2);
    if (one && i != 6) seal_drop(one);
    if (other && i % 3 == 0) seal_drop(other);
    nanotime began = now(&m);
    call(a, i, &(struct msg_call){.timeout = 30000});
    rig_reply(p, rig_expect(p, MSG_CALL).call.call_id, "9");
    result_is(a, "9");
    assert_true(now(&m) - began < 3 * NS_SEC);
    run(&m, NS_SEC);
    assert_int_equal(p->counts[MSG_CALL], i);
  }
  assert_true(rig_metric(&m.rig[0], "calls_resent_total") >= 3);
  stop(&m);
}

/* The node behind the gateway runs anew, and knows no key: what was sent to it meanwhile has failed at once, since the run
 * before may have had it. One that may repeat is tried again. */
static void test_forgotten_by_a_new_run(void **state) {
  struct mesh m;
  (void)state;
  start_hidden(&m);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 2, "x.y");
  knows_via(&m, 0, "x.y", "2", 1);
  call(a, 1, &(struct msg_call){.timeout = 30000});
  rig_reply(p, rig_expect(p, MSG_CALL).call.call_id, "9");
  result_is(a, "9");
  struct peer *q = peer(&m, 2, 0);
  seal_drop(q); /* as if */
  m.rig[2].node->peers.seals.forgotten_count = 0;
  m.rig[2].node->instance[0] ^= 1;
  nanotime began = now(&m);
  call(a, 2, &(struct msg_call){.timeout = 30000});
  struct msg_reply r = answer(a);
  assert_true(now(&m) - began < 3 * NS_SEC);
  assert_true(slice_is(r.error.code, "provider_lost") && r.error.may_have_run);
  assert_int_equal(p->counts[MSG_CALL], 1);
  stop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_through_a_gateway),
      cmocka_unit_test(test_the_hidden_node_is_gone),
      cmocka_unit_test(test_the_gateway_dies),
      cmocka_unit_test(test_envelopes_that_cannot_go_on),
      cmocka_unit_test(test_a_hidden_provider_is_found),
      cmocka_unit_test(test_a_gateway_calls_who_is_behind_it),
      cmocka_unit_test(test_forgotten_keys),
      cmocka_unit_test(test_forgotten_by_a_new_run),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
