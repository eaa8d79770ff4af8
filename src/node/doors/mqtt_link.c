/* One connection: its stream, and what the stream had no room for. */
#include "base/check.h"
#include "base/err.h"
#include "node/doors/mqtt_state.h"

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

static void say(struct node *n, const struct byte_stream *s, const char *event, const char *text) {
  char at[ADDR_TEXT_LEN];
  if (!bucket_take(&n->mqtt->lines, 2.0, 20.0, n->now)) return;
  addr_text(&s->remote, at);
  log_warn(n->log, event, "address=%s text=\"%s\"", at, text);
}

/* What is sent again when a session is resumed comes at once, however much the stream takes. */
void mqtt_link_send(struct mqtt_link *l, struct slice bytes) {
  if (!l->stream || l->broken || !bytes.n) return;
  size_t took = mqtt_link_unsent(l) ? 0 : stream_write(l->stream, bytes);
  if (took == bytes.n) return;
  bytes = slice_of(bytes.p + took, bytes.n - took);
  if (mqtt_link_unsent(l) + bytes.n <= l->n->limits.mqtt_pool / 2 && keep(l, bytes)) return;
  l->broken = true;
  say(l->n, l->stream, "mqtt_broken", "it reads too little of what it is sent, or there is no memory for it");
  mqtt_link_dirty(l);
}

static void flush(struct mqtt_link *l) {
  if (!l->stream || l->out_at == l->out_len) return;
  l->out_at += stream_write(l->stream, slice_of(l->out + l->out_at, l->out_len - l->out_at));
  if (l->out_at < l->out_len) return;
  mem_free(mqtt_mem(l->n), l->out);
  l->out = NULL;
  l->out_at = l->out_len = l->out_cap = 0;
}

void mqtt_link_free(struct mqtt_link *l) {
  struct mqtt_rooms *rooms = l->n->mqtt;
  struct mqtt_client *c = l->client;
  mqtt_conn_free(l->conn, l->n->now);
  l->client = NULL;
  if (c) mqtt_client_offline(c);
  list_remove(&l->all);
  list_remove(&l->dirty);
  rooms->link_count--;
  mem_free(mqtt_mem(l->n), l->out);
  mem_free(mqtt_mem(l->n), l);
}

void mqtt_link_step(struct mqtt_link *l) {
  mqtt_conn_tick(l->conn, l->n->now); /* what a turn had no time for goes on */
  flush(l);
  if (l->broken || l->closing || !l->stream) {
    if (l->stream) stream_close(l->stream, l->broken);
    l->stream = NULL;
    mqtt_link_free(l);
    return;
  }
  stream_read(l->stream, mqtt_wants(l->conn) > 0);
  if (!mqtt_conn_deadline(l->conn)) mqtt_link_dirty(l);
}

/* ---- the owner of streams --------------------------------------------------------------------------------------------------
 */
static void set_now(struct node *n, nanotime now) {
  if (now > n->now) n->now = now;
}

static int opened(void *ctx, struct byte_stream *s, nanotime now) {
  struct node *n = ctx;
  struct mqtt_rooms *rooms = n->mqtt;
  set_now(n, now);
  uint32_t most = n->limits.max_clients + n->limits.max_half_open;
  bool full = rooms->link_count >= most;
  struct mqtt_link *l = n->draining || full ? NULL : mem_calloc(mqtt_mem(n), 1, sizeof *l);
  if (l && mqtt_conn_new(rooms->sessions, l, n->now, &l->conn)) {
    mem_free(mqtt_mem(n), l);
    l = NULL;
  }
  if (!l) {
    rooms->refused++;
    say(n, s, "mqtt_refused",
        n->draining ? "the node ends"
        : full      ? "there are too many connections"
                    : "there is no memory for it");
    return MACULA_EFULL;
  }
  l->n = n;
  l->stream = s;
  s->user = l;
  list_init(&l->dirty);
  list_append(&rooms->links, &l->all);
  rooms->link_count++;
  if (rooms->sweep_at == TIME_NEVER) rooms->sweep_at = time_add(n->now, NS_SEC);
  return 0;
}

static void data(void *ctx, struct byte_stream *s, uint8_t *bytes, size_t len, nanotime now) {
  struct node *n = ctx;
  struct mqtt_link *l = s->user;
  set_now(n, now);
  if (l->closing || l->broken) return;
  mqtt_conn_recv(l->conn, slice_of(bytes, len), n->now);
  mqtt_link_dirty(l); /* whether more is read may have changed */
}

static void room(void *ctx, struct byte_stream *s, nanotime now) {
  struct node *n = ctx;
  struct mqtt_link *l = s->user;
  set_now(n, now);
  flush(l);
  if (l->client) {
    l->client->progress = n->now;
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
