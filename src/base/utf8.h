/* Text that others chose: what of it is UTF-8, and what of that drives a terminal. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/slice.h"

/* Bytes of the UTF-8 character at p (n > 0 bytes are left), 0 if there is none (RFC 3629). */
size_t utf8_len(const uint8_t *p, size_t n);
/* Whether the character of len bytes at p is a control: C0, DEL or C1. */
static inline bool utf8_is_control(const uint8_t *p, size_t len) {
  return len == 1 ? p[0] < 0x20 || p[0] == 0x7f : len == 2 && p[0] == 0xc2 && p[1] < 0xa0;
}
/* A label as it is kept: without controls and what is no UTF-8, whole characters in at most `most` bytes and a NUL. Returns its
 * length. The two may overlap when ret_label is not behind in.p. */
size_t utf8_label(struct slice in, char *ret_label, size_t most);

#endif
