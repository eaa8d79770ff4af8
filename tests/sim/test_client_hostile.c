/* A node that speaks QUIC but means ill: whatever frames it sends, the client neither crashes nor grows, tells each end once,
 * and works with an honest node afterwards. And callbacks that do what they like with the client. */
#include "client_rig.h"
#include "wire/frame.h"
#include "wire/msg.h"

/* ---- a hostile node --------------------------------------------------------------------------------------------------------
 */
struct villain {
  struct world *w;
  struct quic *quic;
  struct mem mem;
  struct rng rng;
  struct rng_seeded seeded;
  bool let_in;
  bool calm;                     /* it says nothing but PONG, and ACK with these: */
  const struct msg_partly *acks; /* in this order; the last one again and again */
  uint8_t call_id[CALL_ID_LEN];  /* of the last CALL heard */
  uint64_t ref;                  /* of the last request that named one */
};

static void say(struct villain *v, struct quic_conn *c, int64_t stream, const struct msg *m, bool mangle) {
  uint8_t buf[2048];
  ptrdiff_t n = msg_encode(m, buf, sizeof buf);
  assert_true(n > 0);
  if (mangle) buf[rng_below(v->rng, (uint64_t)n)] = (uint8_t)rng_below(v->rng, 256);
  quic_stream_write(c, stream, slice_of(buf, (size_t)n));
}

static void say_anything(struct villain *v, struct quic_conn *c, int64_t stream) {
  uint8_t junk[64];
  struct slice topic = slice_str("t.x");
  struct msg all[] = {
      {.type = MSG_PUBLISH, .publish = {.topic = topic, .payload = slice_str("1"), .message_id = slice_of(junk, 16)}},
      {.type = MSG_CALL, .call = {.procedure = slice_str("p"), .args = slice_str("1"), .call_id = slice_of(junk, 16)}},
      {.type = MSG_CAST, .call = {.procedure = slice_str("p"), .args = slice_str("1")}},
      {.type = MSG_REPLY, .reply = {.call_id = slice_of(v->call_id, 16), .result = slice_str("1")}},
      {.type = MSG_REPLY, .reply = {.call_id = slice_of(junk, 16), .result = slice_str("1")}},
      {.type = MSG_CANCEL, .cancel = {.call_id = slice_of(junk, 16)}},
      {.type = MSG_ACK, .ack = {.ref = v->ref}},
      {.type = MSG_ACK, .ack = {.ref = rng_below(v->rng, 40), .code = slice_str("no_such_code")}},
      {.type = MSG_PONG, .pong = {.has_caps = true, .caps = (uint32_t)rng_below(v->rng, 64)}},
      {.type = MSG_PING, .ping = {.timestamp = 5}},
      {.type = MSG_ANNOUNCE,
       .announce = {rng_below(v->rng, 4), rng_below(v->rng, 600), slice_of(junk, 1 + rng_below(v->rng, 40)),
                    slice_of(junk, 32)}},
      {.type = MSG_ANNOUNCE, .announce = {ANNOUNCE_PUBLISHER, 5, slice_str("\2joe"), slice_of(junk, 32)}},
      {.type = MSG_PUBLISH, .publish = {.topic = topic, .payload = slice_str("1"), .origin.number = rng_below(v->rng, 600)}},
      {.type = MSG_CONNECT, .connect = {.node_id = slice_of(junk, 32), .realm_id = slice_str("test")}},
      {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &topic}}},
  };
  rng_fill(v->rng, junk, sizeof junk);
  size_t at = rng_below(v->rng, sizeof all / sizeof all[0] + 1);
  if (at < sizeof all / sizeof all[0]) {
    say(v, c, stream, &all[at], rng_below(v->rng, 3) == 0);
  } else {
    memcpy(junk, (uint8_t[8]){1, junk[1], 0, 0, 0, 0, 0, sizeof junk - 8}, 8);
    quic_stream_write(c, stream, slice_of(junk, sizeof junk));
  }
}

