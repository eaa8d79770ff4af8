/* Sockets and libmicrohttpd, driven by the node's own loop. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"
#include "daemon/http/login.h"
#include "daemon/http/state.h"

#define BACKLOG 64
#define ACCEPT_AT_ONCE 16 /* connections taken in a turn; */
#define GREET_AT_ONCE 2   /* of TLS, whose handshakes take most of a millisecond each */
#define GREET_SECONDS 5   /* for the first byte: before it the kernel keeps a connection of TLS to itself */
#define CONNECTION_MEMORY (32 * 1024)
#define SILENT_SECONDS 5
#define SWEEP_MS 1000
#define AGAIN_MOST 4     /* so in 16 ms */
#define TURN (2 * NS_MS) /* for texts of streams, in a turn */
#define REST_MS 100      /* without accepting, when there are no descriptors or there is no memory for one more */

void http_say(struct http *h, const struct addr *who, const char *event, const char *text) {
  char at[ADDR_TEXT_LEN];
  if (!bucket_take(&h->lines, 2, 20, io_now())) return;
  addr_text(who, at);
  log_info(h->log, event, "address=%s text=\"%s\"", at, text);
}

static void on_listen(uv_poll_t *p, int status, int events);
static void on_rested(uv_timer_t *t) {
  struct http *h = t->data;
  uv_poll_start(&h->listen, UV_READABLE, on_listen);
}

/* Whoever waits to be accepted would wake the loop without end. */
static void rest(struct http *h, int err) {
  uv_poll_stop(&h->listen);
  uv_timer_start(&h->rest, on_rested, REST_MS, 0);
  if (bucket_take(&h->rests, 0.1, 1, io_now()))
    log_warn(h->log, "http_cannot_accept", "text=\"%s: raise the limit of open files (ulimit -n, LimitNOFILE)\"",
             strerror(err));
}

static bool lacks_room(int err) { return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM; }

static void on_listen(uv_poll_t *p, int status, int events) {
  struct http *h = p->data;
  (void)status, (void)events;
  for (int i = 0; i < (h->cert ? GREET_AT_ONCE : ACCEPT_AT_ONCE); i++) {
    struct addr from = {0};
    socklen_t len = sizeof from;
    int fd = accept4(h->fd, &from.sa, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && lacks_room(errno)) rest(h, errno);
    if (fd < 0) break;
    http_take(h, fd, &from);
  }
  http_run(h);
}

static void on_sweep(uv_timer_t *t) {
  http_sweep(t->data);
  http_run(t->data);
}

/* ---- the loop -------------------------------------------------------------------------------------------------------------
 */
struct poller { /* of one libmicrohttpd */
  uv_poll_t poll;
  struct http *http;
};

static void on_timer(uv_timer_t *t);

/* libmicrohttpd does what is ready now, and says when it wants to be called again at the latest. "At once" it says as long as
 * it holds a part of a TLS record, too, whose rest may never come: that is not done in this turn, and less and less often. */
