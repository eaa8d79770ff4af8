/* Calls within one node: who is asked, failing over, ends, time and limits. */
#include "router_rig.h"

/* Two serve, and the first has a call. */
static void open_calling(struct world *w) {
  open_alone(w);
  serve(w, 1);
  serve(w, 2);
  call(w, 0, 1, 0);
}

static void a_call_and_its_reply(void **state) {
  (void)state;
  struct world w;
  open_alone(&w);
  serve(&w, 1);
  assert_int_equal(call_with(&w, 0, 7, 0, (struct opt){.args = 10}), 0);
  assert_string_equal(w.log, "c1");
  assert_int_equal(w.args_len, 10);
  assert_int_equal(w.timeout_ms, 6000);
  assert_int_equal(w.p[1].owner.inflight, 1);
  assert_true(router_deadline(w.r) == 6 * NS_SEC);
  assert_int_equal(reply(&w, 1, 0), 0);
  assert_string_equal(w.log, "c1r0");
  assert_string_equal(w.result, "42");
  assert_int_equal(w.answer_id[0], 7);
  assert_int_equal(w.p[1].owner.inflight, 0);
  assert_int_equal(w.payloads.bytes, 0);
  assert_int_equal(reply(&w, 1, 0), MACULA_ENOTFOUND); /* once only */
  assert_string_equal(w.log, "c1r0");
  assert_int_equal(router_stats(w.r)->calls, 1);
  assert_int_equal(router_stats(w.r)->replies, 1);
  assert_int_equal(router_stats(w.r)->late, 1);
  close_world(&w);
}

static void nobody_serves_it(void **state) {
  (void)state;
  struct world w;
  open_alone(&w);
  assert_int_equal(call(&w, 0, 1, 0), MACULA_NO_SUCH_PROCEDURE);
  assert_string_equal(w.log, "e0");
  assert_string_equal(w.code, "no_such_procedure");
  assert_false(w.answer.may_have_run);
  assert_int_equal(w.answer.attempt_count, 0);
  assert_int_equal(router_stats(w.r)->no_such_procedure, 1);
  close_world(&w);
}

static void a_handlers_error_is_final(void **state) {
  (void)state;
  struct world w;
  open_calling(&w);
  assert_int_equal(reply_error(&w, 1, "handler_error", false, 0), 0);
  assert_string_equal(w.log, "c1e0");
  assert_string_equal(w.code, "handler_error");
  assert_string_equal(w.message, "because");
  assert_true(w.answer.may_have_run);
  call(&w, 0, 2, 0);
  assert_int_equal(reply_error(&w, 1, "some_code_of_tomorrow", false, 0), 0); /* passed on as it is */
  assert_string_equal(w.code, "some_code_of_tomorrow");
  assert_int_equal(w.answer.err, 0);
  assert_int_equal(router_stats(w.r)->handler_errors, 2);
  close_world(&w);
}

static void a_refusal_goes_to_the_next(void **state) {
  (void)state;
  static const char *const refusals[] = {"no_handler",    "no_such_procedure", "too_many_calls",
                                         "not_connected", "rate_limited",      "shutting_down"};
  for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
    struct world w;
    open_calling(&w);
    reply_error(&w, 1, refusals[i], false, 0);
    assert_string_equal(w.log, "c1c2");
    assert_int_equal(reply(&w, 1, 0), MACULA_ENOTFOUND); /* too late */
    assert_int_equal(reply(&w, 2, 0), 0);
    assert_string_equal(w.log, "c1c2r0");
    assert_int_equal(router_stats(w.r)->failovers, 1);
    close_world(&w);
  }
}

static void all_refuse(void **state) {
  (void)state;
  struct world w;
  open_calling(&w);
  reply_error(&w, 1, "no_handler", false, 0);
  reply_error(&w, 2, "too_many_calls", false, 0);
  assert_string_equal(w.log, "c1c2e0");
  assert_string_equal(w.code, "all_providers_failed");
  assert_false(w.answer.may_have_run); /* both said that it did not */
  assert_int_equal(w.answer.attempt_count, 2);
  assert_int_equal(w.attempts[0].err, MACULA_NO_HANDLER);
  assert_int_equal(w.attempts[0].provider.b[0], 1);
  assert_int_equal(w.attempts[1].err, MACULA_TOO_MANY_CALLS);
  close_world(&w);
}

