/* What the node keeps of calls. */
#ifndef NODE_CALLS_STATE_H
#define NODE_CALLS_STATE_H

#include "base/list.h"
#include "bounded/htab.h"
#include "node/doors/door.h"
#include "rpc/router.h"

struct rpc {
  struct router *router;
  struct htab lookups; /* of procedures: providers.c */
  struct list put_off; /* lookups that begin when the node has heard the others (mesh/start.h) */
  uint64_t lookup_number;
  struct { /* the connection that is ending, or was the last to end */
    uint64_t connection;
    struct door_offsets at[2]; /* of calls, and of large ones */
    bool known[2], ours;       /* ours: we ended it, and not because its peer is silent */
  } ended;
  uint64_t stood;        /* ns: what comes may have waited for so long, as this process stood still (base/endpoint.h) */
  uint64_t stood_next;   /* the same of what comes next, once all that came before has been handled */
  nanotime stood_say_at; /* the earliest time at which it is logged again */
  struct id way;         /* while a frame out of an envelope is handled: the node that handed it over; else zero */
};

#endif
