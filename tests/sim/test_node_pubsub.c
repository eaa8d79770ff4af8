/* Publish and subscribe through a node: who hears what, and what a slow subscriber costs the others (nothing). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node_rig.h"

static uint64_t metric(struct rig *r, const char *name) {
  char *text, key[128];
  assert_int_equal(node_metrics(r->node, sim_net_now(r->net), &text), 0);
  snprintf(key, sizeof key, "\n%s ", name);
  const char *at = strstr(text, key);
  uint64_t v = at ? strtoull(at + strlen(key), NULL, 10) : 0;
  if (!at) fail_msg("no metric %s", name);
  free(text);
  return v;
}

static void test_who_hears(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.allow_unverified = true}};
  (void)state;
  rig_start(&r, &o);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT),
                    *old = rig_join(&r, RIG_NO_CERT, NULL, RIG_BASE);
  struct slice all = slice_str("sensor.#");
  struct msg m = {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &all}}};
  rig_send(old, &m);
  assert_int_equal(rig_subscribe(a, "sensor/**"), 0);
  assert_int_equal(rig_subscribe(b, "sensor.*.temp"), 0);
  assert_int_equal(rig_subscribe(b, "sensor.**"), 0);
  assert_int_equal(rig_subscribe(b, "sensor.kitchen.temp"), 0);
  assert_int_equal(rig_publish(a, "sensor.kitchen.temp", "21.5", 1, false, 1), 0);
  struct msg got = rig_expect(b, MSG_PUBLISH);
  assert_true(slice_is(got.publish.topic, "sensor.kitchen.temp") && slice_is(got.publish.payload, "21.5"));
  assert_int_equal(got.publish.qos, 1);
  assert_false(got.publish.has_ref);
  (void)rig_expect(old, MSG_PUBLISH);
  assert_true(rig_quiet(b, MSG_PUBLISH, NS_SEC)); /* one copy */
  assert_true(rig_quiet(a, MSG_PUBLISH, 0));      /* not its own */
  rig_publish_only(old, "sensor/x", slice_str("y"), 0);
  assert_true(slice_is(rig_expect(old, MSG_PUBLISH).publish.topic, "sensor.x")); /* its own, as in the original */
  (void)rig_expect(a, MSG_PUBLISH);
  /* Own messages on demand. */
  m = (struct msg){.type = MSG_SUBSCRIBE,
                   .subscribe = {.topics = {.count = 1, .items = &all}, .own = true, .ref = 3, .has_ref = true}};
  rig_send(a, &m);
  assert_int_equal(rig_expect(a, MSG_ACK).ack.ref, 3);
  assert_int_equal(rig_publish(a, "sensor.q", "", 0, false, 2), 0);
  assert_int_equal(rig_expect(old, MSG_PUBLISH).publish.payload.n, 0);
  assert_int_equal(a->counts[MSG_PUBLISH], 2);
  /* No more after UNSUBSCRIBE. */
  m.type = MSG_UNSUBSCRIBE;
  rig_send(a, &m);
  (void)rig_expect(a, MSG_ACK);
  assert_int_equal(rig_publish(b, "sensor.q", "z", 0, false, 2), 0);
  (void)rig_expect(old, MSG_PUBLISH);
  assert_int_equal(a->counts[MSG_PUBLISH], 2);
  rig_stop(&r);
}

