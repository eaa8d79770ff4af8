/* The merge rules of SWIM, section 4.2, refutation, and what a liar cannot do. */
#include "unit/membership/rig.h"

static void alive_needs_a_higher_incarnation(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_met(&r, 1);
  rig_say(&r, SWIM_ALIVE, 2, 5);
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 5);
  rig_say(&r, SWIM_ALIVE, 2, 4);
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 5);
  rig_say(&r, SWIM_ALIVE, 2, 6);
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 6);
  rig_say(&r, SWIM_SUSPECT, 2, 6);
  rig_say(&r, SWIM_ALIVE, 2, 6);
  ASSERT_MEMBER(&r, 2, MEMBER_SUSPECT, 6);
  rig_say(&r, SWIM_ALIVE, 2, 7);
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 7);
  rig_done(&r);
}

/* What others say of a member raises no incarnation, or a liar could keep the member's own word out. */
static void suspect_beats_alive_of_the_same_incarnation(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_met(&r, 1);
  rig_say(&r, SWIM_ALIVE, 2, 5);
  rig_say(&r, SWIM_SUSPECT, 2, 4); /* a stale one does nothing: a gap of the original */
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 5);
  rig_say(&r, SWIM_SUSPECT, 2, 5);
  ASSERT_MEMBER(&r, 2, MEMBER_SUSPECT, 5);
  rig_say(&r, SWIM_SUSPECT, 2, 8);
  ASSERT_MEMBER(&r, 2, MEMBER_SUSPECT, 5);
  rig_say(&r, SWIM_ALIVE, 2, 6);
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 6);
  rig_say(&r, SWIM_SUSPECT, 2, UINT64_MAX);
  ASSERT_MEMBER(&r, 2, MEMBER_SUSPECT, 6);
  rig_say(&r, SWIM_SUSPECT, 4, 0); /* of somebody unknown: not without its own word */
  assert_null(rig_member(&r, 4));
  struct swim_update u = rig_update(SWIM_ALIVE, 3, 0);
  u.state = SWIM_SUSPECT;
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_ACK, (struct swim_msg){0}, &u, 1), 0);
  ASSERT_MEMBER(&r, 3, MEMBER_SUSPECT, 0);
  rig_done(&r);
}

/* Others' word is a suspicion, and ends in death only if the member does not refute it. */
static void hearsay_does_not_kill(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_met(&r, 1);
  rig_say(&r, SWIM_DEAD, 2, 0); /* unknown: nothing to suspect */
  assert_null(rig_member(&r, 2));
  rig_say(&r, SWIM_ALIVE, 2, 5);
  rig_say(&r, SWIM_DEAD, 2, 4);
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 5);
  rig_say(&r, SWIM_DEAD, 2, 5);
  ASSERT_MEMBER(&r, 2, MEMBER_SUSPECT, 5);
  struct swim_update u = rig_update(SWIM_LEFT, 2, 6);
  u.record = (struct swim_record){0}; /* that it left, only itself can say */
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_ACK, (struct swim_msg){0}, &u, 1), 0);
  ASSERT_MEMBER(&r, 2, MEMBER_SUSPECT, 5);
  rig_say(&r, SWIM_ALIVE, 2, 6);
  u = rig_update(SWIM_DEAD, 2, 6);
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_SYNC, (struct swim_msg){0}, &u, 1), 0);
  ASSERT_MEMBER(&r, 2, MEMBER_SUSPECT, 6);
  rig_answering(&r, 60 * SEC, 1);
  ASSERT_MEMBER(&r, 2, MEMBER_DEAD, 6); /* it was silent */
  rig_say(&r, SWIM_ALIVE, 2, 6);
  rig_say(&r, SWIM_SUSPECT, 2, 6);
  ASSERT_MEMBER(&r, 2, MEMBER_DEAD, 6);
  rig_say(&r, SWIM_ALIVE, 2, 7); /* welcome back */
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 7);
  rig_done(&r);
}

