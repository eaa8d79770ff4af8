#include "dht/publish.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "dht/distance.h"
#include "dht/internal.h"

#define GATHER (20 * NS_MS)       /* records published within this time are signed together */
#define GATHER_BUSY (250 * NS_MS) /* the time when many batches were signed lately: each costs its holders as much as us */
#define SIGN_RATE 64.0
#define SIGN_BURST 1024.0
#define SIGN_AT_ONCE 64 /* signatures in one turn */
#define RETRY_SIGNING (1 * NS_SEC)
#define DUE_AT_ONCE 64 /* batches that are signed anew in one turn */

static bool own_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(&container_of(h, struct publish_own, h)->k, key, len) == 0;
}

void publish_init(struct dht *d) {
  struct publish *p = &d->publish;
  *p = (struct publish){.flush_at = TIME_NEVER, .last_seq = d->cfg.last_seq};
  htab_init(&p->own, d->cfg.lookups_mem, d->cfg.rng, d->cfg.max_own, own_eq);
  slab_init(&p->own_slab, d->cfg.lookups_mem, sizeof(struct publish_own));
  slab_init(&p->former_slab, d->cfg.lookups_mem, sizeof(struct publish_former));
  p->room.most = d->cfg.lookups_mem->limit ? d->cfg.lookups_mem->limit / 8 : SIZE_MAX;
  slabs_init(p->batch_slabs, PUBLISH_SIZES, d->cfg.lookups_mem, &p->room);
  heap_init(&p->due, d->cfg.lookups_mem, UINT32_MAX); /* holds batches, each with at least one record of ours */
  heap_init(&p->work, d->cfg.lookups_mem, UINT32_MAX);
  holders_init(d);
  list_init(&p->dirty);
  list_init(&p->gone);
  list_init(&p->batches);
  list_init(&p->ready);
  list_init(&p->storing);
}

static void own_free(struct dht *d, struct publish_own *o) {
  struct publish *p = &d->publish;
  assert((o->batch || p->dirty_count > 0) && (o->withdrawn || p->live > 0));
  if (!o->batch) p->dirty_count--;
  if (!o->withdrawn) p->live--;
  htab_remove(&p->own, &o->h);
  list_remove(&o->in);
  list_remove(&o->gone);
  former_drop(d, o);
  slab_free(&p->own_slab, o);
}

void publish_done(struct dht *d) {
  struct publish *p = &d->publish;
  while (!list_empty(&p->batches)) publish_dissolve(d, container_of(p->batches.next, struct publish_batch, all));
  while (!list_empty(&p->dirty)) own_free(d, container_of(p->dirty.next, struct publish_own, in));
  htab_done(&p->own);
  holders_done(d);
  heap_done(&p->due);
  heap_done(&p->work);
}

static size_t batch_size(size_t record_len, size_t signature_len) {
  return sizeof(struct publish_batch) + record_len + signature_len;
}

static void batch_free(struct dht *d, struct publish_batch *b) {
  slab_free(slabs_at(d->publish.batch_slabs, batch_size(b->record_len, b->signature_len)), b);
}

static void to_dirty(struct dht *d, struct publish_own *o) {
  list_remove(&o->in);
  list_append(&d->publish.dirty, &o->in);
  o->batch = NULL;
  d->publish.dirty_count++;
  d->publish.sorted = false;
}

void publish_dissolve(struct dht *d, struct publish_batch *b) {
  struct publish *p = &d->publish;
  former_keep(d, b);
  holders_clear(d, b);
  while (!list_empty(&b->records)) to_dirty(d, container_of(b->records.next, struct publish_own, in));
  place_detach(d, b);
  heap_remove(&p->due, &b->due);
  heap_remove(&p->work, &b->work);
  list_remove(&b->all);
  batch_free(d, b);
}

static void changed(struct dht *d, struct publish_own *o, nanotime now) {
  if (o->batch) publish_dissolve(d, o->batch);
  d->publish.flush_at = time_min(d->publish.flush_at, now + (d->publish.busy ? GATHER_BUSY : GATHER));
}

static struct publish_own *own_find(const struct dht *d, const struct id *key, uint32_t kind) {
  struct publish_own probe = {.k = {*key, kind}};
  struct hlink *h = htab_find(&d->publish.own, &probe.k, sizeof probe.k);
  return h ? container_of(h, struct publish_own, h) : NULL;
}

/* Makes room by forgetting the record that was withdrawn first. Its batch stays as it is: its tombstone is still true, and
 * signing the batch anew would cost each holder a STORE. */
