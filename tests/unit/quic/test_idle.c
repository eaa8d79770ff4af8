/* What leads to nothing and moves nothing: handshakes of an address, packets of a connection. */
#include "pair.h"
#include "quic/internal.h"

static struct quic_stats stats_of(struct side *s) {
  struct quic_stats r;
  quic_stats(s->q, &r);
  return r;
}

/* ---- handshakes ------------------------------------------------------------------------------------------------------------
 */
#define VAIN 40

/* A connection that is made and closed again by the client, n times, one after the other without a pause. Returns how many
 * were opened. */
static int come_and_go(struct pair *p, int n, bool admitted, bool brief) {
  int opened = 0;
  for (int i = 0; i < n; i++) {
    p->a.opened = p->a.closed = 0;
    assert_int_equal(pair_connect_with(p, (struct quic_connect){0}), 0);
    pair_run(p, 5 * NS_MS);
    if (p->a.opened && admitted) quic_conn_admit(p->b.conn);
    if (p->a.opened && brief) quic_conn_brief(p->b.conn);
    opened += p->a.opened;
    if (!p->a.opened && p->a.closed) assert_int_equal(p->a.why.err, MACULA_RATE_LIMITED);
    if (p->a.conn) quic_conn_close(p->a.conn, 0, NULL);
    pair_run(p, NS_MS);
  }
  return opened;
}

static void some_lead_to_nothing(bool admitted) {
  struct pair p;
  struct side c = {0};
  pair_init(&p, 31, NULL);
  p.cb.vain = VAIN;
  pair_start(&p);
  struct quic_config cc = side_config(&c, p.net, p.ia, false);
  side_start(&c, p.net, "10.0.0.3:1000", &cc);
  int opened = come_and_go(&p, 100, admitted, admitted);
  assert_in_range(opened, VAIN, VAIN + VAIN / 10 * 0.6 + 1); /* in 0.6 s */
  assert_int_equal(stats_of(&p.b).accepted, opened);
  assert_true(stats_of(&p.b).refused_rate >= 30);
  /* another address is not concerned */
  struct quic_connect o = {.local = c.at, .remote = p.b.at};
  assert_int_equal(quic_connect(c.q, &o, sim_net_now(p.net), &c.conn), 0);
  pair_run(&p, 10 * NS_MS);
  assert_int_equal(c.opened, 1);
  /* nor is who keeps still for a while */
  pair_run(&p, 5 * NS_SEC);
  opened = come_and_go(&p, 40, admitted, admitted);
  assert_in_range(opened, VAIN / 2, VAIN / 2 + 2);
  side_stop(&c);
  pair_done(&p);
}

static void test_not_admitted(void **st) {
  (void)st;
  some_lead_to_nothing(false);
}

static void test_brief(void **st) {
  (void)st;
  some_lead_to_nothing(true);
}

/* Who is admitted and stays counts no more: as many as like may come from one address. */
static void test_admitted(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 32, NULL);
  p.cb.vain = VAIN;
  pair_start(&p);
  assert_int_equal(come_and_go(&p, 3 * VAIN, true, false), 3 * VAIN);
  assert_int_equal(stats_of(&p.b).refused_rate, 0);
  pair_done(&p);
}

/* All addresses together have an end, too, and who comes for the first time still comes in. */
static void test_many_addresses(void **st) {
  (void)st;
  struct pair p;
  char at[32];
  pair_init(&p, 33, NULL);
  p.cb.max_conns = p.cb.max_half_open = p.cb.retry_half_open = 1000;
  p.cb.vain = VAIN;
  pair_start(&p);
  int accepted = 0;
  for (int i = 0; i < 12; i++) { /* what an address may have, of twelve */
    struct side c = {0};
    struct quic_config cc = side_config(&c, p.net, p.ia, false);
    snprintf(at, sizeof at, "10.0.1.%d:1000", i + 1);
    side_start(&c, p.net, at, &cc);
    for (int k = 0; k < VAIN + 2; k++) {
      struct quic_connect o = {.local = c.at, .remote = p.b.at};
      assert_int_equal(quic_connect(c.q, &o, sim_net_now(p.net), &c.conn), 0);
    }
    pair_run(&p, 20 * NS_MS);
    if (i == 6) accepted = (int)stats_of(&p.b).accepted;
    side_stop(&c);
  }
  int more = (int)stats_of(&p.b).accepted - accepted;
  assert_int_equal(accepted, 7 * VAIN);
  assert_in_range(more, VAIN + 4 * VAIN / 2, VAIN + 4 * (VAIN / 2 + 1)); /* then the half of each that has had nothing */
  p.a.opened = p.b.opened = 0;
  pair_connect(&p);
  pair_done(&p);
}

