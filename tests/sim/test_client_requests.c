/* What a client asks for, through a node: each callback comes exactly once, and a stale handle finds nothing. */
#include "client_rig.h"

static void test_pubsub(void **state) {
  struct world w = {0};
  struct user a = {0}, b = {0};
  struct tally one = {0}, two = {0}, own = {0}, done = {0};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &a, (struct client_options){0});
  user_join(&w, 1, &b, (struct client_options){0});
  macula_sub s = sub_now(&w, &a, "room.*", false, &one);
  (void)sub_now(&w, &a, "room.**", false, &two);
  assert_int_equal(publish_now(&w, &b, "room.a", "1", 0), 0);
  assert_int_equal(publish_now(&w, &b, "room.a", "2", 1), 0);
  world_run(&w, NS_SEC);
  assert_int_equal(one.count, 2);
  assert_int_equal(two.count, 2);
  assert_string_equal(one.last, "room.a 2");
  /* Not its own, unless a subscription wants them; one pattern, both wishes, in either order. */
  assert_int_equal(publish_now(&w, &a, "room.a", "3", 0), 0);
  world_run(&w, NS_SEC);
  assert_int_equal(one.count, 2);
  (void)sub_now(&w, &a, "room.*", true, &own);
  (void)sub_now(&w, &a, "room.*", false, &one);
  assert_int_equal(publish_now(&w, &a, "room.a", "4", 0), 0);
  world_run(&w, NS_SEC);
  assert_int_equal(own.count, 1);
  assert_int_equal(one.count, 2);
  /* A stale handle, and one of another client. */
  assert_int_equal(client_unsubscribe(b.c, s), MACULA_ENOTFOUND);
  assert_int_equal(client_unsubscribe(a.c, s), 0);
  assert_int_equal(client_unsubscribe(a.c, s), MACULA_ENOTFOUND);
  assert_int_equal(client_unserve(a.c, (macula_service){s.id}), MACULA_ENOTFOUND);
  assert_int_equal(client_cancel(a.c, (macula_call_id){s.id}), MACULA_ENOTFOUND);
  assert_int_equal(client_reply(a.c, (macula_request_id){s.id}, slice_str("1")), MACULA_ENOTFOUND);
  /* Taken back before it was confirmed: told once, and as cancelled. */
  assert_int_equal(client_subscribe(a.c, "x", false, on_message, on_done, &done, &one, &s), 0);
  assert_int_equal(client_unsubscribe(a.c, s), 0);
  assert_int_equal(client_unsubscribe(a.c, s), MACULA_ENOTFOUND);
  world_run(&w, 10 * NS_SEC);
  assert_int_equal(done.done, 1);
  assert_int_equal(done.err, MACULA_CANCELLED);
  /* Bad requests. */
  assert_int_equal(publish_now(&w, &a, "a..b", "", 0), MACULA_INVALID_TOPIC);
  assert_int_equal(publish_now(&w, &a, "a.b", "", 3), MACULA_EINVAL);
  assert_int_equal(client_subscribe(a.c, "te*mp", false, on_message, NULL, NULL, NULL, NULL), MACULA_INVALID_TOPIC);
  world_done(&w);
}

struct seen {
  char text[256];
  int count, qos;
};
static void on_headers(void *ctx, macula_client client, const macula_message *m) {
  struct seen *s = ctx;
  size_t n = (size_t)snprintf(s->text, sizeof s->text, "%s%s", m->topic, m->expires_ms ? " ends" : "");
  (void)client;
  s->count++;
  s->qos = m->qos;
  for (size_t i = 0; i < m->header_count; i++)
    n += (size_t)snprintf(s->text + n, sizeof s->text - n, " %s=%.*s", m->headers[i].name, (int)m->headers[i].len,
                          (const char *)m->headers[i].value);
}

