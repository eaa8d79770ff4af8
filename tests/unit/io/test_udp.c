/* Sockets over real loopback. Endpoints are small fakes; an acknowledged window counts what arrived, since UDP promises
 * nothing. */
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

static bool refuse(const struct msghdr *h) {
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

static void put_number(uint8_t *p, uint32_t n) { memcpy(p, &n, sizeof n); }
static uint32_t number(const uint8_t *p) {
  uint32_t n;
  memcpy(&n, p, sizeof n);
  return n;
}
/* Every datagram before the last of its burst is full; bursts start at multiples of `burst`. */
static size_t size_of_number(const struct side *s, uint32_t n) {
  return n % s->burst == s->burst - 1 || n == s->total - 1 ? TAIL : SIZE;
}

static void on_recv(void *ctx, const struct addr *local, const struct addr *remote, struct slice d, uint8_t ecn, nanotime now) {
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

static void on_icmp(void *ctx, const struct addr *remote, struct slice quoted, bool port, nanotime now) {
  (void)now;
  struct side *s = ctx;
  s->icmp++;
  s->icmp_port = port;
  s->icmp_remote = *remote;
  s->quoted_len = quoted.n < sizeof s->quoted ? quoted.n : sizeof s->quoted;
  memcpy(s->quoted, quoted.p, s->quoted_len);
}

static nanotime on_deadline(void *ctx) {
  struct side *s = ctx;
  return s->acked < s->total ? s->retry_at : TIME_NEVER;
}

static void on_tick(void *ctx, nanotime now) {
  struct side *s = ctx;
  s->ticks++;
  if (s->acked < s->total && now >= s->retry_at) {
    s->next = s->acked - s->acked % s->burst;
    s->retry_at = now + 50 * NS_MS;
  }
}

static size_t on_send(void *ctx, uint8_t *buf, size_t cap, struct burst *ret_burst, nanotime now) {
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

static struct addr at(const char *text) {
  struct addr a = {0};
  assert_int_equal(addr_parse(text, 0, &a), 0);
  return a;
}

static void side_open(struct side *s, struct io_udp_options o) {
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
static void run(struct side *a, struct side *b) {
  for (nanotime end = io_now() + LIMIT; io_now() < end && (a->acked < a->total || b->acked < b->total);) {
    struct pollfd p[2] = {{io_loop_fd(a->loop), POLLIN, 0}, {io_loop_fd(b->loop), POLLIN, 0}};
    poll(p, 2, 1000);
    if (p[0].revents) io_loop_step(a->loop);
    if (p[1].revents) io_loop_step(b->loop);
  }
}

static void step(struct io_loop *l) {
  struct pollfd p = {io_loop_fd(l), POLLIN, 0};
  if (poll(&p, 1, 5) > 0) io_loop_step(l);
}

/* At least five steps, however late the machine lets them be. */
static void step_for(struct io_loop *l, unsigned ms) {
  nanotime end = io_now() + ms * NS_MS;
  for (unsigned steps = 0; steps < 5 || io_now() < end; steps++) step(l);
}

static void start(struct side *s, const struct addr *to, uint32_t total) {
  s->peer = *to;
  s->total = total;
  s->next = s->acked = 0;
  s->retry_at = io_now() + 50 * NS_MS;
  io_loop_wake(s->loop);
}

static void exchange(const char *address, struct io_udp_options o, uint32_t total) {
  struct side a, b;
  o.bind = at(address);
  side_open(&a, o);
  side_open(&b, o);
  start(&a, io_udp_local(b.udp), total);
  run(&a, &b);
  assert_int_equal(a.acked, total);
  assert_int_equal(b.expected, total);
  assert_int_equal(b.bad, 0);
  assert_int_equal(b.ecn, 2);
  assert_true(addr_eq(&b.from, io_udp_local(a.udp)));
  assert_true(addr_eq(&b.to, io_udp_local(b.udp)));
  struct io_stats sa, sb;
  io_loop_stats(a.loop, &sa);
  io_loop_stats(b.loop, &sb);
  assert_true(sa.tx_datagrams >= total && sb.rx_datagrams >= total);
  if (!o.no_gso && io_udp_gso(a.loop)) assert_true(sa.tx_calls < sa.tx_datagrams / 10);
  if (o.no_gso) assert_true(sa.tx_calls >= sa.tx_datagrams);
  io_loop_free(a.loop);
  io_loop_free(b.loop);
}

static void test_bursts(void **state) {
  (void)state;
  exchange("127.0.0.1:0", (struct io_udp_options){0}, 10000);
}
static void test_bursts_v6(void **state) {
  (void)state;
  if (ipv6_here()) exchange("[::1]:0", (struct io_udp_options){0}, 10000);
}
static void test_segmented_by_us(void **state) {
  (void)state;
  exchange("127.0.0.1:0", (struct io_udp_options){.no_gso = true}, 2000);
}
static void test_segmented_by_the_kernel(void **state) {
  (void)state;
  exchange("127.0.0.1:0", (struct io_udp_options){.no_gro = true}, 2000);
}

/* A full socket keeps what was pulled and sends it later, in order, whole; the same one datagram at a time, in mid-burst. */
static void lossless(bool no_offload) {
  struct side a, b;
  side_open(&a, (struct io_udp_options){.bind = at("127.0.0.1:0")});
  side_open(&b, (struct io_udp_options){.bind = at("127.0.0.1:0")});
  faults.full_each = 2;
  faults.calls = 0;
  faults.no_offload = no_offload;
  start(&a, io_udp_local(b.udp), 2000);
  a.retry_at = TIME_NEVER; /* sent once only: until an acknowledgement sets it */
  run(&a, &b);
  faults.full_each = 0;
  faults.no_offload = false;
  assert_int_equal(a.acked, 2000);
  assert_int_equal(b.out_of_order, 0);
  assert_int_equal(b.bad, 0);
  struct io_stats sa;
  io_loop_stats(a.loop, &sa);
  assert_true(sa.tx_blocked > 2);
  assert_int_equal(sa.tx_errors, 0);
  assert_int_equal(io_udp_gso(a.loop), !no_offload);
  io_loop_free(a.loop);
  io_loop_free(b.loop);
}
static void test_full_socket(void **state) {
  (void)state;
  lossless(false);
}
static void test_no_offload(void **state) {
  (void)state;
  lossless(true);
}

/* A socket on the wildcard learns which address was meant, and answers from it. */
static void wildcard(const char *bind_to, const char *reach) {
  struct side a, b;
  side_open(&b, (struct io_udp_options){.bind = at(bind_to)});
  b.answer_only = true;
  struct addr to = at(reach);
  addr_set_port(&to, addr_port(io_udp_local(b.udp)));
  struct addr any = to;
  addr_set_port(&any, 0);
  if (any.sa.sa_family == AF_INET) any.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  side_open(&a, (struct io_udp_options){.bind = any});
  start(&a, &to, 100);
  run(&a, &b);
  assert_int_equal(a.acked, 100);
  assert_true(addr_eq(&b.to, &to));
  assert_true(addr_eq(&a.from, &to));
  io_loop_free(a.loop);
  io_loop_free(b.loop);
}
static void test_wildcard(void **state) {
  (void)state;
  wildcard("0.0.0.0:0", "127.0.0.7:1");
  if (ipv6_here()) wildcard("[::]:0", "[::1]:1");
}

static void test_port_in_use(void **state) {
  (void)state;
  struct side a;
  side_open(&a, (struct io_udp_options){.bind = at("127.0.0.1:0")});
  char why[256] = "", text[ADDR_TEXT_LEN];
  struct io_udp *u = NULL;
  struct io_udp_options o = {.bind = *io_udp_local(a.udp)};
  addr_text(&o.bind, text);
  assert_int_equal(io_udp_open(a.loop, &o, &u, why), MACULA_EBUSY);
  assert_null(u);
  assert_non_null(strstr(why, text));
  assert_non_null(strstr(why, "in use"));
  o.bind = at("192.0.2.1:5");
  assert_int_equal(io_udp_open(a.loop, &o, &u, why), MACULA_EINVAL);
  /* Also when the other one shares its port with SO_REUSEPORT. */
  int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
  struct addr shared = at("127.0.0.1:1");
  addr_set_port(&shared, 0);
  socklen_t n = sizeof shared;
  assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), 0);
  assert_int_equal(bind(fd, &shared.sa, addr_len(&shared)), 0);
  assert_int_equal(getsockname(fd, &shared.sa, &n), 0);
  o.bind = shared;
  assert_int_equal(io_udp_open(a.loop, &o, &u, NULL), MACULA_EBUSY);
  close(fd);
  /* A closed socket gives its port back at once. */
  o.bind = *io_udp_local(a.udp);
  io_udp_close(a.udp);
  assert_int_equal(io_udp_open(a.loop, &o, &u, why), 0);
  io_loop_free(a.loop);
}

/* A port where nobody listens and that nobody else is given: its socket is connected to itself and so hears nobody else. */
static struct addr unused_port(const char *text, int *ret_fd) {
  struct addr a = at(text);
  int fd = *ret_fd = socket(a.sa.sa_family, SOCK_DGRAM, 0);
  socklen_t n = sizeof a;
  assert_int_equal(bind(fd, &a.sa, addr_len(&a)), 0);
  assert_int_equal(getsockname(fd, &a.sa, &n), 0);
  assert_int_equal(connect(fd, &a.sa, n), 0);
  return a;
}

/* The error reaches the hook with the datagram it is about, and the socket goes on afterwards without a loss. */
static void icmp(const char *address) {
  struct side a, b;
  int held;
  struct addr dead = unused_port(address, &held);
  side_open(&a, (struct io_udp_options){.bind = at(address)});
  for (int round = 0; round < 3; round++) {
    uint64_t before = a.icmp;
    start(&a, &dead, 1);
    for (nanotime end = io_now() + LIMIT; a.icmp == before && io_now() < end;) step(a.loop);
    assert_true(a.icmp > before);
    assert_true(a.icmp_port && addr_eq(&a.icmp_remote, &dead));
    assert_true(a.quoted_len >= 8);
    assert_int_equal(number(a.quoted + 4), TAIL);
  }
  side_open(&b, (struct io_udp_options){.bind = at(address)});
  start(&a, io_udp_local(b.udp), 1000);
  run(&a, &b);
  assert_int_equal(a.acked, 1000);
  struct io_stats s;
  io_loop_stats(a.loop, &s);
  assert_int_equal(s.tx_errors, 0);
  assert_true(s.icmp_errors >= 3);
  close(held);
  io_loop_free(a.loop);
  io_loop_free(b.loop);
}
static void test_icmp(void **state) {
  (void)state;
  icmp("127.0.0.1:0");
  if (ipv6_here()) icmp("[::1]:0");
}

/* An endpoint that sends one datagram to a port where nobody listens and at once one to a live peer, 200 times. */
struct mixed {
  struct io_udp *udp;
  struct addr dead, live;
  unsigned left, icmp;
};
static void mixed_recv(void *ctx, const struct addr *l, const struct addr *r, struct slice d, uint8_t ecn, nanotime now) {
  (void)ctx, (void)l, (void)r, (void)d, (void)ecn, (void)now;
}
static void mixed_icmp(void *ctx, const struct addr *remote, struct slice q, bool port, nanotime now) {
  (void)remote, (void)q, (void)port, (void)now;
  ((struct mixed *)ctx)->icmp++;
}
static nanotime mixed_deadline(void *ctx) {
  (void)ctx;
  return TIME_NEVER;
}
static void mixed_tick(void *ctx, nanotime now) { (void)ctx, (void)now; }
static size_t mixed_send(void *ctx, uint8_t *buf, size_t cap, struct burst *ret_burst, nanotime now) {
  (void)cap, (void)now;
  struct mixed *m = ctx;
  if (m->left == 0) return 0;
  *ret_burst =
      (struct burst){.local = *io_udp_local(m->udp), .remote = m->left-- % 2 ? m->live : m->dead, .len = 50, .segment = 50};
  memset(buf, 0, 50);
  return 50;
}

static void test_pending_error_loses_nothing(void **state) {
  (void)state;
  int held;
  struct mixed m = {.dead = unused_port("127.0.0.1:0", &held), .left = 400};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  struct addr live = at("127.0.0.1:0");
  socklen_t n = sizeof live;
  assert_int_equal(bind(fd, &live.sa, addr_len(&live)), 0);
  assert_int_equal(getsockname(fd, &live.sa, &n), 0);
  m.live = live;
  struct io_loop *l;
  assert_int_equal(io_loop_new(NULL, &l), 0);
  struct io_udp_options o = {.bind = at("127.0.0.1:0"), .icmp_errors = true};
  assert_int_equal(io_udp_open(l, &o, &m.udp, NULL), 0);
  struct endpoint ep = {mixed_recv, mixed_icmp, mixed_deadline, mixed_tick, mixed_send, &m};
  io_loop_set_endpoint(l, &ep);
  io_loop_wake(l);
  unsigned got = 0;
  for (nanotime end = io_now() + LIMIT; (got < 200 || m.left || m.icmp == 0) && io_now() < end;) {
    step(l);
    uint8_t buf[64];
    while (recv(fd, buf, sizeof buf, 0) == 50) got++;
  }
  assert_int_equal(m.left, 0);
  assert_int_equal(got, 200);
  assert_true(m.icmp > 0);
  struct io_stats s;
  io_loop_stats(l, &s);
  assert_int_equal(s.tx_errors, 0);
  close(fd);
  close(held);
  io_loop_free(l);
}

/* A destination that no route leads to costs its datagram only. */
static void test_bad_destination(void **state) {
  (void)state;
  struct side a, b;
  side_open(&a, (struct io_udp_options){.bind = at("127.0.0.1:0")});
  side_open(&b, (struct io_udp_options){.bind = at("127.0.0.1:0")});
  struct addr nowhere = at("203.0.113.5:9"); /* from 127.0.0.1 the kernel refuses it */
  start(&a, &nowhere, 1);
  step_for(a.loop, 20);
  start(&a, io_udp_local(b.udp), 500);
  run(&a, &b);
  assert_int_equal(a.acked, 500);
  io_loop_free(a.loop);
  io_loop_free(b.loop);
}

enum { PORTS = 3, EACH = 3 };

static uint64_t unsent(const struct side *s) {
  struct io_stats stats;
  io_loop_stats(s->loop, &stats);
  return stats.tx_errors;
}

static void leaves_from(struct side *a, struct side *b, const struct addr *local) {
  uint64_t got = b->received, errors = unsent(a);
  a->answer_only = a->ack_due = true;
  a->to = *local;
  a->peer = *io_udp_local(b->udp);
  io_loop_wake(a->loop);
  for (int i = 0; i < 1000 && b->received == got && unsent(a) == errors; i++) {
    struct pollfd p[2] = {{io_loop_fd(a->loop), POLLIN, 0}, {io_loop_fd(b->loop), POLLIN, 0}};
    poll(p, 2, 1000);
    if (p[0].revents) io_loop_step(a->loop);
    if (p[1].revents) io_loop_step(b->loop);
  }
}

/* Ports PORT_CHAINS apart from a base of which all are free; the last are wildcards'. ret_six NULL: without IPv6. */
static int open_all(struct side *s, int base, struct io_udp *ret[PORTS][EACH], struct io_udp **ret_six) {
  static const char *const on[] = {"127.0.0.2", "127.0.0.3", "127.0.0.4"};
  char text[64];
  struct io_udp_options o = {0};
  snprintf(text, sizeof text, "[::1]:%d", base);
  o.bind = at(text);
  int err = ret_six ? io_udp_open(s->loop, &o, ret_six, NULL) : 0;
  for (int p = 0; p < PORTS; p++)
    for (int i = 0; i < EACH && !err; i++) {
      bool any = p == PORTS - 1;
      snprintf(text, sizeof text, "%s:%d", any ? "0.0.0.0" : on[i], base + 1024 * (p + (any ? i : 0)));
      o.bind = at(text);
      err = io_udp_open(s->loop, &o, &ret[p][i], NULL);
    }
  return err;
}

/* Sockets whose ports share a chain, of both families and on several addresses: each datagram leaves by its own one, and none
 * by another's when that is closed, be it with a batch that waits. */
static void test_many_sockets(void **state) {
  (void)state;
  struct side a, b, b6;
  struct io_udp *u[PORTS][EACH], *six, *again;
  bool v6 = ipv6_here();
  int base = 20011;
  side_open(&a, (struct io_udp_options){.bind = at("127.0.0.1:0")});
  side_open(&b, (struct io_udp_options){.bind = at("127.0.0.1:0")});
  if (v6) side_open(&b6, (struct io_udp_options){.bind = at("[::1]:0")});
  for (; open_all(&a, base, u, v6 ? &six : NULL); base += 7) {
    assert_true(base < 25000);
    io_loop_free(a.loop); /* another program has one of these ports */
    side_open(&a, (struct io_udp_options){.bind = at("127.0.0.1:0")});
  }
  if (v6) {
    leaves_from(&a, &b6, io_udp_local(six));
    assert_true(addr_eq(&b6.from, io_udp_local(six)));
  }
  for (int p = 0; p < PORTS; p++)
    for (int i = 0; i < EACH; i++) {
      struct addr from = *io_udp_local(u[p][i]);
      if (p == PORTS - 1) from.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 6);
      leaves_from(&a, &b, &from);
      assert_true(addr_eq(&b.from, &from));
    }
  struct addr gone = *io_udp_local(u[0][0]), none = {0};
  uint64_t errors = unsent(&a);
  io_udp_close(u[0][0]);
  leaves_from(&a, &b, &gone);
  assert_int_equal(unsent(&a), errors + 1);
  assert_int_equal(io_udp_open(a.loop, &(struct io_udp_options){.bind = gone}, &again, NULL), 0);
  leaves_from(&a, &b, &gone);
  assert_true(addr_eq(&b.from, &gone));
  leaves_from(&a, &b, &none); /* whoever does not care */
  assert_true(addr_eq(&b.from, io_udp_local(a.udp)));
  faults.full_each = 1; /* a batch waits for its socket */
  a.ack_due = true;
  a.to = gone;
  io_loop_wake(a.loop);
  step_for(a.loop, 20);
  io_udp_close(again);
  faults.full_each = 0;
  leaves_from(&a, &b, io_udp_local(a.udp));
  leaves_from(&a, &b, io_udp_local(a.udp));
  assert_int_equal(unsent(&a), errors + 2);
  assert_true(addr_eq(&b.from, io_udp_local(a.udp)));
  io_loop_free(a.loop);
  io_loop_free(b.loop);
  if (v6) io_loop_free(b6.loop);
}

static uint64_t done_with(const struct side *s) {
  struct io_stats stats;
  io_loop_stats(s->loop, &stats);
  return stats.tx_datagrams + stats.tx_errors;
}

/* One burst of `count` datagrams to b; how many of them arrived. The first `times` calls are refused with err. */
static uint32_t refused_with(struct side *a, struct side *b, uint32_t count, int err, unsigned times) {
  uint64_t before = done_with(a);
  b->expected = b->out_of_order = 0;
  b->received = 0;
  faults.err = err;
  faults.times = times;
  start(a, io_udp_local(b->udp), count);
  a->retry_at = TIME_NEVER; /* sent once only */
  for (nanotime end = io_now() + LIMIT; done_with(a) < before + count && io_now() < end;) step(a->loop);
  for (int i = 0; i < 3; i++) io_loop_step(b->loop); /* loopback delivers within the call that sends */
  assert_int_equal(faults.times, 0);
  b->ack_due = false;
  return (uint32_t)b->received;
}

static const struct refused {
  const char *name;
  int err;
  unsigned again;    /* so often it may be about an earlier datagram */
  bool singly;       /* a burst is then sent in single datagrams */
  enum io_drop drop; /* IO_DROPS: never lost */
} refused[] = {
    {"EAGAIN", EAGAIN, 100, false, IO_DROPS},
    {"ENOBUFS", ENOBUFS, 0, false, IO_DROP_QUEUE},
    {"ENOMEM", ENOMEM, 1, false, IO_DROP_MEMORY},
    {"EMSGSIZE", EMSGSIZE, 1, true, IO_DROP_SIZE},
    {"EIO", EIO, 0, true, IO_DROP_OTHER},
    {"EINVAL", EINVAL, 0, true, IO_DROP_OTHER},
    {"EPERM", EPERM, 0, false, IO_DROP_FILTERED},
    {"EACCES", EACCES, 1, false, IO_DROP_FILTERED},
    {"ECONNREFUSED", ECONNREFUSED, 16, false, IO_DROP_UNREACHABLE},
    {"EHOSTUNREACH", EHOSTUNREACH, 1, false, IO_DROP_UNREACHABLE},
    {"ENETUNREACH", ENETUNREACH, 1, false, IO_DROP_UNREACHABLE},
    {"EHOSTDOWN", EHOSTDOWN, 1, false, IO_DROP_UNREACHABLE},
    {"ENETDOWN", ENETDOWN, 1, false, IO_DROP_UNREACHABLE},
    {"ENODEV", ENODEV, 1, false, IO_DROP_UNREACHABLE},
    {"EADDRNOTAVAIL", EADDRNOTAVAIL, 1, false, IO_DROP_UNREACHABLE},
    {"EINTR", EINTR, 16, false, IO_DROP_OTHER},
    {"EPROTO", EPROTO, 1, false, IO_DROP_OTHER},
    {"ENOPROTOOPT", ENOPROTOOPT, 1, false, IO_DROP_OTHER},
};

/* Each refusal costs what it is about, under its reason, and nothing else; what may be about an earlier datagram costs nothing.
 */
static void test_refusal(void **state) {
  const struct refused *r = *state;
  struct side a, b;
  for (int burst = 0; burst < 2; burst++) {
    uint32_t count = burst ? 3 : 1;
    struct io_stats s;
    side_open(&a, (struct io_udp_options){.bind = at("127.0.0.1:0")});
    side_open(&b, (struct io_udp_options){.bind = at("127.0.0.1:0")});
    b.answer_only = true;
    if (r->again) assert_int_equal(refused_with(&a, &b, count, r->err, r->again), count);
    io_loop_stats(a.loop, &s);
    assert_int_equal(s.tx_errors, 0);
    if (r->drop != IO_DROPS) {
      bool whole = r->singly && burst && io_udp_gso(a.loop);
      assert_int_equal(refused_with(&a, &b, count, r->err, r->again + 1), whole ? count : 0);
      io_loop_stats(a.loop, &s);
      assert_int_equal(s.tx_dropped[r->drop], whole ? 0 : count);
      assert_int_equal(s.tx_errors, whole ? 0 : count);
      assert_int_equal(s.tx_blocked, 0);
      assert_int_equal(a.icmp, r->drop == IO_DROP_UNREACHABLE && r->err != ECONNREFUSED); /* which is about another datagram */
      if (a.icmp) assert_true(!a.icmp_port && addr_eq(&a.icmp_remote, io_udp_local(b.udp)));
    }
    assert_int_equal(io_udp_gso(a.loop), !(r->err == EIO && burst));
    assert_int_equal(refused_with(&a, &b, count, 0, 0), count); /* and on it goes */
    io_loop_free(a.loop);
    io_loop_free(b.loop);
  }
}

/* What reading may fail with is over with the next call, or the turn's share of calls is. */
static void test_receive_errors(void **state) {
  (void)state;
  static const int errors[] = {ENOMEM,      ENOBUFS,  EINTR,       EIO,    ECONNREFUSED, EHOSTUNREACH,
                               ENETUNREACH, EMSGSIZE, ENOPROTOOPT, EPROTO, EACCES};
  for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
    for (unsigned times = 1; times <= 1000; times *= 1000) {
      struct side a, b;
      struct io_stats s;
      side_open(&a, (struct io_udp_options){.bind = at("127.0.0.1:0")});
      side_open(&b, (struct io_udp_options){.bind = at("127.0.0.1:0")});
      faults.rx_err = errors[i];
      faults.rx_times = times;
      start(&a, io_udp_local(b.udp), 100);
      run(&a, &b);
      assert_int_equal(a.acked, 100);
      assert_int_equal(faults.rx_times, 0);
      uint64_t seen = 0;
      io_loop_stats(a.loop, &s);
      seen += s.rx_errors;
      io_loop_stats(b.loop, &s);
      assert_int_equal(seen + s.rx_errors, times);
      io_loop_free(a.loop);
      io_loop_free(b.loop);
    }
}

/* Two sockets in one loop; that of `full` never takes anything. */
struct two {
  struct io_udp *full, *free;
  struct addr to_full, to_free;
  unsigned left;
};
static void two_recv(void *ctx, const struct addr *l, const struct addr *r, struct slice d, uint8_t ecn, nanotime now) {
  (void)ctx, (void)l, (void)r, (void)d, (void)ecn, (void)now;
}
static nanotime two_deadline(void *ctx) {
  (void)ctx;
  return TIME_NEVER;
}
static void two_tick(void *ctx, nanotime now) { (void)ctx, (void)now; }
static size_t two_send(void *ctx, uint8_t *buf, size_t cap, struct burst *ret_burst, nanotime now) {
  (void)cap, (void)now;
  struct two *t = ctx;
  if (t->left == 0) return 0;
  bool full = t->left-- % 2 == 0;
  *ret_burst = (struct burst){
      .local = *io_udp_local(full ? t->full : t->free), .remote = full ? t->to_full : t->to_free, .len = 50, .segment = 50};
  memset(buf, 0, 50);
  put_number(buf, t->left);
  return 50;
}

static int receiver(struct addr *ret_at) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), size = 1 << 20;
  socklen_t n = sizeof *ret_at;
  *ret_at = at("127.0.0.1:0");
  (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  assert_int_equal(bind(fd, &ret_at->sa, addr_len(ret_at)), 0);
  assert_int_equal(getsockname(fd, &ret_at->sa, &n), 0);
  return fd;
}

