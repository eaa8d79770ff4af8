/* The admin HTTP server: libmicrohttpd, driven by the node's own loop. */
#ifndef DAEMON_HTTP_HTTP_H
#define DAEMON_HTTP_HTTP_H

#include "base/addr.h"
#include "base/err.h"
#include "base/log.h"
#include "io/io.h"
#include "node/node.h"

struct http;

struct http_options {          /* texts; NULL: none */
  const char *token;           /* what /api asks for */
  const char *cert, *key;      /* PEM: HTTPS with these, else HTTP */
  const char *hosts, *origins; /* names of ours, and origins of pages that may ask, separated by commas */
  unsigned connections, share; /* most of all; of them that take long, of one address. connections does not change */
};

struct http_stats {
  uint64_t requests, refused, displaced, slow;
};

/* Listens and answers: /health, /ready, /live, /metrics for everybody; /api/NAME (the node's lists) for operators: where all is
 * open whoever has the token or, if there is none, this machine; else whoever the access file says is one; /pub, /sub, /call
 * and /last as any other client's requests (node/doors/http.h). Pages of other origins and requests under a name that is not
 * ours are refused. /live is 503 when the loop turns and yet serves nobody (io_loop_serves). The options are copied.
 * MACULA_EBUSY (port in use), MACULA_NOT_AUTHORIZED, MACULA_EINVAL (no such local address), MACULA_CERTIFICATE_INVALID,
 * MACULA_EIO, MACULA_ENOMEM; ret_why (256) says why. On the loop's thread. */
int http_start(struct io_loop *loop, struct node *node, const struct log *log, const struct addr *at,
               const struct http_options *o, struct http **ret_http, char *ret_why);
const struct addr *http_local(const struct http *h);
bool http_is_tls(const struct http *h);
/* Other options from now on, copied. With another certificate the connections that there are end. On failure nothing changes:
 * MACULA_CERTIFICATE_INVALID, MACULA_ENOMEM. */
int http_set(struct http *h, const struct http_options *o);
/* A link for an operator, of this grant and who came by this pass (NULL: by none), that logs in at the page once: {"login",
 * "address", "tls", "expires_s"} for node_text_free. MACULA_ENOMEM. */
int http_invite(struct http *h, struct slice user, struct slice grant, const struct pass_kept *pass, nanotime now,
                char **ret_json);
/* In a turn of the loop: answers that have come since are sent. NULL: none. */
void http_turn(struct http *h);
/* Closes all; the memory goes when the loop has closed its handles, in its next turn. Accepts NULL. */
void http_close(struct http *h);

#endif
