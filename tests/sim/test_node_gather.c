/* Who gets a message that very many subscribe to is found, asked and served in slices. `spent` stands for the clock of the
 * loop: no turn has any time, so that each does its least, which is counted. */
#include "flow_rig.h"
#include "mesh_rig.h"
#include "node/check.h"
#include "node/messages/gather.h"
#include "node/session/session.h"
#include "unit/broken.h"

#define MANY 200
#define LOOK 32u                   /* of gather.c and deliver.c: subscribers between two looks at the time */
#define LOOKS 2u                   /* that find time left: a publish takes them to begin, */
#define MORE_LOOKS 4u              /* and so many while others wait, too */
#define SLICE ((LOOKS + 2) * LOOK) /* in a turn, in which it may begin and go on */

struct many {
  struct rig *rig, own;
  struct mesh mesh;
  struct rig_client *pub, *subs[MANY];
  bool hurry; /* no turn has time for more than one look */
  unsigned looks, looked;
  const void *message; /* the one under way, and how far it was in the turn before */
  uint32_t found, at;
  unsigned turns;   /* in which some were found */
  uint32_t largest; /* step of a turn */
};

static bool spent(void *ctx) {
  struct many *m = ctx;
  return m->hurry && m->looked++ >= m->looks;
}

static void did(void *ctx, const char *what) {
  struct many *m = ctx;
  if (!strcmp(what, "interest")) m->looked = 0; /* a step behind those that deliver */
}

static void join_all(struct many *m) {
  for (int i = 0; i < MANY; i++) {
    m->subs[i] = rig_join(m->rig, 0, NULL, STREAMS);
    assert_int_equal(rig_subscribe(m->subs[i], "news"), 0);
  }
}

static struct many *start(struct node_limits limits) {
  struct many *m = calloc(1, sizeof *m);
  struct rig_options o = {.node = {.limits = limits, .process = {.spent = spent, .did = did, .ctx = m}}};
  assert_non_null(m);
  m->looks = LOOKS;
  m->rig = &m->own;
  rig_start(m->rig, &o);
  m->rig->rarely = 15;
  m->pub = rig_join(m->rig, 0, NULL, STREAMS);
  join_all(m);
  return m;
}

static void stop(struct many *m) {
  if (m->mesh.count)
    mesh_stop(&m->mesh);
  else
    rig_stop(m->rig);
  free(m);
}

static void say(struct rig_client *c, const char *payload, uint64_t id, bool retain) {
  uint8_t message_id[CALL_ID_LEN] = {0};
  memcpy(message_id, &id, sizeof id);
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_str("news"),
                              .payload = slice_str(payload),
                              .qos = 1,
                              .retain = retain,
                              .message_id = slice_of(message_id, sizeof message_id),
                              .ref = id,
                              .has_ref = true}};
  rig_send_by_one_way(c, &m);
}

static void note_step(struct many *m, uint32_t step) {
  if (step > m->largest) m->largest = step;
}

/* Called after each turn. */
static void watch(struct many *m) {
  const struct delivery *d = m->rig->node->messages.rest;
  if (d != m->message) m->found = m->at = 0;
  m->message = d;
  if (!d) return;
  m->turns += d->count > m->found;
  note_step(m, d->count - m->found);
  if (!d->g) note_step(m, d->at > m->at ? d->at - m->at : 0);
  m->found = d->count;
  m->at = d->g ? 0 : d->at;
}

static bool is_finding(void *ctx) {
  struct many *m = ctx;
  watch(m);
  return gather_is_on(m->rig->node);
}
static bool is_over(void *ctx) {
  struct many *m = ctx;
  watch(m);
  return !m->rig->node->messages.rest;
}
static bool are_acked(void *ctx) {
  struct many *m = ctx;
  watch(m);
  return m->pub->counts[MSG_ACK] >= 10;
}

static void hears(struct rig_client *c, const char *payload) {
  struct msg got = rig_expect(c, MSG_PUBLISH);
  assert_true(slice_is(got.publish.payload, payload));
}

