#include "pubsub/inflight.h"

#include <assert.h>

#include "base/check.h"
#include "base/err.h"

struct part {
  struct list of_node;
  struct entry *entry;
  struct inflight_party *node; /* NULL: answered */
};

struct entry {
  struct hlink h;
  struct list due; /* inflight.due; alone: done */
  nanotime at;
  struct list of_publisher;
  struct list done; /* inflight.done */
  struct inflight_party *publisher;
  uint64_t number, ref;
  int err;
  uint32_t left, count, known;
  uint32_t silent, unknown;
  uint64_t cut;
  struct part parts[];
};

static bool eq(const struct hlink *h, const void *key, size_t len) {
  (void)len;
  return container_of(h, struct entry, h)->number == *(const uint64_t *)key;
}

void inflight_init(struct inflight *f, struct mem *mem, struct rng rng, uint32_t max_parts, uint32_t max_publisher,
                   uint64_t timeout) {
  *f = (struct inflight){.mem = mem, .timeout = timeout, .max_parts = max_parts, .max_publisher = max_publisher};
  htab_init(&f->tab, mem, rng, max_parts, eq);
  list_init(&f->due);
  list_init(&f->done);
  f->last = rng_u64(rng) >> 16; /* hard to guess, far from running out */
}

void inflight_party_init(struct inflight_party *p, void *user) {
  *p = (struct inflight_party){.user = user};
  list_init(&p->all);
}

static void leave(struct part *p) {
  if (!p->node) return;
  assert(p->node->count > 0 && p->entry->left > 0);
  list_remove(&p->of_node);
  p->node->count--;
  p->node = NULL;
  p->entry->left--;
}

static void entry_free(struct inflight *f, struct entry *e) {
  for (uint32_t i = 0; i < e->count; i++) leave(&e->parts[i]);
  assert(f->parts >= e->count && e->publisher->count > 0);
  f->parts -= e->count;
  htab_remove(&f->tab, &e->h);
  list_remove(&e->due);
  list_remove(&e->of_publisher);
  list_remove(&e->done);
  e->publisher->count--;
  mem_free(f->mem, e);
}

void inflight_done(struct inflight *f) {
  for (struct hlink *h; (h = htab_next(&f->tab, NULL));) entry_free(f, container_of(h, struct entry, h));
  htab_done(&f->tab);
}

int inflight_begin(struct inflight *f, struct inflight_party *publisher, uint64_t ref, const struct inflight_to *to,
                   nanotime now, uint64_t *ret_number) {
  uint32_t count = to->count;
  assert(count && to->known <= count);
  if (f->parts >= f->max_parts || count > f->max_parts - f->parts || publisher->count >= f->max_publisher) {
    f->refused++;
    return MACULA_EFULL;
  }
  struct entry *e = mem_calloc(f->mem, 1, sizeof *e + count * sizeof e->parts[0]);
  if (!e) return MACULA_ENOMEM;
  e->number = f->last + 1;
  int err = htab_insert(&f->tab, &e->h, &e->number, sizeof e->number);
  if (err) {
    mem_free(f->mem, e);
    return err;
  }
  e->at = time_add(now, f->timeout);
  list_append(&f->due, &e->due);
  e->publisher = publisher;
  e->ref = ref;
  e->count = e->left = count;
  e->known = to->known;
  e->silent = to->silent;
  e->unknown = to->unknown;
  list_append(&publisher->all, &e->of_publisher);
  publisher->count++;
  list_init(&e->done);
  for (uint32_t i = 0; i < count; i++) {
    e->parts[i].entry = e;
    e->parts[i].node = to->nodes[i];
    list_append(&to->nodes[i]->all, &e->parts[i].of_node);
    to->nodes[i]->count++;
  }
  f->parts += count;
  *ret_number = ++f->last;
  return 0;
}

uint64_t inflight_number(struct inflight *f) { return ++f->last; }

static void finish(struct inflight *f, struct entry *e, int err) {
  if (!list_empty(&e->done)) return; /* only the first result counts */
  e->err = err;
  list_remove(&e->due);
  list_append(&f->done, &e->done);
}

static void finish_answered(struct inflight *f, struct entry *e) {
  if (!e->left) finish(f, e, e->unknown ? MACULA_LISTENERS_UNKNOWN : 0);
}

/* The node's answer to this message is missing, and is not waited for any more. */
static void give_up(struct part *p) {
  struct entry *e = p->entry;
  if (p - e->parts < e->known)
    e->silent++;
  else
    e->unknown++;
  leave(p);
}

void inflight_answer(struct inflight *f, uint64_t number, struct inflight_party *node, int err) {
  struct hlink *h = htab_find(&f->tab, &number, sizeof number);
  struct entry *e = h ? container_of(h, struct entry, h) : NULL;
  for (uint32_t i = 0; e && i < e->count; i++) {
    if (e->parts[i].node != node) continue;
    node->unanswered = 0;
    leave(&e->parts[i]);
    if (err)
      finish(f, e, err);
    else
      finish_answered(f, e);
    return;
  }
}

static bool lacks(const struct entry *e, const struct inflight_party *node) {
  for (uint32_t i = 0; i < e->count; i++)
    if (e->parts[i].node == node) return true;
  return false;
}

void inflight_cut(struct inflight *f, uint64_t number, const struct inflight_party *node, uint64_t count) {
  struct hlink *h = count ? htab_find(&f->tab, &number, sizeof number) : NULL;
  struct entry *e = h ? container_of(h, struct entry, h) : NULL;
  if (!e || (node && !lacks(e, node))) return;
  e->cut = count < UINT64_MAX - e->cut ? e->cut + count : UINT64_MAX;
}

