/* What a client sends after its CONNECT. */
#include "base/err.h"
#include "mqtt/state.h"

#define WHY_LEN 256u

static const struct mqtt_door *door_of(const struct mqtt_conn *c) { return c->table->cfg.door; }
static bool is_v5(const struct mqtt_conn *c) { return c->level == MQTT_5; }

/* A message that is not taken. 3.1.1 has no word for that: it is acknowledged ([MQTT-3.3.5-2] of 3.1.1), and the door has
 * logged it. */
static void refuse(struct mqtt_conn *c, const struct mqtt_packet *p, const struct mqtt_answer *answer, nanotime now) {
  uint8_t reason = MQTT_REASON_IS_ERROR(answer->reason) ? answer->reason : MQTT_UNSPECIFIED;
  if (answer->ends) {
    MQTT_END(c, (enum mqtt_reason)reason, answer->why, now);
    return;
  }
  enum mqtt_type type = p->publish.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC;
  struct mqtt_inbound_entry *e;
  if (!p->publish.qos) return;
  mqtt_send_ack(c, type, p->id, is_v5(c) ? reason : MQTT_SUCCESS, answer->why);
  if (p->publish.qos == 2 && !is_v5(c) && mqtt_inbound_add(&c->session->in, p->id, MQTT_RECEIVED, &e) == 0) c->receiving++;
}

/* The topic, behind its alias; false: the connection is over. *ret_unusable: it cannot be a name here. 3.3.2.3.4 */
static bool topic_of(struct mqtt_conn *c, const struct mqtt_packet *p, struct slice *ret_topic, bool *ret_unusable,
                     nanotime now) {
  char name[NAME_MAX_LEN + 1];
  const char *why;
  size_t len;
  uint16_t alias = p->props.has & MQTT_HAS(TOPIC_ALIAS) ? p->props.topic_alias : 0;
  *ret_topic = p->publish.topic;
  *ret_unusable = false;
  if (!alias) return true;
  if (alias > c->aliases_in.max) { /* [MQTT-3.3.2-9] */
    MQTT_END(c, MQTT_BAD_ALIAS, "the topic alias is larger than the maximum that CONNACK told", now);
    return false;
  }
  if (p->publish.topic.n) { /* [MQTT-3.3.2-12] */
    bool usable = name_from_mqtt_topic(*ret_topic, name, &len, &why) == 0;
    if (mqtt_aliases_in_set(&c->aliases_in, alias, usable ? *ret_topic : SLICE_NONE) == 0) return true;
    MQTT_END(c, MQTT_QUOTA, "there is no memory for topic aliases", now);
    return false;
  }
  *ret_topic = mqtt_aliases_in_get(&c->aliases_in, alias, ret_unusable);
  c->table->stats.alias_hits++;
  if (ret_topic->p || *ret_unusable) return true;
  MQTT_END(c, MQTT_PROTOCOL_ERROR, "the topic alias was never set on this connection", now);
  return false;
}

/* An identifier that is in use already. True: the packet is done with. */
static bool is_repeated(struct mqtt_conn *c, const struct mqtt_packet *p, nanotime now) {
  struct mqtt_inbound_entry *e = mqtt_inbound_find(&c->session->in, p->id);
  if (!e) return false;
  if (e->state == MQTT_RECEIVED) {
    if (p->publish.qos == 1) { /* the client has forgotten that it owes PUBREL */
      if (e->serial > c->first_serial) c->receiving--;
      mqtt_inbound_remove(&c->session->in, e);
      return false;
    }
    mqtt_send_ack(c, MQTT_PUBREC, p->id, MQTT_SUCCESS, NULL); /* [MQTT-4.3.3-10] */
    return true;
  }
  bool same = (e->state == MQTT_TAKEN_1) == (p->publish.qos == 1);
  e->heard = true;
  if (!p->publish.dup || !same) MQTT_END(c, MQTT_PROTOCOL_ERROR, "the packet identifier is in use", now);
  return true; /* it is answered when the door has answered */
}

bool mqtt_may_take(const struct mqtt_conn *c) {
  const struct mqtt_config *cfg = &c->table->cfg;
  return c->receiving < c->receive_maximum && (!cfg->max_taken || c->session->in.taken < cfg->max_taken);
}

