#include "bounded/slab.h"

#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/sanitized.h"

struct chunk {
  alignas(uint64_t) struct list in;
  struct block *free; /* given back */
  uint32_t used, cut; /* blocks; cut: those that were ever handed out are the first so many */
};
struct block {
  union {
    struct chunk *chunk; /* while in use; NULL: of the heap */
    struct block *next;  /* in chunk.free */
  };
  alignas(uint64_t) uint8_t data[];
};

enum { IS_HEAP = ADDRESS_SANITIZED };

static uint32_t per_chunk(const struct slab *s) { return (s->chunk - (uint32_t)sizeof(struct chunk)) / s->block; }

void slab_init(struct slab *s, struct mem *mem, size_t size) {
  const size_t word = sizeof(uint64_t);
  const long page = sysconf(_SC_PAGESIZE);
  *s = (struct slab){.mem = mem, .block = (uint32_t)(sizeof(struct block) + (size + word - 1) / word * word)};
  s->chunk = page > (long)SLAB_CHUNK ? (uint32_t)page : SLAB_CHUNK;
  list_init(&s->open);
  list_init(&s->closed);
  assert(per_chunk(s) > 1);
}

void slabs_init(struct slab *v, size_t count, struct mem *mem, struct slab_room *room) {
  for (size_t i = 0; i < count; i++) {
    slab_init(&v[i], mem, (i + 1) * SLAB_STEP);
    v[i].room = room;
  }
}

static void unused(struct slab *s, size_t more, size_t less) {
  if (s->room) s->room->unused += more - less;
}

static struct chunk *chunk_new(struct slab *s) {
  struct chunk *c = mem_map(s->mem, s->chunk);
  if (!c) return NULL;
  list_append(&s->open, &c->in);
  unused(s, (size_t)per_chunk(s) * s->block, 0);
  return c;
}

static void *single_new(struct slab *s) {
  struct block *b = mem_calloc(s->mem, 1, s->block);
  return b ? b->data : NULL;
}

void *slab_alloc(struct slab *s) {
  if (IS_HEAP) return mem_calloc(s->mem, 1, s->block - sizeof(struct block));
  if (list_empty(&s->open) && s->room && s->room->unused > s->room->most) return single_new(s);
  struct chunk *c = list_empty(&s->open) ? chunk_new(s) : container_of(s->open.next, struct chunk, in);
  if (!c) return NULL;
  struct block *b = c->free;
  if (b) {
    c->free = b->next;
    memset(b->data, 0, s->block - sizeof *b);
  } else { /* fresh pages are zero */
    b = (struct block *)((uint8_t *)(c + 1) + (size_t)c->cut++ * s->block);
  }
  b->chunk = c;
  unused(s, 0, s->block);
  if (++c->used == per_chunk(s)) {
    list_remove(&c->in);
    list_append(&s->closed, &c->in);
  }
  return b->data;
}

void slab_free(struct slab *s, void *p) {
  if (!p) return;
  if (IS_HEAP) {
    mem_free(s->mem, p);
    return;
  }
  struct block *b = container_of(p, struct block, data);
  struct chunk *c = b->chunk;
  if (!c) {
    mem_free(s->mem, b);
    return;
  }
  assert(c->used > 0 && c->used <= per_chunk(s));
  unused(s, s->block, 0);
  b->next = c->free;
  c->free = b;
  if (c->used-- == per_chunk(s)) { /* in front: it is filled again before those that may empty */
    list_remove(&c->in);
    list_prepend(&s->open, &c->in);
  }
  if (c->used == 0) {
    list_remove(&c->in);
    unused(s, 0, (size_t)per_chunk(s) * s->block);
    mem_unmap(s->mem, c, s->chunk);
  }
}

static const char *chunk_check(const struct slab *s, const struct chunk *c, bool closed, size_t *unused) {
  uint32_t all = per_chunk(s), free = 0;
  const uint8_t *first = (const uint8_t *)(c + 1);
  CHECK(c->used > 0 && c->used <= c->cut && c->cut <= all, "slab: a chunk has other blocks than were cut of it");
  CHECK((c->used == all) == closed, "slab: a chunk is in the wrong list");
  for (const struct block *b = c->free; b; b = b->next) {
    size_t at = (size_t)((const uint8_t *)b - first);
    CHECK(at / s->block < c->cut && at % s->block == 0, "slab: a free block is of another chunk");
    CHECK(free++ < c->cut, "slab: the free blocks of a chunk go round in circles");
  }
  CHECK(c->used + free == c->cut, "slab: a block is neither in use nor free");
  *unused += (size_t)(all - c->used) * s->block;
  return NULL;
}

static const char *chunks_check(const struct slab *s, const struct list *chunks, size_t *unused) {
  CHECK(list_holds(chunks), "slab: a list of chunks is broken");
  list_for(it, chunks) CHECK_PART(chunk_check(s, container_of(it, const struct chunk, in), chunks == &s->closed, unused));
  return NULL;
}

const char *slabs_check(const struct slab *v, size_t count) {
  size_t unused = 0;
  for (size_t i = 0; i < count; i++) {
    CHECK_PART(chunks_check(&v[i], &v[i].open, &unused));
    CHECK_PART(chunks_check(&v[i], &v[i].closed, &unused));
  }
  CHECK(!count || !v->room || v->room->unused == unused, "slab: the blocks unused are not what their room says");
  return NULL;
}

size_t slabs_owned(const struct slab *v, size_t count) {
  size_t sum = 0;
  for (size_t i = 0; i < count; i++) sum += (size_t)v[i].chunk * (list_count(&v[i].open) + list_count(&v[i].closed));
  return sum;
}

size_t slab_owned(const void *p) {
  const struct block *b = container_of(p, const struct block, data);
  return IS_HEAP ? mem_cost(p) : b->chunk ? 0 : mem_cost(b);
}
