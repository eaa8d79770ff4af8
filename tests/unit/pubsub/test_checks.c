/* What must hold of each table holds after each of many random steps, and is missed when it is broken. The tables hide their
 * entries: what is broken of these is reached through the lists that the tests can see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "bounded/htab.h"
#include "pubsub/dedup.h"
#include "pubsub/gets.h"
#include "pubsub/inflight.h"
#include "pubsub/interest.h"
#include "pubsub/retained.h"
#include "pubsub/topic_index.h"
#include "unit/broken.h"

#define STEPS 3000

static struct rng_seeded seeded;
static struct rng rng(void) {
  rng_seeded_init(&seeded, 32);
  return rng_seeded_view(&seeded);
}
static struct slice pick(struct rng r, const char *const *v, size_t n) { return slice_str(v[rng_below(r, n)]); }
static const char *const topics[] = {"a", "a.b", "a.b.c", "b", "b.c", "c.d.e.f"};
static const char *const patterns[] = {"a", "a.*", "a.**", "**", "*.b", "b.*.c", "b.**.d", "a.b.c", "**.**", "*.*"};
#define TOPIC(r) pick(r, topics, sizeof topics / sizeof topics[0])
#define PATTERN(r) pick(r, patterns, sizeof patterns / sizeof patterns[0])

/* ---- de-duplication -------------------------------------------------------------------------------------------------------
 */
static void dedup(void **state) {
  (void)state;
  struct mem m = MEM_INIT("dedup", 0);
  struct rng r = rng();
  struct dedup d;
  dedup_init(&d, &m, r, 40, 100);
  for (int step = 0; step < STEPS; step++) {
    struct dedup_key key = {.message_id = {(uint8_t)rng_below(r, 60)}};
    if (!dedup_seen(&d, &key, (nanotime)step)) assert_int_equal(dedup_add(&d, &key, (nanotime)step), 0);
    if (rng_below(r, 50) == 0) dedup_set_max(&d, 20 + (uint32_t)rng_below(r, 40), 100);
    HOLDS(dedup_check(&d));
    assert_int_equal(dedup_owned(&d), m.bytes);
  }
  struct entry {
    struct lru_link link;
    nanotime added;
    struct dedup_key key;
  } *first = container_of(d.lru.order.next, struct entry, link.age);
  assert_true(dedup_count(&d) > 2);
  BREAKS(first->key.message_id[1], 1, dedup_check(&d), "dedup: an id is not found");
  BREAKS(first->added, TIME_NEVER, dedup_check(&d), "dedup: the order is not that of arrival");
  BREAKS(d.lru.tab.count, 1, dedup_check(&d), "htab: more entries than counted");
  dedup_done(&d);
  assert_int_equal(m.bytes, 0);
}

/* ---- retained messages ----------------------------------------------------------------------------------------------------
 */
static void retained(void **state) {
  (void)state;
  struct mem m = MEM_INIT("retained", 0), payloads = MEM_INIT("payloads", 0);
  struct rng r = rng();
  struct retained t;
  struct retained_owner owners[2] = {0};
  retained_init(&t, &m, r, 5, 500);
  for (int step = 0; step < STEPS; step++) {
    struct shbuf *b = shbuf_new(&payloads, rng_below(r, 4) ? rng_below(r, 150) : 0);
    (void)retained_set(
        &t, &(struct retained_message){.topic = TOPIC(r), .payload = b, .owner = &owners[step % 2], .now = (nanotime)step});
    shbuf_unref(b);
    HOLDS(retained_check(&t));
    assert_int_equal(retained_owned(&t), m.bytes);
  }
  assert_true(retained_count(&t) > 1);
  struct retained_entry *first = container_of(t.all.next, struct retained_entry, all);
  BREAKS(t.bytes, t.bytes + 1, retained_check(&t), "retained: topics and payloads are not as many bytes as counted");
  BREAKS(first->topic[0], 'x', retained_check(&t), "retained: a topic is not found");
  BREAKS(first->payload, NULL, retained_check(&t), "retained: a topic without a message");
  BREAKS(first->seq, t.last_seq + 1, retained_check(&t), "retained: the list is not in order of arrival");
  list_remove(&first->all);
  assert_string_equal(retained_check(&t), "retained: a list does not hold what the table holds");
  list_prepend(&t.all, &first->all);
  retained_done(&t);
  assert_int_equal(m.bytes + payloads.bytes, 0);
}

