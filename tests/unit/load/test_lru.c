/* The model that `macula load pool` checks a node against: if it were wrong, so would be what the scenario says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "load/drive/lru.h"

static void use_all(struct load_lru *m, const size_t *peers, const bool *dials, size_t n) {
  for (size_t i = 0; i < n; i++) assert_int_equal(load_lru_use(m, peers[i]), dials[i]);
}

static void the_oldest_goes(void **state) {
  (void)state;
  struct load_lru m;
  static const size_t peers[] = {0, 1, 2, 0, 3, 1, 0};
  static const bool dials[] = {true, true, true, false, true, true, false}; /* 3 evicts 1, 1 evicts 2 */
  assert_true(load_lru_init(&m, 4, 3));
  use_all(&m, peers, dials, 7);
  assert_int_equal(m.evictions, 2);
  assert_int_equal(m.dials, 5);
  assert_int_equal(m.count, 3);
  assert_false(load_lru_has(&m, 2));
  assert_true(load_lru_has(&m, 0) && load_lru_has(&m, 1) && load_lru_has(&m, 3));
  load_lru_done(&m);
}

static void a_pool_of_1000_and_1500_peers(void **state) {
  (void)state;
  struct load_lru m;
  assert_true(load_lru_init(&m, 1500, 1000));
  for (size_t i = 0; i < 1500; i++) assert_true(load_lru_use(&m, i));
  assert_int_equal(m.evictions, 500);
  for (size_t i = 0; i < 1500; i++) assert_int_equal(load_lru_has(&m, i), i >= 500);
  for (size_t i = 500; i < 1500; i++) assert_false(load_lru_use(&m, i));
  assert_int_equal(m.dials, 1500);
  load_lru_done(&m);
}

/* Against another way to say the same: a list in order of use. */
static void like_a_list(void **state) {
  (void)state;
  enum { PEERS = 12, MAX = 5 };
  struct load_lru m;
  size_t order[MAX], count = 0;
  assert_true(load_lru_init(&m, PEERS, MAX));
  srand(4);
  for (int i = 0; i < 20000; i++) {
    size_t peer = (size_t)rand() % PEERS, at = 0;
    while (at < count && order[at] != peer) at++;
    bool dial = at == count;
    if (dial && count == MAX)
      at = 0; /* the front is the oldest */
    else if (dial)
      count++;
    for (; at + 1 < count; at++) order[at] = order[at + 1];
    order[count - 1] = peer;
    assert_int_equal(load_lru_use(&m, peer), dial);
    assert_int_equal(m.count, count);
    for (size_t k = 0; k < count; k++) assert_true(load_lru_has(&m, order[k]));
  }
  load_lru_done(&m);
}

static void a_pool_of_one(void **state) {
  (void)state;
  struct load_lru m;
  static const size_t peers[] = {0, 0, 1, 0};
  static const bool dials[] = {true, false, true, true};
  assert_true(load_lru_init(&m, 2, 1));
  use_all(&m, peers, dials, 4);
  assert_int_equal(m.evictions, 2);
  load_lru_done(&m);
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_oldest_goes),
      cmocka_unit_test(a_pool_of_1000_and_1500_peers),
      cmocka_unit_test(like_a_list),
      cmocka_unit_test(a_pool_of_one),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
