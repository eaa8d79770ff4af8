/* What a blocking function waits on; the callback that ends it wakes it without the loop's lock.
 *
 * Many that wait in one loop are woken by each other: those that one turn has ended are put in a row, the loop's thread wakes
 * the first before it polls, and each that wakes first wakes two more. Woken one by one by the loop's thread they would take
 * its processor from it, each for a call of its own, which would then leave in a packet of its own. For the same reason what
 * they queue wakes the loop only when they are awake. A thread that gets no processor holds the others up for 1 ms. */
#ifndef LIB_WAIT_H
#define LIB_WAIT_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"
#include "base/time.h"

struct waiters { /* of a loop */
  pthread_mutex_t lock;
  struct list ended; /* not yet woken */
  unsigned asleep;   /* these, and those that were woken and do not run yet */
  bool wake_owed;    /* the loop has something to send */
};
void waiters_init(struct waiters *ws);
void waiters_done(struct waiters *ws);
/* On the loop's thread, before it polls: at most 1 ms, if true. */
bool waiters_release(struct waiters *ws);
/* Whether somebody who is about to wake will wake the loop. */
bool waiters_wake_loop(struct waiters *ws);

struct waiter {
  struct list link;
  _Atomic unsigned refs; /* of the function, and of the callback */
  bool timed;            /* may give up: not in the row */
  sem_t awake;
  int err;
  char text[512];
  char *data;
  size_t len;
};
struct waiter *waiter_new(bool timed); /* NULL: no memory */
void waiter_unref(struct waiter *w);
/* On the loop's thread, without its lock, at most once. data: malloc'ed, or NULL. */
void waiter_end(struct waiter *w, struct waiters *ws, int err, const char *text);
/* Until it was ended, or the deadline has passed: false. *ret_wake: the loop is to be woken. */
bool waiter_wait(struct waiter *w, struct waiters *ws, nanotime deadline, bool *ret_wake);

#endif
