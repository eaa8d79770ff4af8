/* A node of a mesh that is told to stop: calls between nodes, either way, and QoS 1 that waits are brought to their end first,
 * within drain_timeout; what is new goes elsewhere. */
#include "mesh_calls_rig.h"

static bool is_drained(struct mesh *m, unsigned i) { return node_drained(m->rig[i].node, now(m)); }
static bool first_drained(void *ctx) { return is_drained(ctx, 0); }
static bool second_drained(void *ctx) { return is_drained(ctx, 1); }
static void drain(struct mesh *m, unsigned i) { node_drain(m->rig[i].node, now(m)); }

static enum member_state state_of(struct mesh *m, unsigned at, unsigned of) {
  const struct member *e = membership_find(m->rig[at].node->mesh.membership, id(m, of));
  assert_non_null(e);
  return e->state;
}

static void told_why(struct rig_client *c) { assert_int_equal(rig_closed(c), MACULA_SHUTTING_DOWN); }

static void test_the_providers_node_stops(void **state) {
  struct mesh m;
  (void)state;
  start_joined(&m, 3, NULL);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 1, "x.y");
  run(&m, NS_SEC);
  call(a, 1, &(struct msg_call){.timeout = 30000});
  struct msg c = rig_expect(p, MSG_CALL);
  drain(&m, 1);
  run(&m, 3 * NS_SEC);
  assert_int_equal(state_of(&m, 0, 1), MEMBER_ALIVE);
  assert_false(is_drained(&m, 1));
  rig_reply(p, c.call.call_id, "7");
  result_is(a, "7");
  told_why(p);
  rig_until(&m.rig[0], NS_SEC, second_drained, &m, "it is drained");
  run(&m, 100 * NS_MS);
  assert_int_equal(state_of(&m, 0, 1), MEMBER_DEAD); /* by its own word */
  assert_int_equal(state_of(&m, 2, 1), MEMBER_DEAD);
  stop(&m);
}

static void test_the_callers_node_stops(void **state) {
  struct mesh m;
  (void)state;
  start_joined(&m, 3, NULL);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 1, "x.y"), *idle = client(&m, 0);
  run(&m, NS_SEC);
  call(a, 1, &(struct msg_call){.timeout = 30000});
  struct msg c = rig_expect(p, MSG_CALL);
  drain(&m, 0);
  told_why(idle);
  run(&m, 3 * NS_SEC);
  rig_reply(p, c.call.call_id, "7");
  result_is(a, "7");
  told_why(a);
  rig_until(&m.rig[0], NS_SEC, first_drained, &m, "it is drained");
  assert_int_equal(rig_metric(&m.rig[1], "call_cancelled_total"), 0);
  stop(&m);
}

/* Its link is being dialled: the call was taken, so it is sent. */
static void test_a_call_that_waits_for_a_link(void **state) {
  struct rig_options o = {.node = {.no_upkeep = true}};
  struct mesh m;
  (void)state;
  mesh_start(&m, 2, &o);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 1, "x.y");
  knows(&m, 0, "x.y", "1");
  call(a, 1, &(struct msg_call){.timeout = 5000});
  run(&m, 150 * NS_US);
  assert_int_equal(pending(&m, 0), 1);
  assert_null(peer(&m, 0, 1)->link);
  drain(&m, 0);
  struct msg c = rig_expect(p, MSG_CALL);
  rig_reply(p, c.call.call_id, "7");
  result_is(a, "7");
  stop(&m);
}

/* Calls that still come, from who has not heard, are answered so that another provider is tried; who looks for one finds those
 * that stay. */
static void test_new_calls_go_elsewhere(void **state) {
  struct mesh m;
  (void)state;
  start_joined(&m, 4, NULL);
  struct rig_client *a = client(&m, 0), *b = client(&m, 3), *p = provider(&m, 1, "x.y"), *q = provider(&m, 2, "x.y");
  run(&m, NS_SEC);
  knows(&m, 0, "x.y", "12");
  call(a, 1, &(struct msg_call){.timeout = 30000, .strategy = STRATEGY_CLOSEST});
  run(&m, 100 * NS_MS);
  struct rig_client *first = p->counts[MSG_CALL] ? p : q, *other = first == p ? q : p;
  struct msg c = rig_expect(first, MSG_CALL);
  drain(&m, first == p ? 1 : 2);
  run(&m, 100 * NS_MS);
  for (uint8_t i = 2; i < 10; i++) { /* this one's choice is the same, and it knows both */
    call(i % 2 ? a : b, i, &(struct msg_call){.timeout = 10000, .strategy = STRATEGY_CLOSEST});
    struct msg d = rig_expect(other, MSG_CALL);
    rig_reply(other, d.call.call_id, "other");
    result_is(i % 2 ? a : b, "other");
  }
  assert_int_equal(first->counts[MSG_CALL], 1);
  assert_int_equal(rig_metric(&m.rig[0], "call_failovers_total"), 1); /* once refused, it is not asked again */
  rig_reply(first, c.call.call_id, "first");
  result_is(a, "first");
  stop(&m);
}