void inflight_node_gone(struct inflight *f, struct inflight_party *node, int err) {
  while (!list_empty(&node->all)) {
    struct part *p = container_of(node->all.next, struct part, of_node);
    leave(p);
    f->orphaned++;
    finish(f, p->entry, err);
  }
}

void inflight_node_silent(struct inflight *f, struct inflight_party *node) {
  while (!list_empty(&node->all)) {
    struct part *p = container_of(node->all.next, struct part, of_node);
    give_up(p);
    finish_answered(f, p->entry);
  }
}

void inflight_publisher_gone(struct inflight *f, struct inflight_party *publisher) {
  while (!list_empty(&publisher->all)) entry_free(f, container_of(publisher->all.next, struct entry, of_publisher));
}

nanotime inflight_deadline(const struct inflight *f) {
  return list_empty(&f->due) ? TIME_NEVER : container_of(f->due.next, struct entry, due)->at;
}

static void expire(struct inflight *f, struct entry *e) {
  uint32_t silent = e->silent;
  for (uint32_t i = 0; i < e->count; i++) {
    if (!e->parts[i].node) continue;
    e->parts[i].node->unanswered++;
    give_up(&e->parts[i]);
  }
  finish(f, e, e->silent > silent ? MACULA_TIMEOUT : MACULA_LISTENERS_UNKNOWN);
}

void inflight_expire(struct inflight *f, nanotime now) {
  while (inflight_deadline(f) <= now && !list_empty(&f->due)) {
    f->timeouts++;
    expire(f, container_of(f->due.next, struct entry, due));
    if (is_spent(f->spent)) return;
  }
}

bool inflight_next(struct inflight *f, struct inflight_result *ret) {
  if (list_empty(&f->done)) return false;
  struct entry *e = container_of(f->done.next, struct entry, done);
  *ret = (struct inflight_result){
      .publisher = e->publisher->user, .ref = e->ref, .err = e->err, .silent = e->silent, .unknown = e->unknown, .cut = e->cut};
  entry_free(f, e);
  return true;
}

struct inflight_sums {
  uint32_t parts, left, due, done;
  uint32_t of_publishers, of_nodes; /* entries in the lists of publishers and of nodes */
};

/* Checks a publisher or a node; called with the first entry of its list, so once for each. */
static const char *publisher_check(const struct inflight_party *p, struct inflight_sums *sums) {
  CHECK(list_has(&p->all, p->count), "inflight: a publisher's messages are not as many as it counts");
  list_for(it, &p->all)
      CHECK(container_of(it, const struct entry, of_publisher)->publisher == p, "inflight: a message is in another's list");
  sums->of_publishers += p->count;
  return NULL;
}

static const char *node_check(const struct inflight_party *p, struct inflight_sums *sums) {
  CHECK(list_has(&p->all, p->count), "inflight: what a node is to answer is not as much as it counts");
  list_for(it, &p->all)
      CHECK(container_of(it, const struct part, of_node)->node == p, "inflight: what a node is to answer is in another's list");
  sums->of_nodes += p->count;
  return NULL;
}

static const char *entry_check(const struct inflight *f, const struct entry *e, struct inflight_sums *sums) {
  uint32_t left = 0;
  CHECK(e->number <= f->last && htab_has(&f->tab, &e->h, &e->number, sizeof e->number), "inflight: a message is not found");
  CHECK(list_empty(&e->due) != list_empty(&e->done), "inflight: a message is neither due nor done, or both");
  if (e->of_publisher.prev == &e->publisher->all) CHECK_PART(publisher_check(e->publisher, sums));
  for (uint32_t i = 0; i < e->count; i++) {
    const struct part *p = &e->parts[i];
    CHECK(p->entry == e, "inflight: an answer is of another message");
    if (!p->node) continue;
    left++;
    if (p->of_node.prev == &p->node->all) CHECK_PART(node_check(p->node, sums));
  }
  CHECK(left == e->left, "inflight: the answers that a message lacks are not as many as counted");
  CHECK(left || !e->count || list_empty(&e->due), "inflight: a message that all have acknowledged is not done");
  sums->parts += e->count;
  sums->left += left;
  sums->due += !list_empty(&e->due);
  sums->done += !list_empty(&e->done);
  return NULL;
}

const char *inflight_check(const struct inflight *f) {
  struct inflight_sums sums = {0};
  nanotime last = 0;
  CHECK_PART(htab_check(&f->tab));
  for (struct hlink *h = NULL; (h = htab_next(&f->tab, h));)
    CHECK_PART(entry_check(f, container_of(h, const struct entry, h), &sums));
  CHECK(sums.parts == f->parts, "inflight: the pairs are not as many as counted");
  CHECK(sums.of_publishers == f->tab.count, "inflight: a message is in no publisher's list");
  CHECK(sums.of_nodes == sums.left, "inflight: what a node is to answer is in no node's list");
  CHECK(list_has(&f->due, sums.due) && list_has(&f->done, sums.done), "inflight: a list of messages is broken");
  list_for(it, &f->due) {
    const struct entry *e = container_of(it, const struct entry, due);
    CHECK(e->at >= last, "inflight: the deadlines are not in order");
    last = e->at;
  }
  return NULL;
}

size_t inflight_owned(const struct inflight *f) {
  size_t sum = htab_owned(&f->tab);
  for (struct hlink *h = NULL; (h = htab_next(&f->tab, h));) sum += mem_cost(container_of(h, const struct entry, h));
  return sum;
}
