/* Iterative lookups (Maymounkov and Mazieres 2002, 2.3): the lookup asks the nearest candidates that were not asked yet, alpha
 * at a time, until the k nearest have answered or (for a value) until several machines have told of records that are not their
 * own: a single node near the key would else decide who is found.
 *
 *   NEW --asked--> ASKED --reply--> ANSWERED
 *                    |--timeout, not sent--> FAILED
 *
 * A candidate that has not answered within a quarter of the timeout no longer counts against alpha, so that dead nodes do not
 * delay a lookup. Contacts that other nodes tell of are only candidates; they enter the routing table when they answer
 * themselves. */
#include <assert.h>

#include "base/err.h"
#include "dht/distance.h"
#include "dht/internal.h"
#include "wire/msg.h"

static void add_candidate(struct dht *d, struct lookup *l, const struct dht_contact *c, uint8_t depth) {
  if (id_eq(&c->id, &d->cfg.self.id) || l->considered >= LOOKUP_CANDIDATES) return;
  uint32_t i = l->count;
  while (i > 0 && !is_nearer(&l->target, &l->v[i - 1].c.id, &c->id)) i--;
  if (i < l->count && id_eq(&l->v[i].c.id, &c->id)) return;
  if (i == LOOKUP_WIDTH) return;
  uint32_t last = l->count < LOOKUP_WIDTH ? l->count++ : LOOKUP_WIDTH - 1;
  memmove(l->v + i + 1, l->v + i, (last - i) * sizeof *l->v);
  l->v[i] = (struct candidate){*c, CANDIDATE_NEW, depth};
  l->considered++;
}

static struct candidate *candidate_of(struct lookup *l, const struct id *id) {
  for (uint32_t i = 0; i < l->count; i++)
    if (id_eq(&l->v[i].c.id, id)) return &l->v[i];
  return NULL;
}

static bool is_full(const struct dht *d, enum lookup_use use) {
  return use == LOOKUP_USER ? d->lookups.count >= d->lookups.max : d->internal >= LOOKUP_INTERNAL;
}

int lookup_start(struct dht *d, const struct id *target, uint32_t kind, enum lookup_use use, nanotime now,
                 struct lookup **ret_lookup) {
  struct dht_contact near[DHT_K];
  struct mem *mem = d->cfg.lookups_mem;
  if (is_full(d, use)) return MACULA_EFULL;
  struct lookup *l = mem_calloc(mem, 1, sizeof *l);
  if (!l) return MACULA_ENOMEM;
  l->id = ++d->next_lookup;
  if (kind && !(l->found = mem_calloc(mem, 1, sizeof *l->found))) goto no_memory;
  if (use == LOOKUP_USER && htab_insert(&d->lookups, &l->h, &l->id, sizeof l->id)) goto no_memory;
  d->internal += use != LOOKUP_USER;
  l->target = *target;
  l->kind = kind;
  l->use = use;
  l->started = now;
  list_init(&l->waiting);
  list_init(&l->batches);
  list_append(&d->active, &l->link);
  routing_touch(&d->table, target, now);
  size_t n = routing_closest(&d->table, target, NULL, ROUTING_STALE, DHT_K, near);
  /* too few contacts that answer: add those that failed lately */
  if (n < DHT_K) n = routing_closest(&d->table, target, NULL, ROUTING_DEAD, DHT_K, near);
  for (size_t i = 0; i < n; i++) add_candidate(d, l, &near[i], 1);
  *ret_lookup = l;
  return 0;
no_memory:
  mem_free(mem, l->found);
  mem_free(mem, l);
  return MACULA_ENOMEM;
}

void lookup_free(struct dht *d, struct lookup *l) {
  while (!list_empty(&l->waiting)) {
    struct query *q = container_of(l->waiting.next, struct query, of_user);
    list_remove(&q->of_user);
    q->lookup = NULL;
  }
  list_remove(&l->link);
  if (l->use == LOOKUP_USER)
    htab_remove(&d->lookups, &l->h);
  else
    d->internal--;
  mem_free(d->cfg.lookups_mem, l->found);
  mem_free(d->cfg.lookups_mem, l);
}

