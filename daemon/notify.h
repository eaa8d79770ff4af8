/* What the service manager hears (sd_notify(3)); nothing where there is none. */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include <stdint.h>

#include "base/time.h"

void notify_ready(const char *status);
void notify_reloading(nanotime now); /* followed by notify_ready */
void notify_stopping(void);
/* How often the service manager wants notify_alive, ns; 0: not at all. */
uint64_t notify_watchdog(void);
void notify_alive(void);

#endif
