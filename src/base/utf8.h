/* Checks of text from others: whether it is UTF-8, and whether it holds characters that control a terminal or mislead a
 * reader. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/slice.h"

/* Bytes of the UTF-8 character at p (n > 0 bytes are left), 0 if there is none (RFC 3629). */
size_t utf8_len(const uint8_t *p, size_t n);
/* The code point of the character of len bytes at p, which utf8_len found. */
uint32_t utf8_code(const uint8_t *p, size_t len);
/* Whether the character of len bytes at p is a control or as bad as one: C0, DEL, C1; U+2028 and U+2029, which end a line;
 * those that turn the direction of text (Unicode's Bidi_Control); U+FEFF, which many take away; noncharacters. Names escape
 * exactly these, so the list is part of the protocol. */
bool utf8_is_control(const uint8_t *p, size_t len);
/* Copies a label without controls and without bytes that are not UTF-8: as many whole characters as fit into `most` bytes, and
 * a NUL. Returns its length. The two may overlap when ret_label is not behind in.p. */
size_t utf8_label(struct slice in, char *ret_label, size_t most);

#endif
