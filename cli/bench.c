/* macula bench: picks the benchmark; what they share. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BENCH_MEMORY ((size_t)4 << 30)

static const struct option_def options[] = {
    {"clients", 'c', OPTION_NUMBER, offsetof(struct bench_options, clients), 1, 1000000},
    {"messages", 'n', OPTION_NUMBER, offsetof(struct bench_options, messages), 1, 1000000000000},
    {"size", 0, OPTION_SIZE, offsetof(struct bench_options, size), 8, 1000000},
    {"outstanding", 'o', OPTION_NUMBER, offsetof(struct bench_options, outstanding), 1, 1000000},
    {"subscribers", 0, OPTION_NUMBER, offsetof(struct bench_options, subscribers), 1, 1000000},
    {"duration", 'd', OPTION_TIME, offsetof(struct bench_options, duration), 1},
    {"hold", 0, OPTION_TIME, offsetof(struct bench_options, hold), 1},
    {"to", 0, OPTION_TEXT, offsetof(struct bench_options, to)},
    {"flat", 0, OPTION_FLAG, offsetof(struct bench_options, flat)},
    {0},
};

/* ---- clients ----------------------------------------------------------------------------------------------------------------
 */
void bench_failed(struct bench *b, int err, const char *text) {
  pthread_mutex_lock(&b->cli->lock);
  if (!b->err && !b->ending) {
    b->err = err;
    snprintf(b->text, sizeof b->text, "%s", text);
  }
  pthread_mutex_unlock(&b->cli->lock);
  cli_wake(b->cli);
}

static void connect_next(struct bench *b);

static void on_state(void *ctx, macula_client client, macula_state state, int err, const char *text) {
  struct bench_client *c = ctx;
  struct bench *b = c->bench;
  (void)client;
  if (state == MACULA_CONNECTED && !c->in) {
    c->in = true;
    pthread_mutex_lock(&b->cli->lock);
    histogram_add(&b->connect_times, cli_now() - c->started);
    bool all = ++b->connected == b->wanted, more = b->asked < b->wanted;
    pthread_mutex_unlock(&b->cli->lock);
    if (more) connect_next(b);
    if (all) cli_wake(b->cli);
  } else if (state == MACULA_CLOSED || state == MACULA_DISCONNECTED) {
    bench_failed(b, err ? err : MACULA_ECLOSED, text);
  }
}

static void connect_next(struct bench *b) {
  pthread_mutex_lock(&b->cli->lock);
  struct bench_client *c = b->asked < b->wanted && !b->err && !b->ending ? &b->clients[b->asked++] : NULL;
  pthread_mutex_unlock(&b->cli->lock);
  if (!c) return;
  macula_options o = cli_client_options(b->cli);
  o.server = c->far ? b->o->to : b->server;
  o.no_reconnect = true;
  o.max_queue = (size_t)16 << 20;
  o.max_calls = 1000000;
  o.on_state = on_state;
  o.ctx = c;
  c->bench = b;
  c->started = cli_now();
  bool sends = b->sending && (uint64_t)(c - b->clients) < b->senders;
  int err = macula_connect(sends ? b->sending : b->cli->loop, &o, &c->client);
  if (err) bench_failed(b, err, macula_last_error());
}

int bench_wait(struct bench *b, uint64_t until) {
  enum cli_event e = cli_wait(b->cli, until);
  pthread_mutex_lock(&b->cli->lock);
  int err = b->err;
  pthread_mutex_unlock(&b->cli->lock);
  if (e == CLI_SIGNALLED && b->stop && !b->interrupted)
    atomic_store(b->stop, b->interrupted = true); /* a second signal ends at once */
  else if (e == CLI_SIGNALLED)
    return cli_interrupted();
  if (e == CLI_UNREAD) return cli_unread();
  if (!err) return -1;
  int code = cli_failed(err, NULL, b->text);
  return err == MACULA_MAX_CLIENTS_REACHED ? EXIT_NOT_CONNECTED : code;
}

