/* Passes: rights that a realm's key grants to the holder of another key, signed offline, and that this holder may pass on,
 * narrowed, to a third key.
 *
 *   pass   = [link] or [link, link]
 *   link   = [key, claims, signature]          key: SubjectPublicKeyInfo of who signs; claims: bin, as below; signature: 64
 * bytes claims = [1, serial, holder, role, not before, not after, delegate, {quota: n}, [pub], [sub], [call], [serve]]
 *
 * in MessagePack as the wire writes it: texts as bin, the shortest form of each number, quotas in rising order. There is one
 * spelling of each pass: what decodes is encoded again and compared. The first link's signature is the realm key's over "macula
 * pass 1\0" and its claims; the second's is the first holder's over "macula narrowed pass 1\0", SHA-256 of the first link as it
 * stands here, and its claims. So a pass is bound to its holder's key, and is no secret. A second link counts only if it grants
 * nothing that the first does not: each pattern within one of the first's, role, quotas and times within.
 *
 * ${id} is the holder's own id in each link; ${user} and ${client} are the same in both. */
#ifndef TRUST_PASS_H
#define TRUST_PASS_H

#include "trust/crypto.h"
#include "trust/grant.h"

#define PASS_MAX 4096 /* bytes */
#define PASS_MAX_LINKS 2
#define PASS_MAX_PATTERNS 64 /* of a link */
#define PASS_MAX_SECONDS (90 * 86400u)
#define PASS_SERIAL_LEN 16
#define PASS_WHY_LEN 512
#define PASS_LABEL "MACULA PASS" /* of its text form (crypto_armor) */

struct pass_claims {
  uint8_t serial[PASS_SERIAL_LEN]; /* random */
  struct id holder;
  enum role role;
  uint64_t not_before, not_after; /* Unix seconds; valid from the one up to and with the other */
  unsigned delegate;              /* how often the holder may narrow it: 0 or 1 */
  uint32_t quotas[QUOTAS];
  struct grant_rule rules[PASS_MAX_PATTERNS]; /* ordered by right; lines are 0 */
  size_t count;
};

struct pass_link {
  struct slice key, claims_bytes, signature;
  struct pass_claims claims;
};

/* Views of the bytes that it was read from. */
struct pass {
  struct pass_link link[PASS_MAX_LINKS];
  size_t links;
  struct id realm; /* of the key that signed the first link */
};

/* What is kept of a pass that was verified, to judge later whether it counts still. */
struct pass_kept {
  struct id realm, holder;
  uint8_t serial[PASS_MAX_LINKS][PASS_SERIAL_LEN];
  size_t links;
  uint64_t from, until; /* Unix seconds */
};

/* X(ENUM, "name"): why a pass does not count. */
#define PASS_VERDICTS(X)                                                                                                       \
  X(GOOD, "good")                                                                                                              \
  X(MALFORMED, "malformed")                                                                                                    \
  X(FOREIGN, "foreign") /* signed by no realm key that is trusted */                                                           \
  X(FORGED, "forged")                                                                                                          \
  X(WIDER, "wider")   /* a holder signed more than it has */                                                                   \
  X(OTHERS, "others") /* bound to another key than that of the one who shows it */                                             \
  X(EARLY, "early")                                                                                                            \
  X(EXPIRED, "expired")                                                                                                        \
  X(REVOKED, "revoked")                                                                                                        \
  X(NO_MEMORY, "no_memory")

enum pass_verdict {
#define PASS_ENUM(id, name) PASS_##id,
  PASS_VERDICTS(PASS_ENUM)
#undef PASS_ENUM
};
const char *pass_verdict_name(enum pass_verdict v);

struct revoked;
/* What a pass is checked against. */
struct pass_trust {
  const struct id *realms;
  size_t realm_count;
  const struct id *holder; /* who shows it; NULL: not judged */
  uint64_t now;            /* Unix seconds */
  const struct revoked *const *revoked;
  size_t revoked_count;
};

/* Reads a pass without checking its signatures: PASS_GOOD or PASS_MALFORMED. */
enum pass_verdict pass_decode(struct slice bytes, struct pass *ret_pass, char ret_why[PASS_WHY_LEN]);
/* Reads and judges it. *ret_pass is written unless it is malformed. ret_why: what is wrong, and what to do about it. */
enum pass_verdict pass_verify(struct slice bytes, const struct pass_trust *trust, struct pass *ret_pass,
                              char ret_why[PASS_WHY_LEN]);
/* Whether a pass that was read is valid now, for the holder that showed it, and not revoked; who signed it is not asked. */
enum pass_verdict pass_now(const struct pass *p, const struct pass_trust *trust, char ret_why[PASS_WHY_LEN]);
/* The last link: what the pass grants, to whom, and until when. */
static inline const struct pass_claims *pass_effective(const struct pass *p) { return &p->link[p->links - 1].claims; }
/* The same as a grant. */
int pass_grant(struct mem *mem, const struct pass *p, struct grant **ret_grant);

/* Whether inner grants nothing that outer does not; else ret_why names the first thing. Times and delegation included. */
bool pass_within(const struct pass_claims *outer, const struct pass_claims *inner, char ret_why[PASS_WHY_LEN]);

/* A pass of one link, signed by the realm's key, which is Ed25519. MACULA_EINVAL with ret_why; MACULA_EINTERNAL. */
int pass_issue(const struct crypto_key *realm, const struct pass_claims *claims, uint8_t ret_bytes[PASS_MAX], size_t *ret_len,
               char ret_why[PASS_WHY_LEN]);
/* `pass` with a second link, signed by its holder's key. Codes as above; what would not count is refused. */
int pass_narrow(struct slice pass, const struct crypto_key *holder, const struct pass_claims *claims,
                uint8_t ret_bytes[PASS_MAX], size_t *ret_len, char ret_why[PASS_WHY_LEN]);

#endif
