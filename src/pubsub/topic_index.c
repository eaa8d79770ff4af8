/* Design notes.
 *
 * Trie nodes find their children through one hash table keyed by (parent, segment): a node costs no slots of its own, and a
 * segment is stored once a node, inline, which for patterns of devices (`site.7.sensor.4711`) is smaller than a table of
 * interned segments would be. `*` and `**` are ordinary children, since no topic contains a star; two flags in the parent save
 * the lookups where there are none.
 *
 * A match walks (node, position in the topic) pairs depth first. With several `**` on a path one pair can be reached in many
 * ways. So each node remembers at which of the 33 positions the current match has visited it, in one word together with the
 * number of the match. No pair is visited twice, and the work is at most nodes reached x positions instead of exponential.
 *
 * To look at thousands of subscriptions of one pattern takes milliseconds, as each is somewhere else in memory. So a match can
 * leave such nodes aside and walk them later, in parts. What remembers the place is moved on when the subscription there goes.
 *
 * To remove a subscription takes 0.7 us, so 100,000 of a client that ends cannot go in one step. A subscription points to its
 * subscriber, which must not end before it: so whoever gets more than TOPIC_APART is represented by one on the heap. That one
 * can be left behind, and nothing has to be walked for it.
 *
 * Messages of one topic come in rows. The chain of a match stays as it is until the next match, or until a subscription comes
 * or goes; so the last topic is remembered, and the same one again has the same answer, at the same price in steps. */
#include "pubsub/topic_index.h"

#include <assert.h>

#include "base/check.h"
#include "base/err.h"
#include "bounded/htab.h"

#define MAX_SEGMENTS 32
#define MAX_LEN 255
#define AT_ONCE 64u    /* subscriptions of those that have left, between two looks at the time */
#define FEW 1000u      /* subscriptions of nodes that are not left aside: further ones count as steps */
#define AGAIN_A_STEP 4 /* further patterns of a subscriber that are as much work as a pair of node and position */
#define POSITIONS (MAX_SEGMENTS + 1)
#define MATCH_MASK ((UINT64_C(1) << (64 - POSITIONS)) - 1)

enum { HAS_STAR = 1, HAS_DSTAR = 2, IS_DSTAR = 4 };

struct node {
  struct hlink h;
  struct node *parent;
  struct topic_sub *subs;
  uint64_t seen;              /* number of the match << POSITIONS | positions visited in it */
  struct topic_group *groups; /* of children: the first; of a node that is one: its own */
  uint32_t literals;          /* children that are no wildcard */
  uint32_t sub_count;
  uint8_t flags, len;
  char seg[];
};

struct topic_sub {
  struct list of_subscriber;
  struct topic_sub *next, **at; /* in node.subs */
  struct topic_subscriber *subscriber;
  struct node *node;
  uint32_t flags;
};

struct topic_group {
  struct node *node;
  struct topic_group *next, **at; /* in node.parent.groups */
  struct topic_sub *turn;         /* of node.subs: whose it is; NULL: the first one's */
  struct topic_group *next_hit;   /* after a match */
};

struct apart { /* represents one with many subscriptions */
  struct topic_subscriber s;
  struct list all; /* topic_index.aparts or .leaving */
};

struct last { /* the last match */
  bool on;    /* its answer stands */
  uint8_t len;
  uint32_t steps;
  struct topic_subscriber *first;
  uint8_t topic[MAX_LEN];
};

struct aside { /* of a match: what is left of it */
  struct topic_want want;
  struct topic_sub *sub; /* the next one, of at[next]; NULL: its first, if it was not begun */
  bool begun;
  uint32_t next, count;
  struct node *at[TOPIC_ASIDE]; /* NULL: it has gone */
};

struct topic_index {
  struct htab tab; /* node.h */
  struct mem *mem;
  struct node *root;
  uint32_t count, max, per_subscriber;
  uint64_t refused;
  uint64_t match;           /* number of the current one */
  struct topic_group *hits; /* of it */
  struct last last;
  struct aside aside;          /* likewise */
  struct list aparts, leaving; /* apart.all */
  uint32_t leaving_count;      /* subscriptions of the latter */
  void (*gone)(void *ctx, struct slice pattern);
  void *gone_ctx;
};

