#include <stdlib.h>

#include "dht/internal.h"

static struct hidden *hidden_of(struct found *f, const struct id *publisher) {
  for (uint32_t i = 0; i < f->hidden_count; i++)
    if (id_eq(&f->hidden[i].publisher, publisher)) return &f->hidden[i];
  return NULL;
}

static uint32_t provider_of(const struct found *f, const struct id *publisher) {
  uint32_t i = 0;
  while (i < f->count && !id_eq(&f->providers[i].contact.id, publisher)) i++;
  return i;
}

static void hide(struct found *f, const struct id *publisher, uint64_t seq) {
  struct hidden *h = hidden_of(f, publisher);
  uint32_t i = provider_of(f, publisher);
  if (i < f->count && f->providers[i].seq < seq) f->providers[i] = f->providers[--f->count];
  if (!h && f->hidden_count < LOOKUP_PROVIDERS) {
    h = &f->hidden[f->hidden_count++];
    *h = (struct hidden){*publisher, seq};
  }
  if (h && h->seq < seq) h->seq = seq;
}

static void merge(struct found *f, const struct dht_provider *p) {
  struct hidden *h = hidden_of(f, &p->contact.id);
  uint32_t i = provider_of(f, &p->contact.id);
  if (h && h->seq >= p->seq) return; /* the publisher withdrew the record after this version */
  if (i < f->count) {
    /* Of two holders of the same version the one that reports less time left is right: it has held the record longer. */
    if (p->seq > f->providers[i].seq || (p->seq == f->providers[i].seq && p->left < f->providers[i].left)) f->providers[i] = *p;
  } else if (f->count < LOOKUP_PROVIDERS) {
    f->providers[f->count++] = *p;
  }
}

bool found_merge(struct found *f, const struct kad_batch *b, const struct id *publisher, const struct id *key, uint32_t kind,
                 uint64_t age_ms) {
  for (uint32_t i = 0; i < b->count; i++) {
    const struct kad_entry *e = &b->entries[i];
    if (e->kind != kind || !id_eq(&e->key, key)) continue;
    uint64_t ttl = (uint64_t)e->ttl * 1000 < DHT_MAX_TTL / NS_MS ? (uint64_t)e->ttl * 1000 : DHT_MAX_TTL / NS_MS; /* ms */
    if (e->ttl == 0)
      hide(f, publisher, b->seq);
    else if (ttl > age_ms)
      merge(f, &(struct dht_provider){{*publisher, b->addr, b->gateway}, b->seq, (ttl - age_ms) * NS_MS});
    return e->ttl && ttl > age_ms; /* when a key occurs twice in a batch the first entry counts, as in the store */
  }
  return false;
}

void found_local(struct found *f, const struct store *s, const struct id *key, uint32_t kind, nanotime now) {
  struct store_key *k = store_find(s, key, kind);
  if (!k) return;
  list_for(l, &k->dead) {
    struct store_record *r = container_of(l, struct store_record, of_key);
    hide(f, &r->batch->publisher->id, r->batch->seq);
  }
  list_for(l, &k->live) {
    struct store_record *r = container_of(l, struct store_record, of_key);
    if (store_left(r, now)) merge(f, &(struct dht_provider){r->batch->contact, r->batch->seq, store_left(r, now)});
  }
}

static int newest_first(const void *a, const void *b) {
  const struct dht_provider *x = a, *y = b;
  return x->seq < y->seq ? 1 : x->seq > y->seq ? -1 : memcmp(&x->contact.id, &y->contact.id, ID_LEN);
}

void found_sort(struct found *f) { qsort(f->providers, f->count, sizeof *f->providers, newest_first); }
