/* The QUIC door: a connection; its ways are streams. All lanes go by the stream of CONNECT unless they have streams of their
 * own. */
#ifndef NODE_DOORS_QUIC_H
#define NODE_DOORS_QUIC_H

#include "node/doors/door.h"

struct quic_conn;

struct door door_quic(struct quic_conn *c);
/* door_quic_check: the endpoint and its connections (base/check.h). door_quic_owned: bytes of the send queues' account that
 * they hold; of a shared frame, their part. */
const char *door_quic_check(const struct node *n);
double door_quic_owned(const struct node *n);

#endif
