/* Calls through a node: answers, failures, failover, deadlines, and the ends of callers and providers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "node_rig.h"

static json_int_t pending(struct rig *r) {
  char *text;
  json_int_t n = -1;
  assert_int_equal(node_render(r->node, "status", 0, 0, sim_net_now(r->net), &text), 0);
  json_t *j = json_loads(text, 0, NULL);
  assert_int_equal(json_unpack(j, "{s:{s:I}}", "pending_calls", "count", &n), 0);
  json_decref(j);
  free(text);
  return n;
}

static void test_call(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *p = rig_join(&r, 0, NULL, RIG_EXT);
  assert_true(slice_is(rig_ask(a, "math.add", "{}").error.code, "no_such_procedure"));
  assert_true(slice_is(rig_ask(a, "math.*", "{}").error.code, "invalid_procedure"));
  assert_int_equal(rig_register(p, "math/add"), 0);
  assert_int_equal(rig_register(p, "com.macula.x"), MACULA_NOT_AUTHORIZED);
  rig_call(a, "math.add", "{\"a\":2}", 1, 700);
  struct msg call = rig_expect(p, MSG_CALL);
  assert_true(slice_is(call.call.args, "{\"a\":2}") && slice_is(call.call.procedure, "math.add"));
  assert_in_range(call.call.timeout, 600, 700);
  assert_int_equal(pending(&r), 1);
  rig_reply(p, call.call.call_id, "5");
  struct msg_reply reply = rig_expect(a, MSG_REPLY).reply;
  assert_true(!reply.is_error && slice_is(reply.result, "5"));
  assert_int_equal(reply.call_id.p[0], 1);
  assert_int_equal(pending(&r), 0);
  rig_reply(p, call.call.call_id, "6"); /* late: ignored */
  assert_true(rig_quiet(a, MSG_REPLY, NS_SEC));
  /* An error of the handler is final. */
  rig_call(a, "math.add", "{}", 2, 0);
  call = rig_expect(p, MSG_CALL);
  struct msg m = {.type = MSG_REPLY,
                  .reply = {.call_id = call.call.call_id,
                            .is_error = true,
                            .error = {.code = slice_str("handler_error"), .message = slice_str("no")}}};
  rig_send(p, &m);
  reply = rig_expect(a, MSG_REPLY).reply;
  assert_true(slice_is(reply.error.code, "handler_error") && slice_is(reply.error.message, "no"));
  /* A cast has no answer but the confirmation that was asked for. */
  m = (struct msg){.type = MSG_CAST,
                   .call = {.procedure = slice_str("math.add"), .args = slice_str("1"), .ref = 5, .has_ref = true}};
  rig_send(a, &m);
  assert_int_equal(rig_expect(a, MSG_ACK).ack.ref, 5);
  assert_true(slice_is(rig_expect(p, MSG_CAST).call.args, "1"));
  m = (struct msg){.type = MSG_UNREGISTER, .unreg = {.procedure = slice_str("math.add"), .ref = 6, .has_ref = true}};
  rig_send(p, &m);
  assert_int_equal(rig_expect(p, MSG_ACK).ack.ref, 6);
  assert_true(slice_is(rig_ask(a, "math.add", "{}").error.code, "no_such_procedure"));
  rig_stop(&r);
}

static void test_large_answer(void **state) {
  struct rig r;
  size_t n = 900000;
  char *json = malloc(n + 1);
  (void)state;
  memset(json, '1', n);
  json[n] = 0;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *p = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_register(p, "big"), 0);
  rig_call(a, "big", json, 1, 0);
  struct msg call = rig_expect(p, MSG_CALL);
  assert_int_equal(call.call.args.n, n);
  rig_reply(p, call.call.call_id, json);
  assert_int_equal(rig_expect(a, MSG_REPLY).reply.result.n, n);
  free(json);
  rig_stop(&r);
}

static void test_deadline(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *p = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_register(p, "hang"), 0);
  rig_call(a, "hang", "{}", 1, 500);
  nanotime start = sim_net_now(r.net);
  struct msg call = rig_expect(p, MSG_CALL);
  struct msg_reply reply = rig_expect(a, MSG_REPLY).reply;
  assert_in_range(sim_net_now(r.net) - start, 500 * NS_MS, 510 * NS_MS);
  assert_true(slice_is(reply.error.code, "timeout") && reply.error.may_have_run);
  assert_true(slice_eq(rig_expect(p, MSG_CANCEL).cancel.call_id, call.call.call_id));
  assert_int_equal(pending(&r), 0);
  rig_stop(&r);
}