void http_run(struct http *h) {
  unsigned long long ms;
  h->resumed = false;
  h->turn_end = time_add(io_now(), TURN);
  h->served = false;
  h->first = h->put_off;
  h->put_off = 0;
  MHD_run(h->mhd);
  if (MHD_get_timeout(h->mhd, &ms) == MHD_YES) {
    if (ms) h->again = 0;
    uv_timer_start(&h->timer, on_timer, ms ? ms : 1u << h->again, 0);
    if (!ms && h->again < AGAIN_MOST && !http_any_asked(h)) h->again++;
  } else
    uv_timer_stop(&h->timer);
  if (!h->count)
    uv_timer_stop(&h->sweep);
  else if (!uv_is_active((uv_handle_t *)&h->sweep))
    uv_timer_start(&h->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
}
static void on_timer(uv_timer_t *t) { http_run(t->data); }
static void on_poll(uv_poll_t *p, int status, int events) {
  struct http *h = p->data;
  (void)status, (void)events;
  h->again = 0;
  http_run(h);
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
    if (!bind(fd, &at->sa, addr_len(at)) && !listen(fd, BACKLOG)) {
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
      NULL, NULL, http_handle, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, h, MHD_OPTION_CONNECTION_LIMIT, 2 * h->most,
      MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENT_SECONDS,
      MHD_OPTION_NOTIFY_CONNECTION, http_connection, h, MHD_OPTION_NOTIFY_COMPLETED, http_completed, h,
      MHD_OPTION_URI_LOG_CALLBACK, http_begins, h, MHD_OPTION_UNESCAPE_CALLBACK, http_unescape, NULL, MHD_OPTION_ARRAY,
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
  h->closing = true;
  for (struct visitor *v = h->visitors; v < h->visitors + h->most; v++)
    if (v->fd && v->request) http_resume(v->request);
  MHD_run(h->mhd);
  uv_close((uv_handle_t *)&h->poll->poll, free_poller);
  MHD_stop_daemon(h->mhd);
  h->closing = false;
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

static void free_all(struct http *h) {
  if (!h) return;
  if (h->logins) mem_free(node_http_mem(h->node), h->logins);
  free_texts(h);
  free(h->visitors);
  free(h->places);
  free(h);
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

static bool make_places(struct http *h, const struct http_options *o) {
  h->most = o->connections;
  h->share = o->share;
  h->visitors = calloc(h->most, sizeof *h->visitors);
  h->places = calloc(h->most, sizeof *h->places);
  return h->visitors && h->places;
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
  http_forget_lookups(h);
  free_all(h);
}

int http_start(struct io_loop *loop, struct node *node, const struct log *log, const struct addr *at,
               const struct http_options *o, struct http **ret_http, char *ret_why) {
  int fd, err = listen_at(at, &fd, ret_why);
  if (err) return err;
  struct http *h = calloc(1, sizeof *h);
  uv_loop_t *uv = io_loop_uv(loop);
  err = !h || copy_texts(h, o) || !make_places(h, o) ? MACULA_ENOMEM : node_http_open(node);
  if (!err) {
    socklen_t len = sizeof h->local;
    getsockname(fd, &h->local.sa, &len);
    h->node = node;
    h->loop = loop;
    h->log = log;
    h->rng = io_rng();
    h->cookie = http_cookie_login;
    h->fd = fd;
    h->handshakes.burst = HANDSHAKES_AT_ONCE * COST_HANDSHAKE;
    h->mhd = start_server(h, h->cert, h->key, &h->poll);
    err = h->mhd ? 0 : h->cert ? MACULA_CERTIFICATE_INVALID : MACULA_EIO;
  }
  if (!err && uv_poll_init(uv, &h->listen, fd)) {
    stop_server(h);
    err = MACULA_EIO;
  }
  if (err) {
    free_all(h);
    close(fd);
    snprintf(ret_why, 256, "HTTP cannot start: %s", macula_err_text(err));
    return err;
  }
  uv_timer_init(uv, &h->timer);
  uv_timer_init(uv, &h->sweep);
  uv_timer_init(uv, &h->rest);
  h->listen.data = h->timer.data = h->sweep.data = h->rest.data = h;
  h->open_handles = 4;
  uv_poll_start(&h->listen, UV_READABLE, on_listen);
  http_run(h);
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
  h->share = o->share;
  if (anew) {
    stop_server(h);
    await_greetings(h);
    h->mhd = mhd;
    h->poll = poll;
    http_run(h);
  }
  http_judge_logins(h);
  warn_of_clear_token(h);
  return 0;
}

void http_turn(struct http *h) {
  if (h && h->resumed) http_run(h);
}

void http_close(struct http *h) {
  if (!h) return;
  stop_server(h);
  uv_close((uv_handle_t *)&h->listen, on_closed);
  uv_close((uv_handle_t *)&h->timer, on_closed);
  uv_close((uv_handle_t *)&h->sweep, on_closed);
  uv_close((uv_handle_t *)&h->rest, on_closed);
  close(h->fd);
}
