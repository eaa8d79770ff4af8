/* Clients of MQTT beside native ones, on one node. Their streams are the test's memory; what a client is sent is noted as text,
 * a packet a line. */
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
  const struct stream_owner *owner;
  uint8_t out[2 * ROOM]; /* what the node has written */
  size_t out_len, room;  /* room: that the node may write */
  bool short_once, reads, gone, quiet, no_acks;
  enum mqtt_level level;
  char notes[NOTES];
  size_t note_len;
  uint64_t published;
  uint16_t next_id;
};

static struct wire *of(struct byte_stream *s) { return (struct wire *)s; }
static size_t wire_write(struct byte_stream *s, struct slice bytes) {
  struct wire *w = of(s);
  size_t n = bytes.n < w->room - w->out_len ? bytes.n : w->room - w->out_len;
  assert_false(w->gone);
  memcpy(w->out + w->out_len, bytes.p, n);
  w->out_len += n;
  w->short_once |= n < bytes.n;
  return n;
}
static size_t wire_unsent(const struct byte_stream *s) { return ((const struct wire *)s)->out_len; }
static void wire_read(struct byte_stream *s, bool on) { of(s)->reads = on; }
static void wire_close(struct byte_stream *s, bool reset) { (void)reset, of(s)->gone = true; }
static void wire_break(struct byte_stream *s, int err) { (void)err, of(s)->gone = true; }
static const struct stream_ops wire_ops = {wire_write, wire_unsent, wire_read, wire_close, wire_break};

static struct stream_owner owner;

static void start(struct rig *r, const struct rig_options *o) {
  struct rig_options d = o ? *o : (struct rig_options){0};
  if (!d.node.limits.mqtt_pool) d.node.limits.mqtt_pool = 32 << 20;
  rig_start(r, &d);
  assert_int_equal(node_mqtt_open(r->node, false, &owner), 0);
}

static void settle(struct rig *r) {
  HOLDS(node_check(r->node));
  rig_run(r, NS_MS);
  HOLDS(node_check(r->node));
}

static void note(struct wire *w, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  if (w->note_len) w->notes[w->note_len++] = '|';
  w->note_len += (size_t)vsnprintf(w->notes + w->note_len, sizeof w->notes - w->note_len, format, ap);
  va_end(ap);
  assert_true(w->note_len < sizeof w->notes - 512);
}

static void send_bytes(struct wire *w, struct slice bytes) {
  uint8_t *copy = malloc(bytes.n + 1);
  memcpy(copy, bytes.p, bytes.n);
  if (!w->gone) owner.data(owner.ctx, &w->s, copy, bytes.n, sim_net_now(w->rig->net));
  free(copy);
}
static void put(struct wire *w, const struct mqtt_packet *p) {
  uint8_t buf[8192];
  size_t n = mqtt_encode(p, w->level, buf, sizeof buf);
  assert_true(n > 0 && n <= sizeof buf);
  send_bytes(w, slice_of(buf, n));
}

static void answer(struct wire *w, const struct mqtt_packet *p) {
  struct mqtt_packet ack = {.type = p->type == MQTT_PUBLISH  ? p->publish.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC
                                    : p->type == MQTT_PUBREC ? MQTT_PUBREL
                                                             : MQTT_PUBCOMP,
                            .id = p->id};
  put(w, &ack);
}

static void note_packet(struct wire *w, const struct mqtt_packet *p) {
  if (p->type == MQTT_PUBLISH) {
    struct slice raw = p->props.raw;
    uint32_t id;
    w->published++;
    if (!w->quiet)
      note(w, "%.*s=%.*s q%u%s%s", (int)p->publish.topic.n, (const char *)p->publish.topic.p, (int)p->publish.payload.n,
           (const char *)p->publish.payload.p, p->publish.qos, p->publish.retain ? " retain" : "",
           p->publish.dup ? " dup" : "");
    while (!w->quiet && mqtt_next_subscription_id(&raw, &id)) note(w, "id%u", id);
    if (p->publish.qos && !w->no_acks) answer(w, p);
    return;
  }
  if (!w->quiet && (p->type == MQTT_SUBACK || p->type == MQTT_UNSUBACK)) {
    note(w, "%s %02x", mqtt_type_name(p->type), p->list.raw.p[0]);
  } else if (!w->quiet) {
    note(w, "%s %02x%s", mqtt_type_name(p->type), p->reason, p->session_present ? " present" : "");
    if (p->props.has & MQTT_HAS(REASON_STRING))
      note(w, "(%.*s)", (int)p->props.reason_string.n, (const char *)p->props.reason_string.p);
  }
  if (p->type == MQTT_PUBREC) answer(w, p);
  if (p->type == MQTT_PUBREL) answer(w, p);
}

