/* Pending calls: found by (caller, call_id), by the id that the provider was given, by deadline, by caller and by provider. So
 * when a call, its time, its caller or its provider ends, exactly the calls concerned are removed, in time that depends only on
 * their number. Bounded in all, per caller, and in bytes of arguments held. */
#ifndef TABLES_CALLS_H
#define TABLES_CALLS_H

#include "base/buf.h"
#include "base/list.h"
#include "base/slice.h"
#include "bounded/heap.h"
#include "bounded/htab.h"
#include "tables/principals.h"

#define CALL_MAX_ATTEMPTS 3

/* One end of calls: embedded in the owner's session. */
struct call_party {
  uint64_t session;
  struct list made;  /* call.of_caller */
  struct list taken; /* call.of_provider: calls sent to it that it has not answered */
  uint32_t made_count;
  uint32_t *shared; /* counted along with `made_count`, for several callers together; NULL: nowhere */
  uint32_t max;     /* the most calls that it may have pending; 0: the table's own limit */
};

/* Where in what its connection carries a call was sent, so that it can be told later whether any of it was acknowledged. */
struct call_mark {
  uint64_t connection; /* unique; 0: it is not known */
  uint64_t at : 63;    /* the offset of the call's first byte, or less */
  uint64_t large : 1;  /* in the way of large calls, and also if the rest is not known */
  /* the seal of the envelope that it went in (struct agree_mark); key 0: it went in none */
  uint64_t key, number;
};

struct call_attempt { /* a failed attempt; or the current one, with err 0 */
  struct id provider;
  uint64_t session; /* of a provider connected here */
  int err;
  bool remote;       /* provider is a node */
  bool may_have_run; /* the provider had the call, and it is not known whether its handler ran */
};

struct call {
  struct hlink h;
  struct heap_link due; /* end of the current attempt; the deadline at the latest */
  struct list of_caller, of_provider;
  struct list of_wait; /* in the list of calls that wait for one lookup */
  struct call_party *caller;
  struct call_party *provider; /* NULL between attempts */
  struct shbuf *args;          /* NULL when empty */
  struct principal *origin;    /* who calls: a reference, given up at the call's end; NULL: unknown */
  nanotime began, deadline;
  uint32_t slot;
  uint8_t call_id[CALL_ID_LEN]; /* the caller's */
  uint8_t sent_id[CALL_ID_LEN]; /* the provider's, new for each attempt */
  /* Of rpc/router: */
  struct call_attempt attempts[CALL_MAX_ATTEMPTS];
  struct id way;         /* by which it came, for its answer */
  struct call_mark mark; /* of the current attempt, once it is sent */
  uint8_t attempt_count;
  uint8_t strategy;
  bool idempotent;
  bool once;       /* not tried elsewhere even if nothing of it was acknowledged */
  bool waits;      /* of another node, which knows no other one to try: it waits for a provider that is silent, or gone */
  bool may_repeat; /* the current attempt may be followed by another though its handler may have run */
  bool may_have_run;
  bool sent;    /* false: the provider's link is still being dialled */
  bool looked;  /* a lookup was made for this call */
  bool again;   /* the lookup found nobody, and a second one is made a moment later */
  bool cast;    /* wants no answer */
  bool over;    /* its caller has ended */
  bool ends;    /* its provider was lost when it may have begun it: it is not tried again, but answered */
  bool lost;    /* it has no provider, and is in the router's list (of_provider) of those that are to be tried again */
  uint8_t len;  /* of procedure */
  bool has_ref; /* of a cast: */
  uint64_t ref;
  char procedure[];
};

struct calls_slot {
  struct call *call; /* NULL: free */
  uint32_t next_free;
};

struct calls {
  struct htab tab;
  struct heap due;
  struct calls_slot *slots;
  uint32_t slot_cap, slot_used, free_slot;
  uint32_t generation; /* in every sent_id, counted up */
  struct mem *mem;
  uint32_t max, per_caller;
  size_t args_bytes, max_args_bytes; /* held, most */
  uint64_t refused;
};

/* max_args_bytes: bytes of arguments over all calls. */
void calls_init(struct calls *c, struct mem *mem, struct rng rng, uint32_t max, uint32_t per_caller, size_t max_args_bytes);
void calls_done(struct calls *c); /* frees all calls */
void call_party_init(struct call_party *p, uint64_t session);

/* procedure: 1 to 255 bytes, copied. args: referenced till the end, may be NULL. The call has no provider yet and is due at
 * its deadline. MACULA_TOO_MANY_CALLS (one of the bounds), MACULA_EBUSY (that call_id is pending), MACULA_EINVAL,
 * MACULA_ENOMEM. */
int calls_add(struct calls *c, struct call_party *caller, const uint8_t call_id[CALL_ID_LEN], struct slice procedure,
              struct shbuf *args, nanotime deadline, struct call **ret_call);
/* Changes the time at which its attempt ends. Cannot fail. */
void calls_set_due(struct calls *c, struct call *call, nanotime due);
/* Unlinks it everywhere and frees it. */
void calls_remove(struct calls *c, struct call *call);
struct call *calls_find(const struct calls *c, const struct call_party *caller, const uint8_t call_id[CALL_ID_LEN]);
/* Gives the call to a provider under a new sent_id until due. Allocates nothing and cannot fail. */
void calls_assign(struct calls *c, struct call *call, struct call_party *provider, nanotime due);
/* Takes the call back from its provider: its sent_id is invalid from now on. */
void calls_unassign(struct call *call);
/* The call that was given to this provider under this id; NULL if the call is over, was given to another provider, or never
 * existed. O(1). */
struct call *calls_find_sent(const struct calls *c, const struct call_party *provider, const uint8_t *sent_id, size_t len);
nanotime calls_deadline(const struct calls *c);
/* The call whose time was over first: remove or assign it. NULL if none is due. */
struct call *calls_due(const struct calls *c, nanotime now);
static inline uint32_t calls_count(const struct calls *c) { return c->tab.count; }
void calls_set_max(struct calls *c, uint32_t max, uint32_t per_caller, size_t max_args_bytes);

/* Lists of callers and providers included. O(calls and slots). */
const char *calls_check(const struct calls *c);
uint64_t calls_origins(const struct calls *c); /* calls with an origin */
size_t calls_owned(const struct calls *c);     /* bytes of the account that calls hold, without arguments */

#endif
