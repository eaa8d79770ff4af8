/* Accounts of waiting: how long publishers may be held for readers beside whom others sit with empty queues.
 *
 * An account has 10 % of the time. A QoS 0 publish may use a second of what was saved up, a QoS 1 publish five; a QoS 0 publish
 * that asks to wait is charged a fifth, so that it has half of the time, and five seconds. Time is charged once, however many
 * wait at it.
 *
 * A second more is kept for readers that are behind by a burst only (keep_was_empty): slow ones use up their part all the time,
 * and the others are to lose nothing by that. */
#ifndef NODE_FLOW_BUDGET_H
#define NODE_FLOW_BUDGET_H

#include "node/flow/state.h"

#define BUDGET_RATE 0.1 /* of the time */
#define BUDGET_QOS1 5.0 /* s at once; of QoS 1, and */
#define BUDGET_QOS0 1.0 /* of QoS 0 */
#define BUDGET_KEPT 1.0 /* more for bursts */
#define BUDGET_BURST (BUDGET_QOS1 + BUDGET_KEPT)
#define BUDGET_PATIENT 0.2 /* of the time is charged to those that ask to wait */
#define BUDGET_LEAST 0.02  /* s that must be left for a new wait: each has its cost */

enum budget_kind { BUDGET_KIND_QOS0, BUDGET_KIND_WAIT, BUDGET_KIND_QOS1 };

/* Seconds that may be waited still; kept: for a reader that is behind by a burst only. A zeroed account is full. */
double budget_left(struct budget *b, enum budget_kind kind, bool kept, nanotime now);
void budget_charge(struct budget *b, enum budget_kind kind, nanotime from, nanotime now);

#endif
