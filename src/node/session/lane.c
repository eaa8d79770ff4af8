#include "node/session/lane.h"

#include "base/check.h"
#include "base/err.h"
#include "node/session/loss.h"
#include "node/session/session.h"
#include "trust/agree.h"

/* A queue is long or empty: its first block is small, later ones are larger. */
#define BLOCK_LEAST 488u /* bytes of items */
#define BLOCK_MOST 4072u
#define FREED_A_TURN 20000 /* items: about a millisecond; a link's queue of small frames has a hundred thousand */

struct lane_item {
  struct shbuf *frame; /* NULL: its bytes follow */
  uint32_t len;
  uint8_t qos; /* of a publish, for this receiver: this and */
  bool retain;
  bool expires; /* when follows, before the bytes */
};
struct lane_block {
  struct lane_block *next;
  uint32_t at, end, cap; /* bytes: from at to end are the items that wait, never none */
  _Alignas(struct lane_item) uint8_t bytes[];
};

static uint32_t span(const struct shbuf *frame, size_t len, bool expires) {
  size_t n = sizeof(struct lane_item) + (expires ? sizeof(nanotime) : 0) + (frame ? 0 : len), to = _Alignof(struct lane_item);
  return (uint32_t)((n + to - 1) / to * to);
}

static struct lane_item *item_at(const struct lane_block *k, uint32_t at) {
  return (struct lane_item *)(void *)(k->bytes + at);
}
static uint32_t span_of(const struct lane_item *it) { return span(it->frame, it->len, it->expires); }
static uint32_t span_at(const struct lane_block *k, uint32_t at) { return span_of(item_at(k, at)); }
static struct slice frame_of(const struct lane_item *it) {
  return slice_of(it->frame ? it->frame->data : (const uint8_t *)(it + 1) + (it->expires ? sizeof(nanotime) : 0), it->len);
}
static bool has_expired(const struct lane_item *it, nanotime now) {
  nanotime at = TIME_NEVER;
  if (it->expires) memcpy(&at, it + 1, sizeof at);
  return at <= now;
}

enum lane lane_of(uint8_t type) {
  switch (type) {
  case MSG_CALL:
  case MSG_CAST:
  case MSG_REPLY:
  case MSG_CANCEL: /* must not overtake the CALL that it cancels */
  case MSG_RPC_ROUTE:
    return LANE_CALLS;
  case MSG_PUBLISH:
  case MSG_PUBSUB_ROUTE:
    return LANE_PUBLISHES;
  default:
    return LANE_CONTROL;
  }
}

bool lane_is_large(const struct msg *m) {
  switch (m->type) {
  case MSG_CALL:
  case MSG_CAST:
    return m->call.args.n > LARGE_FRAME;
  case MSG_REPLY:
    return !m->reply.is_error && m->reply.result.n > LARGE_FRAME;
  case MSG_CANCEL:
    return m->cancel.large;
  case MSG_RPC_ROUTE:
    return agree_is_large(m->route.seal);
  default:
    return false;
  }
}

bool lane_may_be_large(uint8_t type, size_t len) { return lane_of(type) == LANE_CALLS && len > LARGE_FRAME; }

bool lane_has_large(const struct session *s) { return s->door.way[LANE_LARGE] != s->door.home; }

enum lane lane_for(const struct session *s, const struct msg *m) {
  return lane_is_large(m) && lane_has_large(s) ? LANE_LARGE : lane_of((uint8_t)m->type);
}

void lanes_init(struct lanes *l) {
  *l = (struct lanes){0};
  list_init(&l->filled);
}

/* The way of the lane, opened if it is one of its own that is not yet; < 0: the peer grants none now, or the door is closed. */
static int64_t way_of(struct session *s, int lane) {
  int64_t *way = &s->door.way[lane];
  if (*way == DOOR_TO_OPEN && s->state != SESSION_DIALLING) (void)door_open_way(&s->door, way);
  return *way;
}

static bool waits_in(const struct session *s, int lane) { return s->lanes.lane && s->lanes.lane[lane].first; }

/* Whether all that goes by ways of lanes' own has arrived, so that the last word may follow by the way of CONNECT. */
static bool is_last(const struct session *s) {
  for (int i = 0; i < LANES; i++) {
    int64_t way = s->door.way[i];
    if (way == s->door.home) continue;
    if (waits_in(s, i) || (way >= 0 && door_queued(&s->door, way))) return false;
  }
  return true;
}
static bool must_be_last(const struct slice frame) { return frame.p[1] == MSG_DISCONNECT; }

/* Whether a frame waits that goes by the same way and must be sent before those of this lane. */
static bool is_behind(const struct session *s, int lane) {
  for (int i = 0; i < lane; i++)
    if (waits_in(s, i) && s->door.way[i] == s->door.way[lane]) return true;
  return false;
}

