/* A node's address as people write it. */
#ifndef BASE_SERVER_H
#define BASE_SERVER_H

#include "base/addr.h"

#define SERVER_TEXT_LEN 272
#define SERVER_WHY_LEN 768
#define DEFAULT_PORT 9443

struct server {
  char host_port[SERVER_TEXT_LEN]; /* "host:port", "[v6]:port", as it is shown and remembered */
  bool rooted;                     /* the name was written with a dot at its end: no domain is tried behind it */
  bool pinned;
  struct id pin;
};
/* "host", "host:port", "[v6]:port", each with or without "macula://" or "macula://ID@" before it. MACULA_EINVAL: ret_why says
 * what to write. */
int server_parse(const char *text, struct server *ret_server, char ret_why[SERVER_WHY_LEN]);
/* A node as nodes write it: "macula://ID@ADDR:PORT" with a numeric address, or the id alone; the scheme may be absent. Without
 * an address *ret_addr is none. */
int server_parse_node(const char *text, struct id *ret_id, struct addr *ret_addr);
/* What to look up. */
void server_look_up(const struct server *s, char ret_host_port[SERVER_TEXT_LEN]);

#endif
