/* No turn takes long: what many get is given out in slices, and nothing is lost, doubled or out of order by that. `spent`
 * stands for the clock of the loop: the time of a turn is over with its first slice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/session/session.h"
#include "node_rig.h"

#define MANY 150

struct many {
  struct rig rig;
  struct rig_client *pub, *subs[MANY];
  uint64_t delivered;
  bool always; /* no turn has any time */
  bool lost;
};

static bool spent(void *ctx) {
  struct many *m = ctx;
  const struct node *n = m->rig.node;
  bool first = n->stats.delivered == m->delivered;
  m->delivered = n->stats.delivered;
  return m->always || n->messages.rest || !first;
}

static void start(struct many *m, struct node_limits limits) {
  struct rig_options o = {.node = {.limits = limits, .process = {.spent = spent, .ctx = m}}};
  *m = (struct many){0};
  rig_start(&m->rig, &o);
  m->pub = rig_join(&m->rig, 0, NULL, RIG_EXT);
  for (int i = 0; i < MANY; i++) {
    m->subs[i] = rig_join(&m->rig, 0, NULL, RIG_EXT);
    assert_int_equal(rig_subscribe(m->subs[i], "news"), 0);
  }
}

static bool is_under_way(void *ctx) { return ((struct many *)ctx)->rig.node->messages.rest; }
static bool is_over(void *ctx) { return !is_under_way(ctx); }

static void publish(struct rig_client *c, const char *payload, uint64_t id) {
  uint8_t message_id[CALL_ID_LEN] = {0};
  memcpy(message_id, &id, sizeof id);
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_str("news"),
                              .payload = slice_str(payload),
                              .qos = 1,
                              .message_id = slice_of(message_id, sizeof message_id),
                              .ref = id,
                              .has_ref = true}};
  rig_send(c, &m);
}

/* Runs until some have their copies and others have not. */
static void begin(struct many *m, const char *payload, uint64_t id) {
  publish(m->pub, payload, id);
  rig_until(&m->rig, NS_SEC, is_under_way, m, "a slice of the message");
  const struct delivery *d = m->rig.node->messages.rest;
  assert_in_range(d->count - d->at, 1, MANY - 1);
}

static void hears(struct rig_client *c, const char *payload) {
  struct msg got = rig_expect(c, MSG_PUBLISH);
  assert_true(slice_is(got.publish.payload, payload));
}

/* The acknowledgement comes after the last copy, whatever else is published meanwhile; each hears each message once, and those
 * of one publisher in order. */
static void test_in_slices(void **state) {
  struct many *m = malloc(sizeof *m);
  char payload[16];
  (void)state;
  start(m, (struct node_limits){0});
  struct rig_client *other = rig_join(&m->rig, 0, NULL, RIG_EXT);
  begin(m, "first", 1);
  publish(other, "other", 77);
  for (uint64_t i = 2; i <= 20; i++) {
    snprintf(payload, sizeof payload, "%llu", (unsigned long long)i);
    publish(m->pub, payload, i);
  }
  assert_int_equal(m->pub->counts[MSG_ACK], 0);
  rig_until(&m->rig, NS_SEC, is_over, m, "the last copy");
  assert_int_equal(m->rig.node->stats.delivered, MANY);
  assert_int_equal(rig_expect(m->pub, MSG_ACK).ack.ref, 1);
  rig_run(&m->rig, NS_SEC);
  assert_int_equal(rig_expect(other, MSG_ACK).ack.ref, 77);
  for (uint64_t i = 2; i <= 20; i++) assert_int_equal(rig_expect(m->pub, MSG_ACK).ack.ref, i);
  for (int i = 0; i < MANY; i++) {
    assert_int_equal(m->subs[i]->counts[MSG_PUBLISH], 21);
    for (int k = 0, next = 2, of_other = 0; k < 21; k++) {
      struct msg got = rig_expect(m->subs[i], MSG_PUBLISH);
      snprintf(payload, sizeof payload, "%d", next);
      if (slice_is(got.publish.payload, "other")) {
        assert_int_equal(of_other++, 0);
      } else if (k) {
        assert_true(slice_is(got.publish.payload, payload));
        next++;
      } else {
        assert_true(slice_is(got.publish.payload, "first"));
      }
    }
  }
  assert_in_range(rig_metric(&m->rig, "messages_sliced_total"), 21, 21);
  rig_stop(&m->rig);
  free(m);
}

