/* Who may do what at a node: access files, passes, lists of revocations, and all of them anew while clients are connected. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../unit/quic/forge.h"
#include "access_text.h"
#include "node/check.h"
#include "node/messages/spread.h"
#include "node/state.h"
#include "node_rig.h"
#include "realm.h"

#define TOKEN_B "fedcba9876543210"

static void ended(struct rig_client *c, int code, const char *text) {
  struct msg m = rig_expect(c, MSG_DISCONNECT);
  assert_true(slice_is(m.disconnect.code, macula_err_name(code)));
  if (text && !memmem(m.disconnect.message.p, m.disconnect.message.n, text, strlen(text)))
    fail_msg("'%.*s' does not say '%s'", (int)m.disconnect.message.n, (const char *)m.disconnect.message.p, text);
  assert_int_equal(rig_closed(c), code);
}

static struct rig_client *with_token(struct rig *r, const char *token) {
  struct rig_client *c = rig_join(r, 0, NULL, 0);
  rig_connect(c, RIG_EXT, "test", token);
  return c;
}

static struct rig_client *let_in(struct rig *r, const char *token) {
  struct rig_client *c = with_token(r, token);
  (void)rig_expect(c, MSG_PONG);
  return c;
}

static const char two_grants[] =
    "grants:\n"
    "  sensors: {pub: ['plant.${id}.**'], sub: ['cmd.**'], call: ['math.*'], serve: ['own.${id}']}\n"
    "  ops: {role: operator, pub: ['**'], sub: ['**'], call: ['**'], serve: ['**']}\n"
    "tokens:\n"
    "  - {token: " ACCESS_TOKEN ", grant: sensors}\n"
    "  - {token: " TOKEN_B ", grant: ops}\n";

static void reload(struct rig *r, const char *yaml) {
  struct node_reload l = {.access = access_text(yaml)};
  assert_int_equal(node_reload(r->node, &l), 0);
  access_unref(l.access);
  rig_run(r, NS_SEC);
}

/* Each right is judged, and what was refused says what is missing. */
static void test_rights(void **state) {
  struct rig r;
  char name[128], hex[ID_HEX_LEN + 1];
  (void)state;
  rig_start(&r, &(struct rig_options){.access = two_grants});
  struct rig_client *c = let_in(&r, ACCESS_TOKEN), *op = let_in(&r, TOKEN_B);
  id_hex(quic_identity_id(c->identity), hex);
  assert_int_equal(rig_subscribe(op, "**"), 0);
  snprintf(name, sizeof name, "plant.%s.temp", hex);
  assert_int_equal(rig_publish(c, name, "1", 1, false, 1), 0);
  (void)rig_expect(op, MSG_PUBLISH);
  assert_int_equal(rig_publish(c, "plant.other.temp", "1", 1, false, 2), MACULA_FORBIDDEN);
  assert_int_equal(rig_publish(c, "plant.other.temp", "1", 0, true, 3), MACULA_FORBIDDEN);
  rig_publish_only(c, "plant.other.temp", slice_str("1"), 0);
  assert_true(rig_quiet(op, MSG_PUBLISH, NS_SEC));
  assert_int_equal(rig_subscribe(c, "cmd.door"), 0);
  assert_int_equal(rig_subscribe(c, "cmd.**"), 0);
  assert_int_equal(rig_subscribe(c, "**"), MACULA_FORBIDDEN);
  assert_int_equal(rig_subscribe(c, "*.door"), MACULA_FORBIDDEN);
  assert_int_equal(rig_register(c, "math.add"), MACULA_FORBIDDEN);
  snprintf(name, sizeof name, "own.%s", hex);
  assert_int_equal(rig_register(c, name), 0);
  struct msg_reply a = rig_ask(c, "secret.add", "1");
  assert_true(a.is_error && slice_is(a.error.code, "forbidden"));
  assert_non_null(memmem(a.error.message.p, a.error.message.n, "call 'secret.add'", 17));
  a = rig_ask(c, "math.add", "1");
  assert_true(a.is_error && slice_is(a.error.code, "no_such_procedure"));
  a = rig_ask(c, "com.macula.node.clients", "");
  assert_true(a.is_error && slice_is(a.error.code, "not_authorized"));
  a = rig_ask(op, "com.macula.node.clients", "");
  assert_false(a.is_error);
  rig_stop(&r);
}

