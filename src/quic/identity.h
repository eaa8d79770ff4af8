/* Who a node or client is: a private key, its certificate chain, and the id that follows from the key. */
#ifndef QUIC_IDENTITY_H
#define QUIC_IDENTITY_H

#include <stdint.h>

#include "base/slice.h"

struct quic_identity; /* private key, certificate chain, id; reference-counted, immutable */

/* A new Ed25519 key and a self-signed certificate without end (RFC 5280, 4.1.2.5). */
int quic_identity_generate(struct quic_identity **ret_identity);
/* Key and certificate chain from PEM; both may stand in one text. MACULA_CERTIFICATE_INVALID (unreadable, key does not match,
 * or takes longer to sign than P-384 or RSA of 3,072 bits), MACULA_CERTIFICATE_EXPIRED when now_unix (seconds) is outside its
 * time; ret_why (optional) gets static text that says more. The start time of a self-signed certificate is not checked: only
 * the machine that made it set that time, and its clock may be wrong now. */
int quic_identity_parse(struct slice key_pem, struct slice cert_pem, uint64_t now_unix, struct quic_identity **ret_identity,
                        const char **ret_why);
/* Key and certificate in one PEM text, allocated with malloc, NUL-terminated. */
int quic_identity_pem(const struct quic_identity *i, char **ret_pem);
const struct id *quic_identity_id(const struct quic_identity *i); /* SHA-256 of the SubjectPublicKeyInfo */
uint64_t quic_identity_end(const struct quic_identity *i); /* when its certificate ends, Unix seconds; UINT64_MAX: never */
/* A certificate's end as text for people: "ends in 12 days", "ended 3 hours ago"; NULL while more than 30 days are left. */
#define QUIC_END_TEXT_LEN 40
const char *quic_end_text(uint64_t end, uint64_t now_unix, char ret_text[QUIC_END_TEXT_LEN]);
struct quic_identity *quic_identity_ref(struct quic_identity *i);
void quic_identity_unref(struct quic_identity *i);
#define QUIC_SIGNATURE_MAX 512 /* bytes */
/* Signs with the identity's key (Ed25519: RFC 8032; a user's ECDSA or RSA key with SHA-256). *ret_len <= QUIC_SIGNATURE_MAX. */
int quic_identity_sign(const struct quic_identity *i, struct slice data, uint8_t *ret_sig, size_t *ret_len);
/* The SubjectPublicKeyInfo of its certificate, DER; lives as long as the identity. */
struct slice quic_identity_spki(const struct quic_identity *i);
/* Verifies that sig is a signature of data by the key in spki. 0 and that key's id; MACULA_BAD_SIGNATURE otherwise. */
int quic_verify(struct slice spki, struct slice data, struct slice sig, struct id *ret_id);

#endif
