/* macula top: what the node does now. What it counts is asked for twice, and rates are what came between. */
#include <stdlib.h>
#include <string.h>

#include "screen.h"

#define HEAD_ROWS 9 /* lines above the clients, the last row and a line for peers */
#define PAST 60     /* samples of the past that are shown, 10 s each */
#define PAST_AGAIN_S 10
#define NAME_WIDTH 17 /* characters: a line of clients is 80 wide with it */

struct top_options {
  const char *sort;
  uint64_t interval;
  bool once;
};

static const struct option_def options[] = {
    {"sort", 0, OPTION_TEXT, offsetof(struct top_options, sort), .values = "dropped queued calls subs memory name"},
    {"interval", 'i', OPTION_TIME, offsetof(struct top_options, interval), 100},
    {"once", 0, OPTION_FLAG, offsetof(struct top_options, once)},
    {0},
};

struct sample {
  json_t *status, *clients, *peers;
  uint64_t at;
};

static void sample_done(struct sample *s) {
  json_decref(s->status);
  json_decref(s->clients);
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
static int take(struct cli *cli, struct sample *ret) {
  struct sample s = {.at = cli_now()};
  int code = cli_node_call(cli->link.client, "status", json_object(), &s.status);
  if (!code) code = cli_node_list(cli, "clients", &s.clients);
  if (!code) code = cli_node_list(cli, "peers", &s.peers);
  if (code)
    sample_done(&s);
  else
    *ret = s;
  return code;
}

/* What the node keeps of the last hour, asked for now and then. *past stays NULL where a node keeps none. */
static void take_past(struct cli *cli, json_t **past, uint64_t *at) {
  char *data = NULL;
  size_t len = 0;
  if (*at && cli_now() - *at < PAST_AGAIN_S * CLI_SEC) return;
  if (macula_call_sync(cli->link.client, "com.macula.node.history", "{}", 2, NULL, 10000, &data, &len)) return;
  *at = cli_now();
  json_decref(*past);
  *past = json_loadb(data, len, 0, NULL);
  macula_free(data);
}

/* ---- rates -----------------------------------------------------------------------------------------------------------------
 */
static double rate(json_t *before, json_t *now, const char *key, double seconds) {
  double more = number(now, key) - number(before, key);
  return more > 0 && seconds > 0 ? more / seconds : 0;
}

/* Each client's row gets dropped_per_s; instances tell clients apart. */
static void add_rates(const struct sample *was, const struct sample *now, double seconds) {
  json_t *by_instance = json_object(), *row;
  size_t i;
  json_array_foreach(was->clients, i, row) json_object_set(by_instance, text(row, "instance"), row);
  json_array_foreach(now->clients, i, row) {
    json_t *before = at(by_instance, text(row, "instance"));
    json_object_set_new(row, "dropped_per_s", json_real(before ? rate(before, row, "dropped", seconds) : 0));
  }
  json_decref(by_instance);
}

static const char *sort_key; /* of by_key, which qsort gives no context */
static int by_key(const void *a, const void *b) {
  json_t *const *x = a, *const *y = b;
  if (!strcmp(sort_key, "name")) return strcmp(text(*x, "name"), text(*y, "name"));
  double m = number(*x, sort_key), n = number(*y, sort_key);
  return m < n ? 1 : m > n ? -1 : strcmp(text(*x, "instance"), text(*y, "instance"));
}

static void sort(json_t *rows, const char *by) {
  static const char *const keys[][2] = {{"dropped", "dropped_per_s"}, {"queued", "queued_bytes"}, {"calls", "pending_calls"},
                                        {"subs", "subscriptions"},    {"memory", "memory_bytes"}, {"name", "name"}};
  size_t n = json_array_size(rows), i;
  json_t **all = malloc((n + 1) * sizeof *all), *row;
  if (!all) return;
  for (i = 0; i < sizeof keys / sizeof keys[0]; i++)
    if (!strcmp(by, keys[i][0])) sort_key = keys[i][1];
  json_array_foreach(rows, i, row) all[i] = json_incref(row);
  qsort(all, n, sizeof *all, by_key);
  json_array_clear(rows);
  for (i = 0; i < n; i++) json_array_append_new(rows, all[i]);
  free(all);
}

/* ---- showing ---------------------------------------------------------------------------------------------------------------
 */
static const char *count(double n, char buf[32]) { return text_number((uint64_t)(n + 0.5), buf); }

static json_t *series(json_t *past, const char *name) { return at(at(past, "series"), name); }

/* Between two looks; before the second one what the node has seen last. */
static double rate_now(const struct sample *was, const struct sample *now, const char *key, double seconds, json_t *past,
                       const char *name) {
  json_t *all = series(past, name);
  if (seconds <= 0) return json_number_value(json_array_get(all, json_array_size(all) - 1));
  return rate(at(was->status, "messages"), at(now->status, "messages"), key, seconds);
}

/* The last ten minutes as bars from nothing to the most. */
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

static unsigned past_lines(json_t *past) { return json_array_size(at(past, "times")) ? 3 : 0; }

static void put_head(const struct sample *was, const struct sample *now, double seconds, json_t *past) {
  json_t *s = now->status, *m = at(s, "messages"), *memory = at(s, "memory");
  json_t *members = at(at(s, "mesh"), "members");
  char a[32], b[32], c[32], d[32];
  printf("%.40s  realm %.20s  up %s\n", text(s, "name"), text(s, "realm"), text_duration(number(s, "uptime_s"), a));
  printf("messages  in %s/s  out %s/s  dropped %s/s  slow consumers %s\n",
         count(rate_now(was, now, "published", seconds, past, "published"), a),
         count(rate_now(was, now, "delivered", seconds, past, "delivered"), b),
         count(rate_now(was, now, "dropped", seconds, past, "dropped"), c), count(number(m, "slow_consumers"), d));
  printf("clients %s of %s  subs %s  services %s", count(number(at(s, "clients"), "count"), a),
         count(number(at(s, "clients"), "limit"), b), count(number(at(s, "subscriptions"), "count"), c),
         count(number(at(s, "services"), "count"), d));
  printf("  calls %s\n", count(number(at(s, "pending_calls"), "count"), a));
  printf("memory %s resident, at most %s planned\n", text_bytes(number(memory, "rss_bytes"), a),
         text_bytes(number(memory, "plan_bytes"), b));
  printf("mesh   %s alive, %s suspect, %s dead\n", count(number(members, "alive"), a), count(number(members, "suspect"), b),
         count(number(members, "dead"), c));
  put_past(past, "in", "published", false);
  put_past(past, "out", "delivered", false);
  put_past(past, "memory", "rss_bytes", true);
  putchar('\n');
}

static void put_name(const char *name) {
  int bytes = 0, width = 0;
  for (; name[bytes] && ((name[bytes] & 0xc0) == 0x80 || width < NAME_WIDTH); bytes++) width += (name[bytes] & 0xc0) != 0x80;
  printf("%.*s%*s", bytes, name, NAME_WIDTH - width, "");
}

static void put_clients(const struct sample *now, size_t most) {
  char a[32], b[32], c[32];
  size_t i;
  json_t *row;
  printf("%-16s  %-*s %9s %10s %5s %5s %10s\n", "CLIENT", NAME_WIDTH, "NAME", "DROPPED/S", "QUEUED", "CALLS", "SUBS", "MEMORY");
  json_array_foreach(now->clients, i, row) {
    if (i == most) break;
    const char *id = text(row, "id");
    bool keyless = strspn(id, "0") == strlen(id);
    printf("%.16s  ", keyless ? text(row, "instance") : id);
    put_name(text(row, "name"));
    printf(" %9s %10s %5.0f %5.0f %10s\n", count(number(row, "dropped_per_s"), a), text_bytes(number(row, "queued_bytes"), b),
           number(row, "pending_calls"), number(row, "subscriptions"), text_bytes(number(row, "memory_bytes"), c));
  }
  if (i < json_array_size(now->clients)) printf("%zu more\n", json_array_size(now->clients) - i);
}

static void put_peers(const struct sample *now) {
  char a[32];
  size_t i;
  json_t *row;
  if (!json_array_size(now->peers)) return;
  printf("\n%-16s  %-*s %-20s %8s %10s\n", "NODE", NAME_WIDTH, "NAME", "STATE", "RTT MS", "QUEUED");
  json_array_foreach(now->peers, i, row) {
    printf("%.16s  ", text(row, "id"));
    put_name(text(row, "name"));
    printf(" %-20.20s %8.2f %10s\n", text(row, "state"), number(row, "rtt_us") / 1000,
           text_bytes(number(row, "queued_bytes"), a));
  }
}

static bool put_json(const struct sample *was, const struct sample *now, double seconds, json_t *past) {
  json_t *m = at(now->status, "messages"), *before = at(was->status, "messages");
  return text_put_json(json_pack("{s:f,s:{s:f,s:f,s:f},s:O,s:O,s:O,s:O*}", "seconds", seconds, "rates", "published",
                                 rate(before, m, "published", seconds), "delivered", rate(before, m, "delivered", seconds),
                                 "dropped", rate(before, m, "dropped", seconds), "status", now->status, "clients", now->clients,
                                 "peers", now->peers, "history", past));
}

static bool show(struct cli *cli, const struct top_options *o, const struct sample *was, const struct sample *now,
                 json_t *past) {
  double seconds = (double)(now->at - was->at) / 1e9;
  struct screen screen;
  add_rates(was, now, seconds);
  sort(now->clients, o->sort ? o->sort : "dropped");
  if (cli->json) return put_json(was, now, seconds, o->once ? past : NULL);
  if (!o->once && !screen_begin(&screen)) return false;
  size_t rows = o->once ? SIZE_MAX : screen_rows(), below = past_lines(past);
  if (json_array_size(now->peers)) below += json_array_size(now->peers) + 2;
  put_head(was, now, seconds, past);
  put_clients(now, rows > HEAD_ROWS + below ? rows - HEAD_ROWS - below : 1);
  put_peers(now);
  return o->once ? fflush(stdout) == 0 : screen_end(&screen);
}

static int run(struct cli *cli, void *options_set) {
  const struct top_options *o = options_set;
  struct sample was = {0}, now = {0};
  json_t *past = NULL;
  uint64_t past_at = 0;
  int code = cli_connect(cli, true);
  if (code || (code = take(cli, &was))) return code;
  cli->prints = true;
  take_past(cli, &past, &past_at);
  uint64_t next = cli_now();
  code = o->once || cli->json || show(cli, o, &was, &was, past) ? -1 : EXIT_FAILED;
  while (code < 0) {
    code = screen_wait(cli, &next, o->interval ? o->interval : 1000);
    int asked = code < 0 ? take(cli, &now) : 0;
    if (code >= 0 || (code = asked ? asked : -1) >= 0) break;
    take_past(cli, &past, &past_at);
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
    "watch rates, queues and clients",
    "Shows each second what the node does: messages a second, who loses some, whose\n"
    "queue is long, what each client holds, and the other nodes; and as bars what\n"
    "the last ten minutes were like, up to the most of them. For operators.\n\n"
    "  --sort KEY      clients by dropped (default), queued, calls, subs, memory or\n"
    "                  name\n"
    "  --interval T    time between two looks, from 100ms on (1s)\n"
    "  --once          one look, and end; with --json for programs\n\n"
    "Example: macula top --once\n",
    options,
    sizeof(struct top_options),
    0,
    0,
    run,
};
