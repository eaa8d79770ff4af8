/* The subscribers of a topic: a trie over the segments of patterns. The time to find them depends on the topic's segments and
 * on the matches, not on the number of subscriptions. */
#ifndef PUBSUB_TOPIC_INDEX_H
#define PUBSUB_TOPIC_INDEX_H

#include "base/list.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/slice.h"
#include "base/turns.h"

struct topic_index;
struct topic_sub; /* one (subscriber, pattern) */
/* Those who subscribed to a key of wire/group.h, a pattern with the segment `#NAME` behind it: of them each message goes to
 * one.
 */
struct topic_group;

/* Embedded in the owner's session; must stay where it is until topic_index_drop. One that gets more than TOPIC_APART patterns
 * is represented in the index by another one, on the heap, which can stay longer than its owner. */
struct topic_subscriber {
  uint64_t session;
  void *user;
  struct list subs;                       /* new ones at the end; of one that is represented: none */
  struct topic_subscriber *apart, *owner; /* who represents it; whom it represents */
  uint32_t count;
  bool left;                         /* its owner is gone: it is found no more */
  uint32_t *shared;                  /* counted along with `count`, for several subscribers together; NULL: nowhere */
  uint32_t flags;                    /* after a match: OR of the flags of its matching patterns */
  struct topic_subscriber *next_hit; /* after a match: the next of the chain */
  uint64_t mark;                     /* number of the match that found it last */
};

#define TOPIC_APART 1000u
#define TOPIC_OWN 1u     /* gets its own messages, too */
#define TOPIC_QOS1 2u    /* wants QoS 1 */
#define TOPIC_OF_NODE 4u /* begins with com.macula, which topics of nodes match alone */

struct topic_index_stats {
  uint32_t subscriptions, max;
  uint32_t leaving; /* subscriptions of those that have gone, among them */
  uint32_t nodes;   /* of the trie, the root not counted */
  uint64_t refused;
};

/* MACULA_ENOMEM. max: subscriptions in all; per_subscriber: of one. */
int topic_index_new(struct mem *mem, struct rng rng, uint32_t max, uint32_t per_subscriber, struct topic_index **ret_index);
/* Accepts NULL. Subscribers' lists are emptied. */
void topic_index_free(struct topic_index *ix);
void topic_subscriber_init(struct topic_subscriber *s, uint64_t session, void *user);

/* pattern: stored form (wire/names.h). Idempotent per (subscriber, pattern): the flags are replaced and *ret_new is false.
 * MACULA_MAX_SUBSCRIPTIONS_REACHED, MACULA_ENOMEM: nothing changed. */
int topic_index_subscribe(struct topic_index *ix, struct topic_subscriber *s, struct slice pattern, uint32_t flags,
                          bool *ret_new);
/* The flags of a subscription; 0: there is none, or none are set. */
uint32_t topic_index_flags(const struct topic_index *ix, const struct topic_subscriber *s, struct slice pattern);
bool topic_index_has(const struct topic_index *ix, const struct topic_subscriber *s, struct slice pattern);
/* MACULA_ENOTFOUND */
int topic_index_unsubscribe(struct topic_index *ix, struct topic_subscriber *s, struct slice pattern);
/* Ends all subscriptions of a subscriber; harmless when repeated. Returns how many there were. Those of one that is represented
 * match no more, and are removed by topic_index_step and as others subscribe, so that none is refused for want of their room.
 */
