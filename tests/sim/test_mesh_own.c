/* What nodes publish themselves: wills of native clients, events of clients for operators; and sessions of MQTT that nodes
 * claim. */
#include "mesh_rig.h"
#include "mqtt_rig.h"
#include "wire/headers.h"

#define HEADERS (RIG_EXT | CAP_HEADERS)

static void start_mesh(struct mesh *m, unsigned count) {
  mesh_start_joined(m, count, &(struct rig_options){.node.limits.mqtt_pool = 32 << 20});
  mesh_settle(m);
}

/* ---- wills -----------------------------------------------------------------------------------------------------------------
 */
struct will {
  const char *topic, *payload;
  int qos;
  bool retain;
};
static struct rig_client *try_with_will(struct rig *r, struct quic_identity *who, struct slice raw) {
  struct rig_client *c = rig_client(r, 0, who);
  rig_opened(c);
  struct msg m = {.type = MSG_CONNECT,
                  .connect = {.version = slice_str("1.0"),
                              .node_id = slice_of(quic_identity_id(c->identity)->b, ID_LEN),
                              .realm_id = slice_str("test"),
                              .caps = HEADERS | CAP_WILL,
                              .instance = slice_of(c->instance, INSTANCE_LEN),
                              .will = raw}};
  rig_send(c, &m);
  return c;
}

static size_t will_of(const struct will *w, uint8_t *buf, size_t cap) {
  static const struct slice header[] = {{(const uint8_t *)"why", 3}, {(const uint8_t *)"gone", 4}};
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_str(w->topic),
                              .payload = slice_str(w->payload),
                              .qos = (uint64_t)w->qos,
                              .exactly_once = w->qos,
                              .retain = w->retain,
                              .headers = {.count = 2, .items = header}}};
  ptrdiff_t n = msg_encode(&m, buf, cap);
  assert_true(n > FRAME_HEADER_LEN);
  memmove(buf, buf + FRAME_HEADER_LEN, (size_t)n - FRAME_HEADER_LEN);
  return (size_t)n - FRAME_HEADER_LEN;
}

static struct rig_client *with_will(struct rig *r, const struct will *w) {
  uint8_t buf[512];
  struct rig_client *c = try_with_will(r, NULL, slice_of(buf, will_of(w, buf, sizeof buf)));
  assert_true(rig_expect(c, MSG_PONG).pong.caps & CAP_WILL);
  return c;
}

static void heard(struct rig_client *c, const char *topic, const char *payload, bool retain) {
  struct msg_publish p = rig_expect(c, MSG_PUBLISH).publish;
  struct slice name, value;
  assert_true(slice_is(p.topic, topic) && slice_is(p.payload, payload) && p.retain == retain);
  assert_true(p.exactly_once == (p.qos == 1));
  assert_true(headers_next(&p.headers, &name, &value) && slice_is(name, "why") && slice_is(value, "gone"));
}

static struct rig_client *listener(struct rig *r, const char *pattern) {
  struct rig_client *c = rig_join(r, 0, NULL, HEADERS);
  assert_int_equal(rig_subscribe(c, pattern), 0);
  return c;
}

static void test_wills(void **state) {
  struct mesh m;
  (void)state;
  start_mesh(&m, 2);
  struct rig_client *near = listener(&m.rig[0], "state.*"), *far = listener(&m.rig[1], "state.*");
  mesh_settle(&m);
  /* it dies */
  rig_kill(with_will(&m.rig[0], &(struct will){"state.a", "dead", 1, true}));
  rig_run(&m.rig[0], 60 * NS_SEC);
  heard(near, "state.a", "dead", true);
  heard(far, "state.a", "dead", true);
  mesh_settle(&m);
  heard(listener(&m.rig[1], "state.a"), "state.a", "dead", true); /* kept */
  /* it says goodbye */
  struct rig_client *c = with_will(&m.rig[0], &(struct will){"state.b", "dead", 0, false});
  rig_send(c, &(struct msg){.type = MSG_DISCONNECT, .disconnect = {.reason = slice_str("normal"), .message = slice_str("")}});
  (void)rig_closed(c);
  /* its node is stopped */
  c = with_will(&m.rig[0], &(struct will){"state.c", "dead", 0, false});
  assert_true(rig_quiet(near, MSG_PUBLISH, 2 * NS_SEC));
  node_drain(m.rig[0].node, sim_net_now(m.rig[0].net));
  assert_int_equal(rig_closed(c), MACULA_SHUTTING_DOWN);
  assert_true(rig_quiet(far, MSG_PUBLISH, 2 * NS_SEC));
  mesh_stop(&m);
}

