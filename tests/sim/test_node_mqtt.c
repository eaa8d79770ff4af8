/* Clients of MQTT beside native ones, on one node. */
#include "mqtt_rig.h"
#include "node/doors/mqtt_state.h"
#include "node/session/tally.h"

/* ---- messages --------------------------------------------------------------------------------------------------------------
 */
static void test_both_ways(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct rig_client *native = rig_join(&r, 0, NULL, RIG_EXT);
  struct wire *a = plain(&r, MQTT_3_1_1, "a"), *b = plain(&r, MQTT_5, "b");
  assert_int_equal(rig_subscribe(native, "room.**"), 0);
  subscribe(a, "room/+/temp", 0);
  subscribe(b, "room/#", 2);
  ALL(&r, a, b);
  happened(a, "SUBACK 00");
  happened(b, "SUBACK 02");

  publish(a, "room/1/temp", "21", 0, false);
  ALL(&r, a, b);
  happened(a, "room/1/temp=21 q0");
  happened(b, "room/1/temp=21 q0");
  struct msg m = rig_expect(native, MSG_PUBLISH);
  assert_true(slice_is(m.publish.topic, "room.1.temp"));

  publish(b, "room/2/temp", "22", 1, false);
  ALL(&r, a, b);
  happened(a, "room/2/temp=22 q0");
  happened(b, "room/2/temp=22 q1|PUBACK 00");
  publish(b, "room/3", "23", 2, false);
  ALL(&r, a, b);
  happened(a, "");
  happened(b, "room/3=23 q2|PUBREC 00|PUBREL 00|PUBCOMP 00");
  assert_int_equal(rig_publish(native, "room.4.temp", "24", 1, false, 4), 0);
  ALL(&r, a, b);
  happened(a, "room/4/temp=24 q0");
  happened(b, "room/4/temp=24 q1");

  unsubscribe(b, "room/#");
  unsubscribe(b, "room/#");
  publish(a, "room/1/temp", "25", 1, false);
  ALL(&r, a, b);
  happened(a, "room/1/temp=25 q0|PUBACK 00");
  happened(b, "UNSUBACK 00|UNSUBACK 11");
  leave(a);
  leave(b);
  rig_stop(&r);
}

/* What is delivered has the smaller QoS of publisher and subscription, however many subscribers there are. */
static void test_exactly_once(void **state) {
  struct rig r;
  char expected[64];
  (void)state;
  start(&r, NULL);
  struct rig_client *native = rig_join(&r, 0, NULL, RIG_EXT | CAP_HEADERS), *without = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_subscribe(native, "t"), 0);
  assert_int_equal(rig_subscribe(without, "t"), 0);
  for (int v = 0; v < 2; v++) {
    struct wire *pub = plain(&r, v ? MQTT_5 : MQTT_3_1_1, "pub"), *to[3];
    for (uint8_t q = 0; q < 3; q++) {
      to[q] = plain(&r, v ? MQTT_3_1_1 : MQTT_5, (const char *[]){"0", "1", "2"}[q]);
      subscribe(to[q], "t", q);
      ALL(&r, to[q]);
      snprintf(expected, sizeof expected, "SUBACK %02x", q);
      happened(to[q], expected);
    }
    for (uint8_t q = 0; q < 3; q++) {
      publish(pub, "t", "x", q, false);
      ALL(&r, pub, to[0], to[1], to[2]);
      happened(pub, (const char *[]){"", "PUBACK 00", "PUBREC 00|PUBCOMP 00"}[q]);
      for (uint8_t s = 0; s < 3; s++) {
        unsigned least = q < s ? q : s;
        snprintf(expected, sizeof expected, "t=x q%u%s", least, least == 2 ? "|PUBREL 00" : "");
        happened(to[s], expected);
      }
      struct msg_publish p = rig_expect(native, MSG_PUBLISH).publish;
      assert_true(p.qos == (q ? 1 : 0) && p.exactly_once == (q == 2));
      p = rig_expect(without, MSG_PUBLISH).publish;
      assert_true(p.qos == (q ? 1 : 0) && !p.exactly_once);
    }
    leave(pub);
    for (int q = 0; q < 3; q++) leave(to[q]);
  }
  rig_stop(&r);
}

