/* A node's state. Each room's part is a struct in the state.h of that room, and only that room changes it. */
#ifndef NODE_STATE_H
#define NODE_STATE_H

#include "node/calls/state.h"
#include "node/flow/state.h"
#include "node/memory/rows.h"
#include "node/mesh/state.h"
#include "node/messages/state.h"
#include "node/node.h"
#include "node/peers/state.h"
#include "node/session/state.h"
#include "node/trust/state.h"
#include "node/view/state.h"

/* Who waits for the next turn: publishers, and those of whom other frames came in such numbers that they took all its time. */
enum later { LATER_CLIENTS, LATER_LINKS, LATER_OTHERS, LATERS };

struct mqtt_rooms;
enum mqtt_kind { MQTT_PLAIN, MQTT_SECRET, MQTT_WEB, MQTT_WEB_SECRET, MQTT_KINDS };
struct mqtt_now { /* figures of the MQTT door */
  uint64_t sessions, connections, refused, unnamed, lost, web_refused, tls_refused, paused, ended, filters_lost, offline,
      evicted, unsaid, expired, claimed;
  uint32_t by_door[MQTT_KINDS]; /* connections */
};

struct http_rooms;
struct http_now { /* figures of HTTP; the first three from whoever has the connections */
  uint64_t connections, refused, displaced, clients, streams, events, lost;
};

struct receive {
  struct list partials; /* stream.partial, oldest first */
  struct list mark;     /* marks a place in sessions.paused: publishers that pause again while others go on stand behind it */
  struct list later[LATERS]; /* session.paused: those that wait for the next turn, longest first */
  bool links_first;          /* in the next turn */
  /* Bytes, each at most half of what the first windows of all one-way ways leave of receive_pool: */
  size_t reserved;    /* of large frames whose credit was given back */
  size_t window_more; /* of windows beyond the initial ones */
  nanotime sign_at;   /* when it is looked next which held publishers got no credit for long */
};

struct node_stats {
  uint64_t frames, unknown_frames,
      ignored_frames; /* received frames: all; of an unknown type; of a known type that this node ignores */
  uint64_t published, delivered, dropped, retained_unstored;
  uint64_t expired;         /* copies that were not sent, as the message's time to live was over */
  uint64_t matches_refused; /* publishes whose topic reached too many patterns */
  uint64_t slow_consumers, pauses, sheds;
  uint64_t put_off; /* times that a publisher had to wait for the next turn */
  /* messages that many got: those that took more than one turn, and should have, but for lack of memory */
  uint64_t fanouts_sliced, fanouts_whole;
  uint64_t publishes_lost; /* that were held when their clients' connections ended */
  uint64_t sessions, admitted, replays_refused;
  uint64_t routes_forwarded, routes_delivered, routes_failed; /* envelopes */
  uint64_t refused[128];                                      /* connections closed, by code */
  uint64_t left_out[128];                                     /* frames of base-only clients that were refused, by code */
};

/* The node: one member a room. */
struct node {
  struct quic *quic;
  struct spent spent; /* for those below that do much at once */
  struct rng rng;
  const struct log *log;
  struct node_limits limits;
  nanotime now, started, sweep_at;
  unsigned swept;        /* parts of the sweep of this second that are done: one in a turn */
  uint64_t unix_base_ms; /* Unix ms at time 0 by the clock of the start: for time stamps, which stay in order this way */
  /* Unix ms at time 0 by the wall clock as it is set now: for certificates, and for what clients are told */
  uint64_t wall_base_ms;
  uint64_t keep_alive;
  char *name, *realm;
  struct quic_identity *identity;
  uint64_t cert_end;    /* of our certificate, Unix seconds; UINT64_MAX: never */
  nanotime cert_say_at; /* when it is logged again that the certificate ends */
  nanotime ca_say_at;   /* or one of the CA */
  bool cert_over;       /* it was logged that the certificate has ended */
  struct id id;
  uint8_t instance[INSTANCE_LEN]; /* of this run */
  bool allow_unverified;          /* where all is open: clients without a certificate are let in */
  bool draining;                  /* nothing new is accepted; what is under way goes on until it is done, or until drain_at */
  bool left;                      /* the other nodes were told that we leave */
  bool unsent;                    /* the driver has not taken all that was to be sent */
  bool put_off;                   /* in this turn something was left for the next one */
  uint32_t work;                  /* units that publishes and their copies were worth since the time was looked at last */
  nanotime drain_at;

  struct rows rows;
  struct trust trust;
  struct sessions sessions;
  struct receive receive;
  struct flow flow;
  struct peers peers;
  struct join join;
  struct silent silent;
  struct mesh_self mesh;
  struct records records;
  struct messages messages;
  struct replays replays;
  struct spread spread;
  struct rpc rpc;
  struct asks asks;
  struct history *history; /* NULL: nothing was sampled yet */
  struct tallies tally;
  struct recent recent;
  struct mqtt_rooms *mqtt; /* NULL: that door is shut */
  struct mqtt_now mqtt_now;
  struct http_rooms *http; /* NULL: nobody asks over HTTP */
  struct http_now http_now;
  bool mqtt_drops_oldest; /* of a full queue of a session; else the newest is refused */
  struct node_stats stats;
#ifdef MACULA_TEST_UNBOUNDED
  unsigned unbounded;
#endif
};

#ifdef MACULA_TEST_UNBOUNDED
#define IS_UNBOUNDED(n, what) ((n)->unbounded & UNBOUNDED_##what)
#else
#define IS_UNBOUNDED(n, what) false
#endif

static inline void node_did(const struct node *n, const char *what) {
  if (n->rows.process.did) n->rows.process.did(n->rows.process.ctx, what);
}

/* Whether the turn has had its time; what is left then is for the next one, which comes at once. */
static inline bool node_spent(struct node *n) {
  n->work = 0;
  bool spent = n->rows.process.spent && n->rows.process.spent(n->rows.process.ctx);
  n->put_off |= spent;
  return spent;
}

static inline uint64_t node_wall_ms(const struct node *n) { return n->wall_base_ms + n->now / NS_MS; }
static inline uint64_t node_unix_ms(const struct node *n) { return n->unix_base_ms + n->now / NS_MS; }

#endif
