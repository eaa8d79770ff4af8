/* Handles one frame of a client or of another node: checks whether the sender may send it in its state, and calls the room that
 * it is for. */
#include "node/dispatch.h"

#include "base/err.h"
#include "node/calls/remote.h"
#include "node/calls/rpc.h"
#include "node/claims.h"
#include "node/ends.h"
#include "node/mesh/member.h"
#include "node/messages/deliver.h"
#include "node/messages/own.h"
#include "node/messages/pace.h"
#include "node/messages/publish.h"
#include "node/messages/spread.h"
#include "node/peers/link.h"
#include "node/peers/revoked.h"
#include "node/peers/route.h"
#include "node/receive.h"
#include "node/session/origin.h"
#include "node/session/session.h"
#include "node/session/topics.h"
#include "node/trust/account.h"
#include "node/trust/judge.h"
#include "node/view/admin.h"
#include "node/view/ask.h"
#include "node/view/far.h"
#include "wire/names.h"

/* Sessions in an operator's slot may only look, so that they cannot use up what max_clients protects. */
static bool op_may(const struct session *s, const struct msg *m) {
  if (!s->client.op) return true;
  return m->type == MSG_PING || m->type == MSG_DISCONNECT || m->type == MSG_CONNECT || m->type == MSG_CANCEL ||
         (m->type == MSG_CALL && name_is_reserved(m->call.procedure));
}

static void refuse_op(struct session *s, const struct msg *m) {
  static const char text[] = "an operator's slot is for com.macula.node.* and com.macula.diagnostics.* only";
  if (m->type == MSG_CALL) session_error(s, m->call.call_id, MACULA_NOT_AUTHORIZED, text);
  if (m->type == MSG_CAST) session_ack(s, m->call.has_ref, m->call.ref, MACULA_NOT_AUTHORIZED, text);
  if (m->type == MSG_PUBLISH) session_ack(s, m->publish.has_ref, m->publish.ref, MACULA_NOT_AUTHORIZED, text);
  if (m->type == MSG_SUBSCRIBE || m->type == MSG_UNSUBSCRIBE)
    session_ack(s, m->subscribe.has_ref, m->subscribe.ref, MACULA_NOT_AUTHORIZED, text);
  if (m->type == MSG_REGISTER) session_ack(s, m->reg.has_ref, m->reg.ref, MACULA_NOT_AUTHORIZED, text);
  if (m->type == MSG_UNREGISTER) session_ack(s, m->unreg.has_ref, m->unreg.ref, MACULA_NOT_AUTHORIZED, text);
}

static void pong(struct session *s, const struct msg_ping *m) {
  struct msg a = {.type = MSG_PONG, .pong = {.timestamp = m->timestamp, .server_time = node_wall_ms(s->node)}};
  session_tell(s, &a, true);
}

/* A node's CONNECT makes a link of the connection, any other a client's session. */
static void let_in(struct session *s, const struct msg_connect *m) {
  int err = s->judged.err;
  const char *text = s->judged.text;
  if (!err && (m->caps & CAP_NODE)) {
    text = NULL;
    if ((err = link_connect(s, m, &text)) == 0) return;
  }
  if (err) {
    session_close(s, err, text);
    return;
  }
  struct session *replaced = NULL;
  text = NULL;
  if ((err = session_place(s, m, &replaced)) == 0 && (err = account_join(s)) == 0)
    err = account_has_room(s, QUOTA_CONNECTIONS, 1 + (replaced && replaced->account == s->account), &text);
  if (!err && (m->caps & CAP_WILL)) err = own_take_will(s, m->will, &text);
  if (replaced) session_close(replaced, MACULA_REPLACED, NULL);
  if (err) {
    session_close(s, err, text);
    return;
  }
  uint8_t proof[TOKEN_PROOF_LEN];
  session_admit(s, m, trust_prove(s, proof) ? slice_of(proof, sizeof proof) : SLICE_NONE);
  if (s->state != SESSION_IN) return;
  trust_let_in(s);
  if (replaced && s->door.ops->resumes) deliver_replaced(s->node, replaced->serial, s->serial);
  client_is_in(s);
}

void session_settle(struct session *s, int err, const char *text) {
  list_remove(&s->judged.all);
  s->judged.given = true;
  s->judged.err = err;
  s->judged.text = text;
  if (s->judged.connect)
    let_in(s, s->judged.connect);
  else if (err)
    session_close(s, err, text);
  else
    receive_judged(s);
}

void session_verdict(struct node *n, uint64_t serial, int err, const char *text) {
  struct session *s = session_judged(n, serial);
  if (s) session_settle(s, err, text);
}

