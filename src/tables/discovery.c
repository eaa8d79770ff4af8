#include "tables/discovery.h"

#include <assert.h>

#include "base/check.h"
#include "base/err.h"

static bool name_eq(const struct hlink *h, const void *key, size_t len) {
  const struct discovery_entry *e = container_of(h, struct discovery_entry, h);
  return e->len == len && memcmp(e->name, key, len) == 0;
}

void discovery_init(struct discovery *d, struct mem *mem, struct rng rng, uint32_t max, uint64_t ttl, uint64_t negative_ttl) {
  *d = (struct discovery){.mem = mem, .ttl = ttl, .negative_ttl = negative_ttl, .refresh_min = NS_SEC};
  htab_init(&d->tab, mem, rng, max, name_eq);
  heap_init(&d->due, mem, max);
  list_init(&d->order);
}

static void end_look(struct discovery *d, struct discovery_entry *e) {
  if (!e->looking) return;
  assert(d->looking > 0);
  e->looking = false;
  d->looking--;
  list_append(&d->order, &e->age);
}

static void entry_free(struct discovery *d, struct discovery_entry *e) {
  end_look(d, e);
  htab_remove(&d->tab, &e->h);
  heap_remove(&d->due, &e->due);
  list_remove(&e->age);
  assert(list_empty(&e->waiting));
  mem_free(d->mem, e->v);
  mem_free(d->mem, e);
}

void discovery_done(struct discovery *d) {
  for (struct hlink *h; (h = htab_next(&d->tab, NULL));) entry_free(d, container_of(h, struct discovery_entry, h));
  htab_done(&d->tab);
  heap_done(&d->due);
}

struct discovery_entry *discovery_find(const struct discovery *d, struct slice name) {
  struct hlink *h = htab_find(&d->tab, name.p, name.n);
  return h ? container_of(h, struct discovery_entry, h) : NULL;
}

struct discovery_entry *discovery_peek(const struct discovery *d, struct slice name, nanotime now) {
  struct discovery_entry *e = discovery_find(d, name);
  return e && e->known && now < e->due.at ? e : NULL;
}

struct discovery_entry *discovery_get(struct discovery *d, struct slice name, bool force, nanotime now) {
  struct discovery_entry *e = force ? NULL : discovery_peek(d, name, now);
  if (!e) {
    d->misses++;
    return NULL;
  }
  d->hits++;
  if (!e->looking) {
    list_remove(&e->age);
    list_append(&d->order, &e->age);
  }
  return e;
}

/* Forgets the nodes of an entry, and keeps the rest of it for another TTL. Moving it in the heap needs no memory. */
static void fade(struct discovery *d, struct discovery_entry *e, nanotime now) {
  e->known = false;
  e->count = 0;
  mem_free(d->mem, e->v);
  e->v = NULL;
  (void)heap_set(&d->due, &e->due, time_add(now, d->ttl));
}

static void shrink(struct discovery *d, uint32_t most) {
  while (d->tab.count > most && !list_empty(&d->order)) {
    entry_free(d, container_of(d->order.next, struct discovery_entry, age));
    d->evictions++;
  }
}

static int make_room(struct discovery *d) {
  if (d->tab.count >= d->tab.max) shrink(d, d->tab.max - 1);
  if (d->tab.count < d->tab.max) return 0;
  d->refused++;
  return MACULA_EFULL;
}

void discovery_set_max(struct discovery *d, uint32_t max) {
  d->tab.max = d->due.max = max;
  shrink(d, max);
}

static int entry_new(struct discovery *d, struct slice name, nanotime now, struct discovery_entry **ret_entry) {
  if (name.n == 0 || name.n > UINT8_MAX) return MACULA_EINVAL;
  int err = make_room(d);
  if (err) return err;
  struct discovery_entry *e = mem_calloc(d->mem, 1, sizeof *e + name.n + 1);
  if (!e) return MACULA_ENOMEM;
  memcpy(e->name, name.p, name.n);
  e->len = (uint8_t)name.n;
  list_init(&e->waiting);
  list_init(&e->age);
  err = heap_set(&d->due, &e->due, time_add(now, d->ttl));
  if (err) goto free_entry;
  err = htab_insert(&d->tab, &e->h, name.p, name.n);
  if (err) goto leave_heap;
  list_append(&d->order, &e->age);
  *ret_entry = e;
  return 0;

leave_heap:
  heap_remove(&d->due, &e->due);
free_entry:
  mem_free(d->mem, e);
  return err;
}

bool discovery_ask_again(struct discovery_entry *e, nanotime now) {
  if (e->looking || time_since(now, e->asked) < e->refresh || !e->count) return false;
  e->asked = now;
  return true;
}