static void test_filters(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct wire *a = plain(&r, MQTT_5, "a");
  subscribe_as(a, "x/+", 1, 7, 0, false);
  subscribe_as(a, "x/#", 0, 8, 0, false);
  subscribe_as(a, "mine/#", 1, 0, 0, true);
  subscribe(a, "#", 0);
  subscribe(a, "x/#/y", 0);
  ALL(&r, a);
  happened(a, "SUBACK 01|SUBACK 00|SUBACK 01|SUBACK 00|SUBACK 8f");
  unsubscribe(a, "#");
  publish(a, "x/1", "both", 1, false);
  publish(a, "mine/1", "not back", 1, false);
  ALL(&r, a);
  happened(a, "UNSUBACK 00|x/1=both q1|id7|id8|PUBACK 00|PUBACK 00");
  subscribe(a, "#", 0);
  publish(a, "$SYS/x", "hidden", 0, false);
  publish(a, "y", "seen", 0, false);
  ALL(&r, a);
  happened(a, "SUBACK 00|y=seen q0");
  publish(a, "a/+", "", 0, false);
  ALL(&r, a);
  assert_true(a->gone);
  leave(a);
  rig_stop(&r);
}

static void test_retained(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct wire *a = plain(&r, MQTT_5, "a"), *b = plain(&r, MQTT_5, "b");
  subscribe(b, "r/#", 1);
  publish(a, "r/1", "kept", 1, true);
  ALL(&r, a, b);
  happened(a, "PUBACK 00");
  happened(b, "SUBACK 01|r/1=kept q1"); /* [MQTT-3.3.1-12] */
  subscribe(a, "r/#", 0);
  ALL(&r, a);
  a->notes[a->note_len] = 0;
  assert_non_null(strstr(a->notes, "r/1=kept q0 retain"));
  a->note_len = 0;
  subscribe_as(a, "r/#", 0, 0, 0, false); /* 0: each time */
  ALL(&r, a);
  a->notes[a->note_len] = 0;
  assert_non_null(strstr(a->notes, "r/1=kept q0 retain"));
  a->note_len = 0;
  subscribe_as(a, "r/#", 0, 0, 1, false); /* 1: if it is new */
  subscribe_as(a, "r/1", 0, 0, 2, false); /* 2: never */
  ALL(&r, a);
  happened(a, "SUBACK 00|SUBACK 00");
  publish(a, "r/1", "", 1, true); /* no more */
  ALL(&r, a, b);
  a->note_len = b->note_len = 0;
  struct wire *c = plain(&r, MQTT_3_1_1, "c");
  subscribe(c, "r/#", 1);
  ALL(&r, c);
  happened(c, "SUBACK 01");
  leave(a);
  leave(b);
  leave(c);
  rig_stop(&r);
}

/* ---- sessions --------------------------------------------------------------------------------------------------------------
 */
static void test_resume(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct connect keeps = {.client = "k", .expiry = 600};
  struct wire *pub = plain(&r, MQTT_5, "pub"), *k = join(&r, MQTT_5, &keeps, "CONNACK 00");
  subscribe(k, "q/#", 1);
  ALL(&r, k);
  happened(k, "SUBACK 01");
  for (int round = 0; round < 3; round++) {
    lose(k);
    publish(pub, "q/1", "one", 1, false);
    publish(pub, "q/2", "two", 2, false);
    publish(pub, "q/3", "three", 0, false);
    ALL(&r, pub);
    happened(pub, "PUBACK 00|PUBREC 00|PUBCOMP 00");
    k = join(&r, MQTT_5, &keeps, "CONNACK 00 present|q/1=one q1|q/2=two q1");
    publish(pub, "q/4", "four", 1, false);
    ALL(&r, k, pub);
    happened(k, "q/4=four q1");
    pub->note_len = 0;
  }
  lose(k);
  rig_run(&r, 601 * NS_SEC); /* its time is over */
  k = join(&r, MQTT_5, &keeps, "CONNACK 00");
  publish(pub, "q/4", "four", 1, false);
  ALL(&r, k, pub);
  happened(k, "");
  leave(k);
  leave(pub);
  rig_stop(&r);
}

