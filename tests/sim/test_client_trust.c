/* Whom a client talks to: what answers where a node is expected learns nothing but CONNECT until it has proved that it is one.
 */
#include "impostor.h"

/* In the node's place, with its identity: only what it knows tells it from the node. */
static void impostor_replaces(struct impostor *v, struct world *w) {
  world_node_kill(w);
  impostor_start(v, w, &w->node_at, w->node_id);
}

/* Of all that a program asks of a client meanwhile; whether something of it went to the node. */
static void ask_all(struct world *w, struct user *u, struct tally *t) {
  macula_publish_options qos1 = {.qos = 1};
  world_now(w);
  (void)client_subscribe(u->c, "t.*", true, on_message, on_done, t, t, NULL);
  (void)client_serve(u->c, "p", NULL, on_request, NULL, on_done, t, t, NULL);
  (void)client_publish(u->c, "t.x", slice_str("1"), &qos1, on_done, t);
  (void)client_publish(u->c, "t.x", slice_str("1"), NULL, NULL, NULL);
  (void)client_call(u->c, "p", slice_str("1"), NULL, on_result, t, NULL);
  (void)client_cast(u->c, "p", slice_str("1"), on_done, t);
}

/* Starts a client, which is expected to close for good, and says why. */
static void refused(struct world *w, struct impostor *v, struct client_options o, int code, const char *why) {
  struct user u = {0};
  struct tally t = {0};
  int before = v->connects;
  assert_int_equal(user_start(w, 0, &u, o), 0);
  ask_all(w, &u, &t);
  assert_true(world_until(w, &u.states[MACULA_CLOSED], 60 * NS_SEC));
  assert_int_equal(u.err, code);
  if (!strstr(u.text, why)) fail_msg("%s", u.text);
  assert_int_equal(u.states[MACULA_CONNECTED], 0);
  client_close(u.c, false);
  world_run(w, 10 * NS_SEC);
  assert_int_equal(v->connects, before + 1);
  assert_int_equal(v->others + v->goodbyes, 0);
}

static void let_in(struct world *w, struct client_options o) {
  struct user u = {0};
  user_join(w, 0, &u, o);
  client_close(u.c, false);
  world_run(w, 10 * NS_SEC);
}

/* ---- tokens ----------------------------------------------------------------------------------------------------------------
 */
static void test_node_proves_token(void **state) {
  struct world w = {.access = ACCESS_BY_TOKEN(TOKEN)};
  struct impostor v;
  const struct client_options o = {.token = TOKEN};
  (void)state;
  world_init(&w, NULL);
  let_in(&w, o);
  impostor_replaces(&v, &w);
  v.answer = NO_PROOF;
  refused(&w, &v, o, MACULA_NOT_AUTHORIZED, "without proving");
  v.answer = REFLECTED;
  refused(&w, &v, o, MACULA_NOT_AUTHORIZED, "without proving");
  v.answer = OLD_PROOF; /* which was good for the connection before */
  refused(&w, &v, o, MACULA_NOT_AUTHORIZED, "without proving");
  v.answer = GUESSED;
  refused(&w, &v, o, MACULA_NOT_AUTHORIZED, "without proving");
  v.answer = PROVED;
  let_in(&w, o);
  impostor_stop(&v);

  /* A node that is open to everybody lets the client in, but cannot prove what it does not know. */
  w.access = NULL;
  world_node(&w);
  v.connects = v.others = 0;
  struct user u = {0};
  assert_int_equal(user_start(&w, 0, &u, o), 0);
  assert_true(world_until(&w, &u.states[MACULA_CLOSED], 20 * NS_SEC));
  assert_non_null(strstr(u.text, "without proving"));
  let_in(&w, (struct client_options){0});
  world_done(&w);
}

/* What the node at the address had proved before does not help whoever takes its place: the client that comes back sends it
 * nothing, however much it has to send. */
static void test_node_is_replaced(void **state) {
  struct world w = {.access = ACCESS_BY_TOKEN(TOKEN)};
  struct impostor v;
  struct user u = {0};
  struct tally heard = {0}, served = {0}, t = {0};
  macula_publish_options qos1 = {.qos = 1, .timeout_ms = 600000};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &u, (struct client_options){.token = TOKEN, .backoff_max = NS_SEC});
  (void)sub_now(&w, &u, "t.**", true, &heard);
  (void)serve_now(&w, &u, "p", 0, &served);
  impostor_replaces(&v, &w);
  v.answer = NO_PROOF;
  world_now(&w);
  assert_int_equal(client_publish(u.c, "t.x", slice_str("1"), &qos1, on_done, &t), 0);
  assert_true(world_until(&w, &u.states[MACULA_CLOSED], 60 * NS_SEC));
  assert_int_equal(u.err, MACULA_NOT_AUTHORIZED);
  assert_int_equal(t.done, 1);
  assert_int_equal(t.err, MACULA_ECLOSED);
  assert_true(v.connects > 0 && v.others + v.goodbyes == 0);
  impostor_stop(&v);
  world_done(&w);
}

