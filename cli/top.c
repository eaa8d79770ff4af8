/* macula top: what the nodes of the mesh do now. What they count is asked for twice, and rates are what came between; of topics
 * the nodes tell the rates themselves. */
#include <stdlib.h>
#include <string.h>

#include "mesh.h"
#include "screen.h"

#define NAME_WIDTH 14      /* characters: a line of clients is 80 wide with it */
#define CLIENTS_MOST 1024u /* of each node that are looked at */
#define TOPICS_MOST 256u
#define PAST 60 /* samples of the past that are shown, 10 s each */
#define PAST_AGAIN_S 10
#define SHARE 3u /* of the lines that are left one in so many is for topics */

struct top_options {
  const char *sort, *node;
  uint64_t interval;
  bool once;
};

#define SORTS "dropped refused queued calls subs memory name"
static const struct option_def options[] = {
    {"sort", 0, OPTION_TEXT, offsetof(struct top_options, sort), .values = SORTS},
    {"interval", 'i', OPTION_TIME, offsetof(struct top_options, interval), 100},
    {"once", 0, OPTION_FLAG, offsetof(struct top_options, once)},
    {"node", 0, OPTION_TEXT, offsetof(struct top_options, node)},
    {0},
};

struct sample {
  json_t *nodes;   /* {"id", "name", "status"} or with "error" and "message" */
  json_t *clients; /* of all, each with its node */
  json_t *topics;  /* of all, each once */
  json_t *peers;   /* of the node that is connected */
  json_int_t more; /* clients that were not looked at */
  uint64_t at;
};

static void sample_done(struct sample *s) {
  json_decref(s->nodes);
  json_decref(s->clients);
  json_decref(s->topics);
  json_decref(s->peers);
  *s = (struct sample){0};
}

static json_t *at(json_t *j, const char *key) { return json_object_get(j, key); }
static double number(json_t *j, const char *key) { return json_number_value(at(j, key)); }
static const char *text(json_t *j, const char *key) {
  const char *s = json_string_value(at(j, key));
  return s && s[0] ? s : "-";
}

/* ---- asking ----------------------------------------------------------------------------------------------------------------
 */
/* A topic is published at several nodes: what each counted, together. */
static json_t *add_up(json_t *rows) {
  static const char *const sums[] = {"messages", "bytes",       "dropped",       "refused",
                                     "per_s",    "bytes_per_s", "dropped_per_s", "refused_per_s"};
  json_t *by_topic = json_object(), *row, *all = json_array();
  size_t i, k;
  json_array_foreach(rows, i, row) {
    json_t *had = at(by_topic, text(row, "topic"));
    for (k = 0; had && k < sizeof sums / sizeof sums[0]; k++)
      json_object_set_new(had, sums[k],
                          k < 4 ? json_integer((json_int_t)(number(had, sums[k]) + number(row, sums[k])))
                                : json_real(number(had, sums[k]) + number(row, sums[k])));
    if (had) continue;
    json_object_del(row, "node");
    json_object_del(row, "node_name");
    json_object_set(by_topic, text(row, "topic"), row);
    json_array_append(all, row);
  }
  json_decref(by_topic);
  return all;
}

/* Leaves of the nodes the one that is meant. */
static int choose(struct mesh *m, const char *node) {
  size_t found = 0;
  for (size_t i = 0; i < m->count; i++) {
    bool is = strncmp(m->v[i].id, node, strlen(node)) == 0;
    if (is && found != i) m->v[found] = m->v[i];
    found += is;
  }
  m->count = found;
  if (found == 1) return 0;
  return found ? cli_invalid(MACULA_EINVAL, "several nodes' ids begin so: give more digits (`macula status --mesh`)")
               : cli_failed(MACULA_UNKNOWN_NODE, NULL, NULL);
}

static int take_lists(struct cli *cli, struct mesh *m, struct sample *s) {
  int code = mesh_ask(cli, m, "clients", json_object(), "clients", CLIENTS_MOST);
  if (code) return code;
  s->clients = mesh_rows(m);
  for (size_t i = 0; i < m->count; i++) s->more += m->v[i].more;
  if ((code = mesh_ask(cli, m, "topics", json_object(), "topics", TOPICS_MOST)) != 0) return code;
  json_t *rows = mesh_rows(m);
  s->topics = add_up(rows);
  json_decref(rows);
  return cli_node_list(cli, "peers", &s->peers);
}

