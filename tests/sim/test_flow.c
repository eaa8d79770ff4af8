/* Publishers that are faster than those who read: nothing is lost to who keeps up, and nobody pays more than a stated part for
 * who does not. */
#include <inttypes.h>

#include "flow_rig.h"
#include "node/session/session.h"

struct flow_rig {
  struct rig rig;
  struct readers flow;
};

static void start(struct flow_rig *f, const struct node_limits *limits) {
  struct rig_options o = {0};
  if (limits) o.node.limits = *limits;
  rig_start(&f->rig, &o);
  flow_init(&f->flow, f->rig.net);
  f->flow.whole = true;
}

static struct rig_client *reader(struct flow_rig *f, const char *topic) {
  struct rig_client *c = rig_join(&f->rig, 0, NULL, STREAMS);
  assert_int_equal(rig_subscribe(c, topic), 0);
  return c;
}

static void no_loss(struct flow_rig *f) { assert_int_equal(rig_metric(&f->rig, "messages_dropped_total"), 0); }

/* The NOTICEs `dropped` that a client got, added up. */
static uint64_t told(struct rig_client *c) {
  uint64_t count = 0;
  for (size_t i = 0; i < c->kept_count; i++) {
    struct msg m;
    if (c->kept[i].type != MSG_NOTICE) continue;
    assert_int_equal(msg_decode(MSG_NOTICE, slice_of(c->kept[i].payload, c->kept[i].len), &m), 0);
    if (slice_is(m.notice.code, "dropped")) count += m.notice.count;
  }
  return count;
}

/* ---- between ends that keep up -------------------------------------------------------------------------------------------
 */
static void test_flat_out(void **state) {
  struct flow_rig f;
  (void)state;
  start(&f, NULL);
  struct rig_client *p = rig_join(&f.rig, 0, NULL, STREAMS), *a = reader(&f, "t"), *b = reader(&f, "t");
  flood(&f.flow, p, "t", 40000);
  (void)until(&f.flow, a, MSG_PUBLISH, 40000, 60 * NS_SEC);
  (void)until(&f.flow, b, MSG_PUBLISH, 40000, 60 * NS_SEC);
  no_loss(&f);
  rig_run(&f.rig, NS_SEC);
  assert_int_equal(rig_metric(&f.rig, "publishers_waiting"), 0);
  assert_int_equal(rig_metric(&f.rig, "memory_bytes{table=\"flow\"}"), 0);
  rig_stop(&f.rig);
}

/* The reader alone decides how fast it goes, be it by a tenth of what the publisher could. */
static void test_alone(void **state) {
  struct flow_rig f;
  (void)state;
  start(&f, NULL);
  struct rig_client *p = rig_join(&f.rig, 0, NULL, STREAMS), *a = reader(&f, "t");
  slow_down(&f.flow, a, 1 << 20);
  flood(&f.flow, p, "t", 40000);
  assert_true(until(&f.flow, a, MSG_PUBLISH, 40000, 100 * NS_SEC) > 30 * NS_SEC);
  no_loss(&f);
  assert_true(rig_metric(&f.rig, "publishers_held_total") > 0);
  assert_true(rig_metric(&f.rig, "memory_peak_bytes{table=\"send_queues\"}") < 20 << 20);
  rig_stop(&f.rig);
}

/* By CONNECT's stream, as base-only clients do, and to such a one. */
static void test_base_only(void **state) {
  struct flow_rig f;
  (void)state;
  start(&f, NULL);
  struct rig_client *p = rig_join(&f.rig, 0, NULL, RIG_BASE), *a = rig_join(&f.rig, 0, NULL, RIG_BASE);
  struct slice t = slice_str("t");
  struct msg sub = {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &t}}};
  struct msg m = {.type = MSG_PUBLISH, .publish = {.topic = t, .payload = slice_str(f.flow.text)}}, ping = {.type = MSG_PING};
  rig_send(a, &sub);
  rig_run(&f.rig, 100 * NS_MS);
  for (int i = 0; i < 20000; i++) rig_send(p, &m);
  rig_send(p, &ping);
  (void)until(&f.flow, a, MSG_PUBLISH, 20000, 60 * NS_SEC);
  (void)rig_expect(p, MSG_PONG);
  no_loss(&f);
  rig_stop(&f.rig);
}

