/* Three nodes, calls, casts, lookups, publishes and ends of clients between them, while the n-th allocation fails: nothing
 * crashes, nothing is left pending, and the mesh works afterwards. */
#include "mesh_rig.h"

static void say(struct rig_client *c, const struct msg *m) {
  size_t n = msg_size(m);
  uint8_t *buf = malloc(n);
  assert_int_equal(msg_encode(m, buf, n), n);
  if (c->conn) (void)quic_stream_write(c->conn, c->stream, slice_of(buf, n));
  free(buf);
}

static void call(struct rig_client *c, const char *procedure, uint8_t k, bool idempotent) {
  uint8_t id[CALL_ID_LEN] = {k};
  struct msg m = {.type = k % 5 ? MSG_CALL : MSG_CAST,
                  .call = {.procedure = slice_str(procedure),
                           .args = slice_str("{\"x\":1}"),
                           .call_id = slice_of(id, sizeof id),
                           .timeout = 3000,
                           .strategy = STRATEGY_ROUND_ROBIN,
                           .idempotent = idempotent}};
  say(c, &m);
}

static void provide(struct rig_client *c, const char *procedure) {
  struct msg m = {.type = MSG_REGISTER, .reg = {.procedure = slice_str(procedure)}};
  say(c, &m);
}

/* Every second call is answered, the others wait for whatever ends them. */
static void answer(struct rig_client *c) {
  for (; c->read < c->kept_count; c->read++) {
    const struct rig_frame *f = &c->kept[c->read];
    struct msg m;
    if (f->type != MSG_CALL || msg_decode(f->type, slice_of(f->payload, f->len), &m)) continue;
    struct msg r = {.type = MSG_REPLY, .reply = {.call_id = m.call.call_id, .result = slice_str("1")}};
    if (c->read % 2) say(c, &r);
  }
}

static void traffic(struct mesh *m, struct rig_client *const c[5]) {
  struct slice topic = slice_str("n.*");
  struct msg sub = {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &topic}}};
  uint8_t id[CALL_ID_LEN] = {7};
  provide(c[1], "p");
  provide(c[2], "p");
  provide(c[2], "q");
  say(c[1], &sub);
  rig_run(&m->rig[0], 500 * NS_MS);
  for (uint8_t k = 1; k < 12; k++) {
    call(c[k % 2 ? 0 : 3], k % 4 == 3 ? "none" : k % 4 ? "p" : "q", k, k % 3);
    struct msg pub = {.type = MSG_PUBLISH,
                      .publish = {.topic = slice_str("n.x"),
                                  .payload = slice_str("1"),
                                  .qos = k % 2,
                                  .message_id = slice_of(id, sizeof id),
                                  .retain = k > 9,
                                  .ref = k,
                                  .has_ref = true}};
    id[1] = k;
    say(c[0], &pub);
    rig_run(&m->rig[0], 20 * NS_MS);
    for (int i = 1; i < 3; i++) answer(c[i]);
    if (k == 5) {
      struct msg cancel = {.type = MSG_CANCEL, .cancel = {.call_id = slice_of((uint8_t[CALL_ID_LEN]){5}, CALL_ID_LEN)}};
      say(c[0], &cancel);
    }
    if (k == 8 && c[3]->conn) quic_conn_close(c[3]->conn, 0, ""); /* a caller */
    if (k == 10) rig_kill(c[1]);                                  /* a provider */
  }
  rig_run(&m->rig[0], 8 * NS_SEC);
}

static bool serves(struct mesh *m, struct rig_client *from, struct rig_client *at) {
  rig_call(from, "whole", "{}", 99, 2000);
  for (int i = 0; i < 30; i++) {
    rig_run(&m->rig[0], 100 * NS_MS);
    for (; at->read < at->kept_count; at->read++) {
      const struct rig_frame *f = &at->kept[at->read];
      struct msg c;
      if (f->type == MSG_CALL && msg_decode(f->type, slice_of(f->payload, f->len), &c) == 0) rig_reply(at, c.call.call_id, "1");
    }
  }
  struct msg_reply r = rig_expect(from, MSG_REPLY).reply;
  return !r.is_error;
}

static void test_no_memory(void **state) {
  struct mem_fail fail = {0};
  (void)state;
  for (uint64_t at = 1, more = 1; more; at += 1 + at / 40) {
    struct rig_options o = {.node = {.fail = &fail}};
    struct rig_client *c[5];
    struct mesh m;
    fail = (struct mem_fail){0};
    mesh_start_joined(&m, 3, &o);
    for (int i = 0; i < 5; i++) c[i] = rig_join(&m.rig[i % 3], 0, NULL, RIG_EXT);
    mesh_settle(&m);
    rig_run(&m.rig[0], 3 * NS_SEC);
    fail.countdown = at;
    traffic(&m, c);
    more = fail.countdown == 0; /* it has failed */
    if (!more) print_message("%llu allocations\n", (unsigned long long)at);
    fail.countdown = 0;
    rig_run(&m.rig[0], 70 * NS_SEC);
    mesh_settle(&m);
    for (int i = 0; i < 3; i++) {
      assert_int_equal(calls_count(router_calls(m.rig[i].node->rpc.router)), 0);
      assert_int_equal(m.rig[i].node->rpc.lookups.count, 0);
      assert_int_equal(m.rig[i].node->rows.mem[ROW_HELD].bytes, 0);
      assert_int_equal(m.rig[i].node->spread.inflight.parts, 0);
    }
    struct rig_client *from = rig_join(&m.rig[0], 0, NULL, RIG_EXT), *to = rig_join(&m.rig[2], 0, NULL, RIG_EXT);
    assert_int_equal(rig_register(to, "whole"), 0);
    rig_run(&m.rig[0], 5 * NS_SEC);
    if (!serves(&m, from, to)) fail_msg("no call crosses after allocation %llu failed", (unsigned long long)at);
    mesh_stop(&m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
