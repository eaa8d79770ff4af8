#include "reload.h"

#include <stdio.h>

#include "base/err.h"
#include "credentials.h"

static void load(uv_work_t *w) { /* on a thread of the pool */
  struct reload *r = w->data;
  struct reload_result *t = &r->result;
  t->err = config_load(r->argc, r->argv, r->env, &t->config, t->why);
  if (!t->err) t->err = credentials_access(&t->config, &r->mem, &t->access, t->why);
}

static void loaded(uv_work_t *w, int status);

static void start(struct reload *r) {
  const struct mem *m = r->access_mem;
  r->begin(r->ctx);
  r->result = (struct reload_result){0};
  /* Nothing else is parsed meanwhile, so what is free now stays free. */
  r->mem = MEM_INIT(m->name, !m->limit ? 0 : m->limit > m->bytes ? m->limit - m->bytes : 1);
  r->work.data = r;
  r->working = true;
  (void)uv_queue_work(r->uv, &r->work, load, loaded); /* fails without a function only */
}

static void drop(struct reload *r) {
  access_unref(r->result.access);
  config_done(&r->result.config);
}

static void loaded(uv_work_t *w, int status) {
  struct reload *r = w->data;
  struct reload_result *t = &r->result;
  (void)status; /* it is never cancelled */
  r->working = false;
  if (t->access)
    access_move(t->access, r->access_mem);
  else
    mem_move(&r->mem, r->access_mem); /* what was refused */
  if (t->err && !t->why[0]) snprintf(t->why, sizeof t->why, "%s", macula_err_text(t->err));
  if (r->stopped)
    drop(r);
  else
    r->done(r->ctx, t);
  if (!r->again || r->stopped) return;
  r->again = false;
  start(r);
}

void reload_ask(struct reload *r) {
  r->again = r->working;
  if (!r->working) start(r);
}

void reload_stop(struct reload *r) {
  r->stopped = true;
  while (r->working) uv_run(r->uv, UV_RUN_ONCE);
}
