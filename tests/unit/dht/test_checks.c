/* What must hold of a node of a mesh is missed when it is broken; that it holds is seen in all tests of this folder (net.h). */
#include "dht/internal.h"

#include "net.h"

static struct net t;
static struct dht *d;

/* A mesh of 40 in which node 0 has published, withdrawn, asked and been asked. */
static void setup(void) {
  net_init(&t, 41, 40);
  net_start_all(&t);
  d = t.v[0].d;
  for (unsigned i = 0; i < 40; i++) {
    struct id key = test_key_n("k", i);
    node_publish(&t, 0, &key, DHT_SERVICE, 300);
    node_publish(&t, i, &key, DHT_SUBSCRIPTION, 300);
  }
  net_run(&t, 10 * NS_SEC);
  for (unsigned i = 0; i < 5; i++) {
    struct id key = test_key_n("k", i);
    assert_int_equal(dht_withdraw(d, &key, DHT_SERVICE, t.now), 0);
  }
  net_run(&t, 10 * NS_SEC);
}
static void teardown(void) {
  HOLDS(dht_check(d));
  net_done(&t);
}

#define SEES(what, wrong, text) BREAKS(what, wrong, dht_check(d), text)

static void routing(void **state) {
  (void)state;
  setup();
  unsigned i = 0, k = 0;
  while (!d->table.b[i]) i++;
  while (k == i || (k < ROUTING_BUCKETS && !d->table.b[k])) k++;
  struct routing_bucket *b = d->table.b[i], *other = d->table.b[k];
  assert_true(b->count > 1 && b->count < DHT_K);
  SEES(d->table.count, d->table.count + 1, "routing: the contacts are not as many as counted");
  SEES(b->count, DHT_K + 1, "routing: a bucket holds more than it may");
  SEES(b->count, 0, "routing: an empty bucket");
  SEES(b->cached, 1, "routing: a contact waits in a cache though its bucket has room");
  SEES(b->v[0], other->v[0], "routing: a contact is in a bucket of another distance");
  SEES(b->v[0], b->v[1], "routing: a contact is in its bucket twice");
  SEES(b->v[0].c.addr.sa.sa_family, 0, "routing: a contact cannot be reached");
  SEES(b->v[0].fails, ROUTING_DEAD, "routing: a dead contact is still there");
  teardown();
}

static void publish(void **state) {
  (void)state;
  setup();
  struct publish *p = &d->publish;
  struct publish_batch *b = container_of(p->batches.next, struct publish_batch, all);
  struct publish_own *o = container_of(b->records.next, struct publish_own, in);
  SEES(p->live, p->live + 1, "publish: the withdrawn are not as many as counted");
  SEES(p->dirty_count, 1, "publish: the dirty are not as many as counted");
  SEES(p->in_flight, p->in_flight + 1, "publish: the STOREs are not as many as counted");
  SEES(p->placing, p->placing + 1, "publish: the lookups of holders are not as many as counted");
  SEES(o->withdrawn, !o->withdrawn, "publish: a withdrawn record is not in the list of those");
  SEES(o->k.key.b[9], (uint8_t)(o->k.key.b[9] + 1), "publish: a record of ours is not found");
  SEES(o->batch, NULL, "publish: a record is of another batch");
  SEES(b->due.pos, 0, "heap: an entry does not know its place");
  SEES(b->work.pos, 100, "publish: a batch's work is not where it says");
  SEES(b->in_flight, b->in_flight + 1, "publish: the STOREs of a batch are not as many as counted");
  SEES(b->missed, UINT64_C(1) << 63, "publish: a batch is to be sent to nobody");
  SEES(b->holder_count, (uint8_t)(b->holder_count - 1), "publish: a holder does not hold as much as counted");
  SEES(b->holders[0]->refs, b->holders[0]->refs + 1, "publish: a holder does not hold as much as counted");
  SEES(b->holders[0]->refs, 0, "publish: a holder that holds nothing");
  SEES(b->holders[0]->c.id.b[3], (uint8_t)~b->holders[0]->c.id.b[3], "publish: a holder is not found");
  struct publish_former *f = NULL;
  list_for(it, &p->gone) f =
      container_of(it, struct publish_own, gone)->former ? container_of(it, struct publish_own, gone)->former : f;
  assert_non_null(f);
  SEES(f->count, f->count - 1, "publish: a holder does not hold as much as counted");
  SEES(f->refs, 0, "publish: former holders of what is not withdrawn, or too many");
  list_remove(&o->in);
  assert_string_equal(dht_check(d), "publish: a record of ours is neither dirty nor of a batch");
  list_append(&p->dirty, &o->in);
  o->batch = NULL;
  p->dirty_count++;
  assert_true(p->flush_at == TIME_NEVER);
  if (!list_empty(&b->records)) assert_string_equal(dht_check(d), "publish: dirty records are never signed");
  p->dirty_count--;
  o->batch = b;
  list_remove(&o->in);
  list_prepend(&b->records, &o->in);
  struct list elsewhere;
  list_init(&elsewhere);
  assert_true(list_empty(&b->queue));
  list_append(&elsewhere, &b->queue);
  assert_string_equal(dht_check(d), "publish: a batch is in another queue");
  list_remove(&b->queue);
  teardown();
}

