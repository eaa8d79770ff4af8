/* What clients of MQTT send: messages with each QoS, subscriptions, and what is held. */
#include "unit/mqtt/rig.h"

#define START                                                                                                                  \
  struct rig *r = rig_new();                                                                                                   \
  struct client *a = &r->clients[0];                                                                                           \
  (void)state
#define END rig_free(r)

static void with_session(struct rig *r, struct client *c, const char *body) {
  r->quiet = true;
  c->level = body[1] == '5' ? MQTT_5 : MQTT_3_1_1;
  connect_as(c, body);
  r->quiet = false;
}

/* [MQTT-3.3.4-1], [MQTT-4.3.1-1], [MQTT-4.3.2-4], [MQTT-4.3.2-5], [MQTT-4.3.3-8] to [MQTT-4.3.3-12], [MQTT-2.2.1-5] */
static void test_qos(void **state) {
  START;
  with_session(r, a, KEPT);
  say(a, 0x30, "<a/b> 00 'x'");
  say(a, 0x33, "<a/b> 0001 00 'x'");
  say(a, 0x33, "<a/b> 0001 00 'x'"); /* a new one */
  HAPPENED(r, "A> a.b q0 'x'\nA> a.b q1 retain 'x'\nA< puback #1\nA> a.b q1 retain 'x'\nA< puback #1");
  say(a, 0x34, "<a/b> 0001 00 'x'");
  say(a, 0x3c, "<a/b> 0001 00 'x'"); /* the same again, with and without DUP */
  say(a, 0x34, "<a/b> 0001 00 'x'");
  HAPPENED(r, "A> a.b q2 'x'\nA< pubrec #1\nA< pubrec #1\nA< pubrec #1");
  say(a, 0x62, "0001");
  say(a, 0x62, "0001");
  say(a, 0x34, "<a/b> 0001 00 'y'"); /* a new one */
  HAPPENED(r, "A< pubcomp #1\nA< pubcomp #1 0x92\nA> a.b q2 'y'\nA< pubrec #1");
  /* over a connection's end: exactly once */
  with_session(r, a, KEPT);
  say(a, 0x3c, "<a/b> 0001 00 'y'");
  say(a, 0x62, "0001");
  HAPPENED(r, "A< pubrec #1\nA< pubcomp #1");
  r->verdict = MQTT_REFUSED;
  r->reason = MQTT_NOT_AUTHORIZED;
  say(a, 0x30, "<a/b> 00 'x'");
  say(a, 0x32, "<a/b> 0001 00 'x'");
  say(a, 0x34, "<a/b> 0001 00 'x'");
  HAPPENED(r, "A> a.b q0 'x' refused\nA> a.b q1 'x' refused\nA< puback #1 0x87 (not here)\n"
              "A> a.b q2 'x' refused\nA< pubrec #1 0x87 (not here)");
  say(a, 0x62, "0001"); /* the identifier is free: [MQTT-4.3.3-9] */
  HAPPENED(r, "A< pubcomp #1 0x92");
  r->reason = MQTT_TOO_LARGE; /* none that a PUBACK may carry: [MQTT-3.4.2-1] */
  say(a, 0x32, "<a/b> 0001 00 'x'");
  HAPPENED(r, "A> a.b q1 'x' refused\nA< puback #1 0x83 (not here)");
  r->ends = true;
  r->reason = MQTT_RATE_TOO_HIGH;
  say(a, 0x32, "<a/b> 0001 00 'x'");
  HAPPENED(r, "A> a.b q1 'x' refused\nA< disconnect 0x96 (not here)\nA closed 0x96 not here");
  r->ends = false;
  with_session(r, a, KEPT4); /* 3.1.1 has no word for it: 3.1.1, [MQTT-3.3.5-2] */
  r->reason = MQTT_NOT_AUTHORIZED;
  say(a, 0x32, "<a/b> 0001 'x'");
  say(a, 0x34, "<a/b> 0002 'x'");
  say(a, 0x62, "0002");
  say(a, 0x62, "0007");
  HAPPENED(r, "A> a.b q1 'x' refused\nA< puback #1\nA> a.b q2 'x' refused\nA< pubrec #2\nA< pubcomp #2\nA< pubcomp #7");
  END;
}

