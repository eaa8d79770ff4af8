/* Streams over TCP: real sockets, the loop stepped by hand, the peer an ordinary socket of this process. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "io/io.h"

#define PEERS 8

struct fake {
  struct io_loop *loop;
  struct io_tcp *tcp;
  struct mem mem;
  struct byte_stream *s[PEERS]; /* in the order in which they came; NULL: it ended */
  unsigned opened, closed, rooms;
  int end_err, refuse;
  uint8_t *got; /* by all of them */
  size_t len;
  bool echo;
};

static int on_opened(void *ctx, struct byte_stream *s, nanotime now) {
  struct fake *f = ctx;
  (void)now;
  if (f->refuse) {
    assert_int_equal(stream_write(s, slice_of("no\n", 3)), 3);
    return f->refuse;
  }
  assert_true(f->opened < PEERS);
  s->user = &f->s[f->opened];
  f->s[f->opened++] = s;
  return 0;
}
static void on_data(void *ctx, struct byte_stream *s, uint8_t *bytes, size_t n, nanotime now) {
  struct fake *f = ctx;
  (void)now;
  f->got = realloc(f->got, f->len + n);
  memcpy(f->got + f->len, bytes, n);
  f->len += n;
  if (f->echo) assert_int_equal(stream_write(s, slice_of(bytes, n)), n);
}
static void on_room(void *ctx, struct byte_stream *s, nanotime now) {
  (void)s, (void)now;
  ((struct fake *)ctx)->rooms++;
}
static void on_closed(void *ctx, struct byte_stream *s, int err, nanotime now) {
  struct fake *f = ctx;
  (void)now;
  *(struct byte_stream **)s->user = NULL;
  f->closed++;
  f->end_err = err;
}

static void fake_open(struct fake *f, size_t most_buffers) {
  *f = (struct fake){.mem = MEM_INIT("streams", 0)};
  struct io_tcp_options o = {
      .mem = &f->mem, .most_buffers = most_buffers, .owner = {f, on_opened, on_data, on_room, on_closed}};
  char why[256] = "";
  assert_int_equal(addr_parse("127.0.0.1:0", 0, &o.bind), 0);
  assert_int_equal(io_loop_new(NULL, &f->loop), 0);
  assert_int_equal(io_tcp_open(f->loop, &o, &f->tcp, why), 0);
}
static void fake_done(struct fake *f) {
  io_loop_free(f->loop);
  assert_int_equal(f->mem.bytes, 0);
  free(f->got);
}

static void step(struct io_loop *l, int left) {
  struct pollfd p = {io_loop_fd(l), POLLIN, 0};
  assert_true(left > 0); /* only what never comes waits for so long */
  (void)poll(&p, 1, 10);
  assert_int_equal(io_loop_step(l), 0);
}
/* Steps the loop until the condition holds. What may follow it is done before each step's condition is looked at. */
#define STEP_UNTIL(f, condition) for (int left = 6000; !(condition); step((f)->loop, left--))

static int dial(struct fake *f) {
  const struct addr *a = io_tcp_local(f->tcp);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  assert_int_equal(connect(fd, &a->sa, addr_len(a)), 0);
  assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
  return fd;
}

/* What the peer reads until the stream ends or `most` bytes have come; -1: it was reset. */
static ssize_t peer_read(struct fake *f, int fd, uint8_t *to, size_t most) {
  size_t n = 0;
  ssize_t r = -1;
  STEP_UNTIL(f, n == most || (r = recv(fd, to + n, most - n, 0)) == 0 || (r < 0 && errno != EAGAIN) ||
                    (r > 0 && (n += (size_t)r) == most));
  return r < 0 ? -1 : (ssize_t)n;
}

static void test_echo(void **state) {
  (void)state;
  struct fake f;
  uint8_t back[5];
  fake_open(&f, 0);
  f.echo = true;
  int fd = dial(&f);
  assert_int_equal(send(fd, "hello", 5, 0), 5);
  assert_int_equal(peer_read(&f, fd, back, 5), 5);
  assert_memory_equal(back, "hello", 5);
  assert_true(addr_is_loopback(&f.s[0]->remote));
  close(fd);
  STEP_UNTIL(&f, f.closed == 1);
  assert_int_equal(f.end_err, 0);
  fake_done(&f);
}

