/* The interface between a driver of datagrams (src/io, the simulator) and the code that it drives (quic, the node, a hub of
 * clients). */
#ifndef BASE_ENDPOINT_H
#define BASE_ENDPOINT_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/slice.h"
#include "base/time.h"

/* Datagrams for one destination, one after the other in a buffer. */
struct burst {
  struct addr local, remote; /* local: of an open socket, else it is not sent; port 0: any socket's of remote's family */
  uint8_t ecn;
  size_t len;     /* bytes in the buffer */
  size_t segment; /* each datagram but the last has this size; the last is len % segment or segment */
};

struct endpoint { /* every function is called on the driver's thread */
  void (*recv)(void *ctx, const struct addr *local, const struct addr *remote, struct slice datagram, uint8_t ecn,
               nanotime now);
  /* port: nobody listens at that port; else the host cannot be reached, as the network or this machine reports, which may pass.
   * May be NULL. */
  void (*icmp)(void *ctx, const struct addr *remote, struct slice quoted, bool port, nanotime now);
  nanotime (*deadline)(void *ctx);
  void (*tick)(void *ctx, nanotime now); /* deadline passed, and once each turn in which anything was received or posted */
  /* Writes the next burst into buf (cap >= 65,536 for full GSO bursts; at least 1,500). Bytes written, as in ret_burst->len; 0:
   * nothing is left to send now, or the turn has had its time (base/turns.h). */
  size_t (*send)(void *ctx, uint8_t *buf, size_t cap, struct burst *ret_burst, nanotime now);
  void *ctx;
  /* What `recv` is given from now on may have waited in the kernel for so long (ns), as this process stood still: stopped, or
   * its machine suspended. 0: no more. Called before `recv`; may be NULL. */
  void (*stood)(void *ctx, uint64_t ns, nanotime now);
  /* When `send` has nothing left: one piece of what others shall not wait for, a part of a handshake. False: there was none.
   * Then `tick` and `send` follow again. May be NULL. */
  bool (*late)(void *ctx, nanotime now);
};

#endif
