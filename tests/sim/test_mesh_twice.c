/* One identity twice, as when a state folder was copied: noticed, said once, and the later of the two keeps away. */
#include "log_rig.h"
#include "node/session/session.h"

enum { X, A, Y, COPY, NODES }; /* COPY has A's identity */

static struct rig_client *user(struct mesh *m, unsigned node) { return rig_join(&m->rig[node], 0, NULL, RIG_EXT); }

/* COPY does not run yet. */
static void start(struct mesh *m, uint64_t seed) {
  struct rig_options o = {.seed = seed};
  mesh_start(m, NODES, &o);
  struct rig *c = &m->rig[COPY];
  rig_node_kill(c);
  quic_identity_unref(c->identity);
  c->identity = c->config.identity = quic_identity_ref(m->rig[A].identity);
}

static void join(struct mesh *m, unsigned node) {
  for (unsigned k = X; k <= Y; k += Y - X)
    if (k != node) mesh_join(m, node, k);
}

static void start_copy(struct mesh *m, struct kept_log *k) {
  rig_node_start(&m->rig[COPY]);
  if (k) log_keep(k, m, COPY);
  join(m, COPY);
}

static bool linked_with(struct mesh *m, unsigned at, unsigned run) {
  struct peer *p = mesh_peer(m, at, A);
  return p && p->link && addr_eq(door_remote(&p->link->door), &m->rig[run].addr);
}

static bool a_linked(void *ctx) { return linked_with(ctx, X, A) && linked_with(ctx, Y, A); }
static bool copy_linked(void *ctx) { return linked_with(ctx, X, COPY) && linked_with(ctx, Y, COPY); }

static void names_both(const struct kept_log *k, struct mesh *m) {
  char hex[ID_HEX_LEN + 1];
  id_hex(quic_identity_id(m->rig[A].identity), hex);
  assert_int_equal(log_count(k, "0 identity_twice"), 1);
  assert_true(log_line_has(k, "0 identity_twice", hex));
  assert_true(log_line_has(k, "0 identity_twice", "10.0.0.2:9443"));
  assert_true(log_line_has(k, "0 identity_twice", "10.0.0.4:9443"));
}

static void test_the_later_keeps_away(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 5; seed++) {
    static struct kept_log x, y, copy;
    struct mesh m;
    print_message("seed %llu\n", (unsigned long long)seed);
    start(&m, seed);
    join(&m, A);
    join(&m, Y);
    rig_until(&m.rig[0], 20 * NS_SEC, a_linked, &m, "links");
    struct rig_client *sub = user(&m, A), *pub = user(&m, X);
    assert_int_equal(rig_subscribe(sub, "q"), 0);
    rig_run(&m.rig[0], 5 * NS_SEC);
    log_keep(&x, &m, X);
    log_keep(&y, &m, Y);
    start_copy(&m, &copy);
    rig_run(&m.rig[0], 15 * NS_SEC);
    names_both(&x, &m);
    names_both(&y, &m);
    char hex[ID_HEX_LEN + 1];
    id_hex(quic_identity_id(m.rig[A].identity), hex);
    assert_true(log_line_has(&copy, "0 identity_in_use", hex));
    assert_true(a_linked(&m));
    uint64_t serial = mesh_peer(&m, X, A)->link->serial;
    for (uint64_t i = 1; i <= 300; i++) { /* through more than one of its tries */
      char text[16];
      snprintf(text, sizeof text, "%llu", (unsigned long long)i);
      assert_int_equal(rig_publish(pub, "q", text, (int)(i & 1), false, i), 0);
      assert_true(slice_is(rig_expect(sub, MSG_PUBLISH).publish.payload, text));
      rig_run(&m.rig[0], NS_SEC);
    }
    assert_int_equal(mesh_peer(&m, X, A)->link->serial, serial);
    assert_int_equal(log_count(&x, "identity_twice"), 1);
    assert_int_equal(log_count(&copy, "0 identity_in_use"), 1);
    assert_true(addr_eq(&mesh_peer(&m, X, A)->addr, &m.rig[A].addr));
    assert_in_range(rig_metric(&m.rig[X], "mesh_identity_twice_total"), 2, 20);
    /* Gone for good: then the other may come. */
    rig_node_kill(&m.rig[A]);
    rig_until(&m.rig[0], 300 * NS_SEC, copy_linked, &m, "the copy takes its place");
    mesh_stop(&m);
  }
}

