#include "node/session/room.h"

#include "base/check.h"
#include "node/flow/keep.h"
#include "node/session/lane.h"
#include "node/session/session.h"

#define STALLED_AFTER (200 * NS_MS) /* a queue without an acknowledgement for so long may take only a share of the pool */
#define STILL (5 * NS_SEC)

static bool has_own_way(const struct session *s) { return s->door.way[LANE_PUBLISHES] != s->door.home; }

size_t room_deliveries(const struct session *s) {
  int64_t way = s->door.way[LANE_PUBLISHES];
  return lane_bytes(s, LANE_PUBLISHES) + (way >= 0 ? door_queued(&s->door, way) : 0);
}

static bool is_stalled(const struct session *s) {
  int64_t way = s->door.way[LANE_PUBLISHES];
  return door_queued(&s->door, way) && time_since(s->node->now, door_progress(&s->door, way)) > STALLED_AFTER;
}

/* Of one that was set aside what left its queue does not count: the node itself took it out. */
bool room_moves(const struct session *s) {
  if (s->set_aside) return false;
  int64_t way = s->door.way[LANE_PUBLISHES];
  return !room_deliveries(s) || way < 0 || time_since(s->node->now, door_progress(&s->door, way)) <= STILL;
}

/* ---- keeping up ------------------------------------------------------------------------------------------------------------
 */
struct flow_reader *room_reader(struct session *s) {
  struct flow *f = &s->node->flow;
  if (s->reader) return s->reader;
  struct flow_reader *r = mem_calloc(&s->node->rows.mem[ROW_FLOW], 1, sizeof *r);
  if (!r) return NULL;
  flow_awaited_init(&r->at, s);
  list_init(&r->paces);
  list_init(&r->pacing);
  list_append(&f->readers, &r->at.all);
  f->reader_count++;
  f->look_at = time_min(f->look_at, time_add(s->node->now, ROOM_FORGET));
  return s->reader = r;
}

void room_forget(struct session *s) {
  struct flow_reader *r = s->reader;
  if (!r) return;
  assert(list_empty(&r->at.holders) && list_empty(&r->paces) && s->node->flow.reader_count);
  list_remove(&r->at.all);
  s->node->flow.reader_count--;
  s->reader = NULL;
  mem_free(&s->node->rows.mem[ROW_FLOW], r);
}

static struct keep_now look(const struct session *s) {
  int64_t way = s->door.way[LANE_PUBLISHES];
  struct door_offsets at = {0};
  struct keep_now now = {.clock = s->node->flow.clock, .rtt = door_rtt(&s->door), .allowed = door_allowed(&s->door)};
  if (way >= 0 && !door_offsets(&s->door, way, &at)) {
    at.written = door_written(&s->door);
    at.acked = at.written - door_queued(&s->door, DOOR_ALL);
  }
  now.total = (uint32_t)(at.written + lane_bytes(s, LANE_PUBLISHES));
  now.acked = (uint32_t)at.acked;
  return now;
}

bool room_keeps_up(struct session *s) {
  if (s->set_aside) return false;
  struct flow_reader *r = room_reader(s);
  nanotime at = s->node->flow.clock + 1;
  if (!r) return false;
  if (r->keeps_at == at) return true; /* what is acknowledged meanwhile, and what comes in, cannot change it */
  struct keep_now now = look(s);
  keep_note(&r->keep, &now);
  bool keeps = keep_holds(&r->keep, &now);
  if (keeps) r->keeps_at = at;
  return keeps;
}

bool room_was_empty(struct session *s) {
  if (!s->reader) return true; /* its queue is short, or was never looked at */
  struct keep_now now = look(s);
  return keep_was_empty(&s->reader->keep, &now);
}

static size_t base_cap(const struct session *s) { return s->peer ? s->node->limits.peer_queue : s->node->limits.client_queue; }

size_t room_step(const struct session *s) { return base_cap(s) / 16; }

void room_note(struct session *s, size_t queued) {
  struct flow_reader *r = s->reader;
  if (!queued && r) keep_emptied(&r->keep);
  if (!queued || (!r && queued < base_cap(s) / 4) || (r && !keep_is_due(&r->keep, s->node->flow.clock))) return;
  if (!(r = room_reader(s))) return;
  struct keep_now now = look(s);
  keep_note(&r->keep, &now);
}

/* ---- room ------------------------------------------------------------------------------------------------------------------
 */
static size_t share_of(const struct node *n) {
  size_t used = n->rows.mem[ROW_SEND].bytes, most = SEND_POOL(n) / 4 * 3;
  return used < most ? (most - used) / 16 : 0;
}

enum room room_for(struct session *s, size_t len) {
  struct node *n = s->node;
  /* memory that this receiver adds to the pool: a large frame is shared and counted already */
  size_t fresh = len > SMALL_FRAME ? SMALL_FRAME : len, pool = SEND_POOL(n), queued = session_queued(s);
  bool full = n->rows.mem[ROW_SEND].bytes + fresh > pool - pool / 32;
  if (full) return queued && room_keeps_up(s) ? ROOM_LATER : ROOM_NONE;
  if (!queued) return ROOM_YES;
  size_t cap = base_cap(s), share = share_of(n);
  if (share < cap && is_stalled(s)) cap = share;
  if (queued + len <= cap) return ROOM_YES;
  if (!room_keeps_up(s)) return ROOM_NONE;
  return has_own_way(s) && queued + len <= share ? ROOM_YES : ROOM_LATER;
}

