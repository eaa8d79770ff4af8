/* From headers to the handler of a request's path. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/http/answer.h"
#include "daemon/http/guard.h"
#include "daemon/http/state.h"
#include "daemon/http/who.h"
#include "node/view/state.h"

#define MOST_ARGUMENTS 64
#define BODY_FIRST ((size_t)8192)  /* a whole login, whose password is not to stay where it was moved from */
#define BODY_ONE ((size_t)1 << 20) /* an address may always send one */

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

const char *http_rest_fault(const struct http_request *r) {
  return strchr(r->rest, 1) ? "invalid_topic: a zero byte or %01 cannot stand here; in a name they are written %2500 and %2501"
                            : NULL;
}

/* ---- waiting ---------------------------------------------------------------------------------------------------------------
 */
enum MHD_Result http_suspend(struct http_request *r) {
  if (r->http->closing) return MHD_NO;
  http_watch(r->visitor, r->http);
  r->suspended = true;
  MHD_suspend_connection(r->c);
  return MHD_YES;
}

void http_resume(struct http_request *r) {
  if (!r->suspended) return;
  r->suspended = false;
  r->visitor->since = io_now(); /* its answer is read from now on */
  MHD_resume_connection(r->c);
  r->http->resumed = true;
  io_loop_wake(r->http->loop); /* http_turn, but not within the node's turn */
}

bool http_is_gone(const struct http_request *r) { return r->visitor->gone; }

/* Each argument takes of the connection's buffer, and without room in it libmicrohttpd closes without an answer: the text,
 * which is in that buffer, is cut before it is parsed. */
void *http_begins(void *ctx, const char *uri, struct MHD_Connection *c) {
  char *at = strchr(uri, '?');
  (void)ctx;
  for (unsigned n = 0; at && n < MOST_ARGUMENTS; n++) at = strchr(at + 1, '&');
  visitor_of(c)->many = at != NULL;
  if (at) *at = 0;
  return NULL;
}

/* ---- arrival ---------------------------------------------------------------------------------------------------------------
 */
