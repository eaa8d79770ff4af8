/* Design notes.
 *
 * Order of changes: each change of a pattern of ours gets the next version and moves the pattern to the end of `order`. So a
 * peer at version v lacks exactly the patterns behind v, each once and in its present state. A page names the version before
 * and after it; a receiver that is at another version has missed something and says which version it has (INTEREST_HAVE), and
 * we go back to that one. The last page carries the number and digest of all patterns, which reveals any other error.
 *
 * A link has a cursor in `order` only while pages are under way. Otherwise its version is enough: finding the place again from
 * the end costs as many steps as there were changes since. A peer that is more than MOST_STEPS behind is told everything anew,
 * so that a frame of 36 bytes cannot cause a long search.
 *
 * Removals: a removal is forgotten once every peer has been told, or earlier, the oldest first, when there are too many
 * (`floor`: the version of the last one forgotten). A peer behind the floor is told everything anew; a peer that is just being
 * told everything, only if the floor has risen since that began. */
#include "pubsub/interest.h"

#include <assert.h>

#include "base/check.h"
#include "base/err.h"
#include "bounded/htab.h"
#include "wire/cursor.h"
#include "wire/interest.h"
#include "wire/names.h"

#define PAGE (16u * 1024) /* bytes of a payload at most */
#define OVERHEAD 192u     /* bytes of a page besides the patterns */
#define AT_ONCE 1000u     /* patterns that are looked at in one step, and removals forgotten */
#define LOOK 32u          /* of them between two looks at the time */
#define MOST_STEPS 20000u /* steps of a search in `order`: a fraction of a millisecond */

struct own {
  struct interest_step at; /* interest.order, by `changed` */
  struct hlink h;
  struct list removed; /* interest.removed, by `changed` */
  uint64_t changed;
  uint32_t count; /* clients that hold the pattern; 0: it is a removal */
  uint8_t len;
  char pattern[];
};

struct interest {
  struct mem *mem, *own_mem;
  struct htab tab;   /* own.h */
  struct list order; /* interest_step.l */
  struct list removed;
  struct list peers;
  struct topic_index *others;
  uint64_t epoch, version, floor, digest, retained;
  uint32_t own_count, removed_count, max_own, max_removed, max_peer;
  struct interest_stats stats;
  uint64_t all_told; /* removals up to this version are forgotten */
  uint32_t ending;   /* peers of which patterns are being removed at the end of a reset */
  uint8_t adds[PAGE], removes[PAGE], page[PAGE];
};

/* The key of the hash is public and the same everywhere, since both sides compare digests: the bytes 0 to 15. */
static uint64_t hash_of(struct slice pattern) {
  static const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
  return siphash13(key, pattern.p, pattern.n);
}

static bool own_eq(const struct hlink *h, const void *key, size_t len) {
  const struct own *o = container_of(h, struct own, h);
  return o->len == len && memcmp(o->pattern, key, len) == 0;
}

int interest_new(const struct interest_config *cfg, struct interest **ret_i) {
  struct interest *i = mem_calloc(cfg->mem, 1, sizeof *i);
  if (!i) return MACULA_ENOMEM;
  i->mem = cfg->mem;
  i->own_mem = cfg->own_mem;
  i->max_own = cfg->max_own;
  i->max_removed = cfg->max_removed;
  i->max_peer = cfg->max_peer;
  i->version = 1;
  while (!i->epoch) i->epoch = rng_u64(cfg->rng);
  list_init(&i->order);
  list_init(&i->removed);
  list_init(&i->peers);
  htab_init(&i->tab, i->own_mem, cfg->rng, UINT32_MAX, own_eq); /* max_own and max_removed */
  int err = topic_index_new(i->mem, cfg->rng, cfg->max_patterns, cfg->max_peer, &i->others);
  if (err) {
    mem_free(i->mem, i);
    return err;
  }
  *ret_i = i;
  return 0;
}

void interest_free(struct interest *i) {
  if (!i) return;
  topic_index_free(i->others);
  for (struct hlink *h = htab_next(&i->tab, NULL), *next; h; h = next) {
    next = htab_next(&i->tab, h);
    mem_free(i->own_mem, container_of(h, struct own, h));
  }
  htab_done(&i->tab);
  mem_free(i->mem, i);
}

/* ---- ours ------------------------------------------------------------------------------------------------------------------
 */