static void test_headers(void **state) {
  static const macula_header two[] = {{"unit", "C", 1}, {"", "", 0}}, bad[] = {{"\xff", "", 0}}, none[] = {{NULL, "", 0}};
  static char much[20000];
  struct world w = {0};
  struct user a = {0}, b = {0};
  struct tally done = {0};
  struct seen s = {0};
  macula_publish_options o = {.confirm = true, .headers = two, .header_count = 2, .expires_ms = 1000};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &a, (struct client_options){0});
  user_join(&w, 1, &b, (struct client_options){0});
  assert_int_equal(client_subscribe(b.c, "t", false, on_headers, on_done, &done, &s, NULL), 0);
  assert_true(world_until(&w, &done.done, NS_SEC));
  for (int qos = 0; qos < 3; qos++) {
    o.qos = qos;
    assert_int_equal(client_publish(a.c, "t", slice_str("1"), &o, NULL, NULL), 0);
    world_run(&w, NS_SEC);
    assert_int_equal(s.count, qos + 1);
    assert_int_equal(s.qos, qos);
    assert_string_equal(s.text, "t ends unit=C =");
  }
  o = (macula_publish_options){.headers = bad, .header_count = 1};
  assert_int_equal(client_publish(a.c, "t", slice_str("1"), &o, NULL, NULL), MACULA_EINVAL);
  o.headers = none;
  assert_int_equal(client_publish(a.c, "t", slice_str("1"), &o, NULL, NULL), MACULA_EINVAL);
  o.headers = NULL;
  assert_int_equal(client_publish(a.c, "t", slice_str("1"), &o, NULL, NULL), MACULA_EINVAL);
  macula_header large = {"n", much, sizeof much};
  o.headers = &large;
  assert_int_equal(client_publish(a.c, "t", slice_str("1"), &o, NULL, NULL), MACULA_PAYLOAD_TOO_LARGE);
  o.header_count = 65;
  assert_int_equal(client_publish(a.c, "t", slice_str("1"), &o, NULL, NULL), MACULA_PAYLOAD_TOO_LARGE);
  world_done(&w);
}

static void test_calls(void **state) {
  struct world w = {0};
  struct user a = {0}, b = {0};
  struct tally svc = {0}, got = {0};
  macula_call_id call;
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &a, (struct client_options){.max_calls = 8});
  user_join(&w, 1, &b, (struct client_options){.max_calls = 8});
  macula_service s = serve_now(&w, &a, "math.same", 0, &svc);
  assert_int_equal(client_serve(a.c, "math.same", NULL, on_request, NULL, NULL, NULL, NULL, NULL), MACULA_EBUSY);
  assert_int_equal(call_now(&w, &b, "math.same", "{\"a\":2}", &got), 0);
  assert_string_equal(got.last, "{\"a\":2}");
  assert_int_equal(call_now(&w, &b, "math.other", "{}", &got), MACULA_NO_SUCH_PROCEDURE);
  /* Cancelled: once here, once there; a late reply finds nothing. */
  svc.hold = true;
  got = (struct tally){0};
  world_now(&w);
  assert_int_equal(client_call(b.c, "math.same", slice_str("1"), NULL, on_result, &got, &call), 0);
  world_run(&w, 100 * NS_MS);
  assert_int_equal(client_cancel(b.c, call), 0);
  assert_int_equal(client_cancel(b.c, call), MACULA_ENOTFOUND);
  world_run(&w, 10 * NS_SEC);
  assert_int_equal(got.done, 1);
  assert_int_equal(got.err, MACULA_CANCELLED);
  assert_int_equal(svc.cancels, 1);
  assert_int_equal(svc.cancelled.id, svc.request.id);
  assert_int_equal(client_reply(a.c, svc.request, slice_str("1")), MACULA_ENOTFOUND);
  /* No answer: the deadline. Too many. */
  got = (struct tally){0};
  world_now(&w);
  for (int i = 0; i < 8; i++) assert_int_equal(client_call(b.c, "math.same", slice_str("1"), NULL, on_result, &got, NULL), 0);
  assert_int_equal(client_call(b.c, "math.same", slice_str("1"), NULL, on_result, &got, NULL), MACULA_TOO_MANY_CALLS);
  world_run(&w, 10 * NS_SEC);
  assert_int_equal(got.done, 8);
  assert_int_equal(got.err, MACULA_TIMEOUT);
  assert_int_equal(svc.cancels, 9);
  /* Casts take no place, however many. */
  svc = (struct tally){0};
  struct tally done = {0};
  for (int i = 0; i < 100; i++) assert_int_equal(client_cast(b.c, "math.same", slice_str("1"), on_done, &done), 0);
  world_run(&w, NS_SEC);
  assert_int_equal(svc.count, 100);
  assert_int_equal(done.done, 100);
  assert_int_equal(client_unserve(a.c, s), 0);
  assert_int_equal(client_unserve(a.c, s), MACULA_ENOTFOUND);
  (void)serve_now(&w, &a, "math.same", 0, &svc);
  assert_int_equal(call_now(&w, &b, "math.same", "7", &got), 0);
  world_done(&w);
}

