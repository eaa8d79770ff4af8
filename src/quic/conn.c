/* Connections: making, reading, time, closing. internal.h draws the states. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "quic/internal.h"

#define PROBE_SILENCE (80 * NS_MS) /* a watched connection is probed after this, and */
#define PROBE_FREE 256u            /* while more than so many are watched, as much later as there are more */
#define SILENT_MIN (180 * NS_MS)
#define PTOS_MOST (10 * NS_SEC)
#define MAX_REASON 512u /* bytes kept of a reason phrase */

void conn_touch(struct quic_conn *c) {
  if (c->nc && list_empty(&c->dirty)) list_append(&c->q->dirty, &c->dirty);
}

void conn_event(struct quic_conn *c) {
  if (list_empty(&c->event)) list_append(&c->q->events, &c->event);
}

void conn_why(struct quic_conn *c, enum quic_close_reason reason, bool is_app, uint64_t code, int err, struct slice text) {
  if (c->why.err) return;
  struct mem *m = c->q->cfg.mem;
  if (text.n > MAX_REASON) text.n = MAX_REASON;
  c->why = (struct quic_close){reason, is_app, code, err ? err : MACULA_ECLOSED, SLICE_NONE};
  c->why_text = text.n ? mem_dup(m, text.p, text.n) : NULL;
  if (c->why_text) c->why.text = slice_of(c->why_text, text.n);
}

/* How long RFC 9000 keeps a closed connection (10.1, 10.2): three PTOs. The peer influences the PTO by how late it acknowledges
 * and by its max_ack_delay (up to 16 s), so the sum is capped. */
uint64_t conn_three_ptos(const struct quic_conn *c) {
  uint64_t three = 3 * ngtcp2_conn_get_pto(c->nc);
  return three < PTOS_MOST ? three : PTOS_MOST;
}

/* ---- making ----------------------------------------------------------------------------------------------------------------
 */

static struct quic_conn *conn_new(struct quic *q, const struct addr *local, const struct addr *remote, bool server) {
  struct quic_conn *c = mem_calloc(q->cfg.mem, 1, sizeof *c);
  if (!c) return NULL;
  c->q = q;
  c->nmem = share_mem(c);
  c->server = server;
  c->local = *local;
  c->remote = *remote;
  c->serial = ++q->serial;
  c->check_at = c->close_at = c->linger_at = TIME_NEVER;
  c->last_rx = q->now;
  c->peer_expiry = UINT64_MAX;
  c->keep_alive = server ? 0 : q->cfg.keep_alive;
  list_init(&c->dirty);
  list_init(&c->fresh);
  list_init(&c->event);
  list_init(&c->later);
  list_init(&c->streams);
  list_init(&c->ready);
  list_append(&q->conns, &c->all);
  q->total++;
  if (server) {
    c->half_open = true;
    q->stats.half_open++;
    list_append(&q->fresh, &c->fresh);
  } else {
    c->established = true; /* an outgoing connection counts as established from the start */
    q->stats.conns++;
  }
  if (heap_set(&q->timers, &c->timer, TIME_NEVER)) {
    conn_free(c);
    return NULL;
  }
  return c;
}

void conn_free(struct quic_conn *c) {
  struct quic *q = c->q;
  conn_end(c, 0);
  heap_remove(&q->timers, &c->timer);
  list_remove(&c->event);
  list_remove(&c->all);
  list_remove(&c->fresh);
  assert(q->total > 0 && (!c->half_open || q->stats.half_open > 0) && (!c->established || q->stats.conns > 0));
  q->total--;
  if (c->watch) q->watched--;
  if (c->half_open) q->stats.half_open--;
  if (c->established) q->stats.conns--;
  quic_identity_unref(c->identity);
  explicit_bzero(c->exporter, sizeof c->exporter);
  mem_free(q->cfg.mem, c->why_text);
  mem_free(q->cfg.mem, c->ticket);
  mem_free(q->cfg.mem, c->token);
  mem_free(q->cfg.mem, c->close_pkt);
  mem_free(q->cfg.mem, c);
}

