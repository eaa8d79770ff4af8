#include "heap.h"

#include <stddef.h>

#ifdef HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>
#include <unistd.h>

#define AT_ONCE (16u << 20) /* bytes: giving back a page takes the kernel some 0.4 us */

/* One arena, since one loop does nearly all the work; threads of libuv's pool share it. The variable
 * MALLOC_CONF comes after it (jemalloc(3)). */
const char *malloc_conf = "narenas:1,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";

static size_t figure(const char *name) {
  uint64_t epoch = 1;
  size_t v = 0, n = sizeof v;
  (void)mallctl("epoch", NULL, NULL, &epoch, sizeof epoch); /* figures are those of the last epoch */
  return mallctl(name, &v, &n, NULL, 0) ? 0 : v;
}

uint64_t heap_used(void) { return figure("stats.allocated"); }

void heap_give_back(void) {
  if (figure("stats.arenas.0.pdirty") * (size_t)sysconf(_SC_PAGESIZE) <= AT_ONCE)
    (void)mallctl("arena.0.purge", NULL, NULL, NULL, 0);
}
#else
uint64_t heap_used(void) { return 0; }
void heap_give_back(void) {}
#endif
