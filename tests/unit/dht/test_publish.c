/* Our own records: signed together, stored where they belong, renewed, withdrawn, moved as the mesh changes. The cases of the
 * original's registry suite that speak of its DHT (publish, query, not found, remove, error) are here too. */
#include "craft.h"

static struct net t;
static struct reply r;
static struct crafted c;

static unsigned holders(const struct id *key, bool tombstones) {
  unsigned n = 0;
  struct dht_record_info i;
  for (uint32_t k = 0; k < t.count; k++) n += t.v[k].up && dht_held(t.v[k].d, key, 0, &i) && i.tombstone == tombstones;
  return n;
}

static void test_dht_publish_success(void **st) {
  (void)st;
  net_init(&t, 21, 5);
  net_start_all(&t);
  struct id k = test_key("a");
  node_publish(&t, 2, &k, DHT_SERVICE, 300);
  net_run(&t, 50 * NS_MS + 50 * NS_MS);
  assert_int_equal(holders(&k, false), 5); /* fewer than k nodes: all of them */
  assert_int_equal(t.by_type[MSG_STORE], 4);
  assert_int_equal(node_stats(&t, 2).unstored, 0);
  assert_int_equal(node_stats(&t, 2).own, 1);
  net_done(&t);
}

static void test_query_success(void **st) {
  (void)st;
  net_init(&t, 22, 5);
  net_start_all(&t);
  struct id k = test_key("a");
  for (uint32_t i = 0; i < 3; i++) node_publish(&t, i, &k, DHT_SERVICE, 300);
  net_run(&t, NS_SEC);
  struct outcome *o = node_lookup(&t, 4, &k, DHT_SERVICE);
  assert_int_equal(o->providers, 3); /* of several providers none pushes out another */
  net_done(&t);
}

static void test_query_not_found(void **st) {
  (void)st;
  net_init(&t, 23, 5);
  net_start_all(&t);
  struct id k = test_key("nobody");
  struct outcome *o = node_lookup(&t, 4, &k, DHT_SERVICE);
  assert_int_equal(o->err, 0);
  assert_int_equal(o->providers, 0);
  net_done(&t);
}

static void test_remove_success(void **st) {
  (void)st;
  net_init(&t, 24, 5);
  net_start_all(&t);
  struct id k = test_key("a");
  node_publish(&t, 1, &k, DHT_SERVICE, 300);
  node_publish(&t, 2, &k, DHT_SERVICE, 300);
  net_run(&t, NS_SEC);
  assert_int_equal(dht_withdraw(t.v[1].d, &k, DHT_SERVICE, t.now), 0);
  net_run(&t, NS_SEC);
  struct outcome *o = node_lookup(&t, 4, &k, DHT_SERVICE);
  assert_int_equal(o->providers, 1); /* the other's stays */
  assert_true(id_eq(&o->p[0].contact.id, &t.v[2].self.id));
  assert_int_equal(node_stats(&t, 1).own, 0);
  node_publish(&t, 1, &k, DHT_SERVICE, 300); /* and back */
  net_run(&t, NS_SEC);
  o = node_lookup(&t, 4, &k, DHT_SERVICE);
  assert_int_equal(o->providers, 2);
  assert_int_equal(dht_withdraw(t.v[1].d, &k, DHT_SERVICE, t.now), 0);
  net_run(&t, NS_SEC);
  assert_int_equal(node_stats(&t, 3).tombstones, 1);
  net_run(&t, 315 * NS_SEC); /* its TTL and what may be under way */
  for (uint32_t n = 0; n < t.count; n++) assert_int_equal(node_stats(&t, n).tombstones, 0);
  o = node_lookup(&t, 4, &k, DHT_SERVICE);
  assert_int_equal(o->providers, 1);
  net_done(&t);
}

static void test_query_error(void **st) {
  (void)st;
  net_init(&t, 25, 2);
  node_start(&t, 0, NULL);
  dht_seen(t.v[0].d, &t.v[1].self, t.now); /* which is not up */
  struct id k = test_key("a");
  struct outcome *o = node_lookup(&t, 0, &k, DHT_SERVICE);
  assert_int_equal(o->err, MACULA_DHT_TIMEOUT);
  net_done(&t);
}