/* ---- retained messages asked for ------------------------------------------------------------------------------------------
 */
struct get { /* as in gets.c */
  struct hlink h;
  struct list of_party, due, topics, sources;
  struct gets_party *to;
  uint64_t number;
  nanotime at;
};
struct told {
  struct hlink h;
  struct list of_get;
  uint64_t number, topic;
};

static void gets(void **state) {
  (void)state;
  struct mem m = MEM_INIT("gets", 0);
  struct rng r = rng();
  struct gets g;
  struct gets_party to[3];
  struct gets_node from[3];
  uint64_t numbers[8] = {0};
  gets_init(&g, &m, r, 8, 20, 100);
  for (int i = 0; i < 3; i++) {
    gets_party_init(&to[i], &to[i]);
    gets_node_init(&from[i], &from[i]);
  }
  for (int step = 0; step < STEPS; step++) {
    uint64_t *n = &numbers[rng_below(r, 8)];
    struct gets_source *s;
    switch (rng_below(r, 10)) {
    case 0:
      gets_stop(&g, &to[rng_below(r, 3)], PATTERN(r));
      break;
    case 1:
      if (rng_below(r, 10) == 0) gets_party_gone(&g, &to[rng_below(r, 3)]);
      break;
    case 2:
      if (rng_below(r, 4) == 0) gets_node_gone(&g, &from[rng_below(r, 3)]);
      break;
    case 3:
      gets_expire(&g, (nanotime)step);
      break;
    case 4:
      gets_set_max(&g, 6 + (uint32_t)rng_below(r, 4), 10 + (uint32_t)rng_below(r, 20));
      break;
    case 5:
    case 6:
      if ((s = gets_took(&g, *n, &from[rng_below(r, 3)], 1)) && list_empty(&s->full)) list_append(&g.full, &s->full);
      break;
    case 7:
      (void)gets_answer(&g, *n, TOPIC(r), (uint64_t)step, (nanotime)step);
      break;
    default:
      assert_int_equal(gets_begin(&g, &to[rng_below(r, 3)], PATTERN(r), (nanotime)step, n), 0);
    }
    HOLDS(gets_check(&g));
    assert_int_equal(gets_owned(&g), m.bytes);
  }
  gets_party_gone(&g, &to[0]);
  gets_party_gone(&g, &to[1]);
  gets_party_gone(&g, &to[2]);
  for (int i = 0; i < 3; i++) assert_int_equal(gets_begin(&g, &to[0], slice_str("a.*"), STEPS + i, &numbers[i]), 0);
  assert_non_null(gets_answer(&g, numbers[1], slice_str("a.b"), 1, STEPS + 9));
  struct gets_source *s = gets_took(&g, numbers[1], &from[0], 1);
  struct get *first = container_of(g.due.next, struct get, due), *last = container_of(g.due.prev, struct get, due);
  struct told *d = container_of(last->topics.next, struct told, of_get);
  BREAKS(first->number, 1, gets_check(&g), "gets: a subscription is not found by its number");
  BREAKS(first->at, TIME_NEVER, gets_check(&g), "gets: the deadlines are not in order");
  BREAKS(first->topics.next, &first->due, gets_check(&g), "gets: a list of a subscription is broken");
  BREAKS(last->to, &to[1], gets_check(&g), "gets: a subscription is in another subscriber's list");
  BREAKS(d->topic, d->topic + 1, gets_check(&g), "gets: a topic told is not found");
  BREAKS(g.topics.count, 2, gets_check(&g), "htab: fewer entries than counted");
  BREAKS(s->number, s->number + 1, gets_check(&g), "gets: a source is of another subscription");
  BREAKS(s->full.next, &g.full, gets_check(&g), "gets: those that wait for room are not as many as say so");
  list_remove(&s->of_node);
  assert_string_equal(gets_check(&g), "gets: a source is in no node's list");
  list_append(&from[0].all, &s->of_node);
  list_remove(&d->of_get);
  assert_string_equal(gets_check(&g), "gets: the topics told are not as many as counted");
  list_append(&last->topics, &d->of_get);
  list_remove(&first->of_party);
  assert_string_equal(gets_check(&g), "gets: a subscription is in no subscriber's list");
  list_prepend(&to[0].all, &first->of_party);
  list_remove(&first->due);
  assert_string_equal(gets_check(&g), "gets: the deadlines are not as many as the subscriptions");
  list_prepend(&g.due, &first->due);
  HOLDS(gets_check(&g));
  gets_done(&g);
  assert_int_equal(m.bytes, 0);
}

