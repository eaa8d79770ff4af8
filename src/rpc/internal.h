/* What the files of src/rpc share. */
#ifndef RPC_INTERNAL_H
#define RPC_INTERNAL_H

#include "base/err.h"
#include "rpc/router.h"

struct router {
  struct services services;
  struct calls calls;
  struct discovery discovery;
  struct mem *mem;
  struct rng rng;
  uint64_t default_timeout, max_timeout, look_again;
  uint32_t party_lookups;
  struct bucket lent; /* budget of lookups for all new parties together */
  struct router_out out;
  const struct spent *spent;
  struct list lost;   /* call.of_provider: calls without a provider, of which the next attempt is to begin */
  struct list ending; /* rpc_party.ending: callers that have ended, whose calls are to be cancelled */
  struct list ready;  /* rpc_party.ready: nodes to which calls that waited for a link are to be sent */
  struct router_stats stats;
  struct rpc_party vacant; /* stands in for providers that were lost, so that calls wait for their return; always silent */
  uint64_t cast_id[2];     /* a secret and a counter, from which the ids of casts in the table of calls are made */
};

static inline struct rpc_party *party_of(struct call_party *p) { return container_of(p, struct rpc_party, calls); }
static inline struct slice name_of(const struct call *c) { return slice_of(c->procedure, c->len); }

/* router.c: a call's end */
/* Answers the call with this error and a list of its failed attempts; frees it. */
void call_finish_error(struct router *r, struct call *c, int err);
/* A cast has been sent. */
void call_finish_cast(struct router *r, struct call *c);
/* Takes the call back from its provider. */
void call_release(struct call *c);

/* attempt.c */
/* Gives the call to the next provider that accepts it, or lets it wait for a lookup, else answers it with an error. Allocates
 * memory only for a lookup. Returns 0, or the code of the answer. */
int call_attempt(struct router *r, struct call *c, nanotime now);
/* The current attempt failed. may_have_run: the provider had it, and whether its handler ran is unknown. */
void call_fail_attempt(struct call *c, int err, bool may_have_run);
/* The node of the current attempt does not serve the procedure or cannot be reached: it is not chosen again until a lookup
 * finds it again.
 */
void call_forget_node(struct router *r, struct call *c, nanotime now);
/* Frames can now be sent to the party of the current attempt. Returns as call_attempt. */
int call_send_now(struct router *r, struct call *c, nanotime now);
/* The party of the current attempt is silent: whether another one can be tried at once instead. */
bool call_has_choice(struct router *r, const struct call *c, nanotime now);
/* The party of the current attempt is gone: whether it may have begun, so that the call is not tried elsewhere unless it may
 * repeat. */
bool call_has_begun(const struct router *r, const struct call *c);

#endif