/* No turn finds, or serves, more than one slice; all get all, in order, and the publisher is told after the last copy. */
static void test_in_slices(void **state) {
  struct many *m = start((struct node_limits){0});
  char payload[16];
  (void)state;
  m->hurry = true;
  for (uint64_t i = 1; i <= 10; i++) {
    snprintf(payload, sizeof payload, "%llu", (unsigned long long)i);
    say(m->pub, payload, i, false);
  }
  rig_until(m->rig, NS_SEC, is_finding, m, "a slice of those who are found");
  assert_int_equal(m->pub->counts[MSG_ACK], 0);
  for (int i = 0; i < MANY; i++) assert_int_equal(m->subs[i]->counts[MSG_PUBLISH], 0);
  rig_until(m->rig, 10 * NS_SEC, are_acked, m, "the last acknowledgement");
  assert_true(m->turns >= 10 * 2);
  assert_in_range(m->largest, LOOK, SLICE);
  assert_int_equal(m->rig->node->stats.delivered, 10 * MANY);
  rig_run(m->rig, NS_SEC);
  for (uint64_t i = 1; i <= 10; i++) {
    struct msg ack = rig_expect(m->pub, MSG_ACK);
    assert_true(ack.ack.ref == i && !ack.ack.code.n && !msg_is_partly(&ack.ack.partly));
    snprintf(payload, sizeof payload, "%llu", (unsigned long long)i);
    for (int k = 0; k < MANY; k++) hears(m->subs[k], payload);
  }
  for (int k = 0; k < MANY; k++) assert_int_equal(m->subs[k]->counts[MSG_PUBLISH], 10);
  stop(m);
}

/* Who comes meanwhile has a retained message once, in whichever way; who goes is left out; all others have their copy. */
static void test_who_comes_and_goes(void **state) {
  struct many *m = start((struct node_limits){0});
  static const char *const patterns[] = {"news", "**", "*", "other"};
  struct rig_client *late[4];
  (void)state;
  for (int i = 0; i < 4; i++) late[i] = rig_join(m->rig, 0, NULL, STREAMS);
  m->hurry = true;
  say(m->pub, "kept", 1, true);
  rig_until(m->rig, NS_SEC, is_finding, m, "a slice of those who are found");
  for (int i = 0; i < 4; i++) {
    struct slice topic = slice_str(patterns[i]);
    rig_send(late[i], &(struct msg){.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &topic}, .qos = 1}});
  }
  struct slice news = slice_str("news");
  rig_send(m->subs[0], &(struct msg){.type = MSG_UNSUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &news}}});
  session_cut(clients_of_session(&m->rig->node->sessions.clients, m->rig->node->messages.rest->to[0])->user, MACULA_EIO);
  rig_until(m->rig, 10 * NS_SEC, is_over, m, "the last copy");
  rig_run(m->rig, 2 * NS_SEC);
  assert_int_equal(rig_expect(m->pub, MSG_ACK).ack.ref, 1);
  for (int i = 0; i < 4; i++) assert_int_equal(late[i]->counts[MSG_PUBLISH], i < 3);
  unsigned heard = 0;
  for (int i = 1; i < MANY; i++) {
    heard += m->subs[i]->counts[MSG_PUBLISH] == 1;
    assert_true(m->subs[i]->counts[MSG_PUBLISH] <= 1);
  }
  assert_in_range(heard, MANY - 2, MANY - 1);
  stop(m);
}

/* A publisher that ends before its message was read has published nothing; others go on. */
static void test_publisher_ends(void **state) {
  struct many *m = start((struct node_limits){0});
  (void)state;
  struct rig_client *other = rig_join(m->rig, 0, NULL, STREAMS);
  m->hurry = true;
  say(m->pub, "never", 1, true);
  rig_until(m->rig, NS_SEC, is_finding, m, "a slice of those who are found");
  say(other, "other", 2, false);
  list_for(it, &m->rig->node->sessions.all) {
    struct session *s = container_of(it, struct session, all);
    if (memcmp(s->client.instance, m->pub->instance, INSTANCE_LEN) == 0) session_cut(s, MACULA_EIO);
  }
  rig_run(m->rig, 2 * NS_SEC);
  for (int i = 0; i < MANY; i++) {
    assert_int_equal(m->subs[i]->counts[MSG_PUBLISH], 1);
    hears(m->subs[i], "other");
  }
  assert_int_equal(rig_expect(other, MSG_ACK).ack.ref, 2);
  assert_int_equal(retained_count(&m->rig->node->messages.retained), 0);
  say(other, "never given out", 3, false);
  rig_until(m->rig, NS_SEC, is_finding, m, "a slice of those who are found");
  stop(m); /* and a node that ends frees what it has found */
}

/* Without memory for a list all are found and served at once, and that is counted. */
static void test_no_memory(void **state) {
  struct many *m = start((struct node_limits){0});
  (void)state;
  m->hurry = true;
  m->rig->node->rows.mem[ROW_FANOUT].limit = 1;
  say(m->pub, "whole", 1, false);
  assert_int_equal(rig_expect(m->pub, MSG_ACK).ack.ref, 1);
  for (int i = 0; i < MANY; i++) hears(m->subs[i], "whole");
  assert_true(m->rig->node->stats.fanouts_whole >= 1);
  assert_int_equal(m->rig->node->stats.fanouts_sliced, 0);
  stop(m);
}

