/* A door for tests: what the state machine does is written down as text, one word or line an event, and compared. */
#ifndef UNIT_MQTT_RIG_H
#define UNIT_MQTT_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "mqtt/state.h"
#include "unit/broken.h"
#include "unit/mqtt/hex.h"

#define S NS_SEC
#define CLIENTS 4

struct rig;
struct client {
  struct rig *rig;
  struct mqtt_conn *conn;
  struct mqtt_session *session;
  char name; /* for events */
  enum mqtt_level level;
  uint8_t out[65536]; /* bytes that are no whole packet yet */
  size_t out_len;
  bool present;
};
struct rig {
  struct mqtt_sessions *table;
  struct mqtt_config cfg;
  struct mem sessions, inflight, queue, conns, input, messages;
  struct mem_fail fail;
  struct rng_seeded seed;
  struct client clients[CLIENTS];
  nanotime now;
  char log[16384];
  size_t log_len;
  enum mqtt_verdict verdict; /* of all questions */
  uint8_t reason;
  bool ends, judges_later, quiet;
  uint64_t ref; /* of the last PUBLISH */
  uint64_t packets;
};

__attribute__((unused)) static struct id me = {{1}}, other = {{2}};

__attribute__((format(printf, 2, 3))) static void note(struct rig *r, const char *format, ...) {
  va_list ap;
  if (r->quiet) return;
  if (r->log_len) r->log[r->log_len++] = '\n';
  va_start(ap, format);
  r->log_len += (size_t)vsnprintf(r->log + r->log_len, sizeof r->log - r->log_len, format, ap);
  va_end(ap);
  assert_true(r->log_len < sizeof r->log - 1000);
}

/* All that has happened since the last call is this. */
#define HAPPENED(r, text)                                                                                                      \
  do {                                                                                                                         \
    (r)->log[(r)->log_len] = 0;                                                                                                \
    assert_string_equal((r)->log, text);                                                                                       \
    (r)->log_len = 0;                                                                                                          \
    HOLDS(mqtt_sessions_check((r)->table));                                                                                    \
  } while (0)

static void note_props(const struct mqtt_packet *p, char *out, size_t cap) {
  const struct mqtt_props *q = &p->props;
  struct slice raw = q->raw, name, value;
  size_t n = 0;
  uint32_t id;
  out[0] = 0;
#define PROP(has_name, format, ...)                                                                                            \
  if (q->has & MQTT_HAS(has_name)) n += (size_t)snprintf(out + n, cap - n, " " format, __VA_ARGS__)
#define TEXT(s) (int)(s).n, (const char *)(s).p
  PROP(SESSION_EXPIRY, "expiry=%u", q->session_expiry);
  PROP(RECEIVE_MAXIMUM, "receive=%u", q->receive_maximum);
  PROP(MAXIMUM_PACKET_SIZE, "size=%u", q->maximum_packet_size);
  PROP(TOPIC_ALIAS_MAXIMUM, "aliases=%u", q->topic_alias_maximum);
  PROP(SERVER_KEEP_ALIVE, "keep=%u", q->server_keep_alive);
  PROP(ASSIGNED_CLIENT_ID, "client=%.*s", TEXT(q->assigned_client_id));
  PROP(MESSAGE_EXPIRY, "left=%u", q->message_expiry);
  PROP(TOPIC_ALIAS, "alias=%u", q->topic_alias);
  PROP(CONTENT_TYPE, "type=%.*s", TEXT(q->content_type));
  PROP(RESPONSE_TOPIC, "response=%.*s", TEXT(q->response_topic));
  PROP(CORRELATION_DATA, "correlation=%.*s", TEXT(q->correlation_data));
  PROP(PAYLOAD_FORMAT, "format=%u", q->payload_format);
  PROP(REASON_STRING, "(%.*s)", TEXT(q->reason_string));
  while (mqtt_next_user(&raw, &name, &value)) n += (size_t)snprintf(out + n, cap - n, " %.*s:%.*s", TEXT(name), TEXT(value));
  raw = q->raw;
  while (mqtt_next_subscription_id(&raw, &id)) n += (size_t)snprintf(out + n, cap - n, " sub=%u", id);
}

static void note_packet(struct client *c, const struct mqtt_packet *p) {
  char props[8192], codes[256] = "", *lower = strdup(mqtt_type_name(p->type));
  for (char *s = lower; *s; s++) *s = (char)(*s | 0x20);
  note_props(p, props, sizeof props);
  c->rig->packets++;
  if (p->type == MQTT_PUBLISH) {
    const struct mqtt_publish *m = &p->publish;
    char id[32] = "";
    if (m->qos) snprintf(id, sizeof id, " q%u #%u", m->qos, p->id);
    note(c->rig, "%c< %s%s %.*s%s%s '%.*s'%s", c->name, lower, id, TEXT(m->topic), m->dup ? " dup" : "",
         m->retain ? " retain" : "", (int)(m->payload.n < 20 ? m->payload.n : 20), (const char *)m->payload.p, props);
  } else if (p->type == MQTT_SUBACK || p->type == MQTT_UNSUBACK) {
    for (size_t i = 0; i < p->list.raw.n && i < 60; i++) sprintf(codes + 3 * i, " %02x", p->list.raw.p[i]);
    note(c->rig, "%c< %s #%u%s%s", c->name, lower, p->id, codes, props);
  } else if (p->type == MQTT_CONNACK) {
    note(c->rig, "%c< %s 0x%02x%s%s", c->name, lower, p->reason, p->session_present ? " present" : "", props);
  } else {
    char id[32] = "", reason[32] = "";
    if (p->id) snprintf(id, sizeof id, " #%u", p->id);
    if (p->reason) snprintf(reason, sizeof reason, " 0x%02x", p->reason);
    note(c->rig, "%c< %s%s%s%s", c->name, lower, id, reason, props);
  }
  free(lower);
}