static void settings_of(struct quic *q, ngtcp2_settings *s, ngtcp2_transport_params *p) {
  ngtcp2_settings_default(s);
  s->initial_ts = q->now;
  s->handshake_timeout = q->cfg.handshake_timeout;
  mtu_settings(q, s);
  s->rand_ctx.native_handle = q;
  ngtcp2_transport_params_default(p);
  p->initial_max_stream_data_bidi_local = p->initial_max_stream_data_bidi_remote = q->cfg.stream_window;
  p->initial_max_data = q->cfg.conn_window;
  p->initial_max_streams_bidi = q->cfg.max_streams;
  p->initial_max_streams_uni = q->cfg.one_way_streams;
  p->initial_max_stream_data_uni = q->cfg.one_way_window;
  p->max_idle_timeout = q->cfg.idle_timeout;
  mtu_taken(q, p);
  p->active_connection_id_limit = 2;
}

static ngtcp2_path path_of(const struct addr *local, const struct addr *remote) {
  return (ngtcp2_path){.local = {(ngtcp2_sockaddr *)&local->sa, addr_len(local)},
                       .remote = {(ngtcp2_sockaddr *)&remote->sa, addr_len(remote)}};
}

int conn_accept(struct quic *q, const struct addr *local, const struct addr *remote, const struct conn_server *s,
                struct quic_conn **ret_conn) {
  struct quic_conn *c = conn_new(q, local, remote, true);
  if (!c) return MACULA_ENOMEM;
  ngtcp2_settings set;
  ngtcp2_transport_params par;
  ngtcp2_callbacks cb;
  ngtcp2_cid scid;
  ngtcp2_path path = path_of(local, remote);
  settings_of(q, &set, &par);
  callbacks_set(&cb, true);
  set.token = s->hd->token;
  set.tokenlen = s->token_type == NGTCP2_TOKEN_TYPE_UNKNOWN ? 0 : s->hd->tokenlen;
  set.token_type = s->token_type;
  par.original_dcid = s->odcid ? *s->odcid : s->hd->dcid;
  par.original_dcid_present = 1;
  if (s->odcid) {
    par.retry_scid = s->hd->dcid;
    par.retry_scid_present = 1;
  }
  quic_new_cid(q, &scid, QUIC_CID_LEN);
  par.stateless_reset_token_present = 1;
  ngtcp2_conn *nc; /* a local: ngtcp2 may leave it dangling when it fails */
  if (ngtcp2_crypto_generate_stateless_reset_token(par.stateless_reset_token, q->reset_secret, sizeof q->reset_secret, &scid) ||
      cid_add(c, &q->cids, &c->scids, scid.data, scid.datalen) ||
      cid_add(c, &q->cids, &c->scids, s->hd->dcid.data,
              s->hd->dcid.datalen) || /* this id stays known: late copies of the Initial packet carry it */
      ngtcp2_conn_server_new(&nc, &s->hd->scid, &scid, &path, s->hd->version, &cb, &set, &par, &c->nmem, c))
    goto fail;
  c->nc = nc;
  if (tls_open(c, NULL)) goto fail;
  ngtcp2_conn_set_tls_native_handle(c->nc, c->tls);
  *ret_conn = c;
  return 0;
fail:
  conn_free(c);
  return MACULA_ENOMEM;
}