static int take(struct cli *cli, const struct top_options *o, struct sample *ret) {
  struct sample s = {.at = cli_now()};
  struct mesh m;
  int code = mesh_find(cli, &m);
  if (code) return code;
  if (o->node) code = choose(&m, o->node);
  if (!code && !(code = mesh_ask(cli, &m, "status", json_object(), NULL, 0))) {
    s.nodes = mesh_nodes_json(&m);
    for (size_t i = 0; i < m.count; i++)
      if (m.v[i].answer) json_object_set(json_array_get(s.nodes, i), "status", m.v[i].answer);
    code = take_lists(cli, &m, &s);
  }
  mesh_done(&m);
  if (code)
    sample_done(&s);
  else
    *ret = s;
  return code;
}

/* What the node keeps of the last hour, asked for now and then. *past stays NULL where a node keeps none. */
static void take_past(struct cli *cli, const char *node, json_t **past, uint64_t *at) {
  char *data = NULL, args[64] = "{}";
  size_t len = 0;
  if (*at && cli_now() - *at < PAST_AGAIN_S * CLI_SEC) return;
  if (node) snprintf(args, sizeof args, "{\"node\":\"%.40s\"}", node);
  if (macula_call_sync(cli->link.client, "com.macula.node.history", args, strlen(args), NULL, 10000, &data, &len)) return;
  *at = cli_now();
  json_decref(*past);
  *past = json_loadb(data, len, 0, NULL);
  macula_free(data);
}

/* ---- rates -----------------------------------------------------------------------------------------------------------------
 */
static double rate(json_t *before, json_t *now, const char *key, double seconds) {
  double more = number(now, key) - number(before, key);
  return before && more > 0 && seconds > 0 ? more / seconds : 0;
}

/* Each client's row gets dropped_per_s and refused_per_s; instances tell clients apart. Each node's gets the sum of
 * refused_per_s, and rates of its messages. */
static void add_rates(const struct sample *was, const struct sample *now, double seconds) {
  static const char *const counted[][2] = {{"published", "in_per_s"}, {"delivered", "out_per_s"}, {"dropped", "dropped_per_s"}};
  json_t *by_instance = json_object(), *by_node = json_object(), *row;
  size_t i, k;
  json_array_foreach(was->clients, i, row) json_object_set(by_instance, text(row, "instance"), row);
  json_array_foreach(was->nodes, i, row) json_object_set(by_node, text(row, "id"), at(at(row, "status"), "messages"));
  json_array_foreach(now->nodes, i, row) {
    json_t *before = at(by_node, text(row, "id")), *m = at(at(row, "status"), "messages");
    if (!m) continue;
    for (k = 0; k < 3; k++) json_object_set_new(row, counted[k][1], json_real(rate(before, m, counted[k][0], seconds)));
    json_object_set_new(row, "refused_per_s", json_real(0));
    json_object_set(by_node, text(row, "id"), row);
  }
  json_array_foreach(now->clients, i, row) {
    json_t *before = at(by_instance, text(row, "instance")), *node = at(by_node, text(row, "node"));
    double refused = rate(before, row, "refused", seconds);
    json_object_set_new(row, "dropped_per_s", json_real(rate(before, row, "dropped", seconds)));
    json_object_set_new(row, "refused_per_s", json_real(refused));
    if (at(node, "refused_per_s"))
      json_object_set_new(node, "refused_per_s", json_real(number(node, "refused_per_s") + refused));
  }
  json_decref(by_instance);
  json_decref(by_node);
}

static const char *sort_key, *tie_key; /* of by_key, which qsort gives no context */
static int by_key(const void *a, const void *b) {
  json_t *const *x = a, *const *y = b;
  if (!strcmp(sort_key, "name")) return strcmp(text(*x, "name"), text(*y, "name"));
  double m = number(*x, sort_key), n = number(*y, sort_key);
  return m < n ? 1 : m > n ? -1 : strcmp(text(*x, tie_key), text(*y, tie_key));
}

static void sort_by(json_t *rows, const char *key, const char *tie) {
  size_t n = json_array_size(rows), i;
  json_t **all = malloc((n + 1) * sizeof *all), *row;
  if (!all) return;
  sort_key = key;
  tie_key = tie;
  json_array_foreach(rows, i, row) all[i] = json_incref(row);
  qsort(all, n, sizeof *all, by_key);
  json_array_clear(rows);
  for (i = 0; i < n; i++) json_array_append_new(rows, all[i]);
  free(all);
}