/* Of one that we cannot ask, three that say that it is dead are believed sooner, and one that says it often is not. */
static void several_that_say_so(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  for (uint32_t i = 1; i <= 4; i++) rig_met(&r, i);
  rig_answering(&r, 3 * SEC, 4);
  rig_say(&r, SWIM_ALIVE, 9, 5);
  for (int k = 0; k < 6; k++) {
    rig_say(&r, SWIM_DEAD, 9, 5);
    rig_answering(&r, SEC, 4);
  }
  ASSERT_MEMBER(&r, 9, MEMBER_SUSPECT, 5);
  struct swim_update u = rig_update(SWIM_DEAD, 9, 5);
  for (uint32_t i = 2; i <= 3; i++) assert_int_equal(rig_send(&r, i, 0, MSG_SWIM_ACK, (struct swim_msg){0}, &u, 1), 0);
  rig_answering(&r, 4 * SEC, 4);
  ASSERT_MEMBER(&r, 9, MEMBER_SUSPECT, 5);
  rig_answering(&r, 2 * SEC, 4);
  ASSERT_MEMBER(&r, 9, MEMBER_DEAD, 5);
  rig_done(&r);
}

/* Suspected for ever, and answering every ping, though its refutations are lost: it lives. Then its link falls silent. */
static void a_link_that_answers_wins(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  for (uint32_t i = 1; i <= 3; i++) rig_met(&r, i);
  rig_answering(&r, 3 * SEC, 3);
  for (int k = 0; k < 60; k++) {
    rig_say(&r, k % 2 ? SWIM_SUSPECT : SWIM_DEAD, 2, 0);
    rig_answering(&r, 2 * SEC, 3);
    ASSERT_MEMBER(&r, 2, MEMBER_SUSPECT, 0);
  }
  rig_answering(&r, 12 * SEC, 1); /* 2 and 3 are silent */
  ASSERT_MEMBER(&r, 2, MEMBER_DEAD, 0);
  rig_done(&r);
}

static void only_its_own_last_word_ends_it_at_once(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_met(&r, 1);
  rig_met(&r, 2);
  rig_say(&r, SWIM_ALIVE, 2, 5);
  rig_say(&r, SWIM_LEFT, 2, 4); /* of an earlier run, played again */
  rig_say(&r, SWIM_LEFT, 2, 5);
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 5);
  rig_say(&r, SWIM_LEFT, 2, 6);
  ASSERT_MEMBER(&r, 2, MEMBER_DEAD, 6);
  struct id to;
  struct swim_msg msg;
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_PING, (struct swim_msg){.seq = 1}, NULL, 0), 0);
  bool told = false; /* whoever hears it from us can verify it, too */
  while (rig_next(&r, MSG_SWIM_ACK, &to, &msg)) told |= rig_says(msg, SWIM_LEFT, 2, 6);
  assert_true(told);
  rig_done(&r);
}

/* A record changed in any of its bytes, by somebody else, or of another realm: nothing changes but the sender's budget. */
static void what_its_subject_has_not_signed(void **state) {
  (void)state;
  struct rig r;
  struct membership_stats s;
  rig_init(&r);
  rig_met(&r, 1);
  rig_say(&r, SWIM_ALIVE, 2, 5);
  const struct member_info was = rig_member(&r, 2)->info;
  struct member_info lie = rig_info(2);
  lie.addr.v4.sin_port = htons(1);
  lie.gateway = rig_id(1);
  struct swim_record good = rig_record(&lie, 6, false), bad;
  uint8_t bytes[SWIM_RECORD_MAX];
  for (size_t i = 0; i < good.bytes.n; i++) {
    memcpy(bytes, good.bytes.p, good.bytes.n);
    bytes[i] ^= 0x40;
    struct swim_update u = {.state = SWIM_ALIVE};
    if (swim_record_decode(slice_of(bytes, good.bytes.n), &bad) || memcmp(bad.key.p, lie.id.b, 32) != 0) continue;
    u.record = bad;
    (void)rig_send(&r, 1, 0, MSG_SWIM_ACK, (struct swim_msg){0}, &u, 1);
    assert_memory_equal(&rig_member(&r, 2)->info, &was, sizeof was);
  }
  membership_stats(r.m, &s);
  assert_true(s.bad_signatures > 100);
  uint8_t text[SWIM_TEXT_MAX];
  memcpy(bytes, good.bytes.p, good.bytes.n);
  rig_checksum(slice_of(text, swim_signed_text(slice_str("other"), good.body, text)), bytes + good.body.n);
  assert_int_equal(swim_record_decode(slice_of(bytes, good.bytes.n), &bad), 0);
  struct swim_update u = {.state = SWIM_ALIVE, .record = bad};
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_ACK, (struct swim_msg){0}, &u, 1), 0);
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 5);
  rig_done(&r);
}

