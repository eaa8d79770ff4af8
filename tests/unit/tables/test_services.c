#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "tables/services.h"

static struct rng_seeded seeded;
static struct rng rng(void) {
  rng_seeded_init(&seeded, 1);
  return rng_seeded_view(&seeded);
}

#define TTL (300 * NS_SEC)
#define NAME(s) slice_str(s)

static struct service_owner owner(uint64_t session) {
  struct id id = {{(uint8_t)session}};
  struct service_owner o;
  service_owner_init(&o, session, &id, NULL);
  return o;
}
#define OWNER(name, session)                                                                                                   \
  struct service_owner name = owner(session);                                                                                  \
  list_init(&name.own)

static void register_find_unregister(void **state) {
  (void)state;
  struct mem m = MEM_INIT("services", 0);
  struct services s;
  services_init(&s, &m, rng(), 100, 10);
  OWNER(a, 1);
  OWNER(b, 2);
  assert_null(services_find(&s, NAME("x")));
  assert_int_equal(services_unregister(&s, &a, NAME("x")), MACULA_ENOTFOUND);
  assert_int_equal(services_register(&s, &a, NAME("x"), TTL, 0), 0);
  assert_int_equal(services_register(&s, &b, NAME("x"), TTL, 1), 0);
  assert_int_equal(services_register(&s, &a, NAME("y"), TTL, 2), 0);
  struct service *x = services_find(&s, NAME("x"));
  assert_int_equal(x->count, 2);
  assert_ptr_equal(x->v[0]->owner, &a);
  assert_ptr_equal(x->v[1]->owner, &b);
  assert_int_equal(s.count, 3);
  const char *names[] = {"x", "y"};
  int n = 0;
  list_for(l, &s.all) assert_string_equal(container_of(l, struct service, all)->name, names[n++]);
  assert_int_equal(n, 2);
  assert_int_equal(services_unregister(&s, &a, NAME("x")), 0);
  assert_int_equal(services_unregister(&s, &a, NAME("x")), MACULA_ENOTFOUND);
  assert_int_equal(services_find(&s, NAME("x"))->count, 1);
  assert_int_equal(services_drop(&s, &b), 1);
  assert_int_equal(services_drop(&s, &b), 0);
  assert_null(services_find(&s, NAME("x")));
  services_done(&s);
  assert_int_equal(a.count, 0);
  assert_int_equal(m.bytes, 0);
}

static void age_counts_from_the_last_renewal(void **state) {
  (void)state;
  struct mem m = MEM_INIT("services", 0);
  struct services s;
  services_init(&s, &m, rng(), 100, 10);
  OWNER(a, 1);
  assert_true(services_deadline(&s) == TIME_NEVER);
  assert_int_equal(services_register(&s, &a, NAME("x"), TTL, 0), 0);
  assert_int_equal(services_register(&s, &a, NAME("y"), TTL, 0), 0);
  assert_int_equal(services_register(&s, &a, NAME("x"), TTL, 200 * NS_SEC), 0); /* renewed, not twice there */
  assert_int_equal(s.count, 2);
  assert_int_equal(services_find(&s, NAME("x"))->v[0]->registered_at, 0);
  assert_true(services_deadline(&s) == TTL);
  assert_int_equal(services_expire(&s, TTL - 1), 0);
  assert_int_equal(services_expire(&s, TTL), 1);
  assert_null(services_find(&s, NAME("y")));
  assert_non_null(services_find(&s, NAME("x")));
  assert_int_equal(services_expire(&s, 500 * NS_SEC), 1);
  assert_int_equal(s.expired, 2);
  assert_int_equal(services_register(&s, &a, NAME("x"), 0, 600 * NS_SEC), 0); /* TTL 0: due at once */
  assert_int_equal(services_expire(&s, 600 * NS_SEC), 1);
  services_done(&s);
  assert_int_equal(m.bytes, 0);
}

static void limits_in_total_and_per_owner(void **state) {
  (void)state;
  struct mem m = MEM_INIT("services", 0);
  struct services s;
  services_init(&s, &m, rng(), 3, 2);
  OWNER(a, 1);
  OWNER(b, 2);
  assert_int_equal(services_register(&s, &a, NAME("x"), TTL, 0), 0);
  assert_int_equal(services_register(&s, &a, NAME("y"), TTL, 0), 0);
  assert_int_equal(services_register(&s, &a, NAME("z"), TTL, 0), MACULA_MAX_SERVICES_REACHED);
  assert_int_equal(services_register(&s, &b, NAME("x"), TTL, 0), 0);
  assert_int_equal(services_register(&s, &b, NAME("z"), TTL, 0), MACULA_MAX_SERVICES_REACHED);
  assert_int_equal(s.refused, 2);
  assert_null(services_find(&s, NAME("z")));
  assert_int_equal(services_register(&s, &a, NAME("x"), TTL, 5), 0); /* renewal passes while full */
  char longest[256];
  memset(longest, 'a', sizeof longest);
  assert_int_equal(services_register(&s, &a, slice_of(longest, 256), TTL, 0), MACULA_EINVAL);
  assert_int_equal(services_register(&s, &a, slice_of("", 0), TTL, 0), MACULA_EINVAL);
  services_done(&s);
  assert_int_equal(m.bytes, 0);
}

