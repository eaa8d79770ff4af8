#include "bounded/lru.h"

#include "base/check.h"
#include "base/err.h"

void lru_init(struct lru *l, struct mem *mem, struct rng rng, uint32_t max,
              bool (*eq)(const struct hlink *, const void *, size_t)) {
  htab_init(&l->tab, mem, rng, max, eq);
  list_init(&l->order);
  l->evicted = 0;
}

void lru_done(struct lru *l) {
  htab_done(&l->tab);
  list_init(&l->order);
}

struct lru_link *lru_find(const struct lru *l, const void *key, size_t len) {
  struct hlink *h = htab_find(&l->tab, key, len);
  return h ? container_of(h, struct lru_link, h) : NULL;
}

void lru_touch(struct lru *l, struct lru_link *e) {
  list_remove(&e->age);
  list_append(&l->order, &e->age);
}

struct lru_link *lru_oldest(const struct lru *l) {
  return list_empty(&l->order) ? NULL : container_of(l->order.next, struct lru_link, age);
}

int lru_insert(struct lru *l, struct lru_link *e, const void *key, size_t len, struct lru_link **ret_evicted) {
  *ret_evicted = NULL;
  if (l->tab.max == 0) return MACULA_EFULL;
  if (l->tab.count >= l->tab.max) {
    *ret_evicted = lru_oldest(l);
    lru_remove(l, *ret_evicted);
    l->evicted++;
  }
  int err = htab_insert(&l->tab, &e->h, key, len);
  if (err) return err;
  list_append(&l->order, &e->age);
  return 0;
}

void lru_remove(struct lru *l, struct lru_link *e) {
  htab_remove(&l->tab, &e->h);
  list_remove(&e->age);
}

const char *lru_check(const struct lru *l) {
  CHECK_PART(htab_check(&l->tab));
  CHECK(list_has(&l->order, l->tab.count), "lru: the order does not hold what the table holds");
  CHECK(l->tab.count <= l->tab.max, "lru: more entries than may be");
  list_for(it, &l->order) {
    const struct hlink *h = &container_of(it, struct lru_link, age)->h, *e = htab_chain(&l->tab, h->hash);
    while (e && e != h) e = e->next;
    CHECK(e, "lru: an entry of the order is not in the table");
  }
  return NULL;
}
