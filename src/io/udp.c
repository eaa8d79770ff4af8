/* UDP in batches: recvmmsg with UDP_GRO, sendmmsg with UDP_SEGMENT, ICMP errors by IP_RECVERR. */
#include <errno.h>
#include <time.h> /* before errqueue.h, which uses its struct timespec */

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
/* After so many datagrams a turn leaves the rest in the socket, so that timers and sending get their share; the batch in which
 * it is reached is finished. Some 180 KiB: what a publisher sends in one go must not fill a subscriber's queue (1 MiB) before
 * the first of it has left; more made nothing faster. */
#define IN_BUDGET 128

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
      drain_errors(u);    /* a pending ICMP error surfaces here, whatever it was about */
      budget -= IN_BATCH; /* bounded also when errors come faster than they are read */
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
        budget--;
        if (l->has_ep) l->ep.recv(l->ep.ctx, &local, &from[i], slice_of(l->in_buf + (size_t)i * IN_SIZE + at, k), ecn, l->now);
      }
    }
    if (n < IN_BATCH) return;
  }
}

static void watch(struct io_udp *u);

static void on_poll(uv_poll_t *p, int status, int events) {
  struct io_udp *u = p->data;
  if (status < 0) { /* an ICMP error is pending (EPOLLERR): libuv has stopped watching */
    events = UV_READABLE;
    watch(u);
  }
  u->loop->now = io_now();
  if (events & UV_WRITABLE) {
    u->want_write = false;
    watch(u);
  }
  if (events & UV_READABLE) {
    drain_errors(u);
    io_udp_drain(u);
  }
}

static void watch(struct io_udp *u) {
  u->loop->rewatched = true;
  uv_poll_start(&u->poll, UV_READABLE | (u->want_write ? UV_WRITABLE : 0), on_poll);
}

static struct list *chain_of(struct io_loop *l, const struct addr *local) {
  return &l->by_port[addr_port(local) % PORT_CHAINS];
}

/* The socket of this address, else one of the wildcard address with this port; without a port the first of the family. NULL:
 * its socket was closed. From another one it would come from an address that the other side knows nothing of. */
static struct io_udp *socket_for(struct io_loop *l, const struct io_out *o) {
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

/* The socket cannot take more now: the rest of the batch stays and nothing is pulled until it is writable. */
static bool wait_writable(struct io_udp *u) {
  u->loop->stats.tx_blocked++;
  u->want_write = true;
  watch(u);
  return false;
}

static bool is_full(int e) { return e == EAGAIN || e == ENOBUFS; }

/* With IP_RECVERR an ICMP error about an earlier datagram fails the next call, whatever that sends: it is sent again. No
 * datagram of an unconnected socket is refused for its own sake, so ECONNREFUSED is always such an error, and several may wait.
 */
static bool is_stale(int e, int tries) { return tries < (e == ECONNREFUSED ? 16 : 1); }

static uint8_t *burst(struct io_loop *l, unsigned i) { return l->out_buf + (size_t)i * OUT_BURST; }
static bool is_segmented(const struct io_out *o) { return o->segment && o->segment < o->len; }

/* Sends the first burst one datagram at a time, for a device that refuses UDP_SEGMENT; false when the socket is full. */
static bool send_single(struct io_loop *l, struct io_udp *u) {
  struct io_out *o = &l->out[l->out_first];
  for (int tries = 0; l->out_off < o->len;) {
    struct io_out one = *o;
    struct msghdr h;
    struct iovec iov;
    uint8_t control[128] __attribute__((aligned(8))) = {0};
    one.len = one.segment = o->len - l->out_off < o->segment ? o->len - l->out_off : o->segment;
    fill_message(u, &one, burst(l, l->out_first) + l->out_off, &h, &iov, control);
    l->stats.tx_calls++;
    if (sendmsg(u->fd, &h, MSG_DONTWAIT) < 0) {
      if (is_full(errno)) return wait_writable(u);
      if (is_stale(errno, tries++)) continue;
      l->stats.tx_errors++;
    } else {
      l->stats.tx_datagrams++;
    }
    tries = 0;
    l->out_off += one.len;
  }
  l->out_off = 0;
  l->out_first++;
  return true;
}

/* Sends the batch from out_first on; false when a socket is full and the rest must wait. */
static bool send_batch(struct io_loop *l) {
  bool single = l->out_off > 0; /* a burst that was begun so */
  int tries = 0;
  while (l->out_first < l->out_count) {
    struct io_udp *u = socket_for(l, &l->out[l->out_first]);
    if (!u) { /* its socket was closed */
      l->stats.tx_errors++;
      l->out_first++;
      l->out_off = 0;
      continue;
    }
    if (u->want_write) return false;
    if (single || (!u->gso && is_segmented(&l->out[l->out_first]))) {
      if (!send_single(l, u)) return false;
      single = false;
      continue;
    }
    struct mmsghdr m[OUT_BATCH];
    struct iovec iov[OUT_BATCH];
    uint8_t control[OUT_BATCH][128] __attribute__((aligned(8)));
    unsigned n = 0;
    memset(control, 0, sizeof control);
    for (unsigned i = l->out_first; i < l->out_count; i++, n++) {
      struct io_out *o = &l->out[i];
      if (socket_for(l, o) != u || (!u->gso && is_segmented(o))) break;
      fill_message(u, o, burst(l, i), &m[n].msg_hdr, &iov[n], control[n]);
    }
    l->stats.tx_calls++;
    int sent = sendmmsg(u->fd, m, n, MSG_DONTWAIT);
    if (sent > 0) {
      for (int i = 0; i < sent; i++) {
        struct io_out *o = &l->out[l->out_first++];
        l->stats.tx_datagrams += o->segment ? (o->len + o->segment - 1) / o->segment : 1;
      }
      tries = 0;
    } else if (is_full(errno)) {
      return wait_writable(u);
    } else if ((errno == EIO || errno == EINVAL || errno == EMSGSIZE) && is_segmented(&l->out[l->out_first])) {
      if (errno == EIO) u->gso = false; /* the device cannot; the other two are about this burst's path or size only */
      single = true;
    } else if (!is_stale(errno, tries++)) {
      l->stats.tx_errors++;
      l->out_first++;
      tries = 0;
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
    if (!addr_port(&o->bind))
      return explain(why, MACULA_EFULL,
                     "no UDP port is free: end what holds them, or widen the range that the system gives from (sysctl "
                     "net.ipv4.ip_local_port_range)");
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
  list_remove(&u->link);
  list_remove(&u->of_port);
  uv_close((uv_handle_t *)&u->poll, closed);
  close(u->fd);
}

const struct addr *io_udp_local(const struct io_udp *u) { return &u->local; }
