/* Where our batches are stored: on the k closest nodes, which one lookup finds for all batches of a region; while fewer than k
 * nodes are known, on all of them. */
#include <assert.h>

#include "base/err.h"
#include "dht/distance.h"
#include "dht/internal.h"
#include "dht/publish.h"
#include "wire/msg.h"

#define PLACE_LOOKUPS 8          /* at once */
#define STORES_AT_ONCE 128       /* STOREs without a reply yet, at most */
#define RETRY_FIRST (2 * NS_SEC) /* doubled each time */
#define RETRIES 5
#define RETRIES_SAME 2        /* so many retries go to the same nodes; after them a lookup finds holders anew */
#define NEWCOMER_DELAY NS_SEC /* new nodes mostly come in groups: wait for the others */
#define REGION_MAX 32

/* In a mesh of N nodes the k nodes closest to a key share about log2(N/k) leading bits with it; so many we share with the
 * farthest of our own k closest nodes. With two bits more, all keys of a region have nearly the same k closest nodes. */
unsigned place_region(const struct dht *d) {
  struct dht_contact near[DHT_K];
  size_t n = routing_closest(&d->table, &d->cfg.self.id, NULL, ROUTING_STALE, DHT_K, near);
  if (n < DHT_K) return 0;
  unsigned bits = common_bits(&d->cfg.self.id, &near[DHT_K - 1].id) + 2;
  return bits < REGION_MAX ? bits : REGION_MAX;
}

static void release(struct dht *d, struct publish_placement *at) {
  assert(!at || at->refs > 0);
  if (at && --at->refs == 0) mem_free(d->cfg.lookups_mem, at);
}

static struct publish_placement *placement_new(struct dht *d, const struct dht_contact *v, uint32_t count) {
  struct publish_placement *at = mem_alloc(d->cfg.lookups_mem, sizeof *at + count * sizeof *v);
  if (!at) return NULL;
  *at = (struct publish_placement){.refs = 1, .count = count};
  memcpy(at->c, v, count * sizeof *v);
  return at;
}

void place_detach(struct dht *d, struct publish_batch *b) {
  while (!list_empty(&b->waiting)) {
    struct query *q = container_of(b->waiting.next, struct query, of_user);
    list_remove(&q->of_user);
    q->batch = NULL;
  }
  assert(d->publish.in_flight >= b->in_flight);
  d->publish.in_flight -= b->in_flight;
  b->in_flight = 0;
  list_remove(&b->queue);
  release(d, b->at);
  b->at = NULL;
}

/* No STORE of this batch is in flight any more: plans its retry, if one is needed. */
static void finish(struct dht *d, struct publish_batch *b, nanotime now) {
  uint64_t wait = 0;
  list_remove(&b->queue);
  if (!b->missed || b->again || b->tries >= RETRIES_SAME) {
    release(d, b->at);
    b->at = NULL;
    b->missed = 0;
  }
  if (b->failed && b->tries < RETRIES) {
    wait = RETRY_FIRST << b->tries++;
  } else if (b->again) {
    wait = NEWCOMER_DELAY;
  }
  b->failed = b->again = false;
  /* if there is no memory for the timer, the next renewal stores it */
  if (wait) (void)heap_set(&d->publish.work, &b->work, now + wait);
}

/* The k closest nodes, and those that held one of the batch's records before it was withdrawn. */
static struct publish_placement *with_former(struct dht *d, const struct publish_batch *b, const struct publish_placement *at) {
  struct dht_contact v[PUBLISH_TARGETS];
  uint32_t n = at->count;
  memcpy(v, at->c, n * sizeof *v);
  list_for(l, &b->records) {
    const struct publish_former *f = container_of(l, struct publish_own, in)->former;
    for (uint32_t i = 0; f && i < f->count && n < PUBLISH_TARGETS; i++) {
      uint32_t k = 0;
      while (k < n && !id_eq(&v[k].id, &f->v[i]->c.id)) k++;
      if (k == n) v[n++] = f->v[i]->c;
    }
  }
  return placement_new(d, v, n);
}

void place_again(struct dht *d, struct publish_batch *b) {
  struct publish *p = &d->publish;
  if (b->at && !b->again) {
    b->todo = b->missed;
    b->missed = 0;
    list_append(&p->storing, &b->queue);
    return;
  }
  release(d, b->at);
  b->at = NULL;
  b->missed = 0;    /* its bits refer to the placement that was replaced */
  b->again = false; /* this placement includes the new nodes */
  list_append(&p->ready, &b->queue);
}

