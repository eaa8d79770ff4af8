/* Sessions and connections of MQTT: what the standard says of them, told as what a client says, hears, and a door is asked. */
#include "unit/mqtt/rig.h"

#define START                                                                                                                  \
  struct rig *r = rig_new();                                                                                                   \
  struct client *a = &r->clients[0];                                                                                           \
  (void)state
#define END rig_free(r)

/* [MQTT-3.1.0-1], [MQTT-3.1.0-2], [MQTT-3.1.2-1], [MQTT-3.1.2-2], [MQTT-3.1.4-1], [MQTT-3.2.0-1], [MQTT-3.2.2-7],
 * [MQTT-4.13.1-1] */
static void test_connect(void **state) {
  START;
  connect_as(a, "05 02 003c 00 <me>");
  HAPPENED(r, connected);
  bytes(a, "c0 00 c0 00");
  HAPPENED(r, "A< pingresp\nA< pingresp");
  say(a, 0x10, "<MQTT> 05 02 003c 00 <me>");
  HAPPENED(r, "A< disconnect 0x82 (a second CONNECT)\nA ended 0x00\nA closed 0x82 a second CONNECT");
  bytes(a, "c0 00");
  HAPPENED(r, ""); /* nothing after DISCONNECT: [MQTT-3.14.4-1] */
  open_conn(a);
  bytes(a, "c0 00");
  HAPPENED(r, "A closed 0x82 the first packet is not CONNECT");
  open_conn(a);
  bytes(a, "16 03 01 02 00 01");
  HAPPENED(r, "A closed 0x81 this looks like TLS, and the port is for MQTT without it");
  open_conn(a);
  bytes(a, "'GET / HTTP/1.1' 0d0a");
  HAPPENED(r, "A closed 0x81 this looks like HTTP, and the port is for MQTT");
  open_conn(a);
  bytes(a, "10 e9 07"); /* larger than max_connect */
  HAPPENED(r, "A closed 0x95 the packet is larger than the maximum packet size");
  a->level = MQTT_5;
  connect_as(a, "06 02 003c 00 <me>");
  HAPPENED(r, "A< connack 0x84 (Protocol Version: is neither 4 (3.1.1) nor 5)\n"
              "A closed 0x84 Protocol Version: is neither 4 (3.1.1) nor 5");
  connect_as(a, "05 03 003c 00 <me>");
  HAPPENED(r, "A< connack 0x81 (Connect Flags: the reserved one is set)\nA closed 0x81 Connect Flags: the reserved one is set");
  connect_as(a, "05 02 003c {15 <SCRAM>} <me>"); /* [MQTT-4.12.0-1] */
  HAPPENED(r, "A< connack 0x8c (no Authentication Method is supported)\nA closed 0x8c no Authentication Method is supported");
  a->level = MQTT_3_1_1;
  connect_as(a, "03 02 003c <me>");
  HAPPENED(r, "A< connack 0x01\nA closed 0x84 Protocol Version: is neither 4 (3.1.1) nor 5");
  connect_as(a, "84 02 003c <me>"); /* mosquitto's bridges begin so */
  HAPPENED(r, "A< connack 0x01\nA closed 0x84 Protocol Version: is neither 4 (3.1.1) nor 5");
  connect_as(a, "04 03 003c <me>"); /* 3.1.1 has no word for it */
  HAPPENED(r, "A closed 0x81 Connect Flags: the reserved one is set");
  connect_as(a, "04 00 003c <>"); /* 3.1.1, [MQTT-3.1.3-8] */
  HAPPENED(r, "A< connack 0x02\nA closed 0x85 an empty client id needs a clean session");
  connect_as(a, CLEAN4);
  HAPPENED(r, "A< connack 0x00");
  say(a, 0xf0, "");
  HAPPENED(r, "A ended 0x00\nA closed 0x81 AUTH: is no packet of 3.1.1");
  END;
}

/* A CONNECT cut anywhere; what follows it in the same bytes: [MQTT-3.1.4-6] */
static void test_pieces(void **state) {
  START;
  static const char all[] = "10 1a <MQTT> 05 02 003c 05 11 00000000 <client-0> c0 00 30 06 <a/b> 00 c0 00 e0 00";
  uint8_t buf[256];
  struct slice in = hex(all, buf);
  for (size_t piece = 1; piece <= in.n; piece++) {
    open_conn(a);
    for (size_t at = 0; at < in.n; at += piece)
      mqtt_conn_recv(a->conn, slice_of(in.p + at, in.n - at < piece ? in.n - at : piece), r->now);
    HAPPENED(r, "A< connack 0x00 receive=4 size=100000 aliases=3\nA< pingresp\nA> a.b q0 ''\nA< pingresp\nA ended 0x00\n"
                "A closed 0x00 the client has said DISCONNECT");
    assert_int_equal(r->input.bytes, 0);
  }
  END;
}

