/* Publishes across nodes over real QUIC on the in-memory network: who hears what and how often, loss and partition, QoS 1,
 * retained messages. */
#include "mesh_rig.h"
#include "node/messages/spread.h"
#include "node/session/session.h"
#include "wire/interest.h"

static struct rig_client *user(struct mesh *m, unsigned node) { return rig_join(&m->rig[node], 0, NULL, RIG_EXT); }

static struct rig_client *listener(struct mesh *m, unsigned node, const char *pattern) {
  struct rig_client *c = user(m, node);
  assert_int_equal(rig_subscribe(c, pattern), 0);
  return c;
}

static struct slice heard(struct rig_client *c) {
  struct msg m = rig_expect(c, MSG_PUBLISH);
  assert_false(m.publish.has_ref || m.publish.publisher.p || m.publish.instance.p || m.publish.replay || m.publish.retained_ms);
  return m.publish.payload;
}
static void hears(struct rig_client *c, const char *payload) {
  struct slice got = heard(c);
  if (!slice_is(got, payload)) fail_msg("%.*s and not %s", (int)got.n, (const char *)got.p, payload);
}
static void unsubscribe(struct rig_client *c, const char *pattern) {
  struct slice s = slice_str(pattern);
  struct msg m = {.type = MSG_UNSUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &s}, .ref = 7, .has_ref = true}};
  rig_send(c, &m);
  assert_int_equal(rig_expect(c, MSG_ACK).ack.code.n, 0);
}
static void silent(struct rig_client *c) { assert_true(rig_quiet(c, MSG_PUBLISH, NS_SEC)); }

/* The wildcard table of the original's end-to-end test: five messages, three subscribers on nodes of their own. */
static void test_wildcards(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 4, NULL);
  struct rig_client *exact = listener(&m, 1, "sensor.temp.room1"), *single = listener(&m, 2, "sensor.*.room1"),
                    *multi = listener(&m, 3, "sensor.**"), *pub = user(&m, 0);
  mesh_settle(&m);
  static const char *const topics[] = {"sensor.temp.room1", "sensor.humidity.room1", "sensor.temp.room2", "other.topic",
                                       "sensor.temp.room1.extra"};
  for (uint64_t i = 0; i < 5; i++) {
    char text[2] = {(char)('1' + i), 0};
    assert_int_equal(rig_publish(pub, topics[i], text, (int)(i & 1), false, i + 1), 0);
  }
  hears(exact, "1");
  hears(single, "1");
  hears(single, "2");
  hears(multi, "1");
  hears(multi, "2");
  hears(multi, "3");
  hears(multi, "5");
  silent(exact);
  silent(single);
  silent(multi);
  silent(pub);
  mesh_stop(&m);
}

/* Names that only widened segments hold, through interest, retained messages and the refusals of another node. */
static void test_names_of_people(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  struct rig_client *one = listener(&m, 1, "Büro 2/+/Temp °C"), *all = listener(&m, 1, "Büro 2/#"), *pub = user(&m, 0);
  mesh_settle(&m);
  assert_int_equal(rig_publish(pub, "Flur 1/%00/gesetzt", "20", 0, true, 1), 0);
  assert_int_equal(rig_publish(pub, "Büro 2/%2A%2A/Temp °C", "21", 1, false, 2), 0);
  hears(one, "21");
  hears(all, "21");
  struct rig_client *late = listener(&m, 1, "+.%00.*");
  struct msg got = rig_expect(late, MSG_PUBLISH);
  assert_true(slice_is(got.publish.topic, "Flur 1.%00.gesetzt") && slice_is(got.publish.payload, "20"));
  static const char *const wrong[] = {"a..b", "a\tb", "a%2eb", "%41", "%", "\xff", "a.*", "x+y", "\xe2\x80\xae"};
  for (uint64_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
    assert_int_equal(rig_publish(pub, wrong[i], "x", 0, false, 10 + i), MACULA_INVALID_TOPIC);
  silent(one);
  silent(all);
  mesh_stop(&m);
}

static void test_one_copy_to_a_node(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 3, NULL);
  struct rig_client *far[20], *near = user(&m, 0), *pub = user(&m, 0);
  for (int i = 0; i < 20; i++) {
    far[i] = user(&m, 1);
    assert_int_equal(rig_subscribe(far[i], i & 1 ? "a.*" : "a.b"), 0);
    assert_int_equal(rig_subscribe(far[i], "a.**"), 0);
  }
  assert_int_equal(rig_subscribe(near, "a.b"), 0);
  assert_int_equal(rig_subscribe(pub, "a.b"), 0);
  mesh_settle(&m);
  assert_int_equal(rig_publish(pub, "a.b", "x", 0, false, 1), 0);
  hears(near, "x");
  for (int i = 0; i < 20; i++) hears(far[i], "x");
  for (int i = 0; i < 20; i++) silent(far[i]);
  silent(pub);
  assert_int_equal(rig_metric(&m.rig[0], "mesh_messages_sent_total"), 1);
  assert_int_equal(rig_metric(&m.rig[1], "mesh_messages_received_total"), 1);
  assert_int_equal(rig_metric(&m.rig[1], "mesh_messages_sent_total"), 0); /* not on from there */
  assert_int_equal(rig_metric(&m.rig[2], "mesh_messages_received_total"), 0);
  /* The last listener's end is known everywhere. */
  for (int i = 0; i < 20; i++) rig_kill(far[i]);
  rig_run(&m.rig[0], 60 * NS_SEC);
  mesh_settle(&m);
  assert_int_equal(rig_publish(pub, "a.b", "y", 0, false, 2), 0);
  hears(near, "y");
  assert_int_equal(rig_metric(&m.rig[0], "mesh_messages_sent_total"), 1);
  mesh_stop(&m);
}

