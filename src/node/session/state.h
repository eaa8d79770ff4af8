/* What the node keeps of connections. */
#ifndef NODE_SESSION_STATE_H
#define NODE_SESSION_STATE_H

#include "base/delay.h"
#include "base/list.h"
#include "bounded/bucket.h"
#include "bounded/heavy.h"
#include "bounded/lru.h"
#include "bounded/thin.h"
#include "node/doors/door.h"
#include "node/flow/state.h"
#include "node/limits.h"
#include "node/trust/state.h"
#include "pubsub/gets.h"
#include "pubsub/inflight.h"
#include "pubsub/topic_index.h"
#include "rpc/router.h"
#include "tables/clients.h"
#include "tables/principals.h"
#include "wire/names.h"

struct node;
struct peer;
struct seed;

#define STREAM_WINDOW (64u * 1024) /* bytes: the initial window of a connection and of each bidirectional stream */
#define ONE_WAY_WINDOW (8u * 1024) /* of each unidirectional one */
#define LINK_WAYS 3u               /* one-way ways of a link, each way: for calls, for large ones, and for publishes */
#define NOTICE_KEPT 199            /* bytes kept of the text of a NOTICE to come */
#define NAME_KEPT 64               /* bytes kept of the label of a client or node; see utf8_label */

enum session_state { SESSION_FRESH, SESSION_JUDGING, SESSION_DIALLING, SESSION_IN, SESSION_OVER };

struct lane_block;
struct lane_queue { /* frames that wait for the door */
  struct lane_block *first, *last;
  size_t bytes;
};
struct lanes {
  struct lane_queue *lane; /* LANES of them, made at first use; NULL: none yet */
  size_t bytes;
  struct list filled; /* sessions.filled, while there are any */
};

struct window {  /* of what a session is sent on one way */
  uint32_t size; /* now */
  uint32_t used; /* of it, since: */
  nanotime since;
};

struct origin_slots;
struct origin_heard;
struct origins {                 /* [0]: of callers, [1]: of publishers */
  struct origin_slots *told[2];  /* what the peer's slots hold; NULL: nothing yet, or no room */
  struct origin_heard *heard[2]; /* of a link: what the other node announced; NULL: nothing yet, or no room */
  bool deaf;                     /* there was no room */
};

struct topics_heard;
struct topics_told;
struct own_flow {            /* what is made when a session first publishes to a reader, or is waited for */
  struct budget waits, slow; /* as of an account, for a client that has shown no key: those of one address are many */
  struct flow_others others; /* that its publishes went to last */
};

struct topics { /* that have numbers: session/topics.h */
  struct htab tab;
  size_t bytes; /* of them and of all slots, without the table's own */
  uint64_t last;
  uint64_t refused; /* announcements for which there was no room */
  nanotime said;    /* the earliest time at which that is logged again */
};

struct msg_connect;

/* What only a native client or another node needs: one of MQTT neither calls nor serves, has one way, is told of no numbers,
 * and is not dialled. */
struct native {
  struct session *session;
  struct list watch; /* sessions.watched, while it is watched */
  struct rpc_party rpc;
  struct origins origins;
  struct {
    struct topics_heard *heard; /* what the peer's numbers stand for; NULL: nothing yet */
    struct topics_told *told;   /* what the peer's slots hold; NULL: nothing yet, or no room */
  } topics_of;
  struct bucket asked;  /* of com.macula.*: node/view/admin.c */
  struct delays delays; /* of a link: of the other node's calls */
  struct seed *seed;    /* dialled to join; may be NULL */
  nanotime dial_until;  /* DIALLING: PONG must come by then */
  struct {
    uint32_t seen, ended, closed; /* one-way ways of the peer: begun, read to their end, gone from the door */
    uint64_t last;                /* that the peer says at its end it has opened */
  } ways;
};