/* Who leaves before its turn comes gets nothing, who comes then gets nothing either, and all others have their copy. */
static void test_who_goes_and_comes(void **state) {
  struct many *m = malloc(sizeof *m);
  uint64_t heard = 0;
  (void)state;
  start(m, (struct node_limits){0});
  struct rig_client *late = rig_join(&m->rig, 0, NULL, RIG_EXT);
  begin(m, "first", 1);
  const struct delivery *d = m->rig.node->messages.rest;
  uint64_t last = d->to[d->count - 1];
  struct clients_entry *e = clients_of_session(&m->rig.node->sessions.clients, last);
  session_cut(e->user, MACULA_SLOW_CONSUMER);
  struct slice all = slice_str("**");
  rig_send(late, &(struct msg){.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &all}}});
  rig_until(&m->rig, NS_SEC, is_over, m, "the last copy");
  rig_run(&m->rig, NS_SEC);
  for (int i = 0; i < MANY; i++) heard += m->subs[i]->counts[MSG_PUBLISH];
  assert_int_equal(heard, MANY - 1);
  assert_int_equal(late->counts[MSG_PUBLISH], 0);
  assert_int_equal(rig_expect(m->pub, MSG_ACK).ack.ref, 1);
  rig_stop(&m->rig);
  free(m);
}

/* The publisher's end cuts nothing short. A payload that all copies share is freed with the last. */
static void test_publisher_ends(void **state) {
  struct many *m = malloc(sizeof *m);
  static char large[5000];
  (void)state;
  start(m, (struct node_limits){0});
  memset(large, 'x', sizeof large - 1);
  begin(m, large, 1);
  rig_send(m->pub, &(struct msg){.type = MSG_DISCONNECT, .disconnect = {.reason = slice_str("normal")}});
  session_cut(clients_of_session(&m->rig.node->sessions.clients, m->rig.node->messages.rest->end.session)->user, MACULA_EIO);
  rig_until(&m->rig, NS_SEC, is_over, m, "the last copy");
  rig_run(&m->rig, NS_SEC);
  for (int i = 0; i < MANY; i++) hears(m->subs[i], large);
  rig_stop(&m->rig);
  free(m);
}

/* Without memory for the list all is given out at once, and counted. A node that ends in between frees what it has. */
static void test_ends(void **state) {
  struct many *m = malloc(sizeof *m);
  (void)state;
  start(m, (struct node_limits){0});
  m->rig.node->rows.mem[ROW_FANOUT].limit = 1;
  publish(m->pub, "whole", 1);
  assert_int_equal(rig_expect(m->pub, MSG_ACK).ack.ref, 1);
  assert_int_equal(rig_metric(&m->rig, "messages_sliced_total"), 0);
  assert_int_equal(m->rig.node->stats.fanouts_whole, 1);
  for (int i = 0; i < MANY; i++) hears(m->subs[i], "whole");
  m->rig.node->rows.mem[ROW_FANOUT].limit = 100000;
  begin(m, "never heard by all", 2);
  rig_stop(&m->rig);
  free(m);
}

static void subscribe_to(struct rig_client *c, const char *prefix, uint64_t from, uint64_t count) {
  char name[32];
  struct slice topic;
  struct msg m = {.type = MSG_SUBSCRIBE, .subscribe = {.has_ref = true}};
  for (uint64_t i = from; i < from + count; i++) {
    snprintf(name, sizeof name, "%s.%llu", prefix, (unsigned long long)i);
    topic = slice_str(name);
    m.subscribe.topics = (struct msg_list){.count = 1, .items = &topic};
    m.subscribe.ref = i;
    rig_send(c, &m);
  }
}

static bool is_frame_left(void *ctx) { return !list_empty(&((struct many *)ctx)->rig.node->receive.later[LATER_OTHERS]); }

static uint32_t subscriptions(const struct many *m) {
  struct topic_index_stats stats;
  topic_index_stats(m->rig.node->messages.topics, &stats);
  return stats.subscriptions;
}

static bool first_is_lost(void *ctx, const struct addr *from, const struct addr *to, uint8_t *datagram, size_t len) {
  struct many *m = ctx;
  (void)from, (void)datagram;
  bool lost = !m->lost && len > 500 && addr_eq(to, &m->rig.addr);
  m->lost |= lost;
  return !lost;
}

