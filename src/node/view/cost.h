/* What questions cost: whoever asks draws on a bucket of its own and on one of all of its kind, in rows of a list; the last
 * answer is on credit. */
#ifndef NODE_VIEW_COST_H
#define NODE_VIEW_COST_H

#include "node/state.h"

/* Whether so much can be asked now; else it is counted as refused. own: the asker's bucket. */
bool cost_affords(struct node *n, struct bucket *own, enum asker_kind kind);
void cost_charge(struct node *n, struct bucket *own, enum asker_kind kind, size_t cost);

static inline enum asker_kind cost_kind(const struct session *s) { return s->trusted ? ASKER_OPERATOR : ASKER_CLIENT; }

#endif
