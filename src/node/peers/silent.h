/* Addresses that were dialled and have not answered. Others tell a node where nodes are, and may name somebody who is none: so
 * it dials an address less and less often until something answers there, and all ports of one IP address (IPv6: of one network
 * of 64 bits) together as well. */
#ifndef NODE_PEERS_SILENT_H
#define NODE_PEERS_SILENT_H

#include "node/state.h"

void silent_init(struct node *n);
void silent_done(struct node *n);
/* 0: it may be dialled now, for all that is known of it. MACULA_RATE_LIMITED: it, or its IP address, has been silent. */
int silent_may(const struct node *n, const struct addr *to);
void silent_dialled(struct node *n, const struct addr *to);
void silent_answered(struct node *n, const struct addr *from);
const char *silent_check(const struct node *n); /* base/check.h; O(addresses) */
size_t silent_owned(const struct node *n);

#endif
