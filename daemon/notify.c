#include "notify.h"

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>

void notify_ready(const char *status) { sd_notifyf(0, "READY=1\nSTATUS=%s", status); }
void notify_reloading(nanotime now) { sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(now / NS_US)); }
void notify_stopping(void) { sd_notify(0, "STOPPING=1"); }
void notify_alive(void) { sd_notify(0, "WATCHDOG=1"); }
uint64_t notify_watchdog(void) {
  uint64_t usec = 0;
  return sd_watchdog_enabled(0, &usec) > 0 ? usec * NS_US : 0;
}
#else
void notify_ready(const char *status) { (void)status; }
void notify_reloading(nanotime now) { (void)now; }
void notify_stopping(void) {}
void notify_alive(void) {}
uint64_t notify_watchdog(void) { return 0; }
#endif
