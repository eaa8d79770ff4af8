/* Topics by numbers, at one node: what a publisher announces is taken if there is room, and each receiver gets what it can
 * read. */
#include "node/session/topics.h"

#include "node/check.h"
#include "origin_rig.h"
// clang-format off
#include "access_text.h"
// clang-format on
#include "unit/broken.h"

#define TOPICS (RIG_EXT | CAP_ORIGIN | CAP_TOPICS)

static void start(struct rig *r, const struct rig_options *o) {
  struct rig_options d = o ? *o : (struct rig_options){0};
  rig_start(r, &d);
}

static struct rig_client *listener(struct rig *r, uint32_t caps, const char *pattern) {
  struct rig_client *c = rig_join(r, 0, NULL, caps);
  assert_int_equal(rig_subscribe(c, pattern), 0);
  return c;
}

static void announce(struct rig_client *c, uint64_t number, const char *topic) {
  rig_send(c, &(struct msg){.type = MSG_ANNOUNCE,
                            .announce = {.kind = ANNOUNCE_TOPIC, .number = number, .topic = slice_str(topic)}});
}
static void taken(struct rig_client *c, uint64_t number) {
  struct msg m = rig_expect(c, MSG_ANNOUNCE);
  assert_int_equal(m.announce.kind, ANNOUNCE_TAKEN);
  assert_int_equal(m.announce.number, number);
}
static void say(struct rig_client *c, uint64_t number, const char *payload) {
  rig_send(
      c, &(struct msg){.type = MSG_PUBLISH, .publish = {.brief = true, .topic_number = number, .payload = slice_str(payload)}});
}
static void spell(struct rig_client *c, const char *topic, const char *payload) {
  rig_send(c, &(struct msg){.type = MSG_PUBLISH,
                            .publish = {.brief = true, .topic = slice_str(topic), .payload = slice_str(payload)}});
}

/* What a receiver's slots hold. */
struct names {
  struct rig_client *c;
  size_t at;
  struct {
    uint64_t number;
    char name[NAME_MAX_LEN + 1];
  } slot[ANNOUNCE_SLOTS];
  uint64_t announced, numbered;
};

/* The next message, which names its topic in either way. */
static struct msg heard(struct names *t, const char *topic, const char *payload) {
  struct msg m = rig_expect(t->c, MSG_PUBLISH), a;
  for (; t->at < t->c->read; t->at++) {
    const struct rig_frame *f = &t->c->kept[t->at];
    if (f->type != MSG_ANNOUNCE) continue;
    assert_int_equal(msg_decode(f->type, slice_of(f->payload, f->len), &a), 0);
    if (a.announce.kind != ANNOUNCE_TOPIC) continue;
    size_t place = a.announce.number % ANNOUNCE_SLOTS;
    t->slot[place].number = a.announce.number;
    memcpy(t->slot[place].name, a.announce.topic.p, a.announce.topic.n);
    t->slot[place].name[a.announce.topic.n] = 0;
    t->announced++;
  }
  assert_true(m.publish.brief && !(m.publish.topic.p && m.publish.topic_number));
  struct slice got = m.publish.topic;
  if (!got.p) {
    size_t place = m.publish.topic_number % ANNOUNCE_SLOTS;
    assert_int_equal(t->slot[place].number, m.publish.topic_number);
    got = slice_str(t->slot[place].name);
    t->numbered++;
  }
  if (!slice_is(got, topic)) fail_msg("'%.*s' instead of '%s'", (int)got.n, (const char *)got.p, topic);
  if (payload) assert_true(slice_is(m.publish.payload, payload));
  return m;
}

