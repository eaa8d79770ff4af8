/* Probes, indirect probes, suspicion's time, retirement of updates, keep_dead, and a frozen node, on a virtual clock. */
#include "unit/membership/rig.h"

static void round_robin_reaches_each_in_a_round(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  for (uint32_t i = 1; i <= 20; i++) rig_met(&r, i);
  rig_answering(&r, 2 * SEC, 20);
  uint32_t most = 0, least = UINT32_MAX, hits[21] = {0};
  nanotime until = r.now + 100 * SEC; /* five rounds */
  while (r.now < until) {
    rig_tick(&r, until);
    struct membership_out o;
    struct swim_msg msg;
    while (membership_next(r.m, &o)) {
      uint32_t who;
      assert_int_equal(swim_decode(o.type, o.payload, &msg), 0);
      memcpy(&who, o.to.b, sizeof who);
      if (o.type != MSG_SWIM_PING) continue;
      hits[who]++;
      assert_int_equal(rig_send(&r, who, 0, MSG_SWIM_ACK, (struct swim_msg){.seq = msg.seq}, NULL, 0), 0);
    }
  }
  for (uint32_t i = 1; i <= 20; i++) {
    if (hits[i] > most) most = hits[i];
    if (hits[i] < least) least = hits[i];
  }
  assert_true(least >= 4 && most <= 6);
  rig_done(&r);
}

/* Members come into the ring and go in any order, at any point of a round; each in it is probed in a round, none other ever. */
static void the_ring_survives_comings_and_goings(void **state) {
  (void)state;
  struct rig r;
  rig_init_with(&r, (struct membership_config){.max_members = 100, .rotating = 4});
  for (uint32_t n = 0; n < 3000; n++) {
    uint32_t i = 1 + (uint32_t)rng_below(rng_seeded_view(&r.seed), 30);
    struct member_info info = rig_info(i);
    if (n % 3)
      assert_int_equal(membership_met(r.m, &info, r.now), 0);
    else if (n % 7 == 0)
      rig_say(&r, SWIM_LEFT, i, n);
    membership_connected(r.m, &info.id, n % 2);
    r.now += SEC / 3;
    membership_tick(r.m, r.now);
    struct membership_out o;
    while (membership_next(r.m, &o)) {
      struct swim_msg msg;
      uint32_t who;
      memcpy(&who, o.to.b, sizeof who);
      assert_int_equal(swim_decode(o.type, o.payload, &msg), 0);
      if (o.type == MSG_SWIM_PING)
        assert_int_equal(rig_send(&r, who, n, MSG_SWIM_ACK, (struct swim_msg){.seq = msg.seq}, NULL, 0), 0);
    }
    rig_drain_events(&r);
  }
  rig_done(&r);
}

static void indirect_probes_then_suspicion_then_death_then_forgotten(void **state) {
  (void)state;
  struct rig r;
  struct membership_stats s;
  rig_init(&r);
  for (uint32_t i = 1; i <= 5; i++) rig_met(&r, i);
  rig_drain_events(&r);
  uint32_t pings = 0, asked = 0;
  nanotime begun = 0, suspected = 0, died = 0, forgotten = 0, until = r.now + 120 * SEC;
  while (r.now < until && !forgotten) { /* 5 is silent; the relays say so */
    rig_tick(&r, until);
    struct membership_out o;
    struct swim_msg msg;
    struct id five = rig_id(5);
    struct membership_event ev;
    while (membership_next(r.m, &o)) {
      uint32_t who;
      memcpy(&who, o.to.b, sizeof who);
      assert_int_equal(swim_decode(o.type, o.payload, &msg), 0);
      if (o.type == MSG_SWIM_PING_REQ && !suspected) {
        assert_memory_equal(&msg.target, &five, sizeof five);
        assert_int_not_equal(who, 5);
        asked |= 1u << who;
        assert_int_equal(rig_send(&r, who, 0, MSG_SWIM_ACK, (struct swim_msg){.seq = msg.seq, .nack = true}, NULL, 0), 0);
      } else if (o.type == MSG_SWIM_PING && who == 5) {
        if (!begun) begun = r.now;
        if (r.now < begun + SEC) pings++;
      } else if (o.type == MSG_SWIM_PING) {
        assert_int_equal(rig_send(&r, who, 0, MSG_SWIM_ACK, (struct swim_msg){.seq = msg.seq}, NULL, 0), 0);
      }
    }
    while (membership_next_event(r.m, &ev)) {
      assert_memory_equal(&ev.info.id, &five, sizeof five);
      if (ev.type == MEMBER_EV_SUSPECT) suspected = r.now;
      if (ev.type == MEMBER_EV_DEAD) died = r.now;
      if (ev.type == MEMBER_EV_FORGOTTEN) forgotten = r.now;
    }
  }
  assert_int_equal(__builtin_popcount(asked), 3);
  assert_int_equal(pings, 4); /* directly too, until the end */
  assert_int_equal(suspected - begun, SEC);
  assert_int_equal(died - suspected, 5 * SEC);
  assert_int_equal(forgotten - died, 60 * SEC);
  assert_null(rig_member(&r, 5));
  membership_stats(r.m, &s);
  assert_int_equal(s.health, 0); /* the relays vouched for us */
  assert_int_equal(s.deaths, 1);
  assert_int_equal(s.dead, 0);
  rig_done(&r);
}

