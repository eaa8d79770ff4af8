#include "dht/routing.h"

#include <assert.h>

#include "dht/distance.h"

#define FRESH (5 * NS_SEC) /* a contact heard from within this time is not pinged */
/* Time between two pings of a bucket. A ping makes its sender known to the receiver, whose full bucket then pings in turn:
 * without this pause 300 nodes sent 16 frames a second each, for ever (tests/sim/mesh_scale). */
#define PING_EVERY (10 * NS_SEC)

void routing_init(struct routing *t, struct mem *mem, const struct id *self, uint32_t per_address) {
  *t = (struct routing){.mem = mem, .self = *self, .per_address = per_address};
}

void routing_done(struct routing *t) {
  for (unsigned i = 0; i < ROUTING_BUCKETS; i++) mem_free(t->mem, t->b[i]);
}

static bool has_route(const struct dht_contact *c) { return addr_is_set(&c->addr) || !id_is_zero(&c->gateway); }

/* Whether two contacts count as one site: same IPv4 address, same IPv6 /64, or same gateway. */
static bool same_site(const struct dht_contact *a, const struct dht_contact *b) {
  if (a->addr.sa.sa_family != b->addr.sa.sa_family) return false;
  if (a->addr.sa.sa_family == AF_INET) return a->addr.v4.sin_addr.s_addr == b->addr.v4.sin_addr.s_addr;
  if (a->addr.sa.sa_family == AF_INET6) return memcmp(&a->addr.v6.sin6_addr, &b->addr.v6.sin6_addr, 8) == 0;
  return id_eq(&a->gateway, &b->gateway);
}

static uint32_t count_site(const struct routing_contact *v, unsigned n, const struct dht_contact *c) {
  uint32_t sum = 0;
  for (unsigned i = 0; i < n; i++) sum += same_site(&v[i].c, c) && !id_eq(&v[i].c.id, &c->id);
  return sum;
}

/* Whether the table has its limit of contacts of this one's site: they may all be one attacker's, as ids cost nothing (Baumgart
 * and Mies 2007, 4.1). */
static bool site_is_full(const struct routing *t, const struct dht_contact *c) {
  uint32_t n = 0, most = addr_is_set(&c->addr) ? t->per_address : t->per_address * 8;
  if (addr_is_set(&c->addr) && addr_is_loopback(&c->addr)) return false;
  for (unsigned i = 0; i < ROUTING_BUCKETS; i++)
    if (t->b[i]) n += count_site(t->b[i]->v, t->b[i]->count, c) + count_site(t->b[i]->cache, t->b[i]->cached, c);
  return n >= most;
}

static unsigned index_of(const struct routing_contact *v, unsigned n, const struct id *id) {
  unsigned i = 0;
  while (i < n && !id_eq(&v[i].c.id, id)) i++;
  return i;
}

static void take_out(struct routing_contact *v, uint8_t *n, unsigned i) {
  assert(i < *n);
  memmove(v + i, v + i + 1, (size_t)(*n - i - 1) * sizeof *v);
  --*n;
}

static void to_end(struct routing_contact *v, unsigned n, unsigned i, const struct routing_contact *x) {
  memmove(v + i, v + i + 1, (n - i - 1) * sizeof *v);
  v[n - 1] = *x;
}

static struct routing_bucket *bucket_of(const struct routing *t, const struct id *id) {
  unsigned i = common_bits(&t->self, id);
  return i < ROUTING_BUCKETS ? t->b[i] : NULL;
}

static void want_ping(struct routing_bucket *b, nanotime now, struct dht_contact *ret_ping, bool *ret_want) {
  if (b->pinging || !b->cached || b->count < DHT_K || time_since(now, b->v[0].seen) < FRESH) return;
  b->pinging = *ret_want = true;
  b->pinged = now;
  *ret_ping = b->v[0].c;
}

/* Puts a contact into the replacement cache. Returns whether it was not there before. */
static bool remember(struct routing_bucket *b, const struct routing_contact *x) {
  unsigned i = index_of(b->cache, b->cached, &x->c.id);
  if (i < b->cached) {
    to_end(b->cache, b->cached, i, x);
    return false;
  }
  if (b->cached == ROUTING_CACHE) take_out(b->cache, &b->cached, 0);
  b->cache[b->cached++] = *x;
  return true;
}

