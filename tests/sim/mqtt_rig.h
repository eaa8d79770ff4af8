/* Clients of MQTT on a simulated node; what a client is sent is noted as text, a packet a line. */
#ifndef SIM_MQTT_RIG_H
#define SIM_MQTT_RIG_H

#include "access_text.h"
#include "mqtt_wire.h"

static inline void start(struct rig *r, const struct rig_options *o) {
  struct rig_options d = o ? *o : (struct rig_options){0};
  if (!d.node.limits.mqtt_pool) d.node.limits.mqtt_pool = 32 << 20;
  rig_start(r, &d);
  struct stream_owner owner;
  assert_int_equal(node_mqtt_open(r->node, false, &owner), 0);
}

static inline void note(struct wire *w, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  if (w->note_len) w->notes[w->note_len++] = '|';
  w->note_len += (size_t)vsnprintf(w->notes + w->note_len, sizeof w->notes - w->note_len, format, ap);
  va_end(ap);
  assert_true(w->note_len < sizeof w->notes - 512);
}

static inline void put(struct wire *w, const struct mqtt_packet *p) {
  uint8_t buf[8192];
  size_t n = mqtt_encode(p, w->level, buf, sizeof buf);
  assert_true(n > 0 && n <= sizeof buf);
  send_bytes(w, slice_of(buf, n));
}

static inline void answer(struct wire *w, const struct mqtt_packet *p) {
  struct mqtt_packet ack = {.type = p->type == MQTT_PUBLISH  ? p->publish.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC
                                    : p->type == MQTT_PUBREC ? MQTT_PUBREL
                                                             : MQTT_PUBCOMP,
                            .id = p->id};
  put(w, &ack);
}

static inline void note_props(struct wire *w, const struct mqtt_props *p) {
  struct slice raw = p->raw, name, value;
  char hex[64];
  if (p->has & MQTT_HAS(PAYLOAD_FORMAT)) note(w, "format %u", p->payload_format);
  if (p->has & MQTT_HAS(MESSAGE_EXPIRY)) note(w, "expiry %u", p->message_expiry);
  if (p->has & MQTT_HAS(CONTENT_TYPE)) note(w, "type %.*s", (int)p->content_type.n, (const char *)p->content_type.p);
  if (p->has & MQTT_HAS(RESPONSE_TOPIC)) note(w, "answer %.*s", (int)p->response_topic.n, (const char *)p->response_topic.p);
  if (p->has & MQTT_HAS(CORRELATION_DATA)) {
    assert_true(p->correlation_data.n < sizeof hex / 2);
    hex_encode(p->correlation_data.p, p->correlation_data.n, hex);
    note(w, "correlation %s", hex);
  }
  while (mqtt_next_user(&raw, &name, &value))
    note(w, "%.*s=%.*s", (int)name.n, (const char *)name.p, (int)value.n, (const char *)value.p);
}

static inline void note_packet(struct wire *w, const struct mqtt_packet *p) {
  if (p->type == MQTT_PUBLISH) {
    struct slice raw = p->props.raw;
    uint32_t id;
    w->published++;
    if (!w->quiet)
      note(w, "%.*s=%.*s q%u%s%s", (int)p->publish.topic.n, (const char *)p->publish.topic.p, (int)p->publish.payload.n,
           (const char *)p->publish.payload.p, p->publish.qos, p->publish.retain ? " retain" : "",
           p->publish.dup ? " dup" : "");
    while (!w->quiet && mqtt_next_subscription_id(&raw, &id)) note(w, "id%u", id);
    if (w->props) note_props(w, &p->props);
    if (p->publish.qos && !w->no_acks) answer(w, p);
    return;
  }
  if (!w->quiet && (p->type == MQTT_SUBACK || p->type == MQTT_UNSUBACK)) {
    note(w, "%s %02x", mqtt_type_name(p->type), p->list.raw.p[0]);
  } else if (!w->quiet) {
    note(w, "%s %02x%s", mqtt_type_name(p->type), p->reason, p->session_present ? " present" : "");
    if (p->props.has & MQTT_HAS(REASON_STRING))
      note(w, "(%.*s)", (int)p->props.reason_string.n, (const char *)p->props.reason_string.p);
  }
  if (p->type == MQTT_PUBREC) answer(w, p);
  if (p->type == MQTT_PUBREL) answer(w, p);
}

/* The client reads all that was sent, and the stream has room again. */
static inline void drain(struct wire *w) {
  struct mqtt_packet p;
  struct mqtt_fault fault;
  char text[MQTT_FAULT_LEN];
  size_t size;
  for (;;) {
    size_t at = 0;
    uint8_t *in = malloc(w->out_len + 1);
    size_t len = w->out_len;
    memcpy(in, w->out, len);
    while (mqtt_frame(slice_of(in + at, len - at), UINT32_MAX, &size, &fault) == 1) {
      if (mqtt_decode(slice_of(in + at, size), w->level, MQTT_FROM_SERVER, &p, &fault))
        fail_msg("the node has sent what is wrong: %s", mqtt_fault_text(&fault, text));
      note_packet(w, &p);
      at += size;
    }
    memmove(w->out, w->out + at, w->out_len - at);
    w->out_len -= at;
    free(in);
    if (!w->short_once || w->gone || !at) return;
    w->short_once = false;
    w->owner.room(w->owner.ctx, &w->s, sim_net_now(w->rig->net));
  }
}

