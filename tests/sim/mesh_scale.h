/* Thousands of nodes in one process on a virtual clock: the real membership and DHT state machines, exchanging their real
 * frames, without QUIC. All of it follows from one seed.
 *
 * The transport's model. Nodes lie at random in a square; one way takes 2 ms + 60 ms x distance + an exponential jitter of 3
 * ms. PING, ACK and PING_REQ travel as datagrams and are lost at the given rate. SYNC and the DHT's frames travel on streams:
 * each loss delays them by a retransmission, so they arrive unless an end is dead. SWIM's connections are explicit: whoever
 * sends to a peer dials it (one round trip more; an initial flight that is lost costs a second), at most `links` a node, and an
 * upkeep frame to a peer beyond that is not sent. The DHT reaches anybody; a node remembers some 1,000 connections and pays the
 * handshake for all others. Nobody's CPU or bandwidth is a limit. */
#ifndef SIM_MESH_SCALE_H
#define SIM_MESH_SCALE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/time.h"

struct mesh_config {
  uint64_t seed;
  uint32_t nodes;
  bool membership, dht;
  double loss;      /* of a datagram, and of a stream's packet */
  double churn;     /* part of the nodes that leave, and part that join, in an hour; half of those that leave crash */
  uint32_t links;   /* SWIM's connections a node */
  nanotime warm;    /* until all have joined and settled; nothing is measured */
  nanotime measure; /* then */
  double lookups;   /* a node and second */
  bool progress;    /* on stderr */
};
void mesh_defaults(struct mesh_config *cfg, uint32_t nodes);

#define MESH_BINS 1200 /* of 0.1 s */
#define MESH_HOPS 32
struct mesh_figures {
  uint32_t nodes;
  double seconds;      /* measured */
  double node_seconds; /* of living nodes */
  double cpu;          /* seconds of this process, warm-up included */
  uint64_t swim_frames, swim_bytes, sync_frames, sync_bytes, dht_frames, dht_bytes; /* sent */
  uint64_t dht_types[8];                                                            /* of these: by the type's low bits */
  /* A lookup is of a record whose publisher lives and published it at least 10 s before. */
  uint64_t lookups, found, queries, hops_sum;
  uint64_t hops[MESH_HOPS], took[MESH_BINS]; /* of those found; took: bins of 10 ms */
  uint64_t crashes, leaves, joins;
  uint64_t crashes_judged;          /* those with a minute of measurement behind them */
  uint64_t known_to_all[MESH_BINS]; /* crashes by the time of the last node that heard of it */
  uint64_t known[MESH_BINS];        /* pairs of crash and living node */
  uint64_t unaware;                 /* such pairs where the node still held it alive or suspect 60 s later */
  uint64_t missing;           /* at the end: pairs of living nodes, both there for 60 s, where one does not know the other */
  uint64_t refuted;           /* suspicions of the living, refuted by them */
  uint64_t false_deaths;      /* the living declared dead */
  uint64_t false_death_pairs; /* nodes that believed it */
  double member_bytes, dht_bytes_held; /* a node, average at the end */
  double member_bytes_max, dht_bytes_max;
  uint64_t contacts, records; /* at the end, of all nodes */
  uint32_t living;
};

/* Aborts without memory. */
void mesh_run(const struct mesh_config *cfg, struct mesh_figures *ret_f);
/* The bin in which the q-th part (0 to 1) of the samples is reached, in bins; 0 if there are none. */
double mesh_quantile(const uint64_t *bins, uint32_t n, double q);
void mesh_print_head(FILE *out);
void mesh_print(FILE *out, const struct mesh_figures *f);                                     /* one row */
void mesh_print_json(FILE *out, const struct mesh_config *cfg, const struct mesh_figures *f); /* one line, for the plots */

#endif