static bool fits(size_t unsent, size_t len) { return !unsent || unsent + len <= DOOR_UNSENT; }

/* Small frames are copied, so that they are packed together; larger ones, and small ones for whose copy there is no memory, are
 * passed by reference. */
static int put(struct door *d, int64_t way, struct slice frame, struct shbuf *shared) {
  if (frame.n > SMALL_FRAME || (shared && frame.n > SHARED_FRAME)) return d->ops->write_ref(d, way, shared);
  int err = d->ops->write(d, way, frame);
  return err == MACULA_ENOMEM && shared ? d->ops->write_ref(d, way, shared) : err;
}

static struct lane_item *append(struct session *s, struct lane_queue *l, uint32_t need) {
  struct lane_block *k = l->last;
  if (!k || k->end + need > k->cap) {
    uint32_t cap = !k ? BLOCK_LEAST : k->cap < BLOCK_MOST / 2 ? k->cap * 2 : BLOCK_MOST;
    if (cap < need) cap = need;
    if (!(k = mem_alloc(&s->node->rows.mem[ROW_SEND], sizeof *k + cap))) return NULL;
    *k = (struct lane_block){.cap = cap};
    if (l->last)
      l->last->next = k;
    else
      l->first = k;
    l->last = k;
  }
  struct lane_item *it = item_at(k, k->end);
  k->end += need;
  return it;
}

/* The first copy of a small frame stands in the queue itself, so that one reader costs no allocation a message; from the second
 * on all refer to one. */
static int enqueue(struct session *s, enum lane lane, struct parcel *p) {
  struct lanes *lanes = &s->lanes;
  if (!lanes->lane && !(lanes->lane = mem_calloc(&s->node->rows.mem[ROW_SESSIONS], LANES, sizeof *lanes->lane)))
    return MACULA_ENOMEM;
  struct lane_queue *l = &lanes->lane[lane];
  bool inside = !p->shared && !p->waits, expires = p->expires != TIME_NEVER;
  struct shbuf *b = inside ? NULL : parcel_share(p);
  struct lane_item *it = inside || b ? append(s, l, span(b, p->frame.n, expires)) : NULL;
  if (!it) return MACULA_ENOMEM;
  *it = (struct lane_item){
      .frame = b ? shbuf_ref(b) : NULL, .len = (uint32_t)p->frame.n, .qos = p->qos, .retain = p->retain, .expires = expires};
  if (expires) memcpy(it + 1, &p->expires, sizeof p->expires);
  if (inside) memcpy((uint8_t *)(it + 1) + (expires ? sizeof p->expires : 0), p->frame.p, p->frame.n);
  p->waits = true;
  if (!s->lanes.bytes) {
    list_append(&s->node->sessions.filled, &s->lanes.filled);
    door_more(&s->door, true);
  }
  l->bytes += p->frame.n;
  s->lanes.bytes += p->frame.n;
  return 0;
}

int lanes_write(struct session *s, enum lane lane, int64_t way, struct parcel *p) {
  bool own = way == s->door.way[lane];
  if (own) way = way_of(s, lane);
  bool waits = own && ((s->lanes.bytes && (waits_in(s, lane) || is_behind(s, lane))) || way < 0 ||
                       !fits(s->door.ops->unsent(&s->door, way), p->frame.n) || (must_be_last(p->frame) && !is_last(s)));
  return waits ? enqueue(s, lane, p) : put(&s->door, way, p->frame, p->shared);
}

enum lane lanes_last(const struct session *s) {
  int lane = LANES - 1;
  while (lane && s->door.way[lane] != s->door.home) lane--;
  return (enum lane)lane;
}

static struct lane_item *first_of(const struct lane_queue *l) { return item_at(l->first, l->first->at); }

static void drop_first(struct session *s, struct lane_queue *l) {
  struct lane_block *k = l->first;
  struct lane_item *it = first_of(l);
  assert(l->bytes >= it->len && s->lanes.bytes >= it->len);
  l->bytes -= it->len;
  s->lanes.bytes -= it->len;
  k->at += span_of(it);
  shbuf_unref(it->frame);
  if (k->at < k->end) return;
  l->first = k->next;
  if (!l->first) l->last = NULL;
  mem_free(&s->node->rows.mem[ROW_SEND], k);
}

static void lost(struct session *s, int lane, uint8_t qos, int err) {
  if (lane != LANE_PUBLISHES || qos) {
    session_cut(s, lane == LANE_PUBLISHES ? MACULA_SLOW_CONSUMER : err);
    return;
  }
  loss_note(s);
}

