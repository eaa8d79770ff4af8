/* One connection: its stream, and what the stream had no room for. */
#include "base/check.h"
#include "base/err.h"
#include "mqtt/websocket.h"
#include "node/doors/mqtt_state.h"
#include "quic/stats.h"

size_t mqtt_link_unsent(const struct mqtt_link *l) { return l->out_len - l->out_at; }

static bool keep(struct mqtt_link *l, struct slice bytes) {
  if (l->out_at == l->out_len) l->out_at = l->out_len = 0;
  size_t need = l->out_len + bytes.n;
  if (need > l->out_cap && l->out_at) {
    memmove(l->out, l->out + l->out_at, l->out_len - l->out_at);
    l->out_len -= l->out_at;
    l->out_at = 0;
    need = l->out_len + bytes.n;
  }
  if (need > l->out_cap) {
    size_t cap = need + need / 4 + 1024;
    uint8_t *p = mem_realloc(mqtt_mem(l->n), l->out, cap);
    if (!p) return false;
    l->out = p;
    l->out_cap = cap;
  }
  memcpy(l->out + l->out_len, bytes.p, bytes.n);
  l->out_len += bytes.n;
  return true;
}

void mqtt_say(struct node *n, const struct addr *remote, const char *event, const char *text) {
  char at[ADDR_TEXT_LEN];
  if (!bucket_take(&n->mqtt->lines, 2.0, 20.0, n->now)) return;
  addr_text(remote, at);
  log_warn(n->log, event, "address=%s text=\"%s\"", at, text);
}

/* What a session has kept comes as the stream takes it (mqtt_door.full), live messages as lanes do; what comes at once in any
 * case is one message more, and acknowledgements. */
void mqtt_link_put(struct mqtt_link *l, struct slice bytes) {
  if (!l->stream || l->broken || !bytes.n) return;
  l->n->mqtt->sys.bytes_out += bytes.n;
  size_t took = mqtt_link_unsent(l) ? 0 : stream_write(l->stream, bytes);
  if (took == bytes.n) return;
  bytes = slice_of(bytes.p + took, bytes.n - took);
  if (mqtt_link_unsent(l) + bytes.n <= l->n->limits.mqtt_pool / 2 && keep(l, bytes)) return;
  l->broken = true;
  mqtt_say(l->n, &l->stream->remote, "mqtt_broken", "it reads too little of what it is sent, or there is no memory for it");
  mqtt_link_dirty(l);
}

void mqtt_link_send(struct mqtt_link *l, struct slice head, struct slice rest) {
  if (l->web) mqtt_web_head(l, WS_BINARY, head.n + rest.n);
  mqtt_link_put(l, head);
  mqtt_link_put(l, rest);
}

static void flush(struct mqtt_link *l) {
  if (!l->stream || l->out_at == l->out_len) return;
  l->out_at += stream_write(l->stream, slice_of(l->out + l->out_at, l->out_len - l->out_at));
  if (l->out_at < l->out_len) return;
  mem_free(mqtt_mem(l->n), l->out);
  l->out = NULL;
  l->out_at = l->out_len = l->out_cap = 0;
}

static enum mqtt_kind door_of(const struct mqtt_link *l) { return (l->web ? MQTT_WEB : MQTT_PLAIN) + l->secret; }

void mqtt_link_free(struct mqtt_link *l) {
  struct mqtt_rooms *rooms = l->n->mqtt;
  struct mqtt_client *c = l->client;
  mqtt_conn_free(l->conn, l->n->now);
  mqtt_link_parted(l);
  l->client = NULL;
  if (c) mqtt_client_offline(c);
  list_remove(&l->all);
  list_remove(&l->dirty);
  rooms->link_count--;
  rooms->secret_count -= l->secret;
  rooms->by_door[door_of(l)]--;
  mqtt_link_leaves(l);
  mqtt_web_free(l);
  mem_free(mqtt_mem(l->n), l->out);
  mem_free(mqtt_mem(l->n), l);
}

/* ---- pings -----------------------------------------------------------------------------------------------------------------
 * They move nothing. Beyond a few of its own a connection's are paid for by its account; when that is spent it is not read for
 * a while, so that its peer is held back and nothing is lost. */
#define PINGS_A_SECOND 10.0
#define PINGS_AT_ONCE 100.0
#define UNITS (double)QUIC_IDLE_UNITS

static bool is_spent_by(struct mqtt_link *l, double pings) {
  nanotime now = l->n->now;
  struct bucket *units = l->client ? l->client->units : NULL;
  double own = bucket_level(&l->idle, PINGS_A_SECOND, PINGS_AT_ONCE, now);
  l->idle.tokens -= pings < own ? pings : own;
  if (pings > own && units) {
    (void)bucket_level(units, UNITS, UNITS, now);
    units->tokens -= pings - own;
  }
  return l->idle.tokens < 1 && units && bucket_level(units, UNITS, UNITS, now) < 1;
}

