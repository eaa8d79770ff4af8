/* Retry, limits, versions, stateless reset, migration, garbage. */
#include "pair.h"

static struct quic_stats stats_of(struct side *s) {
  struct quic_stats r;
  quic_stats(s->q, &r);
  return r;
}

static void test_retry(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 21, NULL);
  p.cb.retry_half_open = 0;
  pair_start(&p);
  pair_connect(&p);
  struct quic_stats s = stats_of(&p.b);
  assert_int_equal(s.retries_sent, 1);
  assert_int_equal(s.retry_ok, 1);
  assert_int_equal(s.accepted, 1);
  /* the address token of that connection spares the next one the Retry */
  pair_run(&p, NS_SEC);
  uint8_t *t;
  size_t n = quic_conn_ticket(p.a.conn, &t);
  p.a.opened = p.b.opened = 0;
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){.ticket = {t, n}}), 0);
  assert_true(sim_net_run(p.net, sim_net_now(p.net) + 10 * NS_SEC, pair_open_done, &p));
  assert_int_equal(stats_of(&p.b).retries_sent, 1);
  free(t);
  pair_done(&p);
}

static void test_retry_rate(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 22, NULL);
  p.cb.retry_half_open = 1000;
  p.cb.retry_rate = 5;
  pair_start(&p);
  for (int i = 0; i < 20; i++) assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
  pair_run(&p, 5 * NS_SEC);
  assert_int_equal(p.b.opened, 20); /* nobody with a validated address is dropped */
  assert_true(stats_of(&p.b).retries_sent >= 14);
  pair_done(&p);

  pair_init(&p, 23, NULL); /* loopback is exempt */
  p.cb.retry_half_open = 1000;
  p.cb.retry_rate = 5;
  side_start(&p.a, p.net, "127.0.0.1:1000", &p.ca);
  side_start(&p.b, p.net, "127.0.0.1:9443", &p.cb);
  for (int i = 0; i < 20; i++) assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
  pair_run(&p, 5 * NS_SEC);
  assert_int_equal(p.b.opened, 20);
  assert_int_equal(stats_of(&p.b).retries_sent, 0);
  pair_done(&p);
}

static void test_full(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 24, NULL);
  p.cb.max_conns = 2;
  pair_start(&p);
  pair_connect(&p);
  pair_connect(&p);
  pair_run(&p, NS_SEC);
  p.a.opened = 0;
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
  pair_run(&p, 5 * NS_SEC);
  assert_int_equal(p.a.opened, 0);
  assert_int_equal(p.a.closed, 1);
  assert_int_equal(p.a.why.err, MACULA_MAX_CLIENTS_REACHED);
  assert_int_equal(stats_of(&p.b).refused_full, 1);
  assert_int_equal(stats_of(&p.b).conns, 2);
  pair_done(&p);
}

static void test_half_open(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 25, NULL);
  p.cb.max_half_open = 2;
  p.cb.handshake_timeout = 3 * NS_SEC;
  pair_start(&p);
  pair_connect(&p);
  assert_int_equal(stats_of(&p.b).half_open, 1);
  quic_conn_admit(p.b.conn);
  quic_conn_admit(p.b.conn);
  assert_int_equal(stats_of(&p.b).half_open, 0);
  pair_connect(&p);
  p.b.opened = 0;
  pair_connect(&p);
  p.b.opened = 0;
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
  pair_run(&p, 2 * NS_SEC);
  assert_int_equal(p.b.opened, 0);
  assert_true(stats_of(&p.b).refused_half_open > 0);
  quic_conn_admit(p.b.conn);
  pair_run(&p, 8 * NS_SEC); /* its Initial is sent again, and there is room now */
  assert_int_equal(p.b.opened, 1);
  pair_done(&p);
}

