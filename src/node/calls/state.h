/* What the node keeps of calls. */
#ifndef NODE_CALLS_STATE_H
#define NODE_CALLS_STATE_H

#include "bounded/htab.h"
#include "rpc/router.h"

struct rpc {
  struct router *router;
  struct htab lookups; /* of procedures: providers.c */
  uint64_t lookup_number;
  struct id way; /* while a frame out of an envelope is handled: the node that handed it over; else zero */
};

#endif
