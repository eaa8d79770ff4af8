/* A client's connection through losses, refusals, rebinding and refused memory: what it owns comes back, or ends once. */
#include "client/internal.h"
#include "client_rig.h"

/* One that listens and serves, and another that waits for its answer. */
static void begin_call(struct world *w, struct user *a, struct user *b, struct tally *heard, struct tally *served,
                       struct tally *pending) {
  world_init(w, NULL);
  user_join(w, 0, a, (struct client_options){0});
  user_join(w, 1, b, (struct client_options){0});
  (void)sub_now(w, a, "t.**", false, heard);
  (void)serve_now(w, a, "echo", 0, served);
  served->hold = true;
  world_now(w);
  assert_int_equal(client_call(b->c, "echo", slice_str("1"), NULL, on_result, pending, NULL), 0);
  world_run(w, 100 * NS_MS);
}

/* Killed and started again, with the same identity: subscriptions and services are replayed, calls end, QoS 1 goes out again.
 */
static void test_node_restarts(void **state) {
  struct world w = {0};
  struct user a = {0}, b = {0};
  struct tally heard = {0}, served = {0}, got = {0}, pending = {0}, done = {0};
  macula_publish_options qos1 = {.qos = 1};
  (void)state;
  begin_call(&w, &a, &b, &heard, &served, &pending);
  world_node_kill(&w);
  world_now(&w);
  assert_int_equal(client_publish(b.c, "t.a", slice_str("7"), &qos1, on_done, &done), 0); /* it does not know yet */
  world_run(&w, 500 * NS_MS);
  world_node(&w);
  a.states[MACULA_CONNECTED] = b.states[MACULA_CONNECTED] = 0;
  assert_true(world_until(&w, &a.states[MACULA_CONNECTED], 60 * NS_SEC));
  assert_true(world_until(&w, &b.states[MACULA_CONNECTED], 60 * NS_SEC));
  world_run(&w, 6 * NS_SEC);
  assert_int_equal(pending.done, 1);
  assert_int_equal(pending.err, MACULA_NOT_CONNECTED);
  assert_int_equal(done.done, 1);
  served.hold = false;
  uint64_t before = heard.count;
  assert_int_equal(publish_now(&w, &b, "t.a", "8", 0), 0);
  world_run(&w, NS_SEC);
  assert_int_equal(heard.count, before + 1);
  assert_string_equal(heard.last, "t.a 8");
  assert_int_equal(call_now(&w, &b, "echo", "2", &got), 0);
  assert_string_equal(got.last, "2");
  world_done(&w);
}

/* A process that was cloned while it ran: two clients of one key and one instance. They end as two, and do not take each
 * other's place for ever. */
static void test_instance_twice(void **state) {
  struct world w = {0};
  struct user a = {0}, b = {0};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &a, (struct client_options){0});
  assert_int_equal(user_start(&w, 0, &b, (struct client_options){0}), 0);
  memcpy(b.c->instance, a.c->instance, INSTANCE_LEN);
  world_run(&w, 120 * NS_SEC);
  assert_int_equal(a.state, MACULA_CONNECTED);
  assert_int_equal(b.state, MACULA_CONNECTED);
  assert_int_equal(a.states[MACULA_CONNECTED], 2); /* replaced once */
  assert_int_equal(b.states[MACULA_CONNECTED], 1);
  world_done(&w);
}

