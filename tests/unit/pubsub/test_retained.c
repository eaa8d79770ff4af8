#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "pubsub/retained.h"
#include "unit/broken.h"

static struct rng_seeded seeded;
static struct rng rng(void) {
  rng_seeded_init(&seeded, 1);
  return rng_seeded_view(&seeded);
}

static struct mem payloads = MEM_INIT("payloads", 0);

static struct retained_owner *owner;
static nanotime now;

static int set(struct retained *r, const char *topic, size_t len) {
  struct shbuf *b = shbuf_new(&payloads, len);
  memset(b->data, 'x', len);
  int err = retained_set(
      r, &(struct retained_message){.topic = slice_str(topic), .payload = b, .owner = owner, .qos = 1, .now = now});
  shbuf_unref(b);
  return err;
}

static void replaced_and_cleared(void **state) {
  (void)state;
  struct mem m = MEM_INIT("retained", 0);
  struct retained r;
  retained_init(&r, &m, rng(), 10, 1000);
  assert_int_equal(set(&r, "a.b", 5), 0);
  assert_int_equal(retained_find(&r, slice_str("a.b"))->payload->len, 5);
  assert_int_equal(set(&r, "a.b", 9), 0);
  assert_int_equal(retained_count(&r), 1);
  assert_int_equal(retained_find(&r, slice_str("a.b"))->payload->len, 9);
  assert_int_equal(r.bytes, 12);
  assert_int_equal(payloads.blocks, 1);
  assert_int_equal(retained_set(&r, &(struct retained_message){.topic = slice_str("a.b")}), 0);
  assert_int_equal(retained_set(&r, &(struct retained_message){.topic = slice_str("a.b")}), 0); /* clearing nothing is fine */
  assert_null(retained_find(&r, slice_str("a.b")));
  assert_int_equal(r.bytes, 0);
  assert_int_equal(set(&r, "a.c", 1), 0);
  assert_int_equal(set(&r, "a.c", 0), 0); /* an empty payload clears as well */
  assert_int_equal(retained_count(&r), 0);
  assert_int_equal(set(&r, "a.c", 1), 0);
  retained_done(&r);
  assert_int_equal(m.bytes, 0);
  assert_int_equal(payloads.bytes, 0);
}

static void full_by_number_or_bytes(void **state) {
  (void)state;
  struct mem m = MEM_INIT("retained", 0);
  struct retained r;
  retained_init(&r, &m, rng(), 2, 100);
  assert_int_equal(set(&r, "a", 10), 0);
  assert_int_equal(set(&r, "b", 10), 0);
  assert_int_equal(set(&r, "c", 10), MACULA_RETAIN_FULL);
  assert_int_equal(set(&r, "a", 89), MACULA_RETAIN_FULL);
  assert_int_equal(retained_find(&r, slice_str("a"))->payload->len, 10); /* nothing changed */
  assert_int_equal(set(&r, "a", 88), 0);
  assert_int_equal(r.bytes, 100);
  assert_int_equal(r.refused, 2);
  assert_int_equal(set(&r, "a", 0), 0);
  assert_int_equal(set(&r, "c", 10), 0);
  retained_done(&r);
  assert_int_equal(m.bytes, 0);
}

static int set_of(struct retained_owner *o, struct retained *r, const char *topic, size_t len) {
  owner = o;
  int err = set(r, topic, len);
  owner = NULL;
  assert_null(retained_check(r));
  return err;
}

