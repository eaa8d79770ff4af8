#include "base/server.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

static int parse_name(char *name, struct server *s, char *ret_why) {
  if (strpbrk(name, "[]/@ \t\r\n#%,")) return MACULA_EINVAL;
  char *colon = strchr(name, ':');
  unsigned long port = DEFAULT_PORT;
  if (colon) {
    char *end;
    if (colon[1] < '0' || colon[1] > '9') return MACULA_EINVAL;
    port = strtoul(colon + 1, &end, 10);
    if (*end) return MACULA_EINVAL;
    if (port == 0 || port > 65535) {
      snprintf(ret_why, SERVER_WHY_LEN, "'%.253s' is no address: a port is 1 to 65535", name);
      return MACULA_EINVAL;
    }
    *colon = 0;
  }
  size_t n = strlen(name);
  s->rooted = n > 1 && name[n - 1] == '.';
  if (s->rooted) name[--n] = 0;
  if (!n || n > 253 || name[n - 1] == '.') return MACULA_EINVAL;
  snprintf(s->host_port, sizeof s->host_port, "%.253s:%lu", name, port);
  return 0;
}

static const char *after_scheme(const char *text) {
  static const char scheme[] = "macula://";
  return strncmp(text, scheme, sizeof scheme - 1) ? text : text + sizeof scheme - 1;
}

static int parse(const char *text, struct server *s, char *ret_why) {
  const char *rest = after_scheme(text);
  if (rest != text) {
    text = rest;
    const char *at = strchr(text, '@');
    if (at) {
      if (id_parse(slice_of(text, (size_t)(at - text)), &s->pin)) return MACULA_EINVAL;
      s->pinned = true;
      text = at + 1;
    }
  }
  size_t len = strlen(text);
  if (len && text[len - 1] == '/') len--;
  if (!len || len > 253 + 8) return MACULA_EINVAL;
  char copy[SERVER_TEXT_LEN];
  memcpy(copy, text, len);
  copy[len] = 0;
  struct addr a;
  if (addr_no_destination(copy, ret_why)) return MACULA_EINVAL;
  if (addr_parse(copy, DEFAULT_PORT, &a)) return parse_name(copy, s, ret_why);
  if (!addr_port(&a)) return MACULA_EINVAL;
  addr_text(&a, s->host_port);
  return 0;
}

int server_parse(const char *text, struct server *ret_server, char ret_why[SERVER_WHY_LEN]) {
  struct server s = {0};
  ret_why[0] = 0;
  int err = parse(text, &s, ret_why);
  if (!err)
    *ret_server = s;
  else if (!ret_why[0])
    snprintf(ret_why, SERVER_WHY_LEN, "'%.200s' is no address: write host, host:port or macula://ID@host:port", text);
  return err;
}

int server_parse_node(const char *text, struct id *ret_id, struct addr *ret_addr) {
  struct addr a = {0};
  text = after_scheme(text);
  const char *at = strchr(text, '@');
  if (at && addr_parse(at + 1, 0, &a)) return MACULA_EINVAL;
  int err = id_parse(slice_of(text, at ? (size_t)(at - text) : strlen(text)), ret_id);
  if (!err) *ret_addr = a;
  return err;
}

void server_look_up(const struct server *s, char ret_host_port[SERVER_TEXT_LEN]) {
  const char *colon = strrchr(s->host_port, ':');
  snprintf(ret_host_port, SERVER_TEXT_LEN, "%.*s%s%s", (int)(colon - s->host_port), s->host_port, s->rooted ? "." : "", colon);
}
