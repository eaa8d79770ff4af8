/* What the node lost or refused, as a list for people: what, how often, and which key of the configuration raises the limit. */
#ifndef NODE_VIEW_LOST_H
#define NODE_VIEW_LOST_H

#include <jansson.h>

struct node;

/* [{"name", "what", "count", "key"}, ...] without what never happened; key: names separated by blanks, "" for none. NULL: no
 * memory. */
json_t *lost_json(struct node *n);

#endif
