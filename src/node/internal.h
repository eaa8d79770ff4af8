/* What the files of src/node share.
 *
 * One session is one QUIC connection, of a client or (session.peer set, a link) of another node:
 *
 *   FRESH -- CONNECT accepted --> IN --+-- goodbye, refusal, replaced, slow, drained --> OVER -- connection gone --> freed
 *     +------- refusal, timeout -------+
 *   DIALLING (to another node) -- PONG --> IN
 *
 * A peer is another node, known by its id as long as it is a member or something is going on with it. It has at most one link
 * at a time; calls between the two nodes and frames that wait for a link belong to the peer, so that they outlive a link that
 * gives way to another. A peer that nobody can dial is reached through its gateway's link (peer.via).
 *
 * Whatever ends a session dooms it first: nothing is delivered to it from then on, and session_end takes away all that it owns
 * in node_settle, when no list of the index and no call of the router is being walked. */
#ifndef NODE_INTERNAL_H
#define NODE_INTERNAL_H

#include "base/err.h"
#include "base/list.h"
#include "bounded/bucket.h"
#include "dht/dht.h"
#include "macula/macula.h"
#include "membership/membership.h"
#include "node/node.h"
#include "node/memory/rows.h"
#include "node/messages/spread.h"
#include "pubsub/dedup.h"
#include "pubsub/retained.h"
#include "pubsub/topic_index.h"
#include "rpc/router.h"
#include "tables/clients.h"
#include "tables/pool.h"
#include "wire/frame.h"
#include "wire/msg.h"
#include "wire/names.h"

#define SMALL_FRAME 1024           /* octets: up to here a frame is copied into each queue, above it is shared */
#define STREAM_WINDOW (64u * 1024) /* of a new connection and of each stream */
#define MAX_WINDOW (1024u * 1024)  /* grown with use */
#define LINK_SHARES 16u            /* busy clients hold 88 KiB of connection_pool, a busy link up to 1.3 MiB (docs/memory.md) */
#define STALLED_AFTER (200 * NS_MS)   /* without an acknowledgement: only a share of the pool is left */
#define LINGER (1 * NS_SEC)           /* for the last words of a connection */
#define PARTIAL_TIMEOUT (60 * NS_SEC) /* an unfinished frame */
#define SWEEP_EVERY (1 * NS_SEC)
#define REFUSALS_A_SECOND 2.0 /* lines about clients that were refused or ended */
#define REFUSALS_AT_ONCE 20.0
#define NAME_KEPT 64                /* bytes of a client's or node's label; how: utf8_label */
#define CONTROL_SLACK (64u * 1024)  /* of a client's queue, beyond what messages may fill */
#define LIST_PAGE 1000              /* rows of a list, unless asked for fewer */
#define MAX_ASKS 1024u              /* operators' questions that take a while */
#define PEERS_BESIDES_MEMBERS 1024u /* records of nodes that are not members (yet) */
#define MAX_SEEDS 64u               /* addresses to join by; their nodes' records find room beyond those of all others */

static inline uint32_t peer_records(const struct node_limits *l) {
  return l->max_members + l->max_peers + PEERS_BESIDES_MEMBERS + MAX_SEEDS;
}

#define DIALS_BESIDES_POOL 64u /* dials to addresses whose node is not known, and links that linger */

enum session_state { SESSION_FRESH, SESSION_DIALLING, SESSION_IN, SESSION_OVER };

/* ---- other nodes ----------------------------------------------------------------------------------------------------------
 */
struct held { /* a frame that waits for a link */
  struct list of_peer;
  struct shbuf *frame;
  uint64_t query; /* of the dht: to be told when it cannot be sent; 0: none */
};

