/* Passwords of users are checked off the loop's thread, as each check takes tens of milliseconds: one at a time, in libuv's
 * pool. A check that succeeded is remembered for an hour, as an HMAC under a key of this run, so that a client that comes back
 * costs nothing; and who asks for what is being checked already waits for that. */
#ifndef DAEMON_PASSWORDS_H
#define DAEMON_PASSWORDS_H

#include <uv.h>

#include "node/node.h"

struct passwords;
/* What the owner is told of each check that was made, on the loop's thread. */
typedef void (*passwords_done)(void *ctx, const uint8_t key[PASSWORD_KEY_LEN], bool good);
/* mem: for what waits and what is remembered. MACULA_ENOMEM. */
int passwords_new(uv_loop_t *uv, struct mem *mem, struct rng rng, passwords_done done, void *ctx,
                  struct passwords **ret_passwords);
/* Waits for the check that is under way; nothing is called any more. Accepts NULL. */
void passwords_free(struct passwords *p);
/* Whether it is the password of the hash (trust/password.h). 0: *ret_known says that it is; else done comes later, once for all
 * that have asked with the same key, by which these two are known in this run. MACULA_RATE_LIMITED: PASSWORDS_WAITING wait
 * already, or it would have to wait and may not; MACULA_EINVAL: the password is longer than PASSWORD_MAX_LEN; MACULA_ENOMEM. */
int passwords_check(struct passwords *p, struct slice hash, struct slice password, nanotime now, bool may_wait,
                    uint8_t ret_key[PASSWORD_KEY_LEN], bool *ret_known);

#endif
