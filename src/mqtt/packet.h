/* The packets of MQTT 3.1.1 and 5.0 (OASIS standards of 2014 and 2019), both directions, without allocation. Sections and
 * statements in brackets are those of 5.0; of 3.1.1 where they say so.
 *
 * What is decoded are views of the bytes given. Nothing is assumed of them: what breaks the standard is a struct mqtt_fault,
 * the reason code of 5.0 and a text that says which rule. What is encoded goes into a buffer of the caller's. */
#ifndef MQTT_PACKET_H
#define MQTT_PACKET_H

#include "base/slice.h"
#include "mqtt/reason.h"

#define MQTT_REMAINING_MAX 268435455u /* bytes behind a fixed header: 1.5.5 */
#define MQTT_HEADER_MAX 5             /* bytes of a fixed header */
#define MQTT_STRING_MAX 65535u        /* bytes of a string or of binary data: 1.5.4, 1.5.6 */

enum mqtt_level { MQTT_3_1_1 = 4, MQTT_5 = 5 }; /* the version as CONNECT has it: 3.1.2.2 */
enum mqtt_sender { MQTT_FROM_CLIENT, MQTT_FROM_SERVER };

enum mqtt_type {
  MQTT_CONNECT = 1,
  MQTT_CONNACK,
  MQTT_PUBLISH,
  MQTT_PUBACK,
  MQTT_PUBREC,
  MQTT_PUBREL,
  MQTT_PUBCOMP,
  MQTT_SUBSCRIBE,
  MQTT_SUBACK,
  MQTT_UNSUBSCRIBE,
  MQTT_UNSUBACK,
  MQTT_PINGREQ,
  MQTT_PINGRESP,
  MQTT_DISCONNECT,
  MQTT_AUTH
};
/* "CONNECT" and so on; static text. */
const char *mqtt_type_name(enum mqtt_type type);

/* What is wrong with a packet. */
struct mqtt_fault {
  enum mqtt_reason reason;
  const char *what; /* of what in it ("Topic Alias"), or NULL; static text */
  const char *text; /* the rule that it breaks; static text */
};
#define MQTT_FAULT_LEN 160
/* "Topic Alias: must not be 0". Returns ret_text. */
const char *mqtt_fault_text(const struct mqtt_fault *fault, char ret_text[MQTT_FAULT_LEN]);

/* Properties: 2.2.2. X(ENUM, identifier, name) */
#define MQTT_PROPERTY_MAP(X)                                                                                                   \
  X(PAYLOAD_FORMAT, 0x01, "Payload Format Indicator")                                                                          \
  X(MESSAGE_EXPIRY, 0x02, "Message Expiry Interval")                                                                           \
  X(CONTENT_TYPE, 0x03, "Content Type")                                                                                        \
  X(RESPONSE_TOPIC, 0x08, "Response Topic")                                                                                    \
  X(CORRELATION_DATA, 0x09, "Correlation Data")                                                                                \
  X(SUBSCRIPTION_ID, 0x0b, "Subscription Identifier")                                                                          \
  X(SESSION_EXPIRY, 0x11, "Session Expiry Interval")                                                                           \
  X(ASSIGNED_CLIENT_ID, 0x12, "Assigned Client Identifier")                                                                    \
  X(SERVER_KEEP_ALIVE, 0x13, "Server Keep Alive")                                                                              \
  X(AUTH_METHOD, 0x15, "Authentication Method")                                                                                \
  X(AUTH_DATA, 0x16, "Authentication Data")                                                                                    \
  X(REQUEST_PROBLEM, 0x17, "Request Problem Information")                                                                      \
  X(WILL_DELAY, 0x18, "Will Delay Interval")                                                                                   \
  X(REQUEST_RESPONSE, 0x19, "Request Response Information")                                                                    \
  X(RESPONSE_INFORMATION, 0x1a, "Response Information")                                                                        \
  X(SERVER_REFERENCE, 0x1c, "Server Reference")                                                                                \
  X(REASON_STRING, 0x1f, "Reason String")                                                                                      \
  X(RECEIVE_MAXIMUM, 0x21, "Receive Maximum")                                                                                  \
  X(TOPIC_ALIAS_MAXIMUM, 0x22, "Topic Alias Maximum")                                                                          \
  X(TOPIC_ALIAS, 0x23, "Topic Alias")                                                                                          \
  X(MAXIMUM_QOS, 0x24, "Maximum QoS")                                                                                          \
  X(RETAIN_AVAILABLE, 0x25, "Retain Available")                                                                                \
  X(USER_PROPERTY, 0x26, "User Property")                                                                                      \
  X(MAXIMUM_PACKET_SIZE, 0x27, "Maximum Packet Size")                                                                          \
  X(WILDCARD_AVAILABLE, 0x28, "Wildcard Subscription Available")                                                               \
  X(SUBSCRIPTION_ID_AVAILABLE, 0x29, "Subscription Identifier Available")                                                      \
  X(SHARED_AVAILABLE, 0x2a, "Shared Subscription Available")

enum mqtt_property {
#define MQTT_PROPERTY_ENUM(name, id, text) MQTT_##name = (id),
  MQTT_PROPERTY_MAP(MQTT_PROPERTY_ENUM)
#undef MQTT_PROPERTY_ENUM
};
#define MQTT_HAS(name) (UINT64_C(1) << MQTT_##name)

