/* Names: what is one, how a value is spelled and that it is spelled in one way only, what is said of others, and templates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "wire/names.h"
#include "wire/pattern.h"

#define S(lit) slice_of(lit, sizeof(lit) - 1)

static bool stays(struct slice name) {
  char out[NAME_MAX_LEN + 1];
  size_t n;
  return name_topic(name, out, &n) == 0 && slice_eq(slice_of(out, n), name);
}

static void test_names(void **state) {
  (void)state;
  char out[NAME_MAX_LEN + 1], longest[NAME_MAX_LEN + 2];
  size_t n;
  static const char *const stored[][2] = {{"a/b-c.D_9", "a.b-c.D_9"},
                                          {"Büro 2/Gerät.Temp °C", "Büro 2.Gerät.Temp °C"},
                                          {" . ", " . "},
                                          {"$SYS/${id}.{}!\"'\\&|<>~", "$SYS.${id}.{}!\"'\\&|<>~"},
                                          {"%00/%00", "%00.%00"},
                                          {"a%2Eb.%2A%2A", "a%2Eb.%2A%2A"},
                                          {"%FF%C3.%E2%80%AE", "%FF%C3.%E2%80%AE"},
                                          {"a%00.%00%00", "a%00.%00%00"}};
  for (size_t i = 0; i < sizeof stored / sizeof stored[0]; i++) {
    assert_int_equal(name_topic(slice_str(stored[i][0]), out, &n), 0);
    assert_string_equal(out, stored[i][1]);
    assert_int_equal(n, strlen(out));
    assert_int_equal(name_procedure(slice_str(stored[i][0]), out, &n), 0);
    assert_int_equal(name_pattern(slice_str(stored[i][0]), out, &n), 0);
    assert_string_equal(out, stored[i][1]);
  }
  static const char *const runs[][2] = {{"a/#", "a.**"},          {"a/+/b", "a.*.b"},        {"#/#", "**"},
                                        {"**.*", "*.**"},         {"a.**.**.b", "a.**.b"},   {"**.*.**.*", "*.*.**"},
                                        {"+.**.a.+", "*.**.a.*"}, {"**.**.**.+.a", "*.**.a"}};
  for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
    assert_int_equal(name_pattern(slice_str(runs[i][0]), out, &n), 0);
    assert_string_equal(out, runs[i][1]);
    assert_int_equal(n, strlen(runs[i][1]));
  }
  static const char *const wrong[] = {"",    ".",       "a.",      ".a",       "a..b",         "te*mp",        "***",
                                      "a+",  "++",      "a#",      "a\tb",     "\xff",         "\xc3",         "%",
                                      "a%",  "%4",      "%zz",     "%41",      "%2e",          "%c3%a9",       "%C3%A9",
                                      "%20", "%C3\xa9", "\xc3%A9", "\xc2\x85", "\xe2\x80\xa8", "\xef\xbb\xbf", "\xed\xa0\x80"};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
    if (name_pattern(slice_str(wrong[i]), out, &n) != MACULA_INVALID_TOPIC) fail_msg("%s is taken", wrong[i]);
  assert_int_equal(name_topic(S("a.*"), out, &n), MACULA_INVALID_TOPIC);
  assert_int_equal(name_topic(S("a.+"), out, &n), MACULA_INVALID_TOPIC);
  assert_int_equal(name_procedure(S("a.#"), out, &n), MACULA_INVALID_PROCEDURE);
  assert_int_equal(name_realm(S("a b"), out, &n), MACULA_INVALID_REALM);
  assert_int_equal(name_realm(S("%00"), out, &n), MACULA_INVALID_REALM);
  assert_int_equal(name_topic(S("a\0b"), out, &n), MACULA_INVALID_TOPIC);
  memset(longest, 'a', sizeof longest);
  assert_int_equal(name_topic(slice_of(longest, 255), out, &n), 0);
  assert_int_equal(name_topic(slice_of(longest, 256), out, &n), MACULA_INVALID_TOPIC);
  for (unsigned i = 0; i < 65; i++) longest[i] = i & 1 ? '.' : 'a';
  assert_int_equal(name_topic(slice_of(longest, 63), out, &n), 0);
  assert_int_equal(name_topic(slice_of(longest, 65), out, &n), MACULA_INVALID_TOPIC);
}

/* A name that is refused is told by the rule that it breaks, not by another one, and what to write instead. */
static void test_which_rule(void **state) {
  char topic[300], why[NAME_WHY_LEN], out[NAME_MAX_LEN + 1];
  size_t n;
  (void)state;
  memset(topic, 'a', sizeof topic);
  struct slice longer = slice_of(topic, 256);
  assert_string_equal(name_why(MACULA_INVALID_TOPIC, NAME_TOPIC, longer, why), "it has 256 bytes, at most 255 are allowed");
  assert_string_equal(name_why(MACULA_INVALID_REALM, NAME_REALM, longer, why), "it has 256 bytes, at most 255 are allowed");
  for (unsigned i = 0; i < 65; i++) topic[i] = i & 1 ? '.' : 'a';
  struct slice many = slice_of(topic, 65);
  assert_string_equal(name_why(MACULA_INVALID_PROCEDURE, NAME_PROCEDURE, many, why),
                      "it has 33 segments, at most 32 are allowed");
  memset(topic, 'a', 253);
  memcpy(topic + 253, ".#", 2);
  assert_int_equal(name_pattern(slice_of(topic, 255), out, &n), MACULA_INVALID_TOPIC);
  assert_string_equal(name_why(MACULA_INVALID_TOPIC, NAME_PATTERN, slice_of(topic, 255), why),
                      "it has more than 255 bytes, with each # kept as **");
  static const struct {
    enum name_form form;
    const char *name, *why;
  } t[] = {{NAME_TOPIC, "", "it is empty"},
           {NAME_TOPIC, "a..b", "segment 2 of 3 is empty; if that is meant, write %00"},
           {NAME_TOPIC, "/a", "segment 1 of 2 is empty; if that is meant, write %00"},
           {NAME_REALM, "a.", "segment 2 of 2 is empty"},
           {NAME_REALM, "a.b c", "the blank at byte 4 is none of A-Z a-z 0-9 _ - and the dots between segments"},
           {NAME_REALM, "a:b", "':' at byte 2 is none of A-Z a-z 0-9 _ - and the dots between segments"},
           {NAME_REALM, "x.\xc3\xa4", "0xc3 at byte 3 is none of A-Z a-z 0-9 _ - and the dots between segments"},
           {NAME_PATTERN, "*.*.\x1b", "the control U+001B at byte 5 cannot stand in a name; write %1B"},
           {NAME_TOPIC, "**\x1b",
            "'*' at byte 1: wildcards are for patterns of subscriptions only; for the character itself write %2A"},
           {NAME_PROCEDURE, "a.b\xe2\x80\xae", "the control U+202E at byte 4 cannot stand in a name; write %E2%80%AE"},
           {NAME_TOPIC, "\xf4\x8f\xbf\xbf", "the control U+10FFFF at byte 1 cannot stand in a name; write %F4%8F%BF%BF"},
           {NAME_TOPIC, "ab\xc3.c", "byte 3, 0xc3, is no UTF-8; if it is meant, write %C3"},
           {NAME_PATTERN, "te*mp",
            "'*' at byte 3 is not a whole segment, as the wildcards must be; for the character itself write %2A"},
           {NAME_TEMPLATE, "a+b",
            "'+' at byte 2 is not a whole segment, as the wildcards must be; for the character itself write %2B"},
           {NAME_TOPIC, "a.*",
            "'*' at byte 3: wildcards are for patterns of subscriptions only; for the character itself write %2A"},
           {NAME_PROCEDURE, "a.#",
            "'#' at byte 3: wildcards are for patterns of subscriptions only; for the character itself write %23"},
           {NAME_TOPIC, "100%", "'%' at byte 4 begins no escape; for the character itself write %25"},
           {NAME_TOPIC, "a.%6d", "%6d at byte 3 escapes what needs no escape; write 'm'"},
           {NAME_TOPIC, "%20", "%20 at byte 1 escapes what needs no escape; write ' '"},
           {NAME_TOPIC, "x%C3%A9%2E", "%C3%A9 at byte 2 escapes what needs no escape; write '\xc3\xa9'"},
           {NAME_TOPIC, "x%2e", "%2e at byte 2 is not in capitals; write %2E"},
           {NAME_TOPIC, "%E2%80%ae", "%E2%80%ae at byte 1 is not in capitals; write %E2%80%AE"},
           {NAME_TEMPLATE, "a.${id}x", "segment 2 holds ${, but is none of ${id}, ${user} and ${client}"}};
  for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
    assert_string_equal(name_why(MACULA_INVALID_TOPIC, t[i].form, slice_str(t[i].name), why), t[i].why);
  assert_null(name_why(MACULA_INVALID_TOPIC, NAME_TOPIC, S("a.b"), why));
  assert_null(name_why(MACULA_RETAIN_FULL, NAME_TOPIC, S("a..b"), why));
}

