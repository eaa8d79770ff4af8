#include "tables/principals.h"

#include <assert.h>

#include "base/check.h"

struct key {
  struct id node;
  uint8_t bytes[PRINCIPAL_LEN_MAX];
};

static bool eq(const struct hlink *h, const void *key, size_t len) {
  const struct principal *p = container_of(h, struct principal, h);
  const struct key *k = key;
  return len == ID_LEN + (size_t)p->len && id_eq(&p->node, &k->node) && memcmp(p->bytes, k->bytes, p->len) == 0;
}

void principals_init(struct principals *t, struct mem *mem, struct rng rng, const struct id *self) {
  *t = (struct principals){.mem = mem, .self = *self};
  htab_init(&t->tab, mem, rng, UINT32_MAX, eq);
  list_init(&t->idle[0]);
  list_init(&t->idle[1]);
}

static bool is_foreign(const struct principals *t, const struct id *node) { return !id_eq(node, &t->self); }

static void drop(struct principals *t, struct principal *p) {
  if (is_foreign(t, &p->node)) t->foreign -= mem_cost(p);
  list_remove(&p->idle);
  htab_remove(&t->tab, &p->h);
  mem_free(t->mem, p);
}

static bool evict(struct principals *t, bool foreign) {
  struct list *oldest = t->idle[foreign].next;
  if (oldest == &t->idle[foreign]) return false;
  drop(t, container_of(oldest, struct principal, idle));
  t->evicted++;
  return true;
}

void principals_done(struct principals *t) {
  if (!t->mem) return;
  while (evict(t, true) || evict(t, false)) continue;
  assert(!t->tab.count);
  htab_done(&t->tab);
}

/* So that an entry which makes room in time does not count as a refused allocation. */
static bool has_room(const struct principals *t, bool foreign) {
  size_t cost = sizeof(struct principal) + 2 * sizeof(max_align_t);
  return t->mem->bytes + cost <= t->mem->limit && (!foreign || t->foreign + cost <= t->mem->limit / 8);
}

static struct principal *insert(struct principals *t, const struct key *k, size_t len) {
  struct principal *p;
  bool foreign = is_foreign(t, &k->node);
  if (t->last >= PRINCIPALS_LAST) goto full;
  while (!has_room(t, foreign))
    if (!evict(t, true) && (foreign || !evict(t, false))) goto full;
  if (!(p = mem_calloc(t->mem, 1, sizeof *p))) goto full;
  if (!htab_insert(&t->tab, &p->h, k, ID_LEN + len)) return p;
  mem_free(t->mem, p);
full:
  t->refused++;
  return NULL;
}

struct principal *principals_get(struct principals *t, const struct principal_name *name, const struct id *node) {
  struct key k = {.node = *node};
  size_t len = principal_write(name, k.bytes);
  struct hlink *h = htab_find(&t->tab, &k, ID_LEN + len);
  struct principal *p = h ? container_of(h, struct principal, h) : insert(t, &k, len);
  if (!p || h) return principal_ref(p);
  p->all = t;
  p->number = ++t->last;
  p->refs = 1;
  p->node = k.node;
  p->len = (uint8_t)len;
  memcpy(p->bytes, k.bytes, len);
  list_init(&p->idle);
  if (is_foreign(t, node)) t->foreign += mem_cost(p);
  return p;
}

struct principal *principal_ref(struct principal *p) {
  if (!p) return NULL;
  if (!p->refs++) list_remove(&p->idle);
  return p;
}

void principal_unref(struct principal *p) {
  if (!p) return;
  assert(p->refs > 0);
  if (!--p->refs) list_append(&p->all->idle[is_foreign(p->all, &p->node)], &p->idle);
}

const char *principals_check(const struct principals *t, uint64_t *ret_refs) {
  uint32_t idle[2] = {0};
  size_t foreign = 0;
  CHECK_PART(htab_check(&t->tab));
  *ret_refs = 0;
  for (struct hlink *h = NULL; (h = htab_next(&t->tab, h));) {
    const struct principal *p = container_of(h, const struct principal, h);
    struct key k = {.node = p->node};
    memcpy(k.bytes, p->bytes, p->len);
    CHECK(htab_has(&t->tab, h, &k, ID_LEN + (size_t)p->len), "principals: one is not found by its name");
    CHECK(p->number && p->number <= t->last, "principals: one has a number that was not given");
    CHECK(!p->refs == !list_empty(&p->idle), "principals: one that is referred to is idle, or another is not");
    *ret_refs += p->refs;
    idle[is_foreign(t, &p->node)] += !p->refs;
    if (is_foreign(t, &p->node)) foreign += mem_cost(p);
  }
  CHECK(list_has(&t->idle[0], idle[0]) && list_has(&t->idle[1], idle[1]),
        "principals: those that are idle are not as many as the list holds");
  CHECK(foreign == t->foreign, "principals: those of other nodes are not as many bytes as counted");
  return NULL;
}

size_t principals_owned(const struct principals *t) {
  size_t sum = htab_owned(&t->tab);
  for (struct hlink *h = NULL; (h = htab_next(&t->tab, h));) sum += mem_cost(container_of(h, const struct principal, h));
  return sum;
}