static struct own *find(const struct interest *i, struct slice pattern) {
  struct hlink *h = htab_find(&i->tab, pattern.p, pattern.n);
  return h ? container_of(h, struct own, h) : NULL;
}

static void changed(struct interest *i, struct own *o) {
  o->changed = ++i->version;
  list_remove(&o->at.l);
  list_append(&i->order, &o->at.l);
  i->digest ^= hash_of(slice_of(o->pattern, o->len));
}

static void forget(struct interest *i, struct own *o) {
  i->floor = o->changed;
  list_remove(&o->at.l);
  list_remove(&o->removed);
  htab_remove(&i->tab, &o->h);
  mem_free(i->own_mem, o);
}

static bool is_told(const struct interest *i) {
  return !list_empty(&i->removed) && container_of(i->removed.next, struct own, removed)->changed <= i->all_told;
}

static void forget_first(struct interest *i) {
  assert(i->removed_count > 0);
  i->removed_count--;
  forget(i, container_of(i->removed.next, struct own, removed));
}

int interest_add(struct interest *i, struct slice pattern) {
  struct own *o = find(i, pattern);
  if (o && o->count) {
    o->count++;
    return 0;
  }
  if (i->own_count >= i->max_own) return MACULA_EFULL;
  if (o) {
    assert(i->removed_count > 0);
    list_remove(&o->removed);
    i->removed_count--;
  } else {
    if (!pattern.n || pattern.n > NAME_MAX_LEN) return MACULA_INVALID_TOPIC;
    o = mem_calloc(i->own_mem, 1, sizeof *o + pattern.n);
    if (!o) return MACULA_ENOMEM;
    int err = htab_insert(&i->tab, &o->h, pattern.p, pattern.n);
    if (err) {
      mem_free(i->own_mem, o);
      return err;
    }
    o->len = (uint8_t)pattern.n;
    memcpy(o->pattern, pattern.p, pattern.n);
    list_init(&o->at.l);
    list_init(&o->removed);
  }
  o->count = 1;
  i->own_count++;
  changed(i, o);
  return 0;
}

void interest_remove(struct interest *i, struct slice pattern) {
  struct own *o = find(i, pattern);
  if (!o || !o->count || --o->count) return;
  assert(i->own_count > 0);
  i->own_count--;
  changed(i, o);
  if (list_empty(&i->peers)) { /* no peer to tell: the removal is forgotten at once */
    forget(i, o);
    return;
  }
  list_append(&i->removed, &o->removed);
  if (++i->removed_count <= i->max_removed) return;
  i->stats.forgotten++;
  forget_first(i);
}

void interest_set_retained(struct interest *i, uint64_t count) {
  if (!count != !i->retained) i->version++;
  i->retained = count;
}

/* ---- members ---------------------------------------------------------------------------------------------------------------
 */
void interest_peer_init(struct interest *i, struct interest_peer *p, const struct id *id, void *user) {
  *p = (struct interest_peer){.id = *id, .at.cursor = true};
  topic_subscriber_init(&p->topics, 0, user);
  list_init(&p->at.l);
  list_append(&i->peers, &p->all);
}

/* Forgets all removals once every peer has been told of them. They are not kept longer, since each removal keeps a page of
 * memory from being given back, among blocks that clients have freed. The walk is backwards, and a peer that is still behind
 * moves to the end of the list, so that the next walk finds it first and ends early. */
static void forget_told(struct interest *i) {
  if (list_empty(&i->removed)) return;
  for (struct list *l = i->peers.prev; l != &i->peers; l = l->prev) {
    if (container_of(l, struct interest_peer, all)->told == i->version) continue;
    list_remove(l);
    list_append(&i->peers, l);
    return;
  }
  i->all_told = i->version;
  for (uint32_t k = 0; k < AT_ONCE && is_told(i); k++) forget_first(i);
}

static void set_ending(struct interest *i, struct interest_peer *p, bool ending) {
  if (p->ending == ending) return;
  assert(ending || i->ending > 0);
  p->ending = ending;
  i->ending += ending ? 1 : UINT32_MAX;
}

void interest_peer_done(struct interest *i, struct interest_peer *p) {
  set_ending(i, p, false);
  (void)topic_index_drop(i->others, &p->topics);
  list_remove(&p->all);
  list_remove(&p->at.l);
  p->linked = false;
  forget_told(i);
}