struct peer {
  struct hlink h;
  struct list all; /* node.peers.all */
  struct node *node;
  struct id id;
  struct addr addr;     /* where it can be dialled; sa_family 0: nowhere */
  struct peer *via;     /* then: its gateway; NULL: unknown */
  struct list vias;     /* peer.of_via: those that are reached through this one */
  struct list of_via;   /* peer.vias of its gateway */
  struct session *link; /* IN */
  struct session *dial; /* DIALLING, or FRESH before its PONG was sent */
  struct pool_entry slot;
  struct list waits;   /* node.waiting: for a slot of the pool */
  struct list leaving; /* node.leaving: gives its slot up when it is no longer busy */
  nanotime leave_at;
  struct rpc_party rpc; /* calls between the two nodes, both ways */
  struct id back;       /* the node by whose link its last routed frame came; zero: none did */
  struct list held;     /* held.of_peer */
  size_t held_bytes;
  nanotime dial_at; /* not before: back-off after failures */
  nanotime expect;  /* until then its own dial is expected: ours gave way to it */
  uint32_t failures;
  uint32_t unreached;              /* dials in a row that did not reach it while it was held to be alive */
  bool unreachable;                /* alive, as other nodes say, and not to be reached by us: mesh_reached */
  nanotime warn_at;                /* not before: that is logged again */
  uint32_t upkeep_len, upkeep_end; /* upkeep at the end of its link's queue: octets, quic_written after it */
  bool member;                     /* membership knows it: the record stays */
  uint8_t instance[INSTANCE_LEN];  /* of its run, as the link told */
  struct addr run_at;              /* where that run was */
  uint8_t other[INSTANCE_LEN];     /* of the run before, or of one that lives beside: link.c */
  nanotime twice_at;               /* not before: that two live is logged again */
  nanotime in_use_until;           /* it says that our identity is another's: not dialled before */
  char name[NAME_KEPT + 1];
  nanotime since; /* of the link */
  struct spread_peer spread;
};

struct peers {
  struct htab tab; /* peer.h */
  struct list all;
  struct pool pool;
  struct list waiting, leaving;
  size_t held_bytes;
  uint64_t dials, dial_failures, accepted, duplicates, evictions, held_dropped;
  uint64_t twice; /* connections refused, of a second node with another one's identity */
  struct bucket twice_lines;
  bool in_use;       /* ours is: it was said */
  uint64_t left_out; /* nodes that others told of, without a record for want of room */
  uint32_t unreachable;
  uint64_t found_unreachable; /* times that a node became it */
};

struct seed { /* an address to join by, or of a node that was lost */
  struct list all;
  struct addr addr;
  struct id id;
  bool has_id; /* known: from the user, or from contact */
  bool pinned; /* by the user */
  bool keep;   /* of the configuration: tried for ever */
  bool said;   /* its failure was logged */
  bool self;   /* this node answered there itself */
  nanotime at, since;
  uint32_t failures;
  struct session *dial;
};

struct session {
  struct node *node;
  struct quic_conn *conn;
  uint64_t serial;
  enum session_state state;
  bool ended;   /* session_end has run */
  bool base;    /* base-only: no extensions, only `bin` */
  bool trusted; /* on loopback, or with an admin key: may see the lists */
  bool watched; /* quic_conn_watch is on */
  uint32_t caps;
  int64_t stream; /* on which CONNECT came; -1 before */
  int64_t at;     /* whose frame is being handled; -1: none */
  nanotime since;
  struct list all, fresh, doomed, paused, watch; /* of the node */
  struct list streams;                           /* stream.of_session: those that hold something */
  struct list replays;                           /* of retained messages that wait for room or time */
  struct peer *peer;                             /* a link: the other node, once its id is proved; else NULL */
  struct seed *seed;                             /* dialled to join; may be NULL */
  bool dialled;                                  /* by us: a link */
  int end_err;                                   /* of a link: why it ended */
  nanotime dial_until;                           /* DIALLING: PONG must come by then */
  struct clients_entry client;
  struct topic_subscriber topics;
  struct rpc_party rpc;
  struct inflight_party unacked; /* its QoS 1 messages that other nodes have not acknowledged */
  struct gets_party gets;        /* its new subscriptions, for what other nodes retain */
  char *name;                    /* may be NULL */
  uint32_t window;               /* of the CONNECT stream */
  uint32_t window_used;
  nanotime window_since;
  uint64_t dropped; /* messages */
};

