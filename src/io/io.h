/* The event loop and the sockets: libuv and the only system calls for time and network in this project.
 *
 * An io_loop drives one or more endpoints through struct endpoint (base/endpoint.h). Each turn: every readable socket is
 * drained (recvmmsg, UDP_GRO), then endpoints that are due are ticked, posted work is run, then every touched endpoint's output
 * is pulled and sent (UDP_SEGMENT within a destination, sendmmsg across). Timers have 1 ms resolution. All on one thread.
 *
 * Each of these has a share of a turn's time (io_priv.h). What is left when that is over is done in the next turn, which comes
 * at once; the loop polls in between, so that sockets, timers and HTTP have theirs, too. */
#ifndef IO_IO_H
#define IO_IO_H

#include <stdbool.h>

#include "base/endpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/slice.h"
#include "base/stream.h"
#include "base/time.h"
#include "base/turns.h"

struct io_loop;
struct io_udp;

nanotime io_now(void);              /* CLOCK_BOOTTIME */
nanotime io_monotonic(nanotime at); /* a time of io_now by CLOCK_MONOTONIC, for waiting, which knows no other */
uint64_t io_unix_ms(void);          /* CLOCK_REALTIME, milliseconds */
struct rng io_rng(void);            /* the system's random source */

int io_loop_new(const struct log *log, struct io_loop **ret_loop);
/* Closes what is open and frees it. Not from within the loop. */
void io_loop_free(struct io_loop *l);
/* Runs until io_loop_stop. */
int io_loop_run(struct io_loop *l);
void io_loop_stop(struct io_loop *l); /* MACULA_ANY_THREAD */
/* For a program with a loop of its own: a descriptor that is readable when io_loop_step has something to do (timers included),
 * and one non-blocking turn. */
int io_loop_fd(struct io_loop *l);
int io_loop_step(struct io_loop *l);
/* fn is called in the turn that io_loop_wake asked for, after receiving and before sending. The loop's one hook, set before it
 * runs. */
void io_loop_on_wake(struct io_loop *l, void (*fn)(void *ctx, nanotime now), void *ctx);
/* Asks for a turn. Many wake-ups may merge into one. MACULA_ANY_THREAD. */
void io_loop_wake(struct io_loop *l);
/* Sets the endpoint that receives, ticks and sends in each turn; copied. NULL: none. */
void io_loop_set_endpoint(struct io_loop *l, const struct endpoint *ep);
nanotime io_loop_now(const struct io_loop *l); /* of this turn */
/* Whether this turn has had its time: what can wait should be done in the next one. */
bool io_loop_spent(struct io_loop *l);
/* fn says whether the endpoint has left something for the next turn, which is to come at once. NULL: never. */
void io_loop_on_busy(struct io_loop *l, bool (*fn)(void *ctx), void *ctx);
/* What the loop has done since this was last called, for the cause of a long turn; static text. */
void io_loop_did(struct io_loop *l, const char *what);
const struct turns *io_loop_turns(const struct io_loop *l);
uint64_t io_loop_longest_turn(struct io_loop *l); /* ns, of those since it was last asked */

/* The libuv loop itself, for the daemon's own handles (signals, HTTP): a uv_loop_t *. */
void *io_loop_uv(struct io_loop *l);

struct io_udp_options {
  struct addr bind; /* port 0: any */
  bool icmp_errors; /* IP_RECVERR */
  int rcvbuf;       /* bytes asked for; 0: 8 MiB; SO_RCVBUFFORCE if permitted, else a warning names what was given */
  bool no_gso, no_gro;
};
/* Adds a socket to the loop's endpoint. A loop may have several (IPv4 and IPv6, or several addresses); output goes out by the
 * socket whose bound address matches burst.local, else by the first of the family. MACULA_EBUSY (port in use),
 * MACULA_NOT_AUTHORIZED (permission), MACULA_EINVAL (no such local address), MACULA_EIO; ret_why (optional, 256 bytes) gets a
 * line for people. */
int io_udp_open(struct io_loop *l, const struct io_udp_options *o, struct io_udp **ret_udp, char *ret_why);
void io_udp_close(struct io_udp *u);
const struct addr *io_udp_local(const struct io_udp *u);
/* Whether GSO works on every socket of this loop; else an endpoint should make single datagrams. */
bool io_udp_gso(const struct io_loop *l);

