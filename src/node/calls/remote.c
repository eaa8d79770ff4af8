/* Calls between nodes: how the router sends calls to the nodes that serve a procedure, and handles the calls that those nodes
 * send.
 *
 * Frames to and from a peer are the same whether it has a link of its own or is behind a gateway; peer_send hides the
 * difference. */
#include "node/calls/remote.h"

#include <assert.h>

#include "base/err.h"
#include "node/calls/providers.h"
#include "node/calls/rpc.h"
#include "node/peers/peer.h"
#include "node/peers/route.h"
#include "node/peers/seal.h"
#include "node/session/lane.h"
#include "node/session/origin.h"
#include "node/session/session.h"
#include "wire/agree.h"
#include "wire/answer.h"
#include "wire/names.h"

#define GIVEN_UP (1 * NS_SEC) /* no node is taken for dead sooner, unless its host says that nobody listens there */

static struct peer *peer_of(const struct rpc_party *p) {
  assert(p->node);
  return p->owner.user;
}

/* The link that the peer's frames go over now; NULL: none. */
static struct session *link_of(const struct peer *p) { return p->link ? p->link : p->via ? p->via->link : NULL; }

static void watch(const struct peer *p) {
  if (link_of(p)) session_watch(link_of(p));
}

/* ---- what the router sends -------------------------------------------------------------------------------------------------
 */
int remote_send_call(const struct router_send *c) {
  struct peer *p = peer_of(c->provider);
  struct msg m = {.type = c->call_id ? MSG_CALL : MSG_CAST,
                  .call = {.procedure = c->procedure,
                           .args = c->args ? shbuf_view(c->args) : slice_of("", 0),
                           .call_id = c->call_id ? slice_of(c->call_id, CALL_ID_LEN) : SLICE_NONE,
                           .timeout = c->timeout_ms,
                           .at = p->node->now / NS_MS,
                           .strategy = c->strategy,
                           .idempotent = c->idempotent,
                           .once = c->once,
                           .waits = c->waits}};
  bool large = lane_is_large(&m), apart = large && p->link && lane_has_large(p->link);
  /* by a way of its own it may come before what was announced for it, or after another announcement in its place */
  int err = origin_put(apart ? NULL : p->link, LANE_CALLS, c->origin, &m.call.origin);
  struct call_mark mark = link_of(p) ? rpc_mark(link_of(p), large) : (struct call_mark){.large = large};
  if (!err) err = peer_send(p, &m, WANT_USE);
  if (err) return err;
  if (!p->link) {
    struct agree_mark seal = agree_last(&p->sealed->agree, large ? AGREE_LARGE_CALLS : AGREE_CALLS);
    mark.key = seal.key;
    mark.number = seal.number;
  }
  *c->ret_mark = mark;
  if (c->call_id) watch(p);
  return 0;
}

enum call_fate remote_fate(const struct rpc_party *party, const struct call_mark *mark) {
  const struct peer *p = peer_of(party);
  return rpc_fate(p->node, link_of(p), mark);
}

int remote_reply(const struct rpc_party *party, const struct msg *m, const struct id *way) {
  struct peer *p = peer_of(party);
  struct peer *back = p->link || !way || id_is_zero(way) ? NULL : peer_find(p->node, way);
  if (back && back->link && seal_ready(p)) return route_through(back, p, m);
  return peer_post(p, m, WANT_USE, 0);
}

void remote_tell(const struct rpc_party *party, const struct msg *m, const struct id *way) {
  struct peer *p = peer_of(party);
  if (p->link)
    session_tell(p->link, m, false);
  else
    (void)remote_reply(party, m, way);
}

static int reach(void *ctx, const struct remote_node *where, struct rpc_party **ret_party) {
  struct node *n = ctx;
  if (n->left) return MACULA_NOT_CONNECTED; /* there may be no connection any more */
  struct peer *p = peer_get(n, &where->id);
  if (!p) return id_eq(&where->id, &n->id) ? MACULA_NOT_CONNECTED : MACULA_ENOMEM;
  /* a member's address is newer than that of a DHT record */
  if (!p->link && !p->member) peer_where(p, &where->addr, &where->gateway);
  if (link_of(p) && door_silent(&link_of(p)->door)) p->rpc.owner.silent = true;
  int err = peer_want(p, WANT_USE);
  if (err && err != MACULA_EBUSY) return err == MACULA_MAX_PEERS_REACHED ? MACULA_EFULL : err;
  *ret_party = &p->rpc;
  return 0;
}

static struct rpc_party *known(void *ctx, const struct remote_node *where) {
  struct peer *p = peer_find(ctx, &where->id);
  return p ? &p->rpc : NULL;
}

void remote_out(struct router_out *out) {
  out->discover = providers_discover;
  out->undiscover = providers_undiscover;
  out->reach = reach;
  out->known = known;
}

/* ---- what peers send -------------------------------------------------------------------------------------------------------
 */
static void refuse(struct peer *p, struct slice call_id, int err, const char *text) {
  struct msg m = answer_error(call_id, err, text, true);
  remote_tell(&p->rpc, &m, &p->node->rpc.way);
}

