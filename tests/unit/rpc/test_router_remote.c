/* Calls that leave for other nodes: lookups, links, failover, deadlines and ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "rpc/internal.h"

#define PARTIES 8
#define NODES 3 /* from this number on: 0 to 2 are clients, 3 to 7 links of nodes 3 to 7 */

/* What the router sent, in order: d lookup begun, u lookup given up, w<party> not ready, c<party> CALL, C<party> CAST, x<party>
 * CANCEL, r<caller> REPLY, e<caller> error, a cast confirmed, A cast refused. */
struct world {
  struct mem services_mem, calls_mem, discovery_mem, payloads;
  struct rng_seeded seeded;
  struct router *r;
  struct rpc_party p[PARTIES];
  bool dialling[PARTIES];
  int unreachable[PARTIES], unsendable[PARTIES]; /* what reach and send_call answer */
  int undiscoverable;                            /* what discover answers */
  char log[256];
  uint8_t sent_id[PARTIES][CALL_ID_LEN];
  uint64_t timeout_ms;
  int reason, cast_err;
  struct router_answer answer;
  struct call_attempt attempts[CALL_MAX_ATTEMPTS];
  char code[64], message[128];
};

static void note(struct world *w, char what, const struct rpc_party *p) {
  size_t len = strlen(w->log);
  assert_true(len + 2 < sizeof w->log);
  w->log[len] = what;
  if (p) w->log[len + 1] = (char)('0' + (p - w->p));
}

static int send_call(void *ctx, const struct router_send *s) {
  struct world *w = ctx;
  int i = (int)(s->provider - w->p);
  if (w->unsendable[i]) return w->unsendable[i];
  note(w, w->dialling[i] ? 'w' : s->call_id ? 'c' : 'C', s->provider);
  if (w->dialling[i]) return MACULA_EBUSY;
  if (s->call_id) memcpy(w->sent_id[i], s->call_id, CALL_ID_LEN);
  w->timeout_ms = s->timeout_ms;
  return 0;
}
static void send_reply(void *ctx, const struct router_answer *a) {
  struct world *w = ctx;
  note(w, a->is_error ? 'e' : 'r', a->caller);
  w->answer = *a;
  if (a->attempt_count) memcpy(w->attempts, a->attempts, a->attempt_count * sizeof *a->attempts);
  for (uint32_t i = 0; i < a->attempt_count; i++) assert_int_not_equal(a->attempts[i].err, 0);
  snprintf(w->code, sizeof w->code, "%.*s", (int)a->code.n, a->code.n ? (const char *)a->code.p : "");
  snprintf(w->message, sizeof w->message, "%.*s", (int)a->message.n, a->message.n ? (const char *)a->message.p : "");
}
static void send_cancel(void *ctx, struct rpc_party *provider, const uint8_t call_id[CALL_ID_LEN], int reason) {
  struct world *w = ctx;
  (void)call_id;
  note(w, 'x', provider);
  w->reason = reason;
}
static void cast_done(void *ctx, struct rpc_party *caller, bool has_ref, uint64_t ref, int err) {
  struct world *w = ctx;
  assert_true(caller == &w->p[0] && has_ref && ref == 5);
  note(w, err ? 'A' : 'a', NULL);
  w->cast_err = err;
}
static int discover(void *ctx, struct slice procedure) {
  struct world *w = ctx;
  assert_true(slice_is(procedure, "x.y"));
  if (!w->undiscoverable) note(w, 'd', NULL);
  return w->undiscoverable;
}
static void undiscover(void *ctx, struct slice procedure) {
  assert_true(slice_is(procedure, "x.y"));
  note(ctx, 'u', NULL);
}
static int reach(void *ctx, const struct remote_node *where, struct rpc_party **ret_party) {
  struct world *w = ctx;
  int i = where->id.b[0];
  if (w->unreachable[i]) return w->unreachable[i];
  *ret_party = &w->p[i];
  return 0;
}
static struct rpc_party *known(void *ctx, const struct remote_node *where) {
  struct world *w = ctx;
  return &w->p[where->id.b[0]];
}

