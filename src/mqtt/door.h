/* What a door of MQTT does for the state machine: a table of functions, called synchronously. They write, refuse, or note
 * something for later. From within them may be called: mqtt_accept and mqtt_refuse of this connection in `connect`;
 * mqtt_deliver of any session in all but `send`, `close` and `acked`. Nothing else. */
#ifndef MQTT_DOOR_H
#define MQTT_DOOR_H

#include "mqtt/message.h"
#include "mqtt/topic.h"

struct mqtt_conn;
struct mqtt_session;

enum mqtt_verdict {
  MQTT_ACCEPTED, /* done; it is acknowledged now */
  MQTT_REFUSED,  /* with a reason; nothing was done */
  MQTT_HOLD,     /* nothing was done: asked again by mqtt_resume. Until then what follows it waits; but see mqtt_wants */
  MQTT_LATER     /* a PUBLISH with QoS 1 or 2: taken; mqtt_publish_done says how it ended, and only then it is acknowledged */
};
struct mqtt_answer {
  uint8_t
      reason; /* enum mqtt_reason; of a SUBSCRIBE accepted: the QoS granted. One that the packet cannot carry becomes 0x83 */
  const char *why; /* for the reason string, also of what is accepted; NULL: none; read at once */
  bool ends;       /* refused, and the connection ends with it */
};

/* A PUBLISH. Views of the connection's buffer, for the length of the call. */
struct mqtt_arrival {
  struct slice topic; /* as the client spelled it */
  struct slice name;  /* as a native name */
  struct slice payload;
  const struct mqtt_props *props;
  uint64_t ref; /* for mqtt_publish_done; 0: QoS 0 */
  uint8_t qos;
  bool retain, dup;
};

struct mqtt_door {
  /* Of a connection: the pointer that it was made with. */
  /* Bytes to send, in order: head, then the payload of m if there is one, which may be referenced instead of copied. */
  void (*send)(void *conn, struct slice head, struct mqtt_message *m);
  /* The connection is over: close it when what was sent is out, then mqtt_conn_free. Called once at most; not after
   * mqtt_conn_lost. reason MQTT_SUCCESS: the client has said DISCONNECT. */
  void (*close)(void *conn, enum mqtt_reason reason, const char *why);
  /* A CONNECT to be judged: mqtt_accept or mqtt_refuse follows, now or later; until then nothing else is read. Views as above.
   */
  void (*connect)(void *conn, const struct mqtt_packet *packet);
  enum mqtt_verdict (*publish)(void *conn, const struct mqtt_arrival *a, struct mqtt_answer *ret_answer);
  enum mqtt_verdict (*subscribe)(void *conn, const struct mqtt_subscription *s, struct mqtt_answer *ret_answer);
  enum mqtt_verdict (*unsubscribe)(void *conn, const struct mqtt_subscription *s, struct mqtt_answer *ret_answer);
  /* The state machine has refused a topic or filter, as it cannot be a name here; for log and counters. told: the client was.
   */
  void (*refused)(void *conn, struct slice topic, enum mqtt_reason reason, const char *why, bool told);

  /* Of a session: the pointer that mqtt_accept has set. */
  /* A client has acknowledged a message of QoS 1 or 2 (PUBACK, PUBREC); or it was given up: its reason is an error then. */
  void (*acked)(void *session, uint64_t ref, uint8_t reason);
  /* After mqtt_deliver returned MACULA_EFULL: it would not now. */
  void (*window_open)(void *session);
  /* The will is to be published; m: reference it to keep it. */
  void (*will)(void *session, struct mqtt_message *m, uint8_t qos, bool retain);
  /* The session is over, with its subscriptions; its pointers are stale afterwards. */
  void (*ended)(void *session, enum mqtt_reason reason);
  /* Of a connection: whether as much waits to be sent as is worth it, so that what a session has kept waits until
   * mqtt_conn_room. NULL: it never does. */
  bool (*full)(void *conn);
  /* Of a session: a message was given up: MQTT_QUOTA (its queue is full, or there is no memory), MQTT_TOO_LARGE,
   * MQTT_UNSPECIFIED (its time is over). topic: as MQTT spells it. NULL: nobody wants to know. */
  void (*lost)(void *session, struct slice topic, uint8_t reason);
};

#endif
