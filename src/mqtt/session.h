/* Sessions of MQTT: what a client has when its connection ends (MQTT 5.0, 4.1): messages sent and not completed, messages that
 * wait, identifiers of QoS 2 that it has used, its will. Subscriptions are the door's.
 *
 *   mqtt_accept -> CONNECTED --the connection ends, Session Expiry Interval 0--> ended
 *                   ^    |                                                          ^
 *                   |    `--it ends--> OFFLINE --the interval is over, clean start--'
 *                   `---mqtt_accept-----'
 *
 * A will is published when the connection has ended without DISCONNECT 0x00 and its delay is over, or the session ends before.
 */
#ifndef MQTT_SESSION_H
#define MQTT_SESSION_H

#include "base/rng.h"
#include "base/turns.h"
#include "bounded/heap.h"
#include "bounded/htab.h"
#include "mqtt/door.h"

struct mqtt_config {
  const struct mqtt_door *door;
  struct mem *sessions_mem; /* sessions and their wills */
  struct mem *inflight_mem; /* both tables of identifiers */
  struct mem *queue_mem;    /* entries of queues; messages have an account of their own */
  struct mem *conns_mem;    /* connections and aliases */
  struct mem *input_mem;    /* what of packets is there */
  struct rng rng;
  const struct spent *spent; /* NULL, or: packets that came at once, and sessions that end at once, are handled in slices */
  uint32_t max_sessions;     /* when full, a session that is new is refused with 0x97 */
  uint32_t max_queue;        /* messages that wait for one offline client */
  size_t max_queue_bytes;    /* the same in bytes */
  size_t max_queued_bytes;   /* of all sessions */
  bool shared;               /* the door has shared subscriptions; else CONNACK says that there are none */
  bool drops_oldest;         /* of a full queue the oldest go; else the newest is refused */
  uint32_t max_expiry;       /* seconds that a session may outlive its connection; longer ones are shortened, and told */
  uint32_t max_packet;       /* bytes that a client may send, and max_connect of a CONNECT */
  uint32_t max_connect;
  uint16_t max_inflight;     /* messages with QoS 1 and 2 that are sent to one client and not completed, */
  size_t max_inflight_bytes; /* and once they are so many bytes no more; 0: any */
  uint16_t receive_maximum;  /* the other way, as a client is told */
  uint16_t max_taken; /* of these, that the door has not answered: with more the client is not read; 0: receive_maximum */
  uint16_t max_aliases_in, max_aliases_out;
  uint16_t max_keep_alive;  /* seconds; 0: any, none included. Told as Server Keep Alive to those that speak 5.0 */
  uint64_t connect_timeout; /* ns from the connection's start to a whole CONNECT */
  uint64_t stall_timeout;   /* ns that a client may owe PUBREL for receive_maximum messages */
};

struct mqtt_stats {
  uint64_t packets_in;       /* whole ones */
  uint64_t sessions_refused; /* as there were max_sessions */
  uint64_t taken_over, resumed, sessions_expired;
  uint64_t queue_dropped; /* messages that a full queue, or memory, has lost */
  uint64_t expired;       /* messages whose interval was over before they were sent */
  uint64_t too_large;     /* messages that are larger than their client takes */
  uint64_t offline;       /* messages with QoS 0 for clients that were not there */
  uint64_t resent;        /* PUBLISH and PUBREL that were sent again */
  uint64_t wills;         /* published */
  uint64_t alias_hits;    /* topics that an alias stood for, both ways */
};

struct mqtt_sessions;

/* MACULA_ENOMEM (from sessions_mem). The config is copied; door and accounts must stay. */
int mqtt_sessions_new(const struct mqtt_config *cfg, struct mqtt_sessions **ret_sessions);
/* Accepts NULL. All connections were freed. Publishes no will. */
void mqtt_sessions_free(struct mqtt_sessions *t);
const struct mqtt_stats *mqtt_sessions_stats(const struct mqtt_sessions *t);
uint32_t mqtt_sessions_count(const struct mqtt_sessions *t);
/* When mqtt_sessions_tick has work: wills and ends of sessions. TIME_NEVER if never. */
nanotime mqtt_sessions_deadline(const struct mqtt_sessions *t);
void mqtt_sessions_tick(struct mqtt_sessions *t, nanotime now);
/* The limits apply to what is new. What CONNACK has told stays as it is for those connections. */
void mqtt_sessions_set_config(struct mqtt_sessions *t, const struct mqtt_config *cfg);

/* NULL: there is none. */
struct mqtt_session *mqtt_session_find(const struct mqtt_sessions *t, struct slice client_id);
struct slice mqtt_session_client(const struct mqtt_session *s);
void mqtt_session_set_user(struct mqtt_session *s, void *user);
void *mqtt_session_user(const struct mqtt_session *s);
struct mqtt_conn *mqtt_session_conn(const struct mqtt_session *s); /* NULL: offline */
/* Ends it, its connection first (DISCONNECT with this reason): another node has it, or an operator said so. with_will: its will
 * is published, if it is still to be. */
void mqtt_session_end(struct mqtt_session *s, enum mqtt_reason reason, const char *why, bool with_will, nanotime now);

struct mqtt_view {                      /* for lists */
  uint32_t inflight, queued, receiving; /* sent and not completed; waiting; received with QoS 2 and not released */
  size_t queued_bytes;
  uint64_t dropped;
  bool connected, has_will;
  bool lasts;    /* beyond its connection */
  nanotime ends; /* TIME_NEVER while connected, and for those that never do */
};
struct mqtt_view mqtt_session_view(const struct mqtt_session *s);
/* Iteration: the first session after NULL, then the following ones; NULL at the end. The table must not change meanwhile. */
struct mqtt_session *mqtt_session_next(const struct mqtt_sessions *t, const struct mqtt_session *prev);

/* Sends a message, or keeps it for when the client is back. */
struct mqtt_to {
  struct mqtt_message *message; /* referenced if it is kept */
  const uint32_t *ids;          /* Subscription Identifiers of the subscriptions that it matches */
  uint16_t id_count;
  uint64_t ref; /* for `acked` */
  uint8_t qos;  /* the smaller one of publish and subscription: [MQTT-3.8.4-8] */
  bool retain;  /* as the client is to see it: [MQTT-3.3.1-12], [MQTT-3.3.1-13] */
  bool keep;    /* with QoS 1 or 2: what cannot be sent now, or finds the door full, is kept as for a client that is offline */
};
/* 0: sent or kept; or dropped for a reason that is no fault (expired, too large for the client, QoS 0 while it is offline):
 * counted. MACULA_EFULL: connected, and as much is in flight as the client allows ([MQTT-3.3.4-9]); window_open follows. Not of
 * QoS 0. MACULA_SLOW_CONSUMER: offline (or `keep`), and the queue is full: lost, counted. MACULA_ENOMEM: the same. */
int mqtt_deliver(struct mqtt_session *s, const struct mqtt_to *to, nanotime now);
/* How a message ended that was answered with MQTT_LATER, as its ref says; late or repeated ones are ignored. reason: as in
 * struct mqtt_answer. It may be called when the client has gone, too. */
void mqtt_publish_done(struct mqtt_session *s, uint64_t ref, uint8_t reason, const char *why, nanotime now);

/* O(sessions, and what they hold). */
const char *mqtt_sessions_check(const struct mqtt_sessions *t);

#endif