struct session {
  struct node *node;
  struct door door;
  struct lanes lanes;
  uint64_t serial;
  enum session_state state;
  bool ended;         /* session_end has run */
  bool ended_by_us;   /* and not because its peer is silent */
  bool goodbye;       /* the peer ended it, or we have no more to do with it: it is not expected back */
  bool slashes;       /* base-only: it wrote a slash in a pattern, and gets topics as their publishers spelled them */
  bool said_left_out; /* base-only: it was logged that a frame of it was left out */
  bool set_aside;     /* what was overdue for it was moved by its door, and it has taken nothing since: nobody waits for it */
  bool base;          /* base-only: no extensions, only `bin` */
  bool trusted;       /* may ask for the lists: it has the role operator, or connects over loopback where all is open */
  bool watched;       /* door_watch is on */
  bool dialled;       /* by us: a link */
  int end_err;        /* of a link: why it ended */
  uint32_t caps;
  int64_t at; /* way whose frame is being handled; -1: none */
  struct {
    struct list all; /* sessions.judged, while JUDGING; sessions.verdicts, when it is to be given */
    int64_t way; /* the way on which CONNECT and what follows it are held until the verdict; -1: CONNECT is being handled now */
    const struct msg_connect *connect; /* set only while CONNECT is being handled */
    const char *text;
    int err;
    bool given; /* the verdict has come: it is err and text */
  } judged;
  nanotime since;
  struct list all, fresh, doomed, paused; /* of the node */
  struct list waits;                      /* account.waiting: it is not read for a while */
  struct list streams;                    /* stream.of_session: those that hold something */
  struct list replays;                    /* of retained messages that wait for room or time */
  struct peer *peer;                      /* a link: the other node, once its id is proved; else NULL */
  struct clients_entry client;
  struct rights rights;
  struct account *account;  /* a client's, from the time that it is let in until its end; else NULL */
  struct own_flow *own;     /* NULL: not used yet */
  struct principal *origin; /* of a client: a reference; NULL: none yet, or no room */
  uint64_t unnoticed;       /* what NOTICE will count next: */
  int unnoticed_err;        /* the latest, */
  char *unnoticed_text;     /* and its text; NULL: none, or no room */
  uint32_t group_count;     /* of its subscriptions: as member of a group */
  struct list noticed;      /* sessions.noticed: it had a NOTICE, and has none more before */
  nanotime notice_at;
  struct topic_subscriber topics;
  struct shbuf *will;                  /* of a client: what is published if it ends without goodbye; NULL: nothing */
  const char *end_reason;              /* why it ends, static text; NULL: its connection is gone */
  struct list group_copies, of_groups; /* messages of groups that it has not acknowledged; groups.members, if there are any */
  struct inflight_party unacked;       /* its QoS 1 messages that other nodes have not acknowledged */
  struct gets_party gets;              /* its new subscriptions, for what other nodes retain */
  char *name;                          /* may be NULL */
  struct window window;                /* of the way of CONNECT */
  struct {
    struct list all; /* sessions.leaving, from its goodbye on while something is left to read */
    nanotime until;
  } leaving;
  uint64_t dropped;           /* messages */
  uint64_t refused;           /* requests and publishes */
  uint32_t untold;            /* of these, so many */
  bool is_other;              /* a link: it may be one of others, or least, of another session */
  bool paces;                 /* a link: PACE was said or heard on it */
  bool holds;                 /* set while a publish is handled: its frame is to stay unread */
  struct flow_paced *paced;   /* what other nodes said of it by PACE */
  struct flow_reader *reader; /* NULL: its queue is short */
  struct flow_held *held;     /* NULL: none of its publishes waits for a reader */
  struct native *native;      /* in the same block; NULL: it came by a door of messages only */
};

#define DROPS_MAX 256u
enum drop_who { DROP_READER, DROP_PUBLISHER, DROP_NODE }; /* whose loss it is */
struct drop {                                             /* messages of one topic that one lost for one reason */
  struct lru_link l;
  uint64_t serial; /* of the session; of a node the beginning of its id */
  struct id id;
  enum drop_who who;
  const char *reason; /* static text */
  uint64_t count;
  nanotime first, last;
  uint8_t len;
  char topic[NAME_MAX_LEN];
  char name[NAME_KEPT + 1];
};

struct tallies { /* session/tally.h */
  struct thin published, lost;
  struct heavy topics;
  struct lru drops;
};

struct sessions {
  struct list all;         /* that have a connection */
  struct list fresh;       /* before CONNECT, oldest first */
  struct list doomed;      /* to be ended */
  struct list paused;      /* publishers that wait for the pool, longest first */
  struct list watched;     /* native.watch: sessions that have calls pending, or had until lately */
  struct list noticed;     /* session.noticed, ordered by notice_at */
  struct list filled;      /* lanes.filled: frames wait for their doors */
  struct lane_block *left; /* of lanes that were cleared: to be freed, */
  uint32_t left_freed;     /* so many items of it in this turn */
  struct list judged;      /* session.judged: sessions that wait for the verdict on their CONNECT, the latest last */
  /* Returns whether the verdict on a CONNECT that breaks no rule comes later, or has been given within it, by session_verdict
   * or session_settle; at first users_judge. */
  bool (*judge)(void *ctx, struct session *s, const struct msg_connect *m);
  void *judge_ctx;
  struct list verdicts; /* session.judged: those whose verdict can be given */
  struct list leaving;  /* session.leaving, the earliest first */
  uint32_t count;
  nanotime paused_at;
  struct clients clients;
  struct principals principals;
  struct topics topics;
  nanotime origins_said;      /* the earliest time at which it is logged again that there is no room for principals */
  struct bucket origin_lines; /* lines about nodes that named principals which they had not announced */
  struct bucket refusals;     /* lines about clients that were refused or ended */
  uint64_t refusals_left_out;
  struct bucket losses; /* lines about messages that were dropped */
  uint64_t losses_left_out;
};

#endif
