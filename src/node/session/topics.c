#include "node/session/topics.h"

#include <assert.h>

#include "base/check.h"
#include "base/err.h"
#include "node/session/origin.h"
#include "node/session/session.h"
#include "wire/names.h"

#define LEAST_SLOTS 4u         /* of a table; it grows up to ANNOUNCE_SLOTS */
#define MODEST_SLOTS 16u       /* larger tables may take only half of the room */
#define SAY_FULL (60 * NS_SEC) /* between two log lines */
#define INSISTS 4              /* times in a row that another topic comes before it takes a slot */

struct topics_heard {
  uint32_t cap; /* slots: a power of two */
  struct topic_slot slot[];
};
struct told_slot {
  uint64_t number;     /* 0: none */
  uint64_t other : 48; /* another one that came since that one did, */
  uint64_t times : 8;  /* so often in a row */
  uint64_t taken : 8;
};
/* As a slot of the receiver is number mod 256, what this table holds stands there, too, while it is smaller. */
struct topics_told {
  uint32_t mask; /* slots - 1 */
  struct told_slot slot[];
};

/* ---- memory ----------------------------------------------------------------------------------------------------------------
 */
static struct mem *mem_of(struct node *n) { return &n->rows.mem[ROW_ORIGINS]; }

/* Topics take at most a quarter of the account, and leave to principals what the slots of these leave, too. */
static void *take(struct node *n, size_t size, bool modest) {
  struct mem *mem = mem_of(n);
  size_t room = mem->limit / (modest ? 4 : 8);
  void *p = n->sessions.topics.bytes + size <= room && mem->bytes + size <= mem->limit / 4 * 3 ? mem_alloc(mem, size) : NULL;
  if (p) n->sessions.topics.bytes += mem_cost(p);
  return p;
}

static void give(struct node *n, void *p) {
  if (!p) return;
  assert(n->sessions.topics.bytes >= mem_cost(p));
  n->sessions.topics.bytes -= mem_cost(p);
  mem_free(mem_of(n), p);
}

static bool topic_eq(const struct hlink *h, const void *key, size_t len) {
  const struct topic *t = container_of(h, struct topic, h);
  return len == t->len && memcmp(t->name, key, len) == 0;
}

static struct topic *topic_get(struct node *n, const char *name, size_t len) {
  struct topics *all = &n->sessions.topics;
  struct hlink *h = htab_find(&all->tab, name, len);
  struct topic *t = h ? container_of(h, struct topic, h) : NULL;
  if (t) return t->refs++, t;
  if (all->last >= ANNOUNCE_LAST || !(t = take(n, sizeof *t + len, true))) return NULL;
  t->refs = 1;
  t->len = (uint8_t)len;
  memcpy(t->name, name, len);
  if (htab_insert(&all->tab, &t->h, name, len)) return give(n, t), NULL;
  t->number = ++all->last;
  return t;
}

static void topic_unref(struct node *n, struct topic *t) {
  if (!t) return;
  assert(t->refs > 0);
  if (--t->refs) return;
  htab_remove(&n->sessions.topics.tab, &t->h);
  give(n, t);
}

/* ---- heard -----------------------------------------------------------------------------------------------------------------
 */
static uint32_t place_of(uint64_t number) { return (uint32_t)(number % ANNOUNCE_SLOTS); }

/* NULL: no room. */
static struct topic_slot *slot_for(struct session *s, uint64_t number) {
  struct topics_heard *had = s->native->topics_of.heard, *t = had;
  uint32_t cap = had ? had->cap : LEAST_SLOTS, old = had ? cap : 0;
  while (cap <= place_of(number)) cap *= 2;
  if (cap > old) {
    size_t size = sizeof *t + cap * sizeof t->slot[0];
    if (!(t = take(s->node, size, cap <= MODEST_SLOTS))) return NULL;
    memset(t, 0, size);
    if (old) memcpy(t->slot, had->slot, old * sizeof t->slot[0]);
    t->cap = cap;
    give(s->node, had);
    s->native->topics_of.heard = t;
  }
  return &t->slot[place_of(number)];
}

static void refuse(struct session *s, const char *text) {
  if (s->peer)
    origin_refuse(s, text);
  else
    session_close(s, MACULA_BAD_FRAME, text);
}

/* It is not taken: its publisher spells it, and loses nothing. */
static void no_room(struct node *n) {
  n->sessions.topics.refused++;
  if (n->now < n->sessions.topics.said) return;
  n->sessions.topics.said = time_add(n->now, SAY_FULL);
  log_info(
      n->log, "topics_full",
      "topics=%u text=\"no room for the number of one more topic: publishes that could be short are not; raise origin_bytes\"",
      n->sessions.topics.tab.count);
}

void topics_heard(struct session *s, const struct msg_announce *m) {
  struct node *n = s->node;
  char name[NAME_MAX_LEN + 1];
  size_t len;
  if (m->number > ANNOUNCE_LAST || name_topic(m->topic, name, &len)) {
    refuse(s, "ANNOUNCE has no topic, or no number that can be");
    return;
  }
  struct topic_slot *slot = slot_for(s, m->number);
  if (!slot) {
    no_room(n);
    return;
  }
  struct topic *topic = topic_get(n, name, len), *old = slot->topic;
  *slot = (struct topic_slot){.number = m->number, .topic = topic, .slashes = name_slashes(m->topic)};
  topic_unref(n, old);
  struct msg taken = {.type = MSG_ANNOUNCE, .announce = {.kind = ANNOUNCE_TAKEN, .number = m->number}};
  if (topic)
    (void)session_send(s, &taken, !s->peer); /* if it finds no room, the topic is spelled */
  else
    no_room(n);
}

