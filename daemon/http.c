#include "http.h"

#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "callers.h"
#include "metrics.h"
#include "node/memory/plan.h"
#include "node/view/state.h"

#define MAX_CONNECTIONS 32
#define MAX_WAITING 8     /* of them, those for which the node is looking something up: they cannot make room */
#define ACCEPT_AT_ONCE 16 /* connections taken in a turn; */
#define GREET_AT_ONCE 2   /* of TLS, whose handshakes take most of a millisecond each */
#define GREET_EACH 4      /* of an address, until their requests have come: those could all finish in one turn */
#define GREET_SECONDS 5   /* for the first byte: before it the kernel keeps a connection of TLS to itself */
#define CONNECTION_MEMORY (32 * 1024)
#define SILENT_SECONDS 5
#define REQUEST_TIME (5 * NS_SEC) /* for the whole of a request to come */
#define ANSWER_TIME (30 * NS_SEC) /* until whoever reads slowly has it all */
#define SWEEP_MS 1000
#define AGAIN_MOST 4 /* so in 16 ms */
#define METHODS "GET, HEAD"
static_assert(MAX_CONNECTIONS <= PLAN_HTTP_CONNECTIONS, "more TLS sessions than the plan has room for");

#define COST_HANDSHAKE 100 /* a TLS session, in rows: callers.h */

struct waiting { /* a request whose answer takes a while */
  struct http *http;
  struct MHD_Connection *c; /* NULL: it has ended before the node has answered */
  struct waiting *next;
  char *text;
  bool suspended, found; /* found: the node has answered */
  int err;
};

struct visitor { /* a connection */
  int fd;        /* 0: none */
  struct addr from;
  nanotime since;
  bool asked;         /* its request has come */
  bool waits;         /* suspended: libmicrohttpd cannot end it now */
  const char *origin; /* of the page that asks, when it is one of http_origins */
};

struct http {
  struct node *node;
  struct io_loop *loop;
  struct waiting *waiting;
  const struct log *log;
  char *token, *cert, *key, *hosts, *origins; /* NULL: none */
  struct addr local;
  int fd; /* listens */
  struct MHD_Daemon *mhd;
  struct poller *poll;
  uv_poll_t listen;
  uv_timer_t timer, sweep;
  unsigned open_handles, again; /* again: times that libmicrohttpd had more to do, and did nothing; up to AGAIN_MOST */
  struct visitor visitors[MAX_CONNECTIONS];
  unsigned count; /* of visitors */
  struct callers callers;
  struct bucket lines; /* of the log about who was refused or ended */
  struct http_stats stats;
};

/* ---- answers --------------------------------------------------------------------------------------------------------------
 */
static void free_text(void *text) { node_text_free(text); }

static struct visitor *visitor_of(struct MHD_Connection *c) {
  return MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* Sends text, which is the node's (node_text_free) and taken, or static. */
static enum MHD_Result answer_with(struct MHD_Connection *c, unsigned status, const char *type, char *text, bool take) {
  struct MHD_Response *r = take ? MHD_create_response_from_buffer_with_free_callback(strlen(text), text, free_text)
                                : MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY);
  if (!r) {
    if (take) free_text(text);
    return MHD_NO; /* closes the connection */
  }
  MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
  MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
  if (status == MHD_HTTP_METHOD_NOT_ALLOWED) MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, METHODS);
  if (status == MHD_HTTP_TOO_MANY_REQUESTS) MHD_add_response_header(r, MHD_HTTP_HEADER_RETRY_AFTER, "1");
  const char *origin = visitor_of(c)->origin;
  if (origin) { /* the page's own script may read it */
    MHD_add_response_header(r, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    MHD_add_response_header(r, MHD_HTTP_HEADER_VARY, MHD_HTTP_HEADER_ORIGIN);
    MHD_add_response_header(r, "Access-Control-Allow-Headers", MHD_HTTP_HEADER_AUTHORIZATION);
  }
  if (status == MHD_HTTP_UNAUTHORIZED) MHD_add_response_header(r, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
  enum MHD_Result ok = MHD_queue_response(c, status, r);
  MHD_destroy_response(r);
  return ok;
}

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *text) {
  return answer_with(c, status, "text/plain", (char *)text, false);
}

