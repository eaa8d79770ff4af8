/* Names: what is one is stored the same again and is spelled in the one way of its values; every value is a segment and comes
 * back; MQTT's names come back; what is within a pattern matches no more than it. Input: two names and more, with lines
 * between them. */
#include <stdlib.h>

#include "base/err.h"
#include "wire/mqtt_names.h"
#include "wire/pattern.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct name {
  char p[NAME_MAX_LEN + 1];
  size_t n;
};

static void require(int ok) {
  if (!ok) abort();
}
static struct slice text_of(const struct name *name) { return slice_of(name->p, name->n); }

static void spelled_once(struct slice name) {
  struct name value, again;
  while (name.p) {
    struct slice seg = name_next_segment(&name);
    if (slice_is(seg, "*") || slice_is(seg, "**")) continue;
    name_segment_value(seg, value.p, &value.n);
    require(name_segment_from(text_of(&value), again.p, &again.n) == 0 && slice_eq(text_of(&again), seg));
  }
}

static bool stored(int (*name)(struct slice, char *, size_t *), enum name_form form, struct slice in, struct name *ret) {
  char why[NAME_WHY_LEN];
  struct name again;
  int err = name(in, ret->p, &ret->n);
  require(!err == !name_why(MACULA_INVALID_TOPIC, form, in, why));
  if (err) return false;
  require(name(text_of(ret), again.p, &again.n) == 0 && slice_eq(text_of(&again), text_of(ret)));
  spelled_once(text_of(ret));
  return true;
}

static void values(struct slice in) {
  struct name seg, value, filled;
  if (name_segment_from(in, seg.p, &seg.n)) return;
  name_segment_value(text_of(&seg), value.p, &value.n);
  require(slice_eq(text_of(&value), in) && stored(name_topic, NAME_TOPIC, text_of(&seg), &filled));
  struct name_values v = {.client = in};
  require(name_template_fill(slice_str("${client}"), &v, filled.p, &filled.n) == 0 &&
          slice_eq(text_of(&filled), text_of(&seg)));
}

static void of_mqtt(struct slice in, bool is_filter) {
  struct name native, back;
  const char *why;
  if ((is_filter ? name_from_mqtt_filter : name_from_mqtt_topic)(in, native.p, &native.n, &why)) return;
  require(stored(is_filter ? name_pattern : name_topic, is_filter ? NAME_PATTERN : NAME_TOPIC, text_of(&native), &back));
  require(slice_eq(text_of(&back), text_of(&native)));
  require(name_to_mqtt(text_of(&native), back.p, &back.n, &why) == 0 && slice_eq(text_of(&back), in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct name last = {.n = 0}, pattern, topic, filled;
  for (const uint8_t *end = data + size; data <= end && size;) {
    const uint8_t *line = memchr(data, '\n', (size_t)(end - data));
    struct slice in = slice_of(data, (size_t)((line ? line : end) - data));
    bool is_topic = stored(name_topic, NAME_TOPIC, in, &topic), is_pattern = stored(name_pattern, NAME_PATTERN, in, &pattern);
    (void)stored(name_procedure, NAME_PROCEDURE, in, &filled);
    (void)stored(name_realm, NAME_REALM, in, &filled);
    if (stored(name_template, NAME_TEMPLATE, in, &filled)) {
      struct name_values v = {in, in, in};
      struct name again;
      if (name_template_fill(text_of(&filled), &v, filled.p, &filled.n) == 0)
        require(stored(name_pattern, NAME_PATTERN, text_of(&filled), &again) && slice_eq(text_of(&again), text_of(&filled)));
    }
    values(in);
    of_mqtt(in, false);
    of_mqtt(in, true);
    require(!is_topic || is_pattern);
    if (is_pattern) require(name_pattern_contains(text_of(&pattern), text_of(&pattern)));
    if (is_pattern && last.n && name_pattern_contains(text_of(&last), text_of(&pattern)) && is_topic)
      require(pattern_match(text_of(&last), text_of(&pattern)));
    if (is_pattern) last = pattern;
    data = line ? line + 1 : end + 1;
  }
  return 0;
}
