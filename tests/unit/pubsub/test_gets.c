#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/memory/plan.h"
#include "pubsub/gets.h"

struct fixture {
  struct mem mem;
  struct mem_fail fail;
  struct rng_seeded seed;
  struct gets g;
  struct gets_party to[2];
  struct gets_node from[2];
};

static void begin(struct fixture *x, uint32_t max, uint32_t max_topics) {
  *x = (struct fixture){.mem = MEM_INIT("gets", 0)};
  x->mem.fail = &x->fail;
  rng_seeded_init(&x->seed, 1);
  gets_init(&x->g, &x->mem, rng_seeded_view(&x->seed), max, max_topics, 10 * NS_SEC);
  for (int i = 0; i < 2; i++) {
    gets_party_init(&x->to[i], &x->to[i]);
    gets_node_init(&x->from[i], x);
  }
}

static void end(struct fixture *x) {
  gets_done(&x->g);
  for (int i = 0; i < 2; i++) assert_true(list_empty(&x->to[i].all) && list_empty(&x->from[i].all));
  assert_int_equal(x->mem.bytes, 0);
}

static void *answer(struct fixture *x, uint64_t n, const char *topic, uint64_t ms) {
  return gets_answer(&x->g, n, slice_str(topic), ms, 0);
}

static void each_topic_once_and_the_newest(void **state) {
  struct fixture x;
  uint64_t a, b;
  (void)state;
  begin(&x, 10, 10);
  assert_int_equal(gets_begin(&x.g, &x.to[0], slice_str("a.*"), 0, &a), 0);
  assert_int_equal(gets_begin(&x.g, &x.to[1], slice_str("a.*"), 0, &b), 0);
  assert_ptr_equal(answer(&x, a, "a.b", 5), &x.to[0]);
  assert_null(answer(&x, a, "a.b", 5));
  assert_null(answer(&x, a, "a.b", 4));
  assert_null(answer(&x, a, "b.b", 9)); /* was not asked for */
  assert_ptr_equal(answer(&x, a, "a.b", 6), &x.to[0]);
  assert_ptr_equal(answer(&x, a, "a.c", 1), &x.to[0]);
  assert_ptr_equal(answer(&x, b, "a.b", 1), &x.to[1]);
  assert_null(answer(&x, b + 100, "a.b", 1));
  struct slice pattern;
  uint64_t n = gets_next(&x.g, 0, &pattern), m = gets_next(&x.g, n, &pattern);
  assert_true((n == a && m == b) || (n == b && m == a));
  assert_true(slice_is(pattern, "a.*"));
  assert_int_equal(gets_next(&x.g, m, &pattern), 0);
  end(&x);
}

/* What came to all as it was published is no answer for who was there, and one for who came later. */
static void live_ones_are_not_answered_again(void **state) {
  struct fixture x;
  uint64_t a, b;
  (void)state;
  begin(&x, 10, 8);
  gets_live(&x.g, slice_str("a.b"), 9);
  assert_int_equal(x.g.live.count, 0); /* nobody asked for anything */
  assert_int_equal(gets_begin(&x.g, &x.to[0], slice_str("a.*"), 0, &a), 0);
  gets_live(&x.g, slice_str("a.b"), 5);
  assert_int_equal(gets_begin(&x.g, &x.to[1], slice_str("a.*"), 0, &b), 0);
  gets_live(&x.g, slice_str("a.b"), 3); /* by another node at the same time, a bit earlier */
  assert_null(gets_check(&x.g));
  assert_null(answer(&x, a, "a.b", 5));
  assert_null(answer(&x, a, "a.b", 4));
  assert_null(answer(&x, b, "a.b", 3));
  assert_ptr_equal(answer(&x, b, "a.b", 5), &x.to[1]);
  assert_ptr_equal(answer(&x, a, "a.b", 6), &x.to[0]);
  assert_ptr_equal(answer(&x, a, "a.c", 1), &x.to[0]);
  for (char c = 'd'; c < 'h'; c++) gets_live(&x.g, slice_of((char[]){'a', '.', c}, 3), 5);
  assert_int_equal(x.g.live.count, 3); /* a.d made room, and may come twice */
  assert_ptr_equal(answer(&x, a, "a.d", 5), &x.to[0]);
  assert_null(answer(&x, a, "a.g", 5));
  assert_null(gets_check(&x.g));
  gets_stop(&x.g, &x.to[0], slice_str("a.*"));
  gets_stop(&x.g, &x.to[1], slice_str("a.*"));
  assert_int_equal(x.g.live.count, 0);
  end(&x);
}