void interest_link(struct interest_peer *p, bool up, bool both) {
  p->linked = p->have_due = up;
  p->have_nothing = p->asked = p->say = false;
  list_remove(&p->at.l);
  if (!up) return;
  p->whole = false;
  p->said = 0;
  p->say = !both;
  if (both) p->ready = p->told_reset = false;
}

void interest_lost(struct interest_peer *p) {
  p->have_due = p->say = p->linked;
  p->asked = false;
}

void interest_check(struct interest_peer *p) {
  p->asked = false;
  p->say = p->linked;
}

struct topic_subscriber *interest_match(struct interest *i, struct slice topic, uint32_t *left) {
  return topic_index_match_within(i->others, topic, left);
}

struct topic_group *interest_groups(const struct interest *i) {
  return topic_index_groups(i->others);
}
struct topic_group *interest_group(const struct interest *i, struct slice key) {
  return topic_group_find(i->others, key);
}

/* ---- telling ---------------------------------------------------------------------------------------------------------------
 */
static bool behind_floor(const struct interest *i, const struct interest_peer *p) {
  return p->told < i->floor && i->floor > p->floor_seen;
}

bool interest_pending(const struct interest *i, const struct interest_peer *p) {
  bool news = p->ready ? p->told_reset || p->told != i->version : p->said && p->said != i->version;
  return p->linked && (p->have_due || p->say || news);
}

static void begin_anew(struct interest *i, struct interest_peer *p) {
  p->told_reset = true;
  p->told = 0;
  p->reset_at = i->version;
  p->floor_seen = i->floor;
  list_remove(&p->at.l);
  i->stats.resets++;
}

static struct own *own_of(const struct list *l) {
  struct interest_step *s = container_of(l, struct interest_step, l);
  return s->cursor ? NULL : container_of(s, struct own, at);
}

/* The place in `order` up to which the peer was told; NULL: too many steps away. */
static struct list *place_of(struct interest *i, struct interest_peer *p) {
  struct list *l = i->order.prev;
  if (!list_empty(&p->at.l)) return &p->at.l;
  for (uint32_t n = 0; l != &i->order; l = l->prev) {
    const struct own *o = own_of(l);
    if (o && o->changed <= p->told) break;
    if (++n > MOST_STEPS) return NULL;
  }
  return l;
}

static size_t make_page(struct interest *i, struct interest_peer *p, struct list *last, size_t cap) {
  struct wire_interest m = {.epoch = i->epoch, .from = p->told, .version = i->version, .retained = i->retained};
  struct writer adds = {i->adds, sizeof i->adds, 0}, removes = {i->removes, sizeof i->removes, 0};
  uint64_t version = p->told;
  for (struct list *l = last->next; l != &i->order; l = l->next) {
    const struct own *o = own_of(l);
    if (!o) continue;
    if (o->count || o->changed > p->reset_at) {
      if (adds.len + removes.len + o->len + 2 > cap - OVERHEAD ||
          m.adds.count + m.removes.count == WIRE_INTEREST_MAX_PATTERNS) {
        m.more = true;
        m.version = version;
        break;
      }
      writer_bin(o->count ? &adds : &removes, slice_of(o->pattern, o->len));
      *(o->count ? &m.adds.count : &m.removes.count) += 1;
    }
    last = l;
    version = o->changed;
  }
  m.adds.raw = slice_of(i->adds, adds.len);
  m.removes.raw = slice_of(i->removes, removes.len);
  m.reset = p->told_reset;
  m.total = m.more ? 0 : i->own_count;
  m.digest = m.more ? 0 : i->digest;
  struct list *next = last->next;
  if (next == &p->at.l) next = next->next;
  list_remove(&p->at.l);
  if (m.more) list_insert(next, &p->at.l);
  p->told = m.version;
  p->told_reset = false;
  if (!m.more) {
    p->say = false;
    p->reset_at = 0;
    forget_told(i);
  }
  i->stats.sent++;
  return wire_interest_encode(&m, i->page, sizeof i->page);
}

/* An empty page that begins at a version that nobody has, for a peer whose version we do not know: it answers with its
 * version. */
static size_t make_question(struct interest *i, struct interest_peer *p) {
  struct wire_interest m = {.epoch = i->epoch, .from = UINT64_MAX, .version = UINT64_MAX, .retained = i->retained};
  p->say = false;
  p->said = i->version;
  i->stats.sent++;
  return wire_interest_encode(&m, i->page, sizeof i->page);
}

