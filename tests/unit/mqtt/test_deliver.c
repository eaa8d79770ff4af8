/* What clients of MQTT get: messages with each QoS, again after a connection's end, from a queue, within what the client
 * allows. */
#include "unit/mqtt/rig.h"

#define START                                                                                                                  \
  struct rig *r = rig_new();                                                                                                   \
  struct client *a = &r->clients[0];                                                                                           \
  (void)state
#define END rig_free(r)

static struct mqtt_session *with_session(struct rig *r, struct client *c, const char *body) {
  r->quiet = true;
  c->level = body[1] == '5' ? MQTT_5 : MQTT_3_1_1;
  connect_as(c, body);
  r->quiet = false;
  return c->session;
}

/* [MQTT-2.2.1-4], [MQTT-3.3.1-2], [MQTT-3.3.1-3], [MQTT-3.3.4-9], [MQTT-3.3.4-10], [MQTT-4.3.1-1], [MQTT-4.3.2-1] to
 * [MQTT-4.3.2-3], [MQTT-4.3.3-1] to [MQTT-4.3.3-6], [MQTT-4.4.0-2], [MQTT-4.9.0-1] to [MQTT-4.9.0-3] */
static void test_flows(void **state) {
  START;
  struct mqtt_session *s = with_session(r, a, "05 00 0000 {11 00000064 21 0003} <me>");
  assert_int_equal(deliver(r, s, "a/b", "0", 0, 0), 0);
  assert_int_equal(deliver(r, s, "a/b", "1", 1, 1), 0);
  assert_int_equal(deliver(r, s, "a/b", "2", 2, 2), 0);
  assert_int_equal(deliver(r, s, "a/b", "3", 2, 3), 0);
  HAPPENED(r, "A< publish a/b '0'\nA< publish q1 #1 a/b '1'\nA< publish q2 #2 a/b '2'\nA< publish q2 #3 a/b '3'");
  assert_int_equal(deliver(r, s, "a/b", "4", 1, 4), MACULA_EFULL); /* Receive Maximum is 3 */
  assert_int_equal(deliver(r, s, "a/b", "5", 0, 0), 0);
  bytes(a, "c0 00");
  HAPPENED(r, "A< publish a/b '5'\nA< pingresp");
  say(a, 0x50, "0002"); /* PUBREC makes no room, PUBCOMP does */
  HAPPENED(r, "A has 2 0x00\nA< pubrel #2");
  say(a, 0x50, "0002");
  HAPPENED(r, "A< pubrel #2");
  say(a, 0x70, "0002");
  HAPPENED(r, "A has room");
  assert_int_equal(deliver(r, s, "a/b", "4", 1, 4), 0);
  HAPPENED(r, "A< publish q1 #4 a/b '4'"); /* the longest unused identifier */
  assert_int_equal(deliver(r, s, "a/b", "5", 1, 5), MACULA_EFULL);
  say(a, 0x50, "0003 97"); /* an error ends it, and makes room */
  HAPPENED(r, "A has 3 0x97\nA has room");
  say(a, 0x40, "0001 10");
  HAPPENED(r, "A has 1 0x10");
  say(a, 0x40, "0001"); /* what is unknown or late */
  say(a, 0x70, "0009");
  HAPPENED(r, "");
  say(a, 0x50, "0009");
  HAPPENED(r, "A< pubrel #9 0x92");
  assert_int_equal(mqtt_session_view(s).inflight, 1);
  say(a, 0x50, "0004");
  HAPPENED(r, "A< disconnect 0x82 (an acknowledgement of the wrong kind for this message's QoS)\n"
              "A closed 0x82 an acknowledgement of the wrong kind for this message's QoS");
  END;
}

