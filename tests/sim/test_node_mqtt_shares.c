/* What clients of MQTT have sent in part, and their wills: each address, key and user has a share of mqtt_pool. */
#include "mqtt_rig.h"
#include "node/doors/mqtt_state.h"

#define MIB (1u << 20)
#define FULL "(its address, key or user holds its share of mqtt_pool: "

static const struct stream_key some_key = {.id = {{1, 2, 3}}, .end = UINT64_MAX};

/* A client from that host; with a key it comes over TLS. */
static struct wire *from(struct rig *r, const char *host, const struct stream_key *key) {
  const char *before = wire_from;
  wire_from = host;
  struct wire *w = wire_new(r, MQTT_5);
  wire_from = before;
  w->s.key = key;
  return w;
}

static struct wire *enters(struct rig *r, const char *host, const struct stream_key *key, const char *client, const char *will,
                           uint32_t expiry) {
  struct wire *w = from(r, host, key);
  say_connect(
      w, &(struct connect){.client = client, .clean = true, .will_topic = will ? "w" : NULL, .will = will, .expiry = expiry});
  ALL(r, w);
  return w;
}

static bool is_in(struct wire *w) {
  bool in = strncmp(w->notes, "CONNACK 00", 10) == 0;
  w->notes[w->note_len] = 0;
  if (!in && strncmp(w->notes, "CONNACK 97|" FULL, strlen("CONNACK 97|" FULL)) != 0) fail_msg("%s", w->notes);
  w->note_len = 0;
  return in;
}

static struct wire *comes_in(struct rig *r, const char *host, const struct stream_key *key, const char *client) {
  struct wire *w = enters(r, host, key, client, NULL, 0);
  assert_true(is_in(w));
  return w;
}

static uint8_t *large;   /* a PUBLISH with QoS 1 of a million bytes, */
static size_t large_len; /* and some */
#define PART 900000u
static int make_large(void **state) {
  static const uint8_t head[] = {0x32, 0xc0, 0x84, 0x3d, 0, 1, 't', 0, 7, 0}; /* a remaining length of 1,000,000 */
  (void)state;
  large_len = 4 + 1000000;
  large = calloc(1, large_len);
  memcpy(large, head, sizeof head);
  return 0;
}
static int free_large(void **state) { return (void)state, free(large), 0; }

static void half(struct wire *w) {
  send_bytes(w, slice_of(large, PART));
  settle(w->rig);
}
static void rest(struct wire *w) {
  send_bytes(w, slice_of(large + PART, large_len - PART));
  ALL(w->rig, w);
}
static bool was_ended(struct wire *w) {
  drain(w);
  w->notes[w->note_len] = 0;
  if (w->gone) assert_true(strncmp(w->notes, "DISCONNECT 97|" FULL, strlen("DISCONNECT 97|" FULL)) == 0);
  return w->gone;
}

/* Of those that hold a share together the largest ends; somebody else has room, and so has the address again afterwards. */
static void shares_of(const char *const hosts[3], const struct stream_key *key) {
  struct rig r;
  start(&r, &(struct rig_options){.node = {.limits = {.mqtt_pool = 6 * MIB}}});
  struct wire *a = comes_in(&r, hosts[0], key, "a"), *b = comes_in(&r, hosts[1], key, "b"),
              *other = comes_in(&r, hosts[2], NULL, "o");
  half(a);
  assert_false(was_ended(a));
  half(b);
  assert_true(was_ended(a) != was_ended(b));
  half(other);
  assert_false(was_ended(other));
  rest(other);
  happened(other, "PUBACK 00");
  struct wire *left = a->gone ? b : a;
  assert_false(was_ended(left));
  rest(left);
  happened(left, "PUBACK 00");
  half(left);
  assert_false(was_ended(left));
  assert_in_range(rig_metric(&r, "mqtt_connections_ended_total"), 1, 1);
  lose(a);
  lose(b);
  lose(other);
  settle(&r);
  assert_int_equal(r.node->mqtt->held, 0);
  rig_stop(&r);
}

static void test_half_packets(void **state) {
  (void)state;
  shares_of((const char *const[]){"127.0.0.1:9", "127.0.0.1:10", "127.0.0.2:9"}, NULL);
}
/* Wherever it comes from. */
static void test_of_a_key(void **state) {
  (void)state;
  shares_of((const char *const[]){"127.0.0.1:9", "127.0.0.3:9", "127.0.0.1:10"}, &some_key);
}

/* ---- wills ----------------------------------------------------------------------------------------------------------------
 */
#define HOGS 40

static void test_wills(void **state) {
  struct rig r;
  struct wire *w[HOGS];
  char will[6001], name[16];
  int in = 0;
  (void)state;
  memset(will, 'x', sizeof will - 1);
  will[sizeof will - 1] = 0;
  start(&r, &(struct rig_options){.node = {.limits = {.mqtt_pool = 256 << 10}}});
  for (int i = 0; i < HOGS; i++) {
    snprintf(name, sizeof name, "hog%d", i);
    w[i] = enters(&r, "127.0.0.1:9", NULL, name, will, 100);
    if (is_in(w[i]))
      in++;
    else
      lose(w[i]), w[i] = NULL;
  }
  assert_in_range(in, 5, 12); /* 128 KiB are for them and packets sent in part, and half of that for one alone */
  struct wire *other = enters(&r, "127.0.0.2:9", NULL, "other", will, 0);
  assert_true(is_in(other));
  lose(other); /* its will is published, and holds nothing any more */
  /* one that says goodbye takes its will along, and makes room for another */
  leave(w[0]);
  w[0] = enters(&r, "127.0.0.1:9", NULL, "another", will, 0);
  assert_true(is_in(w[0]));
  /* one that comes again has the one will only */
  struct wire *again = enters(&r, "127.0.0.1:9", NULL, "hog1", will, 100);
  bool was_in = is_in(again);
  size_t held = r.node->mqtt->held;
  HOLDS(node_check(r.node));
  assert_true(held <= 128 << 10);
  print_message("%d wills of one address; taken over: %s; %zu bytes\n", in, was_in ? "yes" : "no", held);
  lose(again);
  for (int i = 0; i < HOGS; i++)
    if (w[i]) lose(w[i]);
  rig_run(&r, 200 * NS_SEC); /* sessions end, and wills with them */
  settle(&r);
  assert_int_equal(r.node->mqtt->held, 0);
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_half_packets), cmocka_unit_test(test_of_a_key),
                                     cmocka_unit_test(test_wills)};
  return cmocka_run_group_tests(tests, make_large, free_large);
}
