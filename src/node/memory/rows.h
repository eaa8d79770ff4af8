/* The table of memory: every table, pool and queue of the node is one row, one line of NODE_ROWS.
 *
 * A row is an account (base/mem.h) whose limit is what the row plans: entries at most x octets an entry at worst + octets
 * beside. The plan (plan.h), the accounts' limits, /metrics, status, /api/memory and com.macula.node.memory all come from this
 * list.
 *
 * A new row: 1. a line here; 2. its limits in struct node_limits, node_limits_default and daemon/options.h; 3. its allocations
 * from &n->mem[ROW_...]. tests/sim/test_memory_rows.c measures that octets an entry at worst are not understated. */
#ifndef NODE_ROWS_H
#define NODE_ROWS_H

#include "node/memory/plan.h"

/* X(ID, name, what a person reads, keys that lower it,
 *   entries at most (0: bounded in octets alone), octets an entry at worst, octets beside,   -- of l, struct node_limits
 *   entries now, refused, evicted, expired)                                                  -- of f, struct row_sources */
#define NODE_ROWS(X)                                                                                                           \
  X(NODE, "node", "the node itself", "admin_keys", 1, 16 << 10, 0, 1, 0, 0, 0)                                                 \
  X(SESSIONS, "sessions", "clients' sessions", "max_clients max_half_open", opened(l), sizeof(struct session) + 96, 0,         \
    f->n->session_count, 0, 0, 0)                                                                                              \
  X(QUIC, "connections", "QUIC connections", "max_clients max_half_open connection_pool", connections(l),                      \
    QUIC_CONN_MEMORY + QUIC_CONN_OWN, l->connection_pool + QUIC_SHARED_MEMORY, f->quic.total,                                  \
    f->quic.refused_full + f->quic.refused_half_open, 0, 0)                                                                    \
  X(TLS, "tls", "keys, handshakes and certificates", "max_clients max_half_open", l->max_half_open + links(l), PLAN_HANDSHAKE, \
    connections(l) * PLAN_KEYS + PLAN_TLS_SHARED, f->quic.half_open, 0, 0, 0)                                                  \
  X(SEND, "send_queues", "what waits for clients", "send_pool", 0, 0, l->send_pool, 0, f->n->stats.dropped, 0, 0)              \
  X(RECEIVE, "receive", "unfinished frames", "receive_pool", 0, 0, l->receive_pool, 0, 0, 0, 0)                                \
  X(CLIENTS, "clients", "index of clients", "max_clients", l->max_clients + l->max_operators, PLAN_SLOT, PLAN_TABLE,           \
    clients_total(&f->n->clients), f->n->clients.refused, 0, 0)                                                                \
  X(TOPICS, "subscriptions", "subscriptions", "subscription_bytes", l->max_subscriptions, 0, l->subscription_bytes,            \
    f->topics.subscriptions, f->topics.refused, 0, 0)                                                                          \
  X(REPLAYS, "replays", "retained messages on their way", "max_replays", l->max_replays, PLAN_REPLAY, 0, f->n->replay_count,   \
    f->n->stats.replays_refused, 0, 0)                                                                                         \
  X(SERVICES, "services", "services", "max_services", l->max_services, PLAN_SERVICE, PLAN_TABLE, f->services->count,           \
    f->services->refused, 0, f->services->expired)                                                                             \
  X(CALLS, "calls", "pending calls", "max_calls call_bytes", l->max_calls, PLAN_CALL,                                          \
    l->call_bytes + l->max_frame + PLAN_TABLE, calls_count(f->calls), f->calls->refused, 0, f->router->timeouts)               \
  X(DISCOVERY, "discovery", "providers at other nodes", "max_discovered", l->max_discovered, PLAN_DISCOVERED, PLAN_TABLE,      \
    discovery_count(f->discovery), f->discovery->refused, f->discovery->evictions, f->discovery->expiries)                     \
  X(RETAINED, "retained", "retained messages", "retained_count retained_bytes", l->retained_count, PLAN_RETAINED,              \
    l->retained_bytes + l->max_frame + PLAN_TABLE, retained_count(&f->n->retained), f->n->retained.refused, 0, 0)              \
  X(DEDUP, "dedup", "ids of QoS 1 messages", "dedup_ids", l->dedup_ids, PLAN_DEDUP, PLAN_TABLE, dedup_count(&f->n->dedup), 0,  \
    f->n->dedup.lru.evicted, 0)                                                                                                \
  X(PEERS, "peers", "records of other nodes", "max_members max_peers", peer_records(l), sizeof(struct peer) + PLAN_SLOT + 16,  \
    PLAN_SEEDS + PLAN_TABLE, f->n->peers.tab.count, f->n->peers.tab.refused, f->n->peers.pool.evicted, 0)                      \
  X(MEMBERS, "members", "members of the mesh", "max_members", l->max_members, PLAN_MEMBER, PLAN_GOSSIP,                        \
    f->members.alive + f->members.suspect + f->members.dead, f->members.refused, 0, f->members.deaths)                         \
  X(RECORDS, "records", "records of the DHT", "max_records record_bytes",                                                      \
    l->max_records + l->max_records / 5 + l->max_services, PLAN_RECORD, l->record_bytes + PLAN_STORE, f->dht.records,          \
    f->dht.refused_full, 0, f->dht.expired)                                                                                    \
  X(CONTACTS, "contacts", "the DHT's routing table", "", 256 * (20 + 8), PLAN_CONTACT, PLAN_VERIFIED + PLAN_TABLE,             \
    f->dht.contacts, f->dht.refused_contacts, f->dht.evicted_contacts, 0)                                                      \
  X(LOOKUPS, "lookups", "lookups in the DHT, records of its own", "max_lookups max_services", l->max_lookups, PLAN_LOOKUP,     \
    (uint64_t)l->max_services *PLAN_OWN + PLAN_HOLDERS, f->dht.lookups, 0, 0, f->dht.lookups_failed)                           \
  X(ASKS, "asks", "operators' questions", "", MAX_ASKS, 144, 0, f->n->ask_count, 0, 0, 0)                                      \
  X(HELD, "held", "frames that wait for a mesh connection", "held_pool", 0, 0, l->held_pool, 0, f->n->peers.held_dropped, 0,   \
    0)                                                                                                                         \
  X(INTEREST, "interest", "what clients of other nodes subscribe to", "interest_bytes", l->max_subscriptions, 0,               \
    l->interest_bytes, f->interest.patterns, f->interest.refused, 0, 0)                                                        \
  X(INFLIGHT, "inflight", "QoS 1 messages between nodes", "max_inflight", l->max_inflight, PLAN_INFLIGHT, PLAN_TABLE,          \
    f->n->spread.inflight.parts, f->n->spread.inflight.refused, 0, f->n->spread.inflight.timeouts)                             \
  X(GETS, "gets", "retained messages asked of other nodes", "max_gets", l->max_gets, PLAN_GET, PLAN_TABLE,                     \
    gets_count(&f->n->spread.gets), 0, f->n->spread.gets.evicted, 0)                                                           \
  X(ADMIN, "admin", "answers to HTTP and macula status", "admin_bytes", 0, 0, l->admin_bytes, 0, 0, 0, 0)

enum row {
#define ROW_ENUM(id, ...) ROW_##id,
  NODE_ROWS(ROW_ENUM)
#undef ROW_ENUM
      ROW_COUNT
};

#endif
