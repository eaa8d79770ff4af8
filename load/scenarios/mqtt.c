/* load mqtt: clients of MQTT over TCP at the node's limit, their sessions, wills and ends.
 *
 * Number 0 looks on: it hears all wills and publishes. The next ones are keepers, whose sessions are kept while they are away
 * (one half by 3.1.1); then those whose sessions expire; the last third is another process, with a will each, that is killed.
 */
#include "load/scenarios/mqtt.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "load/drive/child.h"
#include "load/drive/devices.h"
#include "load/drive/memory.h"
#include "load/drive/nodes.h"
#include "load/drive/watch.h"
#include "load/report/latency.h"
#include "load/report/report.h"
#include "load/scenarios/mesh.h"

#define TO_ALL 4    /* messages to all */
#define TO_EACH 3   /* messages to each that is away */
#define EXPIRY_S 2  /* of the sessions that expire */
#define KEPT_S 3600 /* of those that are kept */
#define HALF_OPEN 1024
#define FILES_BESIDE 128 /* as the node counts them: its own, and sockets of UDP */
#define MOST_REFUSED 200 /* who comes in vain 250 times is not even answered: docs/mqtt.md */

struct fleet {
  struct load_task *t;
  struct load_node *n;
  struct load_devices *d;
  struct load_child *killed;
  size_t keepers, expiring, killable, limit, more;
  uint64_t base, base_subs;
};

static void plan(const struct load *l, struct fleet *f) {
  f->limit =
      load_scaled(l, strcmp(l->scenario, "mqtt") == 0 ? 10000 : 1000, 30); /* beside others it has a part of the machine */
  f->more = load_scaled(l, 100, 10);
  if (f->more > MOST_REFUSED) f->more = MOST_REFUSED;
  f->killable = f->expiring = f->limit / 3;
  f->keepers = f->limit - 1 - f->expiring - f->killable;
}

static size_t half_open(const struct fleet *f) { return f->limit < 64 ? 64 : f->limit < HALF_OPEN ? f->limit : HALF_OPEN; }

bool load_mqtt_fits(const struct load *l) {
  struct fleet f = {0};
  plan(l, &f);
  size_t node = f.limit + half_open(&f) + FILES_BESIDE, own = f.limit - f.killable + f.more + LOAD_FILES;
  return load_need_files(node > own ? node : own);
}

/* ---- those who are killed ---------------------------------------------------------------------------------------------------
 */
int load_mqtt_child(struct load_task *t) {
  struct load *l = t->l;
  struct load_devices *d;
  struct addr at;
  size_t first, count;
  char text[ADDR_TEXT_LEN];
  if (sscanf(l->o.child, "%zu,%zu,%79s", &first, &count, text) != 3 || addr_parse(text, 0, &at)) return EXIT_USAGE;
  if (!load_need_files(count + LOAD_FILES)) return EXIT_FAILED;
  int code = load_devices_new(l, &at, first, count, 0, &d);
  if (code) return code;
  for (size_t i = 0; i < count; i++) d->v[i].level = i % 2 ? MQTT_5 : MQTT_3_1_1;
  load_devices_connect(d, 0, count, &(struct load_connect){.clean = true, .will = true, .subscribe = true});
  load_wait(t, load_devices_decided, d, 300);
  if (d->round.in == count) load_child_stay(t);
  load_devices_free(d);
  return 0;
}

static int start_child(struct fleet *f) {
  char at[ADDR_TEXT_LEN], spec[ADDR_TEXT_LEN + 64];
  addr_text(&f->n->mqtt, at);
  snprintf(spec, sizeof spec, "%zu,%zu,%s", 1 + f->keepers + f->expiring, f->killable, at);
  return load_child_start_as(f->t, NULL, "mqtt", spec, &f->killed);
}

/* ---- in to the limit --------------------------------------------------------------------------------------------------------
 */
static void to_all(void *ctx, uint64_t i, char topic[64], char payload[32]) {
  (void)ctx;
  snprintf(topic, 64, DEVICES_ALL);
  snprintf(payload, 32, "%llu", (unsigned long long)i);
}

static void connect_all(struct fleet *f, size_t from, size_t count, const struct load_connect *how, const char *what) {
  load_phase(f->t, &f->d->round.in, count, "%s", what);
  load_devices_connect(f->d, from, count, how);
  load_wait(f->t, load_devices_decided, f->d, 300);
}

