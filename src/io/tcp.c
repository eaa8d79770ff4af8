/* TCP: streams that others open, and what they take.
 *
 * The streams are in an epoll set of their own, which libuv watches as one descriptor: so a turn reads of them only while it
 * has time, a stream's memory goes at once when it ends, and an idle one costs no handle. What is written is sent at the end of
 * the turn. A stream that is closed is heard until its peer ends it too, so that the kernel does not answer what still comes
 * with a reset, which would make the peer forget what it was sent last; after LINGER it goes in any case. */
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/err.h"
#include "io/io_priv.h"

#define READ_MOST 65536  /* bytes that one stream is read at a time */
#define ACCEPT_MOST 64   /* of one listener in a turn */
#define CHUNK_FIRST 1024 /* bytes */
#define CHUNK_MOST 16384
#define PARTS 16 /* chunks to one sendmsg */
#define UNSENT_MOST 65536
#define BUFFER_MOST (1 << 20)
#define BUFFER_EARLY (64 << 10)
#define LINGER NS_SEC
#define UNUSED (2 * NS_SEC) /* after which larger buffers shrink */
#define SAY_EACH (60 * NS_SEC)
/* As on an Ethernet: over loopback a segment has 64 KiB, a window of less is no room for one and lets its peer wait for 200 ms,
 * and of fewer than two the acknowledgement comes after 40. */
#define SEGMENT 1440

enum way { IN, OUT };
static const int first_of[] = {IO_TCP_FIRST_IN, IO_TCP_FIRST_OUT};

struct chunk {
  struct chunk *next;
  uint32_t at, end, cap;
  uint8_t data[];
};

struct tcp_stream {
  struct byte_stream s;
  struct list all;     /* io_tcp.streams */
  struct list out;     /* io_tcp.out: something waits that the kernel may take */
  struct list grown;   /* io_tcp.grown, the one that was used last at the end */
  struct list closing; /* io_tcp.closing, in the order of their ends */
  struct io_tcp *of;   /* NULL: a listener's place in the epoll set is io_tcp itself */
  int fd, buffer[2];   /* bytes of the socket's buffers, as they were asked for */
  uint32_t
      given; /* bytes of it that the kernel has, at most: those that it had when that was last asked, and what came since */
  uint32_t unsent;
  int failed;      /* 0: it has not */
  uint32_t events; /* that epoll watches for */
  bool reading : 1, full : 1, wants_room : 1;
  bool shut : 1; /* closing, and all that was written is sent */
  nanotime used, until;
  struct chunk *first, *last;
};

struct io_tcp {
  struct list link; /* io_loop.listeners */
  struct io_loop *loop;
  struct io_tcp_options o;
  struct list streams, out, grown, closing;
  struct addr local;
  int fd;
  int spare; /* a descriptor to accept with what there is no descriptor for */
  struct io_tcp_stats stats;
  nanotime say_at;
};

static struct tcp_stream *of(struct byte_stream *s) { return (struct tcp_stream *)s; }

/* ---- descriptors -----------------------------------------------------------------------------------------------------------
 */
static void watch(struct tcp_stream *t) {
  uint32_t want = (t->reading ? EPOLLIN | EPOLLRDHUP : 0) | (t->full ? EPOLLOUT : 0);
  if (want == t->events) return;
  struct epoll_event e = {.events = want, .data.ptr = t};
  (void)epoll_ctl(t->of->loop->streams_fd, EPOLL_CTL_MOD, t->fd, &e);
  t->events = want;
}

static void set_buffer(struct tcp_stream *t, enum way way, int bytes) {
  struct io_tcp *l = t->of;
  int asked = way == IN ? bytes : bytes / 2; /* as many bytes fill it then, whatever they are in: see allowance */
  (void)setsockopt(t->fd, SOL_SOCKET, way == IN ? SO_RCVBUF : SO_SNDBUF, &asked, sizeof asked);
  l->stats.buffers += 2 * (size_t)bytes - 2 * (size_t)t->buffer[way]; /* the kernel doubles it, for its own bookkeeping */
  t->buffer[way] = bytes;
}

/* The buffer was filled. early: its peer has not taken anything out of it yet; so those who do not read have at most half of
 * what buffers may grow by. */