static void sort(const struct sample *now, const char *by) {
  static const char *const keys[][3] = {{"dropped", "dropped_per_s", "dropped_per_s"},
                                        {"refused", "refused_per_s", "refused_per_s"},
                                        {"queued", "queued_bytes", "per_s"},
                                        {"calls", "pending_calls", "per_s"},
                                        {"subs", "subscriptions", "per_s"},
                                        {"memory", "memory_bytes", "bytes_per_s"},
                                        {"name", "name", "per_s"}};
  size_t k = 0;
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
    if (!strcmp(by, keys[i][0])) k = i;
  sort_by(now->clients, keys[k][1], "instance");
  sort_by(now->topics, "per_s", "topic");
  if (k < 2) sort_by(now->topics, keys[k][2], "topic");
}

/* ---- showing ---------------------------------------------------------------------------------------------------------------
 */
static const char *count(double n, char buf[32]) { return text_number((uint64_t)(n + 0.5), buf); }

static double sum(json_t *rows, const char *key) {
  double all = 0;
  size_t i;
  json_t *row;
  json_array_foreach(rows, i, row) all += number(row, key);
  return all;
}

static double sum_counted(json_t *nodes, const char *what, const char *key) {
  double all = 0;
  size_t i;
  json_t *row;
  json_array_foreach(nodes, i, row) all += number(at(at(row, "status"), what), key);
  return all;
}

static json_t *series(json_t *past, const char *name) { return at(at(past, "series"), name); }

