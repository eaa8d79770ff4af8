/* GnuTLS sessions: TLS 1.3 only, ALPN "macula", certificates asked of both sides, tickets but no early data. */
#include <gnutls/crypto.h>
#include <stdio.h>

#include "quic/internal.h"

static const char priority[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:"
                               "-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:%DISABLE_TLS13_COMPAT_MODE";
/* A chain of four certificates with RSA keys of 4,096 bits fits; GnuTLS would buffer 128 KiB a connection. */
#define MAX_HANDSHAKE_MESSAGE (12u << 10)
/* DER elements in all certificates of a message; a chain of four certificates has 200 to 600. */
#define MAX_ELEMENTS 800u
static const gnutls_datum_t alpn = {(unsigned char *)"macula", 6};

/* ---- a CA ------------------------------------------------------------------------------------------------------------------
 */
struct tls_ca { /* the certificates that whoever connects must come from */
  gnutls_x509_crt_t *crt;
  unsigned count;
};

static int parse_ca(const char *pem, struct tls_ca **ret_ca) {
  gnutls_datum_t d = {(unsigned char *)pem, (unsigned)strlen(pem)};
  struct tls_ca *ca = gnutls_calloc(1, sizeof *ca);
  if (!ca) return MACULA_ENOMEM;
  if (gnutls_x509_crt_list_import2(&ca->crt, &ca->count, &d, GNUTLS_X509_FMT_PEM, 0) < 0 || !ca->count) {
    gnutls_free(ca);
    return MACULA_CERTIFICATE_INVALID;
  }
  *ret_ca = ca;
  return 0;
}

static void free_ca(struct tls_ca *ca) {
  if (!ca) return;
  for (unsigned i = 0; i < ca->count; i++) gnutls_x509_crt_deinit(ca->crt[i]);
  gnutls_free(ca->crt);
  gnutls_free(ca);
}

int tls_set_ca(struct quic *q, const char *pem) {
  struct tls_ca *ca = NULL;
  int err = pem ? parse_ca(pem, &ca) : 0;
  if (err) return err;
  free_ca(q->ca);
  q->ca = ca;
  return 0;
}

bool tls_is_in_time(gnutls_x509_crt_t crt, uint64_t unix_now) {
  time_t from = gnutls_x509_crt_get_activation_time(crt);
  return from != (time_t)-1 && (int64_t)unix_now >= (int64_t)from && unix_now <= tls_end_of(crt);
}

/* Only those of the CA's certificates count that are in their time. NULL: no memory. */
static gnutls_x509_trust_list_t anchors(const struct tls_ca *ca, uint64_t unix_now, bool *ret_left_out) {
  gnutls_x509_trust_list_t list;
  *ret_left_out = false;
  if (gnutls_x509_trust_list_init(&list, 16) < 0) return NULL;
  for (unsigned i = 0; i < ca->count; i++)
    if (!tls_is_in_time(ca->crt[i], unix_now))
      *ret_left_out = true;
    else if (gnutls_x509_trust_list_add_cas(list, &ca->crt[i], 1, 0) != 1) {
      gnutls_x509_trust_list_deinit(list, 0);
      return NULL;
    }
  return list;
}

/* ---- the endpoint's, and alerts -------------------------------------------------------------------------------------------
 */
int tls_init(struct quic *q) {
  if (gnutls_priority_init(&q->prio, priority, NULL) < 0) return MACULA_ENOMEM;
  if (gnutls_certificate_allocate_credentials(&q->no_cred) < 0) return MACULA_ENOMEM;
  if (q->cfg.server && gnutls_session_ticket_key_generate(&q->ticket_key) < 0) return MACULA_ENOMEM;
  return tls_set_ca(q, q->cfg.ca_pem);
}

void tls_done(struct quic *q) {
  if (q->prio) gnutls_priority_deinit(q->prio);
  if (q->no_cred) gnutls_certificate_free_credentials(q->no_cred);
  free_ca(q->ca);
  if (q->ticket_key.data) {
    gnutls_memset(q->ticket_key.data, 0, q->ticket_key.size);
    gnutls_free(q->ticket_key.data);
  }
}

void tls_new_ticket_key(struct quic *q) {
  gnutls_datum_t key;
  q->ticket_key_at = q->now;
  if (gnutls_session_ticket_key_generate(&key) < 0) return; /* the old key stays in use */
  if (q->ticket_key.data) {
    gnutls_memset(q->ticket_key.data, 0, q->ticket_key.size);
    gnutls_free(q->ticket_key.data);
  }
  q->ticket_key = key;
}

static uint8_t alert_of(int err) {
  return err == MACULA_CERTIFICATE_EXPIRED ? GNUTLS_A_CERTIFICATE_EXPIRED
         : err == MACULA_NOT_AUTHORIZED    ? GNUTLS_A_CERTIFICATE_REQUIRED
                                           : GNUTLS_A_BAD_CERTIFICATE;
}

int tls_err_of(uint8_t alert) {
  switch (alert) {
  case GNUTLS_A_CERTIFICATE_EXPIRED:
    return MACULA_CERTIFICATE_EXPIRED;
  case GNUTLS_A_BAD_CERTIFICATE:
  case GNUTLS_A_UNSUPPORTED_CERTIFICATE:
  case GNUTLS_A_CERTIFICATE_REVOKED:
  case GNUTLS_A_CERTIFICATE_UNKNOWN:
  case GNUTLS_A_UNKNOWN_CA:
    return MACULA_CERTIFICATE_INVALID;
  case GNUTLS_A_CERTIFICATE_REQUIRED:
    return MACULA_NOT_AUTHORIZED;
  case GNUTLS_A_NO_APPLICATION_PROTOCOL:
    return MACULA_UNSUPPORTED_VERSION;
  default: /* alerts are the peer's numbers, not an enum of ours */
    return MACULA_NOT_CONNECTED;
  }
}

static int refuse(struct quic_conn *c, int err, const char *text) {
  conn_why(c, QUIC_CLOSE_TRANSPORT, false, NGTCP2_CRYPTO_ERROR | alert_of(err), err, slice_str(text));
  return err;
}

uint64_t tls_end_of(gnutls_x509_crt_t crt) {
  time_t to = gnutls_x509_crt_get_expiration_time(crt);
  return to == (time_t)-1 || to == GNUTLS_X509_NO_WELL_DEFINED_EXPIRATION ? UINT64_MAX : (uint64_t)to;
}

/* What is wrong with a chain, by GnuTLS's word. */
static int refuse_status(struct quic_conn *c, unsigned status, bool left_out) {
  if (left_out && status & GNUTLS_CERT_SIGNER_NOT_FOUND)
    return refuse(c, MACULA_CERTIFICATE_EXPIRED,
                  "no certificate of the CA that is in use issued the peer's: one is outside its time, or a clock is wrong");
  return refuse(c, MACULA_CERTIFICATE_INVALID,
                status & GNUTLS_CERT_INSECURE_ALGORITHM ? "a key or signature in the peer's certificate chain is too weak"
                : status & (GNUTLS_CERT_SIGNER_NOT_CA | GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE)
                    ? "a certificate in the peer's chain may not issue others"
                : status & GNUTLS_CERT_PURPOSE_MISMATCH
                    ? c->server ? "the peer's certificate is not for TLS clients (extended key usage clientAuth)"
                                : "the peer's certificate is not for TLS servers (extended key usage serverAuth)"
                    : "the peer's certificate is not issued by the CA");
}

/* When the last of the CA's certificates ends that may have vouched for the chain. */
static uint64_t end_of_ca(const struct tls_ca *ca, gnutls_x509_crt_t *crt, unsigned n, uint64_t unix_now) {
  uint64_t last = 0;
  for (unsigned k = 0; k < ca->count; k++)
    for (unsigned i = 0; i < n; i++) {
      uint64_t end = tls_end_of(ca->crt[k]);
      if (end > last && tls_is_in_time(ca->crt[k], unix_now) && gnutls_x509_crt_check_issuer(crt[i], ca->crt[k])) last = end;
    }
  return last ? last : UINT64_MAX; /* none issued it: it is the CA's own */
}

uint64_t quic_ca_end(const struct quic *q) {
  uint64_t first = UINT64_MAX, now = quic_unix(q);
  for (unsigned k = 0; q->ca && k < q->ca->count; k++) {
    uint64_t end = tls_end_of(q->ca->crt[k]);
    if (end >= now && end < first) first = end;
  }
  return first;
}

/* Where a CA counts, its word is judged whole: the time of each certificate by our own clock, what each may be used for, who
 * may issue others, how strong it is. */
static int check_issued(struct quic_conn *c, const struct tls_ca *ca, gnutls_x509_crt_t *crt, unsigned n, uint64_t unix_now) {
  gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                   .data = (unsigned char *)(c->server ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER)};
  unsigned status = 0;
  bool left_out;
  for (unsigned i = 0; i < n; i++) {
    uint64_t end = tls_end_of(crt[i]);
    if (end < c->peer_expiry) c->peer_expiry = end;
    if (!tls_is_in_time(crt[i], unix_now))
      return refuse(c, MACULA_CERTIFICATE_EXPIRED,
                    i ? "an issuer's certificate in the peer's chain is outside its time, or a clock is wrong"
                      : "the peer's certificate is outside its time, or a clock is wrong");
  }
  gnutls_x509_trust_list_t list = anchors(ca, unix_now, &left_out);
  if (!list) return refuse(c, MACULA_ENOMEM, "no memory to verify the peer's certificate");
  int r = gnutls_x509_trust_list_verify_crt2(list, crt, n, &purpose, 1,
                                             GNUTLS_VERIFY_DISABLE_TIME_CHECKS | GNUTLS_VERIFY_DISABLE_TRUSTED_TIME_CHECKS |
                                                 GNUTLS_PROFILE_TO_VFLAGS(GNUTLS_PROFILE_MEDIUM),
                                             &status, NULL);
  gnutls_x509_trust_list_deinit(list, 0);
  if (r < 0 || status) return refuse_status(c, status, left_out);
  uint64_t end = end_of_ca(ca, crt, n, unix_now);
  if (end < c->peer_expiry) c->peer_expiry = end;
  return 0;
}