/* ---- QoS 1 in flight ------------------------------------------------------------------------------------------------------
 */
struct part { /* as in inflight.c */
  struct list of_node;
  void *entry;
  struct inflight_party *node;
};
struct flight {
  struct hlink h;
  struct list due;
  nanotime at;
  struct list of_publisher, done;
  struct inflight_party *publisher;
  uint64_t number, ref;
  int err;
  uint32_t left, count, known;
  uint32_t silent, unknown;
  uint64_t cut;
  struct part parts[];
};

static void inflight(void **state) {
  (void)state;
  enum { NODES = 4 };
  struct mem m = MEM_INIT("inflight", 0);
  struct rng r = rng();
  struct inflight f;
  struct inflight_party pub[2], node[NODES], *nodes[NODES];
  uint64_t numbers[16] = {0};
  struct inflight_result result;
  struct inflight_to to = {.nodes = nodes};
  inflight_init(&f, &m, r, 40, 12, 100);
  for (int i = 0; i < 2; i++) inflight_party_init(&pub[i], &pub[i]);
  for (int i = 0; i < NODES; i++) inflight_party_init(nodes[i] = &node[i], NULL);
  for (int step = 0; step < STEPS; step++) {
    uint64_t *n = &numbers[rng_below(r, 16)];
    switch (rng_below(r, 10)) {
    case 0:
      if (rng_below(r, 5) == 0) inflight_node_gone(&f, &node[rng_below(r, NODES)], MACULA_NO_ROUTE);
      if (rng_below(r, 5) == 0) inflight_node_silent(&f, &node[rng_below(r, NODES)]);
      break;
    case 1:
      if (rng_below(r, 5) == 0) inflight_publisher_gone(&f, &pub[rng_below(r, 2)]);
      break;
    case 2:
      inflight_expire(&f, (nanotime)step);
      break;
    case 3:
      (void)inflight_next(&f, &result);
      break;
    case 4:
    case 5:
      to.count = 1 + (uint32_t)rng_below(r, NODES);
      to.known = (uint32_t)rng_below(r, to.count + 1);
      (void)inflight_begin(&f, &pub[rng_below(r, 2)], 1, &to, (nanotime)step, n);
      break;
    default:
      inflight_answer(&f, *n, &node[rng_below(r, NODES)], rng_below(r, 10) ? 0 : MACULA_ENOMEM);
    }
    HOLDS(inflight_check(&f));
    assert_int_equal(inflight_owned(&f), m.bytes);
  }
  inflight_publisher_gone(&f, &pub[0]);
  inflight_publisher_gone(&f, &pub[1]);
  to.count = to.known = 3;
  for (int i = 0; i < 3; i++) assert_int_equal(inflight_begin(&f, &pub[0], 1, &to, STEPS + i, &numbers[i]), 0);
  inflight_answer(&f, numbers[2], &node[0], MACULA_ENOMEM); /* done, though two are still to answer */
  struct flight *e = container_of(f.due.next, struct flight, due);
  BREAKS(f.parts, 8, inflight_check(&f), "inflight: the pairs are not as many as counted");
  BREAKS(e->number, 1, inflight_check(&f), "inflight: a message is not found");
  BREAKS(e->at, TIME_NEVER, inflight_check(&f), "inflight: the deadlines are not in order");
  BREAKS(e->left, 2, inflight_check(&f), "inflight: the answers that a message lacks are not as many as counted");
  BREAKS(e->parts[1].entry, NULL, inflight_check(&f), "inflight: an answer is of another message");
  BREAKS(pub[0].count, 2, inflight_check(&f), "inflight: a publisher's messages are not as many as it counts");
  BREAKS(node[1].count, 2, inflight_check(&f), "inflight: what a node is to answer is not as much as it counts");
  struct flight *second = container_of(e->due.next, struct flight, due);
  BREAKS(second->publisher, &pub[1], inflight_check(&f), "inflight: a message is in another's list");
  BREAKS(second->parts[1].node, &node[2], inflight_check(&f), "inflight: what a node is to answer is in another's list");
  list_remove(&e->of_publisher);
  pub[0].count--;
  assert_string_equal(inflight_check(&f), "inflight: a message is in no publisher's list");
  pub[0].count++;
  list_prepend(&pub[0].all, &e->of_publisher);
  list_remove(&e->parts[0].of_node);
  node[0].count--;
  assert_string_equal(inflight_check(&f), "inflight: what a node is to answer is in no node's list");
  node[0].count++;
  list_prepend(&node[0].all, &e->parts[0].of_node);
  list_append(&f.done, &e->done);
  assert_string_equal(inflight_check(&f), "inflight: a message is neither due nor done, or both");
  list_remove(&e->done);
  for (int i = 0; i < 3; i++) {
    list_remove(&e->parts[i].of_node);
    node[i].count--;
    e->parts[i].node = NULL;
  }
  e->left = 0;
  assert_string_equal(inflight_check(&f), "inflight: a message that all have acknowledged is not done");
  inflight_done(&f);
  assert_int_equal(m.bytes, 0);
}

