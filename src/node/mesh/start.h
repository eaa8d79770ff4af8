/* A node that has just started knows neither what the clients of other nodes listen to nor what they serve. Until it does, or
 * NODE_START_TIME is over, publishes of clients stay unread, calls that need a lookup wait for it, and the node is not ready.
 */
#ifndef NODE_MESH_START_H
#define NODE_MESH_START_H

#include "node/state.h"

void start_await(struct node *n);   /* there are nodes to be heard */
bool start_is_over(struct node *n); /* once a turn while mesh.starting; true: it was set to false now */
nanotime start_deadline(const struct node *n);

#endif
