/* Trust between nodes: the role node on both ends of every link, lists of revoked passes through the mesh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "access_text.h"
#include "mesh_rig.h"
#include "node/peers/revoked.h"
#include "node/session/session.h"
#include "realm.h"

static struct realm ours;
static uint8_t next_serial;
static enum role next_role;
static uint64_t next_seconds = 86400;

static struct slice pass_of(const struct id *node) {
  static uint8_t pass[MESH_NODES][PASS_MAX];
  uint8_t i = next_serial++;
  return slice_of(pass[i], realm_pass(&ours, node, next_role, i, next_seconds, pass[i]));
}

static void start(struct mesh *m, unsigned count) {
  realm_init(&ours);
  next_serial = 0;
  next_role = ROLE_NODE;
  mesh_start_joined(m, count, &(struct rig_options){.access = ours.yaml, .pass_of = pass_of});
}

static void stop(struct mesh *m) {
  mesh_stop(m);
  crypto_key_free(ours.key);
}

static struct rig_client *client(struct mesh *m, unsigned at, uint8_t serial) {
  uint8_t pass[PASS_MAX];
  struct rig_client *c = rig_join(&m->rig[at], 0, NULL, 0);
  rig_show(c, slice_of(pass, realm_pass(&ours, quic_identity_id(c->identity), ROLE_CLIENT, serial, 86400, pass)));
  (void)rig_expect(c, MSG_PONG);
  return c;
}

static void push(struct mesh *m, unsigned at, uint64_t number, const uint8_t *serials, size_t count) {
  struct slice list = realm_revoke(&ours, number, serials, count);
  char why[PASS_WHY_LEN];
  assert_int_equal(node_revoke(m->rig[at].node, list, sim_net_now(m->rig[0].net), why), 0);
  free((void *)list.p);
}

static bool linked(struct mesh *m, unsigned a, unsigned b) {
  struct peer *p = mesh_peer(m, a, b);
  return p && p->link;
}

/* A pass of the realm makes a mesh. */
static void test_passes_link(void **state) {
  struct mesh m;
  (void)state;
  start(&m, 3);
  mesh_settle(&m);
  stop(&m);
}

static void renew(struct mesh *m, unsigned at, const struct realm *realm, uint64_t seconds) {
  uint8_t bytes[PASS_MAX];
  size_t n = realm_pass(realm, node_id(m->rig[at].node), ROLE_NODE, (uint8_t)(100 + at), seconds, bytes);
  struct slice pass = slice_of(bytes, n);
  assert_int_equal(node_reload(m->rig[at].node, &(struct node_reload){.pass = &pass}), 0);
}

/* Passes that are renewed while links stand go on where the ones before end; one that does not count here changes nothing. */
static void test_renewed(void **state) {
  struct mesh m;
  struct realm other;
  uint64_t serial[2];
  (void)state;
  next_seconds = 600;
  start(&m, 3);
  next_seconds = 86400;
  mesh_settle(&m);
  realm_init(&other);
  for (unsigned i = 0; i < 2; i++) serial[i] = mesh_peer(&m, i, !i)->link->serial;
  rig_run(&m.rig[0], 60 * NS_SEC);
  renew(&m, 0, &ours, 86400);
  renew(&m, 1, &ours, 86400);
  renew(&m, 2, &other, 86400);
  rig_run(&m.rig[0], 700 * NS_SEC);
  assert_true(linked(&m, 0, 1) && linked(&m, 1, 0));
  for (unsigned i = 0; i < 2; i++) assert_true(mesh_peer(&m, i, !i)->link->serial == serial[i]); /* the very same */
  assert_false(linked(&m, 0, 2) || linked(&m, 2, 1));
  stop(&m);
  crypto_key_free(other.key);
}

/* What is verified of lists and passes that others send has a share of each of them, and of all together. */
static void test_share_of_all(void **state) {
  struct mesh m;
  unsigned sum = 0;
  (void)state;
  start(&m, 5);
  mesh_settle(&m);
  for (unsigned i = 1; i < 5; i++) {
    unsigned some = 0;
    while (revoked_may_verify(mesh_peer(&m, 0, i))) some++;
    assert_in_range(some, i < 4 ? 30 : 1, i < 4 ? 32 : 10);
    sum += some;
  }
  assert_in_range(sum, 90, 100);
  stop(&m);
}

