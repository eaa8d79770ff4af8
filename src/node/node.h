/* The node: composes quic, wire, tables, pubsub and rpc, and routes between them. No sockets, no clock: a driver (src/io or the
 * simulator) gives it datagrams and time through node_endpoint. */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include "access/access.h"
#include "base/endpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/turns.h"
#include "node/limits.h"
#include "quic/identity.h"
#include "trust/pass.h"
#include "trust/password.h"
#include "trust/revoked.h"

struct node;
struct quic;
struct retained_head;
struct retained_log;
struct retained_record;

/* What the node asks of the process that it runs in, on the node's thread. Each may be NULL. */
struct node_process {
  /* Whether this turn has had its share of the thread's time: what can wait goes on in the next one. NULL: it never has. */
  bool (*spent)(void *ctx);
  void (*did)(void *ctx, const char *what); /* what was done since it was last called, for the cause of a long turn */
  const struct turns *(*turns)(void *ctx);  /* how long turns took so far */
  uint64_t (*longest_turn)(void *ctx);      /* ns, of those since it was last asked */
  uint64_t (*rss_bytes)(void *ctx);         /* resident memory; NULL: 0 is shown */
  uint64_t (*heap_bytes)(void *ctx);        /* heap in use; 0: it is not measured now, as that may take long */
  /* Gives idle heap back to the system. With it and rss_bytes the node watches resident memory, and refuses what would bring it
   * above the plan though no row is full; NULL: it does not. */
  void (*give_back)(void *ctx);
  /* Whether the password is that of the hash (trust/password.h), which takes tens of milliseconds. 0: *ret_known says that it
   * is known to be; else node_password_checked comes with this key. MACULA_RATE_LIMITED: too many are being checked, or it
   * would have to wait, and may not; MACULA_EINVAL, MACULA_ENOMEM. NULL: nobody is let in by a password. */
  int (*password)(void *ctx, struct slice hash, struct slice password, nanotime now, bool may_wait,
                  uint8_t ret_key[PASSWORD_KEY_LEN], bool *ret_known);
  /* An operator asks for a link that logs in at the page: ret_json, for node_text_free, says where. user, grant: his, n 0:
   * none; pass: by which he was let in, NULL: by none. MACULA_ENOTFOUND: there is no page; MACULA_ENOMEM. NULL: there is none.
   */
  int (*login)(void *ctx, struct slice user, struct slice grant, const struct pass_kept *pass, nanotime now, char **ret_json);
  void *ctx; /* of all */
};

struct node_config {
  struct rng rng;
  const struct log *log;
  struct quic_identity *identity;
  const char *ca_pem;       /* clients' certificates must be issued by it; NULL: any identity */
  const char *name, *realm; /* copied */
  struct access *access; /* who may do what; a reference is taken. NULL: everybody everything, and who connects over loopback is
                            an operator */
  struct slice pass;     /* the node's own pass, which it shows to clients and nodes; copied. n 0: none */
  bool allow_unverified; /* clients without certificate, base-only ones included; without access only */
  uint64_t idle_timeout, keep_alive; /* ns */
  uint64_t unix_base_ms;             /* wall clock in milliseconds at time 0 of the monotonic clock */
  struct node_limits limits;
  struct mem_fail *fail; /* tests: passed to every account */
  struct node_process process;
  /* Accounts that the process keeps for libraries with allocation hooks, or NULL. Their limits are set by the node. */
  struct mem *tls_mem, *json_mem, *access_mem; /* access_mem: of access files (access_parse) */
  struct mem *passwords_mem;                   /* of checks of passwords */
  struct addr advertise;  /* where other nodes can dial this one; sa_family 0: the socket's address, or what peers see */
  uint64_t last_seq;      /* largest sequence of DHT records that this identity used: node_last_seq of an earlier run */
  bool mqtt_drops_oldest; /* where the queue of an MQTT session is full the oldest messages go; else the newest is refused */
  bool no_upkeep;         /* mesh connections only as calls and messages need them: for tests of the pool */
  bool hidden;            /* nobody can dial it (NAT): it stays connected to a gateway */
};

#ifdef MACULA_TEST_UNBOUNDED
/* Guarantees that are broken on purpose, as UNBOUNDED_ bits, in a build that shows that `macula load` notices it. */
enum { UNBOUNDED_POOL = 1, UNBOUNDED_CLIENTS = 2, UNBOUNDED_SERVICES = 4, UNBOUNDED_STREAMS = 8, UNBOUNDED_CALLS = 16 };
void node_unbound(struct node *n, unsigned which);
#endif

