/* Blocks of one size, in chunks of pages of their own (Bonwick 1994: slabs).
 *
 * For what stays long while much else comes and goes: a block of the heap that outlives its neighbours keeps their page
 * resident. A chunk goes back to the system with its last block. In a build with AddressSanitizer every block is one of the
 * heap, so that it finds what is used after it was freed. */
#ifndef BOUNDED_SLAB_H
#define BOUNDED_SLAB_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/mem.h"

#define SLAB_CHUNK (16u << 10) /* octets: what an account is charged at a time; a page where that is more */

/* What slabs of one account leave unused in their chunks, together: a block of one size cannot use the room of another. While
 * it is more than `most`, blocks that need a new chunk are of the heap. */
struct slab_room {
  size_t most, unused; /* octets */
};

struct slab {
  struct mem *mem;
  struct slab_room *room;   /* NULL: as it comes */
  uint32_t chunk;           /* octets */
  uint32_t block;           /* octets, with a pointer to the chunk in front */
  struct list open, closed; /* chunks with room, without; every chunk holds a block */
};

/* Allocates nothing yet. size: octets of a block, at most SLAB_CHUNK / 2 - 64; it is aligned for pointers and 64-bit numbers.
 */
void slab_init(struct slab *s, struct mem *mem, size_t size);
/* A zeroed block; NULL when the account or the system refuses a chunk. */
void *slab_alloc(struct slab *s);
/* Accepts NULL. */
void slab_free(struct slab *s, void *p);

/* For blocks of at most `max` octets: one slab for each multiple of SLAB_STEP. */
#define SLAB_STEP 128u
#define SLAB_COUNT(max) (((max)-1) / SLAB_STEP + 1)
void slabs_init(struct slab *v, size_t count, struct mem *mem, struct slab_room *room);
/* Of the account: all chunks, whatever is in use of them; and a block, when it is one of the heap (else 0). */
size_t slabs_owned(const struct slab *v, size_t count);
size_t slab_owned(const void *p);
/* Of each chunk: as many blocks in use or free as were ever cut; of all: what they leave unused is what their room says, if
 * they are all that share it. O(chunks and free blocks). */
const char *slabs_check(const struct slab *v, size_t count);
static inline struct slab *slabs_at(struct slab *v, size_t size) { return &v[(size - 1) / SLAB_STEP]; }

#endif
