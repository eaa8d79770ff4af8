/* Headers and time to live: across nodes, to native clients and to those of MQTT, live and retained; never to base-only ones.
 */
#include "mesh_rig.h"
#include "mqtt_rig.h"
#include "wire/headers.h"

#define HEADERS (RIG_EXT | CAP_HEADERS)
#define SHORT (RIG_EXT | CAP_ORIGIN | CAP_TOPICS | CAP_HEADERS)

static void start_mesh(struct mesh *m, unsigned count) {
  mesh_start_joined(m, count, &(struct rig_options){.node.limits.mqtt_pool = 32 << 20});
  mesh_settle(m);
}

struct say {
  const char *topic, *payload;
  const char *header[8]; /* names and values, up to NULL */
  uint64_t expires_ms;
  bool retain;
  int qos;
};
static void say(struct rig_client *c, const struct say *s, int err) {
  static uint8_t number;
  uint8_t id[CALL_ID_LEN] = {++number};
  struct slice items[8];
  uint32_t n = 0;
  for (; n < 8 && s->header[n]; n++) items[n] = slice_str(s->header[n]);
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_str(s->topic),
                              .payload = slice_str(s->payload),
                              .qos = (uint64_t)s->qos,
                              .retain = s->retain,
                              .message_id = slice_of(id, sizeof id),
                              .headers = {.count = n, .items = items},
                              .expires_ms = s->expires_ms,
                              .has_ref = true}};
  rig_send(c, &m);
  struct msg_ack a = rig_expect(c, MSG_ACK).ack;
  assert_int_equal(a.code.n ? err_from_name((const char *)a.code.p, a.code.n) : 0, err);
}

/* "name=value;" for each, and " left" if it has a time to live of at most so many ms. */
static void heard(struct rig_client *c, const char *payload, const char *headers, uint64_t most_ms) {
  struct msg_publish p = rig_expect(c, MSG_PUBLISH).publish;
  struct slice name, value;
  char text[512] = "";
  assert_true(slice_is(p.payload, payload));
  for (size_t n = 0; headers_next(&p.headers, &name, &value);)
    n += (size_t)snprintf(text + n, sizeof text - n, "%.*s=%.*s;", (int)name.n, (const char *)name.p, (int)value.n,
                          (const char *)value.p);
  assert_string_equal(text, headers);
  assert_true(most_ms ? p.expires_ms && p.expires_ms <= most_ms : !p.expires_ms);
}

static struct rig_client *listener(struct rig *r, uint32_t caps, const char *pattern) {
  struct rig_client *c = rig_join(r, caps == RIG_BASE ? RIG_NO_CERT : 0, NULL, caps);
  struct slice topic = slice_str(pattern);
  if (caps == RIG_BASE)
    rig_send(c, &(struct msg){.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &topic}}});
  else
    assert_int_equal(rig_subscribe(c, pattern), 0);
  return c;
}

static void test_native(void **state) {
  struct mesh m;
  (void)state;
  start_mesh(&m, 2);
  struct rig_client *pub = rig_join(&m.rig[0], 0, NULL, HEADERS), *sub[10];
  for (int i = 0; i < 2; i++) {
    sub[i] = listener(&m.rig[i], HEADERS, "t.*");
    sub[2 + i] = listener(&m.rig[i], SHORT, "t.*");
    sub[4 + i] = listener(&m.rig[i], RIG_EXT, "t.*"); /* does not know them */
    sub[6 + i] = listener(&m.rig[i], RIG_EXT | CAP_ORIGIN | CAP_TOPICS, "t.*");
  }
  mesh_settle(&m);
  for (int qos = 0; qos < 2; qos++) {
    say(pub, &(struct say){"t.x", "1", {"b", "2", "a", "", "b", "3"}, 5000, .qos = qos}, 0);
    for (int i = 0; i < 8; i++) heard(sub[i], "1", i < 4 ? "b=2;a=;b=3;" : "", i < 4 ? 5000 : 0);
    say(pub, &(struct say){"t.x", "2", .qos = qos}, 0);
    for (int i = 0; i < 8; i++) heard(sub[i], "2", "", 0);
  }
  say(pub, &(struct say){"t.x", "3", {"\xff", ""}}, MACULA_EINVAL);
  assert_true(rig_quiet(sub[0], MSG_PUBLISH, NS_SEC));
  mesh_stop(&m);
}

