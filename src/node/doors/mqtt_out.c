/* What the node sends to a client: its messages go on through the MQTT session, its answers to whoever asked. */
#include <stdio.h>

#include "base/err.h"
#include "node/doors/mqtt_headers.h"
#include "node/doors/mqtt_state.h"
#include "node/session/session.h"
#include "wire/frame.h"
#include "wire/mqtt_names.h"
#include "wire/pattern.h"

/* ---- messages --------------------------------------------------------------------------------------------------------------
 */
struct wanted {
  uint32_t ids[MQTT_MOST_IDS];
  uint16_t id_count;
  uint8_t qos;
  bool any, as_published;
};

/* Topics that begin with $ are for filters that name it: MQTT 5.0, 4.7.2. */
static bool matches(const struct mqtt_filter_entry *f, struct slice topic) {
  if (topic.n && topic.p[0] == '$' && f->pattern[0] == '*') return false;
  return pattern_match(slice_of(f->pattern, f->len), topic);
}

/* group: the message is for the client as a member of that one; n = 0: for its other subscriptions. */
static void match(const struct mqtt_client *c, struct slice topic, struct slice group, struct wanted *w) {
  *w = (struct wanted){0};
  list_for(it, &c->filters) {
    const struct mqtt_filter_entry *f = container_of(it, const struct mqtt_filter_entry, all);
    if (group.n ? !slice_eq(slice_of(f->pattern, f->len), group) : !matches(f, topic)) continue;
    w->any = true;
    w->as_published |= f->as_published;
    if (f->qos > w->qos) w->qos = f->qos;
    if (f->id && w->id_count < MQTT_MOST_IDS) w->ids[w->id_count++] = f->id;
  }
}

void mqtt_forget_last(struct mqtt_rooms *rooms) {
  mqtt_message_unref(rooms->last);
  shbuf_unref(rooms->last_headers);
  rooms->last = NULL;
  rooms->last_headers = NULL;
}

static bool is_last(const struct mqtt_rooms *rooms, const struct msg_publish *m) {
  struct slice headers = rooms->last_headers ? shbuf_view(rooms->last_headers) : SLICE_NONE;
  return rooms->last && slice_eq(slice_of(rooms->last_topic, rooms->last_topic_len), m->topic) &&
         slice_eq(mqtt_message_payload(rooms->last), m->payload) && rooms->last_expires_ms == m->expires_ms &&
         slice_eq(headers, m->headers.raw);
}

/* Keeps it for its other receivers, but for lack of memory. */
static void set_last(struct mqtt_client *c, const struct msg_publish *m, struct mqtt_message *made) {
  struct mqtt_rooms *rooms = c->n->mqtt;
  struct shbuf *headers = m->headers.count ? shbuf_dup(mqtt_mem(c->n), m->headers.raw) : NULL;
  if (m->headers.count && !headers) return;
  mqtt_forget_last(rooms);
  rooms->last = mqtt_message_ref(made);
  rooms->last_headers = headers;
  rooms->last_expires_ms = m->expires_ms;
  rooms->last_topic_len = (uint16_t)m->topic.n;
  memcpy(rooms->last_topic, m->topic.p, m->topic.n);
  mqtt_dirty(c); /* so that it is given back by the turn's end */
}

static struct mqtt_message *make(struct mqtt_client *c, const struct msg_publish *m, struct slice topic) {
  struct mqtt_said said;
  if (!m->headers.count) return mqtt_message_new(mqtt_mem(c->n), topic, m->payload, NULL, c->n->now);
  mqtt_headers_to(m->headers, &said);
  c->n->mqtt->unsaid += said.left_out;
  if (said.left_out && bucket_take(&c->n->mqtt->lines, 2.0, 20.0, c->n->now))
    log_warn(c->n->log, "mqtt_headers_unsaid",
             "topic=\"%.*s\" headers=%u text=\"their values are no text, or not what their names say\"", (int)m->topic.n,
             (const char *)m->topic.p, said.left_out);
  return mqtt_message_new(mqtt_mem(c->n), topic, m->payload, &said.props, c->n->now);
}

/* The message as MQTT has it: what was sent last is kept for its other receivers. NULL: no memory, or MQTT cannot say its
 * topic (*ret_unnamed). */
