/* What becomes of other nodes and of the links to them, said to the rooms above: ends.c passes it on. */
#ifndef NODE_PEERS_EVENTS_H
#define NODE_PEERS_EVENTS_H

#include "node/state.h"

void peer_made(struct peer *p);      /* its record, on no list yet */
void peer_forgotten(struct peer *p); /* its record goes */
void peer_ready(struct peer *p);     /* frames can be sent to it: what waited may go */
void peer_ended(struct peer *p);     /* its link (or its gateway's) is gone, or could not be had: what waited has failed */
void peer_evicted(struct peer *p);   /* made room for another, with nothing pending but operators' pings */
void peer_unsent(struct peer *p, uint64_t query); /* a frame of the DHT's query could not be sent */
void link_is_up(struct peer *p);
void link_is_down(struct peer *p, bool dead);
void link_not_had(struct peer *p, bool was_there, bool dead);                          /* was_there: it refused */
void link_observed(struct node *n, const struct addr *seen, const struct addr *local); /* a peer says where we come from */

#endif
