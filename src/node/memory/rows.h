/* The table of memory: every table, pool and queue of the node is one row, one line of NODE_ROWS.
 *
 * A row is an account (base/mem.h) whose limit is what the row plans: the most entries x the most bytes of an entry + bytes
 * besides. The plan (plan.h), the accounts' limits, /metrics, status, /api/memory and com.macula.node.memory all come from this
 * list.
 *
 * A new row: 1. a line here; 2. its limits in struct node_limits, node_limits_default and daemon/options.h; 3. its allocations
 * from &n->rows.mem[ROW_...]. tests/sim/test_memory_rows.c measures that the most bytes of an entry are not understated. */
#ifndef NODE_ROWS_H
#define NODE_ROWS_H

#include "base/mem.h"
#include "base/time.h"
#include "node/memory/plan.h"
#include "node/node.h"
#include "quic/stats.h"

/* X(ID, rank, name, what a person reads, keys that lower it,
 *   entries at most (0: bounded in bytes alone), bytes an entry at worst, bytes beside,   -- of l, struct node_limits
 *   entries now, refused, evicted, expired)                                                  -- of f, struct row_sources
 *
 * rank: which rows are refused memory first when resident memory comes near the plan (rows.c): rows of rank 2 store what
 * somebody sent, rows of rank 1 carry what is on its way; rows of rank 0, connections, members and answers, are never
 * refused. */
