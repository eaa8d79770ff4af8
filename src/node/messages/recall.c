/* Retained messages across nodes.
 *
 * A retained message stays at the node of its publisher. Nodes tell each other (INTEREST) whether they hold any. For a client's
 * new subscription the node asks (RETAINED_GET) all nodes that hold some; their answers go to that subscription only, each
 * topic once.
 *
 * In the whole mesh only the newest message of a topic counts, by the time at which its node accepted it. A node that accepts
 * or clears one tells the nodes that hold retained messages (RETAINED_MOVED), and these drop an older one of the same topic.
 * What was accepted while a node was away, and the last CLEARED_KEPT clearings, it is told when there is a path to it again.
 * Clocks may differ: a peer's skew is taken from the frame with its time that travelled fastest, and a skew above MAX_SKEW is
 * corrected for, however large it is. */
#include "node/messages/recall.h"

#include <assert.h>

#include "base/check.h"
#include "base/err.h"
#include "node/messages/disk.h"
#include "node/messages/publish.h"
#include "node/messages/replay.h"
#include "node/messages/spread.h"
#include "node/peers/peer.h"
#include "node/session/origin.h"
#include "node/session/parcel.h"
#include "node/session/session.h"
#include "wire/interest.h"
#include "wire/names.h"
#include "wire/pattern.h"

#define GET_QUEUED (256u << 10)  /* bytes in the link's queue; while there are more, answers wait */
#define TELL_QUEUED (64u << 10)  /* likewise for telling a node that was away what it missed */
#define MAX_SKEW 2000            /* ms */
#define MAX_AHEAD (24 * 3600000) /* ms: a time that is further ahead is not believed */
#define CLEARED_KEPT 1000
#define EXPIRED_AT_ONCE 1000 /* in one turn */
#define ASK_AGAIN NS_SEC
#define AWAY_SLACK 10000 /* ms that a path may have been dead before its end was noticed */

static struct peer *peer_of(struct list *l) { return container_of(l, struct peer, spread.of_node); }

static int post(struct peer *p, uint8_t type, const uint8_t *buf, size_t len, enum want want) {
  struct msg m = {.type = (enum msg_type)type, .raw = slice_of(buf, len)};
  return peer_post(p, &m, want, 0);
}

/* ---- which is the newest ---------------------------------------------------------------------------------------------------
 */
uint64_t recall_stamp(const struct node *n, struct slice topic) {
  const struct retained_entry *e = retained_find(&n->messages.retained, topic);
  uint64_t ms = node_unix_ms(n);
  return e && e->ms >= ms ? e->ms + 1 : ms;
}

uint64_t recall_to_ours(const struct peer *p, uint64_t ms) {
  int64_t skew = p->spread.has_skew ? p->spread.skew : 0;
  if (skew >= -MAX_SKEW && skew <= MAX_SKEW) return ms;
  if (ms > INT64_MAX) return UINT64_MAX;
  return skew < 0 && ms < (uint64_t)-skew ? 0 : ms + (uint64_t)skew;
}

static void drop(struct node *n, struct slice topic) {
  (void)retained_set(&n->messages.retained, &(struct retained_message){.topic = topic});
  interest_set_retained(n->spread.interest, retained_count(&n->messages.retained));
}

static void drop_moved(struct node *n, struct slice topic) {
  drop(n, topic);
  n->spread.moved++;
}

void recall_tick(struct node *n) {
  const struct retained_entry *e;
  for (int i = 0;
       i < EXPIRED_AT_ONCE && (e = retained_due(&n->messages.retained, n->limits.retained_ttl, disk_time(n, UINT64_MAX)));
       i++) {
    drop(n, slice_of(e->topic, e->len));
    n->messages.retained.expired++;
  }
}

/* An answer to RETAINED_MOVED carries no clock and is itself not answered: each of two nodes may believe that its message is
 * the newer one, and they would answer each other for ever. */
static int send_moved(struct peer *p, struct slice topic, uint64_t ms, bool is_answer) {
  struct wire_retained_moved m = {.topic = topic, .ms = ms, .now = is_answer ? 0 : node_unix_ms(p->node)};
  uint8_t buf[NAME_MAX_LEN + 64];
  return post(p, MSG_RETAINED_MOVED, buf, wire_retained_moved_encode(&m, buf, sizeof buf), WANT_UPKEEP);
}

