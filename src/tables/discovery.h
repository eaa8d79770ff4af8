/* Discovery cache: procedure -> the nodes that provide it, as the last lookup found them. Bounded; least recently used out.
 *
 *   absent -- look --> LOOKING -- found, none, failed --> KNOWN (nodes for ttl; none for negative_ttl) -- TTL --> FADED -- TTL
 * --> absent
 *                        ^------------------------------- look ------------------------------------------------------+
 * Reading an entry renews its place in the order of use, never its TTL. An entry that is being looked up is never evicted, as
 * calls wait in it. A faded entry holds no nodes, only the counter of round_robin, so that the turns go on after the next
 * lookup. */
#ifndef TABLES_DISCOVERY_H
#define TABLES_DISCOVERY_H

#include "base/addr.h"
#include "base/list.h"
#include "base/slice.h"
#include "bounded/heap.h"
#include "bounded/htab.h"

#define DISCOVERY_NODES 32 /* the most nodes of an entry */

struct remote_node {
  struct id id;
  struct addr addr;  /* sa_family 0: cannot be dialled */
  struct id gateway; /* if it cannot be dialled: the node that it stays connected to; all zero: none */
  uint64_t seq;      /* of its record */
};

struct discovery_entry {
  struct hlink h;
  struct list age;      /* of discovery.order; alone while looking */
  struct heap_link due; /* when the known nodes expire */
  struct list waiting;  /* links of the calls that wait for the lookup; they belong to the owner */
  struct remote_node *v;
  uint32_t count; /* nodes in v; 0 while `known`: nobody serves the procedure */
  bool known;     /* a lookup had an answer, and the entry has not faded since */
  bool looking;
  nanotime since;       /* when the nodes became known */
  nanotime asked;       /* when discovery_ask_again last returned true; at first, `since` */
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
void discovery_done(struct discovery *d); /* no call may wait in it any more */
/* The entry if it is known and within its TTL, else NULL; force: always NULL. Counts a hit or a miss. */
struct discovery_entry *discovery_get(struct discovery *d, struct slice name, bool force, nanotime now);
/* As discovery_get without counting and without renewing its place. */
struct discovery_entry *discovery_peek(const struct discovery *d, struct slice name, nanotime now);
/* The entry whatever its state, NULL if there is none. */
struct discovery_entry *discovery_find(const struct discovery *d, struct slice name);
/* Whether an entry in use should be looked up again before its TTL, so that new nodes are found and those that have gone are
 * forgotten: 1 s after it became known, then after twice as long each time, up to half the TTL. Returns true once each time. */
bool discovery_ask_again(struct discovery_entry *e, nanotime now);
/* Marks the entry as being looked up, and creates it if need be. Its nodes stay. MACULA_EFULL (all other entries are being
 * looked up as well; counted as refused), MACULA_ENOMEM, MACULA_EINVAL (length of name). */
int discovery_look(struct discovery *d, struct slice name, nanotime now, struct discovery_entry **ret_entry);
/* Sets the nodes that a lookup found, or that are known otherwise: the first DISCOVERY_NODES of v, in this order; n 0: nobody
 * serves the procedure. Ends the lookup. MACULA_ENOMEM: the lookup is over, and the nodes are as before. */
int discovery_found(struct discovery *d, struct discovery_entry *e, const struct remote_node *v, size_t n, nanotime now);
/* The lookup ended without an answer: the entry's nodes stay as they were. */
void discovery_failed(struct discovery *d, struct discovery_entry *e);
/* Removes a node that does not serve the procedure or cannot be reached. When the last one is removed the entry fades. Returns
 * whether the node was there. */
bool discovery_remove(struct discovery *d, struct discovery_entry *e, const struct id *node, nanotime now);
/* Removes a dead node from all entries. Returns from how many. O(entries). */
uint32_t discovery_remove_node(struct discovery *d, const struct id *node, nanotime now);
nanotime discovery_deadline(const struct discovery *d);
/* Lets entries fade whose TTL is over, removes faded ones and those beyond a lowered limit. Returns how many known ones
 * faded. */
uint32_t discovery_prune(struct discovery *d, nanotime now);
/* Entries beyond the limit are removed at once, except those that are being looked up: discovery_prune removes these later. */
void discovery_set_max(struct discovery *d, uint32_t max);
static inline uint32_t discovery_count(const struct discovery *d) { return d->tab.count; }

/* O(entries). */
const char *discovery_check(const struct discovery *d);
size_t discovery_owned(const struct discovery *d); /* bytes of the account that the cache holds */

#endif