/* Of identifiers that a client has never released the oldest of an earlier connection goes: it has lost its state. */
static bool forget_oldest(struct mqtt_conn *c) {
  struct mqtt_inbound *in = &c->session->in;
  struct mqtt_inbound_entry *oldest = NULL;
  for (unsigned i = 0; i < in->count; i++)
    if (in->v[i].state == MQTT_RECEIVED && in->v[i].serial <= c->first_serial && (!oldest || in->v[i].serial < oldest->serial))
      oldest = &in->v[i];
  if (oldest) mqtt_inbound_remove(in, oldest);
  return oldest != NULL;
}

/* Room for one more message with QoS 1 or 2. False: held, or over. A client that sends more than Receive Maximum, which
 * [MQTT-3.3.4-7] forbids, and 3.1.1 does not know, is read no further for a while: many clients do so in a burst. */
static bool make_room(struct mqtt_conn *c, nanotime now) {
  struct mqtt_inbound *in = &c->session->in;
  if (!mqtt_may_take(c)) {
    c->full = true;
    if (!in->taken && c->stalled == TIME_NEVER) c->stalled = now; /* it owes PUBREL for all of them */
    return false;
  }
  if (in->count < in->max || forget_oldest(c)) return true;
  MQTT_END(c, MQTT_QUOTA, "too many messages are not completed", now);
  return false;
}

/* Asks the door. ref 0: QoS 0. */
static enum mqtt_verdict ask(struct mqtt_conn *c, const struct mqtt_packet *p, struct slice topic, bool unusable, uint64_t ref,
                             struct mqtt_answer *answer) {
  char name[NAME_MAX_LEN + 1];
  const char *why = "its topic cannot be a name here";
  size_t len;
  if (unusable || name_from_mqtt_topic(topic, name, &len, &why) != 0) {
    *answer = (struct mqtt_answer){.reason = MQTT_BAD_TOPIC, .why = why};
    door_of(c)->refused(c->user, topic, MQTT_BAD_TOPIC, why, is_v5(c) && p->publish.qos);
    return MQTT_REFUSED;
  }
  struct mqtt_arrival a = {topic, slice_of(name, len), p->publish.payload, &p->props,
                           ref,   p->publish.qos,      p->publish.retain,  p->publish.dup};
  enum mqtt_verdict v = door_of(c)->publish(c->user, &a, answer);
  return v == MQTT_LATER && !ref ? MQTT_ACCEPTED : v;
}

static bool publish(struct mqtt_conn *c, const struct mqtt_packet *p, nanotime now) {
  struct mqtt_answer answer = {.reason = MQTT_SUCCESS};
  struct mqtt_inbound *in = &c->session->in;
  struct mqtt_inbound_entry *e = NULL;
  struct slice topic;
  uint64_t ref = 0;
  uint8_t qos = p->publish.qos;
  bool unusable;
  if (!topic_of(c, p, &topic, &unusable, now)) return true;
  if (qos) {
    if (is_repeated(c, p, now)) return true;
    if (!make_room(c, now)) return c->stage == MQTT_OVER;
    if (mqtt_inbound_add(in, p->id, qos == 1 ? MQTT_TAKEN_1 : MQTT_TAKEN_2, &e) != 0) {
      MQTT_END(c, MQTT_QUOTA, "there is no memory for messages that are not completed", now);
      return true;
    }
    ref = (uint64_t)e->serial << 16 | p->id;
  }
  enum mqtt_verdict verdict = ask(c, p, topic, unusable, ref, &answer);
  if (verdict == MQTT_LATER) {
    c->receiving++;
    return true;
  }
  if (qos) e = mqtt_inbound_find(in, p->id);
  if (verdict == MQTT_ACCEPTED && qos == 2) {
    mqtt_inbound_set(in, e, MQTT_RECEIVED);
    c->receiving++;
  } else if (qos) {
    mqtt_inbound_remove(in, e);
  }
  if (verdict == MQTT_REFUSED) refuse(c, p, &answer, now);
  if (verdict == MQTT_ACCEPTED && qos) mqtt_send_ack(c, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p->id, answer.reason, answer.why);
  return verdict != MQTT_HOLD;
}

