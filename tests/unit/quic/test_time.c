/* What time does: idle, keep-alive, silence, ICMP checks, timeouts, closing with patience. */
#include "pair.h"

static void test_idle(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 41, NULL);
  p.ca.keep_alive = 0;
  p.cb.idle_timeout = 20 * NS_SEC;
  pair_start(&p);
  pair_connect(&p);
  pair_run(&p, 19 * NS_SEC);
  assert_int_equal(p.a.closed + p.b.closed, 0);
  pair_run(&p, 3 * NS_SEC);
  assert_int_equal(p.a.closed, 1);
  assert_int_equal(p.a.why.reason, QUIC_CLOSE_IDLE);
  assert_int_equal(p.b.closed, 1);
  assert_int_equal(p.b.why.reason, QUIC_CLOSE_IDLE);
  assert_int_equal(p.b.why.err, MACULA_NOT_CONNECTED);
  pair_done(&p);
}

/* A peer that acknowledges late makes its own PTO; it does not make what it leaves behind stay for three of them. */
static void test_idle_for_long_ptos(void **st) {
  (void)st;
  struct pair p;
  for (int closes = 0; closes < 2; closes++) {
    pair_init(&p, 49, &(struct sim_link){.delay = 3 * NS_SEC / 2});
    p.ca.handshake_timeout = p.cb.handshake_timeout = 60 * NS_SEC;
    p.cb.idle_timeout = NS_SEC;
    pair_start(&p);
    assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
    assert_true(sim_net_run(p.net, sim_net_now(p.net) + 60 * NS_SEC, pair_open_done, &p));
    sim_net_cut(p.net, &p.a.at, NULL, true);
    if (closes) quic_conn_close(p.b.conn, MACULA_REPLACED, NULL);
    pair_run(&p, 12 * NS_SEC); /* 10 s after what was on its way has come */
    assert_int_equal(p.b.closed, 1);
    assert_int_equal(p.b.why.reason, closes ? QUIC_CLOSE_LOCAL : QUIC_CLOSE_IDLE);
    struct quic_stats q;
    quic_stats(p.b.q, &q);
    assert_int_equal(q.total, 0);
    pair_done(&p);
  }
}

static void test_keep_alive(void **st) {
  (void)st;
  struct pair p;
  for (int by_server = 0; by_server < 2; by_server++) {
    pair_init(&p, 42, NULL);
    if (by_server) p.ca.keep_alive = 0;
    pair_start(&p);
    pair_connect(&p);
    if (by_server) quic_conn_keep_alive(p.b.conn, 10 * NS_SEC);
    pair_run(&p, 200 * NS_SEC);
    assert_int_equal(p.a.closed + p.b.closed, 0);
    pair_done(&p);
  }
}

static void test_peer_vanishes(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 43, NULL);
  pair_start(&p);
  pair_connect(&p);
  pair_run(&p, NS_SEC);
  sim_net_icmp(p.net, false);
  quic_conn_watch(p.b.conn, true);
  pair_run(&p, 60 * NS_SEC);
  assert_int_equal(p.b.silent, 0);
  sim_net_cut(p.net, &p.a.at, NULL, true);
  pair_run(&p, 170 * NS_MS);
  assert_int_equal(p.b.silent, 0);
  pair_run(&p, 130 * NS_MS); /* 80 ms until it is probed, and 180 ms for the answer */
  assert_int_equal(p.b.silent, 1);
  assert_true(quic_conn_silent(p.b.conn));
  pair_run(&p, 2 * NS_SEC);
  sim_net_cut(p.net, &p.a.at, NULL, false); /* it comes back, and goes again */
  pair_run(&p, 10 * NS_SEC);
  assert_int_equal(p.b.silent, 1);
  assert_int_equal(p.b.heard, 1);
  assert_false(quic_conn_silent(p.b.conn));
  sim_net_cut(p.net, &p.a.at, NULL, true);
  pair_run(&p, 300 * NS_MS);
  assert_int_equal(p.b.silent, 2);
  assert_int_equal(p.b.heard, 1);
  pair_run(&p, 40 * NS_SEC);
  assert_int_equal(p.b.closed, 1);
  assert_int_equal(p.b.why.reason, QUIC_CLOSE_IDLE);
  pair_done(&p);
}

static void test_icmp(void **st) {
  (void)st;
  struct pair p;
  for (int server_dies = 0; server_dies < 2; server_dies++) {
    pair_init(&p, 44, NULL);
    pair_start(&p);
    pair_connect(&p);
    pair_run(&p, NS_SEC);
    struct side *dead = server_dies ? &p.b : &p.a, *left = server_dies ? &p.a : &p.b;
    int64_t s;
    assert_int_equal(quic_stream_open(left->conn, &s), 0);
    side_stop(dead); /* as SIGKILL */
    assert_int_equal(quic_stream_write(left->conn, s, slice_str("anybody?")), 0);
    pair_run(&p, 240 * NS_MS);
    assert_int_equal(left->closed, 0);
    pair_run(&p, 60 * NS_MS);
    assert_int_equal(left->closed, 1);
    assert_int_equal(left->why.reason, QUIC_CLOSE_DEAD);
    assert_int_equal(left->why.err, MACULA_NOT_CONNECTED);
    struct quic_stats q;
    quic_stats(left->q, &q);
    assert_int_equal(q.icmp_checks, 1);
    assert_int_equal(q.conns, 0);
    pair_done(&p);
  }
}

