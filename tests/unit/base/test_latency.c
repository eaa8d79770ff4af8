/* Classes of latency: how exact they are, and what parts of what was counted between two looks say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/latency.h"

static void test_exact(void **state) {
  (void)state;
  for (uint64_t us = 0; us < UINT64_C(1) << 30; us += 1 + us / 50) {
    struct latency none = {0}, one = {0};
    latency_add(&one, us * 1000 + 999);
    uint32_t says = latency_part(&none, &one, 0.5);
    assert_true(says >= us && says <= us + us / 8);
    assert_int_equal(latency_part(&none, &one, 0.99), says);
  }
}

static void test_ends(void **state) {
  struct latency none = {0}, l = {0};
  (void)state;
  assert_true(latency_part(&none, &l, 0.5) == UINT32_MAX);
  latency_add(&l, UINT64_MAX);
  assert_true(latency_part(&none, &l, 0.5) >= 1u << 29);
  assert_true(latency_part(&l, &l, 0.5) == UINT32_MAX); /* nothing since */
  latency_add(&l, 0);
  assert_int_equal(latency_part(&none, &l, 0.5), 0);
  none.count[0] = UINT32_MAX; /* as when it has gone round */
  assert_int_equal(latency_part(&none, &l, 0.1), 0);
}

static void test_parts(void **state) {
  struct latency before = {0}, now;
  (void)state;
  latency_add(&before, 1000000000);
  now = before;
  for (uint64_t i = 1; i <= 100; i++) latency_add(&now, i * 1000000);
  uint32_t p50 = latency_part(&before, &now, 0.5), p99 = latency_part(&before, &now, 0.99);
  assert_in_range(p50, 50000, 57000);
  assert_in_range(p99, 99000, 112000);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_exact), cmocka_unit_test(test_ends), cmocka_unit_test(test_parts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
