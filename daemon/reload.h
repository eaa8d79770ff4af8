/* SIGHUP: the configuration and the access file are read and compiled on a thread of libuv's pool, since a large file takes
 * longer than a turn of the loop may. What is asked for while that goes on is read once more afterwards. */
#ifndef DAEMON_RELOAD_H
#define DAEMON_RELOAD_H

#include <uv.h>

#include "access/access.h"
#include "config.h"

/* What was read. On failure err, why, and neither of the others. */
struct reload_result {
  int err;
  char why[CONFIG_WHY_LEN];
  struct config config;
  struct access *access; /* NULL: open */
};

struct reload {
  uv_loop_t *uv;
  int argc;
  const char *const *argv, *const *env;
  struct mem *access_mem;   /* of access files: the old one and the new one count against its limit */
  void (*begin)(void *ctx); /* it is read now */
  void (*done)(void *ctx, const struct reload_result *r); /* takes access, and frees config by config_done */
  void *ctx;
  uv_work_t work;
  bool working, again, stopped;
  struct mem mem; /* of the thread, until the result is moved to access_mem */
  struct reload_result result;
};

/* The public members are set by the caller. Asks to read everything; begin is called now or when what is being read is done,
 * and done follows, on the loop's thread. */
void reload_ask(struct reload *r);
/* Nothing is called any more; waits for the thread. The loop must still be there. */
void reload_stop(struct reload *r);

#endif
