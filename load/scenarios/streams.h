/* load streams: in whatever way a client ends, everything that it owned is freed. */
#ifndef LOAD_SCENARIOS_STREAMS_H
#define LOAD_SCENARIOS_STREAMS_H

#include "load/drive/engine.h"

int load_streams(struct load_task *t);

#endif