/* Whoever has no node's pass gets no link, neither as the one who dials nor as the one who answers. */
static void test_client_pass_is_no_node(void **state) {
  struct mesh m;
  struct rig liar[2];
  (void)state;
  start(&m, 2);
  mesh_settle(&m);
  next_role = ROLE_CLIENT;
  rig_start(&liar[0], &(struct rig_options){.beside = &m.rig[0], .index = 6, .access = ours.yaml, .pass_of = pass_of});
  rig_start(&liar[1], &(struct rig_options){.beside = &m.rig[0], .index = 7}); /* it takes whoever comes */
  for (int i = 0; i < 2; i++)
    for (unsigned a = 0; a < 2; a++) {
      assert_int_equal(node_join(m.rig[a].node, &liar[i].addr, NULL, true, sim_net_now(m.rig[0].net)), 0);
      assert_int_equal(node_join(liar[i].node, &m.rig[a].addr, NULL, true, sim_net_now(m.rig[0].net)), 0);
    }
  rig_run(&m.rig[0], 60 * NS_SEC);
  for (int i = 0; i < 2; i++)
    for (unsigned a = 0; a < 2; a++) {
      struct peer *p = peer_find(m.rig[a].node, quic_identity_id(liar[i].identity));
      assert_true(!p || !p->link);
    }
  assert_true(linked(&m, 0, 1));
  rig_stop(&liar[1]);
  rig_stop(&liar[0]);
  stop(&m);
}

/* A list handed to one node ends a client at another within a second, and the links of a node. */
static void test_revoked_everywhere(void **state) {
  struct mesh m;
  (void)state;
  start(&m, 4);
  mesh_settle(&m);
  struct rig_client *c = client(&m, 2, 100), *other = client(&m, 2, 101);
  push(&m, 0, 1, (uint8_t[]){100}, 1);
  rig_run(&m.rig[0], NS_SEC);
  struct msg d = rig_expect(c, MSG_DISCONNECT);
  assert_true(slice_is(d.disconnect.code, "pass_revoked"));
  assert_int_equal(rig_subscribe(other, "cmd.x"), 0);
  push(&m, 1, 2, (uint8_t[]){3, 100}, 2);
  rig_run(&m.rig[0], NS_SEC);
  for (unsigned a = 0; a < 3; a++) {
    assert_false(linked(&m, a, 3));
    for (unsigned b = 0; b < a; b++) assert_true(linked(&m, a, b));
  }
  rig_run(&m.rig[0], 60 * NS_SEC);
  for (unsigned a = 0; a < 3; a++) assert_false(linked(&m, a, 3));
  assert_int_equal(rig_subscribe(other, "cmd.y"), 0);
  push(&m, 0, 1, (uint8_t[]){101}, 1); /* an old list takes nothing back, and nothing more */
  assert_int_equal(rig_subscribe(other, "cmd.z"), 0);
  stop(&m);
}

/* Nodes that were apart have the newest list a second after they are together, whoever had it; a node that comes back, too. */
static void test_revoked_while_apart(void **state) {
  struct mesh m;
  (void)state;
  start(&m, 4);
  mesh_settle(&m);
  struct rig_client *c = client(&m, 3, 100);
  for (unsigned a = 0; a < 2; a++)
    for (unsigned b = 2; b < 4; b++) mesh_cut(&m, a, b, true);
  rig_run(&m.rig[0], 60 * NS_SEC);
  push(&m, 2, 1, (uint8_t[]){102}, 1);
  push(&m, 0, 2, (uint8_t[]){100}, 1);
  rig_run(&m.rig[0], 2 * NS_SEC);
  assert_int_equal(rig_subscribe(c, "cmd.x"), 0); /* its side has not heard */
  for (unsigned a = 0; a < 2; a++)
    for (unsigned b = 2; b < 4; b++) mesh_cut(&m, a, b, false);
  mesh_settle(&m);
  rig_run(&m.rig[0], NS_SEC);
  struct msg d = rig_expect(c, MSG_DISCONNECT);
  assert_true(slice_is(d.disconnect.code, "pass_revoked"));
  rig_node_kill(&m.rig[1]);
  push(&m, 0, 3, (uint8_t[]){100, 102}, 2);
  rig_node_start(&m.rig[1]);
  mesh_join(&m, 1, 0);
  mesh_settle(&m);
  rig_run(&m.rig[0], NS_SEC);
  for (unsigned a = 0; a < 4; a++) assert_int_equal(revoked_number(node_revoked(m.rig[a].node, 0)), 3);
  stop(&m);
}

/* At random: lists are handed in anywhere while links break and come back. Each node's number only rises, nobody whose pass is
 * on the node's list stays connected to it, and once all are together all have the newest list. */
