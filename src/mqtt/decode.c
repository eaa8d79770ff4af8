/* From bytes to packets. */
#include <stdio.h>

#include "base/err.h"
#include "mqtt/internal.h"

const char *mqtt_type_name(enum mqtt_type type) {
  static const char *const names[] = {"reserved", "CONNECT",  "CONNACK",    "PUBLISH", "PUBACK",      "PUBREC",
                                      "PUBREL",   "PUBCOMP",  "SUBSCRIBE",  "SUBACK",  "UNSUBSCRIBE", "UNSUBACK",
                                      "PINGREQ",  "PINGRESP", "DISCONNECT", "AUTH"};
  return (unsigned)type < sizeof names / sizeof names[0] ? names[type] : names[0];
}

const char *mqtt_fault_text(const struct mqtt_fault *fault, char ret_text[MQTT_FAULT_LEN]) {
  snprintf(ret_text, MQTT_FAULT_LEN, "%s%s%s", fault->what ? fault->what : "", fault->what ? ": " : "", fault->text);
  return ret_text;
}

static int fault(struct mqtt_fault *ret, enum mqtt_reason reason, const char *what, const char *text) {
  *ret = (struct mqtt_fault){reason, what, text};
  return reason == MQTT_TOO_LARGE ? MACULA_FRAME_TOO_LARGE : MACULA_BAD_FRAME;
}

int mqtt_frame(struct slice in, uint32_t max, size_t *ret_size, struct mqtt_fault *ret_fault) {
  *ret_size = 0;
  if (!in.n) return 0;
  unsigned type = in.p[0] >> 4, flags = in.p[0] & 15;
  if (!type) return fault(ret_fault, MQTT_MALFORMED, "fixed header", "type 0 is no packet");
  /* Table 2-2, [MQTT-2.1.3-1]; a PUBLISH has flags of its own */
  bool second = type == MQTT_PUBREL || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE;
  if (type != MQTT_PUBLISH && flags != (second ? 2u : 0u))
    return fault(ret_fault, MQTT_MALFORMED, mqtt_type_name((enum mqtt_type)type), "has flags that are reserved");
  if (type == MQTT_PUBLISH && (flags & 6) == 6) /* [MQTT-3.3.1-4] */
    return fault(ret_fault, MQTT_MALFORMED, "PUBLISH", "has QoS 3");
  if (type == MQTT_PUBLISH && (flags & 14) == 8) /* [MQTT-3.3.1-2] */
    return fault(ret_fault, MQTT_MALFORMED, "PUBLISH", "has DUP with QoS 0");
  uint32_t remaining = 0;
  for (unsigned i = 1; i <= 4; i++) {
    if (i >= in.n) return 0;
    remaining |= (uint32_t)(in.p[i] & 0x7f) << 7 * (i - 1);
    if (in.p[i] & 0x80) continue;
    if (i > 1 && !in.p[i]) return fault(ret_fault, MQTT_MALFORMED, "Remaining Length", "has more bytes than it needs");
    size_t size = 1 + i + remaining;
    if (size > max) return fault(ret_fault, MQTT_TOO_LARGE, NULL, "the packet is larger than the maximum packet size");
    *ret_size = size;
    return in.n >= size;
  }
  return fault(ret_fault, MQTT_MALFORMED, "Remaining Length", "has more than 4 bytes");
}

static void connect_flags(struct mqtt_in *in, uint8_t flags, struct mqtt_connect *c) {
  c->clean_start = flags & 2;
  c->has_will = flags & 4;
  c->will_qos = flags >> 3 & 3;
  c->will_retain = flags & 0x20;
  c->has_password = flags & 0x40;
  c->has_user = flags & 0x80;
  if (flags & 1) mqtt_in_fail(in, MQTT_MALFORMED, "Connect Flags", "the reserved one is set"); /* [MQTT-3.1.2-3] */
  if (c->will_qos == 3) mqtt_in_fail(in, MQTT_MALFORMED, "Connect Flags", "Will QoS is 3");    /* [MQTT-3.1.2-12] */
  if (!c->has_will && (c->will_qos || c->will_retain)) /* [MQTT-3.1.2-11], [MQTT-3.1.2-13] */
    mqtt_in_fail(in, MQTT_MALFORMED, "Connect Flags", "Will QoS or Will Retain is set without a will");
  if (c->level == MQTT_3_1_1 && c->has_password && !c->has_user) /* 3.1.1, [MQTT-3.1.2-22] */
    mqtt_in_fail(in, MQTT_MALFORMED, "Connect Flags", "a password without a user name");
}

