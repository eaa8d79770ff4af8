/* How long many things took. */
#ifndef CLI_HISTOGRAM_H
#define CLI_HISTOGRAM_H

#include <stdint.h>

/* Latencies in octaves of 32 steps: within 3 %. */
struct histogram {
  uint64_t buckets[64 * 32], count, max;
};
void histogram_add(struct histogram *h, uint64_t ns);
uint64_t histogram_at(const struct histogram *h, double quantile);

#endif
