/* Streams: bulk with loss, flow control, limits, references, resets, memory. */
#include "base/buf.h"
#include "pair.h"

static void transfer(uint64_t seed, const struct sim_link *link, size_t total, nanotime time) {
  struct pair p;
  pair_init(&p, seed, link);
  pair_start(&p);
  pair_connect(&p);
  quic_conn_admit(p.b.conn);
  int64_t s;
  struct rng_seeded g;
  rng_seeded_init(&g, seed);
  uint8_t *data = malloc(total);
  assert_non_null(data);
  rng_fill(rng_seeded_view(&g), data, total);
  assert_int_equal(quic_stream_open(p.a.conn, &s), 0);
  for (size_t at = 0; at < total;) { /* in writes of many sizes */
    size_t n = 1 + rng_below(rng_seeded_view(&g), 40000);
    if (n > total - at) n = total - at;
    if (n % 3) {
      assert_int_equal(quic_stream_write(p.a.conn, s, slice_of(data + at, n)), 0);
    } else {
      struct shbuf *b = shbuf_dup(&p.a.send_mem, slice_of(data + at, n));
      assert_non_null(b);
      assert_int_equal(quic_stream_write_ref(p.a.conn, s, b), 0);
      shbuf_unref(b);
    }
    at += n;
  }
  assert_int_equal(quic_queued(p.a.conn), total);
  quic_stream_finish(p.a.conn, s);
  pair_run(&p, time);
  assert_int_equal(p.b.in_len, total);
  assert_memory_equal(p.b.in, data, total);
  assert_int_equal(p.b.fins, 1);
  assert_int_equal(quic_queued(p.a.conn), 0);
  assert_int_equal(p.a.send_mem.bytes, 0);
  free(data);
  pair_done(&p);
}

static void test_transfer(void **st) {
  (void)st;
  transfer(61, NULL, 1 << 20, 5 * NS_SEC);
  transfer(62, &(struct sim_link){.delay = 5 * NS_MS, .jitter = 2 * NS_MS, .loss = 0.03, .dup = 0.02, .reorder = 0.05}, 1 << 20,
           300 * NS_SEC);
}

static void test_flow_control(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 63, NULL);
  pair_start(&p);
  p.b.hold = true;
  pair_connect(&p);
  quic_conn_admit(p.b.conn);
  int64_t s, s2;
  uint8_t *data = calloc(1, 300000);
  assert_int_equal(quic_stream_open(p.a.conn, &s), 0);
  assert_int_equal(quic_stream_write(p.a.conn, s, slice_of(data, 300000)), 0);
  pair_run(&p, 2 * NS_SEC);
  assert_int_equal(p.b.in_len, 65536); /* the windows hold the rest back */
  assert_int_equal(quic_stream_open(p.a.conn, &s2), 0);
  assert_int_equal(quic_stream_write(p.a.conn, s2, slice_str("also waits")), 0);
  pair_run(&p, NS_SEC);
  assert_int_equal(p.b.in_len, 65536);
  quic_grant(p.b.conn, s, 100000);
  pair_run(&p, NS_SEC);
  assert_int_equal(p.b.in_len, 165536);
  quic_consume(p.b.conn, s, 165536);
  pair_run(&p, NS_SEC);
  quic_consume(p.b.conn, s, 134464);
  quic_consume(p.b.conn, s2, 10);
  quic_consume(p.b.conn, 4444, 10);
  pair_run(&p, NS_SEC);
  assert_int_equal(p.b.in_len, 300010);
  assert_int_equal(quic_queued(p.a.conn), 0);
  free(data);
  pair_done(&p);
}

static void test_offsets(void **st) {
  (void)st;
  struct pair p;
  struct quic_offsets at;
  pair_init(&p, 65, NULL);
  pair_start(&p);
  p.b.hold = true;
  pair_connect(&p);
  quic_conn_admit(p.b.conn);
  int64_t s;
  uint8_t *data = calloc(1, 300000);
  assert_int_equal(quic_stream_open(p.a.conn, &s), 0);
  assert_int_equal(quic_stream_write(p.a.conn, s, slice_of(data, 300000)), 0);
  assert_true(quic_stream_offsets(p.a.conn, s, &at) && at.written == 300000 && !at.sent && !at.acked);
  pair_run(&p, 2 * NS_SEC);
  assert_true(quic_stream_offsets(p.a.conn, s, &at) && at.written == 300000 && at.sent == 65536 && at.acked == 65536);
  assert_false(quic_stream_offsets(p.a.conn, 4444, &at));
  sim_net_cut(p.net, &p.b.at, NULL, true);
  pair_run(&p, 60 * NS_SEC); /* the connection has ended: that is still known when it is told */
  assert_int_equal(p.a.closed, 1);
  assert_true(p.a.knew && p.a.ended.written == 300000 && p.a.ended.sent == 65536 && p.a.ended.acked == 65536);
  free(data);
  pair_done(&p);
}