static void ends(void **state) {
  struct fixture x;
  uint64_t a, b, c, d;
  (void)state;
  begin(&x, 3, 2);
  assert_int_equal(gets_begin(&x.g, &x.to[0], slice_str("a.*"), 0, &a), 0);
  assert_int_equal(gets_begin(&x.g, &x.to[0], slice_str("b"), NS_SEC, &b), 0);
  assert_int_equal(gets_begin(&x.g, &x.to[1], slice_str("b"), NS_SEC, &c), 0);
  assert_int_equal(gets_begin(&x.g, &x.to[1], slice_str("c"), NS_SEC, &d), 0); /* a makes room */
  assert_int_equal(x.g.evicted, 1);
  assert_null(answer(&x, a, "a.q", 1));
  gets_party_gone(&x.g, &x.to[1]);
  assert_int_equal(gets_begin(&x.g, &x.to[1], slice_str("b"), NS_SEC, &c), 0);
  assert_int_equal(gets_begin(&x.g, &x.to[0], slice_str("a.*"), NS_SEC, &a), 0);
  gets_stop(&x.g, &x.to[0], slice_str("b"));
  assert_null(answer(&x, b, "b", 1));
  assert_int_equal(gets_deadline(&x.g), 11 * NS_SEC);
  assert_non_null(gets_answer(&x.g, a, slice_str("a.a"), 1, 8 * NS_SEC)); /* an answer is a sign of life */
  assert_non_null(gets_answer(&x.g, c, slice_str("b"), 1, 9 * NS_SEC));
  gets_expire(&x.g, 12 * NS_SEC);
  assert_int_equal(gets_count(&x.g), 2);
  assert_non_null(answer(&x, a, "a.b", 1)); /* there is no memory for a third topic: rather twice than never */
  assert_non_null(answer(&x, a, "a.b", 1));
  gets_expire(&x.g, 20 * NS_SEC);
  assert_int_equal(gets_count(&x.g), 0);
  assert_int_equal(gets_begin(&x.g, &x.to[1], slice_str("c"), NS_SEC, &d), 0);
  gets_party_gone(&x.g, &x.to[1]);
  gets_party_gone(&x.g, &x.to[1]);
  assert_null(answer(&x, d, "c", 1));
  end(&x);
}

static void room_is_counted_for_each_source(void **state) {
  struct fixture x;
  uint64_t a, b;
  (void)state;
  begin(&x, 10, 10);
  struct gets_node *p = &x.from[0], *q = &x.from[1];
  assert_int_equal(gets_begin(&x.g, &x.to[0], slice_str("a.*"), 0, &a), 0);
  assert_int_equal(gets_begin(&x.g, &x.to[1], slice_str("b"), NS_SEC, &b), 0);
  assert_true(slice_is(gets_pattern(&x.g, b), "b"));
  assert_null(gets_pattern(&x.g, b + 7).p);
  struct gets_source *s = gets_took(&x.g, a, p, 5);
  assert_ptr_equal(s->to, &x.to[0]);
  assert_int_equal(gets_took(&x.g, a, q, 7)->took, 7);
  assert_int_equal(gets_took(&x.g, a, p, 6)->took, 11);
  assert_int_equal(gets_took(&x.g, b, p, 1)->took, 1);
  assert_null(gets_took(&x.g, b + 7, p, 1));
  list_append(&x.g.full, &s->full); /* it waits: the subscription stays */
  gets_expire(&x.g, 15 * NS_SEC);
  assert_int_equal(gets_count(&x.g), 1);
  gets_node_gone(&x.g, p);
  assert_true(list_empty(&x.g.full));
  assert_int_equal(gets_took(&x.g, a, q, 1)->took, 8);
  assert_int_equal(gets_took(&x.g, a, p, 2)->took, 2);
  gets_expire(&x.g, 25 * NS_SEC);
  assert_int_equal(gets_count(&x.g), 0);
  end(&x);
}

static size_t length(const struct list *l) {
  size_t n = 0;
  list_for(it, l) n++;
  return n;
}

