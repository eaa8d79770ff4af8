/* A router of calls with three clients and five nodes, or with eight clients and no other node. */
#ifndef UNIT_ROUTER_RIG_H
#define UNIT_ROUTER_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "rpc/internal.h"
#include "unit/broken.h"

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
  enum call_fate fate;                           /* what has become of all calls */
  char log[1024];
  uint8_t sent_id[PARTIES][CALL_ID_LEN]; /* of the last CALL to each */
  uint64_t timeout_ms;
  bool waits;
  uint32_t args_len;
  int reason, cast_err;
  struct router_answer answer;
  uint8_t answer_id[CALL_ID_LEN];
  struct call_attempt attempts[CALL_MAX_ATTEMPTS];
  char result[64], code[64], message[128];
};

static inline void note(struct world *w, char what, const struct rpc_party *p) {
  size_t len = strlen(w->log);
  assert_true(len + 2 < sizeof w->log);
  w->log[len] = what;
  if (p) w->log[len + 1] = (char)('0' + (p - w->p));
}

static inline int send_call(void *ctx, const struct router_send *s) {
  struct world *w = ctx;
  int i = (int)(s->provider - w->p);
  if (w->unsendable[i]) return w->unsendable[i];
  note(w, w->dialling[i] ? 'w' : s->call_id ? 'c' : 'C', s->provider);
  if (w->dialling[i]) return MACULA_EBUSY;
  if (s->call_id) memcpy(w->sent_id[i], s->call_id, CALL_ID_LEN);
  *s->ret_mark = (struct call_mark){.connection = s->provider->owner.session + 1};
  w->waits = s->waits;
  w->timeout_ms = s->timeout_ms;
  w->args_len = s->args ? s->args->len : 0;
  assert_true(slice_is(s->procedure, "x.y"));
  return 0;
}
static inline void copy(char *ret, size_t cap, struct slice s) {
  snprintf(ret, cap, "%.*s", (int)s.n, s.n ? (const char *)s.p : "");
}
static inline enum call_fate fate(void *ctx, const struct rpc_party *provider, const struct call_mark *mark) {
  assert_int_equal(mark->connection, provider->owner.session + 1);
  return ((struct world *)ctx)->fate;
}
static inline void send_reply(void *ctx, const struct router_answer *a) {
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
static inline void send_cancel(void *ctx, struct rpc_party *provider, const uint8_t call_id[CALL_ID_LEN], int reason,
                               bool large) {
  (void)large;
  struct world *w = ctx;
  (void)call_id;
  note(w, 'x', provider);
  w->reason = reason;
}
static inline void cast_done(void *ctx, struct rpc_party *caller, bool has_ref, uint64_t ref, int err) {
  struct world *w = ctx;
  assert_true(caller == &w->p[0] && has_ref && ref == 5);
  note(w, err ? 'A' : 'a', NULL);
  w->cast_err = err;
}
static inline int discover(void *ctx, struct slice procedure) {
  struct world *w = ctx;
  assert_true(slice_is(procedure, "x.y"));
  if (!w->undiscoverable) note(w, 'd', NULL);
  return w->undiscoverable;
}
static inline void undiscover(void *ctx, struct slice procedure) {
  assert_true(slice_is(procedure, "x.y"));
  note(ctx, 'u', NULL);
}
static inline int reach(void *ctx, const struct remote_node *where, struct rpc_party **ret_party) {
  struct world *w = ctx;
  int i = where->id.b[0];
  if (w->unreachable[i]) return w->unreachable[i];
  *ret_party = &w->p[i];
  return 0;
}
static inline struct rpc_party *known(void *ctx, const struct remote_node *where) {
  struct world *w = ctx;
  return &w->p[where->id.b[0]];
}

static inline void check(struct world *w) {
  HOLDS(router_check(w->r));
  assert_int_equal(services_owned(&w->r->services), w->services_mem.bytes);
  size_t rest = discovery_owned(&w->r->discovery);
  assert_int_equal(router_owned(w->r) + rest, w->calls_mem.bytes + w->discovery_mem.bytes);
}

static inline void open_with(struct world *w, bool alone) {
  memset(w, 0, sizeof *w);
  w->fate = CALL_UNACKED;
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
                                      .fate = fate,
                                      .send_reply = send_reply,
                                      .send_cancel = send_cancel,
                                      .cast_done = cast_done,
                                      .discover = discover,
                                      .undiscover = undiscover,
                                      .reach = reach,
                                      .known = known,
                                      .ctx = w}};
  if (alone) {
    cfg.discovery_mem = NULL;
    cfg.max_discovered = 0;
    cfg.out.discover = NULL;
    cfg.out.undiscover = NULL;
    cfg.out.reach = NULL;
    cfg.out.known = NULL;
  }
  assert_int_equal(router_new(&cfg, &w->r), 0);
  for (uint8_t i = 0; i < PARTIES; i++) {
    struct id id = {{i}};
    rpc_party_init(&w->p[i], i, &id, NULL);
    w->p[i].node = !alone && i >= NODES;
  }
}
static inline void open_world(struct world *w) { open_with(w, false); }
static inline void open_alone(struct world *w) { open_with(w, true); }

