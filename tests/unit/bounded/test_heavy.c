/* The names of which there is most to count, against all names counted; and the events that stand for others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "bounded/heavy.h"
#include "bounded/thin.h"

#define NAMES 5000

struct world {
  struct mem mem;
  struct rng_seeded dice;
  struct heavy h;
};

static void begin(struct world *w, size_t most) {
  memset(w, 0, sizeof *w);
  w->mem.limit = most;
  rng_seeded_init(&w->dice, 7);
  heavy_init(&w->h, &w->mem, rng_seeded_view(&w->dice));
}

static void end(struct world *w) {
  assert_null(heavy_check(&w->h));
  assert_int_equal(heavy_owned(&w->h), w->mem.bytes);
  heavy_done(&w->h);
  assert_int_equal(w->mem.bytes, 0);
}

static struct heavy_entry *count(struct world *w, unsigned name, nanotime now) {
  char text[16];
  snprintf(text, sizeof text, "n.%u", name);
  struct heavy_entry *e = heavy_find(&w->h, slice_str(text), 1, now);
  if (e) heavy_add(e, HEAVY_MESSAGES, 1, now);
  return e;
}

/* Name k comes with a probability like 1 / (k + 1): whatever makes more than one in HEAVY_MAX of all is there. */
static void test_the_heaviest_are_there(void **state) {
  static unsigned all[NAMES];
  struct world w;
  unsigned total = 200000;
  (void)state;
  begin(&w, 1 << 20);
  struct rng dice = rng_seeded_view(&w.dice);
  for (unsigned i = 0; i < total; i++) {
    unsigned k = (unsigned)rng_below(dice, rng_below(dice, NAMES) + 1);
    all[k]++;
    assert_non_null(count(&w, k, NS_SEC));
    if (i % 10000 == 0) assert_null(heavy_check(&w.h));
  }
  assert_int_equal(w.h.tab.count, HEAVY_MAX);
  assert_true(w.h.replaced > 0);
  for (unsigned k = 0; k < NAMES; k++) {
    char text[16];
    snprintf(text, sizeof text, "n.%u", k);
    const struct heavy_entry *e = heavy_has(&w.h, slice_str(text));
    if (all[k] > total / HEAVY_MAX) assert_non_null(e);
    if (e) assert_true(e->count[HEAVY_MESSAGES] <= all[k] && e->rank + 0.5 >= all[k]);
  }
  end(&w);
}

/* What was much long ago makes room for what is some now. */
static void test_the_past_makes_room(void **state) {
  struct world w;
  (void)state;
  begin(&w, 1 << 20);
  for (unsigned k = 0; k < HEAVY_MAX; k++)
    for (int i = 0; i < 100; i++) (void)count(&w, k, NS_SEC);
  nanotime later = 10 * HEAVY_HALF;
  for (int i = 0; i < 3; i++)
    for (unsigned k = 1000; k < 1000 + HEAVY_MAX; k++) (void)count(&w, k, later);
  for (unsigned k = 1000; k < 1000 + HEAVY_MAX; k++) assert_int_equal(count(&w, k, later)->count[HEAVY_MESSAGES], 4);
  (void)count(&w, 1, 1000 * HEAVY_HALF);
  end(&w);
}

static void test_rates(void **state) {
  struct world w;
  struct heavy_entry *e = NULL;
  nanotime now = NS_SEC;
  (void)state;
  begin(&w, 1 << 20);
  for (int i = 0; i < 1000; i++, now += 10 * NS_MS) e = count(&w, 1, now); /* 100 a second, for 10 s */
  double r = heavy_per_s(e, HEAVY_MESSAGES, now);
  assert_true(r > 95 && r < 105);
  r = heavy_per_s(e, HEAVY_MESSAGES, now + 2500 * NS_MS);
  assert_true(r > 40 && r < 80);
  assert_true(heavy_per_s(e, HEAVY_MESSAGES, now + 20 * NS_SEC) == 0);
  assert_true(heavy_per_s(e, HEAVY_DROPPED, now) == 0);
  e = count(&w, 2, now); /* the first of its name: it is no more than one a second */
  r = heavy_per_s(e, HEAVY_MESSAGES, now);
  assert_true(r > 0.5 && r <= 1);
  end(&w);
}

static void test_no_memory(void **state) {
  struct world w;
  char longest[HEAVY_NAME + 2];
  (void)state;
  memset(longest, 'x', sizeof longest);
  for (size_t most = 0; most < 40000; most += 500) {
    begin(&w, most ? most : 1);
    for (unsigned k = 0; k < 2 * HEAVY_MAX; k++) (void)count(&w, k, NS_SEC);
    end(&w);
  }
  begin(&w, 1 << 20);
  assert_non_null(heavy_find(&w.h, slice_of(longest, HEAVY_NAME), 1, 1));
  assert_null(heavy_find(&w.h, slice_of(longest, HEAVY_NAME + 1), 1, 1));
  end(&w);
}

/* The sum is right whatever the pace, and few are looked at where many come. */
static void test_few_stand_for_many(void **state) {
  struct thin t = {.random = 1};
  nanotime now = NS_SEC;
  uint64_t all = 0, sum = 0, looked = 0;
  (void)state;
  for (int i = 0; i < 100; i++, all++, now += 100 * NS_MS) assert_int_equal(thin_take(&t, now), 1);
  sum = all;
  for (int i = 0; i < 1000000; i++, all++, now += NS_US) { /* a million a second */
    uint32_t k = thin_take(&t, now);
    sum += k;
    looked += k != 0;
  }
  assert_true(sum <= all && all - sum < 2 * THIN_STRIDE_FAST);
  assert_in_range(looked, 1000000 / (2 * THIN_STRIDE_FAST), 1000000 / THIN_STRIDE_FAST * 2 + 4 * THIN_EXACT);
  now += NS_SEC; /* the next one that comes counts those that were passed over, too */
  sum += thin_take(&t, now);
  assert_int_equal(sum, all + 1);
  assert_int_equal(thin_take(&t, now), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_heaviest_are_there), cmocka_unit_test(test_the_past_makes_room),
                                     cmocka_unit_test(test_rates), cmocka_unit_test(test_no_memory),
                                     cmocka_unit_test(test_few_stand_for_many)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