static void test_arguments(void **st) {
  (void)st;
  net_init(&t, 26, 1);
  node_start(&t, 0, NULL);
  struct id k = test_key("a");
  uint64_t id;
  assert_int_equal(dht_publish(t.v[0].d, &k, DHT_SERVICE, 0, t.now), MACULA_EINVAL);
  assert_int_equal(dht_publish(t.v[0].d, &k, DHT_SERVICE, DHT_MAX_TTL + 1, t.now), MACULA_EINVAL);
  assert_int_equal(dht_publish(t.v[0].d, &k, (enum dht_kind)0, NS_SEC, t.now), MACULA_EINVAL);
  assert_int_equal(dht_lookup(t.v[0].d, &k, 256, 0, t.now, &id), MACULA_EINVAL);
  assert_int_equal(dht_withdraw(t.v[0].d, &k, DHT_SERVICE, t.now), MACULA_ENOTFOUND);
  node_publish(&t, 0, &k, DHT_SERVICE, 300);
  assert_int_equal(dht_withdraw(t.v[0].d, &k, DHT_SERVICE, t.now), 0); /* before anybody heard of it: no trace */
  net_run(&t, NS_SEC);
  assert_int_equal(node_stats(&t, 0).tombstones, 0);
  assert_int_equal(node_stats(&t, 0).own, 0);
  net_done(&t);
}

/* A live publisher's record never ends; a dead one's does, everywhere, after its TTL. */
static void test_renewal_and_expiry(void **st) {
  (void)st;
  net_init(&t, 27, 6);
  net_start_all(&t);
  struct id k = test_key("a"), k2 = test_key("b");
  node_publish(&t, 1, &k, DHT_SERVICE, 60);
  node_publish(&t, 2, &k2, DHT_SERVICE, 60);
  net_run(&t, NS_SEC);
  for (int i = 0; i < 100; i++) {
    net_run(&t, 7 * NS_SEC);
    assert_int_equal(holders(&k, false), 6);
    assert_int_equal(node_lookup(&t, 5, &k, DHT_SERVICE)->providers, 1);
  }
  assert_in_range(t.by_type[MSG_STORE], 2 * 5 * 700 / 45, 2 * 5 * 700 / 34); /* at 2/3 of the TTL, and not more often */
  node_stop(&t, 1);
  net_run(&t, 61 * NS_SEC);
  assert_int_equal(holders(&k, false), 0);
  assert_int_equal(node_lookup(&t, 5, &k, DHT_SERVICE)->providers, 0);
  assert_int_equal(node_lookup(&t, 5, &k2, DHT_SERVICE)->providers, 1);
  net_done(&t);
}

static void test_publish_again_changes_ttl(void **st) {
  (void)st;
  net_init(&t, 28, 3);
  net_start_all(&t);
  struct id k = test_key("a");
  struct dht_record_info i;
  node_publish(&t, 1, &k, DHT_SERVICE, 60);
  net_run(&t, NS_SEC);
  uint64_t stores = t.by_type[MSG_STORE];
  node_publish(&t, 1, &k, DHT_SERVICE, 60); /* the renewal of a service costs nothing */
  net_run(&t, NS_SEC);
  assert_int_equal(t.by_type[MSG_STORE], stores);
  node_publish(&t, 1, &k, DHT_SERVICE, 600);
  net_run(&t, NS_SEC);
  assert_true(dht_held(t.v[0].d, &k, 0, &i));
  assert_true(i.left > 590 * NS_SEC);
  net_done(&t);
}