struct key {
  const struct node *parent;
  char seg[MAX_LEN];
};
#define KEY_LEN(seg_len) (offsetof(struct key, seg) + (seg_len))

static bool key_eq(const struct hlink *h, const void *key, size_t len) {
  const struct node *n = container_of(h, struct node, h);
  const struct key *k = key;
  return n->parent == k->parent && KEY_LEN(n->len) == len && memcmp(n->seg, k->seg, n->len) == 0;
}

static size_t key_of(struct key *k, const struct node *parent, struct slice seg) {
  k->parent = parent;
  memcpy(k->seg, seg.p, seg.n);
  return KEY_LEN(seg.n);
}

static struct node *find_child(const struct topic_index *ix, const struct node *parent, struct slice seg) {
  struct key k;
  struct hlink *h = htab_find(&ix->tab, &k, key_of(&k, parent, seg));
  return h ? container_of(h, struct node, h) : NULL;
}

int topic_index_new(struct mem *mem, struct rng rng, uint32_t max, uint32_t per_subscriber, struct topic_index **ret_index) {
  struct topic_index *ix = mem_calloc(mem, 1, sizeof *ix);
  if (!ix) return MACULA_ENOMEM;
  ix->mem = mem;
  ix->root = mem_calloc(mem, 1, sizeof *ix->root);
  if (!ix->root) {
    mem_free(mem, ix);
    return MACULA_ENOMEM;
  }
  list_init(&ix->aparts);
  list_init(&ix->leaving);
  htab_init(&ix->tab, mem, rng, UINT32_MAX, key_eq); /* at most MAX_SEGMENTS nodes a subscription */
  topic_index_set_max(ix, max, per_subscriber);
  *ret_index = ix;
  return 0;
}

void topic_index_set_max(struct topic_index *ix, uint32_t max, uint32_t per_subscriber) {
  ix->max = max;
  ix->per_subscriber = per_subscriber;
}

void topic_subscriber_init(struct topic_subscriber *s, uint64_t session, void *user) {
  *s = (struct topic_subscriber){.session = session, .user = user};
  list_init(&s->subs);
}

static bool is_group(const struct node *n) { return n->len && n->seg[0] == '#'; }

static uint8_t wildcard(struct slice seg) { return seg.p[0] != '*' ? 0 : seg.n == 1 ? HAS_STAR : HAS_DSTAR; }

static struct node *new_child(struct topic_index *ix, struct node *parent, struct slice seg) {
  struct node *n = mem_calloc(ix->mem, 1, sizeof *n + seg.n);
  if (!n) return NULL;
  n->parent = parent;
  n->len = (uint8_t)seg.n;
  memcpy(n->seg, seg.p, seg.n);
  struct key k;
  if (htab_insert(&ix->tab, &n->h, &k, key_of(&k, parent, seg)) != 0) {
    mem_free(ix->mem, n);
    return NULL;
  }
  if (is_group(n)) {
    struct topic_group *g = n->groups = mem_alloc(ix->mem, sizeof *g);
    if (!g) {
      htab_remove(&ix->tab, &n->h);
      mem_free(ix->mem, n);
      return NULL;
    }
    *g = (struct topic_group){.node = n, .next = parent->groups, .at = &parent->groups};
    if (g->next) g->next->at = &g->next;
    parent->groups = g;
  }
  uint8_t wild = wildcard(seg);
  if (wild == HAS_DSTAR) n->flags = IS_DSTAR;
  parent->flags |= wild;
  parent->literals += wild == 0;
  return n;
}

static void leave_aside(struct aside *a, const struct node *n) {
  for (uint32_t i = a->next; i < a->count; i++)
    if (a->at[i] == n) a->at[i] = NULL;
}

