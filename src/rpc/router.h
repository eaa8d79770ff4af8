/* Calls: from caller to provider and back, with failover, deadlines and cancellation. Providers connected here are tried first,
 * then other nodes that serve the procedure.
 *
 * A pure state machine: commands and time come in, frames go out through a table of functions. These functions are called
 * synchronously, only write frames or refuse, and must not call the router.
 *
 *   router_call -> next provider: here, else a node -- none left, 3 attempts, deadline --> answered
 *                    |   ^  ^  |    ^ no node is known                                       ^
 *                    |   |  |  |    +---> WAITING (for a lookup) -- lookup failed -----------+
 *                    |   |  |  v                                                             |
 *                    |   |  | REACHING (the node's link is being dialled, or all that could  |
 *                    |   |  |    |      be tried are silent, or were lost a moment ago)       |
 *                    |   |  |    | its share of the time is over, its party ended: next      |
 *                    v   |  +----+-- ready, heard again; another provider registers: next    |
 *                  PENDING (sent) <-+  -- reply, handler_error, lost when it may have begun -+
 *                        | refused, unreachable, ended before it had any of it;
 *                        | where it may repeat: ended, silent while there is another, timeout of an attempt:
 *                        v next provider
 *   The caller's cancel or end frees the call at once, and its provider gets CANCEL.
 *
 * A call may repeat if it is idempotent, or the provider registered the service as idempotent and the call does not say once.
 */
#ifndef RPC_ROUTER_H
#define RPC_ROUTER_H

#include "base/latency.h"
#include "base/turns.h"
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
  struct bucket lookups; /* budget of lookups for its calls */
  uint32_t lookups_lent; /* lookups that it has borrowed from the pool for new parties */
  /* a node of the mesh: its calls are only for providers connected here; calls may be assigned to it while its link is
   * dialled */
  bool node;
  struct list ending, ready; /* of the router: what of its calls is left to be done */
};
void rpc_party_init(struct rpc_party *p, uint64_t session, const struct id *id, void *user);

struct router_send { /* CALL for a provider; CAST when call_id is NULL */
  struct rpc_party *provider;
  const uint8_t *call_id; /* 16 bytes, made for the provider: not the id that the caller chose */
  struct slice procedure;
  struct shbuf *args;  /* may be NULL; reference it to keep it */
  uint64_t timeout_ms; /* of this attempt, at least 1; 0 for a CAST */
  enum strategy strategy;
  bool idempotent, once;
  bool waits;                 /* no other node is known that could be tried */
  struct principal *origin;   /* who calls; NULL: unknown */
  struct call_mark *ret_mark; /* where it was sent; left as it is when that is not known */
};
enum call_fate {
  CALL_UNSENT,  /* nothing of it has been sent */
  CALL_UNACKED, /* nothing of it was acknowledged, and its party was not ended for another reason than that it is gone */
  CALL_BEGUN,   /* or it is not known */
};
struct router_answer { /* REPLY for a caller */
  struct rpc_party *caller;
  const uint8_t *call_id; /* 16 bytes, the caller's */
  const struct id *way;   /* of the call */
  bool is_error;
  struct slice result;                 /* without is_error */
  int err;                             /* the code's number, 0 for a name that this version does not know */
  struct slice code;                   /* its name */
  struct slice message;                /* for people */
  bool may_have_run;                   /* a handler may have run */
  bool may_repeat;                     /* which is of a service that is idempotent, or the call is */
  const struct call_attempt *attempts; /* the failed attempts in order; .err is never 0 */
  uint32_t attempt_count;
};
struct router_out {
  /* 0, or why nothing can be sent to the provider now (MACULA_NOT_CONNECTED, MACULA_EFULL, ...): another one is tried.
   * MACULA_EBUSY from a node's party: its link is being dialled; router_party_ready or router_session_ended follows. */
  int (*send_call)(void *ctx, const struct router_send *s);
  void (*send_reply)(void *ctx, const struct router_answer *a);
  /* What has become of a call that was sent to this party, which may be gone; never CALL_BEGUN in error. NULL: not known. */
  enum call_fate (*fate)(void *ctx, const struct rpc_party *provider, const struct call_mark *mark);
  /* reason: MACULA_CANCELLED or MACULA_TIMEOUT. large: as the call's mark has it. */
  void (*send_cancel)(void *ctx, struct rpc_party *provider, const uint8_t call_id[CALL_ID_LEN], int reason, bool large);
  /* A cast was sent (0) or not (the code): once for each router_cast whose caller has not ended. */
  void (*cast_done)(void *ctx, struct rpc_party *caller, bool has_ref, uint64_t ref, int err);
  /* The functions below lead to other nodes. discover NULL: there are none. */
  /* Begins a lookup of the nodes that serve a procedure; router_discovered must follow later, not within this call.
   * MACULA_NO_SUCH_PROCEDURE: there is no node to ask. MACULA_EFULL, MACULA_ENOMEM. */
  int (*discover)(void *ctx, struct slice procedure);
  /* No call waits for this lookup any more. May be NULL. */
  void (*undiscover)(void *ctx, struct slice procedure);
  /* The party of this node, whose link may still be being dialled, or which is silent. MACULA_NOT_CONNECTED, MACULA_NO_ROUTE:
   * the node is not tried again until a lookup finds it anew. MACULA_EFULL, MACULA_ENOMEM. */
  int (*reach)(void *ctx, const struct remote_node *where, struct rpc_party **ret_party);
  /* The party of this node if it exists already, else NULL: for least_pending. May be NULL. */
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
  uint64_t look_again; /* ns after which a call for which a lookup found nobody looks up once more; 0: it does not */
  /* lookups a second that the calls of one party may begin, in bursts of four times as many. The bursts of all new parties come
   * from one pool of 16 times as many, which is refilled in 4 s. 0: no limit */
  uint32_t party_lookups;
  uint64_t default_timeout; /* ns, for a call that names none */
  uint64_t max_timeout;     /* ns; longer ones are shortened to it */
  struct router_out out;
  const struct spent *spent; /* NULL, or: the calls of a party that has ended, and those that are due, are handled in slices */
};