/* Whoever holds handshakes back holds up others from its own address only. */
static void test_half_open_fair(void **st) {
  (void)st;
  struct pair p;
  struct side c = {0};
  pair_init(&p, 125, NULL);
  p.cb.max_half_open = 4;
  pair_start(&p);
  struct quic_config cc = side_config(&c, p.net, p.ia, false);
  side_start(&c, p.net, "10.0.0.3:1000", &cc);
  for (int i = 0; i < 4; i++) {
    p.b.opened = 0;
    pair_connect(&p); /* and never says CONNECT */
  }
  pair_run(&p, NS_SEC);
  p.b.opened = 0;
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
  pair_run(&p, NS_SEC / 2);
  assert_int_equal(p.b.opened, 0);
  assert_true(stats_of(&p.b).refused_half_open > 0);
  struct quic_connect o = {.local = c.at, .remote = p.b.at};
  assert_int_equal(quic_connect(c.q, &o, sim_net_now(p.net), &c.conn), 0);
  pair_run(&p, NS_SEC / 2);
  assert_int_equal(c.opened, 1);
  assert_int_equal(p.b.opened, 1);
  assert_int_equal(p.b.closed, 1);
  assert_int_equal(stats_of(&p.b).half_open, 4);
  side_stop(&c);
  pair_done(&p);
}

/* Connections that linger after their end are in nobody's way. */
static void test_lingering_make_room(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 126, NULL);
  p.cb.max_conns = 2;
  p.cb.max_half_open = 2;
  pair_start(&p);
  for (int i = 0; i < 6; i++) {
    pair_connect_again(&p);
    if (i >= 3) quic_conn_admit(p.b.conn); /* else it is refused by the owner, and lingers half-open */
    quic_conn_close(p.b.conn, MACULA_NOT_AUTHORIZED, "");
    pair_run(&p, 5 * NS_MS);
    assert_int_equal(p.b.closed, i + 1);
  }
  assert_int_equal(stats_of(&p.b).refused_full, 0);
  assert_int_equal(stats_of(&p.b).refused_half_open, 0);
  assert_true(stats_of(&p.b).total <= 4);
  pair_run(&p, 20 * NS_SEC);
  assert_int_equal(stats_of(&p.b).total, 0);
  assert_int_equal(stats_of(&p.b).conns, 0);
  assert_int_equal(stats_of(&p.b).half_open, 0);
  pair_done(&p);
}

static void test_stop_accepting(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 26, NULL);
  pair_start(&p);
  pair_connect(&p);
  quic_stop_accepting(p.b.q, MACULA_SHUTTING_DOWN);
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
  pair_run(&p, 5 * NS_SEC);
  assert_int_equal(p.a.closed, 1);
  assert_int_equal(p.a.why.err, MACULA_SHUTTING_DOWN);
  assert_int_equal(stats_of(&p.b).conns, 1);
  pair_done(&p);
}

static bool spoil_version(void *ctx, const struct addr *from, const struct addr *to, uint8_t *p, size_t len) {
  (void)to;
  const struct pair *pr = ctx;
  if (addr_eq(from, &pr->a.at) && len > 5 && p[0] & 0x80) memcpy(p + 1, "\x1a\x2a\x3a\x4a", 4);
  return true;
}

static void test_version_negotiation(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 27, NULL);
  pair_start(&p);
  sim_net_filter(p.net, spoil_version, &p);
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
  pair_run(&p, 15 * NS_SEC);
  assert_true(stats_of(&p.b).version_negotiations > 0);
  assert_int_equal(stats_of(&p.b).accepted, 0);
  assert_int_equal(p.a.closed, 1); /* a list that holds our version is a forgery, so the handshake times out */
  pair_done(&p);
}

static bool other_versions(void *ctx, const struct addr *from, const struct addr *to, uint8_t *p, size_t len) {
  const struct pair *pr = ctx;
  if (addr_eq(from, &pr->b.at) && len > 15 && p[0] & 0x80 && memcmp(p + 1, "\0\0\0\0", 4) == 0)
    memcpy(p + len - 8, "\x1a\x2a\x3a\x4a\x2a\x3a\x4a\x5a", 8);
  return spoil_version(ctx, from, to, p, len);
}

