/* A router on the way takes smaller datagrams from some moment on, and says nothing. */
#include "pair.h"
#include "quic/internal.h"

#define SAID 20000 /* bytes of a message */

struct path {
  size_t most;      /* bytes of a datagram that passes */
  size_t after;     /* that becomes less with so many more large ones; 0: no */
  size_t full, big; /* datagrams of more than 1,200 bytes that passed, and that did not */
};

static bool passes(void *ctx, const struct addr *from, const struct addr *to, uint8_t *p, size_t len) {
  (void)from, (void)to, (void)p;
  struct path *path = ctx;
  if (len > 1200 && path->after && --path->after == 0) path->most = 1272;
  if (len > 1200) *(len > path->most ? &path->big : &path->full) += 1;
  return len <= path->most;
}

struct talk {
  struct pair p;
  struct path path;
  struct side *from, *to;
  int64_t stream;
  uint8_t message[SAID];
  size_t said;
};

static void talk_init(struct talk *t, uint64_t seed, const struct sim_link *link, bool from_server, size_t most) {
  memset(t, 0, sizeof *t);
  t->path.most = most;
  pair_init(&t->p, seed, link);
  pair_start(&t->p);
  quic_set_large(t->p.a.q, true);
  quic_set_large(t->p.b.q, true);
  sim_net_filter(t->p.net, passes, &t->path);
  pair_connect(&t->p);
  quic_conn_admit(t->p.b.conn);
  t->from = from_server ? &t->p.b : &t->p.a;
  t->to = from_server ? &t->p.a : &t->p.b;
  assert_int_equal(quic_stream_open(t->from->conn, &t->stream), 0);
}

static void talk_done(struct talk *t) {
  assert_int_equal(t->p.a.closed + t->p.b.closed, 0);
  pair_done(&t->p);
}

static bool all_arrived(void *ctx) {
  const struct talk *t = ctx;
  return t->to->in_len == t->said;
}

/* Says something every so often; the longest time in which nothing arrived though something was under way. */
static nanotime speak(struct talk *t, nanotime for_ns, nanotime every) {
  nanotime longest = 0, since = sim_net_now(t->p.net);
  size_t had = t->to->in_len;
  for (nanotime end = since + for_ns; sim_net_now(t->p.net) < end;) {
    assert_int_equal(quic_stream_write(t->from->conn, t->stream, slice_of(t->message, SAID)), 0);
    t->said += SAID;
    pair_run(&t->p, every);
    nanotime now = sim_net_now(t->p.net);
    if (t->to->in_len != had || t->to->in_len == t->said) since = now;
    had = t->to->in_len;
    if (now - since > longest) longest = now - since;
  }
  return longest;
}

static const struct sim_link links[] = {
    {.delay = NS_MS / 10, .loss = 0.01}, {.delay = 25 * NS_MS, .jitter = 10 * NS_MS}, {.delay = 100 * NS_MS}};

/* Within 3 s all goes on in small datagrams, what was lost included; the full size is tried again, and used when it arrives. */
static void test_mtu_falls(void **state) {
  (void)state;
  for (unsigned i = 0; i < 2 * sizeof links / sizeof links[0]; i++) {
    struct talk t;
    struct quic_stats q;
    talk_init(&t, 60 + i, &links[i / 2], i % 2, 1472);
    speak(&t, 5 * NS_SEC, 100 * NS_MS);
    assert_true(t.path.full > 100);
    t.path.most = 1272;
    assert_in_range(speak(&t, 30 * NS_SEC, 100 * NS_MS), 0, 3 * NS_SEC);
    quic_stats(t.from->q, &q);
    assert_int_equal(q.mtu_falls, 1);
    assert_in_range(t.path.big, 1, 400);
    t.path.big = 0;
    assert_in_range(speak(&t, 300 * NS_SEC, 700 * NS_MS), 0, 3 * NS_SEC); /* it is tried again and again, and fails */
    assert_true(t.path.big > 0);
    t.path.full = 0;
    t.path.most = 1472;
    speak(&t, 601 * NS_SEC, 700 * NS_MS);
    assert_true(t.path.full > 100);
    assert_true(sim_net_run(t.p.net, sim_net_now(t.p.net) + 10 * NS_SEC, all_arrived, &t));
    talk_done(&t);
  }
}

/* The last message before a silence: nothing new is sent that would tell of the loss. */
static void test_mtu_falls_at_the_end(void **state) {
  (void)state;
  for (size_t after = 1; after <= SAID / 1452; after++) {
    struct talk t;
    talk_init(&t, 80, &(struct sim_link){.delay = 5 * NS_MS}, true, 1472);
    speak(&t, 2 * NS_SEC, 100 * NS_MS);
    t.path.after = after;
    assert_int_equal(quic_stream_write(t.from->conn, t.stream, slice_of(t.message, SAID)), 0);
    t.said += SAID;
    assert_true(sim_net_run(t.p.net, sim_net_now(t.p.net) + 3 * NS_SEC, all_arrived, &t));
    assert_int_equal(t.path.after, 0);
    talk_done(&t);
  }
}

