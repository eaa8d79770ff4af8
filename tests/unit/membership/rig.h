/* One membership under test, spoken to by peers that the test plays; time is a number. */
#ifndef TESTS_MEMBERSHIP_RIG_H
#define TESTS_MEMBERSHIP_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "membership/membership.h"
#include "unit/broken.h"
#include "wire/msg.h"
#include "wire/swim.h"

#define SEC NS_SEC

struct rig {
  struct mem mem;
  struct rng_seeded seed;
  struct membership *m;
  nanotime now;
  uint64_t frames;
};

static inline struct id rig_id(uint32_t n) {
  struct id id = {{0}};
  memcpy(id.b, &n, sizeof n);
  memcpy(id.b + 8, &n, sizeof n);
  return id;
}

static inline struct member_info rig_info(uint32_t n) {
  struct member_info i = {.id = rig_id(n)};
  i.addr.v4 =
      (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)(1000 + n)), .sin_addr = {htonl(0x7f000001)}};
  snprintf(i.name, sizeof i.name, "n%u", n);
  return i;
}

/* The node under test is 0. */
static inline void rig_init_with(struct rig *r, struct membership_config cfg) {
  r->mem = MEM_INIT("membership", 0);
  r->now = 100 * SEC;
  r->frames = 0;
  rng_seeded_init(&r->seed, 7);
  cfg.mem = &r->mem;
  cfg.rng = rng_seeded_view(&r->seed);
  cfg.self = rig_info(0);
  assert_int_equal(membership_new(&cfg, r->now, &r->m), 0);
}
static inline void rig_init(struct rig *r) { rig_init_with(r, (struct membership_config){.max_members = 100}); }
static inline void rig_check(struct rig *r) {
  HOLDS(membership_check(r->m));
  assert_int_equal(membership_owned(r->m), r->mem.bytes);
}
static inline void rig_done(struct rig *r) {
  rig_check(r);
  membership_free(r->m);
  assert_int_equal(r->mem.bytes, 0);
}

static inline struct swim_update rig_update(enum swim_state state, uint32_t n, uint64_t incarnation) {
  struct member_info i = rig_info(n);
  return (struct swim_update){.state = state,
                              .id = i.id,
                              .incarnation = incarnation,
                              .has_info = state < SWIM_DEAD,
                              .addr = i.addr,
                              .name = SLICE_NONE};
}

/* Peer `from`, of incarnation `inc`, sends a frame with these updates. */
static inline int rig_send(struct rig *r, uint32_t from, uint64_t inc, uint8_t type, struct swim_msg msg,
                           const struct swim_update *u, size_t n) {
  uint8_t buf[SWIM_PAGE_LEN];
  struct swim_encoder e;
  struct member_info i = rig_info(from);
  msg.me = (struct swim_update){
      .incarnation = inc, .has_info = true, .addr = i.addr, .gateway = i.gateway, .name = slice_str(i.name)};
  swim_encode_begin(&e, buf, sizeof buf, type, &msg);
  for (size_t k = 0; k < n; k++) assert_true(swim_encode_update(&e, &u[k]));
  int err = membership_recv(r->m, &i.id, type, swim_encode_end(&e), r->now);
  if (r->frames++ % 8 == 0) rig_check(r);
  return err;
}
/* Gossip of peer 1, of incarnation 0. */
static inline void rig_say(struct rig *r, enum swim_state state, uint32_t n, uint64_t inc) {
  struct swim_update u = rig_update(state, n, inc);
  assert_int_equal(rig_send(r, 1, 0, MSG_SWIM_ACK, (struct swim_msg){0}, &u, 1), 0);
}
static inline void rig_met(struct rig *r, uint32_t n) {
  struct member_info i = rig_info(n);
  assert_int_equal(membership_met(r->m, &i, r->now), 0);
  membership_connected(r->m, &i.id, true);
}

