/* Two nodes that both reach a third and not each other: said, counted, and relayed by the third. QoS 1 never claims what did
 * not happen, neither then nor wherever else it is not known who listens. */
#include "log_rig.h"
#include "node/peers/peer.h"

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
  rig_until(&m.rig[0], 660 * NS_SEC, none_shows, &m, "they meet"); /* an address that never answered waits ten minutes */
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

static bool reaches(struct mesh *m, unsigned a, unsigned b) {
  struct peer *p = mesh_peer(m, a, b);
  return p && peer_is_up(p) && p->spread.interest.whole;
}
static bool all_relayed(void *ctx) { return reaches(ctx, 0, 1) && reaches(ctx, 1, 0); }

/* A call of node `from`'s client to node `to`'s. */
static void calls(struct mesh *m, unsigned from, unsigned to, const char *procedure, uint64_t id) {
  struct rig_client *a = user(m, from), *b = user(m, to);
  assert_int_equal(rig_register(b, procedure), 0);
  rig_run(&m->rig[0], 2 * NS_SEC);
  for (uint64_t i = 0; i < 5; i++) {
    rig_call(a, procedure, "{}", id + i, 10000);
    struct msg c = rig_expect(b, MSG_CALL);
    rig_reply(b, c.call.call_id, "9");
    struct msg_reply r = rig_expect(a, MSG_REPLY).reply;
    if (r.is_error) fail_msg("%.*s", (int)r.error.code.n, r.error.code.p);
    assert_true(slice_is(r.result, "9"));
  }
}

/* What the two say to each other goes through the third, both ways, and by themselves as soon as they can. */
static void test_relayed(void **state) {
  static const struct sim_link links[] = {{.delay = NS_MS}, {.delay = 30 * NS_MS, .jitter = 10 * NS_MS, .loss = 0.1}};
  (void)state;
  for (size_t k = 0; k < 2; k++) {
    struct mesh m;
    struct rig_options o = {.link = &links[k], .seed = 7 + k};
    mesh_start(&m, 4, &o);
    mesh_cut(&m, 0, 1, true);
    mesh_join(&m, 0, 2);
    mesh_join(&m, 1, 2);
    mesh_join(&m, 3, 2);
    struct rig_client *pub[2] = {user(&m, 0), user(&m, 1)}, *sub[2] = {listener(&m, 0, "q.*"), listener(&m, 1, "q.*")};
    rig_until(&m.rig[0], 180 * NS_SEC, all_relayed, &m, "they are relayed");
    assert_int_equal(rig_metric(&m.rig[0], "mesh_relayed"), 1);
    assert_true(rig_metric(&m.rig[0], "mesh_relays_total") >= 1);
    for (uint64_t i = 1; i <= 20; i++)
      for (int from = 0; from < 2; from++) {
        char text[16];
        snprintf(text, sizeof text, "%d-%d", from, (int)i);
        assert_int_equal(rig_publish(pub[from], "q.one", text, 1, false, 100 * (uint64_t)from + i), 0);
        hears(sub[0], text);
        hears(sub[1], text);
        rig_publish_only(pub[from], "q.none", slice_str(text), 0);
        hears(sub[0], text);
        hears(sub[1], text);
      }
    calls(&m, 0, 1, "x.there", 1000);
    calls(&m, 1, 0, "x.back", 2000);
    assert_true(rig_metric(&m.rig[2], "routes_forwarded_total") + rig_metric(&m.rig[3], "routes_forwarded_total") > 60);
    assert_int_equal(rig_metric(&m.rig[0], "envelopes_forged_total"), 0);
    /* The relay dies: another one takes its place. */
    unsigned by = mesh_peer(&m, 0, 1)->via == mesh_peer(&m, 0, 2) ? 2 : 3;
    rig_node_kill(&m.rig[by]);
    rig_run(&m.rig[0], 15 * NS_SEC);
    rig_until(&m.rig[0], 60 * NS_SEC, all_relayed, &m, "they are relayed by the other one");
    calls(&m, 0, 1, "x.again", 3000);
    rig_node_start(&m.rig[by]);
    mesh_cut(&m, 0, 1, false);
    rig_until(&m.rig[0], 120 * NS_SEC, none_shows, &m, "they meet");
    mesh_settle(&m);
    assert_int_equal(rig_metric(&m.rig[0], "mesh_relayed"), 0);
    uint64_t carried = rig_metric(&m.rig[0], "routes_delivered_total");
    assert_int_equal(rig_publish(pub[1], "q.one", "direct", 1, false, 999), 0);
    hears(sub[0], "direct");
    assert_int_equal(rig_metric(&m.rig[0], "routes_delivered_total"), carried);
    mesh_stop(&m);
  }
}