/* Frees a node that holds nothing, and then its parents likewise. */
static void prune(struct topic_index *ix, struct node *n) {
  while (n->parent && !n->subs && !n->literals && !(n->flags & (HAS_STAR | HAS_DSTAR))) {
    struct node *parent = n->parent;
    uint8_t wild = wildcard(slice_of(n->seg, n->len));
    assert(wild ? parent->flags & wild : parent->literals > 0);
    parent->flags &= (uint8_t)~wild;
    parent->literals -= wild == 0;
    htab_remove(&ix->tab, &n->h);
    if (is_group(n)) {
      struct topic_group *g = n->groups;
      *g->at = g->next;
      if (g->next) g->next->at = g->at;
      mem_free(ix->mem, g);
    }
    leave_aside(&ix->aside, n);
    mem_free(ix->mem, n);
    n = parent;
  }
}

/* Cuts into segments; 0 for what is not in stored form. */
static uint32_t split(struct slice name, struct slice ret_segs[MAX_SEGMENTS]) {
  if (name.n == 0 || name.n > MAX_LEN) return 0;
  uint32_t count = 0;
  size_t start = 0;
  for (size_t i = 0; i <= name.n; i++) {
    if (i < name.n && name.p[i] != '.') continue;
    if (count == MAX_SEGMENTS || i == start) return 0;
    ret_segs[count++] = slice_of(name.p + start, i - start);
    start = i + 1;
  }
  return count;
}

/* Who is in the index for it. */
static const struct topic_subscriber *inside(const struct topic_subscriber *s) { return s->apart ? s->apart : s; }

static struct apart *apart_of(const struct list *l) { return container_of(l, struct apart, all); }

static void counted(struct topic_subscriber *s, uint32_t by) {
  struct topic_subscriber *owner = s->owner ? s->owner : s;
  s->count += by;
  if (owner != s) owner->count += by;
  if (owner->shared) *owner->shared += by;
}

/* From now on the subscriptions are those of one on the heap. Without memory for it, all will go in one step. */
static void set_apart(struct topic_index *ix, struct topic_subscriber *s) {
  struct apart *a = mem_alloc(ix->mem, sizeof *a);
  if (!a) return;
  *a = (struct apart){.s = {.session = s->session, .user = s->user, .owner = s, .count = s->count, .mark = s->mark}};
  list_init(&a->s.subs);
  list_init(&a->all);
  list_for_safe(it, &s->subs) {
    container_of(it, struct topic_sub, of_subscriber)->subscriber = &a->s;
    list_remove(it);
    list_append(&a->s.subs, it);
  }
  list_append(&ix->aparts, &a->all);
  s->apart = &a->s;
}

/* Searches the shorter one of the two lists that the subscription would be in. */
static struct topic_sub *find_sub(const struct node *n, const struct topic_subscriber *owner) {
  const struct topic_subscriber *s = inside(owner);
  if (n->sub_count < s->count) {
    for (struct topic_sub *sub = n->subs; sub; sub = sub->next)
      if (sub->subscriber == s) return sub;
    return NULL;
  }
  list_for(l, &s->subs) {
    struct topic_sub *sub = container_of(l, struct topic_sub, of_subscriber);
    if (sub->node == n) return sub;
  }
  return NULL;
}

static void remove_sub(struct topic_index *ix, struct topic_sub *sub) {
  struct node *n = sub->node;
  ix->last.on = false;
  assert(*sub->at == sub && n->sub_count > 0 && sub->subscriber->count > 0 && ix->count > 0);
  if (is_group(n) && n->groups->turn == sub) n->groups->turn = sub->next;
  if (ix->aside.sub == sub) ix->aside.sub = sub->next;
  *sub->at = sub->next;
  if (sub->next) sub->next->at = sub->at;
  n->sub_count--;
  list_remove(&sub->of_subscriber);
  counted(sub->subscriber, UINT32_MAX);
  ix->count--;
  mem_free(ix->mem, sub);
  prune(ix, n);
}

/* Because its subscriber was dropped. */
static void remove_dropped(struct topic_index *ix, struct topic_sub *sub) {
  char pattern[MAX_LEN + 1];
  if (ix->gone) ix->gone(ix->gone_ctx, slice_of(pattern, topic_sub_pattern(sub, pattern)));
  remove_sub(ix, sub);
}

