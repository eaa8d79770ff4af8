/* A node that has just started: what it acknowledges, and what it lets wait, before it has heard what the clients of other
 * nodes listen to and serve. */
#include "mesh_rig.h"
#include "node/session/session.h"

static struct rig_client *user(struct mesh *m, unsigned node) { return rig_join(&m->rig[node], 0, NULL, RIG_EXT); }
static nanotime now(struct mesh *m) { return sim_net_now(m->rig[0].net); }

static void hears(struct rig_client *c, const char *payload) {
  struct slice got = rig_expect(c, MSG_PUBLISH).publish.payload;
  if (!slice_is(got, payload)) fail_msg("%.*s and not %s", (int)got.n, (const char *)got.p, payload);
}

/* As the daemon does: it has an address to join by, and takes clients at once. */
static void restart(struct mesh *m, unsigned node, unsigned to) {
  if (m->rig[node].node) rig_node_kill(&m->rig[node]);
  rig_node_start(&m->rig[node]);
  node_will_join(m->rig[node].node);
  mesh_join(m, node, to);
}

static bool ready(struct mesh *m, unsigned node) {
  char note[NODE_WHY_LEN];
  return node_ready(m->rig[node].node, now(m), note);
}

static const struct sim_link far = {.delay = 10 * NS_MS, .jitter = 5 * NS_MS, .loss = 0.02};

/* Node 0 knows by its configuration node 1 only; who listens is at node 3, who serves at node 2. */
static void restarts(uint64_t seed) {
  struct rig_options o = {.seed = seed, .link = &far};
  struct mesh m;
  mesh_start(&m, 4, &o);
  for (unsigned i = 0; i < 4; i++)
    if (i != 1) mesh_join(&m, i, 1);
  struct rig_client *sub = user(&m, 3), *server = user(&m, 2);
  assert_int_equal(rig_subscribe(sub, "q"), 0);
  assert_int_equal(rig_register(server, "p"), 0);
  mesh_settle(&m);
  for (uint64_t i = 0; i < 10; i++) {
    char text[16];
    restart(&m, 0, 1);
    struct rig_client *caller = user(&m, 0), *pub = user(&m, 0);
    rig_call(caller, "p", "1", i + 1, 5000);
    for (uint64_t k = 0; k < 3; k++) {
      snprintf(text, sizeof text, "%u.%u", (unsigned)i, (unsigned)k);
      assert_int_equal(mesh_publish(pub, "q", text, i * 10 + k + 1), 0);
      assert_true(ready(&m, 0));
      hears(sub, text);
    }
    rig_reply(server, rig_expect(server, MSG_CALL).call.call_id, "2");
    struct msg_reply r = rig_expect(caller, MSG_REPLY).reply;
    if (r.is_error) fail_msg("%.*s (seed %u)", (int)r.error.code.n, r.error.code.p, (unsigned)seed);
  }
  mesh_stop(&m);
}

static void test_restarts(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 3; seed++) restarts(seed);
}

/* A node that is started again and again, faster than the others answer INTEREST_HAVE: they answer its last one all the same.
 */
static void test_restarts_in_a_row(void **state) {
  struct mesh m;
  (void)state;
  mesh_start(&m, 2, NULL);
  mesh_join(&m, 0, 1);
  struct rig_client *sub = user(&m, 1);
  assert_int_equal(rig_subscribe(sub, "q"), 0);
  mesh_settle(&m);
  for (unsigned i = 0; i < 40; i++) {
    restart(&m, 0, 1);
    rig_run(&m.rig[0], 100 * NS_MS);
  }
  rig_run(&m.rig[0], 2500 * NS_MS);
  assert_true(ready(&m, 0));
  assert_int_equal(mesh_publish(user(&m, 0), "q", "1", 1), 0);
  hears(sub, "1");
  mesh_stop(&m);
}

/* Nobody is there to be heard: it goes on by itself after 5 s. Publishes wait meanwhile, and all else of the client does not.
 */