static unsigned heard(int fd, bool *ret_in_order) {
  unsigned n = 0;
  uint32_t last = UINT32_MAX;
  uint8_t buf[64];
  for (; recv(fd, buf, sizeof buf, 0) == 50; n++) {
    *ret_in_order &= number(buf) < last;
    last = number(buf);
  }
  return n;
}

/* A socket that is full holds up no other's datagrams, and keeps some of its own, in order; the others of its own are counted.
 */
static void test_full_socket_holds_up_no_other(void **state) {
  (void)state;
  struct two t = {.left = 400};
  int full = receiver(&t.to_full), free = receiver(&t.to_free);
  struct io_loop *l;
  struct io_stats s;
  bool in_order = true;
  assert_int_equal(io_loop_new(NULL, &l), 0);
  struct io_udp_options o = {.bind = at("127.0.0.1:0"), .icmp_errors = true};
  assert_int_equal(io_udp_open(l, &o, &t.full, NULL), 0);
  assert_int_equal(io_udp_open(l, &o, &t.free, NULL), 0);
  struct endpoint ep = {two_recv, NULL, two_deadline, two_tick, two_send, &t};
  io_loop_set_endpoint(l, &ep);
  faults.err = EAGAIN;
  faults.times = UINT_MAX;
  faults.to = t.to_full;
  io_loop_wake(l);
  step_for(l, 0);
  assert_int_equal(t.left, 0);
  assert_int_equal(heard(free, &in_order), 200);
  assert_int_equal(heard(full, &in_order), 0);
  io_loop_stats(l, &s);
  assert_true(s.tx_dropped[IO_DROP_SOCKET] > 150 && s.tx_dropped[IO_DROP_SOCKET] < 200);
  assert_int_equal(s.tx_errors, s.tx_dropped[IO_DROP_SOCKET]);
  faults.times = 0;
  faults.to = (struct addr){0};
  step_for(l, 20);
  assert_int_equal(heard(full, &in_order), 200 - s.tx_errors);
  assert_true(in_order);
  close(full);
  close(free);
  io_loop_free(l);
}

