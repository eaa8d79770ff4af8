/* Who keeps up, and accounts of waiting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "node/flow/budget.h"
#include "node/flow/keep.h"

#define MS(n) ((n)*NS_MS)

/* A reader whose queue never empties and that acknowledges `step` bytes every `every` ns: whether it keeps up all the time from
 * one second on, or at no time. */
static int keeps(size_t step, nanotime every, struct keep_now now) {
  struct keep k = {0};
  int yes = 0, no = 0;
  now.total = now.acked = UINT32_MAX - 1000; /* counts are modulo 2^32 */
  now.total += 8 << 20;
  for (nanotime t = NS_SEC, next = t; t < 20 * NS_SEC; t += MS(1)) {
    now.clock = t;
    if (t >= next) {
      now.acked += (uint32_t)step;
      now.total += (uint32_t)step;
      next += every;
    }
    keep_note(&k, &now);
    if (t < 3 * NS_SEC) continue;
    yes += keep_holds(&k, &now);
    no += !keep_holds(&k, &now);
  }
  return !no ? 1 : !yes ? 0 : -1;
}

static void test_rates(void **state) {
  struct keep_now near = {.rtt = MS(1), .allowed = 1 << 20}, far = {.rtt = MS(300), .allowed = 20000};
  (void)state;
  assert_int_equal(keeps(4000, MS(10), near), 1);        /* 400 KB/s */
  assert_int_equal(keeps(64 << 10, MS(200), near), 1);   /* exactly */
  assert_int_equal(keeps(512 << 10, MS(1000), near), 1); /* large steps of credit */
  assert_int_equal(keeps(1, MS(199), near), 0);
  assert_int_equal(keeps(2000, MS(10), near), 0); /* 200 KB/s */
  assert_int_equal(keeps(0, MS(10), near), 0);
  /* a long path: what congestion control allows is enough, 20,000 bytes every 300 ms */
  assert_int_equal(keeps(20000, MS(300), far), 1);
  assert_int_equal(keeps(2000, MS(300), far), 0);
}

/* It stops: known after the window, and not before. */
static void test_stops(void **state) {
  struct keep k = {0};
  struct keep_now now = {.rtt = MS(1), .allowed = 1 << 20, .total = 1000000};
  nanotime t = NS_SEC;
  (void)state;
  for (; t < NS_SEC + MS(190); t += MS(1)) {
    now.clock = t;
    keep_note(&k, &now);
    assert_true(keep_holds(&k, &now)); /* it was empty until now */
  }
  for (; keep_holds(&k, &now) && t < 2 * NS_SEC; t += MS(1)) {
    now.clock = t;
    keep_note(&k, &now);
  }
  assert_in_range(t, NS_SEC + MS(200), NS_SEC + MS(310));
  /* the clock stands still while the node does: nothing is held against it */
  now.acked = 500000;
  keep_note(&k, &now);
  assert_true(keep_holds(&k, &now));
  keep_emptied(&k);
  assert_true(keep_holds(&k, &now));
}

/* A trickle that is never all acknowledged, and then a burst that fills the queue at once. */
static void test_trickle(void **state) {
  struct keep k = {0};
  struct keep_now now = {.rtt = MS(10), .allowed = 1 << 20};
  (void)state;
  for (int i = 1; i < 100; i++) {
    now.clock = NS_SEC + MS(50) * (nanotime)i;
    now.total += 1000;
    now.acked = now.total - 1000;
    keep_note(&k, &now);
    assert_true(keep_holds(&k, &now));
  }
  now.total += 2000000;
  keep_note(&k, &now);
  assert_true(keep_holds(&k, &now));
}

static void test_budget(void **state) {
  struct budget b = {0};
  nanotime t = NS_SEC;
  (void)state;
  assert_true(budget_left(&b, BUDGET_KIND_QOS0, false, t) == 1);
  assert_true(budget_left(&b, BUDGET_KIND_QOS1, false, t) == 5);
  assert_true(budget_left(&b, BUDGET_KIND_WAIT, false, t) == 5);
  assert_true(budget_left(&b, BUDGET_KIND_QOS0, true, t) == 2);
  assert_true(budget_left(&b, BUDGET_KIND_QOS1, true, t) == 6);
  /* two that wait at the same time */
  budget_charge(&b, BUDGET_KIND_QOS0, t, t + MS(500));
  budget_charge(&b, BUDGET_KIND_QOS0, t, t + MS(500));
  double left = budget_left(&b, BUDGET_KIND_QOS0, false, t + MS(500));
  assert_true(left > 0.49 && left < 0.56);
  /* always waiting, if it may: a tenth of the time, and a second */
  for (int kind = BUDGET_KIND_QOS0; kind <= BUDGET_KIND_QOS1; kind++) {
    struct budget c = {0};
    double waited = 0, most = kind == BUDGET_KIND_QOS0   ? 0.1 * 100 + 1
                              : kind == BUDGET_KIND_WAIT ? 0.5 * 100 + 5
                                                         : 0.1 * 100 + 5;
    for (nanotime at = NS_SEC; at < 101 * NS_SEC; at += MS(10)) {
      if (budget_left(&c, (enum budget_kind)kind, false, at) <= 0) continue;
      budget_charge(&c, (enum budget_kind)kind, at, at + MS(10));
      waited += 0.01;
    }
    assert_true(waited <= most + 0.1 && waited >= most - 1);
  }
}

/* What slow ones use up all the time leaves a second for bursts, and all together wait a tenth of the time. */
static void test_kept(void **state) {
  struct budget b = {0};
  double waited = 0, kept = 0;
  (void)state;
  for (nanotime at = NS_SEC; at < 101 * NS_SEC; at += MS(10)) {
    bool slow = budget_left(&b, BUDGET_KIND_QOS0, false, at) > 0;
    bool burst = at > 50 * NS_SEC && budget_left(&b, BUDGET_KIND_QOS0, true, at) > 0;
    if (at == 50 * NS_SEC) assert_true(budget_left(&b, BUDGET_KIND_QOS0, true, at) > 0.9);
    if (!slow && !burst) continue;
    budget_charge(&b, BUDGET_KIND_QOS0, at, at + MS(10));
    waited += 0.01;
    kept += slow ? 0 : 0.01;
  }
  assert_true(kept > 0.9);
  assert_true(waited <= 0.1 * 100 + 2 + 0.1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rates),  cmocka_unit_test(test_stops), cmocka_unit_test(test_trickle),
      cmocka_unit_test(test_budget), cmocka_unit_test(test_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