/* Checks that the certificate has not ended, that its key's id is the expected one, and what the CA says if one is set. Without
 * one only the key counts and not the time from which on it is valid, so that a machine whose clock is not set yet can connect.
 */
static int check_chain(struct quic_conn *c, const gnutls_datum_t *certs, unsigned n) {
  gnutls_x509_crt_t crt[4];
  unsigned have = 0;
  int err = MACULA_CERTIFICATE_INVALID;
  if (n > 4) return refuse(c, err, "the certificate chain is longer than 4");
  for (; have < n; have++) {
    if (gnutls_x509_crt_init(&crt[have]) < 0) break;
    if (gnutls_x509_crt_import(crt[have], &certs[have], GNUTLS_X509_FMT_DER) < 0) {
      gnutls_x509_crt_deinit(crt[have]);
      break;
    }
  }
  size_t len = sizeof c->peer.b;
  if (have < n || gnutls_x509_crt_get_key_id(crt[0], GNUTLS_KEYID_USE_SHA256, c->peer.b, &len) < 0) {
    refuse(c, err, "the peer's certificate cannot be read");
    goto end;
  }
  c->has_peer = true;
  unsigned bits = 0;
  int pk = gnutls_x509_crt_get_pk_algorithm(crt[0], &bits);
  c->peer_is_short = pk == GNUTLS_PK_EDDSA_ED25519 || (pk == GNUTLS_PK_ECDSA && bits == 256);
  uint64_t unix_now = quic_unix(c->q);
  const struct tls_ca *ca = c->ca ? c->ca : c->q->ca;
  c->peer_expiry = tls_end_of(crt[0]);
  if (c->has_expect && !id_eq(&c->expect, &c->peer)) {
    char text[256], want[ID_HEX_LEN + 1], got[ID_HEX_LEN + 1];
    id_hex(&c->expect, want);
    id_hex(&c->peer, got);
    snprintf(text, sizeof text, "the peer's id is %s, expected %s", got, want);
    err = refuse(c, MACULA_IDENTITY_MISMATCH, text);
    goto end;
  }
  err = 0;
  if (c->insecure) goto end;
  if (ca)
    err = check_issued(c, ca, crt, n, unix_now);
  else if (unix_now > c->peer_expiry)
    err = refuse(c, MACULA_CERTIFICATE_EXPIRED, "the peer's certificate is outside its time");
end:
  while (have) gnutls_x509_crt_deinit(crt[--have]);
  return err;
}

