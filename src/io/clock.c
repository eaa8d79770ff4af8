#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "io/io.h"

static nanotime read_clock(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (nanotime)t.tv_sec * NS_SEC + (nanotime)t.tv_nsec;
}

nanotime io_now(void) { return read_clock(CLOCK_BOOTTIME); } /* it goes on while the machine is suspended */

nanotime io_monotonic(nanotime at) {
  nanotime now = io_now(), left = at > now ? at - now : 0;
  return time_add(read_clock(CLOCK_MONOTONIC), left);
}

uint64_t io_unix_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void fill(void *ctx, void *ret, size_t n) {
  (void)ctx;
  for (uint8_t *p = ret; n;) {
    ssize_t k = getrandom(p, n, 0);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) abort(); /* no random source: nothing that follows would be safe */
    p += k;
    n -= (size_t)k;
  }
}

struct rng io_rng(void) {
  return (struct rng){fill, NULL};
}