static void test_no_common_version(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 27, NULL);
  pair_start(&p);
  sim_net_filter(p.net, other_versions, &p);
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
  pair_run(&p, NS_SEC);
  assert_int_equal(p.a.closed, 1);
  assert_int_equal(p.a.why.err, MACULA_UNSUPPORTED_VERSION);
  pair_done(&p);
}

static void close_at_once(void *ctx, struct quic_conn *c) {
  side_open(ctx, c);
  int64_t s;
  (void)quic_stream_open(c, &s);
  quic_conn_close(c, MACULA_REALM_MISMATCH, "from within");
  quic_conn_close(c, MACULA_EINTERNAL, "again");
  assert_int_equal(quic_stream_open(c, &s), MACULA_ECLOSED);
  quic_flush_events(quic_conn_endpoint(c), 0);
}

/* Closing and everything else from within handlers. */
static void test_close_in_open(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 32, NULL);
  p.cb.handler.conn_open = close_at_once;
  pair_start(&p);
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
  pair_run(&p, NS_SEC);
  assert_int_equal(p.a.closed, 1);
  assert_int_equal(p.a.why.err, MACULA_REALM_MISMATCH);
  assert_string_equal(p.a.text, "from within");
  assert_int_equal(p.b.closed, 1);
  pair_done(&p);
}

static void test_stateless_reset(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 28, NULL);
  pair_start(&p);
  pair_connect(&p);
  pair_run(&p, NS_SEC);
  side_stop(&p.b); /* the node dies and comes back with the same key */
  side_start(&p.b, p.net, "10.0.0.2:9443", &p.cb);
  int64_t s;
  assert_int_equal(quic_stream_open(p.a.conn, &s), 0);
  assert_int_equal(quic_stream_write(p.a.conn, s, slice_str("a message that is long enough to be answered")), 0);
  pair_run(&p, NS_SEC);
  assert_int_equal(stats_of(&p.b).stateless_resets_sent, 1);
  assert_int_equal(p.a.closed, 1);
  assert_int_equal(p.a.why.reason, QUIC_CLOSE_RESET);
  assert_int_equal(p.a.why.err, MACULA_NOT_CONNECTED);
  pair_done(&p);
}

static void test_migration(void **st) {
  (void)st;
  struct pair p;
  struct addr outside;
  pair_init(&p, 29, NULL);
  pair_start(&p);
  p.b.echo = true;
  pair_connect(&p);
  int64_t s;
  assert_int_equal(quic_stream_open(p.a.conn, &s), 0);
  assert_int_equal(quic_stream_write(p.a.conn, s, slice_str("one")), 0);
  pair_run(&p, NS_SEC);
  assert_int_equal(addr_parse("10.9.9.9:5555", 0, &outside), 0);
  sim_net_nat(p.net, &p.a.at, &outside);
  assert_int_equal(quic_stream_write(p.a.conn, s, slice_str("two")), 0);
  pair_run(&p, 3 * NS_SEC);
  assert_int_equal(p.a.in_len, 6);
  assert_memory_equal(p.a.in, "onetwo", 6);
  assert_int_equal(stats_of(&p.b).migrations, 1);
  assert_true(addr_eq(quic_conn_remote(p.b.conn), &outside));
  assert_int_equal(quic_stream_write(p.b.conn, s, slice_str("three")), 0); /* the server speaks first */
  pair_run(&p, NS_SEC);
  assert_int_equal(p.a.in_len, 11);
  assert_int_equal(p.a.closed + p.b.closed, 0);
  pair_done(&p);
}

static void test_key_update(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 30, NULL);
  pair_start(&p);
  p.b.echo = true;
  pair_connect(&p);
  pair_run(&p, NS_SEC);
  int64_t s;
  assert_int_equal(quic_stream_open(p.a.conn, &s), 0);
  for (int i = 0; i < 10; i++) { /* the next keys are made when packets come some time after an update */
    if (i % 2 == 0) quic_conn_key_update(i % 4 ? p.a.conn : p.b.conn);
    assert_int_equal(quic_stream_write(p.a.conn, s, slice_str("x")), 0);
    pair_run(&p, NS_SEC);
  }
  assert_int_equal(p.a.in_len, 10);
  assert_in_range(stats_of(&p.a).key_updates, 4, 6);
  assert_in_range(stats_of(&p.b).key_updates, 4, 6);
  pair_done(&p);
}

