/* Calls that leave for other nodes: lookups, and the choice of a node. */
#include "router_rig.h"

static void looked_up_sent_and_answered(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  assert_int_equal(call_with(&w, 0, 1, 0, (struct opt){.args = 10}), 0);
  assert_int_equal(call(&w, 1, 1, 0), 0); /* one lookup for both */
  assert_string_equal(w.log, "d");
  found(&w, "43", 1); /* in order of their ids */
  assert_string_equal(w.log, "dc3c3");
  assert_int_equal(w.timeout_ms, 5999);
  assert_int_equal(reply(&w, 3, 2), 0);
  assert_string_equal(w.log, "dc3c3r1");
  assert_int_equal(call(&w, 0, 2, 3), 0); /* known by now */
  assert_string_equal(w.log, "dc3c3r1c3");
  assert_int_equal(router_discovery(w.r)->hits, 3);
  assert_int_equal(router_stats(w.r)->lookups, 1);
  assert_int_equal(router_stats(w.r)->sent_to_nodes, 3);
  close_world(&w);
}

static void local_first(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  serve(&w, 1);
  call(&w, 0, 1, 0);
  assert_string_equal(w.log, "c1");
  struct msg_reply m = {
      .call_id = slice_of(w.sent_id[1], CALL_ID_LEN), .is_error = true, .error = {.code = slice_str("no_handler")}};
  router_reply(w.r, &w.p[1], &m, 0);
  assert_string_equal(w.log, "c1d"); /* only when no local one is left */
  found(&w, "3", 0);
  assert_int_equal(reply(&w, 3, 0), 0);
  assert_string_equal(w.log, "c1dc3r0");
  assert_int_equal(router_stats(w.r)->failovers, 1);
  close_world(&w);
}

static void calls_of_nodes_go_no_further(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  assert_int_equal(call(&w, 3, 1, 0), MACULA_NO_SUCH_PROCEDURE);
  assert_string_equal(w.log, "e3");
  call(&w, 0, 1, 0);
  found(&w, "4", 0);
  assert_int_equal(call(&w, 3, 2, 0), MACULA_NO_SUCH_PROCEDURE); /* although one is known */
  serve(&w, 1);
  assert_int_equal(call(&w, 3, 3, 0), 0);
  assert_string_equal(w.log, "e3dc4e3c1");
  router_session_ended(w.r, &w.p[1], 0);
  assert_string_equal(w.code, "all_providers_failed");
  close_world(&w);
}

static void nobody_provides_it(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  call(&w, 0, 1, 0);
  not_found(&w, 0, 10);
  assert_string_equal(w.log, "de0");
  assert_string_equal(w.code, "no_such_procedure");
  assert_int_equal(call(&w, 0, 2, 11), 0); /* somebody may have registered since */
  assert_string_equal(w.log, "de0d");
  found(&w, "3", 12);
  assert_string_equal(w.log, "de0dc3");
  close_world(&w);
}

static void a_call_that_found_nobody_asks_once_more(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  w.r->look_again = 300 * NS_MS;
  call(&w, 0, 1, 0);
  call_with(&w, 0, 2, 0, (struct opt){.timeout_ms = 100});
  found(&w, "", 10);
  assert_string_equal(w.log, "d");
  router_tick(w.r, 100 * NS_MS); /* its time is over: there was nobody */
  assert_string_equal(w.log, "de0");
  assert_string_equal(w.code, "no_such_procedure");
  router_tick(w.r, 10 + 300 * NS_MS);
  assert_string_equal(w.log, "de0d");
  found(&w, "3", 11 + 300 * NS_MS);
  assert_string_equal(w.log, "de0dc3");
  close_world(&w);

  open_world(&w);
  w.r->look_again = 300 * NS_MS;
  call(&w, 0, 1, 0);
  call(&w, 0, 2, 0);
  found(&w, "", 10);
  uint8_t id[CALL_ID_LEN] = {2};
  assert_int_equal(router_cancel(w.r, &w.p[0], slice_of(id, sizeof id)), 0); /* while it waits */
  router_tick(w.r, 10 + 300 * NS_MS);
  found(&w, "", 11 + 300 * NS_MS);
  assert_string_equal(w.log, "dde0"); /* once only */
  assert_string_equal(w.code, "no_such_procedure");
  close_world(&w);
}

static void a_lookup_that_fails(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  call(&w, 0, 1, 0);
  call(&w, 1, 1, 0);
  not_found(&w, MACULA_DHT_TIMEOUT, 1);
  assert_string_equal(w.log, "de0e1");
  assert_string_equal(w.code, "dht_timeout");
  assert_false(w.answer.may_have_run);
  assert_int_equal(router_stats(w.r)->lookups_failed, 2);
  w.undiscoverable = MACULA_EFULL;
  assert_int_equal(call(&w, 0, 2, 2), MACULA_TOO_MANY_CALLS);
  w.undiscoverable = MACULA_NO_SUCH_PROCEDURE; /* a node on its own */
  assert_int_equal(call(&w, 0, 3, 2), MACULA_NO_SUCH_PROCEDURE);
  serve(&w, 1);
  call(&w, 0, 4, 2);
  router_session_ended(w.r, &w.p[1], 2);
  assert_string_equal(w.code, "all_providers_failed");
  assert_int_equal(w.answer.attempt_count, 1);
  not_found(&w, MACULA_DHT_TIMEOUT, 3); /* nobody asked */
  found(&w, "3", 3);
  assert_null(discovery_peek(router_discovery(w.r), slice_str("x.y"), 3));
  close_world(&w);
}