static void start_storing(struct dht *d, struct publish_batch *b, struct publish_placement *at) {
  struct publish_placement *own = b->withdraws ? with_former(d, b, at) : NULL;
  if (!own) { /* no former holders, or no memory to add them */
    own = at;
    own->refs++;
  }
  b->at = own;
  b->todo = b->missed = 0;
  for (uint32_t i = 0; i < own->count; i++)
    if (!holders_has(b, &own->c[i].id)) b->todo |= UINT64_C(1) << i;
  list_remove(&b->queue);
  list_append(&d->publish.storing, &b->queue);
}

static void retry(struct dht *d, struct publish_batch *b, nanotime now) {
  b->failed = true;
  finish(d, b, now);
}

/* The region lookup that this batch can share. */
static struct lookup *sharing(const struct dht *d, const struct publish_batch *b) {
  list_for(i, &d->active) {
    struct lookup *l = container_of(i, struct lookup, link);
    if (l->use == LOOKUP_PLACE && common_bits(&l->target, &b->key) >= l->region) return l;
  }
  return NULL;
}

/* The first id of the region. All batches of a region are stored around it, so on the same nodes however its records are
 * grouped, and a withdrawal reaches the nodes that have the record. */
static struct id region_start(const struct id *key, unsigned bits) {
  struct id id = {{0}};
  memcpy(id.b, key->b, bits / 8);
  if (bits % 8) id.b[bits / 8] = (uint8_t)(key->b[bits / 8] & ~(0xff >> bits % 8));
  return id;
}

/* False: too many lookups run, and the batch waits for one of them to end. */
static bool place_by_lookup(struct dht *d, struct publish_batch *b, unsigned region, nanotime now) {
  struct lookup *l = sharing(d, b);
  b->center = region_start(&b->key, region);
  b->region = (uint8_t)region;
  if (!l) {
    if (d->publish.placing >= PLACE_LOOKUPS) return false;
    if (lookup_start(d, &b->center, 0, LOOKUP_PLACE, now, &l)) {
      retry(d, b, now);
      return true;
    }
    l->region = region;
    d->publish.placing++;
    list_remove(&b->queue);
    list_append(&l->batches, &b->queue);
    lookup_step(d, l, now); /* the lookup may end at once, which places the batch */
    return true;
  }
  list_remove(&b->queue);
  list_append(&l->batches, &b->queue);
  return true;
}

void place_ready(struct dht *d, nanotime now) {
  struct publish *p = &d->publish;
  struct publish_placement *all = NULL;
  bool small = d->table.count < DHT_K;
  if (list_empty(&p->ready)) return;
  unsigned region = place_region(d);
  while (!list_empty(&p->ready)) {
    struct publish_batch *b = container_of(p->ready.next, struct publish_batch, queue);
    /* the mesh has grown, and its records now belong to different regions */
    if (b->bits < region && b->records.next != b->records.prev) {
      publish_dissolve(d, b);
      p->flush_at = now;
      continue;
    }
    if (!small) {
      if (!place_by_lookup(d, b, region, now)) break;
      continue;
    }
    if (!all) {
      struct dht_contact v[DHT_K];
      all = placement_new(d, v, (uint32_t)routing_closest(&d->table, &b->key, NULL, ROUTING_DEAD, DHT_K, v));
    }
    if (all)
      start_storing(d, b, all);
    else
      retry(d, b, now);
  }
  release(d, all);
}

void publish_placed(struct dht *d, struct lookup *l, nanotime now) {
  struct dht_contact v[DHT_K];
  struct publish_placement *at = placement_new(d, v, (uint32_t)lookup_nodes(l, DHT_K, v));
  assert(d->publish.placing > 0);
  d->publish.placing--;
  while (!list_empty(&l->batches)) {
    struct publish_batch *b = container_of(l->batches.next, struct publish_batch, queue);
    if (at && at->count)
      start_storing(d, b, at);
    else
      retry(d, b, now);
  }
  release(d, at);
  /* the next turn goes on, since this may be called from within a lookup */
  d->publish.flush_at = time_min(d->publish.flush_at, now);
}

static void send_store(struct dht *d, struct publish_batch *b) {
  unsigned i = (unsigned)__builtin_ctzll(b->todo);
  b->todo &= b->todo - 1;
  struct query *q = query_new(d, &b->at->c[i], MSG_STORE, QUERY_STORE);
  if (!q) {
    b->failed = true;
    b->missed |= UINT64_C(1) << i;
    return;
  }
  list_for(l, &b->records) container_of(l, struct publish_own, in)->was_sent = true;
  q->target = (uint8_t)i;
  q->batch = b;
  list_append(&b->waiting, &q->of_user);
  b->in_flight++;
  d->publish.in_flight++;
}

void place_pump(struct dht *d, nanotime now) {
  struct publish *p = &d->publish;
  while (!list_empty(&p->storing) && p->in_flight < STORES_AT_ONCE) {
    struct publish_batch *b = container_of(p->storing.next, struct publish_batch, queue);
    if (b->todo) {
      send_store(d, b);
    } else {
      list_remove(&b->queue); /* all STOREs were sent: only replies are awaited */
      if (b->in_flight == 0) finish(d, b, now);
    }
  }
}

