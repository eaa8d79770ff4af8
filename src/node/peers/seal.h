/* Keys for envelopes: what this node has agreed on with others, exchanges under way, and by whom a node is reached. */
#ifndef NODE_PEERS_SEAL_H
#define NODE_PEERS_SEAL_H

#include "node/state.h"

void seals_init(struct node *n);
void seals_done(struct node *n);
void seal_drop(struct peer *p); /* forgets its keys */
/* 0: envelopes can be sealed for it and sent. MACULA_EBUSY: an exchange is under way, after which peer_agreed or peer_down
 * follows. MACULA_NOT_CONNECTED: there is no way to it, or the last exchange failed a moment ago. MACULA_EFULL, MACULA_ENOMEM.
 */
int seal_want(struct peer *p);
bool seal_ready(const struct peer *p); /* its keys are there */
bool seal_busy(const struct peer *p);  /* an exchange is under way */
/* seal_ready must hold. */
void seal_make(struct peer *p, enum agree_space space, const struct agree_envelope *e, uint8_t ret_seal[AGREE_SEAL_LEN]);
/* The peer that sealed the envelope, which counts only once; NULL: nobody is proved to have. `from` handed it over. */
struct peer *seal_open(struct peer *from, const struct agree_envelope *e, struct slice seal);
/* An offer or answer in the name of `source`, which its signature proves or not. */
void seal_heard(struct peer *from, const struct id *source, struct slice payload);
/* `from` says that it cannot carry an envelope on to p. False: it is not one that we gave it to. */
bool seal_not_routed(struct peer *from, struct peer *p);
void seals_sweep(struct node *n); /* once a second */
void seals_tick(struct node *n);
nanotime seals_deadline(const struct node *n);
const char *seals_check(const struct node *n); /* base/check.h; O(keys) */
size_t seals_owned(const struct node *n);

#endif
