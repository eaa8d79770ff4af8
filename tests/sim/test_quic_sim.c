/* Real QUIC and TLS over a bad network: what was said arrives, whatever the order, and the same seed replays the same run.
 * SIM_SEED=N replays one seed. */
#include "../unit/quic/pair.h"

#define CLIENTS 6
#define ROUNDS 40

struct world {
  struct sim_net *net;
  struct side clients[CLIENTS], server;
};

static bool all_echoed(void *ctx) {
  const struct world *w = ctx;
  for (int i = 0; i < CLIENTS; i++)
    if (w->clients[i].fins < 1) return false;
  return true;
}

static void fill(uint8_t *p, size_t n, uint64_t seed) {
  struct rng_seeded g;
  rng_seeded_init(&g, seed);
  rng_fill(rng_seeded_view(&g), p, n);
}

/* Six clients with a partition and a rebinding in between; returns how many datagrams were sent. */
static uint64_t world_run(uint64_t seed) {
  struct world *w = calloc(1, sizeof *w);
  struct quic_identity *id;
  assert_non_null(w);
  assert_int_equal(quic_identity_generate(&id), 0);
  w->net = sim_net_new(seed,
                       &(struct sim_link){.delay = 10 * NS_MS, .jitter = 5 * NS_MS, .loss = 0.05, .dup = 0.03, .reorder = 0.1});
  struct quic_config cfg = side_config(&w->server, w->net, id, true);
  w->server.echo = true;
  side_start(&w->server, w->net, "10.0.1.1:9443", &cfg);
  int64_t stream[CLIENTS];
  for (int i = 0; i < CLIENTS; i++) {
    struct side *c = &w->clients[i];
    char at[32];
    snprintf(at, sizeof at, "10.0.0.%d:1000", i + 1);
    cfg = side_config(c, w->net, id, false);
    side_start(c, w->net, at, &cfg);
    struct quic_connect o = {.local = c->at, .remote = w->server.at};
    assert_int_equal(quic_connect(c->q, &o, sim_net_now(w->net), &c->conn), 0);
  }
  sim_net_run(w->net, 9 * NS_SEC, NULL, NULL);
  uint8_t data[4096];
  for (int i = 0; i < CLIENTS; i++) {
    assert_int_equal(w->clients[i].opened, 1);
    assert_int_equal(quic_stream_open(w->clients[i].conn, &stream[i]), 0);
  }
  for (int r = 0; r < ROUNDS; r++) {
    for (int i = 0; i < CLIENTS; i++) {
      fill(data, sizeof data, (uint64_t)(i * ROUNDS + r));
      size_t n = 1 + (size_t)(i * 977 + r * 331) % sizeof data;
      assert_int_equal(quic_stream_write(w->clients[i].conn, stream[i], slice_of(data, n)), 0);
      if (r == ROUNDS - 1) quic_stream_finish(w->clients[i].conn, stream[i]);
    }
    if (r == 10) sim_net_cut(w->net, &w->clients[1].at, &w->server.at, true);
    if (r == 20) sim_net_cut(w->net, &w->clients[1].at, &w->server.at, false);
    if (r == 15) {
      struct addr outside;
      assert_int_equal(addr_parse("10.7.7.7:7777", 0, &outside), 0);
      sim_net_nat(w->net, &w->clients[2].at, &outside);
    }
    sim_net_run(w->net, sim_net_now(w->net) + 100 * NS_MS, NULL, NULL);
  }
  assert_true(sim_net_run(w->net, sim_net_now(w->net) + 120 * NS_SEC, all_echoed, w));
  for (int i = 0; i < CLIENTS; i++) {
    size_t at = 0;
    for (int r = 0; r < ROUNDS; r++) {
      fill(data, sizeof data, (uint64_t)(i * ROUNDS + r));
      size_t n = 1 + (size_t)(i * 977 + r * 331) % sizeof data;
      assert_true(at + n <= w->clients[i].in_len);
      assert_memory_equal(w->clients[i].in + at, data, n);
      at += n;
    }
    assert_int_equal(w->clients[i].in_len, at);
    assert_int_equal(w->clients[i].closed, 0);
  }
  struct sim_stats s;
  sim_net_stats(w->net, &s);
  assert_true(s.lost > 0 && s.duplicated > 0 && s.reordered > 0 && s.cut > 0);
  for (int i = 0; i < CLIENTS; i++) side_stop(&w->clients[i]);
  side_stop(&w->server);
  quic_identity_unref(id);
  sim_net_free(w->net);
  free(w);
  return s.sent;
}

static void test_bad_network(void **st) {
  (void)st;
  const char *given = getenv("SIM_SEED");
  uint64_t first = given ? strtoull(given, NULL, 10) : 1;
  for (uint64_t seed = first; seed < first + (given ? 1 : 5); seed++) {
    print_message("seed %llu (SIM_SEED=%llu replays it)\n", (unsigned long long)seed, (unsigned long long)seed);
    world_run(seed);
  }
}

/* Nothing but the seed decides what is lost: TLS makes random bytes of its own, but not more or fewer of them. */
static void test_seed_replays(void **st) {
  (void)st;
  uint64_t a = world_run(99), b = world_run(99);
  assert_in_range(b, a - a / 20, a + a / 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_bad_network), cmocka_unit_test(test_seed_replays)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
