#include "wire/mqtt_names.h"

#include "base/err.h"
#include "base/utf8.h"

static const char too_long[] = "it has more than 255 bytes as a native name";

struct text {
  char p[NAME_MAX_LEN + 1];
  size_t n;
};

static const char *put(struct text *out, char separator, struct slice s) {
  if (out->n + (separator != 0) + s.n > NAME_MAX_LEN) return too_long;
  if (separator) out->p[out->n++] = separator;
  memcpy(out->p + out->n, s.p, s.n);
  out->n += s.n;
  return NULL;
}

static int end(const struct text *out, const char *why, char *ret_text, size_t *ret_len, const char **ret_why) {
  *ret_why = why;
  if (why) return MACULA_INVALID_TOPIC;
  memcpy(ret_text, out->p, out->n);
  ret_text[out->n] = 0;
  *ret_len = out->n;
  return 0;
}

/* MQTT 5, 1.5.4 and 4.7: what a level that is no wildcard may hold. */
static const char *level_fault(struct slice level) {
  for (size_t i = 0, len; i < level.n; i += len) {
    len = utf8_len(level.p + i, level.n - i);
    if (!len || !level.p[i]) return "it is no UTF-8, or holds a zero byte";
    if (level.p[i] == '+' || level.p[i] == '#') return "it holds a + or # that is no wildcard there";
    if (level.p[i] == '/') return "a segment of it holds a slash";
  }
  return NULL;
}

static const char *put_level(struct text *out, char separator, struct slice level, bool is_filter, bool is_last) {
  char segment[NAME_MAX_LEN + 1];
  size_t len;
  if (is_filter && slice_is(level, "+")) return put(out, separator, slice_str("*"));
  if (is_filter && is_last && slice_is(level, "#")) return put(out, separator, slice_str("**"));
  const char *why = level_fault(level);
  if (why) return why;
  if (name_segment_from(level, segment, &len)) return too_long;
  return put(out, separator, slice_of(segment, len));
}

static const char *from_mqtt(struct slice in, bool is_filter, struct text *out) {
  if (!in.n) return "it is empty";
  unsigned levels = 0;
  const char *why = NULL;
  for (size_t first = 0, last; first <= in.n && !why; first = last + 1) {
    for (last = first; last < in.n && in.p[last] != '/';) last++;
    if (++levels > NAME_MAX_SEGMENTS) return "it has more than 32 levels";
    why = put_level(out, first ? '.' : 0, slice_of(in.p + first, last - first), is_filter, last == in.n);
  }
  return why;
}

static const char *put_segment(struct text *out, char separator, struct slice seg, bool is_last) {
  char value[NAME_MAX_LEN + 1];
  size_t len;
  if (slice_is(seg, "*")) return put(out, separator, slice_str("+"));
  if (slice_is(seg, "**")) return is_last ? put(out, separator, slice_str("#")) : "it has a ** that is not last";
  name_segment_value(seg, value, &len);
  const char *why = level_fault(slice_of(value, len));
  return why ? why : put(out, separator, slice_of(value, len));
}

static const char *to_mqtt(struct slice name, struct text *out) {
  const char *why = NULL;
  for (bool first = true; name.p && !why; first = false) {
    struct slice seg = name_next_segment(&name);
    why = put_segment(out, first ? 0 : '/', seg, !name.p);
  }
  return why ? why : out->n ? NULL : "MQTT has no empty topic";
}

int name_from_mqtt_topic(struct slice topic, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len, const char **ret_why) {
  struct text out = {.n = 0};
  return end(&out, from_mqtt(topic, false, &out), ret_name, ret_len, ret_why);
}
int name_from_mqtt_filter(struct slice filter, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len, const char **ret_why) {
  struct text out = {.n = 0};
  return end(&out, from_mqtt(filter, true, &out), ret_name, ret_len, ret_why);
}
int name_to_mqtt(struct slice name, char ret_text[NAME_MAX_LEN + 1], size_t *ret_len, const char **ret_why) {
  struct text out = {.n = 0};
  return end(&out, to_mqtt(name, &out), ret_text, ret_len, ret_why);
}