static void test_callers_end(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *p = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_register(p, "hang"), 0);
  for (uint64_t i = 0; i < 20; i++) rig_call(a, "hang", "{}", i + 1, 60000);
  for (int i = 0; i < 20; i++) (void)rig_expect(p, MSG_CALL);
  assert_int_equal(pending(&r), 20);
  struct msg m = {.type = MSG_CANCEL, .cancel = {.call_id = slice_of((uint8_t[16]){1}, 16)}};
  rig_send(a, &m);
  (void)rig_expect(p, MSG_CANCEL);
  assert_int_equal(pending(&r), 19);
  quic_conn_close(a->conn, 0, "bye");
  rig_run(&r, 2 * NS_MS);
  assert_int_equal(pending(&r), 0);
  for (int i = 0; i < 19; i++) (void)rig_expect(p, MSG_CANCEL);
  rig_stop(&r);
}

static void test_limit(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.limits = {.client_calls = 3}}};
  (void)state;
  rig_start(&r, &o);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *p = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_register(p, "hang"), 0);
  for (uint64_t i = 0; i < 4; i++) rig_call(a, "hang", "{}", i + 1, 60000);
  struct msg_reply reply = rig_expect(a, MSG_REPLY).reply;
  assert_true(slice_is(reply.error.code, "too_many_calls"));
  assert_int_equal(reply.call_id.p[0], 4);
  rig_stop(&r);
}

/* A provider that dies in mid-call: heard of at its goodbye at once, and by its silence within 0.3 s. */
static void test_failover(void **state) {
  for (int killed = 0; killed < 2; killed++) {
    struct rig r;
    (void)state;
    rig_start(&r, NULL);
    struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *p[2];
    for (int i = 0; i < 2; i++) {
      p[i] = rig_join(&r, 0, NULL, RIG_EXT);
      assert_int_equal(rig_register(p[i], "work"), 0);
    }
    struct msg m = {.type = MSG_CALL,
                    .call = {.procedure = slice_str("work"),
                             .args = slice_str("{}"),
                             .call_id = slice_of((uint8_t[16]){9}, 16),
                             .timeout = 15000,
                             .idempotent = true,
                             .strategy = STRATEGY_FIRST}};
    rig_send(a, &m);
    (void)rig_expect(p[0], MSG_CALL);
    nanotime start = sim_net_now(r.net);
    if (killed)
      rig_kill(p[0]);
    else
      quic_conn_close(p[0]->conn, 0, "bye");
    struct msg call = rig_expect(p[1], MSG_CALL);
    assert_in_range(sim_net_now(r.net) - start, 0, killed ? 300 * NS_MS : 5 * NS_MS);
    rig_reply(p[1], call.call.call_id, "2");
    assert_true(slice_is(rig_expect(a, MSG_REPLY).reply.result, "2"));
    /* And without another one, the answer says what happened. */
    m.call.call_id = slice_of((uint8_t[16]){10}, 16);
    m.call.strategy = STRATEGY_LEAST_PENDING;
    m.call.idempotent = false;
    if (killed) rig_run(&r, 40 * NS_SEC); /* the dead one's registration leaves with its connection */
    rig_send(a, &m);
    (void)rig_expect(p[1], MSG_CALL);
    rig_run(&r, 50 * NS_MS); /* until it has acknowledged it */
    quic_conn_close(p[1]->conn, 0, "bye");
    struct msg_reply reply = rig_expect(a, MSG_REPLY).reply;
    struct msg_attempt at;
    assert_true(reply.is_error && reply.error.may_have_run);
    assert_true(slice_is(reply.error.code, "provider_lost"));
    assert_true(msg_attempt_next(&reply.error, &at));
    assert_true(slice_eq(at.provider, slice_of(quic_identity_id(p[1]->identity)->b, ID_LEN)));
    rig_stop(&r);
  }
}