/* Each gets what it can read: numbers, a name and an id, the publisher's spelling. */
static void test_each_in_its_form(void **state) {
  static struct names told;
  struct rig r;
  (void)state;
  start(&r, &(struct rig_options){.node.allow_unverified = true});
  told = (struct names){.c = listener(&r, TOPICS, "t.*")};
  struct rig_client *pub = rig_join(&r, 0, NULL, TOPICS), *plain = listener(&r, RIG_EXT, "t.*"),
                    *base = rig_join(&r, 0, NULL, RIG_BASE);
  rig_send(base, &(struct msg){.type = MSG_SUBSCRIBE,
                               .subscribe = {.topics = {.count = 1, .items = &(struct slice){(const uint8_t *)"t/x", 3}}}});
  announce(pub, 5, "t/x");
  taken(pub, 5);
  uint8_t last[CALL_ID_LEN] = {0};
  for (int i = 0; i < 3; i++) {
    say(pub, 5, "hello");
    struct msg m = heard(&told, "t.x", "hello");
    assert_null(m.publish.message_id.p); /* nobody needs one */
    assert_true(m.publish.origin.number && !m.publish.own);
    m = rig_expect(plain, MSG_PUBLISH);
    assert_true(!m.publish.brief && slice_is(m.publish.topic, "t.x") && slice_is(m.publish.payload, "hello"));
    assert_int_equal(m.publish.message_id.n, CALL_ID_LEN);
    assert_true(memcmp(last, m.publish.message_id.p, CALL_ID_LEN) != 0);
    memcpy(last, m.publish.message_id.p, CALL_ID_LEN);
    m = rig_expect(base, MSG_PUBLISH);
    assert_true(!m.publish.brief && slice_is(m.publish.topic, "t/x"));
    assert_memory_equal(m.publish.message_id.p, last, CALL_ID_LEN); /* one message, one id */
  }
  assert_int_equal(told.announced, 1);
  assert_int_equal(told.numbered, 3);
  spell(pub, "t.y", "spelled");
  (void)heard(&told, "t.y", "spelled");
  assert_int_equal(told.numbered, 3);
  rig_stop(&r);
}

/* A publish of 64 bytes takes 81 instead of 151 and more. */
static void test_bytes_on_the_wire(void **state) {
  struct rig r;
  char payload[65] = {0};
  (void)state;
  start(&r, NULL);
  memset(payload, 'p', 64);
  struct rig_client *pub = rig_join(&r, 0, NULL, TOPICS), *told = listener(&r, TOPICS, "t.x"),
                    *plain = listener(&r, RIG_EXT, "t.x");
  announce(pub, 1, "t.x");
  taken(pub, 1);
  say(pub, 1, payload);
  (void)rig_expect(told, MSG_PUBLISH);
  (void)rig_expect(plain, MSG_PUBLISH);
  assert_int_equal(told->kept[told->read - 1].len + 8, 80);
  assert_true(plain->kept[plain->read - 1].len + 8 > 135);
  rig_stop(&r);
}

/* QoS 1 keeps its id, and its acknowledgement. */
static void test_qos1(void **state) {
  static struct names told;
  static const uint8_t id[CALL_ID_LEN] = {7};
  struct rig r;
  (void)state;
  start(&r, NULL);
  told = (struct names){.c = listener(&r, TOPICS, "t.*")};
  struct rig_client *pub = rig_join(&r, 0, NULL, TOPICS);
  announce(pub, 1, "t.x");
  taken(pub, 1);
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.brief = true,
                              .topic_number = 1,
                              .payload = slice_str("1"),
                              .qos = 1,
                              .message_id = slice_of(id, sizeof id),
                              .ref = 9,
                              .has_ref = true}};
  for (int i = 0; i < 2; i++) { /* the second one is the first again */
    rig_send(pub, &m);
    struct msg a = rig_expect(pub, MSG_ACK);
    assert_true(a.ack.ref == 9 && !a.ack.code.n);
  }
  struct msg got = heard(&told, "t.x", "1");
  assert_true(got.publish.qos == 1 && slice_eq(got.publish.message_id, m.publish.message_id));
  assert_true(rig_quiet(told.c, MSG_PUBLISH, NS_SEC));
  rig_stop(&r);
}

/* The publisher's own copy says so, since it has no id by which it could know it. */
static void test_own(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct rig_client *c = rig_join(&r, 0, NULL, TOPICS), *other = listener(&r, TOPICS, "t.*");
  struct slice pattern = slice_str("t.*");
  rig_send(c, &(struct msg){.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &pattern}, .own = true}});
  announce(c, 1, "t.x");
  taken(c, 1);
  say(c, 1, "mine");
  struct msg m = rig_expect(c, MSG_PUBLISH);
  assert_true(m.publish.own && slice_is(m.publish.topic, "t.x"));
  assert_false(rig_expect(other, MSG_PUBLISH).publish.own);
  say(other, 1, "x"); /* no number of this connection */
  assert_int_equal(rig_closed(other), MACULA_BAD_FRAME);
  rig_stop(&r);
}

