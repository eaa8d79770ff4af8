/* What a client makes of a node that holds its publishes back, or drops messages for it: the node is a scripted one. */
#include "client_rig.h"
#include "wire/frame.h"
#include "wire/msg.h"

#define WINDOW 8192u

struct scripted {
  struct world *w;
  struct quic *quic;
  struct mem mem;
  uint32_t caps; /* that it speaks of those that a client names */
  struct quic_conn *conn;
  int64_t home, publishes; /* streams; -1: none */
  struct framer framers[2];
  size_t unread; /* bytes of publishes that it has not given back */
  bool reads;    /* it gives them back at once */
  int heard;     /* publishes */
  struct msg_publish last;
};

static void say(struct scripted *v, const struct msg *m) {
  uint8_t buf[1024];
  ptrdiff_t n = msg_encode(m, buf, sizeof buf);
  assert_true(n > 0);
  assert_int_equal(quic_stream_write(v->conn, v->home, slice_of(buf, (size_t)n)), 0);
}

static void v_open(void *ctx, struct quic_conn *conn) {
  struct scripted *v = ctx;
  v->conn = conn;
  quic_conn_admit(conn);
}
static void v_closed(void *ctx, struct quic_conn *conn, const struct quic_close *why) {
  struct scripted *v = ctx;
  (void)why;
  if (v->conn == conn) v->conn = NULL;
}
static void v_stream_closed(void *ctx, struct quic_conn *conn, int64_t stream, uint64_t e) {
  (void)ctx, (void)conn, (void)stream, (void)e;
}
static void v_data(void *ctx, struct quic_conn *conn, int64_t stream, struct slice data, bool fin) {
  struct scripted *v = ctx;
  bool publishes = quic_stream_is_one_way(stream);
  struct frame f;
  struct msg m;
  (void)fin;
  *(publishes ? &v->publishes : &v->home) = stream;
  quic_consume_conn(conn, data.n);
  if (publishes && !v->reads)
    v->unread += data.n;
  else
    quic_consume_stream(conn, stream, data.n);
  while (framer_next(&v->framers[publishes], &data, &f) > 0) {
    assert_int_equal(msg_decode(f.type, f.payload, &m), 0);
    if (f.type == MSG_CONNECT)
      say(v, &(struct msg){.type = MSG_PONG, .pong = {.has_caps = true, .caps = m.connect.caps & v->caps}});
    if (f.type != MSG_PUBLISH) continue;
    v->heard++;
    v->last = m.publish;
  }
}
static void v_recv(void *ctx, const struct addr *l, const struct addr *r, struct slice d, uint8_t ecn, nanotime now) {
  quic_recv(((struct scripted *)ctx)->quic, l, r, d, ecn, now);
}
static nanotime v_deadline(void *ctx) { return quic_deadline(((struct scripted *)ctx)->quic); }
static void v_tick(void *ctx, nanotime now) {
  quic_tick(((struct scripted *)ctx)->quic, now);
  quic_flush_events(((struct scripted *)ctx)->quic, now);
}
static size_t v_send(void *ctx, uint8_t *buf, size_t cap, struct burst *o, nanotime now) {
  return quic_send(((struct scripted *)ctx)->quic, buf, cap, o, now);
}

/* In the node's place. */
static void begin(struct scripted *v, struct world *w, uint32_t caps) {
  world_init(w, NULL);
  world_node_kill(w);
  *v = (struct scripted){.w = w, .caps = caps, .home = -1, .publishes = -1};
  v->mem = MEM_INIT("scripted", 0);
  for (int i = 0; i < 2; i++) framer_init(&v->framers[i], &v->mem, FRAME_MAX_PAYLOAD);
  struct quic_config cfg = {.mem = &v->mem,
                            .send_mem = &v->mem,
                            .rng = sim_net_rng(w->net),
                            .handler = {v_open, v_closed, v_data, v_stream_closed, NULL, NULL},
                            .ctx = v,
                            .identity = w->node_id,
                            .server = true,
                            .max_conns = 10,
                            .max_half_open = 10,
                            .stream_window = 1 << 20,
                            .conn_window = 1 << 20,
                            .max_streams = 100,
                            .one_way_streams = 1,
                            .one_way_window = WINDOW,
                            .unix_base_s = UNIX_BASE};
  assert_int_equal(quic_new(&cfg, sim_net_now(w->net), &v->quic), 0);
  sim_net_attach(w->net, &w->node_at, &(struct endpoint){v_recv, NULL, v_deadline, v_tick, v_send, v});
}
static void end(struct scripted *v) {
  struct world *w = v->w;
  sim_net_detach(w->net, &w->node_at);
  quic_free(v->quic);
  for (int i = 0; i < 2; i++) framer_done(&v->framers[i]);
  assert_int_equal(v->mem.bytes, 0);
  world_done(w);
}

static void publish(struct scripted *v, struct user *u, size_t len, const macula_publish_options *o, struct tally *done) {
  static const char text[4000];
  world_now(v->w);
  assert_int_equal(client_publish(u->c, "t", slice_of(text, len), o, on_done, done), 0);
}
static void give_credit(struct scripted *v) {
  quic_consume_stream(v->conn, v->publishes, v->unread);
  v->unread = 0;
}

#define ALL (CAP_EXTENSIONS & ~(uint32_t)(CAP_NODE | CAP_OPERATOR))

/* What waits behind a held stream is confirmed at last, however long that takes, while the node gives credit at times: 5 s
 * after the last of it what is not confirmed has failed. */
