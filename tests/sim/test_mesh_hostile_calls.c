/* Lies to the gateway and the rpc router: envelopes, and the calls of others. */
#include "mesh_hostile_rig.h"
#include "wire/interest.h"

/* ---- envelopes -------------------------------------------------------------------------------------------------------------
 */
static void send_envelope(struct rig_client *c, const struct id *to, const struct id *from, const char *type,
                          struct slice payload, const struct id *path, uint32_t n, uint64_t hops) {
  struct slice items[40];
  for (uint32_t i = 0; i < n; i++) items[i] = slice_of(path[i].b, ID_LEN);
  struct msg m = {.type = strcmp(type, "publish") == 0 ? MSG_PUBSUB_ROUTE : MSG_RPC_ROUTE,
                  .route = {.destination = slice_of(to->b, ID_LEN),
                            .source = slice_of(from->b, ID_LEN),
                            .hop_count = hops,
                            .max_hops = 10,
                            .payload_type = slice_str(type),
                            .topic = slice_of("", 0),
                            .payload = payload,
                            .path = {.count = n, .items = items}}};
  rig_send(c, &m);
}

static struct slice payload_of(const struct msg *m, uint8_t *buf, size_t cap) {
  ptrdiff_t n = msg_encode(m, buf, cap);
  assert_true(n > 0);
  return slice_of(buf + FRAME_HEADER_LEN, (size_t)n - FRAME_HEADER_LEN);
}

static void test_envelopes(void **state) {
  struct honest h;
  uint8_t buf[4096], id[CALL_ID_LEN] = {1};
  (void)state;
  honest_start(&h, NULL);
  struct node *n = node_of(&h, 0);
  struct rig_client *c = liar(&h.m.rig[0], "");
  const struct id *a = quic_identity_id(h.m.rig[0].identity), *b = quic_identity_id(h.m.rig[1].identity), *me = id_of(c);
  struct msg call = {
      .type = MSG_CALL,
      .call = {.procedure = slice_str("honest.service"), .args = slice_str("{}"), .call_id = slice_of(id, sizeof id)}};
  struct slice p = payload_of(&call, buf, sizeof buf);
  uint64_t failed = n->stats.routes_failed;
  struct id path[40];
  for (int i = 0; i < 40; i++) path[i] = invented((uint64_t)i);
  path[9] = path[39] = *me;
  send_envelope(c, b, me, "call", p, path + 30, 10, 10); /* at the limit */
  send_envelope(c, b, me, "call", p, path, 40, 0);
  send_envelope(c, b, me, "call", p, me, 1, UINT64_MAX);
  send_envelope(c, b, me, "call", p, a, 1, 0);                      /* the last on its way is not the sender */
  send_envelope(c, b, me, "call", p, (struct id[]){*a, *me}, 2, 0); /* it was here */
  send_envelope(c, b, me, "call", p, (struct id[]){*b, *me}, 2, 0); /* it was there */
  send_envelope(c, me, b, "call", p, me, 1, 0);                     /* back to the sender */
  send_envelope(c, a, me, "rpc_route", p, me, 1, 0);                /* an envelope in an envelope */
  send_envelope(c, a, a, "call", p, me, 1, 0);                      /* from ourselves */
  send_envelope(c, &path[0], me, "call", p, me, 1, 0);              /* for nobody */
  send_envelope(c, a, me, "nonsense", p, me, 1, 0);
  send_envelope(c, a, me, "reply", p, me, 1, 0); /* not what it says */
  go(&h, NS_SEC);
  assert_true(n->stats.routes_failed >= failed + 10);
  served(&h);
  /* In the name of another, which is linked: its subscriptions cannot be taken away so, nor can its calls be used up. */
  struct wire_interest none = {.epoch = 77, .from = 0, .version = 1, .reset = true};
  uint8_t page[256];
  size_t len = wire_interest_encode(&none, page, sizeof page);
  send_envelope(c, a, b, msg_type_name(MSG_INTEREST), slice_of(page, len), me, 1, 0);
  struct swim_record left = {.incarnation = 1000, .name = slice_str("b"), .gateway = *me, .left = true};
  len = swim_payload(buf, sizeof buf, MSG_SWIM_PING, 1, c->identity, &left, NULL, 0);
  send_envelope(c, a, b, msg_type_name(MSG_SWIM_PING), slice_of(buf, len), me, 1, 0);
  go(&h, NS_SEC);
  served(&h);
  call.call.procedure = slice_str("not.there");
  for (uint64_t k = 0; k < 200; k++) {
    memcpy(id, &k, sizeof k);
    p = payload_of(&call, buf, sizeof buf);
    send_envelope(c, a, b, "call", p, me, 1, 0);
  }
  uint32_t before = n->peers.tab.count;
  for (uint64_t k = 0; k < 3000; k++) { /* from whoever comes to mind */
    struct id from = invented(5000 + k);
    send_envelope(c, a, &from, "cast", p, me, 1, 0);
    if (k % 100 == 0) go(&h, NS_MS);
  }
  assert_true(n->peers.tab.count <= before + 1000 + 512);
  go(&h, 2 * NS_SEC);
  served(&h);
  leaves(&h, c);
}

