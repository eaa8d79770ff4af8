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
