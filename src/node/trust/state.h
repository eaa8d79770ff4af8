/* What the node keeps about who may do what. */
#ifndef NODE_TRUST_STATE_H
#define NODE_TRUST_STATE_H

#include "access/access.h"
#include "base/list.h"
#include "base/time.h"
#include "bounded/bucket.h"
#include "bounded/heap.h"
#include "bounded/htab.h"
#include "bounded/lru.h"
#include "node/flow/state.h"
#include "pubsub/retained.h"
#include "trust/pass.h"
#include "trust/password.h"
#include "trust/revoked.h"

/* A pass that was verified, and what it grants: one for all sessions that show it. */
struct trust_pass {
  struct lru_link link; /* trust.passes; the oldest that nobody uses makes room */
  uint8_t digest[CRYPTO_HASH_LEN];
  uint32_t users; /* sessions that were let in by it */
  struct grant *grant;
  struct pass_kept kept;
};

/* What a session was let in by, and may do. */
struct rights {
  struct grant *grant;     /* NULL: everything, as node_config.access is NULL */
  struct trust_pass *pass; /* by which it was let in; NULL: by none */
  bool proved;             /* it showed a proof that it knows a token: */
  bool by_user;            /* it was let in, or is to be, by a user's password: proof says which (users.c) */
  uint8_t last_len;        /* of last; 0: none, or no memory */
  uint8_t *proof;          /* TOKEN_PROOF_LEN bytes; NULL: none */
  uint32_t changes;        /* how often its grant has changed, and 1 */
  enum role role;          /* in which it was let in */
  uint64_t round;          /* trust.round in which it was judged */
  /* Of those that it had when its grant changed, so many are still to be compared with it: the first of their lists. */
  uint32_t subs_left, services_left;
  struct heap_link end; /* in trust.ends: when its pass or certificate ends, Unix seconds */
  char *last; /* the topic that it was allowed to publish to last, NAME_MAX_LEN bytes, as most stay with one; NULL: none yet */
};

#define ACCOUNT_KEY_LEN (1 + ID_LEN)

struct password_asked { /* a password that is being checked, and for which address */
  uint8_t key[PASSWORD_KEY_LEN], address[16];
};

/* What one identity uses. */
struct account {
  struct hlink h;
  struct list idle;             /* accounts.idle, while it has no session; */
  nanotime idle_at;             /* since then */
  uint8_t key[ACCOUNT_KEY_LEN]; /* kind; a key's id, a user's hash, or an address */
  uint32_t used[QUOTAS];        /* connections, subscriptions, services and calls of its sessions; the others are 0 */
  struct retained_owner retained;
  struct bucket units; /* for packets that move nothing (quic.h) */
  struct bucket brief; /* sessions that it may end so soon */
  struct bucket messages;
  uint32_t rate;        /* tokens a second */
  uint64_t turn;        /* accounts.turn in which it */
  double spent;         /* spent so many */
  struct list waiting;  /* session.waits: those that are not read until */
  struct heap_link due; /* then: in accounts.due while there are any */
  uint64_t paced;       /* how often it had no tokens */
  nanotime say_at;      /* the earliest time that it is logged again */
  struct budget waits;  /* its publishers, for all readers that are slower than others, */
  struct budget slow;   /* and for its own readers everybody */
};

struct accounts {
  struct htab tab;
  struct heap due;  /* account.due */
  struct list idle; /* account.idle */
  uint64_t turn;    /* counts the node's turns */
  uint64_t over, paced;
  uint64_t hasty; /* connections refused: their identity had too many that were brief */
  uint64_t refused, evicted;
};

#define TRUST_LINES_A_SECOND 2.0 /* log lines about what was forbidden, or went beyond a quota */
#define TRUST_LINES_AT_ONCE 20.0

struct trust {
  struct access *access; /* NULL: everybody may do everything; operators are those on loopback */
  struct slice pass;     /* our own, which other nodes and clients are shown; n 0: none */
  uint64_t pass_end;     /* of our own pass, Unix seconds; 0: there is none */
  nanotime pass_say_at;  /* when it is logged again that it ends */
  uint64_t round;        /* rises whenever all sessions are to be judged anew */
  struct lru passes;
  struct accounts accounts;
  struct heap ends;                           /* rights.end of sessions, in Unix seconds */
  struct revoked *revoked[ACCESS_MAX_REALMS]; /* the latest list of each realm; NULL: none */
  uint64_t lists, lists_refused;              /* lists of revocations that were taken, and that were bad or too many */
  nanotime announce_at;                       /* when their numbers are announced to all links again */
  struct bucket lists_lines;                  /* log lines about lists and passes of other nodes that were refused */
  struct bucket lists_heard;                  /* lists and renewed passes of all peers that are verified */
  struct bucket lines;                        /* log lines: TRUST_LINES_A_SECOND */
  uint64_t lines_left_out;
  uint32_t cost;           /* of comparing patterns with those of grants, for the request under way */
  struct bucket comparing; /* what requests may cost beyond their free share */
  uint64_t forbidden;      /* requests that a grant does not allow */
  uint64_t ended;          /* sessions that ended since they were judged anew */
  struct {
    struct password_asked asked[PASSWORDS_WAITING];
    uint32_t asked_count;
    uint64_t wrong, busy; /* passwords and names of users; CONNECTs refused as too many passwords were being checked */
  } passwords;
  uint64_t passes_refused; /* passes without room among those that are known */
  char why[PASS_WHY_LEN];  /* of the refusal that is under way */
};

#endif