/* The door judges later, and what came meanwhile is read then. */
static void test_judged_later(void **state) {
  START;
  r->judges_later = true;
  connect_as(a, "05 02 003c 00 <me>");
  bytes(a, "c0 00");
  HAPPENED(r, "");
  assert_int_equal(mqtt_wants(a->conn), MQTT_BEHIND - 2);
  assert_true(mqtt_conn_is_held(a->conn) && mqtt_conn_deadline(a->conn) == TIME_NEVER);
  assert_int_equal(mqtt_accept(a->conn, &me, r->now, &a->session, &a->present), 0);
  mqtt_session_set_user(a->session, a);
  HAPPENED(r, "A< connack 0x00 receive=4 size=100000 aliases=3");
  mqtt_resume(a->conn, r->now);
  HAPPENED(r, "A< pingresp");
  connect_as(a, "05 02 003c 00 <me>");
  HAPPENED(r, "A ended 0x00");
  mqtt_refuse(a->conn, MQTT_NOT_AUTHORIZED, "no grant", r->now);
  HAPPENED(r, "A< connack 0x87 (no grant)\nA closed 0x87 no grant");
  connect_as(a, "05 02 003c {17 00} <me>"); /* problem information may be in a CONNACK: [MQTT-3.1.2-29] */
  mqtt_refuse(a->conn, MQTT_BUSY, "later", r->now);
  HAPPENED(r, "A< connack 0x89 (later)\nA closed 0x89 later");
  connect_as(a, "05 02 003c {27 00000005} <me>");
  mqtt_refuse(a->conn, MQTT_BUSY, "later", r->now); /* [MQTT-3.2.2-19] */
  HAPPENED(r, "A< connack 0x89\nA closed 0x89 later");
  connect_as(a, "05 02 003c 00 <me>");
  mqtt_conn_eof(a->conn, r->now); /* its DISCONNECT is not lost */
  HAPPENED(r, "");
  assert_int_equal(mqtt_accept(a->conn, &me, r->now, &a->session, &a->present), 0);
  mqtt_session_set_user(a->session, a);
  mqtt_resume(a->conn, r->now);
  HAPPENED(r, "A< connack 0x00 receive=4 size=100000 aliases=3\nA ended 0x00\n"
              "A closed 0x80 the connection ended without DISCONNECT");
  END;
}

/* [MQTT-3.1.3-5], [MQTT-3.1.3-6], [MQTT-3.1.3-7], [MQTT-3.2.2-16], [MQTT-3.2.2-21], [MQTT-3.2.2-22] */
static void test_told(void **state) {
  START;
  connect_as(a, "05 02 003c 00 <>");
  HAPPENED(r, "A< connack 0x00 receive=4 size=100000 aliases=3 client=auto-92f89756082a4514");
  mqtt_conn_close(a->conn, MQTT_SHUTTING_DOWN, "the node stops", r->now);
  HAPPENED(r, "A< disconnect 0x8b (the node stops)\nA ended 0x00\nA closed 0x8b the node stops");
  connect_as(a, "05 00 0000 {11 ffffffff} <me>");
  HAPPENED(r, "A< connack 0x00 expiry=3600 receive=4 size=100000 aliases=3");
  r->cfg.max_keep_alive = 30;
  mqtt_sessions_set_config(r->table, &r->cfg);
  connect_as(a, "05 02 0000 00 <me>");
  HAPPENED(r, "A ended 0x00\nA< connack 0x00 receive=4 size=100000 aliases=3 keep=30");
  connect_as(a, "05 02 001f 00 <me>");
  HAPPENED(r, "A ended 0x00\nA< connack 0x00 receive=4 size=100000 aliases=3 keep=30");
  connect_as(a, "05 02 001e 00 <me>");
  HAPPENED(r, "A ended 0x00\nA< connack 0x00 receive=4 size=100000 aliases=3");
  END;
}

