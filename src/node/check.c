#include "node/check.h"

#include "base/check.h"
#include "node/calls/providers.h"
#include "node/doors/http.h"
#include "node/doors/mqtt.h"
#include "node/doors/quic.h"
#include "node/memory/lend.h"
#include "node/mesh/member.h"
#include "node/messages/deliver.h"
#include "node/messages/groups.h"
#include "node/messages/hold.h"
#include "node/messages/own.h"
#include "node/messages/pace.h"
#include "node/messages/recall.h"
#include "node/messages/replay.h"
#include "node/messages/spread.h"
#include "node/peers/join.h"
#include "node/peers/peer.h"
#include "node/peers/revoked.h"
#include "node/peers/seal.h"
#include "node/peers/silent.h"
#include "node/receive.h"
#include "node/session/lane.h"
#include "node/session/origin.h"
#include "node/session/room.h"
#include "node/session/session.h"
#include "node/session/tally.h"
#include "node/session/topics.h"
#include "node/trust/account.h"
#include "node/trust/judge.h"
#include "node/view/ask.h"
#include "node/view/history.h"
#include "node/view/recent.h"

/* ---- accounts --------------------------------------------------------------------------------------------------------------
 */
/* Accounts that cannot be summed up exactly, because the check does not walk arguments, payloads, answers, or what ngtcp2 and
 * GnuTLS hold: such an account must hold at least what was found. (A large frame that waited for a link is referred to by the
 * link's queue until it is acknowledged.) */
static bool is_walked(enum row row) {
  return row != ROW_QUIC && row != ROW_TLS && row != ROW_CALLS && row != ROW_RETAINED && row != ROW_ADMIN && row != ROW_HELD &&
         row != ROW_MQTT && row != ROW_HTTP;
}

static size_t text_owned(const struct node *n) {
  return mem_cost(n) + mem_cost(n->name) + mem_cost(n->realm) + mem_cost(n->trust.pass.p);
}

static void owned(const struct node *n, size_t ret[ROW_COUNT]) {
  struct dht_owned dht = dht_owned(n->records.dht);
  size_t patterns;
  memset(ret, 0, ROW_COUNT * sizeof *ret);
  interest_owned(n->spread.interest, &patterns, &ret[ROW_INTEREST]);
  ret[ROW_INTEREST] += recall_owned(n);
  ret[ROW_NODE] = text_owned(n);
  ret[ROW_SESSIONS] = sessions_owned(n);
  ret[ROW_SEND] = (size_t)(door_quic_owned(n) + lanes_owned(n) + deliver_frames_owned(n) + mqtt_door_frames_owned(n) +
                           http_door_frames_owned(n) + (double)groups_owned(n) + 0.5);
  ret[ROW_RECEIVE] = receive_owned(n);
  ret[ROW_FLOW] = room_owned(n);
  ret[ROW_PACE] = pace_owned(n);
  ret[ROW_CLIENTS] = clients_owned(&n->sessions.clients);
  ret[ROW_TOPICS] = topic_index_owned(n->messages.topics) + patterns;
  ret[ROW_FANOUT] = deliver_owned(n);
  ret[ROW_OWN] = own_owned(n);
  ret[ROW_REPLAYS] = replay_owned(n);
  ret[ROW_SERVICES] = services_owned(router_services(n->rpc.router));
  ret[ROW_CALLS] = router_owned(n->rpc.router);
  ret[ROW_DISCOVERY] = discovery_owned(router_discovery(n->rpc.router)) + providers_owned(n);
  ret[ROW_DISK] = retained_log_owned(&n->messages.log);
  ret[ROW_RETAINED] = retained_owned(&n->messages.retained);
  ret[ROW_DEDUP] = dedup_owned(&n->messages.dedup);
  ret[ROW_PEERS] = peers_owned(n);
  ret[ROW_SILENT] = silent_owned(n);
  ret[ROW_MEMBERS] = membership_owned(n->mesh.membership);
  ret[ROW_RECORDS] = dht.records;
  ret[ROW_CONTACTS] = dht.table;
  ret[ROW_LOOKUPS] = dht.lookups;
  ret[ROW_TALLY] = tally_topics_owned(n);
  ret[ROW_DROPS] = tally_drops_owned(n);
  ret[ROW_ASKS] = ask_owned(n);
  ret[ROW_HISTORY] = mem_cost(n->history);
  ret[ROW_EVENTS] = recent_owned(n);
  ret[ROW_HELD] = held_owned(n);
  ret[ROW_SEALS] = seals_owned(n);
  ret[ROW_INFLIGHT] = inflight_owned(&n->spread.inflight);
  ret[ROW_REVOKED] = revoked_owned(n);
  ret[ROW_PASSES] = trust_passes_owned(n);
  ret[ROW_ORIGINS] = origins_owned(n) + topics_owned(n);
  ret[ROW_ACCOUNTS] = accounts_owned(n);
  ret[ROW_GETS] = gets_owned(&n->spread.gets);
}

