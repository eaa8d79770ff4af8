/* What one identity may use of a node: quotas of grants and of the node, for all its connections together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "access_text.h"
#include "node/trust/account.h"
#include "node_rig.h"
#include "unit/broken.h"

static const char quotas[] =
    "grants:\n"
    "  few: {" ACCESS_ALL ", quotas: {connections: 2, subscriptions: 3, services: 2, calls: 2, retained: 2}}\n"
    "  slow: {" ACCESS_ALL ", quotas: {messages: 100}}\n"
    "  all: {" ACCESS_ALL "}\n"
    "tokens:\n"
    "  - {token: few-few-few-few-, grant: few}\n"
    "  - {token: slow-slow-slow-s, grant: slow}\n"
    "  - {token: " ACCESS_TOKEN ", grant: all}\n";

static struct rig_client *connecting(struct rig *r, const char *token, struct quic_identity *identity) {
  struct rig_client *c = rig_join(r, 0, identity, 0);
  rig_connect(c, RIG_EXT, "test", token);
  return c;
}

static struct rig_client *let_in(struct rig *r, const char *token, struct quic_identity *identity) {
  struct rig_client *c = connecting(r, token, identity);
  (void)rig_expect(c, MSG_PONG);
  return c;
}

static void says(struct slice text, const char *what) {
  if (!memmem(text.p, text.n, what, strlen(what)))
    fail_msg("'%.*s' does not say '%s'", (int)text.n, (const char *)text.p, what);
}

static struct slice refusal(struct rig_client *c, const struct msg *m) {
  rig_send(c, m);
  struct msg_ack a = rig_expect(c, MSG_ACK).ack;
  assert_true(slice_is(a.code, "quota_reached"));
  return a.message;
}

static void goodbye(struct rig_client *c) {
  struct msg m = {.type = MSG_DISCONNECT};
  rig_send(c, &m);
  (void)rig_closed(c);
}

static void test_connections(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, &(struct rig_options){.access = quotas});
  struct rig_client *a = let_in(&r, "few-few-few-few-", NULL), *b = let_in(&r, "few-few-few-few-", a->identity);
  struct rig_client *c = connecting(&r, "few-few-few-few-", a->identity);
  struct msg m = rig_expect(c, MSG_DISCONNECT);
  assert_true(slice_is(m.disconnect.code, "quota_reached"));
  says(m.disconnect.message, "the quota of 2 connections is reached, which the grant few sets");
  (void)let_in(&r, "few-few-few-few-", NULL); /* another identity has its own */
  goodbye(b);
  b = let_in(&r, "few-few-few-few-", a->identity);
  c = rig_join(&r, 0, a->identity, 0); /* the same client again: it replaces itself */
  memcpy(c->instance, b->instance, sizeof c->instance);
  rig_connect(c, RIG_EXT, "test", "few-few-few-few-");
  (void)rig_expect(c, MSG_PONG);
  assert_int_equal(rig_closed(b), MACULA_REPLACED);
  struct session *s = container_of(r.node->sessions.all.next, struct session, all);
  static const char counts[] = "account: the counts are not what sessions and retained messages are";
  BREAKS(s->account->used[QUOTA_SERVICES], 1, account_check(r.node), counts);
  BREAKS(s->account->retained.count, 1, account_check(r.node), counts);
  BREAKS(s->account->key[1], (uint8_t)~s->account->key[1], account_check(r.node), "account: one is not found by its key");
  assert_int_equal(rig_subscribe(a, "x"), 0);
  rig_stop(&r);
}

static void test_subscriptions(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, &(struct rig_options){.access = quotas});
  struct rig_client *a = let_in(&r, "few-few-few-few-", NULL), *b = let_in(&r, "few-few-few-few-", a->identity);
  assert_int_equal(rig_subscribe(a, "a"), 0);
  assert_int_equal(rig_subscribe(b, "a"), 0);
  struct slice two[2] = {slice_str("b"), slice_str("c")}, again[1] = {slice_str("a")};
  struct msg m = {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 2, .items = two}, .ref = 1, .has_ref = true}};
  says(refusal(a, &m), "the quota of 3 subscriptions is reached, which the grant few sets");
  assert_int_equal(rig_metric(&r, "table_entries{table=\"subscriptions\"}"), 2); /* all or nothing */
  assert_int_equal(rig_subscribe(a, "b"), 0);
  assert_int_equal(rig_subscribe(b, "b"), MACULA_QUOTA_REACHED);
  m.subscribe.topics = (struct msg_list){.count = 1, .items = again};
  rig_send(b, &m); /* what it has it may have again */
  assert_int_equal(rig_expect(b, MSG_ACK).ack.code.n, 0);
  goodbye(a);
  assert_int_equal(rig_subscribe(b, "b"), 0);
  rig_stop(&r);
}

