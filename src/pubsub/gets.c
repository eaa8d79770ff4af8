#include "pubsub/gets.h"

#include "base/check.h"
#include "base/err.h"
#include "wire/pattern.h"

struct get {
  struct hlink h;
  struct list of_party, due, topics;
  struct list sources; /* gets_source.of_get */
  struct gets_party *to;
  uint64_t number;
  nanotime at;
  uint8_t len;
  char pattern[];
};

struct key {
  uint64_t number, topic;
};

struct told {
  struct hlink h;
  struct list of_get;
  struct key key;
  uint64_t ms;
};

#define STEPS 4 /* of one topic */

/* Messages of one topic: the requests up to `upto` know one of the time `ms`. A later step has a larger upto and a smaller ms,
 * as where nodes publish to one topic at the same time; a message that is newer than an earlier one needs no second step. */
struct live {
  struct hlink h;
  struct list lived;
  uint64_t topic; /* hash */
  uint32_t count;
  struct {
    uint64_t ms, upto;
  } at[STEPS];
};

static bool live_eq(const struct hlink *h, const void *key, size_t len) {
  (void)len;
  return container_of(h, struct live, h)->topic == *(const uint64_t *)key;
}

static bool get_eq(const struct hlink *h, const void *key, size_t len) {
  (void)len;
  return container_of(h, struct get, h)->number == *(const uint64_t *)key;
}

static bool told_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(&container_of(h, struct told, h)->key, key, len) == 0;
}

void gets_init(struct gets *g, struct mem *mem, struct rng rng, uint32_t max, uint32_t max_topics, uint64_t timeout) {
  *g = (struct gets){.mem = mem, .timeout = timeout};
  htab_init(&g->tab, mem, rng, max, get_eq);
  htab_init(&g->topics, mem, rng, max_topics, told_eq);
  htab_init(&g->live, mem, rng, max_topics / 4 + 1, live_eq);
  list_init(&g->lived);
  list_init(&g->due);
  list_init(&g->full);
  rng_fill(rng, g->topic_key, sizeof g->topic_key);
  g->last = rng_u64(rng) >> 16; /* hard to guess, far from running out */
}

void gets_party_init(struct gets_party *p, void *user) {
  p->user = user;
  list_init(&p->all);
}

void gets_node_init(struct gets_node *who, void *user) {
  who->user = user;
  list_init(&who->all);
}

static void forget_topics(struct gets *g, struct get *t) {
  while (!list_empty(&t->topics)) {
    struct told *d = container_of(t->topics.next, struct told, of_get);
    list_remove(&d->of_get);
    htab_remove(&g->topics, &d->h);
    mem_free(g->mem, d);
  }
}

static void forget_live(struct gets *g, uint32_t most) {
  while (g->live.count > most) {
    struct live *l = container_of(g->lived.next, struct live, lived);
    list_remove(&l->lived);
    htab_remove(&g->live, &l->h);
    mem_free(g->mem, l);
  }
}

static void source_end(struct gets *g, struct gets_source *s) {
  list_remove(&s->of_get);
  list_remove(&s->of_node);
  list_remove(&s->full);
  mem_free(g->mem, s);
}

static void end(struct gets *g, struct get *t) {
  list_for_safe(it, &t->sources) source_end(g, container_of(it, struct gets_source, of_get));
  forget_topics(g, t);
  htab_remove(&g->tab, &t->h);
  list_remove(&t->of_party);
  list_remove(&t->due);
  mem_free(g->mem, t);
  if (!g->tab.count) forget_live(g, 0);
}

/* A subscription ends. Nodes that have begun to answer are told, so that they do not wait for room that never comes. */
static void leave(struct gets *g, struct get *t) {
  while (!list_empty(&t->sources)) {
    struct gets_source *s = container_of(t->sources.next, struct gets_source, of_get);
    void *node = s->who->user;
    source_end(g, s);
    if (g->left) g->left(node, t->number, slice_of(t->pattern, t->len));
  }
  end(g, t);
}

