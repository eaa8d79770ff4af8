/* Lies to membership (SWIM): members that are not there, and whom others believe dead. */
#include "mesh_hostile_rig.h"

/* Two that nobody can dial, each behind the other. */
static void test_gateways_in_a_circle(void **state) {
  struct honest h;
  (void)state;
  honest_start(&h, NULL);
  struct rig_client *c = liar(&h.m.rig[0], "");
  struct id x = *crypto_key_id(key_of(1)), y = *crypto_key_id(key_of(2));
  struct swim_record me = {.incarnation = 5, .gateway = x, .name = slice_str("liar")};
  struct swim_update u[2] = {
      says(1, (struct swim_record){.incarnation = 1, .gateway = y, .name = slice_str("x")}),
      says(2, (struct swim_record){.incarnation = 1, .gateway = *id_of(c), .name = slice_str("y")}),
  };
  send_swim(c, MSG_SWIM_PING, &me, u, 2);
  go(&h, NS_SEC);
  u[0] = says(1, (struct swim_record){.incarnation = 2, .gateway = *id_of(c), .name = slice_str("x")});
  u[1] = says(2, (struct swim_record){.incarnation = 2, .gateway = x, .name = slice_str("y")});
  send_swim(c, MSG_SWIM_PING, &me, u, 2);
  go(&h, NS_SEC);
  bye(c);
  go(&h, NS_SEC);
  served(&h);
  struct rig_client *d = liar(&h.m.rig[0], "");
  me.gateway = y;
  send_swim(d, MSG_SWIM_PING, &me, u, 2);
  go(&h, NS_SEC);
  rig_kill(d);
  go(&h, 40 * NS_SEC);
  recovers(&h, 200 * NS_SEC);
  honest_stop(&h);
}

static unsigned visited;
static void moves_all(struct peer *q) {
  struct id other = invented(99);
  visited++;
  for (uint64_t k = 0; k < 5; k++) {
    struct id id = invented(20 + k);
    struct peer *p = peer_find(q->node, &id);
    if (p != q) peer_where(p, NULL, &other);
  }
}

/* What is done to one that is behind a gateway gives all others another gateway, while those behind it are gone through. */
static void test_moved_while_gone_through(void **state) {
  struct honest h;
  (void)state;
  honest_start(&h, NULL);
  struct id gateway = invented(98);
  for (uint64_t k = 0; k < 5; k++) {
    struct id id = invented(20 + k);
    peer_where(peer_get(node_of(&h, 0), &id), NULL, &gateway);
  }
  visited = 0;
  peers_behind(peer_find(node_of(&h, 0), &gateway), moves_all);
  assert_in_range(visited, 1, 5);
  recovers(&h, 200 * NS_SEC);
  honest_stop(&h);
}

static void test_accuses_everybody(void **state) {
  struct honest h;
  (void)state;
  honest_start(&h, NULL);
  struct rig_client *c = liar(&h.m.rig[0], "");
  struct swim_record me = {.incarnation = 1, .name = slice_str("liar")};
  for (uint64_t k = 0; k < 60; k++) {
    struct swim_update u[2];
    for (unsigned i = 0; i < 2; i++)
      u[i] = (struct swim_update){.state = k % 3 == 0   ? SWIM_SUSPECT
                                           : k % 3 == 1 ? SWIM_DEAD
                                                        : SWIM_LEFT,
                                  .id = *quic_identity_id(h.m.rig[i].identity),
                                  .incarnation = k % 5 == 4 ? UINT64_MAX
                                                            : membership_incarnation(node_of(&h, i)->mesh.membership) + k % 2};
    send_swim(c, k % 2 ? MSG_SWIM_PING : MSG_SWIM_SYNC, &me, u, 2);
    pong_swim(c, &me);
    go(&h, 200 * NS_MS);
  }
  within(&h);
  bye(c);
  mesh_settle(&h.m);
  recovers(&h, 200 * NS_SEC);
  honest_stop(&h);
}

static void invent_members(struct honest *h, struct rig_client *c, uint64_t count, bool dialled) {
  struct swim_record me = {.incarnation = 1, .name = slice_str("liar")};
  struct swim_update u[16];
  for (uint64_t k = 0; k < count; k += 16) {
    for (uint64_t i = 0; i < 16; i++) {
      struct swim_record r = {.incarnation = 1, .name = slice_str("invented")};
      if (dialled)
        r.addr = addr_of("10.9.9.9:1000");
      else
        r.gateway = k % 32 ? *id_of(c) : invented(1000000 + k + i); /* each its own, which is not there */
      if (dialled) addr_set_port(&r.addr, (uint16_t)(1000 + k + i));
      u[i] = says(10 + k + i, r);
    }
    send_swim(c, MSG_SWIM_SYNC, &me, u, 16);
    pong_swim(c, &me);
    go(h, 20 * NS_MS);
  }
}

/* Ten times as many members as there is room for. Others can join meanwhile, and hear publishes. */
static void invented_members(bool dialled) {
  struct rig_options o = {.node = {.limits = {.max_members = FEW_MEMBERS, .max_peers = 50, .max_interested = 20}}};
  struct honest h;
  honest_start(&h, &o);
  struct rig_client *c = liar(&h.m.rig[0], "");
  invent_members(&h, c, 10 * FEW_MEMBERS, dialled);
  struct membership_stats s;
  membership_stats(node_of(&h, 0)->mesh.membership, &s);
  assert_int_equal(s.alive + s.suspect + s.dead, FEW_MEMBERS);
  assert_true(s.refused > 0);
  served(&h);
  struct rig third;
  struct rig_options t = {.beside = &h.m.rig[0], .index = 5, .node = {.name = "third", .limits = o.node.limits}};
  rig_start(&third, &t);
  assert_int_equal(node_join(third.node, &h.m.rig[0].addr, NULL, true, sim_net_now(h.m.rig[0].net)), 0);
  struct rig_client *late = rig_join(&third, 0, NULL, RIG_EXT);
  assert_int_equal(rig_subscribe(late, "late.*"), 0);
  go(&h, 20 * NS_SEC);
  const struct peer *p = peer_find(node_of(&h, 0), quic_identity_id(third.identity));
  assert_true(p && p->link);
  assert_int_equal(rig_publish(h.pub, "late.x", "1", 1, false, 1), 0);
  assert_true(slice_is(rig_expect(late, MSG_PUBLISH).publish.payload, "1"));
  within(&h);
  assert_true(node_of(&h, 0)->join.count <= 3); /* whoever was never met is not looked for when he "dies" */
  char *known;
  assert_int_equal(node_known_peers(node_of(&h, 0), &known), 0);
  assert_null(strstr(known, "10.9.9.9"));
  free(known);
  bye(c);
  go(&h, NS_SEC);
  rig_kill(late);
  sim_net_detach(third.net, &third.addr);
  rig_stop(&third);
  recovers(&h, 600 * NS_SEC);
  honest_stop(&h);
}

static void test_invented_members(void **state) {
  (void)state;
  invented_members(true);
}

static void test_invented_members_behind_gateways(void **state) {
  (void)state;
  invented_members(false);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_gateways_in_a_circle),
      cmocka_unit_test(test_moved_while_gone_through),
      cmocka_unit_test(test_accuses_everybody),
      cmocka_unit_test(test_invented_members),
      cmocka_unit_test(test_invented_members_behind_gateways),
  };
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
