/* A client that keeps to the standard, over connections that end at any byte: what it publishes with QoS 2 arrives once, with
 * QoS 1 at least once and in order, and the same of what it gets. The door answers at once, later, or holds. */
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

#define MESSAGES 400u /* each way */
#define MOST 8u       /* of the client in flight */

struct pipe {
  uint8_t b[1 << 16];
  size_t n;
};
struct sent { /* of the client, in its order */
  uint16_t id, n;
  uint8_t qos;
  bool released; /* PUBREC has come */
};
struct world {
  struct rng rng;
  struct rng_seeded seed;
  struct mqtt_sessions *table;
  struct mqtt_config cfg;
  struct mem mem, messages;
  struct mqtt_conn *conn;
  struct mqtt_session *session;
  nanotime now;
  enum mqtt_level level;
  bool open, closed, room; /* CONNACK has come; our side has closed; the window is open */
  struct pipe up, down;
  /* the client */
  struct sent sent[MOST];
  unsigned sent_count, published;
  uint16_t last_id;
  bool owes[65536];     /* PUBREL is awaited for these identifiers */
  uint32_t outstanding; /* of ours, as the client counts them: it allows 3 */
  bool ours[65536];
  uint8_t got[MESSAGES];
  int last_got[3];
  /* the node */
  uint64_t refs[64];
  unsigned ref_count, delivered;
  uint8_t arrived[MESSAGES];
  int last_arrived[3];
  uint64_t connections, duplicates;
};

static unsigned below(struct world *w, unsigned n) { return (unsigned)rng_below(w->rng, n); }
static uint8_t qos_of(unsigned n) { return (uint8_t)(1 + (n * 7 / 3 & 1)); }

static void push(struct pipe *p, const void *b, size_t n) {
  assert_true(p->n + n <= sizeof p->b);
  memcpy(p->b + p->n, b, n);
  p->n += n;
}
static void pull(struct pipe *p, size_t n) {
  p->n -= n;
  memmove(p->b, p->b + n, p->n);
}

/* A message has come to one of both ends: never twice with QoS 2; new ones of a QoS in order. */
static void count(struct world *w, uint8_t *seen, int last[3], unsigned n, bool dup) {
  assert_true(n < MESSAGES);
  if (qos_of(n) == 2 && seen[n]) fail_msg("%s %u twice", seen == w->got ? "the client got" : "the node got", n);
  if (seen[n])
    w->duplicates++;
  else if (!dup)
    assert_true((int)n > last[qos_of(n)]);
  if (!seen[n]) last[qos_of(n)] = (int)n > last[qos_of(n)] ? (int)n : last[qos_of(n)];
  seen[n] = 1;
}

/* ---- the node ---- */

static void on_send(void *conn, struct slice head, struct mqtt_message *m) {
  struct world *w = conn;
  push(&w->down, head.p, head.n);
  if (m) push(&w->down, mqtt_message_payload(m).p, mqtt_message_payload(m).n);
}
static void on_close(void *conn, enum mqtt_reason reason, const char *why) {
  struct world *w = conn;
  if (reason != MQTT_UNSPECIFIED) fail_msg("closed: %s", why);
  w->closed = true;
}
static void on_connect(void *conn, const struct mqtt_packet *p) {
  struct world *w = conn;
  bool present, was = w->session != NULL;
  (void)p;
  assert_int_equal(mqtt_accept(w->conn, &(struct id){{1}}, w->now, &w->session, &present), 0);
  assert_int_equal(present, was);
  mqtt_session_set_user(w->session, w);
}
static enum mqtt_verdict on_publish(void *conn, const struct mqtt_arrival *a, struct mqtt_answer *ret) {
  struct world *w = conn;
  (void)ret;
  unsigned n = (unsigned)(a->payload.p[0] << 8 | a->payload.p[1]), chance = below(w, 10);
  if (chance < 3) return MQTT_HOLD;
  count(w, w->arrived, w->last_arrived, n, a->dup);
  if (chance < 6 || w->ref_count == 64) return MQTT_ACCEPTED;
  w->refs[w->ref_count++] = a->ref;
  return MQTT_LATER;
}
static enum mqtt_verdict on_filter(void *conn, const struct mqtt_subscription *s, struct mqtt_answer *ret) {
  (void)conn, (void)s, (void)ret;
  return MQTT_ACCEPTED;
}
static void on_refused(void *conn, struct slice topic, enum mqtt_reason reason, const char *why, bool told) {
  (void)conn, (void)topic, (void)reason, (void)told;
  fail_msg("refused: %s", why);
}
static void on_acked(void *session, uint64_t ref, uint8_t reason) {
  (void)session, (void)ref;
  assert_int_equal(reason, 0);
}
static void on_window_open(void *session) { ((struct world *)session)->room = true; }
static void on_will(void *session, struct mqtt_message *m, uint8_t qos, bool retain) {
  (void)session, (void)m, (void)qos, (void)retain;
}
static void on_ended(void *session, enum mqtt_reason reason) { (void)session, (void)reason; }
static const struct mqtt_door door = {on_send,    on_close, on_connect,     on_publish, on_filter, on_filter,
                                      on_refused, on_acked, on_window_open, on_will,    on_ended};

