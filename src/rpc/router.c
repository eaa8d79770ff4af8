#include "rpc/router.h"

#include "base/err.h"
#include "rpc/select.h"

struct router {
  struct services services;
  struct calls calls;
  struct mem *mem;
  struct rng rng;
  uint64_t default_timeout, max_timeout;
  struct router_out out;
  struct router_stats stats;
};

static struct rpc_party *party_of(struct call_party *p) { return container_of(p, struct rpc_party, calls); }

void rpc_party_init(struct rpc_party *p, uint64_t session, const struct id *id, void *user) {
  service_owner_init(&p->owner, session, id, user);
  call_party_init(&p->calls, session);
}

int router_new(const struct router_config *cfg, struct router **ret_router) {
  struct router *r = mem_calloc(cfg->calls_mem, 1, sizeof *r);
  if (!r) return MACULA_ENOMEM;
  services_init(&r->services, cfg->services_mem, cfg->rng, cfg->max_services, cfg->party_services);
  calls_init(&r->calls, cfg->calls_mem, cfg->rng, cfg->max_calls, cfg->party_calls, cfg->max_args_bytes);
  r->mem = cfg->calls_mem;
  r->rng = cfg->rng;
  r->default_timeout = cfg->default_timeout;
  r->max_timeout = cfg->max_timeout;
  r->out = cfg->out;
  *ret_router = r;
  return 0;
}

void router_free(struct router *r) {
  if (!r) return;
  calls_done(&r->calls);
  services_done(&r->services);
  mem_free(r->mem, r);
}

struct services *router_services(struct router *r) {
  return &r->services;
}
const struct calls *router_calls(const struct router *r) { return &r->calls; }
const struct router_stats *router_stats(const struct router *r) { return &r->stats; }

void router_set_limits(struct router *r, uint32_t max_services, uint32_t party_services, uint32_t max_calls,
                       uint32_t party_calls, size_t max_args_bytes) {
  services_set_max(&r->services, max_services, party_services);
  calls_set_max(&r->calls, max_calls, party_calls, max_args_bytes);
}

/* ---- a call's end ----------------------------------------------------------------------------------------------------------
 */

static void count_error(struct router_stats *s, int err) {
  switch (err) {
  case MACULA_NO_SUCH_PROCEDURE:
    s->no_such_procedure++;
    break;
  case MACULA_ALL_PROVIDERS_FAILED:
    s->all_providers_failed++;
    break;
  case MACULA_MAX_ATTEMPTS_EXCEEDED:
    s->max_attempts_exceeded++;
    break;
  case MACULA_TIMEOUT:
    s->timeouts++;
    break;
  default: /* whatever calls_add refuses with */
    s->too_many_calls++;
  }
}

static struct router_answer error_answer(struct call_party *caller, const uint8_t *call_id, int err) {
  return (struct router_answer){.caller = party_of(caller),
                                .call_id = call_id,
                                .is_error = true,
                                .err = err,
                                .code = slice_str(macula_err_name(err)),
                                .message = slice_str(macula_err_text(err))};
}

static void release(struct call *c) {
  if (c->provider) party_of(c->provider)->owner.inflight--;
  calls_unassign(c);
}

static void finish(struct router *r, struct call *c, const struct router_answer *a) {
  r->out.send_reply(r->out.ctx, a);
  release(c);
  calls_remove(&r->calls, c);
}

static void finish_error(struct router *r, struct call *c, int err) {
  struct router_answer a = error_answer(c->caller, c->call_id, err);
  a.may_have_run = c->may_have_run;
  a.attempts = c->attempts;
  a.attempt_count = c->attempt_count;
  count_error(&r->stats, err);
  finish(r, c, &a);
}

static void cancel_sent(struct router *r, struct call *c, int reason) {
  if (c->provider) r->out.send_cancel(r->out.ctx, party_of(c->provider), c->sent_id, reason);
}

/* ---- attempts --------------------------------------------------------------------------------------------------------------
 */

/* The current attempt failed. may_have_run: the provider had it, and whether its handler ran is unknown. */
static void fail_attempt(struct call *c, int err, bool may_have_run) {
  if (c->provider) c->attempts[c->attempt_count++].err = err;
  c->may_have_run |= may_have_run;
  release(c);
}