/* What cannot be a name here: 0x90 and the reason. */
static void test_unmapped(void **state) {
  START;
  with_session(r, a, KEPT);
  static const char deep[] = "<a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/1/2/3/4/5/6/7> 0001 00 'x'";
  say(a, 0x32, deep);
  HAPPENED(r, "A refused a/b/c/d/e/f/g/h/i/j/ 0x90 it has more than 32 levels, told\n"
              "A< puback #1 0x90 (it has more than 32 levels)");
  with_session(r, a, "05 00 0000 {11 00000064 17 00} <me>"); /* no problem information: [MQTT-3.1.2-29] */
  say(a, 0x32, deep);
  HAPPENED(r, "A refused a/b/c/d/e/f/g/h/i/j/ 0x90 it has more than 32 levels, told\nA< puback #1 0x90");
  with_session(r, a, KEPT4);
  say(a, 0x30, "<a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/1/2/3/4/5/6/7> 'x'");
  HAPPENED(r, "A refused a/b/c/d/e/f/g/h/i/j/ 0x90 it has more than 32 levels");
  say(a, 0x30, "<a/+>");
  HAPPENED(r, "A closed 0x90 Topic Name: holds a wildcard");
  with_session(r, a, "05 06 0000 00 <me> 00 <#> <x>");
  assert_null(mqtt_session_find(r->table, slice_str("nobody")));
  open_conn(a);
  say(a, 0x10, "<MQTT> 05 06 0000 00 <you> 00 <a/#> <x>");
  HAPPENED(r, "A< connack 0x90 (it holds a + or # that is no wildcard there)\n"
              "A closed 0x90 it holds a + or # that is no wildcard there");
  END;
}

/* [MQTT-3.3.2-7] to [MQTT-3.3.2-12] */
static void test_aliases(void **state) {
  START;
  with_session(r, a, KEPT);
  say(a, 0x30, "<a/b> {23 0003} 'x'");
  say(a, 0x30, "<> {23 0003} 'y'");
  say(a, 0x30, "<c> {23 0003} 'z'"); /* another topic */
  say(a, 0x30, "<> {23 0003} 'w'");
  HAPPENED(r, "A> a.b q0 'x'\nA> a.b q0 'y'\nA> c q0 'z'\nA> c q0 'w'");
  say(a, 0x30, "<> {23 0001} 'w'");
  HAPPENED(r, "A< disconnect 0x82 (the topic alias was never set on this connection)\n"
              "A closed 0x82 the topic alias was never set on this connection");
  with_session(r, a, KEPT);
  say(a, 0x30, "<> {23 0003} 'w'"); /* none is carried over */
  HAPPENED(r, "A< disconnect 0x82 (the topic alias was never set on this connection)\n"
              "A closed 0x82 the topic alias was never set on this connection");
  with_session(r, a, KEPT);
  say(a, 0x30, "<a> {23 0004} 'w'");
  HAPPENED(r, "A< disconnect 0x94 (the topic alias is larger than the maximum that CONNACK told)\n"
              "A closed 0x94 the topic alias is larger than the maximum that CONNACK told");
  with_session(r, a, KEPT); /* of a topic that cannot be a name */
  say(a, 0x32, "<////////////////////////////////> 0001 {23 0001}");
  say(a, 0x32, "<> 0001 {23 0001}");
  HAPPENED(r, "A refused //////////////////// 0x90 it has more than 32 levels, told\n"
              "A< puback #1 0x90 (it has more than 32 levels)\n"
              "A refused  0x90 its topic cannot be a name here, told\nA< puback #1 0x90 (its topic cannot be a name here)");
  END;
}

