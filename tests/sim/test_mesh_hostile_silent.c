/* Nodes that say nothing: they take interest and acknowledge nothing, or take places that others need. */
#include "mesh_hostile_rig.h"
#include "wire/interest.h"

/* Answers probes, and messages if it wants to; *ret_ref: of the last message seen. */
static void attend(struct rig_client *c, bool acknowledges, uint64_t *ret_ref) {
  struct swim_record me = {.incarnation = 5, .gateway = *node_id(c->rig->node), .name = slice_str("liar")};
  uint8_t buf[1200];
  for (; c->read < c->kept_count; c->read++) {
    const struct rig_frame *f = &c->kept[c->read];
    struct swim_msg swim;
    struct msg m;
    if (f->type == MSG_SWIM_PING && swim_decode(f->type, slice_of(f->payload, f->len), &swim) == 0)
      send_payload(c, MSG_SWIM_ACK, buf, swim_payload(buf, sizeof buf, MSG_SWIM_ACK, swim.seq, c->identity, &me, NULL, 0));
    if (f->type != MSG_PUBLISH || msg_decode(f->type, slice_of(f->payload, f->len), &m)) continue;
    if (ret_ref) *ret_ref = m.publish.ref;
    struct msg ack = {.type = MSG_ACK, .ack = {.ref = m.publish.ref}};
    if (acknowledges) rig_send(c, &ack);
  }
}

/* All its patterns, number and digest included: it is known to listen. */
static void tells(struct rig_client *c, const char *pattern) {
  static const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
  uint8_t buf[1024];
  struct slice s = slice_str(pattern);
  struct wire_interest m = {.epoch = 9, .version = 1, .reset = true, .total = 1, .digest = siphash13(key, s.p, s.n)};
  m.adds = (struct msg_list){.count = 1, .items = &s};
  send_payload(c, MSG_INTEREST, buf, wire_interest_encode(&m, buf, sizeof buf));
}

struct rogues {
  struct rig_client *all[8];
  unsigned count;
  bool acknowledge;
  uint64_t ref;
};

static void run(struct honest *h, struct rogues *r, nanotime for_ns) {
  for (nanotime done = 0; done < for_ns; done += 100 * NS_MS) {
    go(h, 100 * NS_MS);
    for (unsigned i = 0; i < r->count; i++) attend(r->all[i], r->acknowledge, &r->ref);
  }
}

struct outcome {
  int err;
  struct msg_partly partly;
  nanotime took;
};

static struct outcome publish_from(struct honest *h, struct rogues *r, const char *topic) {
  uint8_t id[CALL_ID_LEN] = {0};
  uint64_t number = ++h->messages, acks = h->pub->counts[MSG_ACK];
  nanotime since = sim_net_now(h->m.rig[0].net);
  memcpy(id, &number, sizeof number);
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_str(topic),
                              .payload = slice_str("x"),
                              .qos = 1,
                              .message_id = slice_of(id, sizeof id),
                              .ref = number,
                              .has_ref = true}};
  rig_send(h->pub, &m);
  for (int i = 0; i < 200 && h->pub->counts[MSG_ACK] == acks; i++) run(h, r, 100 * NS_MS);
  struct msg ack = rig_expect(h->pub, MSG_ACK);
  assert_true(ack.ack.ref == number);
  return (struct outcome){ack.ack.code.n ? err_from_name((const char *)ack.ack.code.p, ack.ack.code.n) : 0, ack.ack.partly,
                          sim_net_now(h->m.rig[0].net) - since};
}

static uint64_t heard(struct honest *h) { return h->sub->counts[MSG_PUBLISH]; }

/* A node that takes everything and acknowledges nothing delays a few messages and no more, and is named. With and without
 * loss. */
static void left_open(bool lossy) {
  struct sim_link link = {.delay = 5 * NS_MS, .loss = lossy ? 0.02 : 0};
  struct rig_options o = {.link = &link};
  struct honest h;
  struct rogues r = {.count = 1};
  honest_start(&h, &o);
  r.all[0] = mute(&h.m.rig[0], "");
  tells(r.all[0], "**");
  run(&h, &r, NS_SEC);
  uint64_t before = heard(&h);
  for (int k = 0; k < 3; k++) {
    struct outcome out = publish_from(&h, &r, "honest.x");
    assert_int_equal(out.err, MACULA_TIMEOUT);
    assert_int_equal(out.partly.silent, 1);
  }
  for (int k = 0; k < 10; k++) {
    struct outcome out = publish_from(&h, &r, "honest.x");
    assert_int_equal(out.err, 0);
    assert_int_equal(out.partly.silent, 1);
    assert_true(out.took < 2 * NS_SEC);
  }
  assert_int_equal(heard(&h), before + 13);
  assert_false(r.all[0]->closed);
  assert_int_equal(rig_metric(&h.m.rig[0], "mesh_silent"), 1);
  /* It is waited for again once it acknowledges in time. */
  r.acknowledge = true;
  (void)publish_from(&h, &r, "honest.x");
  run(&h, &r, NS_SEC);
  (void)publish_from(&h, &r, "honest.x");
  run(&h, &r, NS_SEC);
  assert_int_equal(rig_metric(&h.m.rig[0], "mesh_silent"), 0);
  struct outcome out = publish_from(&h, &r, "honest.x");
  assert_true(!out.err && !msg_is_partly(&out.partly));
  /* One that is found silent again cannot buy further delays with one acknowledgement each. */
  r.acknowledge = false;
  for (int k = 0; k < 3; k++) assert_int_equal(publish_from(&h, &r, "honest.x").err, MACULA_TIMEOUT);
  assert_int_equal(publish_from(&h, &r, "honest.x").err, 0);
  struct msg ack = {.type = MSG_ACK, .ack = {.ref = r.ref}};
  rig_send(r.all[0], &ack);
  run(&h, &r, NS_SEC);
  assert_int_equal(rig_metric(&h.m.rig[0], "mesh_silent"), 1);
  assert_int_equal(rig_metric(&h.m.rig[0], "mesh_silent_found_total"), 2);
  bye(r.all[0]);
  honest_stop(&h);
}

