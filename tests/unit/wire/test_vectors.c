/* The frames of tests/conformance/vectors: each line is a name and a frame; our encoder gives the same bytes again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "wire/frame.h"
#include "wire/msg.h"

static void test_vectors(void **state) {
  (void)state;
  char name[64], hex[4096];
  int count = 0;
  FILE *f = fopen(TEST_SOURCE_DIR "/tests/conformance/vectors/frames.txt", "r");
  assert_non_null(f);
  while (fscanf(f, "%63s %4095s", name, hex) == 2) {
    uint8_t in[2048], out[2048];
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) assert_int_equal(sscanf(hex + 2 * i, "%2hhx", &in[i]), 1);
    struct msg m;
    assert_true(n >= FRAME_HEADER_LEN);
    assert_int_equal(msg_decode(in[1], slice_of(in + FRAME_HEADER_LEN, n - FRAME_HEADER_LEN), &m), 0);
    assert_string_equal(name, msg_type_name(in[1]));
    assert_int_equal(msg_encode(&m, out, sizeof out), n);
    assert_memory_equal(in, out, n);
    count++;
  }
  fclose(f);
  assert_true(count >= 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