int quic_connect(struct quic *q, const struct quic_connect *o, nanotime now, struct quic_conn **ret_conn) {
  quic_advance(q, now);
  if (q->stats.conns >= q->cfg.max_conns && !accept_makes_room(q, false)) return MACULA_EFULL;
  if (!addr_len(&o->remote) || o->remote.sa.sa_family != o->local.sa.sa_family) return MACULA_EINVAL;
  struct quic_conn *c = conn_new(q, &o->local, &o->remote, false);
  if (!c) return MACULA_ENOMEM;
  c->user = o->user;
  c->insecure = o->insecure;
  if (o->expect) {
    c->expect = *o->expect;
    c->has_expect = true;
  }
  if (!o->no_cert) c->identity = quic_identity_ref(o->identity);
  ngtcp2_settings set;
  ngtcp2_transport_params par;
  ngtcp2_callbacks cb;
  ngtcp2_cid scid, dcid;
  ngtcp2_path path = path_of(&c->local, &c->remote);
  struct slice tls_data = o->ticket;
  settings_of(q, &set, &par);
  callbacks_set(&cb, false);
  if (o->ticket.n > 2) { /* as quic_conn_ticket made it: length and address token, session data */
    size_t n = (size_t)o->ticket.p[0] << 8 | o->ticket.p[1];
    if (n > o->ticket.n - 2) n = 0, tls_data = SLICE_NONE;
    if (n) {
      set.token = o->ticket.p + 2;
      set.tokenlen = n;
      set.token_type = NGTCP2_TOKEN_TYPE_NEW_TOKEN;
    }
    if (tls_data.n) tls_data = slice_of(o->ticket.p + 2 + n, o->ticket.n - 2 - n);
  }
  quic_new_cid(q, &scid, QUIC_CID_LEN);
  dcid.datalen = QUIC_INITIAL_CID;
  rng_fill(q->cfg.rng, dcid.data, dcid.datalen);
  ngtcp2_conn *nc; /* a local: ngtcp2 may leave it dangling when it fails */
  int err = MACULA_ENOMEM;
  if (cid_add(c, &q->cids, &c->scids, scid.data, scid.datalen) || cid_add(c, &q->dcids, &c->dcids, dcid.data, dcid.datalen) ||
      ngtcp2_conn_client_new(&nc, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1, &cb, &set, &par, &c->nmem, c))
    goto fail;
  c->nc = nc;
  err = tls_open(c, o);
  if (err) goto fail;
  if (tls_data.n > 2 && gnutls_session_set_data(c->tls, tls_data.p, tls_data.n) < 0) {
    tls_close(c); /* a bad ticket makes the TLS session unusable: start anew, with a full handshake */
    err = tls_open(c, o);
    if (err) goto fail;
  }
  ngtcp2_conn_set_tls_native_handle(c->nc, c->tls);
  conn_touch(c);
  *ret_conn = c;
  return 0;
fail:
  conn_free(c);
  return err;
}

/* ---- reading ---------------------------------------------------------------------------------------------------------------
 */

static int transport_err(uint64_t code, struct slice reason) {
  if (code >= NGTCP2_CRYPTO_ERROR && code <= NGTCP2_CRYPTO_ERROR + 0xff) return tls_err_of((uint8_t)code);
  int err = code == NGTCP2_CONNECTION_REFUSED ? err_from_name((const char *)reason.p, reason.n) : 0;
  return err ? err : MACULA_NOT_CONNECTED;
}

static void peer_closed(struct quic_conn *c) {
  const ngtcp2_ccerr *e = ngtcp2_conn_get_ccerr(c->nc);
  struct slice text = slice_of(e->reason, e->reasonlen);
  if (c->reset) {
    conn_why(c, QUIC_CLOSE_RESET, false, 0, MACULA_NOT_CONNECTED,
             slice_str("the peer does not know this connection (any more)"));
  } else if (e->type == NGTCP2_CCERR_TYPE_APPLICATION) {
    int err = err_from_app(e->error_code);
    conn_why(c, QUIC_CLOSE_PEER, true, e->error_code, err ? err : MACULA_NOT_CONNECTED, text);
  } else {
    enum quic_close_reason r = e->error_code == NGTCP2_NO_ERROR || e->error_code == NGTCP2_CONNECTION_REFUSED ||
                                       e->error_code == NGTCP2_APPLICATION_ERROR
                                   ? QUIC_CLOSE_PEER
                                   : QUIC_CLOSE_TRANSPORT;
    conn_why(c, r, false, e->error_code, transport_err(e->error_code, text), text);
  }
  /* the ids stay for late packets, so that these are not answered with a stateless reset */
  conn_end(c, c->reset ? 0 : conn_three_ptos(c));
}

