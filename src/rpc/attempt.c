/* The attempts of a call, one after another: first providers connected here, then nodes from the discovery cache or a
 * lookup. */
#include <assert.h>

#include "rpc/internal.h"
#include "rpc/select.h"

/* The providers that can still be tried. */
struct choices {
  struct service *s;
  struct discovery_entry *e; /* the cache's entry; NULL: the nodes are not known */
  uint32_t here, there;      /* untried providers connected here, untried nodes */
  bool silent;               /* these are the silent ones, as there are no others */
  uint64_t sessions[CALL_MAX_ATTEMPTS];
  struct id nodes[CALL_MAX_ATTEMPTS];
  size_t session_count, node_count;
};

/* Whether a call may go to another node. A call that came from a node is for providers connected here only, so that no call
 * goes round in circles. */
static bool may_leave(const struct router *r, const struct call *c) { return r->out.discover && !party_of(c->caller)->node; }

static uint32_t inflight_at(void *ctx, const struct remote_node *where) {
  struct router *r = ctx;
  struct rpc_party *p = r->out.known ? r->out.known(r->out.ctx, where) : NULL;
  return p ? p->owner.inflight : 0;
}

static bool is_silent(void *ctx, const struct remote_node *where) {
  struct router *r = ctx;
  struct rpc_party *p = r->out.known ? r->out.known(r->out.ctx, where) : NULL;
  return p && p->owner.silent;
}

static struct select_load load_of(struct router *r) { return (struct select_load){inflight_at, is_silent, r}; }

static void count_choices(struct router *r, struct choices *o, bool silent) {
  struct select_load load = load_of(r);
  o->silent = silent;
  if (o->s) o->here = select_left(o->s, o->sessions, o->session_count, silent);
  if (o->e) o->there = select_nodes_left(o->e, o->nodes, o->node_count, silent, &load);
}

static void look_around(struct router *r, const struct call *c, nanotime now, struct choices *ret) {
  *ret = (struct choices){.s = services_find(&r->services, name_of(c))};
  for (size_t i = 0; i < c->attempt_count; i++) {
    if (c->attempts[i].remote)
      ret->nodes[ret->node_count++] = c->attempts[i].provider;
    else
      ret->sessions[ret->session_count++] = c->attempts[i].session;
  }
  if (may_leave(r, c)) ret->e = discovery_peek(&r->discovery, name_of(c), now);
  if (ret->e && !ret->e->count && !c->looked) ret->e = NULL; /* somebody may have registered since: each call asks itself */
  count_choices(r, ret, false);
}

void call_fail_attempt(struct call *c, int err, bool may_have_run) {
  if (c->provider) {
    assert(c->attempt_count < CALL_MAX_ATTEMPTS);
    struct call_attempt *a = &c->attempts[c->attempt_count++];
    a->err = err;
    a->may_have_run = may_have_run;
  }
  c->may_have_run |= may_have_run;
  call_release(c);
}

void call_forget_node(struct router *r, struct call *c, nanotime now) {
  struct discovery_entry *e = discovery_find(&r->discovery, name_of(c));
  const struct call_attempt *a = &c->attempts[c->attempt_count];
  if (e && a->remote) (void)discovery_remove(&r->discovery, e, &a->provider, now);
}

/* When an attempt that begins now ends. others: how many more providers could be tried after it. An attempt that may be given
 * up early (one that may repeat, or while it is not sent) gets an equal share of the time left, as others can follow it.
 * Any other call is never tried again after a mere timeout, so its attempt gets all the time left. */
static nanotime attempt_end(const struct call *c, bool may_give_up, uint32_t others, nanotime now) {
  uint32_t left = CALL_MAX_ATTEMPTS - c->attempt_count;
  if (others + 1 < left) left = others + 1;
  return may_give_up && left > 1 ? now + (c->deadline - now) / left : c->deadline;
}

