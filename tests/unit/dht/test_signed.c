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

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_real_signatures)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
