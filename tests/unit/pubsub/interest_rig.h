/* Nodes that tell each other their patterns over links that lose frames, break and come back. */
#ifndef UNIT_INTEREST_RIG_H
#define UNIT_INTEREST_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "pubsub/interest.h"
#include "unit/broken.h"
#include "wire/interest.h"
#include "wire/names.h"
#include "wire/pattern.h"

#define NODES 5
#define NAMES 40
#define QUEUE 64

struct frame {
  uint8_t type;
  size_t len;
  uint8_t *p;
};
struct node {
  struct mem mem;
  struct interest *i;
  struct interest_peer peer[NODES];
  uint32_t count[NAMES]; /* the reference: how often this node holds each name */
  uint64_t retained;
};
struct net {
  struct rng_seeded seed;
  struct rng rng;
  struct interest_config cfg;
  struct node node[NODES];
  bool up[NODES][NODES];
  struct frame queue[NODES][NODES][QUEUE];
  uint32_t queued[NODES][NODES];
  uint32_t loss; /* percent */
  struct mem_fail fail;
};

static void name_of(uint32_t k, char *ret) {
  static const char *const shapes[] = {"a.b%u", "a.*.c%u", "%u.**", "x%u.y.z", "**.t%u"};
  snprintf(ret, 64, shapes[k % 5], k / 5);
}

static void node_start(struct net *net, uint32_t n) {
  struct node *nd = &net->node[n];
  nd->mem = MEM_INIT("interest", 0);
  nd->mem.fail = &net->fail;
  net->cfg.own_mem = net->cfg.mem = &nd->mem;
  net->cfg.rng = net->rng;
  while (interest_new(&net->cfg, &nd->i) != 0) {
  }
  memset(nd->count, 0, sizeof nd->count);
  nd->retained = 0;
  for (uint32_t k = 0; k < NODES; k++)
    if (k != n) interest_peer_init(nd->i, &nd->peer[k], &(struct id){.b = {(uint8_t)k}}, (void *)(uintptr_t)k);
}

static void link_set(struct net *net, uint32_t a, uint32_t b, bool up) {
  if (net->up[a][b] == up) return;
  net->up[a][b] = net->up[b][a] = up;
  for (int dir = 0; dir < 2; dir++, a ^= b, b ^= a, a ^= b)
    while (net->queued[a][b]) free(net->queue[a][b][--net->queued[a][b]].p);
  interest_link(&net->node[a].peer[b], up, true);
  interest_link(&net->node[b].peer[a], up, true);
}

static void node_stop(struct net *net, uint32_t n) {
  struct node *nd = &net->node[n];
  for (uint32_t k = 0; k < NODES; k++) {
    if (k == n) continue;
    link_set(net, n, k, false);
    interest_peer_done(nd->i, &nd->peer[k]);
    interest_peer_done(nd->i, &nd->peer[k]);
  }
  interest_free(nd->i);
  assert_int_equal(nd->mem.bytes, 0);
}

static struct net *net_new(uint64_t seed, struct interest_config cfg) {
  struct net *net = calloc(1, sizeof *net);
  rng_seeded_init(&net->seed, seed);
  net->rng = rng_seeded_view(&net->seed);
  net->cfg = cfg;
  for (uint32_t n = 0; n < NODES; n++) node_start(net, n);
  return net;
}

static void net_free(struct net *net) {
  for (uint32_t n = 0; n < NODES; n++) node_stop(net, n);
  free(net);
}

/* Puts up to `most` frames from a to b on their way. */
static uint32_t pump(struct net *net, uint32_t a, uint32_t b, uint32_t most, size_t max_len) {
  struct slice s;
  uint8_t type;
  uint32_t k = 0;
  while (k < most && net->up[a][b] && net->queued[a][b] < QUEUE &&
         interest_next(net->node[a].i, &net->node[a].peer[b], max_len, &type, &s)) {
    assert_true(s.n <= max_len);
    uint8_t *copy = malloc(s.n);
    memcpy(copy, s.p, s.n);
    net->queue[a][b][net->queued[a][b]++] = (struct frame){type, s.n, copy};
    k++;
  }
  return k;
}

static void deliver(struct net *net, uint32_t a, uint32_t b) {
  if (!net->queued[a][b]) return;
  struct frame f = net->queue[a][b][0];
  memmove(&net->queue[a][b][0], &net->queue[a][b][1], --net->queued[a][b] * sizeof f);
  if (rng_below(net->rng, 100) >= net->loss) {
    int err = interest_recv(net->node[b].i, &net->node[b].peer[a], f.type, slice_of(f.p, f.len));
    assert_true(err == 0 || err == MACULA_EFULL);
  }
  free(f.p);
}

