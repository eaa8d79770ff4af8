/* Accounted memory: every allocation belongs to a row of the table of bounds.
 *
 * An account counts the bytes that the allocator really took (malloc_usable_size and a word), so blocks carry no header of
 * ours and any block may be freed knowing only its account. Accounts are not locked: each belongs to one loop thread. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mem_fail {
  uint64_t countdown; /* the allocation that fails, counted from 1; 0: none fails. For tests. */
  uint64_t seen;      /* allocations asked for so far */
};

/* Watches the memory that the process really uses, which may be more than what is allocated, as an allocator cannot move
 * blocks. It is looked at each time that `left` bytes were allocated. */
struct mem_gauge {
  size_t left;                                  /* bytes that may be allocated before `look` is called */
  uint8_t closed;                               /* accounts of this rank and above are refused; 0: none is */
  void (*look)(struct mem_gauge *g, void *ctx); /* sets left and closed */
  void *ctx;
};

struct mem {
  const char *name;        /* of the row; static text */
  size_t bytes;            /* in use now */
  size_t mapped;           /* of these, of mem_map: not of the heap */
  size_t peak;             /* most ever in use */
  size_t limit;            /* most allowed; 0: no limit of its own */
  uint64_t blocks;         /* in use now */
  uint64_t refused;        /* allocations that the limit or the system refused */
  struct mem_fail *fail;   /* NULL outside tests */
  struct mem_gauge *gauge; /* NULL: none */
  /* NULL, or asked before so many bytes more are refused for the limit: it may raise that, and returns whether they fit now. */
  bool (*more)(struct mem *m, size_t extra, void *ctx);
  void *more_ctx;
  uint8_t rank; /* the accounts of the highest rank are refused first, those of rank 0 never */
};

#define MEM_INIT(row_name, max_bytes) ((struct mem){.name = (row_name), .limit = (max_bytes)})

/* NULL when the limit, the gauge or the system refuses; size 0 gives NULL. */
void *mem_alloc(struct mem *m, size_t size);
void *mem_calloc(struct mem *m, size_t n, size_t size);
/* Like realloc: on failure the old block stays. */
void *mem_realloc(struct mem *m, void *p, size_t size);
/* Accepts NULL. */
void mem_free(struct mem *m, void *p);
/* What a block is counted as; 0 for NULL. */
size_t mem_cost(const void *p);
/* A copy of n bytes followed by a NUL. */
void *mem_dup(struct mem *m, const void *p, size_t n);

/* Counts n bytes as used that somebody else allocates, for a library that has no hooks, until mem_unreserve. False: the limit
 * refuses. */
bool mem_reserve(struct mem *m, size_t n);
void mem_unreserve(struct mem *m, size_t n);

/* Counts in `to` all that `from` has, which is empty then. Whoever frees these blocks must know. Limits are not looked at. */
void mem_move(struct mem *from, struct mem *to);

/* Zeroed pages that are not of the heap; size: a multiple of the page size. NULL when the limit or the system refuses. */
void *mem_map(struct mem *m, size_t size);
void mem_unmap(struct mem *m, void *p, size_t size);

#endif