static size_t tried_sessions(const struct call_attempt *attempts, size_t n, uint64_t ret_tried[CALL_MAX_ATTEMPTS]) {
  for (size_t i = 0; i < n; i++) ret_tried[i] = attempts[i].session;
  return n;
}

/* The end of an attempt begun now. A call that may run twice shares its time among the attempts that can still follow; any
 * other is never tried again after a mere timeout, so its attempt has all the time left. */
static nanotime attempt_end(const struct call *c, uint32_t providers_left, nanotime now) {
  uint32_t left = CALL_MAX_ATTEMPTS - c->attempt_count;
  if (providers_left < left) left = providers_left;
  return c->idempotent && left > 1 ? now + (c->deadline - now) / left : c->deadline;
}

/* Sends the call to the next provider that takes it, else answers. Allocates nothing. Returns 0 or what was answered. */
static int attempt(struct router *r, struct call *c, nanotime now) {
  for (int err;;) {
    uint64_t tried[CALL_MAX_ATTEMPTS];
    size_t n = tried_sessions(c->attempts, c->attempt_count, tried);
    struct service *s = services_find(&r->services, slice_of(c->procedure, c->len));
    uint32_t left = s ? select_left(s, tried, n) : 0;
    err = left == 0                ? n ? MACULA_ALL_PROVIDERS_FAILED : MACULA_NO_SUCH_PROCEDURE
          : n == CALL_MAX_ATTEMPTS ? MACULA_MAX_ATTEMPTS_EXCEEDED
          : now >= c->deadline     ? MACULA_TIMEOUT
                                   : 0;
    if (err) {
      finish_error(r, c, err);
      return err;
    }
    struct rpc_party *p = container_of(select_provider(s, c->strategy, &party_of(c->caller)->owner.id, tried, n, r->rng)->owner,
                                       struct rpc_party, owner);
    nanotime due = attempt_end(c, left, now);
    calls_assign(&r->calls, c, &p->calls, due);
    p->owner.inflight++;
    c->attempts[n] = (struct call_attempt){.provider = p->owner.id, .session = p->owner.session};
    if (n) r->stats.failovers++;
    uint64_t ms = (due - now) / NS_MS;
    struct router_send send = {.provider = p,
                               .call_id = c->sent_id,
                               .procedure = slice_of(c->procedure, c->len),
                               .args = c->args,
                               .timeout_ms = ms ? ms : 1};
    err = r->out.send_call(r->out.ctx, &send);
    if (!err) return 0;
    fail_attempt(c, err, false);
  }
}

int router_call(struct router *r, struct rpc_party *caller, const struct router_call *in, nanotime now) {
  uint64_t timeout = in->timeout_ms == 0                       ? r->default_timeout
                     : in->timeout_ms > r->max_timeout / NS_MS ? r->max_timeout
                                                               : in->timeout_ms * NS_MS;
  struct call *c;
  int err = calls_add(&r->calls, &caller->calls, in->call_id, in->procedure, in->args, time_add(now, timeout), &c);
  if (err == MACULA_EBUSY) {
    r->stats.duplicate_calls++;
    return err;
  }
  if (err) {
    struct router_answer a = error_answer(&caller->calls, in->call_id, err);
    count_error(&r->stats, err);
    r->out.send_reply(r->out.ctx, &a);
    return err;
  }
  r->stats.calls++;
  c->strategy = (uint8_t)in->strategy;
  c->idempotent = in->idempotent;
  return attempt(r, c, now);
}

int router_cast(struct router *r, struct rpc_party *caller, struct slice procedure, struct shbuf *args,
                enum strategy strategy) {
  struct service *s = services_find(&r->services, procedure);
  if (!s) {
    r->stats.no_such_procedure++;
    return MACULA_NO_SUCH_PROCEDURE;
  }
  uint64_t tried[CALL_MAX_ATTEMPTS];
  for (size_t n = 0; n < CALL_MAX_ATTEMPTS; n++) {
    struct provider *p = select_provider(s, strategy, &caller->owner.id, tried, n, r->rng);
    if (!p) {
      r->stats.all_providers_failed++;
      return MACULA_ALL_PROVIDERS_FAILED;
    }
    struct router_send send = {
        .provider = container_of(p->owner, struct rpc_party, owner), .procedure = procedure, .args = args};
    if (n) r->stats.failovers++;
    if (r->out.send_call(r->out.ctx, &send) == 0) {
      r->stats.casts++;
      return 0;
    }
    tried[n] = p->owner->session;
  }
  r->stats.max_attempts_exceeded++;
  return MACULA_MAX_ATTEMPTS_EXCEEDED;
}

