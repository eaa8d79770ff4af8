/* What the node keeps of messages: of its own clients, and of other nodes. */
#ifndef NODE_MESSAGES_STATE_H
#define NODE_MESSAGES_STATE_H

#include "base/list.h"
#include "bounded/bucket.h"
#include "bounded/serial.h"
#include "pubsub/dedup.h"
#include "pubsub/gets.h"
#include "pubsub/inflight.h"
#include "pubsub/interest.h"
#include "pubsub/retained.h"
#include "pubsub/retained_log.h"
#include "pubsub/topic_index.h"
#include "wire/interest.h"
#include "wire/msg.h"

struct fanout;
struct gather;
struct delivery {   /* a message that many get, from the turn on in which not all had their copies: messages/deliver.h */
  struct gather *g; /* while these are still being found: messages/gather.h; else NULL */
  struct fanout *f; /* NULL: while it is, of a client's */
  unsigned qos;
  struct { /* who is told when the last one has its copy: */
    bool wanted;
    uint64_t session; /* a client's, */
    struct id peer;   /* or 0: another node */
    uint64_t ref;
    int err;
    struct msg_partly partly;
    uint64_t number; /* of a message that other nodes are to acknowledge, and then the publisher is told; 0: none */
  } end;
  uint32_t count, most, at; /* most: there is room for */
  uint64_t to[];            /* serials of the sessions that are to get it; those before `at` have it */
};

struct groups {        /* of subscribers: messages/groups.h */
  struct list members; /* session.of_groups: those with copies that they have not acknowledged */
  struct list left;    /* group_copy.all: of members that have ended */
  uint32_t count;      /* copies, in both, */
  size_t bytes;        /* and their bytes of send_pool */
  uint64_t last;       /* id of a copy */
  /* groups beyond what a message may reach; copies that no memory was left for; messages that a node got for a group that has
   * no member there any more; that went to another member; that found none */
  uint64_t left_out, unkept, missed, moved, lost;
  struct bucket lines;
};

struct own_messages { /* messages/own.h */
  struct list all;
  uint32_t count;
  uint64_t wills, lost;
  struct bucket lines;
};

struct messages {
  struct own_messages own;
  struct groups groups;
  struct topic_index *topics;
  struct retained retained;
  struct retained_log log; /* of these, on disk */
  struct dedup dedup;
  struct delivery *rest;    /* NULL: all messages have been delivered */
  struct bucket match_rate; /* budget of steps for expensive matches */
  struct serial made;       /* ids of messages that came without one */
};

struct replays {    /* of retained messages */
  struct list all;  /* replay.of_node */
  struct list mark; /* marks the place in `all`: replays that have had their turn stand behind it */
  uint32_t count;
  size_t visits; /* of retained messages in this turn */
};

struct spread {
  struct interest *interest; /* NULL: not yet, or no more */
  struct inflight inflight;
  struct gets gets;
  struct list peers; /* spread_peer.of_node: those that interest is exchanged with */
  uint32_t count;
  bool full_said;
  uint32_t outside;                    /* members for which there is no room in `peers` now */
  uint32_t silent;                     /* nodes that acknowledge nothing */
  uint32_t outside_silent;             /* both */
  uint64_t left_out;                   /* how often there was no room for a member */
  uint64_t silenced;                   /* how often a node was found silent */
  uint64_t sent, received, duplicates; /* messages sent to and received from other nodes; received again */
  uint64_t dropped;                    /* messages that a link's queue, or the frames that wait for one, had no room for */
  struct list mark;    /* marks a place in a list that is walked: sources that have to wait again stand behind it */
  struct list cleared; /* topics cleared here lately, oldest first: for nodes that were away */
  uint32_t cleared_count;
  uint64_t cleared_seq;
  /* retained messages received from other nodes for new subscriptions; own ones dropped because another node has a newer one */
  uint64_t recalled, moved;
  uint64_t unasked; /* retained messages that other nodes told of and that were ignored: not asked for, or of the far future */
};

struct spread_peer { /* embedded in struct peer */
  struct list of_node;
  struct interest_peer interest;
  struct inflight_party unacked; /* QoS 1 messages that it has not acknowledged */
  struct list replays;           /* of our retained messages, that it asked for */
  uint32_t replay_count;
  struct gets_node answers; /* its retained messages, on their way to our new subscriptions */
  bool on;                  /* in spread.peers */
  bool dead;                /* membership has declared it dead: nothing is sent to it */
  bool outside;             /* alive, and there is no room for it in spread.peers */
  bool heard;               /* on this path it has said something of its interest, or asked for ours */
  bool silent;              /* it has left acknowledgements open, or never said anything: it is not waited for */
  uint32_t lapses;          /* how often it was found silent, lately */
  nanotime silent_until;    /* at the earliest: grows with the lapses */
  nanotime spoke_at;        /* when it was last found not to be silent any more */
  nanotime silent_line_at;  /* the earliest time at which that it is silent is logged again */
  uint64_t probe;           /* number of a message sent while it is silent: by it or a later one it can show that it answers */
  nanotime probe_at;
  nanotime path_at; /* since when the path leads to it */
  uint64_t path;    /* serial of the connection that leads to it; 0: none */
  uint8_t instance[INSTANCE_LEN];
  nanotime check_at, retry_at;
  struct bucket haves;   /* of INTEREST_HAVE */
  struct wire_have have; /* the last one beyond that, which is answered when there is one to spend again */
  bool have_waits;
  int64_t skew; /* ms: how far our clock is ahead of its, plus the time that its frame took here */
  bool has_skew;
  bool holder;           /* it holds retained messages, and was asked for those that new subscriptions want */
  uint64_t asked;        /* number of the last of these subscriptions that it was asked for */
  nanotime ask_at;       /* before this it is not asked again for all of them, however often it says that it holds some */
  uint64_t down_ms;      /* when the last path to it ended; 0: there was none */
  uint64_t tell_after;   /* retained_entry.seq: told so far of what we took while it was away; UINT64_MAX: all */
  uint64_t tell_cleared; /* likewise of what we cleared */
  uint32_t paces[2];     /* records of messages/pace.h: of our publishers that it has said are to wait, and of its own */
  uint64_t claims_told;  /* number of the last session of MQTT that it was told of */
  uint64_t tell_newer;   /* it is told only of what was accepted after this time, Unix ms */
};

#endif
