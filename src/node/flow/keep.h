/* Keeping up: whether one takes what it is sent about as fast as its path allows, so that waiting for it makes sense.
 *
 * It does if within the last 200 ms, or three round trips if that is longer, its queue was empty at some moment, or all that
 * stood in it at their begin has been acknowledged, or at least 64 KiB, or what congestion control allowed if that is less.
 * Receivers give credit in large steps, so it is enough, too, if it did that on average over eight such windows. All of this is
 * known by samples, so that windows may be half as long again. Time is the flow's clock (flow/state.h), which does not go on
 * while the node itself sends nothing. */
#ifndef NODE_FLOW_KEEP_H
#define NODE_FLOW_KEEP_H

#include <stddef.h>

#include "node/flow/state.h"

#define KEEP_WINDOW (200 * NS_MS)
#define KEEP_BYTES (64u << 10)
#define KEEP_AHEAD 8 /* windows */

struct keep_now {
  nanotime clock;
  uint64_t rtt;          /* ns; 0: unknown */
  size_t allowed;        /* bytes that may be in flight, of congestion control; 0: unknown */
  uint32_t total, acked; /* deliveries in bytes since the begin, modulo 2^32: those of the queue, and those acknowledged */
};

uint64_t keep_window(uint64_t rtt); /* ns */
/* The queue is empty, or was until now. */
static inline void keep_emptied(struct keep *k) { *k = (struct keep){0}; }
/* Whether keep_note may have something to note. Cheap. */
static inline bool keep_is_due(const struct keep *k, nanotime clock) {
  return !k->past[0].at || time_since(clock, k->past[0].at) >= KEEP_WINDOW / 2;
}
/* To be called while the queue grows or is waited for. */
void keep_note(struct keep *k, const struct keep_now *now);
/* Bytes a second that came into the queue over a window or less; 0: unknown. */
double keep_rate(const struct keep *k, const struct keep_now *now);
/* Whether the queue was empty within the window, as far as anybody looked: it is behind by a burst only. */
bool keep_was_empty(const struct keep *k, const struct keep_now *now);
bool keep_holds(const struct keep *k, const struct keep_now *now);

#endif