static void open_world(struct world *w) {
  memset(w, 0, sizeof *w);
  w->services_mem = MEM_INIT("services", 0);
  w->calls_mem = MEM_INIT("calls", 0);
  w->discovery_mem = MEM_INIT("discovery", 0);
  w->payloads = MEM_INIT("payloads", 0);
  rng_seeded_init(&w->seeded, 5);
  struct router_config cfg = {.services_mem = &w->services_mem,
                              .calls_mem = &w->calls_mem,
                              .discovery_mem = &w->discovery_mem,
                              .rng = rng_seeded_view(&w->seeded),
                              .max_services = 100,
                              .party_services = 10,
                              .max_calls = 8,
                              .party_calls = 4,
                              .max_args_bytes = 1000,
                              .max_discovered = 3,
                              .discovery_ttl = 60 * NS_SEC,
                              .negative_ttl = NS_SEC,
                              .default_timeout = 6 * NS_SEC,
                              .max_timeout = 60 * NS_SEC,
                              .out = {.send_call = send_call,
                                      .send_reply = send_reply,
                                      .send_cancel = send_cancel,
                                      .cast_done = cast_done,
                                      .discover = discover,
                                      .undiscover = undiscover,
                                      .reach = reach,
                                      .known = known,
                                      .ctx = w}};
  assert_int_equal(router_new(&cfg, &w->r), 0);
  for (uint8_t i = 0; i < PARTIES; i++) {
    struct id id = {{i}};
    rpc_party_init(&w->p[i], i, &id, NULL);
    w->p[i].node = i >= NODES;
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
  assert_int_equal(w->discovery_mem.bytes, 0);
  assert_int_equal(w->payloads.bytes, 0);
}

static void serve(struct world *w, int provider) {
  assert_int_equal(services_register(router_services(w->r), &w->p[provider].owner, slice_str("x.y"), 300 * NS_SEC, 0), 0);
}

struct opt {
  uint64_t timeout_ms;
  bool idempotent;
  enum strategy strategy;
  size_t args;
};
static int call_with(struct world *w, int caller, uint8_t id, nanotime now, struct opt o) {
  uint8_t call_id[CALL_ID_LEN] = {id};
  struct shbuf *args = o.args ? shbuf_new(&w->payloads, o.args) : NULL;
  struct router_call c = {.call_id = call_id,
                          .procedure = slice_str("x.y"),
                          .args = args,
                          .timeout_ms = o.timeout_ms,
                          .strategy = o.strategy ? o.strategy : STRATEGY_FIRST,
                          .idempotent = o.idempotent};
  int err = router_call(w->r, &w->p[caller], &c, now);
  shbuf_unref(args);
  return err;
}
static int call(struct world *w, int caller, uint8_t id, nanotime now) {
  return call_with(w, caller, id, now, (struct opt){0});
}
static int cast(struct world *w, nanotime now) {
  struct router_cast c = {.procedure = slice_str("x.y"), .strategy = STRATEGY_FIRST, .has_ref = true, .ref = 5};
  return router_cast(w->r, &w->p[0], &c, now);
}

/* ids: one digit a node. */
static void found(struct world *w, const char *ids, nanotime now) {
  struct remote_node v[64];
  size_t n = strlen(ids);
  for (size_t i = 0; i < n; i++) v[i] = (struct remote_node){.id = {{(uint8_t)(ids[i] - '0')}}};
  router_discovered(w->r, slice_str("x.y"), 0, v, n, now);
}
static void not_found(struct world *w, int err, nanotime now) { router_discovered(w->r, slice_str("x.y"), err, NULL, 0, now); }

static int reply(struct world *w, int from, nanotime now) {
  struct msg_reply m = {.call_id = slice_of(w->sent_id[from], CALL_ID_LEN), .result = slice_str("42")};
  return router_reply(w->r, &w->p[from], &m, now);
}
static int reply_error(struct world *w, int from, const char *code, bool may_have_run, nanotime now) {
  struct msg_reply m = {.call_id = slice_of(w->sent_id[from], CALL_ID_LEN),
                        .is_error = true,
                        .error = {.code = slice_str(code), .message = slice_str("because"), .may_have_run = may_have_run}};
  return router_reply(w->r, &w->p[from], &m, now);
}

static void looked_up_sent_and_answered(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  assert_int_equal(call_with(&w, 0, 1, 0, (struct opt){.args = 10}), 0);
  assert_int_equal(call(&w, 1, 1, 0), 0); /* one lookup for both */
  assert_string_equal(w.log, "d");
  found(&w, "43", 1); /* in order of their ids */
  assert_string_equal(w.log, "dc3c3");
  assert_int_equal(w.timeout_ms, 5999);
  assert_int_equal(reply(&w, 3, 2), 0);
  assert_string_equal(w.log, "dc3c3r1");
  assert_int_equal(call(&w, 0, 2, 3), 0); /* known by now */
  assert_string_equal(w.log, "dc3c3r1c3");
  assert_int_equal(router_discovery(w.r)->hits, 3);
  assert_int_equal(router_stats(w.r)->lookups, 1);
  assert_int_equal(router_stats(w.r)->sent_to_nodes, 3);
  close_world(&w);
}

static void local_first(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  serve(&w, 1);
  call(&w, 0, 1, 0);
  assert_string_equal(w.log, "c1");
  struct msg_reply m = {
      .call_id = slice_of(w.sent_id[1], CALL_ID_LEN), .is_error = true, .error = {.code = slice_str("no_handler")}};
  router_reply(w.r, &w.p[1], &m, 0);
  assert_string_equal(w.log, "c1d"); /* only when no local one is left */
  found(&w, "3", 0);
  assert_int_equal(reply(&w, 3, 0), 0);
  assert_string_equal(w.log, "c1dc3r0");
  assert_int_equal(router_stats(w.r)->failovers, 1);
  close_world(&w);
}

static void calls_of_nodes_go_no_further(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  assert_int_equal(call(&w, 3, 1, 0), MACULA_NO_SUCH_PROCEDURE);
  assert_string_equal(w.log, "e3");
  call(&w, 0, 1, 0);
  found(&w, "4", 0);
  assert_int_equal(call(&w, 3, 2, 0), MACULA_NO_SUCH_PROCEDURE); /* although one is known */
  serve(&w, 1);
  assert_int_equal(call(&w, 3, 3, 0), 0);
  assert_string_equal(w.log, "e3dc4e3c1");
  router_session_ended(w.r, &w.p[1], 0);
  assert_string_equal(w.code, "all_providers_failed");
  close_world(&w);
}

static void nobody_provides_it(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  call(&w, 0, 1, 0);
  not_found(&w, 0, 10);
  assert_string_equal(w.log, "de0");
  assert_string_equal(w.code, "no_such_procedure");
  assert_int_equal(call(&w, 0, 2, NS_SEC), MACULA_NO_SUCH_PROCEDURE); /* known for a second */
  assert_string_equal(w.log, "de0e0");
  assert_int_equal(call(&w, 0, 3, NS_SEC + 10), 0);
  assert_string_equal(w.log, "de0e0d");
  close_world(&w);
}

static void a_call_that_found_nobody_asks_once_more(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  w.r->look_again = 300 * NS_MS;
  call(&w, 0, 1, 0);
  call_with(&w, 0, 2, 0, (struct opt){.timeout_ms = 100});
  found(&w, "", 10);
  assert_string_equal(w.log, "d");
  call(&w, 1, 1, 20); /* meanwhile it is known that there is nobody */
  assert_string_equal(w.log, "de1");
  router_tick(w.r, 100 * NS_MS); /* its time is over: there was nobody */
  assert_string_equal(w.log, "de1e0");
  assert_string_equal(w.code, "no_such_procedure");
  router_tick(w.r, 10 + 300 * NS_MS);
  assert_string_equal(w.log, "de1e0d");
  found(&w, "3", 11 + 300 * NS_MS);
  assert_string_equal(w.log, "de1e0dc3");
  close_world(&w);

  open_world(&w);
  w.r->look_again = 300 * NS_MS;
  call(&w, 0, 1, 0);
  call(&w, 0, 2, 0);
  found(&w, "", 10);
  uint8_t id[CALL_ID_LEN] = {2};
  assert_int_equal(router_cancel(w.r, &w.p[0], slice_of(id, sizeof id)), 0); /* while it waits */
  router_tick(w.r, 10 + 300 * NS_MS);
  found(&w, "", 11 + 300 * NS_MS);
  assert_string_equal(w.log, "dde0"); /* once only */
  assert_string_equal(w.code, "no_such_procedure");
  close_world(&w);
}

static void a_lookup_that_fails(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  call(&w, 0, 1, 0);
  call(&w, 1, 1, 0);
  not_found(&w, MACULA_DHT_TIMEOUT, 1);
  assert_string_equal(w.log, "de0e1");
  assert_string_equal(w.code, "dht_timeout");
  assert_false(w.answer.may_have_run);
  assert_int_equal(router_stats(w.r)->lookups_failed, 2);
  w.undiscoverable = MACULA_EFULL;
  assert_int_equal(call(&w, 0, 2, 2), MACULA_TOO_MANY_CALLS);
  w.undiscoverable = MACULA_NO_SUCH_PROCEDURE; /* a node on its own */
  assert_int_equal(call(&w, 0, 3, 2), MACULA_NO_SUCH_PROCEDURE);
  serve(&w, 1);
  call(&w, 0, 4, 2);
  router_session_ended(w.r, &w.p[1], 2);
  assert_string_equal(w.code, "all_providers_failed");
  assert_int_equal(w.answer.attempt_count, 1);
  not_found(&w, MACULA_DHT_TIMEOUT, 3); /* nobody asked */
  found(&w, "3", 3);
  assert_null(discovery_peek(router_discovery(w.r), slice_str("x.y"), 3));
  close_world(&w);
}

/* One client's lookups come from a budget of its own: what is known or being looked up needs none. */
static void a_client_has_so_many_lookups(void **state) {
  struct world w;
  uint8_t id = 1;
  (void)state;
  open_world(&w);
  w.r->party_lookups = 1;
  w.undiscoverable = MACULA_NO_SUCH_PROCEDURE; /* on its own no lookup is begun: nothing is counted */
  for (; id < 30; id++) assert_int_equal(call(&w, 0, id, NS_SEC), MACULA_NO_SUCH_PROCEDURE);
  w.undiscoverable = 0;
  memset(w.log, 0, sizeof w.log);
  for (int i = 0; i < 4; i++) {
    assert_int_equal(call(&w, 0, id++, NS_SEC), 0);
    not_found(&w, MACULA_DHT_TIMEOUT, NS_SEC);
  }
  assert_string_equal(w.log, "de0de0de0de0");
  assert_int_equal(call(&w, 0, id++, NS_SEC), MACULA_RATE_LIMITED);
  assert_string_equal(w.log, "de0de0de0de0e0");
  assert_string_equal(w.code, "rate_limited");
  assert_false(w.answer.may_have_run);
  memset(w.log, 0, sizeof w.log);
  assert_int_equal(cast(&w, NS_SEC), MACULA_RATE_LIMITED);
  assert_int_equal(w.cast_err, MACULA_RATE_LIMITED);
  assert_int_equal(router_stats(w.r)->lookups_refused, 2);
  assert_int_equal(call(&w, 1, 1, NS_SEC), 0);    /* another client has its own */
  assert_int_equal(call(&w, 0, id++, NS_SEC), 0); /* and the first may wait for that */
  assert_string_equal(w.log, "Ad");
  found(&w, "3", NS_SEC);
  assert_string_equal(w.log, "Adc3c3");
  assert_int_equal(call(&w, 0, id++, NS_SEC), 0); /* known by now */
  close_world(&w);
}

static void a_second_lookup_is_left_out_when_there_is_none(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  w.r->party_lookups = 1;
  w.r->look_again = 300 * NS_MS;
  for (uint8_t i = 0; i < 4; i++) {
    assert_int_equal(call(&w, 0, i, NS_SEC), 0);
    if (i < 3) not_found(&w, MACULA_DHT_TIMEOUT, NS_SEC);
  }
  found(&w, "", NS_SEC);
  memset(w.log, 0, sizeof w.log);
  router_tick(w.r, NS_SEC + 300 * NS_MS);
  assert_string_equal(w.log, "e0");
  assert_string_equal(w.code, "no_such_procedure"); /* which is what the first one found */
  assert_int_equal(call(&w, 0, 9, 2 * NS_SEC), 0);  /* a second later there is one more */
  assert_string_equal(w.log, "e0d");
  close_world(&w);
}

static void strategies(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  call_with(&w, 0, 1, 0, (struct opt){.strategy = STRATEGY_ROUND_ROBIN});
  found(&w, "354", 0);
  for (uint8_t i = 2; i < 5; i++) call_with(&w, 0, i, 0, (struct opt){.strategy = STRATEGY_ROUND_ROBIN});
  assert_string_equal(w.log, "dc3c4c5c3");
  w.log[0] = 0, memset(w.log, 0, sizeof w.log);
  call_with(&w, 1, 1, 0, (struct opt){.strategy = STRATEGY_LEAST_PENDING});
  call_with(&w, 1, 2, 0, (struct opt){.strategy = STRATEGY_LEAST_PENDING});
  assert_true(!strcmp(w.log, "c5c4") || !strcmp(w.log, "c4c5"));
  memset(w.log, 0, sizeof w.log);
  router_session_ended(w.r, &w.p[0], 0);
  router_session_ended(w.r, &w.p[1], 0);
  memset(w.log, 0, sizeof w.log);
  w.p[0].owner.id.b[0] = 5;
  call_with(&w, 0, 1, 0, (struct opt){.strategy = STRATEGY_CLOSEST});
  w.p[0].owner.id.b[0] = 7; /* 7^3 = 4, 7^4 = 3, 7^5 = 2 */
  call_with(&w, 0, 2, 0, (struct opt){.strategy = STRATEGY_CLOSEST});
  w.p[0].owner.id.b[0] = 2;
  call_with(&w, 0, 3, 0, (struct opt){.strategy = STRATEGY_CLOSEST});
  assert_string_equal(w.log, "c5c5c3");
  int seen = 0;
  for (uint8_t i = 0; i < 60; i++) {
    memset(w.log, 0, sizeof w.log);
    call_with(&w, 1, i, 0, (struct opt){.strategy = STRATEGY_RANDOM});
    seen |= 1 << (w.log[1] - '0');
    router_session_ended(w.r, &w.p[1], 0);
  }
  assert_int_equal(seen, 1 << 3 | 1 << 4 | 1 << 5);
  close_world(&w);
}

static void turns_go_on_over_a_refresh(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  struct opt turn = {.strategy = STRATEGY_ROUND_ROBIN};
  call_with(&w, 0, 1, 0, turn);
  found(&w, "453", 0);
  reply(&w, 3, 0);
  call_with(&w, 0, 1, 2 * NS_SEC, turn); /* looked up again while it is used; nobody waits for that */
  assert_string_equal(w.log, "dc3r0dc4");
  found(&w, "534", 2 * NS_SEC);
  reply(&w, 4, 2 * NS_SEC);
  call_with(&w, 0, 1, 2 * NS_SEC, turn);
  reply(&w, 5, 2 * NS_SEC);
  router_tick(w.r, 100 * NS_SEC); /* over its TTL, too */
  call_with(&w, 0, 1, 100 * NS_SEC, turn);
  found(&w, "345", 100 * NS_SEC);
  assert_string_equal(w.log, "dc3r0dc4r0c5r0dc3");
  assert_int_equal(router_discovery(w.r)->expiries, 1);
  close_world(&w);
}

static void a_refresh_that_fails_changes_nothing(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  call(&w, 0, 1, 0);
  found(&w, "3", 0);
  call(&w, 0, 2, 2 * NS_SEC);
  not_found(&w, MACULA_DHT_TIMEOUT, 2 * NS_SEC);
  call(&w, 0, 3, 2 * NS_SEC);
  assert_string_equal(w.log, "dc3dc3c3");
  close_world(&w);
}

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

static void a_provider_that_died_at_its_node(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  call(&w, 0, 1, 0);
  found(&w, "34", 0);
  struct msg_attempt inner[] = {{.code = slice_str("no_handler")}, {.code = slice_str("not_connected")}};
  struct msg m = {.type = MSG_REPLY,
                  .reply = {.call_id = slice_of(w.sent_id[3], CALL_ID_LEN),
                            .is_error = true,
                            .error = {.code = slice_str("all_providers_failed"),
                                      .may_have_run = true,
                                      .has_extra = true,
                                      .attempt_count = 2,
                                      .attempts = inner}}};
  uint8_t buf[512];
  ptrdiff_t len = msg_encode(&m, buf, sizeof buf);
  assert_true(len > 8);
  assert_int_equal(msg_decode(MSG_REPLY, slice_of(buf + 8, (size_t)len - 8), &m), 0);
  assert_int_equal(router_reply(w.r, &w.p[3], &m.reply, 1), 0);
  assert_string_equal(w.log, "dc3c4"); /* death was seen: another may be tried */
  router_session_ended(w.r, &w.p[4], 1);
  assert_string_equal(w.code, "all_providers_failed");
  assert_true(w.answer.may_have_run);
  assert_int_equal(w.attempts[0].err, MACULA_NOT_CONNECTED); /* the node's own reason */
  assert_true(w.attempts[0].may_have_run);
  close_world(&w);
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
  router_session_silent(w.r, &w.p[3], 1);
  assert_string_equal(w.log, "dc3c3x3c4x3c4");
  call(&w, 0, 2, 1); /* the third goes nowhere near it */
  assert_string_equal(w.log, "dc3c3x3c4x3c4c4");
  router_session_ended(w.r, &w.p[4], 1);
  assert_string_equal(w.log, "dc3c3x3c4x3c4c4c5c5c5");
  assert_int_equal(w.p[5].owner.inflight, 3);
  router_session_ended(w.r, &w.p[5], 1); /* the fourth would be too many: two give up, one looks whether there are others */
  assert_string_equal(w.log, "dc3c3x3c4x3c4c4c5c5c5e0e1d");
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

static void one_fresh_lookup_before_giving_up(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  call(&w, 0, 1, 0);
  found(&w, "3", 0);
  reply(&w, 3, 0);
  memset(w.log, 0, sizeof w.log);
  call(&w, 0, 2, 10);
  reply_error(&w, 3, "no_handler", false, 11);
  assert_string_equal(w.log, "c3d"); /* what was known is older than the call */
  found(&w, "34", 12);
  assert_string_equal(w.log, "c3dc4"); /* not the same node twice */
  reply_error(&w, 4, "no_handler", false, 13);
  assert_string_equal(w.log, "c3dc4e0"); /* and only once */
  assert_int_equal(w.answer.attempt_count, 2);
  memset(w.log, 0, sizeof w.log);
  call(&w, 0, 3, 14);
  router_session_ended(w.r, &w.p[3], 15);
  assert_string_equal(w.log, "c3d");
  not_found(&w, MACULA_DHT_TIMEOUT, 16);
  assert_string_equal(w.log, "c3de0");
  assert_string_equal(w.code, "all_providers_failed");
  assert_true(w.answer.may_have_run);
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

static void a_lookup_that_outlasts_the_deadline(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  call_with(&w, 0, 1, 0, (struct opt){.timeout_ms = 100});
  assert_true(router_deadline(w.r) == 100 * NS_MS);
  router_tick(w.r, 100 * NS_MS);
  assert_string_equal(w.log, "de0");
  assert_string_equal(w.code, "timeout");
  found(&w, "3", 200 * NS_MS); /* the next caller profits */
  call(&w, 0, 2, 200 * NS_MS);
  assert_string_equal(w.log, "de0c3");
  close_world(&w);
}

static void caller_death_cleanup_query_test(void **state) { /* of the original's RPC suite */
  struct world w;
  (void)state;
  open_world(&w);
  call_with(&w, 0, 1, 0, (struct opt){.args = 100});
  call(&w, 0, 2, 0);
  call(&w, 1, 1, 0);
  router_session_ended(w.r, &w.p[0], 1);
  assert_string_equal(w.log, "d"); /* another still waits for it */
  assert_int_equal(w.payloads.bytes, 0);
  uint8_t id[CALL_ID_LEN] = {1};
  router_cancel(w.r, &w.p[1], slice_of(id, sizeof id));
  assert_string_equal(w.log, "du");
  assert_int_equal(calls_count(router_calls(w.r)), 0);
  assert_int_equal(router_discovery(w.r)->looking, 0);
  found(&w, "3", 1); /* too late */
  call(&w, 1, 2, 2);
  assert_string_equal(w.log, "dud");
  close_world(&w);
}

static void caller_death_cleanup_immediate_test(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  w.dialling[3] = true;
  call_with(&w, 0, 1, 0, (struct opt){.args = 100});
  found(&w, "34", 0);
  router_session_ended(w.r, &w.p[0], 1); /* while dialling: nobody is to be told */
  assert_string_equal(w.log, "dw3");
  assert_int_equal(w.payloads.bytes, 0);
  assert_int_equal(w.p[3].owner.inflight, 0);
  router_party_ready(w.r, &w.p[3], 1);
  assert_string_equal(w.log, "dw3");
  w.dialling[3] = false;
  call(&w, 0, 1, 2);
  router_session_ended(w.r, &w.p[0], 3); /* while sent */
  assert_string_equal(w.log, "dw3c3x3");
  assert_int_equal(w.reason, MACULA_CANCELLED);
  assert_int_equal(reply(&w, 3, 3), MACULA_ENOTFOUND);
  assert_int_equal(router_stats(w.r)->late, 1);
  serve(&w, 1);
  call(&w, 4, 1, 4); /* a call that came from a node: its end reaches our provider */
  router_session_ended(w.r, &w.p[4], 5);
  assert_string_equal(w.log, "dw3c3x3c1x1");
  close_world(&w);
}

static void replies_count_only_from_whom_was_asked(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  w.dialling[4] = true;
  call(&w, 0, 1, 0);
  found(&w, "34", 0);
  memcpy(w.sent_id[4], w.sent_id[3], CALL_ID_LEN);
  assert_int_equal(reply(&w, 4, 0), MACULA_ENOTFOUND);
  assert_int_equal(reply(&w, 3, 0), 0);
  assert_int_equal(reply(&w, 3, 0), MACULA_ENOTFOUND);
  assert_int_equal(router_stats(w.r)->late, 2);
  close_world(&w);
}

static void limits(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  serve(&w, 1);
  w.p[3].calls.max = 6;
  for (uint8_t i = 0; i < 6; i++) assert_int_equal(call(&w, 3, i, 0), 0); /* a link may make more than a client */
  assert_int_equal(call(&w, 3, 7, 0), MACULA_TOO_MANY_CALLS);
  router_session_ended(w.r, &w.p[3], 0);
  router_session_ended(w.r, &w.p[1], 0);
  for (uint8_t i = 0; i < 4; i++) assert_int_equal(call(&w, 0, i, 0), 0); /* those who wait count, too */
  assert_int_equal(call(&w, 0, 7, 0), MACULA_TOO_MANY_CALLS);
  assert_int_equal(call(&w, 0, 3, 0), MACULA_EBUSY);
  close_world(&w);
}

static void lookups_are_bounded(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  for (uint8_t i = 0; i < 4; i++) {
    char name[] = "x.y";
    uint8_t id[CALL_ID_LEN] = {i};
    struct router_call c = {.call_id = id, .procedure = slice_str(name)};
    if (i < 3) {
      struct discovery_entry *e; /* three others are being looked up */
      name[0] = (char)('a' + i);
      assert_int_equal(discovery_look((struct discovery *)router_discovery(w.r), slice_str(name), 0, &e), 0);
      continue;
    }
    assert_int_equal(router_call(w.r, &w.p[0], &c, 0), MACULA_TOO_MANY_CALLS);
  }
  assert_int_equal(router_discovery(w.r)->refused, 1);
  close_world(&w);
}

static void casts(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  assert_int_equal(cast(&w, 0), 0); /* waits for the lookup, as a call does */
  assert_string_equal(w.log, "d");
  w.dialling[3] = true;
  found(&w, "34", 0);
  assert_string_equal(w.log, "dw3"); /* and for the link */
  w.dialling[3] = false;
  router_party_ready(w.r, &w.p[3], 1);
  assert_string_equal(w.log, "dw3C3a");
  assert_int_equal(calls_count(router_calls(w.r)), 0);
  assert_int_equal(cast(&w, 2), 0);
  assert_string_equal(w.log, "dw3C3aC3a");
  w.unsendable[3] = MACULA_EFULL;
  cast(&w, 2);
  assert_string_equal(w.log, "dw3C3aC3aC4a");
  w.unsendable[4] = MACULA_EFULL;
  w.undiscoverable = MACULA_EFULL;
  assert_int_equal(cast(&w, 2), MACULA_ALL_PROVIDERS_FAILED);
  assert_int_equal(w.cast_err, MACULA_ALL_PROVIDERS_FAILED);
  w.dialling[3] = true;
  w.unsendable[3] = 0;
  memset(w.log, 0, sizeof w.log);
  cast(&w, 2);
  router_tick(w.r, 20 * NS_SEC);
  assert_string_equal(w.log, "w3A"); /* its time ends like a call's */
  assert_int_equal(w.cast_err, MACULA_TIMEOUT);
  cast(&w, 20 * NS_SEC);
  assert_int_equal(w.cast_err, MACULA_ALL_PROVIDERS_FAILED);
  w.undiscoverable = 0;
  for (int i = 0; i < 4; i++) assert_int_equal(cast(&w, 21 * NS_SEC), 0);
  assert_int_equal(cast(&w, 21 * NS_SEC), MACULA_TOO_MANY_CALLS); /* and it counts like one */
  router_session_ended(w.r, &w.p[0], 21 * NS_SEC);
  assert_int_equal(calls_count(router_calls(w.r)), 0);
  assert_int_equal(router_stats(w.r)->casts, 3);
  close_world(&w);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (uint64_t n = 1;; n++) {
    struct world w;
    open_world(&w);
    struct mem_fail f = {.countdown = n};
    w.calls_mem.fail = w.discovery_mem.fail = &f;
    w.dialling[3] = true;
    uint32_t pending = 0;
    for (uint8_t i = 0; i < 4; i++) {
      int err = call(&w, 0, i, 0);
      assert_true(err == 0 || err == MACULA_ENOMEM);
      if (err) assert_string_equal(w.code, "out_of_memory");
      pending += err == 0;
    }
    uint64_t before = f.seen;
    found(&w, "34", 0);
    uint64_t allocated = f.seen - before;
    assert_true(allocated <= 1); /* the list of nodes; if it fails all are answered */
    uint32_t left = calls_count(router_calls(w.r));
    assert_true(left == pending || left == 0);
    f.seen = 0;
    router_session_ended(w.r, &w.p[3], 0);
    assert_int_equal(f.seen, 0); /* failing over to what is known needs no memory */
    assert_int_equal(w.p[4].owner.inflight, left);
    cast(&w, 0);
    router_session_ended(w.r, &w.p[4], 0);
    close_world(&w);
    if (f.countdown) break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(looked_up_sent_and_answered),
                                     cmocka_unit_test(local_first),
                                     cmocka_unit_test(calls_of_nodes_go_no_further),
                                     cmocka_unit_test(nobody_provides_it),
                                     cmocka_unit_test(a_call_that_found_nobody_asks_once_more),
                                     cmocka_unit_test(a_lookup_that_fails),
                                     cmocka_unit_test(a_client_has_so_many_lookups),
                                     cmocka_unit_test(a_second_lookup_is_left_out_when_there_is_none),
                                     cmocka_unit_test(strategies),
                                     cmocka_unit_test(turns_go_on_over_a_refresh),
                                     cmocka_unit_test(a_refresh_that_fails_changes_nothing),
                                     cmocka_unit_test(a_refusal_goes_to_the_next_node),
                                     cmocka_unit_test(what_ran_is_final),
                                     cmocka_unit_test(a_provider_that_died_at_its_node),
                                     cmocka_unit_test(a_nodes_death_fails_its_calls_over),
                                     cmocka_unit_test(a_link_that_is_still_dialled),
                                     cmocka_unit_test(a_dial_that_takes_too_long),
                                     cmocka_unit_test(a_link_that_never_opens),
                                     cmocka_unit_test(nodes_that_cannot_be_reached),
                                     cmocka_unit_test(one_fresh_lookup_before_giving_up),
                                     cmocka_unit_test(idempotent_calls_share_their_time_among_nodes),
                                     cmocka_unit_test(a_lookup_that_outlasts_the_deadline),
                                     cmocka_unit_test(caller_death_cleanup_query_test),
                                     cmocka_unit_test(caller_death_cleanup_immediate_test),
                                     cmocka_unit_test(replies_count_only_from_whom_was_asked),
                                     cmocka_unit_test(limits),
                                     cmocka_unit_test(lookups_are_bounded),
                                     cmocka_unit_test(casts),
                                     cmocka_unit_test(every_allocation_may_fail)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
