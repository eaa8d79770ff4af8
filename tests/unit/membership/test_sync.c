/* SWIM_SYNC: digests, lists in pages, their pace, and the digest's truth after anything. */
#include "membership/internal.h"
#include "unit/membership/rig.h"

static uint32_t page_updates(struct rig *r, struct id *ret_to, struct swim_msg *ret_msg) {
  return rig_next(r, MSG_SWIM_SYNC, ret_to, ret_msg) ? ret_msg->update_count : UINT32_MAX;
}

static void equal_lists_are_not_sent(void **state) {
  (void)state;
  struct rig a, b;
  struct id to;
  struct swim_msg msg;
  rig_init(&a);
  rig_init(&b); /* both are node 0: b plays the peer that has the same list */
  rig_met(&a, 1);
  rig_met(&b, 1);
  rig_say(&a, SWIM_ALIVE, 1, 0);
  rig_say(&b, SWIM_ALIVE, 1, 0);
  assert_int_equal(page_updates(&a, &to, &msg), 0);
  assert_int_equal(msg.digest.n, 8 * SWIM_BUCKETS_MIN);
  (void)rig_drain(&b, -1, 0);
  uint8_t digest[8 * SWIM_BUCKETS_MIN];
  memcpy(digest, msg.digest.p, sizeof digest);
  struct swim_msg same = {.digest = slice_of(digest, sizeof digest)};
  struct id it = rig_id(1);
  assert_false(membership_has_list(b.m, &it));
  assert_int_equal(rig_send(&b, 1, 0, MSG_SWIM_SYNC, same, NULL, 0), 0);
  assert_int_equal(page_updates(&b, &to, &msg), 0); /* the first time it is told so */
  assert_true(!msg.digest.n && !msg.want.n && membership_has_list(b.m, &it));
  b.now += 20 * SEC;
  assert_int_equal(rig_send(&b, 1, 0, MSG_SWIM_SYNC, same, NULL, 0), 0);
  assert_int_equal(page_updates(&b, &to, &msg), UINT32_MAX);
  membership_anew(b.m, &it);
  assert_int_equal(rig_send(&b, 1, 0, MSG_SWIM_SYNC, same, NULL, 0), 0);
  assert_int_equal(page_updates(&b, &to, &msg), 0);
  rig_done(&a);
  rig_done(&b);
}

static void what_differs_is_sent_in_pages_and_asked_for(void **state) {
  (void)state;
  static const uint8_t zeros[8 * SWIM_BUCKETS_MAX];
  struct rig r;
  struct id to;
  struct swim_msg msg;
  rig_init_with(&r, (struct membership_config){.max_members = 2000});
  rig_met(&r, 1);
  for (uint32_t i = 2; i <= 1000; i++) rig_say(&r, SWIM_ALIVE, i, 1);
  (void)rig_drain(&r, -1, 0);
  r.now += 20 * SEC;
  membership_tick(r.m, r.now);
  (void)rig_drain(&r, -1, 0);
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_SYNC, (struct swim_msg){.digest = slice_of(zeros, sizeof zeros)}, NULL, 0), 0);
  uint32_t sum = 0, pages = 0;
  nanotime until = r.now + 5 * SEC;
  while (r.now < until) {
    for (uint32_t n; (n = page_updates(&r, &to, &msg)) != UINT32_MAX; pages++) {
      assert_int_equal(msg.want.n, pages ? 0 : SWIM_BUCKETS_MAX / 8);
      sum += n;
    }
    rig_tick(&r, until);
  }
  assert_int_equal(sum, 1000);
  assert_true(pages >= 4);
  /* Again within 10 s: refused. */
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_SYNC, (struct swim_msg){.digest = slice_of(zeros, sizeof zeros)}, NULL, 0), 0);
  assert_int_equal(page_updates(&r, &to, &msg), UINT32_MAX);
  rig_done(&r);
}

static void only_the_buckets_asked_for(void **state) {
  (void)state;
  struct rig r;
  struct id to;
  struct swim_msg msg;
  struct swim_update u;
  const uint8_t want[32] = {1 << 3}; /* ids that begin with 3 */
  rig_init(&r);
  rig_met(&r, 1);
  for (uint32_t i = 2; i <= 90; i++) rig_say(&r, SWIM_ALIVE, i, 1);
  (void)rig_drain(&r, -1, 0);
  assert_int_equal(rig_send(&r, 1, 0, MSG_SWIM_SYNC, (struct swim_msg){.want = slice_of(want, sizeof want)}, NULL, 0), 0);
  assert_int_equal(page_updates(&r, &to, &msg), 1);
  assert_int_equal(msg.want.n, 0);
  assert_true(swim_update_next(&msg, &u));
  assert_int_equal(u.record.key.p[0], 3);
  rig_done(&r);
}

static void the_digest_stays_true(void **state) {
  (void)state;
  struct rig r;
  rig_init_with(&r, (struct membership_config){.max_members = 40});
  struct rng rng = rng_seeded_view(&r.seed);
  rig_met(&r, 1);
  for (int n = 0; n < 20000; n++) {
    rig_say(&r, (enum swim_state)rng_below(rng, 4), (uint32_t)rng_below(rng, 60), (uint64_t)n / 1000 + rng_below(rng, 6));
    r.now += rng_below(rng, SEC / 2);
    rig_check(&r);
    membership_tick(r.m, r.now);
    (void)rig_drain(&r, -1, 0);
    rig_drain_events(&r);
  }
  uint64_t kept[SWIM_BUCKETS_MAX], all = 0;
  memcpy(kept, r.m->digest, sizeof kept);
  list_for(l, &r.m->all) digest_out(r.m, ENTRY(l, all));
  digest_out(r.m, &r.m->self);
  for (int i = 0; i < SWIM_BUCKETS_MAX; i++) all |= r.m->digest[i];
  assert_int_equal(all, 0);
  list_for(l, &r.m->all) digest_in(r.m, ENTRY(l, all));
  digest_in(r.m, &r.m->self);
  assert_memory_equal(kept, r.m->digest, sizeof kept);
  rig_done(&r);
}

static void a_random_connected_one_every_half_minute(void **state) {
  (void)state;
  struct rig r;
  struct membership_stats s;
  rig_init(&r);
  for (uint32_t i = 1; i <= 10; i++) rig_met(&r, i);
  rig_answering(&r, SEC, 10);
  membership_stats(r.m, &s);
  uint64_t before = s.syncs;
  rig_answering(&r, 300 * SEC, 10);
  membership_stats(r.m, &s);
  assert_in_range(s.syncs - before, 7, 10);
  rig_done(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equal_lists_are_not_sent),
      cmocka_unit_test(what_differs_is_sent_in_pages_and_asked_for),
      cmocka_unit_test(only_the_buckets_asked_for),
      cmocka_unit_test(the_digest_stays_true),
      cmocka_unit_test(a_random_connected_one_every_half_minute),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
