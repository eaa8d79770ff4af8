/* TLS 1.2 (RFC 5246) and 1.3 (RFC 8446) on streams, the server's side, by GnuTLS. It stands between two sides of base/stream.h:
 * it owns the stream that carries records, and whoever owns what comes out sees another stream.
 *
 * GnuTLS pulls records out of the bytes that have just come, and keeps what is left of an unfinished one; what it pushes goes
 * to the stream below at once. So a record is made only while that one has room for it whole. What is written in a turn waits
 * for the turn's end, so that many small writes share a record: each costs as much as some kilobytes. */
#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "io/io_priv.h"

#define RECORD 16384u /* bytes of plain text: RFC 8446, 5.1 */
#define RECORD_MORE                                                                                                            \
  512u /* by which what is sent may be longer: header, tag, padding of TLS 1.2's ciphers, an alert after it                    \
        */
#define BELOW_MOST                                                                                                             \
  65536u /* unsent bytes in the stream below; half of it is for records, the other for what GnuTLS sends by itself */
#define PLAIN_FIRST 1024u
#define SHAKING_MOST 256u
#define SHAKE_WITHIN (10 * NS_SEC)
#define MAX_HANDSHAKE_MESSAGE 16384u
#define TICKET_KEY_FOR (24 * 3600 * NS_SEC)

/* TLS 1.2 for devices, without what is broken: RFC 9325. */
static const char priority[] =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-ARCFOUR-128:-3DES-CBC:-SHA1:%SERVER_PRECEDENCE";

struct credentials { /* shared by the sessions that began with them */
  gnutls_certificate_credentials_t cred;
  uint32_t refs;
};

struct tls_stream {
  struct byte_stream s;
  struct byte_stream *below; /* NULL: it is gone */
  struct list shaking;       /* io_tls.shaking, until the handshake is done */
  struct list out;           /* io_tls.out, while something waits in plain */
  struct io_tls *of;
  struct credentials *cred;
  gnutls_session_t session;
  uint8_t *in; /* the bytes that have just come */
  size_t in_len;
  uint8_t *plain; /* what was written and is no record yet; NULL: nothing */
  uint32_t plain_len, plain_cap;
  nanotime until;
  struct stream_key key;         /* of s.key */
  bool open, wants_room, broken; /* open: the owner knows it */
  bool reading, busy, gone;      /* busy: it is being read from; gone: and was closed meanwhile */
  bool heard;                    /* its first byte was that of TLS */
};

struct io_tls {
  struct list link; /* io_loop.tls */
  struct io_loop *loop;
  struct io_tls_options o;
  struct credentials *cred;
  gnutls_priority_t prio;
  gnutls_datum_t ticket_key;
  nanotime ticket_key_at;
  struct list shaking; /* the oldest first */
  struct list out;
  struct io_tls_stats stats;
  uint8_t plain[RECORD]; /* of the record that is being read */
};

static struct tls_stream *of(struct byte_stream *s) { return (struct tls_stream *)s; }

/* ---- credentials -----------------------------------------------------------------------------------------------------------
 */
static void unref(struct credentials *c) {
  if (!c || --c->refs) return;
  gnutls_certificate_free_credentials(c->cred);
  free(c);
}

int io_tls_set_cert(struct io_tls *t, const char *key_pem, const char *cert_pem) {
  struct credentials *c = calloc(1, sizeof *c);
  gnutls_datum_t key = {(unsigned char *)key_pem, (unsigned)strlen(key_pem)};
  gnutls_datum_t cert = {(unsigned char *)cert_pem, (unsigned)strlen(cert_pem)};
  if (!c || gnutls_certificate_allocate_credentials(&c->cred) < 0) {
    free(c);
    return MACULA_ENOMEM;
  }
  c->refs = 1;
  if (gnutls_certificate_set_x509_key_mem2(c->cred, &cert, &key, GNUTLS_X509_FMT_PEM, NULL, 0) < 0) {
    unref(c);
    return MACULA_CERTIFICATE_INVALID;
  }
  unref(t->cred);
  t->cred = c;
  return 0;
}

