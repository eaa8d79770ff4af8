/* macula trace: who would hear a topic, by which links, and what of it was lost lately, and why: of the node that is asked, and
 * of those that it would send it to. */
#include <string.h>

#include "mesh.h"

struct trace_options {
  const char *node;
};
static const struct option_def options_trace[] = {{"node", 0, OPTION_TEXT, offsetof(struct trace_options, node)}, {0}};

static json_t *at(json_t *j, const char *key) { return json_object_get(j, key); }
static double number(json_t *j, const char *key) { return json_number_value(at(j, key)); }
static const char *text(json_t *j, const char *key) {
  const char *s = json_string_value(at(j, key));
  return s ? s : "";
}
static const char *plural(double n) { return n == 1 ? "" : "s"; }

/* ---- for people ------------------------------------------------------------------------------------------------------------
 */
static const struct {
  const char *reason, *says;
} reasons[] = {
    {"read_too_slowly", "it read too slowly, and its queue was full"},
    {"slow_consumer", "it read too slowly, and was ended (QoS 1)"},
    {"queue_full", "its queue was full"},
    {"expired", "its time to live was over"},
    {"link_full", "the link to that node was full"},
    {"no_way", "there was no way to that node"},
    {"too_large", "it is larger than that client takes"},
};

static void put_drop(json_t *d, const char *indent) {
  const char *reason = text(d, "reason"), *says = NULL, *who = text(d, "who");
  char n[32], ago[32];
  for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
    if (!strcmp(reason, reasons[i].reason)) says = reasons[i].says;
  bool refused = !strcmp(who, "publisher");
  printf("%s%s %s %.16s %.30s: ", indent, text_number((uint64_t)number(d, "count"), n), refused ? "of" : "for", text(d, "id"),
         text(d, "name"));
  if (refused) fputs("refused, ", stdout);
  printf("%s; the last %s ago\n", says ? says : reason, text_duration(number(d, "last_ms") / 1000, ago));
}

static void put_client(json_t *c, const char *indent) {
  char buf[32];
  printf("%s%.16s  %.30s  %s", indent, text(c, "id"), text(c, "name"), text(c, "door"));
  if (json_is_false(at(c, "connected"))) fputs(", away", stdout);
  if (number(c, "qos") > 0) fputs(", QoS 1", stdout);
  if (number(c, "queued_bytes") > 0) printf(", %s wait", text_bytes(number(c, "queued_bytes"), buf));
  if (number(c, "dropped") > 0) printf(", %s of all its messages lost", text_number((uint64_t)number(c, "dropped"), buf));
  putchar('\n');
}

/* What a node says of the topic. */
static void put_answer(json_t *a, const char *indent, const char *where) {
  json_t *counted = at(a, "counted"), *clients = at(a, "clients"), *drops = at(a, "drops"), *row;
  char n[32], m[32], deeper[16];
  size_t i;
  snprintf(deeper, sizeof deeper, "%s  ", indent);
  if (number(counted, "messages") > 0)
    printf("%spublished %s: %s, %.1f a second, %s a second\n", indent, where,
           text_number((uint64_t)number(counted, "messages"), n), number(counted, "per_s"),
           text_bytes(number(counted, "bytes_per_s"), m));
  if (json_is_true(at(a, "retained"))) printf("%sthe last message is kept %s (retained)\n", indent, where);
  double total = number(a, "total");
  printf("%sheard %s by %.0f client%s%s\n", indent, where, total, plural(total), total > 0 ? ":" : "");
  json_array_foreach(clients, i, row) put_client(row, deeper);
  if (total > (double)json_array_size(clients)) printf("%s%.0f more\n", deeper, total - (double)json_array_size(clients));
  json_array_foreach(at(a, "groups"), i, row) {
    printf("%sby one member of the group ", indent);
    text_put_word(stdout, json_string_value(row));
    putchar('\n');
  }
  if (json_array_size(drops)) printf("%slost %s lately:\n", indent, where);
  json_array_foreach(drops, i, row) put_drop(row, deeper);
}

