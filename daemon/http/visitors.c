/* Connections: which are taken, which make room, and which may stay.
 *
 * A quarter of the places is never for connections that stay (http_stay), so that there is always one that can make room for a
 * probe. Suspended ones libmicrohttpd neither ends nor sees end: their descriptors are watched here, by a duplicate, as it has
 * the original in a set of its own. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"
#include "daemon/http/state.h"
#include "node/memory/plan.h"

/* Handshakes of an address, until their requests have come: all could finish in one turn, but a browser opens six. */
#define GREET_EACH 8
#define REQUEST_TIME (5 * NS_SEC) /* for the headers of a request to come, and for its body: */
#define BODY_RATE (16 * 1024)     /* so many bytes of it are a second more */
#define ANSWER_TIME (30 * NS_SEC) /* until whoever reads slowly has it all, or some more of what has no end */

static struct visitor *end_of(const struct http *h) { return h->visitors + h->most; }

/* ---- watching --------------------------------------------------------------------------------------------------------------
 */
struct watch {
  uv_poll_t poll;
  struct http *http;
  struct visitor *visitor;
  int fd;
};

static void on_watch_closed(uv_handle_t *handle) { free(container_of((uv_poll_t *)handle, struct watch, poll)); }

static void unwatch(struct visitor *v) {
  struct watch *w = v->watch;
  v->watch = NULL;
  if (!w) return;
  uv_poll_stop(&w->poll);
  close(w->fd);
  uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}

static void on_watch(uv_poll_t *p, int status, int events) {
  struct watch *w = container_of(p, struct watch, poll);
  (void)status, (void)events;
  uv_poll_stop(p);
  w->visitor->gone = true;
  if (w->visitor->request) http_resume(w->visitor->request);
  http_run(w->http);
}

/* Without memory or descriptors it is seen when something is sent to it. */
void http_watch(struct visitor *v, struct http *h) {
  if (v->watch || v->gone) return;
  struct watch *w = calloc(1, sizeof *w);
  if (!w) return;
  *w = (struct watch){.http = h, .visitor = v, .fd = dup(v->fd)};
  if (w->fd < 0 || uv_poll_init(io_loop_uv(h->loop), &w->poll, w->fd)) {
    if (w->fd >= 0) close(w->fd);
    free(w);
    return;
  }
  v->watch = w;
  uv_poll_start(&w->poll, UV_DISCONNECT, on_watch);
}

/* ---- places ----------------------------------------------------------------------------------------------------------------
 */
static struct place *place_of(struct http *h, const struct addr *at) {
  struct place *unused = NULL;
  for (struct place *p = h->places; p < h->places + h->most; p++) {
    if (p->have && addr_same_host(&p->at, at)) return p;
    if (!p->have && !unused) unused = p;
  }
  assert(unused); /* there are as many as visitors */
  *unused = (struct place){.at = *at};
  return unused;
}

void http_count(struct http *h) { node_http_count(h->node, h->count, h->stats.refused, h->stats.displaced); }

static void leaves(struct http *h, struct visitor *v) {
  unwatch(v);
  v->place->have--;
  v->place->stay -= v->stays;
  h->stay -= v->stays;
  v->fd = 0;
  h->count--;
  mem_unreserve(node_http_mem(h->node), PLAN_HTTP);
  http_count(h);
}

void http_connection(void *ctx, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode code) {
  struct http *h = ctx;
  struct visitor *v = *context;
  if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
    leaves(h, v);
    return;
  }
  for (v = h->visitors; v->fd; v++) assert(v < end_of(h) - 1);
  *v = (struct visitor){.fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd, .since = io_now()};
  const struct sockaddr *from = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
  if (from->sa_family == AF_INET) memcpy(&v->from.v4, from, sizeof v->from.v4);
  if (from->sa_family == AF_INET6) memcpy(&v->from.v6, from, sizeof v->from.v6);
  v->place = place_of(h, &v->from);
  v->place->have++;
  h->count++;
  http_count(h);
  *context = v;
}

bool http_any_asked(const struct http *h) {
  for (const struct visitor *v = h->visitors; v < end_of(h); v++)
    if (v->fd && v->asked) return true;
  return false;
}

