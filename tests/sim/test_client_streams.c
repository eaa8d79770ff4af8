/* Deliveries that the user holds, and what libmacula does about publishes that the node holds. */
#include "client_rig.h"

static void publish_many(struct world *w, struct user *u, const char *topic, int count) {
  char text[900];
  for (int i = 1; i <= count; i++) {
    memset(text, ' ', sizeof text);
    text[sizeof text - 1] = 0;
    text[snprintf(text, sizeof text, "%d", i)] = ' ';
    world_now(w);
    assert_int_equal(client_publish(u->c, topic, slice_str(text), NULL, NULL, NULL), 0);
    if (i % 100 == 0) world_run(w, 5 * NS_MS);
  }
  world_run(w, 500 * NS_MS);
}

/* Nothing is delivered while held, calls and confirmations go on, and then all comes, in order. */
static void test_hold(void **state) {
  struct world w = {0};
  struct user pub = {0}, sub = {0};
  struct tally got = {0}, echo = {0}, result = {0};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &pub, (struct client_options){0});
  user_join(&w, 1, &sub, (struct client_options){0});
  sub_now(&w, &sub, "t", false, &got);
  serve_now(&w, &sub, "echo", 0, &echo);
  client_hold_deliveries(sub.c);
  client_hold_deliveries(sub.c);
  publish_many(&w, &pub, "t", 1500); /* more than the stream's window */
  assert_int_equal(got.count, 0);
  assert_int_equal(call_now(&w, &pub, "echo", "7", &result), 0);
  assert_string_equal(result.last, "7");
  assert_int_equal(publish_now(&w, &sub, "other", "x", 1), 0);
  world_now(&w);
  client_resume_deliveries(sub.c);
  world_run(&w, NS_SEC);
  assert_int_equal(got.count, 1500);
  assert_int_equal(got.sum, 1500 * 1501 / 2);
  client_hold_deliveries(sub.c); /* and once more, with less */
  publish_many(&w, &pub, "t", 3);
  assert_int_equal(got.count, 1500);
  world_now(&w);
  client_resume_deliveries(sub.c);
  world_run(&w, NS_SEC);
  assert_int_equal(got.count, 1503);
  world_done(&w);
}

static struct user *holder;
static void hold_at_each(void *ctx, macula_client client, const macula_message *m) {
  on_message(ctx, client, m);
  client_hold_deliveries(holder->c);
}

/* A hold within a callback: not one message more. */
static void test_hold_within(void **state) {
  struct world w = {0};
  struct user pub = {0}, sub = {0};
  struct tally got = {0}, done = {0};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &pub, (struct client_options){0});
  user_join(&w, 1, &sub, (struct client_options){0});
  holder = &sub;
  world_now(&w);
  assert_int_equal(client_subscribe(sub.c, "t", false, hold_at_each, on_done, &done, &got, NULL), 0);
  assert_true(world_until(&w, &done.done, 5 * NS_SEC));
  publish_many(&w, &pub, "t", 20);
  for (int i = 1; i <= 20; i++) {
    assert_int_equal(got.count, i);
    world_now(&w);
    client_resume_deliveries(sub.c);
    world_run(&w, 100 * NS_MS);
  }
  assert_int_equal(got.sum, 210);
  world_done(&w);
}

/* Messages and a goodbye in one go: the node reads all of it. */
static void test_goodbye(void **state) {
  struct world w = {0};
  struct user pub = {0}, sub = {0};
  struct tally got = {0};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &pub, (struct client_options){0});
  user_join(&w, 1, &sub, (struct client_options){0});
  sub_now(&w, &sub, "t", false, &got);
  world_now(&w);
  char text[1000];
  memset(text, ' ', sizeof text);
  text[sizeof text - 1] = 0;
  text[0] = '1';
  for (int i = 0; i < 300; i++) assert_int_equal(client_publish(pub.c, "t", slice_str(text), NULL, NULL, NULL), 0);
  client_close(pub.c, false);
  world_run(&w, 500 * NS_MS);
  assert_int_equal(got.count, 300);
  assert_true(quic_is_silent(hub_quic(w.hubs[0].hub)));
  world_done(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_hold),
      cmocka_unit_test(test_hold_within),
      cmocka_unit_test(test_goodbye),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