#define NODE_ROWS(X)                                                                                                           \
  X(NODE, 0, "node", "the node itself", "", 1, 24 << 10, 0, 1, 0, 0, 0)                                                        \
  X(SESSIONS, 0, "sessions", "clients' sessions", "max_clients max_half_open", limits_connections(l),                          \
    PLAN_BLOCK(sizeof(struct session) + sizeof(struct native)) + 64 + PLAN_BLOCK(sizeof(struct own_flow)) +                    \
        PLAN_BLOCK(LANES * sizeof(struct lane_queue)) + PLAN_BLOCK(TOKEN_PROOF_LEN) + PLAN_BLOCK(NOTICE_KEPT + 1) +            \
        PLAN_BLOCK(NAME_MAX_LEN),                                                                                              \
    0, f->n->sessions.count, 0, 0, 0)                                                                                          \
  X(QUIC, 0, "connections", "QUIC connections", "max_clients max_half_open connection_pool", connections(l),                   \
    QUIC_CONN_MEMORY + QUIC_CONN_OWN, l->connection_pool + QUIC_SHARED_MEMORY + QUIC_LATER_BYTES, f->quic.total,               \
    f->quic.refused_full + f->quic.refused_half_open, 0, 0)                                                                    \
  X(TLS, 0, "tls", "keys, handshakes and certificates", "max_clients max_half_open", l->max_half_open + limits_links(l),       \
    PLAN_HANDSHAKE, connections(l) * PLAN_KEYS + l->http_connections * PLAN_HANDSHAKE + PLAN_TLS_SHARED, f->quic.half_open, 0, \
    0, 0)                                                                                                                      \
  X(SEND, 1, "send_queues", "what waits for clients", "send_pool", 0, 0, l->send_pool, 0, f->n->stats.dropped, 0, 0)           \
  X(OWN, 0, "own", "wills of clients, and events that wait", "max_clients", 0, 0,                                              \
    (uint64_t)l->max_clients *PLAN_WILL + (256u << 10), f->n->messages.own.count, f->n->messages.own.lost, 0, 0)               \
  X(MQTT, 1, "mqtt", "clients of MQTT, and what waits for them", "mqtt_pool", 0, 0, plan_mqtt_own(l), f->n->mqtt_now.sessions, \
    f->n->mqtt_now.refused, f->n->mqtt_now.evicted, 0)                                                                         \
  X(HTTP, 1, "http", "connections of HTTP, and what is on its way there", "http_connections http_pool", l->http_connections,   \
    PLAN_HTTP, l->http_pool, f->n->http_now.connections, f->n->http_now.refused, f->n->http_now.displaced, 0)                  \
  X(RECEIVE, 1, "receive", "unfinished frames", "receive_pool", 0, 0, l->receive_pool, 0, 0, 0, 0)                             \
  X(FLOW, 1, "flow", "who waits for whose queue", "max_clients", 0, 0, (uint64_t)l->max_clients *PLAN_FLOW + PLAN_FLOWS,       \
    f->n->flow.held_count + f->n->flow.reader_count, 0, 0, 0)                                                                  \
  X(PACE, 1, "pace", "publishers and readers at other nodes", "", PACE_MOST, PLAN_PACE, PLAN_TABLE,                            \
    f->n->flow.paced.count + f->n->flow.pacing.tab.count, f->n->flow.pacing.refused, 0, 0)                                     \
  X(ACCESS, 0, "access", "the access file", "access_bytes", 0, 0, l->access_bytes, 0, 0, 0, 0)                                 \
  X(PASSWORDS, 0, "passwords", "passwords that are checked, or were right", "", PASSWORDS_KNOWN, PLAN_PASSWORD,                \
    PASSWORDS_WAITING *PLAN_PASSWORD_CHECK + PLAN_TABLE, 0, f->n->trust.passwords.busy, 0, 0)                                  \
  X(PASSES, 0, "passes", "passes that were verified", "pass_bytes", 0, 0, l->pass_bytes, f->n->trust.passes.tab.count,         \
    f->n->trust.passes_refused, f->n->trust.passes.evicted, 0)                                                                 \
  X(ACCOUNTS, 0, "accounts", "what each identity uses", "max_clients retained_count", limits_accounts(l), PLAN_ACCOUNT,        \
    PLAN_TABLE, f->n->trust.accounts.tab.count, f->n->trust.accounts.refused, f->n->trust.accounts.evicted, 0)                 \
  X(REVOKED, 0, "revoked", "lists of revoked passes", "", ACCESS_MAX_REALMS + 1, REVOKED_MAX_BYTES + 128, 0,                   \
    f->n->trust.lists, f->n->trust.lists_refused, 0, 0)                                                                        \
  X(ORIGINS, 1, "origins", "who published and called", "origin_bytes", 0, 0, l->origin_bytes,                                  \
    f->n->sessions.principals.tab.count, f->n->sessions.principals.refused + f->n->sessions.topics.refused,                    \
    f->n->sessions.principals.evicted, 0)                                                                                      \
  X(CLIENTS, 0, "clients", "index of clients", "max_clients", l->max_clients + l->max_operators, 2 * PLAN_SLOT, PLAN_TABLE,    \
    clients_total(&f->n->sessions.clients), f->n->sessions.clients.refused, 0, 0)                                              \
  X(TOPICS, 2, "subscriptions", "subscriptions", "subscription_bytes", l->max_subscriptions, 0, l->subscription_bytes,         \
    f->topics.subscriptions, f->topics.refused, 0, 0)                                                                          \
  X(FANOUT, 1, "fanout", "who is yet to get the message that many get", "max_clients", l->max_clients + l->max_operators,      \
    sizeof(uint64_t), PLAN_FANOUT, f->n->messages.rest ? f->n->messages.rest->count - f->n->messages.rest->at : 0,             \
    f->n->stats.fanouts_whole, 0, 0)                                                                                           \
  X(REPLAYS, 1, "replays", "retained messages on their way", "max_replays", l->max_replays, PLAN_REPLAY, 0,                    \
    f->n->replays.count, f->n->stats.replays_refused, 0, 0)                                                                    \
  X(SERVICES, 2, "services", "services", "max_services", l->max_services, PLAN_SERVICE, PLAN_TABLE, f->services->count,        \
    f->services->refused, 0, f->services->expired)                                                                             \
  X(CALLS, 1, "calls", "pending calls", "max_calls call_bytes", l->max_calls, PLAN_CALL,                                       \
    l->call_bytes + l->max_frame + PLAN_TABLE, calls_count(f->calls), f->calls->refused, 0, f->router->timeouts)               \
  X(DISCOVERY, 2, "discovery", "providers at other nodes", "max_discovered", l->max_discovered, PLAN_DISCOVERED, PLAN_TABLE,   \
    discovery_count(f->discovery), f->discovery->refused, f->discovery->evictions, f->discovery->expiries)                     \
  X(RETAINED, 2, "retained", "retained messages", "retained_count retained_bytes", l->retained_count, PLAN_RETAINED,           \
    l->retained_bytes + (l->retained_disk ? 2 : 1) * (uint64_t)l->max_frame + PLAN_TABLE,                                      \
    retained_count(&f->n->messages.retained), f->n->messages.retained.refused, 0, f->n->messages.retained.expired)             \
  X(DISK, 1, "retained_disk", "what is written of them to disk", "retained_disk", l->retained_disk ? RETAINED_GONE_MOST : 0,   \
    l->retained_disk ? PLAN_GONE : 0, l->retained_disk ? PLAN_BLOCK(PLAN_DISK_JOB) : 0, f->n->messages.log.gone_count, 0, 0,   \
    0)                                                                                                                         \
  X(DEDUP, 2, "dedup", "ids of QoS 1 messages", "dedup_ids", l->dedup_ids, PLAN_DEDUP, PLAN_TABLE,                             \
    dedup_count(&f->n->messages.dedup), 0, f->n->messages.dedup.lru.evicted, 0)                                                \
  X(PEERS, 0, "peers", "records of other nodes", "max_members max_peers", limits_peer_records(l),                              \
    PLAN_BLOCK(sizeof(struct peer)) + PLAN_SLOT, PLAN_SEEDS + PLAN_TABLE, f->n->peers.tab.count, f->n->peers.tab.refused,      \
    f->n->peers.pool.evicted, 0)                                                                                               \
  X(SEALS, 1, "envelope_keys", "keys for envelopes", "", MAX_SEALED, PLAN_BLOCK(sizeof(struct sealed)) + 2 * sizeof(void *),   \
    PLAN_TABLE + PLAN_BLOCK(MAX_FORGOTTEN * sizeof(struct forgotten)), f->n->peers.seals.count, f->n->peers.seals.refused,     \
    f->n->peers.seals.evicted, 0)                                                                                              \
  X(SILENT, 0, "silent", "addresses that did not answer dials", "", SILENT_MAX, PLAN_SILENT, PLAN_TABLE,                       \
    f->n->silent.seen.tab.count, f->n->silent.refused, f->n->silent.seen.evicted, 0)                                           \
  X(MEMBERS, 0, "members", "members of the mesh", "max_members", l->max_members, PLAN_MEMBER, PLAN_GOSSIP,                     \
    f->members.alive + f->members.suspect + f->members.dead, f->members.refused, 0, f->members.deaths)                         \
  X(RECORDS, 2, "records", "records of the DHT", "max_records record_bytes",                                                   \
    l->max_records + l->max_records / 5 + l->max_services, PLAN_RECORD, l->record_bytes + PLAN_STORE, f->dht.records,          \
    f->dht.refused_full, 0, f->dht.expired)                                                                                    \
  X(CONTACTS, 2, "contacts", "the DHT's routing table", "", 256 * (20 + 8), PLAN_CONTACT, PLAN_VERIFIED + PLAN_TABLE,          \
    f->dht.contacts, f->dht.refused_contacts, f->dht.evicted_contacts, 0)                                                      \
  X(LOOKUPS, 1, "lookups", "lookups in the DHT, records of its own", "max_lookups max_services", l->max_lookups, PLAN_LOOKUP,  \
    (uint64_t)l->max_services *PLAN_OWN + PLAN_HOLDERS, f->dht.lookups, 0, 0, f->dht.lookups_failed)                           \
  X(TALLY, 2, "tally", "what is published most, by topic", "", HEAVY_MAX, PLAN_BLOCK(sizeof(struct heavy_entry)) + PLAN_SLOT,  \
    PLAN_TABLE, f->n->tally.topics.tab.count, 0, f->n->tally.topics.replaced, 0)                                               \
  X(DROPS, 2, "drops", "what was lost lately", "", DROPS_MAX, PLAN_BLOCK(sizeof(struct drop)) + PLAN_SLOT, PLAN_TABLE,         \
    f->n->tally.drops.tab.count, 0, f->n->tally.drops.evicted, 0)                                                              \
  X(ASKS, 0, "asks", "operators' questions", "", MAX_ASKS, 176, 0, f->n->asks.count, 0, 0, 0)                                  \
  X(EVENTS, 0, "events", "the last events, for operators", "", RECENT_MOST, PLAN_BLOCK(sizeof(struct recent_event)), 0,        \
    recent_kept(&f->n->recent), 0, f->n->recent.count - recent_kept(&f->n->recent), 0)                                         \
  X(HELD, 1, "held", "frames that wait for a mesh connection", "held_pool", 0, 0, l->held_pool, 0, f->n->peers.held_dropped,   \
    0, 0)                                                                                                                      \
  X(INTEREST, 2, "interest", "what clients of other nodes subscribe to", "interest_bytes", l->max_subscriptions, 0,            \
    l->interest_bytes, f->interest.patterns, f->interest.refused, 0, 0)                                                        \
  X(INFLIGHT, 1, "inflight", "QoS 1 messages between nodes", "max_inflight", l->max_inflight, PLAN_INFLIGHT, PLAN_TABLE,       \
    f->n->spread.inflight.parts, f->n->spread.inflight.refused, 0, f->n->spread.inflight.timeouts)                             \
  X(GETS, 1, "gets", "retained messages asked of other nodes", "max_gets", l->max_gets, PLAN_GET, PLAN_TABLE,                  \
    gets_count(&f->n->spread.gets), 0, f->n->spread.gets.evicted, 0)                                                           \
  X(HISTORY, 0, "history", "what the last hour was like", "", HISTORY_HOUR + HISTORY_MINUTE, 0,                                \
    PLAN_BLOCK(sizeof(struct history)), f->n->history ? HISTORY_HOUR + HISTORY_MINUTE : 0, 0, 0, 0)                            \
  X(ADMIN, 0, "admin", "answers to HTTP and macula status", "admin_bytes", 0, 0, l->admin_bytes, 0, 0, 0, 0)