/* Whoever unsubscribes from what it does not hold takes it from nobody in the eyes of other nodes. */
static void test_unsubscribes_what_others_hold(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  struct rig_client *sub = listener(&m, 1, "a.*"), *other = listener(&m, 1, "a.**"), *pub = user(&m, 0);
  unsubscribe(other, "a.*");
  unsubscribe(other, "a.**");
  unsubscribe(other, "a.**");
  mesh_settle(&m);
  assert_int_equal(rig_publish(pub, "a.b", "x", 0, false, 1), 0);
  hears(sub, "x");
  silent(other);
  mesh_stop(&m);
}

/* Each of five nodes publishes; each hears every message once, and each publisher's in order. */
static void test_loss_and_reordering(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 4; seed++) {
    enum { NODES = 5, EACH = 60 };
    struct sim_link link = {.delay = 8 * NS_MS, .jitter = 6 * NS_MS, .loss = 0.05, .reorder = 0.05, .dup = 0.02};
    struct rig_options o = {.seed = seed, .link = &link};
    struct mesh m;
    struct rig_client *sub[NODES], *pub[NODES];
    print_message("seed %llu\n", (unsigned long long)seed);
    mesh_start_joined(&m, NODES, &o);
    for (unsigned i = 0; i < NODES; i++) {
      sub[i] = user(&m, i);
      pub[i] = user(&m, i);
      assert_int_equal(rig_subscribe(sub[i], i & 1 ? "t.*" : "t.**"), 0);
    }
    mesh_settle(&m);
    for (int k = 0; k < EACH; k++) {
      for (unsigned i = 0; i < NODES; i++) {
        char topic[16], text[32];
        snprintf(topic, sizeof topic, "t.p%u", i);
        snprintf(text, sizeof text, "%u %d", i, k);
        rig_publish_only(pub[i], topic, slice_str(text), k & 1);
      }
      rig_run(&m.rig[0], 3 * NS_MS);
    }
    for (unsigned i = 0; i < NODES; i++) {
      unsigned next[NODES] = {0};
      for (int k = 0; k < NODES * EACH; k++) {
        unsigned from, number;
        struct slice s = heard(sub[i]);
        assert_int_equal(sscanf((const char *)s.p, "%u %u", &from, &number), 2);
        assert_int_equal(number, next[from]++);
      }
      silent(sub[i]);
    }
    mesh_stop(&m);
  }
}