static void an_indirect_answer_saves(void **state) {
  (void)state;
  struct rig r;
  struct membership_stats s;
  rig_init(&r);
  for (uint32_t i = 1; i <= 5; i++) rig_met(&r, i);
  nanotime until = r.now + 60 * SEC;
  while (r.now < until) {
    rig_tick(&r, until);
    struct membership_out o;
    struct swim_msg msg;
    while (membership_next(r.m, &o)) {
      uint32_t who;
      memcpy(&who, o.to.b, sizeof who);
      assert_int_equal(swim_decode(o.type, o.payload, &msg), 0);
      if (o.type == MSG_SWIM_PING_REQ || (o.type == MSG_SWIM_PING && who != 5)) {
        /* One that was not asked cannot answer. */
        assert_int_equal(rig_send(&r, 9, 0, MSG_SWIM_ACK, (struct swim_msg){.seq = msg.seq}, NULL, 0), 0);
        assert_int_equal(rig_send(&r, who, 0, MSG_SWIM_ACK, (struct swim_msg){.seq = msg.seq}, NULL, 0), 0);
      }
    }
  }
  ASSERT_MEMBER(&r, 5, MEMBER_ALIVE, 0);
  membership_stats(r.m, &s);
  assert_true(s.indirect_acks >= 5);
  assert_int_equal(s.suspicions, rig_member(&r, 9)->state == MEMBER_ALIVE ? 0 : 1); /* 9 never answers in its own name */
  rig_done(&r);
}

static void a_relay_asks_and_answers(void **state) {
  (void)state;
  struct rig r;
  struct id to, two = rig_id(2), one = rig_id(1);
  struct swim_msg msg;
  rig_init(&r);
  rig_met(&r, 1);
  rig_met(&r, 2);
  rig_answering(&r, 3 * SEC, 2);
  struct swim_msg ask = {.seq = 99, .has_target = true, .target = two};
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_PING_REQ, ask, NULL, 0), 0);
  assert_true(rig_next(&r, MSG_SWIM_PING, &to, &msg));
  assert_memory_equal(&to, &two, sizeof two);
  assert_int_equal(rig_send(&r, 2, 0, MSG_SWIM_ACK, (struct swim_msg){.seq = msg.seq}, NULL, 0), 0);
  assert_true(rig_next(&r, MSG_SWIM_ACK, &to, &msg));
  assert_memory_equal(&to, &one, sizeof one);
  assert_int_equal(msg.seq, 99);
  assert_false(msg.nack);
  /* Silence: it is told so, half a period later. */
  ask.seq = 100;
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_PING_REQ, ask, NULL, 0), 0);
  (void)rig_drain(&r, -1, 0);
  nanotime asked = r.now;
  bool told = false;
  while (r.now < asked + SEC && !told) {
    rig_tick(&r, asked + SEC);
    while (!told && rig_next(&r, MSG_SWIM_ACK, &to, &msg)) told = msg.seq == 100;
  }
  assert_true(told && msg.nack);
  assert_int_equal(r.now - asked, SEC / 2);
  /* Unknown: at once. Itself: at once. */
  ask.target = rig_id(50);
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_PING_REQ, ask, NULL, 0), 0);
  assert_true(rig_next(&r, MSG_SWIM_ACK, &to, &msg));
  assert_true(msg.nack);
  ask.target = rig_id(0);
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_PING_REQ, ask, NULL, 0), 0);
  assert_true(rig_next(&r, MSG_SWIM_ACK, &to, &msg));
  assert_false(msg.nack);
  /* A flood of them is answered no, and holds nothing. */
  ask.target = two;
  for (int i = 0; i < 5000; i++) assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_PING_REQ, ask, NULL, 0), 0);
  assert_in_range(rig_drain(&r, 2, MSG_SWIM_PING), 0, 64);
  rig_done(&r);
}

