/* What a raw client is told about who published and called: it keeps 256 slots for publishers and as many for callers, as a
 * client must. */
#ifndef SIM_ORIGIN_RIG_H
#define SIM_ORIGIN_RIG_H

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include <stdio.h>

#include "base/principal.h"
#include "node_rig.h"

#define ORIGIN_CAPS (RIG_EXT | CAP_ORIGIN)

struct told {
  struct rig_client *c;
  size_t at; /* of c->kept: what was looked at */
  struct {
    uint64_t number;
    uint8_t principal[PRINCIPAL_LEN_MAX];
    size_t len;
    struct id node;
  } slot[2][ANNOUNCE_SLOTS];
};

static inline struct told told_by(struct rig_client *c) { return (struct told){.c = c}; }

static inline void take_announce(struct told *t, const struct rig_frame *f) {
  struct msg m;
  assert_int_equal(msg_decode(f->type, slice_of(f->payload, f->len), &m), 0);
  assert_true(m.announce.kind == ANNOUNCE_PUBLISHER || m.announce.kind == ANNOUNCE_CALLER);
  assert_true(m.announce.principal.n && m.announce.principal.n <= PRINCIPAL_LEN_MAX);
  assert_int_equal(m.announce.node.n, ID_LEN);
  size_t place = m.announce.number % ANNOUNCE_SLOTS;
  int k = m.announce.kind == ANNOUNCE_PUBLISHER;
  t->slot[k][place].number = m.announce.number;
  t->slot[k][place].len = m.announce.principal.n;
  memcpy(t->slot[k][place].principal, m.announce.principal.p, m.announce.principal.n);
  memcpy(t->slot[k][place].node.b, m.announce.node.p, ID_LEN);
}

static inline const struct msg_origin *origin_in(const struct msg *m) {
  return m->type == MSG_PUBLISH ? &m->publish.origin : &m->call.origin;
}

/* The next message of this type, whose number must stand in its slot by then; its principal's wire form, and the node that
 * vouches. */
static inline struct msg told_next(struct told *t, uint8_t type, struct slice *ret_principal, const struct id **ret_node) {
  struct msg m = rig_expect(t->c, type);
  for (; t->at < t->c->read; t->at++)
    if (t->c->kept[t->at].type == MSG_ANNOUNCE) take_announce(t, &t->c->kept[t->at]);
  uint64_t number = origin_in(&m)->number;
  size_t place = number % ANNOUNCE_SLOTS;
  int k = type == MSG_PUBLISH;
  assert_null(origin_in(&m)->in_full.p);
  if (!number || t->slot[k][place].number != number)
    fail_msg("%s with number %llu, its slot holds %llu (seed %llu)", msg_type_name(type), (unsigned long long)number,
             (unsigned long long)t->slot[k][place].number, (unsigned long long)t->c->rig->seed);
  *ret_principal = slice_of(t->slot[k][place].principal, t->slot[k][place].len);
  if (ret_node) *ret_node = &t->slot[k][place].node;
  return m;
}

/* The next message is of this client (NULL: of one that proved nothing), as vouched for by the node of this rig. */
static inline struct msg told_from(struct told *t, uint8_t type, const struct rig_client *who, const struct rig *node) {
  uint8_t want[PRINCIPAL_LEN_MAX];
  struct slice got;
  const struct id *vouches;
  struct msg m = told_next(t, type, &got, &vouches);
  struct principal_name p = {.kind = PRINCIPAL_ANONYMOUS};
  if (who) p = (struct principal_name){PRINCIPAL_KEY, slice_of(quic_identity_id(who->identity)->b, ID_LEN)};
  assert_true(slice_eq(got, slice_of(want, principal_write(&p, want))));
  assert_true(id_eq(vouches, quic_identity_id(node->identity)));
  return m;
}

#endif