/* One text for each row, with the row's name as it is shown in all figures. */
static const char *const wrong[ROW_COUNT] = {
#define ROW_WRONG(id, rank, name, ...) "rows: the account " name " is not what it owns",
    NODE_ROWS(ROW_WRONG)
#undef ROW_WRONG
};

static const char *rows_check(const struct node *n) {
  size_t own[ROW_COUNT];
  owned(n, own);
  for (int i = 0; i < ROW_COUNT; i++) {
    const struct mem *m = &n->rows.mem[i];
    CHECK(is_walked((enum row)i) ? own[i] == m->bytes : own[i] <= m->bytes, wrong[i]);
    CHECK(!m->limit || m->bytes <= m->limit, "rows: an account holds more than its limit");
  }
  return lend_check(n);
}

/* ---- the node --------------------------------------------------------------------------------------------------------------
 */
static const char *messages_check(const struct node *n) {
  CHECK_PART(topic_index_check(n->messages.topics));
  CHECK_PART(retained_check(&n->messages.retained));
  CHECK_PART(retained_log_check(&n->messages.log));
  CHECK_PART(dedup_check(&n->messages.dedup));
  CHECK_PART(deliver_check(n));
  CHECK_PART(groups_check(n));
  CHECK_PART(own_check(n));
  CHECK_PART(replay_check(n));
  return spread_check(n);
}

static const char *calls_of_node_check(const struct node *n) {
  CHECK_PART(router_check(n->rpc.router));
  return providers_check(n);
}

static const char *origins_of_node_check(const struct node *n) {
  return origins_check(n, retained_origins(&n->messages.retained) + calls_origins(router_calls(n->rpc.router)) +
                              deliver_origins(n) + groups_origins(n) + own_origins(n));
}

const char *node_check(const struct node *n) {
  CHECK_PART(door_quic_check(n));
  CHECK_PART(mqtt_door_check(n));
  CHECK_PART(http_door_check(n));
  CHECK_PART(sessions_check(n));
  CHECK_PART(origins_of_node_check(n));
  CHECK_PART(topics_check(n));
  CHECK_PART(tally_check(n));
  CHECK_PART(trust_check(n));
  CHECK_PART(receive_check(n));
  CHECK_PART(room_check(n));
  CHECK_PART(hold_check(n));
  CHECK_PART(pace_check(n));
  CHECK_PART(peers_check(n));
  CHECK_PART(join_check(n));
  CHECK_PART(silent_check(n));
  CHECK_PART(messages_check(n));
  CHECK_PART(calls_of_node_check(n));
  CHECK_PART(ask_check(n));
  CHECK_PART(history_check(n->history));
  CHECK_PART(recent_check(n));
  CHECK_PART(mesh_check(n));
  return rows_check(n);
}
