/* Which of a procedure's providers takes a call. */
#ifndef RPC_SELECT_H
#define RPC_SELECT_H

#include "tables/services.h"
#include "wire/msg.h"

/* A provider whose session is not among the tried ones, NULL if none is left. near: the caller's id, for `closest` (XOR metric,
 * Maymounkov and Mazieres 2002). round_robin advances the service's counter; least_pending breaks ties in turn. */
struct provider *select_provider(struct service *s, enum strategy strategy, const struct id *near, const uint64_t *tried,
                                 size_t tried_count, struct rng rng);
/* How many providers are not among the tried ones. O(tried x providers), cheap for few. */
uint32_t select_left(const struct service *s, const uint64_t *tried, size_t tried_count);

#endif
