/* What a holder takes, refuses, keeps and forgets. */
#include "craft.h"

static struct net t;
static struct reply r;
static struct crafted c, c2;

static void setup(uint32_t count, const struct dht_config *cfg) {
  net_init(&t, 7, count);
  node_start(&t, 0, cfg);
}
static bool held(const struct id *key, size_t at, struct dht_record_info *i) { return dht_held(t.v[0].d, key, at, i); }

static void test_store_and_find(void **st) {
  (void)st;
  setup(3, NULL);
  struct id k = test_key("a");
  craft(&t, 1, &k, DHT_SERVICE, 300, 5, &c);
  assert_string_equal(store(&t, 0, 1, &c, &r), "");
  net_run(&t, 100 * NS_SEC);
  struct kad_msg m = {.query = 77, .key = k, .kind = DHT_SERVICE};
  ask(&t, 0, 2, MSG_FIND_VALUE, &m, &r);
  assert_int_equal(r.type, MSG_FIND_VALUE_REPLY);
  assert_int_equal(r.m.query, 77);
  assert_int_equal(r.m.batch_count, 1);
  assert_false(r.m.more);
  struct kad_signed s;
  assert_true(kad_batch_next(&r.m, &s));
  assert_true(slice_eq(s.record, c.s.record));
  assert_true(slice_eq(s.signature, c.s.signature));
  assert_true(slice_eq(s.spki, c.s.spki));
  assert_in_range(s.age, 99999, 100001);
  struct dht_record_info i;
  assert_true(held(&k, 0, &i));
  assert_in_range(i.left, 199 * NS_SEC, 200 * NS_SEC);
  assert_false(held(&k, 1, &i));
  m.kind = DHT_SUBSCRIPTION; /* another kind of the same key is another record: contacts instead */
  ask(&t, 0, 2, MSG_FIND_VALUE, &m, &r);
  assert_int_equal(r.m.batch_count, 0);
  assert_int_equal(r.m.node_count, 1);
  net_run(&t, 201 * NS_SEC);
  assert_false(held(&k, 0, &i));
  assert_int_equal(node_stats(&t, 0).expired, 1);
  assert_int_equal(node_stats(&t, 0).record_bytes < 4096, 1);
  net_done(&t);
}

static void test_signatures(void **st) {
  (void)st;
  setup(3, NULL);
  struct id k = test_key("a");
  struct dht_record_info i;
  for (size_t at = 0; at < 40; at += 3) { /* any changed byte of the record */
    craft(&t, 1, &k, DHT_SERVICE, 300, 5, &c);
    c.record[c.s.record.n - 1 - at] ^= 1;
    assert_string_not_equal(store(&t, 0, 1, &c, &r), "");
  }
  craft(&t, 1, &k, DHT_SERVICE, 300, 5, &c);
  c.signature[0] ^= 1;
  assert_string_equal(store(&t, 0, 1, &c, &r), "bad_signature");
  craft(&t, 1, &k, DHT_SERVICE, 300, 5, &c);
  c.s.spki = slice_of(t.v[2].spki, sizeof t.v[2].spki); /* in another's name */
  assert_string_equal(store(&t, 0, 1, &c, &r), "bad_signature");
  craft(&t, 1, &k, DHT_SERVICE, 300, 5, &c);
  c.b.realm = slice_str("org.other");
  craft_sign(&t, 1, &c);
  assert_string_equal(store(&t, 0, 1, &c, &r), "realm_mismatch");
  assert_false(held(&k, 0, &i));
  /* Who delivers it does not matter; whose it is does. */
  craft(&t, 1, &k, DHT_SERVICE, 300, 5, &c);
  assert_string_equal(store(&t, 0, 2, &c, &r), "");
  assert_true(held(&k, 0, &i));
  assert_true(id_eq(&i.publisher, &t.v[1].self.id));
  uint64_t done = node_stats(&t, 0).signatures_verified;
  assert_string_equal(store(&t, 0, 2, &c, &r), ""); /* the same again is not verified again */
  assert_int_equal(node_stats(&t, 0).signatures_verified, done);
  assert_int_equal(node_stats(&t, 0).signatures_known, 1);
  net_done(&t);
}

