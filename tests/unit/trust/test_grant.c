/* Grants: what is allowed, by which line; against a brute-force model over a small alphabet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "trust/grant.h"
#include "wire/pattern.h"

static struct mem mem = MEM_INIT("grants", 0);
static const struct name_values nobody;

static struct grant *make(const struct grant_rule *rules, size_t count) {
  struct grant_spec spec = {.name = slice_str("test"), .rules = rules, .count = count};
  struct grant *g;
  for (int q = 0; q < QUOTAS; q++) spec.quotas[q] = QUOTA_NONE;
  assert_int_equal(grant_new(&mem, &spec, &g), 0);
  return g;
}

static bool allows(const struct grant *g, enum right right, const struct name_values *who, const char *what) {
  return grant_allows(g, right, who, slice_str(what), NULL);
}

static void rights_are_judged_by_match_and_containment(void **state) {
  (void)state;
  const struct grant_rule rules[] = {{RIGHT_SUB, 7, slice_str("cmd.**")},
                                     {RIGHT_PUB, 3, slice_str("plant.*.temp")},
                                     {RIGHT_PUB, 4, slice_str("plant.**")},
                                     {RIGHT_CALL, 9, slice_str("math.add")},
                                     {RIGHT_SERVE, 11, slice_str("math.**.x")}};
  struct grant *g = make(rules, 5);
  struct grant_rule by;
  assert_true(grant_allows(g, RIGHT_PUB, &nobody, slice_str("plant.a.temp"), &by));
  assert_int_equal(by.line, 3);
  assert_true(slice_is(by.pattern, "plant.*.temp"));
  assert_true(grant_allows(g, RIGHT_PUB, &nobody, slice_str("plant"), &by));
  assert_int_equal(by.line, 4);
  assert_false(allows(g, RIGHT_PUB, &nobody, "plants"));
  assert_false(allows(g, RIGHT_PUB, &nobody, "plan"));
  assert_false(allows(g, RIGHT_PUB, &nobody, "cmd.x"));
  assert_true(allows(g, RIGHT_SUB, &nobody, "cmd.**"));
  assert_true(allows(g, RIGHT_SUB, &nobody, "cmd"));
  assert_true(allows(g, RIGHT_SUB, &nobody, "cmd.*.x"));
  assert_false(allows(g, RIGHT_SUB, &nobody, "**"));
  assert_false(allows(g, RIGHT_SUB, &nobody, "*.x"));
  assert_false(allows(g, RIGHT_SUB, &nobody, "plant.a.temp"));
  assert_true(allows(g, RIGHT_CALL, &nobody, "math.add"));
  assert_false(allows(g, RIGHT_CALL, &nobody, "math.add.x"));
  assert_false(allows(g, RIGHT_CALL, &nobody, "math"));
  assert_true(allows(g, RIGHT_SERVE, &nobody, "math.x"));
  assert_false(allows(g, RIGHT_SERVE, &nobody, "math.add"));
  assert_int_equal(grant_count(g), 5);
  assert_int_equal(grant_rule_at(g, 0).right, RIGHT_PUB);
  assert_int_equal(grant_rule_at(g, 4).right, RIGHT_SERVE);
  grant_unref(g);
  assert_int_equal(mem.bytes, 0);
}

static void a_value_is_one_segment_whatever_it_holds(void **state) {
  (void)state;
  const struct grant_rule rules[] = {{RIGHT_PUB, 1, slice_str("u.${user}.**")},
                                     {RIGHT_SUB, 2, slice_str("u.${user}.**")},
                                     {RIGHT_PUB, 3, slice_str("c.${client}")}};
  struct grant *g = make(rules, 3);
  struct name_values alice = {.user = slice_str("alice")};
  assert_true(allows(g, RIGHT_PUB, &alice, "u.alice.temp"));
  assert_true(allows(g, RIGHT_PUB, &alice, "u.alice"));
  assert_true(allows(g, RIGHT_SUB, &alice, "u.alice.*"));
  assert_false(allows(g, RIGHT_PUB, &alice, "u.bob.temp"));
  assert_false(allows(g, RIGHT_SUB, &alice, "u.*.x"));
  assert_false(allows(g, RIGHT_PUB, &alice, "c.alice")); /* it has no client's name */
  assert_false(allows(g, RIGHT_PUB, &nobody, "u.alice.temp"));
  struct name_values odd = {.user = slice_str("a%41")}; /* is no escape: a value may hold anything */
  assert_false(allows(g, RIGHT_PUB, &odd, "u.aA.x"));
  const char *greedy[] = {"**", "*", "#", "+", "a.b", "a/b", "", "..", "${id}"};
  for (size_t i = 0; i < sizeof greedy / sizeof greedy[0]; i++) {
    struct name_values who = {.user = slice_str(greedy[i])};
    assert_false(allows(g, RIGHT_PUB, &who, "u.bob.temp"));
    assert_false(allows(g, RIGHT_PUB, &who, "u.a.b"));
    assert_false(allows(g, RIGHT_SUB, &who, "u.**"));
    assert_false(allows(g, RIGHT_SUB, &who, "u.*"));
  }
  grant_unref(g);
}

