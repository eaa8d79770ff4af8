/* The MQTT door: clients of MQTT 3.1.1 and 5.0, over streams that others carry. It translates: each MQTT session has a session
 * of the node, to which it speaks native frames, so that all that holds for native clients holds for these. */
#ifndef NODE_DOORS_MQTT_H
#define NODE_DOORS_MQTT_H

#include "node/node.h"

void mqtt_door_step(struct node *n); /* what was left for the turn */
nanotime mqtt_door_deadline(const struct node *n);
/* Ends all of it, its connections first. */
void mqtt_door_free(struct node *n);
void mqtt_door_set_limits(struct node *n);
/* O(clients and what they hold); base/check.h. */
const char *mqtt_door_check(const struct node *n);
/* Bytes of the send queues' account that its waiting frames hold; of a shared frame, their part. */
double mqtt_door_frames_owned(const struct node *n);

#endif
