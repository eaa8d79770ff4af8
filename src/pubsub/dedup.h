/* QoS 1 de-duplication: which (node, publisher, instance, message_id) came within the window. The node is the one whose client
 * the publisher is, which vouches for the rest: so a node can silence only its own clients by ids that it makes up. When full,
 * the oldest entry is dropped. */
#ifndef PUBSUB_DEDUP_H
#define PUBSUB_DEDUP_H

#include "base/slice.h"
#include "base/time.h"
#include "base/turns.h"
#include "bounded/lru.h"

struct dedup_key {
  struct id node;
  struct id publisher;
  uint8_t instance[INSTANCE_LEN];
  uint8_t message_id[CALL_ID_LEN];
};

struct dedup {
  struct lru lru; /* in order of arrival; seeing an id again does not renew it */
  struct mem *mem;
  uint64_t window; /* ns */
  uint64_t duplicates;
  const struct spent *spent; /* NULL, unless set after dedup_init: then what expires does so in slices */
};

void dedup_init(struct dedup *d, struct mem *mem, struct rng rng, uint32_t max, uint64_t window);
void dedup_done(struct dedup *d);
/* Whether the key was added within the window; if so it is counted as a duplicate. */
bool dedup_seen(struct dedup *d, const struct dedup_key *key, nanotime now);
/* Remembers a key that dedup_seen does not know; the window begins now. MACULA_ENOMEM. */
int dedup_add(struct dedup *d, const struct dedup_key *key, nanotime now);
nanotime dedup_deadline(const struct dedup *d);
/* Forgets what is older than the window. */
void dedup_expire(struct dedup *d, nanotime now);
/* Sets the limits; entries beyond a lower max are dropped at once, the oldest first. */
void dedup_set_max(struct dedup *d, uint32_t max, uint64_t window);
static inline uint32_t dedup_count(const struct dedup *d) { return d->lru.tab.count; }

/* O(ids). */
const char *dedup_check(const struct dedup *d);
size_t dedup_owned(const struct dedup *d); /* bytes of the account that it holds */

#endif
