/* Handshake, identity, streams, closing. */
#include "pair.h"

static void test_handshake(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 1, NULL);
  pair_start(&p);
  pair_connect(&p);
  assert_true(p.a.peer_known && id_eq(&p.a.peer, quic_identity_id(p.ib)));
  assert_true(p.b.peer_known && id_eq(&p.b.peer, quic_identity_id(p.ia)));
  assert_true(quic_conn_is_server(p.b.conn) && !quic_conn_is_server(p.a.conn));
  assert_true(addr_eq(quic_conn_remote(p.b.conn), &p.a.at));
  assert_int_equal(quic_conn_peer_expiry(p.b.conn), UINT64_MAX);
  pair_run(&p, NS_SEC);
  assert_true(quic_conn_rtt(p.a.conn) >= 2 * NS_MS && quic_conn_rtt(p.a.conn) < 40 * NS_MS);
  pair_done(&p);
}

static void test_echo(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 2, NULL);
  pair_start(&p);
  p.b.echo = true;
  pair_connect(&p);
  int64_t s;
  assert_int_equal(quic_stream_open(p.a.conn, &s), 0);
  assert_int_equal(quic_stream_write(p.a.conn, s, slice_str("hello")), 0);
  assert_int_equal(quic_queued(p.a.conn), 5);
  quic_stream_finish(p.a.conn, s);
  assert_int_equal(quic_stream_write(p.a.conn, s, slice_str("late")), MACULA_ENOTFOUND);
  pair_run(&p, NS_SEC);
  assert_int_equal(p.a.in_len, 5);
  assert_memory_equal(p.a.in, "hello", 5);
  assert_int_equal(p.a.fins, 1);
  assert_int_equal(p.b.fins, 1);
  assert_int_equal(p.a.stream_closed, 1);
  assert_int_equal(p.b.stream_closed, 1);
  assert_true(p.a.acked > 0);
  assert_int_equal(quic_queued(p.a.conn), 0);
  assert_int_equal(p.a.send_mem.bytes, 0);
  assert_int_equal(p.b.send_mem.bytes, 0);
  pair_done(&p);
}

static void close_with(int err, const char *text) {
  struct pair p;
  pair_init(&p, 3, NULL);
  pair_start(&p);
  pair_connect(&p);
  quic_conn_close(p.b.conn, err, text);
  pair_run(&p, NS_SEC);
  assert_int_equal(p.b.closed, 1);
  assert_int_equal(p.b.why.reason, QUIC_CLOSE_LOCAL);
  assert_int_equal(p.b.why.err, err);
  assert_int_equal(p.a.closed, 1);
  assert_int_equal(p.a.why.reason, QUIC_CLOSE_PEER);
  assert_true(p.a.why.is_app);
  assert_int_equal(p.a.why.app_error, -err);
  assert_int_equal(p.a.why.err, err);
  assert_string_equal(p.a.text, text);
  pair_run(&p, 10 * NS_SEC);
  struct quic_stats s;
  quic_stats(p.b.q, &s);
  assert_int_equal(s.conns, 0);
  assert_int_equal(s.half_open, 0);
  pair_done(&p);
}

static void test_close_codes(void **st) {
  (void)st;
  close_with(MACULA_MAX_CLIENTS_REACHED, "the node is full");
  close_with(MACULA_SHUTTING_DOWN, "");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_handshake), cmocka_unit_test(test_echo),
                                     cmocka_unit_test(test_close_codes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