void mqtt_publish_done(struct mqtt_session *s, uint64_t ref, uint8_t reason, const char *why, nanotime now) {
  struct mqtt_inbound_entry *e = mqtt_inbound_find(&s->in, (uint16_t)ref);
  struct mqtt_conn *c = s->conn;
  if (!e || e->serial != ref >> 16 || e->state == MQTT_RECEIVED) return;
  bool heard = e->heard, error = MQTT_REASON_IS_ERROR(reason), of_1 = e->state == MQTT_TAKEN_1,
       ours = c && e->serial > c->first_serial;
  if (c && !is_v5(c)) error = false;
  if (of_1 || error) {
    mqtt_inbound_remove(&s->in, e);
    if (ours) c->receiving--;
  } else {
    mqtt_inbound_set(&s->in, e, MQTT_RECEIVED);
  }
  if (!c) return;
  if (heard) mqtt_send_ack(c, of_1 ? MQTT_PUBACK : MQTT_PUBREC, (uint16_t)ref, is_v5(c) ? reason : MQTT_SUCCESS, why);
  if (c->full) mqtt_resume(c, now);
}

static void release(struct mqtt_conn *c, const struct mqtt_packet *p) {
  struct mqtt_inbound_entry *e = mqtt_inbound_find(&c->session->in, p->id);
  bool known = e && e->state == MQTT_RECEIVED;
  if (known) { /* [MQTT-4.3.3-12] */
    if (e->serial > c->first_serial) c->receiving--;
    mqtt_inbound_remove(&c->session->in, e);
  }
  mqtt_send_ack(c, MQTT_PUBCOMP, p->id, known || !is_v5(c) ? MQTT_SUCCESS : MQTT_ID_NOT_FOUND, NULL); /* [MQTT-4.3.3-11] */
}

/* One filter's code. False: held. */
static bool one_filter(struct mqtt_conn *c, enum mqtt_type type, const struct mqtt_filter *f, uint32_t id, uint8_t *ret_code,
                       struct mqtt_answer *answer) {
  bool subscribes = type == MQTT_SUBSCRIBE;
  struct mqtt_subscription sub;
  const char *why;
  *answer = (struct mqtt_answer){.reason = subscribes ? f->qos : MQTT_SUCCESS};
  enum mqtt_verdict verdict = MQTT_REFUSED;
  if (mqtt_subscription_read(f, id, &sub, &why)) {
    *answer = (struct mqtt_answer){.reason = MQTT_BAD_FILTER, .why = why};
    door_of(c)->refused(c->user, f->text, MQTT_BAD_FILTER, why, is_v5(c) || subscribes);
  } else {
    verdict = (subscribes ? door_of(c)->subscribe : door_of(c)->unsubscribe)(c->user, &sub, answer);
  }
  if (verdict == MQTT_HOLD) return false;
  bool error = MQTT_REASON_IS_ERROR(answer->reason);
  if (verdict == MQTT_REFUSED && !error) answer->reason = MQTT_UNSPECIFIED;
  if (verdict != MQTT_REFUSED && error) answer->reason = MQTT_SUCCESS;
  *ret_code =
      mqtt_reason_fits(answer->reason, subscribes ? MQTT_SUBACK : MQTT_UNSUBACK, false) ? answer->reason : MQTT_IMPLEMENTATION;
  if (!is_v5(c) && MQTT_REASON_IS_ERROR(*ret_code)) *ret_code = 0x80; /* 3.1.1, [MQTT-3.9.3-2] */
  return true;
}

static void answer_filters(struct mqtt_conn *c, const struct mqtt_packet *p, const char *why) {
  struct mqtt_packet ack = {.type = p->type == MQTT_SUBSCRIBE ? MQTT_SUBACK : MQTT_UNSUBACK, .id = p->id}; /* [MQTT-3.8.4-2] */
  ack.list.raw = slice_of(c->codes, c->code_count);
  if (*why && c->problem_info) {
    ack.props.has = MQTT_HAS(REASON_STRING);
    ack.props.reason_string = slice_str(why);
  }
  mqtt_send(c, &ack);
  mem_free(c->table->cfg.input_mem, c->codes);
  c->codes = NULL;
}