static void test_taken_over(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct connect keeps = {.client = "k", .expiry = 600, .will_topic = "w", .will = "gone"};
  struct wire *pub = plain(&r, MQTT_5, "pub"), *k = join(&r, MQTT_5, &keeps, "CONNACK 00");
  subscribe(pub, "w", 0);
  subscribe(k, "q/#", 1);
  ALL(&r, k, pub);
  k->no_acks = true;
  publish(pub, "q/1", "one", 1, false);
  ALL(&r, k, pub);
  k->note_len = pub->note_len = 0;
  struct wire *k2 = wire_new(&r, MQTT_5);
  say_connect(k2, &keeps);
  ALL(&r, k, k2, pub);
  happened(k, "DISCONNECT 8e|(another connection has this client id)");
  happened(k2, "CONNACK 00 present|q/1=one q1 dup");
  happened(pub, "w=gone q0");
  publish(pub, "q/2", "two", 1, false);
  ALL(&r, k2, pub);
  happened(k2, "q/2=two q1");
  pub->note_len = 0;
  struct wire *k3 = wire_new(&r, MQTT_5); /* clean start: nothing is left */
  say_connect(k3, &(struct connect){.client = "k", .clean = true});
  ALL(&r, k2, k3, pub);
  happened(k3, "CONNACK 00");
  publish(pub, "q/3", "three", 1, false);
  ALL(&r, k3, pub);
  happened(k3, "");
  lose(k);
  lose(k2);
  leave(k3);
  leave(pub);
  rig_stop(&r);
}

/* The turn's time is over from the second look on. */
static bool is_late(void *ctx) {
  int *late = ctx;
  return *late && (*late)++ > 1;
}

/* A message to many goes out in slices, and all who are to get it are taken over in between: each gets it once. */
static void test_taken_over_meanwhile(void **state) {
  enum { N = 96 };
  struct rig r;
  struct wire *was[N], *is[N];
  int late = 0;
  char name[8];
  (void)state;
  start(&r, &(struct rig_options){.node = {.process = {.spent = is_late, .ctx = &late}}});
  struct wire *pub = plain(&r, MQTT_5, "pub");
  for (int i = 0; i < N; i++) {
    snprintf(name, sizeof name, "k%d", i);
    was[i] = join(&r, MQTT_5, &(struct connect){.client = name, .expiry = 600}, "CONNACK 00");
    subscribe(was[i], "q", 1);
    was[i]->no_acks = true;
  }
  ALL(&r, pub);
  late = 1;
  publish(pub, "q", "one", 1, false);
  assert_non_null(r.node->messages.rest);
  for (int i = 0; i < N; i++) {
    snprintf(name, sizeof name, "k%d", i);
    is[i] = wire_new(&r, MQTT_5);
    say_connect(is[i], &(struct connect){.client = name, .expiry = 600});
  }
  assert_non_null(r.node->messages.rest);
  late = 0;
  all(&r, is, N);
  ALL(&r, pub);
  happened(pub, "PUBACK 00");
  for (int i = 0; i < N; i++) {
    is[i]->notes[is[i]->note_len] = 0;
    bool again = strstr(is[i]->notes, "dup") != NULL;
    happened(is[i], again ? "CONNACK 00 present|q=one q1 dup" : "CONNACK 00 present|q=one q1");
    lose(was[i]);
    leave(is[i]);
  }
  leave(pub);
  rig_stop(&r);
}

/* Those of its filters that a resumed session may not have any more are gone, each of them, and said so. */
static void test_fewer_rights(void **state) {
  struct rig r;
  (void)state;
  start(&r, &(struct rig_options){.access = "grants:\n  some: {pub: ['**'], sub: ['a.*', 'b.*', 'c.*']}\nanonymous: some\n"});
  struct connect keeps = {.client = "k", .expiry = 600};
  struct wire *k = join(&r, MQTT_5, &keeps, "CONNACK 00");
  subscribe(k, "a/+", 0);
  subscribe(k, "b/+", 0);
  subscribe(k, "c/+", 0);
  ALL(&r, k);
  happened(k, "SUBACK 00|SUBACK 00|SUBACK 00");
  lose(k);
  struct access *fewer = access_text("grants:\n  some: {pub: ['**'], sub: ['b.*']}\nanonymous: some\n");
  access_unref(r.node->trust.access); /* as if it were judged by the new file when it comes back, and not before */
  r.node->trust.access = access_ref(fewer);
  k = join(&r, MQTT_5, &keeps, "CONNACK 00 present");
  publish(k, "a/1", "x", 0, false);
  publish(k, "b/1", "x", 0, false);
  publish(k, "c/1", "x", 0, false);
  ALL(&r, k);
  happened(k, "b/1=x q0");
  assert_int_equal(rig_metric(&r, "mqtt_filters_lost_total"), 2);
  leave(k);
  access_unref(fewer);
  rig_stop(&r);
}