struct copy {
  const struct addr *from;
  uint8_t b[1500];
  size_t n;
};

static bool keep_copy(void *ctx, const struct addr *from, const struct addr *to, uint8_t *p, size_t len) {
  (void)to;
  struct copy *k = ctx;
  if (addr_eq(from, k->from) && len <= sizeof k->b) memcpy(k->b, p, k->n = len);
  return true;
}

static void test_forged_icmp(void **st) {
  (void)st;
  struct pair p;
  struct copy copy = {.from = &p.b.at};
  pair_init(&p, 45, NULL);
  pair_start(&p);
  sim_net_filter(p.net, keep_copy, &copy);
  pair_connect(&p);
  pair_run(&p, NS_SEC);
  uint8_t quoted[1200] = {0};
  for (int i = 0; i < 256; i++) { /* ids are not guessed, and a live peer answers the PING */
    quoted[0] = (uint8_t)i;
    quic_icmp(p.b.q, &p.a.at, slice_of(quoted, (size_t)i), true, sim_net_now(p.net));
  }
  struct quic_stats q;
  quic_stats(p.b.q, &q);
  assert_int_equal(q.icmp_checks, 0);
  quic_icmp(p.b.q, &p.a.at, slice_of(copy.b, copy.n), true, sim_net_now(p.net));
  quic_stats(p.b.q, &q);
  assert_int_equal(q.icmp_checks, 1);
  pair_run(&p, 5 * NS_SEC);
  assert_int_equal(p.a.closed + p.b.closed, 0);
  pair_done(&p);
}

/* The network says for a while that it cannot reach the host, whichever way: nothing ends, and all arrives (RFC 1122, 4.2.3.9).
 */
static void test_no_route_for_a_while(void **st) {
  (void)st;
  struct pair p;
  int64_t a, b;
  pair_init(&p, 48, NULL);
  pair_start(&p);
  pair_connect(&p);
  pair_run(&p, NS_SEC);
  assert_int_equal(quic_stream_open(p.a.conn, &a), 0);
  assert_int_equal(quic_stream_open(p.b.conn, &b), 0);
  for (int i = 0; i < 60; i++) {
    sim_net_no_route(p.net, i >= 10 && i < 50);
    assert_int_equal(quic_stream_write(p.a.conn, a, slice_str("to the server")), 0);
    assert_int_equal(quic_stream_write(p.b.conn, b, slice_str("to the client")), 0);
    pair_run(&p, 100 * NS_MS);
  }
  pair_run(&p, 10 * NS_SEC);
  struct sim_stats s;
  sim_net_stats(p.net, &s);
  assert_true(s.unreachable > 4);
  assert_int_equal(p.a.closed + p.b.closed, 0);
  assert_int_equal(p.a.in_len, 60 * 13);
  assert_int_equal(p.b.in_len, 60 * 13);
  struct quic_stats q;
  quic_stats(p.a.q, &q);
  assert_int_equal(q.icmp_checks, 0);
  pair_done(&p);
}

/* A dial ends with what the network says. */
static void test_no_route_at_all(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 49, NULL);
  pair_start(&p);
  sim_net_no_route(p.net, true);
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
  pair_run(&p, 1100 * NS_MS);
  assert_int_equal(p.a.closed, 1);
  assert_int_equal(p.a.why.reason, QUIC_CLOSE_DEAD);
  assert_non_null(strstr(p.a.text, "cannot be reached"));
  pair_done(&p);
}

/* "Nobody listens there" needs silence, too: where an answer takes its time, so does the verdict. */
static void test_icmp_on_a_long_way(void **st) {
  (void)st;
  struct pair p;
  struct copy copy = {.from = &p.b.at};
  pair_init(&p, 50, &(struct sim_link){.delay = 800 * NS_MS});
  pair_start(&p);
  sim_net_filter(p.net, keep_copy, &copy);
  pair_connect(&p);
  pair_run(&p, 10 * NS_SEC);
  quic_icmp(p.b.q, &p.a.at, slice_of(copy.b, copy.n), true, sim_net_now(p.net));
  struct quic_stats q;
  quic_stats(p.b.q, &q);
  assert_int_equal(q.icmp_checks, 1);
  pair_run(&p, 10 * NS_SEC);
  assert_int_equal(p.a.closed + p.b.closed, 0);
  pair_done(&p);
}

