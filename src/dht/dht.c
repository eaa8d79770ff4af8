#include "dht/dht.h"

#include "base/err.h"
#include "dht/internal.h"

static bool query_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(&container_of(h, struct query, h)->id, key, len) == 0;
}

static bool lookup_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(&container_of(h, struct lookup, h)->id, key, len) == 0;
}

static bool peer_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(&container_of(container_of(h, struct lru_link, h), struct dht_peer, l)->id, key, len) == 0;
}

int dht_new(const struct dht_config *cfg, nanotime now, struct dht **ret_d) {
  if (cfg->realm.n == 0 || cfg->realm.n > KAD_MAX_REALM || cfg->crypto.spki.n > KAD_MAX_SPKI) return MACULA_EINVAL;
  struct dht *d = mem_calloc(cfg->table_mem, 1, sizeof *d);
  if (!d) return MACULA_ENOMEM;
  d->cfg = *cfg;
  memcpy(d->realm, cfg->realm.p, cfg->realm.n);
  d->cfg.realm = slice_of(d->realm, cfg->realm.n);
  if (!d->cfg.query_timeout) d->cfg.query_timeout = 2 * NS_SEC;
  if (!d->cfg.find_rate) d->cfg.find_rate = 500;
  if (!d->cfg.store_rate) d->cfg.store_rate = 500;
  if (!d->cfg.per_address) d->cfg.per_address = 8;
  d->now = now;
  d->refresh_at = time_add(now, 60 * NS_SEC);
  d->settled_at = now;
  routing_init(&d->table, cfg->table_mem, &cfg->self.id, d->cfg.per_address);
  store_init(&d->store, &d->cfg);
  verifier_init(&d->verifier, cfg->table_mem, cfg->rng, &cfg->crypto, d->cfg.realm);
  lru_init(&d->peers, cfg->table_mem, cfg->rng, PEERS_MAX, peer_eq);
  /* Each lookup has alpha queries in flight, and some more to slow nodes; without room for a query its candidate counts as
   * failed. */
  uint32_t max_queries = (cfg->max_lookups + LOOKUP_INTERNAL) * 8 + QUERY_MAX_PINGS + 256;
  htab_init(&d->queries, cfg->lookups_mem, cfg->rng, max_queries, query_eq);
  heap_init(&d->query_due, cfg->lookups_mem, max_queries);
  htab_init(&d->lookups, cfg->lookups_mem, cfg->rng, cfg->max_lookups, lookup_eq);
  list_init(&d->query_out);
  list_init(&d->answers);
  list_init(&d->active);
  list_init(&d->done);
  publish_init(d);
  *ret_d = d;
  return 0;
}

void dht_free(struct dht *d) {
  if (!d) return;
  struct mem *mem = d->cfg.lookups_mem;
  publish_done(d);
  if (d->shown) lookup_free(d, d->shown);
  while (!list_empty(&d->active)) {
    struct lookup *l = container_of(d->active.next, struct lookup, link);
    lookup_free(d, l);
  }
  while (!list_empty(&d->done)) lookup_free(d, container_of(d->done.next, struct lookup, link));
  while (d->query_due.count) query_free(d, container_of(d->query_due.v[0], struct query, due));
  while (!list_empty(&d->answers)) {
    struct answer *a = container_of(d->answers.next, struct answer, out);
    list_remove(&a->out);
    mem_free(mem, a);
  }
  mem_free(mem, d->handed);
  htab_done(&d->queries);
  heap_done(&d->query_due);
  htab_done(&d->lookups);
  for (struct lru_link *l; (l = lru_oldest(&d->peers));) {
    lru_remove(&d->peers, l);
    mem_free(d->cfg.table_mem, container_of(l, struct dht_peer, l));
  }
  lru_done(&d->peers);
  verifier_done(&d->verifier);
  store_done(&d->store);
  routing_done(&d->table);
  mem_free(d->cfg.table_mem, d);
}

void dht_join(struct dht *d, nanotime now) {
  struct lookup *l;
  d->now = now;
  d->join_wanted = true;
  if (d->joining || lookup_start(d, &d->cfg.self.id, 0, LOOKUP_JOIN, now, &l)) return;
  d->joining = true;
  lookup_step(d, l, now);
}

size_t dht_closest(const struct dht *d, const struct id *target, size_t max, struct dht_contact *ret_contacts) {
  return routing_closest(&d->table, target, NULL, ROUTING_STALE, max, ret_contacts);
}

nanotime dht_deadline(const struct dht *d) {
  nanotime t = time_min(time_min(heap_deadline(&d->query_due), store_deadline(&d->store)), publish_deadline(d));
  return d->table.count ? time_min(t, d->refresh_at) : t;
}

void dht_tick(struct dht *d, nanotime now) {
  d->now = now;
  query_tick(d, now);
  store_expire(&d->store, now);
  if (d->table.count) lookup_maintain(d, now);
  publish_tick(d, now);
}

static bool held_under(const struct dht *d, const struct store_key *k, size_t *at, struct dht_record_info *ret_info) {
  const struct list *both[2] = {&k->live, &k->dead};
  for (int i = 0; i < 2; i++)
    for (struct list *l = both[i]->next; l != both[i]; l = l->next)
      if ((*at)-- == 0) {
        const struct store_record *r = container_of(l, struct store_record, of_key);
        *ret_info = (struct dht_record_info){.key = k->k.key,
                                             .publisher = r->batch->publisher->id,
                                             .kind = k->k.kind,
                                             .seq = r->batch->seq,
                                             .left = store_left(r, d->now),
                                             .tombstone = r->tombstone,
                                             .contact = r->batch->contact};
        return true;
      }
  return false;
}

bool dht_held(const struct dht *d, const struct id *key, size_t at, struct dht_record_info *ret_info) {
  for (uint32_t kind = 1; kind <= 255; kind++) {
    const struct store_key *k = store_find(&d->store, key, kind);
    if (k && held_under(d, k, &at, ret_info)) return true;
  }
  return false;
}

void dht_stats(const struct dht *d, struct dht_stats *ret_stats) {
  *ret_stats = (struct dht_stats){
      .contacts = d->table.count,
      .records = d->store.live.count,
      .tombstones = d->store.dead.count,
      .own = d->publish.live,
      .unstored = publish_unstored(d),
      .lookups = d->lookups.count + d->internal,
      .max_records = d->store.max_records,
      .max_own = d->cfg.max_own,
      .max_lookups = d->cfg.max_lookups,
      .max_tombstones = d->store.max_tombstones,
      .record_bytes = d->cfg.records_mem->bytes,
      .lookups_done = d->lookups_done,
      .lookups_failed = d->lookups_failed,
      .hops = d->hops,
      .took_ns = d->took_ns,
      .queries = d->query_count,
      .queries_failed = d->query_failed,
      .served = d->served,
      .refused_full = d->store.refused_full,
      .refused_bad = d->refused_bad + d->verifier.refused,
      .refused_old = d->store.refused_old,
      .refused_rate = d->refused_rate,
      .refused_by_holders = d->publish.refused,
      .signatures_verified = d->verifier.done,
      .signatures_known = d->verifier.hits,
      .expired = d->store.expired,
      .evicted_contacts = d->table.evicted,
      .refused_contacts = d->table.refused,
      .dropped = d->dropped + d->publish.dropped + d->store.dropped_tombstones,
  };
}