static void test_will(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct connect c = {.client = "x", .clean = true, .will_topic = "w/x", .will = "gone", .keep_alive = 10};
  struct wire *seer = plain(&r, MQTT_5, "seer");
  subscribe(seer, "w/#", 0);
  struct wire *x = join(&r, MQTT_3_1_1, &c, "CONNACK 00");
  lose(x);
  ALL(&r, seer);
  happened(seer, "SUBACK 00|w/x=gone q0");
  x = join(&r, MQTT_3_1_1, &c, "CONNACK 00");
  leave(x);
  ALL(&r, seer);
  happened(seer, "");
  x = join(&r, MQTT_3_1_1, &c, "CONNACK 00");
  rig_run(&r, 17 * NS_SEC); /* it says nothing */
  ALL(&r, seer);
  assert_true(x->gone);
  happened(seer, "w/x=gone q0");
  leave(x);
  leave(seer);
  rig_stop(&r);
}

static void test_refused(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  char longest[66];
  memset(longest, 'x', 65);
  longest[65] = 0;
  struct wire *w = join(&r, MQTT_5, &(struct connect){.client = longest, .clean = true},
                        "CONNACK 85|(a client id has at most 64 bytes here)");
  assert_true(w->gone);
  free(w);
  w = wire_new(&r, MQTT_5);
  send_bytes(w, slice_str("GET / HTTP/1.1\r\n\r\n"));
  ALL(&r, w);
  assert_true(w->gone);
  free(w);
  w = wire_new(&r, MQTT_5);
  rig_run(&r, 20 * NS_SEC); /* no CONNECT */
  assert_true(w->gone);
  free(w);
  w = wire_new(&r, MQTT_5);
  lose(w);
  rig_stop(&r);
}

static void test_access(void **state) {
  struct rig r;
  (void)state;
  start(&r,
        &(struct rig_options){.access = "grants:\n  some:\n    role: client\n    pub: [\"a.**\"]\n    sub: [\"${client}.**\"]\n"
                                        "anonymous: some\n"});
  struct wire *a = plain(&r, MQTT_5, "me"), *b = plain(&r, MQTT_3_1_1, "b");
  subscribe(a, "me/#", 1);
  subscribe(a, "other/#", 1);
  publish(a, "a/1", "x", 1, false);
  publish(a, "b/1", "x", 1, false);
  subscribe(b, "me/#", 1);
  publish(b, "b/1", "x", 1, false);
  ALL(&r, a, b);
  a->notes[a->note_len] = 0;
  assert_non_null(strstr(a->notes, "SUBACK 01|SUBACK 87|PUBACK 00|PUBACK 87|(forbidden: pub 'b.1' is not allowed"));
  a->note_len = 0;
  happened(b, "SUBACK 80|PUBACK 00");
  leave(a);
  leave(b);
  rig_stop(&r);
}

/* ---- pressure --------------------------------------------------------------------------------------------------------------
 */
/* Two clients publish to each other as fast as they may, and neither waits for ever. */
static void test_each_other(void **state) {
  struct rig r;
  enum { N = 3000 };
  (void)state;
  start(&r, NULL);
  struct wire *w[2] = {plain(&r, MQTT_5, "a"), plain(&r, MQTT_3_1_1, "b")};
  subscribe(w[0], "to/a", 1);
  subscribe(w[1], "to/b", 1);
  uint64_t sent = 0;
  w[0]->quiet = w[1]->quiet = true;
  for (int i = 0; i < N; i++) {
    char text[256];
    snprintf(text, sizeof text, "%0200d", i);
    for (int k = 0; k < 2; k++) {
      if (!w[k]->reads) continue;
      publish(w[k], k ? "to/a" : "to/b", text, i % 4 == 0 ? 1 : 0, false);
      sent++;
    }
    if (i % 8 == 7) {
      settle(&r);
      drain(w[0]);
      drain(w[1]);
    }
  }
  for (int i = 0; i < 50; i++) ALL(&r, w[0], w[1]);
  assert_false(w[0]->gone || w[1]->gone);
  assert_int_equal(w[0]->published + w[1]->published, sent);
  leave(w[0]);
  leave(w[1]);
  rig_stop(&r);
}