static void test_refusals(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.limits = {.client_subscriptions = 3, .retained_count = 1}}};
  (void)state;
  rig_start(&r, &o);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_publish(a, "a..b", "1", 0, false, 1), MACULA_INVALID_TOPIC);
  assert_int_equal(rig_publish(a, "a.*", "1", 1, false, 1), MACULA_INVALID_TOPIC);
  assert_int_equal(rig_publish(a, "a.b", "1", 2, false, 1), MACULA_UNSUPPORTED_QOS);
  assert_int_equal(rig_subscribe(a, "te*mp"), MACULA_INVALID_TOPIC);
  assert_int_equal(rig_subscribe(a, "a"), 0);
  assert_int_equal(rig_subscribe(a, "a"), 0); /* idempotent */
  struct slice three[3] = {slice_str("b"), slice_str("c"), slice_str("d")};
  struct msg m = {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 3, .items = three}, .ref = 1, .has_ref = true}};
  rig_send(a, &m);
  assert_true(slice_is(rig_expect(a, MSG_ACK).ack.code, "max_subscriptions_reached"));
  assert_int_equal(metric(&r, "macula_table_entries{table=\"subscriptions\"}"), 1); /* all or nothing */
  assert_int_equal(rig_subscribe(b, "b"), 0);
  assert_int_equal(rig_publish(a, "r.1", "1", 0, true, 1), 0);
  assert_int_equal(rig_publish(a, "r.2", "1", 0, true, 2), MACULA_RETAIN_FULL);
  assert_int_equal(rig_publish(a, "r.1", "", 0, true, 3), 0);
  assert_int_equal(rig_publish(a, "r.2", "1", 0, true, 4), 0);
  rig_stop(&r);
}

static struct msg subscribe_to(struct slice *names, uint32_t count, bool own) {
  return (struct msg){.type = MSG_SUBSCRIBE,
                      .subscribe = {.topics = {.count = count, .items = names}, .own = own, .ref = 1, .has_ref = true}};
}

/* A SUBSCRIBE or UNSUBSCRIBE that fails changes nothing: no option of a pattern held before either, nor one named twice. */
static void test_failure_changes_nothing(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.limits = {.client_subscriptions = 3}}};
  (void)state;
  rig_start(&r, &o);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT);
  struct slice held[2] = {slice_str("a"), slice_str("own")}, bad[2] = {slice_str("a"), slice_str("x..y")},
               many[6] = {slice_str("a"),   slice_str("own"), slice_str("a"),
                          slice_str("new"), slice_str("new"), slice_str("one")};
  struct msg m = subscribe_to(held, 1, false);
  rig_send(a, &m);
  assert_int_equal(rig_expect(a, MSG_ACK).ack.code.n, 0);
  m = subscribe_to(&held[1], 1, true);
  rig_send(a, &m);
  assert_int_equal(rig_expect(a, MSG_ACK).ack.code.n, 0);
  for (int i = 0; i < 5; i++) {
    if (i == 0) m = subscribe_to(bad, 2, true);
    if (i == 1) m = subscribe_to(many, 6, true);
    if (i == 2) m = subscribe_to(many, 6, false);
    if (i == 3) m = subscribe_to(bad, 2, false), m.type = MSG_UNSUBSCRIBE;
    if (i == 4) m = subscribe_to(held, 1, true), m.subscribe.qos = 2;
    rig_send(a, &m);
    assert_true(rig_expect(a, MSG_ACK).ack.code.n);
    assert_int_equal(metric(&r, "macula_table_entries{table=\"subscriptions\"}"), 2);
    uint64_t before = a->counts[MSG_PUBLISH];
    assert_int_equal(rig_publish(a, "a", "not its own", 0, false, 10), 0);
    rig_run(&r, NS_SEC);
    assert_int_equal(a->counts[MSG_PUBLISH], before);
    assert_int_equal(rig_publish(a, "own", "its own", 0, false, 11), 0);
    rig_run(&r, NS_SEC);
    assert_int_equal(a->counts[MSG_PUBLISH], before + 1);
    assert_int_equal(rig_publish(b, "a", "another's", 0, false, 1), 0);
    rig_run(&r, NS_SEC);
    assert_int_equal(a->counts[MSG_PUBLISH], before + 2);
  }
  /* Who is not answered cannot be told: what it may hold goes. */
  m.type = MSG_UNSUBSCRIBE;
  m.subscribe.topics = (struct msg_list){.count = 2, .items = bad};
  m.subscribe.has_ref = false;
  rig_send(a, &m);
  rig_run(&r, NS_SEC);
  assert_int_equal(metric(&r, "macula_table_entries{table=\"subscriptions\"}"), 1);
  rig_stop(&r);
}

