#include "callers.h"

static struct caller *caller_of(struct callers *c, const struct addr *at) {
  struct caller *oldest = &c->v[0];
  for (size_t i = 0; i < CALLERS_MAX; i++) {
    struct caller *k = &c->v[i];
    if (addr_is_set(&k->at) && addr_same_host(&k->at, at)) return k;
    if (k->used < oldest->used) oldest = k;
  }
  *oldest = (struct caller){.at = *at};
  return oldest;
}

bool callers_afford(struct callers *c, const struct addr *at, nanotime now) {
  struct caller *k = caller_of(c, at);
  k->used = now;
  return bucket_level(&k->cost, CALLERS_RATE, CALLERS_BURST, now) >= 1 &&
         bucket_level(&c->all, CALLERS_ALL_RATE, CALLERS_BURST, now) >= 1;
}

void callers_charge(struct callers *c, const struct addr *at, size_t cost) {
  caller_of(c, at)->cost.tokens -= (double)cost;
  c->all.tokens -= (double)cost;
}