static void at_most_three_attempts(void **state) {
  (void)state;
  struct world w;
  open_alone(&w);
  for (int i = 1; i <= 4; i++) serve(&w, i);
  call(&w, 0, 1, 0);
  for (int i = 1; i <= 3; i++) reply_error(&w, i, "no_handler", false, 0);
  assert_string_equal(w.log, "c1c2c3e0");
  assert_string_equal(w.code, "max_attempts_exceeded");
  assert_int_equal(w.answer.attempt_count, 3);
  assert_int_equal(router_stats(w.r)->max_attempts_exceeded, 1);
  close_world(&w);
}

static void the_unreachable_are_passed_over(void **state) {
  (void)state;
  struct world w;
  open_alone(&w);
  for (int i = 1; i <= 2; i++) serve(&w, i);
  w.unsendable[1] = MACULA_EFULL;
  call(&w, 0, 1, 0);
  assert_string_equal(w.log, "c2");
  assert_int_equal(w.p[1].owner.inflight, 0);
  w.unsendable[2] = MACULA_NOT_CONNECTED;
  assert_int_equal(call(&w, 0, 2, 0), MACULA_ALL_PROVIDERS_FAILED);
  assert_string_equal(w.log, "c2e0");
  assert_false(w.answer.may_have_run);
  assert_int_equal(w.attempts[0].err, MACULA_EFULL);
  assert_int_equal(w.attempts[1].err, MACULA_NOT_CONNECTED);
  close_world(&w);
}

static void a_providers_end_fails_over_or_answers_at_once(void **state) {
  (void)state;
  struct world w;
  open_calling(&w);
  call(&w, 0, 2, 0);
  router_session_ended(w.r, &w.p[1], 1);
  assert_string_equal(w.log, "c1c1c2c2");
  assert_int_equal(services_find(router_services(w.r), slice_str("x.y"))->count, 1);
  router_session_ended(w.r, &w.p[2], 2);
  assert_string_equal(w.log, "c1c1c2c2e0e0");
  assert_string_equal(w.code, "all_providers_failed");
  assert_false(w.answer.may_have_run); /* neither had acknowledged anything of it */
  assert_int_equal(w.answer.attempt_count, 2);
  assert_int_equal(w.attempts[0].err, MACULA_NOT_CONNECTED);
  router_session_ended(w.r, &w.p[2], 3); /* harmless */
  assert_string_equal(w.log, "c1c1c2c2e0e0");
  close_world(&w);
}

static void the_only_providers_end(void **state) {
  (void)state;
  struct world w;
  open_alone(&w);
  serve(&w, 1);
  call(&w, 0, 1, 0);
  router_session_ended(w.r, &w.p[1], 1);
  assert_string_equal(w.log, "c1e0");
  assert_string_equal(w.code, "all_providers_failed");
  assert_int_equal(w.answer.attempt_count, 1);
  assert_false(w.answer.may_have_run);
  close_world(&w);
}

/* What a provider has acknowledged anything of when it ends may have begun: it is not tried elsewhere. */
static void what_may_have_begun_is_not_tried_elsewhere(void **state) {
  (void)state;
  static const struct {
    enum call_fate fate;
    struct opt opt;
    bool service, again;
  } cases[] = {{CALL_UNSENT, {0}, false, true},
               {CALL_UNACKED, {0}, false, true},
               {CALL_BEGUN, {0}, false, false},
               {CALL_UNSENT, {.once = true}, false, true},
               {CALL_UNACKED, {.once = true}, false, false},
               {CALL_BEGUN, {.idempotent = true}, false, true},
               {CALL_BEGUN, {0}, true, true}, /* the service says that it may repeat */
               {CALL_BEGUN, {.once = true}, true, false},
               {CALL_UNACKED, {.once = true}, true, false}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct world w;
    open_alone(&w);
    for (int p = 1; p <= 2; p++) serve_at(&w, p, cases[i].service, 0);
    call_with(&w, 0, 1, 0, cases[i].opt);
    w.fate = cases[i].fate;
    router_session_ended(w.r, &w.p[1], 1);
    assert_string_equal(w.log, cases[i].again ? "c1c2" : "c1e0");
    if (!cases[i].again) {
      assert_string_equal(w.code, "provider_lost");
      assert_true(w.answer.may_have_run && w.attempts[0].may_have_run);
      assert_int_equal(router_stats(w.r)->lost, 1);
    }
    router_session_ended(w.r, &w.p[2], 1);
    close_world(&w);
  }
}

