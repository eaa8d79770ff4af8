/* What the files of src/io share. */
#ifndef IO_IO_PRIV_H
#define IO_IO_PRIV_H

#include <pthread.h>
#include <sys/stat.h>
#include <uv.h>

#include "base/list.h"
#include "io/io.h"

#define OUT_BURST 65536  /* octets: a full burst of UDP_SEGMENT */
#define OUT_BATCH 16     /* bursts to one sendmmsg */
#define PORT_CHAINS 1024 /* `macula load` has 6,000 sockets in one loop */

struct io_udp {
  struct list link, of_port; /* in io_loop.sockets, io_loop.by_port */
  struct io_loop *loop;
  uv_poll_t poll;
  int fd;
  bool wildcard, gso, want_write, closing;
  struct addr local;
};

struct io_loop {
  uv_loop_t uv;
  uv_async_t async;
  uv_poll_t timer_poll;
  uv_prepare_t prepare;
  uv_check_t check;
  const struct log *log;
  struct io_endpoint ep;
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
  /* One batch of output. `unsent` bursts from `first` on wait for their socket to become writable. */
  uint8_t *out_buf;
  struct io_out out[OUT_BATCH];
  unsigned out_first, out_count;
  size_t out_off; /* octets of the first burst that left already, one datagram at a time */
  uint8_t *in_buf;
};

/* Drains the socket within the turn's budget. */
void io_udp_drain(struct io_udp *u);
/* Pulls and sends until nothing is left or a socket is full. */
void io_udp_flush(struct io_loop *l);
/* Ends every lookup without calling back. */
void io_resolve_drop_all(struct io_loop *l);

/* state.c: io_file_read, and what was read. */
int file_read(const char *path, size_t max, struct stat *ret_st, char **ret_data, size_t *ret_len, char *ret_why /* 256 */);
bool names_descriptor(const char *path); /* /dev/stdin and the like: whoever started us opened it */

#endif
