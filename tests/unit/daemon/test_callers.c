/* Shares of HTTP's time. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include <stdio.h>

#include "daemon/http/callers.h"

static struct addr at_of(const char *text) {
  struct addr a;
  assert_int_equal(addr_parse(text, 1, &a), 0);
  return a;
}

/* How many answers of such a cost somebody gets who asks so many times. */
static unsigned answered(struct callers *c, const char *at, unsigned times, size_t cost, nanotime now) {
  struct addr a = at_of(at);
  unsigned n = 0;
  for (unsigned i = 0; i < times; i++)
    if (callers_afford(c, &a, now)) {
      callers_charge(c, &a, cost);
      n++;
    }
  return n;
}

static void test_shares(void **state) {
  static struct callers c;
  (void)state;
  assert_int_equal(answered(&c, "10.0.0.1:5", 1000, 64, NS_SEC), 4);
  assert_int_equal(answered(&c, "10.0.0.1:6", 1000, 64, NS_SEC), 0); /* another port is nobody else */
  for (int ms = 1; ms <= 1000; ms++)                                 /* a flood leaves the other half to others */
    (void)answered(&c, "10.0.0.1:5", 100, 1, NS_SEC + (nanotime)ms * NS_MS);
  assert_int_equal(answered(&c, "[2001:db8::1]:5", 1000, 64, 2 * NS_SEC), 4);
  assert_int_equal(answered(&c, "[2001:db8::2]:5", 1000, 64, 2 * NS_SEC), 0); /* a network of 64 bits is one */
  /* on credit, which is paid back */
  assert_int_equal(answered(&c, "10.0.0.1:5", 1000, 5256, 10 * NS_SEC), 1);
  assert_int_equal(answered(&c, "10.0.0.1:5", 1000, 1, 10 * NS_SEC + 999 * NS_MS), 0);
  assert_int_equal(answered(&c, "10.0.0.1:5", 1, 1, 11 * NS_SEC + NS_MS), 1);
}

/* Who takes all that there is leaves the reserve to those who ask for little, and only to them. */
static void test_reserve(void **state) {
  static struct callers c;
  nanotime now = NS_SEC;
  (void)state;
  for (unsigned s = 0; s < 20; s++) {
    unsigned quiet = 0, flood = 0;
    for (unsigned ms = 1; ms <= 1000; ms++) {
      now += NS_MS;
      flood = answered(&c, "10.0.0.1:5", 20, 1, now) + answered(&c, "10.0.0.2:5", 20, 1, now) +
              answered(&c, "10.0.0.3:5", 20, 1, now);
      if (ms % 100 == 0) quiet += answered(&c, "10.0.0.4:5", 1, 30, now); /* 300 a second */
    }
    assert_true(flood <= 60);
    if (s > 2) assert_int_equal(quiet, 10); /* until then it was not known who floods */
  }
}

/* As handshakes have it: more at once, at the same rate. */
static void test_burst(void **state) {
  static struct callers c = {.burst = 3200};
  (void)state;
  assert_int_equal(answered(&c, "10.0.0.1:5", 1000, 100, NS_SEC), 32);
  assert_int_equal(answered(&c, "10.0.0.2:5", 1000, 100, NS_SEC), 32); /* of the reserve */
  assert_int_equal(answered(&c, "10.0.0.3:5", 1000, 100, NS_SEC), 0);
  assert_int_equal(answered(&c, "10.0.0.1:5", 1000, 100, NS_SEC + 200 * NS_MS), 10);
}

static void test_many_addresses(void **state) {
  static struct callers c;
  unsigned sum = 0;
  (void)state;
  for (unsigned i = 0; i < 1000; i++) {
    char at[32];
    snprintf(at, sizeof at, "10.1.%u.%u:1", i / 250, i % 250 + 1);
    sum += answered(&c, at, 10, 1, NS_SEC);
  }
  assert_int_equal(sum, 512); /* more than there are places: still what all have together, and the reserve */
}

/* Many that fail at once, from one address: it waits for a while that has an end, and the others do not. */
static void test_late(void **state) {
  static struct callers c;
  struct addr a = at_of("10.0.0.1:5");
  (void)state;
  assert_true(callers_afford(&c, &a, NS_SEC));
  for (int i = 0; i < 1000; i++) callers_charge_late(&c, &a, CALLERS_RATE);
  assert_int_equal(answered(&c, "10.0.0.2:5", 1, 1, NS_SEC + NS_SEC / 2), 1);
  assert_int_equal(answered(&c, "10.0.0.1:5", 1, 1, 11 * NS_SEC), 0);
  assert_int_equal(answered(&c, "10.0.0.1:5", 1, 1, 11 * NS_SEC + NS_MS), 1);
  for (int i = 0; i < 1000; i++) callers_charge(&c, &a, CALLERS_RATE);
  assert_int_equal(answered(&c, "10.0.0.1:5", 1, 1, 21 * NS_SEC), 0);
  assert_int_equal(answered(&c, "10.0.0.1:5", 1, 1, 21 * NS_SEC + 3 * NS_MS), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_shares), cmocka_unit_test(test_reserve),
                                     cmocka_unit_test(test_burst), cmocka_unit_test(test_many_addresses),
                                     cmocka_unit_test(test_late)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
