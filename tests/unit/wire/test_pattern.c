/* Patterns: matching and containment, against models that try everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "wire/names.h"
#include "wire/pattern.h"

static void test_patterns(void **state) {
  (void)state;
  static const struct {
    const char *pattern, *topic;
    bool match;
  } t[] = {{"a.**", "a", true},
           {"a.**", "a.b.c", true},
           {"a.**.b", "a.b", true},
           {"a.**.b", "a.x.b.y.b", true},
           {"a.**.b", "a.b.c", false},
           {"a.*", "a", false},
           {"a.*", "a.b", true},
           {"a.*", "a.%00", true},
           {"a.*", "a.b.c", false},
           {"**", "x.y", true},
           {"**.b.**.d", "a.b.c.d", true},
           {"**.b.**.d", "d.b", false},
           {"**.*", "a", true},
           {"a", "A", false},
           {"%2A", "a", false},
           {"%2A", "%2A", true},
           {"Küche 1.*", "Küche 1.temp °C", true},
           {"\xc3\xa9", "e\xcc\x81", false}, /* nothing is normalized */
           {"sensor.*.room1", "sensor.humidity.room1", true},
           {"sensor.*.room1", "sensor.temp.room1.extra", false},
           {"sensor.**", "sensor.temp.room1.extra", true},
           {"sensor.**", "other.topic", false}};
  for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
    if (pattern_match(slice_str(t[i].pattern), slice_str(t[i].topic)) != t[i].match)
      fail_msg("%s against %s", t[i].pattern, t[i].topic);
}

/* ---- the models ------------------------------------------------------------------------------------------------------------
 * Patterns of letters: a b c are literals, * one segment, & any number of them, and z what no pattern names. */
static void spell(const char *word, char *ret_name) {
  size_t n = 0;
  for (; *word; word++) {
    if (n) ret_name[n++] = '.';
    n += (size_t)sprintf(ret_name + n, "%s", *word == '&' ? "**" : (char[]){*word, 0});
  }
  ret_name[n] = 0;
}

static bool matches(const char *pattern, const char *topic) {
  if (!*pattern) return !*topic;
  if (*pattern == '&') return matches(pattern + 1, topic) || (*topic && matches(pattern, topic + 1));
  return *topic && (*pattern == '*' || *pattern == *topic) && matches(pattern + 1, topic + 1);
}

/* Where in a pattern one can be after some topic, as bits. */
static uint32_t closed(const char *pattern, uint32_t at) {
  for (size_t i = 0; pattern[i]; i++)
    if (at >> i & 1 && pattern[i] == '&') at |= 2u << i;
  return at;
}
static uint32_t step(const char *pattern, uint32_t at, char c) {
  uint32_t next = 0;
  for (size_t i = 0; pattern[i]; i++) {
    if (!(at >> i & 1)) continue;
    if (pattern[i] == '&')
      next |= 1u << i;
    else if (pattern[i] == '*' || pattern[i] == c)
      next |= 2u << i;
  }
  return closed(pattern, next);
}

/* Whether no topic of any length leads into the end of inner and not of outer: all pairs of places are visited. */
static bool contains(const char *outer, const char *inner) {
  enum { MOST = 1 << 16 };
  struct pair {
    uint32_t in, out;
  };
  static struct pair todo[MOST];
  static uint32_t seen[MOST]; /* index into todo, from 1 */
  memset(seen, 0, sizeof seen);
  size_t count = 1;
  todo[0].in = closed(inner, 1);
  todo[0].out = closed(outer, 1);
  for (size_t k = 0; k < count; k++) {
    if (k && todo[k].in >> strlen(inner) & 1 && !(todo[k].out >> strlen(outer) & 1)) return false;
    for (const char *c = "abcz"; *c; c++) {
      uint32_t in = step(inner, todo[k].in, *c), out = step(outer, todo[k].out, *c);
      if (!in) continue;
      uint32_t h = (in * 2654435761u ^ out * 40503u) % MOST;
      while (seen[h] && (todo[seen[h] - 1].in != in || todo[seen[h] - 1].out != out)) h = (h + 1) % MOST;
      if (seen[h]) continue;
      assert_true(count < MOST / 2);
      todo[count].in = in;
      todo[count].out = out;
      seen[h] = (uint32_t)++count;
    }
  }
  return true;
}

