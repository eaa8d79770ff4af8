/* Two nodes that both reach a third and not each other: said, counted, and QoS 1 never claims what did not happen, neither then
 * nor wherever else it is not known who listens. */
#include "log_rig.h"

#define APART "\"state\":\"alive, not reachable directly\""

static struct rig_client *user(struct mesh *m, unsigned node) { return rig_join(&m->rig[node], 0, NULL, RIG_EXT); }
static struct rig_client *listener(struct mesh *m, unsigned node, const char *pattern) {
  struct rig_client *c = user(m, node);
  assert_int_equal(rig_subscribe(c, pattern), 0);
  return c;
}
static void hears(struct rig_client *c, const char *payload) {
  struct slice s = rig_expect(c, MSG_PUBLISH).publish.payload;
  if (!slice_is(s, payload)) fail_msg("%.*s and not %s", (int)s.n, s.p, payload);
}

static bool shows_apart(struct mesh *m, unsigned i) {
  char *json;
  assert_int_equal(node_render(m->rig[i].node, "peers", 0, 0, sim_net_now(m->rig[0].net), &json), 0);
  bool is = strstr(json, APART) != NULL;
  node_text_free(json);
  return is;
}
static bool both_show(void *ctx) { return shows_apart(ctx, 0) && shows_apart(ctx, 1); }
static bool none_shows(void *ctx) { return !shows_apart(ctx, 0) && !shows_apart(ctx, 1); }

/* Nodes 0 and 1 have never met. */
static void start_apart(struct mesh *m, struct kept_log *k) {
  mesh_start(m, 3, NULL);
  log_keep(k, m, 0);
  mesh_cut(m, 0, 1, true);
  mesh_join(m, 0, 2);
  mesh_join(m, 1, 2);
}

static void test_said_and_counted(void **state) {
  struct kept_log k;
  struct mesh m;
  char hex[ID_HEX_LEN + 1];
  (void)state;
  start_apart(&m, &k);
  rig_until(&m.rig[0], 120 * NS_SEC, both_show, &m, "both say that they are apart");
  id_hex(quic_identity_id(m.rig[1].identity), hex);
  assert_true(log_line_has(&k, "1 peer_unreachable", hex));
  assert_true(log_line_has(&k, "1 peer_unreachable", "address=10.0.0.2:9443"));
  rig_run(&m.rig[0], 900 * NS_SEC);
  assert_true(both_show(&m)); /* a failed dial does not make it suspect again and again */
  assert_int_equal(log_count(&k, "peer_unreachable"), 1);
  assert_int_equal(log_count(&k, "member_dead"), 0);
  assert_int_equal(rig_metric(&m.rig[0], "mesh_unreachable"), 1);
  assert_int_equal(rig_metric(&m.rig[0], "mesh_unreachable_found_total"), 1);
  mesh_cut(&m, 0, 1, false);
  rig_until(&m.rig[0], 60 * NS_SEC, none_shows, &m, "they meet");
  mesh_settle(&m);
  assert_int_equal(rig_metric(&m.rig[0], "mesh_unreachable"), 0);
  mesh_cut(&m, 0, 1, true);
  rig_until(&m.rig[0], 240 * NS_SEC, both_show, &m, "both say so again");
  assert_int_equal(log_count(&k, "peer_unreachable"), 2);
  /* Dead at last, it is that and no longer apart. */
  rig_node_kill(&m.rig[1]);
  rig_run(&m.rig[0], 120 * NS_SEC);
  assert_false(shows_apart(&m, 0));
  assert_int_equal(rig_metric(&m.rig[0], "mesh_unreachable"), 0);
  mesh_stop(&m);
}

static void test_qos1_between_those_apart(void **state) {
  struct kept_log k;
  struct mesh m;
  (void)state;
  start_apart(&m, &k);
  struct rig_client *far = listener(&m, 1, "q"), *near = listener(&m, 2, "q"), *pub = user(&m, 0);
  rig_until(&m.rig[0], 120 * NS_SEC, both_show, &m, "both say that they are apart");
  nanotime began = sim_net_now(m.rig[0].net);
  assert_int_equal(rig_publish(pub, "q", "1", 1, false, 1), MACULA_NO_ROUTE);
  assert_true(sim_net_now(m.rig[0].net) - began < NS_SEC); /* at once */
  hears(near, "1");
  assert_int_equal(rig_publish(pub, "q", "0", 0, false, 2), 0); /* QoS 0 promises nothing */
  hears(near, "0");
  mesh_cut(&m, 0, 1, false);
  mesh_settle(&m);
  assert_int_equal(rig_publish(pub, "q", "1", 1, false, 1), 0); /* again */
  hears(far, "1");
  assert_true(rig_quiet(near, MSG_PUBLISH, NS_SEC));
  mesh_stop(&m);
}

