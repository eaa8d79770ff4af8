/* One connection of an MQTT client. Bytes and time come in, bytes go out through the door; no I/O, no clock.
 *
 *   mqtt_conn_new -> CONNECTING --CONNECT--> JUDGED --mqtt_accept--> OPEN --DISCONNECT, fault, timeout, take-over--> OVER
 *                        |                     |`--mqtt_refuse-----------------------------------------------------^
 *                        `--fault, timeout-----+--------------------------------------------------------------------^
 *
 * While a packet is held (MQTT_HOLD, or a CONNECT is judged) what follows it waits; but PUBACK, PUBREC, PUBREL, PUBCOMP and
 * PINGREQ behind it are handled as they come, for MQTT_BEHIND bytes, so that two clients that publish to each other cannot
 * block each other. The keep-alive clock stands still meanwhile. */
#ifndef MQTT_CONN_H
#define MQTT_CONN_H

#include "mqtt/session.h"

#define MQTT_BEHIND 65536u /* bytes behind a held packet that are still taken */

/* user: for the door's functions. MACULA_ENOMEM (from conns_mem). */
int mqtt_conn_new(struct mqtt_sessions *t, void *user, nanotime now, struct mqtt_conn **ret_conn);
/* Accepts NULL. If it is not over, it is lost. Not from within a function of the door. */
void mqtt_conn_free(struct mqtt_conn *c, nanotime now);

/* Bytes of the client, in order, cut anywhere. All are used or kept. Where the turn has had its time (mqtt_config.spent) the
 * rest waits for mqtt_conn_tick, and the deadline is 0. */
void mqtt_conn_recv(struct mqtt_conn *c, struct slice in, nanotime now);
/* Bytes that may be read now; 0: none, until a function below changes that. What comes beyond it (a record of TLS) is taken
 * too. */
size_t mqtt_wants(const struct mqtt_conn *c);
/* The client has closed its side: what it has sent before is still handled, then the connection is over. */
void mqtt_conn_eof(struct mqtt_conn *c, nanotime now);
/* The connection is gone: it is over, without `close`. */
void mqtt_conn_lost(struct mqtt_conn *c, nanotime now);
/* The door ends it: DISCONNECT with the reason where 5.0 is spoken, then `close`. */
void mqtt_conn_close(struct mqtt_conn *c, enum mqtt_reason reason, const char *why, nanotime now);
/* The door reads nothing for now, or does again: the keep-alive clock stands still meanwhile. Harmless when repeated. */
void mqtt_conn_pause(struct mqtt_conn *c, bool paused, nanotime now);
nanotime mqtt_conn_deadline(const struct mqtt_conn *c);
void mqtt_conn_tick(struct mqtt_conn *c, nanotime now);

/* The door is not full any more: what the session has kept goes on. Not from within a function of the door. */
void mqtt_conn_room(struct mqtt_conn *c, nanotime now);
/* What was held is asked again, then what follows it. After mqtt_accept: what follows the CONNECT. */
void mqtt_resume(struct mqtt_conn *c, nanotime now);

/* Lets a client in that is judged. principal: whoever it has proved to be; a session belongs to it and its client id, and
 * nobody else gets it (0x85). Sends CONNACK, and all of the session that is to be sent again. A client id that is empty is
 * replaced ("auto-" and 16 digits).
 *
 * 0: *ret_session is its session (set its user if it is new: *ret_present says). Else the client was refused, and `close` was
 * called: MACULA_NOT_AUTHORIZED (the session is another principal's), MACULA_EFULL, MACULA_ENOMEM, MACULA_INVALID_TOPIC (its
 * will). */
int mqtt_accept(struct mqtt_conn *c, const struct id *principal, nanotime now, struct mqtt_session **ret_session,
                bool *ret_present);
/* CONNACK with the reason, then `close`. */
void mqtt_refuse(struct mqtt_conn *c, enum mqtt_reason reason, const char *why, nanotime now);

struct mqtt_session *mqtt_conn_session(const struct mqtt_conn *c); /* NULL: not let in, or over */
enum mqtt_level mqtt_conn_level(const struct mqtt_conn *c);        /* 0 before CONNECT */
bool mqtt_conn_is_held(const struct mqtt_conn *c);
uint32_t mqtt_conn_pings(const struct mqtt_conn *c); /* PINGREQs so far, modulo 2^32 */
size_t mqtt_conn_held(const struct mqtt_conn *c);    /* bytes of memory for packets that are not done */
const char *mqtt_conn_check(const struct mqtt_conn *c);

#endif