/* What was a name before segments were widened, as it was written down then: is one, and stored the same. */
static bool old_name(const char *in, bool is_pattern, char *ret_stored) {
  const char *s = in;
  for (size_t n; *s; s += n + (s[n] != 0)) {
    n = strcspn(s, "./");
    bool wild = is_pattern && ((n == 1 && (*s == '*' || *s == '#')) || (n == 2 && memcmp(s, "**", 2) == 0));
    if (!wild && (n == 0 || strspn(s, "aZ0_-") < n)) return false;
    if (s[n] && !s[n + 1]) return false;
  }
  for (size_t i = 0; i <= strlen(in); i++) ret_stored[i] = in[i] == '/' ? '.' : in[i];
  return *in != 0;
}

static void test_old_names(void **state) {
  static const char alphabet[] = "aZ0_-./*#";
  (void)state;
  for (uint32_t i = 0; i < 9 * 9 * 9 * 9 * 9 * 9; i++) {
    char name[8] = {0}, want[8], out[NAME_MAX_LEN + 1];
    size_t n = 0;
    for (uint32_t k = i; k || n == 0; k /= 9) name[n++] = alphabet[k % 9];
    bool topic = old_name(name, false, want);
    if ((name_topic(slice_str(name), out, &n) == 0) != topic) fail_msg("topic %s", name);
    if (topic) assert_string_equal(out, want);
    if ((name_pattern(slice_str(name), out, &n) == 0) != old_name(name, true, want)) fail_msg("pattern %s", name);
  }
}

