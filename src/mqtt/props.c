/* Cursors, and properties: 1.5 and 2.2.2. */
#include <stddef.h>

#include "base/err.h"
#include "base/utf8.h"
#include "mqtt/internal.h"

enum kind { NONE, BYTE, U16, U32, VARINT, STRING, BINARY, PAIR };

/* Packets that may have it: a bit for each type, bit 0 for a will. */
#define IN(type) (1u << (type))
#define WILL 1u
#define MESSAGE (IN(MQTT_PUBLISH) | WILL)
#define REASONED                                                                                                               \
  (IN(MQTT_CONNACK) | IN(MQTT_PUBACK) | IN(MQTT_PUBREC) | IN(MQTT_PUBREL) | IN(MQTT_PUBCOMP) | IN(MQTT_SUBACK) |               \
   IN(MQTT_UNSUBACK) | IN(MQTT_DISCONNECT) | IN(MQTT_AUTH))
#define BOTH_CONNECTS (IN(MQTT_CONNECT) | IN(MQTT_CONNACK))
#define AUTHS (BOTH_CONNECTS | IN(MQTT_AUTH))
#define ANY (REASONED | MESSAGE | IN(MQTT_CONNECT) | IN(MQTT_SUBSCRIBE) | IN(MQTT_UNSUBSCRIBE))
#define AT(field) offsetof(struct mqtt_props, field)

/* Table 2-4, and what 3.1 to 3.15 say of each. */
static const struct row {
  const char *name;
  enum kind kind;
  uint16_t packets;
  uint16_t at;
  uint32_t least, most; /* of numbers; most 0: any */
} rows[] = {
    [MQTT_PAYLOAD_FORMAT] = {"Payload Format Indicator", BYTE, MESSAGE, AT(payload_format), 0, 1},
    [MQTT_MESSAGE_EXPIRY] = {"Message Expiry Interval", U32, MESSAGE, AT(message_expiry), 0, 0},
    [MQTT_CONTENT_TYPE] = {"Content Type", STRING, MESSAGE, AT(content_type), 0, 0},
    [MQTT_RESPONSE_TOPIC] = {"Response Topic", STRING, MESSAGE, AT(response_topic), 0, 0},
    [MQTT_CORRELATION_DATA] = {"Correlation Data", BINARY, MESSAGE, AT(correlation_data), 0, 0},
    [MQTT_SUBSCRIPTION_ID] = {"Subscription Identifier", VARINT, IN(MQTT_PUBLISH) | IN(MQTT_SUBSCRIBE), AT(subscription_id), 1,
                              0},
    [MQTT_SESSION_EXPIRY] = {"Session Expiry Interval", U32, BOTH_CONNECTS | IN(MQTT_DISCONNECT), AT(session_expiry), 0, 0},
    [MQTT_ASSIGNED_CLIENT_ID] = {"Assigned Client Identifier", STRING, IN(MQTT_CONNACK), AT(assigned_client_id), 0, 0},
    [MQTT_SERVER_KEEP_ALIVE] = {"Server Keep Alive", U16, IN(MQTT_CONNACK), AT(server_keep_alive), 0, 0},
    [MQTT_AUTH_METHOD] = {"Authentication Method", STRING, AUTHS, AT(auth_method), 0, 0},
    [MQTT_AUTH_DATA] = {"Authentication Data", BINARY, AUTHS, AT(auth_data), 0, 0},
    [MQTT_REQUEST_PROBLEM] = {"Request Problem Information", BYTE, IN(MQTT_CONNECT), AT(request_problem), 0, 1},
    [MQTT_WILL_DELAY] = {"Will Delay Interval", U32, WILL, AT(will_delay), 0, 0},
    [MQTT_REQUEST_RESPONSE] = {"Request Response Information", BYTE, IN(MQTT_CONNECT), AT(request_response), 0, 1},
    [MQTT_RESPONSE_INFORMATION] = {"Response Information", STRING, IN(MQTT_CONNACK), AT(response_information), 0, 0},
    [MQTT_SERVER_REFERENCE] = {"Server Reference", STRING, IN(MQTT_CONNACK) | IN(MQTT_DISCONNECT), AT(server_reference), 0, 0},
    [MQTT_REASON_STRING] = {"Reason String", STRING, REASONED, AT(reason_string), 0, 0},
    [MQTT_RECEIVE_MAXIMUM] = {"Receive Maximum", U16, BOTH_CONNECTS, AT(receive_maximum), 1, 0},
    [MQTT_TOPIC_ALIAS_MAXIMUM] = {"Topic Alias Maximum", U16, BOTH_CONNECTS, AT(topic_alias_maximum), 0, 0},
    [MQTT_TOPIC_ALIAS] = {"Topic Alias", U16, IN(MQTT_PUBLISH), AT(topic_alias), 1, 0},
    [MQTT_MAXIMUM_QOS] = {"Maximum QoS", BYTE, IN(MQTT_CONNACK), AT(maximum_qos), 0, 1},
    [MQTT_RETAIN_AVAILABLE] = {"Retain Available", BYTE, IN(MQTT_CONNACK), AT(retain_available), 0, 1},
    [MQTT_USER_PROPERTY] = {"User Property", PAIR, ANY, 0, 0, 0},
    [MQTT_MAXIMUM_PACKET_SIZE] = {"Maximum Packet Size", U32, BOTH_CONNECTS, AT(maximum_packet_size), 1, 0},
    [MQTT_WILDCARD_AVAILABLE] = {"Wildcard Subscription Available", BYTE, IN(MQTT_CONNACK), AT(wildcard_available), 0, 1},
    [MQTT_SUBSCRIPTION_ID_AVAILABLE] = {"Subscription Identifier Available", BYTE, IN(MQTT_CONNACK),
                                        AT(subscription_id_available), 0, 1},
    [MQTT_SHARED_AVAILABLE] = {"Shared Subscription Available", BYTE, IN(MQTT_CONNACK), AT(shared_available), 0, 1},
};
#define ROWS (sizeof rows / sizeof rows[0])

