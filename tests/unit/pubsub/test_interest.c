/* Nodes that tell each other their patterns over links that lose frames, break and come back: by seed, checked against plain
 * sets. */
#include "interest_rig.h"

/* Everything that may happen, once. */
static void step(struct net *net) {
  uint32_t a = (uint32_t)rng_below(net->rng, NODES), b = (uint32_t)rng_below(net->rng, NODES - 1);
  uint32_t k = (uint32_t)rng_below(net->rng, NAMES), n;
  b += b >= a;
  switch (rng_below(net->rng, 60)) {
  case 0:
    link_set(net, a, b, false);
    break;
  case 1:
  case 2:
    link_set(net, a, b, true);
    break;
  case 3: /* one side forgets the other, which does not know */
    link_set(net, a, b, false);
    interest_peer_done(net->node[a].i, &net->node[a].peer[b]);
    interest_peer_init(net->node[a].i, &net->node[a].peer[b], &(struct id){.b = {(uint8_t)b}}, (void *)(uintptr_t)b);
    break;
  case 4:
    if (rng_below(net->rng, 8)) break;
    node_stop(net, a);
    node_start(net, a);
    break;
  case 5:
    interest_check(&net->node[a].peer[b]);
    break;
  case 6:
    interest_set_retained(net->node[a].i, net->node[a].retained = rng_below(net->rng, 3));
    break;
  case 7: /* a crowd goes */
    for (n = 0; n < NAMES; n++) drop(net, a, n);
    break;
  default:
    n = (uint32_t)rng_below(net->rng, 4);
    if (n == 0) add(net, a, k);
    if (n == 1 && rng_below(net->rng, 2)) drop(net, a, k);
    if (n == 2) pump(net, a, b, 1 + (uint32_t)rng_below(net->rng, 3), 1024);
    if (n == 3) deliver(net, a, b);
    break;
  }
}

static void any_history_converges(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 300; seed++) {
    at_seed = seed;
    struct net *net = net_new(seed, small);
    for (int phase = 0; phase < 3; phase++) {
      net->loss = phase == 1 ? 20 : 0;
      for (int k = 0; k < 1500; k++) {
        step(net);
        if (k % 50 == 0) check_all(net); /* it takes longer than some steps */
      }
      settle(net);
      assert_agree(net);
    }
    net_free(net);
  }
}

static void each_change_crosses_once(void **state) {
  (void)state;
  struct net *net = net_new(7, small);
  struct interest_stats s;
  uint64_t sent;
  for (uint32_t k = 0; k < 20; k++) add(net, 0, k);
  settle(net);
  assert_agree(net);
  interest_stats(net->node[0].i, &s);
  assert_int_equal(s.own, 20);
  assert_int_equal(s.resets, NODES - 1); /* once the whole for each */
  assert_int_equal(s.repairs, 0);
  sent = s.sent;
  add(net, 0, 20);
  add(net, 0, 20); /* another client: no news */
  exchange(net);
  drop(net, 0, 20); /* nor that one of two left */
  exchange(net);
  interest_stats(net->node[0].i, &s);
  assert_int_equal(s.sent, sent + NODES - 1);
  drop(net, 0, 20);
  exchange(net);
  assert_agree(net);
  link_set(net, 0, 1, false);
  drop(net, 0, 3);
  add(net, 0, 30);
  link_set(net, 0, 1, true);
  exchange(net);
  assert_agree(net);
  interest_stats(net->node[0].i, &s);
  assert_int_equal(s.resets, NODES - 1); /* a link that comes back hears what is new */
  interest_stats(net->node[1].i, &s);
  assert_int_equal(s.repairs, 0);
  net_free(net);
}

/* Through a gateway a restarted node looks like the old one: the path stands. */
static void one_side_begins_again(void **state) {
  (void)state;
  struct net *net = net_new(14, small);
  for (uint32_t k = 0; k < 20; k++) add(net, k & 1, k);
  settle(net);
  struct node *nd = &net->node[1];
  for (uint32_t k = 0; k < NODES; k++)
    if (k != 1) interest_peer_done(nd->i, &nd->peer[k]);
  interest_free(nd->i);
  node_start(net, 1);
  for (uint32_t k = 30; k < 35; k++) add(net, 1, k);
  for (uint32_t k = 0; k < NODES; k++)
    if (k != 1) interest_link(&nd->peer[k], true, false);
  exchange(net); /* without a check */
  assert_agree(net);
  net_free(net);
}

