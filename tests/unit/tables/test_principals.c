#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tables/principals.h"
#include "unit/broken.h"

static const struct id self = {{1}}, other = {{2}};
static struct rng_seeded seeded;

static void start(struct principals *t, struct mem *mem, size_t limit) {
  *mem = MEM_INIT("origins", limit);
  rng_seeded_init(&seeded, 7);
  principals_init(t, mem, rng_seeded_view(&seeded), &self);
}

static struct principal *key(struct principals *t, uint32_t k, const struct id *node) {
  struct id id = {{0}};
  memcpy(id.b, &k, sizeof k);
  return principals_get(t, &(struct principal_name){PRINCIPAL_KEY, slice_of(id.b, ID_LEN)}, node);
}

static uint64_t refs;
static const char *check(const struct principals *t) { return principals_check(t, &refs); }

static void test_one_entry_each(void **state) {
  struct principals t;
  struct mem mem;
  (void)state;
  start(&t, &mem, 1 << 20);
  struct principal *a = key(&t, 1, &self), *again = key(&t, 1, &self), *there = key(&t, 1, &other), *b = key(&t, 2, &self);
  assert_ptr_equal(a, again);
  assert_true(a != there && a != b);
  assert_true(a->number < there->number && there->number < b->number);
  HOLDS(check(&t));
  assert_int_equal(refs, 4);
  uint64_t number = a->number;
  principal_unref(a);
  principal_unref(again);
  assert_ptr_equal(key(&t, 1, &self), a); /* it was idle: the same entry and number */
  assert_int_equal(a->number, number);
  assert_null(principal_ref(NULL));
  principal_unref(NULL);
  BREAKS(a->refs, 0, check(&t), "principals: one that is referred to is idle, or another is not");
  BREAKS(t.foreign, 1, check(&t), "principals: those of other nodes are not as many bytes as counted");
  BREAKS(t.last, b->number - 1, check(&t), "principals: one has a number that was not given");
  BREAKS(a->bytes[1], 77, check(&t), "principals: one is not found by its name");
  assert_int_equal(principals_owned(&t), mem.bytes);
  principal_unref(a);
  principal_unref(there);
  principal_unref(b);
  principals_done(&t);
  assert_int_equal(mem.bytes, 0);
}

static void test_those_in_use_stay(void **state) {
  enum { ASKED = 400 };
  struct principals t;
  struct mem mem;
  struct principal *p[ASKED];
  (void)state;
  start(&t, &mem, 32 << 10);
  uint32_t had = 0;
  for (; had < ASKED && (p[had] = key(&t, had, &self)); had++) continue;
  assert_true(had > 80 && had < ASKED);
  assert_int_equal(t.refused, 1);
  assert_null(key(&t, 1000, &self));
  uint64_t last = t.last, first = p[0]->number;
  principal_unref(p[0]); /* makes room */
  p[0] = key(&t, 1000, &self);
  assert_int_equal(p[0]->number, last + 1);
  assert_int_equal(t.evicted, 1);
  principal_unref(p[1]);
  p[1] = key(&t, 0, &self); /* back, under a new number */
  assert_true(p[1]->number > last && p[1]->number != first);
  assert_int_equal(mem.refused, 0);
  HOLDS(check(&t));
  while (had) principal_unref(p[--had]);
  principals_done(&t);
}

/* Other nodes' take an eighth, and make room for each other only. */
static void test_other_nodes(void **state) {
  struct principals t;
  struct mem mem;
  struct principal *p[400];
  (void)state;
  start(&t, &mem, 32 << 10);
  principal_unref(key(&t, 1, &self)); /* idle */
  uint32_t had = 0;
  for (; (p[had] = key(&t, had, &other)); had++) assert_true(had < 100);
  assert_true(had > 10);
  assert_int_equal(t.evicted, 0);
  principal_unref(p[0]);
  p[0] = key(&t, 500, &other);
  assert_non_null(p[0]);
  assert_int_equal(t.evicted, 1);
  struct principal *own = key(&t, 2, &self);
  assert_non_null(own);
  HOLDS(check(&t));
  principal_unref(own);
  while (had) principal_unref(p[--had]);
  principals_done(&t);
}

static void test_no_memory(void **state) {
  struct principals t;
  struct mem mem;
  (void)state;
  for (uint64_t nth = 1; nth <= 2; nth++) {
    struct mem_fail fail = {.countdown = nth};
    start(&t, &mem, 1 << 20);
    mem.fail = &fail;
    assert_null(key(&t, 1, &self));
    assert_int_equal(t.refused, 1);
    struct principal *p = key(&t, 1, &self);
    assert_non_null(p);
    HOLDS(check(&t));
    principal_unref(p);
    principals_done(&t);
    assert_int_equal(mem.bytes, 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_entry_each), cmocka_unit_test(test_those_in_use_stay),
                                     cmocka_unit_test(test_other_nodes), cmocka_unit_test(test_no_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