void mqtt_in_fail(struct mqtt_in *in, enum mqtt_reason reason, const char *what, const char *text) {
  if (in->bad) return;
  in->bad = true;
  in->fault = (struct mqtt_fault){reason, what, text};
  in->p = in->end;
}

static const uint8_t *take(struct mqtt_in *in, size_t n, const char *what) {
  if (mqtt_left(in) < n) {
    mqtt_in_fail(in, MQTT_MALFORMED, what, "the packet ends within it");
    return NULL;
  }
  in->p += n;
  return in->p - n;
}

uint8_t mqtt_in_byte(struct mqtt_in *in, const char *what) {
  const uint8_t *p = take(in, 1, what);
  return p ? p[0] : 0;
}
uint16_t mqtt_in_u16(struct mqtt_in *in, const char *what) {
  const uint8_t *p = take(in, 2, what);
  return p ? (uint16_t)(p[0] << 8 | p[1]) : 0;
}
uint32_t mqtt_in_u32(struct mqtt_in *in, const char *what) {
  uint32_t high = mqtt_in_u16(in, what);
  return high << 16 | mqtt_in_u16(in, what);
}

uint32_t mqtt_in_varint(struct mqtt_in *in, const char *what) {
  uint32_t v = 0;
  for (unsigned i = 0; i < 4; i++) {
    uint8_t b = mqtt_in_byte(in, what);
    v |= (uint32_t)(b & 0x7f) << 7 * i;
    if (b & 0x80) continue;
    if (i && !b) mqtt_in_fail(in, MQTT_MALFORMED, what, "is a variable byte integer of more bytes than it needs");
    return in->bad ? 0 : v;
  }
  mqtt_in_fail(in, MQTT_MALFORMED, what, "is a variable byte integer of more than 4 bytes");
  return 0;
}

struct slice mqtt_in_binary(struct mqtt_in *in, const char *what) {
  size_t n = mqtt_in_u16(in, what);
  const uint8_t *p = take(in, n, what);
  return p ? slice_of(p, n) : SLICE_NONE;
}

bool mqtt_is_text(struct slice s) {
  for (size_t i = 0, len; i < s.n; i += len) {
    len = utf8_len(s.p + i, s.n - i);
    if (!len || !s.p[i]) return false;
  }
  return true;
}

