/* Certificates that no honest program makes. */
#ifndef TEST_QUIC_FORGE_H
#define TEST_QUIC_FORGE_H

#include <gnutls/abstract.h>
#include <stdlib.h>

#include "quic/internal.h"

struct forged {
  uint8_t p[32768];
  size_t n;
};

static inline void forge_put(struct forged *d, const void *p, size_t n) {
  if (n) memcpy(d->p + d->n, p, n);
  d->n += n;
}
static inline void forge_tlv(struct forged *d, uint8_t tag, const void *p, size_t n) {
  const uint8_t head[4] = {tag, 0x82, (uint8_t)(n >> 8), (uint8_t)n};
  if (n < 128)
    forge_put(d, (uint8_t[2]){tag, (uint8_t)n}, 2);
  else if (n < 256)
    forge_put(d, (uint8_t[3]){tag, 0x81, (uint8_t)n}, 3);
  else
    forge_put(d, head, 4);
  forge_put(d, p, n);
}

enum fill { FILL_NAMES, FILL_ALTERNATIVES, FILL_BYTES };

/* A certificate with an Ed25519 key; what makes it large: empty parts of its issuer's name (2 bytes each, some 1,000 in
 * memory), empty alternative names, or an extension that nobody knows. */
static inline void forge_certificate(enum fill fill, size_t bytes, const uint8_t *spki, size_t spki_len, struct forged *ret) {
  static const uint8_t head[] = {0xa0, 3, 2, 1, 2, 2, 1, 5, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70};
  static const uint8_t time[] = "\x30\x1e\x17\x0d"
                                "230101000000Z\x17\x0d"
                                "430101000000Z";
  static const uint8_t alt_oid[] = {6, 3, 0x55, 0x1d, 0x11}, my_oid[] = {6, 3, 0x2a, 3, 4};
  static struct forged body, part, more;
  uint8_t signature[65] = {0};
  body.n = part.n = more.n = ret->n = 0;
  forge_put(&body, head, sizeof head);
  while (fill == FILL_NAMES && part.n < bytes) forge_put(&part, "\x31\x00", 2);
  forge_tlv(&body, 0x30, part.p, part.n);
  forge_put(&body, time, sizeof time - 1);
  forge_tlv(&body, 0x30, NULL, 0);
  forge_put(&body, spki, spki_len);
  part.n = 0;
  while (fill != FILL_NAMES && more.n < bytes)
    forge_put(&more,
              fill == FILL_ALTERNATIVES ? "\x82\x01"
                                          "a"
                                        : "\0\0\0",
              3);
  if (more.n && fill == FILL_ALTERNATIVES) { /* GeneralNames is a SEQUENCE */
    forge_tlv(&part, 0x30, more.p, more.n);
    more = part;
    part.n = 0;
  }
  if (more.n) {
    forge_put(&part, fill == FILL_ALTERNATIVES ? alt_oid : my_oid, 5);
    forge_tlv(&part, 4, more.p, more.n);
    more.n = 0;
    forge_tlv(&more, 0x30, part.p, part.n);
    part.n = 0;
    forge_tlv(&part, 0x30, more.p, more.n);
    forge_tlv(&body, 0xa3, part.p, part.n);
  }
  part.n = 0;
  forge_tlv(&part, 0x30, body.p, body.n);
  forge_put(&part, head + 8, 7);
  forge_tlv(&part, 3, signature, sizeof signature);
  forge_tlv(ret, 0x30, part.p, part.n);
}

/* The identity in a certificate with these times, self-signed or signed by an issuer. */
static inline void forge_times(struct quic_identity *i, time_t from, time_t to, const struct quic_identity *issuer) {
  static const uint8_t serial[] = {7};
  gnutls_x509_crt_t crt;
  if (gnutls_x509_crt_init(&crt) < 0 || gnutls_x509_crt_set_version(crt, 3) < 0 ||
      gnutls_x509_crt_set_serial(crt, serial, sizeof serial) < 0 ||
      gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, issuer ? "leaf" : "macula", issuer ? 4 : 6) < 0 ||
      gnutls_x509_crt_set_activation_time(crt, from) < 0 || gnutls_x509_crt_set_expiration_time(crt, to) < 0 ||
      gnutls_x509_crt_set_key(crt, i->key) < 0 ||
      gnutls_x509_crt_sign2(crt, issuer ? issuer->chain[0] : crt, issuer ? issuer->key : i->key, GNUTLS_DIG_SHA512, 0) < 0)
    abort();
  gnutls_x509_crt_deinit(i->chain[0]);
  i->chain[0] = crt;
  gnutls_certificate_free_credentials(i->cred);
  if (gnutls_certificate_allocate_credentials(&i->cred) < 0 || gnutls_certificate_set_x509_key(i->cred, &crt, 1, i->key) < 0)
    abort();
}

