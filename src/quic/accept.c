/* Datagrams that belong to no connection: new connections, with Retry and the limits on them; version negotiation; stateless
 * reset. */
#include "quic/internal.h"

#define RETRY_TIME (10 * NS_SEC)
#define TOKEN_TIME (24 * 3600 * NS_SEC)
#define RESETS_A_SECOND 1000.0
#define RETRIES_A_SECOND 2000.0
#define REFUSALS_A_SECOND 100.0 /* that are told to have made too many handshakes; others are not answered */
/* Handshakes that led to nothing, of all addresses: so many times what one has. Then only an address comes in that has used
 * less than half of its own, and of these so many times that. */
#define OF_ALL 8.0
#define RESERVE 2.0
/* bytes: the family, then an IPv4 address or an IPv6 /64 prefix (one host may have all addresses of a /64) */
#define ADDR_KEY 9

struct addr_entry {
  struct lru_link l;
  struct bucket bucket;     /* new connections whose address is not proved */
  struct bucket handshakes; /* that led to nothing */
  uint8_t key[ADDR_KEY];
};

static bool addr_key_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(container_of(h, struct addr_entry, l.h)->key, key, len) == 0;
}

void accept_init(struct quic *q) { lru_init(&q->addrs, q->cfg.mem, q->cfg.rng, QUIC_MAX_ADDRS, addr_key_eq); }

void accept_done(struct quic *q) {
  for (struct lru_link *e; (e = lru_oldest(&q->addrs));) {
    lru_remove(&q->addrs, e);
    mem_free(q->cfg.mem, container_of(e, struct addr_entry, l));
  }
  lru_done(&q->addrs);
}

static void key_of(const struct addr *a, uint8_t ret_key[ADDR_KEY]) {
  memset(ret_key, 0, ADDR_KEY);
  ret_key[0] = a->sa.sa_family == AF_INET ? 4 : 6;
  memcpy(ret_key + 1, ret_key[0] == 4 ? (const void *)&a->v4.sin_addr : (const void *)&a->v6.sin6_addr,
         ret_key[0] == 4 ? 4 : 8);
}

/* NULL: there is no memory for it. */
static struct addr_entry *entry_of(struct quic *q, const struct addr *a) {
  uint8_t key[ADDR_KEY];
  key_of(a, key);
  struct lru_link *l = lru_find(&q->addrs, key, sizeof key), *out;
  if (l) {
    lru_touch(&q->addrs, l);
    return container_of(l, struct addr_entry, l);
  }
  struct addr_entry *e = mem_calloc(q->cfg.mem, 1, sizeof *e);
  if (!e) return NULL;
  memcpy(e->key, key, sizeof key);
  int err = lru_insert(&q->addrs, &e->l, key, sizeof key, &out);
  if (out) mem_free(q->cfg.mem, container_of(out, struct addr_entry, l));
  if (!err) return e;
  mem_free(q->cfg.mem, e);
  return NULL;
}

/* ---- handshakes that lead to nothing ---------------------------------------------------------------------------------------
 *
 * The client was not admitted, or was gone soon (quic_conn_brief). Of these an address has cfg.vain at once and a tenth of that
 * a second, at some 0.4 ms of the loop each. One that led to something counts no more, so that any number of clients may come
 * from one address. */
static double left_of(struct quic *q, struct addr_entry *e) {
  double most = q->cfg.vain;
  return e ? bucket_level(&e->handshakes, most / 10, most, q->now) : most / 2;
}

static bool has_nothing_left(struct quic *q, struct addr_entry *e) {
  double most = q->cfg.vain, own = left_of(q, e);
  double all = bucket_level(&q->handshakes, most / 10 * OF_ALL, most * OF_ALL, q->now);
  return own < 1 || all < (own > most / 2 ? 1 - most * RESERVE : 1);
}

static void count(struct quic_conn *c, double handshakes) {
  struct quic *q = c->q;
  struct addr_entry *e = entry_of(q, &c->remote);
  (void)has_nothing_left(q, e); /* brings both up to now */
  if (e) e->handshakes.tokens += handshakes;
  q->handshakes.tokens += handshakes;
  c->lent = handshakes < 0;
}

void accept_admitted(struct quic_conn *c) {
  if (c->lent) count(c, 1);
}

void quic_conn_brief(struct quic_conn *c) {
  if (c->server && !c->lent) count(c, -1);
}

/* Whether an address that may be forged has to be proved first. Of what an address may have those who prove it have the half.
 */
static bool wants_proof(struct quic *q, const struct addr *a, struct addr_entry *e) {
  double rate = q->cfg.retry_rate;
  if (q->stats.half_open >= q->cfg.retry_half_open || !e || left_of(q, e) < q->cfg.vain / 2.0) return true;
  return !addr_is_loopback(a) && !bucket_take(&e->bucket, rate, rate, q->now);
}

/* ---- room ------------------------------------------------------------------------------------------------------------------
 */