/* Nobody else serves it: the caller is told that it did not run. */
static void test_new_calls_have_not_run(void **state) {
  struct mesh m;
  (void)state;
  start_joined(&m, 3, NULL);
  struct rig_client *a = client(&m, 0), *b = client(&m, 2), *p = provider(&m, 1, "x.y");
  run(&m, NS_SEC);
  call(a, 1, &(struct msg_call){.timeout = 30000});
  struct msg c = rig_expect(p, MSG_CALL);
  drain(&m, 1);
  for (uint8_t i = 2; i < 6; i++) {
    struct rig_client *who = i % 2 ? a : b;
    call(who, i, &(struct msg_call){.timeout = 10000});
    struct msg_reply r = answer(who);
    assert_true(r.is_error && !r.error.may_have_run);
  }
  rig_reply(p, c.call.call_id, "7");
  result_is(a, "7");
  stop(&m);
}

static void test_drain_timeout_is_the_end(void **state) {
  (void)state;
  for (unsigned stops = 0; stops < 2; stops++) {
    struct mesh m;
    start_joined(&m, 3, NULL);
    struct rig_client *a = client(&m, 0), *p = provider(&m, 1, "x.y");
    run(&m, NS_SEC);
    call(a, 1, &(struct msg_call){.timeout = 30000});
    (void)rig_expect(p, MSG_CALL);
    nanotime began = now(&m);
    drain(&m, stops);
    rig_until(&m.rig[0], 6 * NS_SEC, stops ? second_drained : first_drained, &m, "it is drained");
    assert_in_range(now(&m) - began, 5 * NS_SEC, 6 * NS_SEC + 100 * NS_MS);
    if (stops) {
      struct msg_reply r = answer(a);
      assert_true(r.is_error && r.error.may_have_run);
    }
    run(&m, 100 * NS_MS);
    assert_int_equal(state_of(&m, 2, stops), MEMBER_DEAD);
    stop(&m);
  }
}

static void test_qos1_is_waited_for(void **state) {
  struct mesh m;
  uint8_t message_id[CALL_ID_LEN] = {1};
  struct msg msg = {.type = MSG_PUBLISH,
                    .publish = {.topic = slice_str("q"),
                                .payload = slice_str("1"),
                                .qos = 1,
                                .message_id = slice_of(message_id, sizeof message_id),
                                .ref = 5,
                                .has_ref = true}};
  (void)state;
  start_joined(&m, 3, NULL);
  struct rig_client *pub = client(&m, 0), *sub = client(&m, 1);
  assert_int_equal(rig_subscribe(sub, "q"), 0);
  mesh_settle(&m);
  mesh_cut(&m, 0, 1, true);
  rig_send(pub, &msg);
  run(&m, 20 * NS_MS);
  drain(&m, 0);
  run(&m, 50 * NS_MS); /* the other node is not known to be silent yet */
  assert_false(pub->closed);
  mesh_cut(&m, 0, 1, false);
  struct msg ack = rig_expect(pub, MSG_ACK);
  assert_true(ack.ack.ref == 5 && !ack.ack.code.n);
  assert_true(slice_is(rig_expect(sub, MSG_PUBLISH).publish.payload, "1"));
  told_why(pub);
  rig_until(&m.rig[0], 2 * NS_SEC, first_drained, &m, "it is drained");
  stop(&m);
}

/* With nothing to wait for it ends at once, and everybody knows. */
static void test_nothing_to_wait_for(void **state) {
  struct mesh m;
  (void)state;
  start_joined(&m, 3, NULL);
  (void)provider(&m, 1, "x.y");
  run(&m, NS_SEC);
  drain(&m, 1);
  rig_until(&m.rig[0], 100 * NS_MS, second_drained, &m, "it is drained");
  assert_int_equal(state_of(&m, 0, 1), MEMBER_DEAD);
  assert_int_equal(state_of(&m, 2, 1), MEMBER_DEAD);
  struct rig_client *a = client(&m, 0);
  call(a, 1, &(struct msg_call){.timeout = 10000});
  code_is(a, "no_such_procedure"); /* its record is withdrawn */
  stop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_providers_node_stops),     cmocka_unit_test(test_the_callers_node_stops),
      cmocka_unit_test(test_a_call_that_waits_for_a_link), cmocka_unit_test(test_new_calls_go_elsewhere),
      cmocka_unit_test(test_new_calls_have_not_run),       cmocka_unit_test(test_drain_timeout_is_the_end),
      cmocka_unit_test(test_qos1_is_waited_for),           cmocka_unit_test(test_nothing_to_wait_for),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