static inline void close_world(struct world *w) {
  for (int i = 0; i < PARTIES; i++) {
    check(w);
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

static inline void serve_at(struct world *w, int provider, bool idempotent, nanotime now) {
  assert_int_equal(router_register(w->r, &w->p[provider], slice_str("x.y"), 300 * NS_SEC, idempotent, now), 0);
  check(w);
}
static inline void serve(struct world *w, int provider) { serve_at(w, provider, false, 0); }

struct opt {
  uint64_t timeout_ms;
  bool idempotent;
  enum strategy strategy;
  size_t args;
  bool once, waits;
  uint64_t age;
};
static inline int call_with(struct world *w, int caller, uint8_t id, nanotime now, struct opt o) {
  uint8_t call_id[CALL_ID_LEN] = {id};
  struct shbuf *args = o.args ? shbuf_new(&w->payloads, o.args) : NULL;
  struct router_call c = {.call_id = call_id,
                          .procedure = slice_str("x.y"),
                          .args = args,
                          .timeout_ms = o.timeout_ms,
                          .strategy = o.strategy ? o.strategy : STRATEGY_FIRST,
                          .idempotent = o.idempotent,
                          .once = o.once,
                          .waits = o.waits,
                          .age = o.age};
  int err = router_call(w->r, &w->p[caller], &c, now);
  shbuf_unref(args);
  check(w);
  return err;
}
static inline int call(struct world *w, int caller, uint8_t id, nanotime now) {
  return call_with(w, caller, id, now, (struct opt){0});
}
static inline int cast(struct world *w, nanotime now) {
  struct router_cast c = {.procedure = slice_str("x.y"), .strategy = STRATEGY_FIRST, .has_ref = true, .ref = 5};
  return router_cast(w->r, &w->p[0], &c, now);
}

/* ids: one digit a node. */
static inline void found(struct world *w, const char *ids, nanotime now) {
  struct remote_node v[64];
  size_t n = strlen(ids);
  for (size_t i = 0; i < n; i++) v[i] = (struct remote_node){.id = {{(uint8_t)(ids[i] - '0')}}};
  router_discovered(w->r, slice_str("x.y"), 0, v, n, now);
  check(w);
}
static inline void not_found(struct world *w, int err, nanotime now) {
  router_discovered(w->r, slice_str("x.y"), err, NULL, 0, now);
  check(w);
}

static inline int reply_to(struct world *w, int from, const uint8_t *call_id, nanotime now) {
  struct msg_reply m = {.call_id = slice_of(call_id, CALL_ID_LEN), .result = slice_str("42")};
  int err = router_reply(w->r, &w->p[from], &m, now);
  check(w);
  return err;
}
static inline int reply(struct world *w, int from, nanotime now) { return reply_to(w, from, w->sent_id[from], now); }
static inline int reply_error(struct world *w, int from, const char *code, bool may_have_run, nanotime now) {
  struct msg_reply m = {.call_id = slice_of(w->sent_id[from], CALL_ID_LEN),
                        .is_error = true,
                        .error = {.code = slice_str(code), .message = slice_str("because"), .may_have_run = may_have_run}};
  int err = router_reply(w->r, &w->p[from], &m, now);
  check(w);
  return err;
}

#endif
