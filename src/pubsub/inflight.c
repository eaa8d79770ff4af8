#include "pubsub/inflight.h"

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
  uint32_t left, count;
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
  list_remove(&p->of_node);
  p->node->count--;
  p->node = NULL;
  p->entry->left--;
}

static void entry_free(struct inflight *f, struct entry *e) {
  for (uint32_t i = 0; i < e->count; i++) leave(&e->parts[i]);
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

int inflight_begin(struct inflight *f, struct inflight_party *publisher, uint64_t ref, struct inflight_party *const *nodes,
                   uint32_t count, nanotime now, uint64_t *ret_number) {
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
  list_append(&publisher->all, &e->of_publisher);
  publisher->count++;
  list_init(&e->done);
  for (uint32_t i = 0; i < count; i++) {
    e->parts[i].entry = e;
    e->parts[i].node = nodes[i];
    list_append(&nodes[i]->all, &e->parts[i].of_node);
    nodes[i]->count++;
  }
  f->parts += count;
  *ret_number = ++f->last;
  return 0;
}

static void finish(struct inflight *f, struct entry *e, int err) {
  if (!list_empty(&e->done)) return; /* the first word counts */
  e->err = err;
  list_remove(&e->due);
  list_append(&f->done, &e->done);
}

void inflight_answer(struct inflight *f, uint64_t number, const struct inflight_party *node, int err) {
  struct hlink *h = htab_find(&f->tab, &number, sizeof number);
  struct entry *e = h ? container_of(h, struct entry, h) : NULL;
  for (uint32_t i = 0; e && i < e->count; i++) {
    if (e->parts[i].node != node) continue;
    leave(&e->parts[i]);
    if (err || !e->left) finish(f, e, err);
    return;
  }
}

void inflight_node_gone(struct inflight *f, struct inflight_party *node, int err) {
  while (!list_empty(&node->all)) {
    struct part *p = container_of(node->all.next, struct part, of_node);
    leave(p);
    f->orphaned++;
    finish(f, p->entry, err);
  }
}

void inflight_publisher_gone(struct inflight *f, struct inflight_party *publisher) {
  while (!list_empty(&publisher->all)) entry_free(f, container_of(publisher->all.next, struct entry, of_publisher));
}

nanotime inflight_deadline(const struct inflight *f) {
  return list_empty(&f->due) ? TIME_NEVER : container_of(f->due.next, struct entry, due)->at;
}

void inflight_expire(struct inflight *f, nanotime now) {
  while (inflight_deadline(f) <= now && !list_empty(&f->due)) {
    f->timeouts++;
    finish(f, container_of(f->due.next, struct entry, due), MACULA_TIMEOUT);
  }
}

bool inflight_next(struct inflight *f, void **ret_publisher, uint64_t *ret_ref, int *ret_err) {
  if (list_empty(&f->done)) return false;
  struct entry *e = container_of(f->done.next, struct entry, done);
  *ret_publisher = e->publisher->user;
  *ret_ref = e->ref;
  *ret_err = e->err;
  entry_free(f, e);
  return true;
}
