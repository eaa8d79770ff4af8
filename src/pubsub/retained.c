#include "pubsub/retained.h"

#include <assert.h>

#include "base/check.h"
#include "base/err.h"
#include "wire/names.h"
#include "wire/pattern.h"

static bool topic_eq(const struct hlink *h, const void *key, size_t len) {
  const struct retained_entry *e = container_of(h, struct retained_entry, h);
  return e->len == len && memcmp(e->topic, key, len) == 0;
}

void retained_init(struct retained *r, struct mem *mem, struct rng rng, uint32_t max, size_t max_bytes) {
  *r = (struct retained){.mem = mem};
  htab_init(&r->tab, mem, rng, max, topic_eq);
  heap_init(&r->ends, mem, max);
  list_init(&r->all);
  list_init(&r->age);
  r->keeping = 1;
  list_init(&r->saved);
  list_init(&r->unsaved);
  retained_set_max(r, max, max_bytes);
}

void retained_set_max(struct retained *r, uint32_t max, size_t max_bytes) {
  r->tab.max = r->ends.max = max;
  r->max_bytes = max_bytes;
}

static size_t cost(const struct retained_entry *e) { return retained_size(e); }

static void disown(struct retained_entry *e) {
  if (!e->owner) return;
  assert(e->owner->count > 0 && e->owner->bytes >= cost(e));
  e->owner->count--;
  e->owner->bytes -= cost(e);
  e->owner = NULL;
}

static void free_entry(struct retained *r, struct retained_entry *e) {
  assert(r->bytes >= cost(e));
  if (r->watch.gone) r->watch.gone(r->watch.ctx, e);
  r->bytes -= cost(e);
  disown(e);
  r->removed++;
  htab_remove(&r->tab, &e->h);
  list_remove(&e->all);
  list_remove(&e->age);
  list_remove(&e->disk);
  if (e->kept != r->keeping) r->unsaved_count--;
  heap_remove(&r->ends, &e->ends);
  shbuf_unref(e->payload);
  shbuf_unref(e->headers);
  principal_unref(e->origin);
  mem_free(r->mem, e);
}

void retained_done(struct retained *r) {
  while (!list_empty(&r->all)) free_entry(r, container_of(r->all.next, struct retained_entry, all));
  htab_done(&r->tab);
  heap_done(&r->ends);
}

static struct retained_entry *find(const struct retained *r, struct slice topic) {
  struct hlink *h = htab_find(&r->tab, topic.p, topic.n);
  return h ? container_of(h, struct retained_entry, h) : NULL;
}

const struct retained_entry *retained_find(const struct retained *r, struct slice topic) { return find(r, topic); }

/* Whether there is room for one more of so many bytes, once `e` has made way (NULL: there is none to make way). What grows
 * neither in number nor in bytes is always taken. o NULL: no share is looked at. */
static int has_room(struct retained *r, const struct retained_entry *e, const struct retained_owner *o, size_t wanted) {
  size_t own = o && e && e->owner == o, count = r->tab.count + !e, others = r->bytes - (e ? cost(e) : 0);
  if (count > r->tab.max || others > r->max_bytes || wanted > r->max_bytes - others) return MACULA_RETAIN_FULL;
  if (!o || (own && wanted <= cost(e))) return 0;
  bool few = own || o->count <= r->tab.max - count;
  return few && o->bytes - (own ? cost(e) : 0) <= r->max_bytes - others - wanted ? 0 : MACULA_QUOTA_REACHED;
}

static struct retained_entry *make(struct retained *r, struct slice topic) {
  struct retained_entry *e = mem_calloc(r->mem, 1, sizeof *e + topic.n + 1);
  if (!e) return NULL;
  if (htab_insert(&r->tab, &e->h, topic.p, topic.n)) {
    mem_free(r->mem, e);
    return NULL;
  }
  memcpy(e->topic, topic.p, topic.n);
  e->len = (uint8_t)topic.n;
  e->seq = ++r->last_seq;
  list_append(&r->all, &e->all);
  list_init(&e->age);
  list_append(&r->unsaved, &e->disk);
  r->unsaved_count++;
  return e;
}

