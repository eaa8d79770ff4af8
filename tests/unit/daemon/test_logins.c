/* Links and sessions of the page: once, in time, bounded. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include <string.h>

#include "daemon/http/logins.h"

static struct rng_seeded seeded;
static struct rng dice(void) {
  rng_seeded_init(&seeded, 7);
  return rng_seeded_view(&seeded);
}

static const struct login alice = {.user = "alice"}, op = {.by_link = true, .grant = "all"};

static void test_link(void **state) {
  struct logins l = {0};
  struct login who;
  char word[LOGINS_WORD_LEN + 1], late[LOGINS_WORD_LEN + 1];
  struct rng rng = dice();
  (void)state;
  logins_invite(&l, &op, rng, NS_SEC, word);
  assert_int_equal(strlen(word), LOGINS_WORD_LEN);
  assert_false(logins_redeem(&l, slice_str("x"), NS_SEC, &who));
  assert_false(logins_redeem(&l, slice_str(""), NS_SEC, &who));
  assert_false(logins_redeem(&l, slice_of(word, LOGINS_WORD_LEN - 1), NS_SEC, &who));
  assert_null(logins_find(&l, slice_str(word), NS_SEC)); /* a link is no session */
  assert_true(logins_redeem(&l, slice_str(word), 60 * NS_SEC, &who));
  assert_true(who.by_link && !strcmp(who.grant, "all") && !who.user[0]);
  assert_false(logins_redeem(&l, slice_str(word), 60 * NS_SEC, &who)); /* once */
  logins_invite(&l, &op, rng, 100 * NS_SEC, late);
  assert_string_not_equal(late, word);
  assert_false(logins_redeem(&l, slice_str(late), 160 * NS_SEC, &who)); /* not after a minute */
  assert_int_equal(l.refused, 5);
}

static void test_session(void **state) {
  struct logins l = {0};
  char word[LOGINS_WORD_LEN + 1];
  struct login who;
  struct rng rng = dice();
  nanotime now = NS_SEC;
  (void)state;
  logins_open(&l, &alice, rng, now, word);
  assert_false(logins_redeem(&l, slice_str(word), now, &who)); /* and a session is no link */
  for (int i = 0; i < 25; i++) {                               /* it is used, until its time is over */
    const struct login *found = logins_find(&l, slice_str(word), now);
    assert_true(found && !strcmp(found->user, "alice"));
    now += 29 * 60 * NS_SEC;
  }
  assert_non_null(logins_find(&l, slice_str(word), LOGINS_TIME));
  assert_null(logins_find(&l, slice_str(word), LOGINS_TIME + NS_SEC));
  logins_open(&l, &alice, rng, now, word);
  assert_non_null(logins_find(&l, slice_str(word), now));
  assert_null(logins_find(&l, slice_str(word), now + LOGINS_IDLE_TIME)); /* it was not used */
  logins_open(&l, &alice, rng, now, word);
  logins_close(&l, slice_str("other"));
  assert_non_null(logins_find(&l, slice_str(word), now));
  logins_close(&l, slice_str(word));
  assert_null(logins_find(&l, slice_str(word), now));
}

static void test_bounded(void **state) {
  static struct logins l;
  char first[LOGINS_WORD_LEN + 1], second[LOGINS_WORD_LEN + 1], word[LOGINS_WORD_LEN + 1];
  struct login who;
  struct rng rng = dice();
  (void)state;
  logins_open(&l, &alice, rng, NS_SEC, first);
  logins_open(&l, &alice, rng, 2 * NS_SEC, second);
  assert_non_null(logins_find(&l, slice_str(first), 3 * NS_SEC)); /* so that the second one is idle for longest */
  for (unsigned i = 2; i <= LOGINS_SESSIONS; i++) logins_open(&l, &alice, rng, 4 * NS_SEC, word);
  assert_int_equal(l.evicted, 1);
  assert_non_null(logins_find(&l, slice_str(first), 5 * NS_SEC));
  assert_null(logins_find(&l, slice_str(second), 5 * NS_SEC));
  logins_invite(&l, &op, rng, NS_SEC, first);
  for (unsigned i = 0; i < LOGINS_LINKS; i++) logins_invite(&l, &op, rng, 2 * NS_SEC, word);
  assert_false(logins_redeem(&l, slice_str(first), 3 * NS_SEC, &who));
  assert_true(logins_redeem(&l, slice_str(word), 3 * NS_SEC, &who));
}

/* Who logs in very often logs out himself. */
static void test_shares(void **state) {
  static struct logins l;
  static const struct login bob = {.user = "bob"};
  char own[2][LOGINS_WORD_LEN + 1], word[LOGINS_WORD_LEN + 1], link[LOGINS_WORD_LEN + 1];
  struct rng rng = dice();
  (void)state;
  logins_open(&l, &alice, rng, NS_SEC, own[0]);
  logins_open(&l, &op, rng, NS_SEC, link);
  for (unsigned i = 0; i < 2 * LOGINS_SESSIONS; i++) logins_open(&l, &bob, rng, 2 * NS_SEC + i, word);
  assert_int_equal(l.evicted, LOGINS_SESSIONS + 2);
  assert_non_null(logins_find(&l, slice_str(own[0]), 3 * NS_SEC));
  assert_non_null(logins_find(&l, slice_str(link), 3 * NS_SEC));
  assert_non_null(logins_find(&l, slice_str(word), 3 * NS_SEC));
  logins_open(&l, &alice, rng, 4 * NS_SEC, own[1]); /* and others find room among what he has */
  for (unsigned i = 0; i < 2; i++) assert_non_null(logins_find(&l, slice_str(own[i]), 4 * NS_SEC));
}

static bool is_user(void *ctx, const struct login *who) { return !strcmp(who->user, ctx); }

static void test_judged(void **state) {
  struct logins l = {0};
  char word[2][LOGINS_WORD_LEN + 1], link[LOGINS_WORD_LEN + 1];
  struct login who;
  struct rng rng = dice();
  (void)state;
  logins_open(&l, &alice, rng, NS_SEC, word[0]);
  logins_open(&l, &op, rng, NS_SEC, word[1]);
  logins_invite(&l, &op, rng, NS_SEC, link);
  logins_judge(&l, is_user, (void *)"alice");
  assert_non_null(logins_find(&l, slice_str(word[0]), NS_SEC));
  assert_null(logins_find(&l, slice_str(word[1]), NS_SEC));
  assert_false(logins_redeem(&l, slice_str(link), NS_SEC, &who));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_link), cmocka_unit_test(test_session),
                                     cmocka_unit_test(test_bounded), cmocka_unit_test(test_shares),
                                     cmocka_unit_test(test_judged)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