static struct slice refusal(struct rig_client *c, const struct msg *m) {
  rig_send(c, m);
  return rig_expect(c, MSG_ACK).ack.message;
}

/* Whoever speaks the protocol without our library is told the rule as well, for each request that has a name. */
static void test_which_rule(void **state) {
  static const char too_many[] = "it has 33 segments, at most 32 are allowed",
                    too_long[] = "it has 256 bytes, at most 255 are allowed";
  struct rig r;
  char deep[66], longer[257], call[320];
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, RIG_LOOPBACK, NULL, RIG_EXT);
  for (unsigned i = 0; i < 65; i++) deep[i] = i & 1 ? '.' : 'a';
  deep[65] = 0;
  memset(longer, 'a', 256);
  longer[256] = 0;
  struct slice names[2] = {slice_str("fine"), slice_str(deep)};
  struct msg m = {.type = MSG_PUBLISH, .publish = {.topic = slice_str(deep), .ref = 1, .has_ref = true}};
  assert_true(slice_is(refusal(a, &m), too_many));
  m.publish.topic = slice_str(longer);
  assert_true(slice_is(refusal(a, &m), too_long));
  m = (struct msg){.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 2, .items = names}, .ref = 1, .has_ref = true}};
  assert_true(slice_is(refusal(a, &m), too_many));
  m.type = MSG_UNSUBSCRIBE;
  assert_true(slice_is(refusal(a, &m), too_many));
  m = (struct msg){.type = MSG_REGISTER, .reg = {.procedure = slice_str(longer), .ref = 1, .has_ref = true}};
  assert_true(slice_is(refusal(a, &m), too_long));
  m = (struct msg){.type = MSG_UNREGISTER, .unreg = {.procedure = slice_str(longer), .ref = 1, .has_ref = true}};
  assert_true(slice_is(refusal(a, &m), too_long));
  m = (struct msg){.type = MSG_CAST, .call = {.procedure = slice_str(deep), .ref = 1, .has_ref = true}};
  assert_true(slice_is(refusal(a, &m), too_many));
  assert_true(slice_is(rig_ask(a, deep, "{}").error.message, too_many));
  snprintf(call, sizeof call, "{\"key\":\"%s\"}", longer);
  assert_true(slice_is(rig_ask(a, "com.macula.node.dht_get", call).error.message,
                       "neither a key of 64 digits nor a procedure: it has 256 bytes, at most 255 are allowed"));
  rig_stop(&r);
}

static void test_retained(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_publish(a, "room.a", "1", 1, true, 1), 0);
  assert_int_equal(rig_publish(a, "room.a", "2", 0, true, 2), 0);
  assert_int_equal(rig_publish(a, "room.b", "3", 0, true, 3), 0);
  struct slice two[2] = {slice_str("room.a"), slice_str("other.*")};
  struct msg m = {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 2, .items = two}, .ref = 1, .has_ref = true}};
  rig_send(b, &m);
  assert_int_equal(rig_expect(b, MSG_ACK).ack.ref, 1);
  struct msg got = rig_expect(b, MSG_PUBLISH); /* after the ACK */
  assert_true(got.publish.retain && slice_is(got.publish.payload, "2"));
  assert_true(rig_quiet(b, MSG_PUBLISH, NS_SEC));
  assert_int_equal(rig_subscribe(b, "room.*"), 0);
  (void)rig_expect(b, MSG_PUBLISH);
  (void)rig_expect(b, MSG_PUBLISH);
  assert_int_equal(rig_subscribe(b, "room.*"), 0); /* not new */
  assert_true(rig_quiet(b, MSG_PUBLISH, NS_SEC));
  assert_int_equal(rig_publish(a, "room.a", "", 0, true, 4), 0);
  assert_int_equal(metric(&r, "macula_table_entries{table=\"retained\"}"), 1);
  rig_stop(&r);
}

/* Patterns made so that one topic reaches them all: such a publish is refused once it has cost enough, all others are served.
 */
