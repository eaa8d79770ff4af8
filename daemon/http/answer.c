#include "daemon/http/answer.h"

#include <string.h>

#include "daemon/http/state.h"

static void free_text(void *text) { node_text_free(text); }

enum MHD_Result http_answer_response(struct http_request *r, unsigned status, struct MHD_Response *response) {
  char allowed[64];
  const char *origin = r->visitor->origin;
  if (!response) return MHD_NO;
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
  if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
    MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, http_allowed(r->route->methods, allowed));
  if (status == MHD_HTTP_TOO_MANY_REQUESTS) MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
  if (origin) { /* the page's own script may read it */
    MHD_add_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    MHD_add_response_header(response, MHD_HTTP_HEADER_VARY, MHD_HTTP_HEADER_ORIGIN);
    MHD_add_response_header(response, "Access-Control-Allow-Headers", MHD_HTTP_HEADER_AUTHORIZATION);
  }
  if (status == MHD_HTTP_UNAUTHORIZED) MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
  enum MHD_Result ok = MHD_queue_response(r->c, status, response);
  MHD_destroy_response(response);
  return ok;
}

enum MHD_Result http_answer_with(struct http_request *r, unsigned status, const char *type, char *text, bool take) {
  struct MHD_Response *made = take ? MHD_create_response_from_buffer_with_free_callback(strlen(text), text, free_text)
                                   : MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY);
  if (!made) {
    if (take) free_text(text);
    return MHD_NO; /* closes the connection */
  }
  MHD_add_response_header(made, MHD_HTTP_HEADER_CONTENT_TYPE, type);
  return http_answer_response(r, status, made);
}

enum MHD_Result http_answer(struct http_request *r, unsigned status, const char *text) {
  return http_answer_with(r, status, "text/plain", (char *)text, false);
}

enum MHD_Result http_refuse(struct http_request *r, unsigned status, const char *text) {
  r->http->stats.refused++;
  http_say(r->http, &r->visitor->from, "http_refused", text);
  return http_answer(r, status, text);
}
