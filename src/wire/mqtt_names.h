/* MQTT's topics and filters as native names, one to one: levels are segments (wire/names.h), an empty one too, `+` is `*` and
 * `#` is `**`. Topics that begin with $ are like others here: that filters which begin with a wildcard do not match them is
 * left to the matching code. */
#ifndef WIRE_MQTT_NAMES_H
#define WIRE_MQTT_NAMES_H

#include "wire/names.h"

/* Write the stored form, or MQTT's, NUL-terminated, and its length. MACULA_INVALID_TOPIC: what was given is no topic or filter
 * of MQTT, or has more levels or bytes than a native name; *ret_why is static text. */
int name_from_mqtt_topic(struct slice topic, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len, const char **ret_why);
int name_from_mqtt_filter(struct slice filter, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len, const char **ret_why);
/* The other way, for topics and patterns. The same for what MQTT cannot say: the value of a segment with / + # or a zero byte,
 * or that is no UTF-8; the empty segment alone; a `**` that is not last. */
int name_to_mqtt(struct slice name, char ret_text[NAME_MAX_LEN + 1], size_t *ret_len, const char **ret_why);

#endif
