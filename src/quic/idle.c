/* What packets cost that move nothing.
 *
 * What an owner limits is what streams bring: messages, requests. A packet that brings no bytes of streams and acknowledges
 * none of ours passes by all of its limits, and takes as long to read as others: a ping, a copy, an acknowledgement of what was
 * acknowledged, bytes behind a gap, frames about limits, ids and paths. An honest peer sends few of them, but for bytes behind
 * a gap, of which a lossy path brings as many as a window holds before one packet closes the gap, and shows that they were
 * worth reading. So each costs its price, and bytes of streams give it back. What a connection needs to settle is its own;
 * beyond that the units are its identity's, for all its connections. When those have nothing left, each is read just so often
 * that it does not end for it. */
#include "quic/internal.h"

#define USEFUL 32u /* bytes: fewer, as a peer could send them one by one, move nothing */
#define BYTES_A_UNIT 128u
#define RATE ((double)QUIC_IDLE_UNITS) /* some 5 us each with the answers */
#define MOST 10000.0                   /* at once: what a window of 1 MiB holds */
#define ALL 10.0   /* times that for all together; then only those are read who have spent less than a quarter of their own */
#define EARLY 400u /* units before the owner has admitted it: an ordinary handshake takes 40, the largest certificates 150 */
/* Units that each connection has of its own once it is admitted: to look for the MTU of its path takes some 30. */
#define GRACE 160.0
#define FREE_EACH (NS_SEC / 2)    /* each connection has a small packet free so often: pings, and the answers to ours */
#define FREE_WATCHED (40 * NS_MS) /* one that we watch answers our probes, which come half as often */
#define FREE_PRICE 2u
#define SAY_AGAIN (60 * NS_SEC)

static uint32_t price(size_t n) { return 1 + (uint32_t)n / BYTES_A_UNIT; }

static bool has_units(struct quic_conn *c) {
  struct quic *q = c->q;
  if (c->half_open) return c->owed < EARLY;
  if (!c->units) return true;
  double own = bucket_level(c->units, RATE, MOST, q->now);
  return own >= 1 && (own > MOST / 4 * 3 || bucket_level(&q->units, RATE * ALL, MOST * ALL, q->now) >= 1);
}

/* So that who shares an identity with a spendthrift, or was one, stays connected. */
static bool is_read_all_the_same(struct quic_conn *c) {
  nanotime now = c->q->now;
  if (c->half_open || time_since(now, c->read_at) < FREE_EACH) return false;
  c->read_at = now;
  return true;
}

bool idle_may_read(struct quic_conn *c) {
  struct quic *q = c->q;
  if (!c->server || has_units(c) || is_read_all_the_same(c)) return true;
  q->stats.limited++;
  if (c->opened && q->now >= c->limited_at) {
    c->limited_at = time_add(q->now, SAY_AGAIN);
    if (q->cfg.handler.limited) q->cfg.handler.limited(q->cfg.ctx, c);
  }
  return false;
}

static bool is_free(struct quic_conn *c, uint32_t units) {
  struct quic *q = c->q;
  if (units > FREE_PRICE || time_since(q->now, c->free_at) < (c->watch ? FREE_WATCHED : FREE_EACH)) return false;
  c->free_at = q->now;
  return true;
}

static double beyond_grace(double owed) { return owed > GRACE ? owed - GRACE : 0; }

static void spend(struct quic_conn *c, double units) {
  double before = beyond_grace(c->owed);
  c->owed += units;
  if (!c->units) return;
  units = beyond_grace(c->owed) - before;
  c->units->tokens -= units;
  c->q->units.tokens -= units;
}

void idle_settle(struct quic_conn *c, size_t n) {
  double back = c->moved / (double)BYTES_A_UNIT;
  if (!c->server) return;
  if (c->moved >= USEFUL && c->owed > 0)
    spend(c, -(back < c->owed ? back : c->owed));
  else if (c->moved < USEFUL && !is_free(c, price(n)))
    spend(c, price(n));
  c->moved = 0;
}

void quic_conn_pays(struct quic_conn *c, struct bucket *units) {
  c->units = units;
  c->owed = 0;
}
