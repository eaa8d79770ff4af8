/* What SIGHUP asks for: read in the pool, all of it or nothing, and once more when it was asked for meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "reload.h"

#define SOME "grants: {a: {pub: [x]}}\ndefault: a\n"

struct fixture {
  uv_loop_t uv;
  struct mem mem;
  struct reload r;
  char folder[32], path[64];
  const char *argv[3];
  int begun, done, err;
  char why[CONFIG_WHY_LEN];
  struct access *access; /* what was read last */
};

static void begin(void *ctx) { ((struct fixture *)ctx)->begun++; }

static void done(void *ctx, const struct reload_result *t) {
  struct fixture *f = ctx;
  struct config c = t->config;
  f->done++;
  f->err = t->err;
  snprintf(f->why, sizeof f->why, "%s", t->why);
  if (!t->err) {
    access_unref(f->access);
    f->access = t->access;
  }
  config_done(&c);
}

static void write_access(struct fixture *f, const char *text) {
  FILE *to = fopen(f->path, "w");
  assert_non_null(to);
  assert_true(fputs(text, to) >= 0);
  assert_int_equal(fclose(to), 0);
  assert_int_equal(chmod(f->path, 0600), 0);
}

static void setup(struct fixture *f, size_t limit) {
  static const char *const env[] = {"HOME=/nonexistent", NULL};
  *f = (struct fixture){.mem = MEM_INIT("access", limit), .folder = "/tmp/reload-XXXXXX"};
  assert_non_null(mkdtemp(f->folder));
  snprintf(f->path, sizeof f->path, "%s/access.yaml", f->folder);
  f->argv[0] = "maculad";
  f->argv[1] = "--access";
  f->argv[2] = f->path;
  assert_int_equal(uv_loop_init(&f->uv), 0);
  f->r = (struct reload){
      .uv = &f->uv, .argc = 3, .argv = f->argv, .env = env, .access_mem = &f->mem, .begin = begin, .done = done, .ctx = f};
}

static void teardown(struct fixture *f) {
  reload_stop(&f->r);
  access_unref(f->access);
  assert_int_equal(f->mem.bytes, 0);
  assert_int_equal(uv_run(&f->uv, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&f->uv), 0);
  unlink(f->path);
  assert_int_equal(rmdir(f->folder), 0);
}

static void run(struct fixture *f) { assert_int_equal(uv_run(&f->uv, UV_RUN_DEFAULT), 0); }

static void read_off_the_loop(void **state) {
  struct fixture f;
  (void)state;
  setup(&f, 0);
  write_access(&f, SOME);
  reload_ask(&f.r);
  assert_int_equal(f.begun, 1);
  assert_int_equal(f.done, 0);
  assert_int_equal(f.mem.bytes, 0); /* the thread counts for itself */
  run(&f);
  assert_int_equal(f.done, 1);
  assert_int_equal(f.err, 0);
  assert_non_null(access_grant(f.access, slice_str("a")));
  assert_true(f.mem.bytes > 0);
  assert_int_equal(f.r.mem.bytes, 0);
  teardown(&f);
}

/* However often it is asked for: what stood there at the last time counts. */
static void asked_for_meanwhile(void **state) {
  struct fixture f;
  (void)state;
  setup(&f, 0);
  write_access(&f, SOME);
  reload_ask(&f.r);
  write_access(&f, "grants: {b: {pub: [x]}}\nanonymous: b\n");
  for (int i = 0; i < 100; i++) reload_ask(&f.r);
  run(&f);
  assert_int_equal(f.begun, 2);
  assert_int_equal(f.done, 2);
  assert_non_null(access_grant(f.access, slice_str("b")));
  teardown(&f);
}

/* As one that was cut off while it was written: everybody would be thrown out. */
static void empty_is_nothing(void **state) {
  struct fixture f;
  (void)state;
  setup(&f, 0);
  write_access(&f, "");
  reload_ask(&f.r);
  run(&f);
  assert_int_equal(f.err, MACULA_EINVAL);
  assert_non_null(strstr(f.why, "lets nobody in"));
  assert_int_equal(f.mem.bytes, 0);
  teardown(&f);
}

static void wrong_is_nothing(void **state) {
  struct fixture f;
  (void)state;
  setup(&f, 0);
  write_access(&f, SOME "users: {alice: {grant: none, password: x}}\n");
  reload_ask(&f.r);
  run(&f);
  assert_int_equal(f.err, MACULA_EINVAL);
  assert_non_null(strstr(f.why, "access.yaml:3: "));
  assert_int_equal(f.mem.bytes, 0);
  teardown(&f);
}

/* The old one and the new one fit together, or the old one stays. */
static void limit_holds_for_both(void **state) {
  struct fixture f;
  char text[32000] = "default: g0\ngrants:\n";
  (void)state;
  setup(&f, 0);
  for (int i = 0; i < ACCESS_MAX_GRANTS; i++)
    snprintf(text + strlen(text), sizeof text - strlen(text), "  g%d: {pub: [x.y]}\n", i);
  write_access(&f, text);
  reload_ask(&f.r);
  run(&f);
  assert_int_equal(f.err, 0);
  f.mem.limit = f.mem.bytes + (96 << 10); /* a grant that is being read takes most of that */
  reload_ask(&f.r);
  run(&f);
  assert_int_equal(f.err, MACULA_ENOMEM);
  assert_non_null(strstr(f.why, "raise access_bytes"));
  assert_true(f.mem.refused > 0);
  write_access(&f, SOME);
  reload_ask(&f.r);
  run(&f);
  assert_int_equal(f.err, 0);
  teardown(&f);
}

static void stopped_while_it_reads(void **state) {
  struct fixture f;
  (void)state;
  setup(&f, 0);
  write_access(&f, SOME);
  reload_ask(&f.r);
  reload_ask(&f.r);
  reload_stop(&f.r);
  assert_int_equal(f.begun, 1);
  assert_int_equal(f.done, 0);
  teardown(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(read_off_the_loop), cmocka_unit_test(asked_for_meanwhile),  cmocka_unit_test(wrong_is_nothing),
      cmocka_unit_test(empty_is_nothing),  cmocka_unit_test(limit_holds_for_both), cmocka_unit_test(stopped_while_it_reads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
