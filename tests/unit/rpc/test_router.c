#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "rpc/router.h"

#define PARTIES 6
#define LOG_MAX 64

/* What the router sent, in order: c<provider> CALL, C<provider> CAST, x<provider> CANCEL, r<caller> REPLY, e<caller> error. */
struct world {
  struct mem services_mem, calls_mem, payloads;
  struct rng_seeded seeded;
  struct router *r;
  struct rpc_party p[PARTIES];
  int unreachable[PARTIES]; /* what send_call answers */
  char log[LOG_MAX * 3];
  uint8_t sent_id[CALL_ID_LEN]; /* of the last CALL */
  uint64_t timeout_ms;
  uint32_t args_len;
  int reason; /* of the last CANCEL */
  struct router_answer answer;
  uint8_t answer_id[CALL_ID_LEN];
  struct call_attempt attempts[CALL_MAX_ATTEMPTS];
  int casts, cast_err; /* cast_done: how often, and with what last */
  char result[64], code[64], message[128];
};

static void note(struct world *w, char what, const struct rpc_party *p) {
  size_t len = strlen(w->log);
  assert_true(len + 2 < sizeof w->log);
  w->log[len] = what;
  w->log[len + 1] = (char)('0' + p->owner.session);
  w->log[len + 2] = '\0';
}

static int send_call(void *ctx, const struct router_send *s) {
  struct world *w = ctx;
  int err = w->unreachable[s->provider->owner.session];
  if (err) return err;
  note(w, s->call_id ? 'c' : 'C', s->provider);
  if (s->call_id) memcpy(w->sent_id, s->call_id, CALL_ID_LEN);
  w->timeout_ms = s->timeout_ms;
  w->args_len = s->args ? s->args->len : 0;
  assert_true(slice_is(s->procedure, "x.y"));
  return 0;
}

static void copy(char *ret, size_t cap, struct slice s) { snprintf(ret, cap, "%.*s", (int)s.n, s.n ? (const char *)s.p : ""); }

static void send_reply(void *ctx, const struct router_answer *a) {
  struct world *w = ctx;
  note(w, a->is_error ? 'e' : 'r', a->caller);
  w->answer = *a;
  memcpy(w->answer_id, a->call_id, CALL_ID_LEN);
  if (a->attempt_count) memcpy(w->attempts, a->attempts, a->attempt_count * sizeof *a->attempts);
  for (uint32_t i = 0; i < a->attempt_count; i++) assert_int_not_equal(a->attempts[i].err, 0);
  copy(w->result, sizeof w->result, a->result);
  copy(w->code, sizeof w->code, a->code);
  copy(w->message, sizeof w->message, a->message);
}

static void send_cancel(void *ctx, struct rpc_party *provider, const uint8_t call_id[CALL_ID_LEN], int reason) {
  struct world *w = ctx;
  (void)call_id;
  note(w, 'x', provider);
  w->reason = reason;
}

static void cast_done(void *ctx, struct rpc_party *caller, bool has_ref, uint64_t ref, int err) {
  struct world *w = ctx;
  assert_ptr_equal(caller, &w->p[0]);
  assert_true(has_ref && ref == 77);
  w->casts++;
  w->cast_err = err;
}

static int cast(struct world *w) {
  int casts = w->casts;
  struct router_cast c = {.procedure = slice_str("x.y"), .strategy = STRATEGY_FIRST, .has_ref = true, .ref = 77};
  int err = router_cast(w->r, &w->p[0], &c, 0);
  assert_int_equal(w->casts, casts + 1); /* told exactly once */
  assert_int_equal(w->cast_err, err);
  return err;
}

static void open_world(struct world *w) {
  memset(w, 0, sizeof *w);
  w->services_mem = MEM_INIT("services", 0);
  w->calls_mem = MEM_INIT("calls", 0);
  w->payloads = MEM_INIT("payloads", 0);
  rng_seeded_init(&w->seeded, 5);
  struct router_config cfg = {
      .services_mem = &w->services_mem,
      .calls_mem = &w->calls_mem,
      .rng = rng_seeded_view(&w->seeded),
      .max_services = 100,
      .party_services = 10,
      .max_calls = 8,
      .party_calls = 4,
      .max_args_bytes = 1000,
      .default_timeout = 5 * NS_SEC,
      .max_timeout = 60 * NS_SEC,
      .out = {.send_call = send_call, .send_reply = send_reply, .send_cancel = send_cancel, .cast_done = cast_done, .ctx = w}};
  assert_int_equal(router_new(&cfg, &w->r), 0);
  for (uint8_t i = 0; i < PARTIES; i++) {
    struct id id = {{i}};
    rpc_party_init(&w->p[i], i, &id, NULL);
  }
}