/* An identity whose chain is such certificates. */
static inline struct quic_identity *forge(enum fill fill, size_t bytes, unsigned n) {
  struct quic_identity *i;
  gnutls_pcert_st chain[4];
  gnutls_privkey_t key;
  static struct forged der[4];
  if (quic_identity_generate(&i)) abort();
  for (unsigned k = 0; k < n; k++) {
    forge_certificate(fill, bytes, i->spki.data, i->spki.size, &der[k]);
    if (gnutls_pcert_import_x509(&chain[k], i->chain[0], 0) < 0) abort();
    gnutls_free(chain[k].cert.data);
    chain[k].cert.data = gnutls_malloc(der[k].n);
    memcpy(chain[k].cert.data, der[k].p, der[k].n);
    chain[k].cert.size = (unsigned)der[k].n;
  }
  gnutls_certificate_free_credentials(i->cred);
  if (gnutls_certificate_allocate_credentials(&i->cred) < 0 || gnutls_privkey_init(&key) < 0 ||
      gnutls_privkey_import_x509(key, i->key, GNUTLS_PRIVKEY_IMPORT_COPY) < 0 ||
      gnutls_certificate_set_key(i->cred, NULL, 0, chain, (int)n, key) < 0)
    abort();
  return i;
}

static inline int forge_sign(gnutls_privkey_t key, gnutls_sign_algorithm_t algo, void *bytes, unsigned flags,
                             const gnutls_datum_t *data, gnutls_datum_t *ret_signature) {
  (void)key, (void)algo, (void)flags, (void)data;
  ret_signature->size = (unsigned)(uintptr_t)bytes;
  ret_signature->data = gnutls_malloc(ret_signature->size);
  memset(ret_signature->data, 0x55, ret_signature->size);
  return 0;
}
static inline int forge_key_info(gnutls_privkey_t key, unsigned flags, void *bytes) {
  (void)key;
  if (flags & GNUTLS_PRIVKEY_INFO_PK_ALGO) return GNUTLS_PK_RSA;
  if (flags & GNUTLS_PRIVKEY_INFO_PK_ALGO_BITS) return (int)(uintptr_t)bytes * 8;
  return flags & GNUTLS_PRIVKEY_INFO_HAVE_SIGN_ALGO ? 1 : 0;
}

/* A SubjectPublicKeyInfo whose RSA modulus and exponent have so many bytes. */
static inline void forge_rsa(size_t modulus, size_t exponent, struct forged *ret) {
  static const uint8_t rsa[] = {0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0};
  static struct forged part, more;
  uint8_t number[8192];
  memset(number, 0x77, sizeof number); /* odd, and positive */
  part.n = more.n = ret->n = 0;
  forge_tlv(&part, 2, number, modulus);
  forge_tlv(&part, 2, number, exponent);
  forge_put(&more, "\0", 1);
  forge_tlv(&more, 0x30, part.p, part.n);
  part.n = 0;
  forge_put(&part, rsa, sizeof rsa);
  forge_tlv(&part, 3, more.p, more.n);
  forge_tlv(ret, 0x30, part.p, part.n);
}

/* An identity with such a key, which signs with bytes that mean nothing: they have to be verified all the same. */
static inline struct quic_identity *forge_key(size_t modulus, size_t exponent) {
  struct quic_identity *i;
  gnutls_pcert_st cert;
  gnutls_privkey_t key;
  static struct forged spki, der;
  if (quic_identity_generate(&i)) abort();
  forge_rsa(modulus, exponent, &spki);
  forge_certificate(FILL_BYTES, 0, spki.p, spki.n, &der);
  gnutls_datum_t d = {der.p, (unsigned)der.n};
  gnutls_certificate_free_credentials(i->cred);
  if (gnutls_certificate_allocate_credentials(&i->cred) < 0 || gnutls_privkey_init(&key) < 0 ||
      gnutls_privkey_import_ext4(key, (void *)(uintptr_t)modulus, forge_sign, forge_sign, NULL, NULL, forge_key_info, 0) < 0 ||
      gnutls_pcert_import_x509_raw(&cert, &d, GNUTLS_X509_FMT_DER, 0) < 0)
    abort();
  gnutls_certificate_set_flags(i->cred, GNUTLS_CERTIFICATE_SKIP_KEY_CERT_MATCH);
  if (gnutls_certificate_set_key(i->cred, NULL, 0, &cert, 1, key) < 0) abort();
  return i;
}

#endif
