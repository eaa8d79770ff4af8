/* Who is asking: by a password (Basic), a token (Bearer), a cookie, or as nobody else than somebody at an address. */
#ifndef DAEMON_HTTP_WHO_H
#define DAEMON_HTTP_WHO_H

#include "daemon/http/request.h"

#define HTTP_TOKEN_IS_FOR_API "http_token is for /api: here a user of the access file, or a token with door: http, is needed"

/* What a request shows. */
struct http_shown {
  struct http_login login;
  bool operator;         /* by http_token, or a cookie that says so without the node's word */
  bool cookie;           /* it is a cookie's */
  char *user, *password; /* libmicrohttpd's; NULL: none */
  uint8_t digest[32];
};
struct http_refusal {
  unsigned status;
  const char *text; /* static */
};
/* False: *ret_why, and nothing to free. */
bool http_shown_read(const struct http_request *r, struct http_shown *ret, struct http_refusal *ret_why);
void http_shown_done(struct http_shown *s); /* wipes it */

/* Finds out who asks, and whether in the role that the route needs: r->role, r->client. MHD_YES: r->answered says whether that
 * is known now; else it is suspended until it is. What is refused was answered (*ret_refused). */
enum MHD_Result http_who_begin(struct http_request *r, bool *ret_refused);
/* After that: true, or *ret_answer, as it was refused. */
bool http_who_end(struct http_request *r, enum MHD_Result *ret_answer);
void http_who_over(struct http_request *r); /* the request has ended */

#endif
