/* The loop itself: timers, wake-ups, stopping, the embedded descriptor, and names. */
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "io/io.h"

struct fake {
  struct io_loop *loop;
  nanotime deadline, ticked_at;
  unsigned ticks, wakes, sends, ticks_at_wake, lates, sends_before_late, ticks_before_late;
  bool stop_on_tick;
  sem_t woken;
};
static void on_recv(void *ctx, const struct addr *l, const struct addr *r, struct slice d, uint8_t ecn, nanotime now) {
  (void)ctx, (void)l, (void)r, (void)d, (void)ecn, (void)now;
}
static nanotime on_deadline(void *ctx) { return ((struct fake *)ctx)->deadline; }
static void on_tick(void *ctx, nanotime now) {
  struct fake *f = ctx;
  f->ticks++;
  if (f->deadline <= now) {
    f->deadline = TIME_NEVER;
    f->ticked_at = now;
    if (f->stop_on_tick) io_loop_stop(f->loop);
  }
}
static size_t on_send(void *ctx, uint8_t *buf, size_t cap, struct burst *ret_burst, nanotime now) {
  (void)buf, (void)cap, (void)ret_burst, (void)now;
  ((struct fake *)ctx)->sends++;
  return 0;
}
static void on_wake(void *ctx, nanotime now) {
  (void)now;
  struct fake *f = ctx;
  f->wakes++;
  sem_post(&f->woken);
  f->ticks_at_wake = f->ticks;
}
static void fake_open(struct fake *f) {
  *f = (struct fake){.deadline = TIME_NEVER};
  sem_init(&f->woken, 0, 0);
  assert_int_equal(io_loop_new(NULL, &f->loop), 0);
  struct endpoint ep = {on_recv, NULL, on_deadline, on_tick, on_send, f};
  io_loop_set_endpoint(f->loop, &ep);
  io_loop_on_wake(f->loop, on_wake, f);
}
static bool readable(struct fake *f, int ms) {
  struct pollfd p = {io_loop_fd(f->loop), POLLIN, 0};
  return poll(&p, 1, ms) > 0;
}

static bool on_late(void *ctx, nanotime now) {
  struct fake *f = ctx;
  (void)now;
  if (!f->lates) return false;
  f->lates--;
  f->sends_before_late = f->sends;
  f->ticks_before_late = f->ticks;
  return true;
}

/* What others shall not wait for comes when all was sent, once a turn, and then it is sent what it led to. */
static void test_late(void **state) {
  (void)state;
  struct fake f;
  fake_open(&f);
  struct endpoint ep = {on_recv, NULL, on_deadline, on_tick, on_send, &f, NULL, on_late};
  io_loop_set_endpoint(f.loop, &ep);
  f.lates = 1;
  while (f.lates) {
    io_loop_wake(f.loop);
    assert_true(readable(&f, 10000));
    (void)io_loop_step(f.loop);
  }
  assert_true(f.sends_before_late >= 1 && f.sends > f.sends_before_late);
  assert_true(f.ticks > f.ticks_before_late);
  io_loop_free(f.loop);
}

static void test_timer_runs(void **state) {
  (void)state;
  struct fake f;
  fake_open(&f);
  f.stop_on_tick = true;
  for (int i = 0; i < 5; i++) { /* a loop that stopped runs again */
    nanotime due = f.deadline = io_now() + 3 * NS_MS + 1;
    assert_int_equal(io_loop_run(f.loop), 0);
    assert_true(f.ticked_at >= due);
  }
  io_loop_free(f.loop);
}

/* The timer that is set already comes first, and the loop sleeps on until the deadline; one that moves back is kept, too. */
static void test_deadline_moves(void **state) {
  (void)state;
  struct fake f;
  fake_open(&f);
  f.stop_on_tick = true;
  nanotime start = io_now();
  f.deadline = start + 5 * NS_MS;
  io_loop_step(f.loop);
  nanotime due = f.deadline = start + 40 * NS_MS;
  assert_int_equal(io_loop_run(f.loop), 0);
  assert_true(f.ticked_at >= due);
  f.deadline = io_now() + 3600 * NS_SEC;
  io_loop_step(f.loop);
  due = f.deadline = io_now() + 5 * NS_MS;
  io_loop_step(f.loop);
  assert_int_equal(io_loop_run(f.loop), 0);
  assert_true(f.ticked_at >= due);
  io_loop_free(f.loop);
}

static void test_embedded_timer(void **state) {
  (void)state;
  struct fake f;
  fake_open(&f);
  io_loop_step(f.loop);
  assert_false(readable(&f, 5)); /* nothing to do, nothing readable */
  nanotime due = f.deadline = io_now() + 20 * NS_MS;
  io_loop_wake(f.loop); /* from outside of the loop: so that it hears of the new deadline */
  assert_true(readable(&f, 1000));
  while (f.ticked_at == 0) {
    assert_int_equal(io_loop_step(f.loop), 0);
    assert_true(f.ticked_at || readable(&f, 2000));
  }
  assert_true(f.ticked_at >= due);
  io_loop_step(f.loop);
  assert_false(readable(&f, 5));
  io_loop_free(f.loop);
}