/* What the door answers later: by its reference, once; also when the client has gone meanwhile. */
static void test_later(void **state) {
  START;
  with_session(r, a, KEPT);
  r->verdict = MQTT_LATER;
  say(a, 0x30, "<a> 00");
  say(a, 0x32, "<a> 0001 00");
  uint64_t first = r->ref;
  say(a, 0x34, "<a> 0002 00");
  uint64_t second = r->ref;
  say(a, 0x3a, "<a> 0001 00"); /* again, while it is under way */
  say(a, 0x3c, "<a> 0002 00");
  HAPPENED(r, "A> a q0 '' later\nA> a q1 '' later\nA> a q2 '' later");
  mqtt_publish_done(a->session, second, MQTT_SUCCESS, NULL, r->now);
  mqtt_publish_done(a->session, first, MQTT_NO_SUBSCRIBERS, NULL, r->now);
  mqtt_publish_done(a->session, first, MQTT_SUCCESS, NULL, r->now);
  mqtt_publish_done(a->session, second, MQTT_QUOTA, NULL, r->now);
  HAPPENED(r, "A< pubrec #2\nA< puback #1 0x10");
  say(a, 0x62, "0002");
  say(a, 0x34, "<a> 0002 00");
  mqtt_publish_done(a->session, second, MQTT_SUCCESS, NULL, r->now); /* of the former one */
  HAPPENED(r, "A< pubcomp #2\nA> a q2 '' later");
  mqtt_publish_done(a->session, r->ref, MQTT_QUOTA, "no room", r->now);
  HAPPENED(r, "A< pubrec #2 0x97 (no room)");
  say(a, 0x32, "<a> 0003 00");
  first = r->ref;
  say(a, 0x34, "<a> 0004 00");
  second = r->ref;
  HAPPENED(r, "A> a q1 '' later\nA> a q2 '' later");
  struct mqtt_session *s = a->session;
  mqtt_conn_lost(a->conn, r->now);
  mqtt_publish_done(s, second, MQTT_SUCCESS, NULL, r->now);
  with_session(r, a, KEPT);
  mqtt_publish_done(s, first, MQTT_SUCCESS, NULL, r->now); /* nobody waits for it */
  say(a, 0x3c, "<a> 0004 00");                             /* not twice */
  say(a, 0x3a, "<a> 0003 00");                             /* QoS 1 is, as it was not acknowledged */
  HAPPENED(r, "A< pubrec #4\nA> a q1 '' later");
  say(a, 0x32, "<a> 0003 00");
  HAPPENED(r, "A< disconnect 0x82 (the packet identifier is in use)\nA closed 0x82 the packet identifier is in use");
  END;
}

/* [MQTT-3.3.4-7] is broken by clients that are in a hurry: what they send too early waits. */
static void test_receive_maximum(void **state) {
  START;
  with_session(r, a, KEPT);
  r->verdict = MQTT_LATER;
  r->quiet = true;
  for (int i = 1; i <= 4; i++)
    say(a, 0x32, i == 1 ? "<a> 0001 00" : i == 2 ? "<a> 0002 00" : i == 3 ? "<a> 0003 00" : "<a> 0004 00");
  r->quiet = false;
  uint64_t last = r->ref;
  say(a, 0x30, "<a> 00");
  HAPPENED(r, "A> a q0 '' later");
  say(a, 0x32, "<a> 0005 00");
  HAPPENED(r, "");
  mqtt_publish_done(a->session, last, 0, NULL, r->now);
  HAPPENED(r, "A< puback #4\nA> a q1 '' later");
  END;
}

