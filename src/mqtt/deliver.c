/* What goes to a client: messages, acknowledgements of its own, and what waits for it. */
#include "base/err.h"
#include "mqtt/internal.h"
#include "mqtt/state.h"

#define CHUNK 512u

static void to_door(void *conn, struct slice bytes) {
  struct mqtt_conn *c = conn;
  if (bytes.n) c->table->cfg.door->send(c->user, bytes, NULL);
}

void mqtt_send(struct mqtt_conn *c, struct mqtt_packet *p) {
  uint8_t buf[CHUNK];
  struct mqtt_out out = {.p = buf, .cap = sizeof buf, .sink = to_door, .ctx = c};
  if (!mqtt_fit(p, (enum mqtt_level)c->level, c->max_packet)) return; /* [MQTT-3.1.2-24] */
  mqtt_out_packet(&out, p, (enum mqtt_level)c->level);
  to_door(c, slice_of(buf, out.n));
}

void mqtt_send_ack(struct mqtt_conn *c, enum mqtt_type type, uint16_t id, uint8_t reason, const char *why) {
  bool says = why && c->problem_info && c->level == MQTT_5; /* [MQTT-3.1.2-29] */
  if (!reason && !says) {                                   /* by far the most */
    uint8_t body = type == MQTT_PINGRESP ? 0 : 2, first = (uint8_t)(type << 4 | (type == MQTT_PUBREL ? 2 : 0));
    uint8_t plain[4] = {first, body, (uint8_t)(id >> 8), (uint8_t)id};
    if (c->max_packet >= 2u + body) to_door(c, slice_of(plain, 2u + body));
    return;
  }
  struct mqtt_packet p = {
      .type = type, .id = id, .reason = mqtt_reason_fits(reason, type, false) ? reason : MQTT_IMPLEMENTATION};
  if (says) {
    p.props.has = MQTT_HAS(REASON_STRING);
    p.props.reason_string = slice_str(why);
  }
  mqtt_send(c, &p);
}

/* False: it is larger than the client takes, and was not sent. */
static bool send_message(struct mqtt_conn *c, const struct mqtt_delivery *d, uint16_t id, bool dup, nanotime now) {
  uint8_t buf[CHUNK];
  struct mqtt_out out = {.p = buf, .cap = sizeof buf, .sink = to_door, .ctx = c};
  struct mqtt_publish_head h = {d, (enum mqtt_level)c->level, id, 0, dup, true, now};
  size_t size = mqtt_message_packet_size(&h);
  bool known = false;
  if (!size || size > c->max_packet) return false;
  if (size + 4 <= c->max_packet) { /* an alias and perhaps a byte of the header more */
    h.alias = mqtt_aliases_out_use(&c->aliases_out, mqtt_message_topic(d->message), &known);
    h.with_topic = !known;
    c->table->stats.alias_hits += known;
  }
  mqtt_out_message(&out, &h);
  c->table->cfg.door->send(c->user, slice_of(buf, out.n), d->message);
  return true;
}

static int delivery_of(const struct mqtt_to *to, struct mem *mem, struct mqtt_delivery *ret) {
  *ret = (struct mqtt_delivery){.ref = to->ref, .id_count = to->id_count, .qos = to->qos, .retain = to->retain};
  if (to->id_count == 1) ret->ids.one = to->ids[0];
  if (to->id_count > 1) {
    size_t n = to->id_count * sizeof *to->ids;
    if (!(ret->ids.many = mem_alloc(mem, n))) return MACULA_ENOMEM;
    memcpy(ret->ids.many, to->ids, n);
  }
  ret->message = mqtt_message_ref(to->message);
  return 0;
}

/* A delivery that is not kept: its identifiers are the caller's. */
static struct mqtt_delivery passing(const struct mqtt_to *to) {
  struct mqtt_delivery d = {
      .message = to->message, .ref = to->ref, .id_count = to->id_count, .qos = to->qos, .retain = to->retain};
  if (to->id_count == 1)
    d.ids.one = to->ids[0];
  else
    d.ids.many = (uint32_t *)to->ids;
  return d;
}

static bool has_expired(const struct mqtt_message *m, nanotime now) { return m->expires <= now; }

static bool fits(const struct mqtt_conn *c, const struct mqtt_delivery *d, nanotime now) {
  struct mqtt_publish_head h = {d, (enum mqtt_level)c->level, 1, 0, false, true, now};
  size_t size = mqtt_message_packet_size(&h);
  return size && size <= c->max_packet;
}

static void tell_lost(const struct mqtt_session *s, const struct mqtt_message *m, uint8_t reason) {
  const struct mqtt_door *door = s->table->cfg.door;
  if (door->lost) door->lost(s->user, mqtt_message_topic(m), reason);
}

static void give_up(struct mqtt_session *s, const struct mqtt_delivery *d, uint8_t reason) {
  tell_lost(s, d->message, reason);
  if (d->qos) s->table->cfg.door->acked(s->user, d->ref, reason);
}

