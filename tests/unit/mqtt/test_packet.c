/* Packets of MQTT 3.1.1 and 5.0: what breaks a normative statement is named by its reason; what does not comes back as it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "mqtt/packet.h"
#include "unit/mqtt/hex.h"

#define V4 MQTT_3_1_1
#define V5 MQTT_5
#define C MQTT_FROM_CLIENT
#define S MQTT_FROM_SERVER

/* Fixed headers: 2.1, 1.5.5. */
static const struct header {
  const char *in;
  uint32_t max;
  int result; /* of mqtt_frame */
  size_t size;
  enum mqtt_reason reason;
  const char *text;
} headers[] = {
    {"", 10, 0, 0, 0, NULL},
    {"c0", 10, 0, 0, 0, NULL},
    {"c0 00", 10, 1, 2, 0, NULL},
    {"c0 00 ff", 10, 1, 2, 0, NULL},
    {"30 05 00 01", 10, 0, 7, 0, NULL},
    {"30 80", 1000, 0, 0, 0, NULL},
    {"30 80 01", 1000, 0, 131, 0, NULL},
    {"30 ff ff ff 7f", UINT32_MAX, 0, 268435460, 0, NULL},
    {"30 ff ff ff 7f", 1048576, MACULA_FRAME_TOO_LARGE, 0, MQTT_TOO_LARGE, "maximum packet size"}, /* 256 MiB by 5 bytes */
    {"30 09", 10, MACULA_FRAME_TOO_LARGE, 0, MQTT_TOO_LARGE, "maximum packet size"},
    {"30 ff ff ff 80", 10, MACULA_BAD_FRAME, 0, MQTT_MALFORMED, "more than 4 bytes"},
    {"30 80 00", 10, MACULA_BAD_FRAME, 0, MQTT_MALFORMED, "more bytes than it needs"}, /* [MQTT-1.5.5-1] */
    {"00 00", 10, MACULA_BAD_FRAME, 0, MQTT_MALFORMED, "type 0"},
    {"36", 10, MACULA_BAD_FRAME, 0, MQTT_MALFORMED, "QoS 3"},                  /* [MQTT-3.3.1-4] */
    {"38", 10, MACULA_BAD_FRAME, 0, MQTT_MALFORMED, "DUP with QoS 0"},         /* [MQTT-3.3.1-2] */
    {"60", 10, MACULA_BAD_FRAME, 0, MQTT_MALFORMED, "PUBREL: has flags"},      /* [MQTT-3.6.1-1] */
    {"80", 10, MACULA_BAD_FRAME, 0, MQTT_MALFORMED, "SUBSCRIBE: has flags"},   /* [MQTT-3.8.1-1] */
    {"a0", 10, MACULA_BAD_FRAME, 0, MQTT_MALFORMED, "UNSUBSCRIBE: has flags"}, /* [MQTT-3.10.1-1] */
    {"e1", 10, MACULA_BAD_FRAME, 0, MQTT_MALFORMED, "DISCONNECT: has flags"},  /* [MQTT-3.14.1-1] */
    {"f1", 10, MACULA_BAD_FRAME, 0, MQTT_MALFORMED, "AUTH: has flags"},        /* [MQTT-3.15.1-1] */
    {"16 03", 10, MACULA_BAD_FRAME, 0, MQTT_MALFORMED, "CONNECT: has flags"},  /* TLS; [MQTT-2.1.3-1] */
    {"'GET / HTTP/1.1'", 10, MACULA_BAD_FRAME, 0, MQTT_MALFORMED, "PUBACK: has flags"},
};

static void test_headers(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
    const struct header *h = &headers[i];
    uint8_t buf[64];
    char text[MQTT_FAULT_LEN];
    size_t size = 99;
    struct mqtt_fault fault = {0};
    int got = mqtt_frame(hex(h->in, buf), h->max, &size, &fault);
    if (got != h->result || size != h->size) fail_msg("%s: %d, %zu", h->in, got, size);
    if (got >= 0) continue;
    assert_int_equal(fault.reason, h->reason);
    if (!strstr(mqtt_fault_text(&fault, text), h->text)) fail_msg("%s: %s", h->in, text);
  }
}

#define CONNECT4 "<MQTT> 04"
#define CONNECT5 "<MQTT> 05"