/* Of those that a client may send, the door takes so many at once. */
static void test_taken(void **state) {
  START;
  r->cfg.max_taken = 2;
  mqtt_sessions_set_config(r->table, &r->cfg);
  with_session(r, a, KEPT);
  r->verdict = MQTT_LATER;
  say(a, 0x32, "<a> 0001 00");
  uint64_t first = r->ref;
  say(a, 0x34, "<a> 0002 00");
  uint64_t second = r->ref;
  say(a, 0x32, "<a> 0003 00");
  HAPPENED(r, "A> a q1 '' later\nA> a q2 '' later");
  mqtt_publish_done(a->session, second, 0, NULL, r->now); /* QoS 2: its identifier alone is left */
  HAPPENED(r, "A< pubrec #2\nA> a q1 '' later");
  mqtt_publish_done(a->session, first, 0, NULL, r->now);
  HAPPENED(r, "A< puback #1");
  END;
}

/* Nothing can change any more: what could release its messages is behind what is read. */
static void test_stuck(void **state) {
  START;
  with_session(r, a, KEPT);
  r->verdict = MQTT_ACCEPTED;
  r->quiet = true;
  for (int i = 1; i <= 4; i++)
    say(a, 0x34, i == 1 ? "<a> 0001 00" : i == 2 ? "<a> 0002 00" : i == 3 ? "<a> 0003 00" : "<a> 0004 00");
  r->quiet = false;
  say(a, 0x34, "<a> 0005 00");
  HAPPENED(r, "");
  for (uint32_t sent = 0; sent < MQTT_BEHIND + 200; sent += 8) say(a, 0x34, "<a> 0006 00");
  HAPPENED(r, "A< disconnect 0x93 (more messages than Receive Maximum are not completed)\n"
              "A closed 0x93 more messages than Receive Maximum are not completed");
  END;
}

/* 3.1.1 has no Receive Maximum, so that its client is held. */
static void test_receive_maximum_4(void **state) {
  START;
  with_session(r, a, "04 00 003c <you>");
  r->verdict = MQTT_LATER;
  bytes(a, "32 05 <a> 0001");
  uint64_t first = r->ref;
  bytes(a, "34 05 <a> 0002 34 05 <a> 0003 34 05 <a> 0004");
  uint64_t last = r->ref;
  bytes(a, "32 05 <a> 0005 c0 00 32 05 <a> 0006");
  HAPPENED(r, "A> a q1 '' later\nA> a q2 '' later\nA> a q2 '' later\nA> a q2 '' later\nA< pingresp");
  assert_true(mqtt_conn_is_held(a->conn) && mqtt_conn_deadline(a->conn) == TIME_NEVER);
  mqtt_publish_done(a->session, first, 0, NULL, r->now); /* room for one */
  HAPPENED(r, "A< puback #1\nA> a q1 '' later");
  mqtt_publish_done(a->session, r->ref, 0, NULL, r->now);
  HAPPENED(r, "A< puback #5\nA> a q1 '' later");
  mqtt_publish_done(a->session, r->ref, 0, NULL, r->now);
  HAPPENED(r, "A< puback #6");
  mqtt_publish_done(a->session, last, 0, NULL, r->now);
  mqtt_publish_done(a->session, last - 65537, 0, NULL, r->now);
  mqtt_publish_done(a->session, last - 2 * 65537, 0, NULL, r->now);
  HAPPENED(r, "A< pubrec #4\nA< pubrec #3\nA< pubrec #2");
  r->verdict = MQTT_ACCEPTED;
  bytes(a, "34 05 <a> 0007 34 05 <a> 0008"); /* the last one waits for a PUBREL, which is behind it */
  HAPPENED(r, "A> a q2 ''\nA< pubrec #7");
  assert_int_equal(mqtt_conn_deadline(a->conn), r->now + 60 * S);
  bytes(a, "62 02 0003");
  HAPPENED(r, "A< pubcomp #3\nA> a q2 ''\nA< pubrec #8");
  assert_int_equal(mqtt_conn_deadline(a->conn), r->now + 90 * S);
  bytes(a, "34 05 <a> 0009");
  r->now += 60 * S;
  mqtt_conn_tick(a->conn, r->now);
  HAPPENED(r, "A closed 0x93 PUBREL is missing for too many messages");
  /* It has forgotten all: what it never released makes room. */
  with_session(r, a, "04 00 003c <you>");
  for (int i = 0; i < 12; i++) {
    char text[32];
    snprintf(text, sizeof text, "34 05 <a> 01%02x 62 02 01%02x", i, i);
    bytes(a, text);
  }
  assert_int_equal(mqtt_session_view(a->session).receiving, 4);
  END;
}