size_t lookup_nodes(const struct lookup *l, size_t max, struct dht_contact *ret_nodes) {
  size_t n = 0;
  for (uint32_t i = 0; i < l->count && n < max; i++)
    if (l->v[i].state == CANDIDATE_ANSWERED) ret_nodes[n++] = l->v[i].c;
  return n;
}

#define JOIN_RETRY (2 * NS_SEC) /* doubled each time; then at each refresh */
#define JOIN_TRIES 4

/* Ends a lookup. Its queries in flight are detached from it: their answers only show that the peer lives. */
static void end(struct dht *d, struct lookup *l, nanotime now) {
  while (!list_empty(&l->waiting)) {
    struct query *q = container_of(l->waiting.next, struct query, of_user);
    list_remove(&q->of_user);
    q->lookup = NULL;
  }
  assert(!l->ended);
  if (l->found) found_sort(l->found);
  l->ended = now;
  for (uint32_t i = 0; i < l->count && !l->hops && !l->ending; i++)
    if (l->v[i].state == CANDIDATE_ANSWERED) {
      l->hops = l->v[i].depth; /* hops to the nearest node that answered */
      break;
    }
  if (l->queries && !l->answered && !(l->found && l->found->count)) l->err = MACULA_DHT_TIMEOUT;
  if (l->err) {
    d->lookups_failed++;
  } else {
    d->lookups_done++;
    d->hops += l->hops;
    d->took_ns += time_since(now, l->started);
  }
  list_remove(&l->link);
  switch (l->use) {
  case LOOKUP_USER:
    list_append(&d->done, &l->link);
    return;
  case LOOKUP_JOIN: {
    struct dht_contact near;
    d->joining = false;
    if (l->answered) {
      d->joined = true;
      d->join_tries = 0;
      publish_again(d, now);                 /* our records were stored only on the few nodes known before: place them anew */
    } else if (d->join_tries < JOIN_TRIES) { /* nobody answered: the only known node may be slow, or a datagram was lost */
      d->refresh_at = time_min(d->refresh_at, now + (JOIN_RETRY << d->join_tries++));
    }
    /* Buckets farther away than our nearest neighbour are refreshed once (2.3), if the mesh has more nodes than this lookup has
     * shown. */
    if (d->table.count >= DHT_K && routing_closest(&d->table, &d->cfg.self.id, NULL, ROUTING_STALE, 1, &near)) {
      unsigned nearest = common_bits(&d->cfg.self.id, &near.id);
      for (unsigned i = 0; i < nearest && i < ROUTING_BUCKETS; i++)
        if (d->table.b[i]) d->table.b[i]->touched = 0;
      d->refresh_at = now;
    }
    break;
  }
  case LOOKUP_REFRESH:
    break;
  case LOOKUP_PLACE:
    publish_placed(d, l, now);
    break;
  }
  lookup_free(d, l);
}

/* Asks a candidate for the first page or a further one. False: no memory. */
static bool ask(struct dht *d, struct lookup *l, const struct dht_contact *c, uint8_t page) {
  struct query *q = query_new(d, c, l->kind ? MSG_FIND_VALUE : MSG_FIND_NODE, QUERY_LOOKUP);
  l->queries++;
  if (!q) {
    l->failed++;
    return false;
  }
  q->lookup = l;
  q->page = page;
  list_append(&l->waiting, &q->of_user);
  l->in_flight++;
  return true;
}

/* The nearest candidate that was not asked, among the k nearest that have not failed. */
static struct candidate *next_candidate(struct lookup *l) {
  uint32_t alive = 0;
  for (uint32_t i = 0; i < l->count && alive < DHT_K; i++) {
    if (l->v[i].state == CANDIDATE_NEW) return &l->v[i];
    alive += l->v[i].state != CANDIDATE_FAILED;
  }
  return NULL;
}

