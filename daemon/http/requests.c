/* From headers to the handler of a request's path. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/http/answer.h"
#include "daemon/http/guard.h"
#include "daemon/http/state.h"
#include "node/view/state.h"

const char *http_argument(const struct http_request *r, const char *name) {
  return MHD_lookup_connection_value(r->c, MHD_GET_ARGUMENT_KIND, name);
}

const char *http_header(const struct http_request *r, const char *name) {
  return MHD_lookup_connection_value(r->c, MHD_HEADER_KIND, name);
}

size_t http_number(const struct http_request *r, const char *name, size_t most) {
  const char *text = http_argument(r, name);
  size_t n = 0;
  for (; text && *text >= '0' && *text <= '9' && n < most; text++) n = n * 10 + (size_t)(*text - '0');
  return n < most ? n : most;
}

/* ---- waiting ---------------------------------------------------------------------------------------------------------------
 */
enum MHD_Result http_suspend(struct http_request *r) {
  r->suspended = true;
  MHD_suspend_connection(r->c);
  return MHD_YES;
}

void http_resume(struct http_request *r) {
  if (!r->suspended) return;
  r->suspended = false;
  MHD_resume_connection(r->c);
  r->http->resumed = true;
  io_loop_wake(r->http->loop); /* http_turn, but not within the node's turn */
}

/* ---- arrival ---------------------------------------------------------------------------------------------------------------
 */
/* The path of http://HOST/path, as of /path; ret_host gets HOST, "" when none is named. */
static const char *split(const char *url, char ret_host[256]) {
  const char *host = !strncasecmp(url, "http://", 7) ? url + 7 : NULL;
  ret_host[0] = 0;
  if (!host) return url;
  size_t n = strcspn(host, "/?");
  snprintf(ret_host, 256, "%.*s", n && n < 256 ? (int)n : 1, n && n < 256 ? host : "?"); /* none, or too long: not ours */
  return host[n] == '/' ? host + n : "/";
}

static unsigned method_of(const char *name) {
  static const char *const names[] = {MHD_HTTP_METHOD_GET, MHD_HTTP_METHOD_HEAD, MHD_HTTP_METHOD_POST, MHD_HTTP_METHOD_OPTIONS};
  for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
    if (!strcmp(name, names[i])) return 1u << i;
  return 0;
}

static enum MHD_Result call_handler(struct http_request *r) {
  r->handled = true;
  return r->route->handle(r);
}

/* Its headers have come. */
static enum MHD_Result begin(struct http_request *r, const char *url) {
  struct http *h = r->http;
  struct visitor *v = r->visitor;
  char host[256], allowed[64], text[80];
  v->asked = true;
  v->origin = NULL;
  h->stats.requests++;
  r->handled = true;
  r->path = split(url, host);
  const char *why = http_judge_page(r, host);
  if (why) return http_refuse(r, MHD_HTTP_FORBIDDEN, why);
  if (!(r->route = http_route_of(r->path))) return http_answer(r, MHD_HTTP_NOT_FOUND, "Not found");
  r->rest = r->path + strlen(r->route->path);
  if (v->origin && r->method == HTTP_OPTIONS) return http_answer(r, MHD_HTTP_NO_CONTENT, "");
  if (!(r->method & r->route->methods)) {
    snprintf(text, sizeof text, "Only %s", http_allowed(r->route->methods, allowed));
    return http_answer(r, MHD_HTTP_METHOD_NOT_ALLOWED, text);
  }
  if (!r->route->free) {
    if (!callers_afford(&h->callers, &v->from, r->now))
      return http_refuse(r, MHD_HTTP_TOO_MANY_REQUESTS, "rate_limited: ask less often, for fewer rows; probes cost nothing");
    callers_charge(&h->callers, &v->from, COST_QUESTION);
  }
  if (r->method != HTTP_POST || !r->route->body) return call_handler(r);
  r->handled = false; /* its body comes first */
  return MHD_YES;
}

/* What is beyond the route's most is read, but not kept. */
static void add_to_body(struct http_request *r, const char *bytes, size_t n) {
  size_t need = r->body_len + n;
  char *body = need <= r->route->body ? realloc(r->body, need + 1) : NULL;
  if (!body) {
    r->too_large = true;
    return;
  }
  memcpy(body + r->body_len, bytes, n);
  body[need] = 0;
  r->body = body;
  r->body_len = need;
}

enum MHD_Result http_handle(void *ctx, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                            const char *upload, size_t *upload_size, void **state) {
  struct http_request *r = *state;
  (void)version;
  if (!r) {
    r = calloc(1, sizeof *r);
    if (!r) return MHD_NO;
    *r = (struct http_request){.http = ctx, .c = c, .visitor = visitor_of(c), .method = method_of(method), .now = io_now()};
    *state = r->visitor->request = r;
    return begin(r, url);
  }
  if (*upload_size) {
    if (!r->handled) add_to_body(r, upload, *upload_size);
    *upload_size = 0;
    return MHD_YES;
  }
  if (r->handled) return r->go_on ? r->go_on(r) : MHD_YES;
  if (r->too_large)
    return http_refuse(r, MHD_HTTP_CONTENT_TOO_LARGE, "payload_too_large: the body is larger than is read here");
  return call_handler(r);
}

void http_completed(void *ctx, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode code) {
  struct http_request *r = *state;
  (void)ctx, (void)c, (void)code;
  if (!r) return;
  if (r->over) r->over(r);
  r->visitor->request = NULL;
  *state = NULL;
  free(r->body);
  free(r);
}
