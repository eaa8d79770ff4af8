/* The last hour of a node: what its samples say, how many there are, and that there is never more of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/state.h"
#include "node/view/history.h"
#include "node_rig.h"
#include "unit/broken.h"

static uint64_t longest; /* ns, of the turns since it was last asked */
static uint64_t take_longest(void *ctx) {
  uint64_t ns = longest;
  (void)ctx;
  longest = 0;
  return ns;
}

static void start(struct rig *r) {
  struct rig_options o = {.node.process.longest_turn = take_longest, .node.unix_base_ms = 1700000000000};
  rig_start(r, &o);
}

static json_t *seen(struct rig *r, const char *what) {
  char *text;
  assert_int_equal(node_render(r->node, what, 0, 0, sim_net_now(r->net), &text), 0);
  json_t *j = json_loads(text, 0, NULL);
  assert_non_null(j);
  node_text_free(text);
  return j;
}

static size_t times(const json_t *j) { return json_array_size(json_object_get(j, "times")); }

/* Of the i-th sample, counted from the last one. */
static json_t *value(const json_t *j, const char *series, size_t i) {
  const json_t *all = json_object_get(json_object_get(j, "series"), series);
  assert_int_equal(json_array_size(all), times(j));
  return json_array_get(all, times(j) - 1 - i);
}
static double number(const json_t *j, const char *series, size_t i) {
  json_t *v = value(j, series, i);
  assert_true(json_is_number(v));
  return json_number_value(v);
}

/* A second, and its sample. */
static void second(struct rig *r) {
  rig_run(r, NS_SEC);
  node_sample(r->node, sim_net_now(r->net));
}

static void test_rates(void **state) {
  struct rig r;
  (void)state;
  start(&r);
  json_t *j = seen(&r, "history");
  assert_int_equal(times(j), 0); /* nothing was sampled */
  json_decref(j);
  struct rig_client *c = rig_join(&r, 0, NULL, RIG_EXT), *sub = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_subscribe(sub, "a"), 0);
  node_sample(r.node, sim_net_now(r.net));
  j = seen(&r, "history_minute");
  assert_int_equal(times(j), 0); /* the first one is where the next one begins */
  json_decref(j);
  for (int i = 0; i < 20; i++) {
    for (int k = 0; k < (i == 3 ? 50 : 5); k++) rig_publish_only(c, "a", slice_str("x"), 0);
    if (i == 4) longest = 7 * NS_MS;
    second(&r);
  }
  j = seen(&r, "history_minute");
  assert_int_equal(json_integer_value(json_object_get(j, "step_s")), 1);
  assert_int_equal(times(j), 20);
  json_int_t first = json_integer_value(json_array_get(json_object_get(j, "times"), 0)),
             last = json_integer_value(json_array_get(json_object_get(j, "times"), 19));
  assert_true(first > 1700000000 && last == first + 19);
  assert_true(number(j, "published", 0) == 5 && number(j, "delivered", 0) == 5);
  assert_true(number(j, "published", 16) == 50);
  assert_true(number(j, "clients", 0) == 2 && number(j, "clients_quic", 0) == 2 && number(j, "clients_mqtt", 0) == 0 &&
              number(j, "subscriptions", 0) == 1 && number(j, "turn_longest_us", 0) == 0);
  assert_true(number(j, "turn_longest_us", 15) == 7000);
  assert_true(number(j, "memory.connections", 0) > 2 * 8192 && number(j, "accounted_bytes", 0) > 0);
  assert_true(json_is_null(value(j, "call_p99_us", 0)));
  json_decref(j);
  j = seen(&r, "history");
  assert_int_equal(times(j), 2);
  assert_true(number(j, "published", 0) == 5 && number(j, "published", 1) == 9.5);
  assert_true(number(j, "turn_longest_us", 0) == 0 && number(j, "turn_longest_us", 1) == 7000); /* the most in its 10 s */
  json_decref(j);
  rig_stop(&r);
}

static void test_calls(void **state) {
  struct rig r;
  (void)state;
  start(&r);
  struct rig_client *c = rig_join(&r, 0, NULL, RIG_EXT), *server = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_register(server, "p"), 0);
  node_sample(r.node, sim_net_now(r.net));
  for (int i = 0; i < 10; i++) {
    rig_call(c, "p", "{}", (uint64_t)i + 1, 20000);
    struct msg m = rig_expect(server, MSG_CALL);
    uint8_t id[CALL_ID_LEN];
    memcpy(id, m.call.call_id.p, sizeof id);
    if (i == 9) rig_run(&r, 3 * NS_SEC);
    rig_reply(server, slice_of(id, sizeof id), "1");
    rig_expect(c, MSG_REPLY);
  }
  rig_call(c, "none", "{}", 99, 1000);
  rig_expect(c, MSG_REPLY);
  second(&r);
  json_t *j = seen(&r, "history_minute");
  double p50 = number(j, "call_p50_us", 0), p99 = number(j, "call_p99_us", 0);
  assert_true(p50 < 500000 && p99 > 3000000 && p99 < 3700000); /* within an eighth, and the way */
  assert_true(number(j, "calls_failed", 0) > 0 && number(j, "calls", 0) > 0);
  json_decref(j);
  rig_stop(&r);
}