/* What is asked for without a connection goes out with the next one. */
static void test_asked_before(void **state) {
  struct world w = {0};
  struct user a = {0}, b = {0};
  struct tally heard = {0}, served = {0}, got = {0}, done = {0};
  (void)state;
  world_init(&w, NULL);
  world_node_kill(&w);
  assert_int_equal(user_start(&w, 0, &a, (struct client_options){0}), 0);
  assert_int_equal(client_subscribe(a.c, "t", false, on_message, on_done, &done, &heard, NULL), 0);
  assert_int_equal(client_serve(a.c, "p", NULL, on_request, on_cancel, on_done, &done, &served, NULL), 0);
  assert_int_equal(client_publish(a.c, "t", slice_str("1"), NULL, NULL, NULL), MACULA_NOT_CONNECTED);
  assert_int_equal(client_call(a.c, "p", slice_str("1"), NULL, on_result, &got, NULL), MACULA_NOT_CONNECTED);
  world_run(&w, 20 * NS_SEC);
  assert_int_equal(done.done, 0);
  assert_true(a.states[MACULA_DISCONNECTED] >= 3); /* it tries again ... */
  assert_true(a.states[MACULA_DISCONNECTED] < 20); /* ... and backs off */
  world_node(&w);
  user_join(&w, 1, &b, (struct client_options){0});
  assert_true(world_until(&w, &a.states[MACULA_CONNECTED], 60 * NS_SEC));
  world_run(&w, NS_SEC);
  assert_int_equal(done.done, 2);
  assert_int_equal(done.err, 0);
  assert_int_equal(publish_now(&w, &b, "t", "5", 1), 0);
  assert_int_equal(call_now(&w, &b, "p", "6", &got), 0);
  world_run(&w, NS_SEC);
  assert_int_equal(heard.sum, 5);
  world_done(&w);
}

/* Refusals that trying again cannot mend close at once; the others do not. */
static void final_with(struct world *w, struct client_options o, int code, const char *text) {
  struct user u = {0};
  struct tally done = {0};
  assert_int_equal(user_start(w, 0, &u, o), 0);
  assert_int_equal(client_subscribe(u.c, "t", false, on_message, on_done, &done, NULL, NULL), 0);
  assert_true(world_until(w, &u.states[MACULA_CLOSED], 20 * NS_SEC));
  assert_int_equal(u.err, code);
  if (text) assert_non_null(strstr(u.text, text));
  assert_int_equal(u.states[MACULA_CLOSED], 1);
  assert_int_equal(done.done, 1);
  assert_int_equal(done.err, MACULA_ECLOSED);
  client_close(u.c, false);
  world_run(w, 3 * NS_SEC);
  assert_int_equal(u.states[MACULA_CLOSED], 1);
}

static void test_refused(void **state) {
  struct world w = {.access = ACCESS_BY_TOKEN(ACCESS_TOKEN)};
  struct user u = {0}, v = {0};
  struct id other = {{1}};
  (void)state;
  world_init(&w, NULL);
  final_with(&w, (struct client_options){.realm = "other", .token = ACCESS_TOKEN}, MACULA_REALM_MISMATCH, NULL);
  final_with(&w, (struct client_options){.token = "0123456789abcdeg"}, MACULA_NOT_AUTHORIZED, "wrong");
  final_with(&w, (struct client_options){0}, MACULA_NOT_AUTHORIZED, "needed");
  final_with(&w, (struct client_options){.base_only = true}, MACULA_NOT_AUTHORIZED, "needed");
  w.expect = &other;
  w.mismatch = "delete line 3";
  final_with(&w, (struct client_options){.token = ACCESS_TOKEN}, MACULA_IDENTITY_MISMATCH, "delete line 3");
  w.expect = quic_identity_id(w.node_id);
  user_join(&w, 0, &u, (struct client_options){.token = ACCESS_TOKEN});
  world_done(&w);

  /* A full node is tried again, and entered when a place is free. */
  w = (struct world){.cfg = {.limits = {.max_clients = 1}}};
  u = (struct user){0};
  world_init(&w, NULL);
  user_join(&w, 0, &u, (struct client_options){0});
  assert_int_equal(user_start(&w, 1, &v, (struct client_options){.backoff_max = NS_SEC}), 0);
  assert_true(world_until(&w, &v.states[MACULA_DISCONNECTED], 10 * NS_SEC));
  assert_int_equal(v.err, MACULA_MAX_CLIENTS_REACHED);
  client_close(u.c, false);
  assert_true(world_until(&w, &v.states[MACULA_CONNECTED], 20 * NS_SEC));
  world_done(&w);
}