/* The client's end: everything pending ends once, with ECLOSED; CLOSED is the last state. */
static void test_ends(void **state) {
  struct world w = {0};
  struct user a = {0}, b = {0}, c = {0};
  struct tally svc = {.hold = true}, got = {0}, done = {0};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &a, (struct client_options){0});
  user_join(&w, 1, &b, (struct client_options){0});
  (void)serve_now(&w, &a, "slow", 0, &svc);
  world_now(&w);
  macula_publish_options qos1 = {.qos = 1};
  for (int i = 0; i < 10; i++) {
    assert_int_equal(client_call(b.c, "slow", slice_str("1"), NULL, on_result, &got, NULL), 0);
    assert_int_equal(client_publish(b.c, "t", slice_str("1"), &qos1, on_done, &done), 0);
    assert_int_equal(client_subscribe(b.c, "t.*", false, on_message, on_done, &done, NULL, NULL), 0);
  }
  client_close(b.c, false);
  assert_int_equal(client_publish(b.c, "t", slice_str("1"), NULL, NULL, NULL), MACULA_NOT_CONNECTED);
  assert_int_equal(client_subscribe(b.c, "t", false, on_message, NULL, NULL, NULL, NULL), MACULA_ECLOSED);
  world_run(&w, 10 * NS_SEC);
  assert_int_equal(got.done, 10);
  assert_int_equal(got.err, MACULA_ECLOSED);
  assert_int_equal(done.done, 20);
  assert_int_equal(svc.cancels, 10);
  assert_int_equal(b.states[MACULA_CLOSED], 1);
  assert_int_equal(b.state, MACULA_CLOSED);
  assert_true(hub_idle(w.hubs[1].hub));
  /* Closed before anything was sent, and from within the callback that tells of a failure. */
  assert_int_equal(user_start(&w, 2, &c, (struct client_options){0}), 0);
  client_close(c.c, false);
  world_run(&w, NS_SEC);
  assert_int_equal(c.states[MACULA_CLOSED], 1);
  assert_int_equal(c.states[MACULA_CONNECTED], 0);
  c = (struct user){.close_when_told = true};
  user_join(&w, 2, &c, (struct client_options){0});
  world_node_kill(&w);
  assert_true(world_until(&w, &c.states[MACULA_CLOSED], 60 * NS_SEC));
  assert_int_equal(c.states[MACULA_CLOSED], 1);
  world_done(&w);
}

static bool drop_all(void *ctx, const struct addr *from, const struct addr *to, uint8_t *p, size_t len) {
  (void)ctx, (void)from, (void)to, (void)p, (void)len;
  return false;
}

/* As much as the queue takes; who has found it full is told when there is room. */
static void publish_more(struct user *u) {
  static const char text[1000] = "1 ";
  macula_publish_options o = {.qos = u->qos, .timeout_ms = 60000};
  int err = 0;
  while (u->published < u->goal && !(err = client_publish(u->c, "t", slice_of(text, sizeof text), &o, NULL, NULL)))
    u->published++;
  assert_int_equal(err, u->published < u->goal ? MACULA_EFULL : 0);
}
static bool all_came(void *ctx) { return ((struct tally *)ctx)->count >= 300; }

