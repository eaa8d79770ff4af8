/* The time of a turn, in which the thread computed (CLOCK_THREAD_CPUTIME_ID). To read that clock takes microseconds on some
 * machines, so that it is read only when the cheap one says that it may matter: a thread computes no longer than time passes.
 * So what is said of a turn is exact to SMALL. */
#include <time.h>

#include "io/io_priv.h"

#define SMALL (500 * NS_US)

static uint64_t computed(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * NS_SEC + (uint64_t)t.tv_nsec;
}

void io_turn_init(struct io_loop *l) {
  l->turn = (struct io_turn){.read = computed(), .began = io_now()};
  l->turn.marked = l->turn.began;
  l->turn.marked_cpu = l->turn.read;
  l->turn.all.cause = "";
}

/* The loop has slept until just now, if it has slept at all. */
static void begin(struct io_turn *t, nanotime slept) {
  t->on = true;
  t->began += slept;
  t->marked = t->began;
  t->marked_cpu = t->read;
  t->cause = "";
  t->cause_ns = 0;
}

void io_turn_begin(struct io_loop *l) {
  struct io_turn *t = &l->turn;
  uint64_t idle = uv_metrics_idle_time(&l->uv);
  if (t->on) return;
  begin(t, idle - t->idle);
  t->idle = idle;
  io_turn_until(l, IO_RECEIVE_UNTIL);
}

void io_turn_until(struct io_loop *l, uint64_t most) {
  struct io_turn *t = &l->turn;
  t->most = most;
  t->look_at = time_add(t->began, most > t->before ? most - t->before : 0);
}

bool io_turn_spent(struct io_loop *l) {
  struct io_turn *t = &l->turn;
  nanotime now = io_now();
  if (now < t->look_at) return false;
  uint64_t used = computed() - t->read;
  if (used >= t->most) return true;
  t->look_at = time_add(now, t->most - used);
  return false;
}

void io_loop_did(struct io_loop *l, const char *what) {
  struct io_turn *t = &l->turn;
  nanotime now = io_now();
  uint64_t took = time_since(now, t->marked);
  t->marked = now;
  if (took > SMALL) {
    uint64_t cpu = computed();
    if (cpu - t->marked_cpu < took) took = cpu - t->marked_cpu;
    t->marked_cpu = cpu;
  }
  if (took <= t->cause_ns) return;
  t->cause_ns = took;
  t->cause = what;
}

static void count(struct io_loop *l, uint64_t took, uint64_t wall) {
  static const uint64_t bounds[TURN_BOUNDS] = TURN_BOUNDS_NS;
  struct io_turn *t = &l->turn;
  int i = 0;
  while (i < TURN_BOUNDS && took > bounds[i]) i++;
  t->all.count[i]++;
  if (took > t->lately) t->lately = took;
  if (took > 5 * NS_MS)
    log_debug(l->log, "long_turn", "us=%llu wall_us=%llu cause=%s cause_us=%llu", (unsigned long long)took / 1000,
              (unsigned long long)wall / 1000, t->cause, (unsigned long long)t->cause_ns / 1000);
  if (took <= t->all.longest) return;
  t->all.longest = took;
  t->all.longest_wall = wall;
  t->all.cause = t->cause;
}

void io_turn_end(struct io_loop *l) {
  struct io_turn *t = &l->turn;
  io_turn_begin(l); /* timers alone had something to do */
  nanotime now = io_now();
  uint64_t wall = time_since(now, t->began), took = wall;
  t->on = false;
  t->began = now;
  t->before += wall;
  if (t->before >= SMALL) {
    uint64_t cpu = computed();
    if (cpu - t->read < took) took = cpu - t->read;
    t->all.computed += cpu - t->read;
    t->read = cpu;
    t->before = 0;
  }
  count(l, took, wall);
}

const struct turns *io_loop_turns(const struct io_loop *l) { return &l->turn.all; }

uint64_t io_loop_longest_turn(struct io_loop *l) {
  uint64_t ns = l->turn.lately;
  l->turn.lately = 0;
  return ns;
}
