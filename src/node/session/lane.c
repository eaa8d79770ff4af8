#include "node/session/lane.h"

#include "base/check.h"
#include "base/err.h"
#include "node/session/session.h"

#define BLOCK_ITEMS 30 /* half a KiB: a queue is long or empty */

struct lane_item {
  struct shbuf *frame;
  uint8_t qos; /* of a publish, for this receiver: this and */
  bool retain;
};
struct lane_block {
  struct lane_block *next;
  uint32_t at, end; /* its items that wait: never none */
  struct lane_item items[BLOCK_ITEMS];
};

enum lane lane_of(uint8_t type) {
  switch (type) {
  case MSG_CALL:
  case MSG_CAST:
  case MSG_REPLY:
  case MSG_CANCEL: /* never before its CALL */
  case MSG_RPC_ROUTE:
    return LANE_CALLS;
  case MSG_PUBLISH:
  case MSG_PUBSUB_ROUTE:
    return LANE_PUBLISHES;
  default:
    return LANE_CONTROL;
  }
}

void lanes_init(struct lanes *l) {
  *l = (struct lanes){0};
  list_init(&l->filled);
}

/* Whether something of the way waits that goes before what is in this lane. */
static bool is_behind(const struct session *s, int lane) {
  for (int i = 0; i < lane; i++)
    if (s->lanes.lane[i].first && s->door.way[i] == s->door.way[lane]) return true;
  return false;
}

static bool has_room(const struct session *s, int64_t way, size_t len) {
  size_t unsent = s->door.ops->unsent(&s->door, way);
  return !unsent || unsent + len <= DOOR_UNSENT;
}

/* Small frames are copied, which packs them; larger ones, and those for which there is no memory, are referred to. */
static int put(struct door *d, int64_t way, struct slice frame, struct shbuf *shared) {
  if (frame.n > SMALL_FRAME) return d->ops->write_ref(d, way, shared);
  int err = d->ops->write(d, way, frame);
  return err == MACULA_ENOMEM && shared ? d->ops->write_ref(d, way, shared) : err;
}

static struct lane_item *append(struct session *s, struct lane_queue *l) {
  struct lane_block *k = l->last;
  if (k && k->end < BLOCK_ITEMS) return &k->items[k->end++];
  if (!(k = mem_alloc(&s->node->rows.mem[ROW_SEND], sizeof *k))) return NULL;
  k->next = NULL;
  k->at = 0;
  k->end = 1;
  if (l->last)
    l->last->next = k;
  else
    l->first = k;
  l->last = k;
  return k->items;
}

static int enqueue(struct session *s, enum lane lane, struct parcel *p) {
  struct lane_queue *l = &s->lanes.lane[lane];
  struct shbuf *b = parcel_share(p);
  struct lane_item *it = b ? append(s, l) : NULL;
  if (!it) return MACULA_ENOMEM;
  *it = (struct lane_item){.frame = shbuf_ref(b), .qos = p->qos, .retain = p->retain};
  if (!s->lanes.bytes) {
    list_append(&s->node->sessions.filled, &s->lanes.filled);
    door_more(&s->door, true);
  }
  l->bytes += b->len;
  s->lanes.bytes += b->len;
  return 0;
}

int lanes_write(struct session *s, enum lane lane, int64_t way, struct parcel *p) {
  bool waits = way == s->door.way[lane] &&
               ((s->lanes.bytes && (s->lanes.lane[lane].first || is_behind(s, lane))) || !has_room(s, way, p->frame.n));
  return waits ? enqueue(s, lane, p) : put(&s->door, way, p->frame, p->shared);
}

static struct lane_item take(struct session *s, struct lane_queue *l) {
  struct lane_block *k = l->first;
  struct lane_item it = k->items[k->at++];
  assert(l->bytes >= it.frame->len && s->lanes.bytes >= it.frame->len);
  l->bytes -= it.frame->len;
  s->lanes.bytes -= it.frame->len;
  if (k->at < k->end) return it;
  l->first = k->next;
  if (!l->first) l->last = NULL;
  mem_free(&s->node->rows.mem[ROW_SEND], k);
  return it;
}

static void lost(struct session *s, int lane, const struct lane_item *it, int err) {
  if (lane != LANE_PUBLISHES || it->qos) {
    session_cut(s, lane == LANE_PUBLISHES ? MACULA_SLOW_CONSUMER : err);
    return;
  }
  s->dropped++;
  s->node->stats.dropped++;
}

void lanes_pump(struct session *s) {
  for (int i = 0; i < LANES; i++) {
    struct lane_queue *l = &s->lanes.lane[i];
    while (l->first && !is_behind(s, i) && has_room(s, s->door.way[i], l->first->items[l->first->at].frame->len)) {
      struct lane_item it = take(s, l);
      int err = put(&s->door, s->door.way[i], shbuf_view(it.frame), it.frame);
      shbuf_unref(it.frame);
      if (err) lost(s, i, &it, err);
    }
  }
  if (s->lanes.bytes || list_empty(&s->lanes.filled)) return;
  list_remove(&s->lanes.filled);
  door_more(&s->door, false);
}

void lanes_clear(struct session *s) {
  for (int i = 0; i < LANES; i++)
    while (s->lanes.lane[i].first) shbuf_unref(take(s, &s->lanes.lane[i]).frame);
  list_remove(&s->lanes.filled);
}

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
const char *lanes_check(const struct session *s) {
  size_t all = 0;
  for (int i = 0; i < LANES; i++) {
    const struct lane_queue *l = &s->lanes.lane[i];
    const struct lane_block *last = NULL;
    size_t bytes = 0;
    for (const struct lane_block *k = l->first; k; last = k, k = k->next) {
      CHECK(k->at < k->end && k->end <= BLOCK_ITEMS, "lane: a block is empty, or overfull");
      for (const struct lane_item *it = k->items + k->at; it < k->items + k->end; it++) {
        CHECK(it->frame->refs > 0 && it->frame->len, "lane: a frame is empty, or nobody's");
        CHECK(i == LANE_PUBLISHES || !(it->qos || it->retain), "lane: a frame that is no publish has a part of its receiver's");
        bytes += it->frame->len;
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

double lanes_owned(const struct node *n) {
  double sum = 0;
  list_for(s, &n->sessions.filled) {
    const struct lanes *l = &container_of(s, const struct session, lanes.filled)->lanes;
    for (int i = 0; i < LANES; i++)
      for (const struct lane_block *k = l->lane[i].first; k; k = k->next) {
        sum += (double)mem_cost(k);
        for (uint32_t at = k->at; at < k->end; at++) sum += shbuf_part(k->items[at].frame, &n->rows.mem[ROW_SEND]);
      }
  }
  return sum;
}
