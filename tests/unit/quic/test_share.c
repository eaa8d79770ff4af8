/* What one connection may hold: its own part always, more from a pool; who asks for more than an eighth of that ends, and when
 * it is nearly full, who holds the most. */
#include "pair.h"

static struct quic_stats stats(struct pair *p) {
  struct quic_stats s;
  quic_stats(p->b.q, &s);
  return s;
}

/* Opens so many streams with a byte each, and leaves them open. */
static void open_streams(struct quic_conn *c, int n) {
  int64_t s;
  for (int i = 0; i < n && quic_stream_open(c, &s) == 0; i++) (void)quic_stream_write(c, s, slice_str("x"));
}

/* Whether bytes still arrive from it. */
static bool stands(struct pair *p, struct quic_conn *c) {
  size_t had = p->b.in_len;
  int64_t s;
  if (quic_stream_open(c, &s) || quic_stream_write(c, s, slice_str("hello"))) return false;
  pair_run(p, NS_SEC / 2);
  return p->b.in_len == had + 5;
}

/* So many bytes arrive. */
static void arrives(struct pair *p, size_t bytes, nanotime within) {
  char *data = calloc(1, bytes);
  int64_t s;
  assert_int_equal(quic_stream_open(p->a.conn, &s), 0);
  assert_int_equal(quic_stream_write(p->a.conn, s, slice_of(data, bytes)), 0);
  pair_run(p, within);
  assert_int_equal(p->b.in_len, bytes);
  assert_int_equal(p->a.closed, 0);
  free(data);
}

static void start(struct pair *p, size_t pool) {
  pair_init(p, 5, NULL);
  p->cb.max_streams = 2000;
  p->cb.conn_pool = pool;
  pair_start(p);
  pair_connect(p);
}

static void test_greedy(void **st) {
  struct pair p;
  (void)st;
  start(&p, 256 << 10);
  struct quic_conn *greedy = p.a.conn;
  pair_connect_again(&p);
  struct quic_conn *modest = p.a.conn;
  size_t before = p.b.mem.bytes;
  open_streams(greedy, 2000);
  pair_run(&p, NS_SEC);
  assert_int_equal(p.a.closed, 1); /* at the server its allocation was refused */
  assert_true(stats(&p).refused_memory >= 1);
  assert_in_range(p.b.mem.peak, before, before + (256 << 10));
  assert_int_equal(stats(&p).conns, 1);
  assert_int_equal(stats(&p).conn_pool, 0); /* given back with the connection */
  assert_true(stands(&p, modest));
  pair_done(&p);
}

/* Without a limit of its own the pool is a matter of the account alone: libmacula's case. */
static void test_unlimited(void **st) {
  struct pair p;
  (void)st;
  start(&p, 0);
  open_streams(p.a.conn, 2000);
  pair_run(&p, NS_SEC);
  assert_int_equal(p.b.in_len, 2000);
  assert_int_equal(p.a.closed, 0);
  assert_true(stats(&p).conn_pool > 256 << 10); /* shown all the same */
  pair_done(&p);
}

/* In a pool that is nearly full data still flows, with few packets in flight. */
static void test_tight(void **st) {
  struct pair p;
  struct quic_stats own;
  int64_t s;
  (void)st;
  pair_init(&p, 6, NULL);
  p.cb.max_streams = 2000;
  p.ca.conn_pool = 256 << 10; /* the client's own, which its streams fill up */
  pair_start(&p);
  do {
    pair_connect_again(&p);
    while (quic_stream_open(p.a.conn, &s) == 0) continue;
    quic_stats(p.a.q, &own);
  } while (own.conn_pool <= (256 << 10) / 4 * 3 && own.conns < 20);
  pair_connect_again(&p);
  assert_true(own.conn_pool > (256 << 10) / 4 * 3);
  assert_true(own.refused_memory >= 6);
  arrives(&p, 500000, 20 * NS_SEC);
  pair_done(&p);
}

/* Nor does one end for what it sends: records of what is in flight are a part of what it may hold. */
static void test_busy(void **st) {
  struct pair p;
  (void)st;
  pair_init(&p, 7, NULL);
  p.ca.conn_pool = 1 << 20;
  p.cb.stream_window = p.cb.conn_window = 4 << 20;
  pair_start(&p);
  pair_connect(&p);
  arrives(&p, 4000000, 100 * NS_SEC);
  pair_done(&p);
}

/* One more connection, which holds so many bytes beyond what is its own, or has ended when it asked for them; admitted or not.
 */