/* No token, no key: nobody is let in, over loopback neither; a role that the grant does not have is refused. */
static void test_nobody(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, &(struct rig_options){.access = two_grants});
  ended(with_token(&r, NULL), MACULA_NOT_AUTHORIZED, "an access token is needed");
  ended(with_token(&r, "0123456789abcdeg"), MACULA_NOT_AUTHORIZED, "the access token is wrong");
  struct rig_client *c = rig_join(&r, RIG_LOOPBACK, NULL, 0);
  rig_connect(c, RIG_EXT, "test", NULL);
  ended(c, MACULA_NOT_AUTHORIZED, NULL);
  c = rig_join(&r, RIG_LOOPBACK, NULL, 0);
  rig_connect(c, RIG_EXT | CAP_OPERATOR, "test", ACCESS_TOKEN);
  ended(c, MACULA_NOT_AUTHORIZED, "role operator");
  c = rig_join(&r, 0, NULL, 0);
  rig_connect(c, RIG_EXT | CAP_NODE, "test", ACCESS_TOKEN);
  ended(c, MACULA_NOT_AUTHORIZED, "role node");
  c = rig_client(&r, RIG_NO_CERT, NULL);
  rig_opened(c);
  rig_connect(c, CAP_PUBSUB, "test", NULL);
  assert_int_equal(rig_closed(c), MACULA_NOT_AUTHORIZED);
  rig_stop(&r);
}

/* What a reload takes away is gone at once, what it leaves goes on, what it adds is there. */
static void test_reload(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, &(struct rig_options){.access = two_grants});
  struct rig_client *c = let_in(&r, ACCESS_TOKEN), *idle = let_in(&r, ACCESS_TOKEN), *op = let_in(&r, TOKEN_B);
  assert_int_equal(rig_subscribe(c, "cmd.door"), 0);
  reload(&r, two_grants);
  assert_int_equal(rig_subscribe(c, "cmd.gate"), 0);
  reload(&r, "grants:\n  few: {sub: ['cmd.gate'], pub: [more]}\n  ops: {role: operator, pub: ['**']}\n"
             "tokens: [{token: " ACCESS_TOKEN ", grant: few}, {token: " TOKEN_B ", grant: ops}]\n");
  ended(c, MACULA_FORBIDDEN, "sub 'cmd.door'");
  assert_int_equal(rig_publish(idle, "more", "1", 1, false, 1), 0);
  assert_int_equal(rig_subscribe(idle, "cmd.door"), MACULA_FORBIDDEN);
  reload(&r, "grants:\n  few: {sub: ['cmd.gate'], pub: [other]}\n  ops: {role: operator, pub: ['**']}\n"
             "tokens: [{token: " ACCESS_TOKEN ", grant: few}, {token: " TOKEN_B ", grant: ops}]\n");
  assert_int_equal(rig_publish(idle, "more", "1", 1, false, 2), MACULA_FORBIDDEN); /* though it was allowed just now */
  reload(&r, "grants:\n  ops: {role: operator, pub: ['**']}\ntokens: [{token: " TOKEN_B ", grant: ops}]\n");
  ended(idle, MACULA_NOT_AUTHORIZED, "the access token is wrong");
  assert_int_equal(rig_publish(op, "more", "1", 1, false, 1), 0);
  rig_stop(&r);
}

/* From open to a file while clients are connected: those who have proved what it wants go on. */
static void test_closes(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *c = let_in(&r, NULL), *knows = let_in(&r, ACCESS_TOKEN);
  reload(&r, two_grants);
  ended(c, MACULA_NOT_AUTHORIZED, "an access token is needed");
  assert_int_equal(rig_subscribe(knows, "cmd.x"), 0);
  rig_stop(&r);
}

static bool comes_later(void *ctx, struct session *s, const struct msg_connect *m) {
  (void)ctx, (void)s, (void)m;
  return true;
}

