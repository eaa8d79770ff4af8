/* Questions of operators about another node: `node` in the arguments of com.macula.node.*. The node that is asked judges
 * whether an operator asks, passes the question on as a CALL over its link or through a relay, and the answer back as it came.
 * The other node answers what comes from a node, which is a proved role; so it trusts that node to have judged its operator. */
#ifndef NODE_VIEW_FAR_H
#define NODE_VIEW_FAR_H

#include "node/state.h"

/* Whether the question is about another node; if so it will be answered. */
bool far_call(struct session *s, const struct msg_call *m, struct slice what);
/* A CALL of a node: whether it is a question; if so it was answered. */
bool far_asked(struct peer *p, const struct msg_call *m);
/* Whether this REPLY is to a question of ours, also one that has ended. */
bool far_replied(struct peer *p, const struct msg_reply *m);
/* Likewise, that this CALL could not be carried on to the peer. */
bool far_not_routed(struct peer *p, struct slice payload);

#endif