static void on_connect(struct session *s, const struct msg_connect *m) {
  struct node *n = s->node;
  const char *text;
  char why[NAME_WHY_LEN];
  if (s->state == SESSION_JUDGING) { /* the verdict is there, and the CONNECT that was held back is read again */
    let_in(s, m);
    return;
  }
  if (s->state != SESSION_FRESH) {
    session_close(s, MACULA_CONNECT_REQUIRED, "CONNECT comes once only");
    return;
  }
  int err = session_check(s, m, why, &text);
  if (!err) err = account_may_come(s, &text);
  if (!err) err = trust_judge(s, m, &text);
  session_judge(s, m);
  if (err || !n->sessions.judge || !n->sessions.judge(n->sessions.judge_ctx, s, m)) session_settle(s, err, text);
  s->judged.connect = NULL;
}

static void call(struct session *s, const struct msg_call *m) {
  struct rpc_request r;
  int err = rpc_request(s->node, m, &r);
  bool reserved = !err && name_is_reserved(r.procedure);
  if (!err && !reserved) err = trust_allows(s, RIGHT_CALL, r.procedure, &r.text);
  if (!err && !reserved) err = account_has_room(s, QUOTA_CALLS, 0, &r.text);
  if (err)
    session_error(s, m->call_id, err, r.text);
  else if (reserved)
    admin_call(s, m, r.procedure);
  else
    rpc_call(s, m, &r);
}

/* What a number of the peer stands for. Clients tell of topics only. */
static void announced(struct session *s, const struct msg_announce *m) {
  if (m->kind == ANNOUNCE_TOPIC && topics_are_told(s))
    topics_heard(s, m);
  else if (s->peer && m->kind == ANNOUNCE_TAKEN)
    topics_taken(s, m->number);
  else if (s->peer)
    origin_heard(s, m);
  else
    s->node->stats.ignored_frames++;
}

static void client_frame(struct session *s, const struct frame *f) {
  struct node *n = s->node;
  struct msg m;
  if (s->state == SESSION_FRESH && f->type != MSG_CONNECT) {
    session_close(s, MACULA_CONNECT_REQUIRED, NULL);
    return;
  }
  int err = msg_decode(f->type, f->payload, &m);
  if (err == MACULA_UNKNOWN_TYPE) {
    uint64_t ref = 0;
    bool wants_answer = msg_find_ref(f->payload, &ref);
    n->stats.unknown_frames++;
    session_ack(s, wants_answer, ref, err, NULL);
    return;
  }
  if (err && s->state == SESSION_IN && s->base) {
    session_left_out(s, err, NULL);
    return;
  }
  if (err) {
    session_close(s, err, NULL);
    return;
  }
  if (!op_may(s, &m)) {
    refuse_op(s, &m);
    return;
  }
  switch (m.type) {
  case MSG_CONNECT:
    on_connect(s, &m.connect);
    break;
  case MSG_DISCONNECT:
    receive_goodbye(s, m.disconnect.streams);
    break;
  case MSG_PING:
    pong(s, &m.ping);
    break;
  case MSG_PUBLISH:
    publish_message(s, &m.publish);
    break;
  case MSG_SUBSCRIBE:
    publish_subscribe(s, m.subscribe);
    break;
  case MSG_UNSUBSCRIBE:
    publish_unsubscribe(s, m.subscribe);
    break;
  case MSG_CALL:
    call(s, &m.call);
    break;
  case MSG_CAST:
    rpc_cast(s, &m.call);
    break;
  case MSG_REPLY:
    (void)router_reply(n->rpc.router, &s->native->rpc, &m.reply, n->now);
    break;
  case MSG_REGISTER:
    rpc_register(s, &m.reg);
    break;
  case MSG_UNREGISTER:
    rpc_unregister(s, &m.unreg);
    break;
  case MSG_ANNOUNCE:
    announced(s, &m.announce);
    break;
  case MSG_CANCEL:
    (void)router_cancel(n->rpc.router, &s->native->rpc, m.cancel.call_id);
    break;
  case MSG_PONG:
  case MSG_ACK:
  case MSG_RENEW:
  case MSG_REVOKED:
  case MSG_PACE:
  case MSG_NOTICE:
  case MSG_CLAIM:
  case MSG_PUBSUB_ROUTE:
  case MSG_RPC_ROUTE:
  case MSG_SWIM_PING:
  case MSG_SWIM_ACK:
  case MSG_SWIM_PING_REQ:
  case MSG_SWIM_SYNC:
  case MSG_INTEREST:
  case MSG_INTEREST_HAVE:
  case MSG_RETAINED_GET:
  case MSG_RETAINED_MOVED:
  case MSG_STORE_REPLY:
  case MSG_AGREE:
  case MSG_NOT_ROUTED:
  case MSG_FIND_NODE:
  case MSG_FIND_NODE_REPLY:
  case MSG_STORE:
  case MSG_FIND_VALUE:
  case MSG_FIND_VALUE_REPLY:
    n->stats.ignored_frames++; /* answers that nobody waits for, and what only nodes tell each other */
    break;
  }
}