static void too_many_removals_begin_anew(void **state) {
  (void)state;
  struct net *net = net_new(8, small);
  struct interest_stats s;
  for (uint32_t k = 0; k < NAMES; k++) add(net, 0, k);
  settle(net);
  link_set(net, 0, 1, false);
  for (uint32_t k = 0; k < 20; k++) drop(net, 0, k);
  interest_stats(net->node[0].i, &s);
  assert_int_equal(s.removed, 6);
  assert_int_equal(s.forgotten, 14);
  uint64_t resets = s.resets;
  link_set(net, 0, 1, true);
  exchange(net);
  assert_agree(net);
  interest_stats(net->node[0].i, &s);
  assert_int_equal(s.resets, resets + NODES - 1); /* those with a link had not been told in time either */
  net_free(net);
}

static void removals_go_once_all_were_told(void **state) {
  (void)state;
  struct net *net = net_new(15, small);
  struct interest_stats s;
  for (uint32_t k = 0; k < NAMES; k++) add(net, 0, k);
  settle(net);
  size_t bytes = net->node[0].mem.bytes;
  link_set(net, 0, 1, false);
  for (uint32_t k = 0; k < 5; k++) drop(net, 0, k);
  exchange(net);
  interest_stats(net->node[0].i, &s);
  assert_int_equal(s.removed, 5); /* one has not heard of them */
  uint64_t resets = s.resets;
  link_set(net, 0, 1, true);
  exchange(net);
  assert_agree(net);
  interest_stats(net->node[0].i, &s);
  assert_int_equal(s.removed, 0);
  assert_int_equal(s.resets, resets);
  assert_true(net->node[0].mem.bytes < bytes);
  link_set(net, 0, 1, false);
  drop(net, 0, 5);
  exchange(net);
  interest_peer_done(net->node[0].i, &net->node[0].peer[1]); /* the one that has not heard is dead */
  interest_stats(net->node[0].i, &s);
  assert_int_equal(s.removed, 0);
  net_free(net);
}

/* One that had forgotten the other, and lost its word that it is where it was: removals do not wait for the next change. */
static void a_lost_word_is_asked_for(void **state) {
  (void)state;
  struct net *net = net_new(16, small);
  struct interest *i = net->node[0].i;
  struct interest_stats s;
  for (uint32_t k = 0; k < NAMES; k++) add(net, 0, k);
  settle(net);
  link_set(net, 0, 2, false);
  drop(net, 0, 1);
  exchange(net);
  link_set(net, 0, 1, false);
  interest_peer_done(i, &net->node[0].peer[1]);
  interest_peer_init(i, &net->node[0].peer[1], &(struct id){.b = {1}}, (void *)(uintptr_t)1);
  link_set(net, 0, 1, true);
  assert_int_equal(pump(net, 1, 0, 10, 1024), 1);
  net->loss = 100;
  deliver(net, 1, 0);
  net->loss = 0;
  exchange(net);
  link_set(net, 0, 2, true);
  exchange(net);
  interest_stats(i, &s);
  assert_int_equal(s.removed, 1); /* as far as is known, not all have heard of it */
  interest_check(&net->node[0].peer[1]);
  exchange(net);
  interest_stats(i, &s);
  assert_int_equal(s.removed, 0);
  assert_false(net->node[1].peer[0].asked);
  assert_int_equal(s.resets, NODES - 1);
  assert_agree(net);
  uint64_t sent = s.sent;
  interest_check(&net->node[0].peer[1]);
  assert_int_equal(pump(net, 0, 1, 10, 1024), 1);
  deliver(net, 0, 1);
  assert_int_equal(pump(net, 1, 0, 10, 1024), 0); /* at rest a check is not answered */
  interest_stats(i, &s);
  assert_int_equal(s.sent, sent + 1);
  net_free(net);
}