/* The client reads all that was sent, and the stream has room again. */
static void drain(struct wire *w) {
  struct mqtt_packet p;
  struct mqtt_fault fault;
  char text[MQTT_FAULT_LEN];
  size_t size;
  for (;;) {
    size_t at = 0;
    uint8_t *in = malloc(w->out_len + 1);
    size_t len = w->out_len;
    memcpy(in, w->out, len);
    while (mqtt_frame(slice_of(in + at, len - at), UINT32_MAX, &size, &fault) == 1) {
      if (mqtt_decode(slice_of(in + at, size), w->level, MQTT_FROM_SERVER, &p, &fault))
        fail_msg("the node has sent what is wrong: %s", mqtt_fault_text(&fault, text));
      note_packet(w, &p);
      at += size;
    }
    memmove(w->out, w->out + at, w->out_len - at);
    w->out_len -= at;
    free(in);
    if (!w->short_once || w->gone || !at) return;
    w->short_once = false;
    owner.room(owner.ctx, &w->s, sim_net_now(w->rig->net));
  }
}

static void all(struct rig *r, struct wire **w, size_t n) {
  for (int turn = 0; turn < 6; turn++) {
    settle(r);
    for (size_t i = 0; i < n; i++) drain(w[i]);
  }
}
#define ALL(r, ...)                                                                                                            \
  do {                                                                                                                         \
    struct wire *list_[] = {__VA_ARGS__};                                                                                      \
    all((r), list_, sizeof list_ / sizeof *list_);                                                                             \
  } while (0)

static void happened(struct wire *w, const char *text) {
  w->notes[w->note_len] = 0;
  assert_string_equal(w->notes, text);
  w->note_len = 0;
}

static struct wire *wire_new(struct rig *r, enum mqtt_level level) {
  struct wire *w = calloc(1, sizeof *w);
  w->s.ops = &wire_ops;
  w->rig = r;
  w->level = level;
  w->room = ROOM;
  w->reads = true;
  assert_int_equal(addr_parse("127.0.0.9:99", 0, &w->s.remote), 0);
  assert_int_equal(addr_parse("127.0.0.1:1883", 0, &w->s.local), 0);
  if (owner.opened(owner.ctx, &w->s, sim_net_now(r->net))) w->gone = true;
  return w;
}

struct connect {
  const char *client, *will_topic, *will;
  bool clean;
  uint32_t expiry; /* seconds; of 5.0 */
  uint16_t keep_alive;
  bool has_user;
};
static void say_connect(struct wire *w, const struct connect *c) {
  struct mqtt_packet p = {.type = MQTT_CONNECT,
                          .connect = {.level = w->level,
                                      .clean_start = c->clean,
                                      .keep_alive = c->keep_alive,
                                      .client_id = slice_str(c->client),
                                      .has_will = c->will != NULL,
                                      .will_topic = slice_str(c->will_topic),
                                      .will_payload = slice_str(c->will),
                                      .has_user = c->has_user,
                                      .user = slice_str("me")}};
  if (c->expiry) {
    p.props.has = MQTT_HAS(SESSION_EXPIRY);
    p.props.session_expiry = c->expiry;
  }
  put(w, &p);
}
static struct wire *join(struct rig *r, enum mqtt_level level, const struct connect *c, const char *expected) {
  struct wire *w = wire_new(r, level);
  say_connect(w, c);
  ALL(r, w);
  happened(w, expected);
  return w;
}
static struct wire *plain(struct rig *r, enum mqtt_level level, const char *client) {
  return join(r, level, &(struct connect){.client = client, .clean = true}, "CONNACK 00");
}