/* The key of a client's certificate, which the handshake has proved. A chain without one leaves it nobody. */
static void take_id(struct tls_stream *t) {
  unsigned count = 0;
  const gnutls_datum_t *chain = gnutls_certificate_get_peers(t->session, &count);
  gnutls_x509_crt_t crt;
  size_t n = sizeof t->key.id.b;
  if (!chain || !count || gnutls_x509_crt_init(&crt) < 0) return;
  if (gnutls_x509_crt_import(crt, chain, GNUTLS_X509_FMT_DER) >= 0 &&
      gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, t->key.id.b, &n) >= 0) {
    time_t end = gnutls_x509_crt_get_expiration_time(crt);
    t->key.end = end == (time_t)-1 || end == GNUTLS_X509_NO_WELL_DEFINED_EXPIRATION ? UINT64_MAX : (uint64_t)end;
    t->s.key = &t->key;
  }
  gnutls_x509_crt_deinit(crt);
}

static void drop_ticket_key(struct io_tls *t) {
  if (!t->ticket_key.data) return;
  gnutls_memset(t->ticket_key.data, 0, t->ticket_key.size);
  gnutls_free(t->ticket_key.data);
}

static void new_ticket_key(struct io_tls *t, nanotime now) {
  gnutls_datum_t key;
  t->ticket_key_at = now;
  if (gnutls_session_ticket_key_generate(&key) < 0) return; /* the old one stays in use */
  drop_ticket_key(t);
  t->ticket_key = key;
}

/* ---- what GnuTLS sends and receives by -------------------------------------------------------------------------------------
 */
static ssize_t push(gnutls_transport_ptr_t ctx, const void *data, size_t n) {
  struct tls_stream *t = ctx;
  if (t->below && stream_write(t->below, slice_of(data, n)) == n) return (ssize_t)n;
  t->broken = true; /* a part of a record may be on its way */
  gnutls_transport_set_errno(t->session, EPIPE);
  return -1;
}

static ssize_t pull(gnutls_transport_ptr_t ctx, void *data, size_t n) {
  struct tls_stream *t = ctx;
  if (!t->in_len) {
    gnutls_transport_set_errno(t->session, EAGAIN);
    return -1;
  }
  if (n > t->in_len) n = t->in_len;
  memcpy(data, t->in, n);
  t->in += n;
  t->in_len -= n;
  return (ssize_t)n;
}

static int pull_timeout(gnutls_transport_ptr_t ctx, unsigned ms) {
  (void)ms;
  return ((struct tls_stream *)ctx)->in_len > 0;
}

/* ---- records ---------------------------------------------------------------------------------------------------------------
 */
/* The peer may have asked for small ones (RFC 8449). False: the stream is broken. */
static bool make_records(struct tls_stream *t, const uint8_t *p, size_t n) {
  while (n) {
    ssize_t r = gnutls_record_send(t->session, p, n);
    if (r <= 0) {
      t->broken = true;
      stream_break(t->below, MACULA_ENOMEM);
      return false;
    }
    p += r;
    n -= (size_t)r;
  }
  return true;
}

/* What waits becomes a record, or is gone with the stream below. */
static void seal(struct tls_stream *t) {
  list_remove(&t->out);
  if (!t->plain) return;
  if (t->below && !t->broken) (void)make_records(t, t->plain, t->plain_len);
  mem_free(t->of->o.mem, t->plain);
  t->plain = NULL;
  t->plain_len = t->plain_cap = 0;
}

/* Keeps at most RECORD bytes for the turn's end. False: there is no memory for that. */
static bool keep(struct tls_stream *t, const uint8_t *p, size_t n) {
  if (t->plain_len + n > t->plain_cap) {
    size_t cap = t->plain_len + n <= PLAIN_FIRST ? PLAIN_FIRST : RECORD;
    uint8_t *larger = mem_realloc(t->of->o.mem, t->plain, cap);
    if (!larger) return false;
    t->plain = larger;
    t->plain_cap = (uint32_t)cap;
  }
  memcpy(t->plain + t->plain_len, p, n);
  t->plain_len += (uint32_t)n;
  if (list_empty(&t->out)) list_append(&t->of->out, &t->out);
  return true;
}

