/* A mesh of dht instances in one process: messages with delay and loss on a virtual clock, all of one seed. Signatures are
 * keyed hashes that anybody could make; what matters here is that a changed byte is noticed. */
#ifndef TEST_DHT_NET_H
#define TEST_DHT_NET_H

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "bounded/htab.h"
#include "dht/dht.h"
#include "dht/distance.h"
#include "unit/broken.h"
#include "wire/kad.h"
#include "wire/msg.h"

#define NODES_MAX 256
#define UNIX_MS UINT64_C(1800000000000)

struct packet {
  struct packet *next;
  nanotime at;
  uint32_t from, to;
  uint8_t type;
  size_t len;
  uint8_t data[];
};
struct outcome { /* of the last lookups, by user */
  uint64_t user;
  int err;
  uint32_t providers, nodes, hops, queries;
  struct dht_provider p[32];
  struct dht_contact n[DHT_K];
};
struct node {
  struct dht *d;
  struct mem records, table, lookups;
  struct mem_fail fail;
  struct dht_contact self;
  uint8_t spki[40];
  bool up;
  struct outcome last;
  uint64_t results;
};
struct net {
  struct rng_seeded seeded;
  struct rng rng;
  uint64_t seed;
  nanotime now;
  uint32_t count, loss; /* loss: per mille */
  struct packet *queue;
  uint64_t sent, bytes, by_type[256], turns;
  size_t largest;
  struct node v[NODES_MAX];
  /* May change or swallow (false) a packet. */
  bool (*meddle)(struct net *n, struct packet *p);
  void *ctx;
};

static inline void test_id(struct slice spki, struct id *ret) {
  for (uint64_t i = 0; i < 4; i++) {
    uint64_t seed[2] = {i, 77}, h = siphash13(seed, spki.p, spki.n);
    memcpy(ret->b + 8 * i, &h, 8);
  }
}
static inline void test_signature(struct slice spki, struct slice data, uint8_t ret[8]) {
  uint64_t who[2] = {1, 2}, seed[2] = {siphash13(who, spki.p, spki.n), 3}, h = siphash13(seed, data.p, data.n);
  memcpy(ret, &h, 8);
}
static inline int test_sign(void *ctx, struct slice data, uint8_t *ret_sig, size_t *ret_len) {
  struct node *n = ctx;
  test_signature(slice_of(n->spki, sizeof n->spki), data, ret_sig);
  *ret_len = 8;
  return 0;
}
static inline int test_verify(void *ctx, struct slice spki, struct slice data, struct slice sig, struct id *ret_id) {
  uint8_t want[8];
  (void)ctx;
  test_signature(spki, data, want);
  if (!slice_eq(sig, slice_of(want, 8))) return MACULA_BAD_SIGNATURE;
  test_id(spki, ret_id);
  return 0;
}

static inline struct id test_key(const char *text) {
  struct id k;
  test_id(slice_str(text), &k);
  return k;
}
static inline struct id test_key_n(const char *text, unsigned n) {
  char buf[64];
  snprintf(buf, sizeof buf, "%s%u", text, n);
  return test_key(buf);
}
static inline struct addr test_addr(unsigned i) { /* each node its own IPv4 address */
  struct addr a;
  memset(&a, 0, sizeof a);
  a.sa.sa_family = AF_INET;
  a.v4.sin_addr.s_addr = htonl(0x0a000001u + i);
  a.v4.sin_port = htons(5001);
  return a;
}

static inline struct dht_config node_config(struct net *t, struct node *n) {
  return (struct dht_config){.records_mem = &n->records,
                             .table_mem = &n->table,
                             .lookups_mem = &n->lookups,
                             .rng = t->rng,
                             .self = n->self,
                             .realm = slice_str("org.test"),
                             .crypto = {slice_of(n->spki, sizeof n->spki), test_sign, test_verify, n},
                             .unix_base_ms = UNIX_MS,
                             .max_records = 100000,
                             .max_publisher = 25000,
                             .max_key_service = 32,
                             .max_key_subscription = 1024,
                             .max_own = 20000,
                             .max_lookups = 1024,
                             .max_tombstones = 20000,
                             .per_address = 8};
}

static inline void net_init(struct net *t, uint64_t seed, uint32_t count) {
  memset(t, 0, sizeof *t);
  t->seed = seed;
  rng_seeded_init(&t->seeded, seed);
  t->rng = rng_seeded_view(&t->seeded);
  t->now = 5 * NS_SEC;
  t->count = count;
  for (uint32_t i = 0; i < count; i++) {
    struct node *n = &t->v[i];
    n->records = MEM_INIT("records", 64 << 20);
    n->table = MEM_INIT("table", 0);
    n->lookups = MEM_INIT("lookups", 0);
    rng_fill(t->rng, n->spki, sizeof n->spki);
    test_id(slice_of(n->spki, sizeof n->spki), &n->self.id);
    n->self.addr = test_addr(i);
  }
}

static inline struct node *node_start(struct net *t, uint32_t i, const struct dht_config *cfg) {
  struct node *n = &t->v[i];
  struct dht_config own = node_config(t, n);
  assert_int_equal(dht_new(cfg ? cfg : &own, t->now, &n->d), 0);
  n->up = true;
  return n;
}
static inline void node_check(const struct node *n) {
  struct dht_owned owned = dht_owned(n->d);
  HOLDS(dht_check(n->d));
  assert_int_equal(owned.records, n->records.bytes);
  assert_int_equal(owned.table, n->table.bytes);
  assert_int_equal(owned.lookups, n->lookups.bytes);
}

