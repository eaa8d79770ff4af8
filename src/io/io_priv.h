/* What the files of src/io share. */
#ifndef IO_IO_PRIV_H
#define IO_IO_PRIV_H

#include <pthread.h>
#include <sys/stat.h>
#include <uv.h>

#include "base/list.h"
#include "io/io.h"

#define OUT_BURST 65536  /* bytes: a full burst of UDP_SEGMENT */
#define OUT_BATCH 16     /* bursts to one sendmmsg */
#define OUT_KEEP 12      /* how many of them may wait for full sockets while others have room */
#define PORT_CHAINS 1024 /* `macula load` has 6,000 sockets in one loop */

struct io_udp {
  struct list link, of_port; /* in io_loop.sockets, io_loop.by_port */
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

struct io_loop {
  uv_loop_t uv;
  uv_async_t async;
  uv_poll_t timer_poll;
  uv_prepare_t prepare;
  uv_check_t check;
  const struct log *log;
  struct endpoint ep;
  bool has_ep, received, stopping;
  int timer_fd;
  nanotime now, armed;
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
};

/* Drains the socket within the turn's budget. */
void io_udp_drain(struct io_udp *u);
/* Pulls and sends until nothing is left or each socket is full. */
void io_udp_flush(struct io_loop *l);
/* Ends every lookup without calling back. */
void io_resolve_drop_all(struct io_loop *l);

/* state.c: io_file_read, and what was read. */
int file_read(const char *path, size_t max, struct stat *ret_st, char **ret_data, size_t *ret_len, char *ret_why /* 256 */);
bool names_descriptor(const char *path); /* /dev/stdin and the like: whoever started us opened it */

#endif
