/* MQTT over WebSocket, and who may connect at all. Streams are the test's memory: what a client is sent is parsed as frames,
 * and noted as text, a packet or frame a word. */
#include "mqtt/websocket.h"
#include "mqtt_wire.h"
#include "node/trust/account.h"

static struct stream_owner tcp, web;

static void start_with(struct rig *r, struct rig_options o) {
  if (!o.node.limits.mqtt_pool) o.node.limits.mqtt_pool = 32 << 20;
  rig_start(r, &o);
  assert_int_equal(node_mqtt_open(r->node, false, &tcp), 0);
  assert_int_equal(node_mqtt_open(r->node, true, &web), 0);
  assert_int_equal(node_mqtt_set_web(r->node, "panel.example", "https://pages.example"), 0);
}
static void start(struct rig *r) { start_with(r, (struct rig_options){0}); }

static struct wire *wire_from(struct rig *r, const struct stream_owner *owner, const char *address) {
  return wire_open(r, owner, address);
}
static struct wire *wire_new(struct rig *r, const struct stream_owner *owner) { return wire_from(r, owner, "127.0.0.9:99"); }
static bool is_web(const struct wire *w) { return w->owner.data == web.data && w->owner.opened == web.opened; }
static void send_some(struct wire *w, const void *p, size_t n) { send_bytes(w, slice_of(p, n)); }
static void send_text(struct wire *w, const char *text) { send_some(w, text, strlen(text)); }

/* A frame of a client; first: FIN and opcode. */
static size_t frame(uint8_t first, const void *data, size_t n, uint8_t *out) {
  static const uint8_t mask[4] = {0x12, 0x00, 0xff, 0x80};
  size_t h = ws_header(WS_BINARY, n, out);
  out[0] = first;
  out[1] |= 0x80;
  memcpy(out + h, mask, 4);
  for (size_t i = 0; i < n; i++) out[h + 4 + i] = ((const uint8_t *)data)[i] ^ mask[i & 3];
  return h + 4 + n;
}
static void put_frame(struct wire *w, uint8_t first, const void *data, size_t n) {
  uint8_t *out = malloc(n + 16);
  send_some(w, out, frame(first, data, n, out));
  free(out);
}

static size_t packet(const struct mqtt_packet *p, uint8_t buf[1024]) {
  size_t n = mqtt_encode(p, MQTT_5, buf, 1024);
  assert_true(n > 0 && n <= 1024);
  return n;
}
static void put(struct wire *w, const struct mqtt_packet *p) {
  uint8_t buf[1024];
  size_t n = packet(p, buf);
  if (is_web(w))
    put_frame(w, 0x82, buf, n);
  else
    send_some(w, buf, n);
}
static struct mqtt_packet connect_of(const char *client) {
  return (struct mqtt_packet){.type = MQTT_CONNECT,
                              .connect = {.level = MQTT_5, .clean_start = true, .client_id = slice_str(client)}};
}
static struct mqtt_packet publish_of(const char *topic, const char *payload) {
  return (struct mqtt_packet){.type = MQTT_PUBLISH, .publish = {.topic = slice_str(topic), .payload = slice_str(payload)}};
}
static void subscribe(struct wire *w, const char *filter) {
  uint8_t buf[512];
  size_t n = 0;
  struct mqtt_filter f = {.text = slice_str(filter)};
  assert_int_equal(mqtt_put_filter(buf, sizeof buf, &n, MQTT_SUBSCRIBE, &f), 0);
  put(w, &(struct mqtt_packet){.type = MQTT_SUBSCRIBE, .id = 1, .list = {.raw = slice_of(buf, n)}});
}

static void note(struct wire *w, const char *format, ...) {
  size_t len = strlen(w->notes);
  va_list ap;
  va_start(ap, format);
  vsnprintf(w->notes + len, sizeof w->notes - len, format, ap);
  va_end(ap);
}

