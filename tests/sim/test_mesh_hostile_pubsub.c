/* Nodes that lie about publishes: what they send beyond their bounds, answers that nobody asked for, ids of others' messages.
 */
#include "mesh_rig.h"
#include "node/messages/spread.h"
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
static void silent(struct rig_client *c) { assert_true(rig_quiet(c, MSG_PUBLISH, NS_SEC)); }

/* A node that says what it likes: nothing grows beyond its bound, and what is malformed ends the link. */
static void evil_send(struct rig_client *c, uint8_t type, const uint8_t *p, size_t n) {
  struct msg m = {.type = (enum msg_type)type, .raw = slice_of(p, n)};
  rig_send(c, &m);
}

static void test_evil_node(void **state) {
  struct rig_options o = {.node = {.limits = {.max_subscriptions = 200, .max_replays = 64}}};
  struct rig r;
  (void)state;
  rig_start(&r, &o);
  struct rig_client *user = rig_join(&r, 0, NULL, RIG_EXT), *evil = rig_join(&r, 0, NULL, RIG_EXT | CAP_NODE);
  struct slice items[100];
  char names[100][16];
  static uint8_t buf[32 << 10];
  for (int k = 0; k < 10; k++) {
    struct wire_interest m = {.epoch = 9, .from = (uint64_t)k, .version = (uint64_t)k + 1, .more = true};
    if (!k) m.reset = true;
    for (int i = 0; i < 100; i++) {
      snprintf(names[i], sizeof names[i], "x.%d.%d", k, i);
      items[i] = slice_str(names[i]);
    }
    m.adds = (struct msg_list){.count = 100, .items = items};
    evil_send(evil, MSG_INTEREST, buf, wire_interest_encode(&m, buf, sizeof buf));
  }
  rig_run(&r, NS_SEC);
  struct interest_stats st;
  interest_stats(r.node->spread.interest, &st);
  assert_int_equal(st.patterns, 200);
  assert_int_equal(st.refused, 800);
  assert_int_equal(rig_publish(user, "r.a", "1", 0, true, 1), 0);
  for (uint64_t k = 1; k <= 500; k++) { /* asks, and takes nothing */
    struct wire_retained_get g = {k, slice_str("r.*"), 0, false};
    evil_send(evil, MSG_RETAINED_GET, buf, wire_retained_get_encode(&g, buf, sizeof buf));
    struct wire_have h = {k, k, k};
    evil_send(evil, MSG_INTEREST_HAVE, buf, wire_have_encode(&h, buf, sizeof buf));
  }
  struct wire_retained_moved far = {slice_str("r.a"), UINT64_MAX, UINT64_MAX}, other = {slice_str("r.b"), 5, 1};
  evil_send(evil, MSG_RETAINED_MOVED, buf, wire_retained_moved_encode(&far, buf, sizeof buf));
  evil_send(evil, MSG_RETAINED_MOVED, buf, wire_retained_moved_encode(&other, buf, sizeof buf));
  struct msg pub = {.type = MSG_PUBLISH,
                    .publish = {.topic = slice_str("r.a"), .payload = slice_str("forged"), .retain = true, .replay = 4711}};
  rig_send(evil, &pub);
  pub.publish.retained_ms = UINT64_MAX / 4;
  rig_send(evil, &pub);
  pub.publish.topic = slice_str("a..b");
  rig_send(evil, &pub);
  pub.publish.replay = 0;
  rig_send(evil, &pub);
  struct msg ack = {.type = MSG_ACK, .ack = {.ref = 4711}};
  rig_send(evil, &ack);
  rig_run(&r, NS_SEC);
  assert_false(evil->closed);
  assert_true(r.node->replays.count <= 5);
  assert_int_equal(retained_count(&r.node->messages.retained), 1);
  assert_int_equal(rig_subscribe(user, "r.*"), 0);
  hears(user, "1");
  assert_true(rig_quiet(user, MSG_PUBLISH, NS_SEC));
  /* In another node's name: that one has a link of its own. */
  struct rig_client *victim = rig_join(&r, 0, NULL, RIG_EXT | CAP_NODE);
  struct wire_interest bad = {.epoch = 77, .version = 1, .reset = true};
  struct slice path = slice_of(quic_identity_id(evil->identity)->b, ID_LEN);
  struct msg envelope = {.type = MSG_RPC_ROUTE,
                         .route = {.destination = slice_of(node_id(r.node)->b, ID_LEN),
                                   .source = slice_of(quic_identity_id(victim->identity)->b, ID_LEN),
                                   .max_hops = 10,
                                   .payload_type = slice_str("interest"),
                                   .payload = slice_of(buf, wire_interest_encode(&bad, buf, sizeof buf)),
                                   .path = {.count = 1, .items = &path}}};
  rig_send(evil, &envelope);
  rig_run(&r, NS_SEC);
  assert_int_equal(peer_find(r.node, quic_identity_id(victim->identity))->spread.interest.epoch, 0);
  assert_int_equal(r.node->stats.routes_failed, 1);
  evil_send(evil, MSG_INTEREST, (const uint8_t *)"\x80", 1); /* a map without anything */
  assert_int_equal(rig_closed(evil), MACULA_BAD_FRAME);
  rig_run(&r, 3 * NS_SEC);
  rig_stop(&r);
}

