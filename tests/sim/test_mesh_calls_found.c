/* Calls whose providers are found in the DHT. */
#include "mesh_calls_rig.h"

/* Called the moment that its registration is confirmed, from a node that never heard of it. */
static void test_found_at_once(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 5; seed++) {
    struct sim_link link = {.delay = 2 * NS_MS, .jitter = NS_MS, .loss = seed > 3 ? 0.05 : 0};
    struct rig_options o = {.seed = seed, .link = &link};
    struct mesh m;
    start_joined(&m, 5, &o);
    struct rig_client *a = client(&m, 1), *p = provider(&m, 4, "x.y");
    call(a, 1, &(struct msg_call){.timeout = 10000});
    struct msg c = rig_expect(p, MSG_CALL);
    rig_reply(p, c.call.call_id, "5");
    result_is(a, "5");
    assert_true(rig_metric(&m.rig[1], "discovery_lookups_total") >= 1);
    for (uint8_t i = 2; i < 6; i++) { /* from everywhere, the provider's own node included */
      struct rig_client *b = client(&m, i - 1u);
      call(b, i, &(struct msg_call){.timeout = 10000});
      c = rig_expect(p, MSG_CALL);
      rig_reply(p, c.call.call_id, "6");
      result_is(b, "6");
    }
    assert_int_equal(rig_metric(&m.rig[4], "discovery_lookups_total"), 0); /* local first */
    stop(&m);
  }
}

/* As any other, and not by a spelling that is none. */
static void test_a_name_of_people(void **state) {
  struct mesh m;
  (void)state;
  start_joined(&m, 3, NULL);
  struct rig_client *a = client(&m, 1), *p = provider(&m, 2, "Licht 1/an & aus.%2Fx");
  rig_call(a, "Licht 1.an & aus/%2Fx", "1", 1, 10000);
  struct msg c = rig_expect(p, MSG_CALL);
  assert_true(slice_is(c.call.procedure, "Licht 1.an & aus.%2Fx"));
  rig_reply(p, c.call.call_id, "5");
  result_is(a, "5");
  static const char *const wrong[] = {"Licht 1.an & aus.%2fx", "Licht%201", "+", "a\n"};
  for (uint64_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    rig_call(a, wrong[i], "1", 2 + i, 10000);
    code_is(a, "invalid_procedure");
    assert_int_equal(rig_register(p, wrong[i]), MACULA_INVALID_PROCEDURE);
  }
  stop(&m);
}

/* dht_query_not_found_test: an answer and no error of the lookup, soon. */
static void test_nobody_serves_it(void **state) {
  struct mesh m;
  (void)state;
  start(&m, 1);
  struct rig_client *a = client(&m, 0);
  nanotime began = now(&m);
  call(a, 1, &(struct msg_call){0}); /* dht_not_available_test: a node on its own knows at once */
  code_is(a, "no_such_procedure");
  assert_true(now(&m) - began < 100 * NS_MS);
  stop(&m);
  start_joined(&m, 3, NULL);
  a = client(&m, 0);
  began = now(&m);
  call(a, 1, &(struct msg_call){0});
  code_is(a, "no_such_procedure");
  assert_true(now(&m) - began < NS_SEC);
  uint64_t lookups = rig_metric(&m.rig[0], "discovery_lookups_total");
  for (uint8_t i = 2; i < 10; i++) {
    call(a, i, &(struct msg_call){0});
    code_is(a, "no_such_procedure");
  }
  /* each asks itself, and once more, as somebody may have registered in between */
  assert_int_equal(rig_metric(&m.rig[0], "discovery_lookups_total"), lookups + 16);
  stop(&m);
}

/* dht_publish_success_test, dht_remove_success_test, full_lifecycle_test: registered, found, unregistered, gone. */
static void test_withdrawn(void **state) {
  (void)state;
  for (int how = 0; how < 3; how++) {
    struct mesh m;
    struct rig_options o = {.node = {.limits = {.service_ttl = 20 * NS_SEC}}};
    start_joined(&m, 4, &o);
    struct rig_client *a = client(&m, 1), *p = provider(&m, 3, "x.y"), *q = provider(&m, 3, "x.y");
    call(a, 1, &(struct msg_call){0});
    run(&m, NS_SEC);
    struct msg unreg = {.type = MSG_UNREGISTER, .unreg = {.procedure = slice_str("x.y"), .ref = 1, .has_ref = true}};
    rig_send(q, &unreg);
    run(&m, NS_SEC);
    struct discovery_entry *e =
        discovery_find(router_discovery(m.rig[1].node->rpc.router), slice_str("x.y")); /* one of two is no withdrawal */
    assert_true(e && e->count == 1 && id_eq(&e->v[0].id, id(&m, 3)));
    if (how == 0) rig_send(p, &unreg);
    if (how == 1) quic_conn_close(p->conn, 0, "bye");
    if (how == 2) run(&m, 25 * NS_SEC); /* nobody renews it */
    run(&m, 3 * NS_SEC);
    call(client(&m, 2), 1, &(struct msg_call){0});
    code_is(m.rig[2].clients[m.rig[2].client_count - 1], "no_such_procedure"); /* who never knew it */
    call(a, 2, &(struct msg_call){0});
    struct msg_reply r;
    do r = answer(a);
    while (r.call_id.p[0] != 2);
    assert_true(r.is_error && !r.error.may_have_run); /* and who did */
    assert_true(slice_is(r.error.code, "no_such_procedure") || slice_is(r.error.code, "all_providers_failed"));
    stop(&m);
  }
}

