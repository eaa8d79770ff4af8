/* QUIC without sockets: ngtcp2 and GnuTLS live behind this header and nowhere else.
 *
 * One endpoint is a server, a client, or both on one local address. It takes datagrams and time from outside and hands
 * datagrams out; whoever drives it (src/io, or the simulator) calls, on one thread: quic_recv for each datagram, quic_tick when
 * quic_deadline has passed, then quic_send until it returns 0.
 *
 * The owner's handler is called during quic_recv, quic_tick and quic_flush_events only. Within a handler every function below
 * may be called except quic_recv, quic_tick, quic_send and quic_free: they only queue, and the work is done in the next
 * quic_tick or quic_send. A connection stays valid until conn_closed has returned; no handler is called for it afterwards. */
#ifndef QUIC_QUIC_H
#define QUIC_QUIC_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/endpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/slice.h"
#include "base/time.h"
#include "base/turns.h"
#include "bounded/bucket.h"
#include "quic/identity.h"
#include "quic/stats.h"

struct quic;      /* endpoint */
struct quic_conn; /* connection */

/* ---- handler ---------------------------------------------------------------------------------------------------------------
 */
enum quic_close_reason {
  QUIC_CLOSE_LOCAL,     /* we closed it */
  QUIC_CLOSE_PEER,      /* the peer closed it: app_error and text are the peer's */
  QUIC_CLOSE_IDLE,      /* idle timeout */
  QUIC_CLOSE_DEAD,      /* no answer to a check after an ICMP error, or handshake timeout */
  QUIC_CLOSE_RESET,     /* stateless reset */
  QUIC_CLOSE_TRANSPORT, /* a transport or TLS error on either side */
};
struct quic_close {
  enum quic_close_reason reason;
  bool is_app;        /* app_error is an application error number (of either side) */
  uint64_t app_error; /* else the transport error number (RFC 9000, 20.1) */
  int err;            /* what this means here: a macula_err, e.g. MACULA_NOT_CONNECTED, MACULA_IDENTITY_MISMATCH */
  struct slice text;  /* the peer's reason phrase or our explanation; a view */
};
struct quic_handler {
  /* The handshake is complete and the peer's identity is checked. Once for each connection. */
  void (*conn_open)(void *ctx, struct quic_conn *c);
  /* The connection is gone; also for one that never opened, when it is an outgoing one. Once. */
  void (*conn_closed)(void *ctx, struct quic_conn *c, const struct quic_close *why);
  /* Bytes of a stream, in order; fin: the peer sends no more. Each byte must be given back by quic_consume, or by
   * quic_consume_stream and quic_consume_conn. */
  void (*stream_data)(void *ctx, struct quic_conn *c, int64_t stream, struct slice data, bool fin);
  /* All directions of the stream have ended, or the peer reset or stopped it (then with its app_error, else 0). Data still
   * queued on it is dropped. Of a unidirectional stream of the peer it is called when all of its data was handed out. */
  void (*stream_closed)(void *ctx, struct quic_conn *c, int64_t stream, uint64_t app_error);
  /* The peer acknowledged data: quic_queued shrank. At most once a connection and turn. May be NULL. */
  void (*acked)(void *ctx, struct quic_conn *c);
  /* A quic_conn_watch is on, and nothing came from the peer for max(3 PTO, 180 ms) although something waits to be acknowledged.
   * Called once, and again only after something has come, of which `heard` tells. Both may be NULL. */
  void (*silent)(void *ctx, struct quic_conn *c);
  void (*heard)(void *ctx, struct quic_conn *c);
  /* A connection ended before conn_open because there was no room, because TLS refused it, or by an alert of the peer; not
   * called for a peer that left or fell silent. id: NULL if no certificate was seen. The remote address is not proved. May be
   * NULL. */
  void (*refused)(void *ctx, const struct addr *remote, const struct id *id, int err, struct slice text);
  /* Datagrams of this connection are dropped unread, as what quic_conn_pays gave it is spent; told once a minute. May be NULL.
   */
  void (*limited)(void *ctx, struct quic_conn *c);
  /* More could be sent now than is queued, and the owner has more (quic_conn_more). Called within quic_send, possibly several
   * times; it may call only the functions for streams and quic_conn_close. */
  void (*drained)(void *ctx, struct quic_conn *c);
};