struct node_stats {
  uint64_t frames, unknown_frames,
      ignored_frames; /* received: all, of no known type, of types that a single node has no use for */
  uint64_t published, delivered, dropped, retained_unstored;
  uint64_t matches_refused; /* publishes whose topic reached too many patterns */
  uint64_t slow_consumers, pauses, sheds;
  uint64_t sessions, admitted, replays_refused;
  uint64_t routes_forwarded, routes_delivered, routes_failed; /* envelopes */
  uint64_t refused[128];                                      /* connections closed, by code */
};

struct node {
  struct quic *quic;
  struct rng rng;
  const struct log *log;
  struct node_limits limits;
  nanotime now, started;
  uint64_t unix_base_ms; /* of stamps: as at the start, so that they stay in order */
  uint64_t cert_end;     /* of our certificate, Unix seconds; UINT64_MAX: never */
  nanotime cert_say_at;  /* when the log is told again that it ends */
  bool cert_over;        /* it was told that it has ended */
  uint64_t wall_base_ms; /* of certificates' times, and what clients are told: as the wall clock is set */
  uint64_t keep_alive;
  char *name, *realm, *token;
  struct id id;
  enum node_access access;
  bool allow_unverified;
  struct id *admin_keys;
  size_t admin_key_count;
  uint64_t (*rss_bytes)(void *ctx), (*heap_bytes)(void *ctx);
  void *rss_ctx;

  struct mem mem[ROW_COUNT];
  struct mem *row_mem[ROW_COUNT]; /* for figures: mem, or an account of the process */
  uint64_t unaccounted_peak;
  struct mem_gauge gauge; /* of all accounts, when give_back is set: resident memory stays below the plan */
  void (*give_back)(void *ctx);
  uint64_t given_back; /* octets allocated since idle heap was last given back */
  nanotime short_at;   /* when it may be logged again that entries are refused */
  bool rows_over;      /* a row holds more than a lowered limit: see rows_set_limits */
  struct clients clients;
  struct topic_index *topics;
  struct bucket match_rate; /* of matches that cost more than most: publish.c */
  struct retained retained;
  struct dedup dedup;
  struct router *router;
  struct spread spread;

  struct list sessions; /* all that have a connection */
  struct list fresh;    /* before CONNECT, oldest first */
  struct list doomed;   /* to be ended */
  struct list paused;   /* publishers that wait for the pool, longest first */
  struct list watched;  /* have, or had lately, calls pending */
  struct list partials; /* stream.partial, oldest first */
  struct list replays;  /* replay.of_node */
  size_t replay_visits; /* of retained messages in this turn */
  uint32_t replay_count;
  uint32_t session_count;
  size_t reserved;    /* octets of unfinished frames whose credit was given back; at most half of receive_pool */
  size_t window_more; /* octets of windows beyond the initial ones; at most half of receive_pool */
  nanotime sweep_at, paused_at;
  bool draining; /* nothing new is taken, and what is under way goes on until it is done, or drain_at */
  bool left;     /* and then the other nodes are told that we are gone */
  nanotime drain_at;
  uint8_t instance[INSTANCE_LEN]; /* of this run */
  uint64_t next_peer;             /* for rpc_party_init: above every connection's serial */
  struct addr sockets[NODE_MAX_SOCKETS];
  size_t socket_count;
  struct addr advertise; /* the user's word; sa_family 0: none */
  struct addr self;      /* where other nodes can dial us, as far as we know; sa_family 0: nowhere */
  struct addr observed;  /* what the last peer said of it, when it is not known otherwise */
  bool hidden;           /* nobody can dial us */
  struct htab lookups;   /* of procedures: lookup.c */
  uint64_t lookup_number;
  struct peers peers;
  struct list seeds; /* seed.all */
  uint32_t seed_count;
  struct list asks; /* ask.all */
  uint32_t ask_count;
  uint64_t asked;
  struct membership *membership;
  struct dht *dht;
  struct quic_identity *identity;
  bool found_us;             /* our neighbourhood was looked up */
  struct peer *gateway;      /* hidden: through whom others reach us */
  bool no_upkeep;            /* links only for calls and messages */
  bool mesh_due;             /* frames came: their outcome waits */
  struct list dials;         /* session.fresh of those DIALLING, oldest first */
  uint8_t message_prefix[8]; /* of message ids made for messages that came without */
  uint64_t messages;
  struct node_stats stats;
  struct bucket refusals; /* lines about clients that were refused or ended */
  uint64_t refusals_left_out;
#ifdef MACULA_TEST_UNBOUNDED
  unsigned unbounded;
#endif
};
#ifdef MACULA_TEST_UNBOUNDED
#define IS_UNBOUNDED(n, what) ((n)->unbounded & UNBOUNDED_##what)
#else
#define IS_UNBOUNDED(n, what) false
#endif

