/* The endpoint: finds the connection of a datagram by its id, keeps time, and carries what waits to be sent or told. */
#include <gnutls/crypto.h>

#include "quic/internal.h"

#define CHECK_LEAST (250 * NS_MS) /* after an ICMP error something must arrive within this */

static bool cid_eq(const struct hlink *h, const void *key, size_t len) {
  const struct cid *e = container_of(h, struct cid, h);
  return e->len == len && memcmp(e->id, key, len) == 0;
}

struct cid *cid_find(const struct htab *t, const uint8_t *id, size_t len) {
  struct hlink *h = htab_find(t, id, len);
  return h ? container_of(h, struct cid, h) : NULL;
}

int cid_add(struct quic_conn *c, struct htab *t, struct cid **list, const uint8_t *id, size_t len) {
  const struct cid *old = cid_find(t, id, len);
  if (old) return old->conn == c ? 0 : MACULA_EBUSY;
  struct cid *e = mem_alloc(c->q->cfg.mem, sizeof *e + len);
  if (!e) return MACULA_ENOMEM;
  *e = (struct cid){.conn = c, .len = (uint8_t)len, .next = *list};
  memcpy(e->id, id, len);
  int err = htab_insert(t, &e->h, id, len);
  if (err) {
    mem_free(c->q->cfg.mem, e);
    return err;
  }
  *list = e;
  return 0;
}

void cid_remove(struct quic_conn *c, struct htab *t, struct cid **list, const uint8_t *id, size_t len) {
  for (struct cid **at = list; *at; at = &(*at)->next) {
    struct cid *e = *at;
    if (e->len != len || memcmp(e->id, id, len) != 0) continue;
    *at = e->next;
    htab_remove(t, &e->h);
    mem_free(c->q->cfg.mem, e);
    return;
  }
}

void cid_clear(struct quic_conn *c, struct htab *t, struct cid **list) {
  while (*list) {
    struct cid *e = *list;
    *list = e->next;
    htab_remove(t, &e->h);
    mem_free(c->q->cfg.mem, e);
  }
}

void quic_new_cid(struct quic *q, ngtcp2_cid *ret_cid, size_t len) {
  do {
    ret_cid->datalen = len;
    rng_fill(q->cfg.rng, ret_cid->data, len);
    ret_cid->data[0] = q->cfg.loop_id;
  } while (cid_find(&q->cids, ret_cid->data, len));
}

void quic_raw(struct quic *q, const struct addr *local, const struct addr *remote, const uint8_t *p, size_t n) {
  struct raw *r = q->raw_count < QUIC_MAX_RAW ? mem_alloc(q->cfg.mem, sizeof *r + n) : NULL;
  if (!r) {
    q->stats.dropped++;
    return;
  }
  r->out = (struct burst){.local = *local, .remote = *remote, .len = n, .segment = n};
  memcpy(r->data, p, n);
  list_append(&q->raw, &r->link);
  q->raw_count++;
}

void quic_advance(struct quic *q, nanotime now) {
  if (now > q->now) q->now = now; /* ngtcp2 asserts that time does not go back */
}

static void set_reset_secret(struct quic *q) {
  if (q->cfg.identity)
    memcpy(q->reset_secret, q->cfg.identity->reset_secret, sizeof q->reset_secret);
  else
    rng_fill(q->cfg.rng, q->reset_secret, sizeof q->reset_secret);
}

static uint32_t conns_most(const struct quic_config *c) { return c->max_conns + c->max_half_open; }

void quic_set_clock(struct quic *q, uint64_t unix_s, nanotime now) {
  quic_advance(q, now);
  q->cfg.unix_base_s = unix_s - q->now / NS_SEC; /* modulo 2^64 */
}

uint64_t quic_unix(const struct quic *q) { return q->cfg.unix_base_s + q->now / NS_SEC; }