/* The path of http://HOST/path or https://HOST/path, as of /path; ret_host gets HOST, "" when none is named. */
static const char *split(const char *url, char ret_host[256]) {
  const char *host = !strncasecmp(url, "http://", 7) ? url + 7 : !strncasecmp(url, "https://", 8) ? url + 8 : NULL;
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

static enum MHD_Result handle(struct http_request *r) {
  r->stage = HTTP_HANDLED;
  return r->route->handle(r);
}

/* It is known who asks. */
static enum MHD_Result go_on(struct http_request *r) {
  enum MHD_Result answer;
  if (!http_who_end(r, &answer)) {
    r->stage = HTTP_HANDLED;
    return answer;
  }
  if (r->method != HTTP_POST || !r->route->body) return handle(r);
  r->stage = HTTP_BODY;
  r->visitor->since = io_now(); /* its body has a time of its own */
  return MHD_YES;
}

/* Why it is refused before anybody is asked who he is. True: it was answered. */
static bool judge(struct http_request *r, const char *host, enum MHD_Result *ret_answer) {
  struct http *h = r->http;
  struct visitor *v = r->visitor;
  char allowed[64], text[80];
  const char *why = http_judge_page(r, host);
  if (why)
    *ret_answer = http_refuse(r, MHD_HTTP_FORBIDDEN, why);
  else if (!r->route)
    *ret_answer = http_answer(r, MHD_HTTP_NOT_FOUND, "Not found");
  else if (v->many)
    *ret_answer = http_refuse(r, MHD_HTTP_URI_TOO_LONG, "invalid_argument: a query has at most 64 arguments");
  else if (v->origin && r->method == HTTP_OPTIONS)
    *ret_answer = http_answer(r, MHD_HTTP_NO_CONTENT, "");
  else if (!(r->method & r->route->methods)) {
    snprintf(text, sizeof text, "Only %s", http_allowed(r->route->methods, allowed));
    *ret_answer = r->route->json
                      ? http_error(r, MHD_HTTP_METHOD_NOT_ALLOWED, slice_str("invalid_argument"), slice_str(text), "")
                      : http_answer(r, MHD_HTTP_METHOD_NOT_ALLOWED, text);
  } else if (!r->route->free && !callers_afford(&h->callers, &v->from, r->now))
    *ret_answer =
        http_refuse(r, MHD_HTTP_TOO_MANY_REQUESTS, "rate_limited: ask less often, for fewer rows; probes cost nothing");
  else
    return false;
  return true;
}

/* Its headers have come. */
static enum MHD_Result begin(struct http_request *r, const char *url) {
  struct http *h = r->http;
  enum MHD_Result answer;
  char host[256];
  bool refused = false;
  r->visitor->asked = true;
  r->visitor->origin = NULL;
  h->stats.requests++;
  r->path = split(url, host);
  r->route = http_route_of(r->path);
  r->stage = HTTP_HANDLED;
  if (r->route) r->rest = r->path + strlen(r->route->path);
  if (judge(r, host, &answer)) return answer;
  r->stage = HTTP_JUDGED;
  if (!r->route->free) callers_charge(&h->callers, &r->visitor->from, COST_QUESTION);
  r->answered = r->route->role == HTTP_NOBODY;
  if (!r->answered) answer = http_who_begin(r, &refused);
  if (refused) r->stage = HTTP_HANDLED;
  return !r->answered ? answer : go_on(r);
}

/* ---- bodies ----------------------------------------------------------------------------------------------------------------
 */
/* Of bodies that one address sends, bytes that are kept. */
static size_t share_of_bodies(const struct http *h) {
  size_t part = node_http_pool(h->node) / 4;
  return (part < BODY_ONE ? BODY_ONE : part) + h->most; /* a NUL each */
}

/* Room for so many bytes and a NUL. It grows with what comes, as what is announced may never come. */
static bool make_body_room(struct http_request *r, size_t need) {
  struct http *h = r->http;
  struct place *p = r->visitor->place;
  size_t room = r->body_room ? r->body_room : BODY_FIRST;
  while (room < need + 1) room *= 2;
  if (room == r->body_room) return true;
  if (room > r->route->body) room = r->route->body + 1;
  r->no_share = p->bodies - r->body_room + room > share_of_bodies(h);
  char *body = !r->no_share && node_http_has_room(h->node, room - r->body_room)
                   ? mem_realloc(node_http_mem(h->node), r->body, room)
                   : NULL;
  r->no_room = !body;
  if (!body) return false;
  p->bodies += room - r->body_room;
  r->body = body;
  r->body_room = room;
  return true;
}

static void forget_body(struct http_request *r) {
  r->visitor->place->bodies -= r->body_room;
  mem_free(node_http_mem(r->http->node), r->body);
  r->body = NULL;
  r->body_len = r->body_room = 0;
}

/* What is beyond the route's most is read, but not kept, and nothing of it either. */
static void add_to_body(struct http_request *r, const char *bytes, size_t n) {
  if (r->body_len + n > r->route->body) r->too_large = true;
  if (r->too_large || r->no_room || !make_body_room(r, r->body_len + n)) {
    forget_body(r);
    return;
  }
  memcpy(r->body + r->body_len, bytes, n);
  r->body_len += n;
  r->body[r->body_len] = 0;
}

static enum MHD_Result body_is_there(struct http_request *r) {
  r->stage = HTTP_HANDLED;
  r->visitor->since = io_now(); /* its answer is read from now on */
  if (r->too_large)
    return http_refuse(r, MHD_HTTP_CONTENT_TOO_LARGE, "payload_too_large: the body is larger than is read here");
  if (r->no_share)
    return http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE,
                       "out_of_memory: bodies from this address take a quarter of http_pool: raise it, or send fewer at once");
  if (r->no_room)
    return http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, "out_of_memory: there is no room for the body now: http_pool");
  return handle(r);
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
  if (r->visitor->gone) return MHD_NO;
  if (r->stage == HTTP_JUDGED) return go_on(r);
  if (*upload_size) {
    if (r->stage == HTTP_BODY) add_to_body(r, upload, *upload_size);
    *upload_size = 0;
    return MHD_YES;
  }
  if (r->stage == HTTP_BODY) return body_is_there(r);
  return r->go_on ? r->go_on(r) : MHD_YES;
}

void http_completed(void *ctx, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode code) {
  struct http_request *r = *state;
  (void)ctx, (void)c, (void)code;
  if (!r) return;
  http_who_over(r);
  if (r->over) r->over(r);
  forget_body(r);
  r->visitor->request = NULL;
  *state = NULL;
  free(r);
}

/* ---- names -----------------------------------------------------------------------------------------------------------------
 */
size_t http_unescape(void *ctx, struct MHD_Connection *c, char *s) {
  char *to = s;
  (void)ctx, (void)c;
  for (const char *p = s; *p; p++) {
    int high = *p == '%' ? hex_digit((uint8_t)p[1]) : -1, low = high >= 0 ? hex_digit((uint8_t)p[2]) : -1;
    if (low >= 0) p += 2;
    *to++ = low < 0 ? *p : high || low ? (char)(high << 4 | low) : 1;
  }
  *to = 0;
  return (size_t)(to - s);
}