static void test_nobody_there(void **state) {
  struct mesh m;
  (void)state;
  mesh_start(&m, 2, NULL);
  mesh_cut(&m, 0, 1, true);
  restart(&m, 0, 1);
  nanotime began = now(&m);
  struct rig_client *sub = user(&m, 0), *pub = user(&m, 0);
  assert_int_equal(rig_subscribe(sub, "**"), 0);
  rig_publish_only(pub, "a", slice_str("0"), 0);
  uint8_t id[CALL_ID_LEN] = {1};
  struct msg p = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_str("a"),
                              .payload = slice_str("1"),
                              .qos = 1,
                              .message_id = slice_of(id, sizeof id),
                              .ref = 5,
                              .has_ref = true}};
  rig_send(pub, &p);
  rig_call(sub, "nobody.serves.it", "1", 1, 1000);
  assert_true(rig_quiet(pub, MSG_ACK, 500 * NS_MS));
  assert_false(ready(&m, 0));
  struct msg_reply r = rig_expect(sub, MSG_REPLY).reply;
  assert_true(r.is_error && slice_is(r.error.code, "timeout") && now(&m) - began < 2 * NS_SEC);
  assert_int_equal(rig_expect(pub, MSG_ACK).ack.code.n, 0);
  assert_true(now(&m) - began >= 5 * NS_SEC - NS_MS && now(&m) - began < 6 * NS_SEC);
  assert_true(ready(&m, 0));
  hears(sub, "0");
  hears(sub, "1");
  rig_call(sub, "nobody.serves.it", "1", 2, 1000);
  assert_true(slice_is(rig_expect(sub, MSG_REPLY).reply.error.code, "no_such_procedure"));
  mesh_stop(&m);
}

static void keep_partly(void *ctx, enum log_level level, const char *event, const char *fields) {
  (void)level;
  if (!strcmp(event, "joined_partly")) snprintf(ctx, 512, "%s", fields);
}

/* Nodes that the last run knew and that are gone: they are counted in what is said after 5 s, and status says what it waits
 * for. */
static void test_remembered_are_gone(void **state) {
  char said[512] = "", *json;
  struct log log = {.level = LOG_INFO, .sink = keep_partly, .ctx = said};
  struct mesh m;
  (void)state;
  mesh_start(&m, 3, &(struct rig_options){.node.log = &log});
  for (unsigned i = 1; i < 3; i++) rig_node_kill(&m.rig[i]);
  rig_node_kill(&m.rig[0]);
  rig_node_start(&m.rig[0]);
  for (unsigned i = 1; i < 3; i++)
    assert_int_equal(node_join(m.rig[0].node, &m.rig[i].addr, &(struct id){{(uint8_t)i}}, false, now(&m)), 0);
  node_will_join(m.rig[0].node);
  rig_run(&m.rig[0], NS_SEC);
  assert_int_equal(node_render(m.rig[0].node, "status", 0, 0, now(&m), &json), 0);
  assert_non_null(strstr(json, "\"ready\":false,\"note\":\"the other nodes are not heard yet\""));
  node_text_free(json);
  assert_string_equal(said, "");
  rig_run(&m.rig[0], 5 * NS_SEC);
  assert_non_null(strstr(said, "unheard=2 text=\"not all nodes of the mesh were heard in 5 s"));
  assert_true(ready(&m, 0));
  mesh_stop(&m);
}

/* What a client sends while its publishes are held takes no more than its window, and takes nothing of other clients. */
static void test_flood_meanwhile(void **state) {
  struct mesh m;
  uint8_t big[1000] = {0};
  (void)state;
  mesh_start(&m, 2, NULL);
  mesh_cut(&m, 0, 1, true);
  restart(&m, 0, 1);
  struct rig_client *sub = user(&m, 0), *pub = user(&m, 0);
  assert_int_equal(rig_subscribe(sub, "**"), 0);
  for (int i = 0; i < 300; i++) rig_publish_only(pub, "a", slice_of(big, sizeof big), 0);
  rig_run(&m.rig[0], 2 * NS_SEC);
  assert_true(m.rig[0].node->rows.mem[ROW_RECEIVE].bytes < 300000);
  assert_int_equal(sub->counts[MSG_PUBLISH], 0);
  rig_run(&m.rig[0], 5 * NS_SEC);
  assert_int_equal(sub->counts[MSG_PUBLISH], 300);
  assert_false(sub->closed || pub->closed);
  mesh_stop(&m);
}

/* A node that joins nobody takes all at once. */
static void test_alone(void **state) {
  struct mesh m;
  (void)state;
  mesh_start(&m, 1, NULL);
  nanotime began = now(&m);
  assert_true(ready(&m, 0));
  assert_int_equal(rig_publish(user(&m, 0), "a", "1", 1, false, 1), 0);
  assert_true(now(&m) - began < NS_SEC);
  mesh_stop(&m);
}

/* A node that refuses, and one whose address leads nowhere, are not waited for when another one has told who is there. */
static void test_one_of_two_there(void **state) {
  struct mesh m;
  (void)state;
  mesh_start(&m, 3, NULL);
  sim_net_icmp(m.rig[0].net, true);
  rig_node_kill(&m.rig[2]);
  struct rig_client *sub = user(&m, 1);
  assert_int_equal(rig_subscribe(sub, "q"), 0);
  restart(&m, 0, 1);
  mesh_join(&m, 0, 2);
  nanotime began = now(&m);
  assert_int_equal(rig_publish(user(&m, 0), "q", "1", 1, false, 1), 0);
  assert_true(now(&m) - began < 2 * NS_SEC);
  hears(sub, "1");
  mesh_stop(&m);
}

