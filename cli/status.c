/* macula status, clients, subs, services, peers: what the node's own renderer says, as tables. */
#include <string.h>

#include "cli.h"

#define PAGE 1000
#define MAX_COLUMNS 16

/* ---- status ----------------------------------------------------------------------------------------------------------------
 */
static const char *text_of(json_t *j, const char *key) {
  const char *s = json_string_value(json_object_get(j, key));
  return s ? s : "-";
}

static void put_counted(const char *label, json_t *status, const char *key) {
  json_t *j = json_object_get(status, key), *limit = json_object_get(j, "limit");
  char a[32], b[32];
  if (!json_is_object(j)) return;
  printf("%-15s %s", label, text_number((uint64_t)json_integer_value(json_object_get(j, "count")), a));
  if (json_is_integer(limit)) printf(" of %s", text_number((uint64_t)json_integer_value(limit), b));
  putchar('\n');
}

static double number_of(json_t *j, const char *key) { return json_number_value(json_object_get(j, key)); }

static const char *count_of(json_t *row, const char *key, char buf[32]) {
  double n = number_of(row, key);
  return n > 0 ? text_number((uint64_t)n, buf) : "-";
}

static const char *size_of(json_t *row, const char *key, char buf[32]) {
  double n = number_of(row, key);
  return n > 0 ? text_bytes(n, buf) : "-";
}

/* What the process holds and may hold, then a line for each row of the node's table of memory that holds anything or did.
 */
static void put_memory(json_t *memory) {
  char a[32], b[32], c[32], d[32], e[32], f[32], g[32], h[32];
  size_t i, empty = 0;
  json_t *row;
  if (!json_is_object(memory)) return;
  double plan = number_of(memory, "plan_bytes"), most = number_of(memory, "memory_max_bytes");
  printf("%-15s %s resident; at most %s planned", "memory", text_bytes(number_of(memory, "rss_bytes"), a), text_bytes(plan, b));
  if (most > 0) printf(", memory_max %s", text_bytes(most, a));
  printf("\n\n%-14s %9s %9s %10s %10s %9s %8s %8s %8s\n", "TABLE", "ENTRIES", "LIMIT", "BYTES", "AT MOST", "EACH", "REFUSED",
         "EVICTED", "EXPIRED");
  json_array_foreach(json_object_get(memory, "rows"), i, row) {
    if (number_of(row, "bytes") + number_of(row, "entries") + number_of(row, "refused") + number_of(row, "evicted") +
            number_of(row, "expired") <=
        0) {
      empty++;
      continue;
    }
    printf("%-14s %9s %9s %10s %10s %9s %8s %8s %8s\n", text_of(row, "name"), count_of(row, "entries", a),
           count_of(row, "limit", b), size_of(row, "bytes", c), size_of(row, "limit_bytes", d), size_of(row, "entry_bytes", e),
           count_of(row, "refused", f), count_of(row, "evicted", g), count_of(row, "expired", h));
  }
  if (empty) printf("%zu more that hold nothing: --json shows all\n", empty);
}

static void put_members(json_t *j) {
  char a[32];
  if (!json_is_object(j)) return;
  printf("%-15s %s alive", "members", text_number((uint64_t)json_integer_value(json_object_get(j, "alive")), a));
  for (int i = 0; i < 2; i++) {
    const char *state = i ? "dead" : "suspect";
    json_int_t n = json_integer_value(json_object_get(j, state));
    if (n) printf(", %s %s", text_number((uint64_t)n, a), state);
  }
  putchar('\n');
}

static void put_turns(json_t *j) {
  char a[32], b[32];
  if (!json_is_object(j) || number_of(j, "longest_us") <= 0) return;
  printf("%-15s %s; the longest computed %.1f ms (%s), %s over 5 ms\n", "turns",
         text_number((uint64_t)number_of(j, "count"), a), number_of(j, "longest_us") / 1000, text_of(j, "cause"),
         text_number((uint64_t)number_of(j, "over_5_ms"), b));
}

static int run_status(struct cli *cli, void *options) {
  json_t *j;
  char buf[32];
  (void)options;
  int code = cli_connect(cli, true);
  if (code || (code = cli_node_call(cli->link.client, "status", json_object(), &j))) return code;
  if (cli->json) return text_put_json(j) ? 0 : EXIT_FAILED;
  printf("%-15s %s\n", "node", text_of(j, "node_id"));
  printf("%-15s %s\n", "name", text_of(j, "name"));
  printf("%-15s %s\n", "realm", text_of(j, "realm"));
  printf("%-15s %s\n", "uptime", text_duration(json_number_value(json_object_get(j, "uptime_s")), buf));
  put_counted("clients", j, "clients");
  put_counted("peers", j, "peers");
  put_members(json_object_get(json_object_get(j, "mesh"), "members"));
  put_counted("subscriptions", j, "subscriptions");
  put_counted("services", j, "services");
  put_counted("pending calls", j, "pending_calls");
  put_turns(json_object_get(j, "turns"));
  put_memory(json_object_get(j, "memory"));
  json_decref(j);
  return 0;
}

