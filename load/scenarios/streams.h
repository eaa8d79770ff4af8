/* load streams: whatever way a client goes, all that it owned goes with it. */
#ifndef LOAD_SCENARIOS_STREAMS_H
#define LOAD_SCENARIOS_STREAMS_H

#include "load/drive/engine.h"

int load_streams(struct load_task *t);

#endif
