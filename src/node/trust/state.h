/* What the node keeps about who may do what. */
#ifndef NODE_TRUST_STATE_H
#define NODE_TRUST_STATE_H

#include "access/access.h"
#include "base/time.h"
#include "bounded/bucket.h"
#include "bounded/heap.h"
#include "bounded/lru.h"
#include "trust/pass.h"
#include "trust/revoked.h"

/* A pass that was verified, and what it grants: one for all sessions that show it. */
struct trust_pass {
  struct lru_link link; /* trust.passes; the oldest that nobody uses makes room */
  uint8_t digest[CRYPTO_HASH_LEN];
  uint32_t users; /* sessions that were let in by it */
  struct grant *grant;
  struct id realm, holder;
  uint8_t serial[PASS_MAX_LINKS][PASS_SERIAL_LEN];
  size_t links;
  uint64_t from, until; /* Unix seconds */
};

/* What a session was let in by, and may do. */
struct rights {
  struct grant *grant;     /* NULL: everything, as node_config.access is NULL */
  struct trust_pass *pass; /* by which it was let in; NULL: by none */
  bool proved;             /* it showed a proof that it knows a token: */
  uint8_t proof[TOKEN_PROOF_LEN];
  enum role role;       /* in which it was let in */
  uint64_t round;       /* trust.round in which it was judged */
  struct heap_link end; /* in trust.ends: when its pass or certificate ends, Unix seconds */
  /* The topic that it was allowed to publish to last: most publishers stay with one. */
  uint8_t last_len; /* 0: none */
  char last[NAME_MAX_LEN];
  char hex[ID_HEX_LEN + 1]; /* its id, for ${id}; empty: it has none */
};

struct trust {
  struct access *access; /* NULL: everybody may do everything; operators are those on loopback */
  struct slice pass;     /* our own, which other nodes and clients are shown; n 0: none */
  uint64_t pass_end;     /* of our own pass, Unix seconds; 0: there is none */
  nanotime pass_say_at;  /* when it is logged again that it ends */
  uint64_t round;        /* rises whenever all sessions are to be judged anew */
  struct lru passes;
  struct heap ends;                           /* rights.end of sessions, in Unix seconds */
  struct revoked *revoked[ACCESS_MAX_REALMS]; /* the latest list of each realm; NULL: none */
  uint64_t lists, lists_refused;              /* lists of revocations that were taken, and that were bad or too many */
  nanotime announce_at;                       /* when their numbers are announced to all links again */
  struct bucket lines;                        /* log lines about what was forbidden */
  uint64_t lines_left_out;
  uint64_t forbidden;      /* requests that a grant does not allow */
  uint64_t ended;          /* sessions that ended since they were judged anew */
  uint64_t passes_refused; /* passes without room among those that are known */
  char why[PASS_WHY_LEN];  /* of the refusal that is under way */
};

#endif
