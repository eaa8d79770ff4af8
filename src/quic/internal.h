/* State shared by the files of this module. ngtcp2 and GnuTLS types stay on this side of quic.h.
 *
 * Life of a connection:
 *
 *   HANDSHAKE --handshake complete--> OPEN --quic_conn_close, error--> CLOSING --close written--> LINGER --3 PTO--> freed
 *       |                              |                                                             ^
 *       +--------- error --> CLOSING   +---- peer closed: DRAINING is our LINGER without packet -----+
 *   idle, dead, reset: straight to GONE
 *
 * ngtcp2's object and the TLS session are freed on the way to LINGER or GONE, so a lingering connection costs its ids and its
 * one close packet only. The rest is freed when the time of lingering is over and conn_closed was called. */
#ifndef QUIC_INTERNAL_H
#define QUIC_INTERNAL_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>

#include "base/err.h"
#include "base/list.h"
#include "bounded/bucket.h"
#include "bounded/heap.h"
#include "bounded/htab.h"
#include "bounded/lru.h"
#include "quic/quic.h"

#define QUIC_CID_LEN 8           /* of the ids that we issue */
#define QUIC_INITIAL_CID 16      /* of the random id that a client starts with */
#define QUIC_SECRET_LEN 32       /* tokens, stateless reset */
#define QUIC_MAX_DATAGRAM 1452   /* bytes: the largest UDP payload that is sent while little waits, */
#define QUIC_LARGE_DATAGRAM 8184 /* and else, where a path takes it (mtu.c): eight are a burst */
#define QUIC_BURST 65507         /* bytes: of more the kernel makes no datagrams of UDP_SEGMENT */
#define QUIC_MAX_RAW 256         /* datagrams without a connection that wait to be sent */
#define QUIC_MAX_ADDRS 4096      /* addresses whose rate of new connections is remembered */
#define QUIC_TICK NS_MS          /* timers are rounded up to this */
#define QUIC_ENDED 4             /* streams of which it is known how far they got after their connection has ended */

struct quic_identity {
  uint32_t refs;
  struct id id;
  gnutls_certificate_credentials_t cred;
  gnutls_x509_privkey_t key;
  gnutls_privkey_t signer; /* a view of key */
  gnutls_datum_t spki;     /* DER, by gnutls_malloc */
  gnutls_x509_crt_t *chain;
  unsigned chain_len;
  uint8_t reset_secret[QUIC_SECRET_LEN]; /* derived from the key: a restarted node can still reset old connections */
};

/* A connection id, or a stateless reset token, that leads to a connection. */
struct cid {
  struct hlink h;
  struct cid *next; /* of the same connection */
  struct quic_conn *conn;
  uint8_t len;
  uint8_t id[];
};

/* A piece of a send queue: bytes of its own, or a reference to shared ones. */
struct chunk {
  struct chunk *next;
  struct shbuf *ref; /* NULL: own bytes */
  uint32_t len, cap;
  uint8_t data[];
};

struct stream {
  struct list link;  /* in quic_conn.streams */
  struct list ready; /* in quic_conn.ready while it has something to send */
  struct quic_conn *conn;
  int64_t id;
  struct chunk *head, *tail;
  struct chunk *next;  /* holds the first unsent byte; NULL: all sent */
  uint32_t next_off;   /* of that byte */
  uint32_t head_acked; /* bytes of head that are acknowledged */
  uint32_t grow;       /* size of the next chunk */
  size_t queued;       /* bytes not acknowledged */
  size_t unsent;       /* bytes from next on */
  uint64_t written;    /* bytes ever queued */
  nanotime progress;   /* as quic_stream_progress, quic_stream_credited */
  nanotime credited;
  bool fin, fin_sent; /* the owner finished the stream; the FIN was sent */
  bool blocked;       /* by the peer's flow control */
  bool told;          /* stream_closed was called */
  bool shut;          /* reset or stopped: nothing is sent any more */
};

enum conn_state { CONN_HANDSHAKE, CONN_OPEN, CONN_CLOSING, CONN_LINGER, CONN_GONE };