/* Numbers that were never announced, or not any more; topics that are none; and clients without the capability. */
static void test_numbers_never_announced(void **state) {
  static const struct {
    uint64_t first, second, use;
    const char *topic;
  } cases[] = {
      {1, 2, 3, "t.x"}, {7, 263, 7, "t.x"}, {1, 2, UINT64_MAX, "t.x"}, {1, UINT64_MAX, 1, "t.x"}, {1, 2, 2, "t..x"},
      {1, 2, 2, ""},    {1, 2, 2, "t.*"},   {1, 2, 258, "t.x"},        {255, 256, 512, "t.x"},
  };
  struct rig r;
  (void)state;
  start(&r, NULL);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct rig_client *c = rig_join(&r, 0, NULL, TOPICS);
    announce(c, cases[i].first, "good");
    announce(c, cases[i].second, cases[i].topic);
    say(c, cases[i].use, "x");
    struct msg end = rig_expect(c, MSG_DISCONNECT);
    if (!slice_is(end.disconnect.code, "bad_frame")) fail_msg("case %zu", i);
    assert_true(end.disconnect.message.n > 20);
    (void)rig_closed(c);
    HOLDS(node_check(r.node));
  }
  struct rig_client *old = rig_join(&r, 0, NULL, RIG_EXT | CAP_TOPICS); /* without `origin` it is not in force */
  announce(old, 1, "t.x");
  assert_true(rig_quiet(old, MSG_ANNOUNCE, NS_SEC));
  say(old, 1, "x");
  assert_int_equal(rig_closed(old), MACULA_BAD_FRAME);
  rig_stop(&r);
}

/* Announcements without end: they take a quarter of the account at most, and whoever finds no room spells its topics. */
static void test_floods_of_topics(void **state) {
  static struct names told;
  struct rig r;
  char topic[32];
  struct row_now rows[ROWS_SHOWN];
  (void)state;
  start(&r, &(struct rig_options){.node.limits.origin_bytes = 64 << 10});
  told = (struct names){.c = listener(&r, TOPICS, "t.*")};
  struct rig_client *pub = rig_join(&r, 0, NULL, TOPICS), *few = rig_join(&r, 0, NULL, TOPICS);
  for (uint64_t i = 1; i <= 20000; i++) {
    snprintf(topic, sizeof topic, "flood.%llu", (unsigned long long)i);
    announce(pub, i, topic);
    if (i % 100 == 0) rig_run(&r, NS_MS);
  }
  rig_run(&r, NS_SEC);
  assert_true(pub->counts[MSG_ANNOUNCE] < 20000); /* not all were taken */
  rows_now(r.node, rows);
  assert_true(rows[ROW_ORIGINS].peak <= 64 << 10);
  assert_true(rows[ROW_ORIGINS].refused > 0);
  assert_true(r.node->sessions.topics.bytes <= 16 << 10);
  spell(pub, "t.x", "1");
  (void)heard(&told, "t.x", "1");
  announce(few, 1, "t.x"); /* one that wants little finds room */
  taken(few, 1);
  say(few, 1, "2");
  (void)heard(&told, "t.x", "2");
  quic_conn_close(pub->conn, 0, "");
  quic_conn_close(few->conn, 0, "");
  rig_run(&r, NS_SEC);
  assert_int_equal(r.node->sessions.topics.tab.count, 0);
  rig_stop(&r);
}

/* More topics than a receiver has slots: each message has its own, and those that have no slot are not announced in turn. */
static void test_more_topics_than_slots(void **state) {
  enum { PUBLISHERS = 3, EACH = 200 };
  static struct names told;
  struct rig r;
  struct rig_client *pub[PUBLISHERS];
  char topic[32];
  (void)state;
  start(&r, NULL);
  told = (struct names){.c = listener(&r, TOPICS, "t.*")};
  for (unsigned p = 0; p < PUBLISHERS; p++) {
    pub[p] = rig_join(&r, 0, NULL, TOPICS);
    for (unsigned i = 1; i <= EACH; i++) {
      snprintf(topic, sizeof topic, "t.%u-%u", p, i);
      announce(pub[p], i, topic);
      taken(pub[p], i);
    }
  }
  for (int round = 0; round < 4; round++)
    for (unsigned p = 0; p < PUBLISHERS; p++)
      for (unsigned i = 1; i <= EACH; i++) {
        snprintf(topic, sizeof topic, "t.%u-%u", p, i);
        say(pub[p], i, topic);
        (void)heard(&told, topic, topic);
      }
  assert_int_equal(told.announced, ANNOUNCE_SLOTS);
  assert_int_equal(told.numbered, 4 * ANNOUNCE_SLOTS);
  for (int i = 0; i < 10; i++) { /* one that insists gets a slot */
    say(pub[2], EACH, "again");
    (void)heard(&told, topic, "again");
  }
  assert_int_equal(told.announced, ANNOUNCE_SLOTS + 1);
  HOLDS(node_check(r.node));
  rig_stop(&r);
}

