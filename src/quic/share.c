/* What one connection may hold: QUIC_CONN_MEMORY whatever others do, and beyond it a part of the pool that all share.
 *
 * A peer decides how much state a connection has: data out of order, gaps in it, streams, packets that it never acknowledges.
 * So each allocation for a connection is counted here. A connection that would hold more than an eighth of the pool ends
 * (ngtcp2 reports NGTCP2_ERR_NOMEM). Before each received datagram and each burst that is sent, the connections that hold the
 * most end until an eighth of the pool is free. So there is always memory for one datagram, and no connection ends for lack of
 * it while another one holds more. Connections that are not admitted share only a part of the pool. */
#include <malloc.h>

#include "base/check.h"
#include "quic/internal.h"

#define TIGHT_FLIGHT (16u * 1200u)
#define FLIGHT_OF_RECORDS 6u /* bytes that may be in flight for each byte that is left for the records of packets in flight */
#define MOST_PARTS 8         /* one connection may hold 1/8 of the pool, and 1/8 is kept free */
#define HALF_PARTS 4         /* connections that are not admitted may hold 1/4 of the pool together */
#define SAID_EVERY (60 * NS_SEC)

static size_t beyond(size_t held) { return held > QUIC_CONN_MEMORY ? held - QUIC_CONN_MEMORY : 0; }

static size_t most_of(const struct quic_conn *c) {
  return (c->half_open ? c->q->cfg.conn_pool / HALF_PARTS : c->q->cfg.conn_pool) / MOST_PARTS;
}

static bool has_room(struct quic_conn *c, size_t more) {
  struct quic *q = c->q;
  size_t old = beyond(c->held), new = beyond(c->held + more);
  if (!q->cfg.conn_pool || new == old) return true;
  if (new <= most_of(c) && q->pool_used - old + new <= q->cfg.conn_pool &&
      (!c->half_open || q->pool_half - old + new <= q->cfg.conn_pool / HALF_PARTS))
    return true;
  q->stats.refused_memory++;
  return false;
}

/* Charges the connection with the bytes by which the account has grown or shrunk. */
static void charge(struct quic_conn *c, size_t before) {
  struct quic *q = c->q;
  size_t old = beyond(c->held);
  c->held += q->cfg.mem->bytes - before;
  if (c->held > c->held_peak) c->held_peak = c->held;
  q->pool_used += beyond(c->held) - old; /* modulo 2^n */
  if (c->half_open) q->pool_half += beyond(c->held) - old;
}

void share_admit(struct quic_conn *c) { c->q->pool_half -= beyond(c->held); }

/* The connection to end next: one that is closing anyway, else the one that holds the most of the pool. */
static struct quic_conn *largest(const struct quic *q) {
  struct quic_conn *most = NULL;
  size_t most_held = 0;
  list_for(it, &q->conns) {
    struct quic_conn *c = container_of(it, struct quic_conn, all);
    size_t held = c->nc ? beyond(c->held) / (c->shares ? c->shares : 1) : 0;
    if (held && !conn_alive(c)) return c;
    if (held > most_held) {
      most = c;
      most_held = held;
    }
  }
  return most;
}

static void end_for_others(struct quic_conn *c) {
  struct quic *q = c->q;
  q->stats.refused_memory++;
  if (q->now >= q->pool_said) {
    q->pool_said = time_add(q->now, SAID_EVERY);
    log_warn(q->cfg.log, "connection_pool_full", "conn=%llu held=%zu used=%zu limit=%zu", (unsigned long long)c->serial,
             c->held, q->pool_used, q->cfg.conn_pool);
  }
  conn_why(c, QUIC_CLOSE_TRANSPORT, false, NGTCP2_INTERNAL_ERROR, MACULA_ENOMEM,
           slice_str("this connection held the most of a full connection_pool"));
  conn_fail(c, NGTCP2_ERR_NOMEM);
}

void share_relieve(struct quic *q) {
  size_t mark = q->cfg.conn_pool - q->cfg.conn_pool / MOST_PARTS;
  for (struct quic_conn *c; q->cfg.conn_pool && q->pool_used > mark && (c = largest(q));) {
    if (conn_alive(c)) end_for_others(c);
    send_close(c); /* at once, since its memory is needed */
  }
}

static void *take(struct quic_conn *c, size_t n, size_t size) {
  struct mem *m = c->q->cfg.mem;
  size_t before = m->bytes, total;
  if (__builtin_mul_overflow(n, size, &total) || !has_room(c, total)) return NULL;
  void *p = mem_calloc(m, n, size);
  charge(c, before);
  return p;
}

static void *nm_malloc(size_t n, void *user) {
  struct quic_conn *c = user;
  size_t before = c->q->cfg.mem->bytes;
  void *p = has_room(c, n) ? mem_alloc(c->q->cfg.mem, n) : NULL;
  charge(c, before);
  return p;
}

static void *nm_calloc(size_t n, size_t size, void *user) { return take(user, n, size); }

static void *nm_realloc(void *p, size_t n, void *user) {
  struct quic_conn *c = user;
  size_t before = c->q->cfg.mem->bytes, old = p ? malloc_usable_size(p) : 0;
  void *q = has_room(c, n > old ? n - old : 0) ? mem_realloc(c->q->cfg.mem, p, n) : NULL;
  charge(c, before);
  return q;
}

static void nm_free(void *p, void *user) { share_free(user, p); }

ngtcp2_mem share_mem(struct quic_conn *c) { return (ngtcp2_mem){c, nm_malloc, nm_free, nm_calloc, nm_realloc}; }

void *share_calloc(struct quic_conn *c, size_t size) { return take(c, 1, size); }

void share_free(struct quic_conn *c, void *p) {
  size_t before = c->q->cfg.mem->bytes;
  mem_free(c->q->cfg.mem, p);
  charge(c, before);
}

void quic_conn_shares(struct quic_conn *c, uint32_t n) { c->shares = n; }

size_t quic_conn_held(const struct quic_conn *c, size_t *ret_peak) {
  *ret_peak = c->held_peak;
  return c->held;
}

/* ngtcp2 keeps a record of each packet in flight, and frees none of that memory before the connection ends. So when the pool is
 * three quarters full, connections go on with few packets in flight instead of ending. A connection that has used much of its
 * own part has only so many bytes in flight as it has room for records. Half of its part is kept for data that arrives out of
 * order. */
bool share_waits(const struct quic_conn *c) {
  const struct quic *q = c->q;
  ngtcp2_conn_info info;
  size_t most = most_of(c) / 2, held = beyond(c->held), flight = TIGHT_FLIGHT;
  if (!q->cfg.conn_pool) return false;
  if (q->pool_used <= q->cfg.conn_pool / 4 * 3) {
    if (held <= most / 2) return false;
    if (held < most && (most - held) * FLIGHT_OF_RECORDS > flight) flight = (most - held) * FLIGHT_OF_RECORDS;
  }
  ngtcp2_conn_get_conn_info(c->nc, &info);
  return info.bytes_in_flight >= flight;
}

const char *share_check(const struct quic *q) {
  size_t used = 0, half = 0;
  list_for(it, &q->conns) {
    const struct quic_conn *c = container_of(it, const struct quic_conn, all);
    used += beyond(c->held);
    if (c->half_open) half += beyond(c->held);
  }
  CHECK(used == q->pool_used && half == q->pool_half, "quic: the pool is not charged what connections hold of it");
  return NULL;
}
