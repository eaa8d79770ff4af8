#include "trust/crypto.h"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <nettle/curve25519.h>
#include <nettle/hmac.h>
#include <nettle/sha2.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/sha256.h"

struct crypto_key {
  gnutls_x509_privkey_t x509;
  gnutls_privkey_t signer;
  uint8_t spki[CRYPTO_MAX_SPKI];
  size_t spki_len;
  struct id id;
};

/* What comes before the key itself in a SubjectPublicKeyInfo (RFC 8410, 4; RFC 5480, 2 with a point that is not compressed). */
static const uint8_t ed25519_head[] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
static const uint8_t p256_head[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
                                    0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};

static const uint8_t p256_order[32] = {0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff,
                                       0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
                                       0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};
static const uint8_t p256_half[32] = {0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b,
                                      0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8};

static gnutls_datum_t datum(struct slice s) { return (gnutls_datum_t){(unsigned char *)s.p, (unsigned)s.n}; }

bool crypto_spki_is_ed25519(struct slice spki) {
  return spki.n == sizeof ed25519_head + 32 && !memcmp(spki.p, ed25519_head, sizeof ed25519_head);
}

bool crypto_spki_is_p256(struct slice spki) {
  return spki.n == sizeof p256_head + 64 && !memcmp(spki.p, p256_head, sizeof p256_head);
}

/* ---- keys -----------------------------------------------------------------------------------------------------------------
 */
static int export_spki(struct crypto_key *k) {
  gnutls_pubkey_t pub;
  gnutls_datum_t der;
  if (gnutls_pubkey_init(&pub) < 0) return MACULA_ENOMEM;
  int r = gnutls_pubkey_import_privkey(pub, k->signer, 0, 0);
  if (r >= 0) r = gnutls_pubkey_export2(pub, GNUTLS_X509_FMT_DER, &der);
  gnutls_pubkey_deinit(pub);
  if (r < 0) return MACULA_CERTIFICATE_INVALID;
  struct slice spki = slice_of(der.data, der.size);
  bool fits = crypto_spki_is_ed25519(spki) || crypto_spki_is_p256(spki);
  if (fits) {
    memcpy(k->spki, spki.p, spki.n);
    k->spki_len = spki.n;
    sha256_of(spki, k->id.b);
  }
  gnutls_free(der.data);
  return fits ? 0 : MACULA_CERTIFICATE_INVALID;
}

static int key_start(struct crypto_key **ret_key) {
  struct crypto_key *k = calloc(1, sizeof *k);
  if (!k) return MACULA_ENOMEM;
  if (gnutls_x509_privkey_init(&k->x509) < 0 || gnutls_privkey_init(&k->signer) < 0) {
    crypto_key_free(k);
    return MACULA_ENOMEM;
  }
  *ret_key = k;
  return 0;
}

static int key_finish(struct crypto_key *k, struct crypto_key **ret_key) {
  int err = gnutls_privkey_import_x509(k->signer, k->x509, 0) < 0 ? MACULA_CERTIFICATE_INVALID : export_spki(k);
  if (err) crypto_key_free(k);
  if (!err) *ret_key = k;
  return err;
}

int crypto_key_new(struct crypto_key **ret_key) {
  struct crypto_key *k;
  int err = key_start(&k);
  if (err) return err;
  if (gnutls_x509_privkey_generate(k->x509, GNUTLS_PK_EDDSA_ED25519, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_ED25519), 0) < 0) {
    crypto_key_free(k);
    return MACULA_EINTERNAL;
  }
  return key_finish(k, ret_key);
}

int crypto_key_parse(struct slice pem, struct crypto_key **ret_key) {
  struct crypto_key *k;
  gnutls_datum_t d = datum(pem);
  int err = key_start(&k);
  if (err) return err;
  if (!pem.n || gnutls_x509_privkey_import2(k->x509, &d, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN) < 0) {
    crypto_key_free(k);
    return MACULA_CERTIFICATE_INVALID;
  }
  return key_finish(k, ret_key);
}