/* [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-4.3.3-6], [MQTT-4.6.0-5], [MQTT-4.6.0-6], [MQTT-4.5.0-1] */
static void test_again(void **state) {
  START;
  struct mqtt_session *s = with_session(r, a, KEPT);
  for (unsigned i = 1; i <= 4; i++) assert_int_equal(deliver(r, s, "t", (char[]){(char)('0' + i), 0}, i == 1 ? 1 : 2, i), 0);
  say(a, 0x50, "0003");
  HAPPENED(r, "A< publish q1 #1 t '1'\nA< publish q2 #2 t '2'\nA< publish q2 #3 t '3'\nA< publish q2 #4 t '4'\n"
              "A has 3 0x00\nA< pubrel #3");
  mqtt_conn_lost(a->conn, r->now);
  assert_int_equal(deliver(r, s, "t", "0", 0, 0), 0); /* nobody is there */
  assert_int_equal(deliver(r, s, "t", "5", 1, 5), 0);
  assert_int_equal(deliver(r, s, "t", "6", 2, 6), 0);
  HAPPENED(r, "");
  connect_as(a, KEPT);
  HAPPENED(r,
           "A< connack 0x00 present receive=4 size=100000 aliases=3\nA< publish q1 #1 t dup '1'\nA< publish q2 #2 t dup '2'\n"
           "A< pubrel #3\nA< publish q2 #4 t dup '4'\nA< publish q1 #5 t '5'");
  assert_int_equal(deliver(r, s, "t", "7", 1, 7), MACULA_EFULL); /* behind what waits */
  say(a, 0x40, "0001");
  HAPPENED(r, "A has 1 0x00\nA< publish q2 #1 t '6'");
  say(a, 0x70, "0003");
  HAPPENED(r, "A has room");
  assert_int_equal(deliver(r, s, "t", "7", 1, 7), 0);
  HAPPENED(r, "A< publish q1 #3 t '7'");
  /* a client that takes less than before: the rest as it acknowledges */
  connect_as(a, "05 00 0000 {11 00000064 21 0001} <me>");
  HAPPENED(r, "A< connack 0x00 present receive=4 size=100000 aliases=3\nA< publish q2 #2 t dup '2'");
  say(a, 0x40, "0005"); /* of the connection before; it makes no room here */
  HAPPENED(r, "A has 5 0x00");
  say(a, 0x50, "0004");
  HAPPENED(r, "A has 4 0x00\nA< pubrel #4");
  say(a, 0x50, "0002");
  say(a, 0x70, "0002");
  HAPPENED(r, "A has 2 0x00\nA< pubrel #2\nA< publish q2 #1 t dup '6'");
  say(a, 0x70, "0004");
  say(a, 0x50, "0001 80");
  HAPPENED(r, "A has 6 0x80\nA< publish q1 #3 t dup '7'");
  say(a, 0x40, "0003");
  HAPPENED(r, "A has 7 0x00");
  assert_int_equal(mqtt_session_view(s).inflight, 0);
  assert_int_equal(r->messages.bytes, 0);
  END;
}

/* Queues of clients that are not there: bounded, and what goes is counted. */
static void test_queue(void **state) {
  START;
  struct mqtt_session *s = with_session(r, a, KEPT);
  mqtt_conn_lost(a->conn, r->now);
  for (unsigned i = 1; i <= 10; i++) assert_int_equal(deliver(r, s, "t", "x", 1, i), 0);
  assert_int_equal(deliver(r, s, "t", "x", 1, 11), MACULA_SLOW_CONSUMER);
  HAPPENED(r, "");
  r->cfg.drops_oldest = true;
  mqtt_sessions_set_config(r->table, &r->cfg);
  assert_int_equal(deliver(r, s, "t", "x", 1, 11), 0);
  HAPPENED(r, "A has 1 0x97");
  static char big[9900];
  memset(big, 'x', sizeof big - 1);
  assert_int_equal(deliver(r, s, "t", big, 2, 12), 0); /* bytes count, too */
  HAPPENED(r, "A has 2 0x97\nA has 3 0x97\nA has 4 0x97\nA has 5 0x97\nA has 6 0x97\nA has 7 0x97\nA has 8 0x97\nA has 9 0x97");
  struct mqtt_view v = mqtt_session_view(s);
  assert_true(v.queued == 3 && v.dropped == 10 && !v.connected && v.ends == r->now + 100 * S);
  assert_int_equal(mqtt_sessions_stats(r->table)->queue_dropped, 10);
  struct client *b = &r->clients[1];
  struct mqtt_session *t = with_session(r, b, "05 00 0000 {11 00000064} <you>");
  mqtt_conn_lost(b->conn, r->now);
  assert_int_equal(deliver(r, t, "t", big, 1, 1), MACULA_SLOW_CONSUMER); /* of all together: 15,000 */
  assert_int_equal(deliver(r, t, "t", "x", 1, 2), 0);
  connect_as(a, KEPT);
  HAPPENED(r, "A< connack 0x00 present receive=4 size=100000 aliases=3\nA< publish q1 #1 t 'x'\nA< publish q1 #2 t 'x'\n"
              "A< publish q2 #3 t 'xxxxxxxxxxxxxxxxxxxx'");
  assert_int_equal(r->queue.blocks, 1);
  END;
}