/* Behind a PUBLISH that is held acknowledgements and pings are handled, once, for 64 KiB; the rest in its order. */
static void test_hold(void **state) {
  START;
  with_session(r, a, "05 00 003c {11 00000064} <me>");
  assert_int_equal(deliver(r, a->session, "t", "1", 1, 1), 0);
  assert_int_equal(deliver(r, a->session, "t", "2", 2, 2), 0);
  HAPPENED(r, "A< publish q1 #1 t '1'\nA< publish q2 #2 t '2'");
  r->verdict = MQTT_HOLD;
  bytes(a, "32 06 <a> 0001 00 c0 00 82 07 0009 00 <f> 00 40 02 0001 30 04 <b> 00");
  HAPPENED(r, "A> a q1 '' held\nA< pingresp\nA has 1 0x00");
  assert_int_equal(mqtt_wants(a->conn), MQTT_BEHIND - 2 - 9 - 4 - 6);
  bytes(a, "50 02"); /* cut */
  HAPPENED(r, "");
  bytes(a, "0002 70 02 0002");
  HAPPENED(r, "A has 2 0x00\nA< pubrel #2");
  r->now += 1000 * S; /* the keep-alive clock stands */
  assert_int_equal(mqtt_conn_deadline(a->conn), TIME_NEVER);
  mqtt_resume(a->conn, r->now);
  HAPPENED(r, "A> a q1 '' held");
  r->verdict = MQTT_ACCEPTED;
  mqtt_resume(a->conn, r->now);
  HAPPENED(r, "A> a q1 ''\nA< puback #1\nA subscribes f q0 rh0\nA< suback #9 00\nA> b q0 ''");
  assert_int_equal(mqtt_conn_deadline(a->conn), r->now + 90 * S);
  assert_int_equal(mqtt_wants(a->conn), SIZE_MAX);
  assert_int_equal(r->input.bytes, 0);
  mqtt_resume(a->conn, r->now); /* harmless */
  /* what is wrong behind it is found in its turn */
  r->verdict = MQTT_HOLD;
  bytes(a, "30 04 <a> 00 40 01 00 c0 00");
  HAPPENED(r, "A> a q0 '' held");
  mqtt_conn_eof(a->conn, r->now);
  r->verdict = MQTT_ACCEPTED;
  mqtt_resume(a->conn, r->now);
  HAPPENED(r, "A> a q0 ''\nA< disconnect 0x81 (Packet Identifier: the packet ends within it)\n"
              "A closed 0x81 Packet Identifier: the packet ends within it");
  /* the client closes its side: what it has sent is not lost */
  with_session(r, a, KEPT);
  r->verdict = MQTT_HOLD;
  bytes(a, "30 04 <a> 00 30 04 <b> 00 e0 00");
  mqtt_conn_eof(a->conn, r->now);
  HAPPENED(r, "A> a q0 '' held");
  r->verdict = MQTT_ACCEPTED;
  mqtt_resume(a->conn, r->now);
  HAPPENED(r, "A> a q0 ''\nA> b q0 ''\nA closed 0x00 the client has said DISCONNECT");
  END;
}

