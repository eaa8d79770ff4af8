/* A view of bytes that somebody else owns, and the owned 32-byte id. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
  const uint8_t *p;
  size_t n;
};

#define SLICE_NONE ((struct slice){NULL, 0})

static inline struct slice slice_of(const void *p, size_t n) { return (struct slice){(const uint8_t *)p, n}; }
static inline struct slice slice_str(const char *s) { return (struct slice){(const uint8_t *)s, s ? strlen(s) : 0}; }
static inline bool slice_eq(struct slice a, struct slice b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
static inline bool slice_is(struct slice a, const char *s) { return slice_eq(a, slice_str(s)); }

#define ID_LEN 32       /* node and client id: SHA-256 of the SubjectPublicKeyInfo */
#define INSTANCE_LEN 16 /* one process's or connection's run of a client */
#define CALL_ID_LEN 16  /* call_id and message_id */
#define ID_HEX_LEN 64

struct id {
  uint8_t b[ID_LEN];
};

static inline bool id_eq(const struct id *a, const struct id *b) { return memcmp(a->b, b->b, ID_LEN) == 0; }
/* No id: nobody's key has this hash. */
static inline bool id_is_zero(const struct id *id) {
  static const struct id zero;
  return id_eq(id, &zero);
}
/* Writes 64 lower-case digits and a NUL. */
void id_hex(const struct id *id, char ret_hex[ID_HEX_LEN + 1]);
/* Reads exactly 64 hexadecimal digits of either case; MACULA_EINVAL otherwise. */
int id_parse(struct slice text, struct id *ret_id);
/* The value of a hexadecimal digit of either case, -1 for what is none. */
int hex_digit(uint8_t c);
/* Writes 2 n lower-case digits and a NUL. */
void hex_encode(const uint8_t *p, size_t n, char *ret_hex);

#endif
