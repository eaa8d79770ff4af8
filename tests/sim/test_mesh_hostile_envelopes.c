/* Lies about envelopes: two honest nodes that reach each other only through a liar, or with a liar beside them. It alters what
 * it carries, sends again what it has seen, speaks in another's name, takes part in the exchange of keys, and says what it did
 * not do. With and without loss: what arrives was sent by whom it names, once, and goes back the way it came. */
#include "mesh_calls_rig.h"
#include "mesh_hostile_rig.h"
#include "node/messages/spread.h"
#include "node/peers/seal.h"
#include "trust/agree.h"
#include "wire/agree.h"

#define SEEN 512

/* One liar with a link to each of the two nodes. */
struct liar_between {
  struct rig_client *end[2];
  const struct id *id;
};

struct seen { /* an envelope that a liar carried */
  unsigned to;
  struct msg m;
};

enum what { NOTHING, PAYLOAD, TYPE, SOURCE, SEAL, NO_SEAL, TWICE, AGREEMENT, LATER };
struct fixture {
  struct mesh m;
  struct liar_between between, beside;
  struct rig_client *caller, *provider; /* at node 0, at node 1 */
  enum what what;                       /* is done to what is carried */
  uint64_t calls;
  uint64_t carried, drop; /* of the envelopes carried the first so many are dropped */
  struct seen seen[SEEN];
  size_t seen_count;
};

static struct fixture f;

static const struct id *honest_id(unsigned i) { return quic_identity_id(f.m.rig[i].identity); }

static struct liar_between liar_in(const char *endpoint) {
  struct liar_between l;
  l.end[0] = liar(&f.m.rig[0], endpoint);
  l.end[1] = rig_client(&f.m.rig[1], 0, l.end[0]->identity);
  memcpy(l.end[1]->instance, l.end[0]->instance, INSTANCE_LEN);
  rig_opened(l.end[1]);
  connect_as_node(l.end[1], endpoint);
  (void)rig_expect(l.end[1], MSG_PONG);
  l.id = id_of(l.end[0]);
  return l;
}

/* Over the link to node `to`, as if it had been carried on by this liar. */
static void pass_on(const struct liar_between *l, unsigned to, const struct msg *m) {
  struct slice path[2] = {m->route.source, slice_of(l->id->b, ID_LEN)};
  struct msg e = *m;
  e.route.path = (struct msg_list){.count = 2, .items = path};
  if (slice_eq(path[0], path[1])) e.route.path.count = 1;
  e.route.hop_count = 1;
  rig_send(l->end[to], &e);
}

/* The liar's own exchange in another's place: its key and its value, signed by itself. */
static struct slice own_agreement(struct slice payload, uint8_t *buf, size_t cap) {
  static uint8_t secret[32] = {7}, value[32], sig[QUIC_SIGNATURE_MAX];
  struct wire_agree a;
  size_t n;
  assert_int_equal(wire_agree_decode(payload, &a), 0);
  crypto_x25519_public(secret, value);
  struct quic_identity *me = f.between.end[0]->identity;
  assert_int_equal(quic_identity_sign(me, payload, sig, &n), 0);
  a.value = slice_of(value, sizeof value);
  if (f.calls % 2) a.key = quic_identity_spki(me);
  a.signature = slice_of(sig, n);
  return slice_of(buf, wire_agree_encode(&a, buf, cap));
}