/* Slots are by connection: after a loss they are empty, and the topic has another number. */
static void test_a_publisher_comes_back(void **state) {
  static struct names told;
  struct rig r;
  uint64_t last = 0;
  (void)state;
  start(&r, NULL);
  told = (struct names){.c = listener(&r, TOPICS, "t.*")};
  for (int i = 0; i < 3; i++) {
    struct rig_client *pub = rig_join(&r, 0, NULL, TOPICS | CAP_STREAMS);
    rig_send_by_one_way(
        pub, &(struct msg){.type = MSG_ANNOUNCE, .announce = {.kind = ANNOUNCE_TOPIC, .number = 1, .topic = slice_str("t.x")}});
    taken(pub, 1);
    rig_send_by_one_way(
        pub, &(struct msg){.type = MSG_PUBLISH, .publish = {.brief = true, .topic_number = 1, .payload = slice_str("1")}});
    uint64_t number = heard(&told, "t.x", "1").publish.topic_number;
    assert_true(number > last);
    last = number;
    quic_conn_close(pub->conn, 0, "");
    rig_run(&r, NS_SEC);
  }
  rig_stop(&r);
}

static void reload(struct rig *r, const char *yaml) {
  struct node_reload l = {.access = access_text(yaml)};
  assert_int_equal(node_reload(r->node, &l), 0);
  access_unref(l.access);
  rig_run(r, NS_SEC);
}

/* A number is no way around a rule: judged at the first publish, and anew after a reload. */
static void test_rights(void **state) {
  struct rig r;
  (void)state;
  start(&r, &(struct rig_options){.access = "grants: {all: {pub: [t.x], sub: ['**']}}\ndefault: all\n"});
  struct rig_client *sub = listener(&r, RIG_EXT, "**"), *pub = rig_join(&r, 0, NULL, TOPICS);
  announce(pub, 1, "t.x");
  taken(pub, 1);
  announce(pub, 2, "t.y");
  taken(pub, 2);
  for (int i = 0; i < 2; i++) {
    say(pub, 1, "allowed");
    say(pub, 2, "forbidden");
    assert_true(slice_is(rig_expect(sub, MSG_PUBLISH).publish.topic, "t.x"));
  }
  assert_true(rig_quiet(sub, MSG_PUBLISH, NS_SEC));
  reload(&r, "grants: {all: {pub: [t.y], sub: ['**']}}\ndefault: all\n");
  say(pub, 1, "forbidden");
  say(pub, 2, "allowed");
  assert_true(slice_is(rig_expect(sub, MSG_PUBLISH).publish.topic, "t.y"));
  assert_true(rig_quiet(sub, MSG_PUBLISH, NS_SEC));
  rig_stop(&r);
}

/* Idle connections hold nothing of it. */
static void test_nothing_until_used(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct rig_client *pub = rig_join(&r, 0, NULL, TOPICS), *sub = listener(&r, TOPICS, "t.x");
  spell(pub, "t.x", "once");
  (void)rig_expect(sub, MSG_PUBLISH);
  assert_int_equal(r.node->sessions.topics.bytes, 0);
  announce(pub, 1, "t.x");
  taken(pub, 1);
  say(pub, 1, "1");
  (void)rig_expect(sub, MSG_PUBLISH);
  assert_in_range(r.node->sessions.topics.bytes, 1, 400);
  rig_stop(&r);
}

/* The time of a turn is over when the first messages of it were delivered: so a fan-out goes on in the next ones. */
static struct rig *sliced;
static uint64_t delivered;
static bool spent(void *ctx) {
  const struct node *n = sliced->node;
  (void)ctx;
  bool first = n->stats.delivered == delivered;
  delivered = n->stats.delivered;
  return n->messages.rest || !first;
}