struct quic_conn {
  struct quic *q;
  ngtcp2_conn *nc;      /* NULL from LINGER on */
  gnutls_session_t tls; /* NULL once it is not needed */
  struct tls_ca *ca;    /* of this connection alone, while TLS lives; NULL: the endpoint's */
  ngtcp2_crypto_conn_ref ref;
  ngtcp2_mem nmem; /* of nc */
  size_t held;     /* bytes of nc and of streams */
  size_t held_peak;
  uint32_t streams_owed;           /* that the peer closed, and may open anew once they are not held back any more: */
  bool streams_held, one_way_anew; /* one_way_anew: quic_conn_grant_streams was called */
  struct bucket *units;            /* quic_conn_pays */
  double owed;                     /* units spent that bytes of streams have not given back */
  uint32_t moved;                  /* bytes of streams that the datagram under way has brought or acknowledged */
  bool lent;                       /* its handshake counts against its address: accept.c */
  nanotime free_at, read_at;       /* when it had its last free packet, and was last read without units: idle.c */
  nanotime limited_at;             /* when `limited` may be told again */
  uint32_t shares;                 /* quic_conn_shares: it counts as so many connections in conn_pool; 0: as one */
  void *user;
  struct list all, event;
  struct list dirty; /* in quic.dirty while it may have packets to send; in quic.lingering from LINGER on */
  struct list fresh; /* in quic.fresh while it is half-open */
  struct heap_link timer;
  struct cid *scids, *dcids, *tokens;
  struct list later; /* later.of_conn */
  uint32_t later_count;
  struct list streams, ready;
  struct stream *hot; /* the stream that was looked up last */
  uint64_t serial;
  struct addr local, remote;
  uint8_t state; /* enum conn_state */
  bool server, established, half_open, opened, told, confirmed, resumed, insecure, has_peer, has_expect, peer_checked;
  bool no_port; /* why check_at is set: an ICMP error said that nobody listens at the port; else that the host is unreachable */
  bool ev_acked, ev_heard, watch, silent_told, key_ready, reset, closing_after, more;
  struct id peer, expect;
  uint64_t peer_expiry;
  uint8_t exporter[QUIC_EXPORTER_LEN];
  bool peer_is_short;             /* quic_conn_peer_is_short */
  struct quic_identity *identity; /* of an outgoing connection with an identity of its own */
  size_t queued;
  nanotime progress, last_rx, watch_at, check_at, close_at, linger_at;
  nanotime await_until; /* quic_conn_await_close; 0: not */
  nanotime unheard_at;  /* when the first packet was sent, after the last that came, that must be acknowledged; 0: none was */
  struct {
    int64_t id;
    struct quic_offsets at;
  } ended[QUIC_ENDED]; /* its first streams, when it has none any more; written 0: there was none */
  nanotime ping_at;    /* when a PING was asked for; 0: none is due */
  uint64_t keep_alive;
  struct stream *large; /* the stream whose data is in the watched datagram of more than 1,200 bytes; NULL: none is watched */
  size_t large_left;    /* bytes of the stream that must be acknowledged until the datagram is */
  nanotime large_at;    /* when the watched datagram was sent */
  nanotime raise_at;    /* datagrams have 1,200 bytes until then; 0: as many as the path takes */
  uint8_t raises;       /* how often in a row larger ones were not acknowledged */
  bool large_tried;     /* so much has waited that datagrams of QUIC_LARGE_DATAGRAM are worth it */
  bool mtu_fell;        /* a fall of the MTU is to be logged when something is acknowledged again */
  struct quic_close why;
  char *why_text;  /* owns why.text */
  uint8_t *ticket; /* TLS session data */
  uint8_t *token;  /* NEW_TOKEN */
  uint32_t ticket_len;
  uint16_t token_len, close_len;
  uint32_t late;    /* datagrams that came while lingering */
  uint32_t unpaced; /* bytes that have left since ngtcp2 was told: send.c */
  uint32_t written;
  uint8_t *close_pkt;
};

struct raw {
  struct list link;
  struct burst out;
  uint8_t data[];
};

