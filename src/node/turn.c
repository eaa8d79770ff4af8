/* What the node does in a turn: the functions of its endpoint, and all its rooms' steps in their order. */
#include "node/turn.h"

#include "base/err.h"
#include "node/calls/providers.h"
#include "node/claims.h"
#include "node/doors/http.h"
#include "node/doors/mqtt.h"
#include "node/doors/quic.h"
#include "node/ends.h"
#include "node/limits.h"
#include "node/mesh/member.h"
#include "node/mesh/start.h"
#include "node/messages/deliver.h"
#include "node/messages/disk.h"
#include "node/messages/groups.h"
#include "node/messages/hold.h"
#include "node/messages/own.h"
#include "node/messages/pace.h"
#include "node/messages/recall.h"
#include "node/messages/replay.h"
#include "node/messages/spread.h"
#include "node/peers/join.h"
#include "node/peers/link.h"
#include "node/peers/peer.h"
#include "node/peers/revoked.h"
#include "node/peers/seal.h"
#include "node/receive.h"
#include "node/session/lane.h"
#include "node/session/session.h"
#include "node/trust/account.h"
#include "node/trust/judge.h"
#include "node/trust/users.h"
#include "node/view/ask.h"
#include "quic/quic.h"

#define STOOD_SAID NS_SEC

/* ---- driver ----------------------------------------------------------------------------------------------------------------
 */
/* One in any case: many may end at once. */
static void end_doomed(struct node *n) {
  while (!list_empty(&n->sessions.doomed)) {
    session_end(container_of(n->sessions.doomed.next, struct session, doomed));
    if (node_spent(n)) return;
  }
}

void node_settle(struct node *n) {
  end_doomed(n);
  receive_resume(n);
  end_doomed(n);
}

static void was_read(struct node *n) {
  if (n->mesh.due) {
    n->mesh.due = false;
    mesh_step(n);
  }
  if (!list_empty(&n->sessions.doomed)) node_settle(n);
}

static void on_recv(void *ctx, const struct addr *local, const struct addr *remote, struct slice datagram, uint8_t ecn,
                    nanotime now) {
  struct node *n = ctx;
  node_set_now(n, now);
  quic_recv(n->quic, local, remote, datagram, ecn, n->now);
  was_read(n);
}

static bool on_late(void *ctx, nanotime now) {
  struct node *n = ctx;
  if (!quic_has_later(n->quic)) return false;
  node_set_now(n, now);
  quic_read_later(n->quic, n->now);
  was_read(n);
  return true;
}

static void on_icmp(void *ctx, const struct addr *remote, struct slice quoted, bool port, nanotime now) {
  struct node *n = ctx;
  node_set_now(n, now);
  quic_icmp(n->quic, remote, quoted, port, n->now);
}

/* Something was left for the next turn. Publishers that wait only until more was sent are no reason for one. */
bool node_busy(const struct node *n) {
  bool later = !list_empty(&n->receive.later[LATER_CLIENTS]) || !list_empty(&n->receive.later[LATER_LINKS]) ||
               (n->flow.ready && n->flow.held_count);
  return n->put_off || n->messages.rest || quic_has_later(n->quic) || (later && !n->unsent) ||
         !list_empty(&n->receive.later[LATER_OTHERS]);
}

/* First of all the calls end whose time has passed meanwhile: nothing that has come is to wake them. */
static void on_stood(void *ctx, uint64_t ns, nanotime now) {
  struct node *n = ctx;
  node_set_now(n, now);
  if (ns >= STOOD_SAID && n->now >= n->rpc.stood_say_at) { /* a busy machine makes shorter ones without end */
    n->rpc.stood_say_at = time_add(n->now, STOOD_SAID);
    log_info(n->log, "stood_still", "ms=%llu", (unsigned long long)(ns / NS_MS));
  }
  hold_stood(n, ns);
  n->rpc.stood_next = ns;
  if (ns || !node_busy(n)) n->rpc.stood = ns;
  if (ns) router_tick(n->rpc.router, n->now);
}