static void test_base_only(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 2, &(struct rig_options){.node.allow_unverified = true});
  mesh_settle(&m);
  struct rig_client *pub = rig_join(&m.rig[0], 0, NULL, HEADERS), *base = listener(&m.rig[1], RIG_BASE, "t.*");
  mesh_settle(&m);
  say(pub, &(struct say){"t.x", "1", {"a", "1"}, 5000, .retain = true}, 0);
  heard(base, "1", "", 0);
  heard(listener(&m.rig[1], RIG_BASE, "t.*"), "1", "", 0);
  mesh_stop(&m);
}

/* Kept with headers and what is left of its time, told so at this node and at another one, and gone when that is over. */
static void test_retained(void **state) {
  struct mesh m;
  (void)state;
  start_mesh(&m, 2);
  struct rig_client *pub = rig_join(&m.rig[0], 0, NULL, HEADERS);
  say(pub, &(struct say){"t.x", "1", {"a", "1"}, 60000, .retain = true}, 0);
  say(pub, &(struct say){"t.y", "2", {"a", "2"}, .retain = true}, 0);
  mesh_settle(&m);
  rig_run(&m.rig[0], 20 * NS_SEC);
  for (int i = 0; i < 2; i++) {
    heard(listener(&m.rig[i], HEADERS, "t.x"), "1", "a=1;", 40000);
    heard(listener(&m.rig[i], HEADERS, "t.y"), "2", "a=2;", 0);
  }
  say(pub, &(struct say){"t.y", "3", {"b", "3"}, 30000, .retain = true}, 0);
  mesh_settle(&m);
  heard(listener(&m.rig[1], HEADERS, "t.y"), "3", "b=3;", 30000);
  rig_run(&m.rig[0], 41 * NS_SEC);
  assert_int_equal(retained_count(&m.rig[0].node->messages.retained), 0);
  for (int i = 0; i < 2; i++) assert_true(rig_quiet(listener(&m.rig[i], HEADERS, "t.*"), MSG_PUBLISH, NS_SEC));
  mesh_stop(&m);
}

/* What waits for a reader that stands still is not sent when its time is over; what has more time is. */
#define MANY 1500u
static void test_expired(void **state) {
  struct rig r;
  char text[2000];
  (void)state;
  rig_start(&r, &(struct rig_options){.node.limits.client_queue = 8 << 20});
  struct rig_client *pub = rig_join(&r, 0, NULL, HEADERS), *sub = listener(&r, HEADERS, "t");
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = 0;
  rig_stop_reading(sub);
  for (unsigned i = 0; i < MANY; i++) say(pub, &(struct say){"t", text, .expires_ms = 3000}, 0);
  say(pub, &(struct say){"t", "last", .expires_ms = 60000}, 0);
  rig_run(&r, 4 * NS_SEC);
  rig_read_on(sub);
  struct msg_publish p;
  unsigned n = 0;
  do p = rig_expect(sub, MSG_PUBLISH).publish, n++;
  while (p.payload.n > 10);
  assert_true(slice_is(p.payload, "last"));
  assert_true(n < MANY);
  assert_int_equal(rig_metric(&r, "messages_expired_total"), MANY + 1 - n);
  rig_stop(&r);
}

/* ---- MQTT ------------------------------------------------------------------------------------------------------------------
 */
