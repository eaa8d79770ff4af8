/* Floods: what pub/sub keeps of a peer's interest, and records of the DHT. */
#include "mesh_hostile_rig.h"
#include "wire/interest.h"
#include "wire/kad.h"

static void test_interest_flood(void **state) {
  struct rig_options o = {.node = {.limits = {.max_subscriptions = 5000, .max_replays = 64, .interest_bytes = 1 << 20}}};
  struct honest h;
  static uint8_t buf[64 << 10];
  static struct slice items[400];
  static char names[400][24];
  (void)state;
  honest_start(&h, &o);
  struct rig_client *c = liar(&h.m.rig[0], "");
  for (uint64_t k = 0; k < 2500; k++) { /* a million patterns */
    struct wire_interest m = {
        .epoch = 9, .from = k, .version = k + 1, .more = k % 100 != 99, .retained = k % 7, .reset = k % 1000 == 0};
    if (m.reset) m.from = 0;
    for (int i = 0; i < 400; i++) {
      snprintf(names[i], sizeof names[i], "x%llu.%d.*", (unsigned long long)k, i);
      items[i] = slice_str(names[i]);
    }
    m.adds = (struct msg_list){.count = 400, .items = items};
    send_payload(c, MSG_INTEREST, buf, wire_interest_encode(&m, buf, sizeof buf));
    if (k % 10 == 0) go(&h, 5 * NS_MS);
    if (k % 500 == 0) within(&h);
  }
  served(&h);
  assert_int_equal(rig_publish(h.pub, "kept.a", "1", 0, true, 1), 0);
  for (uint64_t k = 1; k < 3000; k++) {
    struct wire_retained_get g = {k, slice_str(k % 2 ? "**" : "kept.*"), k % 3 ? 0 : UINT64_MAX, k % 5 == 0};
    struct wire_have have = {k, k, k};
    send_payload(c, MSG_RETAINED_GET, buf, wire_retained_get_encode(&g, buf, sizeof buf));
    send_payload(c, MSG_INTEREST_HAVE, buf, wire_have_encode(&have, buf, sizeof buf));
    if (k % 20 == 0) go(&h, NS_MS);
  }
  served(&h);
  leaves(&h, c);
}

static size_t kept_of(const struct rig_client *c, uint8_t type) {
  size_t n = 0;
  for (size_t i = 0; i < c->kept_count; i++) n += c->kept[i].type == type;
  return n;
}

/* Small frames that ask for much, again and again: to be told all anew, and to be asked what each new subscription wants. */
static void test_interest_again(void **state) {
  enum { PATTERNS = 50, TIMES = 200 };
  struct rig_options o = {.node = {.limits = {.max_members = FEW_MEMBERS}}};
  struct honest h;
  uint8_t buf[256];
  char pattern[32];
  (void)state;
  honest_start(&h, &o);
  struct rig_client *c = liar(&h.m.rig[0], NULL), *many = rig_join(&h.m.rig[0], 0, NULL, RIG_EXT);
  go(&h, NS_SEC);
  for (int i = 0; i < PATTERNS; i++) {
    snprintf(pattern, sizeof pattern, "again.%d.*", i);
    assert_int_equal(rig_subscribe(many, pattern), 0);
  }
  go(&h, NS_SEC);
  size_t pages = kept_of(c, MSG_INTEREST), gets = kept_of(c, MSG_RETAINED_GET);
  for (uint64_t k = 0; k < TIMES; k++) {
    struct wire_interest m = {.epoch = 9, .from = k, .version = k + 1, .retained = k % 2, .reset = k == 0};
    struct wire_have have = {1, 2, 3};
    send_payload(c, MSG_INTEREST, buf, wire_interest_encode(&m, buf, sizeof buf));
    send_payload(c, MSG_INTEREST_HAVE, buf, wire_have_encode(&have, buf, sizeof buf));
    go(&h, 10 * NS_MS);
  }
  pages = kept_of(c, MSG_INTEREST) - pages;
  gets = kept_of(c, MSG_RETAINED_GET) - gets;
  print_message("%zu pages, %zu questions\n", pages, gets);
  assert_true(pages > 0 && pages <= 2 * 25);
  assert_true(gets >= PATTERNS && gets <= 4 * PATTERNS);
  served(&h);
  bye(many);
  bye(c);
  recovers(&h, 200 * NS_SEC);
  honest_stop(&h);
}

static void test_dht_flood(void **state) {
  struct rig_options o = {.node = {.limits = {.max_records = 200, .record_bytes = 256 << 10, .max_members = FEW_MEMBERS}}};
  struct honest h;
  uint8_t record[KAD_MAX_RECORD], sig[KAD_MAX_SIGNATURE], bytes[KAD_MAX_RECORD + 64], buf[KAD_MAX_STORE];
  size_t sig_len;
  (void)state;
  honest_start(&h, &o);
  struct rig_client *c = liar(&h.m.rig[0], "");
  static const char domain[] = "macula dht record 1";
  for (uint64_t k = 0; k < 3000; k++) {
    struct kad_batch b = {.realm = slice_str("test"), .seq = k + 1, .count = 16, .gateway = *id_of(c)};
    for (uint32_t i = 0; i < 16; i++)
      b.entries[i] = (struct kad_entry){.key = invented(k * 16 + i), .kind = 1 + i % 3, .ttl = k % 3 ? 315360000 : 0};
    size_t n = kad_batch_encode(&b, record, sizeof record);
    memcpy(bytes, domain, sizeof domain);
    memcpy(bytes + sizeof domain, record, n);
    sig_len = sizeof sig;
    assert_int_equal(quic_identity_sign(c->identity, slice_of(bytes, sizeof domain + n), sig, &sig_len), 0);
    if (k % 10 == 9) sig[3] ^= 1;
    struct kad_msg store = {.query = k + 1,
                            .batch = {slice_of(record, n), slice_of(sig, sig_len), quic_identity_spki(c->identity), 0}};
    struct kad_msg find = {.query = k + 1, .key = invented(k), .kind = 1};
    if (k < 600) send_payload(c, MSG_STORE, buf, kad_encode(MSG_STORE, &store, buf, sizeof buf));
    send_payload(c, k % 2 ? MSG_FIND_NODE : MSG_FIND_VALUE, buf,
                 kad_encode(k % 2 ? MSG_FIND_NODE : MSG_FIND_VALUE, &find, buf, sizeof buf));
    struct kad_contact nodes[20];
    for (uint64_t i = 0; i < 20; i++) nodes[i] = (struct kad_contact){.id = invented(k * 20 + i), .gateway = *id_of(c)};
    struct kad_msg reply = {.query = k + 1, .nodes = nodes, .node_count = 20};
    send_payload(c, MSG_FIND_NODE_REPLY, buf, kad_encode(MSG_FIND_NODE_REPLY, &reply, buf, sizeof buf));
    if (k % 20 == 0) go(&h, 2 * NS_MS);
  }
  go(&h, NS_SEC);
  struct dht_stats s;
  dht_stats(node_of(&h, 0)->records.dht, &s);
  if (c->closed) fail_msg("closed: %s", c->why_text);
  assert_true(s.refused_full > 0 && s.refused_rate > 0 && s.refused_bad > 0);
  served(&h);
  leaves(&h, c);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_interest_flood),
      cmocka_unit_test(test_interest_again),
      cmocka_unit_test(test_dht_flood),
  };
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
