/* macula clients, subs, services, peers: the node's lists as tables. */
#include <string.h>

#include "mesh.h"
#include "table.h"

#define PAGE 1000

struct list_options {
  bool wide, mesh;
  const char *node;
};

struct services_options {
  struct list_options list;
  bool describe;
};
static const struct option_def options_services[] = {{"wide", 'w', OPTION_FLAG, offsetof(struct services_options, list.wide)},
                                                     {"describe", 0, OPTION_FLAG, offsetof(struct services_options, describe)},
                                                     {"node", 0, OPTION_TEXT, offsetof(struct services_options, list.node)},
                                                     {"mesh", 0, OPTION_FLAG, offsetof(struct services_options, list.mesh)},
                                                     {0}};
static const struct option_def options_list[] = {{"wide", 'w', OPTION_FLAG, offsetof(struct list_options, wide)},
                                                 {"node", 0, OPTION_TEXT, offsetof(struct list_options, node)},
                                                 {"mesh", 0, OPTION_FLAG, offsetof(struct list_options, mesh)},
                                                 {0}};
static const struct option_def options_peers[] = {{"wide", 'w', OPTION_FLAG, offsetof(struct list_options, wide)},
                                                  {"node", 0, OPTION_TEXT, offsetof(struct list_options, node)},
                                                  {0}};

/* ---- columns ---------------------------------------------------------------------------------------------------------------
 */
static void copy(json_t *row, const char *key, char buf[TABLE_CELL]) {
  const char *text = json_string_value(json_object_get(row, key));
  snprintf(buf, TABLE_CELL, "%s", text ? text : "");
}

/* Of a session of MQTT whose client is not connected, the door by which it came is no more than history. */
static void text_of_door(json_t *row, const char *key, bool wide, char buf[TABLE_CELL]) {
  bool away = json_is_false(json_object_get(row, "connected"));
  copy(row, key, buf);
  if (away && !wide) snprintf(buf, TABLE_CELL, "away");
}

/* Of a client: what stands in both tables behind its user, and what only wide ones have. */
#define CLIENT_COUNTS                                                                                                          \
  {"INFLIGHT", "inflight", 8, true, table_count}, {"QUEUE", "queued_bytes", 5, true, table_size}, {                            \
    "DROPS", "dropped", 5, true, table_count                                                                                   \
  }
#define CLIENT_WIDE                                                                                                            \
  {"CONNECTED", "connected", 0, false, NULL}, {"ROLE", "role", 0, false, NULL}, {"GRANT", "grant", 0, false, NULL},            \
      {"SINCE", "since_s", 0, true, table_seconds}, {"SUBS", "subscriptions", 0, true, NULL},                                  \
      {"SERVICES", "services", 0, true, NULL}, {"CALLS", "pending_calls", 0, true, NULL},                                      \
      {"REFUSED", "refused", 0, true, NULL}, {"MEMORY", "memory_bytes", 0, true, NULL},                                        \
      {"ADDRESS", "address", 0, false, NULL}, {                                                                                \
    "INSTANCE", "instance", 0, false, NULL                                                                                     \
  }

static const struct table_column clients[] = {{"ID", "id", TABLE_ID, false, table_id},
                                              {"CLIENT", "name", 13, false, NULL},
                                              {"DOOR", "door", 5, false, text_of_door},
                                              {"PROTO", "protocol", 6, false, NULL},
                                              {"USER", "user", 8, false, NULL},
                                              CLIENT_COUNTS,
                                              {"MESSAGES", "queued_messages", 0, true, NULL},
                                              CLIENT_WIDE,
                                              {0}};

/* Of all nodes: of theirs as many digits as --node takes. */
static void text_of_node(json_t *row, const char *key, bool wide, char buf[TABLE_CELL]) {
  copy(row, key, buf);
  if (!wide && strlen(buf) > 8) buf[8] = 0;
}

static const struct table_column clients_of_mesh[] = {{"NODE", "node", 8, false, text_of_node},
                                                      {"ID", "id", TABLE_ID, false, table_id},
                                                      {"CLIENT", "name", 13, false, NULL},
                                                      {"DOOR", "door", 5, false, text_of_door},
                                                      {"PROTO", "protocol", 6, false, NULL},
                                                      CLIENT_COUNTS,
                                                      {"USER", "user", 0, false, NULL},
                                                      CLIENT_WIDE,
                                                      {0}};

static const struct table_column subs_of_mesh[] = {
    {"NODE", "node", 8, false, text_of_node}, {"PATTERN", "pattern", 26, false, NULL},  {"ID", "id", TABLE_ID, false, table_id},
    {"CLIENT", "name", 10, false, NULL},      {"GROUP", "group", 7, false, NULL},       {"QOS", "qos", 3, true, NULL},
    {"OWN", "own", 0, false, NULL},           {"INSTANCE", "instance", 0, false, NULL}, {0}};

