/* The pool of mesh connections: one entry for each node, by its id; the least recently used one is evicted. Use renews an
 * entry's age; upkeep does not. The pool chooses the entry, and the owner closes its connection. */
#ifndef TABLES_POOL_H
#define TABLES_POOL_H

#include "base/slice.h"
#include "base/time.h"
#include "bounded/lru.h"

struct pool_entry {
  struct lru_link l;
  struct id id;
  nanotime used;
  bool in;
};

struct pool {
  struct lru lru;
  uint32_t max;
  uint64_t evicted; /* told by pool_evicted */
};

void pool_init(struct pool *p, struct mem *mem, struct rng rng, uint32_t max);
void pool_done(struct pool *p); /* entries stay the caller's */
static inline uint32_t pool_count(const struct pool *p) { return p->lru.tab.count; }
static inline bool pool_is_full(const struct pool *p) { return pool_count(p) >= p->max; }
/* Adds an entry as the newest; the caller has zeroed it and filled in e->id. MACULA_EFULL: room must be made first;
 * MACULA_EBUSY: this node has an entry already; MACULA_ENOMEM. */
int pool_add(struct pool *p, struct pool_entry *e, nanotime now);
/* Harmless on an entry that is not in. */
void pool_remove(struct pool *p, struct pool_entry *e);
struct pool_entry *pool_find(const struct pool *p, const struct id *id);
/* Marks the entry as used: it is the newest now. */
void pool_use(struct pool *p, struct pool_entry *e, nanotime now);
/* The least recently used entry for which spare returns false (spare NULL: for all); NULL: none. */
struct pool_entry *pool_victim(const struct pool *p, bool (*spare)(const struct pool_entry *e));
/* Sets the limit and removes no entry: that is up to the owner. */
void pool_set_max(struct pool *p, uint32_t max);

/* O(entries). */
const char *pool_check(const struct pool *p);

#endif