/* ---- endpoint --------------------------------------------------------------------------------------------------------------
 */
struct quic_config {
  struct mem *mem;       /* connections, streams, ngtcp2's own objects */
  struct mem *send_mem;  /* queued and unacknowledged stream data */
  struct rng rng;        /* ids, tokens, jitter */
  const struct log *log; /* may be NULL */
  struct quic_handler handler;
  void *ctx;                 /* for the handler */
  const struct spent *spent; /* NULL, or: timers that are due, what is to be told, and who may send are handled in slices */
  struct quic_identity *identity; /* referenced; NULL: a client without certificate */
  const char *ca_pem;             /* if set, a peer's certificate must be issued by one of these; copied */
  bool server;                    /* accept connections */
  bool require_cert;              /* server: refuse a peer without certificate in the handshake */
  uint8_t loop_id;                /* the first byte of every connection id that the endpoint issues */
  size_t conn_pool;               /* bytes that all connections together may hold beyond QUIC_CONN_MEMORY each; 0: no limit */
  uint32_t max_conns;             /* established connections, both kinds, lingering ones included */
  uint32_t max_half_open;         /* connections that have not reached quic_conn_admit: 1,024 */
  uint32_t retry_half_open;       /* Retry from this many half-open on: 256; 0: always */
  uint32_t retry_rate;            /* or above this many new connections a second from one address: 50; loopback exempt */
  uint32_t vain;                  /* handshakes of an address that may lead to nothing at once, and in 10 s; 0: 250 */
  uint64_t idle_timeout;          /* ns; 0: 30 s */
  uint64_t keep_alive;        /* ns between PINGs of outgoing connections; 0: none (for accepted ones: quic_conn_keep_alive) */
  uint64_t handshake_timeout; /* ns; 0: 10 s */
  bool later;                 /* datagrams of connections that are being made wait for quic_read_later */
  uint32_t stream_window;     /* bytes granted initially to a stream; 64 KiB */
  uint32_t conn_window;       /* bytes granted initially to a connection; 64 KiB */
  uint32_t max_streams;       /* bidirectional streams of the peer; 100 */
  uint32_t one_way_streams;   /* unidirectional streams of the peer, in all (quic_conn_grant_streams) */
  uint32_t one_way_window;    /* bytes granted initially to each of them */
  uint64_t unix_base_s;       /* wall clock in Unix seconds at time 0 of the monotonic clock: for certificates and tickets */
};
int quic_new(const struct quic_config *cfg, nanotime now, struct quic **ret_q);
/* Frees everything and sends nothing to the peers (for a goodbye, close the connections first); conn_closed is not called. */
void quic_free(struct quic *q);

/* One received datagram (GRO already split). */
void quic_recv(struct quic *q, const struct addr *local, const struct addr *remote, struct slice datagram, uint8_t ecn,
               nanotime now);
/* With quic_config.later: reads one of the datagrams that wait, with up to half a millisecond of work. */
bool quic_has_later(const struct quic *q);
void quic_read_later(struct quic *q, nanotime now);
/* An ICMP error for a datagram that we sent: `quoted` is its payload as far as the kernel gives it. port: nobody listens at the
 * port. Then the connection whose id is quoted sends a PING, and is dead if nothing arrives within max(3 PTO, 250 ms). Else a
 * host or network cannot be reached, which may pass: that ends only connections that are not open yet (RFC 1122, 4.2.3.9).
 * Rate-limited. */
