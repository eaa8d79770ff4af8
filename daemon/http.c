#include "http.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "metrics.h"

#define MAX_CONNECTIONS 32
#define CONNECTION_MEMORY (32 * 1024)
#define CONNECTION_SECONDS 5
#define MAX_PAGE 1000
#define METHODS "GET, HEAD"

struct waiting { /* a request whose answer takes a while */
  struct http *http;
  struct MHD_Connection *c;
  struct waiting *next;
  char *text; /* static when err is not 0 */
  bool suspended, ready;
  int err;
};

struct http {
  struct node *node;
  struct io_loop *loop;
  struct waiting *waiting;
  const struct log *log;
  char *token;
  struct addr local;
  struct MHD_Daemon *mhd;
  uv_poll_t poll;
  uv_timer_t timer;
  unsigned open_handles;
};

/* ---- answers --------------------------------------------------------------------------------------------------------------
 */
static void free_text(void *text) { node_text_free(text); }

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
  if (status == MHD_HTTP_UNAUTHORIZED) MHD_add_response_header(r, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
  enum MHD_Result ok = MHD_queue_response(c, status, r);
  MHD_destroy_response(r);
  return ok;
}

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *text) {
  return answer_with(c, status, "text/plain", (char *)text, false);
}

static bool from_here(struct MHD_Connection *c) {
  const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
  struct addr a = {.sa.sa_family = AF_UNSPEC};
  if (!i || !i->client_addr) return false;
  if (i->client_addr->sa_family == AF_INET) memcpy(&a.v4, i->client_addr, sizeof a.v4);
  if (i->client_addr->sa_family == AF_INET6) memcpy(&a.v6, i->client_addr, sizeof a.v6);
  return addr_is_loopback(&a);
}

/* A web page in a browser on this machine can reach us under a name that its author controls (DNS rebinding). So without a
 * token only a numeric Host or localhost is accepted. A host in the absolute form of the request takes precedence over the
 * header (RFC 9112, 3.2.2). */
static bool host_is_ours(struct MHD_Connection *c, const char *named) {
  const char *host = named[0] ? named : MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
  struct addr a;
  return !host || !addr_parse(host, 80, &a) || !strcasecmp(host, "localhost") || !strncasecmp(host, "localhost:", 10);
}

