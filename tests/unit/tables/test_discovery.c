/* The discovery cache: every behaviour of the original's service registry suite that is one of this table, by its name there,
 * and the bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "tables/discovery.h"

#define TTL (60 * NS_SEC)

struct fixture {
  struct mem mem;
  struct rng_seeded seeded;
  struct discovery d;
};

static void setup_with(struct fixture *f, uint32_t max, uint64_t ttl) {
  f->mem = MEM_INIT("discovery", 0);
  rng_seeded_init(&f->seeded, 11);
  discovery_init(&f->d, &f->mem, rng_seeded_view(&f->seeded), max, ttl, ttl < NS_SEC ? ttl : NS_SEC);
}
static void setup(struct fixture *f) { setup_with(f, 4, TTL); }
static void teardown(struct fixture *f) {
  discovery_done(&f->d);
  assert_int_equal(f->mem.bytes, 0);
}

static struct remote_node node(uint8_t id) { return (struct remote_node){.id = {{id}}, .seq = id}; }

static struct discovery_entry *cache(struct fixture *f, const char *name, const char *ids, nanotime now) {
  struct remote_node v[64];
  struct discovery_entry *e;
  size_t n = strlen(ids);
  for (size_t i = 0; i < n; i++) v[i] = node((uint8_t)ids[i]);
  assert_int_equal(discovery_look(&f->d, slice_str(name), now, &e), 0);
  assert_int_equal(discovery_found(&f->d, e, v, n, now), 0);
  return e;
}

static struct discovery_entry *get(struct fixture *f, const char *name, nanotime now) {
  return discovery_get(&f->d, slice_str(name), false, now);
}

/* What is known of it as text, one letter a node; "-" for a miss. */
static const char *known(struct fixture *f, const char *name, nanotime now) {
  static char text[DISCOVERY_NODES + 1];
  struct discovery_entry *e = get(f, name, now);
  if (!e) return "-";
  for (uint32_t i = 0; i < e->count; i++) text[i] = (char)e->v[i].id.b[0];
  text[e->count] = 0;
  return text;
}

static void cache_service_test(void **state) { /* two providers come back unchanged and in order */
  struct fixture f;
  (void)state;
  setup(&f);
  struct discovery_entry *e = cache(&f, "a.b", "zy", 0);
  assert_string_equal(known(&f, "a.b", 1), "zy");
  assert_int_equal(e->v[0].seq, 'z');
  teardown(&f);
}

static void discover_service_cache_miss_test(void **state) {
  struct fixture f;
  (void)state;
  setup(&f);
  assert_null(get(&f, "a.b", 0));
  assert_int_equal(f.d.misses, 1);
  teardown(&f);
}

static void discover_service_cache_hit_test(void **state) {
  struct fixture f;
  (void)state;
  setup(&f);
  cache(&f, "a.b", "p", 0);
  assert_string_equal(known(&f, "a.b", TTL - 1), "p");
  assert_int_equal(f.d.hits, 1);
  assert_null(get(&f, "a.bc", 0));
  teardown(&f);
}

static void discover_service_expired_cache_test(void **state) { /* a TTL of 0 is over at once */
  struct fixture f;
  (void)state;
  setup_with(&f, 4, 0);
  cache(&f, "a.b", "p", 5);
  assert_string_equal(known(&f, "a.b", 5), "-");
  assert_string_equal(known(&f, "a.b", 5 + 100 * NS_MS), "-");
  teardown(&f);
}

static void discover_service_force_refresh_test(void **state) {
  struct fixture f;
  (void)state;
  setup(&f);
  cache(&f, "a.b", "p", 0);
  assert_null(discovery_get(&f.d, slice_str("a.b"), true, 1));
  assert_int_equal(f.d.misses, 1);
  assert_string_equal(known(&f, "a.b", 1), "p");
  teardown(&f);
}