static void what_is_no_grant_is_refused(void **state) {
  (void)state;
  static struct grant_rule many[GRANT_MAX_RULES + 1];
  struct grant *g;
  const char *bad[] = {"", "a..b", "a.#", "a/b", "**.*", "a.${name}", "x${id}", "a.b*"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct grant_rule r = {RIGHT_PUB, 1, slice_str(bad[i])};
    assert_int_equal(grant_new(&mem, &(struct grant_spec){.rules = &r, .count = 1}, &g), MACULA_INVALID_TOPIC);
  }
  for (size_t i = 0; i <= GRANT_MAX_RULES; i++) many[i] = (struct grant_rule){RIGHT_PUB, 1, slice_str("a")};
  assert_int_equal(grant_new(&mem, &(struct grant_spec){.rules = many, .count = GRANT_MAX_RULES + 1}, &g), MACULA_EINVAL);
  struct mem none = MEM_INIT("none", 16);
  assert_int_equal(grant_new(&none, &(struct grant_spec){.rules = many, .count = 1}, &g), MACULA_ENOMEM);
  assert_int_equal(mem.bytes, 0);
}

static void a_grant_in_another_role(void **state) {
  (void)state;
  const struct grant_rule rule = {RIGHT_PUB, 1, slice_str("a.**")};
  struct grant *g = make(&rule, 1), *same, *node;
  assert_int_equal(grant_as(g, ROLE_CLIENT, &same), 0);
  assert_ptr_equal(same, g);
  assert_int_equal(grant_as(g, ROLE_NODE, &node), 0);
  grant_unref(same);
  grant_unref(g);
  assert_int_equal(grant_role(node), ROLE_NODE);
  assert_true(allows(node, RIGHT_PUB, &nobody, "a.b"));
  assert_true(slice_is(grant_name(node), "test"));
  grant_unref(node);
  assert_int_equal(mem.bytes, 0);
  assert_true(role_covers(ROLE_NODE, ROLE_CLIENT) && role_covers(ROLE_OPERATOR, ROLE_OPERATOR));
  assert_false(role_covers(ROLE_CLIENT, ROLE_NODE) || role_covers(ROLE_OPERATOR, ROLE_NODE) ||
               role_covers(ROLE_NODE, ROLE_OPERATOR));
}

/* ---- the model ------------------------------------------------------------------------------------------------------------
 */
static struct rng_seeded seeded;
static unsigned below(unsigned n) { return (unsigned)rng_below(rng_seeded_view(&seeded), n); }

/* A stored pattern of up to 4 segments. */
static void random_pattern(char ret[NAME_MAX_LEN + 1]) {
  static const char *const words[] = {"a", "b", "*", "**", "a", "**", "${user}"};
  char text[NAME_MAX_LEN + 1] = "";
  size_t n;
  for (unsigned i = 0, count = 1 + below(4); i < count; i++) {
    if (i) strcat(text, ".");
    strcat(text, words[below(7)]);
  }
  assert_int_equal(name_template(slice_str(text), ret, &n), 0);
}

static const char *const letters[] = {"a", "b", "c"}; /* c stands in no pattern: it is any other segment */
#define TOPICS (3 + 9 + 27 + 81 + 243 + 729)
static char topics[TOPICS][16];

static void make_topics(void) {
  int n = 0;
  for (int len = 1, count = 3; len <= 6; len++, count *= 3)
    for (int i = 0; i < count; i++, n++)
      for (int k = 0, left = i; k < len; k++, left /= 3) {
        strcat(topics[n], k ? "." : "");
        strcat(topics[n], letters[left % 3]);
      }
  assert_int_equal(n, TOPICS);
}

static bool filled(const char *stored, char ret[NAME_MAX_LEN + 1]) {
  size_t n;
  return !name_template_fill(slice_str(stored), &(struct name_values){.user = slice_str("b")}, ret, &n);
}

static void as_the_model_says(void **state) {
  (void)state;
  const struct name_values who = {.user = slice_str("b")};
  make_topics();
  rng_seeded_init(&seeded, 20);
  for (int round = 0; round < 3000; round++) {
    char text[3][NAME_MAX_LEN + 1], inner[NAME_MAX_LEN + 1], pattern[NAME_MAX_LEN + 1], ask[NAME_MAX_LEN + 1];
    struct grant_rule rules[6];
    for (int i = 0; i < 3; i++) {
      random_pattern(text[i]);
      rules[i] = (struct grant_rule){RIGHT_PUB, 1, slice_str(text[i])};
      rules[3 + i] = (struct grant_rule){RIGHT_SUB, 2, slice_str(text[i])};
    }
    struct grant *g = make(rules, 6);
    do random_pattern(inner);
    while (!strcmp(inner, "**")); /* it matches the empty name, too, which is no topic */
    assert_true(filled(inner, ask));
    bool covered = false;
    for (int i = 0; i < 3; i++) {
      bool all = true;
      assert_true(filled(text[i], pattern));
      for (int t = 0; t < TOPICS && all; t++)
        all = !pattern_match(slice_str(ask), slice_str(topics[t])) || pattern_match(slice_str(pattern), slice_str(topics[t]));
      covered |= all;
    }
    if (allows(g, RIGHT_SUB, &who, ask) != covered) fail_msg("%s by %s, %s, %s: %d", ask, text[0], text[1], text[2], !covered);
    for (int k = 0; k < 40; k++) {
      const char *topic = topics[below(TOPICS)];
      bool any = false;
      for (int i = 0; i < 3; i++) any |= filled(text[i], pattern) && pattern_match(slice_str(pattern), slice_str(topic));
      if (allows(g, RIGHT_PUB, &who, topic) != any) fail_msg("%s by %s, %s, %s: %d", topic, text[0], text[1], text[2], !any);
    }
    grant_unref(g);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rights_are_judged_by_match_and_containment),
      cmocka_unit_test(a_value_is_one_segment_whatever_it_holds),
      cmocka_unit_test(what_is_no_grant_is_refused),
      cmocka_unit_test(a_grant_in_another_role),
      cmocka_unit_test(as_the_model_says),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