/* ---- calls and messages ----------------------------------------------------------------------------------------------------
 */
static void test_calls_of_others(void **state) {
  struct rig_options o = {.node = {.limits = {.peer_calls = 50}}};
  struct honest h;
  uint8_t id[CALL_ID_LEN] = {0};
  (void)state;
  honest_start(&h, &o);
  struct rig_client *c = liar(&h.m.rig[0], ""), *local = rig_join(&h.m.rig[0], 0, NULL, RIG_EXT);
  assert_int_equal(rig_register(local, "slow.service"), 0);
  for (uint64_t k = 0; k < 300; k++) {
    memcpy(id, &k, sizeof k);
    struct msg m[] = {
        {.type = MSG_REPLY, .reply = {.call_id = slice_of(id, sizeof id), .result = slice_str("forged")}},
        {.type = MSG_ACK, .ack = {.ref = k}},
        {.type = MSG_CANCEL, .cancel = {.call_id = slice_of(id, sizeof id)}},
        {.type = MSG_PONG, .pong = {.timestamp = k, .server_time = k}},
        {.type = MSG_PUBLISH,
         .publish = {.topic = slice_str("honest.forged"),
                     .payload = slice_str("x"),
                     .qos = 1,
                     .message_id = slice_of(id, sizeof id),
                     .publisher = slice_of(id_of(h.pub)->b, ID_LEN),
                     .instance = slice_of(h.pub->instance, INSTANCE_LEN),
                     .ref = k,
                     .has_ref = true}},
        slow_call(id),
    };
    for (size_t i = 0; i < sizeof m / sizeof m[0]; i++) rig_send(c, &m[i]);
    if (k % 20 == 0) go(&h, NS_MS);
  }
  connect_as_node(c, ""); /* twice */
  go(&h, NS_SEC);
  if (c->closed) fail_msg("closed: %s", c->why_text);
  assert_int_equal(calls_count(router_calls(node_of(&h, 0)->rpc.router)), 50);
  assert_int_equal(c->counts[MSG_REPLY], 250); /* too_many_calls */
  served(&h);
  assert_int_equal(local->counts[MSG_CALL], 50);
  bye(c);
  (void)rig_expect(local, MSG_CANCEL);
  go(&h, NS_SEC);
  assert_int_equal(local->counts[MSG_CANCEL], 50);
  assert_int_equal(calls_count(router_calls(node_of(&h, 0)->rpc.router)), 0);
  leaves(&h, local);
}

/* Several that leave nothing of the calls to anybody else: own clients still have theirs. */
static void test_calls_of_many(void **state) {
  struct rig_options o = {.node = {.limits = {.max_calls = 80}}};
  struct honest h;
  uint8_t id[CALL_ID_LEN] = {0};
  struct rig_client *c[4], *local;
  (void)state;
  honest_start(&h, &o);
  local = rig_join(&h.m.rig[0], 0, NULL, RIG_EXT);
  assert_int_equal(rig_register(local, "slow.service"), 0);
  for (int i = 0; i < 4; i++) {
    c[i] = liar(&h.m.rig[0], "");
    for (uint64_t k = 0; k < 100; k++) {
      memcpy(id, &k, sizeof k);
      struct msg m = slow_call(id);
      rig_send(c[i], &m);
    }
    go(&h, 100 * NS_MS);
  }
  assert_int_equal(calls_count(router_calls(node_of(&h, 0)->rpc.router)), 60);
  served(&h);
  for (int i = 0; i < 4; i++) bye(c[i]);
  leaves(&h, local);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_envelopes),
      cmocka_unit_test(test_calls_of_others),
      cmocka_unit_test(test_calls_of_many),
  };
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