static void close_world(struct world *w) {
  for (int i = 0; i < PARTIES; i++) {
    router_session_ended(w->r, &w->p[i], 0);
    assert_int_equal(w->p[i].owner.inflight, 0);
    assert_int_equal(w->p[i].calls.made_count, 0);
  }
  assert_int_equal(calls_count(router_calls(w->r)), 0);
  router_free(w->r);
  assert_int_equal(w->calls_mem.bytes, 0);
  assert_int_equal(w->services_mem.bytes, 0);
  assert_int_equal(w->payloads.bytes, 0);
}

static void serve(struct world *w, int provider) {
  assert_int_equal(services_register(router_services(w->r), &w->p[provider].owner, slice_str("x.y"), 300 * NS_SEC, 0), 0);
}

struct opt {
  uint64_t timeout_ms;
  bool idempotent;
  size_t args;
};

static int call_with(struct world *w, int caller, uint8_t id, nanotime now, struct opt o) {
  uint8_t call_id[CALL_ID_LEN] = {id};
  struct shbuf *args = o.args ? shbuf_new(&w->payloads, o.args) : NULL;
  struct router_call c = {.call_id = call_id,
                          .procedure = slice_str("x.y"),
                          .args = args,
                          .timeout_ms = o.timeout_ms,
                          .strategy = STRATEGY_FIRST,
                          .idempotent = o.idempotent};
  int err = router_call(w->r, &w->p[caller], &c, now);
  shbuf_unref(args);
  return err;
}

static int call(struct world *w, int caller, uint8_t id) { return call_with(w, caller, id, 0, (struct opt){0}); }

static int reply(struct world *w, int provider, const uint8_t *sent_id) {
  struct msg_reply m = {.call_id = slice_of(sent_id, CALL_ID_LEN), .result = slice_str("42")};
  return router_reply(w->r, &w->p[provider], &m, 0);
}

static int reply_error(struct world *w, int provider, const char *code) {
  struct msg_reply m = {.call_id = slice_of(w->sent_id, CALL_ID_LEN),
                        .is_error = true,
                        .error = {.code = slice_str(code), .message = slice_str("because")}};
  return router_reply(w->r, &w->p[provider], &m, 0);
}

static void a_call_and_its_reply(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
  serve(&w, 1);
  assert_int_equal(call_with(&w, 0, 7, 0, (struct opt){.args = 10}), 0);
  assert_string_equal(w.log, "c1");
  assert_int_equal(w.args_len, 10);
  assert_int_equal(w.timeout_ms, 5000);
  assert_int_equal(w.p[1].owner.inflight, 1);
  assert_true(router_deadline(w.r) == 5 * NS_SEC);
  assert_int_equal(reply(&w, 1, w.sent_id), 0);
  assert_string_equal(w.log, "c1r0");
  assert_string_equal(w.result, "42");
  assert_int_equal(w.answer_id[0], 7);
  assert_int_equal(w.p[1].owner.inflight, 0);
  assert_int_equal(w.payloads.bytes, 0);
  assert_int_equal(reply(&w, 1, w.sent_id), MACULA_ENOTFOUND); /* once only */
  assert_string_equal(w.log, "c1r0");
  assert_int_equal(router_stats(w.r)->calls, 1);
  assert_int_equal(router_stats(w.r)->replies, 1);
  assert_int_equal(router_stats(w.r)->late, 1);
  close_world(&w);
}

static void nobody_serves_it(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
  assert_int_equal(call(&w, 0, 1), MACULA_NO_SUCH_PROCEDURE);
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
  open_world(&w);
  serve(&w, 1);
  serve(&w, 2);
  call(&w, 0, 1);
  assert_int_equal(reply_error(&w, 1, "handler_error"), 0);
  assert_string_equal(w.log, "c1e0");
  assert_string_equal(w.code, "handler_error");
  assert_string_equal(w.message, "because");
  assert_true(w.answer.may_have_run);
  call(&w, 0, 2);
  assert_int_equal(reply_error(&w, 1, "some_code_of_tomorrow"), 0); /* passed on as it is */
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
    open_world(&w);
    serve(&w, 1);
    serve(&w, 2);
    call(&w, 0, 1);
    uint8_t first[CALL_ID_LEN];
    memcpy(first, w.sent_id, sizeof first);
    reply_error(&w, 1, refusals[i]);
    assert_string_equal(w.log, "c1c2");
    assert_int_equal(reply(&w, 1, first), MACULA_ENOTFOUND); /* too late */
    assert_int_equal(reply(&w, 2, w.sent_id), 0);
    assert_string_equal(w.log, "c1c2r0");
    assert_int_equal(router_stats(w.r)->failovers, 1);
    close_world(&w);
  }
}

