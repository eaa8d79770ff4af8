#include "bounded/heavy.h"

#include <string.h>

#include "base/check.h"
#include "base/list.h"

#define WINDOW (5 * NS_SEC)

static struct heavy_entry *entry_of(const struct hlink *h) { return container_of(h, struct heavy_entry, h); }

static bool eq(const struct hlink *h, const void *key, size_t len) {
  const struct heavy_entry *e = entry_of(h);
  return e->len == len && memcmp(e->name, key, len) == 0;
}

void heavy_init(struct heavy *h, struct mem *mem, struct rng rng) {
  *h = (struct heavy){.mem = mem};
  htab_init(&h->tab, mem, rng, HEAVY_MAX, eq);
}

void heavy_done(struct heavy *h) {
  if (!h->mem) return;
  for (uint32_t i = 0; i < HEAVY_MAX; i++) mem_free(h->mem, h->at[i]);
  htab_done(&h->tab);
  *h = (struct heavy){0};
}

static void halve(struct heavy *h, nanotime now) {
  if (now < h->halve_at) return;
  uint64_t times = h->halve_at ? 1 + time_since(now, h->halve_at) / HEAVY_HALF : 0;
  for (uint32_t i = 0; i < h->tab.count; i++) h->at[i]->rank = times < 64 ? h->at[i]->rank / (double)(UINT64_C(1) << times) : 0;
  h->halve_at = time_add(now, HEAVY_HALF);
}

static struct heavy_entry *lowest(const struct heavy *h) {
  struct heavy_entry *low = h->at[0];
  for (uint32_t i = 1; i < HEAVY_MAX; i++)
    if (h->at[i]->rank < low->rank) low = h->at[i];
  return low;
}

const struct heavy_entry *heavy_has(const struct heavy *h, struct slice name) {
  struct hlink *l = name.n <= HEAVY_NAME ? htab_find(&h->tab, name.p, name.n) : NULL;
  return l ? entry_of(l) : NULL;
}

struct heavy_entry *heavy_find(struct heavy *h, struct slice name, double events, nanotime now) {
  struct heavy_entry *e = (struct heavy_entry *)heavy_has(h, name);
  halve(h, now);
  if (e) {
    e->rank += events;
    return e;
  }
  if (name.n > HEAVY_NAME) return NULL;
  double rank = 0;
  if (h->tab.count < HEAVY_MAX) {
    if (!(e = mem_alloc(h->mem, sizeof *e))) return NULL;
    e->place = h->tab.count;
  } else {
    e = lowest(h);
    rank = e->rank;
    htab_remove(&h->tab, &e->h);
    h->replaced++;
  }
  *e = (struct heavy_entry){.place = e->place, .rank = rank + events, .since = now, .len = (uint8_t)name.n};
  memcpy(e->name, name.p, name.n);
  struct heavy_entry *last = h->at[h->tab.count]; /* what follows keeps the places without a gap, if the table has no memory */
  if (htab_insert(&h->tab, &e->h, name.p, name.n) == 0) return h->at[e->place] = e;
  if (e->place < h->tab.count) {
    h->at[e->place] = last;
    last->place = e->place;
  }
  h->at[h->tab.count] = NULL;
  mem_free(h->mem, e);
  return NULL;
}

/* Moves the window on: whole ones that have passed, and their counts. */
static struct heavy_rate at_now(struct heavy_rate r, nanotime now) {
  uint64_t gone = time_since(now, r.since);
  if (gone < WINDOW) return r;
  if (gone >= 2 * WINDOW) return (struct heavy_rate){.since = now};
  return (struct heavy_rate){.since = r.since + WINDOW, .last = r.now};
}

void heavy_add(struct heavy_entry *e, enum heavy_count what, uint64_t count, nanotime now) {
  e->count[what] += count;
  e->rate[what] = at_now(e->rate[what], now);
  e->rate[what].now += (double)count;
}

double heavy_per_s(const struct heavy_entry *e, enum heavy_count what, nanotime now) {
  struct heavy_rate r = at_now(e->rate[what], now);
  double into = (double)time_since(now, r.since) / (double)WINDOW;
  uint64_t age = time_since(now, e->since);
  double over = age < WINDOW ? (double)(age < NS_SEC ? NS_SEC : age) : (double)WINDOW; /* a new one has no 5 s behind it */
  return (r.now + (age < WINDOW ? r.last : r.last * (1 - into))) / over * (double)NS_SEC;
}

const char *heavy_check(const struct heavy *h) {
  CHECK_PART(htab_check(&h->tab));
  for (uint32_t i = 0; i < HEAVY_MAX; i++) {
    const struct heavy_entry *e = h->at[i];
    CHECK(!e == (i >= h->tab.count), "heavy: a place is empty among others, or taken beyond them");
    if (e) CHECK(e->place == i && htab_has(&h->tab, &e->h, e->name, e->len), "heavy: an entry is not found by its name");
    if (e) CHECK(e->rank >= 0, "heavy: a rank is below nothing");
  }
  return NULL;
}

size_t heavy_owned(const struct heavy *h) {
  size_t sum = htab_owned(&h->tab);
  for (uint32_t i = 0; i < h->tab.count; i++) sum += mem_cost(h->at[i]);
  return sum;
}