/* SUBSCRIBE, UNSUBSCRIBE: [MQTT-3.8.4-5], [MQTT-3.10.4-6]. */
static bool filters(struct mqtt_conn *c, const struct mqtt_packet *p, nanotime now) {
  uint32_t id = p->props.has & MQTT_HAS(SUBSCRIPTION_ID) ? p->props.subscription_id : 0, i = 0;
  struct slice raw = p->list.raw;
  char first[WHY_LEN] = "";
  struct mqtt_filter f;
  if (!c->codes) {
    if (!(c->codes = mem_alloc(c->table->cfg.input_mem, p->list.count))) {
      MQTT_END(c, MQTT_QUOTA, "there is no memory for so many filters", now);
      return true;
    }
    c->code_count = p->list.count;
    c->code_next = 0;
  }
  for (; mqtt_next_filter(&raw, p->type, &f); i++) {
    struct mqtt_answer answer;
    if (i < c->code_next) continue;
    if (!one_filter(c, p->type, &f, id, &c->codes[i], &answer)) return false;
    c->code_next++;
    if (MQTT_REASON_IS_ERROR(answer.reason) && answer.why && !*first) {
      size_t n = strnlen(answer.why, WHY_LEN - 1);
      memcpy(first, answer.why, n);
      first[n] = 0;
    }
    if (answer.ends && MQTT_REASON_IS_ERROR(answer.reason)) {
      MQTT_END(c, (enum mqtt_reason)answer.reason, first, now);
      return true;
    }
    if (raw.n && is_spent(c->table->cfg.spent)) {
      c->yielded = true;
      return false;
    }
  }
  answer_filters(c, p, first);
  return true;
}

static void disconnect(struct mqtt_conn *c, const struct mqtt_packet *p, nanotime now) {
  if (p->props.has & MQTT_HAS(SESSION_EXPIRY)) { /* 3.14.2.2.2 */
    uint32_t asked = p->props.session_expiry, most = c->table->cfg.max_expiry;
    if (c->no_expiry && asked) {
      MQTT_END(c, MQTT_PROTOCOL_ERROR, "a Session Expiry Interval that was 0 in CONNECT cannot be more now", now);
      return;
    }
    c->session->expiry = asked < most ? asked : most;
  }
  mqtt_over(c, MQTT_SUCCESS, "the client has said DISCONNECT", false, p->reason != MQTT_SUCCESS, now);
}

bool mqtt_receive(struct mqtt_conn *c, const struct mqtt_packet *p, nanotime now) {
  switch (p->type) {
  case MQTT_PUBLISH:
    return publish(c, p, now);
  case MQTT_PUBACK:
  case MQTT_PUBREC:
  case MQTT_PUBCOMP:
    mqtt_acked(c, p, now);
    break;
  case MQTT_PUBREL:
    release(c, p);
    break;
  case MQTT_SUBSCRIBE:
  case MQTT_UNSUBSCRIBE:
    return filters(c, p, now);
  case MQTT_PINGREQ: /* [MQTT-3.12.4-1] */
    c->pings++;
    mqtt_send_ack(c, MQTT_PINGRESP, 0, MQTT_SUCCESS, NULL);
    mqtt_drain(c->session, now);
    break;
  case MQTT_DISCONNECT:
    disconnect(c, p, now);
    break;
  case MQTT_CONNECT: /* [MQTT-3.1.0-2] */
    MQTT_END(c, MQTT_PROTOCOL_ERROR, "a second CONNECT", now);
    break;
  case MQTT_AUTH: /* [MQTT-4.12.0-7] */
    MQTT_END(c, MQTT_PROTOCOL_ERROR, "AUTH without an Authentication Method in CONNECT", now);
    break;
  case MQTT_CONNACK:
  case MQTT_SUBACK:
  case MQTT_UNSUBACK:
  case MQTT_PINGRESP:
    break; /* the decoder takes none of a client */
  }
  return true;
}