static void note_packets(struct wire *w, struct slice in) {
  struct mqtt_packet p;
  struct mqtt_fault fault;
  size_t size;
  while (in.n) {
    assert_int_equal(mqtt_frame(in, UINT32_MAX, &size, &fault), 1);
    assert_int_equal(mqtt_decode(slice_of(in.p, size), MQTT_5, MQTT_FROM_SERVER, &p, &fault), 0);
    if (p.type == MQTT_PUBLISH)
      note(w, "%.*s=%.*s ", (int)p.publish.topic.n, p.publish.topic.p, (int)p.publish.payload.n, p.publish.payload.p);
    else
      note(w, "%s %02x ", mqtt_type_name(p.type), p.type == MQTT_SUBACK ? p.list.raw.p[0] : p.reason);
    in = slice_of(in.p + size, in.n - size);
  }
}

/* Whole frames of the node, each with whole packets, as it makes them. */
static void note_frames(struct wire *w, const uint8_t *p, size_t n) {
  while (n) {
    size_t len = p[1] & 0x7f, h = 2;
    assert_true(p[0] & 0x80 && !(p[1] & 0x80));
    if (len == 126) {
      len = (size_t)p[2] << 8 | p[3];
      h = 4;
    }
    assert_true(len < 127 || h == 4);
    unsigned op = p[0] & 15;
    if (op == WS_BINARY)
      note_packets(w, slice_of(p + h, len));
    else if (op == WS_CLOSE)
      note(w, "close %u \"%.*s\" ", len ? (unsigned)p[2] << 8 | p[3] : 0, len > 2 ? (int)len - 2 : 0, p + 4);
    else
      note(w, "op%u %.*s ", op, (int)len, p + h);
    p += h + len;
    n -= h + len;
  }
}

/* What has come since. */
static const char *heard(struct wire *w) {
  w->notes[0] = 0;
  for (int i = 0; i < 6; i++) settle(w->rig);
  const uint8_t *p = w->out, *end = memmem(p, w->out_len, "\r\n\r\n", 4);
  if (w->out_len > 5 && !memcmp(p, "HTTP/", 5)) {
    note(w, "%.3s ", p + 9);
    p = end + 4;
    if (memcmp(w->notes, "101", 3) != 0) {
      note(w, "%.*s", (int)(w->out + w->out_len - p), p);
      p = w->out + w->out_len;
    }
  }
  if (is_web(w))
    note_frames(w, p, (size_t)(w->out + w->out_len - p));
  else
    note_packets(w, slice_of(p, (size_t)(w->out + w->out_len - p)));
  w->out_len = 0;
  return w->notes;
}
#define HEARD(w, text) assert_string_equal(heard(w), text)
static void heard_of(struct wire *w, const char *text) {
  if (!strstr(heard(w), text)) fail_msg("'%s' is not in '%s'", text, w->notes);
}

#define HOST "Host: localhost:8083\r\n"
#define REST                                                                                                                   \
  "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
#define PROTOCOL "Sec-WebSocket-Protocol: mqtt\r\n"
#define GET "GET /mqtt HTTP/1.1\r\n"
#define HANDSHAKE GET HOST REST PROTOCOL "\r\n"

static struct wire *join(struct rig *r, const struct stream_owner *owner, const char *client) {
  struct wire *w = wire_new(r, owner);
  struct mqtt_packet p = connect_of(client);
  if (owner == &web) send_text(w, HANDSHAKE);
  put(w, &p);
  HEARD(w, owner == &web ? "101 CONNACK 00 " : "CONNACK 00 ");
  return w;
}

/* ---- WebSocket -------------------------------------------------------------------------------------------------------------
 */
