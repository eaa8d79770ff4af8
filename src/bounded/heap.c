#include "bounded/heap.h"

#include <assert.h>

#include "base/check.h"
#include "base/err.h"

void heap_init(struct heap *h, struct mem *mem, uint32_t max) { *h = (struct heap){.mem = mem, .max = max}; }

void heap_done(struct heap *h) {
  mem_free(h->mem, h->v);
  h->v = NULL;
  h->count = h->cap = 0;
}

static void place(struct heap *h, uint32_t i, struct heap_link *e) {
  h->v[i] = e;
  e->pos = i + 1;
}

static void sift(struct heap *h, uint32_t i, struct heap_link *e) {
  while (i > 0 && h->v[(i - 1) / 2]->at > e->at) {
    place(h, i, h->v[(i - 1) / 2]);
    i = (i - 1) / 2;
  }
  for (;;) {
    uint32_t c = 2 * i + 1;
    if (c >= h->count) break;
    if (c + 1 < h->count && h->v[c + 1]->at < h->v[c]->at) c++;
    if (h->v[c]->at >= e->at) break;
    place(h, i, h->v[c]);
    i = c;
  }
  place(h, i, e);
}

int heap_set(struct heap *h, struct heap_link *e, nanotime at) {
  if (e->pos) {
    assert(e->pos <= h->count && h->v[e->pos - 1] == e);
    e->at = at;
    sift(h, e->pos - 1, e);
    return 0;
  }
  if (h->count >= h->max) return MACULA_EFULL;
  if (h->count == h->cap) {
    uint32_t cap = h->cap ? h->cap * 2 : 8;
    struct heap_link **v = mem_realloc(h->mem, h->v, cap * sizeof(*v));
    if (!v) return MACULA_ENOMEM;
    h->v = v;
    h->cap = cap;
  }
  e->at = at;
  h->count++;
  sift(h, h->count - 1, e);
  return 0;
}

void heap_remove(struct heap *h, struct heap_link *e) {
  if (!e->pos) return;
  uint32_t i = e->pos - 1;
  assert(i < h->count && h->v[i] == e);
  e->pos = 0;
  struct heap_link *last = h->v[--h->count];
  if (last != e) sift(h, i, last);
  if (h->cap > 64 && h->count < h->cap / 8) { /* a crowd's departure gives its memory back */
    struct heap_link **v = mem_realloc(h->mem, h->v, h->cap / 4 * sizeof(*v));
    if (v) {
      h->v = v;
      h->cap /= 4;
    }
  }
}

struct heap_link *heap_pop_due(struct heap *h, nanotime now) {
  if (!h->count || h->v[0]->at > now) return NULL;
  struct heap_link *e = h->v[0];
  heap_remove(h, e);
  return e;
}

const char *heap_check(const struct heap *h) {
  CHECK(h->count <= h->cap && (h->v || !h->cap), "heap: more entries than room");
  for (uint32_t i = 0; i < h->count; i++) {
    CHECK(h->v[i]->pos == i + 1, "heap: an entry does not know its place");
    CHECK(i == 0 || h->v[(i - 1) / 2]->at <= h->v[i]->at, "heap: an entry is due before the one above it");
  }
  return NULL;
}
