/* Lies about who it is and where: any number of identities, and the slots and addresses of nodes that the user named. */
#include <gnutls/x509.h>

#include "mesh_hostile_rig.h"
#include "node/mesh/member.h"
#include "node/peers/join.h"

static void test_many_identities(void **state) {
  struct rig_options o = {.node = {.limits = {.max_members = FEW_MEMBERS, .max_peers = 20, .max_half_open = 64}}};
  struct honest h;
  (void)state;
  honest_start(&h, &o);
  struct rig *r = &h.m.rig[0];
  struct rig_client *open[8] = {0};
  for (unsigned k = 0; k < 1000; k++) {
    char endpoint[32];
    struct rig_client **c = &open[k % 8];
    if (*c && (*c)->conn && k % 3) quic_conn_close((*c)->conn, 0, "");
    if (*c && (*c)->conn && k % 3 == 0) rig_kill(*c);
    snprintf(endpoint, sizeof endpoint, "10.8.8.8:%u", 1000 + k);
    *c = comer(r, k % 2 ? endpoint : "");
    if (k % 4) go(&h, NS_MS);
    if (k % 100 == 0) within(&h);
  }
  go(&h, 5 * NS_SEC);
  mesh_settle(&h.m);
  served(&h);
  for (int i = 0; i < 8; i++)
    if (open[i]->conn) quic_conn_close(open[i]->conn, 0, "");
  for (unsigned i = 0; i < 2; i++) { /* who had been met is looked for for an hour */
    assert_true(node_of(&h, i)->join.count <= 256 + 64);
    h.start[i][ROW_SESSIONS].entries += 256;
  }
  recovers(&h, 600 * NS_SEC);
  honest_stop(&h);
}

/* ---- nodes that the user named ---------------------------------------------------------------------------------------------
 */
static bool is_linked(void *ctx) {
  struct peer *p = mesh_peer(&((struct honest *)ctx)->m, 0, 1);
  return p && p->link;
}
static bool is_unlinked(void *ctx) { return !is_linked(ctx); }

static void named_goes(struct honest *h) {
  rig_node_kill(&h->m.rig[1]);
  rig_until(&h->m.rig[0], 60 * NS_SEC, is_unlinked, h, "its end");
}

static void named_comes_back(struct honest *h) {
  rig_node_start(&h->m.rig[1]);
  rig_until(&h->m.rig[0], 60 * NS_SEC, is_linked, h, "the link to the named node");
}

static void start_with(struct honest *h, uint32_t max_peers) {
  struct rig_options o = {.node = {.limits = {.max_members = FEW_MEMBERS, .max_peers = max_peers}}};
  honest_start(h, &o);
}

/* Whoever comes in any number of identities, the link to a node that the user named stands, and comes back. */
static void test_many_identities_beside_a_named_node(void **state) {
  struct honest h;
  (void)state;
  start_with(&h, 4);
  mesh_join(&h.m, 0, 1);
  go(&h, 20 * NS_SEC); /* it is known whose address that is */
  uint64_t serial = mesh_peer(&h.m, 0, 1)->link->serial;
  for (unsigned k = 0; k < 40; k++) {
    (void)liar(&h.m.rig[0], "10.8.8.8:1");
    go(&h, 100 * NS_MS);
    if (!is_linked(&h) || mesh_peer(&h.m, 0, 1)->link->serial != serial) fail_msg("gone after %u", k);
  }
  assert_int_equal(pool_count(&node_of(&h, 0)->peers.pool), 4);
  served(&h);
  named_goes(&h);
  for (unsigned k = 0; k < 10; k++) (void)liar(&h.m.rig[0], "10.8.8.8:1");
  assert_int_equal(pool_count(&node_of(&h, 0)->peers.pool), 4);
  named_comes_back(&h);
  within(&h);
  honest_stop(&h);
}

static bool all_dialled(void *ctx) {
  struct node *n = node_of(ctx, 0);
  uint32_t dials = 0;
  list_for(it, &n->peers.all) dials += container_of(it, struct peer, all)->dial != NULL;
  return dials >= n->peers.pool.max;
}