static void silence_stops_new_calls_and_moves_those_that_may_repeat(void **state) {
  (void)state;
  struct world w;
  open_alone(&w);
  for (int i = 1; i <= 2; i++) serve(&w, i);
  call(&w, 0, 1, 0);
  call_with(&w, 0, 2, 0, (struct opt){.idempotent = true});
  assert_string_equal(w.log, "c1c1");
  uint8_t first[CALL_ID_LEN];
  memcpy(first, w.sent_id[1], sizeof first);
  router_session_silent(w.r, &w.p[1], 1);
  assert_string_equal(w.log, "c1c1x1c2"); /* the other one goes on, as it may have begun */
  assert_int_equal(reply_to(&w, 1, first, 1), MACULA_ENOTFOUND);
  call(&w, 0, 3, 2);
  assert_string_equal(w.log, "c1c1x1c2c2");
  router_session_silent(w.r, &w.p[2], 3); /* it has nowhere to go to: it stays */
  call(&w, 0, 4, 4);                      /* all are silent: it waits */
  assert_string_equal(w.log, "c1c1x1c2c2");
  router_party_heard(w.r, &w.p[1], 5);
  assert_string_equal(w.log, "c1c1x1c2c2c1");
  router_session_ended(w.r, &w.p[2], 6); /* two calls: one has tried the first already, and was not idempotent for nothing */
  assert_string_equal(w.log, "c1c1x1c2c2c1e0c1");
  assert_true(w.answer.may_have_run);
  assert_int_equal(services_find(router_services(w.r), slice_str("x.y"))->count, 1);
  close_world(&w);
}

static void calls_wait_for_a_lost_provider_to_come_back(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
  serve(&w, 1);
  call(&w, 0, 1, 0);
  router_session_lost(w.r, &w.p[1], NS_SEC);
  assert_string_equal(w.log, "c1d"); /* are there others? */
  found(&w, "", NS_SEC + 1);
  call(&w, 0, 2, NS_SEC + 2);
  found(&w, "", NS_SEC + 3);
  assert_string_equal(w.log, "c1dd");
  assert_int_equal(call(&w, 3, 3, NS_SEC + 4), MACULA_NOT_CONNECTED); /* a node that has others to try tries those */
  assert_int_equal(call_with(&w, 3, 4, NS_SEC + 4, (struct opt){.waits = true}), 0);
  assert_string_equal(w.log, "c1dde3");
  serve_at(&w, 2, false, NS_SEC + 5);
  assert_string_equal(w.log, "c1dde3c2c2c2");
  assert_int_equal(services_find(router_services(w.r), slice_str("x.y"))->count, 1);
  for (int i = 1; i <= 2; i++) router_session_ended(w.r, &w.p[i], NS_SEC + 6);
  close_world(&w);

  open_world(&w); /* it does not come back */
  serve(&w, 1);
  router_session_lost(w.r, &w.p[1], NS_SEC);
  call_with(&w, 3, 4, NS_SEC, (struct opt){.waits = true});
  assert_string_equal(w.log, "");
  router_tick(w.r, NS_SEC + ROUTER_VACANT - 1);
  check(&w);
  assert_string_equal(w.log, "");
  router_tick(w.r, NS_SEC + ROUTER_VACANT);
  check(&w);
  assert_string_equal(w.log, "e3");
  assert_string_equal(w.code, "no_such_procedure");
  assert_int_equal(router_services(w.r)->count, 0);
  close_world(&w);
}