static void updates_retire_after_lambda_log_n(void **state) {
  (void)state;
  struct rig r;
  struct id to;
  struct swim_msg msg;
  rig_init(&r);
  for (uint32_t i = 1; i <= 20; i++) rig_met(&r, i);
  rig_say(&r, SWIM_ALIVE, 20, 0);
  rig_say(&r, SWIM_SUSPECT, 20, 0);
  (void)rig_drain(&r, -1, 0);
  uint32_t sent = 0;
  for (uint32_t i = 0; i < 150; i++) {
    assert_int_equal(rig_send(&r, 1 + i % 19, 0, MSG_SWIM_PING, (struct swim_msg){.seq = i}, NULL, 0), 0);
    assert_true(rig_next(&r, MSG_SWIM_ACK, &to, &msg));
    sent += rig_says(msg, SWIM_SUSPECT, 20, 0);
    if (i > 100) assert_int_equal(msg.update_count, 0);
  }
  assert_in_range(sent, 10, 12); /* 2 * bits(20) + 2, of which the draining took some */
  rig_done(&r);
}

static void the_fewest_sent_goes_first_and_a_datagram_is_the_bound(void **state) {
  (void)state;
  struct rig r;
  struct id to;
  struct swim_msg msg;
  rig_init(&r);
  rig_met(&r, 1);
  for (uint32_t i = 2; i < 90; i++) rig_say(&r, SWIM_ALIVE, i, 1);
  (void)rig_drain(&r, -1, 0);
  uint32_t seen[91] = {0};
  for (uint32_t i = 0; i < 12; i++) {
    /* each of another, since what one is told again and again does not count as told */
    assert_int_equal(rig_send(&r, 2 + i, 1, MSG_SWIM_PING, (struct swim_msg){.seq = i}, NULL, 0), 0);
    assert_true(rig_next(&r, MSG_SWIM_ACK, &to, &msg));
    assert_true(msg.update_count >= 7); /* a full one */
    for (struct swim_update u; swim_update_next(&msg, &u);) {
      uint32_t who;
      memcpy(&who, u.id.b, sizeof who);
      seen[who]++;
    }
  }
  uint32_t most = 0, least = UINT32_MAX;
  for (uint32_t i = 2 + 12; i < 90; i++) {
    if (seen[i] > most) most = seen[i];
    if (seen[i] < least) least = seen[i];
  }
  assert_true(most - least <= 1);
  rig_say(&r, SWIM_ALIVE, 90, 1); /* the newest has been sent least */
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_PING, (struct swim_msg){.seq = 1}, NULL, 0), 0);
  assert_true(rig_next(&r, MSG_SWIM_ACK, &to, &msg));
  assert_true(rig_says(msg, SWIM_ALIVE, 90, 1));
  rig_done(&r);
}

static void a_suspect_is_told_by_whoever_probes_it(void **state) {
  (void)state;
  struct rig r;
  struct id to, two = rig_id(2);
  struct swim_msg msg;
  rig_init(&r);
  rig_met(&r, 1);
  rig_met(&r, 2);
  rig_answering(&r, 3 * SEC, 2);
  rig_drain_events(&r);
  membership_unreachable(r.m, &two, r.now);
  rig_event(&r, MEMBER_EV_SUSPECT, 2);
  bool told = false;
  nanotime until = r.now + 2 * SEC;
  while (r.now < until) {
    rig_tick(&r, until);
    while (rig_next(&r, MSG_SWIM_PING, &to, &msg))
      if (id_eq(&to, &two)) told |= rig_says(msg, SWIM_SUSPECT, 2, 0);
  }
  assert_true(told);
  assert_int_equal(rig_send(&r, 2, 1, MSG_SWIM_ACK, (struct swim_msg){0}, NULL, 0), 0);
  rig_event(&r, MEMBER_EV_REFUTED, 2);
  ASSERT_MEMBER(&r, 2, MEMBER_ALIVE, 1);
  rig_done(&r);
}

