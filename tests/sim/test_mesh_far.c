/* Questions to any node through any node. */
#include <jansson.h>

#include "mesh_calls_rig.h"
#include "node/view/far.h"

static struct rig_client *operator_at(struct mesh *m, unsigned at) {
  return rig_join(&m->rig[at], RIG_LOOPBACK, NULL, RIG_EXT | CAP_OPERATOR);
}

/* Again where it had its price: on this clock no time passes between two questions. */
static struct msg_reply afford(struct rig_client *c, const char *name, const char *args) {
  struct msg_reply r = rig_ask(c, name, args);
  while (r.is_error && slice_is(r.error.code, "rate_limited")) {
    rig_run(c->rig, 100 * NS_MS);
    r = rig_ask(c, name, args);
  }
  return r;
}

/* The question `what` about node `who`, of whose id so many digits are given. */
static struct msg_reply ask(struct mesh *m, struct rig_client *c, const char *what, unsigned who, int digits,
                            const char *more) {
  char args[256], hex[ID_HEX_LEN + 1], name[64];
  id_hex(id(m, who), hex);
  snprintf(args, sizeof args, "{\"node\":\"%.*s\"%s}", digits, hex, more);
  snprintf(name, sizeof name, "com.macula.node.%s", what);
  return afford(c, name, args);
}

static bool code_of(struct msg_reply r, const char *code) {
  if (!r.is_error || !slice_is(r.error.code, code))
    print_error("%.*s: %.*s\n", (int)r.error.code.n, (const char *)r.error.code.p, (int)r.error.message.n,
                (const char *)r.error.message.p);
  return r.is_error && slice_is(r.error.code, code);
}

static json_t *json_of(struct msg_reply r) {
  if (r.is_error)
    fail_msg("%.*s: %.*s", (int)r.error.code.n, (const char *)r.error.code.p, (int)r.error.message.n,
             (const char *)r.error.message.p);
  json_t *j = json_loadb((const char *)r.result.p, r.result.n, 0, NULL);
  assert_non_null(j);
  return j;
}

static bool says(struct msg_reply r, const char *key, const char *text) {
  json_t *j = json_of(r);
  bool same = !strcmp(json_string_value(json_object_get(j, key)), text);
  json_decref(j);
  return same;
}

static void test_any_node(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 3, NULL);
  mesh_settle(&m);
  struct rig_client *op = operator_at(&m, 0), *c = client(&m, 2);
  assert_int_equal(rig_subscribe(c, "a.b"), 0);
  for (unsigned i = 0; i < 3; i++) {
    assert_true(says(ask(&m, op, "status", i, ID_HEX_LEN, ""), "name", m.name[i]));
    assert_true(says(ask(&m, op, "status", i, 12, ""), "name", m.name[i]));
  }
  json_t *j = json_of(ask(&m, op, "subs", 2, 20, ",\"limit\":5"));
  assert_int_equal(json_integer_value(json_object_get(j, "total")), 1);
  assert_int_equal(json_array_size(json_object_get(j, "subs")), 1);
  json_decref(j);
  j = json_of(ask(&m, op, "subs", 1, 20, ""));
  assert_int_equal(json_integer_value(json_object_get(j, "total")), 0);
  json_decref(j);
  assert_true(code_of(ask(&m, op, "nothing", 1, 64, ""), "no_such_procedure"));
  assert_true(code_of(ask(&m, op, "revoke", 1, 64, ""), "invalid_argument")); /* lists go to all nodes by themselves */
  for (unsigned i = 0; i < 3; i++) assert_int_equal(m.rig[i].node->asks.count, 0);
  mesh_stop(&m);
}

static void test_which_node(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  mesh_settle(&m);
  struct rig_client *op = operator_at(&m, 0), *c = client(&m, 0);
  assert_true(code_of(ask(&m, op, "status", 1, 7, ""), "invalid_argument"));
  assert_true(code_of(ask(&m, op, "status", 1, 0, ""), "invalid_argument"));
  assert_true(code_of(afford(op, "com.macula.node.status", "{\"node\":5}"), "invalid_argument"));
  assert_true(code_of(afford(op, "com.macula.node.status", "{\"node\":\"0000000z\"}"), "invalid_argument"));
  assert_true(code_of(afford(op, "com.macula.node.status", "{\"node\":\"0123456789abcdef\"}"), "unknown_node"));
  /* also what everybody may see of its own node */
  assert_true(code_of(ask(&m, c, "status", 1, 64, ""), "not_authorized"));
  assert_true(code_of(ask(&m, c, "clients", 1, 64, ""), "not_authorized"));
  assert_int_equal(m.rig[1].node->asks.for_nodes, 0);
  mesh_stop(&m);
}

