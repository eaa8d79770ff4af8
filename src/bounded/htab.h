/* Bounded hash table, chained through its entries, with a secret seed (SipHash-1-3, Aumasson and Bernstein 2012) so that a
 * peer who chooses keys cannot choose collisions. The table owns its slots only; entries belong to the caller. To move all
 * entries of a large table to other slots takes tens of milliseconds, so that each insert and remove moves a few. */
#ifndef BOUNDED_HTAB_H
#define BOUNDED_HTAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/rng.h"

struct hlink {
  struct hlink *next;
  uint64_t hash;
};

struct htab {
  struct hlink **slots;
  uint32_t mask;      /* slots - 1; slots is a power of two; 0 slots: mask is 0 and slots NULL */
  struct hlink **old; /* while its slots become more or fewer: the former ones, of which chains from `moved` on are in use */
  uint32_t old_mask, moved;
  uint32_t count, max;
  uint64_t refused; /* inserts that the limit refused */
  uint64_t seed[2];
  struct mem *mem;
  bool (*eq)(const struct hlink *entry, const void *key, size_t len);
};

/* Allocates nothing yet. max: most entries. */
void htab_init(struct htab *t, struct mem *mem, struct rng rng, uint32_t max,
               bool (*eq)(const struct hlink *entry, const void *key, size_t len));
void htab_done(struct htab *t); /* frees the slots; entries stay the caller's */
struct hlink *htab_find(const struct htab *t, const void *key, size_t len);
/* The caller has made sure that the key is absent. MACULA_EFULL at the limit, MACULA_ENOMEM. */
int htab_insert(struct htab *t, struct hlink *entry, const void *key, size_t len);
/* The entry must be in the table. */
void htab_remove(struct htab *t, struct hlink *entry);
/* Iteration: the first entry after NULL, then the following ones; NULL at the end. The table must not change meanwhile. */
struct hlink *htab_next(const struct htab *t, const struct hlink *prev);
/* The first entry of the chain that an entry with this hash is in; NULL: none. */
struct hlink *htab_chain(const struct htab *t, uint64_t hash);
/* What of the account is its own. */
static inline size_t htab_owned(const struct htab *t) { return mem_cost(t->slots) + mem_cost(t->old); }
/* Each entry is in the chain of its hash, and their number is the count. O(slots and entries). Of keys it knows nothing:
 * whoever owns the entries asks htab_has. */
const char *htab_check(const struct htab *t);
/* Whether this very entry is found by its key. */
bool htab_has(const struct htab *t, const struct hlink *entry, const void *key, size_t len);

uint64_t siphash13(const uint64_t seed[2], const void *p, size_t n);

#endif