/* [MQTT-3.3.2-5], [MQTT-3.3.2-6], [MQTT-4.3.3-7] */
static void test_expiry(void **state) {
  START;
  struct mqtt_session *s = with_session(r, a, KEPT);
  struct mqtt_message *m = message(r, "t", "x", 10);
  struct mqtt_to to = {.message = m, .qos = 2, .ref = 1};
  r->now += 3 * S + 1;
  assert_int_equal(mqtt_deliver(s, &to, r->now), 0);
  HAPPENED(r, "A< publish q2 #1 t 'x' left=7");
  mqtt_conn_lost(a->conn, r->now);
  assert_int_equal(mqtt_deliver(s, &to, r->now), 0);
  r->now += 7 * S;
  connect_as(a, KEPT); /* what was sent once goes on, what was not has expired */
  HAPPENED(r, "A< connack 0x00 present receive=4 size=100000 aliases=3\nA< publish q2 #1 t dup 'x' left=0\nA has 1 0x80");
  assert_int_equal(mqtt_deliver(s, &to, r->now), 0);
  HAPPENED(r, "A has 1 0x80");
  assert_int_equal(mqtt_sessions_stats(r->table)->expired, 2);
  mqtt_message_unref(m);
  END;
}

/* [MQTT-3.1.2-24], [MQTT-3.1.2-25] */
static void test_too_large(void **state) {
  START;
  struct mqtt_session *s = with_session(r, a, "05 00 0000 {11 00000064 27 00000014} <me>");
  assert_int_equal(deliver(r, s, "t", "123456789012345", 1, 1), 0);
  assert_int_equal(deliver(r, s, "t", "123456789012345", 0, 0), 0);
  assert_int_equal(deliver(r, s, "t", "12345678901", 1, 2), 0);
  assert_int_equal(deliver(r, s, "t", "12345678901234", 0, 0), 0); /* 2 + 3 + 1 + 14 */
  HAPPENED(r, "A has 1 0x95\nA< publish q1 #1 t '12345678901'\nA< publish t '12345678901234'");
  mqtt_conn_lost(a->conn, r->now);
  assert_int_equal(deliver(r, s, "t", "12345678901", 1, 3), 0);
  connect_as(a, "05 00 0000 {11 00000064 27 00000012} <me>"); /* and takes less now */
  HAPPENED(r, "A< connack 0x00 present receive=4 size=100000 aliases=3\nA has 2 0x95\nA has 3 0x95");
  assert_int_equal(mqtt_sessions_stats(r->table)->too_large, 4);
  END;
}

/* [MQTT-3.1.2-26], [MQTT-3.1.2-27], [MQTT-3.3.2-11]; 3.3.2.3.4 */
static void test_aliases(void **state) {
  START;
  struct mqtt_session *s = with_session(r, a, "05 00 0000 {11 00000064 22 000a} <me>"); /* 10; we use 2 */
  for (int i = 0; i < 2; i++)
    for (unsigned k = 0; k < 3; k++) assert_int_equal(deliver(r, s, (const char *[]){"a", "b", "c"}[k], "", 0, 0), 0);
  HAPPENED(r, "A< publish a '' alias=1\nA< publish b '' alias=2\nA< publish c ''\n"
              "A< publish  '' alias=1\nA< publish  '' alias=2\nA< publish c ''");
  r->quiet = true;
  for (unsigned i = 0; i < MQTT_ALIAS_IDLE; i++) assert_int_equal(deliver(r, s, "b", "", 0, 0), 0);
  r->quiet = false;
  assert_int_equal(deliver(r, s, "c", "", 0, 0), 0); /* a was idle */
  assert_int_equal(deliver(r, s, "a", "", 1, 0), 0);
  assert_int_equal(deliver(r, s, "c", "", 1, 0), 0);
  HAPPENED(r, "A< publish c '' alias=1\nA< publish q1 #1 a ''\nA< publish q1 #2  '' alias=1");
  connect_as(a, "05 00 0000 {11 00000064 22 0001} <me>"); /* anew on each connection */
  HAPPENED(r, "A< connack 0x00 present receive=4 size=100000 aliases=3\n"
              "A< publish q1 #1 a dup '' alias=1\nA< publish q1 #2 c dup ''");
  END;
}