static void test_messages(void **state) {
  struct rig r;
  (void)state;
  start(&r);
  struct wire *a = join(&r, &web, "a"), *b = join(&r, &tcp, "b");
  struct mqtt_packet p = publish_of("t/1", "x");
  subscribe(a, "t/#");
  subscribe(b, "t/#");
  HEARD(a, "SUBACK 00 ");
  HEARD(b, "SUBACK 00 ");
  put(a, &p);
  HEARD(a, "t/1=x ");
  HEARD(b, "t/1=x ");
  put(b, &p);
  HEARD(a, "t/1=x ");
  HEARD(b, "t/1=x ");
  char *json;
  assert_int_equal(node_render(r.node, "clients", 0, 0, sim_net_now(r.net), &json), 0);
  assert_non_null(strstr(json, "\"door\":\"ws\",\"protocol\":\"5.0\""));
  assert_non_null(strstr(json, "\"door\":\"mqtt\""));
  node_text_free(json);
  put(a, &(struct mqtt_packet){.type = MQTT_DISCONNECT});
  HEARD(a, "close 1000 \"the client has said DISCONNECT\" ");
  assert_true(a->gone);
  lose(a);
  lose(b);
  rig_stop(&r);
}

/* The handshake and the frames come in pieces of each size, a message in fragments with a ping between them. */
static void test_pieces(void **state) {
  struct rig r;
  uint8_t all[4096], buf[1024], pings[1];
  (void)state;
  start(&r);
  struct mqtt_packet c = connect_of("a"), p = publish_of("t/1", "hello");
  size_t n = strlen(HANDSHAKE), len = packet(&c, buf);
  memcpy(all, HANDSHAKE, n);
  n += frame(0x02, buf, 3, all + n);
  n += frame(0x89, "hey", 3, all + n);
  n += frame(0x00, pings, 0, all + n);
  n += frame(0x80, buf + 3, len - 3, all + n);
  for (size_t piece = 1; piece < 60; piece += piece < 12 ? 1 : 9) {
    struct wire *w = wire_new(&r, &web);
    for (size_t at = 0; at < n; at += piece) {
      send_some(w, all + at, n - at < piece ? n - at : piece);
      if (at % 5 == 0) settle(&r);
    }
    heard_of(w, "101 ");
    assert_non_null(strstr(w->notes, "op10 hey "));
    assert_non_null(strstr(w->notes, "CONNACK 00 "));
    put(w, &p);
    HEARD(w, "");
    put_frame(w, 0x88,
              "\x03\xe8"
              "bye",
              5);
    HEARD(w, "close 1000 \"\" ");
    assert_true(w->gone);
    lose(w);
  }
  rig_stop(&r);
}

static void test_refused(void **state) {
  static const struct {
    const char *request, *answer;
  } cases[] = {
      {GET HOST REST "\r\n", "400 offer mqtt as Sec-WebSocket-Protocol\n"},
      {GET HOST REST "Sec-WebSocket-Protocol: wamp\r\n\r\n", "400 offer mqtt"},
      {GET HOST REST PROTOCOL "Origin: https://evil.example\r\n\r\n", "403 pages of this origin"},
      {GET "Host: evil.example\r\n" REST PROTOCOL "\r\n", "403 this name is not the node's"},
      {GET HOST REST PROTOCOL "Origin: http://localhost:8083\r\n\r\n", "101 "},
      {GET HOST REST PROTOCOL "Origin: https://pages.example\r\n\r\n", "101 "},
      {GET "Host: panel.example\r\n" REST PROTOCOL "\r\n", "101 "},
      {"GET / HTTP/1.1\r\n" HOST "\r\n", "404 "},
      {"\x10\x10\x00\x04MQTT", "400 this is not HTTP: MQTT without WebSocket"},
      {"\x16\x03\x01", "400 this is not HTTP: WebSocket over TLS"},
  };
  struct rig r;
  uint64_t wrong = 0;
  (void)state;
  start(&r);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct wire *w = wire_new(&r, &web);
    send_text(w, cases[i].request);
    heard_of(w, cases[i].answer);
    bool in = !memcmp(cases[i].answer, "101", 3);
    wrong += !in;
    assert_int_equal(w->gone, !in);
    lose(w);
  }
  static const struct {
    uint8_t first;
    const char *data, *answer;
  } frames[] = {{0x81, "text", "close 1003 \"a text frame; MQTT is sent in binary ones\" "},
                {0xc2, "rsv", "close 1002"},
                {0x80, "nothing", "close 1002 \"a continuation of nothing\" "},
                {0x09, "ping", "close 1002 \"a control frame is in fragments\" "},
                {0x83, "opcode", "close 1002"}};
  for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++, wrong++) {
    struct wire *w = join(&r, &web, "a");
    put_frame(w, frames[i].first, frames[i].data, strlen(frames[i].data));
    heard_of(w, frames[i].answer);
    assert_true(w->gone);
    lose(w);
  }
  struct wire *w = join(&r, &web, "a");
  send_text(w, "\x82\x02unmasked");
  HEARD(w, "close 1002 \"a frame of a client is not masked\" ");
  lose(w);
  w = join(&r, &web, "a");
  put_frame(w, 0x82, "\x30\xff\xff\xff\x7f", 5);
  HEARD(w, "DISCONNECT 95 close 1009 \"the packet is larger than the maximum packet size\" ");
  lose(w);
  w = wire_new(&r, &web);
  send_text(w, HANDSHAKE);
  put_frame(w, 0x82, "\xc0\x00", 2);
  HEARD(w, "101 close 1008 \"the first packet is not CONNECT\" ");
  lose(w);
  assert_int_equal(rig_metric(&r, "mqtt_websocket_refused_total"), wrong + 1);
  rig_stop(&r);
}

