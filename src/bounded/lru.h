/* Bounded map with least-recently-used eviction: a hash table whose entries also stand in a list, newest last. */
#ifndef BOUNDED_LRU_H
#define BOUNDED_LRU_H

#include "base/list.h"
#include "bounded/htab.h"

struct lru_link {
  struct hlink h;
  struct list age;
};

struct lru {
  struct htab tab;
  struct list order; /* oldest first */
  uint64_t evicted;  /* entries that made room */
};

void lru_init(struct lru *l, struct mem *mem, struct rng rng, uint32_t max,
              bool (*eq)(const struct hlink *entry, const void *key, size_t len));
void lru_done(struct lru *l); /* entries stay the caller's */
/* Does not renew; lru_touch does. */
struct lru_link *lru_find(const struct lru *l, const void *key, size_t len);
void lru_touch(struct lru *l, struct lru_link *e);
/* The oldest entry, NULL when empty. */
struct lru_link *lru_oldest(const struct lru *l);
/* Inserts as newest. At the limit the oldest is taken out first and handed back in *ret_evicted for the caller to free (NULL
 * otherwise). MACULA_ENOMEM: nothing changed but an eviction that may have happened. */
int lru_insert(struct lru *l, struct lru_link *e, const void *key, size_t len, struct lru_link **ret_evicted);
void lru_remove(struct lru *l, struct lru_link *e);
/* The order holds what the table holds. O(entries). */
const char *lru_check(const struct lru *l);

#endif
