/* The load process's one loop, and the tasks that take turns with it. */
#include "load/drive/engine.h"

#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/cli.h"
#include "io/io.h"
#include "load/drive/light.h"
#include "load/drive/still.h"
#include "load/report/latency.h"

#define MEMORY ((size_t)12 << 30)

struct wait {
  struct list in; /* load_engine.waits */
  bool (*ready)(void *ctx);
  int (*job)(void *ctx); /* to be run on the main thread; then the wait is over */
  int result;
  void *ctx;
  nanotime until;
  bool over, ok;
  pthread_cond_t changed;
};

/* ---- the endpoint: the hub of clients and the light nodes, told apart by the port that a datagram came to ------------------
 */
static void on_recv(void *ctx, const struct addr *local, const struct addr *remote, struct slice datagram, uint8_t ecn,
                    nanotime now) {
  struct load *l = ctx;
  if (l->engine->lights.by_port[addr_port(local)])
    light_recv(&l->engine->lights, local, remote, datagram, ecn, now);
  else
    l->engine->ep.recv(l->engine->ep.ctx, local, remote, datagram, ecn, now);
}

static nanotime on_deadline(void *ctx) {
  struct load *l = ctx;
  return time_min(l->engine->ep.deadline(l->engine->ep.ctx), light_deadline(&l->engine->lights));
}

static void on_tick(void *ctx, nanotime now) {
  struct load *l = ctx;
  l->engine->ep.tick(l->engine->ep.ctx, now);
  light_tick(&l->engine->lights, now);
}

static size_t on_send(void *ctx, uint8_t *buf, size_t cap, struct burst *ret_burst, nanotime now) {
  struct load *l = ctx;
  size_t n = l->engine->ep.send(l->engine->ep.ctx, buf, cap, ret_burst, now);
  return n ? n : light_send(&l->engine->lights, buf, cap, ret_burst, now);
}

/* A client's owner is the node that it connects to. */
static void on_dial(void *ctx, struct client *c) {
  const struct load_node *n = client_owner(c);
  struct load *l = ctx;
  struct client_target t = {.addrs = {n->addr}, .count = 1, .expect = &n->id};
  if (id_is_zero(&n->id)) { /* given without its id: whoever answers first, as long as the run lasts */
    t.expect = NULL;
    t.insecure = true;
  }
  l->engine->dials_from = n->op == c || !n->udp ? l->engine->udp : n->udp;
  client_dial(c, &t);
}

static int on_local(void *ctx, int family, struct addr *ret_local) {
  struct load *l = ctx;
  if (family != AF_INET) return MACULA_EINVAL;
  *ret_local = *io_udp_local(l->engine->dials_from);
  return 0;
}

static int on_connected(void *ctx, struct client *c, const struct id *node) {
  struct load_node *n = client_owner(c);
  (void)ctx;
  if (id_is_zero(&n->id)) n->id = *node;
  return id_eq(&n->id, node) ? 0 : MACULA_IDENTITY_MISMATCH;
}

int load_socket(struct load *l, struct io_udp **ret_udp, char ret_why[256]) {
  struct io_udp_options o = {.bind.v4 = {.sin_family = AF_INET}}; /* any address, any port */
  return io_udp_open(l->engine->io, &o, ret_udp, ret_why);
}

int load_engine_new(struct load *l, void (*turn)(struct load *l, nanotime now)) {
  char why[256] = "";
  nanotime now = io_now();
  struct load_engine *e = l->engine = calloc(1, sizeof *e);
  if (!e) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  e->mem = MEM_INIT("load", MEMORY);
  e->turn = turn;
  e->also_fd = -1;
  list_init(&e->waits);
  int err = io_loop_new(&e->log, &e->io);
  if (err) return cli_failed(err, NULL, NULL);
  struct hub_config h = {.mem = &e->mem,
                         .rng = io_rng(),
                         .log = &e->log,
                         .idle_timeout = 60 * NS_SEC,
                         .keep_alive = l->idle_s * 400 * NS_MS,
                         .handshake_timeout = 20 * NS_SEC,
                         .unix_base_s = io_unix_ms() / 1000 - now / NS_SEC,
                         .ctx = l,
                         .dial = on_dial,
                         .local = on_local,
                         .connected = on_connected};
  if ((err = hub_new(&h, now, &e->hub))) return cli_failed(err, NULL, NULL);
  e->ep = hub_endpoint(e->hub);
  if ((err = load_socket(l, &e->udp, why))) return cli_failed(err, NULL, why);
  if (!io_udp_gso(e->io)) quic_set_max_segments(hub_quic(e->hub), 1);
  if ((err = light_init(&e->lights, e->io, l->cli->realm, &e->mem, &e->log))) return cli_failed(err, NULL, NULL);
  struct endpoint ep = {on_recv, NULL, on_deadline, on_tick, on_send, l};
  io_loop_set_endpoint(e->io, &ep);
  return 0;
}