static struct quic_conn *holder(struct pair *p, size_t bytes, bool admitted) {
  int64_t s;
  pair_connect_again(p);
  struct quic_conn *c = p->a.conn;
  int closed = p->a.closed;
  if (admitted) quic_conn_admit(p->b.conn);
  size_t before = stats(p).conn_pool;
  while (p->a.closed == closed && stats(p).conn_pool < before + bytes && quic_stream_open(c, &s) == 0) {
    (void)quic_stream_write(c, s, slice_str("x"));
    pair_run(p, 3 * NS_MS);
  }
  return c;
}

/* Who has not said CONNECT yet, has a quarter of the pool, and all of them together no more. */
static void test_strangers(void **st) {
  struct pair p;
  (void)st;
  start(&p, 1 << 20);
  quic_conn_admit(p.b.conn);
  for (int i = 0; i < 12; i++) (void)holder(&p, 120 << 10, false);
  assert_true(stats(&p).refused_memory >= 12);
  assert_in_range(stats(&p).conn_pool, 0, 256 << 10);
  int closed = p.a.closed;
  (void)holder(&p, 100 << 10, true);
  assert_int_equal(p.a.closed, closed);
  pair_done(&p);
}

/* What one held before it was admitted is no longer of that quarter. */
static void test_admitted(void **st) {
  struct pair p;
  (void)st;
  start(&p, 1 << 20);
  for (int i = 0; i < 20; i++) {
    (void)holder(&p, 16 << 10, false);
    quic_conn_admit(p.b.conn);
  }
  assert_int_equal(p.a.closed, 0);
  assert_true(stats(&p).conn_pool > 256 << 10);
  pair_done(&p);
}

/* In a pool that is nearly full the one that holds the most goes, and not the one that asks for a little. */
static void test_largest(void **st) {
  struct pair p;
  (void)st;
  start(&p, 4 << 20);
  for (int i = 0; i < 12; i++) (void)holder(&p, 400 << 10, true);
  assert_true(p.a.closed >= 1);
  assert_string_equal(p.a.text, "this connection held the most of a full connection_pool");
  assert_in_range(stats(&p).conn_pool, 3 << 20, (4 << 20) / 8 * 7);
  assert_int_equal(stats(&p).refused_memory, p.a.closed);
  for (int i = 0; i < 8; i++) {
    struct quic_conn *modest = holder(&p, 100 << 10, true);
    assert_ptr_equal(p.a.conn, modest); /* it did not end */
  }
  pair_done(&p);
}

/* Many who hold the same, far less than an eighth each: it is for them to end, and not for one who holds less and asks. */
static void test_many(void **st) {
  struct pair p;
  (void)st;
  start(&p, 4 << 20);
  struct quic_conn *modest = holder(&p, 20 << 10, true);
  for (int i = 0; i < 60; i++) {
    (void)holder(&p, 100 << 10, true);
    if (p.a.closed) assert_string_equal(p.a.text, "this connection held the most of a full connection_pool");
    assert_in_range(stats(&p).conn_pool, 0, (4 << 20) / 8 * 7);
    if (i % 10 == 9) assert_true(stands(&p, modest)); /* and it holds more each time */
  }
  assert_in_range(p.a.closed, 20, 40);
  pair_done(&p);
}

/* All ask within one turn, before anything is sent: still none is refused what is not the most. */
static void test_one_turn(void **st) {
  struct pair p;
  struct quic_conn *c[60];
  int64_t s;
  (void)st;
  start(&p, 1 << 20);
  for (int i = 0; i < 60; i++) {
    pair_connect_again(&p);
    quic_conn_admit(p.b.conn);
    c[i] = p.a.conn;
  }
  struct quic_conn *modest = c[59];
  for (int i = 0; i < 60; i++) open_streams(c[i], c[i] == modest ? 20 : 120);
  pair_run(&p, NS_SEC);
  assert_in_range(p.a.closed, 1, 58);
  assert_string_equal(p.a.text, "this connection held the most of a full connection_pool");
  assert_int_equal(quic_stream_open(modest, &s), 0);
  assert_true(stands(&p, modest));
  pair_done(&p);
}

/* One that counts as several stays while it holds no more than as many others together. */
static void test_shares(void **st) {
  struct pair p;
  (void)st;
  start(&p, 4 << 20);
  struct quic_conn *link = holder(&p, 400 << 10, true);
  quic_conn_shares(p.b.conn, 16);
  for (int i = 0; i < 50; i++) (void)holder(&p, 100 << 10, true);
  assert_true(p.a.closed >= 10);
  assert_true(stands(&p, link));
  pair_done(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_greedy),    cmocka_unit_test(test_unlimited), cmocka_unit_test(test_tight),
      cmocka_unit_test(test_strangers), cmocka_unit_test(test_admitted),  cmocka_unit_test(test_largest),
      cmocka_unit_test(test_many),      cmocka_unit_test(test_one_turn),  cmocka_unit_test(test_shares),
      cmocka_unit_test(test_busy),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
