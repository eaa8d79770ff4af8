/* Passwords of users are checked off the loop's thread, as each check takes tens of milliseconds: one at a time, in libuv's
 * pool. A check that succeeded is remembered for an hour, as an HMAC under a key of this run, so that a client that comes back
 * costs nothing. */
#ifndef DAEMON_PASSWORDS_H
#define DAEMON_PASSWORDS_H

#include <uv.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/slice.h"
#include "base/time.h"

#define PASSWORDS_WAITING 64
#define PASSWORDS_KNOWN 4096
#define PASSWORDS_KNOWN_FOR (3600 * NS_SEC)

struct passwords;
/* mem: for what waits and what is remembered. MACULA_ENOMEM. */
int passwords_new(uv_loop_t *uv, struct mem *mem, struct rng rng, struct passwords **ret_passwords);
/* Nothing is called any more; a check that is under way is waited for by the next turns of the loop, which then frees all. */
void passwords_free(struct passwords *p); /* accepts NULL */
/* Whether it is the password of the hash (trust/password.h): done is called once, on the loop's thread, at once if it is known.
 * MACULA_RATE_LIMITED: PASSWORDS_WAITING wait already; MACULA_EINVAL: the password is longer than PASSWORD_MAX_LEN;
 * MACULA_ENOMEM. */
int passwords_check(struct passwords *p, struct slice hash, struct slice password, nanotime now,
                    void (*done)(void *ctx, bool good), void *ctx);

#endif