void gets_done(struct gets *g) {
  while (!list_empty(&g->due)) end(g, container_of(g->due.next, struct get, due));
  htab_done(&g->tab);
  htab_done(&g->topics);
  htab_done(&g->live);
}

static void shrink(struct gets *g, uint32_t most) {
  while (g->tab.count > most && !list_empty(&g->due)) {
    g->evicted++;
    leave(g, container_of(g->due.next, struct get, due));
  }
}

void gets_set_max(struct gets *g, uint32_t max, uint32_t max_topics) {
  g->tab.max = max;
  g->topics.max = max_topics;
  g->live.max = max_topics / 4 + 1;
  forget_live(g, g->live.max);
  shrink(g, max);
  list_for(it, &g->due) {
    if (g->topics.count <= max_topics) return;
    forget_topics(g, container_of(it, struct get, due));
  }
}

int gets_begin(struct gets *g, struct gets_party *to, struct slice pattern, nanotime now, uint64_t *ret_number) {
  if (g->tab.count >= g->tab.max) shrink(g, g->tab.max - 1);
  struct get *t = mem_calloc(g->mem, 1, sizeof *t + pattern.n);
  if (!t) return MACULA_ENOMEM;
  t->number = g->last + 1;
  int err = htab_insert(&g->tab, &t->h, &t->number, sizeof t->number);
  if (err) {
    mem_free(g->mem, t);
    return err;
  }
  t->to = to;
  t->len = (uint8_t)pattern.n;
  memcpy(t->pattern, pattern.p, pattern.n);
  t->at = time_add(now, g->timeout);
  list_init(&t->topics);
  list_init(&t->sources);
  list_append(&to->all, &t->of_party);
  list_append(&g->due, &t->due);
  *ret_number = ++g->last;
  return 0;
}

static struct get *find(const struct gets *g, uint64_t number) {
  struct hlink *h = htab_find(&g->tab, &number, sizeof number);
  return h ? container_of(h, struct get, h) : NULL;
}

static struct live *find_live(const struct gets *g, uint64_t topic) {
  struct hlink *h = htab_find(&g->live, &topic, sizeof topic);
  return h ? container_of(h, struct live, h) : NULL;
}

static struct live *make_live(struct gets *g, uint64_t topic) {
  struct live *l;
  if (g->live.count >= g->live.max) forget_live(g, g->live.max - 1);
  if (!(l = mem_calloc(g->mem, 1, sizeof *l))) return NULL;
  l->topic = topic;
  if (htab_insert(&g->live, &l->h, &l->topic, sizeof l->topic)) {
    mem_free(g->mem, l);
    return NULL;
  }
  list_append(&g->lived, &l->lived);
  return l;
}

void gets_live(struct gets *g, struct slice topic, uint64_t ms) {
  if (!g->tab.count) return;
  uint64_t key = siphash13(g->topic_key, topic.p, topic.n);
  struct live *l = find_live(g, key);
  if (!l && !(l = make_live(g, key))) return;
  while (l->count && l->at[l->count - 1].ms <= ms) l->count--;
  if (l->count == STEPS) memmove(l->at, l->at + 1, sizeof l->at[0] * --l->count);
  l->at[l->count].ms = ms;
  l->at[l->count++].upto = g->last;
}

/* Whether the request was there when a message of this topic that is as new came to all. */
static bool was_live(const struct gets *g, const struct get *t, struct slice topic, uint64_t ms) {
  const struct live *l = find_live(g, siphash13(g->topic_key, topic.p, topic.n));
  for (uint32_t i = 0; l && i < l->count; i++)
    if (l->at[i].ms >= ms && t->number <= l->at[i].upto) return true;
  return false;
}

/* Whether the subscriber already got a message of this topic that is as new; remembers that it gets this one. Without memory it
 * may get a message twice, but never misses one. */
