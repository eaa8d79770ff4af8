/* UDP in batches: recvmmsg with UDP_GRO, sendmmsg with UDP_SEGMENT, ICMP errors by IP_RECVERR. */
#include <errno.h>
#include <time.h> /* before errqueue.h, which uses its struct timespec */

#include <linux/errqueue.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "io/io_priv.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define IN_SIZE 65536
/* After so many datagrams a turn leaves the rest in the socket, so that timers and sending get their share; the batch in which
 * it is reached is finished. Some 180 KiB: what a publisher sends in one go must not fill a subscriber's queue (1 MiB) before
 * the first of it has left; more made nothing faster. */
#define IN_BUDGET 128
#define SAY_EACH (60 * NS_SEC) /* a log line for each reason why datagrams are dropped */
#define STUCK (10 * NS_SEC)
#define STOOD_LEAST (100 * NS_MS) /* a shorter wait of a datagram is of no account */

int io_explain(char *why, int err, const char *text) {
  if (why) snprintf(why, 256, "%s", text);
  return err;
}

/* How long a datagram has waited in the kernel, by the wall clock, which alone it is stamped with; 0: it is not known. */
static uint64_t waited(struct msghdr *h) {
  struct timespec came, now;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SO_TIMESTAMPNS) continue;
    memcpy(&came, CMSG_DATA(c), sizeof came);
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t ns = (int64_t)(now.tv_sec - came.tv_sec) * (int64_t)NS_SEC + (now.tv_nsec - came.tv_nsec);
    return ns > 0 ? (uint64_t)ns : 0;
  }
  return 0;
}

static void tell_stood(struct io_loop *l, uint64_t ns) {
  if (ns == l->stood || !l->has_ep || !l->ep.stood) return;
  l->stood = ns;
  l->ep.stood(l->ep.ctx, ns, l->now);
}

/* The first datagram of a batch has waited longest. It has because we stood still if there was no turn all that time either;
 * what came meanwhile takes several batches to read. A wall clock that is set forward has no such effect unless we slept. */
static void notice_standstill(struct io_loop *l, struct msghdr *first) {
  uint64_t wait = waited(first), slept = l->now > l->slept ? l->now - l->slept : 0;
  if (!l->stood && wait > slept) wait = slept;
  tell_stood(l, wait < STOOD_LEAST ? 0 : wait);
}

/* The process was stopped after something was read: that is as old. */
static void notice_pause(struct io_loop *l, nanotime since) {
  nanotime now = io_now(), gap = now > since ? now - since : 0;
  if (gap < STOOD_LEAST) return;
  l->now = now;
  tell_stood(l, gap > l->stood ? gap : l->stood);
}

static void parse_control(struct io_udp *u, struct msghdr *h, struct addr *local, size_t *segment, uint8_t *ecn) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
    if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
      int size;
      memcpy(&size, CMSG_DATA(c), sizeof size);
      if (size > 0) *segment = (size_t)size;
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
      *ecn = *CMSG_DATA(c) & 3;
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
      int tc;
      memcpy(&tc, CMSG_DATA(c), sizeof tc);
      *ecn = (uint8_t)(tc & 3);
    } else if (u->wildcard && c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof info);
      local->v4.sin_addr = info.ipi_addr;
    } else if (u->wildcard && c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof info);
      local->v6.sin6_addr = info.ipi6_addr;
    }
  }
}

static void drain_errors(struct io_udp *u) {
  for (int i = 0; i < 64; i++) {
    uint8_t quoted[2048], control[512];
    struct addr remote;
    memset(&remote, 0, sizeof remote);
    struct iovec iov = {quoted, sizeof quoted};
    struct msghdr h = {.msg_name = &remote,
                       .msg_namelen = sizeof remote,
                       .msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof control};
    ssize_t n = recvmsg(u->fd, &h, MSG_ERRQUEUE | MSG_DONTWAIT);
    if (n < 0) return;
    bool icmp = false, port = false;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
      if (!((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
            (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)))
        continue;
      struct sock_extended_err e;
      memcpy(&e, CMSG_DATA(c), sizeof e);
      icmp = (e.ee_origin == SO_EE_ORIGIN_ICMP || e.ee_origin == SO_EE_ORIGIN_ICMP6) && e.ee_errno != EMSGSIZE;
      port = e.ee_errno == ECONNREFUSED;
    }
    if (!icmp) continue;
    u->loop->stats.icmp_errors++;
    if (u->loop->has_ep && u->loop->ep.icmp) {
      u->loop->received = true;
      u->loop->ep.icmp(u->loop->ep.ctx, &remote, slice_of(quoted, (size_t)n), port, u->loop->now);
    }
  }
}