static void prune_expired_test(void **state) {
  struct fixture f;
  (void)state;
  for (int kept = 0; kept < 2; kept++) { /* with a counter of turns it leaves in two steps, and is a miss after the first */
    setup_with(&f, 4, kept ? TTL : 0);
    cache(&f, "a", "p", 1)->round_robin = kept;
    cache(&f, "b", "q", 1)->round_robin = kept;
    assert_true(discovery_deadline(&f.d) == 1 + f.d.ttl);
    assert_int_equal(discovery_prune(&f.d, 1 + f.d.ttl), 2);
    assert_string_equal(known(&f, "a", 1 + f.d.ttl), "-");
    assert_string_equal(known(&f, "b", 1 + f.d.ttl), "-");
    assert_int_equal(f.d.expiries, 2);
    assert_int_equal(discovery_count(&f.d), kept ? 2 : 0);
    assert_int_equal(discovery_prune(&f.d, 1 + 2 * TTL), 0);
    assert_int_equal(discovery_count(&f.d), 0);
    assert_true(discovery_deadline(&f.d) == TIME_NEVER);
    teardown(&f);
  }
}

static void many_providers_in_order(void **state) { /* multiple_subscribers_per_topic_test, and the bound of an entry */
  struct fixture f;
  char ids[41], first[DISCOVERY_NODES + 1] = {0};
  (void)state;
  setup(&f);
  for (int i = 0; i < 40; i++) ids[i] = (char)('A' + i);
  ids[40] = 0;
  memcpy(first, ids, DISCOVERY_NODES);
  cache(&f, "a", "edcba", 0);
  assert_string_equal(known(&f, "a", 0), "edcba");
  cache(&f, "a", ids, 0);
  assert_string_equal(known(&f, "a", 0), first);
  teardown(&f);
}

static void dht_query_not_found_test(void **state) { /* nobody provides it: known for a second */
  struct fixture f;
  (void)state;
  setup(&f);
  cache(&f, "a", "", 0);
  assert_string_equal(known(&f, "a", NS_SEC - 1), "");
  assert_string_equal(known(&f, "a", NS_SEC), "-");
  teardown(&f);
}

static void reading_renews_the_place_and_not_the_time(void **state) {
  struct fixture f;
  (void)state;
  setup(&f);
  cache(&f, "a", "p", 0);
  cache(&f, "b", "q", 0);
  cache(&f, "c", "r", 0);
  cache(&f, "d", "s", 0);
  assert_string_equal(known(&f, "a", TTL - 1), "p");
  cache(&f, "e", "t", TTL - 1);
  assert_string_equal(known(&f, "b", TTL - 1), "-"); /* the least recently used made room */
  assert_string_equal(known(&f, "a", TTL - 1), "p");
  assert_string_equal(known(&f, "a", TTL), "-");
  assert_int_equal(f.d.evictions, 1);
  assert_int_equal(discovery_count(&f.d), 4);
  teardown(&f);
}

static void what_is_looked_up_is_never_evicted(void **state) {
  struct fixture f;
  struct discovery_entry *e, *first;
  struct list waiter;
  char name[2] = "a";
  (void)state;
  setup(&f);
  assert_int_equal(discovery_look(&f.d, slice_str("a"), 0, &first), 0);
  list_append(&first->waiting, &waiter);
  for (name[0] = 'b'; name[0] < 'z'; name[0]++) cache(&f, name, "p", 0);
  assert_ptr_equal(discovery_find(&f.d, slice_str("a")), first);
  for (name[0] = 'b'; name[0] < 'e'; name[0]++) assert_int_equal(discovery_look(&f.d, slice_str(name), 0, &e), 0);
  assert_int_equal(discovery_look(&f.d, slice_str("e"), 0, &e), MACULA_EFULL);
  assert_int_equal(f.d.refused, 1);
  assert_int_equal(f.d.looking, 4);
  assert_int_equal(discovery_prune(&f.d, 10 * TTL), 0); /* nor does it expire */
  assert_int_equal(discovery_count(&f.d), 4);
  discovery_set_max(&f.d, 2);
  assert_int_equal(discovery_look(&f.d, slice_str("e"), 0, &e), MACULA_EFULL);
  discovery_set_max(&f.d, 4);
  list_remove(&waiter);
  discovery_failed(&f.d, first);
  assert_int_equal(discovery_look(&f.d, slice_str("e"), 0, &e), 0);
  assert_int_equal(f.d.looking, 4);
  teardown(&f);
}

