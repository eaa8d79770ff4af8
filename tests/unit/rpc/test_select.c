#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "rpc/select.h"

static struct rng_seeded seeded;

#define N 5

struct fixture {
  struct mem mem;
  struct services services;
  struct service_owner o[N];
  struct service *s;
  bool silent;
  struct rng rng;
};

static void setup(struct fixture *f) {
  f->silent = false;
  f->mem = MEM_INIT("services", 0);
  rng_seeded_init(&seeded, 3);
  f->rng = rng_seeded_view(&seeded);
  services_init(&f->services, &f->mem, f->rng, 100, 100);
  for (uint8_t i = 0; i < N; i++) {
    struct id id = {{(uint8_t)(0x10 << i)}};
    service_owner_init(&f->o[i], 100u + i, &id, NULL);
    assert_int_equal(services_register(&f->services, &f->o[i], slice_str("x"), NS_SEC, 0), 0);
  }
  f->s = services_find(&f->services, slice_str("x"));
}

static int pick(struct fixture *f, enum strategy strategy, const struct id *near, const uint64_t *tried, size_t n) {
  struct provider *p = select_provider(f->s, strategy, near, tried, n, f->silent, f->rng);
  return p ? (int)(p->owner - f->o) : -1;
}

static const struct id zero;

static void every_strategy_excludes_the_tried(void **state) {
  (void)state;
  struct fixture f;
  setup(&f);
  static const enum strategy all[] = {STRATEGY_DEFAULT, STRATEGY_RANDOM,        STRATEGY_FIRST,  STRATEGY_ROUND_ROBIN,
                                      STRATEGY_CLOSEST, STRATEGY_LEAST_PENDING, STRATEGY_UNKNOWN};
  const uint64_t tried[] = {100, 102, 104, 101, 103};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    for (int j = 0; j < 50; j++) {
      int p = pick(&f, all[i], &zero, tried, 3);
      assert_true(p == 1 || p == 3);
      assert_int_equal(pick(&f, all[i], &zero, tried, 4), 3);
      assert_int_equal(pick(&f, all[i], &zero, tried, 5), -1);
    }
  assert_int_equal(select_left(f.s, tried, 3, false), 2);
  assert_int_equal(select_left(f.s, tried, 0, false), SELECT_ENOUGH);
  services_done(&f.services);
}

static void the_silent_are_chosen_apart(void **state) {
  (void)state;
  struct fixture f;
  setup(&f);
  f.o[0].silent = f.o[3].silent = true;
  const uint64_t tried[] = {103, 101};
  for (int j = 0; j < 50; j++) {
    int p = pick(&f, STRATEGY_RANDOM, &zero, NULL, 0);
    assert_true(p == 1 || p == 2 || p == 4);
    f.silent = true;
    p = pick(&f, STRATEGY_RANDOM, &zero, NULL, 0);
    assert_true(p == 0 || p == 3);
    assert_int_equal(pick(&f, STRATEGY_RANDOM, &zero, tried, 2), 0);
    f.silent = false;
  }
  assert_int_equal(select_left(f.s, tried, 2, true), 1);
  assert_int_equal(select_left(f.s, tried, 2, false), 2);
  services_done(&f.services);
}

static void random_reaches_all_alike(void **state) {
  (void)state;
  struct fixture f;
  setup(&f);
  int hits[N] = {0};
  for (int i = 0; i < 5000; i++) hits[pick(&f, STRATEGY_RANDOM, &zero, NULL, 0)]++;
  for (int i = 0; i < N; i++) assert_in_range(hits[i], 850, 1150);
  memset(hits, 0, sizeof hits);
  const uint64_t tried[] = {100};
  for (int i = 0; i < 4000; i++) hits[pick(&f, STRATEGY_RANDOM, &zero, tried, 1)]++;
  assert_int_equal(hits[0], 0);
  for (int i = 1; i < N; i++) assert_in_range(hits[i], 850, 1150);
  services_done(&f.services);
}

static void first_is_the_oldest(void **state) {
  (void)state;
  struct fixture f;
  setup(&f);
  for (int i = 0; i < 3; i++) assert_int_equal(pick(&f, STRATEGY_FIRST, &zero, NULL, 0), 0);
  services_drop(&f.services, &f.o[0]);
  assert_int_equal(pick(&f, STRATEGY_FIRST, &zero, NULL, 0), 1);
  services_done(&f.services);
}

static void round_robin_takes_turns(void **state) {
  (void)state;
  struct fixture f;
  setup(&f);
  for (int i = 0; i < 3 * N; i++) assert_int_equal(pick(&f, STRATEGY_ROUND_ROBIN, &zero, NULL, 0), i % N);
  services_done(&f.services);
}

static void closest_by_xor(void **state) {
  (void)state;
  struct fixture f;
  setup(&f); /* ids begin 10 20 40 80 00 */
  static const struct {
    uint8_t near;
    int want;
  } cases[] = {{0x00, 4}, {0x11, 0}, {0x2f, 1}, {0x7f, 2}, {0xff, 3}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct id near = {{cases[i].near}};
    assert_int_equal(pick(&f, STRATEGY_CLOSEST, &near, NULL, 0), cases[i].want);
  }
  services_done(&f.services);
}

static void least_pending_and_ties_in_turn(void **state) {
  (void)state;
  struct fixture f;
  setup(&f);
  int hits[N] = {0};
  for (int i = 0; i < 2 * N; i++) hits[pick(&f, STRATEGY_LEAST_PENDING, &zero, NULL, 0)]++;
  for (int i = 0; i < N; i++) assert_int_equal(hits[i], 2);
  for (uint32_t i = 0; i < N; i++) f.o[i].inflight = 5 - (i == 2);
  for (int i = 0; i < N; i++) assert_int_equal(pick(&f, STRATEGY_LEAST_PENDING, &zero, NULL, 0), 2);
  services_done(&f.services);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_strategy_excludes_the_tried), cmocka_unit_test(the_silent_are_chosen_apart),
      cmocka_unit_test(random_reaches_all_alike),          cmocka_unit_test(first_is_the_oldest),
      cmocka_unit_test(round_robin_takes_turns),           cmocka_unit_test(closest_by_xor),
      cmocka_unit_test(least_pending_and_ties_in_turn)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