/* A page of a list is as long as one of the node's own, and the next one follows it. */
static void test_pages(void **state) {
  enum { MANY = 150 };
  struct mesh m;
  char more[64];
  size_t got = 0, pages = 0;
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  struct rig_client *op = operator_at(&m, 0);
  for (int i = 0; i < MANY; i++) (void)client(&m, 1);
  mesh_settle(&m);
  while (got < MANY) {
    snprintf(more, sizeof more, ",\"offset\":%zu", got);
    json_t *j = json_of(ask(&m, op, "clients", 1, 64, more));
    size_t rows = json_array_size(json_object_get(j, "clients"));
    assert_in_range(rows, 1, LIST_PAGE);
    assert_int_equal(json_integer_value(json_object_get(j, "total")), MANY);
    got += rows;
    pages++;
    json_decref(j);
    rig_run(&m.rig[0], NS_SEC); /* it has its price */
  }
  assert_int_equal(pages, (MANY + LIST_PAGE - 1) / LIST_PAGE);
  mesh_stop(&m);
}

/* A node that asks for much is refused for what nodes may ask, and nobody else is. */
static void test_price(void **state) {
  struct mesh m;
  uint8_t call_id[CALL_ID_LEN] = {7};
  (void)state;
  mesh_start_joined(&m, 3, NULL);
  mesh_settle(&m);
  struct rig_client *other = operator_at(&m, 2), *own = operator_at(&m, 1);
  struct asks *asks = &m.rig[1].node->asks;
  struct msg q = {.type = MSG_CALL,
                  .call = {.procedure = slice_str("com.macula.node.status"),
                           .args = slice_str("{}"),
                           .call_id = slice_of(call_id, sizeof call_id)}};
  for (int i = 0; i < 300; i++) {
    call_id[1] = (uint8_t)i;
    assert_int_equal(peer_send(peer(&m, 0, 1), &q, WANT_USE), 0);
  }
  rig_run(&m.rig[0], 20 * NS_MS);
  assert_int_equal(asks->for_nodes + asks->refused, 300);
  assert_in_range(asks->for_nodes, 1, 100);
  assert_true(says(ask(&m, other, "status", 1, 64, ""), "name", m.name[1]));
  assert_true(says(afford(own, "com.macula.node.status", "{}"), "name", m.name[1]));
  mesh_stop(&m);
}

/* Nobody can dial 2, and it cannot dial 0: through 1. */
static bool hidden_is_known(void *ctx) {
  struct mesh *m = ctx;
  struct peer *p = peer(m, 0, 2);
  return p && p->member;
}

static void start_hidden(struct mesh *m) {
  start(m, 3);
  sim_net_cut(m->rig[0].net, &m->rig[0].addr, &m->rig[2].addr, true);
  struct node *h = m->rig[2].node;
  h->mesh.hidden = true;
  h->mesh.self = (struct addr){0};
  mesh_join(m, 2, 1);
  mesh_join(m, 0, 1);
  rig_until(&m->rig[0], 60 * NS_SEC, hidden_is_known, m, "the hidden node is a member");
}

static void test_through_a_gateway(void **state) {
  struct mesh m;
  (void)state;
  start_hidden(&m);
  struct rig_client *op = operator_at(&m, 0), *there = operator_at(&m, 2);
  assert_true(says(ask(&m, op, "status", 2, 64, ""), "name", m.name[2]));
  assert_true(says(ask(&m, there, "status", 0, 64, ""), "name", m.name[0]));
  assert_null(peer(&m, 0, 2)->link);
  /* it has gone, and the gateway says that it cannot carry the question on, or is silent */
  rig_node_kill(&m.rig[2]);
  nanotime began = now(&m);
  struct msg_reply r = ask(&m, op, "status", 2, 64, "");
  assert_true(r.is_error);
  assert_true(now(&m) - began <= 6 * NS_SEC);
  assert_int_equal(m.rig[0].node->asks.count, 0);
  rig_node_start(&m.rig[2]);
  mesh_stop(&m);
}

