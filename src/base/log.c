/* Log lines whose shape only the format decides: whatever text a %s inserts stays within its value. Escapes are those of JSON,
 * so that a value is also the body of a JSON string. */
#include "base/log.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/utf8.h"

#define LINE_LEN 1024
#define VALUE_LEN 400 /* bytes of one %s, so that a long text cannot push out what follows it */

struct line {
  char *p;
  size_t n, cap;
  bool quoted; /* within the quotes of the format */
};

static void put(struct line *l, const char *s, size_t n) {
  if (l->n + n > l->cap) n = l->cap - l->n;
  memcpy(l->p + l->n, s, n);
  l->n += n;
}

/* A value without quotes ends at a blank. */
static size_t escape(const struct line *l, const uint8_t *p, size_t n, char ret_text[16]) {
  if (!n) return (size_t)snprintf(ret_text, 16, "?");
  uint32_t code = utf8_code(p, n), above = code - 0x10000;
  if (utf8_is_control(p, n) && n == 4)
    return (size_t)snprintf(ret_text, 16, "\\u%04x\\u%04x", 0xd800 | above >> 10, 0xdc00 | (above & 0x3ff));
  if (utf8_is_control(p, n) || (*p == ' ' && !l->quoted)) return (size_t)snprintf(ret_text, 16, "\\u%04x", code);
  return (size_t)snprintf(ret_text, 16, "%s%.*s", *p == '"' || *p == '\\' ? "\\" : "", (int)n, (const char *)p);
}

static void put_text(struct line *l, struct slice s) {
  char text[16];
  size_t most = l->n + VALUE_LEN < l->cap ? l->n + VALUE_LEN : l->cap;
  for (size_t i = 0, n, len; i < s.n; i += n ? n : 1) {
    n = utf8_len(s.p + i, s.n - i);
    len = escape(l, s.p + i, n, text);
    if (l->n + len > most) return;
    put(l, text, len);
  }
}

/* One conversion of a format, its own characters in spec. */
static void put_number(struct line *l, const char *spec, char type, char size, va_list *ap) {
  char text[64];
  int n = 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  if (type == 'f')
    n = snprintf(text, sizeof text, spec, va_arg(*ap, double));
  else if (size == 'L') /* ll */
    n = snprintf(text, sizeof text, spec, va_arg(*ap, unsigned long long));
  else if (size == 'l' || size == 'z')
    n = snprintf(text, sizeof text, spec, va_arg(*ap, unsigned long));
  else
    n = snprintf(text, sizeof text, spec, va_arg(*ap, unsigned));
#pragma GCC diagnostic pop
  put(l, text, n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* fmt is behind a %; returns what is behind the conversion. */
static const char *convert(struct line *l, const char *fmt, va_list *ap) {
  char spec[16] = "%", size = 0;
  size_t n = 1, most = SIZE_MAX;
  for (; strchr("-+ #0123456789.*lz", *fmt) && n < sizeof spec - 2; spec[n++] = *fmt++) {
    if (*fmt == '*') most = (size_t)va_arg(*ap, int);
    if (*fmt == 'l' || *fmt == 'z') size = size == 'l' ? 'L' : *fmt;
  }
  spec[n++] = *fmt;
  spec[n] = 0;
  if (*fmt == 's') {
    const char *s = va_arg(*ap, const char *);
    put_text(l, s ? slice_of(s, strnlen(s, most)) : SLICE_NONE);
  } else {
    assert(strchr("diuxf", *fmt));
    put_number(l, spec, *fmt, size, ap);
  }
  return fmt + 1;
}

void log_line(const struct log *log, enum log_level level, const char *event, const char *fmt, ...) {
  char fields[LINE_LEN];
  struct line l = {.p = fields, .cap = sizeof fields - 2}; /* a quote and the NUL */
  va_list ap;
  va_start(ap, fmt);
  while (*fmt) {
    if (*fmt == '%') {
      fmt = convert(&l, fmt + 1, &ap);
      continue;
    }
    if (*fmt == '"' && l.n < l.cap) l.quoted = !l.quoted;
    put(&l, fmt++, 1);
  }
  va_end(ap);
  if (l.quoted) fields[l.n++] = '"'; /* it was cut */
  fields[l.n] = 0;
  log->sink(log->ctx, level, event, fields);
}
