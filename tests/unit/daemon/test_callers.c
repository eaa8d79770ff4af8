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
  assert_int_equal(answered(&c, "10.0.0.1:6", 1000, 64, NS_SEC), 0);      /* another port is nobody else */
  assert_int_equal(answered(&c, "[2001:db8::1]:5", 1000, 64, NS_SEC), 0); /* all together have as much */
  for (int ms = 1; ms <= 1000; ms++)                                      /* a flood leaves the other half to others */
    (void)answered(&c, "10.0.0.1:5", 100, 1, NS_SEC + (nanotime)ms * NS_MS);
  assert_int_equal(answered(&c, "[2001:db8::1]:5", 1000, 64, 2 * NS_SEC), 4);
  assert_int_equal(answered(&c, "[2001:db8::2]:5", 1000, 64, 2 * NS_SEC), 0); /* a network of 64 bits is one */
  /* on credit, which is paid back */
  assert_int_equal(answered(&c, "10.0.0.1:5", 1000, 5256, 10 * NS_SEC), 1);
  assert_int_equal(answered(&c, "10.0.0.1:5", 1000, 1, 10 * NS_SEC + 999 * NS_MS), 0);
  assert_int_equal(answered(&c, "10.0.0.1:5", 1, 1, 11 * NS_SEC + NS_MS), 1);
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
  assert_int_equal(sum, 256); /* more than there are places: still what all have together */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_shares), cmocka_unit_test(test_many_addresses)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
