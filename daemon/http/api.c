/* /api: the node's lists, those of other nodes, and lookups in the DHT, for operators. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/http/answer.h"
#include "daemon/http/state.h"
#include "node/view/state.h"

#define MAX_LOOKUPS 8 /* under way */
#define MAX_FAR 24    /* questions about other nodes that are under way */

static enum MHD_Result ask(struct http_request *r);

static bool is_number(const char *text) { return !text || (*text && !text[strspn(text, "0123456789")]); }

enum MHD_Result http_list(struct http_request *r) {
  struct http *h = r->http;
  char *json;
  if (!is_number(http_argument(r, "offset")) || !is_number(http_argument(r, "limit")))
    return http_answer(r, MHD_HTTP_BAD_REQUEST, "offset and limit are whole numbers, from 0 on");
  if (http_argument(r, "node") || http_argument(r, "topic")) return ask(r);
  int err = node_render(h->node, r->rest, http_number(r, "offset", SIZE_MAX / 16), http_number(r, "limit", LIST_PAGE), io_now(),
                        &json);
  if (err == MACULA_ENOTFOUND) return http_answer(r, MHD_HTTP_NOT_FOUND, "Not found");
  if (err) return http_answer(r, MHD_HTTP_SERVICE_UNAVAILABLE, "Service unavailable");
  callers_charge(&h->callers, &r->visitor->from, strlen(json) / COST_BYTES);
  return http_answer_with(r, MHD_HTTP_OK, "application/json", json, true);
}

/* ---- what takes a while ----------------------------------------------------------------------------------------------------
 */
struct lookup {
  struct http *http;
  struct http_request *r; /* NULL: it has ended before the node has answered */
  struct lookup *next;
  char *text;
  bool found; /* the node has answered */
  bool far;   /* it is a question about another node */
  int err;
};

static void forget(struct lookup *l) {
  for (struct lookup **at = &l->http->lookups; *at; at = &(*at)->next)
    if (*at == l) {
      *at = l->next;
      break;
    }
  free(l->text);
  free(l);
}

void http_forget_lookups(struct http *h) {
  while (h->lookups) forget(h->lookups);
}

/* The node has answered. */
static void on_found(void *ctx, int err, const char *json) {
  struct lookup *l = ctx;
  l->found = true;
  l->err = err;
  if (!l->r) {
    forget(l);
    return;
  }
  l->text = strdup(json);
  http_resume(l->r);
}

static unsigned status_of(int err) {
  return !err                                                                                       ? MHD_HTTP_OK
         : err == MACULA_EINVAL                                                                     ? MHD_HTTP_BAD_REQUEST
         : err == MACULA_UNKNOWN_NODE || err == MACULA_NO_SUCH_PROCEDURE || err == MACULA_ENOTFOUND ? MHD_HTTP_NOT_FOUND
         : err == MACULA_RATE_LIMITED || err == MACULA_TOO_MANY_CALLS                               ? MHD_HTTP_TOO_MANY_REQUESTS
         : err == MACULA_TIMEOUT                                                                    ? MHD_HTTP_GATEWAY_TIMEOUT
                                 : MHD_HTTP_SERVICE_UNAVAILABLE;
}

/* {"error": NAME, "message": TEXT}, as text is what the node said. */
static enum MHD_Result answer_error(struct http_request *r, int err, const char *text) {
  json_t *j = json_pack("{s:s, s:s}", "error", macula_err_name(err), "message", text);
  char *json = j ? json_dumps(j, JSON_COMPACT) : NULL;
  json_decref(j);
  if (!json) return http_answer(r, MHD_HTTP_SERVICE_UNAVAILABLE, "Service unavailable");
  return http_answer_with(r, status_of(err), "application/json", json, true);
}

static enum MHD_Result answer_found(struct http_request *r) {
  const struct lookup *l = r->own;
  if (!l->text) return http_answer(r, MHD_HTTP_SERVICE_UNAVAILABLE, "Service unavailable");
  if (l->err && l->far) return answer_error(r, l->err, l->text);
  if (!l->err && l->far) callers_charge(&r->http->callers, &r->visitor->from, strlen(l->text) / COST_BYTES);
  return http_answer_with(r, status_of(l->err), l->err ? "text/plain" : "application/json", l->text, false);
}