static bool drop_oldest(struct dht *d) {
  struct publish *p = &d->publish;
  if (list_empty(&p->gone)) return false;
  struct publish_own *oldest = container_of(p->gone.next, struct publish_own, gone);
  struct publish_batch *b = oldest->batch;
  own_free(d, oldest);
  if (b && list_empty(&b->records)) publish_dissolve(d, b);
  p->dropped++;
  return true;
}

static void shrink(struct dht *d, uint32_t most) {
  while (d->publish.own.count > most)
    if (!drop_oldest(d)) return;
}

void dht_set_max_own(struct dht *d, uint32_t max) {
  d->cfg.max_own = d->publish.own.max = max;
  shrink(d, max);
}

static int own_new(struct dht *d, const struct id *key, uint32_t kind, struct publish_own **ret_own) {
  struct publish *p = &d->publish;
  if (p->own.count >= p->own.max) shrink(d, p->own.max - 1);
  if (p->own.count >= p->own.max) return MACULA_EFULL;
  struct publish_own *o = slab_alloc(&p->own_slab);
  if (!o && drop_oldest(d)) o = slab_alloc(&p->own_slab);
  if (!o) return MACULA_ENOMEM;
  o->k.key = *key;
  o->k.kind = kind;
  list_init(&o->in);
  list_init(&o->gone);
  int err = htab_insert(&p->own, &o->h, &o->k, sizeof o->k);
  if (err) {
    slab_free(&p->own_slab, o);
    return err;
  }
  to_dirty(d, o);
  p->live++;
  *ret_own = o;
  return 0;
}

int dht_publish(struct dht *d, const struct id *key, enum dht_kind kind, uint64_t ttl, nanotime now) {
  if (ttl < NS_SEC || ttl > DHT_MAX_TTL || kind < 1 || (unsigned)kind > 255) return MACULA_EINVAL;
  d->now = now;
  struct publish_own *o = own_find(d, key, kind);
  uint32_t seconds = (uint32_t)(ttl / NS_SEC);
  if (o && !o->withdrawn && o->ttl == seconds) return 0;
  if (!o) {
    int err = own_new(d, key, kind, &o);
    if (err) return err;
  }
  if (o->withdrawn) {
    o->withdrawn = false;
    d->publish.live++;
    list_remove(&o->gone);
    former_drop(d, o);
  }
  o->ttl = seconds;
  changed(d, o, now);
  return 0;
}

static void mark_withdrawn(struct dht *d, struct publish_own *o, nanotime now) {
  assert(!o->withdrawn && d->publish.live > 0);
  o->withdrawn = true;
  d->publish.live--;
  o->gone_at = time_add(now, (uint64_t)o->ttl * NS_SEC);
  list_append(&d->publish.gone, &o->gone);
}

static void withdraw(struct dht *d, struct publish_own *o, nanotime now) {
  if (!o->was_sent) { /* it was never sent to another node */
    if (o->batch) changed(d, o, now);
    store_drop(&d->store, &o->k.key, o->k.kind, &d->cfg.self.id);
    own_free(d, o);
    return;
  }
  mark_withdrawn(d, o, now);
  changed(d, o, now);
}

int dht_withdraw(struct dht *d, const struct id *key, enum dht_kind kind, nanotime now) {
  d->now = now;
  struct publish_own *o = own_find(d, key, kind);
  if (!o || o->withdrawn) return MACULA_ENOTFOUND;
  withdraw(d, o, now);
  return 0;
}

void dht_withdraw_all(struct dht *d, nanotime now) {
  struct publish *p = &d->publish;
  d->now = now;
  list_for_safe(l, &p->dirty) {
    struct publish_own *o = container_of(l, struct publish_own, in);
    if (!o->withdrawn) withdraw(d, o, now);
  }
  while (!list_empty(&p->batches)) { /* dissolves all batches; the records are sorted and signed again */
    struct publish_batch *b = container_of(p->batches.next, struct publish_batch, all);
    list_for(l, &b->records) {
      struct publish_own *o = container_of(l, struct publish_own, in);
      if (!o->withdrawn) mark_withdrawn(d, o, now);
    }
    publish_dissolve(d, b);
  }
  p->flush_at = now;
  publish_tick(d, now);
}

void dht_set_self(struct dht *d, const struct dht_contact *self, nanotime now) {
  struct publish *p = &d->publish;
  struct id id = d->cfg.self.id; /* only the address changes, never the id */
  d->now = now;
  if (addr_eq(&self->addr, &d->cfg.self.addr) && id_eq(&self->gateway, &d->cfg.self.gateway)) return;
  d->cfg.self = *self;
  d->cfg.self.id = id;
  while (!list_empty(&p->batches)) publish_dissolve(d, container_of(p->batches.next, struct publish_batch, all));
  if (p->dirty_count) p->flush_at = time_min(p->flush_at, now + GATHER);
}

