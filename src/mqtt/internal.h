/* What decoder, encoder and properties share: cursors, and the table of properties. */
#ifndef MQTT_INTERNAL_H
#define MQTT_INTERNAL_H

#include "mqtt/packet.h"

/* Reads; the first fault stays, and everything read after it is zero. */
struct mqtt_in {
  const uint8_t *p, *end;
  struct mqtt_fault fault;
  bool bad;
};

static inline size_t mqtt_left(const struct mqtt_in *in) { return (size_t)(in->end - in->p); }
void mqtt_in_fail(struct mqtt_in *in, enum mqtt_reason reason, const char *what, const char *text);
uint8_t mqtt_in_byte(struct mqtt_in *in, const char *what);
uint16_t mqtt_in_u16(struct mqtt_in *in, const char *what);
uint32_t mqtt_in_u32(struct mqtt_in *in, const char *what);
uint32_t mqtt_in_varint(struct mqtt_in *in, const char *what);     /* 1.5.5 */
struct slice mqtt_in_binary(struct mqtt_in *in, const char *what); /* 1.5.6 */
struct slice mqtt_in_string(struct mqtt_in *in, const char *what); /* 1.5.4 */
/* A block of properties with its length; type: of the packet, 0 for those of a will. */
void mqtt_in_props(struct mqtt_in *in, enum mqtt_type type, enum mqtt_sender from, struct mqtt_props *ret_props);

/* All that is left, as a block without its length; what belongs together is not looked at. */
void mqtt_in_block(struct mqtt_in *in, enum mqtt_type type, struct mqtt_props *ret_props);

/* Writes; or counts only, where p is NULL; or, with a sink, hands on what does not fit into the cap bytes at p. */
struct mqtt_out {
  uint8_t *p;
  size_t n; /* bytes written, or in the buffer in front of the sink */
  size_t cap;
  void (*sink)(void *ctx, struct slice bytes);
  void *ctx;
  bool bad; /* a string or the whole is too long */
};

void mqtt_out_raw(struct mqtt_out *out, struct slice s);
void mqtt_out_byte(struct mqtt_out *out, uint8_t v);
void mqtt_out_u16(struct mqtt_out *out, uint16_t v);
void mqtt_out_u32(struct mqtt_out *out, uint32_t v);
void mqtt_out_varint(struct mqtt_out *out, size_t v);
void mqtt_out_string(struct mqtt_out *out, struct slice s);
/* Without their length. */
void mqtt_out_block(struct mqtt_out *out, enum mqtt_type type, const struct mqtt_props *props);
/* With it. */
void mqtt_out_props(struct mqtt_out *out, enum mqtt_type type, const struct mqtt_props *props);

/* A packet without the payload of a PUBLISH. */
void mqtt_out_packet(struct mqtt_out *out, const struct mqtt_packet *packet, enum mqtt_level level);

/* Whether well-formed UTF-8 without a zero character: [MQTT-1.5.4-1], [MQTT-1.5.4-2]. */
bool mqtt_is_text(struct slice s);

#endif