static void test_revoked_model(void **state) {
  struct mesh m;
  uint64_t number = 0, known[4] = {0};
  uint32_t dice = 7;
  (void)state;
  start(&m, 4);
  mesh_settle(&m);
  for (int step = 0; step < 60; step++) {
    dice = dice * 1664525u + 1013904223u;
    unsigned a = dice >> 8 & 3, b = dice >> 10 & 3;
    if (a != b) mesh_cut(&m, a > b ? a : b, a > b ? b : a, dice >> 12 & 1);
    if ((dice >> 16 & 3) == 0) push(&m, a, ++number, (uint8_t[]){200, (uint8_t)(201 + step % 50)}, 2);
    rig_run(&m.rig[0], (dice >> 20) % 8000 * NS_MS);
    for (unsigned i = 0; i < 4; i++) {
      const struct revoked *r = node_revoked(m.rig[i].node, 0);
      uint64_t now = r ? revoked_number(r) : 0;
      assert_true(now >= known[i]);
      known[i] = now;
    }
  }
  for (unsigned a = 0; a < 4; a++)
    for (unsigned b = 0; b < a; b++) mesh_cut(&m, a, b, false);
  rig_until(&m.rig[0], 600 * NS_SEC, mesh_whole, &m, "the mesh is whole again");
  rig_run(&m.rig[0], NS_SEC);
  for (unsigned i = 0; i < 4; i++) assert_int_equal(revoked_number(node_revoked(m.rig[i].node, 0)), number);
  stop(&m);
}

/* A forged list, one of another realm, one that was changed: nothing happens, and each is counted. */
static void test_lists_are_judged(void **state) {
  struct mesh m;
  struct realm other;
  char why[PASS_WHY_LEN];
  (void)state;
  start(&m, 2);
  realm_init(&other);
  mesh_settle(&m);
  struct rig_client *c = client(&m, 0, 100);
  struct slice list = realm_revoke(&other, 9, (uint8_t[]){100}, 1);
  assert_int_equal(node_revoke(m.rig[0].node, list, sim_net_now(m.rig[0].net), why), MACULA_NOT_AUTHORIZED);
  free((void *)list.p);
  list = realm_revoke(&ours, 9, (uint8_t[]){100}, 1);
  ((uint8_t *)list.p)[list.n - 1] ^= 1;
  assert_int_equal(node_revoke(m.rig[0].node, list, sim_net_now(m.rig[0].net), why), MACULA_BAD_SIGNATURE);
  struct peer *p = mesh_peer(&m, 1, 0); /* node 1 lies to node 0 */
  struct msg lie = {.type = MSG_REVOKED,
                    .revoked = {.realm = slice_of(crypto_key_id(ours.key)->b, ID_LEN), .number = 9, .list = list}};
  for (int i = 0; i < 100; i++) assert_int_equal(session_send(p->link, &lie, false), 0);
  rig_run(&m.rig[0], NS_SEC);
  free((void *)list.p);
  assert_int_equal(m.rig[0].node->trust.lists_refused, 100);
  assert_null(node_revoked(m.rig[0].node, 0));
  assert_int_equal(rig_subscribe(c, "cmd.x"), 0);
  crypto_key_free(other.key);
  stop(&m);
}

/* Nodes of one realm with files of their own: each says what its clients may, and they are one mesh. */
static void test_files_of_their_own(void **state) {
  struct mesh m = {.count = 2};
  char yaml[2][512];
  (void)state;
  realm_init(&ours);
  next_serial = 0;
  next_role = ROLE_NODE;
  for (unsigned i = 0; i < 2; i++) {
    snprintf(yaml[i], sizeof yaml[i],
             "%sgrants: {some: {pub: ['news.**'], sub: ['%s.**']}}\ntokens: [{token: %s, grant: some}]\n", ours.yaml,
             i ? "cmd" : "news", i ? "the-token-of-node-1" : "the-token-of-node-0");
    rig_start(
        &m.rig[i],
        &(struct rig_options){
            .access = yaml[i], .pass_of = pass_of, .beside = i ? &m.rig[0] : NULL, .index = i, .node.name = i ? "b" : "a"});
  }
  mesh_join_all(&m);
  mesh_settle(&m);
  struct rig_client *c[2];
  for (unsigned i = 0; i < 2; i++) {
    c[i] = rig_join(&m.rig[i], 0, NULL, 0);
    rig_connect(c[i], RIG_EXT, "test", i ? "the-token-of-node-1" : "the-token-of-node-0");
    (void)rig_expect(c[i], MSG_PONG);
  }
  assert_int_equal(rig_subscribe(c[0], "news.**"), 0);
  assert_int_equal(rig_subscribe(c[1], "news.**"), MACULA_FORBIDDEN);
  mesh_settle(&m);
  assert_int_equal(rig_publish(c[1], "news.x", "1", 1, false, 1), 0);
  (void)rig_expect(c[0], MSG_PUBLISH);
  struct rig_client *d = rig_join(&m.rig[0], 0, NULL, 0);
  rig_connect(d, RIG_EXT, "test", "the-token-of-node-1");
  assert_int_equal(rig_closed(d), MACULA_NOT_AUTHORIZED);
  stop(&m);
}

