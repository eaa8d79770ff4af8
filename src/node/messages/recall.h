/* Retained messages across nodes. */
#ifndef NODE_MESSAGES_RECALL_H
#define NODE_MESSAGES_RECALL_H

#include "node/state.h"

#define RECALL_MOST (1 << 20) /* the most bytes of room that a peer's request is believed to have */
/* Bytes of room that a message takes; payload: with its headers. */
#define RECALL_COST(topic, payload) ((topic) + (payload) + 64u)
/* Puts QoS, headers, and what is left of its time to live, of a retained message into a PUBLISH of it. */
void recall_put_rest(const struct node *n, const struct retained_entry *e, struct msg_publish *m);
uint64_t recall_stamp(const struct node *n, struct slice topic);                      /* of a message taken now, Unix ms */
void recall_published(struct node *n, struct slice topic, uint64_t ms, bool cleared); /* taken or cleared here */
void recall_live(struct peer *p, struct slice topic, uint64_t ms);                    /* came from there as it was published */
/* A peer's time by our clock; a time above INT64_MAX becomes UINT64_MAX. */
uint64_t recall_to_ours(const struct peer *p, uint64_t ms);
void recall_tick(struct node *n); /* ends what is too old */
void recall_done(struct node *n);
int recall_moved(struct peer *p, struct slice payload);
void recall_path_up(struct peer *p);
void recall_path_down(struct peer *p);
void recall_peer_gone(struct peer *p);
void recall_tell(struct peer *p); /* once a turn */
/* the subscription has ended for which this peer was asked with this number */
void recall_left(void *peer, uint64_t number, struct slice pattern);
void recall_step(struct node *n); /* likewise */
void recall_subscribe(struct session *s, struct slice pattern);
void recall_unsubscribe(struct session *s, struct slice pattern);
/* PUBLISH with replay, its topic in stored form; by: who published it, NULL: unknown. */
void recall_answer(struct peer *p, const struct msg_publish *m, const struct principal *by);
int recall_get(struct peer *p, struct slice payload);
/* MACULA_EFULL: there is no room now. */
int recall_send(struct peer *p, uint64_t number, const struct retained_entry *e);
const char *recall_check(const struct node *n); /* checks the list of cleared topics (base/check.h) */
size_t recall_owned(const struct node *n);      /* bytes of interest's account that the list of cleared topics takes */

#endif