/* Why datagrams were not sent; they are lost, as the network loses them. */
enum io_drop {
  IO_DROP_QUEUE,       /* ENOBUFS: a queue within this machine has no room, or a virtual device did not take it */
  IO_DROP_MEMORY,      /* ENOMEM */
  IO_DROP_SIZE,        /* EMSGSIZE: larger than the path takes, as far as this machine knows it */
  IO_DROP_FILTERED,    /* EPERM, EACCES: a packet filter, or a route that prohibits */
  IO_DROP_UNREACHABLE, /* no route, no such local address any more, the network is down */
  IO_DROP_SOCKET,      /* its socket was closed, or is full while others have room */
  IO_DROP_OTHER,
  IO_DROPS
};
const char *io_drop_name(enum io_drop why);
struct io_stats {
  uint64_t rx_calls, rx_datagrams, rx_errors, tx_calls, tx_datagrams, tx_blocked, icmp_errors;
  uint64_t tx_errors, tx_dropped[IO_DROPS]; /* datagrams: all, and by reason */
};
void io_loop_stats(const struct io_loop *l, struct io_stats *ret_stats);

/* False when the loop turns but does not serve: for 10 s no datagram was received or sent although the kernel had some to read,
 * or said that it would accept those that wait. */
bool io_loop_serves(struct io_loop *l, nanotime now);

/* ---- TCP (tcp.c): streams that others open ----------------------------------------------------------------------------------
 */
struct io_tcp;
struct io_tcp_options {
  struct addr bind; /* port 0: any */
  struct stream_owner owner;
  struct mem *mem;    /* what streams take; it outlives them */
  size_t most_unsent; /* bytes that a stream takes beyond what its socket has; 0: 64 KiB */
  /* Bytes of socket buffers beyond the first ones, of all streams together. Those of a stream that
   * fills them grow twofold, to 1 MiB at most, and shrink again when it has not used them for some seconds. */
  size_t most_buffers;
};
/* Bytes of a socket's buffers at first; the kernel counts twice as much. What is received has room for what a peer sends at
 * once. */
#define IO_TCP_FIRST_IN 12288
#define IO_TCP_FIRST_OUT 8192
#define IO_TCP_FIRST (2 * (IO_TCP_FIRST_IN + IO_TCP_FIRST_OUT)) /* both, as the kernel counts them */
/* Listens. Streams that come are the owner's. Errors and ret_why as of io_udp_open. */
int io_tcp_open(struct io_loop *l, const struct io_tcp_options *o, struct io_tcp **ret_tcp, char *ret_why);
/* Ends the streams, of which their owner hears, and stops listening. io_loop_free does it for those that are left. */
void io_tcp_close(struct io_tcp *t);
const struct addr *io_tcp_local(const struct io_tcp *t);
struct io_tcp_stats {
  uint64_t accepted, refused; /* streams; refused: by their owner, or as there was no memory or no file descriptor for them */
  uint64_t received, sent;    /* bytes */
  uint32_t open;
  size_t buffers; /* bytes of socket buffers that the kernel may hold for them now */
};
void io_tcp_stats(const struct io_tcp *t, struct io_tcp_stats *ret_stats);

/* ---- TLS 1.2 and 1.3 on streams (tls.c) -------------------------------------------------------------------------------------
 */
struct io_tls;
struct io_tls_options {
  const char *key_pem, *cert_pem; /* of the server, with its chain */
  struct stream_owner owner;      /* of the streams that come out */
  struct mem *mem;                /* what they take, but for GnuTLS's sessions, which its own hooks count; it outlives them */
  uint32_t most_shaking;          /* handshakes under way at a time: the oldest makes room for a newcomer; 0: 256 */
  /* Whether a handshake may begin. May be NULL. */
  bool (*may_come)(void *ctx, const struct addr *remote, nanotime now);
  /* A stream ended before its owner heard of it; text for people, NULL: its peer left without a word. May be NULL. */
  void (*refused)(void *ctx, const struct addr *remote, const char *why, nanotime now);
  void *ctx; /* of both */
};
/* Streams of others that carry TLS are owned by io_tls_owner, and what they carry by o->owner. A certificate of the client is
 * asked for and not demanded: its key is proved by the handshake, and nothing else of it is checked (stream.id). A handshake
 * takes 10 s at most. MACULA_CERTIFICATE_INVALID, MACULA_ENOMEM. */