static void connect(struct mqtt_in *in, enum mqtt_sender from, struct mqtt_packet *p) {
  struct mqtt_connect *c = &p->connect;
  struct slice name = mqtt_in_string(in, "Protocol Name");
  unsigned level = mqtt_in_byte(in, "Protocol Version");
  if (in->bad) return;
  if (slice_is(name, "MQTT") || slice_is(name, "MQIsdp")) c->level = (enum mqtt_level)level;
  if (!slice_is(name, "MQTT")) /* [MQTT-3.1.2-1]; MQIsdp is that of 3.1 */
    mqtt_in_fail(in, MQTT_BAD_VERSION, "Protocol Name", "is not MQTT; 3.1.1 and 5 are spoken");
  else if (level != MQTT_3_1_1 && level != MQTT_5) /* [MQTT-3.1.2-2] */
    mqtt_in_fail(in, MQTT_BAD_VERSION, "Protocol Version", "is neither 4 (3.1.1) nor 5");
  connect_flags(in, mqtt_in_byte(in, "Connect Flags"), c);
  c->keep_alive = mqtt_in_u16(in, "Keep Alive");
  bool v5 = c->level == MQTT_5;
  if (v5) mqtt_in_props(in, MQTT_CONNECT, from, &p->props);
  c->client_id = mqtt_in_string(in, "Client Identifier"); /* [MQTT-3.1.3-3] */
  if (c->has_will) {
    if (v5) mqtt_in_props(in, (enum mqtt_type)0, from, &c->will);
    c->will_topic = mqtt_in_string(in, "Will Topic");
    c->will_payload = mqtt_in_binary(in, "Will Payload");
  }
  if (c->has_user) c->user = mqtt_in_string(in, "User Name");
  if (c->has_password) c->password = mqtt_in_binary(in, "Password");
}

static void reason(struct mqtt_in *in, enum mqtt_sender from, struct mqtt_packet *p) {
  p->reason = mqtt_in_byte(in, "Reason Code");
  if (!in->bad && !mqtt_reason_fits(p->reason, p->type, from == MQTT_FROM_CLIENT))
    mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, "Reason Code", "is none that this packet may have");
}

static void connack(struct mqtt_in *in, enum mqtt_level level, enum mqtt_sender from, struct mqtt_packet *p) {
  uint8_t flags = mqtt_in_byte(in, "Connect Acknowledge Flags");
  if (flags & 0xfe) mqtt_in_fail(in, MQTT_MALFORMED, "Connect Acknowledge Flags", "reserved ones are set"); /* [MQTT-3.2.2-1] */
  p->session_present = flags & 1;
  if (level == MQTT_5) {
    reason(in, from, p);
    mqtt_in_props(in, MQTT_CONNACK, from, &p->props);
  } else {
    p->reason = mqtt_in_byte(in, "return code");
    if (p->reason > 5) mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, "return code", "is more than 5");
  }
  if (p->reason && p->session_present) /* [MQTT-3.2.2-6] */
    mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, "Session Present", "is set beside an error");
}

/* [MQTT-2.2.1-3], [MQTT-2.2.1-4] */
static void identifier(struct mqtt_in *in, struct mqtt_packet *p) {
  p->id = mqtt_in_u16(in, "Packet Identifier");
  if (!p->id) mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, "Packet Identifier", "is 0");
}

static void publish(struct mqtt_in *in, uint8_t flags, enum mqtt_level level, enum mqtt_sender from, struct mqtt_packet *p) {
  struct mqtt_publish *m = &p->publish;
  m->retain = flags & 1;
  m->qos = flags >> 1 & 3;
  m->dup = flags & 8;
  m->topic = mqtt_in_string(in, "Topic Name"); /* [MQTT-3.3.2-1] */
  if (m->qos) identifier(in, p);               /* [MQTT-2.2.1-2] */
  if (level == MQTT_5) mqtt_in_props(in, MQTT_PUBLISH, from, &p->props);
  if (m->topic.n && (memchr(m->topic.p, '+', m->topic.n) || memchr(m->topic.p, '#', m->topic.n))) /* [MQTT-3.3.2-2] */
    mqtt_in_fail(in, MQTT_BAD_TOPIC, "Topic Name", "holds a wildcard");
  if (!m->topic.n && !(p->props.has & MQTT_HAS(TOPIC_ALIAS))) /* [MQTT-4.7.3-1], 3.3.2.1 */
    mqtt_in_fail(in, level == MQTT_5 ? MQTT_PROTOCOL_ERROR : MQTT_BAD_TOPIC, "Topic Name",
                 "is empty, and no alias stands for it");
  m->payload = slice_of(in->p, mqtt_left(in));
  in->p = in->end;
}

