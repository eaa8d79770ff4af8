/* WebSocket as MQTT uses it: handshakes, and frames cut anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "mqtt/websocket.h"
#include "unit/mqtt/hex.h"

static const struct ws_policy policy = {"/mqtt", "https://panel.example", "other, node,with.port:81"};

/* RFC 6455, 1.3 */
static void test_accept(void **state) {
  char accept[WS_ACCEPT_LEN + 1];
  (void)state;
  ws_accept(slice_str("dGhlIHNhbXBsZSBub25jZQ=="), accept);
  assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#define GET "GET /mqtt HTTP/1.1\r\n"
#define HOST "Host: node:8083\r\n"
#define UPGRADE "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define MQTT "Sec-WebSocket-Protocol: mqtt\r\n"
#define END "\r\n"

static const struct handshake {
  const char *request;
  int status;
  const char *has; /* in the answer */
} handshakes[] = {
    {GET HOST UPGRADE KEY VERSION MQTT END, 101, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"},
    {GET HOST UPGRADE KEY VERSION MQTT END, 101, "Sec-WebSocket-Protocol: mqtt\r\n"},
    {GET HOST UPGRADE KEY VERSION "sec-websocket-protocol:mqttv3.1\r\n" END, 101, "Sec-WebSocket-Protocol: mqttv3.1\r\n"},
    {GET HOST UPGRADE KEY VERSION "Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n" END, 101, "Sec-WebSocket-Protocol: mqtt\r\n"},
    {GET HOST UPGRADE KEY VERSION "Sec-WebSocket-Protocol: chat\r\n" MQTT END, 101, "Sec-WebSocket-Protocol: mqtt\r\n"},
    {"GET /mqtt?token=1 HTTP/1.1\r\n" HOST UPGRADE KEY VERSION MQTT END, 101, "101"},
    {GET HOST "upgrade: WebSocket\r\nCONNECTION: upgrade\r\n" KEY VERSION MQTT END, 101, "101"},
    {GET HOST UPGRADE KEY VERSION MQTT "Origin: http://node:8083\r\n" END, 101, "101"},
    {GET HOST UPGRADE KEY VERSION MQTT "Origin: https://NODE:8083\r\n" END, 101, "101"},
    {GET HOST UPGRADE KEY VERSION MQTT "Origin: https://panel.example\r\n" END, 101, "101"},
    {GET HOST UPGRADE KEY VERSION MQTT "Sec-WebSocket-Extensions: permessage-deflate\r\n" END, 101, "101"},
    {GET HOST UPGRADE KEY VERSION MQTT "Origin: https://evil.example\r\n" END, 403, "origin"},
    {GET HOST UPGRADE KEY VERSION MQTT "Origin: http://node:80\r\n" END, 403, "origin"},
    {GET HOST UPGRADE KEY VERSION MQTT "Origin: null\r\n" END, 403, "origin"},
    {GET HOST UPGRADE KEY VERSION MQTT "Origin:\r\n" END, 403, "origin"},
    {GET HOST UPGRADE KEY VERSION MQTT "Origin: http://node:8083\r\nOrigin: http://node:8083\r\n" END, 400, "twice"},
    {GET HOST UPGRADE KEY VERSION END, 400, "offer mqtt"},
    {GET HOST UPGRADE KEY VERSION "Sec-WebSocket-Protocol: MQTT\r\n" END, 400, "offer mqtt"},
    {GET HOST UPGRADE KEY VERSION "Sec-WebSocket-Protocol: wamp, mqttx\r\n" END, 400, "offer mqtt"},
    {GET HOST UPGRADE KEY "Sec-WebSocket-Version: 8\r\n" MQTT END, 426, "Sec-WebSocket-Version: 13\r\n"},
    {GET HOST UPGRADE KEY MQTT END, 426, "Sec-WebSocket-Version: 13\r\n"},
    {GET HOST KEY VERSION MQTT END, 426, "Upgrade: websocket\r\n"},
    {GET HOST "Upgrade: h2c\r\nConnection: upgrade\r\n" KEY VERSION MQTT END, 426, "Upgrade: websocket\r\n"},
    {GET HOST "Upgrade: websocket\r\nConnection: close\r\n" KEY VERSION MQTT END, 426, "Upgrade: websocket\r\n"},
    {GET HOST END, 426, "ask for an upgrade"},
    {GET UPGRADE KEY VERSION MQTT END, 400, "Host"},
    {GET HOST HOST UPGRADE KEY VERSION MQTT END, 400, "Host is there twice"},
    {GET HOST UPGRADE VERSION MQTT END, 400, "Key"},
    {GET HOST UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n" VERSION MQTT END, 400, "Key"},
    {GET HOST UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25*ZQ==\r\n" VERSION MQTT END, 400, "Key"},
    {GET HOST UPGRADE KEY KEY VERSION MQTT END, 400, "Key is there twice"},
    {GET HOST UPGRADE KEY VERSION MQTT "Content-Length: 5\r\n" END, 400, "no body"},
    {GET HOST UPGRADE KEY VERSION MQTT "Transfer-Encoding: chunked\r\n" END, 400, "no body"},
    {GET HOST UPGRADE KEY VERSION MQTT ": empty\r\n" END, 400, "no name"},
    {GET HOST UPGRADE KEY VERSION MQTT " folded\r\n" END, 400, "no name"},
    {GET HOST UPGRADE KEY VERSION MQTT "a : b\r\n" END, 400, "no name"},
    {GET HOST UPGRADE KEY VERSION MQTT "a: \x01\r\n" END, 400, "control"},
    {"GET /other HTTP/1.1\r\n" HOST UPGRADE KEY VERSION MQTT END, 404, "no such path"},
    {"GET /mqtt HTTP/1.0\r\n" HOST UPGRADE KEY VERSION MQTT END, 400, "HTTP/1.1"},
    {"GET mqtt HTTP/1.1\r\n" HOST END, 400, "HTTP/1.1"},
    {"GET  HTTP/1.1\r\n" HOST END, 400, "HTTP/1.1"},
    {"GET /mq tt HTTP/1.1\r\n" HOST END, 400, "may not"},
    {"GET \r\n\r\n", 400, "HTTP/1.1"},
    {"POST /mqtt HTTP/1.1\r\n", 405, "Allow: GET"},
    {"\x10\x0e\x00\x04MQTT", 400, "without WebSocket"},
    {"\x16\x03\x01", 400, "over TLS"},
    {GET "Host: evil.example\r\n" UPGRADE KEY VERSION MQTT END, 403, "http_hosts"},
    {GET "Host: node.evil.example\r\n" UPGRADE KEY VERSION MQTT END, 403, "http_hosts"},
    {GET "Host: with.port\r\n" UPGRADE KEY VERSION MQTT END, 403, "http_hosts"},
    {GET "Host: with.port:81\r\n" UPGRADE KEY VERSION MQTT END, 101, "101"},
    {GET "Host: Node\r\n" UPGRADE KEY VERSION MQTT END, 101, "101"},
    {GET "Host: localhost:8083\r\n" UPGRADE KEY VERSION MQTT END, 101, "101"},
    {GET "Host: 192.0.2.1:8083\r\n" UPGRADE KEY VERSION MQTT END, 101, "101"},
    {GET "Host: 192.0.2.1\r\n" UPGRADE KEY VERSION MQTT "Origin: http://192.0.2.1\r\n" END, 101, "101"},
    {GET "Host: [2001:db8::1]:8083\r\n" UPGRADE KEY VERSION MQTT END, 101, "101"},
    {GET "Host: [\r\n" UPGRADE KEY VERSION MQTT END, 403, "http_hosts"},
    {GET "Host: :80\r\n" UPGRADE KEY VERSION MQTT END, 403, "http_hosts"},
};

static void test_handshakes(void **state) {
  static struct ws_handshake h;
  (void)state;
  for (size_t i = 0; i < sizeof handshakes / sizeof handshakes[0]; i++) {
    const struct handshake *t = &handshakes[i];
    struct slice all = slice_str(t->request);
    int got = 0;
    size_t n = 0, seen = 0;
    for (; n <= all.n && got == 0; seen = n++) got = ws_handshake_read(slice_of(all.p, n), seen, &policy, &h);
    if (h.status != t->status || !memmem(h.answer, h.answer_len, t->has, strlen(t->has)))
      fail_msg("%s: %d %s", t->request, h.status, h.answer);
    assert_int_equal(got, t->status == 101 ? 1 : MACULA_BAD_FRAME);
    assert_true(h.answer_len < WS_ANSWER_MAX && h.answer_len == strlen(h.answer));
    assert_true(t->status != 101 || h.size == all.n);
    assert_true(t->status == 101 || strstr(h.answer, h.why));
  }
}

static void test_handshake_bounds(void **state) {
  static struct ws_handshake h;
  static char much[WS_REQUEST_MAX + 100];
  static const struct ws_policy open = {"/mqtt", "*", "node"};
  (void)state;
  memset(much, 'a', sizeof much);
  memcpy(much, GET, strlen(GET));
  for (size_t n = 4; n < WS_REQUEST_MAX; n++) assert_int_equal(ws_handshake_read(slice_of(much, n), n - 1, &policy, &h), 0);
  assert_int_equal(ws_handshake_read(slice_of(much, WS_REQUEST_MAX), WS_REQUEST_MAX - 1, &policy, &h), MACULA_BAD_FRAME);
  assert_int_equal(h.status, 431);
  /* an end beyond the bound does not count */
  memcpy(much + WS_REQUEST_MAX, "\r\n\r\n", 4);
  assert_int_equal(ws_handshake_read(slice_of(much, sizeof much), 0, &policy, &h), MACULA_BAD_FRAME);
  assert_int_equal(h.status, 431);
  /* frames may follow in the same read */
  static const char with[] = GET HOST UPGRADE KEY VERSION MQTT "Origin: https://x\r\n" END "\x82";
  assert_int_equal(ws_handshake_read(slice_str(with), 0, &open, &h), 1);
  assert_int_equal(h.size, sizeof with - 2);
  assert_true(slice_is(h.origin, "https://x"));
}

/* A client's frame, masked; returns its size. */
static size_t frame(uint8_t first, const void *data, size_t n, uint8_t *out) {
  uint8_t head[WS_HEADER_MAX];
  size_t h = ws_header(WS_BINARY, n, head);
  static const uint8_t mask[4] = {0x12, 0x00, 0xff, 0x80};
  memcpy(out, head, h);
  out[0] = first;
  out[1] |= 0x80;
  memcpy(out + h, mask, 4);
  for (size_t i = 0; i < n; i++) out[h + 4 + i] = ((const uint8_t *)data)[i] ^ mask[i & 3];
  return h + 4 + n;
}

struct log {
  char stream[4096];
  size_t n;
  unsigned pings, pongs;
  char control[WS_CONTROL_MAX];
  size_t control_len;
  int close; /* code */
  const char *why;
};

/* Reads a copy of the bytes in pieces; the result of the last ws_next. */
static int read_pieces(const uint8_t *in, size_t n, size_t piece, struct log *log) {
  struct ws_decoder d = {0};
  static uint8_t copy[4096];
  int got = 0;
  memset(log, 0, sizeof *log);
  memcpy(copy, in, n);
  for (size_t at = 0; at < n && got >= 0; at += piece) {
    uint8_t *p = copy + at;
    size_t left = n - at < piece ? n - at : piece;
    struct ws_event e;
    while ((got = ws_next(&d, &p, &left, &e)) == 1) {
      if (e.opcode == WS_BINARY) {
        memcpy(log->stream + log->n, e.data.p, e.data.n);
        log->n += e.data.n;
      } else {
        log->pings += e.opcode == WS_PING;
        log->pongs += e.opcode == WS_PONG;
        if (e.opcode == WS_CLOSE) log->close = e.code;
        memcpy(log->control, e.data.p ? e.data.p : (const uint8_t *)"", e.data.n);
        log->control_len = e.data.n;
      }
    }
    if (got < 0) {
      log->close = e.code;
      log->why = e.why;
    }
    assert_int_equal(left, got < 0 ? left : 0);
  }
  return got;
}

static void test_frames(void **state) {
  uint8_t in[2048], big[300];
  size_t n = 0;
  (void)state;
  for (size_t i = 0; i < sizeof big; i++) big[i] = (uint8_t)i;
  n += frame(0x82, "ab", 2, in + n);
  n += frame(0x02, "cd", 2, in + n); /* a message in fragments, a ping within it: 5.4 */
  n += frame(0x00, "", 0, in + n);
  n += frame(0x89, "ping", 4, in + n);
  n += frame(0x80, "ef", 2, in + n);
  n += frame(0x82, "", 0, in + n);
  n += frame(0x8a, "", 0, in + n);
  n += frame(0x82, big, sizeof big, in + n);
  n += frame(0x88,
             "\x03\xe8"
             "bye",
             5, in + n);
  n += frame(0x82, "not read", 8, in + n);
  for (size_t piece = 1; piece <= n; piece++) {
    struct log log;
    assert_int_equal(read_pieces(in, n, piece, &log), 0);
    assert_int_equal(log.n, 6 + sizeof big);
    assert_memory_equal(log.stream, "abcdef", 6);
    assert_memory_equal(log.stream + 6, big, sizeof big);
    assert_true(log.pings == 1 && log.pongs == 1 && log.close == 1000);
    assert_true(log.control_len == 3 && !memcmp(log.control, "bye", 3));
  }
}

static const struct bad {
  const char *frames;
  int code;
  const char *why;
} bads[] = {
    {"82 02 'ab'", WS_PROTOCOL_ERROR, "not masked"},                    /* 5.1 */
    {"c2 80 00000000", WS_PROTOCOL_ERROR, "extension"},                 /* 5.2 */
    {"83 80 00000000", WS_PROTOCOL_ERROR, "opcode"},                    /* 5.2 */
    {"8b 80 00000000", WS_PROTOCOL_ERROR, "opcode"},                    /* 5.2 */
    {"81 80 00000000", WS_UNSUPPORTED_DATA, "text"},                    /* [MQTT-6.0.0-1] */
    {"80 80 00000000", WS_PROTOCOL_ERROR, "continuation of nothing"},   /* 5.4 */
    {"02 80 00000000 82 80", WS_PROTOCOL_ERROR, "within another"},      /* 5.4 */
    {"09 80 00000000", WS_PROTOCOL_ERROR, "fragments"},                 /* 5.5 */
    {"89 fe", WS_PROTOCOL_ERROR, "125"},                                /* 5.5 */
    {"82 fe 007d 00000000", WS_PROTOCOL_ERROR, "shortest"},             /* 5.2 */
    {"82 ff 000000000000ffff 00000000", WS_PROTOCOL_ERROR, "shortest"}, /* 5.2 */
    {"82 ff 8000000000000000 00000000", WS_PROTOCOL_ERROR, "shortest"}, /* 5.2 */
    {"88 81 00000000 03", WS_PROTOCOL_ERROR, "half a code"},            /* 5.5.1 */
    {"88 82 00000000 03ed", WS_PROTOCOL_ERROR, "never sent"},           /* 7.4.1: 1005 */
    {"88 82 00000000 03ee", WS_PROTOCOL_ERROR, "never sent"},           /* 7.4.1: 1006 */
    {"88 82 00000000 0000", WS_PROTOCOL_ERROR, "never sent"},           /* 7.4.2 */
    {"88 82 00000000 1388", WS_PROTOCOL_ERROR, "never sent"},           /* 7.4.2: 5000 */
    {"88 83 00000000 03e8 ff", WS_BAD_TEXT, "UTF-8"},                   /* 5.5.1 */
};

static void test_bad_frames(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
    uint8_t in[64];
    struct log log;
    struct slice s = hex(bads[i].frames, in);
    for (size_t piece = 1; piece <= s.n; piece++) {
      if (read_pieces(s.p, s.n, piece, &log) != MACULA_BAD_FRAME) fail_msg("%s was taken", bads[i].frames);
      if (log.close != bads[i].code || !strstr(log.why, bads[i].why)) fail_msg("%s: %d %s", bads[i].frames, log.close, log.why);
    }
  }
  struct log log;
  uint8_t in[16];
  struct slice s = hex("88 80 00000000", in);
  assert_int_equal(read_pieces(s.p, s.n, 1, &log), 0);
  assert_int_equal(log.close, WS_NO_CODE);
}

static void test_encoded(void **state) {
  uint8_t h[WS_HEADER_MAX], f[2 + WS_CONTROL_MAX];
  char words[200];
  (void)state;
  assert_true(ws_header(WS_BINARY, 125, h) == 2 && h[0] == 0x82 && h[1] == 125);
  assert_true(ws_header(WS_BINARY, 126, h) == 4 && h[1] == 126 && h[2] == 0 && h[3] == 126);
  assert_true(ws_header(WS_PONG, 65536, h) == 10 && h[0] == 0x8a && h[1] == 127 && h[7] == 1 && h[9] == 0);
  assert_true(ws_close(WS_NO_CODE, "x", f) == 2 && f[0] == 0x88 && f[1] == 0);
  assert_true(ws_close(WS_GOING_AWAY, NULL, f) == 4 && f[2] == 3 && f[3] == 0xe9);
  for (size_t i = 0; i < sizeof words; i++) words[i] = i & 1 ? '\xa9' : '\xc3';
  words[198] = 0;
  assert_true(ws_close(WS_POLICY, words, f) == 2 + 2 + 122 && f[1] == 124); /* 123 would cut a character */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_accept),           cmocka_unit_test(test_handshakes),
                                     cmocka_unit_test(test_handshake_bounds), cmocka_unit_test(test_frames),
                                     cmocka_unit_test(test_bad_frames),       cmocka_unit_test(test_encoded)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
