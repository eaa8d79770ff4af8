/* macula ping: how long the node takes to answer, or another node that it knows. */
#include <ctype.h>
#include <string.h>

#include "screen.h"

#define PATIENCE_MS 5000
#define NODE_MOST 1024 /* bytes of a node with its address */

struct ping_options {
  uint64_t count, interval;
};

static const struct option_def options[] = {
    {"count", 'n', OPTION_NUMBER, offsetof(struct ping_options, count), 1, UINT32_MAX},
    {"interval", 'i', OPTION_TIME, offsetof(struct ping_options, interval), 1},
    {0},
};

struct pings {
  uint64_t sent, answered;
  double least_ms, most_ms, sum_ms;
};

/* The node that is meant, of its id, the first digits of it, or macula://ID@ADDR:PORT; "": the one that is asked itself. */
static int find_node(struct cli *cli, const char *given, char ret_node[NODE_MOST]) {
  char id[MACULA_ID_LEN + 1] = "";
  size_t i, n = strlen(given), found = 0;
  json_t *rows, *row;
  if (strncmp(given, "macula://", 9) == 0 && n < NODE_MOST) return memcpy(ret_node, given, n + 1), 0;
  if (!cli_is_id(given))
    return cli_invalid(MACULA_EINVAL, "NODE is an id or its first digits, as `macula peers` prints them, or "
                                      "macula://ID@ADDR:PORT");
  for (i = 0; i <= n; i++) ret_node[i] = (char)tolower((unsigned char)given[i]);
  macula_node_id(cli->link.client, id);
  bool own = strncmp(id, ret_node, n) == 0;
  if (n == MACULA_ID_LEN && !own) return 0; /* it may be known and not listed */
  int code = cli_node_list(cli, "peers", &rows);
  if (code) return code;
  json_array_foreach(rows, i, row) {
    const char *its = json_string_value(json_object_get(row, "id"));
    if (!its || strlen(its) != MACULA_ID_LEN || strncmp(its, ret_node, n) != 0 || found++) continue;
    memcpy(id, its, MACULA_ID_LEN + 1);
  }
  json_decref(rows);
  if (found + own > 1) return cli_invalid(MACULA_EINVAL, "several ids begin so: give more digits (`macula peers --wide`)");
  if (!found && !own) return cli_failed(MACULA_ENOTFOUND, NULL, "this node knows none whose id begins so: see `macula peers`");
  memcpy(ret_node, own ? "" : id, own ? 1 : MACULA_ID_LEN + 1);
  return 0;
}

/* One answer; the milliseconds that it took, below 0: there was none. */
static double ask(struct cli *cli, const char *node, int *ret_err) {
  char *answer = NULL, *args = NULL;
  size_t len;
  json_t *j = node ? json_pack("{s:s}", "node", node) : json_integer(0);
  if (!j || !(args = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY))) *ret_err = MACULA_ENOMEM;
  json_decref(j);
  if (!args) return -1;
  uint64_t began = cli_now();
  *ret_err = macula_call_sync(cli->link.client, node ? "com.macula.node.ping" : "com.macula.diagnostics.echo", args,
                              strlen(args), NULL, PATIENCE_MS, &answer, &len);
  double ms = (double)(cli_now() - began) / 1e6;
  free(args);
  if (*ret_err) return -1;
  j = node ? json_loadb(answer, len, 0, NULL) : NULL;
  if (j) ms = json_number_value(json_object_get(j, "rtt_us")) / 1000; /* as the node asked measured it */
  json_decref(j);
  macula_free(answer);
  return ms;
}

static int sum_up(const struct cli *cli, const struct pings *p, const char *node) {
  double mean = p->answered ? p->sum_ms / (double)p->answered : 0;
  if (cli->json)
    return text_put_json(json_pack("{s:s,s:I,s:I,s:f,s:f,s:f}", "node", node, "sent", (json_int_t)p->sent, "answered",
                                   (json_int_t)p->answered, "min_ms", p->least_ms, "mean_ms", mean, "max_ms", p->most_ms))
               ? 0
               : EXIT_FAILED;
  printf("%llu asked, %llu answered", (unsigned long long)p->sent, (unsigned long long)p->answered);
  if (p->answered) printf("; least %.2f ms, mean %.2f ms, most %.2f ms", p->least_ms, mean, p->most_ms);
  putchar('\n');
  return 0;
}

static int run(struct cli *cli, void *options_set) {
  const struct ping_options *o = options_set;
  const char *node = NULL;
  char id[MACULA_ID_LEN + 1] = "", other[NODE_MOST] = "";
  struct pings p = {0};
  int err = 0, code = cli_connect(cli, cli->argc > 0);
  if (!code && cli->argc) code = find_node(cli, cli->argv[0], other);
  if (code) return code;
  if (other[0]) node = other;
  macula_node_id(cli->link.client, id);
  cli->prints = true;
  uint64_t next = cli_now(), count = o->count ? o->count : 4;
  for (code = -1; code < 0;) {
    double ms = ask(cli, node, &err);
    p.sent++;
    if (ms >= 0) {
      p.answered++;
      p.sum_ms += ms;
      if (p.answered == 1 || ms < p.least_ms) p.least_ms = ms;
      if (ms > p.most_ms) p.most_ms = ms;
    } else {
      code = cli_failed(err, NULL, macula_last_error());
      if (err == MACULA_TIMEOUT) code = -1; /* the next one may be answered */
    }
    if (ms >= 0 && !cli->json)
      printf("%.16s  %.2f ms\n", node && !strncmp(node, "macula://", 9) ? node + 9 : node ? node : id, ms);
    if (fflush(stdout)) code = EXIT_FAILED;
    if (code < 0 && p.sent == count) break;
    if (code < 0) code = screen_wait(cli, &next, o->interval ? o->interval : 1000);
  }
  int said = code <= 0 ? sum_up(cli, &p, node ? node : id) : 0;
  return code > 0 ? code : said ? said : p.answered == p.sent ? 0 : EXIT_TIMED_OUT;
}

const struct command command_ping = {
    "ping",
    "ping [NODE] [OPTION]...",
    "see whether the node answers, and how fast",
    "Asks the node a small question each second, from program to program. With NODE,\n"
    "an id, its first digits, or macula://ID@ADDR:PORT, the node asks that other one,\n"
    "and says how long it took; that is for operators.\n\n"
    "  --count N       how often (4)\n"
    "  --interval T    time between two (1s)\n\n"
    "Example: macula ping --count 2 --interval 100ms\n",
    options,
    sizeof(struct ping_options),
    0,
    1,
    run,
};
