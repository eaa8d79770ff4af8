#include "node/doors/http_text.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

void http_text_done(struct http_text *t) {
  mem_free(t->mem, t->p);
  *t = (struct http_text){.mem = t->mem};
}

bool http_text_reserve(struct http_text *t, size_t n) {
  if (t->failed) return false;
  if (t->n + n <= t->cap) return true;
  size_t cap = t->n + n + t->cap / 2 + 256;
  char *p = mem_realloc(t->mem, t->p, cap);
  if (!p) {
    t->failed = true;
    return false;
  }
  t->p = p;
  t->cap = cap;
  return true;
}

void http_text_bytes(struct http_text *t, const void *p, size_t n) {
  if (!n || !http_text_reserve(t, n)) return;
  memcpy(t->p + t->n, p, n);
  t->n += n;
}

void http_text_put(struct http_text *t, const char *s) { http_text_bytes(t, s, strlen(s)); }

void http_text_number(struct http_text *t, uint64_t v) {
  char text[24];
  snprintf(text, sizeof text, "%llu", (unsigned long long)v);
  http_text_put(t, text);
}

static bool stands_for_itself(uint8_t c) { return c >= 0x20 && c < 0x7F && c != '"' && c != '\\'; }

/* Bytes of the run from s.p on that stand for themselves. */
static size_t plain(struct slice s) {
  size_t n = 0;
  while (n < s.n) {
    if (stands_for_itself(s.p[n])) {
      n++;
      continue;
    }
    size_t len = s.p[n] < 0x80 ? 0 : utf8_len(s.p + n, s.n - n);
    if (!len || (utf8_is_control(s.p + n, len) && utf8_code(s.p + n, len) < 0x10000)) break;
    n += len;
  }
  return n;
}

/* One character that does not. Returns its bytes. */
static size_t escape(struct http_text *t, struct slice s) {
  static const char digits[] = "0123456789abcdef";
  static const char letters[0x20] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
  size_t len = utf8_len(s.p, s.n);
  char text[HTTP_TEXT_ESCAPED] = {'\\'};
  if (!len) return 1;
  char letter = s.p[0] == '"' || s.p[0] == '\\' ? (char)s.p[0] : s.p[0] < sizeof letters ? letters[s.p[0]] : 0;
  if (letter) {
    text[1] = letter;
    http_text_bytes(t, text, 2);
    return len;
  }
  uint32_t code = utf8_code(s.p, len);
  text[1] = 'u';
  for (int i = 0; i < 4; i++) text[2 + i] = digits[code >> (12 - 4 * i) & 15];
  http_text_bytes(t, text, sizeof text);
  return len;
}

void http_text_escaped(struct http_text *t, struct slice s) {
  while (s.n && !t->failed) {
    size_t n = plain(s);
    http_text_bytes(t, s.p, n);
    s = slice_of(s.p + n, s.n - n);
    if (s.n) n = escape(t, s), s = slice_of(s.p + n, s.n - n);
  }
}

void http_text_string(struct http_text *t, struct slice s) {
  http_text_put(t, "\"");
  http_text_escaped(t, s);
  http_text_put(t, "\"");
}

bool http_text_is(struct slice s) {
  for (size_t i = 0, len; i < s.n; i += len) {
    uint8_t c = s.p[i];
    len = c < 0x80 ? 1 : utf8_len(s.p + i, s.n - i);
    if (!len || (c < 0x20 && c != '\t' && c != '\n' && c != '\r')) return false;
  }
  return true;
}

void http_text_base64(struct http_text *t, struct slice s) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (!http_text_reserve(t, (s.n + 2) / 3 * 4)) return;
  for (char *o = t->p + t->n; s.n; o += 4, t->n += 4) {
    size_t have = s.n < 3 ? s.n : 3;
    unsigned v = (unsigned)s.p[0] << 16 | (have > 1 ? (unsigned)s.p[1] << 8 : 0) | (have > 2 ? s.p[2] : 0u);
    o[0] = digits[v >> 18];
    o[1] = digits[v >> 12 & 63];
    o[2] = have > 1 ? digits[v >> 6 & 63] : '=';
    o[3] = have > 2 ? digits[v & 63] : '=';
    s = slice_of(s.p + have, s.n - have);
  }
}

void http_text_value(struct http_text *t, const char *name, struct slice s) {
  bool text = http_text_is(s);
  http_text_put(t, "\"");
  http_text_put(t, name);
  http_text_put(t, text ? "\":" : "_base64\":");
  if (text) {
    http_text_string(t, s);
    return;
  }
  http_text_put(t, "\"");
  http_text_base64(t, s);
  http_text_put(t, "\"");
}
