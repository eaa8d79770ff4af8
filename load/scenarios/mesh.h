/* The mesh of four nodes that all and soak load: which node is whose, and how far the others are. */
#ifndef LOAD_SCENARIOS_MESH_H
#define LOAD_SCENARIOS_MESH_H

#include "load/drive/engine.h"

struct load_mesh {
  struct load_node *clients, *services, *streams, *callers;
  bool soak;
  bool parts;                                /* there will be a partition */
  uint64_t base[4][FIG_COUNT], rss_start[4]; /* base: what they held before the run */
  bool providers_ready;                      /* of callers: from now on what nodes hold is due to their scenario */
  bool healed;                               /* the partition is over */
  uint64_t others;                           /* tasks that must have ended before providers leave */
};

int load_mesh_start(struct load_task *t);  /* the four nodes of l->mesh, behind its relays */
int load_mesh_warm(struct load *l);        /* one cycle, after which memory counts */
int load_mesh_rest(struct load_task *t);   /* nothing is left at them, and memory returns */
bool load_mesh_ready(struct load_task *t); /* waits for providers_ready; without it a promise is broken, or the run stops */

#endif
