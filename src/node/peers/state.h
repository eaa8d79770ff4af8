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
  uint32_t upkeep_len, upkeep_end; /* upkeep at the end of its link's queue: bytes, door_written after it */
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
  struct list dialling; /* session.fresh of those DIALLING, oldest first */
  uint64_t next;        /* for rpc_party_init: above every connection's serial */
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

struct join {
  struct list seeds; /* seed.all */
  uint32_t count;
};

#endif