/* ---- packets ---------------------------------------------------------------------------------------------------------------
 */
static struct {
  uint8_t p[1500];
  size_t n;
} last;
static bool keep_last(void *ctx, const struct addr *from, const struct addr *to, uint8_t *d, size_t n) {
  const struct pair *p = ctx;
  (void)to;
  if (!addr_eq(from, &p->a.at) || n > sizeof last.p) return true;
  memcpy(last.p, d, n);
  last.n = n;
  return true;
}

static int told;
static void on_limited(void *ctx, struct quic_conn *c) {
  (void)ctx, (void)c;
  told++;
}

static void paying_pair(struct pair *p, uint64_t seed, const struct sim_link *link, struct bucket *units) {
  pair_init(p, seed, link);
  p->cb.handler.limited = on_limited;
  p->cb.stream_window = p->cb.conn_window = 1 << 20;
  p->ca.stream_window = p->ca.conn_window = 1 << 20;
  told = 0;
  *units = (struct bucket){0};
  pair_start(p);
  pair_connect(p);
  quic_conn_admit(p->b.conn);
  quic_conn_pays(p->b.conn, units);
  assert_int_equal(quic_stream_open(p->a.conn, &p->a.stream), 0);
}

static void again(struct pair *p, int n) {
  for (int i = 0; i < n; i++) quic_recv(p->b.q, &p->b.at, &p->a.at, slice_of(last.p, last.n), 0, sim_net_now(p->net));
}

/* The same datagram without end: most of it is dropped unread, others on the node are read, and so is this one when it is
 * done. */
static void test_nothing_new(void **st) {
  (void)st;
  struct pair p;
  struct bucket units;
  paying_pair(&p, 41, NULL, &units);
  sim_net_filter(p.net, keep_last, &p);
  assert_int_equal(quic_stream_write(p.a.conn, p.a.stream, slice_str("a message of forty bytes, as they all have")), 0);
  pair_run(&p, 100 * NS_MS);
  size_t got = p.b.in_len;
  assert_true(got > 0);
  assert_true(last.n < 128);
  again(&p, 9900);
  assert_int_equal(stats_of(&p.b).limited, 0);
  again(&p, 20000);
  assert_in_range(stats_of(&p.b).limited, 19000, 20000);
  assert_int_equal(told, 1);
  assert_int_equal(quic_stream_write(p.a.conn, p.a.stream, slice_str("and one that is delayed")), 0);
  pair_run(&p, 5 * NS_SEC);
  assert_int_equal(p.b.in_len, got + strlen("and one that is delayed"));
  assert_int_equal(p.b.closed, 0);
  again(&p, 30000);
  assert_in_range(stats_of(&p.b).limited, 40000, 50000); /* 1,000 a second */
  assert_int_equal(told, 1);
  pair_done(&p);
}

/* Before it was admitted a connection has little. */
static void test_early(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 42, NULL);
  pair_start(&p);
  sim_net_filter(p.net, keep_last, &p);
  pair_connect(&p);
  pair_run(&p, 100 * NS_MS);
  again(&p, 2000);
  assert_in_range(stats_of(&p.b).limited, 1600, 2000);
  pair_done(&p);
}

/* Who sends much over a path that loses and reorders is never limited. */
static void honest(const struct sim_link *link, uint64_t seed) {
  struct pair p;
  struct bucket units;
  static uint8_t bytes[64 << 10];
  paying_pair(&p, seed, link, &units);
  for (int i = 0; i < 16; i++) assert_int_equal(quic_stream_write(p.a.conn, p.a.stream, slice_of(bytes, sizeof bytes)), 0);
  for (int s = 0; s < 600 && p.b.in_len < 16 * sizeof bytes; s++) pair_run(&p, NS_SEC);
  assert_int_equal(p.b.in_len, 16 * sizeof bytes);
  assert_int_equal(stats_of(&p.b).limited, 0);
  pair_done(&p);
}

static void test_lossy(void **st) {
  (void)st;
  honest(&(struct sim_link){.loss = 0.05, .dup = 0.02, .delay = 20 * NS_MS, .jitter = 5 * NS_MS}, 43);
  honest(&(struct sim_link){.reorder = 0.2, .delay = 50 * NS_MS, .jitter = 20 * NS_MS}, 44);
  honest(&(struct sim_link){.loss = 0.2, .delay = 5 * NS_MS}, 45);
}

