#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "pubsub/topic_index.h"
#include "unit/broken.h"
#include "wire/names.h"
#include "wire/pattern.h"

static struct rng_seeded seeded;
static struct rng rng(void) {
  rng_seeded_init(&seeded, 1);
  return rng_seeded_view(&seeded);
}

static struct topic_index *new_index(struct mem *m, uint32_t max, uint32_t per_subscriber) {
  struct topic_index *ix;
  assert_int_equal(topic_index_new(m, rng(), max, per_subscriber, &ix), 0);
  return ix;
}

static int subscribe(struct topic_index *ix, struct topic_subscriber *s, const char *pattern, uint32_t flags) {
  bool is_new;
  return topic_index_subscribe(ix, s, slice_str(pattern), flags, &is_new);
}

static struct topic_subscriber *match(struct topic_index *ix, struct slice topic) {
  uint32_t left = UINT32_MAX;
  return topic_index_match_within(ix, topic, &left);
}

static uint32_t count_hits(struct topic_index *ix, const char *topic) {
  uint32_t n = 0;
  for (struct topic_subscriber *s = match(ix, slice_str(topic)); s; s = s->next_hit) n++;
  return n;
}

static uint32_t nodes(const struct topic_index *ix) {
  struct topic_index_stats stats;
  topic_index_stats(ix, &stats);
  return stats.nodes;
}

static void wildcards_match_as_specified(void **state) {
  (void)state;
  static const struct {
    const char *pattern, *topic;
    bool match;
  } cases[] = {{"a", "a", true},
               {"a", "b", false},
               {"a.**", "a", true},
               {"a.**", "a.b.c", true},
               {"a.**", "b", false},
               {"a.**.b", "a.b", true},
               {"a.**.b", "a.x.y.b", true},
               {"a.**.b", "a.b.c", false},
               {"a.*", "a", false},
               {"a.*", "a.b", true},
               {"a.*", "a.b.c", false},
               {"*", "a", true},
               {"*", "a.b", false},
               {"**", "a", true},
               {"**", "a.b.c", true},
               {"**.c", "a.b.c", true},
               {"**.c", "c", true},
               {"**.**", "a", true},
               {"**.*", "a", true},
               {"*.**.*", "a", false},
               {"*.**.*", "a.b", true},
               {"a.**.**.b", "a.b", true},
               {"**.b.**", "a.b", true},
               {"**.b.**", "a.c", false},
               {"A", "a", false},
               {"a.**.a.**.a", "a.a.a", true},
               {"a.**.a.**.a", "a.a", false}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct mem m = MEM_INIT("index", 0);
    struct topic_index *ix = new_index(&m, 10, 10);
    struct topic_subscriber s;
    topic_subscriber_init(&s, 1, NULL);
    assert_int_equal(subscribe(ix, &s, cases[i].pattern, 0), 0);
    assert_int_equal(count_hits(ix, cases[i].topic), cases[i].match);
    topic_index_free(ix);
    assert_int_equal(m.bytes, 0);
  }
}

static void each_subscriber_once_with_all_flags(void **state) {
  (void)state;
  struct mem m = MEM_INIT("index", 0);
  struct topic_index *ix = new_index(&m, 100, 10);
  struct topic_subscriber a, b;
  topic_subscriber_init(&a, 1, NULL);
  topic_subscriber_init(&b, 2, NULL);
  subscribe(ix, &a, "x.**", TOPIC_OWN);
  subscribe(ix, &a, "x.*", TOPIC_QOS1);
  subscribe(ix, &a, "x.y", 0);
  subscribe(ix, &b, "x.y", 0);
  assert_int_equal(count_hits(ix, "x.y"), 2);
  assert_int_equal(a.flags, TOPIC_OWN | TOPIC_QOS1);
  assert_int_equal(b.flags, 0);
  assert_int_equal(count_hits(ix, "x"), 1);
  assert_int_equal(a.flags, TOPIC_OWN);
  topic_index_free(ix);
  assert_int_equal(a.count, 0);
  assert_true(list_empty(&a.subs));
  assert_int_equal(m.bytes, 0);
}

