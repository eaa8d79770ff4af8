/* Sessions of MQTT across nodes: a client has one, at the node to which it connected last.
 *
 * A node tells all others (CLAIM) of each session that is new there, or whose client has connected again, with the time, and of
 * all that it has when there is a path to a node again. Whoever holds an older one of the same principal and client id ends it,
 * with what waits in it; whoever holds a newer one says so. CONNACK waits for none of that. */
#ifndef NODE_CLAIMS_H
#define NODE_CLAIMS_H

#include "node/state.h"
#include "wire/msg.h"

void claims_step(struct node *n); /* once a turn: what other nodes have not been told */
void claims_heard(struct peer *p, const struct msg_claim *m);

#endif