/* ---- who hears a topic ----------------------------------------------------------------------------------------------------
 */
struct node { /* as in topic_index.c */
  struct hlink h;
  struct node *parent;
  struct topic_sub *subs;
  uint64_t seen;
  struct topic_group *groups;
  uint32_t literals, sub_count;
  uint8_t flags, len;
  char seg[];
};
struct topic_sub {
  struct list of_subscriber;
  struct topic_sub *next, **at;
  struct topic_subscriber *subscriber;
  struct node *node;
  uint32_t flags;
};
struct topic_index {
  struct htab tab;
  struct mem *mem;
  struct node *root;
  uint32_t count;
};

static const char *const keys[] = {"a",     "a.*",  "a.**", "**",     "*.b",   "b.**.d",
                                   "a.b.c", "a.#g", "a.#h", "a.*.#g", "**.#g", "*.**.#h"};
#define KEY(r) pick(r, keys, sizeof keys / sizeof keys[0])

static void index_steps(struct topic_index *ix, struct mem *m, struct rng r, struct topic_subscriber s[4]) {
  for (int step = 0; step < STEPS; step++) {
    struct topic_subscriber *x = &s[rng_below(r, 4)];
    bool is_new;
    uint32_t left = 1000;
    uint64_t what = rng_below(r, 10);
    if (what == 0) (void)topic_index_drop(ix, x);
    if (what > 0 && what < 4) (void)topic_index_unsubscribe(ix, x, KEY(r));
    if (what == 4) (void)topic_index_match_within(ix, TOPIC(r), &left);
    if (what > 4) (void)topic_index_subscribe(ix, x, KEY(r), 0, &is_new);
    HOLDS(topic_index_check(ix));
    assert_int_equal(topic_index_owned(ix), m->bytes);
  }
}

