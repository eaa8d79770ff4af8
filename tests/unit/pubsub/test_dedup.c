#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "pubsub/dedup.h"

static struct rng_seeded seeded;
static struct rng rng(void) {
  rng_seeded_init(&seeded, 1);
  return rng_seeded_view(&seeded);
}

static struct dedup_key key(uint8_t publisher, uint8_t instance, uint8_t message) {
  struct dedup_key k = {.publisher.b = {publisher}, .instance = {instance}, .message_id = {message}};
  return k;
}

#define WINDOW (60 * NS_SEC)

static void seen_within_the_window(void **state) {
  (void)state;
  struct mem m = MEM_INIT("dedup", 0);
  struct dedup d;
  dedup_init(&d, &m, rng(), 10, WINDOW);
  struct dedup_key k = key(1, 1, 1), other_instance = key(1, 2, 1), other_publisher = key(2, 1, 1), other_node = k;
  other_node.node.b[0] = 1;
  assert_true(dedup_deadline(&d) == TIME_NEVER);
  dedup_expire(&d, TIME_NEVER);
  assert_false(dedup_seen(&d, &k, 0));
  assert_int_equal(dedup_add(&d, &k, 0), 0);
  assert_true(dedup_seen(&d, &k, 30 * NS_SEC));
  assert_false(dedup_seen(&d, &other_instance, 30 * NS_SEC));
  assert_false(dedup_seen(&d, &other_publisher, 30 * NS_SEC));
  assert_false(dedup_seen(&d, &other_node, 30 * NS_SEC));
  assert_true(dedup_deadline(&d) == WINDOW);
  assert_true(dedup_seen(&d, &k, WINDOW - 1));
  assert_false(dedup_seen(&d, &k, WINDOW)); /* having been seen did not renew it */
  assert_int_equal(dedup_count(&d), 0);
  assert_int_equal(d.duplicates, 2);
  dedup_done(&d);
  assert_int_equal(m.bytes, 0);
}

static void the_oldest_makes_room(void **state) {
  (void)state;
  struct mem m = MEM_INIT("dedup", 0);
  struct dedup d;
  dedup_init(&d, &m, rng(), 3, WINDOW);
  for (uint8_t i = 0; i < 5; i++) {
    struct dedup_key k = key(1, 1, i);
    assert_int_equal(dedup_add(&d, &k, i), 0);
  }
  assert_int_equal(dedup_count(&d), 3);
  assert_int_equal(d.lru.evicted, 2);
  for (uint8_t i = 0; i < 5; i++) {
    struct dedup_key k = key(1, 1, i);
    assert_int_equal(dedup_seen(&d, &k, 10), i >= 2);
  }
  dedup_done(&d);
  assert_int_equal(m.bytes, 0);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (uint64_t n = 1;; n++) {
    struct mem_fail f = {.countdown = n};
    struct mem m = {.name = "dedup", .fail = &f};
    struct dedup d;
    dedup_init(&d, &m, rng(), 2, WINDOW);
    for (uint8_t i = 0; i < 4; i++) {
      struct dedup_key k = key(1, 1, i);
      int err = dedup_add(&d, &k, 0);
      assert_true(err == 0 || err == MACULA_ENOMEM);
      assert_int_equal(dedup_seen(&d, &k, 1), err == 0);
    }
    dedup_done(&d);
    assert_int_equal(m.bytes, 0);
    if (f.countdown) break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(seen_within_the_window), cmocka_unit_test(the_oldest_makes_room),
                                     cmocka_unit_test(every_allocation_may_fail)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
