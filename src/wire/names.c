#include "wire/names.h"

#include <stdio.h>

#include "base/err.h"

/* What is wrong with a name; where: bytes count from 1, segments too. */
enum rule {
  RULE_NONE,
  RULE_EMPTY,
  RULE_LONG,
  RULE_LONG_STORED,
  RULE_SEGMENTS,
  RULE_EMPTY_SEGMENT,
  RULE_CHARACTER,
  RULE_WILDCARD
};
struct fault {
  enum rule rule;
  size_t at;
};

static bool name_char(uint8_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

/* `first`: where the segment begins in what was given. */
static struct fault segment_fault(const char *s, size_t n, bool is_pattern, unsigned number, size_t first) {
  if (n == 0) return (struct fault){RULE_EMPTY_SEGMENT, number};
  if (is_pattern && s[0] == '*' && (n == 1 || (n == 2 && s[1] == '*'))) return (struct fault){RULE_NONE, 0};
  for (size_t i = 0; i < n; i++)
    if (!name_char((uint8_t)s[i]))
      return (struct fault){s[i] == '*' || s[i] == '#' ? RULE_WILDCARD : RULE_CHARACTER, first + i + 1};
  return (struct fault){RULE_NONE, 0};
}

/* A run of wildcards means the same in any order and with any number of `**`. In one form only, a topic meets few of them,
 * whatever its subscribers made up: `*` first, then one `**`. *at: where the segment before this one begins, if it is `**`. */
static size_t settle_wildcard(char *out, size_t start, size_t n, size_t *at) {
  bool is_star = out[start] == '*', before = *at != SIZE_MAX;
  if (is_star && before && n - start == 2) return start - 1;
  if (is_star && before) {
    memcpy(out + *at, "*.**", 4);
    *at += 2;
  } else {
    *at = is_star && n - start == 2 ? start : SIZE_MAX;
  }
  return n;
}

static struct fault judge(struct slice in, bool is_pattern, char out[NAME_MAX_LEN + 1], size_t *ret_len) {
  size_t n = 0, start = 0, dstar = SIZE_MAX, first = 0;
  unsigned segments = 0;
  if (in.n == 0) return (struct fault){RULE_EMPTY, 0};
  if (in.n > NAME_MAX_LEN) return (struct fault){RULE_LONG, in.n};
  for (size_t i = 0; i <= in.n; i++) {
    uint8_t c = i < in.n ? in.p[i] : '.';
    if (c == '/') c = '.';
    if (c != '.') {
      if (n >= NAME_MAX_LEN) return (struct fault){RULE_LONG_STORED, 0};
      out[n++] = (char)c;
      continue;
    }
    if (is_pattern && n - start == 1 && out[start] == '#') { /* MQTT's habit */
      if (n + 1 > NAME_MAX_LEN) return (struct fault){RULE_LONG_STORED, 0};
      out[start] = '*';
      out[n++] = '*';
    }
    struct fault f = segment_fault(out + start, n - start, is_pattern, ++segments, first);
    if (f.rule) return f;
    if (segments > NAME_MAX_SEGMENTS) return (struct fault){RULE_SEGMENTS, 0};
    n = settle_wildcard(out, start, n, &dstar);
    first = i + 1;
    if (i < in.n) {
      if (n >= NAME_MAX_LEN) return (struct fault){RULE_LONG_STORED, 0};
      out[n++] = '.';
      start = n;
    }
  }
  out[n] = 0;
  *ret_len = n;
  return (struct fault){RULE_NONE, 0};
}

static int normalize(struct slice in, bool is_pattern, int err, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len) {
  char out[NAME_MAX_LEN + 1];
  size_t n;
  if (judge(in, is_pattern, out, &n).rule) return err;
  memcpy(ret_name, out, n + 1);
  *ret_len = n;
  return 0;
}

int name_topic(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len) {
  return normalize(in, false, MACULA_INVALID_TOPIC, ret_name, ret_len);
}
int name_pattern(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len) {
  return normalize(in, true, MACULA_INVALID_TOPIC, ret_name, ret_len);
}
int name_procedure(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len) {
  return normalize(in, false, MACULA_INVALID_PROCEDURE, ret_name, ret_len);
}
int name_realm(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len) {
  return normalize(in, false, MACULA_INVALID_REALM, ret_name, ret_len);
}

static unsigned count_segments(struct slice in) {
  unsigned n = 1;
  for (size_t i = 0; i < in.n; i++) n += in.p[i] == '.' || in.p[i] == '/';
  return n;
}

/* Patterns whose every `#` counts twice are the only ones that are longer as they are stored. */
static void write_why(struct fault f, bool is_pattern, struct slice in, char ret_why[NAME_WHY_LEN]) {
  uint8_t c = f.at && f.at <= in.n ? in.p[f.at - 1] : 0;
  char shown[16];
  snprintf(shown, sizeof shown, c > ' ' && c < 0x7f ? "'%c'" : c == ' ' ? "the blank" : "0x%02x", c);
  switch (f.rule) {
  case RULE_NONE:
    break;
  case RULE_EMPTY:
    snprintf(ret_why, NAME_WHY_LEN, "it is empty");
    break;
  case RULE_LONG:
    snprintf(ret_why, NAME_WHY_LEN, "it has %zu bytes, at most %d are allowed", f.at, NAME_MAX_LEN);
    break;
  case RULE_LONG_STORED:
    snprintf(ret_why, NAME_WHY_LEN, "it has more than %d bytes, with each # kept as **", NAME_MAX_LEN);
    break;
  case RULE_SEGMENTS:
    snprintf(ret_why, NAME_WHY_LEN, "it has %u segments, at most %d are allowed", count_segments(in), NAME_MAX_SEGMENTS);
    break;
  case RULE_EMPTY_SEGMENT:
    snprintf(ret_why, NAME_WHY_LEN, "segment %zu of %u is empty", f.at, count_segments(in));
    break;
  case RULE_CHARACTER:
    snprintf(ret_why, NAME_WHY_LEN, "%s at byte %zu is none of A-Z a-z 0-9 _ - and the dots between segments", shown, f.at);
    break;
  case RULE_WILDCARD:
    snprintf(ret_why, NAME_WHY_LEN,
             is_pattern ? "%s at byte %zu is not a whole segment, as the wildcards *, ** and # must be"
                        : "%s at byte %zu: wildcards are for patterns of subscriptions only",
             shown, f.at);
    break;
  }
}

const char *name_why(int err, enum name_form form, struct slice in, char ret_why[NAME_WHY_LEN]) {
  char out[NAME_MAX_LEN + 1];
  size_t n;
  if (err != MACULA_INVALID_TOPIC && err != MACULA_INVALID_PROCEDURE && err != MACULA_INVALID_REALM) return NULL;
  struct fault f = judge(in, form == NAME_PATTERN, out, &n);
  if (!f.rule) return NULL;
  write_why(f, form == NAME_PATTERN, in, ret_why);
  return ret_why;
}

/* The segment at s, without its dot; moves s behind it. s.p == NULL: none is left. */
static struct slice next_segment(struct slice *s) {
  const uint8_t *dot = s->n ? memchr(s->p, '.', s->n) : NULL;
  struct slice seg = {s->p, dot ? (size_t)(dot - s->p) : s->n};
  *s = dot ? (struct slice){dot + 1, s->n - seg.n - 1} : SLICE_NONE;
  return seg;
}

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
      struct slice rest = pattern, seg = next_segment(&rest);
      if (slice_is(seg, "**")) {
        if (!rest.p) return true;
        retry_pattern = rest;
        retry_topic = topic;
        have_retry = true;
        pattern = rest;
        continue;
      }
      if (topic.p) {
        struct slice topic_rest = topic, t = next_segment(&topic_rest);
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
    next_segment(&retry_topic);
    pattern = retry_pattern;
    topic = retry_topic;
  }
}

bool pattern_is_wild(struct slice pattern) { return pattern.n && memchr(pattern.p, '*', pattern.n) != NULL; }

bool name_is_reserved(struct slice procedure) {
  static const char prefix[] = "com.macula.";
  size_t len = sizeof prefix - 1;
  return procedure.n >= len && memcmp(procedure.p, prefix, len) == 0;
}
