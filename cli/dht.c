/* macula dht get KEY | lookup NODEID: what the mesh's hash table holds, and which nodes are nearest. */
#include <string.h>

#include "cli.h"

static const char *text_of(json_t *row, const char *key) {
  const char *s = json_string_value(json_object_get(row, key));
  return s ? s : "-";
}

static int run(struct cli *cli, void *options) {
  json_t *j, *row;
  size_t i;
  char buf[32];
  (void)options;
  bool get = !strcmp(cli->argv[0], "get");
  if (!get && strcmp(cli->argv[0], "lookup") != 0)
    return cli_invalid(MACULA_EINVAL, "say `dht get KEY` (a procedure, or a key of 64 digits) or `dht lookup NODEID`");
  int code = cli_connect(cli, true);
  if (code || (code = cli_node_call(cli->link.client, get ? "dht_get" : "dht_lookup",
                                    json_pack("{s:s}", get ? "key" : "node", cli->argv[1]), &j)))
    return code;
  if (cli->json) return text_put_json(j) ? 0 : EXIT_FAILED;
  json_array_foreach(json_object_get(j, get ? "records" : "nodes"), i, row) {
    printf("%s  %s", text_of(row, "id"), text_of(row, "address"));
    if (json_is_string(json_object_get(row, "gateway"))) printf("  gateway %s", text_of(row, "gateway"));
    if (get) printf("  %s left", text_duration(json_number_value(json_object_get(row, "left_s")), buf));
    putchar('\n');
  }
  fprintf(stderr, "%zu found, %lld hops, %lld queries, %.1f ms\n", i, (long long)json_integer_value(json_object_get(j, "hops")),
          (long long)json_integer_value(json_object_get(j, "queries")),
          json_number_value(json_object_get(j, "took_us")) / 1000);
  json_decref(j);
  return i ? 0 : EXIT_FAILED;
}

const struct command command_dht = {
    "dht",
    "dht get KEY | dht lookup NODEID",
    "look into the mesh's hash table",
    "get: the nodes that a procedure (or a key of 64 digits) leads to. lookup: the\n"
    "nodes nearest to an id. For operators: on the machine of a node with open\n"
    "access, else with a token, key or pass of that role.\n\n"
    "Example: macula dht get test.calculator\n",
    NULL,
    0,
    2,
    2,
    run,
    "get lookup",
};
