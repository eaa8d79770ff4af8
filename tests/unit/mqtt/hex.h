/* Packets written as text: hexadecimal bytes with spaces anywhere, and text in apostrophes that stands for its own bytes; a
 * string with its two bytes of length in "<>"; a block with one byte of length in "{}". */
#ifndef UNIT_MQTT_HEX_H
#define UNIT_MQTT_HEX_H

#include "base/slice.h"

static size_t hex_quoted(const char **s, uint8_t *out, size_t n) {
  while (**s && **s != '\'' && **s != '>') out[n++] = (uint8_t) * (*s)++;
  if (**s) (*s)++;
  return n;
}

static struct slice hex(const char *s, uint8_t *out) {
  size_t n = 0, block = 0;
  while (*s) {
    if (*s == ' ') {
      s++;
    } else if (*s == '{') {
      s++;
      block = n++;
    } else if (*s == '}') {
      s++;
      out[block] = (uint8_t)(n - block - 1);
    } else if (*s == '\'') {
      s++;
      n = hex_quoted(&s, out, n);
    } else if (*s == '<') {
      s++;
      size_t end = hex_quoted(&s, out, n + 2);
      out[n] = (uint8_t)((end - n - 2) >> 8);
      out[n + 1] = (uint8_t)(end - n - 2);
      n = end;
    } else {
      out[n++] = (uint8_t)(hex_digit((uint8_t)s[0]) << 4 | hex_digit((uint8_t)s[1]));
      s += 2;
    }
  }
  return slice_of(out, n);
}

/* A packet of this first byte around a body. */
__attribute__((unused)) static struct slice packet_of(uint8_t first, const char *body, uint8_t *out) {
  uint8_t inner[512];
  struct slice b = hex(body, inner);
  size_t n = 0;
  out[n++] = first;
  if (b.n > 127) out[n++] = (uint8_t)(b.n | 0x80);
  out[n++] = (uint8_t)(b.n > 127 ? b.n >> 7 : b.n);
  memcpy(out + n, b.p, b.n);
  return slice_of(out, n + b.n);
}

#endif
