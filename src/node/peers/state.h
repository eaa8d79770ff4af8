/* What the node keeps of other nodes, and of the addresses at which it looks for them. */
#ifndef NODE_PEERS_STATE_H
#define NODE_PEERS_STATE_H

#include "base/delay.h"
#include "base/list.h"
#include "bounded/bucket.h"
#include "bounded/heap.h"
#include "bounded/htab.h"
#include "bounded/lru.h"
#include "node/messages/state.h"
#include "node/session/state.h"
#include "rpc/router.h"
#include "tables/pool.h"
#include "trust/agree.h"
#include "wire/agree.h"
#include "wire/msg.h"

struct held { /* a frame that waits for a link */
  struct list of_peer;
  struct shbuf *frame;
  uint64_t query; /* the DHT's query, which is told when the frame cannot be sent; 0: none */
};

#define MAX_SEALED 1024u   /* nodes with which keys are kept */
#define MAX_FORGOTTEN 128u /* keys of which it is remembered what was opened under them */
#define SEAL_LINES 1.0     /* log lines a second about envelopes that are not their sender's or were lost, and at once */
#define SEAL_LINES_BURST 10.0
#define SEAL_TRIED 12u

struct sealed { /* keys for envelopes between this node and a peer */
  struct peer *peer;
  struct list used;     /* seals.used */
  struct heap_link due; /* seals.offers: when our offer is sent again */
  struct agree agree;
  struct delays delays; /* of the other node's calls in envelopes */
  nanotime used_at;
  nanotime again;    /* no exchange begins before */
  nanotime doubt_at; /* none begins before because of a key that is not known */
  bool doubted;      /* there was one since keys were agreed on */
  uint32_t tries;    /* offers sent in this exchange */
  /* serials of the links that they went by; the first so many said that they cannot carry them on */
  uint64_t tried[SEAL_TRIED];
  uint32_t tried_count, refused;
};

struct forgotten { /* a key */
  struct id id;    /* of the other node */
  struct agree_past past;
};

struct seals {
  struct list used;   /* sealed.used, least recently used first */
  struct heap offers; /* sealed.due */
  uint32_t count;
  uint64_t offer_number;       /* of the last one made in this run */
  struct bucket rate, lines;   /* of signatures; of log lines */
  uint64_t agreed, failed;     /* exchanges */
  uint64_t refused, evicted;   /* for want of room */
  uint64_t limited;            /* offers and answers beyond the rate */
  uint64_t forged, replayed;   /* envelopes, offers and answers */
  uint64_t unknown;            /* envelopes under a key that is not known */
  uint64_t relays;             /* ways found to nodes that can be dialled on paper */
  uint64_t lost;               /* envelopes of ours that the other could not open, as it had forgotten the key */
  struct forgotten *forgotten; /* MAX_FORGOTTEN, a ring; NULL: none was forgotten yet */
  uint64_t forgotten_count;    /* ever */
};

struct peer {
  struct hlink h;
  struct list all; /* node.peers.all */
  struct node *node;
  struct id id;
  struct addr addr;     /* where it can be dialled; sa_family 0: nowhere */
  struct peer *via;     /* without a link of its own it is reached through this one: its gateway, or a relay; NULL: unknown */
  struct list vias;     /* peer.of_via: those that are reached through this one */
  struct list of_via;   /* peer.vias of its gateway */
  struct session *link; /* IN */
  struct session *dial; /* DIALLING, or FRESH before its PONG was sent */
  struct pool_entry slot;
  struct list waits;   /* node.waiting: for a slot of the pool */
  struct list leaving; /* node.leaving: gives its slot up when it is no longer busy */
  nanotime leave_at;
  struct rpc_party rpc;     /* calls between the two nodes, both ways */
  struct sealed *sealed;    /* keys for envelopes; NULL: none */
  struct bucket agreements; /* signatures that exchanges over its link may cost */
  struct list held;         /* held.of_peer */
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
  struct bucket asked; /* what it asks for its operators: node/view/cost.c */
  struct bucket told;  /* lists of revoked passes that it is sent as it lacks them */
  struct addr seen;    /* where we are, as it told on a link that we dialled; while that stands, it counts */
  struct spread_peer spread;
  /* As they were last counted for a list: publishers here that wait for readers there, and there for readers here. */
  uint32_t paced, pacing;
};

struct peers {
  struct htab tab; /* peer.h */
  struct list all;
  struct pool pool;
  struct seals seals;
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

#define SILENT_MAX                                                                                                             \
  1024u               /* addresses that are remembered because nothing answered there, and IP addresses that were dialled      \
                       */
#define SILENT_KEY 19 /* bytes */
struct silent_addr {
  struct lru_link l;
  uint8_t key[SILENT_KEY];
  uint32_t dials; /* since it answered last */
  nanotime next;  /* not dialled before */
  bool answered;  /* an IP address: something did, so its ports alone count */
};
struct silent {
  struct lru seen;  /* silent_addr.l, the one dialled longest ago first */
  uint64_t refused; /* dials */
};

struct seed { /* an address to join by, or of a node that was lost */
  struct list all;
  struct addr addr;
  struct id id;
  bool has_id; /* `id` is known, from the user or from an earlier link */
  bool pinned; /* by the user */
  bool met;    /* a node answered at this address */
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