/* While a reset is on its way the old patterns still lead there. */
static void a_reset_leaves_no_hole(void **state) {
  (void)state;
  struct net *net = net_new(9, small);
  for (uint32_t k = 0; k < NAMES; k++) add(net, 0, k);
  settle(net);
  struct interest *i = net->node[1].i;
  struct interest_peer *p = &net->node[1].peer[0];
  struct wire_interest m = {.epoch = 77, .version = 5, .reset = true, .more = true};
  struct slice one = slice_str("only.this");
  uint8_t buf[512];
  m.adds = (struct msg_list){.count = 1, .items = &one};
  assert_int_equal(interest_recv(i, p, MSG_INTEREST, slice_of(buf, wire_interest_encode(&m, buf, sizeof buf))), 0);
  assert_int_equal(p->topics.count, NAMES + 1);
  m = (struct wire_interest){.epoch = 77, .from = 5, .version = 6, .total = 1};
  assert_int_equal(interest_recv(i, p, MSG_INTEREST, slice_of(buf, wire_interest_encode(&m, buf, sizeof buf))), 0);
  assert_int_equal(p->topics.count, 1);
  m = (struct wire_interest){.epoch = 77, .from = 5, .version = 5, .retained = 9}; /* overtaken */
  assert_int_equal(interest_recv(i, p, MSG_INTEREST, slice_of(buf, wire_interest_encode(&m, buf, sizeof buf))), 0);
  assert_int_equal(p->retained, 0);
  net_free(net);
}

static void limits_refuse_and_recover(void **state) {
  (void)state;
  struct interest_config cfg = small;
  cfg.max_own = 30;
  cfg.max_peer = 20;
  cfg.max_patterns = 50;
  struct net *net = net_new(10, cfg);
  struct interest_stats s;
  assert_int_equal(interest_add(net->node[0].i, slice_str("")), MACULA_INVALID_TOPIC);
  for (uint32_t k = 0; k < 30; k++) add(net, 0, k);
  assert_int_equal(interest_add(net->node[0].i, slice_str("more")), MACULA_EFULL);
  settle(net);
  interest_stats(net->node[1].i, &s);
  assert_int_equal(s.patterns, 20);
  assert_int_equal(s.refused, 10);
  assert_int_equal(s.repairs, 0); /* asking again would not help */
  for (uint32_t k = 0; k < 15; k++) drop(net, 0, k);
  settle(net); /* now it fits, and what was refused is asked for */
  assert_agree(net);
  for (uint32_t n = 1; n < 4; n++)
    for (uint32_t k = 0; k < 20; k++) add(net, n, k);
  settle(net);
  interest_stats(net->node[4].i, &s);
  assert_int_equal(s.patterns, 50); /* of all together */
  interest_peer_done(net->node[4].i, &net->node[4].peer[0]);
  interest_stats(net->node[4].i, &s);
  assert_true(s.patterns < 50);
  interest_peer_init(net->node[4].i, &net->node[4].peer[0], &(struct id){.b = {0}}, NULL);
  net_free(net);
}

/* A reload brought the limit below what other peers' patterns alone come to: there is no room, however often it is asked. */
static void a_lowered_limit_asks_nobody_again(void **state) {
  (void)state;
  struct net *net = net_new(14, small);
  struct interest_stats s;
  for (uint32_t n = 1; n < 3; n++)
    for (uint32_t k = 0; k < 20; k++) add(net, n, k);
  settle(net);
  assert_agree(net);
  interest_set_max(net->node[0].i, 1000, 10, 1000);
  add(net, 3, 0);
  exchange(net);
  interest_stats(net->node[0].i, &s);
  assert_int_equal(s.refused, 1);
  assert_int_equal(s.patterns, 40); /* what is there stays */
  for (int round = 0; round < 3; round++) settle(net);
  interest_stats(net->node[0].i, &s);
  assert_int_equal(s.repairs, 0);
  interest_set_max(net->node[0].i, 1000, 41, 1000);
  settle(net);
  assert_agree(net);
  net_free(net);
}