static size_t make_have(struct interest *i, struct interest_peer *p) {
  struct wire_have m = {p->epoch, p->version, p->digest};
  if (p->have_nothing) m = (struct wire_have){0};
  p->have_due = p->have_nothing = false;
  return wire_have_encode(&m, i->page, sizeof i->page);
}

bool interest_next(struct interest *i, struct interest_peer *p, size_t max_len, uint8_t *ret_type, struct slice *ret_payload) {
  size_t len;
  if (max_len < 1024 || !interest_pending(i, p)) return false;
  *ret_type = MSG_INTEREST;
  if (p->have_due) {
    *ret_type = MSG_INTEREST_HAVE;
    len = make_have(i, p);
  } else if (!p->ready) {
    len = make_question(i, p);
  } else {
    struct list *place = p->told_reset || behind_floor(i, p) ? NULL : place_of(i, p);
    if (!place) {
      begin_anew(i, p);
      place = &i->order;
    }
    len = make_page(i, p, place, max_len < PAGE ? max_len : PAGE);
  }
  *ret_payload = slice_of(i->page, len);
  return true;
}

/* ---- hearing ---------------------------------------------------------------------------------------------------------------
 */
/* The peer says which version of our patterns it has: it is told everything from there on. */
static void recv_have(struct interest *i, struct interest_peer *p, const struct wire_have *m) {
  bool known = m->epoch == i->epoch && m->version <= i->version && m->version >= i->floor &&
               (m->version < i->version || m->digest == i->digest);
  /* The peer began anew on a path that did not change for us (a gateway's link): it may wait for our HAVE as well. */
  if (p->ready && !m->epoch) p->have_due = p->linked;
  /* The peer was asked and waits for a page; or it lacks nothing, and gets a last page so that it knows that it is complete. */
  if ((!p->ready && p->said) || (known && m->version == i->version)) p->say = p->linked;
  list_remove(&p->at.l);
  p->ready = true;
  p->told = known ? m->version : 0;
  p->told_reset = !known;
  p->reset_at = p->floor_seen = 0;
  forget_told(i);
}

static void ask(struct interest *i, struct interest_peer *p, bool nothing) {
  p->whole = false;
  if (p->asked) return;
  p->asked = p->have_due = true;
  p->have_nothing = nothing;
  i->stats.repairs++;
}

/* Looks at the next pattern of a peer whose reset is under way, and removes it if the reset did not name it. False: that was
 * all. */
static bool sweep_one(struct interest *i, struct interest_peer *p) {
  const struct topic_sub *sub = p->unswept ? topic_sub_next(&p->topics, NULL) : NULL;
  char pattern[NAME_MAX_LEN + 1];
  if (!sub) return p->unswept = 0, false;
  p->unswept--;
  if (topic_sub_flags(sub) == p->generation) {
    topic_sub_rotate(&p->topics);
  } else {
    struct slice s = slice_of(pattern, topic_sub_pattern(sub, pattern));
    p->digest ^= hash_of(s);
    (void)topic_index_unsubscribe(i->others, &p->topics, s);
  }
  return true;
}

/* Patterns that may be obsolete are removed to make room for one. */
static void make_room(struct interest *i, struct interest_peer *p) {
  uint32_t had = p->topics.count;
  for (uint32_t k = 0; k < AT_ONCE && p->topics.count == had && sweep_one(i, p); k++) continue;
}

static int take(struct interest *i, struct interest_peer *p, struct slice pattern) {
  bool is_new;
  int err = topic_index_subscribe(i->others, &p->topics, pattern, p->generation, &is_new);
  if (err == MACULA_MAX_SUBSCRIPTIONS_REACHED && p->sweeping) {
    make_room(i, p);
    err = topic_index_subscribe(i->others, &p->topics, pattern, p->generation, &is_new);
  }
  if (err) {
    p->incomplete = true;
    p->whole = false;
    i->stats.refused++;
    return MACULA_EFULL;
  }
  if (is_new) p->digest ^= hash_of(pattern);
  return 0;
}

/* After a last page, and what it ended: compares number and digest of the peer's patterns with what the peer says. */
static void compare(struct interest *i, struct interest_peer *p) {
  const struct interest_claim *m = &p->claim;
  struct topic_index_stats others;
  p->whole = p->topics.count == m->total && p->digest == m->digest;
  if (p->whole) {
    p->asked = p->incomplete = false;
    return;
  }
  /* asks again only if there is room for all now, and only on a page without changes, so not more often than the peer checks */
  if (p->incomplete) {
    topic_index_stats(i->others, &others);
    if (m->changes || m->total > i->max_peer ||
        m->total + (others.subscriptions - others.leaving - p->topics.count) > others.max)
      return;
  }
  ask(i, p, true);
}