/* Behind a name may be several nodes, as after one was replaced: each of its addresses is tried before the client gives up, and
 * it gives up only if all have refused for good. */
static void test_several_addresses(void **state) {
  struct world w = {0};
  struct user u = {0}, v = {0}, x = {0};
  struct quic_identity *stranger_id;
  struct node *stranger;
  (void)state;
  world_init(&w, NULL);
  for (unsigned i = 0; i < 8; i++) { /* nobody is there */
    char at[32];
    snprintf(at, sizeof at, "10.0.9.%u:9443", i + 1);
    assert_int_equal(addr_parse(at, 0, &w.before[i]), 0);
  }
  w.before_count = 8;
  assert_int_equal(user_start(&w, 0, &u, (struct client_options){0}), 0);
  assert_true(world_until(&w, &u.states[MACULA_CONNECTED], 100 * NS_SEC));
  assert_int_equal(u.states[MACULA_DISCONNECTED], 0);

  assert_int_equal(quic_identity_generate(&stranger_id), 0);
  struct node_config cfg = w.cfg;
  cfg.identity = stranger_id;
  cfg.realm = "elsewhere";
  assert_int_equal(node_new(&cfg, sim_net_now(w.net), &stranger), 0);
  struct endpoint ep = node_endpoint(stranger);
  sim_net_attach(w.net, &w.before[0], &ep);
  w.before_count = 1;
  for (int known = 0; known < 2; known++) { /* another realm, then also another id than expected */
    w.expect = known ? quic_identity_id(w.node_id) : NULL;
    v = (struct user){0};
    assert_int_equal(user_start(&w, 1, &v, (struct client_options){0}), 0);
    assert_true(world_until(&w, &v.states[MACULA_CONNECTED], 30 * NS_SEC));
    assert_int_equal(v.states[MACULA_CLOSED], 0);
    client_close(v.c, false);
    world_run(&w, NS_SEC);
  }
  world_node_kill(&w); /* the other one may come back */
  assert_int_equal(user_start(&w, 2, &x, (struct client_options){.backoff_max = NS_SEC}), 0);
  world_run(&w, 40 * NS_SEC);
  assert_true(x.states[MACULA_DISCONNECTED] >= 2);
  assert_int_equal(x.states[MACULA_CLOSED], 0);
  world_node(&w);
  assert_true(world_until(&w, &x.states[MACULA_CONNECTED], 60 * NS_SEC));
  client_close(x.c, false);
  world_run(&w, NS_SEC);
  w.before_count = 0; /* all refuse for good */
  w.node_at = w.before[0];
  v = (struct user){0};
  assert_int_equal(user_start(&w, 1, &v, (struct client_options){0}), 0);
  assert_true(world_until(&w, &v.states[MACULA_CLOSED], 30 * NS_SEC));
  assert_int_equal(v.err, MACULA_IDENTITY_MISMATCH);
  sim_net_detach(w.net, &w.before[0]);
  node_free(stranger);
  quic_identity_unref(stranger_id);
  world_done(&w);
}

/* The name cannot be looked up any more: where it led before is tried again. */
static void test_name_is_lost(void **state) {
  struct world w = {0};
  struct user u = {0}, v = {0};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &u, (struct client_options){0});
  w.no_name = true;
  u.states[MACULA_CONNECTED] = 0;
  world_node_kill(&w);
  world_run(&w, NS_SEC);
  world_node(&w);
  assert_true(world_until(&w, &u.states[MACULA_CONNECTED], 90 * NS_SEC));
  assert_int_equal(user_start(&w, 1, &v, (struct client_options){0}), 0);
  assert_true(world_until(&w, &v.states[MACULA_DISCONNECTED], 10 * NS_SEC));
  assert_string_equal(v.text, "no such name");
  w.no_name = false;
  assert_true(world_until(&w, &v.states[MACULA_CONNECTED], 90 * NS_SEC));
  world_done(&w);
}

