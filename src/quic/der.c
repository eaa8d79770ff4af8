/* What a certificate costs to read, before it is read.
 *
 * libtasn1 makes nodes of some 1,000 octets in all for an element of two, with malloc, and no hook or limit reaches it: a
 * message of 12 KiB becomes 6 MiB. So the elements are counted first; what is not plain DER counts as too many. */
#include "quic/internal.h"

struct der {
  const uint8_t *p, *end;
};

/* The header at d->p: its tag and the octets that follow; false: none, or not DER as certificates have it. */
static bool next_header(struct der *d, uint8_t *ret_tag, size_t *ret_len) {
  if (d->end - d->p < 2) return false;
  uint8_t tag = *d->p++, n = *d->p++;
  size_t len = n;
  if ((tag & 0x1f) == 0x1f) return false; /* a tag of several octets */
  if (n >= 0x80) {
    n &= 0x7f;
    if (n == 0 || n > 3 || d->end - d->p < n) return false; /* 0: without end, which DER does not have */
    for (len = 0; n; n--) len = len << 8 | *d->p++;
  }
  *ret_tag = tag;
  *ret_len = len;
  return len <= (size_t)(d->end - d->p);
}

/* Elements of d, up to max; *ret_whole: all of it is DER. */
static size_t count(struct der d, size_t max, bool strings, bool *ret_whole) {
  size_t elements = 0, len;
  uint8_t tag;
  *ret_whole = true;
  while (d.p < d.end && elements < max && *ret_whole) {
    if (!(*ret_whole = next_header(&d, &tag, &len))) break;
    elements++;
    if (tag & 0x20) continue; /* its parts come next */
    bool any;
    if (strings && tag == 4 && len && d.p[0] == 0x30) /* an extension, which GnuTLS reads as well */
      elements += count((struct der){d.p, d.p + len}, max - elements, false, &any);
    d.p += len;
  }
  return elements;
}

size_t der_elements(struct slice der, size_t max) {
  bool whole;
  size_t n = count((struct der){der.p, der.p + der.n}, max, true, &whole);
  return whole ? n : max;
}

static size_t number(const uint8_t *p) { return (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2]; }

/* RFC 8446, 4.4.2: context<0..255>, then a list of certificate<0..2^24-1>, extensions<0..2^16-1>. */
size_t der_certificates(struct slice m, size_t max) {
  size_t at = m.n ? 1u + m.p[0] + 3 : SIZE_MAX, elements = 0;
  if (at > m.n) return max;
  while (at < m.n && elements < max) {
    if (m.n - at < 3) return max;
    size_t len = number(m.p + at);
    at += 3;
    if (len > m.n - at) return max;
    elements += der_elements(slice_of(m.p + at, len), max - elements);
    at += len;
    if (m.n - at < 2) return max;
    at += 2 + ((size_t)m.p[at] << 8 | m.p[at + 1]);
  }
  return elements;
}