/* Two hours, with a stop of 90 s in between: the rings are full, in order, and the oldest is an hour old. */
static void test_bounded(void **state) {
  struct rig r;
  (void)state;
  start(&r);
  nanotime now = sim_net_now(r.net);
  node_sample(r.node, now);
  size_t bytes = r.node->rows.mem[ROW_HISTORY].bytes;
  assert_true(bytes > 0 && bytes <= r.node->rows.mem[ROW_HISTORY].limit);
  for (int i = 0; i < 7200; i++) {
    now += i == 7000 ? 90 * NS_SEC : NS_SEC;
    node_sample(r.node, now);
    assert_null(history_check(r.node->history));
  }
  assert_int_equal(r.node->rows.mem[ROW_HISTORY].bytes, bytes);
  json_t *minute = seen(&r, "history_minute"), *hour = seen(&r, "history"), *at = json_object_get(hour, "times");
  assert_true(times(minute) == HISTORY_MINUTE && times(hour) == HISTORY_HOUR);
  json_int_t oldest = json_integer_value(json_array_get(at, 0)),
             newest = json_integer_value(json_array_get(at, HISTORY_HOUR - 1));
  assert_in_range(newest - oldest, 3590, 3700);
  for (size_t i = 1; i < HISTORY_HOUR; i++) {
    json_int_t step = json_integer_value(json_array_get(at, i)) - json_integer_value(json_array_get(at, i - 1));
    assert_true(step == 10 || (step >= 90 && step < 100));
  }
  json_decref(minute);
  json_decref(hour);
  node_sample(r.node, now); /* no time has passed */
  assert_null(history_check(r.node->history));
  rig_stop(&r);
}

/* The longest text that there can be is within what was asked for. */
static void test_largest(void **state) {
  struct rig r;
  (void)state;
  start(&r);
  node_sample(r.node, sim_net_now(r.net));
  struct history *h = r.node->history;
  for (uint64_t i = 0; i < HISTORY_HOUR; i++) {
    struct history_sample *s = &h->hour[i];
    s->at = sim_net_now(r.net) + i;
    s->ms = i % 2 ? 1 : UINT32_MAX - 1;
    for (int k = 0; k < HISTORY_SERIES; k++) s->v[k] = UINT32_MAX - 1;
  }
  h->spans[1].taken = HISTORY_HOUR;
  h->spans[1].at = h->hour[HISTORY_HOUR - 1].at;
  json_t *j = seen(&r, "history");
  assert_int_equal(times(j), HISTORY_HOUR);
  assert_int_equal(json_object_size(json_object_get(j, "series")), HISTORY_SERIES);
  json_decref(j);
  rig_stop(&r);
}

/* Who may see it, as status; and without memory it is begun later. */
static void test_asked(void **state) {
  struct rig r;
  (void)state;
  start(&r);
  r.node->rows.mem[ROW_HISTORY].limit = 1;
  node_sample(r.node, sim_net_now(r.net));
  assert_null(r.node->history);
  r.node->rows.mem[ROW_HISTORY].limit = plan_row_of(&r.node->limits, ROW_HISTORY).beside;
  struct rig_client *c = rig_join(&r, 0, NULL, RIG_EXT);
  node_sample(r.node, sim_net_now(r.net));
  second(&r);
  struct msg_reply m = rig_ask(c, "com.macula.node.history_minute", "{}");
  assert_true(!m.is_error && memmem(m.result.p, m.result.n, "\"clients\":[1]", 13));
  rig_stop(&r);
}

static void test_breaks(void **state) {
  struct rig r;
  (void)state;
  start(&r);
  node_sample(r.node, sim_net_now(r.net));
  for (int i = 0; i < 3; i++) second(&r);
  struct history *h = r.node->history;
  BREAKS(h->spans[0].at, h->spans[0].at + 1, history_check(h),
         "history: the last sample was not taken when the next one began");
  BREAKS(h->minute[1].at, h->minute[2].at, history_check(h), "history: two samples are not in order");
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_rates),   cmocka_unit_test(test_calls),
                                     cmocka_unit_test(test_bounded), cmocka_unit_test(test_largest),
                                     cmocka_unit_test(test_asked),   cmocka_unit_test(test_breaks)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
