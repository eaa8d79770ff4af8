/* Deadline heap: what is due next. Entries know their place, so that any can be moved or removed in O(log n). */
#ifndef BOUNDED_HEAP_H
#define BOUNDED_HEAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/time.h"

struct heap_link {
  nanotime at;
  uint32_t pos; /* 1-based; 0: not in a heap */
};

struct heap {
  struct heap_link **v;
  uint32_t count, cap, max;
  struct mem *mem;
};

void heap_init(struct heap *h, struct mem *mem, uint32_t max);
void heap_done(struct heap *h); /* entries stay the caller's */
/* Inserts, or moves an entry that is in already. MACULA_EFULL, MACULA_ENOMEM; moving never fails. */
int heap_set(struct heap *h, struct heap_link *e, nanotime at);
void heap_remove(struct heap *h, struct heap_link *e); /* harmless when absent */
static inline nanotime heap_deadline(const struct heap *h) { return h->count ? h->v[0]->at : TIME_NEVER; }
/* Takes out the earliest entry that is due (at <= now); NULL if none is. */
struct heap_link *heap_pop_due(struct heap *h, nanotime now);
/* What of the account is its own: entries are the caller's. */
static inline size_t heap_owned(const struct heap *h) { return mem_cost(h->v); }
/* Whether this entry is in it, at its place. */
static inline int heap_has(const struct heap *h, const struct heap_link *e) {
  return e->pos && e->pos <= h->count && h->v[e->pos - 1] == e;
}
/* Order, places and room. O(entries). */
const char *heap_check(const struct heap *h);

#endif