/* ---- who may ask -----------------------------------------------------------------------------------------------------------
 */
static const char *header(struct MHD_Connection *c, const char *name) {
  return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

/* Whether a list with commas has the name; with a port of its own or without, when any_port. */
static bool is_listed(const char *list, const char *name, bool any_port) {
  size_t whole = strlen(name), host = name[0] == '[' ? strcspn(name, "]") + 1 : strcspn(name, ":");
  for (const char *p = list; p && *p; p += *p == ',') {
    p += strspn(p, " ");
    size_t n = strcspn(p, ","), len = n;
    while (len && p[len - 1] == ' ') len--;
    if ((len == whole || (any_port && len == host)) && !strncasecmp(p, name, len)) return true;
    p += n;
  }
  return false;
}

/* A web page can reach us under a name that its author controls (DNS rebinding), but not under an address or the name
 * localhost, which browsers do not look up. */
static bool host_is_ours(const struct http *h, const char *host) {
  struct addr a;
  return !host || !addr_parse(host, 80, &a) || is_listed("localhost", host, true) || is_listed(h->hosts, host, true);
}

/* Whether the page that asks came from here itself: a browser says http(s)://HOST. */
static bool origin_is_ours(const struct http *h, const char *origin, const char *host) {
  const char *scheme = h->cert ? "https://" : "http://";
  size_t n = strlen(scheme);
  return host && !strncasecmp(origin, scheme, n) && !strcasecmp(origin + n, host);
}

/* Why nobody may ask in this way, or NULL. A host in the absolute form of the request takes precedence over the header (RFC
 * 9112, 3.2.2). A program that is no browser sends neither Origin nor Sec-Fetch-Site. */
static const char *judge_page(const struct http *h, struct MHD_Connection *c, const char *named) {
  const char *host = named[0] ? named : header(c, MHD_HTTP_HEADER_HOST), *origin = header(c, MHD_HTTP_HEADER_ORIGIN),
             *site = header(c, "Sec-Fetch-Site");
  struct visitor *v = visitor_of(c);
  if (!host_is_ours(h, host))
    return "This is no name of the node: use its address, or list the name with http_hosts (maculad.yaml)";
  if (origin && is_listed(h->origins, origin, false)) {
    v->origin = origin;
    return NULL;
  }
  if ((origin && !origin_is_ours(h, origin, host)) || (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0))
    return "Web pages of other origins may not ask: list their origin with http_origins (maculad.yaml)";
  return NULL;
}

static void say(struct http *h, const struct addr *who, const char *event, const char *text) {
  char at[ADDR_TEXT_LEN];
  if (!bucket_take(&h->lines, 2, 20, io_now())) return;
  addr_text(who, at);
  log_info(h->log, event, "address=%s text=\"%s\"", at, text);
}

static enum MHD_Result refuse(struct http *h, struct MHD_Connection *c, unsigned status, const char *text) {
  h->stats.refused++;
  say(h, &visitor_of(c)->from, "http_refused", text);
  return answer(c, status, text);
}

static bool from_here(struct MHD_Connection *c) { return addr_is_loopback(&visitor_of(c)->from); }

/* Compares in a time that depends only on the token's length. */
static bool token_matches(const struct http *h, struct MHD_Connection *c) {
  const char *given = header(c, MHD_HTTP_HEADER_AUTHORIZATION);
  if (!given || strncasecmp(given, "Bearer ", 7) != 0) return false;
  given += 7;
  size_t n = strlen(h->token);
  if (strlen(given) != n) return false;
  unsigned char diff = 0;
  for (size_t i = 0; i < n; i++) diff |= (unsigned char)(given[i] ^ h->token[i]);
  return diff == 0;
}

static size_t number_of(struct MHD_Connection *c, const char *key, size_t most) {
  const char *text = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, key);
  size_t n = 0;
  for (; text && *text >= '0' && *text <= '9' && n < most; text++) n = n * 10 + (size_t)(*text - '0');
  return n < most ? n : most;
}

