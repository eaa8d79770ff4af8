/* Sockets over real loopback. Endpoints are small fakes; an acknowledged window counts what arrived, since UDP promises
 * nothing. */
#include "udp_rig.h"

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
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bursts),          cmocka_unit_test(test_bursts_v6),
      cmocka_unit_test(test_segmented_by_us), cmocka_unit_test(test_segmented_by_the_kernel),
      cmocka_unit_test(test_full_socket),     cmocka_unit_test(test_no_offload),
      cmocka_unit_test(test_wildcard),        cmocka_unit_test(test_port_in_use),
      cmocka_unit_test(test_many_sockets),    cmocka_unit_test(test_full_socket_holds_up_no_other),
      cmocka_unit_test(test_serves_nobody)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
