/* Who is in a mesh, over real QUIC on the in-memory network: joining, death and return, where a node says that it is, nodes
 * that nobody can dial. */
#include "mesh_rig.h"
#include "node/mesh/member.h"

static bool linked(struct mesh *m, unsigned a, unsigned b) {
  struct peer *p = mesh_peer(m, a, b), *q = mesh_peer(m, b, a);
  return p && p->link && q && q->link;
}

static bool all_linked(void *ctx) {
  struct mesh *m = ctx;
  for (unsigned i = 0; i < m->count; i++)
    if (m->rig[i].node && pool_count(&m->rig[i].node->peers.pool) != m->links) return false;
  for (unsigned i = 0; i < m->count; i++) {
    if (!m->rig[i].node) continue;
    list_for(it, &m->rig[i].node->peers.all) {
      struct peer *p = container_of(it, struct peer, all);
      if (p->slot.in && !p->link) return false;
    }
  }
  return true;
}

static uint64_t alive(struct mesh *m, unsigned i) { return rig_metric(&m->rig[i], "members_alive"); }
static bool all_know(void *ctx) {
  struct mesh *m = ctx;
  uint64_t up = 0;
  for (unsigned i = 0; i < m->count; i++) up += m->rig[i].node != NULL;
  for (unsigned i = 0; i < m->count; i++)
    if (m->rig[i].node && alive(m, i) != up - 1) return false;
  return true;
}

/* All join by one; each learns of each and is linked with it. One dies, and comes back with its old state. */
static void test_members(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 5; seed++) {
    struct sim_link link = {.delay = 2 * NS_MS, .jitter = NS_MS, .loss = seed == 1 ? 0 : 0.03};
    struct mesh m;
    struct rig_options o = {.seed = seed, .link = &link};
    mesh_start(&m, 8, &o);
    m.links = 7;
    for (unsigned i = 1; i < 8; i++) mesh_join(&m, i, 0);
    rig_until(&m.rig[0], 20 * NS_SEC, all_know, &m, "members known");
    rig_until(&m.rig[0], 20 * NS_SEC, all_linked, &m, "all linked");
    rig_node_kill(&m.rig[3]);
    m.links = 6;
    rig_until(&m.rig[0], 30 * NS_SEC, all_know, &m, "a death known");
    rig_until(&m.rig[0], 30 * NS_SEC, all_linked, &m, "links of the dead gone");
    rig_node_start(&m.rig[3]);
    mesh_join(&m, 3, 1);
    m.links = 7;
    rig_until(&m.rig[0], 30 * NS_SEC, all_know, &m, "welcomed back");
    rig_until(&m.rig[0], 30 * NS_SEC, all_linked, &m, "linked again");
    rig_node_kill(&m.rig[0]); /* the node that all joined by */
    m.rig[0].node = NULL;
    m.links = 6;
    rig_until(&m.rig[1], 30 * NS_SEC, all_know, &m, "the first contact's death known");
    rig_node_start(&m.rig[0]); /* without anybody to join: it is looked for */
    m.links = 7;
    rig_until(&m.rig[1], 60 * NS_SEC, all_know, &m, "the first contact found again");
    mesh_stop(&m);
  }
}

/* Two and two are cut off from each other for 30 s. */
static void test_partition_heals(void **state) {
  (void)state;
  struct mesh m;
  struct rig_options o = {.seed = 3};
  mesh_start(&m, 4, &o);
  m.links = 3;
  for (unsigned i = 1; i < 4; i++) mesh_join(&m, i, 0);
  rig_until(&m.rig[0], 20 * NS_SEC, all_know, &m, "members known");
  for (int cut = 1; cut >= 0; cut--) {
    for (unsigned a = 0; a < 2; a++)
      for (unsigned b = 2; b < 4; b++) sim_net_cut(m.rig[0].net, &m.rig[a].addr, &m.rig[b].addr, cut);
    if (cut) rig_run(&m.rig[0], 30 * NS_SEC);
    if (cut) assert_int_equal(alive(&m, 0), 1);
  }
  rig_until(&m.rig[0], 60 * NS_SEC, all_know, &m, "healed");
  rig_until(&m.rig[0], 60 * NS_SEC, all_linked, &m, "linked again");
  mesh_stop(&m);
}

