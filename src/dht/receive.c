/* Frames of other nodes: answers their requests, and passes replies to the lookup or batch whose query they answer. */
#include "base/err.h"
#include "dht/distance.h"
#include "dht/internal.h"
#include "wire/msg.h"

void dht_table_ping(struct dht *d, const struct dht_contact *ping, bool want) {
  if (want) dht_ping(d, ping);
}

/* Whether a contact that another node tells of may be used. It is dialled only with its id pinned, so a wrong address does
 * little harm; but an address that no node can have is refused. */
bool dht_contact_ok(const struct kad_contact *c, const struct dht_contact *told_by) {
  const struct addr *a = &c->addr;
  if (id_is_zero(&c->id)) return false;
  if (!addr_is_set(a)) return !id_is_zero(&c->gateway) && !id_eq(&c->gateway, &c->id);
  if (!addr_can_be_node(a)) return false;
  /* A loopback address from a node on another machine means that machine, not ours. */
  return !addr_is_loopback(a) || !addr_is_set(&told_by->addr) || addr_is_loopback(&told_by->addr);
}

static void heard(struct dht *d, const struct dht_contact *c, nanotime now) {
  struct dht_contact ping;
  bool want;
  enum routing_seen s = routing_seen(&d->table, c, now, &ping, &want);
  dht_table_ping(d, &ping, want);
  if (s != ROUTING_ADDED && s != ROUTING_CACHED) return;
  if (s == ROUTING_ADDED && d->table.count == 1) d->settled_at = now + DHT_SETTLE;
  publish_newcomer(d, c, now);
}

/* ---- requests -------------------------------------------------------------------------------------------------------------
 */
static struct dht_peer *peer_of(struct dht *d, const struct id *id) {
  struct lru_link *l = lru_find(&d->peers, id, sizeof *id), *out = NULL;
  if (l) {
    lru_touch(&d->peers, l);
    return container_of(l, struct dht_peer, l);
  }
  struct dht_peer *p = mem_calloc(d->cfg.table_mem, 1, sizeof *p);
  if (!p) return NULL;
  p->id = *id;
  int err = lru_insert(&d->peers, &p->l, &p->id, sizeof p->id, &out);
  if (out) mem_free(d->cfg.table_mem, container_of(out, struct dht_peer, l));
  if (!err) return p;
  mem_free(d->cfg.table_mem, p);
  return NULL;
}

static bool may_ask(struct dht *d, const struct id *id, bool store, nanotime now) {
  struct dht_peer *p = peer_of(d, id);
  double rate = store ? d->cfg.store_rate : d->cfg.find_rate;
  bool may = p && bucket_take(store ? &p->store : &p->find, rate, rate * 4, now);
  if (may && store) may = bucket_take(&d->stores, rate * 4, rate * 16, now);
  if (may) return true;
  d->refused_rate++;
  return false; /* without memory to count its requests, a peer may send none */
}

/* What verifying with a key costs, in units of a P-256 signature (0.3 ms): P-521 takes 1.2 ms, the longest RSA key that fits
 * 0.5 ms. */
static double cost_of(struct slice spki) { return spki.n <= 100 ? 1 : spki.n <= 200 ? 4 : 2; }

/* Honest nodes verify a record before they pass it on, so a peer pays extra tokens for each one with a bad signature. */
#define BAD_COSTS 20

/* paid: tokens that were taken from both buckets already. */
static int verify_for(struct dht *d, struct bucket *of_peer, struct bucket *of_all, double paid, const struct kad_signed *s,
                      struct kad_batch *ret_batch, struct id *ret_publisher) {
  uint64_t done = d->verifier.done;
  int err = verify_batch(&d->verifier, s, ret_batch, ret_publisher);
  if (d->verifier.done == done) return err; /* it was in the cache, or was refused before any signature was computed */
  double cost = cost_of(s->spki) - paid;
  of_peer->tokens -= cost + (err ? BAD_COSTS : 0);
  of_all->tokens -= cost;
  return err;
}

int dht_verify_found(struct dht *d, const struct id *from, const struct kad_signed *s, struct kad_batch *ret_batch,
                     struct id *ret_publisher, nanotime now) {
  double rate = d->cfg.store_rate;
  struct dht_peer *p = peer_of(d, from);
  if (!p || bucket_level(&p->store, rate, rate * 4, now) < 1 || bucket_level(&d->found, rate * 4, rate * 16, now) < 1) {
    d->refused_rate++;
    return MACULA_RATE_LIMITED;
  }
  return verify_for(d, &p->store, &d->found, 0, s, ret_batch, ret_publisher);
}

static size_t nearest(const struct dht *d, const struct dht_contact *from, const struct id *target,
                      struct kad_contact ret[DHT_K]) {
  struct dht_contact near[DHT_K];
  size_t n = routing_closest(&d->table, target, &from->id, ROUTING_STALE, DHT_K, near);
  for (size_t i = 0; i < n; i++) ret[i] = contact_out(&near[i]);
  return n;
}

static void serve_find_node(struct dht *d, const struct dht_contact *from, const struct kad_msg *m) {
  struct kad_contact near[DHT_K];
  struct kad_msg r = {.query = m->query, .nodes = near};
  r.node_count = (uint32_t)nearest(d, from, &m->key, near);
  answer_push(d, from, MSG_FIND_NODE_REPLY, &r);
}