/* [MQTT-3.1.2-4] to [MQTT-3.1.2-6], [MQTT-3.1.2-23], [MQTT-3.2.2-2], [MQTT-3.2.2-3], [MQTT-4.1.0-1], [MQTT-4.1.0-2] */
static void test_sessions(void **state) {
  START;
  connect_as(a, KEPT);
  HAPPENED(r, connected);
  mqtt_conn_lost(a->conn, r->now);
  assert_int_equal(mqtt_sessions_deadline(r->table), r->now + 100 * S);
  r->now += 99 * S;
  mqtt_sessions_tick(r->table, r->now);
  HAPPENED(r, "");
  connect_as(a, KEPT);
  HAPPENED(r, "A< connack 0x00 present receive=4 size=100000 aliases=3");
  assert_int_equal(mqtt_sessions_deadline(r->table), TIME_NEVER);
  say(a, 0xe0, "00 {11 00000005}"); /* another interval: 3.14.2.2.2 */
  HAPPENED(r, "A closed 0x00 the client has said DISCONNECT");
  r->now += 5 * S;
  mqtt_sessions_tick(r->table, r->now);
  HAPPENED(r, "A ended 0x00");
  assert_int_equal(mqtt_sessions_count(r->table), 0);
  connect_as(a, KEPT);
  mqtt_conn_lost(a->conn, r->now);
  connect_as(a, "05 02 0000 {11 00000064} <me>"); /* clean start */
  HAPPENED(r, "A< connack 0x00 receive=4 size=100000 aliases=3\nA ended 0x00\nA< connack 0x00 receive=4 size=100000 aliases=3");
  connect_as(a, "05 00 0000 00 <me>"); /* without an interval it ends with its connection */
  HAPPENED(r, "A< connack 0x00 present receive=4 size=100000 aliases=3");
  say(a, 0xe0, "00 {11 00000005}");
  HAPPENED(r, "A< disconnect 0x82 (a Session Expiry Interval that was 0 in CONNECT cannot be more now)\nA ended 0x00\n"
              "A closed 0x82 a Session Expiry Interval that was 0 in CONNECT cannot be more now");
  connect_as(a, KEPT4); /* 3.1.1: as long as there may be */
  say(a, 0xe0, "");
  HAPPENED(r, "A< connack 0x00\nA closed 0x00 the client has said DISCONNECT");
  assert_int_equal(mqtt_sessions_deadline(r->table), r->now + 3600 * S);
  connect_as(a, KEPT4);
  HAPPENED(r, "A< connack 0x00 present");
  assert_int_equal(mqtt_sessions_stats(r->table)->resumed, 3);
  END;
}

/* [MQTT-3.1.4-3]; another principal's client id is refused */
static void test_take_over(void **state) {
  START;
  struct client *b = &r->clients[1];
  connect_as(a, KEPT);
  connect_as(b, KEPT);
  HAPPENED(r, "A< connack 0x00 receive=4 size=100000 aliases=3\nA< disconnect 0x8e (another connection has this client id)\n"
              "A closed 0x8e another connection has this client id\nB< connack 0x00 present receive=4 size=100000 aliases=3");
  r->judges_later = true;
  connect_as(a, KEPT);
  assert_int_equal(mqtt_accept(a->conn, &other, r->now, &a->session, &a->present), MACULA_NOT_AUTHORIZED);
  HAPPENED(r, "A< connack 0x85 (this client id belongs to another principal)\n"
              "A closed 0x85 this client id belongs to another principal");
  bytes(b, "c0 00");
  HAPPENED(r, "B< pingresp");
  mqtt_session_end(b->session, MQTT_TAKEN_OVER, "another node has it", false, r->now);
  HAPPENED(r, "B< disconnect 0x8e (another node has it)\nB closed 0x8e another node has it\nB ended 0x8e");
  r->cfg.max_sessions = 1;
  mqtt_sessions_set_config(r->table, &r->cfg);
  r->judges_later = false;
  connect_as(a, KEPT);
  connect_as(b, "05 00 0000 {11 00000064} <you>");
  HAPPENED(r, "A< connack 0x00 receive=4 size=100000 aliases=3\n"
              "B< connack 0x97 (the limit of sessions is reached)\nB closed 0x97 the limit of sessions is reached");
  assert_int_equal(mqtt_sessions_stats(r->table)->sessions_refused, 1);
  END;
}

