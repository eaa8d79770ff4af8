/* Frames for nodes without a link of their own, through gateways and relays. */
#ifndef NODE_PEERS_ROUTE_H
#define NODE_PEERS_ROUTE_H

#include "node/session/parcel.h"

#define ROUTE_BESIDE 1024u /* bytes of an envelope beside its payload, at most */

int route_send(struct peer *p, const struct msg *m);
int route_frame(struct peer *p, const struct parcel *frame); /* an encoded one */
int route_sealed(struct peer *p, uint8_t type, struct slice payload);
/* Sends m to `to` over the link of `via`: an answer that goes the way by which its question came. MACULA_NOT_CONNECTED, or the
 * errors of session_send. */
int route_through(struct peer *via, struct peer *to, const struct msg *m);
/* Sends what proves itself, or is our own word, without a seal. */
int route_bare(struct peer *hop, const struct id *to, uint8_t type, struct slice payload);
/* Handles RPC_ROUTE and PUBSUB_ROUTE. An envelope for another node is forwarded (NULL); one for us gives the peer that sealed
 * it, and the type of the frame inside. With MSG_NOT_ROUTED it is the peer that one of our envelopes did not reach. */
struct peer *route_received(struct peer *from, const struct msg *m, uint8_t *ret_type);

#endif