static void grow(struct tcp_stream *t, enum way way, bool early) {
  struct io_tcp *l = t->of;
  size_t first = (size_t)l->stats.open * IO_TCP_FIRST, more = l->stats.buffers > first ? l->stats.buffers - first : 0;
  int most = early ? BUFFER_EARLY : BUFFER_MOST;
  t->used = l->loop->now;
  if (t->buffer[way] < most && more + 2 * (size_t)t->buffer[way] <= l->o.most_buffers / (early ? 2 : 1))
    set_buffer(t, way, t->buffer[way] * 2);
  if (t->buffer[way] == first_of[way]) return;
  list_remove(&t->grown);
  list_append(&l->grown, &t->grown);
}

static int held(const struct tcp_stream *t, enum way way) { /* bytes that are in the buffer */
  int bytes = 0;
  (void)ioctl(t->fd, way == IN ? SIOCINQ : SIOCOUTQ, &bytes);
  return bytes;
}

static void shrink(struct io_tcp *l) {
  while (!list_empty(&l->grown)) {
    struct tcp_stream *t = container_of(l->grown.next, struct tcp_stream, grown);
    if (time_since(l->loop->now, t->used) < UNUSED) return;
    list_remove(&t->grown);
    for (int way = IN; way <= OUT; way++)
      if (t->buffer[way] > first_of[way] && held(t, way) <= first_of[way]) set_buffer(t, way, first_of[way]);
    if (t->buffer[IN] == first_of[IN] && t->buffer[OUT] == first_of[OUT]) continue;
    t->used = l->loop->now; /* what it holds stays where it is, whatever size is set */
    list_append(&l->grown, &t->grown);
  }
}

static void chunks_free(struct tcp_stream *t) {
  for (struct chunk *c = t->first, *next; c; c = next) {
    next = c->next;
    mem_free(t->of->o.mem, c);
  }
  t->first = t->last = NULL;
  t->unsent = 0;
}

static void destroy(struct tcp_stream *t, bool reset) {
  struct io_tcp *l = t->of;
  struct linger hard = {.l_onoff = 1};
  if (reset) (void)setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  close(t->fd);                                /* epoll forgets it, */
  for (unsigned i = 0; i < STREAM_EVENTS; i++) /* and what it has said of it already is void */
    if (l->loop->events[i].data.ptr == t) l->loop->events[i].data.ptr = NULL;
  list_remove(&t->all);
  list_remove(&t->out);
  list_remove(&t->grown);
  list_remove(&t->closing);
  l->stats.buffers -= 2 * ((size_t)t->buffer[IN] + (size_t)t->buffer[OUT]);
  l->stats.open--;
  chunks_free(t);
  mem_free(l->o.mem, t);
}

static void broke(struct tcp_stream *t, int err) {
  struct io_tcp *l = t->of;
  if (!t->until) l->o.owner.closed(l->o.owner.ctx, &t->s, err, l->loop->now);
  destroy(t, false);
}

/* ---- sending ---------------------------------------------------------------------------------------------------------------
 */
static size_t tcp_write(struct byte_stream *s, struct slice bytes) {
  struct tcp_stream *t = of(s);
  size_t most = t->of->o.most_unsent, room = most > t->unsent ? most - t->unsent : 0, taken = 0;
  size_t want = bytes.n < room ? bytes.n : room;
  while (taken < want) {
    struct chunk *c = t->last;
    if (!c || c->end == c->cap) {
      size_t cap = c ? CHUNK_MOST : CHUNK_FIRST;
      if (want - taken > cap) cap = CHUNK_MOST;
      if (!(c = mem_alloc(t->of->o.mem, sizeof *c + cap))) break;
      *c = (struct chunk){.cap = (uint32_t)cap};
      *(t->last ? &t->last->next : &t->first) = c;
      t->last = c;
    }
    size_t n = want - taken < c->cap - c->end ? want - taken : c->cap - c->end;
    memcpy(c->data + c->end, bytes.p + taken, n);
    c->end += (uint32_t)n;
    taken += n;
  }
  t->unsent += (uint32_t)taken;
  if (taken < bytes.n) t->wants_room = true;
  if (!t->full && list_empty(&t->out)) list_append(&t->of->out, &t->out);
  return taken;
}

static size_t tcp_unsent(const struct byte_stream *s) { return ((const struct tcp_stream *)s)->unsent; }

static void sent(struct tcp_stream *t, size_t n) {
  t->unsent -= (uint32_t)n;
  t->of->stats.sent += n;
  while (n) {
    struct chunk *c = t->first;
    size_t part = n < c->end - c->at ? n : c->end - c->at;
    c->at += (uint32_t)part;
    n -= part;
    if (c->at < c->end) return;
    t->first = c->next;
    if (!t->first) t->last = NULL;
    mem_free(t->of->o.mem, c);
  }
}

