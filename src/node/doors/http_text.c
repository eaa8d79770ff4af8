#include "node/doors/http_text.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

void http_text_done(struct http_text *t) {
  mem_free(t->mem, t->p);
  *t = (struct http_text){.mem = t->mem};
}

static bool grow(struct http_text *t, size_t n) {
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
  if (!n || !grow(t, n)) return;
  memcpy(t->p + t->n, p, n);
  t->n += n;
}

void http_text_put(struct http_text *t, const char *s) { http_text_bytes(t, s, strlen(s)); }

void http_text_number(struct http_text *t, uint64_t v) {
  char text[24];
  snprintf(text, sizeof text, "%llu", (unsigned long long)v);
  http_text_put(t, text);
}

/* Bytes of the run from s->p on that stand for themselves. */
static size_t plain(struct slice s) {
  size_t n = 0;
  while (n < s.n && s.p[n] >= 0x20 && s.p[n] < 0x7F && s.p[n] != '"' && s.p[n] != '\\') n++;
  return n;
}

/* One character that does not. Returns its bytes. */
static size_t escape(struct http_text *t, struct slice s) {
  size_t len = utf8_len(s.p, s.n);
  char text[16];
  if (!len) return 1;
  if (s.p[0] == '"' || s.p[0] == '\\') {
    snprintf(text, sizeof text, "\\%c", s.p[0]);
    http_text_put(t, text);
  } else if (utf8_is_control(s.p, len) && utf8_code(s.p, len) < 0x10000) {
    snprintf(text, sizeof text, "\\u%04x", (unsigned)utf8_code(s.p, len));
    http_text_put(t, text);
  } else {
    http_text_bytes(t, s.p, len);
  }
  return len;
}

void http_text_string(struct http_text *t, struct slice s) {
  http_text_put(t, "\"");
  while (s.n && !t->failed) {
    size_t n = plain(s);
    http_text_bytes(t, s.p, n);
    s = slice_of(s.p + n, s.n - n);
    if (s.n) n = escape(t, s), s = slice_of(s.p + n, s.n - n);
  }
  http_text_put(t, "\"");
}

static bool is_text(struct slice s) {
  for (size_t len; s.n; s = slice_of(s.p + len, s.n - len)) {
    if (!(len = utf8_len(s.p, s.n))) return false;
    if (s.p[0] < 0x20 && s.p[0] != '\t' && s.p[0] != '\n' && s.p[0] != '\r') return false;
  }
  return true;
}

static void base64(struct http_text *t, struct slice s) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (!grow(t, (s.n + 2) / 3 * 4)) return;
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
  bool text = is_text(s);
  http_text_put(t, "\"");
  http_text_put(t, name);
  http_text_put(t, text ? "\":" : "_base64\":");
  if (text) {
    http_text_string(t, s);
    return;
  }
  http_text_put(t, "\"");
  base64(t, s);
  http_text_put(t, "\"");
}
