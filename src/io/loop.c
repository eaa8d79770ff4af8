/* The loop. A turn is one iteration of libuv: other handles have their callbacks, then the check handle receives, runs the wake
 * hook and the tick, and sends. While something is left an idle handle keeps libuv from sleeping. The one timer is a timerfd,
 * so that the loop's descriptor becomes readable for timers too when a foreign loop polls it. */
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/err.h"
#include "io/io_priv.h"

#define LATE_PUT_OFF 4

static void arm(struct io_loop *l) {
  nanotime at = l->has_ep ? l->ep.deadline(l->ep.ctx) : TIME_NEVER;
  nanotime streams = io_tcp_deadline(l), handshakes = io_tls_deadline(l);
  if (streams < at) at = streams;
  if (handshakes < at) at = handshakes;
  if (at != TIME_NEVER)
    at = time_add(at, NS_MS - 1) / NS_MS * NS_MS; /* 1 ms ticks: acknowledgements of a burst share a packet */
  /* An earlier time stays: it is a turn too many, but deadlines move on with every packet, and setting the timer costs more. */
  if (at == l->armed || (l->armed < at && l->armed > l->now)) return;
  l->armed = at;
  struct itimerspec t = {0};
  if (at != TIME_NEVER) {
    t.it_value.tv_sec = (time_t)(at / NS_SEC);
    t.it_value.tv_nsec = (long)(at % NS_SEC);
    if (at == 0) t.it_value.tv_nsec = 1;
  }
  timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

static void on_timer(uv_poll_t *p, int status, int events) {
  (void)status, (void)events;
  struct io_loop *l = p->data;
  uint64_t n;
  if (read(l->timer_fd, &n, sizeof n) > 0) l->armed = TIME_NEVER - 1; /* spent: arm anew */
}

static void on_async(uv_async_t *a) { ((struct io_loop *)a->data)->woken = true; }

static void on_idle(uv_idle_t *i) { (void)i; }

static void flush(struct io_loop *l) {
  l->unsent = false;
  if (l->has_ep) io_udp_flush(l);
  io_loop_did(l, "send");
  io_tls_flush(l);
  io_tcp_flush(l);
  io_loop_did(l, "send_tcp");
}

/* What others shall not wait for: in a turn that has sent all that it had, and in every fourth that has not. */
static void late(struct io_loop *l) {
  if (!l->has_ep || !l->ep.late || (l->unsent && ++l->put_off < LATE_PUT_OFF)) return;
  l->put_off = 0;
  if (!l->ep.late(l->ep.ctx, l->now)) return;
  io_loop_did(l, "handshake");
  l->ep.tick(l->ep.ctx, l->now);
  io_loop_did(l, "tick");
  flush(l);
}

static void turn(struct io_loop *l) {
  io_turn_begin(l);
  io_loop_did(l, "handles"); /* HTTP, signals, lookups */
  l->now = io_now();
  io_udp_receive(l);
  io_loop_did(l, "receive");
  l->now = io_now();
  io_tcp_receive(l);
  io_tls_sweep(l);
  io_loop_did(l, "receive_tcp");
  io_turn_until(l, IO_TICK_UNTIL);
  bool work = l->received;
  if (l->woken) {
    l->woken = false;
    work = true;
    if (l->on_wake) l->on_wake(l->wake_ctx, l->now);
    io_loop_did(l, "wake");
  }
  if (l->has_ep) {
    if (work || l->ep.deadline(l->ep.ctx) <= l->now) l->ep.tick(l->ep.ctx, l->now);
    io_loop_did(l, "tick");
  }
  io_turn_until(l, IO_SEND_UNTIL);
  flush(l);
  late(l);
  l->received = false;
  if (l->unsent || io_udp_unread(l) || io_tcp_unread(l) || (l->busy && l->busy(l->busy_ctx)))
    uv_idle_start(&l->idle, on_idle);
  else
    uv_idle_stop(&l->idle);
  l->slept = io_now();
}

static void on_check(uv_check_t *c) { turn(c->data); }

/* Whatever other handles (signals, HTTP) did after the last turn is sent before the loop sleeps, and the timer is set. */
static void on_prepare(uv_prepare_t *p) {
  struct io_loop *l = p->data;
  io_loop_did(l, "handles");
  if (!l->unsent) {
    l->now = io_now();
    flush(l);
    if (l->unsent) uv_idle_start(&l->idle, on_idle);
  }
  arm(l);
  io_turn_end(l);
}

int io_loop_new(const struct log *log, struct io_loop **ret_loop) {
  struct io_loop *l = calloc(1, sizeof *l);
  if (!l) return MACULA_ENOMEM;
  l->log = log;
  l->armed = TIME_NEVER;
  list_init(&l->sockets);
  for (int i = 0; i < PORT_CHAINS; i++) list_init(&l->by_port[i]);
  list_init(&l->lookups);
  list_init(&l->listeners);
  list_init(&l->tls);
  l->streams_fd = -1;
  list_init(&l->readable);
  l->out_buf = malloc((size_t)OUT_BURST * OUT_BATCH);
  l->in_buf = malloc(16 * 65536);
  if (!l->out_buf || !l->in_buf) goto no_memory;
  for (unsigned i = 0; i < OUT_BATCH; i++) l->out[i].data = l->out_buf + (size_t)i * OUT_BURST;
  if ((l->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC)) < 0) goto no_memory;
  if (uv_loop_init(&l->uv) != 0) goto no_loop;
  uv_async_init(&l->uv, &l->async, on_async);
  uv_poll_init(&l->uv, &l->timer_poll, l->timer_fd);
  uv_prepare_init(&l->uv, &l->prepare);
  uv_check_init(&l->uv, &l->check);
  uv_idle_init(&l->uv, &l->idle);
  uv_loop_configure(&l->uv, UV_METRICS_IDLE_TIME);
  io_turn_init(l);
  l->async.data = l->timer_poll.data = l->prepare.data = l->check.data = l;
  uv_poll_start(&l->timer_poll, UV_READABLE, on_timer);
  uv_run(&l->uv, UV_RUN_NOWAIT); /* the descriptor is good for polling before the first step */
  uv_prepare_start(&l->prepare, on_prepare);
  uv_check_start(&l->check, on_check);
  l->now = l->slept = io_now();
  *ret_loop = l;
  return 0;
no_loop:
  close(l->timer_fd);
no_memory:
  free(l->out_buf);
  free(l->in_buf);
  free(l);
  return MACULA_ENOMEM;
}