int crypto_key_pem(const struct crypto_key *k, char **ret_pem) {
  gnutls_datum_t d;
  if (gnutls_x509_privkey_export2_pkcs8(k->x509, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &d) < 0) return MACULA_ENOMEM;
  char *pem = strndup((const char *)d.data, d.size);
  crypto_wipe(d.data, d.size);
  gnutls_free(d.data);
  if (!pem) return MACULA_ENOMEM;
  *ret_pem = pem;
  return 0;
}

void crypto_key_free(struct crypto_key *k) {
  if (!k) return;
  if (k->signer) gnutls_privkey_deinit(k->signer);
  if (k->x509) gnutls_x509_privkey_deinit(k->x509);
  free(k);
}

const struct id *crypto_key_id(const struct crypto_key *k) { return &k->id; }
struct slice crypto_key_spki(const struct crypto_key *k) {
  return slice_of(k->spki, k->spki_len);
}
bool crypto_key_is_ed25519(const struct crypto_key *k) { return crypto_spki_is_ed25519(crypto_key_spki(k)); }

/* ---- signatures -----------------------------------------------------------------------------------------------------------
 */
/* A number of DER, with or without zeros before it, as 32 bytes. */
static bool put_number(gnutls_datum_t n, uint8_t ret[32]) {
  while (n.size && *n.data == 0) n.data++, n.size--;
  if (n.size > 32) return false;
  memset(ret, 0, 32);
  memcpy(ret + 32 - n.size, n.data, n.size);
  return true;
}

static void smaller_s(uint8_t s[32]) {
  int borrow = 0;
  if (memcmp(s, p256_half, 32) <= 0) return;
  for (int i = 31; i >= 0; i--) {
    int d = p256_order[i] - s[i] - borrow;
    borrow = d < 0;
    s[i] = (uint8_t)d;
  }
}

static bool flatten(const gnutls_datum_t *sig, bool is_ed25519, uint8_t ret_sig[CRYPTO_SIGNATURE_LEN]) {
  gnutls_datum_t r, s;
  if (is_ed25519) {
    if (sig->size == CRYPTO_SIGNATURE_LEN) memcpy(ret_sig, sig->data, sig->size);
    return sig->size == CRYPTO_SIGNATURE_LEN;
  }
  if (gnutls_decode_rs_value(sig, &r, &s) < 0) return false;
  bool ok = put_number(r, ret_sig) && put_number(s, ret_sig + 32);
  if (ok) smaller_s(ret_sig + 32);
  gnutls_free(r.data);
  gnutls_free(s.data);
  return ok;
}

int crypto_sign(const struct crypto_key *k, struct slice data, uint8_t ret_sig[CRYPTO_SIGNATURE_LEN]) {
  bool ed25519 = crypto_key_is_ed25519(k);
  gnutls_datum_t d = datum(data), sig;
  if (data.n > UINT32_MAX) return MACULA_EINVAL;
  if (gnutls_privkey_sign_data2(k->signer, ed25519 ? GNUTLS_SIGN_EDDSA_ED25519 : GNUTLS_SIGN_ECDSA_SHA256, 0, &d, &sig) < 0)
    return MACULA_EINTERNAL;
  bool ok = flatten(&sig, ed25519, ret_sig);
  gnutls_free(sig.data);
  return ok ? 0 : MACULA_EINTERNAL;
}

int crypto_flatten(struct slice spki, struct slice sig, uint8_t ret_sig[CRYPTO_SIGNATURE_LEN]) {
  gnutls_datum_t d = datum(sig);
  bool ed25519 = crypto_spki_is_ed25519(spki);
  return (ed25519 || crypto_spki_is_p256(spki)) && flatten(&d, ed25519, ret_sig) ? 0 : MACULA_EINVAL;
}