void conn_fail(struct quic_conn *c, int liberr) {
  struct quic *q = c->q;
  switch (liberr) {
  case NGTCP2_ERR_DRAINING:
    peer_closed(c);
    return;
  case NGTCP2_ERR_IDLE_CLOSE:
    conn_why(c, QUIC_CLOSE_IDLE, false, 0, MACULA_NOT_CONNECTED, slice_str("idle timeout"));
    conn_end(c, 0);
    return;
  case NGTCP2_ERR_HANDSHAKE_TIMEOUT:
    conn_why(c, QUIC_CLOSE_DEAD, false, 0, MACULA_NOT_CONNECTED, slice_str("no answer to the handshake in time"));
    q->stats.handshakes_failed++;
    conn_end(c, 0);
    return;
  case NGTCP2_ERR_DROP_CONN:
  case NGTCP2_ERR_RETRY:
    conn_why(c, QUIC_CLOSE_TRANSPORT, false, 0, MACULA_NOT_CONNECTED, slice_str("the handshake failed"));
    conn_end(c, 0);
    return;
  case NGTCP2_ERR_RECV_VERSION_NEGOTIATION:
    conn_why(c, QUIC_CLOSE_TRANSPORT, false, 0, MACULA_UNSUPPORTED_VERSION,
             slice_str("the peer speaks no version of QUIC in common"));
    conn_end(c, 0);
    return;
  case NGTCP2_ERR_NOMEM:
    conn_why(c, QUIC_CLOSE_TRANSPORT, false, NGTCP2_INTERNAL_ERROR, MACULA_ENOMEM, slice_str("out of memory"));
    break;
  case NGTCP2_ERR_CRYPTO: {
    uint8_t alert = ngtcp2_conn_get_tls_alert(c->nc);
    const char *name = gnutls_alert_get_name((gnutls_alert_description_t)alert);
    int err = tls_err_of(alert);
    conn_why(c, QUIC_CLOSE_TRANSPORT, false, NGTCP2_CRYPTO_ERROR | alert, err, slice_str(name ? name : "TLS error"));
    break;
  }
  default: /* ngtcp2's numbers are not an enum */
    conn_why(c, QUIC_CLOSE_TRANSPORT, false, ngtcp2_err_infer_quic_transport_error_code(liberr),
             liberr == NGTCP2_ERR_CALLBACK_FAILURE ? MACULA_EINTERNAL : MACULA_NOT_CONNECTED,
             slice_str(ngtcp2_strerror(liberr)));
    break;
  }
  if (!c->opened) q->stats.handshakes_failed++;
  if (c->state < CONN_CLOSING) {
    c->state = CONN_CLOSING;
    conn_touch(c);
    conn_event(c);
  }
}

void conn_read(struct quic_conn *c, const struct addr *local, const struct addr *remote, struct slice dg, uint8_t ecn) {
  struct quic *q = c->q;
  if (!c->nc) { /* lingering: repeat the close packet, ever more rarely (RFC 9000, 10.2.1) */
    c->late++;
    if (c->close_pkt && (c->late & (c->late - 1)) == 0) quic_raw(q, &c->local, &c->remote, c->close_pkt, c->close_len);
    return;
  }
  if (c->state == CONN_CLOSING || !idle_may_read(c)) return;
  ngtcp2_path path = path_of(c->server ? local : &c->local, remote);
  ngtcp2_pkt_info pi = {.ecn = ecn};
  send_after_silence(c);
  int rv = ngtcp2_conn_read_pkt(c->nc, &path, &pi, dg.p, dg.n, q->now);
  if (rv) {
    conn_fail(c, rv);
    return;
  }
  idle_settle(c, dg.n);
  c->last_rx = q->now;
  c->unheard_at = 0;
  if (c->silent_told) {
    c->silent_told = false;
    c->ev_heard = true;
    conn_event(c);
  }
  c->check_at = TIME_NEVER;
  conn_touch(c);
  if (c->server && !addr_eq(remote, &c->remote)) {
    const ngtcp2_path *now = ngtcp2_conn_get_path(c->nc);
    if (now->remote.addrlen == addr_len(remote) && memcmp(now->remote.addr, &remote->sa, now->remote.addrlen) == 0) {
      c->remote = *remote;
      c->local = *local;
      q->stats.migrations++;
    }
  }
  if (c->tls && c->confirmed && (c->server || c->ticket)) tls_close(c);
}

/* ---- time ------------------------------------------------------------------------------------------------------------------
 */

