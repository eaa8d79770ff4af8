/* What the node keeps of other nodes, and of the addresses at which it looks for them. */
#ifndef NODE_PEERS_STATE_H
#define NODE_PEERS_STATE_H

#include "base/list.h"
#include "bounded/bucket.h"
#include "bounded/htab.h"
#include "node/messages/state.h"
#include "node/session/state.h"
#include "rpc/router.h"
#include "tables/pool.h"
#include "wire/msg.h"

struct held { /* a frame that waits for a link */
  struct list of_peer;
  struct shbuf *frame;
  uint64_t query; /* the DHT's query, which is told when the frame cannot be sent; 0: none */
};

struct peer {
  struct hlink h;
  struct list all; /* node.peers.all */
  struct node *node;
  struct id id;
  struct addr addr;     /* where it can be dialled; sa_family 0: nowhere */
  struct peer *via;     /* its gateway if it cannot be dialled; NULL: unknown */
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
  nanotime expect;  /* until then the peer's own dial is expected, to which ours gave way */
  uint32_t failures;
  uint32_t unreached; /* dials in a row that did not reach it while it was held to be alive */
  bool unreachable;   /* other nodes say that it is alive, but our dials fail: see mesh_reached */
  nanotime warn_at;   /* the earliest time at which that is logged again */
  /* upkeep at the end of its link's queue: its length in bytes, and door_written just after it */
  uint32_t upkeep_len, upkeep_end;
  bool member;                    /* membership knows it: the record stays */
  uint8_t instance[INSTANCE_LEN]; /* of its run, as the link told */
  struct addr run_at;             /* where that run was */
  uint8_t other[INSTANCE_LEN];    /* of its earlier run, or of a second one that lives beside it: see link.c */
  nanotime twice_at;              /* the earliest time at which it is logged again that two runs live */
  nanotime in_use_until;          /* it says that another node has our identity, and is not dialled before this */
  char name[NAME_KEPT + 1];
  nanotime since;      /* of the link */
  struct bucket lists; /* its lists of revocations that are verified */
  struct spread_peer spread;
};

struct peers {
  struct htab tab; /* peer.h */
  struct list all;
  struct pool pool;
  struct list waiting, leaving;
  struct list dialling; /* session.fresh of those DIALLING, oldest first */
  uint64_t next;        /* for rpc_party_init: above every connection's serial */
  size_t held_bytes;
  uint64_t dials, dial_failures, accepted, duplicates, evictions, held_dropped;
  uint64_t twice; /* connections refused because another live node has the same identity */
  struct bucket twice_lines;
  bool in_use;       /* that our identity is in use was logged */
  uint64_t left_out; /* nodes that others told of and that got no record, as there was no room */
  uint32_t unreachable;
  uint64_t found_unreachable; /* how often a node was found to be alive but unreachable */
};

struct seed { /* an address to join by, or of a node that was lost */
  struct list all;
  struct addr addr;
  struct id id;
  bool has_id; /* `id` is known, from the user or from an earlier link */
  bool pinned; /* by the user */
  bool keep;   /* of the configuration: tried for ever */
  bool said;   /* its failure was logged */
  bool self;   /* this node answered there itself */
  nanotime at, since;
  uint32_t failures;
  struct session *dial;
};

struct join {
  struct list seeds; /* seed.all */
  uint32_t count;
};

#endif
