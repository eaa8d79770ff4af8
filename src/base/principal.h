/* A principal: who published or called, as proved at the node that the message or call entered the mesh by. */
#ifndef BASE_PRINCIPAL_H
#define BASE_PRINCIPAL_H

#include "base/slice.h"

/* The numbers are part of the protocol and of the public interface. */
enum principal_kind {
  PRINCIPAL_UNKNOWN,
  PRINCIPAL_KEY,       /* name: an id, 32 bytes */
  PRINCIPAL_USER,      /* name: of the user, 1 to PRINCIPAL_USER_MAX bytes of UTF-8 without controls */
  PRINCIPAL_ANONYMOUS, /* name: empty */
};

#define PRINCIPAL_USER_MAX 64u                      /* bytes */
#define PRINCIPAL_LEN_MAX (1u + PRINCIPAL_USER_MAX) /* bytes on the wire: the kind, and the name */
#define PRINCIPAL_TEXT_LEN (PRINCIPAL_USER_MAX + 1) /* its name as text: a key's as hexadecimal digits */

struct principal_name {
  enum principal_kind kind;
  struct slice name;
};

/* The wire's form, which is also what makes two principals equal. Its length. */
size_t principal_write(const struct principal_name *p, uint8_t ret_bytes[PRINCIPAL_LEN_MAX]);
/* *ret views the bytes. A kind that this version does not know is PRINCIPAL_UNKNOWN. MACULA_BAD_FRAME: no principal. */
int principal_read(struct slice bytes, struct principal_name *ret);
void principal_text(const struct principal_name *p, char ret_text[PRINCIPAL_TEXT_LEN]);
const char *principal_kind_name(enum principal_kind kind); /* "key", "user", "anonymous", "unknown" */

#endif
