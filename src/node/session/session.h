/* One connection: how it is let in, refused, told things, and ended.
 *
 * A session is one connection, of a client or (session.peer set, a link) of another node:
 *
 *   FRESH -- CONNECT --> JUDGING -- let in --> IN --+-- goodbye, replaced, slow, drained --> OVER -- connection gone --> freed
 *     +-- timeout -------+-- refusal, timeout ------+
 *   DIALLING (to another node) -- PONG --> IN
 *
 * The verdict on CONNECT mostly comes in the turn in which CONNECT is handled. When it comes later, CONNECT and all bytes
 * behind it are held (receive.c) until then. A verdict for a session that has ended meanwhile, or has waited too long, has no
 * effect.
 *
 * A session that is to end is doomed first: nothing is delivered to it from then on. session_end frees all that it owns later,
 * in the node's settle, when no list of the index or of the router is being walked. When a session is closed, what is queued
 * for it and then its DISCONNECT still go out, as far as the peer reads them within LINGER; when it is cut, nothing more is
 * sent. */
#ifndef NODE_SESSION_SESSION_H
#define NODE_SESSION_SESSION_H

#include "base/err.h"
#include "node/session/parcel.h"
#include "node/state.h"
#include "trust/token.h"
#include "wire/names.h"

#define SWEEP_EVERY (1 * NS_SEC)

/* What both ends of this connection prove access tokens over. Without an exporter (door_exporter) no proof counts. */
void session_proved(const struct session *s, struct token_session *ret_ends);
/* A new connection: makes a session with a copy of the door. NULL: refused, or no memory; the door is closed then. */
struct session *session_open(struct node *n, const struct door *door);
/* Without a door yet. native: with what only native clients and nodes need. NULL: no memory. */
struct session *session_new(struct node *n, bool native);
/* Whether CONNECT breaks no rule for a client or node: 0, or why not. *ret_text: NULL (the code's own text), static text, or
 * `why`. */
int session_check(const struct session *s, const struct msg_connect *m, char why[NAME_WHY_LEN], const char **ret_text);
/* Gives it its place among the clients; session_check has passed. *ret_replaced: whose place it took, to be closed; may be
 * NULL. MACULA_MAX_CLIENTS_REACHED, MACULA_ENOMEM. */
int session_place(struct session *s, const struct msg_connect *m, struct session **ret_replaced);
/* Lets it in as a client that has its place. proof: for PONG; p NULL: none. */
void session_admit(struct session *s, const struct msg_connect *m, struct slice proof);
/* Refuses or ends: DISCONNECT with the code, then the close. err 0: a normal goodbye. text NULL: the code's own. */
void session_close(struct session *s, int err, const char *text);
/* Ends the session without DISCONNECT and drops what is queued. */
void session_cut(struct session *s, int err);
/* It takes too little of what it is sent. True: its connection ends, and its session goes on without (door.h: shed), so that a
 * message that found no room can be handed over again; else it is cut. */
bool session_shed(struct session *s);
/* Logs and counts a connection that was refused before it had a session. */
void session_refused(struct node *n, const struct addr *from, const struct id *id, int err, struct slice text);
/* A frame of a base-only client was refused, which cannot be told so: it is counted, and logged once a connection. text NULL:
 * the code's own. */
void session_left_out(struct session *s, int err, const char *text);
/* A log line about a connection that was refused or ended, at most so many a second. */
void session_say_ended(struct node *n, const char *event, const struct addr *from, const struct id *id, int err,
                       struct slice text);
/* session_unlist: takes it off all lists except the one of all connections. session_free: frees it. */
void session_unlist(struct session *s);
void session_free(struct session *s);
/* Counts and logs publishes of a client that were held and are lost with its connection; 0: none were. */
void session_say_lost(const struct session *s, uint64_t publishes);
/* After door_home of a session that named `streams`: its lanes get ways of their own if the door has such; else the capability
 * is taken from s->caps. */
void session_own_ways(struct session *s);
/* Sends by the lane of the message's type; with `answer` set, by the way whose frame is being handled. MACULA_EFULL (the
 * queue), or the errors of lanes_write; MACULA_FRAME_TOO_LARGE. */
int session_send(struct session *s, const struct msg *m, bool answer);
int session_write(struct session *s, enum lane lane, struct parcel *p); /* the same for an encoded frame */
void session_drained(struct session *s);                                /* its door could take more */
size_t session_queued(const struct session *s); /* bytes that the peer has not acknowledged, including those in the lanes */
/* As session_send; if even this does not fit into the queue, the peer is cut as a slow consumer. */
void session_tell(struct session *s, const struct msg *m, bool answer);
/* Sends ACK if the peer asked for one and knows that frame. */
void session_ack(struct session *s, bool has_ref, uint64_t ref, int err, const char *text);
/* The same, with what became of a QoS 1 message. */
void session_ack_partly(struct session *s, uint64_t ref, int err, const char *text, const struct msg_partly *partly);
/* NOTICE about something that asked for no answer, to a peer that knows that frame: at most one a second, with how often it
 * happened. What comes within a second of one is told at the end of it. */
void session_notice(struct session *s, int err, const char *text);
void notices_tick(struct node *n);
nanotime notices_deadline(const struct node *n);
/* REPLY to a call, with an error. text NULL: the code's own. */
void session_error(struct session *s, struct slice call_id, int err, const char *text);
struct session *session_judged(struct node *n, uint64_t serial); /* NULL: the session has ended, or has its verdict already */
/* The user by whose password it was let in, or is to be; n 0: none. A view as long as its door. */
struct slice session_user(const struct session *s);
/* For lists: "native", "base", or of MQTT "3.1.1", "5.0". */
const char *session_protocol(const struct session *s);
/* The session is JUDGING from now on. m is used if the verdict comes during this call. */
void session_judge(struct session *s, const struct msg_connect *m);
/* Calls are pending: from now on the peer's silence is noticed. */
void session_watch(struct session *s);
void sessions_shed(struct node *n); /* every SWEEP_EVERY */
/* Checks sessions, the table of clients and their lists (base/check.h). O(sessions). */
const char *sessions_check(const struct node *n);
size_t sessions_owned(const struct node *n); /* bytes of the account that sessions take */

/* ends.c: what the end of a session means to all rooms that know it. */
/* Frees all that a client owns, in one step; harmless when repeated. */
void session_end(struct session *s);
void session_drop_will(struct session *s); /* it is not published any more; harmless when there is none */
/* Events of doors that acknowledge messages themselves (ops.tells_replays): a client has acknowledged the message that it was
 * sent with this `ref`; what `from` had not acknowledged is now `to`'s, as its client goes on there. ends.c defines them. */
void session_acked(struct session *s, uint64_t ref);
void session_goes_on(struct session *from, struct session *to);
/* The connection is gone: ends and frees the session. why NULL: the whole node is being freed. */
void session_closed(struct session *s, const struct door_end *why);

/* dispatch.c: gives the verdict on a session's CONNECT, in the turn in which that came or later. err 0: it is let in, if there
 * is room now; else it is refused with err (text NULL: the code's own). The node must be ticked soon. */
void session_settle(struct session *s, int err, const char *text);
void session_verdict(struct node *n, uint64_t serial, int err, const char *text); /* harmless when it has ended, or has one */

#endif
