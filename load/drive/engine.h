/* The load process's one loop, and the tasks that take turns with it. */
#ifndef LOAD_DRIVE_ENGINE_H
#define LOAD_DRIVE_ENGINE_H

#include "base/log.h"
#include "base/mem.h"
#include "client/client.h"
#include "load/drive/light.h"
#include "load/run.h"

struct load_engine {
  struct io_loop *io;
  struct mem mem;
  struct log log;
  struct hub *hub;
  struct endpoint ep;        /* the hub's */
  struct io_udp *udp;        /* the operators' clients, one a node */
  struct io_udp *dials_from; /* while a client is dialled */
  struct lights lights;
  struct list waits;
  nanotime progress_at;
  int also_fd; /* readable when also() has something to do; -1: nothing is there */
  void (*also)(void *ctx);
  void *also_ctx;
  void (*turn)(struct load *l, nanotime now); /* at each turn of the loop */
};

struct load_task { /* a scenario that runs */
  struct load *l;
  const char *name;
  int (*run)(struct load_task *t);
  pthread_t thread;
  bool started, ended;
  int code; /* what run returned */
  char phase[96];
  const uint64_t *done; /* progress; NULL: none */
  uint64_t total;
  struct load_node *node; /* whose figures the progress line shows; NULL: the first */
};

/* Its error is printed; an exit code. */
int load_engine_new(struct load *l, void (*turn)(struct load *l, nanotime now));
void load_engine_free(struct load *l);
int load_socket(struct load *l, struct io_udp **ret_udp, char ret_why[256]); /* of the loop, which closes it */
/* Runs the tasks until all have ended; on SIGINT, SIGTERM or a node's death what waits ends with false. */
void load_engine_run(struct load *l, struct load_task *tasks, size_t count);
/* Another descriptor that the loop waits for; step is called with the lock held when it is readable. -1: none any more. */
void load_engine_also(struct load *l, int fd, void (*step)(void *ctx), void *ctx);
/* Of a task: lets the loop go on until ready(ctx), or the time is over, or the run stops (both false). ready is called with the
 * lock held, often. */
bool load_wait(struct load_task *t, bool (*ready)(void *ctx), void *ctx, double seconds);
bool load_sleep(struct load_task *t, double seconds);
bool load_reach(struct load_task *t, const uint64_t *count, uint64_t at_least, double seconds);
/* A figure in samples taken from now on. */
bool load_figure_is(struct load_task *t, struct load_node *n, enum load_figure f, uint64_t value, double seconds);
bool load_figure_below(struct load_task *t, struct load_node *n, enum load_figure f, uint64_t most, double seconds);
bool load_fresh(struct load_task *t, struct load_node *n); /* one sample that was asked for from now on */
/* Runs fn on the main thread: processes that are to die with this one must be made there. */
int load_on_main(struct load_task *t, int (*fn)(void *ctx), void *ctx);
void load_wake(struct load *l); /* after work for the hub from a task */
void load_phase(struct load_task *t, const uint64_t *done, uint64_t total, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
