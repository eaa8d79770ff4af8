/* Invariants of one DHT.
 *
 * An object with several references is counted in parts: each of its refs references counts PARTS / refs, so that they add up
 * to PARTS (there are at most 16, as many as a batch has records). Figures of a publisher or a holder are multiplied by its
 * secret hash and added up, so that one comparison of the sums tells whether the figures of each one are right. */
#include "base/check.h"
#include "dht/distance.h"
#include "dht/internal.h"

#define PARTS UINT64_C(720720) /* the smallest number that 1 to 16 all divide */

/* ---- routing table --------------------------------------------------------------------------------------------------------
 */
static bool has_twice(const struct routing_bucket *b, const struct id *id) {
  unsigned n = 0;
  for (unsigned i = 0; i < b->count; i++) n += id_eq(&b->v[i].c.id, id);
  for (unsigned i = 0; i < b->cached; i++) n += id_eq(&b->cache[i].c.id, id);
  return n != 1;
}

static const char *contact_check(const struct routing *t, const struct routing_bucket *b, unsigned at,
                                 const struct routing_contact *x) {
  CHECK(common_bits(&t->self, &x->c.id) == at, "routing: a contact is in a bucket of another distance");
  CHECK(!has_twice(b, &x->c.id), "routing: a contact is in its bucket twice");
  CHECK(addr_is_set(&x->c.addr) || !id_is_zero(&x->c.gateway), "routing: a contact cannot be reached");
  CHECK(x->fails < ROUTING_DEAD, "routing: a dead contact is still there");
  return NULL;
}

const char *routing_check(const struct routing *t) {
  uint32_t count = 0;
  for (unsigned i = 0; i < ROUTING_BUCKETS; i++) {
    const struct routing_bucket *b = t->b[i];
    if (!b) continue;
    CHECK(b->count <= DHT_K && b->cached <= ROUTING_CACHE, "routing: a bucket holds more than it may");
    CHECK(b->count, "routing: an empty bucket");
    CHECK(!b->cached || b->count == DHT_K, "routing: a contact waits in a cache though its bucket has room");
    for (unsigned k = 0; k < b->count; k++) CHECK_PART(contact_check(t, b, i, &b->v[k]));
    for (unsigned k = 0; k < b->cached; k++) CHECK_PART(contact_check(t, b, i, &b->cache[k]));
    count += b->count;
  }
  CHECK(count == t->count, "routing: the contacts are not as many as counted");
  return NULL;
}

/* ---- records held ---------------------------------------------------------------------------------------------------------
 */
struct store_sums {
  uint64_t records, tombstones, batches, bytes; /* each multiplied by its publisher's hash; the last two counted in parts */
  uint32_t live, dead;
};

static size_t held_size(const struct store_batch *b) { return sizeof *b + b->record_len + b->signature_len + b->spki_len; }

static const char *record_check(const struct store *s, const struct store_key *k, const struct store_record *r, bool tombstone,
                                struct store_sums *sums) {
  const struct store_batch *b = r->batch;
  const struct store_publisher *p = b->publisher;
  CHECK(r->key == k && r->tombstone == tombstone, "store: a record is in another list");
  CHECK(heap_has(tombstone ? &s->dead : &s->live, &r->due), "store: a record has no end");
  CHECK(b->refs > 0 && b->refs <= KAD_MAX_ENTRIES, "store: a batch is held by more records than it can have, or by none");
  CHECK(id_eq(&b->contact.id, &p->id), "store: a batch is of another publisher");
  *(tombstone ? &sums->tombstones : &sums->records) += p->h.hash;
  sums->batches += PARTS / b->refs * p->h.hash;
  sums->bytes += PARTS / b->refs * held_size(b) * p->h.hash;
  return NULL;
}

static const char *key_check(const struct store *s, const struct store_key *k, struct store_sums *sums) {
  uint32_t most = k->k.kind == DHT_SUBSCRIPTION ? s->max_key_subscription : s->max_key_service;
  CHECK(htab_has(&s->keys, &k->h, &k->k, sizeof k->k), "store: a key is not found");
  CHECK(list_has(&k->live, k->live_count) && list_has(&k->dead, k->dead_count),
        "store: the records of a key are not as many as counted");
  CHECK(k->live_count || k->dead_count, "store: a key without records");
  CHECK(k->live_count <= most && k->dead_count <= (most ? most : 1), "store: a key has more records than it may");
  list_for(it, &k->live) CHECK_PART(record_check(s, k, container_of(it, const struct store_record, of_key), false, sums));
  list_for(it, &k->dead) CHECK_PART(record_check(s, k, container_of(it, const struct store_record, of_key), true, sums));
  sums->live += k->live_count;
  sums->dead += k->dead_count;
  return NULL;
}

