/* macula load: what its files share.
 *
 * One loop (engine.c) drives everything that the load process has on the network: the clients, a hub of src/client with
 * one socket; light nodes, each a struct node with a socket of its own; and the operator's client that watches each node.
 * Scenarios are written one after another, as a person would do them: each runs on a thread of its own that holds the one lock
 * except while it waits (load_wait), so that nothing here is ever touched by two at once and five scenarios can run side by
 * side. */
#ifndef LOAD_RUN_H
#define LOAD_RUN_H

#include <limits.h>
#include <sys/types.h>

#include "base/list.h"
#include "base/sanitized.h"
#include "cli/bench.h"
#include "cli/cli.h"
#include "client/client.h"

#define LOAD_JUDGES_MEMORY (!ADDRESS_SANITIZED) /* which keeps what was freed: resident memory tells nothing */

#define LOAD_MAX_NODES 64
#define LOAD_PORT 5001
#define LOAD_FILES 256 /* open files that any scenario needs */
#define LOAD_IDLE_S 3  /* of nodes under load; more when so many clients would ping all day: load.idle_s */

struct load;

/* ---- figures of a node ------------------------------------------------------------------------------------------------------
 * X(ID, name, where in the answer to com.macula.node.status: a path, or "row:NAME:KEY" of its table of memory) */
#define LOAD_FIGURES(X)                                                                                                        \
  X(RSS, "resident bytes", "memory.rss_bytes")                                                                                 \
  X(ACCOUNTED, "accounted bytes", "memory.accounted_bytes")                                                                    \
  X(PLAN, "plan bytes", "memory.plan_bytes")                                                                                   \
  X(CLIENTS, "clients", "clients.count")                                                                                       \
  X(CLIENTS_MAX, "clients at most", "clients.limit")                                                                           \
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
  pid_t pid;     /* 0: of --nodes, or ended */
  bool given;    /* of --nodes */
  bool lost;     /* died, or answers no more */
  char why[768]; /* then: when, how, and what was seen last */
  struct addr addr;
  struct id id;
  char text[360];        /* macula://ID@HOST:PORT */
  char folder[PATH_MAX]; /* its state and log; "": given */
  struct io_udp *udp;    /* of its other clients: what fills it hides no answer to op */
  macula_client *op;     /* the operator's client */
  bool op_in, asked;
  nanotime op_seen, asked_at, next_ask;
  uint64_t silent; /* ns: the longest time between two answers to op */
  double silent_at;
  uint64_t samples_taken;
  void (*on_sample)(void *ctx, const struct load_node *n); /* a scenario's; NULL: none */
  void *sample_ctx;
  bool has_sample;
  uint64_t now[FIG_COUNT], most[FIG_COUNT];
  json_t *memory;     /* its table of memory in the last sample */
  uint64_t rss_peak;  /* of all samples, or more: load_watch_peak */
  uint64_t rss_start; /* of the first sample, or since load_node_mark */
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
};

struct load_task { /* a scenario that runs */
  struct load *l;
  const char *name;
  int (*run)(struct load_task *t);
  pthread_t thread;
  bool started, ended;
  int code; /* what run returned */
  char phase[96];
  const uint64_t *done; /* progress; NULL: none */
  uint64_t total;
  struct load_node *node; /* whose figures the progress line shows; NULL: the first */
};

struct load_mesh { /* of load all: which node is whose, and how far the others are */
  struct load_node *clients, *services, *streams, *callers;
  struct load_relays *relays;
  bool soak;
  bool parts;                                /* there will be a partition */
  uint64_t base[4][FIG_COUNT], rss_start[4]; /* base: what they held before the run */
  bool providers_ready;                      /* of callers: from now on what nodes hold is due to their scenario */
  bool healed;                               /* the partition is over */
  uint64_t others;                           /* tasks that must have ended before providers leave */
};

