/* Clients of MQTT that take nothing: how long others wait for them, and what becomes of their sessions when memory is short. */
#include "mqtt_rig.h"
#include "node/session/session.h"

#define LARGE 100000u /* more than DOOR_UNSENT, so that a queue fills in a few messages */
#define SMALL 16000u

static char *text(size_t len) {
  char *s = malloc(len + 1);
  memset(s, 'x', len);
  s[len] = 0;
  return s;
}

/* ---- one that stands still -------------------------------------------------------------------------------------------------
 */
/* A publisher with QoS 1 waits for it once, however often its queue fills; what is overdue goes to its session. */
static void test_waited_for_once(void **state) {
  struct rig r;
  char *large = text(LARGE);
  (void)state;
  start(&r, NULL);
  struct rig_client *p = rig_join(&r, 0, NULL, RIG_EXT);
  struct wire *w = plain(&r, MQTT_5, "still");
  subscribe(w, "t", 1);
  ALL(&r, w);
  happened(w, "SUBACK 01");
  w->room = 0;
  w->quiet = true;
  nanotime began = sim_net_now(r.net);
  for (uint64_t i = 1; i <= 60; i++) assert_int_equal(rig_publish(p, "t", large, 1, false, i), 0);
  nanotime took = time_since(sim_net_now(r.net), began);
  printf("60 messages beside one that stands still: %.2f s\n", (double)took / 1e9);
  assert_true(took < 10 * NS_SEC);
  /* it reads again: others wait for it again, and all that its session has kept comes */
  w->room = sizeof w->out;
  for (int i = 0; i < 400 && !w->gone; i++) {
    w->short_once = false;
    w->owner.room(w->owner.ctx, &w->s, sim_net_now(r.net));
    ALL(&r, w);
  }
  assert_in_range(w->published, 20, 60);
  assert_false(w->gone);
  lose(w);
  free(large);
  rig_stop(&r);
}

/* ---- memory is short -------------------------------------------------------------------------------------------------------
 */
struct shed {
  struct rig r;
  struct wire *w;
};
static bool is_gone(void *ctx) {
  struct shed *t = ctx;
  return t->w->gone;
}

#define MESSAGES 170
/* It acknowledges nothing while the send pool fills: it is told, and a session that outlives its connection keeps what was on
 * its way. */
static void shed(enum mqtt_level level, uint32_t expiry) {
  struct shed t;
  struct connect c = {.client = "slow", .clean = !expiry, .expiry = level == MQTT_5 ? expiry : 0};
  struct rig_options o = {.node = {.limits = {.send_pool = 2 << 20, .client_queue = 8 << 20, .mqtt_pool = 128 << 20}}};
  char *small = text(SMALL);
  start(&t.r, &o);
  struct rig_client *p = rig_join(&t.r, 0, NULL, RIG_EXT);
  struct wire *w = t.w = join(&t.r, level, &c, "CONNACK 00");
  subscribe(w, "t", 1);
  ALL(&t.r, w);
  happened(w, "SUBACK 01");
  w->no_acks = w->quiet = true;
  for (int i = 0; i < MESSAGES; i++) {
    rig_publish_only(p, "t", slice_of(small, SMALL), 1);
    ALL(&t.r, w);
    if (w->published == 32) w->quiet = false; /* no more come */
  }
  assert_int_equal(w->published, 32);
  rig_until(&t.r, 20 * NS_SEC, is_gone, &t, "it is let go");
  drain(w);
  happened(w, level == MQTT_5 ? "DISCONNECT 97|(slow_consumer: messages were read too slowly and the send queue is full)" : "");
  assert_int_equal(rig_metric(&t.r, "slow_consumers_shed_total"), 1);
  free(w);
  rig_run(&t.r, NS_SEC);
  assert_int_equal(rig_metric(&t.r, "table_entries{table=\"mqtt\"}"), expiry ? 1 : 0);
  assert_int_equal(rig_metric(&t.r, "mqtt_offline"), expiry ? 1 : 0);
  if (expiry) {
    w = wire_new(&t.r, level);
    w->quiet = true;
    say_connect(w, &c);
    for (int i = 0; i < 400 && w->published < MESSAGES; i++) ALL(&t.r, w);
    assert_int_equal(w->published, MESSAGES);
    leave(w);
  }
  free(small);
  rig_stop(&t.r);
}

static void test_shed(void **state) {
  (void)state;
  shed(MQTT_5, 1000);
  shed(MQTT_3_1_1, 1000);
  shed(MQTT_5, 0);
}

/* ---- it comes again ---------------------------------------------------------------------------------------------------------
 */
#define TAKEN_OVER 50 /* messages: less than client_queue, and much more than DOOR_UNSENT beyond the window of 32 */

/* Before the node has noticed that its connection is lost: what waits for it comes by the new one, in order. */
static void taken_over(enum mqtt_level level, uint8_t qos) {
  struct rig r;
  struct connect c = {.client = "again", .expiry = level == MQTT_5 ? 1000 : 0};
  char *small = text(SMALL);
  start(&r, NULL);
  struct rig_client *p = rig_join(&r, 0, NULL, RIG_EXT);
  struct wire *old = join(&r, level, &c, "CONNACK 00");
  subscribe(old, "t", qos);
  ALL(&r, old);
  happened(old, "SUBACK 01");
  old->no_acks = old->quiet = true;
  for (int i = 0; i < TAKEN_OVER; i++) {
    rig_publish_only(p, "t", slice_of(small, SMALL), 1);
    ALL(&r, old);
  }
  assert_int_equal(old->published, 32);
  struct wire *w = wire_new(&r, level);
  w->quiet = true;
  say_connect(w, &c);
  for (int i = 0; i < 400 && w->published < TAKEN_OVER; i++) ALL(&r, w);
  assert_int_equal(w->published, TAKEN_OVER);
  assert_int_equal(rig_metric(&r, "mqtt_messages_lost_total"), 0);
  lose(old);
  leave(w);
  free(small);
  rig_stop(&r);
}

static void test_taken_over(void **state) {
  (void)state;
  taken_over(MQTT_5, 1);
  taken_over(MQTT_3_1_1, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_waited_for_once), cmocka_unit_test(test_shed),
                                     cmocka_unit_test(test_taken_over)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
