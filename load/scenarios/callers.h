/* load callers: calls to slow providers on other nodes, and callers that die while theirs are pending. */
#ifndef LOAD_SCENARIOS_CALLERS_H
#define LOAD_SCENARIOS_CALLERS_H

#include "load/drive/engine.h"

int load_callers(struct load_task *t);

#endif
