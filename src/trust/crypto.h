/* What src/trust needs of GnuTLS and nettle, which no other file there includes: signing keys, hashes, key agreement, and the
 * derivation of keys from passwords.
 *
 * A key is Ed25519 or ECDSA on P-256 with SHA-256; its id is SHA-256 of the SubjectPublicKeyInfo, as everywhere. A signature
 * has 64 bytes and one spelling: RFC 8032, or r and s of 32 bytes each, s the smaller one of s and n - s. */
#ifndef TRUST_CRYPTO_H
#define TRUST_CRYPTO_H

#include "base/slice.h"

#define CRYPTO_SIGNATURE_LEN 64
#define CRYPTO_MAX_SPKI 91 /* bytes: P-256; Ed25519 has 44 */
#define CRYPTO_HASH_LEN 32

struct crypto_key; /* a private key; immutable */

int crypto_key_new(struct crypto_key **ret_key); /* Ed25519 */
/* Of the first private key in a PEM text. MACULA_CERTIFICATE_INVALID: unreadable, or of another kind. */
int crypto_key_parse(struct slice pem, struct crypto_key **ret_key);
/* PKCS#8 in PEM, allocated with malloc, NUL-terminated: to be wiped and freed. */
int crypto_key_pem(const struct crypto_key *k, char **ret_pem);
void crypto_key_free(struct crypto_key *k);
const struct id *crypto_key_id(const struct crypto_key *k);
struct slice crypto_key_spki(const struct crypto_key *k); /* a view, as long as the key */
bool crypto_key_is_ed25519(const struct crypto_key *k);

int crypto_sign(const struct crypto_key *k, struct slice data, uint8_t ret_sig[CRYPTO_SIGNATURE_LEN]);
/* The one spelling of a signature by the key in spki as TLS libraries write it: Ed25519's 64 bytes, or r and s in DER.
 * MACULA_EINVAL: it is of another kind of key. */
int crypto_flatten(struct slice spki, struct slice sig, uint8_t ret_sig[CRYPTO_SIGNATURE_LEN]);
bool crypto_spki_is_ed25519(struct slice spki);
bool crypto_spki_is_p256(struct slice spki);
/* 0 and the key's id when sig is its signature of data, MACULA_BAD_SIGNATURE when not, or when the key is of another kind. */
int crypto_verify(struct slice spki, struct slice data, struct slice sig, struct id *ret_id);

void crypto_hmac_sha256(struct slice key, struct slice data, uint8_t ret_mac[CRYPTO_HASH_LEN]);
/* HMAC-SHA256 over the parts in order. */
void crypto_mac(const uint8_t key[CRYPTO_HASH_LEN], const struct slice *parts, size_t count, uint8_t *ret_mac, size_t len);
/* X25519 (RFC 7748). A secret is any 32 random bytes. MACULA_EINVAL: the other's value is one of those that give a secret that
 * everybody knows. */
#define CRYPTO_X25519_LEN 32
void crypto_x25519_public(const uint8_t secret[CRYPTO_X25519_LEN], uint8_t ret_public[CRYPTO_X25519_LEN]);
int crypto_x25519(const uint8_t secret[CRYPTO_X25519_LEN], const uint8_t theirs[CRYPTO_X25519_LEN],
                  uint8_t ret_shared[CRYPTO_X25519_LEN]);
/* Whether both are equal, in a time that does not depend on where they differ. */
bool crypto_equal(const void *a, const void *b, size_t n);
void crypto_wipe(void *p, size_t n);

enum crypto_derivation { CRYPTO_PBKDF2_SHA256, CRYPTO_PBKDF2_SHA512, CRYPTO_SHA512_SALTED };
/* ret_hash: n bytes, at most 64. CRYPTO_SHA512_SALTED is SHA-512 of password and salt, once, and knows no iterations. */
int crypto_derive(enum crypto_derivation how, struct slice password, struct slice salt, uint32_t iterations, uint8_t *ret_hash,
                  size_t n);

/* PEM (RFC 7468) with this label, malloc'ed and NUL-terminated. Text around it is passed over when it is read;
 * MACULA_EINVAL: there is none with this label, or it has more than cap bytes. */
int crypto_armor(const char *label, struct slice bytes, char **ret_text);
int crypto_unarmor(const char *label, struct slice text, uint8_t *ret, size_t cap, size_t *ret_len);
/* Base64 with padding (RFC 4648, 4), of at most 64 bytes; one spelling only: MACULA_EINVAL for others. */
#define CRYPTO_BASE64_LEN 89
void crypto_base64(struct slice bytes, char ret_text[CRYPTO_BASE64_LEN]);
int crypto_unbase64(struct slice text, uint8_t ret[64], size_t *ret_len);

#endif