uint64_t conn_effective_keep_alive(const struct quic_conn *c) {
  uint32_t watched = c->q->watched;
  uint64_t probe = watched > PROBE_FREE ? PROBE_SILENCE / PROBE_FREE * watched : PROBE_SILENCE;
  return c->watch && (!c->keep_alive || c->keep_alive > probe) ? probe : c->keep_alive;
}

static void set_keep_alive(struct quic_conn *c) {
  if (!c->nc || !c->opened) return;
  uint64_t ka = c->ping_at ? 1 : conn_effective_keep_alive(c);
  ngtcp2_conn_set_keep_alive_timeout(c->nc, ka ? ka : UINT64_MAX);
  conn_touch(c);
}

static nanotime silent_at(const struct quic_conn *c) {
  if (!c->watch || c->silent_told || !c->unheard_at || !c->nc || c->state != CONN_OPEN) return TIME_NEVER;
  uint64_t wait = conn_three_ptos(c);
  nanotime since = c->unheard_at > c->watch_at ? c->unheard_at : c->watch_at;
  return time_add(since, wait > SILENT_MIN ? wait : SILENT_MIN);
}

/* When an idle connection ends at the latest. ngtcp2 ends idle connections, but waits for at least three PTOs, which a peer can
 * make very long. The extra half of the timeout is for data that was sent after the peer's last packet: it restarts ngtcp2's
 * idle timer. */
static nanotime idle_at(const struct quic_conn *c) {
  uint64_t wait = c->q->cfg.idle_timeout / 2 * 3;
  if (!c->opened) return TIME_NEVER; /* the handshake has a timeout of its own */
  return time_add(c->last_rx, wait > PTOS_MOST ? wait : PTOS_MOST);
}

void conn_arm(struct quic_conn *c) {
  nanotime at = c->linger_at;
  if (conn_alive(c)) {
    at = ngtcp2_conn_get_expiry(c->nc);
    at = time_min(at, time_min(c->check_at, c->close_at));
    at = time_min(at, time_min(silent_at(c), idle_at(c)));
    at = time_min(at, mtu_at(c));
  }
  if (at != TIME_NEVER) at = at > TIME_NEVER - QUIC_TICK ? TIME_NEVER : (at + QUIC_TICK - 1) / QUIC_TICK * QUIC_TICK;
  (void)heap_set(&c->q->timers, &c->timer, at); /* the timer is in the heap already: moving it cannot fail */
}

static bool in_flight(const struct quic_conn *c) {
  size_t unsent = 0;
  list_for(it, &c->streams) unsent += container_of(it, const struct stream, link)->unsent;
  return c->queued > unsent;
}

void conn_tick(struct quic_conn *c) {
  struct quic *q = c->q;
  if (c->linger_at <= q->now) {
    c->linger_at = TIME_NEVER;
    conn_end(c, 0);
    return;
  }
  if (!conn_alive(c)) {
    conn_arm(c);
    return;
  }
  if (c->check_at <= q->now) {
    conn_why(c, QUIC_CLOSE_DEAD, false, 0, MACULA_NOT_CONNECTED,
             slice_str(c->no_port ? "the peer's host says that nobody listens there (ICMP)"
                                  : "the network says that the peer's host cannot be reached"));
    if (!c->opened) q->stats.handshakes_failed++;
    conn_end(c, 0);
    return;
  }
  if (idle_at(c) <= q->now) {
    conn_fail(c, NGTCP2_ERR_IDLE_CLOSE);
    return;
  }
  if (c->close_at <= q->now && c->close_at < c->await_until && !in_flight(c)) {
    c->close_at = c->await_until; /* the peer has all that it gave credit for */
    conn_arm(c);
  }
  if (c->close_at <= q->now) {
    quic_conn_close(c, c->why.err, NULL);
    return;
  }
  if (silent_at(c) <= q->now) {
    c->silent_told = true;
    if (q->cfg.handler.silent) q->cfg.handler.silent(q->cfg.ctx, c);
  }
  if (conn_alive(c) && c->watch && !c->ping_at) set_keep_alive(c); /* more of them may be watched, or fewer */
  if (conn_alive(c)) mtu_tick(c); /* before ngtcp2's timer, so that what that repeats already goes in small datagrams */
  if (conn_alive(c)) send_after_silence(c);
  if (conn_alive(c) && ngtcp2_conn_get_expiry(c->nc) <= q->now) {
    int rv = ngtcp2_conn_handle_expiry(c->nc, q->now);
    if (rv) {
      conn_fail(c, rv);
      return;
    }
  }
  conn_touch(c);
}