static void lose(struct wire *w) { /* its connection breaks */
  if (!w->gone) {
    w->gone = true;
    owner.closed(owner.ctx, &w->s, MACULA_ECLOSED, sim_net_now(w->rig->net));
  }
  settle(w->rig);
  free(w);
}
static void leave(struct wire *w) {
  struct mqtt_packet p = {.type = MQTT_DISCONNECT};
  if (!w->gone) put(w, &p);
  settle(w->rig);
  assert_true(w->gone);
  free(w);
}

static void subscribe_as(struct wire *w, const char *filter, uint8_t qos, uint32_t id, uint8_t handling, bool no_local) {
  uint8_t buf[512];
  size_t n = 0;
  struct mqtt_filter f = {.text = slice_str(filter), .qos = qos, .retain_handling = handling, .no_local = no_local};
  assert_int_equal(mqtt_put_filter(buf, sizeof buf, &n, MQTT_SUBSCRIBE, &f), 0);
  struct mqtt_packet p = {.type = MQTT_SUBSCRIBE, .id = ++w->next_id, .list = {.raw = slice_of(buf, n)}};
  uint8_t raw[8];
  size_t len = 0;
  if (id) {
    assert_int_equal(mqtt_put_subscription_id(raw, sizeof raw, &len, id), 0);
    p.props.raw = slice_of(raw, len);
    p.props.has = MQTT_HAS(SUBSCRIPTION_ID);
    p.props.subscription_id = id;
  }
  put(w, &p);
  settle(w->rig);
}
static void subscribe(struct wire *w, const char *filter, uint8_t qos) { subscribe_as(w, filter, qos, 0, 0, false); }
static void unsubscribe(struct wire *w, const char *filter) {
  uint8_t buf[512];
  size_t n = 0;
  struct mqtt_filter f = {.text = slice_str(filter)};
  assert_int_equal(mqtt_put_filter(buf, sizeof buf, &n, MQTT_UNSUBSCRIBE, &f), 0);
  struct mqtt_packet p = {.type = MQTT_UNSUBSCRIBE, .id = ++w->next_id, .list = {.raw = slice_of(buf, n)}};
  put(w, &p);
  settle(w->rig);
}
static void publish_all(struct wire *w, const char *topic, struct slice payload, uint8_t qos, bool retain) {
  struct mqtt_packet p = {.type = MQTT_PUBLISH,
                          .id = qos ? ++w->next_id : 0,
                          .publish = {.topic = slice_str(topic), .payload = payload, .qos = qos, .retain = retain}};
  put(w, &p);
}
static void publish(struct wire *w, const char *topic, const char *payload, uint8_t qos, bool retain) {
  publish_all(w, topic, slice_str(payload), qos, retain);
}

/* ---- messages --------------------------------------------------------------------------------------------------------------
 */
static void test_both_ways(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct rig_client *native = rig_join(&r, 0, NULL, RIG_EXT);
  struct wire *a = plain(&r, MQTT_3_1_1, "a"), *b = plain(&r, MQTT_5, "b");
  assert_int_equal(rig_subscribe(native, "room.**"), 0);
  subscribe(a, "room/+/temp", 0);
  subscribe(b, "room/#", 2);
  ALL(&r, a, b);
  happened(a, "SUBACK 00");
  happened(b, "SUBACK 01");

  publish(a, "room/1/temp", "21", 0, false);
  ALL(&r, a, b);
  happened(a, "room/1/temp=21 q0");
  happened(b, "room/1/temp=21 q0");
  struct msg m = rig_expect(native, MSG_PUBLISH);
  assert_true(slice_is(m.publish.topic, "room.1.temp"));

  publish(b, "room/2/temp", "22", 1, false);
  ALL(&r, a, b);
  happened(a, "room/2/temp=22 q0");
  happened(b, "room/2/temp=22 q1|PUBACK 00");
  publish(b, "room/3", "23", 2, false);
  ALL(&r, a, b);
  happened(a, "");
  happened(b, "room/3=23 q1|PUBREC 00|PUBCOMP 00");
  assert_int_equal(rig_publish(native, "room.4.temp", "24", 1, false, 4), 0);
  ALL(&r, a, b);
  happened(a, "room/4/temp=24 q0");
  happened(b, "room/4/temp=24 q1");

  unsubscribe(b, "room/#");
  unsubscribe(b, "room/#");
  publish(a, "room/1/temp", "25", 1, false);
  ALL(&r, a, b);
  happened(a, "room/1/temp=25 q0|PUBACK 00");
  happened(b, "UNSUBACK 00|UNSUBACK 11");
  leave(a);
  leave(b);
  rig_stop(&r);
}