struct load {
  struct load_mesh *mesh; /* NULL: one scenario alone */
  uint64_t tasks_ended;
  struct cli *cli;
  struct load_options o;
  double scale;
  unsigned idle_s; /* idle timeout of the nodes */
  const char *scenario;
  char command[4096]; /* as it was typed */
  struct quic_identity *identity;
  char self[PATH_MAX], maculad[PATH_MAX], folder[PATH_MAX]; /* folder: temporary */
  pthread_mutex_t lock;
  struct io_loop *io;
  struct mem mem;
  struct log log;
  struct hub *hub;
  struct io_udp *udp;        /* the operators' clients, one a node */
  struct io_udp *dials_from; /* while a client is dialled */
  struct list light;         /* struct light */
  struct list touched;       /* light nodes with something to send */
  struct light **by_port;
  struct heap *light_due;
  struct list waits;
  bool stopping, interrupted;
  bool failed;                           /* something could not be done: no promise is broken, and the run is no pass */
  nanotime started, progress_at, turned; /* turned: its loop, last */
  uint64_t still;                        /* ns: the longest time between two turns */
  double still_at;                       /* seconds since the start, at its end */
  int signal_fd;
  struct load_node *nodes[LOAD_MAX_NODES];
  size_t node_count;
  uint16_t next_port;
  bool said_port;
  struct load_row *rows;
  size_t row_count, row_cap, failures;
  struct load_latency latencies[32];
  size_t latency_count;
  struct load_event events[16];
  size_t event_count;
  char notes[16][256]; /* for people: what was scaled down and why */
  size_t note_count;
  struct list children; /* of child.c */
};

/* ---- engine (engine.c) -------------------------------------------------------------------------------------------------
 */
int load_engine_new(struct load *l);
void load_engine_free(struct load *l);
int load_socket(struct load *l, struct io_udp **ret_udp, char ret_why[256]); /* of the loop, which closes it */
/* Runs the tasks until all have ended; on SIGINT, SIGTERM or a node's death what waits ends with false. */
void load_engine_run(struct load *l, struct load_task *tasks, size_t count);
/* Of a task: lets the loop go on until ready(ctx), or the time is over, or the run stops (both false). ready is called with the
 * lock held, often. */
