#include "rpc/select.h"

static bool is_tried(const struct provider *p, const uint64_t *tried, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (tried[i] == p->owner->session) return true;
  return false;
}

/* From a place on, in order and round: the first untried one. */
static struct provider *from(const struct service *s, uint64_t start, const uint64_t *tried, size_t n) {
  for (uint32_t i = 0; i < s->count; i++) {
    struct provider *p = s->v[(start + i) % s->count];
    if (!is_tried(p, tried, n)) return p;
  }
  return NULL;
}

/* Drawing again while a tried one comes keeps the rest equally likely; a few draws suffice unless most are tried. */
static struct provider *any(const struct service *s, const uint64_t *tried, size_t n, struct rng rng) {
  if (s->count == 1) return from(s, 0, tried, n);
  uint64_t i = rng_below(rng, s->count);
  for (int draws = 0; draws < 16 && n && is_tried(s->v[i], tried, n); draws++) i = rng_below(rng, s->count);
  return from(s, i, tried, n);
}

static int compare_distance(const struct id *a, const struct id *b, const struct id *near) {
  for (size_t i = 0; i < ID_LEN; i++)
    if (a->b[i] != b->b[i]) return (a->b[i] ^ near->b[i]) - (b->b[i] ^ near->b[i]);
  return 0;
}

static struct provider *closest(const struct service *s, const struct id *near, const uint64_t *tried, size_t n) {
  struct provider *best = NULL;
  for (uint32_t i = 0; i < s->count; i++) {
    struct provider *p = s->v[i];
    if (!is_tried(p, tried, n) && (!best || compare_distance(&p->owner->id, &best->owner->id, near) < 0)) best = p;
  }
  return best;
}

static struct provider *least_pending(const struct service *s, uint64_t start, const uint64_t *tried, size_t n) {
  struct provider *best = NULL;
  for (uint32_t i = 0; i < s->count; i++) {
    struct provider *p = s->v[(start + i) % s->count];
    if (!is_tried(p, tried, n) && (!best || p->owner->inflight < best->owner->inflight)) best = p;
  }
  return best;
}

struct provider *select_provider(struct service *s, enum strategy strategy, const struct id *near, const uint64_t *tried,
                                 size_t tried_count, struct rng rng) {
  switch (strategy) {
  case STRATEGY_FIRST:
    return from(s, 0, tried, tried_count);
  case STRATEGY_ROUND_ROBIN:
    return from(s, s->round_robin++, tried, tried_count);
  case STRATEGY_CLOSEST:
    return closest(s, near, tried, tried_count);
  case STRATEGY_LEAST_PENDING:
    return least_pending(s, s->round_robin++, tried, tried_count);
  case STRATEGY_DEFAULT:
  case STRATEGY_RANDOM:
  case STRATEGY_UNKNOWN:
    break;
  }
  return any(s, tried, tried_count, rng);
}

uint32_t select_left(const struct service *s, const uint64_t *tried, size_t tried_count) {
  uint32_t left = s->count;
  for (uint32_t i = 0; tried_count && i < s->count; i++) left -= is_tried(s->v[i], tried, tried_count);
  return left;
}
