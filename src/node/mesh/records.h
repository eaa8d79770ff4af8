/* Where things are: the node's part in the DHT. */
#ifndef NODE_MESH_RECORDS_H
#define NODE_MESH_RECORDS_H

#include "node/state.h"

int records_new(struct node *n, uint64_t last_seq);
void records_free(struct node *n);
void records_set_limits(struct node *n);
void records_self_changed(struct node *n);
void records_link_up(struct peer *p);
void records_gone(struct node *n, const struct id *id);
void records_frame(struct peer *p, uint8_t type, struct slice payload);
void records_step(struct node *n);
void records_tick(struct node *n);
nanotime records_deadline(const struct node *n);

#endif
