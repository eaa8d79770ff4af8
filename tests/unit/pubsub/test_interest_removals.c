/* Removals are forgotten once all were told, and nobody keeps a pattern for it: by seed, with frames lost, repeated and
 * overtaken, paths that only one side sees come back, nodes forgotten by one side, restarted behind a path that stands, out of
 * memory, or never reached at all. */
#include "interest_rig.h"

/* Bits of what may happen besides. */
enum { LIMITS = 1, NOMEM = 2, SILENT = 4 };

struct hostile {
  struct net *net;
  uint32_t kinds, silent; /* silent: the one that nobody has a path to; NODES: none */
};

static void swap_frames(struct net *net, uint32_t a, uint32_t b) {
  uint32_t n = net->queued[a][b];
  if (n < 2) return;
  struct frame *f = net->queue[a][b], *x = &f[rng_below(net->rng, n)], *y = &f[rng_below(net->rng, n)], old = *x;
  *x = *y;
  *y = old;
}

static void repeat_frame(struct net *net, uint32_t a, uint32_t b) {
  uint32_t n = net->queued[a][b];
  if (!n || n == QUEUE) return;
  struct frame *f = net->queue[a][b], *x = &f[rng_below(net->rng, n)];
  f[n] = (struct frame){x->type, x->len, malloc(x->len)};
  memcpy(f[n].p, x->p, x->len);
  net->queued[a][b]++;
}

static void forget_peer(struct net *net, uint32_t a, uint32_t b) {
  struct node *nd = &net->node[a];
  interest_peer_done(nd->i, &nd->peer[b]);
  interest_peer_init(nd->i, &nd->peer[b], &(struct id){.b = {(uint8_t)b}}, (void *)(uintptr_t)b);
  if (net->up[a][b]) interest_link(&nd->peer[b], true, false);
}

/* As through a gateway: what is under way of its last run still comes, and what is sent to that. */
static void restart(struct net *net, uint32_t n) {
  struct node *nd = &net->node[n];
  for (uint32_t k = 0; k < NODES; k++)
    if (k != n) interest_peer_done(nd->i, &nd->peer[k]);
  interest_free(nd->i);
  assert_int_equal(nd->mem.bytes, 0);
  node_start(net, n);
  for (uint32_t k = 0; k < NODES; k++)
    if (k != n && net->up[n][k]) interest_link(&nd->peer[k], true, false);
}

/* A gateway's link to `a` broke and came back: b's to it stands all the time. */
static void behind_gateway(struct net *net, uint32_t a, uint32_t b) {
  if (!net->up[a][b]) return;
  bool lose = rng_below(net->rng, 2);
  while (lose && net->queued[a][b]) free(net->queue[a][b][--net->queued[a][b]].p);
  while (lose && net->queued[b][a]) free(net->queue[b][a][--net->queued[b][a]].p);
  interest_link(&net->node[a].peer[b], false, true);
  interest_link(&net->node[a].peer[b], true, false);
}

/* Its queue is full, or memory is. */
static void not_sent(struct net *net, uint32_t a, uint32_t b) {
  struct slice s;
  uint8_t type;
  if (net->up[a][b] && interest_next(net->node[a].i, &net->node[a].peer[b], 1024, &type, &s))
    interest_lost(&net->node[a].peer[b]);
}

static void limit(struct net *net, uint32_t n) {
  bool tight = rng_below(net->rng, 2);
  interest_set_max(net->node[n].i, 1000, tight ? 30 : 1000, tight ? (uint32_t)rng_below(net->rng, 20) + 1 : 1000);
}

static void happen(struct hostile *h, uint32_t a, uint32_t b) {
  struct net *net = h->net;
  bool reached = a != h->silent && b != h->silent;
  switch (rng_below(net->rng, 18)) {
  case 0:
    link_set(net, a, b, false);
    break;
  case 1:
  case 2:
    if (reached) link_set(net, a, b, true);
    break;
  case 3:
    behind_gateway(net, a, b);
    break;
  case 14:
    not_sent(net, a, b);
    break;
  case 4:
    forget_peer(net, a, b);
    break;
  case 5:
    if (rng_below(net->rng, 6) == 0) restart(net, a);
    break;
  case 6:
    interest_check(&net->node[a].peer[b]);
    break;
  case 7:
    interest_set_retained(net->node[a].i, net->node[a].retained = rng_below(net->rng, 3));
    break;
  case 8:
    for (uint32_t k = 0; k < NAMES; k++) drop(net, a, k);
    break;
  case 9:
    for (uint32_t k = 0; k < NAMES; k++) add(net, a, k);
    break;
  case 10:
  case 11:
    repeat_frame(net, a, b);
    break;
  case 12:
    if (h->kinds & LIMITS) limit(net, a);
    break;
  case 13:
    if (h->kinds & NOMEM) net->fail.countdown = rng_below(net->rng, 50);
    break;
  default:
    swap_frames(net, a, b);
  }
}