static void all_refuse(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
  serve(&w, 1);
  serve(&w, 2);
  call(&w, 0, 1);
  reply_error(&w, 1, "no_handler");
  reply_error(&w, 2, "too_many_calls");
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
  open_world(&w);
  for (int i = 1; i <= 4; i++) serve(&w, i);
  call(&w, 0, 1);
  for (int i = 1; i <= 3; i++) reply_error(&w, i, "no_handler");
  assert_string_equal(w.log, "c1c2c3e0");
  assert_string_equal(w.code, "max_attempts_exceeded");
  assert_int_equal(w.answer.attempt_count, 3);
  assert_int_equal(router_stats(w.r)->max_attempts_exceeded, 1);
  close_world(&w);
}

static void the_unreachable_are_passed_over(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
  for (int i = 1; i <= 2; i++) serve(&w, i);
  w.unreachable[1] = MACULA_EFULL;
  call(&w, 0, 1);
  assert_string_equal(w.log, "c2");
  assert_int_equal(w.p[1].owner.inflight, 0);
  w.unreachable[2] = MACULA_NOT_CONNECTED;
  assert_int_equal(call(&w, 0, 2), MACULA_ALL_PROVIDERS_FAILED);
  assert_string_equal(w.log, "c2e0");
  assert_false(w.answer.may_have_run);
  assert_int_equal(w.attempts[0].err, MACULA_EFULL);
  assert_int_equal(w.attempts[1].err, MACULA_NOT_CONNECTED);
  close_world(&w);
}

static void a_providers_end_fails_over_or_answers_at_once(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
  serve(&w, 1);
  serve(&w, 2);
  call(&w, 0, 1);
  call(&w, 0, 2);
  router_session_ended(w.r, &w.p[1], 1);
  assert_string_equal(w.log, "c1c1c2c2");
  assert_int_equal(services_find(router_services(w.r), slice_str("x.y"))->count, 1);
  router_session_ended(w.r, &w.p[2], 2);
  assert_string_equal(w.log, "c1c1c2c2e0e0");
  assert_string_equal(w.code, "all_providers_failed");
  assert_true(w.answer.may_have_run);
  assert_int_equal(w.answer.attempt_count, 2);
  assert_int_equal(w.attempts[0].err, MACULA_NOT_CONNECTED);
  router_session_ended(w.r, &w.p[2], 3); /* harmless */
  assert_string_equal(w.log, "c1c1c2c2e0e0");
  close_world(&w);
}

static void the_only_providers_end(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
  serve(&w, 1);
  call(&w, 0, 1);
  router_session_ended(w.r, &w.p[1], 1);
  assert_string_equal(w.log, "c1e0");
  assert_string_equal(w.code, "all_providers_failed");
  assert_int_equal(w.answer.attempt_count, 1);
  assert_true(w.answer.may_have_run);
  close_world(&w);
}

static void a_silent_provider_loses_its_calls_not_its_services(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
  serve(&w, 1);
  serve(&w, 2);
  call(&w, 0, 1);
  uint8_t first[CALL_ID_LEN];
  memcpy(first, w.sent_id, sizeof first);
  router_session_silent(w.r, &w.p[1], 1);
  assert_string_equal(w.log, "c1x1c2");
  assert_int_equal(reply(&w, 1, first), MACULA_ENOTFOUND);
  assert_int_equal(services_find(router_services(w.r), slice_str("x.y"))->count, 2);
  router_session_silent(w.r, &w.p[2], 1); /* it does not go back to the first */
  assert_string_equal(w.log, "c1x1c2x2e0");
  close_world(&w);
}

static void the_callers_end_frees_and_cancels_at_once(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
  serve(&w, 1);
  call_with(&w, 0, 1, 0, (struct opt){.args = 100});
  call_with(&w, 0, 2, 0, (struct opt){.args = 100});
  call(&w, 2, 1);
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
  open_world(&w);
  serve(&w, 1);
  call(&w, 1, 1);
  router_session_ended(w.r, &w.p[1], 1);
  assert_string_equal(w.log, "c1");
  close_world(&w);
}

static void cancelled_by_the_caller(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
  serve(&w, 1);
  call(&w, 0, 1);
  uint8_t id[CALL_ID_LEN] = {1};
  assert_int_equal(router_cancel(w.r, &w.p[2], slice_of(id, sizeof id)), MACULA_ENOTFOUND); /* not its call */
  assert_int_equal(router_cancel(w.r, &w.p[0], slice_of(id, 3)), MACULA_ENOTFOUND);
  assert_int_equal(router_cancel(w.r, &w.p[0], slice_of(id, sizeof id)), 0);
  assert_int_equal(router_cancel(w.r, &w.p[0], slice_of(id, sizeof id)), MACULA_ENOTFOUND);
  assert_string_equal(w.log, "c1x1");
  assert_int_equal(reply(&w, 1, w.sent_id), MACULA_ENOTFOUND);
  close_world(&w);
}

