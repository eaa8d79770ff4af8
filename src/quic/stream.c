/* Streams and their send queues. A queue is a list of chunks that never move, since ngtcp2 keeps pointers into them until the
 * peer acknowledges; an idle stream holds none. */
#include <assert.h>

#include "quic/internal.h"

#define CHUNK_MIN 1024u
#define CHUNK_MAX 16384u

struct stream *stream_new(struct quic_conn *c, int64_t id) {
  struct stream *s = share_calloc(c, sizeof *s);
  if (!s) return NULL;
  s->conn = c;
  s->id = id;
  s->grow = CHUNK_MIN;
  list_init(&s->ready);
  list_append(&c->streams, &s->link);
  c->q->stats.streams++;
  return s;
}

struct stream *stream_find(struct quic_conn *c, int64_t id) {
  if (c->hot && c->hot->id == id) return c->hot;
  list_for(it, &c->streams) {
    struct stream *s = container_of(it, struct stream, link);
    if (s->id == id) return c->hot = s;
  }
  return NULL;
}

static void chunk_free(struct mem *m, struct chunk *k) {
  shbuf_unref(k->ref);
  mem_free(m, k);
}

static void count(struct stream *s, size_t n, bool added) {
  struct quic_conn *c = s->conn;
  if (added) {
    if (c->queued == 0) c->progress = c->q->now;
    if (s->queued == 0) s->progress = c->q->now;
    s->queued += n;
    s->unsent += n;
    s->written += n;
    c->queued += n;
    c->written += (uint32_t)n;
  } else {
    assert(s->queued >= n && c->queued >= n);
    s->queued -= n;
    c->queued -= n;
  }
}

void stream_free(struct stream *s) {
  struct quic_conn *c = s->conn;
  if (c->hot == s) c->hot = NULL;
  count(s, s->queued, false);
  for (struct chunk *k = s->head, *next; k; k = next) {
    next = k->next;
    chunk_free(c->q->cfg.send_mem, k);
  }
  mtu_forget(s);
  list_remove(&s->ready);
  list_remove(&s->link);
  assert(c->q->stats.streams > 0);
  c->q->stats.streams--;
  share_free(c, s);
}

void stream_shut(struct stream *s) {
  s->shut = true;
  list_remove(&s->ready);
  /* the chunks are kept until ngtcp2 closes the stream, as frames of it may still point into them */
  count(s, s->queued, false);
  mtu_forget(s);
}

void stream_abandon(struct quic_conn *c, int64_t id, uint64_t app_error) {
  bool one_way = quic_stream_is_one_way(id), ours = quic_stream_is_ours(c, id);
  if (!one_way || !ours) (void)ngtcp2_conn_shutdown_stream_read(c->nc, 0, id, app_error);
  if (!one_way || ours) (void)ngtcp2_conn_shutdown_stream_write(c->nc, 0, id, app_error);
}

void stream_acked(struct stream *s, size_t n) {
  if (s->shut) return;
  count(s, n, false);
  s->progress = s->conn->progress = s->conn->q->now;
  mtu_acked(s, n);
  n += s->head_acked;
  while (s->head && n >= s->head->len) { /* an acknowledged chunk was sent, so s->next is behind it */
    struct chunk *k = s->head;
    n -= k->len;
    s->head = k->next;
    if (!s->head) s->tail = NULL;
    chunk_free(s->conn->q->cfg.send_mem, k);
  }
  s->head_acked = (uint32_t)n;
  if (!s->head) {
    s->head_acked = 0;
    s->grow = CHUNK_MIN;
  }
}

static void wake(struct stream *s) {
  if (!s->blocked && list_empty(&s->ready)) list_append(&s->conn->ready, &s->ready);
  conn_touch(s->conn);
}

static int writable(struct quic_conn *c, int64_t id, struct stream **ret_s) {
  if (!conn_alive(c)) return MACULA_ECLOSED;
  struct stream *s = stream_find(c, id);
  if (!s || s->shut || s->fin || (quic_stream_is_one_way(id) && !quic_stream_is_ours(c, id))) return MACULA_ENOTFOUND;
  *ret_s = s;
  return 0;
}

