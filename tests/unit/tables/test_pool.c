/* The pool of mesh connections: who goes when it is full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/err.h"
#include "tables/pool.h"

static struct pool_entry e[8];
static struct mem mem;
static struct rng_seeded seeded;

static int setup(void **state) {
  (void)state;
  mem = MEM_INIT("pool", 0);
  rng_seeded_init(&seeded, 1);
  for (unsigned i = 0; i < 8; i++) e[i] = (struct pool_entry){.id = {{(uint8_t)(i + 1)}}};
  return 0;
}

static bool spare_first_two(const struct pool_entry *x) { return x == &e[0] || x == &e[1]; }
static bool spare_all(const struct pool_entry *x) { return x != NULL; }

static void test_lru(void **state) {
  struct pool p;
  (void)state;
  pool_init(&p, &mem, rng_seeded_view(&seeded), 3);
  assert_null(pool_victim(&p, NULL));
  for (int i = 0; i < 3; i++) assert_int_equal(pool_add(&p, &e[i], (nanotime)i), 0);
  assert_true(pool_is_full(&p));
  assert_int_equal(pool_add(&p, &e[3], 3), MACULA_EFULL);
  assert_int_equal(pool_add(&p, &e[0], 3), MACULA_EBUSY);
  assert_ptr_equal(pool_victim(&p, NULL), &e[0]);
  pool_use(&p, &e[0], 4);
  assert_int_equal(e[0].used, 4);
  assert_ptr_equal(pool_victim(&p, NULL), &e[1]);
  assert_ptr_equal(pool_find(&p, &e[2].id), &e[2]);
  assert_ptr_equal(pool_victim(&p, spare_first_two), &e[2]);
  assert_null(pool_victim(&p, spare_all));
  pool_remove(&p, &e[1]);
  pool_remove(&p, &e[1]); /* harmless */
  pool_use(&p, &e[1], 9); /* not in: not renewed */
  assert_null(pool_find(&p, &e[1].id));
  assert_int_equal(pool_count(&p), 2);
  assert_int_equal(pool_add(&p, &e[3], 5), 0);
  pool_set_max(&p, 1); /* throws nobody out */
  assert_int_equal(pool_count(&p), 3);
  for (int i = 0; i < 4; i++) pool_remove(&p, &e[i]);
  pool_done(&p);
  assert_int_equal(mem.bytes, 0);
}

static void test_no_memory(void **state) {
  struct mem_fail fail = {.countdown = 1};
  struct pool p;
  (void)state;
  mem.fail = &fail;
  pool_init(&p, &mem, rng_seeded_view(&seeded), 3);
  assert_int_equal(pool_add(&p, &e[0], 0), MACULA_ENOMEM);
  assert_false(e[0].in);
  assert_int_equal(pool_add(&p, &e[0], 0), 0);
  pool_remove(&p, &e[0]);
  pool_done(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_lru, setup), cmocka_unit_test_setup(test_no_memory, setup)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
