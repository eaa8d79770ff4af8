/* Sessions of MQTT with clients that do what they like: the tables stay whole, what is sent is right by the standard, never
 * more is in flight than a client allows, and nothing is left at the end. Input: steps, each an opcode and its bytes. */
#include <stdlib.h>

#include "base/err.h"
#include "mqtt/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CLIENTS 3

struct client {
  struct mqtt_conn *conn;
  struct mqtt_session *session; /* of the connection */
  enum mqtt_level level;
  uint32_t receive_maximum, max_packet;
  uint8_t out[8192];
  size_t out_len;
  bool closed;
};
static struct client clients[CLIENTS];
static struct mqtt_sessions *table;
static nanotime now;
static enum mqtt_verdict verdict;
static bool spent_now;
static uint64_t refs[4];
static unsigned ref_at;

static void require(int ok) {
  if (!ok) abort();
}

static void got(struct client *c, const struct mqtt_packet *p, size_t size) {
  unsigned in_flight = 0;
  require(!c->closed && size <= c->max_packet);
  if (p->type != MQTT_PUBLISH || !p->publish.qos) return;
  const struct mqtt_window *w = &c->conn->session->out;
  for (unsigned i = 0; i < w->cap; i++) in_flight += w->slots[i].counts;
  require(in_flight <= c->receive_maximum); /* [MQTT-3.3.4-9] */
}

static void on_send(void *conn, struct slice head, struct mqtt_message *m) {
  struct client *c = conn;
  struct slice payload = m ? mqtt_message_payload(m) : SLICE_NONE;
  struct mqtt_packet p;
  struct mqtt_fault fault;
  size_t size, at = 0;
  require(c->out_len + head.n + payload.n <= sizeof c->out);
  memcpy(c->out + c->out_len, head.p, head.n);
  if (payload.n) memcpy(c->out + c->out_len + head.n, payload.p, payload.n);
  c->out_len += head.n + payload.n;
  while (mqtt_frame(slice_of(c->out + at, c->out_len - at), UINT32_MAX, &size, &fault) == 1) {
    enum mqtt_level level = mqtt_conn_level(c->conn);
    require(mqtt_decode(slice_of(c->out + at, size), level, MQTT_FROM_SERVER, &p, &fault) == 0);
    got(c, &p, size);
    at += size;
  }
  c->out_len -= at;
  memmove(c->out, c->out + at, c->out_len);
}
static void on_close(void *conn, enum mqtt_reason reason, const char *why) {
  struct client *c = conn;
  (void)reason;
  require(why != NULL && c->out_len == 0 && !c->closed);
  c->closed = true;
  c->session = NULL;
}
static void on_connect(void *conn, const struct mqtt_packet *p) {
  struct client *c = conn;
  const struct mqtt_props *q = &p->props;
  bool present;
  c->receive_maximum = q->has & MQTT_HAS(RECEIVE_MAXIMUM) ? q->receive_maximum : 65535;
  c->max_packet = q->has & MQTT_HAS(MAXIMUM_PACKET_SIZE) ? q->maximum_packet_size : UINT32_MAX;
  if (verdict == MQTT_HOLD) return;
  if (verdict == MQTT_REFUSED) {
    mqtt_refuse(c->conn, MQTT_NOT_AUTHORIZED, "no", now);
  } else if (mqtt_accept(c->conn, &(struct id){{1}}, now, &c->session, &present) == 0) {
    mqtt_session_set_user(c->session, c);
  }
}
static enum mqtt_verdict on_publish(void *conn, const struct mqtt_arrival *a, struct mqtt_answer *ret) {
  struct client *c = conn;
  require(c->session && (a->ref != 0) == (a->qos != 0) && a->name.n);
  if (verdict == MQTT_LATER) refs[ref_at++ & 3] = a->ref;
  if (verdict == MQTT_REFUSED) *ret = (struct mqtt_answer){MQTT_QUOTA, "no", a->payload.n & 1};
  return verdict;
}
static enum mqtt_verdict on_filter(void *conn, const struct mqtt_subscription *s, struct mqtt_answer *ret) {
  struct client *c = conn;
  require(c->session && s->pattern_len);
  if (verdict == MQTT_REFUSED) *ret = (struct mqtt_answer){MQTT_NOT_AUTHORIZED, "no", s->filter.n & 1};
  return verdict;
}
static void on_refused(void *conn, struct slice topic, enum mqtt_reason reason, const char *why, bool told) {
  (void)conn, (void)topic, (void)told;
  require(why && MQTT_REASON_IS_ERROR(reason));
}
static void on_acked(void *session, uint64_t ref, uint8_t reason) { (void)session, (void)ref, (void)reason; }
static void on_window_open(void *session) { (void)session; }
static void on_will(void *session, struct mqtt_message *m, uint8_t qos, bool retain) {
  (void)session, (void)retain;
  require(m->refs == 1 && qos < 3);
}
static void on_ended(void *session, enum mqtt_reason reason) { (void)session, (void)reason; }