/* Bytes that the kernel is given now. However small a socket's buffer is, the kernel takes a whole segment, of up to 64 KiB,
 * beyond that: of 10,000 who do not read, 640 MiB. With so many in it the buffer is full in the kernel's eyes, so that epoll
 * tells when it is not. */
static size_t allowance(struct tcp_stream *t) {
  size_t most = (size_t)t->buffer[OUT];
  if (t->given >= most) t->given = (uint32_t)held(t, OUT);
  return most > t->given ? most - t->given : 0;
}

static ssize_t send_some(struct tcp_stream *t) {
  struct iovec iov[PARTS];
  struct msghdr m = {.msg_iov = iov};
  size_t left = allowance(t);
  if (!left) {
    errno = EAGAIN;
    return -1;
  }
  for (struct chunk *c = t->first; c && left && m.msg_iovlen < PARTS; c = c->next) {
    size_t n = c->end - c->at < left ? c->end - c->at : left;
    iov[m.msg_iovlen++] = (struct iovec){c->data + c->at, n};
    left -= n;
  }
  ssize_t n = sendmsg(t->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n > 0) t->given += (uint32_t)n;
  return n;
}

/* False: it broke, and is gone. */
static bool send_out(struct tcp_stream *t) {
  while (t->first) {
    ssize_t n = send_some(t);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)) {
      int was = t->buffer[OUT];
      grow(t, OUT, true);
      if (t->buffer[OUT] != was) continue;
      t->full = true;
      watch(t);
      return true;
    }
    if (n < 0) {
      broke(t, MACULA_ECLOSED);
      return false;
    }
    sent(t, (size_t)n);
  }
  if (t->until && !t->shut) {
    t->shut = true;
    (void)shutdown(t->fd, SHUT_WR);
  }
  return true;
}

static void flush(struct io_tcp *l) {
  for (bool any = false; !list_empty(&l->out); any = true) {
    if (any && io_turn_spent(l->loop)) {
      l->loop->unsent = true;
      return;
    }
    struct tcp_stream *t = container_of(l->out.next, struct tcp_stream, out);
    list_remove(&t->out);
    if (t->failed) {
      broke(t, t->failed);
      continue;
    }
    if (!send_out(t) || t->full || !t->wants_room || t->until) continue;
    t->wants_room = false;
    l->o.owner.room(l->o.owner.ctx, &t->s, l->loop->now);
  }
}

static void tcp_read(struct byte_stream *s, bool on) {
  of(s)->reading = on;
  watch(of(s));
}

static void tcp_close(struct byte_stream *s, bool reset) {
  struct tcp_stream *t = of(s);
  if (reset) {
    destroy(t, true);
    return;
  }
  t->until = time_add(t->of->loop->now, LINGER);
  list_append(&t->of->closing, &t->closing);
  t->reading = true; /* and thrown away */
  if (!t->full) {
    list_remove(&t->out);
    list_append(&t->of->out, &t->out);
  }
  watch(t);
}

static void tcp_break(struct byte_stream *s, int err) {
  struct tcp_stream *t = of(s);
  t->failed = err;
  list_remove(&t->out);
  list_append(&t->of->out, &t->out);
}

static void tcp_want_room(struct byte_stream *s) {
  struct tcp_stream *t = of(s);
  t->wants_room = true;
  if (!t->full && list_empty(&t->out)) list_append(&t->of->out, &t->out);
}

static const struct stream_ops ops = {tcp_write, tcp_unsent, tcp_read, tcp_close, tcp_break, tcp_want_room};

/* ---- receiving -------------------------------------------------------------------------------------------------------------
 */
static void read_in(struct tcp_stream *t) {
  struct io_tcp *l = t->of;
  ssize_t n = recv(t->fd, l->loop->stream_buf, READ_MOST, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    broke(t, n ? MACULA_ECLOSED : 0);
    return;
  }
  l->stats.received += (size_t)n;
  l->loop->received = true;
  if (n >= t->buffer[IN] / 2) grow(t, IN, false);
  if (!t->until) l->o.owner.data(l->o.owner.ctx, &t->s, l->loop->stream_buf, (size_t)n, l->loop->now);
}