static void rig_send(void *conn, struct slice head, struct mqtt_message *m) {
  struct client *c = conn;
  struct slice payload = m ? mqtt_message_payload(m) : SLICE_NONE;
  assert_true(c->out_len + head.n + payload.n <= sizeof c->out);
  memcpy(c->out + c->out_len, head.p, head.n);
  if (payload.n) memcpy(c->out + c->out_len + head.n, payload.p, payload.n);
  c->out_len += head.n + payload.n;
  size_t at = 0, size;
  struct mqtt_fault fault;
  struct mqtt_packet p;
  while (mqtt_frame(slice_of(c->out + at, c->out_len - at), UINT32_MAX, &size, &fault) == 1) {
    char text[MQTT_FAULT_LEN];
    if (mqtt_decode(slice_of(c->out + at, size), c->level, MQTT_FROM_SERVER, &p, &fault))
      fail_msg("what was sent is wrong: %s", mqtt_fault_text(&fault, text));
    note_packet(c, &p);
    at += size;
  }
  memmove(c->out, c->out + at, c->out_len - at);
  c->out_len -= at;
}
static void rig_close(void *conn, enum mqtt_reason reason, const char *why) {
  struct client *c = conn;
  c->session = NULL;
  assert_int_equal(c->out_len, 0);
  note(c->rig, "%c closed 0x%02x %s", c->name, reason, why);
}
static void rig_connect(void *conn, const struct mqtt_packet *p) {
  struct client *c = conn;
  (void)p;
  c->level = mqtt_conn_level(c->conn);
  if (c->rig->judges_later) return;
  if (mqtt_accept(c->conn, &me, c->rig->now, &c->session, &c->present) == 0) mqtt_session_set_user(c->session, c);
}
static enum mqtt_verdict answer_of(struct rig *r, struct mqtt_answer *ret) {
  if (r->verdict == MQTT_REFUSED) *ret = (struct mqtt_answer){r->reason, "not here", r->ends};
  return r->verdict;
}
static const char *verdict_name(enum mqtt_verdict v) {
  return v == MQTT_ACCEPTED ? "" : v == MQTT_REFUSED ? " refused" : v == MQTT_HOLD ? " held" : " later";
}
static enum mqtt_verdict rig_publish(void *conn, const struct mqtt_arrival *a, struct mqtt_answer *ret) {
  struct client *c = conn;
  c->rig->ref = a->ref;
  note(c->rig, "%c> %.*s q%u%s '%.*s'%s", c->name, TEXT(a->name), a->qos, a->retain ? " retain" : "",
       (int)(a->payload.n < 20 ? a->payload.n : 20), (const char *)a->payload.p, verdict_name(c->rig->verdict));
  return answer_of(c->rig, ret);
}
static enum mqtt_verdict rig_subscribe(void *conn, const struct mqtt_subscription *s, struct mqtt_answer *ret) {
  struct client *c = conn;
  char share[64] = "", id[32] = "";
  if (s->share.n) snprintf(share, sizeof share, " share=%.*s", TEXT(s->share));
  if (s->id) snprintf(id, sizeof id, " sub=%u", s->id);
  note(c->rig, "%c subscribes %s q%u%s%s rh%u%s%s%s", c->name, s->pattern, s->qos, s->no_local ? " nl" : "",
       s->retain_as_published ? " rap" : "", s->retain_handling, share, id, verdict_name(c->rig->verdict));
  return answer_of(c->rig, ret);
}
static enum mqtt_verdict rig_unsubscribe(void *conn, const struct mqtt_subscription *s, struct mqtt_answer *ret) {
  struct client *c = conn;
  note(c->rig, "%c unsubscribes %s%s", c->name, s->pattern, verdict_name(c->rig->verdict));
  ret->reason = c->rig->reason;
  return answer_of(c->rig, ret);
}
static void rig_refused(void *conn, struct slice topic, enum mqtt_reason reason, const char *why, bool told) {
  struct client *c = conn;
  note(c->rig, "%c refused %.*s 0x%02x %s%s", c->name, (int)(topic.n < 20 ? topic.n : 20), (const char *)topic.p, reason, why,
       told ? ", told" : "");
}
static void rig_acked(void *session, uint64_t ref, uint8_t reason) {
  struct client *c = session;
  note(c->rig, "%c has %u 0x%02x", c->name, (unsigned)ref, reason);
}
static void rig_window_open(void *session) {
  struct client *c = session;
  note(c->rig, "%c has room", c->name);
}
static void rig_will(void *session, struct mqtt_message *m, uint8_t qos, bool retain) {
  struct client *c = session;
  note(c->rig, "%c will %.*s q%u%s '%.*s'%s", c->name, TEXT(mqtt_message_topic(m)), qos, retain ? " retain" : "",
       TEXT(mqtt_message_payload(m)), m->expires == TIME_NEVER ? "" : " expires");
}
static void rig_ended(void *session, enum mqtt_reason reason) {
  struct client *c = session;
  note(c->rig, "%c ended 0x%02x", c->name, reason);
}