/* One of those that were dropped before. */
static void remove_left(struct topic_index *ix) {
  struct apart *a = apart_of(ix->leaving.next);
  assert(a->s.left && ix->leaving_count > 0);
  remove_dropped(ix, container_of(a->s.subs.next, struct topic_sub, of_subscriber));
  ix->leaving_count--;
  if (!list_empty(&a->s.subs)) return;
  list_remove(&a->all);
  mem_free(ix->mem, a);
}

int topic_index_subscribe(struct topic_index *ix, struct topic_subscriber *s, struct slice pattern, uint32_t flags,
                          bool *ret_new) {
  struct slice segs[MAX_SEGMENTS];
  uint32_t segments = split(pattern, segs), i = 0;
  if (!segments) return MACULA_INVALID_TOPIC;
  ix->last.on = false;
  for (int k = 0; k < 2 && !list_empty(&ix->leaving); k++) remove_left(ix);
  struct node *n = ix->root;
  for (struct node *child; i < segments && (child = find_child(ix, n, segs[i])); i++) n = child;
  struct topic_sub *sub = i == segments ? find_sub(n, s) : NULL;
  if (sub) {
    sub->flags = flags;
    *ret_new = false;
    return 0;
  }
  if (ix->count >= ix->max || s->count >= ix->per_subscriber) {
    ix->refused++;
    return MACULA_MAX_SUBSCRIPTIONS_REACHED;
  }
  sub = mem_alloc(ix->mem, sizeof *sub);
  if (!sub) return MACULA_ENOMEM;
  for (; i < segments; i++) {
    struct node *child = new_child(ix, n, segs[i]);
    if (!child) {
      prune(ix, n);
      mem_free(ix->mem, sub);
      return MACULA_ENOMEM;
    }
    n = child;
  }
  if (s->count >= TOPIC_APART && !s->apart) set_apart(ix, s);
  struct topic_subscriber *in = s->apart ? s->apart : s;
  *sub = (struct topic_sub){.next = n->subs, .at = &n->subs, .subscriber = in, .node = n, .flags = flags};
  if (n->subs) n->subs->at = &sub->next;
  n->subs = sub;
  n->sub_count++;
  list_append(&in->subs, &sub->of_subscriber);
  counted(in, 1);
  ix->count++;
  *ret_new = true;
  return 0;
}

static struct topic_sub *find_pattern(const struct topic_index *ix, const struct topic_subscriber *s, struct slice pattern) {
  struct slice segs[MAX_SEGMENTS];
  uint32_t count = split(pattern, segs);
  struct node *n = count ? ix->root : NULL;
  for (uint32_t i = 0; n && i < count; i++) n = find_child(ix, n, segs[i]);
  return n ? find_sub(n, s) : NULL;
}

uint32_t topic_index_flags(const struct topic_index *ix, const struct topic_subscriber *s, struct slice pattern) {
  const struct topic_sub *sub = find_pattern(ix, s, pattern);
  return sub ? sub->flags : 0;
}

bool topic_index_has(const struct topic_index *ix, const struct topic_subscriber *s, struct slice pattern) {
  return find_pattern(ix, s, pattern) != NULL;
}

int topic_index_unsubscribe(struct topic_index *ix, struct topic_subscriber *s, struct slice pattern) {
  struct topic_sub *sub = find_pattern(ix, s, pattern);
  if (!sub) return MACULA_ENOTFOUND;
  remove_sub(ix, sub);
  return 0;
}

static void leave(struct topic_index *ix, struct topic_subscriber *s) {
  struct apart *a = container_of(s->apart, struct apart, s);
  ix->last.on = false;
  if (s->shared) *s->shared -= s->count;
  s->count = 0;
  s->apart = a->s.owner = NULL;
  a->s.left = true;
  list_remove(&a->all);
  if (!a->s.count) {
    mem_free(ix->mem, a);
    return;
  }
  ix->leaving_count += a->s.count;
  list_append(&ix->leaving, &a->all);
}

uint32_t topic_index_drop(struct topic_index *ix, struct topic_subscriber *s) {
  uint32_t n = s->count;
  if (s->apart) leave(ix, s);
  while (!list_empty(&s->subs)) remove_dropped(ix, container_of(s->subs.next, struct topic_sub, of_subscriber));
  return n;
}

