/* The heap of the process: jemalloc's, which keeps blocks of a size in pages of their own, gives back pages that lie idle
 * within a second, from a thread of its own, and counts what is in use as it goes. Nothing walks the heap (docs/rationale.md).
 */
#ifndef DAEMON_HEAP_H
#define DAEMON_HEAP_H

#include <stdint.h>

/* Bytes in use, of all threads; 0: unknown, as in a build with a sanitizer, whose heap it is then. */
uint64_t heap_used(void);
/* Pages that lie idle, and would go within a second, go now, if they are few enough to take less than about 2 ms. */
void heap_give_back(void);

#endif
