/* MQTT's topics and filters as native names and back: one to one, and they match alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "wire/mqtt_names.h"
#include "wire/pattern.h"

static void both_ways(bool is_filter, const char *mqtt, const char *native) {
  char out[NAME_MAX_LEN + 1];
  const char *why;
  size_t n;
  int err = (is_filter ? name_from_mqtt_filter : name_from_mqtt_topic)(slice_str(mqtt), out, &n, &why);
  if (err) fail_msg("%s: %s", mqtt, why);
  assert_string_equal(out, native);
  assert_int_equal(n, strlen(native));
  assert_int_equal(name_to_mqtt(slice_str(native), out, &n, &why), 0);
  assert_string_equal(out, mqtt);
  assert_int_equal(n, strlen(mqtt));
}

static void test_both_ways(void **state) {
  static const char *const topics[][2] = {{"a/b", "a.b"},
                                          {"/", "%00.%00"},
                                          {"/a//b/", "%00.a.%00.b.%00"},
                                          {"home/Küche 1/v1.2", "home.Küche 1.v1%2E2"},
                                          {"100%/%2F/*/**", "100%25.%252F.%2A.%2A%2A"},
                                          {"$SYS/broker/uptime", "$SYS.broker.uptime"},
                                          {"${id}", "${id}"},
                                          {"a\tb\xef\xbb\xbf", "a%09b%EF%BB%BF"}};
  static const char *const filters[][2] = {{"#", "**"},     {"+", "*"},          {"+/#", "*.**"},       {"a/+/+/#", "a.*.*.**"},
                                           {"/+", "%00.*"}, {"+/", "*.%00"},     {"$SYS/#", "$SYS.**"}, {"*/#", "%2A.**"},
                                           {"a/b", "a.b"},  {"+/a.b", "*.a%2Eb"}};
  (void)state;
  for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) both_ways(false, topics[i][0], topics[i][1]);
  for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) both_ways(true, filters[i][0], filters[i][1]);
}

static void refused(int (*name)(struct slice, char *, size_t *, const char **), struct slice in, const char *word) {
  char out[NAME_MAX_LEN + 1];
  const char *why;
  size_t n;
  assert_int_equal(name(in, out, &n, &why), MACULA_INVALID_TOPIC);
  if (!strstr(why, word)) fail_msg("%.*s: %s", (int)in.n, (const char *)in.p, why);
}

static void test_refused(void **state) {
  char much[300];
  (void)state;
  for (size_t i = 0; i < sizeof much; i++) much[i] = i & 1 ? '/' : 'a';
  refused(name_from_mqtt_topic, slice_str(""), "empty");
  refused(name_from_mqtt_topic, slice_of(much, 65), "32 levels");
  refused(name_from_mqtt_topic, slice_str("a/+"), "+ or #");
  refused(name_from_mqtt_topic, slice_str("#"), "+ or #");
  refused(name_from_mqtt_topic, slice_of("a\0b", 3), "zero byte");
  refused(name_from_mqtt_topic, slice_str("\xc3"), "no UTF-8");
  refused(name_from_mqtt_topic, slice_str("\xed\xa0\x80"), "no UTF-8");
  refused(name_from_mqtt_filter, slice_str("#/a"), "+ or #");
  refused(name_from_mqtt_filter, slice_str("a+/b"), "+ or #");
  refused(name_from_mqtt_filter, slice_str(""), "empty");
  memset(much, '.', sizeof much);
  refused(name_from_mqtt_topic, slice_of(much, 86), "255 bytes");
  static const char *const no_mqtt[][2] = {{"%00", "no empty topic"}, {"a.%2Fb", "slash"},    {"a%2B", "+ or #"},
                                           {"%23", "+ or #"},         {"a%00", "zero byte"},  {"%00%00", "zero byte"},
                                           {"%FF", "no UTF-8"},       {"a.**.b", "not last"}, {"**.*", "not last"}};
  for (size_t i = 0; i < sizeof no_mqtt / sizeof no_mqtt[0]; i++)
    refused(name_to_mqtt, slice_str(no_mqtt[i][0]), no_mqtt[i][1]);
}