/* PUBACK to PUBCOMP, DISCONNECT, AUTH: what is not there is 0. */
static void ending(struct mqtt_in *in, enum mqtt_level level, enum mqtt_sender from, struct mqtt_packet *p) {
  if (level != MQTT_5 || !mqtt_left(in)) return;
  reason(in, from, p);
  if (!in->bad && mqtt_left(in)) mqtt_in_props(in, p->type, from, &p->props);
}

static void auth(struct mqtt_in *in, enum mqtt_level level, enum mqtt_sender from, struct mqtt_packet *p) {
  if (level != MQTT_5) {
    mqtt_in_fail(in, MQTT_MALFORMED, "AUTH", "is no packet of 3.1.1");
    return;
  }
  if (!mqtt_left(in) && from == MQTT_FROM_CLIENT) /* Success is for servers to say */
    mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, "Reason Code", "is none that this packet may have");
  ending(in, level, from, p);
  if (mqtt_left(in) == 0 && p->reason && !(p->props.has & MQTT_HAS(AUTH_METHOD))) /* 3.15.2.2.2 */
    mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, "AUTH", "has no Authentication Method");
}

static void one_filter(struct mqtt_in *in, enum mqtt_type type, struct mqtt_filter *f) {
  f->text = mqtt_in_string(in, "Topic Filter"); /* [MQTT-3.8.3-1], [MQTT-3.10.3-1] */
  if (type != MQTT_SUBSCRIBE) return;
  uint8_t options = mqtt_in_byte(in, "Subscription Options");
  f->qos = options & 3;
  f->no_local = options & 4;
  f->retain_as_published = options & 8;
  f->retain_handling = options >> 4 & 3;
  if (options & 0xc0) mqtt_in_fail(in, MQTT_MALFORMED, "Subscription Options", "reserved ones are set"); /* [MQTT-3.8.3-5] */
}

static void filters(struct mqtt_in *in, enum mqtt_level level, enum mqtt_sender from, struct mqtt_packet *p) {
  identifier(in, p);
  if (level == MQTT_5) mqtt_in_props(in, p->type, from, &p->props);
  p->list.raw = slice_of(in->p, mqtt_left(in));
  if (!in->bad && !mqtt_left(in)) /* [MQTT-3.8.3-2], [MQTT-3.10.3-2] */
    mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, "Topic Filter", "there is none");
  while (mqtt_left(in)) {
    struct mqtt_filter f = {.qos = 0};
    one_filter(in, p->type, &f);
    if (level == MQTT_3_1_1 && (f.no_local || f.retain_as_published || f.retain_handling)) /* 3.1.1, [MQTT-3.8.3-4] */
      mqtt_in_fail(in, MQTT_MALFORMED, "Requested QoS", "reserved bits are set");
    if (f.qos == 3) mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, "Subscription Options", "QoS is 3"); /* 3.8.3.1 */
    if (f.retain_handling == 3) mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, "Subscription Options", "Retain Handling is 3");
    if (!f.text.n) mqtt_in_fail(in, MQTT_MALFORMED, "Topic Filter", "is empty"); /* [MQTT-4.7.3-1] */
    if (f.no_local && f.text.n >= 7 && !memcmp(f.text.p, "$share/", 7))          /* [MQTT-3.8.3-4] */
      mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, "Subscription Options", "No Local with a shared subscription");
    p->list.count++;
  }
}

