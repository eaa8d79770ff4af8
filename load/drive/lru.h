/* A model of the pool of connections, to check the node against: the plainest least-recently-used there is, and nothing of the
 * node's own code. */
#ifndef LOAD_DRIVE_LRU_H
#define LOAD_DRIVE_LRU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct load_lru {
  size_t peers, max, count; /* count: connected */
  uint64_t *used;           /* by peer: when last, from 1; 0: not connected */
  uint64_t clock, evictions, dials;
};

/* peers: numbered from 0; max: connections at most, above 0. False: no memory. */
bool load_lru_init(struct load_lru *m, size_t peers, size_t max);
void load_lru_done(struct load_lru *m);
/* A request to a peer: true if it has to be dialled, which may evict another. */
bool load_lru_use(struct load_lru *m, size_t peer);
static inline bool load_lru_has(const struct load_lru *m, size_t peer) { return m->used[peer] != 0; }

#endif
