/* Hashes of passwords, as they stand in access files:
 *
 *   $pbkdf2-sha256$ITERATIONS$SALT$HASH   ours: a salt of 16 bytes, a hash of 32
 *   $7$ITERATIONS$SALT$HASH               mosquitto's: PBKDF2-HMAC-SHA512
 *   $6$SALT$HASH                          mosquitto's older one: SHA-512 of password and salt (not crypt(3))
 *
 * SALT and HASH in Base64. A check takes tens of milliseconds: never on the loop's thread. */
#ifndef TRUST_PASSWORD_H
#define TRUST_PASSWORD_H

#include "base/rng.h"
#include "base/slice.h"
#include "base/time.h"

#define PASSWORD_ITERATIONS 200000      /* of new hashes */
#define PASSWORD_MAX_ITERATIONS 2000000 /* of those that are read */
#define PASSWORD_MAX_LEN 1024           /* bytes of a password */
#define PASSWORD_HASH_LEN 208           /* of a hash's text, with its NUL */

#define PASSWORD_KEY_LEN 16 /* bytes by which a hash and a password are known in one run */

/* Those who check them compute one at a time, let so many wait, and remember so many that were right. */
#define PASSWORDS_WAITING 64
#define PASSWORDS_OF_ONE 8 /* of those that wait, from one address */
#define PASSWORDS_KNOWN 10000
#define PASSWORDS_KNOWN_FOR (3600 * NS_SEC)

/* NULL: a hash that can be checked; else why not, in static text. */
const char *password_hash_wrong(struct slice hash);
/* MACULA_EINVAL: an empty password, or one that is too long. */
int password_hash(struct slice password, struct rng rng, char ret_hash[PASSWORD_HASH_LEN]);
/* Whether this is the password of the hash; false for a hash that cannot be read. */
bool password_check(struct slice hash, struct slice password);

#endif