/* A client that acknowledges nothing: what it is sent waits, and comes when it acknowledges again, or is back. */
static void test_slow(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct connect keeps = {.client = "slow", .expiry = 600};
  struct wire *pub = plain(&r, MQTT_5, "pub"), *slow = join(&r, MQTT_5, &keeps, "CONNACK 00");
  subscribe(slow, "s", 1);
  slow->no_acks = slow->quiet = pub->quiet = true;
  for (int i = 0; i < 100; i++) {
    publish(pub, "s", "message", 1, false);
    ALL(&r, pub, slow);
  }
  assert_int_equal(slow->published, 32);
  lose(slow);
  slow = wire_new(&r, MQTT_5);
  slow->quiet = true;
  say_connect(slow, &keeps);
  for (int i = 0; i < 10; i++) ALL(&r, slow, pub);
  assert_int_equal(slow->published, 100);
  leave(slow);
  leave(pub);
  rig_stop(&r);
}

/* A client that acknowledges nothing for long is not ended: what is overdue waits in its MQTT session, and what that has no
 * room for is lost, and counted. */
static void test_overdue(void **state) {
  enum { N = 3000 };
  struct rig r;
  (void)state;
  start(&r, &(struct rig_options){.node = {.limits = {.client_queue = 64 << 10}}});
  struct wire *pub = plain(&r, MQTT_3_1_1, "pub"), *slow = plain(&r, MQTT_5, "slow"), *fast = plain(&r, MQTT_5, "fast");
  subscribe(slow, "s", 1);
  subscribe(fast, "s", 1);
  ALL(&r, slow, fast);
  slow->no_acks = slow->quiet = pub->quiet = fast->quiet = true;
  for (int i = 0; i < N && !rig_metric(&r, "mqtt_messages_lost_total"); i++) {
    for (int k = 0; k < 16 && pub->reads; k++) publish(pub, "s", "a message of some forty bytes, or so....", 1, false);
    if (!pub->reads) rig_run(&r, 200 * NS_MS);
    ALL(&r, pub, slow, fast);
  }
  assert_false(slow->gone);
  assert_int_equal(slow->published, 32);
  uint64_t lost = rig_metric(&r, "mqtt_messages_lost_total");
  assert_true(lost > 0);
  slow->no_acks = false;
  slow->note_len = 0;
  for (uint16_t id = 1; id <= 32; id++) {
    struct mqtt_packet ack = {.type = MQTT_PUBACK, .id = id};
    put(slow, &ack);
  }
  for (int i = 0; i < 100; i++) ALL(&r, slow, fast, pub);
  assert_int_equal(slow->published + lost, fast->published);
  assert_int_equal(rig_metric(&r, "messages_dropped_total"), 0);
  leave(slow);
  leave(fast);
  leave(pub);
  rig_stop(&r);
}

/* Readers that fall behind and then read: what waits for them is many small messages, which take less room in MQTT than in the
 * node's queue, so that the stream takes them all and has nothing to say. */
static void test_behind(void **state) {
  enum { LARGE = 150, SMALL = 4000 };
  static const char large[1000];
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct wire *pub = plain(&r, MQTT_5, "pub"), *w[] = {plain(&r, MQTT_3_1_1, "a"), plain(&r, MQTT_5, "b")};
  for (int i = 0; i < 2; i++) {
    subscribe(w[i], "s", 0);
    w[i]->quiet = true;
  }
  for (int i = 0; i < LARGE + SMALL; i++) {
    publish_all(pub, "s", i < LARGE ? slice_of(large, sizeof large) : slice_str("small"), 0, false);
    if (i % 50 == 49) settle(&r);
  }
  for (int i = 0; i < 20; i++) ALL(&r, w[0], w[1]);
  assert_int_equal(w[0]->published, LARGE + SMALL);
  assert_int_equal(w[1]->published, LARGE + SMALL);
  leave(w[0]);
  leave(w[1]);
  leave(pub);
  rig_stop(&r);
}