/* There is no descriptor, or no memory, for a stream that waits: it is told so by being closed. */
static void refuse(struct io_tcp *l, const char *why) {
  l->stats.refused++;
  if (l->loop->now < l->say_at) return;
  char text[ADDR_TEXT_LEN];
  addr_text(&l->local, text);
  l->say_at = time_add(l->loop->now, SAY_EACH);
  log_warn(l->loop->log, "tcp_refused", "listen=%s text=\"a connection was closed at once: %s\"", text, why);
}

static void admit(struct io_tcp *l, int fd, const struct addr *remote) {
  int on = 1;
  struct tcp_stream *t = mem_calloc(l->o.mem, 1, sizeof *t);
  struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = t};
  if (!t || epoll_ctl(l->loop->streams_fd, EPOLL_CTL_ADD, fd, &e) != 0) {
    mem_free(l->o.mem, t);
    close(fd);
    refuse(l, "there is no memory for it");
    return;
  }
  *t = (struct tcp_stream){.s = {.ops = &ops, .remote = *remote}, .of = l, .fd = fd, .events = e.events, .reading = true};
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  list_init(&t->out);
  list_init(&t->grown);
  list_init(&t->closing);
  list_append(&l->streams, &t->all);
  l->stats.open++;
  set_buffer(t, IN, first_of[IN]); /* not of the listening socket: its streams could never have a window above 64 KiB */
  set_buffer(t, OUT, first_of[OUT]);
  l->loop->received = true;
  if (l->o.owner.opened(l->o.owner.ctx, &t->s, l->loop->now)) {
    l->stats.refused++;
    tcp_close(&t->s, false);
  } else {
    l->stats.accepted++;
  }
}