void topic_index_on_gone(struct topic_index *ix, void (*gone)(void *ctx, struct slice pattern), void *ctx) {
  ix->gone = gone;
  ix->gone_ctx = ctx;
}

bool topic_index_is_leaving(const struct topic_index *ix) { return !list_empty(&ix->leaving); }

void topic_index_step(struct topic_index *ix, const struct spent *spent) {
  for (uint32_t k = 1; !list_empty(&ix->leaving); k++) {
    remove_left(ix);
    if (k % AT_ONCE == 0 && is_spent(spent)) return;
  }
}

const struct topic_subscriber *topic_index_left(const struct topic_index *ix, const struct topic_subscriber *prev) {
  const struct list *l = prev ? container_of(prev, const struct apart, s)->all.next : ix->leaving.next;
  return l == &ix->leaving ? NULL : &apart_of(l)->s;
}

void topic_index_free(struct topic_index *ix) {
  if (!ix) return;
  for (struct hlink *h = htab_next(&ix->tab, NULL), *next; h; h = next) {
    struct node *n = container_of(h, struct node, h);
    next = htab_next(&ix->tab, h);
    for (struct topic_sub *sub = n->subs, *rest; sub; sub = rest) {
      rest = sub->next;
      list_remove(&sub->of_subscriber);
      counted(sub->subscriber, UINT32_MAX);
      mem_free(ix->mem, sub);
    }
    if (is_group(n)) mem_free(ix->mem, n->groups);
    mem_free(ix->mem, n);
  }
  list_for_safe(it, &ix->aparts) {
    apart_of(it)->s.owner->apart = NULL;
    mem_free(ix->mem, apart_of(it));
  }
  list_for_safe(it, &ix->leaving) mem_free(ix->mem, apart_of(it));
  htab_done(&ix->tab);
  mem_free(ix->mem, ix->root);
  mem_free(ix->mem, ix);
}

struct walk {
  struct topic_index *ix;
  struct slice segs[MAX_SEGMENTS];
  uint32_t count;
  struct topic_subscriber *first, **last;
  uint32_t left;
  uint32_t again; /* patterns of subscribers that had one already */
  uint32_t found;
  bool may_leave; /* nodes with many subscriptions aside */
};

static bool is_wanted(const struct topic_want *w, const struct topic_sub *sub) {
  if (w->flags && !(sub->flags & w->flags)) return false;
  return !w->own || sub->subscriber->user != w->own || sub->flags & TOPIC_OWN;
}

/* Whether the match has found it now. */
static bool find(struct topic_index *ix, struct topic_subscriber *s, uint32_t flags) {
  bool found = s->mark != ix->match && !s->left;
  if (found) {
    s->mark = ix->match;
    s->flags = 0;
    s->next_hit = NULL;
  }
  s->flags |= flags;
  return found;
}

static bool put_aside(struct walk *w, struct node *n) {
  struct aside *a = &w->ix->aside;
  if (!w->may_leave || n->sub_count <= TOPIC_MANY || a->count == TOPIC_ASIDE) return false;
  a->at[a->count++] = n;
  return true;
}

static void hit(struct walk *w, struct node *n) {
  const struct topic_sub *first = put_aside(w, n) ? NULL : n->subs;
  for (const struct topic_sub *sub = first; sub; sub = sub->next) {
    struct topic_subscriber *s = sub->subscriber;
    if (find(w->ix, s, sub->flags)) {
      *w->last = s;
      w->last = &s->next_hit;
      if (!w->may_leave || ++w->found < FEW) continue;
    }
    if (++w->again % AGAIN_A_STEP == 0 && w->left > 1) w->left--;
  }
  for (struct topic_group *g = n->groups; g && w->left > 1; g = g->next, w->left--) {
    g->next_hit = w->ix->hits;
    w->ix->hits = g;
  }
}

/* i: segments of the topic that are matched so far. Depth of recursion: at most one call for each segment of the topic, and one
 * for each `**` of the pattern. */
