/* Datagrams of connections that are being made wait until whoever is in was answered (src/quic/later.c). */
#include "pair.h"
#include "quic/internal.h"

static struct quic_stats stats_of(const struct side *s) {
  struct quic_stats v;
  quic_stats(s->q, &v);
  return v;
}

static void start(struct pair *p, uint64_t seed) {
  pair_init(p, seed, NULL);
  p->cb.later = true;
  p->cb.max_half_open = p->cb.max_conns = p->ca.max_conns = 2000;
  p->cb.retry_half_open = 2000;
  p->cb.retry_rate = 10000;
  p->cb.vain = 10000;
  p->b.echo = true;
  pair_start(p);
}

/* As its driver does, one after the other. */
static void read_later(struct pair *p) {
  while (quic_has_later(p->b.q)) {
    quic_read_later(p->b.q, sim_net_now(p->net));
    assert_null(quic_check(p->b.q));
    pair_run(p, 3 * NS_MS);
  }
}

static void say(struct pair *p, struct quic_conn *c) {
  int64_t id;
  size_t had = p->a.in_len;
  assert_int_equal(quic_stream_open(c, &id), 0);
  assert_int_equal(quic_stream_write(c, id, slice_str("word")), 0);
  pair_run(p, 10 * NS_MS);
  assert_int_equal(p->a.in_len, had + 4);
}

static void test_others_first(void **st) {
  (void)st;
  struct pair p;
  start(&p, 1);
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
  pair_run(&p, 10 * NS_MS);
  assert_true(quic_has_later(p.b.q));
  assert_int_equal(p.a.opened, 0);
  read_later(&p);
  assert_true(p.a.opened == 1 && p.b.opened == 1);
  struct quic_conn *in = p.a.conn;
  quic_conn_admit(p.b.conn);
  for (int i = 0; i < 5; i++) assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
  pair_run(&p, 5 * NS_MS);
  for (int i = 0; i < 5; i++) say(&p, in); /* it is answered meanwhile */
  assert_true(quic_has_later(p.b.q) && p.a.opened == 1);
  read_later(&p);
  assert_int_equal(p.a.opened, 6);
  assert_int_equal(stats_of(&p.b).later_dropped, 0);
  pair_done(&p);
}

/* Of one connection, and of all. What there is no room for comes again. */
static void test_bounds(void **st) {
  (void)st;
  struct pair p;
  start(&p, 2);
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
  pair_run(&p, 9 * NS_SEC); /* its first packets are sent again and again */
  assert_true(p.b.q->later_count > 2 && p.b.q->later_count <= 32);
  for (int i = 0; i < 1400; i++) (void)pair_connect_with(&p, (struct quic_connect){0});
  for (int i = 0; i < 20; i++) pair_run(&p, 100 * NS_MS);
  assert_true(p.b.q->later_bytes <= QUIC_LATER_BYTES && p.b.q->later_bytes > QUIC_LATER_BYTES / 2);
  assert_true(stats_of(&p.b).later_dropped > 0);
  assert_null(quic_check(p.b.q));
  pair_done(&p); /* with what waits */
}

/* Nobody reads it until its time is over: nothing of it is left. */
static void test_ends_meanwhile(void **st) {
  (void)st;
  struct pair p;
  start(&p, 3);
  for (int i = 0; i < 3; i++) assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
  pair_run(&p, 100 * NS_MS);
  assert_int_equal(p.b.q->later_count, stats_of(&p.b).later);
  quic_read_later(p.b.q, sim_net_now(p.net)); /* one is under way, the others have not begun */
  pair_run(&p, 60 * NS_SEC);
  assert_false(quic_has_later(p.b.q));
  assert_int_equal(p.b.q->later_bytes, 0);
  assert_null(quic_check(p.b.q));
  pair_done(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_others_first),
      cmocka_unit_test(test_bounds),
      cmocka_unit_test(test_ends_meanwhile),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
