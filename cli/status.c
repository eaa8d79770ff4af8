/* macula status: what the node's own renderer says of the node and its memory. */
#include <string.h>

#include "mesh.h"
#include "table.h"

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

static void text_of_count(json_t *row, const char *key, bool wide, char buf[TABLE_CELL]) {
  double n = number_of(row, key);
  buf[0] = 0;
  if (n >= 1e7 && !wide)
    table_count(row, key, wide, buf);
  else if (n > 0)
    text_number((uint64_t)n, buf);
}

static void text_of_size(json_t *row, const char *key, bool wide, char buf[TABLE_CELL]) {
  double n = number_of(row, key);
  (void)wide;
  buf[0] = 0;
  if (n > 0) text_bytes(n, buf);
}

/* What the process holds and may hold, then a line for each row of the node's table of memory that holds anything or did.
 */
static void put_memory(json_t *memory, bool wide) {
  static const struct table_column columns[] = {{"TABLE", "name", 13, false, NULL},
                                                {"ENTRIES", "entries", 9, true, text_of_count},
                                                {"LIMIT", "limit", 9, true, text_of_count},
                                                {"BYTES", "bytes", 9, true, text_of_size},
                                                {"AT MOST", "limit_bytes", 9, true, text_of_size},
                                                {"EACH", "entry_bytes", 0, true, text_of_size},
                                                {"PEAK", "peak_bytes", 0, true, text_of_size},
                                                {"REFUSED", "refused", 7, true, text_of_count},
                                                {"EVICTED", "evicted", 7, true, text_of_count},
                                                {"EXPIRED", "expired", 0, true, text_of_count},
                                                {0}};
  char a[32], b[32], c[32];
  size_t i, empty = 0;
  json_t *row, *rows = json_array();
  if (!json_is_object(memory)) return json_decref(rows);
  double plan = number_of(memory, "plan_bytes"), most = number_of(memory, "memory_max_bytes");
  printf("%-15s %s resident, %s planned", "memory", text_bytes(number_of(memory, "rss_bytes"), a), text_bytes(plan, b));
  if (most > 0) printf(", memory_max %s", text_bytes(most, c));
  fputs("\n\n", stdout);
  json_array_foreach(json_object_get(memory, "rows"), i, row) {
    double held = number_of(row, "bytes") + number_of(row, "entries") + number_of(row, "refused") + number_of(row, "evicted") +
                  number_of(row, "expired");
    if (held > 0)
      json_array_append(rows, row);
    else
      empty++;
  }
  table_put(stdout, rows, columns, wide);
  json_decref(rows);
  if (empty) printf("%zu more that hold nothing: --json shows all\n", empty);
}

/* Nothing, while there is nothing to say. */
static void put_ready(json_t *status) {
  const char *note = json_string_value(json_object_get(status, "note"));
  bool ready = json_is_true(json_object_get(status, "ready"));
  if (ready && !note) return;
  printf("%-15s %s%s%s\n", "ready", ready ? "yes" : "no", note ? ": " : ": it ends, and takes no new clients",
         note ? note : "");
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
  const char *cause = text_of(j, "cause");
  bool has = cause[0] && cause[0] != '-';
  printf("%-15s %s; the longest computed %.1f ms%s%s%s, %s over 5 ms\n", "turns",
         text_number((uint64_t)number_of(j, "count"), a), number_of(j, "longest_us") / 1000, has ? " (" : "", has ? cause : "",
         has ? ")" : "", text_number((uint64_t)number_of(j, "over_5_ms"), b));
}

struct status_options {
  bool wide, mesh;
  const char *node;
};

static const struct option_def options_status[] = {{"wide", 'w', OPTION_FLAG, offsetof(struct status_options, wide)},
                                                   {"node", 0, OPTION_TEXT, offsetof(struct status_options, node)},
                                                   {"mesh", 0, OPTION_FLAG, offsetof(struct status_options, mesh)},
                                                   {0}};

/* ---- of all nodes ----------------------------------------------------------------------------------------------------------
 */
static const struct table_column columns_mesh[] = {{"NODE", "node", TABLE_ID, false, table_id},
                                                   {"NAME", "name", 10, false, NULL},
                                                   {"READY", "ready", 5, false, NULL},
                                                   {"UP", "uptime_s", 4, true, table_seconds},
                                                   {"CLIENTS", "clients", 7, true, table_count},
                                                   {"SUBS", "subscriptions", 5, true, table_count},
                                                   {"SERVED", "services", 6, true, table_count},
                                                   {"CALLS", "pending_calls", 5, true, table_count},
                                                   {"MEMORY", "rss_bytes", 6, true, table_size},
                                                   {"PUBLISHED", "published", 0, true, NULL},
                                                   {"DROPPED", "dropped", 0, true, NULL},
                                                   {"VERSION", "version", 0, false, NULL},
                                                   {"NOTE", "note", 0, false, NULL},
                                                   {0}};

