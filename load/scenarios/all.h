/* load all: the five scenarios at once. */
#ifndef LOAD_SCENARIOS_ALL_H
#define LOAD_SCENARIOS_ALL_H

#include "load/drive/engine.h"

int load_all(struct load *l); /* makes its own runs of the engine */

#endif