int bench_connect(struct bench *b, uint64_t count, uint64_t at_once, uint64_t far, uint64_t far_from) {
  if (!(b->clients = calloc(count, sizeof *b->clients))) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  for (uint64_t i = 0; b->o->to && i < far; i++) b->clients[far_from + i].far = true;
  b->wanted = count;
  b->at_once = at_once;
  for (uint64_t i = 0; i < at_once && i < count; i++) connect_next(b);
  for (;;) {
    pthread_mutex_lock(&b->cli->lock);
    uint64_t in = b->connected;
    pthread_mutex_unlock(&b->cli->lock);
    if (in == count) return 0;
    bench_progress("connected", in, count);
    int code = bench_wait(b, cli_now() + 200 * CLI_MS);
    if (code >= 0) return code;
  }
}

int bench_prepare(struct bench *b) {
  struct cli *cli = b->cli;
  char id[MACULA_ID_LEN + 1];
  snprintf(b->topic, sizeof b->topic, "bench.%llx", (unsigned long long)(cli_now() ^ (uint64_t)getpid() << 40));
  cli->max_memory = BENCH_MEMORY;
  int code = cli_connect(cli, true);
  if (code) return code;
  macula_node_id(cli->link.client, id);
  const char *server = cli->server;
  if (!server || !server[0]) server = "127.0.0.1:9443";
  const char *at = strncmp(server, "macula://", 9) == 0 ? strchr(server, '@') : NULL;
  snprintf(b->server, sizeof b->server, "macula://%s@%s", id,
           at                                ? at + 1
           : strncmp(server, "macula://", 9) ? server
                                             : server + 9);
  macula_disconnect(cli->link.client); /* it would count among the clients */
  cli->link.client = (macula_client){0};
  cli->prints = true;
  return 0;
}

int bench_send_apart(struct bench *b, uint64_t senders) {
  macula_loop_options o = {MACULA_INIT(macula_loop_options), .max_memory = BENCH_MEMORY};
  int err = macula_loop_new(&o, &b->sending);
  b->senders = senders;
  return err ? cli_failed(err, NULL, macula_last_error()) : 0;
}

int bench_look(struct bench *b, struct bench_node *ret_node) {
  macula_options o = cli_client_options(b->cli);
  macula_client client;
  json_t *j = NULL;
  o.server = b->server;
  o.op = true;
  int err = macula_connect(b->cli->loop, &o, &client);
  if (err) return cli_failed(err, NULL, macula_last_error());
  int code = (err = macula_connect_wait(client, 10000)) ? (cli_failed(err, NULL, macula_last_error()), EXIT_NOT_CONNECTED)
                                                        : cli_node_call(client, "status", json_object(), &j);
  macula_disconnect(client);
  if (code) return code;
  json_t *rss = json_object_get(json_object_get(j, "memory"), "rss_bytes");
  ret_node->cpu_s = bench_node_cpu(b);
  ret_node->rss = json_is_number(rss) ? json_number_value(rss) : -1;
  json_decref(j);
  return 0;
}

void bench_end(struct bench *b, int code) {
  pthread_mutex_lock(&b->cli->lock);
  b->ending = true;
  pthread_mutex_unlock(&b->cli->lock);
  macula_loop_free(b->sending);
  cli_end(b->cli, code);
  free(b->clients);
  b->clients = NULL;
}

/* ---- printing ---------------------------------------------------------------------------------------------------------------
 */
void bench_progress(const char *what, uint64_t done, uint64_t total) {
  char a[32], b[32];
  if (isatty(2)) fprintf(stderr, "\r%s %s of %s\033[K\r", what, text_number(done, a), text_number(total, b));
}

void bench_add_cpu(json_t *json, const struct bench_node *before, const struct bench_node *after, double operations) {
  if (before->cpu_s < 0 || after->cpu_s < before->cpu_s || operations <= 0) return;
  json_object_set_new(json, "server_cpu_us_per_op", json_real((after->cpu_s - before->cpu_s) * 1e6 / operations));
}