/* They are found in slices, and then there is no memory to keep the message: they have it at once. */
static void test_no_memory_to_keep(void **state) {
  struct many *m = start((struct node_limits){0});
  (void)state;
  m->hurry = true;
  say(m->pub, "whole", 1, false);
  rig_until(m->rig, NS_SEC, is_finding, m, "a slice of those who are found");
  m->rig->node->rows.mem[ROW_FANOUT].limit = m->rig->node->rows.mem[ROW_FANOUT].bytes;
  assert_int_equal(rig_expect(m->pub, MSG_ACK).ack.code.n, 0);
  for (int i = 0; i < MANY; i++) hears(m->subs[i], "whole");
  assert_int_equal(m->rig->node->stats.fanouts_whole, 1);
  stop(m);
}

/* Two publishers, each faster than the slow one of their many readers, while accounts allow: they take turns, and nobody loses
 * anything. */
static void all_get(struct many *m, struct rig_client *other, int count) {
  struct readers flow;
  flow_init(&flow, m->rig->net);
  (void)slow_down(&flow, m->subs[MANY / 2], 600 << 10);
  m->looks = MORE_LOOKS;
  m->hurry = true;
  flood(&flow, m->pub, "news", count);
  flood(&flow, other, "news", count);
  (void)until(&flow, m->subs[MANY / 2], MSG_PUBLISH, 2 * (uint64_t)count, 60 * NS_SEC);
  (void)run(&flow, 2 * NS_SEC, NULL, NULL);
  for (int i = 0; i < MANY; i++) assert_int_equal(m->subs[i]->counts[MSG_PUBLISH], 2 * count);
  assert_int_equal(rig_metric(m->rig, "messages_dropped_total"), 0);
  assert_int_equal(rig_metric(m->rig, "publishers_waiting"), 0);
}

static void test_slow_reader(void **state) {
  struct many *m = start((struct node_limits){.client_queue = 64 << 10, .send_pool = 4 << 20});
  (void)state;
  all_get(m, rig_join(m->rig, 0, NULL, STREAMS), 200);
  assert_true(rig_metric(m->rig, "publishers_held_total") > 0);
  assert_true(m->rig->node->stats.fanouts_sliced > 0);
  stop(m);
}

/* The same from another node, whose publisher is told to wait. */
static void test_from_another_node(void **state) {
  struct many *m = calloc(1, sizeof *m);
  struct rig_options o = {
      .node = {.limits = {.client_queue = 64 << 10, .send_pool = 4 << 20}, .process = {.spent = spent, .did = did, .ctx = m}}};
  (void)state;
  assert_non_null(m);
  m->looks = LOOKS;
  mesh_start_joined(&m->mesh, 2, &o);
  for (unsigned i = 0; i < 2; i++) m->mesh.rig[i].rarely = 15;
  m->rig = &m->mesh.rig[1];
  m->pub = rig_join(&m->mesh.rig[0], 0, NULL, STREAMS);
  join_all(m);
  mesh_settle(&m->mesh);
  m->hurry = true;
  say(m->pub, "first", 1, true);
  rig_until(m->rig, NS_SEC, is_finding, m, "a slice of those who are found");
  rig_until(m->rig, 10 * NS_SEC, is_over, m, "the last copy");
  assert_in_range(m->largest, LOOK, SLICE + LOOKS * LOOK); /* the other node has its turn meanwhile */
  assert_int_equal(rig_expect(m->pub, MSG_ACK).ack.ref, 1);
  for (int i = 0; i < MANY; i++) {
    hears(m->subs[i], "first");
    m->subs[i]->counts[MSG_PUBLISH] = 0;
  }
  struct readers flow;
  flow_init(&flow, m->rig->net);
  (void)slow_down(&flow, m->subs[MANY / 2], 20 << 10);
  m->looks = MORE_LOOKS;
  m->hurry = true;
  flood(&flow, m->pub, "news", 200);
  (void)run(&flow, 3 * NS_SEC, NULL, NULL);
  for (int i = 0; i < MANY; i++)
    if (i != MANY / 2) assert_int_equal(m->subs[i]->counts[MSG_PUBLISH], 200);
  assert_true(rig_metric(m->rig, "paces_said_total") > 0);
  stop(m);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_in_slices),         cmocka_unit_test(test_who_comes_and_goes),
                                     cmocka_unit_test(test_publisher_ends),    cmocka_unit_test(test_no_memory),
                                     cmocka_unit_test(test_no_memory_to_keep), cmocka_unit_test(test_slow_reader),
                                     cmocka_unit_test(test_from_another_node)};
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
