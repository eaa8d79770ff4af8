/* Calls to other nodes: how they end, casts, limits and no memory. */
#include "router_rig.h"

static void caller_death_cleanup_query_test(void **state) { /* of the original's RPC suite */
  struct world w;
  (void)state;
  open_world(&w);
  call_with(&w, 0, 1, 0, (struct opt){.args = 100});
  call(&w, 0, 2, 0);
  call(&w, 1, 1, 0);
  router_session_ended(w.r, &w.p[0], 1);
  assert_string_equal(w.log, "d"); /* another still waits for it */
  assert_int_equal(w.payloads.bytes, 0);
  uint8_t id[CALL_ID_LEN] = {1};
  router_cancel(w.r, &w.p[1], slice_of(id, sizeof id));
  assert_string_equal(w.log, "du");
  assert_int_equal(calls_count(router_calls(w.r)), 0);
  assert_int_equal(router_discovery(w.r)->looking, 0);
  found(&w, "3", 1); /* too late */
  call(&w, 1, 2, 2);
  assert_string_equal(w.log, "dud");
  close_world(&w);
}

static void caller_death_cleanup_immediate_test(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  w.dialling[3] = true;
  call_with(&w, 0, 1, 0, (struct opt){.args = 100});
  found(&w, "34", 0);
  router_session_ended(w.r, &w.p[0], 1); /* while dialling: nobody is to be told */
  assert_string_equal(w.log, "dw3");
  assert_int_equal(w.payloads.bytes, 0);
  assert_int_equal(w.p[3].owner.inflight, 0);
  router_party_ready(w.r, &w.p[3], 1);
  assert_string_equal(w.log, "dw3");
  w.dialling[3] = false;
  call(&w, 0, 1, 2);
  router_session_ended(w.r, &w.p[0], 3); /* while sent */
  assert_string_equal(w.log, "dw3c3x3");
  assert_int_equal(w.reason, MACULA_CANCELLED);
  assert_int_equal(reply(&w, 3, 3), MACULA_ENOTFOUND);
  assert_int_equal(router_stats(w.r)->late, 1);
  serve(&w, 1);
  call(&w, 4, 1, 4); /* a call that came from a node: its end reaches our provider */
  router_session_ended(w.r, &w.p[4], 5);
  assert_string_equal(w.log, "dw3c3x3c1x1");
  close_world(&w);
}

static void replies_count_only_from_whom_was_asked(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  w.dialling[4] = true;
  call(&w, 0, 1, 0);
  found(&w, "34", 0);
  memcpy(w.sent_id[4], w.sent_id[3], CALL_ID_LEN);
  assert_int_equal(reply(&w, 4, 0), MACULA_ENOTFOUND);
  assert_int_equal(reply(&w, 3, 0), 0);
  assert_int_equal(reply(&w, 3, 0), MACULA_ENOTFOUND);
  assert_int_equal(router_stats(w.r)->late, 2);
  close_world(&w);
}

static void limits(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  serve(&w, 1);
  w.p[3].calls.max = 6;
  for (uint8_t i = 0; i < 6; i++) assert_int_equal(call(&w, 3, i, 0), 0); /* a link may make more than a client */
  assert_int_equal(call(&w, 3, 7, 0), MACULA_TOO_MANY_CALLS);
  router_session_ended(w.r, &w.p[3], 0);
  router_session_ended(w.r, &w.p[1], 0);
  for (uint8_t i = 0; i < 4; i++) assert_int_equal(call(&w, 0, i, 0), 0); /* those who wait count, too */
  assert_int_equal(call(&w, 0, 7, 0), MACULA_TOO_MANY_CALLS);
  assert_int_equal(call(&w, 0, 3, 0), MACULA_EBUSY);
  close_world(&w);
}

static void casts(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  assert_int_equal(cast(&w, 0), 0); /* waits for the lookup, as a call does */
  assert_string_equal(w.log, "d");
  w.dialling[3] = true;
  found(&w, "34", 0);
  assert_string_equal(w.log, "dw3"); /* and for the link */
  w.dialling[3] = false;
  router_party_ready(w.r, &w.p[3], 1);
  assert_string_equal(w.log, "dw3C3a");
  assert_int_equal(calls_count(router_calls(w.r)), 0);
  assert_int_equal(cast(&w, 2), 0);
  assert_string_equal(w.log, "dw3C3aC3a");
  w.unsendable[3] = MACULA_EFULL;
  cast(&w, 2);
  assert_string_equal(w.log, "dw3C3aC3aC4a");
  w.unsendable[4] = MACULA_EFULL;
  w.undiscoverable = MACULA_EFULL;
  assert_int_equal(cast(&w, 2), MACULA_ALL_PROVIDERS_FAILED);
  assert_int_equal(w.cast_err, MACULA_ALL_PROVIDERS_FAILED);
  w.dialling[3] = true;
  w.unsendable[3] = 0;
  memset(w.log, 0, sizeof w.log);
  cast(&w, 2);
  router_tick(w.r, 20 * NS_SEC);
  assert_string_equal(w.log, "w3A"); /* its time ends like a call's */
  assert_int_equal(w.cast_err, MACULA_TIMEOUT);
  cast(&w, 20 * NS_SEC);
  assert_int_equal(w.cast_err, MACULA_ALL_PROVIDERS_FAILED);
  w.undiscoverable = 0;
  for (int i = 0; i < 4; i++) assert_int_equal(cast(&w, 21 * NS_SEC), 0);
  assert_int_equal(cast(&w, 21 * NS_SEC), MACULA_TOO_MANY_CALLS); /* and it counts like one */
  router_session_ended(w.r, &w.p[0], 21 * NS_SEC);
  assert_int_equal(calls_count(router_calls(w.r)), 0);
  assert_int_equal(router_stats(w.r)->casts, 3);
  close_world(&w);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (uint64_t n = 1;; n++) {
    struct world w;
    open_world(&w);
    struct mem_fail f = {.countdown = n};
    w.calls_mem.fail = w.discovery_mem.fail = &f;
    w.dialling[3] = true;
    uint32_t pending = 0;
    for (uint8_t i = 0; i < 4; i++) {
      int err = call(&w, 0, i, 0);
      assert_true(err == 0 || err == MACULA_ENOMEM);
      if (err) assert_string_equal(w.code, "out_of_memory");
      pending += err == 0;
    }
    uint64_t before = f.seen;
    found(&w, "34", 0);
    uint64_t allocated = f.seen - before;
    assert_true(allocated <= 1); /* the list of nodes; if it fails all are answered */
    uint32_t left = calls_count(router_calls(w.r));
    assert_true(left == pending || left == 0);
    f.seen = 0;
    router_session_ended(w.r, &w.p[3], 0);
    assert_int_equal(f.seen, 0); /* failing over to what is known needs no memory */
    assert_int_equal(w.p[4].owner.inflight, left);
    cast(&w, 0);
    router_session_ended(w.r, &w.p[4], 0);
    close_world(&w);
    if (f.countdown) break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(caller_death_cleanup_query_test),
      cmocka_unit_test(caller_death_cleanup_immediate_test),
      cmocka_unit_test(replies_count_only_from_whom_was_asked),
      cmocka_unit_test(limits),
      cmocka_unit_test(casts),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
