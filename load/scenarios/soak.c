/* load soak: the original's day, sixty times as fast, on a mesh of four nodes: 10,000 clients an hour that come and go, 2,400
 * services a day, 100 calls a second of which one caller in a hundred dies. A second here is a minute there. */
#include "load/scenarios/soak.h"

#include <stdlib.h>

#include "cli/cli.h"
#include "load/drive/abuse.h"
#include "load/drive/crowd.h"
#include "load/drive/nodes.h"
#include "load/drive/relay.h"
#include "load/report/latency.h"
#include "load/report/report.h"
#include "load/scenarios/mesh.h"

#define FASTER 60
#define ALIVE 3 /* seconds that a group of clients lives */
#define CALLERS 100
#define AT_ONCE 32

/* What the original's documents claim for their fixed version, never measured: docs/load.md. */
static const struct {
  unsigned minutes, megabytes;
  const char *name;
} claims[] = {
    {15, 100, "T+15 min"}, {30, 150, "T+30 min"}, {45, 180, "T+45 min"}, {60, 200, "T+60 min"}, {1440, 200, "T+24 h"}};
#define CLAIMS (sizeof claims / sizeof claims[0])

struct soak {
  struct load_task *t;
  struct load_node *nodes[4];
  struct load_crowd *groups[ALIVE], *providers, *callers;
  uint64_t asked, connected, dead, doomed; /* doomed: calls pending when their callers died */
  size_t claim;
  uint64_t rss_then; /* at the first claim */
};

static uint64_t total(const struct soak *s, enum load_figure f) {
  uint64_t sum = 0;
  for (size_t i = 0; i < 4; i++) sum += s->nodes[i]->now[f];
  return sum;
}

static uint64_t largest(const struct soak *s, enum load_figure f) {
  uint64_t most = 0;
  for (size_t i = 0; i < 4; i++)
    if (s->nodes[i]->now[f] > most) most = s->nodes[i]->now[f];
  return most;
}

/* ---- what comes and goes ----------------------------------------------------------------------------------------------------
 */
static void go(struct soak *s, struct load_crowd *c) {
  if (!c) return;
  for (size_t i = 0; i < c->count; i++) {
    if (i % 3 == 0) load_client_leave(&c->v[i]);
    if (i % 3 == 1) load_abuse_reset(&c->v[i]); /* the rest vanish when the group is freed */
  }
  load_wake(s->t->l);
  load_sleep(s->t, 0.05);
  s->connected += c->was_in;
  load_crowd_free(s->t, c);
}

static struct load_crowd *come(struct soak *s, size_t round, size_t clients) {
  struct load *l = s->t->l;
  struct load_crowd *c;
  if (load_crowd_new(l, s->nodes[round % 4], clients, &c)) return NULL;
  load_crowd_connect(c, 0, clients, AT_ONCE);
  return c;
}

/* Those of the last second have what they came for. */
static void settle(struct soak *s, struct load_crowd *c, size_t round, size_t services) {
  char name[64];
  if (!c) return;
  for (size_t i = 0; i < c->count; i++) {
    snprintf(name, sizeof name, "load.soak.r%zu.c%zu", round, i);
    load_client_subscribe(&c->v[i], name);
    if (i < services) load_client_serve(&c->v[i], name, 5000);
    load_abuse_open_streams(&c->v[i], 1);
  }
  load_wake(s->t->l);
}

/* A second of calls, in which one caller dies in mid-call and another takes its place. */
static bool calls(struct soak *s, double a_second, double until) {
  struct load *l = s->t->l;
  double from = load_seconds(l);
  uint64_t made = 0;
  size_t victim = (size_t)(from * 7) % CALLERS;
  bool died = false;
  while (load_seconds(l) < until) {
    for (; (double)made < (load_seconds(l) - from) * a_second; made++) {
      struct load_client *k = &s->callers->v[(victim + made) % CALLERS];
      if (k->in && !load_client_call(k, made % 2 ? "load.soak.p0" : "load.soak.p1", "1", 10000)) s->asked++;
    }
    load_wake(l);
    if (!died && load_seconds(l) > (from + until) / 2) {
      died = true;
      s->dead++;
      s->doomed += s->callers->v[victim].pending;
      load_abuse_vanish(&s->callers->v[victim]); /* comes back by itself */
    }
    if (!load_sleep(s->t, 0.01)) return false;
  }
  return true;
}

static void mark(struct soak *s, double minutes) {
  struct load *l = s->t->l;
  char what[64], expected[96], rss[32];
  if (s->claim == CLAIMS || minutes < claims[s->claim].minutes) return;
  for (size_t i = 0; i < 4; i++) load_fresh(s->t, s->nodes[i]);
  uint64_t bytes = largest(s, FIG_RSS), most = (uint64_t)claims[s->claim].megabytes * 1000000;
  snprintf(what, sizeof what, "%s: largest node, and all four together", claims[s->claim].name);
  snprintf(expected, sizeof expected, "claimed: %u MB, 1,000 conn., 100 serv., 10,000 cl.", claims[s->claim].megabytes);
  if (!l->stopping)
    load_row(l, s->t->name,
             (bytes <= most || !LOAD_JUDGES_MEMORY) && largest(s, FIG_PEERS) <= 1000 && largest(s, FIG_CLIENTS) <= 10000, what,
             expected, "%s; %llu links, %llu services, %llu clients, %llu streams, %llu calls", text_bytes((double)bytes, rss),
             (unsigned long long)total(s, FIG_PEERS), (unsigned long long)total(s, FIG_SERVICES),
             (unsigned long long)total(s, FIG_CLIENTS), (unsigned long long)total(s, FIG_STREAMS),
             (unsigned long long)total(s, FIG_CALLS));
  if (!s->claim) s->rss_then = bytes;
  s->claim++;
}