static const struct table_column services_of_mesh[] = {
    {"NODE", "node", 8, false, text_of_node},         {"PROCEDURE", "procedure", 23, false, NULL},
    {"ID", "id", TABLE_ID, false, table_id},          {"CLIENT", "name", 8, false, NULL},
    {"CALLS", "pending_calls", 5, true, table_count}, {"AGE", "age_s", 4, true, table_seconds},
    {"ENDS", "expires_s", 4, true, table_seconds},    {"TTL", "ttl_s", 0, true, table_seconds},
    {"INSTANCE", "instance", 0, false, NULL},         {0}};

static const struct table_column subs[] = {{"PATTERN", "pattern", 30, false, NULL},
                                           {"ID", "id", TABLE_ID, false, table_id},
                                           {"CLIENT", "name", 14, false, NULL},
                                           {"GROUP", "group", 9, false, NULL},
                                           {"QOS", "qos", 3, true, NULL},
                                           {"OWN", "own", 0, false, NULL},
                                           {"INSTANCE", "instance", 0, false, NULL},
                                           {0}};

static const struct table_column services[] = {{"PROCEDURE", "procedure", 29, false, NULL},
                                               {"ID", "id", TABLE_ID, false, table_id},
                                               {"CLIENT", "name", 13, false, NULL},
                                               {"CALLS", "pending_calls", 5, true, table_count},
                                               {"AGE", "age_s", 4, true, table_seconds},
                                               {"TTL", "ttl_s", 0, true, table_seconds},
                                               {"ENDS", "expires_s", 4, true, table_seconds},
                                               {"INSTANCE", "instance", 0, false, NULL},
                                               {0}};

static const struct {
  const char *state, *brief;
} states[] = {{"connected, acknowledges nothing", "silent"}, {"alive, not reachable directly", "indirect"}};

static void text_of_state(json_t *row, const char *key, bool wide, char buf[TABLE_CELL]) {
  copy(row, key, buf);
  for (size_t i = 0; i < sizeof states / sizeof states[0] && !wide; i++)
    if (!strcmp(buf, states[i].state)) snprintf(buf, TABLE_CELL, "%s", states[i].brief);
}

static const struct table_column peers[] = {{"ID", "id", TABLE_ID, false, table_id},
                                            {"NAME", "name", 12, false, NULL},
                                            {"STATE", "state", 9, false, text_of_state},
                                            {"RTT", "rtt_us", 6, true, table_micros},
                                            {"AGE", "age_s", 4, true, table_seconds},
                                            {"ADDRESS", "address", 21, false, NULL},
                                            {"POOL", "in_pool", 0, false, NULL},
                                            {"DIALLED", "dialled", 0, false, NULL},
                                            {"DIALABLE", "dialable", 0, false, NULL},
                                            {"QUEUE", "queued_bytes", 0, true, NULL},
                                            {"PATTERNS", "patterns", 0, true, NULL},
                                            {"RETAINED", "retained", 0, true, NULL},
                                            {"MEMORY", "memory_bytes", 0, true, NULL},
                                            {"GATEWAY", "gateway", 0, false, NULL},
                                            {0}};

/* ---- lists -----------------------------------------------------------------------------------------------------------------
 */
static json_t *rows_of(json_t *answer) {
  const char *key;
  json_t *v;
  if (json_is_array(answer)) return answer;
  json_object_foreach(answer, key, v) {
    if (json_is_array(v)) return v;
  }
  return NULL;
}

/* All pages: the first answer with the rows of all, for json_decref, NULL on failure; the rows are a view of it. node: whose;
 * NULL: of the one that is connected. */
