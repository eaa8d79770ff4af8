/* Properties of MQTT 5.0 and native headers, both ways (docs/mqtt.md):
 *
 *   Content Type              macula.content-type
 *   Response Topic            macula.reply-to       a native name
 *   Correlation Data          macula.correlation
 *   Payload Format Indicator  macula.utf8           "0" or "1"
 *   User Property             its own name; one that begins with "macula." gets "macula.user." in front, so that nothing else
 *                             is taken for the above, and loses it on the way back
 *
 * A value that is no text, and what stands in a header of the above and cannot be one of it, has no form in MQTT: it is left
 * out. */
#ifndef NODE_DOORS_MQTT_HEADERS_H
#define NODE_DOORS_MQTT_HEADERS_H

#include "mqtt/packet.h"
#include "wire/headers.h"
#include "wire/names.h"

struct mqtt_headers {
  struct msg_list list; /* of items */
  struct slice items[2 * HEADERS_MOST];
  char reply_to[NAME_MAX_LEN + 1];
  size_t used;
  uint8_t names[HEADERS_BYTES]; /* of user properties that are named otherwise here */
};
/* Views of props, which must stay, and of itself. MACULA_PAYLOAD_TOO_LARGE; MACULA_INVALID_TOPIC: of the Response Topic.
 * *ret_why: for people, static text. */
int mqtt_headers_from(const struct mqtt_props *props, struct mqtt_headers *ret, const char **ret_why);
uint64_t mqtt_expires_ms(const struct mqtt_props *props); /* 0: it does not */

struct mqtt_said {
  struct mqtt_props props;
  unsigned left_out; /* headers that MQTT cannot say */
  char reply_to[NAME_MAX_LEN + 1];
  uint8_t user[HEADERS_BYTES + 8 * HEADERS_MOST];
  size_t user_len;
};
/* Views of the headers, and of itself. */
void mqtt_headers_to(struct msg_list headers, struct mqtt_said *ret);

#endif
