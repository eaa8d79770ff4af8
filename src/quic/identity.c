/* Identity: an Ed25519 key in a self-signed certificate, or a user's own. Its id is SHA-256 of the SubjectPublicKeyInfo. */
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/sha256.h"
#include "quic/internal.h"

#define SPKI_MAX 1024 /* bytes; RSA of 4,096 bits takes 550. Bounds the work of verifying with a peer's key */

#define END_SOON (30 * 86400u) /* seconds before a certificate's end from which on the end is announced */

/* A signature is made within a turn of the loop (5 ms), one in each handshake: RSA of 3,072 bits takes 4 ms, of 4,096 bits 9.
 */
#define RSA_MOST 3072u
static const char key_too_slow[] =
    "its key is not Ed25519, P-256, P-384 or RSA of at most 3,072 bits, and others take too long to sign; make one with: "
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=macula -keyout key.pem -out cert.pem";

static bool is_fast(gnutls_x509_privkey_t key) {
  unsigned bits;
  switch (gnutls_x509_privkey_get_pk_algorithm2(key, &bits)) {
  case GNUTLS_PK_EDDSA_ED25519:
    return true;
  case GNUTLS_PK_ECDSA:
    return bits <= 384;
  case GNUTLS_PK_RSA:
  case GNUTLS_PK_RSA_PSS:
    return bits <= RSA_MOST;
  default:
    return false;
  }
}

static const char reset_label[] = "macula stateless reset";

/* Prepares signing: the key for GnuTLS's signer, and the SubjectPublicKeyInfo, whose hash must be the id. */
static int finish_signing(struct quic_identity *i) {
  gnutls_pubkey_t pub;
  if (gnutls_privkey_init(&i->signer) < 0) return MACULA_ENOMEM;
  if (gnutls_privkey_import_x509(i->signer, i->key, 0) < 0) return MACULA_CERTIFICATE_INVALID;
  if (gnutls_pubkey_init(&pub) < 0) return MACULA_ENOMEM;
  int r = gnutls_pubkey_import_x509(pub, i->chain[0], 0);
  if (r >= 0) r = gnutls_pubkey_export2(pub, GNUTLS_X509_FMT_DER, &i->spki);
  gnutls_pubkey_deinit(pub);
  if (r < 0) return MACULA_CERTIFICATE_INVALID;
  struct id hash;
  sha256_of(quic_identity_spki(i), hash.b);
  return id_eq(&hash, &i->id) ? 0 : MACULA_CERTIFICATE_INVALID;
}

static int finish(struct quic_identity *i) {
  size_t n = sizeof i->id.b;
  if (gnutls_x509_crt_get_key_id(i->chain[0], GNUTLS_KEYID_USE_SHA256, i->id.b, &n) < 0 || n != sizeof i->id.b)
    return MACULA_CERTIFICATE_INVALID;
  gnutls_datum_t der;
  if (gnutls_x509_privkey_export2_pkcs8(i->key, GNUTLS_X509_FMT_DER, NULL, GNUTLS_PKCS_PLAIN, &der) < 0)
    return MACULA_CERTIFICATE_INVALID;
  int r = gnutls_hmac_fast(GNUTLS_MAC_SHA256, der.data, der.size, reset_label, sizeof reset_label - 1, i->reset_secret);
  gnutls_memset(der.data, 0, der.size);
  gnutls_free(der.data);
  if (r < 0) return MACULA_EINTERNAL;
  struct id key_id; /* compared by id, as GnuTLS itself does not compare Ed25519 keys */
  n = sizeof key_id.b;
  if (gnutls_x509_privkey_get_key_id(i->key, GNUTLS_KEYID_USE_SHA256, key_id.b, &n) < 0 || !id_eq(&key_id, &i->id))
    return MACULA_CERTIFICATE_INVALID;
  if ((r = finish_signing(i))) return r;
  if (gnutls_certificate_allocate_credentials(&i->cred) < 0) return MACULA_ENOMEM;
  return gnutls_certificate_set_x509_key(i->cred, i->chain, (int)i->chain_len, i->key) < 0 ? MACULA_CERTIFICATE_INVALID : 0;
}

