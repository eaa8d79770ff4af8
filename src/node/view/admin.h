/* The procedures that every node answers itself. */
#ifndef NODE_VIEW_ADMIN_H
#define NODE_VIEW_ADMIN_H

#include "node/state.h"

#define ADMIN_NODE_PREFIX "com.macula.node."

void admin_call(struct session *s, const struct msg_call *m, struct slice procedure);
/* What this node says to com.macula.node.<what>, to whom that is due, in JSON for node_text_free. by: the session that asks,
 * which is not ended by it; NULL: it is no session of this node. MACULA_NO_SUCH_PROCEDURE, MACULA_ENOMEM, and what a command
 * says; *ret_text: about it, if there is more to say than the code does. */
int admin_answer(struct node *n, const struct session *by, enum asker_kind kind, struct slice what, struct slice args,
                 const char **ret_text, char **ret_json);
bool admin_changes(struct slice what);                    /* it is no question but changes something */
size_t admin_cost(struct slice what);                     /* before its answer is known, for cost_charge */
bool admin_strip(struct slice *name, const char *prefix); /* false: it does not begin so */

#endif