/* Bytes of send_pool that rows other than mqtt may use now. */
#define SEND_POOL(n) ((n)->rows.mem[ROW_SEND].limit)

enum row {
#define ROW_ENUM(id, ...) ROW_##id,
  NODE_ROWS(ROW_ENUM)
#undef ROW_ENUM
      ROW_COUNT
};

struct plan_row plan_row_of(const struct node_limits *l, enum row row); /* limits without 0 */

/* Limits that have moved from row to row (lend.h); they add up to what the plan says, or less. */
struct lent {
  uint32_t slots, secret; /* clients of MQTT, whose slots QUIC does not need; of these, over TLS */
  size_t borrowed;        /* bytes of send_queues that mqtt has */
};

/* The accounts, and resident memory, which must stay below what they plan. */
struct rows {
  struct mem mem[ROW_COUNT];
  struct mem *account[ROW_COUNT]; /* for figures: mem, or an account of the process */
  struct lent lent;
  bool over;                              /* an account holds more than its lowered limit: see rows_set_limits */
  bool lowered;                           /* a test has lowered a limit by hand: lend_check lets that pass */
  uint64_t unaccounted, unaccounted_peak; /* as it was last measured */
  struct mem_gauge gauge; /* shared by all accounts when give_back is set; keeps resident memory below the plan */
  uint64_t given_back;    /* bytes allocated since idle heap was last given back */
  nanotime short_at;      /* when it may be logged again that entries are refused */
  struct node_process process;
};

struct row_now {
  const char *name;
  uint64_t entries, limit;           /* limit 0: bounded in bytes alone */
  uint64_t bytes, limit_bytes, peak; /* bytes */
  uint64_t refused, evicted, expired;
};
#define ROWS_SHOWN (ROW_COUNT + 1) /* the rows, and one for what is not accounted */
void rows_now(struct node *n, struct row_now ret_rows[ROWS_SHOWN]);
size_t rows_accounted(const struct node *n); /* bytes */
uint64_t rows_rss(const struct node *n);     /* bytes resident; 0: unknown */
void rows_set_limits(struct node *n);        /* of the accounts, from the plan and what is lent */
void rows_watch(struct node *n);             /* resident memory from now on, for the accounts; rows_unwatch before they go */
void rows_unwatch(struct node *n);

#endif