static void carry_altered(unsigned to, struct msg m) {
  static const uint8_t no_seal[AGREE_SEAL_LEN];
  uint8_t seal[AGREE_SEAL_LEN], buf[8192];
  struct msg inner;
  struct msg_route *r = &m.route;
  bool sealed = r->seal.n == AGREE_SEAL_LEN;
  if (sealed) memcpy(seal, r->seal.p, sizeof seal);
  switch (f.what) {
  case NOTHING:
  case TWICE:
    break;
  case LATER:
    if (sealed && slice_is(r->payload_type, "call")) return;
    break;
  case PAYLOAD:
    if (!sealed || m.type != MSG_RPC_ROUTE || !slice_is(r->payload_type, "call")) {
      if (!sealed || !slice_is(r->payload_type, "reply") || msg_decode(MSG_REPLY, r->payload, &inner)) break;
      inner.reply.result = slice_str("forged");
    } else {
      if (msg_decode(MSG_CALL, r->payload, &inner)) break;
      inner.call.args = slice_str("666");
    }
    ptrdiff_t n = msg_encode(&inner, buf, sizeof buf);
    r->payload = slice_of(buf + FRAME_HEADER_LEN, (size_t)n - FRAME_HEADER_LEN);
    break;
  case TYPE:
    if (sealed && slice_is(r->payload_type, "call")) r->payload_type = slice_str("cast");
    if (sealed && slice_is(r->payload_type, "reply")) r->payload_type = slice_str("cancel");
    break;
  case SOURCE:
    if (sealed) r->source = slice_of(f.between.id->b, ID_LEN);
    break;
  case SEAL:
    if (sealed) r->seal = slice_of(no_seal, sizeof no_seal);
    break;
  case NO_SEAL:
    r->seal = SLICE_NONE;
    break;
  case AGREEMENT:
    if (slice_is(r->payload_type, "agree") && !sealed) r->payload = own_agreement(r->payload, buf, sizeof buf);
    break;
  }
  if (f.what == SEAL || f.what == NO_SEAL) assert_true(!sealed || memcmp(seal, no_seal, sizeof seal));
  pass_on(&f.between, to, &m);
}

/* A liar gives its signs of life, else it would be declared dead, and its links would end. */
static void answer_ping(struct rig_client *c, const struct rig_frame *k) {
  struct swim_record me = {.incarnation = 1, .name = slice_str("liar")};
  struct swim_msg swim;
  uint8_t buf[1200];
  if (k->type != MSG_SWIM_PING || swim_decode(k->type, slice_of(k->payload, k->len), &swim)) return;
  send_payload(c, MSG_SWIM_ACK, buf, swim_payload(buf, sizeof buf, MSG_SWIM_ACK, swim.seq, c->identity, &me, NULL, 0));
}

/* Carries on what the two nodes gave the liar between them. */
static void carry(void) {
  for (unsigned from = 0; from < 2; from++) {
    struct rig_client *c = f.between.end[from], *other = f.beside.end[from];
    for (; other->conn && other->read < other->kept_count; other->read++) answer_ping(other, &other->kept[other->read]);
    for (; c->read < c->kept_count; c->read++) {
      const struct rig_frame *k = &c->kept[c->read];
      struct msg m;
      answer_ping(c, k);
      if ((k->type != MSG_RPC_ROUTE && k->type != MSG_PUBSUB_ROUTE) || msg_decode(k->type, slice_of(k->payload, k->len), &m))
        continue;
      if (!slice_eq(m.route.destination, slice_of(honest_id(!from)->b, ID_LEN))) continue;
      if (f.seen_count < SEEN) f.seen[f.seen_count++] = (struct seen){!from, m};
      if (f.carried++ < f.drop) continue;
      carry_altered(!from, m);
      for (int i = 0; f.what == TWICE && i < 2; i++) pass_on(&f.between, !from, &m);
    }
  }
}

static void lasts(nanotime for_ns) {
  for (nanotime end = sim_net_now(f.m.rig[0].net) + for_ns; sim_net_now(f.m.rig[0].net) < end;) {
    carry();
    rig_run(&f.m.rig[0], 5 * NS_MS);
  }
  if (f.between.end[0]->closed || f.between.end[1]->closed) fail_msg("the liar was closed: %s", f.between.end[0]->why_text);
}

static bool comes(struct rig_client *c, uint8_t type, uint64_t count) {
  for (int i = 0; i < 4000 && c->counts[type] < count; i++) lasts(5 * NS_MS);
  return c->counts[type] >= count;
}

static void begin_in(double loss) {
  static struct sim_link link;
  memset(&f, 0, sizeof f);
  link = (struct sim_link){.delay = 2 * NS_MS, .loss = loss};
  struct rig_options o = {.link = &link, .seed = 11};
  mesh_start(&f.m, 2, &o);
  sim_net_cut(f.m.rig[0].net, &f.m.rig[0].addr, &f.m.rig[1].addr, true);
  f.between = liar_in("10.7.7.7:7000");
  f.beside = liar_in("");
  f.caller = client(&f.m, 0);
  f.provider = provider(&f.m, 1, "x.y");
  struct discovery *d = (struct discovery *)router_discovery(f.m.rig[0].node->rpc.router);
  struct remote_node v = {.id = *honest_id(1), .gateway = *f.between.id};
  struct discovery_entry *e;
  assert_int_equal(discovery_look(d, slice_str("x.y"), now(&f.m), &e), 0);
  assert_int_equal(discovery_found(d, e, &v, 1, now(&f.m)), 0);
}

