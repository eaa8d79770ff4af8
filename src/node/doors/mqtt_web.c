/* WebSocket under a connection: a handshake, then frames whose bytes are those of MQTT. It is of the connection, so that half a
 * handshake has the time of half a CONNECT. */
#include "base/err.h"
#include "base/utf8.h"
#include "mqtt/websocket.h"
#include "node/doors/mqtt_state.h"

#define PATH "/mqtt"

struct mqtt_web {
  struct ws_decoder in;
  uint8_t *request; /* what there is of the handshake, if it came in pieces; mqtt_pool */
  size_t have, cap;
  uint32_t pings;
  bool open, said; /* the handshake is done; the end is told */
};

bool mqtt_web_new(struct mqtt_link *l) { return (l->web = mem_calloc(mqtt_mem(l->n), 1, sizeof *l->web)) != NULL; }

void mqtt_web_free(struct mqtt_link *l) {
  if (!l->web) return;
  mem_free(mqtt_mem(l->n), l->web->request);
  mem_free(mqtt_mem(l->n), l->web);
  l->web = NULL;
}

size_t mqtt_web_held(const struct mqtt_link *l) { return l->web ? l->web->cap : 0; }

uint32_t mqtt_web_pings(const struct mqtt_link *l) { return l->web ? l->web->pings : 0; }

static void close_frame(struct mqtt_link *l, uint16_t code, const char *why) {
  uint8_t frame[2 + WS_CONTROL_MAX];
  size_t n = ws_close(code, why, frame);
  l->web->said = true;
  mqtt_link_put(l, slice_of(frame, n));
}

static void answer(struct mqtt_link *l, const struct ws_handshake *h) {
  l->web->said = true;
  mqtt_link_put(l, slice_of(h->answer, h->answer_len));
}

static uint16_t code_of(enum mqtt_reason reason) {
  return reason == MQTT_SUCCESS         ? WS_NORMAL
         : reason == MQTT_SHUTTING_DOWN ? WS_GOING_AWAY
         : reason == MQTT_TOO_LARGE     ? WS_TOO_LARGE
                                        : WS_POLICY;
}

void mqtt_web_bye(struct mqtt_link *l, enum mqtt_reason reason, const char *why) {
  struct ws_handshake h;
  if (l->web->said) return;
  if (l->web->open) {
    close_frame(l, code_of(reason), why);
    return;
  }
  ws_handshake_refuse(&h, reason == MQTT_SHUTTING_DOWN || reason == MQTT_QUOTA ? 503 : 408, why);
  answer(l, &h);
}

/* The peer has broken a rule, or says goodbye: nothing more is read. */
static void over(struct mqtt_link *l) {
  mqtt_conn_lost(l->conn, l->n->now);
  l->closing = true;
  mqtt_link_dirty(l);
}

static void refused(struct mqtt_link *l, const struct ws_handshake *h) {
  struct node *n = l->n;
  char at[ADDR_TEXT_LEN], host[65], origin[65];
  n->mqtt->web_refused++;
  answer(l, h);
  over(l);
  if (!bucket_take(&n->mqtt->lines, 2.0, 20.0, n->now)) return;
  addr_text(&l->stream->remote, at);
  (void)utf8_label(h->host, host, sizeof host - 1);
  (void)utf8_label(h->origin, origin, sizeof origin - 1);
  log_warn(n->log, "websocket_refused", "address=%s status=%d host=\"%s\" origin=\"%s\" text=\"%s\"", at, h->status, host,
           origin, h->why);
}

static void broken(struct mqtt_link *l, const struct ws_event *e) {
  struct node *n = l->n;
  char at[ADDR_TEXT_LEN];
  n->mqtt->web_refused++;
  close_frame(l, e->code, e->why);
  over(l);
  if (!bucket_take(&n->mqtt->lines, 2.0, 20.0, n->now)) return;
  addr_text(&l->stream->remote, at);
  log_warn(n->log, "websocket_closed", "address=%s name=\"%s\" code=%u text=\"%s\"", at, l->client ? l->client->name : "",
           e->code, e->why);
}

