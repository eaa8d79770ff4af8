/* Publishers that wait for readers at other nodes.
 *
 *   a message comes from a node --- a reader of it is full to the mark (session/room.h) ---> PACE: its connection is to wait
 *     here: its queue has become short, it does not keep up any more, or has ended ---> PACE: the connection may go on
 *     there: the publishes of that connection to this node wait (messages/hold.h), until it may go on or 1 s has passed
 *
 * No credit is withheld between nodes, and a link stops for nobody: what is on its way still comes, so this is said while the
 * queue can take it, and again while it lasts. Of each connection one reader decides, the fullest. Whether a reader keeps up is
 * judged here, at its own node; for one that does not nobody is told to wait, and it loses its own messages. While another
 * reader here goes hungry, the account of the reader's identity is charged here, and the node of the publisher is told, which
 * charges the publisher's. Both kinds of records are PACE_MOST at most: without room publishers are not told, or do not wait.
 */
#ifndef NODE_MESSAGES_PACE_H
#define NODE_MESSAGES_PACE_H

#include "node/flow/budget.h"
#include "node/state.h"
#include "wire/msg.h"

void pace_init(struct node *n);
void pace_done(struct node *n); /* when all sessions have ended */
/* Whom a message that has come from another node is going to be delivered to: shown one after another, maybe in several turns.
 */
struct pace_look {
  uint64_t connection; /* 0: nothing is to be said about it */
  uint64_t rtt, now;   /* now: serial of the reader that the connection waits for already, 0: none */
  enum budget_kind kind;
  uint64_t best; /* serial of the one to wait for */
  uint32_t best_full;
  bool best_credit;
  uint64_t soon[2], hungry[2], last[2]; /* the first two whose queues will be empty soon, or are; the last two */
};
void pace_look_begin(struct pace_look *l, struct peer *peer, const struct msg_publish *m);
void pace_look_at(struct pace_look *l, struct session *s);
void pace_look_end(const struct pace_look *l, struct peer *peer);
/* All at once (deliver_match); NULL: to nobody. */
void pace_publish(struct peer *peer, const struct msg_publish *m, struct topic_subscriber *hit);
/* Another node says of one of our connections that it is to wait, or may go on. */
void pace_heard(struct peer *p, const struct msg_pace *m);
/* What that node said last of this publisher, if publishes of this kind are to wait for it now; else NULL. */
struct flow_paced *pace_of(const struct session *from, const struct peer *peer, enum budget_kind kind);
/* So many bytes of it go there: what may go on again does so step by step. */
void pace_sent(struct session *from, const struct peer *peer, size_t bytes);
/* Whether readers that this link leads to, of what it publishes, are not hungry, though the link's queue is empty. */
bool pace_is_full(const struct session *from, const struct session *link);
void pace_tick(struct node *n); /* once a turn */
nanotime pace_deadline(const struct node *n);
/* Of a publisher, a reader, or a link; harmless when repeated. Before hold_session_end. */
void pace_session_end(struct session *s);
void pace_peer_gone(struct peer *p); /* its record is about to be freed */
/* O(records). */
const char *pace_check(const struct node *n);
size_t pace_owned(const struct node *n);

#endif