static void known_again(void) {
  struct discovery *d = (struct discovery *)router_discovery(f.m.rig[0].node->rpc.router);
  struct remote_node v = {.id = *honest_id(1), .gateway = *f.between.id};
  struct discovery_entry *e;
  if (discovery_look(d, slice_str("x.y"), now(&f.m), &e) == 0) (void)discovery_found(d, e, &v, 1, now(&f.m));
}

static void ask(uint64_t timeout) {
  known_again();
  f.calls++;
  rig_call(f.caller, "x.y", "7", f.calls, timeout);
}

static struct msg last(struct rig_client *c, uint8_t type) {
  struct msg m;
  for (size_t i = c->kept_count; i-- > 0;)
    if (c->kept[i].type == type && msg_decode(type, slice_of(c->kept[i].payload, c->kept[i].len), &m) == 0) return m;
  fail_msg("no such frame");
  return m;
}

/* A call arrives as it was made, once, and its answer as it was given. */
static void served_call(void) {
  uint64_t had = f.provider->counts[MSG_CALL], answered = f.caller->counts[MSG_REPLY];
  ask(15000);
  assert_true(comes(f.provider, MSG_CALL, had + 1));
  struct msg c = last(f.provider, MSG_CALL);
  assert_true(slice_is(c.call.args, "7"));
  rig_reply(f.provider, c.call.call_id, "9");
  assert_true(comes(f.caller, MSG_REPLY, answered + 1));
  struct msg r = last(f.caller, MSG_REPLY);
  if (r.reply.is_error) fail_msg("%.*s", (int)r.reply.error.code.n, r.reply.error.code.p);
  assert_true(slice_is(r.reply.result, "9"));
  lasts(100 * NS_MS);
  assert_int_equal(f.provider->counts[MSG_CALL], had + 1);
  assert_int_equal(f.caller->counts[MSG_REPLY], answered + 1);
}

static uint64_t metric(unsigned i, const char *name) { return rig_metric(&f.m.rig[i], name); }

static void ends(void) {
  for (unsigned i = 0; i < 2; i++) {
    bye(f.between.end[i]);
    bye(f.beside.end[i]);
  }
  rig_run(&f.m.rig[0], 60 * NS_SEC);
  stop(&f.m);
}

static const double losses[] = {0, 0.1};
#define EACH_LOSS for (size_t loss_ = 0; loss_ < 2; loss_++)
#define LOSS losses[loss_]

/* ---- as gateway ------------------------------------------------------------------------------------------------------------
 */
/* What is altered on the way does not arrive, be it a question or an answer. */
static void test_altered_on_the_way(void **state) {
  static const enum what all[] = {PAYLOAD, TYPE, SOURCE, SEAL, NO_SEAL};
  (void)state;
  EACH_LOSS for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) {
    begin_in(LOSS);
    served_call();
    uint64_t calls = f.provider->counts[MSG_CALL], casts = f.provider->counts[MSG_CAST];
    f.what = all[k];
    ask(1000);
    lasts(3 * NS_SEC);
    assert_int_equal(f.provider->counts[MSG_CALL], calls);
    assert_int_equal(f.provider->counts[MSG_CAST], casts);
    assert_true(metric(1, "envelopes_forged_total") + metric(1, "envelopes_unknown_total") > 0);
    f.what = NOTHING; /* the question arrives, and the answer is altered */
    uint64_t answers = f.caller->counts[MSG_REPLY];
    ask(2000);
    assert_true(comes(f.provider, MSG_CALL, calls + 1));
    f.what = all[k];
    rig_reply(f.provider, last(f.provider, MSG_CALL).call.call_id, "9");
    assert_true(comes(f.caller, MSG_REPLY, answers + 1));
    struct msg r = last(f.caller, MSG_REPLY);
    assert_true(r.reply.is_error); /* its time was over */
    f.what = NOTHING;
    lasts(15 * NS_SEC); /* keys that are not known made the two agree anew */
    served_call();
    ends();
  }
}