static void test_stream_limit(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 64, NULL);
  pair_start(&p);
  p.b.echo = true;
  pair_connect(&p);
  quic_conn_admit(p.b.conn);
  int64_t s[11];
  for (int i = 0; i < 10; i++) assert_int_equal(quic_stream_open(p.a.conn, &s[i]), 0);
  assert_int_equal(quic_stream_open(p.a.conn, &s[10]), MACULA_EFULL);
  for (int i = 0; i < 10; i++) {
    assert_int_equal(quic_stream_write(p.a.conn, s[i], slice_str("x")), 0);
    quic_stream_finish(p.a.conn, s[i]);
  }
  pair_run(&p, NS_SEC);
  assert_int_equal(p.a.stream_closed, 10);
  assert_int_equal(p.a.in_len, 10);
  for (int i = 0; i < 10; i++) assert_int_equal(quic_stream_open(p.a.conn, &s[i]), 0); /* what ended is granted again */
  assert_int_equal(quic_stream_write(p.a.conn, 12345, slice_str("x")), MACULA_ENOTFOUND);
  pair_done(&p);
}

static void test_reset(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 65, NULL);
  pair_start(&p);
  p.b.hold = true;
  pair_connect(&p);
  quic_conn_admit(p.b.conn);
  int64_t s;
  uint8_t *data = calloc(1, 300000);
  assert_int_equal(quic_stream_open(p.a.conn, &s), 0);
  assert_int_equal(quic_stream_write(p.a.conn, s, slice_of(data, 300000)), 0);
  pair_run(&p, NS_SEC);
  assert_int_equal(quic_stream_write(p.b.conn, s, slice_of(data, 300000)), 0);
  quic_stream_reset(p.a.conn, s, 77);
  assert_int_equal(quic_queued(p.a.conn), 0);
  assert_int_equal(quic_stream_write(p.a.conn, s, slice_str("x")), MACULA_ENOTFOUND);
  pair_run(&p, NS_SEC);
  assert_int_equal(p.b.stream_closed, 1);
  assert_int_equal(p.b.stream_error, 77);
  assert_int_equal(quic_queued(p.b.conn), 0);
  assert_int_equal(p.a.stream_closed, 1);
  assert_int_equal(p.a.send_mem.bytes, 0);
  assert_int_equal(p.b.send_mem.bytes, 0);
  quic_consume(p.b.conn, s, p.b.in_len); /* credit of a stream that is gone */
  free(data);
  pair_done(&p);
}

static void test_send_memory_refused(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 66, NULL);
  p.a.send_mem = MEM_INIT("send", 40000);
  p.a.mem = MEM_INIT("quic", 0);
  pair_start(&p);
  pair_connect(&p);
  quic_conn_admit(p.b.conn);
  int64_t s;
  uint8_t *data = calloc(1, 50000);
  assert_int_equal(quic_stream_open(p.a.conn, &s), 0);
  assert_int_equal(quic_stream_write(p.a.conn, s, slice_of(data, 50000)), MACULA_ENOMEM);
  assert_int_equal(quic_queued(p.a.conn), 0);
  assert_int_equal(p.a.send_mem.bytes, 0);
  assert_int_equal(quic_stream_write(p.a.conn, s, slice_of(data, 20000)), 0);
  assert_int_equal(quic_stream_write(p.a.conn, s, slice_of(data, 30000)), MACULA_ENOMEM);
  assert_int_equal(quic_queued(p.a.conn), 20000);
  pair_run(&p, NS_SEC);
  assert_int_equal(p.b.in_len, 20000);
  free(data);
  pair_done(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_transfer),     cmocka_unit_test(test_flow_control), cmocka_unit_test(test_offsets),
      cmocka_unit_test(test_stream_limit), cmocka_unit_test(test_reset),        cmocka_unit_test(test_send_memory_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