/* Whether a provider's error says that no handler was started. */
static bool is_refusal(int err) {
  return err == MACULA_NO_HANDLER || err == MACULA_NO_SUCH_PROCEDURE || err == MACULA_TOO_MANY_CALLS ||
         err == MACULA_NOT_CONNECTED || err == MACULA_RATE_LIMITED || err == MACULA_SHUTTING_DOWN;
}

int router_reply(struct router *r, struct rpc_party *provider, const struct msg_reply *reply, nanotime now) {
  struct call *c = calls_find_sent(&r->calls, &provider->calls, reply->call_id.p, reply->call_id.n);
  if (!c) {
    r->stats.late++;
    return MACULA_ENOTFOUND;
  }
  struct router_answer a = {.caller = party_of(c->caller), .call_id = c->call_id, .result = reply->result};
  if (reply->is_error) {
    int err = err_from_name((const char *)reply->error.code.p, reply->error.code.n);
    if (is_refusal(err)) {
      fail_attempt(c, err, false);
      (void)attempt(r, c, now);
      return 0;
    }
    a.is_error = true;
    a.err = err;
    a.code = reply->error.code;
    a.message = reply->error.message;
    a.may_have_run = true;
    a.attempts = c->attempts;
    a.attempt_count = c->attempt_count;
    r->stats.handler_errors++;
  } else {
    r->stats.replies++;
  }
  finish(r, c, &a);
  return 0;
}

static void cancel(struct router *r, struct call *c) {
  cancel_sent(r, c, MACULA_CANCELLED);
  release(c);
  calls_remove(&r->calls, c);
  r->stats.cancelled++;
}

int router_cancel(struct router *r, struct rpc_party *caller, struct slice call_id) {
  struct call *c = call_id.n == CALL_ID_LEN ? calls_find(&r->calls, &caller->calls, call_id.p) : NULL;
  if (!c) return MACULA_ENOTFOUND;
  cancel(r, c);
  return 0;
}

/* A provider's calls go elsewhere. None comes back to it: it no longer serves, or each call knows that it was tried. */
static void give_up_on(struct router *r, struct rpc_party *p, nanotime now, bool tell) {
  while (!list_empty(&p->calls.taken)) {
    struct call *c = container_of(p->calls.taken.next, struct call, of_provider);
    if (tell) cancel_sent(r, c, MACULA_TIMEOUT);
    fail_attempt(c, MACULA_NOT_CONNECTED, true);
    (void)attempt(r, c, now);
  }
}

void router_session_ended(struct router *r, struct rpc_party *p, nanotime now) {
  while (!list_empty(&p->calls.made)) {
    struct call *c = container_of(p->calls.made.next, struct call, of_caller);
    if (c->provider == &p->calls) release(c); /* nobody is left there to hear a CANCEL */
    cancel(r, c);
  }
  services_drop(&r->services, &p->owner);
  give_up_on(r, p, now, false);
}

void router_session_silent(struct router *r, struct rpc_party *p, nanotime now) { give_up_on(r, p, now, true); }

nanotime router_deadline(const struct router *r) {
  return time_min(calls_deadline(&r->calls), services_deadline(&r->services));
}

void router_tick(struct router *r, nanotime now) {
  services_expire(&r->services, now);
  for (struct call *c; (c = calls_due(&r->calls, now));) {
    cancel_sent(r, c, MACULA_TIMEOUT);
    fail_attempt(c, MACULA_TIMEOUT, true);
    if (now >= c->deadline)
      finish_error(r, c, MACULA_TIMEOUT);
    else
      (void)attempt(r, c, now);
  }
}