/* Many streams, of which some end or are reset while they are watched. */
static void test_mtu_falls_on_many_streams(void **state) {
  (void)state;
  struct talk t;
  talk_init(&t, 81, NULL, false, 1472);
  speak(&t, 2 * NS_SEC, 100 * NS_MS);
  for (int round = 0; round < 40; round++) {
    int64_t s[5];
    if (round == 10) t.path.most = 1272;
    for (int i = 0; i < 5; i++) {
      assert_int_equal(quic_stream_open(t.from->conn, &s[i]), 0);
      assert_int_equal(quic_stream_write(t.from->conn, s[i], slice_of(t.message, 5000)), 0);
      if (i == 2) continue;
      t.said += 5000;
      quic_stream_finish(t.from->conn, s[i]);
    }
    quic_stream_reset(t.from->conn, s[2], 0);
    assert_true(sim_net_run(t.p.net, sim_net_now(t.p.net) + 3 * NS_SEC, all_arrived, &t));
    for (int i = 0; i < 5; i++) { /* so that they end: the peer has nothing to say */
      quic_stream_finish(t.to->conn, s[i]);
    }
    pair_run(&t.p, 20 * NS_MS);
  }
  talk_done(&t);
}

/* The one that is watched is reset when all is lost already: nothing new is sent, and another waits. */
static void test_mtu_falls_and_the_watched_is_reset(void **state) {
  (void)state;
  struct talk t;
  int64_t other;
  talk_init(&t, 83, &(struct sim_link){.delay = 5 * NS_MS}, true, 1472);
  speak(&t, 2 * NS_SEC, 100 * NS_MS);
  t.path.most = 1272;
  assert_int_equal(quic_stream_open(t.from->conn, &other), 0);
  assert_int_equal(quic_stream_write(t.from->conn, other, slice_of(t.message, 5000)), 0);
  assert_int_equal(quic_stream_write(t.from->conn, t.stream, slice_of(t.message, 5000)), 0);
  t.said += 5000;
  pair_run(&t.p, 2 * NS_MS);
  assert_true(t.path.big >= 6);
  quic_stream_reset(t.from->conn, other, 0);
  assert_true(sim_net_run(t.p.net, sim_net_now(t.p.net) + 3 * NS_SEC, all_arrived, &t));
  talk_done(&t);
}

/* A path that takes no more than 1,200 bytes from the start on is no fall, and a peer that is away for a while costs nothing
 * but size for a minute. */
static void test_no_fall(void **state) {
  (void)state;
  struct talk t;
  struct quic_stats q;
  talk_init(&t, 82, NULL, false, 1200);
  assert_in_range(speak(&t, 30 * NS_SEC, 100 * NS_MS), 0, NS_SEC);
  quic_stats(t.from->q, &q);
  assert_int_equal(q.mtu_falls, 0);
  talk_done(&t);
}

/* A path of jumbo frames: large datagrams only where much waits, and each end keeps a buffer for them only then. */
static void test_large(void **state) {
  (void)state;
  for (int most = 1472; most < 10000; most += 7528) {
    struct talk t;
    struct quic_stats q;
    size_t held[2], peak;
    talk_init(&t, 90, &(struct sim_link){.delay = NS_MS / 10}, true, (size_t)most);
    for (int i = 0; i < 200; i++) {
      assert_int_equal(quic_stream_write(t.from->conn, t.stream, slice_of(t.message, 3000)), 0);
      t.said += 3000;
      pair_run(&t.p, 10 * NS_MS);
    }
    assert_true(t.path.full > 100);
    assert_in_range(t.path.big, 0, 10); /* those by which the path's MTU is found out */
    held[0] = quic_conn_held(t.to->conn, &peak);
    quic_stats(t.from->q, &q);
    uint64_t before = q.datagrams_out, bytes = q.bytes_out;
    speak(&t, 3 * NS_SEC, 10 * NS_MS);
    assert_true(sim_net_run(t.p.net, sim_net_now(t.p.net) + NS_SEC, all_arrived, &t));
    quic_stats(t.from->q, &q);
    held[1] = quic_conn_held(t.to->conn, &peak);
    size_t each = (size_t)((q.bytes_out - bytes) / (q.datagrams_out - before));
    printf("MTU %d: %zu bytes a datagram, a receiver holds %zu and then %zu\n", most, each, held[0], held[1]);
    assert_in_range(each, most > 1472 ? 4000 : 1000, most);
    assert_true(held[1] < held[0] + 10000);
    assert_int_equal(q.mtu_falls, 0);
    talk_done(&t);
  }
}

/* Half of the pool is for the buffers of large datagrams: connections that come when others may have those are told of none. */
static void test_large_while_there_is_room(void **state) {
  struct quic *q = calloc(1, sizeof *q);
  ngtcp2_transport_params p;
  (void)state;
  mtu_taken(q, &p);
  assert_int_equal(p.max_udp_payload_size, QUIC_LARGE_DATAGRAM); /* no pool, no bound */
  q->cfg.conn_pool = 1 << 20;
  for (q->total = 1; q->total < 1000; q->total++) {
    mtu_taken(q, &p);
    assert_int_equal(p.max_udp_payload_size, q->total <= 64 ? QUIC_LARGE_DATAGRAM : QUIC_MAX_DATAGRAM);
  }
  free(q);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_mtu_falls),
      cmocka_unit_test(test_mtu_falls_at_the_end),
      cmocka_unit_test(test_large),
      cmocka_unit_test(test_large_while_there_is_room),
      cmocka_unit_test(test_mtu_falls_on_many_streams),
      cmocka_unit_test(test_mtu_falls_and_the_watched_is_reset),
      cmocka_unit_test(test_no_fall),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