static void test_partition_heals(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 3; seed++) {
    struct rig_options o = {.seed = seed, .node = {.idle_timeout = 12 * NS_SEC, .keep_alive = 2 * NS_SEC}};
    struct mesh m;
    print_message("seed %llu\n", (unsigned long long)seed);
    mesh_start_joined(&m, 4, &o);
    struct rig_client *a = listener(&m, 0, "x"), *b = listener(&m, 3, "x"), *pub = user(&m, 1);
    mesh_settle(&m);
    for (unsigned i = 0; i < 2; i++)
      for (unsigned k = 2; k < 4; k++) mesh_cut(&m, i, k, true);
    rig_run(&m.rig[0], (2 + seed * 4) * NS_SEC); /* shorter and longer than the links last */
    assert_int_equal(rig_subscribe(b, "y.*"), 0);
    unsubscribe(b, "x");
    assert_int_equal(rig_publish(pub, "x", "near", 0, false, 1), 0);
    hears(a, "near");
    rig_run(&m.rig[0], 3 * NS_SEC);
    for (unsigned i = 0; i < 2; i++)
      for (unsigned k = 2; k < 4; k++) mesh_cut(&m, i, k, false);
    mesh_settle(&m);
    assert_int_equal(rig_publish(pub, "y.z", "far", 1, false, 2), 0);
    assert_int_equal(rig_publish(pub, "x", "again", 1, false, 3), 0);
    hears(a, "again");
    struct slice first = heard(b); /* what was on its way while they were cut may still come */
    if (!slice_is(first, "far")) first = heard(b);
    assert_true(slice_is(first, "far"));
    silent(b);
    mesh_stop(&m);
  }
}

/* ---- QoS 1 -----------------------------------------------------------------------------------------------------------------
 */
static void test_qos1_waits_for_each_node(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 3, NULL);
  struct rig_client *b = listener(&m, 1, "q"), *c = listener(&m, 2, "q"), *pub = user(&m, 0);
  mesh_settle(&m);
  assert_int_equal(rig_publish(pub, "q", "1", 1, false, 1), 0);
  hears(b, "1");
  hears(c, "1");
  mesh_cut(&m, 0, 2, true); /* it may have it, or not: the publisher hears of it */
  assert_int_equal(mesh_publish(pub, "q", "2", 2), 1);
  hears(b, "2");
  mesh_cut(&m, 0, 2, false);
  mesh_publish_all(pub, "q", "2", 2); /* again: nobody hears it twice */
  hears(c, "2");
  silent(b);
  silent(c);
  assert_true(rig_metric(&m.rig[1], "mesh_messages_duplicate_total") >= 1);
  /* Declared dead: what it was to acknowledge is no longer waited for, and not claimed. */
  rig_node_kill(&m.rig[2]);
  struct rig_client *other = listener(&m, 0, "q");
  uint8_t id[CALL_ID_LEN] = {3};
  struct msg p = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_str("q"),
                              .payload = slice_str("3"),
                              .qos = 1,
                              .message_id = slice_of(id, sizeof id),
                              .ref = 33,
                              .has_ref = true}};
  rig_send(pub, &p);
  hears(other, "3");
  assert_true(rig_quiet(pub, MSG_ACK, NS_SEC));
  spread_dead(mesh_peer(&m, 0, 2));
  struct msg ack = rig_expect(pub, MSG_ACK);
  assert_true(ack.ack.ref == 33 && slice_is(ack.ack.code, "no_route"));
  assert_int_equal(m.rig[0].node->spread.inflight.parts, 0);
  mesh_stop(&m);
}

static void test_qos1_restart_and_publishers_end(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  struct rig_client *pub = user(&m, 0), *gone = user(&m, 0);
  (void)listener(&m, 1, "q");
  mesh_settle(&m);
  rig_node_kill(&m.rig[1]);
  uint8_t id[CALL_ID_LEN] = {1};
  struct msg p = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_str("q"),
                              .payload = slice_str("1"),
                              .qos = 1,
                              .message_id = slice_of(id, sizeof id),
                              .ref = 5,
                              .has_ref = true}};
  rig_send(pub, &p);
  rig_send(gone, &p);
  rig_run(&m.rig[0], 100 * NS_MS);
  assert_int_equal(m.rig[0].node->spread.inflight.parts, 2);
  quic_conn_close(gone->conn, 0, "bye");
  (void)rig_closed(gone);
  rig_run(&m.rig[0], 100 * NS_MS);
  assert_int_equal(m.rig[0].node->spread.inflight.parts, 1);
  rig_node_start(&m.rig[1]); /* another run: its subscribers are gone, and that is known when it is back */
  mesh_join(&m, 1, 0);
  struct msg ack = rig_expect(pub, MSG_ACK);
  assert_true(ack.ack.ref == 5 && slice_is(ack.ack.code, "no_route"));
  mesh_settle(&m);
  assert_int_equal(rig_publish(pub, "q", "2", 1, false, 2), 0);
  assert_int_equal(m.rig[0].node->spread.inflight.parts, 0);
  mesh_stop(&m);
}

