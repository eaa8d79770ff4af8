/* Arguments of the query that several paths know. Where one is wrong, *ret_why says how it is written. */
#ifndef DAEMON_HTTP_QUERY_H
#define DAEMON_HTTP_QUERY_H

#include "daemon/http/request.h"

/* 30, 30s, 500ms, 2m, 1h, 7d: in ms; `without` where it is not there. At most `most` ms. */
bool http_query_time(const struct http_request *r, const char *name, uint64_t without, uint64_t most, uint64_t *ret_ms,
                     const char **ret_why);
bool http_query_qos(const struct http_request *r, unsigned *ret_qos, const char **ret_why);
/* There without a value, or 1 or true; 0 or false. */
bool http_query_flag(const struct http_request *r, const char *name, bool *ret_on, const char **ret_why);

#endif