static void put_past(json_t *past, const char *label, const char *name, bool is_bytes) {
  static const char *const bars[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  json_t *all = series(past, name);
  size_t samples = json_array_size(all), from = samples > PAST ? samples - PAST : 0;
  double most = 0;
  char text[32];
  if (!samples) return;
  for (size_t i = from; i < samples; i++)
    if (json_number_value(json_array_get(all, i)) > most) most = json_number_value(json_array_get(all, i));
  printf("%-6s ", label);
  for (size_t i = samples - from; i < PAST; i++) putchar(' ');
  for (size_t i = from; i < samples; i++) {
    double v = json_number_value(json_array_get(all, i));
    fputs(bars[v > 0 ? (size_t)(1 + 7 * v / most) : 0], stdout);
  }
  printf(" %s%s\n", is_bytes ? text_bytes(most, text) : count(most, text), is_bytes ? "" : "/s");
}

static bool has_past(json_t *past) { return json_array_size(at(past, "times")); }

/* Between two looks; before the second one what a single node has seen last. */
static double rate_now(const struct sample *now, const char *key, json_t *past, const char *name) {
  json_t *all = series(past, name);
  bool has = at(json_array_get(now->nodes, 0), key);
  return has || !all ? sum(now->nodes, key) : json_number_value(json_array_get(all, json_array_size(all) - 1));
}

/* Of one node its name and what it was like, of more how many. past: of a single one. */
static void put_head(const struct sample *now, json_t *past) {
  json_t *first = json_array_get(now->nodes, 0), *s = at(first, "status"), *row;
  size_t n = json_array_size(now->nodes), silent = 0, i;
  char a[32], b[32], c[32], d[32];
  json_array_foreach(now->nodes, i, row) silent += at(row, "error") != NULL;
  if (n == 1)
    printf("%.40s  realm %.20s  up %s\n", text(first, "name"), text(s, "realm"), text_duration(number(s, "uptime_s"), a));
  else
    printf("%zu nodes, %zu silent  realm %.40s\n", n, silent, text(s, "realm"));
  printf("messages  in %s/s  out %s/s  dropped %s/s", count(rate_now(now, "in_per_s", past, "published"), a),
         count(rate_now(now, "out_per_s", past, "delivered"), b), count(rate_now(now, "dropped_per_s", past, "dropped"), c));
  printf("  refused %s/s\n", count(sum(now->nodes, "refused_per_s"), d));
  printf("clients %s of %s  subs %s  services %s", count(sum_counted(now->nodes, "clients", "count"), a),
         count(sum_counted(now->nodes, "clients", "limit"), b), count(sum_counted(now->nodes, "subscriptions", "count"), c),
         count(sum_counted(now->nodes, "services", "count"), d));
  printf("  calls %s\n", count(sum_counted(now->nodes, "pending_calls", "count"), a));
  printf("memory %s resident, at most %s planned", text_bytes(sum_counted(now->nodes, "memory", "rss_bytes"), a),
         text_bytes(sum_counted(now->nodes, "memory", "plan_bytes"), b));
  printf("  slow consumers %s\n", count(sum_counted(now->nodes, "messages", "slow_consumers"), c));
  if (!has_past(past)) return;
  put_past(past, "in", "published", false);
  put_past(past, "out", "delivered", false);
  put_past(past, "memory", "rss_bytes", true);
}

/* In so many characters. */
static void put_text(const char *t, int most) {
  int bytes = 0, width = 0;
  for (; t[bytes] && ((t[bytes] & 0xc0) == 0x80 || width < most); bytes++) width += (t[bytes] & 0xc0) != 0x80;
  printf("%.*s%*s", bytes, t, most - width, "");
}

/* Of the connection to it: of the node that is connected there is none. */
static json_t *peer_of(const struct sample *now, const char *id) {
  size_t i;
  json_t *row;
  json_array_foreach(now->peers, i, row) if (!strcmp(text(row, "id"), id)) return row;
  return NULL;
}

static void put_nodes(const struct sample *now, size_t most) {
  char a[32], b[32], c[32], d[32], e[32];
  size_t i, n = json_array_size(now->nodes);
  json_t *row;
  if (n < 2 || !most) return;
  printf("\n%-8s  %-*s %8s %8s %6s %6s %7s %8s %7s\n", "NODE", NAME_WIDTH - 1, "NAME", "IN/S", "OUT/S", "DROP/S", "REF/S",
         "CLIENTS", "MEMORY", "RTT MS");
  json_array_foreach(now->nodes, i, row) {
    if (i == most) break;
    json_t *s = at(row, "status"), *peer = peer_of(now, text(row, "id"));
    printf("%.8s  ", text(row, "id"));
    put_text(text(row, "name"), NAME_WIDTH - 1);
    if (!s) {
      printf(" did not answer: %.40s\n", text(row, "error"));
      continue;
    }
    printf(" %8s %8s %6s %6s", count(number(row, "in_per_s"), a), count(number(row, "out_per_s"), b),
           count(number(row, "dropped_per_s"), c), count(number(row, "refused_per_s"), d));
    printf(" %7.0f %8s", number(at(s, "clients"), "count"), text_bytes(number(at(s, "memory"), "rss_bytes"), e));
    if (json_is_number(at(peer, "rtt_us")))
      printf(" %7.2f\n", number(peer, "rtt_us") / 1000);
    else
      printf(" %7s\n", peer ? "-" : "here");
  }
  if (i < n) printf("%zu more\n", n - i);
}

static void put_clients(const struct sample *now, size_t most) {
  char a[32], b[32], c[32], d[32];
  size_t i, n = json_array_size(now->clients);
  json_t *row;
  printf("\n%-16s  %-*s %8s %6s %6s %9s %5s %9s\n", "CLIENT", NAME_WIDTH - 2, "NAME", "NODE", "DROP/S", "REF/S", "QUEUED",
         "SUBS", "MEMORY");
  json_array_foreach(now->clients, i, row) {
    if (i == most) break;
    const char *id = text(row, "id");
    bool keyless = strspn(id, "0") == strlen(id);
    printf("%.16s  ", keyless ? text(row, "instance") : id);
    put_text(text(row, "name"), NAME_WIDTH - 2);
    printf(" %.8s %6s %6s %9s", text(row, "node"), count(number(row, "dropped_per_s"), a),
           count(number(row, "refused_per_s"), b), text_bytes(number(row, "queued_bytes"), c));
    printf(" %5.0f %9s\n", number(row, "subscriptions"), text_bytes(number(row, "memory_bytes"), d));
  }
  if (i < n || now->more) printf("%lld more\n", (long long)(n - i) + (long long)now->more);
}

static void put_topics(const struct sample *now, size_t most) {
  char a[32], b[32], c[32], d[32];
  size_t i, n = json_array_size(now->topics);
  json_t *row;
  if (!n || !most) return;
  printf("\n%-42s %8s %10s %7s %8s\n", "TOPIC", "MSGS/S", "BYTES/S", "DROP/S", "REFUSED");
  json_array_foreach(now->topics, i, row) {
    if (i == most) break;
    put_text(text(row, "topic"), 42);
    printf(" %8s %10s %7s %8s\n", count(number(row, "per_s"), a), text_bytes(number(row, "bytes_per_s"), b),
           count(number(row, "dropped_per_s"), c), count(number(row, "refused"), d));
  }
  if (i < n) printf("%zu more\n", n - i);
}

static bool put_json(const struct sample *now, double seconds, json_t *past) {
  json_t *first = json_array_get(now->nodes, 0);
  return text_put_json(json_pack("{s:f,s:{s:f,s:f,s:f,s:f},s:O?,s:O,s:O,s:O,s:O,s:O*}", "seconds", seconds, "rates",
                                 "published", sum(now->nodes, "in_per_s"), "delivered", sum(now->nodes, "out_per_s"), "dropped",
                                 sum(now->nodes, "dropped_per_s"), "refused", sum(now->nodes, "refused_per_s"), "status",
                                 at(first, "status"), "nodes", now->nodes, "clients", now->clients, "topics", now->topics,
                                 "peers", now->peers, "history", past));
}

/* Lines of a part, with its head and what comes before it. */
static size_t part(size_t rows) { return rows ? rows + 3 : 0; }

static bool show(struct cli *cli, const struct top_options *o, const struct sample *was, const struct sample *now,
                 json_t *past) {
  double seconds = (double)(now->at - was->at) / 1e9;
  struct screen screen;
  if (seconds > 0) add_rates(was, now, seconds);
  sort(now, o->sort ? o->sort : "dropped");
  if (cli->json) return put_json(now, seconds, o->once ? past : NULL);
  if (!o->once && !screen_begin(&screen)) return false;
  size_t nodes = json_array_size(now->nodes), topics = json_array_size(now->topics), clients = SIZE_MAX;
  size_t rows = o->once ? SIZE_MAX : screen_rows();
  if (rows != SIZE_MAX && rows != (unsigned)-1) { /* a head of 4 and a past of 3, and the last row */
    size_t over = has_past(past) && nodes == 1 ? 8 : 5, left = rows > over ? rows - over : 0, each = left / SHARE;
    nodes = nodes < 2 ? 0 : nodes + 3 < each ? nodes : each > 3 ? each - 3 : 1;
    topics = topics + 3 < each ? topics : each > 3 ? each - 3 : 0;
    left -= left > part(nodes) + part(topics) ? part(nodes) + part(topics) : left;
    clients = left > 3 ? left - 3 : 1;
  }
  put_head(now, json_array_size(now->nodes) == 1 ? past : NULL);
  put_nodes(now, nodes);
  put_clients(now, clients);
  put_topics(now, topics);
  return o->once ? fflush(stdout) == 0 : screen_end(&screen);
}

static int run(struct cli *cli, void *options_set) {
  const struct top_options *o = options_set;
  struct sample was = {0}, now = {0};
  json_t *past = NULL;
  uint64_t past_at = 0;
  int code = cli_connect(cli, true);
  if (code || (code = take(cli, o, &was))) return code;
  cli->prints = true;
  take_past(cli, o->node, &past, &past_at);
  uint64_t next = cli_now();
  code = o->once || cli->json || show(cli, o, &was, &was, past) ? -1 : EXIT_FAILED;
  while (code < 0) {
    code = screen_wait(cli, &next, o->interval ? o->interval : 1000);
    int asked = code < 0 ? take(cli, o, &now) : 0;
    if (code >= 0 || (code = asked ? asked : -1) >= 0) break;
    take_past(cli, o->node, &past, &past_at);
    if (!show(cli, o, &was, &now, past)) code = EXIT_FAILED;
    if (code < 0 && o->once) code = 0;
    sample_done(&was);
    was = now;
    now = (struct sample){0};
  }
  sample_done(&was);
  sample_done(&now);
  json_decref(past);
  return code;
}

const struct command command_top = {
    "top",
    "top [OPTION]...",
    "watch the mesh: rates, queues, refusals",
    "Shows each second what the nodes of the mesh do: messages a second; who loses\n"
    "some, is refused, or has a long queue, at which node; of which topics most is\n"
    "published, dropped and refused. Nodes that do not answer are there, and say so.\n"
    "For operators.\n\n"
    "  --sort KEY      clients by dropped (default), refused, queued, calls, subs,\n"
    "                  memory or name; topics by dropped or refused likewise\n"
    "  --interval T    time between two looks, from 100ms on (1s)\n"
    "  --once          one look, and end; with --json for programs\n"
    "  --node ID       this node alone, by its id or the first digits of it\n\n"
    "Example: macula top --once\n",
    options,
    sizeof(struct top_options),
    0,
    0,
    run,
};