static void the_time_on_the_way_counts(void **state) {
  (void)state;
  struct world w;
  open_alone(&w);
  serve(&w, 1);
  call_with(&w, 0, 1, 0, (struct opt){.timeout_ms = 900, .age = 300 * NS_MS});
  assert_string_equal(w.log, "c1");
  assert_int_equal(w.timeout_ms, 600);
  assert_int_equal(call_with(&w, 0, 2, 0, (struct opt){.timeout_ms = 900, .age = 900 * NS_MS}), MACULA_TIMEOUT);
  assert_string_equal(w.log, "c1e0");
  assert_false(w.answer.may_have_run);
  close_world(&w);
}

static void the_callers_end_frees_and_cancels_at_once(void **state) {
  (void)state;
  struct world w;
  open_alone(&w);
  serve(&w, 1);
  call_with(&w, 0, 1, 0, (struct opt){.args = 100});
  call_with(&w, 0, 2, 0, (struct opt){.args = 100});
  call(&w, 2, 1, 0);
  router_session_ended(w.r, &w.p[0], 1);
  assert_string_equal(w.log, "c1c1c1x1x1");
  assert_int_equal(w.reason, MACULA_CANCELLED);
  assert_int_equal(calls_count(router_calls(w.r)), 1);
  assert_int_equal(w.payloads.bytes, 0);
  assert_int_equal(w.p[1].owner.inflight, 1);
  assert_int_equal(router_stats(w.r)->cancelled, 2);
  close_world(&w);
}

static void a_session_that_calls_itself_ends_cleanly(void **state) {
  (void)state;
  struct world w;
  open_alone(&w);
  serve(&w, 1);
  call(&w, 1, 1, 0);
  router_session_ended(w.r, &w.p[1], 1);
  assert_string_equal(w.log, "c1");
  close_world(&w);
}

static void cancelled_by_the_caller(void **state) {
  (void)state;
  struct world w;
  open_alone(&w);
  serve(&w, 1);
  call(&w, 0, 1, 0);
  uint8_t id[CALL_ID_LEN] = {1};
  assert_int_equal(router_cancel(w.r, &w.p[2], slice_of(id, sizeof id)), MACULA_ENOTFOUND); /* not its call */
  assert_int_equal(router_cancel(w.r, &w.p[0], slice_of(id, 3)), MACULA_ENOTFOUND);
  assert_int_equal(router_cancel(w.r, &w.p[0], slice_of(id, sizeof id)), 0);
  assert_int_equal(router_cancel(w.r, &w.p[0], slice_of(id, sizeof id)), MACULA_ENOTFOUND);
  assert_string_equal(w.log, "c1x1");
  assert_int_equal(reply(&w, 1, 0), MACULA_ENOTFOUND);
  close_world(&w);
}

static void a_timeout_is_not_tried_again(void **state) {
  (void)state;
  struct world w;
  open_alone(&w);
  serve(&w, 1);
  serve(&w, 2);
  call_with(&w, 0, 1, NS_SEC, (struct opt){.timeout_ms = 300});
  assert_int_equal(w.timeout_ms, 300); /* all the time there is */
  assert_true(router_deadline(w.r) == NS_SEC + 300 * NS_MS);
  router_tick(w.r, NS_SEC + 300 * NS_MS - 1);
  assert_string_equal(w.log, "c1");
  router_tick(w.r, NS_SEC + 300 * NS_MS);
  assert_string_equal(w.log, "c1x1e0");
  assert_string_equal(w.code, "timeout");
  assert_true(w.answer.may_have_run);
  assert_int_equal(w.attempts[0].err, MACULA_TIMEOUT);
  assert_int_equal(w.reason, MACULA_TIMEOUT);
  assert_int_equal(router_stats(w.r)->timeouts, 1);
  close_world(&w);
}

static void an_idempotent_call_shares_its_time(void **state) {
  (void)state;
  struct world w;
  open_alone(&w);
  for (int i = 1; i <= 4; i++) serve(&w, i);
  call_with(&w, 0, 1, 0, (struct opt){.timeout_ms = 900, .idempotent = true});
  assert_int_equal(w.timeout_ms, 300);
  router_tick(w.r, 300 * NS_MS);
  assert_string_equal(w.log, "c1x1c2");
  assert_int_equal(w.timeout_ms, 300);
  router_tick(w.r, 600 * NS_MS);
  assert_string_equal(w.log, "c1x1c2x2c3");
  router_tick(w.r, 900 * NS_MS);
  assert_string_equal(w.log, "c1x1c2x2c3x3e0");
  assert_string_equal(w.code, "timeout");
  assert_int_equal(w.answer.attempt_count, 3);
  close_world(&w);

  open_alone(&w); /* what the first leaves over goes to the others; two providers share in halves */
  serve(&w, 1);
  serve(&w, 2);
  call_with(&w, 0, 1, 0, (struct opt){.timeout_ms = 1000, .idempotent = true});
  assert_int_equal(w.timeout_ms, 500);
  router_session_ended(w.r, &w.p[1], 100 * NS_MS);
  assert_int_equal(w.timeout_ms, 900);
  close_world(&w);
}

