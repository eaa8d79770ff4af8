/* What the node keeps of the flow of messages: who has been sent more than it has taken yet, and which publishers wait for it.
 */
#ifndef NODE_FLOW_STATE_H
#define NODE_FLOW_STATE_H

#include <stdbool.h>

#include "base/list.h"
#include "base/time.h"
#include "bounded/bucket.h"

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

/* A session whose queue is long, from the time that it becomes so until it was empty. */
struct flow_reader {
  struct session *s;
  struct list all;     /* flow.readers: those that publishers wait for stand before the others */
  struct list holders; /* flow_held.of_reader, longest first */
  struct keep keep;
  nanotime
      progress; /* of its queue, when the first of those that wait was looked at; it is looked at again when that changes, */
  nanotime again_at; /* or then */
};

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
  struct flow_reader *reader;
  struct list of_reader;
  struct flow_other least; /* of the other recipients, the one with the shortest queue */
  nanotime since, charged; /* charged: it has been looked at */
  uint32_t need;           /* bytes */
  uint8_t kind;            /* enum budget_kind */
  bool hungry;             /* another recipient was, at that look */
  uint64_t turn;           /* flow.turn in which it began */
};

struct flow {
  nanotime clock;      /* time in which this node could send */
  nanotime last;       /* node.now of the turn before */
  uint64_t stood;      /* ns that it stood still since, */
  uint64_t stood_said; /* of a standstill of so long */
  struct list readers;
  struct list
      released; /* flow_held.of_reader: those that go on whatever their reader does, as an account is empty or it has ended */
  uint32_t reader_count, held_count;
  nanotime look_at;           /* when accounts are charged next */
  struct flow_reader *served; /* the one whose holders go on now, so that none of them waits for the others */
  uint64_t turn;              /* counts the node's turns */
  bool ready;                 /* some may be able to go on, and there was no time to see to it */
  uint64_t held, over;        /* times that a publisher was held, and that it went on as an account was empty */
  double waited;              /* s, for readers beside hungry ones */
};

#endif