static void visit(struct walk *w, struct node *n, uint32_t i) {
  if (w->left == 0 || --w->left == 0) return;
  uint64_t match = (w->ix->match & MATCH_MASK) << POSITIONS, here = UINT64_C(1) << i;
  if ((n->seen & MATCH_MASK << POSITIONS) != match) n->seen = match;
  if (n->seen & here) return;
  n->seen |= here;
  if (i == w->count) hit(w, n);
  struct node *child;
  if (n->flags & HAS_DSTAR && (child = find_child(w->ix, n, slice_of("**", 2)))) visit(w, child, i);
  if (i == w->count) return;
  if (n->literals && (child = find_child(w->ix, n, w->segs[i]))) visit(w, child, i + 1);
  if (n->flags & HAS_STAR && (child = find_child(w->ix, n, slice_of("*", 1)))) visit(w, child, i + 1);
  if (n->flags & IS_DSTAR) visit(w, n, i + 1);
}

static struct topic_subscriber *search(struct topic_index *ix, struct slice topic, bool may_leave, uint32_t *left) {
  struct walk w; /* the segments are set as they are found */
  w.ix = ix;
  w.first = NULL;
  w.last = &w.first;
  w.left = *left;
  w.again = w.found = 0;
  w.may_leave = may_leave;
  w.count = split(topic, w.segs);
  ix->hits = NULL;
  ix->aside.sub = NULL;
  ix->aside.begun = false;
  ix->aside.next = ix->aside.count = 0;
  if (!w.count) return NULL;
  if ((++ix->match & MATCH_MASK) == 0) { /* the number as nodes store it has wrapped around: clear what they remember */
    for (struct hlink *h = NULL; (h = htab_next(&ix->tab, h));) container_of(h, struct node, h)->seen = 0;
    ix->root->seen = 0;
    ix->match++;
  }
  visit(&w, ix->root, 0);
  *left = w.left;
  return w.first;
}

static struct topic_subscriber *match(struct topic_index *ix, struct slice topic, bool may_leave, uint32_t *left) {
  struct last *l = &ix->last;
  if (l->on && l->len == topic.n && *left > l->steps && memcmp(l->topic, topic.p, topic.n) == 0) {
    *left -= l->steps;
    return l->first;
  }
  uint32_t given = *left;
  struct topic_subscriber *first = search(ix, topic, may_leave, left);
  l->on = *left && topic.n && topic.n <= MAX_LEN && !ix->aside.count;
  if (!*left) ix->hits = NULL;
  if (!*left) ix->aside.count = 0;
  if (!l->on) return *left ? first : NULL;
  l->len = (uint8_t)topic.n;
  l->steps = given - *left;
  l->first = first;
  memcpy(l->topic, topic.p, topic.n);
  return first;
}

struct topic_subscriber *topic_index_match_within(struct topic_index *ix, struct slice topic, uint32_t *left) {
  return match(ix, topic, false, left);
}

struct topic_subscriber *topic_index_match_first(struct topic_index *ix, struct slice topic, const struct topic_want *want,
                                                 uint32_t *left, bool *ret_more) {
  ix->aside.want = *want;
  struct topic_subscriber *first = match(ix, topic, true, left);
  *ret_more = ix->aside.count > 0;
  return first;
}

/* The next subscription of what was left aside. */
static struct topic_sub *next_aside(struct aside *a) {
  for (; a->next < a->count; a->next++, a->begun = false, a->sub = NULL) {
    if (!a->at[a->next]) continue;
    if (!a->begun) a->sub = a->at[a->next]->subs;
    a->begun = true;
    if (a->sub) break;
  }
  struct topic_sub *sub = a->sub;
  if (sub) a->sub = sub->next;
  return sub;
}

struct topic_subscriber *topic_index_match_more(struct topic_index *ix, uint32_t *steps) {
  struct topic_sub *sub;
  while (*steps && (sub = next_aside(&ix->aside))) {
    --*steps;
    if (is_wanted(&ix->aside.want, sub) && find(ix, sub->subscriber, sub->flags)) return sub->subscriber;
  }
  return NULL;
}

