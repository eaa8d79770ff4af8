/* MQTT packets: what decodes must come back from its encoding the same, at both levels and from both sides; what a header says
 * of a packet's length holds. Input: a byte whose bits are level and side, then a stream of packets. */
#include <stdlib.h>

#include "base/err.h"
#include "mqtt/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int ok) {
  if (!ok) abort();
}

static void lists(const struct mqtt_packet *p) {
  struct slice raw = p->props.raw, name, value;
  struct mqtt_filter f;
  uint32_t id, count = 0;
  while (mqtt_next_user(&raw, &name, &value)) require(p->props.has & MQTT_HAS(USER_PROPERTY) ? 1 : 0);
  raw = p->props.raw;
  while (mqtt_next_subscription_id(&raw, &id)) require(id > 0 && id <= MQTT_REMAINING_MAX);
  if (p->type != MQTT_SUBSCRIBE && p->type != MQTT_UNSUBSCRIBE) return;
  raw = p->list.raw;
  while (mqtt_next_filter(&raw, p->type, &f)) count++;
  require(count == p->list.count && !raw.n);
}

static void one(struct slice in, enum mqtt_level level, enum mqtt_sender from) {
  struct mqtt_packet p, q;
  struct mqtt_fault fault = {0};
  char text[MQTT_FAULT_LEN];
  int err = mqtt_decode(in, level, from, &p, &fault);
  if (err) {
    require(err == MACULA_BAD_FRAME && MQTT_REASON_IS_ERROR(fault.reason) && fault.text && mqtt_fault_text(&fault, text)[0]);
    return;
  }
  lists(&p);
  size_t n = mqtt_encode(&p, level, NULL, 0);
  require(n > 0 && n <= in.n); /* the shortest spelling */
  uint8_t *a = malloc(n), *b = malloc(n);
  require(a && b && mqtt_encode(&p, level, a, n - 1) == n && mqtt_encode(&p, level, a, n) == n);
  require(mqtt_decode(slice_of(a, n), level, from, &q, &fault) == 0 && q.type == p.type && q.id == p.id);
  require(q.props.has == p.props.has && q.reason == p.reason);
  require(mqtt_encode(&q, level, b, n) == n && memcmp(a, b, n) == 0);
  require(mqtt_fit(&q, level, (uint32_t)n) == n && mqtt_fit(&q, level, (uint32_t)n - 1) < n);
  free(a);
  free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
  enum mqtt_level level = data[0] & 1 ? MQTT_5 : MQTT_3_1_1;
  enum mqtt_sender from = data[0] & 2 ? MQTT_FROM_SERVER : MQTT_FROM_CLIENT;
  struct slice in = slice_of(data + 1, size - 1);
  struct mqtt_fault fault;
  size_t n, known;
  int got;
  while ((got = mqtt_frame(in, 65536, &n, &fault)) == 1) {
    for (size_t k = 1; k < n && k < 8; k++) { /* its beginnings say the same, or nothing yet */
      require(mqtt_frame(slice_of(in.p, k), 65536, &known, &fault) == 0 && (known == 0 || known == n));
    }
    one(slice_of(in.p, n), level, from);
    in = slice_of(in.p + n, in.n - n);
  }
  require(got == 0 || got == MACULA_BAD_FRAME || got == MACULA_FRAME_TOO_LARGE);
  return 0;
}