/* Whoever waits for the verdict on its CONNECT while the file changes is not let in by what counted before. */
static void test_reload_before_the_verdict(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, &(struct rig_options){.access = two_grants});
  r.node->sessions.judge = comes_later;
  struct rig_client *c = with_token(&r, ACCESS_TOKEN);
  rig_run(&r, NS_SEC);
  reload(&r, "grants:\n  ops: {role: operator, pub: ['**']}\ntokens: [{token: " TOKEN_B ", grant: ops}]\n");
  ended(c, MACULA_NOT_AUTHORIZED, "the access token is wrong");
  rig_stop(&r);
}

/* ---- passes ----------------------------------------------------------------------------------------------------------------
 */
static void test_passes(void **state) {
  struct rig r;
  struct realm ours, other;
  uint8_t pass[PASS_MAX], foreign[PASS_MAX];
  (void)state;
  realm_init(&ours);
  realm_init(&other);
  rig_start(&r, &(struct rig_options){.access = ours.yaml});
  struct rig_client *c = rig_join(&r, 0, NULL, 0), *thief = rig_join(&r, 0, NULL, 0), *d;
  size_t n = realm_pass(&ours, quic_identity_id(c->identity), ROLE_CLIENT, 1, 60, pass);
  rig_show(c, slice_of(pass, n));
  (void)rig_expect(c, MSG_PONG);
  assert_int_equal(rig_subscribe(c, "cmd.x"), 0);
  assert_int_equal(rig_subscribe(c, "plant.x"), MACULA_FORBIDDEN);
  rig_show(thief, slice_of(pass, n));
  ended(thief, MACULA_PASS_INVALID, "the pass is for the key");
  d = rig_join(&r, 0, NULL, 0);
  rig_show(d, slice_of(foreign, realm_pass(&other, quic_identity_id(d->identity), ROLE_CLIENT, 1, 60, foreign)));
  ended(d, MACULA_PASS_INVALID, "not trusted here");
  d = rig_join(&r, 0, NULL, 0);
  pass[n - 1] ^= 1;
  rig_show(d, slice_of(pass, n));
  ended(d, MACULA_PASS_INVALID, NULL);
  ended(with_token(&r, NULL), MACULA_NOT_AUTHORIZED, "a pass is needed here");
  rig_run(&r, 70 * NS_SEC); /* it ends while it is used */
  ended(c, MACULA_PASS_EXPIRED, "ended");
  rig_stop(&r);
  crypto_key_free(ours.key);
  crypto_key_free(other.key);
}

/* Passes of those who are gone make room; when all are in use, one more is refused and says so. */
static void test_pass_bytes(void **state) {
  struct rig r;
  struct realm m;
  uint8_t pass[PASS_MAX];
  uint32_t refused = 0;
  (void)state;
  realm_init(&m);
  rig_start(&r, &(struct rig_options){.access = m.yaml, .node.limits.pass_bytes = 4096});
  for (int i = 0; i < 40; i++) {
    struct rig_client *c = rig_join(&r, 0, NULL, 0);
    rig_show(c, slice_of(pass, realm_pass(&m, quic_identity_id(c->identity), ROLE_CLIENT, (uint8_t)i, 600, pass)));
    rig_run(&r, NS_SEC / 10);
    if (rig_quiet(c, MSG_PONG, 0)) {
      ended(c, MACULA_ENOMEM, "pass_bytes");
      refused++;
    } else if (i % 2) {
      rig_kill(c);
    }
  }
  assert_true(refused > 0 && refused < 40);
  rig_stop(&r);
  crypto_key_free(m.key);
}

