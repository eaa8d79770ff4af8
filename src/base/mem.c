#include "base/mem.h"

#include <assert.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LARGE (64u << 10) /* less than what any allocator maps on its own */
#define PAGES (8u << 10)
#define ROUNDING 48u

/* jemalloc's, where that is the allocator (maculad): what it takes for a request; it puts nothing in front of a block. */
extern size_t nallocx(size_t size, int flags) __attribute__((weak));

/* What the allocator really takes: the usable bytes, and glibc's own word in front of them. */
static size_t cost(void *p) { return malloc_usable_size(p) + (nallocx ? 0 : sizeof(size_t)); }

size_t mem_cost(const void *p) { return p ? cost((void *)p) : 0; }

static int over(struct mem *m, size_t extra) {
  if (!m->limit || (extra <= m->limit && m->bytes <= m->limit - extra)) return 0;
  return !m->more || !m->more(m, extra, m->more_ctx);
}

static int gauge_refuses(const struct mem *m, size_t extra) {
  struct mem_gauge *g = m->gauge;
  if (!g) return 0;
  if (extra < g->left)
    g->left -= extra;
  else
    g->look(g, g->ctx);
  return m->rank && g->closed && m->rank >= g->closed;
}

static int refuse(struct mem *m, size_t extra) {
  if (m->fail) {
    m->fail->seen++;
    if (m->fail->countdown && --m->fail->countdown == 0) return 1;
  }
  return over(m, extra) || gauge_refuses(m, extra);
}

/* The most that the allocator may take for a request: it rounds up, to whole pages when it maps, and leaves no rest of less
 * than a smallest block. */
static size_t cost_at_most(size_t size) {
  if (nallocx) return size ? nallocx(size, 0) : 0;
  size_t more = size < LARGE ? ROUNDING : PAGES;
  return size > SIZE_MAX - more ? SIZE_MAX : size + more;
}

static void count(struct mem *m, size_t given) {
  m->bytes += given;
  m->blocks++;
  if (m->bytes > m->peak) m->peak = m->bytes;
}

static void *alloc(struct mem *m, size_t size, int zero) {
  if (size == 0) return NULL;
  void *p = refuse(m, size) ? NULL : zero ? calloc(1, size) : malloc(size);
  if (!p) {
    m->refused++;
    return NULL;
  }
  size_t given = cost(p);
  if (over(m, given)) { /* rounded up past the limit */
    free(p);
    m->refused++;
    return NULL;
  }
  count(m, given);
  return p;
}

void *mem_alloc(struct mem *m, size_t size) { return alloc(m, size, 0); }

void *mem_calloc(struct mem *m, size_t n, size_t size) {
  size_t total;
  if (__builtin_mul_overflow(n, size, &total)) return NULL;
  return alloc(m, total, 1);
}

void *mem_realloc(struct mem *m, void *p, size_t size) {
  if (!p) return mem_alloc(m, size);
  size_t old = cost(p), most = cost_at_most(size); /* afterwards the old block would be gone */
  void *q = size == 0 || refuse(m, size + sizeof(size_t) > old && most > old ? most - old : 0) ? NULL : realloc(p, size);
  if (!q) {
    m->refused++;
    return NULL;
  }
  assert(m->bytes >= old && m->blocks > 0);
  m->bytes -= old;
  m->blocks--;
  count(m, cost(q));
  return q;
}

void mem_free(struct mem *m, void *p) {
  if (!p) return;
  size_t given = cost(p);
  assert(m->bytes >= given && m->blocks > 0);
  m->bytes -= given;
  m->blocks--;
  free(p);
}

void *mem_dup(struct mem *m, const void *p, size_t n) {
  char *q = mem_alloc(m, n + 1);
  if (!q) return NULL;
  if (n) memcpy(q, p, n);
  q[n] = 0;
  return q;
}

void mem_move(struct mem *from, struct mem *to) {
  to->bytes += from->bytes;
  to->mapped += from->mapped;
  to->blocks += from->blocks;
  to->refused += from->refused;
  if (to->bytes > to->peak) to->peak = to->bytes;
  from->bytes = from->mapped = from->blocks = from->refused = 0;
}

bool mem_reserve(struct mem *m, size_t n) {
  if (over(m, n)) {
    m->refused++;
    return false;
  }
  count(m, n);
  return true;
}

void mem_unreserve(struct mem *m, size_t n) {
  assert(m->bytes >= n && m->blocks > 0);
  m->bytes -= n;
  m->blocks--;
}

void *mem_map(struct mem *m, size_t size) {
  void *p = refuse(m, size) ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) {
    m->refused++;
    return NULL;
  }
  m->mapped += size;
  count(m, size);
  return p;
}

void mem_unmap(struct mem *m, void *p, size_t size) {
  assert(m->mapped >= size && m->bytes >= size && m->blocks > 0);
  m->mapped -= size;
  m->bytes -= size;
  m->blocks--;
  munmap(p, size);
}
