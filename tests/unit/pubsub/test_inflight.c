#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/memory/plan.h"
#include "pubsub/inflight.h"

#define NODES 4

struct fixture {
  struct mem mem;
  struct mem_fail fail;
  struct rng_seeded seed;
  struct inflight f;
  struct inflight_party pub[2], node[NODES], *nodes[NODES];
};

static void begin(struct fixture *x, uint32_t max, uint32_t max_publisher) {
  *x = (struct fixture){.mem = MEM_INIT("inflight", 0)};
  x->mem.fail = &x->fail;
  rng_seeded_init(&x->seed, 1);
  inflight_init(&x->f, &x->mem, rng_seeded_view(&x->seed), max, max_publisher, 5 * NS_SEC);
  for (int i = 0; i < 2; i++) inflight_party_init(&x->pub[i], &x->pub[i]);
  for (int i = 0; i < NODES; i++) inflight_party_init(x->nodes[i] = &x->node[i], NULL);
}

static void end(struct fixture *x) {
  inflight_done(&x->f);
  for (int i = 0; i < 2; i++) assert_int_equal(x->pub[i].count, 0);
  for (int i = 0; i < NODES; i++) assert_true(list_empty(&x->node[i].all) && x->node[i].count == 0);
  assert_int_equal(x->mem.bytes, 0);
}

static int put(struct fixture *x, int pub, uint64_t ref, uint32_t nodes, nanotime now, uint64_t *ret_number) {
  struct inflight_to to = {.nodes = x->nodes, .count = nodes, .known = nodes};
  return inflight_begin(&x->f, &x->pub[pub], ref, &to, now, ret_number);
}

static void expect_partly(struct fixture *x, int pub, uint64_t ref, int err, uint32_t silent, uint32_t unknown) {
  struct inflight_result r;
  assert_true(inflight_next(&x->f, &r));
  assert_ptr_equal(r.publisher, &x->pub[pub]);
  assert_int_equal(r.ref, ref);
  assert_int_equal(r.err, err);
  assert_int_equal(r.silent, silent);
  assert_int_equal(r.unknown, unknown);
}

static void expect(struct fixture *x, int pub, uint64_t ref, int err) { expect_partly(x, pub, ref, err, 0, 0); }

static void nothing(struct fixture *x) {
  struct inflight_result r;
  assert_false(inflight_next(&x->f, &r));
}

static void done_when_each_node_has_answered(void **state) {
  struct fixture x;
  uint64_t a, b;
  (void)state;
  begin(&x, 100, 100);
  assert_int_equal(put(&x, 0, 7, 3, 0, &a), 0);
  assert_int_equal(put(&x, 1, 8, 2, 0, &b), 0);
  inflight_answer(&x.f, a, &x.node[0], 0);
  inflight_answer(&x.f, a, &x.node[0], 0); /* twice is once */
  inflight_answer(&x.f, a, &x.node[3], 0); /* was not asked */
  inflight_answer(&x.f, 12345, &x.node[1], 0);
  nothing(&x);
  inflight_answer(&x.f, a, &x.node[2], 0);
  nothing(&x);
  inflight_node_gone(&x.f, &x.node[1], MACULA_NO_ROUTE); /* dead: nobody knows whether its clients had them */
  expect(&x, 0, 7, MACULA_NO_ROUTE);
  expect(&x, 1, 8, MACULA_NO_ROUTE);
  nothing(&x);
  assert_int_equal(put(&x, 1, 8, 2, 0, &b), 0);
  inflight_answer(&x.f, b, &x.node[1], 0);
  nothing(&x);
  inflight_answer(&x.f, b, &x.node[0], 0);
  inflight_answer(&x.f, a, &x.node[1], 0); /* late */
  expect(&x, 1, 8, 0);
  assert_int_equal(x.f.parts, 0);
  assert_int_equal(x.f.orphaned, 2);
  end(&x);
}