static nanotime deadline(void *ctx) {
  struct node *n = ctx;
  nanotime at = time_min(quic_deadline(n->quic), time_min(router_deadline(n->rpc.router), dedup_deadline(&n->messages.dedup)));
  if (node_busy(n)) return n->now;
  if (groups_are_due(n) || own_is_due(n)) return n->now;
  if (!list_empty(&n->sessions.doomed) || !list_empty(&n->sessions.verdicts) || replay_is_due(n) || lanes_are_due(n) ||
      spread_is_due(n))
    return n->now;
  if (!list_empty(&n->sessions.fresh))
    at = time_min(at, time_add(container_of(n->sessions.fresh.next, struct session, fresh)->since, n->limits.connect_timeout));
  if (!list_empty(&n->sessions.watched) || !list_empty(&n->sessions.paused) || !list_empty(&n->receive.partials) ||
      n->draining || n->peers.tab.count)
    at = time_min(at, n->sweep_at);
  at = time_min(at, time_min(mesh_deadline(n), time_min(time_min(link_deadline(n), ask_deadline(n)), join_deadline(n))));
  at = time_min(at, time_min(spread_deadline(n), time_min(trust_deadline(n), seals_deadline(n))));
  at = time_min(at, time_min(receive_deadline(n), time_min(hold_deadline(n), pace_deadline(n))));
  at = time_min(at, time_min(notices_deadline(n), time_min(mqtt_door_deadline(n), http_door_deadline(n))));
  at = time_min(at, time_min(start_deadline(n), providers_deadline(n)));
  at = time_min(at, time_min(account_deadline(n), disk_deadline(n)));
  return n->draining ? time_min(at, n->drain_at) : at;
}

/* False: it goes on in the next turn. */
static bool close_all(struct node *n, bool links, bool (*spare)(const struct session *s)) {
  list_for_safe(it, &n->sessions.all) {
    struct session *s = container_of(it, struct session, all);
    bool is_link = s->peer || s->dialled;
    if (s->state == SESSION_OVER || is_link != links || (spare && spare(s))) continue;
    session_close(s, MACULA_SHUTTING_DOWN, NULL);
    if (node_spent(n)) return false;
  }
  return true;
}

/* Whether a client waits for an answer or owes one; the other party may be at another node. */
static bool is_awaited(const struct session *s) { return session_has_calls(s) || s->unacked.count; }

static bool any_awaited(const struct node *n) {
  list_for(it, &n->sessions.all) {
    const struct session *s = container_of(it, struct session, all);
    if (s->state != SESSION_OVER && s->client.session && is_awaited(s)) return true;
  }
  return false;
}

/* Ends clients' sessions as they become idle. Links end last, since answers still travel over them, and only after the other
 * nodes were told that we leave. */
static void drain_step(struct node *n) {
  bool late = n->now >= n->drain_at;
  if (n->messages.rest && !late) return;
  if (!close_all(n, false, late ? NULL : is_awaited)) return;
  if (!late && any_awaited(n)) return;
  mesh_leave(n);
  if (!close_all(n, true, NULL)) return;
  if (late) n->drain_at = TIME_NEVER;
}

static void late_for_connect(struct node *n) {
  while (!list_empty(&n->sessions.fresh)) {
    struct session *s = container_of(n->sessions.fresh.next, struct session, fresh);
    if (time_since(n->now, s->since) < n->limits.connect_timeout) break;
    if (s->state == SESSION_JUDGING)
      session_close(s, MACULA_TIMEOUT, "the node came to no verdict on CONNECT in time");
    else
      session_close(s, MACULA_CONNECT_REQUIRED, NULL);
  }
}

static void lower_rows(struct node *n) {
  if (n->rows.over) rows_set_limits(n);
}

/* Every SWEEP_EVERY each of these, one in a turn, as some walk over all that there is. */
static void (*const sweeps[])(struct node *n) = {watches_sweep, sessions_shed, lower_rows,    mesh_sweep,    spread_sweep,
                                                 seals_sweep,   peers_sweep,   revoked_sweep, receive_sweep, groups_sweep};
_Static_assert(sizeof sweeps / sizeof sweeps[0] == NODE_SWEEPS, "as many as counted");

