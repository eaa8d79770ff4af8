#include "node/messages/parcel.h"

#include "base/err.h"
#include "node/session/session.h"

#define STALLED_AFTER (200 * NS_MS) /* without an acknowledgement: only a share of the pool is left */

int parcel_init(struct node *n, const struct msg_publish *p, struct parcel *ret) {
  const struct msg m = {.type = MSG_PUBLISH, .publish = *p};
  ptrdiff_t len = msg_encode(&m, ret->small, sizeof ret->small);
  ret->shared = NULL;
  ret->qos = p->qos;
  if (len >= 0) {
    ret->frame = slice_of(ret->small, (size_t)len);
    return 0;
  }
  if (len != MACULA_EINVAL) return MACULA_PAYLOAD_TOO_LARGE;
  ret->shared = shbuf_new(&n->rows.mem[ROW_SEND], msg_size(&m));
  if (!ret->shared) return MACULA_ENOMEM;
  ret->frame = shbuf_view(ret->shared);
  (void)msg_encode(&m, ret->shared->data, ret->shared->len);
  return 0;
}

void parcel_done(struct parcel *p) { shbuf_unref(p->shared); }

/* Whether a queue may take more: up to client_queue (a link: peer_queue) while the pool has room; one that has not moved for a
 * while gets a sixteenth of what is left of the pool's first three quarters. The last 32nd of the pool is for answers. */
bool parcel_fits(const struct node *n, const struct session *s, const struct parcel *p) {
  size_t len = p->frame.n, fresh = p->shared ? SMALL_FRAME : len; /* what is shared is in the pool already */
  size_t used = n->rows.mem[ROW_SEND].bytes, pool = n->limits.send_pool, queued = quic_queued(s->conn);
  size_t cap = s->peer ? n->limits.peer_queue : n->limits.client_queue;
  if (used + fresh > pool - pool / 32) return false;
  if (!queued) return true;
  if (time_since(n->now, quic_queue_progress(s->conn)) > STALLED_AFTER) {
    size_t share = used < pool / 4 * 3 ? (pool / 4 * 3 - used) / 16 : 0;
    if (share < cap) cap = share;
  }
  return queued + len <= cap;
}

int parcel_write(struct session *s, const struct parcel *p) {
  return p->shared ? quic_stream_write_ref(s->conn, s->stream, p->shared) : quic_stream_write(s->conn, s->stream, p->frame);
}

bool parcel_deliver(struct node *n, struct session *s, const struct parcel *p) {
  int err = MACULA_EFULL;
  if (parcel_fits(n, s, p)) err = parcel_write(s, p);
  if (err == MACULA_EFULL || err == MACULA_ENOMEM) {
    s->dropped++;
    n->stats.dropped++;
    return false;
  }
  n->stats.delivered += !err;
  return true;
}
