/* load all: the six scenarios at once on a mesh of four nodes, slow subscribers and a partition in the middle. Each scenario
 * counts what one node holds, so each has a node of its own: clients come to the registry, services and streams to two
 * providers, callers to the third, and call the other two. The pool's model needs a node whose upkeep is off: that one is
 * beside the mesh, and so is the one that clients of MQTT fill to its limit. */
#include "load/scenarios/all.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "io/io.h"
#include "load/drive/abuse.h"
#include "load/drive/crowd.h"
#include "load/drive/nodes.h"
#include "load/drive/relay.h"
#include "load/report/report.h"
#include "load/scenarios/callers.h"
#include "load/scenarios/clients.h"
#include "load/scenarios/mesh.h"
#include "load/scenarios/mqtt.h"
#include "load/scenarios/pool.h"
#include "load/scenarios/services.h"
#include "load/scenarios/streams.h"

#define CUT_AFTER_S 4
#define COMMAND_MOST_S 60 /* of --partition */
#define COMMAND_REST_S 10 /* once the run stops */
#define SLOW_EACH 200     /* messages of 16 KiB: more than a client's window and queue hold */
#define SLOW_TIMES 16     /* so often at most, where the node has had no time yet to find them slow */
#define SLOW_SIZE 16384
#define SLOW_AHEAD 24

/* ---- partition --------------------------------------------------------------------------------------------------------------
 */
/* Waits for the user's command, which may hang. Half done it would leave the nodes parted, so it gets some time after Ctrl-C.
 */
static bool command_ends_well(struct load_task *t, pid_t pid) {
  nanotime until = time_add(io_now(), COMMAND_MOST_S * NS_SEC);
  int status = -1;
  bool hurries = false;
  pid_t done;
  while ((done = waitpid(pid, &status, WNOHANG)) == 0) {
    if (t->l->stopping && !hurries) until = time_min(until, time_add(io_now(), COMMAND_REST_S * NS_SEC));
    hurries = t->l->stopping;
    if (io_now() >= until) kill(-pid, SIGKILL);
    if (hurries)
      poll(NULL, 0, 20);
    else
      load_sleep(t, 0.02);
  }
  return done == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Nodes of this run are parted by their relays, given ones by the user's command. False: the command failed. */
static bool cut(struct load_task *t, bool on) {
  struct load *l = t->l;
  char sh[] = "sh", dash_c[] = "-c", text[1024];
  if (!l->o.nodes) {
    load_relays_cut(l->relays, 2, on);
    return true;
  }
  snprintf(text, sizeof text, "%.1000s %s >&2", l->o.partition, on ? "cut" : "heal"); /* standard output is the report's */
  char *const argv[] = {sh, dash_c, text, NULL};
  posix_spawnattr_t attr;
  sigset_t none;
  pid_t pid;
  sigemptyset(&none);
  posix_spawnattr_init(&attr);
  posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP); /* Ctrl-C reaches us alone */
  posix_spawnattr_setsigmask(&attr, &none);
  bool ok = posix_spawn(&pid, "/bin/sh", NULL, &attr, argv, environ) == 0;
  posix_spawnattr_destroy(&attr);
  ok = ok && command_ends_well(t, pid);
  if (!ok) load_row(l, t->name, false, "the command of --partition succeeds", "it does", "it does not: %.100s", text);
  return ok;
}

struct deaths {
  struct load_node **nodes;
  uint64_t before[4];
};
static bool two_dead_at_each(void *ctx) {
  const struct deaths *d = ctx;
  for (size_t i = 0; i < 4; i++)
    if (d->nodes[i]->now[FIG_DEATHS] < d->before[i] + 2) return false;
  return true;
}

static int partition(struct load_task *t) {
  struct load *l = t->l;
  struct load_mesh *m = l->mesh;
  struct load_node *nodes[4] = {m->clients, m->services, m->streams, m->callers};
  char what[96], dropped[64] = "";
  if (!m->parts || !load_mesh_ready(t) || !load_sleep(t, CUT_AFTER_S)) goto out;
  uint64_t before = l->relays ? load_relays_dropped(l->relays) : 0;
  load_phase(t, NULL, 0, "%s %s | %s %s are apart", nodes[0]->name, nodes[1]->name, nodes[2]->name, nodes[3]->name);
  struct deaths d = {.nodes = nodes};
  for (size_t i = 0; i < 4; i++) d.before[i] = nodes[i]->now[FIG_DEATHS];
  if (!cut(t, true)) {
    cut(t, false); /* it may be half done */
    goto out;
  }
  load_event(l, "partition");
  load_wait(t, two_dead_at_each, &d, l->patience);
  load_sleep(t, 1);
  uint64_t least = UINT64_MAX;
  for (size_t i = 0; i < 4; i++)
    if (nodes[i]->now[FIG_DEATHS] - d.before[i] < least) least = nodes[i]->now[FIG_DEATHS] - d.before[i];
  if (l->relays)
    snprintf(dropped, sizeof dropped, " (%llu datagrams dropped)",
             (unsigned long long)(load_relays_dropped(l->relays) - before));
  if (!l->stopping)
    load_row(l, t->name, least == 2, "a partition of two and two: each node holds two others for dead", "2", "%llu%s",
             (unsigned long long)least, dropped);
  if (!cut(t, false)) goto out;
  load_event(l, "healed");
  load_phase(t, NULL, 0, "the partition heals");
  for (size_t i = 0; i < 4 && !l->stopping; i++) {
    load_figure_is(t, nodes[i], FIG_PEERS, 3, l->patience);
    snprintf(what, sizeof what, "healed: %s is connected to the three others", nodes[i]->name);
    if (!l->stopping) load_row_is(l, t->name, what, 3, nodes[i]->now[FIG_PEERS]);
  }
out:
  m->healed = true;
  return 0;
}

