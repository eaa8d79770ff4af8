#include "base/json.h"

#include "base/utf8.h"
#include "macula/error.h"

enum wanted { VALUE, VALUE_OR_END, KEY, KEY_OR_END, COLON, REST };

struct text {
  const uint8_t *p, *end;
  const char *why;
  size_t depth;
  uint8_t objects[JSON_MAX_DEPTH / 8]; /* a bit for each level: an object, or an array */
};

static int peek(const struct text *t) { return t->p < t->end ? *t->p : -1; }
static bool take(struct text *t, int c) { return peek(t) == c && t->p++; }

static bool fails(struct text *t, const char *why) {
  t->why = t->p < t->end ? why : "the text ends too early";
  return false;
}

static void skip_blanks(struct text *t) {
  while (t->p < t->end && (*t->p == ' ' || *t->p == '\t' || *t->p == '\n' || *t->p == '\r')) t->p++;
}

static bool is_digit(int c) { return c >= '0' && c <= '9'; }
static bool is_hex(int c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

static bool escape(struct text *t) {
  int c = peek(t);
  if (c < 0 || !strchr("\"\\/bfnrtu", c) || !c) return fails(t, "no such escape: \\\" \\\\ \\/ \\b \\f \\n \\r \\t or \\uXXXX");
  t->p++;
  for (int i = 0; c == 'u' && i < 4; i++, t->p++)
    if (!is_hex(peek(t))) return fails(t, "\\u needs four hexadecimal digits");
  return true;
}

static bool string(struct text *t) {
  if (!take(t, '"')) return fails(t, "a text in double quotes is expected");
  while (!take(t, '"')) {
    size_t n = t->p < t->end ? utf8_len(t->p, (size_t)(t->end - t->p)) : 0;
    if (!n) return fails(t, "this is not UTF-8");
    if (*t->p < 0x20) return fails(t, "a control character in a text: write it as an escape");
    t->p += n;
    if (n == 1 && t->p[-1] == '\\' && !escape(t)) return false;
  }
  return true;
}

static bool digits(struct text *t) {
  if (!is_digit(peek(t))) return fails(t, "a digit is expected");
  while (is_digit(peek(t))) t->p++;
  return true;
}

static bool number(struct text *t) {
  take(t, '-');
  if (take(t, '0')) {
    if (is_digit(peek(t))) return fails(t, "a number begins with 0");
  } else if (!digits(t)) {
    return false;
  }
  if (take(t, '.') && !digits(t)) return false;
  if (!take(t, 'e') && !take(t, 'E')) return true;
  if (!take(t, '+')) take(t, '-');
  return digits(t);
}

static bool word(struct text *t, const char *is) {
  for (; *is; is++)
    if (!take(t, *is)) return fails(t, "true, false or null is expected");
  return true;
}

static bool open_level(struct text *t, bool object) {
  if (t->depth == JSON_MAX_DEPTH) return fails(t, "it is nested deeper than 2048 levels");
  uint8_t bit = (uint8_t)(1u << t->depth % 8), *b = &t->objects[t->depth++ / 8];
  *b = (uint8_t)(object ? *b | bit : *b & ~bit);
  t->p++;
  return true;
}

static bool in_object(const struct text *t) { return t->objects[(t->depth - 1) / 8] >> (t->depth - 1) % 8 & 1; }

static bool value(struct text *t, enum wanted *next) {
  *next = REST;
  switch (peek(t)) {
  case '{':
    *next = KEY_OR_END;
    return open_level(t, true);
  case '[':
    *next = VALUE_OR_END;
    return open_level(t, false);
  case '"':
    return string(t);
  case 't':
    return word(t, "true");
  case 'f':
    return word(t, "false");
  case 'n':
    return word(t, "null");
  default: /* a byte is no enum */
    if (peek(t) == '-' || is_digit(peek(t))) return number(t);
    return fails(t, "a value is expected; texts need double quotes");
  }
}

static bool close_level(struct text *t) {
  t->p++;
  t->depth--;
  return true;
}

/* Behind a value, within an array or object. */
static bool rest(struct text *t, enum wanted *next) {
  bool object = in_object(t);
  if (peek(t) == (object ? '}' : ']')) return close_level(t);
  if (!take(t, ',')) return fails(t, object ? "',' or '}' is expected" : "',' or ']' is expected");
  *next = object ? KEY : VALUE;
  return true;
}

static bool step(struct text *t, enum wanted *next) {
  switch (*next) {
  case VALUE_OR_END:
  case KEY_OR_END:
    if (peek(t) == (*next == KEY_OR_END ? '}' : ']')) {
      *next = REST;
      return close_level(t);
    }
    if (*next == VALUE_OR_END) return value(t, next);
    *next = COLON;
    return string(t);
  case VALUE:
    return value(t, next);
  case KEY:
    *next = COLON;
    return string(t);
  case COLON:
    *next = VALUE;
    return take(t, ':') || fails(t, "':' is expected");
  case REST:
    return rest(t, next);
  }
  return false;
}

int json_check(struct slice s, size_t *ret_at, const char **ret_why) {
  struct text t = {.p = s.p, .end = s.p + s.n};
  enum wanted next = VALUE;
  bool ok = true;
  do {
    skip_blanks(&t);
    ok = step(&t, &next);
  } while (ok && (t.depth || next != REST));
  if (ok) skip_blanks(&t);
  if (ok && t.p < t.end) ok = fails(&t, "there is something behind the value");
  if (ok) return 0;
  *ret_at = (size_t)(t.p - s.p);
  *ret_why = t.why;
  return MACULA_INVALID_JSON;
}