/* Hands on what was read, as far as there is time; at least one datagram. Returns how many, larger ones as several. */
static int hand_on(struct io_loop *l) {
  int n = 0;
  for (; l->in_at < l->in_count; l->in_at++) {
    struct in *d = &l->in[l->in_at];
    notice_pause(l, l->now);
    while (d->at < d->len) {
      if (n && io_turn_spent(l)) return n;
      struct slice datagram = slice_of(d->data + d->at, d->len - d->at < d->segment ? d->len - d->at : d->segment);
      d->at += datagram.n;
      l->stats.rx_datagrams++;
      l->received = true;
      n += 1 + (int)(datagram.n / 1500);
      if (l->has_ep) l->ep.recv(l->ep.ctx, &d->local, &d->from, datagram, d->ecn, l->now);
    }
  }
  return n;
}

/* One batch; returns how many messages, or -1. */
static int read_batch(struct io_udp *u) {
  struct io_loop *l = u->loop;
  struct mmsghdr m[IN_BATCH];
  struct iovec iov[IN_BATCH];
  uint8_t control[IN_BATCH][128] __attribute__((aligned(8)));
  for (int i = 0; i < IN_BATCH; i++) {
    iov[i] = (struct iovec){l->in_buf + (size_t)i * IN_SIZE, IN_SIZE};
    m[i].msg_hdr = (struct msghdr){.msg_name = &l->in[i].from,
                                   .msg_namelen = sizeof l->in[i].from,
                                   .msg_iov = &iov[i],
                                   .msg_iovlen = 1,
                                   .msg_control = control[i],
                                   .msg_controllen = sizeof control[i]};
  }
  l->stats.rx_calls++;
  int n = recvmmsg(u->fd, m, IN_BATCH, MSG_DONTWAIT, NULL);
  if (n > 0 || errno == EAGAIN) u->unread_since = 0;
  for (int i = 0; i < n; i++) {
    struct in *d = &l->in[i];
    d->data = iov[i].iov_base;
    d->local = u->local;
    d->len = d->segment = m[i].msg_len;
    d->at = 0;
    d->ecn = 0;
    parse_control(u, &m[i].msg_hdr, &d->local, &d->segment, &d->ecn);
  }
  l->in_at = 0;
  l->in_count = n > 0 ? (unsigned)n : 0;
  if (n > 0) l->moved = l->now;
  if (n > 0) notice_standstill(l, &m[0].msg_hdr);
  return n;
}

/* Returns whether there may be more. */
static bool drain(struct io_udp *u) {
  struct io_loop *l = u->loop;
  for (int budget = IN_BUDGET; budget > 0 && !u->closing;) {
    int n = read_batch(u);
    if (n < 0) {
      if (errno == EAGAIN) return false;
      l->stats.rx_errors++;
      drain_errors(u);    /* a pending ICMP error surfaces here, whatever it was about; all else passes or comes again */
      budget -= IN_BATCH; /* bounded also when errors come faster than they are read */
      continue;
    }
    l->in_of = u;
    budget -= hand_on(l);
    if (n < IN_BATCH && l->in_at == l->in_count) return false;
    if (io_turn_spent(l)) break;
  }
  return !u->closing;
}

/* Each socket once, those that were not read for longest first. What a batch holds beyond the turn's time is the first of the
 * next one. */
void io_udp_receive(struct io_loop *l) {
  struct list done;
  if (l->in_at < l->in_count) notice_pause(l, l->slept); /* with something left to hand on the loop does not sleep */
  (void)hand_on(l);
  list_init(&done);
  while (!list_empty(&l->readable) && l->in_at == l->in_count) {
    struct io_udp *u = container_of(l->readable.next, struct io_udp, readable);
    list_remove(&u->readable);
    list_append(&done, &u->readable); /* a callback may close it */
    if (!drain(u)) list_remove(&u->readable);
    if (io_turn_spent(l)) break;
  }
  while (!list_empty(&done)) {
    struct list *u = done.next;
    list_remove(u);
    list_append(&l->readable, u);
  }
}

