#include "node/flow/keep.h"

#define SAMPLES 3

uint64_t keep_window(uint64_t rtt) { return 3 * rtt > KEEP_WINDOW ? 3 * rtt : KEEP_WINDOW; }

/* Where congestion control limits the sender, a round trip brings acknowledgements of what was in flight before it; half of
 * that, as it may have been less at the window's begin. */
static double wanted(const struct keep_now *now, uint64_t window) {
  double trips = now->rtt ? (double)window / (double)now->rtt - 1 : 0;
  double allowed = now->rtt && now->allowed ? (double)now->allowed * trips / 2 : KEEP_BYTES;
  return allowed < KEEP_BYTES ? allowed : KEEP_BYTES;
}

static void sample(struct keep_sample past[SAMPLES], const struct keep_now *now, uint64_t every) {
  if (past[0].at && time_since(now->clock, past[0].at) < every) return;
  for (int i = SAMPLES - 1; i > 0; i--) past[i] = past[i - 1];
  past[0] = (struct keep_sample){now->clock ? now->clock : 1, now->total, now->acked};
}

void keep_note(struct keep *k, const struct keep_now *now) {
  uint64_t window = keep_window(now->rtt);
  if (now->total == now->acked) {
    keep_emptied(k);
    return;
  }
  sample(k->past, now, window / 2);
  sample(k->far, now, window * KEEP_AHEAD / 2);
}

/* The newest that is as old as that; NULL: none. */
static const struct keep_sample *before(const struct keep_sample past[SAMPLES], const struct keep_now *now, uint64_t age) {
  for (int i = 0; i < SAMPLES && past[i].at; i++)
    if (time_since(now->clock, past[i].at) >= age) return &past[i];
  return NULL;
}

static const struct keep_sample *oldest(const struct keep_sample past[SAMPLES]) {
  int i = 0;
  while (i < SAMPLES - 1 && past[i + 1].at) i++;
  return &past[i];
}

double keep_rate(const struct keep *k, const struct keep_now *now) {
  const struct keep_sample *from = before(k->past, now, keep_window(now->rtt) / 2);
  if (!from) from = oldest(k->past);
  uint64_t passed = from->at ? time_since(now->clock, from->at) : 0;
  return passed ? (double)(uint32_t)(now->total - from->total) / ((double)passed / (double)NS_SEC) : 0;
}

bool keep_was_empty(const struct keep *k, const struct keep_now *now) {
  return now->total == now->acked || !before(k->past, now, keep_window(now->rtt));
}

/* `far` samples are up to half older than they need be, which is in its favour; so are those of a queue that nobody looked at.
 */
static bool is_enough(const struct keep_sample *from, const struct keep_now *now, uint64_t window) {
  uint64_t windows = time_since(now->clock, from->at) / window; /* whole ones */
  if (windows > KEEP_AHEAD) windows = KEEP_AHEAD;
  return (double)(uint32_t)(now->acked - from->acked) >= wanted(now, window) * (double)(windows ? windows : 1);
}

bool keep_holds(const struct keep *k, const struct keep_now *now) {
  uint64_t window = keep_window(now->rtt);
  const struct keep_sample *from = before(k->past, now, window), *far = before(k->far, now, KEEP_AHEAD * window);
  if (now->total == now->acked) return true;
  if (!from) return true; /* it was empty within the window, or nobody has seen it for so long */
  if (now->acked - from->acked >= from->total - from->acked || is_enough(from, now, window)) return true;
  if (!far) far = oldest(k->far);
  return far->at && is_enough(far, now, window);
}
