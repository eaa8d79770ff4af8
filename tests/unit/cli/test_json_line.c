/* Members of an object as they came. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "json_line.h"

static void assert_member(const char *text, const char *key, const char *wanted) {
  /* In memory of its own: what is read beyond its end is noticed. */
  size_t len = strlen(text), n;
  char *copy = malloc(len ? len : 1);
  const char *value;
  assert_non_null(copy);
  memcpy(copy, text, len);
  bool found = json_line_member(copy, len, key, &value, &n);
  assert_int_equal(found, wanted != NULL);
  if (wanted) {
    assert_int_equal(n, strlen(wanted));
    assert_memory_equal(value, wanted, n);
  }
  free(copy);
}

static void members(void **state) {
  (void)state;
  assert_member("{\"a\":1,\"b\":2}", "a", "1");
  assert_member("{\"a\":1,\"b\":2}", "b", "2");
  assert_member(" { \"a\" : 12345678901234567890123 , \"b\" : \"x\\\"}\" } ", "a", "12345678901234567890123");
  assert_member(" { \"a\" : 1 , \"b\" : \"x\\\"}\" } ", "b", "\"x\\\"}\"");
  assert_member("{\"x\":{\"a\":[1,{\"a\":2}]},\"a\":[{\"b\":\"]\"}, 3]}", "a", "[{\"b\":\"]\"}, 3]");
  assert_member("{\"a\":1,\"a\":2}", "a", "2");
  assert_member("{\"aa\":1}", "a", NULL);
  assert_member("{\"x\":\"a\",\"y\":{\"a\":1}}", "a", NULL);
  assert_member("{}", "a", NULL);
  assert_member("[\"a\",1]", "a", NULL);
  assert_member("\"a\"", "a", NULL);
}

/* Whatever is no JSON is not read beyond its end. */
static void cut(void **state) {
  (void)state;
  static const char text[] = "{\"a\":[1,{\"b\":\"\\\"\"}],\"c\":\"d\\\\\",\"e\":null}";
  for (size_t len = 0; len < sizeof text; len++) {
    char *copy = malloc(len ? len : 1);
    const char *value;
    size_t n;
    assert_non_null(copy);
    memcpy(copy, text, len);
    if (json_line_member(copy, len, "c", &value, &n)) assert_true(value >= copy && value + n <= copy + len);
    free(copy);
  }
}

static void compact(void **state) {
  (void)state;
  static const char text[] = "{ \"a b\" : [ 1 ,\n\t\" \\\" \" ] }";
  char *out;
  size_t len;
  FILE *f = open_memstream(&out, &len);
  json_line_compact(f, text, strlen(text));
  fclose(f);
  assert_string_equal(out, "{\"a b\":[1,\" \\\" \"]}");
  free(out);
}

static void base64(void **state) {
  (void)state;
  static const struct {
    const char *text, *bytes;
    size_t len;
  } good[] = {{"", "", 0},        {"Zg==", "f", 1},      {"Zm8=", "fo", 2},
              {"Zm9v", "foo", 3}, {"/wA=", "\xff\0", 2}, {"Zm9vYmE=", "fooba", 5}};
  static const char *const bad[] = {"Z", "Zg", "Zg=", "Z===", "====", "Zh==", "Zm9=", "Z m=", "Zg==Zg=="};
  char text[16];
  size_t n;
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    strcpy(text, good[i].text);
    n = strlen(text);
    assert_true(json_line_unbase64(text, &n));
    assert_int_equal(n, good[i].len);
    assert_memory_equal(text, good[i].bytes, n);
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    strcpy(text, bad[i]);
    n = strlen(text);
    assert_false(json_line_unbase64(text, &n));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(members), cmocka_unit_test(cut), cmocka_unit_test(compact),
                                     cmocka_unit_test(base64)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
