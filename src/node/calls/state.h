/* What the node keeps of calls. */
#ifndef NODE_CALLS_STATE_H
#define NODE_CALLS_STATE_H

#include "bounded/htab.h"
#include "rpc/router.h"

struct rpc {
  struct router *router;
  struct htab lookups; /* of procedures: providers.c */
  uint64_t lookup_number;
};

#endif
