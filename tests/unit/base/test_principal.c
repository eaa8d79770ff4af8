#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/principal.h"

#define S(s) slice_of(s, sizeof(s) - 1)

static int read_of(struct slice bytes) {
  struct principal_name p;
  return principal_read(bytes, &p);
}

static void test_round_trip(void **state) {
  uint8_t id[ID_LEN], bytes[PRINCIPAL_LEN_MAX];
  char text[PRINCIPAL_TEXT_LEN], longest[PRINCIPAL_USER_MAX];
  (void)state;
  memset(id, 0xab, sizeof id);
  memset(longest, 'u', sizeof longest);
  const struct {
    struct principal_name p;
    const char *kind;
    size_t text;
  } cases[] = {{{PRINCIPAL_KEY, slice_of(id, sizeof id)}, "key", ID_HEX_LEN},
               {{PRINCIPAL_USER, S("j\xc3\xb6rg 2")}, "user", 7},
               {{PRINCIPAL_USER, slice_of(longest, sizeof longest)}, "user", sizeof longest},
               {{PRINCIPAL_ANONYMOUS, SLICE_NONE}, "anonymous", 0},
               {{PRINCIPAL_UNKNOWN, SLICE_NONE}, "unknown", 0}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct principal_name q;
    size_t n = principal_write(&cases[i].p, bytes);
    assert_int_equal(principal_read(slice_of(bytes, n), &q), 0);
    assert_int_equal(q.kind, cases[i].p.kind);
    assert_true(slice_eq(q.name, cases[i].p.name));
    assert_string_equal(principal_kind_name(q.kind), cases[i].kind);
    principal_text(&q, text);
    assert_int_equal(strlen(text), cases[i].text);
  }
  assert_int_equal(read_of(S("\x63later")), 0); /* of a later version: unknown */
}

static void test_what_is_none(void **state) {
  static const char long_name[2 + PRINCIPAL_USER_MAX] = "\2";
  (void)state;
  assert_int_equal(read_of(S("")), MACULA_BAD_FRAME);
  assert_int_equal(read_of(S("\1short")), MACULA_BAD_FRAME);
  assert_int_equal(read_of(S("\2")), MACULA_BAD_FRAME);
  assert_int_equal(read_of(S("\2a\nb")), MACULA_BAD_FRAME);         /* a control */
  assert_int_equal(read_of(S("\2\xe2\x80\xae")), MACULA_BAD_FRAME); /* text from right to left */
  assert_int_equal(read_of(S("\2\xff")), MACULA_BAD_FRAME);
  assert_int_equal(read_of(slice_of(long_name, sizeof long_name)), MACULA_BAD_FRAME);
  assert_int_equal(read_of(S("\3x")), MACULA_BAD_FRAME);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_what_is_none)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
