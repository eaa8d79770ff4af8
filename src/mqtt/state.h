/* The records of sessions and connections, for the files of src/mqtt that work on them. */
#ifndef MQTT_STATE_H
#define MQTT_STATE_H

#include "base/list.h"
#include "mqtt/alias.h"
#include "mqtt/conn.h"
#include "mqtt/window.h"

struct mqtt_sessions {
  struct mqtt_config cfg;
  struct htab tab; /* by client id */
  struct heap due; /* wills and ends */
  size_t queued_bytes;
  struct mqtt_stats stats;
};

struct mqtt_queued {
  struct list all; /* mqtt_session.queue */
  struct mqtt_delivery delivery;
};

struct mqtt_session {
  struct hlink h;
  struct heap_link due;
  struct mqtt_sessions *table;
  struct mqtt_conn *conn; /* NULL: offline */
  void *user;
  struct mqtt_window out;
  struct mqtt_inbound in;
  struct list queue; /* oldest first */
  size_t queued_bytes;
  uint64_t dropped;
  struct mqtt_message *will; /* NULL: none */
  nanotime will_due, ends;   /* TIME_NEVER while connected */
  uint32_t queued;
  uint32_t expiry; /* seconds; UINT32_MAX: never */
  uint32_t will_delay, will_expiry;
  uint8_t will_qos : 2;
  bool will_retain : 1, will_expires : 1;
  bool waits;      /* mqtt_deliver returned MACULA_EFULL */
  bool ending : 1; /* mqtt_session_end is at work */
  struct id principal;
  uint16_t client_len;
  char client[];
};

enum mqtt_stage { MQTT_CONNECTING, MQTT_JUDGED, MQTT_OPEN, MQTT_OVER };

struct mqtt_conn {
  struct mqtt_sessions *table;
  struct mqtt_session *session; /* NULL unless OPEN */
  void *user;
  uint8_t *in; /* bytes that wait; NULL: none */
  uint32_t in_len, in_cap;
  uint32_t at;        /* of the first packet that is not done */
  uint32_t held_size; /* of the packet at `at` that is held; 0: none is */
  uint32_t scanned;   /* up to here acknowledgements behind it were handled */
  nanotime since;     /* start; OPEN: last packet of the client, moved on by the time that the clock stood */
  nanotime stood;     /* since when it stands; TIME_NEVER: it runs */
  nanotime stalled;   /* since when it owes PUBREL for all that it may send; TIME_NEVER: it does not */
  uint8_t *codes;     /* of the SUBSCRIBE or UNSUBSCRIBE that is held */
  uint32_t code_count, code_next;
  struct mqtt_aliases_in aliases_in;
  struct mqtt_aliases_out aliases_out;
  uint32_t max_packet; /* that the client takes */
  uint16_t quota;      /* messages that it still takes: 4.9 */
  uint16_t receiving;  /* messages of it, of this connection, that are not completed */
  uint16_t receive_maximum;
  uint32_t first_serial; /* identifiers with a serial up to it were used on earlier connections */
  struct slice current;  /* the packet that is being handled, or held */
  uint32_t pings;
  uint16_t resend;      /* identifier of the next message to be sent again; 0: none is left */
  uint16_t keep_alive;  /* seconds */
  uint8_t level, stage; /* enum mqtt_level, enum mqtt_stage */
  bool problem_info : 1, running : 1, eof : 1, paused : 1;
  bool no_expiry : 1; /* Session Expiry Interval of its CONNECT was 0 */
  bool accepted : 1;  /* its CONNECT is held until mqtt_resume */
  bool yielded : 1;   /* the turn has had its time: it goes on in mqtt_conn_tick */
  bool full : 1;      /* held as too many of its messages are not completed */
};

/* session.c */
int mqtt_session_new(struct mqtt_sessions *t, struct slice client, const struct id *principal, struct mqtt_session **ret);
/* Takes its connection away, which has ended; with_will: not by DISCONNECT 0x00. May end the session. */
void mqtt_session_detach(struct mqtt_session *s, bool with_will, nanotime now);
void mqtt_session_finish(struct mqtt_session *s, enum mqtt_reason reason, bool with_will, nanotime now);

/* deliver.c */
void mqtt_send(struct mqtt_conn *c, struct mqtt_packet *p);
/* An acknowledgement or PINGRESP, with its reason where it says anything: `why` as far as the client wants it. */
void mqtt_send_ack(struct mqtt_conn *c, enum mqtt_type type, uint16_t id, uint8_t reason, const char *why);
/* Sends again what must be, then what waits, as far as the client allows. */
void mqtt_drain(struct mqtt_session *s, nanotime now);
void mqtt_start_sending(struct mqtt_conn *c); /* a connection that was just let in */
/* PUBACK, PUBREC, PUBCOMP of the client. */
void mqtt_acked(struct mqtt_conn *c, const struct mqtt_packet *p, nanotime now);
void mqtt_queue_clear(struct mqtt_session *s);

/* receive.c */
/* Whether one more message with QoS 1 or 2 of this client is taken now. */
bool mqtt_may_take(const struct mqtt_conn *c);
/* Handles the packet. False: it is held. */
bool mqtt_receive(struct mqtt_conn *c, const struct mqtt_packet *p, nanotime now);

/* conn.c */
void mqtt_over(struct mqtt_conn *c, enum mqtt_reason reason, const char *why, bool tells, bool with_will, nanotime now);
#define MQTT_END(c, reason, why, now) mqtt_over(c, reason, why, true, true, now)

#endif
