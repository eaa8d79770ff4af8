/* The admin HTTP server: libmicrohttpd, driven by the node's own loop. */
#ifndef DAEMON_HTTP_H
#define DAEMON_HTTP_H

#include "base/addr.h"
#include "base/err.h"
#include "base/log.h"
#include "io/io.h"
#include "node/node.h"

struct http;

/* Listens and answers GET: /health, /ready, /live, /metrics for everybody; /api/NAME (the node's lists) for whoever has the
 * token or, if there is none, for this machine. /live is 503 when the loop turns and yet serves nobody (io_loop_serves). token:
 * copied, NULL: none. MACULA_EBUSY (port in use), MACULA_NOT_AUTHORIZED, MACULA_EINVAL (no such local address), MACULA_EIO,
 * MACULA_ENOMEM; ret_why (256) says why. On the loop's thread. */
int http_start(struct io_loop *loop, struct node *node, const struct log *log, const struct addr *at, const char *token,
               struct http **ret_http, char *ret_why);
const struct addr *http_local(const struct http *h);
/* A new token, copied; NULL: none. */
int http_set_token(struct http *h, const char *token);
/* Closes all; the memory goes when the loop has closed its handles, in its next turn. Accepts NULL. */
/* In a turn of the loop: answers that have come since are sent. NULL: none. */
void http_turn(struct http *h);
void http_close(struct http *h);

#endif