void lanes_pump(struct session *s) {
  for (int i = 0; i < LANES && s->lanes.lane; i++) {
    struct lane_queue *l = &s->lanes.lane[i];
    int64_t way = l->first ? way_of(s, i) : -1;
    if (way < 0 || is_behind(s, i)) continue;
    size_t unsent = s->door.ops->unsent(&s->door, way);
    while (l->first && fits(unsent, first_of(l)->len)) {
      struct lane_item *it = first_of(l);
      if (has_expired(it, s->node->now)) {
        s->node->stats.expired++;
        drop_first(s, l);
        continue;
      }
      if (must_be_last(frame_of(it)) && !is_last(s)) break;
      uint8_t qos = it->qos;
      unsent += it->len;
      int err = put(&s->door, way, frame_of(it), it->frame);
      drop_first(s, l);
      if (err) lost(s, i, qos, err);
    }
  }
  if (s->lanes.bytes || list_empty(&s->lanes.filled)) return;
  list_remove(&s->lanes.filled);
  door_more(&s->door, false);
}

static void free_left(struct node *n) {
  struct sessions *all = &n->sessions;
  while (all->left && all->left_freed < FREED_A_TURN) {
    struct lane_block *k = all->left;
    for (uint32_t at = k->at, len; at < k->end; at += len, all->left_freed++) {
      len = span_at(k, at);
      shbuf_unref(item_at(k, at)->frame);
    }
    all->left = k->next;
    mem_free(&n->rows.mem[ROW_SEND], k);
  }
}

void lanes_clear(struct session *s) {
  struct sessions *all = &s->node->sessions;
  for (int i = 0; i < LANES && s->lanes.lane; i++) {
    struct lane_queue *l = &s->lanes.lane[i];
    if (!l->first) continue;
    l->last->next = all->left;
    all->left = l->first;
    *l = (struct lane_queue){0};
  }
  s->lanes.bytes = 0;
  list_remove(&s->lanes.filled);
  free_left(s->node);
}

void lanes_tick(struct node *n) {
  n->sessions.left_freed = 0;
  free_left(n);
}

bool lanes_are_due(const struct node *n) { return n->sessions.left; }

void lanes_done(struct node *n) {
  while (n->sessions.left) lanes_tick(n);
}

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
const char *lanes_check(const struct session *s) {
  size_t all = 0;
  for (int i = 0; i < LANES && s->lanes.lane; i++) {
    const struct lane_queue *l = &s->lanes.lane[i];
    const struct lane_block *last = NULL;
    size_t bytes = 0;
    for (const struct lane_block *k = l->first; k; last = k, k = k->next) {
      CHECK(k->at < k->end && k->end <= k->cap, "lane: a block is empty, or overfull");
      for (uint32_t at = k->at; at < k->end; at += span_at(k, at)) {
        const struct lane_item *it = item_at(k, at);
        CHECK(it->len && (it->frame ? it->frame->refs > 0 && it->frame->len == it->len : it->len <= SMALL_FRAME),
              "lane: a frame is empty, or nobody's");
        CHECK(i == LANE_PUBLISHES || !(it->qos || it->retain), "lane: a frame that is no publish has a part of its receiver's");
        bytes += it->len;
      }
    }
    CHECK(last == l->last, "lane: it does not end where it says");
    CHECK(bytes == l->bytes, "lane: the bytes that wait are not as many as counted");
    all += bytes;
  }
  CHECK(all == s->lanes.bytes, "lane: the bytes of all lanes are not as many as counted");
  CHECK(!all == list_empty(&s->lanes.filled), "lane: one with frames that wait is not among those, or another is");
  return NULL;
}

const char *filled_check(const struct node *n) {
  uint32_t filled = 0;
  list_for(it, &n->sessions.all) filled += container_of(it, const struct session, all)->lanes.bytes > 0;
  CHECK(list_has(&n->sessions.filled, filled), "lane: the sessions with frames that wait are not as many as say so");
  return NULL;
}

static double blocks_owned(const struct lane_block *k, const struct mem *m) {
  double sum = 0;
  for (; k; k = k->next) {
    sum += (double)mem_cost(k);
    for (uint32_t at = k->at; at < k->end; at += span_at(k, at))
      if (item_at(k, at)->frame) sum += shbuf_part(item_at(k, at)->frame, m);
  }
  return sum;
}

double lanes_owned(const struct node *n) {
  const struct mem *m = &n->rows.mem[ROW_SEND];
  double sum = blocks_owned(n->sessions.left, m);
  list_for(s, &n->sessions.filled) for (int i = 0; i < LANES; i++) sum +=
      blocks_owned(container_of(s, const struct session, lanes.filled)->lanes.lane[i].first, m);
  return sum;
}