bool io_udp_unread(const struct io_loop *l) { return l->in_at < l->in_count || !list_empty(&l->readable); }

static void watch(struct io_udp *u);

static void on_poll(uv_poll_t *p, int status, int events) {
  struct io_udp *u = p->data;
  if (status < 0) { /* an ICMP error is pending (EPOLLERR): libuv has stopped watching */
    events = UV_READABLE;
    watch(u);
  }
  if (status < 0) {
    u->loop->now = io_now();
    drain_errors(u);
  }
  if (events & UV_WRITABLE && u->want_write) {
    u->want_write = false;
    u->loop->waiting--;
    u->writable = true;
    watch(u);
  }
  if (events & UV_READABLE && list_empty(&u->readable)) list_append(&u->loop->readable, &u->readable);
}

static void watch(struct io_udp *u) {
  u->loop->rewatched = true;
  uv_poll_start(&u->poll, UV_READABLE | (u->want_write ? UV_WRITABLE : 0), on_poll);
}

static struct list *chain_of(struct io_loop *l, const struct addr *local) {
  return &l->by_port[addr_port(local) % PORT_CHAINS];
}

/* The socket bound to the burst's local address, else one bound to the wildcard address with this port; without a port the
 * first of the family. NULL: that socket was closed; another one is not used, as the peer does not know its address. */
static struct io_udp *socket_for(struct io_loop *l, const struct burst *o) {
  sa_family_t family = o->remote.sa.sa_family;
  struct io_udp *any = NULL;
  bool no_port = addr_port(&o->local) == 0;
  list_for(it, no_port ? &l->sockets : chain_of(l, &o->local)) {
    struct io_udp *u = no_port ? container_of(it, struct io_udp, link) : container_of(it, struct io_udp, of_port);
    if (u->local.sa.sa_family != family) continue;
    if (no_port || addr_eq(&u->local, &o->local)) return u;
    if (u->wildcard && addr_port(&u->local) == addr_port(&o->local)) any = u;
  }
  return any;
}

static void fill_message(struct io_udp *u, struct burst *o, uint8_t *data, struct msghdr *h, struct iovec *iov,
                         uint8_t *control) {
  size_t used = 0;
  *iov = (struct iovec){data, o->len};
  *h = (struct msghdr){.msg_name = &o->remote,
                       .msg_namelen = addr_len(&o->remote),
                       .msg_iov = iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = 128};
  struct cmsghdr *c = CMSG_FIRSTHDR(h);
  bool v6 = o->remote.sa.sa_family == AF_INET6;
  if (o->segment && o->segment < o->len) {
    uint16_t segment = (uint16_t)o->segment;
    c->cmsg_level = IPPROTO_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(c), &segment, sizeof segment);
    used += CMSG_SPACE(sizeof segment);
    c = (struct cmsghdr *)(control + used);
  }
  if (o->ecn) {
    int tos = o->ecn;
    c->cmsg_level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
    c->cmsg_type = v6 ? IPV6_TCLASS : IP_TOS;
    c->cmsg_len = CMSG_LEN(sizeof tos);
    memcpy(CMSG_DATA(c), &tos, sizeof tos);
    used += CMSG_SPACE(sizeof tos);
    c = (struct cmsghdr *)(control + used);
  }
  if (u->wildcard && v6) {
    struct in6_pktinfo info = {.ipi6_addr = o->local.v6.sin6_addr};
    if (addr_is_link_local(&o->local)) info.ipi6_ifindex = o->remote.v6.sin6_scope_id;
    if (!IN6_IS_ADDR_UNSPECIFIED(&info.ipi6_addr)) {
      c->cmsg_level = IPPROTO_IPV6;
      c->cmsg_type = IPV6_PKTINFO;
      c->cmsg_len = CMSG_LEN(sizeof info);
      memcpy(CMSG_DATA(c), &info, sizeof info);
      used += CMSG_SPACE(sizeof info);
    }
  } else if (u->wildcard && o->local.v4.sin_addr.s_addr != INADDR_ANY) {
    struct in_pktinfo info = {.ipi_spec_dst = o->local.v4.sin_addr};
    c->cmsg_level = IPPROTO_IP;
    c->cmsg_type = IP_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(c), &info, sizeof info);
    used += CMSG_SPACE(sizeof info);
  }
  h->msg_controllen = used;
  if (!used) h->msg_control = NULL;
}