/* All that passed comes again, at once and later. */
static void test_sent_again(void **state) {
  (void)state;
  EACH_LOSS {
    begin_in(LOSS);
    f.what = TWICE;
    for (int i = 0; i < 5; i++) served_call();
    struct msg cast = {.type = MSG_CAST, .call = {.procedure = slice_str("x.y"), .args = slice_str("1")}};
    for (uint64_t i = 1; i <= 5; i++) {
      rig_send(f.caller, &cast);
      assert_true(comes(f.provider, MSG_CAST, i));
    }
    uint64_t calls = f.provider->counts[MSG_CALL], answers = f.caller->counts[MSG_REPLY];
    for (size_t i = 0; i < f.seen_count; i++) { /* by the liar that carried it, and by another one */
      pass_on(&f.between, f.seen[i].to, &f.seen[i].m);
      pass_on(&f.beside, f.seen[i].to, &f.seen[i].m);
    }
    lasts(2 * NS_SEC);
    assert_int_equal(f.provider->counts[MSG_CALL], calls);
    assert_int_equal(f.provider->counts[MSG_CAST], 5);
    assert_int_equal(f.caller->counts[MSG_REPLY], answers);
    assert_true(metric(1, "envelopes_replayed_total") > 10);
    f.what = NOTHING;
    served_call();
    ends();
  }
}

/* A call that is held back for longer than calls take does not run: its caller may have given it up, or it may run elsewhere.
 */
static void test_held_back(void **state) {
  (void)state;
  EACH_LOSS {
    begin_in(LOSS);
    for (int i = 0; i < 3; i++) served_call();
    uint64_t calls = f.provider->counts[MSG_CALL], carried;
    f.what = LATER;
    ask(15000);
    do carried = f.seen_count, lasts(3 * NS_SEC);
    while (f.seen_count != carried);
    f.what = NOTHING;
    for (size_t i = f.seen_count; i-- > 0;) {
      if (!slice_is(f.seen[i].m.route.payload_type, "call")) continue;
      pass_on(&f.between, f.seen[i].to, &f.seen[i].m);
      break;
    }
    assert_true(comes(f.caller, MSG_REPLY, calls + 1));
    assert_true(last(f.caller, MSG_REPLY).reply.is_error);
    assert_int_equal(f.provider->counts[MSG_CALL], calls);
    served_call();
    ends();
  }
}

/* Publishes, with the subscriptions that lead to them, both ways. */
static void test_publishes(void **state) {
  (void)state;
  EACH_LOSS {
    begin_in(LOSS);
    served_call();
    struct rig_client *sub = client(&f.m, 1);
    assert_int_equal(rig_subscribe(sub, "q"), 0);
    for (unsigned i = 0; i < 2; i++) spread_alive(mesh_peer(&f.m, i, !i));
    struct peer *p = mesh_peer(&f.m, 0, 1);
    for (int i = 0; i < 2000 && !p->spread.interest.whole; i++) lasts(5 * NS_MS);
    assert_true(p->spread.interest.whole && p->spread.interest.topics.count == 1);
    f.what = TWICE;
    for (uint64_t i = 1; i <= 10; i++) {
      rig_publish_only(f.caller, "q", slice_str("news"), 0);
      assert_true(comes(sub, MSG_PUBLISH, i));
    }
    lasts(NS_SEC);
    assert_int_equal(sub->counts[MSG_PUBLISH], 10);
    for (size_t i = 0; i < f.seen_count; i++) {
      struct msg m = f.seen[i].m, inner;
      uint8_t buf[1024];
      if (m.type != MSG_PUBSUB_ROUTE || msg_decode(MSG_PUBLISH, m.route.payload, &inner)) continue;
      pass_on(&f.beside, 1, &m);
      inner.publish.payload = slice_str("lies");
      ptrdiff_t n = msg_encode(&inner, buf, sizeof buf);
      m.route.payload = slice_of(buf + FRAME_HEADER_LEN, (size_t)n - FRAME_HEADER_LEN);
      pass_on(&f.between, 1, &m);
      m.route.seal = SLICE_NONE;
      pass_on(&f.beside, 1, &m);
    }
    lasts(NS_SEC);
    assert_int_equal(sub->counts[MSG_PUBLISH], 10);
    ends();
  }
}

/* ---- the exchange of keys --------------------------------------------------------------------------------------------------
 */