static void append(struct stream *s, struct chunk *first, struct chunk *last) {
  if (s->tail)
    s->tail->next = first;
  else
    s->head = first;
  if (!s->next) {
    s->next = first;
    s->next_off = 0;
  }
  s->tail = last;
}

int quic_stream_write(struct quic_conn *c, int64_t stream, struct slice data) {
  struct stream *s;
  int err = writable(c, stream, &s);
  if (err || !data.n) return err;
  struct mem *m = c->q->cfg.send_mem;
  struct chunk *tail = s->tail, *first = NULL, *last = NULL;
  size_t room = tail && !tail->ref ? tail->cap - tail->len : 0;
  uint32_t grow = s->grow;
  if (room > data.n) room = data.n;
  for (size_t at = room; at < data.n;) { /* first allocates all new chunks, so that either all data is queued or none */
    while (grow < CHUNK_MAX && data.n - at > grow - sizeof *first) grow *= 2;
    struct chunk *k = mem_alloc(m, grow);
    if (!k) {
      for (; first; first = last) {
        last = first->next;
        mem_free(m, first);
      }
      return MACULA_ENOMEM;
    }
    size_t n = grow - sizeof *k;
    *k = (struct chunk){.cap = (uint32_t)n};
    if (n > data.n - at) n = data.n - at;
    memcpy(k->data, data.p + at, n);
    k->len = (uint32_t)n;
    at += n;
    if (last)
      last->next = k;
    else
      first = k;
    last = k;
    if (grow < CHUNK_MAX) grow *= 2;
  }
  count(s, data.n, true);
  s->grow = grow;
  if (room) {
    if (!s->next) {
      s->next = tail;
      s->next_off = tail->len;
    }
    memcpy(tail->data + tail->len, data.p, room);
    tail->len += (uint32_t)room;
  }
  if (first) append(s, first, last);
  wake(s);
  return 0;
}

int quic_stream_write_ref(struct quic_conn *c, int64_t stream, struct shbuf *b) {
  struct stream *s;
  int err = writable(c, stream, &s);
  if (err || !b->len) return err;
  struct chunk *k = mem_alloc(c->q->cfg.send_mem, sizeof *k);
  if (!k) return MACULA_ENOMEM;
  *k = (struct chunk){.ref = shbuf_ref(b), .len = b->len, .cap = b->len};
  count(s, b->len, true);
  append(s, k, k);
  wake(s);
  return 0;
}

void quic_stream_finish(struct quic_conn *c, int64_t stream) {
  struct stream *s;
  if (writable(c, stream, &s)) return;
  s->fin = true;
  wake(s);
}

void quic_stream_reset(struct quic_conn *c, int64_t stream, uint64_t app_error) {
  struct stream *s = conn_alive(c) ? stream_find(c, stream) : NULL;
  if (!s || s->told) return;
  if (!s->shut) stream_shut(s);
  stream_abandon(c, stream, app_error);
  conn_touch(c);
}

static int open_by(struct quic_conn *c, int (*open)(ngtcp2_conn *nc, int64_t *id, void *user), int64_t *ret_stream) {
  if (!conn_alive(c)) return MACULA_ECLOSED;
  struct stream *s = stream_new(c, -1);
  if (!s) return MACULA_ENOMEM;
  int rv = open(c->nc, &s->id, s);
  if (rv) {
    stream_free(s);
    return rv == NGTCP2_ERR_NOMEM ? MACULA_ENOMEM : MACULA_EFULL;
  }
  *ret_stream = s->id;
  return 0;
}

int quic_stream_open(struct quic_conn *c, int64_t *ret_stream) { return open_by(c, ngtcp2_conn_open_bidi_stream, ret_stream); }
int quic_stream_open_one_way(struct quic_conn *c, int64_t *ret_stream) {
  return open_by(c, ngtcp2_conn_open_uni_stream, ret_stream);
}

bool quic_stream_is_ours(const struct quic_conn *c, int64_t stream) { return (stream & 1) == c->server; }

uint64_t quic_one_way_left(const struct quic_conn *c) { return conn_alive(c) ? ngtcp2_conn_get_streams_uni_left(c->nc) : 0; }

void quic_conn_grant_streams(struct quic_conn *c, uint32_t n) {
  if (!conn_alive(c)) return;
  c->one_way_anew = true;
  ngtcp2_conn_extend_max_streams_uni(c->nc, n);
  conn_touch(c);
}

