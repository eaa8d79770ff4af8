/* Which patterns the clients of each node hold: our own are counted and versioned, those of other nodes are kept as these told
 * us.
 *
 * Our own: every pattern that at least one client of this node holds, in the order of its last change. Each link to another
 * node has a cursor, the version up to which that node was told; the changes after it are sent in pages, so that each change
 * crosses each link once and a new link gets everything. A pattern that no client holds any more stays as a removal while there
 * are members to tell. The number of removals is bounded; a link whose cursor lies before the last removal that was dropped is
 * told everything anew. Those of other nodes: the patterns of all members are in one trie, so that one match finds the nodes
 * for a publish. A digest reveals errors: if a peer's (epoch, version, digest) do not fit, it is asked for everything. */
#ifndef PUBSUB_INTEREST_H
#define PUBSUB_INTEREST_H

#include <stdbool.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/slice.h"
#include "pubsub/topic_index.h"

struct interest;

struct interest_step { /* a place in the order of changes: a pattern's, or a link's cursor among them */
  struct list l;
  bool cursor;
};

/* A member that we exchange interest with: embedded in the owner's record of that node, kept while the node is a member and not
 * only while a link stands. Public to read: id, topics.user, epoch, version, retained, linked. */
struct interest_peer {
  struct id id;
  struct list all;
  /* its patterns; .user is the owner's; .flags of each pattern: the generation in which it was told */
  struct topic_subscriber topics;
  uint64_t epoch, version; /* of the patterns that it told us; epoch 0: none yet */
  uint64_t digest;         /* XOR of the hashes of its patterns, as we hold them */
  uint64_t retained;       /* retained messages that it says it holds */
  uint32_t generation;     /* number of its resets: marks the patterns told since the last one */
  bool linked;
  bool sweeping;    /* a reset is under way: patterns of older generations are removed at its end, */
  bool ending;      /* which has come */
  uint32_t unswept; /* patterns that are still to be looked at then */
  struct interest_claim {
    uint64_t total, digest;
    bool changes;
  } claim;         /* what its last page said of all its patterns, and whether that page changed any */
  bool incomplete; /* some of its patterns were refused */
  bool whole;      /* on this path it has told all its patterns, and number and digest are right */
  bool asked;      /* a repair was asked for: pages that do not fit are ignored until it comes, or until interest_check */
  bool have_due, have_nothing;
  /* What we tell it. */
  bool ready;          /* its HAVE came: we know which of our patterns it knows */
  bool say;            /* a page is due even if nothing has changed */
  bool told_reset;     /* the next page begins anew */
  uint64_t told;       /* our version up to which it was told on this link */
  uint64_t said;       /* our version when the peer was last asked for its HAVE, which has not come yet; 0: it was not asked */
  uint64_t reset_at;   /* our version when the present reset began: removals before it need not be told */
  uint64_t floor_seen; /* interest.floor at that time */
  struct interest_step at;
};

struct interest_config {
  struct mem *own_mem, *mem; /* of our patterns; of everything else */
  struct rng rng;
  uint32_t max_own;      /* different patterns of ours: 1,000,000 */
  uint32_t max_removed;  /* removals kept: 10,000 */
  uint32_t max_patterns; /* of all other members together: 1,000,000 */
  uint32_t max_peer;     /* of one other member: 100,000 */
};
/* MACULA_ENOMEM */
int interest_new(const struct interest_config *cfg, struct interest **ret_i);
/* New limits; patterns that are there stay. */
void interest_set_max(struct interest *i, uint32_t max_own, uint32_t max_patterns, uint32_t max_peer);
void interest_free(struct interest *i); /* accepts NULL; peers' patterns go, the peers stay the owner's */

/* A client of ours has subscribed to a pattern (stored form), or has given it up. MACULA_EFULL, MACULA_ENOMEM: the subscription
 * is not counted. */
int interest_add(struct interest *i, struct slice pattern);
void interest_remove(struct interest *i, struct slice pattern);
/* Sets how many retained messages we hold. When this becomes 0, or was 0 before, the peers are told at once, else with the next
 * page. */
void interest_set_retained(struct interest *i, uint64_t count);

void interest_peer_init(struct interest *i, struct interest_peer *p, const struct id *id, void *user);
void interest_peer_done(struct interest *i,
                        struct interest_peer *p); /* the node is no member any more; harmless when repeated */
/* A link is up, or has gone. On a new link both sides say which version they have (INTEREST_HAVE), and only what is missing is
 * sent. both: the other side sees a new link, too. Otherwise (its path to us, through a gateway, may be the same as before) it
 * may send no HAVE; it is then told on from where it was, and asks if that is wrong. */
void interest_link(struct interest_peer *p, bool up, bool both);
/* A frame from interest_next could not be sent: what it carried is sent again. */
void interest_lost(struct interest_peer *p);

/* The next frame for this peer: its type and payload (a view until the next call on i), at most max_len bytes (at least 1,024
 * are needed; no more than 16 KiB are used). False: the peer has been told everything. Call again until false while its queue
 * has room. */
bool interest_next(struct interest *i, struct interest_peer *p, size_t max_len, uint8_t *ret_type, struct slice *ret_payload);
bool interest_pending(const struct interest *i, const struct interest_peer *p);
/* INTEREST or INTEREST_HAVE of this peer. MACULA_BAD_FRAME; MACULA_EFULL: some of its patterns exceed a limit or memory; these
 * are counted and not taken, the others are. */
int interest_recv(struct interest *i, struct interest_peer *p, uint8_t type, struct slice payload);
/* To be called every 30 s: tells a linked peer our version and digest, or asks for its HAVE if that has not come; and allows a
 * lost repair to be asked for again. */
void interest_check(struct interest_peer *p);

/* What may take long, in slices: patterns of members that are gone, those that a reset did not name, removals that all were
 * told of. */
bool interest_is_due(const struct interest *i);
void interest_step(struct interest *i, const struct spent *spent);

/* The members that hold a matching pattern, each once, as topic_index_match_within chains them; the .user of each is the
 * owner's. */
struct topic_subscriber *interest_match(struct interest *i, struct slice topic, uint32_t *left);

/* The groups (wire/group.h) that the last match has found, whose members are nodes; by key, NULL: no node has it. */
struct topic_group *interest_groups(const struct interest *i);
struct topic_group *interest_group(const struct interest *i, struct slice key);

struct interest_stats {
  uint32_t own, removed, patterns, max_own, max_removed, max_patterns;
  uint64_t version;        /* of ours */
  uint64_t sent, received; /* INTEREST pages */
  uint64_t resets;         /* how often a peer was told everything anew */
  uint64_t repairs;        /* how often a peer's patterns did not fit its digest and were asked for anew */
  uint64_t refused;        /* patterns of peers beyond a limit or memory */
  uint64_t forgotten;      /* removals that were dropped to make room */
};
void interest_stats(const struct interest *i, struct interest_stats *ret_stats);

/* Checks the invariants of both tables, ours and that of other nodes, and of each peer. (interest_check is not such a check.)
 * O(patterns of all).
 */
const char *interest_tables_check(const struct interest *i);
/* The sum of the hashes of our patterns, each as often as it is held, so that two sets can be compared at once. */
struct interest_sum {
  uint64_t held, weight;
};
void interest_sum_add(struct interest_sum *sum, struct slice pattern); /* a client of ours holds it */
struct interest_sum interest_own_sum(const struct interest *i);        /* as counted; O(patterns) */
/* Bytes of own_mem and of mem that it holds. */
void interest_owned(const struct interest *i, size_t *ret_own_mem, size_t *ret_mem);

#endif