/* The loop says that it serves nobody when the kernel calls a socket writable and takes nothing, or has datagrams that are not
 * read, for ten seconds in which nothing else moved. */
static void test_serves_nobody(void **state) {
  (void)state;
  struct side a, b;
  nanotime later = 11 * NS_SEC;
  side_open(&a, (struct io_udp_options){.bind = at("127.0.0.1:0")});
  side_open(&b, (struct io_udp_options){.bind = at("127.0.0.1:0")});
  step_for(a.loop, 0);
  assert_true(io_loop_serves(a.loop, io_now() + later)); /* idle */
  faults.err = EAGAIN;
  faults.times = UINT_MAX;
  start(&a, io_udp_local(b.udp), 10);
  a.retry_at = TIME_NEVER;
  step_for(a.loop, 20);
  assert_true(io_loop_serves(a.loop, io_now()));
  assert_false(io_loop_serves(a.loop, io_now() + later));
  faults.times = 0;
  step_for(a.loop, 20);
  assert_true(io_loop_serves(a.loop, io_now() + later));
  io_loop_step(b.loop);
  a.total = 0;
  assert_true(io_loop_serves(b.loop, io_now() + later)); /* all was read */
  start(&a, io_udp_local(b.udp), 10);
  a.retry_at = TIME_NEVER;
  step_for(a.loop, 20);
  nanotime seen = io_now();
  assert_true(io_loop_serves(b.loop, seen));
  assert_false(io_loop_serves(b.loop, seen + later));
  for (int i = 0; i < 3; i++) io_loop_step(b.loop);
  assert_true(io_loop_serves(b.loop, seen + later));
  io_loop_free(a.loop);
  io_loop_free(b.loop);
}

int main(void) {
  enum { REFUSED = sizeof refused / sizeof refused[0] };
  struct CMUnitTest refusals[REFUSED];
  for (int i = 0; i < REFUSED; i++)
    refusals[i] = (struct CMUnitTest){refused[i].name, test_refusal, NULL, NULL, (void *)(uintptr_t)&refused[i]};
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bursts),
      cmocka_unit_test(test_bursts_v6),
      cmocka_unit_test(test_segmented_by_us),
      cmocka_unit_test(test_segmented_by_the_kernel),
      cmocka_unit_test(test_full_socket),
      cmocka_unit_test(test_no_offload),
      cmocka_unit_test(test_wildcard),
      cmocka_unit_test(test_port_in_use),
      cmocka_unit_test(test_icmp),
      cmocka_unit_test(test_pending_error_loses_nothing),
      cmocka_unit_test(test_bad_destination),
      cmocka_unit_test(test_many_sockets),
      cmocka_unit_test(test_receive_errors),
      cmocka_unit_test(test_full_socket_holds_up_no_other),
      cmocka_unit_test(test_serves_nobody),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  return cmocka_run_group_tests(refusals, NULL, NULL) + failed;
}
