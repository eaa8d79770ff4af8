/* Calls to other nodes: refusals, deaths and links that do not open; who is tried next. */
#include "router_rig.h"

static void a_refusal_goes_to_the_next_node(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  call(&w, 0, 1, 0);
  found(&w, "345", 0);
  reply_error(&w, 3, "no_such_procedure", false, 1);
  reply_error(&w, 4, "too_many_calls", false, 1);
  assert_string_equal(w.log, "dc3c4c5");
  assert_int_equal(reply(&w, 3, 1), MACULA_ENOTFOUND); /* late */
  struct discovery_entry *e = discovery_peek(router_discovery(w.r), slice_str("x.y"), 1);
  assert_int_equal(e->count, 2); /* who does not serve it is taken out, who is busy is not */
  assert_int_equal(e->v[0].id.b[0], 4);
  reply_error(&w, 5, "out_of_memory", false, 1); /* whatever ran nothing is a refusal */
  assert_string_equal(w.code, "all_providers_failed");
  assert_false(w.answer.may_have_run);
  assert_int_equal(w.answer.attempt_count, 3);
  assert_int_equal(w.attempts[0].err, MACULA_NO_SUCH_PROCEDURE);
  assert_int_equal(w.attempts[0].provider.b[0], 3);
  assert_true(w.attempts[0].remote && !w.attempts[0].may_have_run);
  close_world(&w);
}

static void what_ran_is_final(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  call(&w, 0, 1, 0);
  found(&w, "34", 0);
  reply_error(&w, 3, "handler_error", true, 1);
  assert_string_equal(w.log, "dc3e0");
  assert_string_equal(w.message, "because");
  assert_true(w.answer.may_have_run);
  call(&w, 0, 2, 1);
  reply_error(&w, 3, "slow_consumer", true, 1);
  assert_string_equal(w.log, "dc3e0c3e0");
  call(&w, 0, 3, 1);
  reply_error(&w, 3, "some_code_of_tomorrow", false, 1);
  assert_string_equal(w.code, "some_code_of_tomorrow");
  call(&w, 0, 4, 1);
  reply_error(&w, 3, "timeout", true, 1); /* a bare timeout */
  assert_string_equal(w.log, "dc3e0c3e0c3e0c3e0");
  assert_string_equal(w.code, "timeout");
  assert_int_equal(w.answer.attempt_count, 1);
  assert_true(w.attempts[0].may_have_run && w.answer.may_have_run);
  call_with(&w, 0, 5, 1, (struct opt){.idempotent = true});
  reply_error(&w, 3, "timeout", true, 1);
  assert_string_equal(w.log, "dc3e0c3e0c3e0c3e0c3c4");
  close_world(&w);
}

/* A node's answer says whether a handler may have run; then another one is tried only if the call, or the service, may repeat.
 */
static void a_provider_that_died_at_its_node(void **state) {
  struct world w;
  (void)state;
  for (int i = 0; i < 8; i++) {
    bool ran = i & 1, repeats = i & 2, once = i & 4;
    open_world(&w);
    call_with(&w, 0, 1, 0, (struct opt){.once = once});
    found(&w, "34", 0);
    assert_false(w.waits);
    struct msg_attempt inner[] = {{.code = slice_str("no_handler")}, {.code = slice_str("not_connected")}};
    struct msg m = {.type = MSG_REPLY,
                    .reply = {.call_id = slice_of(w.sent_id[3], CALL_ID_LEN),
                              .is_error = true,
                              .error = {.code = slice_str("all_providers_failed"),
                                        .may_have_run = ran,
                                        .may_repeat = repeats,
                                        .has_extra = true,
                                        .attempt_count = 2,
                                        .attempts = inner}}};
    uint8_t buf[512];
    ptrdiff_t len = msg_encode(&m, buf, sizeof buf);
    assert_true(len > 8);
    assert_int_equal(msg_decode(MSG_REPLY, slice_of(buf + 8, (size_t)len - 8), &m), 0);
    assert_int_equal(router_reply(w.r, &w.p[3], &m.reply, 1), 0);
    bool again = !ran || (repeats && !once);
    assert_string_equal(w.log, again ? "dc3c4" : "dc3e0");
    assert_int_equal(w.waits, again); /* there is no other one */
    router_session_ended(w.r, &w.p[4], 1);
    if (again) assert_string_equal(w.code, once ? "provider_lost" : "all_providers_failed");
    assert_int_equal(w.answer.may_have_run, ran || once);
    if (again) assert_int_equal(w.attempts[0].err, MACULA_NOT_CONNECTED); /* the node's own reason */
    if (again) assert_int_equal(w.attempts[0].may_have_run, ran);
    close_world(&w);
  }
}

static void a_nodes_death_fails_its_calls_over(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  call(&w, 0, 1, 0);
  found(&w, "345", 0);
  call(&w, 1, 1, 0);
  struct id three = {{3}};
  router_forget_node(w.r, &three, 1);
  router_session_ended(w.r, &w.p[3], 1);
  assert_string_equal(w.log, "dc3c3c4c4");
  call(&w, 0, 2, 1); /* the third goes nowhere near it */
  assert_string_equal(w.log, "dc3c3c4c4c4");
  router_session_ended(w.r, &w.p[4], 1);
  assert_string_equal(w.log, "dc3c3c4c4c4c5c5c5");
  assert_int_equal(w.p[5].owner.inflight, 3);
  router_session_ended(w.r, &w.p[5], 1); /* the fourth would be too many: two give up, one looks whether there are others */
  assert_string_equal(w.log, "dc3c3c4c4c4c5c5c5e0e1d");
  assert_string_equal(w.code, "all_providers_failed");
  close_world(&w);
}