static void deliver(struct world *w) {
  uint8_t payload[2] = {(uint8_t)(w->delivered >> 8), (uint8_t)w->delivered};
  if (!w->session || !w->room || w->delivered == MESSAGES) return;
  struct mqtt_message *m = mqtt_message_new(&w->messages, slice_str("t"), slice_of(payload, 2), NULL, w->now);
  int err = mqtt_deliver(w->session, &(struct mqtt_to){.message = m, .qos = qos_of(w->delivered)}, w->now);
  mqtt_message_unref(m);
  if (err == 0)
    w->delivered++;
  else if (err == MACULA_EFULL)
    w->room = false;
  else
    assert_int_equal(err, MACULA_SLOW_CONSUMER); /* the queue of a client that is not there: later */
}

/* ---- the client ---- */

static void say(struct world *w, struct mqtt_packet *p) {
  uint8_t buf[128];
  size_t n = mqtt_encode(p, w->level, buf, sizeof buf);
  assert_true(n && n <= sizeof buf);
  push(&w->up, buf, n);
}
static void say_publish(struct world *w, const struct sent *s, bool dup) {
  uint8_t payload[2] = {(uint8_t)(s->n >> 8), (uint8_t)s->n};
  struct mqtt_packet p = {
      .type = MQTT_PUBLISH, .id = s->id, .publish = {slice_str("a/b"), slice_of(payload, 2), s->qos, dup, false}};
  say(w, &p);
}
static void say_ack(struct world *w, enum mqtt_type type, uint16_t id) {
  struct mqtt_packet p = {.type = type, .id = id};
  say(w, &p);
}
static struct sent *find(struct world *w, uint16_t id) {
  for (unsigned i = 0; i < w->sent_count; i++)
    if (w->sent[i].id == id) return &w->sent[i];
  return NULL;
}
static void publish(struct world *w) {
  if (!w->open || w->sent_count == MOST || w->published == MESSAGES) return;
  struct sent *s = &w->sent[w->sent_count++];
  do w->last_id = (uint16_t)(w->last_id % 50 + 1);
  while (find(w, w->last_id));
  *s = (struct sent){w->last_id, (uint16_t)w->published, qos_of(w->published), false};
  w->published++;
  say_publish(w, s, false);
}
static void done(struct world *w, struct sent *s) {
  size_t at = (size_t)(s - w->sent);
  memmove(s, s + 1, (w->sent_count - at - 1) * sizeof *s);
  w->sent_count--;
}
static void hear_publish(struct world *w, const struct mqtt_packet *p) {
  unsigned n = (unsigned)(p->publish.payload.p[0] << 8 | p->publish.payload.p[1]);
  if (!w->ours[p->id]) assert_true(++w->outstanding <= 3); /* its Receive Maximum */
  w->ours[p->id] = true;
  if (p->publish.qos == 1) {
    count(w, w->got, w->last_got, n, p->publish.dup);
    say_ack(w, MQTT_PUBACK, p->id);
    w->ours[p->id] = false, w->outstanding--;
    return;
  }
  if (!w->owes[p->id]) count(w, w->got, w->last_got, n, p->publish.dup);
  w->owes[p->id] = true;
  say_ack(w, MQTT_PUBREC, p->id);
}
static void hear(struct world *w, const struct mqtt_packet *p) {
  struct sent *s = p->id ? find(w, p->id) : NULL;
  switch ((int)p->type) {
  case MQTT_CONNACK:
    w->open = true;
    for (unsigned i = 0; i < w->sent_count; i++) { /* [MQTT-4.4.0-1] */
      if (w->sent[i].released)
        say_ack(w, MQTT_PUBREL, w->sent[i].id);
      else
        say_publish(w, &w->sent[i], true);
    }
    break;
  case MQTT_PUBLISH:
    hear_publish(w, p);
    break;
  case MQTT_PUBACK:
    assert_true(s && s->qos == 1);
    done(w, s);
    break;
  case MQTT_PUBREC:
    assert_true(s && s->qos == 2);
    s->released = true;
    say_ack(w, MQTT_PUBREL, p->id);
    break;
  case MQTT_PUBCOMP:
    if (s && s->released) done(w, s); /* another one may be there after PUBREL was sent again */
    break;
  case MQTT_PUBREL:
    if (w->ours[p->id]) w->outstanding--;
    w->owes[p->id] = w->ours[p->id] = false;
    say_ack(w, MQTT_PUBCOMP, p->id);
    break;
  default:
    fail_msg("the client got a %s", mqtt_type_name(p->type));
  }
}

