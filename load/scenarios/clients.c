/* load clients: the limit of clients, and what those who are in notice of it. */
#include "load/scenarios/clients.h"

#include "cli/cli.h"
#include "load/drive/abuse.h"
#include "load/drive/crowd.h"
#include "load/drive/memory.h"
#include "load/drive/nodes.h"
#include "load/drive/watch.h"
#include "load/report/latency.h"
#include "load/report/report.h"
#include "load/scenarios/mesh.h"

#define AT_ONCE 48
#define TOPIC "load.all"
#define FILLED "filled with clients to its limit"

static void count(struct load_task *t, const struct load_crowd *c, const char *what) {
  load_phase(t, &c->was_in, c->count, "%s", what);
}

/* A message for everyone else by the first client; QoS 1, so that the node says whether it has queued it for all. */
static void on_taken(void *ctx, macula_client client, int err, const char *text) {
  struct load_crowd *c = ctx;
  (void)client, (void)text;
  if (err) {
    c->not_taken++;
    c->other_err = (uint64_t)-err;
  } else {
    c->taken++;
  }
}

static void tell_all(struct load_crowd *c) {
  macula_publish_options o = {.qos = 1};
  int err = c->v[0].c ? client_publish(c->v[0].c, TOPIC, slice_str("still here?"), &o, on_taken, c) : MACULA_NOT_CONNECTED;
  if (err) on_taken(c, (macula_client){0}, err, NULL);
  load_wake(c->l);
}

static bool all_taken(void *ctx) {
  const struct load_crowd *c = ctx;
  return c->taken + c->not_taken >= 4;
}

static size_t in_of(const struct load_crowd *c, size_t from, size_t count) {
  size_t in = 0;
  for (size_t i = from; i < from + count; i++) in += c->v[i].in;
  return in;
}

struct part {
  const struct load_crowd *c;
  size_t from, count, want;
};
static bool part_is_in(void *ctx) {
  const struct part *p = ctx;
  return in_of(p->c, p->from, p->count) >= p->want;
}
static bool part_is_decided(void *ctx) {
  const struct part *p = ctx;
  for (size_t i = p->from; i < p->from + p->count; i++)
    if (!p->c->v[i].was_in && !p->c->v[i].err) return false;
  return true;
}

static uint64_t read_the_code(const struct load_crowd *c, size_t from, size_t count) {
  uint64_t n = 0;
  for (size_t i = from; i < from + count; i++) n += c->v[i].err == MACULA_MAX_CLIENTS_REACHED;
  return n;
}

/* Clients that are in connect anew while the node is full: as they are the same clients they need no further slot. */
static bool update_themselves(struct load_task *t, struct load_crowd *c, size_t known) {
  for (size_t i = 0; i < known; i++) load_abuse_vanish(&c->v[i]);
  struct part p = {c, 0, known, known};
  return load_wait(t, part_is_in, &p, t->l->patience);
}

static bool get_messages(struct load_task *t, struct load_crowd *c, size_t limit) {
  if (!load_wait(t, all_taken, c, t->l->patience)) return false;
  return load_reach(t, &c->got, c->taken * (limit - 1), t->l->patience);
}

