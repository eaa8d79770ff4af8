/* Several nodes on one in-memory network, for tests of the mesh. */
#ifndef SIM_MESH_RIG_H
#define SIM_MESH_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "node/peers/link.h"
#include "node/peers/peer.h"
#include "node/state.h"
#include "node_rig.h"

#define MESH_NODES 8

struct mesh {
  struct rig rig[MESH_NODES];
  char name[MESH_NODES][16];
  unsigned count;
  uint64_t links; /* of each node, where a test waits for them */
};

static inline void mesh_start(struct mesh *m, unsigned count, const struct rig_options *o) {
  memset(m, 0, sizeof *m);
  m->count = count;
  for (unsigned i = 0; i < count; i++) {
    struct rig_options d = o ? *o : (struct rig_options){0};
    snprintf(m->name[i], sizeof m->name[i], "node%u", i);
    d.node.name = m->name[i];
    if (i) d.beside = &m->rig[0];
    d.index = i;
    rig_start(&m->rig[i], &d);
  }
}

static inline void mesh_stop(struct mesh *m) {
  for (unsigned i = m->count; i-- > 0;) rig_stop(&m->rig[i]);
}

static inline void mesh_join(struct mesh *m, unsigned from, unsigned to) {
  assert_int_equal(node_join(m->rig[from].node, &m->rig[to].addr, NULL, true, sim_net_now(m->rig[0].net)), 0);
}

static inline void mesh_join_all(struct mesh *m) {
  for (unsigned a = 0; a < m->count; a++)
    for (unsigned b = 0; b < a; b++) mesh_join(m, a, b);
}

static inline struct peer *mesh_peer(struct mesh *m, unsigned of, unsigned who) {
  return m->rig[of].node ? peer_find(m->rig[of].node, quic_identity_id(m->rig[who].identity)) : NULL;
}

static inline void mesh_start_joined(struct mesh *m, unsigned count, const struct rig_options *o) {
  mesh_start(m, count, o);
  mesh_join_all(m);
}

/* Every node that runs has a link to every other one, and nothing is left to tell. */
static inline bool mesh_whole(void *ctx) {
  struct mesh *m = ctx;
  for (unsigned a = 0; a < m->count; a++)
    for (unsigned b = 0; b < m->count; b++) {
      if (a == b || !m->rig[a].node || !m->rig[b].node) continue;
      struct peer *p = mesh_peer(m, a, b), *q = mesh_peer(m, b, a);
      if (!p || !p->link || !q || !q->link || !p->spread.on || !q->spread.on) return false;
      struct interest_stats own;
      interest_stats(m->rig[b].node->spread.interest, &own);
      if (!p->spread.interest.epoch || interest_pending(m->rig[b].node->spread.interest, &q->spread.interest) ||
          p->spread.interest.version != own.version || p->spread.interest.topics.count != own.own)
        return false;
      if (!p->spread.interest.retained != !retained_count(&m->rig[b].node->messages.retained)) return false;
      if (p->spread.interest.retained && !p->spread.holder) return false;
    }
  return true;
}

static inline void mesh_settle(struct mesh *m) { rig_until(&m->rig[0], 90 * NS_SEC, mesh_whole, m, "the mesh is whole"); }

static inline void mesh_cut(struct mesh *m, unsigned a, unsigned b, bool cut) {
  sim_net_cut(m->rig[0].net, &m->rig[a].addr, &m->rig[b].addr, cut);
}

/* Publishes with QoS 1: how many nodes are silent, where all others have it; else the error. */
static inline int mesh_publish(struct rig_client *c, const char *topic, const char *payload, uint64_t id) {
  uint8_t message_id[CALL_ID_LEN] = {0};
  memcpy(message_id, &id, sizeof id);
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_str(topic),
                              .payload = slice_str(payload),
                              .qos = 1,
                              .message_id = slice_of(message_id, sizeof message_id),
                              .ref = 9,
                              .has_ref = true}};
  rig_send(c, &m);
  struct msg_ack a = rig_expect(c, MSG_ACK).ack;
  assert_int_equal(a.ref, 9);
  return a.code.n ? err_from_name((const char *)a.code.p, a.code.n) : (int)a.partly.silent;
}

/* As again and again until all have it. */
static inline void mesh_publish_all(struct rig_client *c, const char *topic, const char *payload, uint64_t id) {
  int r = 1;
  for (int i = 0; i < 20 && r; i++) {
    r = mesh_publish(c, topic, payload, id);
    rig_run(c->rig, NS_SEC);
  }
  assert_int_equal(r, 0);
}

#endif
