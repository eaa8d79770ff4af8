/* Publishers that wait for a reader's queue.
 *
 *   publish --- all who get it have room, or do not keep up ---> done
 *      +--- one that keeps up has none, and may be waited for: held, the frame unread --- room; it does not keep up any more,
 * or has ended; an account is empty ---> asked anew
 *
 * One that keeps up (flow/keep.h) is waited for as long as nobody else goes hungry by it: none of the others that the
 * publisher's messages go to sits with an empty queue. Beside such a one waiting is charged to two accounts, the publisher's
 * and the reader's, both by identity (trust/account.h), and when either is empty the message is not for that reader: its copy
 * is dropped (QoS 0), or it is cut (QoS 1). For QoS 1, while nobody else is hungry, it is enough that it moves (room_moves).
 * Those who do not keep up are not waited for. Nobody waits for its own queue, and what comes from other nodes never waits
 * here.
 *
 * Who waits for one reader goes on in the order in which they came. Each is asked anew only for a reason, so nothing is matched
 * twice in vain. */
#ifndef NODE_MESSAGES_HOLD_H
#define NODE_MESSAGES_HOLD_H

#include "node/flow/budget.h"
#include "node/state.h"

struct listeners;
struct group_picks;
struct hold_ask { /* who gets a publish, asked for room: at once (hold_publish), or one after another in several turns */
  struct session *from;
  const struct peer *peer;           /* the other node that is asked for now, by its link or that of its gateway; NULL: none */
  const struct flow_awaited *served; /* flow.served as the asking began: its place in the order is not lost by that */
  size_t need;
  enum budget_kind kind;
  bool later;                           /* one has no room, and may be worth waiting for */
  struct session *first, *least, *next; /* those with the shortest queues */
  size_t least_queued, next_queued;
};
void hold_ask_init(struct hold_ask *a, struct session *from, const struct msg_publish *m);
void hold_ask_one(struct hold_ask *a, struct session *to);
void hold_ask_others(struct hold_ask *a, const struct listeners *to, const struct group_picks *picks);
/* After all were asked, if `later` is set: whether the publish is to wait for this one. */
bool hold_is_for(const struct hold_ask *a, struct session *to);
void hold_ask_forget(struct hold_ask *a, const struct session *s); /* it has ended */
/* As hold_publish, after all were asked. reader: of the clients, the first that it is to wait for; NULL: for none of them. */
bool hold_asked(struct hold_ask *a, struct session *reader, const struct listeners *to, const struct group_picks *picks);
/* Whether the publish must wait, so that its frame is to stay unread; else nothing has changed. hit: this node's subscribers
 * (deliver_match); NULL: none. to: the other nodes. */
bool hold_publish(struct session *s, const struct msg_publish *m, struct topic_subscriber *hit, const struct listeners *to,
                  const struct group_picks *picks);
void hold_tick(struct node *n); /* once a turn, at its begin: time, and accounts */
/* The next one that goes on, which is held no more; NULL: none now. Until the next call the others that wait for the same
 * reader are not before it. */
struct session *hold_next(struct node *n);
nanotime hold_deadline(const struct node *n);
/* The process has stood still for ns since it read something last: such time does not count. */
void hold_stood(struct node *n, uint64_t ns);
void hold_release(struct flow_awaited *r); /* those that wait for it go on */
void hold_session_end(struct session *s);
/* O(readers and those that wait). */
const char *hold_check(const struct node *n);

#endif
