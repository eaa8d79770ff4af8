/* load pool: a node with room for fewer connections than it has peers, checked request by request against a model. */
#include "load/scenarios/pool.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "cli/cli.h"
#include "cli/histogram.h"
#include "io/io.h"
#include "load/drive/light.h"
#include "load/drive/lru.h"
#include "load/drive/memory.h"
#include "load/drive/nodes.h"
#include "load/drive/watch.h"
#include "load/report/latency.h"
#include "load/report/report.h"

#define FILES_BESIDES 128

struct pool {
  struct load_task *t;
  struct load_node *n;
  struct light **peers;
  size_t count, max, at_once;
  struct load_lru model;
  uint32_t *dialling; /* by peer: requests on their way that dial it */
  struct rng_seeded rng;
  uint64_t asked, answered, failed, dialled_anew, not_dialled, pending;
  int err;
  bool skewed;
  uint64_t total;
  struct histogram *hit, *dial;
};

struct request {
  struct pool *p;
  size_t peer;
  bool must_dial, shares; /* shares: another's dial of the peer was under way */
  nanotime at;
};

static void ask_more(struct pool *p);

static void on_pong(void *ctx, macula_client client, const macula_result *r) {
  struct request *q = ctx;
  struct pool *p = q->p;
  (void)client;
  json_t *j = r->err ? NULL : json_loadb(r->data, r->len, 0, NULL);
  p->pending--;
  p->answered++;
  if (q->must_dial) p->dialling[q->peer]--;
  if (!j) {
    p->failed++;
    p->err = r->err;
  } else {
    bool dialled = json_is_true(json_object_get(j, "dialled"));
    if (dialled && !q->must_dial && !q->shares) p->dialled_anew++;
    if (!dialled && q->must_dial) p->not_dialled++;
    struct histogram *h = dialled ? p->dial : p->hit;
    if (h) histogram_add(h, io_now() - q->at);
  }
  json_decref(j);
  free(q);
  ask_more(p);
}

/* Few peers get most of the requests: rank = count * u^4. */
static size_t choose(struct pool *p) {
  if (!p->skewed) return (size_t)p->asked % p->count;
  double u = (double)(rng_u64(rng_seeded_view(&p->rng)) >> 11) / 9007199254740992.0;
  size_t rank = (size_t)((double)p->count * pow(u, 4));
  return rank < p->count ? rank : p->count - 1;
}

static void ask_more(struct pool *p) {
  macula_call_options o = {.timeout_ms = 15000};
  while (p->asked < p->total && p->pending < p->at_once && p->n->op && !p->t->l->stopping) {
    struct request *q = malloc(sizeof *q);
    char args[200];
    if (!q) return;
    size_t peer = choose(p);
    *q = (struct request){.p = p, .peer = peer, .at = io_now()};
    snprintf(args, sizeof args, "{\"node\":\"%s\"}", p->peers[peer]->text);
    int err = client_call(p->n->op, "com.macula.node.ping", slice_str(args), &o, on_pong, q, NULL);
    if (err) { /* the operator's connection is lost: the model is of no use any more */
      free(q);
      p->failed++;
      p->err = err;
      p->total = p->asked;
      return;
    }
    q->shares = p->dialling[peer] > 0;
    q->must_dial = load_lru_use(&p->model, peer);
    if (q->must_dial) p->dialling[peer]++;
    p->asked++;
    p->pending++;
  }
}

static bool requests_are_over(void *ctx) {
  const struct pool *p = ctx;
  return p->asked >= p->total && !p->pending;
}

static bool requests(struct pool *p, uint64_t count, bool skewed, double seconds) {
  p->asked = p->answered = 0;
  p->total = count;
  p->skewed = skewed;
  load_phase(p->t, &p->answered, count, skewed ? "requests" : "peers dialled");
  ask_more(p);
  load_wake(p->t->l);
  return load_wait(p->t, requests_are_over, p, seconds);
}

/* ---- peers ------------------------------------------------------------------------------------------------------------------
 */
static int make_peers(struct pool *p, uint64_t *made) {
  struct load *l = p->t->l;
  for (size_t i = 0; i < p->count && !l->stopping; i++) {
    int err = MACULA_EBUSY;
    while (err == MACULA_EBUSY) { /* a port that was free a moment ago */
      uint16_t port = load_port(l);
      if (!port)
        return cli_failed(MACULA_EFULL, NULL,
                          "not enough UDP ports are free from 5001 on: end what holds them, or lower --scale");
      err = light_new(&l->engine->lights, port, &p->peers[i]);
    }
    if (err) return cli_failed(err, NULL, NULL);
    (*made)++;
    if (i % 16 == 15) load_sleep(p->t, 0); /* the loop gets its turn */
  }
  return 0;
}

static uint64_t open_at_peers(const struct pool *p) {
  uint64_t sum = 0;
  for (size_t i = 0; i < p->count; i++) sum += light_connections(p->peers[i]);
  return sum;
}

static bool peers_settled(void *ctx) {
  const struct pool *p = ctx;
  return open_at_peers(p) <= p->model.count;
}

/* Peers whose connection is open against the model, or closed against it. */
static uint64_t unlike_the_model(const struct pool *p) {
  uint64_t n = 0;
  for (size_t i = 0; i < p->count; i++) n += (light_connections(p->peers[i]) != 0) != load_lru_has(&p->model, i);
  return n;
}