/* A page of a key's batches: those with a living record first, the newest at the front, then tombstones. */
static void fill_page(const struct store_key *k, uint32_t page, nanotime now, struct kad_signed ret[KAD_PAGE],
                      struct kad_msg *r) {
  uint64_t at = 0, first = (uint64_t)page * KAD_PAGE;
  const struct list *both[2] = {&k->live, &k->dead};
  if (first >= (uint64_t)k->live_count + k->dead_count) return;
  for (int i = 0; i < 2; i++)
    for (struct list *l = both[i]->next; l != both[i]; l = l->next, at++) {
      if (at < first) continue;
      if (r->batch_count == KAD_PAGE) {
        r->more = true;
        return;
      }
      ret[r->batch_count++] = store_batch_view(container_of(l, struct store_record, of_key)->batch, now);
    }
}

static void serve_find_value(struct dht *d, const struct dht_contact *from, const struct kad_msg *m, nanotime now) {
  struct kad_contact near[DHT_K];
  struct kad_signed batches[KAD_PAGE];
  struct kad_msg r = {.query = m->query, .nodes = near, .batches = batches};
  store_expire(&d->store, now);
  struct store_key *k = store_find(&d->store, &m->key, m->kind);
  if (k) fill_page(k, m->page, now, batches, &r);
  if (m->page == 0 && !(k && k->live_count)) r.node_count = (uint32_t)nearest(d, from, &m->key, near);
  answer_push(d, from, MSG_FIND_VALUE_REPLY, &r);
}

static void serve_store(struct dht *d, const struct dht_contact *from, const struct kad_msg *m, nanotime now) {
  struct kad_batch b;
  struct id publisher;
  struct store_put put = {0};
  struct kad_msg r = {.query = m->query};
  store_expire(&d->store, now);
  struct dht_peer *p = peer_of(d, &from->id); /* its record exists since a token was taken for the request */
  int err = p ? verify_for(d, &p->store, &d->stores, 1, &m->batch, &b, &publisher) : MACULA_ENOMEM;
  if (!err && id_eq(&publisher, &d->cfg.self.id)) {
    /* A batch of our own, from an earlier run or sent back to us: it is not stored, but later sequences must be higher. */
    if (b.seq > d->publish.last_seq) d->publish.last_seq = b.seq;
  } else if (!err) {
    err = store_put(&d->store, &m->batch, &b, &publisher, now, &put);
  }
  if (err) r.code = slice_str(macula_err_name(err));
  if (put.newer) {
    r.has_newer = true;
    r.batch = store_batch_view(put.newer, now);
  }
  answer_push(d, from, MSG_STORE_REPLY, &r);
}

/* ---- replies --------------------------------------------------------------------------------------------------------------
 */
static uint8_t reply_type(uint8_t request) {
  return request == MSG_FIND_NODE ? MSG_FIND_NODE_REPLY : request == MSG_STORE ? MSG_STORE_REPLY : MSG_FIND_VALUE_REPLY;
}

static void take_reply(struct dht *d, const struct dht_contact *from, uint8_t type, struct kad_msg *m, nanotime now) {
  struct query *q = query_find(d, m->query);
  if (!q || !id_eq(&q->to.id, &from->id) || reply_type(q->type) != type) {
    d->dropped++; /* too late, or an answer to another node's query */
    return;
  }
  struct dht_contact c = addr_is_set(&from->addr) || !id_is_zero(&from->gateway) ? *from : q->to;
  if (q->lookup)
    lookup_reply(d, q, &c, m, now);
  else if (q->batch)
    publish_reply(d, q, m, now);
  query_free(d, q);
  heard(d, &c, now);
}

int dht_recv(struct dht *d, const struct dht_contact *from, uint8_t type, struct slice payload, nanotime now) {
  struct kad_msg m;
  d->now = now;
  if (id_eq(&from->id, &d->cfg.self.id)) return MACULA_EINVAL;
  bool request = type == MSG_FIND_NODE || type == MSG_FIND_VALUE || type == MSG_STORE;
  if (request && !may_ask(d, &from->id, type == MSG_STORE, now)) return MACULA_RATE_LIMITED;
  int err = kad_decode(type, payload, &m);
  if (err) {
    d->refused_bad++;
    return err;
  }
  if (!request) {
    take_reply(d, from, type, &m, now);
    return 0;
  }
  d->served++;
  if (type == MSG_FIND_NODE)
    serve_find_node(d, from, &m);
  else if (type == MSG_FIND_VALUE)
    serve_find_value(d, from, &m, now);
  else
    serve_store(d, from, &m, now);
  heard(d, from, now);
  return 0;
}

void dht_seen(struct dht *d, const struct dht_contact *c, nanotime now) {
  d->now = now;
  heard(d, c, now);
}

/* The first unsent query to this node. */
static struct query *query_to(const struct dht *d, const struct id *id) {
  for (uint32_t i = 0; i < d->query_due.count; i++) {
    struct query *q = container_of(d->query_due.v[i], struct query, due);
    if (id_eq(&q->to.id, id)) return q;
  }
  return NULL;
}

void dht_gone(struct dht *d, const struct id *id, nanotime now) {
  d->now = now;
  routing_gone(&d->table, id);
  holders_forget(d, id);
  for (struct query *q; (q = query_to(d, id));) query_failed(d, q, now);
}
