/* Access files: who may do what at a node, in YAML.
 *
 *   grants:                        # by name
 *     sensors:
 *       role: client               # or node, operator; client if it is not there
 *       pub: ['plant.${id}.**']    # lists of patterns: pub, sub, call, serve
 *       quotas: {connections: 4}   # connections, subscriptions, services, calls, retained, messages
 *   tokens:                        # several, so that they can be changed without a gap
 *     - {file: /etc/macula/token, grant: sensors}   # or token: TEXT; role: another than the grant's
 *     - {file: /etc/macula/curl, grant: sensors, door: http}   # sent over HTTP, and good for nothing else
 *   users:
 *     alice: {password: HASH, grant: sensors}
 *   keys:                          # ids of clients and nodes
 *     ID: sensors                  # or {grant: sensors, role: node}
 *   realm_keys: [ID]               # whose passes are taken
 *   anonymous: sensors             # clients without a certificate; nobody if it is not there
 *   default: sensors               # clients with a certificate and nothing of the above; nobody if it is not there
 *
 * A parsed file is immutable and reference-counted. Reading the file again gives a new object, by which all sessions are then
 * judged. */
#ifndef ACCESS_ACCESS_H
#define ACCESS_ACCESS_H

#include "base/mem.h"
#include "trust/grant.h"
#include "trust/token.h"

#define ACCESS_MAX_FILE (1 << 20) /* bytes */
#define ACCESS_MAX_GRANTS 1000
#define ACCESS_MAX_TOKENS 64
#define ACCESS_MAX_USERS 10000
#define ACCESS_MAX_KEYS 10000
#define ACCESS_MAX_REALMS 16
#define ACCESS_MAX_NAME 64 /* bytes of a user's name */
#define ACCESS_WHY_LEN 512 /* YAML_WHY_LEN */

struct access_user {
  struct slice name, hash; /* hash: see trust/password.h */
  struct grant *grant;
  unsigned line;
};

/* How a token's file is read: *ret_token is malloc'ed; ret_why gets what is wrong. */
struct access_files {
  int (*read_token)(void *ctx, const char *path, char **ret_token, char ret_why[256]);
  void *ctx;
};

#define ACCESS_EMPTY_WHY                                                                                                       \
  "it lets nobody in, as it has no tokens, users, keys, realm_keys, anonymous or default: write who may do what"
struct access;
/* name: of the file, for messages. MACULA_EINVAL with ret_why, which begins with name and line and says what to write instead;
 * MACULA_ENOMEM; what read_token says. */
int access_parse(struct mem *mem, const char *name, struct slice text, const struct access_files *files,
                 struct access **ret_access, char ret_why[ACCESS_WHY_LEN]);
struct access *access_ref(struct access *a);
void access_unref(struct access *a); /* accepts NULL */
/* Counts it in another account: one that was parsed on a thread of its own, as accounts are not locked. Its account has nothing
 * else, and no grant is held elsewhere. */
void access_move(struct access *a, struct mem *to);

/* Whether nobody can be let in by it: it has no tokens, users, keys, realm keys, anonymous or default. */
bool access_is_empty(const struct access *a);
/* Whether tokens or hashes stand in the file itself, so that others must not read it. */
bool access_has_secrets(const struct access *a);
bool access_has_users(const struct access *a);
/* Views as long as a; NULL: none. */
struct grant *access_grant(const struct access *a, struct slice name);
struct grant *access_key(const struct access *a, const struct id *id);
const struct access_user *access_user(const struct access *a, struct slice name);
struct grant *access_anonymous(const struct access *a);
struct grant *access_default(const struct access *a);
/* The grant of the token that the other side has proved to know; NULL: it has proved none. *ret_line (optional): the token's
 * line in the file. */
struct grant *access_token(const struct access *a, enum token_side side, const struct token_session *s, struct slice proof,
                           unsigned *ret_line);
/* The grant of the token with this SHA-256 that may be sent over HTTP (door: http); NULL: there is none. *ret_native: it is a
 * native token, which must never be sent. Takes as long whichever it is. */
struct grant *access_bearer(const struct access *a, const uint8_t digest[32], bool *ret_native);
/* All tokens that are proved, in their order; this side uses the first one for its own proof. */
const struct slice *access_tokens(const struct access *a, size_t *ret_count);
struct grant *access_token_grant(const struct access *a, size_t i);
const struct id *access_realms(const struct access *a, size_t *ret_count);

#endif
