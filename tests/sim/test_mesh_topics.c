/* Topics by numbers between nodes: taken before they are used, each link by itself, and whatever a liar announces. */
#include "mesh_hostile_rig.h"
#include "node/session/topics.h"

#define TOPICS (RIG_EXT | CAP_ORIGIN | CAP_TOPICS)

static struct rig_client *listener(struct mesh *m, unsigned node, uint32_t caps, const char *pattern) {
  struct rig_client *c = rig_join(&m->rig[node], 0, NULL, caps);
  assert_int_equal(rig_subscribe(c, pattern), 0);
  return c;
}

static struct msg announce(uint64_t number, struct slice topic) {
  return (struct msg){.type = MSG_ANNOUNCE, .announce = {.kind = ANNOUNCE_TOPIC, .number = number, .topic = topic}};
}
static struct msg by_number(uint64_t number, const char *payload) {
  return (struct msg){.type = MSG_PUBLISH, .publish = {.brief = true, .topic_number = number, .payload = slice_str(payload)}};
}

static struct rig_client *publisher(struct rig *r, const char *topic) {
  struct rig_client *c = rig_join(r, 0, NULL, TOPICS);
  struct msg m = announce(1, slice_str(topic));
  rig_send(c, &m);
  assert_int_equal(rig_expect(c, MSG_ANNOUNCE).announce.kind, ANNOUNCE_TAKEN);
  return c;
}
static void say(struct rig_client *c, const char *payload) {
  struct msg m = by_number(1, payload);
  rig_send(c, &m);
}
static void heard(struct rig_client *c, const char *topic, const char *payload) {
  struct msg m = rig_expect(c, MSG_PUBLISH);
  if (m.publish.topic.p) assert_true(slice_is(m.publish.topic, topic));
  if (!slice_is(m.publish.payload, payload)) fail_msg("'%.*s'", (int)m.publish.payload.n, (const char *)m.publish.payload.p);
}

static void two_nodes(const struct rig_options *o) {
  struct mesh m;
  char text[16];
  mesh_start_joined(&m, 2, o);
  struct rig_client *pub = publisher(&m.rig[0], "t/x"), *sub = listener(&m, 1, TOPICS, "t.*"),
                    *old = listener(&m, 1, RIG_EXT, "t.*"), *base = rig_join(&m.rig[1], RIG_NO_CERT, NULL, RIG_BASE);
  struct slice pattern = slice_str("t/x");
  rig_send(base, &(struct msg){.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &pattern}}});
  mesh_settle(&m);
  rig_run(&m.rig[0], 5 * NS_SEC);
  for (int i = 0; i < 5; i++) {
    snprintf(text, sizeof text, "%d", i);
    say(pub, text);
    heard(sub, "t.x", text);
    struct msg got = rig_expect(old, MSG_PUBLISH);
    assert_true(slice_is(got.publish.topic, "t.x") && got.publish.message_id.n == CALL_ID_LEN);
    got = rig_expect(base, MSG_PUBLISH);
    assert_true(slice_is(got.publish.topic, "t/x") && got.publish.message_id.n == CALL_ID_LEN);
    rig_run(&m.rig[0], 200 * NS_MS);
  }
  assert_int_equal(m.rig[1].node->sessions.topics.tab.count, 1); /* node 0 has announced it there */
  assert_int_equal(sub->counts[MSG_ANNOUNCE], 2);                /* the topic, and who published */
  mesh_stop(&m);
}

static void test_two_nodes(void **state) {
  struct rig_options o = {.node.allow_unverified = true};
  (void)state;
  two_nodes(&o);
}

static void test_two_nodes_with_loss(void **state) {
  static const struct sim_link lossy = {.delay = 10 * NS_MS, .jitter = 5 * NS_MS, .loss = 0.1};
  (void)state;
  for (uint64_t seed = 1; seed <= 3; seed++) {
    struct rig_options o = {.node.allow_unverified = true, .link = &lossy, .seed = seed};
    two_nodes(&o);
  }
}

/* A new link starts with empty slots; what waits for it is spelled. */
static void test_a_link_comes_back(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  struct rig_client *pub = publisher(&m.rig[0], "t.x"), *sub = listener(&m, 1, TOPICS, "t.*");
  mesh_settle(&m);
  for (int i = 0; i < 3; i++) {
    for (int k = 0; k < 3; k++) {
      say(pub, "linked");
      heard(sub, "t.x", "linked");
    }
    link_close(mesh_peer(&m, i % 2, !(i % 2)), MACULA_EVICTED);
    say(pub, "waits");
    rig_run(&m.rig[0], 2 * NS_SEC);
    mesh_join_all(&m);
    mesh_settle(&m);
    while (!rig_quiet(sub, MSG_PUBLISH, NS_MS)) heard(sub, "t.x", "waits");
  }
  mesh_stop(&m);
}