void io_tls_flush(struct io_loop *l) {
  bool any = false;
  list_for(it, &l->tls) {
    struct io_tls *tls = container_of(it, struct io_tls, link);
    for (; !list_empty(&tls->out); any = true) {
      if (any && io_turn_spent(l)) {
        l->unsent = true;
        return;
      }
      seal(container_of(tls->out.next, struct tls_stream, out));
    }
  }
}

/* ---- ends ------------------------------------------------------------------------------------------------------------------
 */
static void stream_free(struct tls_stream *t) {
  struct io_tls *tls = t->of;
  if (!list_empty(&t->shaking)) tls->stats.shaking--;
  list_remove(&t->shaking);
  list_remove(&t->out);
  mem_free(tls->o.mem, t->plain);
  if (t->session) gnutls_deinit(t->session);
  unref(t->cred);
  mem_free(tls->o.mem, t);
}

static void shut_below(struct tls_stream *t, bool reset) {
  if (!t->below) return;
  if (!reset && !t->broken) {
    seal(t);
    (void)gnutls_bye(t->session, GNUTLS_SHUT_WR);
  }
  t->below->user = NULL;
  stream_close(t->below, reset);
  t->below = NULL;
}

/* Ends a stream from within its reading. why: what a peer that was never let in did; NULL: it left without a word. */
static void end(struct tls_stream *t, int err, const char *why, nanotime now) {
  struct io_tls *tls = t->of;
  if (!t->open) {
    tls->stats.failed++;
    if (tls->o.refused) tls->o.refused(tls->o.ctx, &t->s.remote, why, now);
  } else if (!t->gone) {
    tls->o.owner.closed(tls->o.owner.ctx, &t->s, err, now);
  }
  shut_below(t, false);
  stream_free(t);
}

/* ---- the stream that comes out ---------------------------------------------------------------------------------------------
 */
/* A record is not begun where it has no room, so that the stream below has not been short of any. */
static void tls_want_room(struct byte_stream *s) {
  of(s)->wants_room = true;
  if (of(s)->below) stream_want_room(of(s)->below);
}

static size_t tls_write(struct byte_stream *s, struct slice bytes) {
  struct tls_stream *t = of(s);
  size_t taken = 0;
  while (taken < bytes.n && t->below && !t->broken) {
    const uint8_t *p = bytes.p + taken;
    size_t room = RECORD - t->plain_len, n = bytes.n - taken < room ? bytes.n - taken : room;
    if (stream_unsent(t->below) + t->plain_len + n + RECORD_MORE > BELOW_MOST / 2) break;
    if (n == RECORD || !keep(t, p, n)) {
      seal(t);
      if (t->broken || !make_records(t, p, n)) break;
    }
    taken += n;
    if (t->plain_len == RECORD) seal(t);
  }
  if (taken < bytes.n) tls_want_room(s);
  return taken;
}

static size_t tls_unsent(const struct byte_stream *s) {
  const struct tls_stream *t = (const struct tls_stream *)s;
  return t->below ? stream_unsent(t->below) + t->plain_len : 0;
}

static void tls_read(struct byte_stream *s, bool on) {
  of(s)->reading = on;
  if (of(s)->below) stream_read(of(s)->below, on);
}

static void tls_close(struct byte_stream *s, bool reset) {
  struct tls_stream *t = of(s);
  shut_below(t, reset);
  if (t->busy)
    t->gone = true;
  else
    stream_free(t);
}

static void tls_break(struct byte_stream *s, int err) {
  if (of(s)->below) stream_break(of(s)->below, err);
}

static const struct stream_ops ops = {tls_write, tls_unsent, tls_read, tls_close, tls_break, tls_want_room};

/* ---- the stream below ------------------------------------------------------------------------------------------------------
 */
