/* A thread that carries datagrams between nodes, which know each other by its ports only. */
#ifndef LOAD_DRIVE_RELAY_H
#define LOAD_DRIVE_RELAY_H

#include "load/run.h"

struct load_relays;
int load_relays_new(struct load_relays **ret_relays);
void load_relays_free(struct load_relays *r);
/* A port for others to reach a node, which is aimed at when the node's own is known; says what failed, an exit code. */
int load_relay_add(struct load_relays *r, uint16_t *ret_port);
void load_relay_aim(struct load_relays *r, size_t relay, uint16_t target);
/* Nodes of the first `first` relays and the others hear nothing of each other while it is on. */
void load_relays_cut(struct load_relays *r, size_t first, bool on);
uint64_t load_relays_dropped(struct load_relays *r);
void load_relays_look(struct load *l); /* ends the run, and says why, when a relay cannot carry what a node sends */

#endif