static void answered(struct dht *d, struct publish_batch *b, nanotime now) {
  assert(b->in_flight > 0 && d->publish.in_flight > 0);
  b->in_flight--;
  d->publish.in_flight--;
  if (b->in_flight == 0 && b->todo == 0) finish(d, b, now);
  place_pump(d, now);
}

void publish_failed(struct dht *d, struct query *q, nanotime now) {
  struct publish_batch *b = q->batch;
  q->batch = NULL;
  b->failed = true;
  b->missed |= UINT64_C(1) << q->target;
  answered(d, b, now);
}

/* Whether a holder has a newer batch of ours than our last sequence: our state folder was lost, or the clock was set back.
 * Sequences then go on from that one. */
static bool takes_over(struct dht *d, const struct kad_msg *m) {
  struct kad_batch k;
  struct id publisher;
  if (!m->has_newer || !slice_eq(m->batch.spki, d->cfg.crypto.spki) || verify_batch(&d->verifier, &m->batch, &k, &publisher))
    return false;
  if (!id_eq(&publisher, &d->cfg.self.id) || k.seq <= d->publish.last_seq) return false;
  d->publish.last_seq = k.seq;
  return true;
}

void publish_reply(struct dht *d, struct query *q, const struct kad_msg *m, nanotime now) {
  struct publish_batch *b = q->batch;
  list_remove(&q->of_user);
  q->batch = NULL;
  if (m->code.p) d->publish.refused++;
  /* a holder that refused for another reason is not asked again before the next renewal */
  if (!m->has_newer) holders_add(d, b, &q->to);
  assert(b->in_flight > 0 && d->publish.in_flight > 0);
  b->in_flight--;
  d->publish.in_flight--;
  if (takes_over(d, m)) {
    publish_dissolve(d, b);
    d->publish.flush_at = now;
  } else if (b->in_flight == 0 && b->todo == 0) {
    finish(d, b, now);
  }
  place_pump(d, now);
}

void publish_again(struct dht *d, nanotime now) {
  struct publish *p = &d->publish;
  list_for(l, &p->batches) {
    struct publish_batch *b = container_of(l, struct publish_batch, all);
    b->again = true;
    if (list_empty(&b->queue) && !b->in_flight) (void)heap_set(&p->work, &b->work, now);
  }
}

/* Adds a node to a batch's placement, whether the batch is idle, is being stored, or waits for a retry. False: no memory, or
 * too many nodes. */
static bool add_target(struct dht *d, struct publish_batch *b, const struct dht_contact *c, struct publish_placement *alone) {
  struct dht_contact v[PUBLISH_TARGETS];
  struct publish_placement *at = alone;
  uint32_t n = b->at ? b->at->count : 0;
  if (n == PUBLISH_TARGETS) return false;
  if (n) {
    memcpy(v, b->at->c, n * sizeof *v);
    v[n] = *c;
    at = placement_new(d, v, n + 1);
  } else if (at) {
    at->refs++;
  }
  if (!at) return false;
  release(d, b->at);
  b->at = at; /* the nodes that were in it keep their indexes */
  if (list_empty(&b->queue) && !b->in_flight) {
    b->missed |= UINT64_C(1) << n;
    return true;
  }
  b->todo |= UINT64_C(1) << n;
  if (list_empty(&b->queue)) list_append(&d->publish.storing, &b->queue);
  return true;
}

void publish_newcomer(struct dht *d, const struct dht_contact *c, nanotime now) {
  struct publish *p = &d->publish;
  nanotime when = now + NEWCOMER_DELAY + rng_below(d->cfg.rng, NEWCOMER_DELAY);
  struct publish_placement *alone = NULL; /* a placement with only the new node, which most batches can share */
  unsigned region = d->table.count < DHT_K ? 0 : place_region(d);
  list_for(l, &p->batches) {
    struct publish_batch *b = container_of(l, struct publish_batch, all);
    bool waits = !list_empty(&b->queue) || b->in_flight || b->work.pos;
    /* a lookup for its holders runs, or the node is one already */
    if ((waits && !b->at) || !holders_wants(d, b, &c->id)) continue;
    if (region > b->region) { /* the mesh has doubled since: the batch's closest nodes may be others by now, so look them up */
      if (waits)
        b->again = true;
      else
        (void)heap_set(&p->work, &b->work, when);
      continue;
    }
    if (!b->at && !alone) alone = placement_new(d, c, 1);
    if (!add_target(d, b, c, alone)) b->again = true;
    if (!waits) (void)heap_set(&p->work, &b->work, when);
  }
  release(d, alone);
}
