/* What the files of src/io share. */
#ifndef IO_IO_PRIV_H
#define IO_IO_PRIV_H

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <uv.h>

#include "base/list.h"
#include "io/io.h"

#define OUT_BURST 65536  /* bytes: a full burst of UDP_SEGMENT */
#define OUT_BATCH 16     /* bursts to one sendmmsg, */
#define OUT_BYTES 262144 /* about so many bytes */
#define OUT_KEEP 12      /* how many of them may wait for full sockets while others have room */
#define IN_BATCH 16      /* reads of one recvmmsg, of up to 64 datagrams each */
/* A turn is to take less than 5 ms. When it has taken so long it receives no more, what can wait within the endpoint waits, and
 * no more is sent; each of them gets on by a little even if those before have taken it all. */
#define IO_RECEIVE_UNTIL (1000 * NS_US)
#define IO_TICK_UNTIL (1500 * NS_US)
#define IO_SEND_UNTIL (2500 * NS_US)
#define STREAM_EVENTS 64
#define PORT_CHAINS 1024 /* `macula load` has 6,000 sockets in one loop */

struct io_udp {
  struct list link, of_port; /* in io_loop.sockets, io_loop.by_port */
  struct list readable;      /* io_loop.readable: there may be something to read */
  struct io_loop *loop;
  uv_poll_t poll;
  int fd;
  bool wildcard, gso, want_write, closing;
  bool writable; /* the kernel said so, and nothing was sent since */
  struct addr local;
  nanotime full_since;   /* since when the socket is full although the kernel said that it is writable; 0: it is not */
  nanotime unread_since; /* since when a datagram has been waiting and none was read; 0: none waits */
};

struct out { /* a burst on its way out */
  struct burst o;
  uint8_t *data;
  size_t off;  /* bytes that left already, one datagram at a time */
  bool singly; /* not by UDP_SEGMENT */
};

struct in { /* datagrams of one size of one sender, one after the other */
  struct addr local, from;
  uint8_t *data;
  size_t len, at, segment;
  uint8_t ecn;
};

struct io_turn {
  bool on;
  nanotime began;
  uint64_t idle;       /* uv_metrics_idle_time when it began */
  uint64_t read;       /* the thread's clock, last read at the end of a turn; after that short turns took `before` together */
  uint64_t before;     /* ns */
  uint64_t most;       /* ns: then it is spent */
  nanotime look_at;    /* not before then */
  nanotime marked;     /* io_loop_did: the last time, */
  uint64_t marked_cpu; /* and what the thread's clock said then, or earlier */
  const char *cause;
  uint64_t cause_ns;
  uint64_t lately; /* ns: the longest since io_loop_longest_turn was last asked */
  struct turns all;
};

struct io_loop {
  uv_loop_t uv;
  uv_async_t async;
  uv_poll_t timer_poll;
  uv_prepare_t prepare;
  uv_check_t check;
  uv_idle_t idle; /* while it is started the loop does not sleep */
  struct io_turn turn;
  bool (*busy)(void *ctx);
  void *busy_ctx;
  bool unsent;      /* the time was over before all was sent */
  unsigned put_off; /* turns in a row in which `late` was left out for that */
  const struct log *log;
  struct endpoint ep;
  bool has_ep, received, stopping;
  int timer_fd;
  nanotime now, armed;
  nanotime slept; /* when the last turn ended */
  uint64_t stood; /* as the endpoint was told last */
  void (*on_wake)(void *ctx, nanotime now);
  void *wake_ctx;
  bool woken;
  struct list sockets, lookups;
  struct list by_port[PORT_CHAINS]; /* sockets by their port modulo PORT_CHAINS */
  bool rewatched;                   /* a descriptor changed what it waits for: libuv tells the kernel in its next iteration */
  struct io_stats stats;
  unsigned socket_count, waiting; /* waiting: those of them that are full */
  nanotime moved;                 /* when a datagram was last received, sent or lost */
  nanotime say_at[IO_DROPS];
  uint64_t unsaid[IO_DROPS];
  uint8_t *out_buf;
  struct out out[OUT_BATCH]; /* after sending: out_count that wait for their socket to become writable */
  unsigned out_count;
  uint8_t *in_buf;
  struct list readable;   /* io_udp.readable, in the order in which they are read */
  struct in in[IN_BATCH]; /* read, and not yet handed on: those from in_at on */
  struct io_udp *in_of;   /* by this socket */
  unsigned in_at, in_count;
  struct list tls;        /* io_tls.link */
  struct list listeners;  /* io_tcp.link */
  int streams_fd;         /* the epoll set of all streams and listeners; -1: there was no listener yet */
  uv_poll_t streams_poll; /* of it */
  bool streams_ready;     /* it has, or may have, more to say */
  struct epoll_event
      events[STREAM_EVENTS]; /* that it said; those from event_at on are to be handled; of what ended ptr is NULL */
  unsigned event_at, event_count;
  uint8_t *stream_buf;
};

/* Reads what the sockets hold, within the turn's time, and each at most within its own budget. */
void io_udp_receive(struct io_loop *l);
bool io_udp_unread(const struct io_loop *l); /* there is, or may be, more */
/* Pulls and sends until nothing is left, each socket is full, or the turn has had its time (io_loop.unsent). */
void io_udp_flush(struct io_loop *l);

/* Likewise of streams. */
void io_tcp_receive(struct io_loop *l);
bool io_tcp_unread(const struct io_loop *l);
void io_tcp_flush(struct io_loop *l);
nanotime io_tcp_deadline(const struct io_loop *l);
void io_tcp_drop_all(struct io_loop *l);
void io_tls_sweep(struct io_loop *l);
void io_tls_flush(struct io_loop *l); /* what waits for records, into the streams below */
nanotime io_tls_deadline(const struct io_loop *l);
void io_tcp_done(struct io_loop *l); /* once libuv watches nothing any more */

/* udp.c: for ret_why (256 bytes; may be NULL); returns err. */
int io_explain(char *ret_why, int err, const char *text);
/* What errno says after a socket could not be had; what: "UDP". */
int io_bind_error(const char *what, const struct addr *bind, char *ret_why);

void io_turn_init(struct io_loop *l);
void io_turn_begin(struct io_loop *l); /* the loop has slept, and something is to be done; harmless when repeated */
void io_turn_until(struct io_loop *l, uint64_t most);
bool io_turn_spent(struct io_loop *l);
void io_turn_end(struct io_loop *l); /* before it sleeps */
/* Ends every lookup without calling back. */
void io_resolve_drop_all(struct io_loop *l);

/* state.c: io_file_read, and what was read. */
int file_read(const char *path, size_t max, struct stat *ret_st, char **ret_data, size_t *ret_len, char *ret_why /* 256 */);
bool names_descriptor(const char *path); /* /dev/stdin and the like: whoever started us opened it */

#endif
