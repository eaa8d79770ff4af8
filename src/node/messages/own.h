/* What the node itself publishes: wills of clients that have ended without goodbye, and events of clients, under com.macula.
 *
 * It is queued and published in a later step of the turn, as a session ends where nothing may be delivered. The copies for
 * other nodes are not acknowledged: nobody waits for that. */
#ifndef NODE_MESSAGES_OWN_H
#define NODE_MESSAGES_OWN_H

#include "node/session/parcel.h"

#define OWN_MOST 10000u       /* that wait: wills beyond are not published, events neither; counted */
#define WILL_MOST (32u << 10) /* bytes of a will: topic, payload and headers */

void own_init(struct node *n);
void own_done(struct node *n);
/* A client's will, of its CONNECT. 0, or why it is not let in with it: MACULA_INVALID_TOPIC, MACULA_UNSUPPORTED_QOS,
 * MACULA_PAYLOAD_TOO_LARGE, MACULA_EINVAL, MACULA_QUOTA_REACHED (no room for another will), with *ret_text. */
int own_take_will(struct session *s, struct slice will, const char **ret_text);
/* A session ends: its will is judged, retained and queued, unless its client said goodbye, or has no right to it any more.
 * While its account is its. */
void own_session_end(struct session *s);
/* Whether anybody listens to a topic of the node's own. */
bool own_is_heard(struct node *n, const char *topic);
void own_publish(struct node *n, const struct msg_publish *m, const struct principal *by);
void own_step(struct node *n);
bool own_is_due(const struct node *n);

uint64_t own_origins(const struct node *n);
const char *own_check(const struct node *n);
size_t own_owned(const struct node *n);

#endif
