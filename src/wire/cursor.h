/* MessagePack without an object tree: a pull reader and a writer, both with a sticky error that is checked once at the end. */
#ifndef WIRE_CURSOR_H
#define WIRE_CURSOR_H

#include "base/slice.h"

#define CURSOR_MAX_ELEMENTS 4096
#define CURSOR_MAX_DEPTH 16

struct reader {
  const uint8_t *p, *end;
  uint32_t elements; /* seen so far, containers' own included */
  bool bad;
};

static inline struct reader reader_of(struct slice s) { return (struct reader){s.p, s.p + s.n, 0, s.p == NULL}; }
/* Each takes one value. The wrong type or a malformed value makes the reader bad and gives zero. */
uint32_t reader_map(struct reader *r);                    /* pairs */
uint32_t reader_array(struct reader *r);                  /* elements; an empty str is an empty array */
struct slice reader_text(struct reader *r);               /* bin or str; p is never NULL on success */
uint64_t reader_uint(struct reader *r);                   /* a non-negative integer in any form */
bool reader_bool(struct reader *r);                       /* true, false, nil as false */
struct slice reader_raw(struct reader *r, uint8_t depth); /* one whole value of any type, skipped; depth: levels above it */
bool reader_at_nil(const struct reader *r);
/* Whether a number in its shortest form comes that is below 128. */
static inline bool reader_at_small(const struct reader *r) { return r->p < r->end && *r->p < 0x80; }

struct writer {
  uint8_t *p; /* NULL: only counts */
  size_t cap, len;
};

void writer_map(struct writer *w, uint32_t pairs);
void writer_array(struct writer *w, uint32_t elements);
void writer_bin(struct writer *w, struct slice s);
void writer_uint(struct writer *w, uint64_t v);
void writer_bool(struct writer *w, bool v);
void writer_raw(struct writer *w, struct slice s);

#endif
