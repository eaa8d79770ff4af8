/* Clients of the original: what they send in vain is left out, counted and logged, and their connection goes on. */
#include "log_rig.h"

#define BIG (2u << 20)

static void header(struct rig_client *c, uint8_t type, uint32_t len) {
  uint8_t h[FRAME_HEADER_LEN];
  frame_header(h, type, len);
  rig_send_raw(c, slice_of(h, sizeof h));
}

/* A frame with a payload of so many bytes, a piece at a time. */
static void send_large(struct mesh *m, struct rig_client *c, uint32_t len) {
  static uint8_t piece[32 << 10];
  header(c, MSG_PUBLISH, len);
  for (uint32_t sent = 0; sent < len && !c->closed; sent += sizeof piece) {
    rig_send_raw(c, slice_of(piece, sizeof piece));
    rig_run(&m->rig[0], 5 * NS_MS);
    assert_true(m->rig[0].node->rows.mem[ROW_RECEIVE].bytes < 4096);
  }
}

static void hears(struct rig_client *c, const char *payload) {
  assert_true(slice_is(rig_expect(c, MSG_PUBLISH).publish.payload, payload));
}

static void test_left_out(void **state) {
  struct kept_log k;
  struct mesh m;
  (void)state;
  mesh_start(&m, 1, NULL);
  log_keep(&k, &m, 0);
  struct rig *r = &m.rig[0];
  struct rig_client *sub = rig_join(r, 0, NULL, RIG_EXT), *c = rig_join(r, 0, NULL, RIG_BASE);
  assert_int_equal(rig_subscribe(sub, "**"), 0);
  rig_publish_only(c, "a..b", slice_str("1"), 0);
  rig_publish_only(c, "a.b", slice_str("2"), 2);
  struct slice pattern = slice_str("te*mp");
  struct msg s = {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &pattern}}};
  rig_send(c, &s);
  header(c, MSG_PUBLISH, 1);
  rig_send_raw(c, slice_of("\xC1", 1));
  rig_publish_only(c, "a.b", slice_str("3"), 0);
  hears(sub, "3");
  send_large(&m, c, BIG);
  rig_publish_only(c, "a.b", slice_str("4"), 0);
  hears(sub, "4");
  assert_int_equal(rig_metric(r, "frames_left_out_total{code=\"invalid_topic\"}"), 2);
  assert_int_equal(rig_metric(r, "frames_left_out_total{code=\"unsupported_qos\"}"), 1);
  assert_int_equal(rig_metric(r, "frames_left_out_total{code=\"bad_frame\"}"), 1);
  assert_int_equal(rig_metric(r, "frames_left_out_total{code=\"frame_too_large\"}"), 1);
  assert_int_equal(log_count(&k, "frame_left_out"), 1);
  assert_true(log_line_has(&k, "frame_left_out", "code=invalid_topic") && !c->closed);
  mesh_stop(&m);
}

/* Larger than the original's limit, and whatever a client that can be told sends: the connection ends. */
static void test_ends(void **state) {
  struct mesh m;
  (void)state;
  mesh_start(&m, 1, NULL);
  struct rig_client *base = rig_join(&m.rig[0], 0, NULL, RIG_BASE), *ext = rig_join(&m.rig[0], 0, NULL, RIG_EXT),
                    *bad = rig_join(&m.rig[0], 0, NULL, RIG_EXT);
  header(base, MSG_PUBLISH, (16u << 20) + 1);
  header(ext, MSG_PUBLISH, BIG);
  header(bad, MSG_PUBLISH, 1);
  rig_send_raw(bad, slice_of("\xC1", 1));
  assert_int_equal(rig_closed(base), MACULA_FRAME_TOO_LARGE);
  assert_int_equal(rig_closed(ext), MACULA_FRAME_TOO_LARGE);
  assert_int_equal(rig_closed(bad), MACULA_BAD_FRAME);
  mesh_stop(&m);
}

static void sub(struct rig_client *c, const char *pattern) {
  struct slice s = slice_str(pattern);
  struct msg m = {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &s}}};
  rig_send(c, &m);
}

static void hears_of(struct rig_client *c, const char *topic) {
  struct slice got = rig_expect(c, MSG_PUBLISH).publish.topic;
  if (!slice_is(got, topic)) fail_msg("%.*s and not %s", (int)got.n, (const char *)got.p, topic);
}

static void pub(struct rig_client *c, const char *topic, bool retain) {
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_str(topic), .payload = slice_str("1"), .retain = retain, .slashes = 1}};
  rig_send(c, &m);
}

/* Those that use slashes compare topics as their publishers wrote them, at the same node and at others, now and later. */
static void test_slashes(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  struct rig_client *slash[3], *dot[2], *ext[2], *from = rig_join(&m.rig[0], 0, NULL, RIG_BASE);
  for (unsigned i = 0; i < 2; i++) {
    slash[i] = rig_join(&m.rig[i], 0, NULL, RIG_BASE);
    dot[i] = rig_join(&m.rig[i], 0, NULL, RIG_BASE);
    ext[i] = rig_join(&m.rig[i], 0, NULL, RIG_EXT);
    sub(slash[i], "a/#");
    sub(dot[i], "a.**");
    sub(ext[i], "a/b/**");
  }
  rig_run(&m.rig[0], NS_SEC);
  mesh_settle(&m);
  pub(from, "a/b/c.d", true);
  pub(from, "a.b", false);
  pub(ext[0], "a/b", false);
  for (unsigned i = 0; i < 2; i++) {
    hears_of(slash[i], "a/b/c.d");
    hears_of(slash[i], "a.b");
    hears_of(slash[i], "a/b");
    hears_of(dot[i], "a.b.c.d");
    hears_of(dot[i], "a.b");
    hears_of(dot[i], "a.b");
    hears_of(ext[i], "a.b.c.d");
    assert_int_equal(rig_expect(ext[i], MSG_PUBLISH).publish.slashes, 0);
  }
  mesh_settle(&m);
  for (unsigned i = 0; i < 2; i++) {
    slash[2] = rig_join(&m.rig[i], 0, NULL, RIG_BASE);
    sub(slash[2], "a/b/c/d");
    hears_of(slash[2], "a/b/c.d");
  }
  mesh_stop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_left_out), cmocka_unit_test(test_ends),
                                     cmocka_unit_test(test_slashes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