/* ---- values ----------------------------------------------------------------------------------------------------------------
 */
static size_t put_utf8(uint32_t c, uint8_t ret[4]) {
  if (c < 0x80) return ret[0] = (uint8_t)c, 1;
  size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (size_t i = n; --i > 0; c >>= 6) ret[i] = (uint8_t)(0x80 | (c & 0x3f));
  ret[0] = (uint8_t)((0xf00 >> n & 0xff) | c);
  return n;
}

static bool escaped(uint32_t c) { /* as docs/protocol.md lists them */
  return c < 0x20 || (c >= 0x7f && c <= 0x9f) || (c < 0x80 && strchr("./%+#*", (int)c)) || c == 0x61c || c == 0x200e ||
         c == 0x200f || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff ||
         (c >= 0xfdd0 && c <= 0xfdef) || c % 0x10000 >= 0xfffe;
}

/* Every character has one spelling: itself, or its bytes escaped; never the other one. */
static void test_characters(void **state) {
  (void)state;
  for (uint32_t c = 0; c <= 0x10ffff; c++) {
    uint8_t raw[5] = "x";
    char spelled[16], segment[NAME_MAX_LEN + 1];
    size_t n = put_utf8(c, raw + 1), len;
    if (c >= 0xd800 && c <= 0xdfff) {
      assert_false(stays(slice_of(raw, 1 + n)));
      continue;
    }
    size_t at = (size_t)sprintf(spelled, "x");
    for (size_t i = 0; i < n; i++) at += (size_t)sprintf(spelled + at, "%%%02X", raw[1 + i]);
    struct slice plain = slice_of(raw, 1 + n), escape = slice_of(spelled, at), want = escaped(c) ? escape : plain;
    assert_int_equal(name_segment_from(plain, segment, &len), 0);
    if (!slice_eq(slice_of(segment, len), want)) fail_msg("U+%04x is spelled %s", c, segment);
    if (stays(plain) == escaped(c) && c != '.' && c != '/') fail_msg("U+%04x as it is", c);
    if (stays(escape) != escaped(c)) fail_msg("U+%04x escaped", c);
  }
}