/* As the rig's, but for the silent one. */
static void calm(struct hostile *h) {
  struct net *net = h->net;
  uint32_t checks = 2;
  net->loss = 0;
  net->fail.countdown = 0;
  for (uint32_t a = 0; a < NODES; a++) interest_set_max(net->node[a].i, 1000, 1000, 1000);
  for (uint32_t a = 0; a < NODES; a++)
    for (uint32_t b = 0; b < a; b++) link_set(net, a, b, a != h->silent && b != h->silent);
  for (exchange(net); checks--; exchange(net))
    for (uint32_t a = 0; a < NODES; a++)
      for (uint32_t b = 0; b < NODES; b++)
        if (a != b) interest_check(&net->node[a].peer[b]);
}

static void assert_told(struct hostile *h) {
  struct net *net = h->net;
  for (uint32_t a = 0; a < NODES; a++) {
    struct interest_stats s;
    bool all = true; /* one whose word was lost, and that lacks nothing, says so at the next change */
    for (uint32_t b = 0; b < NODES; b++) all &= a == b || net->node[a].peer[b].ready;
    interest_stats(net->node[a].i, &s);
    if (all) assert_int_equal(s.removed, 0);
    assert_true(s.removed <= net->cfg.max_removed);
    for (uint32_t b = 0; b < NODES; b++) {
      if (a == b || a == h->silent || b == h->silent) continue;
      assert_false(interest_pending(net->node[a].i, &net->node[a].peer[b]));
      assert_holds(net, b, a);
    }
  }
}

/* What is not lost unseen needs no check; each step may leave a few changes for the next. */
static void gentle(struct hostile *h, uint32_t steps) {
  struct net *net = h->net;
  while (steps--) {
    uint32_t a = (uint32_t)rng_below(net->rng, NODES), b = (a + 1 + (uint32_t)rng_below(net->rng, NODES - 1)) % NODES;
    uint32_t k = (uint32_t)rng_below(net->rng, NAMES);
    uint64_t what = rng_below(net->rng, 14);
    if (what < 4) add(net, a, k);
    if (what >= 4 && what < 9) drop(net, a, k);
    if (what == 9) interest_set_retained(net->node[a].i, net->node[a].retained = rng_below(net->rng, 2));
    if (what == 10 && a != h->silent && b != h->silent) link_set(net, a, b, !net->up[a][b]);
    if (what == 11) pump(net, a, b, 1, 1024);
    if (what == 12) behind_gateway(net, a, b);
    if (what == 13) not_sent(net, a, b);
    deliver(net, b, a);
  }
  for (uint32_t a = 0; a < NODES; a++)
    for (uint32_t b = 0; b < a; b++) link_set(net, a, b, a != h->silent && b != h->silent);
  exchange(net);
}

static void history(uint64_t seed) {
  struct interest_config cfg = small;
  struct hostile h = {.kinds = (uint32_t)seed & 7};
  cfg.max_removed = seed % 5 == 0 ? 1000 : (uint32_t)(seed % 9); /* also none at all */
  struct net *net = h.net = net_new(seed, cfg);
  h.silent = h.kinds & SILENT ? (uint32_t)rng_below(net->rng, NODES) : NODES;
  for (int phase = 0; phase < 3; phase++) {
    net->loss = (uint32_t)rng_below(net->rng, 3) * 15;
    uint64_t rate = 2 + rng_below(net->rng, 30);
    for (int k = 0; k < 800; k++) {
      uint32_t a = (uint32_t)rng_below(net->rng, NODES), b = (a + 1 + (uint32_t)rng_below(net->rng, NODES - 1)) % NODES;
      if (rng_below(net->rng, rate) == 0) happen(&h, a, b);
      if (rng_below(net->rng, 2)) add(net, a, (uint32_t)rng_below(net->rng, NAMES));
      if (rng_below(net->rng, 2)) drop(net, a, (uint32_t)rng_below(net->rng, NAMES));
      pump(net, a, b, (uint32_t)rng_below(net->rng, 3), 1024);
      deliver(net, a, b);
      deliver(net, b, a);
      if (k % 50 == 0) check_all(net);
    }
    calm(&h);
    assert_told(&h);
    for (int k = 0; k < 20; k++) {
      gentle(&h, 1 + (uint32_t)rng_below(net->rng, 20));
      assert_told(&h);
    }
    check_all(net);
  }
  net_free(net);
}

static void no_history_leaves_a_pattern_or_a_removal(void **state) {
  (void)state;
  const char *from = getenv("MACULA_TEST_SEED"), *count = getenv("MACULA_TEST_SEEDS");
  uint64_t first = from ? strtoull(from, NULL, 10) : 1, seeds = count ? strtoull(count, NULL, 10) : 100;
  for (uint64_t seed = first; seed < first + seeds; seed++) {
    at_seed = seed;
    history(seed);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(no_history_leaves_a_pattern_or_a_removal, print_seed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