/* A service outlives its TTL as long as it is renewed, at other nodes, too. */
static void test_renewed(void **state) {
  struct mesh m;
  struct rig_options o = {.node = {.limits = {.service_ttl = 20 * NS_SEC}}};
  (void)state;
  start_joined(&m, 3, &o);
  struct rig_client *a = client(&m, 1), *p = provider(&m, 2, "x.y");
  for (uint8_t i = 1; i <= 12; i++) {
    run(&m, 10 * NS_SEC);
    assert_int_equal(rig_register(p, "x.y"), 0);
    call(a, i, &(struct msg_call){0});
    struct msg c = rig_expect(p, MSG_CALL);
    rig_reply(p, c.call.call_id, "1");
    result_is(a, "1");
  }
  stop(&m);
}

/* A client that calls whatever name comes to its mind is answered at once, and leaves lookups for the others of its node. */
static void test_a_client_that_calls_random_names(void **state) {
  struct rig_options o = {.node = {.limits = {.client_lookups = 5}}};
  struct mesh m;
  char name[32];
  unsigned limited = 0, unknown = 0;
  (void)state;
  start_joined(&m, 3, &o);
  struct rig_client *a = client(&m, 0), *b = client(&m, 0), *p = provider(&m, 1, "x.y");
  run(&m, NS_SEC);
  uint64_t lookups = rig_metric(&m.rig[0], "discovery_lookups_total");
  for (unsigned i = 0; i < 500; i++) {
    snprintf(name, sizeof name, "no.such%u", i);
    rig_call(a, name, "1", i, 5000);
  }
  call(b, 1, &(struct msg_call){.timeout = 5000});
  struct msg c = rig_expect(p, MSG_CALL);
  rig_reply(p, c.call.call_id, "1");
  result_is(b, "1");
  for (unsigned i = 0; i < 500; i++) {
    struct msg_reply r = answer(a);
    assert_true(r.is_error && !r.error.may_have_run);
    limited += slice_is(r.error.code, "rate_limited");
    unknown += slice_is(r.error.code, "no_such_procedure");
  }
  assert_int_equal(limited + unknown, 500);
  assert_in_range(unknown, 1, 30); /* who may not look a second time is told so, and not that there is nobody */
  assert_in_range(rig_metric(&m.rig[0], "discovery_lookups_total") - lookups, 20, 40);
  assert_int_equal(rig_metric(&m.rig[0], "discovery_lookups_refused_total"), limited);
  call(a, 1, &(struct msg_call){.timeout = 5000}); /* what is known needs no lookup */
  c = rig_expect(p, MSG_CALL);
  rig_reply(p, c.call.call_id, "2");
  result_is(a, "2");
  stop(&m);
}

/* One that comes again and again, as itself, has no more than all who come share; others still begin theirs. */
static void test_a_client_that_reconnects_for_lookups(void **state) {
  struct rig_options o = {.node = {.limits = {.client_lookups = 5}}};
  struct mesh m;
  char name[32];
  (void)state;
  start_joined(&m, 3, &o);
  struct rig_client *a = client(&m, 0), *b = client(&m, 0), *p = provider(&m, 1, "x.y");
  run(&m, NS_SEC);
  uint64_t lookups = rig_metric(&m.rig[0], "discovery_lookups_total");
  nanotime began = now(&m);
  for (unsigned k = 0; k < 30; k++) {
    for (unsigned i = 0; i < 40; i++) {
      snprintf(name, sizeof name, "no.such%u.%u", k, i);
      rig_call(a, name, "1", i, 5000);
    }
    for (unsigned i = 0; i < 40; i++) (void)answer(a);
    a = rig_join(&m.rig[0], 0, a->identity, RIG_EXT);
  }
  uint64_t seconds = (now(&m) - began) / NS_SEC + 1;
  assert_in_range(rig_metric(&m.rig[0], "discovery_lookups_total") - lookups, 80, 80 + 30 + 25 * seconds);
  call(b, 1, &(struct msg_call){.timeout = 5000});
  struct msg c = rig_expect(p, MSG_CALL);
  rig_reply(p, c.call.call_id, "1");
  result_is(b, "1");
  stop(&m);
}