/* [MQTT-3.3.1-12], [MQTT-3.3.2-4], [MQTT-3.3.2-15] to [MQTT-3.3.2-20], [MQTT-3.3.4-3], [MQTT-3.3.4-4] */
static void test_properties(void **state) {
  START;
  struct mqtt_session *s = with_session(r, a, KEPT);
  static const uint32_t ids[] = {1, 268435455, 7};
  uint8_t buf[256];
  struct mqtt_packet p;
  struct mqtt_fault fault;
  static const char publish[] = "<t> {26 <b> <2> 01 01 03 <text> 08 <re/ply> 09 <data> 26 <a> <1> 23 0001 02 00000005} 'x'";
  assert_int_equal(mqtt_decode(packet_of(0x30, publish, buf), MQTT_5, MQTT_FROM_CLIENT, &p, &fault), 0);
  struct mqtt_message *m = mqtt_message_new(&r->messages, p.publish.topic, p.publish.payload, &p.props, r->now);
  struct mqtt_to to = {.message = m, .ids = ids, .id_count = 3, .qos = 1, .retain = true};
  assert_int_equal(mqtt_deliver(s, &to, r->now), 0);
  HAPPENED(r, "A< publish q1 #1 t retain 'x' left=5 type=text response=re/ply correlation=data format=1 b:2 a:1"
              " sub=1 sub=268435455 sub=7");
  mqtt_conn_lost(a->conn, r->now); /* all of it again */
  to.id_count = 1;
  assert_int_equal(mqtt_deliver(s, &to, r->now), 0);
  connect_as(a, KEPT);
  HAPPENED(r, "A< connack 0x00 present receive=4 size=100000 aliases=3\n"
              "A< publish q1 #1 t dup retain 'x' left=5 type=text response=re/ply correlation=data format=1 b:2 a:1"
              " sub=1 sub=268435455 sub=7\n"
              "A< publish q1 #2 t retain 'x' left=5 type=text response=re/ply correlation=data format=1 b:2 a:1 sub=1");
  s = with_session(r, a, CLEAN4);
  assert_int_equal(mqtt_deliver(s, &to, r->now), 0); /* 3.1.1 has none of them */
  HAPPENED(r, "A< publish q1 #1 t retain 'x'");
  mqtt_message_unref(m);
  END;
}

/* A head that is longer than what is built at once. */
static void test_long_head(void **state) {
  START;
  struct mqtt_session *s = with_session(r, a, KEPT);
  static uint8_t raw[3000];
  static uint32_t ids[300];
  static char value[1000];
  struct mqtt_props props = {.has = MQTT_HAS(USER_PROPERTY)};
  size_t len = 0;
  for (unsigned i = 0; i < 300; i++) ids[i] = i + 1;
  memset(value, 'v', sizeof value - 1);
  for (int i = 0; i < 2; i++) assert_int_equal(mqtt_put_user(raw, sizeof raw, &len, slice_str("k"), slice_str(value)), 0);
  props.raw = slice_of(raw, len);
  struct mqtt_message *m = mqtt_message_new(&r->messages, slice_str("t"), slice_str("x"), &props, r->now);
  r->quiet = true; /* that what was sent is one packet the rig has seen */
  uint64_t before = r->packets;
  assert_int_equal(mqtt_deliver(s, &(struct mqtt_to){.message = m, .ids = ids, .id_count = 300, .qos = 1}, r->now), 0);
  assert_int_equal(r->packets, before + 1);
  assert_int_equal(a->out_len, 0);
  mqtt_message_unref(m);
  END;
}

