/* Between sessions and the router of calls. */
#include "node/calls/rpc.h"

#include <assert.h>

#include "base/err.h"
#include "node/calls/providers.h"
#include "node/calls/remote.h"
#include "node/session/lane.h"
#include "node/session/origin.h"
#include "node/session/session.h"
#include "node/trust/account.h"
#include "node/trust/judge.h"
#include "wire/names.h"

static struct session *session_of(const struct rpc_party *p) {
  assert(!p->node);
  return p->owner.user;
}

/* Tells the party even if its queue is full. */
static void tell(const struct rpc_party *p, const struct msg *m, const struct id *way) {
  if (p->node)
    remote_tell(p, m, way);
  else
    session_tell(session_of(p), m, false);
}
/* ---- what has become of a call ---------------------------------------------------------------------------------------------
 */
/* How far the lane of calls, or that of large ones, has got. False: it is not known. */
static bool offsets_of(const struct session *s, bool large, struct door_offsets *ret) {
  int64_t way = s->door.way[large ? LANE_LARGE : LANE_CALLS];
  *ret = (struct door_offsets){0};
  return way == DOOR_TO_OPEN || (way >= 0 && door_offsets(&s->door, way, ret));
}

/* What waits in its lane goes before it, and what waits in others may. */
struct call_mark rpc_mark(const struct session *s, bool large) {
  struct door_offsets at;
  bool apart = large && lane_has_large(s);
  if (!offsets_of(s, apart, &at)) return (struct call_mark){.large = large};
  uint64_t waits = lane_bytes(s, apart ? LANE_LARGE : LANE_CALLS);
  return (struct call_mark){.connection = s->serial, .at = at.written + waits, .large = large};
}

void rpc_connection_ends(struct session *s) {
  struct node *n = s->node;
  if (n->rpc.ended.connection == s->serial || n->left) return;
  n->rpc.ended.connection = s->serial;
  n->rpc.ended.known[0] = offsets_of(s, false, &n->rpc.ended.at[0]);
  n->rpc.ended.known[1] = offsets_of(s, lane_has_large(s), &n->rpc.ended.at[1]);
  n->rpc.ended.ours = s->ended_by_us;
}

enum call_fate rpc_fate(const struct node *n, const struct session *s, const struct call_mark *mark) {
  struct door_offsets at = n->rpc.ended.at[mark->large];
  bool ended = mark->connection == n->rpc.ended.connection, ours = n->rpc.ended.ours;
  if (!mark->connection || n->left) return CALL_BEGUN;
  if (ended ? !n->rpc.ended.known[mark->large]
            : !s || mark->connection != s->serial || !offsets_of(s, mark->large && lane_has_large(s), &at))
    return CALL_BEGUN;
  return at.sent <= mark->at ? CALL_UNSENT : at.acked <= mark->at && !(ended && ours) ? CALL_UNACKED : CALL_BEGUN;
}

static enum call_fate fate(void *ctx, const struct rpc_party *provider, const struct call_mark *mark) {
  if (provider->node) return remote_fate(provider, mark);
  const struct session *s = provider->owner.user;
  return rpc_fate(ctx, s, mark);
}

/* ---- what the router sends --------------------------------------------------------------------------------------------------
 */
static int send_call(void *ctx, const struct router_send *c) {
  (void)ctx;
  if (c->provider->node) return remote_send_call(c);
  struct session *s = session_of(c->provider);
  if (s->state != SESSION_IN) return MACULA_NOT_CONNECTED;
  struct msg m = {.type = c->call_id ? MSG_CALL : MSG_CAST,
                  .call = {.procedure = c->procedure,
                           .args = c->args ? shbuf_view(c->args) : slice_of("", 0),
                           .call_id = c->call_id ? slice_of(c->call_id, CALL_ID_LEN) : SLICE_NONE,
                           .timeout = c->timeout_ms}};
  if (!s->base && c->call_id) m.call.at = s->node->now / NS_MS;
  int err = origin_put(s, LANE_CALLS, c->origin, &m.call.origin);
  struct call_mark mark = rpc_mark(s, lane_is_large(&m));
  if (!err) err = session_send(s, &m, false);
  if (err) return err;
  *c->ret_mark = mark;
  if (c->call_id) session_watch(s);
  return 0;
}

