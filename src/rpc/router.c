/* How calls begin and end; attempt.c has what happens in between. */
#include <assert.h>

#include "rpc/internal.h"

void rpc_party_init(struct rpc_party *p, uint64_t session, const struct id *id, void *user) {
  service_owner_init(&p->owner, session, id, user);
  call_party_init(&p->calls, session);
  p->lookups = (struct bucket){0};
  p->lookups_lent = 0;
  list_init(&p->ending);
  list_init(&p->ready);
}

int router_new(const struct router_config *cfg, struct router **ret_router) {
  struct router *r = mem_calloc(cfg->calls_mem, 1, sizeof *r);
  if (!r) return MACULA_ENOMEM;
  services_init(&r->services, cfg->services_mem, cfg->rng, cfg->max_services, cfg->party_services);
  calls_init(&r->calls, cfg->calls_mem, cfg->rng, cfg->max_calls, cfg->party_calls, cfg->max_args_bytes);
  discovery_init(&r->discovery, cfg->discovery_mem ? cfg->discovery_mem : cfg->calls_mem, cfg->rng, cfg->max_discovered,
                 cfg->discovery_ttl, cfg->negative_ttl);
  r->mem = cfg->calls_mem;
  r->rng = cfg->rng;
  r->default_timeout = cfg->default_timeout;
  r->max_timeout = cfg->max_timeout;
  r->look_again = cfg->look_again;
  r->party_lookups = cfg->party_lookups;
  r->out = cfg->out;
  r->spent = r->services.spent = cfg->spent;
  list_init(&r->lost);
  list_init(&r->ending);
  list_init(&r->ready);
  rpc_party_init(&r->vacant, 0, &(struct id){{0}}, NULL);
  r->vacant.owner.silent = true;
  rng_fill(r->rng, r->cast_id, sizeof r->cast_id[0]);
  *ret_router = r;
  return 0;
}

void router_free(struct router *r) {
  if (!r) return;
  calls_done(&r->calls);
  discovery_done(&r->discovery);
  services_done(&r->services);
  mem_free(r->mem, r);
}

uint32_t router_registered(const struct router *r) { return r->services.count - r->vacant.owner.count; }

struct services *router_services(struct router *r) {
  return &r->services;
}
const struct calls *router_calls(const struct router *r) { return &r->calls; }
const struct discovery *router_discovery(const struct router *r) { return &r->discovery; }
const struct router_stats *router_stats(const struct router *r) { return &r->stats; }

