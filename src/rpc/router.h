/* Calls: from caller to provider and back, with failover, deadlines and cancellation. Providers are connected here or, when
 * none of those is left, are other nodes that serve the procedure.
 *
 * A pure state machine: commands and time come in, frames go out through a table of functions. These are called synchronously,
 * only write frames (or refuse), and must not call the router again: no queue, and no re-entry.
 *
 *   router_call -> next provider: here, else a node -- none left, 3 attempts, deadline --> answered
 *                    |   ^  ^  |    ^ no node is known                                       ^
 *                    |   |  |  |    +---> WAITING (for a lookup) -- lookup failed -----------+
 *                    |   |  |  v                                                             |
 *                    |   |  | REACHING (the node's link is being dialled)                    |
 *                    |   |  |    | its share of the time is over, or its link ended: next    |
 *                    v   |  +----+-- ready                                                   |
 *                  PENDING (sent) <-+  -- reply, handler_error ------------------------------+
 *                        | refused, unreachable, ended, silent;
 *                        v timeout of an attempt (idempotent calls only): next provider
 *   The caller's cancel or end frees the call at once, and its provider gets CANCEL. */
#ifndef RPC_ROUTER_H
#define RPC_ROUTER_H

#include "bounded/bucket.h"
#include "tables/calls.h"
#include "tables/discovery.h"
#include "tables/services.h"
#include "wire/msg.h"

struct router;

/* A session's part in calls, as caller and as provider: embedded in the owner's session; must stay until
 * router_session_ended. calls.max and node may be set after rpc_party_init. */
struct rpc_party {
  struct service_owner owner; /* .id, .session, .user: the session's */
  struct call_party calls;
  struct bucket lookups; /* what its calls may begin */
  uint32_t lookups_lent; /* what they have begun beyond that, while it was new */
  bool node;             /* a node of the mesh: its calls are for providers here only; may be sent to before it is ready */
};
void rpc_party_init(struct rpc_party *p, uint64_t session, const struct id *id, void *user);

struct router_send { /* CALL for a provider; CAST when call_id is NULL */
  struct rpc_party *provider;
  const uint8_t *call_id; /* 16 octets, the provider's own: not the caller's */
  struct slice procedure;
  struct shbuf *args;  /* may be NULL; reference it to keep it */
  uint64_t timeout_ms; /* of this attempt, at least 1; 0 for a CAST */
  enum strategy strategy;
  bool idempotent;
};
struct router_answer { /* REPLY for a caller */
  struct rpc_party *caller;
  const uint8_t *call_id; /* 16 octets, the caller's */
  bool is_error;
  struct slice result;                 /* without is_error */
  int err;                             /* the code's number, 0 for a name that this version does not know */
  struct slice code;                   /* its name */
  struct slice message;                /* for people */
  bool may_have_run;                   /* a handler may have run */
  const struct call_attempt *attempts; /* the failed ones in order; .err is never 0 */
  uint32_t attempt_count;
};
struct router_out {
  /* 0, or why the provider cannot be reached now (MACULA_NOT_CONNECTED, MACULA_EFULL, ...): another is tried. MACULA_EBUSY from
   * a node's party: its link is being dialled; router_party_ready or router_session_ended follows. */
  int (*send_call)(void *ctx, const struct router_send *s);
  void (*send_reply)(void *ctx, const struct router_answer *a);
  /* reason: MACULA_CANCELLED or MACULA_TIMEOUT. */
  void (*send_cancel)(void *ctx, struct rpc_party *provider, const uint8_t call_id[CALL_ID_LEN], int reason);
  /* A cast was sent (0) or not (the code): once for each router_cast whose caller has not ended. */
  void (*cast_done)(void *ctx, struct rpc_party *caller, bool has_ref, uint64_t ref, int err);
  /* The rest is the way to other nodes; discover NULL: there is none. */
  /* Begins a lookup of the nodes that serve a procedure: router_discovered follows, later. MACULA_NO_SUCH_PROCEDURE: nobody is
   * there to be asked. MACULA_EFULL, MACULA_ENOMEM. */
  int (*discover)(void *ctx, struct slice procedure);
  /* Nobody waits for it any more. May be NULL. */
  void (*undiscover)(void *ctx, struct slice procedure);
  /* The party of this node's link, which may still be being dialled. MACULA_NOT_CONNECTED, MACULA_NO_ROUTE: the node is not
   * tried again until a lookup names it anew. MACULA_EFULL, MACULA_ENOMEM. */
  int (*reach)(void *ctx, const struct remote_node *where, struct rpc_party **ret_party);
  /* That party if there is one already, NULL otherwise: for least_pending. May be NULL. */
  struct rpc_party *(*known)(void *ctx, const struct remote_node *where);
  void *ctx;
};

struct router_config {
  struct mem *services_mem, *calls_mem;
  struct mem *discovery_mem; /* NULL: calls_mem */
  struct rng rng;
  uint32_t max_services, party_services; /* 10,000 and 256 */
  uint32_t max_calls, party_calls;       /* 65,536 and 1,024 */
  size_t max_args_bytes;                 /* 64 MiB */
  uint32_t max_discovered;               /* 1,000 */
  uint64_t discovery_ttl, negative_ttl;  /* ns: 60 s and 1 s */
  uint64_t look_again;    /* ns: a call for which a lookup found nobody asks once more after this long; 0: it does not */
  uint32_t party_lookups; /* a second, that the calls of one party may begin, in bursts of four times as many, of which those of
                             all new parties come from a pool of 16 times as many, renewed in 4 s; 0: any number */
  uint64_t default_timeout; /* ns, for a call that names none */
  uint64_t max_timeout;     /* ns; longer ones are shortened to it */
  struct router_out out;
};