/* In another's name on one's own link. */
static void a_peer_speaks_for_itself(void **state) {
  (void)state;
  struct rig r;
  uint8_t buf[1200];
  struct swim_encoder e;
  struct id one = rig_id(1);
  struct member_info two = rig_info(2);
  struct swim_msg msg = {.seq = 1, .me = rig_record(&two, 9, false)};
  rig_init(&r);
  rig_met(&r, 1);
  swim_encode_begin(&e, buf, sizeof buf, MSG_SWIM_PING, &msg);
  assert_int_equal(membership_recv(r.m, &one, MSG_SWIM_PING, swim_encode_end(&e), r.now), MACULA_BAD_SIGNATURE);
  assert_null(rig_member(&r, 2));
  assert_string_equal(rig_member(&r, 1)->info.name, "n1");
  rig_done(&r);
}

/* Same bytes: verified once. Old ones: not at all. Others: within the budget of a turn and of the peer. */
static void verifying_is_bounded(void **state) {
  (void)state;
  struct rig r;
  struct membership_stats s;
  rig_init_with(&r, (struct membership_config){.max_members = 5000, .verify_turn = 16, .verify_rate = 10});
  rig_met(&r, 1);
  rig_say(&r, SWIM_ALIVE, 2, 5);
  for (uint64_t k = 0; k < 100; k++) rig_say(&r, SWIM_ALIVE, 2, k % 6);
  membership_stats(r.m, &s);
  assert_int_equal(s.verified, 2); /* and that of 1 */
  for (uint32_t i = 10; i < 100; i++) rig_say(&r, SWIM_ALIVE, i, 1);
  membership_stats(r.m, &s);
  assert_int_equal(s.verified, 16);
  assert_int_equal(s.unverified, 90 - 14);
  for (uint32_t i = 0; i < 2000; i++) { /* ten seconds, all by one peer */
    r.now += SEC / 200;
    rig_say(&r, SWIM_ALIVE, 100 + i, 1);
  }
  membership_stats(r.m, &s);
  assert_in_range(s.verified, 40 + 90, 40 + 110);
  struct swim_update u = rig_update(SWIM_ALIVE, 9, 1);
  uint8_t bytes[SWIM_RECORD_MAX];
  memcpy(bytes, u.record.bytes.p, u.record.bytes.n);
  bytes[u.record.bytes.n - 1] ^= 1;
  assert_int_equal(swim_record_decode(slice_of(bytes, u.record.bytes.n), &u.record), 0);
  uint64_t before = s.verified; /* bad ones: one in two seconds, and another peer's news all the same */
  for (uint32_t i = 0; i < 2000; i++) {
    r.now += SEC / 100;
    assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_ACK, (struct swim_msg){0}, &u, 1), 0);
  }
  membership_stats(r.m, &s);
  assert_in_range(s.verified - before, 8, 14);
  assert_int_equal(rig_send(&r, 3, 1, MSG_SWIM_PING, (struct swim_msg){.seq = 1}, NULL, 0), 0);
  ASSERT_MEMBER(&r, 3, MEMBER_ALIVE, 1);
  rig_done(&r);
}