/* ---- a node that stands still ----------------------------------------------------------------------------------------------
 */
struct answers {
  unsigned plain, partly;
  nanotime longest;
};

/* Sends one every 50 ms for so long, by each of the clients, and takes the answers as they come. */
static void publish_for(struct mesh *m, struct rig_client **pub, unsigned count, nanotime for_ns, struct answers *ret) {
  static uint64_t number;
  static nanotime sent[100000];
  uint64_t first = number;
  size_t seen[MESH_NODES];
  for (unsigned i = 0; i < count; i++) seen[i] = pub[i]->kept_count;
  for (nanotime until = now(m) + for_ns; now(m) < until + 3 * NS_SEC;) {
    for (unsigned i = 0; i < count && now(m) < until; i++) {
      uint8_t id[CALL_ID_LEN] = {0};
      sent[number++] = now(m);
      memcpy(id, &number, sizeof number);
      struct msg p = {.type = MSG_PUBLISH,
                      .publish = {.topic = slice_str("q"),
                                  .payload = slice_str("x"),
                                  .qos = 1,
                                  .message_id = slice_of(id, sizeof id),
                                  .ref = number - 1,
                                  .has_ref = true}};
      rig_send(pub[i], &p);
    }
    rig_run(&m->rig[0], 50 * NS_MS);
    for (unsigned i = 0; i < count; i++)
      for (; seen[i] < pub[i]->kept_count; seen[i]++) {
        struct msg a;
        const struct rig_frame *f = &pub[i]->kept[seen[i]];
        if (f->type != MSG_ACK) continue;
        assert_int_equal(msg_decode(f->type, slice_of(f->payload, f->len), &a), 0);
        if (a.ack.code.n) fail_msg("%.*s", (int)a.ack.code.n, a.ack.code.p);
        ret->plain += !a.ack.partly.silent;
        ret->partly += a.ack.partly.silent == 1;
        if (now(m) - sent[a.ack.ref] > ret->longest) ret->longest = now(m) - sent[a.ack.ref];
      }
  }
  assert_int_equal(ret->plain + ret->partly, number - first);
  for (unsigned i = 0; i < count; i++) pub[i]->read = pub[i]->kept_count;
}

static void stands_still(nanotime idle, nanotime for_ns) {
  struct rig_options o = {.node = {.idle_timeout = idle}};
  struct mesh m;
  mesh_start_joined(&m, 4, &o);
  struct rig_client *pub[3], *sub = user(&m, 3);
  struct answers a = {0}, still = {0}, after = {0};
  assert_int_equal(rig_subscribe(sub, "q"), 0);
  for (unsigned i = 0; i < 3; i++) pub[i] = user(&m, i);
  for (size_t i = 0; i < MESH_NODES; i++)
    for (size_t k = 0; k < m.rig[i].client_count; k++) quic_conn_keep_alive(m.rig[i].clients[k]->conn, NS_SEC);
  mesh_settle(&m);
  publish_for(&m, pub, 3, NS_SEC, &a);
  assert_int_equal(a.partly, 0);
  assert_int_equal(sub->counts[MSG_PUBLISH], a.plain);
  for (unsigned i = 0; i < 3; i++) mesh_cut(&m, i, 3, true);
  publish_for(&m, pub, 3, for_ns, &still);
  assert_int_equal(still.plain, 0); /* nothing was claimed that did not arrive */
  assert_true(still.longest < 3 * NS_SEC);
  for (unsigned i = 0; i < 3; i++) mesh_cut(&m, i, 3, false);
  mesh_settle(&m);
  for (unsigned i = 0; i < 3; i++) mesh_publish_all(pub[i], "q", "y", UINT64_MAX);
  uint64_t heard = sub->counts[MSG_PUBLISH];
  publish_for(&m, pub, 3, NS_SEC, &after);
  assert_int_equal(after.partly, 0);
  assert_int_equal(sub->counts[MSG_PUBLISH], heard + after.plain);
  mesh_stop(&m);
}

static void test_stands_still(void **state) {
  (void)state;
  stands_still(0, 2 * NS_SEC);
}

/* Links end before the node is declared dead. */
static void test_link_ends_first(void **state) {
  (void)state;
  stands_still(2500 * NS_MS, 3500 * NS_MS);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_restarts),
                                     cmocka_unit_test(test_nobody_there),
                                     cmocka_unit_test(test_remembered_are_gone),
                                     cmocka_unit_test(test_flood_meanwhile),
                                     cmocka_unit_test(test_alone),
                                     cmocka_unit_test(test_one_of_two_there),
                                     cmocka_unit_test(test_stands_still),
                                     cmocka_unit_test(test_link_ends_first),
                                     cmocka_unit_test(test_restarts_in_a_row)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