static void a_link_that_is_still_dialled(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  w.dialling[3] = true;
  call(&w, 0, 1, 0);
  found(&w, "345", 0);
  assert_string_equal(w.log, "dw3");
  assert_true(router_deadline(w.r) == 2 * NS_SEC); /* its share; the others would have as much */
  w.dialling[3] = false;
  router_party_ready(w.r, &w.p[3], NS_SEC);
  assert_string_equal(w.log, "dw3c3");
  assert_int_equal(w.timeout_ms, 5000); /* sent: all the time that is left is its own */
  assert_true(router_deadline(w.r) == 6 * NS_SEC);
  router_party_ready(w.r, &w.p[3], NS_SEC); /* harmless */
  assert_int_equal(reply(&w, 3, 2), 0);
  assert_string_equal(w.log, "dw3c3r0");
  close_world(&w);

  open_world(&w); /* an idempotent one keeps to shares */
  w.dialling[3] = true;
  call_with(&w, 0, 1, 0, (struct opt){.idempotent = true});
  found(&w, "345", 0);
  w.dialling[3] = false;
  router_party_ready(w.r, &w.p[3], 0);
  assert_int_equal(w.timeout_ms, 2000);
  close_world(&w);
}

static void a_dial_that_takes_too_long(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  w.dialling[3] = w.dialling[4] = true;
  call(&w, 0, 1, 0);
  found(&w, "34", 0);
  router_tick(w.r, 3 * NS_SEC);
  assert_string_equal(w.log, "dw3dw4"); /* nobody is told to cancel what he was not sent */
  router_tick(w.r, 6 * NS_SEC);
  assert_string_equal(w.log, "dw3dw4e0");
  assert_string_equal(w.code, "timeout");
  assert_false(w.answer.may_have_run);
  assert_int_equal(w.answer.attempt_count, 2);
  assert_int_equal(w.attempts[0].err, MACULA_NOT_CONNECTED);
  w.dialling[3] = false;
  router_party_ready(w.r, &w.p[3], 6 * NS_SEC);
  assert_string_equal(w.log, "dw3dw4e0");
  close_world(&w);
}

static void a_link_that_never_opens(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  w.dialling[3] = w.dialling[4] = true;
  call(&w, 0, 1, 0);
  found(&w, "34", 0);
  router_session_ended(w.r, &w.p[3], 1);
  assert_string_equal(w.log, "dw3w4");
  router_session_ended(w.r, &w.p[4], 2);
  assert_string_equal(w.log, "dw3w4e0");
  assert_string_equal(w.code, "all_providers_failed");
  assert_false(w.answer.may_have_run);
  assert_int_equal(w.attempts[1].err, MACULA_NOT_CONNECTED);
  assert_int_equal(call(&w, 0, 2, 3), 0); /* both are forgotten: looked up anew */
  assert_string_equal(w.log, "dw3w4e0d");
  close_world(&w);
}

static void nodes_that_cannot_be_reached(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  w.unreachable[3] = MACULA_NOT_CONNECTED;
  w.unreachable[4] = MACULA_EFULL;
  w.unsendable[5] = MACULA_EFULL;
  call(&w, 0, 1, 0);
  found(&w, "3456", 0);
  assert_string_equal(w.code, "max_attempts_exceeded");
  assert_int_equal(w.attempts[0].err, MACULA_NOT_CONNECTED);
  assert_int_equal(w.attempts[2].err, MACULA_EFULL);
  struct discovery_entry *e = discovery_peek(router_discovery(w.r), slice_str("x.y"), 1);
  assert_int_equal(e->count, 3); /* only the first is to be found again before it is tried again */
  w.unreachable[3] = 0;
  w.unsendable[5] = 0;
  memset(w.log, 0, sizeof w.log);
  call(&w, 0, 2, 1);
  assert_string_equal(w.log, "c5");
  close_world(&w);
}

static void idempotent_calls_share_their_time_among_nodes(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  call_with(&w, 0, 1, 0, (struct opt){.timeout_ms = 900, .idempotent = true});
  found(&w, "3456", 0);
  assert_int_equal(w.timeout_ms, 300);
  router_tick(w.r, 300 * NS_MS);
  router_tick(w.r, 600 * NS_MS);
  assert_int_equal(w.timeout_ms, 300);
  router_tick(w.r, 900 * NS_MS);
  assert_string_equal(w.log, "dc3x3c4x4c5x5e0");
  assert_string_equal(w.code, "timeout");
  close_world(&w);
  open_world(&w); /* any other is not tried again after a mere timeout */
  call_with(&w, 0, 1, 0, (struct opt){.timeout_ms = 900});
  found(&w, "34", 0);
  assert_int_equal(w.timeout_ms, 900);
  router_tick(w.r, 900 * NS_MS);
  assert_string_equal(w.log, "dc3x3e0");
  close_world(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_refusal_goes_to_the_next_node),
      cmocka_unit_test(what_ran_is_final),
      cmocka_unit_test(a_provider_that_died_at_its_node),
      cmocka_unit_test(a_nodes_death_fails_its_calls_over),
      cmocka_unit_test(a_link_that_is_still_dialled),
      cmocka_unit_test(a_dial_that_takes_too_long),
      cmocka_unit_test(a_link_that_never_opens),
      cmocka_unit_test(nodes_that_cannot_be_reached),
      cmocka_unit_test(idempotent_calls_share_their_time_among_nodes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
