/* Selects the provider for a call: among those connected here, or among the nodes that serve the procedure. */
#ifndef RPC_SELECT_H
#define RPC_SELECT_H

#include "tables/discovery.h"
#include "tables/services.h"
#include "wire/msg.h"

/* A provider whose session is not among the tried ones, NULL if none is left. near: the caller's id, for `closest` (XOR metric,
 * Maymounkov and Mazieres 2002). round_robin advances the service's counter; least_pending breaks ties in turn. */
struct provider *select_provider(struct service *s, enum strategy strategy, const struct id *near, const uint64_t *tried,
                                 size_t tried_count, struct rng rng);
/* How many providers are not among the tried ones. O(tried x providers), cheap for few. */
uint32_t select_left(const struct service *s, const uint64_t *tried, size_t tried_count);

/* Calls in flight at a node. */
struct select_load {
  uint32_t (*inflight)(void *ctx, const struct remote_node *node);
  void *ctx;
};
/* The same for nodes, which are tried by id; the counter for round_robin is the entry's. */
const struct remote_node *select_node(struct discovery_entry *e, enum strategy strategy, const struct id *near,
                                      const struct id *tried, size_t tried_count, struct rng rng,
                                      const struct select_load *load);
uint32_t select_nodes_left(const struct discovery_entry *e, const struct id *tried, size_t tried_count);

#endif
