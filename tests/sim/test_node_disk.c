/* Retained messages over a restart of the node, with a file that is an array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/messages/disk.h"
#include "node_rig.h"

#define SIZE (RETAINED_RECORDS_AT + 2 * (8u << 20))

static uint8_t *file;

static void save(struct rig *r) {
  static uint8_t buf[65536];
  struct retained_log *l = node_retained_log(r->node);
  struct retained_job j;
  while (retained_log_next(l, buf, sizeof buf, &j)) {
    retained_log_seal(buf, &j);
    memcpy(file + j.at, buf, j.len);
    if (j.payload.n) memcpy(file + j.at + j.len, j.payload.p, j.payload.n);
    if (j.switches) memcpy(file + j.head_at, j.head, sizeof j.head);
    retained_log_written(l, true);
  }
}

/* How many records there were. */
static uint64_t restore(struct rig *r) {
  bool damaged;
  struct retained_head h = retained_head_choose(file, file + RETAINED_SLOT, &damaged);
  struct retained_record m;
  struct retained_scan s;
  retained_scan_init(&s, &h);
  struct slice half = slice_of(file + retained_half_at(SIZE, h.half), retained_half_len(SIZE));
  while (h.generation && retained_scan_next(&s, slice_of(half.p + s.at, half.n - s.at), true, &m))
    assert_int_equal(node_retained_restore(r->node, &m), 0);
  assert_false(damaged || retained_scan_damaged(&s));
  node_retained_restored(r->node, &h);
  return s.records;
}

static void start(struct rig *r, struct rig_options *o) {
  file = calloc(1, SIZE);
  o->node.limits.retained_disk = SIZE;
  rig_start(r, o);
  assert_int_equal(restore(r), 0);
}

static void again(struct rig *r) {
  rig_node_kill(r);
  rig_run(r, 60 * NS_SEC);
  rig_node_start(r);
}

static void stop(struct rig *r) {
  rig_stop(r);
  free(file);
}

static void expect(struct rig_client *c, const char *topic, const char *payload) {
  struct msg m = rig_expect(c, MSG_PUBLISH);
  assert_true(slice_is(m.publish.topic, topic) && slice_is(m.publish.payload, payload) && m.publish.retain);
}

/* Whose they are, when they were published and in which spelling is as it was; what was cleared is gone. */
static void test_restart(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.limits = {.retained_ttl = 3600 * NS_SEC}}};
  static char large[300000];
  (void)state;
  start(&r, &o);
  memset(large, 'l', sizeof large - 1);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT);
  struct quic_identity *identity = quic_identity_ref(a->identity);
  assert_int_equal(rig_publish(a, "old", "1", 1, true, 1), 0);
  rig_run(&r, 1800 * NS_SEC);
  a = rig_join(&r, 0, identity, RIG_EXT);
  assert_int_equal(rig_publish(a, "gone", "2", 1, true, 2), 0);
  assert_int_equal(rig_publish(a, "large", large, 1, true, 3), 0);
  save(&r);
  assert_int_equal(rig_publish(a, "gone", "", 1, true, 4), 0);
  assert_int_equal(rig_publish(a, "a.b", "first", 1, true, 5), 0);
  assert_int_equal(rig_publish(a, "a.b", "last", 1, true, 6), 0);
  save(&r);
  uint64_t ms = retained_find(&r.node->messages.retained, slice_str("a.b"))->ms;
  assert_int_equal(rig_publish(a, "lost", "x", 1, true, 7), 0); /* the node ends before it is written */
  again(&r);
  assert_int_equal(restore(&r), 5);
  const struct retained *t = &r.node->messages.retained;
  assert_int_equal(retained_count(t), 3);
  const struct retained_entry *e = retained_find(t, slice_str("a.b"));
  assert_int_equal(e->ms, ms);
  assert_int_equal(e->origin->len, 1 + ID_LEN);
  assert_memory_equal(e->origin->bytes + 1, quic_identity_id(identity)->b, ID_LEN);
  const struct retained_owner *owner = e->owner;
  assert_int_equal(owner->count, 3);
  a = rig_join(&r, 0, identity, RIG_EXT);
  assert_ptr_equal(&container_of(r.node->sessions.all.next, struct session, all)->account->retained, owner);
  assert_int_equal(rig_subscribe(a, "a.*"), 0);
  expect(a, "a.b", "last");
  assert_int_equal(rig_subscribe(a, "large"), 0);
  expect(a, "large", large);
  rig_run(&r, 1800 * NS_SEC); /* an hour after it was published */
  assert_null(retained_find(t, slice_str("old")));
  assert_int_equal(t->expired, 1);
  assert_non_null(retained_find(t, slice_str("large")));
  /* what went meanwhile is not there after the next start either */
  save(&r);
  again(&r);
  (void)restore(&r);
  assert_int_equal(retained_count(&r.node->messages.retained), 2);
  quic_identity_unref(identity);
  stop(&r);
}

