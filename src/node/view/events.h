/* What operators hear of clients: com.macula.event.client.connected and .ended, as JSON. */
#ifndef NODE_VIEW_EVENTS_H
#define NODE_VIEW_EVENTS_H

#include "node/state.h"

#define EVENT_CONNECTED "com.macula.event.client.connected"
#define EVENT_ENDED "com.macula.event.client.ended"

/* malloc'ed by jansson's functions, for events_free; NULL: no memory. reason: why the client ended; NULL: it has connected. */
char *events_of_client(const struct session *s, const char *reason);
void events_free(char *json);

#endif
