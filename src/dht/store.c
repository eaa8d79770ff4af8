#include "dht/store.h"

#include <assert.h>

#include "base/err.h"

#define MAX_TTL_S (DHT_MAX_TTL / NS_SEC)
#define UNDER_WAY_S 10 /* seconds for which a STORE sent before the withdrawal may still arrive */

static bool key_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(&container_of(h, struct store_key, h)->k, key, len) == 0;
}

static bool publisher_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(&container_of(h, struct store_publisher, h)->id, key, len) == 0;
}

void store_init(struct store *s, const struct dht_config *cfg) {
  *s = (struct store){.mem = cfg->records_mem,
                      .max_records = cfg->max_records,
                      .max_publisher = cfg->max_publisher,
                      .max_key_service = cfg->max_key_service,
                      .max_key_subscription = cfg->max_key_subscription,
                      .max_tombstones = cfg->max_tombstones,
                      .spent = cfg->spent,
                      .max_publisher_bytes = cfg->records_mem->limit / 4};
  slab_init(&s->key_slab, s->mem, sizeof(struct store_key));
  slab_init(&s->record_slab, s->mem, sizeof(struct store_record));
  s->room.most = s->mem->limit ? s->mem->limit / 8 : SIZE_MAX;
  slabs_init(s->batch_slabs, STORE_SIZES, s->mem, &s->room);
  uint32_t all = cfg->max_records + cfg->max_tombstones;
  htab_init(&s->keys, s->mem, cfg->rng, all, key_eq);
  htab_init(&s->publishers, s->mem, cfg->rng, all, publisher_eq);
  heap_init(&s->live, s->mem, cfg->max_records);
  heap_init(&s->dead, s->mem, cfg->max_tombstones);
}

/* ---- batches and publishers -----------------------------------------------------------------------------------------------
 */
static size_t batch_size(const struct store_batch *b) { return sizeof *b + b->record_len + b->signature_len + b->spki_len; }

static void release_publisher(struct store *s, struct store_publisher *p) {
  if (p->batches) return;
  htab_remove(&s->publishers, &p->h);
  mem_free(s->mem, p);
}

static void batch_unref(struct store *s, struct store_batch *b) {
  assert(b->refs > 0);
  if (--b->refs) return;
  assert(b->publisher->batches > 0 && b->publisher->bytes >= batch_size(b));
  b->publisher->batches--;
  b->publisher->bytes -= batch_size(b);
  release_publisher(s, b->publisher);
  slab_free(slabs_at(s->batch_slabs, batch_size(b)), b);
}

static struct store_publisher *publisher_of(struct store *s, const struct id *id) {
  struct hlink *h = htab_find(&s->publishers, id, sizeof *id);
  if (h) return container_of(h, struct store_publisher, h);
  struct store_publisher *p = mem_calloc(s->mem, 1, sizeof *p);
  if (!p) return NULL;
  p->id = *id;
  if (htab_insert(&s->publishers, &p->h, &p->id, sizeof p->id) == 0) return p;
  mem_free(s->mem, p);
  return NULL;
}

/* A new batch with one reference, the caller's. NULL: no memory, or the publisher's share is used up. */
static struct store_batch *batch_new(struct store *s, const struct kad_signed *o, const struct kad_batch *b,
                                     const struct id *publisher, nanotime now) {
  struct store_publisher *p = publisher_of(s, publisher);
  if (!p) return NULL;
  size_t n = sizeof(struct store_batch) + o->record.n + o->signature.n + o->spki.n;
  struct store_batch *x = NULL;
  if (!s->max_publisher_bytes || p->bytes + n <= s->max_publisher_bytes) x = slab_alloc(slabs_at(s->batch_slabs, n));
  if (!x) {
    release_publisher(s, p);
    return NULL;
  }
  uint64_t age = o->age > MAX_TTL_S * 1000 ? MAX_TTL_S * 1000 : o->age;
  *x = (struct store_batch){.refs = 1,
                            .record_len = (uint16_t)o->record.n,
                            .signature_len = (uint16_t)o->signature.n,
                            .spki_len = (uint16_t)o->spki.n,
                            .publisher = p,
                            .seq = b->seq,
                            .seen = (int64_t)now - (int64_t)(age * NS_MS),
                            .contact = {*publisher, b->addr, b->gateway}};
  memcpy(x->data, o->record.p, o->record.n);
  memcpy(x->data + o->record.n, o->signature.p, o->signature.n);
  memcpy(x->data + o->record.n + o->signature.n, o->spki.p, o->spki.n);
  p->batches++;
  p->bytes += n;
  return x;
}

struct kad_signed store_batch_view(const struct store_batch *b, nanotime now) {
  const uint8_t *p = b->data;
  int64_t age = (int64_t)now - b->seen;
  return (struct kad_signed){slice_of(p, b->record_len), slice_of(p + b->record_len, b->signature_len),
                             slice_of(p + b->record_len + b->signature_len, b->spki_len), age > 0 ? (uint64_t)age / NS_MS : 0};
}

