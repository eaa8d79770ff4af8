#include "base/mem.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* What the allocator really takes: the usable octets and its own word in front of them. */
static size_t cost(void *p) { return malloc_usable_size(p) + sizeof(size_t); }

static int refuse(struct mem *m, size_t extra) {
  if (m->fail) {
    m->fail->seen++;
    if (m->fail->countdown && --m->fail->countdown == 0) return 1;
  }
  return m->limit && (extra > m->limit || m->bytes > m->limit - extra);
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
  count(m, cost(p));
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
  size_t old = cost(p);
  void *q = size == 0 || refuse(m, size > old ? size - old : 0) ? NULL : realloc(p, size);
  if (!q) {
    m->refused++;
    return NULL;
  }
  m->bytes -= old;
  m->blocks--;
  count(m, cost(q));
  return q;
}

void mem_free(struct mem *m, void *p) {
  if (!p) return;
  m->bytes -= cost(p);
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

void *mem_map(struct mem *m, size_t size) {
  void *p = refuse(m, size) ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) {
    m->refused++;
    return NULL;
  }
  count(m, size);
  return p;
}

void mem_unmap(struct mem *m, void *p, size_t size) {
  m->bytes -= size;
  m->blocks--;
  munmap(p, size);
}