/* What must be refused, and why. */
static const struct wrong {
  enum mqtt_level level;
  enum mqtt_sender from;
  uint8_t first;
  const char *body;
  enum mqtt_reason reason;
  const char *text, *statement;
} wrongs[] = {
    {V5, C, 0x10, "<MQTX> 05 02 003c 00 <>", MQTT_BAD_VERSION, "Protocol Name", "MQTT-3.1.2-1"},
    {V5, C, 0x10, "<MQIsdp> 03 02 003c <a>", MQTT_BAD_VERSION, "Protocol Name", "MQTT-3.1.2-1"},
    {V5, C, 0x10, "<MQTT> 03 02 003c <a>", MQTT_BAD_VERSION, "Protocol Version", "MQTT-3.1.2-2"},
    {V5, C, 0x10, "<MQTT> 06 02 003c 00 <a>", MQTT_BAD_VERSION, "Protocol Version", "MQTT-3.1.2-2"},
    {V5, C, 0x10, CONNECT5 "03 003c 00 <a>", MQTT_MALFORMED, "reserved", "MQTT-3.1.2-3"},
    {V5, C, 0x10, CONNECT5 "1a 003c 00 <a>", MQTT_MALFORMED, "Will QoS is 3", "MQTT-3.1.2-12"},
    {V5, C, 0x10, CONNECT5 "1e 003c 00 <a>", MQTT_MALFORMED, "Will QoS is 3", "MQTT-3.1.2-12"},
    {V5, C, 0x10, CONNECT5 "0a 003c 00 <a>", MQTT_MALFORMED, "without a will", "MQTT-3.1.2-11"},
    {V5, C, 0x10, CONNECT5 "22 003c 00 <a>", MQTT_MALFORMED, "without a will", "MQTT-3.1.2-13"},
    {V5, C, 0x10, CONNECT5 "06 003c 00 <a>", MQTT_MALFORMED, "Property Length: the packet ends", "MQTT-3.1.2-9"},
    {V4, C, 0x10, CONNECT4 "06 003c <a>", MQTT_MALFORMED, "Will Topic: the packet ends", "MQTT-3.1.2-9"},
    {V5, C, 0x10, CONNECT5 "02 003c 00 <a> <u>", MQTT_MALFORMED, "longer than", "MQTT-3.1.2-16"},
    {V5, C, 0x10, CONNECT5 "82 003c 00 <a>", MQTT_MALFORMED, "User Name: the packet ends", "MQTT-3.1.2-17"},
    {V5, C, 0x10, CONNECT5 "82 003c 00 <a> <u> <p>", MQTT_MALFORMED, "longer than", "MQTT-3.1.2-18"},
    {V5, C, 0x10, CONNECT5 "42 003c 00 <a>", MQTT_MALFORMED, "Password: the packet ends", "MQTT-3.1.2-19"},
    {V4, C, 0x10, CONNECT4 "42 003c <a> <p>", MQTT_MALFORMED, "without a user name", "3.1.1 MQTT-3.1.2-22"},
    {V5, C, 0x10, CONNECT5 "02 003c 00", MQTT_MALFORMED, "Client Identifier", "MQTT-3.1.3-3"},
    {V5, C, 0x10, CONNECT5 "02 003c 00 0001 ff", MQTT_MALFORMED, "Client Identifier: is no UTF-8", "MQTT-3.1.3-4"},
    {V5, C, 0x10, CONNECT5 "06 003c 00 <a> 00 0001 c0 <p>", MQTT_MALFORMED, "Will Topic: is no UTF-8", "MQTT-3.1.3-11"},
    {V5, C, 0x10, CONNECT5 "82 003c 00 <a> 0002 c328", MQTT_MALFORMED, "User Name: is no UTF-8", "MQTT-3.1.3-12"},
    {V5, C, 0x10, CONNECT5 "02 00", MQTT_MALFORMED, "Keep Alive", "MQTT-3.1.4-1"},
    {V5, C, 0x10, CONNECT5 "02 003c 03 21 0000 <a>", MQTT_PROTOCOL_ERROR, "Receive Maximum: is 0", "3.1.2.11.3"},
    {V5, C, 0x10, CONNECT5 "02 003c 05 27 00000000 <a>", MQTT_PROTOCOL_ERROR, "Maximum Packet Size: is 0", "3.1.2.11.4"},
    {V5, C, 0x10, CONNECT5 "02 003c 02 17 02 <a>", MQTT_PROTOCOL_ERROR, "neither 0 nor 1", "3.1.2.11.7"},
    {V5, C, 0x10, CONNECT5 "02 003c 02 19 ff <a>", MQTT_PROTOCOL_ERROR, "neither 0 nor 1", "3.1.2.11.6"},
    {V5, C, 0x10, CONNECT5 "02 003c 04 17 00 17 00 <a>", MQTT_PROTOCOL_ERROR, "is there twice", "3.1.2.11.7"},
    {V5, C, 0x10, CONNECT5 "02 003c 0a 11 00000001 11 00000001 <a>", MQTT_PROTOCOL_ERROR, "twice", "3.1.2.11.2"},
    {V5, C, 0x10, CONNECT5 "02 003c 04 16 <x> <a>", MQTT_PROTOCOL_ERROR, "without an Authentication Method", "3.1.2.11.10"},
    {V5, C, 0x10, CONNECT5 "02 003c 02 01 00 <a>", MQTT_MALFORMED, "does not belong", "2.2.2.2"},
    {V5, C, 0x10, CONNECT5 "02 003c 01 07 <a>", MQTT_MALFORMED, "identifier that is none", "2.2.2.2"},
    {V5, C, 0x10, CONNECT5 "02 003c 02 ff7f <a>", MQTT_MALFORMED, "identifier that is none", "2.2.2.2"},
    {V5, C, 0x10, CONNECT5 "02 003c 02 8700 <a>", MQTT_MALFORMED, "than it needs", "MQTT-1.5.5-1"},
    {V5, C, 0x10, CONNECT5 "02 003c 80808001", MQTT_MALFORMED, "more than the packet has left", "2.2.2.1"},
    {V5, C, 0x10, CONNECT5 "02 003c 8080808001", MQTT_MALFORMED, "more than 4 bytes", "1.5.5"},
    {V5, C, 0x10, CONNECT5 "02 003c 02 11 00 <a>", MQTT_MALFORMED, "Session Expiry Interval: the packet ends", "1.5.3"},
    {V5, C, 0x10, CONNECT5 "02 003c 07 26 0002 'a' 00 <b>", MQTT_MALFORMED, "User Property", "MQTT-1.5.7-1"},
    {V5, C, 0x10, CONNECT5 "06 003c 00 <a> 03 08 <> <t> <p>", MQTT_PROTOCOL_ERROR, "Response Topic", "MQTT-3.3.2-14"},
    {V5, C, 0x10, CONNECT5 "06 003c 00 <a> 05 11 00000001 <t> <p>", MQTT_MALFORMED, "does not belong", "3.1.3.2"},
    {V5, S, 0x20, "02 00 00", MQTT_MALFORMED, "reserved", "MQTT-3.2.2-1"},
    {V5, S, 0x20, "01 87 00", MQTT_PROTOCOL_ERROR, "Session Present", "MQTT-3.2.2-6"},
    {V4, S, 0x20, "01 05", MQTT_PROTOCOL_ERROR, "Session Present", "3.1.1 MQTT-3.2.2-4"},
    {V5, S, 0x20, "00 8e 00", MQTT_PROTOCOL_ERROR, "Reason Code", "MQTT-3.2.2-8"},
    {V4, S, 0x20, "00 06", MQTT_PROTOCOL_ERROR, "return code", "3.1.1 3.2.2.3"},
    {V5, S, 0x20, "00 00", MQTT_MALFORMED, "Property Length", "MQTT-2.2.2-1"},
    {V5, S, 0x20, "00 00 02 24 02", MQTT_PROTOCOL_ERROR, "Maximum QoS", "3.2.2.3.4"},
    {V5, C, 0x20, "00 00 00", MQTT_PROTOCOL_ERROR, "is a packet of servers", "2.1.2"},
    {V5, C, 0x90, "0001 00 00", MQTT_PROTOCOL_ERROR, "is a packet of servers", "2.1.2"},
    {V5, C, 0xb0, "0001 00 00", MQTT_PROTOCOL_ERROR, "is a packet of servers", "2.1.2"},
    {V5, C, 0xd0, "", MQTT_PROTOCOL_ERROR, "is a packet of servers", "2.1.2"},
    {V5, S, 0xc0, "", MQTT_PROTOCOL_ERROR, "is a packet of clients", "2.1.2"},
    {V4, S, 0xe0, "", MQTT_PROTOCOL_ERROR, "is a packet of clients", "3.1.1 2.2.1"},
    {V5, C, 0x30, "", MQTT_MALFORMED, "Topic Name: the packet ends", "MQTT-3.3.2-1"},
    {V5, C, 0x30, "0003 eda080 00", MQTT_MALFORMED, "Topic Name: is no UTF-8", "MQTT-1.5.4-1"},
    {V5, C, 0x30, "0002 c080 00", MQTT_MALFORMED, "Topic Name: is no UTF-8", "MQTT-1.5.4-1"},
    {V5, C, 0x30, "0004 f4908080 00", MQTT_MALFORMED, "Topic Name: is no UTF-8", "MQTT-1.5.4-1"},
    {V5, C, 0x30, "0003 'a' 00 'b' 00", MQTT_MALFORMED, "zero character", "MQTT-1.5.4-2"},
    {V5, C, 0x30, "<a/+> 00", MQTT_BAD_TOPIC, "wildcard", "MQTT-3.3.2-2"},
    {V4, C, 0x30, "<#>", MQTT_BAD_TOPIC, "wildcard", "MQTT-4.7.0-1"},
    {V4, C, 0x30, "<>", MQTT_BAD_TOPIC, "is empty", "MQTT-4.7.3-1"},
    {V5, C, 0x30, "<> 00", MQTT_PROTOCOL_ERROR, "no alias", "3.3.2.1"},
    {V5, C, 0x30, "<a> 03 23 0000", MQTT_BAD_ALIAS, "Topic Alias: is 0", "MQTT-3.3.2-8"},
    {V5, C, 0x30, "<a> 06 23 0001 23 0001", MQTT_PROTOCOL_ERROR, "Topic Alias: is there twice", "3.3.2.3.4"},
    {V5, C, 0x30, "<a> 02 01 02", MQTT_PROTOCOL_ERROR, "Payload Format", "3.3.2.3.2"},
    {V5, C, 0x30, "<a> 06 08 <b/#>", MQTT_PROTOCOL_ERROR, "Response Topic", "MQTT-3.3.2-14"},
    {V5, C, 0x30, "<a> 04 03 0001 ff", MQTT_MALFORMED, "Content Type: is no UTF-8", "MQTT-3.3.2-19"},
    {V5, C, 0x30, "<a> 04 08 0001 ff", MQTT_MALFORMED, "Response Topic: is no UTF-8", "MQTT-3.3.2-13"},
    {V5, C, 0x30, "<a> 02 0b 01", MQTT_PROTOCOL_ERROR, "Subscription Identifier", "MQTT-3.3.4-6"},
    {V5, S, 0x30, "<a> 02 0b 00", MQTT_PROTOCOL_ERROR, "Subscription Identifier: is 0", "3.3.2.3.8"},
    {V5, C, 0x32, "<a> 0000 00", MQTT_PROTOCOL_ERROR, "Packet Identifier: is 0", "MQTT-2.2.1-3"},
    {V4, C, 0x34, "<a> 00", MQTT_MALFORMED, "Packet Identifier", "MQTT-2.2.1-3"},
    {V5, C, 0x40, "0001 01", MQTT_PROTOCOL_ERROR, "Reason Code", "MQTT-3.4.2-1"},
    {V5, C, 0x40, "0001 92", MQTT_PROTOCOL_ERROR, "Reason Code", "MQTT-3.4.2-1"},
    {V5, C, 0x50, "0001 11", MQTT_PROTOCOL_ERROR, "Reason Code", "MQTT-3.5.2-1"},
    {V5, C, 0x62, "0001 10", MQTT_PROTOCOL_ERROR, "Reason Code", "MQTT-3.6.2-1"},
    {V5, C, 0x70, "0001 10", MQTT_PROTOCOL_ERROR, "Reason Code", "MQTT-3.7.2-1"},
    {V5, C, 0x40, "0000", MQTT_PROTOCOL_ERROR, "is 0", "MQTT-2.2.1-5"},
    {V5, C, 0x40, "01", MQTT_MALFORMED, "Packet Identifier", "MQTT-2.2.1-5"},
    {V4, C, 0x40, "0001 00", MQTT_MALFORMED, "longer than", "3.1.1 3.4.2"},
    {V5, C, 0x40, "0001 00 00 00", MQTT_MALFORMED, "longer than", "3.4.2.2.1"},
    {V5, C, 0x40, "0001 00 02 01 00", MQTT_MALFORMED, "does not belong", "3.4.2.2"},
    {V5, C, 0x82, "0001 00", MQTT_PROTOCOL_ERROR, "there is none", "MQTT-3.8.3-2"},
    {V4, C, 0x82, "0001", MQTT_PROTOCOL_ERROR, "there is none", "MQTT-3.8.3-2"},
    {V5, C, 0x82, "0000 00 <a> 00", MQTT_PROTOCOL_ERROR, "is 0", "MQTT-2.2.1-3"},
    {V5, C, 0x82, "0001 00 0001 ff 00", MQTT_MALFORMED, "Topic Filter: is no UTF-8", "MQTT-3.8.3-1"},
    {V5, C, 0x82, "0001 00 <a>", MQTT_MALFORMED, "Subscription Options: the packet ends", "MQTT-3.8.3-2"},
    {V5, C, 0x82, "0001 00 <a> 40", MQTT_MALFORMED, "reserved", "MQTT-3.8.3-5"},
    {V4, C, 0x82, "0001 <a> 04", MQTT_MALFORMED, "reserved", "3.1.1 MQTT-3.8.3-4"},
    {V5, C, 0x82, "0001 00 <a> 03", MQTT_PROTOCOL_ERROR, "QoS is 3", "3.8.3.1"},
    {V5, C, 0x82, "0001 00 <a> 30", MQTT_PROTOCOL_ERROR, "Retain Handling is 3", "3.8.3.1"},
    {V5, C, 0x82, "0001 00 <$share/g/a> 04", MQTT_PROTOCOL_ERROR, "No Local", "MQTT-3.8.3-4"},
    {V5, C, 0x82, "0001 00 <> 00", MQTT_MALFORMED, "Topic Filter: is empty", "MQTT-4.7.3-1"},
    {V5, C, 0x82, "0001 02 0b 00 <a> 00", MQTT_PROTOCOL_ERROR, "Subscription Identifier: is 0", "3.8.2.1.2"},
    {V5, C, 0x82, "0001 04 0b 01 0b 01 <a> 00", MQTT_PROTOCOL_ERROR, "is there twice", "3.8.2.1.2"},
    {V5, C, 0x82, "0001 03 0b 8100 <a> 00", MQTT_MALFORMED, "than it needs", "MQTT-1.5.5-1"},
    {V5, C, 0xa2, "0001 00", MQTT_PROTOCOL_ERROR, "there is none", "MQTT-3.10.3-2"},
    {V5, C, 0xa2, "0001 00 0001 ff", MQTT_MALFORMED, "Topic Filter: is no UTF-8", "MQTT-3.10.3-1"},
    {V5, C, 0xa2, "0001 02 0b 01 <a>", MQTT_MALFORMED, "does not belong", "3.10.2.1"},
    {V5, S, 0x90, "0001 00 03", MQTT_PROTOCOL_ERROR, "Reason Code", "MQTT-3.9.3-2"},
    {V4, S, 0x90, "0001 87", MQTT_PROTOCOL_ERROR, "Reason Code", "3.1.1 MQTT-3.9.3-2"},
    {V5, S, 0x90, "0001 00", MQTT_MALFORMED, "no reason codes", "MQTT-3.8.4-6"},
    {V5, S, 0xb0, "0001 00 97", MQTT_PROTOCOL_ERROR, "Reason Code", "MQTT-3.11.3-2"},
    {V4, S, 0xb0, "0001 00", MQTT_MALFORMED, "has a payload", "3.1.1 3.11.3"},
    {V5, C, 0xc0, "00", MQTT_MALFORMED, "longer than", "3.12.1"},
    {V5, C, 0xe0, "8b", MQTT_PROTOCOL_ERROR, "Reason Code", "MQTT-3.14.2-1"},
    {V5, S, 0xe0, "04", MQTT_PROTOCOL_ERROR, "Reason Code", "MQTT-3.14.2-1"},
    {V5, S, 0xe0, "00 05 11 00000001", MQTT_PROTOCOL_ERROR, "Session Expiry", "MQTT-3.14.2-2"},
    {V5, C, 0xe0, "00 04 1c <x>", MQTT_PROTOCOL_ERROR, "Server Reference", "3.14.2.2.5"},
    {V4, C, 0xe0, "00", MQTT_MALFORMED, "longer than", "3.1.1 3.14.1"},
    {V5, C, 0xf0, "00 00", MQTT_PROTOCOL_ERROR, "Reason Code", "MQTT-3.15.2-1"},
    {V5, C, 0xf0, "", MQTT_PROTOCOL_ERROR, "Reason Code", "MQTT-3.15.2-1"},
    {V5, S, 0xf0, "19 04 15 <x>", MQTT_PROTOCOL_ERROR, "Reason Code", "MQTT-3.15.2-1"},
    {V5, C, 0xf0, "18 00", MQTT_PROTOCOL_ERROR, "no Authentication Method", "3.15.2.2.2"},
    {V4, C, 0xf0, "", MQTT_MALFORMED, "no packet of 3.1.1", "3.1.1 2.2.1"},
};

