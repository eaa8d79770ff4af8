/* Topics by numbers as the library uses them: what is published to again is named by a number, and no program sees it. */
#include "client/internal.h"
#include "client_rig.h"
#include "node/state.h"

struct seen {
  int count, wrong;
  uint8_t id[MACULA_MESSAGE_ID_LEN]; /* the last one's */
};

/* Payloads are their topics. */
static void see(void *ctx, macula_client client, const macula_message *m) {
  static const uint8_t none[MACULA_MESSAGE_ID_LEN];
  struct seen *s = ctx;
  (void)client;
  s->count++;
  s->wrong += strlen(m->topic) != m->len || memcmp(m->topic, m->payload, m->len) != 0;
  s->wrong += memcmp(m->message_id, none, sizeof none) == 0 || memcmp(m->message_id, s->id, sizeof none) == 0;
  memcpy(s->id, m->message_id, sizeof s->id);
}

static void publish(struct world *w, struct user *u, const char *topic, int qos) {
  macula_publish_options o = {MACULA_INIT(macula_publish_options), .qos = qos};
  world_now(w);
  int err = client_publish(u->c, topic, slice_str(topic), &o, NULL, NULL);
  if (err) fail_msg("%s: %s", topic, macula_err_name(err));
}

static void subscribe(struct world *w, struct user *u, const char *pattern, bool own, struct seen *s) {
  world_now(w);
  assert_int_equal(client_subscribe(u->c, pattern, own, see, NULL, NULL, s, NULL), 0);
  world_run(w, NS_SEC);
}

static uint32_t numbered(const struct world *w) { return w->node->sessions.topics.tab.count; }

/* Once is spelled, twice is announced; each message has an id, whether it came with one or not. */
static void test_announced_when_it_comes_again(void **state) {
  struct world w = {0};
  struct user a = {0}, b = {0};
  struct seen seen = {0};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &a, (struct client_options){0});
  user_join(&w, 1, &b, (struct client_options){0});
  subscribe(&w, &a, "t.*", false, &seen);
  for (int i = 0; i < 10; i++) {
    assert_int_equal(numbered(&w), i >= 2);
    publish(&w, &b, "t.x", i % 3 == 2);
    world_run(&w, 100 * NS_MS);
  }
  assert_int_equal(seen.count, 10);
  assert_int_equal(seen.wrong, 0);
  assert_true(b.c->topics && !a.c->topics && a.c->heard);
  /* a new connection begins anew */
  world_node_kill(&w);
  world_run(&w, 40 * NS_SEC);
  world_node(&w);
  b.states[MACULA_CONNECTED] = 0;
  assert_true(world_until(&w, &b.states[MACULA_CONNECTED], 120 * NS_SEC));
  world_run(&w, 60 * NS_SEC);
  for (int i = 0; i < 4; i++) {
    publish(&w, &b, "t.x", i % 2);
    world_run(&w, 100 * NS_MS);
  }
  assert_int_equal(seen.count, 14);
  assert_int_equal(seen.wrong, 0);
  assert_int_equal(numbered(&w), 1);
  world_done(&w);
}

/* Thousands in turn are not worth a number each; a few among them that come again and again are. */
static void test_many_topics(void **state) {
  enum { TOPICS = 5000 };
  struct world w = {0};
  struct user a = {0}, b = {0};
  struct seen seen = {0};
  char topic[32];
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &a, (struct client_options){0});
  user_join(&w, 1, &b, (struct client_options){0});
  subscribe(&w, &a, "t.**", false, &seen);
  for (int i = 0; i < 2 * TOPICS; i++) {
    snprintf(topic, sizeof topic, "t.many.%d", i % TOPICS);
    publish(&w, &b, topic, 0);
    if (i % 100 == 0) world_run(&w, 10 * NS_MS);
  }
  world_run(&w, NS_SEC);
  assert_int_equal(numbered(&w), 0);
  for (int i = 0; i < TOPICS; i++) {
    snprintf(topic, sizeof topic, i % 2 ? "t.few.%d" : "t.many.%d", i % 2 ? i % 16 : i);
    publish(&w, &b, topic, 0);
    if (i % 100 == 0) world_run(&w, 10 * NS_MS);
  }
  world_run(&w, NS_SEC);
  assert_in_range(numbered(&w), 6, 16); /* of eight that came 300 times each, and hardly any other */
  assert_int_equal(seen.count, 3 * TOPICS);
  assert_int_equal(seen.wrong, 0);
  world_done(&w);
}

/* More that come again and again than there are slots: each message has its topic. */
static void test_more_than_slots(void **state) {
  enum { TOPICS = 700 };
  struct world w = {0};
  struct user a = {0}, b = {0};
  struct seen seen = {0};
  char topic[32];
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &a, (struct client_options){0});
  user_join(&w, 1, &b, (struct client_options){0});
  subscribe(&w, &a, "t.**", false, &seen);
  for (int i = 0; i < TOPICS; i++)
    for (int k = 0; k < 6; k++) {
      snprintf(topic, sizeof topic, "t.%d", (i + (k % 3) * 100) % TOPICS);
      publish(&w, &b, topic, 0);
      publish(&w, &b, topic, 0);
      world_run(&w, 5 * NS_MS);
    }
  world_run(&w, NS_SEC);
  assert_in_range(numbered(&w), 200, ANNOUNCE_SLOTS);
  assert_int_equal(seen.count, 12 * TOPICS);
  assert_int_equal(seen.wrong, 0);
  world_done(&w);
}

/* Own messages are known as such without an id. */
static void test_own(void **state) {
  struct world w = {0};
  struct user a = {0};
  struct seen own = {0}, others = {0};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &a, (struct client_options){0});
  subscribe(&w, &a, "t.*", true, &own);
  subscribe(&w, &a, "*.x", false, &others);
  for (int i = 0; i < 6; i++) {
    publish(&w, &a, "t.x", i % 2);
    world_run(&w, 100 * NS_MS);
  }
  assert_int_equal(own.count, 6);
  assert_int_equal(own.wrong, 0);
  assert_int_equal(others.count, 0);
  world_done(&w);
}

/* A node without room for topics takes none: they are spelled. */
static void test_no_room_at_the_node(void **state) {
  struct world w = {.cfg.limits.origin_bytes = 64 << 10};
  struct user a = {0}, b = {0};
  struct seen seen = {0};
  char topic[300];
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &a, (struct client_options){0});
  user_join(&w, 1, &b, (struct client_options){0});
  subscribe(&w, &a, "t.**", false, &seen);
  for (int i = 0; i < 200; i++)
    for (int k = 0; k < 4; k++) {
      snprintf(topic, sizeof topic, "t.%0200d", i);
      publish(&w, &b, topic, 0);
      world_run(&w, 5 * NS_MS);
    }
  assert_in_range(numbered(&w), 20, 70); /* of 200 bytes each, in 16 KiB */
  assert_int_equal(seen.count, 800);
  assert_int_equal(seen.wrong, 0);
  world_done(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_announced_when_it_comes_again),
      cmocka_unit_test(test_many_topics),
      cmocka_unit_test(test_more_than_slots),
      cmocka_unit_test(test_own),
      cmocka_unit_test(test_no_room_at_the_node),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