/* Passes of those who are gone keep nobody out whose certificate has an end. */
static void test_pass_cache(void **state) {
  struct rig r;
  struct realm m;
  uint8_t pass[PASS_MAX];
  char yaml[256];
  (void)state;
  realm_init(&m);
  snprintf(yaml, sizeof yaml, "%sgrants: {g: {pub: ['**']}}\ntokens: [{token: " ACCESS_TOKEN ", grant: g}]\n", m.yaml);
  rig_start(&r, &(struct rig_options){.access = yaml, .node.limits.pass_bytes = 4096});
  for (int i = 0; i < 40; i++) {
    struct rig_client *c = rig_join(&r, 0, NULL, 0);
    rig_show(c, slice_of(pass, realm_pass(&m, quic_identity_id(c->identity), ROLE_CLIENT, (uint8_t)i, 86400, pass)));
    (void)rig_expect(c, MSG_PONG);
    rig_kill(c);
    rig_run(&r, 60 * NS_SEC);
  }
  struct quic_identity *ends;
  assert_int_equal(quic_identity_generate(&ends), 0);
  forge_times(ends, UNIX_NOW - 10, UNIX_NOW + 864000, NULL);
  for (int i = 0; i < 100; i++) {
    struct rig_client *c = rig_join(&r, 0, ends, 0);
    rig_connect(c, RIG_EXT, "test", ACCESS_TOKEN);
    (void)rig_expect(c, MSG_PONG);
    rig_run(&r, NS_SEC / 10);
    assert_int_equal(rig_publish(c, "a", "1", 1, false, 1), 0);
  }
  rig_stop(&r);
  quic_identity_unref(ends);
  crypto_key_free(m.key);
}

/* Where a reload lets in by its key who came by a pass, the end of its certificate still ends it. */
static void test_certificate_after_pass(void **state) {
  struct rig r;
  struct realm m;
  uint8_t pass[PASS_MAX];
  char yaml[300], hex[ID_HEX_LEN + 1];
  (void)state;
  realm_init(&m);
  rig_start(&r, &(struct rig_options){.access = m.yaml});
  struct quic_identity *i;
  assert_int_equal(quic_identity_generate(&i), 0);
  forge_times(i, UNIX_NOW - 10, UNIX_NOW + 120, NULL);
  struct rig_client *c = rig_join(&r, 0, i, 0);
  rig_show(c, slice_of(pass, realm_pass(&m, quic_identity_id(c->identity), ROLE_CLIENT, 1, 60, pass)));
  (void)rig_expect(c, MSG_PONG);
  id_hex(quic_identity_id(c->identity), hex);
  snprintf(yaml, sizeof yaml, "%sgrants: {g: {pub: ['**']}}\nkeys: {%s: g}\n", m.yaml, hex);
  reload(&r, yaml);
  rig_run(&r, 70 * NS_SEC);
  assert_int_equal(rig_publish(c, "a", "1", 1, false, 1), 0);
  rig_run(&r, 70 * NS_SEC);
  ended(c, MACULA_CERTIFICATE_EXPIRED, NULL);
  rig_stop(&r);
  quic_identity_unref(i);
  crypto_key_free(m.key);
}

static int subscribe_many(struct rig_client *c, const char *topic, uint32_t count) {
  struct slice *topics = malloc(count * sizeof *topics);
  struct msg m = {.type = MSG_SUBSCRIBE,
                  .subscribe = {.topics = {.count = count, .items = topics}, .ref = 77, .has_ref = true}};
  for (uint32_t i = 0; i < count; i++) topics[i] = slice_str(topic);
  size_t n = msg_size(&m);
  uint8_t *buf = malloc(n);
  assert_int_equal(msg_encode(&m, buf, n), n);
  assert_int_equal(quic_stream_write(c->conn, c->stream, slice_of(buf, n)), 0);
  free(buf);
  free(topics);
  struct msg a = rig_expect(c, MSG_ACK);
  return a.ack.code.n ? err_from_name((const char *)a.ack.code.p, a.ack.code.n) : 0;
}

/* Patterns that take long to compare, as the holder of a pass can put into another: the many of one request are refused, a few
 * are not, nor are many to others. */