int quic_identity_generate(struct quic_identity **ret_identity) {
  struct quic_identity *i = calloc(1, sizeof *i);
  if (!i) return MACULA_ENOMEM;
  i->refs = 1;
  gnutls_x509_crt_t crt = NULL;
  uint8_t serial[16];
  int err = MACULA_ENOMEM;
  if (gnutls_x509_privkey_init(&i->key) < 0 || gnutls_x509_crt_init(&crt) < 0 ||
      !(i->chain = gnutls_malloc(sizeof *i->chain))) { /* gnutls_malloc: as gnutls_x509_crt_list_import2 does */
    if (crt) gnutls_x509_crt_deinit(crt);
    goto fail;
  }
  i->chain[0] = crt;
  i->chain_len = 1;
  err = MACULA_EINTERNAL;
  if (gnutls_x509_privkey_generate(i->key, GNUTLS_PK_EDDSA_ED25519, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_ED25519), 0) < 0 ||
      gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof serial) < 0)
    goto fail;
  serial[0] = (uint8_t)(serial[0] & 0x7f) | 1; /* positive and not zero (RFC 5280, 4.1.2.2) */
  if (gnutls_x509_crt_set_version(crt, 3) < 0 || gnutls_x509_crt_set_serial(crt, serial, sizeof serial) < 0 ||
      gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, "macula", 6) < 0 ||
      gnutls_x509_crt_set_activation_time(crt, 1577836800 /* 2020: clocks of small devices may be late */) < 0 ||
      gnutls_x509_crt_set_expiration_time(crt, GNUTLS_X509_NO_WELL_DEFINED_EXPIRATION) < 0 ||
      gnutls_x509_crt_set_key(crt, i->key) < 0 || gnutls_x509_crt_sign2(crt, crt, i->key, GNUTLS_DIG_SHA512, 0) < 0)
    goto fail;
  err = finish(i);
  if (err) goto fail;
  *ret_identity = i;
  return 0;
fail:
  quic_identity_unref(i);
  return err;
}

int quic_identity_parse(struct slice key_pem, struct slice cert_pem, uint64_t now_unix, struct quic_identity **ret_identity,
                        const char **ret_why) {
  const char *none;
  if (!ret_why) ret_why = &none;
  if (!key_pem.n) key_pem = cert_pem;
  if (!cert_pem.n) cert_pem = key_pem;
  struct quic_identity *i = calloc(1, sizeof *i);
  if (!i) return MACULA_ENOMEM;
  i->refs = 1;
  gnutls_datum_t kd = {(unsigned char *)key_pem.p, (unsigned)key_pem.n},
                 cd = {(unsigned char *)cert_pem.p, (unsigned)cert_pem.n};
  int err = MACULA_CERTIFICATE_INVALID;
  *ret_why = "the private key cannot be read";
  if (!kd.size || gnutls_x509_privkey_init(&i->key) < 0 ||
      gnutls_x509_privkey_import2(i->key, &kd, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN) < 0)
    goto fail;
  *ret_why = key_too_slow;
  if (!is_fast(i->key)) goto fail;
  *ret_why = "the certificate cannot be read";
  if (gnutls_x509_crt_list_import2(&i->chain, &i->chain_len, &cd, GNUTLS_X509_FMT_PEM, 0) < 0 || i->chain_len == 0) goto fail;
  *ret_why = "the private key does not belong to the certificate";
  err = finish(i);
  if (err) goto fail;
  bool self_signed = gnutls_x509_crt_check_issuer(i->chain[0], i->chain[0]) > 0;
  err = MACULA_CERTIFICATE_EXPIRED;
  *ret_why = "the certificate's time has not begun: is the clock right?";
  for (unsigned k = 0; k < i->chain_len && !self_signed; k++) {
    time_t from = gnutls_x509_crt_get_activation_time(i->chain[k]);
    if (from != (time_t)-1 && (int64_t)now_unix < (int64_t)from) goto fail;
  }
  *ret_why = "the certificate's time is over";
  if (now_unix > quic_identity_end(i)) goto fail;
  *ret_why = "";
  *ret_identity = i;
  return 0;
fail:
  quic_identity_unref(i);
  return err;
}

uint64_t quic_identity_end(const struct quic_identity *i) {
  uint64_t end = UINT64_MAX;
  for (unsigned k = 0; k < i->chain_len; k++)
    if (tls_end_of(i->chain[k]) < end) end = tls_end_of(i->chain[k]);
  return end;
}

const char *quic_end_text(uint64_t end, uint64_t now_unix, char ret_text[QUIC_END_TEXT_LEN]) {
  static const struct {
    const char *name;
    uint64_t s;
  } units[] = {{"days", 86400}, {"hours", 3600}, {"minutes", 60}, {"seconds", 1}};
  bool over = now_unix > end;
  uint64_t s = over ? now_unix - end : end - now_unix;
  int u = 0;
  if (!over && s > END_SOON) return NULL;
  while (u < 3 && s < 2 * units[u].s) u++;
  snprintf(ret_text, QUIC_END_TEXT_LEN, over ? "ended %llu %s ago" : "ends in %llu %s", (unsigned long long)(s / units[u].s),
           units[u].name);
  return ret_text;
}

