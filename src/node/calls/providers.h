/* Which nodes serve a procedure. */
#ifndef NODE_CALLS_PROVIDERS_H
#define NODE_CALLS_PROVIDERS_H

#include "node/state.h"

int providers_discover(void *ctx, struct slice procedure);
void providers_undiscover(void *ctx, struct slice procedure);
void providers_step(struct node *n); /* begins lookups that were put off until the node has started */
nanotime providers_deadline(const struct node *n);
void providers_init(struct node *n);
void providers_done(struct node *n);
void providers_publish(struct node *n, struct slice procedure);        /* it is served here */
void providers_served(void *ctx, struct slice procedure, bool served); /* of services_watch */
void providers_found(struct node *n, const struct dht_result *r);      /* of a lookup for LOOKUP_FOR_CALLS */
const char *providers_check(const struct node *n);                     /* base/check.h; O(lookups) */
size_t providers_owned(const struct node *n);                          /* bytes of the discovery account that lookups hold */

#endif