/* ---- for publishers of this node, and of others
 * ------------------------------------------------------------------------------
 *
 * A publisher at another node hears of it a round trip later that it has to wait, and what is on its way then must find room.
 * So publishers at this node leave a part of a queue free, and wait for it to become empty while others are told to wait for
 * it. */
#define RESERVED 4u              /* so much of the queue is for what is on its way, */
#define HALF 2u                  /* from so much on at the latest those at other nodes wait, */
#define EARLIEST 8u              /* and from so much on at the earliest */
#define WINDOWS_AHEAD 2u         /* of congestion control: no more is to wait at a link, */
#define LEAST_AHEAD (128u << 10) /* or so many bytes */
#define MORE_PART 4u             /* so much of that is to be free when one that waits is asked again */
#define POOL_PART 8u             /* when so much of the pool is left, any queue is too long */

/* Bytes that its queue may hold now, if it keeps up. */
static size_t most_of(const struct session *s) {
  size_t cap = base_cap(s), share = share_of(s->node);
  return (share < cap && is_stalled(s)) || (share > cap && has_own_way(s)) ? share : cap;
}

/* From so many bytes on no further round trip, and what comes in it, is sure to find room. */
static size_t mark_of(const struct session *s, uint64_t rtt, size_t queued) {
  size_t most = most_of(s), half = most / HALF, least = most / EARLIEST, left = most;
  if (queued <= least || !s->reader) return half;
  struct keep_now now = look(s);
  double coming = keep_rate(&s->reader->keep, &now) * 2 * (double)rtt / (double)NS_SEC;
  left = coming < (double)most ? most - (size_t)coming : 0;
  return left > half ? half : left < least ? least : left;
}

uint32_t room_fill(const struct session *s, uint64_t rtt) {
  const struct node *n = s->node;
  size_t queued = session_queued(s), pool = SEND_POOL(n);
  if (!queued) return 0;
  uint64_t fill = (uint64_t)queued * ROOM_MARK / (mark_of(s, rtt, queued) + 1);
  if (n->rows.mem[ROW_SEND].bytes > pool - pool / POOL_PART && fill < ROOM_MARK) fill = ROOM_MARK;
  return fill < UINT32_MAX ? (uint32_t)fill : UINT32_MAX;
}

size_t room_to_mark(const struct session *s, uint64_t rtt, bool empty) {
  size_t queued = empty ? 0 : session_queued(s), mark = mark_of(s, rtt, queued);
  return queued < mark ? mark - queued : 0;
}

/* Bytes that may wait at a link. */
static size_t most_ahead(const struct session *link) {
  size_t allowed = door_allowed(&link->door) * WINDOWS_AHEAD;
  return allowed > LEAST_AHEAD ? allowed : LEAST_AHEAD;
}

bool room_is_ahead(struct session *s, size_t len) {
  size_t queued = s->peer ? session_queued(s) : 0;
  return queued && queued + len > most_ahead(s) && room_keeps_up(s);
}

size_t room_more(const struct session *s) {
  size_t step = room_step(s), most = s->peer ? most_ahead(s) / MORE_PART : step;
  return step < most ? step : most;
}

enum room room_ask(struct session *s, size_t len) {
  size_t most;
  if (s->peer || list_empty(&s->node->spread.peers)) return room_for(s, len);
  most = most_of(s) / (s->reader && !list_empty(&s->reader->paces) ? 1 : RESERVED);
  return room_for(s, len + most);
}

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
const char *room_check(const struct node *n) {
  const struct flow *f = &n->flow;
  uint32_t readers = 0;
  bool waited = true;
  list_for(it, &n->sessions.all) readers += container_of(it, const struct session, all)->reader != NULL;
  CHECK(readers == f->reader_count, "room: the readers are not as many as counted");
  list_for(it, &f->readers) readers -= !container_of(it, const struct flow_awaited, all)->far;
  CHECK(!readers && list_holds(&f->readers), "room: a reader is not in the list, or another is");
  list_for(it, &f->readers) {
    const struct flow_awaited *r = container_of(it, const struct flow_awaited, all);
    CHECK(r->far || &r->s->reader->at == r, "room: a reader is another's");
    CHECK(waited || list_empty(&r->holders), "room: one that is waited for stands behind one that is not");
    waited = !list_empty(&r->holders);
    CHECK(list_holds(&r->holders), "room: a list of those that wait is broken");
    CHECK(r->s->state != SESSION_OVER || !r->s->ended, "room: one that has ended is a reader");
  }
  return NULL;
}

size_t room_owned(const struct node *n) {
  size_t sum = 0;
  list_for(it, &n->flow.readers) {
    const struct flow_awaited *r = container_of(it, const struct flow_awaited, all);
    if (!r->far) sum += mem_cost(r->s->reader);
  }
  list_for(it, &n->sessions.all) sum += mem_cost(container_of(it, const struct session, all)->held);
  return sum;
}