/* It never answers: all that it gets is CONNECT, and not even a goodbye when the client is closed. */
static void test_only_connect(void **state) {
  struct world w = {0};
  struct impostor v;
  struct user u = {0};
  struct tally t = {0};
  (void)state;
  world_init(&w, NULL);
  impostor_replaces(&v, &w);
  v.answer = SILENT;
  assert_int_equal(user_start(&w, 0, &u, (struct client_options){.backoff_max = NS_SEC}), 0);
  for (int i = 0; i < 50; i++) {
    ask_all(&w, &u, &t);
    world_run(&w, NS_SEC);
  }
  world_run(&w, 10 * NS_MS);
  assert_true(v.connects >= 3);
  while (u.state != MACULA_CONNECTING) world_run(&w, 10 * NS_MS);
  world_run(&w, 100 * NS_MS);
  client_close(u.c, false);
  world_run(&w, 10 * NS_SEC);
  assert_int_equal(v.others + v.goodbyes, 0);
  impostor_stop(&v);
  world_done(&w);
}

/* ---- passes ----------------------------------------------------------------------------------------------------------------
 */
struct shown { /* a pass as bytes */
  uint8_t bytes[PASS_MAX];
  struct slice slice;
};

static void issue(struct shown *s, const struct crypto_key *realm, const struct id *holder, enum role role, uint64_t until) {
  char why[PASS_WHY_LEN];
  struct pass_claims c = claims_for(holder, 1);
  size_t n;
  c.role = role;
  c.not_before = UNIX_BASE - 3600;
  c.not_after = until;
  assert_int_equal(pass_issue(realm, &c, s->bytes, &n, why), 0);
  s->slice = slice_of(s->bytes, n);
}

/* Who knows the realm needs no id of its nodes: it takes any that shows a pass for its own key, of the role node, and no
 * other. */
static void test_realm_vouches(void **state) {
  struct world w = {0};
  struct impostor v;
  struct crypto_key *realm, *other;
  struct shown s;
  const uint64_t until = UNIX_BASE + 30 * 86400;
  (void)state;
  assert_int_equal(crypto_key_new(&realm), 0);
  assert_int_equal(crypto_key_new(&other), 0);
  const struct client_options o = {.realm_key = crypto_key_id(realm)};
  world_init(&w, NULL);
  const struct id *node = quic_identity_id(w.node_id);
  impostor_replaces(&v, &w);
  v.answer = NO_PROOF;
  refused(&w, &v, o, MACULA_PASS_INVALID, "shows no pass");
  issue(&s, other, node, ROLE_NODE, until);
  v.pass = s.slice;
  refused(&w, &v, o, MACULA_PASS_INVALID, "not trusted here");
  issue(&s, realm, quic_identity_id(w.ids[1]), ROLE_NODE, until); /* another's, which is no secret */
  v.pass = s.slice;
  refused(&w, &v, o, MACULA_PASS_INVALID, "the pass is for the key");
  issue(&s, realm, node, ROLE_CLIENT, until);
  v.pass = s.slice;
  refused(&w, &v, o, MACULA_PASS_INVALID, "role client");
  issue(&s, realm, node, ROLE_NODE, UNIX_BASE - 10);
  v.pass = s.slice;
  refused(&w, &v, o, MACULA_PASS_EXPIRED, "ended");
  issue(&s, realm, node, ROLE_NODE, until);
  s.bytes[s.slice.n - 1] ^= 1;
  v.pass = s.slice;
  refused(&w, &v, o, MACULA_PASS_INVALID, "signature");
  impostor_stop(&v);

  issue(&s, realm, node, ROLE_NODE, until);
  w.cfg.pass = s.slice;
  world_node(&w);
  let_in(&w, o);
  let_in(&w, (struct client_options){0});
  world_done(&w);
  crypto_key_free(realm);
  crypto_key_free(other);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_node_proves_token),
      cmocka_unit_test(test_node_is_replaced),
      cmocka_unit_test(test_only_connect),
      cmocka_unit_test(test_realm_vouches),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
