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

static void extend(struct keep *k, const struct keep_now *now, uint64_t window) {
  uint32_t acked = k->at ? now->acked - k->acked : 0;
  nanotime from = k->until > k->at ? k->until : k->at, most = time_add(now->clock, KEEP_AHEAD * window);
  k->at = now->clock ? now->clock : 1;
  k->acked = now->acked;
  if (!acked) return;
  double by = (double)acked / wanted(now, window) * (double)window;
  nanotime until = by < (double)(KEEP_AHEAD * window) ? time_min(time_add(from, (nanotime)by), most) : most;
  nanotime least = by < (double)window ? 0 : time_add(now->clock, window);
  k->until = until > least ? until : least;
}

void keep_note(struct keep *k, const struct keep_now *now) {
  uint64_t window = keep_window(now->rtt);
  if (now->total == now->acked) {
    keep_emptied(k);
    return;
  }
  extend(k, now, window);
  if (k->past[0].at && time_since(now->clock, k->past[0].at) < window / 2) return;
  for (int i = SAMPLES - 1; i > 0; i--) k->past[i] = k->past[i - 1];
  k->past[0] = (struct keep_sample){k->at, now->total, now->acked};
}

bool keep_holds(const struct keep *k, const struct keep_now *now) {
  uint64_t window = keep_window(now->rtt);
  const struct keep_sample *from = NULL;
  if (now->total == now->acked || now->clock < k->until) return true;
  for (int i = 0; i < SAMPLES && k->past[i].at && !from; i++)
    if (time_since(now->clock, k->past[i].at) >= window) from = &k->past[i];
  if (!from) return true; /* it was empty within the window, or nobody has seen it for so long */
  return now->acked - from->acked >= from->total - from->acked;
}