/* Half a handshake, and a whole one without CONNECT, end when half a CONNECT does; a drained node says goodbye to both. */
static void test_ends(void **state) {
  struct rig r;
  (void)state;
  start(&r);
  nanotime began = sim_net_now(r.net);
  struct wire *half = wire_new(&r, &web), *whole = wire_new(&r, &web), *plain = wire_new(&r, &tcp);
  send_text(half, GET HOST);
  send_text(whole, HANDSHAKE);
  send_text(plain, "\x10\x10\x00\x04MQ");
  HEARD(whole, "101 ");
  while (!plain->gone) rig_run(&r, 100 * NS_MS);
  settle(&r);
  assert_true(half->gone && whole->gone);
  assert_true(sim_net_now(r.net) - began < 15 * NS_SEC);
  HEARD(half, "408 no CONNECT came in time\n");
  HEARD(whole, "close 1008 \"no CONNECT came in time\" ");
  lose(half);
  lose(whole);
  lose(plain);
  whole = join(&r, &web, "a");
  half = wire_new(&r, &web);
  send_text(half, GET HOST);
  node_drain(r.node, sim_net_now(r.net));
  heard_of(whole, "DISCONNECT 8b close 1001");
  assert_true(whole->gone);
  lose(whole);
  lose(half);
  rig_run(&r, NS_SEC);
  rig_stop(&r);
}

/* One that floods with pings is not read for a while; it loses nothing, and others are served. */
static void test_pings(void **state) {
  struct rig r;
  (void)state;
  start(&r);
  struct wire *w = join(&r, &web, "a"), *other = join(&r, &web, "b");
  uint8_t out[16];
  size_t n = frame(0x89, NULL, 0, out);
  for (int i = 0; i < 3000; i++) send_some(w, out, n);
  settle(&r);
  assert_false(w->reads);
  assert_true(other->reads);
  put(other, &(struct mqtt_packet){.type = MQTT_PINGREQ});
  HEARD(other, "PINGRESP 00 ");
  rig_run(&r, 20 * NS_SEC);
  assert_true(w->reads);
  w->out_len = 0;
  put(w, &(struct mqtt_packet){.type = MQTT_PINGREQ});
  HEARD(w, "PINGRESP 00 ");
  assert_true(rig_metric(&r, "mqtt_not_read_total") > 0);
  lose(w);
  lose(other);
  rig_stop(&r);
}

