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
#include "bounded/htab.h"
#include "membership/membership.h"
#include "unit/broken.h"
#include "wire/msg.h"
#include "wire/swim.h"

#define SEC NS_SEC

struct rig {
  struct mem mem;
  struct rng_seeded seed;
  struct membership *m;
  struct id self;
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

/* Signatures are checksums; the id stands in the key itself. A test may make one wrong. */
static inline void rig_checksum(struct slice text, uint8_t ret_sig[SWIM_SIGNATURE_LEN]) {
  static const uint64_t key[2] = {1, 2};
  uint64_t h = siphash13(key, text.p, text.n);
  memset(ret_sig, 0, SWIM_SIGNATURE_LEN);
  memcpy(ret_sig, &h, sizeof h);
}
static inline int rig_sign(void *ctx, struct slice text, uint8_t ret_sig[SWIM_SIGNATURE_LEN]) {
  (void)ctx;
  rig_checksum(text, ret_sig);
  return 0;
}
static inline void rig_id_of(void *ctx, struct slice key, struct id *ret_id) {
  (void)ctx;
  memset(ret_id, 0, sizeof *ret_id);
  memcpy(ret_id->b, key.p, key.n < ID_LEN ? key.n : ID_LEN);
}
static inline int rig_verify(void *ctx, struct slice key, struct slice text, struct slice sig, struct id *ret_id) {
  uint8_t want[SWIM_SIGNATURE_LEN];
  rig_checksum(text, want);
  if (memcmp(sig.p, want, sizeof want) != 0) return MACULA_BAD_SIGNATURE;
  rig_id_of(ctx, key, ret_id);
  return 0;
}

/* What member n says of itself, signed; a view until 256 more are made. */
static inline struct swim_record rig_record(const struct member_info *i, uint64_t incarnation, bool left) {
  static uint8_t kept[256][SWIM_RECORD_MAX];
  static unsigned next;
  uint8_t *b = kept[next++ % 256], text[SWIM_TEXT_MAX];
  struct swim_record r = {.key = slice_of(i->id.b, ID_LEN),
                          .incarnation = incarnation,
                          .addr = i->addr,
                          .gateway = i->gateway,
                          .name = slice_str(i->name),
                          .left = left};
  size_t n = swim_body_encode(&r, b);
  rig_checksum(slice_of(text, swim_signed_text(slice_str("test"), slice_of(b, n), text)), b + n);
  assert_int_equal(swim_record_decode(slice_of(b, n + SWIM_SIGNATURE_LEN), &r), 0);
  return r;
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
  r->self = cfg.self.id;
  cfg.realm = slice_str("test");
  cfg.crypto = (struct membership_crypto){slice_of(r->self.b, ID_LEN), rig_sign, rig_verify, rig_id_of, NULL};
  if (!cfg.verify_turn) cfg.verify_turn = UINT32_MAX;
  if (!cfg.verify_rate) cfg.verify_rate = 1000000;
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
  struct swim_update u = {.state = state, .id = i.id, .incarnation = incarnation};
  if (state == SWIM_ALIVE || state == SWIM_LEFT) u.record = rig_record(&i, incarnation, state == SWIM_LEFT);
  return u;
}

/* Peer `from`, of incarnation `inc`, sends a frame with these updates. */
static inline int rig_send(struct rig *r, uint32_t from, uint64_t inc, uint8_t type, struct swim_msg msg,
                           const struct swim_update *u, size_t n) {
  uint8_t buf[SWIM_PAGE_LEN];
  struct swim_encoder e;
  struct member_info i = rig_info(from);
  msg.me = rig_record(&i, inc, false);
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
  while (swim_update_next(&msg, &u)) {
    if (u.record.bytes.n) rig_id_of(NULL, u.record.key, &u.id);
    if (id_eq(&u.id, &id) && u.state == state && u.incarnation == inc) return true;
  }
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
