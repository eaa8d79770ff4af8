#include "base/slice.h"

#include "base/err.h"

void hex_encode(const uint8_t *p, size_t n, char *ret_hex) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < n; i++) {
    ret_hex[2 * i] = digits[p[i] >> 4];
    ret_hex[2 * i + 1] = digits[p[i] & 15];
  }
  ret_hex[2 * n] = 0;
}

void id_hex(const struct id *id, char ret_hex[ID_HEX_LEN + 1]) { hex_encode(id->b, ID_LEN, ret_hex); }

int hex_digit(uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

int id_parse(struct slice text, struct id *ret_id) {
  struct id id;
  if (text.n != ID_HEX_LEN) return MACULA_EINVAL;
  for (size_t i = 0; i < ID_LEN; i++) {
    int hi = hex_digit(text.p[2 * i]), lo = hex_digit(text.p[2 * i + 1]);
    if (hi < 0 || lo < 0) return MACULA_EINVAL;
    id.b[i] = (uint8_t)(hi << 4 | lo);
  }
  *ret_id = id;
  return 0;
}