/* One client's lookups come from a budget of its own: what is known or being looked up needs none. */
static void a_client_has_so_many_lookups(void **state) {
  struct world w;
  uint8_t id = 1;
  (void)state;
  open_world(&w);
  w.r->party_lookups = 1;
  w.undiscoverable = MACULA_NO_SUCH_PROCEDURE; /* on its own no lookup is begun: nothing is counted */
  for (; id < 30; id++) assert_int_equal(call(&w, 0, id, NS_SEC), MACULA_NO_SUCH_PROCEDURE);
  w.undiscoverable = 0;
  memset(w.log, 0, sizeof w.log);
  for (int i = 0; i < 4; i++) {
    assert_int_equal(call(&w, 0, id++, NS_SEC), 0);
    not_found(&w, MACULA_DHT_TIMEOUT, NS_SEC);
  }
  assert_string_equal(w.log, "de0de0de0de0");
  assert_int_equal(call(&w, 0, id++, NS_SEC), MACULA_RATE_LIMITED);
  assert_string_equal(w.log, "de0de0de0de0e0");
  assert_string_equal(w.code, "rate_limited");
  assert_false(w.answer.may_have_run);
  memset(w.log, 0, sizeof w.log);
  assert_int_equal(cast(&w, NS_SEC), MACULA_RATE_LIMITED);
  assert_int_equal(w.cast_err, MACULA_RATE_LIMITED);
  assert_int_equal(router_stats(w.r)->lookups_refused, 2);
  assert_int_equal(call(&w, 1, 1, NS_SEC), 0);    /* another client has its own */
  assert_int_equal(call(&w, 0, id++, NS_SEC), 0); /* and the first may wait for that */
  assert_string_equal(w.log, "Ad");
  found(&w, "3", NS_SEC);
  assert_string_equal(w.log, "Adc3c3");
  assert_int_equal(call(&w, 0, id++, NS_SEC), 0); /* known by now */
  close_world(&w);
}

static void without_a_second_lookup_nobody_says_that_there_is_none(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  w.r->party_lookups = 1;
  w.r->look_again = 300 * NS_MS;
  for (uint8_t i = 0; i < 4; i++) {
    assert_int_equal(call(&w, 0, i, NS_SEC), 0);
    if (i < 3) not_found(&w, MACULA_DHT_TIMEOUT, NS_SEC);
  }
  found(&w, "", NS_SEC);
  memset(w.log, 0, sizeof w.log);
  router_tick(w.r, NS_SEC + 300 * NS_MS);
  assert_string_equal(w.log, "e0");
  assert_string_equal(w.code, "rate_limited");     /* somebody may have registered since the first one */
  assert_int_equal(call(&w, 0, 9, 2 * NS_SEC), 0); /* a second later there is one more */
  assert_string_equal(w.log, "e0d");
  close_world(&w);
}

static void strategies(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  call_with(&w, 0, 1, 0, (struct opt){.strategy = STRATEGY_ROUND_ROBIN});
  found(&w, "354", 0);
  for (uint8_t i = 2; i < 5; i++) call_with(&w, 0, i, 0, (struct opt){.strategy = STRATEGY_ROUND_ROBIN});
  assert_string_equal(w.log, "dc3c4c5c3");
  w.log[0] = 0, memset(w.log, 0, sizeof w.log);
  call_with(&w, 1, 1, 0, (struct opt){.strategy = STRATEGY_LEAST_PENDING});
  call_with(&w, 1, 2, 0, (struct opt){.strategy = STRATEGY_LEAST_PENDING});
  assert_true(!strcmp(w.log, "c5c4") || !strcmp(w.log, "c4c5"));
  memset(w.log, 0, sizeof w.log);
  router_session_ended(w.r, &w.p[0], 0);
  router_session_ended(w.r, &w.p[1], 0);
  memset(w.log, 0, sizeof w.log);
  w.p[0].owner.id.b[0] = 5;
  call_with(&w, 0, 1, 0, (struct opt){.strategy = STRATEGY_CLOSEST});
  w.p[0].owner.id.b[0] = 7; /* 7^3 = 4, 7^4 = 3, 7^5 = 2 */
  call_with(&w, 0, 2, 0, (struct opt){.strategy = STRATEGY_CLOSEST});
  w.p[0].owner.id.b[0] = 2;
  call_with(&w, 0, 3, 0, (struct opt){.strategy = STRATEGY_CLOSEST});
  assert_string_equal(w.log, "c5c5c3");
  int seen = 0;
  for (uint8_t i = 0; i < 60; i++) {
    memset(w.log, 0, sizeof w.log);
    call_with(&w, 1, i, 0, (struct opt){.strategy = STRATEGY_RANDOM});
    seen |= 1 << (w.log[1] - '0');
    router_session_ended(w.r, &w.p[1], 0);
  }
  assert_int_equal(seen, 1 << 3 | 1 << 4 | 1 << 5);
  close_world(&w);
}