static void count_rows(struct pool *p, const char *when) {
  struct load *l = p->t->l;
  char what[128];
  load_wait(p->t, peers_settled, p, l->patience);
  load_fresh(p->t, p->n);
  if (l->stopping) return;
  snprintf(what, sizeof what, "%s: connections of the node at most", when);
  load_row_most(l, p->t->name, what, p->max, p->n->most[FIG_PEERS]);
  snprintf(what, sizeof what, "%s: connections left open at peers", when);
  load_row_most(l, p->t->name, what, p->max, open_at_peers(p));
  snprintf(what, sizeof what, "%s: peers connected unlike a least-recently-used model", when);
  load_row_is(l, p->t->name, what, 0, unlike_the_model(p));
  snprintf(what, sizeof what, "%s: requests that failed", when);
  load_row(l, p->t->name, !p->failed, what, "0", "%llu%s%s", (unsigned long long)p->failed, p->failed ? ": " : "",
           p->failed ? macula_err_name(p->err) : "");
  p->failed = 0;
}

static void play(struct pool *p) {
  struct load *l = p->t->l;
  uint64_t evicted = p->n->now[FIG_EVICTED], count = load_scaled(l, 100000, 2000);
  char what[128], a[32], b[32], expected[96];
  requests(p, p->count, false, 300);
  count_rows(p, "each peer once");
  if (l->stopping) return;
  snprintf(what, sizeof what, "%zu peers dialled with a pool of %zu: evictions", p->count, p->max);
  load_row_is(l, p->t->name, what, p->count - p->max, p->n->now[FIG_EVICTED] - evicted);
  load_node_mark(p->n);
  uint64_t flat = p->n->rss_start;
  requests(p, count, true, 900);
  count_rows(p, "skewed requests");
  if (l->stopping) return;
  load_row_is(l, p->t->name, "skewed requests made", count, p->answered);
  load_row_is(l, p->t->name, "connections that were there and were dialled again", 0, p->dialled_anew);
  load_row_is(l, p->t->name, "connections used that the model had evicted", 0, p->not_dialled);
  load_row_is(l, p->t->name, "evictions, as the model counts them", p->model.evictions, p->n->now[FIG_EVICTED] - evicted);
  uint64_t most = flat + (flat / 10 > (8u << 20) ? flat / 10 : 8u << 20);
  snprintf(expected, sizeof expected, "at most %s", text_bytes((double)most, a));
  load_row(l, p->t->name, p->n->now[FIG_RSS] <= most || !LOAD_JUDGES_MEMORY,
           "resident memory stays as it was when the pool was first full", expected, "%s (was %s)",
           text_bytes((double)p->n->now[FIG_RSS], a), text_bytes((double)flat, b));
  load_rows_memory(p->t, p->n, false);
}

static size_t peers_of(const struct load *l) { return load_scaled(l, 1500, 30); }

bool load_pool_fits(const struct load *l) {
  char a[32], b[32];
  if (peers_of(l) + FILES_BESIDES <= 65535 - LOAD_PORT) return load_need_files(peers_of(l) + FILES_BESIDES);
  cli_error(macula_err_name(MACULA_EFULL),
            "this scale needs %s UDP ports, and from %u on there are %s: ask for less with --scale",
            text_number(peers_of(l), a), LOAD_PORT, text_number(65535 - LOAD_PORT, b));
  return false;
}

int load_pool(struct load_task *t) {
  struct load *l = t->l;
  struct pool p = {.t = t, .count = peers_of(l)};
  char max[24];
  uint64_t made = 0;
  p.max = p.count * 2 / 3;
  p.at_once = p.max / 30 < 1 ? 1 : p.max / 30 > 16 ? 16 : p.max / 30;
  if (!load_pool_fits(l)) return EXIT_FAILED;
  snprintf(max, sizeof max, "%zu", p.max);
  const char *args[] = {"--max-peers", max, "--no-upkeep", NULL};
  int code = load_node_start(t, "its pool has less room than it has peers", args, &p.n);
  if (code) return code;
  t->node = p.n;
  p.hit = load_latency(l, t->name, "a request by an open connection", 250);
  p.dial = load_latency(l, t->name, "a request that dials", 1000);
  rng_seeded_init(&p.rng, 1500);
  p.peers = calloc(p.count, sizeof *p.peers);
  p.dialling = calloc(p.count, sizeof *p.dialling);
  if (!p.peers || !p.dialling || !load_lru_init(&p.model, p.count, p.max)) {
    free(p.dialling);
    free(p.peers);
    return cli_failed(MACULA_ENOMEM, NULL, NULL);
  }
  load_phase(t, &made, p.count, "peers made");
  code = make_peers(&p, &made);
  if (!code && !l->stopping) play(&p);
  load_phase(t, NULL, 0, "ending");
  for (size_t i = 0; i < p.count; i++)
    if (p.peers[i]) light_free(&l->engine->lights, p.peers[i]);
  if (!l->stopping) load_node_stop(p.n);
  load_wait(t, requests_are_over, &p, l->patience);
  load_lru_done(&p.model);
  free(p.dialling);
  free(p.peers);
  return code;
}