/* The original's protocol alone: publish, hear, call, and be answered; a node of ours sends it nothing else. */
static void test_base_only(void **state) {
  struct world w = {.cfg = {.allow_unverified = true}};
  struct user a = {0}, b = {0};
  struct tally heard = {0}, other = {0}, served = {0}, got = {0}, done = {0};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &a, (struct client_options){.base_only = true});
  user_join(&w, 1, &b, (struct client_options){0});
  (void)sub_now(&w, &a, "t.*", true, &heard);
  (void)sub_now(&w, &b, "t.*", false, &other);
  (void)serve_now(&w, &b, "p", 0, &served);
  world_run(&w, NS_SEC);
  assert_int_equal(publish_now(&w, &a, "t.a", "1", 0), 0);
  assert_int_equal(publish_now(&w, &b, "t.b", "2", 1), 0);
  world_run(&w, NS_SEC);
  assert_int_equal(heard.sum, 3); /* its own as well, as the original sends them */
  assert_int_equal(other.sum, 1);
  assert_int_equal(call_now(&w, &a, "p", "[3]", &got), 0);
  assert_string_equal(got.last, "[3]");
  assert_int_equal(call_now(&w, &a, "none", "[3]", &got), MACULA_NO_SUCH_PROCEDURE);
  world_now(&w);
  assert_int_equal(client_cast(a.c, "p", slice_str("4"), on_done, &done), 0);
  world_run(&w, NS_SEC);
  assert_int_equal(served.count, 2);
  world_run(&w, 120 * NS_SEC); /* the node keeps it alive, without a PING of the protocol */
  assert_int_equal(publish_now(&w, &b, "t.b", "5", 1), 0);
  world_run(&w, NS_SEC);
  assert_int_equal(heard.sum, 8);
  assert_int_equal(a.states[MACULA_DISCONNECTED], 0);
  world_done(&w);
}

/* A NAT gives the client another address in the middle of everything. */
static void test_rebinding(void **state) {
  struct world w = {0};
  struct user a = {0}, b = {0};
  struct tally heard = {0}, served = {0}, got = {0}, pending = {0};
  struct addr outside;
  (void)state;
  begin_call(&w, &a, &b, &heard, &served, &pending);
  assert_int_equal(served.count, 1);
  for (int i = 1; i <= 3; i++) {
    char text[32];
    snprintf(text, sizeof text, "10.0.9.%d:%d", i, 4000 + i);
    assert_int_equal(addr_parse(text, 0, &outside), 0);
    sim_net_nat(w.net, &w.hubs[0].at, &outside);
    assert_int_equal(publish_now(&w, &a, "own.x", "1", 1), 0); /* the node learns of the address by a packet */
    assert_int_equal(publish_now(&w, &b, "t.x", "1", 1), 0);
    world_run(&w, NS_SEC);
    assert_int_equal(heard.count, i);
  }
  world_now(&w);
  assert_int_equal(client_reply(a.c, served.request, slice_str("\"late\"")), 0);
  assert_true(world_until(&w, &pending.done, 5 * NS_SEC));
  assert_string_equal(pending.last, "\"late\"");
  served.hold = false;
  assert_int_equal(call_now(&w, &b, "echo", "2", &got), 0);
  assert_int_equal(a.states[MACULA_CONNECTED], 1);
  assert_int_equal(a.states[MACULA_DISCONNECTED], 0);
  world_done(&w);
}

