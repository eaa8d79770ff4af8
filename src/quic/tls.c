/* TLS 1.3 sessions (RFC 8446, RFC 9001): who the peer is, resumption, and nothing kept that is not needed. */
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <stdio.h>

#include "quic/internal.h"

#define PRIORITY                                                                                                               \
  "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:-GROUP-ALL:+GROUP-X25519:"           \
  "+GROUP-SECP256R1:+GROUP-SECP384R1:%DISABLE_TLS13_COMPAT_MODE"
#define TICKET_KEY_LIFE (24 * 3600 * NS_SEC)
#define CHAIN_MAX 8

enum { /* RFC 8446, section 6 */
       ALERT_BAD_CERTIFICATE = 42,
       ALERT_UNSUPPORTED_CERTIFICATE = 43,
       ALERT_CERTIFICATE_REVOKED = 44,
       ALERT_CERTIFICATE_EXPIRED = 45,
       ALERT_CERTIFICATE_UNKNOWN = 46,
       ALERT_UNKNOWN_CA = 48,
       ALERT_ACCESS_DENIED = 49,
       ALERT_CERTIFICATE_REQUIRED = 116,
       ALERT_NO_APPLICATION_PROTOCOL = 120,
};

uint8_t tls_alert_of(int err) {
  return err == MACULA_CERTIFICATE_EXPIRED ? ALERT_CERTIFICATE_EXPIRED
         : err == MACULA_NOT_AUTHORIZED    ? ALERT_CERTIFICATE_REQUIRED
                                           : ALERT_BAD_CERTIFICATE;
}

int tls_err_of(uint8_t alert) {
  switch (alert) {
  case ALERT_CERTIFICATE_EXPIRED:
    return MACULA_CERTIFICATE_EXPIRED;
  case ALERT_BAD_CERTIFICATE:
  case ALERT_UNSUPPORTED_CERTIFICATE:
  case ALERT_CERTIFICATE_REVOKED:
  case ALERT_CERTIFICATE_UNKNOWN:
  case ALERT_UNKNOWN_CA:
    return MACULA_CERTIFICATE_INVALID;
  case ALERT_ACCESS_DENIED:
  case ALERT_CERTIFICATE_REQUIRED:
    return MACULA_NOT_AUTHORIZED;
  case ALERT_NO_APPLICATION_PROTOCOL:
    return MACULA_UNSUPPORTED_VERSION;
  default:
    return MACULA_NOT_CONNECTED;
  }
}

/* Our verdict: remembered for the owner, and the alert that the peer reads. */
static int refuse(struct quic_conn *c, int err, const char *text) {
  conn_why(c, QUIC_CLOSE_TRANSPORT, false, NGTCP2_CRYPTO_ERROR | tls_alert_of(err), err, slice_str(text));
  if (c->nc) ngtcp2_conn_set_tls_alert(c->nc, tls_alert_of(err));
  return err;
}

static int check_chain(struct quic_conn *c, gnutls_x509_crt_t *crts, unsigned count) {
  size_t n = sizeof c->peer.b;
  if (gnutls_x509_crt_get_key_id(crts[0], GNUTLS_KEYID_USE_SHA256, c->peer.b, &n) < 0 || n != sizeof c->peer.b)
    return refuse(c, MACULA_CERTIFICATE_INVALID, "the peer's public key cannot be read");
  c->has_peer = true;
  uint64_t now = c->q->cfg.unix_base_s + c->q->now / NS_SEC;
  time_t end = gnutls_x509_crt_get_expiration_time(crts[0]), begin = gnutls_x509_crt_get_activation_time(crts[0]);
  c->peer_expiry = end == (time_t)-1 || end >= (time_t)253402300799 /* RFC 5280, 4.1.2.5: none */ ? UINT64_MAX : (uint64_t)end;
  if (!c->insecure && c->q->cfg.unix_base_s && (now > c->peer_expiry || (begin > 0 && now < (uint64_t)begin)))
    return refuse(c, MACULA_CERTIFICATE_EXPIRED, "the peer's certificate is outside its time");
  if (c->has_expect && !id_eq(&c->expect, &c->peer)) {
    char want[ID_HEX_LEN + 1], have[ID_HEX_LEN + 1], text[160];
    id_hex(&c->expect, want);
    id_hex(&c->peer, have);
    snprintf(text, sizeof text, "expected %s, found %s", want, have);
    return refuse(c, MACULA_IDENTITY_MISMATCH, text);
  }
  if (c->q->ca && !c->insecure) {
    unsigned status = 0;
    if (gnutls_x509_trust_list_verify_crt(c->q->ca, crts, count, 0, &status, NULL) < 0 || status)
      return refuse(c, MACULA_CERTIFICATE_INVALID, "the peer's certificate is not issued by the given authority");
  }
  return 0;
}

int tls_check_peer(struct quic_conn *c) {
  unsigned n = 0, count = 0;
  gnutls_x509_crt_t crts[CHAIN_MAX];
  const gnutls_datum_t *list = gnutls_certificate_get_peers(c->tls, &n);
  c->peer_checked = true;
  if (!list || n == 0) {
    if (c->server && !c->q->cfg.require_cert) return 0;
    return refuse(c, MACULA_NOT_AUTHORIZED, "the peer shows no certificate");
  }
  int err = 0;
  for (; !err && count < n && count < CHAIN_MAX; count++) {
    if (gnutls_x509_crt_init(&crts[count]) < 0) {
      err = refuse(c, MACULA_ENOMEM, "out of memory");
      break;
    }
    if (gnutls_x509_crt_import(crts[count], &list[count], GNUTLS_X509_FMT_DER) < 0)
      err = refuse(c, MACULA_CERTIFICATE_INVALID, "the peer's certificate cannot be read");
  }
  if (!err) err = check_chain(c, crts, count);
  while (count) gnutls_x509_crt_deinit(crts[--count]);
  return err;
}

