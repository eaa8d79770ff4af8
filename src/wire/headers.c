#include "wire/headers.h"

#include "base/err.h"
#include "base/utf8.h"

static bool take(struct msg_list *h, struct slice *ret) {
  if (!h->items) return msg_list_next(h, ret);
  if (!h->count) return false;
  h->count--;
  *ret = *h->items++;
  return true;
}

bool headers_next(struct msg_list *h, struct slice *ret_name, struct slice *ret_value) {
  return take(h, ret_name) && take(h, ret_value);
}

size_t headers_size(struct msg_list h) {
  struct slice name, value;
  size_t n = 0;
  while (headers_next(&h, &name, &value)) n += name.n + value.n;
  return n;
}

bool headers_is_text(struct slice s) {
  for (size_t i = 0, n; i < s.n; i += n)
    if (!s.p[i] || !(n = utf8_len(s.p + i, s.n - i))) return false;
  return true;
}

int headers_check(struct msg_list h, const char **ret_text) {
  struct slice name, value;
  *ret_text = "a message has at most 64 headers, of 16,384 bytes together";
  if (h.count > 2 * HEADERS_MOST || headers_size(h) > HEADERS_BYTES) return MACULA_PAYLOAD_TOO_LARGE;
  *ret_text = "the name of a header is UTF-8 without zero bytes";
  while (headers_next(&h, &name, &value))
    if (!headers_is_text(name)) return MACULA_EINVAL;
  *ret_text = NULL;
  return 0;
}