/* Sends the first time. Takes the delivery over unless it fails. */
static int send_first(struct mqtt_session *s, struct mqtt_delivery *d, nanotime now) {
  uint16_t id;
  int err = mqtt_window_add(&s->out, d, &id);
  if (err) return err;
  struct mqtt_slot *slot = mqtt_window_find(&s->out, id);
  slot->counts = true;
  assert(s->conn->quota);
  s->conn->quota--;
  (void)send_message(s->conn, &slot->delivery, id, false, now);
  return 0;
}

static void unqueue(struct mqtt_session *s, struct mqtt_queued *q) {
  size_t size = mqtt_message_size(q->delivery.message);
  list_remove(&q->all);
  assert(s->queued && s->queued_bytes >= size && s->table->queued_bytes >= size);
  s->queued--;
  s->queued_bytes -= size;
  s->table->queued_bytes -= size;
}

static void drop_queued(struct mqtt_session *s, struct mqtt_queued *q) {
  unqueue(s, q);
  mqtt_delivery_done(s->table->cfg.inflight_mem, &q->delivery);
  mem_free(s->table->cfg.queue_mem, q);
}

void mqtt_queue_clear(struct mqtt_session *s) {
  list_for_safe(l, &s->queue) drop_queued(s, container_of(l, struct mqtt_queued, all));
}

static bool has_room(const struct mqtt_session *s, size_t size) {
  const struct mqtt_config *cfg = &s->table->cfg;
  return s->queued < cfg->max_queue && size <= cfg->max_queue_bytes && s->queued_bytes <= cfg->max_queue_bytes - size &&
         size <= cfg->max_queued_bytes && s->table->queued_bytes <= cfg->max_queued_bytes - size;
}

static void lose(struct mqtt_session *s) {
  s->dropped++;
  s->table->stats.queue_dropped++;
}

/* Of a full queue the oldest go, if that is its policy, until there is room. */
static bool make_room(struct mqtt_session *s, size_t size) {
  const struct mqtt_config *cfg = &s->table->cfg;
  if (size > cfg->max_queue_bytes) return false;
  while (!has_room(s, size) && cfg->drops_oldest && !list_empty(&s->queue)) {
    struct mqtt_queued *oldest = container_of(s->queue.next, struct mqtt_queued, all);
    give_up(s, &oldest->delivery, MQTT_QUOTA);
    drop_queued(s, oldest);
    lose(s);
  }
  return has_room(s, size);
}

static int keep(struct mqtt_session *s, const struct mqtt_to *to) {
  const struct mqtt_config *cfg = &s->table->cfg;
  size_t size = mqtt_message_size(to->message);
  int err = MACULA_SLOW_CONSUMER;
  struct mqtt_queued *q = NULL;
  if (!make_room(s, size)) goto lost;
  err = MACULA_ENOMEM;
  if (!(q = mem_alloc(cfg->queue_mem, sizeof *q))) goto lost;
  if ((err = delivery_of(to, cfg->inflight_mem, &q->delivery)) != 0) goto lost;
  list_append(&s->queue, &q->all);
  s->queued++;
  s->queued_bytes += size;
  s->table->queued_bytes += size;
  return 0;
lost:
  mem_free(cfg->queue_mem, q);
  tell_lost(s, to->message, MQTT_QUOTA);
  lose(s);
  return err;
}

static bool takes_one(const struct mqtt_session *s) {
  size_t most = s->table->cfg.max_inflight_bytes;
  return s->conn->quota && s->out.count < s->out.max && (!most || s->out.bytes < most);
}
/* Whether a new message with QoS 1 or 2 can be sent now: nothing waits before it, and the client takes one. */
static bool is_open(const struct mqtt_session *s) { return !s->conn->resend && list_empty(&s->queue) && takes_one(s); }

static bool is_full(const struct mqtt_conn *c) {
  const struct mqtt_door *door = c->table->cfg.door;
  return door->full && door->full(c->user);
}

static int send_now(struct mqtt_session *s, const struct mqtt_to *to, nanotime now) {
  struct mqtt_delivery d = passing(to);
  if (!to->qos) {
    if (!send_message(s->conn, &d, 0, false, now)) s->table->stats.too_large++;
    return 0;
  }
  if (to->keep && (!is_open(s) || is_full(s->conn))) return keep(s, to);
  if (!is_open(s)) {
    s->waits = true;
    return MACULA_EFULL;
  }
  if (!fits(s->conn, &d, now)) { /* [MQTT-3.1.2-25] */
    s->table->stats.too_large++;
    give_up(s, &d, MQTT_TOO_LARGE);
    return 0;
  }
  int err = delivery_of(to, s->table->cfg.inflight_mem, &d);
  if (!err && (err = send_first(s, &d, now)) != 0) mqtt_delivery_done(s->table->cfg.inflight_mem, &d);
  if (err) lose(s);
  return err;
}

int mqtt_deliver(struct mqtt_session *s, const struct mqtt_to *to, nanotime now) {
  if (has_expired(to->message, now)) { /* [MQTT-3.3.2-5] */
    struct mqtt_delivery d = passing(to);
    s->table->stats.expired++;
    give_up(s, &d, MQTT_UNSPECIFIED);
    return 0;
  }
  if (s->conn) return send_now(s, to, now);
  if (to->qos) return keep(s, to);
  s->table->stats.offline++;
  return 0;
}