void load_engine_free(struct load *l) {
  struct load_engine *e = l->engine;
  if (e && e->io) {
    io_loop_set_endpoint(e->io, NULL);
    light_done(&e->lights);
    hub_free(e->hub);
    io_loop_free(e->io);
  }
  free(e);
  l->engine = NULL;
}

void load_engine_also(struct load *l, int fd, void (*step)(void *ctx), void *ctx) {
  struct load_engine *e = l->engine;
  e->also_fd = fd;
  e->also = step;
  e->also_ctx = ctx;
}

/* ---- tasks ------------------------------------------------------------------------------------------------------------------
 */
void load_wake(struct load *l) { io_loop_wake(l->engine->io); }

static bool wait_for(struct load_task *t, struct wait *w, double seconds) {
  struct load *l = t->l;
  w->until = time_add(io_now(), (uint64_t)(seconds * 1e9));
  pthread_cond_init(&w->changed, NULL);
  list_append(&l->engine->waits, &w->in);
  load_wake(l);
  while (!w->over) pthread_cond_wait(&w->changed, &l->lock);
  pthread_cond_destroy(&w->changed);
  hub_set_now(l->engine->hub, io_now());
  return w->ok;
}

bool load_wait(struct load_task *t, bool (*ready)(void *ctx), void *ctx, double seconds) {
  struct wait w = {.ready = ready, .ctx = ctx};
  return wait_for(t, &w, seconds);
}

int load_on_main(struct load_task *t, int (*fn)(void *ctx), void *ctx) {
  struct wait w = {.job = fn, .ctx = ctx};
  if (!wait_for(t, &w, 3600)) return MACULA_CANCELLED;
  return w.result;
}

static bool never(void *ctx) { return (void)ctx, false; }

bool load_sleep(struct load_task *t, double seconds) {
  load_wait(t, never, NULL, seconds);
  return !t->l->stopping;
}

struct reach {
  const uint64_t *count;
  uint64_t at_least;
};
static bool reached(void *ctx) { return *((struct reach *)ctx)->count >= ((struct reach *)ctx)->at_least; }

bool load_reach(struct load_task *t, const uint64_t *count, uint64_t at_least, double seconds) {
  struct reach r = {count, at_least};
  return load_wait(t, reached, &r, seconds);
}

struct figure {
  const struct load_node *n;
  enum load_figure f;
  uint64_t least, most, after;
};
/* The second sample from now is the first that was asked for after this. */
static bool figure_ready(void *ctx) {
  struct figure *f = ctx;
  uint64_t v = f->n->now[f->f];
  return f->n->samples_taken >= f->after && v >= f->least && v <= f->most;
}

bool load_figure_is(struct load_task *t, struct load_node *n, enum load_figure f, uint64_t value, double seconds) {
  struct figure w = {n, f, value, value, n->samples_taken + 2};
  return load_wait(t, figure_ready, &w, seconds);
}

bool load_figure_below(struct load_task *t, struct load_node *n, enum load_figure f, uint64_t most, double seconds) {
  struct figure w = {n, f, 0, most, n->samples_taken + 2};
  return load_wait(t, figure_ready, &w, seconds);
}

bool load_fresh(struct load_task *t, struct load_node *n) {
  struct figure w = {n, FIG_RSS, 0, UINT64_MAX, n->samples_taken + 2};
  return load_wait(t, figure_ready, &w, 30);
}

void load_phase(struct load_task *t, const uint64_t *done, uint64_t total, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(t->phase, sizeof t->phase, fmt, ap);
  va_end(ap);
  t->done = done;
  t->total = total;
}