/* What is not verified for want of a budget comes again with the lists. */
static void what_was_not_verified_is_asked_for(void **state) {
  (void)state;
  struct rig r;
  rig_init_with(&r, (struct membership_config){.verify_turn = 4});
  rig_met(&r, 1);
  rig_answering(&r, 3 * SEC, 1);
  struct swim_update u[12];
  for (uint32_t i = 0; i < 12; i++) u[i] = rig_update(SWIM_ALIVE, 10 + i, 1);
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_SYNC, (struct swim_msg){0}, u, 12), 0);
  (void)rig_drain(&r, -1, 0);
  struct membership_stats s;
  membership_stats(r.m, &s);
  uint64_t before = s.syncs;
  rig_answering(&r, 11 * SEC, 1);
  membership_stats(r.m, &s);
  assert_int_equal(s.syncs, before + 1);
  rig_done(&r);
}

static void we_refute_what_is_said_of_us(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_met(&r, 1);
  (void)rig_drain(&r, -1, 0);
  assert_int_equal(membership_incarnation(r.m), 0);
  rig_say(&r, SWIM_SUSPECT, 0, 0);
  assert_int_equal(membership_incarnation(r.m), 1);
  rig_say(&r, SWIM_SUSPECT, 0, 0); /* stale now */
  assert_int_equal(membership_incarnation(r.m), 1);
  rig_say(&r, SWIM_DEAD, 0, 1);
  assert_int_equal(membership_incarnation(r.m), 2);
  rig_say(&r, SWIM_DEAD, 0, 7); /* not without our own word of that incarnation */
  assert_int_equal(membership_incarnation(r.m), 2);
  rig_say(&r, SWIM_LEFT, 0, 7); /* an earlier run's last word */
  assert_int_equal(membership_incarnation(r.m), 8);
  (void)rig_drain(&r, -1, 0);
  struct id to;
  struct swim_msg msg;
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_PING, (struct swim_msg){.seq = 1}, NULL, 0), 0);
  assert_true(rig_next(&r, MSG_SWIM_ACK, &to, &msg));
  assert_int_equal(msg.me.incarnation, 8);
  uint8_t bytes[SWIM_RECORD_MAX];
  memcpy(bytes, msg.me.bytes.p, msg.me.bytes.n);
  struct swim_update u = {.state = SWIM_ALIVE};
  assert_int_equal(swim_record_decode(slice_of(bytes, msg.me.bytes.n), &u.record), 0);
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_ACK, (struct swim_msg){0}, &u, 1), 0); /* as we are */
  assert_int_equal(membership_incarnation(r.m), 8);
  struct member_info elsewhere = rig_info(0); /* the same number: we have moved since that run */
  elsewhere.addr.v4.sin_port = htons(1);
  u.record = rig_record(&elsewhere, 8, false);
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_ACK, (struct swim_msg){0}, &u, 1), 0);
  assert_int_equal(membership_incarnation(r.m), 9);
  u.record = rig_record(&elsewhere, 20, false); /* others remember more */
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_PING, (struct swim_msg){.seq = 1}, &u, 1), 0);
  assert_int_equal(membership_incarnation(r.m), 21);
  assert_true(rig_next(&r, MSG_SWIM_ACK, &to, &msg));
  assert_int_equal(msg.me.incarnation, 21);
  assert_true(rig_says(msg, SWIM_ALIVE, 0, 21));
  struct membership_stats s;
  membership_stats(r.m, &s);
  assert_int_equal(s.accused, 2);
  for (int i = 0; i < 1000; i++) rig_say(&r, SWIM_SUSPECT, 0, membership_incarnation(r.m)); /* each has to be signed */
  assert_in_range(membership_incarnation(r.m), 30, 42);
  rig_done(&r);
}

static void a_moved_self_is_told(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  struct member_info i = rig_info(0);
  membership_set_self(r.m, &i);
  assert_int_equal(membership_incarnation(r.m), 0);
  i.addr.v4.sin_port = htons(9);
  membership_set_self(r.m, &i);
  assert_int_equal(membership_incarnation(r.m), 1);
  rig_done(&r);
}

