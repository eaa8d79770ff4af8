/* load services: what is renewed stays and answers, what is not is gone at its TTL. */
#include "load/scenarios/services.h"

#include <string.h>

#include "cli/cli.h"
#include "load/drive/abuse.h"
#include "load/drive/crowd.h"
#include "load/drive/memory.h"
#include "load/drive/nodes.h"
#include "load/drive/warm.h"
#include "load/drive/watch.h"
#include "load/report/latency.h"
#include "load/report/report.h"
#include "load/scenarios/mesh.h"

#define AT_ONCE 32
#define A_CLIENT 200  /* services: below the node's own limit a client */
#define CALL_MS 20000 /* that it is answered is judged, not how soon */
#define TTL_S 5
#define DAY_ALIVE 100
#define WARM_FROM 1000 /* services of each half: fewer make no difference that is judged */

static void name_of(char ret[64], const char *kind, size_t i) { snprintf(ret, 64, "load.%s.s%zu", kind, i); }

struct seen {
  uint64_t count, answered, gone, other;
  int err; /* the last of `other` */
};

static void on_lookup(void *ctx, macula_client client, const macula_result *r) {
  struct seen *s = ctx;
  (void)client;
  s->count++;
  if (!r->err)
    s->answered++;
  else if (r->err == MACULA_NO_SUCH_PROCEDURE || r->err == MACULA_NO_PROVIDERS || r->err == MACULA_DHT_TIMEOUT)
    s->gone++;
  else
    s->other++, s->err = r->err;
}

/* One call to each of `count` services of a kind, spread over the `total`; by clients in turn, since the lookups that one may
 * begin are limited. */
static void call_some(struct load_client *callers, size_t n, const char *kind, size_t total, size_t count, struct seen *s) {
  macula_call_options o = {.timeout_ms = CALL_MS};
  char name[64];
  for (size_t i = 0; i < count; i++) {
    struct load_client *k = &callers[i % n];
    name_of(name, kind, i * total / count);
    int err = k->c ? client_call(k->c, name, slice_str("1"), &o, on_lookup, s, NULL) : MACULA_ECLOSED;
    if (err) {
      s->count++;
      s->other++;
      s->err = err;
    }
  }
  load_wake(callers->crowd->l);
}

static void row_of_calls(struct load_task *t, const char *what, uint64_t expected, uint64_t seen, const struct seen *s) {
  char a[32], b[32], why[64] = "";
  if (expected != seen && s->other)
    snprintf(why, sizeof why, "; others, the last: %s", macula_err_name(s->err));
  else if (expected != seen && s->count < expected)
    snprintf(why, sizeof why, "; not all have ended");
  load_row(t->l, t->name, expected == seen, what, text_number(expected, a), "%s%s", text_number(seen, b), why);
}

/* Calls `a_second` of the renewed services until the time is over; those that are not answered are counted. */
static bool call_until(struct load_task *t, struct load_client *caller, size_t total, size_t *at, double until,
                       double a_second) {
  struct load *l = t->l;
  double from = load_seconds(l), asked = 0;
  char name[64];
  while (load_seconds(l) < until) {
    for (; asked < (load_seconds(l) - from) * a_second; asked++) {
      name_of(name, "kept", (*at)++ % total);
      if (load_client_call(caller, name, "1", CALL_MS)) caller->crowd->failed++;
    }
    load_wake(l);
    if (!load_sleep(t, 0.01)) return false;
  }
  return true;
}

static bool calls_are_over(void *ctx) { return ((struct load_client *)ctx)->pending == 0; }

/* Of `sample` services of a kind, those that the DHT has a record of. */
static uint64_t in_the_dht(struct load_task *t, struct load_node *n, const char *kind, size_t total, size_t sample) {
  uint64_t found = 0;
  char name[64];
  for (size_t i = 0; i < sample && !t->l->stopping; i++) {
    int err;
    name_of(name, kind, i * total / sample);
    json_t *j = load_ask(t, n, "com.macula.node.dht_get", json_pack("{s:s}", "key", name), &err);
    found += json_array_size(json_object_get(j, "records")) > 0;
    json_decref(j);
  }
  return found;
}