static enum MHD_Result answer_dht(struct http *h, struct MHD_Connection *c, const char *what, void **state);

static enum MHD_Result answer_api(struct http *h, struct MHD_Connection *c, const char *what, void **state) {
  char *json;
  if (h->token && !token_matches(h, c)) return refuse(h, c, MHD_HTTP_UNAUTHORIZED, "Send 'Authorization: Bearer TOKEN'");
  if (!h->token && !from_here(c))
    return refuse(h, c, MHD_HTTP_FORBIDDEN, "From other machines /api needs a token: set http_token");
  if (!strncmp(what, "dht/", 4)) return answer_dht(h, c, what + 4, state);
  int err =
      node_render(h->node, what, number_of(c, "offset", SIZE_MAX / 16), number_of(c, "limit", LIST_PAGE), io_now(), &json);
  if (err == MACULA_ENOTFOUND) return answer(c, MHD_HTTP_NOT_FOUND, "Not found");
  if (err) return answer(c, MHD_HTTP_SERVICE_UNAVAILABLE, "Service unavailable");
  callers_charge(&h->callers, &visitor_of(c)->from, strlen(json) / COST_BYTES);
  return answer_with(c, MHD_HTTP_OK, "application/json", json, true);
}

static void run(struct http *h);

static void forget(struct waiting *w) {
  for (struct waiting **at = &w->http->waiting; *at; at = &(*at)->next)
    if (*at == w) {
      *at = w->next;
      break;
    }
  free(w->text);
  free(w);
}

static void resume(struct waiting *w) {
  if (!w->suspended) return;
  w->suspended = false;
  visitor_of(w->c)->waits = false;
  MHD_resume_connection(w->c);
}

/* The node has answered. */
static void on_found(void *ctx, int err, const char *json) {
  struct waiting *w = ctx;
  w->found = true;
  w->err = err;
  if (!w->c) {
    forget(w);
    return;
  }
  w->text = strdup(json);
  if (!w->suspended) return;
  resume(w);
  io_loop_wake(w->http->loop); /* run, but not within the node's turn */
}

static enum MHD_Result answer_found(struct MHD_Connection *c, const struct waiting *w) {
  unsigned status = !w->err                    ? MHD_HTTP_OK
                    : w->err == MACULA_EINVAL  ? MHD_HTTP_BAD_REQUEST
                    : w->err == MACULA_TIMEOUT ? MHD_HTTP_GATEWAY_TIMEOUT
                                               : MHD_HTTP_SERVICE_UNAVAILABLE;
  if (!w->text) return answer(c, MHD_HTTP_SERVICE_UNAVAILABLE, "Service unavailable");
  return answer_with(c, status, w->err ? "text/plain" : "application/json", w->text, false);
}

/* /api/dht/get?key=KEY and /api/dht/lookup?node=ID */
static enum MHD_Result answer_dht(struct http *h, struct MHD_Connection *c, const char *what, void **state) {
  const char *arg = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, !strcmp(what, "get") ? "key" : "node");
  unsigned count = 0;
  for (struct waiting *w = h->waiting; w; w = w->next) count++;
  if (strcmp(what, "get") != 0 && strcmp(what, "lookup") != 0) return answer(c, MHD_HTTP_NOT_FOUND, "Not found");
  if (count >= MAX_WAITING)
    return refuse(h, c, MHD_HTTP_TOO_MANY_REQUESTS, "rate_limited: 8 lookups are under way: ask again when they have ended");
  struct waiting *w = calloc(1, sizeof *w);
  if (!w) return answer(c, MHD_HTTP_SERVICE_UNAVAILABLE, "Service unavailable");
  w->http = h;
  w->c = c;
  w->next = h->waiting;
  h->waiting = w;
  *state = w;
  callers_charge(&h->callers, &visitor_of(c)->from, COST_DHT);
  node_dht(h->node, what, arg, on_found, w, io_now());
  if (w->found) return answer_found(c, w);
  w->suspended = visitor_of(c)->waits = true;
  MHD_suspend_connection(c);
  io_loop_wake(h->loop);
  return MHD_YES;
}

