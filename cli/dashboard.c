/* macula dashboard: a link that logs in once at the page of a node. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static bool has_prefix(const char *text, const char *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

/* ADDR:PORT; a name, "localhost" included, is not known to be loopback, which costs a hint at most. */
static bool is_loopback(const char *address) { return has_prefix(address, "127.") || has_prefix(address, "[::1]"); }

/* The host of --server, with the brackets of an IPv6 address, or NULL: the default, which is this machine. */
static char *server_host(const char *server) {
  const char *at = server ? strrchr(server, '@') : NULL;
  if (!server || !server[0]) return NULL;
  const char *host = at ? at + 1 : has_prefix(server, "macula://") ? server + strlen("macula://") : server;
  const char *colon = strchr(host, ':');
  size_t len = host[0] == '['                     ? strcspn(host, "]") + 1
               : colon && !strchr(colon + 1, ':') ? (size_t)(colon - host)
                                                  : strlen(host);
  return strndup(host, len);
}

/* http(s)://HOST:PORT/#login=WORD: behind the #, it stands in no log. for free; NULL: no memory. */
static char *link_of(json_t *j, const char *host) {
  const char *address = json_string_value(json_object_get(j, "address")),
             *word = json_string_value(json_object_get(j, "login"));
  const char *port = address ? strrchr(address, ':') : NULL;
  char *url;
  if (!port || !word) return NULL;
  bool everywhere = has_prefix(address, "0.0.0.0:") || has_prefix(address, "[::]:");
  bool tls = json_is_true(json_object_get(j, "tls"));
  const char *at = !everywhere ? address : tls && host ? host : "127.0.0.1";
  int len = everywhere ? (int)strlen(at) : (int)(port - address);
  return asprintf(&url, "http%s://%.*s%s/#login=%s", tls ? "s" : "", len, at, port, word) < 0 ? NULL : url;
}

static int run(struct cli *cli, void *options) {
  json_t *j = NULL;
  (void)options;
  int code = cli_connect(cli, true);
  if (!code) code = cli_node_call(cli->link.client, "login", json_object(), &j);
  if (code) return code;
  char *host = server_host(cli->server), *url = link_of(j, host);
  const char *address = json_string_value(json_object_get(j, "address"));
  json_int_t seconds = json_integer_value(json_object_get(j, "expires_s"));
  if (!url) {
    code = cli_failed(MACULA_INVALID_JSON, NULL, "the node's answer is not understood: is it of another version?");
  } else {
    bool far = host && is_loopback(address) && !is_loopback(host) && strcmp(host, "localhost") != 0;
    if (far)
      fprintf(stderr, "macula: the page is on that machine's loopback alone: there, or through ssh -L %s:%s %s\n",
              strrchr(address, ':') + 1, address, host);
    bool said =
        cli->json ? text_put_json(json_pack("{s:s,s:I}", "url", url, "expires_s", seconds)) : puts(url) >= 0 && !fflush(stdout);
    if (!said) code = EXIT_FAILED;
  }
  json_decref(j);
  free(url);
  free(host);
  return code;
}

const struct command command_dashboard = {
    "dashboard",
    "dashboard",
    "a link to the node's page, which logs in once",
    "Prints a link to the page of the node, which logs in whoever opens it first, as\n"
    "you, within a minute. Behind its # it reaches no log. For operators.\n\n"
    "Example: macula dashboard\n",
    NULL,
    0,
    0,
    0,
    run,
};
