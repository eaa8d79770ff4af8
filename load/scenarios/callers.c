/* load callers: calls to slow providers on other nodes, and callers that die while theirs are pending. */
#include "load/scenarios/callers.h"

#include <stdlib.h>

#include "cli/cli.h"
#include "io/io.h"
#include "load/drive/abuse.h"
#include "load/drive/crowd.h"
#include "load/drive/memory.h"
#include "load/drive/nodes.h"
#include "load/report/latency.h"
#include "load/report/report.h"
#include "load/scenarios/mesh.h"

#define AT_ONCE 32
#define PROVIDERS 4 /* on each of the other nodes */
#define SLOW (400 * NS_MS)
#define SLOW_ROLE "providers that take 400 ms"
#define HELD 4 /* calls of each caller that no one answers until its time has come */
#define RUN_S 15
#define CALL_MS 30000 /* that it is answered is judged, not how soon */
#define HELD_MS 300000
#define QUESTIONS 4 /* lookups in the DHT by each that dies */

struct late { /* a request whose answer is due later */
  struct list in;
  struct load_client *k;
  macula_request_id id;
  nanotime due;
};

struct callers {
  struct load_task *t;
  struct load_node *at, *others[2];
  struct load_crowd *callers, *providers[2];
  size_t count, dead;
  struct list late, held;
  bool hold;
  uint64_t asked, silent;
  uint64_t samples, above; /* of the calling node, and those in which calls of the gone were pending */
  uint64_t worst_calls, worst_clients;
};

static void on_request(struct load_client *k, const macula_request *r) {
  struct callers *s = k->crowd->user;
  struct late *e = malloc(sizeof *e);
  if (!e) return;
  *e = (struct late){.k = k, .id = r->id, .due = io_now() + SLOW};
  list_init(&e->in);
  list_append(s->hold ? &s->held : &s->late, &e->in);
}

static void answer(struct list *late, nanotime now) {
  list_for_safe(it, late) {
    struct late *e = container_of(it, struct late, in);
    if (e->due > now) return;
    if (e->k->c) client_reply(e->k->c, e->id, slice_str("1"));
    list_remove(&e->in);
    free(e);
  }
}

static void drop(struct list *late) {
  list_for_safe(it, late) {
    struct late *e = container_of(it, struct late, in);
    list_remove(&e->in);
    free(e);
  }
}

static void name_of(char ret[64], size_t i) { snprintf(ret, 64, "load.slow.n%zu.p%zu", 2 + i % 2, i / 2 % PROVIDERS); }

/* Each sample is one turn of the node: pending calls belong to clients that are in. */
static void on_sample(void *ctx, const struct load_node *n) {
  struct callers *s = ctx;
  if (!s->hold) return;
  s->samples++;
  if (n->now[FIG_CALLS] <= HELD * n->now[FIG_CLIENTS]) return;
  s->above++;
  s->worst_calls = n->now[FIG_CALLS];
  s->worst_clients = n->now[FIG_CLIENTS];
}

/* ---- the mesh ---------------------------------------------------------------------------------------------------------------
 */
static int provide(struct callers *s, size_t which) {
  struct load *l = s->t->l;
  char name[64];
  int code = load_crowd_new(l, s->others[which], PROVIDERS, &s->providers[which]);
  if (code) return code;
  struct load_crowd *c = s->providers[which];
  c->user = s;
  c->on_request = on_request;
  load_crowd_connect(c, 0, PROVIDERS, PROVIDERS);
  load_wait(s->t, load_crowd_decided, c, l->patience);
  for (size_t i = 0; i < PROVIDERS; i++) {
    name_of(name, 2 * i + which);
    load_client_serve(&c->v[i], name, 300000);
  }
  load_wake(l);
  load_reach(s->t, &c->confirmed, PROVIDERS, l->patience);
  return 0;
}