static void trie(void **state) {
  (void)state;
  struct mem m = MEM_INIT("index", 0);
  struct rng r = rng();
  struct topic_index *ix;
  struct topic_subscriber s[4];
  bool is_new;
  assert_int_equal(topic_index_new(&m, r, 25, 8, &ix), 0);
  for (int i = 0; i < 4; i++) topic_subscriber_init(&s[i], (uint64_t)i, NULL);
  index_steps(ix, &m, r, s);
  for (int i = 0; i < 4; i++) (void)topic_index_drop(ix, &s[i]);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(topic_index_subscribe(ix, &s[i], slice_str("a.*.**"), 0, &is_new), 0);
    assert_int_equal(topic_index_subscribe(ix, &s[i], slice_str("b"), 0, &is_new), 0);
  }
  struct topic_sub *sub = container_of(s[0].subs.next, struct topic_sub, of_subscriber);
  struct topic_sub *other = container_of(s[0].subs.prev, struct topic_sub, of_subscriber);
  struct node *dstar = sub->node, *star = dstar->parent, *a = star->parent;
  BREAKS(ix->count, 3, topic_index_check(ix), "topic_index: the subscriptions are not as many as counted");
  BREAKS(s[0].count, 3, topic_index_check(ix), "topic_index: a subscriber's subscriptions are not as many as it counts");
  BREAKS(other->subscriber, &s[3], topic_index_check(ix), "topic_index: a subscription is in another subscriber's list");
  BREAKS(sub->node, a, topic_index_check(ix), "topic_index: a subscription is in another node's list");
  BREAKS(sub->at, NULL, topic_index_check(ix), "topic_index: a subscription is in another node's list");
  BREAKS(dstar->sub_count, 1, topic_index_check(ix), "topic_index: a node has more subscriptions than it counts");
  BREAKS(dstar->sub_count, 3, topic_index_check(ix), "topic_index: a node has fewer subscriptions than it counts");
  assert_int_equal(topic_index_subscribe(ix, &s[0], slice_str("b.#g"), 0, &is_new), 0);
  struct node *b = other->node, *group = container_of(s[0].subs.prev, struct topic_sub, of_subscriber)->node;
  BREAKS(b->groups, NULL, topic_index_check(ix), "topic_index: a group is not in its node's list");
  BREAKS(group->literals, 1, topic_index_check(ix), "topic_index: a group has no members, or children");
  assert_int_equal(topic_index_unsubscribe(ix, &s[0], slice_str("b.#g")), 0);
  BREAKS(ix->root->literals, 1, topic_index_check(ix),
         "topic_index: the nodes have other numbers of children than there are nodes");
  BREAKS(ix->root->literals, 0, topic_index_check(ix), "topic_index: a node's parent has no children");
  BREAKS(ix->root->subs, sub, topic_index_check(ix), "topic_index: the root is none");
  BREAKS(ix->root->flags, 1, topic_index_check(ix), "topic_index: a node does not know its child *");
  BREAKS(ix->root->flags, 2, topic_index_check(ix), "topic_index: a node does not know its child **");
  BREAKS(dstar->flags, 0, topic_index_check(ix), "topic_index: a node does not know that it is **");
  BREAKS(a->seg[0], 'x', topic_index_check(ix), "topic_index: a node is not found by its segment");
  struct topic_sub *subs = dstar->subs;
  dstar->subs = NULL;
  dstar->sub_count = 0;
  assert_string_equal(topic_index_check(ix), "topic_index: a node that holds nothing");
  dstar->subs = subs;
  dstar->sub_count = 2;
  list_remove(&sub->of_subscriber);
  s[0].count--;
  assert_string_equal(topic_index_check(ix), "topic_index: a subscription is in no subscriber's list");
  s[0].count++;
  list_prepend(&s[0].subs, &sub->of_subscriber);
  HOLDS(topic_index_check(ix));
  topic_index_free(ix);
  assert_int_equal(m.bytes, 0);
}

/* ---- interest -------------------------------------------------------------------------------------------------------------
 */
struct own { /* as in interest.c */
  struct interest_step at;
  struct hlink h;
  struct list removed;
  uint64_t changed;
  uint32_t count;
  uint8_t len;
  char pattern[];
};
struct interest {
  struct mem *mem, *own_mem;
  struct htab tab;
  struct list order, removed, peers;
  struct topic_index *others;
  uint64_t epoch, version, floor, digest, retained;
  uint32_t own_count, removed_count;
};

