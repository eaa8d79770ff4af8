/* What is published by topic, and what was lost lately, and why: for people who look (view/trace.h). Messages are counted at
 * the node of their publisher, losses at the node of whom they were for. Of many that come at once some stand for all (thin.h).
 */
#ifndef NODE_SESSION_TALLY_H
#define NODE_SESSION_TALLY_H

#include "node/state.h"

/* Why a message was lost; who had it not: a reader, or another node. */
#define TALLY_SLOW "read_too_slowly"
#define TALLY_CUT "slow_consumer" /* QoS 1: the reader was ended, as it had no room */
#define TALLY_EXPIRED "expired"
#define TALLY_LINK "link_full"   /* to another node */
#define TALLY_NO_WAY "no_way"    /* likewise */
#define TALLY_QUEUE "queue_full" /* of a client of MQTT that is away, or has too many unacknowledged */
#define TALLY_LARGE "too_large"  /* for a client of MQTT */

void tally_init(struct node *n);
void tally_done(struct node *n);
void tally_count(struct node *n, struct slice topic, uint64_t bytes, uint32_t stands_for);
/* A client of this node has published it. Costs some nanoseconds. */
static inline void tally_published(struct node *n, struct slice topic, uint64_t bytes) {
  uint32_t k = thin_take(&n->tally.published, n->now);
  if (k) tally_count(n, topic, bytes, k);
}
/* One message was lost for this client or link. reason: one of the texts above. */
void tally_lost(struct session *to, struct slice topic, const char *reason);
void tally_lost_to_node(struct peer *to, struct slice topic, const char *reason);
/* A publish was refused. */
void tally_refused(struct session *by, struct slice topic, int err);
/* The losses, oldest first: the first after NULL. */
const struct drop *tally_next(const struct node *n, const struct drop *prev);
const char *tally_check(const struct node *n); /* base/check.h; O(entries) */
size_t tally_topics_owned(const struct node *n);
size_t tally_drops_owned(const struct node *n);

#endif