/* Behind a lost packet much comes in one go. Each frame is handled, in order. */
static void test_frames_in_slices(void **state) {
  struct many *m = malloc(sizeof *m);
  (void)state;
  start(m, (struct node_limits){0});
  struct rig_client *other = rig_join(&m->rig, 0, NULL, RIG_EXT);
  m->always = true;
  sim_net_filter(m->rig.net, first_is_lost, m);
  subscribe_to(other, "own", 1000, 400);
  rig_until(&m->rig, NS_SEC, is_frame_left, m, "frames that are left for the next turn");
  assert_in_range(subscriptions(m), MANY + 1, MANY + 399);
  rig_run(&m->rig, NS_SEC);
  assert_false(is_frame_left(m));
  assert_int_equal(subscriptions(m), MANY + 400);
  for (uint64_t i = 0; i < 400; i++) assert_int_equal(rig_expect(other, MSG_ACK).ack.ref, 1000 + i);
  rig_stop(&m->rig);
  free(m);
}

static bool is_leaving(void *ctx) { return topic_index_is_leaving(((struct many *)ctx)->rig.node->messages.topics); }
static bool has_left(void *ctx) { return !is_leaving(ctx); }

/* A client with very many patterns ends: others go on at once, and at last nothing is left of it. */
static void test_patterns_in_slices(void **state) {
  struct many *m = malloc(sizeof *m);
  struct interest_stats stats;
  (void)state;
  start(m, (struct node_limits){.client_subscriptions = 3000});
  struct rig_client *large = rig_join(&m->rig, 0, NULL, RIG_EXT);
  for (int i = 0; i < 5; i++) {
    subscribe_to(large, "large", (uint64_t)i * 300, 300);
    rig_run(&m->rig, NS_SEC);
  }
  assert_int_equal(subscriptions(m), MANY + 1500);
  m->always = true;
  rig_send(large, &(struct msg){.type = MSG_DISCONNECT, .disconnect = {.reason = slice_str("normal")}});
  rig_until(&m->rig, NS_SEC, is_leaving, m, "patterns that are left for the next turn");
  assert_int_equal(m->rig.node->sessions.clients.count, MANY + 1);
  rig_until(&m->rig, NS_SEC, has_left, m, "the last of them");
  m->always = false;
  assert_int_equal(subscriptions(m), MANY);
  interest_stats(m->rig.node->spread.interest, &stats);
  assert_int_equal(stats.own, 1);
  assert_int_equal(rig_publish(m->pub, "large.7", "nobody hears it", 1, false, 5), 0);
  rig_stop(&m->rig);
  free(m);
}

/* Retained messages come in slices, all and each once. */
static void test_replay_in_slices(void **state) {
  struct many *m = malloc(sizeof *m);
  char topic[16];
  (void)state;
  start(m, (struct node_limits){0});
  for (uint64_t i = 0; i < 300; i++) {
    snprintf(topic, sizeof topic, "kept.%llu", (unsigned long long)i);
    assert_int_equal(rig_publish(m->pub, topic, "x", 1, true, 100 + i), 0);
  }
  struct rig_client *late[2];
  for (int i = 0; i < 2; i++) late[i] = rig_join(&m->rig, 0, NULL, RIG_EXT);
  m->always = true;
  assert_int_equal(rig_subscribe(late[0], "kept.*"), 0);
  assert_int_equal(rig_subscribe(late[1], "**"), 0);
  rig_run(&m->rig, NS_SEC);
  for (int i = 0; i < 2; i++) assert_int_equal(late[i]->counts[MSG_PUBLISH], 300);
  rig_run(&m->rig, NS_SEC);
  for (int i = 0; i < 2; i++) assert_int_equal(late[i]->counts[MSG_PUBLISH], 300);
  rig_stop(&m->rig);
  free(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_in_slices),        cmocka_unit_test(test_who_goes_and_comes),
                                     cmocka_unit_test(test_publisher_ends),   cmocka_unit_test(test_ends),
                                     cmocka_unit_test(test_frames_in_slices), cmocka_unit_test(test_patterns_in_slices),
                                     cmocka_unit_test(test_replay_in_slices)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