/* QoS 2 waits in the queue of a client that is away, and its four steps go on where they were interrupted. */
static void test_four_steps(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct connect keeps = {.client = "k", .expiry = 600};
  struct wire *pub = plain(&r, MQTT_5, "pub"), *k = join(&r, MQTT_5, &keeps, "CONNACK 00");
  subscribe(k, "q", 2);
  ALL(&r, k);
  happened(k, "SUBACK 02");
  k->no_acks = true;
  publish(pub, "q", "sent", 2, false);
  ALL(&r, k, pub);
  happened(k, "q=sent q2");
  lose(k);
  publish(pub, "q", "kept", 2, false);
  ALL(&r, pub);
  happened(pub, "PUBREC 00|PUBCOMP 00|PUBREC 00|PUBCOMP 00");
  k = wire_new(&r, MQTT_5); /* it has seen nothing of the first one, and says PUBREC for it only */
  k->no_acks = true;
  say_connect(k, &keeps);
  ALL(&r, k);
  happened(k, "CONNACK 00 present|q=sent q2 dup|q=kept q2");
  put(k, &(struct mqtt_packet){.type = MQTT_PUBREC, .id = 1});
  settle(&r);
  lose(k); /* before it has read PUBREL */
  k = join(&r, MQTT_5, &keeps, "CONNACK 00 present|PUBREL 00|q=kept q2 dup|PUBREL 00");
  publish(pub, "q", "new", 2, false);
  ALL(&r, k, pub);
  happened(k, "q=new q2|PUBREL 00");
  lose(k);
  k = join(&r, MQTT_5, &keeps, "CONNACK 00 present");
  leave(k);
  leave(pub);
  rig_stop(&r);
}

/* Retained messages and wills have the QoS with which they were given. */
static void test_kept_exactly_once(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct wire *pub = plain(&r, MQTT_5, "pub");
  struct connect c = {.client = "x", .clean = true, .will_topic = "w", .will = "gone", .will_qos = 2, .will_retain = true};
  lose(join(&r, MQTT_3_1_1, &c, "CONNACK 00"));
  publish(pub, "r", "kept", 2, true);
  ALL(&r, pub);
  happened(pub, "PUBREC 00|PUBCOMP 00");
  for (uint8_t q = 0; q < 3; q++) {
    struct wire *s = plain(&r, MQTT_5, "s");
    char kept[32], gone[32];
    snprintf(kept, sizeof kept, "r=kept q%u retain", q);
    snprintf(gone, sizeof gone, "w=gone q%u retain", q);
    subscribe(s, "+", q);
    ALL(&r, s);
    s->notes[s->note_len] = 0;
    assert_true(strstr(s->notes, kept) && strstr(s->notes, gone));
    assert_int_equal(strstr(s->notes, "PUBREL 00") != NULL, q == 2);
    leave(s);
  }
  leave(pub);
  rig_stop(&r);
}

/* Sessions of clients that are offline lock out nobody: the one that is so for longest makes room, and its will is published.
 */
static void test_offline(void **state) {
  struct rig r;
  char name[8];
  (void)state;
  start(&r, &(struct rig_options){.node = {.limits = {.max_clients = 8, .mqtt_offline = 5}}});
  struct wire *seer = plain(&r, MQTT_5, "seer");
  subscribe(seer, "w/#", 0);
  ALL(&r, seer);
  happened(seer, "SUBACK 00");
  for (int i = 0; i < 7; i++) {
    snprintf(name, sizeof name, "k%d", i);
    struct connect c = {.client = name, .expiry = 600, .will_topic = "w/k", .will = name};
    lose(join(&r, MQTT_5, &c, "CONNACK 00"));
    rig_run(&r, NS_MS);
  }
  ALL(&r, seer);
  assert_int_equal(rig_metric(&r, "mqtt_offline"), 5);
  assert_int_equal(rig_metric(&r, "mqtt_evicted_total"), 2);
  seer->note_len = 0; /* wills, published as the connections ended */
  struct wire *on[4];
  for (int i = 0; i < 4; i++) {
    snprintf(name, sizeof name, "on%d", i);
    on[i] = plain(&r, MQTT_3_1_1, name);
    rig_run(&r, NS_MS);
  }
  assert_int_equal(rig_metric(&r, "mqtt_offline"), 2);
  struct wire *old = join(&r, MQTT_5, &(struct connect){.client = "k6", .expiry = 600}, "CONNACK 00 present"); /* the latest */
  for (int i = 0; i < 4; i++) leave(on[i]);
  leave(old);
  leave(seer);
  rig_stop(&r);
}