static void time_and_errors(void **state) {
  struct fixture x;
  uint64_t a, b;
  (void)state;
  begin(&x, 100, 100);
  assert_int_equal(inflight_deadline(&x.f), TIME_NEVER);
  assert_int_equal(put(&x, 0, 1, 2, NS_SEC, &a), 0);
  assert_int_equal(put(&x, 0, 2, 2, 2 * NS_SEC, &b), 0);
  assert_int_equal(inflight_deadline(&x.f), 6 * NS_SEC);
  inflight_expire(&x.f, 6 * NS_SEC - 1);
  nothing(&x);
  inflight_answer(&x.f, b, &x.node[1], MACULA_SHUTTING_DOWN); /* at once, whatever the other says */
  inflight_answer(&x.f, b, &x.node[0], 0);
  inflight_expire(&x.f, 6 * NS_SEC);
  inflight_node_gone(&x.f, &x.node[0], MACULA_NO_ROUTE);
  inflight_node_gone(&x.f, &x.node[1], MACULA_NO_ROUTE);
  expect(&x, 0, 2, MACULA_SHUTTING_DOWN);
  expect_partly(&x, 0, 1, MACULA_TIMEOUT, 2, 0);
  nothing(&x);
  assert_int_equal(x.f.timeouts, 1);
  assert_int_equal(inflight_deadline(&x.f), TIME_NEVER);
  end(&x);
}

/* Nodes that may listen or not are waited for as those that do; when they do not answer, the message is never done. */
static void unknown_and_silent(void **state) {
  struct fixture x;
  uint64_t n[5];
  (void)state;
  begin(&x, 100, 100);
  struct inflight_to to = {.nodes = x.nodes, .count = 3, .known = 2};
  for (uint64_t i = 0; i < 3; i++) assert_int_equal(inflight_begin(&x.f, &x.pub[0], i, &to, 0, &n[i]), 0);
  for (int i = 0; i < 3; i++) inflight_answer(&x.f, n[0], &x.node[i], 0);
  expect(&x, 0, 0, 0);
  for (int i = 0; i < 2; i++) inflight_answer(&x.f, n[1], &x.node[i], 0);
  inflight_answer(&x.f, n[2], &x.node[0], 0);
  nothing(&x);
  inflight_expire(&x.f, 5 * NS_SEC);
  expect_partly(&x, 0, 1, MACULA_LISTENERS_UNKNOWN, 0, 1);
  expect_partly(&x, 0, 2, MACULA_TIMEOUT, 1, 1);
  assert_int_equal(x.node[0].unanswered, 0);
  assert_int_equal(x.node[1].unanswered, 1);
  assert_int_equal(x.node[2].unanswered, 2);
  /* Found silent while messages wait for it; and known as such before. */
  for (uint64_t i = 0; i < 2; i++) assert_int_equal(inflight_begin(&x.f, &x.pub[0], i, &to, 0, &n[i]), 0);
  to = (struct inflight_to){.nodes = x.nodes, .count = 1, .known = 1, .silent = 2};
  assert_int_equal(inflight_begin(&x.f, &x.pub[0], 3, &to, 0, &n[3]), 0);
  to = (struct inflight_to){.nodes = x.nodes, .count = 1, .known = 1, .silent = 1, .unknown = 4};
  assert_int_equal(inflight_begin(&x.f, &x.pub[0], 4, &to, 0, &n[4]), 0);
  inflight_answer(&x.f, n[0], &x.node[2], 0);
  for (int i = 0; i < 5; i++) inflight_answer(&x.f, n[i], &x.node[0], 0);
  expect_partly(&x, 0, 3, 0, 2, 0);
  expect_partly(&x, 0, 4, MACULA_LISTENERS_UNKNOWN, 1, 4);
  nothing(&x);
  inflight_node_silent(&x.f, &x.node[1]);
  expect_partly(&x, 0, 0, 0, 1, 0);
  inflight_node_silent(&x.f, &x.node[2]);
  expect_partly(&x, 0, 1, MACULA_LISTENERS_UNKNOWN, 1, 1);
  assert_true(inflight_number(&x.f) > n[4]);
  end(&x);
}