static void test_no_memory(void **state) {
  (void)state;
  for (uint64_t at = 1; at < 80; at++) {
    struct rig r;
    struct mem_fail fail = {0};
    start_with(&r, (struct rig_options){.node = {.fail = &fail}});
    struct mqtt_packet c = connect_of("a");
    fail.countdown = at;
    struct wire *w = wire_new(&r, &web);
    send_some(w, HANDSHAKE, 40);
    settle(&r);
    send_text(w, HANDSHAKE + 40);
    put(w, &c);
    subscribe(w, "t");
    settle(&r);
    fail.countdown = 0;
    lose(w);
    rig_stop(&r);
  }
}

/* ---- who may connect -------------------------------------------------------------------------------------------------------
 */
/* A storm of connections that lead to nothing uses up its address's budget, and nobody else's; what led to something does not
 * count. */
static void test_storm(void **state) {
  struct rig r;
  int came = 0;
  (void)state;
  start(&r);
  for (int i = 0; i < 400; i++) {
    struct wire *w = join(&r, i % 2 ? &web : &tcp, "a");
    lose(w);
  }
  assert_int_equal(rig_metric(&r, "mqtt_connections_refused_total"), 0);
  for (int i = 0; i < 1000; i++) {
    struct wire *w = wire_from(&r, i % 2 ? &web : &tcp, "192.0.2.1:7");
    came += !w->gone;
    lose(w);
  }
  assert_true(came >= 250 && came < 450); /* and 25 in each second that it took */
  assert_int_equal(rig_metric(&r, "mqtt_connections_refused_total"), 1000 - came);
  struct addr same, other;
  addr_parse("192.0.2.1:8", 0, &same);
  addr_parse("192.0.2.2:8", 0, &other);
  node_mqtt_tls_refused(r.node, &same, "bad", sim_net_now(r.net)); /* the last token, if there is one */
  assert_false(node_mqtt_may_come(r.node, &same, sim_net_now(r.net)));
  assert_true(node_mqtt_may_come(r.node, &other, sim_net_now(r.net)));
  lose(join(&r, &web, "b"));
  rig_run(&r, 2 * NS_SEC);
  struct wire *w = wire_from(&r, &tcp, "192.0.2.1:9");
  assert_false(w->gone);
  lose(w);
  for (int i = 0; i < 300; i++) node_mqtt_tls_refused(r.node, &other, "bad", sim_net_now(r.net));
  assert_false(node_mqtt_may_come(r.node, &other, sim_net_now(r.net)));
  rig_run(&r, 1);
  assert_int_equal(rig_metric(&r, "mqtt_tls_refused_total"), 301);
  rig_stop(&r);
}

/* All addresses of many /64 together have a budget, too, beyond which only those come in that have used little. */
static void test_storm_of_many(void **state) {
  struct rig r;
  char text[64];
  int came = 0, again = 0;
  (void)state;
  start(&r);
  for (int turn = 0; turn < 200; turn++)
    for (int i = 0; i < 12; i++) {
      snprintf(text, sizeof text, "[2001:db8:0:%x::%x]:7", i, turn + 1);
      struct wire *w = wire_from(&r, &tcp, text);
      came += !w->gone;
      if (!w->gone) w->owner.closed(w->owner.ctx, &w->s, 0, sim_net_now(r.net));
      free(w);
      if (!i) settle(&r);
    }
  assert_true(came < 2400 && came >= 2000);
  for (int i = 0; i < 20; i++) {
    snprintf(text, sizeof text, "198.51.100.%d:7", i);
    struct wire *w = wire_from(&r, &tcp, text);
    again += !w->gone;
    lose(w);
  }
  assert_int_equal(again, 20);
  rig_stop(&r);
}