/* At once, but for what is being looked up: that goes as soon as it is over. */
static void a_lowered_limit_is_kept(void **state) {
  struct fixture f;
  struct discovery_entry *e[3];
  (void)state;
  setup_with(&f, 10, TTL);
  for (char name[2] = "a"; name[0] < 'k'; name[0]++) cache(&f, name, "p", 0);
  for (int i = 0; i < 3; i++) assert_int_equal(discovery_look(&f.d, slice_of(&"abc"[i], 1), 0, &e[i]), 0);
  discovery_set_max(&f.d, 5);
  assert_int_equal(discovery_count(&f.d), 5);
  assert_string_equal(known(&f, "h", 0), "-"); /* the least recently used went */
  assert_string_equal(known(&f, "j", 0), "p");
  discovery_set_max(&f.d, 1);
  assert_int_equal(discovery_count(&f.d), 3);
  assert_int_equal(f.d.evictions, 7);
  for (int i = 0; i < 3; i++) {
    if (i & 1)
      discovery_failed(&f.d, e[i]);
    else
      assert_int_equal(discovery_found(&f.d, e[i], &(struct remote_node){{{'q'}}}, 1, 0), 0);
    assert_int_equal(discovery_prune(&f.d, 0), 0);
    assert_int_equal(discovery_count(&f.d), i == 0 ? 2 : 1);
  }
  teardown(&f);
}

static void a_failed_lookup_changes_nothing(void **state) {
  struct fixture f;
  struct discovery_entry *e;
  (void)state;
  setup(&f);
  cache(&f, "a", "p", 0);
  assert_int_equal(discovery_look(&f.d, slice_str("a"), 1, &e), 0);
  assert_string_equal(known(&f, "a", 1), "p"); /* meanwhile, too */
  discovery_failed(&f.d, e);
  assert_string_equal(known(&f, "a", TTL - 1), "p");
  assert_string_equal(known(&f, "a", TTL), "-");
  teardown(&f);
}

static void turns_go_on_over_a_refresh_and_an_expiry(void **state) {
  struct fixture f;
  (void)state;
  setup(&f);
  cache(&f, "a", "pq", 0)->round_robin = 7;
  assert_int_equal(cache(&f, "a", "pqr", 1)->round_robin, 7);
  assert_int_equal(discovery_prune(&f.d, 1 + TTL), 1);
  assert_int_equal(cache(&f, "a", "p", 1 + TTL)->round_robin, 7);
  assert_int_equal(discovery_prune(&f.d, 1 + 2 * TTL), 1);
  assert_int_equal(discovery_prune(&f.d, 1 + 3 * TTL), 0);
  assert_int_equal(cache(&f, "a", "p", 1 + 3 * TTL)->round_robin, 0);
  teardown(&f);
}

static void a_node_is_taken_out(void **state) { /* dht_remove_success_test */
  struct fixture f;
  struct discovery_entry *e;
  (void)state;
  setup(&f);
  e = cache(&f, "a", "pqr", 0);
  cache(&f, "b", "q", 0);
  cache(&f, "c", "p", 0);
  struct id q = {{'q'}}, x = {{'x'}};
  assert_false(discovery_remove(&f.d, e, &x, 0));
  assert_int_equal(discovery_remove_node(&f.d, &q, 0), 2);
  assert_string_equal(known(&f, "a", 0), "pr");
  assert_string_equal(known(&f, "b", 0), "-"); /* not "nobody": it is to be looked up again */
  assert_string_equal(known(&f, "c", 0), "p");
  assert_int_equal(discovery_remove_node(&f.d, &q, 0), 0);
  teardown(&f);
}

