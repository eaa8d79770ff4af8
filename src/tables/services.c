#include "tables/services.h"

#include <assert.h>

#include "base/check.h"
#include "base/err.h"

static bool name_eq(const struct hlink *h, const void *key, size_t len) {
  const struct service *s = container_of(h, struct service, h);
  return s->len == len && memcmp(s->name, key, len) == 0;
}

void services_init(struct services *s, struct mem *mem, struct rng rng, uint32_t max, uint32_t per_owner) {
  *s = (struct services){.mem = mem};
  htab_init(&s->tab, mem, rng, max, name_eq);
  heap_init(&s->due, mem, max);
  list_init(&s->all);
  services_set_max(s, max, per_owner);
}

void services_set_max(struct services *s, uint32_t max, uint32_t per_owner) {
  s->max = s->tab.max = s->due.max = max;
  s->per_owner = per_owner;
}

void service_owner_init(struct service_owner *o, uint64_t session, const struct id *id, void *user) {
  *o = (struct service_owner){.session = session, .user = user, .id = *id};
  list_init(&o->own);
}

void services_watch(struct services *s, void (*changed)(void *ctx, struct slice name, bool served), void *ctx) {
  s->changed = changed;
  s->ctx = ctx;
}

static void tell(const struct services *s, const struct service *v, bool served) {
  if (s->changed) s->changed(s->ctx, slice_of(v->name, v->len), served);
}

static void free_service(struct services *s, struct service *v) {
  htab_remove(&s->tab, &v->h);
  list_remove(&v->all);
  mem_free(s->mem, v->v);
  mem_free(s->mem, v);
}

static void remove_provider(struct services *s, struct provider *p) {
  struct service *v = p->service;
  assert(v->count > 0);
  uint32_t lo = 0, hi = v->count - 1;
  while (lo < hi) {
    uint32_t mid = lo + (hi - lo) / 2;
    if (v->v[mid]->seq < p->seq)
      lo = mid + 1;
    else
      hi = mid;
  }
  assert(v->v[lo] == p && p->owner->count > 0 && s->count > 0);
  memmove(v->v + lo, v->v + lo + 1, (v->count - lo - 1) * sizeof(*v->v));
  v->count--;
  heap_remove(&s->due, &p->due);
  list_remove(&p->of_owner);
  p->owner->count--;
  if (p->owner->shared) --*p->owner->shared;
  s->count--;
  mem_free(s->mem, p);
  if (v->count == 0) {
    tell(s, v, false);
    free_service(s, v);
  } else if (v->cap > 16 && v->count < v->cap / 8) {
    struct provider **less = mem_realloc(s->mem, v->v, v->cap / 4 * sizeof(*less));
    if (less) {
      v->v = less;
      v->cap /= 4;
    }
  }
}

void services_done(struct services *s) {
  s->changed = NULL;
  while (!list_empty(&s->all)) {
    struct service *v = container_of(s->all.next, struct service, all);
    remove_provider(s, v->v[v->count - 1]);
  }
  htab_done(&s->tab);
  heap_done(&s->due);
}

struct service *services_find(const struct services *s, struct slice name) {
  struct hlink *h = htab_find(&s->tab, name.p, name.n);
  return h ? container_of(h, struct service, h) : NULL;
}

/* Searches the shorter one of the two lists that the registration would be in. */
static struct provider *find_provider(const struct service *v, const struct service_owner *o) {
  if (v->count < o->count) {
    for (uint32_t i = 0; i < v->count; i++)
      if (v->v[i]->owner == o) return v->v[i];
    return NULL;
  }
  list_for(l, &o->own) {
    struct provider *p = container_of(l, struct provider, of_owner);
    if (p->service == v) return p;
  }
  return NULL;
}

static int new_service(struct services *s, struct slice name, struct service **ret_service) {
  struct service *v = mem_calloc(s->mem, 1, sizeof *v + name.n + 1);
  if (!v) return MACULA_ENOMEM;
  memcpy(v->name, name.p, name.n);
  v->len = (uint8_t)name.n;
  int err = htab_insert(&s->tab, &v->h, name.p, name.n);
  if (err) {
    mem_free(s->mem, v);
    return err;
  }
  list_append(&s->all, &v->all);
  *ret_service = v;
  return 0;
}

static int new_provider(struct services *s, struct service *v, struct service_owner *o, uint64_t ttl, nanotime now) {
  if (v->count == v->cap) {
    uint32_t cap = v->cap ? v->cap * 2 : 1;
    struct provider **more = mem_realloc(s->mem, v->v, cap * sizeof(*more));
    if (!more) return MACULA_ENOMEM;
    v->v = more;
    v->cap = cap;
  }
  struct provider *p = mem_calloc(s->mem, 1, sizeof *p);
  if (!p) return MACULA_ENOMEM;
  int err = heap_set(&s->due, &p->due, time_add(now, ttl));
  if (err) {
    mem_free(s->mem, p);
    return err;
  }
  p->service = v;
  p->owner = o;
  p->seq = s->next_seq++;
  p->registered_at = now;
  p->ttl = ttl;
  v->v[v->count++] = p;
  list_append(&o->own, &p->of_owner);
  o->count++;
  if (o->shared) ++*o->shared;
  s->count++;
  return 0;
}

