/* A node's state. What belongs to a room is a struct of that room's state.h; only a room changes its own. */
#ifndef NODE_STATE_H
#define NODE_STATE_H

#include "node/calls/state.h"
#include "node/memory/rows.h"
#include "node/mesh/state.h"
#include "node/messages/state.h"
#include "node/node.h"
#include "node/peers/state.h"
#include "node/session/state.h"
#include "node/view/state.h"

struct receive {
  struct list partials; /* stream.partial, oldest first */
  struct list mark;     /* publishers that pause again while some go on stand behind it */
  size_t reserved;      /* bytes of unfinished frames whose credit was given back; at most half of receive_pool */
  size_t window_more;   /* bytes of windows beyond the initial ones; at most half of receive_pool */
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

/* The node: one member a room. */
struct node {
  struct quic *quic;
  struct rng rng;
  const struct log *log;
  struct node_limits limits;
  nanotime now, started, sweep_at;
  uint64_t unix_base_ms; /* of stamps: as at the start, so that they stay in order */
  uint64_t wall_base_ms; /* of certificates' times, and what clients are told: as the wall clock is set */
  uint64_t keep_alive;
  char *name, *realm, *token;
  struct quic_identity *identity;
  uint64_t cert_end;    /* of our certificate, Unix seconds; UINT64_MAX: never */
  nanotime cert_say_at; /* when the log is told again that it ends */
  bool cert_over;       /* it was told that it has ended */
  struct id id;
  uint8_t instance[INSTANCE_LEN]; /* of this run */
  enum node_access access;
  bool allow_unverified;
  struct id *admin_keys;
  size_t admin_key_count;
  bool draining; /* nothing new is taken, and what is under way goes on until it is done, or drain_at */
  bool left;     /* and then the other nodes are told that we are gone */
  nanotime drain_at;

  struct rows rows;
  struct sessions sessions;
  struct receive receive;
  struct peers peers;
  struct join join;
  struct mesh_self mesh;
  struct records records;
  struct messages messages;
  struct replays replays;
  struct spread spread;
  struct rpc rpc;
  struct asks asks;
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

static inline uint64_t node_wall_ms(const struct node *n) { return n->wall_base_ms + n->now / NS_MS; }
static inline uint64_t node_unix_ms(const struct node *n) { return n->unix_base_ms + n->now / NS_MS; }

#endif