static void test_sequences(void **st) {
  (void)st;
  setup(3, NULL);
  struct id k = test_key("a");
  struct dht_record_info i;
  craft(&t, 1, &k, DHT_SERVICE, 300, 10, &c);
  assert_string_equal(store(&t, 0, 1, &c, &r), "");
  net_run(&t, 200 * NS_SEC);
  assert_string_equal(store(&t, 0, 1, &c, &r), ""); /* the same sequence does not start the TTL again */
  assert_true(held(&k, 0, &i));
  assert_true(i.left <= 100 * NS_SEC);
  craft(&t, 1, &k, DHT_SERVICE, 300, 9, &c2); /* an older one is answered with the newer */
  assert_string_equal(store(&t, 0, 2, &c2, &r), "");
  assert_true(r.m.has_newer);
  assert_true(slice_eq(r.m.batch.record, c.s.record));
  assert_true(held(&k, 0, &i));
  assert_int_equal(i.seq, 10);
  assert_int_equal(node_stats(&t, 0).refused_old, 1);
  craft(&t, 1, &k, DHT_SERVICE, 300, 11, &c2);
  assert_string_equal(store(&t, 0, 1, &c2, &r), "");
  assert_false(r.m.has_newer);
  assert_true(held(&k, 0, &i));
  assert_in_range(i.left, 299 * NS_SEC, 300 * NS_SEC);
  /* Withdrawn, and then the old one is played back. */
  craft(&t, 1, &k, DHT_SERVICE, 0, 12, &c2);
  assert_string_equal(store(&t, 0, 1, &c2, &r), "");
  assert_string_equal(store(&t, 0, 2, &c, &r), "");
  assert_true(r.m.has_newer);
  assert_true(held(&k, 0, &i));
  assert_true(i.tombstone);
  net_run(&t, 3000 * NS_SEC);
  assert_string_equal(store(&t, 0, 2, &c, &r), "");
  assert_true(held(&k, 0, &i) && i.tombstone);
  net_run(&t, 601 * NS_SEC); /* the largest TTL: every copy has ended by now */
  assert_false(held(&k, 0, &i));
  assert_int_equal(node_stats(&t, 0).tombstones, 0);
  net_done(&t);
}

/* With what is left of the record's TTL a tombstone is kept no longer than a copy could be. */
static void test_tombstone_with_rest(void **st) {
  (void)st;
  net_init(&t, 3, 3);
  node_start(&t, 0, NULL);
  struct id k = test_key("a");
  struct dht_record_info i;
  craft(&t, 1, &k, DHT_SERVICE, 30, 10, &c);
  assert_string_equal(store(&t, 0, 1, &c, &r), "");
  craft(&t, 1, &k, DHT_SERVICE, 0, 12, &c2);
  c2.b.entries[0].rest = 30;
  craft_sign(&t, 1, &c2);
  assert_string_equal(store(&t, 0, 1, &c2, &r), "");
  net_run(&t, 39 * NS_SEC);
  assert_true(held(&k, 0, &i) && i.tombstone);
  assert_string_equal(store(&t, 0, 2, &c, &r), "");
  assert_true(r.m.has_newer);
  net_run(&t, 2 * NS_SEC);
  assert_int_equal(node_stats(&t, 0).tombstones, 0);
  c2.b.seq = 20;
  c2.b.entries[0].rest = UINT32_MAX; /* no longer than the largest TTL */
  craft_sign(&t, 1, &c2);
  assert_string_equal(store(&t, 0, 1, &c2, &r), "");
  net_run(&t, 3601 * NS_SEC);
  assert_int_equal(node_stats(&t, 0).tombstones, 0);
  net_done(&t);
}

/* The age that a forwarder tells is counted, so that records do not live for ever by being passed on. */
static void test_age(void **st) {
  (void)st;
  setup(2, NULL);
  struct id k = test_key("a");
  struct dht_record_info i;
  craft(&t, 1, &k, DHT_SERVICE, 300, 10, &c);
  c.s.age = 250000;
  assert_string_equal(store(&t, 0, 1, &c, &r), "");
  assert_true(held(&k, 0, &i));
  assert_in_range(i.left, 49 * NS_SEC, 50 * NS_SEC);
  struct id k2 = test_key("b");
  craft(&t, 1, &k2, DHT_SERVICE, 300, 11, &c);
  c.s.age = 300000;
  assert_string_equal(store(&t, 0, 1, &c, &r), "");
  assert_false(held(&k2, 0, &i));
  c.s.age = UINT64_MAX;
  assert_string_equal(store(&t, 0, 1, &c, &r), "");
  assert_false(held(&k2, 0, &i));
  net_done(&t);
}

static void test_ten_years(void **st) {
  (void)st;
  setup(2, NULL);
  struct id k = test_key("a");
  struct dht_record_info i;
  craft(&t, 1, &k, DHT_SERVICE, 10 * 365 * 86400, 5, &c);
  assert_string_equal(store(&t, 0, 1, &c, &r), "");
  assert_true(held(&k, 0, &i));
  assert_true(i.left <= DHT_MAX_TTL);
  net_run(&t, 3601 * NS_SEC);
  assert_false(held(&k, 0, &i));
  net_done(&t);
}