/* Bytes that make up UTF-8, and what is close to it, often enough. */
static struct slice random_value(struct rng r, uint8_t buf[24]) {
  static const uint8_t bytes[] = "ab%.*/+# 4E\xc3\xa9\xe2\x80\xae\xff\xf0\x9f\x98\x80\x1b\x7f";
  size_t n = (size_t)rng_below(r, 24);
  for (size_t i = 0; i < n; i++) buf[i] = bytes[rng_below(r, sizeof bytes)]; /* the NUL among them */
  return slice_of(buf, n);
}

static void test_values(void **state) {
  struct rng_seeded seed;
  rng_seeded_init(&seed, 11);
  struct rng r = rng_seeded_view(&seed);
  (void)state;
  static const char *const t[][2] = {
      {"", "%00"}, {"**", "%2A%2A"}, {"a/b.c", "a%2Fb%2Ec"}, {"Küche 1", "Küche 1"}, {"%41", "%2541"}};
  char segment[NAME_MAX_LEN + 1], value[NAME_MAX_LEN + 1];
  size_t len, n;
  for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
    assert_int_equal(name_segment_from(slice_str(t[i][0]), segment, &len), 0);
    assert_string_equal(segment, t[i][1]);
  }
  assert_int_equal(name_segment_from(S("\0"), segment, &len), 0);
  assert_string_equal(segment, "%00%00");
  for (int i = 0; i < 200000; i++) {
    uint8_t buf[24];
    struct slice in = random_value(r, buf);
    assert_int_equal(name_segment_from(in, segment, &len), 0);
    struct slice seg = slice_of(segment, len), rest = seg;
    assert_true(len > 0 && stays(seg) && slice_eq(name_next_segment(&rest), seg) && !rest.p && !pattern_is_wild(seg));
    name_segment_value(seg, value, &n);
    assert_true(slice_eq(slice_of(value, n), in)); /* and so no two values have one segment */
  }
  uint8_t much[300] = {0};
  assert_int_equal(name_segment_from(slice_of(much, 84), segment, &len), 0);
  assert_int_equal(len, 255);
  assert_int_equal(name_segment_from(slice_of(much, 85), segment, &len), MACULA_INVALID_TOPIC);
  memset(much, 'a', sizeof much);
  assert_int_equal(name_segment_from(slice_of(much, 256), segment, &len), MACULA_INVALID_TOPIC);
}

/* Whatever is taken as a segment is the spelling of its value. */
static void test_one_spelling(void **state) {
  static const char bytes[] = "%%%%0024EeCcFA9a.\xc3\xa9\xe2\x80\xae";
  struct rng_seeded seed;
  rng_seeded_init(&seed, 12);
  struct rng r = rng_seeded_view(&seed);
  unsigned taken = 0;
  (void)state;
  for (int i = 0; i < 2000000; i++) {
    char in[12], out[NAME_MAX_LEN + 1], value[NAME_MAX_LEN + 1], again[NAME_MAX_LEN + 1];
    size_t n = 1 + (size_t)rng_below(r, sizeof in), len;
    for (size_t k = 0; k < n; k++) in[k] = bytes[rng_below(r, sizeof bytes - 1)];
    if (name_topic(slice_of(in, n), out, &n)) continue;
    taken++;
    for (struct slice rest = slice_of(out, n); rest.p;) {
      struct slice seg = name_next_segment(&rest);
      name_segment_value(seg, value, &len);
      assert_int_equal(name_segment_from(slice_of(value, len), again, &len), 0);
      assert_true(slice_eq(slice_of(again, len), seg));
    }
  }
  assert_true(taken > 10000);
}

