/* Users and passwords of MQTT's clients: judged by the access file, by a check that is made elsewhere and may take a while. */
#include "base/sha256.h"
#include "mqtt_rig.h"
#include "node/doors/mqtt.h"
#include "node/doors/mqtt_state.h"

#define HASH_A "$pbkdf2-sha256$1000$AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define HASH_B "$pbkdf2-sha256$1000$AQAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define GRANTS                                                                                                                 \
  "grants:\n"                                                                                                                  \
  "  some: {pub: ['a.${user}.**'], sub: ['a.**', '${client}.**']}\n"                                                           \
  "  many: {pub: ['**'], sub: ['**'], quotas: {connections: 20000}}\n"
#define USERS GRANTS "users:\n  alice: {password: '" HASH_A "', grant: some}\n  fleet: {password: '" HASH_B "', grant: many}\n"

/* In place of daemon/passwords.c: a password is right if it is "secret". */
struct checker {
  struct rig *rig;
  bool known, busy; /* says at once that it is right; takes no more */
  uint64_t asked, computed;
  uint8_t keys[64][PASSWORD_KEY_LEN];
  bool good[64];
  size_t count;
};
static struct checker checker;

static int check(void *ctx, struct slice hash, struct slice password, nanotime now, bool may_wait,
                 uint8_t ret_key[PASSWORD_KEY_LEN], bool *ret_known) {
  struct checker *c = ctx;
  uint8_t buf[512], digest[SHA256_LEN];
  (void)now;
  c->asked++;
  assert_true(hash.n + password.n < sizeof buf);
  memcpy(buf, hash.p, hash.n);
  if (password.n) memcpy(buf + hash.n, password.p, password.n);
  sha256_of(slice_of(buf, hash.n + password.n), digest);
  memcpy(ret_key, digest, PASSWORD_KEY_LEN);
  bool good = slice_is(password, "secret");
  *ret_known = c->known && good;
  if (*ret_known) return 0;
  for (size_t i = 0; i < c->count; i++)
    if (!memcmp(c->keys[i], ret_key, PASSWORD_KEY_LEN)) return 0;
  if (c->busy || !may_wait) return MACULA_RATE_LIMITED;
  assert_true(c->count < 64);
  memcpy(c->keys[c->count], ret_key, PASSWORD_KEY_LEN);
  c->good[c->count++] = good;
  return 0;
}

static void compute(void) {
  for (size_t i = 0; i < checker.count; i++, checker.computed++)
    node_password_checked(checker.rig->node, checker.keys[i], checker.good[i]);
  checker.count = 0;
}

static void begin(struct rig *r, const char *access) {
  checker = (struct checker){.rig = r};
  start(r, &(struct rig_options){.access = access, .node = {.process = {.password = check, .ctx = &checker}}});
}

static struct wire *come(struct rig *r, enum mqtt_level level, const char *client, const char *user, const char *password) {
  struct wire *w = wire_new(r, level);
  say_connect(w, &(struct connect){.client = client, .expiry = level == MQTT_5 ? 600 : 0, .user = user, .password = password});
  ALL(r, w);
  return w;
}

static void gone(struct wire *w, const char *expected) {
  happened(w, expected);
  assert_true(w->gone);
  free(w);
}

#define WRONG "CONNACK 86|(not_authorized: the name or the password of the user 'alice' is wrong)"
static void test_users(void **state) {
  struct rig r;
  (void)state;
  begin(&r, USERS);
  struct wire *a = come(&r, MQTT_5, "c1", "alice", "secret"), *b = come(&r, MQTT_5, "c2", "alice", "wrong"),
              *old = come(&r, MQTT_3_1_1, "c3", "alice", "wrong");
  happened(a, ""); /* the verdict takes a while, and the node goes on */
  compute();
  ALL(&r, a, b, old);
  happened(a, "CONNACK 00");
  gone(b, WRONG);
  gone(old, "CONNACK 04");
  assert_int_equal(checker.computed, 2); /* the wrong one once, for both */
  assert_int_equal(rig_metric(&r, "passwords_wrong_total"), 2);

  publish(a, "a/alice/1", "x", 1, false);
  publish(a, "a/bob/1", "x", 1, false);
  subscribe(a, "c1/#", 1);
  subscribe(a, "c2/#", 1);
  ALL(&r, a);
  a->notes[a->note_len] = 0;
  assert_non_null(strstr(a->notes, "PUBACK 00|PUBACK 87|(forbidden: pub 'a.bob.1'"));
  assert_non_null(strstr(a->notes, "SUBACK 01|SUBACK 87"));
  char *json;
  assert_int_equal(node_render(r.node, "clients", 0, 0, sim_net_now(r.net), &json), 0);
  assert_non_null(strstr(json, "\"user\":\"alice\""));
  assert_non_null(strstr(json, "\"door\":\"mqtt\",\"protocol\":\"5.0\",\"connected\":true"));
  node_text_free(json);
  leave(a);
  rig_stop(&r);
}