static void test_wills_refused(void **state) {
  struct rig r;
  uint8_t buf[40000];
  static char text[39000];
  (void)state;
  rig_start(&r, &(struct rig_options){0});
  memset(text, 'x', 30000);
  size_t large = will_of(&(struct will){"a", text, 0, false}, buf, sizeof buf);
  (void)rig_expect(try_with_will(&r, NULL, slice_of(buf, large)), MSG_PONG);
  memset(text, 'x', sizeof text - 1);
  static const struct {
    struct will w;
    int err;
  } cases[] = {{{"a..b", "", 0, false}, MACULA_INVALID_TOPIC},
               {{"a.*", "", 0, false}, MACULA_INVALID_TOPIC},
               {{"a", "", 2, false}, MACULA_UNSUPPORTED_QOS},
               {{"a", text, 0, false}, MACULA_PAYLOAD_TOO_LARGE}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    size_t n = will_of(&cases[i].w, buf, sizeof buf);
    assert_int_equal(rig_closed(try_with_will(&r, NULL, slice_of(buf, n))), cases[i].err);
  }
  assert_int_equal(rig_closed(try_with_will(&r, NULL, slice_of("\x80", 1))), MACULA_EINVAL);
  assert_int_equal(rig_closed(try_with_will(&r, NULL, slice_of("\x05", 1))), MACULA_EINVAL);
  rig_stop(&r);
}

/* What its client may not publish is not published; it is judged when it would be. */
static void test_wills_judged(void **state) {
  struct rig r;
  uint8_t buf[512];
  (void)state;
  rig_start(&r, &(struct rig_options){.access = "grants: {all: {role: client, pub: ['may.**'], sub: ['**']}}\ndefault: all\n"});
  struct rig_client *sub = listener(&r, "**");
  for (int i = 0; i < 2; i++) {
    struct will w = {i ? "may.a" : "must.not", "dead", 1, true};
    struct rig_client *c = try_with_will(&r, NULL, slice_of(buf, will_of(&w, buf, sizeof buf)));
    (void)rig_expect(c, MSG_PONG);
    rig_kill(c);
  }
  rig_run(&r, 60 * NS_SEC);
  heard(sub, "may.a", "dead", true);
  assert_true(rig_quiet(sub, MSG_PUBLISH, NS_SEC));
  assert_int_equal(retained_count(&r.node->messages.retained), 1);
  rig_stop(&r);
}

/* ---- events ----------------------------------------------------------------------------------------------------------------
 */
static void event(struct rig_client *c, const char *topic, const char *part) {
  struct msg_publish p = rig_expect(c, MSG_PUBLISH).publish;
  char text[1024];
  assert_true(slice_is(p.topic, topic) && p.payload.n < sizeof text);
  snprintf(text, sizeof text, "%.*s", (int)p.payload.n, (const char *)p.payload.p);
  if (!strstr(text, part)) fail_msg("no %s in %s", part, text);
}

