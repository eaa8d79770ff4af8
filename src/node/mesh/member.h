/* What a node does as a member of the mesh. */
#ifndef NODE_MESH_MEMBER_H
#define NODE_MESH_MEMBER_H

#include "node/state.h"

int mesh_new(struct node *n);
void mesh_free(struct node *n);
/* Takes on another identity, while no other node knows this one. On failure it stays who it was. */
int mesh_become(struct node *n, struct quic_identity *identity);
void mesh_step(struct node *n);
void mesh_tick(struct node *n);
nanotime mesh_deadline(const struct node *n);
void mesh_sweep(struct node *n);
void mesh_withdraw(struct node *n); /* withdraws the records of what we serve, so that lookups from now on find other nodes */
void mesh_leave(struct node *n);    /* for good */
void mesh_link_up(struct peer *p);
void mesh_link_down(struct peer *p, bool dead);
void mesh_dial_failed(struct peer *p, bool was_there, bool dead); /* was_there: it refused */
/* ends the mark "alive but unreachable": a link is up, or the node is no live member any more */
void mesh_reached(struct peer *p);
void mesh_find_self(struct node *n); /* where others can dial us, by what is known now */
void mesh_observed(struct peer *p, const struct addr *seen, const struct addr *local); /* it says where we come from */
/* A frame of a type for which msg_is_raw holds: its payload is decoded here and not by msg_decode. */
void mesh_frame(struct peer *p, uint8_t type, struct slice payload);
void mesh_unsent(struct peer *p, uint64_t query);
const char *mesh_check(const struct node *n); /* membership and the DHT, and what peers say of them (base/check.h) */

#endif
