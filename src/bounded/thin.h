/* Which of many events are looked at, so that those that are not cost next to nothing: in each second the first THIN_EXACT one
 * by one, as many more as one of some THIN_STRIDE, by chance, and then one of some THIN_STRIDE_FAST. Each stands for those that
 * were passed over before it: the sum of what they stand for is the number of all. */
#ifndef BOUNDED_THIN_H
#define BOUNDED_THIN_H

#include <stdint.h>

#include "base/time.h"

#define THIN_EXACT 1000u
#define THIN_STRIDE 32u
#define THIN_STRIDE_FAST 128u

struct thin {
  nanotime until;      /* of this second */
  uint32_t left, gone; /* events that are passed over next; and those that were since the last one that was not */
  uint32_t looked;     /* at so many in this second */
  uint64_t random;     /* xorshift64 (Marsaglia 2003): it keeps no secret. Not 0 */
};

static inline uint32_t thin_next(struct thin *t, nanotime now) {
  uint32_t stands_for = t->gone + 1;
  if (now >= t->until) {
    t->until = time_add(now, NS_SEC);
    t->looked = 0;
  }
  t->left = t->gone = 0;
  if (t->looked++ < THIN_EXACT) return stands_for;
  t->random ^= t->random << 13;
  t->random ^= t->random >> 7;
  t->random ^= t->random << 17;
  t->left = (uint32_t)(t->random % (2 * (t->looked <= 2 * THIN_EXACT ? THIN_STRIDE : THIN_STRIDE_FAST) - 1));
  return stands_for;
}

/* How many events this one stands for; 0: it is passed over. */
static inline uint32_t thin_take(struct thin *t, nanotime now) {
  if (t->left && now < t->until) {
    t->left--;
    t->gone++;
    return 0;
  }
  return thin_next(t, now);
}

#endif