static void test_wrong(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
    const struct wrong *w = &wrongs[i];
    uint8_t buf[512];
    char text[MQTT_FAULT_LEN];
    struct mqtt_packet p;
    struct mqtt_fault fault = {0};
    if (mqtt_decode(packet_of(w->first, w->body, buf), w->level, w->from, &p, &fault) != MACULA_BAD_FRAME)
      fail_msg("%s: %02x %s was taken", w->statement, w->first, w->body);
    mqtt_fault_text(&fault, text);
    if (fault.reason != w->reason || !strstr(text, w->text))
      fail_msg("%s: %02x %s: 0x%02x %s", w->statement, w->first, w->body, fault.reason, text);
  }
}

/* What is right, in the spelling in which it is encoded. */
static const struct right {
  enum mqtt_level level;
  enum mqtt_sender from;
  uint8_t first;
  const char *body;
} rights[] = {
    {V4, C, 0x10, CONNECT4 "02 003c <a>"},
    {V4, C, 0x10, CONNECT4 "ee 0000 <a> <t> 0002 ff00 <user> 0001 ff"},
    {V5, C, 0x10, CONNECT5 "02 003c 00 <>"},
    {V5, C, 0x10, CONNECT5 "42 003c 00 <a> <p>"}, /* a password alone is right in 5: 3.1.2.9 */
    {V5, C, 0x10,
     CONNECT5 "c2 ffff {11 ffffffff 15 <m> 16 <d> 17 01 19 01 21 ffff 22 ffff 27 ffffffff 26 <k> <v>} <id> <u> <p>"},
    {V5, C, 0x10, CONNECT5 "16 0001 00 <a> {01 01 02 00000009 03 <c> 08 <r> 09 <d> 18 ffffffff 26 <k> <v> 26 <k> <v>} <t> <>"},
    {V4, S, 0x20, "01 00"},
    {V4, S, 0x20, "00 05"},
    {V5, S, 0x20, "00 00 00"},
    {V5, S, 0x20, "00 9f {1f <why>}"},
    {V5, S, 0x20,
     "01 00 {11 00000001 12 <a> 13 0001 1a <i> 1c <s> 1f <r> 21 0001 22 0000 24 01 25 01 27 00000001 28 01 29 01 2a 00 26 <k> "
     "<v>}"},
    {V4, C, 0x30, "<a/b> 'payload'"},
    {V4, C, 0x3d, "<a> 0001"},
    {V4, C, 0x30, "0006 'a' efbbbf 'b' 07"}, /* [MQTT-1.5.4-3] */
    {V5, C, 0x31, "<a> 00"},
    {V5, C, 0x3a, "<a> ffff 00 'x'"},
    {V5, C, 0x30, "<> 03 23 0001 'x'"},
    {V5, C, 0x30, "<a> {01 01 02 00000000 03 <c> 08 <r> 09 0000 23 0005 26 <k> <v>} 'x'"},
    {V5, S, 0x30, "<a> {0b ffffff7f 0b 01 0b 8001} 'x'"},
    {V5, C, 0x40, "0001"},
    {V5, C, 0x40, "0001 10"},
    {V5, C, 0x50, "0001 97 {1f <why>}"},
    {V5, C, 0x62, "0001 92"},
    {V5, C, 0x70, "0001 00 {26 <k> <v>}"},
    {V4, C, 0x40, "ffff"},
    {V4, C, 0x62, "0001"},
    {V4, C, 0x82, "0001 <a/#> 02 <+> 00"},
    {V5, C, 0x82, "0001 {0b ffff7f 26 <k> <v>} <a> 2e <$share/g/a> 01"},
    {V5, C, 0xa2, "0001 {26 <k> <v>} <a> <b>"},
    {V4, C, 0xa2, "0001 <a>"},
    {V4, S, 0x90, "0001 00 01 02 80"},
    {V5, S, 0x90, "0001 00 00 01 02 80 a2"},
    {V5, S, 0xb0, "0001 00 00 11 8f"},
    {V4, S, 0xb0, "0001"},
    {V5, C, 0xc0, ""},
    {V5, S, 0xd0, ""},
    {V5, C, 0xe0, ""},
    {V4, C, 0xe0, ""},
    {V5, C, 0xe0, "04"},
    {V5, C, 0xe0, "00 {11 00000001}"},
    {V5, S, 0xe0, "8e {1c <x> 1f <y>}"},
    {V5, C, 0xf0, "18 {15 <m> 16 <d> 1f <r>}"},
    {V5, C, 0xf0, "19 {15 <m>}"},
    {V5, S, 0xf0, ""},
};

