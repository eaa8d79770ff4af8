/* Events of other nodes and of the links to them, for the rooms above this one; ends.c defines these functions and passes the
 * events on. */
#ifndef NODE_PEERS_EVENTS_H
#define NODE_PEERS_EVENTS_H

#include "node/state.h"

void peer_made(struct peer *p);      /* a record was made for it; it is on no list yet */
void peer_forgotten(struct peer *p); /* its record is about to be freed */
void peer_runs_anew(struct peer *p); /* its link is of another run than the one before */
void peer_ready(struct peer *p);     /* frames can be sent to it: what waited may go */
void peer_ended(struct peer *p); /* its link (or its gateway's) is gone or could not be set up: what waited for it has failed */
void peer_evicted(struct peer *p); /* its link made room for another one; nothing was pending with it but operators' pings */
/* It has forgotten keys for envelopes, and says what it opened under them; publishes: some of these it has not. */
void peer_forgot(struct peer *p, const struct agree_told *t, bool publishes);
void peer_unsent(struct peer *p, uint64_t query); /* a frame of the DHT's query could not be sent */
void link_is_up(struct peer *p);
void link_is_over(struct session *s); /* the link's session, which ends: before the other events about that */
void link_is_down(struct peer *p, bool dead);
void link_not_had(struct peer *p, bool was_there, bool dead); /* our dial failed; was_there: the node answered and refused it */
void link_observed(struct peer *p, const struct addr *seen, const struct addr *local); /* it says where we come from */

#endif
