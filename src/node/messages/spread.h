/* Publishes across nodes. */
#ifndef NODE_MESSAGES_SPREAD_H
#define NODE_MESSAGES_SPREAD_H

#include "node/messages/groups.h"

#define SPREAD_MOST 255u /* other nodes that interest is exchanged with, at most */
int spread_init(struct node *n);
void spread_done(struct node *n);
void spread_set_limits(struct node *n);
void spread_peer_init(struct peer *p);
void spread_alive(struct peer *p);        /* the peer has become a member, or was declared dead and is alive again */
void spread_dead(struct peer *p);         /* membership has declared the peer dead */
void spread_mute(struct peer *p);         /* nothing comes from it: what waits for it waits no longer; else nothing happens */
void spread_forget(struct peer *p);       /* the peer is no longer a member; harmless when repeated */
void spread_lost(struct peer *p);         /* publishes that were on their way to it will never come there */
void spread_link_up(struct peer *p);      /* a link stands, perhaps another than before */
void spread_step(struct node *n);         /* once a turn */
bool spread_is_due(const struct node *n); /* the step has something to do that was left for the next turn */
void spread_sweep(struct node *n);        /* every SWEEP_EVERY */
nanotime spread_deadline(const struct node *n);
void spread_tick(struct node *n);
size_t spread_queued(const struct peer *p); /* bytes queued on the path to the peer; SIZE_MAX: there is no path */
void spread_frame(struct peer *p, uint8_t type, struct slice payload); /* INTEREST*, RETAINED* */
/* A client took or left a pattern. MACULA_ENOMEM, MACULA_EFULL: refused. */
int spread_subscribe(struct node *n, struct slice pattern);
void spread_unsubscribe(struct node *n, struct slice pattern);
void spread_pattern_gone(void *ctx, struct slice pattern); /* ctx: the node; one of a client that has ended */
void spread_session_init(struct session *s);
void spread_session_end(struct session *s);
/* The first `known` nodes have subscribers, or are treated as if they had; those after them, up to `sure`, have not said yet.
 * All of these must acknowledge a QoS 1 message before the publisher gets its ACK. The rest is not waited for: silent, or only
 * told of. */
struct listeners {
  struct peer *peers[SPREAD_MOST];
  struct inflight_party *nodes[SPREAD_MOST];
  uint32_t count, known, sure;
};
/* Who gets the message, nodes and members of groups; ours: the groups of our clients that it reaches; again: our clients have
 * had it. MACULA_RATE_LIMITED. */
int spread_find(struct session *from, const struct msg_publish *m, struct topic_group *ours, bool again, struct listeners *ret,
                struct group_picks *ret_picks);
/* Sends what the node itself publishes to all nodes that listen, and to groups; nobody acknowledges it. */
int spread_own(struct node *n, const struct msg_publish *m, const struct principal *by);
bool spread_answers(const struct peer *p); /* there is a path to it, and it is not silent */
/* Sends a message to one node, which need not acknowledge it. */
int spread_send(struct peer *p, const struct msg_publish *m, const struct principal *by);
/* Sends one copy to each of them. key: with QoS 1, for de-duplication; else NULL. *ret_waits: those nodes
 * must acknowledge the message first, and the publisher's ACK follows then; else *ret_partly, to which is added, belongs into
 * it. MACULA_RATE_LIMITED, MACULA_ENOMEM: nothing was sent. MACULA_LISTENERS_UNKNOWN: sent to those who are known to listen. */
int spread_publish(struct session *from, const struct msg_publish *m, const struct listeners *to,
                   const struct group_picks *picks, const struct dedup_key *key, bool wants_ack, uint64_t ref, bool *ret_waits,
                   struct msg_partly *ret_partly);
/* What the publisher is told with such a result; NULL: the code's own text. */
#define SPREAD_TEXT_LEN 128
const char *spread_text(int err, const struct msg_partly *partly, char buf[SPREAD_TEXT_LEN]);
void spread_receive(struct peer *p, const struct msg_publish *m);
void spread_ack(struct peer *p, const struct msg_ack *m);
void spread_delivered(struct node *n, const struct delivery *d); /* the last subscriber here has its copy: tells the node */
/* So many subscribers of ours were cut because of the message that other nodes are to acknowledge by this number. */
void spread_cut(struct node *n, uint64_t number, uint64_t count);
void spread_results(struct node *n); /* ACKs for what is done */
/* Checks our clients' patterns, the nodes that are told of them, and the messages and answers under way (base/check.h).
 * O(subscriptions, nodes, messages). */
const char *spread_check(const struct node *n);

#endif