static void accept_some(struct io_tcp *l) {
  for (int i = 0; i < ACCEPT_MOST && (!i || !io_turn_spent(l->loop)); i++) {
    struct addr remote;
    socklen_t n = sizeof remote;
    memset(&remote, 0, sizeof remote);
    int fd = accept4(l->fd, &remote.sa, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      admit(l, fd, &remote);
    } else if (errno == EMFILE || errno == ENFILE) {
      close(l->spare); /* else the one that waits would wake us for ever */
      fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
      if (fd >= 0) close(fd);
      l->spare = dup(l->fd);
      if (fd < 0) return;
      refuse(l, "no file descriptor is free: raise the limit of open files (ulimit -n, LimitNOFILE=)");
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

static void handle(struct io_loop *l, const struct epoll_event *e) {
  list_for(it, &l->listeners) {
    struct io_tcp *tcp = container_of(it, struct io_tcp, link);
    if (e->data.ptr != tcp) continue;
    accept_some(tcp);
    return;
  }
  struct tcp_stream *t = e->data.ptr;
  if (e->events & EPOLLOUT && t->full) {
    t->full = false;
    grow(t, OUT, false);
    watch(t);
    if (list_empty(&t->out)) list_append(&t->of->out, &t->out); /* one that is to break stands there already */
  }
  if (t->reading && e->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
    read_in(t);
  } else if (e->events & (EPOLLHUP | EPOLLERR)) { /* told whether or not it is watched for: nothing is to come or go any more */
    broke(t, MACULA_ECLOSED);
  }
}

void io_tcp_receive(struct io_loop *l) {
  bool any = false;
  if (!l->streams_ready) return;
  for (;;) {
    if (l->event_at == l->event_count) {
      int n = epoll_wait(l->streams_fd, l->events, STREAM_EVENTS, 0);
      l->event_at = 0;
      l->event_count = n > 0 ? (unsigned)n : 0;
      if (n <= 0) break;
    }
    if (any && io_turn_spent(l)) return;
    struct epoll_event e = l->events[l->event_at++];
    if (e.data.ptr) handle(l, &e);
    any = true;
  }
  l->streams_ready = false;
}

void io_tcp_flush(struct io_loop *l) {
  list_for(it, &l->listeners) {
    struct io_tcp *tcp = container_of(it, struct io_tcp, link);
    flush(tcp);
    shrink(tcp);
    while (!list_empty(&tcp->closing)) {
      struct tcp_stream *t = container_of(tcp->closing.next, struct tcp_stream, closing);
      if (t->until > l->now) break;
      destroy(t, true);
    }
  }
}

nanotime io_tcp_deadline(const struct io_loop *l) {
  nanotime at = TIME_NEVER;
  list_for(it, &l->listeners) {
    const struct io_tcp *tcp = container_of(it, struct io_tcp, link);
    const struct list *grown = tcp->grown.next, *closing = tcp->closing.next;
    nanotime a = list_empty(&tcp->grown) ? TIME_NEVER : time_add(container_of(grown, struct tcp_stream, grown)->used, UNUSED);
    nanotime b = list_empty(&tcp->closing) ? TIME_NEVER : container_of(closing, struct tcp_stream, closing)->until;
    if (a < at) at = a;
    if (b < at) at = b;
  }
  return at;
}

bool io_tcp_unread(const struct io_loop *l) { return l->streams_ready; }

/* ---- listening -------------------------------------------------------------------------------------------------------------
 */
static void on_ready(uv_poll_t *p, int status, int events) {
  (void)status, (void)events;
  ((struct io_loop *)p->data)->streams_ready = true;
}

/* The set and the buffer are the loop's, made for its first listener and kept. */
static int streams_open(struct io_loop *l) {
  if (l->streams_fd >= 0) return 0;
  if (!l->stream_buf && !(l->stream_buf = malloc(READ_MOST))) return MACULA_ENOMEM;
  if ((l->streams_fd = epoll_create1(EPOLL_CLOEXEC)) < 0) return MACULA_EIO;
  if (uv_poll_init(&l->uv, &l->streams_poll, l->streams_fd) != 0) return MACULA_EIO;
  l->streams_poll.data = l;
  uv_poll_start(&l->streams_poll, UV_READABLE, on_ready);
  return 0;
}

int io_tcp_open(struct io_loop *l, const struct io_tcp_options *o, struct io_tcp **ret_tcp, char *ret_why) {
  int on = 1, segment = SEGMENT, err = streams_open(l);
  struct io_tcp *t = err ? NULL : calloc(1, sizeof *t);
  if (!t) return io_explain(ret_why, err ? err : MACULA_ENOMEM, "no memory or file descriptor for the event loop");
  t->loop = l;
  t->o = *o;
  if (!t->o.most_unsent) t->o.most_unsent = UNSENT_MOST;
  list_init(&t->streams);
  list_init(&t->out);
  list_init(&t->grown);
  list_init(&t->closing);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = t};
  socklen_t n = sizeof t->local;
  t->fd = socket(o->bind.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  t->spare = t->fd < 0 ? -1 : dup(t->fd);
  if (t->fd < 0 || t->spare < 0) goto failed;
  (void)setsockopt(t->fd, SOL_SOCKET, SO_REUSEADDR, &on,
                   sizeof on); /* else a port whose last run had streams is taken for a minute */
  if (o->bind.sa.sa_family == AF_INET6) (void)setsockopt(t->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  (void)setsockopt(t->fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
  if (bind(t->fd, &o->bind.sa, addr_len(&o->bind)) != 0 || listen(t->fd, SOMAXCONN) != 0) goto failed;
  if (getsockname(t->fd, &t->local.sa, &n) != 0 || epoll_ctl(l->streams_fd, EPOLL_CTL_ADD, t->fd, &e) != 0) goto failed;
  list_append(&l->listeners, &t->link);
  uv_async_send(&l->async); /* an embedded loop takes a step, in which the kernel hears of the socket */
  *ret_tcp = t;
  return 0;
failed:
  err = io_bind_error("TCP", &o->bind, ret_why);
  if (t->fd >= 0) close(t->fd);
  if (t->spare >= 0) close(t->spare);
  free(t);
  return err;
}

void io_tcp_close(struct io_tcp *t) {
  if (!t) return;
  while (!list_empty(&t->streams)) broke(container_of(t->streams.next, struct tcp_stream, all), MACULA_ECLOSED);
  for (unsigned i = 0; i < STREAM_EVENTS; i++)
    if (t->loop->events[i].data.ptr == t) t->loop->events[i].data.ptr = NULL;
  list_remove(&t->link);
  close(t->fd);
  close(t->spare);
  free(t);
}

void io_tcp_drop_all(struct io_loop *l) {
  list_for_safe(it, &l->listeners) io_tcp_close(container_of(it, struct io_tcp, link));
}

void io_tcp_done(struct io_loop *l) {
  if (l->streams_fd >= 0) close(l->streams_fd);
  free(l->stream_buf);
}

const struct addr *io_tcp_local(const struct io_tcp *t) { return &t->local; }

void io_tcp_stats(const struct io_tcp *t, struct io_tcp_stats *ret_stats) { *ret_stats = t->stats; }