void router_set_limits(struct router *r, const struct router_limits *limits) {
  r->party_lookups = limits->party_lookups;
  discovery_set_max(&r->discovery, limits->max_discovered);
  services_set_max(&r->services, limits->max_services, limits->party_services);
  calls_set_max(&r->calls, limits->max_calls, limits->party_calls, limits->max_args_bytes);
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
  case MACULA_DHT_TIMEOUT:
    s->lookups_failed++;
    break;
  case MACULA_RATE_LIMITED:
    s->lookups_refused++;
    break;
  case MACULA_PROVIDER_LOST:
    s->lost++;
    break;
  case MACULA_NOT_CONNECTED:
    s->unavailable++;
    break;
  default: /* the errors of calls_add */
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

void call_release(struct call *c) {
  assert(!c->provider || party_of(c->provider)->owner.inflight > 0);
  if (c->provider) party_of(c->provider)->owner.inflight--;
  calls_unassign(c);
}

static void finish(struct router *r, struct call *c, const struct router_answer *a) {
  struct router_answer answer = *a;
  answer.way = &c->way;
  r->out.send_reply(r->out.ctx, &answer);
  call_release(c);
  calls_remove(&r->calls, c);
}

static void finish_cast(struct router *r, struct call *c, int err) {
  r->out.cast_done(r->out.ctx, party_of(c->caller), c->has_ref, c->ref, err);
  call_release(c);
  calls_remove(&r->calls, c);
}

void call_finish_cast(struct router *r, struct call *c) {
  r->stats.casts++;
  finish_cast(r, c, 0);
}

/* For whoever looks at the service, if it is served here. took: ns. */
static void count_answer(struct router *r, const struct call *c, bool failed, uint64_t took) {
  struct service *s = services_find(&r->services, name_of(c));
  if (!s) return;
  s->calls++;
  s->failed += failed;
  if (failed) return;
  s->took += took;
  if (took > s->longest) s->longest = took;
}

void call_finish_error(struct router *r, struct call *c, int err) {
  count_error(&r->stats, err);
  count_answer(r, c, true, 0);
  if (c->cast) {
    finish_cast(r, c, err);
    return;
  }
  struct router_answer a = error_answer(c->caller, c->call_id, err);
  a.may_have_run = c->may_have_run;
  a.may_repeat = c->may_repeat;
  a.attempts = c->attempts;
  a.attempt_count = c->attempt_count;
  finish(r, c, &a);
}

/* Sends CANCEL to the provider, if the call was sent to it. */
static void cancel_sent(struct router *r, struct call *c, int reason) {
  if (c->provider && c->sent) r->out.send_cancel(r->out.ctx, party_of(c->provider), c->sent_id, reason, c->mark.large);
}

/* ---- arrival ---------------------------------------------------------------------------------------------------------------
 */
int router_call(struct router *r, struct rpc_party *caller, const struct router_call *in, nanotime now) {
  uint64_t timeout = in->timeout_ms == 0                       ? r->default_timeout
                     : in->timeout_ms > r->max_timeout / NS_MS ? r->max_timeout
                                                               : in->timeout_ms * NS_MS;
  struct call *c;
  timeout -= in->age < timeout ? in->age : timeout;
  int err = calls_add(&r->calls, &caller->calls, in->call_id, in->procedure, in->args, time_add(now, timeout), &c);
  if (err == MACULA_EBUSY) {
    r->stats.duplicate_calls++;
    return err;
  }
  if (err) {
    struct router_answer a = error_answer(&caller->calls, in->call_id, err);
    a.way = &in->way;
    count_error(&r->stats, err);
    r->out.send_reply(r->out.ctx, &a);
    return err;
  }
  r->stats.calls++;
  c->strategy = (uint8_t)in->strategy;
  c->origin = principal_ref(in->origin);
  c->idempotent = in->idempotent;
  c->once = in->once;
  c->waits = in->waits;
  c->way = in->way;
  c->began = now;
  return call_attempt(r, c, now);
}

int router_cast(struct router *r, struct rpc_party *caller, const struct router_cast *in, nanotime now) {
  struct call *c;
  r->cast_id[1]++;
  int err = calls_add(&r->calls, &caller->calls, (const uint8_t *)r->cast_id, in->procedure, in->args,
                      time_add(now, r->default_timeout), &c);
  if (err) {
    count_error(&r->stats, err);
    r->out.cast_done(r->out.ctx, caller, in->has_ref, in->ref, err);
    return err;
  }
  c->strategy = (uint8_t)in->strategy;
  c->origin = principal_ref(in->origin);
  c->cast = true;
  c->has_ref = in->has_ref;
  c->ref = in->ref;
  c->began = now;
  return call_attempt(r, c, now);
}

/* ---- answers ---------------------------------------------------------------------------------------------------------------
 */
/* Whether a provider's error says that no handler was started. */
static bool is_refusal(int err) {
  return err == MACULA_NO_HANDLER || err == MACULA_NO_SUCH_PROCEDURE || err == MACULA_TOO_MANY_CALLS ||
         err == MACULA_NOT_CONNECTED || err == MACULA_RATE_LIMITED || err == MACULA_SHUTTING_DOWN;
}

/* Whether another provider may be tried after this error of a node. The node says whether a handler may have run. If one may
 * have, another provider is tried only when the call may repeat, and the error is not a handler's own. */
static bool node_refuses(const struct call *c, int err, bool may_have_run) {
  if (!err) return false; /* a code that this version does not know: passed on as it is */
  bool failed = err == MACULA_ALL_PROVIDERS_FAILED || err == MACULA_MAX_ATTEMPTS_EXCEEDED || err == MACULA_TIMEOUT ||
                err == MACULA_PROVIDER_LOST;
  return !may_have_run || (failed && c->may_repeat);
}

/* The error of the last of a node's own attempts, which tells more than all_providers_failed. */
static int inner_error(const struct msg_error *e, int err) {
  struct msg_error list = *e;
  struct msg_attempt a;
  int inner = 0;
  if (err != MACULA_ALL_PROVIDERS_FAILED && err != MACULA_MAX_ATTEMPTS_EXCEEDED) return err;
  for (int i = 0; i < CALL_MAX_ATTEMPTS && !list.attempts && msg_attempt_next(&list, &a); i++)
    inner = err_from_name((const char *)a.code.p, a.code.n);
  return inner ? inner : err;
}

static void refused(struct router *r, struct call *c, const struct msg_error *e, int err, bool may_have_run, nanotime now) {
  bool is_gone = err == MACULA_NO_SUCH_PROCEDURE || err == MACULA_NO_HANDLER || err == MACULA_SHUTTING_DOWN;
  if (is_gone) call_forget_node(r, c, now);
  call_fail_attempt(c, inner_error(e, err), may_have_run);
  (void)call_attempt(r, c, now);
}

int router_reply(struct router *r, struct rpc_party *provider, const struct msg_reply *reply, nanotime now) {
  struct call *c = calls_find_sent(&r->calls, &provider->calls, reply->call_id.p, reply->call_id.n);
  if (!c || !c->sent) {
    r->stats.late++;
    return MACULA_ENOTFOUND;
  }
  struct router_answer a = {.caller = party_of(c->caller), .call_id = c->call_id, .result = reply->result};
  if (reply->is_error) {
    const struct msg_error *e = &reply->error;
    int err = err_from_name((const char *)e->code.p, e->code.n);
    bool ran = provider->node ? e->may_have_run : !is_refusal(err);
    if (provider->node && e->may_repeat && !c->once) c->may_repeat = true;
    if (provider->node ? node_refuses(c, err, ran) : !ran) {
      refused(r, c, e, err, ran, now);
      return 0;
    }
    /* the call's deadline has passed, which the node noticed a moment before us */
    if (provider->node && err == MACULA_TIMEOUT) {
      call_fail_attempt(c, err, ran);
      call_finish_error(r, c, err);
      return 0;
    }
    a.is_error = true;
    a.err = err;
    a.code = e->code;
    a.message = e->message;
    a.may_have_run = ran || c->may_have_run;
    a.may_repeat = c->may_repeat;
    a.attempts = c->attempts;
    a.attempt_count = c->attempt_count;
    r->stats.handler_errors++;
  } else {
    r->stats.replies++;
  }
  latency_add(&r->stats.took, time_since(now, c->began));
  count_answer(r, c, a.is_error, time_since(now, c->began));
  finish(r, c, &a);
  return 0;
}

/* ---- the ends of callers, providers and time -------------------------------------------------------------------------------
 */
/* Frees a cancelled call. If it was the last one that waited for a lookup, that is given up. */
static void cancel(struct router *r, struct call *c) {
  struct discovery_entry *e = list_empty(&c->of_wait) ? NULL : discovery_find(&r->discovery, name_of(c));
  cancel_sent(r, c, MACULA_CANCELLED);
  call_release(c);
  if (e && e->looking && c->of_wait.next == c->of_wait.prev && r->out.undiscover)
    r->out.undiscover(r->out.ctx, name_of(c)); /* no other call waits in that list */
  else
    e = NULL;
  list_remove(&c->of_wait);
  if (e) discovery_failed(&r->discovery, e);
  calls_remove(&r->calls, c);
  r->stats.cancelled++;
}

int router_cancel(struct router *r, struct rpc_party *caller, struct slice call_id) {
  struct call *c = call_id.n == CALL_ID_LEN ? calls_find(&r->calls, &caller->calls, call_id.p) : NULL;
  if (!c) return MACULA_ENOTFOUND;
  cancel(r, c);
  return 0;
}

static void lose(struct router *r, struct call *c) {
  c->lost = true;
  list_append(&r->lost, &c->of_provider);
}

/* A node may have taken thousands of calls: all of them have lost it at once, their next attempts begin in slices. */
static void attempt_lost(struct router *r, nanotime now) {
  while (!list_empty(&r->lost)) {
    struct call *c = container_of(r->lost.next, struct call, of_provider);
    calls_unassign(c);
    if (c->ends)
      call_finish_error(r, c, MACULA_PROVIDER_LOST);
    else
      (void)call_attempt(r, c, now);
    if (is_spent(r->spent)) return;
  }
}

static void give_up_on(struct router *r, struct rpc_party *p, nanotime now) {
  while (!list_empty(&p->calls.taken)) {
    struct call *c = container_of(p->calls.taken.next, struct call, of_provider);
    bool begun = call_has_begun(r, c);
    if (!c->sent && !p->owner.silent) call_forget_node(r, c, now); /* the node's link was never set up */
    call_fail_attempt(c, MACULA_NOT_CONNECTED, begun);
    c->ends = begun && !c->may_repeat;
    lose(r, c);
  }
  attempt_lost(r, now);
}

/* The calls that it had made when it ended; those that it has made since stand behind them. */
static bool cancel_made(struct router *r, struct rpc_party *p) {
  while (!list_empty(&p->calls.made)) {
    struct call *c = container_of(p->calls.made.next, struct call, of_caller);
    if (!c->over) break;
    if (c->provider == &p->calls) call_release(c); /* the caller is itself the provider and has gone: no CANCEL is sent */
    cancel(r, c);
    if (p->node && is_spent(r->spent)) return false; /* a client's own end is one step */
  }
  list_remove(&p->ending);
  return true;
}

/* The party of the call's attempt is silent, or stands in for one that is gone, and somebody else has come: a call that was not
 * sent yet is as before its attempt, one that may repeat is tried once more. attempt_lost follows. */
static void turn_away(struct router *r, struct call *c) {
  cancel_sent(r, c, MACULA_TIMEOUT);
  if (c->sent)
    call_fail_attempt(c, MACULA_NOT_CONNECTED, true);
  else
    call_release(c);
  lose(r, c);
}

static void turn_away_all(struct router *r, struct rpc_party *p, struct slice name, nanotime now) {
  list_for_safe(it, &p->calls.taken) {
    struct call *c = container_of(it, struct call, of_provider);
    if (slice_eq(name_of(c), name) && (!c->sent || (c->may_repeat && call_has_choice(r, c, now)))) turn_away(r, c);
  }
}

int router_register(struct router *r, struct rpc_party *p, struct slice procedure, uint64_t ttl, bool idempotent,
                    nanotime now) {
  struct services *s = &r->services;
  bool had = services_get(s, &p->owner, procedure), vacant = services_get(s, &r->vacant.owner, procedure);
  if (vacant && s->count >= s->max) (void)services_unregister(s, &r->vacant.owner, procedure);
  int err = services_register(s, &p->owner, procedure, ttl, now);
  if (err) return err;
  services_get(s, &p->owner, procedure)->idempotent = idempotent;
  if (vacant) {
    (void)services_unregister(s, &r->vacant.owner, procedure);
    turn_away_all(r, &r->vacant, procedure, now);
  }
  struct service *v = had ? NULL : services_find(s, procedure);
  for (uint32_t i = 0; v && i < v->count; i++)
    if (v->v[i]->owner->silent) turn_away_all(r, container_of(v->v[i]->owner, struct rpc_party, owner), procedure, now);
  if (!had) attempt_lost(r, now);
  return 0;
}

void router_session_ended(struct router *r, struct rpc_party *p, nanotime now) {
  list_for(it, &p->calls.made) container_of(it, struct call, of_caller)->over = true;
  list_remove(&p->ready);
  if (list_empty(&p->ending)) list_append(&r->ending, &p->ending);
  (void)cancel_made(r, p);
  services_drop(&r->services, &p->owner);
  give_up_on(r, p, now);
  p->owner.silent = false;
}

void router_session_lost(struct router *r, struct rpc_party *p, nanotime now) {
  services_hand_over(&r->services, &p->owner, &r->vacant.owner, ROUTER_VACANT, now);
  router_session_ended(r, p, now);
}

void router_session_silent(struct router *r, struct rpc_party *p, nanotime now) {
  p->owner.silent = true;
  list_for_safe(it, &p->calls.taken) {
    struct call *c = container_of(it, struct call, of_provider);
    if (c->sent && c->may_repeat && call_has_choice(r, c, now)) turn_away(r, c);
  }
  attempt_lost(r, now);
}

void router_party_heard(struct router *r, struct rpc_party *p, nanotime now) {
  p->owner.silent = false;
  router_party_ready(r, p, now);
}

void router_party_ready(struct router *r, struct rpc_party *p, nanotime now) {
  list_for_safe(it, &p->calls.taken) {
    struct call *c = container_of(it, struct call, of_provider);
    if (c->sent || p->owner.silent) continue;
    (void)call_send_now(r, c, now);
    if (!is_spent(r->spent)) continue;
    if (list_empty(&p->ready)) list_append(&r->ready, &p->ready);
    return;
  }
  list_remove(&p->ready);
}

void router_party_forgot(struct router *r, struct rpc_party *p, const struct router_forgot *f, nanotime now) {
  list_for_safe(it, &p->calls.taken) {
    struct call *c = container_of(it, struct call, of_provider);
    enum router_lost lost = c->sent ? f->lost(f->ctx, &c->mark) : ROUTER_NOT_LOST;
    if (lost == ROUTER_NEVER_CAME) {
      c->sent = false; /* as if it had waited for the exchange: the deadline stays */
      r->stats.resent++;
    }
    if (lost != ROUTER_MAY_HAVE_COME) continue;
    call_fail_attempt(c, MACULA_NOT_CONNECTED, true);
    c->ends = !c->may_repeat;
    lose(r, c);
  }
  attempt_lost(r, now);
  router_party_ready(r, p, now);
}

/* ---- lookups ---------------------------------------------------------------------------------------------------------------
 */
/* Sorted by id, so that round_robin goes on in the same order whatever order a lookup returns. */
static void add_sorted(struct remote_node *v, size_t n, const struct remote_node *node) {
  for (; n > 0 && memcmp(v[n - 1].id.b, node->id.b, ID_LEN) > 0; n--) v[n] = v[n - 1];
  v[n] = *node;
}

/* A provider is confirmed a moment before its record is stored in the DHT. A call in between must not fail with
 * no_such_procedure, so it asks once more a little later. */
static bool ask_later(struct router *r, struct call *c, nanotime now) {
  if (!r->look_again || c->again || c->attempt_count) return false;
  c->again = true;
  c->looked = false;
  calls_set_due(&r->calls, c, time_min(c->deadline, time_add(now, r->look_again)));
  return true;
}

void router_discovered(struct router *r, struct slice procedure, int err, const struct remote_node *nodes, size_t n,
                       nanotime now) {
  struct discovery_entry *e = discovery_find(&r->discovery, procedure);
  struct remote_node sorted[DISCOVERY_NODES];
  struct list waiting;
  if (!e || !e->looking) return;
  if (n > DISCOVERY_NODES) n = DISCOVERY_NODES;
  for (size_t i = 0; i < n; i++) add_sorted(sorted, i, &nodes[i]);
  list_init(&waiting);
  while (!list_empty(&e->waiting)) {
    struct list *l = e->waiting.next;
    list_remove(l);
    list_append(&waiting, l);
  }
  if (err)
    discovery_failed(&r->discovery, e);
  else
    err = discovery_found(&r->discovery, e, sorted, n, now);
  while (!list_empty(&waiting)) {
    struct call *c = container_of(waiting.next, struct call, of_wait);
    list_remove(&c->of_wait);
    if (!err && !n && ask_later(r, c, now)) continue;
    if (err)
      call_finish_error(r, c, c->attempt_count ? MACULA_ALL_PROVIDERS_FAILED : err);
    else
      lose(r, c);
  }
  attempt_lost(r, now);
}

void router_forget_node(struct router *r, const struct id *node, nanotime now) {
  (void)discovery_remove_node(&r->discovery, node, now);
}

/* ---- time ------------------------------------------------------------------------------------------------------------------
 */
nanotime router_deadline(const struct router *r) {
  if (!list_empty(&r->lost) || !list_empty(&r->ending) || !list_empty(&r->ready)) return 0;
  nanotime at = time_min(calls_deadline(&r->calls), services_deadline(&r->services));
  return time_min(at, discovery_deadline(&r->discovery));
}

static void time_is_over(struct router *r, struct call *c, nanotime now) {
  bool sent = c->provider && c->sent;
  assert(now >= c->due.at && !(c->provider && !list_empty(&c->of_wait)));
  if (!c->provider && list_empty(&c->of_wait)) { /* the wait for a second lookup is over, or the deadline has passed */
    calls_unassign(c);
    (void)call_attempt(r, c, now);
    return;
  }
  cancel_sent(r, c, MACULA_TIMEOUT);
  if (c->provider && !sent && !party_of(c->provider)->owner.silent) call_forget_node(r, c, now);
  if (c->provider) call_fail_attempt(c, sent ? MACULA_TIMEOUT : MACULA_NOT_CONNECTED, sent);
  list_remove(&c->of_wait);
  if (now >= c->deadline)
    call_finish_error(r, c, MACULA_TIMEOUT);
  else
    (void)call_attempt(r, c, now);
}

/* Those that have waited long enough for a provider that was lost. */
static void vacancies_end(struct router *r) {
  list_for_safe(it, &r->vacant.calls.taken) {
    struct call *c = container_of(it, struct call, of_provider);
    if (!services_get(&r->services, &r->vacant.owner, name_of(c))) turn_away(r, c);
  }
}

void router_tick(struct router *r, nanotime now) {
  if (services_expire(&r->services, now) && r->vacant.owner.inflight) vacancies_end(r);
  (void)discovery_prune(&r->discovery, now);
  attempt_lost(r, now);
  if (!list_empty(&r->ready)) router_party_ready(r, container_of(r->ready.next, struct rpc_party, ready), now);
  while (!list_empty(&r->ending) && cancel_made(r, container_of(r->ending.next, struct rpc_party, ending))) continue;
  for (struct call *c; (c = calls_due(&r->calls, now));) {
    time_is_over(r, c, now);
    if (is_spent(r->spent)) return;
  }
}
