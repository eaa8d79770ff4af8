/* How much of what is published a session's queue may hold.
 *
 * Up to client_queue (a link: peer_queue) each may, while the pool has room. The queue of one that keeps up (flow/keep.h) may
 * grow beyond that, to a sixteenth of what is free of the pool's first three quarters, if its publishes have a way of their
 * own, so that who holds most makes room first; one without an acknowledgement for a while may hold no more than that even
 * below client_queue. The last 32nd of the pool is kept for answers. */
#ifndef NODE_SESSION_ROOM_H
#define NODE_SESSION_ROOM_H

#include "node/session/parcel.h"

#define ROOM_FORGET (500 * NS_MS) /* so often readers whose queues are empty again are forgotten */

enum room {
  ROOM_YES,
  ROOM_LATER, /* it keeps up, so that there will be soon */
  ROOM_NONE
};

/* Whether a publish of len bytes may be queued for it now. O(1). */
enum room room_for(struct session *s, size_t len);
/* The same for a publisher at this node, which leaves room for what is on its way from other nodes. */
enum room room_ask(struct session *s, size_t len);
/* How full its queue is for publishers at another node, at a round trip of rtt ns: from ROOM_MARK on these are to wait, as it
 * can take about two round trips more at the rate that it is filled at now. */
#define ROOM_MARK 1000u
uint32_t room_fill(const struct session *s, uint64_t rtt);
/* Bytes that are left to the mark; empty: if nothing were queued. */
size_t room_to_mark(const struct session *s, uint64_t rtt, bool empty);
/* Whether the link, which keeps up, has so much to send already that more would only come later, and longer after a PACE. */
bool room_is_ahead(struct session *s, size_t len);
/* Whether it is behind by a burst only: its queue was empty within the window in which it is judged to keep up. */
bool room_was_empty(struct session *s);
/* To be called before something is queued for it. queued: session_queued. */
void room_note(struct session *s, size_t queued);
size_t room_step(const struct session *s); /* bytes that are worth waiting for */
/* Room that is to be there beside what one that waits needs, as asking it anew has its cost; never more than an empty queue
 * has. */
size_t room_more(const struct session *s);
bool room_keeps_up(struct session *s);
/* Whether it has acknowledged anything within 5 s, or has nothing to acknowledge. */
bool room_moves(const struct session *s);
size_t room_deliveries(const struct session *s); /* bytes of publishes in its queue that are not acknowledged */
/* Its record as a reader, made if there is none; NULL: no memory. */
struct flow_reader *room_reader(struct session *s);
/* Frees it; harmless when there is none. Nobody waits for it. */
void room_forget(struct session *s);

/* O(readers). */
const char *room_check(const struct node *n);
size_t room_owned(const struct node *n);

#endif