/* A connection that was lost while both sides live is resumed: each ticket once, and everything is checked again. */
static void test_resumes(void **state) {
  struct world w = {.access = ACCESS_BY_TOKEN(ACCESS_TOKEN)};
  struct user a = {0};
  struct tally heard = {0};
  struct quic_stats s;
  (void)state;
  world_init(&w, NULL);
  w.expect = quic_identity_id(w.node_id);
  user_join(&w, 0, &a, (struct client_options){.token = ACCESS_TOKEN});
  (void)sub_now(&w, &a, "t", true, &heard);
  world_run(&w, NS_SEC);
  for (uint64_t i = 1; i <= 3; i++) {
    a.states[MACULA_CONNECTED] = a.states[MACULA_DISCONNECTED] = 0;
    sim_net_cut(w.net, &w.hubs[0].at, NULL, true);
    assert_true(world_until(&w, &a.states[MACULA_DISCONNECTED], 60 * NS_SEC));
    sim_net_cut(w.net, &w.hubs[0].at, NULL, false);
    assert_true(world_until(&w, &a.states[MACULA_CONNECTED], 60 * NS_SEC));
    quic_stats(node_quic(w.node), &s);
    assert_int_equal(s.resumed, i);
    assert_int_equal(publish_now(&w, &a, "t", "1", 1), 0);
    world_run(&w, NS_SEC);
    assert_int_equal(heard.count, i);
  }
  struct node_reload r = {.access = access_text(ACCESS_BY_TOKEN("another-token-of-24-bytes"))};
  assert_int_equal(node_reload(w.node, &r), 0);
  access_unref(r.access);
  sim_net_cut(w.net, &w.hubs[0].at, NULL, true);
  world_run(&w, 40 * NS_SEC);
  sim_net_cut(w.net, &w.hubs[0].at, NULL, false);
  assert_true(world_until(&w, &a.states[MACULA_CLOSED], 60 * NS_SEC));
  assert_int_equal(a.err, MACULA_NOT_AUTHORIZED);
  world_done(&w);
}

struct notices {
  int count, err;
  uint64_t times;
  char text[256];
};

static void on_notice(void *ctx, macula_client client, int err, uint64_t count, const char *text) {
  struct user *u = ctx;
  struct notices *n = u->more;
  (void)client;
  n->count++;
  n->err = err;
  n->times += count;
  snprintf(n->text, sizeof n->text, "%s", text);
}

#define SOME_MAY(what) "grants: {some: {" what "}}\ntokens: [{token: " ACCESS_TOKEN ", grant: some}]\n"

/* What is refused without anybody waiting for the answer is told: a publish that asked for none, a subscription that was taken
 * before the connection was lost. */
static void test_notices(void **state) {
  struct world w = {.access = SOME_MAY("pub: [a], sub: [a, b]")};
  struct notices n = {0};
  struct user u = {.more = &n};
  struct tally heard = {0};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &u, (struct client_options){.token = ACCESS_TOKEN, .on_notice = on_notice});
  (void)sub_now(&w, &u, "a", true, &heard);
  (void)sub_now(&w, &u, "b", true, &heard);
  for (int i = 0; i < 100; i++) assert_int_equal(client_publish(u.c, "b", slice_str("1"), NULL, NULL, NULL), 0);
  world_run(&w, 2 * NS_SEC);
  assert_int_equal(n.err, MACULA_FORBIDDEN);
  assert_non_null(strstr(n.text, "pub 'b'"));
  assert_int_equal(n.count, 2);
  assert_int_equal(n.times, 100); /* the last ones, too, though nothing more is refused */
  n = (struct notices){0};
  sim_net_cut(w.net, &w.hubs[0].at, NULL, true);
  world_run(&w, 60 * NS_SEC); /* the node has let it go */
  struct node_reload r = {.access = access_text(SOME_MAY("pub: [a], sub: [a]"))};
  assert_int_equal(node_reload(w.node, &r), 0);
  access_unref(r.access);
  u.states[MACULA_CONNECTED] = 0;
  sim_net_cut(w.net, &w.hubs[0].at, NULL, false);
  assert_true(world_until(&w, &u.states[MACULA_CONNECTED], 60 * NS_SEC));
  world_run(&w, NS_SEC);
  assert_int_equal(n.count, 1);
  assert_non_null(strstr(n.text, "sub 'b'"));
  assert_int_equal(publish_now(&w, &u, "a", "1", 1), 0);
  world_run(&w, NS_SEC);
  assert_int_equal(heard.count, 1);
  world_done(&w);
}