/* Sends the call to the provider that it was assigned to. */
static int send_assigned(struct router *r, struct call *c, uint32_t others, nanotime now) {
  struct rpc_party *p = party_of(c->provider);
  nanotime due = attempt_end(c, c->may_repeat, others, now);
  uint64_t ms = (due - now) / NS_MS;
  struct router_send send = {.provider = p,
                             .call_id = c->cast ? NULL : c->sent_id,
                             .procedure = name_of(c),
                             .args = c->args,
                             .strategy = c->strategy,
                             .idempotent = c->idempotent,
                             .once = c->once,
                             .waits = !others,
                             .origin = c->origin,
                             .ret_mark = &c->mark,
                             .timeout_ms = c->cast ? 0
                                           : ms    ? ms
                                                   : 1};
  c->mark = (struct call_mark){0};
  int err = r->out.send_call(r->out.ctx, &send);
  if (err == MACULA_EBUSY && p->node) {
    due = attempt_end(c, true, others, now);
    err = 0;
  } else if (!err) {
    c->sent = true;
    if (p->node) r->stats.sent_to_nodes++;
  }
  calls_set_due(&r->calls, c, due);
  return err;
}

static int assign(struct router *r, struct call *c, struct rpc_party *p, const struct call_attempt *a, uint32_t others,
                  nanotime now) {
  assert(!c->provider && list_empty(&c->of_wait) && c->attempt_count < CALL_MAX_ATTEMPTS);
  c->attempts[c->attempt_count] = *a;
  c->sent = false;
  calls_assign(&r->calls, c, &p->calls, c->deadline);
  p->owner.inflight++;
  if (!p->owner.silent) return send_assigned(r, c, others, now);
  calls_set_due(&r->calls, c, attempt_end(c, true, others, now));
  return 0;
}

static int try_here(struct router *r, struct call *c, const struct choices *o, nanotime now) {
  struct provider *s =
      select_provider(o->s, c->strategy, &party_of(c->caller)->owner.id, o->sessions, o->session_count, o->silent, r->rng);
  struct rpc_party *p = container_of(s->owner, struct rpc_party, owner);
  struct call_attempt a = {.provider = p->owner.id, .session = p->owner.session};
  c->may_repeat = c->idempotent || (s->idempotent && !c->once);
  return assign(r, c, p, &a, o->here + o->there - 1, now);
}

/* Providers come and go while an entry is valid. So an entry in use is looked up again now and then; no call waits for that. */
static void refresh(struct router *r, struct discovery_entry *e, nanotime now) {
  struct slice name = slice_of(e->name, e->len);
  if (!discovery_ask_again(e, now) || r->out.discover(r->out.ctx, name)) return;
  (void)discovery_look(&r->discovery, name, now, &e);
  r->stats.lookups++;
}

static int try_there(struct router *r, struct call *c, const struct choices *o, nanotime now) {
  struct discovery_entry *e = discovery_get(&r->discovery, name_of(c), false, now);
  struct select_load load = load_of(r);
  struct remote_node where =
      *select_node(e, c->strategy, &party_of(c->caller)->owner.id, o->nodes, o->node_count, o->silent, r->rng, &load);
  struct call_attempt a = {.provider = where.id, .remote = true};
  struct rpc_party *p;
  c->may_repeat = c->idempotent;
  refresh(r, e, now);
  int err = r->out.reach(r->out.ctx, &where, &p);
  if (!err) return assign(r, c, p, &a, o->there - 1, now);
  if (err != MACULA_EFULL && err != MACULA_ENOMEM) (void)discovery_remove(&r->discovery, e, &where.id, now);
  c->attempts[c->attempt_count] = a;
  c->attempts[c->attempt_count++].err = err;
  return err;
}

/* Whether a lookup may find further providers. At most one for each call; and if all known nodes have failed, only when they
 * were known before the call came. */
static bool may_look(const struct router *r, const struct call *c, const struct choices *o, nanotime now) {
  if (!may_leave(r, c) || c->looked || c->attempt_count == CALL_MAX_ATTEMPTS || now >= c->deadline) return false;
  return !o->e || c->again || (c->attempt_count && o->e->since < c->began);
}

/* Takes a token for a lookup, so that a client that calls many unknown names leaves lookups for others. A new party begins with
 * one token and must save up its burst. Until then it borrows from a pool for all new parties together, so that connecting
 * again and again gives nobody more lookups. */
static bool take_lookup(struct router *r, struct rpc_party *p, nanotime now) {
  uint32_t rate = r->party_lookups, burst = 4 * rate;
  if (!rate) return true;
  if (!p->lookups.last) p->lookups = (struct bucket){.tokens = 1, .last = now ? now : 1};
  if (bucket_take(&p->lookups, rate, burst, now)) return true;
  if (p->lookups_lent + 1 >= burst || !bucket_take(&r->lent, burst, 4.0 * burst, now)) return false;
  p->lookups_lent++;
  return true;
}

