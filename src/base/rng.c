#include "base/rng.h"

#include <string.h>

uint64_t rng_u64(struct rng r) {
  uint64_t v;
  r.fill(r.ctx, &v, sizeof v);
  return v;
}

uint64_t rng_below(struct rng r, uint64_t n) {
  uint64_t skip = -n % n; /* 2^64 mod n: values below it would favour the low numbers */
  for (;;) {
    uint64_t v = rng_u64(r);
    if (v >= skip) return v % n;
  }
}

static uint64_t rotl(uint64_t x, int k) { return x << k | x >> (64 - k); }

static uint64_t next(struct rng_seeded *g) {
  uint64_t *s = g->s, r = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotl(s[3], 45);
  return r;
}

static void seeded_fill(void *ctx, void *ret, size_t n) {
  uint8_t *p = ret;
  while (n) {
    uint64_t v = next(ctx);
    size_t k = n < sizeof v ? n : sizeof v;
    memcpy(p, &v, k);
    p += k;
    n -= k;
  }
}

void rng_seeded_init(struct rng_seeded *g, uint64_t seed) {
  for (int i = 0; i < 4; i++) {
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    g->s[i] = z ^ z >> 31;
  }
}

struct rng rng_seeded_view(struct rng_seeded *s) {
  return (struct rng){seeded_fill, s};
}
