/* Text that goes into a report: whatever is cut inside a character, JSON takes it. */
#include <errno.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "cli.h"

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

static void json_takes(const char *text) {
  json_t *j = json_string(text);
  assert_non_null(j);
  json_decref(j);
}

static void cut_at_every_offset(void **state) {
  static const char whole[] = "a\u00e9b\u20acc\U0001f40c\u20ac\u00e9\u00e9\U0001f40c";
  (void)state;
  for (size_t from = 0; from < sizeof whole; from++)
    for (size_t to = from; to < sizeof whole; to++) {
      char text[sizeof whole];
      memcpy(text, whole + from, to - from);
      text[to - from] = 0;
      text_make_utf8(text);
      json_takes(text);
      assert_int_equal(strlen(text), to - from);
      for (size_t i = from + 3; i + 3 < to; i++) assert_int_equal(text[i - from], whole[i]); /* what is whole stays */
    }
}

static void no_character_at_all(void **state) {
  static const char *const v[][2] = {{"", ""},
                                     {"\xff\xfe", "??"},
                                     {"\xc0\xaf.", "??."},                 /* longer than need be */
                                     {"\xed\xa0\x80.", "???."},            /* half a surrogate pair */
                                     {"\xf4\x90\x80\x80.", "????."},       /* beyond the last one */
                                     {"\xf0\x9f\xe2\x82\xac", "??\u20ac"}, /* the next one is not eaten */
                                     {"\xe2\x82", "??"}};
  (void)state;
  for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
    char text[16];
    snprintf(text, sizeof text, "%s", v[i][0]);
    text_make_utf8(text);
    assert_string_equal(text, v[i][1]);
    json_takes(text);
  }
}

/* Of texts of three bytes, what is changed is what JSON does not take. */
static void json_agrees(void **state) {
  (void)state;
  for (unsigned a = 1; a < 256; a++)
    for (unsigned b = 1; b < 256; b++)
      for (unsigned c = 0x7f; c < 0xc2; c++) {
        char text[] = {(char)a, (char)b, (char)c, 0}, kept[4];
        json_t *j = json_string(text);
        memcpy(kept, text, sizeof kept);
        text_make_utf8(text);
        assert_int_equal(j != NULL, !strcmp(text, kept));
        json_takes(text);
        json_decref(j);
      }
}

/* Prints to a file of its own kind; returns what came out there. */
static char *put(bool terminal, const char *data, size_t len) {
  static char out[600];
  int fds[2];
  FILE *f = tmpfile();
  if (terminal) {
    if (openpty(&fds[0], &fds[1], NULL, NULL, NULL)) fail_msg("no terminal: %s; is /dev/pts mounted?", strerror(errno));
    struct termios raw;
    tcgetattr(fds[1], &raw);
    cfmakeraw(&raw);
    tcsetattr(fds[1], TCSANOW, &raw);
    fclose(f);
    f = fdopen(fds[1], "w");
    setvbuf(f, NULL, _IOFBF, sizeof out); /* one write, which one read takes */
  }
  assert_non_null(f);
  text_put_payload(f, data, len);
  assert_int_equal(fflush(f), 0);
  ssize_t n = terminal ? read(fds[0], out, sizeof out - 1) : pread(fileno(f), out, sizeof out - 1, 0);
  assert_true(n >= 0);
  out[n] = 0;
  fclose(f);
  if (terminal) close(fds[0]);
  return out;
}

/* A terminal gets nothing that drives it; a file or another program gets each byte. */
static void payloads_drive_no_terminal(void **state) {
  static const char *const v[][2] = {
      {"{\"a\": [1,\n\t2]}", "{\"a\": [1,\n\t2]}"},
      {"\x1b]0;title\a\x1b[2J", "\\u001b]0;title\\u0007\\u001b[2J"},
      {"a\rb\x7f\bc", "a\\u000db\\u007f\\u0008c"},
      {"\xc2\x9b"
       "31m\xc2\xa0\u20ac",
       "\\u009b31m\u00a0\u20ac"},
      {"\x9b"
       "31m\xff\xe2\x82",
       "\\x9b31m\\xff\\xe2\\x82"},
      {"a\u202eb\u2066\ufeff\U0001ffff", "a\\u202eb\\u2066\\ufeff\\ud83f\\udfff"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
    assert_string_equal(put(true, v[i][0], strlen(v[i][0])), v[i][1]);
    assert_string_equal(put(false, v[i][0], strlen(v[i][0])), v[i][0]);
  }
  assert_string_equal(put(true, "a\0b", 3), "a\\u0000b");
}

static void words_are_clean(void **state) {
  static const char *const v[][2] = {{"", ""},
                                     {"plain \u20ac", "plain \u20ac"},
                                     {"\x1b[31m\a\n\t\x7f", "?[31m????"},
                                     {"\xc2\x9bx\xc2\x85", "?x?"},
                                     {"\xff\xe2\x82", "???"}};
  (void)state;
  for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
    char text[32];
    snprintf(text, sizeof text, "%s", v[i][0]);
    text_clean(text);
    assert_string_equal(text, v[i][1]);
  }
  json_t *j = json_pack("{s:s, s:[s, i, {s:s}]}", "a", "x\x1b", "b", "\n", 1, "c", "\xc2\x9b!");
  text_clean_json(j);
  json_t *want = json_pack("{s:s, s:[s, i, {s:s}]}", "a", "x?", "b", "?", 1, "c", "?!");
  assert_true(json_equal(j, want));
  json_decref(j);
  json_decref(want);
}

