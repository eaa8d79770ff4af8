/* Whom a blocking function's end wakes: the loop one, each that wakes two more, and the loop again when all but one are awake.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "lib/wait.h"

enum { COUNT = 6 };

static bool is_awake(struct waiter *w) {
  int n;
  sem_getvalue(&w->awake, &n);
  return n > 0;
}

static unsigned count_awake(struct waiter *const w[COUNT]) {
  unsigned n = 0;
  for (int i = 0; i < COUNT; i++) n += is_awake(w[i]);
  return n;
}

static void end_all(struct waiters *ws, struct waiter *w[COUNT]) {
  waiters_init(ws);
  for (int i = 0; i < COUNT; i++) {
    assert_non_null(w[i] = waiter_new(false));
    waiter_end(w[i], ws, -i, "text");
  }
  assert_int_equal(count_awake(w), 0);
}

static void test_each_wakes_two(void **state) {
  struct waiters ws;
  struct waiter *w[COUNT];
  static const unsigned then[COUNT] = {2, 3, 3, 2, 1, 0};
  bool wake;
  (void)state;
  end_all(&ws, w);
  assert_true(waiters_release(&ws));
  assert_true(is_awake(w[0]));
  assert_int_equal(count_awake(w), 1);
  for (int i = 0; i < COUNT; i++) {
    assert_int_equal(waiters_wake_loop(&ws), i < COUNT - 1); /* one is waited for by nobody */
    assert_true(waiter_wait(w[i], &ws, TIME_NEVER, &wake));
    assert_int_equal(wake, i == COUNT - 2);
    assert_int_equal(count_awake(w), then[i]);
    assert_int_equal(w[i]->err, -i);
    assert_string_equal(w[i]->text, "text");
  }
  assert_false(waiters_release(&ws));
  for (int i = 0; i < COUNT; i++) waiter_unref(w[i]);
  waiters_done(&ws);
}

/* Who is woken and does not run holds nobody up for good: each turn of the loop wakes another. */
static void test_turns_wake_more(void **state) {
  struct waiters ws;
  struct waiter *w[COUNT];
  bool wake;
  (void)state;
  end_all(&ws, w);
  for (unsigned i = 1; i <= COUNT; i++) {
    assert_true(waiters_release(&ws));
    assert_int_equal(count_awake(w), i);
  }
  for (int i = 0; i < COUNT; i++) {
    assert_true(waiter_wait(w[i], &ws, TIME_NEVER, &wake));
    assert_false(wake);
    waiter_unref(w[i]);
  }
  waiters_done(&ws);
}

static void test_timed(void **state) {
  struct waiters ws;
  struct waiter *early = waiter_new(true), *late = waiter_new(true);
  bool wake;
  (void)state;
  waiters_init(&ws);
  waiter_end(early, &ws, 0, "");
  assert_true(is_awake(early));
  assert_true(waiter_wait(early, &ws, 0, &wake));
  assert_false(wake);
  assert_false(waiter_wait(late, &ws, 0, &wake));
  waiter_end(late, &ws, 0, ""); /* it gave up: nobody is owed anything */
  assert_false(waiters_release(&ws));
  assert_false(waiters_wake_loop(&ws));
  waiter_unref(early);
  waiter_unref(late);
  waiters_done(&ws);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_each_wakes_two),
      cmocka_unit_test(test_turns_wake_more),
      cmocka_unit_test(test_timed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
