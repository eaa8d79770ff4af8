/* Publish and subscribe within the node. */
#ifndef NODE_MESSAGES_PUBLISH_H
#define NODE_MESSAGES_PUBLISH_H

#include "node/session/parcel.h"

void publish_message(struct session *s, const struct msg_publish *m);
void publish_subscribe(struct session *s, struct msg_subscribe m);
void publish_unsubscribe(struct session *s, struct msg_subscribe m);
/* Delivers to this node's own subscribers. from: the publisher's session; NULL: the message came from another node. by: who
 * published it; NULL: unknown. */
int publish_local(struct node *n, struct session *from, const struct msg_publish *m, const struct principal *by);
/* match_begin: how many steps a match may take now, for topic_index_match_within. match_end: takes what it left of them;
 * MACULA_RATE_LIMITED if nothing is left. */
uint32_t match_begin(struct node *n);
int match_end(struct node *n, uint32_t given, uint32_t left);
/* Another node retained it, and says that `by` published it. */
void publish_recalled(struct session *s, const struct msg_publish *m, const struct principal *by);
/* MACULA_EFULL: the session's queue has no room now. */
int publish_retained(struct session *s, const struct retained_entry *e);

#endif