static struct mqtt_message *message_of(struct mqtt_client *c, const struct msg_publish *m, bool *ret_unnamed) {
  struct mqtt_rooms *rooms = c->n->mqtt;
  char text[NAME_MAX_LEN + 1];
  const char *why;
  size_t len;
  *ret_unnamed = false;
  if (is_last(rooms, m)) return mqtt_message_ref(rooms->last);
  if (name_to_mqtt(m->topic, text, &len, &why)) {
    *ret_unnamed = true;
    rooms->unnamed++;
    if (bucket_take(&rooms->lines, 2.0, 20.0, c->n->now))
      log_warn(c->n->log, "mqtt_topic_unsaid", "name=\"%s\" topic=\"%.*s\" text=\"%s\"", c->name, (int)m->topic.n,
               (const char *)m->topic.p, why);
    return NULL;
  }
  struct mqtt_message *made = make(c, m, slice_of(text, len));
  if (!made) return NULL;
  if (m->expires_ms) made->expires = time_add(c->n->now, m->expires_ms * NS_MS);
  set_last(c, m, made);
  return made;
}

/* The smaller of both: [MQTT-3.8.4-8]. */
static uint8_t qos_of(const struct msg_publish *m, uint8_t granted) {
  uint8_t given = !m->qos ? 0 : m->exactly_once ? 2 : 1;
  return given < granted ? given : granted;
}

static int lost(struct mqtt_client *c, int err, bool promised) {
  c->n->mqtt->lost++;
  c->lost += promised;
  if (bucket_take(&c->n->mqtt->lines, 2.0, 20.0, c->n->now))
    log_warn(c->n->log, "mqtt_message_lost", "name=\"%s\" code=%s", c->name, macula_err_name(err));
  return 0;
}

/* MACULA_EFULL: the client must acknowledge something first. */
static int deliver(struct mqtt_client *c, const struct msg_publish *m) {
  struct wanted w;
  bool unnamed;
  struct msg_list groups = m->groups;
  struct slice group = SLICE_NONE;
  (void)msg_list_next(&groups, &group);
  match(c, m->topic, group, &w);
  if (!w.any || !c->ms) return 0;
  if (m->has_ref && !w.qos && c->s) session_acked(c->s, m->ref); /* nobody will acknowledge it */
  struct mqtt_message *message = message_of(c, m, &unnamed);
  if (!message) return unnamed ? 0 : lost(c, MACULA_ENOMEM, m->qos);
  struct mqtt_to to = {.message = message,
                       .ids = w.ids,
                       .id_count = w.id_count,
                       .ref = m->has_ref ? m->ref : 0,
                       .qos = qos_of(m, w.qos),
                       .retain = m->retain && (m->replay || w.as_published),
                       .keep = c->overdue};
  if (c->overdue && !to.qos && c->link && mqtt_link_unsent(c->link)) {
    mqtt_message_unref(message);
    return lost(c, MACULA_SLOW_CONSUMER, m->qos);
  }
  int err = mqtt_deliver(c->ms, &to, c->n->now);
  mqtt_message_unref(message);
  if (err == MACULA_SLOW_CONSUMER || err == MACULA_ENOMEM) return lost(c, err, m->qos);
  return err;
}

int mqtt_wait(struct mqtt_client *c, struct slice frame, struct shbuf *shared) {
  struct mqtt_waiting *w = mem_alloc(mqtt_mem(c->n), sizeof *w);
  if (!w) return MACULA_ENOMEM;
  list_init(&w->all);
  w->since = c->n->now;
  w->frame = shared ? shbuf_ref(shared) : shbuf_dup(mqtt_mem(c->n), frame);
  if (!w->frame) {
    mem_free(mqtt_mem(c->n), w);
    return MACULA_ENOMEM;
  }
  list_append(&c->waiting, &w->all);
  c->waiting_bytes += frame.n;
  return 0;
}

/* waited: since the frame came. */
static int deliver_frame(struct mqtt_client *c, struct slice frame, uint64_t waited) {
  struct msg m;
  if (msg_decode(MSG_PUBLISH, slice_of(frame.p + FRAME_HEADER_LEN, frame.n - FRAME_HEADER_LEN), &m)) return 0;
  if (m.publish.expires_ms && m.publish.expires_ms <= waited / NS_MS) {
    c->n->stats.expired++;
    return 0;
  }
  if (m.publish.expires_ms) m.publish.expires_ms -= waited / NS_MS;
  return deliver(c, &m.publish);
}

