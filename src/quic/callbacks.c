/* What ngtcp2 calls. Handlers of the owner run from here; nothing here frees the connection or its TLS session. */
#include "quic/internal.h"

#define KEEP_ALIVE_LEAST (100 * NS_MS) /* between PINGs */

static int client_initial(ngtcp2_conn *nc, void *user) { return ngtcp2_crypto_client_initial_cb(nc, user); }

static int recv_crypto_data(ngtcp2_conn *nc, ngtcp2_encryption_level level, uint64_t offset, const uint8_t *p, size_t n,
                            void *user) {
  const struct quic_conn *c = user;
  if (c->tls) return ngtcp2_crypto_recv_crypto_data_cb(nc, level, offset, p, n, user);
  return c->server ? NGTCP2_ERR_PROTO : 0; /* after the handshake a server may send more tickets, but a client nothing */
}

static int handshake_completed(ngtcp2_conn *nc, void *user) {
  struct quic_conn *c = user;
  struct quic *q = c->q;
  c->resumed = gnutls_session_is_resumed(c->tls) != 0;
  /* a resumed session checks no certificate in TLS: the one in the ticket is checked here */
  if (!c->peer_checked && tls_check_peer(c)) return NGTCP2_ERR_CALLBACK_FAILURE;
  static const char label[] = "EXPORTER-macula-token";
  if (gnutls_prf_rfc5705(c->tls, sizeof label - 1, label, 0, NULL, sizeof c->exporter, (char *)c->exporter) < 0)
    return NGTCP2_ERR_CALLBACK_FAILURE;
  if (c->server) {
    uint8_t token[NGTCP2_CRYPTO_MAX_REGULAR_TOKENLEN];
    c->confirmed = true;
    (void)gnutls_session_ticket_send(c->tls, 1, 0); /* a failure only means that the client cannot resume */
    ngtcp2_ssize n =
        ngtcp2_crypto_generate_regular_token(token, q->secret, sizeof q->secret, &c->remote.sa, addr_len(&c->remote), q->now);
    if (n > 0) (void)ngtcp2_conn_submit_new_token(nc, token, (size_t)n);
    bool full = q->stats.conns >= q->cfg.max_conns && !accept_makes_room(q, false);
    int err = q->stop_err ? q->stop_err : full ? MACULA_MAX_CLIENTS_REACHED : 0;
    if (err) {
      q->stats.refused_full++;
      quic_conn_close(c, err, macula_err_text(err));
      return 0;
    }
    c->established = true;
    q->stats.conns++;
  }
  if (c->resumed) q->stats.resumed++;
  if (!c->server) {
    const ngtcp2_cid *first = ngtcp2_conn_get_client_initial_dcid(nc);
    cid_remove(c, &q->dcids, &c->dcids, first->data, first->datalen);
  }
  if (c->state != CONN_HANDSHAKE) return 0;
  c->state = CONN_OPEN;
  c->opened = true;
  /* The peer's idle timeout counts as well as ours; one that is absurdly short makes nobody ping without end. */
  const ngtcp2_transport_params *peer = ngtcp2_conn_get_remote_transport_params(nc);
  uint64_t half = peer ? peer->max_idle_timeout / 2 : 0;
  if (half && half < KEEP_ALIVE_LEAST) half = KEEP_ALIVE_LEAST;
  if (half && c->keep_alive > half) c->keep_alive = half;
  uint64_t ka = conn_effective_keep_alive(c);
  ngtcp2_conn_set_keep_alive_timeout(nc, ka ? ka : UINT64_MAX);
  if (q->cfg.handler.conn_open) q->cfg.handler.conn_open(q->cfg.ctx, c);
  return 0;
}

static int handshake_confirmed(ngtcp2_conn *nc, void *user) {
  (void)nc;
  ((struct quic_conn *)user)->confirmed = true;
  return 0;
}

static int recv_stream_data(ngtcp2_conn *nc, uint32_t flags, int64_t id, uint64_t offset, const uint8_t *p, size_t n,
                            void *user, void *stream_user) {
  (void)nc, (void)offset;
  struct quic_conn *c = user;
  const struct stream *s = stream_user;
  if (c->state != CONN_OPEN) return 0;
  if (!s || s->told) { /* the stream was reset: the owner no longer gives its bytes back as credit, so do it here */
    if (n) quic_consume(c, id, n);
    return 0;
  }
  c->moved += (uint32_t)n;
  c->q->cfg.handler.stream_data(c->q->cfg.ctx, c, id, slice_of(p, n), flags & NGTCP2_STREAM_DATA_FLAG_FIN);
  return 0;
}