static void test_costly_topic(void **state) {
  enum { PATTERNS = 4000, A_FRAME = 200 };
  static char text[A_FRAME][64];
  static struct slice patterns[A_FRAME];
  char topic[64] = "a";
  struct rig r;
  struct rig_options o = {.node = {.limits = {.client_subscriptions = PATTERNS}}};
  (void)state;
  rig_start(&r, &o);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT),
                    *c = rig_join(&r, 0, NULL, RIG_EXT);
  for (int i = 1; i < 32; i++) strcat(topic, ".a");
  for (unsigned k = 0; k < PATTERNS;) {
    for (unsigned i = 0; i < A_FRAME; i++, k++) {
      strcpy(text[i], "a");
      for (unsigned bit = 0; bit < 12; bit++) strcat(text[i], k >> bit & 1 ? ".**.a" : ".a");
      patterns[i] = slice_str(text[i]);
    }
    struct msg m = {.type = MSG_SUBSCRIBE,
                    .subscribe = {.topics = {.count = A_FRAME, .items = patterns}, .ref = k, .has_ref = true}};
    rig_send(a, &m);
    assert_int_equal(rig_expect(a, MSG_ACK).ack.code.n, 0);
  }
  assert_int_equal(rig_subscribe(b, "*.a.**"), 0);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(rig_publish(a, topic, "1", 0, false, 1), MACULA_RATE_LIMITED);
    assert_int_equal(rig_publish(c, "home.a.temp", "1", 0, false, 2), 0);
    (void)rig_expect(b, MSG_PUBLISH);
  }
  assert_int_equal(metric(&r, "macula_messages_too_costly_total"), 3);
  assert_int_equal(b->counts[MSG_PUBLISH], 3);
  rig_stop(&r);
}

/* A subscription that compares long with each retained message takes more than one turn, and hears what matches at the end. */
static void test_retained_costly(void **state) {
  enum { TOPICS = 1500 };
  char topic[96], pattern[96] = "**";
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT);
  for (int k = 0; k < TOPICS; k++) {
    topic[0] = 0;
    for (int i = 0; i < 30; i++) strcat(topic, "a.");
    sprintf(topic + strlen(topic), k < TOPICS - 1 ? "x%d" : "z", k);
    assert_int_equal(rig_publish(a, topic, "1", 0, true, (uint64_t)k), 0);
  }
  for (int i = 0; i < 14; i++) strcat(pattern, ".a");
  strcat(pattern, ".z");
  assert_int_equal(rig_subscribe(b, pattern), 0);
  assert_true(slice_is(rig_expect(b, MSG_PUBLISH).publish.topic, topic));
  assert_true(metric(&r, "macula_memory_peak_bytes{table=\"replays\"}") > 0);
  assert_int_equal(metric(&r, "macula_table_entries{table=\"replays\"}"), 0);
  rig_stop(&r);
}

/* More than its queue holds comes as fast as it reads, nothing is lost, and unsubscribing ends it. */
static void test_retained_much(void **state) {
  struct rig r;
  char topic[32], payload[4000];
  (void)state;
  rig_start(&r, NULL);
  memset(payload, 'p', sizeof payload - 1);
  payload[sizeof payload - 1] = 0;
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT),
                    *c = rig_join(&r, 0, NULL, RIG_EXT);
  for (int i = 0; i < 1000; i++) {
    snprintf(topic, sizeof topic, "much.%d", i);
    assert_int_equal(rig_publish(a, topic, payload, i % 2, true, (uint64_t)i + 1), 0);
  }
  assert_int_equal(rig_subscribe(b, "much.*"), 0);
  assert_int_equal(rig_subscribe(b, "much.7"), 0);
  assert_int_equal(rig_publish(a, "much.new", "1", 0, true, 5000), 0);
  rig_run(&r, 2 * NS_SEC);
  assert_int_equal(b->counts[MSG_PUBLISH], 1002);
  assert_int_equal(metric(&r, "macula_messages_dropped_total"), 0);
  c->mute = true;
  struct slice all = slice_str("**");
  struct msg m = {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &all}}};
  rig_send(c, &m);
  rig_run(&r, NS_SEC);
  assert_in_range(metric(&r, "macula_send_queue_bytes"), 256 << 10, 2 << 20);
  uint64_t sent = metric(&r, "macula_messages_delivered_total");
  m.type = MSG_UNSUBSCRIBE;
  rig_send(c, &m);
  rig_run(&r, NS_SEC);
  assert_int_equal(metric(&r, "macula_messages_delivered_total"), sent);
  rig_stop(&r);
}

