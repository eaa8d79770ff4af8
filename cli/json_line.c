#include "json_line.h"

#include <string.h>

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static const char *skip_blanks(const char *p, const char *end) {
  while (p < end && is_blank(*p)) p++;
  return p;
}

/* From the first quote to behind the last. */
static const char *skip_string(const char *p, const char *end) {
  for (p++; p < end && *p != '"'; p++)
    if (*p == '\\' && p + 1 < end) p++;
  return p < end ? p + 1 : end;
}

static const char *skip_value(const char *p, const char *end) {
  size_t depth = 0;
  for (; p < end; p++) {
    if (*p == '"') {
      p = skip_string(p, end) - 1;
    } else if (*p == '{' || *p == '[') {
      depth++;
    } else if (*p == '}' || *p == ']') {
      if (!depth) return p; /* of what holds it */
      depth--;
    } else if (!depth && (*p == ',' || is_blank(*p))) {
      return p;
    }
  }
  return end;
}

bool json_line_member(const char *text, size_t len, const char *key, const char **ret_value, size_t *ret_len) {
  const char *end = text + len, *p = skip_blanks(text, end);
  size_t key_len = strlen(key);
  bool found = false;
  if (p == end || *p != '{') return false;
  for (p = skip_blanks(p + 1, end); p < end && *p == '"'; p = skip_blanks(p, end)) {
    const char *name = p + 1;
    p = skip_string(p, end);
    bool same = (size_t)(p - name) == key_len + 1 && memcmp(name, key, key_len) == 0;
    p = skip_blanks(p, end);
    if (p < end) p = skip_blanks(p + 1, end); /* the colon */
    const char *value = p;
    p = skip_value(p, end);
    if (same) {
      *ret_value = value;
      *ret_len = (size_t)(p - value);
      found = true;
    }
    p = skip_blanks(p, end);
    if (p < end && *p == ',') p++;
  }
  return found;
}

void json_line_compact(FILE *f, const char *text, size_t len) {
  const char *end = text + len;
  for (const char *p = text, *to; p < end; p = to) {
    to = *p == '"' ? skip_string(p, end) : p + 1;
    if (!is_blank(*p)) fwrite_unlocked(p, 1, (size_t)(to - p), f);
  }
}

static int digit(char c) {
  return c >= 'A' && c <= 'Z'   ? c - 'A'
         : c >= 'a' && c <= 'z' ? c - 'a' + 26
         : c >= '0' && c <= '9' ? c - '0' + 52
         : c == '+'             ? 62
         : c == '/'             ? 63
                                : -1;
}

bool json_line_unbase64(char *text, size_t *len) {
  size_t n = *len, out = 0;
  if (n % 4) return false;
  if (n && text[n - 1] == '=') n -= text[n - 2] == '=' ? 2 : 1;
  unsigned bits = 0, held = 0;
  for (size_t i = 0; i < n; i++) {
    int d = digit(text[i]);
    if (d < 0) return false;
    bits = bits << 6 | (unsigned)d;
    held += 6;
    if (held < 8) continue;
    held -= 8;
    text[out++] = (char)(bits >> held);
    bits &= (1u << held) - 1;
  }
  if (bits) return false; /* what padding leaves out is 0 */
  *len = out;
  return true;
}
