/* What machines ask to know how the node is. */
#include <stdio.h>
#include <string.h>

#include "daemon/http/answer.h"
#include "daemon/http/state.h"
#include "daemon/metrics.h"
#include "node/view/state.h"

enum MHD_Result http_health(struct http_request *r) {
  char health[128], note[NODE_WHY_LEN];
  bool ready = node_ready(r->http->node, r->now, note);
  snprintf(health, sizeof health, "{\"status\":\"healthy\",\"ready\":%s,\"uptime\":%llu}", ready ? "true" : "false",
           (unsigned long long)node_uptime_s(r->http->node, r->now));
  return http_answer_with(r, MHD_HTTP_OK, "application/json", health, false);
}

enum MHD_Result http_ready(struct http_request *r) {
  char note[NODE_WHY_LEN], text[NODE_WHY_LEN + 16];
  bool ready = node_ready(r->http->node, r->now, note);
  snprintf(text, sizeof text, "%s%s%s", ready ? "Ready" : "Not ready", note[0] ? ": " : "", note);
  return http_answer(r, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, text);
}

enum MHD_Result http_live(struct http_request *r) {
  bool live = io_loop_serves(r->http->loop, r->now);
  return http_answer(r, live ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, live ? "Live" : "Not live: no datagram moves");
}

enum MHD_Result http_metrics(struct http_request *r) {
  struct http *h = r->http;
  char *text;
  if (metrics_text(h->node, h->loop, &h->stats, r->now, &text))
    return http_answer(r, MHD_HTTP_SERVICE_UNAVAILABLE, "Service unavailable");
  callers_charge(&h->callers, &r->visitor->from, strlen(text) / COST_BYTES / 8); /* plain text is made fast */
  return http_answer_with(r, MHD_HTTP_OK, "text/plain; version=0.0.4", text, true);
}