/* What names escape and logs escape, people are not shown either: bytes that turn the direction of text among them. */
static void controls_are_those_of_names(void **state) {
  unsigned found = 0;
  (void)state;
  for (unsigned code = 1; code < 0x110000; code++) {
    char text[8] = {0};
    unsigned char *p = (unsigned char *)text;
    if (code >= 0xd800 && code < 0xe000) continue;
    if (code < 0x80) {
      p[0] = (unsigned char)code;
    } else if (code < 0x800) {
      p[0] = (unsigned char)(0xc0 | code >> 6);
    } else if (code < 0x10000) {
      p[0] = (unsigned char)(0xe0 | code >> 12);
      p[1] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
    } else {
      p[0] = (unsigned char)(0xf0 | code >> 18);
      p[1] = (unsigned char)(0x80 | (code >> 12 & 0x3f));
      p[2] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
    }
    if (code >= 0x80) p[strlen(text)] = (unsigned char)(0x80 | (code & 0x3f));
    size_t n = strlen(text);
    bool is_control = utf8_is_control(p, n);
    found += is_control;
    text_clean(text);
    if (!strcmp(text, "?") != (is_control || code == '?')) fail_msg("U+%04X", code);
  }
  assert_int_equal(found, 65 + 1 + 2 + 7 + 4 + 32 + 1 + 34 - 1); /* U+0000 is left out */
}

static void an_error_is_one_plain_line(void **state) {
  char *out = NULL;
  size_t len;
  (void)state;
  FILE *f = open_memstream(&out, &len);
  text_put_raw_line(f, "macula: \x1b[2J: two\nlines\xc2\x9b\xff\x7f\u20ac\n\n");
  fclose(f);
  assert_string_equal(out, "macula:  [2J: two; lines   \u20ac\n");
  free(out);
}

/* What follows a word on a line is never taken for a part of it. */
static void a_word_has_no_blank(void **state) {
  char *out = NULL;
  size_t len;
  (void)state;
  FILE *f = open_memstream(&out, &len);
  text_put_word(f, " B\u00fcro 2  \\x20\n ");
  fclose(f);
  assert_string_equal(out, "\\x20B\u00fcro\\x202\\x20\\x20\\\\x20\\n\\x20");
  free(out);
}

static void columns_count_what_is_seen(void **state) {
  (void)state;
  assert_int_equal(text_width(""), 0);
  assert_int_equal(text_width("B\u00fcro \u20ac\U0001f40c"), 7);
}

static char *ends_of(const char *data, size_t len, size_t each) {
  FILE *f = tmpfile();
  assert_non_null(f);
  assert_int_equal(fwrite(data, 1, len, f), len);
  assert_int_equal(fflush(f), 0);
  char *text = text_ends(fileno(f), each);
  fclose(f);
  assert_non_null(text);
  json_takes(text);
  return text;
}

static void both_ends_of_a_log(void **state) {
  static const char *const v[][2] = {
      {"", ""},
      {"one\ntwo\n", "one\ntwo\n"},
      {"0123456789\n12345678\n", "0123456789\n12345678\n"}, /* 20: as much as both */
      {"one\ntwo\nthree\nfour\nfive\nsix\nseven\n", "one\ntwo\n... 20 bytes left out ...\nseven\n"},
      {"one\n012345678901234567890123456789\nlast", "one\n... 31 bytes left out ...\nlast"},
      {"012345678901234567890123456789", "0123456789\n... 10 bytes left out ...\n0123456789"},
      {"012345678901234567890123456789\n", "0123456789\n... 11 bytes left out ...\n123456789\n"},
      {"\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n", "\n\n\n\n\n\n\n\n\n\n... 2 bytes left out ...\n\n\n\n\n\n\n\n\n\n"}};
  (void)state;
  for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
    char *text = ends_of(v[i][0], strlen(v[i][0]), 10);
    assert_string_equal(text, v[i][1]);
    free(text);
  }
  for (size_t cut = 0; cut < 5; cut++) { /* characters that are cut at either end */
    char data[5000];
    memset(data, 'x', cut);
    for (size_t i = cut; i + 4 <= sizeof data; i += 4) memcpy(data + i, "\U0001f40c", 4);
    free(ends_of(data, cut + 4 * 1000, 1000));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(cut_at_every_offset),
                                     cmocka_unit_test(no_character_at_all),
                                     cmocka_unit_test(json_agrees),
                                     cmocka_unit_test(both_ends_of_a_log),
                                     cmocka_unit_test(payloads_drive_no_terminal),
                                     cmocka_unit_test(words_are_clean),
                                     cmocka_unit_test(controls_are_those_of_names),
                                     cmocka_unit_test(a_word_has_no_blank),
                                     cmocka_unit_test(columns_count_what_is_seen),
                                     cmocka_unit_test(an_error_is_one_plain_line)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