/* node.c */
/* Ends what is doomed, lets publishers go on when the pool has room. To be called when nothing is being walked. */
void node_settle(struct node *n);
static inline uint64_t node_wall_ms(const struct node *n) { return n->wall_base_ms + n->now / NS_MS; }
static inline uint64_t node_unix_ms(const struct node *n) { return n->unix_base_ms + n->now / NS_MS; }

/* plan.c */
struct plan_row plan_row_of(const struct node_limits *l, enum row row); /* limits without 0 */

/* rows.c */
struct row_now {
  const char *name;
  uint64_t entries, limit;           /* limit 0: bounded in octets alone */
  uint64_t bytes, limit_bytes, peak; /* octets */
  uint64_t refused, evicted, expired;
};
#define ROWS_SHOWN (ROW_COUNT + 1) /* and what is not accounted */
void rows_now(struct node *n, struct row_now ret_rows[ROWS_SHOWN]);
size_t rows_accounted(const struct node *n); /* octets */
void rows_set_limits(struct node *n);        /* of the accounts, from the plan */
void rows_watch(struct node *n);             /* resident memory from now on, for the accounts; rows_unwatch before they go */
void rows_unwatch(struct node *n);

/* session.c */
void session_open(struct node *n, struct quic_conn *c);
struct session *session_new(struct node *n); /* without a connection yet; NULL: no memory */
/* The connection is gone: ends and frees it. why NULL: with the whole node. */
void session_closed(struct session *s, const struct quic_close *why);
void session_connect(struct session *s, const struct msg_connect *m);
/* Refuses or ends: DISCONNECT with the code, then the close. err 0: a normal goodbye. text NULL: the code's own. */
void session_close(struct session *s, int err, const char *text);
/* Ends without a word and without waiting for what is queued. */
void session_cut(struct session *s, int err);
/* Somebody was turned away who has no session. */
void session_refused(struct node *n, const struct addr *from, const struct id *id, int err, struct slice text);
/* All that a client owns goes, in one step; harmless when repeated. */
void session_end(struct session *s);
/* To the CONNECT stream, or with answer set to the stream whose frame is being handled. MACULA_EFULL (the queue), or the errors
 * of quic_stream_write; PAYLOAD_TOO_LARGE. */
int session_send(struct session *s, const struct msg *m, bool answer);
/* As session_send; a peer that cannot take even that is cut as a slow consumer. */
void session_tell(struct session *s, const struct msg *m, bool answer);
/* ACK, if it was asked for and is understood. */
void session_ack(struct session *s, bool has_ref, uint64_t ref, int err, const char *text);
/* Calls are pending: see to it that the peer's silence is noticed. */
void session_watch(struct session *s);
bool session_has_calls(const struct session *s);
void sessions_sweep(struct node *n); /* every SWEEP_EVERY */

/* peer.c */
#define PEER_TEXT_LEN (NAME_KEPT + ID_HEX_LEN + ADDR_TEXT_LEN + 32)
/* A node in a log line: its name is what it chose, so its id and address are there, too. at NULL, or of no family: "none". */
const char *peer_text(const char *name, const struct id *id, const struct addr *at, char ret_text[PEER_TEXT_LEN]);
void peers_init(struct node *n);
void peers_done(struct node *n);
struct peer *peer_find(const struct node *n, const struct id *id);
/* The record of a node, made if it is not there; NULL: no memory, no room, or our own id. */
struct peer *peer_get(struct node *n, const struct id *id);
/* As peer_get, for one that answered at an address that the user gave: there is room for that. */
struct peer *peer_get_configured(struct node *n, const struct id *id);
/* As peer_get, for a node that others tell of (as a member, or besides): half of the records besides members stay free for
 * those who come themselves. */
