#include "wire/names.h"

#include "base/err.h"

enum { PLAIN, PATTERN };

static bool name_char(uint8_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static bool segment_ok(const char *s, size_t n, int form) {
  if (n == 0) return false;
  if (form == PATTERN && s[0] == '*' && (n == 1 || (n == 2 && s[1] == '*'))) return true;
  for (size_t i = 0; i < n; i++)
    if (!name_char((uint8_t)s[i])) return false;
  return true;
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

static int normalize(struct slice in, int form, int err, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len) {
  char out[NAME_MAX_LEN + 1];
  size_t n = 0, start = 0, dstar = SIZE_MAX;
  unsigned segments = 0;
  if (in.n == 0 || in.n > NAME_MAX_LEN) return err;
  for (size_t i = 0; i <= in.n; i++) {
    uint8_t c = i < in.n ? in.p[i] : '.';
    if (c == '/') c = '.';
    if (c != '.') {
      if (n >= NAME_MAX_LEN) return err;
      out[n++] = (char)c;
      continue;
    }
    if (form == PATTERN && n - start == 1 && out[start] == '#') { /* MQTT's habit */
      if (n + 1 > NAME_MAX_LEN) return err;
      out[start] = '*';
      out[n++] = '*';
    }
    if (!segment_ok(out + start, n - start, form) || ++segments > NAME_MAX_SEGMENTS) return err;
    n = settle_wildcard(out, start, n, &dstar);
    if (i < in.n) {
      if (n >= NAME_MAX_LEN) return err;
      out[n++] = '.';
      start = n;
    }
  }
  memcpy(ret_name, out, n);
  ret_name[n] = 0;
  *ret_len = n;
  return 0;
}

int name_topic(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len) {
  return normalize(in, PLAIN, MACULA_INVALID_TOPIC, ret_name, ret_len);
}
int name_pattern(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len) {
  return normalize(in, PATTERN, MACULA_INVALID_TOPIC, ret_name, ret_len);
}
int name_procedure(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len) {
  return normalize(in, PLAIN, MACULA_INVALID_PROCEDURE, ret_name, ret_len);
}
int name_realm(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len) {
  return normalize(in, PLAIN, MACULA_INVALID_REALM, ret_name, ret_len);
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