/* The first envelopes are lost: the exchange is repeated, and the first call arrives. */
static void test_first_call_is_not_lost(void **state) {
  (void)state;
  EACH_LOSS for (uint64_t drop = 0; drop < 5; drop++) {
    begin_in(LOSS);
    f.drop = drop;
    served_call();
    assert_int_equal(metric(0, "agreements_total"), 1);
    ends();
  }
}

/* The one in the middle puts its own keys in, signed by itself, in its own name or in theirs. */
static void test_in_the_middle(void **state) {
  (void)state;
  EACH_LOSS for (uint64_t k = 0; k < 2; k++) {
    begin_in(LOSS);
    f.calls = k;
    f.what = AGREEMENT;
    ask(3000);
    lasts(4 * NS_SEC);
    assert_int_equal(f.provider->counts[MSG_CALL], 0);
    assert_int_equal(metric(1, "agreements_total"), 0);
    assert_true(metric(1, "envelopes_forged_total") > 0);
    f.what = NOTHING;
    lasts(15 * NS_SEC);
    served_call();
    ends();
  }
}

/* Offers and answers that were recorded come again and again, from both liars, while the honest exchange and calls go on. */
static void test_recorded_exchange(void **state) {
  (void)state;
  EACH_LOSS {
    begin_in(LOSS);
    served_call();
    size_t count = f.seen_count;
    for (int round = 0; round < 20; round++) {
      for (size_t i = 0; i < count; i++) {
        if (!slice_is(f.seen[i].m.route.payload_type, "agree")) continue;
        pass_on(&f.between, f.seen[i].to, &f.seen[i].m);
        pass_on(&f.beside, f.seen[i].to, &f.seen[i].m);
      }
      served_call();
    }
    assert_int_equal(metric(0, "agreements_total"), 1);
    /* One of the two begins anew, and what was recorded of its last run comes first. */
    seal_drop(mesh_peer(&f.m, 1, 0));
    seal_drop(mesh_peer(&f.m, 0, 1));
    for (size_t i = 0; i < count; i++)
      if (slice_is(f.seen[i].m.route.payload_type, "agree")) pass_on(&f.beside, f.seen[i].to, &f.seen[i].m);
    served_call();
    ends();
  }
}

/* ---- beside them -----------------------------------------------------------------------------------------------------------
 */
static void forge(unsigned to, unsigned as, const struct msg *inner, const struct seen *with) {
  uint8_t buf[1024], seal[AGREE_SEAL_LEN] = {1, 2, 3};
  ptrdiff_t n = msg_encode(inner, buf, sizeof buf);
  struct msg m = {.type = inner->type == MSG_PUBLISH ? MSG_PUBSUB_ROUTE : MSG_RPC_ROUTE,
                  .route = {.destination = slice_of(honest_id(to)->b, ID_LEN),
                            .source = slice_of(honest_id(as)->b, ID_LEN),
                            .max_hops = 10,
                            .payload_type = slice_str(msg_type_name((uint8_t)inner->type)),
                            .topic = slice_of("", 0),
                            .payload = slice_of(buf + FRAME_HEADER_LEN, (size_t)n - FRAME_HEADER_LEN)}};
  pass_on(&f.beside, to, &m);
  m.route.seal = slice_of(seal, sizeof seal);
  pass_on(&f.beside, to, &m);
  if (with) m.route.seal = with->m.route.seal;
  pass_on(&f.beside, to, &m);
}

static const struct seen *last_seen(const char *type) {
  for (size_t i = f.seen_count; i-- > 0;)
    if (slice_is(f.seen[i].m.route.payload_type, type)) return &f.seen[i];
  return NULL;
}

/* In another's name, while a call is under way: it is neither cancelled nor answered by the liar, and the answer goes back the
 * way by which the call came. (The liar beside knows the call's id from the one between.) */
