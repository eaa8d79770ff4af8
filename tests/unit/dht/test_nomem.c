/* Every allocation may fail: nothing crashes, nothing leaks, and each lookup that was accepted has its result. */
#include "net.h"

static struct net t;

static void arm(uint32_t node, uint64_t n) {
  struct node *x = &t.v[node];
  x->fail = (struct mem_fail){.countdown = n};
  x->records.fail = x->table.fail = x->lookups.fail = n ? &x->fail : NULL;
}

/* One whole life of a node. Returns how many allocations it asked for. */
static uint64_t life(uint64_t n) {
  unsigned started = 0;
  net_init(&t, 5, 26);
  for (uint32_t i = 1; i < t.count; i++) {
    node_start(&t, i, NULL);
    if (i > 1) node_join(&t, i, 1);
  }
  net_run(&t, 5 * NS_SEC);
  struct id theirs = test_key("theirs");
  node_publish(&t, 3, &theirs, DHT_SERVICE, 300);
  net_run(&t, 5 * NS_SEC);
  arm(0, n);
  if (!n) t.v[0].records.fail = t.v[0].table.fail = t.v[0].lookups.fail = &t.v[0].fail; /* only counts */
  struct dht_config cfg = node_config(&t, &t.v[0]);
  if (dht_new(&cfg, t.now, &t.v[0].d) == 0) {
    t.v[0].up = true;
    node_join(&t, 0, 1);
    net_run(&t, 3 * NS_SEC);
    for (unsigned k = 0; k < 20; k++) {
      struct id key = test_key_n("mine", k);
      (void)dht_publish(t.v[0].d, &key, DHT_SERVICE, 30 * NS_SEC, t.now);
    }
    net_run(&t, 3 * NS_SEC);
    for (unsigned k = 0; k < 4; k++) {
      uint64_t id;
      struct id key = test_key("nobody's");
      started += dht_lookup(t.v[0].d, k % 2 ? &theirs : &key, k == 2 ? 0 : DHT_SERVICE, k, t.now, &id) == 0;
    }
    net_run(&t, 10 * NS_SEC);
    struct id key = test_key_n("mine", 3);
    (void)dht_withdraw(t.v[0].d, &key, DHT_SERVICE, t.now);
    net_run(&t, 50 * NS_SEC);
    assert_int_equal(t.v[0].results, started);
    dht_withdraw_all(t.v[0].d, t.now);
    net_run(&t, 10 * NS_SEC);
  }
  uint64_t seen = t.v[0].fail.seen;
  net_done(&t);
  assert_int_equal(t.v[0].records.bytes + t.v[0].table.bytes + t.v[0].lookups.bytes, 0);
  return seen;
}

static void test_each_allocation_fails(void **st) {
  (void)st;
  uint64_t all = life(0);
  print_message("%llu allocations\n", (unsigned long long)all);
  assert_true(all > 100);
  for (uint64_t n = 1; n <= all; n += n < 150 ? 1 : 7) (void)life(n);
}

/* A record that cannot be kept changes nothing of those that are. */
static void test_store_under_pressure(void **st) {
  (void)st;
  net_init(&t, 6, 3);
  net_start_all(&t);
  for (unsigned k = 0; k < 200; k++) {
    struct id key = test_key_n("k", k);
    arm(0, 1 + k % 7);
    node_publish(&t, 1, &key, DHT_SERVICE, 3600);
    net_run(&t, 200 * NS_MS);
  }
  arm(0, 0);
  net_run(&t, 120 * NS_SEC);
  for (unsigned k = 0; k < 200; k++) {
    struct id key = test_key_n("k", k);
    assert_int_equal(node_lookup(&t, 2, &key, DHT_SERVICE)->providers, 1);
  }
  net_done(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_allocation_fails), cmocka_unit_test(test_store_under_pressure)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