/* A member is declared dead while a dial to it is under way, and the dial succeeds: its connection is one of the pool's. */
static void test_death_during_a_dial(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 8; seed++) {
    struct mesh m;
    struct rig_options o = {.seed = seed, .node = {.idle_timeout = 3 * NS_SEC, .keep_alive = NS_SEC}};
    print_message("seed %llu\n", (unsigned long long)seed);
    mesh_start(&m, 4, &o);
    m.links = 3;
    for (unsigned i = 1; i < 4; i++) mesh_join(&m, i, 0);
    rig_until(&m.rig[0], 20 * NS_SEC, all_know, &m, "members known");
    for (int cut = 1; cut >= 0; cut--) {
      for (unsigned a = 0; a < 2; a++)
        for (unsigned b = 2; b < 4; b++) sim_net_cut(m.rig[0].net, &m.rig[a].addr, &m.rig[b].addr, cut);
      if (cut) rig_run(&m.rig[0], 6 * NS_SEC + seed * 700 * NS_MS);
    }
    for (int turn = 0; turn < 60; turn++) {
      rig_run(&m.rig[0], 500 * NS_MS);
      for (unsigned i = 0; i < 4; i++) list_for(it, &m.rig[i].node->peers.all) {
          struct peer *p = container_of(it, struct peer, all);
          assert_int_equal(p->slot.in, p->link || p->dial);
        }
    }
    rig_until(&m.rig[0], 60 * NS_SEC, all_linked, &m, "linked again");
    mesh_stop(&m);
  }
}

/* The hidden node 3 has a gateway that lives, and whoever else lives knows it. */
static bool moved(void *ctx) {
  struct mesh *m = ctx;
  struct peer *gateway = m->rig[3].node->mesh.gateway;
  for (unsigned i = 0; i < 3; i++)
    if (m->rig[i].node && gateway && !id_eq(&gateway->id, quic_identity_id(m->rig[i].identity)) &&
        (!mesh_peer(m, i, 3)->via || !id_eq(&mesh_peer(m, i, 3)->via->id, &gateway->id)))
      return false;
  return gateway != NULL;
}

/* A node that nobody can dial: reached through its gateway, through another when that dies. */
/* What a name to join by leads to may change any time: its new addresses find room, and those that it has left do not stay. */
static void test_join_moves(void **state) {
  struct mesh m;
  struct addr dead;
  (void)state;
  mesh_start(&m, 3, NULL);
  m.links = 1;
  struct node *n = m.rig[0].node;
  assert_int_equal(addr_parse("10.0.9.9:9443", 0, &dead), 0);
  assert_false(node_joined(n, &m.rig[1].addr));
  mesh_join(&m, 0, 1);
  assert_int_equal(node_join(n, &dead, NULL, true, sim_net_now(m.rig[0].net)), 0);
  rig_run(&m.rig[0], 20 * NS_SEC);
  assert_true(node_joined(n, &m.rig[1].addr));
  assert_false(node_joined(n, &dead)); /* that one link stands does not settle it */
  node_unjoin(n, &dead);
  assert_int_equal(n->join.count, 1);
  /* The node there is replaced by another one elsewhere. */
  rig_node_kill(&m.rig[1]);
  mesh_join(&m, 0, 2);
  node_unjoin(n, &m.rig[1].addr);
  rig_run(&m.rig[0], 30 * NS_SEC);
  assert_false(node_joined(n, &m.rig[1].addr));
  assert_true(node_joined(n, &m.rig[2].addr));
  for (unsigned i = 1; i < 5000; i++) {
    addr_set_port(&dead, (uint16_t)i);
    assert_int_equal(node_join(n, &dead, NULL, true, sim_net_now(m.rig[0].net)), 0);
    node_unjoin(n, &dead);
  }
  assert_true(node_joined(n, &m.rig[2].addr));
  rig_node_start(&m.rig[1]); /* one that was met is tried for a while all the same */
  rig_run(&m.rig[0], 60 * NS_SEC);
  assert_true(linked(&m, 0, 1));
  mesh_stop(&m);
}

