/* Requests to other nodes for their retained messages, one for each new subscription: finds the subscription that an answer
 * belongs to, and sees to it that it gets each topic once, the newest message of all nodes. A request stays until no answer has
 * come for a while, so that nodes that are heard of meanwhile can be asked as well. When full, the oldest request is
 * dropped. */
#ifndef PUBSUB_GETS_H
#define PUBSUB_GETS_H

#include "base/list.h"
#include "base/slice.h"
#include "base/time.h"
#include "base/turns.h"
#include "bounded/htab.h"

struct gets_party { /* embedded in the owner's record of a subscriber */
  struct list all;
  void *user;
};

struct gets_node { /* embedded in the owner's record of a node that answers */
  struct list all; /* gets_source.of_node */
  void *user;
};

struct gets_source { /* a node that answers for one subscription */
  struct list of_get, of_node;
  struct list full; /* in gets.full, for the owner: the node waits until the subscriber has room */
  struct gets_node *who;
  void *to; /* the subscriber, gets_party.user */
  uint64_t number;
  size_t took; /* bytes that came from the node since it was last given room */
};

struct gets {
  struct htab tab;    /* by number */
  struct htab topics; /* topics that were delivered already, by (number, hash of the topic) */
  struct htab live;   /* topics of which messages went to all subscribers meanwhile, by the hash of the topic */
  struct list lived;  /* the same, the oldest first */
  struct list due;    /* requests, that with the oldest answer first */
  struct list full;   /* gets_source.full */
  struct mem *mem;
  uint64_t timeout, last, topic_key[2];
  void (*left)(void *node, uint64_t number, struct slice pattern); /* NULL: the owner has nothing to tell */
  uint64_t evicted;
  const struct spent *spent; /* NULL, unless set after gets_init: then what expires does so in slices */
};

/* max: outstanding at once; max_topics: topics remembered in all of them. timeout: ns since the last answer. */
void gets_init(struct gets *g, struct mem *mem, struct rng rng, uint32_t max, uint32_t max_topics, uint64_t timeout);
/* Sets the limits; requests beyond them are dropped at once, the oldest first. */
void gets_set_max(struct gets *g, uint32_t max, uint32_t max_topics);
void gets_done(struct gets *g); /* all of it; parties stay the owner's */
void gets_party_init(struct gets_party *p, void *user);
void gets_node_init(struct gets_node *who, void *user);

/* MACULA_ENOMEM */
int gets_begin(struct gets *g, struct gets_party *to, struct slice pattern, nanotime now, uint64_t *ret_number);
/* Iteration: the number after this one (0: the first) and its pattern, a view until it ends; 0: none. Nothing may change
 * meanwhile. */
uint64_t gets_next(const struct gets *g, uint64_t number, struct slice *ret_pattern);
/* An answer came. Returns the subscriber that gets the message; NULL: the subscription has ended, already had a message of this
 * topic that is as new, or does not match the topic. ms: when the publisher's node accepted the message. */
void *gets_answer(struct gets *g, uint64_t number, struct slice topic, uint64_t ms, nanotime now);
/* A retained message came to all subscribers of its topic at once, as it was published, or the topic was cleared: requests that
 * are there now want no answer that is as old. ms: as above. Remembered for a quarter as many topics as gets_init says; beyond
 * that, and without memory, somebody may get a message twice. */
void gets_live(struct gets *g, struct slice topic, uint64_t ms);
/* Counts n bytes of an answer. NULL: nobody waits for more, or there is no memory. Valid until the subscription ends here or
 * gets_node_gone. */
struct gets_source *gets_took(struct gets *g, uint64_t number, struct gets_node *who, size_t n);
struct slice gets_pattern(const struct gets *g, uint64_t number); /* empty: unknown */
/* The node will not answer any more. Harmless when repeated; O(subscriptions that it answered for). */
void gets_node_gone(struct gets *g, struct gets_node *who);
/* The subscription is gone. */
void gets_stop(struct gets *g, struct gets_party *to, struct slice pattern);
void gets_party_gone(struct gets *g, struct gets_party *to);
nanotime gets_deadline(const struct gets *g);
void gets_expire(struct gets *g, nanotime now);
static inline uint32_t gets_count(const struct gets *g) { return g->tab.count; }

/* Lists of subscribers and of nodes included. O(subscriptions, topics and sources). */
const char *gets_check(const struct gets *g);
size_t gets_owned(const struct gets *g); /* bytes of the account that requests hold */

#endif