static void end_now(struct quic_conn *c) {
  struct quic *q = c->q;
  conn_admit(c); /* its place is free at once, and not only after conn_closed */
  if (c->established) q->stats.conns--;
  c->established = false;
  conn_end(c, 0);
}

/* Ends a lingering connection. All that one still does is to repeat its last packet, for a time that the peer influences by its
 * acknowledgement delays; so no new connection is refused for its sake. */
bool accept_makes_room(struct quic *q, bool half_open) {
  for (int i = half_open; i < 2; i++) list_for(it, &q->lingering[i]) {
      struct quic_conn *c = container_of(it, struct quic_conn, dirty);
      if (!half_open && !c->established) continue;
      end_now(c);
      return true;
    }
  return false;
}

/* Ends the oldest half-open connection if its address has more half-open ones than the address of the new one. So an attacker
 * that leaves handshakes unfinished keeps out only connections from its own address. */
static bool oldest_makes_room(struct quic *q, const struct addr *from) {
  struct quic_conn *oldest = NULL;
  uint8_t own[ADDR_KEY], its[ADDR_KEY], key[ADDR_KEY];
  uint32_t of_own = 0, of_its = 0;
  key_of(from, own);
  list_for(it, &q->fresh) {
    struct quic_conn *c = container_of(it, struct quic_conn, fresh);
    key_of(&c->remote, key);
    if (!oldest && conn_alive(c)) {
      oldest = c;
      memcpy(its, key, sizeof its);
    }
    of_own += memcmp(key, own, sizeof own) == 0;
    of_its += oldest && memcmp(key, its, sizeof its) == 0;
  }
  if (of_its <= of_own) return false;
  conn_why(oldest, QUIC_CLOSE_TRANSPORT, false, 0, MACULA_NOT_CONNECTED, slice_str("too many handshakes from one address"));
  q->stats.handshakes_failed += !oldest->opened;
  end_now(oldest);
  return true;
}

static void send_retry(struct quic *q, const struct addr *local, const struct addr *remote, const ngtcp2_pkt_hd *hd) {
  ngtcp2_cid scid;
  uint8_t token[NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN2], pkt[512];
  if (!bucket_take(&q->retry_rate, RETRIES_A_SECOND, RETRIES_A_SECOND, q->now)) {
    q->stats.dropped++;
    return;
  }
  quic_new_cid(q, &scid, QUIC_CID_LEN);
  ngtcp2_ssize n = ngtcp2_crypto_generate_retry_token2(token, q->secret, sizeof q->secret, hd->version, &remote->sa,
                                                       addr_len(remote), &scid, &hd->dcid, q->now);
  if (n < 0) return;
  n = ngtcp2_crypto_write_retry(pkt, sizeof pkt, hd->version, &hd->scid, &scid, &hd->dcid, token, (size_t)n);
  if (n <= 0) return;
  quic_raw(q, local, remote, pkt, (size_t)n);
  q->stats.retries_sent++;
}

static void send_refusal(struct quic *q, const struct addr *local, const struct addr *remote, const ngtcp2_pkt_hd *hd,
                         uint64_t code, int err) {
  uint8_t pkt[256];
  /* the reason phrase is the code's name, from which our own clients tell the code */
  const char *name = err ? macula_err_name(err) : "";
  ngtcp2_ssize n = ngtcp2_crypto_write_connection_close(pkt, sizeof pkt, hd->version, &hd->scid, &hd->dcid, code,
                                                        (const uint8_t *)name, strlen(name));
  if (n > 0) quic_raw(q, local, remote, pkt, (size_t)n);
}

void quic_refused(struct quic *q, const struct addr *remote, const struct id *id, int err, struct slice text) {
  if (q->cfg.handler.refused) q->cfg.handler.refused(q->cfg.ctx, remote, id, err, text);
}