static void test_events(void **state) {
  struct mesh m;
  (void)state;
  start_mesh(&m, 2);
  /* over loopback, where all is open, who connects is an operator */
  struct rig_client *op = rig_join(&m.rig[0], RIG_LOOPBACK, NULL, HEADERS), *all = listener(&m.rig[0], "**"),
                    *user = rig_join(&m.rig[1], 0, NULL, HEADERS);
  assert_int_equal(rig_subscribe(op, "com.macula.event.client.*"), 0);
  assert_int_equal(rig_subscribe(user, "com.macula.**"), MACULA_NOT_AUTHORIZED);
  assert_int_equal(rig_publish(op, "com.macula.event.client.ended", "lie", 0, false, 1), MACULA_NOT_AUTHORIZED);
  mesh_settle(&m);
  for (int i = 0; i < 2; i++) { /* at both nodes */
    struct rig_client *c = rig_join(&m.rig[i], 0, NULL, HEADERS);
    event(op, "com.macula.event.client.connected", "\"door\":\"quic\"");
    rig_send(c, &(struct msg){.type = MSG_DISCONNECT, .disconnect = {.reason = slice_str("normal"), .message = slice_str("")}});
    (void)rig_closed(c);
    event(op, "com.macula.event.client.ended", "\"reason\":\"goodbye\"");
    c = rig_join(&m.rig[i], 0, NULL, HEADERS);
    event(op, "com.macula.event.client.connected", "\"id\":");
    rig_kill(c);
    rig_run(&m.rig[0], 60 * NS_SEC);
    event(op, "com.macula.event.client.ended", "\"reason\":\"lost\"");
  }
  struct wire *w = plain(&m.rig[1], MQTT_5, "me");
  event(op, "com.macula.event.client.connected", "\"name\":\"me\"");
  leave(w);
  event(op, "com.macula.event.client.ended", "\"door\":\"mqtt\",\"protocol\":\"5.0\"");
  assert_true(rig_quiet(all, MSG_PUBLISH, NS_SEC)); /* a wildcard is not for them */
  mesh_stop(&m);
}

/* ---- claims ----------------------------------------------------------------------------------------------------------------
 */
static const struct connect keep = {.client = "a", .expiry = 1000};

static uint64_t sessions(struct mesh *m, unsigned i) { return rig_metric(&m->rig[i], "table_entries{table=\"mqtt\"}"); }

static void test_claims(void **state) {
  struct mesh m;
  (void)state;
  start_mesh(&m, 2);
  struct rig_client *pub = rig_join(&m.rig[0], 0, NULL, HEADERS);
  struct wire *a = join(&m.rig[0], MQTT_5, &keep, "CONNACK 00"), *other = plain(&m.rig[0], MQTT_5, "other");
  subscribe(a, "t", 1);
  ALL(&m.rig[0], a);
  happened(a, "SUBACK 01");
  lose(a);
  assert_int_equal(mesh_publish(pub, "t", "waits", 1), 0);
  assert_int_equal(sessions(&m, 0), 2);
  /* it connects to the other node: the older session ends, with what waits there */
  a = join(&m.rig[1], MQTT_5, &keep, "CONNACK 00");
  rig_run(&m.rig[0], NS_SEC);
  assert_int_equal(sessions(&m, 0), 1);
  assert_int_equal(rig_metric(&m.rig[0], "mqtt_sessions_claimed_total"), 1);
  /* and while it is connected: it is told */
  struct wire *b = join(&m.rig[0], MQTT_5, &keep, "CONNACK 00");
  rig_run(&m.rig[0], NS_SEC);
  ALL(&m.rig[0], a, b);
  happened(a, "DISCONNECT 8e|(the client has a session at another node)");
  assert_true(a->gone);
  free(a);
  happened(b, "");
  assert_int_equal(sessions(&m, 0), 2);
  assert_int_equal(sessions(&m, 1), 0);
  leave(b);
  leave(other);
  mesh_stop(&m);
}

/* The nodes are apart as it moves: the claim is told when there is a path again. */
static void test_claims_again(void **state) {
  struct mesh m;
  (void)state;
  start_mesh(&m, 2);
  struct wire *a = join(&m.rig[0], MQTT_5, &keep, "CONNACK 00");
  lose(a);
  mesh_cut(&m, 0, 1, true);
  rig_run(&m.rig[0], 60 * NS_SEC);
  a = join(&m.rig[1], MQTT_5, &keep, "CONNACK 00");
  rig_run(&m.rig[0], 10 * NS_SEC);
  assert_int_equal(sessions(&m, 0), 1);
  mesh_cut(&m, 0, 1, false);
  mesh_settle(&m);
  rig_run(&m.rig[0], NS_SEC);
  assert_int_equal(sessions(&m, 0), 0);
  assert_int_equal(sessions(&m, 1), 1);
  drain(a);
  happened(a, "");
  leave(a);
  mesh_stop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_wills),        cmocka_unit_test(test_wills_refused),
                                     cmocka_unit_test(test_wills_judged), cmocka_unit_test(test_events),
                                     cmocka_unit_test(test_claims),       cmocka_unit_test(test_claims_again)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