static inline const struct member *rig_member(struct rig *r, uint32_t n) {
  struct id id = rig_id(n);
  return membership_find(r->m, &id);
}
#define ASSERT_MEMBER(r, n, st, inc)                                                                                           \
  do {                                                                                                                         \
    const struct member *v_ = rig_member(r, n);                                                                                \
    assert_non_null(v_);                                                                                                       \
    assert_int_equal(v_->state, st);                                                                                           \
    assert_int_equal(v_->incarnation, inc);                                                                                    \
  } while (0)

/* Discards what waits; counts frames of a type to a peer (to < 0: to any). */
static inline uint32_t rig_drain(struct rig *r, int to, uint8_t type) {
  struct membership_out o;
  uint32_t n = 0;
  while (membership_next(r->m, &o)) {
    struct id id = rig_id((uint32_t)to);
    assert_true(o.payload.n <= (o.type == MSG_SWIM_SYNC ? SWIM_PAGE_LEN : 1200u));
    if (o.type == type && (to < 0 || id_eq(&o.to, &id))) n++;
  }
  return n;
}
static inline void rig_drain_events(struct rig *r) {
  struct membership_event e;
  while (membership_next_event(r->m, &e)) continue;
}
static inline void rig_event(struct rig *r, enum membership_event_type type, uint32_t n) {
  struct membership_event e;
  struct id id = rig_id(n);
  assert_true(membership_next_event(r->m, &e));
  assert_int_equal(e.type, type);
  assert_memory_equal(&e.info.id, &id, sizeof id);
}
static inline void rig_no_event(struct rig *r) {
  struct membership_event e;
  assert_false(membership_next_event(r->m, &e));
}

/* The next frame of a type, its updates left in *ret_msg; views until the next call. Others are thrown away. */
static inline bool rig_next(struct rig *r, uint8_t type, struct id *ret_to, struct swim_msg *ret_msg) {
  struct membership_out o;
  while (membership_next(r->m, &o)) {
    assert_int_equal(swim_decode(o.type, o.payload, ret_msg), 0);
    *ret_to = o.to;
    if (o.type == type) return true;
  }
  return false;
}
/* Whether a decoded frame says this of n. */
static inline bool rig_says(struct swim_msg msg, enum swim_state state, uint32_t n, uint64_t inc) {
  struct swim_update u;
  struct id id = rig_id(n);
  while (swim_update_next(&msg, &u))
    if (id_eq(&u.id, &id) && u.state == state && u.incarnation == inc) return true;
  return false;
}

/* Time passes to the deadline at most; ticks once. */
static inline void rig_tick(struct rig *r, nanotime until) {
  nanotime at = membership_deadline(r->m);
  r->now = at > until ? until : at < r->now ? r->now : at;
  membership_tick(r->m, r->now);
  if (r->frames++ % 8 == 0) rig_check(r);
}
/* Time passes, with nobody answering. */
static inline void rig_silence(struct rig *r, uint64_t d) {
  nanotime until = r->now + d;
  while (r->now < until) {
    rig_tick(r, until);
    (void)rig_drain(r, -1, 0);
  }
}
/* Time passes, with the peers up to `n` alive and answering PINGs with an ACK; the incarnation of all is 0. */
static inline void rig_answering(struct rig *r, uint64_t d, uint32_t n) {
  nanotime until = r->now + d;
  while (r->now < until) {
    rig_tick(r, until);
    for (;;) {
      struct membership_out o;
      struct swim_msg msg;
      uint32_t who;
      if (!membership_next(r->m, &o)) break;
      assert_int_equal(swim_decode(o.type, o.payload, &msg), 0);
      memcpy(&who, o.to.b, sizeof who);
      if (o.type == MSG_SWIM_PING && who <= n)
        assert_int_equal(rig_send(r, who, 0, MSG_SWIM_ACK, (struct swim_msg){.seq = msg.seq}, NULL, 0), 0);
    }
  }
}

#endif
