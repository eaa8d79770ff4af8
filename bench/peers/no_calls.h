/* What a system without calls does when it is asked for one; NO_CALLS: why. Included by each such driver, as their functions
 * may have other names (PEER). */
#include "drive.h"

void peer_serve(struct connection *c, const char *procedure) {
  (void)c;
  fail(procedure, NO_CALLS);
}

void peer_call(struct connection *c, const char *procedure, const void *data, size_t len, struct slot *s) {
  (void)data, (void)len, (void)s;
  peer_serve(c, procedure);
}

int peer_call_wait(struct connection *c, const char *procedure, const void *data, size_t len) {
  (void)data, (void)len;
  peer_serve(c, procedure);
  return -1;
}