size_t stream_pieces(const struct stream *s, ngtcp2_vec *ret_v, size_t max, size_t *ret_bytes) {
  size_t n = 0, off = s->next_off, bytes = 0;
  for (struct chunk *k = s->next; k && n < max; k = k->next, off = 0) {
    uint8_t *p = k->ref ? k->ref->data : k->data;
    ret_v[n++] = (ngtcp2_vec){p + off, k->len - off};
    bytes += k->len - off;
    if (bytes > 65536) break; /* more than any one packet takes */
  }
  *ret_bytes = bytes;
  return n;
}

void stream_sent(struct stream *s, size_t n, bool fin) {
  assert(s->unsent >= n);
  s->unsent -= n;
  n += s->next_off;
  while (s->next && n >= s->next->len) {
    n -= s->next->len;
    s->next = s->next->next;
  }
  s->next_off = s->next ? (uint32_t)n : 0;
  if (fin) s->fin_sent = true;
  if (!s->next && (!s->fin || s->fin_sent)) list_remove(&s->ready);
}

void conn_give_streams(struct quic_conn *c) {
  if (c->streams_owed) ngtcp2_conn_extend_max_streams_bidi(c->nc, c->streams_owed);
  c->streams_owed = 0;
}

void quic_conn_hold_streams(struct quic_conn *c, bool hold) {
  c->streams_held = hold;
  if (hold || !c->streams_owed || !conn_alive(c)) return;
  conn_give_streams(c);
  conn_touch(c);
}

void quic_consume_stream(struct quic_conn *c, int64_t stream, size_t n) {
  if (!conn_alive(c) || !n) return;
  (void)ngtcp2_conn_extend_max_stream_offset(c->nc, stream, n); /* the stream may be gone */
  conn_touch(c);
}

void quic_consume_conn(struct quic_conn *c, size_t n) {
  if (!conn_alive(c) || !n) return;
  ngtcp2_conn_extend_max_offset(c->nc, n);
  conn_touch(c);
}

void quic_consume(struct quic_conn *c, int64_t stream, size_t n) {
  quic_consume_stream(c, stream, n);
  quic_consume_conn(c, n);
}

void quic_grant(struct quic_conn *c, int64_t stream, size_t n) { quic_consume(c, stream, n); }

size_t quic_queued(const struct quic_conn *c) { return c->queued; }
uint32_t quic_written(const struct quic_conn *c) { return c->written; }
nanotime quic_queue_progress(const struct quic_conn *c) { return c->progress; }

static const struct stream *sending(struct quic_conn *c, int64_t id) {
  const struct stream *s = conn_alive(c) ? stream_find(c, id) : NULL;
  return s && !s->shut ? s : NULL;
}

size_t quic_stream_queued(struct quic_conn *c, int64_t stream) {
  const struct stream *s = sending(c, stream);
  return s ? s->queued : 0;
}

size_t quic_stream_unsent(struct quic_conn *c, int64_t stream) {
  const struct stream *s = sending(c, stream);
  return s ? s->unsent : 0;
}

bool quic_stream_offsets(const struct quic_conn *c, int64_t stream, struct quic_offsets *ret) {
  list_for(it, &c->streams) {
    const struct stream *s = container_of(it, const struct stream, link);
    if (s->id != stream || s->shut) continue;
    *ret = (struct quic_offsets){s->written, s->written - s->unsent, s->written - s->queued};
    return true;
  }
  for (int i = 0; i < QUIC_ENDED; i++) {
    if (c->ended[i].id != stream || !c->ended[i].at.written) continue;
    *ret = c->ended[i].at;
    return true;
  }
  return false;
}

nanotime quic_stream_progress(struct quic_conn *c, int64_t stream) {
  const struct stream *s = sending(c, stream);
  return s ? s->progress : 0;
}

nanotime quic_stream_credited(struct quic_conn *c, int64_t stream) {
  const struct stream *s = sending(c, stream);
  return s ? s->credited : 0;
}

void quic_conn_more(struct quic_conn *c, bool more) {
  c->more = more;
  conn_touch(c);
  conn_maybe_close_after(c);
}
