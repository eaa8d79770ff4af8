/* The members: found by id; listed in order of arrival; in an array for random choice, those alive in front; and the ring of
 * members that are probed. */
#include <assert.h>

#include "base/err.h"
#include "membership/internal.h"

#define TRIES 16 /* tries of a random choice, each of which may draw an unsuitable member */

struct entry *table_find(const struct membership *m, const struct id *id) {
  struct hlink *h = htab_find(&m->tab, id->b, ID_LEN);
  return h ? ENTRY(h, h) : NULL;
}

static int reserve(struct membership *m) {
  if (m->count < m->cap) return 0;
  uint32_t cap = m->cap ? m->cap * 2 : 16;
  struct entry **v = mem_realloc(m->mem, m->v, cap * sizeof(*v));
  if (!v) return MACULA_ENOMEM;
  m->v = v;
  struct entry **ring = mem_realloc(m->mem, m->ring, cap * sizeof(*ring));
  if (!ring) return MACULA_ENOMEM; /* v is larger now than cap says, which is harmless */
  m->ring = ring;
  m->cap = cap;
  return 0;
}

static void shrink(struct membership *m) {
  if (m->cap <= 64 || m->count >= m->cap / 8) return;
  struct entry **v = mem_realloc(m->mem, m->v, m->cap / 4 * sizeof(*v));
  if (v) m->v = v;
  struct entry **ring = mem_realloc(m->mem, m->ring, m->cap / 4 * sizeof(*ring));
  if (ring) m->ring = ring;
  if (v || ring) m->cap /= 4;
}

static void put(struct membership *m, uint32_t at, struct entry *e) {
  m->v[at] = e;
  e->at = at;
}

static void swap(struct membership *m, uint32_t a, uint32_t b) {
  struct entry *e = m->v[a];
  put(m, a, m->v[b]);
  put(m, b, e);
}

/* An entry that may be removed to make room: the member that died first; if `met`, also one that we only heard of. NULL:
 * none. */
static struct entry *victim(struct membership *m, bool met) {
  if (!list_empty(&m->dead)) return ENTRY(m->dead.next, group);
  for (int i = 0; met && m->count && i < TRIES; i++) {
    struct entry *e = m->v[rng_below(m->cfg.rng, m->count)];
    if (!e->own && !e->m.connected) return e;
  }
  return NULL;
}

int table_add(struct membership *m, const struct member_info *info, uint64_t incarnation, bool met, nanotime now,
              struct entry **ret_entry) {
  if (m->count >= m->cfg.max_members) {
    struct entry *old = m->gone_count < GONE_MAX ? victim(m, met) : NULL;
    if (!old) {
      m->stats.refused++;
      return MACULA_EFULL;
    }
    table_remove(m, old);
  }
  int err = reserve(m);
  if (err) return err;
  struct entry *e = mem_calloc(m->mem, 1, sizeof *e);
  if (!e) return MACULA_ENOMEM;
  e->m = (struct member){.info = *info, .state = MEMBER_ALIVE, .incarnation = incarnation, .since = now, .joined = now};
  err = htab_insert(&m->tab, &e->h, info->id.b, ID_LEN);
  if (err) {
    mem_free(m->mem, e);
    return err;
  }
  list_append(&m->all, &e->all);
  list_init(&e->gossip);
  list_init(&e->event);
  list_init(&e->group);
  put(m, m->count++, e);
  swap(m, m->alive++, e->at);
  e->own = met;
  digest_in(m, e);
  *ret_entry = e;
  return 0;
}

static void count_state(struct membership *m, enum member_state state, uint32_t delta) {
  switch (state) {
  case MEMBER_ALIVE:
    m->alive += delta;
    return;
  case MEMBER_SUSPECT:
    m->suspect += delta;
    return;
  case MEMBER_DEAD:
    m->dead_count += delta;
    return;
  }
}

void table_state(struct membership *m, struct entry *e, enum member_state state, nanotime now) {
  bool was = e->m.state == MEMBER_ALIVE, is = state == MEMBER_ALIVE;
  assert(!(e->m.state == MEMBER_DEAD && state == MEMBER_SUSPECT)); /* only the member itself can refute its death */
  if (was && !is) swap(m, e->at, m->alive - 1);
  if (!was && is) swap(m, e->at, m->alive);
  count_state(m, e->m.state, UINT32_MAX);
  count_state(m, state, 1);
  e->m.state = state;
  e->m.since = now;
  list_remove(&e->group);
  if (state == MEMBER_DEAD) list_append(&m->dead, &e->group);
  if (state != MEMBER_SUSPECT) heap_remove(&m->due, &e->due);
}

