#include "bounded/htab.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"

#define MIN_SLOTS 16u

static uint64_t rotl(uint64_t x, int k) { return x << k | x >> (64 - k); }

static void sipround(uint64_t v[4]) {
  v[0] += v[1], v[2] += v[3];
  v[1] = rotl(v[1], 13) ^ v[0], v[3] = rotl(v[3], 16) ^ v[2];
  v[0] = rotl(v[0], 32);
  v[2] += v[1], v[0] += v[3];
  v[1] = rotl(v[1], 17) ^ v[2], v[3] = rotl(v[3], 21) ^ v[0];
  v[2] = rotl(v[2], 32);
}

uint64_t siphash13(const uint64_t seed[2], const void *key, size_t n) {
  uint64_t v[4] = {seed[0] ^ UINT64_C(0x736f6d6570736575), seed[1] ^ UINT64_C(0x646f72616e646f6d),
                   seed[0] ^ UINT64_C(0x6c7967656e657261), seed[1] ^ UINT64_C(0x7465646279746573)};
  const uint8_t *p = key;
  uint64_t last = (uint64_t)n << 56, m;
  for (; n >= 8; p += 8, n -= 8) {
    memcpy(&m, p, 8);
    m = le64toh(m); /* one digest everywhere: nodes compare some */
    v[3] ^= m;
    sipround(v);
    v[0] ^= m;
  }
  for (size_t i = 0; i < n; i++) last |= (uint64_t)p[i] << 8 * i;
  v[3] ^= last;
  sipround(v);
  v[0] ^= last;
  v[2] ^= 0xff;
  for (int i = 0; i < 3; i++) sipround(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void htab_init(struct htab *t, struct mem *mem, struct rng rng, uint32_t max,
               bool (*eq)(const struct hlink *, const void *, size_t)) {
  *t = (struct htab){.mem = mem, .max = max, .eq = eq};
  rng_fill(rng, t->seed, sizeof t->seed);
}

void htab_done(struct htab *t) {
  mem_free(t->mem, t->slots);
  t->slots = NULL;
  t->count = t->mask = 0;
}

struct hlink *htab_find(const struct htab *t, const void *key, size_t len) {
  if (!t->slots) return NULL;
  uint64_t h = siphash13(t->seed, key, len);
  for (struct hlink *e = t->slots[h & t->mask]; e; e = e->next)
    if (e->hash == h && t->eq(e, key, len)) return e;
  return NULL;
}

static int resize(struct htab *t, uint32_t n) {
  struct hlink **slots = mem_calloc(t->mem, n, sizeof *slots);
  if (!slots) return MACULA_ENOMEM;
  for (uint32_t i = 0; t->slots && i <= t->mask; i++)
    for (struct hlink *e = t->slots[i], *next; e; e = next) {
      next = e->next;
      e->next = slots[e->hash & (n - 1)];
      slots[e->hash & (n - 1)] = e;
    }
  mem_free(t->mem, t->slots);
  t->slots = slots;
  t->mask = n - 1;
  return 0;
}

int htab_insert(struct htab *t, struct hlink *e, const void *key, size_t len) {
  if (t->count >= t->max) {
    t->refused++;
    return MACULA_EFULL;
  }
  if (!t->slots) {
    if (resize(t, MIN_SLOTS) != 0) return MACULA_ENOMEM;
  } else if (t->count > t->mask) {
    (void)resize(t, (t->mask + 1) * 2); /* a full table still works, only slower */
  }
  e->hash = siphash13(t->seed, key, len);
  e->next = t->slots[e->hash & t->mask];
  t->slots[e->hash & t->mask] = e;
  t->count++;
  return 0;
}

void htab_remove(struct htab *t, struct hlink *e) {
  assert(t->slots && t->count > 0);
  struct hlink **at = &t->slots[e->hash & t->mask];
  while (*at != e) {
    assert(*at); /* else it was not in the table */
    at = &(*at)->next;
  }
  *at = e->next;
  e->next = NULL;
  t->count--;
  if (t->count == 0)
    htab_done(t);
  else if (t->mask >= MIN_SLOTS && t->count < (t->mask + 1) / 8)
    (void)resize(t, (t->mask + 1) / 4);
}

struct hlink *htab_next(const struct htab *t, const struct hlink *prev) {
  if (!t->slots) return NULL;
  uint32_t i = 0;
  if (prev) {
    if (prev->next) return prev->next;
    i = (uint32_t)(prev->hash & t->mask) + 1;
  }
  for (; i <= t->mask; i++)
    if (t->slots[i]) return t->slots[i];
  return NULL;
}

bool htab_has(const struct htab *t, const struct hlink *e, const void *key, size_t len) { return htab_find(t, key, len) == e; }

const char *htab_check(const struct htab *t) {
  uint32_t n = 0;
  CHECK(t->slots ? (t->mask & (t->mask + 1)) == 0 : !t->count && !t->mask, "htab: the slots are no power of two");
  for (uint32_t i = 0; t->slots && i <= t->mask; i++)
    for (const struct hlink *e = t->slots[i]; e; e = e->next) {
      CHECK((e->hash & t->mask) == i, "htab: an entry is in another chain than its hash says");
      CHECK(n++ < t->count, "htab: more entries than counted");
    }
  CHECK(n == t->count, "htab: fewer entries than counted");
  return NULL;
}