static void subscribing_twice_is_one_subscription(void **state) {
  (void)state;
  struct mem m = MEM_INIT("index", 0);
  struct topic_index *ix = new_index(&m, 100, 10);
  struct topic_subscriber a;
  topic_subscriber_init(&a, 1, NULL);
  bool is_new = false;
  assert_int_equal(topic_index_subscribe(ix, &a, slice_str("x.*"), 0, &is_new), 0);
  assert_true(is_new);
  assert_int_equal(topic_index_subscribe(ix, &a, slice_str("x.*"), TOPIC_OWN, &is_new), 0);
  assert_false(is_new);
  assert_int_equal(a.count, 1);
  assert_int_equal(count_hits(ix, "x.y"), 1);
  assert_int_equal(a.flags, TOPIC_OWN);
  assert_int_equal(topic_index_unsubscribe(ix, &a, slice_str("x")), MACULA_ENOTFOUND); /* an inner node is none */
  assert_int_equal(topic_index_unsubscribe(ix, &a, slice_str("x.y")), MACULA_ENOTFOUND);
  assert_int_equal(topic_index_unsubscribe(ix, &a, slice_str("x.*")), 0);
  assert_int_equal(topic_index_unsubscribe(ix, &a, slice_str("x.*")), MACULA_ENOTFOUND);
  assert_int_equal(nodes(ix), 0);
  assert_int_equal(count_hits(ix, "x.y"), 0);
  topic_index_free(ix);
}

static void limits_refuse_and_change_nothing(void **state) {
  (void)state;
  struct mem m = MEM_INIT("index", 0);
  struct topic_index *ix = new_index(&m, 3, 2);
  struct topic_subscriber a, b;
  topic_subscriber_init(&a, 1, NULL);
  topic_subscriber_init(&b, 2, NULL);
  assert_int_equal(subscribe(ix, &a, "a", 0), 0);
  assert_int_equal(subscribe(ix, &a, "b", 0), 0);
  assert_int_equal(subscribe(ix, &a, "c.d.e", 0), MACULA_MAX_SUBSCRIPTIONS_REACHED);
  assert_int_equal(subscribe(ix, &a, "a", TOPIC_OWN), 0); /* there already */
  assert_int_equal(subscribe(ix, &b, "a", 0), 0);
  assert_int_equal(subscribe(ix, &b, "b", 0), MACULA_MAX_SUBSCRIPTIONS_REACHED);
  struct topic_index_stats stats;
  topic_index_stats(ix, &stats);
  assert_int_equal(stats.subscriptions, 3);
  assert_int_equal(stats.nodes, 2);
  assert_int_equal(stats.refused, 2);
  assert_int_equal(topic_index_drop(ix, &a), 2);
  assert_int_equal(topic_index_drop(ix, &a), 0);
  assert_int_equal(count_hits(ix, "a"), 1);
  assert_int_equal(subscribe(ix, &b, "", 0), MACULA_INVALID_TOPIC);
  assert_int_equal(subscribe(ix, &b, "a..b", 0), MACULA_INVALID_TOPIC);
  assert_null(match(ix, slice_str("a..b")));
  topic_index_free(ix);
  assert_int_equal(m.bytes, 0);
}

static void patterns_can_be_listed(void **state) {
  (void)state;
  struct mem m = MEM_INIT("index", 0);
  struct topic_index *ix = new_index(&m, 10, 10);
  struct topic_subscriber a;
  topic_subscriber_init(&a, 1, NULL);
  static const char *const patterns[] = {"a.b.c", "**", "a.*.c.**", "a"};
  for (size_t i = 0; i < 4; i++) assert_int_equal(subscribe(ix, &a, patterns[i], (uint32_t)i), 0);
  uint32_t n = 0;
  for (const struct topic_sub *s = NULL; (s = topic_sub_next(&a, s)); n++) {
    char text[NAME_MAX_LEN + 1];
    assert_int_equal(topic_sub_pattern(s, text), strlen(patterns[n]));
    assert_string_equal(text, patterns[n]);
    assert_int_equal(topic_sub_flags(s), n);
  }
  assert_int_equal(n, 4);
  topic_index_free(ix);
}

/* Names over a small alphabet, so that they often meet. */
static void random_name(struct rng r, bool pattern, char *ret_name) {
  static const char *const segs[] = {"a", "b", "c", "*", "**"};
  uint64_t count = 1 + rng_below(r, 6);
  ret_name[0] = '\0';
  for (uint64_t i = 0; i < count; i++) {
    if (i) strcat(ret_name, ".");
    strcat(ret_name, segs[rng_below(r, pattern ? 5 : 3)]);
  }
}