static void timeouts_are_bounded(void **state) {
  (void)state;
  struct world w;
  open_alone(&w);
  serve(&w, 1);
  call_with(&w, 0, 1, 0, (struct opt){.timeout_ms = UINT64_MAX});
  assert_int_equal(w.timeout_ms, 60000);
  close_world(&w);
}

static void replies_count_only_from_whom_was_asked(void **state) {
  (void)state;
  struct world w;
  open_calling(&w);
  assert_int_equal(reply_to(&w, 2, w.sent_id[1], 0), MACULA_ENOTFOUND);
  assert_int_equal(reply_to(&w, 0, w.sent_id[1], 0), MACULA_ENOTFOUND);
  uint8_t caller_id[CALL_ID_LEN] = {1};
  assert_int_equal(reply_to(&w, 1, caller_id, 0), MACULA_ENOTFOUND);
  struct msg_reply none = {.result = slice_str("1")};
  assert_int_equal(router_reply(w.r, &w.p[1], &none, 0), MACULA_ENOTFOUND); /* no call_id at all */
  assert_string_equal(w.log, "c1");
  assert_int_equal(router_stats(w.r)->late, 4);
  close_world(&w);
}

static void pending_calls_are_bounded(void **state) {
  (void)state;
  struct world w;
  open_alone(&w);
  serve(&w, 1);
  for (uint8_t i = 0; i < 4; i++) assert_int_equal(call(&w, 0, i, 0), 0);
  assert_int_equal(call(&w, 0, 3, 0), MACULA_EBUSY); /* pending: ignored, no answer that would be taken for the first one's */
  assert_string_equal(w.log, "c1c1c1c1");
  assert_int_equal(call(&w, 0, 9, 0), MACULA_TOO_MANY_CALLS);
  assert_string_equal(w.code, "too_many_calls");
  assert_int_equal(w.answer_id[0], 9);
  for (uint8_t i = 0; i < 4; i++) assert_int_equal(call(&w, 2, i, 0), 0);
  assert_int_equal(call(&w, 3, 0, 0), MACULA_TOO_MANY_CALLS);
  router_session_ended(w.r, &w.p[0], 0);
  assert_int_equal(call(&w, 3, 0, 0), 0);
  router_session_ended(w.r, &w.p[2], 0);
  assert_int_equal(call_with(&w, 3, 1, 0, (struct opt){.args = 900}), 0);
  assert_int_equal(call_with(&w, 3, 2, 0, (struct opt){.args = 101}), MACULA_TOO_MANY_CALLS);
  assert_int_equal(router_stats(w.r)->too_many_calls, 3);
  assert_int_equal(router_stats(w.r)->duplicate_calls, 1);
  close_world(&w);
}

static void a_cast_goes_to_one(void **state) {
  (void)state;
  struct world w;
  open_alone(&w);
  assert_int_equal(cast(&w, 0), MACULA_NO_SUCH_PROCEDURE);
  assert_int_equal(w.cast_err, MACULA_NO_SUCH_PROCEDURE);
  for (int i = 1; i <= 2; i++) serve(&w, i);
  assert_int_equal(cast(&w, 0), 0);
  w.unsendable[1] = MACULA_EFULL;
  assert_int_equal(cast(&w, 0), 0);
  assert_string_equal(w.log, "AC1aC2a"); /* told of each exactly once */
  w.unsendable[2] = MACULA_EFULL;
  assert_int_equal(cast(&w, 0), MACULA_ALL_PROVIDERS_FAILED);
  assert_int_equal(w.cast_err, MACULA_ALL_PROVIDERS_FAILED);
  for (int i = 3; i <= 4; i++) serve(&w, i);
  w.unsendable[3] = MACULA_EFULL;
  assert_int_equal(cast(&w, 0), MACULA_MAX_ATTEMPTS_EXCEEDED);
  assert_int_equal(w.cast_err, MACULA_MAX_ATTEMPTS_EXCEEDED);
  assert_string_equal(w.log, "AC1aC2aAA");
  assert_int_equal(router_stats(w.r)->casts, 2);
  assert_int_equal(calls_count(router_calls(w.r)), 0);
  close_world(&w);
}

