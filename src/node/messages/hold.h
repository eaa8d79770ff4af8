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

#include "node/state.h"

struct listeners;
struct group_picks;
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