static void agrees_with_the_reference(void **state) {
  (void)state;
  enum { SUBSCRIBERS = 40, PATTERNS = 6 };
  struct rng r = rng();
  for (int round = 0; round < 30; round++) {
    struct mem m = MEM_INIT("index", 0);
    struct topic_index *ix;
    assert_int_equal(topic_index_new(&m, r, 1000, 1000, &ix), 0);
    struct topic_subscriber s[SUBSCRIBERS];
    char patterns[SUBSCRIBERS][PATTERNS][64];
    for (int i = 0; i < SUBSCRIBERS; i++) {
      topic_subscriber_init(&s[i], (uint64_t)i, NULL);
      for (int j = 0; j < PATTERNS; j++) {
        random_name(r, true, patterns[i][j]);
        assert_int_equal(subscribe(ix, &s[i], patterns[i][j], 1u << j), 0);
      }
    }
    for (int i = 0; i < SUBSCRIBERS; i += 3) { /* some go, and some patterns of others */
      topic_index_drop(ix, &s[i]);
      for (int j = 0; j < PATTERNS; j++) patterns[i][j][0] = '\0';
    }
    for (int i = 1; i < SUBSCRIBERS; i += 3)
      if (topic_index_unsubscribe(ix, &s[i], slice_str(patterns[i][0])) == 0)
        for (int j = PATTERNS - 1; j >= 0; j--)
          if (strcmp(patterns[i][j], patterns[i][0]) == 0) patterns[i][j][0] = '\0';
    HOLDS(topic_index_check(ix));
    for (int t = 0; t < 200; t++) {
      char topic[64];
      random_name(r, false, topic);
      bool found[SUBSCRIBERS] = {false};
      if (t % 3 == 0) (void)match(ix, slice_str(topic));
      for (struct topic_subscriber *h = match(ix, slice_str(topic)); h; h = h->next_hit) {
        assert_false(found[h->session]); /* one copy each */
        found[h->session] = true;
      }
      for (int i = 0; i < SUBSCRIBERS; i++) {
        bool want = false;
        for (int j = 0; j < PATTERNS; j++)
          want |= patterns[i][j][0] && pattern_match(slice_str(patterns[i][j]), slice_str(topic));
        assert_int_equal(found[i], want);
      }
    }
    for (int i = 0; i < SUBSCRIBERS; i++) topic_index_drop(ix, &s[i]);
    assert_int_equal(nodes(ix), 0);
    topic_index_free(ix);
    assert_int_equal(m.bytes, 0);
  }
}

static void many_double_stars_stay_cheap(void **state) {
  (void)state;
  struct mem m = MEM_INIT("index", 0);
  struct topic_index *ix = new_index(&m, 10, 10);
  struct topic_subscriber a;
  topic_subscriber_init(&a, 1, NULL);
  /* Backtracking would need some 10^8 steps for one topic; the test would not end in its time. */
  assert_int_equal(subscribe(ix, &a, "**.a.**.a.**.a.**.a.**.a.**.a.**.a.**.a.**.a.**.a.**.a.**.a.**.a.**.a.**.a.b", 0), 0);
  char topic[64] = "a";
  for (int i = 0; i < 31; i++) strcat(topic, ".a");
  for (int i = 0; i < 1000; i++) assert_int_equal(count_hits(ix, topic), 0);
  topic[62] = 'b';
  assert_int_equal(count_hits(ix, topic), 1);
  topic_index_free(ix);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (uint64_t n = 1;; n++) {
    struct mem_fail f = {.countdown = n};
    struct mem m = {.name = "index", .fail = &f};
    struct topic_index *ix;
    if (topic_index_new(&m, rng(), 1000, 1000, &ix) != 0) {
      assert_int_equal(m.bytes, 0);
      continue;
    }
    struct topic_subscriber a;
    topic_subscriber_init(&a, 1, NULL);
    uint32_t ok = 0;
    for (int i = 0; i < 12; i++) {
      char pattern[32];
      snprintf(pattern, sizeof pattern, "a.b%d.*.**.c%d", i % 4, i);
      uint32_t before = nodes(ix);
      int err = subscribe(ix, &a, pattern, 0);
      assert_true(err == 0 || err == MACULA_ENOMEM);
      if (err) assert_int_equal(nodes(ix), before);
      ok += err == 0;
    }
    assert_true(ok >= 11);
    assert_int_equal(a.count, ok);
    topic_index_drop(ix, &a);
    assert_int_equal(nodes(ix), 0);
    topic_index_free(ix);
    assert_int_equal(m.bytes, 0);
    if (f.countdown) break;
  }
}