void lookup_step(struct dht *d, struct lookup *l, nanotime now) {
  while (!l->ending && l->in_flight < DHT_ALPHA) {
    struct candidate *c = next_candidate(l);
    if (!c) break;
    c->state = ask(d, l, &c->c, 0) ? CANDIDATE_ASKED : CANDIDATE_FAILED;
  }
  bool found = l->found && l->found->count > 0; /* then nobody is waited for who is slow */
  if (l->ending || found ? l->in_flight == 0 : list_empty(&l->waiting)) end(d, l, now);
}

void lookup_slow(struct dht *d, struct query *q, nanotime now) {
  assert(q->lookup->in_flight > 0);
  q->lookup->in_flight--;
  lookup_step(d, q->lookup, now);
}

void lookup_failed(struct dht *d, struct query *q, nanotime now) {
  struct lookup *l = q->lookup;
  struct candidate *c = candidate_of(l, &q->to.id);
  if (c && c->state == CANDIDATE_ASKED) c->state = CANDIDATE_FAILED;
  assert(q->slow || l->in_flight > 0);
  if (!q->slow) l->in_flight--;
  l->failed++;
  q->lookup = NULL;
  lookup_step(d, l, now);
}

static void read_nodes(struct dht *d, struct lookup *l, const struct dht_contact *from, uint8_t depth, struct kad_msg *m) {
  struct kad_contact k;
  for (unsigned i = 0; i < DHT_K && kad_node_next(m, &k); i++)
    if (dht_contact_ok(&k, from)) {
      struct dht_contact c = contact_in(&k);
      add_candidate(d, l, &c, depth < UINT8_MAX ? depth + 1 : depth);
    }
}

static bool is_same_machine(const struct addr *a, const struct addr *b) {
  return addr_is_loopback(a) ? addr_eq(a, b) : addr_same_host(a, b); /* all that is on loopback is ours */
}

/* It told of a record that another node has signed. */
static void add_holder(struct lookup *l, const struct addr *at) {
  bool is_new = addr_is_set(at) && l->holder_count < LOOKUP_HOLDERS;
  for (uint32_t i = 0; is_new && i < l->holder_count; i++) is_new = !is_same_machine(&l->holders[i], at);
  if (is_new) l->holders[l->holder_count++] = *at;
}

/* Takes the batches of an answer. Returns false if one had a bad signature or the sender's budget is used up: no further page
 * is asked for then. */
static bool read_batches(struct dht *d, struct lookup *l, const struct dht_contact *to, struct kad_msg *m, nanotime now) {
  const struct id *from = &to->id;
  struct kad_signed s;
  bool honest = true, holds = false;
  for (unsigned i = 0; i < KAD_PAGE && kad_batch_next(m, &s); i++) {
    struct kad_batch b;
    struct id publisher;
    int err = dht_verify_found(d, from, &s, &b, &publisher, now);
    if (err == MACULA_RATE_LIMITED) return false;
    honest &= err != MACULA_BAD_SIGNATURE;
    if (!err) holds |= found_merge(l->found, &b, &publisher, &l->target, l->kind, s.age) && !id_eq(&publisher, from);
  }
  if (holds) add_holder(l, &to->addr);
  return honest;
}

void lookup_reply(struct dht *d, struct query *q, const struct dht_contact *from, struct kad_msg *m, nanotime now) {
  struct lookup *l = q->lookup;
  struct candidate *c = candidate_of(l, &q->to.id);
  uint8_t depth = c ? c->depth : 1, page = q->page;
  assert(q->slow || l->in_flight > 0);
  if (!q->slow) l->in_flight--;
  if (c && page == 0) {
    c->state = CANDIDATE_ANSWERED;
    l->answered++;
  }
  list_remove(&q->of_user);
  q->lookup = NULL;
  if (!l->ending) read_nodes(d, l, from, depth, m);
  if (l->found) {
    bool honest = read_batches(d, l, &q->to, m, now);
    if (l->found->count && !l->hops) l->hops = depth;
    l->ending |= l->holder_count == LOOKUP_HOLDERS || l->found->count == LOOKUP_PROVIDERS;
    if (honest && m->more && page + 1 < LOOKUP_PAGES && l->found->count < LOOKUP_PROVIDERS)
      (void)ask(d, l, &q->to, (uint8_t)(page + 1));
  }
  lookup_step(d, l, now);
}

