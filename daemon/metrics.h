/* The text of /metrics: the node's families, and those of the sockets and of HTTP, which the node knows nothing of. */
#ifndef DAEMON_METRICS_H
#define DAEMON_METRICS_H

#include "daemon/http/http.h"
#include "io/io.h"
#include "node/node.h"

/* Allocated in *ret_text as by jansson. MACULA_ENOMEM. */
int metrics_text(struct node *node, const struct io_loop *loop, const struct http_stats *http, nanotime now, char **ret_text);

#endif