static int start_nodes(struct callers *s) {
  struct load *l = s->t->l;
  if (!l->mesh && l->o.nodes && l->node_count < 3) {
    cli_error("invalid_argument", "callers needs three nodes of one mesh: name them with --nodes ADDR,ADDR,ADDR, or none");
    return EXIT_USAGE;
  }
  struct load_mesh *mesh = l->mesh;
  int code = mesh ? 0 : load_node_take(s->t, "callers", NULL, &s->at);
  if (mesh) {
    s->at = mesh->callers;
    s->others[0] = mesh->services;
    s->others[1] = mesh->streams;
  }
  const char *args[] = {"--join", s->at ? s->at->text : "", NULL};
  for (size_t i = 0; i < 2 && !code; i++) {
    if (mesh) continue;
    if (l->o.nodes)
      load_node_role(s->others[i] = l->nodes[i + 1], SLOW_ROLE);
    else
      code = load_node_start(s->t, SLOW_ROLE, args, &s->others[i]);
  }
  for (size_t i = 0; i < 2 && !code; i++) code = provide(s, i);
  for (size_t i = 0; i < 2 && mesh && !code; i++) load_fresh(s->t, s->others[i]);
  if (mesh) mesh->providers_ready = true;
  return code;
}

/* Until every procedure has been found once. */
static bool all_found(struct callers *s) {
  struct load_client *k = &s->callers->v[0];
  double until = load_seconds(s->t->l) + s->t->l->patience;
  while (load_seconds(s->t->l) < until) {
    uint64_t answered = k->answered;
    char name[64];
    for (size_t i = 0; i < 2 * PROVIDERS; i++) {
      name_of(name, i);
      load_client_call(k, name, "1", 3000);
    }
    while (k->pending && load_sleep(s->t, 0.02)) answer(&s->late, io_now());
    if (s->t->l->stopping) return false;
    if (k->answered - answered == 2 * PROVIDERS) {
      s->callers->answered = s->callers->failed = 0;
      return true;
    }
  }
  return false;
}

/* ---- load -------------------------------------------------------------------------------------------------------------------
 */
static bool steady(struct callers *s, double a_second, double seconds) {
  struct load *l = s->t->l;
  double from = load_seconds(l);
  uint64_t made = 0;
  char name[64];
  load_phase(s->t, &s->callers->answered, (uint64_t)(a_second * seconds), "calls answered");
  while (load_seconds(l) - from < seconds) {
    for (; (double)made < (load_seconds(l) - from) * a_second; made++) {
      name_of(name, made);
      if (load_client_call(&s->callers->v[made % s->count], name, "1", CALL_MS)) s->callers->failed++;
      s->asked++;
    }
    answer(&s->late, io_now());
    load_wake(l);
    if (!load_sleep(s->t, 0.005)) return false;
  }
  for (double until = load_seconds(l) + l->patience;
       s->callers->answered + s->callers->failed < s->asked && load_seconds(l) < until;) {
    answer(&s->late, io_now());
    load_wake(l);
    if (!load_sleep(s->t, 0.005)) return false;
  }
  return true;
}

static void row_of_answers(struct callers *s, const char *what) {
  const struct load_crowd *c = s->callers;
  char a[32], b[32], why[64] = "";
  if (c->failed)
    snprintf(why, sizeof why, "; others, the last: %s", macula_err_name(-(int)c->other_err));
  else if (c->answered < s->asked)
    snprintf(why, sizeof why, "; not all have ended");
  load_row(s->t->l, s->t->name, c->answered == s->asked, what, text_number(s->asked, a), "%s%s", text_number(c->answered, b),
           why);
}

static uint64_t sum(const struct load_crowd *a, const struct load_crowd *b, size_t offset) {
  return *(const uint64_t *)((const char *)a + offset) + *(const uint64_t *)((const char *)b + offset);
}
#define OF_PROVIDERS(s, field) sum((s)->providers[0], (s)->providers[1], offsetof(struct load_crowd, field))

struct served {
  const struct callers *s;
  uint64_t served, cancelled;
};
static bool all_served(void *ctx) {
  const struct served *w = ctx;
  return OF_PROVIDERS(w->s, served) >= w->served && OF_PROVIDERS(w->s, cancelled) >= w->cancelled;
}

static void forget(void *ctx, macula_client client, const macula_result *r) { (void)ctx, (void)client, (void)r; }

