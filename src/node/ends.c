#include "node/ends.h"

#include "base/err.h"
#include "node/calls/remote.h"
#include "node/calls/rpc.h"
#include "node/mesh/member.h"
#include "node/messages/gather.h"
#include "node/messages/groups.h"
#include "node/messages/hold.h"
#include "node/messages/own.h"
#include "node/messages/pace.h"
#include "node/messages/recall.h"
#include "node/messages/replay.h"
#include "node/messages/spread.h"
#include "node/peers/events.h"
#include "node/peers/link.h"
#include "node/peers/peer.h"
#include "node/peers/revoked.h"
#include "node/receive.h"
#include "node/session/origin.h"
#include "node/session/session.h"
#include "node/session/topics.h"
#include "node/trust/account.h"
#include "node/trust/judge.h"
#include "node/view/ask.h"
#include "node/view/events.h"

/* ---- a session's ----------------------------------------------------------------------------------------------------------
 */
/* Breaks a guarantee on purpose, in a build that shows that the tests notice it: what the client owned is not freed. */
static bool left_behind(const struct session *s) {
  return (IS_UNBOUNDED(s->node, STREAMS) && !s->client.op) ||
         (IS_UNBOUNDED(s->node, CALLS) && s->native && !list_empty(&s->native->rpc.calls.made));
}

static void tell_event(struct session *s, const char *topic, const char *reason) {
  struct node *n = s->node;
  char *json = own_is_heard(n, topic) ? events_of_client(s, reason) : NULL;
  if (json) own_publish(n, &(struct msg_publish){.topic = slice_str(topic), .payload = slice_str(json)}, NULL);
  events_free(json);
}

void client_is_in(struct session *s) { tell_event(s, EVENT_CONNECTED, NULL); }

/* While it still has its account and its rights. */
static void client_is_gone(struct session *s) {
  if (!s->client.session || s->peer) return;
  own_session_end(s);
  if (!s->node->draining) tell_event(s, EVENT_ENDED, s->end_reason ? s->end_reason : s->goodbye ? "goodbye" : "lost");
}

void session_end(struct session *s) {
  struct node *n = s->node;
  if (s->ended) return;
  s->ended = true;
  if (s->peer) rpc_connection_ends(s);
  client_is_gone(s);
  session_unlist(s);
  receive_end(s);
  pace_session_end(s);
  gather_session_end(s);
  hold_session_end(s);
  replay_end(s);
  link_end(s);
  trust_session_end(s);
  origin_end(s);
  topics_end(s);
  if (!s->client.session) return; /* never asked to be let in */
  ask_session_ended(s);
  spread_session_end(s);
  groups_session_end(s, false);
  if (left_behind(s)) return;
  clients_remove(&n->sessions.clients, &s->client);
  topic_index_drop(n->messages.topics, &s->topics);
  rpc_connection_ends(s);
  if (s->native && (s->goodbye || n->draining))
    router_session_ended(n->rpc.router, &s->native->rpc, n->now);
  else if (s->native)
    router_session_lost(n->rpc.router, &s->native->rpc, n->now);
  account_leave(s);
}

void session_closed(struct session *s, const struct door_end *why) {
  link_closed(s, why);
  s->goodbye |= !why || why->by_peer;
  if (!why || (why->by_peer && !why->err)) session_drop_will(s);
  session_end(s);
  if (s->client.session && left_behind(s)) {
    list_remove(&s->all);
    s->node->sessions.count--;
    return;
  }
  groups_session_end(s, true);
  session_free(s);
}

void session_acked(struct session *s, uint64_t ref) { groups_acked(s, ref); }
void session_goes_on(struct session *from, struct session *to) { groups_adopt(from, to); }

/* ---- silence --------------------------------------------------------------------------------------------------------------
 */
void session_silent(struct session *s) {
  struct node *n = s->node;
  if (s->state != SESSION_IN) return;
  if (!s->peer) router_session_silent(n->rpc.router, &s->native->rpc, n->now);
  if (s->peer && s->peer->link == s) rpc_peer_silent(s->peer);
}

void session_heard(struct session *s) {
  struct node *n = s->node;
  if (s->state != SESSION_IN) return;
  if (!s->peer) router_party_heard(n->rpc.router, &s->native->rpc, n->now);
  if (s->peer && s->peer->link == s) rpc_peer_heard(s->peer);
}

bool session_has_calls(const struct session *s) {
  const struct peer *p = s->peer && s->peer->link == s ? s->peer : NULL;
  if (p) return peer_has_calls(p);
  if (!s->client.session || !s->native) return false;
  return !list_empty(&s->native->rpc.calls.made) || !list_empty(&s->native->rpc.calls.taken);
}

/* Whether nodes that are reached by this link owe acknowledgements. */
static bool awaits_acks(const struct session *s) {
  const struct peer *p = s->peer && s->peer->link == s ? s->peer : NULL;
  if (!p) return false;
  if (p->spread.unacked.count) return true;
  list_for(it, &p->vias) if (container_of(it, struct peer, of_via)->spread.unacked.count) return true;
  return false;
}

/* Ends the watch on sessions without pending calls and acknowledgements. Ending it with a session's last call would switch it
 * off and on with each call where one follows another. */
void watches_sweep(struct node *n) {
  list_for_safe(it, &n->sessions.watched) {
    struct session *s = container_of(it, struct native, watch)->session;
    if (s->peer && s->peer->link == s && door_silent(&s->door)) {
      spread_mute(s->peer);
      peers_behind(s->peer, spread_mute);
    }
    if (session_has_calls(s) || awaits_acks(s) || (s->state == SESSION_IN && door_silent(&s->door))) continue;
    s->watched = false;
    list_remove(&s->native->watch);
    if (s->state == SESSION_IN) door_watch(&s->door, false);
  }
}

/* ---- another node's -------------------------------------------------------------------------------------------------------
 */
void peer_made(struct peer *p) {
  rpc_peer_init(p, p->node->peers.next++);
  spread_peer_init(p);
}

void peer_forgotten(struct peer *p) {
  pace_peer_gone(p);
  spread_forget(p);
  mesh_reached(p);
}

void peer_runs_anew(struct peer *p) {
  if (p->node->mesh.membership) membership_anew(p->node->mesh.membership, &p->id);
}

void peer_ready(struct peer *p) { rpc_peer_up(p); }

void peer_ended(struct peer *p) {
  rpc_peer_down(p);
  ask_peer_down(p, MACULA_NOT_CONNECTED);
}

void peer_forgot(struct peer *p, const struct agree_told *t, bool publishes) {
  rpc_peer_forgot(p, t);
  if (publishes) spread_lost(p);
}

void peer_evicted(struct peer *p) { ask_peer_down(p, MACULA_EVICTED); }
void peer_unsent(struct peer *p, uint64_t query) { mesh_unsent(p, query); }
void link_is_up(struct peer *p) {
  mesh_link_up(p);
  revoked_link_up(p);
}
void link_is_down(struct peer *p, bool dead) { mesh_link_down(p, dead); }
void link_is_over(struct session *s) { rpc_connection_ends(s); }
void link_not_had(struct peer *p, bool was_there, bool dead) { mesh_dial_failed(p, was_there, dead); }
void link_observed(struct peer *p, const struct addr *seen, const struct addr *local) { mesh_observed(p, seen, local); }
