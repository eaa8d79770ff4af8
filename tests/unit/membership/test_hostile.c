/* Peers' bytes and allocations that fail: nothing breaks, nothing grows past its bound. */
#include "node/memory/plan.h"
#include "unit/membership/rig.h"

static void malformed_payloads_change_nothing(void **state) {
  (void)state;
  struct rig r;
  struct membership_stats s;
  struct membership_out o;
  struct id one = rig_id(1);
  static const char *const bad[] = {"", "\x80", "\x90", "\xc0", "\x81\xc4\x03seq\x01", "\xc1", "\x81", "\xff\xff"};
  rig_init(&r);
  rig_met(&r, 1);
  (void)rig_drain(&r, -1, 0);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    for (uint8_t type = MSG_SWIM_PING; type <= MSG_SWIM_SYNC; type++)
      assert_int_equal(membership_recv(r.m, &one, type, slice_str(bad[i]), r.now), MACULA_BAD_FRAME);
  assert_int_equal(membership_recv(r.m, &one, MSG_PUBLISH, slice_str("\x80"), r.now), MACULA_BAD_FRAME);
  membership_stats(r.m, &s);
  assert_int_equal(s.bad_frames, 33);
  assert_false(membership_next(r.m, &o));
  rig_done(&r);
}

/* A peer that asks all the time takes the news from nobody else. */
static void one_that_pings_without_end(void **state) {
  (void)state;
  struct rig r;
  struct membership_out o;
  struct id two = rig_id(2), nine = rig_id(9);
  bool told = false;
  rig_init(&r);
  rig_met(&r, 1);
  rig_met(&r, 2);
  for (int i = 0; i < 40; i++) { /* periods */
    r.now += SEC;
    membership_tick(r.m, r.now);
    (void)rig_drain(&r, -1, 0);
    for (uint32_t k = 1; k < 3; k++)
      assert_int_equal(rig_send(&r, k, 0, MSG_SWIM_PING, (struct swim_msg){.seq = 1}, NULL, 0), 0);
    (void)rig_drain(&r, -1, 0);
  }
  rig_say(&r, SWIM_ALIVE, 9, 1);
  for (int i = 0; i < 1000; i++) {
    assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_PING, (struct swim_msg){.seq = 1}, NULL, 0), 0);
    (void)rig_drain(&r, -1, 0);
  }
  assert_int_equal(rig_send(&r, 2, 0, MSG_SWIM_PING, (struct swim_msg){.seq = 1}, NULL, 0), 0);
  while (membership_next(r.m, &o)) {
    struct swim_msg m;
    struct swim_update u;
    assert_int_equal(swim_decode(o.type, o.payload, &m), 0);
    while (swim_update_next(&m, &u)) {
      rig_id_of(NULL, u.record.key, &u.id);
      told |= id_eq(&o.to, &two) && id_eq(&u.id, &nine);
    }
  }
  assert_true(told);
  rig_done(&r);
}

static const uint8_t zeros[64], ones[4] = {0xff, 0xff, 0, 0xff};

/* Valid frames with bytes changed, from several peers, while time passes. */
static void random_payloads(void **state) {
  (void)state;
  struct rig r;
  struct rng_seeded g;
  const uint64_t seed = 20261124;
  printf("seed %llu\n", (unsigned long long)seed);
  rng_seeded_init(&g, seed);
  struct rng rng = rng_seeded_view(&g);
  rig_init_with(&r, (struct membership_config){.max_members = 64});
  for (int n = 0; n < 60000; n++) {
    uint8_t buf[2048], type = (uint8_t)(MSG_SWIM_PING + rng_below(rng, 4));
    struct swim_encoder e;
    struct member_info i = rig_info((uint32_t)rng_below(rng, 80));
    struct swim_msg msg = {.seq = rng_below(rng, 3) ? rng_u64(rng) : r.now,
                           .nack = rng_below(rng, 2),
                           .digest = slice_of(zeros, rng_below(rng, 2) * 64),
                           .want = slice_of(ones, rng_below(rng, 2) * 4),
                           .target = rig_id((uint32_t)rng_below(rng, 100))};
    if (!rng_below(rng, 9)) strcpy(i.name, "\x01x");
    msg.me = rig_record(&i, rng_below(rng, 8) ? rng_below(rng, 5) : rng_u64(rng), rng_below(rng, 9) == 0);
    swim_encode_begin(&e, buf, sizeof buf, type, &msg);
    for (uint64_t k = rng_below(rng, 12); k; k--) {
      struct swim_update u = rig_update((enum swim_state)rng_below(rng, 4), (uint32_t)rng_below(rng, 100), rng_below(rng, 5));
      if (rng_below(rng, 10) == 0) u.incarnation = rng_u64(rng);
      (void)swim_encode_update(&e, &u);
    }
    struct slice p = swim_encode_end(&e);
    if (rng_below(rng, 2) && n % 3) buf[rng_below(rng, p.n)] = (uint8_t)rng_u64(rng);
    if (rng_below(rng, 8) == 0) p.n = rng_below(rng, p.n);
    (void)membership_recv(r.m, &i.id, type, p, r.now);
    uint64_t what = rng_below(rng, 16);
    if (what == 0 && i.id.b[0]) (void)membership_met(r.m, &i, r.now);
    if (what < 4) membership_connected(r.m, &i.id, what != 3);
    if (what == 4) membership_unreachable(r.m, &i.id, r.now);
    r.now += rng_below(rng, NS_SEC / 4);
    if (what > 5) membership_tick(r.m, r.now);
    rig_check(&r);
    if (what > 8) (void)rig_drain(&r, -1, 0);
    if (what > 10) rig_drain_events(&r);
    uint32_t count = 0;
    for (const struct member *v = NULL; (v = membership_each(r.m, v));) count++;
    struct membership_stats s;
    membership_stats(r.m, &s);
    assert_int_equal(count, s.alive + s.suspect + s.dead);
    assert_true(count <= 64);
    assert_true(r.mem.bytes < 1400 * 1024);
  }
  rig_done(&r);
}