/* The socket cannot take more now: what is for it stays until it is writable. */
static void wait_writable(struct io_udp *u) {
  u->loop->stats.tx_blocked++;
  u->loop->waiting++;
  u->want_write = true;
  if (u->writable && !u->full_since) u->full_since = u->loop->now;
  watch(u);
}

/* What happens to a datagram that the kernel refuses; only EAGAIN means that the socket is full. With IP_RECVERR an ICMP error
 * about an earlier datagram makes the next send fail, whatever that sends. So nearly all of these errors may be about another
 * datagram, and this one is sent again. ECONNREFUSED on an unconnected socket is always about another datagram, and several
 * such errors may be pending. After its retries the datagram is dropped, as if it was lost on the way: QUIC repeats its
 * data. */
static const struct refusal {
  int err;
  uint8_t again; /* times that it is sent again */
  bool singly;   /* then a burst of UDP_SEGMENT goes out one datagram at a time */
  enum io_drop why;
} refusals[] = {
    {ENOBUFS, 0, false, IO_DROP_QUEUE},
    {ENOMEM, 1, false, IO_DROP_MEMORY},
    {EMSGSIZE, 1, true, IO_DROP_SIZE},
    {EIO, 0, true, IO_DROP_OTHER}, /* the device cannot segment */
    {EINVAL, 0, true, IO_DROP_OTHER},
    {EPERM, 0, false, IO_DROP_FILTERED},
    {EACCES, 1, false, IO_DROP_FILTERED},
    {ECONNREFUSED, 16, false, IO_DROP_UNREACHABLE},
    {EINTR, 16, false, IO_DROP_OTHER},
    {EHOSTUNREACH, 1, false, IO_DROP_UNREACHABLE},
    {EHOSTDOWN, 1, false, IO_DROP_UNREACHABLE},
    {ENETUNREACH, 1, false, IO_DROP_UNREACHABLE},
    {ENETDOWN, 1, false, IO_DROP_UNREACHABLE},
    {ENODEV, 1, false, IO_DROP_UNREACHABLE},
    {EADDRNOTAVAIL, 1, false, IO_DROP_UNREACHABLE},
    {0, 1, false, IO_DROP_OTHER}, /* all others, the rest of what ICMP can say among them */
};

static const struct refusal *refusal_of(int err) {
  const struct refusal *r = refusals;
  while (r->err && r->err != err) r++;
  return r;
}

static bool is_segmented(const struct out *p) { return p->o.segment && p->o.segment < p->o.len; }

/* It has left, or never will. */
static void moved(struct io_udp *u) {
  u->writable = false;
  u->full_since = 0;
  u->loop->moved = u->loop->now;
}

const char *io_drop_name(enum io_drop why) {
  static const char *const names[IO_DROPS] = {"queue_full",  "no_memory", "too_large", "filtered",
                                              "unreachable", "socket",    "other"};
  return names[why];
}

/* The n bytes of a burst that nobody sends. */
static void drop(struct io_loop *l, const struct out *p, size_t n, enum io_drop why, int err) {
  uint64_t count = p->o.segment ? (n + p->o.segment - 1) / p->o.segment : 1;
  l->stats.tx_errors += count;
  l->stats.tx_dropped[why] += count;
  l->unsaid[why] += count;
  if (err && err != ECONNREFUSED && why == IO_DROP_UNREACHABLE && l->ep.icmp) /* no route: as a router would say */
    l->ep.icmp(l->ep.ctx, &p->o.remote, slice_of(p->data + p->off, n), false, l->now);
  if (why == IO_DROP_SIZE || l->now < l->say_at[why]) return; /* too large: how the path MTU is found out */
  char to[ADDR_TEXT_LEN];
  addr_text(&p->o.remote, to);
  log_warn(l->log, "datagrams_dropped", "reason=%s count=%llu to=%s text=\"%s\"", io_drop_name(why),
           (unsigned long long)l->unsaid[why], to, err ? strerror(err) : "its socket is full or closed");
  l->unsaid[why] = 0;
  l->say_at[why] = l->now + SAY_EACH;
}