static void test_duplicates(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_subscribe(b, "t"), 0);
  assert_int_equal(rig_publish(a, "t", "1", 1, false, 77), 0);
  assert_int_equal(rig_publish(a, "t", "1", 1, false, 77), 0);
  (void)rig_expect(b, MSG_PUBLISH);
  assert_true(rig_quiet(b, MSG_PUBLISH, NS_SEC));
  /* From the same client after a reconnect, too. */
  struct rig_client *a2 = rig_client(&r, 0, a->identity);
  memcpy(a2->instance, a->instance, sizeof a->instance);
  rig_opened(a2);
  rig_connect(a2, RIG_EXT, "test", NULL);
  (void)rig_expect(a2, MSG_PONG);
  assert_int_equal(rig_publish(a2, "t", "1", 1, false, 77), 0);
  assert_true(rig_quiet(b, MSG_PUBLISH, NS_SEC));
  /* Another client's id is another id, and QoS 0 is never a duplicate. */
  assert_int_equal(rig_publish(b, "t", "1", 1, false, 77), 0);
  assert_int_equal(rig_publish(a2, "t", "1", 0, false, 77), 0);
  assert_int_equal(rig_publish(a2, "t", "1", 0, false, 77), 0);
  (void)rig_expect(b, MSG_PUBLISH);
  (void)rig_expect(b, MSG_PUBLISH);
  rig_run(&r, 61 * NS_SEC);
  assert_int_equal(rig_publish(a2, "t", "1", 1, false, 77), 0);
  (void)rig_expect(b, MSG_PUBLISH);
  rig_stop(&r);
}

/* 1 MiB frames through windows of 64 KiB, to several subscribers, beside small ones. */
static void test_large(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b[3];
  size_t n = (1 << 20) - 200;
  uint8_t *p = malloc(n);
  for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(i * 7 >> 3);
  for (int i = 0; i < 3; i++) {
    b[i] = rig_join(&r, 0, NULL, RIG_EXT);
    assert_int_equal(rig_subscribe(b[i], "big.*"), 0);
  }
  for (int k = 0; k < 3; k++) {
    rig_publish_only(a, "big.1", slice_of(p, n), 1);
    rig_publish_only(a, "big.2", slice_str("small"), 1);
    for (int i = 0; i < 3; i++) {
      assert_true(slice_eq(rig_expect(b[i], MSG_PUBLISH).publish.payload, slice_of(p, n)));
      assert_true(slice_is(rig_expect(b[i], MSG_PUBLISH).publish.payload, "small"));
    }
  }
  rig_run(&r, NS_SEC);
  assert_int_equal(metric(&r, "macula_send_queue_bytes"), 0);
  assert_int_equal(metric(&r, "macula_receive_reserved_bytes"), 0);
  assert_true(metric(&r, "macula_memory_bytes{table=\"receive\"}") < 512); /* the stream's record */
  free(p);
  rig_stop(&r);
}