/* The node drains: calls in flight are answered, clients are told why and come back to the next one. */
static void test_drain(void **state) {
  struct world w = {0};
  struct user a = {0}, b = {0};
  struct tally served = {.hold = true}, got = {0};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &a, (struct client_options){0});
  user_join(&w, 1, &b, (struct client_options){0});
  (void)serve_now(&w, &a, "slow", 0, &served);
  world_now(&w);
  assert_int_equal(client_call(b.c, "slow", slice_str("1"), NULL, on_result, &got, NULL), 0);
  world_run(&w, 100 * NS_MS);
  node_drain(w.node, sim_net_now(w.net));
  world_run(&w, NS_SEC);
  assert_int_equal(a.states[MACULA_DISCONNECTED] + b.states[MACULA_DISCONNECTED], 0);
  assert_int_equal(got.done, 0);
  world_now(&w);
  assert_int_equal(client_reply(a.c, served.request, slice_str("2")), 0);
  assert_true(world_until(&w, &got.done, NS_SEC));
  assert_int_equal(got.err, 0);
  assert_true(world_until(&w, &a.states[MACULA_DISCONNECTED], 2 * NS_SEC));
  assert_int_equal(a.err, MACULA_SHUTTING_DOWN);
  assert_true(world_until(&w, &b.states[MACULA_DISCONNECTED], 2 * NS_SEC));
  assert_int_equal(b.err, MACULA_SHUTTING_DOWN);
  world_run(&w, 2 * NS_SEC);
  assert_true(node_drained(w.node, sim_net_now(w.net)));
  world_node_kill(&w);
  world_node(&w);
  a.states[MACULA_CONNECTED] = 0;
  assert_true(world_until(&w, &a.states[MACULA_CONNECTED], 60 * NS_SEC));
  world_done(&w);
}

/* Loss, reordering and duplication: everything asked for ends, everything of QoS 1 arrives. */
static void test_bad_network(void **state) {
  static const struct sim_link bad = {.loss = 0.05, .dup = 0.02, .reorder = 0.1, .delay = 10 * NS_MS, .jitter = 5 * NS_MS};
  (void)state;
  for (uint64_t seed = 1; seed <= 5; seed++) {
    struct world w = {.seed = seed};
    struct user a = {0}, b = {0};
    struct tally heard = {0}, served = {0}, got = {0}, done = {0};
    macula_publish_options qos1 = {.qos = 1};
    macula_call_options call = {.timeout_ms = 30000};
    world_init(&w, &bad);
    printf("seed %llu\n", (unsigned long long)w.seed);
    user_join(&w, 0, &a, (struct client_options){0});
    user_join(&w, 1, &b, (struct client_options){0});
    (void)sub_now(&w, &a, "t.*", false, &heard);
    (void)serve_now(&w, &a, "echo", 0, &served);
    for (int k = 0; k < 50; k++) {
      world_now(&w);
      assert_int_equal(client_publish(b.c, "t.x", slice_str("1"), &qos1, on_done, &done), 0);
      assert_int_equal(client_call(b.c, "echo", slice_str("1"), &call, on_result, &got, NULL), 0);
      world_run(&w, 20 * NS_MS);
    }
    world_run(&w, 40 * NS_SEC);
    assert_int_equal(done.done, 50);
    assert_int_equal(got.done, 50);
    assert_int_equal(got.err, 0);
    assert_int_equal(heard.count, 50);
    world_done(&w);
  }
}

/* The n-th allocation of the client's side fails, for every n: each request is refused or ends once, nothing is lost or kept,
 * and with memory back the client serves again. */