int quic_identity_pem(const struct quic_identity *i, char **ret_pem) {
  gnutls_datum_t d;
  if (gnutls_x509_privkey_export2_pkcs8(i->key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &d) < 0) return MACULA_ENOMEM;
  size_t n = d.size;
  char *pem = malloc(n + 1);
  if (pem) memcpy(pem, d.data, n);
  gnutls_memset(d.data, 0, d.size);
  gnutls_free(d.data);
  for (unsigned k = 0; pem && k < i->chain_len; k++) {
    char *more = NULL;
    if (gnutls_x509_crt_export2(i->chain[k], GNUTLS_X509_FMT_PEM, &d) >= 0) {
      more = realloc(pem, n + d.size + 1);
      if (more) {
        memcpy(more + n, d.data, d.size);
        n += d.size;
      }
      gnutls_free(d.data);
    }
    if (!more) free(pem);
    pem = more;
  }
  if (!pem) return MACULA_ENOMEM;
  pem[n] = 0;
  *ret_pem = pem;
  return 0;
}

/* The signature algorithm for records by kind of key: one for each kind, so that none needs to be named on the wire. */
static gnutls_sign_algorithm_t algorithm(int pk) {
  switch (pk) {
  case GNUTLS_PK_EDDSA_ED25519:
    return GNUTLS_SIGN_EDDSA_ED25519;
  case GNUTLS_PK_ECDSA:
    return GNUTLS_SIGN_ECDSA_SHA256;
  case GNUTLS_PK_RSA:
    return GNUTLS_SIGN_RSA_SHA256;
  case GNUTLS_PK_RSA_PSS:
    return GNUTLS_SIGN_RSA_PSS_SHA256;
  default:
    return GNUTLS_SIGN_UNKNOWN;
  }
}

int quic_identity_sign(const struct quic_identity *i, struct slice data, uint8_t *ret_sig, size_t *ret_len) {
  gnutls_datum_t d = {(unsigned char *)data.p, (unsigned)data.n}, sig;
  gnutls_sign_algorithm_t a = algorithm(gnutls_privkey_get_pk_algorithm(i->signer, NULL));
  if (data.n > UINT32_MAX || a == GNUTLS_SIGN_UNKNOWN) return MACULA_EINVAL;
  int r = gnutls_privkey_sign_data2(i->signer, a, 0, &d, &sig);
  if (r < 0) return r == GNUTLS_E_MEMORY_ERROR ? MACULA_ENOMEM : MACULA_EINTERNAL;
  bool fits = sig.size <= QUIC_SIGNATURE_MAX;
  if (fits) {
    memcpy(ret_sig, sig.data, sig.size);
    *ret_len = sig.size;
  }
  gnutls_free(sig.data);
  return fits ? 0 : MACULA_EINVAL;
}

struct slice quic_identity_spki(const struct quic_identity *i) {
  return slice_of(i->spki.data, i->spki.size);
}

int quic_verify(struct slice spki, struct slice data, struct slice sig, struct id *ret_id) {
  if (!spki.n || spki.n > SPKI_MAX || !sig.n || sig.n > QUIC_SIGNATURE_MAX || data.n > UINT32_MAX || !der_key_fits(spki))
    return MACULA_BAD_SIGNATURE;
  gnutls_datum_t k = {(unsigned char *)spki.p, (unsigned)spki.n}, d = {(unsigned char *)data.p, (unsigned)data.n},
                 s = {(unsigned char *)sig.p, (unsigned)sig.n};
  gnutls_pubkey_t pub;
  if (gnutls_pubkey_init(&pub) < 0) return MACULA_ENOMEM;
  int r = gnutls_pubkey_import(pub, &k, GNUTLS_X509_FMT_DER);
  gnutls_sign_algorithm_t a = r < 0 ? GNUTLS_SIGN_UNKNOWN : algorithm(gnutls_pubkey_get_pk_algorithm(pub, NULL));
  r = a == GNUTLS_SIGN_UNKNOWN ? -1 : gnutls_pubkey_verify_data2(pub, a, 0, &d, &s);
  gnutls_pubkey_deinit(pub);
  if (r < 0) return MACULA_BAD_SIGNATURE;
  sha256_of(spki, ret_id->b);
  return 0;
}

const struct id *quic_identity_id(const struct quic_identity *i) { return &i->id; }

struct quic_identity *quic_identity_ref(struct quic_identity *i) {
  if (i) __atomic_add_fetch(&i->refs, 1, __ATOMIC_RELAXED); /* identities are shared between loops */
  return i;
}

void quic_identity_unref(struct quic_identity *i) {
  if (!i || __atomic_sub_fetch(&i->refs, 1, __ATOMIC_ACQ_REL)) return;
  if (i->cred) gnutls_certificate_free_credentials(i->cred);
  for (unsigned k = 0; k < i->chain_len; k++) gnutls_x509_crt_deinit(i->chain[k]);
  gnutls_free(i->chain);
  gnutls_free(i->spki.data);
  if (i->signer) gnutls_privkey_deinit(i->signer);
  if (i->key) gnutls_x509_privkey_deinit(i->key);
  gnutls_memset(i->reset_secret, 0, sizeof i->reset_secret);
  free(i);
}