/* ---- keys and records -----------------------------------------------------------------------------------------------------
 */
struct store_key *store_find(const struct store *s, const struct id *key, uint32_t kind) {
  struct store_key probe = {.k = {*key, kind}};
  struct hlink *h = htab_find(&s->keys, &probe.k, sizeof probe.k);
  return h ? container_of(h, struct store_key, h) : NULL;
}

static struct store_key *key_new(struct store *s, const struct kad_entry *e) {
  struct store_key *k = slab_alloc(&s->key_slab);
  if (!k) return NULL;
  k->k.key = e->key;
  k->k.kind = e->kind;
  list_init(&k->live);
  list_init(&k->dead);
  if (htab_insert(&s->keys, &k->h, &k->k, sizeof k->k) == 0) return k;
  slab_free(&s->key_slab, k);
  return NULL;
}

static void key_release(struct store *s, struct store_key *k) {
  if (k->live_count || k->dead_count) return;
  htab_remove(&s->keys, &k->h);
  slab_free(&s->key_slab, k);
}

static struct store_record *record_of(const struct store_key *k, const struct id *publisher) {
  const struct list *both[2] = {&k->live, &k->dead};
  for (int i = 0; i < 2; i++)
    for (struct list *l = both[i]->next; l != both[i]; l = l->next) {
      struct store_record *r = container_of(l, struct store_record, of_key);
      if (id_eq(&r->batch->publisher->id, publisher)) return r;
    }
  return NULL;
}

static void unlink_record(struct store *s, struct store_record *r) {
  const struct store_publisher *p = r->batch->publisher;
  assert(r->tombstone ? r->key->dead_count && p->tombstones : r->key->live_count && p->records);
  list_remove(&r->of_key);
  if (r->tombstone) {
    heap_remove(&s->dead, &r->due);
    r->key->dead_count--;
    r->batch->publisher->tombstones--;
  } else {
    heap_remove(&s->live, &r->due);
    r->key->live_count--;
    r->batch->publisher->records--;
  }
}

static void link_record(struct store_record *r) {
  if (r->tombstone) {
    list_append(&r->key->dead, &r->of_key);
    r->key->dead_count++;
    r->batch->publisher->tombstones++;
  } else {
    list_prepend(&r->key->live, &r->of_key);
    r->key->live_count++;
    r->batch->publisher->records++;
  }
}

static void record_free(struct store *s, struct store_record *r) {
  unlink_record(s, r);
  batch_unref(s, r->batch);
  slab_free(&s->record_slab, r);
}

static void record_remove(struct store *s, struct store_record *r) {
  struct store_key *k = r->key;
  record_free(s, r);
  key_release(s, k);
}

void store_done(struct store *s) {
  for (struct heap_link *l; (l = heap_pop_due(&s->live, TIME_NEVER));)
    record_remove(s, container_of(l, struct store_record, due));
  for (struct heap_link *l; (l = heap_pop_due(&s->dead, TIME_NEVER));)
    record_remove(s, container_of(l, struct store_record, due));
  htab_done(&s->keys);
  htab_done(&s->publishers);
  heap_done(&s->live);
  heap_done(&s->dead);
}

static uint32_t key_limit(const struct store *s, uint32_t kind) {
  return kind == DHT_SUBSCRIPTION ? s->max_key_subscription : s->max_key_service;
}

/* ---- taking ---------------------------------------------------------------------------------------------------------------
 */
/* Whether there is room for one more live record of this publisher under this key. */
static bool has_room(const struct store *s, const struct store_key *k, uint32_t kind, const struct store_publisher *p) {
  return s->live.count < s->max_records && p->records < s->max_publisher && (!k || k->live_count < key_limit(s, kind));
}

/* Makes room for a tombstone: one publisher may have half of all tombstones, a key as many as it may have records. The one that
 * ends first is dropped. */
static bool room_for_tombstone(struct store *s, struct store_key *k, uint32_t kind, const struct store_publisher *p) {
  if (s->max_tombstones == 0 || p->tombstones >= s->max_tombstones / 2 + 1) return false;
  struct store_record *out = NULL;
  if (k && k->dead_count >= key_limit(s, kind) && k->dead_count)
    out = container_of(k->dead.next, struct store_record, of_key);
  else if (s->dead.count >= s->max_tombstones)
    out = container_of(s->dead.v[0], struct store_record, due);
  if (!out) return true;
  s->dropped_tombstones++;
  if (out->key == k)
    record_free(s, out); /* keeps the key, which the new tombstone needs */
  else
    record_remove(s, out);
  return true;
}

