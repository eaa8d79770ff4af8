/* Topics that have numbers, so that a PUBLISH need not spell them: heard from publishers and other nodes, and told to
 * subscribers and other nodes.
 *
 * A peer announces a topic, and if there is room it is taken and the peer told so; only then it uses the number. So without
 * room nothing is lost: topics are spelled. While a publisher or a node has announced it, a topic has a number of our own,
 * under which it is told to those that get its messages: clients can use it at once, nodes when they have taken it in turn.
 * What each slot of a receiver holds is known here, and does not change for a topic that comes now and then. */
#ifndef NODE_SESSION_TOPICS_H
#define NODE_SESSION_TOPICS_H

#include "node/state.h"
#include "wire/msg.h"

struct topic { /* announced by somebody */
  struct hlink h;
  uint64_t number; /* ours: rising, never given twice in a run */
  uint32_t refs;   /* slots that it stands in */
  uint8_t len;
  char name[]; /* stored form */
};
struct topic_slot { /* what a number of the peer stands for */
  uint64_t number;
  struct topic *topic; /* NULL: nothing */
  uint32_t slashes;    /* as it was announced: names.h */
  uint32_t allowed;    /* rights.changes when the peer was allowed to publish it; 0: it was not judged */
};

/* ANNOUNCE of a topic, by a client or a link. Closes the session if it is none. */
void topics_heard(struct session *s, const struct msg_announce *m);
/* A node says that it knows this number of ours. */
void topics_taken(struct session *link, uint64_t number);
/* What a number stands for; valid until the next ANNOUNCE of this session. NULL: it was not taken, and the session is being
 * closed. */
struct topic_slot *topics_by_number(struct session *s, uint64_t number);
/* Whether a frame for this receiver may name the topic by our number; announces it if that is to be so. */
bool topics_named(struct session *to, uint64_t number, struct slice name);

/* Whether it is sent, and may send, PUBLISH with short keys. */
static inline bool topics_are_told(const struct session *to) { return to->caps & CAP_TOPICS; }

void topics_init(struct node *n);
void topics_done(struct node *n);
void topics_end(struct session *s); /* harmless when repeated */
/* O(topics, and sessions with their slots). */
const char *topics_check(const struct node *n);
size_t topics_owned(const struct node *n); /* bytes of the account of origins */

#endif
