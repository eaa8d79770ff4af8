#include "daemon/http/answer.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "daemon/http/state.h"
#include "node/doors/http_text.h"

static void free_text(void *text) { node_text_free(text); }

enum MHD_Result http_answer_response(struct http_request *r, unsigned status, struct MHD_Response *response) {
  char allowed[64];
  const char *origin = r->visitor->origin;
  if (!response) return MHD_NO;
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
  if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
    MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, http_allowed(r->route->methods, allowed));
  if (status == MHD_HTTP_TOO_MANY_REQUESTS || status == MHD_HTTP_SERVICE_UNAVAILABLE)
    MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
  if (origin) { /* the page's own script may read it */
    MHD_add_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    MHD_add_response_header(response, MHD_HTTP_HEADER_VARY, MHD_HTTP_HEADER_ORIGIN);
    MHD_add_response_header(response, "Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID");
    if (r->route) MHD_add_response_header(response, "Access-Control-Allow-Methods", http_allowed(r->route->methods, allowed));
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

/* ---- refusals --------------------------------------------------------------------------------------------------------------
 */
unsigned http_status_of(int err) {
  switch (err) {
  case 0:
    return MHD_HTTP_OK;
  case MACULA_EINVAL:
  case MACULA_INVALID_TOPIC:
  case MACULA_INVALID_PROCEDURE:
  case MACULA_INVALID_JSON:
  case MACULA_UNSUPPORTED_QOS:
    return MHD_HTTP_BAD_REQUEST;
  case MACULA_NOT_AUTHORIZED:
    return MHD_HTTP_UNAUTHORIZED;
  case MACULA_FORBIDDEN:
    return MHD_HTTP_FORBIDDEN;
  case MACULA_ENOTFOUND:
  case MACULA_NO_SUCH_PROCEDURE:
    return MHD_HTTP_NOT_FOUND;
  case MACULA_PAYLOAD_TOO_LARGE:
  case MACULA_FRAME_TOO_LARGE:
    return MHD_HTTP_CONTENT_TOO_LARGE;
  case MACULA_RATE_LIMITED:
  case MACULA_QUOTA_REACHED:
  case MACULA_TOO_MANY_CALLS:
  case MACULA_MAX_SUBSCRIPTIONS_REACHED:
    return MHD_HTTP_TOO_MANY_REQUESTS;
  case MACULA_EINTERNAL:
    return MHD_HTTP_INTERNAL_SERVER_ERROR;
  case MACULA_HANDLER_ERROR:
  case MACULA_NO_HANDLER:
  case MACULA_NO_PROVIDERS:
  case MACULA_ALL_PROVIDERS_FAILED:
  case MACULA_MAX_ATTEMPTS_EXCEEDED:
  case MACULA_PROVIDER_LOST:
    return MHD_HTTP_BAD_GATEWAY;
  case MACULA_TIMEOUT:
  case MACULA_DHT_TIMEOUT:
    return MHD_HTTP_GATEWAY_TIMEOUT;
  case MACULA_RETAIN_FULL:
    return MHD_HTTP_INSUFFICIENT_STORAGE;
  default: /* it may work later, or elsewhere */
    return MHD_HTTP_SERVICE_UNAVAILABLE;
  }
}

/* Of a refusal that came from no error. */
static int error_of(unsigned status) {
  switch (status) {
  case MHD_HTTP_UNAUTHORIZED:
    return MACULA_NOT_AUTHORIZED;
  case MHD_HTTP_FORBIDDEN:
    return MACULA_FORBIDDEN;
  case MHD_HTTP_NOT_FOUND:
    return MACULA_ENOTFOUND;
  case MHD_HTTP_CONTENT_TOO_LARGE:
    return MACULA_PAYLOAD_TOO_LARGE;
  case MHD_HTTP_TOO_MANY_REQUESTS:
    return MACULA_RATE_LIMITED;
  case MHD_HTTP_SERVICE_UNAVAILABLE:
    return MACULA_EBUSY;
  default:
    return MACULA_EINVAL;
  }
}

enum MHD_Result http_error(struct http_request *r, unsigned status, struct slice code, struct slice text, const char *more) {
  struct http_text t = {.mem = node_http_mem(r->http->node)};
  http_text_put(&t, "{\"error\":");
  http_text_string(&t, code);
  http_text_put(&t, ",\"message\":");
  http_text_string(&t, text);
  http_text_put(&t, more);
  http_text_bytes(&t, "}\n", 3); /* with the NUL */
  enum MHD_Result ok = t.failed ? http_answer(r, status, "out_of_memory: http_pool is used up")
                                : http_answer_with(r, status, "application/json", t.p, false);
  http_text_done(&t);
  return ok;
}

/* A text that names its error: "rate_limited: ...". */
static size_t name_in(const char *text) {
  size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz_");
  return n && text[n] == ':' && text[n + 1] == ' ' && err_from_name(text, n) ? n : 0;
}

static void say(struct http_request *r, const char *text) {
  r->http->stats.refused++;
  http_say(r->http, &r->visitor->from, "http_refused", text);
}

enum MHD_Result http_refuse(struct http_request *r, unsigned status, const char *text) {
  size_t name = name_in(text);
  say(r, text);
  if (!r->route || !r->route->json) return http_answer(r, status, text);
  struct slice code = name ? slice_of(text, name) : slice_str(macula_err_name(error_of(status)));
  return http_error(r, status, code, slice_str(name ? text + name + 2 : text), "");
}

enum MHD_Result http_refuse_with(struct http_request *r, unsigned status, const char *code, const char *text) {
  char both[512];
  snprintf(both, sizeof both, "%s: %s", code, text);
  say(r, both);
  if (r->route && r->route->json) return http_error(r, status, slice_str(code), slice_str(text), "");
  return http_answer(r, status, both);
}
