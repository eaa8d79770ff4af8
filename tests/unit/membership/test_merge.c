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
  ASSERT_MEMBER(&r, 2, MEMBER_SUSPECT, 8);
  rig_say(&r, SWIM_SUSPECT, 2, 7);
  ASSERT_MEMBER(&r, 2, MEMBER_SUSPECT, 8);
  rig_say(&r, SWIM_SUSPECT, 3, 0); /* of somebody unknown, but with an address */
  ASSERT_MEMBER(&r, 3, MEMBER_SUSPECT, 0);
  struct swim_update bare = rig_update(SWIM_SUSPECT, 4, 0);
  bare.has_info = false;
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_ACK, (struct swim_msg){0}, &bare, 1), 0);
  assert_null(rig_member(&r, 4));
  rig_done(&r);
}

static void dead_overrides_and_a_higher_incarnation_welcomes_back(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_met(&r, 1);
  rig_say(&r, SWIM_DEAD, 2, 0); /* unknown: nothing to bury */
  assert_null(rig_member(&r, 2));
  rig_say(&r, SWIM_ALIVE, 2, 5);
  rig_say(&r, SWIM_DEAD, 2, 4);
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 5);
  rig_say(&r, SWIM_DEAD, 2, 5);
  ASSERT_MEMBER(&r, 2, MEMBER_DEAD, 5);
  rig_say(&r, SWIM_ALIVE, 2, 5);
  rig_say(&r, SWIM_SUSPECT, 2, 5);
  rig_say(&r, SWIM_SUSPECT, 2, 6);
  ASSERT_MEMBER(&r, 2, MEMBER_DEAD, 5);
  rig_say(&r, SWIM_ALIVE, 2, 6);
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 6);
  rig_say(&r, SWIM_SUSPECT, 2, 6);
  rig_say(&r, SWIM_DEAD, 2, 9); /* dead overrides a suspect too */
  ASSERT_MEMBER(&r, 2, MEMBER_DEAD, 9);
  rig_done(&r);
}

static void a_list_accuses_but_does_not_bury(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_met(&r, 1);
  rig_say(&r, SWIM_ALIVE, 2, 5);
  struct swim_update u = rig_update(SWIM_DEAD, 2, 5);
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_SYNC, (struct swim_msg){0}, &u, 1), 0);
  ASSERT_MEMBER(&r, 2, MEMBER_SUSPECT, 5);
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
  rig_say(&r, SWIM_DEAD, 0, 7);
  assert_int_equal(membership_incarnation(r.m), 8);
  rig_say(&r, SWIM_LEFT, 0, 8);
  assert_int_equal(membership_incarnation(r.m), 9);
  struct swim_update u = rig_update(SWIM_ALIVE, 0, 9); /* as we are */
  u.name = slice_str("n0");
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_ACK, (struct swim_msg){0}, &u, 1), 0);
  assert_int_equal(membership_incarnation(r.m), 9);
  u.addr.v4.sin_port = htons(1); /* elsewhere: we have moved */
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_ACK, (struct swim_msg){0}, &u, 1), 0);
  assert_int_equal(membership_incarnation(r.m), 10);
  u.incarnation = 20; /* we were started again, others remember more */
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_PING, (struct swim_msg){.seq = 1}, &u, 1), 0);
  assert_int_equal(membership_incarnation(r.m), 21);
  struct id to;
  struct swim_msg msg;
  assert_true(rig_next(&r, MSG_SWIM_ACK, &to, &msg));
  assert_int_equal(msg.me.incarnation, 21);
  assert_true(rig_says(msg, SWIM_ALIVE, 0, 21));
  struct membership_stats s;
  membership_stats(r.m, &s);
  assert_int_equal(s.accused, 3);
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
  struct swim_update u = rig_update(SWIM_ALIVE, 2, 4);
  u.name = slice_str("other\n");
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_ACK, (struct swim_msg){0}, &u, 1), 0);
  rig_event(&r, MEMBER_EV_CHANGED, 2);
  assert_string_equal(rig_member(&r, 2)->info.name, "other");
  rig_say(&r, SWIM_DEAD, 2, 4);
  rig_event(&r, MEMBER_EV_DEAD, 2);
  rig_say(&r, SWIM_ALIVE, 2, 5);
  rig_event(&r, MEMBER_EV_UP, 2);
  rig_say(&r, SWIM_ALIVE, 3, 0);
  rig_say(&r, SWIM_DEAD, 3, 0); /* came and went unseen */
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
  rig_say(&r, SWIM_ALIVE, 2, UINT64_MAX);
  rig_say(&r, SWIM_ALIVE, 2, 1000001);
  rig_say(&r, SWIM_DEAD, 2, UINT64_MAX - 1);
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 0);
  rig_say(&r, SWIM_SUSPECT, 0, UINT64_MAX);
  rig_say(&r, SWIM_ALIVE, 0, UINT64_MAX);
  assert_int_equal(membership_incarnation(r.m), 0);
  membership_stats(r.m, &s);
  assert_int_equal(s.implausible, 5);
  /* Of one whom we do not know: its own word, when it comes, counts. */
  rig_say(&r, SWIM_ALIVE, 3, UINT64_C(1) << 62);
  ASSERT_MEMBER(&r, 3, MEMBER_ALIVE, UINT64_C(1) << 62);
  assert_int_equal(rig_send(&r, 3, 4, MSG_SWIM_PING, (struct swim_msg){.seq = 1}, NULL, 0), 0);
  ASSERT_MEMBER(&r, 3, MEMBER_ALIVE, 4);
  rig_say(&r, SWIM_ALIVE, 4, UINT64_MAX);
  assert_null(rig_member(&r, 4));
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
  rig_say(&r, SWIM_DEAD, 3, 0);
  r.now += SEC;
  rig_say(&r, SWIM_DEAD, 2, 0);
  rig_say(&r, SWIM_ALIVE, 5, 0); /* the oldest dead makes room */
  assert_null(rig_member(&r, 3));
  ASSERT_MEMBER(&r, 2, MEMBER_DEAD, 0);
  ASSERT_MEMBER(&r, 5, MEMBER_ALIVE, 0);
  rig_done(&r);
}

static void members_in_their_order(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  for (uint32_t i = 1; i <= 8; i++) rig_met(&r, i);
  rig_say(&r, SWIM_DEAD, 2, 0);
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
      cmocka_unit_test(dead_overrides_and_a_higher_incarnation_welcomes_back),
      cmocka_unit_test(a_list_accuses_but_does_not_bury),
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