static void test_in_anothers_name(void **state) {
  (void)state;
  EACH_LOSS {
    begin_in(LOSS);
    served_call();
    uint64_t had = f.provider->counts[MSG_CALL], answered = f.caller->counts[MSG_REPLY];
    ask(15000);
    assert_true(comes(f.provider, MSG_CALL, had + 1));
    struct msg c = last(f.provider, MSG_CALL), on_the_way;
    const struct seen *seen = last_seen("call");
    assert_int_equal(msg_decode(MSG_CALL, seen->m.route.payload, &on_the_way), 0);
    struct slice id = on_the_way.call.call_id;
    uint8_t bogus[CALL_ID_LEN] = {0xbb};
    struct msg cancel = {.type = MSG_CANCEL, .cancel = {.call_id = id, .reason = slice_str("cancelled")}};
    struct msg none = {.type = MSG_CANCEL,
                       .cancel = {.call_id = slice_of(bogus, sizeof bogus), .reason = slice_str("cancelled")}};
    struct msg reply = {.type = MSG_REPLY, .reply = {.call_id = id, .result = slice_str("forged")}};
    struct msg call = {.type = MSG_CALL,
                       .call = {.procedure = slice_str("x.y"), .args = slice_str("666"), .call_id = slice_of(bogus, 16)}};
    struct msg news = {.type = MSG_PUBLISH, .publish = {.topic = slice_str("q"), .payload = slice_str("lies")}};
    uint64_t told = f.beside.end[1]->counts[MSG_RPC_ROUTE];
    for (int i = 0; i < 3; i++) {
      forge(1, 0, &cancel, seen);
      forge(1, 0, &none, seen);
      forge(1, 0, &call, seen);
      forge(1, 0, &news, seen);
      forge(0, 1, &reply, last_seen("reply"));
      lasts(300 * NS_MS);
    }
    assert_int_equal(f.provider->counts[MSG_CALL], had + 1);
    assert_int_equal(f.provider->counts[MSG_CANCEL], 0);
    assert_int_equal(f.caller->counts[MSG_REPLY], answered);
    rig_reply(f.provider, c.call.call_id, "9");
    assert_true(comes(f.caller, MSG_REPLY, answered + 1));
    assert_true(slice_is(last(f.caller, MSG_REPLY).reply.result, "9"));
    assert_int_equal(f.beside.end[1]->counts[MSG_RPC_ROUTE], told); /* the answer did not go to the liar */
    assert_true(mesh_peer(&f.m, 1, 0)->via == peer_find(f.m.rig[1].node, f.between.id));
    ends();
  }
}

/* That an envelope was not carried on counts only from the node to which it was given. */
static void test_not_routed_by_another(void **state) {
  (void)state;
  EACH_LOSS {
    begin_in(LOSS);
    served_call();
    uint64_t had = f.provider->counts[MSG_CALL], answered = f.caller->counts[MSG_REPLY];
    ask(15000);
    assert_true(comes(f.provider, MSG_CALL, had + 1));
    struct msg on_the_way;
    assert_int_equal(msg_decode(MSG_CALL, last_seen("call")->m.route.payload, &on_the_way), 0);
    uint8_t buf[128];
    struct wire_not_routed r = {
        .destination = slice_of(honest_id(1)->b, ID_LEN), .call_id = on_the_way.call.call_id, .code = slice_str("no_route")};
    struct msg m = {.type = MSG_RPC_ROUTE,
                    .route = {.destination = slice_of(honest_id(0)->b, ID_LEN),
                              .source = slice_of(f.beside.id->b, ID_LEN),
                              .max_hops = 10,
                              .payload_type = slice_str("not_routed"),
                              .payload = slice_of(buf, wire_not_routed_encode(&r, buf, sizeof buf))}};
    for (int i = 0; i < 3; i++) {
      pass_on(&f.beside, 0, &m);
      m.route.source = slice_of(f.between.id->b, ID_LEN); /* in the name of the one that it was given to */
      pass_on(&f.beside, 0, &m);
      m.route.source = slice_of(honest_id(1)->b, ID_LEN);
    }
    lasts(NS_SEC);
    assert_int_equal(f.caller->counts[MSG_REPLY], answered);
    rig_reply(f.provider, last(f.provider, MSG_CALL).call.call_id, "9");
    assert_true(comes(f.caller, MSG_REPLY, answered + 1));
    assert_true(slice_is(last(f.caller, MSG_REPLY).reply.result, "9"));
    ends();
  }
}