static void fill(struct fleet *f) {
  struct load *l = f->t->l;
  struct load_devices *d = f->d;
  char what[160];
  d->connect_times = load_latency(l, f->t->name, "connecting over TCP, until CONNACK", 2000);
  connect_all(f, 0, 1, &(struct load_connect){.clean = true, .subscribe = true, .hears_wills = true}, "the one that looks on");
  uint64_t in = d->round.in;
  connect_all(f, 1, f->keepers, &(struct load_connect){.subscribe = true, .expiry_s = KEPT_S}, "clients in");
  in += d->round.in;
  connect_all(f, 1 + f->keepers, f->expiring, &(struct load_connect){.subscribe = true, .expiry_s = EXPIRY_S}, "clients in");
  in += d->round.in;
  load_phase(f->t, NULL, 0, "those who will be killed come");
  load_wait(f->t, load_child_ready, f->killed, 300);
  if (!load_child_error(f->killed)) in += f->killable;
  connect_all(f, 1 + f->keepers + f->expiring, f->more, &(struct load_connect){.clean = true}, "more than there is room for");
  in += d->round.in;
  load_fresh(f->t, f->n);
  if (l->stopping) return;
  snprintf(what, sizeof what, "with a limit of %zu, of %zu clients of MQTT exactly the limit are in", f->limit,
           f->limit + f->more);
  load_row_is(l, f->t->name, what, f->limit, in);
  load_row_is(l, f->t->name, "the node counts as many", f->base + f->limit, f->n->now[FIG_CLIENTS]);
  load_row_most(l, f->t->name, "and never more", f->base + f->limit, f->n->most[FIG_CLIENTS]);
  load_row_is(l, f->t->name, "every other one is refused in its CONNACK: 0x97, 3 in 3.1.1", f->more, d->round.refused);
}

static void tell_all(struct fleet *f) {
  struct load *l = f->t->l;
  uint64_t expected = TO_ALL * (f->keepers + f->expiring);
  load_phase(f->t, &f->d->all, expected, "messages to all");
  load_devices_publish(f->d, &(struct load_post){.by = &f->d->v[0], .compose = to_all, .count = TO_ALL});
  load_wait(f->t, load_devices_published, f->d, l->patience);
  load_reach(f->t, &f->d->all, expected, l->patience);
  if (l->stopping) return;
  load_row_is(l, f->t->name, "each gets each message to all (QoS 1), once", expected, f->d->all);
  load_row_is(l, f->t->name, "and none loses its connection", 0, f->d->lost);
}

/* ---- ends -------------------------------------------------------------------------------------------------------------------
 */
static void kill_a_third(struct fleet *f) {
  struct load *l = f->t->l;
  struct load_devices *d = f->d;
  load_phase(f->t, &d->wills, f->killable, "wills of those who were killed");
  load_child_kill(f->killed);
  f->killed = NULL;
  load_event(l, "a third is killed");
  load_reach(f->t, &d->wills, f->killable, l->patience);
  load_figure_is(f->t, f->n, FIG_CLIENTS, f->base + f->limit - f->killable, l->patience);
  load_fresh(f->t, f->n);
  if (l->stopping) return;
  load_row(l, f->t->name, d->wills == f->killable && !d->repeated, "a third is killed: the will of each is published, once",
           "all", "%llu of %zu, %llu of them again", (unsigned long long)d->wills, f->killable,
           (unsigned long long)d->repeated);
  load_row_is(l, f->t->name, "and their entries are gone", f->base + f->limit - f->killable, f->n->now[FIG_CLIENTS]);
}

struct away {
  size_t from, count;
};
static void to_each(void *ctx, uint64_t i, char topic[64], char payload[32]) {
  const struct away *a = ctx;
  snprintf(topic, 64, DEVICES_OWN "%llu", (unsigned long long)(a->from + i % a->count));
  snprintf(payload, 32, "%llu", (unsigned long long)(i / a->count));
}

/* They go, every other one without a word, and this many messages come for each. */
static void go_away(struct fleet *f, struct away *a, uint64_t each) {
  struct load *l = f->t->l;
  for (size_t i = a->from; i < a->from + a->count; i++) {
    if (i % 2)
      load_device_leave(&f->d->v[i], false);
    else
      load_device_reset(&f->d->v[i]);
  }
  load_phase(f->t, &f->d->post.taken, a->count * each, "messages to those who are away");
  load_devices_publish(f->d, &(struct load_post){.by = &f->d->v[0], .compose = to_each, .ctx = a, .count = a->count * each});
  load_wait(f->t, load_devices_published, f->d, 120);
  if (!l->stopping)
    load_row_is(l, f->t->name, "messages to clients that are away, acknowledged to their publisher", a->count * each,
                f->d->post.taken);
}

static void expire(struct fleet *f) {
  struct load *l = f->t->l;
  struct away a = {1 + f->keepers, f->expiring};
  uint64_t left = f->base + 1 + f->keepers, own = f->d->own;
  go_away(f, &a, 1);
  load_phase(f->t, NULL, 0, "sessions expire");
  load_figure_is(f->t, f->n, FIG_CLIENTS, left, EXPIRY_S + l->patience);
  load_fresh(f->t, f->n);
  if (l->stopping) return;
  load_row_is(l, f->t->name, "sessions whose expiry interval is over are gone", left, f->n->now[FIG_CLIENTS]);
  connect_all(f, a.from, a.count, &(struct load_connect){.subscribe = true, .expiry_s = EXPIRY_S},
              "those who are forgotten return");
  if (l->stopping) return;
  load_row_is(l, f->t->name, "who returns later is in", a.count, f->d->round.in);
  load_row_is(l, f->t->name, "and has no session", 0, f->d->round.present);
  load_row_is(l, f->t->name, "nor what had waited for it", 0, f->d->own - own);
}

