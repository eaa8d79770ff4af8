/* Groups of subscribers: one member gets each message, in the whole mesh, native or of MQTT; and what a member leaves. */
#include "mesh_rig.h"
#include "mqtt_rig.h"
#include "wire/headers.h"

#define MEMBER (RIG_EXT | CAP_HEADERS | CAP_GROUPS)

static void start_mesh(struct mesh *m, unsigned count) {
  mesh_start_joined(m, count, &(struct rig_options){.node.limits.mqtt_pool = 32 << 20});
  mesh_settle(m);
}

static int ask(struct rig_client *c, enum msg_type type, const char *pattern, const char *group) {
  struct slice topic = slice_str(pattern);
  struct msg m = {.type = type,
                  .subscribe = {.topics = {.count = 1, .items = &topic}, .group = slice_str(group), .ref = 5, .has_ref = true}};
  rig_send(c, &m);
  struct msg_ack a = rig_expect(c, MSG_ACK).ack;
  assert_int_equal(a.ref, 5);
  return a.code.n ? err_from_name((const char *)a.code.p, a.code.n) : 0;
}

static struct rig_client *member(struct rig *r, const char *pattern, const char *group) {
  struct rig_client *c = rig_join(r, 0, NULL, MEMBER);
  assert_int_equal(ask(c, MSG_SUBSCRIBE, pattern, group), 0);
  return c;
}

static uint64_t last_id;
static void publish_one(struct rig_client *c, const char *topic, const char *payload, int qos) {
  if (qos)
    assert_int_equal(mesh_publish(c, topic, payload, ++last_id), 0);
  else
    assert_int_equal(rig_publish(c, topic, payload, 0, false, ++last_id), 0);
}

static uint64_t got(const struct rig_client *c) { return c->counts[MSG_PUBLISH]; }

/* One of a group each, in turn; two groups one each; those without a group all. */
static void test_one_node(void **state) {
  struct mesh m;
  (void)state;
  start_mesh(&m, 1);
  struct rig *r = &m.rig[0];
  struct rig_client *pub = rig_join(r, 0, NULL, MEMBER), *a[3], *b = member(r, "t.*", "b"), *c = member(r, "t.**", "a"),
                    *plain = rig_join(r, 0, NULL, RIG_EXT);
  for (int i = 0; i < 3; i++) a[i] = member(r, "t.*", "a");
  assert_int_equal(rig_subscribe(plain, "t.*"), 0);
  for (int i = 0; i < 30; i++) publish_one(pub, "t.x", "1", i % 2);
  publish_one(pub, "u", "1", 1);
  rig_run(r, NS_SEC);
  for (int i = 0; i < 3; i++) assert_int_equal(got(a[i]), 10);
  assert_int_equal(got(b), 30); /* the only one of its group */
  assert_int_equal(got(c), 30); /* the same name and another pattern: another group */
  assert_int_equal(got(plain), 30);
  struct msg_publish p = rig_expect(a[0], MSG_PUBLISH).publish;
  struct slice key;
  assert_true(msg_list_next(&p.groups, &key) && slice_is(key, "t.*.#a"));
  /* one leaves its group: it gets no more */
  assert_int_equal(ask(a[0], MSG_UNSUBSCRIBE, "t.*", "a"), 0);
  for (int i = 0; i < 10; i++) publish_one(pub, "t.x", "1", 1);
  rig_run(r, NS_SEC);
  assert_int_equal(got(a[0]), 10);
  assert_int_equal(got(a[1]) + got(a[2]), 30);
  mesh_stop(&m);
}

static void test_refused(void **state) {
  struct mesh m;
  char name[300], pattern[] = "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a";
  (void)state;
  start_mesh(&m, 1);
  struct rig_client *c = rig_join(&m.rig[0], 0, NULL, MEMBER), *old = rig_join(&m.rig[0], 0, NULL, RIG_EXT);
  memset(name, 'n', sizeof name);
  name[252] = 0;
  assert_int_equal(ask(c, MSG_SUBSCRIBE, "t", name), 0);
  name[252] = 'n', name[253] = 0;
  assert_int_equal(ask(c, MSG_SUBSCRIBE, "t", name), MACULA_INVALID_TOPIC);
  assert_int_equal(ask(c, MSG_SUBSCRIBE, "t", ""), MACULA_INVALID_TOPIC);
  assert_int_equal(ask(c, MSG_SUBSCRIBE, pattern, "n"), MACULA_INVALID_TOPIC);
  pattern[sizeof pattern - 3] = 0;
  assert_int_equal(ask(c, MSG_SUBSCRIBE, pattern, "n/#."), 0);
  assert_int_equal(ask(old, MSG_SUBSCRIBE, "t", "n"), MACULA_EINVAL);
  assert_int_equal(rig_subscribe(c, "t.#n"), MACULA_INVALID_TOPIC); /* no pattern is a group's key */
  for (int i = 2; i < 64; i++) {
    snprintf(name, sizeof name, "g%d", i);
    assert_int_equal(ask(c, MSG_SUBSCRIBE, "t", name), 0);
  }
  assert_int_equal(ask(c, MSG_SUBSCRIBE, "t", "one more"), MACULA_MAX_SUBSCRIPTIONS_REACHED);
  assert_int_equal(ask(c, MSG_SUBSCRIBE, "t", "g2"), 0); /* which it has */
  assert_int_equal(ask(c, MSG_UNSUBSCRIBE, "t", "g2"), 0);
  assert_int_equal(ask(c, MSG_SUBSCRIBE, "t", "one more"), 0);
  mesh_stop(&m);
}