static void test_services(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, &(struct rig_options){.access = quotas});
  struct rig_client *a = let_in(&r, "few-few-few-few-", NULL), *b = let_in(&r, "few-few-few-few-", a->identity);
  assert_int_equal(rig_register(a, "s.1"), 0);
  assert_int_equal(rig_register(b, "s.2"), 0);
  assert_int_equal(rig_register(a, "s.1"), 0); /* renewed */
  struct msg m = {.type = MSG_REGISTER, .reg = {.procedure = slice_str("s.3"), .ref = 1, .has_ref = true}};
  says(refusal(a, &m), "the quota of 2 services is reached");
  m = (struct msg){.type = MSG_UNREGISTER, .unreg = {.procedure = slice_str("s.2"), .ref = 1, .has_ref = true}};
  rig_send(b, &m);
  (void)rig_expect(b, MSG_ACK);
  assert_int_equal(rig_register(a, "s.3"), 0);
  rig_stop(&r);
}

static void test_calls(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, &(struct rig_options){.access = quotas});
  struct rig_client *a = let_in(&r, "few-few-few-few-", NULL), *b = let_in(&r, "few-few-few-few-", a->identity),
                    *server = let_in(&r, ACCESS_TOKEN, NULL);
  assert_int_equal(rig_register(server, "slow"), 0);
  rig_call(a, "slow", "1", 1, 60000);
  rig_call(b, "slow", "2", 2, 60000);
  struct msg first = rig_expect(server, MSG_CALL);
  (void)rig_expect(server, MSG_CALL);
  struct msg_reply refused = rig_ask(a, "slow", "3");
  assert_true(refused.is_error && slice_is(refused.error.code, "quota_reached"));
  says(refused.error.message, "the quota of 2 calls is reached");
  struct msg m = {.type = MSG_CAST,
                  .call = {.procedure = slice_str("slow"), .args = slice_str("1"), .ref = 1, .has_ref = true}};
  (void)refusal(a, &m);
  rig_reply(server, first.call.call_id, "1");
  (void)rig_expect(a, MSG_REPLY);
  rig_call(b, "slow", "4", 4, 60000);
  (void)rig_expect(server, MSG_CALL);
  rig_stop(&r);
}

static void test_retained(void **state) {
  struct rig r;
  struct rig_options o = {.access = quotas, .node = {.limits = {.retained_count = 10, .retained_ttl = 100 * NS_SEC}}};
  (void)state;
  rig_start(&r, &o);
  struct rig_client *a = let_in(&r, "few-few-few-few-", NULL), *b = let_in(&r, "few-few-few-few-", a->identity),
                    *c = let_in(&r, ACCESS_TOKEN, NULL);
  assert_int_equal(rig_publish(a, "r.1", "1", 0, true, 1), 0);
  assert_int_equal(rig_publish(b, "r.2", "1", 0, true, 2), 0);
  assert_int_equal(rig_publish(b, "r.1", "2", 0, true, 3), 0);
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_str("r.3"), .payload = slice_str("1"), .retain = true, .ref = 1, .has_ref = true}};
  says(refusal(a, &m), "the quota of 2 retained messages is reached");
  assert_int_equal(rig_publish(a, "r.1", "", 0, true, 4), 0);
  assert_int_equal(rig_publish(a, "r.3", "1", 0, true, 5), 0);
  goodbye(a);
  goodbye(b);
  rig_run(&r, 2 * ACCOUNT_KEPT); /* they are gone, their messages are old, and so are the accounts */
  assert_int_equal(rig_metric(&r, "table_entries{table=\"retained\"}"), 0);
  assert_int_equal(rig_metric(&r, "table_expired_total{table=\"retained\"}"), 2);
  rig_run(&r, 2 * ACCOUNT_KEPT);
  assert_int_equal(rig_metric(&r, "table_entries{table=\"accounts\"}"), 1);
  assert_int_equal(rig_publish(c, "c", "1", 0, true, 6), 0);
  rig_stop(&r);
}