void table_remove(struct membership *m, struct entry *e) {
  digest_out(m, e);
  sync_gone(m, e);
  probe_cancel(m, &e->m.info.id);
  table_state(m, e, MEMBER_DEAD, e->m.since);
  ring_update(m, e);
  list_remove(&e->group);
  gossip_remove(m, e);
  assert(m->dead_count > 0 && m->count > 0 && m->v[e->at] == e && !e->ring);
  m->dead_count--;
  m->count--;
  put(m, e->at, m->v[m->count]);
  htab_remove(&m->tab, &e->h);
  list_remove(&e->all);
  list_remove(&e->event);
  mem_free(m->mem, e->record);
  e->record = NULL;
  shrink(m);
  if (e->told == TOLD_NOTHING) {
    mem_free(m->mem, e);
    return;
  }
  list_append(&m->gone, &e->event);
  m->gone_count++;
}

void table_free(struct membership *m, struct entry *e) {
  assert(m->gone_count > 0);
  list_remove(&e->event);
  m->gone_count--;
  mem_free(m->mem, e);
}

void event_raise(struct membership *m, struct entry *e) {
  if (list_empty(&e->event)) list_append(&m->events, &e->event);
}

static void ring_put(struct membership *m, uint32_t at, struct entry *e) {
  m->ring[at] = e;
  e->ring = at + 1;
}

static void rot_remove(struct membership *m, struct entry *e) {
  for (uint32_t i = 0; e->rotating && i < m->rot_count; i++)
    if (m->rot[i] == e) {
      memmove(m->rot + i, m->rot + i + 1, (--m->rot_count - i) * sizeof(*m->rot));
      e->rotating = false;
    }
}

void ring_update(struct membership *m, struct entry *e) {
  if (e->m.connected || e->m.state == MEMBER_DEAD) rot_remove(m, e);
  bool in = (e->m.connected || e->rotating) && e->m.state != MEMBER_DEAD;
  if (in && !e->ring) { /* at a random place among the members not yet probed in this round */
    uint32_t at = m->ring_next + (uint32_t)rng_below(m->cfg.rng, m->ring_count - m->ring_next + 1);
    if (at < m->ring_count) ring_put(m, m->ring_count, m->ring[at]);
    ring_put(m, at, e);
    m->ring_count++;
  } else if (!in && e->ring) {
    uint32_t at = e->ring - 1;
    assert(at < m->ring_count && m->ring[at] == e);
    if (at < m->ring_next) { /* it was probed in this round: the last one that was takes its place */
      if (at != --m->ring_next) ring_put(m, at, m->ring[m->ring_next]);
      at = m->ring_next;
    }
    if (at != --m->ring_count) ring_put(m, at, m->ring[m->ring_count]);
    e->ring = 0;
  }
}

void ring_shuffle(struct membership *m) { /* Fisher and Yates */
  for (uint32_t i = m->ring_count; i > 1; i--) {
    uint32_t k = (uint32_t)rng_below(m->cfg.rng, i);
    struct entry *e = m->ring[k];
    ring_put(m, k, m->ring[i - 1]);
    ring_put(m, i - 1, e);
  }
  m->ring_next = 0;
}

/* Fills the rotating set while few members are probed at all. replace: swaps the oldest one of a full set for another. */
void ring_rotate(struct membership *m, bool replace) {
  if (replace && m->rot_count >= m->cfg.rotating) {
    struct entry *old = m->rot[0];
    rot_remove(m, old);
    ring_update(m, old);
  }
  bool once = replace;
  for (uint32_t k = 0; k < m->cfg.rotating && m->rot_count < m->cfg.rotating; k++) {
    if (m->ring_count >= m->cfg.rotating && !once) return;
    once = false;
    struct entry *e = NULL;
    for (int i = 0; m->alive && i < TRIES && !e; i++) {
      e = m->v[rng_below(m->cfg.rng, m->alive)];
      if (e->ring) e = NULL;
    }
    if (!e) return;
    e->rotating = true;
    m->rot[m->rot_count++] = e;
    ring_update(m, e);
  }
}

struct entry *ring_random(struct membership *m, const struct id *but) {
  for (int i = 0; m->ring_count && i < TRIES; i++) {
    struct entry *e = m->ring[rng_below(m->cfg.rng, m->ring_count)];
    if (e->m.connected && e->m.state == MEMBER_ALIVE && !(but && id_eq(&e->m.info.id, but))) return e;
  }
  return NULL;
}

const struct member *membership_find(const struct membership *m, const struct id *id) {
  struct entry *e = table_find(m, id);
  return e ? &e->m : NULL;
}

bool membership_has_list(const struct membership *m, const struct id *id) {
  const struct entry *e = table_find(m, id);
  return e && e->told_all;
}

const struct member *membership_each(const struct membership *m, const struct member *prev) {
  const struct list *at = prev ? &container_of(prev, struct entry, m)->all : &m->all;
  return at->next == &m->all ? NULL : &ENTRY(at->next, all)->m;
}
