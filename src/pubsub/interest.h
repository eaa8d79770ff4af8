/* Which patterns the clients of each node hold: ours counted and versioned, others' as they told us.
 *
 * Ours: every pattern that at least one client of this node holds, in the order of its last change. A link to another node has
 * a cursor, the version up to which it has been told; what lies behind it is sent in pages, so each change crosses each link
 * once and a new link gets the whole. Patterns that nobody holds any more stay as removals while there are members to tell, at
 * most so many; a link whose cursor lies before the last one that had to go is told everything anew. Others': one set of
 * patterns a member in one trie, so that a publish finds its nodes in one match. Repaired by digest: a peer whose (epoch,
 * version, digest) do not add up is asked for everything. */
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
  struct topic_subscriber topics; /* its patterns; .user is the owner's; .flags of each: the generation that told it */
  uint64_t epoch, version;        /* of what it told us; epoch 0: nothing yet */
  uint64_t digest;                /* XOR of the hashes of its patterns, as we hold them */
  uint64_t retained;              /* retained messages that it says it holds */
  uint32_t generation;            /* of its last reset */
  bool linked;
  bool sweeping;   /* a reset is on its way: patterns of older generations go at its end, not before */
  bool incomplete; /* some of its patterns were refused */
  bool whole;      /* on this path it has told all that it holds, and it adds up */
  bool asked;      /* a repair is under way: what does not fit is ignored until it comes, or until interest_check */
  bool have_due, have_nothing;
  /* What we tell it. */
  bool ready;          /* its HAVE came: we know what it knows */
  bool say;            /* a last page is due even if nothing has changed */
  bool told_reset;     /* the next page begins anew */
  uint64_t told;       /* our version up to which it was told on this link */
  uint64_t said;       /* our version when it was last asked where it is, while its HAVE has not come; 0: it was not */
  uint64_t reset_at;   /* our version when the reset on its way began: older removals are no news to it */
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
/* Applies from now on; what is there stays. */
void interest_set_max(struct interest *i, uint32_t max_own, uint32_t max_patterns, uint32_t max_peer);
void interest_free(struct interest *i); /* accepts NULL; peers' patterns go, the peers stay the owner's */

/* A client of ours took or left a pattern (stored form). MACULA_EFULL, MACULA_ENOMEM: the add is not counted. */
int interest_add(struct interest *i, struct slice pattern);
void interest_remove(struct interest *i, struct slice pattern);
/* How many retained messages we hold. Told to the others when it becomes or ceases to be 0, else with the next page. */
void interest_set_retained(struct interest *i, uint64_t count);

void interest_peer_init(struct interest *i, struct interest_peer *p, const struct id *id, void *user);
void interest_peer_done(struct interest *i,
                        struct interest_peer *p); /* the node is no member any more; harmless when repeated */
/* A link stands now or has gone; on a new link both say what they hold (INTEREST_HAVE) and only what is missing crosses. both:
 * the other side sees a new link as well; else (its way to us, through a gateway, may be the same as before) its word need not
 * come, and it is told on from where it was, and asks if that is wrong. */
void interest_link(struct interest_peer *p, bool up, bool both);
/* A frame of interest_next was not sent: it is made good. */
void interest_lost(struct interest_peer *p);

/* The next frame for this peer: its type and payload (a view until the next call on i), at most max_len octets (at least 1,024
 * are needed, 16 KiB are used); false: it has been told all. Call again until false while its queue has room. */
bool interest_next(struct interest *i, struct interest_peer *p, size_t max_len, uint8_t *ret_type, struct slice *ret_payload);
bool interest_pending(const struct interest *i, const struct interest_peer *p);
/* INTEREST or INTEREST_HAVE of this peer. MACULA_BAD_FRAME; MACULA_EFULL (its patterns beyond the limit, or beyond memory, are
 * not taken, counted; the rest is). */
int interest_recv(struct interest *i, struct interest_peer *p, uint8_t type, struct slice payload);
/* Every 30 s: says our version and digest to a linked peer, or asks one whose HAVE has not come where it is; and
 * lets a lost repair be asked for again. */
void interest_check(struct interest_peer *p);

/* The members that hold a matching pattern, each once, as topic_index_match_within chains them; the .user of each is the
 * owner's. */
struct topic_subscriber *interest_match(struct interest *i, struct slice topic, uint32_t *left);

struct interest_stats {
  uint32_t own, removed, patterns, max_own, max_removed, max_patterns;
  uint64_t version;        /* of ours */
  uint64_t sent, received; /* INTEREST pages */
  uint64_t resets;         /* times that we began anew */
  uint64_t repairs;        /* times that a peer's did not add up and was asked for */
  uint64_t refused;        /* patterns of peers beyond a limit or memory */
  uint64_t forgotten;      /* removals that made room */
};
void interest_stats(const struct interest *i, struct interest_stats *ret_stats);

/* What must hold of both tables, ours and the others', and of each peer; interest_check is something else. O(patterns of all).
 */
const char *interest_tables_check(const struct interest *i);
/* Our patterns, each as often as it is held, in one comparison: the sum of their hashes. */
struct interest_sum {
  uint64_t held, weight;
};
void interest_sum_add(struct interest_sum *sum, struct slice pattern); /* a client of ours holds it */
struct interest_sum interest_own_sum(const struct interest *i);        /* as counted; O(patterns) */
/* What of own_mem and of mem is its own. */
void interest_owned(const struct interest *i, size_t *ret_own_mem, size_t *ret_mem);

#endif