static const char *publisher_check(const struct store *s, const struct store_publisher *p, struct store_sums *sums) {
  CHECK(htab_has(&s->publishers, &p->h, &p->id, sizeof p->id), "store: a publisher is not found");
  CHECK(p->batches, "store: a publisher without batches");
  CHECK(p->records <= s->max_publisher && p->tombstones <= s->max_tombstones / 2 + 1 &&
            (!s->max_publisher_bytes || p->bytes <= s->max_publisher_bytes),
        "store: a publisher has more than its share");
  sums->records -= p->records * p->h.hash;
  sums->tombstones -= p->tombstones * p->h.hash;
  sums->batches -= PARTS * p->batches * p->h.hash;
  sums->bytes -= PARTS * p->bytes * p->h.hash;
  return NULL;
}

const char *store_check(const struct store *s) {
  struct store_sums sums = {0};
  CHECK_PART(htab_check(&s->keys));
  CHECK_PART(htab_check(&s->publishers));
  CHECK_PART(heap_check(&s->live));
  CHECK_PART(heap_check(&s->dead));
  CHECK_PART(slabs_check(&s->key_slab, 1));
  CHECK_PART(slabs_check(&s->record_slab, 1));
  CHECK_PART(slabs_check(s->batch_slabs, STORE_SIZES));
  CHECK(s->live.count <= s->max_records && s->dead.count <= s->max_tombstones, "store: more records than may be");
  for (struct hlink *h = NULL; (h = htab_next(&s->keys, h));)
    CHECK_PART(key_check(s, container_of(h, const struct store_key, h), &sums));
  CHECK(sums.live == s->live.count && sums.dead == s->dead.count, "store: the ends are not as many as the records");
  for (struct hlink *h = NULL; (h = htab_next(&s->publishers, h));)
    CHECK_PART(publisher_check(s, container_of(h, const struct store_publisher, h), &sums));
  CHECK(!sums.records && !sums.tombstones, "store: a publisher's records are not as many as counted");
  CHECK(!sums.batches && !sums.bytes, "store: a publisher's batches are not as many, or as large, as counted");
  return NULL;
}

static double record_owned(const struct store_record *r) {
  return (double)slab_owned(r) + (double)slab_owned(r->batch) / r->batch->refs;
}

size_t store_owned(const struct store *s) {
  size_t sum = htab_owned(&s->keys) + htab_owned(&s->publishers) + heap_owned(&s->live) + heap_owned(&s->dead);
  double single = 0; /* bytes of batches that are blocks of the heap: for each record, its part of its batch */
  sum += slabs_owned(&s->key_slab, 1) + slabs_owned(&s->record_slab, 1) + slabs_owned(s->batch_slabs, STORE_SIZES);
  for (struct hlink *h = NULL; (h = htab_next(&s->publishers, h));) sum += mem_cost(container_of(h, struct store_publisher, h));
  for (struct hlink *h = NULL; (h = htab_next(&s->keys, h));) sum += slab_owned(container_of(h, struct store_key, h));
  for (uint32_t i = 0; i < s->live.count; i++) single += record_owned(container_of(s->live.v[i], struct store_record, due));
  for (uint32_t i = 0; i < s->dead.count; i++) single += record_owned(container_of(s->dead.v[i], struct store_record, due));
  return sum + (size_t)(single + 0.5);
}

/* ---- our own records ------------------------------------------------------------------------------------------------------
 */
struct publish_sums {
  uint64_t holders; /* multiplied by the holder's hash, counted in parts */
  uint32_t live, dirty, batched, batches, queued, in_flight;
};

static const char *own_check(const struct publish *p, const struct publish_own *o, struct publish_sums *sums) {
  const struct publish_former *f = o->former;
  CHECK(htab_has(&p->own, &o->h, &o->k, sizeof o->k), "publish: a record of ours is not found");
  CHECK(!list_empty(&o->in), "publish: a record of ours is neither dirty nor of a batch");
  CHECK(list_empty(&o->gone) == !o->withdrawn, "publish: a withdrawn record is not in the list of those");
  CHECK(!f || (o->withdrawn && f->refs && f->refs <= KAD_MAX_ENTRIES && f->count <= PUBLISH_HOLDERS),
        "publish: former holders of what is not withdrawn, or too many");
  for (uint32_t i = 0; f && i < f->count; i++) sums->holders += PARTS / f->refs * f->v[i]->h.hash;
  sums->live += !o->withdrawn;
  sums->dirty += !o->batch;
  return NULL;
}

