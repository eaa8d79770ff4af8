/* Selects the provider for a call: among those connected here, or among the nodes that serve the procedure. */
#ifndef RPC_SELECT_H
#define RPC_SELECT_H

#include "tables/discovery.h"
#include "tables/services.h"
#include "wire/msg.h"

/* silent: among those that are silent (service_owner.silent, select_load.is_silent); else among those that are not. */
/* A provider whose session is not among the tried ones, NULL if none is left. near: the caller's id, for `closest` (XOR metric,
 * Maymounkov and Mazieres 2002). round_robin advances the service's counter; least_pending breaks ties in turn. */
struct provider *select_provider(struct service *s, enum strategy strategy, const struct id *near, const uint64_t *tried,
                                 size_t tried_count, bool silent, struct rng rng);
/* How many providers are not among the tried ones, at most SELECT_ENOUGH. */
#define SELECT_ENOUGH 4u /* more than a call is sent to */
uint32_t select_left(const struct service *s, const uint64_t *tried, size_t tried_count, bool silent);

struct select_load {                                               /* NULL instead: none is silent */
  uint32_t (*inflight)(void *ctx, const struct remote_node *node); /* calls in flight at a node */
  bool (*is_silent)(void *ctx, const struct remote_node *node);
  void *ctx;
};
/* The same for nodes, which are tried by id; the counter for round_robin is the entry's. */
const struct remote_node *select_node(struct discovery_entry *e, enum strategy strategy, const struct id *near,
                                      const struct id *tried, size_t tried_count, bool silent, struct rng rng,
                                      const struct select_load *load);
uint32_t select_nodes_left(const struct discovery_entry *e, const struct id *tried, size_t tried_count, bool silent,
                           const struct select_load *load);

#endif
