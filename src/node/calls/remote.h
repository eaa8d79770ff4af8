/* Calls between nodes. */
#ifndef NODE_CALLS_REMOTE_H
#define NODE_CALLS_REMOTE_H

#include "node/state.h"

void remote_out(struct router_out *out); /* sets the callbacks for calls between nodes */
/* 0, MACULA_EBUSY (a link is on its way: rpc_peer_up or rpc_peer_down follows), or why it cannot be sent. */
int remote_send_call(const struct router_send *c);
enum call_fate remote_fate(const struct rpc_party *party, const struct call_mark *mark);
/* An answer to a call that came by `way` (struct router_call) goes back by it; else, or with NULL, as anything else does, and
 * waits for a link if need be. */
int remote_reply(const struct rpc_party *party, const struct msg *m, const struct id *way);
/* likewise; a peer whose queue has no room even for this is disconnected */
void remote_tell(const struct rpc_party *party, const struct msg *m, const struct id *way);
/* A CALL for the peer could not be carried on, as the node says to which it was given. */
void remote_not_routed(struct peer *p, struct slice payload);
void remote_call(struct peer *p, const struct msg_call *m);
void remote_cast(struct peer *p, const struct msg_call *m);
void rpc_peer_init(struct peer *p, uint64_t session);
void rpc_peer_up(struct peer *p);
void rpc_peer_down(struct peer *p);
/* It has forgotten keys for envelopes: calls that it never opened are sent again, others fail if they may have been lost. */
void rpc_peer_forgot(struct peer *p, const struct agree_told *t);
void rpc_peer_silent(struct peer *p); /* and those behind it */
void rpc_peer_heard(struct peer *p);  /* likewise */

#endif