enum verdict { FULL, AGAIN, SINGLY, LOST };

static enum verdict refused(struct io_udp *u, const struct out *p, int err, int *tries, enum io_drop *ret_why) {
  const struct refusal *r = refusal_of(err);
  if (err == EAGAIN) {
    wait_writable(u);
    return FULL;
  }
  if ((*tries)++ < r->again) return AGAIN;
  *tries = 0;
  *ret_why = r->why;
  if (err == EIO && is_segmented(p)) u->gso = false; /* the others are about this burst's path or size only */
  return r->singly && is_segmented(p) ? SINGLY : LOST;
}

/* Sends a burst one datagram at a time; false when the socket is full. */
static bool send_single(struct io_loop *l, struct io_udp *u, struct out *p) {
  for (int tries = 0; p->off < p->o.len;) {
    struct out one = *p;
    struct msghdr h;
    struct iovec iov;
    uint8_t control[128] __attribute__((aligned(8))) = {0};
    enum io_drop why;
    one.o.len = one.o.segment = p->o.len - p->off < p->o.segment ? p->o.len - p->off : p->o.segment;
    fill_message(u, &one.o, p->data + p->off, &h, &iov, control);
    l->stats.tx_calls++;
    if (sendmsg(u->fd, &h, MSG_DONTWAIT) < 0) {
      int err = errno;
      enum verdict v = refused(u, &one, err, &tries, &why);
      if (v == FULL) return false;
      if (v == AGAIN) continue;
      drop(l, &one, one.o.len, why, err);
    } else {
      l->stats.tx_datagrams++;
    }
    moved(u);
    tries = 0;
    p->off += one.o.len;
  }
  return true;
}

/* Sends the bursts for this socket from the i-th on. Returns how many are finished, sent or dropped; 0: none yet. */
static unsigned send_some(struct io_loop *l, struct io_udp *u, unsigned i, int *tries) {
  struct mmsghdr m[OUT_BATCH];
  struct iovec iov[OUT_BATCH];
  uint8_t control[OUT_BATCH][128] __attribute__((aligned(8)));
  unsigned n = 0;
  struct out *first = &l->out[i];
  enum io_drop why;
  if (first->singly || (!u->gso && is_segmented(first))) return send_single(l, u, first);
  memset(control, 0, sizeof control);
  for (struct out *p = first; p < l->out + l->out_count; p++, n++) {
    if (socket_for(l, &p->o) != u || p->singly || (!u->gso && is_segmented(p))) break;
    fill_message(u, &p->o, p->data, &m[n].msg_hdr, &iov[n], control[n]);
  }
  l->stats.tx_calls++;
  int sent = sendmmsg(u->fd, m, n, MSG_DONTWAIT), err = errno;
  if (sent > 0) {
    for (struct out *p = first; p < first + sent; p++)
      l->stats.tx_datagrams += p->o.segment ? (p->o.len + p->o.segment - 1) / p->o.segment : 1;
    *tries = 0;
    moved(u);
    return (unsigned)sent;
  }
  enum verdict v = refused(u, first, err, tries, &why);
  first->singly = v == SINGLY;
  if (v != LOST) return 0;
  drop(l, first, first->o.len, why, err);
  moved(u);
  return 1;
}

static void swap(struct out *a, struct out *b) {
  struct out t = *a;
  *a = *b;
  *b = t;
}

/* Sends the batch, except bursts for a full socket: these stay, in order, and do not delay those for other sockets. */
static void send_batch(struct io_loop *l) {
  unsigned kept = 0;
  int tries = 0;
  for (unsigned i = 0; i < l->out_count;) {
    struct io_udp *u = socket_for(l, &l->out[i].o);
    if (u && u->want_write) {
      swap(&l->out[kept++], &l->out[i++]);
    } else if (u) {
      i += send_some(l, u, i, &tries);
    } else {
      drop(l, &l->out[i], l->out[i].o.len - l->out[i].off, IO_DROP_SOCKET, 0);
      i++;
    }
  }
  l->out_count = kept;
}

