#include "lib/wait.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/sanitized.h"
#include "io/io.h"

#if THREAD_SANITIZED
#include <sanitizer/tsan_interface.h>
/* ThreadSanitizer knows sem_post, and not that sem_clockwait comes after it. */
#define SAW_POST(sem) __tsan_acquire(sem)
#else
#define SAW_POST(sem) (void)(sem)
#endif

#define WAKES 2 /* others by each that wakes */

void waiters_init(struct waiters *ws) {
  pthread_mutex_init(&ws->lock, NULL);
  list_init(&ws->ended);
  ws->asleep = 0;
  ws->wake_owed = false;
}

void waiters_done(struct waiters *ws) { pthread_mutex_destroy(&ws->lock); }

/* The callback's reference goes with it. */
static void wake(struct waiter *w) {
  sem_post(&w->awake);
  waiter_unref(w);
}

/* One is waited for by nobody. */
static bool several(const struct waiters *ws) { return ws->asleep > 1; }

static void wake_some(struct waiters *ws, unsigned count) {
  struct waiter *to[WAKES];
  unsigned n = 0;
  pthread_mutex_lock(&ws->lock);
  for (; n < count && !list_empty(&ws->ended); n++) {
    to[n] = container_of(ws->ended.next, struct waiter, link);
    list_remove(&to[n]->link);
  }
  pthread_mutex_unlock(&ws->lock);
  for (unsigned i = 0; i < n; i++) wake(to[i]);
}

bool waiters_release(struct waiters *ws) {
  wake_some(ws, 1);
  pthread_mutex_lock(&ws->lock);
  bool more = several(ws);
  pthread_mutex_unlock(&ws->lock);
  return more;
}

bool waiters_wake_loop(struct waiters *ws) {
  pthread_mutex_lock(&ws->lock);
  bool owed = several(ws);
  ws->wake_owed |= owed;
  pthread_mutex_unlock(&ws->lock);
  return owed;
}

/* Whether the loop is to be woken. */
static bool awake(struct waiters *ws) {
  wake_some(ws, WAKES);
  pthread_mutex_lock(&ws->lock);
  ws->asleep--;
  bool owed = ws->wake_owed && !several(ws);
  if (owed) ws->wake_owed = false;
  pthread_mutex_unlock(&ws->lock);
  return owed;
}

struct waiter *waiter_new(bool timed) {
  struct waiter *w = malloc(sizeof *w);
  if (!w) return NULL;
  w->refs = 2;
  w->timed = timed;
  w->data = NULL;
  w->len = 0;
  sem_init(&w->awake, 0, 0);
  return w;
}

void waiter_unref(struct waiter *w) {
  if (--w->refs) return;
  sem_destroy(&w->awake);
  free(w->data);
  free(w);
}

void waiter_end(struct waiter *w, struct waiters *ws, int err, const char *text) {
  w->err = err;
  snprintf(w->text, sizeof w->text, "%s", text);
  if (w->timed) {
    wake(w);
    return;
  }
  pthread_mutex_lock(&ws->lock);
  list_append(&ws->ended, &w->link);
  ws->asleep++;
  pthread_mutex_unlock(&ws->lock);
}

bool waiter_wait(struct waiter *w, struct waiters *ws, nanotime deadline, bool *ret_wake) {
  nanotime until = io_monotonic(deadline);
  struct timespec at = {(time_t)(until / NS_SEC), (long)(until % NS_SEC)};
  int err;
  while ((err = sem_clockwait(&w->awake, CLOCK_MONOTONIC, &at)) && errno == EINTR) {
  }
  if (!err) SAW_POST(&w->awake);
  *ret_wake = !w->timed && awake(ws);
  return !err;
}
