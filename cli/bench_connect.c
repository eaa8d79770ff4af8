/* bench connect and idle: one identity, many instances; both sides prove theirs. */
#include "bench.h"

#include <stdlib.h>

static int hold(struct bench *b, uint64_t ms) {
  atomic_bool stop = false;
  b->stop = &stop;
  int code = -1;
  for (uint64_t until = cli_now() + ms * CLI_MS; code < 0 && !stop && cli_now() < until;) code = bench_wait(b, until);
  b->stop = NULL;
  return code < 0 ? 0 : code;
}

int bench_connections(struct cli *cli, const struct bench_options *o, bool idle) {
  struct bench *b = calloc(1, sizeof *b);
  struct bench_node before, after;
  uint64_t clients = o->clients ? o->clients : 1000, at_once = o->outstanding ? o->outstanding : 64;
  if (!b) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  b->cli = cli;
  b->o = o;
  int code = bench_prepare(b);
  if (!code) code = bench_look(b, &before);
  uint64_t start = cli_now();
  if (!code) code = bench_connect(b, clients, at_once, 0, 0);
  double s = (double)(cli_now() - start) / 1e9;
  if (!code && idle) code = hold(b, o->hold ? o->hold : 5000);
  if (!code) code = bench_look(b, &after);
  if (!code) {
    json_t *j =
        json_pack("{s:s,s:I,s:f}", "bench", idle ? "idle" : "connect", "clients", (json_int_t)clients, "connect_seconds", s);
    if (idle && before.rss >= 0 && after.rss >= 0) {
      json_object_set_new(j, "rss_before_bytes", json_integer((json_int_t)before.rss));
      json_object_set_new(j, "rss_after_bytes", json_integer((json_int_t)after.rss));
      json_object_set_new(j, "bytes_per_client", json_real((after.rss - before.rss) / (double)clients));
    }
    if (!idle) {
      json_object_set_new(j, "connections_per_s", json_real((double)clients / s));
      bench_add_latency(j, &b->connect_times);
    }
    bench_add_cpu(j, &before, &after, (double)clients);
    code = bench_print(b, j);
  }
  bench_end(b, code);
  free(b);
  return code;
}
