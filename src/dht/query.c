/* Requests that wait for their reply, and frames that wait to be sent. A query has an id of 8 random bytes and belongs to one
 * peer: an answer that comes too late, or from another peer, matches no query. */
#include <assert.h>

#include "base/err.h"
#include "dht/distance.h"
#include "dht/internal.h"
#include "wire/msg.h"

struct query *query_new(struct dht *d, const struct dht_contact *to, uint8_t type, enum query_use use) {
  struct query *q = mem_calloc(d->cfg.lookups_mem, 1, sizeof *q);
  if (!q) return NULL;
  q->to = *to;
  q->type = type;
  q->use = use;
  list_init(&q->out);
  list_init(&q->of_user);
  do q->id = rng_u64(d->cfg.rng);
  while (q->id == 0 || query_find(d, q->id)); /* 0 says "a reply" in dht_out */
  if (htab_insert(&d->queries, &q->h, &q->id, sizeof q->id)) goto no_memory;
  if (heap_set(&d->query_due, &q->due, time_add(d->now, d->cfg.query_timeout / 4))) {
    htab_remove(&d->queries, &q->h);
    goto no_memory;
  }
  list_append(&d->query_out, &q->out);
  d->pings += use == QUERY_PING;
  d->query_count++;
  return q;
no_memory:
  mem_free(d->cfg.lookups_mem, q);
  return NULL;
}

void query_free(struct dht *d, struct query *q) {
  htab_remove(&d->queries, &q->h);
  heap_remove(&d->query_due, &q->due);
  list_remove(&q->out);
  list_remove(&q->of_user);
  assert(q->use != QUERY_PING || d->pings > 0);
  d->pings -= q->use == QUERY_PING;
  mem_free(d->cfg.lookups_mem, q);
}

struct query *query_find(const struct dht *d, uint64_t id) {
  struct hlink *h = htab_find(&d->queries, &id, sizeof id);
  return h ? container_of(h, struct query, h) : NULL;
}

void query_failed(struct dht *d, struct query *q, nanotime now) {
  struct dht_contact ping;
  bool want;
  d->query_failed++;
  routing_failed(&d->table, &q->to.id, now, &ping, &want);
  list_remove(&q->of_user);
  if (q->lookup)
    lookup_failed(d, q, now);
  else if (q->batch)
    publish_failed(d, q, now);
  query_free(d, q);
  dht_table_ping(d, &ping, want);
}

void query_tick(struct dht *d, nanotime now) {
  for (struct heap_link *l; (l = heap_pop_due(&d->query_due, now));) {
    struct query *q = container_of(l, struct query, due);
    if (q->slow) {
      query_failed(d, q, now);
      continue;
    }
    q->slow = true;
    (void)heap_set(&d->query_due, &q->due, time_add(l->at, d->cfg.query_timeout - d->cfg.query_timeout / 4));
    if (q->lookup) lookup_slow(d, q, now);
  }
}

void dht_ping(struct dht *d, const struct dht_contact *c) {
  if (d->pings < QUERY_MAX_PINGS) (void)query_new(d, c, MSG_FIND_NODE, QUERY_PING);
}

void answer_push(struct dht *d, const struct dht_contact *to, uint8_t type, const struct kad_msg *m) {
  size_t n = kad_encode(type, m, NULL, 0);
  struct answer *a = NULL;
  if (d->answer_count < ANSWER_MAX && d->answer_bytes + n <= ANSWER_BYTES) a = mem_alloc(d->cfg.lookups_mem, sizeof *a + n);
  if (!a) {
    d->dropped++;
    return;
  }
  a->to = *to;
  a->type = type;
  a->len = kad_encode(type, m, a->payload, n);
  list_init(&a->out);
  list_append(&d->answers, &a->out);
  d->answer_count++;
  d->answer_bytes += n;
}

static struct slice request_payload(struct dht *d, const struct query *q) {
  struct kad_msg m = {.query = q->id, .page = q->page};
  switch (q->use) {
  case QUERY_PING:
    m.key = q->to.id;
    break;
  case QUERY_LOOKUP:
    m.key = q->lookup->target;
    m.kind = q->lookup->kind;
    break;
  case QUERY_STORE:
    m.batch = publish_batch_view(q->batch, d);
    break;
  }
  return slice_of(d->scratch, kad_encode(q->type, &m, d->scratch, sizeof d->scratch));
}

bool dht_next(struct dht *d, struct dht_out *ret_out) {
  mem_free(d->cfg.lookups_mem, d->handed);
  d->handed = NULL;
  if (!list_empty(&d->answers)) {
    struct answer *a = container_of(d->answers.next, struct answer, out);
    list_remove(&a->out);
    assert(d->answer_count > 0 && d->answer_bytes >= a->len);
    d->answer_count--;
    d->answer_bytes -= a->len;
    d->handed = a;
    *ret_out = (struct dht_out){a->to, a->type, 0, slice_of(a->payload, a->len)};
    return true;
  }
  while (!list_empty(&d->query_out)) {
    struct query *q = container_of(d->query_out.next, struct query, out);
    list_remove(&q->out);
    if (q->use == QUERY_PING || q->lookup || q->batch) {
      *ret_out = (struct dht_out){q->to, q->type, q->id, request_payload(d, q)};
      return true;
    }
    query_free(d, q); /* its lookup or batch has ended */
  }
  return false;
}

void dht_unsent(struct dht *d, const struct id *to, uint64_t query, nanotime now) {
  d->now = now;
  struct query *q = query_find(d, query);
  if (q && id_eq(&q->to.id, to)) query_failed(d, q, now);
}