static int acked(ngtcp2_conn *nc, int64_t id, uint64_t offset, uint64_t n, void *user, void *stream_user) {
  (void)nc, (void)id, (void)offset;
  struct quic_conn *c = user;
  if (!stream_user || !n) return 0;
  c->moved += (uint32_t)n;
  stream_acked(stream_user, n);
  if (c->q->cfg.handler.acked && !c->ev_acked) {
    c->ev_acked = true;
    conn_event(c);
  }
  conn_maybe_close_after(c);
  return 0;
}

static int stream_open(ngtcp2_conn *nc, int64_t id, void *user) {
  struct stream *s = stream_new(user, id);
  return !s || ngtcp2_conn_set_stream_user_data(nc, id, s) ? NGTCP2_ERR_CALLBACK_FAILURE : 0;
}

static void tell_closed(struct quic_conn *c, struct stream *s, uint64_t app_error) {
  if (s->told) return;
  s->told = true;
  if (c->state == CONN_OPEN) c->q->cfg.handler.stream_closed(c->q->cfg.ctx, c, s->id, app_error);
}

static int stream_close(ngtcp2_conn *nc, uint32_t flags, int64_t id, uint64_t app_error, void *user, void *stream_user) {
  struct quic_conn *c = user;
  bool local = ngtcp2_conn_is_local_stream(nc, id);
  if (!local && ngtcp2_is_bidi_stream(id)) c->streams_owed++;
  if (!local && !ngtcp2_is_bidi_stream(id) && c->one_way_anew) ngtcp2_conn_extend_max_streams_uni(nc, 1);
  if (!c->streams_held) conn_give_streams(c);
  if (!stream_user) return 0;
  tell_closed(c, stream_user, flags & NGTCP2_STREAM_CLOSE_FLAG_APP_ERROR_CODE_SET ? app_error : 0);
  stream_free(stream_user);
  conn_maybe_close_after(c);
  return 0;
}

static int stream_gone(struct quic_conn *c, int64_t id, uint64_t app_error, struct stream *s) {
  if (!s) return 0;
  if (!s->shut) stream_shut(s);
  tell_closed(c, s, app_error);
  conn_maybe_close_after(c);
  if (c->nc && !quic_stream_is_one_way(id)) stream_abandon(c, id, app_error); /* the other direction, too */
  return 0;
}

static int stream_reset(ngtcp2_conn *nc, int64_t id, uint64_t final_size, uint64_t app_error, void *user, void *stream_user) {
  (void)nc, (void)final_size;
  return stream_gone(user, id, app_error, stream_user);
}

static int stream_stop(ngtcp2_conn *nc, int64_t id, uint64_t app_error, void *user, void *stream_user) {
  (void)nc;
  return stream_gone(user, id, app_error, stream_user);
}

static int extend_stream(ngtcp2_conn *nc, int64_t id, uint64_t max, void *user, void *stream_user) {
  (void)nc, (void)id, (void)max;
  struct quic_conn *c = user;
  struct stream *s = stream_user;
  if (!s || s->shut) return 0;
  s->blocked = false;
  s->credited = c->q->now;
  if ((s->next || (s->fin && !s->fin_sent)) && list_empty(&s->ready)) list_append(&c->ready, &s->ready);
  return 0;
}

static int recv_reset(ngtcp2_conn *nc, const ngtcp2_pkt_stateless_reset *sr, void *user) {
  (void)nc, (void)sr;
  ((struct quic_conn *)user)->reset = true;
  return 0;
}

static void random_bytes(uint8_t *dest, size_t n, const ngtcp2_rand_ctx *ctx) {
  const struct quic *q = ctx->native_handle;
  rng_fill(q->cfg.rng, dest, n);
}

static int new_cid(ngtcp2_conn *nc, ngtcp2_cid *cid, uint8_t *token, size_t len, void *user) {
  (void)nc;
  struct quic_conn *c = user;
  struct quic *q = c->q;
  quic_new_cid(q, cid, len);
  return ngtcp2_crypto_generate_stateless_reset_token(token, q->reset_secret, sizeof q->reset_secret, cid) ||
                 cid_add(c, &q->cids, &c->scids, cid->data, cid->datalen)
             ? NGTCP2_ERR_CALLBACK_FAILURE
             : 0;
}