/* Of the way by which its calls come, which a gateway may make longer. */
static struct delays *delays_of(struct peer *p) {
  return p->link ? &p->link->native->delays : p->sealed ? &p->sealed->delays : NULL;
}

/* A large one may just have been on its way for long; not in an envelope, which a gateway may have kept. */
static bool goes_slowly(const struct peer *p, const struct msg_call *m) {
  return p->link && id_is_zero(&p->node->rpc.way) && lane_is_large(&(struct msg){.type = MSG_CALL, .call = *m});
}

static void call(struct peer *p, const struct msg_call *m, struct principal *by) {
  struct node *n = p->node;
  struct rpc_request r;
  int err = rpc_request(n, m, &r);
  struct delays *usual = delays_of(p);
  uint64_t late = m->at && usual ? delay_beyond(usual, m->at, n->now) : 0;
  if (late > r.age) r.age = late;
  /* reserved procedures are answered only to a node's own clients */
  if (!err && name_is_reserved(r.procedure)) err = MACULA_NO_SUCH_PROCEDURE;
  /* The last quarter is for our own clients: other nodes come in any number. */
  if (!err && calls_count(router_calls(n->rpc.router)) >= n->limits.max_calls / 4 * 3) err = MACULA_TOO_MANY_CALLS;
  /* The other node may have taken us for dead meanwhile, and have given it to somebody else. */
  if (!err && (goes_slowly(p, m) ? n->rpc.stood : r.age) >= GIVEN_UP) {
    err = MACULA_NOT_CONNECTED;
    r.text = "the call was on its way for so long that it may have been given up";
  }
  if (!err) err = rpc_copy_args(n, m->args, &r.args);
  if (err) {
    refuse(p, m->call_id, err, r.text);
    return;
  }
  r.origin = by;
  if (rpc_start_call(n, &p->rpc, m, &r) == 0) watch(p);
}

void remote_call(struct peer *p, const struct msg_call *m) {
  struct principal *by;
  if (!origin_from(p->node, p->link, &p->id, LANE_CALLS, &m->origin, &by)) return;
  call(p, m, by);
  principal_unref(by);
}

void remote_not_routed(struct peer *p, struct slice payload) {
  struct node *n = p->node;
  struct wire_not_routed r;
  if (wire_not_routed_decode(payload, &r) || !r.call_id.n) return;
  bool hops = slice_is(r.code, macula_err_name(MACULA_MAX_HOPS_EXCEEDED));
  struct msg m = answer_error(r.call_id, hops ? MACULA_MAX_HOPS_EXCEEDED : MACULA_NO_ROUTE, NULL, true);
  (void)router_reply(n->rpc.router, &p->rpc, &m.reply, n->now);
}

void remote_cast(struct peer *p, const struct msg_call *m) {
  struct node *n = p->node;
  struct rpc_request r;
  int err = rpc_request(n, m, &r);
  if (!origin_from(n, p->link, &p->id, LANE_CALLS, &m->origin, &r.origin)) return;
  if (!err && !name_is_reserved(r.procedure) && !rpc_copy_args(n, m->args, &r.args)) rpc_start_cast(n, &p->rpc, m, &r);
  principal_unref(r.origin);
}

/* ---- a peer's ups and downs ------------------------------------------------------------------------------------------------
 */
void rpc_peer_init(struct peer *p, uint64_t session) {
  rpc_party_init(&p->rpc, session, &p->id, p);
  p->rpc.node = true;
  p->rpc.calls.max = p->node->limits.peer_calls;
}

void rpc_peer_up(struct peer *p) { router_party_heard(p->node->rpc.router, &p->rpc, p->node->now); }

void rpc_peer_down(struct peer *p) { router_session_ended(p->node->rpc.router, &p->rpc, p->node->now); }

struct judge {
  const struct agree *agree;
  const struct agree_told *told;
};

static enum router_lost was_lost(void *ctx, const struct call_mark *mark) {
  const struct judge *j = ctx;
  switch (agree_fate(j->agree, j->told, &(struct agree_mark){.key = mark->key, .number = mark->number})) {
  case AGREE_NOT_LOST:
    return ROUTER_NOT_LOST;
  case AGREE_NEVER:
    return ROUTER_NEVER_CAME;
  case AGREE_MAYBE_LOST:
    return ROUTER_MAY_HAVE_COME;
  }
  return ROUTER_NOT_LOST;
}

void rpc_peer_forgot(struct peer *p, const struct agree_told *t) {
  struct judge j = {.agree = &p->sealed->agree, .told = t};
  struct router_forgot f = {.lost = was_lost, .ctx = &j};
  router_party_forgot(p->node->rpc.router, &p->rpc, &f, p->node->now);
}

static void fell_silent(struct peer *p) { router_session_silent(p->node->rpc.router, &p->rpc, p->node->now); }
static void is_heard(struct peer *p) { router_party_heard(p->node->rpc.router, &p->rpc, p->node->now); }

void rpc_peer_heard(struct peer *p) {
  is_heard(p);
  peers_behind(p, is_heard);
}

void rpc_peer_silent(struct peer *p) {
  fell_silent(p);
  peers_behind(p, fell_silent);
}