static void a_timeout_is_not_tried_again(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
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
  open_world(&w);
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

  open_world(&w); /* what the first leaves over goes to the others; two providers share in halves */
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
  open_world(&w);
  serve(&w, 1);
  call_with(&w, 0, 1, 0, (struct opt){.timeout_ms = UINT64_MAX});
  assert_int_equal(w.timeout_ms, 60000);
  close_world(&w);
}

static void replies_count_only_from_whom_was_asked(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
  serve(&w, 1);
  serve(&w, 2);
  call(&w, 0, 1);
  assert_int_equal(reply(&w, 2, w.sent_id), MACULA_ENOTFOUND);
  assert_int_equal(reply(&w, 0, w.sent_id), MACULA_ENOTFOUND);
  uint8_t caller_id[CALL_ID_LEN] = {1};
  assert_int_equal(reply(&w, 1, caller_id), MACULA_ENOTFOUND);
  struct msg_reply none = {.result = slice_str("1")};
  assert_int_equal(router_reply(w.r, &w.p[1], &none, 0), MACULA_ENOTFOUND); /* no call_id at all */
  assert_string_equal(w.log, "c1");
  assert_int_equal(router_stats(w.r)->late, 4);
  close_world(&w);
}

static void pending_calls_are_bounded(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
  serve(&w, 1);
  for (uint8_t i = 0; i < 4; i++) assert_int_equal(call(&w, 0, i), 0);
  assert_int_equal(call(&w, 0, 3), MACULA_EBUSY); /* pending: ignored, no answer that would be taken for the first one's */
  assert_string_equal(w.log, "c1c1c1c1");
  assert_int_equal(call(&w, 0, 9), MACULA_TOO_MANY_CALLS);
  assert_string_equal(w.code, "too_many_calls");
  assert_int_equal(w.answer_id[0], 9);
  for (uint8_t i = 0; i < 4; i++) assert_int_equal(call(&w, 2, i), 0);
  assert_int_equal(call(&w, 3, 0), MACULA_TOO_MANY_CALLS);
  router_session_ended(w.r, &w.p[0], 0);
  assert_int_equal(call(&w, 3, 0), 0);
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
  open_world(&w);
  assert_int_equal(cast(&w), MACULA_NO_SUCH_PROCEDURE);
  for (int i = 1; i <= 2; i++) serve(&w, i);
  assert_int_equal(cast(&w), 0);
  w.unreachable[1] = MACULA_EFULL;
  assert_int_equal(cast(&w), 0);
  assert_string_equal(w.log, "C1C2");
  w.unreachable[2] = MACULA_EFULL;
  assert_int_equal(cast(&w), MACULA_ALL_PROVIDERS_FAILED);
  for (int i = 3; i <= 4; i++) serve(&w, i);
  w.unreachable[3] = MACULA_EFULL;
  assert_int_equal(cast(&w), MACULA_MAX_ATTEMPTS_EXCEEDED);
  assert_int_equal(router_stats(w.r)->casts, 2);
  assert_int_equal(calls_count(router_calls(w.r)), 0);
  close_world(&w);
}

static void services_leave_at_their_deadline(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
  serve(&w, 1);
  assert_true(router_deadline(w.r) == 300 * NS_SEC);
  router_tick(w.r, 300 * NS_SEC);
  assert_true(router_deadline(w.r) == TIME_NEVER);
  assert_int_equal(call(&w, 0, 1), MACULA_NO_SUCH_PROCEDURE);
  close_world(&w);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (uint64_t n = 1;; n++) {
    struct world w;
    open_world(&w);
    serve(&w, 1);
    serve(&w, 2);
    struct mem_fail f = {.countdown = n};
    w.calls_mem.fail = &f;
    uint32_t pending = 0;
    for (uint8_t i = 0; i < 4; i++) {
      int err = call(&w, 0, i);
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
                                     cmocka_unit_test(a_silent_provider_loses_its_calls_not_its_services),
                                     cmocka_unit_test(the_callers_end_frees_and_cancels_at_once),
                                     cmocka_unit_test(a_session_that_calls_itself_ends_cleanly),
                                     cmocka_unit_test(cancelled_by_the_caller),
                                     cmocka_unit_test(a_timeout_is_not_tried_again),
                                     cmocka_unit_test(an_idempotent_call_shares_its_time),
                                     cmocka_unit_test(timeouts_are_bounded),
                                     cmocka_unit_test(replies_count_only_from_whom_was_asked),
                                     cmocka_unit_test(pending_calls_are_bounded),
                                     cmocka_unit_test(a_cast_goes_to_one),
                                     cmocka_unit_test(services_leave_at_their_deadline),
                                     cmocka_unit_test(every_allocation_may_fail)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
