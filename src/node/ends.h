/* What the end of a session or of another node means to the rooms above it, all in one place. */
#ifndef NODE_ENDS_H
#define NODE_ENDS_H

#include "node/state.h"

/* The peer acknowledges nothing although calls are pending: these are no longer waited for. */
void session_silent(struct session *s);
void session_heard(struct session *s);
bool session_has_calls(const struct session *s);
void watches_sweep(struct node *n); /* every SWEEP_EVERY */

void client_is_in(struct session *s); /* it was let in, and is no link */

#endif