static void lookups_and_queries(void **state) {
  (void)state;
  setup();
  struct id nobody = test_key("nobody");
  uint64_t id;
  struct dht_out out;
  assert_int_equal(dht_lookup(d, &nobody, DHT_SERVICE, 1, t.now, &id), 0);
  struct lookup *l = container_of(d->active.next, struct lookup, link);
  struct query *q = container_of(l->waiting.next, struct query, of_user);
  SEES(l->id, l->id + 1, "lookup: one of the user's is not found");
  SEES(l->found, NULL, "lookup: one for nodes looks for records, or one for records does not");
  SEES(l->found->count, LOOKUP_PROVIDERS + 1, "lookup: more records than it keeps");
  SEES(l->considered, l->count - 1, "lookup: more candidates than it keeps");
  SEES(l->in_flight, l->in_flight + 1, "lookup: the queries in flight are not as many as counted");
  SEES(l->v[0].c.id, d->cfg.self.id, "lookup: we are a candidate ourselves");
  SEES(l->v[0].c.id, l->v[2].c.id, "lookup: the candidates are not nearest first");
  SEES(l->use, LOOKUP_JOIN, "lookup: the lookups are not as many as counted");
  SEES(d->internal, d->internal + 1, "lookup: the lookups are not as many as counted");
  SEES(d->joining, true, "lookup: we join without a lookup, or with more than one");
  SEES(q->lookup, NULL, "query: one that is waited for is in no list, or the reverse");
  SEES(q->id, q->id + 1, "query: one is not found");
  SEES(q->use, QUERY_STORE, "query: one is of another use");
  SEES(d->pings, d->pings + 1, "query: the pings are not as many as counted");
  SEES(q->due.pos, 0, "heap: an entry does not know its place");
  list_remove(&q->out);
  HOLDS(dht_check(d)); /* as if it had been sent */
  struct list elsewhere;
  list_init(&elsewhere);
  list_append(&elsewhere, &q->out);
  assert_string_equal(dht_check(d), "query: those that wait to be sent are not as many as say so");
  list_remove(&q->out);
  struct kad_msg m = {.query = 7, .key = nobody};
  uint8_t ping[200];
  size_t n = kad_encode(MSG_FIND_NODE, &m, ping, sizeof ping);
  assert_int_equal(dht_recv(d, &t.v[1].self, MSG_FIND_NODE, slice_of(ping, n), t.now), 0);
  SEES(d->answer_count, 2, "answer: they are not as many as counted, or too many");
  SEES(d->answer_bytes, 0, "answer: they are not as many bytes as counted, or too many");
  struct dht_peer *peer = container_of(lru_oldest(&d->peers), struct dht_peer, l);
  SEES(peer->id.b[2], (uint8_t)~peer->id.b[2], "dht: a peer is not found");
  SEES(peer->find.tokens, 1e9, "dht: a peer may ask more than its burst");
  SEES(d->stores.tokens, 1e9, "dht: all peers may ask more than their burst");
  SEES(d->store.live.count, d->store.live.count - 1, "store: a record has no end");
  SEES(d->verifier.seen.tab.count, 0, "htab: more entries than counted");
  while (dht_next(d, &out)) {
  }
  teardown();
}

/* A placement that is dropped for a new one: what was missed of it would name nodes of the next, or none at all. */
static void what_was_missed_goes_with_its_placement(void **state) {
  (void)state;
  setup();
  struct publish_batch *b = container_of(d->publish.batches.next, struct publish_batch, all);
  assert_null(b->at);
  b->at = mem_calloc(&t.v[0].lookups, 1, sizeof *b->at + 6 * sizeof b->at->c[0]);
  b->at->refs = 1;
  b->at->count = 6;
  b->missed = UINT64_C(1) << 5;
  b->again = true;
  place_again(d, b);
  assert_null(b->at);
  HOLDS(dht_check(d));
  teardown();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(routing), cmocka_unit_test(publish),
                                     cmocka_unit_test(lookups_and_queries),
                                     cmocka_unit_test(what_was_missed_goes_with_its_placement)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