/* ---- liars -----------------------------------------------------------------------------------------------------------------
 */
static struct rig_client *topics_liar(struct honest *h) {
  struct rig_client *c = rig_client(&h->m.rig[1], 0, NULL);
  rig_opened(c);
  struct msg m = {.type = MSG_CONNECT,
                  .connect = {.version = slice_str("1.0"),
                              .node_id = slice_of(id_of(c)->b, ID_LEN),
                              .realm_id = slice_str("test"),
                              .caps = TOPICS | CAP_NODE,
                              .instance = slice_of(c->instance, sizeof c->instance),
                              .endpoint = slice_str("10.8.8.8:1")}};
  rig_send(c, &m);
  assert_true(rig_expect(c, MSG_PONG).pong.caps & CAP_TOPICS);
  return c;
}

static void start_from_here(struct honest *h) {
  mesh_settle(&h->m);
  go(h, 5 * NS_SEC);
  for (unsigned i = 0; i < 2; i++) rows_now(node_of(h, i), h->start[i]);
}

static void test_numbers_never_announced(void **state) {
  struct honest h;
  struct slice good = slice_str("t.x");
  (void)state;
  honest_start(&h, NULL);
  struct rig_client *sub = listener(&h.m, 1, TOPICS, "t.*");
  start_from_here(&h);
  const struct {
    struct msg first, second;
    uint64_t use;
  } cases[] = {
      {announce(7, good), announce(8, good), 9},
      {announce(7, good), announce(263, good), 7},
      {announce(7, good), announce(8, good), UINT64_MAX},
      {announce(7, good), announce(UINT64_MAX, good), 7},
      {announce(7, good), announce(8, SLICE_NONE), 8},
      {announce(7, good), announce(8, slice_str("t..x")), 8},
      {announce(7, good), announce(8, slice_str("t.**")), 8},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct rig_client *l = topics_liar(&h);
    rig_send(l, &cases[i].first);
    rig_send(l, &cases[i].second);
    struct msg use = by_number(cases[i].use, "lie");
    rig_send(l, &use);
    struct msg end = rig_expect(l, MSG_DISCONNECT);
    if (!slice_is(end.disconnect.code, "bad_frame")) fail_msg("case %zu", i);
    (void)rig_closed(l);
    within(&h);
  }
  /* It says that it has taken what nobody told it: still everything is spelled for it, or announced before. */
  struct rig_client *l = topics_liar(&h);
  for (uint64_t k = 1; k < 300; k++) {
    struct msg taken = {.type = MSG_ANNOUNCE, .announce = {.kind = ANNOUNCE_TAKEN, .number = k}};
    rig_send(l, &taken);
  }
  struct msg m = announce(8, good), use = by_number(8, "its own");
  rig_send(l, &m);
  rig_send(l, &use);
  heard(sub, "t.x", "its own");
  served(&h);
  leaves(&h, l);
}

/* Any number of topics from one node leave room for others, and go with it. */
static void test_floods_of_topics(void **state) {
  struct rig_options o = {.node.limits = {.origin_bytes = 256 << 10}};
  struct honest h;
  char topic[32];
  (void)state;
  honest_start(&h, &o);
  struct rig_client *sub = listener(&h.m, 1, TOPICS, "t.*");
  start_from_here(&h);
  struct rig_client *l = topics_liar(&h);
  for (uint64_t k = 1; k <= 5000; k++) {
    snprintf(topic, sizeof topic, "t.%llu", (unsigned long long)k);
    struct msg m = announce(k * 7, slice_str(topic));
    rig_send(l, &m);
    if (k % 50 == 0) go(&h, 10 * NS_MS);
  }
  go(&h, NS_SEC);
  within(&h);
  assert_true(node_of(&h, 1)->sessions.topics.bytes <= 64 << 10);
  struct rig_client *own = publisher(&h.m.rig[1], "t.x");
  say(own, "1");
  heard(sub, "t.x", "1");
  served(&h);
  quic_conn_close(own->conn, 0, "");
  bye(l);
  go(&h, NS_SEC);
  assert_int_equal(node_of(&h, 1)->sessions.topics.tab.count, 0);
  leaves(&h, l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_two_nodes),         cmocka_unit_test(test_two_nodes_with_loss),
      cmocka_unit_test(test_a_link_comes_back), cmocka_unit_test(test_numbers_never_announced),
      cmocka_unit_test(test_floods_of_topics),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