static void test_right(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof rights / sizeof rights[0]; i++) {
    const struct right *r = &rights[i];
    uint8_t buf[512], again[512];
    char text[MQTT_FAULT_LEN];
    struct mqtt_packet p;
    struct mqtt_fault fault;
    struct slice in = packet_of(r->first, r->body, buf);
    if (mqtt_decode(in, r->level, r->from, &p, &fault))
      fail_msg("%02x %s: %s", r->first, r->body, mqtt_fault_text(&fault, text));
    enum mqtt_level level = p.type == MQTT_CONNECT ? p.connect.level : r->level;
    size_t n = mqtt_encode(&p, level, again, sizeof again);
    if (n != in.n || memcmp(again, in.p, n) != 0) fail_msg("%02x %s: %zu of %zu bytes", r->first, r->body, n, in.n);
    /* no beginning of it is one, and what is too small is left alone */
    for (size_t k = 0; k < in.n; k++) assert_true(mqtt_decode(slice_of(in.p, k), r->level, r->from, &p, &fault) < 0);
  }
}

static void test_values(void **state) {
  uint8_t buf[512];
  struct mqtt_packet p;
  struct mqtt_fault fault;
  struct slice name, value, raw;
  uint32_t id;
  (void)state;
  assert_int_equal(mqtt_decode(packet_of(0x10, rights[4].body, buf), V5, C, &p, &fault), 0);
  assert_true(p.connect.has_user && p.connect.has_password && p.connect.clean_start && !p.connect.has_will);
  assert_int_equal(p.connect.keep_alive, 65535);
  assert_int_equal(p.props.session_expiry, UINT32_MAX);
  assert_int_equal(p.props.receive_maximum, 65535);
  assert_true(slice_is(p.props.auth_method, "m") && slice_is(p.connect.client_id, "id") && slice_is(p.connect.password, "p"));
  raw = p.props.raw;
  assert_true(mqtt_next_user(&raw, &name, &value) && slice_is(name, "k") && slice_is(value, "v"));
  assert_false(mqtt_next_user(&raw, &name, &value));
  assert_int_equal(mqtt_decode(packet_of(0x30, "<a> {0b ffffff7f 0b 01 0b 02} 'x'", buf), V5, S, &p, &fault), 0);
  raw = p.props.raw;
  assert_true(mqtt_next_subscription_id(&raw, &id) && id == MQTT_REMAINING_MAX && p.props.subscription_id == id);
  assert_true(mqtt_next_subscription_id(&raw, &id) && id == 1 && mqtt_next_subscription_id(&raw, &id) && id == 2);
  assert_false(mqtt_next_subscription_id(&raw, &id));
  assert_int_equal(mqtt_decode(packet_of(0x82, "0007 00 <a> 2e <b> 01", buf), V5, C, &p, &fault), 0);
  struct mqtt_filter f;
  raw = p.list.raw;
  assert_int_equal(p.list.count, 2);
  assert_true(mqtt_next_filter(&raw, MQTT_SUBSCRIBE, &f) && slice_is(f.text, "a"));
  assert_true(f.qos == 2 && f.no_local && f.retain_as_published && f.retain_handling == 2);
  assert_true(mqtt_next_filter(&raw, MQTT_SUBSCRIBE, &f) && f.qos == 1 && !f.no_local);
  assert_false(mqtt_next_filter(&raw, MQTT_SUBSCRIBE, &f));
  /* the level that a CONNECT asks for is known though the packet is wrong */
  assert_int_equal(mqtt_decode(packet_of(0x10, "<MQTT> 06 02", buf), V5, C, &p, &fault), MACULA_BAD_FRAME);
  assert_int_equal(p.connect.level, 6);
}

