#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "tables/calls.h"

static struct rng_seeded seeded;
static struct rng rng(void) {
  rng_seeded_init(&seeded, 1);
  return rng_seeded_view(&seeded);
}

static const uint8_t *call_id(uint32_t n) {
  static uint8_t id[CALL_ID_LEN];
  memcpy(id, &n, sizeof n);
  return id;
}

static int add(struct calls *c, struct call_party *p, uint32_t id, struct shbuf *args, nanotime deadline,
               struct call **ret_call) {
  return calls_add(c, p, call_id(id), slice_str("x.y"), args, deadline, ret_call);
}

static void found_by_both_ends_ids(void **state) {
  (void)state;
  struct mem m = MEM_INIT("calls", 0);
  struct calls c;
  calls_init(&c, &m, rng(), 100, 10, 1000);
  struct call_party a, b, other;
  call_party_init(&a, 1);
  call_party_init(&b, 2);
  call_party_init(&other, 3);
  struct call *x, *y;
  assert_int_equal(add(&c, &a, 7, NULL, 100, &x), 0);
  assert_int_equal(add(&c, &a, 7, NULL, 100, &y), MACULA_EBUSY);
  assert_int_equal(add(&c, &b, 7, NULL, 50, &y), 0); /* the same id of another caller is another call */
  assert_ptr_equal(calls_find(&c, &a, call_id(7)), x);
  assert_ptr_equal(calls_find(&c, &b, call_id(7)), y);
  assert_null(calls_find(&c, &other, call_id(7)));

  assert_null(calls_find_sent(&c, &b, x->sent_id, CALL_ID_LEN));
  calls_assign(&c, x, &b, 80);
  uint8_t first[CALL_ID_LEN];
  memcpy(first, x->sent_id, sizeof first);
  assert_ptr_equal(calls_find_sent(&c, &b, first, CALL_ID_LEN), x);
  assert_null(calls_find_sent(&c, &other, first, CALL_ID_LEN));
  assert_null(calls_find_sent(&c, &b, first, CALL_ID_LEN - 1));
  assert_null(calls_find_sent(&c, &b, (const uint8_t *)"\xff\xff\xff\xff____________", CALL_ID_LEN));
  calls_assign(&c, x, &other, 90); /* a new attempt: the old id is void */
  assert_null(calls_find_sent(&c, &b, first, CALL_ID_LEN));
  assert_null(calls_find_sent(&c, &other, first, CALL_ID_LEN));
  assert_ptr_equal(calls_find_sent(&c, &other, x->sent_id, CALL_ID_LEN), x);
  assert_true(list_empty(&b.taken));

  assert_true(calls_deadline(&c) == 50);
  assert_null(calls_due(&c, 49));
  assert_ptr_equal(calls_due(&c, 50), y);
  calls_remove(&c, y);
  assert_ptr_equal(calls_due(&c, 90), x);
  memcpy(first, x->sent_id, sizeof first);
  calls_remove(&c, x);
  assert_null(calls_find_sent(&c, &other, first, CALL_ID_LEN));
  assert_int_equal(calls_count(&c), 0);
  assert_int_equal(a.made_count, 0);
  assert_true(list_empty(&a.made) && list_empty(&other.taken));
  calls_done(&c);
  assert_int_equal(m.bytes, 0);
}

static void bounds_in_number_and_bytes(void **state) {
  (void)state;
  struct mem m = MEM_INIT("calls", 0), payloads = MEM_INIT("payloads", 0);
  struct calls c;
  calls_init(&c, &m, rng(), 3, 2, 1000);
  struct call_party a, b;
  call_party_init(&a, 1);
  call_party_init(&b, 2);
  struct call *x, *y;
  assert_int_equal(add(&c, &a, 1, NULL, 9, &x), 0);
  assert_int_equal(add(&c, &a, 2, NULL, 9, &x), 0);
  assert_int_equal(add(&c, &a, 3, NULL, 9, &x), MACULA_TOO_MANY_CALLS);
  assert_int_equal(add(&c, &b, 1, NULL, 9, &x), 0);
  assert_int_equal(add(&c, &b, 2, NULL, 9, &y), MACULA_TOO_MANY_CALLS);
  calls_remove(&c, x);
  struct shbuf *args = shbuf_new(&payloads, 600);
  assert_int_equal(add(&c, &b, 1, args, 9, &x), 0);
  calls_set_max(&c, 10, 10, 1000);
  assert_int_equal(add(&c, &b, 2, args, 9, &y), MACULA_TOO_MANY_CALLS);
  shbuf_unref(args);
  assert_int_equal(payloads.blocks, 1); /* the call holds it */
  assert_int_equal(c.args_bytes, 600);
  calls_remove(&c, x);
  assert_int_equal(payloads.bytes, 0);
  assert_int_equal(c.args_bytes, 0);
  assert_int_equal(c.refused, 3);
  assert_int_equal(calls_add(&c, &b, call_id(1), SLICE_NONE, NULL, 9, &x), MACULA_EINVAL);
  calls_done(&c);
  assert_int_equal(m.bytes, 0);
}

#define MANY 3000

static void memory_returns_after_a_crowd(void **state) {
  (void)state;
  struct mem m = MEM_INIT("calls", 0);
  struct calls c;
  calls_init(&c, &m, rng(), MANY, MANY, 0);
  struct call_party a, p;
  call_party_init(&a, 1);
  call_party_init(&p, 2);
  static struct call *v[MANY];
  for (int round = 0; round < 3; round++) {
    for (uint32_t i = 0; i < MANY; i++) {
      assert_int_equal(add(&c, &a, i, NULL, 1 + i, &v[i]), 0);
      calls_assign(&c, v[i], &p, 1 + i);
    }
    for (uint32_t i = 0; i < MANY; i++) assert_ptr_equal(calls_find_sent(&c, &p, v[i]->sent_id, CALL_ID_LEN), v[i]);
    for (uint32_t i = 0; i < MANY; i++) calls_remove(&c, v[i]);
    assert_true(m.bytes < 4096);
    assert_true(list_empty(&p.taken));
  }
  calls_done(&c);
  assert_int_equal(m.bytes, 0);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (uint64_t n = 1;; n++) {
    struct mem_fail f = {.countdown = n};
    struct mem m = {.name = "calls", .fail = &f};
    struct calls c;
    calls_init(&c, &m, rng(), 100, 100, 0);
    struct call_party a;
    call_party_init(&a, 1);
    uint32_t ok = 0;
    for (uint32_t i = 0; i < 40; i++) {
      struct call *x;
      int err = add(&c, &a, i, NULL, 100 - i, &x);
      assert_true(err == 0 || err == MACULA_ENOMEM);
      ok += err == 0;
    }
    assert_int_equal(calls_count(&c), ok);
    assert_int_equal(a.made_count, ok);
    assert_true(ok >= 39);
    calls_done(&c);
    assert_int_equal(m.bytes, 0);
    if (f.countdown) break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(found_by_both_ends_ids), cmocka_unit_test(bounds_in_number_and_bytes),
                                     cmocka_unit_test(memory_returns_after_a_crowd),
                                     cmocka_unit_test(every_allocation_may_fail)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