/* Alive, as others say, and not yet relayed: what its clients listen to is not known. */
static void test_qos1_between_those_apart(void **state) {
  struct kept_log k;
  struct mesh m;
  (void)state;
  start_apart(&m, &k);
  struct rig_client *far = listener(&m, 1, "q"), *near = listener(&m, 2, "q"), *pub = user(&m, 0);
  rig_until(&m.rig[0], 120 * NS_SEC, both_show, &m, "both say that they are apart");
  nanotime began = sim_net_now(m.rig[0].net);
  int err = rig_publish(pub, "q", "1", 1, false, 1);
  assert_true(err == 0 || err == MACULA_NO_ROUTE); /* waiting for keys it may still have arrived */
  assert_true(sim_net_now(m.rig[0].net) - began < NS_SEC);
  hears(near, "1");
  rig_until(&m.rig[0], 60 * NS_SEC, all_relayed, &m, "they are relayed");
  assert_int_equal(rig_publish(pub, "q", "1", 1, false, 1), 0); /* again */
  hears(far, "1");
  assert_true(rig_quiet(near, MSG_PUBLISH, NS_SEC));
  mesh_stop(&m);
}

/* A link that stood is cut: what was in flight is not claimed unless it arrived, and what follows goes by the third. */
static void test_qos1_when_they_come_apart(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 3, NULL);
  struct rig_client *far = listener(&m, 1, "q"), *pub = user(&m, 0);
  mesh_settle(&m);
  mesh_cut(&m, 0, 1, true);
  int done = 0;
  for (uint64_t i = 1; i < 60 && done < 5; i++) {
    char text[16];
    snprintf(text, sizeof text, "%d", (int)i);
    int err = mesh_publish(pub, "q", text, i); /* 1: it is silent */
    assert_true(!err || err == 1 || err == MACULA_NO_ROUTE);
    done += !err;
    while (!err && !slice_is(rig_expect(far, MSG_PUBLISH).publish.payload, text)) continue;
    rig_run(&m.rig[0], NS_SEC);
  }
  assert_int_equal(done, 5);
  struct rig_client *late = listener(&m, 1, "new"); /* node 0 hears of it through the third */
  rig_run(&m.rig[0], 2 * NS_SEC);
  assert_true(both_show(&m));
  assert_int_equal(rig_publish(pub, "new", "1", 1, false, 99), 0);
  hears(late, "1");
  mesh_cut(&m, 0, 1, false);
  mesh_settle(&m);
  assert_int_equal(rig_publish(pub, "new", "2", 1, false, 100), 0);
  hears(late, "2");
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
  assert_true(ack.ack.ref == 5 && !ack.ack.code.n && ack.ack.partly.silent == 1);
  mesh_stop(&m);
}

/* Silent, and then declared dead before it has acknowledged: nobody knows whether its clients had the message. Sent again, all
 * that are left have it. */
static void test_qos1_to_one_that_dies(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 3, NULL);
  struct rig_client *b = listener(&m, 1, "q"), *pub = user(&m, 0);
  (void)listener(&m, 2, "q");
  mesh_settle(&m);
  rig_node_kill(&m.rig[2]);
  int err = 0;
  for (int i = 0; i < 20 && !err; i++) err = mesh_publish(pub, "q", "1", 1);
  assert_true(err == MACULA_NO_ROUTE || err == 1);
  hears(b, "1");
  mesh_publish_all(pub, "q", "1", 1);
  assert_true(rig_quiet(b, MSG_PUBLISH, NS_SEC));
  mesh_stop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_said_and_counted),
      cmocka_unit_test(test_relayed),
      cmocka_unit_test(test_qos1_between_those_apart),
      cmocka_unit_test(test_qos1_when_they_come_apart),
      cmocka_unit_test(test_qos1_before_interest_was_told),
      cmocka_unit_test(test_qos1_beyond_the_patterns_that_are_kept),
      cmocka_unit_test(test_qos1_without_message_id),
      cmocka_unit_test(test_qos1_to_one_that_dies),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
