#include "mqtt/websocket.h"

#include <stdio.h>
#include <strings.h>

#include <nettle/base64.h>
#include <nettle/sha1.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/utf8.h"

#define KEY_LEN 24u /* base64 of 16 bytes: 4.1 */

void ws_accept(struct slice key, char ret_accept[WS_ACCEPT_LEN + 1]) {
  static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* 1.3 */
  struct sha1_ctx sha;
  uint8_t digest[SHA1_DIGEST_SIZE];
  sha1_init(&sha);
  sha1_update(&sha, key.n, key.p);
  sha1_update(&sha, sizeof guid - 1, (const uint8_t *)guid);
  sha1_digest(&sha, sizeof digest, digest);
  base64_encode_raw(ret_accept, sizeof digest, digest);
  ret_accept[WS_ACCEPT_LEN] = 0;
}

/* What a request says. */
struct request {
  struct slice path, host, origin, key;
  bool upgrade, connection, version, other_version, has_body, mqtt, mqtt_3_1;
  const char *wrong; /* the first thing that is; static text */
};

static bool same(struct slice s, const char *text) { return s.n == strlen(text) && !strncasecmp((const char *)s.p, text, s.n); }

static struct slice trim(struct slice s) {
  while (s.n && (*s.p == ' ' || *s.p == '\t')) s = slice_of(s.p + 1, s.n - 1);
  while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) s.n--;
  return s;
}

/* The next item of a list with commas; moves *list behind it. */
static bool next_item(struct slice *list, struct slice *ret) {
  if (!list->p) return false;
  const uint8_t *comma = list->n ? memchr(list->p, ',', list->n) : NULL;
  size_t n = comma ? (size_t)(comma - list->p) : list->n;
  *ret = trim(slice_of(list->p, n));
  *list = comma ? slice_of(comma + 1, list->n - n - 1) : SLICE_NONE;
  return true;
}

static bool has_word(struct slice list, const char *word) { /* of any case */
  for (struct slice item; next_item(&list, &item);)
    if (same(item, word)) return true;
  return false;
}

static bool offers(struct slice list, const char *protocol) { /* 11.3.4: case counts */
  for (struct slice item; next_item(&list, &item);)
    if (slice_is(item, protocol)) return true;
  return false;
}

static void once(struct request *r, struct slice *field, struct slice value, const char *twice) {
  if (field->p) r->wrong = twice;
  *field = value;
}

static void header(struct request *r, struct slice name, struct slice value) {
  if (same(name, "host")) {
    once(r, &r->host, value, "Host is there twice");
  } else if (same(name, "origin")) {
    once(r, &r->origin, value, "Origin is there twice");
  } else if (same(name, "sec-websocket-key")) {
    once(r, &r->key, value, "Sec-WebSocket-Key is there twice");
  } else if (same(name, "upgrade")) {
    r->upgrade |= has_word(value, "websocket");
  } else if (same(name, "connection")) {
    r->connection |= has_word(value, "upgrade");
  } else if (same(name, "sec-websocket-version")) {
    r->version |= slice_is(value, "13");
    r->other_version |= !slice_is(value, "13");
  } else if (same(name, "sec-websocket-protocol")) {
    r->mqtt |= offers(value, "mqtt");
    r->mqtt_3_1 |= offers(value, "mqttv3.1");
  } else if (same(name, "content-length")) {
    r->has_body |= !slice_is(value, "0");
  } else if (same(name, "transfer-encoding")) {
    r->has_body = true;
  }
}