/* A peer whose digest never fits is asked once, and again only after a check. */
static void a_liar_is_not_asked_for_ever(void **state) {
  (void)state;
  struct net *net = net_new(11, small);
  struct interest *i = net->node[0].i;
  struct interest_peer *p = &net->node[0].peer[1];
  uint8_t buf[512], type;
  struct slice s;
  interest_link(p, true, true);
  uint32_t asked = 0;
  while (interest_next(i, p, 4096, &type, &s)) asked += type == MSG_INTEREST_HAVE;
  for (int k = 0; k < 100; k++) {
    struct wire_interest m = {.epoch = 3, .version = 1, .reset = true, .total = 5, .digest = 99};
    assert_int_equal(interest_recv(i, p, MSG_INTEREST, slice_of(buf, wire_interest_encode(&m, buf, sizeof buf))), 0);
    while (interest_next(i, p, 4096, &type, &s)) asked += type == MSG_INTEREST_HAVE;
    if (k == 50) interest_check(p);
  }
  assert_int_equal(asked, 3); /* on the new link, then one repair, then one more */
  net_free(net);
}

static void garbage_is_refused(void **state) {
  (void)state;
  struct net *net = net_new(12, small);
  struct interest *i = net->node[0].i;
  struct interest_peer *p = &net->node[0].peer[1];
  static const char *const bad[] = {"", "a..b", "te*mp", "a/b", "#", "a.#", ".", "a\tb", "***", "+", "%61", "%2e", "\xff"};
  uint8_t buf[20000];
  for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
    struct slice items[2] = {slice_str("fine"), slice_str(bad[k])};
    struct wire_interest m = {.epoch = 3, .version = 1, .reset = true};
    m.adds = (struct msg_list){.count = 2, .items = items};
    assert_int_equal(interest_recv(i, p, MSG_INTEREST, slice_of(buf, wire_interest_encode(&m, buf, sizeof buf))),
                     MACULA_BAD_FRAME);
    m.adds = (struct msg_list){0};
    m.removes = (struct msg_list){.count = 2, .items = items};
    assert_int_equal(interest_recv(i, p, MSG_INTEREST, slice_of(buf, wire_interest_encode(&m, buf, sizeof buf))),
                     MACULA_BAD_FRAME);
  }
  assert_int_equal(p->topics.count, 0);
  struct wire_interest back = {.epoch = 3, .from = 5, .version = 4}, none = {.version = 4}, both = {3, 1, 4, .reset = true};
  assert_int_equal(interest_recv(i, p, MSG_INTEREST, slice_of(buf, wire_interest_encode(&back, buf, sizeof buf))),
                   MACULA_BAD_FRAME);
  assert_int_equal(interest_recv(i, p, MSG_INTEREST, slice_of(buf, wire_interest_encode(&none, buf, sizeof buf))),
                   MACULA_BAD_FRAME);
  assert_int_equal(interest_recv(i, p, MSG_INTEREST, slice_of(buf, wire_interest_encode(&both, buf, sizeof buf))),
                   MACULA_BAD_FRAME);
  assert_int_equal(interest_recv(i, p, MSG_RETAINED_GET, slice_of(buf, 0)), MACULA_UNKNOWN_TYPE);
  for (uint64_t k = 0; k < 200000; k++) { /* damaged pages of real ones */
    size_t n = 0;
    if (k % 1000 == 0) {
      for (uint32_t name = 0; name < NAMES; name++) rng_below(net->rng, 2) ? add(net, 1, name) : drop(net, 1, name);
      interest_link(&net->node[1].peer[0], true, true);
    }
    struct wire_have h = {rng_below(net->rng, 3) ? p->epoch : rng_u64(net->rng), rng_below(net->rng, 100), 0};
    uint8_t type = MSG_INTEREST_HAVE;
    struct slice s;
    n = wire_have_encode(&h, buf, sizeof buf);
    (void)interest_recv(net->node[1].i, &net->node[1].peer[0], type, slice_of(buf, n));
    if (interest_next(net->node[1].i, &net->node[1].peer[0], 2000, &type, &s)) {
      memcpy(buf, s.p, s.n);
      n = s.n;
    }
    for (uint64_t hits = rng_below(net->rng, 4); hits; hits--) buf[rng_below(net->rng, n)] = (uint8_t)rng_u64(net->rng);
    if (rng_below(net->rng, 4) == 0) n = rng_below(net->rng, n + 1);
    (void)interest_recv(i, p, type, slice_of(buf, n));
  }
  net_free(net);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (uint64_t n = 1; n < 400; n++) {
    struct net *net = net_new(n, small);
    net->fail.countdown = n;
    for (int k = 0; k < 1000; k++) step(net);
    net->fail.countdown = 0;
    settle(net);
    assert_agree(net);
    net_free(net);
  }
  for (uint64_t n = 1;; n++) {
    struct mem_fail f = {.countdown = n};
    struct mem m = {.name = "interest", .fail = &f};
    struct rng_seeded seed;
    rng_seeded_init(&seed, n);
    struct interest_config cfg = small;
    cfg.own_mem = cfg.mem = &m;
    cfg.rng = rng_seeded_view(&seed);
    struct interest *i;
    if (interest_new(&cfg, &i) == 0) {
      int err = interest_add(i, slice_str("a.b"));
      assert_true(err == 0 || err == MACULA_ENOMEM);
      struct interest_stats s;
      interest_stats(i, &s);
      assert_int_equal(s.own, err == 0);
      interest_free(i);
    }
    assert_int_equal(m.bytes, 0);
    if (f.countdown) break;
  }
}