/* [MQTT-3.2.2-19], [MQTT-3.2.2-20], [MQTT-3.4.2-2], [MQTT-3.14.2-3] and the like; [MQTT-3.1.2-24] */
static void test_fit(void **state) {
  uint8_t users[64], buf[128];
  size_t len = 0;
  (void)state;
  assert_int_equal(mqtt_put_user(users, sizeof users, &len, slice_str("key"), slice_str("value")), 0);
  assert_int_equal(mqtt_put_user(users, sizeof users, &len, slice_str("\xff"), slice_str("")), MACULA_EINVAL);
  assert_int_equal(mqtt_put_user(users, len + 4, &len, slice_str(""), slice_str("")), MACULA_EFULL);
  struct mqtt_packet p = {.type = MQTT_PUBACK, .id = 1, .reason = MQTT_QUOTA};
  p.props.has = MQTT_HAS(REASON_STRING) | MQTT_HAS(USER_PROPERTY);
  p.props.reason_string = slice_str("too many");
  p.props.raw = slice_of(users, len);
  assert_int_equal(mqtt_encode(&p, V5, buf, sizeof buf), 2 + 4 + 11 + 13);
  assert_int_equal(mqtt_fit(&p, V5, 30), 30);
  assert_true(p.props.has & MQTT_HAS(USER_PROPERTY));
  assert_int_equal(mqtt_fit(&p, V5, 29), 17);
  assert_true(p.props.has == MQTT_HAS(REASON_STRING));
  assert_int_equal(mqtt_fit(&p, V5, 16), 5);
  assert_int_equal(mqtt_fit(&p, V5, 4), 0);
  struct mqtt_packet m = {.type = MQTT_PUBLISH, .publish = {.topic = slice_str("a"), .payload = slice_str("12345")}};
  m.props.has = MQTT_HAS(USER_PROPERTY);
  m.props.raw = slice_of(users, len);
  assert_int_equal(mqtt_fit(&m, V5, 100), 2 + 3 + 1 + 13 + 5);
  assert_int_equal(mqtt_fit(&m, V5, 23), 0); /* what belongs to the message stays [MQTT-3.3.2-17] */
  assert_int_equal(mqtt_fit(&m, V4, 23), 2 + 3 + 5);
  assert_int_equal(mqtt_encode_head(&m, V5, buf, sizeof buf), 2 + 3 + 1 + 13);
  assert_int_equal(buf[1], 3 + 1 + 13 + 5);
}