/* [MQTT-3.1.2-22] */
static void test_keep_alive(void **state) {
  START;
  with_session(r, a, "05 02 000a 00 <me>");
  assert_int_equal(mqtt_conn_deadline(a->conn), r->now + 15 * S);
  r->now += 14 * S;
  bytes(a, "c0"); /* not a packet yet */
  assert_int_equal(mqtt_conn_deadline(a->conn), r->now + 1 * S);
  bytes(a, "00");
  assert_int_equal(mqtt_conn_deadline(a->conn), r->now + 15 * S);
  r->now += 5 * S;
  mqtt_conn_pause(a->conn, true, r->now); /* we do not read */
  mqtt_conn_pause(a->conn, true, r->now);
  r->now += 100 * S;
  assert_int_equal(mqtt_conn_deadline(a->conn), TIME_NEVER);
  assert_int_equal(mqtt_wants(a->conn), 0);
  mqtt_conn_tick(a->conn, r->now);
  mqtt_conn_pause(a->conn, false, r->now);
  assert_int_equal(mqtt_conn_deadline(a->conn), r->now + 10 * S);
  r->log_len = 0;
  r->now += 10 * S;
  mqtt_conn_tick(a->conn, r->now - 1);
  HAPPENED(r, "");
  mqtt_conn_tick(a->conn, r->now);
  HAPPENED(r, "A< disconnect 0x8d (nothing was heard for one and a half times the keep alive)\nA ended 0x00\n"
              "A closed 0x8d nothing was heard for one and a half times the keep alive");
  open_conn(a);
  bytes(a, "10 7f 0004");
  assert_int_equal(mqtt_conn_deadline(a->conn), r->now + 10 * S);
  r->now += 10 * S;
  mqtt_conn_tick(a->conn, r->now);
  HAPPENED(r, "A closed 0x82 no CONNECT came in time");
  END;
}

/* [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-3.8.4-5] to [MQTT-3.8.4-7], [MQTT-3.9.3-1], [MQTT-3.10.4-4] to [MQTT-3.10.4-6],
 * [MQTT-3.11.3-1], [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.8.2-1], [MQTT-4.8.2-2] */
static void test_subscribe(void **state) {
  START;
  with_session(r, a, KEPT);
  say(a, 0x82, "0005 {0b 8001} <a/+/#> 2e <#> 11 <$share/g/+> 08 <$SYS/#> 00");
  HAPPENED(r, "A subscribes a.*.** q2 nl rap rh2 sub=128\nA subscribes ** q1 rh1 sub=128\n"
              "A subscribes * q0 rap rh0 share=g sub=128\nA subscribes $SYS.** q0 rh0 sub=128\nA< suback #5 02 01 00 00");
  say(a, 0x82, "0006 00 <a/#/b> 00 <a+> 00 <$share/g> 00 <$share//a> 00 <$share/+/a> 00 <$share/g/> 00 <ok> 01");
  HAPPENED(r, "A refused a/#/b 0x8f it holds a + or # that is no wildcard there, told\n"
              "A refused a+ 0x8f it holds a + or # that is no wildcard there, told\n"
              "A refused $share/g 0x8f a shared subscription has no filter, told\n"
              "A refused $share//a 0x8f a shared subscription has no group name, told\n"
              "A refused $share/+/a 0x8f a group name holds a wildcard, told\n"
              "A refused $share/g/ 0x8f a shared subscription has no filter, told\nA subscribes ok q1 rh0\n"
              "A< suback #6 8f 8f 8f 8f 8f 8f 01 (it holds a + or # that is no wildcard there)");
  r->reason = MQTT_NO_SUBSCRIPTION;
  say(a, 0xa2, "0007 00 <a/+/#> <b>");
  HAPPENED(r, "A unsubscribes a.*.**\nA unsubscribes b\nA< unsuback #7 11 11");
  r->verdict = MQTT_REFUSED;
  r->reason = MQTT_QUOTA;
  say(a, 0x82, "0008 00 <a> 00 <b> 00");
  HAPPENED(r, "A subscribes a q0 rh0 refused\nA subscribes b q0 rh0 refused\nA< suback #8 97 97 (not here)");
  with_session(r, a, KEPT4);
  say(a, 0x82, "0008 <a> 00 <#/b> 02");
  say(a, 0xa2, "0009 <a>");
  HAPPENED(r, "A subscribes a q0 rh0 refused\nA refused #/b 0x8f it holds a + or # that is no wildcard there, told\n"
              "A< suback #8 80 80\nA unsubscribes a refused\nA< unsuback #9");
  /* held in the middle of a list */
  with_session(r, a, KEPT);
  r->verdict = MQTT_HOLD;
  say(a, 0x82, "0001 00 <a> 00 <b> 01");
  HAPPENED(r, "A subscribes a q0 rh0 held");
  r->verdict = MQTT_ACCEPTED;
  mqtt_resume(a->conn, r->now);
  HAPPENED(r, "A subscribes a q0 rh0\nA subscribes b q1 rh0\nA< suback #1 00 01");
  r->verdict = MQTT_REFUSED;
  r->ends = true;
  say(a, 0x82, "0001 00 <a> 00 <b> 01");
  HAPPENED(r, "A subscribes a q0 rh0 refused\nA< disconnect 0x97 (not here)\nA closed 0x97 not here");
  END;
}

