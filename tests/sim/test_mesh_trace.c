/* What becomes of a topic: what is counted of it, who would hear it, and what of it was lost, and why. */
#include <jansson.h>

#include "mesh_calls_rig.h"
#include "node/session/tally.h"

static struct rig_client *operator_at(struct mesh *m, unsigned at) {
  return rig_join(&m->rig[at], RIG_LOOPBACK, NULL, RIG_EXT | CAP_OPERATOR);
}

/* Again where it had its price: on this clock no time passes between two questions. */
static struct msg_reply afford(struct rig_client *c, const char *name, const char *args) {
  struct msg_reply r = rig_ask(c, name, args);
  while (r.is_error && slice_is(r.error.code, "rate_limited")) {
    rig_run(c->rig, 100 * NS_MS);
    r = rig_ask(c, name, args);
  }
  return r;
}

static json_t *asked(struct mesh *m, struct rig_client *op, const char *what, unsigned who, const char *topic) {
  char args[512], hex[ID_HEX_LEN + 1], name[64];
  id_hex(id(m, who), hex);
  snprintf(args, sizeof args, "{\"node\":\"%s\",\"topic\":\"%s\"}", hex, topic);
  snprintf(name, sizeof name, "com.macula.node.%s", what);
  struct msg_reply r = afford(op, name, args);
  if (r.is_error) fail_msg("%.*s", (int)r.error.message.n, (const char *)r.error.message.p);
  json_t *j = json_loadb((const char *)r.result.p, r.result.n, 0, NULL);
  assert_non_null(j);
  return j;
}

static json_t *at(json_t *j, const char *key) { return json_object_get(j, key); }
static json_int_t number(json_t *j, const char *key) { return json_integer_value(at(j, key)); }
static bool is(json_t *j, const char *key, const char *text) { return !strcmp(json_string_value(at(j, key)), text); }

/* The row of a list that has this value; NULL: none has. */
static json_t *row(json_t *rows, const char *key, const char *text) {
  size_t i;
  json_t *j;
  json_array_foreach(rows, i, j) if (is(j, key, text)) return j;
  return NULL;
}

static json_int_t counted(struct mesh *m, struct rig_client *op, unsigned who, const char *topic, const char *what) {
  json_t *j = asked(m, op, "topics", who, topic), *t = row(at(j, "topics"), "topic", topic);
  json_int_t n = t ? number(t, what) : -1;
  json_decref(j);
  return n;
}

static void test_topics_are_counted(void **state) {
  struct mesh m;
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  struct rig_client *op = operator_at(&m, 0), *a = client(&m, 1), *b = client(&m, 0);
  assert_int_equal(rig_subscribe(b, "a.**"), 0);
  mesh_settle(&m);
  for (int i = 0; i < 5; i++) assert_int_equal(rig_publish(a, "a.b", "12345", 1, false, 100 + (uint64_t)i), 0);
  assert_int_equal(rig_publish(a, "a.b", "12345", 1, false, 104), 0); /* sent again: it counts once */
  assert_int_equal(rig_publish(a, "c", "1", 0, false, 200), 0);
  rig_run(&m.rig[0], NS_SEC);
  assert_int_equal(counted(&m, op, 1, "a.b", "messages"), 5);
  assert_int_equal(counted(&m, op, 1, "a.b", "bytes"), 25);
  assert_int_equal(counted(&m, op, 1, "c", "messages"), 1);
  assert_int_equal(counted(&m, op, 0, "a.b", "messages"), -1); /* where it was published, so that the mesh counts it once */
  mesh_stop(&m);
}

/* Clients here, groups, and other nodes by the ways that lead to them; the same of these. */
static void test_who_would_hear_it(void **state) {
  struct mesh m;
  char hex[ID_HEX_LEN + 1];
  (void)state;
  mesh_start_joined(&m, 3, NULL);
  struct rig_client *op = operator_at(&m, 0), *here = client(&m, 0), *there = client(&m, 1), *member = client(&m, 2);
  assert_int_equal(rig_subscribe(here, "plant.**"), 0);
  assert_int_equal(rig_subscribe(there, "plant.*.temp"), 0);
  assert_int_equal(rig_subscribe(member, "other.**"), 0);
  mesh_settle(&m);
  json_t *j = asked(&m, op, "trace", 0, "plant/press/temp"), *r;
  assert_true(is(j, "topic", "plant.press.temp"));
  assert_int_equal(number(j, "total"), 1);
  id_hex(quic_identity_id(here->identity), hex);
  assert_non_null(r = row(at(j, "clients"), "id", hex));
  assert_true(is(r, "door", "quic") || is(r, "door", "native"));
  id_hex(id(&m, 1), hex);
  assert_int_equal(json_array_size(at(j, "nodes")), 1);
  assert_non_null(r = row(at(j, "nodes"), "id", hex));
  assert_true(is(r, "way", "link") && is(r, "why", "listens") && is(r, "name", "node1"));
  json_decref(j);
  j = asked(&m, op, "trace", 1, "plant.press.temp");
  id_hex(quic_identity_id(there->identity), hex);
  assert_non_null(row(at(j, "clients"), "id", hex));
  id_hex(id(&m, 0), hex);
  assert_non_null(row(at(j, "nodes"), "id", hex));
  json_decref(j);
  struct msg_reply e = afford(op, "com.macula.node.trace", "{\"topic\":\"a.*\"}");
  assert_true(slice_is(e.error.code, "invalid_topic"));
  assert_true(slice_is(afford(op, "com.macula.node.trace", "{}").error.code, "invalid_topic"));
  assert_true(slice_is(afford(here, "com.macula.node.trace", "{\"topic\":\"a\"}").error.code, "not_authorized"));
  mesh_stop(&m);
}