static const struct mqtt_door rig_door = {rig_send,    rig_close, rig_connect,     rig_publish, rig_subscribe, rig_unsubscribe,
                                          rig_refused, rig_acked, rig_window_open, rig_will,    rig_ended};

static struct rig *rig_new(void) {
  struct rig *r = calloc(1, sizeof *r);
  assert_non_null(r);
  struct mem *mems[] = {&r->sessions, &r->inflight, &r->queue, &r->conns, &r->input, &r->messages};
  for (size_t i = 0; i < 6; i++) {
    *mems[i] = MEM_INIT("test", 0);
    mems[i]->fail = &r->fail;
  }
  rng_seeded_init(&r->seed, 1);
  r->now = 1000 * S;
  r->cfg = (struct mqtt_config){.door = &rig_door,
                                .sessions_mem = &r->sessions,
                                .inflight_mem = &r->inflight,
                                .queue_mem = &r->queue,
                                .conns_mem = &r->conns,
                                .input_mem = &r->input,
                                .rng = rng_seeded_view(&r->seed),
                                .max_sessions = 10,
                                .max_queue = 10,
                                .max_queue_bytes = 10000,
                                .max_queued_bytes = 15000,
                                .max_expiry = 3600,
                                .max_packet = 100000,
                                .max_connect = 1000,
                                .max_inflight = 5,
                                .receive_maximum = 4,
                                .max_aliases_in = 3,
                                .max_aliases_out = 2,
                                .connect_timeout = 10 * S,
                                .stall_timeout = 60 * S};
  assert_int_equal(mqtt_sessions_new(&r->cfg, &r->table), 0);
  for (int i = 0; i < CLIENTS; i++) r->clients[i] = (struct client){.rig = r, .name = (char)('A' + i), .level = MQTT_5};
  return r;
}
static void rig_free(struct rig *r) {
  r->quiet = true;
  for (int i = 0; i < CLIENTS; i++) mqtt_conn_free(r->clients[i].conn, r->now);
  mqtt_sessions_free(r->table);
  struct mem *mems[] = {&r->sessions, &r->inflight, &r->queue, &r->conns, &r->input, &r->messages};
  for (size_t i = 0; i < 6; i++) assert_int_equal(mems[i]->bytes, 0);
  free(r);
}

static void open_conn(struct client *c) {
  mqtt_conn_free(c->conn, c->rig->now);
  c->conn = NULL;
  c->session = NULL;
  c->out_len = 0;
  assert_int_equal(mqtt_conn_new(c->rig->table, c, c->rig->now, &c->conn), 0);
}
/* A packet of the client: first byte and body as hex.h reads them. */
static void say(struct client *c, uint8_t first, const char *body) {
  uint8_t buf[1024];
  mqtt_conn_recv(c->conn, packet_of(first, body, buf), c->rig->now);
}
static void bytes(struct client *c, const char *text) {
  uint8_t buf[1024];
  mqtt_conn_recv(c->conn, hex(text, buf), c->rig->now);
}
/* Connects anew; body: behind the protocol name. */
static void connect_as(struct client *c, const char *body) {
  char text[512];
  snprintf(text, sizeof text, "<MQTT> %s", body);
  open_conn(c);
  say(c, 0x10, text);
}
/* As "me" in 5.0, whose session is kept for 100 s. */
#define KEPT "05 00 0000 {11 00000064} <me>"
#define CLEAN4 "04 02 0000 <me>"
#define KEPT4 "04 00 0000 <me>"
static const char connected[] = "A< connack 0x00 receive=4 size=100000 aliases=3";

static struct mqtt_message *message(struct rig *r, const char *topic, const char *payload, uint32_t expiry) {
  struct mqtt_props props = {.has = expiry ? MQTT_HAS(MESSAGE_EXPIRY) : 0, .message_expiry = expiry};
  return mqtt_message_new(&r->messages, slice_str(topic), slice_str(payload), &props, r->now);
}
__attribute__((unused)) static int deliver(struct rig *r, struct mqtt_session *s, const char *topic, const char *payload,
                                           uint8_t qos, uint64_t ref) {
  struct mqtt_message *m = message(r, topic, payload, 0);
  assert_non_null(m);
  int err = mqtt_deliver(s, &(struct mqtt_to){.message = m, .qos = qos, .ref = ref}, r->now);
  mqtt_message_unref(m);
  return err;
}

#endif