/* MACULA_INVALID_REALM: ret_why says which rule it breaks. */
#define NODE_WHY_LEN 128
int node_check_realm(const char *realm, char ret_why[NODE_WHY_LEN]);
/* Whether the identity can be a node's: its key is Ed25519 or P-256, so that what it signs of itself fits into a datagram.
 * MACULA_CERTIFICATE_INVALID, and a text that says how to make another. */
int node_check_identity(const struct quic_identity *identity, const char **ret_why);
int node_new(const struct node_config *cfg, nanotime now, struct node **ret_node);
void node_free(struct node *n);

/* For the driver, as long as the node lives. */
struct endpoint node_endpoint(struct node *n);
/* Something was left for the next turn, which is to come at once. */
bool node_busy(const struct node *n);
struct quic *node_quic(struct node *n); /* quic_set_max_segments and the like */

/* Opens the door for clients of MQTT: whoever carries streams (base/stream.h) has this as their owner. Streams end before
 * node_free. node_mqtt_mem: the account for what they take. MACULA_ENOMEM. */
struct stream_owner;
int node_mqtt_open(struct node *n, bool web, struct stream_owner *ret_owner); /* web: its streams carry WebSocket */
/* What mqtt/websocket.h calls hosts and origins: lists with commas; NULL: empty. MACULA_ENOMEM. */
int node_mqtt_set_web(struct node *n, const char *hosts, const char *origins);
/* For who carries streams over TLS. may_come: whether a handshake may begin. tls_refused: one has failed; why NULL: the peer
 * left before it said anything. What is refused is counted and logged. */
bool node_mqtt_may_come(struct node *n, const struct addr *remote, nanotime now);
void node_mqtt_tls_refused(struct node *n, const struct addr *remote, const char *why, nanotime now);
struct mem *node_mqtt_mem(struct node *n);

/* The addresses of its sockets, at most NODE_MAX_SOCKETS: dials leave from one of them. Before the first node_join. */
void node_set_sockets(struct node *n, const struct addr *sockets, size_t count);
/* An address of a node of the mesh: dialled until it is connected, and again whenever it is not. id: whom to expect there;
 * NULL: whoever proves to serve this realm. keep: for ever; else it is given up after a while. Repeating an address is
 * harmless. MACULA_EFULL (64 of them), MACULA_ENOMEM. */
int node_join(struct node *n, const struct addr *to, const struct id *id, bool keep, nanotime now);
/* There will be addresses to join by, some of which may have to be looked up first: until the nodes there and those that they
 * know of have told what their clients listen to, at most 5 s from the start, publishes of clients wait, calls wait for
 * lookups, and the node is not ready. Right after node_new. */
void node_will_join(struct node *n);
#define NODE_START_TIME (5 * NS_SEC) /* that is how long at most */
/* Whether the node at such an address is connected, or is this one. */
bool node_joined(const struct node *n, const struct addr *to);
/* An address given to node_join is no longer one to keep: the configured name has other addresses now. */
void node_unjoin(struct node *n, const struct addr *to);
bool node_is_alone(const struct node *n); /* it has no mesh connection */
/* The name to advertise resolves to these addresses now. Keeps the advertised address if it is among them, else takes the first
 * one. Returns whether it changed. */
bool node_set_advertise(struct node *n, const struct addr *addrs, size_t count);
/* Lines `macula://ID@ADDR:PORT` of the nodes it knows, at most 256: for the state folder. malloc'ed. */
int node_known_peers(const struct node *n, char **ret_text);
uint64_t node_used_bytes(struct node *n);     /* all that is accounted, and the heap that is not, as it was last measured */
uint64_t node_last_seq(const struct node *n); /* for node_config.last_seq of the next run */

/* The wall clock now, every few seconds: certificates are judged by it, so that a clock that was set right only after the start
 * counts. The node's time stamps (records, retained messages) go on by the clock as it was at the start, so that they stay in
 * order. */
void node_set_clock(struct node *n, uint64_t unix_ms, nanotime now);
/* Graceful end: nothing new is accepted, and clients that wait for nothing get DISCONNECT shutting_down. Calls of clients and
 * nodes and QoS 1 messages under way are finished, then the other nodes are told. node_drained turns true when all connections
 * are gone or drain_timeout has passed. */
void node_drain(struct node *n, nanotime now);
bool node_draining(const struct node *n);
/* Whether the node takes new clients, and knows the mesh (node_will_join). ret_note: why it does not, unless it is draining, or
 * what will soon keep clients out; else "". */
bool node_ready(const struct node *n, nanotime now, char ret_note[NODE_WHY_LEN]);
bool node_drained(const struct node *n, nanotime now);