static void test_nobody_listens(void **st) {
  (void)st;
  struct pair p;
  for (int icmp = 0; icmp < 2; icmp++) {
    pair_init(&p, 46, NULL);
    pair_start(&p);
    sim_net_icmp(p.net, icmp);
    sim_net_detach(p.net, &p.b.at);
    assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
    pair_run(&p, icmp ? 1100 * NS_MS : 9 * NS_SEC);
    assert_int_equal(p.a.closed, icmp);
    pair_run(&p, 3 * NS_SEC);
    assert_int_equal(p.a.closed, 1);
    assert_int_equal(p.a.why.reason, QUIC_CLOSE_DEAD);
    assert_int_equal(p.a.why.err, MACULA_NOT_CONNECTED);
    assert_true(p.a.text[0]);
    pair_done(&p);
  }
}

static void test_close_after(void **st) {
  (void)st;
  struct pair p;
  for (int cut = 0; cut < 2; cut++) {
    pair_init(&p, 47, NULL);
    pair_start(&p);
    pair_connect(&p);
    int64_t s;
    uint8_t *big = calloc(1, 200000);
    assert_int_equal(quic_stream_open(p.b.conn, &s), 0);
    assert_int_equal(quic_stream_write(p.b.conn, s, slice_of(big, 200000)), 0);
    free(big);
    if (cut) sim_net_cut(p.net, &p.a.at, NULL, true);
    quic_conn_close_after(p.b.conn, MACULA_SHUTTING_DOWN, "bye", sim_net_now(p.net) + 5 * NS_SEC);
    pair_run(&p, 4 * NS_SEC);
    assert_int_equal(p.b.closed, !cut);
    if (!cut) {
      assert_int_equal(p.a.in_len, 200000);
      assert_int_equal(p.a.why.err, MACULA_SHUTTING_DOWN);
    }
    pair_run(&p, 2 * NS_SEC);
    assert_int_equal(p.b.closed, 1);
    assert_int_equal(p.b.why.reason, QUIC_CLOSE_LOCAL);
    pair_done(&p);
  }
}

static void test_late_packets_after_close(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 48, NULL);
  pair_start(&p);
  pair_connect(&p);
  pair_run(&p, NS_SEC);
  sim_net_set_link(p.net, &(struct sim_link){.delay = NS_MS, .loss = 1});
  quic_conn_close(p.b.conn, MACULA_REPLACED, "lost");
  pair_run(&p, 10 * NS_MS);
  sim_net_set_link(p.net, &quiet_link);
  int64_t s;
  assert_int_equal(quic_stream_open(p.a.conn, &s), 0);
  assert_int_equal(quic_stream_write(p.a.conn, s, slice_str("x")), 0);
  pair_run(&p, 50 * NS_MS);
  assert_int_equal(p.a.closed, 1); /* the close is said again */
  assert_int_equal(p.a.why.err, MACULA_REPLACED);
  assert_string_equal(p.a.text, "lost");
  pair_done(&p);
}

static bool always(void *ctx) { return ++*(int *)ctx > 0; }

/* Connections that are looked at although none has anything to send: one in a turn whose time is over, and none is left out. */
static void test_sends_in_slices(void **st) {
  (void)st;
  struct pair p;
  struct quic_conn *conns[5];
  struct burst out;
  int asked = -1000000, left = 0;
  struct spent spent = {always, &asked};
  uint8_t *buf = malloc(65536);
  pair_init(&p, 53, NULL);
  p.cb.spent = &spent;
  pair_start(&p);
  for (int i = 0; i < 5; i++) {
    pair_connect_again(&p);
    conns[i] = p.b.conn;
  }
  pair_run(&p, NS_SEC);
  assert_false(quic_unsent(p.b.q));
  asked = 0;
  for (int i = 0; i < 5; i++) quic_conn_keep_alive(conns[i], 20 * NS_SEC);
  for (; quic_unsent(p.b.q); left++) assert_int_equal(quic_send(p.b.q, buf, 65536, &out, sim_net_now(p.net)), 0);
  assert_int_equal(left, 5);
  assert_int_equal(asked, 5);
  pair_run(&p, 100 * NS_SEC);
  assert_int_equal(p.a.closed + p.b.closed, 0);
  pair_done(&p);
  free(buf);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_idle),
      cmocka_unit_test(test_idle_for_long_ptos),
      cmocka_unit_test(test_sends_in_slices),
      cmocka_unit_test(test_keep_alive),
      cmocka_unit_test(test_peer_vanishes),
      cmocka_unit_test(test_icmp),
      cmocka_unit_test(test_forged_icmp),
      cmocka_unit_test(test_no_route_for_a_while),
      cmocka_unit_test(test_no_route_at_all),
      cmocka_unit_test(test_icmp_on_a_long_way),
      cmocka_unit_test(test_nobody_listens),
      cmocka_unit_test(test_close_after),
      cmocka_unit_test(test_late_packets_after_close),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