#define QUIC_DIAL_ONLY 4 /* ports */
struct quic {
  uint16_t dial_only[QUIC_DIAL_ONLY]; /* 0: none */
  struct quic_config cfg;
  size_t pool_used;   /* of cfg.conn_pool */
  size_t pool_half;   /* the part of pool_used that connections hold which are not admitted */
  nanotime pool_said; /* when it may be logged again that it is full */
  nanotime now;
  struct quic_stats stats;
  struct htab cids, dcids, tokens;
  struct lru addrs;
  struct heap timers;
  struct list conns, dirty, events, raw;
  uint32_t watched;         /* connections that quic_conn_watch is on for */
  struct list fresh;        /* half-open, oldest first */
  struct list lingering[2]; /* [half-open], oldest first */
  struct list later;        /* datagrams of half-open ones, in the order in which they came: later.c */
  uint32_t later_count;
  size_t later_bytes;
  uint32_t raw_count, total;
  uint64_t serial;
  unsigned max_segments;
  bool large; /* quic_set_large */
  int stop_err;
  struct bucket icmp_rate, reset_rate, retry_rate, refusal_rate;
  struct bucket handshakes; /* of all addresses that may lead to nothing */
  struct bucket units;      /* of all packets that move nothing */
  gnutls_priority_t prio;
  gnutls_certificate_credentials_t no_cred;
  struct tls_ca *ca; /* NULL: none */
  gnutls_datum_t ticket_key;
  nanotime ticket_key_at;
  uint8_t secret[QUIC_SECRET_LEN];       /* of Retry and address tokens */
  uint8_t reset_secret[QUIC_SECRET_LEN]; /* of stateless reset tokens */
  uint8_t *stash;                        /* a datagram that did not fit its burst; NULL: none */
  struct burst stash_out;
};

/* tls.c */
int tls_init(struct quic *q);
void tls_done(struct quic *q);
uint64_t tls_end_of(gnutls_x509_crt_t crt); /* as quic_identity_end */
bool tls_is_in_time(gnutls_x509_crt_t crt, uint64_t unix_now);
int tls_set_ca(struct quic *q, const char *pem);
void tls_new_ticket_key(struct quic *q);
/* Makes c->tls; o is NULL on the server's side. */
int tls_open(struct quic_conn *c, const struct quic_connect *o);
void tls_close(struct quic_conn *c);
/* Reads the peer's certificate and checks it; on failure c->why says why. */
int tls_check_peer(struct quic_conn *c);
/* What a TLS alert means here: a macula_err. */
int tls_err_of(uint8_t alert);

/* der.c */
/* The number of elements of a certificate in DER, including those within its extensions, at most max; also max when it is not
 * DER. */
size_t der_elements(struct slice der, size_t max);
/* The same for all certificates of a TLS message Certificate. *ret_keys_fit: der_key_fits holds for the key of each. */
size_t der_certificates(struct slice message, size_t max, bool *ret_keys_fit);
bool der_key_fits(struct slice spki); /* a SubjectPublicKeyInfo: verifying with it takes no longer than RSA of 8,192 bits */

/* endpoint.c */
struct cid *cid_find(const struct htab *t, const uint8_t *id, size_t len);
int cid_add(struct quic_conn *c, struct htab *t, struct cid **list, const uint8_t *id, size_t len);
void cid_remove(struct quic_conn *c, struct htab *t, struct cid **list, const uint8_t *id, size_t len);
void cid_clear(struct quic_conn *c, struct htab *t, struct cid **list);
void quic_new_cid(struct quic *q, ngtcp2_cid *ret_cid, size_t len);
void quic_raw(struct quic *q, const struct addr *local, const struct addr *remote, const uint8_t *p, size_t n);
void quic_advance(struct quic *q, nanotime now);

/* accept.c */
void accept_init(struct quic *q);
void accept_done(struct quic *q);
void accept_initial(struct quic *q, const struct addr *local, const struct addr *remote, struct slice dg, uint8_t ecn);
void accept_version(struct quic *q, const struct addr *local, const struct addr *remote, const ngtcp2_version_cid *vc);
/* Ends a lingering connection, so that a new one finds room: a half-open or an established one. False: none lingers. */
bool accept_makes_room(struct quic *q, bool half_open);
void accept_admitted(struct quic_conn *c); /* its handshake led to something */
void quic_refused(struct quic *q, const struct addr *remote, const struct id *id, int err, struct slice text);
void accept_unknown(struct quic *q, const struct addr *local, const struct addr *remote, const ngtcp2_version_cid *vc,
                    size_t n);

/* later.c */
/* True: the datagram waits until all others were answered, or was dropped for want of room. False: it is to be read now. */
bool later_keeps(struct quic_conn *c, const struct addr *local, const struct addr *remote, struct slice dg, uint8_t ecn);
void later_forget(struct quic_conn *c); /* all that waits of it */