/* A request is over, answered or cut off; the node may still be looking. */
static void on_completed(void *ctx, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode code) {
  struct waiting *w = *state;
  (void)ctx, (void)c, (void)code;
  if (!w) return;
  w->c = NULL;
  if (w->found) forget(w);
}

/* The path of http://HOST/path, as of /path; ret_host gets HOST, "" when none is named. */
static const char *split(const char *url, char ret_host[256]) {
  const char *host = !strncasecmp(url, "http://", 7) ? url + 7 : NULL;
  ret_host[0] = 0;
  if (!host) return url;
  size_t n = strcspn(host, "/?");
  snprintf(ret_host, 256, "%.*s", n && n < 256 ? (int)n : 1, n && n < 256 ? host : "?"); /* none, or too long: not ours */
  return host[n] == '/' ? host + n : "/";
}

static bool is_known(const char *path) {
  static const char *const known[] = {"/health", "/ready", "/live", "/metrics"};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (!strcmp(path, known[i])) return true;
  return !strncmp(path, "/api/", 5);
}

static enum MHD_Result answer_probe(struct http *h, struct MHD_Connection *c, const char *path, nanotime now) {
  char health[128], note[NODE_WHY_LEN], text[NODE_WHY_LEN + 16];
  bool ready = node_ready(h->node, now, note);
  if (!strcmp(path, "/health")) {
    snprintf(health, sizeof health, "{\"status\":\"healthy\",\"ready\":%s,\"uptime\":%llu}", ready ? "true" : "false",
             (unsigned long long)node_uptime_s(h->node, now));
    return answer_with(c, MHD_HTTP_OK, "application/json", health, false);
  }
  if (!strcmp(path, "/ready")) {
    snprintf(text, sizeof text, "%s%s%s", ready ? "Ready" : "Not ready", note[0] ? ": " : "", note);
    return answer(c, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, text);
  }
  bool live = io_loop_serves(h->loop, now);
  return answer(c, live ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, live ? "Live" : "Not live: no datagram moves");
}

static enum MHD_Result handle(void *ctx, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                              const char *upload, size_t *upload_size, void **state) {
  struct http *h = ctx;
  struct visitor *v = visitor_of(c);
  nanotime now = io_now();
  char *text, host[256];
  (void)version, (void)upload;
  if (*state) return answer_found(c, *state);
  if (*upload_size) { /* a body is not wanted, whatever it is */
    *upload_size = 0;
    return MHD_YES;
  }
  v->asked = true;
  v->origin = NULL;
  h->stats.requests++;
  url = split(url, host);
  const char *why = judge_page(h, c, host);
  if (why) return refuse(h, c, MHD_HTTP_FORBIDDEN, why);
  if (!is_known(url)) return answer(c, MHD_HTTP_NOT_FOUND, "Not found");
  if (v->origin && !strcmp(method, MHD_HTTP_METHOD_OPTIONS)) return answer(c, MHD_HTTP_NO_CONTENT, "");
  if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
    return answer(c, MHD_HTTP_METHOD_NOT_ALLOWED, "Only " METHODS);
  bool metrics = !strcmp(url, "/metrics");
  if (!metrics && strncmp(url, "/api/", 5) != 0) return answer_probe(h, c, url, now);
  if (!callers_afford(&h->callers, &v->from, now))
    return refuse(h, c, MHD_HTTP_TOO_MANY_REQUESTS, "rate_limited: ask less often, for fewer rows; probes cost nothing");
  callers_charge(&h->callers, &v->from, COST_QUESTION);
  if (!metrics) return answer_api(h, c, url + strlen("/api/"), state);
  if (metrics_text(h->node, h->loop, &h->stats, now, &text))
    return answer(c, MHD_HTTP_SERVICE_UNAVAILABLE, "Service unavailable");
  callers_charge(&h->callers, &v->from, strlen(text) / COST_BYTES / 8); /* plain text is made fast */
  return answer_with(c, MHD_HTTP_OK, "text/plain; version=0.0.4", text, true);
}