/* A link that stood is cut: what was in flight, and what follows, is not claimed. */
static void test_qos1_when_they_come_apart(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 3, NULL);
  (void)listener(&m, 1, "q");
  struct rig_client *pub = user(&m, 0);
  mesh_settle(&m);
  mesh_cut(&m, 0, 1, true);
  for (uint64_t i = 1; i < 40; i++) {
    int err = rig_publish(pub, "q", "1", 1, false, i);
    assert_true(err == MACULA_NO_ROUTE || err == MACULA_TIMEOUT);
    rig_run(&m.rig[0], NS_SEC);
  }
  struct rig_client *late = listener(&m, 1, "new"); /* node 0 cannot know */
  assert_true(both_show(&m));
  assert_int_equal(rig_publish(pub, "new", "1", 1, false, 99), MACULA_NO_ROUTE);
  mesh_cut(&m, 0, 1, false);
  mesh_settle(&m);
  assert_int_equal(rig_publish(pub, "new", "1", 1, false, 99), 0);
  hears(late, "1");
  mesh_stop(&m);
}

static bool has_link(void *ctx) {
  struct mesh *m = ctx;
  struct peer *p = mesh_peer(m, 0, 1);
  return p && p->link;
}

/* Its link stands, and whether it listens is not known yet: it hears all the same. */
static void test_qos1_before_interest_was_told(void **state) {
  struct mesh m;
  (void)state;
  for (uint64_t seed = 1; seed <= 10; seed++) {
    struct sim_link link = {.delay = 20 * NS_MS};
    struct rig_options o = {.seed = seed, .link = &link};
    mesh_start(&m, 2, &o);
    struct rig_client *far = listener(&m, 1, "q"), *pub = user(&m, 0);
    mesh_join(&m, 0, 1);
    rig_until(&m.rig[0], 10 * NS_SEC, has_link, &m, "a link");
    assert_int_equal(mesh_peer(&m, 0, 1)->spread.interest.epoch, 0);
    rig_publish_only(pub, "q", slice_str("0"), 1);
    hears(far, "0");
    mesh_stop(&m);
  }
}

/* More patterns than are taken of a node: QoS 1 goes there in any case. */
static void test_qos1_beyond_the_patterns_that_are_kept(void **state) {
  struct rig_options o = {.node = {.limits = {.max_subscriptions = 4}}};
  struct mesh m;
  char topic[16];
  (void)state;
  mesh_start(&m, 1, &o);
  struct rig_options big = {.beside = &m.rig[0], .index = 1, .node = {.name = "node1"}};
  rig_start(&m.rig[1], &big);
  m.count = 2;
  mesh_join(&m, 1, 0);
  struct rig_client *far = user(&m, 1), *pub = user(&m, 0);
  for (int i = 0; i < 12; i++) {
    snprintf(topic, sizeof topic, "q.%d", i);
    assert_int_equal(rig_subscribe(far, topic), 0);
  }
  rig_run(&m.rig[0], 5 * NS_SEC);
  assert_int_equal(mesh_peer(&m, 0, 1)->spread.interest.topics.count, 4);
  for (uint64_t i = 0; i < 12; i++) {
    snprintf(topic, sizeof topic, "q.%d", (int)i);
    assert_int_equal(rig_publish(pub, topic, topic, 1, false, i + 1), 0);
    hears(far, topic);
  }
  mesh_stop(&m);
}

/* Without a message id of the client's own it cannot be told apart when it comes again, but it is waited for. */
static void test_qos1_without_message_id(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  struct rig_client *far = listener(&m, 1, "q"), *pub = user(&m, 0);
  mesh_settle(&m);
  struct msg p = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_str("q"), .payload = slice_str("1"), .qos = 1, .ref = 5, .has_ref = true}};
  rig_send(pub, &p);
  hears(far, "1");
  assert_int_equal(rig_expect(pub, MSG_ACK).ack.code.n, 0);
  mesh_cut(&m, 0, 1, true);
  rig_send(pub, &p);
  struct msg ack = rig_expect(pub, MSG_ACK);
  assert_true(ack.ack.ref == 5 && slice_is(ack.ack.code, "timeout"));
  mesh_stop(&m);
}

/* Declared dead before it has acknowledged: nobody knows whether its clients had the message. Sent again, all that are left
 * have it. */
static void test_qos1_to_one_that_dies(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 3, NULL);
  struct rig_client *b = listener(&m, 1, "q"), *pub = user(&m, 0);
  (void)listener(&m, 2, "q");
  mesh_settle(&m);
  rig_node_kill(&m.rig[2]);
  int err = 0;
  for (int i = 0; i < 20 && !err; i++) err = rig_publish(pub, "q", "1", 1, false, 1);
  assert_true(err == MACULA_NO_ROUTE || err == MACULA_TIMEOUT);
  hears(b, "1");
  for (int i = 0; i < 20 && err; i++) err = rig_publish(pub, "q", "1", 1, false, 1);
  assert_int_equal(err, 0);
  assert_true(rig_quiet(b, MSG_PUBLISH, NS_SEC));
  mesh_stop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_said_and_counted),
      cmocka_unit_test(test_qos1_between_those_apart),
      cmocka_unit_test(test_qos1_when_they_come_apart),
      cmocka_unit_test(test_qos1_before_interest_was_told),
      cmocka_unit_test(test_qos1_beyond_the_patterns_that_are_kept),
      cmocka_unit_test(test_qos1_without_message_id),
      cmocka_unit_test(test_qos1_to_one_that_dies),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
