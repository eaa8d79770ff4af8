/* Reference-counted immutable bytes: one payload for a whole fan-out. Not locked: one loop thread. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <assert.h>

#include "base/mem.h"
#include "base/slice.h"

struct shbuf {
  struct mem *mem; /* the account that holds it */
  uint32_t refs;
  uint32_t len;
  uint8_t data[];
};

/* One reference, contents undefined; NULL when memory is refused. len <= UINT32_MAX. */
struct shbuf *shbuf_new(struct mem *m, size_t len);
struct shbuf *shbuf_dup(struct mem *m, struct slice s);
static inline struct shbuf *shbuf_ref(struct shbuf *b) {
  assert(b->refs > 0);
  b->refs++;
  return b;
}
/* Accepts NULL. */
void shbuf_unref(struct shbuf *b);
/* The part of its bytes that one reference counts for, if it belongs to account m (else 0); the parts of all references add up
 * to its cost. For checks. */
static inline double shbuf_part(const struct shbuf *b, const struct mem *m) {
  return b->mem == m ? (double)mem_cost(b) / b->refs : 0;
}
static inline struct slice shbuf_view(const struct shbuf *b) { return slice_of(b->data, b->len); }

#endif