static void test_filters(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct wire *a = plain(&r, MQTT_5, "a");
  subscribe_as(a, "x/+", 1, 7, 0, false);
  subscribe_as(a, "x/#", 0, 8, 0, false);
  subscribe_as(a, "mine/#", 1, 0, 0, true);
  subscribe(a, "#", 0);
  subscribe(a, "$share/g/x", 0);
  subscribe(a, "x/#/y", 0);
  ALL(&r, a);
  happened(a, "SUBACK 01|SUBACK 00|SUBACK 01|SUBACK 00|SUBACK 9e|SUBACK 8f");
  unsubscribe(a, "#");
  publish(a, "x/1", "both", 1, false);
  publish(a, "mine/1", "not back", 1, false);
  ALL(&r, a);
  happened(a, "UNSUBACK 00|x/1=both q1|id7|id8|PUBACK 00|PUBACK 00");
  subscribe(a, "#", 0);
  publish(a, "$SYS/x", "hidden", 0, false);
  publish(a, "y", "seen", 0, false);
  ALL(&r, a);
  happened(a, "SUBACK 00|y=seen q0");
  publish(a, "a/+", "", 0, false);
  ALL(&r, a);
  assert_true(a->gone);
  leave(a);
  rig_stop(&r);
}

static void test_retained(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct wire *a = plain(&r, MQTT_5, "a"), *b = plain(&r, MQTT_5, "b");
  subscribe(b, "r/#", 1);
  publish(a, "r/1", "kept", 1, true);
  ALL(&r, a, b);
  happened(a, "PUBACK 00");
  happened(b, "SUBACK 01|r/1=kept q1"); /* [MQTT-3.3.1-12] */
  subscribe(a, "r/#", 0);
  ALL(&r, a);
  a->notes[a->note_len] = 0;
  assert_non_null(strstr(a->notes, "r/1=kept q0 retain"));
  a->note_len = 0;
  subscribe_as(a, "r/#", 0, 0, 0, false); /* 0: each time */
  ALL(&r, a);
  a->notes[a->note_len] = 0;
  assert_non_null(strstr(a->notes, "r/1=kept q0 retain"));
  a->note_len = 0;
  subscribe_as(a, "r/#", 0, 0, 1, false); /* 1: if it is new */
  subscribe_as(a, "r/1", 0, 0, 2, false); /* 2: never */
  ALL(&r, a);
  happened(a, "SUBACK 00|SUBACK 00");
  publish(a, "r/1", "", 1, true); /* no more */
  ALL(&r, a, b);
  a->note_len = b->note_len = 0;
  struct wire *c = plain(&r, MQTT_3_1_1, "c");
  subscribe(c, "r/#", 1);
  ALL(&r, c);
  happened(c, "SUBACK 01");
  leave(a);
  leave(b);
  leave(c);
  rig_stop(&r);
}

/* ---- sessions --------------------------------------------------------------------------------------------------------------
 */
static void test_resume(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct connect keeps = {.client = "k", .expiry = 600};
  struct wire *pub = plain(&r, MQTT_5, "pub"), *k = join(&r, MQTT_5, &keeps, "CONNACK 00");
  subscribe(k, "q/#", 1);
  ALL(&r, k);
  happened(k, "SUBACK 01");
  for (int round = 0; round < 3; round++) {
    lose(k);
    publish(pub, "q/1", "one", 1, false);
    publish(pub, "q/2", "two", 2, false);
    publish(pub, "q/3", "three", 0, false);
    ALL(&r, pub);
    happened(pub, "PUBACK 00|PUBREC 00|PUBCOMP 00");
    k = join(&r, MQTT_5, &keeps, "CONNACK 00 present|q/1=one q1|q/2=two q1");
    publish(pub, "q/4", "four", 1, false);
    ALL(&r, k, pub);
    happened(k, "q/4=four q1");
    pub->note_len = 0;
  }
  lose(k);
  rig_run(&r, 601 * NS_SEC); /* its time is over */
  k = join(&r, MQTT_5, &keeps, "CONNACK 00");
  publish(pub, "q/4", "four", 1, false);
  ALL(&r, k, pub);
  happened(k, "");
  leave(k);
  leave(pub);
  rig_stop(&r);
}

