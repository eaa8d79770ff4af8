/* The routing table: 256 buckets of k contacts by the length of the prefix shared with our own id, the longest unheard first,
 * and beside each bucket a replacement cache (Maymounkov and Mazieres 2002, 2.2 and 4.1). A contact that answers is never
 * replaced. */
#ifndef DHT_TABLE_H
#define DHT_TABLE_H

#include "base/mem.h"
#include "base/time.h"
#include "dht/dht.h"

#define TABLE_BUCKETS 256
#define TABLE_CACHE 8
#define TABLE_STALE                                                                                                            \
  2                  /* failures in a row from which a contact is no longer told to others, and is replaced by a cached one    \
                      */
#define TABLE_DEAD 5 /* from which it goes without a replacement */

struct table_contact {
  struct dht_contact c;
  nanotime seen;
  uint8_t fails;
};
struct table_bucket {
  uint8_t count, cached;
  bool pinging;                            /* the oldest has been asked whether it is alive */
  nanotime touched;                        /* last lookup in its range */
  struct table_contact v[DHT_K];           /* longest unheard first */
  struct table_contact cache[TABLE_CACHE]; /* newest last */
};
struct table {
  struct mem *mem;
  struct id self;
  uint32_t per_address; /* contacts with one IP address (IPv6: /64), cached ones included */
  uint32_t count;       /* without cached ones */
  struct table_bucket *b[TABLE_BUCKETS];
  uint64_t evicted, refused;
};

/* ADDED: new in its bucket; CACHED: new in the replacement cache. */
enum table_seen { TABLE_REFUSED, TABLE_KNOWN, TABLE_ADDED, TABLE_CACHED };

void table_init(struct table *t, struct mem *mem, const struct id *self, uint32_t per_address);
void table_done(struct table *t);
/* A contact was heard. *ret_ping is the contact to ping next, if *ret_want_ping. */
enum table_seen table_seen(struct table *t, const struct dht_contact *c, nanotime now, struct dht_contact *ret_ping,
                           bool *ret_want_ping);
/* It did not answer. May want a ping too. */
void table_failed(struct table *t, const struct id *id, nanotime now, struct dht_contact *ret_ping, bool *ret_want_ping);
void table_gone(struct table *t, const struct id *id);
const struct table_contact *table_find(const struct table *t, const struct id *id);
/* The nearest to target with fewer than max_fails failures in a row, nearest first, without `except` (may be NULL). */
size_t table_closest(const struct table *t, const struct id *target, const struct id *except, unsigned max_fails, size_t max,
                     struct dht_contact *ret_contacts);
/* Whether fewer than k contacts are nearer to the target than we are. */
bool table_is_holder(const struct table *t, const struct id *target);
void table_touch(struct table *t, const struct id *target, nanotime now);

#endif
