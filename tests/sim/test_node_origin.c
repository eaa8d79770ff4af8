/* Who published and called, at one node: each receiver is told what was proved, before the message that names it, and once as
 * long as its slot holds it. */
#include "node/session/origin.h"

#include "origin_rig.h"

static void start(struct rig *r, const struct rig_options *o) {
  struct rig_options d = o ? *o : (struct rig_options){0};
  rig_start(r, &d);
}

static struct rig_client *listener(struct rig *r, uint32_t caps, const char *pattern) {
  struct rig_client *c = rig_join(r, 0, NULL, caps);
  assert_int_equal(rig_subscribe(c, pattern), 0);
  return c;
}

static void publish(struct rig_client *c, const char *topic) { rig_publish_only(c, topic, slice_str("x"), 0); }

static void test_subscribers_are_told(void **state) {
  struct rig r;
  (void)state;
  start(&r, &(struct rig_options){.node.allow_unverified = true});
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_BASE),
                    *nobody = rig_join(&r, RIG_NO_CERT, NULL, RIG_BASE);
  struct told t = told_by(listener(&r, ORIGIN_CAPS, "t.*"));
  struct rig_client *plain = listener(&r, RIG_EXT, "t.*");
  for (int i = 0; i < 3; i++) {
    publish(a, "t.x");
    (void)told_from(&t, MSG_PUBLISH, a, &r);
    publish(b, "t.x"); /* whose key was proved, whatever it speaks */
    (void)told_from(&t, MSG_PUBLISH, b, &r);
    publish(nobody, "t.x");
    (void)told_from(&t, MSG_PUBLISH, NULL, &r);
  }
  assert_int_equal(t.c->counts[MSG_ANNOUNCE], 3); /* each once */
  for (int i = 0; i < 9; i++) {
    struct msg m = rig_expect(plain, MSG_PUBLISH);
    assert_true(!m.publish.origin.number && !m.publish.origin.in_full.p);
  }
  assert_int_equal(plain->counts[MSG_ANNOUNCE], 0);
  rig_stop(&r);
}

static size_t frame_len(struct rig_client *c, uint64_t *ret_number) {
  struct msg m = rig_expect(c, MSG_PUBLISH);
  *ret_number = m.publish.origin.number;
  return c->kept[c->read - 1].len;
}

/* A message grows by a short key and a number, and the frames of those who are not told stay as they were. */
static void test_bytes_on_the_wire(void **state) {
  struct rig r;
  uint64_t number, none;
  char payload[64];
  (void)state;
  start(&r, NULL);
  struct rig_client *pub = rig_join(&r, 0, NULL, RIG_EXT), *told = listener(&r, ORIGIN_CAPS, "t.x"),
                    *plain = listener(&r, RIG_EXT, "t.x");
  memset(payload, 'p', sizeof payload);
  rig_publish_only(pub, "t.x", slice_of(payload, sizeof payload), 0);
  size_t with = frame_len(told, &number), without = frame_len(plain, &none);
  assert_true(number && !none);
  assert_int_equal(with - without, 5); /* "by" and a number below 128; one above 65,535 has 4 bytes more */
  rig_stop(&r);
}

static void test_callers(void **state) {
  struct rig r;
  (void)state;
  start(&r, &(struct rig_options){.node.allow_unverified = true});
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *nobody = rig_join(&r, RIG_NO_CERT, NULL, RIG_EXT),
                    *plain = rig_join(&r, 0, NULL, RIG_EXT);
  struct told t = told_by(rig_join(&r, 0, NULL, ORIGIN_CAPS));
  assert_int_equal(rig_register(t.c, "p.told"), 0);
  assert_int_equal(rig_register(plain, "p.plain"), 0);
  for (uint64_t i = 1; i <= 3; i++) {
    rig_call(a, "p.told", "1", i, 0);
    struct msg m = told_from(&t, MSG_CALL, a, &r);
    rig_reply(t.c, m.call.call_id, "2");
    assert_false(rig_expect(a, MSG_REPLY).reply.is_error);
    rig_send(nobody, &(struct msg){.type = MSG_CAST, .call = {.procedure = slice_str("p.told"), .args = slice_str("1")}});
    (void)told_from(&t, MSG_CAST, NULL, &r);
  }
  assert_int_equal(t.c->counts[MSG_ANNOUNCE], 2);
  rig_call(a, "p.plain", "1", 9, 0);
  assert_int_equal(rig_expect(plain, MSG_CALL).call.origin.number, 0);
  assert_int_equal(plain->counts[MSG_ANNOUNCE], 0);
  rig_stop(&r);
}