static int remove_cid(ngtcp2_conn *nc, const ngtcp2_cid *cid, void *user) {
  (void)nc;
  struct quic_conn *c = user;
  cid_remove(c, &c->q->cids, &c->scids, cid->data, cid->datalen);
  return 0;
}

static int dcid_status(ngtcp2_conn *nc, ngtcp2_connection_id_status_type type, uint64_t seq, const ngtcp2_cid *cid,
                       const uint8_t *token, void *user) {
  (void)nc, (void)seq;
  struct quic_conn *c = user;
  struct quic *q = c->q;
  switch (type) {
  /* without memory for the id, only the check of ICMP errors or of resets is lost */
  case NGTCP2_CONNECTION_ID_STATUS_TYPE_ACTIVATE:
    if (cid->datalen) (void)cid_add(c, &q->dcids, &c->dcids, cid->data, cid->datalen);
    if (token) (void)cid_add(c, &q->tokens, &c->tokens, token, NGTCP2_STATELESS_RESET_TOKENLEN);
    break;
  case NGTCP2_CONNECTION_ID_STATUS_TYPE_DEACTIVATE:
    cid_remove(c, &q->dcids, &c->dcids, cid->data, cid->datalen);
    if (token) cid_remove(c, &q->tokens, &c->tokens, token, NGTCP2_STATELESS_RESET_TOKENLEN);
    break;
  }
  return 0;
}

static int recv_token(ngtcp2_conn *nc, const uint8_t *token, size_t n, void *user) {
  (void)nc;
  struct quic_conn *c = user;
  if (n > 512) return 0;
  uint8_t *copy = mem_dup(c->q->cfg.mem, token, n);
  if (!copy) return 0;
  mem_free(c->q->cfg.mem, c->token);
  c->token = copy;
  c->token_len = (uint16_t)n;
  return 0;
}

static int update_key(ngtcp2_conn *nc, uint8_t *rx_secret, uint8_t *tx_secret, ngtcp2_crypto_aead_ctx *rx_ctx, uint8_t *rx_iv,
                      ngtcp2_crypto_aead_ctx *tx_ctx, uint8_t *tx_iv, const uint8_t *rx_now, const uint8_t *tx_now, size_t n,
                      void *user) {
  struct quic_conn *c = user;
  /* keys are derived one update ahead: the first call only prepares them and is no update */
  if (c->key_ready) c->q->stats.key_updates++;
  c->key_ready = true;
  return ngtcp2_crypto_update_key_cb(nc, rx_secret, tx_secret, rx_ctx, rx_iv, tx_ctx, tx_iv, rx_now, tx_now, n, user);
}

static int path_challenge(ngtcp2_conn *nc, uint8_t *data, void *user) {
  (void)nc;
  const struct quic_conn *c = user;
  rng_fill(c->q->cfg.rng, data, NGTCP2_PATH_CHALLENGE_DATALEN);
  return 0;
}

void callbacks_set(ngtcp2_callbacks *ret_cb, bool server) {
  *ret_cb = (ngtcp2_callbacks){
      .client_initial = server ? NULL : client_initial,
      .recv_client_initial = server ? ngtcp2_crypto_recv_client_initial_cb : NULL,
      .recv_crypto_data = recv_crypto_data,
      .handshake_completed = handshake_completed,
      .handshake_confirmed = handshake_confirmed,
      .encrypt = ngtcp2_crypto_encrypt_cb,
      .decrypt = ngtcp2_crypto_decrypt_cb,
      .hp_mask = ngtcp2_crypto_hp_mask_cb,
      .recv_stream_data = recv_stream_data,
      .acked_stream_data_offset = acked,
      .stream_open = stream_open,
      .stream_close = stream_close,
      .stream_reset = stream_reset,
      .stream_stop_sending = stream_stop,
      .extend_max_stream_data = extend_stream,
      .recv_stateless_reset = recv_reset,
      .recv_retry = server ? NULL : ngtcp2_crypto_recv_retry_cb,
      .recv_new_token = server ? NULL : recv_token,
      .rand = random_bytes,
      .get_new_connection_id = new_cid,
      .remove_connection_id = remove_cid,
      .dcid_status = dcid_status,
      .update_key = update_key,
      .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
      .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
      .get_path_challenge_data = path_challenge,
      .version_negotiation = ngtcp2_crypto_version_negotiation_cb,
  };
}