/* What many get over several turns comes to each in its form, and under one id. */
static void test_in_slices(void **state) {
  enum { MANY = 160 };
  static const uint32_t caps[] = {TOPICS, RIG_EXT, RIG_BASE, ORIGIN_CAPS};
  static char large[3000];
  struct rig r;
  struct rig_client *sub[MANY];
  uint8_t id[CALL_ID_LEN];
  (void)state;
  sliced = &r;
  memset(large, 'l', sizeof large - 1);
  start(&r, &(struct rig_options){.node = {.allow_unverified = true, .process = {.spent = spent}}});
  struct rig_client *pub = rig_join(&r, 0, NULL, TOPICS);
  struct slice pattern = slice_str("t/x");
  rig_send(pub, &(struct msg){.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &pattern}, .own = true}});
  for (int i = 0; i < MANY; i++) {
    sub[i] = rig_join(&r, 0, NULL, caps[i % 4]);
    rig_send(sub[i], &(struct msg){.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &pattern}}});
  }
  announce(pub, 1, "t/x");
  taken(pub, 1);
  for (int k = 0; k < 4; k++) {
    const char *payload = k % 2 ? large : "small";
    bool has_id = false;
    say(pub, 1, payload);
    for (int i = 0; i < MANY; i++) {
      struct msg m = rig_expect(sub[i], MSG_PUBLISH);
      assert_true(slice_is(m.publish.payload, payload));
      assert_int_equal(m.publish.brief, i % 4 == 0);
      if (i % 4) assert_true(slice_is(m.publish.topic, i % 4 == 2 ? "t/x" : "t.x"));
      if (i % 4 == 0) assert_true(!m.publish.message_id.p && m.publish.origin.number && !m.publish.own);
      if (i % 4 == 0) assert_int_equal(!m.publish.topic.p, k % 2 == 0);
      if (i % 4 && has_id) assert_memory_equal(m.publish.message_id.p, id, sizeof id);
      if (i % 4) memcpy(id, m.publish.message_id.p, sizeof id), has_id = true;
    }
    assert_true(rig_expect(pub, MSG_PUBLISH).publish.own);
  }
  assert_true(r.node->stats.fanouts_sliced > 0);
  rig_stop(&r);
}

static void test_checks(void **state) {
  struct rig r;
  (void)state;
  start(&r, NULL);
  struct rig_client *pub = rig_join(&r, 0, NULL, TOPICS), *sub = listener(&r, TOPICS, "t.x");
  announce(pub, 1, "t.x");
  taken(pub, 1);
  say(pub, 1, "1");
  (void)rig_expect(sub, MSG_PUBLISH);
  struct topics *all = &r.node->sessions.topics;
  struct topic *t = container_of(htab_next(&all->tab, NULL), struct topic, h);
  BREAKS(t->refs, 2, node_check(r.node), "topics: they are not referred to as often as they say");
  BREAKS(t->refs, 0, node_check(r.node), "topics: one has a number that was not given, or is nobody's");
  BREAKS(t->number, 9, node_check(r.node), "topics: one has a number that was not given, or is nobody's");
  BREAKS(t->name[0], 'u', node_check(r.node), "topics: one is not found by its name");
  BREAKS(all->bytes, 1, node_check(r.node), "topics: they are not as many bytes as counted");
  list_for(it, &r.node->sessions.all) {
    struct session *s = container_of(it, struct session, all);
    struct topic_slot *slot = s->native->topics_of.heard ? topics_by_number(s, 1) : NULL;
    if (slot) BREAKS(slot->number, 2, node_check(r.node), "topics: what was heard stands in another's slot");
  }
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_each_in_its_form),
      cmocka_unit_test(test_bytes_on_the_wire),
      cmocka_unit_test(test_qos1),
      cmocka_unit_test(test_own),
      cmocka_unit_test(test_numbers_never_announced),
      cmocka_unit_test(test_floods_of_topics),
      cmocka_unit_test(test_more_topics_than_slots),
      cmocka_unit_test(test_a_publisher_comes_back),
      cmocka_unit_test(test_rights),
      cmocka_unit_test(test_nothing_until_used),
      cmocka_unit_test(test_in_slices),
      cmocka_unit_test(test_checks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