/* More from the endpoint, as much as there is room and time for; false when it has nothing, or when it is time to stop. */
static bool pull(struct io_loop *l, bool first) {
  unsigned had = l->out_count;
  for (size_t bytes = 0; l->out_count < OUT_BATCH && bytes < OUT_BYTES; bytes += l->out[l->out_count - 1].o.len) {
    if (!(first && l->out_count == had) && io_turn_spent(l)) {
      l->unsent = true;
      break;
    }
    struct out *p = &l->out[l->out_count];
    p->off = 0;
    p->singly = false;
    if (l->ep.send(l->ep.ctx, p->data, OUT_BURST, &p->o, l->now) == 0) {
      l->unsent = io_turn_spent(l); /* then it may have looked at a part only of what could have something to send */
      break;
    }
    l->out_count++;
  }
  return l->out_count > had;
}

void io_udp_flush(struct io_loop *l) {
  bool first = true, more = true;
  for (;; first = false) {
    send_batch(l);
    if (!more || (l->out_count && l->waiting == l->socket_count)) return;
    /* Room for the other sockets: the newest of what waits is lost. */
    for (; l->out_count > OUT_KEEP; l->out_count--) {
      const struct out *p = &l->out[l->out_count - 1];
      drop(l, p, p->o.len - p->off, IO_DROP_SOCKET, 0);
    }
    if (!pull(l, first)) return;
    more = !l->unsent;
  }
}

static int buffer_size(int fd, int what, int force, int want) {
  int have = 0;
  socklen_t n = sizeof have;
  if (setsockopt(fd, SOL_SOCKET, force, &want, sizeof want) != 0) (void)setsockopt(fd, SOL_SOCKET, what, &want, sizeof want);
  getsockopt(fd, SOL_SOCKET, what, &have, &n);
  return have / 2; /* the kernel doubles it for its own bookkeeping */
}

int io_bind_error(const char *what, const struct addr *bind, char *why) {
  char text[ADDR_TEXT_LEN], line[256];
  addr_text(bind, text);
  switch (errno) {
  case EADDRINUSE:
    if (!addr_port(bind)) {
      snprintf(line, sizeof line,
               "no %s port is free: end what holds them, or widen the range that the system gives from (sysctl "
               "net.ipv4.ip_local_port_range)",
               what);
      return io_explain(why, MACULA_EFULL, line);
    }
    snprintf(line, sizeof line, "%s %s is in use by another process: stop it, or choose another port", what, text);
    return io_explain(why, MACULA_EBUSY, line);
  case EACCES:
  case EPERM:
    snprintf(line, sizeof line, "no permission to listen on %s: choose a port above 1023", text);
    return io_explain(why, MACULA_NOT_AUTHORIZED, line);
  case EADDRNOTAVAIL:
    snprintf(line, sizeof line, "%s is not an address of this machine", text);
    return io_explain(why, MACULA_EINVAL, line);
  default:
    snprintf(line, sizeof line, "cannot listen on %s: %s", text, strerror(errno));
    return io_explain(why, MACULA_EIO, line);
  }
}