/* One that does not read loses some of it: how much, and that it was too slow, is said where it is. */
static void test_what_was_lost(void **state) {
  static char large[20000];
  struct mesh m;
  char hex[ID_HEX_LEN + 1];
  (void)state;
  mesh_start_joined(&m, 2, NULL);
  struct rig_client *op = operator_at(&m, 0), *a = client(&m, 1), *slow = client(&m, 1);
  assert_int_equal(rig_subscribe(slow, "t"), 0);
  slow->mute = true;
  for (int i = 0; i < 200; i++) {
    rig_publish_only(a, "t", slice_of(large, sizeof large), 0);
    rig_run(&m.rig[0], 200 * NS_MS);
  }
  mesh_settle(&m);
  json_t *j = asked(&m, op, "trace", 1, "t"), *r = json_array_get(at(j, "drops"), 0);
  id_hex(quic_identity_id(slow->identity), hex);
  assert_non_null(r);
  assert_true(is(r, "reason", TALLY_SLOW) && is(r, "who", "reader") && is(r, "id", hex));
  assert_int_equal(number(r, "count"), m.rig[1].node->stats.dropped);
  json_decref(j);
  assert_int_equal(counted(&m, op, 1, "t", "dropped"), m.rig[1].node->stats.dropped);
  mesh_stop(&m);
}

/* A publish that was refused is a loss of its publisher. */
static void test_refused(void **state) {
  struct mesh m;
  char hex[ID_HEX_LEN + 1];
  (void)state;
  mesh_start_joined(&m, 1, NULL);
  struct rig_client *op = operator_at(&m, 0), *a = client(&m, 0);
  for (int i = 0; i < 3; i++) assert_int_equal(rig_publish(a, "com.macula.x", "1", 1, false, 7), MACULA_NOT_AUTHORIZED);
  json_t *j = asked(&m, op, "trace", 0, "com.macula.x"), *r = json_array_get(at(j, "drops"), 0);
  id_hex(quic_identity_id(a->identity), hex);
  assert_true(is(r, "reason", "not_authorized") && is(r, "who", "publisher") && is(r, "id", hex) && number(r, "count") == 3);
  json_decref(j);
  j = asked(&m, op, "clients", 0, "");
  assert_int_equal(number(row(at(j, "clients"), "id", hex), "refused"), 3);
  json_decref(j);
  mesh_stop(&m);
}

/* Whatever is published and refused: no more than is planned, and the latest losses. */
static void test_full(void **state) {
  struct mesh m;
  char topic[NAME_MAX_LEN + 1];
  (void)state;
  mesh_start_joined(&m, 1, NULL);
  struct rig_client *a = client(&m, 0);
  struct node *n = m.rig[0].node;
  memset(topic, 'x', NAME_MAX_LEN);
  topic[NAME_MAX_LEN] = 0;
  for (int i = 0; i < 2 * (int)DROPS_MAX; i++) {
    char digits[8];
    snprintf(digits, sizeof digits, "%06d", i);
    memcpy(topic, digits, 6);
    rig_publish_only(a, topic, slice_str("1"), 0);
    memcpy(topic, "com.macula.", 11);
    memcpy(topic + 11, digits, 6);
    rig_publish_only(a, topic, slice_str("1"), 0);
    memset(topic, 'x', 20);
    if (i % 16 == 15) rig_run(&m.rig[0], 20 * NS_MS);
  }
  rig_run(&m.rig[0], NS_SEC);
  assert_int_equal(n->tally.topics.tab.count, HEAVY_MAX);
  assert_int_equal(n->tally.drops.tab.count, DROPS_MAX);
  assert_true(n->tally.topics.replaced >= DROPS_MAX && n->tally.drops.evicted >= DROPS_MAX / 2);
  for (int row = ROW_TALLY; row <= ROW_DROPS; row++) {
    struct plan_row p = plan_row_of(&n->limits, (enum row)row);
    assert_in_range(n->rows.mem[row].peak, p.bytes / 2, p.bytes);
    assert_int_equal(n->rows.mem[row].refused, 0);
  }
  mesh_stop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_topics_are_counted), cmocka_unit_test(test_who_would_hear_it),
                                     cmocka_unit_test(test_what_was_lost), cmocka_unit_test(test_refused),
                                     cmocka_unit_test(test_full)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