static struct quic_conn *conn_of(gnutls_session_t s) {
  ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(s);
  return ref->user_data;
}

static int on_verify(gnutls_session_t s) { return tls_check_peer(conn_of(s)) ? GNUTLS_E_CERTIFICATE_ERROR : 0; }

static int on_ticket(gnutls_session_t s, unsigned type, unsigned when, unsigned incoming, const gnutls_datum_t *msg) {
  (void)type, (void)when, (void)incoming, (void)msg;
  struct quic_conn *c = conn_of(s);
  gnutls_datum_t d = {0};
  if (gnutls_session_get_data2(s, &d) < 0) return 0;
  uint8_t *p = mem_dup(c->q->cfg.mem, d.data, d.size);
  gnutls_memset(d.data, 0, d.size);
  if (p) { /* without memory there is no resumption, nothing worse */
    mem_free(c->q->cfg.mem, c->ticket);
    c->ticket = p;
    c->ticket_len = d.size;
  }
  gnutls_free(d.data);
  return 0;
}

static void forget_ticket_key(struct quic *q) {
  if (!q->ticket_key.data) return;
  gnutls_memset(q->ticket_key.data, 0, q->ticket_key.size);
  gnutls_free(q->ticket_key.data);
  q->ticket_key = (gnutls_datum_t){0};
}

void tls_new_ticket_key(struct quic *q) {
  forget_ticket_key(q);
  if (gnutls_session_ticket_key_generate(&q->ticket_key) < 0) q->ticket_key = (gnutls_datum_t){0};
  q->ticket_key_at = q->now;
}

int tls_init(struct quic *q) {
  if (gnutls_priority_init(&q->prio, PRIORITY, NULL) < 0) return MACULA_EINTERNAL;
  if (gnutls_certificate_allocate_credentials(&q->no_cred) < 0) return MACULA_ENOMEM;
  return tls_set_ca(q, q->cfg.ca_pem);
}

void tls_done(struct quic *q) {
  if (q->prio) gnutls_priority_deinit(q->prio);
  if (q->no_cred) gnutls_certificate_free_credentials(q->no_cred);
  if (q->ca) gnutls_x509_trust_list_deinit(q->ca, 1);
  forget_ticket_key(q);
}

int tls_set_ca(struct quic *q, const char *pem) {
  gnutls_x509_trust_list_t ca;
  if (!pem) return 0;
  if (gnutls_x509_trust_list_init(&ca, 0) < 0) return MACULA_ENOMEM;
  gnutls_datum_t d = {(unsigned char *)pem, (unsigned)strlen(pem)};
  if (gnutls_x509_trust_list_add_trust_mem(ca, &d, NULL, GNUTLS_X509_FMT_PEM, 0, 0) < 1) {
    gnutls_x509_trust_list_deinit(ca, 1);
    return MACULA_CERTIFICATE_INVALID;
  }
  if (q->ca) gnutls_x509_trust_list_deinit(q->ca, 1);
  q->ca = ca;
  return 0;
}

static ngtcp2_conn *get_conn(ngtcp2_crypto_conn_ref *ref) { return ((struct quic_conn *)ref->user_data)->nc; }

int tls_open(struct quic_conn *c, const struct quic_connect *o) {
  static const gnutls_datum_t alpn = {(unsigned char *)"macula", 6};
  struct quic *q = c->q;
  unsigned flags = c->server ? GNUTLS_SERVER | GNUTLS_NO_AUTO_SEND_TICKET : GNUTLS_CLIENT;
  if (gnutls_init(&c->tls, flags | GNUTLS_NO_END_OF_EARLY_DATA) < 0) {
    c->tls = NULL;
    return MACULA_ENOMEM;
  }
  c->ref = (ngtcp2_crypto_conn_ref){get_conn, c};
  gnutls_session_set_ptr(c->tls, &c->ref);
  if (gnutls_priority_set(c->tls, q->prio) < 0) return MACULA_EINTERNAL;
  if ((c->server ? ngtcp2_crypto_gnutls_configure_server_session(c->tls)
                 : ngtcp2_crypto_gnutls_configure_client_session(c->tls)))
    return MACULA_EINTERNAL;
  if (gnutls_alpn_set_protocols(c->tls, &alpn, 1, GNUTLS_ALPN_MANDATORY) < 0) return MACULA_ENOMEM;
  gnutls_session_set_verify_function(c->tls, on_verify);
  struct quic_identity *who = o && o->no_cert ? NULL : o && o->identity ? o->identity : q->cfg.identity;
  if (!c->identity) c->identity = quic_identity_ref(who); /* its credentials must outlive the session */
  if (gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, who ? who->cred : q->no_cred) < 0) return MACULA_ENOMEM;
  if (!c->server) {
    gnutls_handshake_set_hook_function(c->tls, GNUTLS_HANDSHAKE_NEW_SESSION_TICKET, GNUTLS_HOOK_POST, on_ticket);
    return 0;
  }
  if (!q->ticket_key.data || time_since(q->now, q->ticket_key_at) >= TICKET_KEY_LIFE) tls_new_ticket_key(q);
  if (q->ticket_key.data && gnutls_session_ticket_enable_server(c->tls, &q->ticket_key) < 0) return MACULA_ENOMEM;
  gnutls_certificate_server_set_request(c->tls, q->cfg.require_cert ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_REQUEST);
  return 0;
}

void tls_close(struct quic_conn *c) {
  if (!c->tls) return;
  if (c->nc) ngtcp2_conn_set_tls_native_handle(c->nc, NULL);
  gnutls_deinit(c->tls);
  c->tls = NULL;
}