static bool calls_are_over(void *ctx) {
  const struct soak *s = ctx;
  return s->callers->answered + s->callers->failed >= s->asked;
}

static int begin(struct soak *s) {
  struct load *l = s->t->l;
  char name[64];
  int code = load_crowd_new(l, s->nodes[1], 2, &s->providers);
  if (!code) code = load_crowd_new(l, s->nodes[3], CALLERS, &s->callers);
  if (code) return code;
  /* A machine that stands still for the idle timeout ends nothing for good. */
  s->callers->reconnect = s->providers->reconnect = true;
  load_crowd_connect(s->providers, 0, 2, 2);
  load_crowd_connect(s->callers, 0, CALLERS, AT_ONCE);
  load_wait(s->t, load_crowd_decided, s->providers, s->t->l->patience);
  load_wait(s->t, load_crowd_decided, s->callers, s->t->l->patience);
  for (size_t i = 0; i < 2; i++) {
    snprintf(name, sizeof name, "load.soak.p%zu", i);
    load_client_serve(&s->providers->v[i], name, 300000);
  }
  load_wake(l);
  load_reach(s->t, &s->providers->confirmed, 2, s->t->l->patience);
  for (int tries = 0; tries < 50 && s->callers->answered < 2 && !l->stopping; tries++) { /* until the DHT has their records */
    s->callers->answered = s->callers->failed = 0;
    for (int i = 0; i < 2; i++) load_client_call(&s->callers->v[0], i ? "load.soak.p1" : "load.soak.p0", "1", 3000);
    load_wake(l);
    while (s->callers->answered + s->callers->failed < 2 && load_sleep(s->t, 0.05)) continue;
  }
  s->callers->answered = s->callers->failed = 0;
  s->callers->call_times = load_latency(l, s->t->name, "a call to another node", 500);
  return 0;
}

static void totals(struct soak *s, double seconds) {
  struct load *l = s->t->l;
  uint64_t bytes = largest(s, FIG_RSS), tenth = s->rss_then / 10, slack = tenth > (8u << 20) ? tenth : 8u << 20;
  char a[32], b[32], expected[64];
  load_note(l, "%.0f s stand for %.1f h: %llu clients came and went, %llu callers died, %llu calls made, %llu answered",
            seconds, seconds / 60, (unsigned long long)s->connected, (unsigned long long)s->dead, (unsigned long long)s->asked,
            (unsigned long long)s->callers->answered);
  load_row_is(l, s->t->name, "calls that ended", s->asked, s->callers->answered + s->callers->failed);
  load_row_is(l, s->t->name, "calls that failed: those of callers who died in mid-call", s->doomed, s->callers->failed);
  if (!s->rss_then) return;
  snprintf(expected, sizeof expected, "at most %s", text_bytes((double)(s->rss_then + slack), a));
  load_row(l, s->t->name, bytes <= s->rss_then + slack || !LOAD_JUDGES_MEMORY,
           "resident memory at the end against that of T+15 min", expected, "%s", text_bytes((double)bytes, b));
}

static int soak(struct load_task *t) {
  struct load *l = t->l;
  struct load_mesh *m = l->mesh;
  struct soak s = {.t = t, .nodes = {m->clients, m->services, m->streams, m->callers}};
  double seconds = l->o.duration ? (double)l->o.duration / 1000 : 1440, rate = 100 * FASTER * l->scale;
  size_t clients = load_scaled(l, 10000 * FASTER / 3600, 3), services = load_scaled(l, 2400 * FASTER / 86400 + 1, 1);
  int code = begin(&s);
  double from = load_seconds(l);
  uint64_t done = 0;
  load_phase(t, &done, (uint64_t)seconds, "seconds");
  for (size_t round = 0; !code && !l->stopping && load_seconds(l) - from < seconds; round++) {
    struct load_crowd **group = &s.groups[round % ALIVE];
    go(&s, *group);
    *group = come(&s, round, clients);
    if (round) settle(&s, s.groups[(round - 1) % ALIVE], round - 1, services);
    if (!calls(&s, rate, from + (double)round + 1)) break;
    done = round + 1;
    mark(&s, load_seconds(l) - from); /* a second is a minute */
  }
  load_wait(t, calls_are_over, &s, l->patience);
  if (!l->stopping && !code) totals(&s, load_seconds(l) - from);
  for (size_t i = 0; i < ALIVE; i++) go(&s, s.groups[i]);
  load_crowd_free(t, s.callers);
  load_crowd_free(t, s.providers);
  return code;
}

int load_soak(struct load *l) {
  struct load_mesh m = {.soak = true};
  struct load_task tasks[] = {
      {.name = "soak", .run = load_mesh_start}, {.name = "soak", .run = soak}, {.name = "soak", .run = load_mesh_rest}};
  int code = 0;
  if (load_relays_new(&l->relays)) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  l->mesh = &m;
  for (size_t i = 0; i < 3 && !code && !l->stopping; i++) {
    load_engine_run(l, &tasks[i], 1);
    code = tasks[i].code;
    if (i == 0 && !code && !l->stopping) code = load_mesh_warm(l);
  }
  load_nodes_end(l);
  load_relays_free(l->relays);
  l->relays = NULL;
  l->mesh = NULL;
  return code;
}
