/* Topic filters of SUBSCRIBE and UNSUBSCRIBE: shared subscriptions (MQTT 5.0, 4.8.2; taken from clients of 3.1.1 too, as others
 * do), and what they are as native patterns. */
#ifndef MQTT_TOPIC_H
#define MQTT_TOPIC_H

#include "mqtt/packet.h"
#include "wire/mqtt_names.h"

struct mqtt_subscription {
  struct slice filter;            /* as it came; a view */
  struct slice share;             /* name of the group; n = 0: not shared; a view */
  char pattern[NAME_MAX_LEN + 1]; /* of the filter, without "$share/NAME/"; stored form */
  size_t pattern_len;
  uint32_t id; /* Subscription Identifier; 0: none */
  uint8_t qos, retain_handling;
  bool no_local, retain_as_published;
};

/* MACULA_INVALID_TOPIC: *ret_why says why the filter cannot be subscribed here (0x8F); static text. */
int mqtt_subscription_read(const struct mqtt_filter *filter, uint32_t id, struct mqtt_subscription *ret, const char **ret_why);

#endif
