/* Distances, buckets, replacement. */
#include "dht/routing.h"
#include "net.h"

static struct mem mem;
static struct routing t;
static struct dht_contact ping;
static bool want;

static struct id id_with(uint8_t first, uint8_t last) {
  struct id id = {{0}};
  id.b[0] = first;
  id.b[ID_LEN - 1] = last;
  return id;
}
static struct dht_contact contact(uint8_t first, uint8_t last, unsigned host) {
  return (struct dht_contact){.id = id_with(first, last), .addr = test_addr(host)};
}
static enum routing_seen seen(struct dht_contact c, uint64_t at) { return routing_seen(&t, &c, at * NS_SEC, &ping, &want); }
static void failed(struct dht_contact c, uint64_t at) { routing_failed(&t, &c.id, at * NS_SEC, &ping, &want); }
static void setup(void) {
  struct id self = id_with(0, 0);
  mem = MEM_INIT("table", 0);
  routing_init(&t, &mem, &self, 8);
}
static void teardown(void) {
  routing_done(&t);
  assert_int_equal(mem.bytes, 0);
}

static void test_distance(void **st) {
  (void)st;
  struct id zero = id_with(0, 0), far = id_with(0x80, 0), near = id_with(0, 1), mid = id_with(1, 0);
  assert_int_equal(common_bits(&zero, &zero), 256);
  assert_int_equal(common_bits(&zero, &far), 0);
  assert_int_equal(common_bits(&zero, &near), 255);
  assert_int_equal(common_bits(&zero, &mid), 7);
  assert_true(is_nearer(&zero, &near, &mid));
  assert_true(is_nearer(&zero, &mid, &far));
  assert_false(is_nearer(&zero, &far, &near));
  assert_true(is_nearer(&far, &far, &near));
  assert_false(is_nearer(&zero, &mid, &mid));
}

static void test_self_and_order(void **st) {
  (void)st;
  setup();
  assert_int_equal(seen(contact(0, 0, 1), 1), ROUTING_REFUSED); /* ourselves */
  assert_int_equal(seen(contact(0x80, 1, 1), 1), ROUTING_ADDED);
  assert_int_equal(seen(contact(0x80, 2, 2), 2), ROUTING_ADDED);
  assert_int_equal(seen(contact(0x80, 1, 3), 3), ROUTING_KNOWN); /* moves to the end, with its new address */
  assert_int_equal(t.count, 2);
  struct id probe = id_with(0x80, 1);
  assert_true(addr_eq(&routing_find(&t, &probe)->c.addr, &(struct addr[]){test_addr(3)}[0]));
  assert_int_equal(t.b[0]->v[0].c.id.b[ID_LEN - 1], 2);
  struct dht_contact nowhere = contact(0x80, 9, 1);
  nowhere.addr.sa.sa_family = 0;
  assert_int_equal(seen(nowhere, 4), ROUTING_REFUSED); /* cannot be reached at all */
  nowhere.gateway = probe;
  assert_int_equal(seen(nowhere, 4), ROUTING_ADDED);
  routing_gone(&t, &probe);
  routing_gone(&t, &probe); /* harmless */
  assert_null(routing_find(&t, &probe));
  teardown();
}

/* The oldest is asked before it is replaced; who answers stays, and the newcomer waits. */
static void test_replacement(void **st) {
  (void)st;
  setup();
  for (uint8_t i = 0; i < DHT_K; i++) assert_int_equal(seen(contact(0x80, i, i), 1), ROUTING_ADDED);
  assert_int_equal(seen(contact(0x80, 100, 100), 3), ROUTING_CACHED);
  assert_false(want); /* the oldest was heard two seconds ago */
  assert_int_equal(seen(contact(0x80, 101, 101), 10), ROUTING_CACHED);
  assert_true(want);
  assert_int_equal(ping.id.b[ID_LEN - 1], 0);
  assert_int_equal(seen(contact(0x80, 102, 102), 10), ROUTING_CACHED);
  assert_false(want);                                             /* one question at a time */
  assert_int_equal(seen(contact(0x80, 0, 0), 11), ROUTING_KNOWN); /* it answers */
  assert_non_null(routing_find(&t, &(struct id[]){id_with(0x80, 0)}[0]));
  assert_int_equal(seen(contact(0x80, 104, 104), 12), ROUTING_CACHED);
  assert_false(want); /* one in 10 s, or full buckets ping each other for ever */
  assert_int_equal(seen(contact(0x80, 103, 103), 20), ROUTING_CACHED);
  assert_true(want);
  assert_int_equal(ping.id.b[ID_LEN - 1], 1); /* the next oldest */
  failed(ping, 21);
  assert_true(want); /* one lost message is no death: asked again */
  assert_int_equal(ping.id.b[ID_LEN - 1], 1);
  assert_int_equal(t.count, DHT_K);
  failed(ping, 22);
  assert_null(routing_find(&t, &(struct id[]){id_with(0x80, 1)}[0]));
  assert_non_null(routing_find(&t, &(struct id[]){id_with(0x80, 103)}[0])); /* the newest of the cache follows */
  assert_int_equal(t.count, DHT_K);
  assert_int_equal(t.evicted, 1);
  for (uint8_t i = 0; i < 50; i++) (void)seen(contact(0x80, 110 + i, 110 + i), 23);
  assert_int_equal(t.b[0]->cached, ROUTING_CACHE);
  teardown();
}