static void check_all(struct net *net) {
  size_t own, rest;
  for (uint32_t n = 0; n < NODES; n++) {
    HOLDS(interest_tables_check(net->node[n].i));
    interest_owned(net->node[n].i, &own, &rest);
    assert_int_equal(own + rest, net->node[n].mem.bytes);
  }
}

static void exchange(struct net *net) {
  for (bool any = true; any;) {
    any = false;
    for (uint32_t a = 0; a < NODES; a++)
      for (uint32_t b = 0; b < NODES; b++) {
        if (a == b) continue;
        any |= pump(net, a, b, 4, 1024) > 0 || net->queued[a][b];
        while (net->queued[a][b]) deliver(net, a, b);
      }
  }
}

static void add(struct net *net, uint32_t n, uint32_t k) {
  char name[64];
  name_of(k, name);
  if (interest_add(net->node[n].i, slice_str(name)) == 0) net->node[n].count[k]++;
}

static void drop(struct net *net, uint32_t n, uint32_t k) {
  char name[64];
  name_of(k, name);
  interest_remove(net->node[n].i, slice_str(name)); /* harmless where it is not held */
  if (net->node[n].count[k]) net->node[n].count[k]--;
}

/* a holds what b's clients hold, and what they said of their retained messages. */
static void assert_holds(struct net *net, uint32_t a, uint32_t b) {
  const struct interest_peer *p = &net->node[a].peer[b];
  uint32_t held = 0;
  for (uint32_t k = 0; k < NAMES; k++) held += net->node[b].count[k] > 0;
  assert_int_equal(p->topics.count, held);
  assert_int_equal(!p->retained, !net->node[b].retained);
  for (const struct topic_sub *s = NULL; (s = topic_sub_next(&p->topics, s));) {
    char text[NAME_MAX_LEN + 1], name[64];
    uint32_t k = 0;
    topic_sub_pattern(s, text);
    for (; k < NAMES; k++)
      if (name_of(k, name), net->node[b].count[k] && strcmp(name, text) == 0) break;
    assert_true(k < NAMES);
  }
}

static inline void assert_agree(struct net *net) {
  for (uint32_t a = 0; a < NODES; a++)
    for (uint32_t b = 0; b < NODES; b++)
      if (a != b) assert_holds(net, a, b);
  for (int t = 0; t < 20; t++) {
    char topic[64], name[64];
    bool found[NODES] = {false};
    uint32_t left = UINT32_MAX;
    snprintf(topic, sizeof topic, t & 1 ? "a.b%d" : "%d.q.t3", t / 2);
    for (struct topic_subscriber *h = interest_match(net->node[0].i, slice_str(topic), &left); h; h = h->next_hit) {
      assert_false(found[(uintptr_t)h->user]);
      found[(uintptr_t)h->user] = true;
    }
    for (uint32_t b = 1; b < NODES; b++) {
      bool want = false;
      for (uint32_t k = 0; k < NAMES; k++)
        want |= net->node[b].count[k] && (name_of(k, name), pattern_match(slice_str(name), slice_str(topic)));
      assert_int_equal(found[b], want);
    }
  }
}

/* Links come back, nothing is lost any more, and everybody checks: what one check finds is repaired, a repair may have been
 * lost before, so the second finds it. */
static inline void settle(struct net *net) {
  net->loss = 0;
  for (uint32_t a = 0; a < NODES; a++)
    for (uint32_t b = 0; b < a; b++) link_set(net, a, b, true);
  exchange(net);
  for (int round = 0; round < 2; round++) {
    for (uint32_t a = 0; a < NODES; a++)
      for (uint32_t b = 0; b < NODES; b++)
        if (a != b) interest_check(&net->node[a].peer[b]);
    exchange(net);
  }
  for (uint32_t a = 0; a < NODES; a++)
    for (uint32_t b = 0; b < NODES; b++)
      if (a != b) assert_false(interest_pending(net->node[a].i, &net->node[a].peer[b]));
}

static const struct interest_config small = {.max_own = 1000, .max_removed = 6, .max_patterns = 1000, .max_peer = 1000};

static uint64_t at_seed; /* printed afterwards */

static int print_seed(void **state) {
  (void)state;
  print_message("last seed: %llu\n", (unsigned long long)at_seed);
  return 0;
}

#endif