/* ---- slow subscribers -------------------------------------------------------------------------------------------------------
 */
/* Publishes so many messages, in turn to each of the slow, none far ahead of the one that reads; how many went out. */
static uint64_t slow_publish(struct load_task *t, struct load_crowd *c, size_t clients, uint64_t before, uint64_t messages) {
  static const char payload[SLOW_SIZE];
  struct load *l = t->l;
  char topic[64];
  for (uint64_t i = before; i < before + messages;) {
    if (l->stopping) return i;
    snprintf(topic, sizeof topic, "slow.c%llu", (unsigned long long)(i % clients));
    int err =
        c->v[0].c ? client_publish(c->v[0].c, topic, slice_of(payload, sizeof payload), NULL, NULL, NULL) : MACULA_ECLOSED;
    if (!err) i++;
    if (err && err != MACULA_EFULL) return i;
    if (err || i % 8 == 0) { /* never more ahead of the reader than a part of its queue, however slow this machine is */
      load_wake(l);
      load_sleep(t, 0.01);
      load_reach(t, &c->got, i > SLOW_AHEAD ? i - SLOW_AHEAD : 0, l->patience);
    }
  }
  load_reach(t, &c->got, before + messages, l->patience);
  return before + messages;
}

/* Subscribers that live and do not read; another subscriber of the same node misses nothing. One that is stopped would be dead
 * to the node at its idle timeout. A queue may grow until the node has sent for 200 ms without an answer to it, which is a
 * matter of the machine: so messages are published until it has lost some. */
static int slow(struct load_task *t) {
  struct load *l = t->l;
  struct load_node *n = l->mesh->services;
  struct load_crowd *c, *lazy;
  char topic[64];
  size_t clients = load_scaled(l, 6, 2);
  uint64_t messages = clients * SLOW_EACH;
  if (!load_mesh_ready(t)) return 0;
  int code = load_crowd_new(l, n, 2, &c);
  if (code) return code;
  if ((code = load_crowd_new(l, n, clients, &lazy)) != 0) {
    load_crowd_free(t, c);
    return code;
  }
  load_crowd_connect(c, 0, 2, 2);
  load_crowd_connect(lazy, 0, clients, clients);
  load_wait(t, load_crowd_decided, c, l->patience);
  load_wait(t, load_crowd_decided, lazy, l->patience);
  load_client_subscribe(&c->v[1], "slow.*");
  for (size_t i = 0; i < clients; i++) {
    snprintf(topic, sizeof topic, "slow.c%zu", i);
    load_client_subscribe(&lazy->v[i], topic);
    load_abuse_stop_reading(&lazy->v[i]);
  }
  load_wake(l);
  load_reach(t, &c->confirmed, 1, l->patience);
  load_reach(t, &lazy->confirmed, clients, l->patience);
  load_fresh(t, n);
  uint64_t dropped = n->now[FIG_DROPPED], cut = n->now[FIG_SLOW];
  uint64_t due = 0, sent = 0, lost = 0;
  for (int i = 0; i < SLOW_TIMES && !lost && sent == due; i++) {
    sent = slow_publish(t, c, clients, due, messages);
    due += messages;
    load_fresh(t, n);
    lost = n->now[FIG_DROPPED] - dropped + n->now[FIG_SLOW] - cut;
  }
  if (!l->stopping) {
    load_row_is(l, t->name, "a subscriber beside slow ones gets every message", due, c->got);
    uint64_t away = n->now[FIG_DROPPED] - dropped;
    cut = n->now[FIG_SLOW] - cut;
    load_row(l, t->name, away + cut > 0, "slow subscribers lose messages or their connection, and hold up nobody", "some",
             "%llu messages dropped, %llu disconnected", (unsigned long long)away, (unsigned long long)cut);
  }
  load_crowd_free(t, lazy);
  load_crowd_free(t, c);
  return 0;
}

int load_all(struct load *l) {
  struct load_mesh m = {0};
  struct load_task first = {.name = "all", .run = load_mesh_start}, last = {.name = "all", .run = load_mesh_rest};
  struct load_task tasks[] = {
      {.name = "callers", .run = load_callers},   {.name = "clients", .run = load_clients},
      {.name = "services", .run = load_services}, {.name = "streams", .run = load_streams},
      {.name = "partition", .run = partition},    {.name = "slow", .run = slow},
      {.name = "pool", .run = load_pool},         {.name = "mqtt", .run = load_mqtt},
  };
  int code;
  size_t count = sizeof tasks / sizeof tasks[0];
  if (l->o.nodes && l->node_count != 4)
    return cli_invalid(MACULA_EINVAL,
                       "all needs the four nodes of one mesh: name them with --nodes ADDR,ADDR,ADDR,ADDR, or none");
  if (!load_pool_fits(l) || !load_mqtt_fits(l)) return EXIT_FAILED;
  if (l->o.nodes && !l->o.partition) load_note(l, "without --partition the given nodes stay connected");
  if (!l->o.nodes && load_relays_new(&l->relays)) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  l->mesh = &m;
  load_engine_run(l, &first, 1);
  code = first.code;
  if (!code && !l->stopping) code = load_mesh_warm(l);
  l->tasks_ended = 0;
  m.others = count - 1;
  if (!code && !l->stopping) load_engine_run(l, tasks, count);
  for (size_t i = 0; i < count && !code; i++) code = tasks[i].code;
  if (!code && !l->stopping) load_engine_run(l, &last, 1);
  load_nodes_end(l);
  load_relays_free(l->relays);
  l->relays = NULL;
  l->mesh = NULL;
  return code;
}