/* ---- templates -------------------------------------------------------------------------------------------------------------
 */
static void test_templates(void **state) {
  char out[NAME_MAX_LEN + 1], longer[300];
  size_t n;
  (void)state;
  static const struct {
    const char *template, *client, *want;
  } t[] = {{"plant/${client}/#", "x", "plant.x.**"},
           {"${client}", "**", "%2A%2A"},
           {"a.${client}.${id}", "", "a.%00.id1"},
           {"${user}.+.**.${client}", "a.b/${id}", "al ice.*.**.a%2Eb%2F${id}"},
           {"a.**", "x", "a.**"}};
  for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
    struct name_values v = {S("id1"), S("al ice"), slice_str(t[i].client)};
    assert_int_equal(name_template(slice_str(t[i].template), out, &n), 0);
    assert_int_equal(name_template_fill(slice_of(out, n), &v, out, &n), 0);
    assert_string_equal(out, t[i].want);
    assert_int_equal(n, strlen(out));
  }
  static const char *const wrong[] = {"${", "${}", "${name}", "a.x${id}", "${id}${id}", "${ID}", "a..b", "$${id}", "te*mp"};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
    assert_int_equal(name_template(slice_str(wrong[i]), out, &n), MACULA_INVALID_TOPIC);
  struct name_values nobody = {.id = S("x")};
  assert_int_equal(name_template_fill(S("a.${user}"), &nobody, out, &n), MACULA_ENOTFOUND);
  assert_int_equal(name_template_fill(S("${client}.a"), &nobody, out, &n), MACULA_ENOTFOUND);
  memset(longer, 'a', sizeof longer);
  struct name_values big = {.id = slice_of(longer, 253), .user = slice_of(longer, 300)};
  assert_int_equal(name_template_fill(S("a.${id}"), &big, out, &n), 0);
  assert_int_equal(name_template_fill(S("ab.${id}"), &big, out, &n), MACULA_INVALID_TOPIC);
  assert_int_equal(name_template_fill(S("${user}"), &big, out, &n), MACULA_INVALID_TOPIC);
}

/* Nobody reaches more than one segment by what he calls himself, and not another one's. */
static void test_templates_grant_one_segment(void **state) {
  struct rng_seeded seed;
  rng_seeded_init(&seed, 13);
  struct rng r = rng_seeded_view(&seed);
  (void)state;
  for (int i = 0; i < 50000; i++) {
    uint8_t a[24], b[24];
    char pattern[NAME_MAX_LEN + 1], topic[NAME_MAX_LEN + 1], stored[NAME_MAX_LEN + 1];
    size_t n, len, k;
    struct slice mine = random_value(r, a), other = i & 1 ? mine : random_value(r, b);
    assert_int_equal(name_template_fill(S("a.${client}.*"), &(struct name_values){.client = mine}, pattern, &n), 0);
    assert_int_equal(name_pattern(slice_of(pattern, n), stored, &k), 0);
    assert_true(slice_eq(slice_of(pattern, n), slice_of(stored, k)));
    assert_int_equal(name_template_fill(S("a.${user}.x"), &(struct name_values){.user = other}, topic, &len), 0);
    assert_int_equal(pattern_match(slice_of(pattern, n), slice_of(topic, len)), slice_eq(mine, other));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_names),     cmocka_unit_test(test_which_rule),
                                     cmocka_unit_test(test_old_names), cmocka_unit_test(test_characters),
                                     cmocka_unit_test(test_values),    cmocka_unit_test(test_one_spelling),
                                     cmocka_unit_test(test_templates), cmocka_unit_test(test_templates_grant_one_segment)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