void mqtt_flush_waiting(struct mqtt_client *c) {
  while (!list_empty(&c->waiting)) {
    struct mqtt_waiting *w = container_of(c->waiting.next, struct mqtt_waiting, all);
    if (c->ms && deliver_frame(c, shbuf_view(w->frame), time_since(c->n->now, w->since)) == MACULA_EFULL) return;
    list_remove(&w->all);
    c->waiting_bytes -= w->frame->len;
    c->progress = c->n->now;
    shbuf_unref(w->frame);
    mem_free(mqtt_mem(c->n), w);
  }
}

/* ---- answers ---------------------------------------------------------------------------------------------------------------
 */
/* Some who listen may not have it, or have lost another for it: MQTT has no code for that, as all others have it. */
static void say_partly(const struct msg_partly *p, char why[MQTT_WHY_KEPT + 1]) {
  const size_t most = MQTT_WHY_KEPT + 1;
  int n = 0;
  if (p->cut)
    n += snprintf(why, most, "%s: %llu subscriber%s had no room, and %s lost this message or an older one",
                  macula_err_name(MACULA_SLOW_CONSUMER), (unsigned long long)p->cut, p->cut == 1 ? "" : "s",
                  p->cut == 1 ? "has" : "have");
  if (p->silent)
    n += snprintf(why + n, most - (size_t)n, "%s%llu node%s not acknowledged it", n ? "; " : "", (unsigned long long)p->silent,
                  p->silent == 1 ? " has" : "s have");
  if (n) snprintf(why + n, most - (size_t)n, "; all others have it");
}

static void take_ack(struct mqtt_client *c, const struct msg_ack *a) {
  int err = a->code.n ? err_from_name((const char *)a->code.p, a->code.n) : 0;
  char why[MQTT_WHY_KEPT + 1] = "";
  if (a->code.n && !err) err = MACULA_EINVAL;
  if (!a->code.n) say_partly(&a->partly, why);
  if (a->code.n || a->message.n) /* by far the most say nothing */
    snprintf(why, sizeof why, "%.*s%s%.*s", (int)a->code.n, (const char *)a->code.p, a->message.n ? ": " : "",
             (int)a->message.n, (const char *)a->message.p);
  if (a->ref & MQTT_OWN_REF) {
    mqtt_request_answered(c, a->ref, err, slice_str(why));
    return;
  }
  for (struct mqtt_handed *h = c->n->mqtt->handed; h; h = h->before) {
    if (h->client != c || h->ref != a->ref) continue;
    h->answered = true;
    h->err = err;
    memcpy(c->n->mqtt->said, why, sizeof why);
    return;
  }
  list_for(it, &c->later) {
    struct mqtt_later *l = container_of(it, struct mqtt_later, all);
    if (l->ref != a->ref || l->answered) continue;
    l->answered = true;
    l->err = err;
    if (err || *why) l->why = mem_dup(mqtt_mem(c->n), why, strlen(why));
    mqtt_dirty(c);
    return;
  }
}

int mqtt_take_frame(struct mqtt_client *c, struct slice frame, struct shbuf *shared) {
  struct msg m;
  if (frame.n < FRAME_HEADER_LEN) return MACULA_EINVAL;
  uint8_t type = frame.p[1];
  if (type == MSG_PUBLISH) {
    bool is_left = c->heir; /* the session that it was for is over, and tells nobody */
    while (c->heir) c = c->heir;
    bool early = !c->ms && !c->closed && c->link; /* on its way to the session that it replaces, and goes on with */
    bool waits = early || !list_empty(&c->waiting) || deliver_frame(c, frame, 0) == MACULA_EFULL;
    int err = waits ? mqtt_wait(c, frame, shared) : 0;
    return err && is_left ? lost(c, err, false) : err;
  }
  if (msg_decode(type, slice_of(frame.p + FRAME_HEADER_LEN, frame.n - FRAME_HEADER_LEN), &m)) return 0;
  if (type == MSG_ACK) take_ack(c, &m.ack);
  if (type == MSG_PONG && !c->ms) {
    c->welcome = true;
    mqtt_dirty(c);
  }
  return 0; /* DISCONNECT comes with close; a NOTICE has no place in MQTT, and what it tells was logged */
}
