/* The node's turn (turn.c), for the files beside it. */
#ifndef NODE_TURN_H
#define NODE_TURN_H

#include "node/state.h"

#define NODE_SWEEPS 10 /* parts of what is done every SWEEP_EVERY */

static inline void node_set_now(struct node *n, nanotime now) {
  if (now > n->now) n->now = now;
}
/* Ends the doomed sessions and lets paused publishers go on when the pool has room. Must be called only when no list is being
 * walked, as sessions are removed from lists. */
void node_settle(struct node *n);

#endif