static void end(struct world *w) {
  mqtt_conn_free(w->conn, w->now);
  w->conn = NULL;
  w->open = w->closed = false;
  w->room = true;
  w->up.n = w->down.n = 0;
}
static void begin(struct world *w) {
  struct mqtt_packet p = {.type = MQTT_CONNECT, .connect = {.level = w->level, .client_id = slice_str("me")}};
  end(w);
  w->connections++;
  w->outstanding = 0;
  memset(w->ours, 0, sizeof w->ours);
  assert_int_equal(mqtt_conn_new(w->table, w, w->now, &w->conn), 0);
  p.props.has = MQTT_HAS(SESSION_EXPIRY) | MQTT_HAS(RECEIVE_MAXIMUM);
  p.props.session_expiry = 1000, p.props.receive_maximum = 3;
  say(w, &p);
}

static void step(struct world *w, bool loses) {
  size_t size, n;
  struct mqtt_fault fault;
  struct mqtt_packet p;
  switch (below(w, 8)) {
  case 0:
    publish(w);
    break;
  case 1:
    deliver(w);
    break;
  case 2:
  case 3:
    if (!w->conn || !w->up.n) break;
    n = 1 + below(w, (unsigned)w->up.n);
    if (n > mqtt_wants(w->conn)) n = mqtt_wants(w->conn);
    mqtt_conn_recv(w->conn, slice_of(w->up.b, n), w->now);
    pull(&w->up, n);
    break;
  case 4:
  case 5:
    if (mqtt_frame(slice_of(w->down.b, w->down.n), UINT32_MAX, &size, &fault) != 1) break;
    assert_int_equal(mqtt_decode(slice_of(w->down.b, size), w->level, MQTT_FROM_SERVER, &p, &fault), 0);
    hear(w, &p);
    pull(&w->down, size);
    break;
  case 6:
    if (w->conn) mqtt_resume(w->conn, w->now);
    if (w->ref_count && w->session && below(w, 2)) {
      unsigned at = below(w, w->ref_count);
      mqtt_publish_done(w->session, w->refs[at], MQTT_SUCCESS, NULL, w->now);
      w->refs[at] = w->refs[--w->ref_count];
    }
    break;
  default:
    if (loses && w->conn && !below(w, 40)) end(w);
    if (!w->conn && !below(w, 10)) begin(w);
  }
  assert_false(w->closed);
}

static bool is_done(const struct world *w) {
  struct mqtt_view v = w->session ? mqtt_session_view(w->session) : (struct mqtt_view){.queued = 1};
  return w->published == MESSAGES && w->delivered == MESSAGES && !w->sent_count && !v.queued && !v.inflight && !w->down.n;
}

static void run(uint64_t seed, enum mqtt_level level) {
  struct world *w = calloc(1, sizeof *w);
  assert_non_null(w);
  rng_seeded_init(&w->seed, seed);
  w->rng = rng_seeded_view(&w->seed);
  w->mem = w->messages = MEM_INIT("test", 0);
  w->level = level;
  w->now = NS_SEC;
  for (int i = 0; i < 3; i++) w->last_got[i] = w->last_arrived[i] = -1;
  w->cfg = (struct mqtt_config){.door = &door,
                                .sessions_mem = &w->mem,
                                .inflight_mem = &w->mem,
                                .queue_mem = &w->mem,
                                .conns_mem = &w->mem,
                                .input_mem = &w->mem,
                                .rng = w->rng,
                                .max_sessions = 10,
                                .max_queue = 5,
                                .max_queue_bytes = 10000,
                                .max_queued_bytes = 10000,
                                .max_expiry = 1000,
                                .max_packet = 100000,
                                .max_connect = 1000,
                                .max_inflight = 3,
                                .receive_maximum = MOST,
                                .max_aliases_in = 4,
                                .max_aliases_out = 4,
                                .connect_timeout = 10 * NS_SEC,
                                .stall_timeout = 60 * NS_SEC};
  assert_int_equal(mqtt_sessions_new(&w->cfg, &w->table), 0);
  unsigned steps = 0;
  for (; !is_done(w) && steps < 2000000; steps++) {
    step(w, w->published < MESSAGES || w->delivered < MESSAGES);
    if (steps % 16 == 0) HOLDS(mqtt_sessions_check(w->table));
  }
  if (!is_done(w)) fail_msg("seed %llu: not done", (unsigned long long)seed);
  for (unsigned n = 0; n < MESSAGES; n++) assert_true(w->arrived[n] && w->got[n]);
  assert_true(w->connections > 5);
  end(w);
  mqtt_sessions_free(w->table);
  assert_true(!w->mem.bytes && !w->messages.bytes);
  free(w);
}

static void test_5(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 40; seed++) run(seed, MQTT_5);
}
static void test_3_1_1(void **state) {
  (void)state;
  for (uint64_t seed = 101; seed <= 140; seed++) run(seed, MQTT_3_1_1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_5), cmocka_unit_test(test_3_1_1)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