static const char *batch_check(const struct publish *p, const struct publish_batch *b, struct publish_sums *sums) {
  uint64_t beyond = b->at && b->at->count < 64 ? ~UINT64_C(0) << b->at->count : b->at ? 0 : ~UINT64_C(0);
  uint32_t records = 0;
  CHECK(heap_has(&p->due, &b->due), "publish: a batch is never signed anew");
  CHECK(!b->work.pos || heap_has(&p->work, &b->work), "publish: a batch's work is not where it says");
  CHECK(list_holds(&b->records) && !list_empty(&b->records), "publish: a batch without records");
  list_for(it, &b->records) {
    CHECK(container_of(it, const struct publish_own, in)->batch == b, "publish: a record is of another batch");
    records++;
  }
  CHECK(records <= KAD_MAX_ENTRIES, "publish: a batch of too many records");
  CHECK(list_has(&b->waiting, b->in_flight), "publish: the STOREs of a batch are not as many as counted");
  list_for(it, &b->waiting)
      CHECK(container_of(it, const struct query, of_user)->batch == b, "publish: a STORE is of another batch");
  CHECK(!b->at || (b->at->refs && b->at->count <= PUBLISH_TARGETS),
        "publish: a placement that nobody holds, or too large a one");
  CHECK(!((b->todo | b->missed) & beyond), "publish: a batch is to be sent to nobody");
  CHECK(!b->todo || !list_empty(&b->queue), "publish: a batch that is to be sent is in no queue");
  CHECK(b->holder_count <= PUBLISH_HOLDERS, "publish: more holders than are remembered");
  for (unsigned i = 0; i < b->holder_count; i++) sums->holders += PARTS * b->holders[i]->h.hash;
  sums->batches++;
  sums->batched += records;
  sums->in_flight += b->in_flight;
  sums->queued += !list_empty(&b->queue);
  return NULL;
}

static const char *holders_check(const struct publish *p, struct publish_sums *sums) {
  for (struct hlink *h = NULL; (h = htab_next(&p->holders, h));) {
    const struct publish_holder *x = container_of(h, const struct publish_holder, h);
    CHECK(htab_has(&p->holders, h, &x->c.id, sizeof x->c.id), "publish: a holder is not found");
    CHECK(x->refs, "publish: a holder that holds nothing");
    sums->holders -= PARTS * x->refs * h->hash;
  }
  CHECK(!sums->holders, "publish: a holder does not hold as much as counted");
  return NULL;
}

/* Counts the lookups that place batches, and the batches that wait for them. */
static void placing(const struct dht *d, uint32_t *ret_lookups, uint32_t *ret_batches) {
  *ret_lookups = *ret_batches = 0;
  list_for(it, &d->active) {
    const struct lookup *l = container_of(it, const struct lookup, link);
    *ret_lookups += l->use == LOOKUP_PLACE;
    *ret_batches += list_count(&l->batches);
  }
}

static const char *publish_check(const struct dht *d) {
  const struct publish *p = &d->publish;
  struct publish_sums sums = {0};
  uint32_t lookups, waiting;
  CHECK_PART(htab_check(&p->own));
  CHECK_PART(htab_check(&p->holders));
  CHECK_PART(heap_check(&p->due));
  CHECK_PART(heap_check(&p->work));
  CHECK_PART(slabs_check(&p->own_slab, 1));
  CHECK_PART(slabs_check(&p->former_slab, 1));
  CHECK_PART(slabs_check(p->batch_slabs, PUBLISH_SIZES));
  CHECK(list_holds(&p->batches) && list_holds(&p->ready) && list_holds(&p->storing), "publish: a list of batches is broken");
  for (struct hlink *h = NULL; (h = htab_next(&p->own, h));)
    CHECK_PART(own_check(p, container_of(h, const struct publish_own, h), &sums));
  list_for(it, &p->batches) CHECK_PART(batch_check(p, container_of(it, const struct publish_batch, all), &sums));
  CHECK_PART(holders_check(p, &sums));
  CHECK(list_has(&p->dirty, p->dirty_count) && sums.dirty == p->dirty_count, "publish: the dirty are not as many as counted");
  CHECK(sums.dirty + sums.batched == p->own.count, "publish: a record of ours is in another list");
  CHECK(sums.live == p->live && list_has(&p->gone, p->own.count - p->live),
        "publish: the withdrawn are not as many as counted");
  CHECK(sums.batches == p->due.count, "publish: batches are to be signed anew that are no more");
  CHECK(sums.in_flight == p->in_flight, "publish: the STOREs are not as many as counted");
  placing(d, &lookups, &waiting);
  CHECK(lookups == p->placing, "publish: the lookups of holders are not as many as counted");
  CHECK(sums.queued == list_count(&p->ready) + list_count(&p->storing) + waiting, "publish: a batch is in another queue");
  CHECK(!p->dirty_count || p->flush_at != TIME_NEVER, "publish: dirty records are never signed");
  return NULL;
}