#define PATTERNS 100000
#define SUBSCRIBERS 200

static void a_hundred_thousand_patterns(void **state) {
  (void)state;
  struct mem m = MEM_INIT("index", 0);
  struct topic_index *ix = new_index(&m, PATTERNS, 1000);
  static struct topic_subscriber s[SUBSCRIBERS];
  for (int i = 0; i < SUBSCRIBERS; i++) topic_subscriber_init(&s[i], (uint64_t)i, NULL);
  char name[64];
  for (int i = 0; i < PATTERNS; i++) {
    snprintf(name, sizeof name, "site.%d.sensor.%d", i % 97, i);
    assert_int_equal(subscribe(ix, &s[i % SUBSCRIBERS], name, 0), 0);
  }
  assert_true(m.bytes < (size_t)PATTERNS * 256);
  for (int i = 0; i < PATTERNS; i += 1009) {
    snprintf(name, sizeof name, "site.%d.sensor.%d", i % 97, i);
    struct topic_subscriber *hit = match(ix, slice_str(name));
    assert_ptr_equal(hit, &s[i % SUBSCRIBERS]);
    assert_null(hit->next_hit);
  }
  for (int i = 0; i < SUBSCRIBERS; i++) topic_index_drop(ix, &s[i]);
  assert_int_equal(nodes(ix), 0);
  assert_true(m.bytes < 2048);
  topic_index_free(ix);
  assert_int_equal(m.bytes, 0);
}

static bool always(void *ctx) {
  (void)ctx;
  return true;
}

struct gone {
  uint32_t count, match;
};
static void on_gone(void *ctx, struct slice pattern) {
  struct gone *g = ctx;
  g->count++;
  g->match += pattern.n > 5 && memcmp(pattern.p, "many.", 5) == 0;
}

static void subscribe_many(struct topic_index *ix, struct topic_subscriber *s, uint32_t count) {
  char name[32];
  for (uint32_t i = 0; i < count; i++) {
    snprintf(name, sizeof name, "many.%u.*", i);
    assert_int_equal(subscribe(ix, s, name, 0), 0);
  }
}

#define FEW 7u /* more than TOPIC_APART */

/* Of one that had very many nothing is found at once, and the rest goes in slices; the patterns of others stay, and whoever
 * subscribes meanwhile finds room. */
