#include "base/utf8.h"

size_t utf8_len(const uint8_t *p, size_t n) {
  size_t len = p[0] < 0x80                   ? 1
               : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
               : (p[0] & 0xf0) == 0xe0       ? 3
               : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                             : 0;
  if (!len || len > n) return 0;
  for (size_t i = 1; i < len; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
      (p[0] == 0xf4 && p[1] > 0x8f))
    return 0;
  return len;
}

uint32_t utf8_code(const uint8_t *p, size_t len) {
  static const uint8_t first[] = {0, 0x7f, 0x1f, 0x0f, 0x07}; /* its bits in the first byte, by length */
  uint32_t code = p[0] & first[len];
  for (size_t i = 1; i < len; i++) code = code << 6 | (p[i] & 0x3f);
  return code;
}

bool utf8_is_control(const uint8_t *p, size_t len) {
  static const uint32_t ranges[][2] = {{0x80, 0x9f},     {0x61c, 0x61c},   {0x200e, 0x200f}, {0x2028, 0x202e},
                                       {0x2066, 0x2069}, {0xfdd0, 0xfdef}, {0xfeff, 0xfeff}};
  if (len == 1) return p[0] < 0x20 || p[0] == 0x7f;
  uint32_t code = utf8_code(p, len);
  if ((code & 0xfffe) == 0xfffe) return true; /* the last two of each plane */
  for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
    if (code >= ranges[i][0] && code <= ranges[i][1]) return true;
  return false;
}

size_t utf8_label(struct slice in, char *ret_label, size_t most) {
  size_t kept = 0;
  for (size_t i = 0, n; i < in.n; i += n ? n : 1) {
    n = utf8_len(in.p + i, in.n - i);
    if (!n || utf8_is_control(in.p + i, n)) continue;
    if (kept + n > most) break;
    memmove(ret_label + kept, in.p + i, n);
    kept += n;
  }
  ret_label[kept] = 0;
  return kept;
}