/* ---- lists -----------------------------------------------------------------------------------------------------------------
 */
struct table {
  const char *columns[MAX_COLUMNS];
  int widths[MAX_COLUMNS];
  size_t count;
};

/* A cell's text; of ids the first digits, which are enough for `clients end`: --json has them whole. */
static void cell(json_t *v, char buf[128]) {
  char *dumped = NULL;
  if (!v) v = json_null();
  switch (json_typeof(v)) {
  case JSON_STRING:
    snprintf(buf, 128, strlen(json_string_value(v)) == 64 ? "%.16s" : "%.100s", json_string_value(v));
    break;
  case JSON_INTEGER:
    snprintf(buf, 128, "%lld", (long long)json_integer_value(v));
    break;
  case JSON_REAL:
    snprintf(buf, 128, "%.1f", json_real_value(v));
    break;
  case JSON_TRUE:
    snprintf(buf, 128, "yes");
    break;
  case JSON_FALSE:
    snprintf(buf, 128, "no");
    break;
  case JSON_NULL:
    snprintf(buf, 128, "-");
    break;
  case JSON_ARRAY:
  case JSON_OBJECT:
    dumped = json_dumps(v, JSON_COMPACT);
    snprintf(buf, 128, "%.100s", dumped ? dumped : "?");
    free(dumped);
  }
  text_clean(buf); /* 100 bytes may end within a character */
  if (!buf[0]) snprintf(buf, 128, "-");
}

/* printf would pad to bytes, not to characters. */
static void put_cell(const struct table *t, size_t column, const char *text) {
  bool last = column + 1 == t->count;
  printf("%s%*s", text, last ? 0 : t->widths[column] - (int)text_width(text) + 2, "");
  if (last) putchar('\n');
}

static void put_head(const struct table *t) {
  char buf[128];
  for (size_t c = 0; c < t->count; c++) {
    snprintf(buf, sizeof buf, "%s", t->columns[c]);
    text_clean(buf);
    for (char *p = buf; *p; p++)
      if (*p >= 'a' && *p <= 'z') *p = (char)(*p - 32);
    put_cell(t, c, buf);
  }
}

/* A line of the list of clients has at most 80 columns, as far as the address is of IPv4. */
static const struct {
  const char *key;
  int most; /* characters; 0: any number */
} client_columns[] = {{"id", 16}, {"name", 14}, {"role", 8}, {"grant", 10}, {"address", 0}};

static void cut(char *text, int most) {
  char *p = text;
  if (!most || (int)text_width(text) <= most) return;
  for (int left = most - 1; left; p++) left -= (p[1] & 0xc0) != 0x80; /* whole characters of UTF-8 */
  strcpy(p, "~");
}

/* Who has shown no key is named by its instance, as `clients end` takes it. */
static void client_cell(json_t *row, size_t column, char buf[128]) {
  const char *key = client_columns[column].key, *id = json_string_value(json_object_get(row, "id"));
  bool keyless = !strcmp(key, "id") && id && strspn(id, "0") == strlen(id);
  cell(json_object_get(row, keyless ? "instance" : key), buf);
  if (keyless) buf[16] = 0;
  cut(buf, client_columns[column].most);
}

static void put_clients(json_t *rows) {
  struct table t = {.count = sizeof client_columns / sizeof client_columns[0]};
  char buf[128];
  size_t i;
  json_t *row;
  for (size_t c = 0; c < t.count; c++) {
    t.columns[c] = client_columns[c].key;
    t.widths[c] = (int)strlen(t.columns[c]);
    json_array_foreach(rows, i, row) {
      client_cell(row, c, buf);
      if ((int)text_width(buf) > t.widths[c]) t.widths[c] = (int)text_width(buf);
    }
  }
  put_head(&t);
  json_array_foreach(rows, i, row) {
    for (size_t c = 0; c < t.count; c++) {
      client_cell(row, c, buf);
      put_cell(&t, c, buf);
    }
  }
}

static void put_table(json_t *rows) {
  struct table t = {0};
  size_t i;
  json_t *row, *v;
  const char *key;
  char buf[128];
  json_array_foreach(rows, i, row) {
    json_object_foreach(row, key, v) {
      size_t c = 0;
      while (c < t.count && strcmp(t.columns[c], key) != 0) c++;
      if (c == t.count) {
        if (c == MAX_COLUMNS) continue;
        t.columns[t.count++] = key;
        t.widths[c] = (int)strlen(key);
      }
      cell(v, buf);
      if ((int)text_width(buf) > t.widths[c]) t.widths[c] = (int)text_width(buf);
    }
  }
  put_head(&t);
  json_array_foreach(rows, i, row) {
    for (size_t c = 0; c < t.count; c++) {
      cell(json_object_get(row, t.columns[c]), buf);
      put_cell(&t, c, buf);
    }
  }
}