/* Many that were here are gone without a word and are dialled again where nobody is: who comes meanwhile gets a slot. */
static void test_a_comer_among_dials_to_nowhere(void **state) {
  struct honest h;
  struct rig_client *liars[12];
  (void)state;
  start_with(&h, 4);
  for (size_t k = 0; k < 12; k++) { /* each elsewhere: one silent address would be dialled seldom */
    char endpoint[32];
    snprintf(endpoint, sizeof endpoint, "10.8.%zu.8:1", k);
    liars[k] = liar(&h.m.rig[0], endpoint);
    go(&h, 100 * NS_MS);
  }
  for (size_t k = 0; k < 12; k++) rig_kill(liars[k]);
  rig_node_kill(&h.m.rig[1]);
  rig_until(&h.m.rig[0], 120 * NS_SEC, all_dialled, &h, "dials to those who are gone");
  (void)liar(&h.m.rig[0], "");
  named_comes_back(&h);
  within(&h);
  honest_stop(&h);
}

/* Calls of so many identities keep their links busy, while the named node is away. */
static void busy_identities(struct honest *h, unsigned count, const char *endpoint) {
  const uint8_t call_id[CALL_ID_LEN] = {1};
  struct msg call = slow_call(call_id);
  assert_int_equal(rig_register(h->pub, "slow.service"), 0);
  named_goes(h);
  for (unsigned k = 0; k < count; k++) {
    struct rig_client *c = comer(&h->m.rig[0], endpoint);
    if (c->conn) rig_send(c, &call);
    go(h, 500 * NS_MS);
  }
}

/* Some slots are not for those who come. */
static void test_busy_identities_beside_a_named_node(void **state) {
  struct honest h;
  (void)state;
  start_with(&h, 16);
  mesh_join(&h.m, 0, 1);
  go(&h, 20 * NS_SEC);
  busy_identities(&h, 60, "10.8.8.8:1");
  struct peer *named = mesh_peer(&h.m, 0, 1); /* a dial to it may be under way */
  assert_int_equal(pool_count(&node_of(&h, 0)->peers.pool) - (named && named->slot.in), 15);
  named_comes_back(&h);
  honest_stop(&h);
}

/* Node 0 with eight slots, all busy; node 1 is there and has no link. */
static void all_busy(struct honest *h) {
  start_with(h, 8);
  busy_identities(h, 20, "");
  assert_int_equal(pool_count(&node_of(h, 0)->peers.pool), 8);
  rig_node_start(&h->m.rig[1]);
}

static void want_named(struct honest *h) {
  struct peer *p = peer_get(node_of(h, 0), quic_identity_id(h->m.rig[1].identity));
  peer_where(p, &h->m.rig[1].addr, NULL);
  p->dial_at = p->expect = 0;
  assert_int_equal(peer_want(p, WANT_USE), MACULA_EBUSY);
}

/* All slots are busy when it is heard of one more address to join by: a call still gets the slot of the one that leaves. */
static void test_a_call_among_busy_identities(void **state) {
  struct honest h;
  struct addr nowhere = addr_of("10.9.9.9:1");
  (void)state;
  all_busy(&h);
  assert_int_equal(node_join(node_of(&h, 0), &nowhere, NULL, true, 0), 0);
  want_named(&h);
  rig_until(&h.m.rig[0], 5 * NS_SEC, is_linked, &h, "the link that the call is for");
  honest_stop(&h);
}

/* The one that is to leave next ends by itself, and somebody else, whom a frame waits for, has its slot. */
static void slot_is_taken(struct honest *h, unsigned k) {
  struct node *n = node_of(h, 0);
  struct id other = invented(k);
  struct msg ping = {.type = MSG_PING};
  struct addr nowhere = addr_of("10.8.8.8:1");
  nowhere.v4.sin_addr.s_addr ^= htonl(k << 8);
  assert_false(list_empty(&n->peers.leaving));
  link_close(container_of(n->peers.leaving.next, struct peer, leaving), MACULA_ECLOSED);
  struct peer *comer = peer_get(n, &other);
  peer_where(comer, &nowhere, NULL);
  comer->expect = time_add(n->now, 3600 * NS_SEC);
  assert_int_equal(peer_post(comer, &ping, WANT_UPKEEP, 0), 0);
  assert_int_equal(pool_add(&n->peers.pool, &comer->slot, n->now), 0);
  assert_int_equal(link_dial(n, &nowhere, &other, comer, NULL), 0);
}

/* Another leaves then. */
static void test_a_call_whose_slot_was_taken(void **state) {
  struct honest h;
  (void)state;
  all_busy(&h);
  want_named(&h);
  slot_is_taken(&h, 1);
  rig_until(&h.m.rig[0], 4 * NS_SEC, is_linked, &h, "the link that the call is for");
  honest_stop(&h);
}

