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
  struct bucket lent; /* lookups, to parties that are new */
  struct router_out out;
  struct router_stats stats;
  uint64_t cast_id[2]; /* a secret and a counter: names casts in the table of calls */
};

static inline struct rpc_party *party_of(struct call_party *p) { return container_of(p, struct rpc_party, calls); }
static inline struct slice name_of(const struct call *c) { return slice_of(c->procedure, c->len); }

/* router.c: a call's end */
/* Answers with this error and what is known of the attempts; frees the call. */
void call_finish_error(struct router *r, struct call *c, int err);
/* A cast has been sent. */
void call_finish_cast(struct router *r, struct call *c);
/* Takes it back from its provider. */
void call_release(struct call *c);

/* attempt.c */
/* Gives the call to the next provider that takes it, or lets it wait for a lookup, else answers. Allocates nothing but for a
 * lookup. Returns 0 or what was answered. */
int call_attempt(struct router *r, struct call *c, nanotime now);
/* The current attempt failed. may_have_run: the provider had it, and whether its handler ran is unknown. */
void call_fail_attempt(struct call *c, int err, bool may_have_run);
/* The node of the current attempt does not serve the procedure, or cannot be reached: not chosen again till it is found again.
 */
void call_forget_node(struct router *r, struct call *c, nanotime now);
/* The party of the current attempt can be sent to at last. Returns as call_attempt. */
int call_send_now(struct router *r, struct call *c, nanotime now);

#endif
