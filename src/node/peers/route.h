/* Frames for nodes that nobody can dial, through their gateways. */
#ifndef NODE_PEERS_ROUTE_H
#define NODE_PEERS_ROUTE_H

#include "node/session/parcel.h"

int route_send(struct peer *p, const struct msg *m);
int route_frame(struct peer *p, const struct parcel *frame); /* an encoded one */
/* Sends m to `to` over the link of `via`. MACULA_NOT_CONNECTED, or the errors of session_send. */
int route_through(struct peer *via, struct peer *to, const struct msg *m);
/* Handles RPC_ROUTE and PUBSUB_ROUTE. An envelope for another node is forwarded (NULL); one for us gives the peer that sent it,
 * and the type of the frame inside. */
struct peer *route_received(struct peer *from, const struct msg *m, uint8_t *ret_type);

#endif