static void show_progress(struct load *l, struct load_task *tasks, size_t count) {
  char line[512], a[32], b[32];
  struct winsize w;
  size_t used = (size_t)snprintf(line, sizeof line, "%s %.0f s", l->scenario, load_seconds(l));
  if (!isatty(2)) return;
  int columns = ioctl(2, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
  for (size_t i = 0; i < count && used < 200; i++) {
    struct load_task *t = &tasks[i];
    if (t->ended || !t->phase[0]) continue;
    used += (size_t)snprintf(line + used, sizeof line - used, "; %s%s%.60s", count > 1 ? t->name : "", count > 1 ? ": " : "",
                             t->phase);
    if (t->done) used += (size_t)snprintf(line + used, sizeof line - used, " %s", text_number(*t->done, a));
    if (t->done && *t->done <= t->total) /* else it counts what was before, too */
      used += (size_t)snprintf(line + used, sizeof line - used, " of %s", text_number(t->total, b));
  }
  for (size_t i = 0; i < l->node_count && used < 300; i++)
    if (l->nodes[i]->has_sample)
      used += (size_t)snprintf(line + used, sizeof line - used, "; %s %s", l->nodes[i]->name,
                               text_bytes((double)l->nodes[i]->now[FIG_RSS], a));
  fprintf(stderr, "\r%.*s\033[K\r", columns - 1, line); /* a line that wraps would stay */
}

static void *run_task(void *ctx) {
  struct load_task *t = ctx;
  struct load *l = t->l;
  pthread_mutex_lock(&l->lock);
  t->code = t->run(t);
  t->ended = true;
  l->tasks_ended++;
  load_wake(l);
  pthread_mutex_unlock(&l->lock);
  return NULL;
}

static void look_at_waits(struct load *l) {
  nanotime now = io_now();
  list_for_safe(it, &l->engine->waits) {
    struct wait *w = container_of(it, struct wait, in);
    if (l->stopping) {
      w->over = true;
    } else if (w->job) {
      w->result = w->job(w->ctx);
      w->over = w->ok = true;
    } else if (w->ready(w->ctx)) {
      w->over = w->ok = true;
    } else if (now >= w->until) {
      w->over = true;
    }
    if (!w->over) continue;
    list_remove(&w->in);
    pthread_cond_signal(&w->changed);
  }
}

void load_engine_run(struct load *l, struct load_task *tasks, size_t count) {
  pthread_mutex_lock(&l->lock);
  load_still_begin(l);
  for (size_t i = 0; i < count; i++) {
    tasks[i].l = l;
    tasks[i].started = pthread_create(&tasks[i].thread, NULL, run_task, &tasks[i]) == 0;
    if (tasks[i].started) continue;
    tasks[i].ended = true; /* a scenario that did not run is no pass */
    tasks[i].code = cli_failed(MACULA_ENOMEM, NULL, "no thread can be made for a scenario");
    l->tasks_ended++;
  }
  for (;;) {
    struct signalfd_siginfo info;
    struct pollfd p[3] = {{io_loop_fd(l->engine->io), POLLIN, 0}, {l->signal_fd, POLLIN, 0}, {l->engine->also_fd, POLLIN, 0}};
    bool left = false;
    if (!l->stopping) io_loop_step(l->engine->io); /* tasks that end early leave callbacks behind that must not be called */
    if (!l->stopping && l->engine->also) l->engine->also(l->engine->also_ctx);
    nanotime now = io_now();
    hub_set_now(l->engine->hub, now);
    l->engine->turn(l, now);
    look_at_waits(l);
    if (now >= l->engine->progress_at) {
      l->engine->progress_at = now + 200 * NS_MS;
      show_progress(l, tasks, count);
    }
    for (size_t i = 0; i < count; i++) left |= !tasks[i].ended;
    if (!left) break;
    pthread_mutex_unlock(&l->lock);
    poll(p, 3, 20);
    pthread_mutex_lock(&l->lock);
    if (p[1].revents && read(l->signal_fd, &info, sizeof info) == sizeof info) l->stopping = l->interrupted = true;
  }
  load_latency_step(l, io_now(), true);
  pthread_mutex_unlock(&l->lock);
  for (size_t i = 0; i < count; i++)
    if (tasks[i].started) pthread_join(tasks[i].thread, NULL);
  if (isatty(2)) fputs("\r\033[K", stderr);
}