static bool nobody_waits(void *ctx) { return list_empty(&node_of(ctx, 0)->peers.waiting); }

/* And for each of several, side by side: calls that wait one after another would come to their deadlines. */
static void test_calls_whose_slots_were_taken(void **state) {
  struct honest h;
  struct addr nowhere = addr_of("10.9.9.9:1");
  struct msg ping = {.type = MSG_PING};
  (void)state;
  all_busy(&h);
  struct node *n = node_of(&h, 0);
  for (unsigned k = 10; k < 13; k++) {
    struct id id = invented(k);
    struct peer *p = peer_get(n, &id);
    peer_where(p, &nowhere, NULL);
    assert_int_equal(peer_post(p, &ping, WANT_USE, 0), 0);
    assert_false(list_empty(&p->waits));
  }
  for (unsigned k = 1; k < 4; k++) slot_is_taken(&h, k);
  assert_true(list_empty(&n->peers.leaving));
  rig_until(&h.m.rig[0], 3 * NS_SEC, nobody_waits, &h, "slots for all who wait");
  honest_stop(&h);
}

static void test_records_for_named_nodes(void **state) {
  struct honest h;
  struct addr at = addr_of("10.9.9.9:1");
  (void)state;
  start_with(&h, 16);
  struct node *n = node_of(&h, 0);
  struct id named[MAX_SEEDS], last;
  for (unsigned k = 0; k < MAX_SEEDS; k++) {
    named[k] = invented(k);
    addr_set_port(&at, (uint16_t)(k + 1));
    assert_int_equal(node_join(n, &at, &named[k], true, 0), 0);
  }
  for (unsigned k = 0; k < 2 * 256; k++) { /* nodes that were lost take the place of such, not of these */
    struct peer lost = {.node = n, .id = invented(1000 + k), .since = 1};
    addr_set_port(&at, (uint16_t)(1000 + k));
    lost.addr = at;
    join_lost(n, &lost);
  }
  assert_true(n->join.count <= 256 + MAX_SEEDS);
  for (unsigned k = 0; k < MAX_SEEDS; k++) assert_true(join_is_configured(n, &named[k]));
  /* Where a node says that it is, is not whose address that is. */
  struct peer liar = {.node = n, .id = invented(999), .since = 1};
  for (int i = 0; i < 2; i++) {
    addr_set_port(&at, i ? 1 : 999); /* one of the named nodes', and one whose node is not known */
    if (!i) assert_int_equal(node_join(n, &at, NULL, true, 0), 0);
    liar.addr = at;
    join_lost(n, &liar);
    assert_false(join_is_configured(n, &liar.id));
  }
  assert_true(join_is_configured(n, &named[0]));
  assert_int_equal(node_join(n, &at, &liar.id, false, 0), 0); /* nor what was written down of it */
  addr_set_port(&at, 998);
  assert_int_equal(node_join(n, &at, &liar.id, false, 0), 0);
  assert_int_equal(node_join(n, &at, NULL, true, 0), 0);
  assert_false(join_is_configured(n, &liar.id));
  uint64_t k = 10000;
  do last = invented(k++);
  while (peer_get(n, &last));
  for (unsigned i = 0; i < MAX_SEEDS; i++) assert_non_null(peer_get(n, &named[i]));
  assert_null(peer_get(n, &last));
  go(&h, 5 * NS_SEC);
  assert_non_null(peer_get(n, &last)); /* there was nothing about all these */
  honest_stop(&h);
}

/* Endpoints where no node can be, and where another is. */
static void test_endpoints(void **state) {
  static const char *const at[] = {"0.0.0.0:9443", "255.255.255.255:9443", "224.0.0.1:9443", "[::]:9443", "[ff02::1]:9443",
                                   "10.0.0.9:0",   "10.0.0.2:9443",        "10.0.0.1:9443",  "nonsense"};
  struct honest h;
  (void)state;
  honest_start(&h, NULL);
  for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
    struct rig_client *c = liar(&h.m.rig[0], at[i]);
    const struct peer *p = peer_find(node_of(&h, 0), id_of(c));
    assert_non_null(p);
    if (i < 6) assert_false(addr_is_set(&p->addr));
    go(&h, NS_SEC);
    served(&h);
    bye(c);
    go(&h, 2 * NS_SEC);
  }
  /* nor does a node believe that it is there itself */
  struct addr self = node_of(&h, 0)->mesh.self, seen, local = addr_of("0.0.0.0:9443");
  struct peer *teller = mesh_peer(&h.m, 0, 1);
  node_of(&h, 0)->mesh.sockets[0] = local;
  for (size_t i = 0; i < 5; i++)
    if (addr_parse(at[i], 0, &seen) == 0) mesh_observed(teller, &seen, &local);
  seen = addr_of("127.0.0.1:9443");
  mesh_observed(teller, &seen, &local);
  assert_true(addr_eq(&self, &node_of(&h, 0)->mesh.self));
  recovers(&h, 200 * NS_SEC);
  honest_stop(&h);
}

