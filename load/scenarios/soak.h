/* load soak: a day, sixty times as fast. */
#ifndef LOAD_SCENARIOS_SOAK_H
#define LOAD_SCENARIOS_SOAK_H

#include "load/drive/engine.h"

int load_soak(struct load *l); /* makes its own runs of the engine */

#endif