int io_udp_open(struct io_loop *l, const struct io_udp_options *o, struct io_udp **ret_udp, char *ret_why) {
  int on = 1, err;
  bool v6 = o->bind.sa.sa_family == AF_INET6;
  struct io_udp *u = calloc(1, sizeof *u);
  if (!u) return io_explain(ret_why, MACULA_ENOMEM, "out of memory");
  u->loop = l;
  u->fd = socket(o->bind.sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (u->fd < 0) {
    char line[256];
    snprintf(line, sizeof line, "cannot open a UDP socket: %s", strerror(errno));
    free(u);
    return io_explain(ret_why, MACULA_EIO, line);
  }
  if (v6) {
    setsockopt(u->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    setsockopt(u->fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof on);
    if (o->icmp_errors) setsockopt(u->fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on);
    int pmtu = IPV6_PMTUDISC_PROBE;
    setsockopt(u->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &pmtu, sizeof pmtu);
    u->wildcard = IN6_IS_ADDR_UNSPECIFIED(&o->bind.v6.sin6_addr);
    if (u->wildcard) setsockopt(u->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
  } else {
    setsockopt(u->fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof on);
    if (o->icmp_errors) setsockopt(u->fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on);
    int pmtu = IP_PMTUDISC_PROBE; /* never fragmented, and a forged ICMP message cannot lower the path MTU (RFC 9000, 14.2.1) */
    setsockopt(u->fd, IPPROTO_IP, IP_MTU_DISCOVER, &pmtu, sizeof pmtu);
    u->wildcard = o->bind.v4.sin_addr.s_addr == INADDR_ANY;
    if (u->wildcard) setsockopt(u->fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
  }
  int want = o->rcvbuf ? o->rcvbuf : 8 << 20;
  int have = buffer_size(u->fd, SO_RCVBUF, SO_RCVBUFFORCE, want);
  int have_send = buffer_size(u->fd, SO_SNDBUF, SO_SNDBUFFORCE, want);
  if (have < want)
    log_warn(l->log, "udp_buffer", "asked=%d got=%d text=\"bursts may be lost: raise net.core.rmem_max to %d\"", want, have,
             want);
  if (have_send < want)
    log_warn(l->log, "udp_send_buffer", "asked=%d got=%d text=\"sending may be slow: raise net.core.wmem_max to %d\"", want,
             have_send, want);
  /* One loop: no SO_REUSEPORT, so that bind itself finds a port in use. */
  if (bind(u->fd, &o->bind.sa, addr_len(&o->bind)) != 0) {
    err = io_bind_error("UDP", &o->bind, ret_why);
    goto fail;
  }
  socklen_t n = sizeof u->local;
  if (getsockname(u->fd, &u->local.sa, &n) != 0) {
    err = io_explain(ret_why, MACULA_EIO, strerror(errno));
    goto fail;
  }
  int none = 0;
  (void)setsockopt(u->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
  u->gso = !o->no_gso && setsockopt(u->fd, IPPROTO_UDP, UDP_SEGMENT, &none, sizeof none) == 0;
  if (!o->no_gro) (void)setsockopt(u->fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
  if (uv_poll_init(&l->uv, &u->poll, u->fd) != 0) {
    err = io_explain(ret_why, MACULA_EIO, "the event loop does not take the socket");
    goto fail;
  }
  u->poll.data = u;
  l->socket_count++;
  list_init(&u->readable);
  list_append(&l->sockets, &u->link);
  list_append(chain_of(l, &u->local), &u->of_port);
  watch(u);
  uv_async_send(&l->async); /* an embedded loop takes a step, in which the kernel hears of the socket */
  *ret_udp = u;
  return 0;
fail:
  close(u->fd);
  free(u);
  return err;
}

static void closed(uv_handle_t *h) { free(h->data); }

void io_udp_close(struct io_udp *u) {
  if (!u) return;
  u->closing = true;
  u->loop->socket_count--;
  if (u->want_write) u->loop->waiting--;
  list_remove(&u->link);
  list_remove(&u->of_port);
  list_remove(&u->readable);
  if (u->loop->in_of == u) u->loop->in_count = u->loop->in_at; /* what it has read goes with it */
  uv_close((uv_handle_t *)&u->poll, closed);
  close(u->fd);
}

const struct addr *io_udp_local(const struct io_udp *u) { return &u->local; }

/* Whether the socket is stuck: for STUCK a datagram has been waiting and none was read, or the kernel has kept saying that it
 * would accept one and has not. */
static bool is_stuck(struct io_udp *u, nanotime now) {
  int n = 0;
  if (ioctl(u->fd, FIONREAD, &n) == 0 && n > 0 && !u->unread_since) u->unread_since = now;
  return (u->full_since && now - u->full_since >= STUCK) || (u->unread_since && now - u->unread_since >= STUCK);
}

bool io_loop_serves(struct io_loop *l, nanotime now) {
  bool stuck = false;
  list_for(it, &l->sockets) stuck |= is_stuck(container_of(it, struct io_udp, link), now);
  return !stuck || now - l->moved < STUCK;
}