struct peer *peer_told(struct node *n, const struct id *id, bool member);
void peers_behind(struct peer *p, void (*each)(struct peer *q)); /* those that are reached through it */
/* What is known of where it is: addr and gateway may be NULL (nothing is said about it). Ours and zero gateways are ignored. */
void peer_where(struct peer *p, const struct addr *addr, const struct id *gateway);
/* Closes what is idle beyond max_peers, frees records that are no members and with which nothing is going on. */
void peers_sweep(struct node *n);
void peers_set_limits(struct node *n);
enum want { WANT_UPKEEP, WANT_USE };
/* 0: frames can be sent to it now. MACULA_EBUSY: a link is on its way. MACULA_NOT_CONNECTED (no address, backing off),
 * MACULA_MAX_PEERS_REACHED, MACULA_ENOMEM. Use renews its age in the pool and may evict another. */
int peer_want(struct peer *p, enum want want);
/* Now, over its link or through its gateway: the errors of session_send; MACULA_EBUSY, MACULA_NOT_CONNECTED as peer_want. */
int peer_send(struct peer *p, const struct msg *m, enum want want);
/* As peer_send, but while a link is on its way the frame waits for it. query: the dht's, which hears when it cannot be sent.
 * MACULA_EFULL: too much waits already. */
int peer_post(struct peer *p, const struct msg *m, enum want want, uint64_t query);
bool peer_has_calls(const struct peer *p); /* it, or those behind it */
bool peer_is_busy(const struct peer *p);
/* As peer_send and peer_post (a frame that is encoded already), for what makes nobody busy, as another link tells it anew if
 * this one goes: of membership, of the DHT, of interest. */
int peer_upkeep(struct peer *p, const struct msg *m);
int peer_upkeep_raw(struct peer *p, uint8_t type, struct slice payload, uint64_t query);
/* Its link, or the dial to it, makes room for another. Operators' pings of it and of those behind it end; its calls and frames
 * are the caller's business (peer_down): an idle one has none. */
void peer_evict(struct peer *p);
/* Whether the pool has no slot for it. Some are kept free for those that the user named, so that whoever comes in any number
 * of identities never keeps them out. */
bool peer_pool_full(struct node *n, const struct id *id);
/* Gives the slot of one that is idle away, else that of one that is dialled for upkeep only; never that of one that the user
 * named. MACULA_MAX_PEERS_REACHED. */
int peer_evict_idle(struct node *n);
static inline bool peer_is_up(const struct peer *p) { return p->link || (!p->addr.sa.sa_family && p->via && p->via->link); }
/* Its link (or its gateway's) came up; is gone, or could not be had: calls and frames that waited fail. */
void peer_up(struct peer *p);
void peer_down(struct peer *p);
void peers_step(struct node *n); /* once a turn: slots of the pool for those who wait */

/* link.c */
#define IN_USE_AGAIN (60 * NS_SEC) /* whoever says that our identity is in use is left alone for half of this to all of it */
/* Dials. expect: whom; NULL: whoever is there. p: its record, seed: what wanted it; may be NULL. */
int link_dial(struct node *n, const struct addr *to, const struct id *expect, struct peer *p, struct seed *seed);
void link_opened(struct session *s);                               /* our dial's handshake is complete */
int link_connect(struct session *s, const struct msg_connect *m);  /* CONNECT of a node came; access was checked */
void link_closed(struct session *s, const struct quic_close *why); /* its connection is gone */
void link_end(struct session *s);                                  /* part of session_end */
void link_frame(struct session *s, const struct frame *f);
/* Cuts its link and frees its slot at once. What is pending with it is the caller's business (peer_down). */
void link_close(struct peer *p, int err);
void link_give_up(struct peer *p, int err); /* likewise, and a dial to it as well */
nanotime link_deadline(const struct node *n);
void link_tick(struct node *n);