static uint16_t next_of(const struct mqtt_session *s, uint16_t id) { return s->out.slots[id - 1].next; }

/* [MQTT-4.4.0-1]: all that was not completed, in its order, with the identifiers that it had. */
static bool resend(struct mqtt_session *s, nanotime now) {
  struct mqtt_conn *c = s->conn;
  while (c->resend) {
    uint16_t id = c->resend;
    struct mqtt_slot *slot = mqtt_window_find(&s->out, id);
    if (is_full(c) || (slot->state != MQTT_WAITS_PUBCOMP && !c->quota)) return false;
    c->resend = next_of(s, id);
    if (slot->state == MQTT_WAITS_PUBCOMP) {
      mqtt_send_ack(c, MQTT_PUBREL, id, MQTT_SUCCESS, NULL);      /* [MQTT-4.3.3-6] */
    } else if (send_message(c, &slot->delivery, id, true, now)) { /* [MQTT-3.3.1-1] */
      slot->counts = true;
      c->quota--;
    } else { /* it takes less than the one before it did */
      s->table->stats.too_large++;
      give_up(s, &slot->delivery, MQTT_TOO_LARGE);
      mqtt_window_remove(&s->out, id);
      continue;
    }
    s->table->stats.resent++;
  }
  return true;
}

void mqtt_drain(struct mqtt_session *s, nanotime now) {
  if (!resend(s, now)) return;
  while (!list_empty(&s->queue) && takes_one(s) && !is_full(s->conn)) {
    struct mqtt_queued *q = container_of(s->queue.next, struct mqtt_queued, all);
    bool expired = has_expired(q->delivery.message, now);
    if (expired || !fits(s->conn, &q->delivery, now)) {
      s->table->stats.expired += expired;
      s->table->stats.too_large += !expired;
      give_up(s, &q->delivery, expired ? MQTT_UNSPECIFIED : MQTT_TOO_LARGE);
      drop_queued(s, q);
      continue;
    }
    unqueue(s, q);
    if (send_first(s, &q->delivery, now) != 0) { /* memory: when the client says something again */
      size_t size = mqtt_message_size(q->delivery.message);
      list_prepend(&s->queue, &q->all);
      s->queued++;
      s->queued_bytes += size;
      s->table->queued_bytes += size;
      return;
    }
    mem_free(s->table->cfg.queue_mem, q);
  }
  if (!s->waits || !is_open(s)) return;
  s->waits = false;
  s->table->cfg.door->window_open(s->user);
}

void mqtt_start_sending(struct mqtt_conn *c) {
  struct mqtt_session *s = c->session;
  for (uint16_t id = s->out.first; id; id = next_of(s, id)) s->out.slots[id - 1].counts = false;
  c->resend = s->out.first;
}

static void complete(struct mqtt_conn *c, uint16_t id, struct mqtt_slot *slot) {
  if (slot->counts) c->quota++;
  if (c->resend == id) c->resend = slot->next;
  mqtt_window_remove(&c->session->out, id);
}

static void received(struct mqtt_conn *c, const struct mqtt_packet *p, struct mqtt_slot *slot) {
  const struct mqtt_door *door = c->table->cfg.door;
  if (!slot) { /* so that the client can forget it, too: 4.3.3 */
    mqtt_send_ack(c, MQTT_PUBREL, p->id, MQTT_ID_NOT_FOUND, NULL);
    return;
  }
  if (slot->state == MQTT_WAITS_PUBREC) {
    uint64_t ref = slot->delivery.ref;
    if (MQTT_REASON_IS_ERROR(p->reason)) { /* [MQTT-4.4.0-2] */
      complete(c, p->id, slot);
      door->acked(c->session->user, ref, p->reason);
      return;
    }
    mqtt_window_received(&c->session->out, p->id);
    door->acked(c->session->user, ref, p->reason);
  }
  if (c->resend == p->id) c->resend = slot->next;
  mqtt_send_ack(c, MQTT_PUBREL, p->id, MQTT_SUCCESS, NULL); /* [MQTT-4.3.3-4] */
}

void mqtt_acked(struct mqtt_conn *c, const struct mqtt_packet *p, nanotime now) {
  struct mqtt_session *s = c->session;
  struct mqtt_slot *slot = mqtt_window_find(&s->out, p->id);
  bool of_2 = slot && slot->state != MQTT_WAITS_PUBACK;
  if (slot && (p->type == MQTT_PUBACK ? of_2 : !of_2)) {
    MQTT_END(c, MQTT_PROTOCOL_ERROR, "an acknowledgement of the wrong kind for this message's QoS", now);
    return;
  }
  if (p->type == MQTT_PUBREC) {
    received(c, p, slot);
  } else if (slot && p->type == MQTT_PUBACK) {
    uint64_t ref = slot->delivery.ref;
    complete(c, p->id, slot);
    s->table->cfg.door->acked(s->user, ref, p->reason);
  } else if (slot && slot->state == MQTT_WAITS_PUBCOMP) {
    complete(c, p->id, slot);
  }
  mqtt_drain(s, now);
}
