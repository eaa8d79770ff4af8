#include "base/buf.h"

struct shbuf *shbuf_new(struct mem *m, size_t len) {
  if (len > UINT32_MAX) return NULL;
  struct shbuf *b = mem_alloc(m, sizeof *b + len);
  if (!b) return NULL;
  b->mem = m;
  b->refs = 1;
  b->len = (uint32_t)len;
  return b;
}

struct shbuf *shbuf_dup(struct mem *m, struct slice s) {
  struct shbuf *b = shbuf_new(m, s.n);
  if (b && s.n) memcpy(b->data, s.p, s.n);
  return b;
}

void shbuf_unref(struct shbuf *b) {
  if (!b) return;
  assert(b->refs > 0);
  if (--b->refs == 0) mem_free(b->mem, b);
}
