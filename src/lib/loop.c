/* One lock a loop. The loop's thread holds it while it works and releases it while it polls and during user callbacks, so that
 * any thread can work in the hub directly: errors and handles are returned at once, and frames are encoded once, straight into
 * the stream. The thread is woken only by the first of several calls that leave it something to send. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "lib/lib.h"

/* A node that has all may take so much longer to read what it holds back. */
#define CLOSE_READ (5 * NS_SEC)

bool loop_in_callback(const macula_loop *l) {
  return l->embedded ? l->turning : l->started && pthread_equal(pthread_self(), l->thread);
}

void loop_lock(macula_loop *l) {
  if (!l->embedded) pthread_mutex_lock(&l->lock);
}

void loop_unlock_quietly(macula_loop *l) {
  if (!l->embedded) pthread_mutex_unlock(&l->lock);
}

void loop_unlock(macula_loop *l) {
  bool wake = !l->woken && !loop_in_callback(l);
  if (wake) l->woken = true;
  loop_unlock_quietly(l);
  if (wake && !waiters_wake_loop(&l->waiting)) io_loop_wake(l->io);
}

void loop_wake(macula_loop *l) {
  if (l->woken || loop_in_callback(l)) return;
  l->woken = true;
  io_loop_wake(l->io);
}

static void leave(void *ctx) { loop_unlock_quietly(ctx); }
static void enter(void *ctx) {
  macula_loop *l = ctx;
  loop_lock(l);
  hub_set_now(l->hub, io_now()); /* the callback may have taken long, or the process have been stopped in it */
}

static void woken(void *ctx, nanotime now) {
  macula_loop *l = ctx;
  (void)now;
  loop_lock(l);
  l->woken = false;
  loop_unlock_quietly(l);
}

static void changed(void *ctx, struct client *c) {
  macula_loop *l = ctx;
  (void)c;
  if (l->waiters) pthread_cond_broadcast(&l->changed);
}

static void freed(void *ctx, void *owner) {
  (void)ctx;
  remote_free(owner);
}

static int open_socket(macula_loop *l, int family, struct io_udp **ret_udp) {
  struct io_udp_options o = {.icmp_errors = true};
  char why[256];
  o.bind.sa.sa_family = (sa_family_t)family;
  int err = io_udp_open(l->io, &o, ret_udp, why);
  if (err) {
    log_error(&l->log, "socket_failed", "error=\"%s\"", why);
    return err;
  }
  quic_set_large(hub_quic(l->hub), true);
  quic_set_max_segments(hub_quic(l->hub), io_udp_gso(l->io) ? 64 : 1);
  return 0;
}

static int local(void *ctx, int family, struct addr *ret_local) {
  macula_loop *l = ctx;
  struct io_udp **u = family == AF_INET6 ? &l->udp6 : &l->udp4;
  int err = *u ? 0 : open_socket(l, family, u);
  if (!err) *ret_local = *io_udp_local(*u);
  return err;
}

static void ep_recv(void *ctx, const struct addr *to, const struct addr *from, struct slice datagram, uint8_t ecn,
                    nanotime now) {
  macula_loop *l = ctx;
  loop_lock(l);
  l->ep.recv(l->ep.ctx, to, from, datagram, ecn, now);
  loop_unlock_quietly(l);
}

static void ep_icmp(void *ctx, const struct addr *remote, struct slice quoted, bool port, nanotime now) {
  macula_loop *l = ctx;
  loop_lock(l);
  l->ep.icmp(l->ep.ctx, remote, quoted, port, now);
  loop_unlock_quietly(l);
}

static void ep_stood(void *ctx, uint64_t ns, nanotime now) {
  macula_loop *l = ctx;
  loop_lock(l);
  l->ep.stood(l->ep.ctx, ns, now);
  loop_unlock_quietly(l);
}

static nanotime ep_deadline(void *ctx) {
  macula_loop *l = ctx;
  loop_lock(l);
  nanotime at = l->ep.deadline(l->ep.ctx);
  loop_unlock_quietly(l);
  return waiters_release(&l->waiting) ? time_min(at, io_now() + NS_MS) : at;
}

static void ep_tick(void *ctx, nanotime now) {
  macula_loop *l = ctx;
  loop_lock(l);
  l->ep.tick(l->ep.ctx, now);
  loop_unlock_quietly(l);
}

static size_t ep_send(void *ctx, uint8_t *buf, size_t cap, struct burst *ret_burst, nanotime now) {
  macula_loop *l = ctx;
  loop_lock(l);
  size_t n = l->ep.send(l->ep.ctx, buf, cap, ret_burst, now);
  if (!n && l->closing && hub_idle(l->hub)) pthread_cond_broadcast(&l->changed);
  loop_unlock_quietly(l);
  return n;
}

static void log_sink(void *ctx, enum log_level level, const char *event, const char *fields) {
  macula_loop *l = ctx;
  char line[1200];
  snprintf(line, sizeof line, "%s%s%s", event, fields[0] ? " " : "", fields);
  l->sink(l->sink_ctx, (int)level, line);
}

static void *run(void *ctx) {
  macula_loop *l = ctx;
  io_loop_run(l->io);
  return NULL;
}