/* Callers and publishers have slots of their own: a call that overtakes publishes needs none of their announcements. */
static void test_each_lane_by_itself(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT);
  struct told t = told_by(listener(&r, ORIGIN_CAPS, "t.*"));
  assert_int_equal(rig_register(t.c, "p"), 0);
  static char large[8000];
  rig_stop_reading(t.c);
  for (int i = 0; i < 100; i++) {
    rig_publish_only(i % 2 ? a : b, "t.x", slice_of(large, sizeof large), 0);
    rig_run(&r, 2 * NS_MS);
  }
  rig_call(a, "p", "1", 1, 0);
  rig_run(&r, NS_SEC);
  rig_read_on(t.c);
  (void)told_from(&t, MSG_CALL, a, &r);
  assert_true(t.c->counts[MSG_PUBLISH] > 10);
  t.at = t.c->read = 0;
  for (int i = 0; i < 100; i++) (void)told_from(&t, MSG_PUBLISH, i % 2 ? a : b, &r);
  rig_stop(&r);
}

/* Whatever a client writes into its own frames, others are told what it proved. */
static void test_nobody_speaks_in_anothers_name(void **state) {
  struct rig r;
  uint8_t name[PRINCIPAL_LEN_MAX];
  (void)state;
  start(&r, NULL);
  struct rig_client *victim = rig_join(&r, 0, NULL, ORIGIN_CAPS), *liar = rig_join(&r, 0, NULL, ORIGIN_CAPS);
  struct told t = told_by(listener(&r, ORIGIN_CAPS, "t.*"));
  struct rig_client *plain = listener(&r, RIG_EXT, "t.*");
  assert_int_equal(rig_register(t.c, "p"), 0);
  publish(victim, "t.x");
  struct msg m = told_from(&t, MSG_PUBLISH, victim, &r);
  struct principal_name p = {PRINCIPAL_KEY, slice_of(quic_identity_id(victim->identity)->b, ID_LEN)};
  struct msg_origin lie = {.number = m.publish.origin.number, .in_full = slice_of(name, principal_write(&p, name))};
  rig_send(liar, &(struct msg){.type = MSG_ANNOUNCE,
                               .announce = {.kind = ANNOUNCE_PUBLISHER,
                                            .number = lie.number,
                                            .principal = lie.in_full,
                                            .node = slice_of(quic_identity_id(r.identity)->b, ID_LEN)}});
  rig_send(liar, &(struct msg){.type = MSG_PUBLISH,
                               .publish = {.topic = slice_str("t.x"), .payload = slice_str("1"), .origin = lie}});
  (void)told_from(&t, MSG_PUBLISH, liar, &r);
  (void)rig_expect(plain, MSG_PUBLISH);
  m = rig_expect(plain, MSG_PUBLISH);
  assert_true(!m.publish.origin.number && !m.publish.origin.in_full.p);
  rig_send(liar, &(struct msg){.type = MSG_CAST, .call = {.procedure = slice_str("p"), .args = slice_str("1"), .origin = lie}});
  (void)told_from(&t, MSG_CAST, liar, &r);
  rig_stop(&r);
}

/* More publishers than slots: each name is right, whatever its slot held before. */
static void test_more_publishers_than_slots(void **state) {
  enum { PUBLISHERS = 300 };
  struct rig r;
  struct rig_client *pub[PUBLISHERS];
  static struct told t;
  (void)state;
  start(&r, NULL);
  t = told_by(listener(&r, ORIGIN_CAPS, "t.*"));
  for (int i = 0; i < PUBLISHERS; i++) pub[i] = rig_join(&r, 0, NULL, RIG_EXT);
  for (int round = 0; round < 3; round++)
    for (int i = 0; i < PUBLISHERS; i++) {
      publish(pub[i], "t.x");
      (void)told_from(&t, MSG_PUBLISH, pub[i], &r);
    }
  /* 44 of them share slots with 44 others: these 88 are announced each time, all others once */
  assert_int_equal(t.c->counts[MSG_ANNOUNCE], PUBLISHERS + 2 * 2 * (PUBLISHERS - (int)ANNOUNCE_SLOTS));
  for (int i = 0; i < PUBLISHERS; i += 7) {
    publish(pub[(i * 131) % PUBLISHERS], "t.x");
    (void)told_from(&t, MSG_PUBLISH, pub[(i * 131) % PUBLISHERS], &r);
  }
  rig_stop(&r);
}