static void a_frozen_node_accuses_nobody(void **state) {
  (void)state;
  struct rig r;
  struct membership_stats s;
  struct id three = rig_id(3);
  rig_init(&r);
  for (uint32_t i = 1; i <= 4; i++) rig_met(&r, i);
  rig_answering(&r, 10 * SEC, 4);
  membership_unreachable(r.m, &three, r.now);
  rig_tick(&r, r.now + SEC); /* a probe is under way */
  (void)rig_drain(&r, -1, 0);
  r.now += 20 * SEC; /* SIGSTOP, SIGCONT */
  membership_tick(r.m, r.now);
  ASSERT_MEMBER(&r, 3, MEMBER_SUSPECT, 0); /* the time that nobody could answer in does not count */
  membership_stats(r.m, &s);
  assert_int_equal(s.wakes, 1);
  assert_int_equal(s.suspicions, 1);
  assert_int_equal(rig_send(&r, 3, 1, MSG_SWIM_ACK, (struct swim_msg){0}, NULL, 0), 0);
  rig_answering(&r, 20 * SEC, 2);
  membership_stats(r.m, &s);
  assert_int_equal(s.wakes, 1);
  for (uint32_t i = 1; i <= 2; i++) ASSERT_MEMBER(&r, i, MEMBER_ALIVE, 0);
  rig_done(&r);
}

static void a_cut_off_node_loses_confidence(void **state) {
  (void)state;
  struct rig r;
  struct membership_stats s;
  rig_init(&r);
  for (uint32_t i = 1; i <= 30; i++) rig_met(&r, i);
  rig_silence(&r, 10 * SEC);
  membership_stats(r.m, &s);
  assert_true(s.health >= 4);
  assert_true(s.suspicions <= 4); /* not one a second */
  rig_answering(&r, 120 * SEC, 30);
  membership_stats(r.m, &s);
  assert_int_equal(s.health, 0);
  rig_done(&r);
}

static void an_unsent_probe_proves_nothing(void **state) {
  (void)state;
  struct rig r;
  struct membership_stats s;
  struct membership_out o;
  rig_init(&r);
  struct member_info i = rig_info(1);
  assert_int_equal(membership_met(r.m, &i, r.now), 0);
  nanotime until = r.now + 30 * SEC;
  while (r.now < until) {
    rig_tick(&r, until);
    while (membership_next(r.m, &o)) {
      struct id id = o.to;
      membership_unsent(r.m, &id);
    }
  }
  membership_stats(r.m, &s);
  assert_true(s.pings > 10);
  assert_int_equal(s.suspicions, 0);
  rig_done(&r);
}

static void leaving_is_told_and_then_silent(void **state) {
  (void)state;
  struct rig r;
  struct id to;
  struct swim_msg msg;
  struct membership_out o;
  rig_init(&r);
  for (uint32_t i = 1; i <= 40; i++) rig_met(&r, i);
  rig_answering(&r, 3 * SEC, 40);
  membership_leave(r.m);
  uint32_t told = 0;
  while (rig_next(&r, MSG_SWIM_PING, &to, &msg)) told += msg.me.left && msg.me.incarnation == 1;
  assert_int_equal(told, 14);
  assert_int_equal(membership_deadline(r.m), TIME_NEVER);
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_PING, (struct swim_msg){.seq = 1}, NULL, 0), 0);
  membership_tick(r.m, r.now + SEC);
  assert_false(membership_next(r.m, &o));
  rig_done(&r);
  /* And heard. */
  rig_init(&r);
  rig_met(&r, 1);
  struct swim_update u = rig_update(SWIM_LEFT, 1, 1);
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_PING, (struct swim_msg){.seq = 1}, &u, 1), 0);
  ASSERT_MEMBER(&r, 1, MEMBER_DEAD, 1);
  rig_done(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(round_robin_reaches_each_in_a_round),
      cmocka_unit_test(the_ring_survives_comings_and_goings),
      cmocka_unit_test(indirect_probes_then_suspicion_then_death_then_forgotten),
      cmocka_unit_test(an_indirect_answer_saves),
      cmocka_unit_test(a_relay_asks_and_answers),
      cmocka_unit_test(updates_retire_after_lambda_log_n),
      cmocka_unit_test(the_fewest_sent_goes_first_and_a_datagram_is_the_bound),
      cmocka_unit_test(a_suspect_is_told_by_whoever_probes_it),
      cmocka_unit_test(a_frozen_node_accuses_nobody),
      cmocka_unit_test(a_cut_off_node_loses_confidence),
      cmocka_unit_test(an_unsent_probe_proves_nothing),
      cmocka_unit_test(leaving_is_told_and_then_silent),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