void quic_conn_keep_alive(struct quic_conn *c, uint64_t every) {
  c->keep_alive = every;
  set_keep_alive(c);
}

bool quic_conn_silent(const struct quic_conn *c) { return c->watch && c->silent_told; }

uint64_t quic_conn_unheard(const struct quic_conn *c) { return quic_conn_silent(c) ? time_since(c->q->now, c->unheard_at) : 0; }

void quic_conn_watch(struct quic_conn *c, bool on) {
  if (c->watch == on) return;
  assert(on || c->q->watched > 0);
  c->q->watched += on ? 1 : UINT32_MAX;
  c->watch = on;
  c->watch_at = c->q->now;
  c->silent_told = false;
  set_keep_alive(c);
}

void quic_conn_ping(struct quic_conn *c) {
  c->ping_at = c->q->now;
  set_keep_alive(c);
}

void quic_conn_key_update(struct quic_conn *c) {
  if (conn_alive(c) && ngtcp2_conn_initiate_key_update(c->nc, c->q->now) == 0) conn_touch(c);
}

/* ---- closing ---------------------------------------------------------------------------------------------------------------
 */

static void keep_offsets(struct quic_conn *c) {
  int n = 0;
  list_for(it, &c->streams) {
    int64_t id = container_of(it, const struct stream, link)->id;
    if (n == QUIC_ENDED || !quic_stream_offsets(c, id, &c->ended[n].at)) continue;
    c->ended[n].id = id;
    n += c->ended[n].at.written > 0;
  }
}

void conn_end(struct quic_conn *c, uint64_t linger) {
  struct quic *q = c->q;
  later_forget(c);
  list_remove(&c->dirty);
  tls_close(c);
  keep_offsets(c);
  while (!list_empty(&c->streams)) stream_free(container_of(c->streams.next, struct stream, link));
  ngtcp2_conn_del(c->nc);
  c->nc = NULL;
  cid_clear(c, &q->dcids, &c->dcids);
  cid_clear(c, &q->tokens, &c->tokens);
  if (linger) {
    assert(c->state < CONN_LINGER);
    c->state = CONN_LINGER;
    c->linger_at = time_add(q->now, linger);
    list_append(&q->lingering[c->half_open], &c->dirty);
  } else {
    c->state = CONN_GONE;
    c->linger_at = TIME_NEVER;
    cid_clear(c, &q->cids, &c->scids);
  }
  if (c->timer.pos) conn_arm(c);
  conn_event(c);
}

void conn_deliver(struct quic_conn *c) {
  struct quic *q = c->q;
  if (c->ev_acked) {
    c->ev_acked = false;
    if (conn_alive(c) && q->cfg.handler.acked) q->cfg.handler.acked(q->cfg.ctx, c);
  }
  if (c->ev_heard) {
    c->ev_heard = false;
    if (conn_alive(c) && !c->silent_told && q->cfg.handler.heard) q->cfg.handler.heard(q->cfg.ctx, c);
  }
  if (c->state >= CONN_CLOSING && !c->told) {
    c->told = true;
    bool tell = c->opened || !c->server;
    if (log_on(q->cfg.log, LOG_DEBUG))
      log_line(q->cfg.log, LOG_DEBUG, "conn_closed", "conn=%llu opened=%d err=%s text=\"%.*s\"", (unsigned long long)c->serial,
               c->opened, macula_err_name(c->why.err), (int)c->why.text.n, (const char *)c->why.text.p);
    if (tell && q->cfg.handler.conn_closed) q->cfg.handler.conn_closed(q->cfg.ctx, c, &c->why);
    if (!tell && (c->why.reason == QUIC_CLOSE_LOCAL || c->why.reason == QUIC_CLOSE_TRANSPORT))
      quic_refused(q, &c->remote, c->has_peer ? &c->peer : NULL, c->why.err, c->why.text);
  }
  if (c->state == CONN_GONE && c->told) conn_free(c);
}