void quic_set_limits(struct quic *q, const struct quic_limits *limits) {
  q->cfg.max_conns = limits->max_conns;
  q->cfg.max_half_open = limits->max_half_open;
  q->cfg.retry_half_open = limits->max_half_open / 4;
  q->cfg.conn_pool = limits->conn_pool;
  q->cfg.max_streams = limits->max_streams;
  uint32_t most = conns_most(&q->cfg);
  if (most <= q->timers.max) return; /* the tables never shrink, as connections that exist need their ids and timers */
  q->cids.max = most * 10;
  q->dcids.max = q->tokens.max = most * 4;
  q->timers.max = most;
}

int quic_new(const struct quic_config *cfg, nanotime now, struct quic **ret_q) {
  if (cfg->server && !cfg->identity) return MACULA_EINVAL;
  struct quic *q = mem_calloc(cfg->mem, 1, sizeof *q);
  if (!q) return MACULA_ENOMEM;
  q->cfg = *cfg;
  quic_identity_ref(q->cfg.identity);
  if (!q->cfg.idle_timeout) q->cfg.idle_timeout = 30 * NS_SEC;
  if (!q->cfg.vain) q->cfg.vain = 250;
  if (!q->cfg.handshake_timeout) q->cfg.handshake_timeout = 10 * NS_SEC;
  q->now = q->ticket_key_at = now;
  q->max_segments = 64;
  uint32_t most = conns_most(&q->cfg);
  htab_init(&q->cids, cfg->mem, cfg->rng, most * 10,
            cid_eq); /* ngtcp2 issues at most 8 ids for a connection; one more is the client's initial id */
  htab_init(&q->dcids, cfg->mem, cfg->rng, most * 4, cid_eq);
  htab_init(&q->tokens, cfg->mem, cfg->rng, most * 4, cid_eq);
  heap_init(&q->timers, cfg->mem, most);
  accept_init(q);
  list_init(&q->conns);
  list_init(&q->dirty);
  list_init(&q->events);
  list_init(&q->raw);
  list_init(&q->fresh);
  list_init(&q->later);
  for (int i = 0; i < 2; i++) list_init(&q->lingering[i]);
  rng_fill(cfg->rng, q->secret, sizeof q->secret);
  set_reset_secret(q);
  int err = tls_init(q);
  q->cfg.ca_pem = NULL;
  if (err) {
    quic_free(q);
    return err;
  }
  *ret_q = q;
  return 0;
}

void quic_free(struct quic *q) {
  if (!q) return;
  while (!list_empty(&q->conns)) conn_free(container_of(q->conns.next, struct quic_conn, all));
  while (!list_empty(&q->raw)) {
    struct raw *r = container_of(q->raw.next, struct raw, link);
    list_remove(&r->link);
    mem_free(q->cfg.mem, r);
  }
  mem_free(q->cfg.mem, q->stash);
  accept_done(q);
  heap_done(&q->timers);
  htab_done(&q->cids);
  htab_done(&q->dcids);
  htab_done(&q->tokens);
  tls_done(q);
  quic_identity_unref(q->cfg.identity);
  gnutls_memset(q->secret, 0, sizeof q->secret);
  gnutls_memset(q->reset_secret, 0, sizeof q->reset_secret);
  mem_free(q->cfg.mem, q);
}

void quic_recv(struct quic *q, const struct addr *local, const struct addr *remote, struct slice dg, uint8_t ecn,
               nanotime now) {
  quic_advance(q, now);
  share_relieve(q);
  q->stats.datagrams_in++;
  q->stats.bytes_in += dg.n;
  ngtcp2_version_cid vc;
  int rv = dg.n ? ngtcp2_pkt_decode_version_cid(&vc, dg.p, dg.n, QUIC_CID_LEN) : NGTCP2_ERR_INVALID_ARGUMENT;
  if (rv == NGTCP2_ERR_VERSION_NEGOTIATION && q->cfg.server && dg.n >= NGTCP2_MAX_UDP_PAYLOAD_SIZE) {
    accept_version(q, local, remote, &vc);
    return;
  }
  if (rv) {
    q->stats.dropped++;
    return;
  }
  struct cid *e = cid_find(&q->cids, vc.dcid, vc.dcidlen);
  /* perhaps a stateless reset: it looks like a packet with a short header and ends with a token */
  if (!e && !(dg.p[0] & 0x80) && dg.n >= 21)
    e = cid_find(&q->tokens, dg.p + dg.n - NGTCP2_STATELESS_RESET_TOKENLEN, NGTCP2_STATELESS_RESET_TOKENLEN);
  if (e) {
    if (!later_keeps(e->conn, local, remote, dg, ecn)) conn_read(e->conn, local, remote, dg, ecn);
  } else if (dg.p[0] & 0x80) {
    accept_initial(q, local, remote, dg, ecn);
  } else {
    accept_unknown(q, local, remote, &vc, dg.n);
  }
}

