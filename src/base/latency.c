#include "base/latency.h"

/* Microseconds below 8 are a class each; above, each doubling has eight. */
static unsigned class_of(uint64_t us) {
  if (us < 8) return (unsigned)us;
  unsigned exponent = 63 - (unsigned)__builtin_clzll(us), class = (exponent - 2) * 8 + (unsigned)(us >> (exponent - 3) & 7);
  return class < LATENCY_CLASSES ? class : LATENCY_CLASSES - 1;
}

/* The most microseconds of a class. */
static uint32_t most_of(unsigned class) {
  if (class < 8) return class;
  unsigned exponent = class / 8 + 2;
  return (uint32_t)(((uint64_t)(8 + class % 8 + 1) << (exponent - 3)) - 1);
}

void latency_add(struct latency *l, uint64_t ns) { l->count[class_of(ns / 1000)]++; }

uint32_t latency_part(const struct latency *before, const struct latency *now, double part) {
  uint64_t all = 0, seen = 0;
  for (int i = 0; i < LATENCY_CLASSES; i++) all += (uint32_t)(now->count[i] - before->count[i]);
  if (!all) return UINT32_MAX;
  unsigned class = 0;
  for (; class < LATENCY_CLASSES - 1; class ++) {
    seen += (uint32_t)(now->count[class] - before->count[class]);
    if ((double)seen >= part * (double)all) break;
  }
  return most_of(class);
}