static void test_qos1_limit(void **state) {
  struct rig_options o = {.node = {.limits = {.max_inflight = 4}}};
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 2, &o);
  struct rig_client *pub[5];
  (void)listener(&m, 1, "q");
  for (int i = 0; i < 5; i++) pub[i] = user(&m, 0);
  mesh_settle(&m);
  mesh_cut(&m, 0, 1, true);
  for (int i = 0; i < 4; i++) {
    uint8_t id[CALL_ID_LEN] = {1};
    struct msg p = {.type = MSG_PUBLISH,
                    .publish = {.topic = slice_str("q"),
                                .payload = slice_str("1"),
                                .qos = 1,
                                .message_id = slice_of(id, sizeof id),
                                .ref = 9,
                                .has_ref = true}};
    rig_send(pub[i], &p);
  }
  rig_run(&m.rig[0], 10 * NS_MS);
  assert_int_equal(rig_publish(pub[4], "q", "2", 1, false, 2), MACULA_RATE_LIMITED);
  for (int i = 0; i < 4; i++) assert_int_equal(rig_expect(pub[i], MSG_ACK).ack.partly.silent, 1);
  mesh_cut(&m, 0, 1, false);
  mesh_publish_all(pub[4], "q", "2", 2);
  mesh_stop(&m);
}

/* A link that does not move: QoS 0 is left out and counted, memory stays bounded, and the publisher is not held up. */
static void test_full_link(void **state) {
  struct rig_options o = {.node = {.limits = {.peer_queue = 100 << 10, .send_pool = 1 << 20}}}; /* it cannot grow */
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 2, &o);
  struct rig_client *b = listener(&m, 1, "q"), *pub = user(&m, 0);
  mesh_settle(&m);
  mesh_cut(&m, 0, 1, true);
  static char big[10000];
  memset(big, 'x', sizeof big - 1);
  for (int i = 0; i < 40; i++) assert_int_equal(rig_publish(pub, "q", big, 0, false, (uint64_t)i + 1), 0);
  assert_true(rig_metric(&m.rig[0], "mesh_messages_dropped_total") >= 29);
  assert_true(session_queued(mesh_peer(&m, 0, 1)->link) < 120 << 10);
  mesh_cut(&m, 0, 1, false);
  (void)heard(b);
  mesh_stop(&m);
}

static void evict(struct mesh *m, unsigned of, unsigned who) {
  struct peer *p = mesh_peer(m, of, who);
  link_close(p, MACULA_EVICTED);
  peer_down(p);
}

/* The pool has closed the link: a message dials it anew and waits for it, in order. */
static void test_evicted_link(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  struct rig_client *b = listener(&m, 1, "q"), *pub = user(&m, 0);
  mesh_settle(&m);
  for (int round = 0; round < 3; round++) {
    evict(&m, 0, 1);
    rig_publish_only(pub, "q", slice_str("1"), 0);
    rig_publish_only(pub, "q", slice_str("2"), 1);
    assert_int_equal(rig_publish(pub, "q", "3", 1, false, (uint64_t)round + 1), 0);
    hears(b, "1");
    hears(b, "2");
    hears(b, "3");
  }
  assert_int_equal(rig_metric(&m.rig[0], "mesh_messages_dropped_total"), 0);
  mesh_stop(&m);
}

/* ---- retained --------------------------------------------------------------------------------------------------------------
 */
static uint32_t held(struct mesh *m, unsigned node) { return retained_count(&m->rig[node].node->messages.retained); }

static void test_retained_anywhere(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 3, NULL);
  struct rig_client *p0 = user(&m, 0), *p1 = user(&m, 1), *watch = user(&m, 1);
  assert_int_equal(rig_publish(p0, "r.a", "old", 0, true, 1), 0);
  assert_int_equal(rig_publish(p1, "r.b", "here", 0, true, 2), 0);
  mesh_settle(&m);
  assert_int_equal(rig_subscribe(watch, "r.*"), 0);
  hears(watch, "here");
  hears(watch, "old");
  silent(watch);
  /* For that very subscription only: another one of the same pattern has had its own. */
  struct rig_client *second = listener(&m, 1, "r.**");
  hears(second, "here");
  hears(second, "old");
  silent(second);
  silent(watch);
  /* A newer one elsewhere: the older is dropped where it lay. */
  struct rig_client *p2 = user(&m, 2);
  assert_int_equal(rig_publish(p2, "r.a", "new", 0, true, 3), 0);
  hears(watch, "new");
  hears(second, "new");
  rig_run(&m.rig[0], NS_SEC);
  assert_int_equal(held(&m, 0), 0);
  assert_int_equal(held(&m, 2), 1);
  mesh_settle(&m);
  struct rig_client *late = listener(&m, 0, "r.a");
  hears(late, "new");
  silent(late);
  /* Cleared from a node that holds nothing. */
  assert_int_equal(rig_publish(p0, "r.a", "", 0, true, 4), 0);
  assert_int_equal(heard(late).n, 0);
  rig_run(&m.rig[0], NS_SEC);
  assert_int_equal(held(&m, 2), 0);
  struct rig_client *last = listener(&m, 2, "r.a");
  silent(last);
  mesh_stop(&m);
}

