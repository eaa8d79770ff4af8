/* Random numbers, from a source that the owner supplies: the system's in programs, a seeded one in the simulator. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct rng {
  void (*fill)(void *ctx, void *ret, size_t n);
  void *ctx;
};

static inline void rng_fill(struct rng r, void *ret, size_t n) { r.fill(r.ctx, ret, n); }
uint64_t rng_u64(struct rng r);
/* Uniform in [0, n); n > 0. */
uint64_t rng_below(struct rng r, uint64_t n);

/* xoshiro256** (Blackman and Vigna 2018) seeded by splitmix64: the simulator's; not for secrets. */
struct rng_seeded {
  uint64_t s[4];
};
void rng_seeded_init(struct rng_seeded *s, uint64_t seed);
struct rng rng_seeded_view(struct rng_seeded *s);

#endif
