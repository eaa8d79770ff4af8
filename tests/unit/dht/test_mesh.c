/* Meshes of dht instances: publish, find, withdraw, expire, renew, churn. */
#include "net.h"

static struct net t;

static void test_pair(void **st) {
  (void)st;
  net_init(&t, 1, 2);
  net_start_all(&t);
  struct id k = test_key("svc.a");
  struct outcome *o = node_lookup(&t, 1, &k, DHT_SERVICE); /* nobody serves it: no error */
  assert_int_equal(o->err, 0);
  assert_int_equal(o->providers, 0);
  node_publish(&t, 0, &k, DHT_SERVICE, 300);
  net_run(&t, NS_SEC);
  o = node_lookup(&t, 1, &k, DHT_SERVICE);
  assert_int_equal(o->err, 0);
  assert_int_equal(o->providers, 1);
  assert_true(id_eq(&o->p[0].contact.id, &t.v[0].self.id));
  assert_true(addr_eq(&o->p[0].contact.addr, &t.v[0].self.addr));
  assert_true(o->p[0].left <= 300 * NS_SEC && o->p[0].left > 295 * NS_SEC);
  assert_int_equal(o->queries, 0);              /* held here */
  o = node_lookup(&t, 1, &k, DHT_SUBSCRIPTION); /* kinds never mix */
  assert_int_equal(o->providers, 0);
  assert_int_equal(dht_withdraw(t.v[0].d, &k, DHT_SERVICE, t.now), 0);
  assert_int_equal(dht_withdraw(t.v[0].d, &k, DHT_SERVICE, t.now), MACULA_ENOTFOUND);
  net_run(&t, NS_SEC);
  o = node_lookup(&t, 1, &k, DHT_SERVICE);
  assert_int_equal(o->providers, 0);
  assert_int_equal(node_stats(&t, 1).records, 0);
  assert_int_equal(node_stats(&t, 1).tombstones, 1);
  net_done(&t);
}

static void test_alone(void **st) {
  (void)st;
  net_init(&t, 2, 1);
  node_start(&t, 0, NULL);
  struct id k = test_key("svc.a");
  node_publish(&t, 0, &k, DHT_SERVICE, 300);
  net_run(&t, NS_SEC);
  struct outcome *o = node_lookup(&t, 0, &k, DHT_SERVICE);
  assert_int_equal(o->providers, 1);
  dht_join(t.v[0].d, t.now);
  net_run(&t, 3600 * NS_SEC);
  o = node_lookup(&t, 0, &k, DHT_SERVICE);
  assert_int_equal(o->providers, 1);
  assert_int_equal(node_stats(&t, 0).unstored, 0);
  net_done(&t);
}

/* 50 nodes x 200 records, 5 % loss, nodes that come and go: every lookup tells the truth. */
static void test_churn(void **st) {
  (void)st;
  uint64_t seed = 3;
  print_message("seed %llu\n", (unsigned long long)seed);
  net_init(&t, seed, 50);
  net_start_all(&t);
  for (uint32_t i = 0; i < 50; i++)
    for (unsigned k = 0; k < 200; k++) {
      struct id key = test_key_n("r", i * 1000 + k);
      node_publish(&t, i, &key, DHT_SERVICE, 300);
    }
  net_run(&t, 20 * NS_SEC);
  t.loss = 50;
  uint32_t wrong = 0, lookups = 0, hops = 0;
  for (int round = 0; round < 40; round++) {
    uint32_t down = 10 + (uint32_t)rng_below(t.rng, 40); /* 0 to 9 stay */
    if (t.v[down].up) {
      node_stop(&t, down);
    } else {
      node_start(&t, down, NULL);
      node_join(&t, down, (uint32_t)rng_below(t.rng, 10));
      for (unsigned k = 0; k < 200; k++) {
        struct id key = test_key_n("r", down * 1000 + k);
        node_publish(&t, down, &key, DHT_SERVICE, 300);
      }
    }
    net_run(&t, 10 * NS_SEC);
    for (int k = 0; k < 10; k++) {
      uint32_t from = (uint32_t)rng_below(t.rng, 50), of = (uint32_t)rng_below(t.rng, 50);
      if (!t.v[from].up || !t.v[of].up) continue;
      struct id key = test_key_n("r", of * 1000 + (uint32_t)rng_below(t.rng, 200));
      struct outcome *o = node_lookup(&t, from, &key, DHT_SERVICE);
      lookups++;
      hops += o->hops;
      wrong += o->err != 0 || o->providers != 1 || !id_eq(&o->p[0].contact.id, &t.v[of].self.id);
    }
  }
  print_message("lookups %u wrong %u hops %.2f sent %llu bytes %llu\n", lookups, wrong, (double)hops / lookups,
                (unsigned long long)t.sent, (unsigned long long)t.bytes);
  struct dht_stats s = node_stats(&t, 0);
  print_message("node 0: records %u bytes %zu contacts %u table %zu lookups %zu\n", s.records, s.record_bytes, s.contacts,
                t.v[0].table.bytes, t.v[0].lookups.bytes);
  assert_int_equal(wrong, 0);
  net_done(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_pair), cmocka_unit_test(test_alone), cmocka_unit_test(test_churn)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
