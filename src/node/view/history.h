/* What the node was like in the last hour: a ring of samples of 1 s and one of 10 s. It is made with the first sample, and is
 * all that there ever is. */
#ifndef NODE_VIEW_HISTORY_H
#define NODE_VIEW_HISTORY_H

#include "node/state.h"

/* {"step_s":N, "times":[Unix seconds], "series":{"NAME":[...]}} of the last hour, or of the last minute: HISTORY_RATES and
 * HISTORY_LEVELS by their names, and memory.ROW of each row of memory; null where there was nothing to measure. Samples
 * may lie further apart than step_s: a node that stood still took none. For node_text_free. MACULA_ENOMEM. */
int history_render(const struct node *n, bool hour, char **ret_json);
const char *history_check(const struct history *h); /* base/check.h; O(1). NULL is fine */

#endif
