/* bench rpc: callers keep `outstanding` calls each with one provider, a client like them. All calls are issued on the loop's
 * thread, which owns the counters; the main thread reads them. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

struct run;
struct slot { /* one call at a time */
  struct run *run;
  macula_client caller;
  uint64_t started;
};

struct run {
  struct cli_done served; /* first: all callbacks of macula_serve get one context */
  struct bench b;
  uint64_t total, slot_count, issued, measured_from;
  struct slot *slots;
  char *args;
  size_t args_len;
  _Atomic uint64_t answered, ended_at;
  atomic_int first; /* 1: under way; else its error, while it is tried again */
  atomic_bool stop, idle;
  uint64_t pending;
  struct histogram times;
};

static void on_request(void *ctx, macula_client client, const macula_request *r) {
  (void)ctx;
  macula_reply(client, r->id, r->args, r->len);
}

static void on_result(void *ctx, macula_client client, const macula_result *result);

static void call_next(struct slot *s) {
  struct run *r = s->run;
  if (r->issued == r->total || r->stop) {
    if (r->pending) return;
    r->ended_at = cli_now();
    r->idle = true;
    cli_wake(r->b.cli);
    return;
  }
  r->issued++;
  r->pending++;
  s->started = cli_now();
  int err = macula_call(s->caller, r->b.topic, r->args, r->args_len, NULL, on_result, s, NULL);
  if (err) {
    r->pending--;
    bench_failed(&r->b, err, macula_last_error());
  }
}

static void on_result(void *ctx, macula_client client, const macula_result *result) {
  struct slot *s = ctx;
  struct run *r = s->run;
  (void)client;
  r->pending--;
  if (result->err) {
    bench_failed(&r->b, result->err, result->text);
    return;
  }
  histogram_add(&r->times, cli_now() - s->started);
  r->answered++;
  call_next(s);
}

/* The answer of a first call, which is not counted, brings us to the loop's thread. */
static void on_first(void *ctx, macula_client client, const macula_result *result) {
  struct run *r = ctx;
  (void)client;
  r->first = result->err;
  if (result->err && (!r->b.o->to || result->err != MACULA_NO_SUCH_PROCEDURE)) {
    bench_failed(&r->b, result->err, result->text);
    return;
  }
  if (result->err) return; /* the other node's word of the provider is on its way */
  r->measured_from = cli_now();
  for (uint64_t i = 0; i < r->slot_count; i++)
    if (i < r->total) call_next(&r->slots[i]);
}

static int call_first(struct run *r) {
  r->first = 1;
  int err = macula_call(r->slots[0].caller, r->b.topic, r->args, r->args_len, NULL, on_first, r, NULL);
  return err ? cli_failed(err, NULL, macula_last_error()) : 0;
}

static int measure(struct run *r) {
  int ended = call_first(r);
  if (ended) return ended;
  uint64_t until = r->b.o->duration ? cli_now() + r->b.o->duration * CLI_MS : CLI_NEVER;
  r->b.stop = &r->stop;
  while (!r->idle) {
    uint64_t now = cli_now(), next = now + 200 * CLI_MS;
    if (now >= until) r->stop = true;
    bench_progress("answered", r->answered, r->total == UINT64_MAX ? r->answered : r->total);
    int code = bench_wait(&r->b, !r->stop && until < next ? until : next);
    if (code >= 0) return code;
    if (r->first < 0 && (code = call_first(r)) != 0) return code;
  }
  return 0;
}

int bench_rpc(struct cli *cli, const struct bench_options *o) {
  uint64_t callers = o->clients ? o->clients : 1, outstanding = o->outstanding ? o->outstanding : 1,
           size = o->size ? o->size : 64;
  struct run *r = calloc(1, sizeof *r);
  struct bench_node before, after;
  if (!r) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  r->b.cli = r->served.cli = cli;
  r->b.o = o;
  r->total = o->messages ? o->messages : o->duration ? UINT64_MAX : 50000;
  r->slot_count = callers * outstanding;
  r->slots = calloc(r->slot_count, sizeof *r->slots);
  if ((r->args = malloc(size + 1))) {
    memset(r->args, 'x', size);
    r->args[0] = r->args[size - 1] = '"'; /* a JSON text */
    r->args_len = size;
  }
  int code = r->slots && r->args ? bench_prepare(&r->b) : cli_failed(MACULA_ENOMEM, NULL, NULL);
  if (!code) code = bench_connect(&r->b, callers + 1, 32, 1, 0);
  if (!code) {
    for (uint64_t i = 0; i < r->slot_count; i++)
      r->slots[i] = (struct slot){.run = r, .caller = r->b.clients[1 + i / outstanding].client};
    int err = macula_serve(r->b.clients[0].client, r->b.topic, NULL, on_request, NULL, cli_on_done, r, NULL);
    code = err ? cli_failed(err, NULL, macula_last_error()) : cli_wait_done(&r->served, cli_now() + 10 * CLI_SEC);
  }
  if (!code) code = bench_look(&r->b, &before);
  if (!code) code = measure(r);
  if (!code) code = bench_look(&r->b, &after);
  if (!code) {
    double s = (double)(r->ended_at - r->measured_from) / 1e9;
    json_t *j = json_pack("{s:s,s:I,s:I,s:I,s:I,s:f,s:f}", "bench", "rpc", "size", (json_int_t)size, "clients",
                          (json_int_t)callers, "outstanding", (json_int_t)outstanding, "calls", (json_int_t)r->answered,
                          "seconds", s, "calls_per_s", (double)r->answered / (s > 0 ? s : 1e-9));
    bench_add_latency(j, &r->times);
    bench_add_cpu(j, &before, &after, (double)r->answered);
    code = bench_print(&r->b, j);
  }
  bench_end(&r->b, code);
  free(r->slots);
  free(r->args);
  free(r);
  return code;
}