#define WILL "<gone> <bye>"
/* [MQTT-3.1.2-7] to [MQTT-3.1.2-10], [MQTT-3.1.2-14], [MQTT-3.1.2-15], [MQTT-3.1.3-9], [MQTT-3.14.4-3] */
static void test_wills(void **state) {
  START;
  struct client *b = &r->clients[1];
  connect_as(a, "05 2e 0000 00 <me> 00 " WILL);
  mqtt_conn_lost(a->conn, r->now);
  HAPPENED(r, "A< connack 0x00 receive=4 size=100000 aliases=3\nA will gone q1 retain 'bye'\nA ended 0x00");
  connect_as(a, "05 06 0000 00 <me> 00 " WILL);
  say(a, 0xe0, "");
  HAPPENED(r, "A< connack 0x00 receive=4 size=100000 aliases=3\nA ended 0x00\nA closed 0x00 the client has said DISCONNECT");
  connect_as(a, "05 06 0000 00 <me> 00 " WILL);
  say(a, 0xe0, "04");
  HAPPENED(r, "A< connack 0x00 receive=4 size=100000 aliases=3\nA will gone q0 'bye'\nA ended 0x00\n"
              "A closed 0x00 the client has said DISCONNECT");
  /* a delay: the session ends before, is over before, or goes on */
  connect_as(a, "05 16 0000 {11 00000064} <me> {18 0000000a 02 00000007} " WILL);
  mqtt_conn_lost(a->conn, r->now);
  HAPPENED(r, connected);
  r->now += 10 * S;
  mqtt_sessions_tick(r->table, r->now);
  HAPPENED(r, "A will gone q2 'bye' expires");
  r->now += 90 * S;
  mqtt_sessions_tick(r->table, r->now);
  HAPPENED(r, "A ended 0x00");
  connect_as(a, "05 06 0000 {11 00000005} <me> {18 0000000a} " WILL);
  mqtt_conn_lost(a->conn, r->now);
  HAPPENED(r, connected);
  r->now += 5 * S;
  mqtt_sessions_tick(r->table, r->now);
  HAPPENED(r, "A will gone q0 'bye'\nA ended 0x00");
  connect_as(a, "05 06 0000 {11 00000064} <me> {18 0000000a} " WILL);
  mqtt_conn_lost(a->conn, r->now);
  connect_as(a, KEPT);
  HAPPENED(r, "A< connack 0x00 receive=4 size=100000 aliases=3\nA< connack 0x00 present receive=4 size=100000 aliases=3");
  mqtt_conn_lost(a->conn, r->now);
  r->now += 100 * S;
  mqtt_sessions_tick(r->table, r->now);
  HAPPENED(r, "A ended 0x00");
  /* taken over: 3.1.2.5 */
  connect_as(a, "05 06 0000 {11 00000064} <me> {18 0000000a} " WILL);
  connect_as(b, KEPT);
  HAPPENED(r, "A< connack 0x00 receive=4 size=100000 aliases=3\nA< disconnect 0x8e (another connection has this client id)\n"
              "A closed 0x8e another connection has this client id\nB< connack 0x00 present receive=4 size=100000 aliases=3");
  connect_as(a, "05 06 0000 {11 00000064} <me> {18 0000000a} " WILL);
  connect_as(b, "05 02 0000 00 <me>");
  HAPPENED(r,
           "B< disconnect 0x8e (another connection has this client id)\nB closed 0x8e another connection has this client id\n"
           "B ended 0x00\nA< connack 0x00 receive=4 size=100000 aliases=3\n"
           "A< disconnect 0x8e (another connection has this client id)\nA closed 0x8e another connection has this client id\n"
           "A will gone q0 'bye'\nA ended 0x00\nB< connack 0x00 receive=4 size=100000 aliases=3");
  END;
}

/* What a client takes that says nothing: docs/mqtt.md. */
static void test_idle(void **state) {
  START;
  enum { CONNS = 200 };
  struct mqtt_conn *conns[CONNS];
  r->cfg.max_sessions = CONNS;
  mqtt_sessions_set_config(r->table, &r->cfg);
  r->quiet = true;
  size_t before = r->sessions.bytes;
  for (unsigned i = 0; i < CONNS; i++) {
    connect_as(a, "05 02 003c {11 00000064} <>");
    mqtt_conn_recv(a->conn, slice_of("\xc0\0", 2), r->now);
    conns[i] = a->conn;
    a->conn = NULL;
  }
  size_t each = (r->conns.bytes + r->sessions.bytes - before + r->inflight.bytes + r->input.bytes + r->queue.bytes) / CONNS;
  print_message("an idle client: %zu bytes\n", each);
  assert_true(each < 600);
  for (unsigned i = 0; i < CONNS; i++) mqtt_conn_free(conns[i], r->now);
  END;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_connect),      cmocka_unit_test(test_pieces),
                                     cmocka_unit_test(test_judged_later), cmocka_unit_test(test_told),
                                     cmocka_unit_test(test_sessions),     cmocka_unit_test(test_take_over),
                                     cmocka_unit_test(test_wills),        cmocka_unit_test(test_idle)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
