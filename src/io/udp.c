/* UDP in batches: recvmmsg with UDP_GRO, sendmmsg with UDP_SEGMENT, ICMP errors by IP_RECVERR. */
#include <errno.h>
#include <linux/errqueue.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

#define IN_BATCH 16
#define IN_SIZE 65536
#define IN_BUDGET                                                                                                              \
  64 /* buffers (each up to 64 datagrams) that one turn takes from a socket, so that timers and sending get theirs */

static int explain(char *why, int err, const char *text) {
  if (why) snprintf(why, 256, "%s", text);
  return err;
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
    bool icmp = false;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
      if (!((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
            (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)))
        continue;
      struct sock_extended_err e;
      memcpy(&e, CMSG_DATA(c), sizeof e);
      icmp = (e.ee_origin == SO_EE_ORIGIN_ICMP || e.ee_origin == SO_EE_ORIGIN_ICMP6) && e.ee_errno != EMSGSIZE;
    }
    if (!icmp) continue;
    u->loop->stats.icmp_errors++;
    if (u->loop->has_ep && u->loop->ep.icmp) {
      u->loop->received = true;
      u->loop->ep.icmp(u->loop->ep.ctx, &remote, slice_of(quoted, (size_t)n), u->loop->now);
    }
  }
}

void io_udp_drain(struct io_udp *u) {
  struct io_loop *l = u->loop;
  struct mmsghdr m[IN_BATCH];
  struct iovec iov[IN_BATCH];
  struct addr from[IN_BATCH];
  uint8_t control[IN_BATCH][128] __attribute__((aligned(8)));
  for (int budget = IN_BUDGET; budget > 0 && !u->closing;) {
    for (int i = 0; i < IN_BATCH; i++) {
      iov[i] = (struct iovec){l->in_buf + (size_t)i * IN_SIZE, IN_SIZE};
      m[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
                                     .msg_namelen = sizeof from[i],
                                     .msg_iov = &iov[i],
                                     .msg_iovlen = 1,
                                     .msg_control = control[i],
                                     .msg_controllen = sizeof control[i]};
    }
    l->stats.rx_calls++;
    int n = recvmmsg(u->fd, m, IN_BATCH, MSG_DONTWAIT, NULL);
    if (n < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      drain_errors(u); /* a pending ICMP error surfaces here, whatever it was about */
      budget--;
      continue;
    }
    for (int i = 0; i < n && !u->closing; i++) {
      struct addr local = u->local;
      size_t len = m[i].msg_len, segment = len;
      uint8_t ecn = 0;
      parse_control(u, &m[i].msg_hdr, &local, &segment, &ecn);
      for (size_t at = 0; at < len; at += segment) {
        size_t k = len - at < segment ? len - at : segment;
        l->stats.rx_datagrams++;
        l->received = true;
        if (l->has_ep) l->ep.recv(l->ep.ctx, &local, &from[i], slice_of(l->in_buf + (size_t)i * IN_SIZE + at, k), ecn, l->now);
      }
    }
    budget -= n;
    if (n < IN_BATCH) return;
  }
}

static void watch(struct io_udp *u);

static void on_poll(uv_poll_t *p, int status, int events) {
  struct io_udp *u = p->data;
  if (status < 0) events = UV_READABLE; /* an error is pending: receiving finds it */
  u->loop->now = io_now();
  if (events & UV_WRITABLE) {
    u->want_write = false;
    watch(u);
    u->loop->received = true;
  }
  if (events & UV_READABLE) {
    drain_errors(u);
    io_udp_drain(u);
  }
}

static void watch(struct io_udp *u) { uv_poll_start(&u->poll, UV_READABLE | (u->want_write ? UV_WRITABLE : 0), on_poll); }

static struct io_udp *socket_for(struct io_loop *l, const struct addr *local) {
  struct io_udp *family = NULL;
  list_for(it, &l->sockets) {
    struct io_udp *u = container_of(it, struct io_udp, link);
    if (u->local.sa.sa_family != local->sa.sa_family) continue;
    if (addr_eq(&u->local, local)) return u;
    if (!family || (u->wildcard && addr_port(&u->local) == addr_port(local))) family = u;
  }
  return family;
}