static void counts_who_was_cut(void **state) {
  struct fixture x;
  struct inflight_result r;
  uint64_t a, b;
  (void)state;
  begin(&x, 100, 100);
  assert_int_equal(put(&x, 0, 7, 2, 0, &a), 0);
  assert_int_equal(put(&x, 0, 8, 1, 0, &b), 0);
  inflight_cut(&x.f, a, NULL, 3);
  inflight_cut(&x.f, a, &x.node[0], 4);
  inflight_answer(&x.f, a, &x.node[0], 0);
  inflight_cut(&x.f, a, &x.node[0], 5); /* has answered */
  inflight_cut(&x.f, a, &x.node[3], 5); /* was not asked */
  inflight_cut(&x.f, 12345, NULL, 5);
  inflight_answer(&x.f, a, &x.node[1], 0);
  inflight_cut(&x.f, a, NULL, 1); /* done, and not handed out */
  assert_true(inflight_next(&x.f, &r));
  assert_int_equal(r.cut, 8);
  inflight_cut(&x.f, b, &x.node[0], UINT64_MAX);
  inflight_cut(&x.f, b, NULL, 9);
  inflight_answer(&x.f, b, &x.node[0], 0);
  assert_true(inflight_next(&x.f, &r));
  assert_true(r.cut == UINT64_MAX);
  end(&x);
}

static void limits(void **state) {
  struct fixture x;
  uint64_t n;
  (void)state;
  begin(&x, 5, 2);
  assert_int_equal(put(&x, 0, 1, 2, 0, &n), 0);
  assert_int_equal(put(&x, 0, 2, 1, 0, &n), 0);
  assert_int_equal(put(&x, 0, 3, 1, 0, &n), MACULA_EFULL); /* of one publisher */
  assert_int_equal(put(&x, 1, 3, 3, 0, &n), MACULA_EFULL); /* in all */
  assert_int_equal(put(&x, 1, 3, 2, 0, &n), 0);
  assert_int_equal(x.f.refused, 2);
  x.f.max_parts = 3; /* lowered at run time to less than there is */
  assert_int_equal(put(&x, 1, 4, 1, 0, &n), MACULA_EFULL);
  x.f.max_parts = 5;
  inflight_publisher_gone(&x.f, &x.pub[0]);
  inflight_publisher_gone(&x.f, &x.pub[0]);
  assert_int_equal(x.f.parts, 2);
  assert_int_equal(put(&x, 0, 4, 3, 0, &n), 0);
  inflight_expire(&x.f, TIME_NEVER - 1);
  inflight_publisher_gone(&x.f, &x.pub[1]); /* with one that is done already */
  expect_partly(&x, 0, 4, MACULA_TIMEOUT, 3, 0);
  nothing(&x);
  end(&x);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (uint64_t k = 1;; k++) {
    struct fixture x;
    uint64_t n;
    uint32_t ok = 0;
    begin(&x, 1000, 1000);
    x.fail.countdown = k;
    for (int i = 0; i < 40; i++) {
      int err = put(&x, 0, 1, 2, 0, &n);
      assert_true(err == 0 || err == MACULA_ENOMEM);
      ok += !err;
    }
    assert_int_equal(x.f.parts, 2 * ok);
    assert_int_equal(x.pub[0].count, ok);
    bool all = x.fail.countdown != 0;
    end(&x);
    if (all) break;
  }
}

#define MANY 2000

static void costs_what_is_planned(void **state) {
  struct fixture x;
  uint64_t n;
  (void)state;
  begin(&x, MANY, MANY);
  for (int i = 0; i < MANY; i++) assert_int_equal(put(&x, 0, 1, 1, 0, &n), 0);
  print_message("%zu bytes each of %u planned\n", x.mem.peak / MANY, PLAN_INFLIGHT);
  assert_true(x.mem.peak / MANY <= PLAN_INFLIGHT);
  end(&x);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(done_when_each_node_has_answered),
                                     cmocka_unit_test(time_and_errors),
                                     cmocka_unit_test(unknown_and_silent),
                                     cmocka_unit_test(counts_who_was_cut),
                                     cmocka_unit_test(limits),
                                     cmocka_unit_test(every_allocation_may_fail),
                                     cmocka_unit_test(costs_what_is_planned)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