static void unmake(struct retained *r, struct retained_entry *e) {
  htab_remove(&r->tab, &e->h);
  list_remove(&e->all);
  mem_free(r->mem, e);
}

static bool ends(const struct retained_message *m) { return m->expires && m->expires != TIME_NEVER; }

int retained_set(struct retained *r, const struct retained_message *m) {
  if (m->topic.n == 0 || m->topic.n > NAME_MAX_LEN) return MACULA_INVALID_TOPIC;
  struct retained_entry *e = find(r, m->topic);
  if (!m->payload || m->payload->len == 0) {
    if (e) free_entry(r, e);
    return 0;
  }
  int err = has_room(r, e, m->restored ? NULL : m->owner, m->topic.n + m->payload->len + (m->headers ? m->headers->len : 0));
  r->refused += err != 0;
  r->refused_share += err == MACULA_QUOTA_REACHED;
  if (err) return err;
  struct retained_entry *had = e;
  if (!e && !(e = make(r, m->topic))) return MACULA_ENOMEM;
  if (ends(m) && heap_set(&r->ends, &e->ends, m->expires)) {
    if (!had) unmake(r, e);
    return MACULA_ENOMEM;
  }
  if (!ends(m)) heap_remove(&r->ends, &e->ends);
  if (had) r->bytes -= cost(e);
  if (had) disown(e);
  shbuf_ref(m->payload);
  shbuf_unref(e->payload);
  e->payload = m->payload;
  if (m->headers) shbuf_ref(m->headers);
  shbuf_unref(e->headers);
  e->headers = m->headers;
  e->header_count = m->headers ? m->header_count : 0;
  e->qos = m->qos;
  e->ms = m->ms;
  e->slashes = m->slashes;
  e->at = m->now;
  list_remove(&e->age);
  list_append(&r->age, &e->age);
  if (e->kept == r->keeping) { /* what waits already keeps its place: it is written with this message then */
    e->kept = 0;
    r->unsaved_count++;
    list_remove(&e->disk);
    list_append(&r->unsaved, &e->disk);
  }
  r->bytes += cost(e);
  if ((e->owner = m->owner) != NULL) {
    e->owner->count++;
    e->owner->bytes += cost(e);
  }
  if (r->watch.changed) r->watch.changed(r->watch.ctx);
  return 0;
}

static nanotime at_of(const struct list *l) { return container_of(l, const struct retained_entry, age)->at; }

/* Puts the entries of `more` among those of `into`, both sorted; of the same time those of `into` come first. */
static void merge(struct list *into, struct list *more) {
  struct list *at = into->next;
  while (!list_empty(more)) {
    struct list *l = more->next;
    while (at != into && at_of(at) <= at_of(l)) at = at->next;
    list_remove(l);
    list_insert(at, l);
  }
}

void retained_sort(struct retained *r) {
  struct list runs[32]; /* a merge sort: runs[i] is empty or has 2^i entries, those that came earlier in the higher ones */
  for (int i = 0; i < 32; i++) list_init(&runs[i]);
  while (!list_empty(&r->age)) {
    struct list one;
    struct list *l = r->age.next;
    list_remove(l);
    list_init(&one);
    list_append(&one, l);
    int i = 0;
    for (; !list_empty(&runs[i]); i++) {
      merge(&runs[i], &one);
      list_move(&runs[i], &one);
    }
    list_move(&one, &runs[i]);
  }
  for (int i = 0; i < 32; i++) {
    merge(&runs[i], &r->age);
    list_move(&runs[i], &r->age);
  }
}