static json_t *rows_of(json_t *answer) {
  const char *key;
  json_t *v;
  if (json_is_array(answer)) return answer;
  json_object_foreach(answer, key, v) {
    if (json_is_array(v)) return v;
  }
  return NULL;
}

static int run_list(struct cli *cli, const char *what) {
  json_t *all = NULL, *page, *rows = NULL;
  int code = cli_connect(cli, true);
  for (size_t offset = 0; !code;) {
    code = cli_node_call(cli->link.client, what, json_pack("{s:I,s:i}", "offset", (json_int_t)offset, "limit", PAGE), &page);
    if (code) break;
    json_t *more = rows_of(page);
    size_t got = json_array_size(more), total = (size_t)json_integer_value(json_object_get(page, "total"));
    if (!more) {
      json_decref(page);
      code = cli_failed(MACULA_EINTERNAL, NULL, "the node's answer has no list; is it of another version?");
      break;
    }
    if (all) {
      json_array_extend(rows, more);
      json_decref(page);
    } else {
      all = page;
      rows = more;
    }
    offset += got;
    if (!got || offset >= total) break;
  }
  if (!code && cli->json) {
    code = text_put_json(json_incref(all)) ? 0 : EXIT_FAILED;
  } else if (!code) {
    if (json_array_size(rows))
      (strcmp(what, "clients") ? put_table : put_clients)(rows);
    else
      printf("no %s\n", strcmp(what, "subs") == 0 ? "subscriptions" : what);
  }
  json_decref(all);
  return code;
}

static int run_peers(struct cli *cli, void *options) { return (void)options, run_list(cli, "peers"); }
static int end_client(struct cli *cli) {
  json_t *j;
  int code = cli_connect(cli, true);
  if (code || (code = cli_node_call(cli->link.client, "end", json_pack("{s:s}", "id", cli->argv[1]), &j))) return code;
  if (cli->json) return text_put_json(j) ? 0 : EXIT_FAILED;
  printf("ended %lld\n", (long long)json_integer_value(json_object_get(j, "ended")));
  json_decref(j);
  return 0;
}
static int run_clients(struct cli *cli, void *options) {
  (void)options;
  if (!cli->argc) return run_list(cli, "clients");
  if (cli->argc == 2 && !strcmp(cli->argv[0], "end")) return end_client(cli);
  return cli_invalid(MACULA_EINVAL, "it is `clients` or `clients end ID`");
}
static int run_services(struct cli *cli, void *options) { return (void)options, run_list(cli, "services"); }
static int run_subs(struct cli *cli, void *options) { return (void)options, run_list(cli, "subs"); }

#define NOTE                                                                                                                   \
  "Answered also while the node is full, to operators: who has that role by the\n"                                             \
  "node's access file or a pass, or is on its machine where access is open.\n\n"
const struct command command_status = {"status",
                                       "status",
                                       "show the node and its limits",
                                       "Shows node, realm, uptime, clients, subscriptions, services and pending calls,\n"
                                       "each with its limit, and the table of memory: each row's entries and bytes, now\n"
                                       "and at most, bytes an entry, and what was refused, evicted or expired.\n" NOTE
                                       "Example: macula --json status\n",
                                       NULL,
                                       0,
                                       0,
                                       0,
                                       run_status};
const struct command command_peers = {"peers",
                                      "peers",
                                      "list the other nodes of the mesh",
                                      "Lists the other nodes: address, state, whether in the pool of connections, round\n"
                                      "trip time, age.\n" NOTE "Example: macula peers\n",
                                      NULL,
                                      0,
                                      0,
                                      0,
                                      run_peers};
const struct command command_clients = {"clients",
                                        "clients [end ID]",
                                        "list the node's clients, or end one",
                                        "Lists the clients that are in; --json says more of each. `clients end ID` ends\n"
                                        "all connections of the client or node with this id at once, or the one whose\n"
                                        "id alone begins so; it may come back unless its grant or pass is taken from it.\n" NOTE
                                        "Example: macula clients\n",
                                        NULL,
                                        0,
                                        0,
                                        2,
                                        run_clients,
                                        "end"};
const struct command command_services = {"services",
                                         "services",
                                         "list what is served",
                                         "Lists procedures and who serves them.\n" NOTE "Example: macula services\n",
                                         NULL,
                                         0,
                                         0,
                                         0,
                                         run_services};
const struct command command_subs = {"subs",
                                     "subs",
                                     "list subscriptions",
                                     "Lists patterns and who subscribed to them.\n" NOTE "Example: macula subs\n",
                                     NULL,
                                     0,
                                     0,
                                     0,
                                     run_subs};