/* A check of a password has ended, for all who wait for this one; node_process.password. The node must be ticked soon. */
void node_password_checked(struct node *n, const uint8_t key[PASSWORD_KEY_LEN], bool good);

/* What stands for the password that the user has now, to be kept by whoever has seen it to be right: it counts as long as the
 * access file has the user with that password. False: there is no such user. */
bool node_vouch(const struct node *n, struct slice user, uint8_t ret_vouched[PASSWORD_KEY_LEN]);
/* Whether a pass that was verified before counts now: not ended, not revoked, of a realm that is trusted. */
bool node_pass_counts(struct node *n, const struct pass_kept *p);

/* What can change while it runs; returns 0. NULL fields stay as they are; limits apply from now on and throw nobody out. */
struct node_reload {
  const struct node_limits *limits;
  struct access *access; /* NULL: as it is. All sessions are judged anew, within a second */
  const struct slice *pass;
  struct quic_identity *identity;
  const char *ca_pem;
};
int node_reload(struct node *n, const struct node_reload *r);

/* Hands in a signed list of revoked passes (trust/revoked.h), as of the state folder: the errors of revoked_parse. */
int node_revoke(struct node *n, struct slice list, nanotime now, char ret_why[PASS_WHY_LEN]);
/* The i-th list that the node holds, to be kept in the state folder; NULL at the end. */
const struct revoked *node_revoked(const struct node *n, size_t i);

/* Retained messages on disk (pubsub/retained_log.h), with limits.retained_disk bytes: whoever runs the node reads what is there
 * and hands in each record that counts, from node_new on and before anything else, then the head that they were under
 * (generation 0: of a new file). After that it does what the log's jobs say. node_retained_mem: the account for their buffers.
 * node_retained_restore: MACULA_RETAIN_FULL, MACULA_ENOMEM, MACULA_INVALID_TOPIC: that one is not restored. */
int node_retained_restore(struct node *n, const struct retained_record *r);
void node_retained_restored(struct node *n, const struct retained_head *head);
struct retained_log *node_retained_log(struct node *n);
struct mem *node_retained_mem(struct node *n);

/* Keeps a line of the log that is not of debugging among the last events, which node_render shows. event, fields: as struct
 * log's sink gets them. */
void node_note(struct node *n, enum log_level level, const char *event, const char *fields);

/* To be called each second by whoever runs the node: what is seen then is kept as its history (node/view/history.h). */
void node_sample(struct node *n, nanotime now);
/* The one renderer of what people and scripts see. JSON text, NUL-terminated, freed by node_text_free. what: "status",
 * "clients", "peers", "services", "subs", "events", "memory", "history" (the last hour), "history_minute" (the last minute).
 * Lists are paged: offset and limit (0: 1,000), with "total" in the answer. MACULA_ENOTFOUND: no such list; MACULA_ENOMEM:
 * admin_bytes are used up. */
int node_render(struct node *n, const char *what, size_t offset, size_t limit, nanotime now, char **ret_json);
/* Looks into the DHT: what is "get" (arg: a procedure, or a key of 64 digits) or "lookup" (a node's id). done is called once,
 * at once or within 10 s: err 0 and JSON, or a macula_err and a text for people; both are valid during the call. Never after
 * node_free. The node must be ticked soon. */
void node_dht(struct node *n, const char *what, const char *arg, void (*done)(void *ctx, int err, const char *json), void *ctx,
              nanotime now);
/* Answers an operator's com.macula.node.<what>, of this node or, with `node` (an id, or its first 8 digits or more), of another
 * one. args: the question's arguments, a JSON object; may be NULL. changes: it may be one that changes something ("end"). done
 * is called once, at once or within 5 s: err 0 and JSON, or a macula_err and a text for people; both are valid during the call.
 * Never after node_free. The node must be ticked soon. MACULA_UNKNOWN_NODE, MACULA_TIMEOUT (it is silent),
 * MACULA_NOT_CONNECTED, MACULA_NO_ROUTE, MACULA_NO_SUCH_PROCEDURE, and that node's own errors. */
void node_ask(struct node *n, const char *what, const char *node, const char *args, bool changes,
              void (*done)(void *ctx, int err, const char *json), void *ctx, nanotime now);
/* Prometheus text (format 0.0.4), freed by node_text_free. */
int node_metrics(struct node *n, nanotime now, char **ret_text);
void node_text_free(char *text); /* accepts NULL */
double node_uptime_s(const struct node *n, nanotime now);
const struct id *node_id(const struct node *n);
const char *node_name(const struct node *n);

#endif