/* Compares in a time that depends only on the token's length. */
static bool token_matches(const struct http *h, struct MHD_Connection *c) {
  const char *given = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
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

static enum MHD_Result answer_api(struct http *h, struct MHD_Connection *c, const char *host, const char *what, void **state) {
  char *json;
  if (h->token && !token_matches(h, c)) return answer(c, MHD_HTTP_UNAUTHORIZED, "Send 'Authorization: Bearer TOKEN'");
  if (!h->token && !(from_here(c) && host_is_ours(c, host)))
    return answer(c, MHD_HTTP_FORBIDDEN, "From other machines /api needs a token: set http_token");
  if (!strncmp(what, "dht/", 4)) return answer_dht(h, c, what + 4, state);
  int err = node_render(h->node, what, number_of(c, "offset", SIZE_MAX / 16), number_of(c, "limit", MAX_PAGE), io_now(), &json);
  if (err == MACULA_ENOTFOUND) return answer(c, MHD_HTTP_NOT_FOUND, "Not found");
  if (err) return answer(c, MHD_HTTP_SERVICE_UNAVAILABLE, "Service unavailable");
  return answer_with(c, MHD_HTTP_OK, "application/json", json, true);
}

static void run(struct http *h);

/* The node has answered. */
static void on_found(void *ctx, int err, const char *json) {
  struct waiting *w = ctx;
  w->ready = true;
  w->err = err;
  w->text = strdup(json);
  if (!w->suspended) return;
  w->suspended = false;
  MHD_resume_connection(w->c);
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
  struct waiting *w = calloc(1, sizeof *w);
  if (strcmp(what, "get") != 0 && strcmp(what, "lookup") != 0) {
    free(w);
    return answer(c, MHD_HTTP_NOT_FOUND, "Not found");
  }
  if (!w) return answer(c, MHD_HTTP_SERVICE_UNAVAILABLE, "Service unavailable");
  w->http = h;
  w->c = c;
  w->next = h->waiting;
  h->waiting = w;
  *state = w;
  node_dht(h->node, what, arg, on_found, w, io_now());
  if (w->ready) return answer_found(c, w);
  w->suspended = true;
  MHD_suspend_connection(c);
  io_loop_wake(h->loop);
  return MHD_YES;
}

/* A request is over, thus answered: libmicrohttpd ends none that is suspended, and once http_close has resumed all the node is
 * not driven any more. */
static void on_completed(void *ctx, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode code) {
  struct http *h = ctx;
  struct waiting *w = *state;
  (void)c, (void)code;
  for (struct waiting **at = &h->waiting; w && *at; at = &(*at)->next)
    if (*at == w) {
      *at = w->next;
      free(w->text);
      free(w);
      return;
    }
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

static enum MHD_Result handle(void *ctx, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                              const char *upload, size_t *upload_size, void **state) {
  struct http *h = ctx;
  nanotime now = io_now();
  char *text, health[128], host[256], note[NODE_WHY_LEN], state_text[NODE_WHY_LEN + 16];
  bool ready = node_ready(h->node, now, note);
  (void)version, (void)upload;
  if (*state) return answer_found(c, *state);
  if (*upload_size) { /* a body is not wanted, whatever it is */
    *upload_size = 0;
    return MHD_YES;
  }
  url = split(url, host);
  if (!is_known(url)) return answer(c, MHD_HTTP_NOT_FOUND, "Not found");
  if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
    return answer(c, MHD_HTTP_METHOD_NOT_ALLOWED, "Only " METHODS);
  if (!strcmp(url, "/health")) {
    snprintf(health, sizeof health, "{\"status\":\"healthy\",\"ready\":%s,\"uptime\":%llu}", ready ? "true" : "false",
             (unsigned long long)node_uptime_s(h->node, now));
    return answer_with(c, MHD_HTTP_OK, "application/json", health, false);
  }
  if (!strcmp(url, "/ready")) {
    snprintf(state_text, sizeof state_text, "%s%s%s", ready ? "Ready" : "Not ready", note[0] ? ": " : "", note);
    return answer(c, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, state_text);
  }
  if (!strcmp(url, "/live")) {
    bool live = io_loop_serves(h->loop, now);
    return answer(c, live ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, live ? "Live" : "Not live: no datagram moves");
  }
  if (!strcmp(url, "/metrics")) {
    if (metrics_text(h->node, h->loop, now, &text)) return answer(c, MHD_HTTP_SERVICE_UNAVAILABLE, "Service unavailable");
    return answer_with(c, MHD_HTTP_OK, "text/plain; version=0.0.4", text, true);
  }
  return answer_api(h, c, host, url + strlen("/api/"), state);
}

/* ---- the loop -------------------------------------------------------------------------------------------------------------
 */
static void on_timer(uv_timer_t *t);

static unsigned connections(const struct http *h) {
  return MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)->num_connections;
}

/* libmicrohttpd does what is ready now, and says when it wants to be called again at the latest. A full one does not listen,
 * and listens again only at the beginning of the next run: without that it would never have one. */
static void run(struct http *h) {
  unsigned long long ms;
  unsigned before = connections(h);
  MHD_run(h->mhd);
  if (connections(h) < before) MHD_run(h->mhd);
  if (MHD_get_timeout(h->mhd, &ms) == MHD_YES)
    uv_timer_start(&h->timer, on_timer, ms, 0);
  else
    uv_timer_stop(&h->timer);
}
static void on_timer(uv_timer_t *t) { run(t->data); }
static void on_poll(uv_poll_t *p, int status, int events) {
  (void)status, (void)events;
  run(p->data);
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

static void on_closed(uv_handle_t *handle) {
  struct http *h = handle->data;
  if (--h->open_handles) return;
  if (h->mhd) MHD_stop_daemon(h->mhd);
  free(h->token);
  free(h);
}

int http_start(struct io_loop *loop, struct node *node, const struct log *log, const struct addr *at, const char *token,
               struct http **ret_http, char *ret_why) {
  int fd, err = listen_at(at, &fd, ret_why);
  if (err) return err;
  struct http *h = calloc(1, sizeof *h);
  if (!h || (token && !(h->token = strdup(token)))) {
    free(h);
    close(fd);
    snprintf(ret_why, 256, "%s", macula_err_text(MACULA_ENOMEM));
    return MACULA_ENOMEM;
  }
  socklen_t len = sizeof h->local;
  getsockname(fd, &h->local.sa, &len);
  h->node = node;
  h->loop = loop;
  h->log = log;
  h->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, handle, h,
                            MHD_OPTION_EXTERNAL_LOGGER, on_log, h, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
                            (unsigned)MAX_CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
                            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CONNECTION_SECONDS, MHD_OPTION_NOTIFY_COMPLETED,
                            on_completed, h, MHD_OPTION_END);
  const union MHD_DaemonInfo *info = h->mhd ? MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
  uv_loop_t *uv = io_loop_uv(loop);
  if (!info || uv_poll_init(uv, &h->poll, info->epoll_fd)) {
    if (h->mhd)
      MHD_stop_daemon(h->mhd); /* closes the socket */
    else
      close(fd);
    free(h->token);
    free(h);
    snprintf(ret_why, 256, "HTTP cannot start: %s", macula_err_text(MACULA_EIO));
    return MACULA_EIO;
  }
  uv_timer_init(uv, &h->timer);
  h->poll.data = h->timer.data = h;
  h->open_handles = 2;
  uv_poll_start(&h->poll, UV_READABLE, on_poll);
  run(h);
  *ret_http = h;
  return 0;
}

const struct addr *http_local(const struct http *h) { return &h->local; }

int http_set_token(struct http *h, const char *token) {
  char *copy = token ? strdup(token) : NULL;
  if (token && !copy) return MACULA_ENOMEM;
  free(h->token);
  h->token = copy;
  return 0;
}

void http_turn(struct http *h) {
  if (h && h->waiting) run(h);
}

void http_close(struct http *h) {
  if (!h) return;
  for (struct waiting *w = h->waiting; w; w = w->next)
    if (w->suspended) on_found(w, MACULA_SHUTTING_DOWN, macula_err_text(MACULA_SHUTTING_DOWN));
  uv_close((uv_handle_t *)&h->poll, on_closed);
  uv_close((uv_handle_t *)&h->timer, on_closed);
}
