/* Log lines: their rate. What others cause does not fill the disk, and what was left out is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "logsink.h"

static int written(struct logsink *s, enum log_level level, int lines, nanotime now) {
  int n = 0;
  for (int i = 0; i < lines; i++) n += logsink_may(s, level, now);
  return n;
}

static void test_rate(void **st) {
  struct logsink s = {0};
  (void)st;
  assert_int_equal(written(&s, LOG_INFO, 5000, NS_SEC), 2000);
  assert_int_equal(written(&s, LOG_INFO, 5000, 11 * NS_SEC), 200);
  assert_int_equal(written(&s, LOG_WARN, 5000, 11 * NS_SEC), 2000); /* not for lack of the other's */
  assert_int_equal(written(&s, LOG_ERROR, 5000, 11 * NS_SEC), 5000);
  assert_int_equal(written(&s, LOG_DEBUG, 5000, 11 * NS_SEC), 5000);
  assert_int_equal(written(&s, LOG_INFO, 5000, 3600 * NS_SEC), 2000); /* no more than at the beginning */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_rate)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