/* Wherever the publisher is, one member gets it: one at its own node first, else one node in turn. */
static void test_mesh(void **state) {
  struct mesh m;
  (void)state;
  start_mesh(&m, 3);
  struct rig_client *pub = rig_join(&m.rig[0], 0, NULL, MEMBER), *a = member(&m.rig[1], "t", "g"),
                    *b = member(&m.rig[2], "t", "g"), *plain = rig_join(&m.rig[2], 0, NULL, RIG_EXT);
  assert_int_equal(rig_subscribe(plain, "t"), 0);
  mesh_settle(&m);
  for (int i = 0; i < 20; i++) publish_one(pub, "t", "1", i % 2);
  rig_run(&m.rig[0], NS_SEC);
  assert_int_equal(got(a), 10);
  assert_int_equal(got(b), 10);
  assert_int_equal(got(plain), 20);
  struct rig_client *near = member(&m.rig[0], "t", "g");
  mesh_settle(&m);
  for (int i = 0; i < 20; i++) publish_one(pub, "t", "2", i % 2);
  rig_run(&m.rig[0], NS_SEC);
  assert_int_equal(got(near), 20);
  assert_int_equal(got(a) + got(b), 20);
  /* those that are gone get no more */
  rig_kill(near);
  rig_kill(a);
  rig_run(&m.rig[0], 60 * NS_SEC);
  mesh_settle(&m);
  for (int i = 0; i < 10; i++) publish_one(pub, "t", "3", i % 2);
  rig_run(&m.rig[0], NS_SEC);
  assert_int_equal(got(b), 20);
  mesh_stop(&m);
}

/* QoS 1: what a member has not acknowledged as it ends goes to another one, here or at another node; nothing else comes twice.
 */
static void test_member_ends(void **state) {
  struct mesh m;
  (void)state;
  start_mesh(&m, 2);
  struct rig_client *pub = rig_join(&m.rig[0], 0, NULL, MEMBER), *a = member(&m.rig[0], "t", "g"),
                    *b = member(&m.rig[0], "t", "g");
  mesh_settle(&m);
  for (int i = 0; i < 10; i++) publish_one(pub, "t", "1", 1);
  rig_run(&m.rig[0], 2 * NS_SEC);
  assert_int_equal(got(a), 5);
  assert_int_equal(m.rig[0].node->messages.groups.count, 0); /* all was acknowledged */
  rig_kill(a);
  for (int i = 0; i < 10; i++) publish_one(pub, "t", "2", 1);
  rig_run(&m.rig[0], NS_SEC);
  assert_int_equal(got(b), 10);
  rig_run(&m.rig[0], 60 * NS_SEC);
  assert_int_equal(got(b), 15);
  assert_int_equal(rig_metric(&m.rig[0], "group_messages_moved_total"), 5);
  /* the last one of this node: what it has not acknowledged goes to another node */
  rig_kill(b);
  for (int i = 0; i < 3; i++) publish_one(pub, "t", "3", 1);
  struct rig_client *far = member(&m.rig[1], "t", "g");
  mesh_settle(&m);
  rig_run(&m.rig[0], 60 * NS_SEC);
  assert_int_equal(got(far), 3);
  /* nobody is left */
  rig_kill(far);
  for (int i = 0; i < 2; i++) publish_one(pub, "t", "4", 1);
  rig_run(&m.rig[0], 60 * NS_SEC);
  assert_int_equal(rig_metric(&m.rig[1], "group_messages_lost_total"), 2);
  mesh_stop(&m);
}

/* One that stands still gets its window full, and then all goes to the other. */
static void test_room(void **state) {
  struct mesh m;
  char text[2000];
  (void)state;
  mesh_start(&m, 1, &(struct rig_options){.node.limits.client_queue = 65536});
  struct rig *r = &m.rig[0];
  struct rig_client *pub = rig_join(r, 0, NULL, MEMBER), *a = member(r, "t", "g"), *b = member(r, "t", "g");
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = 0;
  rig_stop_reading(a);
  for (int i = 0; i < 1000; i++) publish_one(pub, "t", text, 0);
  rig_run(r, NS_SEC);
  assert_true(got(b) > 700);
  rig_read_on(a);
  rig_run(r, 5 * NS_SEC);
  assert_int_equal(got(a) + got(b), 1000);
  mesh_stop(&m);
}

/* ---- MQTT ------------------------------------------------------------------------------------------------------------------
 */
