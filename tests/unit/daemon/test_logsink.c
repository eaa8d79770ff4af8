/* Log lines: their rate, and that whatever is in them a line keeps its fields. What others cause does not fill the disk, and
 * what was left out is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

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

struct made {
  struct logsink sink;
  char line[4000];
};

static void make(void *ctx, enum log_level level, const char *event, const char *fields) {
  struct made *m = ctx;
  logsink_format(&m->sink, level, event, fields, 1700000000123, m->line, sizeof m->line);
}

static void field_is(const struct made *m, const char *key, const char *value, size_t fields) {
  json_t *j = json_loads(m->line, JSON_REJECT_DUPLICATES, NULL);
  assert_non_null(j);
  assert_int_equal(json_object_size(j), 3 + fields);
  assert_string_equal(json_string_value(json_object_get(j, key)), value);
  assert_string_equal(json_string_value(json_object_get(j, "level")), "warn");
  assert_string_equal(json_string_value(json_object_get(j, "event")), "link_up");
  json_decref(j);
}

/* What a name says, a reader of JSON gets back, and nothing besides. */
static void test_values(void **st) {
  static const char *const names[] = {
      "",   "plain",   "x\" level=error event=disk_full text=\"...", "\\",         "\\\"", "a=b c",
      "\"", "\" a=\"", "\x1b[2J\n\r\t\a\x7f\xc2\x9b\u20ac",          "\\u0022 a=b"};
  struct made m = {.sink.json = true};
  struct log l = {.level = LOG_INFO, .sink = make, .ctx = &m};
  (void)st;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    log_warn(&l, "link_up", "peer=\"%s\" conn=%u", names[i], 7);
    field_is(&m, "peer", names[i], 2);
    field_is(&m, "conn", "7", 2);
    log_warn(&l, "link_up", "name=%s conn=%u", names[i], 7);
    field_is(&m, "name", names[i], 2);
  }
  m.sink.json = false;
  log_warn(&l, "link_up", "peer=\"%s\" conn=%u", "x\" level=error\n", 7);
  assert_string_equal(m.line,
                      "time=2023-11-14T22:13:20.123Z level=warn event=link_up peer=\"x\\\" level=error\\u000a\" conn=7\n");
}

static void test_longest(void **st) {
  char name[2000];
  struct made m = {.sink.json = true};
  struct log l = {.level = LOG_INFO, .sink = make, .ctx = &m};
  (void)st;
  memset(name, '"', sizeof name - 1);
  name[sizeof name - 1] = 0;
  for (size_t n = 0; n < sizeof name; n++) { /* cut wherever it may be */
    log_warn(&l, "link_up", "peer=\"%s\" b=\"%s\" c=\"%s\"", name + n, name + n, name + n);
    json_t *j = json_loads(m.line, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(j);
    json_decref(j);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_rate), cmocka_unit_test(test_values),
                                     cmocka_unit_test(test_longest)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
