/* Reason codes of MQTT 5 (2.4), the packets that may carry each, and what is said in 3.1.1 instead. */
#ifndef MQTT_REASON_H
#define MQTT_REASON_H

#include <stdbool.h>
#include <stdint.h>

/* Packets: a bit for each type (enum mqtt_type), those of a client and of a server where only one of them may say it. */
#define MQTT_R_CONNACK (1u << 2)
#define MQTT_R_ACK (1u << 4 | 1u << 5) /* PUBACK, PUBREC */
#define MQTT_R_REL (1u << 6 | 1u << 7) /* PUBREL, PUBCOMP */
#define MQTT_R_SUBACK (1u << 9)
#define MQTT_R_UNSUBACK (1u << 11)
#define MQTT_R_DISCONNECT (1u << 14) /* of both */
#define MQTT_R_AUTH (1u << 15)
#define MQTT_R_CLIENT (1u << 16) /* DISCONNECT or AUTH of a client only */
#define MQTT_R_SERVER (1u << 17) /* DISCONNECT or AUTH of a server only */

/* X(ENUM, code, text, packets) */
#define MQTT_REASON_MAP(X)                                                                                                     \
  X(SUCCESS, 0x00, "Success",                                                                                                  \
    MQTT_R_CONNACK | MQTT_R_ACK | MQTT_R_REL | MQTT_R_SUBACK | MQTT_R_UNSUBACK | MQTT_R_DISCONNECT | MQTT_R_AUTH)              \
  X(GRANTED_QOS_1, 0x01, "Granted QoS 1", MQTT_R_SUBACK)                                                                       \
  X(GRANTED_QOS_2, 0x02, "Granted QoS 2", MQTT_R_SUBACK)                                                                       \
  X(WITH_WILL, 0x04, "Disconnect with Will Message", MQTT_R_DISCONNECT | MQTT_R_CLIENT)                                        \
  X(NO_SUBSCRIBERS, 0x10, "No matching subscribers", MQTT_R_ACK)                                                               \
  X(NO_SUBSCRIPTION, 0x11, "No subscription existed", MQTT_R_UNSUBACK)                                                         \
  X(CONTINUE_AUTH, 0x18, "Continue authentication", MQTT_R_AUTH)                                                               \
  X(REAUTHENTICATE, 0x19, "Re-authenticate", MQTT_R_AUTH | MQTT_R_CLIENT)                                                      \
  X(UNSPECIFIED, 0x80, "Unspecified error", MQTT_R_CONNACK | MQTT_R_ACK | MQTT_R_SUBACK | MQTT_R_UNSUBACK | MQTT_R_DISCONNECT) \
  X(MALFORMED, 0x81, "Malformed Packet", MQTT_R_CONNACK | MQTT_R_DISCONNECT)                                                   \
  X(PROTOCOL_ERROR, 0x82, "Protocol Error", MQTT_R_CONNACK | MQTT_R_DISCONNECT)                                                \
  X(IMPLEMENTATION, 0x83, "Implementation specific error",                                                                     \
    MQTT_R_CONNACK | MQTT_R_ACK | MQTT_R_SUBACK | MQTT_R_UNSUBACK | MQTT_R_DISCONNECT)                                         \
  X(BAD_VERSION, 0x84, "Unsupported Protocol Version", MQTT_R_CONNACK)                                                         \
  X(BAD_CLIENT_ID, 0x85, "Client Identifier not valid", MQTT_R_CONNACK)                                                        \
  X(BAD_USER, 0x86, "Bad User Name or Password", MQTT_R_CONNACK)                                                               \
  X(NOT_AUTHORIZED, 0x87, "Not authorized",                                                                                    \
    MQTT_R_CONNACK | MQTT_R_ACK | MQTT_R_SUBACK | MQTT_R_UNSUBACK | MQTT_R_DISCONNECT | MQTT_R_SERVER)                         \
  X(UNAVAILABLE, 0x88, "Server unavailable", MQTT_R_CONNACK)                                                                   \
  X(BUSY, 0x89, "Server busy", MQTT_R_CONNACK | MQTT_R_DISCONNECT | MQTT_R_SERVER)                                             \
  X(BANNED, 0x8a, "Banned", MQTT_R_CONNACK)                                                                                    \
  X(SHUTTING_DOWN, 0x8b, "Server shutting down", MQTT_R_DISCONNECT | MQTT_R_SERVER)                                            \
  X(BAD_AUTH_METHOD, 0x8c, "Bad authentication method", MQTT_R_CONNACK | MQTT_R_DISCONNECT)                                    \
  X(KEEP_ALIVE_TIMEOUT, 0x8d, "Keep Alive timeout", MQTT_R_DISCONNECT | MQTT_R_SERVER)                                         \
  X(TAKEN_OVER, 0x8e, "Session taken over", MQTT_R_DISCONNECT | MQTT_R_SERVER)                                                 \
  X(BAD_FILTER, 0x8f, "Topic Filter invalid", MQTT_R_SUBACK | MQTT_R_UNSUBACK | MQTT_R_DISCONNECT | MQTT_R_SERVER)             \
  X(BAD_TOPIC, 0x90, "Topic Name invalid", MQTT_R_CONNACK | MQTT_R_ACK | MQTT_R_DISCONNECT)                                    \
  X(ID_IN_USE, 0x91, "Packet Identifier in use", MQTT_R_ACK | MQTT_R_SUBACK | MQTT_R_UNSUBACK)                                 \
  X(ID_NOT_FOUND, 0x92, "Packet Identifier not found", MQTT_R_REL)                                                             \
  X(RECEIVE_MAXIMUM_EXCEEDED, 0x93, "Receive Maximum exceeded", MQTT_R_DISCONNECT)                                             \
  X(BAD_ALIAS, 0x94, "Topic Alias invalid", MQTT_R_DISCONNECT)                                                                 \
  X(TOO_LARGE, 0x95, "Packet too large", MQTT_R_CONNACK | MQTT_R_DISCONNECT)                                                   \
  X(RATE_TOO_HIGH, 0x96, "Message rate too high", MQTT_R_DISCONNECT)                                                           \
  X(QUOTA, 0x97, "Quota exceeded", MQTT_R_CONNACK | MQTT_R_ACK | MQTT_R_SUBACK | MQTT_R_DISCONNECT)                            \
  X(ADMINISTRATIVE, 0x98, "Administrative action", MQTT_R_DISCONNECT)                                                          \
  X(BAD_PAYLOAD, 0x99, "Payload format invalid", MQTT_R_CONNACK | MQTT_R_ACK | MQTT_R_DISCONNECT)                              \
  X(NO_RETAIN, 0x9a, "Retain not supported", MQTT_R_CONNACK | MQTT_R_DISCONNECT | MQTT_R_SERVER)                               \
  X(NO_QOS, 0x9b, "QoS not supported", MQTT_R_CONNACK | MQTT_R_DISCONNECT | MQTT_R_SERVER)                                     \
  X(OTHER_SERVER, 0x9c, "Use another server", MQTT_R_CONNACK | MQTT_R_DISCONNECT | MQTT_R_SERVER)                              \
  X(MOVED, 0x9d, "Server moved", MQTT_R_CONNACK | MQTT_R_DISCONNECT | MQTT_R_SERVER)                                           \
  X(NO_SHARED, 0x9e, "Shared Subscriptions not supported", MQTT_R_SUBACK | MQTT_R_DISCONNECT | MQTT_R_SERVER)                  \
  X(CONNECTION_RATE, 0x9f, "Connection rate exceeded", MQTT_R_CONNACK | MQTT_R_DISCONNECT | MQTT_R_SERVER)                     \
  X(MAXIMUM_CONNECT_TIME, 0xa0, "Maximum connect time", MQTT_R_DISCONNECT | MQTT_R_SERVER)                                     \
  X(NO_SUBSCRIPTION_IDS, 0xa1, "Subscription Identifiers not supported", MQTT_R_SUBACK | MQTT_R_DISCONNECT | MQTT_R_SERVER)    \
  X(NO_WILDCARDS, 0xa2, "Wildcard Subscriptions not supported", MQTT_R_SUBACK | MQTT_R_DISCONNECT | MQTT_R_SERVER)

enum mqtt_reason {
#define MQTT_REASON_ENUM(name, code, text, packets) MQTT_##name = (code),
  MQTT_REASON_MAP(MQTT_REASON_ENUM)
#undef MQTT_REASON_ENUM
};
#define MQTT_REASON_IS_ERROR(reason) ((reason) >= 0x80)

/* The standard's name of a code, "unknown reason" for a number that is none. Static text. */
const char *mqtt_reason_text(uint8_t reason);
/* Whether a packet of this type (enum mqtt_type) may carry the code. */
bool mqtt_reason_fits(uint8_t reason, unsigned type, bool from_client);
/* The return code of a 3.1.1 CONNACK (3.1.1, 3.2.2.3) for a code of 5.0: 0 to 5. */
uint8_t mqtt_reason_3_1_1(uint8_t reason);
/* The code that says best why something failed (enum macula_err). */
enum mqtt_reason mqtt_reason_of(int err);

#endif