static int below_opened(void *ctx, struct byte_stream *below, nanotime now) {
  struct io_tls *tls = ctx;
  if (tls->o.may_come && !tls->o.may_come(tls->o.ctx, &below->remote, now)) return MACULA_EFULL;
  struct tls_stream *t = mem_calloc(tls->o.mem, 1, sizeof *t);
  if (!t) return MACULA_ENOMEM;
  *t = (struct tls_stream){.s = {.ops = &ops, .remote = below->remote, .secret = true},
                           .below = below,
                           .of = tls,
                           .cred = tls->cred,
                           .reading = true,
                           .until = time_add(now, SHAKE_WITHIN)};
  t->cred->refs++;
  list_init(&t->shaking);
  list_init(&t->out);
  if (time_since(now, tls->ticket_key_at) > TICKET_KEY_FOR) new_ticket_key(tls, now);
  if (gnutls_init(&t->session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0 ||
      gnutls_priority_set(t->session, tls->prio) < 0 ||
      gnutls_credentials_set(t->session, GNUTLS_CRD_CERTIFICATE, t->cred->cred) < 0 ||
      gnutls_session_ticket_enable_server(t->session, &tls->ticket_key) < 0) {
    stream_free(t);
    return MACULA_ENOMEM;
  }
  gnutls_certificate_server_set_request(t->session, GNUTLS_CERT_REQUEST);
  gnutls_handshake_set_max_packet_length(t->session, MAX_HANDSHAKE_MESSAGE);
  gnutls_handshake_set_timeout(t->session, GNUTLS_INDEFINITE_TIMEOUT); /* by clocks that are not ours */
  gnutls_transport_set_ptr(t->session, t);
  gnutls_transport_set_push_function(t->session, push);
  gnutls_transport_set_pull_function(t->session, pull);
  gnutls_transport_set_pull_timeout_function(t->session, pull_timeout);
  if (tls->stats.shaking >= tls->o.most_shaking)
    end(container_of(tls->shaking.next, struct tls_stream, shaking), 0, "too many handshakes are under way", now);
  list_append(&tls->shaking, &t->shaking);
  tls->stats.shaking++;
  below->user = t;
  return 0;
}

static void let_in(struct tls_stream *t, nanotime now) {
  struct io_tls *tls = t->of;
  take_id(t);
  list_remove(&t->shaking);
  tls->stats.shaking--;
  tls->stats.handshakes++;
  if (tls->o.owner.opened(tls->o.owner.ctx, &t->s, now)) {
    t->gone = true;
    shut_below(t, false);
  } else {
    t->open = true;
  }
}

/* False: it has ended. */
static bool shake(struct tls_stream *t, nanotime now) {
  int r;
  do r = gnutls_handshake(t->session);
  while (r == GNUTLS_E_INTERRUPTED || r == GNUTLS_E_WARNING_ALERT_RECEIVED);
  if (r == GNUTLS_E_AGAIN) return true;
  if (r < 0) {
    (void)gnutls_alert_send_appropriate(t->session, r);
    end(t, MACULA_ECLOSED, gnutls_strerror(r), now);
    return false;
  }
  let_in(t, now);
  return true;
}

/* What comes is no TLS at all. NULL: it may be. */
static const char *looks_like(uint8_t first) {
  if (first == 0x16) return NULL; /* RFC 8446, 5.1 */
  return first == 0x10                  ? "this looks like MQTT without TLS, and the port is for TLS"
         : first >= 'A' && first <= 'Z' ? "this looks like HTTP without TLS, and the port is for TLS"
                                        : "this is not TLS";
}

static void below_data(void *ctx, struct byte_stream *below, uint8_t *bytes, size_t n, nanotime now) {
  struct io_tls *tls = ctx;
  struct tls_stream *t = below->user;
  if (!t) return;
  const char *why = t->heard || !n ? NULL : looks_like(bytes[0]);
  t->heard |= n > 0;
  if (why) {
    t->broken = true; /* no alert, which it would not understand */
    end(t, MACULA_ECLOSED, why, now);
    return;
  }
  t->in = bytes;
  t->in_len = n;
  t->busy = true;
  if (!t->open && !shake(t, now)) return;
  while (t->open && !t->gone) {
    ssize_t r = gnutls_record_recv(t->session, tls->plain, sizeof tls->plain);
    if (r > 0) {
      tls->o.owner.data(tls->o.owner.ctx, &t->s, tls->plain, (size_t)r, now);
    } else if (r == GNUTLS_E_AGAIN) {
      break;
    } else if (r == GNUTLS_E_REHANDSHAKE) { /* TLS 1.2: never again */
      (void)gnutls_alert_send(t->session, GNUTLS_AL_WARNING, GNUTLS_A_NO_RENEGOTIATION);
    } else if (r == 0 || gnutls_error_is_fatal((int)r)) {
      if (r) (void)gnutls_alert_send_appropriate(t->session, (int)r);
      end(t, r ? MACULA_ECLOSED : 0, NULL, now);
      return;
    }
  }
  t->busy = false;
  if (t->gone) stream_free(t);
}

static void below_room(void *ctx, struct byte_stream *below, nanotime now) {
  struct io_tls *tls = ctx;
  struct tls_stream *t = below->user;
  if (!t || !t->open || !t->wants_room) return;
  t->wants_room = false;
  t->busy = true;
  tls->o.owner.room(tls->o.owner.ctx, &t->s, now);
  t->busy = false;
  if (t->gone)
    stream_free(t);
  else
    seal(t); /* this is within the end of a turn */
}

static void below_closed(void *ctx, struct byte_stream *below, int err, nanotime now) {
  (void)ctx;
  struct tls_stream *t = below->user;
  if (!t) return;
  t->below = NULL;
  end(t, err, t->heard ? "the connection ended within the handshake" : NULL, now);
}

struct stream_owner io_tls_owner(struct io_tls *t) {
  return (struct stream_owner){t, below_opened, below_data, below_room, below_closed};
}

/* ---- all of them -----------------------------------------------------------------------------------------------------------
 */
int io_tls_new(struct io_loop *l, const struct io_tls_options *o, struct io_tls **ret_tls) {
  struct io_tls *t = calloc(1, sizeof *t);
  if (!t) return MACULA_ENOMEM;
  t->o = *o;
  t->loop = l;
  if (!t->o.most_shaking) t->o.most_shaking = SHAKING_MOST;
  list_init(&t->shaking);
  list_init(&t->out);
  list_append(&l->tls, &t->link);
  int err = gnutls_priority_init(&t->prio, priority, NULL) < 0 ? MACULA_ENOMEM : io_tls_set_cert(t, o->key_pem, o->cert_pem);
  if (!err && gnutls_session_ticket_key_generate(&t->ticket_key) < 0) err = MACULA_ENOMEM;
  t->ticket_key_at = io_now();
  if (err)
    io_tls_free(t);
  else
    *ret_tls = t;
  return err;
}

void io_tls_free(struct io_tls *t) {
  if (!t) return;
  list_remove(&t->link);
  unref(t->cred);
  if (t->prio) gnutls_priority_deinit(t->prio);
  drop_ticket_key(t);
  free(t);
}

void io_tls_stats(const struct io_tls *t, struct io_tls_stats *ret_stats) { *ret_stats = t->stats; }

void io_tls_sweep(struct io_loop *l) {
  list_for(it, &l->tls) {
    struct io_tls *tls = container_of(it, struct io_tls, link);
    while (!list_empty(&tls->shaking)) {
      struct tls_stream *t = container_of(tls->shaking.next, struct tls_stream, shaking);
      if (t->until > l->now) break;
      end(t, 0, "its handshake took longer than 10 s", l->now);
    }
  }
}

nanotime io_tls_deadline(const struct io_loop *l) {
  nanotime at = TIME_NEVER;
  list_for(it, &l->tls) {
    const struct io_tls *tls = container_of(it, struct io_tls, link);
    if (list_empty(&tls->shaking)) continue;
    nanotime until = container_of(tls->shaking.next, struct tls_stream, shaking)->until;
    if (until < at) at = until;
  }
  return at;
}