uint64_t dht_last_seq(const struct dht *d) { return d->publish.last_seq; }

/* ---- signing --------------------------------------------------------------------------------------------------------------
 */
static int by_key(const void *a, const void *b) {
  const struct publish_own *x = *(struct publish_own *const *)a, *y = *(struct publish_own *const *)b;
  int c = memcmp(&x->k.key, &y->k.key, ID_LEN);
  return c ? c : x->k.kind < y->k.kind ? -1 : x->k.kind > y->k.kind;
}

/* Without memory the list stays unsorted: that makes more batches, not wrong ones. */
static void sort_dirty(struct dht *d) {
  struct publish *p = &d->publish;
  if (p->sorted || p->dirty_count < 2) return;
  struct publish_own **v = mem_alloc(d->cfg.lookups_mem, p->dirty_count * sizeof(*v));
  if (!v) return;
  uint32_t n = 0;
  list_for(l, &p->dirty) v[n++] = container_of(l, struct publish_own, in);
  qsort(v, n, sizeof *v, by_key);
  list_init(&p->dirty);
  for (uint32_t i = 0; i < n; i++) list_append(&p->dirty, &v[i]->in);
  mem_free(d->cfg.lookups_mem, v);
  p->sorted = true;
}

static void forget_gone(struct dht *d, nanotime now) {
  list_for_safe(l, &d->publish.dirty) {
    struct publish_own *o = container_of(l, struct publish_own, in);
    if (o->withdrawn && now >= o->gone_at) own_free(d, o);
  }
}

/* Whether a record fits into a batch that begins with `first`: same region, and a TTL at most twice as long or short, since a
 * batch is renewed as a whole. */
static bool fits(const struct publish_own *first, const struct publish_own *o, unsigned region) {
  if (common_bits(&first->k.key, &o->k.key) < region) return false;
  return first->withdrawn == o->withdrawn ? first->withdrawn || (o->ttl <= 2 * first->ttl && first->ttl <= 2 * o->ttl) : true;
}

static uint64_t next_seq(struct dht *d, nanotime now) {
  uint64_t ms = d->cfg.unix_base_ms + now / NS_MS, *last = &d->publish.last_seq;
  *last = ms > *last ? ms : *last + 1;
  return *last;
}

/* The time until a batch is signed anew: 2/3 of the shortest TTL, less up to a tenth at random, so that batches signed together
 * do not stay in step. For a batch of tombstones only: the time until none of them is needed any more. */
static uint64_t renewal(struct dht *d, const struct publish_batch *b, nanotime now) {
  uint64_t ttl = 0, gone = 0;
  list_for(l, &b->records) {
    struct publish_own *o = container_of(l, struct publish_own, in);
    if (o->withdrawn)
      gone = time_since(o->gone_at, now) > gone ? time_since(o->gone_at, now) : gone;
    else if (!ttl || o->ttl < ttl)
      ttl = o->ttl;
  }
  if (!ttl) return gone;
  uint64_t every = ttl * NS_SEC / 3 * 2;
  every -= rng_below(d->cfg.rng, every / 10 + 1);
  return every < NS_SEC ? NS_SEC : every;
}