struct cleared {
  struct list all;
  uint64_t seq, ms;
  uint8_t len;
  char topic[];
};

static void forget_cleared(struct node *n, struct cleared *c) {
  list_remove(&c->all);
  assert(n->spread.cleared_count > 0);
  n->spread.cleared_count--;
  mem_free(&n->rows.mem[ROW_INTEREST], c);
}

void recall_done(struct node *n) {
  list_for_safe(it, &n->spread.cleared) forget_cleared(n, container_of(it, struct cleared, all));
}

/* Without memory the clearing is not remembered, and a node that is away now will not hear of it. */
static void remember(struct node *n, struct slice topic, uint64_t ms, bool cleared) {
  struct spread *sp = &n->spread;
  list_for_safe(it, &sp->cleared) {
    struct cleared *c = container_of(it, struct cleared, all);
    if (slice_eq(slice_of(c->topic, c->len), topic)) forget_cleared(n, c);
  }
  if (!cleared) return;
  if (sp->cleared_count >= CLEARED_KEPT) forget_cleared(n, container_of(sp->cleared.next, struct cleared, all));
  struct cleared *c = mem_alloc(&n->rows.mem[ROW_INTEREST], sizeof *c + topic.n);
  if (!c) return;
  *c = (struct cleared){.seq = ++sp->cleared_seq, .ms = ms, .len = (uint8_t)topic.n};
  memcpy(c->topic, topic.p, topic.n);
  list_append(&sp->cleared, &c->all);
  sp->cleared_count++;
}

void recall_published(struct node *n, struct slice topic, uint64_t ms, bool cleared) {
  remember(n, topic, ms, cleared);
  gets_live(&n->spread.gets, topic, ms);
  interest_set_retained(n->spread.interest, retained_count(&n->messages.retained));
  list_for(it, &n->spread.peers) {
    struct peer *p = peer_of(it);
    if (p->spread.interest.retained && !p->spread.dead) (void)send_moved(p, topic, ms, false);
  }
}

void recall_live(struct peer *p, struct slice topic, uint64_t ms) {
  ms = recall_to_ours(p, ms);
  if (ms <= node_unix_ms(p->node) + MAX_AHEAD) gets_live(&p->node->spread.gets, topic, ms);
}

int recall_moved(struct peer *p, struct slice payload) {
  struct node *n = p->node;
  struct spread_peer *s = &p->spread;
  struct wire_retained_moved m;
  int err = wire_retained_moved_decode(payload, &m);
  if (err) return err;
  uint64_t now = node_unix_ms(n);
  if (m.now && m.now <= INT64_MAX && (!s->has_skew || (int64_t)(now - m.now) < s->skew)) {
    s->skew = (int64_t)(now - m.now);
    s->has_skew = true;
  }
  const struct retained_entry *e = m.topic.n ? retained_find(&n->messages.retained, m.topic) : NULL;
  if (!e) return 0;
  uint64_t ms = recall_to_ours(p, m.ms);
  if (ms > now + MAX_AHEAD) return n->spread.unasked++, 0;
  if (e->ms < ms || (e->ms == ms && memcmp(p->id.b, n->id.b, ID_LEN) < 0))
    drop_moved(n, m.topic);
  else if (m.now)
    (void)send_moved(p, m.topic, e->ms, true);
  return 0;
}

/* Bytes that a node may send for one subscription before it is given more room: only a share of the queue, as several nodes may
 * answer at once. */
static size_t room_of(const struct node *n) { return n->limits.client_queue / 8; }

/* ---- paths -----------------------------------------------------------------------------------------------------------------
 */
void recall_path_up(struct peer *p) {
  struct spread_peer *s = &p->spread;
  s->has_skew = s->holder = false;
  s->claims_told = 0;
  s->ask_at = 0;
  s->tell_after = s->tell_cleared = 0;
  s->tell_newer = s->down_ms > AWAY_SLACK ? s->down_ms - AWAY_SLACK : 0;
  (void)send_moved(p, slice_of("", 0), 0, false);
}

void recall_path_down(struct peer *p) {
  p->spread.down_ms = node_unix_ms(p->node);
  replay_peer_end(p);
  gets_node_gone(&p->node->spread.gets, &p->spread.answers);
}

void recall_peer_gone(struct peer *p) {
  if (!p->spread.replays.next) return;
  replay_peer_end(p);
  gets_node_gone(&p->node->spread.gets, &p->spread.answers);
}

