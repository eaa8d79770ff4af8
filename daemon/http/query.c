#include "daemon/http/query.h"

#include <string.h>

static bool number(const char **p, uint64_t *ret) {
  uint64_t n = 0;
  const char *at = *p;
  for (; *at >= '0' && *at <= '9' && n < UINT64_C(1) << 40; at++) n = n * 10 + (uint64_t)(*at - '0');
  if (at == *p) return false;
  *p = at;
  *ret = n;
  return true;
}

bool http_query_time(const struct http_request *r, const char *name, uint64_t without, uint64_t most, uint64_t *ret_ms,
                     const char **ret_why) {
  static const struct {
    const char *name;
    uint64_t ms;
  } units[] = {{"", 1000}, {"s", 1000}, {"ms", 1}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
  const char *text = http_argument(r, name);
  uint64_t n;
  *ret_ms = without;
  if (!text) return true;
  *ret_why = "a time is written as 30, 30s, 500ms, 2m, 1h or 7d";
  if (!number(&text, &n)) return false;
  for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
    if (strcmp(text, units[i].name) != 0) continue;
    *ret_ms = n > most / units[i].ms ? most : n * units[i].ms;
    return true;
  }
  return false;
}

bool http_query_qos(const struct http_request *r, unsigned *ret_qos, const char **ret_why) {
  const char *text = http_argument(r, "qos");
  *ret_qos = 0;
  if (!text) return true;
  *ret_why = "qos: 0, 1 or 2 is expected";
  if (text[0] < '0' || text[0] > '2' || text[1]) return false;
  *ret_qos = (unsigned)(text[0] - '0');
  return true;
}

bool http_query_flag(const struct http_request *r, const char *name, bool *ret_on, const char **ret_why) {
  const char *text = MHD_lookup_connection_value(r->c, MHD_GET_ARGUMENT_KIND, name);
  bool there = text != NULL;
  if (!text) /* ?retain: libmicrohttpd has the name, without a value */
    there = MHD_lookup_connection_value_n(r->c, MHD_GET_ARGUMENT_KIND, name, strlen(name), &text, NULL) == MHD_YES;
  *ret_on = there && (!text || !*text || !strcmp(text, "1") || !strcmp(text, "true"));
  *ret_why = "a switch is 1 or true, 0 or false";
  return !there || *ret_on || !strcmp(text, "0") || !strcmp(text, "false");
}