static void send_reply(void *ctx, const struct router_answer *a) {
  bool extra = a->caller->node || !session_of(a->caller)->base;
  struct msg_attempt attempts[CALL_MAX_ATTEMPTS];
  struct msg m = {.type = MSG_REPLY, .reply = {.call_id = slice_of(a->call_id, CALL_ID_LEN), .is_error = a->is_error}};
  (void)ctx;
  if (!a->is_error) {
    m.reply.result = a->result;
    int err = a->caller->node ? remote_reply(a->caller, &m, a->way) : session_send(session_of(a->caller), &m, false);
    if (!err || err == MACULA_ECLOSED) return;
    /* The answer does not fit into the caller's queue: the caller gets a short error instead. */
    struct msg_error e = {.code = slice_str(macula_err_name(err == MACULA_EFULL ? MACULA_SLOW_CONSUMER : err)),
                          .message = slice_str("the result does not fit the caller's queue"),
                          .may_have_run = true,
                          .has_extra = extra};
    m.reply.is_error = true;
    m.reply.error = e;
    tell(a->caller, &m, a->way);
    return;
  }
  m.reply.error = (struct msg_error){
      .code = a->code, .message = a->message, .may_have_run = a->may_have_run, .has_extra = extra, .attempts = attempts};
  m.reply.error.may_repeat = a->caller->node && a->may_have_run && a->may_repeat;
  for (uint32_t i = 0; i < a->attempt_count && i < CALL_MAX_ATTEMPTS; i++) {
    const struct call_attempt *t = &a->attempts[i];
    attempts[i] = (struct msg_attempt){slice_of(t->provider.b, ID_LEN), slice_str(macula_err_name(t->err)),
                                       slice_str(macula_err_text(t->err)), t->may_have_run};
    m.reply.error.attempt_count++;
  }
  tell(a->caller, &m, a->way);
}

static void send_cancel(void *ctx, struct rpc_party *provider, const uint8_t call_id[CALL_ID_LEN], int reason, bool large) {
  struct msg m = {
      .type = MSG_CANCEL,
      .cancel = {.call_id = slice_of(call_id, CALL_ID_LEN), .reason = slice_str(macula_err_name(reason)), .large = large}};
  (void)ctx;
  if (provider->node || (session_of(provider)->caps & CAP_CANCEL)) tell(provider, &m, NULL);
}

static void cast_done(void *ctx, struct rpc_party *caller, bool has_ref, uint64_t ref, int err) {
  (void)ctx;
  if (!caller->node) session_ack(session_of(caller), has_ref, ref, err, NULL);
}

struct router_out rpc_out(struct node *n) {
  struct router_out out = {.send_call = send_call,
                           .fate = fate,
                           .send_reply = send_reply,
                           .send_cancel = send_cancel,
                           .cast_done = cast_done,
                           .ctx = n};
  remote_out(&out);
  return out;
}

/* ---- what clients send ------------------------------------------------------------------------------------------------------
 */
int rpc_request(const struct node *n, const struct msg_call *m, struct rpc_request *ret) {
  size_t len;
  *ret = (struct rpc_request){.age = n->rpc.stood};
  int err = name_procedure(m->procedure, ret->name, &len);
  if (err) {
    ret->text = name_why(err, NAME_PROCEDURE, m->procedure, ret->why);
    return err;
  }
  ret->procedure = slice_of(ret->name, len);
  if (m->realm.n && !slice_is(m->realm, n->realm)) return MACULA_REALM_MISMATCH;
  if (m->strategy == STRATEGY_UNKNOWN) {
    ret->text = "the strategy is none of random, first, round_robin, closest, least_pending";
    return MACULA_EINVAL;
  }
  return n->draining && !name_is_reserved(ret->procedure) ? MACULA_SHUTTING_DOWN : 0;
}

int rpc_copy_args(struct node *n, struct slice args, struct shbuf **ret_args) {
  *ret_args = args.n ? shbuf_dup(&n->rows.mem[ROW_CALLS], args) : NULL;
  return args.n && !*ret_args ? MACULA_ENOMEM : 0;
}

