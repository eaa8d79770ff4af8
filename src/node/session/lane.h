/* What waits in front of a session's door, in a queue for each lane.
 *
 *   lanes_write --- the door has room, nothing waits before it ---> door
 *        +--- else: item in its lane --- session_drained: control, then calls, then publishes --->+
 *
 * An empty lane is passed by, so a node without slow readers queues nothing here. What waits is a reference to a frame that all
 * it goes to share (of a small one the first copy stands in the queue itself); a publish keeps its receiver's own part with it,
 * so that it can still be dropped, counted, or paced. Within a lane order is kept, between lanes it is not. What is queued here
 * counts as queued for the session (client_queue, peer_queue) and is of the account of send queues.
 *
 * A lane is never full by itself: who writes asks first (parcel_fits, session_send). Without memory for an item the writer is
 * told MACULA_ENOMEM; when the door then refuses what has waited, which it does for want of memory only, a publish with QoS 0
 * is dropped and counted, and for anything else the session is cut, as for a queue that is full. */
#ifndef NODE_SESSION_LANE_H
#define NODE_SESSION_LANE_H

#include "node/session/parcel.h"

enum lane lane_of(uint8_t type); /* of a message */
void lanes_init(struct lanes *l);
/* By a way that carries the lane, or by another one past all lanes. MACULA_ENOMEM, or the errors of door_ops.write. */
int lanes_write(struct session *s, enum lane lane, int64_t way, struct parcel *p);
/* Hands over what the door has room for. */
void lanes_pump(struct session *s);
/* Nothing waits any more; the door is told by the caller, if it goes on. What waited is freed over the next turns. */
void lanes_clear(struct session *s);
void lanes_tick(struct node *n);          /* each turn */
bool lanes_are_due(const struct node *n); /* there is more to be freed */
void lanes_done(struct node *n);
/* Of one session, of all, and what of the account of send queues they own, of shared frames a part. O(items). */
const char *lanes_check(const struct session *s);
const char *filled_check(const struct node *n);
double lanes_owned(const struct node *n);

#endif