/* Of a full queue the oldest go, or the newest are refused. */
static void test_full_queue(void **state) {
  enum { KEPT = 1000, N = KEPT + 5 };
  (void)state;
  for (int oldest = 0; oldest < 2; oldest++) {
    struct rig r;
    char text[8];
    start(&r, &(struct rig_options){.node = {.mqtt_drops_oldest = oldest}});
    struct connect keeps = {.client = "k", .expiry = 600};
    struct wire *pub = plain(&r, MQTT_3_1_1, "pub"), *k = join(&r, MQTT_5, &keeps, "CONNACK 00");
    subscribe(k, "q", 1);
    ALL(&r, k);
    lose(k);
    pub->quiet = true;
    for (int i = 0; i < N; i++) {
      snprintf(text, sizeof text, "%d", i);
      publish(pub, "q", text, 1, false);
      if (i % 16 == 15 || i == N - 1) ALL(&r, pub);
    }
    assert_int_equal(rig_metric(&r, "mqtt_messages_lost_total"), N - KEPT);
    const struct drop *d = tally_next(r.node, NULL); /* what `macula trace q` says of it */
    assert_true(d && d->count == N - KEPT && d->len == 1 && d->topic[0] == 'q' && !strcmp(d->reason, TALLY_QUEUE));
    assert_null(tally_next(r.node, d));
    k = wire_new(&r, MQTT_5);
    say_connect(k, &keeps);
    for (int i = 0; i < 50; i++) ALL(&r, k);
    assert_int_equal(k->published, KEPT);
    k->notes[k->note_len] = 0;
    assert_int_equal(strstr(k->notes, "q=2 q1") == NULL, oldest);
    assert_int_equal(strstr(k->notes, "q=1004 q1") != NULL, oldest);
    leave(k);
    leave(pub);
    rig_stop(&r);
  }
}

/* What a resumed session is owed comes as its stream takes it, however large. */
static void test_resumed_slowly(void **state) {
  enum { N = 30, SIZE = 40000 };
  static uint8_t large[SIZE];
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct connect keeps = {.client = "k", .expiry = 600};
  struct wire *pub = plain(&r, MQTT_3_1_1, "pub"), *k = join(&r, MQTT_5, &keeps, "CONNACK 00");
  subscribe(k, "q", 1);
  ALL(&r, k);
  lose(k);
  for (int i = 0; i < N; i++) {
    uint8_t *packet = malloc(SIZE + 64);
    struct mqtt_packet p = {.type = MQTT_PUBLISH,
                            .id = ++pub->next_id,
                            .publish = {.topic = slice_str("q"), .payload = slice_of(large, SIZE), .qos = 1}};
    size_t n = mqtt_encode(&p, MQTT_3_1_1, packet, SIZE + 64);
    send_bytes(pub, slice_of(packet, n));
    free(packet);
    ALL(&r, pub);
  }
  k = wire_new(&r, MQTT_5);
  k->quiet = true;
  say_connect(k, &keeps);
  settle(&r); /* nothing is read yet */
  list_for(it, &r.node->mqtt->links) {
    const struct mqtt_link *l = container_of(it, const struct mqtt_link, all);
    assert_in_range(mqtt_link_unsent(l), 0, DOOR_UNSENT + SIZE + 1024);
  }
  for (int i = 0; i < 10 * N; i++) ALL(&r, k);
  assert_int_equal(k->published, N);
  leave(k);
  leave(pub);
  rig_stop(&r);
}