static int take_list(struct cli *cli, const char *what, const char *node, json_t **ret_all, json_t **ret_rows) {
  json_t *all = NULL, *page, *rows = NULL;
  int code = cli_connect(cli, true);
  for (size_t offset = 0; !code;) {
    code = cli_node_call(cli->link.client, what,
                         json_pack("{s:I,s:i,s:s*}", "offset", (json_int_t)offset, "limit", PAGE, "node", node), &page);
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
  *ret_all = all;
  *ret_rows = rows;
  return code;
}

static const char *plural(const char *what) { return strcmp(what, "subs") == 0 ? "subscriptions" : what; }

/* Of all nodes; those that do not answer are named. */
static int run_mesh_list(struct cli *cli, const char *what, const struct table_column *columns, bool is_wide) {
  struct mesh m;
  int code = cli_connect(cli, true);
  if (code || (code = mesh_find(cli, &m))) return code;
  if ((code = mesh_ask(cli, &m, what, json_object(), what, SIZE_MAX)) != 0) {
    mesh_done(&m);
    return code;
  }
  json_t *rows = mesh_rows(&m);
  if (cli->json) {
    bool put = text_put_json(
        json_pack("{s:I,s:o,s:O}", "total", (json_int_t)json_array_size(rows), "nodes", mesh_nodes_json(&m), what, rows));
    code = put ? 0 : EXIT_FAILED;
  } else if (json_array_size(rows)) {
    table_put(stdout, rows, columns, is_wide);
  } else {
    printf("no %s\n", plural(what));
  }
  if (!mesh_say_missing(&m)) code = EXIT_FAILED;
  json_decref(rows);
  mesh_done(&m);
  return code;
}

static int run_list(struct cli *cli, const char *what, const struct table_column *columns, const struct table_column *of_mesh,
                    const struct list_options *o) {
  json_t *all, *rows;
  if (o->mesh && o->node) return cli_invalid(MACULA_EINVAL, "it is --mesh, for all nodes, or --node ID, for one");
  if (o->mesh) return run_mesh_list(cli, what, of_mesh, o->wide);
  int code = take_list(cli, what, o->node, &all, &rows);
  if (!code && cli->json) {
    code = text_put_json(json_incref(all)) ? 0 : EXIT_FAILED;
  } else if (!code) {
    if (json_array_size(rows))
      table_put(stdout, rows, columns, o->wide);
    else
      printf("no %s\n", plural(what));
  }
  json_decref(all);
  return code;
}

static int run_peers(struct cli *cli, void *options) { return run_list(cli, "peers", peers, NULL, options); }

/* What a procedure says that it is; NULL: it does not say. */
static json_t *description_of(macula_client client, json_t *served, const char *name) {
  static const macula_call_options how = {MACULA_INIT(macula_call_options), .idempotent = true};
  char describes[512], *answer = NULL;
  size_t len;
  snprintf(describes, sizeof describes, "%.400s" CLI_DESCRIBES, name);
  if (!json_object_get(served, describes)) return NULL;
  if (macula_call_sync(client, describes, "{}", 2, &how, 5000, &answer, &len)) return NULL;
  json_t *j = json_loadb(answer, len, JSON_DECODE_ANY, NULL);
  macula_free(answer);
  text_clean_json(j);
  return j;
}

static void put_description(const char *name, json_t *description) {
  char *text = description ? json_dumps(description, JSON_INDENT(2) | JSON_ENCODE_ANY) : NULL;
  text_put_word(stdout, name);
  printf(": %s\n", text ? text : "not described");
  free(text);
}

/* What is served there, for json_decref. */
static int take_services(struct cli *cli, const struct list_options *o, json_t **ret_rows) {
  json_t *all, *rows;
  struct mesh m;
  int code = cli_connect(cli, true);
  *ret_rows = NULL;
  if (!code && o->mesh) {
    if ((code = mesh_find(cli, &m))) return code;
    code = mesh_ask(cli, &m, "services", json_object(), "services", SIZE_MAX);
    if (!code) *ret_rows = mesh_rows(&m);
    if (!code) (void)mesh_say_missing(&m);
    mesh_done(&m);
  } else if (!code) {
    code = take_list(cli, "services", o->node, &all, &rows);
    *ret_rows = json_incref(rows);
    json_decref(all);
  }
  return code;
}

/* The procedures of these nodes' clients, each with what it is. */
static int run_described(struct cli *cli, const struct list_options *o) {
  json_t *rows, *row, *served = json_object(), *v, *found = json_array();
  const char *name;
  size_t i;
  macula_client client = {0}; /* the operator's slot is for questions to the node alone */
  int code = take_services(cli, o, &rows), err = 0;
  if (!code) {
    macula_options as_client = cli_client_options(cli);
    if ((err = macula_connect(cli->loop, &as_client, &client)) || (err = macula_connect_wait(client, 10000)))
      code = cli_failed(err, NULL, macula_last_error());
  }
  if (!code) {
    json_array_foreach(rows, i, row) json_object_set(served, json_string_value(json_object_get(row, "procedure")), row);
    json_object_foreach(served, name, v) {
      size_t len = strlen(name), end = strlen(CLI_DESCRIBES);
      if (len > end && !strcmp(name + len - end, CLI_DESCRIBES)) continue;
      json_t *description = description_of(client, served, name);
      if (cli->json)
        json_array_append_new(found, json_pack("{s:s,s:O?}", "procedure", name, "description", description));
      else
        put_description(name, description);
      json_decref(description);
    }
  }
  if (!code && cli->json) code = text_put_json(json_incref(found)) ? 0 : EXIT_FAILED;
  json_decref(found);
  json_decref(served);
  json_decref(rows);
  return code;
}

static int run_services(struct cli *cli, void *options) {
  const struct services_options *o = options;
  return o->describe ? run_described(cli, &o->list) : run_list(cli, "services", services, services_of_mesh, &o->list);
}
static int run_subs(struct cli *cli, void *options) { return run_list(cli, "subs", subs, subs_of_mesh, options); }

static int end_client(struct cli *cli, const char *node) {
  json_t *j;
  if (!cli_is_id(cli->argv[1]))
    return cli_invalid(MACULA_EINVAL,
                       "ID is hexadecimal digits, 64 of them or the first ones, as `macula clients` prints them");
  int code = cli_connect(cli, true);
  if (code || (code = cli_node_call(cli->link.client, "end", json_pack("{s:s,s:s*}", "id", cli->argv[1], "node", node), &j)))
    return code;
  if (cli->json) return text_put_json(j) ? 0 : EXIT_FAILED;
  printf("ended %lld\n", (long long)json_integer_value(json_object_get(j, "ended")));
  json_decref(j);
  return 0;
}

static int run_clients(struct cli *cli, void *options) {
  const struct list_options *o = options;
  if (!cli->argc) return run_list(cli, "clients", clients, clients_of_mesh, o);
  if (cli->argc == 2 && !strcmp(cli->argv[0], "end") && !o->mesh) return end_client(cli, o->node);
  return cli_invalid(MACULA_EINVAL, "it is `clients` or `clients end ID [--node ID]`");
}

#define NODE_NOTE                                                                                                              \
  "\n  -w, --wide    whole ids, nothing cut, and more columns; --json has all\n"                                               \
  "  --node ID     of this node of the mesh, by its id or the first 8 digits of it\n"                                          \
  "                or more\n"
#define NOTE_END                                                                                                               \
  "\n"                                                                                                                         \
  "Answered also while the node is full, to operators: who has that role by the\n"                                             \
  "node's access file or a pass, or is on its machine where access is open.\n\n"
#define PEERS_NOTE NODE_NOTE NOTE_END
#define NOTE                                                                                                                   \
  NODE_NOTE "  --mesh        of all nodes, each row with its node; those that do not answer\n"                                 \
            "                are named, and the exit code is 1\n" NOTE_END
#define LIST_OPTIONS options_list, sizeof(struct list_options)

const struct command command_peers = {"peers",
                                      "peers [--wide] [--node ID]",
                                      "list the other nodes of the mesh",
                                      "Lists the other nodes: id, name, state, round trip time, age of the connection,\n"
                                      "address. silent: it acknowledges nothing; indirect: it is reached through\n"
                                      "another node.\n" PEERS_NOTE "Example: macula peers\n",
                                      options_peers,
                                      sizeof(struct list_options),
                                      0,
                                      0,
                                      run_peers};
const struct command command_clients = {"clients",
                                        "clients [--wide] [--node ID | --mesh] | clients end ID",
                                        "list the node's clients, or end one",
                                        "Lists the clients that are in, by every door (quic, mqtt, mqtts, ws, wss), and\n"
                                        "sessions of MQTT whose client is away: client id or name, version of the\n"
                                        "protocol, user, messages with QoS 1 and 2 that are not acknowledged yet, bytes\n"
                                        "that wait for it, messages that it lost. `clients end ID` ends all connections\n"
                                        "of the client or node with this id at once, or the one whose id alone begins\n"
                                        "so; it may come back unless its grant or pass is taken from it.\n" NOTE
                                        "Example: macula clients\n"
                                        "Example: macula clients --mesh\n",
                                        LIST_OPTIONS,
                                        0,
                                        2,
                                        run_clients,
                                        "end"};
const struct command command_services = {"services",
                                         "services [--wide] [--node ID | --mesh] | services --describe",
                                         "list what is served",
                                         "Lists procedures and who serves them: calls that are pending, since when, and\n"
                                         "when the registration ends unless it is renewed. --describe asks each what it\n"
                                         "takes and gives, as `macula serve --describe FILE` says it.\n" NOTE
                                         "Example: macula services\n"
                                         "Example: macula services --describe\n",
                                         options_services,
                                         sizeof(struct services_options),
                                         0,
                                         0,
                                         run_services};
const struct command command_subs = {"subs",
                                     "subs [--wide] [--node ID | --mesh]",
                                     "list subscriptions",
                                     "Lists patterns and who subscribed to them.\n" NOTE "Example: macula subs\n",
                                     LIST_OPTIONS,
                                     0,
                                     0,
                                     run_subs};