static void test_held_by_credit(void **state) {
  struct world w = {0};
  struct scripted v;
  struct user u = {0};
  struct tally done = {0};
  macula_publish_options o = {.qos = 1};
  (void)state;
  begin(&v, &w, ALL);
  user_join(&w, 0, &u, (struct client_options){0});
  for (int i = 0; i < 20; i++) publish(&v, &u, 4000, &o, &done); /* ten windows */
  for (int i = 0; i < 8; i++) {
    world_run(&w, 4 * NS_SEC);
    assert_int_equal(done.done, 0);
    give_credit(&v);
  }
  world_run(&w, 4 * NS_SEC);
  assert_true(v.heard >= 16 && v.heard < 20);
  assert_int_equal(done.done, 0);
  world_run(&w, 2 * NS_SEC);
  assert_int_equal(done.done, 20);
  assert_int_equal(done.err, MACULA_TIMEOUT);
  end(&v);
}

/* The same by confirmations of others: each begins the 5 s of all anew. */
static void test_held_by_confirmations(void **state) {
  struct world w = {0};
  struct scripted v;
  struct user u = {0};
  struct tally done = {0};
  macula_publish_options o = {.qos = 1}, own = {.qos = 1, .timeout_ms = 6000};
  struct tally strict = {0};
  (void)state;
  begin(&v, &w, ALL);
  v.reads = true;
  user_join(&w, 0, &u, (struct client_options){0});
  uint64_t refs[5];
  for (int i = 0; i < 5; i++) {
    publish(&v, &u, 10, &o, &done);
    world_run(&w, 100 * NS_MS);
    refs[i] = v.last.ref;
  }
  publish(&v, &u, 10, &own, &strict);
  for (int i = 0; i < 4; i++) {
    world_run(&w, 4 * NS_SEC);
    assert_int_equal(done.done, i);
    say(&v, &(struct msg){.type = MSG_ACK, .ack = {.ref = refs[i]}});
  }
  assert_int_equal(strict.err, MACULA_TIMEOUT); /* a time of one's own is kept */
  world_run(&w, 4900 * NS_MS);
  assert_int_equal(done.done, 4);
  assert_int_equal(done.err, 0);
  world_run(&w, 200 * NS_MS);
  assert_int_equal(done.done, 5);
  assert_int_equal(done.err, MACULA_TIMEOUT);
  end(&v);
}

/* Without either it is as ever: 5 s, though PINGs are answered. */
static void test_not_held(void **state) {
  struct world w = {0};
  struct scripted v;
  struct user u = {0};
  struct tally done = {0};
  macula_publish_options o = {.qos = 1};
  (void)state;
  begin(&v, &w, ALL);
  user_join(&w, 0, &u, (struct client_options){0});
  publish(&v, &u, 10, &o, &done);
  world_run(&w, 4900 * NS_MS);
  assert_int_equal(done.done, 0);
  world_run(&w, 200 * NS_MS);
  assert_int_equal(done.done, 1);
  assert_int_equal(done.err, MACULA_TIMEOUT);
  end(&v);
}

/* It is asked for only where the node knows it, and of QoS 0. */
static void test_wait(void **state) {
  macula_publish_options o = {.wait_for_readers = true}, qos1 = {.qos = 1, .wait_for_readers = true};
  (void)state;
  for (int known = 0; known < 2; known++) {
    struct world w = {0};
    struct scripted v;
    struct user u = {0};
    begin(&v, &w, known ? ALL : ALL & ~(uint32_t)CAP_WAIT);
    v.reads = true;
    user_join(&w, 0, &u, (struct client_options){0});
    publish(&v, &u, 10, NULL, NULL);
    world_run(&w, 100 * NS_MS);
    assert_false(v.last.wait);
    publish(&v, &u, 10, &o, NULL);
    world_run(&w, 100 * NS_MS);
    assert_int_equal(v.heard, 2);
    assert_int_equal(v.last.wait, known);
    assert_int_equal(client_publish(u.c, "t", slice_str("1"), &qos1, NULL, NULL), MACULA_EINVAL);
    end(&v);
  }
}

struct told {
  int dropped, notices, err;
  uint64_t count, noticed;
};
static void on_dropped(void *ctx, macula_client client, uint64_t count) {
  struct told *t = ((struct user *)ctx)->more;
  (void)client;
  t->dropped++;
  t->count += count;
}
static void on_notice(void *ctx, macula_client client, int err, uint64_t count, const char *text) {
  struct told *t = ((struct user *)ctx)->more;
  (void)client, (void)text;
  t->notices++;
  t->err = err;
  t->noticed += count;
}

/* What was dropped is told apart from what was refused, or as a notice to who asks for no more. */
static void test_dropped(void **state) {
  (void)state;
  for (int asks = 0; asks < 2; asks++) {
    struct world w = {0};
    struct scripted v;
    struct told t = {0};
    struct user u = {.more = &t};
    begin(&v, &w, ALL);
    user_join(&w, 0, &u, (struct client_options){.on_notice = on_notice, .on_dropped = asks ? on_dropped : NULL});
    struct msg m = {.type = MSG_NOTICE, .notice = {slice_str("forbidden"), slice_str("no"), 3}};
    say(&v, &m);
    world_run(&w, 100 * NS_MS);
    assert_int_equal(t.err, MACULA_FORBIDDEN);
    m.notice = (struct msg_notice){slice_str("dropped"), slice_str("slow"), UINT64_C(1) << 40};
    say(&v, &m);
    world_run(&w, 100 * NS_MS);
    assert_int_equal(t.dropped, asks);
    assert_int_equal(t.notices, 2 - asks);
    assert_true(t.count + t.noticed == 3 + (UINT64_C(1) << 40));
    if (!asks) assert_int_equal(t.err, MACULA_DROPPED);
    end(&v);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_held_by_credit), cmocka_unit_test(test_held_by_confirmations),
                                     cmocka_unit_test(test_not_held), cmocka_unit_test(test_wait),
                                     cmocka_unit_test(test_dropped)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
