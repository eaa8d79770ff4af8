/* /api: the node's lists, and lookups in the DHT, for operators. */
#include <stdlib.h>
#include <string.h>

#include "daemon/http/answer.h"
#include "daemon/http/guard.h"
#include "daemon/http/state.h"
#include "node/view/state.h"

#define MAX_LOOKUPS 8 /* under way */

enum MHD_Result http_list(struct http_request *r) {
  struct http *h = r->http;
  struct http_who who = http_who(r);
  char *json;
  if (who.role == HTTP_NOBODY) return http_refuse(r, who.status, who.why);
  int err = node_render(h->node, r->rest, http_number(r, "offset", SIZE_MAX / 16), http_number(r, "limit", LIST_PAGE), io_now(),
                        &json);
  if (err == MACULA_ENOTFOUND) return http_answer(r, MHD_HTTP_NOT_FOUND, "Not found");
  if (err) return http_answer(r, MHD_HTTP_SERVICE_UNAVAILABLE, "Service unavailable");
  callers_charge(&h->callers, &r->visitor->from, strlen(json) / COST_BYTES);
  return http_answer_with(r, MHD_HTTP_OK, "application/json", json, true);
}

/* ---- lookups ---------------------------------------------------------------------------------------------------------------
 */
struct lookup {
  struct http *http;
  struct http_request *r; /* NULL: it has ended before the node has answered */
  struct lookup *next;
  char *text;
  bool found; /* the node has answered */
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

static enum MHD_Result answer_found(struct http_request *r) {
  const struct lookup *l = r->own;
  unsigned status = !l->err                    ? MHD_HTTP_OK
                    : l->err == MACULA_EINVAL  ? MHD_HTTP_BAD_REQUEST
                    : l->err == MACULA_TIMEOUT ? MHD_HTTP_GATEWAY_TIMEOUT
                                               : MHD_HTTP_SERVICE_UNAVAILABLE;
  if (!l->text) return http_answer(r, MHD_HTTP_SERVICE_UNAVAILABLE, "Service unavailable");
  return http_answer_with(r, status, l->err ? "text/plain" : "application/json", l->text, false);
}

/* The node may still be looking. */
static void lookup_over(struct http_request *r) {
  struct lookup *l = r->own;
  l->r = NULL;
  if (l->found) forget(l);
}

/* /api/dht/get?key=KEY and /api/dht/lookup?node=ID */
enum MHD_Result http_lookup(struct http_request *r) {
  struct http *h = r->http;
  struct http_who who = http_who(r);
  bool gets = !strcmp(r->rest, "get");
  unsigned count = 0;
  if (who.role == HTTP_NOBODY) return http_refuse(r, who.status, who.why);
  for (struct lookup *l = h->lookups; l; l = l->next) count++;
  if (!gets && strcmp(r->rest, "lookup") != 0) return http_answer(r, MHD_HTTP_NOT_FOUND, "Not found");
  if (count >= MAX_LOOKUPS)
    return http_refuse(r, MHD_HTTP_TOO_MANY_REQUESTS, "rate_limited: 8 lookups are under way: ask again when they have ended");
  struct lookup *l = calloc(1, sizeof *l);
  if (!l) return http_answer(r, MHD_HTTP_SERVICE_UNAVAILABLE, "Service unavailable");
  *l = (struct lookup){.http = h, .r = r, .next = h->lookups};
  h->lookups = r->own = l;
  r->go_on = answer_found;
  r->over = lookup_over;
  callers_charge(&h->callers, &r->visitor->from, COST_DHT);
  node_dht(h->node, r->rest, http_argument(r, gets ? "key" : "node"), on_found, l, io_now());
  if (l->found) return answer_found(r);
  enum MHD_Result ok = http_suspend(r);
  io_loop_wake(h->loop); /* the node must be ticked soon */
  return ok;
}