/* The node may still be looking. */
static void lookup_over(struct http_request *r) {
  struct lookup *l = r->own;
  l->r = NULL;
  if (l->found) forget(l);
}

/* NULL: `most` of the kind are under way, or there is no memory; *ret_answer is what was answered. */
static struct lookup *begin(struct http_request *r, bool far, unsigned most, size_t cost, enum MHD_Result *ret_answer) {
  struct http *h = r->http;
  unsigned count = 0;
  for (struct lookup *l = h->lookups; l; l = l->next) count += l->far == far;
  if (count >= most) {
    *ret_answer = http_refuse(r, MHD_HTTP_TOO_MANY_REQUESTS,
                              far ? "rate_limited: 24 questions to other nodes are under way: ask again when they have ended"
                                  : "rate_limited: 8 lookups are under way: ask again when they have ended");
    return NULL;
  }
  const char *full = http_stay(r);
  if (full) {
    *ret_answer = http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, full);
    return NULL;
  }
  struct lookup *l = calloc(1, sizeof *l);
  if (!l) {
    *ret_answer = http_answer(r, MHD_HTTP_SERVICE_UNAVAILABLE, "Service unavailable");
    return NULL;
  }
  *l = (struct lookup){.http = h, .r = r, .next = h->lookups, .far = far};
  h->lookups = r->own = l;
  r->go_on = answer_found;
  r->over = lookup_over;
  callers_charge(&h->callers, &r->visitor->from, cost);
  return l;
}

static enum MHD_Result await(struct http_request *r, const struct lookup *l) {
  if (l->found) return answer_found(r);
  enum MHD_Result ok = http_suspend(r);
  io_loop_wake(r->http->loop); /* the node must be ticked soon */
  return ok;
}

/* /api/WHAT?node=ID: as that node answers it. */
static enum MHD_Result ask(struct http_request *r) {
  enum MHD_Result answer = MHD_NO;
  struct lookup *l = begin(r, true, MAX_FAR, COST_FAR, &answer);
  if (!l) return answer;
  json_t *j = json_pack("{s:I, s:I, s:s*}", "offset", (json_int_t)http_number(r, "offset", SIZE_MAX / 16), "limit",
                        (json_int_t)http_number(r, "limit", LIST_PAGE), "topic", http_argument(r, "topic"));
  char *args = j ? json_dumps(j, JSON_COMPACT) : NULL;
  json_decref(j);
  node_ask(r->http->node, r->rest, http_argument(r, "node"), args, false, on_found, l, io_now());
  node_text_free(args);
  return await(r, l);
}

/* POST /api/end {"client": ID, "node": ID}: at that node, or this one. */
enum MHD_Result http_end_client(struct http_request *r) {
  enum MHD_Result answer = MHD_NO;
  json_t *j = r->body_len ? json_loadb(r->body, r->body_len, 0, NULL) : NULL;
  const char *client = json_string_value(json_object_get(j, "client")), *node = json_string_value(json_object_get(j, "node"));
  struct lookup *l = NULL;
  if (!client)
    answer = http_refuse(r, MHD_HTTP_BAD_REQUEST,
                         "invalid_argument: {\"client\": ID} is expected, and \"node\" where it is another");
  else
    l = begin(r, true, MAX_FAR, COST_FAR, &answer);
  if (l) {
    json_t *args = json_pack("{s:s}", "id", client);
    char *text = args ? json_dumps(args, JSON_COMPACT) : NULL;
    json_decref(args);
    node_ask(r->http->node, "end", node, text, true, on_found, l, io_now());
    node_text_free(text);
    answer = await(r, l);
  }
  json_decref(j);
  return answer;
}

/* /api/dht/get?key=KEY and /api/dht/lookup?node=ID */
enum MHD_Result http_lookup(struct http_request *r) {
  bool gets = !strcmp(r->rest, "get");
  enum MHD_Result answer = MHD_NO;
  if (!gets && strcmp(r->rest, "lookup") != 0) return http_answer(r, MHD_HTTP_NOT_FOUND, "Not found");
  struct lookup *l = begin(r, false, MAX_LOOKUPS, COST_DHT, &answer);
  if (!l) return answer;
  node_dht(r->http->node, r->rest, http_argument(r, gets ? "key" : "node"), on_found, l, io_now());
  return await(r, l);
}