struct router_stats {
  uint64_t calls, casts;   /* accepted */
  uint64_t replies;        /* results passed on */
  uint64_t handler_errors; /* errors of providers passed on */
  uint64_t no_such_procedure, all_providers_failed, max_attempts_exceeded, timeouts, too_many_calls; /* answered by us */
  uint64_t failovers;       /* attempts after the first */
  uint64_t cancelled;       /* by the caller's cancel or end */
  uint64_t late;            /* replies ignored: late, foreign or invented */
  uint64_t duplicate_calls; /* ignored: that call_id is pending */
  uint64_t sent_to_nodes;   /* attempts */
  uint64_t lookups;         /* begun */
  uint64_t lookups_failed;  /* calls answered with dht_timeout */
  uint64_t lookups_refused; /* calls answered with rate_limited */
};

/* MACULA_ENOMEM (from calls_mem). */
int router_new(const struct router_config *cfg, struct router **ret_router);
/* Accepts NULL. Sends nothing. */
void router_free(struct router *r);

/* For register, unregister and lists. */
struct services *router_services(struct router *r);
const struct calls *router_calls(const struct router *r);
const struct discovery *router_discovery(const struct router *r);
const struct router_stats *router_stats(const struct router *r);

struct router_call {
  const uint8_t *call_id; /* 16 octets */
  struct slice procedure; /* stored form */
  struct shbuf *args;     /* referenced; may be NULL */
  uint64_t timeout_ms;    /* 0: the default */
  enum strategy strategy;
  bool idempotent;
};
/* Answered exactly once through send_reply, perhaps before this returns, unless cancelled, or the caller ends first. The
 * returned code is only for the curious: 0 pending; what was answered already; or MACULA_EBUSY, not answered: that call_id is
 * pending. */
int router_call(struct router *r, struct rpc_party *caller, const struct router_call *c, nanotime now);
struct router_cast {
  struct slice procedure; /* stored form */
  struct shbuf *args;     /* referenced; may be NULL */
  enum strategy strategy;
  bool has_ref; /* for cast_done: */
  uint64_t ref;
};
/* One provider gets it, no answer. It waits for a lookup or a link as a call does, within the default timeout, and counts as
 * one until it is sent; cast_done is called exactly once, perhaps before this returns, unless the caller ends first. The
 * returned code is only for the curious: 0 sent or waiting, or what cast_done was told. */
int router_cast(struct router *r, struct rpc_party *caller, const struct router_cast *c, nanotime now);
/* A provider's REPLY. Counts only from the session that the call was sent to: MACULA_ENOTFOUND (ignored, counted as late)
 * otherwise. Error codes by which a provider refuses (no_handler, no_such_procedure, too_many_calls, not_connected,
 * rate_limited, shutting_down) fail over; all others are final. Of a node's errors those fail over that it says no handler ran
 * for, all_providers_failed, max_attempts_exceeded (it saw its providers refuse or die), and for idempotent calls timeout; one
 * that does not serve the procedure is taken out of what is known. */
int router_reply(struct router *r, struct rpc_party *provider, const struct msg_reply *reply, nanotime now);
/* The caller's CANCEL: freed without an answer, its provider gets CANCEL. MACULA_ENOTFOUND. */
int router_cancel(struct router *r, struct rpc_party *caller, struct slice call_id);
/* The session is gone: its own calls are freed and their providers told; its services leave; calls that it was to answer fail
 * over or are answered. Harmless when repeated. */
void router_session_ended(struct router *r, struct rpc_party *p, nanotime now);
/* The session acknowledges nothing: dead for the calls it was to answer. Its services stay. */
void router_session_silent(struct router *r, struct rpc_party *p, nanotime now);
/* The party of a node can be sent to: what waits for it is sent. */
void router_party_ready(struct router *r, struct rpc_party *p, nanotime now);
/* The answer to discover: nodes other than this one, in any order, at most DISCOVERY_NODES count; none: nobody serves it.
 * err: the lookup failed (MACULA_DHT_TIMEOUT). Ignored unless it was asked for. */
void router_discovered(struct router *r, struct slice procedure, int err, const struct remote_node *nodes, size_t n,
                       nanotime now);
/* The node is dead: taken out of all that is known. Its calls are router_session_ended's or _silent's business. */
void router_forget_node(struct router *r, const struct id *node, nanotime now);
/* When router_tick has work: deadlines of calls and services. TIME_NEVER if never. */
nanotime router_deadline(const struct router *r);
void router_tick(struct router *r, nanotime now);
struct router_limits { /* as in struct router_config */
  uint32_t max_services, party_services, max_calls, party_calls, max_discovered, party_lookups;
  size_t max_args_bytes;
};
/* Limits apply from now on and throw nobody out. */
void router_set_limits(struct router *r, const struct router_limits *limits);

/* Services, calls, discovery and what parties have in flight. O(calls, registrations and entries). */
const char *router_check(const struct router *r);
/* What of calls_mem is its own, without arguments; what of services_mem and discovery_mem: services_owned, discovery_owned. */
size_t router_owned(const struct router *r);

#endif
