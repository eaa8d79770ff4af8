/* load streams: whatever way a client goes, all that it owned goes with it, and nothing of those who came back. */
#include "io/io.h"
#include "load.h"

#define AT_ONCE 32
#define STREAMS 4 /* of each client, beside that of CONNECT */

struct parts {
  struct load_crowd *going, *staying;
  struct load_child *killed;
  size_t third, stayers;
};

static void equip(struct load_crowd *c, const char *prefix, size_t cycle) {
  char name[128];
  for (size_t i = 0; i < c->count; i++) {
    snprintf(name, sizeof name, "load.%s.y%zu.c%zu", prefix, cycle, i);
    load_client_subscribe(&c->v[i], name);
    load_client_serve(&c->v[i], name, 300000);
    load_abuse_open_streams(&c->v[i], STREAMS);
  }
  load_wake(c->l);
}

struct base {
  uint64_t clients, subs, services, streams;
};

static struct base figures(const struct load_node *n) {
  return (struct base){n->now[FIG_CLIENTS], n->now[FIG_SUBS], n->now[FIG_SERVICES], n->now[FIG_STREAMS]};
}

/* Connections to other nodes come back while the clients of a cycle go: a stream each. */
static uint64_t links(const struct load *l) { return l->mesh ? 3 : 0; }

struct back {
  const struct load_node *n;
  struct base base;
};
static bool is_back(void *ctx) {
  const struct back *b = ctx;
  struct base now = figures(b->n);
  return now.clients <= b->base.clients && now.subs <= b->base.subs && now.services <= b->base.services &&
         now.streams <= b->base.streams + links(b->n->l);
}

static bool all_back_in(void *ctx) {
  const struct load_crowd *c = ctx;
  return c->in == c->count;
}

/* Those who stay connect anew in the middle, without a word on their old connections. */
static void come_back(struct load_task *t, struct load_crowd *c) {
  for (size_t i = 0; i < c->count; i++) load_abuse_vanish(&c->v[i]);
  load_wait(t, all_back_in, c, 30);
}

static bool leave(struct load_task *t, struct parts *p) {
  for (size_t i = 0; i < p->going->count; i++) {
    if (i % 2)
      load_abuse_reset(&p->going->v[i]);
    else
      load_client_leave(&p->going->v[i]);
  }
  load_wake(t->l);
  if (p->killed) load_child_kill(p->killed);
  p->killed = NULL;
  return !t->l->stopping;
}

static void owned(struct load_task *t, size_t cycle, const char *what, uint64_t base, uint64_t seen) {
  char text[128];
  snprintf(text, sizeof text, "cycle %zu: %s left behind by those who went", cycle, what);
  load_row_is(t->l, t->name, text, 0, seen > base ? seen - base : 0);
}

/* Each who came back has what it had: it gets a message and serves a call. */
static void still_theirs(struct load_task *t, struct load_node *n, struct parts *p, size_t cycle) {
  struct load *l = t->l;
  struct load_crowd *asker;
  char name[128], what[128];
  if (load_crowd_new(l, n, 1, &asker)) return;
  load_crowd_connect(asker, 0, 1, 1);
  load_wait(t, load_crowd_decided, asker, 30);
  uint64_t got = p->staying->got, served = p->staying->served;
  for (size_t i = 0; i < p->stayers; i++) {
    snprintf(name, sizeof name, "load.stay.y0.c%zu", i);
    if (asker->v[0].c) client_publish(asker->v[0].c, name, slice_str("1"), NULL, NULL, NULL);
    load_client_call(&asker->v[0], name, "1", 5000);
  }
  load_wake(l);
  load_reach(t, &p->staying->got, got + p->stayers, 10);
  load_reach(t, &asker->answered, p->stayers, 10);
  if (!l->stopping) {
    snprintf(what, sizeof what, "cycle %zu: clients that reconnected keep their subscriptions", cycle);
    load_row_is(l, t->name, what, p->stayers, p->staying->got - got);
    snprintf(what, sizeof what, "cycle %zu: and their services", cycle);
    load_row_is(l, t->name, what, p->stayers, p->staying->served - served);
  }
  load_crowd_free(t, asker);
}

static int cycle(struct load_task *t, struct load_node *n, struct parts *p, size_t number) {
  struct load *l = t->l;
  char prefix[64];
  load_fresh(t, n);
  struct back back = {n, figures(n)};
  snprintf(prefix, sizeof prefix, "load.kill.y%zu", number);
  int code = load_crowd_new(l, n, 2 * p->third, &p->going);
  if (!code) code = load_child_start(t, n, p->third, prefix, STREAMS, &p->killed);
  if (code) return code;
  load_crowd_connect(p->going, 0, p->going->count, AT_ONCE);
  load_phase(t, &p->going->was_in, p->going->count, "cycle %zu: clients in", number);
  load_wait(t, load_crowd_decided, p->going, 60);
  equip(p->going, "go", number);
  load_reach(t, &p->going->confirmed, 2 * p->going->count, 60);
  load_wait(t, load_child_ready, p->killed, 60);
  load_fresh(t, n);
  if (!l->stopping) {
    uint64_t more = 3 * p->third;
    char what[96];
    snprintf(what, sizeof what, "cycle %zu: clients that connected, subscribed and serve", number);
    load_row_is(l, t->name, what, more, n->now[FIG_CLIENTS] - back.base.clients);
    come_back(t, p->staying);
    load_phase(t, NULL, 0, "cycle %zu: leaving", number);
    leave(t, p);
    load_wait(t, is_back, &back, n->given ? 90 : l->idle_s + 4);
  }
  load_fresh(t, n);
  if (!l->stopping) {
    struct base now = figures(n);
    owned(t, number, "client entries", back.base.clients, now.clients);
    owned(t, number, "subscriptions", back.base.subs, now.subs);
    owned(t, number, "services", back.base.services, now.services);
    owned(t, number, "streams", back.base.streams + links(l), now.streams);
    still_theirs(t, n, p, number);
  }
  if (p->killed) load_child_kill(p->killed);
  p->killed = NULL;
  load_crowd_free(t, p->going);
  return 0;
}

int load_streams(struct load_task *t) {
  struct load *l = t->l;
  struct load_node *n;
  struct parts p = {.third = load_scaled(l, 500, 9) / 3, .stayers = 10};
  size_t cycles = l->scale < 0.5 ? 2 : 5;
  if (l->mesh && !load_wait(t, load_mesh_is_ready, l->mesh, 60)) return 0;
  n = l->mesh ? l->mesh->streams : NULL;
  int code = n ? 0 : load_node_take(t, NULL, &n);
  if (code || (code = load_crowd_new(l, n, p.stayers, &p.staying))) return code;
  t->node = n;
  p.staying->reconnect = true;
  load_crowd_connect(p.staying, 0, p.stayers, AT_ONCE);
  load_wait(t, load_crowd_decided, p.staying, 60);
  equip(p.staying, "stay", 0);
  load_reach(t, &p.staying->confirmed, 2 * p.stayers, 30);
  load_fresh(t, n);
  for (size_t i = 1; i <= cycles && !l->stopping && !code; i++) {
    code = cycle(t, n, &p, i);
    if (i == 1) load_node_mark(n); /* memory counts from after one warm-up cycle */
  }
  load_crowd_free(t, p.staying);
  if (!l->stopping && !code) load_rows_memory(t, n, true);
  return code;
}