/* A key whose signatures do not fit a member's record. */
static struct quic_identity *long_key(void) {
  static const char *const oid = GNUTLS_OID_X520_COMMON_NAME;
  gnutls_x509_privkey_t key;
  gnutls_x509_crt_t crt;
  gnutls_datum_t k, c;
  struct quic_identity *i;
  char pem[8192];
  assert_true(gnutls_x509_privkey_init(&key) >= 0 && gnutls_x509_crt_init(&crt) >= 0);
  assert_true(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP384R1), 0) >= 0);
  assert_true(gnutls_x509_crt_set_version(crt, 3) >= 0 && gnutls_x509_crt_set_serial(crt, "\1", 1) >= 0);
  assert_true(gnutls_x509_crt_set_dn_by_oid(crt, oid, 0, "x", 1) >= 0 && gnutls_x509_crt_set_activation_time(crt, 0) >= 0);
  assert_true(gnutls_x509_crt_set_expiration_time(crt, GNUTLS_X509_NO_WELL_DEFINED_EXPIRATION) >= 0);
  assert_true(gnutls_x509_crt_set_key(crt, key) >= 0 && gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA384, 0) >= 0);
  assert_true(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &k) >= 0);
  assert_true(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &c) >= 0);
  int n = snprintf(pem, sizeof pem, "%s%s", k.data, c.data);
  assert_int_equal(quic_identity_parse(slice_of(pem, (size_t)n), SLICE_NONE, 1000, &i, NULL), 0);
  gnutls_free(k.data);
  gnutls_free(c.data);
  gnutls_x509_privkey_deinit(key);
  gnutls_x509_crt_deinit(crt);
  return i;
}

/* A client's key may be of another kind, a node's may not: it is told so, as a node that is to start with one is. */
static void test_a_key_of_another_kind(void **state) {
  struct honest h;
  struct quic_identity *i = long_key();
  const char *why;
  (void)state;
  honest_start(&h, NULL);
  struct rig_client *client = rig_join(&h.m.rig[0], 0, i, RIG_EXT);
  assert_int_equal(rig_subscribe(client, "x.y"), 0);
  struct rig_client *c = rig_client(&h.m.rig[0], 0, i);
  rig_opened(c);
  connect_as_node(c, "");
  struct msg m = rig_expect(c, MSG_DISCONNECT);
  assert_true(slice_is(m.disconnect.code, "certificate_invalid"));
  assert_true(slice_is(m.disconnect.message, "a node's key must be Ed25519 or P-256"));
  struct node_config config = h.m.rig[0].config;
  struct node_reload change = {.identity = i};
  struct node *n;
  config.identity = i;
  assert_int_equal(node_new(&config, 0, &n), MACULA_CERTIFICATE_INVALID);
  assert_int_equal(node_reload(node_of(&h, 0), &change), MACULA_CERTIFICATE_INVALID);
  assert_int_equal(node_check_identity(i, &why), MACULA_CERTIFICATE_INVALID);
  assert_non_null(strstr(why, "openssl req"));
  quic_identity_unref(i);
  bye(client);
  recovers(&h, 60 * NS_SEC);
  honest_stop(&h);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_many_identities),
      cmocka_unit_test(test_many_identities_beside_a_named_node),
      cmocka_unit_test(test_a_comer_among_dials_to_nowhere),
      cmocka_unit_test(test_busy_identities_beside_a_named_node),
      cmocka_unit_test(test_a_call_among_busy_identities),
      cmocka_unit_test(test_a_call_whose_slot_was_taken),
      cmocka_unit_test(test_calls_whose_slots_were_taken),
      cmocka_unit_test(test_records_for_named_nodes),
      cmocka_unit_test(test_endpoints),
      cmocka_unit_test(test_a_key_of_another_kind),
  };
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