/* join.c */
void join_tick(struct node *n);
nanotime join_deadline(const struct node *n);
void join_met(struct node *n, struct session *s);                                /* a seed's dial has become a link */
void join_failed(struct node *n, struct session *s, int err, struct slice text); /* or has not */
void join_lost(struct node *n, const struct peer *p);                            /* a node died: it is looked for for a while */
void join_done(struct node *n);
bool join_is_configured(const struct node *n, const struct id *id); /* it was met at an address that the user gave */
uint32_t join_missing(const struct node *n);                        /* such addresses whose node has no slot of the pool */

/* mesh.c */
int mesh_new(struct node *n);
void mesh_free(struct node *n);
/* Takes on another identity, while no other node knows this one. On failure it stays who it was. */
int mesh_become(struct node *n, struct quic_identity *identity);
void mesh_step(struct node *n);
void mesh_tick(struct node *n);
nanotime mesh_deadline(const struct node *n);
void mesh_sweep(struct node *n);
void mesh_withdraw(struct node *n); /* what we serve: whoever looks for it from now on finds others */
void mesh_leave(struct node *n);    /* for good */
void mesh_link_up(struct peer *p);
void mesh_link_down(struct peer *p, bool dead);
void mesh_dial_failed(struct peer *p, bool was_there, bool dead); /* was_there: it refused */
void mesh_reached(struct peer *p); /* a link stands, or it is no member that lives: no longer alive and out of reach */
void mesh_observed(struct node *n, const struct addr *seen, const struct addr *local); /* a peer says where we come from */
/* A frame that only nodes send each other, and whose payload msg_decode leaves to others. */
bool mesh_is_frame(int type);
void mesh_frame(struct peer *p, uint8_t type, struct slice payload);
void mesh_unsent(struct peer *p, uint64_t query);

/* find.c */
enum find_for { FIND_FOR_CALLS = 1, FIND_FOR_ASKS = 2 };
#define FIND_FOR_SHIFT 56 /* in a lookup's user: what it is for; the rest is the asker's */
void find_key(const struct node *n, enum dht_kind kind, struct slice name, struct id *ret_key);
int find_new(struct node *n, uint64_t last_seq);
void find_free(struct node *n);
void find_set_limits(struct node *n);
void find_self_changed(struct node *n);
void find_link_up(struct peer *p);
void find_gone(struct node *n, const struct id *id);
void find_frame(struct peer *p, uint8_t type, struct slice payload);
void find_step(struct node *n);
void find_tick(struct node *n);
nanotime find_deadline(const struct node *n);

/* route.c: through gateways */
int route_send(struct peer *p, const struct msg *m);
int route_frame(struct peer *p, const struct shbuf *frame); /* an encoded one */
/* By the link of via. MACULA_NOT_CONNECTED, or the errors of session_send. */
int route_through(struct peer *via, struct peer *to, const struct msg *m);
void route_received(struct peer *from, const struct msg *m); /* RPC_ROUTE, PUBSUB_ROUTE */

/* receive.c */
void receive_data(struct session *s, int64_t stream, struct slice data, bool fin);
void receive_closed(struct session *s, int64_t stream);
void receive_end(struct session *s); /* frees what its streams hold */
void receive_resume(struct node *n); /* paused publishers go on, as far as the pool allows */
void receive_sweep(struct node *n);  /* unfinished frames: their time, and room for them */

/* dispatch.c */
void dispatch_frame(struct session *s, const struct frame *f);
/* A message of another node, over its link or through its gateway. */
void peer_frame(struct peer *p, const struct msg *m);