bool topic_index_match_add(struct topic_index *ix, struct topic_subscriber *s) { return find(ix, s->apart ? s->apart : s, 0); }

struct topic_group *topic_index_groups(const struct topic_index *ix) {
  return ix->hits;
}
struct topic_group *topic_group_next(const struct topic_group *g) {
  return g->next_hit;
}

struct topic_group *topic_group_find(const struct topic_index *ix, struct slice key) {
  struct slice segs[MAX_SEGMENTS];
  uint32_t count = split(key, segs);
  struct node *n = count ? ix->root : NULL;
  for (uint32_t i = 0; n && i < count; i++) n = find_child(ix, n, segs[i]);
  return n && is_group(n) ? n->groups : NULL;
}

struct topic_sub *topic_group_member(const struct topic_group *g, const struct topic_sub *prev) {
  struct topic_sub *first = g->turn ? g->turn : g->node->subs;
  if (!prev) return first;
  struct topic_sub *next = prev->next ? prev->next : g->node->subs;
  return next == first ? NULL : next;
}

struct topic_subscriber *topic_sub_subscriber(const struct topic_sub *sub) {
  return sub->subscriber;
}

void topic_group_took(struct topic_group *g, const struct topic_sub *sub) { g->turn = sub->next; }

const struct topic_sub *topic_sub_next(const struct topic_subscriber *s, const struct topic_sub *prev) {
  const struct list *all = &inside(s)->subs, *l = prev ? prev->of_subscriber.next : all->next;
  return l == all ? NULL : container_of(l, struct topic_sub, of_subscriber);
}

void topic_sub_rotate(struct topic_subscriber *s) {
  struct list *all = s->apart ? &s->apart->subs : &s->subs, *first = all->next;
  list_remove(first);
  list_append(all, first);
}

static size_t path_of(const struct node *last, char *ret_pattern) {
  size_t len = 0;
  for (const struct node *n = last; n->parent; n = n->parent) len += n->len + (n->parent->parent != NULL);
  ret_pattern[len] = '\0';
  char *end = ret_pattern + len;
  for (const struct node *n = last; n->parent; n = n->parent) {
    end -= n->len;
    memcpy(end, n->seg, n->len);
    if (n->parent->parent) *--end = '.';
  }
  return len;
}

size_t topic_sub_pattern(const struct topic_sub *sub, char *ret_pattern) { return path_of(sub->node, ret_pattern); }
size_t topic_group_key(const struct topic_group *g, char *ret_key) { return path_of(g->node, ret_key); }

uint32_t topic_sub_flags(const struct topic_sub *sub) { return sub->flags; }

void topic_index_stats(const struct topic_index *ix, struct topic_index_stats *ret_stats) {
  *ret_stats = (struct topic_index_stats){
      .subscriptions = ix->count, .max = ix->max, .leaving = ix->leaving_count, .nodes = ix->tab.count, .refused = ix->refused};
}

struct index_sums {
  uint64_t children; /* sum of the children that nodes count */
  uint32_t subs, of_subscribers, of_left;
};

/* Checks a subscriber; called with the first of its subscriptions, so once for each. */
static const char *subscriber_check(const struct topic_subscriber *s, struct index_sums *sums) {
  CHECK(list_has(&s->subs, s->count), "topic_index: a subscriber's subscriptions are not as many as it counts");
  list_for(it, &s->subs) CHECK(container_of(it, const struct topic_sub, of_subscriber)->subscriber == s,
                               "topic_index: a subscription is in another subscriber's list");
  CHECK(!s->apart && (!s->owner || (s->owner->apart == s && s->owner->count == s->count && list_empty(&s->owner->subs))),
        "topic_index: one that represents another has not what that has");
  sums->of_subscribers += s->count;
  if (s->left) sums->of_left += s->count;
  return NULL;
}

