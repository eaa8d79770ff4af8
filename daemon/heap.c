#include "heap.h"

#include <stddef.h>

#ifdef HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>
#include <unistd.h>

#define AT_ONCE (16u << 20) /* bytes: giving back a page takes the kernel some 0.4 us */

/* One arena, since one loop does nearly all the work; threads of libuv's pool share it. A copy of what is here may be replaced
 * by the variable MALLOC_CONF (jemalloc(3)). */
const char *malloc_conf = "narenas:1,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";

static size_t figure(const char *name) {
  size_t v = 0, n = sizeof v;
  return mallctl(name, &v, &n, NULL, 0) ? 0 : v;
}

uint64_t heap_used(void) {
  uint64_t epoch = 1;
  (void)mallctl("epoch", NULL, NULL, &epoch, sizeof epoch); /* figures are those of the last epoch */
  return figure("stats.allocated");
}

void heap_give_back(void) {
  if (figure("stats.arenas.0.pdirty") * (size_t)sysconf(_SC_PAGESIZE) <= AT_ONCE)
    (void)mallctl("arena.0.purge", NULL, NULL, NULL, 0);
}
#else
uint64_t heap_used(void) { return 0; }
void heap_give_back(void) {}
#endif
