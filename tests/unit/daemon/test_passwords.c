/* Checks of passwords in the pool: one at a time, some wait, what succeeded is remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "io/io.h"
#include "node/memory/plan.h"
#include "passwords.h"
#include "trust/password.h"

struct fixture {
  uv_loop_t uv;
  struct mem mem;
  struct passwords *p;
  int good, bad;
  bool any; /* of several keys */
  bool hurries;
  char hash[PASSWORD_HASH_LEN];
  uint8_t key[PASSWORD_KEY_LEN];
};

static void done(void *ctx, const uint8_t key[PASSWORD_KEY_LEN], bool good) {
  struct fixture *f = ctx;
  if (!f->any) assert_memory_equal(key, f->key, PASSWORD_KEY_LEN);
  if (good)
    f->good++;
  else
    f->bad++;
}

static void setup(struct fixture *f) {
  *f = (struct fixture){.mem = MEM_INIT("passwords", 0)};
  assert_int_equal(uv_loop_init(&f->uv), 0);
  assert_int_equal(passwords_new(&f->uv, &f->mem, io_rng(), done, f, &f->p), 0);
  assert_int_equal(password_hash(slice_str("right"), io_rng(), f->hash), 0);
}

static void teardown(struct fixture *f) {
  passwords_free(f->p);
  assert_int_equal(uv_run(&f->uv, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&f->uv), 0);
  assert_int_equal(f->mem.bytes, 0);
}

enum { COMES_LATER, KNOWN };
static int check(struct fixture *f, const char *password, nanotime now) {
  bool known;
  int err = passwords_check(f->p, slice_str(f->hash), slice_str(password), now, !f->hurries, f->key, &known);
  return err ? err : known ? KNOWN : COMES_LATER;
}
static void runs(struct fixture *f) { assert_int_equal(uv_run(&f->uv, UV_RUN_DEFAULT), 0); }

static void remembered_for_an_hour(void **state) {
  struct fixture f;
  (void)state;
  setup(&f);
  assert_int_equal(check(&f, "right", NS_SEC), COMES_LATER);
  runs(&f);
  assert_int_equal(f.good, 1);
  for (int i = 0; i < 10000; i++) assert_int_equal(check(&f, "right", 2 * NS_SEC), KNOWN);
  f.hurries = true;
  assert_int_equal(check(&f, "right", 2 * NS_SEC), KNOWN);
  assert_int_equal(check(&f, "wrong", 2 * NS_SEC), MACULA_RATE_LIMITED);
  f.hurries = false;
  assert_int_equal(check(&f, "wrong", 2 * NS_SEC), COMES_LATER);
  runs(&f);
  assert_int_equal(check(&f, "wrong", 2 * NS_SEC), COMES_LATER); /* computed each time */
  runs(&f);
  assert_int_equal(f.bad, 2);
  assert_int_equal(check(&f, "right", PASSWORDS_KNOWN_FOR + NS_SEC), COMES_LATER);
  runs(&f);
  assert_int_equal(f.good, 2);
  teardown(&f);
}

/* As many as come while one is computed wait for that. */
static void computed_once_for_all(void **state) {
  struct fixture f;
  (void)state;
  setup(&f);
  size_t before = f.mem.bytes;
  for (int i = 0; i < 10000; i++) assert_int_equal(check(&f, "right", NS_SEC), COMES_LATER);
  runs(&f);
  assert_int_equal(f.good, 1);
  printf("measured a password that was right: %zu bytes of %u planned, in a table\n", f.mem.bytes - before, PLAN_PASSWORD);
  assert_in_range(f.mem.bytes - before, 1, PLAN_PASSWORD + PLAN_TABLE);
  teardown(&f);
}

static void some_wait(void **state) {
  struct fixture f;
  uint8_t key[PASSWORD_KEY_LEN];
  char password[8];
  (void)state;
  setup(&f);
  strcpy(f.hash, "not a hash"); /* false at once, so that many are quick */
  f.any = true;
  for (int i = 0; i < PASSWORDS_WAITING; i++) {
    snprintf(password, sizeof password, "%d", i);
    assert_int_equal(check(&f, password, 0), COMES_LATER);
  }
  assert_int_equal(check(&f, "x", 0), MACULA_RATE_LIMITED);
  memcpy(key, f.key, sizeof key);
  assert_int_equal(check(&f, "1", 0), COMES_LATER); /* it is among them */
  assert_memory_not_equal(key, f.key, sizeof key);
  runs(&f);
  assert_int_equal(f.bad, PASSWORDS_WAITING);
  char longest[PASSWORD_MAX_LEN + 2];
  memset(longest, 'a', sizeof longest - 1);
  longest[sizeof longest - 1] = 0;
  assert_int_equal(check(&f, longest, 0), MACULA_EINVAL);
  longest[PASSWORD_MAX_LEN] = 0;
  memset(f.hash, 'a', sizeof f.hash - 1);
  size_t before = f.mem.bytes;
  assert_int_equal(check(&f, longest, 0), COMES_LATER);
  assert_in_range(f.mem.bytes - before, 1, PLAN_PASSWORD_CHECK);
  runs(&f);
  teardown(&f);
}

static void freed_while_one_is_computed(void **state) {
  struct fixture f;
  (void)state;
  setup(&f);
  assert_int_equal(check(&f, "right", 0), COMES_LATER);
  assert_int_equal(check(&f, "wrong", 0), COMES_LATER);
  teardown(&f);
  assert_int_equal(f.good + f.bad, 0);
}

static void without_memory(void **state) {
  struct fixture f;
  (void)state;
  setup(&f);
  f.mem.limit = f.mem.bytes + 16;
  assert_int_equal(check(&f, "right", 0), MACULA_ENOMEM);
  f.mem.limit = 0;
  teardown(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(remembered_for_an_hour), cmocka_unit_test(computed_once_for_all),
                                     cmocka_unit_test(some_wait), cmocka_unit_test(freed_while_one_is_computed),
                                     cmocka_unit_test(without_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
