/* load streams: whatever way a client goes, all that it owned goes with it, and nothing of those who came back. */
#include "load/scenarios/streams.h"

#include "cli/cli.h"
#include "load/drive/abuse.h"
#include "load/drive/child.h"
#include "load/drive/crowd.h"
#include "load/drive/memory.h"
#include "load/drive/nodes.h"
#include "load/drive/watch.h"
#include "load/report/report.h"
#include "load/scenarios/mesh.h"

#define AT_ONCE 32
#define STREAMS 4 /* of each client, beside that of CONNECT */
#define TOLD 5    /* cycles of which each promise is a row of its own */

struct parts {
  struct load_crowd *going, *staying;
  struct load_child *killed;
  size_t third, stayers;
  uint64_t kept;
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

/* The clients that stay connect anew in the middle of the cycle, and say nothing on their old connections. */
static void come_back(struct load_task *t, struct load_crowd *c) {
  for (size_t i = 0; i < c->count; i++) load_abuse_vanish(&c->v[i]);
  load_wait(t, all_back_in, c, t->l->patience);
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

/* A promise of one cycle. Of many cycles only the first are told in full, and whatever is broken. */
static void promise(struct load_task *t, struct parts *p, size_t cycle, const char *what, uint64_t expected, uint64_t seen) {
  char text[128];
  p->kept += expected == seen;
  if (cycle > TOLD && expected == seen) return;
  snprintf(text, sizeof text, "cycle %zu: %s", cycle, what);
  load_row_is(t->l, t->name, text, expected, seen);
}

static void owned(struct load_task *t, struct parts *p, size_t cycle, const char *what, uint64_t base, uint64_t seen) {
  char text[96];
  snprintf(text, sizeof text, "%s left behind by those who went", what);
  promise(t, p, cycle, text, 0, seen > base ? seen - base : 0);
}

/* Each client that came back has what it had before: it gets a message and serves a call. */
static void still_theirs(struct load_task *t, struct load_node *n, struct parts *p, size_t cycle) {
  struct load *l = t->l;
  struct load_crowd *asker;
  char name[128];
  if (load_crowd_new(l, n, 1, &asker)) return;
  load_crowd_connect(asker, 0, 1, 1);
  load_wait(t, load_crowd_decided, asker, l->patience);
  uint64_t got = p->staying->got, served = p->staying->served;
  for (size_t i = 0; i < p->stayers; i++) {
    snprintf(name, sizeof name, "load.stay.y0.c%zu", i);
    if (asker->v[0].c) client_publish(asker->v[0].c, name, slice_str("1"), NULL, NULL, NULL);
    load_client_call(&asker->v[0], name, "1", 20000);
  }
  load_wake(l);
  load_reach(t, &p->staying->got, got + p->stayers, l->patience);
  load_reach(t, &asker->answered, p->stayers, l->patience);
  if (!l->stopping) {
    promise(t, p, cycle, "clients that reconnected keep their subscriptions", p->stayers, p->staying->got - got);
    promise(t, p, cycle, "and their services", p->stayers, p->staying->served - served);
  }
  load_client_leave(&asker->v[0]); /* else the next cycle would count it, until it times out */
  load_wake(l);
  load_reach(t, &asker->left, 1, l->patience);
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
  load_wait(t, load_child_ready, p->killed, l->patience);
  load_fresh(t, n);
  if (!l->stopping) {
    promise(t, p, number, "clients that connected, subscribed and serve", 3 * p->third,
            n->now[FIG_CLIENTS] > back.base.clients ? n->now[FIG_CLIENTS] - back.base.clients : 0);
    come_back(t, p->staying);
    load_phase(t, NULL, 0, "cycle %zu: leaving", number);
    leave(t, p);
    load_wait(t, is_back, &back, load_idle_s(n) + l->patience);
  }
  load_fresh(t, n);
  if (!l->stopping) {
    struct base now = figures(n);
    owned(t, p, number, "client entries", back.base.clients, now.clients);
    owned(t, p, number, "subscriptions", back.base.subs, now.subs);
    owned(t, p, number, "services", back.base.services, now.services);
    owned(t, p, number, "streams", back.base.streams + links(l), now.streams);
    still_theirs(t, n, p, number);
  }
  if (p->killed) load_child_kill(p->killed);
  p->killed = NULL;
  load_crowd_free(t, p->going);
  return 0;
}

/* ---- memory over many cycles ------------------------------------------------------------------------------------------------
 */
struct memory {
  size_t cycles, back; /* cycles after which it came back in time */
  uint64_t most;       /* bytes it came back to, at most */
  double longest;      /* seconds */
  double second, last; /* bytes: sums over the second and the last quarter; in the first what has a TTL comes to its level */
  size_t quarter;
};

static void rest(struct load_task *t, struct load_node *n, struct memory *m, size_t cycle, size_t cycles) {
  double from = load_seconds(t->l);
  load_phase(t, NULL, 0, "cycle %zu: memory", cycle);
  m->back += load_figure_below(t, n, FIG_RSS, load_memory_allowed(n->rss_start), 60);
  uint64_t rss = n->now[FIG_RSS];
  m->cycles++;
  m->quarter = cycles / 4;
  if (rss > m->most) m->most = rss;
  if (load_seconds(t->l) - from > m->longest) m->longest = load_seconds(t->l) - from;
  if (cycle > m->quarter && cycle <= 2 * m->quarter) m->second += (double)rss;
  if (cycle > cycles - m->quarter) m->last += (double)rss;
}

static void rows_of_cycles(struct load_task *t, struct load_node *n, const struct parts *p, const struct memory *m,
                           size_t cycles) {
  struct load *l = t->l;
  char what[128], expected[96], a[32], b[32], c[32];
  if (cycles > TOLD) {
    snprintf(what, sizeof what, "promises of %zu cycles, 7 each", cycles);
    load_row_is(l, t->name, what, 7 * cycles, p->kept);
  }
  if (!LOAD_JUDGES_MEMORY || !m->cycles) return;
  snprintf(what, sizeof what, "after each of %zu cycles resident memory returns to the start + 10 %% or 8 MiB", m->cycles);
  snprintf(expected, sizeof expected, "at most %s within 60 s", text_bytes((double)load_memory_allowed(n->rss_start), a));
  load_row(l, t->name, m->back == m->cycles, what, expected, "%s within %.1f s, or less (start %s)",
           text_bytes((double)m->most, a), m->longest, text_bytes((double)n->rss_start, b));
  if (cycles < 20) return;
  double second = m->second / (double)m->quarter, last = m->last / (double)m->quarter;
  load_row(l, t->name, last <= second + (1 << 20), "no slope: the last quarter of the cycles against the second",
           "at most 1 MiB more", "%s, %s", text_bytes(second, b), text_bytes(last, c));
}

int load_streams(struct load_task *t) {
  struct load *l = t->l;
  struct load_node *n;
  struct parts p = {.third = load_scaled(l, 500, 9) / 3, .stayers = 10};
  struct memory memory = {0};
  size_t cycles = l->o.cycles ? l->o.cycles : l->scale < 0.5 ? 2 : 5;
  if (l->mesh && !load_mesh_ready(t)) return 0;
  n = l->mesh ? l->mesh->streams : NULL;
  int code = n ? 0 : load_node_take(t, "clients that go in every way", NULL, &n);
  if (code || (code = load_crowd_new(l, n, p.stayers, &p.staying))) return code;
  t->node = n;
  p.staying->reconnect = true;
  load_crowd_connect(p.staying, 0, p.stayers, AT_ONCE);
  load_wait(t, load_crowd_decided, p.staying, 60);
  equip(p.staying, "stay", 0);
  load_reach(t, &p.staying->confirmed, 2 * p.stayers, l->patience);
  load_fresh(t, n);
  for (size_t i = 1; i <= cycles && !l->stopping && !code; i++) {
    code = cycle(t, n, &p, i);
    if (i == 1) {                         /* memory counts from after one warm-up cycle */
      if (l->o.cycles) load_sleep(t, 12); /* unused heap goes back every 5 s */
      load_node_mark(n);
    } else if (!l->mesh && !l->stopping && !code)
      rest(t, n, &memory, i, cycles);
  }
  if (!l->stopping && !code) rows_of_cycles(t, n, &p, &memory, cycles);
  load_crowd_free(t, p.staying);
  if (!l->stopping && !code) load_rows_memory(t, n, true);
  return code;
}