static void test_acknowledgements_left_open(void **state) {
  (void)state;
  left_open(false);
  left_open(true);
}

/* A node that has a link and says nothing: a publish is not done until it is found silent, and is told why. */
static void test_says_nothing(void **state) {
  struct honest h;
  struct rogues r = {.count = 1};
  (void)state;
  honest_start(&h, NULL);
  r.all[0] = mute(&h.m.rig[0], "");
  struct outcome out = publish_from(&h, &r, "honest.x");
  assert_int_equal(out.err, MACULA_LISTENERS_UNKNOWN);
  assert_int_equal(out.partly.unknown, 1);
  for (int k = 0; k < 3; k++) {
    out = publish_from(&h, &r, "honest.x");
    assert_int_equal(out.err, 0);
    assert_int_equal(out.partly.silent, 1);
    assert_true(out.took < NS_SEC);
  }
  assert_int_equal(heard(&h), 4);
  /* What it never was asked about: nobody waits. */
  run(&h, &r, 10 * NS_SEC);
  assert_int_equal(publish_from(&h, &r, "honest.x").err, 0);
  bye(r.all[0]);
  honest_stop(&h);
}

/* Free identities have taken all places: never is a message said to be done that the only subscriber did not get. */
static void sybils(bool tell, bool named) {
  struct rig_options o = {.node = {.limits = {.max_interested = 4}}};
  struct honest h = {0};
  struct rogues r = {.count = 4, .acknowledge = tell};
  mesh_start(&h.m, 2, &o);
  h.pub = rig_join(&h.m.rig[0], 0, NULL, RIG_EXT);
  h.sub = rig_join(&h.m.rig[1], 0, NULL, RIG_EXT);
  assert_int_equal(rig_subscribe(h.sub, "honest.*"), 0);
  for (unsigned i = 0; i < r.count; i++) {
    r.all[i] = mute(&h.m.rig[0], "");
    if (tell) tells(r.all[i], "nothing");
  }
  run(&h, &r, NS_SEC);
  mesh_join(&h.m, 1, 0);
  if (named) mesh_join(&h.m, 0, 1);
  for (int k = 0; k < 20; k++) {
    uint64_t before = heard(&h);
    struct outcome out = publish_from(&h, &r, "honest.x");
    run(&h, &r, NS_SEC);
    if (!k) continue; /* before the link stood nobody knew of the other node */
    if (!out.err && heard(&h) == before) fail_msg("done, and heard by nobody");
    if (k <= 12) continue;
    assert_int_equal(out.err,
                     tell ? MACULA_LISTENERS_UNKNOWN : 0); /* of who has lost its place to this node, or of this node */
    assert_int_equal(out.partly.unknown, tell ? 1 : 0);
    assert_int_equal(out.partly.silent, tell ? 0 : 4);
    assert_int_equal(heard(&h) > before, named || !tell);
  }
  for (unsigned i = 0; i < r.count; i++) bye(r.all[i]);
  mesh_stop(&h.m);
}

static void test_places_taken_by_sybils(void **state) {
  (void)state;
  sybils(true, false);
  sybils(true, true);
  sybils(false, false);
}

/* And take none from who has one. */
static void test_places_kept(void **state) {
  struct rig_options o = {.node = {.limits = {.max_interested = 4}}};
  struct honest h;
  struct rogues r = {.acknowledge = true};
  (void)state;
  honest_start(&h, &o);
  for (unsigned i = 0; i < 8; i++) {
    r.all[r.count++] = mute(&h.m.rig[0], "");
    tells(r.all[i], "nothing");
    run(&h, &r, 200 * NS_MS);
    uint64_t before = heard(&h);
    struct outcome out = publish_from(&h, &r, "honest.x");
    assert_int_equal(heard(&h), before + 1);
    assert_int_equal(out.err, i < 3 ? 0 : MACULA_LISTENERS_UNKNOWN);
    assert_int_equal(out.partly.unknown, i < 3 ? 0 : i - 2);
  }
  for (unsigned i = 0; i < r.count; i++) bye(r.all[i]);
  honest_stop(&h);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_acknowledgements_left_open), cmocka_unit_test(test_says_nothing),
                                     cmocka_unit_test(test_places_taken_by_sybils), cmocka_unit_test(test_places_kept)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