static void v_open(void *ctx, struct quic_conn *c) {
  (void)ctx;
  quic_conn_admit(c);
}
static void v_closed(void *ctx, struct quic_conn *c, const struct quic_close *why) { (void)ctx, (void)c, (void)why; }
static void v_stream_closed(void *ctx, struct quic_conn *c, int64_t stream, uint64_t e) {
  (void)ctx, (void)c, (void)stream, (void)e;
}
static void v_data(void *ctx, struct quic_conn *c, int64_t stream, struct slice data, bool fin) {
  struct villain *v = ctx;
  struct msg m;
  (void)fin;
  quic_consume(c, stream, data.n);
  if (data.n < FRAME_HEADER_LEN) return;
  size_t len = (size_t)data.p[6] << 8 | data.p[7]; /* of the first frame in it, if that is whole */
  if (len + FRAME_HEADER_LEN <= data.n && !msg_decode(data.p[1], slice_of(data.p + FRAME_HEADER_LEN, len), &m)) {
    if (m.type == MSG_CONNECT && v->let_in) {
      struct msg pong = {.type = MSG_PONG,
                         .pong = {.has_caps = true, .caps = CAP_PUBSUB | CAP_RPC | CAP_ACK | CAP_REGISTER | CAP_CANCEL}};
      say(v, c, stream, &pong, false);
    }
    if (m.type == MSG_CALL) memcpy(v->call_id, m.call.call_id.p, CALL_ID_LEN);
    if (m.type == MSG_SUBSCRIBE) v->ref = m.subscribe.ref;
    if (m.type == MSG_PUBLISH) v->ref = m.publish.ref;
    if (m.type == MSG_PUBLISH && v->calm) {
      struct msg ack = {.type = MSG_ACK, .ack = {.ref = v->ref, .partly = *v->acks++}};
      say(v, c, stream, &ack, false);
    }
  }
  if (v->calm) return;
  for (uint64_t n = 1 + rng_below(v->rng, 6); n; n--) say_anything(v, c, stream);
}
static void v_recv(void *ctx, const struct addr *l, const struct addr *r, struct slice d, uint8_t ecn, nanotime now) {
  quic_recv(((struct villain *)ctx)->quic, l, r, d, ecn, now);
}
static nanotime v_deadline(void *ctx) { return quic_deadline(((struct villain *)ctx)->quic); }
static void v_tick(void *ctx, nanotime now) {
  quic_tick(((struct villain *)ctx)->quic, now);
  quic_flush_events(((struct villain *)ctx)->quic, now);
}
static size_t v_send(void *ctx, uint8_t *buf, size_t cap, struct burst *o, nanotime now) {
  return quic_send(((struct villain *)ctx)->quic, buf, cap, o, now);
}

static void villain_start(struct villain *v, struct world *w, uint64_t seed) {
  memset(v, 0, sizeof *v);
  v->w = w;
  rng_seeded_init(&v->seeded, seed);
  v->rng = rng_seeded_view(&v->seeded);
  v->mem = MEM_INIT("villain", 0);
  struct quic_config cfg = {.mem = &v->mem,
                            .send_mem = &v->mem,
                            .rng = v->rng,
                            .handler = {v_open, v_closed, v_data, v_stream_closed, NULL, NULL},
                            .ctx = v,
                            .identity = w->node_id,
                            .server = true,
                            .max_conns = 100,
                            .max_half_open = 100,
                            .stream_window = 1 << 20,
                            .conn_window = 1 << 20,
                            .max_streams = 100,
                            .unix_base_s = UNIX_BASE};
  assert_int_equal(quic_new(&cfg, sim_net_now(w->net), &v->quic), 0);
  sim_net_attach(w->net, &w->node_at, &(struct endpoint){v_recv, NULL, v_deadline, v_tick, v_send, v});
}

static void test_hostile_node(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 40; seed++) {
    struct world w = {.seed = seed};
    struct villain v;
    struct user u = {0};
    struct tally heard = {0}, served = {0}, got = {0}, done = {0}, last = {0};
    macula_publish_options qos1 = {.qos = 1};
    world_init(&w, NULL);
    world_node_kill(&w);
    villain_start(&v, &w, w.seed);
    v.let_in = seed % 4 != 0;
    assert_int_equal(user_start(&w, 0, &u, (struct client_options){.backoff_max = NS_SEC}), 0);
    assert_int_equal(client_subscribe(u.c, "t.*", true, on_message, on_done, &done, &heard, NULL), 0);
    assert_int_equal(client_serve(u.c, "p", NULL, on_request, NULL, on_done, &done, &served, NULL), 0);
    int calls = 0, publishes = 0;
    for (int i = 0; i < 60; i++) {
      world_now(&w);
      if (client_state(u.c) == MACULA_CLOSED) break;
      calls += client_call(u.c, "p", slice_str("1"), NULL, on_result, &got, NULL) == 0;
      publishes += client_publish(u.c, "t.x", slice_str("1"), &qos1, on_done, &last) == 0;
      world_run(&w, 100 * NS_MS);
    }
    world_run(&w, 20 * NS_SEC);
    assert_int_equal(got.done, calls);
    assert_int_equal(last.done, publishes);
    assert_true(done.done <= 2);
    assert_true(w.hubs[0].mem.bytes < 4 << 20);
    sim_net_detach(w.net, &w.node_at);
    quic_free(v.quic);
    world_node(&w);
    client_close(u.c, false);
    world_run(&w, 40 * NS_SEC);
    assert_int_equal(done.done, 2);
    u = (struct user){0};
    heard = (struct tally){0};
    user_join(&w, 0, &u, (struct client_options){0});
    (void)sub_now(&w, &u, "t.*", true, &heard);
    assert_int_equal(publish_now(&w, &u, "t.x", "9", 1), 0);
    world_run(&w, NS_SEC);
    assert_int_equal(heard.sum, 9);
    world_done(&w);
  }
}

/* ---- what a node says of who listens ---------------------------------------------------------------------------------------
 */
struct told {
  int count;
  macula_partly last;
  struct tally *done; /* which is not yet done then */
};

