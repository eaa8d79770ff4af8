/* Light nodes: real ones (src/node) with a UDP port each, all in the load process, so that one node can meet 1,500 others. */
#ifndef LOAD_DRIVE_LIGHT_H
#define LOAD_DRIVE_LIGHT_H

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "bounded/heap.h"
#include "node/node.h"
#include "quic/quic.h"

struct lights {
  struct io_loop *io;
  const char *realm;
  struct mem *mem;
  struct log *log;
  struct list all, touched; /* touched: with something to send */
  struct light **by_port;
  struct heap due;
};

struct light {
  struct list all, touched; /* of lights */
  struct heap_link due;
  struct node *node;
  struct endpoint ep; /* the node's */
  struct io_udp *udp;
  uint16_t port;
  char text[160]; /* macula://ID@127.0.0.1:PORT */
};

/* The lists are made, whatever comes back. */
int light_init(struct lights *l, struct io_loop *io, const char *realm, struct mem *mem, struct log *log);
void light_done(struct lights *l);
/* On this port of 127.0.0.1. MACULA_EBUSY: another program has it. */
int light_new(struct lights *l, uint16_t port, struct light **ret_light);
void light_free(struct lights *l, struct light *n);
uint32_t light_connections(const struct light *n);

void light_recv(struct lights *l, const struct addr *local, const struct addr *remote, struct slice datagram, uint8_t ecn,
                nanotime now);
nanotime light_deadline(const struct lights *l);
void light_tick(struct lights *l, nanotime now);
size_t light_send(struct lights *l, uint8_t *buf, size_t cap, struct burst *ret_burst, nanotime now);

#endif