/* One owner holds at most as much as is left to the others, so that there is room for another whatever it does. */
static void shares(void **state) {
  (void)state;
  struct mem m = MEM_INIT("retained", 0);
  struct retained r;
  struct retained_owner hog = {0}, other = {0};
  char topic[8];
  retained_init(&r, &m, rng(), 8, 1000);
  for (int i = 0; i < 4; i++) {
    snprintf(topic, sizeof topic, "h%d", i);
    assert_int_equal(set_of(&hog, &r, topic, 1), 0);
  }
  assert_int_equal(set_of(&hog, &r, "h4", 1), MACULA_QUOTA_REACHED);
  assert_int_equal(hog.count, 4);
  assert_int_equal(hog.bytes, 12);
  assert_int_equal(set_of(&other, &r, "o1", 1), 0);
  assert_int_equal(set_of(&other, &r, "o2", 1), 0);
  assert_int_equal(set_of(&other, &r, "o3", 1), MACULA_QUOTA_REACHED);
  assert_int_equal(set_of(&hog, &r, "h0", 1), 0);   /* what does not grow stays possible */
  assert_int_equal(set_of(&other, &r, "h0", 1), 0); /* published by another: now its own */
  assert_int_equal(hog.count, 3);
  assert_int_equal(set_of(&hog, &r, "h0", 0), 0);
  assert_int_equal(set_of(&other, &r, "h1", 1), 0);
  assert_int_equal(hog.count, 2);
  assert_int_equal(other.count, 3);
  assert_int_equal(set_of(NULL, &r, "h1", 1), 0); /* nobody's */
  assert_int_equal(other.count, 2);
  assert_int_equal(r.refused_share, 2);
  retained_done(&r);
  assert_int_equal(hog.count + other.count + hog.bytes + other.bytes, 0);
  retained_init(&r, &m, rng(), 1000, 100);
  assert_int_equal(set_of(&hog, &r, "a", 49), 0);
  assert_int_equal(set_of(&hog, &r, "b", 0), 0);
  assert_int_equal(set_of(&hog, &r, "c", 0), 0);
  assert_int_equal(set_of(&hog, &r, "b", 1), MACULA_QUOTA_REACHED);
  assert_int_equal(set_of(&hog, &r, "a", 99), 0); /* one alone may be as large as all */
  assert_int_equal(set_of(&other, &r, "c", 1), MACULA_RETAIN_FULL);
  retained_done(&r);
  retained_init(&r, &m, rng(), 1, 100);
  assert_int_equal(set_of(&hog, &r, "a", 5), 0);
  assert_int_equal(set_of(&hog, &r, "a", 50), 0);
  assert_int_equal(set_of(&other, &r, "b", 5), MACULA_RETAIN_FULL);
  retained_done(&r);
  assert_int_equal(m.bytes, 0);
}

static void ages(void **state) {
  (void)state;
  struct mem m = MEM_INIT("retained", 0);
  struct retained r;
  retained_init(&r, &m, rng(), 10, 1000);
  assert_int_equal(retained_deadline(&r, 10), TIME_NEVER);
  for (now = 1; now < 4; now++) assert_int_equal(set(&r, now == 1 ? "a" : now == 2 ? "b" : "c", 1), 0);
  assert_int_equal(set(&r, "a", 1), 0); /* at 4: new again */
  assert_int_equal(retained_deadline(&r, 10), 12);
  assert_null(retained_due(&r, 10, 11));
  assert_string_equal(retained_due(&r, 10, 12)->topic, "b");
  assert_int_equal(set(&r, "b", 0), 0);
  assert_null(retained_due(&r, 10, 12));
  assert_string_equal(retained_due(&r, 10, 100)->topic, "c");
  now = 0;
  retained_done(&r);
  assert_int_equal(m.bytes, 0);
}

static void those_that_match(void **state) {
  (void)state;
  struct mem m = MEM_INIT("retained", 0);
  struct retained r;
  retained_init(&r, &m, rng(), 10, 1000);
  static const char *const topics[] = {"a", "a.b", "a.b.c", "ab.c", "b"};
  for (size_t i = 0; i < 5; i++) assert_int_equal(set(&r, topics[i], 1), 0);
  static const struct {
    const char *pattern;
    uint32_t count;
  } cases[] = {{"a", 1},    {"a.**", 3}, {"a.*", 1},  {"**", 5},       {"*", 2},   {"*.*", 2},
               {"**.c", 2}, {"x", 0},    {"x.**", 0}, {"a.b.c.**", 1}, {"ab.*", 1}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint32_t n = 0, steps = 0;
    list_for(it, &r.all) n +=
        retained_matches(container_of(it, struct retained_entry, all), slice_str(cases[i].pattern), &steps);
    assert_int_equal(n, cases[i].count);
  }
  retained_done(&r);
  assert_int_equal(m.bytes, 0);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (uint64_t n = 1;; n++) {
    struct mem_fail f = {.countdown = n};
    struct mem m = {.name = "retained", .fail = &f};
    struct retained r;
    retained_init(&r, &m, rng(), 10, 1000);
    int ea = set(&r, "a", 1), eb = set(&r, "b", 1);
    assert_true((ea == 0 || ea == MACULA_ENOMEM) && (eb == 0 || eb == MACULA_ENOMEM));
    assert_int_equal(retained_count(&r), (ea == 0) + (eb == 0));
    retained_done(&r);
    assert_int_equal(m.bytes, 0);
    assert_int_equal(payloads.bytes, 0);
    if (f.countdown) break;
  }
}