/* Goes on removing what a reset did not name. */
static void end_reset(struct interest *i, struct interest_peer *p, uint32_t most, const struct spent *spent) {
  bool more = true;
  for (uint32_t k = 1; k <= most && (more = sweep_one(i, p)); k++)
    if (k % LOOK == 0 && is_spent(spent)) return;
  if (more) return;
  p->sweeping = false;
  set_ending(i, p, false);
  compare(i, p);
}

bool interest_is_due(const struct interest *i) { return i->ending || is_told(i) || topic_index_is_leaving(i->others); }

void interest_step(struct interest *i, const struct spent *spent) {
  topic_index_step(i->others, spent);
  for (uint32_t k = 1; is_told(i); k++) {
    forget_first(i);
    if (k % LOOK == 0 && is_spent(spent)) break;
  }
  for (struct list *l = i->peers.next; i->ending && l != &i->peers; l = l->next) {
    struct interest_peer *p = container_of(l, struct interest_peer, all);
    if (p->ending) end_reset(i, p, UINT32_MAX, spent);
    if (is_spent(spent)) return;
  }
}

static int recv_page(struct interest *i, struct interest_peer *p, const struct wire_interest *m) {
  struct msg_list adds = m->adds, removes = m->removes;
  struct slice pattern;
  int err = 0;
  bool is_old = !m->reset && m->epoch == p->epoch && m->from < p->version && m->version <= p->version;
  i->stats.received++;
  if (is_old) return 0; /* a newer page has overtaken it on another path */
  p->retained = m->retained;
  if (m->reset) {
    p->epoch = m->epoch;
    p->generation++;
    p->sweeping = true;
    p->unswept = p->topics.count;
    p->whole = p->incomplete = false;
  } else if (m->epoch != p->epoch || m->from > p->version) {
    ask(i, p, m->epoch != p->epoch);
    return 0;
  }
  while (msg_list_next(&adds, &pattern))
    if (take(i, p, pattern)) err = MACULA_EFULL;
  while (msg_list_next(&removes, &pattern))
    if (topic_index_unsubscribe(i->others, &p->topics, pattern) == 0) p->digest ^= hash_of(pattern);
  p->version = m->version;
  p->claim = (struct interest_claim){m->total, m->digest, m->adds.count || m->removes.count};
  set_ending(i, p, p->sweeping && !m->more);
  if (p->ending)
    end_reset(i, p, AT_ONCE, NULL);
  else if (!m->more)
    compare(i, p);
  return err;
}

int interest_recv(struct interest *i, struct interest_peer *p, uint8_t type, struct slice payload) {
  union {
    struct wire_interest page;
    struct wire_have have;
  } m;
  int err = MACULA_UNKNOWN_TYPE;
  if (type == MSG_INTEREST && (err = wire_interest_decode(payload, &m.page)) == 0) return recv_page(i, p, &m.page);
  if (type == MSG_INTEREST_HAVE && (err = wire_have_decode(payload, &m.have)) == 0) recv_have(i, p, &m.have);
  return err;
}

void interest_set_max(struct interest *i, uint32_t max_own, uint32_t max_patterns, uint32_t max_peer) {
  i->max_own = max_own;
  i->max_peer = max_peer;
  topic_index_set_max(i->others, max_patterns, max_peer);
}

void interest_stats(const struct interest *i, struct interest_stats *ret_stats) {
  struct topic_index_stats others;
  topic_index_stats(i->others, &others);
  *ret_stats = i->stats;
  ret_stats->version = i->version;
  ret_stats->own = i->own_count;
  ret_stats->removed = i->removed_count;
  ret_stats->patterns = others.subscriptions;
  ret_stats->max_own = i->max_own;
  ret_stats->max_removed = i->max_removed;
  ret_stats->max_patterns = others.max;
}

/* ---- what must hold --------------------------------------------------------------------------------------------------------
 */