/* A peer that reads late gets all of it, in order, and the stream takes no more than its bound meanwhile. */
static void test_room(void **state) {
  (void)state;
  struct fake f;
  fake_open(&f, 8 << 20);
  int fd = dial(&f);
  STEP_UNTIL(&f, f.opened == 1);
  size_t all = 8 << 20, at = 0, read = 0;
  uint8_t *out = malloc(all), *in = malloc(all);
  for (size_t i = 0; i < all; i++) out[i] = (uint8_t)(i * 31 + i / 251);
  for (size_t before = all; at != before;) { /* until the kernel takes no more */
    before = at;
    at += stream_write(f.s[0], slice_of(out + at, all - at));
    assert_true(stream_unsent(f.s[0]) <= 65536);
    assert_int_equal(io_loop_step(f.loop), 0);
  }
  unsigned rooms = f.rooms;
  STEP_UNTIL(&f, read == all) {
    ssize_t n = recv(fd, in + read, all - read, 0);
    if (n > 0) read += (size_t)n;
    if (f.rooms != rooms) at += stream_write(f.s[0], slice_of(out + at, all - at));
    rooms = f.rooms;
  }
  assert_int_equal(at, all);
  assert_memory_equal(in, out, all);
  free(out);
  free(in);
  close(fd);
  fake_done(&f);
}

/* What is not read stays with the peer, beyond what the kernel holds. */
static void test_not_read(void **state) {
  (void)state;
  struct fake f;
  static uint8_t much[1 << 20];
  fake_open(&f, 0);
  int fd = dial(&f);
  STEP_UNTIL(&f, f.opened == 1);
  stream_read(f.s[0], false);
  size_t sent = 0;
  for (ssize_t n; sent < sizeof much && (n = send(fd, much + sent, sizeof much - sent, 0)) > 0;) sent += (size_t)n;
  for (int i = 0; i < 20; i++) assert_int_equal(io_loop_step(f.loop), 0);
  assert_int_equal(f.len, 0);
  stream_read(f.s[0], true);
  STEP_UNTIL(&f, f.len == sent);
  stream_read(f.s[0], false); /* that it breaks is heard all the same */
  struct linger hard = {.l_onoff = 1};
  assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
  close(fd);
  STEP_UNTIL(&f, f.closed == 1);
  assert_int_equal(f.end_err, MACULA_ECLOSED);
  fake_done(&f);
}

/* The last words arrive although the peer has said more meanwhile, which nobody reads. */
static void test_close(void **state) {
  (void)state;
  struct fake f;
  struct io_tcp_stats st;
  uint8_t in[16];
  static uint8_t much[8192];
  fake_open(&f, 0);
  int fd = dial(&f);
  STEP_UNTIL(&f, f.opened == 1);
  assert_int_equal(stream_write(f.s[0], slice_of("goodbye", 7)), 7);
  stream_close(f.s[0], false);
  assert_int_equal(send(fd, much, sizeof much, 0), sizeof much);
  assert_int_equal(peer_read(&f, fd, in, sizeof in), 7);
  assert_memory_equal(in, "goodbye", 7);
  close(fd);
  STEP_UNTIL(&f, (io_tcp_stats(f.tcp, &st), st.open == 0));
  assert_int_equal(f.closed + f.len, 0);
  assert_int_equal(st.buffers, 0);

  fd = dial(&f); /* one that never ends it: it goes by itself */
  STEP_UNTIL(&f, f.opened == 2);
  stream_close(f.s[1], false);
  STEP_UNTIL(&f, (io_tcp_stats(f.tcp, &st), st.open == 0));
  close(fd);

  fd = dial(&f);
  STEP_UNTIL(&f, f.opened == 3);
  stream_close(f.s[2], true);
  assert_int_equal(peer_read(&f, fd, in, sizeof in), -1);
  assert_int_equal(errno, ECONNRESET);
  close(fd);
  fake_done(&f);
}

static void test_refused(void **state) {
  (void)state;
  struct fake f;
  struct io_tcp_stats st;
  uint8_t in[16];
  fake_open(&f, 0);
  f.refuse = MACULA_EFULL;
  int fd = dial(&f);
  assert_int_equal(peer_read(&f, fd, in, sizeof in), 3);
  assert_memory_equal(in, "no\n", 3);
  close(fd);
  f.refuse = 0;
  struct mem_fail fail = {.countdown = 1};
  f.mem.fail = &fail; /* no memory for it: closed at once, and the next one is served */
  fd = dial(&f);
  assert_int_equal(peer_read(&f, fd, in, sizeof in), 0);
  close(fd);
  f.mem.fail = NULL;
  fd = dial(&f);
  STEP_UNTIL(&f, f.opened == 1);
  io_tcp_stats(f.tcp, &st);
  assert_int_equal(st.accepted, 1);
  assert_int_equal(st.refused, 2);
  close(fd);
  fake_done(&f);
}