static void asked_again_at_growing_intervals(void **state) {
  struct fixture f;
  struct discovery_entry *e;
  (void)state;
  setup(&f);
  e = cache(&f, "a", "p", 0);
  assert_false(discovery_ask_again(e, NS_SEC - 1));
  assert_true(discovery_ask_again(e, NS_SEC));
  assert_false(discovery_ask_again(e, NS_SEC));
  cache(&f, "a", "p", NS_SEC);
  assert_false(discovery_ask_again(e, 3 * NS_SEC - 1));
  assert_true(discovery_ask_again(e, 3 * NS_SEC));
  for (int i = 0; i < 20; i++) cache(&f, "a", "p", NS_SEC);
  assert_int_equal(e->refresh, TTL / 2);
  assert_int_equal(discovery_look(&f.d, slice_str("a"), 0, &e), 0);
  assert_false(discovery_ask_again(e, 50 * NS_SEC)); /* it is being looked up */
  teardown(&f);
}

static void names_have_a_length(void **state) {
  struct fixture f;
  struct discovery_entry *e;
  char name[300];
  (void)state;
  setup(&f);
  memset(name, 'a', sizeof name);
  assert_int_equal(discovery_look(&f.d, slice_of(name, 0), 0, &e), MACULA_EINVAL);
  assert_int_equal(discovery_look(&f.d, slice_of(name, 256), 0, &e), MACULA_EINVAL);
  assert_int_equal(discovery_look(&f.d, slice_of(name, 255), 0, &e), 0);
  teardown(&f);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (uint64_t n = 1;; n++) {
    struct fixture f;
    struct mem_fail fail = {.countdown = n};
    struct discovery_entry *e;
    struct remote_node v[2] = {node('p'), node('q')};
    setup(&f);
    f.mem.fail = &fail;
    for (int i = 0; i < 8; i++) {
      char name[2] = {(char)('a' + i), 0};
      int err = discovery_look(&f.d, slice_str(name), 0, &e);
      assert_true(err == 0 || err == MACULA_ENOMEM);
      if (err) continue;
      err = discovery_found(&f.d, e, v, 2, 0);
      assert_true(err == 0 || err == MACULA_ENOMEM);
      assert_false(e->looking);
      assert_string_equal(known(&f, name, 0), err ? "-" : "pq");
    }
    fail.seen = 0;
    discovery_prune(&f.d, TTL);
    teardown(&f);
    assert_int_equal(fail.seen, 0); /* leaving needs no memory */
    if (fail.countdown) break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(cache_service_test),
                                     cmocka_unit_test(discover_service_cache_miss_test),
                                     cmocka_unit_test(discover_service_cache_hit_test),
                                     cmocka_unit_test(discover_service_expired_cache_test),
                                     cmocka_unit_test(discover_service_force_refresh_test),
                                     cmocka_unit_test(prune_expired_test),
                                     cmocka_unit_test(many_providers_in_order),
                                     cmocka_unit_test(dht_query_not_found_test),
                                     cmocka_unit_test(reading_renews_the_place_and_not_the_time),
                                     cmocka_unit_test(what_is_looked_up_is_never_evicted),
                                     cmocka_unit_test(a_lowered_limit_is_kept),
                                     cmocka_unit_test(a_failed_lookup_changes_nothing),
                                     cmocka_unit_test(turns_go_on_over_a_refresh_and_an_expiry),
                                     cmocka_unit_test(a_node_is_taken_out),
                                     cmocka_unit_test(asked_again_at_growing_intervals),
                                     cmocka_unit_test(names_have_a_length),
                                     cmocka_unit_test(every_allocation_may_fail)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
