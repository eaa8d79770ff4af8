/* Who may ask: the name by which the node is called, the page that asks, and who is asking. */
#ifndef DAEMON_HTTP_GUARD_H
#define DAEMON_HTTP_GUARD_H

#include "daemon/http/request.h"

/* Why nobody may ask in this way, or NULL; static text. host: of the absolute form of the request; "": none. Notes the page's
 * origin if it is one of http_origins. */
const char *http_judge_page(struct http_request *r, const char *host);

/* What somebody may do here. */
enum http_role { HTTP_NOBODY, HTTP_OPERATOR };
struct http_who {
  enum http_role role;
  unsigned status; /* nobody: 401 or 403, and */
  const char *why; /* what to do; static text */
};
/* The one place where it is said who is asking. */
struct http_who http_who(const struct http_request *r);

#endif
