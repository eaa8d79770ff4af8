/* What one connection may hold: QUIC_CONN_MEMORY whatever others do, and beyond it a part of the pool that all share.
 *
 * A peer decides how much state it causes: out-of-order octets, gaps between them, streams, packets that it never acknowledges.
 * So each allocation for a connection is weighed here. What is refused ends that connection (ngtcp2 reports NGTCP2_ERR_NOMEM),
 * and a full pool takes nothing from those who stay within what is theirs. */
#include <malloc.h>

#include "quic/internal.h"

#define TIGHT_FLIGHT (16u * 1200u)
#define MOST_PARTS 8 /* of the pool: what one connection may take of it is this part of it */

static size_t beyond(size_t held) { return held > QUIC_CONN_MEMORY ? held - QUIC_CONN_MEMORY : 0; }

static bool has_room(struct quic_conn *c, size_t more) {
  struct quic *q = c->q;
  size_t old = beyond(c->held), new = beyond(c->held + more);
  if (!q->cfg.conn_pool || new == old) return true;
  if (new <= q->cfg.conn_pool / MOST_PARTS && q->pool_used - old + new <= q->cfg.conn_pool) return true;
  q->stats.refused_memory++;
  return false;
}

/* From what the account grew or shrank by. */
static void charge(struct quic_conn *c, size_t before) {
  struct quic *q = c->q;
  q->pool_used -= beyond(c->held);
  c->held += q->cfg.mem->bytes - before;
  q->pool_used += beyond(c->held);
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

/* ngtcp2 keeps a record of each packet in flight, and room for as many until the connection ends. So in a pool that fills up
 * connections go on with few packets in flight, instead of ending at its limit. */
bool share_waits(const struct quic_conn *c) {
  const struct quic *q = c->q;
  ngtcp2_conn_info info;
  if (!q->cfg.conn_pool || q->pool_used <= q->cfg.conn_pool / 4 * 3) return false;
  ngtcp2_conn_get_conn_info(c->nc, &info);
  return info.bytes_in_flight >= TIGHT_FLIGHT;
}
