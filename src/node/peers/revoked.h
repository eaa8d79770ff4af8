/* Lists of revoked passes (trust/revoked.h), which spread through the mesh: two nodes tell each other the numbers of their
 * lists when a link comes up and every minute, and whoever has the newer one sends it; a list that is new here goes to all
 * links. A realm's list with a higher number takes the place of the one before. */
#ifndef NODE_PEERS_REVOKED_H
#define NODE_PEERS_REVOKED_H

#include "node/state.h"

/* A list of the state folder. 0 also when this one or a newer one is known already. The errors of revoked_parse, with
 * n->trust.why. */
int revoked_take(struct node *n, struct slice list);
/* A list that an operator hands in. MACULA_EBUSY: another one with this number or a higher one is known, and stays. */
int revoked_push(struct node *n, struct slice list);
void revoked_heard(struct peer *p, const struct msg_revoked *m); /* another node's frame */
/* Whether one more signature over a list, or a pass, that this peer sent is looked at. */
bool revoked_may_verify(struct peer *p);
void revoked_link_up(struct peer *p);
/* Realm keys have changed: lists of others go, those of new ones are asked for. */
void revoked_realms_changed(struct node *n);
void revoked_sweep(struct node *n); /* every SWEEP_EVERY */
size_t revoked_owned(const struct node *n);

#endif
