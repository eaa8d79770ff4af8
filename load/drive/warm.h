/* Warming a node up. */
#ifndef LOAD_DRIVE_WARM_H
#define LOAD_DRIVE_WARM_H

#include "load/drive/engine.h"

/* One cycle of clients that come, serve and leave: what a node keeps for long after its first load is there then. They stay
 * until so many tasks have ended. */
int load_warm(struct load_task *t, struct load_node *n, size_t clients, size_t services, uint64_t until_ended);

#endif