const char *http_stay(struct http_request *r) {
  struct http *h = r->http;
  struct visitor *v = r->visitor;
  if (v->stays) return NULL;
  if (h->stay >= h->most - h->most / 4)
    return "busy: all places for requests that take long are taken: raise http_connections, or ask again";
  if (v->place->stay >= h->share)
    return "busy: this address has as many requests that take long as it may: raise http_share, or end some";
  v->stays = true;
  v->place->stay++;
  h->stay++;
  return NULL;
}

/* Suspended: libmicrohttpd cannot end it now. */
static bool waits(const struct visitor *v) { return v->request && v->request->suspended; }

/* Its headers have come, but not the whole body. */
static bool sends(const struct visitor *v) { return v->request && v->request->stage == HTTP_BODY; }

static bool has_asked(const struct visitor *v) { return v->asked && !sends(v); }

static nanotime time_of(const struct visitor *v) {
  if (sends(v)) return REQUEST_TIME + (nanotime)v->request->body_len * NS_SEC / BODY_RATE;
  return v->asked ? ANSWER_TIME : REQUEST_TIME;
}

/* libmicrohttpd sees that nothing more comes, and ends it in its next run. */
static void cut(struct http *h, struct visitor *v, const char *event, const char *text) {
  http_say(h, &v->from, event, text);
  shutdown(v->fd, SHUT_RDWR);
}

static void displace(struct http *h, struct visitor *v, const char *text) {
  h->stats.displaced++;
  cut(h, v, "http_displaced", text);
  MHD_run(h->mhd);
}

/* Of the address that has the most connections, the new one counted, one gives way: rather one whose request has not come, and
 * the oldest. So no address can have all, and what has just come is answered. */
static void make_room(struct http *h, const struct addr *from) {
  struct visitor *out = NULL;
  unsigned most = 0;
  for (struct visitor *v = h->visitors; v < end_of(h); v++) {
    if (!v->fd || v->stays || waits(v)) continue;
    unsigned have = v->place->have + addr_same_host(&v->from, from);
    bool less = out && (have != most ? have < most : has_asked(v) != has_asked(out) ? has_asked(v) : v->since >= out->since);
    if (less) continue;
    out = v;
    most = have;
  }
  char text[96];
  snprintf(text, sizeof text, "its address has the most of %u connections: one made room", h->most);
  if (out) displace(h, out, text);
}

/* The oldest handshake of an address that has as many as it may gives way to its newest. */
static void greet_fewer(struct http *h, const struct addr *from) {
  struct visitor *out = NULL;
  unsigned have = 0;
  for (struct visitor *v = h->visitors; v < end_of(h); v++) {
    if (!v->fd || v->asked || !addr_same_host(&v->from, from)) continue;
    have++;
    if (!out || v->since < out->since) out = v;
  }
  if (have >= GREET_EACH) displace(h, out, "its address has 8 connections without a request: the oldest made room");
}

void http_take(struct http *h, int fd, const struct addr *from) {
  if (h->cert) greet_fewer(h, from);
  if (h->count == h->most) make_room(h, from);
  bool room = h->count < h->most, paid = !h->cert || callers_afford(&h->handshakes, from, io_now());
  if (room && paid && mem_reserve(node_http_mem(h->node), PLAN_HTTP)) {
    unsigned count = h->count;
    if (h->cert) callers_charge(&h->handshakes, from, COST_HANDSHAKE);
    MHD_add_connection(h->mhd, fd, &from->sa, addr_len(from)); /* on failure it closes fd */
    if (h->count == count) mem_unreserve(node_http_mem(h->node), PLAN_HTTP);
    return;
  }
  h->stats.refused++;
  http_say(h, from, "http_refused", paid ? "no connection can make room" : "rate_limited: too many TLS handshakes");
  http_count(h);
  close(fd);
}

/* Nobody keeps a place by sending or reading a byte now and then. */
void http_sweep(struct http *h) {
  nanotime now = io_now();
  for (struct visitor *v = h->visitors; v < end_of(h); v++) {
    if (!v->fd || waits(v) || time_since(now, v->since) < time_of(v)) continue;
    h->stats.slow++;
    cut(h, v, "http_too_slow",
        !v->asked  ? "no whole request came in 5 s"
        : sends(v) ? "its body came more slowly than 16 KiB a second, after 5 s"
                   : "the answer was not read in 30 s");
  }
}
