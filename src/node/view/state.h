/* What the node keeps of questions of operators. */
#ifndef NODE_VIEW_STATE_H
#define NODE_VIEW_STATE_H

#include "base/latency.h"
#include "base/list.h"
#include "bounded/bucket.h"
#include "node/memory/rows.h"

#define LIST_PAGE 64u /* most rows of a list */

/* What a question costs, in rows of a list; one takes some 10 us to make. Whoever asks draws on a bucket of such rows, the last
 * answer on credit. */
#define COST_QUESTION 1u
#define COST_DHT 10u    /* a lookup */
#define COST_TRACE 100u /* matches of a topic */
#define COST_FAR 4u     /* passed on to another node */
#define COST_BYTES 256u /* bytes of an answer for the price of a row */
#define ECHO_MAX 65536u /* bytes that are echoed */

enum asker_kind { ASKER_CLIENT, ASKER_OPERATOR, ASKER_NODE, ASKER_KINDS };

struct asks {
  struct bucket cost[ASKER_KINDS]; /* of all that each kind asks */
  uint64_t refused;                /* questions, for their cost */
  struct list all;                 /* ask.all, the one whose time ends first in front */
  uint32_t count;
  uint64_t asked;
  uint8_t mark[8];        /* ids of calls to other nodes begin so, and end in the question's number; all zeros: none was made */
  uint64_t far, far_mute; /* questions passed on to other nodes; those that they did not answer */
  uint64_t for_nodes;     /* questions of other nodes that were answered */
};

/* What the last hour was like: X(ID, name, its value of f, struct history_sources). Rates are what was counted, by the second;
 * of levels the last minute shows what they were, and the hour the most that they were. */
#define HISTORY_RATES(X)                                                                                                       \
  X(IN, "published", f->n->stats.published)                                                                                    \
  X(OUT, "delivered", f->n->stats.delivered)                                                                                   \
  X(LOST, "dropped", f->n->stats.dropped + f->n->mqtt_now.lost)                                                                \
  X(MESH_IN, "mesh_received", f->n->spread.received)                                                                           \
  X(MESH_OUT, "mesh_sent", f->n->spread.sent)                                                                                  \
  X(CALLS, "calls", f->router->calls)                                                                                          \
  X(CALLS_FAILED, "calls_failed",                                                                                              \
    f->router->handler_errors + f->router->no_such_procedure + f->router->all_providers_failed +                               \
        f->router->max_attempts_exceeded + f->router->timeouts + f->router->too_many_calls + f->router->lost +                 \
        f->router->unavailable + f->router->lookups_failed + f->router->lookups_refused)                                       \
  X(ADMITTED, "admitted", f->n->stats.admitted)                                                                                \
  X(SLOW, "slow_consumers", f->n->stats.slow_consumers)                                                                        \
  X(REFUSED, "refused", f->refused + f->denied + f->hasty + f->n->trust.accounts.over)                                         \
  X(FULL, "refused_full",                                                                                                      \
    f->quic.refused_full + f->quic.refused_half_open + f->n->mqtt_now.refused +                                                \
        f->n->stats.refused[-MACULA_MAX_CLIENTS_REACHED])                                                                      \
  X(FORBIDDEN, "refused_access", f->denied)                                                                                    \
  X(RATE, "refused_rate", f->hasty)                                                                                            \
  X(QUOTA, "refused_quota", f->n->trust.accounts.over)                                                                         \
  X(MEMORY, "refused_memory", f->no_memory)
#define HISTORY_LEVELS(X)                                                                                                      \
  X(CLIENTS, "clients", clients_total(&f->n->sessions.clients))                                                                \
  X(QUIC, "clients_quic", f->native)                                                                                           \
  X(MQTT, "clients_mqtt", f->n->mqtt_now.by_door[MQTT_PLAIN])                                                                  \
  X(MQTTS, "clients_mqtts", f->n->mqtt_now.by_door[MQTT_SECRET])                                                               \
  X(WS, "clients_ws", f->n->mqtt_now.by_door[MQTT_WEB])                                                                        \
  X(WSS, "clients_wss", f->n->mqtt_now.by_door[MQTT_WEB_SECRET])                                                               \
  X(HTTP, "clients_http", f->n->http_now.clients)                                                                              \
  X(OFFLINE, "clients_mqtt_offline", f->n->mqtt_now.offline)                                                                   \
  X(CONNECTIONS, "connections", f->quic.conns + f->n->mqtt_now.connections)                                                    \
  X(LINKS, "mesh_links", pool_count(&f->n->peers.pool))                                                                        \
  X(SUBSCRIPTIONS, "subscriptions", f->topics.subscriptions)                                                                   \
  X(SERVICES, "services", router_registered(f->n->rpc.router))                                                                 \
  X(RETAINED, "retained", retained_count(&f->n->messages.retained))                                                            \
  X(PENDING, "pending_calls", calls_count(router_calls(f->n->rpc.router)))                                                     \
  X(TURN, "turn_longest_us", f->turn_ns / NS_US)                                                                               \
  X(P50, "call_p50_us", f->p50)                                                                                                \
  X(P99, "call_p99_us", f->p99)                                                                                                \
  X(RSS, "rss_bytes", rows_rss(f->n))                                                                                          \
  X(ACCOUNTED, "accounted_bytes", rows_accounted(f->n))

enum history_series {
#define HISTORY_ENUM(id, ...) HISTORY_##id,
  HISTORY_RATES(HISTORY_ENUM) HISTORY_LEVELS(HISTORY_ENUM)
#undef HISTORY_ENUM
      HISTORY_ROWS, /* bytes of each row of memory follow */
  HISTORY_SERIES = HISTORY_ROWS + ROW_COUNT
};
#define HISTORY_RATE_COUNT HISTORY_CLIENTS
#define HISTORY_NONE UINT32_MAX

#define HISTORY_MINUTE 60u
#define HISTORY_HOUR 360u
#define HISTORY_SPANS 2 /* samples of 1 s and of 10 s */

struct history_sample {
  nanotime at;
  uint32_t ms;                /* since the one before */
  uint32_t v[HISTORY_SERIES]; /* of rates what was counted in these; of bytes KiB */
};

struct history {
  struct history_sample minute[HISTORY_MINUTE], hour[HISTORY_HOUR];
  struct history_span {
    uint64_t taken; /* samples; the last one lies at (taken - 1) modulo their number */
    nanotime at;    /* when what follows was looked at */
    uint64_t counted[HISTORY_RATE_COUNT];
    struct latency took;
    uint32_t most[HISTORY_SERIES]; /* of levels, since then */
  } spans[HISTORY_SPANS];
};
/* The last events, as the log told them. */
#define RECENT_MOST 256u /* events; the oldest makes room */
#define RECENT_TEXT 364u /* bytes of an event's name and fields, NULs included; the rest is cut off */

struct recent_event {
  uint64_t ms; /* Unix */
  uint32_t number;
  uint8_t level, name_len;
  char text[RECENT_TEXT + 2]; /* name NUL fields NUL */
};
struct recent {
  struct recent_event *v; /* RECENT_MOST of them, a ring, allocated with the first; NULL: none */
  uint32_t count;         /* events so far */
};

static inline uint32_t recent_kept(const struct recent *r) { return r->count < RECENT_MOST ? r->count : RECENT_MOST; }

#endif