/* Whose services the node has: "load.KIND.…" by kind, others by their first part. */
static void whose(struct load_task *t, struct load_node *n, char *ret_text, size_t size) {
  json_t *kinds = json_object(), *row, *count;
  const char *kind;
  size_t total = 1, i, at = 0, from = 0, got = 1;
  for (; got && from < total && !t->l->stopping; from += got) {
    int err;
    json_t *j = load_ask(t, n, "com.macula.node.services", json_pack("{s:I}", "offset", (json_int_t)from), &err);
    total = (size_t)json_integer_value(json_object_get(j, "total"));
    got = json_array_size(json_object_get(j, "services"));
    json_array_foreach(json_object_get(j, "services"), i, row) {
      const char *name = json_string_value(json_object_get(row, "procedure"));
      char first[64];
      if (!name) continue;
      if (strncmp(name, "load.", 5) == 0) name += 5;
      snprintf(first, sizeof first, "%.*s", (int)strcspn(name, "."), name);
      json_object_set_new(kinds, first, json_integer(json_integer_value(json_object_get(kinds, first)) + 1));
    }
    json_decref(j);
  }
  ret_text[0] = 0;
  json_object_foreach(kinds, kind, count) if (at < size) at +=
      (size_t)snprintf(ret_text + at, size - at, " %s:%lld", kind, (long long)json_integer_value(count));
  json_decref(kinds);
}

static void row_of_services(struct load_task *t, struct load_node *n, const char *what, uint64_t expected) {
  char a[32], b[32], those[200] = "";
  uint64_t seen = n->now[FIG_SERVICES];
  if (seen != expected) whose(t, n, those, sizeof those);
  load_row(t->l, t->name, seen == expected, what, text_number(expected, a), "%s%s%s", text_number(seen, b),
           those[0] ? "; then" : "", those);
}

/* The renewing clients are the first half. */
static void advertise(struct load_task *t, struct load_crowd *c, size_t providers, size_t each) {
  char name[64];
  for (size_t i = 0; i < 2 * providers; i++)
    for (size_t k = 0; k < each; k++) {
      name_of(name, i < providers ? "kept" : "left", (i % providers) * each + k);
      load_client_serve(&c->v[i], name, TTL_S * 1000);
    }
  load_wake(t->l);
  load_phase(t, &c->confirmed, 2 * providers * each, "services registered");
  load_reach(t, &c->confirmed, 2 * providers * each, 120);
  for (size_t i = providers; i < 2 * providers; i++) load_abuse_stop_renewing(&c->v[i]);
}

static void expire(struct load_task *t, struct load_node *n, struct load_crowd *c, size_t providers, size_t each,
                   uint64_t base) {
  struct load *l = t->l;
  struct load_client *caller = &c->v[2 * providers];
  size_t half = providers * each, sample = half < 500 ? half : 500, records = half < 50 ? half : 50, at = 0;
  struct seen kept = {0}, left = {0};
  uint64_t bytes = n->now[FIG_SERVICE_BYTES];
  double from = load_seconds(l);
  c->call_times = load_latency(l, t->name, "a call to a renewed service", 250);
  advertise(t, c, providers, each);
  if (l->stopping) return;
  double registered = load_seconds(l); /* the last one: its time is over at most TTL after this */
  load_fresh(t, n);
  if (registered - from < TTL_S) row_of_services(t, n, "services registered", base + 2 * half);
  load_phase(t, &c->answered, (uint64_t)(200 * TTL_S * 3), "calls answered");
  if (!call_until(t, caller, half, &at, registered + TTL_S + 1, 200)) return;
  load_fresh(t, n);
  row_of_services(t, n, "at TTL + 1 s the renewed half is there, the other is gone", base + half);
  call_some(c->v, providers, "left", half, sample, &left);
  load_reach(t, &left.count, sample, CALL_MS / 1000 + 5);
  row_of_calls(t, "calls to services that were not renewed read no_such_procedure", sample, left.gone, &left);
  uint64_t found = in_the_dht(t, n, "left", half, records);
  for (double until = load_seconds(l) + 90; l->mesh && found && load_seconds(l) < until && load_sleep(t, 1);)
    found = in_the_dht(t, n, "left", half, records); /* holders in the other half hear of it when the mesh has healed */
  if (!l->stopping) load_row_is(l, t->name, "records of them in the DHT", 0, found);
  if (!l->stopping)
    load_row_is(l, t->name, "records in the DHT of those that were renewed", records, in_the_dht(t, n, "kept", half, records));
  if (!call_until(t, caller, half, &at, load_seconds(l) + 2 * TTL_S, 200)) return; /* more than one renewal */
  load_wait(t, calls_are_over, caller, CALL_MS / 1000 + 5);
  load_fresh(t, n);
  if (l->stopping) return;
  row_of_services(t, n, "two TTLs later the renewed ones are still there", base + half);
  load_row_is(l, t->name, "calls to them all the time that were not answered", 0, c->failed);
  call_some(c->v + providers, providers, "kept", half, sample, &kept);
  load_reach(t, &kept.count, sample, CALL_MS / 1000 + 5);
  row_of_calls(t, "each of them still answers", sample, kept.answered, &kept);
  c->call_times = NULL;
  load_phase(t, NULL, 0, "leaving");
  load_crowd_leave(c, 0, c->count);
  load_figure_is(t, n, FIG_SERVICES, base, l->patience);
  if (l->stopping) return;
  row_of_services(t, n, "when their clients leave, so do they", base);
  load_row_most(l, t->name, "bytes of the table of services return", bytes + 4096, n->now[FIG_SERVICE_BYTES]);
}

