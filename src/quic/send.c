/* Writes packets: for each connection that may have something to send, a burst of datagrams of one size for one destination. */
#include <assert.h>

#include "quic/internal.h"

#define MAX_PIECES 16
#define REFILL (32u << 10) /* bytes: with fewer unsent, the owner is asked for more (`drained`) */
/* Bytes that may leave by a fast path before ngtcp2 is told: when nothing waits to be sent, and when something does. */
#define UNPACED (4u << 10)
#define UNPACED_BUSY (1u << 20)
#define SILENCE (10 * NS_MS)

/* The stream that is sent next. The owner is asked for more before a stream has nothing left to send, so that packets are
 * full. */
static struct stream *next_stream(struct quic_conn *c) {
  const struct list *ready = &c->ready;
  if (c->more && (list_empty(ready) || container_of(ready->next, struct stream, ready)->unsent < REFILL))
    c->q->cfg.handler.drained(c->q->cfg.ctx, c);
  return list_empty(ready) ? NULL : container_of(ready->next, struct stream, ready);
}

/* One packet: pieces of as many streams as fit (NGTCP2_WRITE_STREAM_FLAG_MORE), acknowledgements, or nothing (0). */
static ngtcp2_ssize packet(struct quic_conn *c, ngtcp2_path *path, ngtcp2_pkt_info *pi, uint8_t *dest, size_t cap) {
  bool conn_blocked = share_waits(c);
  struct stream *carried = NULL;
  for (;;) {
    struct stream *s = conn_blocked ? NULL : next_stream(c);
    ngtcp2_vec v[MAX_PIECES];
    size_t bytes = 0, nv = s ? stream_pieces(s, v, MAX_PIECES, &bytes) : 0;
    bool fin = s && s->fin && bytes == s->unsent;
    uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_MORE | (fin ? NGTCP2_WRITE_STREAM_FLAG_FIN : 0);
    ngtcp2_ssize took = -1;
    ngtcp2_ssize n =
        ngtcp2_conn_writev_stream(c->nc, path, pi, dest, cap, &took, s ? flags : 0, s ? s->id : -1, v, nv, c->q->now);
    if (s && took >= 0) {
      stream_sent(s, (size_t)took, fin && (size_t)took == bytes);
      if (took) carried = s;
      if (!list_empty(&s->ready)) { /* after this packet it is the next stream's turn */
        list_remove(&s->ready);
        list_append(&c->ready, &s->ready);
      }
    }
    if (n >= 0) {
      mtu_sent(c, carried, (size_t)n);
      return n;
    }
    switch (n) {
    case NGTCP2_ERR_WRITE_MORE:
      break;
    case NGTCP2_ERR_STREAM_DATA_BLOCKED:
      if (ngtcp2_conn_get_max_data_left(c->nc) == 0) {
        conn_blocked = true; /* the connection's flow control blocks: its streams stay ready until it no longer does */
      } else {
        s->blocked = true;
        list_remove(&s->ready);
      }
      break;
    case NGTCP2_ERR_STREAM_SHUT_WR:
    case NGTCP2_ERR_STREAM_NOT_FOUND:
      stream_shut(s);
      break;
    default:
      return n;
    }
  }
}

static void addr_of(const ngtcp2_addr *a, struct addr *ret_a) {
  memset(ret_a, 0, sizeof *ret_a);
  memcpy(ret_a, a->addr, a->addrlen < sizeof *ret_a ? a->addrlen : sizeof *ret_a);
}

static void out_of(const ngtcp2_path *path, uint32_t ecn, size_t n, struct burst *ret_burst) {
  addr_of(&path->local, &ret_burst->local);
  addr_of(&path->remote, &ret_burst->remote);
  ret_burst->ecn = (uint8_t)ecn;
  ret_burst->len = ret_burst->segment = n;
}

/* Without memory it is lost, as on the way. */
static void put_by(struct quic *q, const struct burst *o, const uint8_t *p) {
  if (!(q->stash = mem_alloc(q->cfg.mem, o->len))) {
    q->stats.dropped++;
    return;
  }
  memcpy(q->stash, p, o->len);
  q->stash_out = *o;
}

/* Returns bytes in buf; *ret_more: there may be more to write now. */
static size_t burst(struct quic_conn *c, uint8_t *buf, size_t cap, struct burst *out, bool *ret_more) {
  struct quic *q = c->q;
  size_t at = 0, segment = 0;
  unsigned n_max = c->confirmed ? q->max_segments : 1; /* handshake packets have sizes of their own */
  *ret_more = true;
  if (cap > QUIC_BURST) cap = QUIC_BURST;
  for (unsigned k = 0; k < n_max && cap - at >= (k ? segment : 1); k++) {
    ngtcp2_path_storage ps;
    ngtcp2_pkt_info pi = {0};
    ngtcp2_path_storage_zero(&ps);
    ngtcp2_ssize n = packet(c, &ps.path, &pi, buf + at, mtu_cap(c, k ? segment : cap));
    if (n < 0) {
      conn_fail(c, (int)n);
      break;
    }
    if (n == 0) {
      *ret_more = false;
      break;
    }
    if (k == 0) {
      out_of(&ps.path, pi.ecn, (size_t)n, out);
      segment = (size_t)n;
    } else {
      struct burst o;
      out_of(&ps.path, pi.ecn, (size_t)n, &o);
      if (o.ecn != out->ecn || !addr_eq(&o.remote, &out->remote) || !addr_eq(&o.local, &out->local)) {
        put_by(q, &o, buf + at); /* a datagram for another path: it is sent alone, as the next burst */
        break;
      }
    }
    at += (size_t)n;
    if ((size_t)n < segment || segment < NGTCP2_MAX_UDP_PAYLOAD_SIZE) break; /* a burst ends with its first shorter datagram */
  }
  out->len = at;
  out->segment = segment;
  return at;
}