static void test_taken_over(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct connect keeps = {.client = "k", .expiry = 600, .will_topic = "w", .will = "gone"};
  struct wire *pub = plain(&r, MQTT_5, "pub"), *k = join(&r, MQTT_5, &keeps, "CONNACK 00");
  subscribe(pub, "w", 0);
  subscribe(k, "q/#", 1);
  ALL(&r, k, pub);
  k->no_acks = true;
  publish(pub, "q/1", "one", 1, false);
  ALL(&r, k, pub);
  k->note_len = pub->note_len = 0;
  struct wire *k2 = wire_new(&r, MQTT_5);
  say_connect(k2, &keeps);
  ALL(&r, k, k2, pub);
  happened(k, "DISCONNECT 8e|(another connection has this client id)");
  happened(k2, "CONNACK 00 present|q/1=one q1 dup");
  happened(pub, "w=gone q0");
  publish(pub, "q/2", "two", 1, false);
  ALL(&r, k2, pub);
  happened(k2, "q/2=two q1");
  pub->note_len = 0;
  struct wire *k3 = wire_new(&r, MQTT_5); /* clean start: nothing is left */
  say_connect(k3, &(struct connect){.client = "k", .clean = true});
  ALL(&r, k2, k3, pub);
  happened(k3, "CONNACK 00");
  publish(pub, "q/3", "three", 1, false);
  ALL(&r, k3, pub);
  happened(k3, "");
  lose(k);
  lose(k2);
  leave(k3);
  leave(pub);
  rig_stop(&r);
}

static void test_will(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct connect c = {.client = "x", .clean = true, .will_topic = "w/x", .will = "gone", .keep_alive = 10};
  struct wire *seer = plain(&r, MQTT_5, "seer");
  subscribe(seer, "w/#", 0);
  struct wire *x = join(&r, MQTT_3_1_1, &c, "CONNACK 00");
  lose(x);
  ALL(&r, seer);
  happened(seer, "SUBACK 00|w/x=gone q0");
  x = join(&r, MQTT_3_1_1, &c, "CONNACK 00");
  leave(x);
  ALL(&r, seer);
  happened(seer, "");
  x = join(&r, MQTT_3_1_1, &c, "CONNACK 00");
  rig_run(&r, 17 * NS_SEC); /* it says nothing */
  ALL(&r, seer);
  assert_true(x->gone);
  happened(seer, "w/x=gone q0");
  leave(x);
  leave(seer);
  rig_stop(&r);
}

static void test_refused(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  char longest[66];
  memset(longest, 'x', 65);
  longest[65] = 0;
  struct wire *w = join(&r, MQTT_5, &(struct connect){.client = longest, .clean = true},
                        "CONNACK 85|(a client id has at most 64 bytes here)");
  assert_true(w->gone);
  free(w);
  w = wire_new(&r, MQTT_5);
  send_bytes(w, slice_str("GET / HTTP/1.1\r\n\r\n"));
  ALL(&r, w);
  assert_true(w->gone);
  free(w);
  w = wire_new(&r, MQTT_5);
  rig_run(&r, 20 * NS_SEC); /* no CONNECT */
  assert_true(w->gone);
  free(w);
  w = wire_new(&r, MQTT_5);
  lose(w);
  rig_stop(&r);
}