/* A day in which each hour brings its services and no one takes them back: only as many are alive as were added within a TTL.
 */
static void day(struct load_task *t, struct load_node *n, size_t total, uint64_t base) {
  struct load *l = t->l;
  struct load_crowd *c;
  char name[64];
  double rate = DAY_ALIVE; /* a second, with a TTL of 1 s */
  size_t providers = total / A_CLIENT + 1, at = 0;
  if (load_crowd_new(l, n, providers, &c)) return;
  load_crowd_connect(c, 0, providers, AT_ONCE);
  load_wait(t, load_crowd_decided, c, 60);
  load_node_mark(n);
  load_phase(t, &c->confirmed, total, "services of a simulated day");
  double from = load_seconds(l);
  while (at < total && !l->stopping) {
    for (; at < total && (double)at < (load_seconds(l) - from) * rate; at++) {
      struct load_client *k = &c->v[at / A_CLIENT];
      name_of(name, "day", at);
      load_client_serve(k, name, 1000);
      load_abuse_stop_renewing(k);
    }
    load_wake(l);
    load_sleep(t, 0.01);
  }
  load_sleep(t, 2);
  load_fresh(t, n);
  if (!l->stopping) {
    char what[128];
    load_row_is(l, t->name, "services added in a simulated day", total, c->confirmed);
    snprintf(what, sizeof what, "%d alive in it: never more than were added within TTL + 1 s", DAY_ALIVE);
    load_row_most(l, t->name, what, base + 2 * DAY_ALIVE, n->most[FIG_SERVICES]);
    row_of_services(t, n, "none of them is left at TTL + 1 s", base);
  }
  load_crowd_free(t, c);
}

int load_services(struct load_task *t) {
  struct load *l = t->l;
  struct load_node *n;
  struct load_crowd *c;
  size_t half = load_scaled(l, 5000, 20), providers = (half + A_CLIENT - 1) / A_CLIENT, each = half / providers;
  char max[24];
  snprintf(max, sizeof max, "%llu", (unsigned long long)load_scaled(l, 10000, 200) + 100);
  const char *args[] = {"--max-services", max, NULL};
  if (l->mesh && !load_mesh_ready(t)) return 0;
  n = l->mesh ? l->mesh->services : NULL;
  int code = n ? 0 : load_node_take(t, "services with a TTL", args, &n);
  if (l->mesh) load_fresh(t, n);
  if (code || (code = load_crowd_new(l, n, 2 * providers + 1, &c))) return code;
  uint64_t base = n->now[FIG_SERVICES];
  t->node = n;
  if (!l->mesh && half >= WARM_FROM) { /* the DHT keeps tombstones of what was withdrawn */
    load_warm(t, n, 2 * providers, 2 * half, 0);
    load_phase(t, NULL, 0, "resting once");
    load_sleep(t, 12);
    load_fresh(t, n);
    base = n->now[FIG_SERVICES];
  }
  load_node_mark(n);
  uint64_t start = n->rss_start;
  load_crowd_connect(c, 0, c->count, AT_ONCE);
  load_wait(t, load_crowd_decided, c, 120);
  if (!l->stopping) expire(t, n, c, providers, each, base);
  load_crowd_free(t, c);
  if (!l->stopping) day(t, n, load_scaled(l, 2400, 240), base);
  n->rss_start = start;
  if (!l->stopping) load_rows_memory(t, n, true);
  return 0;
}