static bool is_token(struct slice s) { /* RFC 9110, 5.6.2 */
  for (size_t i = 0; i < s.n; i++)
    if (s.p[i] <= ' ' || s.p[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", s.p[i])) return false;
  return s.n > 0;
}

static void header_line(struct request *r, struct slice line) {
  const uint8_t *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
  struct slice name = slice_of(line.p, colon ? (size_t)(colon - line.p) : 0);
  if (!is_token(name)) {
    r->wrong = "a header line has no name";
    return;
  }
  for (size_t i = 0; i < line.n; i++)
    if ((line.p[i] < ' ' && line.p[i] != '\t') || line.p[i] == 0x7f) r->wrong = "a header line holds a control";
  header(r, name, trim(slice_of(colon + 1, line.n - name.n - 1)));
}

/* "GET /mqtt HTTP/1.1"; the path without its query. */
static void request_line(struct request *r, struct slice line) {
  static const char version[] = " HTTP/1.1";
  size_t v = sizeof version - 1;
  if (line.n < 5 + v || line.p[4] != '/' || memcmp(line.p + line.n - v, version, v) != 0) {
    r->wrong = "not a request of HTTP/1.1 for a path";
    return;
  }
  r->path = slice_of(line.p + 4, line.n - 4 - v);
  for (size_t i = 0; i < r->path.n; i++)
    if (r->path.p[i] <= ' ' || r->path.p[i] >= 0x7f) r->wrong = "the path holds a byte that it may not";
  const uint8_t *query = memchr(r->path.p, '?', r->path.n);
  if (query) r->path.n = (size_t)(query - r->path.p);
}

static void parse(struct slice in, struct request *r) {
  for (bool first = true; in.n; first = false) {
    const uint8_t *end = memmem(in.p, in.n, "\r\n", 2);
    struct slice line = slice_of(in.p, (size_t)(end - in.p));
    in = slice_of(end + 2, in.n - line.n - 2);
    if (first)
      request_line(r, line);
    else if (line.n)
      header_line(r, line);
    if (r->wrong) return;
  }
}

static bool is_listed(const char *list, struct slice name) { /* of any case */
  struct slice all = slice_str(list ? list : "");
  for (struct slice item; next_item(&all, &item);)
    if (item.n && item.n == name.n && !strncasecmp((const char *)item.p, (const char *)name.p, name.n)) return true;
  return false;
}

/* The name of "name:8083" or "[::1]:8083". */
static struct slice without_port(struct slice host) {
  const uint8_t *end = host.n ? memchr(host.p, host.p[0] == '[' ? ']' : ':', host.n) : NULL;
  if (end && host.p[0] == '[') end++;
  return end ? slice_of(host.p, (size_t)(end - host.p)) : host;
}

/* Browsers do not look up addresses and localhost. */
static bool host_is_ours(struct slice host, const struct ws_policy *policy) {
  char text[ADDR_TEXT_LEN];
  struct addr a;
  struct slice name = without_port(host);
  snprintf(text, sizeof text, "%.*s", (int)host.n, (const char *)host.p);
  return (host.n < sizeof text && !addr_parse(text, 80, &a)) || same(name, "localhost") || is_listed(policy->hosts, host) ||
         is_listed(policy->hosts, name);
}

/* "https://host:port" is our own where host and port are what the client asked for. RFC 6454, 7. */
static bool origin_fits(struct slice origin, struct slice host, const struct ws_policy *policy) {
  if (!origin.p) return true; /* no browser: 10.2 */
  if (is_listed(policy->origins, origin) || is_listed(policy->origins, slice_str("*"))) return true;
  const uint8_t *at = origin.n ? memmem(origin.p, origin.n, "://", 3) : NULL;
  if (!at) return false;
  struct slice own = slice_of(at + 3, origin.n - (size_t)(at + 3 - origin.p));
  return host.n && own.n == host.n && !strncasecmp((const char *)own.p, (const char *)host.p, own.n);
}

static bool is_key(struct slice key) {
  for (size_t i = 0; i + 2 < key.n; i++)
    if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", key.p[i]) || !key.p[i]) return false;
  return key.n == KEY_LEN && !memcmp(key.p + KEY_LEN - 2, "==", 2);
}

static const char *status_name(int status) {
  switch (status) {
  case 403:
    return "Forbidden";
  case 404:
    return "Not Found";
  case 405:
    return "Method Not Allowed";
  case 408:
    return "Request Timeout";
  case 426:
    return "Upgrade Required";
  case 431:
    return "Request Header Fields Too Large";
  case 503:
    return "Service Unavailable";
  default:
    return "Bad Request";
  }
}

void ws_handshake_refuse(struct ws_handshake *ret, int status, const char *why) {
  const char *more = status == 426   ? "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" /* 4.4; RFC 9110, 15.5.22 */
                     : status == 405 ? "Allow: GET\r\n"
                                     : "";
  ret->status = status;
  ret->why = why;
  ret->answer_len =
      (size_t)snprintf(ret->answer, sizeof ret->answer,
                       "HTTP/1.1 %d %s\r\nConnection: %s\r\n%sContent-Type: text/plain\r\n"
                       "Content-Length: %zu\r\n\r\n%s\n",
                       status, status_name(status), status == 426 ? "upgrade, close" : "close", more, strlen(why) + 1, why);
}

static int refuse(struct ws_handshake *ret, int status, const char *why) {
  ws_handshake_refuse(ret, status, why);
  return MACULA_BAD_FRAME;
}

static int judge(const struct request *r, const struct ws_policy *policy, struct ws_handshake *ret) {
  if (r->wrong) return refuse(ret, 400, r->wrong);
  if (r->host.n && !host_is_ours(r->host, policy))
    return refuse(ret, 403, "this name is not the node's: http_hosts lists them");
  if (!slice_is(r->path, policy->path)) return refuse(ret, 404, "there is no such path here");
  if (!r->host.n) return refuse(ret, 400, "there is no Host");
  if (r->has_body) return refuse(ret, 400, "a handshake has no body");
  if (!r->upgrade || !r->connection) return refuse(ret, 426, "this is MQTT over WebSocket; ask for an upgrade to websocket");
  if (!r->version || r->other_version) return refuse(ret, 426, "only version 13 of WebSocket is spoken");
  if (!is_key(r->key)) return refuse(ret, 400, "Sec-WebSocket-Key is not base64 of 16 bytes");
  if (!origin_fits(r->origin, r->host, policy))
    return refuse(ret, 403, "pages of this origin may not connect: mqtt_origins lists them");
  if (!r->mqtt && !r->mqtt_3_1) return refuse(ret, 400, "offer mqtt as Sec-WebSocket-Protocol"); /* [MQTT-6.0.0-3] */
  char accept[WS_ACCEPT_LEN + 1];
  ws_accept(r->key, accept);
  ret->status = 101;
  ret->answer_len = (size_t)snprintf(ret->answer, sizeof ret->answer,
                                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                     "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
                                     accept, r->mqtt ? "mqtt" : "mqttv3.1"); /* [MQTT-6.0.0-4] */
  return 1;
}

int ws_handshake_read(struct slice in, size_t seen, const struct ws_policy *policy, struct ws_handshake *ret) {
  memset(ret, 0, sizeof *ret);
  size_t begin = in.n < 4 ? in.n : 4;
  if (begin && memcmp(in.p, "GET ", begin) != 0) {
    bool is_method = in.p[0] >= 'A' && in.p[0] <= 'Z';
    if (is_method && in.n < 4) return 0; /* whether it is HTTP at all */
    if (in.p[0] == 0x10) return refuse(ret, 400, "this is not HTTP: MQTT without WebSocket has another port");
    if (in.p[0] == 0x16) return refuse(ret, 400, "this is not HTTP: WebSocket over TLS has another port");
    return is_method ? refuse(ret, 405, "only GET is answered here") : refuse(ret, 400, "this is not HTTP");
  }
  size_t from = seen < 3 ? 0 : seen - 3;
  size_t most = in.n < WS_REQUEST_MAX ? in.n : WS_REQUEST_MAX;
  const uint8_t *end = from < most ? memmem(in.p + from, most - from, "\r\n\r\n", 4) : NULL;
  if (!end) return in.n >= WS_REQUEST_MAX ? refuse(ret, 431, "the request has more than 8192 bytes") : 0;
  struct request r = {.path = SLICE_NONE};
  ret->size = (size_t)(end - in.p) + 4;
  parse(slice_of(in.p, ret->size - 2), &r);
  ret->host = r.host;
  ret->origin = r.origin;
  return judge(&r, policy, ret);
}

static int broken(struct ws_decoder *d, struct ws_event *ret, uint16_t code, const char *why) {
  d->closed = true;
  *ret = (struct ws_event){.opcode = WS_CLOSE, .code = code, .why = why};
  return MACULA_BAD_FRAME;
}

/* Bytes that the header has, as far as it is known. */
static unsigned header_size(const struct ws_decoder *d) {
  if (d->header_len < 2) return 2;
  unsigned len = d->header[1] & 0x7f;
  return 6 + (len == 126 ? 2 : len == 127 ? 8 : 0);
}

/* What is wrong with the first two bytes: 5.2, 5.4, 5.5. */
static const char *opening_fault(const struct ws_decoder *d, uint16_t *ret_code) {
  unsigned opcode = d->header[0] & 15, len = d->header[1] & 0x7f;
  bool fin = d->header[0] & 0x80;
  *ret_code = WS_PROTOCOL_ERROR;
  if (d->header[0] & 0x70) return "bits of an extension are set, and none was agreed";
  if (!(d->header[1] & 0x80)) return "a frame of a client is not masked"; /* 5.1 */
  if (opcode & 8) {
    if (opcode > WS_PONG) return "an opcode that is none";
    if (!fin) return "a control frame is in fragments";
    return len > WS_CONTROL_MAX ? "a control frame has more than 125 bytes" : NULL;
  }
  if (opcode > WS_BINARY) return "an opcode that is none";
  if (opcode == WS_CONTINUATION && !d->in_message) return "a continuation of nothing";
  if (opcode != WS_CONTINUATION && d->in_message) return "a message begins within another";
  if (opcode != WS_TEXT) return NULL;
  *ret_code = WS_UNSUPPORTED_DATA; /* [MQTT-6.0.0-1] */
  return "a text frame; MQTT is sent in binary ones";
}

/* The length; UINT64_MAX: not in the shortest form, or of more than 63 bits. */
static uint64_t payload_length(const struct ws_decoder *d) {
  uint64_t len = d->header[1] & 0x7f, least = len == 126 ? 126 : len == 127 ? 65536 : 0;
  unsigned bytes = len == 126 ? 2 : len == 127 ? 8 : 0;
  if (!bytes) return len;
  len = 0;
  for (unsigned i = 0; i < bytes; i++) len = len << 8 | d->header[2 + i];
  return len < least || len >> 63 ? UINT64_MAX : len;
}

/* Reads on in a header. 1: the frame's payload begins; 0: bytes are missing. */
static int read_header(struct ws_decoder *d, uint8_t **p, size_t *n, struct ws_event *ret) {
  while (d->header_len < header_size(d)) {
    if (!*n) return 0;
    d->header[d->header_len++] = *(*p)++;
    (*n)--;
    uint16_t code;
    const char *why = d->header_len == 2 ? opening_fault(d, &code) : NULL;
    if (why) return broken(d, ret, code, why);
  }
  d->left = payload_length(d);
  if (d->left == UINT64_MAX) return broken(d, ret, WS_PROTOCOL_ERROR, "a length that is not in its shortest form");
  d->opcode = d->header[0] & 15;
  if (!(d->opcode & 8)) d->in_message = !(d->header[0] & 0x80);
  /* The mask, to where it is looked for. */
  memmove(d->header, d->header + header_size(d) - 4, 4);
  d->turn = 0;
  d->control_len = 0;
  d->in_payload = true;
  return 1;
}

static void unmask(struct ws_decoder *d, uint8_t *p, size_t n) {
  uint8_t mask[8];
  size_t i = 0;
  uint64_t word, wide;
  for (unsigned k = 0; k < 8; k++) mask[k] = d->header[(d->turn + k) & 3];
  memcpy(&wide, mask, 8);
  for (; i + 8 <= n; i += 8) {
    memcpy(&word, p + i, 8);
    word ^= wide;
    memcpy(p + i, &word, 8);
  }
  for (; i < n; i++) p[i] ^= mask[i & 7];
  d->turn = (uint8_t)((d->turn + n) & 3);
}

static bool code_is_sendable(unsigned code) { /* 7.4 */
  return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) || (code >= 3000 && code <= 4999);
}

static int close_event(struct ws_decoder *d, struct ws_event *ret) { /* 5.5.1 */
  unsigned code = WS_NO_CODE;
  struct slice reason = SLICE_NONE;
  if (d->control_len == 1) return broken(d, ret, WS_PROTOCOL_ERROR, "a close frame with half a code");
  if (d->control_len) {
    code = (unsigned)d->control[0] << 8 | d->control[1];
    reason = slice_of(d->control + 2, d->control_len - 2u);
    if (!code_is_sendable(code)) return broken(d, ret, WS_PROTOCOL_ERROR, "a close frame with a code that is never sent");
  }
  for (size_t i = 0, len; i < reason.n; i += len) {
    len = utf8_len(reason.p + i, reason.n - i);
    if (!len) return broken(d, ret, WS_BAD_TEXT, "a close frame whose reason is no UTF-8");
  }
  d->closed = true;
  *ret = (struct ws_event){.opcode = WS_CLOSE, .data = reason, .code = (uint16_t)code};
  return 1;
}

static int control_event(struct ws_decoder *d, struct ws_event *ret) {
  d->in_payload = false;
  d->header_len = 0;
  if (d->opcode == WS_CLOSE) return close_event(d, ret);
  *ret = (struct ws_event){.opcode = (enum ws_opcode)d->opcode, .data = slice_of(d->control, d->control_len)};
  return 1;
}

int ws_next(struct ws_decoder *d, uint8_t **p, size_t *n, struct ws_event *ret_event) {
  for (;;) {
    if (d->closed) {
      *p += *n;
      *n = 0;
      return 0;
    }
    if (!d->in_payload) {
      int got = read_header(d, p, n, ret_event);
      if (got <= 0) return got;
    }
    size_t take = *n < d->left ? *n : (size_t)d->left;
    uint8_t *data = *p;
    unmask(d, data, take);
    *p += take;
    *n -= take;
    d->left -= take;
    if (d->opcode & 8) {
      if (take) memcpy(d->control + d->control_len, data, take);
      d->control_len = (uint8_t)(d->control_len + take);
      if (d->left) return 0;
      return control_event(d, ret_event);
    }
    if (!d->left) {
      d->in_payload = false;
      d->header_len = 0;
    }
    if (take) {
      *ret_event = (struct ws_event){.opcode = WS_BINARY, .data = slice_of(data, take)};
      return 1;
    }
    if (d->left) return 0;
  }
}

size_t ws_header(enum ws_opcode opcode, uint64_t payload, uint8_t ret_header[WS_HEADER_MAX]) {
  unsigned bytes = payload < 126 ? 0 : payload < 65536 ? 2 : 8;
  ret_header[0] = (uint8_t)(0x80 | opcode);
  ret_header[1] = (uint8_t)(bytes == 0 ? payload : bytes == 2 ? 126 : 127);
  for (unsigned i = 0; i < bytes; i++) ret_header[2 + i] = (uint8_t)(payload >> 8 * (bytes - 1 - i));
  return 2 + bytes;
}

size_t ws_close(uint16_t code, const char *reason, uint8_t ret_frame[2 + WS_CONTROL_MAX]) {
  size_t n = 0, cut = 0, all = reason ? strlen(reason) : 0;
  if (code != WS_NO_CODE) {
    ret_frame[2] = (uint8_t)(code >> 8);
    ret_frame[3] = (uint8_t)code;
    n = 2;
    for (size_t len; cut < all; cut += len) { /* whole characters */
      len = utf8_len((const uint8_t *)reason + cut, all - cut);
      if (!len || n + cut + len > WS_CONTROL_MAX) break;
    }
    memcpy(ret_frame + 4, reason ? reason : "", cut);
  }
  ret_frame[0] = 0x80 | WS_CLOSE;
  ret_frame[1] = (uint8_t)(n + cut);
  return 2 + n + cut;
}