static void test_batches(void **st) {
  (void)st;
  setup(3, NULL);
  struct dht_record_info i;
  c.b = (struct kad_batch){.realm = slice_str("org.test"), .seq = 5, .addr = t.v[1].self.addr, .count = 16};
  for (unsigned k = 0; k < 16; k++) c.b.entries[k] = (struct kad_entry){test_key_n("k", k), DHT_SERVICE, 300};
  craft_sign(&t, 1, &c);
  assert_string_equal(store(&t, 0, 1, &c, &r), "");
  struct dht_stats s = node_stats(&t, 0);
  assert_int_equal(s.records, 16);
  size_t bytes = s.record_bytes;
  for (unsigned k = 0; k < 15; k++) { /* a newer word about all but one: the old batch stays for that one */
    struct id key = test_key_n("k", k);
    craft(&t, 1, &key, DHT_SERVICE, k % 2 ? 300 : 0, 6 + k, &c2);
    assert_string_equal(store(&t, 0, 1, &c2, &r), "");
  }
  s = node_stats(&t, 0);
  assert_int_equal(s.records, 8);
  assert_int_equal(s.tombstones, 8);
  assert_string_equal(store(&t, 0, 2, &c, &r), ""); /* again the first: one of its records is still in force */
  assert_int_equal(node_stats(&t, 0).records, 8);
  struct id last = test_key_n("k", 15);
  assert_true(held(&last, 0, &i));
  assert_int_equal(i.seq, 5);
  c.b.entries[3] = c.b.entries[2] = c.b.entries[15]; /* the same record thrice in a batch */
  c.b.seq = 100;
  craft_sign(&t, 1, &c);
  assert_string_equal(store(&t, 0, 1, &c, &r), "");
  assert_true(held(&last, 0, &i));
  assert_false(held(&last, 1, &i));
  net_run(&t, 3700 * NS_SEC);
  s = node_stats(&t, 0);
  assert_int_equal(s.records + s.tombstones, 0);
  assert_true(s.record_bytes < bytes);
  net_done(&t);
}

static void test_limits(void **st) {
  (void)st;
  net_init(&t, 7, 60);
  struct dht_config cfg = node_config(&t, &t.v[0]);
  cfg.max_records = 100;
  cfg.max_publisher = 40;
  cfg.max_tombstones = 10;
  cfg.max_key_subscription = 50;
  node_start(&t, 0, &cfg);
  struct id k = test_key("popular");
  struct dht_record_info i;
  for (uint32_t n = 1; n < 60; n++) { /* a key takes 32 for services */
    craft(&t, n, &k, DHT_SERVICE, 300, 5, &c);
    assert_string_equal(store(&t, 0, n, &c, &r), n <= 32 ? "" : "records_full");
  }
  assert_int_equal(node_stats(&t, 0).refused_full, 27);
  craft(&t, 3, &k, DHT_SERVICE, 300, 6, &c); /* who is in may renew */
  assert_string_equal(store(&t, 0, 3, &c, &r), "");
  craft(&t, 3, &k, DHT_SERVICE, 0, 7, &c); /* who leaves makes room */
  assert_string_equal(store(&t, 0, 3, &c, &r), "");
  craft(&t, 59, &k, DHT_SERVICE, 300, 6, &c);
  assert_string_equal(store(&t, 0, 59, &c, &r), "");
  for (unsigned n = 0; n < 60; n++) { /* one publisher's share */
    struct id key = test_key_n("k", n);
    craft(&t, 40, &key, DHT_SERVICE, 300, 5, &c);
    assert_string_equal(store(&t, 0, 40, &c, &r), n < 40 ? "" : "records_full");
  }
  for (unsigned n = 0; n < 60; n++) { /* all together */
    struct id key = test_key_n("m", n);
    craft(&t, 41, &key, DHT_SERVICE, 300, 5, &c);
    assert_string_equal(store(&t, 0, 41, &c, &r), n < 28 ? "" : "records_full");
  }
  assert_int_equal(node_stats(&t, 0).records, 100);
  for (unsigned n = 0; n < 60; n++) { /* tombstones of what was never here: no more than the limit stays */
    struct id key = test_key_n("x", n);
    craft(&t, 42 + n % 3, &key, DHT_SERVICE, 0, 5, &c);
    assert_string_equal(store(&t, 0, 42, &c, &r), "");
    assert_true(node_stats(&t, 0).tombstones <= 10);
  }
  assert_int_equal(node_stats(&t, 0).records, 100);
  net_run(&t, 301 * NS_SEC);
  assert_int_equal(node_stats(&t, 0).records, 0);
  (void)i;
  net_done(&t);

  net_init(&t, 7, 30); /* bytes */
  t.v[0].records.limit = 65536;
  node_start(&t, 0, NULL);
  unsigned refused = 0;
  for (unsigned n = 0; n < 2000; n++) {
    struct id key = test_key_n("k", n);
    craft(&t, 1 + n % 29, &key, DHT_SERVICE, 300, 5 + n, &c);
    refused += strcmp(store(&t, 0, 1 + n % 29, &c, &r), "") != 0;
    t.now += 10 * NS_MS;
  }
  assert_true(t.v[0].records.peak <= 65536);
  assert_true(refused > 1000);
  assert_int_equal(node_stats(&t, 0).records, 2000 - refused);
  net_done(&t);
}