static void a_member_restarted_or_moved_comes_back_by_itself(void **state) {
  (void)state;
  struct rig r;
  struct id to;
  struct swim_msg msg;
  rig_init(&r);
  rig_met(&r, 1);
  rig_met(&r, 2);
  rig_say(&r, SWIM_ALIVE, 2, 5);
  (void)rig_drain(&r, -1, 0);
  rig_drain_events(&r);
  /* Started again with incarnation 0: it hears what we hold, not only that it is alive. */
  assert_int_equal(rig_send(&r, 2, 0, MSG_SWIM_PING, (struct swim_msg){.seq = 3}, NULL, 0), 0);
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 5);
  assert_true(rig_next(&r, MSG_SWIM_ACK, &to, &msg));
  assert_int_equal(msg.seq, 3);
  assert_true(rig_says(msg, SWIM_ALIVE, 2, 5));
  assert_int_equal(rig_send(&r, 2, 6, MSG_SWIM_ACK, (struct swim_msg){0}, NULL, 0), 0);
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 6);
  /* Held dead: met again, it is told so, and its answer brings it back. */
  rig_say(&r, SWIM_DEAD, 2, 6);
  rig_answering(&r, 20 * SEC, 1);
  ASSERT_MEMBER(&r, 2, MEMBER_DEAD, 6);
  rig_drain_events(&r);
  (void)rig_drain(&r, -1, 0);
  rig_met(&r, 2);
  assert_true(rig_next(&r, MSG_SWIM_PING, &to, &msg));
  assert_true(rig_says(msg, SWIM_DEAD, 2, 6));
  assert_int_equal(rig_send(&r, 2, 7, MSG_SWIM_ACK, (struct swim_msg){.seq = msg.seq}, NULL, 0), 0);
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 7);
  rig_event(&r, MEMBER_EV_UP, 2);
  /* Met elsewhere. */
  struct member_info moved = rig_info(2);
  moved.addr.v4.sin_port = htons(77);
  (void)rig_drain(&r, -1, 0);
  assert_int_equal(membership_met(r.m, &moved, r.now), 0);
  assert_true(rig_next(&r, MSG_SWIM_PING, &to, &msg));
  assert_true(rig_says(msg, SWIM_ALIVE, 2, 7));
  rig_done(&r);
}

static void events_bring_the_owner_up_to_date(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_met(&r, 1);
  rig_event(&r, MEMBER_EV_UP, 1);
  rig_say(&r, SWIM_ALIVE, 2, 1);
  rig_say(&r, SWIM_SUSPECT, 2, 1);
  rig_event(&r, MEMBER_EV_UP, 2);
  rig_event(&r, MEMBER_EV_SUSPECT, 2);
  rig_say(&r, SWIM_ALIVE, 2, 2);
  rig_event(&r, MEMBER_EV_REFUTED, 2);
  rig_say(&r, SWIM_SUSPECT, 2, 2);
  rig_say(&r, SWIM_ALIVE, 2, 3); /* nobody asked meanwhile: nothing to tell */
  rig_no_event(&r);
  struct member_info other = rig_info(2);
  strcpy(other.name, "other\n");
  struct swim_update u = {.state = SWIM_ALIVE, .record = rig_record(&other, 4, false)};
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_ACK, (struct swim_msg){0}, &u, 1), 0);
  rig_event(&r, MEMBER_EV_CHANGED, 2);
  assert_string_equal(rig_member(&r, 2)->info.name, "other");
  rig_say(&r, SWIM_LEFT, 2, 5);
  rig_event(&r, MEMBER_EV_DEAD, 2);
  rig_say(&r, SWIM_ALIVE, 2, 6);
  rig_event(&r, MEMBER_EV_UP, 2);
  rig_say(&r, SWIM_ALIVE, 3, 0);
  rig_say(&r, SWIM_LEFT, 3, 1); /* came and went unseen */
  rig_no_event(&r);
  rig_done(&r);
}