/* ---- queries, lookups, answers and peers ----------------------------------------------------------------------------------
 */
static const char *lookup_check(const struct dht *d, const struct lookup *l) {
  uint32_t quick = 0;
  CHECK(l->use != LOOKUP_USER || htab_has(&d->lookups, &l->h, &l->id, sizeof l->id), "lookup: one of the user's is not found");
  CHECK(!l->kind == !l->found, "lookup: one for nodes looks for records, or one for records does not");
  CHECK(!l->found || (l->found->count <= LOOKUP_PROVIDERS && l->found->hidden_count <= LOOKUP_PROVIDERS),
        "lookup: more records than it keeps");
  CHECK(l->count <= LOOKUP_WIDTH && l->count <= l->considered && l->considered <= LOOKUP_CANDIDATES,
        "lookup: more candidates than it keeps");
  for (uint32_t i = 0; i < l->count; i++) {
    CHECK(!id_eq(&l->v[i].c.id, &d->cfg.self.id), "lookup: we are a candidate ourselves");
    CHECK(i == 0 || is_nearer(&l->target, &l->v[i - 1].c.id, &l->v[i].c.id), "lookup: the candidates are not nearest first");
  }
  CHECK(list_holds(&l->waiting) && list_holds(&l->batches), "lookup: a list is broken");
  list_for(it, &l->waiting) {
    const struct query *q = container_of(it, const struct query, of_user);
    CHECK(q->lookup == l, "lookup: a query is of another");
    quick += !q->slow;
  }
  CHECK(l->ended || quick == l->in_flight, "lookup: the queries in flight are not as many as counted");
  return NULL;
}

static const char *lookups_check(const struct dht *d) {
  uint32_t users = d->shown != NULL, internal = 0, joins = 0;
  CHECK_PART(htab_check(&d->lookups));
  CHECK(list_holds(&d->active) && list_holds(&d->done), "lookup: a list of lookups is broken");
  list_for(it, &d->active) {
    const struct lookup *l = container_of(it, const struct lookup, link);
    CHECK_PART(lookup_check(d, l));
    CHECK(!list_empty(&l->waiting), "lookup: one that runs waits for nothing");
    users += l->use == LOOKUP_USER;
    internal += l->use != LOOKUP_USER;
    joins += l->use == LOOKUP_JOIN;
  }
  list_for(it, &d->done) {
    const struct lookup *l = container_of(it, const struct lookup, link);
    CHECK_PART(lookup_check(d, l));
    CHECK(l->use == LOOKUP_USER && list_empty(&l->waiting), "lookup: one that is over is not the user's, or waits");
    users++;
  }
  if (d->shown) CHECK_PART(lookup_check(d, d->shown));
  CHECK(users == d->lookups.count && internal == d->internal, "lookup: the lookups are not as many as counted");
  CHECK(joins == d->joining, "lookup: we join without a lookup, or with more than one");
  return NULL;
}

static const char *queries_check(const struct dht *d) {
  uint32_t pings = 0, out = 0;
  CHECK_PART(htab_check(&d->queries));
  CHECK_PART(heap_check(&d->query_due));
  CHECK(d->query_due.count == d->queries.count, "query: the deadlines are not as many as the queries");
  for (struct hlink *h = NULL; (h = htab_next(&d->queries, h));) {
    const struct query *q = container_of(h, const struct query, h);
    CHECK(q->id && query_find(d, q->id) == q, "query: one is not found");
    CHECK(heap_has(&d->query_due, &q->due), "query: one has no deadline");
    CHECK(list_empty(&q->of_user) == (!q->lookup && !q->batch), "query: one that is waited for is in no list, or the reverse");
    CHECK((!q->lookup || q->use == QUERY_LOOKUP) && (!q->batch || q->use == QUERY_STORE), "query: one is of another use");
    pings += q->use == QUERY_PING;
    out += !list_empty(&q->out);
  }
  CHECK(pings == d->pings, "query: the pings are not as many as counted");
  CHECK(list_has(&d->query_out, out), "query: those that wait to be sent are not as many as say so");
  return NULL;
}