static void test_it_dies(void **state) {
  struct mesh m;
  char args[128], hex[ID_HEX_LEN + 1];
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  mesh_settle(&m);
  struct rig_client *op = operator_at(&m, 0);
  /* silent: nothing comes from it */
  mesh_cut(&m, 0, 1, true);
  nanotime began = now(&m);
  assert_true(code_of(ask(&m, op, "status", 1, 64, ""), "timeout"));
  assert_in_range(now(&m) - began, 4 * NS_SEC, 6 * NS_SEC);
  mesh_cut(&m, 0, 1, false);
  /* as long as the caller waits */
  rig_run(&m.rig[0], 30 * NS_SEC);
  mesh_settle(&m);
  mesh_cut(&m, 0, 1, true);
  id_hex(id(&m, 1), hex);
  snprintf(args, sizeof args, "{\"node\":\"%s\"}", hex);
  began = now(&m);
  rig_call(op, "com.macula.node.status", args, 9, 1000);
  assert_true(code_of(rig_expect(op, MSG_REPLY).reply, "timeout"));
  assert_true(now(&m) - began < 2 * NS_SEC);
  mesh_cut(&m, 0, 1, false);
  rig_run(&m.rig[0], 30 * NS_SEC);
  mesh_settle(&m);
  /* its link ends */
  rig_call(op, "com.macula.node.status", args, 10, 5000);
  mesh_cut(&m, 0, 1, true);
  rig_run(&m.rig[0], 100 * NS_MS);
  assert_int_equal(m.rig[0].node->asks.count, 1);
  link_close(peer(&m, 0, 1), MACULA_EVICTED);
  peer_down(peer(&m, 0, 1));
  assert_true(code_of(rig_expect(op, MSG_REPLY).reply, "not_connected"));
  assert_int_equal(m.rig[0].node->asks.count, 0);
  mesh_cut(&m, 0, 1, false);
  mesh_stop(&m);
}

/* The answer to one that has gone is nobody's. */
static void test_the_asker_goes(void **state) {
  struct mesh m;
  char args[128], hex[ID_HEX_LEN + 1];
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  mesh_settle(&m);
  struct rig_client *op = operator_at(&m, 0);
  id_hex(id(&m, 1), hex);
  snprintf(args, sizeof args, "{\"node\":\"%s\"}", hex);
  mesh_cut(&m, 0, 1, true);
  rig_call(op, "com.macula.node.status", args, 1, 5000);
  rig_run(&m.rig[0], 100 * NS_MS);
  assert_int_equal(m.rig[0].node->asks.count, 1);
  assert_in_range(m.rig[0].node->rows.mem[ROW_ASKS].bytes, 1, plan_row_of(&m.rig[0].node->limits, ROW_ASKS).each);
  quic_conn_close(op->conn, 0, "bye");
  rig_run(&m.rig[0], 100 * NS_MS);
  assert_int_equal(m.rig[0].node->asks.count, 0);
  mesh_cut(&m, 0, 1, false);
  rig_run(&m.rig[0], 3 * NS_SEC);
  assert_int_equal(m.rig[1].node->asks.for_nodes, 1);
  assert_int_equal(m.rig[0].node->asks.count, 0);
  mesh_stop(&m);
}

/* A client at another node is ended, and which node asked is said there. */
static void test_end(void **state) {
  struct mesh m;
  char more[128], hex[ID_HEX_LEN + 1];
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  mesh_settle(&m);
  struct rig_client *op = operator_at(&m, 0), *c = client(&m, 1), *same = client(&m, 0);
  id_hex(quic_identity_id(c->identity), hex);
  snprintf(more, sizeof more, ",\"id\":\"%s\"", hex);
  json_t *j = json_of(ask(&m, op, "end", 1, 64, more));
  assert_int_equal(json_integer_value(json_object_get(j, "ended")), 1);
  json_decref(j);
  assert_int_equal(rig_closed(c), MACULA_NOT_AUTHORIZED);
  assert_true(code_of(ask(&m, op, "end", 1, 64, more), "not_found"));
  assert_true(code_of(ask(&m, same, "end", 1, 64, more), "not_authorized"));
  mesh_stop(&m);
}

struct told {
  int calls, err;
  char text[64];
};

static void on_told(void *ctx, int err, const char *text) {
  struct told *t = ctx;
  t->calls++;
  t->err = err;
  snprintf(t->text, sizeof t->text, "%s", text);
}

