/* The one time type: nanoseconds of a monotonic clock, always passed in, never read below src/io. */
#ifndef BASE_TIME_H
#define BASE_TIME_H

#include <stdint.h>

typedef uint64_t nanotime;

#define NS_US UINT64_C(1000)
#define NS_MS UINT64_C(1000000)
#define NS_SEC UINT64_C(1000000000)
#define TIME_NEVER UINT64_MAX

static inline nanotime time_min(nanotime a, nanotime b) { return a < b ? a : b; }
/* a + d without wrapping past TIME_NEVER. */
static inline nanotime time_add(nanotime a, uint64_t d) { return a > TIME_NEVER - d ? TIME_NEVER : a + d; }
static inline uint64_t time_since(nanotime now, nanotime then) { return now > then ? now - then : 0; }

#endif
