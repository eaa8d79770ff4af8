/* What the kernel refuses, over real loopback: ICMP errors, and errors of each system call. */
#include "udp_rig.h"

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

int main(void) {
  enum { REFUSED = sizeof refused / sizeof refused[0] };
  struct CMUnitTest refusals[REFUSED];
  for (int i = 0; i < REFUSED; i++)
    refusals[i] = (struct CMUnitTest){refused[i].name, test_refusal, NULL, NULL, (void *)(uintptr_t)&refused[i]};
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_icmp), cmocka_unit_test(test_pending_error_loses_nothing),
                                     cmocka_unit_test(test_bad_destination), cmocka_unit_test(test_receive_errors)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  return cmocka_run_group_tests(refusals, NULL, NULL) + failed;
}