/* What GnuTLS verifies: Ed25519 as it is, else r and s in DER, to be freed. */
static bool unflatten(struct slice sig, bool is_ed25519, gnutls_datum_t *ret_sig) {
  if (is_ed25519) {
    *ret_sig = (gnutls_datum_t){gnutls_malloc(sig.n), (unsigned)sig.n};
    if (ret_sig->data) memcpy(ret_sig->data, sig.p, sig.n);
    return ret_sig->data;
  }
  if (memcmp(sig.p + 32, p256_half, 32) > 0) return false;
  gnutls_datum_t r = datum(slice_of(sig.p, 32)), s = datum(slice_of(sig.p + 32, 32));
  return gnutls_encode_rs_value(ret_sig, &r, &s) >= 0;
}

int crypto_verify(struct slice spki, struct slice data, struct slice sig, struct id *ret_id) {
  bool ed25519 = crypto_spki_is_ed25519(spki);
  gnutls_datum_t key = datum(spki), d = datum(data), s;
  gnutls_pubkey_t pub;
  if ((!ed25519 && !crypto_spki_is_p256(spki)) || sig.n != CRYPTO_SIGNATURE_LEN || data.n > UINT32_MAX)
    return MACULA_BAD_SIGNATURE;
  if (!unflatten(sig, ed25519, &s)) return MACULA_BAD_SIGNATURE;
  int r = gnutls_pubkey_init(&pub);
  if (r >= 0) {
    r = gnutls_pubkey_import(pub, &key, GNUTLS_X509_FMT_DER);
    if (r >= 0) r = gnutls_pubkey_verify_data2(pub, ed25519 ? GNUTLS_SIGN_EDDSA_ED25519 : GNUTLS_SIGN_ECDSA_SHA256, 0, &d, &s);
    gnutls_pubkey_deinit(pub);
  }
  gnutls_free(s.data);
  if (r == GNUTLS_E_MEMORY_ERROR) return MACULA_ENOMEM;
  if (r < 0) return MACULA_BAD_SIGNATURE;
  sha256_of(spki, ret_id->b);
  return 0;
}

/* ---- hashes: those of Nettle allocate nothing, so they never fail -----------------------------------------------------------
 */
void crypto_hmac_sha256(struct slice key, struct slice data, uint8_t ret_mac[CRYPTO_HASH_LEN]) {
  struct hmac_sha256_ctx c;
  hmac_sha256_set_key(&c, key.n, key.p);
  if (data.n) hmac_sha256_update(&c, data.n, data.p);
  hmac_sha256_digest(&c, CRYPTO_HASH_LEN, ret_mac);
  crypto_wipe(&c, sizeof c);
}

void crypto_mac(const uint8_t key[CRYPTO_HASH_LEN], const struct slice *parts, size_t count, uint8_t *ret_mac, size_t len) {
  struct hmac_sha256_ctx c;
  hmac_sha256_set_key(&c, CRYPTO_HASH_LEN, key);
  for (size_t i = 0; i < count; i++) hmac_sha256_update(&c, parts[i].n, parts[i].p);
  hmac_sha256_digest(&c, len, ret_mac);
  crypto_wipe(&c, sizeof c);
}

void crypto_x25519_public(const uint8_t secret[CRYPTO_X25519_LEN], uint8_t ret_public[CRYPTO_X25519_LEN]) {
  curve25519_mul_g(ret_public, secret);
}

int crypto_x25519(const uint8_t secret[CRYPTO_X25519_LEN], const uint8_t theirs[CRYPTO_X25519_LEN],
                  uint8_t ret_shared[CRYPTO_X25519_LEN]) {
  static const uint8_t none[CRYPTO_X25519_LEN];
  curve25519_mul(ret_shared, secret, theirs);
  return crypto_equal(ret_shared, none, sizeof none) ? MACULA_EINVAL : 0;
}

bool crypto_equal(const void *a, const void *b, size_t n) { return gnutls_memcmp(a, b, n) == 0; }
void crypto_wipe(void *p, size_t n) { gnutls_memset(p, 0, n); }