/* ---- connections ---------------------------------------------------------------------------------------------------------
 */
static void run(struct http *h);

static void on_connection(void *ctx, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode code) {
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

/* libmicrohttpd sees that nothing more comes, and ends it in its next run. */
static void cut(struct http *h, struct visitor *v, const char *event, const char *text) {
  say(h, &v->from, event, text);
  shutdown(v->fd, SHUT_RDWR);
}

/* Of the address that has the most connections, the new one counted, one gives way: rather one whose request has not come, and
 * the oldest. So no address can have all, and what has just come is answered. */
static void make_room(struct http *h, const struct addr *from) {
  struct visitor *out = NULL;
  unsigned most = 0;
  for (struct visitor *v = h->visitors; v < h->visitors + MAX_CONNECTIONS; v++) {
    if (!v->fd || v->waits) continue;
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

static void take(struct http *h, int fd, const struct addr *from) {
  if (h->cert) greet_fewer(h, from);
  if (h->count == MAX_CONNECTIONS) make_room(h, from);
  bool room = h->count < MAX_CONNECTIONS, paid = !h->cert || callers_afford(&h->callers, from, io_now());
  if (room && paid) {
    if (h->cert) callers_charge(&h->callers, from, COST_HANDSHAKE);
    MHD_add_connection(h->mhd, fd, &from->sa, addr_len(from)); /* on failure it closes fd */
    return;
  }
  h->stats.refused++;
  say(h, from, "http_refused", paid ? "no connection of the 32 can make room" : "rate_limited: too many TLS handshakes");
  close(fd);
}

static void on_listen(uv_poll_t *p, int status, int events) {
  struct http *h = p->data;
  (void)status, (void)events;
  for (int i = 0; i < (h->cert ? GREET_AT_ONCE : ACCEPT_AT_ONCE); i++) {
    struct addr from = {0};
    socklen_t len = sizeof from;
    int fd = accept4(h->fd, &from.sa, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) break;
    take(h, fd, &from);
  }
  run(h);
}

/* Nobody keeps a place by sending or reading a byte now and then. */
static void on_sweep(uv_timer_t *t) {
  struct http *h = t->data;
  nanotime now = io_now();
  for (struct visitor *v = h->visitors; v < h->visitors + MAX_CONNECTIONS; v++) {
    if (!v->fd || v->waits || time_since(now, v->since) < (v->asked ? ANSWER_TIME : REQUEST_TIME)) continue;
    h->stats.slow++;
    cut(h, v, "http_too_slow", v->asked ? "the answer was not read in 30 s" : "no whole request came in 5 s");
  }
  run(h);
}

/* ---- the loop -------------------------------------------------------------------------------------------------------------
 */
struct poller { /* of one libmicrohttpd */
  uv_poll_t poll;
  struct http *http;
};

static void on_timer(uv_timer_t *t);

static bool any_asked(const struct http *h) {
  for (const struct visitor *v = h->visitors; v < h->visitors + MAX_CONNECTIONS; v++)
    if (v->fd && v->asked) return true;
  return false;
}

/* libmicrohttpd does what is ready now, and says when it wants to be called again at the latest. "At once" it says as long as
 * it holds a part of a TLS record, too, whose rest may never come: that is not done in this turn, and less and less often. */
static void run(struct http *h) {
  unsigned long long ms;
  MHD_run(h->mhd);
  if (MHD_get_timeout(h->mhd, &ms) == MHD_YES) {
    if (ms) h->again = 0;
    uv_timer_start(&h->timer, on_timer, ms ? ms : 1u << h->again, 0);
    if (!ms && h->again < AGAIN_MOST && !any_asked(h)) h->again++;
  } else
    uv_timer_stop(&h->timer);
  if (!h->count)
    uv_timer_stop(&h->sweep);
  else if (!uv_is_active((uv_handle_t *)&h->sweep))
    uv_timer_start(&h->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
}
static void on_timer(uv_timer_t *t) { run(t->data); }
static void on_poll(uv_poll_t *p, int status, int events) {
  struct http *h = p->data;
  (void)status, (void)events;
  h->again = 0;
  run(h);
}

__attribute__((format(printf, 2, 0))) static void on_log(void *ctx, const char *fmt, va_list args) {
  struct http *h = ctx;
  char text[256];
  vsnprintf(text, sizeof text, fmt, args);
  text[strcspn(text, "\r\n")] = 0;
  log_debug(h->log, "http", "text=\"%s\"", text);
}

static int listen_at(const struct addr *at, int *ret_fd, char *ret_why) {
  char text[ADDR_TEXT_LEN];
  int on = 1;
  addr_text(at, text);
  int fd = socket(at->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd >= 0) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!bind(fd, &at->sa, addr_len(at)) && !listen(fd, MAX_CONNECTIONS)) {
      *ret_fd = fd;
      return 0;
    }
  }
  int e = errno;
  if (fd >= 0) close(fd);
  snprintf(ret_why, 256, "HTTP cannot listen on %s: %s; give another with --http ADDR:PORT, or --http off", text,
           e == EADDRINUSE ? "the port is in use" : strerror(e));
  return e == EADDRINUSE             ? MACULA_EBUSY
         : e == EACCES || e == EPERM ? MACULA_NOT_AUTHORIZED
         : e == EADDRNOTAVAIL        ? MACULA_EINVAL
                                     : MACULA_EIO;
}

static void free_poller(uv_handle_t *handle) { free(container_of((uv_poll_t *)handle, struct poller, poll)); }

/* One for these certificates, polled. NULL: it cannot be had. */
static struct MHD_Daemon *start_server(struct http *h, const char *cert, const char *key, struct poller **ret_poll) {
  struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)cert},
                                 {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)key},
                                 {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
                                 {MHD_OPTION_END, 0, NULL}};
  struct poller *p = calloc(1, sizeof *p);
  struct MHD_Daemon *mhd = MHD_start_daemon(
      MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME | (cert ? MHD_USE_TLS : 0), 0,
      NULL, NULL, handle, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, h, MHD_OPTION_CONNECTION_LIMIT, 2 * (unsigned)MAX_CONNECTIONS,
      MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENT_SECONDS,
      MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_ARRAY,
      cert ? tls : &tls[3], MHD_OPTION_END);
  const union MHD_DaemonInfo *info = mhd ? MHD_get_daemon_info(mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
  if (!p || !info || uv_poll_init(io_loop_uv(h->loop), &p->poll, info->epoll_fd)) {
    if (mhd) MHD_stop_daemon(mhd);
    free(p);
    return NULL;
  }
  p->poll.data = h;
  uv_poll_start(&p->poll, UV_READABLE, on_poll);
  *ret_poll = p;
  return mhd;
}