/* Another node's word about a user's session is about that user, and about no key that looks like it. */
static void test_claimed(void **state) {
  struct rig r;
  (void)state;
  begin(&r, USERS);
  struct wire *a = come(&r, MQTT_5, "c1", "alice", "secret");
  compute();
  ALL(&r, a);
  happened(a, "CONNACK 00");
  struct id key = {{0}}; /* by which the session is told apart here */
  list_for(it, &r.node->mqtt->clients) key = container_of(it, struct mqtt_client, all)->who->principal;
  struct principal_name alice = {PRINCIPAL_USER, slice_str("alice")}, bob = {PRINCIPAL_USER, slice_str("bob")},
                        other = {PRINCIPAL_KEY, slice_of(key.b, ID_LEN)}, nobody = {.kind = PRINCIPAL_ANONYMOUS};
  uint64_t later = node_unix_ms(r.node) + 1000;
  assert_false(id_is_zero(&key));
  assert_true(mqtt_claimed(r.node, &bob, slice_str("c1"), later));
  assert_true(mqtt_claimed(r.node, &other, slice_str("c1"), later));
  assert_true(mqtt_claimed(r.node, &nobody, slice_str("c1"), later));
  assert_true(mqtt_claimed(r.node, &alice, slice_str("c2"), later));
  assert_false(mqtt_claimed(r.node, &alice, slice_str("c1"), 1)); /* ours is newer */
  ALL(&r, a);
  happened(a, "");
  assert_true(mqtt_claimed(r.node, &alice, slice_str("c1"), later));
  ALL(&r, a);
  gone(a, "DISCONNECT 8e|(the client has a session at another node)");
  rig_stop(&r);
}

static void test_refused(void **state) {
  struct rig r;
  (void)state;
  begin(&r, USERS);
  gone(come(&r, MQTT_5, "c", "nobody", "secret"),
       "CONNACK 86|(not_authorized: the name or the password of the user 'nobody' is wrong)");
  gone(come(&r, MQTT_5, "c", "alice", NULL), WRONG);
  gone(come(&r, MQTT_5, "c", NULL, "secret"), "CONNACK 86|(a password is judged with a user name only)");
  gone(come(&r, MQTT_5, "c", "", "secret"), "CONNACK 86|(a user name has 1 to 64 bytes here)");
  gone(come(&r, MQTT_5, "c", "a\x01", "secret"), "CONNACK 86|(a user name has no control characters here)");
  gone(come(&r, MQTT_3_1_1, "c", NULL, NULL), "CONNACK 05");
  struct wire *w = come(&r, MQTT_5, "c", NULL, NULL);
  assert_true(w->gone);
  w->notes[w->note_len] = 0;
  assert_non_null(
      strstr(w->notes, "CONNACK 87|(not_authorized: a user name with its password is needed here: this one showed nothing)"));
  free(w);
  assert_int_equal(checker.asked, 0);
  checker.busy = true;
  gone(come(&r, MQTT_5, "c", "alice", "secret"),
       "CONNACK 89|(rate_limited: too many passwords are being checked: try again in a second)");
  gone(come(&r, MQTT_3_1_1, "c", "alice", "secret"), "CONNACK 03");
  checker.busy = false;
  w = come(&r, MQTT_5, "c", "alice", "secret"); /* whose check never ends */
  rig_run(&r, 15 * NS_SEC);
  ALL(&r, w);
  gone(w, "CONNACK 89|(timeout: the node came to no verdict on CONNECT in time)");
  compute();
  w = come(&r, MQTT_5, "c", "alice", "secret"); /* who is gone when the verdict comes */
  lose(w);
  compute();
  settle(&r);
  rig_stop(&r);
}

