/* Publish and subscribe within the node. */
#ifndef NODE_MESSAGES_PUBLISH_H
#define NODE_MESSAGES_PUBLISH_H

#include "node/session/parcel.h"

void publish_message(struct session *s, struct msg_publish *m); /* m is changed */
void publish_subscribe(struct session *s, struct msg_subscribe m);
void publish_unsubscribe(struct session *s, struct msg_subscribe m);
/* Delivers what came from another node to this node's own subscribers, as deliver_match and deliver_begin
 * (messages/deliver.h). from: that node; NULL: it is this one's own. */
int publish_local(struct node *n, struct peer *from, const struct msg_publish *m, const struct principal *by,
                  uint64_t *ret_cut);
void publish_delivered(struct node *n, const struct delivery *d); /* the last subscriber has its copy: tells the publisher */
/* Another node retained it, and says that `by` published it. */
void publish_recalled(struct session *s, const struct msg_publish *m, const struct principal *by);
/* Whether a client may publish to a topic (stored form). */
int publish_may(struct session *s, struct slice topic, const char **ret_text);
/* Keeps it, or clears; ms: when it was taken. */
int publish_retain(struct session *s, const struct msg_publish *m, struct principal *by, uint64_t ms);
/* MACULA_EFULL: the session's queue has no room now. */
int publish_retained(struct session *s, const struct retained_entry *e);

#endif