/* A principal whose entry has made room comes back under a new number, and no number comes twice. */
static void test_principals_make_room(void **state) {
  struct rig r;
  struct row_now rows[ROWS_SHOWN];
  (void)state;
  start(&r, &(struct rig_options){.node.limits.origin_bytes = 64 << 10});
  static struct told t;
  uint64_t last = 0, first_number = 0;
  t = told_by(listener(&r, ORIGIN_CAPS, "t.*"));
  struct quic_identity *first = NULL;
  for (int i = 0; i <= 600; i++) {
    struct rig_client *c = rig_join(&r, 0, i == 600 ? first : NULL, RIG_EXT);
    publish(c, "t.x");
    uint64_t number = told_from(&t, MSG_PUBLISH, c, &r).publish.origin.number;
    assert_true(number > last);
    last = number;
    if (!i) first = quic_identity_ref(c->identity);
    if (!i) first_number = number;
    quic_conn_close(c->conn, 0, "");
    rig_run(&r, 2 * NS_MS);
  }
  assert_true(last > first_number);
  rows_now(r.node, rows);
  assert_true(rows[ROW_ORIGINS].evicted > 50);
  assert_true(rows[ROW_ORIGINS].peak <= 64 << 10);
  assert_int_equal(rows[ROW_ORIGINS].refused, 0);
  quic_identity_unref(first);
  rig_stop(&r);
}

/* All room is taken by principals that are there: one more is unknown, its messages arrive, and receivers without room for
 * slots are announced each publisher anew. */
static void test_no_room(void **state) {
  enum { LISTENERS = 60, PUBLISHERS = 200 };
  struct rig r;
  struct row_now rows[ROWS_SHOWN];
  static struct told t[LISTENERS];
  struct rig_client *pub[PUBLISHERS];
  (void)state;
  start(&r, &(struct rig_options){.node.limits.origin_bytes = 64 << 10});
  for (int i = 0; i < LISTENERS; i++) t[i] = told_by(listener(&r, ORIGIN_CAPS, "t.*"));
  pub[0] = rig_join(&r, 0, NULL, RIG_EXT);
  for (int k = 0; k < 3; k++) {
    publish(pub[0], "t.x");
    for (int i = 0; i < LISTENERS; i++) (void)told_from(&t[i], MSG_PUBLISH, pub[0], &r);
  }
  uint64_t once = 0, anew = 0;
  for (int i = 0; i < LISTENERS; i++) {
    once += t[i].c->counts[MSG_ANNOUNCE] == 1;
    anew += t[i].c->counts[MSG_ANNOUNCE] == 3;
  }
  assert_true(once > 30 && anew > 5);
  assert_int_equal(once + anew, LISTENERS);
  uint64_t unknown = 0;
  for (int i = 1; i < PUBLISHERS; i++) {
    pub[i] = rig_join(&r, 0, NULL, RIG_EXT);
    publish(pub[i], "t.x");
    struct msg m = rig_expect(t[0].c, MSG_PUBLISH);
    unknown += !m.publish.origin.number;
  }
  rows_now(r.node, rows);
  assert_true(unknown > 0 && rows[ROW_ORIGINS].refused >= unknown);
  assert_true(rows[ROW_ORIGINS].peak <= 64 << 10);
  rig_stop(&r);
}

/* A retained message keeps its publisher, who may be gone. */
static void test_retained(void **state) {
  struct rig r;
  (void)state;
  start(&r, &(struct rig_options){.node.limits.origin_bytes = 64 << 10});
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_publish(a, "t.x", "1", 1, true, 1), 0);
  assert_int_equal(rig_publish(a, "t.y", "1", 1, true, 2), 0);
  assert_int_equal(rig_publish(b, "t.y", "2", 1, true, 1), 0); /* replaced by another's */
  quic_conn_close(a->conn, 0, "");
  quic_conn_close(b->conn, 0, "");
  for (int i = 0; i < 300; i++) { /* whose principals take the room that is left */
    struct rig_client *c = rig_join(&r, 0, NULL, RIG_EXT);
    publish(c, "other");
    quic_conn_close(c->conn, 0, "");
    rig_run(&r, 2 * NS_MS);
  }
  struct told t = told_by(listener(&r, ORIGIN_CAPS, "t.x")), u = told_by(listener(&r, ORIGIN_CAPS, "t.y"));
  (void)told_from(&t, MSG_PUBLISH, a, &r);
  (void)told_from(&u, MSG_PUBLISH, b, &r);
  struct rig_client *c = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_publish(c, "t.x", "", 1, true, 1), 0); /* cleared */
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_subscribers_are_told),
      cmocka_unit_test(test_bytes_on_the_wire),
      cmocka_unit_test(test_callers),
      cmocka_unit_test(test_each_lane_by_itself),
      cmocka_unit_test(test_nobody_speaks_in_anothers_name),
      cmocka_unit_test(test_more_publishers_than_slots),
      cmocka_unit_test(test_principals_make_room),
      cmocka_unit_test(test_no_room),
      cmocka_unit_test(test_retained),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
