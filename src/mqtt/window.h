/* The two tables of packet identifiers of a session. Both outlive connections: MQTT 5.0, 4.1 and 4.4.
 *
 * Out: messages with QoS 1 and 2 that are sent and not completed, in the order in which they were sent first. The identifier is
 * a slot's number, so that one is found at once whatever a client acknowledges; of free ones the longest unused is taken.
 *
 *   QoS 1: WAITS_PUBACK --PUBACK--> free
 *   QoS 2: WAITS_PUBREC --PUBREC--> WAITS_PUBCOMP --PUBCOMP--> free
 *               `--PUBREC with an error--> free
 *
 * In: identifiers that a client has used, and their state. */
#ifndef MQTT_WINDOW_H
#define MQTT_WINDOW_H

#include "mqtt/message.h"

enum mqtt_flight { MQTT_FREE, MQTT_WAITS_PUBACK, MQTT_WAITS_PUBREC, MQTT_WAITS_PUBCOMP };

struct mqtt_slot {
  struct mqtt_delivery delivery; /* message NULL from PUBREC on */
  uint16_t prev, next;           /* slots sent before and after it, or the next free one; 0: none */
  uint8_t state;                 /* enum mqtt_flight */
  bool counts;                   /* sent on this connection: one of those that the client allows (4.9) */
};

struct mqtt_window {
  struct mem *mem;
  struct mqtt_slot *slots; /* [id - 1] */
  uint16_t cap, max;       /* slots; grows to max */
  uint16_t count;          /* in use */
  uint16_t first, last;    /* identifiers, in the order of sending; 0: none */
  uint16_t free, free_last;
  size_t bytes; /* of the messages in it */
};

/* Allocates nothing yet. max: at least 1. */
void mqtt_window_init(struct mqtt_window *w, struct mem *mem, uint16_t max);
void mqtt_window_done(struct mqtt_window *w);
/* Takes the delivery over, with its reference. MACULA_EFULL, MACULA_ENOMEM: it stays the caller's. */
int mqtt_window_add(struct mqtt_window *w, const struct mqtt_delivery *d, uint16_t *ret_id);
/* NULL: no message has this identifier. Valid until the next mqtt_window_add. */
struct mqtt_slot *mqtt_window_find(const struct mqtt_window *w, uint16_t id);
/* The message is not needed any more: PUBREC. */
void mqtt_window_received(struct mqtt_window *w, uint16_t id);
void mqtt_window_remove(struct mqtt_window *w, uint16_t id);
/* Frees what a delivery owns. */
void mqtt_delivery_done(struct mem *mem, struct mqtt_delivery *d);
const char *mqtt_window_check(const struct mqtt_window *w);

enum mqtt_inbound_state {
  MQTT_TAKEN_1, /* QoS 1: the door has it, its answer is missing */
  MQTT_TAKEN_2, /* QoS 2: the same */
  MQTT_RECEIVED /* QoS 2: PUBREC was sent, PUBREL is missing */
};
struct mqtt_inbound_entry {
  uint32_t serial; /* of the message, for the door's answer */
  uint16_t id;
  uint8_t state; /* enum mqtt_inbound_state */
  bool heard; /* the PUBLISH has come on this connection: only then it is answered, as PUBREL may pass a PUBLISH that waits */
};
struct mqtt_inbound { /* sorted by id */
  struct mem *mem;
  struct mqtt_inbound_entry *v;
  uint16_t count, cap, max;
  uint16_t taken; /* whose answer is missing */
  uint32_t last_serial;
};
void mqtt_inbound_init(struct mqtt_inbound *in, struct mem *mem, uint16_t max);
void mqtt_inbound_done(struct mqtt_inbound *in);
/* NULL: the identifier is unused. Valid until the table changes. */
struct mqtt_inbound_entry *mqtt_inbound_find(const struct mqtt_inbound *in, uint16_t id);
/* The identifier is unused. MACULA_EFULL, MACULA_ENOMEM. */
int mqtt_inbound_add(struct mqtt_inbound *in, uint16_t id, enum mqtt_inbound_state state, struct mqtt_inbound_entry **ret);
void mqtt_inbound_set(struct mqtt_inbound *in, struct mqtt_inbound_entry *e, enum mqtt_inbound_state state);
void mqtt_inbound_remove(struct mqtt_inbound *in, struct mqtt_inbound_entry *e);
/* The connection has ended: identifiers of QoS 1 mean nothing any more, and those of QoS 2 were not heard on the next one. */
void mqtt_inbound_new_conn(struct mqtt_inbound *in);
const char *mqtt_inbound_check(const struct mqtt_inbound *in);

#endif
