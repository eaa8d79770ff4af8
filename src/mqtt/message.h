/* A message on its way to MQTT clients: one block for all of them, with the properties that are passed on unaltered, encoded
 * once. */
#ifndef MQTT_MESSAGE_H
#define MQTT_MESSAGE_H

#include <assert.h>

#include "base/mem.h"
#include "base/time.h"
#include "mqtt/packet.h"

struct mqtt_message {
  struct mem *mem;  /* the account that holds it */
  nanotime expires; /* TIME_NEVER: it does not. 3.3.2.3.3 */
  uint32_t refs;
  uint32_t topic_len, props_len, payload_len;
  uint8_t data[]; /* topic, properties, payload */
};

/* One reference. topic: as MQTT spells it. props may be NULL; of it count Payload Format Indicator, Content Type, Response
 * Topic, Correlation Data, user properties in their order ([MQTT-3.3.2-4], [MQTT-3.3.2-15] to [MQTT-3.3.2-20]) and Message
 * Expiry Interval, which begins now. NULL: memory was refused, or it is longer than any packet may be. */
struct mqtt_message *mqtt_message_new(struct mem *m, struct slice topic, struct slice payload, const struct mqtt_props *props,
                                      nanotime now);
static inline struct mqtt_message *mqtt_message_ref(struct mqtt_message *m) {
  assert(m->refs > 0);
  m->refs++;
  return m;
}
/* Accepts NULL. */
void mqtt_message_unref(struct mqtt_message *m);

static inline struct slice mqtt_message_topic(const struct mqtt_message *m) { return slice_of(m->data, m->topic_len); }
static inline struct slice mqtt_message_props(const struct mqtt_message *m) {
  return slice_of(m->data + m->topic_len, m->props_len);
}
static inline struct slice mqtt_message_payload(const struct mqtt_message *m) {
  return slice_of(m->data + m->topic_len + m->props_len, m->payload_len);
}
/* What mqtt_message_new kept of its props, without the Message Expiry Interval; views. */
void mqtt_message_read(const struct mqtt_message *m, struct mqtt_props *ret_props);
/* Bytes of it, for limits. */
static inline size_t mqtt_message_size(const struct mqtt_message *m) {
  return sizeof *m + (size_t)m->topic_len + m->props_len + m->payload_len;
}
/* Seconds that are left, rounded up; 0: it has expired. Only of one that expires. */
static inline uint32_t mqtt_message_left(const struct mqtt_message *m, nanotime now) {
  return (uint32_t)((time_since(m->expires, now) + NS_SEC - 1) / NS_SEC);
}

/* One message for one client. */
struct mqtt_delivery {
  struct mqtt_message *message;
  uint64_t ref; /* the door's, for `acked` */
  union {
    uint32_t one;
    uint32_t *many;
  } ids;             /* Subscription Identifiers */
  uint16_t id_count; /* more than 1: ids.many */
  uint8_t qos;
  bool retain;
};

/* A PUBLISH with it. */
struct mqtt_publish_head {
  const struct mqtt_delivery *delivery;
  enum mqtt_level level;
  uint16_t id, alias; /* alias 0: none */
  bool dup;
  bool with_topic; /* beside the alias, or as there is none */
  nanotime now;
};
/* Bytes of the whole packet; 0: it is longer than any may be. */
size_t mqtt_message_packet_size(const struct mqtt_publish_head *h);
/* Writes all but the payload. */
struct mqtt_out;
void mqtt_out_message(struct mqtt_out *out, const struct mqtt_publish_head *h);

#endif