void quic_icmp(struct quic *q, const struct addr *remote, struct slice quoted, bool port, nanotime now);
/* When quic_tick is due; TIME_NEVER. Cheap. */
nanotime quic_deadline(const struct quic *q);
/* Time-driven work of every due connection. */
void quic_tick(struct quic *q, nanotime now);
/* Writes the next burst, for one destination, into buf (cap >= 65,536 for full GSO bursts; at least 1,500). Returns bytes
 * written (also in ret_burst->len), 0 when nothing is left to send now, or when the turn has had its time. */
size_t quic_send(struct quic *q, uint8_t *buf, size_t cap, struct burst *ret_burst, nanotime now);
bool quic_unsent(const struct quic *q); /* whether some connection may have something to send now */
/* Sets how many datagrams one burst may hold, as many as one sendmsg with UDP_SEGMENT takes: 64 by default, 1 without GSO. */
void quic_set_max_segments(struct quic *q, unsigned n);
/* Whether datagrams of 8 KiB may be sent where a path takes them, as on loopback: of connections that are made from now on. */
void quic_set_large(struct quic *q, bool large);

/* Whether nothing is left to send: connections that linger would only repeat their last packet. O(connections). */
bool quic_is_silent(const struct quic *q);
/* Checks the endpoint and all its connections (base/check.h). O(connections, streams, pieces queued and ids). Not within a
 * handler. */
const char *quic_check(const struct quic *q);
/* Bytes of send_mem that the endpoint holds; of frames that others refer to as well, its part. Cost and condition as of
 * quic_check. */
double quic_send_owned(const struct quic *q);
/* New identity and CA for connections made from now on (certificate rotation); NULL keeps what is there. */
int quic_set_identity(struct quic *q, struct quic_identity *identity, const char *ca_pem);
/* Accepts no connections on this local port, which is only for outgoing ones. At most 4 ports. */
void quic_dial_only(struct quic *q, uint16_t port);
/* Sets the wall clock, forward or back. */
void quic_set_clock(struct quic *q, uint64_t unix_s, nanotime now);
/* When the first of the CA's certificates ends that has not yet, Unix seconds; UINT64_MAX: never, or there is no CA. */
uint64_t quic_ca_end(const struct quic *q);
uint64_t quic_unix(const struct quic *q); /* Unix seconds, by that clock */
struct quic_limits {                      /* as in struct quic_config */
  uint32_t max_conns, max_half_open, max_streams;
  size_t conn_pool;
};
/* New limits, for new connections. Existing ones stay, except that those that hold the most of conn_pool end if the new one is
 * too small. */
void quic_set_limits(struct quic *q, const struct quic_limits *limits);
/* Take no new connections; existing ones go on. New ones are closed with this application error. */
void quic_stop_accepting(struct quic *q, int err);

/* ---- connections -----------------------------------------------------------------------------------------------------------
 */
struct quic_connect {
  struct addr local, remote;
  const struct id *expect;        /* NULL: any identity; else MACULA_IDENTITY_MISMATCH closes the handshake */
  bool insecure;                  /* accept any certificate (its id is still computed), and expired ones */
  bool no_cert;                   /* do not present ours: as a base-only client */
  struct quic_identity *identity; /* instead of the endpoint's; NULL: the endpoint's; referenced */
  const char *ca_pem;             /* instead of the endpoint's; NULL: the endpoint's; not needed after the call */
  struct slice ticket;            /* from quic_conn_ticket of an earlier connection; empty: none */
  void *user;                     /* quic_conn_set_user before the first handler call */
};
int quic_connect(struct quic *q, const struct quic_connect *o, nanotime now, struct quic_conn **ret_conn);
/* Sends CONNECTION_CLOSE with application error -err and text ; queued data is dropped. conn_closed is called with
 * QUIC_CLOSE_LOCAL in the next quic_flush_events or quic_tick, never from within. Idempotent. */
void quic_conn_close(struct quic_conn *c, int err, const char *text);
/* As quic_conn_close, but only when all queued data is acknowledged, or at the deadline. */
void quic_conn_close_after(struct quic_conn *c, int err, const char *text, nanotime deadline);
/* After quic_conn_close_after: when all is acknowledged the peer is given until then to close the connection itself, for it may
 * have something to do still with what it has received. */