/* From the moment that its registration is confirmed nobody is told that there is no provider, whatever was found before, and
 * while nodes join. */
static void test_who_is_registered_is_found(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 12; seed++) {
    struct rig_options o = {.seed = seed};
    struct mesh m;
    mesh_start(&m, 5, &o);
    for (unsigned i = 1; i < 4; i++) mesh_join(&m, i, 0);
    m.count = 4;
    mesh_settle(&m);
    m.count = 5;
    struct rig_client *a = client(&m, 0), *b = client(&m, 2), *p = client(&m, 3);
    uint8_t n = 0;
    for (unsigned i = 0; i < seed % 4; i++) { /* that there is nobody is found out just before */
      call(a, ++n, &(struct msg_call){.timeout = 5000});
      run(&m, seed * 37 * NS_MS);
    }
    unsigned early = n;
    if (seed % 2) mesh_join(&m, 4, 0);
    run(&m, seed * 11 * NS_MS);
    assert_int_equal(rig_register(p, "x.y"), 0);
    for (unsigned i = 0; i < 40; i++) {
      call(i % 2 ? a : b, ++n, &(struct msg_call){.timeout = 5000});
      run(&m, 5 * NS_MS);
    }
    for (unsigned i = 0; i < 100; i++) {
      while (p->read < p->kept_count) {
        struct rig_frame *f = &p->kept[p->read++];
        struct msg c;
        if (f->type == MSG_CALL && !msg_decode(MSG_CALL, slice_of(f->payload, f->len), &c)) rig_reply(p, c.call.call_id, "1");
      }
      run(&m, 20 * NS_MS);
    }
    for (unsigned i = 0; i < early + 40; i++) {
      struct rig_client *who = i < early || (i - early) % 2 ? a : b;
      struct msg_reply r = answer(who);
      if (r.is_error && (r.call_id.p[0] > early || !slice_is(r.error.code, "no_such_procedure")))
        fail_msg("seed %llu, call %u: %.*s", (unsigned long long)seed, r.call_id.p[0], (int)r.error.code.n, r.error.code.p);
    }
    stop(&m);
  }
}

static unsigned pump(struct rig_client *p, struct rig_client *a) { /* answers to a since the last time */
  unsigned answers = 0;
  for (; p->read < p->kept_count; p->read++) {
    struct rig_frame *f = &p->kept[p->read];
    struct msg c;
    if (f->type == MSG_CALL && !msg_decode(MSG_CALL, slice_of(f->payload, f->len), &c)) rig_reply(p, c.call.call_id, "1");
  }
  for (; a && a->read < a->kept_count; a->read++) answers += a->kept[a->read].type == MSG_REPLY;
  return answers;
}

/* One of two providers falls silent, as its node's path is cut, while 64 idempotent calls are outstanding: no caller sees no
 * answer for longer than 0.3 s. */
static void test_silence_is_noticed_soon(void **state) {
  static const struct sim_link link = {.delay = 500 * NS_US};
  struct rig_options o = {.link = &link};
  struct mesh m;
  uint64_t n = 0, answers = 0;
  (void)state;
  start_joined(&m, 3, &o);
  struct rig_client *a = client(&m, 0), *p[2] = {provider(&m, 1, "x.y"), provider(&m, 2, "x.y")};
  run(&m, 2 * NS_SEC);
  nanotime last = now(&m), longest = 0, cut = 0, end = now(&m) + 1500 * NS_MS;
  while (now(&m) < end) {
    if (!cut && now(&m) + NS_SEC > end) {
      cut = now(&m);
      sim_net_cut(m.rig[0].net, &m.rig[1].addr, NULL, true);
    }
    while (n < answers + 64) {
      uint8_t call_id[CALL_ID_LEN];
      memcpy(call_id, &(uint64_t[2]){++n, 1}, sizeof call_id);
      rig_send(a, &(struct msg){.type = MSG_CALL,
                                .call = {.procedure = slice_str("x.y"),
                                         .args = slice_str("1"),
                                         .call_id = slice_of(call_id, sizeof call_id),
                                         .timeout = 30000,
                                         .idempotent = true}});
    }
    run(&m, 30 * NS_MS);
    unsigned more = pump(p[0], NULL) + pump(p[1], a);
    answers += more;
    if (more) last = now(&m);
    if (now(&m) - last > longest) longest = now(&m) - last;
  }
  assert_true(cut && answers > 300);
  assert_in_range(longest, 1, 300 * NS_MS);
  sim_net_cut(m.rig[0].net, &m.rig[1].addr, NULL, false);
  stop(&m);
}

