/* When packets may leave: a path that is suddenly slow is paced by what is sent then, not by all that went before. */
#include "pair.h"

/* 40 MB or 5 MB to and fro at once, and then one of the processes stands still for a second: the time of a round trip jumps
 * from 0.2 ms. */
static void stands_still(size_t piece, bool whose) {
  static uint8_t data[60000];
  struct pair p;
  int64_t s;
  pair_init(&p, 71, &(struct sim_link){.delay = 100 * 1000});
  p.b.echo = true;
  pair_start(&p);
  pair_connect(&p);
  assert_int_equal(quic_stream_open(p.a.conn, &s), 0);
  for (int i = 0; i < (piece > 10000 ? 700 : 5000); i++) {
    assert_int_equal(quic_stream_write(p.a.conn, s, slice_of(data, piece)), 0);
    pair_run(&p, NS_MS);
    p.b.in_len = 0;
  }
  pair_run(&p, NS_SEC);
  assert_int_equal(quic_stream_write(p.a.conn, s, slice_of(data, piece)), 0);
  pair_run(&p, 50 * 1000);
  const struct addr *stands = whose ? &p.a.at : &p.b.at;
  sim_net_stop(p.net, stands, true);
  pair_run(&p, NS_SEC);
  sim_net_stop(p.net, stands, false);
  pair_run(&p, NS_SEC);
  for (int i = 0; i < 10; i++) {
    p.a.in_len = 0;
    assert_int_equal(quic_stream_write(p.a.conn, s, slice_of(data, 1000)), 0);
    pair_run(&p, 200 * NS_MS);
    if (p.a.in_len != 1000) fail_msg("after the standstill: %d bytes came of message %d", (int)p.a.in_len, i);
  }
  pair_done(&p);
}

static void test_standstill_after_much(void **st) {
  (void)st;
  for (int k = 0; k < 4; k++) stands_still(k & 1 ? 60000 : 1000, k & 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_standstill_after_much)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
