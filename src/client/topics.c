/* Topics by numbers. What we publish to again soon is announced, and named by its number when the node says that it knows it;
 * what the node announces it names at once. */
#include "bounded/lru.h"
#include "client/internal.h"

#define LATELY 256u /* topics that came lately are noticed by so many places */

struct ours {
  struct lru_link link;
  uint64_t number; /* rising: of one that made room the next one that has its slot */
  bool told, taken;
  uint8_t len;
  char name[];
};
struct heard {
  uint64_t number;
  uint8_t len;
  char name[];
};
struct client_topics {
  uint64_t seed[2];
  struct lru ours;
  struct ours *last;       /* that was published to */
  uint32_t lately[LATELY]; /* hashes of topics without a number */
  struct ours *slot[ANNOUNCE_SLOTS];
  uint64_t numbers, spare; /* given; one that was given, and is nobody's */
};
struct client_heard {
  struct heard *slot[ANNOUNCE_SLOTS]; /* NULL: nothing was announced */
};

static bool ours_eq(const struct hlink *h, const void *key, size_t len) {
  const struct ours *o = container_of(h, struct ours, link.h);
  return o->len == len && memcmp(o->name, key, len) == 0;
}

static struct client_topics *topics_of(struct client *c) {
  struct hub *h = c->hub;
  if (c->topics || !(c->topics = mem_calloc(h->mem, 1, sizeof *c->topics))) return c->topics;
  rng_fill(h->cfg.rng, (uint8_t *)c->topics->seed, sizeof c->topics->seed);
  lru_init(&c->topics->ours, h->mem, h->cfg.rng, ANNOUNCE_SLOTS, ours_eq);
  return c->topics;
}

void client_forget_topics(struct client *c) {
  struct client_topics *t = c->topics;
  struct mem *mem = c->hub->mem;
  for (unsigned i = 0; c->heard && i < ANNOUNCE_SLOTS; i++) mem_free(mem, c->heard->slot[i]);
  mem_free(mem, c->heard);
  c->heard = NULL;
  if (!t) return;
  lru_done(&t->ours);
  for (unsigned i = 0; i < ANNOUNCE_SLOTS; i++) mem_free(mem, t->slot[i]);
  mem_free(mem, t);
  c->topics = NULL;
}

/* ---- ours ------------------------------------------------------------------------------------------------------------------
 */
/* Whether another topic of those that share its place has not come since it came last: then it has most likely come so often
 * that to announce it saves more than it takes. */
static bool came_lately(struct client_topics *t, struct slice topic) {
  uint64_t hash = siphash13(t->seed, topic.p, topic.n);
  uint32_t *place = &t->lately[hash % LATELY], mark = (uint32_t)(hash >> 32) | 1;
  bool came = *place == mark;
  *place = mark;
  return came;
}

static bool announce(struct client *c, const struct ours *o) {
  struct msg m = {.type = MSG_ANNOUNCE,
                  .announce = {.kind = ANNOUNCE_TOPIC, .number = o->number, .topic = slice_of(o->name, o->len)}};
  return client_send(c, &m) == 0;
}

static void add(struct client *c, struct client_topics *t, struct slice topic) {
  struct mem *mem = c->hub->mem;
  struct lru_link *evicted = NULL;
  struct ours *o = mem_alloc(mem, sizeof *o + topic.n);
  if (!o) return;
  memset(o, 0, sizeof *o);
  o->len = (uint8_t)topic.n;
  memcpy(o->name, topic.p, topic.n);
  int err = lru_insert(&t->ours, &o->link, o->name, o->len, &evicted);
  if (evicted) {
    struct ours *was = container_of(evicted, struct ours, link);
    t->spare = was->number + ANNOUNCE_SLOTS;
    if (t->last == was) t->last = NULL;
    t->slot[was->number % ANNOUNCE_SLOTS] = NULL;
    mem_free(mem, was);
  }
  if (err) {
    mem_free(mem, o);
    return;
  }
  o->number = t->spare ? t->spare : ++t->numbers;
  t->spare = 0;
  t->slot[o->number % ANNOUNCE_SLOTS] = o;
  o->told = announce(c, o);
}

uint64_t client_topic_number(struct client *c, struct slice topic) {
  struct client_topics *t = topics_of(c);
  if (!t) return 0;
  struct ours *o = t->last;
  if (!o || o->len != topic.n || memcmp(o->name, topic.p, topic.n) != 0) {
    struct lru_link *l = lru_find(&t->ours, topic.p, topic.n);
    if (!l) {
      if (came_lately(t, topic)) add(c, t, topic);
      return 0;
    }
    lru_touch(&t->ours, l);
    t->last = o = container_of(l, struct ours, link);
  }
  if (!o->told) o->told = announce(c, o); /* there was no room in the queue */
  return o->taken ? o->number : 0;
}

/* ---- the node's ------------------------------------------------------------------------------------------------------------
 */
static bool hear(struct client *c, const struct msg_announce *m) {
  struct mem *mem = c->hub->mem;
  if (!m->topic.n || m->topic.n > NAME_MAX_LEN || m->number > ANNOUNCE_LAST) {
    client_lost(c, MACULA_BAD_FRAME, slice_str("the node announced a topic without a name that can be"));
    return false;
  }
  if (!c->heard) c->heard = mem_calloc(mem, 1, sizeof *c->heard);
  struct heard *h = c->heard ? mem_alloc(mem, sizeof *h + m->topic.n) : NULL;
  if (!h) {
    client_lost(c, MACULA_ENOMEM, SLICE_NONE);
    return false;
  }
  h->number = m->number;
  h->len = (uint8_t)m->topic.n;
  memcpy(h->name, m->topic.p, m->topic.n);
  struct heard **slot = &c->heard->slot[m->number % ANNOUNCE_SLOTS];
  mem_free(mem, *slot);
  *slot = h;
  return true;
}

bool client_topic_announced(struct client *c, const struct msg_announce *m) {
  struct ours *o = c->topics ? c->topics->slot[m->number % ANNOUNCE_SLOTS] : NULL;
  if (m->kind == ANNOUNCE_TAKEN && o && o->number == m->number) o->taken = true;
  return m->kind != ANNOUNCE_TOPIC || hear(c, m);
}

bool client_topic_named(struct client *c, struct msg_publish *m) {
  if (m->topic.p) return true;
  const struct heard *h = c->heard ? c->heard->slot[m->topic_number % ANNOUNCE_SLOTS] : NULL;
  if (!h || h->number != m->topic_number) {
    client_lost(c, MACULA_BAD_FRAME, slice_str("the node named a topic by a number that it had not announced"));
    return false;
  }
  m->topic = slice_of(h->name, h->len);
  return true;
}
