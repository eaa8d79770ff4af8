/* How much longer than usual something was on its way, by the sender's clock that it carries and our own, whose difference is
 * not known: the least that was seen lately is taken for the way itself. Clocks that drift apart by some ppm do no harm. */
#ifndef BASE_DELAY_H
#define BASE_DELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"

#define DELAY_WINDOW (60 * NS_SEC) /* the least of the last one to two of these counts */
#define DELAY_LEAST 100            /* ms: what is shorter is of no account */

struct delays { /* of one connection, or of one node behind others; all zero at first */
  nanotime since;
  int64_t least[2]; /* ms, in this window and in the one before */
};

/* sent_ms: by the sender's clock, which may begin anywhere and stand for anything. Returns ns; 0 for the first one. */
static inline uint64_t delay_beyond(struct delays *d, uint64_t sent_ms, nanotime now) {
  if (sent_ms >> 61) return 0;
  int64_t gap = (int64_t)(now / NS_MS) - (int64_t)sent_ms;
  bool fresh = !d->since || now - d->since >= 2 * DELAY_WINDOW;
  if (fresh || now - d->since >= DELAY_WINDOW) {
    d->least[1] = fresh ? gap : d->least[0];
    d->least[0] = gap;
    d->since = now ? now : 1;
  }
  if (gap < d->least[0]) d->least[0] = gap;
  int64_t late = gap - (d->least[0] < d->least[1] ? d->least[0] : d->least[1]);
  return late >= DELAY_LEAST ? (uint64_t)late * NS_MS : 0;
}

#endif