/* A descriptor that was taken before any step is good too. */
static void test_embedded_fresh(void **state) {
  (void)state;
  struct fake f;
  fake_open(&f);
  io_loop_wake(f.loop);
  assert_true(readable(&f, 1000));
  io_loop_step(f.loop);
  assert_true(f.wakes >= 1);
  assert_true(f.ticks > f.ticks_at_wake); /* the hook comes before the tick of its turn */
  io_loop_free(f.loop);
}

static void *wake_then_stop(void *arg) {
  struct fake *f = arg;
  for (int i = 0; i < 1000; i++) io_loop_wake(f->loop);
  sem_wait(&f->woken);
  io_loop_stop(f->loop);
  return NULL;
}
static void test_wake_from_thread(void **state) {
  (void)state;
  struct fake f;
  pthread_t t;
  fake_open(&f);
  pthread_create(&t, NULL, wake_then_stop, &f);
  io_loop_run(f.loop);
  pthread_join(t, NULL);
  assert_true(f.wakes >= 1 && f.wakes <= 1001);
  assert_true(f.sends > 0);
  io_loop_stop(f.loop); /* before run: run returns at once */
  io_loop_run(f.loop);
  io_loop_free(f.loop);
}

struct answer {
  unsigned calls;
  size_t count;
  struct addr addrs[8];
  char why[400];
};
static void on_answer(void *ctx, const struct addr *addrs, size_t count, const char *why) {
  struct answer *a = ctx;
  a->calls++;
  a->count = count;
  memcpy(a->addrs, addrs, count * sizeof *addrs);
  if (why) snprintf(a->why, sizeof a->why, "%s", why);
}
static int resolve(const char *name, uint16_t port, struct answer *a) {
  struct fake f;
  struct io_resolve *r;
  memset(a, 0, sizeof *a);
  fake_open(&f);
  int err = io_resolve_start(f.loop, name, port, 8, on_answer, a, &r);
  assert_int_equal(a->calls, 0);
  for (nanotime end = io_now() + 30 * NS_SEC; !err && a->calls == 0 && io_now() < end;)
    if (readable(&f, 1000)) io_loop_step(f.loop);
  io_loop_free(f.loop);
  return err;
}

static void test_resolve(void **state) {
  (void)state;
  struct answer a;
  assert_int_equal(resolve("localhost:7", 0, &a), 0);
  assert_int_equal(a.calls, 1);
  assert_true(a.count >= 1);
  for (size_t i = 0; i < a.count; i++) {
    assert_true(addr_is_loopback(&a.addrs[i]));
    assert_int_equal(addr_port(&a.addrs[i]), 7);
  }
  assert_int_equal(resolve("localhost", 9443, &a), 0);
  assert_int_equal(addr_port(&a.addrs[0]), 9443);
  const char *numeric[] = {"127.0.0.1:5", "[::1]:5", "127.0.0.1", "[::1]", "::1"};
  for (size_t i = 0; i < sizeof numeric / sizeof *numeric; i++) {
    assert_int_equal(resolve(numeric[i], 5, &a), 0);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.count, 1);
    assert_true(addr_is_loopback(&a.addrs[0]));
    assert_int_equal(addr_port(&a.addrs[0]), 5);
  }
}

static void test_resolve_bad(void **state) {
  (void)state;
  struct answer a;
  assert_int_equal(resolve("no-such-host.invalid:7", 0, &a), 0);
  assert_int_equal(a.calls, 1);
  assert_int_equal(a.count, 0);
  assert_non_null(strstr(a.why, "no-such-host.invalid"));
  const char *bad[] = {"", ":5", "localhost:", "localhost:70000", "localhost:x", "[::1:5", "localhost"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(resolve(bad[i], 0, &a), MACULA_EINVAL);
}

static void test_resolve_cancel(void **state) {
  (void)state;
  const char *names[] = {"127.0.0.1:5", "localhost:5"};
  for (int i = 0; i < 4; i++) {
    struct fake f;
    struct io_resolve *r;
    struct answer a = {0};
    fake_open(&f);
    assert_int_equal(io_resolve_start(f.loop, names[i % 2], 0, 8, on_answer, &a, &r), 0);
    if (i < 2) { /* else the loop is freed under the lookup */
      io_resolve_cancel(r);
      for (int k = 0; k < 20; k++)
        if (readable(&f, 5)) io_loop_step(f.loop);
    }
    io_loop_free(f.loop);
    assert_int_equal(a.calls, 0);
  }
}

static void test_random_and_clocks(void **state) {
  (void)state;
  uint8_t a[1000] = {0}, b[1000] = {0};
  rng_fill(io_rng(), a, sizeof a);
  rng_fill(io_rng(), b, sizeof b);
  assert_memory_not_equal(a, b, sizeof a);
  nanotime t = io_now();
  assert_true(io_now() >= t);
  assert_true(io_unix_ms() > UINT64_C(1600000000000));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_late),           cmocka_unit_test(test_deadline_moves),
      cmocka_unit_test(test_timer_runs),     cmocka_unit_test(test_embedded_timer),
      cmocka_unit_test(test_embedded_fresh), cmocka_unit_test(test_wake_from_thread),
      cmocka_unit_test(test_resolve),        cmocka_unit_test(test_resolve_bad),
      cmocka_unit_test(test_resolve_cancel), cmocka_unit_test(test_random_and_clocks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