struct slice mqtt_in_string(struct mqtt_in *in, const char *what) {
  struct slice s = mqtt_in_binary(in, what);
  if (in->bad || mqtt_is_text(s)) return s;
  mqtt_in_fail(in, MQTT_MALFORMED, what, memchr(s.p, 0, s.n) ? "holds a zero character" : "is no UTF-8");
  return SLICE_NONE;
}

static uint32_t number(struct mqtt_in *in, const struct row *row) {
  switch (row->kind) {
  case BYTE:
    return mqtt_in_byte(in, row->name);
  case U16:
    return mqtt_in_u16(in, row->name);
  case U32:
    return mqtt_in_u32(in, row->name);
  case VARINT:
  case NONE:
  case STRING:
  case BINARY:
  case PAIR:
    break;
  }
  return mqtt_in_varint(in, row->name);
}

static void store(struct mqtt_props *props, const struct row *row, uint32_t v) {
  void *at = (char *)props + row->at;
  if (row->kind == BYTE)
    *(uint8_t *)at = (uint8_t)v;
  else if (row->kind == U16)
    *(uint16_t *)at = (uint16_t)v;
  else
    *(uint32_t *)at = v;
}

static void value(struct mqtt_in *in, const struct row *row, bool again, struct mqtt_props *props) {
  if (row->kind == PAIR) {
    (void)mqtt_in_string(in, row->name);
    (void)mqtt_in_string(in, row->name);
  } else if (row->kind == STRING || row->kind == BINARY) {
    struct slice s = row->kind == STRING ? mqtt_in_string(in, row->name) : mqtt_in_binary(in, row->name);
    *(struct slice *)(void *)((char *)props + row->at) = s;
  } else {
    uint32_t v = number(in, row);
    if (in->bad) return;
    if (v < row->least) mqtt_in_fail(in, row->at == AT(topic_alias) ? MQTT_BAD_ALIAS : MQTT_PROTOCOL_ERROR, row->name, "is 0");
    if (row->most && v > row->most) mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, row->name, "is neither 0 nor 1");
    if (!again) store(props, row, v);
  }
}

/* What the row does not say: which side may send it, and what belongs together. */
static void sides(struct mqtt_in *in, enum mqtt_type type, enum mqtt_sender from, const struct mqtt_props *props) {
  if (type == MQTT_PUBLISH && from == MQTT_FROM_CLIENT && props->has & MQTT_HAS(SUBSCRIPTION_ID)) /* [MQTT-3.3.4-6] */
    mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, "Subscription Identifier", "is not for the PUBLISH of a client");
  if (type == MQTT_DISCONNECT && from == MQTT_FROM_SERVER && props->has & MQTT_HAS(SESSION_EXPIRY)) /* [MQTT-3.14.2-2] */
    mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, "Session Expiry Interval", "is not for the DISCONNECT of a server");
  if (type == MQTT_DISCONNECT && from == MQTT_FROM_CLIENT && props->has & MQTT_HAS(SERVER_REFERENCE)) /* 3.14.2.2.5 */
    mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, "Server Reference", "is not for the DISCONNECT of a client");
  if (props->has & MQTT_HAS(AUTH_DATA) && !(props->has & MQTT_HAS(AUTH_METHOD))) /* 3.1.2.11.10 */
    mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, "Authentication Data", "is there without an Authentication Method");
  if (props->has & MQTT_HAS(RESPONSE_TOPIC)) { /* [MQTT-3.3.2-14] */
    struct slice t = props->response_topic;
    if (!t.n || memchr(t.p, '+', t.n) || memchr(t.p, '#', t.n))
      mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, "Response Topic", "is empty or holds a wildcard");
  }
}

void mqtt_in_props(struct mqtt_in *in, enum mqtt_type type, enum mqtt_sender from, struct mqtt_props *ret_props) {
  const uint8_t *end = in->end;
  size_t n = mqtt_in_varint(in, "Property Length");
  if (in->bad) return;
  if (n > mqtt_left(in)) {
    mqtt_in_fail(in, MQTT_MALFORMED, "Property Length", "is more than the packet has left");
    return;
  }
  in->end = in->p + n;
  mqtt_in_block(in, type, ret_props);
  if (in->bad) return;
  in->end = end;
  sides(in, type, from, ret_props);
}

