/* Two small endpoints over real loopback, and stand-ins for the system calls that loopback never refuses. One program includes
 * it once. */
#ifndef TEST_UDP_RIG_H
#define TEST_UDP_RIG_H

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/udp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "../ipv6.h"
#include "base/err.h"
#include "io/io.h"

#define SIZE 1200   /* of a numbered datagram */
#define TAIL 700    /* the last one of a burst is shorter: segments are not all equal */
#define WINDOW 512  /* datagrams under way */
#define ACK_SIZE 12 /* an acknowledgement: only its length tells it from data */

/* Sends `total` numbered datagrams in bursts, goes back to the last acknowledged one after 50 ms of silence, acknowledges what
 * it receives in order. */
struct side {
  struct io_loop *loop;
  struct io_udp *udp;
  struct addr peer, from, to; /* from, to: of the last datagram received */
  unsigned burst;
  uint32_t total, next, acked;     /* sending */
  uint32_t expected, out_of_order; /* receiving */
  uint64_t received, icmp, bad, ticks;
  uint8_t ecn, quoted[64];
  size_t quoted_len;
  struct addr icmp_remote;
  bool ack_due, answer_only, icmp_port;
  nanotime retry_at;
};

/* Stand-ins for the system calls, since loopback never refuses to send: every nth call is refused. */
static struct {
  unsigned full_each, calls;
  bool no_offload; /* UDP_SEGMENT: EIO, as of a device that cannot checksum */
  int err;         /* of the next `times` calls for this destination; port 0: for any */
  unsigned times;
  struct addr to;
  int rx_err;
  unsigned rx_times;
} faults;

static inline bool refuse(const struct msghdr *h) {
  if (faults.times && (!addr_port(&faults.to) || addr_eq(h->msg_name, &faults.to))) {
    faults.times--;
    errno = faults.err;
    return true;
  }
  if (faults.full_each && ++faults.calls % faults.full_each == 0) {
    errno = EAGAIN;
    return true;
  }
  struct msghdr copy = *h;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&copy); faults.no_offload && c; c = CMSG_NXTHDR(&copy, c)) {
    if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_SEGMENT) continue;
    errno = EIO;
    return true;
  }
  return false;
}
int sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags) {
  return refuse(&m->msg_hdr) ? -1 : (int)syscall(SYS_sendmmsg, fd, m, n, flags);
}
ssize_t sendmsg(int fd, const struct msghdr *h, int flags) { return refuse(h) ? -1 : syscall(SYS_sendmsg, fd, h, flags); }

int recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *t) {
  if (faults.rx_times) {
    faults.rx_times--;
    errno = faults.rx_err;
    return -1;
  }
  return (int)syscall(SYS_recvmmsg, fd, m, n, flags, t);
}

static inline void put_number(uint8_t *p, uint32_t n) { memcpy(p, &n, sizeof n); }
static inline uint32_t number(const uint8_t *p) {
  uint32_t n;
  memcpy(&n, p, sizeof n);
  return n;
}
/* Every datagram before the last of its burst is full; bursts start at multiples of `burst`. */
static inline size_t size_of_number(const struct side *s, uint32_t n) {
  return n % s->burst == s->burst - 1 || n == s->total - 1 ? TAIL : SIZE;
}

static inline void on_recv(void *ctx, const struct addr *local, const struct addr *remote, struct slice d, uint8_t ecn,
                           nanotime now) {
  struct side *s = ctx;
  s->from = *remote;
  s->to = *local;
  s->received++;
  if (d.n == ACK_SIZE) {
    uint32_t n = number(d.p);
    if (n > s->acked && n <= s->total) {
      s->acked = n;
      s->retry_at = now + 50 * NS_MS;
    }
    return;
  }
  s->ecn = ecn;
  s->peer = *remote;
  if (d.n < 8 || number(d.p + 4) != d.n || d.p[d.n - 1] != (uint8_t)number(d.p)) s->bad++;
  if (number(d.p) == s->expected)
    s->expected++;
  else if (number(d.p) > s->expected)
    s->out_of_order++;
  s->ack_due = true;
}

