/* Who has logged in at the page: links that work once, and sessions, each known by a random word of which only the SHA-256 is
 * kept. Without I/O and clock. */
#ifndef DAEMON_HTTP_LOGINS_H
#define DAEMON_HTTP_LOGINS_H

#include <stdbool.h>

#include "access/access.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "base/slice.h"
#include "base/time.h"
#include "trust/pass.h"
#include "trust/password.h"

#define LOGINS_LINKS 16u
#define LOGINS_SESSIONS 64u
#define LOGINS_WORD_LEN 64u /* hexadecimal digits of a word */
#define LOGINS_LINK_TIME (60 * NS_SEC)
#define LOGINS_IDLE_TIME (30 * 60 * NS_SEC) /* a session that is not used ends; */
#define LOGINS_TIME (12 * 3600 * NS_SEC)    /* and any, that long after the login */

/* Whom a link or a session stands for. */
struct login {
  bool by_link;                      /* an operator asked for it, by a connection of its own */
  char grant[GRANT_MAX_NAME + 1];    /* of that operator; "": it has none with a name */
  struct pass_kept pass;             /* by which that operator was let in; links 0: by none */
  char user[ACCESS_MAX_NAME + 1];    /* by whose password it came; "": by none */
  uint8_t vouched[PASSWORD_KEY_LEN]; /* of that user: node_vouch */
};

struct logins_entry {
  uint8_t digest[SHA256_LEN]; /* of its word */
  nanotime since, used;
  bool on;
  struct login who;
};

struct logins { /* zeroed: nobody has logged in */
  struct logins_entry links[LOGINS_LINKS], sessions[LOGINS_SESSIONS];
  uint64_t made, refused, evicted; /* sessions; words that were wrong or too late; links and sessions that made room */
};

/* A link that logs in once, within LOGINS_LINK_TIME. The oldest of whoever has most makes room. */
void logins_invite(struct logins *l, const struct login *who, struct rng rng, nanotime now, char ret_word[LOGINS_WORD_LEN + 1]);
/* False: there is no such link any more. */
bool logins_redeem(struct logins *l, struct slice word, nanotime now, struct login *ret_who);
/* A session. Of whoever has most, the one that was not used for longest makes room. */
void logins_open(struct logins *l, const struct login *who, struct rng rng, nanotime now, char ret_word[LOGINS_WORD_LEN + 1]);
/* NULL: there is none; else until the next call. It counts as used. */
const struct login *logins_find(struct logins *l, struct slice word, nanotime now);
void logins_close(struct logins *l, struct slice word); /* harmless when there is none */
/* The access file was read again: what counts no more ends. */
void logins_judge(struct logins *l, bool (*counts)(void *ctx, const struct login *who), void *ctx);

#endif