static int send_get(struct peer *p, uint64_t number, struct slice pattern, uint64_t room, bool more) {
  struct wire_retained_get m = {number, pattern, room, more};
  uint8_t buf[NAME_MAX_LEN + 64];
  return post(p, MSG_RETAINED_GET, buf, wire_retained_get_encode(&m, buf, sizeof buf), WANT_UPKEEP);
}

void recall_left(void *node, uint64_t number, struct slice pattern) {
  struct peer *p = node;
  if (spread_queued(p) != SIZE_MAX) (void)send_get(p, number, pattern, 0, true);
}

/* Asks for new subscriptions, of which it was told before: what it takes from then on it sends at once, and nothing is missed
 * in between. For all of them when it holds retained messages now and did not before. */
static void ask(struct peer *p) {
  struct node *n = p->node;
  struct spread_peer *s = &p->spread;
  const struct gets *g = &n->spread.gets;
  struct slice pattern;
  if (s->dead || (s->holder ? s->asked == g->last : n->now < s->ask_at)) return;
  if (interest_pending(n->spread.interest, &s->interest)) return;
  if (!s->holder || g->last - s->asked > gets_count(g)) {
    uint64_t after = s->holder ? s->asked : 0;
    for (uint64_t k = 0; (k = gets_next(g, k, &pattern));)
      if (k > after) (void)send_get(p, k, pattern, room_of(n), false);
    if (!s->holder) s->ask_at = time_add(n->now, ASK_AGAIN);
  } else {
    for (uint64_t k = s->asked + 1; k <= g->last; k++)
      if ((pattern = gets_pattern(g, k)).n) (void)send_get(p, k, pattern, room_of(n), false);
  }
  s->holder = true;
  s->asked = g->last;
}

void recall_tell(struct peer *p) {
  struct node *n = p->node;
  struct spread_peer *s = &p->spread;
  if (!s->interest.retained) {
    s->holder = false;
    return;
  }
  ask(p);
  if (s->tell_after == UINT64_MAX || spread_queued(p) > TELL_QUEUED) return;
  list_for(it, &n->messages.retained.all) {
    const struct retained_entry *e = container_of(it, struct retained_entry, all);
    if (e->seq <= s->tell_after) continue;
    if (spread_queued(p) > TELL_QUEUED) return;
    if (e->ms >= s->tell_newer && send_moved(p, slice_of(e->topic, e->len), e->ms, false)) return;
    s->tell_after = e->seq;
  }
  list_for(it, &n->spread.cleared) {
    const struct cleared *c = container_of(it, struct cleared, all);
    if (c->seq <= s->tell_cleared) continue;
    if (spread_queued(p) > TELL_QUEUED) return;
    if (c->ms >= s->tell_newer && send_moved(p, slice_of(c->topic, c->len), c->ms, false)) return;
    s->tell_cleared = c->seq;
  }
  s->tell_after = UINT64_MAX;
}

/* ---- asking ----------------------------------------------------------------------------------------------------------------
 */
void recall_subscribe(struct session *s, struct slice pattern) {
  struct node *n = s->node;
  uint64_t number;
  if (s->state != SESSION_IN) return;
  /* no memory: the subscriber gets only what this node retains */
  (void)gets_begin(&n->spread.gets, &s->gets, pattern, n->now, &number);
}

void recall_unsubscribe(struct session *s, struct slice pattern) { gets_stop(&s->node->spread.gets, &s->gets, pattern); }

/* Lets the node send as many bytes more as came from it; while the subscriber's queue is filling, only once that has
 * emptied. */
static void give_room(struct node *n, struct gets_source *s) {
  const struct session *to = s->to;
  list_remove(&s->full);
  if (session_queued(to) > n->limits.client_queue / 4) {
    list_append(&n->spread.gets.full, &s->full);
    return;
  }
  (void)send_get(s->who->user, s->number, gets_pattern(&n->spread.gets, s->number), s->took, true);
  s->took = 0;
}

void recall_step(struct node *n) {
  struct list *done = &n->spread.mark;
  list_append(&n->spread.gets.full, done);
  while (n->spread.gets.full.next != done) give_room(n, container_of(n->spread.gets.full.next, struct gets_source, full));
  list_remove(done);
}