static void interest(void **state) { /* random steps: test_interest.c and test_interest_removals.c */
  (void)state;
  struct mem m = MEM_INIT("interest", 0), own_mem = MEM_INIT("own", 0);
  struct interest_config cfg = {
      .own_mem = &own_mem, .mem = &m, .rng = rng(), .max_own = 10, .max_removed = 10, .max_patterns = 10, .max_peer = 10};
  struct interest *i, *they;
  struct interest_peer p, q;
  struct slice payload;
  uint8_t type;
  size_t own_bytes, bytes;
  assert_int_equal(interest_new(&cfg, &i), 0);
  interest_peer_init(i, &p, &(struct id){{1}}, NULL);
  interest_link(&p, true, true);
  for (int k = 0; k < 4; k++) assert_int_equal(interest_add(i, slice_str(patterns[k])), 0);
  interest_remove(i, slice_str(patterns[1]));
  interest_remove(i, slice_str(patterns[2]));
  interest_owned(i, &own_bytes, &bytes);
  assert_int_equal(own_bytes, own_mem.bytes);
  assert_int_equal(bytes, m.bytes);
  struct mem m2 = MEM_INIT("they", 0);
  cfg.own_mem = cfg.mem = &m2;
  assert_int_equal(interest_new(&cfg, &they), 0);
  interest_peer_init(they, &q, &(struct id){{2}}, NULL);
  interest_link(&q, true, true);
  assert_int_equal(interest_add(they, slice_str("x.y")), 0);
  assert_true(interest_next(i, &p, 2000, &type, &payload)); /* what we know of them */
  assert_int_equal(interest_recv(they, &q, type, payload), 0);
  while (interest_next(they, &q, 2000, &type, &payload)) assert_int_equal(interest_recv(i, &p, type, payload), 0);
  HOLDS(interest_tables_check(i));
  HOLDS(interest_tables_check(they));
  struct own *first = container_of(i->order.next, struct own, at.l), *last = container_of(i->order.prev, struct own, at.l);
  BREAKS(i->digest, i->digest + 1, interest_tables_check(i), "interest: the digest is not that of our patterns");
  BREAKS(i->own_count, 3, interest_tables_check(i), "interest: patterns and removals are not as many as counted");
  BREAKS(i->floor, i->version, interest_tables_check(i), "interest: a removal that had to go is still there");
  BREAKS(i->version, 2, interest_tables_check(i), "interest: the changes are not in order");
  BREAKS(first->changed, last->changed, interest_tables_check(i), "interest: the changes are not in order");
  BREAKS(first->pattern[0], 'x', interest_tables_check(i), "interest: a pattern of ours is not found");
  BREAKS(first->count, 0, interest_tables_check(i), "interest: a pattern is held and removed, or neither");
  BREAKS(p.told, i->version + 1, interest_tables_check(i), "interest: a peer was told what has not happened");
  BREAKS(p.digest, p.digest + 1, interest_tables_check(i), "interest: a peer's digest is not that of its patterns");
  BREAKS(p.generation, p.generation + 1, interest_tables_check(i),
         "interest: a pattern that a reset did not name is still there");
  list_insert(&last->at.l, &p.at.l);
  p.told = last->changed - 1;
  BREAKS(p.told, i->version, interest_tables_check(i), "interest: a cursor stands before what it was told");
  BREAKS(p.told, 0, interest_tables_check(i), "interest: a cursor stands behind what it was not told, or is of no link");
  BREAKS(p.linked, false, interest_tables_check(i), "interest: a cursor stands behind what it was not told, or is of no link");
  list_remove(&p.at.l);
  list_remove(&p.all);
  assert_string_equal(interest_tables_check(i), "interest: removals, and nobody to tell");
  list_append(&i->peers, &p.all);
  HOLDS(interest_tables_check(i));
  interest_peer_done(i, &p);
  interest_peer_done(they, &q);
  interest_free(i);
  interest_free(they);
  assert_int_equal(m.bytes + own_mem.bytes + m2.bytes, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(dedup),    cmocka_unit_test(retained), cmocka_unit_test(gets),
                                     cmocka_unit_test(inflight), cmocka_unit_test(trie),     cmocka_unit_test(interest)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