/* A subscriber that stops reading costs the others nothing: QoS 0 is dropped for it, and counted. */
static void test_slow_qos0(void **state) {
  struct rig r;
  char payload[512];
  (void)state;
  rig_start(&r, NULL);
  memset(payload, 'x', sizeof payload);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *good = rig_join(&r, 0, NULL, RIG_EXT),
                    *slow = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_subscribe(good, "t"), 0);
  assert_int_equal(rig_subscribe(slow, "t"), 0);
  slow->mute = true;
  for (int i = 0; i < 8000; i++) {
    rig_publish_only(a, "t", slice_of(payload, sizeof payload), 0);
    if (i % 50 == 49) rig_run(&r, 2 * NS_MS);
  }
  rig_run(&r, 5 * NS_SEC);
  assert_int_equal(good->counts[MSG_PUBLISH], 8000);
  assert_false(slow->closed);
  uint64_t dropped = metric(&r, "macula_messages_dropped_total");
  assert_in_range(dropped, 1, 8000);
  assert_in_range(metric(&r, "macula_send_queue_bytes"), 1, 2 << 20);
  rig_stop(&r);
}

static void test_slow_qos1(void **state) {
  struct rig r;
  char payload[1000];
  (void)state;
  rig_start(&r, NULL);
  memset(payload, 'x', sizeof payload - 1);
  payload[sizeof payload - 1] = 0;
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *good = rig_join(&r, 0, NULL, RIG_EXT),
                    *slow = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_subscribe(good, "t"), 0);
  assert_int_equal(rig_subscribe(slow, "t"), 0);
  slow->mute = true;
  for (uint64_t i = 0; i < 2000; i++) assert_int_equal(rig_publish(a, "t", payload, 1, false, i + 1), 0);
  rig_run(&r, NS_SEC);
  assert_int_equal(good->counts[MSG_PUBLISH], 2000);
  assert_int_equal(rig_closed(slow), MACULA_SLOW_CONSUMER);
  assert_int_equal(metric(&r, "macula_slow_consumers_total"), 1);
  assert_int_equal(metric(&r, "macula_send_queue_bytes"), 0);
  rig_stop(&r);
}

/* The node-wide pool is full of what stalled subscribers do not take: publishers wait, the stalled are let go, and then
 * everything published is delivered to those who read. */
static void test_pool(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.limits = {.send_pool = 1 << 20}}};
  char payload[900];
  (void)state;
  rig_start(&r, &o);
  memset(payload, 'x', sizeof payload);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *good = rig_join(&r, 0, NULL, RIG_EXT), *slow[8];
  for (int i = 0; i < 8; i++) {
    slow[i] = rig_join(&r, 0, NULL, RIG_EXT);
    assert_int_equal(rig_subscribe(slow[i], "t"), 0);
    slow[i]->mute = true;
  }
  for (int i = 0; i < 3000; i++) {
    rig_publish_only(a, "t", slice_of(payload, sizeof payload), 0);
    rig_publish_only(a, "g", slice_of(payload, 10), 0);
    if (i == 0) assert_int_equal(rig_subscribe(good, "g"), 0);
    if (i % 10 == 9) rig_run(&r, NS_MS);
  }
  struct msg ping = {.type = MSG_PING, .ping = {7}};
  rig_send(good, &ping);
  (void)rig_expect(good, MSG_PONG); /* others are served meanwhile */
  rig_run(&r, 10 * NS_SEC);
  assert_in_range(good->counts[MSG_PUBLISH], 2999, 3000);
  assert_in_range(metric(&r, "macula_memory_peak_bytes{table=\"send_queues\"}"), 1, 1 << 20);
  rig_stop(&r);
}

/* Over a bad network nothing is lost or reordered. */
static void test_bad_network(void **state) {
  struct sim_link link = {.loss = 0.05, .dup = 0.02, .reorder = 0.1, .delay = 10 * NS_MS, .jitter = 5 * NS_MS};
  (void)state;
  for (uint64_t seed = 1; seed <= 5; seed++) {
    struct rig r;
    struct rig_options o = {.link = &link, .seed = seed};
    rig_start(&r, &o);
    struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT);
    assert_int_equal(rig_subscribe(b, "t.*"), 0);
    for (int i = 0; i < 500; i++) {
      char text[32];
      snprintf(text, sizeof text, "%d", i);
      rig_publish_only(a, "t.x", slice_str(text), i % 2);
      if (i % 20 == 0) rig_run(&r, 20 * NS_MS);
    }
    for (int i = 0; i < 500; i++) {
      char text[32];
      snprintf(text, sizeof text, "%d", i);
      assert_true(slice_is(rig_expect(b, MSG_PUBLISH).publish.payload, text));
    }
    rig_stop(&r);
  }
}