#define MANY 100000

static bool always(void *ctx) {
  (void)ctx;
  return true;
}

/* What is left for later turns gets on in each, even if none has any time. */
static void finish_in_slices(struct interest *i) {
  struct spent spent = {always, NULL};
  for (int k = 0; interest_is_due(i); k++) {
    assert_true(k < 100000);
    interest_step(i, &spent);
    if (k % 500 == 0) HOLDS(interest_tables_check(i));
  }
}

static void a_hundred_thousand_patterns(void **state) {
  (void)state;
  struct interest_config cfg = {.max_own = MANY, .max_removed = 10000, .max_patterns = 3 * MANY, .max_peer = MANY};
  struct net *net = net_new(13, cfg);
  char name[64];
  for (int k = 0; k < MANY; k++) {
    snprintf(name, sizeof name, "site.%d.sensor.%d", k % 97, k);
    assert_int_equal(interest_add(net->node[0].i, slice_str(name)), 0);
  }
  assert_true(net->node[0].mem.bytes < (size_t)MANY * 160);
  link_set(net, 0, 1, true);
  struct interest_peer *p = &net->node[1].peer[0];
  uint32_t pages = 0, sent;
  do {
    sent = pump(net, 0, 1, 10, 16384) + pump(net, 1, 0, 10, 16384);
    pages += sent;
    while (net->queued[0][1]) deliver(net, 0, 1);
    while (net->queued[1][0]) deliver(net, 1, 0);
  } while (sent);
  assert_int_equal(p->topics.count, MANY);
  assert_true(pages < 250);
  assert_true(net->node[1].mem.bytes < (size_t)MANY * 256);
  snprintf(name, sizeof name, "site.%d.sensor.%d", 4711 % 97, 4711);
  uint32_t left = 100;
  struct topic_subscriber *hit = interest_match(net->node[1].i, slice_str(name), &left);
  assert_true(hit && hit->user == p->topics.user && !hit->next_hit);
  left = 2;
  assert_null(interest_match(net->node[1].i, slice_str(name), &left));
  assert_int_equal(left, 0);
  for (int k = 0; k < MANY; k++) { /* and all go: more removals than are kept */
    snprintf(name, sizeof name, "site.%d.sensor.%d", k % 97, k);
    interest_remove(net->node[0].i, slice_str(name));
  }
  while (pump(net, 0, 1, 10, 16384))
    while (net->queued[0][1]) deliver(net, 0, 1);
  finish_in_slices(net->node[1].i);
  assert_int_equal(p->topics.count, 0);
  assert_true(p->whole);
  net_free(net);
}

#define SOME 5000

/* A node that runs anew names half of what it named before: the other half goes in slices, and only then is it whole. A member
 * that is forgotten is found no more at once, its patterns go in slices, and it may come back meanwhile. */
