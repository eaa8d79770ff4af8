/* What the node retains, sent to whoever subscribes. */
#ifndef NODE_MESSAGES_REPLAY_H
#define NODE_MESSAGES_REPLAY_H

#include "node/state.h"

void replay_start(struct session *s, struct slice pattern);
void replay_stop(struct session *s, struct slice pattern);
void replay_end(struct session *s);
/* Another node asked, and takes so many bytes now, or more. */
void replay_peer_start(struct peer *p, uint64_t number, struct slice pattern, uint64_t room);
void replay_peer_more(struct peer *p, uint64_t number, uint64_t room);
void replay_peer_end(struct peer *p);
void replay_step(struct node *n); /* once a turn */
bool replay_is_due(const struct node *n);
const char *replay_check(const struct node *n); /* base/check.h; O(replays) */
size_t replay_owned(const struct node *n);      /* what of its account is its own */

#endif
