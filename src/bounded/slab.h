/* Blocks of one size, in chunks of pages of their own (Bonwick 1994: slabs).
 *
 * For objects that stay long while many others come and go: on the heap, a block that outlives its neighbours keeps their whole
 * page resident. A chunk goes back to the system with its last block. In a build with AddressSanitizer every block is one of
 * the heap, so that it finds what is used after it was freed. */
#ifndef BOUNDED_SLAB_H
#define BOUNDED_SLAB_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/mem.h"

#define SLAB_CHUNK (16u << 10) /* bytes: what an account is charged at a time; a page where that is more */

/* The bytes in chunks that all slabs of one account leave unused, since a block of one size cannot use the room of another.
 * While these are more than `most`, blocks that would need a new chunk are allocated on the heap. */
struct slab_room {
  size_t most, unused; /* bytes */
};

struct slab {
  struct mem *mem;
  struct slab_room *room;   /* NULL: as it comes */
  uint32_t chunk;           /* bytes */
  uint32_t block;           /* bytes, with a pointer to the chunk in front */
  struct list open, closed; /* chunks with room, without; every chunk holds a block */
};

/* Allocates nothing yet. size: bytes of a block, at most SLAB_CHUNK / 2 - 64; it is aligned for pointers and 64-bit numbers.
 */
void slab_init(struct slab *s, struct mem *mem, size_t size);
/* A zeroed block; NULL when the account or the system refuses a chunk. */
void *slab_alloc(struct slab *s);
/* Accepts NULL. */
void slab_free(struct slab *s, void *p);

/* For blocks of at most `max` bytes: one slab for each multiple of SLAB_STEP. */
#define SLAB_STEP 128u
#define SLAB_COUNT(max) (((max)-1) / SLAB_STEP + 1)
void slabs_init(struct slab *v, size_t count, struct mem *mem, struct slab_room *room);
/* slabs_owned: the bytes of the account in all chunks, used or not. slab_owned: the bytes of this block if it is on the heap,
 * else 0. */
size_t slabs_owned(const struct slab *v, size_t count);
size_t slab_owned(const void *p);
/* Checks that the used and free blocks of each chunk are all that were ever cut; and, if these slabs are all that share their
 * room, that its figure is right. O(chunks and free blocks). */
const char *slabs_check(const struct slab *v, size_t count);
static inline struct slab *slabs_at(struct slab *v, size_t size) { return &v[(size - 1) / SLAB_STEP]; }

#endif