/* Whoever comes later is told, so that the first nodes of a mesh need not wait for a renewal. */
static void test_newcomers(void **st) {
  (void)st;
  net_init(&t, 29, 60);
  node_start(&t, 0, NULL);
  struct id k = test_key("a");
  node_publish(&t, 0, &k, DHT_SERVICE, 3600);
  net_run(&t, NS_SEC);
  for (uint32_t i = 1; i < 60; i++) {
    node_start(&t, i, NULL);
    node_join(&t, i, (uint32_t)rng_below(t.rng, i));
    net_run(&t, NS_SEC);
  }
  net_run(&t, 20 * NS_SEC);
  assert_in_range(holders(&k, false), DHT_K, 60);
  /* Those that hold it are those that are asked for it. */
  struct id order[60];
  for (uint32_t i = 0; i < 60; i++) order[i] = t.v[i].self.id;
  unsigned have = 0, rank = 0;
  for (; rank < DHT_K; rank++) {
    for (uint32_t i = rank + 1; i < 60; i++)
      if (is_nearer(&k, &order[i], &order[rank])) {
        struct id x = order[i];
        order[i] = order[rank];
        order[rank] = x;
      }
    struct dht_record_info info;
    have += dht_held(t.v[node_index(&t, &order[rank])].d, &k, 0, &info);
  }
  print_message("%u of the 20 closest hold it\n", have);
  assert_true(have >= 15); /* of some that joined the publisher has not heard; its next renewal finds them */
  for (uint32_t i = 1; i < 60; i++) assert_int_equal(node_lookup(&t, i, &k, DHT_SERVICE)->providers, 1);
  net_done(&t);
}

/* 10,000 services at once: batches, few lookups, no flood. */
static void test_ten_thousand(void **st) {
  (void)st;
  net_init(&t, 30, 50);
  net_start_all(&t);
  uint64_t stores = t.by_type[MSG_STORE], lookups = node_stats(&t, 7).lookups_done;
  for (unsigned i = 0; i < 10000; i++) {
    struct id k = test_key_n("svc", i);
    node_publish(&t, 7, &k, DHT_SERVICE, 300);
  }
  net_run(&t, 30 * NS_SEC);
  struct dht_stats s = node_stats(&t, 7);
  print_message("lookups %llu stores %llu unstored %u, own bytes %zu, largest frame %zu\n",
                (unsigned long long)(s.lookups_done - lookups), (unsigned long long)(t.by_type[MSG_STORE] - stores), s.unstored,
                t.v[7].lookups.bytes, t.largest);
  assert_int_equal(s.own, 10000);
  assert_true(t.v[7].lookups.bytes < 10000 * 512); /* PLAN_OWN */
  assert_int_equal(s.unstored, 0);
  assert_true(s.lookups_done - lookups < 100);
  assert_true(t.by_type[MSG_STORE] - stores < 10000 / 16 * 20 + 2000);
  for (unsigned i = 0; i < 10000; i += 97) {
    struct id k = test_key_n("svc", i);
    assert_int_equal(node_lookup(&t, i % 50, &k, DHT_SERVICE)->providers, 1);
    assert_in_range(holders(&k, false), 18, 30);
  }
  for (unsigned i = 0; i < 10000; i += 3) {
    struct id k = test_key_n("svc", i);
    assert_int_equal(dht_withdraw(t.v[7].d, &k, DHT_SERVICE, t.now), 0);
  }
  net_run(&t, 30 * NS_SEC);
  for (unsigned i = 0; i < 10000; i += 101) {
    struct id k = test_key_n("svc", i);
    assert_int_equal(node_lookup(&t, i % 50, &k, DHT_SERVICE)->providers, i % 3 != 0);
  }
  dht_withdraw_all(t.v[7].d, t.now);
  net_run(&t, 30 * NS_SEC);
  for (unsigned i = 1; i < 10000; i += 101) {
    struct id k = test_key_n("svc", i);
    assert_int_equal(node_lookup(&t, i % 50, &k, DHT_SERVICE)->providers, 0);
    assert_int_equal(holders(&k, false), 0);
  }
  assert_int_equal(node_stats(&t, 7).own, 0);
  for (uint32_t i = 0; i < 50; i++) assert_int_equal(node_stats(&t, i).records, 0);
  net_done(&t);
}

