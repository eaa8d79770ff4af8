/* macula load: what is known of a run. All of load/ reads it; nothing here waits, sends or prints.
 *
 * One loop (drive/engine.c) drives everything that the load process has on the network: the clients, a hub of src/client with
 * one socket; light nodes, each a struct node with a socket of its own; and the operator's client that watches each node.
 * Scenarios are written one after another, as a person would do them: each runs on a thread of its own that holds the one lock
 * except while it waits (load_wait), so that nothing here is ever touched by two at once and five scenarios can run side by
 * side. */
#ifndef LOAD_RUN_H
#define LOAD_RUN_H

#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <sys/types.h>

#include "base/addr.h"
#include "base/list.h"
#include "base/sanitized.h"
#include "base/slice.h"
#include "base/time.h"
#include "macula/macula.h"

#define LOAD_JUDGES_MEMORY (!ADDRESS_SANITIZED) /* which keeps what was freed: resident memory tells nothing */

#define LOAD_SLOWER (ADDRESS_SANITIZED ? 4 : 1) /* times as long takes each turn of a node, and so its idle timeout */

#define LOAD_MAX_NODES 64

struct histogram;
struct load;

/* ---- figures of a node ------------------------------------------------------------------------------------------------------
 * X(ID, name, where in the answer to com.macula.node.status: a path, or "row:NAME:KEY" of its table of memory) */
#define LOAD_FIGURES(X)                                                                                                        \
  X(RSS, "resident bytes", "memory.rss_bytes")                                                                                 \
  X(ACCOUNTED, "accounted bytes", "memory.accounted_bytes")                                                                    \
  X(PLAN, "plan bytes", "memory.plan_bytes")                                                                                   \
  X(CLIENTS, "clients", "clients.count")                                                                                       \
  X(CLIENTS_MAX, "clients at most", "clients.limit")                                                                           \
  X(MQTT, "sessions of MQTT", "row:mqtt:entries")                                                                              \
  X(MQTT_BYTES, "bytes of clients of MQTT", "row:mqtt:bytes")                                                                  \
  X(SUBS, "subscriptions", "subscriptions.count")                                                                              \
  X(SERVICES, "services", "services.count")                                                                                    \
  X(STREAMS, "streams", "streams.count")                                                                                       \
  X(CALLS, "pending calls", "pending_calls.count")                                                                             \
  X(PEERS, "mesh connections", "peers.count")                                                                                  \
  X(PEERS_MAX, "mesh connections at most", "peers.limit")                                                                      \
  X(DEATHS, "members declared dead", "row:members:expired")                                                                    \
  X(EVICTED, "mesh connections evicted", "row:peers:evicted")                                                                  \
  X(CONNECTIONS, "QUIC connections", "row:connections:entries")                                                                \
  X(CLIENTS_REFUSED, "clients refused", "row:clients:refused")                                                                 \
  X(SERVICES_REFUSED, "services refused", "row:services:refused")                                                              \
  X(SERVICE_BYTES, "bytes of services", "row:services:bytes")                                                                  \
  X(CALL_BYTES, "bytes of calls", "row:calls:bytes")                                                                           \
  X(RECORDS, "records of the DHT", "row:records:entries")                                                                      \
  X(ASKS, "operators' questions", "row:asks:entries")                                                                          \
  X(LOOKUPS, "lookups in the DHT", "row:lookups:entries")                                                                      \
  X(DELIVERED, "messages delivered", "messages.delivered")                                                                     \
  X(DROPPED, "messages dropped", "messages.dropped")                                                                           \
  X(TURN_US, "microseconds computed in the longest turn", "turns.longest_us")                                                  \
  X(SLOW, "slow consumers", "messages.slow_consumers")                                                                         \
  X(ANSWER_US, "microseconds to answer", "")

enum load_figure {
#define LOAD_FIGURE_ENUM(id, ...) FIG_##id,
  LOAD_FIGURES(LOAD_FIGURE_ENUM)
#undef LOAD_FIGURE_ENUM
      FIG_COUNT
};
const char *load_figure_name(enum load_figure f);

struct load_sample {
  float at; /* seconds since the start */
  uint64_t v[FIG_COUNT];
};

/* ---- nodes ------------------------------------------------------------------------------------------------------------------
 */
