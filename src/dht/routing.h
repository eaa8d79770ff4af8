/* The routing table: 256 buckets of k contacts by the length of the prefix shared with our own id, the longest unheard first,
 * and for each bucket a replacement cache (Maymounkov and Mazieres 2002, 2.2 and 4.1). A contact that answers is never
 * replaced. */
#ifndef DHT_ROUTING_H
#define DHT_ROUTING_H

#include "base/mem.h"
#include "base/time.h"
#include "dht/dht.h"

#define ROUTING_BUCKETS 256
#define ROUTING_CACHE 8
#define ROUTING_STALE                                                                                                          \
  2                    /* failures in a row from which a contact is no longer told to others, and is replaced by a cached one  \
                        */
#define ROUTING_DEAD 5 /* failures in a row after which it is removed even without a replacement */

struct routing_contact {
  struct dht_contact c;
  nanotime seen;
  uint8_t fails;
};
struct routing_bucket {
  uint8_t count, cached;
  bool pinging;                                /* a ping to its oldest contact is under way */
  nanotime pinged;                             /* when a contact of it was last pinged */
  nanotime touched;                            /* last lookup in its range */
  struct routing_contact v[DHT_K];             /* longest unheard first */
  struct routing_contact cache[ROUTING_CACHE]; /* newest last */
};
struct routing {
  struct mem *mem;
  struct id self;
  uint32_t per_address; /* contacts with one IP address (IPv6: /64), cached ones included */
  uint32_t count;       /* without cached ones */
  struct routing_bucket *b[ROUTING_BUCKETS];
  uint64_t evicted, refused;
};

/* ADDED: new in its bucket; CACHED: new in the replacement cache. */
enum routing_seen { ROUTING_REFUSED, ROUTING_KNOWN, ROUTING_ADDED, ROUTING_CACHED };

void routing_init(struct routing *t, struct mem *mem, const struct id *self, uint32_t per_address);
void routing_done(struct routing *t);
/* A contact was heard. *ret_ping is the contact to ping next, if *ret_want_ping. */
enum routing_seen routing_seen(struct routing *t, const struct dht_contact *c, nanotime now, struct dht_contact *ret_ping,
                               bool *ret_want_ping);
/* The contact did not answer. May also ask for a ping. */
void routing_failed(struct routing *t, const struct id *id, nanotime now, struct dht_contact *ret_ping, bool *ret_want_ping);
void routing_gone(struct routing *t, const struct id *id);
const struct routing_contact *routing_find(const struct routing *t, const struct id *id);
/* The contacts nearest to target that have failed less than max_fails times in a row, nearest first, without `except` (may be
 * NULL). */
size_t routing_closest(const struct routing *t, const struct id *target, const struct id *except, unsigned max_fails,
                       size_t max, struct dht_contact *ret_contacts);
/* Whether fewer than k contacts are nearer to the target than we are. */
bool routing_is_holder(const struct routing *t, const struct id *target);
void routing_touch(struct routing *t, const struct id *target, nanotime now);

/* O(contacts x k). */
const char *routing_check(const struct routing *t);

#endif