/* What nobody else was told of leaves no trace, signed or not; what somebody was told of stays for its TTL. */
static void test_forgotten(void **st) {
  (void)st;
  net_init(&t, 33, 2);
  node_start(&t, 0, NULL);
  size_t before = t.v[0].lookups.bytes;
  for (unsigned told = 0; told < 2; told++) {
    if (told) {
      node_start(&t, 1, NULL);
      node_join(&t, 1, 0);
    }
    for (unsigned i = 0; i < 1000; i++) {
      struct id k = test_key_n("k", i);
      assert_int_equal(dht_publish(t.v[0].d, &k, DHT_SERVICE, 300 * NS_SEC, t.now), 0);
    }
    net_run(&t, 10 * NS_SEC);
    assert_int_equal(node_stats(&t, 0).records, 1000);
    for (unsigned i = 0; i < 1000; i += 2) { /* every second of a batch */
      struct id k = test_key_n("k", i);
      assert_int_equal(dht_withdraw(t.v[0].d, &k, DHT_SERVICE, t.now), 0);
    }
    net_run(&t, 10 * NS_SEC);
    assert_int_equal(node_stats(&t, 0).own, 500);
    assert_int_equal(node_stats(&t, 0).records, 500);
    for (unsigned i = 1; i < 1000; i += 2) {
      struct id k = test_key_n("k", i);
      assert_int_equal(dht_withdraw(t.v[0].d, &k, DHT_SERVICE, t.now), 0);
    }
    net_run(&t, 10 * NS_SEC);
    assert_int_equal(node_stats(&t, 0).own, 0);
    assert_int_equal(node_stats(&t, 0).records, 0);
    assert_int_equal(t.v[0].lookups.bytes > 100000, told);
    assert_int_equal(node_stats(&t, 0).tombstones, told ? 1000 : 0);
    net_run(&t, 320 * NS_SEC);
    assert_in_range(t.v[0].lookups.bytes, before, before + (told ? 4096 : 1024)); /* tables and heaps, empty */
  }
  net_done(&t);
}

/* Procedures that come and go without end: what they cost other nodes is bounded, and what stays is found at last. */
static void test_churn(void **st) {
  (void)st;
  net_init(&t, 34, 3);
  net_start_all(&t);
  net_run(&t, 10 * NS_SEC);
  uint64_t stores = t.by_type[MSG_STORE];
  for (unsigned round = 0; round <= 1000; round++) { /* 50 s */
    for (unsigned i = 0; i < 100; i++) {
      struct id k = test_key_n("k", i + round % 2 * 100), k2 = test_key_n("k", i + (round + 1) % 2 * 100);
      if (round) assert_int_equal(dht_withdraw(t.v[0].d, &k2, DHT_SERVICE, t.now), 0);
      assert_int_equal(dht_publish(t.v[0].d, &k, DHT_SERVICE, 300 * NS_SEC, t.now), 0);
    }
    net_run(&t, 50 * NS_MS);
  }
  print_message("%llu STOREs in 50 s\n", (unsigned long long)(t.by_type[MSG_STORE] - stores));
  /* Two holders, and twice the budget: beyond it records are gathered for longer, not held back. */
  assert_in_range(t.by_type[MSG_STORE] - stores, 1000, 2 * 2 * (1024 + 50 * 64));
  net_run(&t, 5 * NS_SEC);
  for (unsigned i = 0; i < 200; i++) {
    struct id k = test_key_n("k", i);
    assert_int_equal(node_lookup(&t, 1, &k, DHT_SERVICE)->providers, i < 100);
  }
  net_done(&t);
}

static void start_two(unsigned seed, uint32_t max_own) {
  net_init(&t, seed, 2);
  struct dht_config cfg = node_config(&t, &t.v[0]);
  cfg.max_own = max_own;
  node_start(&t, 0, &cfg);
  node_start(&t, 1, NULL);
  node_join(&t, 1, 0);
}

