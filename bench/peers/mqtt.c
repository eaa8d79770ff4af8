/* Any server of MQTT 3.1.1, over TCP ("HOST:PORT") or TLS ("tls:HOST:PORT"; GnuTLS): by hand, so that the client costs little
 * and is the same for all. Who sends has another thread than who receives; what a thread has for a connection goes out at once.
 * It has no calls. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <gnutls/gnutls.h>

#include "drive.h"

#define MOST_UNSENT (256 << 10) /* bytes */
#define RECEIVE (256 << 10)
#define EVENTS 256

enum { CONNECT = 1, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK };

struct bytes {
  uint8_t *p;
  size_t n, cap;
};

struct loop {
  int epoll, wake;
  pthread_t thread;
  pthread_mutex_t lock;
  struct connection *dirty;
  uint8_t buf[RECEIVE];
};

struct connection {
  int fd;
  gnutls_session_t tls; /* NULL: TCP */
  struct loop *loop;
  void *subscriber;
  atomic_bool subscribed;
  pthread_mutex_t lock; /* of out, ids and what is dirty */
  struct bytes out;
  struct connection *next_dirty;
  bool is_dirty;
  uint16_t last_id;
  struct slot **slots;  /* by packet identifier; NULL: none was asked for yet */
  struct bytes sending; /* the loop's */
  size_t sent;
  bool full;
  struct bytes rest; /* of a packet that is not there as a whole */
};

static struct loop receiving, sending;
static gnutls_certificate_credentials_t trusted;

static void pause_us(long us) { nanosleep(&(struct timespec){0, us * 1000}, NULL); }

/* ---- bytes ------------------------------------------------------------------------------------------------------------------
 */
static void put(struct bytes *b, const void *p, size_t n) {
  if (b->n + n > b->cap) {
    b->cap = (b->n + n) * 2;
    if (!(b->p = realloc(b->p, b->cap))) fail("buffer", "no memory");
  }
  memcpy(b->p + b->n, p, n);
  b->n += n;
}