static void sweep(struct node *n) {
  if (n->swept == NODE_SWEEPS && (n->sweep_at == TIME_NEVER || n->now >= n->sweep_at)) {
    n->sweep_at = time_add(n->now, SWEEP_EVERY);
    n->swept = 0;
  }
  do {
    if (n->swept < NODE_SWEEPS) sweeps[n->swept++](n);
  } while (n->swept < NODE_SWEEPS && !node_spent(n));
}

static void connections(struct node *n) { quic_tick(n->quic, n->now); }
static void calls(struct node *n) {
  if (!node_busy(n)) n->rpc.stood = n->rpc.stood_next;
  router_tick(n->rpc.router, n->now);
}
static void events(struct node *n) { quic_flush_events(n->quic, n->now); }

static void old_ids(struct node *n) { dedup_expire(&n->messages.dedup, n->now); }
static void drain(struct node *n) {
  if (n->draining) drain_step(n);
}

static void start_step(struct node *n) {
  if (n->mesh.starting && start_is_over(n)) n->sessions.paused_at = n->now;
}

/* In this order; what a long turn is said to have done is the name. To read the clock after each takes a microsecond a turn, so
 * that neighbours which seldom take long share a name. */
static const struct step {
  const char *name;
  void (*fn)(struct node *n);
} steps[] = {{"accounts", account_tick},
             {"frames", receive_others},
             {"mqtt", mqtt_door_step},
             {"http", http_door_step},
             {"delivery", deliver_step},
             {"delivery", groups_step},
             {"delivery", own_step},
             {"publishers", receive_go_on},
             {"publishers", hold_tick},
             {"publishers", pace_tick},
             {"publishers", receive_held},
             {"connections", connections},
             {"calls", calls},
             {"sweep", old_ids},
             {"sweep", late_for_connect},
             {"sweep", sweep},
             {"trust", trust_tick},
             {"trust", users_tick},
             {"paced", receive_paced},
             {"paced", receive_tick},
             {"retained", recall_tick},
             {"links", link_tick},
             {"links", seals_tick},
             {"links", ask_tick},
             {"links", join_tick},
             {"mesh", mesh_tick},
             {"queues", drain},
             {"queues", lanes_tick},
             {"queues", notices_tick},
             {"replay", replay_step},
             {"interest", spread_tick},
             {"ends", node_settle},
             {"peers", peers_step},
             {"mesh", mesh_step},
             {"ends", node_settle},
             {"interest", spread_step},
             {"mqtt", mqtt_door_step},
             {"http", http_door_step},
             {"calls", claims_step},
             {"calls", start_step},
             {"calls", providers_step},
             {"ends", node_settle},
             {"connections", events},
             {"ends", node_settle}};
#define STEPS (sizeof steps / sizeof steps[0])

static void on_tick(void *ctx, nanotime now) {
  struct node *n = ctx;
  node_set_now(n, now);
  n->put_off = false;
  for (size_t i = 0; i < STEPS; i++) {
    steps[i].fn(n);
    if (i + 1 == STEPS || steps[i + 1].name != steps[i].name) node_did(n, steps[i].name);
  }
}

static size_t on_send(void *ctx, uint8_t *buf, size_t cap, struct burst *ret_burst, nanotime now) {
  struct node *n = ctx;
  node_set_now(n, now);
  size_t len = quic_send(n->quic, buf, cap, ret_burst, n->now);
  n->unsent = quic_unsent(n->quic);
  return len;
}

struct endpoint node_endpoint(struct node *n) {
  return (struct endpoint){on_recv, on_icmp, deadline, on_tick, on_send, n, on_stood, on_late};
}

void node_drain(struct node *n, nanotime now) {
  node_set_now(n, now);
  if (n->draining) return;
  n->draining = true;
  n->drain_at = time_add(n->now, n->limits.drain_timeout);
  n->sweep_at = time_min(n->sweep_at, time_add(n->now, SWEEP_EVERY));
  mesh_withdraw(n);
  quic_stop_accepting(n->quic, MACULA_SHUTTING_DOWN);
  drain_step(n);
  node_settle(n);
}

bool node_draining(const struct node *n) { return n->draining; }

bool node_drained(const struct node *n, nanotime now) {
  return n->draining && (list_empty(&n->sessions.all) || (n->drain_at == TIME_NEVER ? true : now >= n->drain_at));
}