static void test_own_limit(void **st) {
  (void)st;
  start_two(31, 10);
  for (unsigned i = 0; i < 12; i++) {
    struct id k = test_key_n("k", i);
    assert_int_equal(dht_publish(t.v[0].d, &k, DHT_SERVICE, 300 * NS_SEC, t.now), i < 10 ? 0 : MACULA_EFULL);
  }
  net_run(&t, NS_SEC);
  for (unsigned round = 0; round < 100; round++) { /* coming and going at the limit */
    struct id k = test_key_n("k", round), k2 = test_key_n("k", round + 10);
    assert_int_equal(dht_withdraw(t.v[0].d, &k, DHT_SERVICE, t.now), 0);
    assert_int_equal(dht_publish(t.v[0].d, &k2, DHT_SERVICE, 300 * NS_SEC, t.now), 0);
    net_run(&t, 100 * NS_MS);
  }
  assert_int_equal(node_stats(&t, 0).own, 10);
  for (unsigned i = 100; i < 106; i++) { /* a lowered limit: those that are withdrawn go, and no others */
    struct id k = test_key_n("k", i);
    assert_int_equal(dht_withdraw(t.v[0].d, &k, DHT_SERVICE, t.now), 0);
  }
  uint64_t dropped = node_stats(&t, 0).dropped;
  dht_set_max_own(t.v[0].d, 3);
  assert_int_equal(node_stats(&t, 0).dropped, dropped + 6);
  assert_int_equal(node_stats(&t, 0).own, 4);
  net_run(&t, 400 * NS_SEC);
  net_done(&t);
}

/* Whoever is withdrawn makes room, in number and in memory, and those signed with it are not signed and stored anew for it. */
static void test_room(void **st) {
  (void)st;
  start_two(35, 1000);
  for (unsigned i = 0; i < 1000; i++) {
    struct id k = test_key_n("k", i);
    assert_int_equal(dht_publish(t.v[0].d, &k, DHT_SERVICE, 300 * NS_SEC, t.now), 0);
  }
  net_run(&t, 10 * NS_SEC);
  for (unsigned i = 0; i < 1000; i++) {
    struct id k = test_key_n("k", i);
    assert_int_equal(dht_withdraw(t.v[0].d, &k, DHT_SERVICE, t.now), 0);
  }
  net_run(&t, 10 * NS_SEC);
  uint64_t stores = t.by_type[MSG_STORE];
  for (unsigned i = 1000; i < 1100; i++) {
    struct id k = test_key_n("k", i);
    assert_int_equal(dht_publish(t.v[0].d, &k, DHT_SERVICE, 300 * NS_SEC, t.now), 0);
  }
  net_run(&t, 10 * NS_SEC);
  assert_int_equal(node_stats(&t, 0).dropped, 100);
  assert_in_range(t.by_type[MSG_STORE] - stores, 7, 8); /* batches of 16, and one holder */
  t.v[0].lookups.limit = t.v[0].lookups.bytes;          /* no more memory */
  for (unsigned i = 1100; i < 1300; i++) {
    struct id k = test_key_n("k", i);
    assert_int_equal(dht_publish(t.v[0].d, &k, DHT_SERVICE, 300 * NS_SEC, t.now), 0);
  }
  dht_set_max_own(t.v[0].d, 2000); /* from here on it is memory alone that makes them go */
  for (unsigned i = 1300; i < 1500; i++) {
    struct id k = test_key_n("k", i);
    assert_int_equal(dht_publish(t.v[0].d, &k, DHT_SERVICE, 300 * NS_SEC, t.now), 0);
  }
  net_run(&t, 10 * NS_SEC);
  assert_true(node_stats(&t, 0).dropped > 300);
  t.v[0].lookups.limit = 0; /* what was signed is stored once there is memory to send it */
  net_run(&t, 120 * NS_SEC);
  for (unsigned i = 1000; i < 1500; i++) {
    struct id k = test_key_n("k", i);
    assert_int_equal(node_lookup(&t, 1, &k, DHT_SERVICE)->providers, 1);
  }
  net_done(&t);
}

/* Sequences rise whatever the clock does: with the state folder by last_seq, without it because holders answer with their
 * newer. */