static void test_too_long(void **state) {
  static uint8_t much[65536];
  struct mqtt_packet p = {.type = MQTT_PUBLISH};
  (void)state;
  p.publish.topic = slice_of(much, 65536);
  assert_int_equal(mqtt_encode(&p, V5, NULL, 0), 0);
  p.publish.topic = slice_of(much, 65535);
  assert_int_equal(mqtt_encode(&p, V5, NULL, 0), 1 + 3 + 2 + 65535 + 1);
  p.publish.payload = slice_of(much, MQTT_REMAINING_MAX - 65537); /* not looked at */
  assert_int_equal(mqtt_encode(&p, V4, NULL, 0), 5 + (size_t)MQTT_REMAINING_MAX);
  p.publish.payload.n++;
  assert_int_equal(mqtt_encode(&p, V4, NULL, 0), 0);
}

static void test_reasons(void **state) {
  (void)state;
  assert_string_equal(mqtt_reason_text(0x97), "Quota exceeded");
  assert_string_equal(mqtt_reason_text(0x7f), "unknown reason");
  assert_int_equal(mqtt_reason_3_1_1(MQTT_SUCCESS), 0);
  assert_int_equal(mqtt_reason_3_1_1(MQTT_BAD_VERSION), 1);
  assert_int_equal(mqtt_reason_3_1_1(MQTT_BAD_CLIENT_ID), 2);
  assert_int_equal(mqtt_reason_3_1_1(MQTT_QUOTA), 3);
  assert_int_equal(mqtt_reason_3_1_1(MQTT_BAD_USER), 4);
  assert_int_equal(mqtt_reason_3_1_1(MQTT_NOT_AUTHORIZED), 5);
  assert_int_equal(mqtt_reason_of(0), MQTT_SUCCESS);
  assert_int_equal(mqtt_reason_of(MACULA_FORBIDDEN), MQTT_NOT_AUTHORIZED);
  assert_int_equal(mqtt_reason_of(MACULA_INVALID_TOPIC), MQTT_BAD_TOPIC);
  assert_int_equal(mqtt_reason_of(MACULA_EINTERNAL), MQTT_UNSPECIFIED);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_headers), cmocka_unit_test(test_wrong),
                                     cmocka_unit_test(test_right),   cmocka_unit_test(test_values),
                                     cmocka_unit_test(test_fit),     cmocka_unit_test(test_too_long),
                                     cmocka_unit_test(test_reasons)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
