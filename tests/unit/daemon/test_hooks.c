/* Memory of GnuTLS on its account: a handshake's share is given back, and every allocation of it may fail. */
#include "../quic/pair.h"
#include "hooks.h"
#include "node/memory/plan.h"

static struct hooks hooks;

/* Bytes of the account once a connection is made, idle, and gone. */
static void test_account(void **state) {
  struct pair p;
  (void)state;
  for (int i = 0; i < 2; i++) { /* the first connection fills caches */
    pair_init(&p, 3, NULL);
    pair_start(&p);
    size_t before = hooks.tls.bytes, blocks = hooks.tls.blocks;
    assert_true(before > 0);
    hooks.tls.peak = before;
    pair_connect(&p);
    pair_run(&p, NS_SEC);
    size_t keys = (hooks.tls.bytes - before) / 2, handshake = (hooks.tls.peak - before) / 2; /* both ends are here */
    printf("measured keys of a connection: %zu bytes of %u planned; in its handshake: %zu of %u\n", keys, PLAN_KEYS, handshake,
           PLAN_HANDSHAKE + PLAN_KEYS);
    assert_in_range(keys, 1000, PLAN_KEYS);
    assert_in_range(handshake, keys, PLAN_HANDSHAKE + PLAN_KEYS);
    for (int k = 0; k < 3; k++) { /* old, present and next keys at most */
      quic_conn_key_update(p.a.conn);
      pair_run(&p, NS_SEC);
    }
    assert_in_range((hooks.tls.bytes - before) / 2, 1000, PLAN_KEYS);
    quic_conn_close(p.a.conn, 0, "bye");
    pair_run(&p, 3 * NS_SEC);
    if (i) assert_int_equal(hooks.tls.bytes, before);
    if (i) assert_int_equal(hooks.tls.blocks, blocks);
    pair_done(&p);
  }
}

/* Half-open connections of many clients at once: so much each. */
static void test_half_open(void **state) {
  struct pair p;
  (void)state;
  pair_init(&p, 4, NULL);
  pair_start(&p);
  size_t before = hooks.tls.bytes;
  for (int i = 0; i < 50; i++) assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
  hooks.tls.peak = hooks.tls.bytes;
  pair_run(&p, NS_SEC);
  size_t each = (hooks.tls.peak - before) / 100;
  printf("measured TLS of 50 handshakes at once: %zu bytes an end\n", each);
  assert_in_range(each, 1000, PLAN_HANDSHAKE + PLAN_KEYS);
  pair_done(&p);
}

static void test_no_memory(void **state) {
  struct mem_fail fail = {0};
  (void)state;
  for (uint64_t k = 0;; k++) { /* 0: none fails, and counts them */
    struct pair p;
    static uint64_t seen;
    pair_init(&p, 9, NULL);
    pair_start(&p);
    fail = (struct mem_fail){.countdown = k};
    hooks.tls.fail = &fail;
    if (pair_connect_with(&p, (struct quic_connect){0}) == 0) pair_run(&p, 12 * NS_SEC);
    hooks.tls.fail = NULL;
    if (k == 0) seen = fail.seen;
    if (k == 0) assert_true(p.a.opened && seen > 100);
    pair_done(&p);
    if (k >= seen) break;
  }
}

/* GnuTLS 3.7.9 loses some blocks when an allocation of its own fails; the test asks that nothing worse happens. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libgnutls\n"; }

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_account), cmocka_unit_test(test_half_open),
                                     cmocka_unit_test(test_no_memory)};
  hooks_install(&hooks);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