static void put_request(struct wire *w, const char *topic, uint32_t expiry) {
  static const char *const user[][2] = {{"b", "2"}, {"a", ""}, {"b", "3"}, {"macula.reply-to", "mine"}};
  uint8_t buf[256];
  size_t n = 0;
  for (int i = 0; i < 4; i++)
    assert_int_equal(mqtt_put_user(buf, sizeof buf, &n, slice_str(user[i][0]), slice_str(user[i][1])), 0);
  struct mqtt_packet p = {.type = MQTT_PUBLISH,
                          .publish = {.topic = slice_str(topic), .payload = slice_str("?")},
                          .props = {.has = MQTT_HAS(USER_PROPERTY) | MQTT_HAS(CONTENT_TYPE) | MQTT_HAS(RESPONSE_TOPIC) |
                                           MQTT_HAS(CORRELATION_DATA) | MQTT_HAS(PAYLOAD_FORMAT),
                                    .content_type = slice_str("text/plain"),
                                    .response_topic = slice_str("answers/v1.2/me"),
                                    .correlation_data = slice_of("\0\xff", 2),
                                    .payload_format = 1,
                                    .raw = slice_of(buf, n)}};
  if (expiry) p.props.has |= MQTT_HAS(MESSAGE_EXPIRY);
  p.props.message_expiry = expiry;
  put(w, &p);
}

static void test_mqtt(void **state) {
  struct mesh m;
  (void)state;
  start_mesh(&m, 2);
  struct wire *a = plain(&m.rig[0], MQTT_5, "a"), *b = plain(&m.rig[1], MQTT_5, "b"),
              *old = plain(&m.rig[1], MQTT_3_1_1, "old");
  struct rig_client *native = listener(&m.rig[1], HEADERS, "ask");
  subscribe(b, "ask", 0);
  subscribe(old, "ask", 0);
  ALL(&m.rig[0], a, b, old);
  mesh_settle(&m);
  happened(b, "SUBACK 00");
  happened(old, "SUBACK 00");
  b->props = true;
  put_request(a, "ask", 100);
  rig_run(&m.rig[0], NS_SEC);
  ALL(&m.rig[0], a, b, old);
  happened(
      b,
      "ask=? q0|format 1|expiry 100|type text/plain|answer answers/v1.2/me|correlation 00ff|b=2|a=|b=3|macula.reply-to=mine");
  happened(old, "ask=? q0");
  struct msg_publish p = rig_expect(native, MSG_PUBLISH).publish;
  struct slice name, value;
  static const char *const expected[] = {"macula.utf8",
                                         "1",
                                         "macula.content-type",
                                         "text/plain",
                                         "macula.reply-to",
                                         "answers.v1%2E2.me",
                                         "macula.correlation",
                                         NULL,
                                         "b",
                                         "2",
                                         "a",
                                         "",
                                         "b",
                                         "3",
                                         "macula.user.macula.reply-to",
                                         "mine"};
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i += 2) {
    assert_true(headers_next(&p.headers, &name, &value));
    assert_true(slice_is(name, expected[i]));
    assert_true(expected[i + 1] ? slice_is(value, expected[i + 1]) : slice_eq(value, slice_of("\0\xff", 2)));
  }
  assert_true(p.expires_ms && p.expires_ms <= 100000);
  /* the other way; what MQTT cannot say is left out, and counted */
  struct rig_client *pub = rig_join(&m.rig[0], 0, NULL, HEADERS);
  say(pub,
      &(struct say){"ask", "!", {"macula.reply-to", "a.b", "bytes", "\xff", "macula.other", "x", "macula.utf8", "yes"}, 1500},
      0);
  rig_run(&m.rig[0], NS_SEC);
  ALL(&m.rig[0], b);
  happened(b, "ask=! q0|expiry 2|answer a/b|macula.other=x");
  assert_int_equal(rig_metric(&m.rig[1], "mqtt_headers_left_out_total"), 2);
  leave(a);
  leave(b);
  leave(old);
  mesh_stop(&m);
}

