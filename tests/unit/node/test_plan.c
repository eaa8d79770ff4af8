/* The plan is arithmetic: its sums, its order, what each limit does to it, and how limits are made to fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/memory/plan.h"

#define MIB (UINT64_C(1) << 20)

static uint64_t total(const struct node_limits *l) {
  struct plan p;
  node_plan(l, &p);
  return p.total;
}

static const struct plan_row *row(const struct plan *p, const char *name) {
  for (size_t i = 0; i < p->count; i++)
    if (!strcmp(p->rows[i].name, name)) return &p->rows[i];
  fail_msg("no row %s", name);
  return NULL;
}

static void test_sums(void **state) {
  struct node_limits l;
  struct plan p, zero;
  uint64_t sum = 0;
  (void)state;
  node_limits_default(&l);
  node_plan(&l, &p);
  for (size_t i = 0; i < p.count; i++) {
    const struct plan_row *r = &p.rows[i];
    assert_int_equal(r->bytes, r->entries * r->each + r->beside);
    assert_true(i == 0 || r->bytes <= p.rows[i - 1].bytes);
    for (size_t k = 0; k < i; k++) assert_string_not_equal(r->name, p.rows[k].name);
    sum += r->bytes;
  }
  assert_int_equal(sum, p.total);
  assert_true(p.total <= 2048 * MIB);
  memset(&l, 0, sizeof l); /* 0 counts as the default */
  node_plan(&l, &zero);
  assert_int_equal(zero.total, p.total);
}

static void test_a_limit_is_in_its_row(void **state) {
  struct node_limits l;
  struct plan before, after;
  (void)state;
  node_limits_default(&l);
  node_plan(&l, &before);
  l.max_services += 1000;
  l.send_pool += 10 * MIB;
  node_plan(&l, &after);
  const struct plan_row *r = row(&after, "services");
  assert_int_equal(r->bytes - row(&before, "services")->bytes, 1000 * r->each);
  assert_int_equal(row(&after, "lookups")->bytes - row(&before, "lookups")->bytes, 1000 * PLAN_OWN); /* each is announced */
  assert_int_equal(row(&after, "send_queues")->bytes - row(&before, "send_queues")->bytes, 10 * MIB);
  assert_true(row(&after, "fragmentation")->bytes > row(&before, "fragmentation")->bytes);
  assert_int_equal(row(&after, "connections")->bytes, row(&before, "connections")->bytes);
}

static bool keep_clients(void *ctx, const char *key) {
  ++*(int *)ctx;
  return !strcmp(key, "max_clients");
}

static void test_fit(void **state) {
  (void)state;
  for (uint64_t max = 80 * MIB; max < 3000 * MIB; max += 37 * MIB) {
    struct node_limits from, l;
    struct plan_change changes[PLAN_MAX_CHANGES];
    size_t n;
    node_limits_default(&from);
    l = from;
    assert_int_equal(plan_fit(&l, max, false, NULL, NULL, changes, &n), 0);
    assert_true(total(&l) <= max);
    assert_true(l.max_clients <= from.max_clients && l.max_clients >= 16);
    if (total(&from) <= max)
      assert_int_equal(n, 0); /* nothing is lowered without need, and never raised */
    else
      assert_true(n > 0 && total(&l) > max / 10 * 8); /* and not much more than needed */
    for (size_t i = 0; i < n; i++) assert_true(changes[i].to < changes[i].from);
    assert_int_equal(l.client_queue, from.client_queue);
  }
}

static void test_fit_keeps(void **state) {
  struct node_limits l;
  struct plan_change changes[PLAN_MAX_CHANGES];
  size_t n;
  int asked = 0;
  (void)state;
  node_limits_default(&l);
  l.max_clients = 9999;
  assert_int_equal(plan_fit(&l, 1000 * MIB, false, keep_clients, &asked, changes, &n), 0);
  assert_int_equal(l.max_clients, 9999);
  assert_true(asked > 0 && total(&l) <= 1000 * MIB);
  assert_int_equal(plan_fit(&l, 300 * MIB, false, keep_clients, &asked, changes, &n), MACULA_EFULL); /* they alone need more */
  assert_int_equal(l.max_clients, 9999);
  node_limits_default(&l);
  assert_int_equal(plan_fit(&l, MIB, false, NULL, NULL, changes, &n), MACULA_EFULL);
  assert_int_equal(l.max_clients, 16);
}

/* A limit that is small already stays: a node for three clients does not become one for sixteen. */
static void test_small_limits_stay(void **state) {
  struct node_limits l;
  struct plan_change changes[PLAN_MAX_CHANGES];
  size_t n;
  (void)state;
  node_limits_default(&l);
  l.max_clients = 3;
  assert_int_equal(plan_fit(&l, 100 * MIB, false, NULL, NULL, changes, &n), 0);
  assert_int_equal(l.max_clients, 3);
}

/* What the kernel may hold for TCP clients counts where that is asked for. */
static void test_kernel(void **state) {
  struct node_limits l = {.max_clients = 1000, .mqtt_pool = 64 * MIB}, none = {.max_clients = 1000};
  struct plan_change changes[PLAN_MAX_CHANGES];
  struct plan p;
  size_t n;
  (void)state;
  node_plan(&none, &p);
  assert_int_equal(p.kernel, 0);
  node_plan(&l, &p);
  node_limits_fill(&l);
  /* Of clients' sockets a part is in their slots. */
  assert_int_equal(p.kernel, 1024 * (uint64_t)PLAN_TCP + 1000 * (uint64_t)(PLAN_TCP - PLAN_TCP_SLOT) + plan_tcp_more(&l));
  uint64_t max = p.total;
  assert_int_equal(plan_fit(&l, max, false, NULL, NULL, changes, &n), 0);
  assert_int_equal(n, 0);
  assert_int_equal(plan_fit(&l, max, true, NULL, NULL, changes, &n), 0);
  assert_true(n > 0);
  node_plan(&l, &p);
  assert_in_range(p.total + p.kernel, max / 4 * 3, max);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sums),   cmocka_unit_test(test_a_limit_is_in_its_row),
      cmocka_unit_test(test_fit),    cmocka_unit_test(test_fit_keeps),
      cmocka_unit_test(test_kernel), cmocka_unit_test(test_small_limits_stay),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
