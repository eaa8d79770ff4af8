/* Who published and called, across nodes: each node vouches for its own clients, and for nobody else. */
#include "mesh_hostile_rig.h"
#include "node/session/origin.h"
#include "origin_rig.h"

static struct rig_client *listener(struct mesh *m, unsigned node, const char *pattern) {
  struct rig_client *c = rig_join(&m->rig[node], 0, NULL, ORIGIN_CAPS);
  assert_int_equal(rig_subscribe(c, pattern), 0);
  return c;
}

static void publish(struct rig_client *c, const char *topic) { rig_publish_only(c, topic, slice_str("x"), 0); }

static void cast(struct rig_client *c, const char *procedure) {
  rig_send(c, &(struct msg){.type = MSG_CAST, .call = {.procedure = slice_str(procedure), .args = slice_str("1")}});
}

static void two_nodes(const struct rig_options *o) {
  struct mesh m;
  mesh_start_joined(&m, 2, o);
  struct rig_client *a = rig_join(&m.rig[0], 0, NULL, RIG_EXT), *b = rig_join(&m.rig[1], 0, NULL, RIG_EXT),
                    *nobody = rig_join(&m.rig[0], RIG_NO_CERT, NULL, RIG_BASE);
  struct told t = told_by(listener(&m, 1, "t.*"));
  assert_int_equal(rig_register(t.c, "p"), 0);
  mesh_settle(&m);
  rig_run(&m.rig[0], 5 * NS_SEC); /* the service is found */
  for (uint64_t i = 1; i <= 3; i++) {
    assert_int_equal(rig_publish(a, "t.x", "1", 1, false, i), 0);
    (void)told_from(&t, MSG_PUBLISH, a, &m.rig[0]);
    assert_int_equal(rig_publish(b, "t.x", "1", 1, false, i), 0);
    (void)told_from(&t, MSG_PUBLISH, b, &m.rig[1]);
    rig_call(a, "p", "1", i, 0);
    struct msg c = told_from(&t, MSG_CALL, a, &m.rig[0]);
    rig_reply(t.c, c.call.call_id, "2");
    assert_false(rig_expect(a, MSG_REPLY).reply.is_error);
  }
  for (int i = 0; i < 3 && !(o && o->link); i++) {
    publish(nobody, "t.x");
    (void)told_from(&t, MSG_PUBLISH, NULL, &m.rig[0]);
    cast(a, "p");
    (void)told_from(&t, MSG_CAST, a, &m.rig[0]);
  }
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

/* The same client at two nodes is one principal, vouched for by whichever node it came through. */
static void test_one_key_at_two_nodes(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  struct told t = told_by(listener(&m, 1, "t.*"));
  struct rig_client *a = rig_join(&m.rig[0], 0, NULL, RIG_EXT), *b = rig_join(&m.rig[1], 0, a->identity, RIG_EXT);
  mesh_settle(&m);
  publish(a, "t.x");
  (void)told_from(&t, MSG_PUBLISH, a, &m.rig[0]);
  publish(b, "t.x");
  (void)told_from(&t, MSG_PUBLISH, a, &m.rig[1]);
  mesh_stop(&m);
}

/* A new link starts with empty slots, on both sides. */
static void test_a_link_comes_back(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  struct rig_client *a = rig_join(&m.rig[0], 0, NULL, RIG_EXT);
  struct told t = told_by(listener(&m, 1, "t.*"));
  mesh_settle(&m);
  for (int i = 0; i < 3; i++) {
    publish(a, "t.x");
    (void)told_from(&t, MSG_PUBLISH, a, &m.rig[0]);
    link_close(mesh_peer(&m, i % 2, !(i % 2)), MACULA_EVICTED);
    publish(a, "t.x"); /* may wait for the link, with its publisher in full */
    rig_run(&m.rig[0], 2 * NS_SEC);
    mesh_join_all(&m);
    mesh_settle(&m);
  }
  publish(a, "t.x");
  while (t.c->counts[MSG_PUBLISH] < 4) rig_run(&m.rig[0], NS_SEC);
  for (uint64_t left = t.c->counts[MSG_PUBLISH] - 3; left; left--) (void)told_from(&t, MSG_PUBLISH, a, &m.rig[0]);
  mesh_stop(&m);
}

/* A message that waits for a link names its publisher in full. */
static bool is_known(void *ctx) { return mesh_peer(ctx, 0, 1) && mesh_peer(ctx, 0, 1)->spread.interest.topics.count; }
static bool is_unlinked(void *ctx) { return !mesh_peer(ctx, 0, 1)->link; }
static void test_messages_that_wait(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  struct rig_client *a = rig_join(&m.rig[0], 0, NULL, RIG_EXT);
  struct told t = told_by(listener(&m, 1, "t.*"));
  mesh_settle(&m);
  rig_until(&m.rig[0], 10 * NS_SEC, is_known, &m, "its interest");
  link_close(mesh_peer(&m, 0, 1), MACULA_EVICTED);
  rig_until(&m.rig[0], NS_SEC, is_unlinked, &m, "the link's end");
  publish(a, "t.x");
  (void)told_from(&t, MSG_PUBLISH, a, &m.rig[0]);
  mesh_stop(&m);
}

/* 1 and 2, which nobody can dial, know what the other's clients want. */
static bool routed(void *ctx) {
  struct mesh *m = ctx;
  for (unsigned a = 1; a < 3; a++) {
    struct peer *p = mesh_peer(m, a, 3 - a);
    struct interest_stats own;
    if (!p || !p->spread.on || !p->spread.path) return false;
    interest_stats(m->rig[3 - a].node->spread.interest, &own);
    if (p->spread.interest.version != own.version || (p->spread.interest.retained && !p->spread.holder)) return false;
  }
  return true;
}

/* What two nodes that nobody can dial say to each other goes through 0, which vouches for none of it. */
static void test_through_a_gateway(void **state) {
  struct mesh m;
  (void)state;
  mesh_start(&m, 1, NULL);
  for (unsigned i = 1; i < 3; i++) {
    struct rig_options o = {.beside = &m.rig[0], .index = i, .node = {.hidden = true, .name = i == 1 ? "one" : "two"}};
    rig_start(&m.rig[i], &o);
  }
  m.count = 3;
  mesh_join(&m, 1, 0);
  mesh_join(&m, 2, 0);
  struct rig_client *a = rig_join(&m.rig[1], 0, NULL, RIG_EXT), *b = rig_join(&m.rig[2], 0, NULL, RIG_EXT);
  struct told far = told_by(listener(&m, 2, "t.*")), near = told_by(listener(&m, 1, "t.*"));
  assert_int_equal(rig_register(far.c, "p"), 0);
  assert_int_equal(rig_publish(a, "r.x", "kept", 1, true, 99), 0);
  rig_until(&m.rig[0], 60 * NS_SEC, routed, &m, "the hidden nodes hear of each other");
  rig_run(&m.rig[0], 10 * NS_SEC);
  for (uint64_t i = 1; i <= 2; i++) {
    publish(a, "t.x");
    (void)told_from(&far, MSG_PUBLISH, a, &m.rig[1]);
    (void)told_from(&near, MSG_PUBLISH, a, &m.rig[1]);
    publish(b, "t.x");
    (void)told_from(&near, MSG_PUBLISH, b, &m.rig[2]);
    (void)told_from(&far, MSG_PUBLISH, b, &m.rig[2]);
    rig_call(a, "p", "1", i, 0);
    struct msg c = told_from(&far, MSG_CALL, a, &m.rig[1]);
    rig_reply(far.c, c.call.call_id, "2");
    assert_false(rig_expect(a, MSG_REPLY).reply.is_error);
  }
  struct told late = told_by(listener(&m, 2, "r.**"));
  (void)told_from(&late, MSG_PUBLISH, a, &m.rig[1]);
  assert_null(mesh_peer(&m, 1, 2)->link);
  mesh_stop(&m);
}

/* What another node retains comes with its publisher, who is gone. */
static void test_recalled(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  struct rig_client *a = rig_join(&m.rig[0], 0, NULL, RIG_EXT);
  assert_int_equal(rig_publish(a, "t.x", "1", 1, true, 1), 0);
  quic_conn_close(a->conn, 0, "");
  mesh_settle(&m);
  struct told t = told_by(listener(&m, 1, "t.*"));
  struct msg got = told_from(&t, MSG_PUBLISH, a, &m.rig[0]);
  assert_true(got.publish.retain);
  mesh_stop(&m);
}

/* More publishers than a link has slots. */
static void test_more_publishers_than_slots(void **state) {
  enum { PUBLISHERS = 280 };
  struct rig_client *pub[PUBLISHERS];
  static struct told t;
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  t = told_by(listener(&m, 1, "t.*"));
  for (int i = 0; i < PUBLISHERS; i++) pub[i] = rig_join(&m.rig[0], 0, NULL, RIG_EXT);
  mesh_settle(&m);
  for (int i = 0; i < PUBLISHERS; i++) publish(pub[i], "t.x");
  for (int i = 0; i < PUBLISHERS; i++) {
    struct slice who;
    const struct id *node;
    (void)told_next(&t, MSG_PUBLISH, &who, &node);
    assert_true(id_eq(node, quic_identity_id(m.rig[0].identity)));
  }
  for (int i = 0; i < 2 * PUBLISHERS; i += 3) {
    publish(pub[i % PUBLISHERS], "t.x");
    (void)told_from(&t, MSG_PUBLISH, pub[i % PUBLISHERS], &m.rig[0]);
  }
  mesh_stop(&m);
}

/* ---- liars -----------------------------------------------------------------------------------------------------------------
 */
static struct msg announce(uint64_t kind, uint64_t number, struct slice principal, struct slice node) {
  return (struct msg){.type = MSG_ANNOUNCE, .announce = {kind, number, principal, node}};
}

static struct rig_client *origin_liar(struct honest *h) {
  struct rig_client *c = rig_client(&h->m.rig[1], 0, NULL);
  rig_opened(c);
  struct msg m = {.type = MSG_CONNECT,
                  .connect = {.version = slice_str("1.0"),
                              .node_id = slice_of(id_of(c)->b, ID_LEN),
                              .realm_id = slice_str("test"),
                              .caps = ORIGIN_CAPS | CAP_NODE,
                              .instance = slice_of(c->instance, sizeof c->instance),
                              .endpoint = slice_str("10.8.8.8:1")}};
  rig_send(c, &m);
  assert_true(rig_expect(c, MSG_PONG).pong.caps & CAP_ORIGIN);
  return c;
}

/* What stands now is no liar's. */
static void start_from_here(struct honest *h) {
  mesh_settle(&h->m);
  go(h, 5 * NS_SEC);
  for (unsigned i = 0; i < 2; i++) rows_now(node_of(h, i), h->start[i]);
}

static void say(struct rig_client *liar, struct msg_origin origin) {
  rig_send(liar, &(struct msg){.type = MSG_PUBLISH,
                               .publish = {.topic = slice_str("t.x"), .payload = slice_str("lie"), .origin = origin}});
}

/* It announces another node's client in that node's name: what it says is vouched for by itself, in whichever form. */
static void test_a_node_vouches_for_itself_only(void **state) {
  struct honest h;
  uint8_t bytes[PRINCIPAL_LEN_MAX];
  struct slice got;
  const struct id *node;
  (void)state;
  honest_start(&h, NULL);
  struct told t = told_by(listener(&h.m, 1, "t.*"));
  start_from_here(&h);
  publish(h.pub, "t.x");
  (void)told_from(&t, MSG_PUBLISH, h.pub, &h.m.rig[0]);
  struct rig_client *l = origin_liar(&h);
  struct principal_name victim = {PRINCIPAL_KEY, slice_of(id_of(h.pub)->b, ID_LEN)};
  struct slice name = slice_of(bytes, principal_write(&victim, bytes));
  struct msg m = announce(ANNOUNCE_PUBLISHER, 1, name, slice_of(quic_identity_id(h.m.rig[0].identity)->b, ID_LEN));
  rig_send(l, &m);
  struct msg_origin origins[] = {{.number = 1}, {.in_full = name}};
  for (int i = 0; i < 2; i++) {
    say(l, origins[i]);
    (void)told_next(&t, MSG_PUBLISH, &got, &node);
    assert_true(slice_eq(got, name));
    assert_true(id_eq(node, id_of(l)));
  }
  publish(h.pub, "t.x"); /* the honest node's own are as they were */
  (void)told_from(&t, MSG_PUBLISH, h.pub, &h.m.rig[0]);
  served(&h);
  leaves(&h, l);
}

/* Numbers that were never announced, or not any more, or not for calls; names that are none: the link ends, and says why. */
static void test_numbers_never_announced(void **state) {
  struct honest h;
  static const uint8_t user[] = "\2joe", control[] = "\2a\nb", short_id[] = "\1abc", named_nobody[] = "\3x", later[] = "\11x";
  struct slice good = slice_of(user, sizeof user - 1), none = SLICE_NONE;
  (void)state;
  honest_start(&h, NULL);
  struct told t = told_by(listener(&h.m, 1, "t.*"));
  start_from_here(&h);
  const struct {
    struct msg first, second;
    struct msg_origin origin;
  } cases[] = {
      {announce(ANNOUNCE_PUBLISHER, 7, good, none), announce(ANNOUNCE_PUBLISHER, 8, good, none), {.number = 9}},
      {announce(ANNOUNCE_PUBLISHER, 7, good, none), announce(ANNOUNCE_PUBLISHER, 263, good, none), {.number = 7}},
      {announce(ANNOUNCE_CALLER, 7, good, none), announce(ANNOUNCE_CALLER, 8, good, none), {.number = 7}},
      {announce(ANNOUNCE_PUBLISHER, 7, good, none), announce(ANNOUNCE_PUBLISHER, 8, good, none), {.number = UINT64_MAX}},
      {announce(ANNOUNCE_PUBLISHER, UINT64_MAX, good, none), announce(99, 8, good, none), {.number = 8}},
      {announce(99, 7, none, none), announce(ANNOUNCE_PUBLISHER, 8, none, none), {0}},
      {announce(99, 7, none, none), announce(ANNOUNCE_PUBLISHER, 8, slice_of(control, sizeof control - 1), none), {0}},
      {announce(99, 7, none, none), announce(ANNOUNCE_PUBLISHER, 8, slice_of(short_id, sizeof short_id - 1), none), {0}},
      {announce(99, 7, none, none), announce(ANNOUNCE_PUBLISHER, 8, slice_of(named_nobody, 2), none), {0}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct rig_client *l = origin_liar(&h);
    rig_send(l, &cases[i].first);
    rig_send(l, &cases[i].second);
    say(l, cases[i].origin);
    struct msg end = rig_expect(l, MSG_DISCONNECT);
    if (!slice_is(end.disconnect.code, "bad_frame")) fail_msg("case %zu", i);
    assert_true(end.disconnect.message.n > 20);
    (void)rig_closed(l);
    within(&h);
  }
  /* of a later version: unknown, and no fault */
  struct rig_client *l = origin_liar(&h);
  struct msg m = announce(ANNOUNCE_PUBLISHER, 8, slice_of(later, 2), none);
  rig_send(l, &m);
  say(l, (struct msg_origin){.number = 8});
  assert_int_equal(rig_expect(t.c, MSG_PUBLISH).publish.origin.number, 0);
  served(&h);
  leaves(&h, l);
}

/* Any number of names from one node leaves the room of another node's own clients alone. */
static void test_floods_of_names(void **state) {
  struct rig_options o = {.node.limits = {.origin_bytes = 256 << 10}};
  struct honest h;
  uint8_t bytes[PRINCIPAL_LEN_MAX];
  (void)state;
  honest_start(&h, &o);
  struct told t = told_by(listener(&h.m, 1, "t.*"));
  start_from_here(&h);
  struct rig_client *l = origin_liar(&h);
  for (uint64_t k = 1; k <= 3000; k++) {
    struct id id = invented(k);
    struct principal_name p = {PRINCIPAL_KEY, slice_of(id.b, ID_LEN)};
    struct slice name = slice_of(bytes, principal_write(&p, bytes));
    struct msg m = announce(1 + k % 2, k, name, SLICE_NONE);
    rig_send(l, &m);
    if (k % 3 == 0) say(l, (struct msg_origin){.in_full = name});
    if (k % 50 == 0) go(&h, 10 * NS_MS);
  }
  go(&h, NS_SEC);
  within(&h);
  struct row_now rows[ROWS_SHOWN];
  rows_now(node_of(&h, 1), rows);
  assert_true(rows[ROW_ORIGINS].refused > 0);
  t.at = t.c->read = t.c->kept_count;
  memset(t.slot, 0, sizeof t.slot);
  struct rig_client *own = rig_join(&h.m.rig[1], 0, NULL, RIG_EXT);
  struct told u = told_by(listener(&h.m, 1, "t.*"));
  publish(own, "t.x");
  (void)told_from(&u, MSG_PUBLISH, own, &h.m.rig[1]);
  served(&h);
  quic_conn_close(own->conn, 0, "");
  quic_conn_close(u.c->conn, 0, "");
  leaves(&h, l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_two_nodes),
      cmocka_unit_test(test_two_nodes_with_loss),
      cmocka_unit_test(test_one_key_at_two_nodes),
      cmocka_unit_test(test_a_link_comes_back),
      cmocka_unit_test(test_messages_that_wait),
      cmocka_unit_test(test_through_a_gateway),
      cmocka_unit_test(test_recalled),
      cmocka_unit_test(test_more_publishers_than_slots),
      cmocka_unit_test(test_a_node_vouches_for_itself_only),
      cmocka_unit_test(test_numbers_never_announced),
      cmocka_unit_test(test_floods_of_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