/* Who sends nothing keeps out only those of its own address, and no address takes all places. */
static void test_shares(void **state) {
  struct rig r;
  struct wire *w[64];
  (void)state;
  start_with(&r, (struct rig_options){.node = {.limits = {.max_clients = 64, .max_half_open = 8}}});
  for (int i = 0; i < 9; i++) w[i] = wire_from(&r, &web, "192.0.2.1:7");
  assert_true(w[8]->gone && !w[0]->gone);
  w[9] = wire_from(&r, &web, "192.0.2.2:7"); /* the oldest of the first makes room */
  settle(&r);
  assert_false(w[9]->gone);
  assert_true(w[0]->gone && !w[1]->gone);
  for (int i = 0; i < 10; i++) lose(w[i]);
  assert_int_equal(rig_metric(&r, "mqtt_connections"), 0);
  char name[16];
  int in = 0;
  for (int i = 0; i < 64; i++) { /* let in, so that they do not count as those */
    w[i] = wire_from(&r, &tcp, i < 60 ? "192.0.2.3:7" : "192.0.2.4:7");
    in += !w[i]->gone;
    snprintf(name, sizeof name, "c%d", i);
    struct mqtt_packet c = connect_of(name);
    put(w[i], &c);
    HEARD(w[i], i < 54 || i >= 60 ? "CONNACK 00 " : ""); /* three quarters of 72 */
  }
  assert_int_equal(in, 58);
  for (int i = 0; i < 64; i++) lose(w[i]);
  rig_stop(&r);
}

/* Half a CONNECT is kept, and of all of these the largest goes when they are too much. */
static void test_half(void **state) {
  static uint8_t half[100000] = {0x10, 0xa0, 0x8d, 0x06, 0, 4, 'M', 'Q', 'T', 'T', 5, 0, 0, 0, 0, 0xff, 0x7f};
  struct rig r;
  struct wire *w[20], *small;
  int left = 0;
  (void)state;
  start_with(&r, (struct rig_options){.node = {.limits = {.mqtt_pool = 4 << 20}}});
  small = wire_from(&r, &tcp, "192.0.2.9:7");
  send_some(small, half, 20);
  for (int i = 0; i < 20; i++) {
    w[i] = wire_from(&r, &tcp, "192.0.2.1:7");
    send_some(w[i], half, sizeof half);
    settle(&r);
  }
  for (int i = 0; i < 20; i++) left += !w[i]->gone;
  assert_true(left >= 4 && left <= 10 && !small->gone); /* a quarter of the pool, in buffers of 128 KiB */
  for (int i = 0; i < 20; i++) lose(w[i]);
  lose(small);
  rig_stop(&r);
}

/* Clients without a key behind one address share no account of waiting, as they share their quotas. */
static void test_waits(void **state) {
  struct rig r;
  (void)state;
  start(&r);
  struct wire *w[3] = {join(&r, &tcp, "a"), join(&r, &tcp, "b"), join(&r, &web, "c")};
  struct session *s[3] = {NULL};
  size_t n = 0;
  list_for(it, &r.node->sessions.all) s[n++] = container_of(it, struct session, all);
  assert_int_equal(n, 3);
  assert_ptr_equal(s[0]->account, s[1]->account);
  double full = account_may_wait(s[0], s[2], BUDGET_KIND_QOS0, true);
  rig_run(&r, 5 * NS_SEC);
  account_waited(s[0], s[1], BUDGET_KIND_QOS0, sim_net_now(r.net) - 3 * NS_SEC);
  assert_true(account_may_wait(s[0], s[2], BUDGET_KIND_QOS0, true) < full - 1);
  assert_true(account_may_wait(s[2], s[1], BUDGET_KIND_QOS0, true) < full - 1);
  assert_true(account_may_wait(s[2], s[0], BUDGET_KIND_QOS0, true) >= full);
  for (int i = 0; i < 3; i++) lose(w[i]);
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_messages), cmocka_unit_test(test_pieces), cmocka_unit_test(test_refused),
      cmocka_unit_test(test_ends),     cmocka_unit_test(test_pings),  cmocka_unit_test(test_no_memory),
      cmocka_unit_test(test_storm),    cmocka_unit_test(test_shares), cmocka_unit_test(test_storm_of_many),
      cmocka_unit_test(test_half),     cmocka_unit_test(test_waits)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
