#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "tables/clients.h"

static struct rng_seeded seeded;
static struct rng rng(void) {
  rng_seeded_init(&seeded, 1);
  return rng_seeded_view(&seeded);
}

static struct clients_entry client(uint8_t id, uint8_t instance, bool verified, uint64_t session) {
  struct clients_entry e = {.verified = verified, .session = session};
  e.id.b[0] = id;
  e.instance[0] = instance;
  return e;
}

static int add(struct clients *c, struct clients_entry *e) {
  struct clients_entry *old = NULL;
  int err = clients_add(c, e, false, &old);
  if (!err) assert_null(old);
  return err;
}

static void limit_is_enforced_and_updates_pass(void **state) {
  (void)state;
  struct mem m = MEM_INIT("clients", 0);
  struct clients c;
  clients_init(&c, &m, rng(), 3, 2);
  struct clients_entry e[5], *old;
  for (uint8_t i = 0; i < 4; i++) e[i] = client(i, 0, true, i);
  for (int i = 0; i < 3; i++) assert_int_equal(add(&c, &e[i]), 0);
  assert_int_equal(add(&c, &e[3]), MACULA_MAX_CLIENTS_REACHED);
  assert_int_equal(c.count, 3);
  assert_int_equal(c.refused, 1);
  assert_false(e[3].in);

  e[4] = client(1, 0, true, 9); /* the client of e[1] again, while full */
  assert_int_equal(clients_add(&c, &e[4], false, &old), 0);
  assert_ptr_equal(old, &e[1]);
  assert_false(old->in);
  assert_int_equal(c.count, 3);
  assert_ptr_equal(clients_find(&c, true, &e[4].id, e[4].instance), &e[4]);
  clients_remove(&c, &e[1]); /* the older one's end never takes the newer one out */
  assert_ptr_equal(clients_find(&c, true, &e[4].id, e[4].instance), &e[4]);

  clients_set_max(&c, 1, 2); /* a lowered limit throws nobody out, and updates still pass */
  e[1] = client(1, 0, true, 10);
  assert_int_equal(clients_add(&c, &e[1], false, &old), 0);
  assert_int_equal(c.count, 3);
  clients_remove(&c, &e[0]);
  clients_remove(&c, &e[0]); /* idempotent */
  clients_remove(&c, &e[1]);
  assert_int_equal(add(&c, &e[3]), MACULA_MAX_CLIENTS_REACHED);
  clients_remove(&c, &e[2]);
  assert_int_equal(clients_total(&c), 0);
  assert_true(list_empty(&c.all));
  clients_done(&c);
  assert_int_equal(m.bytes, 0);
}

static void an_unverified_label_displaces_nobody(void **state) {
  (void)state;
  struct mem m = MEM_INIT("clients", 0);
  struct clients c;
  clients_init(&c, &m, rng(), 10, 0);
  struct clients_entry real = client(1, 1, true, 1), label = client(1, 1, false, 2), second = client(1, 2, true, 3);
  assert_int_equal(add(&c, &real), 0);
  assert_int_equal(add(&c, &label), 0);
  assert_int_equal(add(&c, &second), 0); /* one key, two instances: two clients */
  assert_int_equal(c.count, 3);
  assert_ptr_equal(clients_find(&c, true, &real.id, real.instance), &real);
  clients_done(&c);
  assert_false(real.in);
  assert_int_equal(m.bytes, 0);
}

static void operators_have_slots_of_their_own(void **state) {
  (void)state;
  struct mem m = MEM_INIT("clients", 0);
  struct clients c;
  clients_init(&c, &m, rng(), 1, 2);
  struct clients_entry e[5], *old;
  for (uint8_t i = 0; i < 5; i++) e[i] = client(i, 0, true, i);
  assert_int_equal(add(&c, &e[0]), 0);
  assert_int_equal(clients_add(&c, &e[1], true, &old), 0);
  assert_int_equal(clients_add(&c, &e[2], true, &old), 0);
  assert_int_equal(clients_add(&c, &e[3], true, &old), MACULA_MAX_CLIENTS_REACHED);
  assert_int_equal(c.ops, 2);
  assert_int_equal(c.count, 1);
  clients_remove(&c, &e[0]);
  assert_int_equal(clients_add(&c, &e[3], true, &old), 0); /* an ordinary slot serves too */
  assert_false(e[3].op);
  e[4] = client(1, 0, true, 9); /* leaves the operator's slot, but no ordinary one is free */
  assert_int_equal(clients_add(&c, &e[4], false, &old), MACULA_MAX_CLIENTS_REACHED);
  assert_true(e[1].in);
  assert_int_equal(clients_add(&c, &e[4], true, &old), 0);
  assert_ptr_equal(old, &e[1]);
  assert_int_equal(c.ops, 2);
  clients_done(&c);
}

static void refused_memory_changes_nothing(void **state) {
  (void)state;
  struct mem_fail f = {.countdown = 1};
  struct mem m = {.name = "clients", .fail = &f};
  struct clients c;
  clients_init(&c, &m, rng(), 10, 0);
  struct clients_entry e = client(1, 1, true, 1);
  assert_int_equal(add(&c, &e), MACULA_ENOMEM);
  assert_int_equal(c.count, 0);
  assert_false(e.in);
  assert_int_equal(add(&c, &e), 0);
  clients_done(&c);
  assert_int_equal(m.bytes, 0);
}

static void churn_leaves_only_the_living(void **state) {
  (void)state;
  struct mem m = MEM_INIT("clients", 0);
  struct clients c;
  clients_init(&c, &m, rng(), 10000, 8);
  static struct clients_entry e[5000];
  for (int i = 0; i < 5000; i++) {
    e[i] = client((uint8_t)i, (uint8_t)(i >> 8), true, (uint64_t)i);
    assert_int_equal(add(&c, &e[i]), 0);
  }
  for (int i = 0; i < 4900; i++) clients_remove(&c, &e[i]);
  assert_int_equal(c.count, 100);
  uint32_t listed = 0;
  list_for(l, &c.all) assert_int_equal(container_of(l, struct clients_entry, all)->session, 4900 + listed++);
  assert_int_equal(listed, 100);
  clients_done(&c);
  assert_int_equal(m.bytes, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(limit_is_enforced_and_updates_pass), cmocka_unit_test(an_unverified_label_displaces_nobody),
      cmocka_unit_test(operators_have_slots_of_their_own), cmocka_unit_test(refused_memory_changes_nothing),
      cmocka_unit_test(churn_leaves_only_the_living)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