uint32_t topic_index_drop(struct topic_index *ix, struct topic_subscriber *s);
/* Told of each pattern that is removed because its subscriber was dropped; it must not use the index. */
void topic_index_on_gone(struct topic_index *ix, void (*gone)(void *ctx, struct slice pattern), void *ctx);
bool topic_index_is_leaving(const struct topic_index *ix); /* there is something to do for topic_index_step */
void topic_index_step(struct topic_index *ix, const struct spent *spent);
/* Those that were dropped and still have subscriptions: the first after NULL. */
const struct topic_subscriber *topic_index_left(const struct topic_index *ix, const struct topic_subscriber *prev);
/* topic: stored form. The subscribers with a matching pattern, each once, chained by next_hit with flags set; NULL if none.
 * Valid until the next call of topic_index_*: nothing of the index may change while the chain is walked. Allocates nothing.
 * *left: how many pairs of trie node and position the match may visit, four further patterns of one subscriber being as much;
 * those that it visited are subtracted. If 0 is left, the match was given up and NULL is returned. The limit is needed because
 * clients can choose patterns that one topic visits all of. */
struct topic_subscriber *topic_index_match_within(struct topic_index *ix, struct slice topic, uint32_t *left);
/* The same in steps: patterns that more than TOPIC_MANY share are left aside, as many as TOPIC_ASIDE (*ret_more: there are
 * some), and topic_index_match_more goes on with those. Of `own` it finds only subscriptions with TOPIC_OWN (NULL: nobody's),
 * and of all only those with one of these flags (0: any). */
#define TOPIC_MANY 64u
#define TOPIC_ASIDE 64u
struct topic_want {
  const void *own; /* topic_subscriber.user */
  uint32_t flags;
};
struct topic_subscriber *topic_index_match_first(struct topic_index *ix, struct slice topic, const struct topic_want *want,
                                                 uint32_t *left, bool *ret_more);
/* The next subscriber, once for each as before, if it is found within so many subscriptions, which are subtracted from *steps;
 * NULL: none is, or (*steps is not 0) there is none. Subscriptions may come and go between two calls, those that come are not
 * found; another match ends this one. */
struct topic_subscriber *topic_index_match_more(struct topic_index *ix, uint32_t *steps);
/* As if that match had found it; false: it had. topic_index_match_omit: as if it had not yet. */
bool topic_index_match_add(struct topic_index *ix, struct topic_subscriber *s);
static inline void topic_index_match_omit(struct topic_subscriber *hit) { hit->mark = 0; }
/* The groups whose pattern the topic of the last match has matched, chained by topic_group_next; none where that was given up.
 * Valid as the subscribers are. *topic_group_find: by its key; NULL: it has no members. */
struct topic_group *topic_index_groups(const struct topic_index *ix);
struct topic_group *topic_group_next(const struct topic_group *g);
struct topic_group *topic_group_find(const struct topic_index *ix, struct slice key);
size_t topic_group_key(const struct topic_group *g, char *ret_key); /* as topic_sub_pattern */
/* Its members, from the one whose turn it is: the first after NULL, each once, NULL at the end. */
struct topic_sub *topic_group_member(const struct topic_group *g, const struct topic_sub *prev);
struct topic_subscriber *topic_sub_subscriber(const struct topic_sub *sub);
/* It was chosen: the turn is that of the next one. */
void topic_group_took(struct topic_group *g, const struct topic_sub *sub);
/* Iteration over one subscriber's subscriptions: the first after NULL. */
const struct topic_sub *topic_sub_next(const struct topic_subscriber *s, const struct topic_sub *prev);
/* The first one goes behind the others: for walks that are interrupted, as new ones are put at the end. */
void topic_sub_rotate(struct topic_subscriber *s);
/* Writes the pattern, NUL-terminated (buffer of NAME_MAX_LEN + 1); returns its length. */
size_t topic_sub_pattern(const struct topic_sub *sub, char *ret_pattern);
uint32_t topic_sub_flags(const struct topic_sub *sub);
void topic_index_stats(const struct topic_index *ix, struct topic_index_stats *ret_stats);
void topic_index_set_max(struct topic_index *ix, uint32_t max, uint32_t per_subscriber);

/* Lists of subscribers included. O(nodes and subscriptions). */
const char *topic_index_check(const struct topic_index *ix);
size_t topic_index_owned(const struct topic_index *ix); /* bytes of the account that the index holds */

#endif