static const char *node_check(const struct topic_index *ix, const struct node *n, struct index_sums *sums) {
  struct topic_sub *const *at = &n->subs;
  uint32_t count = 0;
  for (const struct topic_sub *sub = n->subs; sub; at = &sub->next, sub = sub->next) {
    CHECK(sub->node == n && sub->at == at, "topic_index: a subscription is in another node's list");
    CHECK(count++ < n->sub_count, "topic_index: a node has more subscriptions than it counts");
    if (sub->of_subscriber.prev == &sub->subscriber->subs) CHECK_PART(subscriber_check(sub->subscriber, sums));
  }
  CHECK(count == n->sub_count, "topic_index: a node has fewer subscriptions than it counts");
  CHECK(!(n->flags & HAS_STAR) == !find_child(ix, n, slice_of("*", 1)), "topic_index: a node does not know its child *");
  CHECK(!(n->flags & HAS_DSTAR) == !find_child(ix, n, slice_of("**", 2)), "topic_index: a node does not know its child **");
  uint32_t groups = 0;
  for (const struct topic_group *g = is_group(n) ? NULL : n->groups; g; g = g->next, groups++)
    CHECK(groups < n->literals && g->node->parent == n && g->node->groups == g && *g->at == g,
          "topic_index: a group is in another node's list");
  CHECK(!is_group(n) || (n->groups && n->groups->node == n && n->subs && !n->literals && !n->flags),
        "topic_index: a group has no members, or children");
  sums->subs += count;
  sums->children += (uint64_t)n->literals + !!(n->flags & HAS_STAR) + !!(n->flags & HAS_DSTAR);
  return NULL;
}

static const char *inner_check(const struct topic_index *ix, const struct node *n) {
  struct slice seg = slice_of(n->seg, n->len);
  CHECK(n->parent && n->len && find_child(ix, n->parent, seg) == n, "topic_index: a node is not found by its segment");
  CHECK(!(n->flags & IS_DSTAR) == (wildcard(seg) != HAS_DSTAR), "topic_index: a node does not know that it is **");
  CHECK(wildcard(seg) ? n->parent->flags & wildcard(seg) : n->parent->literals, "topic_index: a node's parent has no children");
  CHECK(n->subs || n->literals || n->flags & (HAS_STAR | HAS_DSTAR), "topic_index: a node that holds nothing");
  bool listed = !is_group(n);
  for (const struct topic_group *g = listed ? NULL : n->parent->groups; g && !listed; g = g->next) listed = g == n->groups;
  CHECK(listed, "topic_index: a group is not in its node's list");
  return NULL;
}

const char *topic_index_check(const struct topic_index *ix) {
  struct index_sums sums = {0};
  CHECK_PART(htab_check(&ix->tab));
  CHECK(!ix->root->subs && !ix->root->parent, "topic_index: the root is none");
  CHECK_PART(node_check(ix, ix->root, &sums));
  for (struct hlink *h = NULL; (h = htab_next(&ix->tab, h));) {
    const struct node *n = container_of(h, const struct node, h);
    CHECK_PART(inner_check(ix, n));
    CHECK_PART(node_check(ix, n, &sums));
  }
  CHECK(sums.children == ix->tab.count, "topic_index: the nodes have other numbers of children than there are nodes");
  CHECK(sums.subs == ix->count, "topic_index: the subscriptions are not as many as counted");
  CHECK(sums.of_subscribers == ix->count, "topic_index: a subscription is in no subscriber's list");
  CHECK(sums.of_left == ix->leaving_count, "topic_index: those that have left have not as many subscriptions as counted");
  list_for(it, &ix->leaving) CHECK(apart_of(it)->s.left && apart_of(it)->s.count, "topic_index: one has left with nothing");
  return NULL;
}

size_t topic_index_owned(const struct topic_index *ix) {
  size_t sum = mem_cost(ix) + mem_cost(ix->root) + htab_owned(&ix->tab);
  list_for(it, &ix->aparts) sum += mem_cost(apart_of(it));
  list_for(it, &ix->leaving) sum += mem_cost(apart_of(it));
  for (struct hlink *h = NULL; (h = htab_next(&ix->tab, h));) {
    const struct node *n = container_of(h, const struct node, h);
    sum += mem_cost(n);
    if (is_group(n)) sum += mem_cost(n->groups);
    for (const struct topic_sub *sub = n->subs; sub; sub = sub->next) sum += mem_cost(sub);
  }
  return sum;
}