int tls_check_peer(struct quic_conn *c) {
  unsigned n = 0;
  const gnutls_datum_t *certs = gnutls_certificate_get_peers(c->tls, &n);
  c->peer_checked = true;
  if (certs && n) return check_chain(c, certs, n);
  if (c->server && !c->q->cfg.require_cert) return 0;
  return refuse(c, MACULA_NOT_AUTHORIZED, "the peer showed no certificate");
}

static struct quic_conn *conn_of(gnutls_session_t s) {
  ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(s);
  return ref->user_data;
}

static int verify(gnutls_session_t s) { return tls_check_peer(conn_of(s)) ? GNUTLS_E_CERTIFICATE_ERROR : 0; }

static void got_ticket(struct quic_conn *c) {
  gnutls_datum_t d;
  if (gnutls_session_get_data2(c->tls, &d) < 0) return;
  uint8_t *copy = mem_dup(c->q->cfg.mem, d.data, d.size);
  if (copy) { /* without memory the session just cannot be resumed */
    mem_free(c->q->cfg.mem, c->ticket);
    c->ticket = copy;
    c->ticket_len = d.size;
  }
  gnutls_free(d.data);
}

static int on_message(gnutls_session_t s, unsigned type, unsigned when, unsigned incoming, const gnutls_datum_t *msg) {
  struct quic_conn *c = conn_of(s);
  if (!incoming) return 0;
  if (type == GNUTLS_HANDSHAKE_NEW_SESSION_TICKET && when == GNUTLS_HOOK_POST) got_ticket(c);
  if (type != GNUTLS_HANDSHAKE_CERTIFICATE_PKT || when != GNUTLS_HOOK_PRE) return 0;
  bool keys_fit;
  bool few = der_certificates(slice_of(msg->data, msg->size), MAX_ELEMENTS, &keys_fit) < MAX_ELEMENTS;
  if (few && keys_fit) return 0;
  refuse(c, MACULA_CERTIFICATE_INVALID,
         few ? "the peer's certificates have a key that is too large" : "the peer's certificates have too many elements");
  return GNUTLS_E_CERTIFICATE_ERROR;
}

