/* What the node keeps of the flow of messages: who has been sent more than it has taken yet, and which publishers wait for it.
 */
#ifndef NODE_FLOW_STATE_H
#define NODE_FLOW_STATE_H

#include <stdbool.h>

#include "base/list.h"
#include "base/time.h"
#include "bounded/bucket.h"
#include "bounded/htab.h"

struct peer;
struct session;

/* A session's deliveries at one moment, in bytes since its begin, modulo 2^32. */
struct keep_sample {
  nanotime at; /* by the flow's clock; 0: none */
  uint32_t total, acked;
};
struct keep { /* whether it keeps up: flow/keep.h; both newest first */
  struct keep_sample past[3], far[3];
};

struct budget { /* of waiting, as seconds that may still be waited: flow/budget.h */
  struct bucket left;
  nanotime until; /* it has been charged up to then */
};

/* What publishers wait for: a reader's queue, or another node's word that a connection may go on. */
struct flow_awaited {
  struct session *s;
  struct list all;     /* flow.readers: those that publishers wait for stand before the others */
  struct list holders; /* flow_held.of_awaited, longest first */
  nanotime
      progress; /* of the queue, when the first of those that wait was looked at; it is looked at again when that changes, */
  nanotime again_at; /* or then */
  bool far;          /* it is part of a flow_paced, else of a flow_reader */
};
/* A session whose queue is long, from the time that it becomes so until it was empty. */
struct flow_reader {
  struct flow_awaited at;
  struct keep keep;
  nanotime keeps_at;   /* flow.clock + 1 when it was found to keep up: at that moment it does; 0: never */
  struct list paces;   /* flow_pacing.of_reader: publishers at other nodes that are told to wait for it, */
  struct list pacing;  /* and while there are any: flow.pacing.readers */
  nanotime over_until; /* nobody is told to wait for it while others are hungry, */
  nanotime paced_at;   /* progress of its queue when these were looked at last */
};

static inline void flow_awaited_init(struct flow_awaited *r, struct session *s) {
  *r = (struct flow_awaited){.s = s};
  list_init(&r->all);
  list_init(&r->holders);
}
/* Another one that the publisher's messages go to. */
struct flow_other {
  uint64_t who; /* the session's serial; a link: its address, cleared when it ends */
  uint32_t at;  /* ms */
  bool link;
};
struct flow_others { /* the last two, the latest first */
  uint64_t who[2];
  uint32_t at[2]; /* ms; the lowest bit: a link */
};

/* A publisher's session while its publish waits for room in a reader's queue. */
struct flow_held {
  struct session *s;
  struct flow_awaited *awaited;
  struct list of_awaited;
  struct flow_other least; /* of the other recipients, the one with the shortest queue */
  nanotime since, charged; /* charged: it has been looked at */
  uint32_t need;           /* bytes */
  uint8_t kind;            /* enum budget_kind */
  bool hungry;             /* another recipient was, at that look */
  uint64_t turn;           /* flow.turn in which it began */
};

/* Another node has said that one of its readers has no room for what one of our connections publishes: messages/pace.h. */
struct flow_paced {
  struct flow_awaited at; /* at.s: the link that leads to it, at.holders: that connection's publish, if it waits for this */
  struct peer *peer;      /* the other node */
  struct session *from;   /* the publishing connection, and the next one of what was said of it: */
  struct flow_paced *next;
  struct list all;     /* flow.paced.all */
  nanotime full_until; /* the reader's queue is long, as far as is known; */
  nanotime until;      /* it is to wait until then */
  /* It may go on, and for a while no faster than the reader can tell of it: */
  nanotime round_at;          /* when the present round trip began, */
  uint64_t room;              /* that was told, for when an account is empty */
  uint64_t window, sent;      /* in which so many bytes may be sent; 0: it may not go on yet */
  bool moves, beside, lately; /* wire/msg.h: struct msg_pace */
};
/* A connection at another node that was told so by us. */
struct flow_pacing {
  struct hlink h;
  struct peer *peer;
  uint64_t connection;        /* its number at the other node; peer and this are the key */
  struct session *link;       /* that leads to the other node */
  struct flow_reader *reader; /* of ours, the fullest */
  struct list of_reader;
  struct list all;                        /* flow.pacing.all */
  nanotime said_at, looked_at, beside_at; /* beside_at: since when others are hungry */
  uint64_t other;                         /* serial of another reader that its messages went to, */
  nanotime other_at;                      /* then */
  uint8_t kind;                           /* enum budget_kind, of the last message */
  bool moves, beside, lately;
};
#define PACE_MOST 4096u /* of both together, and of either three quarters of that */

struct flow {
  nanotime clock;      /* time in which this node could send */
  nanotime last;       /* node.now of the turn before */
  uint64_t stood;      /* ns that it stood still since, */
  uint64_t stood_said; /* of a standstill of so long */
  struct list readers;
  struct list
      released; /* flow_held.of_awaited: those that go on whatever their reader does, as an account is empty or it has ended */
  uint32_t reader_count, held_count;
  nanotime look_at;            /* when accounts are charged next */
  struct flow_awaited *served; /* the one whose holders go on now, so that none of them waits for the others */
  uint64_t turn;               /* counts the node's turns */
  bool ready;                  /* some may be able to go on, and there was no time to see to it */
  uint64_t held, over;         /* times that a publisher was held, and that it went on as an account was empty */
  uint64_t displaced;          /* records of either kind below that made room for one of another node */
  double waited;               /* s, for readers beside hungry ones */
  struct {
    struct list all;
    uint32_t count, nodes; /* nodes: that have said so */
    nanotime sweep_at;
    uint64_t heard, ignored; /* frames; those about connections that are gone, or for which there was no room */
  } paced;
  struct {
    struct htab tab;
    struct list all, readers;
    uint32_t nodes; /* whose connections these are */
    nanotime look_at;
    uint64_t said, refused; /* frames; connections for which there was no room */
  } pacing;
};

#endif
