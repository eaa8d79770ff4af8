#include "node/flow/budget.h"

double budget_left(struct budget *b, enum budget_kind kind, bool kept, nanotime now) {
  double left = bucket_level(&b->left, BUDGET_RATE, BUDGET_BURST, now);
  if (!kept) left -= BUDGET_KEPT;
  if (kind == BUDGET_KIND_QOS1) return left;
  left -= BUDGET_QOS1 - BUDGET_QOS0;
  return kind == BUDGET_KIND_WAIT ? left / BUDGET_PATIENT : left;
}

void budget_charge(struct budget *b, enum budget_kind kind, nanotime from, nanotime now) {
  if (from < b->until) from = b->until;
  if (now <= from) return;
  (void)bucket_level(&b->left, BUDGET_RATE, BUDGET_BURST, now);
  b->left.tokens -= (double)(now - from) / (double)NS_SEC * (kind == BUDGET_KIND_WAIT ? BUDGET_PATIENT : 1);
  b->until = now;
}
