/* Streams of clients of MQTT on a simulated node, as the test's memory. */
#ifndef SIM_MQTT_WIRE_H
#define SIM_MQTT_WIRE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/stream.h"
#include "mqtt/packet.h"
#include "node/check.h"
#include "node/state.h"
#include "node_rig.h"
#include "unit/broken.h"

#define ROOM 65536u
#define NOTES 65536u

struct wire {
  struct byte_stream s;
  struct rig *rig;
  struct stream_owner owner;
  uint8_t out[2 * ROOM];                               /* what the node has written */
  size_t out_len, room;                                /* room: that the node may write */
  bool short_once, reads, gone, quiet, no_acks, props; /* props: properties of messages are noted */
  enum mqtt_level level;
  char notes[NOTES];
  size_t note_len;
  uint64_t published;
  uint16_t next_id;
};

static inline struct wire *of(struct byte_stream *s) { return (struct wire *)s; }
static inline size_t wire_write(struct byte_stream *s, struct slice bytes) {
  struct wire *w = of(s);
  size_t n = bytes.n < w->room - w->out_len ? bytes.n : w->room - w->out_len;
  assert_false(w->gone);
  memcpy(w->out + w->out_len, bytes.p, n);
  w->out_len += n;
  w->short_once |= n < bytes.n;
  return n;
}
static inline size_t wire_unsent(const struct byte_stream *s) { return ((const struct wire *)s)->out_len; }
static inline void wire_read(struct byte_stream *s, bool on) { of(s)->reads = on; }
static inline void wire_close(struct byte_stream *s, bool reset) { (void)reset, of(s)->gone = true; }
static inline void wire_break(struct byte_stream *s, int err) { (void)err, of(s)->gone = true; }
static const struct stream_ops wire_ops = {wire_write, wire_unsent, wire_read, wire_close, wire_break};

static inline void settle(struct rig *r) {
  HOLDS(node_check(r->node));
  rig_run(r, NS_MS);
  HOLDS(node_check(r->node));
}

static inline void send_bytes(struct wire *w, struct slice bytes) {
  uint8_t *copy = malloc(bytes.n + 1);
  memcpy(copy, bytes.p, bytes.n);
  if (!w->gone) w->owner.data(w->owner.ctx, &w->s, copy, bytes.n, sim_net_now(w->rig->net));
  free(copy);
}
static inline void lose(struct wire *w) { /* its connection breaks */
  if (!w->gone) {
    w->gone = true;
    w->owner.closed(w->owner.ctx, &w->s, MACULA_ECLOSED, sim_net_now(w->rig->net));
  }
  settle(w->rig);
  free(w);
}
/* From that address, to one of the node's doors. */
static inline struct wire *wire_open(struct rig *r, const struct stream_owner *owner, const char *address) {
  struct wire *w = calloc(1, sizeof *w);
  w->s.ops = &wire_ops;
  w->rig = r;
  w->owner = *owner;
  w->room = ROOM;
  w->reads = true;
  assert_int_equal(addr_parse(address, 99, &w->s.remote), 0);
  if (w->owner.opened(w->owner.ctx, &w->s, sim_net_now(r->net))) w->gone = true;
  return w;
}

#endif