/* Each allocation that may fail does: what it was for is refused by name or lost and counted, and nothing leaks. */
static void test_memory(void **state) {
  START;
  r->quiet = true;
  for (uint64_t n = 1; n < 60; n++) {
    r->fail.countdown = n;
    struct mqtt_message *m = message(r, "t", "x", 0);
    mqtt_conn_free(a->conn, r->now);
    a->conn = NULL;
    a->session = NULL;
    a->out_len = 0;
    if (m && mqtt_conn_new(r->table, a, r->now, &a->conn) == 0) {
      say(a, 0x10, "<MQTT> 05 04 0000 {11 00000064 22 0005} <me> 00 <gone> <bye>");
      bytes(a, "30 07 <a> 03 23 0001");
      bytes(a, "34 06 <a> 0001 00");
      bytes(a, "82 07 0009 00 <f> 00");
      bytes(a, "c0");
      bytes(a, "00");
      struct mqtt_session *s = a->session;
      static const uint32_t ids[2] = {1, 2};
      struct mqtt_to to = {.message = m, .ids = ids, .id_count = 2, .qos = 1};
      for (int i = 0; s && i < 3; i++) (void)mqtt_deliver(s, &to, r->now);
      HOLDS(mqtt_sessions_check(r->table));
      mqtt_conn_lost(a->conn, r->now);
      s = mqtt_session_find(r->table, slice_str("me"));
      for (int i = 0; s && i < 3; i++) (void)mqtt_deliver(s, &to, r->now);
    }
    mqtt_message_unref(m);
    HOLDS(mqtt_sessions_check(r->table));
    if (r->fail.countdown) break; /* none failed any more */
    if (n == 59) fail_msg("allocations do not end");
    struct mqtt_session *s = mqtt_session_find(r->table, slice_str("me"));
    if (s) mqtt_session_end(s, MQTT_SUCCESS, NULL, true, r->now);
    assert_true(mqtt_sessions_count(r->table) == 0 && r->messages.bytes == 0 && r->inflight.bytes == 0);
  }
  END;
}

static void test_checks(void **state) {
  START;
  struct mqtt_session *s = with_session(r, a, KEPT);
  for (unsigned i = 0; i < 5; i++) (void)deliver(r, s, "t", "x", 1 + (i & 1), i);
  say(a, 0x34, "<t> 0001 00");
  say(a, 0x34, "<t> 0002 00");
  r->log_len = 0;
  const struct mqtt_sessions *t = r->table;
#define NOTICED(what, wrong, text) BREAKS(what, wrong, mqtt_sessions_check(t), text)
  NOTICED(s->out.count, 4, "a window's count is not that of its order");
  NOTICED(s->out.slots[1].prev, 3, "a window's order has another slot before it");
  NOTICED(s->out.slots[1].state, MQTT_WAITS_PUBCOMP, "a slot has a message in the wrong state");
  NOTICED(s->out.bytes, 1, "a window's bytes are not those of its messages");
  NOTICED(s->out.cap, 6, "a window has more slots than it may");
  NOTICED(s->in.taken, 1, "the count of unanswered messages is wrong");
  NOTICED(s->in.v[1].id, 1, "identifiers of a client are not in order");
  NOTICED(s->queued, 1, "a queue's count is not that of its messages");
  NOTICED(s->queued_bytes, 1, "a queue's bytes are not those of its messages");
  NOTICED(r->table->queued_bytes, 1, "the bytes of all queues are not their sum");
  NOTICED(a->conn->receiving, 1, "the count of a client's messages is wrong");
  NOTICED(a->conn->quota, 1, "a client is sent more than it allows");
  NOTICED(a->conn->resend, 9, "what is to be sent again is not there");
  NOTICED(a->conn->at, 1, "a connection's buffer is shorter than what is in it");
  NOTICED(a->conn->scanned, 1, "a connection has looked behind its bytes");
  NOTICED(a->conn->held_size, 1, "the packet that is held is not there");
  NOTICED(s->ends, 1, "a session that is connected has an end");
  mqtt_conn_lost(a->conn, r->now);
  NOTICED(s->ends, TIME_NEVER, "a session's end is not awaited");
  NOTICED(s->waits, true, "an offline session waits for a window");
  NOTICED(s->expiry, 0, "a session is kept that was not to be");
  NOTICED(s->will_due, 1, "an offline session has a will without its time");
  END;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_flows),      cmocka_unit_test(test_again),
                                     cmocka_unit_test(test_queue),      cmocka_unit_test(test_expiry),
                                     cmocka_unit_test(test_too_large),  cmocka_unit_test(test_aliases),
                                     cmocka_unit_test(test_properties), cmocka_unit_test(test_long_head),
                                     cmocka_unit_test(test_memory),     cmocka_unit_test(test_checks)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
