/* Estimates what a certificate costs to parse, and to verify a signature with, before either is done.
 *
 * For a DER element of two bytes libtasn1 allocates some 1,000 bytes, with plain malloc and without a limit that we could set:
 * a message of 12 KiB becomes 6 MiB. So the elements are counted first, and what is not plain DER counts as too many.
 *
 * The time to verify an RSA signature grows with the square of the modulus's length and with the length of the exponent. nettle
 * limits neither, and a key that fits into a message may take seconds. Keys of other kinds are small. */
#include "quic/internal.h"

/* bytes of a SubjectPublicKeyInfo: keys on curves are no longer, and RSA up to this length (1,024 bits) is cheap */
#define SMALL_KEY 200
#define RSA_MODULUS 1025 /* bytes: 8,192 bits, and the leading zero for the sign */
#define RSA_EXPONENT 9   /* 64 bits */

struct der {
  const uint8_t *p, *end;
};

/* Reads the header at d->p: the tag, and how many bytes of contents follow. False: there is none, or it is not DER as
 * certificates use it. */
static bool next_header(struct der *d, uint8_t *ret_tag, size_t *ret_len) {
  if (d->end - d->p < 2) return false;
  uint8_t tag = *d->p++, n = *d->p++;
  size_t len = n;
  if ((tag & 0x1f) == 0x1f) return false; /* a tag of several bytes */
  if (n >= 0x80) {
    n &= 0x7f;
    if (n == 0 || n > 3 || d->end - d->p < n) return false; /* 0 would be the indefinite length, which DER forbids */
    for (len = 0; n; n--) len = len << 8 | *d->p++;
  }
  *ret_tag = tag;
  *ret_len = len;
  return len <= (size_t)(d->end - d->p);
}

/* The number of elements in d, at most max. *ret_whole: all of d is DER. */
static size_t count(struct der d, size_t max, bool strings, bool *ret_whole) {
  size_t elements = 0, len;
  uint8_t tag;
  *ret_whole = true;
  while (d.p < d.end && elements < max && *ret_whole) {
    if (!(*ret_whole = next_header(&d, &tag, &len))) break;
    elements++;
    if (tag & 0x20) continue; /* a constructed element: go on with its contents */
    bool any;
    /* an OCTET STRING with a SEQUENCE: an extension, whose contents GnuTLS parses, too */
    if (strings && tag == 4 && len && d.p[0] == 0x30)
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

static bool enter(struct der *d, uint8_t tag, struct der *ret_in) {
  uint8_t found;
  size_t len;
  if (!next_header(d, &found, &len) || found != tag) return false;
  *ret_in = (struct der){d->p, d->p + len};
  d->p += len;
  return true;
}

bool der_key_fits(struct slice spki) {
  struct der d = {spki.p, spki.p + spki.n}, info, skipped, bits, rsa, modulus, exponent;
  if (spki.n <= SMALL_KEY) return true;
  if (!enter(&d, 0x30, &info) || !enter(&info, 0x30, &skipped) || !enter(&info, 3, &bits) || bits.p == bits.end) return false;
  bits.p++; /* the number of bits that are not used */
  return enter(&bits, 0x30, &rsa) && enter(&rsa, 2, &modulus) && enter(&rsa, 2, &exponent) &&
         modulus.end - modulus.p <= RSA_MODULUS && exponent.end - exponent.p <= RSA_EXPONENT;
}

/* RFC 5280, 4.1: version, serial number, signature's algorithm, issuer, validity, subject, and then the key. */
static bool certificate_fits(struct slice der) {
  static const uint8_t before[] = {2, 0x30, 0x30, 0x30, 0x30};
  struct der d = {der.p, der.p + der.n}, all, tbs, part;
  if (!enter(&d, 0x30, &all) || !enter(&all, 0x30, &tbs)) return false;
  if (tbs.p < tbs.end && *tbs.p == 0xa0 && !enter(&tbs, 0xa0, &part)) return false;
  for (size_t i = 0; i < sizeof before; i++)
    if (!enter(&tbs, before[i], &part)) return false;
  const uint8_t *from = tbs.p;
  return enter(&tbs, 0x30, &part) && der_key_fits(slice_of(from, (size_t)(part.end - from)));
}

static size_t number(const uint8_t *p) { return (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2]; }

/* RFC 8446, 4.4.2: context<0..255>, then a list of certificate<0..2^24-1>, extensions<0..2^16-1>. */
size_t der_certificates(struct slice m, size_t max, bool *ret_keys_fit) {
  size_t at = m.n ? 1u + m.p[0] + 3 : SIZE_MAX, elements = 0;
  *ret_keys_fit = true;
  if (at > m.n) return max;
  while (at < m.n && elements < max) {
    if (m.n - at < 3) return max;
    size_t len = number(m.p + at);
    at += 3;
    if (len > m.n - at) return max;
    elements += der_elements(slice_of(m.p + at, len), max - elements);
    *ret_keys_fit &= certificate_fits(slice_of(m.p + at, len));
    at += len;
    if (m.n - at < 2) return max;
    at += 2 + ((size_t)m.p[at] << 8 | m.p[at + 1]);
  }
  return elements;
}
