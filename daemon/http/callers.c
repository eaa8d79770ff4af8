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

static double burst_of(const struct callers *c) { return c->burst > 0 ? c->burst : CALLERS_BURST; }

/* It pays with the reserve: nothing is left of what all have, and it has asked for little. */
static bool is_spared(const struct callers *c, const struct caller *k) { return c->all.tokens < 1 && k->little.tokens >= 1; }

bool callers_afford(struct callers *c, const struct addr *at, nanotime now) {
  struct caller *k = caller_of(c, at);
  double burst = burst_of(c);
  k->used = now;
  bucket_level(&k->little, CALLERS_LITTLE / 10, CALLERS_LITTLE, now);
  bucket_level(&c->all, CALLERS_ALL_RATE, burst, now);
  bucket_level(&c->reserve, CALLERS_RESERVE_RATE, burst, now);
  return bucket_level(&k->cost, CALLERS_RATE, burst, now) >= 1 && (is_spared(c, k) ? &c->reserve : &c->all)->tokens >= 1;
}

static void pay(struct bucket *b, size_t cost, double rate) {
  b->tokens -= (double)cost;
  if (b->tokens < -CALLERS_DEBT_S * rate) b->tokens = -CALLERS_DEBT_S * rate;
}

static void pay_own(struct caller *k, size_t cost) {
  pay(&k->cost, cost, CALLERS_RATE);
  pay(&k->little, cost, CALLERS_LITTLE / CALLERS_DEBT_S); /* after a flood it is 10 s without */
}

void callers_charge(struct callers *c, const struct addr *at, size_t cost) {
  struct caller *k = caller_of(c, at);
  if (is_spared(c, k))
    pay(&c->reserve, cost, CALLERS_RESERVE_RATE);
  else
    pay(&c->all, cost, CALLERS_ALL_RATE);
  pay_own(k, cost);
}

void callers_charge_late(struct callers *c, const struct addr *at, size_t cost) {
  struct caller *k = caller_of(c, at);
  if (k->cost.tokens < 0)
    pay_own(k, cost);
  else
    callers_charge(c, at, cost);
}