static void obsolete_patterns_go_in_slices(void **state) {
  (void)state;
  struct interest_config cfg = {.max_own = SOME, .max_removed = 100, .max_patterns = 2 * SOME, .max_peer = SOME};
  struct net *net = net_new(14, cfg);
  struct interest_stats stats;
  char name[64];
  uint32_t left = 1000;
  for (int k = 0; k < SOME; k++) {
    snprintf(name, sizeof name, "site.%d", k);
    assert_int_equal(interest_add(net->node[0].i, slice_str(name)), 0);
  }
  link_set(net, 0, 1, true);
  settle(net);
  struct interest_peer *p = &net->node[1].peer[0];
  assert_true(p->whole && p->topics.count == SOME);
  for (int k = 0; k < SOME; k += 2) {
    snprintf(name, sizeof name, "site.%d", k);
    interest_remove(net->node[0].i, slice_str(name)); /* more than are kept: it is told anew */
  }
  link_set(net, 0, 1, false);
  link_set(net, 0, 1, true);
  settle(net);
  assert_true(p->ending && !p->whole && p->topics.count > SOME / 2);
  finish_in_slices(net->node[1].i);
  assert_true(p->whole && !p->sweeping && p->topics.count == SOME / 2);
  interest_stats(net->node[1].i, &stats);
  assert_int_equal(stats.repairs, 0);

  struct id id = p->id;
  void *user = p->topics.user;
  interest_peer_done(net->node[1].i, p);
  assert_null(interest_match(net->node[1].i, slice_str("site.1"), &left));
  HOLDS(interest_tables_check(net->node[1].i));
  assert_true(interest_is_due(net->node[1].i));
  interest_peer_init(net->node[1].i, p, &id, user);
  finish_in_slices(net->node[1].i);
  interest_stats(net->node[1].i, &stats);
  assert_int_equal(stats.patterns, 0);
  net_free(net);
}

/* Who says that it is far behind, again and again, has us look for its place no farther than a little: then it is told anew. */
static void far_behind_begins_anew(void **state) {
  enum { NEAR = 10000, FAR = 30000 };
  (void)state;
  struct interest_config cfg = small;
  cfg.max_own = 2 * FAR;
  struct net *net = net_new(17, cfg);
  struct interest *i = net->node[0].i;
  struct interest_peer *p = &net->node[0].peer[1];
  struct wire_interest page = {0};
  uint8_t buf[256], type;
  char name[32];
  struct slice s;
  interest_link(p, true, true);
  for (int k = 0; k < FAR; k++) {
    snprintf(name, sizeof name, "far.%d", k);
    assert_int_equal(interest_add(i, slice_str(name)), 0);
  }
  for (int round = 0; round < 3; round++) { /* of an unknown run; near; far */
    struct wire_have m = {page.epoch, round == 0 ? 0 : round == 1 ? page.version - NEAR : page.version - FAR + 1, 0};
    bool more = true;
    assert_int_equal(interest_recv(i, p, MSG_INTEREST_HAVE, slice_of(buf, wire_have_encode(&m, buf, sizeof buf))), 0);
    for (int k = 0; interest_next(i, p, 16384, &type, &s);) {
      if (type != MSG_INTEREST) continue;
      assert_int_equal(wire_interest_decode(s, &page), 0);
      if (k++ == 0) assert_int_equal(page.reset, round != 1);
      more = page.more;
    }
    assert_false(more);
    assert_int_equal(page.total, FAR);
  }
  net_free(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(any_history_converges, print_seed),
                                     cmocka_unit_test(each_change_crosses_once),
                                     cmocka_unit_test(one_side_begins_again),
                                     cmocka_unit_test(too_many_removals_begin_anew),
                                     cmocka_unit_test(removals_go_once_all_were_told),
                                     cmocka_unit_test(a_lost_word_is_asked_for),
                                     cmocka_unit_test(a_reset_leaves_no_hole),
                                     cmocka_unit_test(limits_refuse_and_recover),
                                     cmocka_unit_test(a_lowered_limit_asks_nobody_again),
                                     cmocka_unit_test(a_liar_is_not_asked_for_ever),
                                     cmocka_unit_test(far_behind_begins_anew),
                                     cmocka_unit_test(garbage_is_refused),
                                     cmocka_unit_test(every_allocation_may_fail),
                                     cmocka_unit_test(a_hundred_thousand_patterns),
                                     cmocka_unit_test(obsolete_patterns_go_in_slices)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
