#include "node/session/tally.h"

#include <assert.h>
#include <stdio.h>

#include "base/check.h"
#include "base/err.h"
#include "node/session/session.h"

#define REASON_MOST 32u
#define KEY_MOST (sizeof(uint64_t) + REASON_MOST + NAME_MAX_LEN)

static struct drop *drop_of(struct list *l) { return container_of(l, struct drop, l.age); }

/* Serial, why with its NUL, topic. */
static size_t key_of(uint64_t serial, const char *reason, struct slice topic, uint8_t ret[KEY_MOST]) {
  size_t len = sizeof serial, why = strlen(reason) + 1;
  assert(why <= REASON_MOST && topic.n <= NAME_MAX_LEN);
  memcpy(ret, &serial, len);
  memcpy(ret + len, reason, why);
  memcpy(ret + len + why, topic.p, topic.n);
  return len + why + topic.n;
}

static bool eq(const struct hlink *h, const void *key, size_t len) {
  const struct drop *d = container_of(h, struct drop, l.h);
  uint8_t own[KEY_MOST];
  return key_of(d->serial, d->reason, slice_of(d->topic, d->len), own) == len && memcmp(own, key, len) == 0;
}

void tally_init(struct node *n) {
  struct tallies *t = &n->tally;
  t->published.random = t->lost.random = rng_u64(n->rng) | 1;
  heavy_init(&t->topics, &n->rows.mem[ROW_TALLY], n->rng);
  lru_init(&t->drops, &n->rows.mem[ROW_DROPS], n->rng, DROPS_MAX, eq);
}

void tally_done(struct node *n) {
  struct tallies *t = &n->tally;
  heavy_done(&t->topics);
  if (!t->drops.order.next) return;
  while (!list_empty(&t->drops.order)) {
    struct drop *d = drop_of(t->drops.order.next);
    lru_remove(&t->drops, &d->l);
    mem_free(&n->rows.mem[ROW_DROPS], d);
  }
  lru_done(&t->drops);
}

static void add(struct node *n, struct slice topic, enum heavy_count what, uint64_t count) {
  struct heavy_entry *e = heavy_find(&n->tally.topics, topic, (double)count, n->now);
  if (e) heavy_add(e, what, count, n->now);
}

void tally_count(struct node *n, struct slice topic, uint64_t bytes, uint32_t stands_for) {
  struct heavy_entry *e = heavy_find(&n->tally.topics, topic, stands_for, n->now);
  if (!e) return;
  heavy_add(e, HEAVY_MESSAGES, stands_for, n->now);
  heavy_add(e, HEAVY_BYTES, bytes * stands_for, n->now);
}

/* ---- what was lost ---------------------------------------------------------------------------------------------------------
 */
struct loser {
  uint64_t serial; /* 0: another node */
  struct id id;
  const char *name; /* may be NULL */
  enum drop_who who;
};

/* NULL: no memory. */
static struct drop *drop_get(struct node *n, const struct loser *who, struct slice topic, const char *reason) {
  uint8_t key[KEY_MOST];
  struct lru *all = &n->tally.drops;
  struct mem *mem = &n->rows.mem[ROW_DROPS];
  size_t len = key_of(who->serial, reason, topic, key);
  struct lru_link *l = lru_find(all, key, len), *out;
  if (l) {
    lru_touch(all, l);
    return container_of(l, struct drop, l);
  }
  struct drop *d = NULL;
  if (all->tab.count >= DROPS_MAX) { /* the oldest one's memory serves the newest */
    d = container_of(lru_oldest(all), struct drop, l);
    lru_remove(all, &d->l);
    all->evicted++;
  }
  if (!d && !(d = mem_alloc(mem, sizeof *d))) return NULL;
  *d = (struct drop){.serial = who->serial, .id = who->id, .who = who->who, .reason = reason, .first = n->now};
  d->len = (uint8_t)topic.n;
  memcpy(d->topic, topic.p, topic.n);
  snprintf(d->name, sizeof d->name, "%s", who->name ? who->name : "");
  if (lru_insert(all, &d->l, key, len, &out) == 0) return d;
  mem_free(mem, d);
  return NULL;
}

static void note(struct node *n, const struct loser *who, struct slice topic, const char *reason, enum heavy_count what) {
  uint32_t count = topic.n && topic.n <= NAME_MAX_LEN ? thin_take(&n->tally.lost, n->now) : 0;
  if (!count) return;
  add(n, topic, what, count);
  struct drop *d = drop_get(n, who, topic, reason);
  if (!d) return;
  d->count += count;
  d->last = n->now;
}

/* One that has shown no key is named by its instance, as in lists. */
static struct loser loser_of(const struct session *s, enum drop_who who) {
  struct loser l = {.serial = s->serial, .id = s->client.id, .name = s->name, .who = who};
  if (id_is_zero(&l.id)) memcpy(l.id.b, s->client.instance, INSTANCE_LEN);
  return l;
}

void tally_lost(struct session *to, struct slice topic, const char *reason) {
  if (to->peer) {
    tally_lost_to_node(to->peer, topic, reason);
    return;
  }
  struct loser l = loser_of(to, DROP_READER);
  note(to->node, &l, topic, reason, HEAVY_DROPPED);
}

void tally_lost_to_node(struct peer *to, struct slice topic, const char *reason) {
  struct loser l = {.id = to->id, .name = to->name, .who = DROP_NODE};
  memcpy(&l.serial, to->id.b, sizeof l.serial); /* random, as serials are not: these are counted from small numbers */
  note(to->node, &l, topic, reason, HEAVY_DROPPED);
}

void tally_refused(struct session *by, struct slice topic, int err) {
  struct loser l = loser_of(by, DROP_PUBLISHER);
  note(by->node, &l, topic, macula_err_name(err), HEAVY_REFUSED);
}

const struct drop *tally_next(const struct node *n, const struct drop *prev) {
  const struct list *order = &n->tally.drops.order, *next = prev ? prev->l.age.next : order->next;
  return next == order ? NULL : container_of(next, const struct drop, l.age);
}

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
const char *tally_check(const struct node *n) {
  CHECK_PART(heavy_check(&n->tally.topics));
  CHECK_PART(lru_check(&n->tally.drops));
  for (const struct drop *d = NULL; (d = tally_next(n, d)) != NULL;) {
    CHECK(d->count && d->first <= d->last && d->last <= n->now, "tally: a loss of nothing, or from the time to come");
    CHECK(d->len && d->reason, "tally: a loss of no topic, or for no reason");
  }
  return NULL;
}

size_t tally_topics_owned(const struct node *n) { return heavy_owned(&n->tally.topics); }

size_t tally_drops_owned(const struct node *n) {
  size_t sum = htab_owned(&n->tally.drops.tab);
  for (const struct drop *d = NULL; (d = tally_next(n, d)) != NULL;) sum += mem_cost(d);
  return sum;
}