void accept_initial(struct quic *q, const struct addr *local, const struct addr *remote, struct slice dg, uint8_t ecn) {
  ngtcp2_pkt_hd hd;
  bool dial_only = false;
  for (int i = 0; i < QUIC_DIAL_ONLY && q->dial_only[i]; i++) dial_only |= q->dial_only[i] == addr_port(local);
  if (!q->cfg.server || dial_only || ngtcp2_accept(&hd, dg.p, dg.n) < 0) {
    q->stats.dropped++;
    return;
  }
  struct addr_entry *from = entry_of(q, remote);
  if (has_nothing_left(q, from)) {
    q->stats.refused_rate++;
    if (bucket_take(&q->refusal_rate, REFUSALS_A_SECOND, REFUSALS_A_SECOND, q->now))
      send_refusal(q, local, remote, &hd, NGTCP2_CONNECTION_REFUSED, MACULA_RATE_LIMITED);
    quic_refused(q, remote, NULL, MACULA_RATE_LIMITED,
                 slice_str("this address makes connections without end that lead to nothing"));
    return;
  }
  ngtcp2_cid odcid;
  struct conn_server s = {.hd = &hd, .token_type = NGTCP2_TOKEN_TYPE_UNKNOWN};
  if (hd.tokenlen && hd.token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY2) {
    int rv = ngtcp2_crypto_verify_retry_token2(&odcid, hd.token, hd.tokenlen, q->secret, sizeof q->secret, hd.version,
                                               &remote->sa, addr_len(remote), &hd.dcid, RETRY_TIME, q->now);
    if (rv == NGTCP2_CRYPTO_ERR_VERIFY_TOKEN) {
      send_refusal(q, local, remote, &hd, NGTCP2_INVALID_TOKEN, 0);
      q->stats.dropped++;
      return;
    }
    if (rv == 0) {
      s.odcid = &odcid;
      s.token_type = NGTCP2_TOKEN_TYPE_RETRY;
      q->stats.retry_ok++;
    }
  } else if (hd.tokenlen && hd.token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_REGULAR) {
    if (ngtcp2_crypto_verify_regular_token(hd.token, hd.tokenlen, q->secret, sizeof q->secret, &remote->sa, addr_len(remote),
                                           TOKEN_TIME, q->now) == 0)
      s.token_type = NGTCP2_TOKEN_TYPE_NEW_TOKEN;
  }
  if (s.token_type == NGTCP2_TOKEN_TYPE_UNKNOWN && wants_proof(q, remote, from)) {
    send_retry(q, local, remote, &hd);
    return;
  }
  if (q->stop_err || (q->stats.conns >= q->cfg.max_conns && !accept_makes_room(q, false))) {
    int err = q->stop_err ? q->stop_err : MACULA_MAX_CLIENTS_REACHED;
    send_refusal(q, local, remote, &hd, NGTCP2_CONNECTION_REFUSED, err);
    q->stats.refused_full++;
    quic_refused(q, remote, NULL, err, slice_str(macula_err_text(err)));
    return;
  }
  if (q->stats.half_open >= q->cfg.max_half_open && !accept_makes_room(q, true) && !oldest_makes_room(q, remote)) {
    q->stats.refused_half_open++;
    quic_refused(q, remote, NULL, MACULA_MAX_CLIENTS_REACHED,
                 slice_str("too many connections are being made: it was not answered"));
    return;
  }
  if (q->cfg.later && q->later_bytes + dg.n > QUIC_LATER_BYTES) { /* as later_keeps would: it comes again */
    q->stats.later_dropped++;
    return;
  }
  struct quic_conn *c;
  if (conn_accept(q, local, remote, &s, &c)) {
    q->stats.dropped++;
    return;
  }
  q->stats.accepted++;
  count(c, -1);
  if (!later_keeps(c, local, remote, dg, ecn))
    conn_read(c, local, remote, dg, ecn);
  else
    conn_arm(c);
}

void quic_dial_only(struct quic *q, uint16_t port) {
  for (int i = 0; i < QUIC_DIAL_ONLY; i++)
    if (!q->dial_only[i]) {
      q->dial_only[i] = port;
      return;
    }
}

void accept_version(struct quic *q, const struct addr *local, const struct addr *remote, const ngtcp2_version_cid *vc) {
  static const uint32_t versions[] = {NGTCP2_PROTO_VER_V1, NGTCP2_PROTO_VER_V2};
  uint8_t pkt[600], any;
  rng_fill(q->cfg.rng, &any, 1);
  ngtcp2_ssize n =
      ngtcp2_pkt_write_version_negotiation(pkt, sizeof pkt, any, vc->scid, vc->scidlen, vc->dcid, vc->dcidlen, versions, 2);
  if (n <= 0) return;
  quic_raw(q, local, remote, pkt, (size_t)n);
  q->stats.version_negotiations++;
}

void accept_unknown(struct quic *q, const struct addr *local, const struct addr *remote, const ngtcp2_version_cid *vc,
                    size_t n) {
  uint8_t token[NGTCP2_STATELESS_RESET_TOKENLEN], pad[64], pkt[128];
  ngtcp2_cid cid;
  q->stats.dropped++;
  /* A reset is smaller than the datagram that it answers, so that two endpoints cannot send resets to each other for ever (RFC
   * 9000, 10.3.3). It is sent even for a PING of 30 bytes, as an idle client sends one to a node that was restarted. */
  size_t pad_len = (n > 43 ? 43 : n - 1) - sizeof token;
  if (n < sizeof token + NGTCP2_MIN_STATELESS_RESET_RANDLEN + 1 ||
      !bucket_take(&q->reset_rate, RESETS_A_SECOND, RESETS_A_SECOND, q->now))
    return;
  ngtcp2_cid_init(&cid, vc->dcid, vc->dcidlen);
  rng_fill(q->cfg.rng, pad, sizeof pad);
  if (ngtcp2_crypto_generate_stateless_reset_token(token, q->reset_secret, sizeof q->reset_secret, &cid)) return;
  ngtcp2_ssize len = ngtcp2_pkt_write_stateless_reset(pkt, sizeof pkt, token, pad, pad_len);
  if (len <= 0) return;
  quic_raw(q, local, remote, pkt, (size_t)len);
  q->stats.stateless_resets_sent++;
}