static void count_pings(struct mqtt_link *l) {
  uint32_t all = mqtt_conn_pings(l->conn) + mqtt_web_pings(l), pings = all - l->pings;
  l->pings = all;
  if (!pings || !is_spent_by(l, pings) || l->paused) return;
  l->paused = true;
  l->n->mqtt->paused++;
  mqtt_conn_pause(l->conn, true, l->n->now);
  mqtt_say(l->n, &l->stream->remote, "mqtt_not_read", "pings come too fast: they are read later");
}

void mqtt_link_tick(struct mqtt_link *l) {
  mqtt_conn_tick(l->conn, l->n->now);
  if (!l->paused || is_spent_by(l, 0)) return;
  l->paused = false;
  mqtt_conn_pause(l->conn, false, l->n->now);
  mqtt_link_dirty(l);
}

void mqtt_link_step(struct mqtt_link *l) {
  mqtt_conn_tick(l->conn, l->n->now); /* what a turn had no time for goes on */
  flush(l);
  if (l->stream && !l->broken && !l->closing) mqtt_link_weigh(l); /* it may hold less now */
  if (l->broken || l->closing || !l->stream) {
    if (l->stream) stream_close(l->stream, l->broken);
    l->stream = NULL;
    mqtt_link_free(l);
    return;
  }
  count_pings(l);
  stream_read(l->stream, !l->paused && mqtt_wants(l->conn) > 0);
  if (!mqtt_conn_deadline(l->conn)) mqtt_link_dirty(l);
}

/* ---- the owner of streams --------------------------------------------------------------------------------------------------
 */
static void set_now(struct node *n, nanotime now) {
  if (now > n->now) n->now = now;
}

static int refuse(struct node *n, struct mqtt_link *l, const struct byte_stream *s, const char *why) {
  if (l) {
    mqtt_link_settled(l, false); /* not by its fault */
    mqtt_link_leaves(l);
    mqtt_web_free(l);
    mem_free(mqtt_mem(n), l);
  }
  n->mqtt->refused++;
  mqtt_say(n, &s->remote, "mqtt_refused", why);
  return MACULA_EFULL;
}

static int open_as(struct node *n, struct byte_stream *s, bool web, nanotime now) {
  static const char no_memory[] = "there is no memory for it";
  struct mqtt_rooms *rooms = n->mqtt;
  set_now(n, now);
  struct mqtt_link *l = mem_calloc(mqtt_mem(n), 1, sizeof *l);
  if (!l) return refuse(n, NULL, s, no_memory);
  l->n = n;
  l->stream = s;
  list_init(&l->dirty);
  list_init(&l->fresh);
  const char *why = mqtt_link_arrives(l);
  if (why) return refuse(n, l, s, why);
  if ((web && !mqtt_web_new(l)) || mqtt_conn_new(rooms->sessions, l, n->now, &l->conn)) return refuse(n, l, s, no_memory);
  s->user = l;
  list_append(&rooms->links, &l->all);
  rooms->link_count++;
  l->secret = s->secret;
  rooms->secret_count += l->secret;
  rooms->by_door[door_of(l)]++;
  if (rooms->sweep_at == TIME_NEVER) rooms->sweep_at = time_add(n->now, NS_SEC);
  return 0;
}

static int opened(void *ctx, struct byte_stream *s, nanotime now) { return open_as(ctx, s, false, now); }
static int opened_web(void *ctx, struct byte_stream *s, nanotime now) { return open_as(ctx, s, true, now); }

static void data(void *ctx, struct byte_stream *s, uint8_t *bytes, size_t len, nanotime now) {
  struct node *n = ctx;
  struct mqtt_link *l = s->user;
  set_now(n, now);
  n->mqtt->sys.bytes_in += len;
  if (l->closing || l->broken) return;
  if (l->web)
    mqtt_web_data(l, bytes, len);
  else
    mqtt_conn_recv(l->conn, slice_of(bytes, len), n->now);
  mqtt_link_weigh(l);
  mqtt_link_dirty(l); /* whether more is read may have changed */
}

static void room(void *ctx, struct byte_stream *s, nanotime now) {
  struct node *n = ctx;
  struct mqtt_link *l = s->user;
  set_now(n, now);
  flush(l);
  if (!mqtt_link_unsent(l) && !l->closing && !l->broken) mqtt_conn_room(l->conn, n->now);
  if (l->client) {
    l->client->progress = n->now;
    if (l->client->s) l->client->s->set_aside = false;
    mqtt_dirty(l->client);
  }
}

static void closed(void *ctx, struct byte_stream *s, int err, nanotime now) {
  struct node *n = ctx;
  struct mqtt_link *l = s->user;
  (void)err;
  set_now(n, now);
  l->stream = NULL;
  mqtt_conn_lost(l->conn, n->now);
  mqtt_link_dirty(l);
}

const struct stream_owner mqtt_stream_owner = {.opened = opened, .data = data, .room = room, .closed = closed};
const struct stream_owner mqtt_web_owner = {.opened = opened_web, .data = data, .room = room, .closed = closed};
