/* One message to this node's own subscribers, however many they are.
 *
 *   deliver_match    who gets it: a chain in the index, valid in this call of the node only. Where these are very many it is
 *                    found in slices: messages/gather.h
 *   deliver_begin    gives copies until all have one or the turn has had its time; in that case the serials of those that are
 *                    left are copied once, and
 *   deliver_step     goes on in the next turns.
 *
 * Until the last one has its copy no other publish begins (deliver_waits), of a client or of a node: so each publisher's order
 * holds, and nothing else fills the queues meanwhile. Subscriptions may come and go. A subscriber that ends is skipped, as its
 * serial is found no more. That the publisher ends changes nothing but that nobody is told. */
#ifndef NODE_MESSAGES_DELIVER_H
#define NODE_MESSAGES_DELIVER_H

#include "node/session/parcel.h"

/* match_begin: how many steps a match may take now, for topic_index_match_within. match_end: takes what it left of them;
 * MACULA_RATE_LIMITED if nothing is left. */
uint32_t match_begin(struct node *n);
int match_end(struct node *n, uint32_t given, uint32_t left);

/* Whether this subscriber, which a match has found, gets what this session publishes; from NULL: another node. */
static inline bool deliver_is_for(const struct topic_subscriber *hit, const struct session *from) {
  const struct session *to = hit->user;
  return to->state == SESSION_IN && (to != from || hit->flags & TOPIC_OWN);
}
bool deliver_waits(struct node *n);               /* whether a publish must wait for the next turn */
bool deliver_is_awaited(const struct session *s); /* its publish is the one that is to be read now in spite of that */
/* The subscribers of a topic, chained by next_hit (user: their sessions, some of which may be over); NULL: none. from: the
 * publisher, who pays for an expensive match; NULL: it is at another node. MACULA_RATE_LIMITED. */
int deliver_match(struct node *n, struct session *from, struct slice topic, struct topic_subscriber **ret_hit);
/* Likewise, but patterns that very many share are left aside (*ret_more): messages/gather.h. */
int deliver_match_first(struct node *n, struct session *from, struct slice topic, struct topic_subscriber **ret_hit,
                        bool *ret_more);
/* d: the list of these (gather_begin), which is taken, even on error; NULL: it is made when it is needed.
 * Delivers m to them, by: who published it, NULL: unknown. *ret_cut: grows by those that were cut, or lost this message or an
 * older one, as they had no room (QoS 1). MACULA_PAYLOAD_TOO_LARGE, MACULA_ENOMEM: nobody has it. */
int deliver_begin(struct node *n, struct session *from, struct topic_subscriber *hit, const struct msg_publish *m,
                  const struct principal *by, uint64_t *ret_cut, struct delivery *d);
/* The same for a list that took several turns (gather_take): the first copy is given in the next one, or all in this one where
 * there is no memory to keep the message. */
int deliver_list(struct node *n, struct session *from, struct delivery *d, const struct msg_publish *m,
                 const struct principal *by, uint64_t *ret_cut);
/* After deliver_begin: some are left, and the publisher is told (publish_delivered) when they have it. ref: of its request;
 * session 0: `peer` published it. False: all have it, tell the publisher now. */
bool deliver_tell(struct node *n, uint64_t session, const struct id *peer, uint64_t ref, int err,
                  const struct msg_partly *partly);
/* After deliver_begin: other nodes acknowledge the message by this number, and if some are left here, those of them that are
 * cut count in its result (spread_cut). */
void deliver_counts(struct node *n, uint64_t number);
void deliver_step(struct node *n); /* once a turn */
void deliver_done(struct node *n);

/* A session goes on with the subscriptions of another, which is over: what this was to get goes to it. */
void deliver_replaced(struct node *n, uint64_t was, uint64_t is);
uint64_t deliver_origins(const struct node *n); /* references to principals that it holds */
const char *deliver_check(const struct node *n);
/* Bytes of its own account, and its part of frames in that of send queues. */
size_t deliver_owned(const struct node *n);
double deliver_frames_owned(const struct node *n);

#endif