static void resume(struct fleet *f) {
  struct load *l = f->t->l;
  struct away a = {1, f->keepers};
  uint64_t own = f->d->own, expected = TO_EACH * f->keepers;
  go_away(f, &a, TO_EACH);
  load_fresh(f->t, f->n);
  if (l->stopping) return;
  load_row_is(l, f->t->name, "sessions that are kept count as clients", f->base + 1 + f->keepers + f->expiring,
              f->n->now[FIG_CLIENTS]);
  connect_all(f, a.from, a.count, &(struct load_connect){.expiry_s = KEPT_S}, "those whose sessions are kept return");
  load_reach(f->t, &f->d->own, own + expected, l->patience);
  if (l->stopping) return;
  load_row_is(l, f->t->name, "who returns in time has its session", a.count, f->d->round.present);
  load_row_is(l, f->t->name, "and gets what came meanwhile, in order and once", expected, f->d->own - own);
  load_row_is(l, f->t->name, "messages out of order, there twice or another's", 0, f->d->strange);
}

static bool none_has_a_connection(void *ctx) {
  const struct load_devices *d = ctx;
  for (size_t i = 0; i < d->count; i++)
    if (d->v[i].fd >= 0) return false;
  return true;
}

/* A session of 3.1.1 ends with its connection only if that was clean. */
static void leave(struct fleet *f) {
  struct load *l = f->t->l;
  size_t old = f->keepers / 2;
  load_row_is(l, f->t->name, "no connection has been lost in all this", 0, f->d->lost);
  load_phase(f->t, NULL, 0, "leaving");
  for (size_t i = 0; i < f->d->count; i++) load_device_leave(&f->d->v[i], true);
  load_wait(f->t, none_has_a_connection, f->d, l->patience);
  connect_all(f, 1, old, &(struct load_connect){.clean = true}, "sessions of 3.1.1 end");
  for (size_t i = 1; i <= old; i++) load_device_leave(&f->d->v[i], true);
  load_figure_below(f->t, f->n, FIG_CLIENTS, f->base, l->patience);
  load_figure_below(f->t, f->n, FIG_SUBS, f->base_subs, l->patience);
  load_fresh(f->t, f->n);
  if (l->stopping) return;
  load_row_most(l, f->t->name, "no client entry is left afterwards", f->base, f->n->now[FIG_CLIENTS]);
  load_row_most(l, f->t->name, "no session of MQTT", 0, f->n->now[FIG_MQTT]);
  load_row_most(l, f->t->name, "no subscription", f->base_subs, f->n->now[FIG_SUBS]);
  load_rows_memory(f->t, f->n, true);
}

/* ---- the scenario -----------------------------------------------------------------------------------------------------------
 */
static int begin(struct fleet *f) {
  char max[24], half[24];
  snprintf(max, sizeof max, "%zu", f->limit);
  snprintf(half, sizeof half, "%zu", half_open(f));
  const char *args[] = {"--mqtt", "127.0.0.1:0", "--max-clients", max, "--max-half-open", half, "--mqtt-offline", max, NULL};
  int code = load_node_start(f->t, "clients of MQTT come to its limit, and go", args, &f->n);
  if (code) return code;
  f->t->node = f->n;
  size_t own = 1 + f->keepers + f->expiring + f->more;
  if ((code = load_devices_new(f->t->l, &f->n->mqtt, 0, own, f->limit, &f->d))) return code;
  for (size_t i = 1; i <= f->keepers / 2; i++) f->d->v[i].level = MQTT_3_1_1;
  for (size_t i = own - f->more; i < own; i++) {
    f->d->v[i].number += f->killable; /* those between are the other process's */
    if (i % 2) f->d->v[i].level = MQTT_3_1_1;
  }
  return start_child(f);
}

int load_mqtt(struct load_task *t) {
  struct load *l = t->l;
  struct fleet f = {.t = t};
  static void (*const steps[])(struct fleet *) = {fill, tell_all, kill_a_third, expire, resume, leave};
  plan(l, &f);
  if (!load_mqtt_fits(l)) return EXIT_FAILED;
  int code = begin(&f);
  if (!code) {
    f.base = f.n->now[FIG_CLIENTS];
    f.base_subs = f.n->now[FIG_SUBS];
  }
  for (size_t i = 0; i < sizeof steps / sizeof steps[0] && !code && !l->stopping; i++) steps[i](&f);
  if (f.d && f.d->why[0] && l->failures) load_note(l, "the last failure of a client of MQTT: %s", f.d->why);
  if (f.killed) load_child_kill(f.killed);
  load_devices_free(f.d);
  if (f.n && !l->stopping) load_node_stop(f.n);
  return code;
}
