/* The procedures that every node answers itself. */
#ifndef NODE_VIEW_ADMIN_H
#define NODE_VIEW_ADMIN_H

#include "node/state.h"

void admin_call(struct session *s, const struct msg_call *m, struct slice procedure);

#endif