/* A reader of small messages acknowledges all its life long, and idles. */
static void test_reader(void **st) {
  (void)st;
  struct pair p;
  struct bucket units;
  paying_pair(&p, 46, &(struct sim_link){.delay = 3 * NS_MS, .loss = 0.02}, &units);
  assert_int_equal(quic_stream_write(p.a.conn, p.a.stream, slice_str("?")), 0);
  pair_run(&p, 100 * NS_MS);
  for (int i = 0; i < 5000; i++) {
    assert_int_equal(quic_stream_write(p.b.conn, p.b.stream, slice_str("a message of forty bytes, as they all have")), 0);
    pair_run(&p, NS_MS);
  }
  pair_run(&p, 60 * NS_SEC);
  assert_int_equal(stats_of(&p.b).limited, 0);
  assert_true(bucket_level(&units, 1000, 10000, sim_net_now(p.net)) > 9900);
  pair_done(&p);
}

/* Many connections of one identity that idle, and answer when they are asked whether they are still there, cost it nothing. */
static void test_idlers(void **st) {
  (void)st;
  struct pair p;
  struct bucket units = {0};
  pair_init(&p, 47, NULL);
  pair_start(&p);
  for (int i = 0; i < 20; i++) {
    pair_connect_again(&p);
    quic_conn_admit(p.b.conn);
    quic_conn_pays(p.b.conn, &units);
    quic_conn_watch(p.b.conn, true);
  }
  pair_run(&p, NS_SEC);
  list_for(it, &p.b.q->conns) container_of(it, struct quic_conn, all)->owed = 0;
  pair_run(&p, 60 * NS_SEC);
  list_for(it, &p.b.q->conns) assert_true(container_of(it, struct quic_conn, all)->owed < 10);
  pair_done(&p);
}

static void come(struct pair *p, struct bucket *units) {
  pair_connect_again(p);
  quic_conn_admit(p->b.conn);
  quic_conn_pays(p->b.conn, units);
}

/* A thousand connections of one identity come one after the other, and each looks for the MTU of its path: none is limited. */
static void test_crowd(void **st) {
  (void)st;
  struct pair p;
  struct bucket units = {0};
  pair_init(&p, 48, NULL);
  p.ca.max_conns = p.cb.max_conns = 2000;
  pair_start(&p);
  for (int i = 0; i < 1000; i++) {
    come(&p, &units);
    pair_run(&p, 5 * NS_MS);
  }
  for (int i = 0; i < 300; i++) {
    pair_run(&p, 100 * NS_MS);
    assert_true(bucket_level(&units, 1000, 10000, sim_net_now(p.net)) > 9990); /* nothing is taken of it */
  }
  assert_int_equal(stats_of(&p.b).limited, 0);
  assert_int_equal(p.b.closed, 0);
  pair_done(&p);
}

/* Of two connections of one identity one sends what is for nothing, without end: the other stays, and what it sends arrives. */
static void test_beside_a_spendthrift(void **st) {
  (void)st;
  struct pair p;
  struct bucket units = {0};
  paying_pair(&p, 49, NULL, &units);
  sim_net_filter(p.net, keep_last, &p);
  assert_int_equal(quic_stream_write(p.a.conn, p.a.stream, slice_str("a message of forty bytes, as they all have")), 0);
  pair_run(&p, 100 * NS_MS);
  sim_net_filter(p.net, NULL, NULL);
  come(&p, &units); /* p.a.conn and p.b.conn are of this one from now on */
  assert_int_equal(quic_stream_open(p.a.conn, &p.a.stream), 0);
  size_t got = p.b.in_len;
  for (int i = 0; i < 600; i++) { /* a minute */
    again(&p, 2000);
    if (i % 100 == 0) assert_int_equal(quic_stream_write(p.a.conn, p.a.stream, slice_str("here I am")), 0);
    pair_run(&p, 100 * NS_MS);
  }
  assert_true(stats_of(&p.b).limited > 900000);
  assert_int_equal(p.b.closed + p.a.closed, 0);
  pair_run(&p, 5 * NS_SEC);
  assert_int_equal(p.b.in_len, got + 6 * strlen("here I am"));
  pair_done(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_not_admitted),
                                     cmocka_unit_test(test_brief),
                                     cmocka_unit_test(test_admitted),
                                     cmocka_unit_test(test_many_addresses),
                                     cmocka_unit_test(test_nothing_new),
                                     cmocka_unit_test(test_early),
                                     cmocka_unit_test(test_lossy),
                                     cmocka_unit_test(test_reader),
                                     cmocka_unit_test(test_idlers),
                                     cmocka_unit_test(test_crowd),
                                     cmocka_unit_test(test_beside_a_spendthrift)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