static void test_round_robin(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *p[3];
  for (int i = 0; i < 3; i++) {
    p[i] = rig_join(&r, 0, NULL, RIG_EXT);
    assert_int_equal(rig_register(p[i], "work"), 0);
  }
  for (uint8_t k = 0; k < 30; k++) {
    struct msg m = {.type = MSG_CALL,
                    .call = {.procedure = slice_str("work"),
                             .args = slice_str("{}"),
                             .call_id = slice_of((uint8_t[16]){k}, 16),
                             .strategy = STRATEGY_ROUND_ROBIN}};
    rig_send(a, &m);
  }
  rig_run(&r, NS_SEC);
  for (int i = 0; i < 3; i++) assert_int_equal(p[i]->counts[MSG_CALL], 10);
  rig_stop(&r);
}

/* Its TTL: a service that is renewed stays, another leaves at its deadline. */
static void test_ttl(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *p = rig_join(&r, 0, NULL, RIG_EXT);
  struct msg m = {.type = MSG_REGISTER, .reg = {.procedure = slice_str("s.1"), .ttl = 2, .ref = 1, .has_ref = true}};
  for (int i = 0; i < 5; i++) {
    rig_send(p, &m);
    (void)rig_expect(p, MSG_ACK);
    rig_run(&r, 1500 * NS_MS);
  }
  rig_call(a, "s.1", "{}", 1, 100);
  (void)rig_expect(p, MSG_CALL);
  rig_run(&r, NS_SEC);
  assert_true(slice_is(rig_expect(a, MSG_REPLY).reply.error.code, "timeout"));
  assert_true(slice_is(rig_ask(a, "s.1", "{}").error.code, "no_such_procedure"));
  rig_stop(&r);
}

static void test_diagnostics(void **state) {
  static const char *const names[] = {"hello", "echo", "info"};
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT);
  for (int i = 0; i < 3; i++) {
    char procedure[64];
    snprintf(procedure, sizeof procedure, "com.macula.diagnostics.%s", names[i]);
    struct msg_reply reply = rig_ask(a, procedure, i == 1 ? "not json \xff" : "{}");
    assert_false(reply.is_error);
    json_t *j = json_loadb((const char *)reply.result.p, reply.result.n, 0, NULL);
    assert_non_null(j);
    assert_true(json_is_integer(json_object_get(j, "timestamp")));
    json_decref(j);
  }
  assert_true(slice_is(rig_ask(a, "com.macula.diagnostics.x", "{}").error.code, "no_such_procedure"));
  assert_true(slice_is(rig_ask(a, "com.macula.else", "{}").error.code, "no_such_procedure"));
  rig_stop(&r);
}

/* The watch fires once for a silent provider: what came after it must not wait for the idle timeout. */
static void test_a_silent_provider_gets_no_more(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *p = rig_join(&r, 0, NULL, RIG_EXT),
                    *q = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_register(p, "x"), 0);
  assert_int_equal(rig_register(q, "x"), 0);
  rig_kill(p);
  for (uint8_t i = 1; i <= 5; i++) {
    struct msg m = {.type = MSG_CALL,
                    .call = {.procedure = slice_str("x"),
                             .args = slice_str("1"),
                             .call_id = slice_of((uint8_t[CALL_ID_LEN]){i}, CALL_ID_LEN),
                             .timeout = 20000,
                             .idempotent = true,
                             .strategy = STRATEGY_FIRST}};
    nanotime began = sim_net_now(r.net);
    rig_send(a, &m);
    struct msg call = rig_expect(q, MSG_CALL);
    assert_true(sim_net_now(r.net) - began < (i == 1 ? 300 * NS_MS : 100 * NS_MS));
    rig_reply(q, call.call.call_id, "1");
    assert_false(rig_expect(a, MSG_REPLY).reply.is_error);
    rig_run(&r, i * 300 * NS_MS);
  }
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_call),
      cmocka_unit_test(test_large_answer),
      cmocka_unit_test(test_deadline),
      cmocka_unit_test(test_callers_end),
      cmocka_unit_test(test_limit),
      cmocka_unit_test(test_failover),
      cmocka_unit_test(test_round_robin),
      cmocka_unit_test(test_ttl),
      cmocka_unit_test(test_a_silent_provider_gets_no_more),
      cmocka_unit_test(test_diagnostics),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
