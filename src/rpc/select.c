#include "rpc/select.h"

#define NONE UINT32_MAX

/* The candidates of either kind, local providers or nodes, as numbers from 0 to count - 1. */
struct field {
  uint32_t count;
  bool (*is_tried)(const struct field *f, uint32_t i);
  const struct id *(*id)(const struct field *f, uint32_t i);
  uint32_t (*inflight)(const struct field *f, uint32_t i);
  const void *of, *tried;
  size_t tried_count;
  bool silent; /* only those that are silent, or only those that are not, count */
  const struct select_load *load;
};

/* The first untried provider from `start` on, in order, wrapping around. */
static uint32_t from(const struct field *f, uint64_t start) {
  for (uint32_t i = 0; i < f->count; i++) {
    uint32_t at = (uint32_t)((start + i) % f->count);
    if (!f->is_tried(f, at)) return at;
  }
  return NONE;
}

/* A random untried provider. Drawing again when a tried one comes keeps all others equally likely; a few draws are enough
 * unless most were tried. */
static uint32_t any(const struct field *f, struct rng rng) {
  if (f->count <= 1) return from(f, 0);
  uint64_t i = rng_below(rng, f->count);
  for (int draws = 0; draws < 16 && f->is_tried(f, (uint32_t)i); draws++) i = rng_below(rng, f->count);
  return from(f, i);
}

static int compare_distance(const struct id *a, const struct id *b, const struct id *near) {
  for (size_t i = 0; i < ID_LEN; i++)
    if (a->b[i] != b->b[i]) return (a->b[i] ^ near->b[i]) - (b->b[i] ^ near->b[i]);
  return 0;
}

static uint32_t closest(const struct field *f, const struct id *near) {
  uint32_t best = NONE;
  for (uint32_t i = 0; i < f->count; i++)
    if (!f->is_tried(f, i) && (best == NONE || compare_distance(f->id(f, i), f->id(f, best), near) < 0)) best = i;
  return best;
}

static uint32_t least_pending(const struct field *f, uint64_t start) {
  uint32_t best = NONE, least = 0;
  for (uint32_t i = 0; i < f->count; i++) {
    uint32_t at = (uint32_t)((start + i) % f->count);
    if (f->is_tried(f, at)) continue;
    uint32_t load = f->inflight(f, at);
    if (best != NONE && load >= least) continue;
    best = at;
    least = load;
  }
  return best;
}

static uint32_t choose(const struct field *f, enum strategy strategy, const struct id *near, uint64_t *counter,
                       struct rng rng) {
  switch (strategy) {
  case STRATEGY_FIRST:
    return from(f, 0);
  case STRATEGY_ROUND_ROBIN:
    return from(f, (*counter)++);
  case STRATEGY_CLOSEST:
    return closest(f, near);
  case STRATEGY_LEAST_PENDING:
    return least_pending(f, (*counter)++);
  case STRATEGY_DEFAULT:
  case STRATEGY_RANDOM:
  case STRATEGY_UNKNOWN:
    break;
  }
  return any(f, rng);
}

static uint32_t left(const struct field *f) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < f->count && n < SELECT_ENOUGH; i++) n += !f->is_tried(f, i);
  return n;
}

/* ---- providers here -------------------------------------------------------------------------------------------------------
 */
static const struct service_owner *owner_at(const struct field *f, uint32_t i) {
  return ((const struct service *)f->of)->v[i]->owner;
}
static bool owner_tried(const struct field *f, uint32_t i) {
  for (size_t t = 0; t < f->tried_count; t++)
    if (((const uint64_t *)f->tried)[t] == owner_at(f, i)->session) return true;
  return owner_at(f, i)->silent != f->silent;
}
static const struct id *owner_id(const struct field *f, uint32_t i) { return &owner_at(f, i)->id; }
static uint32_t owner_inflight(const struct field *f, uint32_t i) { return owner_at(f, i)->inflight; }

static struct field providers(const struct service *s, const uint64_t *tried, size_t n, bool silent) {
  return (struct field){.count = s->count,
                        .is_tried = owner_tried,
                        .id = owner_id,
                        .inflight = owner_inflight,
                        .of = s,
                        .tried = tried,
                        .tried_count = n,
                        .silent = silent};
}

struct provider *select_provider(struct service *s, enum strategy strategy, const struct id *near, const uint64_t *tried,
                                 size_t tried_count, bool silent, struct rng rng) {
  struct field f = providers(s, tried, tried_count, silent);
  uint32_t i = choose(&f, strategy, near, &s->round_robin, rng);
  return i == NONE ? NULL : s->v[i];
}

uint32_t select_left(const struct service *s, const uint64_t *tried, size_t tried_count, bool silent) {
  struct field f = providers(s, tried, tried_count, silent);
  return left(&f);
}

/* ---- nodes ----------------------------------------------------------------------------------------------------------------
 */
static const struct remote_node *node_at(const struct field *f, uint32_t i) {
  return &((const struct discovery_entry *)f->of)->v[i];
}
static bool node_tried(const struct field *f, uint32_t i) {
  for (size_t t = 0; t < f->tried_count; t++)
    if (id_eq(&((const struct id *)f->tried)[t], &node_at(f, i)->id)) return true;
  return (f->load && f->load->is_silent(f->load->ctx, node_at(f, i))) != f->silent;
}
static const struct id *node_id_at(const struct field *f, uint32_t i) { return &node_at(f, i)->id; }
static uint32_t node_inflight(const struct field *f, uint32_t i) { return f->load->inflight(f->load->ctx, node_at(f, i)); }

static struct field nodes(const struct discovery_entry *e, const struct id *tried, size_t n, bool silent,
                          const struct select_load *load) {
  return (struct field){.count = e->count,
                        .is_tried = node_tried,
                        .id = node_id_at,
                        .inflight = node_inflight,
                        .of = e,
                        .tried = tried,
                        .tried_count = n,
                        .silent = silent,
                        .load = load};
}

const struct remote_node *select_node(struct discovery_entry *e, enum strategy strategy, const struct id *near,
                                      const struct id *tried, size_t tried_count, bool silent, struct rng rng,
                                      const struct select_load *load) {
  struct field f = nodes(e, tried, tried_count, silent, load);
  uint32_t i = choose(&f, strategy, near, &e->round_robin, rng);
  return i == NONE ? NULL : &e->v[i];
}

uint32_t select_nodes_left(const struct discovery_entry *e, const struct id *tried, size_t tried_count, bool silent,
                           const struct select_load *load) {
  struct field f = nodes(e, tried, tried_count, silent, load);
  return left(&f);
}