static void test_mqtt(void **state) {
  struct mesh m;
  (void)state;
  start_mesh(&m, 2);
  struct wire *a = plain(&m.rig[0], MQTT_5, "a"), *b = plain(&m.rig[1], MQTT_3_1_1, "b");
  struct rig_client *pub = rig_join(&m.rig[0], 0, NULL, MEMBER), *native = member(&m.rig[1], "t.*", "g");
  subscribe(a, "$share/g/t/+", 1);
  subscribe(a, "t/#", 1);
  subscribe(b, "$share/g/t/+", 1);
  ALL(&m.rig[0], a, b);
  happened(a, "SUBACK 01|SUBACK 01");
  happened(b, "SUBACK 01");
  mesh_settle(&m);
  publish_one(pub, "t.x", "1", 1);
  ALL(&m.rig[0], a, b);
  happened(a, "t/x=1 q1|t/x=1 q1"); /* once as a member, once for its other filter */
  happened(b, "");
  unsubscribe(a, "$share/g/t/+");
  unsubscribe(a, "$share/g/t/+");
  ALL(&m.rig[0], a);
  happened(a, "UNSUBACK 00|UNSUBACK 11");
  mesh_settle(&m);
  for (int i = 0; i < 10; i++) publish_one(pub, "t.x", "2", 0);
  a->quiet = b->quiet = true;
  rig_run(&m.rig[0], NS_SEC);
  ALL(&m.rig[0], a, b);
  assert_int_equal(b->published, 5);
  assert_int_equal(got(native), 5);
  leave(a);
  leave(b);
  mesh_stop(&m);
}

/* A client that is away gets nothing while another member is there, and keeps what it has not acknowledged until its session
 * ends; then that goes to the other. */
static void test_mqtt_ends(void **state) {
  struct mesh m;
  const struct connect keep = {.client = "a", .expiry = 30};
  (void)state;
  start_mesh(&m, 1);
  struct rig *r = &m.rig[0];
  struct rig_client *pub = rig_join(r, 0, NULL, MEMBER);
  struct wire *a = join(r, MQTT_5, &keep, "CONNACK 00"), *b = plain(r, MQTT_5, "b");
  subscribe(a, "$share/g/t", 1);
  ALL(r, a);
  happened(a, "SUBACK 01");
  a->no_acks = true;
  publish_one(pub, "t", "1", 1);
  publish_one(pub, "t", "2", 1);
  ALL(r, a);
  happened(a, "t=1 q1|t=2 q1");
  subscribe(b, "$share/g/t", 1);
  ALL(r, b);
  happened(b, "SUBACK 01");
  lose(a);
  for (int i = 0; i < 3; i++) publish_one(pub, "t", "3", 1);
  rig_run(r, NS_SEC);
  ALL(r, b);
  happened(b, "t=3 q1|t=3 q1|t=3 q1");
  /* it comes back, with another connection: what it has not acknowledged comes again, to it alone */
  a = wire_new(r, MQTT_5);
  a->no_acks = true;
  say_connect(a, &keep);
  ALL(r, a, b);
  happened(a, "CONNACK 00 present|t=1 q1 dup|t=2 q1 dup");
  happened(b, "");
  lose(a);
  rig_run(r, 40 * NS_SEC); /* its session ends */
  ALL(r, b);
  happened(b, "t=1 q1|t=2 q1");
  assert_int_equal(r->node->messages.groups.count, 0);
  leave(b);
  mesh_stop(&m);
}

/* With QoS 2 a message is its member's from PUBREC on; what was not received goes to another one as it was. */
static void test_exactly_once(void **state) {
  struct mesh m;
  (void)state;
  start_mesh(&m, 2);
  struct wire *pub = plain(&m.rig[0], MQTT_5, "pub"), *a = plain(&m.rig[0], MQTT_5, "a"), *b = plain(&m.rig[1], MQTT_5, "b");
  subscribe(a, "$share/g/t", 2);
  subscribe(b, "$share/g/t", 2);
  ALL(&m.rig[0], a, b);
  happened(a, "SUBACK 02");
  happened(b, "SUBACK 02");
  mesh_settle(&m);
  a->no_acks = true;
  publish(pub, "t", "received", 2, false);
  publish(pub, "t", "sent", 2, false);
  ALL(&m.rig[0], pub, a);
  happened(pub, "PUBREC 00|PUBREC 00|PUBCOMP 00|PUBCOMP 00");
  happened(a, "t=received q2|t=sent q2");
  put(a, &(struct mqtt_packet){.type = MQTT_PUBREC, .id = 1});
  settle(&m.rig[0]);
  lose(a); /* without PUBCOMP; its session ends with it */
  rig_run(&m.rig[0], NS_SEC);
  ALL(&m.rig[1], b);
  happened(b, "t=sent q2|PUBREL 00");
  assert_int_equal(m.rig[0].node->messages.groups.count, 0);
  assert_int_equal(m.rig[1].node->messages.groups.count, 0);
  leave(pub);
  leave(b);
  mesh_stop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_node),  cmocka_unit_test(test_refused),
                                     cmocka_unit_test(test_mesh),      cmocka_unit_test(test_member_ends),
                                     cmocka_unit_test(test_room),      cmocka_unit_test(test_mqtt),
                                     cmocka_unit_test(test_mqtt_ends), cmocka_unit_test(test_exactly_once)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
