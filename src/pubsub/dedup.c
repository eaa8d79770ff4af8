#include "pubsub/dedup.h"

#include "base/check.h"
#include "base/err.h"

#define AT_ONCE 64u /* ids forgotten between two looks at the time */

struct entry {
  struct lru_link link;
  nanotime added;
  struct dedup_key key;
};

static struct entry *entry_of(struct lru_link *l) { return l ? container_of(l, struct entry, link) : NULL; }

static bool key_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(&container_of(h, struct entry, link.h)->key, key, len) == 0;
}

void dedup_init(struct dedup *d, struct mem *mem, struct rng rng, uint32_t max, uint64_t window) {
  *d = (struct dedup){.mem = mem, .window = window};
  lru_init(&d->lru, mem, rng, max, key_eq);
}

static void forget(struct dedup *d, struct entry *e) {
  lru_remove(&d->lru, &e->link);
  mem_free(d->mem, e);
}

void dedup_done(struct dedup *d) {
  for (struct entry *e; (e = entry_of(lru_oldest(&d->lru)));) forget(d, e);
  lru_done(&d->lru);
}

bool dedup_seen(struct dedup *d, const struct dedup_key *key, nanotime now) {
  dedup_expire(d, now);
  if (!lru_find(&d->lru, key, sizeof *key)) return false;
  d->duplicates++;
  return true;
}

int dedup_add(struct dedup *d, const struct dedup_key *key, nanotime now) {
  struct entry *e = mem_alloc(d->mem, sizeof *e);
  if (!e) return MACULA_ENOMEM;
  e->added = now;
  e->key = *key;
  struct lru_link *evicted;
  int err = lru_insert(&d->lru, &e->link, key, sizeof *key, &evicted);
  mem_free(d->mem, entry_of(evicted));
  if (err) mem_free(d->mem, e);
  return err;
}

nanotime dedup_deadline(const struct dedup *d) {
  const struct entry *e = entry_of(lru_oldest(&d->lru));
  return e ? time_add(e->added, d->window) : TIME_NEVER;
}

void dedup_expire(struct dedup *d, nanotime now) {
  for (uint32_t k = 1; dedup_deadline(d) <= now && lru_oldest(&d->lru); k++) {
    forget(d, entry_of(lru_oldest(&d->lru)));
    if (k % AT_ONCE == 0 && is_spent(d->spent)) return;
  }
}

void dedup_set_max(struct dedup *d, uint32_t max, uint64_t window) {
  d->window = window;
  d->lru.tab.max = max;
  while (d->lru.tab.count > max) {
    forget(d, entry_of(lru_oldest(&d->lru)));
    d->lru.evicted++;
  }
}

const char *dedup_check(const struct dedup *d) {
  nanotime last = 0;
  CHECK_PART(lru_check(&d->lru));
  list_for(it, &d->lru.order) {
    const struct entry *e = container_of(it, const struct entry, link.age);
    CHECK(htab_has(&d->lru.tab, &e->link.h, &e->key, sizeof e->key), "dedup: an id is not found");
    CHECK(e->added >= last, "dedup: the order is not that of arrival");
    last = e->added;
  }
  return NULL;
}

size_t dedup_owned(const struct dedup *d) {
  size_t sum = htab_owned(&d->lru.tab);
  list_for(it, &d->lru.order) sum += mem_cost(container_of(it, const struct entry, link.age));
  return sum;
}