/* publish.c */
void publish_message(struct session *s, const struct msg_publish *m);
void publish_subscribe(struct session *s, struct msg_subscribe m);
void publish_unsubscribe(struct session *s, struct msg_subscribe m);
/* To our clients that listen: from NULL for another node's message. */
int publish_local(struct node *n, const struct session *from, const struct msg_publish *m);
/* What a match may visit now, for topic_index_match_within; then what it left: MACULA_RATE_LIMITED if that is nothing. */
uint32_t match_begin(struct node *n);
int match_end(struct node *n, uint32_t given, uint32_t left);
void publish_recalled(struct session *s, const struct msg_publish *m); /* another node retained it */
/* A message on its way out: small ones are copied into each queue, larger ones are shared by all. */
struct parcel {
  struct slice frame;
  struct shbuf *shared;
  uint64_t qos;
  uint8_t small[SMALL_FRAME];
};
int parcel_init(struct node *n, const struct msg_publish *p, struct parcel *ret); /* PAYLOAD_TOO_LARGE, ENOMEM */
void parcel_done(struct parcel *p);
bool parcel_fits(const struct node *n, const struct session *s, const struct parcel *p);
int parcel_write(struct session *s, const struct parcel *p);
/* MACULA_EFULL: there is no room in its queue now. */
int publish_retained(struct session *s, const struct retained_entry *e);

/* replay.c */
void replay_start(struct session *s, struct slice pattern);
void replay_stop(struct session *s, struct slice pattern);
void replay_end(struct session *s);
/* Another node asked, and takes so many octets now, or more. */
void replay_peer_start(struct peer *p, uint64_t number, struct slice pattern, uint64_t room);
void replay_peer_more(struct peer *p, uint64_t number, uint64_t room);
void replay_peer_end(struct peer *p);
void replay_step(struct node *n); /* once a turn */
bool replay_is_due(const struct node *n);

/* spread.c */
#define SPREAD_MOST 255u /* other nodes that interest is exchanged with, at most */
int spread_init(struct node *n);
void spread_done(struct node *n);
void spread_set_limits(struct node *n);
void spread_peer_init(struct peer *p);
void spread_alive(struct peer *p);   /* it has become a member, or is back from the dead */
void spread_dead(struct peer *p);    /* membership says so */
void spread_forget(struct peer *p);  /* it is no member any more; harmless when repeated */
void spread_link_up(struct peer *p); /* a link stands, perhaps another than before */
void spread_step(struct node *n);    /* once a turn */
void spread_sweep(struct node *n);   /* every SWEEP_EVERY */
nanotime spread_deadline(const struct node *n);
void spread_tick(struct node *n);
size_t spread_queued(const struct peer *p);                            /* octets on the way to it; SIZE_MAX: there is no way */
void spread_frame(struct peer *p, uint8_t type, struct slice payload); /* INTEREST*, RETAINED* */
/* A client took or left a pattern. MACULA_ENOMEM, MACULA_EFULL: refused. */
int spread_subscribe(struct node *n, struct slice pattern);
void spread_unsubscribe(struct node *n, struct slice pattern);
void spread_session_init(struct session *s);
void spread_session_end(struct session *s);
/* One copy to each node that listens. key: with QoS 1, for de-duplication; else NULL. *ret_waits: they are to acknowledge it
 * first; the publisher's ACK comes then. MACULA_RATE_LIMITED, MACULA_ENOMEM. */
int spread_publish(struct session *from, const struct msg_publish *m, const struct dedup_key *key, bool wants_ack, uint64_t ref,
                   bool *ret_waits);
void spread_receive(struct peer *p, const struct msg_publish *m);
void spread_ack(struct peer *p, const struct msg_ack *m);
void spread_results(struct node *n); /* ACKs for what is done */

