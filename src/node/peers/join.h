/* How a node finds the mesh, and finds it again. */
#ifndef NODE_PEERS_JOIN_H
#define NODE_PEERS_JOIN_H

#include "node/state.h"

void join_tick(struct node *n);
nanotime join_deadline(const struct node *n);
void join_met(struct node *n, struct session *s);                                /* a seed's dial has become a link */
void join_failed(struct node *n, struct session *s, int err, struct slice text); /* a seed's dial has failed */
void join_lost(struct node *n, const struct peer *p); /* a node died: its address is dialled for a while */
void join_done(struct node *n);
bool join_is_configured(const struct node *n, const struct id *id); /* it was met at an address that the user gave */
uint32_t join_missing(const struct node *n);  /* number of such addresses whose node has no slot in the pool */
const char *join_check(const struct node *n); /* base/check.h; O(addresses and sessions) */

#endif