static void the_out_queue_is_bounded(void **state) {
  (void)state;
  struct rig r;
  struct membership_stats s;
  rig_init(&r);
  rig_met(&r, 1);
  for (uint64_t i = 0; i < 3000; i++)
    assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_PING, (struct swim_msg){.seq = i}, NULL, 0), 0);
  membership_stats(r.m, &s);
  assert_int_equal(s.dropped, 3001 - 1024);
  assert_int_equal(rig_drain(&r, 1, MSG_SWIM_ACK), 1024);
  /* The page that was dropped is sent in the end. */
  rig_tick(&r, r.now + SEC);
  assert_int_equal(rig_drain(&r, 1, MSG_SWIM_SYNC), 1);
  rig_done(&r);
}

/* A peer that is held dead sends a list into a full table: its own entry makes room for what it tells. */
static void the_sender_makes_room_for_its_own_news(void **state) {
  (void)state;
  struct rig r;
  rig_init_with(&r, (struct membership_config){.max_members = 3});
  for (uint32_t i = 1; i <= 3; i++) rig_met(&r, i);
  rig_drain_events(&r);
  rig_say(&r, SWIM_LEFT, 2, 1);
  (void)rig_drain(&r, -1, 0);
  rig_drain_events(&r);
  struct swim_update u = rig_update(SWIM_ALIVE, 9, 0);
  struct swim_msg msg = {.want = slice_of(ones, sizeof ones)};
  assert_int_equal(rig_send(&r, 2, 1, MSG_SWIM_SYNC, msg, &u, 1), 0);
  assert_null(rig_member(&r, 2));
  ASSERT_MEMBER(&r, 9, MEMBER_ALIVE, 0);
  rig_event(&r, MEMBER_EV_UP, 9);
  rig_event(&r, MEMBER_EV_FORGOTTEN, 2);
  rig_done(&r);
}

static void scenario(struct rig *r) {
  struct id two = rig_id(2);
  for (uint32_t i = 1; i <= 40; i++) {
    struct member_info info = rig_info(i);
    (void)membership_met(r->m, &info, r->now);
    membership_connected(r->m, &info.id, true);
    (void)rig_send(r, i, 0, MSG_SWIM_PING, (struct swim_msg){.seq = 1}, NULL, 0);
  }
  for (uint32_t i = 41; i < 80; i++) rig_say(r, SWIM_ALIVE, i, 1);
  rig_say(r, SWIM_SUSPECT, 3, 5);
  rig_say(r, SWIM_DEAD, 4, 5);
  membership_unreachable(r->m, &two, r->now);
  rig_silence(r, 90 * SEC);
  rig_drain_events(r);
}

static void every_allocation_fails_once(void **state) {
  (void)state;
  uint64_t seen = 0;
  for (uint64_t n = 0; n == 0 || n <= seen; n++) {
    struct rig r;
    struct mem_fail fail = {.countdown = n};
    r.mem = MEM_INIT("membership", 0);
    r.mem.fail = &fail;
    r.now = 100 * SEC;
    rng_seeded_init(&r.seed, 7);
    struct membership_config cfg = {.mem = &r.mem, .rng = rng_seeded_view(&r.seed), .max_members = 100, .self = rig_info(0)};
    cfg.crypto = (struct membership_crypto){slice_of(cfg.self.id.b, ID_LEN), rig_sign, rig_verify, rig_id_of, NULL};
    cfg.realm = slice_str("test");
    int err = membership_new(&cfg, r.now, &r.m);
    if (err) {
      assert_int_equal(err, MACULA_ENOMEM);
    } else {
      scenario(&r);
      membership_free(r.m);
    }
    assert_int_equal(r.mem.bytes, 0);
    if (n == 0) seen = fail.seen;
  }
  assert_true(seen > 100);
}

static void memory_of_a_member(void **state) {
  (void)state;
  struct rig r;
  rig_init_with(&r, (struct membership_config){.max_members = 10000});
  rig_met(&r, 1);
  (void)rig_drain(&r, -1, 0);
  rig_drain_events(&r);
  size_t before = r.mem.bytes;
  struct member_info longest = {.gateway = rig_id(1)};
  memset(longest.name, 'n', MEMBER_NAME_LEN);
  longest.addr.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = 1, .sin6_addr = in6addr_loopback};
  for (uint32_t i = 2; i <= 10001; i++) {
    longest.id = rig_id(i);
    struct swim_update u = {.state = SWIM_ALIVE, .record = rig_record(&longest, UINT64_C(1) << 60, false)};
    assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_ACK, (struct swim_msg){0}, &u, 1), 0);
  }
  struct membership_stats s;
  membership_stats(r.m, &s);
  assert_int_equal(s.alive, 10000);
  assert_int_equal(s.refused, 1);
  printf("%zu bytes a member, %zu without any\n", (r.mem.bytes - before) / 9999, before);
  assert_in_range((r.mem.bytes - before) / 9999, 1, PLAN_MEMBER - (SWIM_KEY_MAX - ID_LEN)); /* keys are ids here */
  rig_done(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(malformed_payloads_change_nothing),
      cmocka_unit_test(one_that_pings_without_end),
      cmocka_unit_test(random_payloads),
      cmocka_unit_test(the_out_queue_is_bounded),
      cmocka_unit_test(every_allocation_fails_once),
      cmocka_unit_test(memory_of_a_member),
      cmocka_unit_test(the_sender_makes_room_for_its_own_news),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
