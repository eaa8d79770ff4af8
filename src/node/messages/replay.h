/* Retained messages, sent to new subscribers here and at other nodes. */
#ifndef NODE_MESSAGES_REPLAY_H
#define NODE_MESSAGES_REPLAY_H

#include "node/state.h"

void replay_start(struct session *s, struct slice pattern);
void replay_stop(struct session *s, struct slice pattern);
void replay_end(struct session *s);
/* replay_peer_start: another node asked for what matches the pattern, and accepts `room` bytes now. replay_peer_more: it
 * accepts that many more bytes; 0: its replay ends. */
void replay_peer_start(struct peer *p, uint64_t number, struct slice pattern, uint64_t room);
void replay_peer_more(struct peer *p, uint64_t number, uint64_t room);
void replay_peer_end(struct peer *p);
void replay_step(struct node *n); /* once a turn */
bool replay_is_due(const struct node *n);
const char *replay_check(const struct node *n); /* base/check.h; O(replays) */
size_t replay_owned(const struct node *n);      /* bytes of the account that replays hold */

#endif