/* Two that publish to each other, and one to itself. */
static void test_both_ways(void **state) {
  struct flow_rig f;
  (void)state;
  start(&f, NULL);
  struct rig_client *a = reader(&f, "a"), *b = reader(&f, "b");
  flood(&f.flow, a, "b", 20000);
  flood(&f.flow, b, "a", 20000);
  (void)until(&f.flow, a, MSG_PUBLISH, 20000, 60 * NS_SEC);
  (void)until(&f.flow, b, MSG_PUBLISH, 20000, 60 * NS_SEC);
  no_loss(&f);
  /* neither reads while it publishes: they do not wait for each other for long */
  struct rig_client *other = reader(&f, "other");
  slow_down(&f.flow, a, 0);
  slow_down(&f.flow, b, 0);
  flood(&f.flow, a, "b", 30000);
  flood(&f.flow, b, "a", 30000);
  publish(a, "other", "last", 0, 0);
  publish(b, "other", "last", 0, 0);
  (void)until(&f.flow, other, MSG_PUBLISH, 2, 10 * NS_SEC);
  rig_stop(&f.rig);
}

static void test_itself(void **state) {
  struct flow_rig f;
  (void)state;
  start(&f, NULL);
  struct rig_client *a = rig_join(&f.rig, 0, NULL, STREAMS), *other = reader(&f, "t");
  struct slice t = slice_str("t");
  struct msg sub = {.type = MSG_SUBSCRIBE,
                    .subscribe = {.topics = {.count = 1, .items = &t}, .own = true, .ref = 1, .has_ref = true}};
  rig_send(a, &sub);
  (void)rig_expect(a, MSG_ACK);
  slow_down(&f.flow, a, 1 << 20);
  flood(&f.flow, a, "t", 20000);
  assert_true(until(&f.flow, other, MSG_PUBLISH, 20000, 20 * NS_SEC) < 5 * NS_SEC);
  assert_in_range(rig_metric(&f.rig, "messages_dropped_total"), 1, 20000);
  rig_stop(&f.rig);
}

/* ---- beside those who do not ------------------------------------------------------------------------------------------------
 */
/* How long a healthy reader takes for as many, beside so many that read at this rate. */
static nanotime beside(int others, size_t rate, uint64_t *ret_lost) {
  struct flow_rig f;
  start(&f, NULL);
  struct rig_client *p = rig_join(&f.rig, 0, NULL, STREAMS), *good = reader(&f, "t"), *bad[MOST];
  slow_down(&f.flow, good, 4 << 20);
  for (int i = 0; i < others; i++) {
    bad[i] = reader(&f, "t");
    slow_down(&f.flow, bad[i], rate);
  }
  flood(&f.flow, p, "t", 60000);
  nanotime took = until(&f.flow, good, MSG_PUBLISH, 60000, 200 * NS_SEC);
  *ret_lost = rig_metric(&f.rig, "messages_dropped_total");
  rig_run(&f.rig, 2 * NS_SEC);
  for (int i = 0; i < others; i++) {
    struct slow *s = &f.flow.slow[1 + i];
    s->rate = 64 << 20;
    assert_false(bad[i]->closed);
  }
  (void)run(&f.flow, 20 * NS_SEC, NULL, NULL);
  uint64_t got = 0;
  *ret_lost = rig_metric(&f.rig, "messages_dropped_total");
  for (int i = 0; i < others; i++) {
    assert_true(bad[i]->counts[MSG_NOTICE] > 0);
    if (bad[i]->kept_count < RIG_KEPT) assert_int_equal(bad[i]->counts[MSG_PUBLISH] + told(bad[i]), 60000);
    got += bad[i]->counts[MSG_PUBLISH];
  }
  assert_int_equal(got + *ret_lost, (uint64_t)others * 60000);
  assert_int_equal(told(good), 0);
  rig_stop(&f.rig);
  return took;
}

static void test_stopped(void **state) {
  uint64_t lost;
  (void)state;
  nanotime alone = beside(0, 0, &lost);
  assert_int_equal(lost, 0);
  nanotime with = beside(1, 0, &lost);
  assert_true(lost > 0);
  printf("alone %.2f s, beside a stopped one %.2f s\n", (double)alone / (double)NS_SEC, (double)with / (double)NS_SEC);
  assert_true(with <= alone + alone / 10 + NS_SEC);
}

static void test_slow_together(void **state) {
  uint64_t lost;
  (void)state;
  nanotime alone = beside(0, 0, &lost), with = beside(10, 600 << 10, &lost);
  assert_true(lost > 0);
  printf("alone %.2f s, beside ten slow ones %.2f s\n", (double)alone / (double)NS_SEC, (double)with / (double)NS_SEC);
  assert_true(with <= alone + alone / 10 + NS_SEC);
}

/* A reader that comes anew each second is the same one to the accounts. The good one reads more slowly than the publisher
 * writes, too, so that beside one that has just come it may lose a little. */