static void a_liar_cannot_lock_a_member_out(void **state) {
  (void)state;
  struct rig r;
  struct membership_stats s;
  rig_init(&r);
  rig_met(&r, 1);
  rig_met(&r, 2);
  rig_say(&r, SWIM_ALIVE, 2, 0);
  rig_say(&r, SWIM_DEAD, 2, UINT64_MAX - 1);
  ASSERT_MEMBER(&r, 2, MEMBER_SUSPECT, 0);
  rig_say(&r, SWIM_ALIVE, 2, 1);
  rig_say(&r, SWIM_ALIVE, 2, UINT64_MAX); /* by itself: nothing could follow */
  rig_say(&r, SWIM_ALIVE, 4, UINT64_MAX);
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 1);
  assert_null(rig_member(&r, 4));
  rig_say(&r, SWIM_SUSPECT, 0, UINT64_MAX);
  rig_say(&r, SWIM_ALIVE, 0, UINT64_MAX);
  assert_int_equal(membership_incarnation(r.m), 0);
  membership_stats(r.m, &s);
  assert_int_equal(s.implausible, 3);
  rig_say(&r, SWIM_ALIVE, 2, UINT64_C(1) << 62);
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, UINT64_C(1) << 62);
  rig_done(&r);
}

static void a_full_table_keeps_the_living(void **state) {
  (void)state;
  struct rig r;
  struct membership_stats s;
  rig_init_with(&r, (struct membership_config){.max_members = 4});
  rig_met(&r, 1);
  rig_met(&r, 2);
  rig_met(&r, 3);
  rig_say(&r, SWIM_ALIVE, 4, 0);
  rig_say(&r, SWIM_ALIVE, 5, 0);
  assert_null(rig_member(&r, 5));
  membership_stats(r.m, &s);
  assert_int_equal(s.refused, 1);
  /* One that is here itself takes the place of one that we only heard of. */
  rig_drain_events(&r);
  rig_met(&r, 6);
  assert_null(rig_member(&r, 4));
  rig_event(&r, MEMBER_EV_UP, 6);
  rig_event(&r, MEMBER_EV_FORGOTTEN, 4);
  struct member_info i = rig_info(7);
  assert_int_equal(membership_met(r.m, &i, r.now), MACULA_EFULL);
  rig_say(&r, SWIM_LEFT, 3, 1);
  r.now += SEC;
  rig_say(&r, SWIM_LEFT, 2, 1);
  rig_say(&r, SWIM_ALIVE, 5, 0); /* the oldest dead makes room */
  assert_null(rig_member(&r, 3));
  ASSERT_MEMBER(&r, 2, MEMBER_DEAD, 1);
  ASSERT_MEMBER(&r, 5, MEMBER_ALIVE, 0);
  rig_done(&r);
}

static void members_in_their_order(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  for (uint32_t i = 1; i <= 8; i++) rig_met(&r, i);
  rig_say(&r, SWIM_LEFT, 2, 0);
  rig_say(&r, SWIM_SUSPECT, 5, 0);
  uint32_t order = 1;
  for (const struct member *v = NULL; (v = membership_each(r.m, v)); order++) {
    struct id id = rig_id(order);
    assert_memory_equal(&v->info.id, &id, sizeof id);
  }
  assert_int_equal(order, 9);
  rig_done(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(alive_needs_a_higher_incarnation),
      cmocka_unit_test(suspect_beats_alive_of_the_same_incarnation),
      cmocka_unit_test(hearsay_does_not_kill),
      cmocka_unit_test(several_that_say_so),
      cmocka_unit_test(a_link_that_answers_wins),
      cmocka_unit_test(only_its_own_last_word_ends_it_at_once),
      cmocka_unit_test(what_its_subject_has_not_signed),
      cmocka_unit_test(a_peer_speaks_for_itself),
      cmocka_unit_test(verifying_is_bounded),
      cmocka_unit_test(what_was_not_verified_is_asked_for),
      cmocka_unit_test(we_refute_what_is_said_of_us),
      cmocka_unit_test(a_moved_self_is_told),
      cmocka_unit_test(a_member_restarted_or_moved_comes_back_by_itself),
      cmocka_unit_test(events_bring_the_owner_up_to_date),
      cmocka_unit_test(a_liar_cannot_lock_a_member_out),
      cmocka_unit_test(a_full_table_keeps_the_living),
      cmocka_unit_test(members_in_their_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
