#include "bounded/htab.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"

#define MIN_SLOTS 16u
#define CHAINS_AT_ONCE 16 /* all are moved before the slots have to change again */

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
  mem_free(t->mem, t->old);
  t->slots = t->old = NULL;
  t->count = t->mask = t->old_mask = t->moved = 0;
}

/* Where an entry is: in the old slots until its chain there has been moved. */
static struct hlink **chain_of(const struct htab *t, uint64_t hash) {
  bool old = t->old && (hash & t->old_mask) >= t->moved;
  return old ? &t->old[hash & t->old_mask] : &t->slots[hash & t->mask];
}

struct hlink *htab_find(const struct htab *t, const void *key, size_t len) {
  if (!t->slots) return NULL;
  uint64_t h = siphash13(t->seed, key, len);
  for (struct hlink *e = *chain_of(t, h); e; e = e->next)
    if (e->hash == h && t->eq(e, key, len)) return e;
  return NULL;
}

static void put(struct hlink **chain, struct hlink *e) {
  e->next = *chain;
  *chain = e;
}

/* Moves a few chains. */
static void move_some(struct htab *t) {
  for (int i = 0; t->old && i < CHAINS_AT_ONCE; i++) {
    for (struct hlink *e = t->old[t->moved], *next; e; e = next) {
      next = e->next;
      put(&t->slots[e->hash & t->mask], e);
    }
    t->old[t->moved] = NULL;
    if (t->moved++ < t->old_mask) continue;
    mem_free(t->mem, t->old);
    t->old = NULL;
    t->old_mask = t->moved = 0;
  }
}

static int resize(struct htab *t, uint32_t n) {
  struct hlink **slots = t->old ? NULL : mem_calloc(t->mem, n, sizeof *slots);
  if (!slots) return MACULA_ENOMEM;
  t->old = t->slots;
  t->old_mask = t->mask;
  t->slots = slots;
  t->mask = n - 1;
  return 0;
}

int htab_insert(struct htab *t, struct hlink *e, const void *key, size_t len) {
  if (t->count >= t->max) {
    t->refused++;
    return MACULA_EFULL;
  }
  move_some(t);
  if (!t->slots) {
    if (resize(t, MIN_SLOTS) != 0) return MACULA_ENOMEM;
  } else if (t->count > t->mask) {
    (void)resize(t, (t->mask + 1) * 2); /* a full table still works, only slower */
  }
  e->hash = siphash13(t->seed, key, len);
  put(chain_of(t, e->hash), e);
  t->count++;
  return 0;
}

void htab_remove(struct htab *t, struct hlink *e) {
  assert(t->slots && t->count > 0);
  struct hlink **at = chain_of(t, e->hash);
  while (*at != e) {
    assert(*at); /* else it was not in the table */
    at = &(*at)->next;
  }
  *at = e->next;
  e->next = NULL;
  move_some(t);
  t->count--;
  if (t->count == 0)
    htab_done(t);
  else if (t->mask >= MIN_SLOTS && t->count < (t->mask + 1) / 8)
    (void)resize(t, (t->mask + 1) / 4);
}

static struct hlink *first_from(struct hlink **slots, uint32_t mask, uint32_t i) {
  for (; slots && i <= mask; i++)
    if (slots[i]) return slots[i];
  return NULL;
}

/* First the entries in the old slots. Others of a chain are not looked at, as they may have been freed. */
struct hlink *htab_next(const struct htab *t, const struct hlink *prev) {
  if (!t->slots) return NULL;
  if (prev && prev->next) return prev->next;
  bool old = !prev || (t->old && (prev->hash & t->old_mask) >= t->moved);
  struct hlink *next = old ? first_from(t->old, t->old_mask, prev ? (uint32_t)(prev->hash & t->old_mask) + 1 : t->moved) : NULL;
  return next ? next : first_from(t->slots, t->mask, old ? 0 : (uint32_t)(prev->hash & t->mask) + 1);
}

struct hlink *htab_chain(const struct htab *t, uint64_t hash) {
  return t->slots ? *chain_of(t, hash) : NULL;
}

bool htab_has(const struct htab *t, const struct hlink *e, const void *key, size_t len) { return htab_find(t, key, len) == e; }

/* The chains from the i-th on. */
static const char *chains_check(const struct htab *t, struct hlink *const *slots, uint32_t mask, uint32_t i, uint32_t *n) {
  for (; i <= mask; i++)
    for (const struct hlink *e = slots[i]; e; e = e->next) {
      CHECK((e->hash & mask) == i && *chain_of(t, e->hash) == slots[i],
            "htab: an entry is in another chain than its hash says");
      CHECK((*n)++ < t->count, "htab: more entries than counted");
    }
  return NULL;
}

const char *htab_check(const struct htab *t) {
  uint32_t n = 0;
  CHECK(t->slots ? (t->mask & (t->mask + 1)) == 0 : !t->count && !t->mask && !t->old, "htab: the slots are no power of two");
  CHECK(t->old ? t->moved <= t->old_mask : !t->moved && !t->old_mask, "htab: chains of former slots were moved that are none");
  if (t->slots) CHECK_PART(chains_check(t, t->slots, t->mask, 0, &n));
  if (t->old) CHECK_PART(chains_check(t, t->old, t->old_mask, t->moved, &n));
  CHECK(n == t->count, "htab: fewer entries than counted");
  return NULL;
}
