/* $SYS for clients of MQTT: figures of the node, in mosquitto's spelling. */
#include "mqtt_rig.h"

/* The value of a topic in what a client was sent; NULL: it was not. */
static const char *value(struct wire *w, const char *topic, char ret[64]) {
  char line[128];
  w->notes[w->note_len] = 0;
  snprintf(line, sizeof line, "$SYS/broker/%s=", topic);
  const char *at = strstr(w->notes, line);
  if (!at) return NULL;
  at += strlen(line);
  snprintf(ret, 64, "%.*s", (int)(strchrnul(at, '|') - at), at);
  return ret;
}
#define VALUE(w, topic, expected)                                                                                              \
  do {                                                                                                                         \
    char text_[64];                                                                                                            \
    const char *is_ = value((w), (topic), text_);                                                                              \
    assert_non_null(is_);                                                                                                      \
    assert_string_equal(is_, expected);                                                                                        \
  } while (0)

static unsigned count(struct wire *w) {
  unsigned n = 0;
  w->notes[w->note_len] = 0;
  for (const char *p = w->notes; (p = strstr(p, "$SYS/broker/")); p++) n++;
  return n;
}
static void forget(struct wire *w) { w->note_len = 0; }

/* A new filter gets all that matches; after that comes what has changed, every 10 s; nothing without such a filter. */
static void test_values(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct wire *a = plain(&r, MQTT_5, "a"), *b = plain(&r, MQTT_3_1_1, "b");
  publish(b, "kept", "x", 1, true);
  ALL(&r, a, b);
  forget(b);
  subscribe(a, "#", 0);
  subscribe(b, "+/broker/version", 0);
  ALL(&r, a, b);
  forget(a), forget(b);
  rig_run(&r, 11 * NS_SEC);
  ALL(&r, a, b);
  happened(a, ""); /* no wildcard at the begin matches $ */
  happened(b, "");
  subscribe(a, "$SYS/#", 1);
  ALL(&r, a);
  assert_true(strncmp(a->notes, "SUBACK 01|", 10) == 0);
  assert_int_equal(count(a), 50);
  VALUE(a, "version", "macula version 0.1.0 q0 retain");
  VALUE(a, "retained messages/count", "1 q0 retain");
  VALUE(a, "clients/connected", "2 q0 retain");
  VALUE(a, "clients/maximum", "2 q0 retain");
  VALUE(a, "publish/messages/received", "1 q0 retain");
  VALUE(a, "subscriptions/count", "3 q0 retain");
  VALUE(a, "load/publish/received/15min", "0.07 q0 retain");
  forget(a);
  rig_run(&r, 5 * NS_SEC);
  ALL(&r, a);
  happened(a, "");
  rig_run(&r, 6 * NS_SEC);
  ALL(&r, a);
  VALUE(a, "uptime", "21 seconds q0");
  assert_true(count(a) < 40);
  char text[64];
  assert_null(value(a, "version", text));
  assert_null(value(a, "retained messages/count", text));
  forget(a);
  leave(b);
  subscribe(a, "$SYS/broker/clients/+", 1); /* the same again: retained once more, as Retain Handling says */
  subscribe_as(a, "$SYS/broker/uptime", 0, 0, 2, false);
  ALL(&r, a);
  assert_int_equal(count(a), 7);
  forget(a);
  rig_run(&r, 11 * NS_SEC);
  ALL(&r, a);
  VALUE(a, "clients/connected", "1 q0");
  unsubscribe(a, "$SYS/#");
  unsubscribe(a, "$SYS/broker/uptime");
  unsubscribe(a, "$SYS/broker/clients/+");
  ALL(&r, a);
  forget(a);
  rig_run(&r, 30 * NS_SEC);
  ALL(&r, a);
  happened(a, "");
  leave(a);
  rig_stop(&r);
}

/* Nobody publishes there, by any door; who may not read it is refused. */
static void test_forbidden(void **state) {
  static const char few[] = "grants:\n"
                            "  few: {role: client, pub: ['a.**', '$SYS.**'], sub: ['a.**']}\n"
                            "  all: {role: client, pub: ['**'], sub: ['**']}\n"
                            "anonymous: few\n"
                            "default: all\n";
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct wire *a = plain(&r, MQTT_5, "a");
  struct rig_client *native = rig_join(&r, 0, NULL, RIG_EXT);
  subscribe(a, "$SYS/broker/x", 0);
  publish(a, "$SYS/broker/x", "mine", 1, true);
  publish(a, "$SYS", "mine", 1, false);
  publish(a, "$SYSTEM", "mine", 1, false);
  ALL(&r, a);
  happened(a, "SUBACK 00|PUBACK 87|(forbidden: topics under $SYS are the node's own: nobody publishes them)|"
              "PUBACK 87|(forbidden: topics under $SYS are the node's own: nobody publishes them)|PUBACK 00");
  assert_int_equal(rig_publish(native, "$SYS.broker.x", "mine", 1, true, 1), MACULA_FORBIDDEN);
  ALL(&r, a);
  happened(a, "");
  leave(a);
  rig_stop(&r);

  start(&r, &(struct rig_options){.access = few});
  a = plain(&r, MQTT_5, "a");
  subscribe(a, "$SYS/#", 0);
  ALL(&r, a);
  assert_true(strncmp(a->notes, "SUBACK 87", 9) == 0);
  forget(a);
  rig_run(&r, 11 * NS_SEC);
  ALL(&r, a);
  happened(a, "");
  leave(a);
  rig_stop(&r);
}

/* One that is away, or reads nothing, is told of the latest values later; one whose session goes on has its filter still. */
static void test_away(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct wire *a = join(&r, MQTT_5, &(struct connect){.client = "a", .clean = true, .expiry = 600}, "CONNACK 00");
  struct wire *b = plain(&r, MQTT_5, "b");
  subscribe(a, "$SYS/broker/#", 1);
  subscribe(b, "$SYS/broker/clients/#", 1);
  ALL(&r, a, b);
  lose(a);
  forget(b);
  rig_run(&r, 11 * NS_SEC);
  ALL(&r, b);
  VALUE(b, "clients/disconnected", "1 q0");
  VALUE(b, "clients/connected", "1 q0");
  a = join(&r, MQTT_5, &(struct connect){.client = "a", .expiry = 600}, "CONNACK 00 present");
  rig_run(&r, 11 * NS_SEC);
  ALL(&r, a, b);
  VALUE(a, "clients/connected", "2 q0");
  char text[64];
  assert_null(value(a, "version", text)); /* it has not changed */
  b->room = b->out_len;                   /* reads nothing: what comes meanwhile is one value a topic, later */
  forget(b);
  for (int i = 0; i < 30; i++) {
    struct wire *c = plain(&r, MQTT_5, "c");
    rig_run(&r, 11 * NS_SEC);
    leave(c);
    rig_run(&r, 11 * NS_SEC);
    drain(a);
    forget(a);
  }
  b->room = ROOM;
  b->short_once = false;
  b->owner.room(b->owner.ctx, &b->s, sim_net_now(r.net));
  ALL(&r, a, b);
  rig_run(&r, 11 * NS_SEC);
  ALL(&r, a, b);
  assert_true(count(b) < 20);
  leave(a);
  leave(b);
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_forbidden),
                                     cmocka_unit_test(test_away)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