static struct slice random_text(struct rng r, const char *bytes, size_t count, char buf[16]) {
  size_t n = 1 + (size_t)rng_below(r, 12);
  for (size_t i = 0; i < n; i++) buf[i] = bytes[rng_below(r, count)];
  return slice_of(buf, n);
}

/* By the letter of MQTT 5, 4.7, its rule of $ aside. */
static bool mqtt_matches(struct slice filter, struct slice topic) {
  for (;;) {
    if (slice_is(filter, "#")) return true;
    const uint8_t *f = memchr(filter.p, '/', filter.n), *t = memchr(topic.p, '/', topic.n);
    struct slice a = {filter.p, f ? (size_t)(f - filter.p) : filter.n}, b = {topic.p, t ? (size_t)(t - topic.p) : topic.n};
    if (!slice_is(a, "+") && !slice_eq(a, b)) return false;
    if (f && !t) return slice_is(slice_of(f + 1, filter.n - a.n - 1), "#"); /* `a/#` matches `a` */
    if (!f || !t) return !f && !t;
    filter = slice_of(f + 1, filter.n - a.n - 1);
    topic = slice_of(t + 1, topic.n - b.n - 1);
  }
}

static void test_random(void **state) {
  static const char odd[] = "a//+#*.%$ 2F\x01\xc3\xa9\xe2\x80\xae", few[] = "ab//++#";
  struct rng_seeded seed;
  rng_seeded_init(&seed, 31);
  struct rng r = rng_seeded_view(&seed);
  unsigned taken = 0, matched = 0;
  (void)state;
  for (int i = 0; i < 400000; i++) {
    char a[16], b[16], filter[NAME_MAX_LEN + 1], topic[NAME_MAX_LEN + 1], out[NAME_MAX_LEN + 1];
    const char *why;
    size_t n, k, len;
    const char *bytes = i & 1 ? odd : few;
    size_t count = i & 1 ? sizeof odd - 1 : sizeof few - 1;
    struct slice f = random_text(r, bytes, count, a), t = random_text(r, bytes, i & 1 ? count : 4, b);
    bool is_filter = name_from_mqtt_filter(f, filter, &n, &why) == 0, is_topic = name_from_mqtt_topic(t, topic, &k, &why) == 0;
    if (is_filter) {
      assert_int_equal(name_to_mqtt(slice_of(filter, n), out, &len, &why), 0);
      assert_true(slice_eq(slice_of(out, len), f));
      assert_int_equal(name_pattern(slice_of(filter, n), out, &len), 0);
      assert_string_equal(out, filter);
    }
    if (is_topic) {
      assert_int_equal(name_to_mqtt(slice_of(topic, k), out, &len, &why), 0);
      assert_true(slice_eq(slice_of(out, len), t));
      assert_int_equal(name_topic(slice_of(topic, k), out, &len), 0);
      assert_string_equal(out, topic);
    }
    if (!is_filter || !is_topic) continue;
    taken++;
    matched += mqtt_matches(f, t);
    assert_int_equal(pattern_match(slice_of(filter, n), slice_of(topic, k)), mqtt_matches(f, t));
  }
  assert_true(taken > 10000 && matched > 1000);
}

/* A native name that has an MQTT form is the only one that has it. */
static void test_random_native(void **state) {
  static const char bytes[] = "a..%%00224FEB*\xc3\xa9$";
  struct rng_seeded seed;
  rng_seeded_init(&seed, 32);
  struct rng r = rng_seeded_view(&seed);
  unsigned taken = 0;
  (void)state;
  for (int i = 0; i < 1000000; i++) {
    char buf[16], name[NAME_MAX_LEN + 1], mqtt[NAME_MAX_LEN + 1], out[NAME_MAX_LEN + 1];
    const char *why;
    size_t n, len;
    if (name_pattern(random_text(r, bytes, sizeof bytes - 1, buf), name, &n)) continue;
    if (name_to_mqtt(slice_of(name, n), mqtt, &len, &why)) continue;
    taken++;
    assert_int_equal(name_from_mqtt_filter(slice_of(mqtt, len), out, &len, &why), 0);
    assert_string_equal(out, name);
  }
  assert_true(taken > 10000);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_both_ways), cmocka_unit_test(test_refused),
                                     cmocka_unit_test(test_random), cmocka_unit_test(test_random_native)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
