#include "histogram.h"

void histogram_add(struct histogram *h, uint64_t ns) {
  unsigned top = ns < 32 ? 0 : 63u - (unsigned)__builtin_clzll(ns) - 5u;
  uint64_t step = ns < 32 ? ns : (ns >> top) - 32;
  h->buckets[ns < 32 ? step : (top + 1) * 32 + step]++;
  h->count++;
  if (ns > h->max) h->max = ns;
}

uint64_t histogram_at(const struct histogram *h, double quantile) {
  uint64_t want = (uint64_t)(quantile * (double)h->count), seen = 0;
  for (unsigned i = 0; i < sizeof h->buckets / sizeof h->buckets[0]; i++) {
    seen += h->buckets[i];
    if (seen > want) {
      uint64_t v = i < 32 ? i : (32 + (uint64_t)i % 32) << (i / 32 - 1);
      return v < h->max ? v : h->max;
    }
  }
  return h->max;
}