struct router_stats {
  uint64_t calls, casts;   /* accepted */
  uint64_t replies;        /* results passed on */
  uint64_t handler_errors; /* errors of providers passed on */
  uint64_t no_such_procedure, all_providers_failed, max_attempts_exceeded, timeouts, too_many_calls; /* answered by us */
  uint64_t lost;            /* calls answered with provider_lost */
  uint64_t unavailable;     /* calls of other nodes answered with not_connected, as all providers here are silent */
  uint64_t failovers;       /* attempts after the first */
  uint64_t cancelled;       /* by the caller's cancel or end */
  uint64_t late;            /* replies ignored: late, foreign or invented */
  uint64_t duplicate_calls; /* ignored: that call_id is pending */
  uint64_t sent_to_nodes;   /* attempts */
  uint64_t lookups;         /* begun */
  uint64_t lookups_failed;  /* calls answered with dht_timeout */
  uint64_t lookups_refused; /* calls answered with rate_limited */
  uint64_t resent;          /* attempts that never came to the node, as it had forgotten the key, sent once more */
  struct latency took;      /* from a call to its provider's answer, which may be an error */
};

/* MACULA_ENOMEM (from calls_mem). */
int router_new(const struct router_config *cfg, struct router **ret_router);
/* Accepts NULL. Sends nothing. */
void router_free(struct router *r);

/* For register, unregister and lists. */
struct services *router_services(struct router *r);
/* Registrations of providers that are there: without those that were lost, and whose return is waited for. */
uint32_t router_registered(const struct router *r);
const struct calls *router_calls(const struct router *r);
const struct discovery *router_discovery(const struct router *r);
const struct router_stats *router_stats(const struct router *r);

struct router_call {
  const uint8_t *call_id; /* 16 bytes */
  struct slice procedure; /* stored form */
  struct shbuf *args;     /* referenced; may be NULL */
  struct id way;          /* the node through which a call of another node came; zero: it came over that node's own link */
  uint64_t timeout_ms;    /* 0: the default */
  enum strategy strategy;
  bool idempotent;
  bool once;                /* see CALL_UNACKED */
  bool waits;               /* the caller is a node that knows no other one to try */
  uint64_t age;             /* ns that it has been on its way, counted from its deadline */
  struct principal *origin; /* who calls, referenced; NULL: unknown */
};
/* Answered exactly once through send_reply, perhaps before this returns, unless cancelled, or the caller ends first. The
 * returned code may be ignored: 0: pending; MACULA_EBUSY: not answered, as this call_id is pending already; else the code that
 * was answered. */