/* ---- for the owner --------------------------------------------------------------------------------------------------------
 */
int dht_lookup(struct dht *d, const struct id *key, unsigned kind, uint64_t user, nanotime now, uint64_t *ret_lookup) {
  struct lookup *l;
  d->now = now;
  if (kind > 255) return MACULA_EINVAL;
  int err = lookup_start(d, key, kind, LOOKUP_USER, now, &l);
  if (err) return err;
  l->user = user;
  *ret_lookup = l->id;
  if (l->found) {
    found_local(l->found, &d->store, key, kind, now);
    /* The records held here are complete only if we are among the k closest to the key, and have had contacts for long
     * enough. */
    if (l->found->count && ((now >= d->settled_at && routing_is_holder(&d->table, key)) || !d->table.count)) l->ending = true;
  }
  lookup_step(d, l, now);
  return 0;
}

void dht_cancel(struct dht *d, uint64_t lookup) {
  struct hlink *h = htab_find(&d->lookups, &lookup, sizeof lookup);
  struct lookup *l = h ? container_of(h, struct lookup, h) : NULL;
  if (l && l != d->shown) lookup_free(d, l);
}

bool dht_next_result(struct dht *d, struct dht_result *ret_result) {
  if (d->shown) lookup_free(d, d->shown);
  d->shown = NULL;
  if (list_empty(&d->done)) return false;
  struct lookup *l = container_of(d->done.next, struct lookup, link);
  list_remove(&l->link);
  d->shown = l;
  *ret_result = (struct dht_result){.lookup = l->id,
                                    .user = l->user,
                                    .err = l->err,
                                    .kind = l->kind,
                                    .key = l->target,
                                    .hops = l->hops,
                                    .queries = l->queries,
                                    .failed = l->failed,
                                    .took = time_since(l->ended, l->started)};
  if (l->found) {
    ret_result->providers = l->found->providers;
    ret_result->provider_count = l->found->count;
  } else {
    ret_result->nodes = d->shown_nodes;
    ret_result->node_count = lookup_nodes(l, DHT_K, d->shown_nodes);
  }
  return true;
}

/* ---- upkeep ---------------------------------------------------------------------------------------------------------------
 */
#define REFRESH_QUIET (3600 * NS_SEC) /* a bucket without a lookup in its range for so long is refreshed (2.3) */
#define REFRESH_EVERY (60 * NS_SEC)
#define REFRESH_AT_ONCE 3

void lookup_maintain(struct dht *d, nanotime now) {
  unsigned started = 0;
  bool more = false;
  if (now < d->refresh_at) return;
  if (d->join_wanted && !d->joined) dht_join(d, now);
  for (unsigned i = 0; i < ROUTING_BUCKETS; i++) {
    struct routing_bucket *b = d->table.b[i];
    struct lookup *l;
    if (!b || (b->touched && time_since(now, b->touched) < REFRESH_QUIET)) continue;
    if (started == REFRESH_AT_ONCE) {
      more = true;
      break;
    }
    struct id target; /* random but for the bits that put it into this bucket */
    rng_fill(d->cfg.rng, &target, sizeof target);
    for (unsigned k = 0; k <= i; k++) {
      uint8_t bit = (uint8_t)(0x80 >> k % 8), own = d->cfg.self.id.b[k / 8] & bit;
      target.b[k / 8] = (uint8_t)((target.b[k / 8] & ~bit) | (k == i ? own ^ bit : own));
    }
    b->touched = now ? now : 1;
    if (lookup_start(d, &target, 0, LOOKUP_REFRESH, now, &l)) break;
    started++;
    lookup_step(d, l, now);
  }
  d->refresh_at = now + (more ? NS_SEC : REFRESH_EVERY);
}
