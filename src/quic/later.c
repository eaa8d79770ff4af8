/* Datagrams of connections that are being made.
 *
 * A handshake costs some 0.4 ms in three or four parts, most of it signatures, and whoever likes can ask for many at once. Done
 * as they come, all that came in one turn would stand before the answers to those who are in. So these datagrams are kept until
 * what the others sent was read and answered, and then one is read a turn: whoever is in waits for one part of one handshake at
 * most. Between two of them there is a poll, which costs some microseconds, so that a node which only makes connections makes
 * as many as before.
 *
 * Order within a connection is kept: while one of its datagrams waits, its further ones do, too. When there is no room the
 * datagram is lost, and is sent again as if it was lost on the way. */
#include <assert.h>

#include "quic/internal.h"

#define A_CONNECTION 32u /* datagrams: the largest certificates take a dozen */

struct later {
  struct list link, of_conn; /* quic.later, quic_conn.later */
  struct quic_conn *conn;
  struct addr local, remote;
  uint8_t ecn;
  uint32_t n;
  uint8_t data[];
};

static void unlist(struct later *d) {
  struct quic_conn *c = d->conn;
  struct quic *q = c->q;
  assert(c->later_count > 0 && q->later_count > 0 && q->later_bytes >= d->n);
  list_remove(&d->link);
  list_remove(&d->of_conn);
  c->later_count--;
  q->later_count--;
  q->later_bytes -= d->n;
}

bool later_keeps(struct quic_conn *c, const struct addr *local, const struct addr *remote, struct slice dg, uint8_t ecn) {
  struct quic *q = c->q;
  if (!q->cfg.later || !c->server || !c->nc || (!c->half_open && !c->later_count)) return false;
  bool room = c->later_count < A_CONNECTION && q->later_bytes + dg.n <= QUIC_LATER_BYTES;
  struct later *d = room ? mem_alloc(q->cfg.mem, sizeof *d + dg.n) : NULL;
  if (!d) {
    q->stats.later_dropped++;
    return true;
  }
  d->conn = c;
  d->local = *local;
  d->remote = *remote;
  d->ecn = ecn;
  d->n = (uint32_t)dg.n;
  memcpy(d->data, dg.p, dg.n);
  list_append(&q->later, &d->link);
  list_append(&c->later, &d->of_conn);
  c->later_count++;
  q->later_count++;
  q->later_bytes += dg.n;
  q->stats.later++;
  return true;
}

void later_forget(struct quic_conn *c) {
  while (!list_empty(&c->later)) {
    struct later *d = container_of(c->later.next, struct later, of_conn);
    unlist(d);
    mem_free(c->q->cfg.mem, d);
  }
}

bool quic_has_later(const struct quic *q) { return q->later_count > 0; }

void quic_read_later(struct quic *q, nanotime now) {
  quic_advance(q, now);
  if (list_empty(&q->later)) return;
  struct later *d = container_of(q->later.next, struct later, link);
  unlist(d); /* first, as reading may end the connection, and all that is in its list */
  conn_read(d->conn, &d->local, &d->remote, slice_of(d->data, d->n), d->ecn);
  mem_free(q->cfg.mem, d);
}