static void put_way(json_t *node) {
  const char *way = text(node, "way"), *why = text(node, "why"), *via = text(node, "via");
  char buf[32];
  printf("  %.16s  %.30s  ", text(node, "id"), text(node, "name"));
  if (!strcmp(way, "link"))
    fputs("by its own link", stdout);
  else if (!strcmp(way, "none"))
    fputs("not connected now", stdout);
  else
    printf("through the %s %.16s", way, via);
  if (json_is_number(at(node, "rtt_us"))) printf(", %.1f ms", number(node, "rtt_us") / 1000);
  if (number(node, "queued_bytes") > 0) printf(", %s wait", text_bytes(number(node, "queued_bytes"), buf));
  if (json_is_true(at(node, "silent"))) fputs(", acknowledges nothing", stdout);
  if (!strcmp(why, "unknown")) fputs(", has not said what its clients listen to", stdout);
  if (!strcmp(why, "group")) fputs(", has members of a group", stdout);
  putchar('\n');
}

static void put_all(json_t *own, const struct mesh *others) {
  json_t *nodes = at(own, "nodes"), *row;
  size_t i, n = json_array_size(nodes);
  text_put_word(stdout, text(own, "topic"));
  printf(" from node %.16s ", text(own, "node"));
  text_put_word(stdout, text(own, "name"));
  putchar('\n');
  put_answer(own, "  ", "here");
  printf("sent to %zu other node%s%s\n", n, plural((double)n), n ? ":" : "");
  json_array_foreach(nodes, i, row) {
    put_way(row);
    if (i < others->count && others->v[i].answer)
      put_answer(others->v[i].answer, "    ", "there");
    else if (i < others->count)
      printf("    it did not answer: %s\n", macula_err_name(others->v[i].err));
  }
}

/* ---- asking ----------------------------------------------------------------------------------------------------------------
 */
/* The node's answer, in which each of `nodes` has that node's own. */
static bool put_json(json_t *own, const struct mesh *others) {
  json_t *row;
  size_t i;
  json_array_foreach(at(own, "nodes"), i, row) {
    if (i >= others->count) break;
    const struct mesh_node *n = &others->v[i];
    if (n->answer) json_object_set(row, "answer", n->answer);
    if (n->err) json_object_set_new(row, "error", json_string(macula_err_name(n->err)));
    if (n->err) json_object_set_new(row, "message", json_string(n->text));
  }
  return text_put_json(json_incref(own));
}

static int run(struct cli *cli, void *options) {
  const struct trace_options *o = options;
  const char *topic = cli->argv[0];
  json_t *own;
  struct mesh others;
  int err = macula_check_topic(topic), code = err ? cli_bad_name(err, topic) : cli_connect(cli, true);
  if (code) return code;
  if ((code = cli_node_call(cli->link.client, "trace", json_pack("{s:s,s:s*}", "topic", topic, "node", o->node), &own)))
    return code;
  mesh_of(&others, at(own, "nodes"));
  code = mesh_ask(cli, &others, "trace", json_pack("{s:s}", "topic", topic), NULL, 0);
  if (!code && cli->json)
    code = put_json(own, &others) ? 0 : EXIT_FAILED;
  else if (!code)
    put_all(own, &others);
  if (!code && !mesh_say_missing(&others)) code = EXIT_FAILED;
  mesh_done(&others);
  json_decref(own);
  return code;
}

const struct command command_trace = {
    "trace",
    "trace TOPIC [--node ID]",
    "see who would hear a topic, and what of it was lost",
    "Shows who would hear what is published to TOPIC at the node: its clients, and\n"
    "other nodes with the links or nodes by which it goes there, and their clients.\n"
    "And what of it was lost at each of them lately, for whom and why, and what was\n"
    "refused. Nothing is published. For operators; topics that were published often,\n"
    "and the last 256 losses, are known.\n\n"
    "  --node ID     as if it was published at this node, by its id or the first 8\n"
    "                digits of it or more\n\n"
    "Example: macula trace plant.press.temp\n",
    options_trace,
    sizeof(struct trace_options),
    1,
    1,
    run,
};