static void test_costly_patterns(void **state) {
  struct rig r;
  char yaml[8192], topic[128] = "a";
  size_t n = (size_t)snprintf(yaml, sizeof yaml, "grants:\n  costly: {sub: [");
  (void)state;
  for (int i = 0; i < 60; i++)
    n += (size_t)snprintf(yaml + n, sizeof yaml - n, "'**.a.**.a.**.a.**.a.**.a.**.a.**.x%d.**',", i);
  snprintf(yaml + n, sizeof yaml - n,
           "'a.**']}\n  plain: {sub: ['a.**']}\ntokens: [{token: " ACCESS_TOKEN ", grant: costly}, {token: " TOKEN_B
           ", grant: plain}]\n");
  for (int i = 0; i < 30; i++) strcat(topic, ".a");
  rig_start(&r, &(struct rig_options){.access = yaml});
  struct rig_client *c = let_in(&r, ACCESS_TOKEN), *other = let_in(&r, TOKEN_B);
  assert_int_equal(subscribe_many(c, topic, 4000), MACULA_RATE_LIMITED);
  assert_int_equal(subscribe_many(other, "a.b.c", 1000), 0);
  assert_int_equal(subscribe_many(c, topic, 2), 0);
  rig_stop(&r);
}

static struct msg_reply end_by(struct rig_client *op, const char *digits, int n) {
  char args[128];
  snprintf(args, sizeof args, "{\"id\":\"%.*s\"}", n, digits);
  return rig_ask(op, "com.macula.node.end", args);
}

/* An operator ends a client by the first digits of its id; when several ids begin so, it is told which. */
static void test_end_by_digits(void **state) {
  struct rig r;
  struct rig_client *c[17]; /* two of them begin with the same digit */
  char hex[17][ID_HEX_LEN + 1];
  int a = 0, b = 1;
  (void)state;
  rig_start(&r, &(struct rig_options){.access = two_grants});
  struct rig_client *op = let_in(&r, TOKEN_B);
  for (int i = 0; i < 17; i++) {
    c[i] = let_in(&r, ACCESS_TOKEN);
    id_hex(quic_identity_id(c[i]->identity), hex[i]);
  }
  while (hex[a][0] != hex[b][0])
    if (++b == 17) b = ++a + 1;
  struct msg_reply m = end_by(op, hex[a], 1);
  assert_true(m.is_error && slice_is(m.error.code, "invalid_argument"));
  assert_non_null(memmem(m.error.message.p, m.error.message.n, "several ids begin so", 20));
  assert_true(memmem(m.error.message.p, m.error.message.n, hex[a], ID_HEX_LEN) ||
              memmem(m.error.message.p, m.error.message.n, hex[b], ID_HEX_LEN));
  assert_true(end_by(op, "x", 1).is_error);
  assert_true(end_by(op, "", 0).is_error);
  m = end_by(op, hex[a], 16);
  assert_true(!m.is_error && slice_is(m.result, "{\"ended\":1}"));
  assert_int_equal(rig_closed(c[a]), MACULA_NOT_AUTHORIZED);
  m = end_by(op, hex[a], 16);
  assert_true(m.is_error && slice_is(m.error.code, "not_found"));
  rig_stop(&r);
}

/* ---- one session's worth of comparing --------------------------------------------------------------------------------------
 */
#define HARD 400 /* subscriptions of one session */

static void hard_topic(char topic[128], int length, int i) {
  size_t n = 0;
  for (int k = 0; k < length; k++) n += (size_t)snprintf(topic + n, 128 - n, "a.");
  snprintf(topic + n, 128 - n, "t%d", i);
}

/* Patterns that take long to compare, and one that allows topics of 20 segments and one. */
static void hard_reload(struct rig *r, const char *serve) {
  static char yaml[16384];
  size_t n = (size_t)snprintf(yaml, sizeof yaml, "grants:\n  hard: {serve: [%s], sub: [", serve);
  for (int i = 0; i < 200; i++)
    n += (size_t)snprintf(yaml + n, sizeof yaml - n, "'**.a.**.a.**.a.**.a.**.a.**.a.**.x%d.**',", i);
  snprintf(yaml + n, sizeof yaml - n,
           "'*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*']}\ntokens: [{token: " ACCESS_TOKEN ", grant: hard}]\n");
  struct node_reload l = {.access = access_text(yaml)};
  assert_int_equal(node_reload(r->node, &l), 0);
  access_unref(l.access);
}