/* A second provider is heard of while the first one's entry is still good, and turns go round both. */
static void test_a_newcomer_is_heard_of(void **state) {
  struct mesh m;
  (void)state;
  start_joined(&m, 4, NULL);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 1, "x.y"), *q = NULL;
  nanotime began = 0;
  for (uint8_t i = 1;; i++) {
    if (i == 5) q = provider(&m, 2, "x.y"), began = now(&m);
    call(a, i, &(struct msg_call){.strategy = STRATEGY_ROUND_ROBIN});
    run(&m, 500 * NS_MS);
    if (q && q->counts[MSG_CALL]) break;
    struct msg c = rig_expect(p, MSG_CALL);
    rig_reply(p, c.call.call_id, "1");
    result_is(a, "1");
    assert_true(i < 40);
  }
  assert_true(now(&m) - began < 15 * NS_SEC);
  stop(&m);
}

static void test_a_providers_node_dies(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 3; seed++) {
    struct rig_options o = {.seed = seed};
    struct mesh m;
    start_joined(&m, 5, &o);
    struct rig_client *a = client(&m, 0), *p[3];
    for (unsigned i = 0; i < 3; i++) p[i] = provider(&m, i + 1, "x.y");
    run(&m, 2 * NS_SEC);
    call(a, 1, &(struct msg_call){.timeout = 30000, .strategy = STRATEGY_ROUND_ROBIN, .idempotent = true});
    run(&m, 2 * NS_SEC);
    unsigned dead = 3;
    for (unsigned i = 0; i < 3; i++)
      if (p[i]->counts[MSG_CALL]) dead = i;
    assert_int_not_equal(dead, 3);
    rig_node_kill(&m.rig[dead + 1]);
    nanotime began = now(&m);
    for (uint8_t i = 1; i < 30; i++) { /* the one in flight, and then one after another */
      bool answered = false;
      while (!answered) {
        run(&m, 20 * NS_MS);
        for (unsigned k = 0; k < 3; k++)
          while (k != dead && p[k]->read < p[k]->kept_count) {
            struct rig_frame *f = &p[k]->kept[p[k]->read++];
            struct msg c;
            if (f->type != MSG_CALL || msg_decode(MSG_CALL, slice_of(f->payload, f->len), &c)) continue;
            rig_reply(p[k], c.call.call_id, "1");
            answered = true;
          }
        assert_true(now(&m) - began < 10 * NS_SEC);
      }
      result_is(a, "1");
      began = now(&m);
      call(a, (uint8_t)(i + 1), &(struct msg_call){.timeout = 30000, .strategy = STRATEGY_ROUND_ROBIN, .idempotent = true});
    }
    rig_node_start(&m.rig[dead + 1]);
    stop(&m);
  }
}

/* Of a call that waits for its lookup, too, nothing is left. */
static void test_the_caller_goes_during_the_lookup(void **state) {
  struct mesh m;
  (void)state;
  start_joined(&m, 3, NULL);
  struct rig_client *a = client(&m, 1);
  for (unsigned i = 0; i < 3; i += 2) mesh_cut(&m, 1, i, true); /* nobody answers */
  for (uint8_t i = 1; i < 20; i++) call(a, i, &(struct msg_call){.timeout = 60000});
  run(&m, 20 * NS_MS);
  assert_int_equal(pending(&m, 1), 19);
  assert_int_equal(m.rig[1].node->rpc.lookups.count, 1);
  quic_conn_close(a->conn, 0, "bye");
  run(&m, 20 * NS_MS);
  assert_int_equal(pending(&m, 1), 0);
  assert_int_equal(m.rig[1].node->rpc.lookups.count, 0);
  assert_int_equal(router_discovery(m.rig[1].node->rpc.router)->looking, 0);
  a = client(&m, 1);
  call(a, 1, &(struct msg_call){.timeout = 60000});
  code_is(a, "dht_timeout");
  stop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_found_at_once),
      cmocka_unit_test(test_a_name_of_people),
      cmocka_unit_test(test_nobody_serves_it),
      cmocka_unit_test(test_who_is_registered_is_found),
      cmocka_unit_test(test_silence_is_noticed_soon),
      cmocka_unit_test(test_withdrawn),
      cmocka_unit_test(test_renewed),
      cmocka_unit_test(test_a_client_that_calls_random_names),
      cmocka_unit_test(test_a_client_that_reconnects_for_lookups),
      cmocka_unit_test(test_a_newcomer_is_heard_of),
      cmocka_unit_test(test_a_providers_node_dies),
      cmocka_unit_test(test_the_caller_goes_during_the_lookup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