/* A node's line, of its status. */
static json_t *line_of(const struct mesh_node *n) {
  static const char *const counted[] = {"clients", "subscriptions", "services", "pending_calls"};
  json_t *s = n->answer, *m = json_object_get(s, "messages");
  json_t *j = json_pack("{s:s,s:s,s:O?,s:O?,s:O?,s:O?,s:O?,s:O?,s:O?}", "node", n->id, "name", n->name, "ready",
                        json_object_get(s, "ready"), "uptime_s", json_object_get(s, "uptime_s"), "version",
                        json_object_get(s, "version"), "note", json_object_get(s, "note"), "rss_bytes",
                        json_object_get(json_object_get(s, "memory"), "rss_bytes"), "published",
                        json_object_get(m, "published"), "dropped", json_object_get(m, "dropped"));
  for (size_t i = 0; i < sizeof counted / sizeof counted[0]; i++)
    json_object_set(j, counted[i], json_object_get(json_object_get(s, counted[i]), "count"));
  return j;
}

static int run_mesh(struct cli *cli, bool wide) {
  struct mesh m;
  int code = mesh_find(cli, &m);
  if (code) return code;
  code = mesh_ask(cli, &m, "status", json_object(), NULL, 0);
  json_t *rows = json_array(), *nodes = mesh_nodes_json(&m);
  for (size_t i = 0; i < m.count; i++) {
    if (m.v[i].answer) json_array_append_new(rows, line_of(&m.v[i]));
    if (m.v[i].answer) json_object_set(json_array_get(nodes, i), "status", m.v[i].answer);
  }
  if (!code && cli->json)
    code = text_put_json(json_pack("{s:O}", "nodes", nodes)) ? 0 : EXIT_FAILED;
  else if (!code)
    table_put(stdout, rows, columns_mesh, wide);
  if (!code && !mesh_say_missing(&m)) code = EXIT_FAILED;
  json_decref(rows);
  json_decref(nodes);
  mesh_done(&m);
  return code;
}

static int run_status(struct cli *cli, void *options) {
  const struct status_options *o = options;
  json_t *j;
  char buf[32];
  if (o->mesh && o->node) return cli_invalid(MACULA_EINVAL, "it is --mesh, for all nodes, or --node ID, for one");
  int code = cli_connect(cli, true);
  if (!code && o->mesh) return run_mesh(cli, o->wide);
  if (code || (code = cli_node_call(cli->link.client, "status", json_pack("{s:s*}", "node", o->node), &j))) return code;
  if (cli->json) return text_put_json(j) ? 0 : EXIT_FAILED;
  printf("%-15s %s\n", "node", text_of(j, "node_id"));
  printf("%-15s %s\n", "name", text_of(j, "name"));
  printf("%-15s %s\n", "realm", text_of(j, "realm"));
  printf("%-15s %s\n", "uptime", text_duration(json_number_value(json_object_get(j, "uptime_s")), buf));
  put_ready(j);
  put_counted("clients", j, "clients");
  put_counted("peers", j, "peers");
  put_members(json_object_get(json_object_get(j, "mesh"), "members"));
  put_counted("subscriptions", j, "subscriptions");
  put_counted("services", j, "services");
  put_counted("pending calls", j, "pending_calls");
  put_turns(json_object_get(j, "turns"));
  put_memory(json_object_get(j, "memory"), o->wide);
  json_decref(j);
  return 0;
}

const struct command command_status = {"status",
                                       "status [--wide] [--node ID | --mesh]",
                                       "show the node and its limits",
                                       "Shows node, realm, uptime, clients, subscriptions, services and pending calls,\n"
                                       "each with its limit, and the table of memory: each row's entries and bytes, now\n"
                                       "and at most, and what was refused or evicted.\n\n"
                                       "  -w, --wide    also bytes an entry, the most bytes ever, and what expired\n"
                                       "  --node ID     of this node of the mesh, by its id or the first 8 digits of it\n"
                                       "                or more\n"
                                       "  --mesh        a line for each node; those that do not answer are named, and\n"
                                       "                the exit code is 1\n\n"
                                       "Answered also while the node is full, to operators: who has that role by the\n"
                                       "node's access file or a pass, or is on its machine where access is open.\n\n"
                                       "Example: macula --json status\n"
                                       "Example: macula status --mesh\n",
                                       options_status,
                                       sizeof(struct status_options),
                                       0,
                                       0,
                                       run_status};