static void fill_message(struct io_udp *u, struct io_out *o, uint8_t *data, struct msghdr *h, struct iovec *iov,
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

/* One datagram at a time, for a kernel or device that refuses UDP_SEGMENT. */
static void send_single(struct io_udp *u, struct io_out *o, uint8_t *data) {
  u->gso = false;
  size_t segment = o->segment ? o->segment : o->len;
  for (size_t at = 0; at < o->len; at += segment) {
    struct io_out one = *o;
    struct msghdr h;
    struct iovec iov;
    uint8_t control[128] __attribute__((aligned(8))) = {0};
    one.len = one.segment = o->len - at < segment ? o->len - at : segment;
    fill_message(u, &one, data + at, &h, &iov, control);
    if (sendmsg(u->fd, &h, MSG_DONTWAIT) < 0 && sendmsg(u->fd, &h, MSG_DONTWAIT) < 0) u->loop->stats.tx_errors++;
  }
}

/* Sends the batch from out_first on; false when a socket is full and the rest must wait. */
static bool send_batch(struct io_loop *l) {
  int errors = 0;
  while (l->out_first < l->out_count) {
    struct mmsghdr m[OUT_BATCH];
    struct iovec iov[OUT_BATCH];
    uint8_t control[OUT_BATCH][128] __attribute__((aligned(8)));
    struct io_udp *u = socket_for(l, &l->out[l->out_first].local);
    if (!u) { /* its socket was closed */
      l->out_first++;
      continue;
    }
    unsigned n = 0;
    memset(control, 0, sizeof control);
    for (unsigned i = l->out_first; i < l->out_count && socket_for(l, &l->out[i].local) == u; i++, n++)
      fill_message(u, &l->out[i], l->out_buf + (size_t)i * OUT_BURST, &m[n].msg_hdr, &iov[n], control[n]);
    l->stats.tx_calls++;
    int sent = sendmmsg(u->fd, m, n, MSG_DONTWAIT);
    if (sent > 0) {
      for (int i = 0; i < sent; i++) {
        struct io_out *o = &l->out[l->out_first++];
        l->stats.tx_datagrams += o->segment ? (o->len + o->segment - 1) / o->segment : 1;
      }
      errors = 0;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) {
      l->stats.tx_blocked++;
      u->want_write = true;
      watch(u);
      return false;
    } else if ((errno == EIO || errno == EINVAL || errno == EMSGSIZE) &&
               l->out[l->out_first].segment < l->out[l->out_first].len) {
      send_single(u, &l->out[l->out_first], l->out_buf + (size_t)l->out_first * OUT_BURST);
      l->out_first++;
    } else if (errors++ > 0) { /* the first error may be an ICMP error about another datagram: it is sent again once */
      l->stats.tx_errors++;
      l->out_first++;
      errors = 0;
    }
  }
  return true;
}

void io_udp_flush(struct io_loop *l) {
  for (;;) {
    if (l->out_first < l->out_count && !send_batch(l)) return;
    l->out_first = l->out_count = 0;
    while (l->out_count < OUT_BATCH) {
      struct io_out *o = &l->out[l->out_count];
      if (l->ep.send(l->ep.ctx, l->out_buf + (size_t)l->out_count * OUT_BURST, OUT_BURST, o, l->now) == 0) break;
      l->out_count++;
    }
    if (l->out_count == 0) return;
  }
}

static int buffer_size(int fd, int what, int force, int want) {
  int have = 0;
  socklen_t n = sizeof have;
  if (setsockopt(fd, SOL_SOCKET, force, &want, sizeof want) != 0) (void)setsockopt(fd, SOL_SOCKET, what, &want, sizeof want);
  getsockopt(fd, SOL_SOCKET, what, &have, &n);
  return have / 2; /* the kernel doubles it for its own bookkeeping */
}

static int bind_error(const struct io_udp_options *o, char *why) {
  char text[ADDR_TEXT_LEN], line[256];
  addr_text(&o->bind, text);
  switch (errno) {
  case EADDRINUSE:
    snprintf(line, sizeof line, "UDP %s is in use by another process: stop it, or choose another port", text);
    return explain(why, MACULA_EBUSY, line);
  case EACCES:
  case EPERM:
    snprintf(line, sizeof line, "no permission to listen on %s: choose a port above 1023", text);
    return explain(why, MACULA_NOT_AUTHORIZED, line);
  case EADDRNOTAVAIL:
    snprintf(line, sizeof line, "%s is not an address of this machine", text);
    return explain(why, MACULA_EINVAL, line);
  default:
    snprintf(line, sizeof line, "cannot listen on %s: %s", text, strerror(errno));
    return explain(why, MACULA_EIO, line);
  }
}

int io_udp_open(struct io_loop *l, const struct io_udp_options *o, struct io_udp **ret_udp, char *ret_why) {
  int on = 1, err;
  bool v6 = o->bind.sa.sa_family == AF_INET6;
  struct io_udp *u = calloc(1, sizeof *u);
  if (!u) return explain(ret_why, MACULA_ENOMEM, "out of memory");
  u->loop = l;
  u->fd = socket(o->bind.sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (u->fd < 0) {
    char line[256];
    snprintf(line, sizeof line, "cannot open a UDP socket: %s", strerror(errno));
    free(u);
    return explain(ret_why, MACULA_EIO, line);
  }
  if (v6) {
    setsockopt(u->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    setsockopt(u->fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof on);
    setsockopt(u->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
    if (o->icmp_errors) setsockopt(u->fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on);
    u->wildcard = IN6_IS_ADDR_UNSPECIFIED(&o->bind.v6.sin6_addr);
  } else {
    setsockopt(u->fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof on);
    setsockopt(u->fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
    if (o->icmp_errors) setsockopt(u->fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on);
    int pmtu = IP_PMTUDISC_DO;
    setsockopt(u->fd, IPPROTO_IP, IP_MTU_DISCOVER, &pmtu, sizeof pmtu);
    u->wildcard = o->bind.v4.sin_addr.s_addr == INADDR_ANY;
  }
  int want = o->rcvbuf ? o->rcvbuf : 8 << 20;
  int have = buffer_size(u->fd, SO_RCVBUF, SO_RCVBUFFORCE, want);
  (void)buffer_size(u->fd, SO_SNDBUF, SO_SNDBUFFORCE, want);
  if (have < want)
    log_warn(l->log, "udp_buffer", "asked=%d got=%d text=\"bursts may be lost: raise net.core.rmem_max to %d\"", want, have,
             want);
  /* One loop: no SO_REUSEPORT, so that bind itself finds a port in use. */
  if (bind(u->fd, &o->bind.sa, addr_len(&o->bind)) != 0) {
    err = bind_error(o, ret_why);
    goto fail;
  }
  socklen_t n = sizeof u->local;
  if (getsockname(u->fd, &u->local.sa, &n) != 0) {
    err = explain(ret_why, MACULA_EIO, strerror(errno));
    goto fail;
  }
  int none = 0;
  u->gso = !o->no_gso && setsockopt(u->fd, IPPROTO_UDP, UDP_SEGMENT, &none, sizeof none) == 0;
  if (!o->no_gro) (void)setsockopt(u->fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
  if (uv_poll_init(&l->uv, &u->poll, u->fd) != 0) {
    err = explain(ret_why, MACULA_EIO, "the event loop does not take the socket");
    goto fail;
  }
  u->poll.data = u;
  list_append(&l->sockets, &u->link);
  watch(u);
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
  list_remove(&u->link);
  uv_poll_stop(&u->poll);
  close(u->fd);
  uv_close((uv_handle_t *)&u->poll, closed);
}

const struct addr *io_udp_local(const struct io_udp *u) { return &u->local; }