static void test_sequences(void **st) {
  (void)st;
  net_init(&t, 32, 3);
  net_start_all(&t);
  struct id k = test_key("a");
  struct dht_record_info i;
  node_publish(&t, 1, &k, DHT_SERVICE, 300);
  net_run(&t, NS_SEC);
  uint64_t seq = dht_last_seq(t.v[1].d);
  assert_true(seq >= UNIX_MS);
  assert_int_equal(dht_withdraw(t.v[1].d, &k, DHT_SERVICE, t.now), 0);
  net_run(&t, NS_SEC);
  assert_true(dht_last_seq(t.v[1].d) > seq);
  for (int forgot = 0; forgot < 2; forgot++) { /* started again an hour behind */
    seq = dht_last_seq(t.v[1].d);
    node_stop(&t, 1);
    struct dht_config cfg = node_config(&t, &t.v[1]);
    cfg.unix_base_ms -= 3600 * 1000;
    cfg.last_seq = forgot ? 0 : seq;
    node_start(&t, 1, &cfg);
    node_join(&t, 1, 0);
    node_publish(&t, 1, &k, DHT_SERVICE, forgot ? 299 : 300);
    net_run(&t, 5 * NS_SEC);
    assert_true(dht_last_seq(t.v[1].d) > seq);
    assert_true(dht_held(t.v[2].d, &k, 0, &i));
    assert_false(i.tombstone);
    assert_int_equal(i.seq, dht_last_seq(t.v[1].d));
  }
  net_done(&t);
}

static void test_moved(void **st) {
  (void)st;
  net_init(&t, 33, 3);
  net_start_all(&t);
  struct id k = test_key("a");
  node_publish(&t, 1, &k, DHT_SERVICE, 300);
  net_run(&t, NS_SEC);
  struct dht_contact moved = t.v[1].self;
  memset(&moved.addr, 0, sizeof moved.addr);
  moved.gateway = t.v[0].self.id;
  dht_set_self(t.v[1].d, &moved, t.now);
  net_run(&t, NS_SEC);
  struct outcome *o = node_lookup(&t, 2, &k, DHT_SERVICE);
  assert_int_equal(o->providers, 1);
  assert_false(addr_is_set(&o->p[0].contact.addr));
  assert_true(id_eq(&o->p[0].contact.gateway, &t.v[0].self.id));
  net_done(&t);
}

/* STOREs that are lost are sent again. */
static void test_loss(void **st) {
  (void)st;
  net_init(&t, 34, 10);
  net_start_all(&t);
  t.loss = 150;
  struct id k = test_key("a");
  node_publish(&t, 1, &k, DHT_SERVICE, 3600);
  net_run(&t, 120 * NS_SEC);
  assert_int_equal(holders(&k, false), 10);
  assert_int_equal(dht_withdraw(t.v[1].d, &k, DHT_SERVICE, t.now), 0);
  net_run(&t, 120 * NS_SEC);
  assert_int_equal(holders(&k, false), 0);
  net_done(&t);
}

/* A holder that is full says so, and is not asked again until the next renewal. */
static void test_refused(void **st) {
  (void)st;
  net_init(&t, 35, 2);
  struct dht_config cfg = node_config(&t, &t.v[0]);
  cfg.max_records = 1;
  node_start(&t, 0, &cfg);
  node_start(&t, 1, NULL);
  node_join(&t, 1, 0);
  net_run(&t, 5 * NS_SEC);
  struct id k = test_key("a"), k2 = test_key("b");
  node_publish(&t, 1, &k, DHT_SERVICE, 300);
  net_run(&t, NS_SEC);
  node_publish(&t, 1, &k2, DHT_SERVICE, 300);
  net_run(&t, 60 * NS_SEC);
  assert_int_equal(node_stats(&t, 1).refused_by_holders, 1);
  assert_int_equal(node_stats(&t, 0).refused_full, 1);
  assert_int_equal(node_stats(&t, 1).unstored, 0);
  (void)r;
  (void)c;
  net_done(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_dht_publish_success),
      cmocka_unit_test(test_query_success),
      cmocka_unit_test(test_query_not_found),
      cmocka_unit_test(test_remove_success),
      cmocka_unit_test(test_query_error),
      cmocka_unit_test(test_arguments),
      cmocka_unit_test(test_renewal_and_expiry),
      cmocka_unit_test(test_publish_again_changes_ttl),
      cmocka_unit_test(test_newcomers),
      cmocka_unit_test(test_ten_thousand),
      cmocka_unit_test(test_forgotten),
      cmocka_unit_test(test_churn),
      cmocka_unit_test(test_own_limit),
      cmocka_unit_test(test_room),
      cmocka_unit_test(test_sequences),
      cmocka_unit_test(test_moved),
      cmocka_unit_test(test_loss),
      cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