/* Signs the first records of the dirty list. */
static int sign_batch(struct dht *d, unsigned region, nanotime now) {
  struct publish *p = &d->publish;
  struct publish_own *first = container_of(p->dirty.next, struct publish_own, in), *v[KAD_MAX_ENTRIES];
  struct kad_batch k = {.realm = d->cfg.realm, .addr = d->cfg.self.addr, .gateway = d->cfg.self.gateway};
  uint8_t record[KAD_MAX_RECORD], signature[KAD_MAX_SIGNATURE];
  size_t signature_len = 0;
  for (struct list *l = p->dirty.next; l != &p->dirty && k.count < KAD_MAX_ENTRIES; l = l->next) {
    struct publish_own *o = container_of(l, struct publish_own, in);
    if (!fits(first, o, region)) break;
    v[k.count] = o;
    struct kad_entry *e = &k.entries[k.count++];
    *e = (struct kad_entry){.key = o->k.key, .kind = o->k.kind, .ttl = o->withdrawn ? 0 : o->ttl};
    if (o->withdrawn) e->rest = (uint32_t)(time_since(o->gone_at, now) / NS_SEC + 1);
  }
  k.seq = next_seq(d, now);
  size_t n = kad_batch_encode(&k, record, sizeof record);
  int err = n > sizeof record ? MACULA_EINTERNAL : sign_record(&d->verifier, slice_of(record, n), signature, &signature_len);
  if (err) return err;
  struct publish_batch *b = slab_alloc(slabs_at(p->batch_slabs, batch_size(n, signature_len)));
  if (!b) return MACULA_ENOMEM;
  b->record_len = (uint16_t)n;
  b->signature_len = (uint16_t)signature_len;
  list_init(&b->all);
  list_init(&b->queue);
  list_init(&b->records);
  list_init(&b->waiting);
  b->key = b->center = first->k.key;
  b->bits = (uint16_t)common_bits(&first->k.key, &v[k.count - 1]->k.key);
  for (uint32_t i = 0; i < k.count; i++) {
    unsigned shared = common_bits(&first->k.key, &v[i]->k.key); /* keys need not be sorted, if there was no memory for it */
    if (shared < b->bits) b->bits = (uint16_t)shared;
    list_remove(&v[i]->in);
    list_append(&b->records, &v[i]->in);
  }
  b->every = renewal(d, b, now);
  if ((err = heap_set(&p->due, &b->due, time_add(now, b->every)))) {
    for (uint32_t i = 0; i < k.count; i++) {
      list_remove(&v[i]->in);
      list_append(&p->dirty, &v[i]->in);
    }
    p->sorted = false;
    batch_free(d, b);
    return err;
  }
  for (uint32_t i = 0; i < k.count; i++) {
    v[i]->batch = b;
    b->withdraws |= v[i]->withdrawn;
  }
  assert(p->dirty_count >= k.count);
  p->dirty_count -= k.count;
  p->busy = !bucket_take(&p->signing, SIGN_RATE, SIGN_BURST, now);
  b->signed_at = now;
  memcpy(b->data, record, n);
  memcpy(b->data + n, signature, signature_len);
  list_append(&p->batches, &b->all);
  list_append(&p->ready, &b->queue);
  struct kad_signed encoded = publish_batch_view(b, d);
  struct store_put put;
  /* our own store holds our records as well, if they fit */
  (void)store_put(&d->store, &encoded, &k, &d->cfg.self.id, now, &put);
  return 0;
}

static void flush(struct dht *d, nanotime now) {
  struct publish *p = &d->publish;
  if (now < p->flush_at) return;
  p->flush_at = TIME_NEVER;
  forget_gone(d, now);
  sort_dirty(d);
  unsigned region = place_region(d);
  for (unsigned i = 0; i < SIGN_AT_ONCE && !list_empty(&p->dirty); i++) {
    int err = sign_batch(d, region, now);
    if (err == MACULA_ENOMEM && drop_oldest(d)) continue;
    if (err) {
      log_warn(d->cfg.log, "dht_sign_failed", "error=%s records=%u", macula_err_name(err), (unsigned)p->dirty_count);
      p->flush_at = now + RETRY_SIGNING;
      return;
    }
    if (is_spent(d->cfg.spent)) break;
  }
  if (!list_empty(&p->dirty)) p->flush_at = now + NS_MS;
}

/* Dissolves the batches that are due, and those due soon, so that small batches are merged into large ones. */
static void renew(struct dht *d, nanotime now) {
  struct publish *p = &d->publish;
  nanotime horizon = now;
  struct heap_link *l = heap_pop_due(&p->due, now);
  for (unsigned i = 0; l && i < DUE_AT_ONCE; i++) {
    struct publish_batch *b = container_of(l, struct publish_batch, due);
    if (horizon == now) horizon = time_add(now, b->every / 10);
    publish_dissolve(d, b);
    p->flush_at = now;
    l = i + 1 < DUE_AT_ONCE ? heap_pop_due(&p->due, horizon) : NULL;
  }
}

struct kad_signed publish_batch_view(const struct publish_batch *b, const struct dht *d) {
  return (struct kad_signed){slice_of(b->data, b->record_len), slice_of(b->data + b->record_len, b->signature_len),
                             d->cfg.crypto.spki, time_since(d->now, b->signed_at) / NS_MS};
}

void publish_tick(struct dht *d, nanotime now) {
  struct publish *p = &d->publish;
  renew(d, now);
  flush(d, now);
  for (struct heap_link *l; (l = heap_pop_due(&p->work, now));) {
    place_again(d, container_of(l, struct publish_batch, work));
    if (is_spent(d->cfg.spent)) break;
  }
  place_ready(d, now);
  place_pump(d, now);
}

nanotime publish_deadline(const struct dht *d) {
  const struct publish *p = &d->publish;
  return time_min(p->flush_at, time_min(heap_deadline(&p->due), heap_deadline(&p->work)));
}

uint32_t publish_unstored(const struct dht *d) {
  const struct publish *p = &d->publish;
  return p->dirty_count + p->work.count + p->in_flight + p->placing + !list_empty(&p->ready) + !list_empty(&p->storing);
}