/* A copy of what is there, as the next bytes come in another buffer. */
static bool keep(struct mqtt_link *l, struct slice in) {
  struct mqtt_web *w = l->web;
  if (w->have + in.n > w->cap) {
    size_t cap = w->cap ? w->cap : 512;
    while (cap < w->have + in.n) cap *= 2;
    uint8_t *p = mem_realloc(mqtt_mem(l->n), w->request, cap);
    if (!p) return false;
    w->request = p;
    w->cap = cap;
  }
  memcpy(w->request + w->have, in.p, in.n);
  w->have += in.n;
  return true;
}

/* Returns how many of the bytes are the handshake's, which is done; 0: it is not, or was refused. */
static size_t shake(struct mqtt_link *l, const uint8_t *bytes, size_t n) {
  struct mqtt_web *w = l->web;
  struct mqtt_rooms *rooms = l->n->mqtt;
  struct ws_policy policy = {.path = PATH, .hosts = rooms->hosts, .origins = rooms->origins};
  struct ws_handshake h;
  size_t before = w->have, room = WS_REQUEST_MAX - before, take = n < room ? n : room;
  struct slice in = slice_of(bytes, take);
  if (before && !keep(l, in)) goto no_memory;
  int got = ws_handshake_read(before ? slice_of(w->request, w->have) : in, before, &policy, &h);
  if (got < 0) {
    refused(l, &h);
    return 0;
  }
  if (!got) {
    if (before || keep(l, in)) return 0;
    goto no_memory;
  }
  mem_free(mqtt_mem(l->n), w->request);
  w->request = NULL;
  w->have = w->cap = 0;
  w->open = true;
  mqtt_link_put(l, slice_of(h.answer, h.answer_len));
  return h.size - before;
no_memory:
  ws_handshake_refuse(&h, 503, "there is no memory for the request");
  refused(l, &h);
  return 0;
}

/* What was in several frames is moved together and read at once; and of the pings of one read the last is answered (5.5.3), if
 * the peer reads what it is sent. So neither costs more than what was sent for it. */
void mqtt_web_data(struct mqtt_link *l, uint8_t *bytes, size_t n) {
  struct mqtt_web *w = l->web;
  uint8_t *p = bytes, *to, pong[WS_CONTROL_MAX];
  size_t pong_len = SIZE_MAX, used;
  struct ws_event e;
  int got;
  if (!w->open) {
    if (!(used = shake(l, p, n))) return;
    p += used;
    n -= used;
  }
  bytes = to = p;
  while ((got = ws_next(&w->in, &p, &n, &e)) == 1 && e.opcode != WS_CLOSE) {
    if (e.opcode == WS_BINARY) {
      memmove(to, e.data.p, e.data.n);
      to += e.data.n;
      continue;
    }
    w->pings++;
    if (e.opcode != WS_PING) continue;
    memcpy(pong, e.data.p, e.data.n);
    pong_len = e.data.n;
  }
  if (to > bytes) mqtt_conn_recv(l->conn, slice_of(bytes, (size_t)(to - bytes)), l->n->now);
  if (l->closing || l->broken) return;
  if (got < 0) {
    broken(l, &e);
  } else if (got == 1) {
    close_frame(l, e.code, NULL); /* 5.5.1 */
    over(l);
  } else if (pong_len != SIZE_MAX && !mqtt_link_unsent(l)) {
    mqtt_web_head(l, WS_PONG, pong_len);
    mqtt_link_put(l, slice_of(pong, pong_len));
  }
}

void mqtt_web_head(struct mqtt_link *l, unsigned opcode, size_t payload) {
  uint8_t head[WS_HEADER_MAX];
  size_t n = ws_header((enum ws_opcode)opcode, payload, head);
  mqtt_link_put(l, slice_of(head, n));
}