void quic_icmp(struct quic *q, const struct addr *remote, struct slice quoted, bool port, nanotime now) {
  quic_advance(q, now);
  if (quoted.n < 2 || !bucket_take(&q->icmp_rate, 1000, 1000, q->now)) return;
  struct cid *e = NULL;
  if (quoted.p[0] & 0x80) {
    if (quoted.n > 6 && quoted.p[5] <= NGTCP2_MAX_CIDLEN && quoted.n >= 6u + quoted.p[5])
      e = cid_find(&q->dcids, quoted.p + 6, quoted.p[5]);
  } else {
    for (size_t n = 1; !e && n <= NGTCP2_MAX_CIDLEN && n < quoted.n; n++) e = cid_find(&q->dcids, quoted.p + 1, n);
  }
  struct quic_conn *c = e ? e->conn : NULL;
  if (!c || !conn_alive(c) || c->check_at != TIME_NEVER || !addr_eq(remote, &c->remote) || (c->opened && !port)) return;
  q->stats.icmp_checks++;
  c->no_port = port;
  uint64_t wait = c->opened ? conn_three_ptos(c) : 0;
  c->check_at = time_add(q->now, wait > CHECK_LEAST ? wait : CHECK_LEAST);
  quic_conn_ping(c);
  conn_arm(c);
}

nanotime quic_deadline(const struct quic *q) { return list_empty(&q->events) ? heap_deadline(&q->timers) : q->now; }

void quic_tick(struct quic *q, nanotime now) {
  quic_advance(q, now);
  while (heap_deadline(&q->timers) <= q->now) {
    struct quic_conn *c = container_of(q->timers.v[0], struct quic_conn, timer);
    (void)heap_set(&q->timers, &c->timer, TIME_NEVER); /* the timer stays in the heap, so that setting it again cannot fail */
    conn_tick(c);
    if (is_spent(q->cfg.spent)) return;
  }
  quic_flush_events(q, now);
}

void quic_flush_events(struct quic *q, nanotime now) {
  quic_advance(q, now);
  while (!list_empty(&q->events)) {
    struct quic_conn *c = container_of(q->events.next, struct quic_conn, event);
    list_remove(&c->event);
    conn_deliver(c);
    if (is_spent(q->cfg.spent)) return;
  }
}

void quic_set_large(struct quic *q, bool large) { q->large = large; }
void quic_set_max_segments(struct quic *q, unsigned n) { q->max_segments = n ? n : 1; }
void quic_stats(const struct quic *q, struct quic_stats *ret_stats) {
  *ret_stats = q->stats;
  ret_stats->total = q->total;
  ret_stats->conn_pool = q->pool_used;
}
bool quic_is_silent(const struct quic *q) {
  if (q->raw_count) return false;
  list_for(it, &q->conns) if (container_of(it, struct quic_conn, all)->nc) return false;
  return true;
}

void quic_stop_accepting(struct quic *q, int err) { q->stop_err = err; }

int quic_set_identity(struct quic *q, struct quic_identity *identity, const char *ca_pem) {
  int err = ca_pem ? tls_set_ca(q, ca_pem) : 0;
  if (err) return err;
  if (identity) { /* the reset secret stays, as ids with tokens made from it are in use */
    quic_identity_ref(identity);
    quic_identity_unref(q->cfg.identity);
    q->cfg.identity = identity;
  }
  if (q->cfg.server) tls_new_ticket_key(q);
  return 0;
}
