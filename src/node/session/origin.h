/* Who published and who called: told to connections by numbers, and heard from other nodes.
 *
 * A client's principal is what it proved at this node. Frames name it by its number, so that one frame serves all receivers;
 * what the number stands for is announced to each connection before the first frame that names it, in the same lane. A
 * connection has 256 slots a lane (number mod 256), and an announcement replaces what its slot held: the sender knows what each
 * slot of the receiver holds, and announces again what is not there any more. Without memory for that it announces before each
 * frame. Whatever a link announces is vouched for by the node at its other end, and by nobody else. */
#ifndef NODE_SESSION_ORIGIN_H
#define NODE_SESSION_ORIGIN_H

#include "node/state.h"
#include "wire/msg.h"

/* The principal of a client; a view, for as long as the session lives. NULL: there was no room for it. */
struct principal *origin_of(struct session *s);
static inline bool origin_is_told(const struct session *to) { return to->caps & CAP_ORIGIN; }
/* Before a frame in this lane that names p by its number: announces it unless the receiver knows it. MACULA_EFULL,
 * MACULA_ENOMEM, and the errors of lanes_write: the frame cannot be sent. */
int origin_tell(struct session *to, enum lane lane, const struct principal *p);
/* What a frame for another node says of p (NULL: unknown): over the link its number, which is announced first; to a node
 * without a link (NULL) all of it. Errors as of origin_tell. */
int origin_put(struct session *link, enum lane lane, const struct principal *p, struct msg_origin *ret_origin);

/* Closes a link over which something was named that was not announced; logged. */
void origin_refuse(struct session *link, const char *text);
/* ANNOUNCE of another node. */
void origin_heard(struct session *link, const struct msg_announce *m);
/* Whom a frame of the node p names; link: over which it came, NULL: through a gateway. *ret_principal is a reference, NULL:
 * unknown. False: the link is being closed, as the frame names a principal that was not announced. */
bool origin_from(struct node *n, struct session *link, const struct id *node, enum lane lane, const struct msg_origin *m,
                 struct principal **ret_principal);

void origins_init(struct node *n);
void origins_done(struct node *n);
void origin_end(struct session *s); /* harmless when repeated */
/* O(principals, and sessions with their slots). others: how many references there are beside those of sessions. */
const char *origins_check(const struct node *n, uint64_t others);
size_t origins_owned(const struct node *n); /* bytes of the account */

#endif