static int take_new(struct store *s, const struct kad_entry *e, struct store_batch *b, nanotime end) {
  struct store_key *k = store_find(s, &e->key, e->kind);
  bool tombstone = e->ttl == 0;
  if (tombstone ? !room_for_tombstone(s, k, e->kind, b->publisher) : !has_room(s, k, e->kind, b->publisher))
    return tombstone ? 0 : MACULA_RECORDS_FULL;
  struct store_record *r = slab_alloc(&s->record_slab);
  if (r && !k) k = key_new(s, e);
  if (r && k && heap_set(tombstone ? &s->dead : &s->live, &r->due, end) == 0) {
    list_init(&r->of_key);
    r->key = k;
    r->batch = b;
    r->tombstone = tombstone;
    b->refs++;
    link_record(r);
    return 0;
  }
  slab_free(&s->record_slab, r);
  if (k) key_release(s, k);
  return MACULA_ENOMEM;
}

/* Replaces a record by a newer one of the same publisher. The old one is freed first, so that its place is free. */
static int take_newer(struct store *s, struct store_record *old, const struct kad_entry *e, struct store_batch *b,
                      nanotime end) {
  bool tombstone = e->ttl == 0;
  if (tombstone == old->tombstone) { /* replaced in place, which cannot fail */
    unlink_record(s, old);
    batch_unref(s, old->batch);
    old->batch = b;
    b->refs++;
    link_record(old);
    return heap_set(tombstone ? &s->dead : &s->live, &old->due, end);
  }
  record_remove(s, old);
  return take_new(s, e, b, end);
}

static int take(struct store *s, const struct kad_entry *e, struct store_batch *b, nanotime now, struct store_put *put) {
  struct store_key *k = store_find(s, &e->key, e->kind);
  struct store_record *old = k ? record_of(k, &b->publisher->id) : NULL;
  uint64_t ttl = e->ttl ? e->ttl : e->rest ? (uint64_t)e->rest + UNDER_WAY_S : MAX_TTL_S;
  if (ttl > MAX_TTL_S) ttl = MAX_TTL_S; /* longer TTLs are cut to this maximum */
  int64_t end = b->seen + (int64_t)(ttl * NS_SEC);
  if (old && b->seq <= old->batch->seq) {
    put->old += b->seq < old->batch->seq;
    return 0;
  }
  if (end <= (int64_t)now) return 0; /* its TTL ended on the way here */
  int err = old ? take_newer(s, old, e, b, (nanotime)end) : take_new(s, e, b, (nanotime)end);
  put->refused += err != 0;
  return err;
}

/* Whether the batch is newer than the held version of any of its records. Records that are older than the held ones are noted
 * in put. */
static bool says_news(const struct store *s, const struct kad_batch *b, const struct id *publisher, struct store_put *put) {
  bool news = false;
  for (uint32_t i = 0; i < b->count; i++) {
    struct store_key *k = store_find(s, &b->entries[i].key, b->entries[i].kind);
    struct store_record *r = k ? record_of(k, publisher) : NULL;
    news |= !r || r->batch->seq < b->seq;
    if (r && b->seq < r->batch->seq) {
      put->old++;
      put->newer = r->batch;
    }
  }
  return news;
}

int store_put(struct store *s, const struct kad_signed *encoded, const struct kad_batch *b, const struct id *publisher,
              nanotime now, struct store_put *ret_put) {
  *ret_put = (struct store_put){0};
  if (!says_news(s, b, publisher, ret_put)) { /* the same batch again, or an older one: nothing is allocated for it */
    s->refused_old += ret_put->old;
    return 0;
  }
  *ret_put = (struct store_put){0};
  struct store_batch *x = batch_new(s, encoded, b, publisher, now);
  if (!x) {
    ret_put->refused = b->count;
    s->refused_full += b->count;
    return MACULA_RECORDS_FULL;
  }
  int err = 0;
  for (uint32_t i = 0; i < b->count; i++) {
    int e = take(s, &b->entries[i], x, now, ret_put);
    if (e) err = e;
  }
  s->refused_full += ret_put->refused;
  s->refused_old += ret_put->old;
  batch_unref(s, x);
  struct store_put again = {0}; /* looked up again at the end, since taking the records may have freed the batch found before */
  (void)says_news(s, b, publisher, &again);
  ret_put->newer = again.newer;
  return err;
}

void store_drop(struct store *s, const struct id *key, uint32_t kind, const struct id *publisher) {
  struct store_key *k = store_find(s, key, kind);
  struct store_record *r = k ? record_of(k, publisher) : NULL;
  if (r) record_remove(s, r);
}

void store_expire(struct store *s, nanotime now) {
  for (struct heap_link *l; (l = heap_pop_due(&s->live, now));) {
    record_remove(s, container_of(l, struct store_record, due));
    s->expired++;
    if (is_spent(s->spent)) return;
  }
  for (struct heap_link *l; (l = heap_pop_due(&s->dead, now));) {
    record_remove(s, container_of(l, struct store_record, due));
    if (is_spent(s->spent)) return;
  }
}

nanotime store_deadline(const struct store *s) { return time_min(heap_deadline(&s->live), heap_deadline(&s->dead)); }
