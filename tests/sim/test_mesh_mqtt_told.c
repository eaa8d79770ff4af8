/* Who publishes with QoS 1 or 2 is told what a client of MQTT has lost for it, at its own node or at another one. */
#include "mesh_rig.h"
#include "mqtt_rig.h"

#define MEMBER (RIG_EXT | CAP_HEADERS | CAP_GROUPS)
#define QUEUE 1000 /* messages that wait for one client: docs/mqtt.md */
#define LOST "(slow_consumer: 1 subscriber had no room, and has lost this message or an older one; all others have it)"

static void start_nodes(struct mesh *m, unsigned count, bool drops_oldest) {
  mesh_start_joined(m, count,
                    &(struct rig_options){.node = {.mqtt_drops_oldest = drops_oldest, .limits = {.mqtt_pool = 32 << 20}}});
  mesh_settle(m);
}

/* A client that has a filter, and is away. */
static void away(struct rig *r, const char *filter) {
  struct wire *w = join(r, MQTT_5, &(struct connect){.client = "away", .expiry = 3600}, "CONNACK 00");
  subscribe(w, filter, 2);
  ALL(r, w);
  happened(w, "SUBACK 02");
  lose(w);
}

static void fill(struct rig *r, struct wire *pub, int count) {
  pub->quiet = true;
  for (int i = 0; i < count; i++) {
    publish(pub, "t", "x", 1, false);
    if (i % 10 == 9) ALL(r, pub);
  }
  rig_run(r, NS_SEC);
  ALL(r, pub);
  pub->quiet = false;
}

static struct msg_ack native_publish(struct rig_client *c) {
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_str("t"), .payload = slice_str("x"), .qos = 1, .ref = 9, .has_ref = true}};
  rig_send(c, &m);
  return rig_expect(c, MSG_ACK).ack;
}

/* Its queue is full: each that publishes one more is told, in its own words. */
static void full(unsigned nodes, const char *filter, bool drops_oldest) {
  struct mesh m;
  start_nodes(&m, nodes, drops_oldest);
  struct rig *r = &m.rig[0], *reader = &m.rig[nodes - 1];
  struct wire *pub = plain(r, MQTT_5, "pub"), *old = plain(r, MQTT_3_1_1, "old"), *other = plain(reader, MQTT_5, "other");
  struct rig_client *native = rig_join(r, 0, NULL, MEMBER);
  away(reader, filter);
  subscribe(other, "t", 1);
  other->quiet = true;
  ALL(reader, other);
  mesh_settle(&m);
  fill(r, pub, QUEUE - 1);
  publish(pub, "t", "the last", 1, false);
  rig_run(r, NS_SEC);
  ALL(r, pub);
  happened(pub, "PUBACK 00");
  assert_int_equal(rig_metric(reader, "mqtt_messages_lost_total"), 0);
  publish(pub, "t", "one more", 1, false);
  rig_run(r, NS_SEC);
  ALL(r, pub);
  happened(pub, "PUBACK 00|" LOST);
  assert_int_equal(rig_metric(reader, "mqtt_messages_lost_total"), 1);
  publish(pub, "t", "one more", 2, false);
  rig_run(r, NS_SEC);
  ALL(r, pub);
  happened(pub, "PUBREC 00|" LOST "|PUBCOMP 00");
  publish(old, "t", "one more", 1, false); /* which has no word for it */
  rig_run(r, NS_SEC);
  ALL(r, old);
  happened(old, "PUBACK 00");
  struct msg_ack ack = native_publish(native);
  assert_true(!ack.code.n && ack.partly.cut == 1 && !ack.partly.silent);
  publish(pub, "t", "nobody waits for this", 0, false);
  rig_run(r, NS_SEC);
  ALL(r, pub);
  happened(pub, "");
  assert_int_equal(rig_metric(reader, "mqtt_messages_lost_total"), 4);
  leave(pub);
  leave(old);
  leave(other);
  mesh_stop(&m);
}

static void test_full(void **state) {
  (void)state;
  full(1, "t", false);
  full(1, "t", true);
}

static void test_full_elsewhere(void **state) {
  (void)state;
  full(2, "t", false);
  full(2, "t", true);
}

static void test_full_member(void **state) {
  (void)state;
  full(1, "$share/g/t", false);
  full(2, "$share/g/t", true);
}

/* ---- connected -------------------------------------------------------------------------------------------------------------
 */
struct answered {
  struct wire *w;
};
static bool has_answer(void *ctx) {
  struct wire *w = ((struct answered *)ctx)->w;
  drain(w);
  return w->note_len > 0;
}

/* It acknowledges nothing. What is overdue goes to its session, and when that is full, too, whoever publishes the next one is
 * told: in the answer to the very message for which something was lost. */
static void still(unsigned nodes, bool drops_oldest) {
  struct mesh m;
  char payload[6001];
  bool told = false;
  memset(payload, 'x', sizeof payload - 1);
  payload[sizeof payload - 1] = 0;
  mesh_start_joined(&m, nodes,
                    &(struct rig_options){.node = {.mqtt_drops_oldest = drops_oldest,
                                                   .limits = {.mqtt_pool = 2 << 20, .client_queue = 64 << 10}}});
  mesh_settle(&m);
  struct rig *r = &m.rig[0], *reader = &m.rig[nodes - 1];
  struct wire *pub = plain(r, MQTT_5, "pub"), *w = plain(reader, MQTT_5, "still");
  subscribe(w, "t", 1);
  ALL(reader, w);
  happened(w, "SUBACK 01");
  mesh_settle(&m);
  w->no_acks = w->quiet = true;
  for (int i = 0; i < 300 && !told; i++) {
    publish(pub, "t", payload, 1, false);
    rig_until(r, 60 * NS_SEC, has_answer, &(struct answered){pub}, "it is answered");
    drain(w);
    told = rig_metric(reader, "mqtt_messages_lost_total") > 0;
    happened(pub, told ? "PUBACK 00|" LOST : "PUBACK 00");
  }
  assert_true(told);
  assert_in_range(w->published, 1, 32);
  assert_false(w->gone);
  lose(w);
  leave(pub);
  mesh_stop(&m);
}

static void test_still(void **state) {
  (void)state;
  still(1, false);
  still(1, true);
}

static void test_still_elsewhere(void **state) {
  (void)state;
  still(2, false);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_full), cmocka_unit_test(test_full_elsewhere),
                                     cmocka_unit_test(test_full_member), cmocka_unit_test(test_still),
                                     cmocka_unit_test(test_still_elsewhere)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
