/* Promises about a node's resident memory. */
#ifndef LOAD_DRIVE_MEMORY_H
#define LOAD_DRIVE_MEMORY_H

#include "load/drive/engine.h"

/* What resident memory must come back to: the start + 10 % or 8 MiB, whichever is larger. */
uint64_t load_memory_allowed(uint64_t start);
/* Resident memory: below the plan at its peak, and back at the start. Waits up to 60 s for it. */
void load_rows_memory(struct load_task *t, struct load_node *n, bool returns);

#endif
