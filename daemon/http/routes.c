/* Which path is whose. */
#include <stdio.h>
#include <string.h>

#include "daemon/http/state.h"

#define READ (HTTP_GET | HTTP_HEAD)

static const struct http_route routes[] = {
    {.path = "/health", .methods = READ, .free = true, .handle = http_health},
    {.path = "/ready", .methods = READ, .free = true, .handle = http_ready},
    {.path = "/live", .methods = READ, .free = true, .handle = http_live},
    {.path = "/metrics", .methods = READ, .handle = http_metrics},
    {.path = "/api/session", .methods = READ, .json = true, .handle = http_session},
    {.path = "/api/login", .methods = HTTP_POST, .json = true, .body = 4096, .handle = http_log_in},
    {.path = "/api/logout", .methods = HTTP_POST, .json = true, .body = 1024, .handle = http_log_out},
    {.path = "/api/end", .methods = HTTP_POST, .role = HTTP_OPERATOR, .json = true, .body = 1024, .handle = http_end_client},
    {.path = "/api/dht/", .methods = READ, .role = HTTP_OPERATOR, .handle = http_lookup},
    {.path = "/api/", .methods = READ, .role = HTTP_OPERATOR, .handle = http_list},
    {.path = "/pub/", .methods = HTTP_POST, .role = HTTP_CLIENT, .json = true, .body = 1 << 20, .handle = http_publish},
    {.path = "/call/", .methods = HTTP_POST, .role = HTTP_CLIENT, .json = true, .body = 1 << 20, .handle = http_call},
    {.path = "/sub/", .methods = READ, .json = true, .handle = http_subscribe},
    {.path = "/last/", .methods = READ, .json = true, .handle = http_last},
};

static const struct http_route page = {.path = "", .methods = READ, .handle = http_page};

const struct http_route *http_route_of(const char *path) {
  for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
    size_t n = strlen(routes[i].path);
    if (n > 1 && routes[i].path[n - 1] == '/' ? !strncmp(path, routes[i].path, n) : !strcmp(path, routes[i].path))
      return &routes[i];
  }
  return http_page_has(path) ? &page : NULL;
}

const char *http_allowed(unsigned methods, char ret_list[64]) {
  static const char *const names[] = {"GET", "HEAD", "POST", "OPTIONS"};
  ret_list[0] = 0;
  for (unsigned i = 0; i < 4; i++)
    if (methods & 1u << i)
      snprintf(ret_list + strlen(ret_list), 64 - strlen(ret_list), "%s%s", *ret_list ? ", " : "", names[i]);
  return ret_list;
}
