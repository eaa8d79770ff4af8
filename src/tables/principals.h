/* The principals that a node knows, each with a number by which it is told to connections: rising, never given twice in a run.
 *
 * An entry stays while somebody refers to it (a session, a slot of a link, a retained message, a pending call), and after that
 * until its room is needed; a principal that comes back then has a new number. Principals of other nodes take at most an
 * eighth of the account, so that they cannot take the room of a node's own. */
#ifndef TABLES_PRINCIPALS_H
#define TABLES_PRINCIPALS_H

#include "base/list.h"
#include "base/principal.h"
#include "bounded/htab.h"

#define PRINCIPALS_LAST ((UINT64_C(1) << 40) - 1) /* the last number: after it no principal is taken any more */

struct principals {
  struct htab tab;
  struct list idle[2]; /* principal.idle: those that nobody refers to, the oldest first; [1]: of other nodes */
  struct mem *mem;
  struct id self; /* the node's own id */
  size_t foreign; /* bytes of those of other nodes */
  uint64_t last;
  uint64_t evicted, refused;
};

struct principal {
  struct hlink h;
  struct list idle;
  struct principals *all;
  uint64_t number;
  uint32_t refs;
  struct id node; /* which vouches for it */
  uint8_t len;
  uint8_t bytes[PRINCIPAL_LEN_MAX]; /* principal_write */
};

/* mem: of an account with a limit. self: the id of the node itself. */
void principals_init(struct principals *t, struct mem *mem, struct rng rng, const struct id *self);
/* Nobody refers to any of them any more. */
void principals_done(struct principals *t);
/* A reference to the entry of p as vouched for by `node`, made if there is none. NULL: there is no room. */
struct principal *principals_get(struct principals *t, const struct principal_name *p, const struct id *node);
/* NULL is fine, and a reference to NULL is NULL. */
struct principal *principal_ref(struct principal *p);
void principal_unref(struct principal *p);
static inline struct slice principal_bytes(const struct principal *p) { return slice_of(p->bytes, p->len); }

/* O(entries). *ret_refs: how many references there are. */
const char *principals_check(const struct principals *t, uint64_t *ret_refs);
size_t principals_owned(const struct principals *t);

#endif