static bool was_told(struct gets *g, struct get *t, struct slice topic, uint64_t ms) {
  struct key k = {t->number, siphash13(g->topic_key, topic.p, topic.n)};
  struct hlink *h = htab_find(&g->topics, &k, sizeof k);
  struct told *d = h ? container_of(h, struct told, h) : NULL;
  if (d && d->ms >= ms) return true;
  if (!d && (d = mem_alloc(g->mem, sizeof *d))) {
    d->key = k;
    if (htab_insert(&g->topics, &d->h, &k, sizeof k)) {
      mem_free(g->mem, d);
      return false;
    }
    list_append(&t->topics, &d->of_get);
  }
  if (d) d->ms = ms;
  return false;
}

uint64_t gets_next(const struct gets *g, uint64_t number, struct slice *ret_pattern) {
  const struct get *t = number ? find(g, number) : NULL;
  const struct list *l = t ? t->due.next : g->due.next;
  if (l == &g->due || (number && !t)) return 0;
  t = container_of(l, struct get, due);
  *ret_pattern = slice_of(t->pattern, t->len);
  return t->number;
}

void *gets_answer(struct gets *g, uint64_t number, struct slice topic, uint64_t ms, nanotime now) {
  struct get *t = find(g, number);
  if (!t || !pattern_match(slice_of(t->pattern, t->len), topic)) return NULL;
  if (was_live(g, t, topic, ms) || was_told(g, t, topic, ms)) return NULL;
  t->at = time_add(now, g->timeout);
  list_remove(&t->due);
  list_append(&g->due, &t->due);
  return t->to->user;
}

struct gets_source *gets_took(struct gets *g, uint64_t number, struct gets_node *who, size_t n) {
  struct get *t = find(g, number);
  struct gets_source *s = NULL;
  if (!t) return NULL;
  list_for(it, &t->sources) {
    s = container_of(it, struct gets_source, of_get);
    if (s->who == who) {
      s->took += n;
      return s;
    }
  }
  if (!(s = mem_calloc(g->mem, 1, sizeof *s))) return NULL;
  *s = (struct gets_source){.who = who, .to = t->to->user, .number = number, .took = n};
  list_append(&t->sources, &s->of_get);
  list_append(&who->all, &s->of_node);
  list_init(&s->full);
  return s;
}

struct slice gets_pattern(const struct gets *g, uint64_t number) {
  const struct get *t = find(g, number);
  return t ? slice_of(t->pattern, t->len) : SLICE_NONE;
}

void gets_node_gone(struct gets *g, struct gets_node *who) {
  while (!list_empty(&who->all)) source_end(g, container_of(who->all.next, struct gets_source, of_node));
}

void gets_stop(struct gets *g, struct gets_party *to, struct slice pattern) {
  list_for_safe(it, &to->all) {
    struct get *t = container_of(it, struct get, of_party);
    if (slice_eq(slice_of(t->pattern, t->len), pattern)) leave(g, t);
  }
}

void gets_party_gone(struct gets *g, struct gets_party *to) {
  while (!list_empty(&to->all)) leave(g, container_of(to->all.next, struct get, of_party));
}

nanotime gets_deadline(const struct gets *g) {
  return list_empty(&g->due) ? TIME_NEVER : container_of(g->due.next, struct get, due)->at;
}

void gets_expire(struct gets *g, nanotime now) {
  while (gets_deadline(g) <= now && !list_empty(&g->due)) {
    struct get *t = container_of(g->due.next, struct get, due);
    bool waits = false;
    list_for(it, &t->sources) waits |= !list_empty(&container_of(it, struct gets_source, of_get)->full);
    if (!waits) {
      end(g, t);
      if (is_spent(g->spent)) return;
      continue;
    }
    t->at = time_add(now, g->timeout);
    list_remove(&t->due);
    list_append(&g->due, &t->due);
  }
}

struct gets_sums {
  uint32_t topics, sources, full;
  uint32_t of_parties, of_nodes; /* entries in the lists of subscribers and of nodes */
};

/* Checks a subscriber or a node; called with the first entry of its list, so once for each. */
static const char *party_check(const struct gets_party *p, struct gets_sums *sums) {
  CHECK(list_holds(&p->all), "gets: a subscriber's list is broken");
  list_for(it, &p->all)
      CHECK(container_of(it, const struct get, of_party)->to == p, "gets: a subscription is in another subscriber's list");
  sums->of_parties += list_count(&p->all);
  return NULL;
}

