/* A seeded in-memory network on a virtual clock. Endpoints are attached by address as the struct endpoint that src/io drives;
 * datagrams between them are lost, delayed, reordered and duplicated by the seed; time jumps to the next thing due. */
#ifndef SIM_NET_H
#define SIM_NET_H

#include "base/endpoint.h"
#include "base/rng.h"

struct sim_net;
struct sim_link {            /* what happens to a datagram; the same everywhere */
  double loss, dup, reorder; /* probabilities; a reordered datagram is held back by up to 4 delays */
  nanotime delay, jitter;    /* ns, one way; jitter is uniform and on top */
  uint64_t rate;             /* bytes a second that each endpoint can send; 0: any. What would wait longer than: */
  nanotime queue;            /* ns, is lost */
};
struct sim_stats {
  uint64_t sent, delivered, lost, duplicated, reordered, unreachable, cut;
};

/* Aborts without memory, as all of this: it is for tests. */
struct sim_net *sim_net_new(uint64_t seed, const struct sim_link *link);
void sim_net_free(struct sim_net *n);
nanotime sim_net_now(const struct sim_net *n);
struct rng sim_net_rng(struct sim_net *n); /* for endpoints: the same seed, the same ids */
void sim_net_set_link(struct sim_net *n, const struct sim_link *link);
/* ep is copied. A datagram for an address without endpoint comes back as an ICMP error unless icmp is off. */
void sim_net_attach(struct sim_net *n, const struct addr *at, const struct endpoint *ep);
void sim_net_detach(struct sim_net *n, const struct addr *at); /* without a word, as SIGKILL */
/* The process of an endpoint stands still, as by SIGSTOP: what comes for it waits, in order. When it goes on, it is told how
 * long it stood (struct endpoint). */
void sim_net_stop(struct sim_net *n, const struct addr *at, bool stop);
/* Datagrams that the endpoint at `inside` sends appear to come from `outside`, and those for `outside` reach it: a NAT that
 * rebinds. outside NULL: no more. */
void sim_net_nat(struct sim_net *n, const struct addr *inside, const struct addr *outside);
/* Nothing passes between a and b; b NULL: between a and everyone. */
void sim_net_cut(struct sim_net *n, const struct addr *a, const struct addr *b, bool cut);
void sim_net_icmp(struct sim_net *n, bool on);
/* Every datagram comes back as an ICMP error that says that its host cannot be reached. */
void sim_net_no_route(struct sim_net *n, bool on);
/* Sees each datagram as it is sent; may change it; false drops it. NULL: none. */
void sim_net_filter(struct sim_net *n,
                    bool (*fn)(void *ctx, const struct addr *from, const struct addr *to, uint8_t *p, size_t len), void *ctx);
/* A datagram out of nowhere, delivered at once in the next turn. */
void sim_net_inject(struct sim_net *n, const struct addr *from, const struct addr *to, struct slice dg);
/* Turns until done returns true (checked after each turn; NULL: never) or the time `until` is reached. Returns what done said
 * last. */
bool sim_net_run(struct sim_net *n, nanotime until, bool (*done)(void *ctx), void *ctx);
void sim_net_stats(const struct sim_net *n, struct sim_stats *ret_stats);

#endif
