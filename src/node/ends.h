/* What goes with whom: all that the end of a session or of another node means to the rooms above it, in one place. */
#ifndef NODE_ENDS_H
#define NODE_ENDS_H

#include "node/state.h"

/* Acknowledges nothing although calls are pending: they are not waited for. */
void session_silent(struct session *s);
bool session_has_calls(const struct session *s);
void watches_sweep(struct node *n); /* every SWEEP_EVERY */

#endif