static void fill(struct load_task *t, struct load_node *n, size_t limit, size_t more, size_t known, struct load_crowd *c) {
  struct load *l = t->l;
  char what[160], expected[64], a[32], b[32];
  uint64_t base = n->now[FIG_CLIENTS];
  int err;
  c->connect_times = load_latency(l, t->name, "connecting", 2000);
  c->reconnect = true;
  count(t, c, "clients in");
  load_crowd_connect(c, 0, limit, AT_ONCE);
  load_wait(t, load_crowd_decided, c, 300);
  if (l->stopping) return;
  for (size_t i = 0; i < limit; i++) load_client_subscribe(&c->v[i], TOPIC);
  load_wake(l);
  load_phase(t, &c->confirmed, limit, "subscribed");
  load_reach(t, &c->confirmed, in_of(c, 0, limit), 120);
  tell_all(c);

  load_phase(t, &c->refused, more, "refused");
  c->reconnect = false; /* those who are refused shall not come again */
  load_crowd_connect(c, limit, more, AT_ONCE);
  tell_all(c);
  struct part p = {c, limit, more, 0};
  load_wait(t, part_is_decided, &p, 120);
  tell_all(c);
  json_t *status = load_ask(t, n, "com.macula.node.status", json_object(), &err);
  if (l->stopping) {
    json_decref(status);
    return;
  }
  load_fresh(t, n);
  snprintf(what, sizeof what, "with a limit of %zu, of %zu clients exactly the limit are in", limit, limit + more);
  load_row_is(l, t->name, what, limit, in_of(c, 0, limit + more));
  load_row_is(l, t->name, "the node counts as many", base + limit, n->now[FIG_CLIENTS]);
  load_row_most(l, t->name, "and never more", base + limit, n->most[FIG_CLIENTS]);
  load_row_is(l, t->name, "every other one reads max_clients_reached", more, read_the_code(c, limit, more));
  load_row(l, t->name, status != NULL, "an operator gets status while the node is full", "its answer", "%s",
           status ? "its answer" : macula_err_name(err));
  json_decref(status);

  load_phase(t, NULL, 0, "messages on their way");
  tell_all(c);
  get_messages(t, c, in_of(c, 0, limit));
  if (l->stopping) return;
  snprintf(expected, sizeof expected, "%s", text_number(c->taken * (limit - 1), a));
  load_row(l, t->name, c->got >= c->taken * (limit - 1) && c->taken, "no connected client loses a message meanwhile", expected,
           "%s (%llu messages to all%s%s)", text_number(c->got, b), (unsigned long long)c->taken, c->taken ? "" : ": ",
           c->taken ? "" : macula_err_name(-(int)c->other_err));
  load_row_is(l, t->name, "and none its connection", 0, c->lost);

  load_phase(t, NULL, 0, "known clients connect anew");
  uint64_t lost = c->lost, refused = c->refused;
  for (size_t i = 0; i < known; i++) c->v[i].err = 0;
  update_themselves(t, c, known);
  if (l->stopping) return;
  load_row_is(l, t->name, "known clients update themselves while the node is full", known, in_of(c, 0, known));
  load_fresh(t, n);
  load_row_is(l, t->name, "and nobody else is put out by it", base + limit, n->now[FIG_CLIENTS]);
  c->lost = lost;
  c->refused = refused;
}

static void make_room(struct load_task *t, struct load_node *n, size_t limit, size_t room, struct load_crowd *c) {
  struct load *l = t->l;
  struct load_crowd *later;
  load_phase(t, NULL, 0, "some leave, others come");
  uint64_t base = n->now[FIG_CLIENTS];
  load_crowd_leave(c, limit - room, room);
  if (!load_figure_is(t, n, FIG_CLIENTS, base - room, l->patience) && l->stopping) return;
  if (load_crowd_new(l, n, room + 3, &later)) return;
  load_crowd_connect(later, 0, room + 3, AT_ONCE);
  load_wait(t, load_crowd_decided, later, 60);
  if (!l->stopping) {
    char what[96];
    snprintf(what, sizeof what, "when %zu leave and %zu ask, %zu get in", room, room + 3, room);
    load_row_is(l, t->name, what, room, later->was_in);
  }
  load_crowd_free(t, later);
}

static int one_limit(struct load_task *t, struct load_node *n, size_t limit, size_t more) {
  struct load *l = t->l;
  struct load_crowd *c;
  int code = load_crowd_new(l, n, limit + more, &c);
  if (code) return code;
  uint64_t base = n->now[FIG_CLIENTS];
  t->node = n;
  fill(t, n, limit, more, limit < 200 ? limit / 2 : 100, c);
  if (!l->stopping) make_room(t, n, limit, 10, c);
  load_phase(t, NULL, 0, "leaving");
  load_crowd_leave(c, 0, c->count);
  load_figure_below(t, n, FIG_CLIENTS, base, load_idle_s(n) + l->patience);
  load_crowd_free(t, c);
  if (l->stopping) return 0;
  load_figure_below(t, n, FIG_CLIENTS, base, load_idle_s(n) + l->patience);
  load_row_most(l, t->name, "no client entry is left afterwards", base, n->now[FIG_CLIENTS]);
  load_rows_memory(t, n, true);
  return 0;
}

static int started(struct load_task *t, size_t limit, size_t more) {
  struct load_node *n;
  char max[24];
  snprintf(max, sizeof max, "%zu", limit);
  const char *args[] = {"--max-clients", max, NULL};
  int code = load_node_start(t, FILLED, args, &n);
  if (!code) code = one_limit(t, n, limit, more);
  if (!code) load_node_stop(n);
  return code;
}

/* A node that runs already keeps its own limit. */
int load_clients(struct load_task *t) {
  struct load *l = t->l;
  size_t more = load_scaled(l, 2000, 15);
  struct load_node *n;
  if (l->mesh || l->o.nodes) {
    int code = l->mesh ? 0 : load_node_take(t, FILLED, NULL, &n);
    if (l->mesh) n = l->mesh->clients;
    uint64_t max = n->now[FIG_CLIENTS_MAX], now = n->given ? n->now[FIG_CLIENTS] : 0;
    return code ? code : one_limit(t, n, max > now + 20 ? max - now : 20, more);
  }
  int code = started(t, load_scaled(l, 10000, 50), more);
  return code || l->stopping ? code : started(t, 100, 50);
}