/* A node's end costs what it answered for, whatever else is asked for; so do the subscriptions' ends. */
static void a_node_ends_with_what_it_answered(void **state) {
  struct fixture x;
  uint64_t n[100];
  (void)state;
  begin(&x, 100, 10);
  for (int i = 0; i < 100; i++) {
    assert_int_equal(gets_begin(&x.g, &x.to[i % 2], slice_str(i % 2 ? "odd" : "even"), 0, &n[i]), 0);
    if (i < 3) assert_non_null(gets_took(&x.g, n[i], &x.from[0], 1));
    assert_non_null(gets_took(&x.g, n[i], &x.from[1], 1));
  }
  assert_int_equal(length(&x.from[0].all), 3);
  assert_int_equal(length(&x.from[1].all), 100);
  gets_stop(&x.g, &x.to[1], slice_str("odd"));
  assert_int_equal(length(&x.from[0].all), 2);
  assert_int_equal(length(&x.from[1].all), 50);
  gets_node_gone(&x.g, &x.from[0]);
  gets_node_gone(&x.g, &x.from[0]);
  assert_int_equal(gets_count(&x.g), 50);
  assert_int_equal(gets_took(&x.g, n[2], &x.from[0], 1)->took, 1); /* it is back, and begins anew */
  assert_int_equal(gets_took(&x.g, n[2], &x.from[1], 1)->took, 2);
  gets_node_gone(&x.g, &x.from[1]);
  assert_int_equal(length(&x.from[0].all), 1);
  end(&x);
}

static void a_lowered_limit_is_kept(void **state) {
  struct fixture x;
  uint64_t n[10];
  (void)state;
  begin(&x, 10, 10);
  for (int i = 0; i < 10; i++) {
    assert_int_equal(gets_begin(&x.g, &x.to[i & 1], slice_str("a.*"), 0, &n[i]), 0);
    (void)gets_took(&x.g, n[i], &x.from[0], 1);
  }
  for (int i = 0; i < 5; i++) assert_non_null(answer(&x, n[9], (const char *[]){"a.b", "a.c", "a.d", "a.e", "a.f"}[i], 1));
  assert_non_null(answer(&x, n[8], "a.b", 1)); /* the newest to go: what was answered last */
  gets_set_max(&x.g, 2, 1);
  assert_int_equal(gets_count(&x.g), 2);
  assert_int_equal(x.g.evicted, 8);
  assert_int_equal(x.g.topics.count, 1);
  assert_null(answer(&x, n[7], "a.z", 1));
  assert_null(answer(&x, n[8], "a.b", 1));     /* it was told */
  assert_non_null(answer(&x, n[9], "a.b", 1)); /* rather twice than never */
  assert_int_equal(gets_begin(&x.g, &x.to[0], slice_str("c"), 0, &n[0]), 0);
  assert_int_equal(gets_count(&x.g), 2);
  end(&x);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (uint64_t k = 1;; k++) {
    struct fixture x;
    uint64_t n;
    begin(&x, 1000, 1000);
    x.fail.countdown = k;
    for (int i = 0; i < 40; i++) {
      int err = gets_begin(&x.g, &x.to[0], slice_str("a.*"), 0, &n);
      assert_true(err == 0 || err == MACULA_ENOMEM);
      if (!err) assert_ptr_equal(answer(&x, n, "a.b", 1), &x.to[0]);
      if (!err) (void)gets_took(&x.g, n, &x.from[0], 1);
      gets_live(&x.g, slice_of(&"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrst"[i], 3), 5);
    }
    bool all = x.fail.countdown != 0;
    end(&x);
    if (all) break;
  }
}

#define MANY 2000

static void costs_what_is_planned(void **state) {
  struct fixture x;
  char pattern[256];
  uint64_t n;
  (void)state;
  begin(&x, MANY, MANY);
  memset(pattern, 'x', 255);
  pattern[255] = 0;
  for (int i = 0; i < MANY; i++) {
    assert_int_equal(gets_begin(&x.g, &x.to[0], slice_str(pattern), 0, &n), 0);
    assert_non_null(answer(&x, n, pattern, 1));
    assert_non_null(gets_took(&x.g, n, &x.from[0], 1));
    assert_non_null(gets_took(&x.g, n, &x.from[1], 1));
    char topic[8];
    snprintf(topic, sizeof topic, "%d", i);
    gets_live(&x.g, slice_str(topic), 1);
  }
  print_message("%zu bytes each of %u planned\n", x.mem.peak / MANY, PLAN_GET);
  assert_true(x.mem.peak / MANY <= PLAN_GET);
  end(&x);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(each_topic_once_and_the_newest),
                                     cmocka_unit_test(live_ones_are_not_answered_again),
                                     cmocka_unit_test(ends),
                                     cmocka_unit_test(room_is_counted_for_each_source),
                                     cmocka_unit_test(a_node_ends_with_what_it_answered),
                                     cmocka_unit_test(a_lowered_limit_is_kept),
                                     cmocka_unit_test(every_allocation_may_fail),
                                     cmocka_unit_test(costs_what_is_planned)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