/* The dead ask the DHT, too. Every other one resets its stream; the rest just fall silent. */
static void die(struct callers *s) {
  for (size_t i = 0; i < s->dead; i++) {
    struct load_client *k = &s->callers->v[i * (s->count / s->dead)];
    for (int q = 0; q < QUESTIONS && k->c; q++) {
      char args[100];
      snprintf(args, sizeof args, "{\"key\":\"load.nobody.q%zu.a%d\"}", i, q);
      client_call(k->c, "com.macula.node.dht_get", slice_str(args), NULL, forget, NULL, NULL);
    }
  }
  load_wake(s->t->l);
  load_sleep(s->t, 0.03);
  for (size_t i = 0; i < s->dead; i++) {
    struct load_client *k = &s->callers->v[i * (s->count / s->dead)];
    if (i % 2 == 0) {
      load_abuse_reset(k);
    } else if (k->c) {
      k->leaving = true;
      s->silent++;
      client_close(k->c, true);
    }
  }
  load_wake(s->t->l);
}

struct pending {
  const struct callers *s;
  uint64_t calls, after[2];
};
static bool is_pending(void *ctx) {
  const struct pending *w = ctx;
  struct load_node *const *n = w->s->others;
  return n[0]->samples_taken >= w->after[0] && n[1]->samples_taken >= w->after[1] &&
         n[0]->now[FIG_CALLS] + n[1]->now[FIG_CALLS] == w->calls;
}

static void in_mid_call(struct callers *s) {
  struct load *l = s->t->l;
  struct load_task *t = s->t;
  load_figure_is(t, s->at, FIG_CALLS, 0, l->patience);
  uint64_t base = s->at->now[FIG_CALLS], served = OF_PROVIDERS(s, served), all = HELD * s->count;
  char name[64], what[128], expected[64], a[32], b[32];
  load_phase(t, NULL, 0, "callers die in mid-call");
  s->hold = true;
  s->callers->answered = s->callers->failed = 0;
  s->at->on_sample = on_sample;
  s->at->sample_ctx = s;
  for (size_t i = 0; i < all; i++) {
    name_of(name, i);
    if (load_client_call(&s->callers->v[i % s->count], name, "1", HELD_MS)) s->callers->failed++;
  }
  load_wake(l);
  load_wait(t, all_served, &(struct served){s, served + all, 0}, l->patience);
  load_fresh(t, s->at);
  if (l->stopping) return;
  load_row_is(l, t->name, "calls that are pending at the callers' node", base + all, s->at->now[FIG_CALLS]);
  uint64_t cancelled = OF_PROVIDERS(s, cancelled), clients = s->at->now[FIG_CLIENTS];
  die(s);
  load_figure_is(t, s->at, FIG_CLIENTS, clients - s->dead, load_idle_s(s->at) + l->patience);
  load_fresh(t, s->at);
  if (l->stopping) return;
  snprintf(what, sizeof what, "%zu of %zu callers died: client entries of them left", s->dead, s->count);
  uint64_t left = s->at->now[FIG_CLIENTS], living_in = clients - s->dead;
  if (left < living_in)
    load_row(l, t->name, false, what, "0", "0, and %llu of the living are gone", (unsigned long long)(living_in - left));
  else
    load_row_is(l, t->name, what, 0, left - living_in);
  load_row_is(l, t->name, "calls pending then are those of the living", base + HELD * (s->count - s->dead),
              s->at->now[FIG_CALLS]);
  load_row(l, t->name, !s->above, "in every turn looked at, no call of one who is gone was pending", "0 of all samples",
           s->above ? "%llu of %llu: %llu calls with %llu clients" : "%llu of %llu", (unsigned long long)s->above,
           (unsigned long long)s->samples, (unsigned long long)s->worst_calls, (unsigned long long)s->worst_clients);
  load_row_is(l, t->name, "questions to the DHT of the dead that are still open", 0, s->at->now[FIG_ASKS]);
  load_wait(t, all_served, &(struct served){s, 0, cancelled + HELD * s->dead}, l->patience);
  load_row_is(l, t->name, "providers on other nodes are told to cancel", HELD * s->dead,
              OF_PROVIDERS(s, cancelled) - cancelled);
  uint64_t living = HELD * (s->count - s->dead);
  struct pending w = {s, living, {s->others[0]->samples_taken + 2, s->others[1]->samples_taken + 2}};
  load_wait(t, is_pending, &w, l->patience);
  if (l->stopping) return;
  load_row_is(l, t->name, "calls pending at the providers' nodes are those of the living", living,
              s->others[0]->now[FIG_CALLS] + s->others[1]->now[FIG_CALLS]);
  s->hold = false;
  answer(&s->held, TIME_NEVER);
  load_wake(l);
  load_reach(t, &s->callers->answered, living, l->patience);
  if (l->stopping) return;
  snprintf(expected, sizeof expected, "%s", text_number(living, a));
  load_row(l, t->name, s->callers->answered == living, "live callers are all answered", expected, "%s",
           text_number(s->callers->answered, b));
}

