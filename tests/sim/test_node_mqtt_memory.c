/* Where the memory of clients of MQTT is planned: in slots that QUIC does not need, and in what is free of send_pool. */
#include "mqtt_rig.h"
#include "node/doors/mqtt_state.h"
#include "node/memory/lend.h"

#define MIB ((size_t)1 << 20)

/* Of all rows' accounts: what they may hold. */
static uint64_t limits(const struct node *n) {
  uint64_t sum = 0;
  for (int i = 0; i < ROW_COUNT; i++) sum += n->rows.account[i]->limit;
  return sum;
}

/* A client's slot is planned as one of QUIC; whoever comes by MQTT takes of that what it needs, and gives it back. */
static void test_slots(void **state) {
  struct rig r;
  struct wire *w[20];
  char name[8];
  (void)state;
  start(&r, NULL);
  const struct rows *rows = &r.node->rows;
  uint64_t before = limits(r.node), mqtt = rows->mem[ROW_MQTT].limit, quic = rows->mem[ROW_QUIC].limit;
  for (int i = 0; i < 20; i++) {
    snprintf(name, sizeof name, "c%d", i);
    w[i] = join(&r, MQTT_5, &(struct connect){.client = name, .expiry = 10}, "CONNACK 00");
    assert_int_equal(rows->mem[ROW_MQTT].limit, mqtt + (uint64_t)(i + 1) * PLAN_MQTT_CLIENT);
  }
  assert_int_equal(rows->mem[ROW_QUIC].limit, quic - 20 * (uint64_t)(PLAN_MQTT_CLIENT + PLAN_TCP_SLOT));
  assert_int_equal(limits(r.node), before - 20 * (uint64_t)PLAN_TCP_SLOT);
  for (int i = 0; i < 20; i++) lose(w[i]);
  assert_int_equal(rows->lent.slots, 20); /* their sessions wait for them */
  rig_run(&r, 11 * NS_SEC);
  settle(&r);
  settle(&r);
  assert_int_equal(rows->lent.slots, 0);
  assert_int_equal(limits(r.node), before);
  rig_stop(&r);
}

/* What an idle client takes is less than what its slot has for it. */
static void test_idle(void **state) {
  struct rig r;
  struct wire *w[64];
  char name[8];
  (void)state;
  start(&r, NULL);
  const struct mem *m = &r.node->rows.mem[ROW_MQTT];
  struct wire *first = plain(&r, MQTT_5, "first"); /* tables that grow */
  size_t before = m->bytes;
  for (int i = 0; i < 64; i++) {
    snprintf(name, sizeof name, "c%d", i);
    w[i] = plain(&r, MQTT_5, name);
  }
  size_t each = (m->bytes - before) / 64;
  print_message("%zu bytes an idle client, beside its session of the node and its stream\n", each);
  assert_true(each + 512 < PLAN_MQTT_CLIENT);
  for (int i = 0; i < 64; i++) leave(w[i]);
  leave(first);
  rig_stop(&r);
}

/* mqtt_pool is a part of send_pool, at most a quarter, that neither keeps from the other without need. */
static void test_borrowed(void **state) {
  struct rig r;
  (void)state;
  start(&r, &(struct rig_options){.node = {.limits = {.send_pool = 32 * MIB, .mqtt_pool = 8 * MIB}}});
  struct mem *mqtt = &r.node->rows.mem[ROW_MQTT], *send = &r.node->rows.mem[ROW_SEND];
  const struct lent *lent = &r.node->rows.lent;
  uint64_t before = limits(r.node);
  assert_int_equal(plan_mqtt_own(&r.node->limits) + plan_mqtt_borrowed(&r.node->limits), 8 * MIB);
  void *some = mem_alloc(mqtt, 6 * MIB);
  assert_non_null(some);
  assert_in_range(lent->borrowed, 4 * MIB, 7 * MIB);
  assert_int_equal(limits(r.node), before);
  HOLDS(node_check(r.node));
  assert_null(mem_alloc(mqtt, 3 * MIB)); /* more than mqtt_pool */
  assert_null(mem_alloc(send, 28 * MIB));
  void *most = mem_alloc(send, 24 * MIB);
  assert_non_null(most);
  mem_free(mqtt, some);
  void *rest = mem_alloc(send, 6 * MIB); /* nobody needs it: it comes back at once */
  assert_non_null(rest);
  assert_int_equal(limits(r.node), before);
  assert_null(mem_alloc(mqtt, 3 * MIB));
  mem_free(send, rest);
  mem_free(send, most);
  some = mem_alloc(mqtt, 3 * MIB);
  assert_non_null(some);
  mem_free(mqtt, some);
  settle(&r);
  assert_in_range(lent->borrowed, 0, MIB); /* what is not used goes back by itself */
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_slots), cmocka_unit_test(test_idle),
                                     cmocka_unit_test(test_borrowed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
