/* JSON by its grammar alone (RFC 8259): what is in it, what is not, where it breaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/json.h"
#include "macula/error.h"

static int check(const char *text, size_t n, size_t *ret_at, const char **ret_why) {
  uint8_t *copy = malloc(n ? n : 1); /* of its size, so that a sanitizer sees what is read behind it */
  memcpy(copy, text, n);
  int err = json_check(slice_of(copy, n), ret_at, ret_why);
  free(copy);
  return err;
}

static void what_is_json(void **state) {
  static const char *const yes[] = {"0",
                                    "-0",
                                    "1",
                                    "-1",
                                    "10",
                                    "1.5",
                                    "0.0",
                                    "1e5",
                                    "1E+5",
                                    "1e-5",
                                    "-1.5e10",
                                    "0e0",
                                    "18446744073709551615",
                                    "-9223372036854775809",
                                    "123456789012345678901234567890",
                                    "1e400",
                                    "-1e-400",
                                    "0.1234567890123456789",
                                    "true",
                                    "false",
                                    "null",
                                    "\"\"",
                                    "\"a\"",
                                    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uABCD\\uabcd\"",
                                    "\"\\ud800\"",
                                    "\"\\ud83d\\ude00\"",
                                    "\"\x7f\"",
                                    "\"\u20ac\U0001f40c\"",
                                    "\"\xc2\x9b\"",
                                    "[]",
                                    "{}",
                                    "[ ]",
                                    "{ }",
                                    "[1]",
                                    "[1,2]",
                                    "[[],{}]",
                                    "{\"a\":1}",
                                    "{\"a\":1,\"a\":2}",
                                    "{\"\":{\"\":[]}}",
                                    " \t\r\n1 \t\r\n",
                                    "\n[ 1 , 2 ]\n",
                                    "{ \"a\" : [ true , null ] }"};
  size_t at;
  const char *why;
  (void)state;
  for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
    if (check(yes[i], strlen(yes[i]), &at, &why)) fail_msg("%s: %zu: %s", yes[i], at, why);
}

static void what_is_none(void **state) {
  static const struct {
    const char *text;
    size_t at;
  } no[] = {{"", 0},
            {" ", 1},
            {"01", 1},
            {"-", 1},
            {"-a", 1},
            {"+1", 0},
            {".5", 0},
            {"1.", 2},
            {"1.e5", 2},
            {"1e", 2},
            {"1e+", 3},
            {"0x1", 1},
            {"1 2", 2},
            {"NaN", 0},
            {"Infinity", 0},
            {"-Infinity", 1},
            {"tru", 3},
            {"trux", 3},
            {"True", 0},
            {"nul", 3},
            {"\"", 1},
            {"\"a", 2},
            {"\"\\", 2},
            {"\"\\x\"", 2},
            {"\"\\u12\"", 5},
            {"\"\\u123g\"", 6},
            {"\"\n\"", 1},
            {"\"\x1f\"", 1},
            {"\"\xff\"", 1},
            {"\"\xed\xa0\x80\"", 1},
            {"\"\xc0\xaf\"", 1},
            {"'a'", 0},
            {"a", 0},
            {"[", 1},
            {"]", 0},
            {"[1", 2},
            {"[1,", 3},
            {"[1,]", 3},
            {"[,1]", 1},
            {"[1 2]", 3},
            {"[1}", 2},
            {"{", 1},
            {"}", 0},
            {"{]", 1},
            {"{1:2}", 1},
            {"{a:1}", 1},
            {"{\"a\"}", 4},
            {"{\"a\":}", 5},
            {"{\"a\":1,}", 7},
            {"{\"a\" 1}", 5},
            {"{\"a\":1]", 6},
            {"{\"a\":1 \"b\":2}", 7},
            {"[]]", 2},
            {"{}{}", 2},
            {"\xef\xbb\xbf"
             "1",
             0},
            {"1//", 1},
            {"/* */1", 0},
            {"\x0b"
             "1",
             0},
            {"\xc2\xa0"
             "1",
             0}};
  size_t at;
  const char *why;
  (void)state;
  for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
    why = NULL;
    if (!check(no[i].text, strlen(no[i].text), &at, &why) || at != no[i].at || !why || !*why)
      fail_msg("'%s': %zu and not %zu: %s", no[i].text, at, no[i].at, why ? why : "it passes");
  }
  assert_int_equal(check("\"a\0b\"", 5, &at, &why), MACULA_INVALID_JSON);
  assert_int_equal(check("1\0", 2, &at, &why), MACULA_INVALID_JSON);
}

static void nesting_has_a_limit(void **state) {
  static char text[200000];
  size_t at;
  const char *why = "";
  (void)state;
  for (int object = 0; object < 2; object++)
    for (size_t depth = JSON_MAX_DEPTH; depth <= JSON_MAX_DEPTH + 1; depth++) {
      size_t n = 0;
      for (size_t i = 0; i < depth; i++) n += (size_t)sprintf(text + n, "%s", object ? "{\"a\":" : "[");
      text[n++] = '1';
      for (size_t i = 0; i < depth; i++) text[n++] = object ? '}' : ']';
      assert_int_equal(check(text, n, &at, &why), depth > JSON_MAX_DEPTH ? MACULA_INVALID_JSON : 0);
      if (depth == JSON_MAX_DEPTH) text[n - 7] = object ? ']' : '}'; /* each level knows what it is */
      assert_int_equal(check(text, n, &at, &why), MACULA_INVALID_JSON);
    }
  memset(text, '[', sizeof text); /* no recursion */
  assert_int_equal(check(text, sizeof text, &at, &why), MACULA_INVALID_JSON);
  assert_int_equal(at, JSON_MAX_DEPTH);
  assert_non_null(strstr(why, "2048"));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_json), cmocka_unit_test(what_is_none),
                                     cmocka_unit_test(nesting_has_a_limit)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
