/* Who gets a message that very many subscribe to, found in as many turns as it takes.
 *
 *   a client's publish --- found and asked within the turn ---> as any other (publish.c)
 *      +--- else: its frame stays unread, FINDING --- all are in the list ---> CHOOSING whom it is to wait for, if for anybody
 *           --- ---> READY: the frame is read again, and this is used (gather_take) --- READY and not used ---> as if it never
 * was a message of another node or of this one --- found within the turn ---> deliver_begin
 *      +--- else: the message is kept, FINDING --- all are in the list ---> given out (deliver.h)
 *
 * All this is the one delivery under way (messages.rest), so that no other publish begins meanwhile, and no other match. Who
 * subscribes meanwhile is put into the list, too: what is retained in the end must reach it one way or the other. */
#ifndef NODE_MESSAGES_GATHER_H
#define NODE_MESSAGES_GATHER_H

#include "node/messages/deliver.h"
#include "node/messages/hold.h"

struct listeners;
struct group_picks;

enum gathered {
  GATHERED_NOT,   /* there is no memory for the list: all are in *ret_hit (deliver_match), to be asked at once */
  GATHERED_LATER, /* the frame is to stay unread */
  GATHERED        /* all are in *ret_hit, and *ret_d; hold_asked decides */
};
/* For a client's publish whose match has left some aside (deliver_match_first), of which *ret_hit are the others. */
enum gathered gather_begin(struct session *from, const struct msg_publish *m, const struct listeners *to,
                           const struct group_picks *picks, struct topic_subscriber **ret_hit, struct delivery **ret_d);
/* Likewise for a message that no frame waits for; delivers it. peer: whose it is, NULL: this node's own; connection: of that
 * node, for pace_publish. As deliver_begin. */
int gather_local(struct node *n, struct peer *peer, struct topic_subscriber *hit, uint64_t connection,
                 const struct msg_publish *m, const struct principal *by, uint64_t *ret_cut);
bool gather_is_on(const struct node *n);
/* Whose frame is to be read again now; NULL: nobody's. */
struct session *gather_ready(const struct node *n);
/* Whether that is this publish. gather_take: what was found, to be given to deliver_begin or gather_free. */
bool gather_is_for(const struct session *s, const struct msg_publish *m);
struct delivery *gather_take(struct node *n);
void gather_unused(struct node *n); /* its frame was read again, or not, and made no use of it */
/* Whether it waits for some of those found, or for one of these. */
bool gather_holds(struct delivery *d, const struct listeners *to, const struct group_picks *picks);
uint32_t gather_own(const struct delivery *d); /* of these, connections of the publisher's identity */
bool gather_was_sliced(const struct delivery *d);
void gather_free(struct node *n, struct delivery *d);
void gather_step(struct node *n); /* once a turn */
void gather_subscribed(struct session *s, struct slice pattern);
void gather_has(struct node *n, uint64_t session); /* it is in the list, in place of one that it goes on for */
void gather_session_end(struct session *s);

#endif