static int begin_lookup(struct router *r, struct call *c, struct discovery_entry **ret_entry, nanotime now) {
  struct rpc_party *p = party_of(c->caller);
  if (!take_lookup(r, p, now)) return MACULA_RATE_LIMITED;
  int err = discovery_look(&r->discovery, name_of(c), now, ret_entry);
  if (!err && (err = r->out.discover(r->out.ctx, name_of(c))) != 0) discovery_failed(&r->discovery, *ret_entry);
  if (err)
    p->lookups.tokens += 1; /* give the token back: no lookup was begun */
  else
    r->stats.lookups++;
  return err;
}

static int wait_for_lookup(struct router *r, struct call *c, nanotime now) {
  struct discovery_entry *e = discovery_find(&r->discovery, name_of(c));
  int err = e && e->looking ? 0 : begin_lookup(r, c, &e, now);
  if (err) return err;
  r->discovery.misses++;
  assert(!c->provider && list_empty(&c->of_wait));
  c->looked = true;
  list_append(&e->waiting, &c->of_wait);
  calls_set_due(&r->calls, c, c->deadline);
  return 0;
}

/* When all that could be tried are silent: whether the call waits for one of them. A call of another node does only if that
 * knows no other node to try. */
static bool waits(const struct call *c) { return !party_of(c->caller)->node || c->waits; }

int call_attempt(struct router *r, struct call *c, nanotime now) {
  for (int err;;) {
    struct choices o;
    look_around(r, c, now, &o);
    size_t n = c->attempt_count;
    uint32_t left = o.here + o.there;
    int none = n ? MACULA_ALL_PROVIDERS_FAILED : MACULA_NO_SUCH_PROCEDURE;
    if (!left && may_look(r, c, &o, now)) {
      err = wait_for_lookup(r, c, now);
      if (!err) return 0;
      if (!n) none = err == MACULA_EFULL ? MACULA_TOO_MANY_CALLS : err;
    }
    if (!left) {
      count_choices(r, &o, true);
      left = waits(c) ? o.here + o.there : 0;
      if (o.here && !left && !n) none = MACULA_NOT_CONNECTED; /* there are providers, unlike with no_such_procedure */
    }
    err = !left ? none : n == CALL_MAX_ATTEMPTS ? MACULA_MAX_ATTEMPTS_EXCEEDED : now >= c->deadline ? MACULA_TIMEOUT : 0;
    if (err) {
      call_finish_error(r, c, err);
      return err;
    }
    if (n && !o.silent) r->stats.failovers++;
    err = o.here ? try_here(r, c, &o, now) : try_there(r, c, &o, now);
    if (!err && c->cast && c->sent) call_finish_cast(r, c);
    if (!err) return 0;
    if (c->provider) call_fail_attempt(c, err, false);
  }
}

int call_send_now(struct router *r, struct call *c, nanotime now) {
  struct choices o;
  look_around(r, c, now, &o);
  bool listed = !c->attempts[c->attempt_count].remote; /* whether this provider is still among them */
  for (uint32_t i = 0; o.e && i < o.e->count; i++) listed |= id_eq(&o.e->v[i].id, &c->attempts[c->attempt_count].provider);
  int err = now >= c->deadline ? MACULA_NOT_CONNECTED : send_assigned(r, c, o.here + o.there - listed, now);
  if (!err && c->cast && c->sent) call_finish_cast(r, c);
  if (!err) return 0;
  call_fail_attempt(c, err, false);
  return call_attempt(r, c, now);
}

bool call_has_choice(struct router *r, const struct call *c, nanotime now) {
  struct choices o;
  look_around(r, c, now, &o);
  return o.here + o.there && c->attempt_count + 1 < CALL_MAX_ATTEMPTS && now < c->deadline;
}

bool call_has_begun(const struct router *r, const struct call *c) {
  if (!c->sent) return false;
  enum call_fate fate = r->out.fate ? r->out.fate(r->out.ctx, party_of(c->provider), &c->mark) : CALL_BEGUN;
  return fate == CALL_BEGUN || (fate == CALL_UNACKED && c->once);
}