static void test_pages(void **st) {
  (void)st;
  net_init(&t, 7, 100);
  node_start(&t, 0, NULL);
  struct id k = test_key("topic");
  for (uint32_t n = 1; n < 100; n++) {
    craft(&t, n, &k, DHT_SUBSCRIPTION, 300, 5 + n, &c);
    assert_string_equal(store(&t, 0, n, &c, &r), "");
  }
  for (uint32_t n = 1; n < 5; n++) {
    craft(&t, n, &k, DHT_SUBSCRIPTION, 0, 500, &c);
    assert_string_equal(store(&t, 0, n, &c, &r), "");
  }
  unsigned seen = 0, pages = 0, withdrawn = 0;
  uint64_t last = UINT64_MAX;
  for (struct kad_msg m = {.query = 1, .key = k, .kind = DHT_SUBSCRIPTION};; m.page++) {
    ask(&t, 0, 1, MSG_FIND_VALUE, &m, &r);
    assert_true(r.m.batch_count <= KAD_PAGE);
    pages++;
    struct kad_signed s;
    while (kad_batch_next(&r.m, &s)) {
      struct kad_batch b;
      assert_int_equal(kad_batch_decode(s.record, &b), 0);
      if (b.entries[0].ttl == 0) {
        withdrawn++; /* at the end */
      } else {
        assert_int_equal(withdrawn, 0);
        assert_true(b.seq < last); /* newest first */
        last = b.seq;
        seen++;
      }
    }
    if (!r.m.more) break;
  }
  assert_int_equal(seen, 95);
  assert_int_equal(withdrawn, 4);
  assert_int_equal(pages, 7);
  struct kad_msg beyond = {.query = 1, .key = k, .kind = DHT_SUBSCRIPTION, .page = UINT32_MAX};
  ask(&t, 0, 1, MSG_FIND_VALUE, &beyond, &r);
  assert_int_equal(r.m.batch_count, 0);
  assert_false(r.m.more);
  net_done(&t);
}

static void test_rates(void **st) {
  (void)st;
  net_init(&t, 7, 3);
  struct dht_config cfg = node_config(&t, &t.v[0]);
  cfg.find_rate = 10;
  node_start(&t, 0, &cfg);
  struct kad_msg m = {.query = 1, .key = test_key("a"), .kind = 1};
  unsigned answered = 0;
  for (int i = 0; i < 1000; i++) {
    ask(&t, 0, 1, i % 2 ? MSG_FIND_VALUE : MSG_FIND_NODE, &m, &r);
    assert_true(r.err == 0 || r.err == MACULA_RATE_LIMITED);
    answered += r.type != 0;
  }
  assert_int_equal(answered, 40);
  assert_int_equal(node_stats(&t, 0).refused_rate, 960);
  ask(&t, 0, 2, MSG_FIND_NODE, &m, &r); /* others do not notice */
  assert_int_equal(r.type, MSG_FIND_NODE_REPLY);
  t.now += NS_SEC;
  ask(&t, 0, 1, MSG_FIND_NODE, &m, &r);
  assert_int_equal(r.type, MSG_FIND_NODE_REPLY);
  net_done(&t);
}

/* Our own record, sent back to us, is never held on another's word. */
static void test_own_from_outside(void **st) {
  (void)st;
  setup(2, NULL);
  struct id k = test_key("a");
  struct dht_record_info i;
  craft(&t, 0, &k, DHT_SERVICE, 300, UNIX_MS * 2, &c);
  assert_string_equal(store(&t, 0, 1, &c, &r), "");
  assert_false(held(&k, 0, &i));
  assert_int_equal(dht_last_seq(t.v[0].d), UNIX_MS * 2); /* but our sequences go on behind it */
  net_done(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_store_and_find),
      cmocka_unit_test(test_tombstone_with_rest),
      cmocka_unit_test(test_signatures),
      cmocka_unit_test(test_sequences),
      cmocka_unit_test(test_age),
      cmocka_unit_test(test_ten_years),
      cmocka_unit_test(test_batches),
      cmocka_unit_test(test_limits),
      cmocka_unit_test(test_pages),
      cmocka_unit_test(test_rates),
      cmocka_unit_test(test_own_from_outside),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