static void turns_go_on_over_a_refresh(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  struct opt turn = {.strategy = STRATEGY_ROUND_ROBIN};
  call_with(&w, 0, 1, 0, turn);
  found(&w, "453", 0);
  reply(&w, 3, 0);
  call_with(&w, 0, 1, 2 * NS_SEC, turn); /* looked up again while it is used; nobody waits for that */
  assert_string_equal(w.log, "dc3r0dc4");
  found(&w, "534", 2 * NS_SEC);
  reply(&w, 4, 2 * NS_SEC);
  call_with(&w, 0, 1, 2 * NS_SEC, turn);
  reply(&w, 5, 2 * NS_SEC);
  router_tick(w.r, 100 * NS_SEC); /* over its TTL, too */
  call_with(&w, 0, 1, 100 * NS_SEC, turn);
  found(&w, "345", 100 * NS_SEC);
  assert_string_equal(w.log, "dc3r0dc4r0c5r0dc3");
  assert_int_equal(router_discovery(w.r)->expiries, 1);
  close_world(&w);
}

static void a_refresh_that_fails_changes_nothing(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  call(&w, 0, 1, 0);
  found(&w, "3", 0);
  call(&w, 0, 2, 2 * NS_SEC);
  not_found(&w, MACULA_DHT_TIMEOUT, 2 * NS_SEC);
  call(&w, 0, 3, 2 * NS_SEC);
  assert_string_equal(w.log, "dc3dc3c3");
  close_world(&w);
}

static void one_fresh_lookup_before_giving_up(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  call(&w, 0, 1, 0);
  found(&w, "3", 0);
  reply(&w, 3, 0);
  memset(w.log, 0, sizeof w.log);
  call(&w, 0, 2, 10);
  reply_error(&w, 3, "no_handler", false, 11);
  assert_string_equal(w.log, "c3d"); /* what was known is older than the call */
  found(&w, "34", 12);
  assert_string_equal(w.log, "c3dc4"); /* not the same node twice */
  reply_error(&w, 4, "no_handler", false, 13);
  assert_string_equal(w.log, "c3dc4e0"); /* and only once */
  assert_int_equal(w.answer.attempt_count, 2);
  memset(w.log, 0, sizeof w.log);
  call(&w, 0, 3, 14);
  router_session_ended(w.r, &w.p[3], 15);
  assert_string_equal(w.log, "c3d");
  not_found(&w, MACULA_DHT_TIMEOUT, 16);
  assert_string_equal(w.log, "c3de0");
  assert_string_equal(w.code, "all_providers_failed");
  assert_false(w.answer.may_have_run);
  close_world(&w);
}

static void a_lookup_that_outlasts_the_deadline(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  call_with(&w, 0, 1, 0, (struct opt){.timeout_ms = 100});
  assert_true(router_deadline(w.r) == 100 * NS_MS);
  router_tick(w.r, 100 * NS_MS);
  assert_string_equal(w.log, "de0");
  assert_string_equal(w.code, "timeout");
  found(&w, "3", 200 * NS_MS); /* the next caller profits */
  call(&w, 0, 2, 200 * NS_MS);
  assert_string_equal(w.log, "de0c3");
  close_world(&w);
}

static void lookups_are_bounded(void **state) {
  struct world w;
  (void)state;
  open_world(&w);
  for (uint8_t i = 0; i < 4; i++) {
    char name[] = "x.y";
    uint8_t id[CALL_ID_LEN] = {i};
    struct router_call c = {.call_id = id, .procedure = slice_str(name)};
    if (i < 3) {
      struct discovery_entry *e; /* three others are being looked up */
      name[0] = (char)('a' + i);
      assert_int_equal(discovery_look((struct discovery *)router_discovery(w.r), slice_str(name), 0, &e), 0);
      continue;
    }
    assert_int_equal(router_call(w.r, &w.p[0], &c, 0), MACULA_TOO_MANY_CALLS);
  }
  assert_int_equal(router_discovery(w.r)->refused, 1);
  close_world(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(looked_up_sent_and_answered),
      cmocka_unit_test(local_first),
      cmocka_unit_test(calls_of_nodes_go_no_further),
      cmocka_unit_test(nobody_provides_it),
      cmocka_unit_test(a_call_that_found_nobody_asks_once_more),
      cmocka_unit_test(a_lookup_that_fails),
      cmocka_unit_test(a_client_has_so_many_lookups),
      cmocka_unit_test(without_a_second_lookup_nobody_says_that_there_is_none),
      cmocka_unit_test(strategies),
      cmocka_unit_test(turns_go_on_over_a_refresh),
      cmocka_unit_test(a_refresh_that_fails_changes_nothing),
      cmocka_unit_test(one_fresh_lookup_before_giving_up),
      cmocka_unit_test(a_lookup_that_outlasts_the_deadline),
      cmocka_unit_test(lookups_are_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
