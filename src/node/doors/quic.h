/* The QUIC door: a connection; its ways are streams. All lanes go by the stream of CONNECT. */
#ifndef NODE_DOORS_QUIC_H
#define NODE_DOORS_QUIC_H

#include "node/doors/door.h"

struct quic_conn;

struct door door_quic(struct quic_conn *c);
/* The endpoint and its connections (base/check.h); and what of the account of send queues they own, of shared frames a part. */
const char *door_quic_check(const struct node *n);
double door_quic_owned(const struct node *n);

#endif