/* Both start at once, and each meets another node first: all agree. */
static void test_both_start_at_once(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 5; seed++) {
    struct mesh m;
    start(&m, seed);
    join(&m, Y);
    rig_run(&m.rig[0], 5 * NS_SEC);
    rig_node_start(&m.rig[COPY]);
    mesh_join(&m, COPY, X);
    mesh_join(&m, A, Y);
    rig_run(&m.rig[0], 60 * NS_SEC);
    assert_true(a_linked(&m)); /* which had started before */
    rig_run(&m.rig[0], 120 * NS_SEC);
    assert_true(a_linked(&m));
    mesh_stop(&m);
  }
}

/* A node that is killed and started again and again, before its end was noticed or after, is not taken for two. */
static void test_restarts_are_no_second_node(void **state) {
  struct kept_log x, y;
  struct mesh m;
  (void)state;
  start(&m, 1);
  join(&m, A);
  join(&m, Y);
  rig_until(&m.rig[0], 20 * NS_SEC, a_linked, &m, "links");
  log_keep(&x, &m, X);
  log_keep(&y, &m, Y);
  for (unsigned i = 0; i < 12; i++) {
    rig_node_kill(&m.rig[A]);
    rig_run(&m.rig[0], (i % 4) * (i % 4) * (i % 4) * 400 * NS_MS);
    rig_node_start(&m.rig[A]);
    join(&m, A);
    rig_until(&m.rig[0], 60 * NS_SEC, a_linked, &m, "links again");
    rig_run(&m.rig[0], (i % 3) * NS_SEC);
  }
  assert_int_equal(log_count(&x, "identity_"), 0);
  assert_int_equal(log_count(&y, "identity_"), 0);
  mesh_stop(&m);
}

static bool says_replaced(void *ctx) {
  struct peer *p = mesh_peer(ctx, X, A);
  if (p && p->link) session_close(p->link, MACULA_REPLACED, NULL);
  return false;
}

/* Whoever says without end that another run took the link is not dialled as fast as it can say so. */
static void test_replaced_again_and_again(void **state) {
  struct mesh m;
  (void)state;
  start(&m, 1);
  mesh_join(&m, A, X);
  m.rig[X].node->mesh.no_upkeep = true;
  uint64_t before = m.rig[A].node->peers.dials;
  (void)sim_net_run(m.rig[0].net, sim_net_now(m.rig[0].net) + 60 * NS_SEC, says_replaced, &m);
  uint64_t dials = m.rig[A].node->peers.dials - before;
  print_message("%llu dials\n", (unsigned long long)dials);
  assert_in_range(dials, 2, 130); /* two a second at most */
  mesh_stop(&m);
}

/* Its name is what a node chose; its id is proved. */
static void test_lines_name_id_and_address(void **state) {
  static const char *const events[] = {"link_up", "member_up", "link_down", "member_dead"};
  struct kept_log x;
  struct mesh m;
  char hex[ID_HEX_LEN + 1], fields[ID_HEX_LEN + 64];
  (void)state;
  start(&m, 1);
  log_keep(&x, &m, X);
  id_hex(quic_identity_id(m.rig[A].identity), hex);
  snprintf(fields, sizeof fields, "\" id=%s address=10.0.0.2:9443", hex); /* fields of their own, behind the quoted name */
  mesh_join(&m, A, X);
  rig_run(&m.rig[0], 5 * NS_SEC);
  rig_node_kill(&m.rig[A]);
  rig_run(&m.rig[0], 60 * NS_SEC);
  for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
    if (!log_count(&x, events[i])) continue; /* how its end was noticed */
    assert_true(log_line_has(&x, events[i], fields));
  }
  assert_true(log_count(&x, "link_up") && log_count(&x, "member_up") && log_count(&x, "member_dead"));
  mesh_stop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_later_keeps_away),        cmocka_unit_test(test_both_start_at_once),
      cmocka_unit_test(test_restarts_are_no_second_node), cmocka_unit_test(test_replaced_again_and_again),
      cmocka_unit_test(test_lines_name_id_and_address),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