/* A field counts only if its bit is in `has`. Times are seconds. */
struct mqtt_props {
  uint64_t has; /* MQTT_HAS(...) of those that are there */
  uint32_t message_expiry, session_expiry, will_delay, maximum_packet_size;
  uint32_t subscription_id; /* the first, of those of a PUBLISH */
  uint16_t server_keep_alive, receive_maximum, topic_alias_maximum, topic_alias;
  uint8_t payload_format, request_problem, request_response;
  uint8_t maximum_qos, retain_available, wildcard_available, subscription_id_available, shared_available;
  struct slice content_type, response_topic, correlation_data, assigned_client_id, auth_method, auth_data, response_information,
      server_reference, reason_string;
  /* Encoded properties, whose user properties (in order) and, in a PUBLISH, subscription identifiers belong to these; others in
   * it are passed over. Decoding sets it to all that the packet has. */
  struct slice raw;
};

/* The next user property of an encoded block; moves *raw behind it. False: none is left. For blocks that a decoder has seen
 * whole, or that were made by mqtt_put_user. */
bool mqtt_next_user(struct slice *raw, struct slice *ret_name, struct slice *ret_value);
/* The same for subscription identifiers. */
bool mqtt_next_subscription_id(struct slice *raw, uint32_t *ret_id);
/* Appends one to the *len bytes in buf. MACULA_EINVAL: a string is too long or no UTF-8; MACULA_EFULL: cap is too small. */
int mqtt_put_user(uint8_t *buf, size_t cap, size_t *len, struct slice name, struct slice value);
int mqtt_put_subscription_id(uint8_t *buf, size_t cap, size_t *len, uint32_t id);

struct mqtt_connect {
  enum mqtt_level level;
  bool clean_start, has_will, has_user, has_password, will_retain;
  uint8_t will_qos;
  uint16_t keep_alive; /* seconds; 0: none */
  struct slice client_id, will_topic, will_payload, user, password;
  struct mqtt_props will; /* its properties */
};
struct mqtt_publish {
  struct slice topic; /* empty where an alias stands for it */
  struct slice payload;
  uint8_t qos;
  bool dup, retain;
};
struct mqtt_list {  /* of SUBSCRIBE, UNSUBSCRIBE: filters; of SUBACK, UNSUBACK: reason codes, one byte each */
  struct slice raw; /* encoded */
  uint32_t count;   /* decoding only */
};
struct mqtt_packet {
  enum mqtt_type type;
  uint16_t id;          /* Packet Identifier; 0 where there is none */
  uint8_t reason;       /* of CONNACK (of 3.1.1: its return code), PUBACK to PUBCOMP, DISCONNECT, AUTH */
  bool session_present; /* of CONNACK */
  struct mqtt_props props;
  union {
    struct mqtt_connect connect;
    struct mqtt_publish publish;
    struct mqtt_list list;
  };
};

/* One entry of a SUBSCRIBE or UNSUBSCRIBE. */
struct mqtt_filter {
  struct slice text; /* as it came, "$share/" and all */
  /* 3.8.3.1; of SUBSCRIBE only */
  uint8_t qos, retain_handling;
  bool no_local, retain_as_published;
};
/* The next entry of a decoded list, moves *raw behind it. False: none is left. */
bool mqtt_next_filter(struct slice *raw, enum mqtt_type type, struct mqtt_filter *ret_filter);
/* Appends one to the *len bytes in buf: errors as mqtt_put_user. */
int mqtt_put_filter(uint8_t *buf, size_t cap, size_t *len, enum mqtt_type type, const struct mqtt_filter *filter);

/* How long the packet is that begins with these bytes: 1: it is there, *ret_size bytes; 0: it is not there as a whole,
 * *ret_size is its size, or 0 while that is not known. MACULA_BAD_FRAME: the fixed header is wrong; MACULA_FRAME_TOO_LARGE: the
 * packet has more than `max` bytes; both are told by the header alone. */
int mqtt_frame(struct slice in, uint32_t max, size_t *ret_size, struct mqtt_fault *ret_fault);

/* One whole packet, as mqtt_frame found it. level: what CONNECT has said; of no account for a CONNECT. MACULA_BAD_FRAME: see
 * *ret_fault; of ret_packet only type is set then, and of a CONNECT also connect.level, as it stands in the packet (which may
 * be no level that there is), 0 if it was not reached. */
int mqtt_decode(struct slice packet, enum mqtt_level level, enum mqtt_sender from, struct mqtt_packet *ret_packet,
                struct mqtt_fault *ret_fault);

/* Encodes a packet and returns its size in bytes; nothing is written if it is more than cap (so that NULL and 0 ask for the
 * size). 0: it cannot be encoded, as a string or the whole is too long. What 3.1.1 does not have is left out. */
size_t mqtt_encode(const struct mqtt_packet *packet, enum mqtt_level level, uint8_t *buf, size_t cap);
/* The same of a PUBLISH up to its payload, which the header counts. */
size_t mqtt_encode_head(const struct mqtt_packet *publish, enum mqtt_level level, uint8_t *buf, size_t cap);
/* Leaves out, where the packet would be larger than `max` bytes, user properties, then the reason string too ([MQTT-3.2.2-19],
 * [MQTT-3.2.2-20] and the like; not of PUBLISH, whose user properties belong to the message [MQTT-3.3.2-17]). Returns the size
 * that it has now; 0: it is still too large, and must not be sent [MQTT-3.1.2-24]. */
size_t mqtt_fit(struct mqtt_packet *packet, enum mqtt_level level, uint32_t max);

#endif