/* A retained one keeps them, too, and ends; so does one that waits for a client that is away. */
static void test_mqtt_kept(void **state) {
  struct mesh m;
  (void)state;
  start_mesh(&m, 2);
  struct rig_client *pub = rig_join(&m.rig[0], 0, NULL, HEADERS);
  const struct connect keep = {.client = "b", .expiry = 1000};
  struct wire *b = join(&m.rig[1], MQTT_5, &keep, "CONNACK 00");
  subscribe(b, "t/#", 1);
  ALL(&m.rig[1], b);
  happened(b, "SUBACK 01");
  mesh_settle(&m);
  say(pub, &(struct say){"t.kept", "1", {"a", "1"}, 50000, .retain = true}, 0);
  rig_run(&m.rig[0], NS_SEC);
  b->props = true;
  ALL(&m.rig[1], b);
  happened(b, "t/kept=1 q0|expiry 50|a=1");
  lose(b);
  say(pub, &(struct say){"t.short", "2", {"a", "2"}, 5000, .qos = 1}, 0);
  say(pub, &(struct say){"t.long", "3", {"a", "3"}, 60000, .qos = 1}, 0);
  rig_run(&m.rig[0], 10 * NS_SEC);
  b = wire_new(&m.rig[1], MQTT_5);
  b->props = true;
  say_connect(b, &keep);
  ALL(&m.rig[1], b);
  happened(b, "CONNACK 00 present|t/long=3 q1|expiry 50|a=3");
  unsubscribe(b, "t/#");
  subscribe(b, "t/#", 1);
  rig_run(&m.rig[0], NS_SEC);
  ALL(&m.rig[1], b);
  happened(b, "UNSUBACK 00|SUBACK 01|t/kept=1 q0 retain|expiry 39|a=1");
  leave(b);
  mesh_stop(&m);
}

/* QoS 2 of MQTT at one node is QoS 2 at the other, live, retained, and as a member of a group. */
static void test_exactly_once(void **state) {
  struct mesh m;
  (void)state;
  start_mesh(&m, 2);
  struct wire *a = plain(&m.rig[0], MQTT_5, "a"), *to[3];
  struct rig_client *native = listener(&m.rig[1], HEADERS, "t"), *brief = listener(&m.rig[1], SHORT, "t"),
                    *without = listener(&m.rig[1], RIG_EXT, "t");
  for (uint8_t q = 0; q < 3; q++) {
    to[q] = plain(&m.rig[1], q ? MQTT_5 : MQTT_3_1_1, (const char *[]){"0", "1", "2"}[q]);
    subscribe(to[q], "t", q);
  }
  subscribe(to[2], "$share/g/member", 2);
  ALL(&m.rig[1], to[0], to[1], to[2]);
  happened(to[0], "SUBACK 00");
  happened(to[1], "SUBACK 01");
  happened(to[2], "SUBACK 02|SUBACK 02");
  mesh_settle(&m);
  for (uint8_t q = 1; q < 3; q++) {
    publish(a, "t", "x", q, true);
    rig_run(&m.rig[0], NS_SEC);
    ALL(&m.rig[1], a, to[0], to[1], to[2]);
    happened(a, q == 1 ? "PUBACK 00" : "PUBREC 00|PUBCOMP 00");
    happened(to[0], "t=x q0");
    happened(to[1], "t=x q1");
    happened(to[2], q == 1 ? "t=x q1" : "t=x q2|PUBREL 00");
    assert_int_equal(rig_expect(native, MSG_PUBLISH).publish.exactly_once, q == 2);
    assert_int_equal(rig_expect(brief, MSG_PUBLISH).publish.exactly_once, q == 2);
    assert_false(rig_expect(without, MSG_PUBLISH).publish.exactly_once);
  }
  publish(a, "member", "y", 2, false);
  rig_run(&m.rig[0], NS_SEC);
  ALL(&m.rig[1], a, to[2]);
  happened(to[2], "member=y q2|PUBREL 00");
  struct wire *late = plain(&m.rig[1], MQTT_5, "late");
  subscribe(late, "t", 2);
  rig_run(&m.rig[0], NS_SEC);
  ALL(&m.rig[1], late);
  happened(late, "SUBACK 02|t=x q2 retain|PUBREL 00");
  leave(a);
  leave(late);
  for (int q = 0; q < 3; q++) leave(to[q]);
  mesh_stop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_native),      cmocka_unit_test(test_base_only),
                                     cmocka_unit_test(test_retained),    cmocka_unit_test(test_expired),
                                     cmocka_unit_test(test_mqtt),        cmocka_unit_test(test_mqtt_kept),
                                     cmocka_unit_test(test_exactly_once)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