static void test_comes_anew(void **state) {
  struct flow_rig f;
  (void)state;
  start(&f, NULL);
  struct rig_client *p = rig_join(&f.rig, 0, NULL, STREAMS), *good = reader(&f, "t"), *bad = NULL;
  slow_down(&f.flow, good, 4 << 20);
  flood(&f.flow, p, "t", 60000);
  struct goal g = {good, MSG_PUBLISH, 60000};
  struct quic_identity *who;
  assert_int_equal(quic_identity_generate(&who), 0);
  nanotime took = 0;
  for (uint64_t before = UINT64_MAX; good->counts[MSG_PUBLISH] != before && !got_all(&g);) {
    before = good->counts[MSG_PUBLISH];
    if (bad) rig_kill(bad);
    bad = rig_join(&f.rig, 0, who, STREAMS);
    assert_int_equal(rig_subscribe(bad, "t"), 0);
    f.flow.slow_count = 1;
    slow_down(&f.flow, bad, 600 << 10);
    nanotime passed = run(&f.flow, NS_SEC, got_all, &g);
    if (good->counts[MSG_PUBLISH] != before) took += passed;
  }
  printf("beside one that comes anew %.2f s, %" PRIu64 " of 60000\n", (double)took / (double)NS_SEC, good->counts[MSG_PUBLISH]);
  assert_true(good->counts[MSG_PUBLISH] >= 54000);
  assert_true(took <= 18 * NS_SEC);
  quic_identity_unref(who);
  rig_stop(&f.rig);
}

/* ---- QoS 1 -----------------------------------------------------------------------------------------------------------------
 */
/* Alone, a reader may take as long as it moves, and each publish is acknowledged in the end. */
static void test_qos1_alone(void **state) {
  struct flow_rig f;
  (void)state;
  start(&f, NULL);
  struct rig_client *p = rig_join(&f.rig, 0, NULL, STREAMS), *a = reader(&f, "t");
  slow_down(&f.flow, a, 50 << 10);
  for (uint64_t i = 1; i <= 3000; i++) publish(p, "t", f.flow.text, 1, i);
  assert_true(until(&f.flow, a, MSG_PUBLISH, 3000, 100 * NS_SEC) > 40 * NS_SEC);
  rig_run(&f.rig, NS_SEC);
  assert_int_equal(p->counts[MSG_ACK], 3000);
  no_loss(&f);
  rig_stop(&f.rig);
}

/* However long a publish waits, its publisher hears something every few seconds. */
static void test_signs_of_life(void **state) {
  struct flow_rig f;
  char *large = malloc(900001);
  (void)state;
  memset(large, 'x', 900000);
  large[900000] = 0;
  start(&f, &(struct node_limits){.send_pool = 16 << 20});
  struct rig_client *p = rig_join(&f.rig, 0, NULL, STREAMS), *a = reader(&f, "t");
  slow_down(&f.flow, a, 50 << 10);
  for (uint64_t i = 1; i <= 5; i++) publish(p, "t", large, 1, i);
  struct goal g = {a, MSG_PUBLISH, 5};
  nanotime longest = 0;
  while (!got_all(&g)) {
    (void)run(&f.flow, 100 * NS_MS, NULL, NULL);
    nanotime heard = quic_stream_credited(p->conn, p->publishes), acked = quic_stream_progress(p->conn, p->publishes);
    nanotime silent = time_since(sim_net_now(f.rig.net), acked > heard ? acked : heard);
    if (p->counts[MSG_ACK] < 5 && silent > longest) longest = silent;
  }
  assert_in_range(longest, NS_SEC, 4 * NS_SEC);
  assert_true(sim_net_now(f.rig.net) > 60 * NS_SEC);
  assert_int_equal(p->counts[MSG_ACK], 5);
  no_loss(&f);
  free(large);
  rig_stop(&f.rig);
}

/* Beside others it has five seconds, and the publisher is told. */
static void test_qos1_beside(void **state) {
  struct flow_rig f;
  (void)state;
  start(&f, NULL);
  struct rig_client *p = rig_join(&f.rig, 0, NULL, STREAMS), *good = reader(&f, "t"), *bad = reader(&f, "t");
  slow_down(&f.flow, bad, 500 << 10);
  for (uint64_t i = 1; i <= 30000; i++) publish(p, "t", f.flow.text, 1, i);
  nanotime took = until(&f.flow, good, MSG_PUBLISH, 30000, 100 * NS_SEC);
  assert_in_range(took, 5 * NS_SEC, 40 * NS_SEC);
  rig_run(&f.rig, NS_SEC);
  assert_int_equal(rig_closed(bad), MACULA_SLOW_CONSUMER);
  assert_int_equal(p->counts[MSG_ACK], 30000);
  rig_stop(&f.rig);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_flat_out),      cmocka_unit_test(test_alone),         cmocka_unit_test(test_base_only),
      cmocka_unit_test(test_both_ways),     cmocka_unit_test(test_itself),        cmocka_unit_test(test_stopped),
      cmocka_unit_test(test_slow_together), cmocka_unit_test(test_comes_anew),    cmocka_unit_test(test_qos1_alone),
      cmocka_unit_test(test_qos1_beside),   cmocka_unit_test(test_signs_of_life),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