void retained_save(struct retained *r, struct retained_entry *e) {
  if (e->kept != r->keeping) r->unsaved_count--;
  e->kept = r->keeping;
  list_remove(&e->disk);
  list_append(&r->saved, &e->disk);
}

void retained_unsave(struct retained *r) {
  list_move(&r->saved, &r->unsaved);
  r->unsaved_count = r->tab.count;
  if (++r->keeping == 0) r->keeping = 1;
}

void retained_set_origin(struct retained *r, struct slice topic, struct principal *p) {
  struct retained_entry *e = find(r, topic);
  if (!e) return;
  (void)principal_ref(p);
  principal_unref(e->origin);
  e->origin = p;
}

static const struct retained_entry *oldest(const struct retained *r) {
  return list_empty(&r->age) ? NULL : container_of(r->age.next, const struct retained_entry, age);
}

nanotime retained_deadline(const struct retained *r, uint64_t ttl) {
  const struct retained_entry *e = oldest(r);
  return time_min(heap_deadline(&r->ends), e ? time_add(e->at, ttl) : TIME_NEVER);
}

const struct retained_entry *retained_due(const struct retained *r, uint64_t ttl, nanotime now) {
  if (heap_deadline(&r->ends) <= now) return container_of(r->ends.v[0], const struct retained_entry, ends);
  return retained_deadline(r, ttl) <= now ? oldest(r) : NULL;
}

bool retained_matches(const struct retained_entry *e, struct slice pattern, uint32_t *steps) {
  /* Most topics differ before the first wildcard, so that one comparison saves the match. `a.**` also matches `a`. */
  size_t literal = 0;
  while (literal < pattern.n && pattern.p[literal] != '*') literal++;
  if (literal < pattern.n && literal) literal--;
  return e->len >= literal && memcmp(e->topic, pattern.p, literal) == 0 &&
         pattern_match_steps(pattern, slice_of(e->topic, e->len), steps);
}

uint64_t retained_origins(const struct retained *r) {
  uint64_t count = 0;
  list_for(it, &r->all) count += container_of(it, const struct retained_entry, all)->origin != NULL;
  return count;
}

const char *retained_check(const struct retained *r) {
  size_t bytes = 0;
  uint64_t last = 0;
  uint32_t ends = 0;
  CHECK_PART(htab_check(&r->tab));
  CHECK_PART(heap_check(&r->ends));
  CHECK(list_has(&r->all, r->tab.count) && list_has(&r->age, r->tab.count),
        "retained: a list does not hold what the table holds");
  CHECK(list_holds(&r->saved) && list_holds(&r->unsaved), "retained: a list of what is on disk is broken");
  list_for(it, &r->all) {
    const struct retained_entry *e = container_of(it, const struct retained_entry, all);
    CHECK(find(r, slice_of(e->topic, e->len)) == e, "retained: a topic is not found");
    CHECK(e->payload && e->payload->refs && e->payload->len, "retained: a topic without a message");
    CHECK(e->seq > last && e->seq <= r->last_seq, "retained: the list is not in order of arrival");
    last = e->seq;
    bytes += cost(e);
    ends += e->ends.pos != 0;
  }
  nanotime at = 0;
  list_for(it, &r->age) {
    const struct retained_entry *e = container_of(it, const struct retained_entry, age);
    CHECK(e->at >= at, "retained: what was published last does not stand last");
    at = e->at;
    CHECK(!e->owner || (e->owner->count && e->owner->bytes >= cost(e)), "retained: an owner holds less than is its");
  }
  CHECK(ends == r->ends.count, "retained: those with a time to live are not as many as counted");
  CHECK(bytes == r->bytes, "retained: topics and payloads are not as many bytes as counted");
  return NULL;
}

size_t retained_owned(const struct retained *r) {
  size_t sum = htab_owned(&r->tab) + heap_owned(&r->ends);
  list_for(it, &r->all) sum += mem_cost(container_of(it, const struct retained_entry, all));
  return sum;
}
