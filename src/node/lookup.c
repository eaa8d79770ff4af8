/* Which nodes serve a procedure: lookups in the DHT for the router of calls, and what is published there of our own. */
#include "node/internal.h"

int remote_discover(void *ctx, struct slice procedure) {
  (void)ctx, (void)procedure;
  return MACULA_NO_SUCH_PROCEDURE;
}

void remote_undiscover(void *ctx, struct slice procedure) { (void)ctx, (void)procedure; }

void remote_found(struct node *n, const struct dht_result *r) { (void)n, (void)r; }
