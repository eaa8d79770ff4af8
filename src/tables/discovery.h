/* Discovery cache: procedure -> the nodes that provide it, as the last lookup found them. Bounded; least recently used out.
 *
 *   absent -- look --> LOOKING -- found, none, failed --> KNOWN (nodes for ttl; none for negative_ttl) -- TTL --> FADED -- TTL
 * --> absent
 *                        ^------------------------------- look ------------------------------------------------------+
 * Reading renews an entry's place, never its time. What is being looked up is never evicted; calls wait in it. A faded entry
 * holds no nodes, only the counter of round_robin, so that turns go on over a refresh. */
#ifndef TABLES_DISCOVERY_H
#define TABLES_DISCOVERY_H

#include "base/addr.h"
#include "base/list.h"
#include "base/slice.h"
#include "bounded/heap.h"
#include "bounded/htab.h"

#define DISCOVERY_NODES 32 /* most of an entry */

struct remote_node {
  struct id id;
  struct addr addr;  /* sa_family 0: cannot be dialled */
  struct id gateway; /* then: the node that it stays connected to; all zero: none */
  uint64_t seq;      /* of its record */
};

struct discovery_entry {
  struct hlink h;
  struct list age;      /* of discovery.order; alone while looking */
  struct heap_link due; /* when what is known ends */
  struct list waiting;  /* links of those who wait for the lookup: their owner's */
  struct remote_node *v;
  uint32_t count; /* of v; 0 with known: nobody provides it */
  bool known;     /* not faded, and looked up with an answer */
  bool looking;
  nanotime since;       /* of what is known */
  nanotime asked;       /* discovery_ask_again said yes, or since */
  uint64_t refresh;     /* ns from one such moment to the next */
  uint64_t round_robin; /* counter of that strategy, kept over refreshes */
  uint8_t len;
  char name[]; /* stored form, NUL-terminated */
};

struct discovery {
  struct htab tab;
  struct heap due;
  struct list order; /* least recently used first */
  struct mem *mem;
  uint64_t ttl, negative_ttl, refresh_min; /* ns */
  uint32_t looking;
  uint64_t hits, misses, expiries, evictions, refused;
};

/* max: entries. */
void discovery_init(struct discovery *d, struct mem *mem, struct rng rng, uint32_t max, uint64_t ttl, uint64_t negative_ttl);
void discovery_done(struct discovery *d); /* nobody may wait any more */
/* What is known and not older than its TTL, else NULL; force: always NULL. Counts a hit or a miss. */
struct discovery_entry *discovery_get(struct discovery *d, struct slice name, bool force, nanotime now);
/* As discovery_get without counting and without renewing its place. */
struct discovery_entry *discovery_peek(const struct discovery *d, struct slice name, nanotime now);
/* The entry whatever its state, NULL if there is none. */
struct discovery_entry *discovery_find(const struct discovery *d, struct slice name);
/* Whether one that is in use should be looked up again meanwhile, so that new nodes are heard of and gone ones forgotten before
 * its TTL: 1 s after it became known, then after twice as long each time, up to half the TTL. Says yes once each time. */
bool discovery_ask_again(struct discovery_entry *e, nanotime now);
/* Marks the entry as being looked up, making it if need be. What it knows stays. MACULA_EFULL (all others are being looked up,
 * too: counted as refused), MACULA_ENOMEM, MACULA_EINVAL (length of name). */
int discovery_look(struct discovery *d, struct slice name, nanotime now, struct discovery_entry **ret_entry);
/* The answer of a lookup, or what is known from elsewhere: the first DISCOVERY_NODES of v in their order, none of them meaning
 * that nobody provides it. The lookup is over. MACULA_ENOMEM: over, and known as before. */
int discovery_found(struct discovery *d, struct discovery_entry *e, const struct remote_node *v, size_t n, nanotime now);
/* The lookup is over without an answer: what was known stays. */
void discovery_failed(struct discovery *d, struct discovery_entry *e);
/* This node does not provide it, or cannot be reached. With the last one the entry fades. Whether it was there. */
bool discovery_remove(struct discovery *d, struct discovery_entry *e, const struct id *node, nanotime now);
/* From all entries: it is dead. Returns from how many. O(entries). */
uint32_t discovery_remove_node(struct discovery *d, const struct id *node, nanotime now);
nanotime discovery_deadline(const struct discovery *d);
/* Takes out what is due, or beyond a lowered limit. Returns how many known ones faded. */
uint32_t discovery_prune(struct discovery *d, nanotime now);
/* What is beyond it goes at once; what is being looked up stays until that is over (discovery_prune). */
void discovery_set_max(struct discovery *d, uint32_t max);
static inline uint32_t discovery_count(const struct discovery *d) { return d->tab.count; }

/* O(entries). */
const char *discovery_check(const struct discovery *d);
size_t discovery_owned(const struct discovery *d); /* what of its account is its own */

#endif
