/* Calls across nodes whatever happens: partitions, deaths, loss, no memory. */
#include "mesh_calls_rig.h"

static int try_call(struct rig_client *a, struct rig_client *p, uint8_t n, uint64_t timeout_ms) {
  struct rig *r = a->rig;
  uint64_t replies = a->counts[MSG_REPLY];
  call(a, n, &(struct msg_call){.timeout = timeout_ms});
  while (a->counts[MSG_REPLY] == replies) {
    rig_run(r, 10 * NS_MS);
    while (p->read < p->kept_count) {
      struct rig_frame *f = &p->kept[p->read++];
      struct msg c;
      if (f->type == MSG_CALL && !msg_decode(MSG_CALL, slice_of(f->payload, f->len), &c)) rig_reply(p, c.call.call_id, "1");
    }
  }
  struct msg_reply m = answer(a);
  return m.is_error ? err_from_name((const char *)m.error.code.p, m.error.code.n) : 0;
}

/* Halves that cannot hear each other for 30 s: errors in time, and soon after it heals calls cross again. */
static void test_partition(void **state) {
  struct mesh m;
  uint8_t n = 1;
  (void)state;
  start_joined(&m, 4, NULL);
  struct rig_client *a = client(&m, 0), *p = provider(&m, 3, "x.y");
  run(&m, NS_SEC);
  assert_int_equal(try_call(a, p, n++, 5000), 0);
  for (unsigned i = 0; i < 4; i++) mesh_cut(&m, i / 2, 2 + i % 2, true);
  nanotime began = now(&m);
  while (now(&m) - began < 30 * NS_SEC) {
    nanotime at = now(&m);
    assert_int_not_equal(try_call(a, p, n++, 5000), 0);
    assert_true(now(&m) - at < 5500 * NS_MS);
    run(&m, NS_SEC);
  }
  for (unsigned i = 0; i < 4; i++) mesh_cut(&m, i / 2, 2 + i % 2, false);
  began = now(&m);
  while (try_call(a, p, n++, 5000)) {
    run(&m, 500 * NS_MS);
    assert_true(now(&m) - began < 60 * NS_SEC);
  }
  print_message("calls cross %llu ms after the partition has healed\n", (unsigned long long)((now(&m) - began) / NS_MS));
  stop(&m);
}

#define CALLERS 3u
#define STORM_CALLS 400u /* a caller */

struct storm {
  struct mesh m;
  struct rig_client *caller[CALLERS], *provider[MESH_NODES];
  uint64_t asked[CALLERS][STORM_CALLS], answered[CALLERS][STORM_CALLS]; /* when; 0: not */
  nanotime heard[CALLERS]; /* when answers were looked for last: what comes later may have come since */
  unsigned results, errors;
};

static void storm_answer(struct storm *s, struct rig_client *p, struct rng rng) {
  while (p && p->read < p->kept_count) {
    struct rig_frame *f = &p->kept[p->read++];
    struct msg c;
    if (f->type != MSG_CALL || msg_decode(MSG_CALL, slice_of(f->payload, f->len), &c)) continue;
    if (p->closed || rng_below(rng, 20) == 0) continue; /* one in 20 never answers */
    rig_reply(p, c.call.call_id, "1");
  }
  (void)s;
}

static void storm_hear(struct storm *s, unsigned k) {
  struct rig_client *a = s->caller[k];
  while (a->read < a->kept_count) {
    struct rig_frame *f = &a->kept[a->read++];
    struct msg r;
    if (f->type != MSG_REPLY) continue;
    assert_int_equal(msg_decode(MSG_REPLY, slice_of(f->payload, f->len), &r), 0);
    unsigned n = (unsigned)(r.reply.call_id.p[0] | r.reply.call_id.p[1] << 8);
    if (n >= STORM_CALLS || !s->asked[k][n] || s->answered[k][n])
      fail_msg("call %u of %u: answered twice or never asked", n, k);
    s->answered[k][n] = s->heard[k] > s->asked[k][n] ? s->heard[k] : s->asked[k][n];
    if (r.reply.is_error)
      s->errors++;
    else
      s->results++;
  }
  s->heard[k] = now(&s->m);
}

/* Providers come, go and keep silent, nodes are killed and come back, datagrams are lost: each call is answered exactly once,
 * by its deadline, and afterwards nothing is pending anywhere. */