static void services_leave_at_their_deadline(void **state) {
  (void)state;
  struct world w;
  open_alone(&w);
  serve(&w, 1);
  assert_true(router_deadline(w.r) == 300 * NS_SEC);
  router_tick(w.r, 300 * NS_SEC);
  assert_true(router_deadline(w.r) == TIME_NEVER);
  assert_int_equal(call(&w, 0, 1, 0), MACULA_NO_SUCH_PROCEDURE);
  close_world(&w);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (uint64_t n = 1;; n++) {
    struct world w;
    open_alone(&w);
    serve(&w, 1);
    serve(&w, 2);
    struct mem_fail f = {.countdown = n};
    w.calls_mem.fail = &f;
    uint32_t pending = 0;
    for (uint8_t i = 0; i < 4; i++) {
      int err = call(&w, 0, i, 0);
      assert_true(err == 0 || err == MACULA_ENOMEM);
      if (err) assert_string_equal(w.code, "out_of_memory"); /* even then it is answered */
      pending += err == 0;
    }
    assert_int_equal(calls_count(router_calls(w.r)), pending);
    f.seen = 0;
    router_session_ended(w.r, &w.p[1], 0);
    assert_int_equal(f.seen, 0); /* failing over needs no memory */
    assert_int_equal(w.p[2].owner.inflight, pending);
    router_session_ended(w.r, &w.p[2], 0);
    close_world(&w);
    if (f.countdown) break;
  }
  struct mem_fail f = {.countdown = 1};
  struct mem m = {.name = "calls", .fail = &f};
  struct rng_seeded s;
  rng_seeded_init(&s, 1);
  struct router_config cfg = {.services_mem = &m, .calls_mem = &m, .rng = rng_seeded_view(&s)};
  struct router *r;
  assert_int_equal(router_new(&cfg, &r), MACULA_ENOMEM);
  router_free(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_call_and_its_reply),
                                     cmocka_unit_test(nobody_serves_it),
                                     cmocka_unit_test(a_handlers_error_is_final),
                                     cmocka_unit_test(a_refusal_goes_to_the_next),
                                     cmocka_unit_test(all_refuse),
                                     cmocka_unit_test(at_most_three_attempts),
                                     cmocka_unit_test(the_unreachable_are_passed_over),
                                     cmocka_unit_test(a_providers_end_fails_over_or_answers_at_once),
                                     cmocka_unit_test(the_only_providers_end),
                                     cmocka_unit_test(silence_stops_new_calls_and_moves_those_that_may_repeat),
                                     cmocka_unit_test(the_callers_end_frees_and_cancels_at_once),
                                     cmocka_unit_test(a_session_that_calls_itself_ends_cleanly),
                                     cmocka_unit_test(cancelled_by_the_caller),
                                     cmocka_unit_test(a_timeout_is_not_tried_again),
                                     cmocka_unit_test(what_may_have_begun_is_not_tried_elsewhere),
                                     cmocka_unit_test(calls_wait_for_a_lost_provider_to_come_back),
                                     cmocka_unit_test(the_time_on_the_way_counts),
                                     cmocka_unit_test(an_idempotent_call_shares_its_time),
                                     cmocka_unit_test(timeouts_are_bounded),
                                     cmocka_unit_test(replies_count_only_from_whom_was_asked),
                                     cmocka_unit_test(pending_calls_are_bounded),
                                     cmocka_unit_test(a_cast_goes_to_one),
                                     cmocka_unit_test(services_leave_at_their_deadline),
                                     cmocka_unit_test(every_allocation_may_fail)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
