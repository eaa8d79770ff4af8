/* Groups of subscribers: each message goes to one member of each group whose pattern it matches, in the whole mesh.
 *
 * The publisher's node chooses: a member of its own that has room, else another node with members, in turn, else a member of
 * its own that has none. A node that was chosen is told so in its copy, and gives the message to a member of its own. Among
 * members those that are connected and have room come first, in turn.
 *
 * A message with QoS 1 is kept until its member has acknowledged it: over QUIC the bytes, of MQTT the message. What a member
 * leaves goes to another one. */
#ifndef NODE_MESSAGES_GROUPS_H
#define NODE_MESSAGES_GROUPS_H

#include "node/session/parcel.h"
#include "wire/group.h"

#define GROUPS_A_MESSAGE 64u /* further groups do not get it; counted */
#define GROUPS_A_CLIENT 64u

struct group_pick {
  struct topic_group *g; /* of our clients, with `member`; or of other nodes, with `node` */
  struct topic_sub *sub; /* the member, or what `node` is in the group by */
  struct topic_sub *member;
  struct peer *node;
};
struct group_picks {
  uint32_t count;
  struct group_pick at[GROUPS_A_MESSAGE];
};

void groups_init(struct node *n);
void groups_done(struct node *n);
/* Right after the topic was matched with our clients' patterns (ours: the groups found) and other nodes' (theirs; NULL: there
 * are none): who gets the message. from NULL: the node publishes it. again: our clients have had it. */
void groups_choose(struct node *n, struct session *from, const struct msg_publish *m, struct topic_group *ours,
                   struct topic_group *theirs, bool again, struct group_picks *ret);
/* The message goes to them now: the turn is that of others. Right after groups_choose. */
void groups_took(const struct group_picks *p);
/* To the members that were chosen here. *ret_cut: as deliver_begin. */
void groups_deliver(struct session *from, const struct msg_publish *m, const struct group_picks *p, const struct principal *by,
                    uint64_t *ret_cut);
/* The keys of the groups for which this node was chosen, into items and text; how many. */
uint32_t groups_of_node(const struct group_picks *p, const struct peer *node, struct slice items[GROUPS_A_MESSAGE],
                        char text[GROUPS_A_MESSAGE][NAME_MAX_LEN + 1]);
/* Another node has chosen this one. *ret_cut: as deliver_begin. MACULA_NO_ROUTE: a group has no member here any more. */
int groups_receive(struct node *n, const struct msg_publish *m, const struct principal *by, uint64_t *ret_cut);
void groups_acked(struct session *member, uint64_t id); /* by a door that says so itself (ops.tells_replays) */
/* What `from` has not acknowledged is now `to`'s, who goes on with its session. */
void groups_adopt(struct session *from, struct session *to);
/* What it has not acknowledged is for another. Where its door acknowledges (tells_replays), only as that is closed: a new
 * session may go on with the old one's. */
void groups_session_end(struct session *s, bool closed);
void groups_sweep(struct node *n); /* what was acknowledged */
void groups_step(struct node *n);  /* what members have left */
bool groups_are_due(const struct node *n);

uint64_t groups_origins(const struct node *n);
const char *groups_check(const struct node *n);
size_t groups_owned(const struct node *n);

#endif