/* As the process asks, for HTTP. */
static void test_the_process_asks(void **state) {
  struct mesh m;
  struct told t = {0};
  char hex[ID_HEX_LEN + 1];
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  mesh_settle(&m);
  struct node *n = m.rig[0].node;
  node_ask(n, "status", NULL, NULL, false, on_told, &t, now(&m));
  assert_true(t.calls == 1 && !t.err && t.text[0] == '{');
  node_ask(n, "clients", "01234567", "{}", false, on_told, &t, now(&m));
  assert_true(t.calls == 2 && t.err == MACULA_UNKNOWN_NODE);
  id_hex(id(&m, 1), hex);
  node_ask(n, "clients", hex, "{\"limit\":3}", false, on_told, &t, now(&m));
  assert_int_equal(t.calls, 2);
  rig_run(&m.rig[0], NS_SEC);
  assert_true(t.calls == 3 && !t.err && !strncmp(t.text, "{\"total\":0", 10));
  node_ask(n, "nothing", hex, NULL, false, on_told, &t, now(&m));
  rig_run(&m.rig[0], NS_SEC);
  assert_true(t.calls == 4 && t.err == MACULA_NO_SUCH_PROCEDURE);
  node_ask(n, "end", hex, "{\"id\":\"0123456789abcdef\"}", false, on_told, &t, now(&m)); /* it is no question */
  assert_true(t.calls == 5 && t.err == MACULA_NO_SUCH_PROCEDURE);
  node_ask(n, "end", hex, "{\"id\":\"0123456789abcdef\"}", true, on_told, &t, now(&m));
  rig_run(&m.rig[0], NS_SEC);
  assert_true(t.calls == 6 && t.err == MACULA_ENOTFOUND);
  mesh_stop(&m);
}

/* What nodes that mean harm answer, before the one that was asked does: no JSON, too much, in another's place, twice. */
static bool heard(struct mesh *m, unsigned from, struct slice call_id, struct slice result) {
  struct msg_reply r = {.call_id = call_id, .result = result};
  return far_replied(peer(m, 0, from), &r);
}

static void test_forged_answers(void **state) {
  struct mesh m;
  struct told t;
  static char much[400 << 10];
  static const int errs[] = {MACULA_INVALID_JSON, MACULA_PAYLOAD_TOO_LARGE, 0};
  uint8_t call_id[CALL_ID_LEN], other[CALL_ID_LEN] = {1};
  char hex[ID_HEX_LEN + 1];
  (void)state;
  mesh_start_joined(&m, 3, NULL);
  mesh_settle(&m);
  struct node *n = m.rig[0].node;
  memset(much, ' ', sizeof much);
  much[0] = '1';
  id_hex(id(&m, 1), hex);
  assert_false(heard(&m, 1, slice_of(other, sizeof other), slice_str("{}"))); /* nothing was asked */
  for (int i = 0; i < 3; i++) {
    struct slice given = slice_of(call_id, sizeof call_id);
    t = (struct told){0};
    node_ask(n, "status", hex, NULL, false, on_told, &t, now(&m));
    memcpy(call_id, n->asks.mark, 8);
    for (int k = 0; k < 8; k++) call_id[8 + k] = (uint8_t)(n->asks.asked >> (56 - 8 * k));
    assert_false(heard(&m, 1, slice_of(other, sizeof other), slice_str("{}")));
    assert_true(heard(&m, 2, given, slice_str("{\"from\":2}")));
    assert_int_equal(t.calls, 0);
    assert_true(heard(&m, 1, given, i == 0 ? slice_str("{\"a\":") : i == 1 ? slice_of(much, sizeof much) : slice_str("{}")));
    assert_true(t.calls == 1 && t.err == errs[i] && (i != 2 || !strcmp(t.text, "{}")));
    assert_true(heard(&m, 1, given, slice_str("{}")));
    rig_run(&m.rig[0], NS_SEC); /* the answer proper comes, too */
    assert_int_equal(t.calls, 1);
  }
  assert_int_equal(n->asks.count, 0);
  mesh_stop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_any_node),       cmocka_unit_test(test_which_node), cmocka_unit_test(test_pages),
      cmocka_unit_test(test_price),          cmocka_unit_test(test_it_dies),    cmocka_unit_test(test_through_a_gateway),
      cmocka_unit_test(test_the_asker_goes), cmocka_unit_test(test_end),        cmocka_unit_test(test_the_process_asks),
      cmocka_unit_test(test_forged_answers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
