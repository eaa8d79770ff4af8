/* What the simulator at scale is made of: mesh_net.c carries frames, mesh_scale.c runs nodes and load, mesh_print.c prints. */
#ifndef SIM_MESH_PRIV_H
#define SIM_MESH_PRIV_H

#include "bounded/heap.h"
#include "dht/dht.h"
#include "membership/membership.h"
#include "sim/mesh_scale.h"

#define CACHE 1024 /* connections that a node's DHT remembers, by hash */

struct mesh_node {
  struct heap_link timer;
  struct membership *m;
  struct dht *d;
  struct mem m_mem, d_mem;
  struct id id, key;      /* key: of the record that it publishes */
  uint8_t member_key[44]; /* the id, as long as Ed25519's */
  uint32_t slot, run;     /* run: of the slot; frames for an earlier one are lost */
  bool alive, dirty;
  float x, y;
  uint64_t last_seq;
  nanotime born, published, died;
  bool crashed;
  nanotime last_heard;  /* of its crash, by anybody */
  nanotime called_dead; /* while alive, last */
  uint64_t *links;      /* slot << 32 | run */
  uint32_t link_count;
  uint32_t *cache; /* slot + 1 */
};

enum frame_kind { FRAME_SWIM, FRAME_DHT, FRAME_LINK };
struct frame {
  struct heap_link due;
  uint32_t from, from_run, to, to_run;
  enum frame_kind kind;
  uint8_t type;
  uint32_t len;
  uint8_t data[];
};

struct mesh {
  struct mesh_config cfg;
  struct mesh_figures *f;
  struct mem mem; /* of the simulator itself */
  struct rng_seeded seed;
  struct rng rng;
  nanotime now, begin; /* begin: of the measurement */
  struct mesh_node *nodes;
  struct heap timers, frames;
  uint32_t living;
  uint32_t *crashed, crashed_count; /* slots whose crash is judged when a minute is over, oldest first */
};

static inline uint64_t mesh_link_of(const struct mesh_node *v) { return (uint64_t)v->slot << 32 | v->run; }
double mesh_uniform(struct mesh *s); /* [0, 1) */
double mesh_exponential(struct mesh *s, double mean);
struct mesh_node *mesh_node_of(struct mesh *s, const struct id *id); /* alive or not; NULL: that run is over */
struct member_info mesh_info(const struct mesh_node *v);
void mesh_contact(const struct mesh_node *v, struct dht_contact *ret_contact);
static inline bool mesh_measuring(const struct mesh *s) { return s->now >= s->begin; }

/* mesh_net.c */
void mesh_send_swim(struct mesh *s, struct mesh_node *from, const struct membership_out *o);
void mesh_send_dht(struct mesh *s, struct mesh_node *from, const struct dht_out *o);
void mesh_deliver(struct mesh *s, struct frame *f);                       /* frees it */
void mesh_link(struct mesh *s, struct mesh_node *a, struct mesh_node *b); /* both ends hear of it */
void mesh_unlink(struct mesh_node *a, struct mesh_node *b);               /* at both ends, where they know */
void mesh_unlink_all(struct mesh *s, struct mesh_node *a);
void mesh_dirty(struct mesh *s, struct mesh_node *v); /* its outputs are to be taken */

#endif
