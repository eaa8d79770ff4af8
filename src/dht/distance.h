/* The XOR metric (Maymounkov and Mazieres 2002, 2.1). */
#ifndef DHT_DISTANCE_H
#define DHT_DISTANCE_H

#include "base/slice.h"

/* Bits that two ids share from the front; 256 for equal ones. */
static inline unsigned common_bits(const struct id *a, const struct id *b) {
  for (unsigned i = 0; i < ID_LEN; i++)
    if (a->b[i] != b->b[i]) return i * 8 + (unsigned)__builtin_clz((unsigned)(a->b[i] ^ b->b[i])) - 24;
  return ID_LEN * 8;
}

/* Whether a is nearer to the target than b is: the first bit in which they differ decides. */
static inline bool is_nearer(const struct id *target, const struct id *a, const struct id *b) {
  for (unsigned i = 0; i < ID_LEN; i++)
    if (a->b[i] != b->b[i]) return (a->b[i] ^ target->b[i]) < (b->b[i] ^ target->b[i]);
  return false;
}

#endif
