/* load pool: a node with room for fewer connections than it has peers. */
#ifndef LOAD_SCENARIOS_POOL_H
#define LOAD_SCENARIOS_POOL_H

#include "load/drive/engine.h"

int load_pool(struct load_task *t);
bool load_pool_fits(const struct load *l); /* files and ports; if not, its error is printed and nothing else should begin */

#endif