static void on_partly(void *ctx, macula_client client, const macula_partly *partly) {
  struct told *t = ctx;
  (void)client;
  assert_int_equal(t->done->done, t->count);
  t->count++;
  t->last = *partly;
}

/* A node that is not sure of all who listen says so of a message before it counts as done; else nothing is told. */
static void test_partly(void **state) {
  static const struct msg_partly acks[] = {{1, 2, 3}, {.unknown = 7}, {0}};
  struct world w = {0};
  struct villain v;
  struct user u = {0};
  struct tally done = {0};
  struct told t = {.done = &done};
  macula_publish_options qos1 = {.qos = 1, .on_partly = on_partly, .partly_ctx = &t};
  (void)state;
  world_init(&w, NULL);
  world_node_kill(&w);
  villain_start(&v, &w, 1);
  v.let_in = v.calm = true;
  v.acks = acks;
  assert_int_equal(user_start(&w, 0, &u, (struct client_options){0}), 0);
  assert_true(world_until(&w, &u.states[MACULA_CONNECTED], 10 * NS_SEC));
  for (int i = 0; i < 3; i++) {
    world_now(&w);
    assert_int_equal(client_publish(u.c, "t.x", slice_str("1"), &qos1, on_done, &done), 0);
    world_run(&w, NS_SEC);
    assert_int_equal(done.done, i + 1);
    assert_int_equal(done.err, 0);
    assert_int_equal(t.count, i < 2 ? i + 1 : 2);
    if (i == 0) assert_true(t.last.cut == 1 && t.last.silent == 2 && t.last.unknown == 3);
    if (i == 1) assert_true(!t.last.cut && !t.last.silent && t.last.unknown == 7);
  }
  sim_net_detach(w.net, &w.node_at);
  quic_free(v.quic);
  world_node(&w);
  client_close(u.c, false);
  world_run(&w, 40 * NS_SEC);
  world_done(&w);
}

/* ---- callbacks that take things away ---------------------------------------------------------------------------------------
 */
struct meddler {
  struct client *c;
  macula_sub sub;
  int calls, done;
  bool disconnect;
};
static void meddle_message(void *ctx, macula_client client, const macula_message *m) {
  struct meddler *x = ctx;
  (void)client, (void)m;
  x->calls++;
  assert_int_equal(client_unsubscribe(x->c, x->sub), 0); /* itself */
  assert_int_equal(client_subscribe(x->c, "t.*", true, meddle_message, NULL, NULL, x, &x->sub), 0);
  if (x->disconnect) client_close(x->c, false);
}
static void meddle_result(void *ctx, macula_client client, const macula_result *r) {
  struct meddler *x = ctx;
  (void)client, (void)r;
  x->done++;
  if (x->done < 5) (void)client_call(x->c, "com.macula.diagnostics.echo", slice_str("1"), NULL, meddle_result, x, NULL);
}
static void meddle_request(void *ctx, macula_client c, const macula_request *r) {
  (void)ctx;
  assert_int_equal(client_reply(client_of(c), r->id, slice_str("1")), 0);
  client_close(client_of(c), false);
  assert_null(client_of(c));
}

static void test_meddling_callbacks(void **state) {
  struct world w = {0};
  struct user a = {0}, b = {0};
  struct meddler x = {0};
  struct tally got = {0};
  macula_publish_options own = {.qos = 1};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &a, (struct client_options){0});
  user_join(&w, 1, &b, (struct client_options){0});
  x.c = a.c;
  world_now(&w);
  assert_int_equal(client_subscribe(a.c, "t.*", true, meddle_message, NULL, NULL, &x, &x.sub), 0);
  world_run(&w, NS_SEC);
  for (int i = 0; i < 5; i++) {
    world_now(&w);
    assert_int_equal(client_publish(a.c, "t.x", slice_str("1"), &own, NULL, NULL), 0);
    world_run(&w, NS_SEC);
  }
  assert_int_equal(x.calls, 5); /* the one subscribed within a callback hears the next message, not this one */
  assert_int_equal(client_call(a.c, "com.macula.diagnostics.echo", slice_str("1"), NULL, meddle_result, &x, NULL), 0);
  world_run(&w, NS_SEC);
  assert_int_equal(x.done, 5);
  x.disconnect = true;
  world_now(&w);
  assert_int_equal(client_publish(a.c, "t.x", slice_str("1"), &own, NULL, NULL), 0);
  assert_true(world_until(&w, &a.states[MACULA_CLOSED], 5 * NS_SEC));
  /* A provider that answers and leaves in one go: the answer arrives. */
  assert_int_equal(client_serve(b.c, "last", NULL, meddle_request, NULL, NULL, NULL, NULL, NULL), 0);
  a = (struct user){0};
  user_join(&w, 0, &a, (struct client_options){0});
  assert_int_equal(call_now(&w, &a, "last", "1", &got), 0);
  assert_true(world_until(&w, &b.states[MACULA_CLOSED], 5 * NS_SEC));
  world_done(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_hostile_node), cmocka_unit_test(test_partly),
                                     cmocka_unit_test(test_meddling_callbacks)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
