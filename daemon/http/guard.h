/* Who may ask at all: the name by which the node is called, and the page that asks. Who it is: who.h. */
#ifndef DAEMON_HTTP_GUARD_H
#define DAEMON_HTTP_GUARD_H

#include "daemon/http/request.h"

/* Why nobody may ask in this way, or NULL; static text. host: of the absolute form of the request; "": none. Notes the page's
 * origin if it is one of http_origins. */
const char *http_judge_page(struct http_request *r, const char *host);

#endif