void mqtt_in_block(struct mqtt_in *in, enum mqtt_type type, struct mqtt_props *ret_props) {
  ret_props->raw = slice_of(in->p, mqtt_left(in));
  while (mqtt_left(in)) {
    uint32_t id = mqtt_in_varint(in, "property");
    const struct row *row = id < ROWS && rows[id].kind ? &rows[id] : NULL;
    if (in->bad) break;
    if (!row) {
      mqtt_in_fail(in, MQTT_MALFORMED, "property", "has an identifier that is none");
    } else if (!(row->packets >> type & 1)) {
      mqtt_in_fail(in, MQTT_MALFORMED, row->name, "does not belong to this type of packet"); /* 2.2.2.2 */
    } else {
      bool again = ret_props->has >> id & 1;
      if (again && row->kind != PAIR && !(id == MQTT_SUBSCRIPTION_ID && type == MQTT_PUBLISH))
        mqtt_in_fail(in, MQTT_PROTOCOL_ERROR, row->name, "is there twice");
      ret_props->has |= UINT64_C(1) << id;
      value(in, row, again, ret_props);
    }
  }
}

/* The next property of an encoded block that was seen whole; false at its end. */
static bool next(struct mqtt_in *in, uint32_t *ret_id, struct mqtt_props *props) {
  if (!mqtt_left(in)) return false;
  *ret_id = mqtt_in_varint(in, NULL);
  if (in->bad || *ret_id >= ROWS || !rows[*ret_id].kind) return false;
  const struct row *row = &rows[*ret_id];
  if (row->kind == PAIR) {
    props->content_type = mqtt_in_binary(in, NULL);
    props->response_topic = mqtt_in_binary(in, NULL);
  } else if (row->kind == STRING || row->kind == BINARY) {
    (void)mqtt_in_binary(in, NULL);
  } else {
    store(props, row, number(in, row));
  }
  return !in->bad;
}

static bool find(struct slice *raw, uint32_t id, struct mqtt_props *props) {
  struct mqtt_in in = {.p = raw->p, .end = raw->p + raw->n};
  uint32_t seen;
  while (next(&in, &seen, props)) {
    if (seen != id) continue;
    *raw = slice_of(in.p, mqtt_left(&in));
    return true;
  }
  *raw = SLICE_NONE;
  return false;
}

bool mqtt_next_user(struct slice *raw, struct slice *ret_name, struct slice *ret_value) {
  struct mqtt_props props;
  if (!raw->n || !find(raw, MQTT_USER_PROPERTY, &props)) return false;
  *ret_name = props.content_type;
  *ret_value = props.response_topic;
  return true;
}

bool mqtt_next_subscription_id(struct slice *raw, uint32_t *ret_id) {
  struct mqtt_props props;
  if (!raw->n || !find(raw, MQTT_SUBSCRIPTION_ID, &props)) return false;
  *ret_id = props.subscription_id;
  return true;
}

int mqtt_put_user(uint8_t *buf, size_t cap, size_t *len, struct slice name, struct slice val) {
  if (name.n > MQTT_STRING_MAX || val.n > MQTT_STRING_MAX || !mqtt_is_text(name) || !mqtt_is_text(val)) return MACULA_EINVAL;
  if (*len + 5 + name.n + val.n > cap) return MACULA_EFULL;
  struct mqtt_out out = {.p = buf, .n = *len};
  mqtt_out_byte(&out, MQTT_USER_PROPERTY);
  mqtt_out_string(&out, name);
  mqtt_out_string(&out, val);
  *len = out.n;
  return 0;
}

int mqtt_put_subscription_id(uint8_t *buf, size_t cap, size_t *len, uint32_t id) {
  struct mqtt_out count = {.p = NULL};
  if (!id || id > MQTT_REMAINING_MAX) return MACULA_EINVAL;
  mqtt_out_varint(&count, id);
  if (*len + 1 + count.n > cap) return MACULA_EFULL;
  struct mqtt_out out = {.p = buf, .n = *len};
  mqtt_out_byte(&out, MQTT_SUBSCRIPTION_ID);
  mqtt_out_varint(&out, id);
  *len = out.n;
  return 0;
}

