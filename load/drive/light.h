/* Light nodes: real ones (src/node) with a UDP port each, all in the load process, so that one node can meet 1,500 others. */
#ifndef LOAD_DRIVE_LIGHT_H
#define LOAD_DRIVE_LIGHT_H

#include "bounded/heap.h"
#include "load/run.h"
#include "node/node.h"

struct light {
  struct list all, touched; /* load.light, load.touched */
  struct heap_link due;
  struct node *node;
  struct io_udp *udp;
  uint16_t port;
  char text[160]; /* macula://ID@127.0.0.1:PORT */
};

int light_init(struct load *l);
void light_done(struct load *l);
/* On this port of 127.0.0.1. MACULA_EBUSY: another program has it. */
int light_new(struct load *l, uint16_t port, struct light **ret_light);
void light_free(struct load *l, struct light *n);
uint32_t light_connections(const struct light *n);

void light_recv(struct load *l, const struct addr *local, const struct addr *remote, struct slice datagram, uint8_t ecn,
                nanotime now);
nanotime light_deadline(const struct load *l);
void light_tick(struct load *l, nanotime now);
size_t light_send(struct load *l, uint8_t *buf, size_t cap, struct quic_out *ret_out, nanotime now);

#endif
