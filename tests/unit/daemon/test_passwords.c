/* Checks of passwords in the pool: one at a time, some wait, what succeeded is remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "io/io.h"
#include "passwords.h"
#include "trust/password.h"

struct fixture {
  uv_loop_t uv;
  struct mem mem;
  struct passwords *p;
  int good, bad;
  char hash[PASSWORD_HASH_LEN];
};

static void done(void *ctx, bool good) {
  struct fixture *f = ctx;
  if (good)
    f->good++;
  else
    f->bad++;
}

static void setup(struct fixture *f) {
  *f = (struct fixture){.mem = MEM_INIT("passwords", 0)};
  assert_int_equal(uv_loop_init(&f->uv), 0);
  assert_int_equal(passwords_new(&f->uv, &f->mem, io_rng(), &f->p), 0);
  assert_int_equal(password_hash(slice_str("right"), io_rng(), f->hash), 0);
}

static void teardown(struct fixture *f) {
  passwords_free(f->p);
  assert_int_equal(uv_run(&f->uv, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&f->uv), 0);
  assert_int_equal(f->mem.bytes, 0);
}

static int check(struct fixture *f, const char *password, nanotime now) {
  return passwords_check(f->p, slice_str(f->hash), slice_str(password), now, done, f);
}

static void remembered_for_an_hour(void **state) {
  struct fixture f;
  (void)state;
  setup(&f);
  assert_int_equal(check(&f, "right", NS_SEC), 0);
  assert_int_equal(check(&f, "wrong", NS_SEC), 0);
  assert_int_equal(f.good + f.bad, 0);
  assert_int_equal(uv_run(&f.uv, UV_RUN_DEFAULT), 0);
  assert_int_equal(f.good, 1);
  assert_int_equal(f.bad, 1);
  assert_int_equal(check(&f, "right", 2 * NS_SEC), 0);
  assert_int_equal(f.good, 2); /* at once */
  assert_int_equal(check(&f, "wrong", 2 * NS_SEC), 0);
  assert_int_equal(f.bad, 1); /* computed each time */
  assert_int_equal(uv_run(&f.uv, UV_RUN_DEFAULT), 0);
  assert_int_equal(check(&f, "right", PASSWORDS_KNOWN_FOR + 2 * NS_SEC), 0);
  assert_int_equal(f.good, 2);
  assert_int_equal(uv_run(&f.uv, UV_RUN_DEFAULT), 0);
  assert_int_equal(f.good, 3);
  teardown(&f);
}

static void some_wait(void **state) {
  struct fixture f;
  (void)state;
  setup(&f);
  strcpy(f.hash, "not a hash"); /* false at once, so that many are quick */
  for (int i = 0; i < PASSWORDS_WAITING; i++) assert_int_equal(check(&f, "x", 0), 0);
  assert_int_equal(check(&f, "x", 0), MACULA_RATE_LIMITED);
  assert_int_equal(uv_run(&f.uv, UV_RUN_DEFAULT), 0);
  assert_int_equal(f.bad, PASSWORDS_WAITING);
  char longest[PASSWORD_MAX_LEN + 2];
  memset(longest, 'a', sizeof longest - 1);
  longest[sizeof longest - 1] = 0;
  assert_int_equal(check(&f, longest, 0), MACULA_EINVAL);
  teardown(&f);
}

static void freed_while_one_is_computed(void **state) {
  struct fixture f;
  (void)state;
  setup(&f);
  for (int i = 0; i < 3; i++) assert_int_equal(check(&f, "right", 0), 0);
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
  const struct CMUnitTest tests[] = {cmocka_unit_test(remembered_for_an_hour), cmocka_unit_test(some_wait),
                                     cmocka_unit_test(freed_while_one_is_computed), cmocka_unit_test(without_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