void mqtt_out_raw(struct mqtt_out *out, struct slice s) {
  if (out->sink && out->n + s.n > out->cap) {
    out->sink(out->ctx, slice_of(out->p, out->n));
    out->n = 0;
    if (s.n > out->cap) {
      out->sink(out->ctx, s);
      return;
    }
  }
  if (out->p && s.n) memcpy(out->p + out->n, s.p, s.n);
  out->n += s.n;
}
void mqtt_out_byte(struct mqtt_out *out, uint8_t v) { mqtt_out_raw(out, slice_of(&v, 1)); }
void mqtt_out_u16(struct mqtt_out *out, uint16_t v) {
  mqtt_out_byte(out, (uint8_t)(v >> 8));
  mqtt_out_byte(out, (uint8_t)v);
}
void mqtt_out_u32(struct mqtt_out *out, uint32_t v) {
  mqtt_out_u16(out, (uint16_t)(v >> 16));
  mqtt_out_u16(out, (uint16_t)v);
}
void mqtt_out_varint(struct mqtt_out *out, size_t v) {
  if (v > MQTT_REMAINING_MAX) out->bad = true;
  for (unsigned i = 0; i < 4; i++) {
    mqtt_out_byte(out, (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0)));
    v >>= 7;
    if (!v) break;
  }
}
void mqtt_out_string(struct mqtt_out *out, struct slice s) {
  if (s.n > MQTT_STRING_MAX) out->bad = true;
  mqtt_out_u16(out, (uint16_t)s.n);
  mqtt_out_raw(out, s);
}

static void put_one(struct mqtt_out *out, uint32_t id, const struct mqtt_props *props) {
  const struct row *row = &rows[id];
  const void *at = (const char *)props + row->at;
  mqtt_out_byte(out, (uint8_t)id);
  switch (row->kind) {
  case BYTE:
    mqtt_out_byte(out, *(const uint8_t *)at);
    break;
  case U16:
    mqtt_out_u16(out, *(const uint16_t *)at);
    break;
  case U32:
    mqtt_out_u32(out, *(const uint32_t *)at);
    break;
  case VARINT:
    mqtt_out_varint(out, *(const uint32_t *)at);
    break;
  case STRING:
  case BINARY:
    mqtt_out_string(out, *(const struct slice *)at);
    break;
  case NONE:
  case PAIR:
    break;
  }
}

void mqtt_out_block(struct mqtt_out *out, enum mqtt_type type, const struct mqtt_props *props) {
  struct slice raw = props->raw, name, val;
  uint32_t id;
  for (id = 1; id < ROWS; id++) {
    bool listed = id == MQTT_SUBSCRIPTION_ID && type == MQTT_PUBLISH && props->raw.n;
    if (props->has >> id & 1 && rows[id].kind != PAIR && rows[id].packets >> type & 1 && !listed) put_one(out, id, props);
  }
  if (props->has & MQTT_HAS(USER_PROPERTY))
    while (mqtt_next_user(&raw, &name, &val)) {
      mqtt_out_byte(out, MQTT_USER_PROPERTY);
      mqtt_out_string(out, name);
      mqtt_out_string(out, val);
    }
  raw = props->raw;
  if (type == MQTT_PUBLISH && props->has & MQTT_HAS(SUBSCRIPTION_ID))
    while (mqtt_next_subscription_id(&raw, &id)) {
      mqtt_out_byte(out, MQTT_SUBSCRIPTION_ID);
      mqtt_out_varint(out, id);
    }
}

void mqtt_out_props(struct mqtt_out *out, enum mqtt_type type, const struct mqtt_props *props) {
  struct mqtt_out count = {.p = NULL};
  mqtt_out_block(&count, type, props);
  mqtt_out_varint(out, count.n);
  mqtt_out_block(out, type, props);
  out->bad |= count.bad;
}
