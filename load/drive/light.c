#include "load/drive/light.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "io/io.h"

#define PORTS 65536

int light_init(struct lights *l, struct io_loop *io, const char *realm, struct mem *mem, struct log *log) {
  *l = (struct lights){.io = io, .realm = realm, .mem = mem, .log = log, .by_port = calloc(PORTS, sizeof *l->by_port)};
  list_init(&l->all);
  list_init(&l->touched);
  heap_init(&l->due, mem, PORTS);
  return l->by_port ? 0 : MACULA_ENOMEM;
}

void light_done(struct lights *l) {
  if (!l->by_port) return;
  list_for_safe(it, &l->all) light_free(l, container_of(it, struct light, all));
  heap_done(&l->due);
  free(l->by_port);
}

static void touch(struct lights *l, struct light *n) {
  if (list_empty(&n->touched)) list_append(&l->touched, &n->touched);
}

int light_new(struct lights *l, uint16_t port, struct light **ret_light) {
  struct quic_identity *identity = NULL;
  char hex[ID_HEX_LEN + 1], why[256];
  nanotime now = io_now();
  struct light *n = calloc(1, sizeof *n);
  if (!n) return MACULA_ENOMEM;
  list_init(&n->all);
  list_init(&n->touched);
  n->port = port;
  struct io_udp_options o = {.rcvbuf = 256 << 10, .no_gro = true};
  o.bind.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int err = io_udp_open(l->io, &o, &n->udp, why);
  if (!err) err = quic_identity_generate(&identity);
  if (!err) {
    struct node_config c = {.rng = io_rng(),
                            .log = l->log,
                            .identity = identity,
                            .name = "light",
                            .realm = l->realm,
                            .idle_timeout = 60 * NS_SEC,
                            .unix_base_ms = io_unix_ms() - now / NS_MS,
                            .limits = {.max_clients = 4, .max_half_open = 4, .max_peers = 4, .max_members = 16},
                            .no_upkeep = true};
    err = node_new(&c, now, &n->node);
  }
  if (!err) {
    n->ep = node_endpoint(n->node);
    err = heap_set(&l->due, &n->due, now);
  }
  quic_identity_unref(identity);
  if (err) {
    node_free(n->node);
    io_udp_close(n->udp);
    free(n);
    return err;
  }
  node_set_sockets(n->node, io_udp_local(n->udp), 1);
  id_hex(node_id(n->node), hex);
  snprintf(n->text, sizeof n->text, "macula://%s@127.0.0.1:%u", hex, port);
  l->by_port[port] = n;
  list_append(&l->all, &n->all);
  touch(l, n);
  *ret_light = n;
  return 0;
}

void light_free(struct lights *l, struct light *n) {
  l->by_port[n->port] = NULL;
  list_remove(&n->all);
  list_remove(&n->touched);
  heap_remove(&l->due, &n->due);
  node_free(n->node);
  io_udp_close(n->udp);
  free(n);
}

uint32_t light_connections(const struct light *n) {
  struct quic_stats s;
  quic_stats(node_quic(n->node), &s);
  return s.conns;
}

void light_recv(struct lights *l, const struct addr *local, const struct addr *remote, struct slice datagram, uint8_t ecn,
                nanotime now) {
  struct light *n = l->by_port[addr_port(local)];
  if (!n) return;
  n->ep.recv(n->ep.ctx, local, remote, datagram, ecn, now);
  touch(l, n);
}

nanotime light_deadline(const struct lights *l) { return list_empty(&l->touched) ? heap_deadline(&l->due) : 0; }

/* Those that received or are due; each stays touched until light_send has pulled all that it has to say. */
void light_tick(struct lights *l, nanotime now) {
  for (struct heap_link *e; (e = heap_pop_due(&l->due, now));) {
    struct light *n = container_of(e, struct light, due);
    touch(l, n);
  }
  list_for(it, &l->touched) {
    struct light *n = container_of(it, struct light, touched);
    do n->ep.tick(n->ep.ctx, now);
    while (n->ep.late(n->ep.ctx, now));
  }
}

size_t light_send(struct lights *l, uint8_t *buf, size_t cap, struct burst *ret_burst, nanotime now) {
  while (!list_empty(&l->touched)) {
    struct light *n = container_of(l->touched.next, struct light, touched);
    size_t len = n->ep.send(n->ep.ctx, buf, cap, ret_burst, now);
    if (len) return len;
    list_remove(&n->touched);
    (void)heap_set(&l->due, &n->due, n->ep.deadline(n->ep.ctx)); /* its place was just left, or it is there */
  }
  return 0;
}
