/* Limits that move between rows, as the memory of a client of MQTT is planned where that of others is.
 *
 *   connections --a slot that has a client of MQTT: PLAN_MQTT_CLIENT--> mqtt
 *        |`-------over TLS, PLAN_TLS_MORE------------------------------> tls
 *         `-------PLAN_TCP_SLOT-----------------------------------------> the kernel
 *   send_queues --as it is needed, at most plan_mqtt_borrowed-----------> mqtt
 *
 * So whichever door its clients come by, a node takes no more than its plan. A limit moves only where the row has that much
 * room, so that no row ever holds more than its own; one that cannot move back now does so later. */
#ifndef NODE_MEMORY_LEND_H
#define NODE_MEMORY_LEND_H

#include "node/memory/rows.h"

void lend_start(struct node *n); /* the accounts ask for more when they need it */
/* Once a turn: as many slots as there are sessions of MQTT, and what is not needed goes back. secret: of them, over TLS. */
void lend_step(struct node *n, uint32_t sessions, uint32_t secret);
const char *lend_check(const struct node *n);            /* base/check.h */
uint64_t lend_limit(const struct node *n, enum row row); /* bytes, of the row's account, as it should be */

#endif
