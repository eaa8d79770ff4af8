/* What a realm has revoked: serials of passes, signed by its key under a number that rises. Immutable; kept as it came, so that
 * it can be passed on.
 *
 *   list    = [key, content, signature]      signature: over "macula revoked 1\0" and content
 *   content = [1, number, entries]           entries: one bin, 24 bytes each, rising: serial, then 8 bytes of Unix seconds, the
 * end of that pass, after which its entry may go */
#ifndef TRUST_REVOKED_H
#define TRUST_REVOKED_H

#include "trust/crypto.h"
#include "trust/pass.h"

#define REVOKED_MAX 4096 /* entries; more are refused, as the list is made and as it is read */
#define REVOKED_ENTRY_LEN (PASS_SERIAL_LEN + 8)
#define REVOKED_MAX_BYTES (REVOKED_MAX * REVOKED_ENTRY_LEN + 256)
#define REVOKED_LABEL "MACULA REVOKED" /* of its text form (crypto_armor) */

struct revoked_entry {
  uint8_t serial[PASS_SERIAL_LEN];
  uint64_t until; /* Unix seconds */
};

struct revoked;
/* Reads and verifies a list of one of these realms. MACULA_EINVAL (no list, or not written in the one way there is),
 * MACULA_NOT_AUTHORIZED (another realm's), MACULA_BAD_SIGNATURE, MACULA_ENOMEM; ret_why says more. */
int revoked_parse(struct mem *mem, struct slice bytes, const struct id *realms, size_t realm_count, struct revoked **ret_list,
                  char ret_why[PASS_WHY_LEN]);
struct revoked *revoked_ref(struct revoked *r);
void revoked_unref(struct revoked *r); /* accepts NULL */

const struct id *revoked_realm(const struct revoked *r);
uint64_t revoked_number(const struct revoked *r);
size_t revoked_count(const struct revoked *r);
struct revoked_entry revoked_at(const struct revoked *r, size_t i); /* ordered by serial */
struct slice revoked_bytes(const struct revoked *r);                /* as it came */
bool revoked_has(const struct revoked *r, const uint8_t serial[PASS_SERIAL_LEN]);
/* Whether `newer` replaces `old` (NULL: there is none): it is of the same realm and has a higher number. */
bool revoked_replaces(const struct revoked *newer, const struct revoked *old);

/* A new list of these entries, in any order, signed; of one serial the last end counts. MACULA_EINVAL with ret_why: too many.
 * *ret_bytes is of malloc. */
int revoked_issue(const struct crypto_key *realm, uint64_t number, struct revoked_entry *entries, size_t count,
                  uint8_t **ret_bytes, size_t *ret_len, char ret_why[PASS_WHY_LEN]);

#endif