static void keep_forbidden(void *ctx, enum log_level level, const char *event, const char *fields) {
  (void)level;
  if (!strcmp(event, "forbidden")) snprintf(ctx, 512, "%s", fields);
}

/* The operator reads whose request it was. */
static void test_forbidden_names_user(void **state) {
  char said[512] = "";
  struct log log = {.level = LOG_INFO, .sink = keep_forbidden, .ctx = said};
  struct rig r;
  (void)state;
  checker = (struct checker){.rig = &r, .known = true};
  start(&r, &(struct rig_options){.access = USERS, .node = {.log = &log, .process = {.password = check, .ctx = &checker}}});
  struct wire *a = come(&r, MQTT_5, "c1", "alice", "secret");
  happened(a, "CONNACK 00");
  publish(a, "a/bob/1", "x", 1, false);
  ALL(&r, a);
  assert_non_null(strstr(said, " user=\"alice\" id=none "));
  assert_non_null(strstr(said, " right=pub what=\"a.bob.1\" grant=\"some\""));
  leave(a);
  rig_stop(&r);
}

/* A session is its principal's: nobody else has it, or takes it over. */
static void test_principals(void **state) {
  static const char others[] = "CONNACK 85|(this client id belongs to another principal)";
  struct rig r;
  (void)state;
  begin(&r, USERS "anonymous: many\n");
  checker.known = true;
  struct wire *a = come(&r, MQTT_5, "c", "alice", "secret");
  happened(a, "CONNACK 00");
  gone(come(&r, MQTT_5, "c", "fleet", "secret"), others);
  gone(come(&r, MQTT_5, "c", NULL, NULL), others);
  struct wire *wrong = come(&r, MQTT_5, "c", "alice", "wrong");
  compute();
  ALL(&r, wrong);
  gone(wrong, WRONG);
  publish(a, "a/alice/1", "x", 1, false);
  ALL(&r, a);
  happened(a, "PUBACK 00");
  lose(a);
  gone(come(&r, MQTT_5, "c", "fleet", "secret"), others);
  a = come(&r, MQTT_5, "c", "alice", "secret");
  happened(a, "CONNACK 00 present");
  leave(a);
  rig_stop(&r);
}

/* The access file is read again. */
static void test_reload(void **state) {
  struct rig r;
  (void)state;
  begin(&r, USERS);
  struct wire *waits = come(&r, MQTT_5, "w", "alice", "secret");
  struct access *more = access_text(USERS "anonymous: some\n"),
                *other = access_text(GRANTS "users:\n  alice: {password: '" HASH_B "', grant: some}\n");
  assert_int_equal(node_reload(r.node, &(struct node_reload){.access = more}), 0);
  ALL(&r, waits);
  compute();
  ALL(&r, waits);
  happened(waits, "CONNACK 00");
  struct wire *late = come(&r, MQTT_5, "late", "alice", "wrong");
  assert_int_equal(node_reload(r.node, &(struct node_reload){.access = other}), 0);
  ALL(&r, waits, late);
  gone(waits, "DISCONNECT 87|(not_authorized: the user 'alice' is not in the access file any more, or has another password)");
  gone(late, "CONNACK 86|(not_authorized: the user 'alice' is not in the access file any more, or has another password)");
  compute();
  settle(&r);
  access_unref(more);
  access_unref(other);
  rig_stop(&r);
}

/* All come back at once, with the same password: one check is enough for all who come while it is made, and none for those who
 * come later. */
static void test_storm(void **state) {
  enum { N = 1000 };
  struct rig r;
  static struct wire *w[N];
  (void)state;
  checker = (struct checker){.rig = &r};
  start(&r, &(struct rig_options){.access = USERS,
                                  .node = {.process = {.password = check, .ctx = &checker}, .limits = {.max_clients = 2 * N}}});
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < N; i++) {
      char name[16];
      snprintf(name, sizeof name, "d%d", i);
      w[i] = wire_new(&r, MQTT_3_1_1);
      say_connect(w[i], &(struct connect){.client = name, .clean = true, .user = "fleet", .password = "secret"});
    }
    if (!round) compute();
    rig_run(&r, 10 * NS_MS);
    for (int i = 0; i < N; i++) {
      drain(w[i]);
      happened(w[i], "CONNACK 00");
    }
    for (int i = 0; i < N; i++) {
      w[i]->gone = true;
      w[i]->owner.closed(w[i]->owner.ctx, &w[i]->s, 0, sim_net_now(r.net));
      free(w[i]);
    }
    rig_run(&r, 120 * NS_SEC);
    checker.known = true;
  }
  assert_int_equal(checker.computed, 1);
  rig_stop(&r);
}