static inline void on_icmp(void *ctx, const struct addr *remote, struct slice quoted, bool port, nanotime now) {
  (void)now;
  struct side *s = ctx;
  s->icmp++;
  s->icmp_port = port;
  s->icmp_remote = *remote;
  s->quoted_len = quoted.n < sizeof s->quoted ? quoted.n : sizeof s->quoted;
  memcpy(s->quoted, quoted.p, s->quoted_len);
}

static inline nanotime on_deadline(void *ctx) {
  struct side *s = ctx;
  return s->acked < s->total ? s->retry_at : TIME_NEVER;
}

static inline void on_tick(void *ctx, nanotime now) {
  struct side *s = ctx;
  s->ticks++;
  if (s->acked < s->total && now >= s->retry_at) {
    s->next = s->acked - s->acked % s->burst;
    s->retry_at = now + 50 * NS_MS;
  }
}

static inline size_t on_send(void *ctx, uint8_t *buf, size_t cap, struct burst *ret_burst, nanotime now) {
  (void)now;
  struct side *s = ctx;
  *ret_burst = (struct burst){.local = *io_udp_local(s->udp), .remote = s->peer, .ecn = 2};
  if (s->answer_only) ret_burst->local = s->to;
  if (s->ack_due) {
    s->ack_due = false;
    memset(buf, 0, ACK_SIZE);
    put_number(buf, s->expected);
    return ret_burst->len = ret_burst->segment = ACK_SIZE;
  }
  size_t len = 0;
  if (s->next >= s->total || s->next - s->acked >= WINDOW) return 0;
  for (unsigned i = 0; i < s->burst && s->next < s->total; i++) {
    size_t n = size_of_number(s, s->next);
    assert_true(len + n <= cap);
    memset(buf + len, (int)(uint8_t)s->next, n);
    put_number(buf + len, s->next++);
    put_number(buf + len + 4, (uint32_t)n);
    len += n;
    if (n == TAIL) break;
  }
  ret_burst->len = len;
  ret_burst->segment = len < SIZE ? len : SIZE;
  return len;
}

static inline struct addr at(const char *text) {
  struct addr a = {0};
  assert_int_equal(addr_parse(text, 0, &a), 0);
  return a;
}

static inline void side_open(struct side *s, struct io_udp_options o) {
  char why[256] = "";
  memset(s, 0, sizeof *s);
  s->burst = 40;
  assert_int_equal(io_loop_new(NULL, &s->loop), 0);
  struct endpoint ep = {on_recv, on_icmp, on_deadline, on_tick, on_send, s};
  io_loop_set_endpoint(s->loop, &ep);
  o.icmp_errors = true;
  int err = io_udp_open(s->loop, &o, &s->udp, why);
  if (err) fail_msg("%s", why);
}

#define LIMIT (120 * NS_SEC) /* of what comes in milliseconds: a machine may stand still, and nothing here is about time */

/* Steps both until both are acknowledged or the limit is over; sleeps in poll on the loops' descriptors. */
static inline void run(struct side *a, struct side *b) {
  for (nanotime end = io_now() + LIMIT; io_now() < end && (a->acked < a->total || b->acked < b->total);) {
    struct pollfd p[2] = {{io_loop_fd(a->loop), POLLIN, 0}, {io_loop_fd(b->loop), POLLIN, 0}};
    poll(p, 2, 1000);
    if (p[0].revents) io_loop_step(a->loop);
    if (p[1].revents) io_loop_step(b->loop);
  }
}

static inline void step(struct io_loop *l) {
  struct pollfd p = {io_loop_fd(l), POLLIN, 0};
  if (poll(&p, 1, 5) > 0) io_loop_step(l);
}

/* At least five steps, however late the machine lets them be. */
static inline void step_for(struct io_loop *l, unsigned ms) {
  nanotime end = io_now() + ms * NS_MS;
  for (unsigned steps = 0; steps < 5 || io_now() < end; steps++) step(l);
}

static inline void start(struct side *s, const struct addr *to, uint32_t total) {
  s->peer = *to;
  s->total = total;
  s->next = s->acked = 0;
  s->retry_at = io_now() + 50 * NS_MS;
  io_loop_wake(s->loop);
}

#endif