static bool ask(struct world *w, struct user *u, struct tally *t) {
  macula_publish_options qos1 = {.qos = 1};
  int asked = 0;
  world_now(w);
  asked += client_subscribe(u->c, "a.*", true, on_message, on_done, t, t + 1, NULL) == 0;
  asked += client_serve(u->c, "p", NULL, on_request, on_cancel, on_done, t, t + 2, NULL) == 0;
  world_run(w, 100 * NS_MS);
  world_now(w);
  asked += client_publish(u->c, "a.b", slice_str("1"), &qos1, on_done, t) == 0;
  asked += client_call(u->c, "p", slice_str("1"), NULL, on_result, t, NULL) == 0;
  world_run(w, 10 * NS_SEC);
  assert_int_equal(t->done, asked);
  return asked == 4;
}

static void test_no_memory(void **state) {
  bool whole = false;
  const struct client_options o = {.name = "n", .token = ACCESS_TOKEN};
  (void)state;
  for (uint64_t n = 1; n < 400 && !whole; n++) {
    struct world w = {.access = ACCESS_BY_TOKEN(ACCESS_TOKEN) "default: all\n"};
    struct user u = {0}, v = {0};
    struct tally t[3] = {0}, again[3] = {0};
    world_init(&w, NULL);
    world_hub_kill(&w, 0);
    w.hubs[0].fail.countdown = n;
    int err = world_hub(&w, 0);
    if (err) {
      assert_int_equal(err, MACULA_ENOMEM);
      w.hubs[0].fail.countdown = 0;
      assert_int_equal(world_hub(&w, 0), 0);
      user_join(&w, 0, &u, o);
      world_done(&w);
      continue;
    }
    err = user_start(&w, 0, &u, o);
    if (err) {
      assert_int_equal(err, MACULA_ENOMEM);
    } else {
      world_until(&w, &u.states[MACULA_CONNECTED], 10 * NS_SEC);
      ask(&w, &u, t);
      whole = w.hubs[0].fail.countdown > 0; /* it was never reached: all have failed */
    }
    w.hubs[0].fail.countdown = 0;
    user_join(&w, 0, &v, (struct client_options){0});
    assert_true(ask(&w, &v, again));
    world_done(&w); /* asserts that all memory is given back */
  }
  assert_true(whole);
}

static bool hub_is_idle(void *ctx) { return hub_idle(ctx); }

/* The acknowledgement of the goodbye is the end; who is dead is waited for a second. */
static void test_goodbye(void **state) {
  for (int dead = 0; dead < 2; dead++) {
    struct world w = {0};
    struct user u = {0};
    world_init(&w, NULL);
    user_join(&w, 0, &u, (struct client_options){0});
    world_run(&w, NS_SEC);
    sim_net_icmp(w.net, !dead); /* by which its death would be known sooner */
    if (dead) world_node_kill(&w);
    nanotime from = sim_net_now(w.net);
    world_now(&w);
    hub_close(w.hubs[0].hub);
    assert_true(sim_net_run(w.net, from + 10 * NS_SEC, hub_is_idle, w.hubs[0].hub));
    nanotime took = sim_net_now(w.net) - from;
    assert_true(dead ? took >= NS_SEC && took <= NS_SEC + 10 * NS_MS : took <= 4 * NS_MS); /* a round trip is 2 ms */
    assert_int_equal(u.states[MACULA_CLOSED], 1);
    world_done(&w);
  }
  (void)state;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_node_restarts),
                                     cmocka_unit_test(test_goodbye),
                                     cmocka_unit_test(test_asked_before),
                                     cmocka_unit_test(test_refused),
                                     cmocka_unit_test(test_several_addresses),
                                     cmocka_unit_test(test_name_is_lost),
                                     cmocka_unit_test(test_base_only),
                                     cmocka_unit_test(test_rebinding),
                                     cmocka_unit_test(test_drain),
                                     cmocka_unit_test(test_resumes),
                                     cmocka_unit_test(test_bad_network),
                                     cmocka_unit_test(test_no_memory),
                                     cmocka_unit_test(test_instance_twice),
                                     cmocka_unit_test(test_notices)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
