/* What the node sends, stream by stream, and its credit: deliveries that the user holds are kept, and of their stream the
 * credit is withheld until they are handled. What is kept is bounded by the window. */
#include "client/internal.h"

static bool has_own(const struct client *c) { return c->state == MACULA_CONNECTED && c->caps & CAP_STREAMS; }

/* Whether what comes there waits: for PONG, which it may have overtaken, or as the user holds it. A node without streams for
 * deliveries sends them by CONNECT's, with all else. */
static bool waits(const struct client *c, const struct inlet *in) {
  if (in == &c->deliveries && c->state != MACULA_CONNECTED) return true;
  return c->holds && c->state == MACULA_CONNECTED && in == (has_own(c) ? &c->deliveries : &c->home);
}

static void credit(struct client *c, struct quic_conn *conn, const struct inlet *in, int64_t stream, size_t n) {
  if (c->deaf) return;
  if (in == &c->deliveries)
    quic_consume_stream(conn, stream, n);
  else
    quic_consume(conn, stream, n);
}

static void keep(struct client *c, struct inlet *in, struct slice data) {
  struct mem *m = c->hub->mem;
  if (in->at == in->len) in->at = in->len = 0;
  if (in->len + data.n > in->cap) {
    size_t cap = in->cap ? in->cap : 4096;
    while (cap < in->len + data.n) cap *= 2;
    uint8_t *p = mem_realloc(m, in->kept, cap);
    if (!p) {
      client_lost(c, MACULA_ENOMEM, SLICE_NONE);
      return;
    }
    in->kept = p;
    in->cap = cap;
  }
  if (data.n) memcpy(in->kept + in->len, data.p, data.n);
  in->len += data.n;
}

/* Deliveries alone come by the stream of deliveries. */
static bool belongs(struct client *c, const struct inlet *in, const struct frame *f) {
  if (in == &c->home || f->type == MSG_PUBLISH || f->type == MSG_ANNOUNCE) return true;
  client_lost(c, MACULA_BAD_FRAME, slice_str("the node sent something else on its stream for deliveries"));
  return false;
}

/* Handles whole frames; returns how many bytes are left, which wait. */
static size_t handle(struct client *c, struct inlet *in, struct slice data) {
  const struct quic_conn *conn = c->conn;
  struct frame f;
  int r = 0;
  while (!c->closing && c->conn == conn && !waits(c, in) && (r = framer_next(&in->framer, &data, &f)) > 0)
    if (!belongs(c, in, &f) || !client_frame(c, &f)) break;
  if (c->conn != conn || c->closing) return 0;
  if (r < 0) client_lost(c, r, slice_str("the node's stream cannot be read"));
  return r < 0 ? 0 : data.n;
}

static void ended(struct client *c, const struct inlet *in) {
  if (in == &c->home && in->fin && in->at == in->len)
    client_lost(c, MACULA_NOT_CONNECTED, slice_str("the node ended the stream"));
}

static struct inlet *inlet_of(struct client *c, int64_t stream) {
  if (stream == c->stream) return &c->home;
  if (!quic_stream_is_one_way(stream)) return NULL;
  if (c->deliveries.id < 0) c->deliveries.id = stream;
  return c->deliveries.id == stream ? &c->deliveries : NULL;
}

void client_data(struct client *c, int64_t stream, struct slice data, bool fin) {
  struct quic_conn *conn = c->conn;
  struct inlet *in = inlet_of(c, stream);
  if (!in) {
    quic_consume(conn, stream, data.n);
    return;
  }
  client_hold(c);
  if (in == &c->deliveries && !c->deaf) quic_consume_conn(conn, data.n);
  in->fin |= fin;
  size_t left = in->at < in->len ? data.n : handle(c, in, data);
  if (c->conn == conn && left) keep(c, in, slice_of(data.p + data.n - left, left));
  credit(c, conn, in, stream, data.n - left);
  if (c->conn == conn && !c->closing) ended(c, in);
  client_release(c);
}

static void read_kept(struct client *c, struct inlet *in, int64_t stream) {
  struct quic_conn *conn = c->conn;
  struct slice data = slice_of(in->kept + in->at, in->len - in->at);
  if (!data.n || waits(c, in)) return;
  struct inlet was = *in; /* a frame's handling may end the connection, and with it what the inlet holds */
  in->kept = NULL;
  in->at = in->len = in->cap = 0;
  size_t left = handle(c, in, data);
  bool goes_on = c->conn == conn && !c->closing;
  credit(c, conn, in, stream, data.n - left);
  if (goes_on && left) { /* nothing came in between: this is not within client_data of the same stream */
    in->kept = was.kept;
    in->cap = was.cap;
    in->len = was.len;
    in->at = was.len - left;
  } else {
    mem_free(c->hub->mem, was.kept);
  }
  if (goes_on) ended(c, in);
}

void client_read_on(struct client *c) {
  if (c->state != MACULA_CONNECTED || c->closing) return;
  const struct quic_conn *conn = c->conn;
  client_hold(c);
  read_kept(c, &c->home, c->stream);
  if (c->conn == conn && !c->closing) read_kept(c, &c->deliveries, c->deliveries.id);
  client_release(c);
}

void inlet_init(struct client *c, struct inlet *in) {
  *in = (struct inlet){.id = -1};
  framer_init(&in->framer, c->hub->mem, FRAME_MAX_PAYLOAD);
}

void inlet_done(struct client *c, struct inlet *in) {
  framer_done(&in->framer);
  mem_free(c->hub->mem, in->kept);
}

void client_stream_closed(struct client *c, int64_t stream, uint64_t app_error) {
  int err = err_from_app(app_error);
  if (stream == c->stream)
    client_lost(c, err ? err : MACULA_NOT_CONNECTED, slice_str("the node ended the stream"));
  else if (stream == c->publishes || (stream == c->deliveries.id && !c->deliveries.fin))
    client_lost(c, err ? err : MACULA_BAD_FRAME, slice_str("the node reset or refused a stream for publishes"));
}

/* ---- the user's hold -------------------------------------------------------------------------------------------------------
 */
void client_hold_deliveries(struct client *c) { c->holds = true; }

void client_resume_deliveries(struct client *c) {
  if (!c->holds) return;
  c->holds = false;
  c->resumed = true;
  if (c->state == MACULA_CONNECTED) client_due(c, c->hub->now);
}