static inline void all(struct rig *r, struct wire **w, size_t n) {
  for (int turn = 0; turn < 6; turn++) {
    settle(r);
    for (size_t i = 0; i < n; i++) drain(w[i]);
  }
}
#define ALL(r, ...)                                                                                                            \
  do {                                                                                                                         \
    struct wire *list_[] = {__VA_ARGS__};                                                                                      \
    all((r), list_, sizeof list_ / sizeof *list_);                                                                             \
  } while (0)

static inline void happened(struct wire *w, const char *text) {
  w->notes[w->note_len] = 0;
  assert_string_equal(w->notes, text);
  w->note_len = 0;
}

static const char *wire_from = "127.0.0.9:99"; /* whence those come that are made next */
static inline struct wire *wire_new(struct rig *r, enum mqtt_level level) {
  struct stream_owner owner;
  assert_int_equal(node_mqtt_open(r->node, false, &owner), 0);
  struct wire *w = wire_open(r, &owner, wire_from);
  w->level = level;
  return w;
}

struct connect {
  const char *client, *will_topic, *will;
  bool clean;
  uint32_t expiry; /* seconds; of 5.0 */
  uint16_t keep_alive;
  const char *user, *password;
  uint8_t will_qos;
  bool will_retain;
};
static inline void say_connect(struct wire *w, const struct connect *c) {
  struct mqtt_packet p = {.type = MQTT_CONNECT,
                          .connect = {.level = w->level,
                                      .clean_start = c->clean,
                                      .keep_alive = c->keep_alive,
                                      .client_id = slice_str(c->client),
                                      .has_will = c->will != NULL,
                                      .will_qos = c->will_qos,
                                      .will_retain = c->will_retain,
                                      .will_topic = slice_str(c->will_topic),
                                      .will_payload = slice_str(c->will),
                                      .has_user = c->user != NULL,
                                      .user = slice_str(c->user),
                                      .has_password = c->password != NULL,
                                      .password = slice_str(c->password)}};
  if (c->expiry) {
    p.props.has = MQTT_HAS(SESSION_EXPIRY);
    p.props.session_expiry = c->expiry;
  }
  put(w, &p);
}
static inline struct wire *join(struct rig *r, enum mqtt_level level, const struct connect *c, const char *expected) {
  struct wire *w = wire_new(r, level);
  say_connect(w, c);
  ALL(r, w);
  happened(w, expected);
  return w;
}
static inline struct wire *plain(struct rig *r, enum mqtt_level level, const char *client) {
  return join(r, level, &(struct connect){.client = client, .clean = true}, "CONNACK 00");
}

static inline void leave(struct wire *w) {
  struct mqtt_packet p = {.type = MQTT_DISCONNECT};
  if (!w->gone) put(w, &p);
  settle(w->rig);
  assert_true(w->gone);
  free(w);
}

static inline void subscribe_as(struct wire *w, const char *filter, uint8_t qos, uint32_t id, uint8_t handling, bool no_local) {
  uint8_t buf[512];
  size_t n = 0;
  struct mqtt_filter f = {.text = slice_str(filter), .qos = qos, .retain_handling = handling, .no_local = no_local};
  assert_int_equal(mqtt_put_filter(buf, sizeof buf, &n, MQTT_SUBSCRIBE, &f), 0);
  struct mqtt_packet p = {.type = MQTT_SUBSCRIBE, .id = ++w->next_id, .list = {.raw = slice_of(buf, n)}};
  uint8_t raw[8];
  size_t len = 0;
  if (id) {
    assert_int_equal(mqtt_put_subscription_id(raw, sizeof raw, &len, id), 0);
    p.props.raw = slice_of(raw, len);
    p.props.has = MQTT_HAS(SUBSCRIPTION_ID);
    p.props.subscription_id = id;
  }
  put(w, &p);
  settle(w->rig);
}
static inline void subscribe(struct wire *w, const char *filter, uint8_t qos) { subscribe_as(w, filter, qos, 0, 0, false); }
static inline void unsubscribe(struct wire *w, const char *filter) {
  uint8_t buf[512];
  size_t n = 0;
  struct mqtt_filter f = {.text = slice_str(filter)};
  assert_int_equal(mqtt_put_filter(buf, sizeof buf, &n, MQTT_UNSUBSCRIBE, &f), 0);
  struct mqtt_packet p = {.type = MQTT_UNSUBSCRIBE, .id = ++w->next_id, .list = {.raw = slice_of(buf, n)}};
  put(w, &p);
  settle(w->rig);
}
static inline void publish_all(struct wire *w, const char *topic, struct slice payload, uint8_t qos, bool retain) {
  struct mqtt_packet p = {.type = MQTT_PUBLISH,
                          .id = qos ? ++w->next_id : 0,
                          .publish = {.topic = slice_str(topic), .payload = payload, .qos = qos, .retain = retain}};
  put(w, &p);
}
static inline void publish(struct wire *w, const char *topic, const char *payload, uint8_t qos, bool retain) {
  publish_all(w, topic, slice_str(payload), qos, retain);
}

#endif