/* Without a replacement the silent stay a while, but are not told to others. */
static void test_stale(void **st) {
  (void)st;
  setup();
  struct dht_contact c = contact(0x80, 1, 1), near[DHT_K];
  assert_int_equal(seen(c, 1), ROUTING_ADDED);
  failed(c, 2);
  assert_int_equal(routing_closest(&t, &c.id, NULL, ROUTING_STALE, DHT_K, near), 1);
  failed(c, 3);
  assert_int_equal(routing_closest(&t, &c.id, NULL, ROUTING_STALE, DHT_K, near), 0);
  assert_int_equal(seen(c, 4), ROUTING_KNOWN);
  assert_int_equal(routing_closest(&t, &c.id, NULL, ROUTING_STALE, DHT_K, near), 1);
  for (int i = 0; i < ROUTING_DEAD; i++) failed(c, 5);
  assert_int_equal(t.count, 0);
  assert_int_equal(mem.bytes, 0); /* the bucket is gone too */
  teardown();
}

static void test_addresses(void **st) {
  (void)st;
  setup();
  for (uint8_t i = 0; i < 30; i++) { /* one address, ids in many buckets */
    struct dht_contact c = contact((uint8_t)(1u << i % 8), i, 5);
    addr_set_port(&c.addr, (uint16_t)(5000 + i));
    assert_int_equal(seen(c, 1), i < 8 ? ROUTING_ADDED : ROUTING_REFUSED);
  }
  assert_int_equal(t.refused, 22);
  for (uint8_t i = 0; i < 20; i++) {
    struct dht_contact c = contact((uint8_t)(1u << i % 8), 100 + i, 5);
    assert_int_equal(addr_parse("127.0.0.1:5000", 0, &c.addr), 0);
    assert_int_equal(seen(c, 1), ROUTING_ADDED); /* loopback is exempt */
  }
  for (uint8_t i = 0; i < 20; i++) { /* IPv6: by /64 */
    struct dht_contact c = contact((uint8_t)(1u << i % 8), 200 + i, 5);
    char text[64];
    snprintf(text, sizeof text, "[2001:db8::%u]:5000", i);
    assert_int_equal(addr_parse(text, 0, &c.addr), 0);
    assert_int_equal(seen(c, 1), i < 8 ? ROUTING_ADDED : ROUTING_REFUSED);
  }
  teardown();
}

/* The k closest of random contacts, against sorting them all. */
static struct id sort_target;
static int by_distance(const void *a, const void *b) {
  const struct id *x = a, *y = b;
  return is_nearer(&sort_target, x, y) ? -1 : is_nearer(&sort_target, y, x);
}
static void test_closest(void **st) {
  (void)st;
  struct rng_seeded s;
  rng_seeded_init(&s, 99);
  struct rng rng = rng_seeded_view(&s);
  setup();
  struct id in[400];
  size_t n = 0;
  for (unsigned i = 0; i < 400; i++) {
    struct dht_contact c = {.addr = test_addr(i)};
    rng_fill(rng, &c.id, sizeof c.id);
    if (seen(c, 1) == ROUTING_ADDED) in[n++] = c.id;
  }
  assert_int_equal(n, t.count);
  for (int round = 0; round < 50; round++) {
    struct dht_contact near[DHT_K];
    rng_fill(rng, &sort_target, sizeof sort_target);
    qsort(in, n, sizeof *in, by_distance);
    assert_int_equal(routing_closest(&t, &sort_target, NULL, ROUTING_STALE, DHT_K, near), DHT_K);
    for (unsigned i = 0; i < DHT_K; i++) assert_true(id_eq(&near[i].id, &in[i]));
    assert_int_equal(routing_closest(&t, &sort_target, &in[0], ROUTING_STALE, 1, near), 1);
    assert_true(id_eq(&near[0].id, &in[1]));
  }
  teardown();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_distance),    cmocka_unit_test(test_self_and_order),
                                     cmocka_unit_test(test_replacement), cmocka_unit_test(test_stale),
                                     cmocka_unit_test(test_addresses),   cmocka_unit_test(test_closest)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