/* Any number of identities, each with an offer that is right: neither memory nor time, nor the keys of others. */
static void test_many_offers(void **state) {
  (void)state;
  begin_in(0);
  served_call();
  struct node *n = f.m.rig[1].node;
  uint32_t most = 0;
  for (uint64_t k = 1; k <= 300; k++) {
    struct quic_identity *who;
    assert_int_equal(quic_identity_generate(&who), 0);
    struct agree a = {0};
    uint8_t run[INSTANCE_LEN] = {1}, buf[WIRE_AGREE_MAX];
    size_t len;
    struct agree_self me = {.id = *quic_identity_id(who),
                            .realm = slice_str("test"),
                            .instance = slice_of(run, sizeof run),
                            .spki = quic_identity_spki(who),
                            .sign = (int (*)(void *, struct slice, uint8_t *, size_t *))quic_identity_sign,
                            .verify = quic_verify,
                            .ctx = who};
    agree_begin(&a, &me, honest_id(1), k, n->rng);
    assert_int_equal(agree_offer(&a, &me, honest_id(1), buf, &len), 0);
    struct msg m = {.type = MSG_RPC_ROUTE,
                    .route = {.destination = slice_of(honest_id(1)->b, ID_LEN),
                              .source = slice_of(me.id.b, ID_LEN),
                              .max_hops = 10,
                              .payload_type = slice_str("agree"),
                              .payload = slice_of(buf, len)}};
    pass_on(&f.beside, 1, &m);
    if (k % 10 == 0) lasts(10 * NS_MS);
    if (n->peers.seals.count > most) most = n->peers.seals.count;
    quic_identity_unref(who);
  }
  assert_true(most > 5 && most < 100); /* 50 a second */
  assert_true(n->peers.seals.limited > 100);
  served_call();
  lasts(40 * NS_SEC);
  assert_true(n->peers.seals.count <= 1); /* of strangers nothing stays */
  served_call();
  ends();
}

/* ---- keys that were forgotten ----------------------------------------------------------------------------------------------
 */
static void forget(unsigned at, unsigned whom) { seal_drop(mesh_peer(&f.m, at, whom)); }

static void is_served(struct slice call_id) {
  uint64_t answered = f.caller->counts[MSG_REPLY];
  rig_reply(f.provider, call_id, "9");
  assert_true(comes(f.caller, MSG_REPLY, answered + 1));
  struct msg r = last(f.caller, MSG_REPLY);
  if (r.reply.is_error) fail_msg("%.*s", (int)r.reply.error.code.n, r.reply.error.code.p);
}

static void all_again(void) {
  for (size_t i = 0; i < f.seen_count; i++) pass_on(&f.beside, f.seen[i].to, &f.seen[i].m);
}

/* Calls that come under keys that the other has forgotten are sent again at once, and run once, whoever sends them again. */
static void test_forgotten(void **state) {
  (void)state;
  EACH_LOSS {
    begin_in(LOSS);
    served_call();
    for (uint64_t round = 0; round < 4; round++) {
      uint64_t had = f.provider->counts[MSG_CALL], resent = metric(0, "calls_resent_total");
      nanotime at = now(&f.m);
      forget(1, 0);
      for (int i = 0; i < 3; i++) ask(300000);
      assert_true(comes(f.provider, MSG_CALL, had + 3));
      assert_true(time_since(now(&f.m), at) <
                  15 * NS_SEC); /* offers may be lost, and each call is one the first of which was */
      assert_true(metric(0, "calls_resent_total") > resent && metric(0, "envelopes_lost_total") > 0);
      struct msg calls[3];
      size_t n = 0;
      for (size_t i = f.provider->kept_count; i-- > 0 && n < 3;) {
        const struct rig_frame *k = &f.provider->kept[i];
        if (k->type == MSG_CALL) assert_int_equal(msg_decode(MSG_CALL, slice_of(k->payload, k->len), &calls[n++]), 0);
      }
      all_again();
      lasts(2 * NS_SEC);
      assert_int_equal(f.provider->counts[MSG_CALL], had + 3);
      for (size_t i = 0; i < n; i++) is_served(calls[i].call.call_id);
      f.seen_count = 0;
    }
    served_call();
    ends();
  }
}

