/* Calls across nodes over real QUIC on the in-memory network: there and back, refusals, ends. */
#include "mesh_calls_rig.h"

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
  sim_net_icmp(m.rig[0].net, true);
  call(a, 1, &(struct msg_call){.strategy = STRATEGY_FIRST, .timeout = 30000, .idempotent = true});
  (void)rig_expect(p1, MSG_CALL);
  nanotime began = now(&m);
  rig_node_kill(&m.rig[1]);
  struct msg c = rig_expect(p2, MSG_CALL);
  assert_true(now(&m) - began < 350 * NS_MS); /* silence; noticed within 0.3 s on a path of 1 ms */
  rig_reply(p2, c.call.call_id, "2");
  result_is(a, "2");
  call(a, 2,
       &(struct msg_call){.strategy = STRATEGY_FIRST, .timeout = 30000}); /* the dead one may still be first in the cache */
  c = rig_expect(p2, MSG_CALL);
  run(&m, 50 * NS_MS); /* until its node has acknowledged it */
  rig_node_kill(&m.rig[2]);
  struct msg_reply r = answer(a);
  assert_true(slice_is(r.error.code, "provider_lost") && r.error.may_have_run);
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
  call(a, 1, &(struct msg_call){.strategy = STRATEGY_FIRST, .timeout = 30000, .idempotent = true});
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_there_and_back),
      cmocka_unit_test(test_large),
      cmocka_unit_test(test_cast),
      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_round_robin),
      cmocka_unit_test(test_callers_end_frees_the_chain),
      cmocka_unit_test(test_the_callers_node_dies),
      cmocka_unit_test(test_a_nodes_death_in_mid_call),
      cmocka_unit_test(test_a_providers_death),
      cmocka_unit_test(test_deadline),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