static void codes(struct mqtt_in *in, enum mqtt_level level, enum mqtt_sender from, struct mqtt_packet *p) {
  identifier(in, p);
  if (level == MQTT_5) mqtt_in_props(in, p->type, from, &p->props);
  p->list.raw = slice_of(in->p, mqtt_left(in));
  p->list.count = (uint32_t)mqtt_left(in);
  bool none = level == MQTT_3_1_1 && p->type == MQTT_UNSUBACK;
  if (!in->bad && none == (p->list.count != 0))
    mqtt_in_fail(in, MQTT_MALFORMED, mqtt_type_name(p->type), none ? "has a payload" : "has no reason codes");
  while (mqtt_left(in)) {
    uint8_t code = mqtt_in_byte(in, NULL);
    bool fits =
        level == MQTT_5 ? mqtt_reason_fits(code, p->type, false) : code <= 2 || code == 0x80; /* 3.1.1, [MQTT-3.9.3-2] */
    if (!fits) mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, "Reason Code", "is none that this packet may have");
  }
}

static void body(struct mqtt_in *in, uint8_t flags, enum mqtt_level level, enum mqtt_sender from, struct mqtt_packet *p) {
  switch (p->type) {
  case MQTT_CONNECT:
    connect(in, from, p);
    break;
  case MQTT_CONNACK:
    connack(in, level, from, p);
    break;
  case MQTT_PUBLISH:
    publish(in, flags, level, from, p);
    break;
  case MQTT_PUBACK:
  case MQTT_PUBREC:
  case MQTT_PUBREL:
  case MQTT_PUBCOMP:
    identifier(in, p);
    ending(in, level, from, p);
    break;
  case MQTT_SUBSCRIBE:
  case MQTT_UNSUBSCRIBE:
    filters(in, level, from, p);
    break;
  case MQTT_SUBACK:
  case MQTT_UNSUBACK:
    codes(in, level, from, p);
    break;
  case MQTT_DISCONNECT:
    ending(in, level, from, p);
    break;
  case MQTT_AUTH:
    auth(in, level, from, p);
    break;
  case MQTT_PINGREQ:
  case MQTT_PINGRESP:
    break;
  }
  if (mqtt_left(in)) mqtt_in_fail(in, MQTT_MALFORMED, mqtt_type_name(p->type), "is longer than what it holds");
}

/* Table 2-1. */
static const char *wrong_side(enum mqtt_type type, enum mqtt_level level, enum mqtt_sender from) {
  static const uint16_t of_server = 1u << MQTT_CONNACK | 1u << MQTT_SUBACK | 1u << MQTT_UNSUBACK | 1u << MQTT_PINGRESP;
  static const uint16_t of_client = 1u << MQTT_CONNECT | 1u << MQTT_SUBSCRIBE | 1u << MQTT_UNSUBSCRIBE | 1u << MQTT_PINGREQ;
  if (from == MQTT_FROM_CLIENT && of_server >> type & 1) return "is a packet of servers";
  if (from == MQTT_FROM_SERVER && (of_client >> type & 1 || (level == MQTT_3_1_1 && type == MQTT_DISCONNECT)))
    return "is a packet of clients";
  return NULL;
}

int mqtt_decode(struct slice packet, enum mqtt_level level, enum mqtt_sender from, struct mqtt_packet *ret_packet,
                struct mqtt_fault *ret_fault) {
  size_t size;
  memset(ret_packet, 0, sizeof *ret_packet);
  int whole = mqtt_frame(packet, UINT32_MAX, &size, ret_fault);
  if (whole < 0) return whole;
  if (whole == 0 || size != packet.n) return fault(ret_fault, MQTT_MALFORMED, NULL, "not one whole packet");
  ret_packet->type = (enum mqtt_type)(packet.p[0] >> 4);
  const char *wrong = wrong_side(ret_packet->type, level, from);
  if (wrong) return fault(ret_fault, MQTT_PROTOCOL_ERROR, mqtt_type_name(ret_packet->type), wrong);
  size_t header = 2;
  while (packet.p[header - 1] & 0x80) header++;
  struct mqtt_in in = {.p = packet.p + header, .end = packet.p + packet.n};
  body(&in, packet.p[0] & 15, level, from, ret_packet);
  if (!in.bad) return 0;
  *ret_fault = in.fault;
  return MACULA_BAD_FRAME;
}

bool mqtt_next_filter(struct slice *raw, enum mqtt_type type, struct mqtt_filter *ret_filter) {
  struct mqtt_in in = {.p = raw->p, .end = raw->p + raw->n};
  if (!raw->n) return false;
  *ret_filter = (struct mqtt_filter){.qos = 0};
  one_filter(&in, type, ret_filter);
  *raw = slice_of(in.p, mqtt_left(&in));
  return !in.bad;
}