static const char *order_check(const struct interest *i) {
  uint32_t owns = 0, own_count = 0;
  uint64_t last = 0, told = 0, digest = 0;
  CHECK(list_holds(&i->order), "interest: the order of changes is broken");
  for (const struct list *l = i->order.next; l != &i->order; l = l->next) {
    const struct own *o = own_of(l);
    if (!o) {
      const struct interest_peer *p = container_of(l, const struct interest_peer, at.l);
      CHECK(p->linked && p->told >= last, "interest: a cursor stands behind what it was not told, or is of no link");
      if (p->told > told) told = p->told;
      continue;
    }
    struct slice pattern = slice_of(o->pattern, o->len);
    CHECK(find(i, pattern) == o, "interest: a pattern of ours is not found");
    CHECK(o->changed > last && o->changed <= i->version, "interest: the changes are not in order");
    CHECK(o->changed > told, "interest: a cursor stands before what it was told");
    CHECK(list_empty(&o->removed) == !!o->count, "interest: a pattern is held and removed, or neither");
    CHECK(o->count || o->changed > i->floor, "interest: a removal that had to go is still there");
    if (o->count) digest ^= hash_of(pattern);
    own_count += o->count > 0;
    owns++;
    last = o->changed;
  }
  CHECK(owns == i->tab.count, "interest: the order does not hold what the table holds");
  CHECK(own_count == i->own_count && owns - own_count == i->removed_count,
        "interest: patterns and removals are not as many as counted");
  CHECK(digest == i->digest, "interest: the digest is not that of our patterns");
  return NULL;
}

static const char *peer_check(const struct interest *i, const struct interest_peer *p) {
  uint64_t digest = 0;
  CHECK(p->told <= i->version && p->said <= i->version, "interest: a peer was told what has not happened");
  uint32_t patterns = 0;
  CHECK(!p->ending || p->sweeping, "interest: the end of a reset has come that is not under way");
  for (const struct topic_sub *sub = NULL; (sub = topic_sub_next(&p->topics, sub)); patterns++) {
    char pattern[NAME_MAX_LEN + 1];
    digest ^= hash_of(slice_of(pattern, topic_sub_pattern(sub, pattern)));
    CHECK(p->sweeping || topic_sub_flags(sub) == p->generation, "interest: a pattern that a reset did not name is still there");
  }
  CHECK(p->topics.count == patterns, "interest: a peer's patterns are not as many as counted");
  CHECK(digest == p->digest, "interest: a peer's digest is not that of its patterns");
  return NULL;
}

const char *interest_tables_check(const struct interest *i) {
  struct topic_index_stats others;
  uint64_t last = 0;
  uint32_t patterns = 0, ending = 0;
  CHECK_PART(htab_check(&i->tab));
  CHECK_PART(topic_index_check(i->others));
  CHECK_PART(order_check(i));
  CHECK(list_has(&i->removed, i->removed_count), "interest: the removals are not as many as counted");
  list_for(it, &i->removed) {
    const struct own *o = container_of(it, const struct own, removed);
    CHECK(o->changed > last, "interest: the removals are not in order");
    last = o->changed;
  }
  CHECK(list_holds(&i->peers), "interest: the list of peers is broken");
  CHECK(!i->removed_count || !list_empty(&i->peers), "interest: removals, and nobody to tell");
  list_for(it, &i->peers) {
    const struct interest_peer *p = container_of(it, const struct interest_peer, all);
    CHECK_PART(peer_check(i, p));
    patterns += p->topics.count;
    ending += p->ending;
  }
  topic_index_stats(i->others, &others);
  CHECK(ending == i->ending, "interest: the resets that end are not as many as counted");
  CHECK(patterns + others.leaving == others.subscriptions, "interest: the patterns of peers are not as many as the trie holds");
  CHECK(i->floor <= i->version, "interest: a removal that has not happened had to go");
  return NULL;
}

void interest_sum_add(struct interest_sum *sum, struct slice pattern) {
  sum->held++;
  sum->weight += hash_of(pattern);
}

struct interest_sum interest_own_sum(const struct interest *i) {
  struct interest_sum sum = {0};
  for (struct hlink *h = NULL; (h = htab_next(&i->tab, h));) {
    const struct own *o = container_of(h, const struct own, h);
    sum.held += o->count;
    sum.weight += o->count * hash_of(slice_of(o->pattern, o->len));
  }
  return sum;
}

void interest_owned(const struct interest *i, size_t *ret_own_mem, size_t *ret_mem) {
  *ret_mem = mem_cost(i) + topic_index_owned(i->others);
  *ret_own_mem = htab_owned(&i->tab);
  for (struct hlink *h = NULL; (h = htab_next(&i->tab, h));) *ret_own_mem += mem_cost(container_of(h, const struct own, h));
}