int io_tls_new(struct io_loop *l, const struct io_tls_options *o, struct io_tls **ret_tls);
/* After the streams below are gone. */
void io_tls_free(struct io_tls *t);
struct stream_owner io_tls_owner(struct io_tls *t);
/* Another certificate for who comes from now on. Errors as of io_tls_new. */
int io_tls_set_cert(struct io_tls *t, const char *key_pem, const char *cert_pem);
struct io_tls_stats {
  uint64_t handshakes, failed; /* completed; ended before that */
  uint32_t shaking;
};
void io_tls_stats(const struct io_tls *t, struct io_tls_stats *ret_stats);

struct io_resolve;
/* Looks up a name (getaddrinfo in libuv's thread pool): up to max addresses; cb on the loop's thread, count 0 and a line for
 * people on failure. "host:port", "[v6]:port" and bare numeric addresses alike. */
int io_resolve_start(struct io_loop *l, const char *host_port, uint16_t default_port, size_t max,
                     void (*cb)(void *ctx, const struct addr *addrs, size_t count, const char *why), void *ctx,
                     struct io_resolve **ret_req);
void io_resolve_cancel(struct io_resolve *r); /* cb is not called */

/* ---- state folder (state.c): blocking file work, at start-up and rarely ----------------------------------------------------
 */
/* Creates the folder (0700) and takes a lock that the process holds: MACULA_EBUSY when another process has it. */
int io_state_open(const char *dir, int *ret_lock_fd, char *ret_why /* 256 */);
/* Removes what processes that were killed while they wrote these files (shell patterns, the last one NULL) left behind. Whoever
 * holds the lock only. */
void io_state_sweep(const char *dir, const char *const *names);
/* Replaces a file whole: temporary file, fsync, rename. Mode as given. On failure (full disk) the old file stays. */
int io_file_write(const char *path, struct slice data, unsigned mode, char *ret_why /* 256 */);
/* As io_file_write but fails with MACULA_EBUSY if the file exists (two processes that start at once). */
int io_file_create(const char *path, struct slice data, unsigned mode, char *ret_why /* 256 */);
/* As io_file_write, but of a file that is there owner and mode stay, and a link to it stays one. mode: of a new one. */
int io_file_change(const char *path, struct slice data, unsigned mode, char *ret_why /* 256 */);
/* Waits until no other process has the lock of this file: who reads, changes and replaces it meanwhile loses nothing that
 * another writes. It goes with *ret_fd. create: the file is made, for its owner alone, if it is not there. Errors as of
 * io_file_read. */
int io_file_lock(const char *path, bool create, int *ret_fd, char *ret_why /* 256 */);
/* Reads a file of at most max bytes into malloc'ed, NUL-terminated memory. A FIFO or device is refused, so that it never
 * waits; names of descriptors (/dev/stdin, /dev/fd/N) are read to their end. MACULA_ENOTFOUND, MACULA_NOT_AUTHORIZED,
 * MACULA_EIO. */
int io_file_read(const char *path, size_t max, char **ret_data, size_t *ret_len, char *ret_why /* 256 */);

/* ---- texts and secrets in files (secret.c): as io_file_read, and MACULA_EINVAL for what is no text --------------------------
 */
/* A text, as of a certificate: refuses NUL bytes, which would cut it short, and says so of UTF-16. */
int io_text_read(const char *path, size_t max, char **ret_text, size_t *ret_len, char *ret_why /* 256 */);
/* A text with a private key in PEM: refuses a file without one (MACULA_CERTIFICATE_INVALID), and one that others can read or
 * that belongs to another user but root (MACULA_NOT_AUTHORIZED); the group may read what is root's. Of names of descriptors the
 * content alone is checked. */
int io_key_read(const char *path, size_t max, char **ret_text, size_t *ret_len, char *ret_why /* 256 */);
/* Whether only its owner reads a file that holds a secret: MACULA_NOT_AUTHORIZED as of io_key_read, MACULA_EIO. */
int io_private_check(const char *path, char *ret_why /* 256 */);
/* A token: one line, without the blanks around it. Who may read the file: as io_key_read. */
int io_token_read(const char *path, char **ret_token, char *ret_why /* 256 */);

#endif