/* Who guesses keeps out others from its own address at most. */
static void test_guesses(void **state) {
  struct rig r;
  struct wire *w[PASSWORDS_OF_ONE];
  char password[16];
  (void)state;
  begin(&r, USERS);
  for (int i = 0; i < PASSWORDS_OF_ONE; i++) {
    snprintf(password, sizeof password, "guess %d", i);
    w[i] = come(&r, MQTT_5, "g", "alice", password);
    happened(w[i], "");
  }
  gone(come(&r, MQTT_5, "c", "alice", "secret"),
       "CONNACK 89|(rate_limited: too many passwords are being checked: try again in a second)");
  checker.known = true; /* but not who was let in before */
  struct wire *known = come(&r, MQTT_5, "k", "alice", "secret");
  happened(known, "CONNACK 00");
  leave(known);
  checker.known = false;
  wire_from = "127.0.0.10:99";
  struct wire *a = come(&r, MQTT_5, "c", "alice", "secret");
  wire_from = "127.0.0.9:99";
  compute();
  ALL(&r, a);
  happened(a, "CONNACK 00");
  for (int i = 0; i < PASSWORDS_OF_ONE; i++) {
    drain(w[i]);
    gone(w[i], WRONG);
  }
  a = (leave(a), come(&r, MQTT_5, "c", "alice", "secret")); /* there is room again */
  compute();
  ALL(&r, a);
  happened(a, "CONNACK 00 present");
  leave(a);
  rig_stop(&r);
}

/* One on whose CONNECT the verdict comes later. */
static void test_checks(void **state) {
  struct rig r;
  (void)state;
  begin(&r, USERS);
  struct wire *w = come(&r, MQTT_5, "w", "alice", "secret");
  struct node *n = r.node;
  struct session *s = container_of(n->sessions.judged.next, struct session, judged.all);
#define BROKEN(what, wrong, text) BREAKS(what, wrong, node_check(n), text)
  BROKEN(s->state, SESSION_FRESH, "session: one waits for a verdict that has none to come");
  BROKEN(s->judged.given, true, "session: one waits for a verdict that has none to come");
  BROKEN(s->judged.way, -1, "session: one that is judged waits for nothing");
  BROKEN(s->judged.connect, (const struct msg_connect *)&s, "session: a CONNECT is being handled between turns");
  BROKEN(n->sessions.judged, ((struct list){&n->sessions.judged, &n->sessions.judged}),
         "session: those that are judged are not as many as say so");
  lose(w);
  rig_stop(&r);
}

static void test_no_memory(void **state) {
  (void)state;
  for (uint64_t at = 1; at < 60; at++) {
    struct rig r;
    struct mem_fail fail = {0};
    checker = (struct checker){.rig = &r};
    start(&r, &(struct rig_options){.access = USERS, .node = {.fail = &fail, .process = {.password = check, .ctx = &checker}}});
    fail.countdown = at;
    struct wire *w = wire_new(&r, MQTT_5);
    w->quiet = true;
    if (!w->gone) say_connect(w, &(struct connect){.client = "f", .user = "alice", .password = "secret"});
    settle(&r);
    compute();
    ALL(&r, w);
    fail.countdown = 0;
    lose(w);
    rig_stop(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_users),      cmocka_unit_test(test_claimed),
                                     cmocka_unit_test(test_refused),    cmocka_unit_test(test_forbidden_names_user),
                                     cmocka_unit_test(test_principals), cmocka_unit_test(test_reload),
                                     cmocka_unit_test(test_storm),      cmocka_unit_test(test_guesses),
                                     cmocka_unit_test(test_checks),     cmocka_unit_test(test_no_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