static void count_room(struct peer *p, const struct msg_publish *m) {
  struct node *n = p->node;
  struct gets_source *s =
      gets_took(&n->spread.gets, m->replay, &p->spread.answers, RECALL_COST(m->topic.n, m->payload.n + m->headers.raw.n));
  if (s && s->took >= room_of(n) / 2 && list_empty(&s->full)) give_room(n, s);
}

/* Whether a question of ours asked for this message, and its time can be true. Whatever else is sent as an answer changes
 * nothing here. */
static bool was_asked_for(const struct node *n, const struct msg_publish *m, uint64_t ms) {
  struct slice pattern = gets_pattern(&n->spread.gets, m->replay);
  return pattern.n && pattern_match(pattern, m->topic) && ms <= node_unix_ms(n) + MAX_AHEAD;
}

void recall_answer(struct peer *p, const struct msg_publish *m, const struct principal *by) {
  struct node *n = p->node;
  uint64_t ms = m->retained_ms ? recall_to_ours(p, m->retained_ms) : 0;
  const struct retained_entry *e = retained_find(&n->messages.retained, m->topic);
  count_room(p, m);
  if (!was_asked_for(n, m, ms)) {
    n->spread.unasked++;
    if (!gets_pattern(&n->spread.gets, m->replay).n) recall_left(p, m->replay, m->topic);
    return;
  }
  if (e && e->ms >= ms) { /* ours is as new, and the other node has been told of it */
    (void)send_moved(p, m->topic, e->ms, true);
    return;
  }
  if (e && m->retained_ms) drop_moved(n, m->topic);
  struct session *to = gets_answer(&n->spread.gets, m->replay, m->topic, ms, n->now);
  if (!to || to->state != SESSION_IN) return;
  n->spread.recalled++;
  publish_recalled(to, m, by);
}

/* ---- answering -------------------------------------------------------------------------------------------------------------
 */
int recall_get(struct peer *p, struct slice payload) {
  struct wire_retained_get m;
  int err = wire_retained_get_decode(payload, &m);
  if (err) return err;
  if (m.more)
    replay_peer_more(p, m.number, m.room < RECALL_MOST ? m.room : RECALL_MOST);
  else
    replay_peer_start(p, m.number, m.pattern, m.room < RECALL_MOST ? m.room : RECALL_MOST);
  return err;
}

void recall_put_rest(const struct node *n, const struct retained_entry *e, struct msg_publish *m) {
  m->qos = e->qos != 0;
  m->exactly_once = e->qos == RETAINED_EXACTLY_ONCE;
  if (e->headers) m->headers = (struct msg_list){.count = e->header_count, .raw = shbuf_view(e->headers)};
  if (e->ends.pos) m->expires_ms = parcel_ms_left(e->ends.at, disk_time(n, UINT64_MAX));
}

int recall_send(struct peer *p, uint64_t number, const struct retained_entry *e) {
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_of(e->topic, e->len),
                              .payload = shbuf_view(e->payload),
                              .retain = true,
                              .replay = number,
                              .slashes = e->slashes,
                              .retained_ms = e->ms}};
  if (retained_is_over(e, disk_time(p->node, UINT64_MAX))) return 0;
  recall_put_rest(p->node, e, &m.publish);
  if (spread_queued(p) > GET_QUEUED) return MACULA_EFULL;
  int err = origin_put(p->link, LANE_PUBLISHES, e->origin, &m.publish.origin);
  if (!err) err = peer_send(p, &m, WANT_UPKEEP);
  return err == MACULA_ENOMEM ? MACULA_EFULL : err;
}

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
const char *recall_check(const struct node *n) {
  const struct spread *sp = &n->spread;
  uint64_t last = 0;
  CHECK(list_has(&sp->cleared, sp->cleared_count) && sp->cleared_count <= CLEARED_KEPT,
        "recall: the topics cleared are not as many as counted, or too many");
  list_for(it, &sp->cleared) {
    const struct cleared *c = container_of(it, const struct cleared, all);
    CHECK(c->seq > last && c->seq <= sp->cleared_seq, "recall: the topics cleared are not in order");
    last = c->seq;
  }
  return NULL;
}

size_t recall_owned(const struct node *n) {
  size_t sum = 0;
  list_for(it, &n->spread.cleared) sum += mem_cost(container_of(it, const struct cleared, all));
  return sum;
}