/* What comes out of order is held until the gap before it is filled: the windows that are granted fit into connection_pool, so
 * that a fast publisher on a bad path does not end for what it was granted. */
static void test_bad_network_fast(void **state) {
  static const uint8_t payload[60000];
  struct sim_link link = {.loss = 0.02, .delay = 20 * NS_MS};
  (void)state;
  for (size_t pool = 1 << 20; pool <= 16 << 20; pool *= 4) {
    struct rig r;
    struct rig_options o = {.link = &link, .node = {.limits = {.connection_pool = pool}}};
    rig_start(&r, &o);
    struct rig_client *a[12];
    for (int i = 0; i < 12; i++) a[i] = rig_join(&r, 0, NULL, RIG_EXT);
    sim_net_set_link(r.net, &(struct sim_link){.delay = 20 * NS_MS});
    for (int k = 0; k < 200; k++) { /* windows grow */
      for (int i = 0; i < 12; i++) rig_publish_only(a[i], "t", slice_of(payload, sizeof payload), 0);
      rig_run(&r, 20 * NS_MS);
    }
    uint64_t grown = rig_metric(&r, "receive_windows_grown_bytes");
    assert_in_range(grown, pool > 2 << 20 ? 64 << 10 : 0, pool / 2);
    for (int k = 0; k < 50; k++) {
      /* A packet of each is lost, and what follows fills the windows. */
      sim_net_set_link(r.net, &link);
      for (int i = 0; i < 12; i++)
        for (int n = 0; n < 4; n++) rig_publish_only(a[i], "t", slice_of(payload, sizeof payload), 0);
      rig_run(&r, 40 * NS_MS);
      sim_net_set_link(r.net, &(struct sim_link){.delay = 20 * NS_MS});
      rig_run(&r, 200 * NS_MS);
    }
    for (int i = 0; i < 12; i++) assert_false(a[i]->closed);
    assert_int_equal(rig_metric(&r, "quic_refused_memory_total"), 0);
    rig_stop(&r);
  }
}

/* Other streams are served just the same; answers come where the question was, messages where CONNECT was. */
static void test_side_stream(void **state) {
  struct rig r;
  uint8_t buf[256];
  int64_t side;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_subscribe(b, "t"), 0);
  struct msg m = {.type = MSG_PUBLISH, .publish = {.topic = slice_str("t"), .payload = slice_str("side")}};
  size_t n = (size_t)msg_encode(&m, buf, sizeof buf);
  for (int i = 0; i < 250; i++) { /* more streams than may be open at once */
    while (quic_stream_open(a->conn, &side) != 0) rig_run(&r, 10 * NS_MS);
    assert_int_equal(quic_stream_write(a->conn, side, slice_of(buf, n)), 0);
    quic_stream_finish(a->conn, side);
    (void)rig_expect(b, MSG_PUBLISH);
  }
  assert_int_equal(rig_publish(a, "t", "main", 1, false, 1), 0);
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_who_hears),
      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_failure_changes_nothing),
      cmocka_unit_test(test_which_rule),
      cmocka_unit_test(test_retained),
      cmocka_unit_test(test_costly_topic),
      cmocka_unit_test(test_retained_costly),
      cmocka_unit_test(test_retained_much),
      cmocka_unit_test(test_duplicates),
      cmocka_unit_test(test_large),
      cmocka_unit_test(test_slow_qos0),
      cmocka_unit_test(test_slow_qos1),
      cmocka_unit_test(test_pool),
      cmocka_unit_test(test_bad_network),
      cmocka_unit_test(test_bad_network_fast),
      cmocka_unit_test(test_side_stream),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