/* A subscription that was there first, at a node that has just started. */
static void test_retained_for_early_subscriptions(void **state) {
  struct mesh m;
  (void)state;
  mesh_start(&m, 2, NULL);
  struct rig_client *p = user(&m, 0), *sub = user(&m, 1);
  for (int i = 0; i < 50; i++) {
    char topic[16];
    snprintf(topic, sizeof topic, "r.t%d", i);
    assert_int_equal(rig_publish(p, topic, "x", 1, true, (uint64_t)i + 1), 0);
  }
  mesh_join(&m, 1, 0);
  mesh_settle(&m);
  assert_int_equal(rig_subscribe(sub, "r.t1"), 0);
  hears(sub, "x");
  rig_node_kill(&m.rig[1]);
  rig_node_start(&m.rig[1]);
  struct rig_client *early = listener(&m, 1, "r.*");
  silent(early);
  mesh_join(&m, 1, 0);
  for (int i = 0; i < 50; i++) hears(early, "x");
  silent(early);
  mesh_stop(&m);
}

static bool many_heard(void *ctx) { return ((struct rig_client *)ctx)->counts[MSG_PUBLISH] >= 300; }

/* More is retained elsewhere than a subscriber's queue holds: it comes as fast as that empties, none is lost. */
static void test_retained_more_than_a_queue(void **state) {
  struct sim_link link = {.delay = 20 * NS_MS};
  struct rig_options o = {.link = &link, .node = {.limits = {.client_queue = 128 << 10}}};
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 3, &o);
  struct rig_client *p[2] = {user(&m, 0), user(&m, 1)}, *sub = user(&m, 2);
  static char big[5000];
  memset(big, 'x', sizeof big - 1);
  for (int i = 0; i < 300; i++) {
    char topic[16];
    snprintf(topic, sizeof topic, "r.t%d", i);
    assert_int_equal(rig_publish(p[i & 1], topic, big, 0, true, (uint64_t)i + 1), 0);
  }
  mesh_settle(&m);
  assert_int_equal(rig_subscribe(sub, "r.*"), 0);
  rig_until(&m.rig[0], 60 * NS_SEC, many_heard, sub, "all retained messages");
  rig_run(&m.rig[0], NS_SEC);
  assert_int_equal(sub->counts[MSG_PUBLISH], 300);
  assert_int_equal(rig_metric(&m.rig[2], "messages_dropped_total"), 0);
  rig_run(&m.rig[0], 70 * NS_SEC);
  assert_int_equal(gets_count(&m.rig[2].node->spread.gets), 0);
  assert_int_equal(m.rig[0].node->replays.count, 0);
  mesh_stop(&m);
}

/* A client that subscribes and leaves again and again leaves nothing under way, for which others would have to wait. */
static void test_retained_left_again(void **state) {
  struct sim_link link = {.delay = 5 * NS_MS};
  struct rig_options o = {.link = &link, .node = {.limits = {.client_queue = 128 << 10, .max_replays = 64}}};
  struct mesh m;
  (void)state;
  mesh_start(&m, 2, &o);
  mesh_join_all(&m);
  struct rig_client *p = user(&m, 0), *restless = user(&m, 1), *sub = user(&m, 1);
  static char big[5000];
  memset(big, 'x', sizeof big - 1);
  for (int i = 0; i < 300; i++) {
    char topic[16];
    snprintf(topic, sizeof topic, "r.t%d", i);
    assert_int_equal(rig_publish(p, topic, big, 0, true, (uint64_t)i + 1), 0);
  }
  mesh_settle(&m);
  struct slice all = slice_str("r.*");
  for (int i = 0; i < 50; i++) {
    struct msg u = {.type = MSG_UNSUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &all}}};
    assert_int_equal(rig_subscribe(restless, "r.*"), 0);
    if (i % 2) rig_run(&m.rig[0], 20 * NS_MS); /* or it leaves before the first of them has come */
    rig_send(restless, &u);
  }
  rig_run(&m.rig[0], NS_SEC);
  assert_int_equal(m.rig[0].node->replays.count, 0);
  assert_int_equal(rig_subscribe(sub, "r.*"), 0);
  rig_until(&m.rig[0], 50 * NS_SEC, many_heard, sub, "all retained messages");
  mesh_stop(&m);
}