struct load_node {
  struct load *l;
  char name[16]; /* "n1" */
  char role[64]; /* what it is there for, in a few words */
  pid_t pid;     /* 0: of --nodes, or ended */
  bool given;    /* of --nodes */
  bool lost;     /* died, or answers no more */
  char why[768]; /* then: when, how, and what was seen last */
  struct addr addr;
  struct addr mqtt; /* of its MQTT over TCP, if it was started with one */
  struct id id;
  char text[360];        /* macula://ID@HOST:PORT */
  char folder[PATH_MAX]; /* its state and log; "": given */
  struct io_udp *udp;    /* of its other clients: what fills it hides no answer to op */
  struct client *op;     /* the operator's client */
  bool op_in, asked;
  nanotime op_seen, asked_at, next_ask;
  uint64_t silent; /* ns: the longest time between two answers to op */
  double silent_at;
  uint64_t samples_taken;
  void (*on_sample)(void *ctx, const struct load_node *n); /* a scenario's; NULL: none */
  void *sample_ctx;
  bool has_sample;
  uint64_t now[FIG_COUNT], most[FIG_COUNT];
  json_t *memory;      /* its table of memory in the last sample */
  char turn_cause[32]; /* of its longest turn */
  uint64_t rss_peak;   /* of all samples, or more: load_watch_peak */
  uint64_t rss_start;  /* of the first sample, or since load_node_mark */
  struct load_sample *series;
  size_t series_count, series_skip, series_skipped;
};

/* ---- the run ----------------------------------------------------------------------------------------------------------------
 */
struct load_row { /* one promise */
  char scenario[16], what[160], expected[96], seen[192];
  bool pass;
};

struct load_times { /* of what ended in a second or more */
  float at;         /* seconds since the start, at its end */
  float p50_ms, p99_ms;
};

struct load_latency {
  char scenario[16], what[64];
  struct histogram *times;
  unsigned most_ms;         /* its p99, judged with --strict */
  struct histogram *before; /* as it was at the last point of the series */
  struct load_times *series;
  size_t series_count;
  nanotime every, next;
};

struct load_event { /* a line across the charts */
  float at;         /* seconds since the start */
  char what[48];
};

struct load_options {
  const char *nodes, *scale, *report, *partition, *child;
  bool strict;
  uint64_t duration; /* ms; 0: the scenario's own */
  uint64_t cycles;   /* of streams; 0: its own */
  uint64_t patience; /* seconds; 0: the usual */
};

struct load {
  /* what is asked for */
  struct cli *cli;
  struct load_options o;
  double scale;
  unsigned idle_s;   /* idle timeout of the nodes, but for LOAD_SLOWER */
  unsigned patience; /* seconds in which comes what takes moments on an idle machine: counts decide, and not time */
  const char *scenario;
  char command[4096]; /* as it was typed */
  struct quic_identity *identity;
  char self[PATH_MAX], maculad[PATH_MAX], folder[PATH_MAX]; /* folder: temporary */
  int signal_fd;
  /* how it goes */
  pthread_mutex_t lock;
  bool stopping, interrupted;
  bool failed;              /* something could not be done: no promise is broken, and the run is no pass */
  nanotime started, turned; /* turned: its loop, last */
  uint64_t still;           /* ns: the longest time between two turns */
  double still_at;          /* seconds since the start, at its end */
  uint64_t tasks_ended;
  struct load_node *nodes[LOAD_MAX_NODES];
  size_t node_count;
  uint16_t next_port;
  bool said_port;
  struct load_engine *engine; /* drive/engine.h */
  struct load_relays *relays; /* drive/relay.h; NULL: none */
  struct list children;       /* drive/child.c */
  struct load_mesh *mesh;     /* scenarios/mesh.h; NULL: one scenario alone */
  /* what it has shown */
  struct load_row *rows;
  size_t row_count, row_cap, failures;
  struct load_latency latencies[32];
  size_t latency_count;
  struct load_event events[16];
  size_t event_count;
  char notes[16][256]; /* for people: what was scaled down and why */
  size_t note_count;
};

double load_seconds(const struct load *l); /* since the start */
uint64_t load_scaled(const struct load *l, uint64_t n, uint64_t least);
int load_node_log(const struct load_node *n); /* opened for reading; -1: it has none */

#endif