static void test_room(void **state) {
  (void)state;
  for (int qos = 0; qos < 2; qos++) {
    struct world w = {0};
    struct user a = {.when_room = publish_more, .qos = qos}, b = {0};
    struct tally got = {0};
    world_init(&w, NULL);
    user_join(&w, 0, &a, (struct client_options){.max_queue = 20000, .backoff_max = NS_SEC});
    user_join(&w, 1, &b, (struct client_options){.backoff_max = NS_SEC});
    (void)sub_now(&w, &b, "t", false, &got);
    world_now(&w);
    a.goal = 10; /* no more than there is room for: nobody is told */
    publish_more(&a);
    world_run(&w, 10 * NS_SEC);
    assert_int_equal(a.rooms, 0);
    assert_int_equal(got.count, 10);
    a.goal = 300;
    world_now(&w);
    publish_more(&a);
    assert_true(a.published < 40);
    assert_true(sim_net_run(w.net, sim_net_now(w.net) + 60 * NS_SEC, all_came, &got));
    world_run(&w, NS_SEC);
    assert_int_equal(got.count, 300);
    assert_in_range(a.rooms, 290 / 40, 290 / 8);
    /* After a loss the next connection's queue is empty. */
    sim_net_filter(w.net, drop_all, NULL);
    a.goal = 340;
    a.rooms = 0;
    world_now(&w);
    publish_more(&a);
    assert_true(a.published < a.goal);
    world_run(&w, 60 * NS_SEC);
    assert_int_not_equal(a.state, MACULA_CONNECTED);
    assert_int_equal(a.rooms, 0);
    a.goal = a.published; /* enough */
    sim_net_filter(w.net, NULL, NULL);
    assert_true(world_until(&w, &a.rooms, 60 * NS_SEC));
    assert_int_equal(a.state, MACULA_CONNECTED);
    world_run(&w, 10 * NS_SEC);
    assert_int_equal(a.rooms, 1);
    world_done(&w);
  }
}

/* Nothing of ours is under way, so that no acknowledgement can bring room: time may. */
static void test_room_in_memory(void **state) {
  struct world w = {0};
  struct user a = {.when_room = publish_more, .goal = 1};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &a, (struct client_options){0});
  world_run(&w, NS_SEC);
  world_now(&w);
  w.hubs[0].mem.limit = w.hubs[0].mem.bytes;
  publish_more(&a);
  assert_int_equal(a.published, 0);
  for (int i = 0; i < 20; i++) { /* trying meanwhile puts nothing off */
    world_run(&w, 50 * NS_MS);
    world_now(&w);
    publish_more(&a);
  }
  assert_in_range(a.rooms, 2, 11);
  w.hubs[0].mem.limit = 0;
  world_run(&w, NS_SEC);
  assert_int_equal(a.published, 1);
  world_done(&w);
}

/* A goodbye that nobody acknowledges is waited for as long as the driver says. */
static void test_goodbye(void **state) {
  struct world w = {.goodbye_timeout = 8 * NS_SEC};
  struct user a = {0};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &a, (struct client_options){0});
  sim_net_filter(w.net, drop_all, NULL);
  world_now(&w);
  client_close(a.c, false);
  world_run(&w, 7 * NS_SEC);
  assert_int_equal(a.states[MACULA_CLOSED], 1);
  assert_false(hub_idle(w.hubs[0].hub));
  world_run(&w, 2 * NS_SEC);
  assert_true(hub_idle(w.hubs[0].hub));
  world_done(&w);
}

static bool count_datagrams(void *ctx, const struct addr *from, const struct addr *to, uint8_t *p, size_t len) {
  struct world *w = ctx;
  (void)to, (void)p, (void)len;
  assert_true(!addr_eq(from, &w->hubs[0].at));
  return true;
}

/* macula_abort: the node hears nothing, as if the process had been killed. */
static void test_abort(void **state) {
  struct world w = {0};
  struct user a = {0};
  struct tally got = {0};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &a, (struct client_options){0});
  world_run(&w, NS_SEC);
  sim_net_filter(w.net, count_datagrams, &w);
  assert_int_equal(client_call(a.c, "x", slice_str("1"), NULL, on_result, &got, NULL), 0);
  client_close(a.c, true);
  assert_true(world_until(&w, &a.states[MACULA_CLOSED], NS_SEC));
  assert_int_equal(got.err, MACULA_ECLOSED);
  assert_int_equal(got.done, 1);
  assert_true(hub_idle(w.hubs[0].hub));
  sim_net_filter(w.net, NULL, NULL);
  world_done(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_pubsub),         cmocka_unit_test(test_headers),
                                     cmocka_unit_test(test_calls),          cmocka_unit_test(test_ends),
                                     cmocka_unit_test(test_goodbye),        cmocka_unit_test(test_room),
                                     cmocka_unit_test(test_room_in_memory), cmocka_unit_test(test_abort)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