#define UNIX_MS UINT64_C(1790000000000) /* node_rig.c */
#define YEAR_MS (365 * 86400 * UINT64_C(1000))

/* Two took one each while they could not hear each other: the newer one is left, and a new subscriber hears it once. */
static void test_retained_after_a_partition(void **state) {
  static const uint64_t bases[] = {0, UNIX_MS + 3600000, UNIX_MS + 2 * YEAR_MS, UNIX_MS - 2 * YEAR_MS,
                                   1000 /* no clock yet: 1970 */};
  (void)state;
  for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++) {
    struct rig_options o = {.node = {.idle_timeout = 12 * NS_SEC, .keep_alive = 2 * NS_SEC}};
    struct mesh m;
    mesh_start(&m, 3, &o);
    if (bases[i]) { /* this node's clock is wrong at its start, and set right later */
      rig_node_kill(&m.rig[0]);
      m.rig[0].config.unix_base_ms = bases[i];
      rig_node_start(&m.rig[0]);
    }
    mesh_join_all(&m);
    struct rig_client *p0 = user(&m, 0), *p1 = user(&m, 1);
    mesh_settle(&m);
    node_set_clock(m.rig[0].node, UNIX_MS + sim_net_now(m.rig[0].net) / NS_MS, sim_net_now(m.rig[0].net));
    mesh_cut(&m, 0, 1, true);
    rig_run(&m.rig[0], 15 * NS_SEC);
    assert_int_equal(rig_publish(p0, "r.a", "older", 0, true, 1), 0);
    rig_run(&m.rig[0], 3 * NS_SEC);
    assert_int_equal(rig_publish(p1, "r.a", "newer", 0, true, 2), 0);
    assert_int_equal(rig_publish(p0, "r.b", "alone", 0, true, 3), 0);
    rig_run(&m.rig[0], NS_SEC);
    mesh_cut(&m, 0, 1, false);
    mesh_settle(&m);
    rig_run(&m.rig[0], 2 * NS_SEC);
    assert_int_equal(held(&m, 0), 1);
    assert_int_equal(held(&m, 1), 1);
    for (unsigned k = 0; k < 3; k++) {
      struct rig_client *c = user(&m, k);
      assert_int_equal(rig_subscribe(c, "r.a"), 0);
      hears(c, "newer");
      silent(c);
    }
    /* Either way round. */
    assert_int_equal(rig_publish(p0, "r.a", "newest", 0, true, 4), 0);
    rig_run(&m.rig[0], NS_SEC);
    assert_int_equal(held(&m, 1), 0);
    assert_int_equal(rig_publish(p1, "r.a", "last", 0, true, 5), 0);
    rig_run(&m.rig[0], NS_SEC);
    assert_int_equal(held(&m, 0), 1);
    assert_int_equal(held(&m, 1), 1);
    /* Clearings by others as well. */
    assert_int_equal(rig_publish(p0, "r.a", "", 0, true, 6), 0);
    assert_int_equal(rig_publish(p1, "r.b", "", 0, true, 7), 0);
    rig_run(&m.rig[0], NS_SEC);
    assert_int_equal(held(&m, 0), 0);
    assert_int_equal(held(&m, 1), 0);
    mesh_stop(&m);
  }
}

