#include "node/doors/mqtt_headers.h"

#include "base/err.h"
#include "wire/mqtt_names.h"

#define CONTENT_TYPE "macula.content-type"
#define REPLY_TO "macula.reply-to"
#define CORRELATION "macula.correlation"
#define UTF8 "macula.utf8"
#define RESERVED "macula."
#define USER "macula.user."

static bool begins(struct slice s, const char *with) {
  size_t n = strlen(with);
  return s.n >= n && memcmp(s.p, with, n) == 0;
}

/* ---- from MQTT -------------------------------------------------------------------------------------------------------------
 */
static bool add(struct mqtt_headers *h, struct slice name, struct slice value) {
  if (h->list.count == 2 * HEADERS_MOST) return false;
  h->items[h->list.count++] = name;
  h->items[h->list.count++] = value;
  return true;
}

static bool add_user(struct mqtt_headers *h, struct slice name, struct slice value) {
  size_t front = strlen(USER);
  if (!begins(name, RESERVED)) return add(h, name, value);
  if (name.n + front > sizeof h->names - h->used) return false;
  uint8_t *at = h->names + h->used;
  memcpy(at, USER, front);
  memcpy(at + front, name.p, name.n);
  h->used += front + name.n;
  return add(h, slice_of(at, front + name.n), value);
}

int mqtt_headers_from(const struct mqtt_props *props, struct mqtt_headers *h, const char **ret_why) {
  struct slice raw = props->raw, name, value;
  size_t len;
  bool fits = true;
  h->list = (struct msg_list){.items = h->items};
  h->used = 0;
  if (props->has & MQTT_HAS(PAYLOAD_FORMAT)) fits &= add(h, slice_str(UTF8), slice_str(props->payload_format ? "1" : "0"));
  if (props->has & MQTT_HAS(CONTENT_TYPE)) fits &= add(h, slice_str(CONTENT_TYPE), props->content_type);
  if (props->has & MQTT_HAS(RESPONSE_TOPIC)) {
    int err = name_from_mqtt_topic(props->response_topic, h->reply_to, &len, ret_why);
    if (err) return err;
    fits &= add(h, slice_str(REPLY_TO), slice_of(h->reply_to, len));
  }
  if (props->has & MQTT_HAS(CORRELATION_DATA)) fits &= add(h, slice_str(CORRELATION), props->correlation_data);
  while (fits && props->has & MQTT_HAS(USER_PROPERTY) && mqtt_next_user(&raw, &name, &value)) fits = add_user(h, name, value);
  *ret_why = "a message has at most 64 properties, of 16,384 bytes together";
  return fits ? headers_check(h->list, ret_why) : MACULA_PAYLOAD_TOO_LARGE;
}

uint64_t mqtt_expires_ms(const struct mqtt_props *props) {
  if (!(props->has & MQTT_HAS(MESSAGE_EXPIRY))) return 0;
  return props->message_expiry ? props->message_expiry * UINT64_C(1000) : 1;
}

/* ---- to MQTT ---------------------------------------------------------------------------------------------------------------
 */
static bool say_reply_to(struct mqtt_said *s, struct slice name) {
  char stored[NAME_MAX_LEN + 1];
  const char *why;
  size_t len;
  if (name_topic(name, stored, &len) || name_to_mqtt(slice_of(stored, len), s->reply_to, &len, &why)) return false;
  s->props.response_topic = slice_of(s->reply_to, len);
  s->props.has |= MQTT_HAS(RESPONSE_TOPIC);
  return true;
}

/* False: it cannot be said. */
static bool say(struct mqtt_said *s, struct slice name, struct slice value) {
  struct mqtt_props *p = &s->props;
  if (slice_is(name, REPLY_TO)) return say_reply_to(s, value);
  if (slice_is(name, CORRELATION)) {
    if (value.n > UINT16_MAX) return false;
    p->correlation_data = value;
    p->has |= MQTT_HAS(CORRELATION_DATA);
    return true;
  }
  if (!headers_is_text(value)) return false;
  if (slice_is(name, CONTENT_TYPE)) {
    p->content_type = value;
    p->has |= MQTT_HAS(CONTENT_TYPE);
    return true;
  }
  if (slice_is(name, UTF8)) {
    if (!slice_is(value, "0") && !slice_is(value, "1")) return false;
    p->payload_format = value.p[0] == '1';
    p->has |= MQTT_HAS(PAYLOAD_FORMAT);
    return true;
  }
  if (begins(name, USER RESERVED)) name = slice_of(name.p + strlen(USER), name.n - strlen(USER));
  if (mqtt_put_user(s->user, sizeof s->user, &s->user_len, name, value)) return false;
  p->has |= MQTT_HAS(USER_PROPERTY);
  return true;
}

void mqtt_headers_to(struct msg_list headers, struct mqtt_said *s) {
  struct slice name, value;
  s->props = (struct mqtt_props){0};
  s->left_out = 0;
  s->user_len = 0;
  while (headers_next(&headers, &name, &value)) s->left_out += !say(s, name, value);
  s->props.raw = slice_of(s->user, s->user_len);
}
