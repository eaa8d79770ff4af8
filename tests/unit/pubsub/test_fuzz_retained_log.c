/* The corpus of fuzz_retained_log, replayed; the fuzzer aborts on a disagreement. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../../fuzz/fuzz_retained_log.c"
#include "../../../fuzz/replay.h"

static void test_corpus(void **state) {
  (void)state;
  assert_true(replay(TEST_SOURCE_DIR "/fuzz/corpus/retained_log") > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_corpus)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
