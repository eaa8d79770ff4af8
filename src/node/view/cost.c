#include "node/view/cost.h"

/* Rows a second, and at once, of one that asks and of all of its kind. A row takes some 10 us to make. */
static const struct share {
  double rate, burst, all_rate, all_burst;
} shares[ASKER_KINDS] = {
    [ASKER_CLIENT] = {1000, 160, 5000, 160},
    [ASKER_OPERATOR] = {10000, 256, 20000, 256},
    [ASKER_NODE] = {5000, 256, 10000, 512},
};

bool cost_affords(struct node *n, struct bucket *own, enum asker_kind kind) {
  const struct share *h = &shares[kind];
  bool has = bucket_level(own, h->rate, h->burst, n->now) >= 1 &&
             bucket_level(&n->asks.cost[kind], h->all_rate, h->all_burst, n->now) >= 1;
  n->asks.refused += !has;
  return has;
}

void cost_charge(struct node *n, struct bucket *own, enum asker_kind kind, size_t cost) {
  own->tokens -= (double)cost;
  n->asks.cost[kind].tokens -= (double)cost;
}