static const char *node_check(const struct gets_node *who, struct gets_sums *sums) {
  CHECK(list_holds(&who->all), "gets: a node's list is broken");
  list_for(it, &who->all)
      CHECK(container_of(it, const struct gets_source, of_node)->who == who, "gets: a source is in another node's list");
  sums->of_nodes += list_count(&who->all);
  return NULL;
}

static const char *get_check(const struct gets *g, const struct get *t, struct gets_sums *sums) {
  CHECK(t->number <= g->last && find(g, t->number) == t, "gets: a subscription is not found by its number");
  CHECK(list_holds(&t->topics) && list_holds(&t->sources), "gets: a list of a subscription is broken");
  if (t->of_party.prev == &t->to->all) CHECK_PART(party_check(t->to, sums));
  list_for(it, &t->topics) {
    const struct told *d = container_of(it, const struct told, of_get);
    CHECK(d->key.number == t->number && htab_has(&g->topics, &d->h, &d->key, sizeof d->key), "gets: a topic told is not found");
    sums->topics++;
  }
  list_for(it, &t->sources) {
    const struct gets_source *s = container_of(it, const struct gets_source, of_get);
    CHECK(s->number == t->number && s->to == t->to->user, "gets: a source is of another subscription");
    if (s->of_node.prev == &s->who->all) CHECK_PART(node_check(s->who, sums));
    sums->sources++;
    sums->full += !list_empty(&s->full);
  }
  return NULL;
}

static const char *live_check(const struct gets *g) {
  CHECK_PART(htab_check(&g->live));
  CHECK(list_has(&g->lived, g->live.count), "gets: the topics that came to all are not as many as counted");
  CHECK(g->tab.count || !g->live.count, "gets: topics are remembered for nobody");
  list_for(it, &g->lived) {
    const struct live *l = container_of(it, const struct live, lived);
    CHECK(find_live(g, l->topic) == l, "gets: a topic that came to all is not found");
    for (uint32_t i = 0; i < l->count; i++)
      CHECK(l->at[i].upto <= g->last && (!i || (l->at[i].ms < l->at[i - 1].ms && l->at[i].upto >= l->at[i - 1].upto)),
            "gets: what came to all is not in order");
  }
  return NULL;
}

const char *gets_check(const struct gets *g) {
  struct gets_sums sums = {0};
  nanotime last = 0;
  CHECK_PART(htab_check(&g->tab));
  CHECK_PART(htab_check(&g->topics));
  CHECK_PART(live_check(g));
  CHECK(list_has(&g->due, g->tab.count), "gets: the deadlines are not as many as the subscriptions");
  list_for(it, &g->due) {
    const struct get *t = container_of(it, const struct get, due);
    CHECK_PART(get_check(g, t, &sums));
    CHECK(t->at >= last, "gets: the deadlines are not in order");
    last = t->at;
  }
  CHECK(sums.of_parties == g->tab.count, "gets: a subscription is in no subscriber's list");
  CHECK(sums.topics == g->topics.count, "gets: the topics told are not as many as counted");
  CHECK(sums.of_nodes == sums.sources, "gets: a source is in no node's list");
  CHECK(list_has(&g->full, sums.full), "gets: those that wait for room are not as many as say so");
  return NULL;
}

size_t gets_owned(const struct gets *g) {
  size_t sum = htab_owned(&g->tab) + htab_owned(&g->topics) + htab_owned(&g->live);
  list_for(it, &g->lived) sum += mem_cost(container_of(it, const struct live, lived));
  list_for(it, &g->due) {
    const struct get *t = container_of(it, const struct get, due);
    sum += mem_cost(t);
    list_for(s, &t->sources) sum += mem_cost(container_of(s, const struct gets_source, of_get));
    list_for(d, &t->topics) sum += mem_cost(container_of(d, const struct told, of_get));
  }
  return sum;
}