/* Only its link's machines reach it: it tells no address, and the others come through a gateway. */
static void test_link_local(void **state) {
  struct mesh m;
  struct addr at, seen, moved;
  (void)state;
  mesh_start(&m, 1, NULL);
  struct node *n = m.rig[0].node;
  assert_int_equal(addr_parse("[fe80::7%1]:9443", 0, &at), 0);
  assert_int_equal(addr_parse("[fe80::8]:9443", 0, &seen), 0);
  n->mesh.self = (struct addr){0};
  node_set_sockets(n, &at, 1);
  assert_true(n->mesh.hidden);
  struct peer peer = {.node = n};
  assert_int_equal(addr_parse("[fe80::9]:9443", 0, &peer.run_at), 0);
  mesh_observed(&peer, &seen, &at);
  assert_false(addr_is_set(&peer.seen));
  assert_false(addr_is_set(&n->mesh.self));
  assert_int_equal(addr_parse("10.0.0.7:9443", 0, &moved), 0);
  n->mesh.hidden = false; /* unless the user gives an address, whose name may come to lead elsewhere */
  assert_true(node_set_advertise(n, &moved, 1));
  assert_true(addr_eq(&n->mesh.self, &moved));
  struct addr both[2] = {at, moved};
  assert_false(node_set_advertise(n, both, 2));
  assert_false(node_set_advertise(n, both, 0));
  assert_true(addr_eq(&n->mesh.self, &moved));
  mesh_stop(&m);
}

/* The hidden one's own word of its gateway has come to the others. */
static bool gateway_known(void *ctx) {
  struct mesh *m = ctx;
  const struct peer *gateway = m->rig[3].node->mesh.gateway;
  for (unsigned i = 0; gateway && i < 3; i++) {
    const struct peer *p = mesh_peer(m, i, 3);
    if (id_eq(&gateway->id, quic_identity_id(m->rig[i].identity))) continue;
    if (!p || !p->via || !id_eq(&p->via->id, &gateway->id)) return false;
  }
  return gateway;
}

static void test_hidden(void **state) {
  struct mesh m;
  (void)state;
  mesh_start(&m, 3, NULL);
  m.links = 3;
  struct rig_options o = {.beside = &m.rig[0], .index = 3, .node = {.hidden = true, .name = "hidden"}};
  rig_start(&m.rig[3], &o);
  m.count = 4;
  for (unsigned i = 1; i < 4; i++) mesh_join(&m, i, 0);
  rig_until(&m.rig[0], 20 * NS_SEC, all_know, &m, "members known");
  rig_until(&m.rig[0], 20 * NS_SEC, all_linked, &m, "all linked");
  struct peer *p = mesh_peer(&m, 1, 3);
  assert_false(addr_is_set(&p->addr));
  rig_until(&m.rig[0], 20 * NS_SEC, gateway_known, &m, "its gateway known");
  struct peer *gateway = m.rig[3].node->mesh.gateway;
  unsigned g = 0;
  while (!id_eq(&gateway->id, quic_identity_id(m.rig[g].identity))) g++;
  rig_node_kill(&m.rig[g]);
  rig_until(&m.rig[g], 30 * NS_SEC, all_know, &m, "its death known");
  rig_until(&m.rig[g], 30 * NS_SEC, moved, &m, "another gateway, known to the third");
  mesh_stop(&m);
}

static bool dialled_all(void *ctx) {
  struct mesh *m = ctx;
  for (unsigned i = 1; i < m->count; i++) {
    const struct peer *p = mesh_peer(m, 0, i);
    if (!p || !p->link || !p->link->dialled) return false;
  }
  return true;
}