static void order_of_registration_survives_removals(void **state) {
  (void)state;
  struct mem m = MEM_INIT("services", 0);
  struct services s;
  services_init(&s, &m, rng(), 1000, 10);
  static struct service_owner o[200];
  for (int i = 0; i < 200; i++) {
    o[i] = owner((uint64_t)i);
    list_init(&o[i].own);
    assert_int_equal(services_register(&s, &o[i], NAME("x"), TTL, 0), 0);
  }
  for (int i = 0; i < 200; i++)
    if (i % 20) assert_int_equal(services_unregister(&s, &o[i], NAME("x")), 0);
  struct service *x = services_find(&s, NAME("x"));
  assert_int_equal(x->count, 10);
  assert_true(x->cap < 200);
  for (uint32_t i = 0; i < 10; i++) assert_ptr_equal(x->v[i]->owner, &o[i * 20]);
  services_done(&s);
  assert_int_equal(m.bytes, 0);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (uint64_t n = 1;; n++) {
    struct mem_fail f = {.countdown = n};
    struct mem m = {.name = "services", .fail = &f};
    struct services s;
    services_init(&s, &m, rng(), 100, 100);
    OWNER(a, 1);
    OWNER(b, 2);
    int failed = 0;
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
      int ea = services_register(&s, &a, NAME(names[i]), TTL, 0), eb = services_register(&s, &b, NAME(names[i]), TTL, 0);
      assert_true((ea == 0 || ea == MACULA_ENOMEM) && (eb == 0 || eb == MACULA_ENOMEM));
      failed += (ea != 0) + (eb != 0);
      struct service *v = services_find(&s, NAME(names[i]));
      assert_int_equal(v ? v->count : 0, (ea == 0) + (eb == 0));
    }
    assert_int_equal(s.count, 18 - failed);
    assert_int_equal(a.count + b.count, 18 - failed);
    services_done(&s);
    assert_int_equal(m.bytes, 0);
    if (f.countdown) break; /* all of them were tried */
    assert_true(failed <= 1);
  }
}

static void heard(void *ctx, struct slice name, bool served) {
  char *log = ctx;
  size_t n = strlen(log);
  snprintf(log + n, 64 - n, "%c%.*s", served ? '+' : '-', (int)name.n, (const char *)name.p);
}

static void first_and_last_providers_are_told(void **state) {
  (void)state;
  struct mem m = MEM_INIT("services", 0);
  char log[64] = "";
  struct services s;
  services_init(&s, &m, rng(), 100, 10);
  services_watch(&s, heard, log);
  OWNER(a, 1);
  OWNER(b, 2);
  services_register(&s, &a, NAME("x"), TTL, 0);
  services_register(&s, &b, NAME("x"), TTL, 0);
  services_register(&s, &a, NAME("x"), TTL, 1);
  services_register(&s, &b, NAME("y"), TTL, 1);
  assert_string_equal(log, "+x+y");
  services_unregister(&s, &a, NAME("x"));
  assert_string_equal(log, "+x+y");
  services_drop(&s, &b);
  assert_string_equal(log, "+x+y-x-y");
  services_register(&s, &a, NAME("z"), TTL, 0);
  services_expire(&s, TTL);
  assert_string_equal(log, "+x+y-x-y+z-z");
  services_register(&s, &a, NAME("w"), TTL, TTL);
  services_done(&s); /* the end of the table is nobody's end */
  assert_string_equal(log, "+x+y-x-y+z-z+w");
  assert_int_equal(m.bytes, 0);
}

/* ---- the original's service registry suite, by its names -------------------------------------------------------------------
 */
static void prune_expired_local_services_test(void **state) {
  (void)state;
  struct mem m = MEM_INIT("services", 0);
  struct services s;
  services_init(&s, &m, rng(), 100, 10);
  OWNER(a, 1);
  services_register(&s, &a, NAME("x"), 0, 5); /* a TTL of 0 is over at once */
  services_register(&s, &a, NAME("y"), 0, 5);
  assert_int_equal(services_expire(&s, 5), 2);
  assert_null(services_find(&s, NAME("x")));
  assert_null(services_find(&s, NAME("y")));
  assert_true(list_empty(&s.all));
  services_done(&s);
}

static void advertise_lookup_unadvertise(void **state) { /* advertise_, get_, multiple_, unadvertise_local_service(s)_test */
  (void)state;
  struct mem m = MEM_INIT("services", 0);
  struct services s;
  services_init(&s, &m, rng(), 100, 10);
  OWNER(a, 1);
  assert_null(services_find(&s, NAME("x")));
  services_register(&s, &a, NAME("x"), TTL, 0);
  services_register(&s, &a, NAME("y"), TTL, 0);
  assert_ptr_equal(services_find(&s, NAME("x"))->v[0]->owner, &a);
  assert_int_equal(s.tab.count, 2);
  services_unregister(&s, &a, NAME("x"));
  assert_null(services_find(&s, NAME("x")));
  assert_int_equal(s.tab.count, 1);
  services_done(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(register_find_unregister),          cmocka_unit_test(age_counts_from_the_last_renewal),
      cmocka_unit_test(limits_in_total_and_per_owner),     cmocka_unit_test(order_of_registration_survives_removals),
      cmocka_unit_test(every_allocation_may_fail),         cmocka_unit_test(first_and_last_providers_are_told),
      cmocka_unit_test(prune_expired_local_services_test), cmocka_unit_test(advertise_lookup_unadvertise)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