static void test_access(void **state) {
  struct rig r;
  (void)state;
  start(&r,
        &(struct rig_options){.access = "grants:\n  some:\n    role: client\n    pub: [\"a.**\"]\n    sub: [\"${client}.**\"]\n"
                                        "anonymous: some\n"});
  struct wire *a = plain(&r, MQTT_5, "me"), *b = plain(&r, MQTT_3_1_1, "b");
  subscribe(a, "me/#", 1);
  subscribe(a, "other/#", 1);
  publish(a, "a/1", "x", 1, false);
  publish(a, "b/1", "x", 1, false);
  subscribe(b, "me/#", 1);
  publish(b, "b/1", "x", 1, false);
  ALL(&r, a, b);
  a->notes[a->note_len] = 0;
  assert_non_null(strstr(a->notes, "SUBACK 01|SUBACK 87|PUBACK 00|PUBACK 87|(forbidden: pub 'b.1' is not allowed"));
  a->note_len = 0;
  happened(b, "SUBACK 80|PUBACK 00");
  struct wire *c = join(&r, MQTT_5, &(struct connect){.client = "c", .clean = true, .has_user = true},
                        "CONNACK 86|(user names and passwords are not judged here: show a TLS client certificate, or give "
                        "none of them)");
  free(c);
  leave(a);
  leave(b);
  rig_stop(&r);
}

/* ---- pressure --------------------------------------------------------------------------------------------------------------
 */
/* Two clients publish to each other as fast as they may, and neither waits for ever. */
static void test_each_other(void **state) {
  struct rig r;
  enum { N = 3000 };
  (void)state;
  start(&r, NULL);
  struct wire *w[2] = {plain(&r, MQTT_5, "a"), plain(&r, MQTT_3_1_1, "b")};
  subscribe(w[0], "to/a", 1);
  subscribe(w[1], "to/b", 1);
  uint64_t sent = 0;
  w[0]->quiet = w[1]->quiet = true;
  for (int i = 0; i < N; i++) {
    char text[256];
    snprintf(text, sizeof text, "%0200d", i);
    for (int k = 0; k < 2; k++) {
      if (!w[k]->reads) continue;
      publish(w[k], k ? "to/a" : "to/b", text, i % 4 == 0 ? 1 : 0, false);
      sent++;
    }
    if (i % 8 == 7) {
      settle(&r);
      drain(w[0]);
      drain(w[1]);
    }
  }
  for (int i = 0; i < 50; i++) ALL(&r, w[0], w[1]);
  assert_false(w[0]->gone || w[1]->gone);
  assert_int_equal(w[0]->published + w[1]->published, sent);
  leave(w[0]);
  leave(w[1]);
  rig_stop(&r);
}

/* A client that acknowledges nothing: what it is sent waits, and comes when it acknowledges again, or is back. */
static void test_slow(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct connect keeps = {.client = "slow", .expiry = 600};
  struct wire *pub = plain(&r, MQTT_5, "pub"), *slow = join(&r, MQTT_5, &keeps, "CONNACK 00");
  subscribe(slow, "s", 1);
  slow->no_acks = slow->quiet = pub->quiet = true;
  for (int i = 0; i < 100; i++) {
    publish(pub, "s", "message", 1, false);
    ALL(&r, pub, slow);
  }
  assert_int_equal(slow->published, 32);
  lose(slow);
  slow = wire_new(&r, MQTT_5);
  slow->quiet = true;
  say_connect(slow, &keeps);
  for (int i = 0; i < 10; i++) ALL(&r, slow, pub);
  assert_int_equal(slow->published, 100);
  leave(slow);
  leave(pub);
  rig_stop(&r);
}

/* Readers that fall behind and then read: what waits for them is many small messages, which take less room in MQTT than in the
 * node's queue, so that the stream takes them all and has nothing to say. */
static void test_behind(void **state) {
  enum { LARGE = 150, SMALL = 4000 };
  static const char large[1000];
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct wire *pub = plain(&r, MQTT_5, "pub"), *w[] = {plain(&r, MQTT_3_1_1, "a"), plain(&r, MQTT_5, "b")};
  for (int i = 0; i < 2; i++) {
    subscribe(w[i], "s", 0);
    w[i]->quiet = true;
  }
  for (int i = 0; i < LARGE + SMALL; i++) {
    publish_all(pub, "s", i < LARGE ? slice_of(large, sizeof large) : slice_str("small"), 0, false);
    if (i % 50 == 49) settle(&r);
  }
  for (int i = 0; i < 20; i++) ALL(&r, w[0], w[1]);
  assert_int_equal(w[0]->published, LARGE + SMALL);
  assert_int_equal(w[1]->published, LARGE + SMALL);
  leave(w[0]);
  leave(w[1]);
  leave(pub);
  rig_stop(&r);
}