int rpc_start_call(struct node *n, struct rpc_party *caller, const struct msg_call *m, const struct rpc_request *r) {
  struct router_call c = {.call_id = m->call_id.p,
                          .procedure = r->procedure,
                          .args = r->args,
                          .way = n->rpc.way,
                          .timeout_ms = m->timeout,
                          .strategy = m->strategy,
                          .idempotent = m->idempotent,
                          .once = m->once,
                          .waits = m->waits,
                          .age = r->age,
                          .origin = r->origin};
  int err = router_call(n->rpc.router, caller, &c, n->now);
  shbuf_unref(r->args);
  return err;
}

void rpc_start_cast(struct node *n, struct rpc_party *caller, const struct msg_call *m, const struct rpc_request *r) {
  struct router_cast c = {.procedure = r->procedure,
                          .args = r->args,
                          .strategy = m->strategy,
                          .origin = r->origin,
                          .has_ref = m->has_ref,
                          .ref = m->ref};
  (void)router_cast(n->rpc.router, caller, &c, n->now);
  shbuf_unref(r->args);
}

void rpc_call(struct session *s, const struct msg_call *m, struct rpc_request *r) {
  struct node *n = s->node;
  int err = rpc_copy_args(n, m->args, &r->args);
  r->origin = origin_of(s);
  if (err)
    session_error(s, m->call_id, err, NULL);
  else if (rpc_start_call(n, &s->native->rpc, m, r) == 0)
    session_watch(s);
}

void rpc_cast(struct session *s, const struct msg_call *m) {
  struct node *n = s->node;
  struct rpc_request r;
  int err = rpc_request(n, m, &r);
  if (!err) err = trust_allows(s, RIGHT_CALL, r.procedure, &r.text);
  if (!err) err = account_has_room(s, QUOTA_CALLS, 0, &r.text);
  if (!err) err = rpc_copy_args(n, m->args, &r.args);
  if (err) {
    session_ack(s, m->has_ref, m->ref, err, r.text);
    return;
  }
  r.origin = origin_of(s);
  rpc_start_cast(n, &s->native->rpc, m, &r);
}

void rpc_register(struct session *s, const struct msg_register *m) {
  struct node *n = s->node;
  char name[NAME_MAX_LEN + 1], why[NAME_WHY_LEN];
  size_t len;
  int err = name_procedure(m->procedure, name, &len);
  const char *text = name_why(err, NAME_PROCEDURE, m->procedure, why);
  uint64_t most = UINT32_MAX, ttl = m->ttl ? (m->ttl < most ? m->ttl : most) * NS_SEC : n->limits.service_ttl;
  if (!err && name_is_reserved(slice_of(name, len))) {
    err = MACULA_NOT_AUTHORIZED;
    text = "com.macula.* is the node's own";
  }
  if (!err) err = trust_allows(s, RIGHT_SERVE, slice_of(name, len), &text);
  if (!err && !services_get(router_services(n->rpc.router), &s->native->rpc.owner, slice_of(name, len)))
    err = account_has_room(s, QUOTA_SERVICES, 0, &text);
  if (!err && n->draining) err = MACULA_SHUTTING_DOWN;
  if (IS_UNBOUNDED(n, SERVICES)) ttl = TIME_NEVER;
  if (!err) err = router_register(n->rpc.router, &s->native->rpc, slice_of(name, len), ttl, m->idempotent, n->now);
  if (!err) providers_publish(n, slice_of(name, len));
  session_ack(s, m->has_ref, m->ref, err, text);
}

void rpc_unregister(struct session *s, const struct msg_unregister *m) {
  char name[NAME_MAX_LEN + 1], why[NAME_WHY_LEN];
  size_t len;
  int err = name_procedure(m->procedure, name, &len);
  const char *text = name_why(err, NAME_PROCEDURE, m->procedure, why);
  if (!err) err = services_unregister(router_services(s->node->rpc.router), &s->native->rpc.owner, slice_of(name, len));
  session_ack(s, m->has_ref, m->ref, err, text);
}