/* ---- other nodes --------------------------------------------------------------------------------------------------------
 */
static void routed(struct peer *from, const struct msg *m);

void dispatch_message(struct peer *p, const struct msg *m) {
  struct node *n = p->node;
  switch (m->type) {
  case MSG_PING:
    if (p->link) pong(p->link, &m->ping);
    break;
  case MSG_PONG:
    ask_ponged(p, &m->pong);
    break;
  case MSG_CALL:
    if (!far_asked(p, &m->call)) remote_call(p, &m->call);
    break;
  case MSG_CAST:
    remote_cast(p, &m->call);
    break;
  case MSG_REPLY:
    if (!far_replied(p, &m->reply)) (void)router_reply(n->rpc.router, &p->rpc, &m->reply, n->now);
    break;
  case MSG_CANCEL:
    (void)router_cancel(n->rpc.router, &p->rpc, m->cancel.call_id);
    break;
  case MSG_RPC_ROUTE:
  case MSG_PUBSUB_ROUTE:
    routed(p, m);
    break;
  case MSG_PUBLISH:
    spread_receive(p, &m->publish);
    break;
  case MSG_PACE:
    pace_heard(p, &m->pace);
    break;
  case MSG_REVOKED:
    revoked_heard(p, &m->revoked);
    break;
  case MSG_CLAIM:
    claims_heard(p, &m->claim);
    break;
  case MSG_ACK:
    spread_ack(p, &m->ack);
    break;
  default: /* nothing that nodes say to each other */
    n->stats.ignored_frames++;
  }
}

/* Numbers of principals and topics are of the connection on which they were announced, so here they mean nothing. */
static void handle_inner(struct peer *p, struct msg *m) {
  if (m->type == MSG_PUBLISH) m->publish.origin.number = m->publish.topic_number = 0;
  if (m->type == MSG_CALL || m->type == MSG_CAST) m->call.origin.number = 0;
  dispatch_message(p, m);
}

/* A frame that came through a gateway: what its envelope contains is handled as if it had come over its sender's own link. */
static void routed(struct peer *from, const struct msg *m) {
  struct msg inner;
  uint8_t type;
  struct peer *p = route_received(from, m, &type);
  if (!p) return;
  struct node *n = p->node;
  if (type == MSG_NOT_ROUTED) {
    if (!far_not_routed(p, m->route.payload)) remote_not_routed(p, m->route.payload);
  } else if (msg_is_raw(type)) {
    mesh_frame(p, type, m->route.payload);
  } else if (msg_decode(type, m->route.payload, &inner) == 0) {
    n->rpc.way = from->id;
    handle_inner(p, &inner);
    n->rpc.way = (struct id){{0}};
  } else {
    n->stats.routes_failed++;
  }
}

/* Before a link is up and after its end only the frames of its handshake are handled. */
static void link_frame(struct session *s, const struct frame *f) {
  struct node *n = s->node;
  struct peer *p = s->peer;
  struct msg m;
  if (msg_is_raw(f->type)) {
    if (p && s->state == SESSION_IN)
      mesh_frame(p, f->type, f->payload);
    else
      n->stats.ignored_frames++;
    return;
  }
  int err = msg_decode(f->type, f->payload, &m);
  if (err == MACULA_UNKNOWN_TYPE)
    n->stats.unknown_frames++;
  else if (err)
    session_close(s, err, NULL);
  else if (m.type == MSG_DISCONNECT)
    link_goodbye(s, &m.disconnect);
  else if (s->state == SESSION_DIALLING && m.type == MSG_PONG && p)
    link_welcomed(s, &m.pong);
  else if (p && s->state == SESSION_IN && m.type == MSG_ANNOUNCE)
    announced(s, &m.announce);
  else if (p && s->state == SESSION_IN && m.type == MSG_RENEW)
    link_renewed(s, m.renew.pass);
  else if (p && s->state == SESSION_IN)
    dispatch_message(p, &m);
}

void dispatch_frame(struct session *s, const struct frame *f) {
  if (s->peer || s->dialled)
    link_frame(s, f);
  else
    client_frame(s, f);
}
