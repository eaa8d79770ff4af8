/* Tables for people: within 80 columns, whole where there is room, with ids that can be copied. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "table.h"

/* What text.c says when a payload cannot be read, which is not tested here. */
void cli_error(const char *code, const char *fmt, ...) { fail_msg("%s: %s", code, fmt); }
int cli_failed(int err, const char *code, const char *text) {
  fail_msg("%d: %s: %s", err, code, text);
  return EXIT_FAILED;
}
int cli_invalid(int err, const char *detail) {
  fail_msg("%d: %s", err, detail);
  return EXIT_USAGE;
}

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define LONG "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"

static const struct table_column columns[] = {{"ID", "id", TABLE_ID, false, table_id}, {"NAME", "name", 20, false, NULL},
                                              {"BYTES", "bytes", 5, true, table_size}, {"TEXT", "text", 30, false, NULL},
                                              {"MORE", "more", 0, true, table_count},  {0}};

static char *shown(json_t *rows, bool wide) {
  char *text = NULL;
  size_t len;
  FILE *f = open_memstream(&text, &len);
  table_put(f, rows, columns, wide);
  fclose(f);
  json_decref(rows);
  return text;
}

static json_t *row(const char *id, const char *name, json_int_t bytes, const char *text) {
  return json_pack("{s:s, s:s, s:s, s:I, s:s, s:i}", "id", id, "instance", "feedfeedfeedfeedfeed", "name", name, "bytes", bytes,
                   "text", text, "more", 7);
}

static void whole_where_there_is_room(void **state) {
  (void)state;
  char *text = shown(json_pack("[o, o]", row(ID, "a", 5, "x"), row(ID, "\u20ac", 2048, LONG)), false);
  assert_string_equal(text, "ID                NAME  BYTES  TEXT\n"
                            "0123456789abcdef  a         5  x\n"
                            "0123456789abcdef  \u20ac      2.0K  abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuv~\n");
  free(text);
}

static void a_line_has_80_columns(void **state) {
  (void)state;
  char *text = shown(json_pack("[o, o]", row(ID, LONG, 1023, LONG), row(ID, "\u20ac" LONG, 1 << 30, "x")), false);
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) assert_in_range(text_width(line), 1, 80);
  free(text);
}

static void wide_cuts_nothing(void **state) {
  (void)state;
  char *text = shown(json_pack("[o]", row(ID, LONG, 123456, LONG)), true);
  assert_non_null(strstr(text, ID "  " LONG "  123456  " LONG "     7\n"));
  free(text);
}

static void who_has_shown_no_key_is_named_by_its_instance(void **state) {
  (void)state;
  char *text = shown(json_pack("[o]", row("0000", "a", 0, "x")), false);
  assert_non_null(strstr(text, "\nfeedfeedfeedfeed  a"));
  free(text);
}

/* What comes from others drives no terminal, and turns no line around. */
static void names_mislead_nobody(void **state) {
  (void)state;
  char *text = shown(json_pack("[o]", row(ID, "a\u202eb\x1b", 0, "")), false);
  assert_non_null(strstr(text, "  a?b?  "));
  assert_non_null(strstr(text, "0  -\n"));
  free(text);
}

static void figures_are_short(void **state) {
  static const struct {
    void (*text)(json_t *row, const char *key, bool wide, char buf[TABLE_CELL]);
    double value;
    const char *text_of;
  } v[] = {{table_size, 0, "0"},          {table_size, 999, "999"},      {table_size, 1000, "1.0K"},
           {table_size, 10240, "10K"},    {table_size, 1 << 20, "1.0M"}, {table_size, 1e12, "931G"},
           {table_count, 99999, "99999"}, {table_count, 1e5, "100K"},    {table_count, 12345678, "12M"},
           {table_seconds, 99, "99s"},    {table_seconds, 100, "2m"},    {table_seconds, 86400, "24h"},
           {table_seconds, 1e7, "116d"},  {table_micros, 250, "0.2ms"},  {table_micros, 20000, "20ms"},
           {table_micros, 2e6, "2.0s"}};
  (void)state;
  for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
    char buf[TABLE_CELL];
    json_t *row = json_pack("{s:f}", "v", v[i].value);
    v[i].text(row, "v", false, buf);
    assert_string_equal(buf, v[i].text_of);
    json_decref(row);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whole_where_there_is_room), cmocka_unit_test(a_line_has_80_columns),
      cmocka_unit_test(wide_cuts_nothing),         cmocka_unit_test(who_has_shown_no_key_is_named_by_its_instance),
      cmocka_unit_test(names_mislead_nobody),      cmocka_unit_test(figures_are_short)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