/* Node 0 listens on all addresses and has dialled the others. Then some of them tell it that it is at `text`; whether it
 * believes that. */
static bool told(struct mesh *m, unsigned from, unsigned to, const char *text) {
  struct node *n = m->rig[0].node;
  struct addr seen, any;
  assert_int_equal(addr_parse("0.0.0.0:9443", 0, &any), 0);
  assert_int_equal(addr_parse(text, 0, &seen), 0);
  for (unsigned i = from; i <= to; i++) mesh_observed(mesh_peer(m, 0, i), &seen, &any);
  addr_set_port(&seen, 9443);
  return addr_eq(&n->mesh.self, &seen);
}

static void observers(struct mesh *m, unsigned count) {
  struct addr any;
  mesh_start(m, count, NULL);
  assert_int_equal(addr_parse("0.0.0.0:9443", 0, &any), 0);
  m->rig[0].node->mesh.self = (struct addr){0};
  node_set_sockets(m->rig[0].node, &any, 1);
  assert_false(addr_is_set(&m->rig[0].node->mesh.self)); /* 0.0.0.0 is nobody's address */
  for (unsigned i = 1; i < count; i++) mesh_join(m, 0, i);
  rig_until(&m->rig[0], 20 * NS_SEC, dialled_all, m, "dialled all");
  assert_true(told(m, 1, 0, "10.0.0.1:9443")); /* as they have seen */
}

/* A node that listens on all addresses learns its own from those it dials: what most of them say. */
static void test_observed(void **state) {
  struct mesh m;
  (void)state;
  observers(&m, 6);
  for (int i = 0; i < 3; i++) assert_false(told(&m, 1, 2, "10.6.6.6:1")); /* two liars, however often */
  assert_true(told(&m, 1, 0, "10.0.0.1:9443"));
  assert_true(told(&m, 3, 3, "10.6.6.6:1")); /* most of the five see it there, as when it has moved */
  assert_true(told(&m, 3, 5, "10.0.0.1:40000"));
  /* many nodes on one machine have one voice */
  for (unsigned i = 1; i < 4; i++) mesh_peer(&m, 0, i)->run_at = mesh_peer(&m, 0, 1)->run_at;
  assert_false(told(&m, 1, 3, "10.6.6.6:1"));
  /* whose link has ended has none */
  for (unsigned i = 4; i < 6; i++) link_close(mesh_peer(&m, 0, i), MACULA_SHUTTING_DOWN);
  assert_true(told(&m, 1, 1, "10.6.6.6:1"));
  mesh_stop(&m);
}

/* Even when all of them lie, none makes a node tell an address at which it cannot be. */
static void test_observed_where_none_can_be(void **state) {
  static const char *const at[] = {"127.0.0.1:1", "224.0.0.1:1", "255.255.255.255:1", "0.0.0.0:1"},
                           *const not_from_outside[] = {"10.0.0.7:1", "192.168.0.1:1", "172.31.0.1:1", "100.64.0.1:1",
                                                        "169.254.1.1:1"};
  struct mesh m;
  struct addr outside;
  (void)state;
  observers(&m, 4);
  for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) assert_false(told(&m, 1, 3, at[i]));
  assert_int_equal(addr_parse("198.51.100.1:9443", 0, &outside), 0);
  for (unsigned i = 1; i < 4; i++) mesh_peer(&m, 0, i)->run_at = outside;
  for (size_t i = 0; i < sizeof not_from_outside / sizeof not_from_outside[0]; i++)
    assert_false(told(&m, 1, 3, not_from_outside[i]));
  assert_true(told(&m, 1, 3, "203.0.113.5:1"));
  mesh_stop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_members),
                                     cmocka_unit_test(test_partition_heals),
                                     cmocka_unit_test(test_death_during_a_dial),
                                     cmocka_unit_test(test_join_moves),
                                     cmocka_unit_test(test_link_local),
                                     cmocka_unit_test(test_hidden),
                                     cmocka_unit_test(test_observed),
                                     cmocka_unit_test(test_observed_where_none_can_be)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