static void many_go_in_slices(void **state) {
  (void)state;
  struct mem m = MEM_INIT("index", 0);
  struct topic_index *ix = new_index(&m, TOPIC_APART + FEW + 1, TOPIC_APART + FEW);
  struct topic_subscriber a, b;
  struct topic_index_stats stats;
  struct spent spent = {always, NULL};
  struct gone gone = {0};
  uint32_t shared = 0, turns = 0;
  topic_index_on_gone(ix, on_gone, &gone);
  topic_subscriber_init(&a, 1, &a);
  topic_subscriber_init(&b, 2, &b);
  a.shared = &shared;
  subscribe_many(ix, &a, TOPIC_APART + FEW);
  assert_int_equal(subscribe(ix, &b, "many.3.**", TOPIC_OWN), 0);
  assert_int_equal(a.count, TOPIC_APART + FEW);
  assert_int_equal(shared, TOPIC_APART + FEW);
  HOLDS(topic_index_check(ix));
  assert_int_equal(topic_index_owned(ix), m.bytes);
  assert_int_equal(count_hits(ix, "many.3.x"), 2);
  assert_int_equal(topic_index_unsubscribe(ix, &a, slice_str("many.5.*")), 0);
  topic_sub_rotate(&a);
  assert_int_equal(subscribe(ix, &a, "many.5.*", TOPIC_QOS1), 0);
  assert_int_equal(topic_index_flags(ix, &a, slice_str("many.5.*")), TOPIC_QOS1);
  struct topic_subscriber *hit = match(ix, slice_str("many.5.x"));
  assert_true(hit && hit->user == &a && hit->session == 1 && hit->flags == TOPIC_QOS1 && !hit->next_hit);

  assert_int_equal(topic_index_drop(ix, &a), TOPIC_APART + FEW);
  assert_int_equal(topic_index_drop(ix, &a), 0);
  assert_int_equal(a.count + shared, 0);
  assert_null(topic_sub_next(&a, NULL));
  memset(&a, 0xab, sizeof a); /* it is the owner's again */
  HOLDS(topic_index_check(ix));
  assert_int_equal(count_hits(ix, "many.3.x"), 1);
  assert_true(topic_index_is_leaving(ix));
  for (const struct topic_subscriber *s = NULL; (s = topic_index_left(ix, s));) assert_int_equal(s->count, TOPIC_APART + FEW);

  topic_subscriber_init(&a, 3, &a);
  subscribe_many(ix, &a, FEW); /* the index is full, and none is refused */
  assert_int_equal(gone.count, 2 * FEW);
  for (; topic_index_is_leaving(ix); turns++) {
    topic_index_step(ix, &spent);
    HOLDS(topic_index_check(ix));
    assert_int_equal(topic_index_owned(ix), m.bytes);
  }
  assert_in_range(turns, 2, TOPIC_APART);
  assert_int_equal(gone.count, TOPIC_APART + FEW);
  assert_int_equal(gone.match, gone.count);
  topic_index_stats(ix, &stats);
  assert_int_equal(stats.subscriptions, FEW + 1);
  assert_int_equal(stats.leaving + stats.refused, 0);
  topic_index_free(ix);
  assert_int_equal(m.bytes, 0);
}

/* The index ends while one with very many is there, and another has left. */
static void many_end_with_the_index(void **state) {
  (void)state;
  struct mem m = MEM_INIT("index", 0);
  struct topic_index *ix = new_index(&m, 3 * TOPIC_APART, 2 * TOPIC_APART);
  struct topic_subscriber a, b;
  topic_subscriber_init(&a, 1, NULL);
  topic_subscriber_init(&b, 2, NULL);
  subscribe_many(ix, &a, TOPIC_APART + 1);
  subscribe_many(ix, &b, TOPIC_APART + 1);
  topic_index_drop(ix, &a);
  topic_index_free(ix);
  assert_int_equal(b.count, 0);
  assert_int_equal(topic_index_drop(ix, &b), 0);
  assert_int_equal(m.bytes, 0);
}

/* The same topic again has the same answer and price, until a subscription comes, changes or goes, or another topic is matched.
 */
static void a_topic_again(void **state) {
  (void)state;
  struct mem m = MEM_INIT("index", 0);
  struct topic_index *ix = new_index(&m, 3 * TOPIC_APART, 2 * TOPIC_APART);
  struct topic_subscriber a, b;
  uint32_t first = 1000, again = 1000;
  topic_subscriber_init(&a, 1, NULL);
  topic_subscriber_init(&b, 2, NULL);
  assert_int_equal(count_hits(ix, "x.y"), 0);
  subscribe(ix, &a, "x.*", 0);
  assert_ptr_equal(topic_index_match_within(ix, slice_str("x.y"), &first), &a);
  assert_ptr_equal(topic_index_match_within(ix, slice_str("x.y"), &again), &a);
  assert_true(first < 1000 && first == again);
  uint32_t little = 1000 - first;
  assert_null(topic_index_match_within(ix, slice_str("x.y"), &little));
  assert_int_equal(little, 0);
  subscribe(ix, &a, "x.*", TOPIC_QOS1);
  assert_int_equal(count_hits(ix, "x.y"), 1);
  assert_int_equal(a.flags, TOPIC_QOS1);
  subscribe(ix, &b, "x.y", 0);
  assert_int_equal(count_hits(ix, "x.y"), 2);
  assert_int_equal(count_hits(ix, "x.z"), 1);
  assert_int_equal(count_hits(ix, "x.y"), 2);
  assert_int_equal(topic_index_unsubscribe(ix, &a, slice_str("x.*")), 0);
  assert_int_equal(count_hits(ix, "x.y"), 1);
  topic_index_drop(ix, &b);
  assert_int_equal(count_hits(ix, "x.y"), 0);
  subscribe(ix, &a, "x.#team", 0);
  assert_int_equal(count_hits(ix, "x"), 0);
  for (int i = 0; i < 2; i++) {
    assert_non_null(topic_index_groups(ix));
    assert_int_equal(count_hits(ix, "x"), 0);
  }
  subscribe_many(ix, &b, TOPIC_APART);
  subscribe(ix, &b, "x.y", 0);
  assert_ptr_equal(match(ix, slice_str("x.y")), b.apart ? b.apart : &b);
  topic_index_drop(ix, &b); /* its subscriptions are left */
  assert_true(topic_index_is_leaving(ix));
  assert_null(match(ix, slice_str("x.y")));
  topic_index_drop(ix, &a);
  topic_index_free(ix);
  assert_int_equal(m.bytes, 0);
}