/* Cleared by another node while its holder was away. */
static void test_cleared_during_a_partition(void **state) {
  struct rig_options o = {.node = {.idle_timeout = 12 * NS_SEC, .keep_alive = 2 * NS_SEC}};
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 3, &o);
  struct rig_client *p0 = user(&m, 0), *p1 = user(&m, 1);
  assert_int_equal(rig_publish(p0, "r.a", "kept", 0, true, 1), 0);
  assert_int_equal(rig_publish(p0, "r.b", "kept", 0, true, 2), 0);
  assert_int_equal(rig_publish(p0, "r.c", "kept", 0, true, 3), 0);
  mesh_settle(&m);
  for (unsigned i = 1; i < 3; i++) mesh_cut(&m, 0, i, true);
  rig_run(&m.rig[0], 15 * NS_SEC);
  assert_int_equal(rig_publish(p1, "r.a", "", 0, true, 4), 0);
  assert_int_equal(rig_publish(p1, "r.b", "", 0, true, 5), 0);
  rig_run(&m.rig[0], NS_SEC);
  assert_int_equal(rig_publish(p1, "r.b", "again", 0, true, 6), 0);
  assert_int_equal(m.rig[1].node->spread.cleared_count, 1);
  for (unsigned i = 1; i < 3; i++) mesh_cut(&m, 0, i, false);
  mesh_settle(&m);
  rig_run(&m.rig[0], 2 * NS_SEC);
  assert_int_equal(held(&m, 0), 1);
  struct rig_client *c = listener(&m, 2, "r.*");
  struct slice one = heard(c), two = heard(c);
  assert_true((slice_is(one, "kept") && slice_is(two, "again")) || (slice_is(one, "again") && slice_is(two, "kept")));
  silent(c);
  for (uint64_t i = 0; i < 1200; i++) { /* bounded */
    char topic[16];
    snprintf(topic, sizeof topic, "r.x%u", (unsigned)i);
    rig_publish(p1, topic, "", 0, true, 100 + i);
  }
  assert_int_equal(m.rig[1].node->spread.cleared_count, 1000);
  mesh_stop(&m);
}

/* More nodes than subscriptions can be exchanged with: the first ones work, and a place that becomes free is taken. */
static void test_more_nodes_than_places(void **state) {
  struct rig_options o = {.node = {.limits = {.max_interested = 2}}};
  struct mesh m;
  (void)state;
  mesh_start(&m, 4, &o);
  for (unsigned i = 1; i < 4; i++) {
    mesh_join(&m, i, 0);
    rig_run(&m.rig[0], 2 * NS_SEC);
  }
  struct rig_client *sub[4], *pub = user(&m, 0);
  for (unsigned i = 1; i < 4; i++) {
    sub[i] = user(&m, i);
    assert_int_equal(rig_subscribe(sub[i], "x"), 0);
  }
  rig_run(&m.rig[0], 2 * NS_SEC);
  assert_int_equal(rig_metric(&m.rig[0], "interest_nodes"), 2);
  assert_true(rig_metric(&m.rig[0], "interest_nodes_left_out_total") >= 1);
  assert_int_equal(rig_metric(&m.rig[0], "interest_nodes_outside"), 1);
  assert_int_equal(rig_publish(pub, "x", "1", 1, false, 1), MACULA_LISTENERS_UNKNOWN);
  hears(sub[1], "1");
  hears(sub[2], "1");
  silent(sub[3]);
  rig_node_kill(&m.rig[1]);
  spread_forget(mesh_peer(&m, 0, 1));
  mesh_peer(&m, 0, 1)->spread.dead = true;
  rig_run(&m.rig[0], 40 * NS_SEC);
  assert_int_equal(rig_publish(pub, "x", "2", 1, false, 2), 0);
  hears(sub[2], "2");
  hears(sub[3], "2");
  mesh_stop(&m);
}

/* Whatever allocation fails: nothing is lost for good, and the mesh works afterwards. */
static void test_no_memory(void **state) {
  (void)state;
  struct mem_fail fail = {0};
  for (uint64_t at = 1, step = 1; step; at += 1 + at / 8) {
    struct rig_options o = {.node = {.fail = &fail}};
    struct mesh m;
    fail = (struct mem_fail){0};
    mesh_start_joined(&m, 2, &o);
    struct rig_client *a = user(&m, 0), *b = user(&m, 1), *c = user(&m, 1);
    mesh_settle(&m);
    fail.countdown = at;
    struct slice topics[3] = {slice_str("n.*"), slice_str("n.x.**"), slice_str("m")};
    struct msg sub = {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 3, .items = topics}, .ref = 1, .has_ref = true}};
    rig_send(b, &sub);
    rig_run(&m.rig[0], 100 * NS_MS);
    for (uint8_t k = 0; k < 6 && a->conn; k++) {
      uint8_t id[CALL_ID_LEN] = {k};
      struct msg p = {.type = MSG_PUBLISH,
                      .publish = {.topic = slice_str(k & 1 ? "n.x" : "m"),
                                  .payload = slice_str("1"),
                                  .qos = k & 1,
                                  .retain = k > 3,
                                  .message_id = slice_of(id, sizeof id),
                                  .ref = k,
                                  .has_ref = true}};
      rig_send(a, &p);
    }
    rig_run(&m.rig[0], 100 * NS_MS);
    if (c->conn) rig_send(c, &sub);
    rig_run(&m.rig[0], 20 * NS_SEC);
    step = fail.countdown == 0; /* 0: it has failed */
    if (!step) print_message("%llu allocations\n", (unsigned long long)at);
    fail.countdown = 0;
    rig_run(&m.rig[0], 40 * NS_SEC);
    mesh_settle(&m);
    struct rig_client *d = listener(&m, 0, "z"), *e = user(&m, 1);
    mesh_settle(&m);
    assert_int_equal(rig_publish(e, "z", "whole", 1, false, 99), 0);
    hears(d, "whole");
    mesh_stop(&m);
  }
}

