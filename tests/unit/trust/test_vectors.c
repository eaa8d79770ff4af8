/* Passes and lists made by another implementation: tests/conformance/passes.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "trust/revoked.h"

static struct mem mem = MEM_INIT("vectors", 0);

static size_t from_hex(const char *hex, uint8_t *ret, size_t cap) {
  size_t n = 0;
  unsigned byte;
  for (; n < cap && sscanf(hex + 2 * n, "%2x", &byte) == 1; n++) ret[n] = (uint8_t)byte;
  return n;
}

static void judge_pass(const char *name, const char *want, const char *at, const char *realm_hex, const char *holder_hex,
                       struct slice bytes) {
  struct id realm, holder;
  struct pass p;
  char why[PASS_WHY_LEN];
  assert_int_equal(id_parse(slice_str(realm_hex), &realm), 0);
  assert_int_equal(id_parse(slice_str(holder_hex), &holder), 0);
  struct pass_trust t = {.realms = &realm, .realm_count = 1, .holder = &holder, .now = strtoull(at, NULL, 10)};
  const char *got = pass_verdict_name(pass_verify(bytes, &t, &p, why));
  if (strcmp(got, want) != 0) fail_msg("%s: %s, not %s: %s", name, got, want, why);
}

static void judge_list(const char *name, const char *want, const char *number, const char *realm_hex, const char *serial_hex,
                       struct slice bytes) {
  struct id realm;
  struct revoked *r;
  char why[PASS_WHY_LEN];
  uint8_t serial[PASS_SERIAL_LEN];
  assert_int_equal(id_parse(slice_str(realm_hex), &realm), 0);
  int err = revoked_parse(&mem, bytes, &realm, 1, &r, why);
  if (strcmp(macula_err_name(err), want) != 0) fail_msg("%s: %s: %s", name, macula_err_name(err), why);
  if (err) return;
  assert_int_equal(revoked_number(r), strtoull(number, NULL, 10));
  if (from_hex(serial_hex, serial, sizeof serial) == sizeof serial) assert_true(revoked_has(r, serial));
  revoked_unref(r);
}

static void made_elsewhere(void **state) {
  (void)state;
  static char line[4 * PASS_MAX];
  uint8_t bytes[2 * PASS_MAX];
  int lines = 0;
  FILE *f = fopen(TEST_SOURCE_DIR "/tests/conformance/vectors/passes.txt", "r");
  assert_non_null(f);
  for (; fgets(line, sizeof line, f); lines++) {
    char *words[7] = {0};
    int n = 0;
    for (char *w = strtok(line, " \n"); w && n < 7; w = strtok(NULL, " \n")) words[n++] = w;
    assert_int_equal(n, 7);
    struct slice b = slice_of(bytes, from_hex(words[6], bytes, sizeof bytes));
    (!strcmp(words[0], "pass") ? judge_pass : judge_list)(words[1], words[2], words[3], words[4], words[5], b);
  }
  fclose(f);
  assert_true(lines > 15);
  assert_int_equal(mem.bytes, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(made_elsewhere)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
