#include "client/internal.h"

static bool entry_eq(const struct hlink *l, const void *key, size_t len) {
  (void)len;
  return memcmp(&container_of(l, struct entry, h)->id, key, sizeof(uint64_t)) == 0;
}

static bool client_eq(const struct hlink *l, const void *key, size_t len) {
  (void)len;
  return memcmp(&container_of(l, struct client, h)->id, key, sizeof(uint64_t)) == 0;
}

static void on_open(void *ctx, struct quic_conn *conn) {
  (void)ctx;
  struct client *c = quic_conn_user(conn);
  if (c) client_opened(c);
}

static void on_closed(void *ctx, struct quic_conn *conn, const struct quic_close *why) {
  (void)ctx;
  struct client *c = quic_conn_user(conn);
  if (!c) return;
  int err = why->is_app ? err_from_app(why->app_error) : 0;
  if (!err) err = why->err ? why->err : MACULA_NOT_CONNECTED;
  client_keep_ticket(c);
  c->conn = NULL;
  client_lost(c, err, why->text);
}

static void on_data(void *ctx, struct quic_conn *conn, int64_t stream, struct slice data, bool fin) {
  (void)ctx;
  struct client *c = quic_conn_user(conn);
  if (c && c->conn == conn)
    client_data(c, stream, data, fin);
  else
    quic_consume(conn, stream, data.n);
}

static void on_stream_closed(void *ctx, struct quic_conn *conn, int64_t stream, uint64_t app_error) {
  (void)ctx;
  struct client *c = quic_conn_user(conn);
  if (c && c->conn == conn) client_stream_closed(c, stream, app_error);
}

static void on_acked(void *ctx, struct quic_conn *conn) {
  struct hub *h = ctx;
  struct client *c = quic_conn_user(conn);
  if (!c) return;
  client_replay(c);
  if (h->cfg.changed) h->cfg.changed(h->cfg.ctx, c);
  client_room(c);
}

int hub_new(const struct hub_config *cfg, nanotime now, struct hub **ret_hub) {
  struct hub *h = mem_calloc(cfg->mem, 1, sizeof *h);
  if (!h) return MACULA_ENOMEM;
  h->cfg = *cfg;
  h->mem = cfg->mem;
  h->now = now;
  list_init(&h->clients);
  list_init(&h->grave);
  htab_init(&h->entries, h->mem, cfg->rng, MAX_ENTRIES, entry_eq);
  htab_init(&h->by_id, h->mem, cfg->rng, MAX_ENTRIES, client_eq);
  heap_init(&h->entry_due, h->mem, MAX_ENTRIES);
  heap_init(&h->client_due, h->mem, MAX_ENTRIES);
  uint64_t idle = cfg->idle_timeout ? cfg->idle_timeout : 30 * NS_SEC;
  struct quic_config q = {
      .mem = h->mem,
      .send_mem = h->mem,
      .rng = cfg->rng,
      .log = cfg->log,
      .handler = {.conn_open = on_open,
                  .conn_closed = on_closed,
                  .stream_data = on_data,
                  .stream_closed = on_stream_closed,
                  .acked = on_acked},
      .ctx = h,
      .max_conns = 1000000,
      .max_half_open = 100000,
      .idle_timeout = idle,
      .keep_alive = time_min(cfg->keep_alive ? cfg->keep_alive : 10 * NS_SEC, idle / 2),
      .handshake_timeout = cfg->handshake_timeout ? cfg->handshake_timeout : 10 * NS_SEC,
      .stream_window = 1 << 20,
      .conn_window = 1 << 20,
      .max_streams = 8,
      .one_way_streams = 1,
      .one_way_window = 1 << 20,
      .unix_base_s = cfg->unix_base_s,
  };
  h->cfg.handshake_timeout = q.handshake_timeout;
  if (!cfg->goodbye_timeout) h->cfg.goodbye_timeout = GOODBYE_TIMEOUT;
  int err = quic_new(&q, now, &h->quic);
  if (err) {
    mem_free(cfg->mem, h);
    return err;
  }
  *ret_hub = h;
  return 0;
}

void hub_free(struct hub *h) {
  if (!h) return;
  list_for_safe(it, &h->clients) client_free(container_of(it, struct client, in));
  list_for_safe(it, &h->grave) client_free(container_of(it, struct client, in));
  quic_free(h->quic);
  heap_done(&h->entry_due);
  heap_done(&h->client_due);
  htab_done(&h->entries);
  htab_done(&h->by_id);
  mem_free(h->mem, h);
}

struct quic *hub_quic(struct hub *h) {
  return h->quic;
}

void *hub_ctx(struct hub *h) { return h->cfg.ctx; }

void hub_set_now(struct hub *h, nanotime now) {
  if (now > h->now) h->now = now;
}

void hub_close(struct hub *h) { list_for_safe(it, &h->clients) client_close(container_of(it, struct client, in), false); }

bool hub_is_awaiting(const struct hub *h) { return list_empty(&h->clients) && quic_is_awaiting(h->quic); }

bool hub_idle(const struct hub *h) { return list_empty(&h->clients) && quic_is_silent(h->quic); }

static void on_recv(void *ctx, const struct addr *local, const struct addr *remote, struct slice datagram, uint8_t ecn,
                    nanotime now) {
  struct hub *h = ctx;
  hub_set_now(h, now);
  quic_recv(h->quic, local, remote, datagram, ecn, now);
}

static void on_icmp(void *ctx, const struct addr *remote, struct slice quoted, bool port, nanotime now) {
  struct hub *h = ctx;
  hub_set_now(h, now);
  quic_icmp(h->quic, remote, quoted, port, now);
}

static nanotime deadline(void *ctx) {
  struct hub *h = ctx;
  nanotime own = time_min(heap_deadline(&h->entry_due), heap_deadline(&h->client_due));
  if (!list_empty(&h->grave)) own = 0;
  return time_min(own, quic_deadline(h->quic));
}

static void on_tick(void *ctx, nanotime now) {
  struct hub *h = ctx;
  hub_set_now(h, now);
  if (quic_deadline(h->quic) <= now) quic_tick(h->quic, now);
  quic_flush_events(h->quic, now);
  struct heap_link *l;
  while ((l = heap_pop_due(&h->entry_due, h->now))) entry_timer(container_of(l, struct entry, due));
  while ((l = heap_pop_due(&h->client_due, h->now))) client_timer(container_of(l, struct client, due));
  list_for_safe(it, &h->grave) client_free(container_of(it, struct client, in));
}

/* First of all what has run out of time meanwhile ends. */
static void on_stood(void *ctx, uint64_t ns, nanotime now) {
  struct hub *h = ctx;
  hub_set_now(h, now);
  h->stood = ns;
  struct heap_link *l;
  while (ns && (l = heap_pop_due(&h->entry_due, h->now))) entry_timer(container_of(l, struct entry, due));
}

static size_t on_send(void *ctx, uint8_t *buf, size_t cap, struct burst *ret_burst, nanotime now) {
  struct hub *h = ctx;
  return quic_send(h->quic, buf, cap, ret_burst, now);
}

struct endpoint hub_endpoint(struct hub *h) {
  return (struct endpoint){on_recv, on_icmp, deadline, on_tick, on_send, h, on_stood};
}
