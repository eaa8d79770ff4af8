/* The MQTT door: clients of MQTT 3.1.1 and 5.0, over streams that others carry. It translates: each MQTT session has a session
 * of the node, to which it speaks native frames, so that all that holds for native clients holds for these. */
#ifndef NODE_DOORS_MQTT_H
#define NODE_DOORS_MQTT_H

#include "base/principal.h"
#include "node/node.h"

void mqtt_door_step(struct node *n); /* what was left for the turn */
nanotime mqtt_door_deadline(const struct node *n);
/* Ends all of it, its connections first. */
void mqtt_door_free(struct node *n);
void mqtt_door_set_limits(struct node *n);
/* Sessions, which are claimed, as another node may have an older one of the same client. */
struct mqtt_claim {
  struct principal_name principal; /* a key, a user, or anonymous; views */
  const char *client;
  uint64_t ms;     /* when the client connected last, Unix ms */
  uint64_t number; /* rises with each that is new or whose client has connected again */
};
/* Those with a number above `after`, in their order, until `tell` returns false. O(those, and what comes behind). */
void mqtt_claims_after(const struct node *n, uint64_t after, bool (*tell)(void *ctx, const struct mqtt_claim *c), void *ctx);
uint64_t mqtt_claim_last(const struct node *n); /* the number of the latest */
/* Another node has this client's session since `ms`, by our clock: one that is older here ends, with its queue. False: ours is
 * newer. */
bool mqtt_claimed(struct node *n, const struct principal_name *principal, struct slice client, uint64_t ms);
/* O(clients and what they hold); base/check.h. */
const char *mqtt_door_check(const struct node *n);
/* Bytes of the send queues' account that its waiting frames hold; of a shared frame, their part. */
double mqtt_door_frames_owned(const struct node *n);

#endif
