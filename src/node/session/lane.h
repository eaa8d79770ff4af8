/* What waits in front of a session's door, in a queue for each lane.
 *
 *   lanes_write --- the door has room, nothing waits before it ---> door
 *        +--- else: item in its lane --- session_drained: control, then calls, then publishes --->+
 *
 * While a lane is empty and the door has room, frames go straight to the door, so a node without slow readers queues nothing
 * here. An item is a reference to a frame that all its receivers share (of a small frame the first copy stands in the queue
 * itself); for a publish it also keeps what differs for its receiver (QoS, retain), so that it can still be dropped, counted,
 * or paced. Order is kept within a lane, not between lanes. Bytes queued here count as queued for the session (client_queue,
 * peer_queue) and belong to the account of send queues.
 *
 * A lane has no limit of its own: the writer checks for room first (parcel_fits, session_send). Without memory for an item the
 * writer is told MACULA_ENOMEM; when the door refuses a frame that has waited, which it does only for lack of memory, a publish
 * with QoS 0 is dropped and counted; for any other frame the session is cut, as when its queue is full. */
#ifndef NODE_SESSION_LANE_H
#define NODE_SESSION_LANE_H

#include "node/session/parcel.h"

enum lane lane_of(uint8_t type); /* of a message that is not large */
/* Whether it is one of those that small calls must not wait for: arguments or a result of more than LARGE_FRAME bytes, a CANCEL
 * of such a call, or an envelope with one. lane_may_be_large: whether it can be, by its payload's length. */
#define LARGE_FRAME (16u << 10)
bool lane_is_large(const struct msg *m);
bool lane_may_be_large(uint8_t type, size_t len);
bool lane_has_large(const struct session *s); /* large ones have a way of their own there */
enum lane lane_for(const struct session *s, const struct msg *m);
void lanes_init(struct lanes *l);
static inline size_t lane_bytes(const struct session *s, enum lane lane) { /* that wait in it */
  return s->lanes.lane ? s->lanes.lane[lane].bytes : 0;
}
/* Writes a frame: through its lane if `way` is the way of that lane, else directly to the door. MACULA_ENOMEM, or the errors of
 * door_ops.write. */
int lanes_write(struct session *s, enum lane lane, int64_t way, struct parcel *p);
/* The lane by which the last word goes, DISCONNECT: behind all else by the way of CONNECT, and when all that goes by other ways
 * has arrived. */
enum lane lanes_last(const struct session *s);
/* Hands over what the door has room for. */
void lanes_pump(struct session *s);
/* Drops all items, which are freed over the next turns. The caller tells the door (door_more) if the session goes on. */
void lanes_clear(struct session *s);
void lanes_tick(struct node *n);          /* each turn */
bool lanes_are_due(const struct node *n); /* there is more to be freed */
void lanes_done(struct node *n);
/* lanes_check: one session; the others: all sessions, and the bytes of the send queues' account that lanes hold (of a shared
 * frame, their part). O(items). */
const char *lanes_check(const struct session *s);
const char *filled_check(const struct node *n);
double lanes_owned(const struct node *n);

#endif
