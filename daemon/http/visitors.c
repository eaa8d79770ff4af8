/* Connections: which are taken, and which make room. */
#include <assert.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/http/state.h"
#include "node/memory/plan.h"

#define GREET_EACH 4              /* handshakes of an address, until their requests have come: all could finish in one turn */
#define REQUEST_TIME (5 * NS_SEC) /* for the whole of a request to come */
#define ANSWER_TIME (30 * NS_SEC) /* until whoever reads slowly has it all */
static_assert(MAX_CONNECTIONS <= PLAN_HTTP_CONNECTIONS, "more TLS sessions than the plan has room for");

void http_connection(void *ctx, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode code) {
  struct http *h = ctx;
  struct visitor *v = *context;
  if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
    v->fd = 0;
    h->count--;
    return;
  }
  for (v = h->visitors; v->fd; v++) assert(v < h->visitors + MAX_CONNECTIONS - 1);
  *v = (struct visitor){.fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd, .since = io_now()};
  const struct sockaddr *from = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
  if (from->sa_family == AF_INET) memcpy(&v->from.v4, from, sizeof v->from.v4);
  if (from->sa_family == AF_INET6) memcpy(&v->from.v6, from, sizeof v->from.v6);
  h->count++;
  *context = v;
}

bool http_any_asked(const struct http *h) {
  for (const struct visitor *v = h->visitors; v < h->visitors + MAX_CONNECTIONS; v++)
    if (v->fd && v->asked) return true;
  return false;
}

/* Suspended: libmicrohttpd cannot end it now. */
static bool waits(const struct visitor *v) { return v->request && v->request->suspended; }

/* libmicrohttpd sees that nothing more comes, and ends it in its next run. */
static void cut(struct http *h, struct visitor *v, const char *event, const char *text) {
  http_say(h, &v->from, event, text);
  shutdown(v->fd, SHUT_RDWR);
}

/* Of the address that has the most connections, the new one counted, one gives way: rather one whose request has not come, and
 * the oldest. So no address can have all, and what has just come is answered. */
static void make_room(struct http *h, const struct addr *from) {
  struct visitor *out = NULL;
  unsigned most = 0;
  for (struct visitor *v = h->visitors; v < h->visitors + MAX_CONNECTIONS; v++) {
    if (!v->fd || waits(v)) continue;
    unsigned have = addr_same_host(&v->from, from);
    for (size_t i = 0; i < MAX_CONNECTIONS; i++) have += h->visitors[i].fd && addr_same_host(&h->visitors[i].from, &v->from);
    bool less = out && (have != most ? have < most : v->asked != out->asked ? v->asked : v->since >= out->since);
    if (less) continue;
    out = v;
    most = have;
  }
  if (!out) return;
  h->stats.displaced++;
  cut(h, out, "http_displaced", "its address has the most of 32 connections: one made room");
  MHD_run(h->mhd);
}

/* The oldest handshake of an address that has as many as it may gives way to its newest. */
static void greet_fewer(struct http *h, const struct addr *from) {
  struct visitor *out = NULL;
  unsigned have = 0;
  for (struct visitor *v = h->visitors; v < h->visitors + MAX_CONNECTIONS; v++) {
    if (!v->fd || v->asked || !addr_same_host(&v->from, from)) continue;
    have++;
    if (!out || v->since < out->since) out = v;
  }
  if (have < GREET_EACH) return;
  h->stats.displaced++;
  cut(h, out, "http_displaced", "its address has 4 connections without a request: the oldest made room");
  MHD_run(h->mhd);
}

void http_take(struct http *h, int fd, const struct addr *from) {
  if (h->cert) greet_fewer(h, from);
  if (h->count == MAX_CONNECTIONS) make_room(h, from);
  bool room = h->count < MAX_CONNECTIONS, paid = !h->cert || callers_afford(&h->callers, from, io_now());
  if (room && paid) {
    if (h->cert) callers_charge(&h->callers, from, COST_HANDSHAKE);
    MHD_add_connection(h->mhd, fd, &from->sa, addr_len(from)); /* on failure it closes fd */
    return;
  }
  h->stats.refused++;
  http_say(h, from, "http_refused", paid ? "no connection of the 32 can make room" : "rate_limited: too many TLS handshakes");
  close(fd);
}

/* Nobody keeps a place by sending or reading a byte now and then. */
void http_sweep(struct http *h) {
  nanotime now = io_now();
  for (struct visitor *v = h->visitors; v < h->visitors + MAX_CONNECTIONS; v++) {
    if (!v->fd || waits(v) || time_since(now, v->since) < (v->asked ? ANSWER_TIME : REQUEST_TIME)) continue;
    h->stats.slow++;
    cut(h, v, "http_too_slow", v->asked ? "the answer was not read in 30 s" : "no whole request came in 5 s");
  }
}