/* Whoever says again and again that it has no list is not sent it each time. */
static void test_lists_are_not_sent_for_ever(void **state) {
  struct mesh m;
  (void)state;
  start(&m, 2);
  mesh_settle(&m);
  push(&m, 0, 1, (uint8_t[]){100}, 1);
  rig_run(&m.rig[0], NS_SEC);
  struct peer *p = mesh_peer(&m, 1, 0);
  struct msg none = {.type = MSG_REVOKED, .revoked = {.realm = slice_of(crypto_key_id(ours.key)->b, ID_LEN)}};
  uint64_t before = m.rig[1].node->stats.frames;
  for (int i = 0; i < 1000; i++) assert_int_equal(session_send(p->link, &none, false), 0);
  rig_run(&m.rig[0], NS_SEC);
  assert_in_range(m.rig[1].node->stats.frames - before, 1, 100);
  stop(&m);
}

static void show(struct rig_client *c, uint8_t serial) {
  uint8_t pass[PASS_MAX];
  if (c->conn) rig_show(c, slice_of(pass, realm_pass(&ours, quic_identity_id(c->identity), ROLE_CLIENT, serial, 86400, pass)));
}

/* Passes are shown, links are made, lists go around and the access file is changed while the n-th allocation fails. */
static void test_no_memory(void **state) {
  struct mem_fail fail;
  char why[PASS_WHY_LEN];
  (void)state;
  for (uint64_t at = 1, more = 1; more; at += 2 + at / 4) {
    struct mesh m;
    fail = (struct mem_fail){0};
    realm_init(&ours);
    next_serial = 0;
    next_role = ROLE_NODE;
    mesh_start_joined(&m, 3, &(struct rig_options){.access = ours.yaml, .pass_of = pass_of, .node = {.fail = &fail}});
    mesh_settle(&m);
    struct rig_client *c[2] = {rig_join(&m.rig[0], 0, NULL, 0), rig_join(&m.rig[1], 0, NULL, 0)};
    fail.countdown = at;
    show(c[0], 100);
    show(c[1], 101);
    struct slice list = realm_revoke(&ours, 1, (uint8_t[]){100}, 1);
    (void)node_revoke(m.rig[1].node, list, sim_net_now(m.rig[0].net), why);
    free((void *)list.p);
    rig_run(&m.rig[0], 2 * NS_SEC);
    for (unsigned a = 0; a < 2; a++) {
      struct node_reload l = {.access = access_text(ours.yaml)};
      (void)node_reload(m.rig[a].node, &l);
      access_unref(l.access);
    }
    rig_run(&m.rig[0], 2 * NS_SEC);
    for (unsigned a = 0; a < 2; a++) {
      struct peer *p = mesh_peer(&m, a, 2);
      if (p && p->link) session_close(p->link, MACULA_ECLOSED, NULL);
    }
    rig_run(&m.rig[0], 20 * NS_SEC);
    more = fail.countdown == 0;
    fail.countdown = 0;
    rig_run(&m.rig[0], 70 * NS_SEC);
    mesh_settle(&m);
    rig_run(&m.rig[0], NS_SEC);
    push(&m, 0, 2, (uint8_t[]){100, 102}, 2);
    rig_run(&m.rig[0], 61 * NS_SEC);
    for (unsigned i = 0; i < 3; i++) assert_int_equal(revoked_number(node_revoked(m.rig[i].node, 0)), 2);
    stop(&m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_passes_link),
      cmocka_unit_test(test_renewed),
      cmocka_unit_test(test_share_of_all),
      cmocka_unit_test(test_client_pass_is_no_node),
      cmocka_unit_test(test_revoked_everywhere),
      cmocka_unit_test(test_revoked_while_apart),
      cmocka_unit_test(test_files_of_their_own),
      cmocka_unit_test(test_revoked_model),
      cmocka_unit_test(test_lists_are_judged),
      cmocka_unit_test(test_no_memory),
      cmocka_unit_test(test_lists_are_not_sent_for_ever),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