/* recall.c */
#define RECALL_MOST (1 << 20)                                                         /* octets of room that are believed */
#define RECALL_COST(topic, payload) ((topic) + (payload) + 64u)                       /* octets of room that a message takes */
uint64_t recall_stamp(const struct node *n, struct slice topic);                      /* of a message taken now, Unix ms */
void recall_published(struct node *n, struct slice topic, uint64_t ms, bool cleared); /* taken or cleared here */
void recall_done(struct node *n);
int recall_moved(struct peer *p, struct slice payload);
void recall_path_up(struct peer *p);
void recall_path_down(struct peer *p);
void recall_peer_gone(struct peer *p);
void recall_tell(struct peer *p);                                    /* once a turn */
void recall_left(void *peer, uint64_t number, struct slice pattern); /* nobody wants what it sends with this number */
void recall_step(struct node *n);                                    /* likewise */
void recall_subscribe(struct session *s, struct slice pattern);
void recall_unsubscribe(struct session *s, struct slice pattern);
void recall_answer(struct peer *p, const struct msg_publish *m); /* PUBLISH with replay; its topic in stored form */
int recall_get(struct peer *p, struct slice payload);
/* MACULA_EFULL: there is no room now. */
int recall_send(struct peer *p, uint64_t number, const struct retained_entry *e);

/* calls.c */
void rpc_call(struct session *s, const struct msg_call *m);
void rpc_cast(struct session *s, const struct msg_call *m);
void rpc_register(struct session *s, const struct msg_register *m);
void rpc_unregister(struct session *s, const struct msg_unregister *m);
void rpc_error(struct session *s, struct slice call_id, int err, const char *text);
struct router_out rpc_out(struct node *n);
struct rpc_request { /* what a CALL and a CAST have in common */
  char name[NAME_MAX_LEN + 1];
  struct slice procedure; /* stored form, in name */
  struct shbuf *args;     /* by rpc_copy_args */
  const char *text;       /* of an error; NULL: the code's own */
  char why[NAME_WHY_LEN]; /* what text shows, when it is about the name */
};
int rpc_request(const struct node *n, const struct msg_call *m, struct rpc_request *ret);
int rpc_copy_args(struct node *n, struct slice args, struct shbuf **ret_args);
/* Gives what a party asked for to the router, r->args included. A call's: 0: it is pending, else as router_call. */
int rpc_start_call(struct node *n, struct rpc_party *caller, const struct msg_call *m, const struct rpc_request *r);
void rpc_start_cast(struct node *n, struct rpc_party *caller, const struct msg_call *m, const struct rpc_request *r);

/* remote.c: calls between nodes */
void remote_out(struct router_out *out); /* fills in its part */
/* 0, MACULA_EBUSY (a link is on its way: rpc_peer_up or rpc_peer_down follows), or why it cannot be sent. */
int remote_send_call(const struct router_send *c);
int remote_reply(const struct rpc_party *party, const struct msg *m); /* waits for a link if need be */
void remote_tell(const struct rpc_party *party, const struct msg *m); /* likewise; a peer that cannot take even that is cut */
void remote_call(struct peer *p, const struct msg_call *m);
void remote_cast(struct peer *p, const struct msg_call *m);
void rpc_peer_init(struct peer *p, uint64_t session);
void rpc_peer_up(struct peer *p);
void rpc_peer_down(struct peer *p);
void rpc_peer_silent(struct peer *p); /* and those behind it */

/* lookup.c: which nodes serve a procedure */
int remote_discover(void *ctx, struct slice procedure);
void remote_undiscover(void *ctx, struct slice procedure);
void lookups_init(struct node *n);
void lookups_done(struct node *n);
void remote_publish(struct node *n, struct slice procedure);        /* it is served here */
void remote_served(void *ctx, struct slice procedure, bool served); /* of services_watch */

void remote_found(struct node *n, const struct dht_result *r); /* of a lookup for FIND_FOR_CALLS */

/* ask.c: operators' questions that take a while */
/* Whether com.macula.node.<what> is one of these; if so it will be answered. */
bool ask_call(struct session *s, const struct msg_call *m, struct slice what);
void ask_ponged(struct peer *p, const struct msg_pong *m);
void ask_found(struct node *n, const struct dht_result *r);
void ask_peer_down(struct peer *p, int err);
void ask_session_ended(struct session *s);
void ask_done(struct node *n); /* frees all without a word */
nanotime ask_deadline(const struct node *n);
void ask_tick(struct node *n);

/* admin.c */
bool admin_is_local(struct slice procedure);
void admin_call(struct session *s, const struct msg_call *m, struct slice procedure);

#endif