static bool is_over(void *ctx) { return *(bool *)ctx; }

static const struct mqtt_door door = {on_send,    on_close, on_connect,     on_publish, on_filter, on_filter,
                                      on_refused, on_acked, on_window_open, on_will,    on_ended};

static void drop(struct client *c) {
  mqtt_conn_free(c->conn, now);
  memset(c, 0, sizeof *c);
}
static void begin(struct client *c) {
  drop(c);
  c->max_packet = UINT32_MAX;
  require(mqtt_conn_new(table, c, now, &c->conn) == 0);
}
static void deliver(struct client *c, uint8_t b, struct mem *mem) {
  struct mqtt_session *s = c->session;
  struct mqtt_props props = {.has = b & 1 ? MQTT_HAS(MESSAGE_EXPIRY) : 0, .message_expiry = b >> 4};
  static const uint32_t ids[] = {1, 300, 70000};
  if (!s) s = mqtt_session_find(table, slice_of(&b, 1));
  struct mqtt_message *m = mqtt_message_new(mem, slice_str(b & 8 ? "a" : "b/c"), slice_of("0123456789", b >> 5), &props, now);
  require(m != NULL);
  if (s) {
    int err =
        mqtt_deliver(s, &(struct mqtt_to){.message = m, .ids = ids, .id_count = b & 3, .qos = (uint8_t)((b >> 1) % 3)}, now);
    require(err == 0 || err == MACULA_EFULL || err == MACULA_SLOW_CONSUMER);
  }
  mqtt_message_unref(m);
}

static void judged_late(struct client *c) {
  bool present;
  if (c->session || c->closed || !mqtt_conn_is_held(c->conn)) return;
  if (mqtt_accept(c->conn, &(struct id){{1}}, now, &c->session, &present)) return;
  mqtt_session_set_user(c->session, c);
  mqtt_resume(c->conn, now);
}

static size_t step(const uint8_t *p, size_t n, struct mem *messages) {
  struct client *c = &clients[p[0] % CLIENTS];
  unsigned op = p[0] >> 4;
  uint8_t b = n > 1 ? p[1] : 0;
  size_t len = b < n - 2 ? b : n > 2 ? n - 2 : 0;
  if (!c->conn) begin(c);
  switch (op) {
  case 0:
    begin(c);
    return 1;
  case 1:
    mqtt_conn_lost(c->conn, now);
    c->closed = true, c->session = NULL;
    return 1;
  case 2:
    now += (nanotime)b * b * NS_MS * 10;
    mqtt_sessions_tick(table, now);
    for (int i = 0; i < CLIENTS; i++)
      if (clients[i].conn) mqtt_conn_tick(clients[i].conn, now);
    return 2;
  case 3:
    verdict = (enum mqtt_verdict)(b & 3);
    return 2;
  case 4:
    judged_late(c);
    mqtt_conn_tick(c->conn, now);
    mqtt_resume(c->conn, now);
    return 1;
  case 5:
    if (c->session) mqtt_publish_done(c->session, refs[b & 3], b & 4 ? MQTT_QUOTA : 0, "later", now);
    return 2;
  case 6:
    mqtt_conn_pause(c->conn, b & 1, now);
    spent_now = b & 2;
    return 2;
  case 7:
    mqtt_conn_eof(c->conn, now);
    return 1;
  case 8:
  case 9:
    deliver(c, b, messages);
    return 2;
  case 10:
    if (c->session && b & 1) mqtt_session_end(c->session, MQTT_TAKEN_OVER, "elsewhere", b & 2, now);
    return 2;
  default:
    if (n > 2) mqtt_conn_recv(c->conn, slice_of(p + 2, len), now);
    return 2 + len;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct mem mem = MEM_INIT("fuzz", 0), messages = MEM_INIT("fuzz", 0);
  struct rng_seeded seed;
  rng_seeded_init(&seed, 1);
  struct spent spent = {is_over, &spent_now};
  struct mqtt_config cfg = {&door,       &mem,       &mem, &mem, &mem, &mem,     rng_seeded_view(&seed),
                            &spent,      4,          3,    400,  600,  size & 1, 60,
                            300,         200,        4,    3,    2,    2,        0,
                            10 * NS_SEC, 20 * NS_SEC};
  now = 100 * NS_SEC;
  verdict = MQTT_ACCEPTED;
  spent_now = false;
  memset(clients, 0, sizeof clients);
  require(mqtt_sessions_new(&cfg, &table) == 0);
  for (size_t at = 0, steps = 0; at < size && steps < 500; steps++) {
    at += step(data + at, size - at, &messages);
    const char *broken = mqtt_sessions_check(table);
    if (broken) abort();
    for (int i = 0; i < CLIENTS; i++)
      if (clients[i].conn && mqtt_conn_check(clients[i].conn)) abort();
  }
  for (int i = 0; i < CLIENTS; i++) drop(&clients[i]);
  mqtt_sessions_free(table);
  require(mem.bytes == 0 && messages.bytes == 0);
  return 0;
}
