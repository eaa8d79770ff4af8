/* Answers to requests. All are queued with libmicrohttpd at once. */
#ifndef DAEMON_HTTP_ANSWER_H
#define DAEMON_HTTP_ANSWER_H

#include "daemon/http/request.h"

/* Plain text, which is copied. */
enum MHD_Result http_answer(struct http_request *r, unsigned status, const char *text);
/* text: the node's (node_text_free) and taken, even on failure; or, with take false, copied. */
enum MHD_Result http_answer_with(struct http_request *r, unsigned status, const char *type, char *text, bool take);
/* The same for bytes, and with headers of the caller's that were added to a response before; takes it. */
enum MHD_Result http_answer_response(struct http_request *r, unsigned status, struct MHD_Response *response);
/* Counts and logs that it was refused. As JSON where the route says so; the error's name is what stands before a colon at the
 * text's beginning, or the usual one of the status. */
enum MHD_Result http_refuse(struct http_request *r, unsigned status, const char *text);
/* The same with the name; also a plain text names it. */
enum MHD_Result http_refuse_with(struct http_request *r, unsigned status, const char *code, const char *text);
/* JSON, neither counted nor logged: {"error": CODE, "message": TEXT}, and what `more` says: "" or ,"member":value. */
enum MHD_Result http_error(struct http_request *r, unsigned status, struct slice code, struct slice text, const char *more);
unsigned http_status_of(int err); /* which status an error has: docs/http.md */

#endif