/* Restored in any order, in the end the oldest are the first. */
static void sorted_after_a_restart(void **state) {
  (void)state;
  struct mem m = MEM_INIT("retained", 0);
  struct retained r;
  retained_init(&r, &m, rng(), 1000, 100000);
  for (unsigned i = 0; i < 777; i++) {
    char topic[16];
    snprintf(topic, sizeof topic, "t%u", i);
    now = 1 + i * 571 % 389; /* some twice */
    assert_int_equal(set(&r, topic, 1), 0);
  }
  retained_sort(&r);
  assert_null(retained_check(&r));
  for (nanotime at = 1; at < 390; at++) {
    assert_null(retained_due(&r, 10, at + 9));
    for (const struct retained_entry *e; (e = retained_due(&r, 10, at + 10));) {
      assert_int_equal(e->at, at);
      assert_int_equal(retained_set(&r, &(struct retained_message){.topic = slice_of(e->topic, e->len)}), 0);
    }
  }
  assert_int_equal(retained_count(&r), 0);
  retained_sort(&r);
  retained_done(&r);
  assert_int_equal(m.bytes, 0);
  now = 0;
}

/* Headers count, stay with their message, and go with it; a time to live ends it whenever it is due. */
static void test_headers_and_end(void **state) {
  (void)state;
  struct mem m = MEM_INIT("retained", 0);
  struct retained r;
  retained_init(&r, &m, rng(), 10, 1000);
  struct shbuf *p = shbuf_dup(&m, slice_str("payload")), *h = shbuf_dup(&m, slice_str("headers"));
  struct retained_owner o = {0};
  struct retained_message x = {
      .topic = slice_str("x"), .payload = p, .headers = h, .header_count = 2, .owner = &o, .now = 1, .expires = 100};
  assert_int_equal(retained_set(&r, &x), 0);
  assert_int_equal(o.bytes, 15);
  HOLDS(retained_check(&r));
  const struct retained_entry *e = retained_find(&r, slice_str("x"));
  assert_true(e->headers == h && e->header_count == 2 && !retained_is_over(e, 99) && retained_is_over(e, 100));
  assert_int_equal(retained_deadline(&r, 1000), 100);
  assert_null(retained_due(&r, 1000, 99));
  assert_ptr_equal(retained_due(&r, 1000, 100), e);
  x.expires = TIME_NEVER; /* replaced: it does not end any more */
  x.headers = NULL;
  assert_int_equal(retained_set(&r, &x), 0);
  assert_int_equal(o.bytes, 8);
  assert_int_equal(retained_deadline(&r, 1000), 1001);
  x.headers = h;
  x.expires = 50;
  assert_int_equal(retained_set(&r, &x), 0);
  HOLDS(retained_check(&r));
  assert_int_equal(retained_set(&r, &(struct retained_message){.topic = slice_str("x")}), 0);
  assert_int_equal(retained_deadline(&r, 1000), TIME_NEVER);
  HOLDS(retained_check(&r));
  retained_set_max(&r, 10, 14);
  assert_int_equal(retained_set(&r, &x), MACULA_RETAIN_FULL);
  retained_done(&r);
  shbuf_unref(p);
  shbuf_unref(h);
  assert_int_equal(m.bytes, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(replaced_and_cleared),
                                     cmocka_unit_test(full_by_number_or_bytes),
                                     cmocka_unit_test(those_that_match),
                                     cmocka_unit_test(shares),
                                     cmocka_unit_test(ages),
                                     cmocka_unit_test(every_allocation_may_fail),
                                     cmocka_unit_test(sorted_after_a_restart),
                                     cmocka_unit_test(test_headers_and_end)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
