#include "tables/pool.h"

#include "base/check.h"
#include "base/err.h"

static bool eq(const struct hlink *h, const void *key, size_t len) {
  (void)len;
  return id_eq(&container_of(h, struct pool_entry, l.h)->id, key);
}

/* The table's own limit is never reached, so that it does not evict entries by itself: the owner of the pool does. */
void pool_init(struct pool *p, struct mem *mem, struct rng rng, uint32_t max) {
  *p = (struct pool){.max = max};
  lru_init(&p->lru, mem, rng, UINT32_MAX, eq);
}

void pool_done(struct pool *p) { lru_done(&p->lru); }

int pool_add(struct pool *p, struct pool_entry *e, nanotime now) {
  struct lru_link *out;
  if (pool_find(p, &e->id)) return MACULA_EBUSY;
  if (pool_is_full(p)) return MACULA_EFULL;
  int err = lru_insert(&p->lru, &e->l, &e->id, sizeof e->id, &out);
  if (err) return err;
  e->in = true;
  e->used = now;
  return 0;
}

void pool_remove(struct pool *p, struct pool_entry *e) {
  if (!e->in) return;
  e->in = false;
  lru_remove(&p->lru, &e->l);
}

struct pool_entry *pool_find(const struct pool *p, const struct id *id) {
  struct lru_link *l = lru_find(&p->lru, id, sizeof *id);
  return l ? container_of(l, struct pool_entry, l) : NULL;
}

void pool_use(struct pool *p, struct pool_entry *e, nanotime now) {
  if (!e->in) return;
  e->used = now;
  lru_touch(&p->lru, &e->l);
}

struct pool_entry *pool_victim(const struct pool *p, bool (*spare)(const struct pool_entry *e)) {
  list_for(it, &p->lru.order) {
    struct pool_entry *e = container_of(it, struct pool_entry, l.age);
    if (!spare || !spare(e)) return e;
  }
  return NULL;
}

void pool_set_max(struct pool *p, uint32_t max) { p->max = max; }

const char *pool_check(const struct pool *p) {
  nanotime last = 0;
  CHECK_PART(lru_check(&p->lru));
  CHECK(p->lru.evicted == 0, "pool: the table has thrown somebody out by itself");
  list_for(it, &p->lru.order) {
    const struct pool_entry *e = container_of(it, const struct pool_entry, l.age);
    CHECK(e->in && pool_find(p, &e->id) == e, "pool: one that is in is not found");
    CHECK(e->used >= last, "pool: the order is not that of use");
    last = e->used;
  }
  return NULL;
}
