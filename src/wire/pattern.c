/* Design notes: containment.
 *
 * Segments are of an alphabet without end, so some topic puts into the inner pattern's wildcards what no literal of the outer
 * one names. A `**` of the inner one can be made longer than the outer one is, so all of it must fall into one run of wildcards
 * of the outer one that has a `**`; or it can be nothing. A run of wildcards means `at least so many segments` with a `**`, and
 * `exactly so many` without. So the outer pattern is laid over the inner one, both as sequences:
 *   a literal      over the same literal;
 *   exactly n      over n segments that are literals or `*`;
 *   at least n     over any stretch that has n or more literals and `*`, `**` counted as nothing.
 * Each topic is matched if one laying exists: clear. That one exists if each topic is matched: lay from the left, each literal
 * behind an open run as early as that run allows. Where this ends in failure, take the topic that has nothing for each `**`
 * that is within the first n segments of an `at least n`, and very much of something new for all others: it lets nothing lie
 * earlier than it was laid, so it is not matched. */
#include "wire/pattern.h"

#include "wire/names.h"

bool pattern_match(struct slice pattern, struct slice topic) {
  uint32_t steps = 0;
  return pattern_match_steps(pattern, topic, &steps);
}

bool pattern_match_steps(struct slice pattern, struct slice topic, uint32_t *steps) {
  /* As with globs, only the last `**` needs to be retried: an earlier one gains nothing by taking more. */
  struct slice retry_pattern = SLICE_NONE, retry_topic = SLICE_NONE;
  bool have_retry = false;
  for (;; ++*steps) {
    if (pattern.p) {
      struct slice rest = pattern, seg = name_next_segment(&rest);
      if (slice_is(seg, "**")) {
        if (!rest.p) return true;
        retry_pattern = rest;
        retry_topic = topic;
        have_retry = true;
        pattern = rest;
        continue;
      }
      if (topic.p) {
        struct slice topic_rest = topic, t = name_next_segment(&topic_rest);
        if (slice_is(seg, "*") || slice_eq(seg, t)) {
          pattern = rest;
          topic = topic_rest;
          continue;
        }
      }
    } else if (!topic.p) {
      return true;
    }
    if (!have_retry || !retry_topic.p) return false;
    name_next_segment(&retry_topic);
    pattern = retry_pattern;
    topic = retry_topic;
  }
}

bool pattern_is_wild(struct slice pattern) { return pattern.n && memchr(pattern.p, '*', pattern.n) != NULL; }

/* A pattern, cut. least: segments that a topic's part matched by the first i segments has at least. */
struct cut {
  struct slice seg[NAME_MAX_SEGMENTS];
  uint32_t least[NAME_MAX_SEGMENTS + 1], count;
};

static bool is_any(struct slice seg) { return slice_is(seg, "**"); }
static bool is_one(struct slice seg) { return slice_is(seg, "*"); }

static bool cut(struct slice pattern, struct cut *ret) {
  ret->count = ret->least[0] = 0;
  while (pattern.p) {
    if (ret->count == NAME_MAX_SEGMENTS) return false;
    struct slice seg = ret->seg[ret->count++] = name_next_segment(&pattern);
    ret->least[ret->count] = ret->least[ret->count - 1] + !is_any(seg);
  }
  if (!ret->least[ret->count]) ret->least[ret->count] = 1; /* `**` alone: no topic is empty */
  return ret->count > 0;
}

/* Places in the inner pattern, before its i-th segment, as bits: those behind which a segment of the outer one can be laid. */
static uint64_t lay(const struct cut *inner, uint64_t at, struct slice seg) {
  uint64_t next = 0;
  for (uint32_t i = 0; i < inner->count; i++)
    if (at >> i & 1 && !is_any(inner->seg[i]) && (is_one(seg) || slice_eq(seg, inner->seg[i]))) next |= UINT64_C(2) << i;
  return next;
}

/* Behind which a run of n `*` and at least one `**` can be laid: it may begin at the first of the places. */
static uint64_t lay_open(const struct cut *inner, uint64_t at, uint32_t n) {
  uint64_t next = 0;
  uint32_t first = 0;
  while (first < inner->count && !(at >> first & 1)) first++;
  for (uint32_t i = first; i <= inner->count && at; i++)
    if (inner->least[i] - inner->least[first] >= n) next |= UINT64_C(1) << i;
  return next;
}

bool name_pattern_contains(struct slice outer, struct slice inner) {
  struct cut in, out;
  uint64_t at = 1;
  if (!cut(inner, &in) || !cut(outer, &out)) return false;
  for (uint32_t i = 0; i < out.count;) {
    uint32_t stars = 0, any = 0, run = i;
    for (; run < out.count && (is_one(out.seg[run]) || is_any(out.seg[run])); run++) {
      stars += is_one(out.seg[run]);
      any += is_any(out.seg[run]);
    }
    if (any)
      at = lay_open(&in, at, stars);
    else
      at = lay(&in, at, out.seg[i]);
    i = any ? run : i + 1;
  }
  return at >> in.count & 1;
}