int crypto_derive(enum crypto_derivation how, struct slice password, struct slice salt, uint32_t iterations, uint8_t *ret_hash,
                  size_t n) {
  gnutls_datum_t key = datum(password), s = datum(salt);
  uint8_t full[64];
  gnutls_hash_hd_t h;
  int r;
  if (n > sizeof full) return MACULA_EINVAL;
  switch (how) {
  case CRYPTO_PBKDF2_SHA256:
  case CRYPTO_PBKDF2_SHA512:
    r = gnutls_pbkdf2(how == CRYPTO_PBKDF2_SHA256 ? GNUTLS_MAC_SHA256 : GNUTLS_MAC_SHA512, &key, &s, iterations, ret_hash, n);
    return r < 0 ? MACULA_EINTERNAL : 0;
  case CRYPTO_SHA512_SALTED:
    if (gnutls_hash_init(&h, GNUTLS_DIG_SHA512) < 0) return MACULA_ENOMEM;
    r = gnutls_hash(h, password.p, password.n);
    if (r >= 0) r = gnutls_hash(h, salt.p, salt.n);
    gnutls_hash_deinit(h, full);
    if (r >= 0) memcpy(ret_hash, full, n);
    crypto_wipe(full, sizeof full);
    return r < 0 ? MACULA_EINTERNAL : 0;
  }
  return MACULA_EINVAL;
}

/* ---- texts ----------------------------------------------------------------------------------------------------------------
 */
int crypto_armor(const char *label, struct slice bytes, char **ret_text) {
  gnutls_datum_t d = datum(bytes), out;
  if (gnutls_pem_base64_encode2(label, &d, &out) < 0) return MACULA_ENOMEM;
  char *text = strndup((const char *)out.data, out.size);
  gnutls_free(out.data);
  if (!text) return MACULA_ENOMEM;
  *ret_text = text;
  return 0;
}

int crypto_unarmor(const char *label, struct slice text, uint8_t *ret, size_t cap, size_t *ret_len) {
  gnutls_datum_t d = datum(text), out;
  if (!text.n || gnutls_pem_base64_decode2(label, &d, &out) < 0) return MACULA_EINVAL;
  bool fits = out.size <= cap;
  if (fits) memcpy(ret, out.data, out.size);
  if (fits) *ret_len = out.size;
  gnutls_free(out.data);
  return fits ? 0 : MACULA_EINVAL;
}

static const char digits64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void crypto_base64(struct slice b, char ret_text[CRYPTO_BASE64_LEN]) {
  char *to = ret_text;
  for (size_t i = 0; i < b.n; i += 3) {
    size_t n = b.n - i;
    uint32_t v = (uint32_t)b.p[i] << 16 | (n > 1 ? (uint32_t)b.p[i + 1] << 8 : 0) | (n > 2 ? b.p[i + 2] : 0);
    for (int k = 0; k < 4; k++) *to++ = (size_t)k > n ? '=' : digits64[v >> (18 - 6 * k) & 63];
  }
  *to = 0;
}

int crypto_unbase64(struct slice text, uint8_t ret[64], size_t *ret_len) {
  uint8_t out[66];
  char again[CRYPTO_BASE64_LEN];
  size_t n = 0;
  if (text.n % 4 || text.n > CRYPTO_BASE64_LEN - 1) return MACULA_EINVAL;
  for (size_t i = 0; i < text.n; i += 4) {
    uint32_t v = 0;
    for (size_t k = 0; k < 4; k++) {
      const char *digit = text.p[i + k] && text.p[i + k] != '=' ? strchr(digits64, text.p[i + k]) : NULL;
      v = v << 6 | (digit ? (uint32_t)(digit - digits64) : 0);
    }
    for (int k = 16; k >= 0; k -= 8) out[n++] = (uint8_t)(v >> k);
  }
  for (size_t i = text.n; i && text.p[i - 1] == '=' && text.n - i < 2; i--) n--;
  if (n > 64) return MACULA_EINVAL;
  crypto_base64(slice_of(out, n), again);
  if (!slice_is(text, again)) return MACULA_EINVAL;
  memcpy(ret, out, n);
  *ret_len = n;
  return 0;
}