static void put_u16(struct bytes *b, size_t v) { put(b, (uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2); }

static void put_header(struct bytes *b, unsigned first, size_t remaining) {
  uint8_t h[5] = {(uint8_t)first};
  size_t n = 1;
  do {
    h[n++] = (uint8_t)(remaining % 128 | (remaining > 127 ? 128 : 0));
    remaining /= 128;
  } while (remaining);
  put(b, h, n);
}

static void put_topic(struct bytes *b, const char *topic) {
  size_t n = strlen(topic);
  put_u16(b, n);
  put(b, topic, n);
  for (uint8_t *p = b->p + b->n - n; p < b->p + b->n; p++)
    if (*p == '.') *p = '/';
}

static void put_publish(struct bytes *b, const char *topic, const void *data, size_t len, int qos, uint16_t id) {
  put_header(b, PUBLISH << 4 | (unsigned)qos << 1, 2 + strlen(topic) + (qos ? 2 : 0) + len);
  put_topic(b, topic);
  if (qos) put_u16(b, id);
  put(b, data, len);
}

static void put_ack(struct bytes *b, unsigned type, uint16_t id) {
  put_header(b, type << 4 | (type == PUBREL ? 2 : 0), 2);
  put_u16(b, id);
}

/* Where the packet in p ends, its body begins; 0: it is not there as a whole. */
static size_t packet(const uint8_t *p, size_t n, size_t *ret_body) {
  size_t remaining = 0, at = 1;
  for (unsigned shift = 0;; shift += 7) {
    if (at >= n) return 0;
    remaining |= (size_t)(p[at] & 127) << shift;
    if (!(p[at++] & 128)) break;
  }
  *ret_body = at;
  return at + remaining <= n ? at + remaining : 0;
}

/* ---- the socket -------------------------------------------------------------------------------------------------------------
 * Both: bytes, 0: later; the end is a failure. */
static size_t transmit(struct connection *c, const uint8_t *p, size_t n) {
  ssize_t r = c->tls ? gnutls_record_send(c->tls, p, n > 16384 ? 16384 : n) : send(c->fd, p, n, MSG_NOSIGNAL);
  if (c->tls && (r == GNUTLS_E_AGAIN || r == GNUTLS_E_INTERRUPTED)) return 0;
  if (!c->tls && r < 0 && errno == EAGAIN) return 0;
  if (r <= 0) fail("send", c->tls ? gnutls_strerror((int)r) : strerror(errno));
  return (size_t)r;
}

static size_t receive(struct connection *c, uint8_t *p, size_t n) {
  for (;;) {
    ssize_t r = c->tls ? gnutls_record_recv(c->tls, p, n) : recv(c->fd, p, n, 0);
    if (r > 0) return (size_t)r;
    if (c->tls && r < 0 && !gnutls_error_is_fatal((int)r)) {
      if (r == GNUTLS_E_AGAIN) return 0;
      continue; /* a ticket, say */
    }
    if (!c->tls && r < 0 && errno == EAGAIN) return 0;
    fail("receive", r == 0 ? "the server has closed the connection" : c->tls ? gnutls_strerror((int)r) : strerror(errno));
  }
}

static void flush(struct connection *c) {
  bool was_full = c->full;
  c->full = false;
  while (!c->full) {
    if (c->sent == c->sending.n) {
      c->sent = c->sending.n = 0;
      pthread_mutex_lock(&c->lock);
      struct bytes empty = c->sending;
      c->sending = c->out;
      c->out = empty;
      if (!c->sending.n) c->is_dirty = false;
      pthread_mutex_unlock(&c->lock);
      if (!c->sending.n) break;
    }
    size_t n = transmit(c, c->sending.p + c->sent, c->sending.n - c->sent);
    c->sent += n;
    c->full = !n;
  }
  struct epoll_event e = {.events = EPOLLIN | (c->full ? EPOLLOUT : 0), .data.ptr = c};
  if (c->full != was_full) epoll_ctl(c->loop->epoll, EPOLL_CTL_MOD, c->fd, &e);
}

/* Under the connection's lock, after something was put into out. */
static void dirty(struct connection *c) {
  if (c->is_dirty) return;
  c->is_dirty = true;
  pthread_mutex_lock(&c->loop->lock);
  bool first = !c->loop->dirty;
  c->next_dirty = c->loop->dirty;
  c->loop->dirty = c;
  pthread_mutex_unlock(&c->loop->lock);
  if (first && !pthread_equal(c->loop->thread, pthread_self()) && write(c->loop->wake, &(uint64_t){1}, 8) != 8)
    fail("wake", strerror(errno));
}

static void answer(struct connection *c, unsigned type, uint16_t id) {
  pthread_mutex_lock(&c->lock);
  put_ack(&c->out, type, id);
  dirty(c);
  pthread_mutex_unlock(&c->lock);
}

/* ---- what the server says ---------------------------------------------------------------------------------------------------
 */
static void ended(struct connection *c, uint16_t id) {
  struct slot *s = c->slots ? c->slots[id] : NULL;
  if (s) work_ended(s, NULL);
}

static void on_packet(struct connection *c, const uint8_t *p, size_t body, size_t n) {
  unsigned type = p[0] >> 4, qos = p[0] >> 1 & 3;
  const uint8_t *b = p + body;
  if (type == PUBLISH) {
    size_t topic = (size_t)(b[0] << 8 | b[1]);
    uint16_t id = qos ? (uint16_t)(b[2 + topic] << 8 | b[3 + topic]) : 0;
    if (qos) answer(c, qos == 2 ? PUBREC : PUBACK, id);
    work_message(c->subscriber);
    return;
  }
  uint16_t id = n - body >= 2 ? (uint16_t)(b[0] << 8 | b[1]) : 0;
  if (type == SUBACK) {
    if (b[2] > 2) fail("subscribe", "it was refused");
    c->subscribed = true;
  }
  if (type == PUBREL) answer(c, PUBCOMP, id);
  if (type == PUBREC) answer(c, PUBREL, id);
  if (type == PUBACK || type == PUBCOMP) ended(c, id);
}

static void hear(struct connection *c) {
  uint8_t *buf = c->loop->buf;
  size_t n = c->rest.n, at = 0, body, end;
  if (n > RECEIVE / 2) fail("receive", "a packet is too large");
  if (n) memcpy(buf, c->rest.p, n);
  c->rest.n = 0;
  n += receive(c, buf + n, RECEIVE - n);
  while ((end = packet(buf + at, n - at, &body))) {
    on_packet(c, buf + at, body, end);
    at += end;
  }
  if (at < n) put(&c->rest, buf + at, n - at);
}

static void *turns(void *ctx) {
  struct loop *l = ctx;
  struct epoll_event events[EVENTS];
  for (uint64_t count;;) {
    int n = epoll_wait(l->epoll, events, EVENTS, -1);
    for (int i = 0; i < n; i++) {
      struct connection *c = events[i].data.ptr;
      if (!c) {
        if (read(l->wake, &count, 8) != 8) fail("wake", strerror(errno));
        continue;
      }
      if (events[i].events & EPOLLOUT) flush(c);
      if (events[i].events & ~(uint32_t)EPOLLOUT) {
        do hear(c);
        while (c->tls && gnutls_record_check_pending(c->tls));
      }
    }
    pthread_mutex_lock(&l->lock);
    struct connection *c = l->dirty, *next;
    l->dirty = NULL;
    pthread_mutex_unlock(&l->lock);
    for (; c; c = next) {
      next = c->next_dirty; /* before it may be dirty again */
      if (!c->full) flush(c);
    }
  }
  return NULL;
}

/* ---- connections ------------------------------------------------------------------------------------------------------------
 */
static void begin(struct loop *l) {
  struct epoll_event e = {.events = EPOLLIN};
  pthread_mutex_init(&l->lock, NULL);
  l->epoll = epoll_create1(0);
  l->wake = eventfd(0, 0);
  epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->wake, &e);
  if (pthread_create(&l->thread, NULL, turns, l)) fail("threads", "they cannot be started");
}