int discovery_look(struct discovery *d, struct slice name, nanotime now, struct discovery_entry **ret_entry) {
  struct discovery_entry *e = discovery_find(d, name);
  int err = e ? 0 : entry_new(d, name, now, &e);
  if (err) return err;
  if (!e->looking) {
    e->looking = true;
    d->looking++;
    list_remove(&e->age);
  }
  *ret_entry = e;
  return 0;
}

int discovery_found(struct discovery *d, struct discovery_entry *e, const struct remote_node *v, size_t n, nanotime now) {
  struct remote_node *copy = NULL;
  end_look(d, e);
  if (n > DISCOVERY_NODES) n = DISCOVERY_NODES;
  if (n && !(copy = mem_dup(d->mem, v, n * sizeof *v))) return MACULA_ENOMEM;
  mem_free(d->mem, e->v);
  e->v = copy;
  e->count = (uint32_t)n;
  e->refresh = e->known ? e->refresh * 2 : d->refresh_min;
  if (e->refresh > d->ttl / 2) e->refresh = d->ttl / 2;
  e->known = true;
  e->since = e->asked = now;
  return heap_set(&d->due, &e->due, time_add(now, n ? d->ttl : d->negative_ttl)); /* it is in there: cannot fail */
}

void discovery_failed(struct discovery *d, struct discovery_entry *e) { end_look(d, e); }

bool discovery_remove(struct discovery *d, struct discovery_entry *e, const struct id *node, nanotime now) {
  for (uint32_t i = 0; i < e->count; i++) {
    if (!id_eq(&e->v[i].id, node)) continue;
    memmove(e->v + i, e->v + i + 1, (e->count - i - 1) * sizeof *e->v);
    if (--e->count == 0) fade(d, e, now);
    return true;
  }
  return false;
}

uint32_t discovery_remove_node(struct discovery *d, const struct id *node, nanotime now) {
  uint32_t n = 0;
  for (struct hlink *h = NULL; (h = htab_next(&d->tab, h));)
    n += discovery_remove(d, container_of(h, struct discovery_entry, h), node, now);
  return n;
}

nanotime discovery_deadline(const struct discovery *d) { return heap_deadline(&d->due); }

uint32_t discovery_prune(struct discovery *d, nanotime now) {
  uint32_t n = 0;
  shrink(d, d->tab.max); /* entries beyond a lowered limit that were being looked up until now */
  while (d->due.count && heap_deadline(&d->due) <= now) {
    struct discovery_entry *e = container_of(d->due.v[0], struct discovery_entry, due);
    n += e->known;
    if (e->looking || (e->known && e->round_robin)) {
      fade(d, e, now);
      if (e->due.at <= now) (void)heap_set(&d->due, &e->due, time_add(now, NS_SEC)); /* a TTL of 0 */
    } else {
      entry_free(d, e);
    }
  }
  d->expiries += n;
  return n;
}

static const char *entry_check(const struct discovery *d, const struct discovery_entry *e) {
  CHECK(discovery_find(d, slice_of(e->name, e->len)) == e, "discovery: a procedure is not found by its name");
  CHECK(heap_has(&d->due, &e->due), "discovery: an entry has no end");
  CHECK(list_empty(&e->age) == e->looking, "discovery: what is looked up could be evicted, or what is not could not");
  CHECK(list_holds(&e->waiting), "discovery: a list of those who wait is broken");
  CHECK(e->looking || list_empty(&e->waiting), "discovery: somebody waits for a lookup that is over");
  CHECK(!e->count == !e->v && e->count <= DISCOVERY_NODES, "discovery: an entry holds other nodes than it counts");
  CHECK(e->known || !e->count, "discovery: a faded entry holds nodes");
  return NULL;
}

const char *discovery_check(const struct discovery *d) {
  uint32_t looking = 0;
  CHECK_PART(htab_check(&d->tab));
  CHECK_PART(heap_check(&d->due));
  CHECK(d->due.count == d->tab.count, "discovery: the ends are not as many as the entries");
  for (struct hlink *h = NULL; (h = htab_next(&d->tab, h));) {
    const struct discovery_entry *e = container_of(h, const struct discovery_entry, h);
    CHECK_PART(entry_check(d, e));
    looking += e->looking;
  }
  CHECK(looking == d->looking, "discovery: the lookups are not as many as counted");
  CHECK(list_has(&d->order, d->tab.count - looking), "discovery: the order does not hold what may be evicted");
  return NULL;
}

size_t discovery_owned(const struct discovery *d) {
  size_t sum = htab_owned(&d->tab) + heap_owned(&d->due);
  for (struct hlink *h = NULL; (h = htab_next(&d->tab, h));) {
    const struct discovery_entry *e = container_of(h, const struct discovery_entry, h);
    sum += mem_cost(e) + mem_cost(e->v);
  }
  return sum;
}
