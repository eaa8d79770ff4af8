/* The last events of the node, as its log tells them, for operators who look later: com.macula.node.events and /api/events. */
#ifndef NODE_VIEW_RECENT_H
#define NODE_VIEW_RECENT_H

#include <jansson.h>

#include "node/state.h"

/* The event at this place, 0 is the newest; NULL: there are not so many. */
const struct recent_event *recent_at(const struct recent *r, size_t at);
/* {"n", "ms", "level", "event", "fields": {...}}; fields that were cut off are missing, or end there. */
json_t *recent_json(const struct recent_event *e);
void recent_done(struct node *n);
size_t recent_owned(const struct node *n);      /* bytes of the account that they take */
const char *recent_check(const struct node *n); /* base/check.h */

#endif