static void compare(const char *outer, const char *inner) {
  char o[200], i[200];
  spell(outer, o);
  spell(inner, i);
  bool want = contains(outer, inner);
  if (name_pattern_contains(slice_str(o), slice_str(i)) != want)
    fail_msg("%s %s %s", o, want ? "contains" : "does not contain", i);
}

static size_t random_word(struct rng r, const char *letters, size_t most, char *ret_word) {
  size_t n = 1 + (size_t)rng_below(r, most);
  for (size_t i = 0; i < n; i++) ret_word[i] = letters[rng_below(r, strlen(letters))];
  ret_word[n] = 0;
  return n;
}

static void test_matching(void **state) {
  struct rng_seeded seed;
  rng_seeded_init(&seed, 21);
  struct rng r = rng_seeded_view(&seed);
  (void)state;
  for (int i = 0; i < 300000; i++) {
    char pattern[16], topic[16], p[64], t[64], stored[NAME_MAX_LEN + 1];
    size_t n;
    random_word(r, "ab*&&", 8, pattern);
    random_word(r, "abz", 10, topic);
    spell(pattern, p);
    spell(topic, t);
    bool want = matches(pattern, topic);
    assert_int_equal(name_pattern(slice_str(p), stored, &n), 0);
    if (pattern_match(slice_str(p), slice_str(t)) != want || pattern_match(slice_of(stored, n), slice_str(t)) != want)
      fail_msg("%s against %s", p, t);
  }
}

static void word_of(uint32_t number, const char *letters, char *ret_word) {
  size_t n = 0, base = strlen(letters);
  for (; number; number = (number - 1) / (uint32_t)base) ret_word[n++] = letters[(number - 1) % base];
  ret_word[n] = 0;
}

/* All pairs of up to four segments. */
static void test_small_patterns(void **state) {
  enum { COUNT = 4 + 16 + 64 + 256 };
  (void)state;
  for (uint32_t a = 1; a <= COUNT; a++)
    for (uint32_t b = 1; b <= COUNT; b++) {
      char outer[8], inner[8];
      word_of(a, "ab*&", outer);
      word_of(b, "ab*&", inner);
      compare(outer, inner);
    }
}

/* Larger ones; the outer one is often made of the inner one, so that it often contains it. */
static void test_large_patterns(void **state) {
  struct rng_seeded seed;
  rng_seeded_init(&seed, 22);
  struct rng r = rng_seeded_view(&seed);
  unsigned within = 0;
  (void)state;
  for (int i = 0; i < 60000; i++) {
    char outer[32], inner[32];
    random_word(r, i % 3 ? "aab*&" : "abc*&&", 9, outer);
    size_t n = random_word(r, i % 3 ? "aab*&" : "abc*&", 9, inner);
    for (size_t k = 0, at = 0; i & 1 && k < n; k++) {
      uint64_t how = rng_below(r, 6);
      outer[at] = how == 0 ? '*' : how == 1 ? '&' : inner[k];
      at += how != 2;
      outer[at] = 0;
    }
    if (!*outer) continue;
    compare(outer, inner);
    within += contains(outer, inner);
  }
  assert_true(within > 5000);
}

/* Each is within itself and within `**`, in every topic that it matches, too; and one within another matches no more. */
static void test_order(void **state) {
  struct rng_seeded seed;
  rng_seeded_init(&seed, 23);
  struct rng r = rng_seeded_view(&seed);
  (void)state;
  for (int i = 0; i < 100000; i++) {
    char a[40], b[40], t[40], p[200], q[200], topic[200];
    random_word(r, "ab*&", 32, a);
    random_word(r, "ab*&", 6, b);
    random_word(r, "abz", 32, t);
    spell(a, p);
    spell(b, q);
    spell(t, topic);
    struct slice P = slice_str(p), Q = slice_str(q), T = slice_str(topic);
    assert_true(name_pattern_contains(P, P) && name_pattern_contains(slice_str("**"), P) &&
                name_pattern_contains(slice_str("*.**"), P));
    assert_int_equal(name_pattern_contains(P, T), pattern_match(P, T)); /* a topic is a pattern without wildcards */
    if (name_pattern_contains(Q, P) && pattern_match(P, T)) assert_true(pattern_match(Q, T));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_patterns), cmocka_unit_test(test_matching),
                                     cmocka_unit_test(test_small_patterns), cmocka_unit_test(test_large_patterns),
                                     cmocka_unit_test(test_order)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