/* conn.c */
struct conn_server {
  const ngtcp2_pkt_hd *hd;
  const ngtcp2_cid *odcid; /* after a Retry; NULL otherwise */
  ngtcp2_token_type token_type;
};
int conn_accept(struct quic *q, const struct addr *local, const struct addr *remote, const struct conn_server *s,
                struct quic_conn **ret_conn);
void conn_read(struct quic_conn *c, const struct addr *local, const struct addr *remote, struct slice dg, uint8_t ecn);
void conn_tick(struct quic_conn *c);
void conn_arm(struct quic_conn *c); /* its timer */
void conn_touch(struct quic_conn *c);
void conn_event(struct quic_conn *c);
void conn_deliver(struct quic_conn *c);
/* Sets why, once; text is copied. */
void conn_why(struct quic_conn *c, enum quic_close_reason reason, bool is_app, uint64_t code, int err, struct slice text);
void conn_fail(struct quic_conn *c, int liberr);
/* Frees what only a living connection needs; not within an ngtcp2 callback of it. linger: ns that its ids stay. */
void conn_end(struct quic_conn *c, uint64_t linger);
uint64_t conn_three_ptos(const struct quic_conn *c);
void conn_free(struct quic_conn *c);
void conn_admit(struct quic_conn *c); /* it is no longer half-open */
void conn_maybe_close_after(struct quic_conn *c);
void conn_give_streams(struct quic_conn *c); /* lets the peer open as many streams as it closed */
uint64_t conn_effective_keep_alive(const struct quic_conn *c);

/* share.c */
ngtcp2_mem share_mem(struct quic_conn *c);
void *share_calloc(struct quic_conn *c, size_t size);
void share_free(struct quic_conn *c, void *p); /* accepts NULL */
void share_admit(struct quic_conn *c);         /* to be called before half_open is cleared */
/* Ends connections that hold the most of the pool until an eighth of it is free. Not within a callback of ngtcp2. */
void share_relieve(struct quic *q);
const char *share_check(const struct quic *q);
bool share_waits(const struct quic_conn *c); /* it must send no more stream data until something is acknowledged */

/* idle.c */
bool idle_may_read(struct quic_conn *c);         /* false: its next datagram is to be dropped */
void idle_settle(struct quic_conn *c, size_t n); /* a datagram of n bytes has been read */

/* send.c */
void send_close(struct quic_conn *c);         /* sends the last packet of a closing connection and frees what it holds */
void send_after_silence(struct quic_conn *c); /* before anything that may have come late is read, or a timer runs */

/* mtu.c */
void mtu_settings(const struct quic *q, ngtcp2_settings *s);
void mtu_taken(const struct quic *q, ngtcp2_transport_params *p); /* the largest datagram that a new one may send */
size_t mtu_cap(struct quic_conn *c, size_t cap);                  /* the most bytes that the next datagram may have */
void mtu_sent(struct quic_conn *c, struct stream *s, size_t n);   /* a datagram of n bytes; s: one that it carries, or NULL */
void mtu_acked(struct stream *s, size_t n);                       /* n bytes were acknowledged and taken off the queue */
void mtu_forget(struct stream *s);                                /* no data of this stream is in flight any more */
nanotime mtu_at(const struct quic_conn *c);
void mtu_tick(struct quic_conn *c);

/* callbacks.c */
void callbacks_set(ngtcp2_callbacks *ret_cb, bool server);

/* stream.c */
struct stream *stream_new(struct quic_conn *c, int64_t id);
struct stream *stream_find(struct quic_conn *c, int64_t id);
void stream_free(struct stream *s);
void stream_acked(struct stream *s, size_t n);
void stream_shut(struct stream *s); /* from now on no data of this stream is sent */
/* Resets what of it is ours to send, and asks the peer to send no more of what is the peer's. */
void stream_abandon(struct quic_conn *c, int64_t id, uint64_t app_error);
/* Up to max pieces from the first unsent byte on. */
size_t stream_pieces(const struct stream *s, ngtcp2_vec *ret_v, size_t max, size_t *ret_bytes);
void stream_sent(struct stream *s, size_t n, bool fin);

static inline bool conn_alive(const struct quic_conn *c) { return c->nc && c->state <= CONN_OPEN; }

#endif