/* A client with HARD subscriptions; the one at `odd` has 22 segments. */
static struct session *hard_start(struct rig *r, int odd, struct rig_client **ret_client) {
  char topic[128];
  rig_start(r, &(struct rig_options){.access = "grants: {all: {sub: ['**'], serve: ['**']}}\n"
                                               "tokens: [{token: " ACCESS_TOKEN ", grant: all}]\n"});
  struct rig_client *c = let_in(r, ACCESS_TOKEN);
  for (int i = 0; i < HARD; i++) {
    hard_topic(topic, i == odd ? 21 : 20, i);
    assert_int_equal(rig_subscribe(c, topic), 0);
  }
  assert_int_equal(rig_register(c, "own.x"), 0);
  *ret_client = c;
  return container_of(r->node->sessions.all.prev, struct session, all);
}

/* Turns until it is judged. */
static unsigned hard_turns(struct rig *r, struct session *s) {
  struct endpoint e = node_endpoint(r->node);
  unsigned turns = 0;
  do {
    uint32_t left = turns ? s->rights.subs_left : HARD;
    assert_true(e.deadline(e.ctx) <= r->node->now);
    e.tick(e.ctx, r->node->now);
    assert_null(node_check(r->node));
    assert_true(s->state == SESSION_OVER || left - s->rights.subs_left < HARD / 4);
    turns++;
  } while (s->state == SESSION_IN && (s->rights.subs_left || s->rights.services_left));
  return turns;
}

/* What one session has is compared with its new grant in several turns, and what that does not cover is found at any place. */
static void test_in_slices(void **state) {
  static const int odd[] = {-1, 0, HARD - 1, -1};
  static const char *const text[] = {NULL, "sub 'a.a.", "sub 'a.a.", "serve 'own.x'"};
  (void)state;
  for (int i = 0; i < 4; i++) {
    struct rig r;
    struct rig_client *c;
    struct session *s = hard_start(&r, odd[i], &c);
    hard_reload(&r, i == 3 ? "other" : "'own.*'");
    unsigned turns = hard_turns(&r, s);
    assert_true(odd[i] == 0 ? turns == 1 : turns > 4);
    if (text[i])
      ended(c, MACULA_FORBIDDEN, text[i]);
    else
      assert_true(rig_quiet(c, MSG_DISCONNECT, NS_SEC));
    rig_stop(&r);
  }
}

/* Subscriptions that come and go in between do not hide one. */
static void test_changes_between_slices(void **state) {
  struct rig r;
  struct rig_client *c;
  char topic[128];
  bool is_new;
  (void)state;
  struct session *s = hard_start(&r, HARD - 1, &c);
  struct endpoint e = node_endpoint(r.node);
  hard_reload(&r, "'own.*'");
  for (int i = 0; s->state == SESSION_IN && i < HARD; i++) {
    e.tick(e.ctx, r.node->now);
    if (s->state != SESSION_IN) break;
    hard_topic(topic, 20, HARD - 2 - i);
    if (!topic_index_unsubscribe(r.node->messages.topics, &s->topics, slice_str(topic)))
      spread_unsubscribe(r.node, slice_str(topic));
    hard_topic(topic, 20, HARD + i);
    assert_int_equal(topic_index_subscribe(r.node->messages.topics, &s->topics, slice_str(topic), 0, &is_new), 0);
    assert_int_equal(spread_subscribe(r.node, slice_str(topic)), 0);
  }
  ended(c, MACULA_FORBIDDEN, "sub 'a.a.");
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_rights),
                                     cmocka_unit_test(test_nobody),
                                     cmocka_unit_test(test_reload),
                                     cmocka_unit_test(test_closes),
                                     cmocka_unit_test(test_reload_before_the_verdict),
                                     cmocka_unit_test(test_passes),
                                     cmocka_unit_test(test_pass_bytes),
                                     cmocka_unit_test(test_pass_cache),
                                     cmocka_unit_test(test_certificate_after_pass),
                                     cmocka_unit_test(test_costly_patterns),
                                     cmocka_unit_test(test_end_by_digits),
                                     cmocka_unit_test(test_in_slices),
                                     cmocka_unit_test(test_changes_between_slices)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