static inline void node_stop(struct net *t, uint32_t i) { /* as a crash */
  struct node *n = &t->v[i];
  node_check(n);
  dht_free(n->d);
  n->d = NULL;
  n->up = false;
  assert_int_equal(n->records.bytes, 0);
  assert_int_equal(n->table.bytes, 0);
  assert_int_equal(n->lookups.bytes, 0);
}
static inline void net_done(struct net *t) {
  for (uint32_t i = 0; i < t->count; i++)
    if (t->v[i].up) node_stop(t, i);
  for (struct packet *p; (p = t->queue);) {
    t->queue = p->next;
    free(p);
  }
}

static inline int64_t node_index(const struct net *t, const struct id *id) {
  for (uint32_t i = 0; i < t->count; i++)
    if (id_eq(&t->v[i].self.id, id)) return i;
  return -1;
}

static inline void net_post(struct net *t, uint32_t from, uint32_t to, uint8_t type, struct slice payload) {
  struct packet *p = malloc(sizeof *p + payload.n);
  assert_non_null(p);
  *p = (struct packet){
      .at = t->now + NS_MS + rng_below(t->rng, 20 * NS_MS), .from = from, .to = to, .type = type, .len = payload.n};
  memcpy(p->data, payload.p, payload.n);
  t->sent++;
  t->by_type[type]++;
  t->bytes += payload.n;
  if (payload.n > t->largest) t->largest = payload.n;
  struct packet **at = &t->queue;
  while (*at && (*at)->at <= p->at) at = &(*at)->next;
  p->next = *at;
  *at = p;
}

static inline void node_drain(struct net *t, uint32_t i) {
  struct node *n = &t->v[i];
  struct dht_out o;
  struct dht_result r;
  while (n->d && dht_next(n->d, &o)) {
    int64_t to = node_index(t, &o.to.id);
    if (to >= 0)
      net_post(t, i, (uint32_t)to, o.type, o.payload);
    else if (o.query)
      dht_unsent(n->d, &o.to.id, o.query, t->now); /* nobody there */
  }
  while (n->d && dht_next_result(n->d, &r)) {
    n->results++;
    n->last = (struct outcome){.user = r.user,
                               .err = r.err,
                               .providers = (uint32_t)r.provider_count,
                               .nodes = (uint32_t)r.node_count,
                               .hops = r.hops,
                               .queries = r.queries};
    if (r.provider_count) memcpy(n->last.p, r.providers, r.provider_count * sizeof *r.providers);
    if (r.node_count) memcpy(n->last.n, r.nodes, r.node_count * sizeof *r.nodes);
  }
  if (n->d && t->turns++ % 64 == 0) node_check(n); /* it takes longer than most turns */
}

static inline void net_drain(struct net *t) {
  for (uint32_t i = 0; i < t->count; i++)
    if (t->v[i].up) node_drain(t, i);
}

/* Runs until then. */
static inline void net_run(struct net *t, uint64_t ns) {
  nanotime end = t->now + ns;
  net_drain(t);
  for (;;) {
    nanotime next = t->queue ? t->queue->at : TIME_NEVER;
    for (uint32_t i = 0; i < t->count; i++)
      if (t->v[i].up) next = time_min(next, dht_deadline(t->v[i].d));
    if (next > end) break;
    if (next > t->now) t->now = next;
    while (t->queue && t->queue->at <= t->now) {
      struct packet *p = t->queue;
      t->queue = p->next;
      bool lost = t->loss && rng_below(t->rng, 1000) < t->loss;
      if (!lost && t->v[p->to].up && (!t->meddle || t->meddle(t, p))) {
        (void)dht_recv(t->v[p->to].d, &t->v[p->from].self, p->type, slice_of(p->data, p->len), t->now);
        node_drain(t, p->to);
      }
      free(p);
    }
    for (uint32_t i = 0; i < t->count; i++)
      if (t->v[i].up && dht_deadline(t->v[i].d) <= t->now) {
        dht_tick(t->v[i].d, t->now);
        node_drain(t, i);
      }
  }
  t->now = end;
}

/* Node i learns of `contact` and joins through it. */
static inline void node_join(struct net *t, uint32_t i, uint32_t contact) {
  dht_seen(t->v[i].d, &t->v[contact].self, t->now);
  dht_seen(t->v[contact].d, &t->v[i].self, t->now);
  dht_join(t->v[i].d, t->now);
  node_drain(t, i);
}
static inline void net_start_all(struct net *t) {
  for (uint32_t i = 0; i < t->count; i++) node_start(t, i, NULL);
  for (uint32_t i = 1; i < t->count; i++) {
    node_join(t, i, (uint32_t)rng_below(t->rng, i));
    net_run(t, 300 * NS_MS);
  }
  net_run(t, 10 * NS_SEC);
}

/* Looks up from node i and waits. */
static inline struct outcome *node_lookup(struct net *t, uint32_t i, const struct id *key, unsigned kind) {
  struct node *n = &t->v[i];
  uint64_t id, before = n->results;
  assert_int_equal(dht_lookup(n->d, key, kind, i, t->now, &id), 0);
  for (int k = 0; k < 600 && n->results == before; k++) net_run(t, 100 * NS_MS);
  assert_true(n->results > before);
  return &n->last;
}
static inline void node_publish(struct net *t, uint32_t i, const struct id *key, unsigned kind, uint64_t seconds) {
  assert_int_equal(dht_publish(t->v[i].d, key, (enum dht_kind)kind, seconds * NS_SEC, t->now), 0);
}
static inline struct dht_stats node_stats(struct net *t, uint32_t i) {
  struct dht_stats s;
  dht_stats(t->v[i].d, &s);
  return s;
}

#endif