#define SHARERS 150

static struct topic_subscriber *more(struct topic_index *ix, uint32_t most) { return topic_index_match_more(ix, &most); }

/* What a match leaves aside is found in steps, each subscriber once, whoever goes meanwhile. */
static void many_are_found_in_steps(void **state) {
  (void)state;
  struct mem m = {0};
  struct topic_index *ix = new_index(&m, 10000, 10);
  static struct topic_subscriber s[SHARERS], few;
  bool left_aside, seen[SHARERS] = {0};
  uint32_t left = UINT32_MAX, found = 0;
  topic_subscriber_init(&few, 0, &few);
  assert_int_equal(subscribe(ix, &few, "a.**", 0), 0);
  for (unsigned i = 0; i < SHARERS; i++) {
    topic_subscriber_init(&s[i], i + 1, &s[i]);
    assert_int_equal(subscribe(ix, &s[i], "a.b", i == 3 ? 0 : TOPIC_OWN), 0);
    if (i % 2) assert_int_equal(subscribe(ix, &s[i], "a.*", 0), 0);
  }
  struct topic_want want = {.own = &s[3]};
  assert_ptr_equal(topic_index_match_first(ix, slice_str("a.b"), &want, &left, &left_aside), &few);
  assert_true(left_aside && !few.next_hit);
  uint32_t steps = 0;
  assert_null(topic_index_match_more(ix, &steps));
  for (unsigned k = 0; k < 40; k++) {
    struct topic_subscriber *f = more(ix, 1);
    if (f) seen[f - s] = true;
    found += f != NULL;
  }
  assert_int_equal(found, 40);
  for (unsigned i = 0; i < SHARERS; i++) /* all but one are gone, wherever the place is now */
    if (i != 75 && !seen[i]) (void)topic_index_drop(ix, &s[i]);
  assert_null(topic_index_check(ix));
  steps = 1000;
  for (struct topic_subscriber *f; (f = topic_index_match_more(ix, &steps)); found++) {
    assert_false(seen[f - s]);
    seen[f - s] = true;
  }
  assert_true(steps > 0 && seen[75] && found == 41 && !seen[3]);
  for (unsigned i = 0; i < SHARERS; i++) (void)topic_index_drop(ix, &s[i]);
  assert_null(more(ix, 10)); /* its nodes are gone */
  assert_true(topic_index_match_add(ix, &s[0]) != seen[0]);
  assert_false(topic_index_match_add(ix, &s[0]));
  topic_index_free(ix);
  assert_int_equal(m.bytes, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(wildcards_match_as_specified),
                                     cmocka_unit_test(each_subscriber_once_with_all_flags),
                                     cmocka_unit_test(subscribing_twice_is_one_subscription),
                                     cmocka_unit_test(limits_refuse_and_change_nothing),
                                     cmocka_unit_test(patterns_can_be_listed),
                                     cmocka_unit_test(agrees_with_the_reference),
                                     cmocka_unit_test(a_topic_again),
                                     cmocka_unit_test(many_double_stars_stay_cheap),
                                     cmocka_unit_test(many_go_in_slices),
                                     cmocka_unit_test(many_end_with_the_index),
                                     cmocka_unit_test(every_allocation_may_fail),
                                     cmocka_unit_test(a_hundred_thousand_patterns),
                                     cmocka_unit_test(many_are_found_in_steps)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