enum routing_seen routing_seen(struct routing *t, const struct dht_contact *c, nanotime now, struct dht_contact *ret_ping,
                               bool *ret_want_ping) {
  struct routing_contact x = {*c, now, 0};
  unsigned n = common_bits(&t->self, &c->id);
  *ret_want_ping = false;
  if (n >= ROUTING_BUCKETS) return ROUTING_REFUSED;
  struct routing_bucket *b = t->b[n];
  unsigned i = b ? index_of(b->v, b->count, &c->id) : 0;
  if (b && i < b->count) {
    if (!has_route(c)) x.c = b->v[i].c;
    if (i == 0) b->pinging = false;
    to_end(b->v, b->count, i, &x);
    return ROUTING_KNOWN;
  }
  if (!has_route(c)) return ROUTING_REFUSED;
  if (site_is_full(t, c)) {
    t->refused++;
    return ROUTING_REFUSED;
  }
  if (!b) {
    if (!(b = mem_calloc(t->mem, 1, sizeof *b))) {
      t->refused++;
      return ROUTING_REFUSED;
    }
    b->touched = now;
    t->b[n] = b;
  }
  if (b->count < DHT_K) {
    unsigned k = index_of(b->cache, b->cached, &c->id);
    if (k < b->cached) take_out(b->cache, &b->cached, k);
    b->v[b->count++] = x;
    t->count++;
    return ROUTING_ADDED;
  }
  bool is_new = remember(b, &x);
  if (b->pinged == 0 || time_since(now, b->pinged) >= PING_EVERY) want_ping(b, now, ret_ping, ret_want_ping);
  return is_new ? ROUTING_CACHED : ROUTING_KNOWN;
}

/* Removes contact i; the newest contact of the cache takes its place. */
static void drop(struct routing *t, struct routing_bucket *b, unsigned i) {
  take_out(b->v, &b->count, i);
  if (i == 0) b->pinging = false;
  t->count--;
  t->evicted++;
  if (b->cached) {
    b->v[b->count++] = b->cache[--b->cached];
    t->count++;
  }
}

static void free_if_empty(struct routing *t, const struct id *id) {
  unsigned n = common_bits(&t->self, id);
  if (t->b[n]->count || t->b[n]->cached) return;
  mem_free(t->mem, t->b[n]);
  t->b[n] = NULL;
}

void routing_failed(struct routing *t, const struct id *id, nanotime now, struct dht_contact *ret_ping, bool *ret_want_ping) {
  struct routing_bucket *b = bucket_of(t, id);
  *ret_want_ping = false;
  if (!b) return;
  unsigned i = index_of(b->v, b->count, id);
  if (i == b->count) {
    i = index_of(b->cache, b->cached, id);
    if (i < b->cached) take_out(b->cache, &b->cached, i);
  } else {
    struct routing_contact *x = &b->v[i];
    if (x->fails < UINT8_MAX) x->fails++;
    if (i == 0) b->pinging = false;
    if (x->fails >= ROUTING_DEAD || (x->fails >= ROUTING_STALE && b->cached)) drop(t, b, i);
    /* pings the same contact again if it is still the oldest, else the next oldest */
    want_ping(b, now, ret_ping, ret_want_ping);
  }
  free_if_empty(t, id);
}

void routing_gone(struct routing *t, const struct id *id) {
  struct routing_bucket *b = bucket_of(t, id);
  if (!b) return;
  unsigned i = index_of(b->v, b->count, id);
  if (i < b->count) {
    drop(t, b, i);
  } else if ((i = index_of(b->cache, b->cached, id)) < b->cached) {
    take_out(b->cache, &b->cached, i);
  }
  free_if_empty(t, id);
}

const struct routing_contact *routing_find(const struct routing *t, const struct id *id) {
  const struct routing_bucket *b = bucket_of(t, id);
  unsigned i = b ? index_of(b->v, b->count, id) : 0;
  return b && i < b->count ? &b->v[i] : NULL;
}

/* Inserts c into the list of the nearest so far, sorted by distance. */
static size_t place(struct dht_contact *v, size_t n, size_t max, const struct id *target, const struct dht_contact *c) {
  if (n == max && !is_nearer(target, &c->id, &v[n - 1].id)) return n;
  size_t i = n < max ? n++ : n - 1;
  while (i > 0 && is_nearer(target, &c->id, &v[i - 1].id)) {
    v[i] = v[i - 1];
    i--;
  }
  v[i] = *c;
  return n;
}

size_t routing_closest(const struct routing *t, const struct id *target, const struct id *except, unsigned max_fails,
                       size_t max, struct dht_contact *ret_contacts) {
  size_t n = 0;
  if (max == 0) return 0;
  for (unsigned i = 0; i < ROUTING_BUCKETS; i++)
    for (unsigned k = 0; t->b[i] && k < t->b[i]->count; k++) {
      const struct routing_contact *x = &t->b[i]->v[k];
      if (x->fails < max_fails && !(except && id_eq(except, &x->c.id))) n = place(ret_contacts, n, max, target, &x->c);
    }
  return n;
}

bool routing_is_holder(const struct routing *t, const struct id *target) {
  unsigned nearer = 0;
  for (unsigned i = 0; i < ROUTING_BUCKETS; i++)
    for (unsigned k = 0; t->b[i] && k < t->b[i]->count; k++)
      nearer += t->b[i]->v[k].fails < ROUTING_STALE && is_nearer(target, &t->b[i]->v[k].c.id, &t->self);
  return nearer < DHT_K;
}

void routing_touch(struct routing *t, const struct id *target, nanotime now) {
  struct routing_bucket *b = bucket_of(t, target);
  if (b) b->touched = now;
}