static void close_handle(uv_handle_t *h, void *arg) {
  (void)arg;
  if (!uv_is_closing(h)) uv_close(h, NULL);
}

void io_loop_free(struct io_loop *l) {
  if (!l) return;
  l->has_ep = false;
  io_resolve_drop_all(l);
  list_for_safe(it, &l->sockets) io_udp_close(container_of(it, struct io_udp, link));
  io_tcp_drop_all(l);
  uv_prepare_stop(&l->prepare);
  uv_check_stop(&l->check);
  uv_idle_stop(&l->idle);
  uv_walk(&l->uv, close_handle, NULL);
  while (uv_run(&l->uv, UV_RUN_DEFAULT) != 0) continue;
  uv_loop_close(&l->uv);
  io_tcp_done(l);
  close(l->timer_fd);
  free(l->out_buf);
  free(l->in_buf);
  free(l);
}

int io_loop_run(struct io_loop *l) {
  while (!__atomic_load_n(&l->stopping, __ATOMIC_ACQUIRE)) uv_run(&l->uv, UV_RUN_ONCE);
  __atomic_store_n(&l->stopping, false, __ATOMIC_RELEASE);
  return 0;
}

void io_loop_stop(struct io_loop *l) {
  __atomic_store_n(&l->stopping, true, __ATOMIC_RELEASE);
  uv_async_send(&l->async);
}

int io_loop_fd(struct io_loop *l) { return uv_backend_fd(&l->uv); }

int io_loop_step(struct io_loop *l) {
  uv_run(&l->uv, UV_RUN_NOWAIT);
  /* one more step, so that the kernel knows before the descriptor is polled, or for what was left */
  if (l->rewatched || uv_is_active((uv_handle_t *)&l->idle)) uv_async_send(&l->async);
  l->rewatched = false;
  arm(l); /* whoever polls the descriptor does so before the next step */
  return 0;
}

void io_loop_on_wake(struct io_loop *l, void (*fn)(void *, nanotime), void *ctx) {
  l->on_wake = fn;
  l->wake_ctx = ctx;
}

void io_loop_wake(struct io_loop *l) { uv_async_send(&l->async); }

void io_loop_set_endpoint(struct io_loop *l, const struct endpoint *ep) {
  l->has_ep = ep != NULL;
  if (ep) l->ep = *ep;
}

bool io_loop_spent(struct io_loop *l) { return io_turn_spent(l); }

void io_loop_on_busy(struct io_loop *l, bool (*fn)(void *), void *ctx) {
  l->busy = fn;
  l->busy_ctx = ctx;
}

nanotime io_loop_now(const struct io_loop *l) { return l->now; }
void *io_loop_uv(struct io_loop *l) { return &l->uv; }
void io_loop_stats(const struct io_loop *l, struct io_stats *ret_stats) { *ret_stats = l->stats; }

bool io_udp_gso(const struct io_loop *l) {
  list_for(it, &l->sockets) {
    if (!container_of(it, struct io_udp, link)->gso) return false;
  }
  return true;
}
