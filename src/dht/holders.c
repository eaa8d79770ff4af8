/* Which nodes hold our batches, so that each gets a batch only once, new nodes get the batches that they should hold, and all
 * nodes that have a record hear of its withdrawal, even those no longer among the k closest. */
#include <assert.h>

#include "base/err.h"
#include "dht/distance.h"
#include "dht/internal.h"
#include "dht/publish.h"

static bool holder_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(&container_of(h, struct publish_holder, h)->c.id, key, len) == 0;
}

void holders_init(struct dht *d) { htab_init(&d->publish.holders, d->cfg.lookups_mem, d->cfg.rng, PUBLISH_NODES, holder_eq); }

void holders_done(struct dht *d) { htab_done(&d->publish.holders); }

static struct publish_holder *holder_find(const struct dht *d, const struct id *id) {
  struct hlink *h = htab_find(&d->publish.holders, id, sizeof *id);
  return h ? container_of(h, struct publish_holder, h) : NULL;
}

static struct publish_holder *holder_ref(struct dht *d, const struct dht_contact *c) {
  struct publish_holder *x = holder_find(d, &c->id);
  if (!x) {
    if (!(x = mem_calloc(d->cfg.lookups_mem, 1, sizeof *x))) return NULL;
    x->c = *c;
    if (htab_insert(&d->publish.holders, &x->h, &x->c.id, sizeof x->c.id)) {
      mem_free(d->cfg.lookups_mem, x);
      return NULL;
    }
  }
  x->c = *c; /* its address may have changed */
  x->refs++;
  return x;
}

static void holder_unref(struct dht *d, struct publish_holder *x) {
  assert(x->refs > 0);
  if (--x->refs) return;
  htab_remove(&d->publish.holders, &x->h);
  mem_free(d->cfg.lookups_mem, x);
}

bool holders_has(const struct publish_batch *b, const struct id *id) {
  for (unsigned i = 0; i < b->holder_count; i++)
    if (id_eq(&b->holders[i]->c.id, id)) return true;
  return false;
}

bool holders_wants(const struct dht *d, const struct publish_batch *b, const struct id *id) {
  const struct publish_holder *x = holder_find(d, id);
  unsigned nearer = 0;
  for (unsigned i = 0; i < b->holder_count && nearer < DHT_K; i++) {
    if (b->holders[i] == x) return false;
    nearer += is_nearer(&b->center, &b->holders[i]->c.id, id);
  }
  unsigned coming = 0; /* nearer nodes to which the batch is under way */
  for (unsigned i = 0; b->at && i < b->at->count; i++) {
    if (id_eq(&b->at->c[i].id, id)) return false;
    coming += is_nearer(&b->center, &b->at->c[i].id, id);
  }
  return nearer < DHT_K && coming < DHT_K;
}

/* Without memory the holder is not remembered, and is sent the batch once more at the next occasion. */
void holders_add(struct dht *d, struct publish_batch *b, const struct dht_contact *c) {
  if (holders_has(b, &c->id)) return;
  struct publish_holder *x = holder_ref(d, c);
  if (!x) return;
  unsigned at = b->holder_count;
  if (at == PUBLISH_HOLDERS) {
    at = 0;
    for (unsigned i = 1; i < b->holder_count; i++)
      if (is_nearer(&b->center, &b->holders[at]->c.id, &b->holders[i]->c.id)) at = i;
    holder_unref(d, b->holders[at]); /* the farthest */
  } else {
    b->holder_count++;
  }
  b->holders[at] = x;
}

void holders_forget(struct dht *d, const struct id *id) {
  struct publish_holder *x = holder_find(d, id);
  if (!x) return;
  x->refs++; /* keeps it alive until the loop is done */
  list_for(l, &d->publish.batches) {
    struct publish_batch *b = container_of(l, struct publish_batch, all);
    for (unsigned i = 0; i < b->holder_count; i++)
      if (b->holders[i] == x) {
        b->holders[i] = b->holders[--b->holder_count];
        holder_unref(d, x);
        break;
      }
  }
  holder_unref(d, x);
}

void holders_clear(struct dht *d, struct publish_batch *b) {
  while (b->holder_count) holder_unref(d, b->holders[--b->holder_count]);
}

/* Remembers the holders of withdrawn records. Without memory only the k closest nodes are told of the withdrawal; at others the
 * record ends with its TTL. */
void former_keep(struct dht *d, struct publish_batch *b) {
  struct publish_former *f = NULL;
  list_for(l, &b->records) {
    struct publish_own *o = container_of(l, struct publish_own, in);
    if (!o->withdrawn || o->former || !b->holder_count) continue;
    if (!f) {
      if (!(f = slab_alloc(&d->publish.former_slab))) return;
      for (unsigned i = 0; i < b->holder_count; i++) {
        f->v[f->count++] = b->holders[i];
        b->holders[i]->refs++;
      }
    }
    f->refs++;
    o->former = f;
  }
}

void former_drop(struct dht *d, struct publish_own *o) {
  struct publish_former *f = o->former;
  o->former = NULL;
  assert(!f || f->refs > 0);
  if (!f || --f->refs) return;
  while (f->count) holder_unref(d, f->v[--f->count]);
  slab_free(&d->publish.former_slab, f);
}
