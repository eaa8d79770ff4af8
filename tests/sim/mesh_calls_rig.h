/* What the tests of calls across nodes share. */
#ifndef SIM_MESH_CALLS_RIG_H
#define SIM_MESH_CALLS_RIG_H

#include "mesh_rig.h"

static inline void start(struct mesh *m, unsigned count) { mesh_start(m, count, NULL); }
static inline void stop(struct mesh *m) { mesh_stop(m); }

static inline const struct id *id(struct mesh *m, unsigned i) { return quic_identity_id(m->rig[i].identity); }
static inline struct peer *peer(struct mesh *m, unsigned of, unsigned who) { return mesh_peer(m, of, who); }
static inline nanotime now(struct mesh *m) { return sim_net_now(m->rig[0].net); }
static inline void run(struct mesh *m, nanotime for_ns) { rig_run(&m->rig[0], for_ns); }
static inline uint32_t pending(struct mesh *m, unsigned i) { return calls_count(router_calls(m->rig[i].node->rpc.router)); }

/* Node `at` has found that these (digits) serve the procedure; gateway: of all of them, -1: they are dialled. */
static inline void knows_via(struct mesh *m, unsigned at, const char *procedure, const char *nodes, int gateway) {
  struct discovery *d = (struct discovery *)router_discovery(m->rig[at].node->rpc.router);
  struct remote_node v[MESH_NODES];
  struct discovery_entry *e;
  size_t n = strlen(nodes);
  for (size_t i = 0; i < n; i++) {
    unsigned k = (unsigned)(nodes[i] - '0');
    v[i] = (struct remote_node){.id = *id(m, k)};
    if (gateway < 0)
      v[i].addr = m->rig[k].addr;
    else
      v[i].gateway = *id(m, (unsigned)gateway);
  }
  assert_int_equal(discovery_look(d, slice_str(procedure), now(m), &e), 0);
  assert_int_equal(discovery_found(d, e, v, n, now(m)), 0);
}
static inline void knows(struct mesh *m, unsigned at, const char *procedure, const char *nodes) {
  knows_via(m, at, procedure, nodes, -1);
}

static inline struct rig_client *client(struct mesh *m, unsigned at) { return rig_join(&m->rig[at], 0, NULL, RIG_EXT); }
static inline struct rig_client *provider(struct mesh *m, unsigned at, const char *procedure) {
  struct rig_client *c = client(m, at);
  assert_int_equal(rig_register(c, procedure), 0);
  return c;
}

static inline void call(struct rig_client *c, uint8_t n, const struct msg_call *as) {
  uint8_t call_id[CALL_ID_LEN] = {n};
  struct msg m = {.type = MSG_CALL, .call = *as};
  m.call.procedure = slice_str("x.y");
  m.call.call_id = slice_of(call_id, sizeof call_id);
  if (!m.call.args.p) m.call.args = slice_str("7");
  rig_send(c, &m);
}
static inline struct msg_reply answer(struct rig_client *c) { return rig_expect(c, MSG_REPLY).reply; }
static inline void result_is(struct rig_client *c, const char *result) {
  struct msg_reply r = answer(c);
  if (r.is_error) fail_msg("%.*s: %.*s", (int)r.error.code.n, r.error.code.p, (int)r.error.message.n, r.error.message.p);
  assert_true(slice_is(r.result, result));
}

/* All by node 0; returns when the mesh is whole. */
static inline void start_joined(struct mesh *m, unsigned count, const struct rig_options *o) {
  mesh_start(m, count, o);
  for (unsigned i = 1; i < count; i++) mesh_join(m, i, 0);
  mesh_settle(m);
}

static inline void code_is(struct rig_client *c, const char *code) {
  struct msg_reply r = answer(c);
  assert_true(r.is_error);
  if (!slice_is(r.error.code, code)) fail_msg("%.*s and not %s", (int)r.error.code.n, r.error.code.p, code);
}

#endif