static struct rig_client *evil_holder(struct rig *r) {
  uint8_t buf[512];
  struct rig_client *evil = rig_join(r, 0, NULL, RIG_EXT | CAP_NODE);
  struct wire_interest m = {.epoch = 9, .version = 1, .reset = true, .retained = 1};
  evil_send(evil, MSG_INTEREST, buf, wire_interest_encode(&m, buf, sizeof buf));
  return evil;
}

static uint64_t question_of(struct rig_client *evil) {
  struct wire_retained_get g = {0};
  do {
    (void)rig_expect(evil, MSG_RETAINED_GET);
    const struct rig_frame *f = &evil->kept[evil->read - 1];
    assert_int_equal(wire_retained_get_decode(slice_of(f->payload, f->len), &g), 0);
  } while (g.more);
  return g.number;
}

/* What a node gives as an answer counts only as one: to a question of ours, for a topic that it asks for, of a time that can
 * be. */
static void test_answers_that_nobody_asked_for(void **state) {
  static const struct {
    const char *topic;
    uint64_t ahead_ms, number;
    bool counts;
  } told[] = {{"r.a", 1000, 1, false},
              {"s.a", 1000, 0, false},
              {"r.a", UINT64_C(1) << 62, 0, false},
              {"r.a", 365 * 86400 * UINT64_C(1000), 0, false},
              {"r.a", 1000, 0, true}};
  (void)state;
  for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
    struct rig r;
    rig_start(&r, NULL);
    struct rig_client *user = rig_join(&r, 0, NULL, RIG_EXT), *evil = evil_holder(&r);
    assert_int_equal(rig_publish(user, "r.a", "1", 0, true, 1), 0);
    assert_int_equal(rig_publish(user, "s.a", "1", 0, true, 2), 0);
    rig_run(&r, NS_SEC);
    assert_int_equal(rig_subscribe(user, "r.*"), 0);
    uint64_t number = question_of(evil);
    struct msg m = {.type = MSG_PUBLISH,
                    .publish = {.topic = slice_str(told[i].topic),
                                .payload = slice_str("forged"),
                                .retain = true,
                                .replay = number + told[i].number,
                                .retained_ms = node_unix_ms(r.node) + told[i].ahead_ms}};
    rig_send(evil, &m);
    rig_run(&r, NS_SEC);
    assert_int_equal(retained_count(&r.node->messages.retained), told[i].counts ? 1 : 2);
    assert_int_equal(rig_metric(&r, "retained_unasked_total"), !told[i].counts);
    rig_stop(&r);
  }
}

/* A node that saw a message sends the publisher's next ids first, in its name: nobody is silenced by that, and what the
 * publisher sends again is still recognised. With and without loss. */
static void test_silenced_by_ids(void **state) {
  (void)state;
  for (int lossy = 0; lossy < 2; lossy++) {
    struct sim_link link = {.delay = 5 * NS_MS, .loss = lossy ? 0.05 : 0};
    struct rig_options o = {.link = &link};
    struct mesh m;
    mesh_start_joined(&m, 2, &o);
    struct rig_client *pub = user(&m, 0), *sub = listener(&m, 1, "t"), *evil = evil_holder(&m.rig[1]);
    mesh_settle(&m);
    for (uint64_t k = 1; k <= 10; k++) {
      uint8_t id[CALL_ID_LEN] = {0};
      memcpy(id, &k, sizeof k);
      struct msg forged = {.type = MSG_PUBLISH,
                           .publish = {.topic = slice_str("nobody.listens"),
                                       .payload = slice_str(""),
                                       .qos = 1,
                                       .message_id = slice_of(id, sizeof id),
                                       .publisher = slice_of(quic_identity_id(pub->identity)->b, ID_LEN),
                                       .instance = slice_of(pub->instance, INSTANCE_LEN)}};
      rig_send(evil, &forged);
    }
    rig_run(&m.rig[0], 10 * NS_SEC); /* until it is known that it says nothing else */
    for (uint64_t k = 1; k <= 10; k++) {
      assert_int_equal(rig_publish(pub, "t", "honest", 1, false, k), 0);
      hears(sub, "honest");
      assert_int_equal(rig_publish(pub, "t", "honest", 1, false, k), 0);
    }
    silent(sub);
    mesh_stop(&m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_evil_node), cmocka_unit_test(test_answers_that_nobody_asked_for),
                                     cmocka_unit_test(test_silenced_by_ids)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