void quic_conn_await_close(struct quic_conn *c, nanotime until);
bool quic_is_awaiting(const struct quic *q); /* a connection waits for its peer so. O(connections) */
/* Frees the connection and sends nothing to the peer, as in a crash; conn_closed is not called. Not within a handler. */
void quic_conn_drop(struct quic_conn *c);
/* Delivers events that calls from outside a handler caused (conn_closed of closed ones). The driver calls it each turn. */
void quic_flush_events(struct quic *q, nanotime now);
/* The owner of a server has accepted CONNECT: the connection is no longer half-open. */
void quic_conn_admit(struct quic_conn *c);
/* Who pays for the accepted connection's packets that move nothing: neither new bytes of streams nor acknowledgements of ours,
 * but pings, what has come already, what waits for packets before it, limits, ids and paths. A packet costs a unit, and one
 * more for each 128 bytes of it; what was lost and comes after all gives them back. Without units its datagrams are dropped
 * unread: for who sends more of them QUIC is as a network that loses. `units` may be shared, and starts zeroed; NULL: nobody
 * pays any more, and nothing is dropped. */
void quic_conn_pays(struct quic_conn *c, struct bucket *units);
/* The accepted connection was admitted and is over after so short a time that its handshake counts as one that led to nothing
 * (accept.c). */
void quic_conn_brief(struct quic_conn *c);
/* When conn_pool is nearly full, the connection that holds the most of it ends. For that comparison this connection counts as
 * n. */
void quic_conn_shares(struct quic_conn *c, uint32_t n);

void quic_conn_set_user(struct quic_conn *c, void *user);
void *quic_conn_user(const struct quic_conn *c);
struct quic *quic_conn_endpoint(const struct quic_conn *c);
bool quic_conn_is_server(const struct quic_conn *c);
uint64_t quic_conn_serial(const struct quic_conn *c); /* unique within the endpoint's life, never 0 */
/* NULL: the peer showed no certificate. */
const struct id *quic_conn_peer_id(const struct quic_conn *c);
/* QUIC_EXPORTER_LEN bytes that only the two ends of this TLS session know, under this program's label (RFC 5705, RFC
 * 8446, 7.5); a view as long as the connection. NULL: its handshake is not complete. */
#define QUIC_EXPORTER_LEN 32
const uint8_t *quic_conn_exporter(const struct quic_conn *c);
bool quic_conn_peer_is_short(const struct quic_conn *c); /* its key is Ed25519 or P-256, whose signatures have 64 bytes */
/* Unix seconds of its certificate's end, with a CA of the first end in its chain, the CA's own certificate included;
 * UINT64_MAX: none. */
uint64_t quic_conn_peer_expiry(const struct quic_conn *c);
const struct addr *quic_conn_remote(const struct quic_conn *c);
uint64_t quic_conn_rtt(const struct quic_conn *c);   /* smoothed, ns */
size_t quic_conn_allowed(const struct quic_conn *c); /* the congestion window, bytes; 0: the connection is gone */
/* Bytes of memory that the connection holds, of its own part and of conn_pool; *ret_peak: the most that it ever held. */
size_t quic_conn_held(const struct quic_conn *c, size_t *ret_peak);
bool quic_conn_resumed(const struct quic_conn *c);
/* Client: the newest session ticket, allocated in *ret_ticket with malloc; 0 bytes if none came. */
size_t quic_conn_ticket(struct quic_conn *c, uint8_t **ret_ticket);
/* Sends PING every `every` ns (0: stop): for base-only clients, which send none themselves. */
void quic_conn_keep_alive(struct quic_conn *c, uint64_t every);
/* While held, the peer gets no new bidirectional stream for one that it has closed. */
void quic_conn_hold_streams(struct quic_conn *c, bool hold);
/* While on, the connection is probed, and `silent` may be called. For connections with calls pending. A PING is sent 80 ms
 * after the last packet; while more than 256 connections are watched, as much later as there are more, so that the endpoint
 * sends no more than 3,200 a second. */
