/* From bytes of streams to frames, and the credit that senders get for them. */
#ifndef NODE_RECEIVE_H
#define NODE_RECEIVE_H

#include "node/state.h"

void receive_data(struct session *s, int64_t stream, struct slice data, bool fin);
void receive_closed(struct session *s, int64_t stream);
void receive_end(struct session *s); /* frees what its streams hold */
/* the verdict on the session's CONNECT has come: handles CONNECT and the frames held behind it */
void receive_judged(struct session *s);
/* The peer says goodbye, having opened so many one-way ways: the session ends when all that it has sent is read, after 5 s at
 * the latest. */
void receive_goodbye(struct session *s, uint64_t ways);
nanotime receive_deadline(const struct node *n); /* of the next goodbye that takes no longer */
void receive_tick(struct node *n);
void receive_paced(struct node *n);  /* reads on what waited for tokens, as far as there are any */
void receive_others(struct node *n); /* who has sent other frames than publishes, more than a turn has time for; once a turn */
void receive_go_on(struct node *n);  /* likewise what waited for the next turn; once a turn */
void receive_held(struct node *n);   /* publishers that waited for a reader go on, as far as they can now */
void receive_resume(struct node *n); /* paused publishers go on, as far as the pool allows */
void receive_sweep(struct node *n);  /* ends sessions whose unfinished frame took too long, and reserves room for others */
/* Checks what streams hold and the credit withheld for it (base/check.h). O(sessions and their streams). */
const char *receive_check(const struct node *n);
size_t receive_owned(const struct node *n); /* bytes of the account that streams hold */

#endif