/* That its publisher used QoS 2 is known after a restart. */
static void test_exactly_once(void **state) {
  struct rig r;
  struct rig_options o = {0};
  (void)state;
  start(&r, &o);
  struct rig_client *pub = rig_join(&r, 0, NULL, RIG_EXT | CAP_HEADERS);
  for (uint8_t i = 0; i < 3; i++) {
    uint8_t id[CALL_ID_LEN] = {i + 1};
    struct msg m = {.type = MSG_PUBLISH,
                    .publish = {.topic = slice_str((const char *[]){"q.0", "q.1", "q.2"}[i]),
                                .payload = slice_str("x"),
                                .qos = i ? 1 : 0,
                                .exactly_once = i != 1, /* with QoS 0 it says nothing */
                                .retain = true,
                                .message_id = slice_of(id, sizeof id),
                                .has_ref = true}};
    rig_send(pub, &m);
    assert_false(rig_expect(pub, MSG_ACK).ack.code.n);
  }
  for (int round = 0; round < 2; round++) {
    struct rig_client *sub = rig_join(&r, 0, NULL, RIG_EXT | CAP_HEADERS);
    for (uint64_t i = 0; i < 3; i++) {
      assert_int_equal(rig_subscribe(sub, (const char *[]){"q.0", "q.1", "q.2"}[i]), 0);
      struct msg_publish p = rig_expect(sub, MSG_PUBLISH).publish;
      assert_true(p.retain && p.qos == (i ? 1 : 0) && p.exactly_once == (i == 2));
    }
    save(&r);
    again(&r);
    assert_int_equal(restore(&r), 3);
  }
  stop(&r);
}

/* Those whose time was over while no node ran end at once; one of the future is of now. */
static void test_too_old(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.limits = {.retained_ttl = 3600 * NS_SEC}}};
  (void)state;
  start(&r, &o);
  uint64_t now = node_unix_ms(r.node);
  struct retained_record m = {.topic = slice_str("old"), .payload = slice_str("x"), .ms = now - 3600001, .qos = 9};
  assert_int_equal(node_retained_restore(r.node, &m), 0);
  m.topic = slice_str("future");
  m.ms = now + 100000000;
  assert_int_equal(node_retained_restore(r.node, &m), 0);
  m.topic = slice_str("half");
  m.ms = now - 1800000;
  assert_int_equal(node_retained_restore(r.node, &m), 0);
  node_retained_restored(r.node, &(struct retained_head){0});
  rig_run(&r, NS_SEC);
  const struct retained *t = &r.node->messages.retained;
  assert_null(retained_find(t, slice_str("old")));
  assert_int_equal(retained_find(t, slice_str("future"))->ms, now + 100000000);
  assert_int_equal(retained_find(t, slice_str("future"))->qos, 1);
  rig_run(&r, 1801 * NS_SEC);
  assert_null(retained_find(t, slice_str("half")));
  assert_int_equal(retained_count(t), 1);
  rig_run(&r, 1801 * NS_SEC);
  assert_int_equal(retained_count(t), 0);
  stop(&r);
}

/* What there is no room for any more is not restored; an identity that had more than its share now has it still. */
static void test_less_room(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.limits = {.retained_count = 10}}};
  char topic[16];
  (void)state;
  start(&r, &o);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT);
  for (int i = 0; i < 10; i++) { /* one half, and half of the rest */
    sprintf(topic, "%c.%d", i < 5 ? 'a' : 'b', i);
    (void)rig_publish(i < 5 ? a : b, topic, "x", 1, true, 1 + (uint64_t)i);
  }
  uint32_t count = retained_count(&r.node->messages.retained);
  assert_true(count > 6);
  save(&r);
  again(&r);
  assert_int_equal(restore(&r), count);
  assert_int_equal(retained_count(&r.node->messages.retained), count);
  r.config.limits.retained_count = 4;
  again(&r);
  struct retained_record m = {.payload = slice_str("x"), .ms = 1};
  for (int i = 0; i < 6; i++) {
    sprintf(topic, "t.%d", i);
    m.topic = slice_str(topic);
    assert_int_equal(node_retained_restore(r.node, &m), i < 4 ? 0 : MACULA_RETAIN_FULL);
  }
  node_retained_restored(r.node, &(struct retained_head){0});
  stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_restart), cmocka_unit_test(test_exactly_once),
                                     cmocka_unit_test(test_too_old), cmocka_unit_test(test_less_room)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