void quic_conn_watch(struct quic_conn *c, bool on);
/* Whether `silent` was called and nothing has come since. */
bool quic_conn_silent(const struct quic_conn *c);
uint64_t quic_conn_unheard(const struct quic_conn *c); /* for how long, ns; 0: it was not */
void quic_conn_ping(struct quic_conn *c);
void quic_conn_key_update(struct quic_conn *c); /* for tests; otherwise automatic */

/* ---- streams ---------------------------------------------------------------------------------------------------------------
 */
/* Opens a bidirectional stream. MACULA_EFULL when the peer grants none at the moment. */
int quic_stream_open(struct quic_conn *c, int64_t *ret_stream);
/* Opens a unidirectional stream, likewise; quic_one_way_left: how many the peer grants at the moment. */
int quic_stream_open_one_way(struct quic_conn *c, int64_t *ret_stream);
uint64_t quic_one_way_left(const struct quic_conn *c);
static inline bool quic_stream_is_one_way(int64_t stream) { return stream & 2; } /* RFC 9000, 2.1 */
bool quic_stream_is_ours(const struct quic_conn *c, int64_t stream);             /* we opened it, or could */
/* The peer may open n unidirectional streams more, and from now on another one for each that has ended. */
void quic_conn_grant_streams(struct quic_conn *c, uint32_t n);
/* Queues a copy. Small writes are gathered in chunks. MACULA_ENOMEM (send_mem refused), MACULA_ENOTFOUND (stream gone),
 * MACULA_ECLOSED. */
int quic_stream_write(struct quic_conn *c, int64_t stream, struct slice data);
/* Queues a reference to shared bytes. */
int quic_stream_write_ref(struct quic_conn *c, int64_t stream, struct shbuf *b);
/* No more data after what is queued. */
void quic_stream_finish(struct quic_conn *c, int64_t stream);
void quic_stream_reset(struct quic_conn *c, int64_t stream, uint64_t app_error);
/* The owner has more to send than it has queued: `drained` is called when there is room, and quic_conn_close_after waits. */
void quic_conn_more(struct quic_conn *c, bool more);
/* Bytes queued on the connection that the peer has not acknowledged yet. */
size_t quic_queued(const struct quic_conn *c);
/* quic_stream_queued: the same for one stream; quic_stream_unsent: how many of these bytes were not sent yet. 0: the stream is
 * gone, or is no longer sent. */
size_t quic_stream_queued(struct quic_conn *c, int64_t stream);
size_t quic_stream_unsent(struct quic_conn *c, int64_t stream);
/* How far a stream has got, in bytes from its beginning: queued, sent for the first time, and acknowledged without a gap. Of
 * the connection's first streams it is known after its end, too. False: it is not known. */
struct quic_offsets {
  uint64_t written, sent, acked;
};
bool quic_stream_offsets(const struct quic_conn *c, int64_t stream, struct quic_offsets *ret);
/* Bytes ever queued on the connection, modulo 2^32. */
uint32_t quic_written(const struct quic_conn *c);
/* When the peer last acknowledged stream data, or when the queue last went from empty to filled, whichever is later. */
nanotime quic_queue_progress(const struct quic_conn *c);
nanotime quic_stream_progress(struct quic_conn *c, int64_t stream); /* the same, of one stream; 0: it is gone */
nanotime quic_stream_credited(struct quic_conn *c, int64_t stream); /* when the peer last gave the stream credit; 0: never */
/* Gives n received bytes back to the sender as credit, on the stream and on the connection. The stream may be gone already. */
void quic_consume(struct quic_conn *c, int64_t stream, size_t n);
/* One of both alone: a peer that is held on one stream goes on with the others. */
void quic_consume_stream(struct quic_conn *c, int64_t stream, size_t n);
void quic_consume_conn(struct quic_conn *c, size_t n);
/* Grants n bytes beyond the window (a larger window, or room for a large frame). */
void quic_grant(struct quic_conn *c, int64_t stream, size_t n);

#endif
