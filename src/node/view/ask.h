/* Operators' questions that take a while. */
#ifndef NODE_VIEW_ASK_H
#define NODE_VIEW_ASK_H

#include "node/state.h"

/* Whether com.macula.node.<what> is such a question; if so it will be answered. */
bool ask_call(struct session *s, const struct msg_call *m, struct slice what);
void ask_ponged(struct peer *p, const struct msg_pong *m);
void ask_found(struct node *n, const struct dht_result *r);
void ask_peer_down(struct peer *p, int err);
void ask_session_ended(struct session *s);
void ask_done(struct node *n); /* frees all without a word */
nanotime ask_deadline(const struct node *n);
void ask_tick(struct node *n);
const char *ask_check(const struct node *n); /* base/check.h; O(questions) */
size_t ask_owned(const struct node *n);      /* bytes of the account that questions take */

#endif