static void test_drained(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct wire *a = plain(&r, MQTT_5, "a"), *b = join(&r, MQTT_5, &(struct connect){.client = "b", .expiry = 100}, "CONNACK 00");
  lose(b);
  node_drain(r.node, sim_net_now(r.net));
  ALL(&r, a);
  a->notes[a->note_len] = 0;
  assert_non_null(strstr(a->notes, "DISCONNECT 8b"));
  assert_true(a->gone);
  free(a);
  rig_run(&r, NS_SEC);
  assert_true(node_drained(r.node, sim_net_now(r.net)));
  rig_stop(&r);
}

/* Whatever comes, the node stands. */
static void test_hostile(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  uint32_t dice = 12345;
  for (int round = 0; round < 300; round++) {
    struct wire *w = wire_new(&r, round % 2 ? MQTT_5 : MQTT_3_1_1);
    w->quiet = true;
    char name[8];
    snprintf(name, sizeof name, "h%d", round % 5);
    if (round % 4) say_connect(w, &(struct connect){.client = name, .clean = round % 3 == 0, .expiry = round % 2 ? 30 : 0});
    if (round % 3 == 1) subscribe(w, "#", 1);
    if (round % 5 == 1) publish(w, "h/1", "x", (uint8_t)(round % 3), round % 7 == 0);
    uint8_t junk[64];
    for (size_t i = 0; i < sizeof junk; i++) {
      dice = dice * 1103515245u + 12345u;
      junk[i] = (uint8_t)(dice >> 16);
    }
    if (round % 2) junk[0] = (uint8_t)(round % 15 + 1) << 4;
    junk[1] %= 60;
    send_bytes(w, slice_of(junk, 1 + dice % (sizeof junk - 1)));
    settle(&r);
    if (round % 2)
      lose(w);
    else {
      rig_run(&r, 5 * NS_MS);
      lose(w);
    }
  }
  rig_run(&r, 60 * NS_SEC);
  rig_stop(&r);
}

static void test_no_memory(void **state) {
  (void)state;
  for (uint64_t at = 1; at < 400; at += at < 120 ? 1 : 7) {
    struct rig r;
    struct mem_fail fail = {0};
    start(&r, &(struct rig_options){.node = {.fail = &fail}});
    struct wire *pub = plain(&r, MQTT_5, "pub");
    fail.countdown = at;
    struct wire *w = wire_new(&r, MQTT_5);
    w->quiet = true;
    if (!w->gone) say_connect(w, &(struct connect){.client = "f", .expiry = 60, .will_topic = "w", .will = "x"});
    settle(&r);
    if (!w->gone) subscribe(w, "f/#", 1 + at % 2);
    pub->quiet = true;
    if (!pub->gone) publish(pub, "f/1", "one", 1 + at / 2 % 2, true);
    if (!w->gone) publish(w, "f/2", "two", 2, false);
    ALL(&r, pub, w);
    lose(w);
    if (!pub->gone) publish(pub, "f/3", "three", 1 + at / 2 % 2, false);
    ALL(&r, pub);
    w = wire_new(&r, MQTT_5);
    w->quiet = true;
    if (!w->gone) say_connect(w, &(struct connect){.client = "f", .expiry = 60});
    ALL(&r, pub, w);
    fail.countdown = 0;
    lose(w);
    lose(pub);
    rig_stop(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_both_ways),    cmocka_unit_test(test_exactly_once),
                                     cmocka_unit_test(test_four_steps),   cmocka_unit_test(test_kept_exactly_once),
                                     cmocka_unit_test(test_filters),      cmocka_unit_test(test_retained),
                                     cmocka_unit_test(test_resume),       cmocka_unit_test(test_taken_over),
                                     cmocka_unit_test(test_will),         cmocka_unit_test(test_taken_over_meanwhile),
                                     cmocka_unit_test(test_fewer_rights), cmocka_unit_test(test_refused),
                                     cmocka_unit_test(test_access),       cmocka_unit_test(test_each_other),
                                     cmocka_unit_test(test_slow),         cmocka_unit_test(test_overdue),
                                     cmocka_unit_test(test_behind),       cmocka_unit_test(test_drained),
                                     cmocka_unit_test(test_offline),      cmocka_unit_test(test_resumed_slowly),
                                     cmocka_unit_test(test_full_queue),   cmocka_unit_test(test_hostile),
                                     cmocka_unit_test(test_no_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