/* Writes the last packet of a connection. Only that packet and the ids are kept then. */
static size_t write_close(struct quic_conn *c, uint8_t *buf, size_t cap, struct burst *out) {
  struct quic *q = c->q;
  ngtcp2_ccerr e;
  ngtcp2_ccerr_default(&e);
  if (c->why.is_app)
    ngtcp2_ccerr_set_application_error(&e, c->why.app_error, c->why.text.p, c->why.text.n);
  else
    ngtcp2_ccerr_set_transport_error(&e, c->why.app_error, c->why.text.p, c->why.text.n);
  ngtcp2_path_storage ps;
  ngtcp2_pkt_info pi = {0};
  ngtcp2_path_storage_zero(&ps);
  ngtcp2_ssize n = ngtcp2_conn_write_connection_close(c->nc, &ps.path, &pi, buf, cap, &e, q->now);
  if (n <= 0) {
    conn_end(c, 0);
    return 0;
  }
  out_of(&ps.path, pi.ecn, (size_t)n, out);
  c->close_pkt = mem_dup(q->cfg.mem, buf, (size_t)n); /* without memory the packet is sent only once */
  c->close_len = (uint16_t)n;
  conn_end(c, conn_three_ptos(c));
  return (size_t)n;
}

void send_close(struct quic_conn *c) {
  uint8_t buf[QUIC_MAX_DATAGRAM];
  struct burst out;
  size_t n = write_close(c, buf, sizeof buf, &out);
  if (n) quic_raw(c->q, &out.local, &out.remote, buf, n);
}

/* ---- pacing ----------------------------------------------------------------------------------------------------------------
 *
 * ngtcp2 makes the next packet wait for all that has left since it was told last, in proportion to the time of a round trip. A
 * path so fast that this would be finer than a tick is not paced, but ngtcp2 has to be told there as well: once the path is
 * slow for a moment, as the other process stands still, the next packet would wait for all that ever left, which is minutes. It
 * is told when nothing waits to be sent, else after a lot, since the wait is rounded up to a tick, and before the first packet
 * after a silence is read, as that may be what makes the path slow. */
static void told(struct quic_conn *c) {
  ngtcp2_conn_update_pkt_tx_time(c->nc, c->q->now);
  c->unpaced = 0;
}

static void pace(struct quic_conn *c, size_t n, bool more, uint64_t rtt) {
  c->unpaced += (uint32_t)n;
  if (rtt > QUIC_TICK || (!more && c->unpaced >= (list_empty(&c->ready) ? UNPACED : UNPACED_BUSY))) told(c);
}

void send_after_silence(struct quic_conn *c) {
  ngtcp2_conn_info info;
  if (c->unpaced < UNPACED || time_since(c->q->now, c->last_rx) < SILENCE) return;
  ngtcp2_conn_get_conn_info(c->nc, &info);
  if (info.smoothed_rtt <= QUIC_TICK) told(c);
}

static size_t connection(struct quic_conn *c, uint8_t *buf, size_t cap, struct burst *out) {
  if (c->state == CONN_CLOSING) return write_close(c, buf, cap, out);
  bool more;
  size_t n = burst(c, buf, cap, out, &more);
  if (c->state >= CONN_CLOSING) return n; /* the connection has failed: its close packet comes next */
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info(c->nc, &info);
  if (n && !c->unheard_at && info.bytes_in_flight) c->unheard_at = c->q->now ? c->q->now : 1;
  pace(c, n, more, info.smoothed_rtt);
  /* strictly later, as ngtcp2 does not take a timer as expired at the very instant */
  if (n && c->ping_at && c->q->now > c->ping_at) {
    c->ping_at = 0;
    uint64_t ka = conn_effective_keep_alive(c);
    ngtcp2_conn_set_keep_alive_timeout(c->nc, ka ? ka : UINT64_MAX);
  }
  list_remove(&c->dirty);
  if (more)
    list_append(&c->q->dirty, &c->dirty); /* behind the others */
  else
    conn_arm(c);
  return n;
}

bool quic_unsent(const struct quic *q) { return q->stash || q->raw_count || !list_empty(&q->dirty); }

size_t quic_send(struct quic *q, uint8_t *buf, size_t cap, struct burst *ret_burst, nanotime now) {
  quic_advance(q, now);
  share_relieve(q);
  size_t n = 0;
  if (q->stash) {
    n = q->stash_out.len;
    memcpy(buf, q->stash, n);
    *ret_burst = q->stash_out;
    mem_free(q->cfg.mem, q->stash);
    q->stash = NULL;
  } else if (!list_empty(&q->raw)) {
    struct raw *r = container_of(q->raw.next, struct raw, link);
    n = r->out.len;
    memcpy(buf, r->data, n);
    *ret_burst = r->out;
    assert(q->raw_count > 0);
    list_remove(&r->link);
    q->raw_count--;
    mem_free(q->cfg.mem, r);
  }
  while (n == 0 && !list_empty(&q->dirty)) {
    n = connection(container_of(q->dirty.next, struct quic_conn, dirty), buf, cap, ret_burst);
    if (n == 0 && is_spent(q->cfg.spent)) break; /* thousands may have nothing to send after all */
  }
  if (n) {
    q->stats.bytes_out += n;
    q->stats.datagrams_out += (n + ret_burst->segment - 1) / ret_burst->segment;
  }
  return n;
}