static void test_storm(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 4; seed++) {
    struct sim_link link = {.delay = 2 * NS_MS, .jitter = 2 * NS_MS, .loss = 0.01};
    struct rig_options o = {.seed = seed, .link = &link};
    struct storm *s = calloc(1, sizeof *s);
    struct rng_seeded seeded;
    rng_seeded_init(&seeded, seed);
    struct rng rng = rng_seeded_view(&seeded);
    start_joined(&s->m, 6, &o);
    for (unsigned k = 0; k < CALLERS; k++) s->caller[k] = client(&s->m, k / 2);
    for (unsigned i = 2; i < 6; i++) s->provider[i] = provider(&s->m, i, "x.y");
    unsigned down = 0;
    nanotime back = 0;
    for (unsigned n = 0; n < STORM_CALLS + 60; n++) {
      for (unsigned k = 0; k < CALLERS && n < STORM_CALLS; k++) {
        uint8_t call_id[CALL_ID_LEN] = {(uint8_t)n, (uint8_t)(n >> 8)};
        struct msg c = {.type = MSG_CALL,
                        .call = {.procedure = slice_str("x.y"),
                                 .args = slice_str("1"),
                                 .call_id = slice_of(call_id, sizeof call_id),
                                 .timeout = 3000,
                                 .strategy = (enum strategy)(1 + rng_below(rng, 5)),
                                 .idempotent = rng_below(rng, 2)}};
        s->asked[k][n] = now(&s->m);
        rig_send(s->caller[k], &c);
      }
      for (int turn = 0; turn < 5; turn++) {
        run(&s->m, 20 * NS_MS);
        for (unsigned i = 2; i < 6; i++)
          if (i != down) storm_answer(s, s->provider[i], rng);
        for (unsigned k = 0; k < CALLERS; k++) storm_hear(s, k);
      }
      if (down && now(&s->m) > back) {
        rig_node_start(&s->m.rig[down]);
        mesh_join(&s->m, down, 0);
        s->provider[down] = provider(&s->m, down, "x.y");
        down = 0;
      } else if (!down && n < STORM_CALLS && rng_below(rng, 60) == 0) {
        down = 2 + (unsigned)rng_below(rng, 4);
        s->provider[down] = NULL;
        rig_node_kill(&s->m.rig[down]);
        back = now(&s->m) + (1 + rng_below(rng, 12)) * NS_SEC;
      }
      unsigned i = 2 + (unsigned)rng_below(rng, 4);
      if (i != down && rng_below(rng, 40) == 0) { /* a provider goes, another comes */
        quic_conn_close(s->provider[i]->conn, 0, "bye");
        s->provider[i] = provider(&s->m, i, "x.y");
      }
    }
    for (unsigned k = 0; k < CALLERS; k++)
      for (unsigned n = 0; n < STORM_CALLS; n++) {
        if (!s->answered[k][n]) fail_msg("call %u of %u was never answered (seed %llu)", n, k, (unsigned long long)seed);
        if (s->answered[k][n] - s->asked[k][n] > 3300 * NS_MS)
          fail_msg("call %u of %u took %llu ms (seed %llu)", n, k,
                   (unsigned long long)((s->answered[k][n] - s->asked[k][n]) / NS_MS), (unsigned long long)seed);
      }
    print_message("seed %llu: %u results, %u errors, %llu failovers, %llu lookups\n", (unsigned long long)seed, s->results,
                  s->errors, (unsigned long long)router_stats(s->m.rig[0].node->rpc.router)->failovers,
                  (unsigned long long)router_stats(s->m.rig[0].node->rpc.router)->lookups);
    assert_true(s->results > STORM_CALLS * CALLERS / 2);
    run(&s->m, 5 * NS_SEC);
    for (unsigned i = 0; i < 6; i++) {
      if (!s->m.rig[i].node) continue;
      assert_int_equal(pending(&s->m, i), 0);
      assert_int_equal(s->m.rig[i].node->rpc.lookups.count, 0);
    }
    if (down) rig_node_start(&s->m.rig[down]);
    stop(&s->m);
    free(s);
  }
}

/* Each node in turn has no memory for its n-th allocation: whatever comes of the call, nothing breaks and nothing is left over.
 */
static void test_every_allocation_may_fail(void **state) {
  (void)state;
  for (unsigned who = 0; who < 2; who++)
    for (uint64_t n = 1; n < 400; n += n < 60 ? 1 : 7) {
      struct mem_fail fail = {0};
      struct mesh m;
      memset(&m, 0, sizeof m);
      m.count = 2;
      for (unsigned i = 0; i < 2; i++) {
        struct rig_options o = {.node = {.fail = i == who ? &fail : NULL}, .index = i, .beside = i ? &m.rig[0] : NULL};
        rig_start(&m.rig[i], &o);
      }
      mesh_join(&m, 1, 0);
      run(&m, 5 * NS_SEC);
      struct rig_client *a = client(&m, 0), *p = client(&m, 1);
      fail.countdown = n;
      struct msg reg = {.type = MSG_REGISTER, .reg = {.procedure = slice_str("x.y")}};
      rig_send(p, &reg);
      for (uint8_t i = 1; i <= 3; i++) {
        if (!a->closed) call(a, i, &(struct msg_call){.timeout = 2000});
        run(&m, 400 * NS_MS);
        while (p->read < p->kept_count && !p->closed) {
          struct rig_frame *f = &p->kept[p->read++];
          struct msg c;
          if (f->type == MSG_CALL && !msg_decode(MSG_CALL, slice_of(f->payload, f->len), &c)) rig_reply(p, c.call.call_id, "1");
        }
      }
      run(&m, 5 * NS_SEC);
      if (!a->closed) assert_int_equal(a->counts[MSG_REPLY], 3);
      assert_int_equal(pending(&m, 0), 0);
      assert_int_equal(pending(&m, 1), 0);
      fail.countdown = 0;
      stop(&m);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_partition),
      cmocka_unit_test(test_storm),
      cmocka_unit_test(test_every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