static bool keep_copy(void *ctx, const struct addr *from, const struct addr *to, uint8_t *p, size_t len) {
  (void)from, (void)to;
  struct {
    uint8_t b[1500];
    size_t n;
  } *copy = ctx;
  if (len <= sizeof copy->b && (copy->n == 0 || rand() % 3 == 0)) memcpy(copy->b, p, copy->n = len);
  return true;
}

static void test_garbage(void **st) {
  (void)st;
  struct pair p;
  struct {
    uint8_t b[1500];
    size_t n;
  } copy = {.n = 0};
  struct rng_seeded g;
  rng_seeded_init(&g, 31);
  struct rng r = rng_seeded_view(&g);
  pair_init(&p, 31, NULL);
  pair_start(&p);
  p.b.echo = true;
  sim_net_filter(p.net, keep_copy, &copy);
  pair_connect(&p);
  int64_t s;
  assert_int_equal(quic_stream_open(p.a.conn, &s), 0);
  for (int i = 0; i < 2000; i++) {
    uint8_t d[1500];
    size_t n = rng_below(r, sizeof d);
    rng_fill(r, d, n);
    if (i % 2 && copy.n) { /* a real one with some bits turned */
      memcpy(d, copy.b, n = copy.n);
      for (int k = 0; k < 1 + i % 4; k++) d[rng_below(r, n)] ^= (uint8_t)(1 << rng_below(r, 8));
    } else if (n > 7 && i % 4 == 0) {
      memcpy(d, "\xc0\x00\x00\x00\x01\x08", 6);
    }
    bool to_a = rng_below(r, 2);
    sim_net_inject(p.net, to_a ? &p.b.at : &p.a.at, to_a ? &p.a.at : &p.b.at, slice_of(d, n));
    if (i % 50 == 0) assert_int_equal(quic_stream_write(p.a.conn, s, slice_str("x")), 0);
    pair_run(&p, 5 * NS_MS);
  }
  pair_run(&p, NS_SEC);
  assert_int_equal(p.a.in_len, 40);
  assert_int_equal(p.a.closed + p.b.closed, 0);
  pair_done(&p);
}

static void count_refused(void *ctx, const struct addr *remote, const struct id *id, int err, struct slice text) {
  (void)remote, (void)id, (void)err, (void)text;
  ((struct side *)ctx)->closed++;
}

/* Who leaves in the middle of the handshake was not refused. */
static void test_gone_before_it_opened(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 127, NULL);
  p.cb.handler.refused = count_refused;
  pair_start(&p);
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
  pair_run(&p, NS_MS + NS_MS / 2); /* the server's answer is on its way */
  assert_int_equal(stats_of(&p.b).half_open, 1);
  quic_conn_close(p.a.conn, 0, "");
  pair_run(&p, 20 * NS_SEC);
  assert_int_equal(stats_of(&p.b).total, 0);
  assert_int_equal(p.b.opened + p.b.closed, 0);
  pair_done(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_retry),
      cmocka_unit_test(test_retry_rate),
      cmocka_unit_test(test_full),
      cmocka_unit_test(test_half_open),
      cmocka_unit_test(test_half_open_fair),
      cmocka_unit_test(test_lingering_make_room),
      cmocka_unit_test(test_gone_before_it_opened),
      cmocka_unit_test(test_stop_accepting),
      cmocka_unit_test(test_version_negotiation),
      cmocka_unit_test(test_no_common_version),
      cmocka_unit_test(test_close_in_open),
      cmocka_unit_test(test_stateless_reset),
      cmocka_unit_test(test_migration),
      cmocka_unit_test(test_key_update),
      cmocka_unit_test(test_garbage),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