/* One that had come before its keys were forgotten runs on, and is not sent again; its answer comes under the new ones. */
static void test_forgotten_meanwhile(void **state) {
  (void)state;
  EACH_LOSS {
    begin_in(LOSS);
    served_call();
    uint64_t had = f.provider->counts[MSG_CALL];
    ask(300000);
    assert_true(comes(f.provider, MSG_CALL, had + 1));
    struct msg first = last(f.provider, MSG_CALL);
    lasts(NS_SEC);
    forget(1, 0);
    ask(300000);
    assert_true(comes(f.provider, MSG_CALL, had + 2));
    struct msg second = last(f.provider, MSG_CALL);
    all_again();
    lasts(3 * NS_SEC);
    assert_int_equal(f.provider->counts[MSG_CALL], had + 2);
    is_served(second.call.call_id);
    is_served(first.call.call_id);
    ends();
  }
}

/* The node does not know any more what it has opened: the call has failed at once, and may have run. */
static void test_forgotten_without_trace(void **state) {
  (void)state;
  EACH_LOSS {
    begin_in(LOSS);
    served_call();
    uint64_t had = f.provider->counts[MSG_CALL], answered = f.caller->counts[MSG_REPLY];
    nanotime at = now(&f.m);
    forget(1, 0);
    f.m.rig[1].node->peers.seals.forgotten_count = 0;
    ask(300000);
    assert_true(comes(f.caller, MSG_REPLY, answered + 1));
    assert_true(time_since(now(&f.m), at) < 15 * NS_SEC);
    struct msg r = last(f.caller, MSG_REPLY);
    assert_true(r.reply.is_error && r.reply.error.may_have_run && slice_is(r.reply.error.code, "provider_lost"));
    assert_int_equal(f.provider->counts[MSG_CALL], had);
    served_call();
    ends();
  }
}

/* A liar beside them says in another's name what it has forgotten, or sends seals under keys that nobody knows: no call is sent
 * again, and none fails. */
static void test_not_forgotten(void **state) {
  (void)state;
  EACH_LOSS {
    begin_in(LOSS);
    served_call();
    uint64_t had = f.provider->counts[MSG_CALL], answered = f.caller->counts[MSG_REPLY];
    ask(300000);
    assert_true(comes(f.provider, MSG_CALL, had + 1));
    struct msg first = last(f.provider, MSG_CALL),
               cancel = {.type = MSG_CANCEL, .cancel = {.call_id = first.call.call_id, .reason = slice_str("cancelled")}};
    uint8_t buf[WIRE_AGREE_MAX], has[WIRE_AGREE_NAME_LEN] = {1}, past[WIRE_AGREE_PAST_LEN] = {0}, no_seal[AGREE_SEAL_LEN] = {0};
    memcpy(past, mesh_peer(&f.m, 0, 1)->sealed->agree.now.name, WIRE_AGREE_NAME_LEN);
    struct wire_agree a = {.step = AGREE_CONFIRM, .has = slice_of(has, sizeof has), .past = slice_of(past, sizeof past)};
    struct msg m = {.type = MSG_RPC_ROUTE,
                    .route = {.destination = slice_of(honest_id(0)->b, ID_LEN),
                              .source = slice_of(honest_id(1)->b, ID_LEN),
                              .max_hops = 10,
                              .payload_type = slice_str("agree"),
                              .payload = slice_of(buf, wire_agree_encode(&a, buf, sizeof buf))}};
    for (int i = 0; i < 5; i++) {
      m.route.seal = SLICE_NONE;
      pass_on(&f.beside, 0, &m);
      m.route.seal = slice_of(no_seal, sizeof no_seal);
      pass_on(&f.beside, 0, &m);
      forge(1, 0, &cancel, NULL);
      lasts(1500 * NS_MS);
    }
    assert_int_equal(f.provider->counts[MSG_CALL], had + 1);
    assert_int_equal(f.caller->counts[MSG_REPLY], answered);
    is_served(first.call.call_id);
    ends();
  }
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_altered_on_the_way),
      cmocka_unit_test(test_sent_again),
      cmocka_unit_test(test_held_back),
      cmocka_unit_test(test_publishes),
      cmocka_unit_test(test_first_call_is_not_lost),
      cmocka_unit_test(test_in_the_middle),
      cmocka_unit_test(test_recorded_exchange),
      cmocka_unit_test(test_in_anothers_name),
      cmocka_unit_test(test_not_routed_by_another),
      cmocka_unit_test(test_many_offers),
      cmocka_unit_test(test_forgotten),
      cmocka_unit_test(test_forgotten_meanwhile),
      cmocka_unit_test(test_forgotten_without_trace),
      cmocka_unit_test(test_not_forgotten),
  };
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