void quic_conn_close(struct quic_conn *c, int err, const char *text) {
  if (!conn_alive(c)) return;
  conn_why(c, QUIC_CLOSE_LOCAL, true, (uint64_t)(err < 0 ? -err : 0), err, slice_str(text));
  c->state = CONN_CLOSING;
  conn_touch(c);
  conn_event(c);
}

void quic_conn_close_after(struct quic_conn *c, int err, const char *text, nanotime deadline) {
  if (!conn_alive(c) || c->closing_after) return;
  conn_why(c, QUIC_CLOSE_LOCAL, true, (uint64_t)(err < 0 ? -err : 0), err, slice_str(text));
  c->closing_after = true;
  c->close_at = deadline;
  conn_touch(c);
  conn_maybe_close_after(c);
}

void quic_conn_drop(struct quic_conn *c) { conn_free(c); }

void conn_maybe_close_after(struct quic_conn *c) {
  if (!c->closing_after || c->queued || c->more) return;
  if (!c->await_until)
    quic_conn_close(c, c->why.err, NULL);
  else if (c->close_at != c->await_until)
    c->close_at = c->await_until, conn_touch(c);
}

void quic_conn_await_close(struct quic_conn *c, nanotime until) {
  if (!conn_alive(c)) return;
  c->await_until = until;
  conn_maybe_close_after(c);
}

bool quic_is_awaiting(const struct quic *q) {
  list_for(it, &q->conns) {
    const struct quic_conn *c = container_of(it, const struct quic_conn, all);
    if (conn_alive(c) && c->await_until && !in_flight(c)) return true;
  }
  return false;
}

/* ---- looking ---------------------------------------------------------------------------------------------------------------
 */

void conn_admit(struct quic_conn *c) {
  if (!c->half_open) return;
  share_admit(c);
  c->half_open = false;
  list_remove(&c->fresh);
  c->q->stats.half_open--;
}

void quic_conn_admit(struct quic_conn *c) {
  accept_admitted(c);
  conn_admit(c);
}

void quic_conn_set_user(struct quic_conn *c, void *user) { c->user = user; }
void *quic_conn_user(const struct quic_conn *c) { return c->user; }
struct quic *quic_conn_endpoint(const struct quic_conn *c) {
  return c->q;
}
bool quic_conn_is_server(const struct quic_conn *c) { return c->server; }
uint64_t quic_conn_serial(const struct quic_conn *c) { return c->serial; }
const struct id *quic_conn_peer_id(const struct quic_conn *c) { return c->has_peer ? &c->peer : NULL; }
const uint8_t *quic_conn_exporter(const struct quic_conn *c) { return c->opened ? c->exporter : NULL; }
bool quic_conn_peer_is_short(const struct quic_conn *c) { return c->peer_is_short; }
uint64_t quic_conn_peer_expiry(const struct quic_conn *c) { return c->peer_expiry; }
const struct addr *quic_conn_remote(const struct quic_conn *c) { return &c->remote; }
bool quic_conn_resumed(const struct quic_conn *c) { return c->resumed; }

uint64_t quic_conn_rtt(const struct quic_conn *c) {
  if (!c->nc) return 0;
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info(c->nc, &info);
  return info.smoothed_rtt;
}

size_t quic_conn_allowed(const struct quic_conn *c) {
  if (!c->nc) return 0;
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info(c->nc, &info);
  return info.cwnd;
}

size_t quic_conn_ticket(struct quic_conn *c, uint8_t **ret_ticket) {
  if (!c->ticket) return 0;
  size_t n = 2 + c->token_len + c->ticket_len;
  uint8_t *p = malloc(n);
  if (!p) return 0;
  p[0] = (uint8_t)(c->token_len >> 8);
  p[1] = (uint8_t)c->token_len;
  if (c->token_len) memcpy(p + 2, c->token, c->token_len);
  memcpy(p + 2 + c->token_len, c->ticket, c->ticket_len);
  *ret_ticket = p;
  return n;
}