static void test_drained(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct wire *a = plain(&r, MQTT_5, "a"), *b = join(&r, MQTT_5, &(struct connect){.client = "b", .expiry = 100}, "CONNACK 00");
  lose(b);
  node_drain(r.node, sim_net_now(r.net));
  ALL(&r, a);
  a->notes[a->note_len] = 0;
  assert_non_null(strstr(a->notes, "DISCONNECT 8b"));
  assert_true(a->gone);
  free(a);
  rig_run(&r, NS_SEC);
  assert_true(node_drained(r.node, sim_net_now(r.net)));
  rig_stop(&r);
}

/* Whatever comes, the node stands. */
static void test_hostile(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  uint32_t dice = 12345;
  for (int round = 0; round < 300; round++) {
    struct wire *w = wire_new(&r, round % 2 ? MQTT_5 : MQTT_3_1_1);
    w->quiet = true;
    char name[8];
    snprintf(name, sizeof name, "h%d", round % 5);
    if (round % 4) say_connect(w, &(struct connect){.client = name, .clean = round % 3 == 0, .expiry = round % 2 ? 30 : 0});
    if (round % 3 == 1) subscribe(w, "#", 1);
    if (round % 5 == 1) publish(w, "h/1", "x", (uint8_t)(round % 3), round % 7 == 0);
    uint8_t junk[64];
    for (size_t i = 0; i < sizeof junk; i++) {
      dice = dice * 1103515245u + 12345u;
      junk[i] = (uint8_t)(dice >> 16);
    }
    if (round % 2) junk[0] = (uint8_t)(round % 15 + 1) << 4;
    junk[1] %= 60;
    send_bytes(w, slice_of(junk, 1 + dice % (sizeof junk - 1)));
    settle(&r);
    if (round % 2)
      lose(w);
    else {
      rig_run(&r, 5 * NS_MS);
      lose(w);
    }
  }
  rig_run(&r, 60 * NS_SEC);
  rig_stop(&r);
}

static void test_no_memory(void **state) {
  (void)state;
  for (uint64_t at = 1; at < 400; at += at < 120 ? 1 : 7) {
    struct rig r;
    struct mem_fail fail = {0};
    start(&r, &(struct rig_options){.node = {.fail = &fail}});
    struct wire *pub = plain(&r, MQTT_5, "pub");
    fail.countdown = at;
    struct wire *w = wire_new(&r, MQTT_5);
    w->quiet = true;
    if (!w->gone) say_connect(w, &(struct connect){.client = "f", .expiry = 60, .will_topic = "w", .will = "x"});
    settle(&r);
    if (!w->gone) subscribe(w, "f/#", 1);
    pub->quiet = true;
    if (!pub->gone) publish(pub, "f/1", "one", 1, true);
    if (!w->gone) publish(w, "f/2", "two", 2, false);
    ALL(&r, pub, w);
    lose(w);
    if (!pub->gone) publish(pub, "f/3", "three", 1, false);
    ALL(&r, pub);
    w = wire_new(&r, MQTT_5);
    w->quiet = true;
    if (!w->gone) say_connect(w, &(struct connect){.client = "f", .expiry = 60});
    ALL(&r, pub, w);
    fail.countdown = 0;
    lose(w);
    lose(pub);
    rig_stop(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_both_ways), cmocka_unit_test(test_filters),    cmocka_unit_test(test_retained),
      cmocka_unit_test(test_resume),    cmocka_unit_test(test_taken_over), cmocka_unit_test(test_will),
      cmocka_unit_test(test_refused),   cmocka_unit_test(test_access),     cmocka_unit_test(test_each_other),
      cmocka_unit_test(test_slow),      cmocka_unit_test(test_behind),     cmocka_unit_test(test_drained),
      cmocka_unit_test(test_hostile),   cmocka_unit_test(test_no_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
