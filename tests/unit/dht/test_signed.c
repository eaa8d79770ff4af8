/* Records under real signatures: Ed25519 keys of src/quic. */
#include "net.h"
#include "quic/quic.h"

static int sign(void *ctx, struct slice data, uint8_t *ret_sig, size_t *ret_len) {
  return quic_identity_sign(ctx, data, ret_sig, ret_len);
}
static int verify(void *ctx, struct slice spki, struct slice data, struct slice sig, struct id *ret_id) {
  (void)ctx;
  return quic_verify(spki, data, sig, ret_id);
}

static struct net t;

static void test_real_signatures(void **st) {
  (void)st;
  struct quic_identity *who[3];
  net_init(&t, 41, 3);
  for (uint32_t i = 0; i < 3; i++) {
    assert_int_equal(quic_identity_generate(&who[i]), 0);
    t.v[i].self.id = *quic_identity_id(who[i]);
    struct dht_config cfg = node_config(&t, &t.v[i]);
    cfg.crypto = (struct dht_crypto){quic_identity_spki(who[i]), sign, verify, who[i]};
    node_start(&t, i, &cfg);
    if (i) node_join(&t, i, 0);
  }
  net_run(&t, 5 * NS_SEC);
  struct id k = test_key("a");
  node_publish(&t, 1, &k, DHT_SERVICE, 300);
  net_run(&t, NS_SEC);
  struct outcome *o = node_lookup(&t, 2, &k, DHT_SERVICE);
  assert_int_equal(o->providers, 1);
  assert_true(id_eq(&o->p[0].contact.id, &t.v[1].self.id));
  assert_int_equal(dht_withdraw(t.v[1].d, &k, DHT_SERVICE, t.now), 0);
  net_run(&t, NS_SEC);
  assert_int_equal(node_lookup(&t, 2, &k, DHT_SERVICE)->providers, 0);
  assert_int_equal(node_stats(&t, 2).refused_bad, 0);
  net_done(&t);
  for (uint32_t i = 0; i < 3; i++) quic_identity_unref(who[i]);
}

static size_t unhex(const char *hex, uint8_t *ret) {
  size_t n = strlen(hex) / 2;
  for (size_t i = 0; i < n; i++) {
    unsigned v;
    assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
    ret[i] = (uint8_t)v;
  }
  return n;
}

/* The example of docs/protocol.md, section 14. */
static void test_example(void **st) {
  (void)st;
  uint8_t record[512], spki[64], sig[64], publisher[32], again[512], bytes[512];
  size_t n =
      unhex("84c4057265616c6dc40b6f72672e6578616d706c65c403736571cf000001a3185c5000c409656e64706f696e747391c40704c0000201"
            "24e3c407656e74726965739193c420aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa01cd012c",
            record);
  assert_int_equal(unhex("302a300506032b65700321003d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", spki), 44);
  assert_int_equal(
      unhex("98c54dec5b32d23f7ff03681decd890cf4054b2fcc3632c6e326527cf79f6a757683b21d1df897a8910cb14fdbee70b8e4733e"
            "4e6d634ab720a118876e5d2902",
            sig),
      64);
  assert_int_equal(unhex("deb2ded39dc26fce0e6085b6fc34bf6b5941913bbfe2ea614113cff9e004c170", publisher), 32);
  struct kad_batch b;
  assert_int_equal(kad_batch_decode(slice_of(record, n), &b), 0);
  assert_true(slice_is(b.realm, "org.example"));
  assert_int_equal(b.seq, 1800000000000);
  assert_int_equal(b.count, 1);
  assert_int_equal(b.entries[0].kind, 1);
  assert_int_equal(b.entries[0].ttl, 300);
  char text[ADDR_TEXT_LEN];
  addr_text(&b.addr, text);
  assert_string_equal(text, "192.0.2.1:9443");
  assert_int_equal(kad_batch_encode(&b, again, sizeof again), n);
  assert_memory_equal(again, record, n);
  struct id who;
  memcpy(bytes, "macula dht record 1", 20);
  memcpy(bytes + 20, record, n);
  assert_int_equal(quic_verify(slice_of(spki, 44), slice_of(bytes, 20 + n), slice_of(sig, 64), &who), 0);
  assert_memory_equal(who.b, publisher, 32);
}

static void test_entry_parts(void **st) {
  (void)st;
  struct kad_batch b = {.realm = slice_str("org.example"), .seq = 1, .count = 2}, again;
  uint8_t bytes[512];
  b.entries[0] = (struct kad_entry){.key = {{1}}, .kind = 1, .ttl = 0, .rest = 300};
  b.entries[1] = (struct kad_entry){.key = {{2}}, .kind = 1, .ttl = 60};
  size_t n = kad_batch_encode(&b, bytes, sizeof bytes);
  assert_int_equal(kad_batch_decode(slice_of(bytes, n), &again), 0);
  assert_int_equal(again.entries[0].rest, 300);
  assert_int_equal(again.entries[1].rest, 0);
  assert_int_equal(again.entries[1].ttl, 60);
  uint8_t *four = memchr(bytes, 0x94, n); /* the only list of four */
  assert_non_null(four);
  for (int parts = 0; parts < 16; parts++) {
    *four = (uint8_t)(0x90 | parts);
    assert_int_equal(kad_batch_decode(slice_of(bytes, n), &again), parts == 4 ? 0 : MACULA_BAD_FRAME);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_real_signatures), cmocka_unit_test(test_entry_parts),
                                     cmocka_unit_test(test_example)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