static void nothing_left(struct callers *s) {
  struct load *l = s->t->l;
  struct load_node *nodes[3] = {s->at, s->others[0], s->others[1]};
  char what[96];
  for (size_t i = 0; i < 3; i++) {
    load_figure_is(s->t, nodes[i], FIG_CALLS, 0, l->patience);
    if (l->stopping) return;
    snprintf(what, sizeof what, "pending calls left at %s", nodes[i]->name);
    load_row_is(l, s->t->name, what, 0, nodes[i]->now[FIG_CALLS]);
    snprintf(what, sizeof what, "lookups in the DHT left at %s", nodes[i]->name);
    load_figure_is(s->t, nodes[i], FIG_LOOKUPS, 0, l->patience);
    load_row_is(l, s->t->name, what, 0, nodes[i]->now[FIG_LOOKUPS]);
  }
}

/* While the mesh is cut in two, calls to the other half may fail; each ends nevertheless, and afterwards all are answered. */
static bool through_partition(struct callers *s, double rate) {
  struct load *l = s->t->l;
  while (!l->mesh->healed)
    if (!steady(s, rate, 1)) return false;
  if (!steady(s, rate, 1)) return false;
  load_row_is(l, s->t->name, "calls before, in and after the partition: each has ended", s->asked,
              s->callers->answered + s->callers->failed);
  bool found = all_found(s);
  if (l->stopping) return false;
  load_row(l, s->t->name, found, "after the partition procedures of the other half are found again", "all", "%s",
           found ? "all" : "not all");
  s->callers->answered = s->callers->failed = s->asked = 0;
  return true;
}

static void play(struct callers *s) {
  struct load *l = s->t->l;
  double rate = 1000 * l->scale < 20 ? 20 : 1000 * l->scale;
  load_crowd_connect(s->callers, 0, s->count, AT_ONCE);
  load_phase(s->t, &s->callers->was_in, s->count, "callers in");
  load_wait(s->t, load_crowd_decided, s->callers, 60);
  bool found = all_found(s);
  if (l->stopping) return;
  load_row(l, s->t->name, found, "procedures on other nodes are found", "all", found ? "all" : "not all");
  s->callers->call_times = load_latency(l, s->t->name, "a call to a provider of 400 ms on another node", 800);
  s->asked = 0;
  char what[128];
  if (l->mesh && l->mesh->parts && !through_partition(s, rate)) return;
  if (!steady(s, rate, l->scale < 0.5 ? 5 : RUN_S)) return;
  snprintf(what, sizeof what, "%.0f calls a second to slow providers: answered", rate);
  row_of_answers(s, what);
  s->callers->call_times = NULL;
  in_mid_call(s);
  if (!l->stopping) nothing_left(s);
}

int load_callers(struct load_task *t) {
  struct load *l = t->l;
  struct callers s = {.t = t, .count = load_scaled(l, 200, 20)};
  s.dead = s.count / 20;
  list_init(&s.late);
  list_init(&s.held);
  int code = start_nodes(&s);
  t->node = s.at;
  if (!code && !(code = load_crowd_new(l, s.at, s.count, &s.callers))) {
    if (!l->stopping) play(&s);
    s.at->on_sample = NULL;
    if (!l->stopping) load_crowd_leave(s.callers, 0, s.count);
    load_figure_below(t, s.at, FIG_CLIENTS, 0, 5);
    load_crowd_free(t, s.callers);
  }
  if (l->mesh) load_reach(t, &l->tasks_ended, l->mesh->others, 900); /* they count what these provide */
  for (size_t i = 0; i < 2; i++) load_crowd_free(t, s.providers[i]);
  drop(&s.late);
  drop(&s.held);
  for (size_t i = 0; i < l->node_count && !code && !l->stopping; i++) load_rows_memory(t, l->nodes[i], true);
  return code;
}
