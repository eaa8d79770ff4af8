#include "load/scenarios/mesh.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "load/drive/memory.h"
#include "load/drive/nodes.h"
#include "load/drive/relay.h"
#include "load/drive/warm.h"
#include "load/report/report.h"

/* ---- warming up
 * --------------------------------------------------------------------------------------------------------------
 */
static int warm_clients(struct load_task *t) {
  struct load_node *n = t->l->mesh->clients;
  uint64_t max = n->now[FIG_CLIENTS_MAX], now = n->now[FIG_CLIENTS]; /* a given one may be full */
  size_t clients = !n->given ? load_scaled(t->l, 1500, 50) : max > now + 20 ? max - now : 20;
  return load_warm(t, n, clients * 9 / 10, 0, 1);
}

static int warm_services(struct load_task *t) {
  size_t services = load_scaled(t->l, 10000, 200);
  return load_warm(t, t->l->mesh->services, services / 100, services, 0);
}

static int warm_streams(struct load_task *t) {
  size_t clients = load_scaled(t->l, 500, 20);
  return load_warm(t, t->l->mesh->streams, clients, clients, 1);
}

static int warm_callers(struct load_task *t) { return load_warm(t, t->l->mesh->callers, load_scaled(t->l, 200, 20), 0, 1); }

static int rest_once(struct load_task *t) {
  struct load_mesh *m = t->l->mesh;
  struct load_node *nodes[4] = {m->clients, m->services, m->streams, m->callers};
  load_phase(t, NULL, 0, "resting once");
  load_sleep(t, 12); /* unused heap goes back every 5 s */
  for (size_t i = 0; i < 4; i++) {
    load_fresh(t, nodes[i]);
    m->rss_start[i] = nodes[i]->now[FIG_RSS];
  }
  return 0;
}

/* All at once, as the load will be: what stays in memory for long then lies between what does not. */
int load_mesh_warm(struct load *l) {
  struct load_task warm[] = {{.name = "warm-up", .run = warm_clients},
                             {.name = "warm-up", .run = warm_services},
                             {.name = "warm-up", .run = warm_streams},
                             {.name = "warm-up", .run = warm_callers}},
                   rest = {.name = "warm-up", .run = rest_once};
  int code = 0;
  load_event(l, "warm-up");
  l->tasks_ended = 0; /* the services go first, while the others are there */
  load_engine_run(l, warm, 4);
  for (size_t i = 0; i < 4 && !code; i++) code = warm[i].code;
  if (!code && !l->stopping) load_engine_run(l, &rest, 1);
  load_event(l, "load");
  return code;
}

/* ---- the mesh ---------------------------------------------------------------------------------------------------------------
 */
static const char *role_of(const struct load_mesh *m, size_t i) {
  static const char *const all[4] = {"filled with clients to its limit", "services, slow subscribers, providers",
                                     "clients that go in every way, providers", "callers"},
                           *const soak[4] = {"clients come and go", "clients come and go, providers", "clients come and go",
                                             "clients come and go, callers"};
  return (m->soak ? soak : all)[i];
}

static int start_nodes(struct load_task *t, struct load_node **const nodes[4]) {
  struct load *l = t->l;
  struct load_mesh *m = l->mesh;
  char join[200] = "", advertise[64], clients[24], services[24];
  int code = 0;
  load_phase(t, NULL, 0, "nodes start");
  m->parts = true;
  snprintf(clients, sizeof clients, "%llu", (unsigned long long)load_scaled(l, m->soak ? 10000 : 1500, 50));
  snprintf(services, sizeof services, "%llu", (unsigned long long)load_scaled(l, 10000, 200) + 200);
  for (size_t i = 0; i < 4 && !code; i++) {
    const char *first[] = {"--max-clients", clients, NULL}, *others[] = {"--join", join, "--max-services", services, NULL};
    uint16_t relay = 0;
    if ((code = load_relay_add(l->relays, &relay)) != 0) return code;
    snprintf(advertise, sizeof advertise, "127.0.0.1:%u", relay);
    struct load_start how = {.role = role_of(m, i), .args = i ? others : first, .advertise = advertise};
    code = load_node_start_with(t, &how, nodes[i]);
    if (code) break;
    load_relay_aim(l->relays, i, addr_port(&(*nodes[i])->addr));
    if (i == 0) snprintf(join, sizeof join, "macula://%.64s@%s", (*nodes[0])->text + 9, advertise);
  }
  return code;
}

static int take_given(struct load_task *t, struct load_node **const nodes[4]) {
  struct load *l = t->l;
  load_phase(t, NULL, 0, "nodes are asked");
  l->mesh->parts = l->o.partition != NULL;
  for (size_t i = 0; i < 4; i++) {
    *nodes[i] = l->nodes[i];
    load_node_role(*nodes[i], role_of(l->mesh, i));
    if (!load_fresh(t, *nodes[i])) return EXIT_FAILED;
  }
  return 0;
}

int load_mesh_start(struct load_task *t) {
  struct load *l = t->l;
  struct load_mesh *m = l->mesh;
  struct load_node **const nodes[4] = {&m->clients, &m->services, &m->streams, &m->callers};
  int code = l->o.nodes ? take_given(t, nodes) : start_nodes(t, nodes);
  for (size_t i = 0; i < 4 && !code; i++) load_figure_is(t, *nodes[i], FIG_PEERS, 3, l->patience);
  for (size_t i = 0; i < 4 && !code && !l->stopping; i++) {
    char what[96];
    snprintf(what, sizeof what, "%s is connected to the three others", (*nodes[i])->name);
    load_row_is(l, t->name, what, 3, (*nodes[i])->now[FIG_PEERS]);
    memcpy(m->base[i], (*nodes[i])->now, sizeof m->base[i]);
  }
  return code;
}

static bool is_ready(void *mesh) { return ((struct load_mesh *)mesh)->providers_ready; }

bool load_mesh_ready(struct load_task *t) {
  struct load *l = t->l;
  bool ready = load_wait(t, is_ready, l->mesh, 2 * l->patience);
  if (!ready && !l->stopping)
    load_row(l, t->name, false, "begins when the callers' providers are there", "it does", "they are not");
  return ready;
}

/* ---- the end ----------------------------------------------------------------------------------------------------------------
 */
int load_mesh_rest(struct load_task *t) {
  struct load *l = t->l;
  struct load_mesh *m = l->mesh;
  struct load_node *nodes[4] = {m->clients, m->services, m->streams, m->callers};
  static const struct {
    enum load_figure f;
    const char *what;
  } back[] = {{FIG_CLIENTS, "client entries"},
              {FIG_SUBS, "subscriptions"},
              {FIG_SERVICES, "services"},
              {FIG_CALLS, "pending calls"},
              {FIG_ASKS, "operators' questions"}};
  char what[96];
  load_phase(t, NULL, 0, "resting");
  load_event(l, "rest");
  for (size_t i = 0; i < 4; i++) {
    for (size_t k = 0; k < sizeof back / sizeof back[0]; k++) {
      uint64_t base = m->base[i][back[k].f];
      load_figure_is(t, nodes[i], back[k].f, base, load_idle_s(nodes[i]) + l->patience);
      if (l->stopping) return 0;
      snprintf(what, sizeof what, "%s left at %s in the end", back[k].what, nodes[i]->name);
      load_row_is(l, t->name, what, base, nodes[i]->now[back[k].f]);
    }
    nodes[i]->rss_start = m->rss_start[i];
    load_rows_memory(t, nodes[i], true);
  }
  return 0;
}