struct topic_slot *topics_by_number(struct session *s, uint64_t number) {
  struct topics_heard *t = s->native->topics_of.heard;
  struct topic_slot *slot = t && place_of(number) < t->cap ? &t->slot[place_of(number)] : NULL;
  if (slot && slot->topic && slot->number == number) return slot;
  refuse(s, "a message names its topic by a number that was not announced and taken");
  return NULL;
}

/* ---- told ------------------------------------------------------------------------------------------------------------------
 */
static struct topics_told *told_grown(struct session *to, uint32_t cap) {
  struct topics_told *had = to->native->topics_of.told, *t;
  size_t size = sizeof *t + cap * sizeof t->slot[0];
  if (!(t = take(to->node, size, cap <= MODEST_SLOTS))) return NULL;
  memset(t, 0, size);
  t->mask = cap - 1;
  for (uint32_t i = 0; had && i <= had->mask; i++) t->slot[had->slot[i].number & t->mask] = had->slot[i];
  give(to->node, had);
  return to->native->topics_of.told = t;
}

/* The slot for the number; NULL: there is no room for any. */
static struct told_slot *told_for(struct session *to, uint64_t number) {
  struct topics_told *t = to->native->topics_of.told, *more;
  if (!t && !(t = told_grown(to, LEAST_SLOTS))) return NULL;
  for (;;) {
    struct told_slot *e = &t->slot[number & t->mask];
    if (!e->number || place_of(e->number) == place_of(number) || !(more = told_grown(to, (t->mask + 1) * 2))) return e;
    t = more;
  }
}

/* Of two topics that share a slot the one that is there stays, unless the other one comes without it: to announce each anew
 * would take more than to spell one. */
static bool insists(struct told_slot *e, uint64_t number) {
  if (e->other != number) e->times = 0;
  e->other = number;
  if (e->times < INSISTS) e->times++;
  return e->times == INSISTS;
}

static int announce(struct session *to, uint64_t number, struct slice name) {
  struct msg m = {.type = MSG_ANNOUNCE, .announce = {.kind = ANNOUNCE_TOPIC, .number = number, .topic = name}};
  struct parcel parcel;
  int err = parcel_encode(&parcel, &to->node->rows.mem[ROW_SEND], &m, SIZE_MAX);
  if (err) return err;
  parcel.qos = 1; /* if the lane loses it, the session ends: what follows could not be read */
  err = session_write(to, LANE_PUBLISHES, &parcel);
  parcel_done(&parcel);
  return err;
}

bool topics_named(struct session *to, uint64_t number, struct slice name) {
  struct topics_told *t = to->native->topics_of.told;
  struct told_slot *e = t ? &t->slot[number & t->mask] : NULL;
  if (!e || e->number != number) {
    if (!(e = told_for(to, number))) return false;
    if ((e->number && !insists(e, number)) || announce(to, number, name)) return false;
    *e = (struct told_slot){.number = number, .taken = !to->peer};
  }
  e->times = 0;
  return e->taken;
}

void topics_taken(struct session *link, uint64_t number) {
  struct topics_told *t = link->native->topics_of.told;
  struct told_slot *e = t ? &t->slot[number & t->mask] : NULL;
  if (e && e->number == number) e->taken = true;
}

/* ---- life ------------------------------------------------------------------------------------------------------------------
 */
void topics_init(struct node *n) { htab_init(&n->sessions.topics.tab, mem_of(n), n->rng, UINT32_MAX, topic_eq); }
void topics_done(struct node *n) {
  assert(!n->sessions.topics.tab.count && !n->sessions.topics.bytes);
  htab_done(&n->sessions.topics.tab);
}

void topics_end(struct session *s) {
  if (!s->native) return;
  struct topics_heard *heard = s->native->topics_of.heard;
  for (uint32_t i = 0; heard && i < heard->cap; i++) topic_unref(s->node, heard->slot[i].topic);
  give(s->node, heard);
  give(s->node, s->native->topics_of.told);
  s->native->topics_of.heard = NULL;
  s->native->topics_of.told = NULL;
}

const char *topics_check(const struct node *n) {
  const struct topics *all = &n->sessions.topics;
  uint64_t refs = 0, counted = 0;
  size_t bytes = 0;
  CHECK_PART(htab_check(&all->tab));
  for (struct hlink *h = NULL; (h = htab_next(&all->tab, h));) {
    const struct topic *t = container_of(h, const struct topic, h);
    CHECK(htab_has(&all->tab, h, t->name, t->len), "topics: one is not found by its name");
    CHECK(t->number && t->number <= all->last && t->refs, "topics: one has a number that was not given, or is nobody's");
    counted += t->refs;
    bytes += mem_cost(t);
  }
  list_for(it, &n->sessions.all) {
    const struct session *s = container_of(it, const struct session, all);
    if (!s->native) continue;
    const struct topics_heard *heard = s->native->topics_of.heard;
    const struct topics_told *told = s->native->topics_of.told;
    for (uint32_t i = 0; heard && i < heard->cap; i++) {
      refs += heard->slot[i].topic != NULL;
      CHECK(!heard->slot[i].number || place_of(heard->slot[i].number) == i, "topics: what was heard stands in another's slot");
    }
    for (uint32_t i = 0; told && i <= told->mask; i++)
      CHECK(!told->slot[i].number || (told->slot[i].number & told->mask) == i,
            "topics: what was told stands in another's slot");
    bytes += mem_cost(heard) + mem_cost(told);
  }
  CHECK(refs == counted, "topics: they are not referred to as often as they say");
  CHECK(bytes == all->bytes, "topics: they are not as many bytes as counted");
  return NULL;
}

size_t topics_owned(const struct node *n) { return n->sessions.topics.bytes + htab_owned(&n->sessions.topics.tab); }
