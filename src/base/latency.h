/* How long things took, in classes that are an eighth of their bound wide or narrower: what happened between two looks is the
 * difference of two of these. */
#ifndef BASE_LATENCY_H
#define BASE_LATENCY_H

#include <stdint.h>

#define LATENCY_CLASSES 224        /* the last one: 2^30 us, 18 minutes, and longer */
struct latency {                   /* zeroed: nothing was counted */
  uint32_t count[LATENCY_CLASSES]; /* modulo 2^32 */
};

void latency_add(struct latency *l, uint64_t ns);
/* The time in microseconds, rounded up to its class, in which a part (0 to 1) was done of what was counted from `before` to
 * `now`; UINT32_MAX: nothing was. */
uint32_t latency_part(const struct latency *before, const struct latency *now, double part);

#endif