bool load_wait(struct load_task *t, bool (*ready)(void *ctx), void *ctx, double seconds);
bool load_sleep(struct load_task *t, double seconds);
bool load_reach(struct load_task *t, const uint64_t *count, uint64_t at_least, double seconds);
/* A figure in samples taken from now on. */
bool load_figure_is(struct load_task *t, struct load_node *n, enum load_figure f, uint64_t value, double seconds);
bool load_figure_below(struct load_task *t, struct load_node *n, enum load_figure f, uint64_t most, double seconds);
bool load_fresh(struct load_task *t, struct load_node *n); /* one sample that was asked for from now on */
/* Runs fn on the main thread: processes that are to die with this one must be made there. */
int load_on_main(struct load_task *t, int (*fn)(void *ctx), void *ctx);
void load_wake(struct load *l); /* after work for the hub from a task */
double load_seconds(const struct load *l);
void load_phase(struct load_task *t, const uint64_t *done, uint64_t total, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
uint64_t load_scaled(const struct load *l, uint64_t n, uint64_t least);

/* ---- nodes (nodes.c) ---------------------------------------------------------------------------------------------------
 */
/* Starts a maculad with these arguments (NULL at the end) beside the usual ones; its error is printed. Waits until it serves.
 */
int load_node_start(struct load_task *t, const char *const *args, struct load_node **ret_node);
/* With an address for others. */
struct load_start {
  const char *const *args;
  const char *advertise;
};
int load_node_start_with(struct load_task *t, const struct load_start *how, struct load_node **ret_node);
/* Seconds in which it notices at the latest that a client is gone: a given one's idle timeout is its own. */
unsigned load_idle_s(const struct load_node *n);
/* The nodes of --nodes; prints its error, returns an exit code. */
int load_nodes_given(struct load *l);
/* The first given node, or one started with these arguments. */
int load_node_take(struct load_task *t, const char *const *args, struct load_node **ret_node);
void load_node_stop(struct load_node *n);     /* one that was started: ended, its log kept for the report */
int load_node_log(const struct load_node *n); /* opened for reading; -1: it has none */
void load_nodes_look(struct load *l);         /* which have died */
void load_nodes_end(struct load *l);
/* UDP ports on 127.0.0.1 from LOAD_PORT on that nobody has; 0: there are none. */
uint16_t load_port(struct load *l);
/* File descriptors: raises the soft limit; false (said on stderr) if even the hard one is too low. */
bool load_need_files(uint64_t files);

/* ---- watching (watch.c) ------------------------------------------------------------------------------------------------
 */
int load_watch_start(struct load_node *n); /* says what failed; an exit code */
void load_watch_end(struct load_node *n);
void load_watch_step(struct load *l, nanotime now);
void load_watch_peak(struct load_node *n); /* of its resident memory, as the kernel knows it also between samples */
void load_node_mark(struct load_node *n);  /* memory and the most of all figures count from here */
/* Calls a procedure at a node by its operator's client and waits; NULL if there was no answer. *ret_err: why. */
json_t *load_ask(struct load_task *t, struct load_node *n, const char *procedure, json_t *args, int *ret_err);

/* ---- many clients (crowd.c) --------------------------------------------------------------------------------------------
 */
struct load_client {
  struct load_crowd *crowd;
  macula_client *c;
  bool in, was_in, leaving;
  int err; /* the last: of a refusal or a loss */
  nanotime asked;
  uint64_t got, served, cancelled, pending, answered, failed;
  uint64_t replies; /* for the scenario */
  void *user;
};

struct load_crowd {
  struct load *l;
  struct load_node *node;
  struct load_client *v;
  size_t count, next, end;
  uint64_t in, was_in, refused, lost, left, ended; /* refused: max_clients_reached; lost: anything else, unasked */
  uint64_t confirmed;                              /* subscriptions and services */
  uint64_t got, served, cancelled, answered, failed;
  uint64_t taken, not_taken; /* messages that the operator published to all, as the node said */
  uint64_t other_err;        /* the last that was neither */
  bool reconnect;
  struct quic_identity *identity;                                     /* NULL: the run's */
  void (*on_request)(struct load_client *c, const macula_request *r); /* NULL: answered at once with its arguments */
  void *user;
  struct histogram *connect_times, *call_times;
};
int load_crowd_new(struct load *l, struct load_node *n, size_t count, struct load_crowd **ret_crowd);
/* Connects those from `from` on, `at_once` attempts at a time; returns at once. */
void load_crowd_connect(struct load_crowd *c, size_t from, size_t count, size_t at_once);
bool load_crowd_decided(void *crowd); /* for load_wait: all that were asked for are in or refused or lost */
void load_client_subscribe(struct load_client *c, const char *pattern);
void load_client_serve(struct load_client *c, const char *procedure, uint64_t ttl_ms);
/* Counted in answered or failed of client and crowd. */
int load_client_call(struct load_client *c, const char *procedure, const char *args, uint64_t timeout_ms);
void load_client_leave(struct load_client *c); /* says goodbye */
void load_crowd_leave(struct load_crowd *c, size_t from, size_t count);
/* Ends what is left, without a word (but to a given node), and frees it when the hub has forgotten the clients. */
void load_crowd_free(struct load_task *t, struct load_crowd *c);

/* One cycle of clients that come, serve and leave: what a node keeps for long after its first load is there then. They stay
 * until so many tasks have ended. */
int load_warm(struct load_task *t, struct load_node *n, size_t clients, size_t services, uint64_t until_ended);

/* ---- what no well-behaved client does (abuse.c) ------------------------------------------------------------------------
 */
void load_abuse_reset(struct load_client *c);                     /* resets the stream of CONNECT */
void load_abuse_vanish(struct load_client *c);                    /* its connection is forgotten, and it connects anew */
void load_abuse_stop_renewing(struct load_client *c);             /* its services are not renewed any more */
int load_abuse_open_streams(struct load_client *c, size_t count); /* with half a frame on each; how many it got */

/* ---- latencies (latency.c) ---------------------------------------------------------------------------------------------
 */
/* A histogram that the report shows; most_ms: of its 99th percentile, judged with --strict alone. */
struct histogram *load_latency(struct load *l, const char *scenario, const char *what, unsigned most_ms);
/* What ended in the last second is a point of its line; all: whatever there is. */
void load_latency_step(struct load *l, nanotime now, bool all);
void load_rows_latency(struct load *l);
json_t *load_latencies_json(const struct load *l);
void load_latencies_free(struct load *l);

/* ---- report (report.c, html.c) ------------------------------------------------------------------------------------
 */
void load_row(struct load *l, const char *scenario, bool pass, const char *what, const char *expected, const char *seen, ...)
    __attribute__((format(printf, 6, 7)));
void load_row_is(struct load *l, const char *scenario, const char *what, uint64_t expected, uint64_t seen);
void load_row_most(struct load *l, const char *scenario, const char *what, uint64_t most, uint64_t seen);
/* What resident memory must come back to: the start + 10 % or 8 MiB, whichever is larger. */
uint64_t load_memory_allowed(uint64_t start);
/* Resident memory: below the plan at its peak, and back at the start. Waits up to 60 s for it. */
void load_rows_memory(struct load_task *t, struct load_node *n, bool returns);
void load_event(struct load *l, const char *what);
void load_note(struct load *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
json_t *load_report_json(struct load *l);
void load_report_print(struct load *l);
/* Makes the folder; it must not hold anything yet. Prints its error, returns an exit code. */
int load_report_folder(const char *dir);
int load_report_write(struct load *l, json_t *report);
int load_html_write(struct load *l, json_t *report, const char *path, char *ret_why /* 256 */);

/* ---- who stood still (still.c) -----------------------------------------------------------------------------------------
 */
void load_still_begin(struct load *l); /* before the first turn of the loop */
void load_still_turn(struct load *l, nanotime now);
void load_still_answered(struct load_node *n, nanotime now); /* before op_seen is renewed */
void load_still_note(struct load *l);                        /* when it was so long that others may have held them for dead */

/* ---- scenarios --------------------------------------------------------------------------------------------------------------
 */
int load_pool(struct load_task *t);
bool load_pool_fits(const struct load *l); /* files and ports; if not, its error is printed and nothing else should begin */
int load_clients(struct load_task *t);
int load_services(struct load_task *t);
int load_streams(struct load_task *t);
int load_callers(struct load_task *t);
/* Both are their own engine's runs. */
int load_all(struct load *l);
int load_soak(struct load *l);
int load_mesh_start(struct load_task *t); /* the four nodes of l->mesh, behind its relays */
int load_mesh_warm(struct load *l);       /* one cycle, after which memory counts */
int load_mesh_rest(struct load_task *t);  /* nothing is left at them, and memory returns */
bool load_mesh_is_ready(void *mesh);
/* relay.c: a thread that carries datagrams between nodes, which know each other by its ports only. */
struct load_relays;
int load_relays_new(struct load_relays **ret_relays);
void load_relays_free(struct load_relays *r);
/* A port for others to reach a node, which is aimed at when the node's own is known; says what failed, an exit code. */
int load_relay_add(struct load_relays *r, uint16_t *ret_port);
void load_relay_aim(struct load_relays *r, size_t relay, uint16_t target);
/* Nodes of the first `first` relays and the others hear nothing of each other while it is on. */
void load_relays_cut(struct load_relays *r, size_t first, bool on);
uint64_t load_relays_dropped(struct load_relays *r);
void load_relays_look(struct load *l); /* ends the run, and says why, when a relay cannot carry what a node sends */
/* child.c: a process of clients that is to be killed. */
struct load_child;
int load_child_start(struct load_task *t, struct load_node *n, size_t clients, const char *prefix, size_t streams,
                     struct load_child **ret_child);
bool load_child_ready(void *child);
int load_child_error(const struct load_child *child);
void load_child_stop(struct load_child *child); /* SIGSTOP: its clients read no more */
void load_child_kill(struct load_child *child); /* SIGKILL; frees it */
int load_child_main(struct load *l);
void load_children_end(struct load *l);

#endif
