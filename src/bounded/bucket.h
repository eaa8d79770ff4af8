/* Token bucket: rate per second with a burst. */
#ifndef BOUNDED_BUCKET_H
#define BOUNDED_BUCKET_H

#include <stdbool.h>

#include "base/time.h"

struct bucket {
  double tokens;
  nanotime last;
};

/* How many tokens there are. A zeroed bucket starts full. */
static inline double bucket_level(struct bucket *b, double rate, double burst, nanotime now) {
  if (b->last == 0)
    b->tokens = burst;
  else
    b->tokens += (double)time_since(now, b->last) / (double)NS_SEC * rate;
  if (b->tokens > burst) b->tokens = burst;
  b->last = now ? now : 1;
  return b->tokens;
}

/* Takes one token if there is one. */
static inline bool bucket_take(struct bucket *b, double rate, double burst, nanotime now) {
  if (bucket_level(b, rate, burst, now) < 1) return false;
  b->tokens -= 1;
  return true;
}

/* Whether its level can be right: never more than was its burst when it was filled last; below 0 what was taken on credit. */
static inline bool bucket_holds(const struct bucket *b, double most) { return b->tokens <= most; }

#endif
