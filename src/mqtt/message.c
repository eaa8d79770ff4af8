#include "mqtt/message.h"

#include "mqtt/internal.h"

#define FORWARDED                                                                                                              \
  (MQTT_HAS(PAYLOAD_FORMAT) | MQTT_HAS(CONTENT_TYPE) | MQTT_HAS(RESPONSE_TOPIC) | MQTT_HAS(CORRELATION_DATA) |                 \
   MQTT_HAS(USER_PROPERTY))

struct mqtt_message *mqtt_message_new(struct mem *mem, struct slice topic, struct slice payload, const struct mqtt_props *props,
                                      nanotime now) {
  struct mqtt_props passed = props ? *props : (struct mqtt_props){.has = 0};
  struct mqtt_out count = {.p = NULL};
  passed.has &= FORWARDED;
  mqtt_out_block(&count, MQTT_PUBLISH, &passed);
  size_t rest = topic.n + count.n;
  if (count.bad || topic.n > MQTT_STRING_MAX || rest > MQTT_REMAINING_MAX || payload.n > MQTT_REMAINING_MAX - rest) return NULL;
  struct mqtt_message *m = mem_alloc(mem, sizeof *m + rest + payload.n);
  if (!m) return NULL;
  *m = (struct mqtt_message){.mem = mem,
                             .expires = TIME_NEVER,
                             .refs = 1,
                             .topic_len = (uint32_t)topic.n,
                             .props_len = (uint32_t)count.n,
                             .payload_len = (uint32_t)payload.n};
  if (props && props->has & MQTT_HAS(MESSAGE_EXPIRY)) m->expires = time_add(now, props->message_expiry * NS_SEC);
  struct mqtt_out out = {.p = m->data};
  mqtt_out_raw(&out, topic);
  mqtt_out_block(&out, MQTT_PUBLISH, &passed);
  mqtt_out_raw(&out, payload);
  return m;
}

void mqtt_message_read(const struct mqtt_message *m, struct mqtt_props *ret_props) {
  struct slice block = mqtt_message_props(m);
  struct mqtt_in in = {.p = block.p, .end = block.p + block.n};
  *ret_props = (struct mqtt_props){0};
  mqtt_in_block(&in, MQTT_PUBLISH, ret_props);
  assert(!in.bad);
}

void mqtt_message_unref(struct mqtt_message *m) {
  if (!m) return;
  assert(m->refs > 0);
  if (--m->refs == 0) mem_free(m->mem, m);
}

/* Its properties, without their length. */
static void properties(struct mqtt_out *out, const struct mqtt_publish_head *h) {
  const struct mqtt_delivery *d = h->delivery;
  const uint32_t *ids = d->id_count > 1 ? d->ids.many : &d->ids.one;
  if (d->message->expires != TIME_NEVER) { /* [MQTT-3.3.2-6] */
    mqtt_out_byte(out, MQTT_MESSAGE_EXPIRY);
    mqtt_out_u32(out, mqtt_message_left(d->message, h->now));
  }
  if (h->alias) {
    mqtt_out_byte(out, MQTT_TOPIC_ALIAS);
    mqtt_out_u16(out, h->alias);
  }
  for (unsigned i = 0; i < d->id_count; i++) { /* [MQTT-3.3.4-4] */
    mqtt_out_byte(out, MQTT_SUBSCRIPTION_ID);
    mqtt_out_varint(out, ids[i]);
  }
  mqtt_out_raw(out, mqtt_message_props(d->message));
}

static void body(struct mqtt_out *out, const struct mqtt_publish_head *h) {
  const struct mqtt_message *m = h->delivery->message;
  mqtt_out_string(out, h->with_topic ? mqtt_message_topic(m) : SLICE_NONE);
  if (h->delivery->qos) mqtt_out_u16(out, h->id);
  if (h->level != MQTT_5) return;
  struct mqtt_out count = {.p = NULL};
  properties(&count, h);
  mqtt_out_varint(out, count.n);
  properties(out, h);
}

/* Bytes of the body, payload included; *ret_size: of the packet; 0: it is too long. */
static size_t sizes(const struct mqtt_publish_head *h, size_t *ret_size) {
  struct mqtt_out count = {.p = NULL}, header = {.p = NULL};
  body(&count, h);
  size_t remaining = count.n + h->delivery->message->payload_len;
  mqtt_out_varint(&header, remaining);
  *ret_size = count.bad || header.bad ? 0 : 1 + header.n + remaining;
  return remaining;
}

size_t mqtt_message_packet_size(const struct mqtt_publish_head *h) {
  size_t size;
  (void)sizes(h, &size);
  return size;
}

void mqtt_out_message(struct mqtt_out *out, const struct mqtt_publish_head *h) {
  size_t size, remaining = sizes(h, &size);
  const struct mqtt_delivery *d = h->delivery;
  mqtt_out_byte(out, (uint8_t)(MQTT_PUBLISH << 4 | h->dup << 3 | d->qos << 1 | d->retain));
  mqtt_out_varint(out, remaining);
  body(out, h);
}