/* Whoever waits for an answer is told that there is none. */
static void stop_server(struct http *h) {
  for (struct waiting *w = h->waiting; w; w = w->next) resume(w);
  MHD_run(h->mhd);
  uv_close((uv_handle_t *)&h->poll->poll, free_poller);
  MHD_stop_daemon(h->mhd);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------
 */
static void free_secret(char *text) {
  if (text) explicit_bzero(text, strlen(text));
  free(text);
}

static void free_texts(struct http *h) {
  free_secret(h->token);
  free_secret(h->cert);
  free_secret(h->key);
  free(h->hosts);
  free(h->origins);
}

/* Into the texts of h, all or none. */
static int copy_texts(struct http *h, const struct http_options *o) {
  const char *from[] = {o->token, o->cert, o->key, o->hosts, o->origins};
  char *copy[5] = {0};
  bool all = true;
  for (int i = 0; i < 5; i++) all &= !from[i] || (copy[i] = strdup(from[i]));
  struct http texts = {.token = copy[0], .cert = copy[1], .key = copy[2], .hosts = copy[3], .origins = copy[4]};
  if (!all) {
    free_texts(&texts);
    return MACULA_ENOMEM;
  }
  free_texts(h);
  h->token = texts.token;
  h->cert = texts.cert;
  h->key = texts.key;
  h->hosts = texts.hosts;
  h->origins = texts.origins;
  return 0;
}

static void await_greetings(const struct http *h) {
  int seconds = h->cert ? GREET_SECONDS : 0;
  setsockopt(h->fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds);
}

static void warn_of_clear_token(const struct http *h) {
  char at[ADDR_TEXT_LEN];
  if (!h->token || h->cert || addr_is_loopback(&h->local)) return;
  addr_text(&h->local, at);
  log_warn(h->log, "http_token_in_clear",
           "address=%s text=\"whoever is on the way reads the token of each request: set http_tls or http_cert, or listen on "
           "loopback\"",
           at);
}

static void on_closed(uv_handle_t *handle) {
  struct http *h = handle->data;
  if (--h->open_handles) return;
  while (h->waiting) forget(h->waiting);
  free_texts(h);
  free(h);
}

int http_start(struct io_loop *loop, struct node *node, const struct log *log, const struct addr *at,
               const struct http_options *o, struct http **ret_http, char *ret_why) {
  int fd, err = listen_at(at, &fd, ret_why);
  if (err) return err;
  struct http *h = calloc(1, sizeof *h);
  uv_loop_t *uv = io_loop_uv(loop);
  err = !h || copy_texts(h, o) ? MACULA_ENOMEM : 0;
  if (!err) {
    socklen_t len = sizeof h->local;
    getsockname(fd, &h->local.sa, &len);
    h->node = node;
    h->loop = loop;
    h->log = log;
    h->fd = fd;
    h->mhd = start_server(h, h->cert, h->key, &h->poll);
    err = h->mhd ? 0 : h->cert ? MACULA_CERTIFICATE_INVALID : MACULA_EIO;
  }
  if (!err && uv_poll_init(uv, &h->listen, fd)) {
    stop_server(h);
    err = MACULA_EIO;
  }
  if (err) {
    if (h) free_texts(h);
    free(h);
    close(fd);
    snprintf(ret_why, 256, "HTTP cannot start: %s", macula_err_text(err));
    return err;
  }
  uv_timer_init(uv, &h->timer);
  uv_timer_init(uv, &h->sweep);
  h->listen.data = h->timer.data = h->sweep.data = h;
  h->open_handles = 3;
  uv_poll_start(&h->listen, UV_READABLE, on_listen);
  run(h);
  await_greetings(h);
  warn_of_clear_token(h);
  *ret_http = h;
  return 0;
}

const struct addr *http_local(const struct http *h) { return &h->local; }
bool http_is_tls(const struct http *h) { return h->cert != NULL; }

static bool same(const char *a, const char *b) { return a && b ? !strcmp(a, b) : a == b; }

int http_set(struct http *h, const struct http_options *o) {
  struct MHD_Daemon *mhd = NULL;
  struct poller *poll = NULL;
  bool anew = !same(h->cert, o->cert) || !same(h->key, o->key);
  if (anew && !(mhd = start_server(h, o->cert, o->key, &poll))) return MACULA_CERTIFICATE_INVALID;
  int err = copy_texts(h, o);
  if (err) {
    if (mhd) {
      uv_close((uv_handle_t *)&poll->poll, free_poller);
      MHD_stop_daemon(mhd);
    }
    return err;
  }
  if (anew) {
    stop_server(h);
    await_greetings(h);
    h->mhd = mhd;
    h->poll = poll;
    run(h);
  }
  warn_of_clear_token(h);
  return 0;
}

void http_turn(struct http *h) {
  if (h && h->waiting) run(h);
}

void http_close(struct http *h) {
  if (!h) return;
  stop_server(h);
  uv_close((uv_handle_t *)&h->listen, on_closed);
  uv_close((uv_handle_t *)&h->timer, on_closed);
  uv_close((uv_handle_t *)&h->sweep, on_closed);
  close(h->fd);
}