struct provider *services_get(const struct services *s, const struct service_owner *o, struct slice name) {
  struct service *v = services_find(s, name);
  return v ? find_provider(v, o) : NULL;
}

void services_hand_over(struct services *s, struct service_owner *from, struct service_owner *to, uint64_t ttl, nanotime now) {
  list_for_safe(it, &from->own) {
    struct provider *p = container_of(it, struct provider, of_owner);
    if (p->service->count > 1) continue;
    from->count--;
    if (from->shared) --*from->shared;
    list_remove(&p->of_owner);
    list_append(&to->own, &p->of_owner);
    to->count++;
    p->owner = to;
    (void)heap_set(&s->due, &p->due, time_min(p->due.at, time_add(now, ttl))); /* it is in the heap: moving it cannot fail */
  }
}

int services_register(struct services *s, struct service_owner *o, struct slice name, uint64_t ttl, nanotime now) {
  if (name.n == 0 || name.n > UINT8_MAX) return MACULA_EINVAL;
  struct service *v = services_find(s, name);
  struct provider *p = v ? find_provider(v, o) : NULL;
  if (p) {
    p->ttl = ttl;
    return heap_set(&s->due, &p->due, time_add(now, ttl));
  }
  if (s->count >= s->max || o->count >= s->per_owner) {
    s->refused++;
    return MACULA_MAX_SERVICES_REACHED;
  }
  int err = v ? 0 : new_service(s, name, &v);
  if (err) return err;
  err = new_provider(s, v, o, ttl, now);
  if (err && v->count == 0) free_service(s, v);
  if (!err && v->count == 1) tell(s, v, true);
  return err;
}

int services_unregister(struct services *s, struct service_owner *o, struct slice name) {
  struct service *v = services_find(s, name);
  struct provider *p = v ? find_provider(v, o) : NULL;
  if (!p) return MACULA_ENOTFOUND;
  remove_provider(s, p);
  return 0;
}

uint32_t services_drop(struct services *s, struct service_owner *o) {
  uint32_t n = o->count;
  while (!list_empty(&o->own)) remove_provider(s, container_of(o->own.next, struct provider, of_owner));
  return n;
}

nanotime services_deadline(const struct services *s) { return heap_deadline(&s->due); }

uint32_t services_expire(struct services *s, nanotime now) {
  uint32_t n = 0;
  for (struct heap_link *l; (l = heap_pop_due(&s->due, now));) {
    remove_provider(s, container_of(l, struct provider, due));
    n++;
    if (is_spent(s->spent)) break;
  }
  s->expired += n;
  return n;
}

/* Checks an owner; called with the first of its registrations, so once for each. */
static const char *owner_check(const struct service_owner *o, uint32_t *owned) {
  CHECK(list_has(&o->own, o->count), "services: an owner's registrations are not as many as it counts");
  list_for(it, &o->own) CHECK(container_of(it, const struct provider, of_owner)->owner == o,
                              "services: a registration is in another owner's list");
  *owned += o->count;
  return NULL;
}

static const char *service_check(const struct services *s, const struct service *v, uint32_t *owned) {
  CHECK(v->count > 0 && v->count <= v->cap, "services: a procedure without providers, or with more than have room");
  CHECK(services_find(s, slice_of(v->name, v->len)) == v, "services: a procedure is not found by its name");
  for (uint32_t i = 0; i < v->count; i++) {
    const struct provider *p = v->v[i];
    CHECK(p->service == v && p->seq < s->next_seq, "services: a provider of another procedure");
    CHECK(i == 0 || v->v[i - 1]->seq < p->seq, "services: the providers are not in order of registration");
    CHECK(heap_has(&s->due, &p->due), "services: a registration has no deadline");
    if (p->of_owner.prev == &p->owner->own) CHECK_PART(owner_check(p->owner, owned));
  }
  return NULL;
}

const char *services_check(const struct services *s) {
  uint32_t count = 0, owned = 0;
  CHECK_PART(htab_check(&s->tab));
  CHECK_PART(heap_check(&s->due));
  CHECK(list_has(&s->all, s->tab.count), "services: the list does not hold what the table holds");
  list_for(it, &s->all) {
    const struct service *v = container_of(it, const struct service, all);
    CHECK_PART(service_check(s, v, &owned));
    count += v->count;
  }
  CHECK(count == s->count && count == s->due.count, "services: the registrations are not as many as counted");
  CHECK(owned == count, "services: a registration is in no owner's list");
  return NULL;
}

size_t services_owned(const struct services *s) {
  size_t sum = htab_owned(&s->tab) + heap_owned(&s->due);
  list_for(it, &s->all) {
    const struct service *v = container_of(it, const struct service, all);
    sum += mem_cost(v) + mem_cost(v->v);
    for (uint32_t i = 0; i < v->count; i++) sum += mem_cost(v->v[i]);
  }
  return sum;
}