/* Where all is open, too, one that retains all it can leaves room for the others, also when it is gone and comes again. */
static void test_retained_share(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.limits = {.retained_count = 20}}};
  char topic[16];
  int taken = 0;
  (void)state;
  rig_start(&r, &o);
  struct rig_client *hog = rig_join(&r, 0, NULL, RIG_EXT), *other = rig_join(&r, 0, NULL, RIG_EXT);
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 20; i++) {
      snprintf(topic, sizeof topic, "h.%d.%d", round, i);
      int err = rig_publish(hog, topic, "1", 0, true, (uint64_t)i + 1);
      assert_true(err == 0 || err == MACULA_QUOTA_REACHED);
      taken += err == 0;
    }
    struct quic_identity *own = hog->identity;
    goodbye(hog);
    rig_run(&r, 2 * ACCOUNT_KEPT);
    hog = rig_join(&r, 0, own, RIG_EXT);
  }
  assert_int_equal(taken, 10);
  for (int i = 0; i < 5; i++) {
    snprintf(topic, sizeof topic, "o.%d", i);
    assert_int_equal(rig_publish(other, topic, "1", 0, true, (uint64_t)i + 1), 0);
  }
  rig_stop(&r);
}

/* How long it takes until the listener has so many in all. */
static uint64_t until(struct rig *r, struct rig_client *listener, uint64_t messages) {
  nanotime from = sim_net_now(r->net);
  while (listener->counts[MSG_PUBLISH] < messages) {
    rig_run(r, 10 * NS_MS);
    assert_in_range(sim_net_now(r->net) - from, 0, 60 * NS_SEC);
  }
  return sim_net_now(r->net) - from;
}

static uint64_t took(struct rig *r, struct rig_client *c, struct rig_client *listener, int messages) {
  uint64_t before = listener->counts[MSG_PUBLISH];
  for (int i = 0; i < messages; i++) rig_publish_only(c, "t", slice_str("1"), 0);
  return until(r, listener, before + (uint64_t)messages);
}

/* Messages come slower, but all come, in order with what follows them; others are not held up. */
static void test_messages(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, &(struct rig_options){.access = quotas});
  struct rig_client *slow = let_in(&r, "slow-slow-slow-s", NULL), *all = let_in(&r, ACCESS_TOKEN, NULL),
                    *listener = let_in(&r, ACCESS_TOKEN, NULL);
  assert_int_equal(rig_subscribe(listener, "t"), 0);
  assert_in_range(took(&r, slow, listener, 90), 0, NS_SEC / 2); /* a second's worth at once */
  for (int i = 0; i < 300; i++) rig_publish_only(slow, "t", slice_str("1"), 0);
  struct rig_client *same = let_in(&r, "slow-slow-slow-s", slow->identity); /* for all its connections together */
  rig_publish_only(same, "t", slice_str("1"), 0);
  uint64_t before = listener->counts[MSG_PUBLISH];
  for (int i = 0; i < 500; i++) rig_publish_only(all, "t", slice_str("1"), 0);
  assert_in_range(until(&r, listener, before + 500), 0, NS_SEC / 2);
  assert_in_range(until(&r, listener, 90 + 300 + 1 + 500), 2 * NS_SEC, 4 * NS_SEC);
  rig_run(&r, 5 * NS_SEC);
  assert_int_equal(listener->counts[MSG_PUBLISH], 90 + 300 + 1 + 500);
  assert_true(rig_metric(&r, "paced_total") > 0);
  /* Large ones count as more, and reconnecting fills no bucket. */
  static uint8_t large[400 * 1024];
  rig_publish_only(slow, "u", slice_of(large, sizeof large), 0);
  rig_run(&r, 100 * NS_MS);
  goodbye(slow);
  goodbye(same);
  same = let_in(&r, "slow-slow-slow-s", slow->identity);
  assert_in_range(took(&r, same, listener, 100), 2 * NS_SEC, 5 * NS_SEC);
  /* What answers goes on while nothing is left. */
  struct msg ping = {.type = MSG_PING};
  rig_send(same, &ping);
  (void)rig_expect(same, MSG_PONG);
  rig_stop(&r);
}

/* Streams that are opened and given up count, too: a hundred at once and a hundred a second, and those of its connections. */
static void test_streams(void **state) {
  struct rig r;
  unsigned opened = 0;
  int64_t id;
  (void)state;
  rig_start(&r, &(struct rig_options){.access = quotas});
  struct rig_client *c = let_in(&r, "slow-slow-slow-s", NULL);
  for (int turn = 0; turn < 300; turn++) {
    for (; !quic_stream_open(c->conn, &id); opened++) {
      (void)quic_stream_write(c->conn, id, slice_str("x"));
      quic_stream_reset(c->conn, id, 1);
    }
    rig_run(&r, 10 * NS_MS);
  }
  assert_in_range(opened, 300, 700);
  assert_true(rig_metric(&r, "paced_total") > 0);
  rig_run(&r, 10 * NS_SEC);
  assert_int_equal(quic_stream_open(c->conn, &id), 0); /* what was held back is given in the end */
  rig_stop(&r);
}