/* Without a descriptor a connection is closed at once, and does not keep the loop awake. */
static void test_no_descriptor(void **state) {
  (void)state;
  struct fake f;
  struct io_tcp_stats st;
  struct rlimit was, few;
  uint8_t in[16];
  fake_open(&f, 0);
  int fd = dial(&f); /* it waits; from now on there is none for its other end */
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
  few = (struct rlimit){(rlim_t)fd + 1, was.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
  assert_int_equal(peer_read(&f, fd, in, sizeof in), 0);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
  close(fd);
  io_tcp_stats(f.tcp, &st);
  assert_int_equal(st.refused, 1);
  fd = dial(&f);
  STEP_UNTIL(&f, f.opened == 1);
  close(fd);
  fake_done(&f);
}

/* Buffers of who uses them grow within their bound, and shrink when they are not used. */
static void test_buffers(void **state) {
  (void)state;
  struct fake f;
  struct io_tcp_stats st;
  static uint8_t much[1 << 20];
  size_t first = IO_TCP_FIRST, more = 1 << 20;
  fake_open(&f, more);
  int a = dial(&f), b = dial(&f);
  STEP_UNTIL(&f, f.opened == 2);
  io_tcp_stats(f.tcp, &st);
  assert_int_equal(st.buffers, 2 * first);
  size_t sent = 0, most = 0;
  STEP_UNTIL(&f, f.len == sizeof much) {
    ssize_t n = sent < sizeof much ? send(a, much + sent, sizeof much - sent, 0) : 0;
    if (n > 0) sent += (size_t)n;
    io_tcp_stats(f.tcp, &st);
    if (st.buffers > most) most = st.buffers;
    assert_true(st.buffers <= 2 * first + more);
  }
  assert_true(most > 2 * first);
  STEP_UNTIL(&f, (io_tcp_stats(f.tcp, &st), st.buffers == 2 * first));
  close(a);
  close(b);
  STEP_UNTIL(&f, f.closed == 2);
  io_tcp_stats(f.tcp, &st);
  assert_int_equal(st.buffers, 0);
  fake_done(&f);
}

/* A listener that closes takes its streams along, whatever state they are in. */
static void test_listener_closes(void **state) {
  (void)state;
  struct fake f;
  char why[256];
  fake_open(&f, 0);
  int a = dial(&f), b = dial(&f);
  STEP_UNTIL(&f, f.opened == 2);
  assert_int_equal(stream_write(f.s[0], slice_of("x", 1)), 1);
  stream_close(f.s[1], false);
  assert_int_equal(send(a, "y", 1, 0), 1);
  struct io_tcp_options o = {.mem = &f.mem, .bind = *io_tcp_local(f.tcp)};
  struct io_tcp *second;
  assert_int_equal(io_tcp_open(f.loop, &o, &second, why), MACULA_EBUSY);
  assert_non_null(strstr(why, "is in use by another process"));
  io_tcp_close(f.tcp);
  assert_int_equal(io_loop_step(f.loop), 0);
  assert_int_equal(f.len, 0);
  assert_int_equal(f.closed, 1); /* of the other one it had done */
  close(a);
  close(b);
  fake_done(&f);
}

/* One that is given up while the kernel takes no more, and whose peer reads again before that is settled, ends once. */
static void test_break(void **state) {
  (void)state;
  struct fake f;
  static uint8_t much[65536];
  struct io_tcp_stats st;
  fake_open(&f, 0);
  int fd = dial(&f);
  STEP_UNTIL(&f, f.opened == 1);
  for (size_t n = 1, before = 0; n || before;) { /* until the kernel takes no more */
    before = n;
    n = stream_write(f.s[0], slice_of(much, sizeof much));
    assert_int_equal(io_loop_step(f.loop), 0);
  }
  stream_break(f.s[0], MACULA_ENOMEM);
  while (recv(fd, much, sizeof much, 0) > 0) continue;
  STEP_UNTIL(&f, f.closed == 1);
  assert_int_equal(f.end_err, MACULA_ENOMEM);
  io_tcp_stats(f.tcp, &st);
  assert_int_equal(st.open, 0);
  close(fd);
  fake_done(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_echo),     cmocka_unit_test(test_room),
      cmocka_unit_test(test_not_read), cmocka_unit_test(test_close),
      cmocka_unit_test(test_refused),  cmocka_unit_test(test_no_descriptor),
      cmocka_unit_test(test_buffers),  cmocka_unit_test(test_listener_closes),
      cmocka_unit_test(test_break),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