static bool routed(void *ctx) {
  struct mesh *m = ctx;
  for (unsigned a = 2; a < 4; a++) {
    struct peer *p = mesh_peer(m, a, 5 - a);
    struct interest_stats own;
    if (!p || !p->spread.on || !p->spread.path) return false;
    interest_stats(m->rig[5 - a].node->spread.interest, &own);
    if (p->spread.interest.version != own.version || (p->spread.interest.retained && !p->spread.holder)) return false;
  }
  return true;
}

/* Two nodes that nobody can dial hear each other through the gateway that they stay connected to, and through another one when
 * that dies. */
static void hidden_nodes(uint64_t seed) {
  struct rig_options first = {.seed = seed};
  struct mesh m;
  mesh_start(&m, 2, &first);
  for (unsigned i = 2; i < 4; i++) {
    struct rig_options o = {.beside = &m.rig[0], .index = i, .node = {.hidden = true, .name = i == 2 ? "hidden2" : "hidden3"}};
    rig_start(&m.rig[i], &o);
  }
  m.count = 4;
  mesh_join(&m, 1, 0);
  mesh_join(&m, 2, 0);
  mesh_join(&m, 3, 0);
  struct rig_client *p = user(&m, 2), *c = listener(&m, 3, "h.*"), *outside = listener(&m, 1, "h.**");
  assert_int_equal(rig_publish(p, "r.x", "kept", 0, true, 1), 0);
  rig_until(&m.rig[0], 60 * NS_SEC, routed, &m, "hidden nodes hear of each other");
  assert_null(mesh_peer(&m, 2, 3)->link);
  rig_run(&m.rig[0], 5 * NS_SEC);
  for (uint64_t i = 0; i < 20; i++) {
    char text[8];
    snprintf(text, sizeof text, "%u", (unsigned)i);
    assert_int_equal(rig_publish(p, "h.a", text, (int)(i & 1), false, 10 + i), 0);
    hears(c, text);
    hears(outside, text);
  }
  assert_int_equal(rig_subscribe(c, "r.**"), 0);
  hears(c, "kept");
  silent(c);
  silent(outside);
  unsigned gateway = id_eq(&m.rig[3].node->mesh.gateway->id, quic_identity_id(m.rig[0].identity)) ? 0 : 1;
  rig_node_kill(&m.rig[gateway]);
  rig_run(&m.rig[2], 45 * NS_SEC);
  rig_until(&m.rig[2], 60 * NS_SEC, routed, &m, "they hear of each other through the other gateway");
  assert_int_equal(rig_publish(p, "h.a", "after", 1, false, 100), 0);
  hears(c, "after");
  silent(c);
  mesh_stop(&m);
}

static void test_hidden_nodes(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 6; seed++) hidden_nodes(seed);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_wildcards),
                                     cmocka_unit_test(test_names_of_people),
                                     cmocka_unit_test(test_one_copy_to_a_node),
                                     cmocka_unit_test(test_unsubscribes_what_others_hold),
                                     cmocka_unit_test(test_loss_and_reordering),
                                     cmocka_unit_test(test_partition_heals),
                                     cmocka_unit_test(test_qos1_waits_for_each_node),
                                     cmocka_unit_test(test_qos1_restart_and_publishers_end),
                                     cmocka_unit_test(test_qos1_limit),
                                     cmocka_unit_test(test_full_link),
                                     cmocka_unit_test(test_evicted_link),
                                     cmocka_unit_test(test_retained_anywhere),
                                     cmocka_unit_test(test_retained_for_early_subscriptions),
                                     cmocka_unit_test(test_retained_more_than_a_queue),
                                     cmocka_unit_test(test_retained_left_again),
                                     cmocka_unit_test(test_retained_after_a_partition),
                                     cmocka_unit_test(test_cleared_during_a_partition),
                                     cmocka_unit_test(test_more_nodes_than_places),
                                     cmocka_unit_test(test_no_memory),
                                     cmocka_unit_test(test_hidden_nodes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
