/* From packets to bytes. */
#include "base/err.h"
#include "mqtt/internal.h"

static void connect(struct mqtt_out *out, const struct mqtt_packet *p) {
  const struct mqtt_connect *c = &p->connect;
  bool v5 = c->level == MQTT_5;
  uint8_t flags = (uint8_t)(c->has_user << 7 | c->has_password << 6 | c->clean_start << 1);
  if (c->has_will) flags |= (uint8_t)(c->will_retain << 5 | c->will_qos << 3 | 4);
  mqtt_out_string(out, slice_str("MQTT"));
  mqtt_out_byte(out, (uint8_t)c->level);
  mqtt_out_byte(out, flags);
  mqtt_out_u16(out, c->keep_alive);
  if (v5) mqtt_out_props(out, MQTT_CONNECT, &p->props);
  mqtt_out_string(out, c->client_id);
  if (c->has_will) {
    if (v5) mqtt_out_props(out, (enum mqtt_type)0, &c->will);
    mqtt_out_string(out, c->will_topic);
    mqtt_out_string(out, c->will_payload);
  }
  if (c->has_user) mqtt_out_string(out, c->user);
  if (c->has_password) mqtt_out_string(out, c->password);
}

/* PUBACK to PUBCOMP, DISCONNECT, AUTH: what says nothing is left out (3.4.2.1, 3.4.2.2.1, 3.14.2.1, 3.15.2.1). */
static void ending(struct mqtt_out *out, enum mqtt_level level, const struct mqtt_packet *p) {
  if (level != MQTT_5 || (!p->reason && !p->props.has)) return;
  mqtt_out_byte(out, p->reason);
  if (p->props.has || p->type == MQTT_AUTH) mqtt_out_props(out, p->type, &p->props);
}

static void body(struct mqtt_out *out, enum mqtt_level level, const struct mqtt_packet *p) {
  bool v5 = level == MQTT_5;
  switch (p->type) {
  case MQTT_CONNECT:
    connect(out, p);
    break;
  case MQTT_CONNACK:
    mqtt_out_byte(out, p->session_present);
    mqtt_out_byte(out, p->reason);
    if (v5) mqtt_out_props(out, p->type, &p->props);
    break;
  case MQTT_PUBLISH:
    mqtt_out_string(out, p->publish.topic);
    if (p->publish.qos) mqtt_out_u16(out, p->id);
    if (v5) mqtt_out_props(out, p->type, &p->props);
    break;
  case MQTT_SUBSCRIBE:
  case MQTT_UNSUBSCRIBE:
  case MQTT_SUBACK:
  case MQTT_UNSUBACK:
    mqtt_out_u16(out, p->id);
    if (v5) mqtt_out_props(out, p->type, &p->props);
    if (v5 || p->type != MQTT_UNSUBACK) mqtt_out_raw(out, p->list.raw);
    break;
  case MQTT_PUBACK:
  case MQTT_PUBREC:
  case MQTT_PUBREL:
  case MQTT_PUBCOMP:
    mqtt_out_u16(out, p->id);
    ending(out, level, p);
    break;
  case MQTT_DISCONNECT:
  case MQTT_AUTH:
    ending(out, level, p);
    break;
  case MQTT_PINGREQ:
  case MQTT_PINGRESP:
    break;
  }
}

static uint8_t first_byte(const struct mqtt_packet *p) {
  uint8_t type = (uint8_t)(p->type << 4);
  if (p->type == MQTT_PUBLISH) return (uint8_t)(type | p->publish.dup << 3 | p->publish.qos << 1 | p->publish.retain);
  return p->type == MQTT_PUBREL || p->type == MQTT_SUBSCRIBE || p->type == MQTT_UNSUBSCRIBE ? type | 2 : type;
}

/* Bytes of the body; *ret_size: of the packet without the payload of a PUBLISH. 0: it cannot be encoded. */
static size_t sizes(const struct mqtt_packet *p, enum mqtt_level level, size_t *ret_size) {
  size_t payload = p->type == MQTT_PUBLISH ? p->publish.payload.n : 0;
  struct mqtt_out count = {.p = NULL}, header = {.p = NULL};
  body(&count, level, p);
  mqtt_out_varint(&header, count.n + payload);
  *ret_size = count.bad || header.bad ? 0 : 1 + header.n + count.n;
  return count.n + payload;
}

void mqtt_out_packet(struct mqtt_out *out, const struct mqtt_packet *p, enum mqtt_level level) {
  size_t size, remaining = sizes(p, level, &size);
  mqtt_out_byte(out, first_byte(p));
  mqtt_out_varint(out, remaining);
  body(out, level, p);
}

size_t mqtt_encode_head(const struct mqtt_packet *p, enum mqtt_level level, uint8_t *buf, size_t cap) {
  size_t size;
  (void)sizes(p, level, &size);
  struct mqtt_out out = {.p = buf};
  if (size && size <= cap) mqtt_out_packet(&out, p, level);
  return size;
}

size_t mqtt_encode(const struct mqtt_packet *p, enum mqtt_level level, uint8_t *buf, size_t cap) {
  struct slice payload = p->type == MQTT_PUBLISH ? p->publish.payload : SLICE_NONE;
  size_t head = mqtt_encode_head(p, level, NULL, 0), size = head + payload.n;
  if (!head || size > cap) return head ? size : 0;
  (void)mqtt_encode_head(p, level, buf, head);
  if (payload.n) memcpy(buf + head, payload.p, payload.n);
  return size;
}

size_t mqtt_fit(struct mqtt_packet *p, enum mqtt_level level, uint32_t max) {
  size_t size = mqtt_encode(p, level, NULL, 0);
  for (int i = 0; size > max && p->type != MQTT_PUBLISH && i < 2; i++) {
    p->props.has &= ~(i ? MQTT_HAS(REASON_STRING) : MQTT_HAS(USER_PROPERTY));
    size = mqtt_encode(p, level, NULL, 0);
  }
  return size <= max ? size : 0;
}

int mqtt_put_filter(uint8_t *buf, size_t cap, size_t *len, enum mqtt_type type, const struct mqtt_filter *f) {
  if (!f->text.n || f->text.n > MQTT_STRING_MAX || !mqtt_is_text(f->text)) return MACULA_EINVAL;
  if (*len + 2 + f->text.n + (type == MQTT_SUBSCRIBE) > cap) return MACULA_EFULL;
  struct mqtt_out out = {.p = buf, .n = *len};
  mqtt_out_string(&out, f->text);
  if (type == MQTT_SUBSCRIBE)
    mqtt_out_byte(&out, (uint8_t)(f->qos | f->no_local << 2 | f->retain_as_published << 3 | f->retain_handling << 4));
  *len = out.n;
  return 0;
}