int macula_loop_new(const macula_loop_options *opt, macula_loop **ret_loop) {
  macula_loop_options o;
  if (!ret_loop) return fail_plain(MACULA_EINVAL);
  int err = OPTIONS_TAKE(macula_loop_options, opt, &o);
  if (err) return err;
  if (o.handshake_timeout_ms > UINT32_MAX || o.idle_timeout_ms > UINT32_MAX || o.keep_alive_ms > UINT32_MAX ||
      o.close_timeout_ms > UINT32_MAX)
    return fail(MACULA_EINVAL, "a time is more than %u ms", UINT32_MAX);
  macula_loop *l = calloc(1, sizeof *l);
  if (!l) return fail_plain(MACULA_ENOMEM);
  l->embedded = o.embedded;
  l->close_timeout = (o.close_timeout_ms ? o.close_timeout_ms : 1000) * NS_MS;
  l->sink = o.log;
  l->sink_ctx = o.log_ctx;
  l->log = (struct log){(enum log_level)o.log_level, o.log ? log_sink : NULL, l};
  l->mem = MEM_INIT("client", o.max_memory ? o.max_memory : (size_t)256 << 20);
  pthread_mutex_init(&l->lock, NULL);
  pthread_cond_init(&l->changed, NULL);
  waiters_init(&l->waiting);
  err = io_loop_new(&l->log, &l->io);
  if (err) goto fail_io;
  nanotime now = io_now();
  struct hub_config cfg = {.mem = &l->mem,
                           .rng = io_rng(),
                           .log = &l->log,
                           .handshake_timeout = o.handshake_timeout_ms * NS_MS,
                           .idle_timeout = o.idle_timeout_ms * NS_MS,
                           .keep_alive = o.keep_alive_ms * NS_MS,
                           .goodbye_timeout = l->close_timeout,
                           .unix_base_s = io_unix_ms() / 1000 - now / NS_SEC,
                           .ctx = l,
                           .leave = leave,
                           .enter = enter,
                           .dial = remote_dial,
                           .local = local,
                           .changed = changed,
                           .connected = remote_connected,
                           .remind = remote_remind,
                           .freed = freed};
  if ((err = hub_new(&cfg, now, &l->hub))) goto fail_hub;
  l->ep = hub_endpoint(l->hub);
  struct endpoint ep = {ep_recv, ep_icmp, ep_deadline, ep_tick, ep_send, l, ep_stood};
  io_loop_set_endpoint(l->io, &ep);
  io_loop_on_wake(l->io, woken, l);
  if (!l->embedded) {
    pthread_mutex_lock(&l->lock); /* the thread's id is written before its first callback reads it */
    l->started = pthread_create(&l->thread, NULL, run, l) == 0;
    pthread_mutex_unlock(&l->lock);
    if (!l->started) {
      err = MACULA_ENOMEM;
      goto fail_thread;
    }
  }
  *ret_loop = l;
  return 0;
fail_thread:
  hub_free(l->hub);
fail_hub:
  io_loop_free(l->io);
fail_io:
  waiters_done(&l->waiting);
  pthread_cond_destroy(&l->changed);
  pthread_mutex_destroy(&l->lock);
  free(l);
  return fail_plain(err);
}

static int step(macula_loop *l) {
  l->turning = true;
  int err = io_loop_step(l->io);
  l->turning = false;
  return err;
}

bool loop_wait(macula_loop *l, nanotime deadline) {
  nanotime now = io_now();
  if (now >= deadline) return false;
  if (l->embedded) { /* what is to be sent has woken the loop, so its descriptor is readable */
    struct pollfd p = {.fd = io_loop_fd(l->io), .events = POLLIN};
    nanotime ms = (time_min(deadline - now, 3600 * NS_SEC) + NS_MS - 1) / NS_MS;
    poll(&p, 1, (int)ms);
    step(l);
  } else {
    nanotime until = io_monotonic(time_min(deadline, time_add(now, 86400 * NS_SEC)));
    struct timespec ts = {(time_t)(until / NS_SEC), (long)(until % NS_SEC)};
    l->waiters++;
    pthread_cond_clockwait(&l->changed, &l->lock, CLOCK_MONOTONIC, &ts);
    l->waiters--;
  }
  return true;
}

void macula_loop_free(macula_loop *l) {
  if (!l || loop_in_callback(l)) return;
  nanotime deadline = io_now() + l->close_timeout;
  loop_lock(l);
  hub_set_now(l->hub, io_now());
  hub_close(l->hub);
  l->closing = true;
  loop_unlock(l);
  loop_lock(l);
  nanotime read_by = deadline + CLOSE_READ;
  while (!hub_idle(l->hub) && (loop_wait(l, deadline) || (hub_is_awaiting(l->hub) && loop_wait(l, read_by)))) {
  }
  loop_unlock_quietly(l);
  io_loop_stop(l->io);
  if (l->started) pthread_join(l->thread, NULL);
  hub_free(l->hub);
  io_loop_free(l->io);
  known_cache_done(&l->known);
  waiters_done(&l->waiting);
  pthread_cond_destroy(&l->changed);
  pthread_mutex_destroy(&l->lock);
  free(l);
}

int macula_loop_fd(macula_loop *loop) { return loop && loop->embedded ? io_loop_fd(loop->io) : fail_plain(MACULA_EINVAL); }

int macula_loop_step(macula_loop *loop) {
  return fail_plain(loop && loop->embedded && !loop->turning ? step(loop) : MACULA_EINVAL);
}