static bool always(void *ctx) {
  ++*(unsigned *)ctx;
  return true;
}

/* Where a turn has had its time one packet or filter is handled, and the rest in the turns that follow. */
static void test_turns(void **state) {
  START;
  unsigned asked = 0;
  struct spent spent = {always, &asked};
  with_session(r, a, "05 00 000a {11 00000064} <me>");
  r->cfg.spent = &spent;
  mqtt_sessions_set_config(r->table, &r->cfg);
  bytes(a, "c0 00 c0 00 82 0b 0001 00 <a> 00 <b> 01 c0 00 c0 00 e0 00");
  mqtt_conn_eof(a->conn, r->now);
  HAPPENED(r, "A< pingresp");
  assert_int_equal(mqtt_conn_deadline(a->conn), 0);
  mqtt_conn_tick(a->conn, r->now);
  HAPPENED(r, "A< pingresp");
  mqtt_conn_tick(a->conn, r->now);
  HAPPENED(r, "A subscribes a q0 rh0\nA< pingresp"); /* the ping may go before */
  mqtt_conn_tick(a->conn, r->now);
  HAPPENED(r, "A subscribes b q1 rh0\nA< suback #1 00 01");
  mqtt_conn_tick(a->conn, r->now);
  HAPPENED(r, "A< pingresp");
  mqtt_conn_tick(a->conn, r->now);
  HAPPENED(r, "A closed 0x00 the client has said DISCONNECT");
  with_session(r, a, "05 00 000a {11 00000064} <me>");
  bytes(a, "82 0b 0001 00 <a> 00 <b> 01 c0 00");
  HAPPENED(r, "A subscribes a q0 rh0\nA< pingresp");
  mqtt_conn_tick(a->conn, r->now);
  HAPPENED(r, "A subscribes b q1 rh0\nA< suback #1 00 01");
  /* behind what is held */
  with_session(r, a, "05 00 000a {11 00000064} <me>");
  r->verdict = MQTT_HOLD;
  bytes(a, "30 04 <a> 00 c0 00 c0 00");
  HAPPENED(r, "A> a q0 '' held\nA< pingresp");
  assert_int_equal(mqtt_conn_deadline(a->conn), 0);
  mqtt_conn_tick(a->conn, r->now);
  HAPPENED(r, "A> a q0 '' held\nA< pingresp");
  assert_int_equal(mqtt_conn_deadline(a->conn), TIME_NEVER);
  assert_true(asked > 5);
  END;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_qos),        cmocka_unit_test(test_unmapped),          cmocka_unit_test(test_aliases),
      cmocka_unit_test(test_later),      cmocka_unit_test(test_receive_maximum),   cmocka_unit_test(test_taken),
      cmocka_unit_test(test_stuck),      cmocka_unit_test(test_receive_maximum_4), cmocka_unit_test(test_hold),
      cmocka_unit_test(test_keep_alive), cmocka_unit_test(test_subscribe),         cmocka_unit_test(test_turns)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
