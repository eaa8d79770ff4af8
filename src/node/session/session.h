/* One connection: how it is let in, refused, told things, and ended.
 *
 * A session is one connection, of a client or (session.peer set, a link) of another node:
 *
 *   FRESH -- CONNECT --> JUDGING -- let in --> IN --+-- goodbye, replaced, slow, drained --> OVER -- connection gone --> freed
 *     +-- timeout -------+-- refusal, timeout ------+
 *   DIALLING (to another node) -- PONG --> IN
 *
 * The verdict on CONNECT mostly falls in its own turn. When it comes later, CONNECT and whatever follows it are held
 * (receive.c) and read when it is there; who has gone by then, or waited for too long, it does not find.
 *
 * Whatever ends a session dooms it first: nothing is delivered to it from then on, and session_end takes away all that it owns
 * in the node's settle, when no list of the index and no call of the router is being walked. What is queued for one that is
 * closed still goes out, its last words behind all of it, as far as its peer takes it within LINGER; of one that is cut nothing
 * does. */
#ifndef NODE_SESSION_SESSION_H
#define NODE_SESSION_SESSION_H

#include "base/err.h"
#include "node/session/parcel.h"
#include "node/state.h"
#include "wire/names.h"

#define SWEEP_EVERY (1 * NS_SEC)

/* Somebody has come: copies the door. NULL: turned away, or no memory; the door is closed. */
struct session *session_open(struct node *n, const struct door *door);
struct session *session_new(struct node *n); /* without a door yet; NULL: no memory */
/* Whether CONNECT may come in at all, as a client's or as a node's: 0, or why not; *ret_text: NULL, static, or why. */
int session_check(const struct session *s, const struct msg_connect *m, char why[NAME_WHY_LEN], const char **ret_text);
void session_admit(struct session *s, const struct msg_connect *m); /* as a client, checked */
/* Refuses or ends: DISCONNECT with the code, then the close. err 0: a normal goodbye. text NULL: the code's own. */
void session_close(struct session *s, int err, const char *text);
/* Ends without a word and without waiting for what is queued. */
void session_cut(struct session *s, int err);
/* Somebody was turned away who has no session. */
void session_refused(struct node *n, const struct addr *from, const struct id *id, int err, struct slice text);
/* Off all lists but that of those with a connection; and out of memory. */
void session_unlist(struct session *s);
void session_free(struct session *s);
/* By the lane of its type, or with answer set by the way whose frame is being handled. MACULA_EFULL (the queue), or the errors
 * of lanes_write; MACULA_FRAME_TOO_LARGE. */
int session_send(struct session *s, const struct msg *m, bool answer);
int session_write(struct session *s, enum lane lane, struct parcel *p); /* the same, of a frame */
void session_drained(struct session *s);                                /* its door could take more */
size_t session_queued(const struct session *s); /* bytes that it has not acknowledged, those that wait for its door included */
/* As session_send; a peer that cannot take even that is cut as a slow consumer. */
void session_tell(struct session *s, const struct msg *m, bool answer);
/* ACK, if it was asked for and is understood. */
void session_ack(struct session *s, bool has_ref, uint64_t ref, int err, const char *text);
/* REPLY to a call, with an error. text NULL: the code's own. */
void session_error(struct session *s, struct slice call_id, int err, const char *text);
/* JUDGING from now on; m is read by whoever gives the verdict now. */
void session_judge(struct session *s, const struct msg_connect *m);
struct session *session_judged(struct node *n, uint64_t serial); /* NULL: it has gone, or has its verdict */
/* Calls are pending: see to it that the peer's silence is noticed. */
void session_watch(struct session *s);
void sessions_shed(struct node *n); /* every SWEEP_EVERY */
/* Sessions, the table of clients and the lists of both (base/check.h). O(sessions). */
const char *sessions_check(const struct node *n);
size_t sessions_owned(const struct node *n); /* what of its account is its own */

/* ends.c: what the end of a session means to all that knows it. */
/* All that a client owns goes, in one step; harmless when repeated. */
void session_end(struct session *s);
/* The connection is gone: ends and frees it. why NULL: with the whole node. */
void session_closed(struct session *s, const struct door_end *why);

/* dispatch.c: the verdict on the CONNECT of a session, in the turn in which it came or later: 0: it comes in, as far as there
 * is room now; else it is refused, text NULL: the code's own. One that has gone is not found, which is harmless. The node is to
 * be ticked soon. */
void session_verdict(struct node *n, uint64_t serial, int err, const char *text);

#endif
