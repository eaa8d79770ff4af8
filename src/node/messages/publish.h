/* Publish and subscribe within the node. */
#ifndef NODE_MESSAGES_PUBLISH_H
#define NODE_MESSAGES_PUBLISH_H

#include "node/session/parcel.h"

void publish_message(struct session *s, const struct msg_publish *m);
void publish_subscribe(struct session *s, struct msg_subscribe m);
void publish_unsubscribe(struct session *s, struct msg_subscribe m);
/* To our clients that listen: from NULL for another node's message. */
int publish_local(struct node *n, const struct session *from, const struct msg_publish *m);
/* What a match may visit now, for topic_index_match_within; then what it left: MACULA_RATE_LIMITED if that is nothing. */
uint32_t match_begin(struct node *n);
int match_end(struct node *n, uint32_t given, uint32_t left);
void publish_recalled(struct session *s, const struct msg_publish *m); /* another node retained it */
/* MACULA_EFULL: there is no room in its queue now. */
int publish_retained(struct session *s, const struct retained_entry *e);

#endif