int router_call(struct router *r, struct rpc_party *caller, const struct router_call *c, nanotime now);
struct router_cast {
  struct slice procedure; /* stored form */
  struct shbuf *args;     /* referenced; may be NULL */
  enum strategy strategy;
  struct principal *origin; /* as in router_call */
  bool has_ref;             /* for cast_done: */
  uint64_t ref;
};
/* Sends a cast, which has no answer, to one provider. Like a call it may wait for a lookup or a link, within the default
 * timeout, and counts as a call until it is sent. cast_done is called exactly once, perhaps before this returns, unless the
 * caller ends first. The returned code may be ignored: 0: sent or waiting; else the code that cast_done was given. */
int router_cast(struct router *r, struct rpc_party *caller, const struct router_cast *c, nanotime now);
/* A provider's REPLY. Counts only from the session that the call was sent to: MACULA_ENOTFOUND (ignored, counted as late)
 * otherwise. After an error by which a provider refuses (no_handler, no_such_procedure, too_many_calls, not_connected,
 * rate_limited, shutting_down) the next provider is tried; all other errors are final. After an error of a node the next one is
 * tried if the node says that no handler ran, or, when the call may repeat, that its providers were lost or gave no answer in
 * time. A node that does not serve the procedure is removed from the cache. */
int router_reply(struct router *r, struct rpc_party *provider, const struct msg_reply *reply, nanotime now);
/* The caller's CANCEL: the call is freed without an answer, and its provider gets CANCEL. MACULA_ENOTFOUND. */
int router_cancel(struct router *r, struct rpc_party *caller, struct slice call_id);
/* Registers the procedure, or renews it: the errors of services_register. Calls that wait for such a provider go to it. */
int router_register(struct router *r, struct rpc_party *p, struct slice procedure, uint64_t ttl, bool idempotent, nanotime now);
/* The session has ended. Its own calls are freed, and their providers get CANCEL; its services are removed; calls that it
 * should have answered go to another provider if it cannot have begun them or they may repeat, and are answered with an error
 * else. Harmless when repeated. */
void router_session_ended(struct router *r, struct rpc_party *p, nanotime now);
/* The same for a client that was lost, and may come back: calls for procedures that nobody else here serves wait for that, for
 * ROUTER_VACANT at most. */
#define ROUTER_VACANT (2 * NS_SEC)
void router_session_lost(struct router *r, struct rpc_party *p, nanotime now);
/* The session acknowledges nothing: no more calls are sent to it, and those that may repeat go to another provider, if there
 * is one. router_party_heard: it is back. */
void router_session_silent(struct router *r, struct rpc_party *p, nanotime now);
void router_party_heard(struct router *r, struct rpc_party *p, nanotime now);
/* A node says that it has forgotten what calls were sealed with (calls.h: call_mark.key). `lost` judges each that was sent to
 * it. One that never was opened is sent again, and cannot run twice; one of which that is not known is handled as if the node
 * had ended. */
enum router_lost { ROUTER_NOT_LOST, ROUTER_NEVER_CAME, ROUTER_MAY_HAVE_COME };
struct router_forgot {
  enum router_lost (*lost)(void *ctx, const struct call_mark *mark);
  void *ctx;
};
void router_party_forgot(struct router *r, struct rpc_party *p, const struct router_forgot *f, nanotime now);
/* Frames can now be sent to a node's party: calls that wait for it are sent. */
void router_party_ready(struct router *r, struct rpc_party *p, nanotime now);
/* The result of discover: nodes other than this one, in any order, of which at most DISCOVERY_NODES are used; none: no node
 * serves the procedure. err: the lookup failed (MACULA_DHT_TIMEOUT). Ignored when no lookup is under way. */
void router_discovered(struct router *r, struct slice procedure, int err, const struct remote_node *nodes, size_t n,
                       nanotime now);
/* The node is dead: removed from all entries of the cache. For its calls see router_session_ended and router_session_silent. */
void router_forget_node(struct router *r, const struct id *node, nanotime now);
/* When router_tick has work: deadlines of calls and services. TIME_NEVER if never. */
nanotime router_deadline(const struct router *r);
void router_tick(struct router *r, nanotime now);
struct router_limits { /* as in struct router_config */
  uint32_t max_services, party_services, max_calls, party_calls, max_discovered, party_lookups;
  size_t max_args_bytes;
};
/* The limits apply to new calls and services; those that exist stay. */
void router_set_limits(struct router *r, const struct router_limits *limits);

/* Checks services, calls, discovery and the parties' calls in flight. O(calls, registrations and entries). */
const char *router_check(const struct router *r);
/* Bytes of calls_mem that the router holds, without arguments. For services_mem and discovery_mem see services_owned and
 * discovery_owned. */
size_t router_owned(const struct router *r);

#endif