static ngtcp2_conn *ref_conn(ngtcp2_crypto_conn_ref *ref) { return ((struct quic_conn *)ref->user_data)->nc; }

int tls_open(struct quic_conn *c, const struct quic_connect *o) {
  struct quic *q = c->q;
  gnutls_session_t s;
  if (gnutls_init(&s, (o ? GNUTLS_CLIENT : GNUTLS_SERVER) | GNUTLS_NO_AUTO_SEND_TICKET) < 0) return MACULA_ENOMEM;
  c->tls = s;
  c->ref = (ngtcp2_crypto_conn_ref){.get_conn = ref_conn, .user_data = c};
  gnutls_session_set_ptr(s, &c->ref);
  /* a reference, since it must outlive the TLS session */
  if (!c->identity && !(o && o->no_cert)) c->identity = quic_identity_ref(q->cfg.identity);
  const struct quic_identity *i = c->identity;
  if (gnutls_priority_set(s, q->prio) < 0 || gnutls_alpn_set_protocols(s, &alpn, 1, GNUTLS_ALPN_MANDATORY) < 0 ||
      gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, i ? i->cred : q->no_cred) < 0)
    return MACULA_ENOMEM;
  gnutls_session_set_verify_function(s, verify);
  gnutls_handshake_set_hook_function(s, GNUTLS_HANDSHAKE_ANY, GNUTLS_HOOK_BOTH, on_message);
  gnutls_handshake_set_max_packet_length(s, MAX_HANDSHAKE_MESSAGE);
  if (!o) {
    gnutls_certificate_server_set_request(s, q->cfg.require_cert ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_REQUEST);
    if (time_since(q->now, q->ticket_key_at) > 24 * 3600 * NS_SEC) tls_new_ticket_key(q);
    if (gnutls_session_ticket_enable_server(s, &q->ticket_key) < 0) return MACULA_ENOMEM;
    return ngtcp2_crypto_gnutls_configure_server_session(s) ? MACULA_ENOMEM : 0;
  }
  int err = o->ca_pem ? parse_ca(o->ca_pem, &c->ca) : 0;
  if (err) return err;
  return ngtcp2_crypto_gnutls_configure_client_session(s) ? MACULA_ENOMEM : 0;
}

void tls_close(struct quic_conn *c) {
  free_ca(c->ca);
  c->ca = NULL;
  if (!c->tls) return;
  if (c->nc) ngtcp2_conn_set_tls_native_handle(c->nc, NULL);
  gnutls_deinit(c->tls);
  c->tls = NULL;
}
