/* The pool of mesh connections: one entry a node, keyed by its id, least recently used out. Use renews an entry's age; upkeep
 * does not. The pool decides who goes; the owner closes the connection. */
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
/* Fill e->id of a zeroed entry first. Newest from now on. MACULA_EFULL: make room first; MACULA_EBUSY: its node is in already;
 * MACULA_ENOMEM. */
int pool_add(struct pool *p, struct pool_entry *e, nanotime now);
/* Harmless on an entry that is not in. */
void pool_remove(struct pool *p, struct pool_entry *e);
struct pool_entry *pool_find(const struct pool *p, const struct id *id);
/* It is used: the newest from now on. */
void pool_use(struct pool *p, struct pool_entry *e, nanotime now);
/* The least recently used entry that spare says no to (NULL: any); NULL if none is left. */
struct pool_entry *pool_victim(const struct pool *p, bool (*spare)(const struct pool_entry *e));
/* Throws nobody out: the owner decides who goes. */
void pool_set_max(struct pool *p, uint32_t max);

/* O(entries). */
const char *pool_check(const struct pool *p);

#endif