/* Without a word in the grant one identity is held to the node's own quotas, an operator is not, and where all is open nobody.
 */
static void test_defaults(void **state) {
  struct rig r;
  struct rig_options o = {.access = "grants: {all: {" ACCESS_ALL "}, ops: {role: operator, " ACCESS_ALL "}}\n"
                                    "tokens: [{token: " ACCESS_TOKEN ", grant: all}, {token: ops-ops-ops-ops-, grant: ops}]\n",
                          .node = {.limits = {.max_services = 20}}};
  char name[16];
  (void)state;
  rig_start(&r, &o);
  struct rig_client *a = let_in(&r, ACCESS_TOKEN, NULL), *op = let_in(&r, "ops-ops-ops-ops-", NULL);
  for (int i = 0; i < 6; i++) {
    snprintf(name, sizeof name, "a.%d", i);
    assert_int_equal(rig_register(a, name), i < 5 ? 0 : MACULA_QUOTA_REACHED);
  }
  for (int i = 0; i < 6; i++) {
    snprintf(name, sizeof name, "b.%d", i);
    assert_int_equal(rig_register(op, name), 0);
  }
  assert_true(rig_metric(&r, "quota_reached_total") == 1);
  rig_stop(&r);
}

/* Comes, is let in, and goes at once. Returns 0, or the code that it was refused with. */
static int come_and_go(struct rig *r, const char *token, struct quic_identity *identity, char ret_text[256]) {
  struct rig_client *c = rig_client(r, 0, identity);
  struct msg m = {.type = MSG_DISCONNECT};
  int err;
  for (int i = 0; i < 100 && !c->open && !c->closed; i++) rig_run(r, NS_MS);
  if (c->open) {
    rig_connect(c, RIG_EXT, "test", token);
    for (int i = 0; i < 100 && !c->counts[MSG_PONG] && !c->closed; i++) rig_run(r, NS_MS);
    if (c->counts[MSG_PONG]) rig_send(c, &m);
  }
  err = rig_closed(c);
  snprintf(ret_text, 256, "%s", c->why_text);
  rig_kill(c);
  return c->counts[MSG_PONG] ? 0 : err;
}

/* A key that is known and comes again and again is told so, before it is judged, and another is not concerned. Keys that are
 * not known are as many as somebody likes, so it is their address that has had enough. */
static void test_hasty(void **state) {
  struct rig r;
  struct quic_identity *known;
  char yaml[512], hex[ID_HEX_LEN + 1], text[256];
  int in = 0, err = 0;
  (void)state;
  assert_int_equal(quic_identity_generate(&known), 0);
  id_hex(quic_identity_id(known), hex);
  snprintf(yaml, sizeof yaml, "grants: {all: {%s}}\nkeys: {%s: all}\ntokens: [{token: %s, grant: all}]\n", ACCESS_ALL, hex,
           ACCESS_TOKEN);
  rig_start(&r, &(struct rig_options){.access = yaml, .link = &(struct sim_link){.delay = NS_MS / 2}});
  while (in < 200 && !(err = come_and_go(&r, NULL, known, text))) in++;
  assert_in_range(in, 100, 130);
  assert_int_equal(err, MACULA_RATE_LIMITED);
  says(slice_str(text), "this identity makes connections without end");
  assert_int_equal(rig_metric(&r, "identities_hasty_total"), 1);
  rig_run(&r, 5 * NS_SEC);
  assert_int_equal(come_and_go(&r, NULL, known, text), 0);
  for (in = 0; in < 400 && !(err = come_and_go(&r, ACCESS_TOKEN, NULL, text)); in++) continue;
  assert_in_range(in, 240, 330);
  assert_int_equal(err, MACULA_RATE_LIMITED);
  assert_true(rig_metric(&r, "quic_refused_rate_total") > 0);
  assert_int_equal(rig_metric(&r, "identities_hasty_total"), 1);
  rig_run(&r, NS_SEC);
  assert_int_equal(come_and_go(&r, ACCESS_TOKEN, NULL, text), 0);
  quic_identity_unref(known);
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_connections), cmocka_unit_test(test_subscriptions),
                                     cmocka_unit_test(test_services),    cmocka_unit_test(test_calls),
                                     cmocka_unit_test(test_retained),    cmocka_unit_test(test_retained_share),
                                     cmocka_unit_test(test_messages),    cmocka_unit_test(test_streams),
                                     cmocka_unit_test(test_defaults),    cmocka_unit_test(test_hasty)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