void peer_start(enum use use) {
  struct rlimit files;
  char path[4096];
  (void)use;
  if (!getrlimit(RLIMIT_NOFILE, &files)) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  snprintf(path, sizeof path, "%s/ca.pem", tls_folder ? tls_folder : "");
  if (gnutls_certificate_allocate_credentials(&trusted)) fail("TLS", "no memory");
  if (tls_folder && gnutls_certificate_set_x509_trust_file(trusted, path, GNUTLS_X509_FMT_PEM) < 0)
    fail(path, "no certificate");
  begin(&receiving);
  begin(&sending);
}

static int tcp(const char *server) {
  char host[256];
  int on = 1;
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
  snprintf(host, sizeof host, "%s", server);
  char *colon = strrchr(host, ':');
  if (!colon) fail(server, "HOST:PORT is needed");
  *colon = 0;
  if (getaddrinfo(host, colon + 1, &hints, &list)) fail(server, "no such address");
  int fd = socket(list->ai_family, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, list->ai_addr, list->ai_addrlen)) fail("connect", strerror(errno));
  freeaddrinfo(list);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

/* The server's certificate must be that of ca.pem or signed by it; its name is not looked at, as a node's has none. */
static void shake(struct connection *c) {
  unsigned status = 1;
  int err;
  gnutls_init(&c->tls, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);
  gnutls_set_default_priority(c->tls);
  gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, trusted);
  gnutls_transport_set_int(c->tls, c->fd);
  do err = gnutls_handshake(c->tls);
  while (err < 0 && !gnutls_error_is_fatal(err));
  if (err) fail("TLS", gnutls_strerror(err));
  if (gnutls_certificate_verify_peers2(c->tls, &status) || status) fail("TLS", "the server's certificate is not trusted");
}

static void say_connect(struct connection *c) {
  static atomic_uint number;
  char id[32];
  struct bytes b = {0};
  uint8_t got[4];
  snprintf(id, sizeof id, "b%xn%u", (unsigned)getpid(), number++);
  put_header(&b, CONNECT << 4, 10 + 2 + strlen(id));
  put(&b, "\0\4MQTT\4\2", 8);
  put_u16(&b, 3600); /* seconds to keep alive */
  put_u16(&b, strlen(id));
  put(&b, id, strlen(id));
  for (size_t at = 0; at < b.n;) at += transmit(c, b.p + at, b.n - at);
  for (size_t at = 0; at < sizeof got;) at += receive(c, got + at, sizeof got - at);
  if (got[0] != CONNACK << 4 || got[3]) fail("connect", "the server refuses");
  free(b.p);
}

struct connection *peer_connect(const char *server, bool sends) {
  struct connection *c = calloc(1, sizeof *c);
  bool tls = strncmp(server, "tls:", 4) == 0;
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
  c->fd = tcp(server + (tls ? 4 : 0));
  c->loop = sends ? &sending : &receiving;
  pthread_mutex_init(&c->lock, NULL);
  if (tls) shake(c);
  say_connect(c);
  int flags = O_NONBLOCK;
  if (fcntl(c->fd, F_SETFL, flags) || epoll_ctl(c->loop->epoll, EPOLL_CTL_ADD, c->fd, &e)) fail("connect", strerror(errno));
  return c;
}

void peer_subscribe(struct connection *c, const char *topic, void *subscriber, int qos) {
  c->subscriber = subscriber;
  pthread_mutex_lock(&c->lock);
  put_header(&c->out, SUBSCRIBE << 4 | 2, 2 + 2 + strlen(topic) + 1);
  put_u16(&c->out, 1);
  put_topic(&c->out, topic);
  put(&c->out, &(uint8_t){(uint8_t)qos}, 1);
  dirty(c);
  pthread_mutex_unlock(&c->lock);
  while (!c->subscribed) pause_us(100);
}

void peer_publish(struct connection *c, const char *topic, const void *data, size_t len) {
  pthread_mutex_lock(&c->lock);
  while (c->out.n > MOST_UNSENT) {
    pthread_mutex_unlock(&c->lock);
    pause_us(20);
    pthread_mutex_lock(&c->lock);
  }
  put_publish(&c->out, topic, data, len, 0, 0);
  dirty(c);
  pthread_mutex_unlock(&c->lock);
}

void peer_prepare_acknowledged(struct connection *c, const char *topic) {
  (void)topic;
  if (!(c->slots = calloc(65536, sizeof *c->slots))) fail("slots", "no memory");
}

void peer_publish_acknowledged(struct connection *c, const char *topic, const void *data, size_t len, struct slot *s) {
  pthread_mutex_lock(&c->lock);
  if (!++c->last_id) c->last_id = 1; /* few are under way: the one from 65,535 before is not */
  c->slots[c->last_id] = s;
  put_publish(&c->out, topic, data, len, tested_qos, c->last_id);
  dirty(c);
  pthread_mutex_unlock(&c->lock);
}

/* ---- what it has not --------------------------------------------------------------------------------------------------------
 */
#define NO_CALLS "MQTT has no calls"
#include "no_calls.h"
