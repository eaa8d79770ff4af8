/* Text that is put together, JSON above all, in accounted memory. */
#ifndef NODE_DOORS_HTTP_TEXT_H
#define NODE_DOORS_HTTP_TEXT_H

#include "base/mem.h"
#include "base/slice.h"

struct http_text {
  struct mem *mem;
  char *p; /* NULL: empty */
  size_t n, cap;
  bool failed; /* there was no memory: what is there is not all */
};
void http_text_done(struct http_text *t); /* harmless when repeated */
void http_text_put(struct http_text *t, const char *s);
void http_text_bytes(struct http_text *t, const void *p, size_t n);
void http_text_number(struct http_text *t, uint64_t v);
/* So many bytes more can be put without memory. False: there is none for them. */
bool http_text_reserve(struct http_text *t, size_t n);
/* In quotes. What is not UTF-8 is left out. */
void http_text_string(struct http_text *t, struct slice s);
#define HTTP_TEXT_ESCAPED 6 /* bytes of one, at most */
/* The same without quotes; and base64, which wants multiples of 3 bytes up to the last piece. */
void http_text_escaped(struct http_text *t, struct slice s);
void http_text_base64(struct http_text *t, struct slice s);
bool http_text_is(struct slice s); /* UTF-8 without controls but tab and ends of lines */
/* `"NAME":"..."` if that is so, else `"NAME_base64":"..."`. */
void http_text_value(struct http_text *t, const char *name, struct slice s);

#endif