void bench_add_latency(json_t *json, const struct histogram *h) {
  json_object_set_new(json, "p50_us", json_real((double)histogram_at(h, 0.5) / 1e3));
  json_object_set_new(json, "p90_us", json_real((double)histogram_at(h, 0.9) / 1e3));
  json_object_set_new(json, "p99_us", json_real((double)histogram_at(h, 0.99) / 1e3));
  json_object_set_new(json, "max_us", json_real((double)h->max / 1e3));
}

int bench_print(struct bench *b, json_t *json) {
  const char *key;
  json_t *v;
  char buf[32];
  if (isatty(2)) fputs("\r\033[K", stderr);
  if (b->interrupted) json_object_set_new(json, "interrupted", json_true());
  if (b->interrupted) fputs("macula: interrupted: these are the figures of a part\n", stderr);
  if (b->cli->json) return text_put_json(json) && !b->interrupted ? 0 : EXIT_FAILED;
  json_object_foreach(json, key, v) {
    if (json_is_integer(v))
      printf("%-22s %s\n", key, text_number((uint64_t)json_integer_value(v), buf));
    else if (json_is_true(v))
      printf("%-22s yes\n", key);
    else if (json_is_real(v))
      printf("%-22s %.*f\n", key, json_real_value(v) < 1000 ? 2 : 0, json_real_value(v));
    else
      printf("%-22s %s\n", key, json_string_value(v));
  }
  json_decref(json);
  return b->interrupted ? EXIT_FAILED : 0;
}

static int run(struct cli *cli, void *options_set) {
  const struct bench_options *o = options_set;
  const char *kind = cli->argv[0];
  bool paced = strcmp(kind, "pubsub") != 0 && strcmp(kind, "fanout") != 0;
  if (o->flat && paced) return cli_invalid(MACULA_EINVAL, "--flat is for pubsub and fanout");
  if (o->flat && o->outstanding)
    return cli_invalid(MACULA_EINVAL, "--outstanding is a limit, and --flat has none; leave one out");
  if (strcmp(kind, "pubsub") == 0) return bench_pubsub(cli, o, false);
  if (strcmp(kind, "fanout") == 0) return bench_pubsub(cli, o, true);
  if (strcmp(kind, "rpc") == 0) return bench_rpc(cli, o);
  if (strcmp(kind, "connect") == 0) return bench_connections(cli, o, false);
  if (strcmp(kind, "idle") == 0) return bench_connections(cli, o, true);
  return cli_invalid(MACULA_EINVAL, "benchmarks are pubsub, fanout, rpc, connect and idle");
}

const struct command command_bench = {
    "bench",
    "bench pubsub|fanout|rpc|connect|idle [OPTION]...",
    "measure the node",
    "Prints rates, latencies where they apply, and the node's CPU per operation.\n\n"
    "  pubsub    pairs of a publisher and a subscriber: --clients pairs (1),\n"
    "            --messages (500,000), --size, --outstanding, --duration\n"
    "  fanout    one publisher: --subscribers (100), --messages (20,000), --size,\n"
    "            --outstanding, --duration\n"
    "  rpc       callers through the node to one provider: --clients (1), --messages\n"
    "            (50,000), --size, --outstanding (1), --duration\n"
    "  connect   --clients (1,000) connections, --outstanding (64) attempts at a time\n"
    "  idle      --clients (1,000) held for --hold (5s): memory of each in the node\n\n"
    "  --size BYTES      payload (64)\n"
    "  --outstanding N   unanswered calls a caller; messages between publisher and\n"
    "                    subscriber (4,096, less for large ones, so that they fit the\n"
    "                    node's send queue of 1 MiB)\n"
    "  --flat            publish as fast as the library takes it, whoever reads; what\n"
    "                    does not come is counted as lost\n"
    "  --duration T      end by time\n"
    "  --to ADDR         node of the subscribers, or of the provider: what is\n"
    "                    measured goes through a mesh\n\n"
    "Interrupted, it prints what it has; the exit code is 1.\n\n"
    "Example: macula bench rpc --outstanding 64 --duration 1s\n",
    options,
    sizeof(struct bench_options),
    1,
    1,
    run,
    "pubsub fanout rpc connect idle",
};
