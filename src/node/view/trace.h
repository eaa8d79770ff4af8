/* What becomes of a topic: the topics of which most is published, and of one topic who would hear it from here, by which links,
 * and what of it was lost here lately, and why. */
#ifndef NODE_VIEW_TRACE_H
#define NODE_VIEW_TRACE_H

#include <jansson.h>

#include "node/state.h"

/* Rows of the list "topics" from offset on, at most limit; *ret_total: of all. NULL: no memory. */
json_t *trace_topics(const struct node *n, size_t offset, size_t limit, size_t *ret_total);
/* com.macula.node.trace: args {"topic": TOPIC, "offset": N, "limit": N} of the clients that would hear it. JSON for
 * node_text_free. MACULA_INVALID_TOPIC and *ret_text, MACULA_RATE_LIMITED, MACULA_ENOMEM. */
int trace_topic(struct node *n, struct slice args, const char **ret_text, char **ret_json);

#endif