static const char *answers_check(const struct dht *d) {
  size_t bytes = 0;
  CHECK(list_has(&d->answers, d->answer_count) && d->answer_count <= ANSWER_MAX,
        "answer: they are not as many as counted, or too many");
  list_for(it, &d->answers) bytes += container_of(it, const struct answer, out)->len;
  CHECK(bytes == d->answer_bytes && bytes <= ANSWER_BYTES, "answer: they are not as many bytes as counted, or too many");
  return NULL;
}

static const char *peers_check(const struct dht *d) {
  double find = 4.0 * d->cfg.find_rate, store = 4.0 * d->cfg.store_rate;
  CHECK_PART(lru_check(&d->peers));
  list_for(it, &d->peers.order) {
    const struct dht_peer *p = container_of(it, const struct dht_peer, l.age);
    CHECK(htab_has(&d->peers.tab, &p->l.h, &p->id, sizeof p->id), "dht: a peer is not found");
    CHECK(bucket_holds(&p->find, find) && bucket_holds(&p->store, store), "dht: a peer may ask more than its burst");
  }
  CHECK(bucket_holds(&d->stores, 4 * store) && bucket_holds(&d->found, 4 * store),
        "dht: all peers may ask more than their burst");
  return NULL;
}

const char *dht_check(const struct dht *d) {
  CHECK_PART(routing_check(&d->table));
  CHECK_PART(store_check(&d->store));
  CHECK_PART(lru_check(&d->verifier.seen));
  CHECK_PART(slabs_check(&d->verifier.entries, 1));
  CHECK_PART(peers_check(d));
  CHECK_PART(queries_check(d));
  CHECK_PART(lookups_check(d));
  CHECK_PART(answers_check(d));
  CHECK_PART(publish_check(d));
  return NULL;
}

/* ---- what accounts are charged --------------------------------------------------------------------------------------------
 */
static size_t table_owned(const struct dht *d) {
  size_t sum =
      mem_cost(d) + htab_owned(&d->peers.tab) + htab_owned(&d->verifier.seen.tab) + slabs_owned(&d->verifier.entries, 1);
  for (unsigned i = 0; i < ROUTING_BUCKETS; i++) sum += mem_cost(d->table.b[i]);
  list_for(it, &d->peers.order) sum += mem_cost(container_of(it, const struct dht_peer, l.age));
  list_for(it, &d->verifier.seen.order) sum += slab_owned(verified_block(container_of(it, const struct lru_link, age)));
  return sum;
}

static double publish_owned(const struct publish *p) {
  double sum = (double)(htab_owned(&p->own) + htab_owned(&p->holders) + heap_owned(&p->due) + heap_owned(&p->work));
  sum += (double)(slabs_owned(&p->own_slab, 1) + slabs_owned(&p->former_slab, 1) + slabs_owned(p->batch_slabs, PUBLISH_SIZES));
  for (struct hlink *h = NULL; (h = htab_next(&p->own, h));) {
    const struct publish_own *o = container_of(h, const struct publish_own, h);
    sum += (double)slab_owned(o);
    if (o->former) sum += (double)slab_owned(o->former) / o->former->refs;
  }
  for (struct hlink *h = NULL; (h = htab_next(&p->holders, h));)
    sum += (double)mem_cost(container_of(h, const struct publish_holder, h));
  list_for(it, &p->batches) {
    const struct publish_batch *b = container_of(it, const struct publish_batch, all);
    sum += (double)slab_owned(b);
    if (b->at) sum += (double)mem_cost(b->at) / b->at->refs;
  }
  return sum;
}

static size_t one_lookup_owned(const struct lookup *l) { return l ? mem_cost(l) + mem_cost(l->found) : 0; }

static size_t lookups_owned(const struct dht *d) {
  size_t sum = htab_owned(&d->queries) + heap_owned(&d->query_due) + htab_owned(&d->lookups) + mem_cost(d->handed);
  for (struct hlink *h = NULL; (h = htab_next(&d->queries, h));) sum += mem_cost(container_of(h, const struct query, h));
  list_for(it, &d->answers) sum += mem_cost(container_of(it, const struct answer, out));
  list_for(it, &d->active) sum += one_lookup_owned(container_of(it, const struct lookup, link));
  list_for(it, &d->done) sum += one_lookup_owned(container_of(it, const struct lookup, link));
  return sum + one_lookup_owned(d->shown) + (size_t)(publish_owned(&d->publish) + 0.5);
}

struct dht_owned dht_owned(const struct dht *d) {
  return (struct dht_owned){store_owned(&d->store), table_owned(d), lookups_owned(d)};
}
