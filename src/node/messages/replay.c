/* Sends retained messages to a new subscriber after its ACK, or to a node that asks on behalf of a subscriber there. A replay
 * goes on as fast as the receiver's queue has room, and all replays together are bounded in each turn of the loop, so that a
 * crowd of subscribers does not hold it up. Messages that are published meanwhile do not wait for a replay. */
#include "node/messages/replay.h"

#include <assert.h>

#include "base/check.h"
#include "base/err.h"
#include "node/messages/publish.h"
#include "node/messages/recall.h"
#include "node/messages/spread.h"
#include "node/session/session.h"
#include "wire/pattern.h"

#define VISITS_A_TURN 20000 /* about a millisecond */
/* entries that a replay looks at in a turn in any case, so that it gets on however many others there are */
#define VISITS_AT_LEAST 500
#define LOOK 32u /* entries between two looks at the time */
/* steps of a match that count as one visit; a pattern with many segments after `**` takes hundreds of steps */
#define STEPS_A_VISIT 8
#define SKIPS_A_VISIT 16
#define PEER_SHARE 16 /* of max_replays: one other node may have this part of max_replays: 1/16 */
#define PEER_PATIENCE (60 * NS_SEC)

struct target {
  struct session *s; /* NULL: */
  struct peer *p;    /* another node; `number` tells it for which of its subscriptions it asked */
  uint64_t number;
  int64_t room;  /* bytes that the other node accepts now; the last message may exceed them */
  nanotime gave; /* when the other node last gave room */
};

struct place {
  uint64_t after;                  /* retained_entry.seq: done up to */
  const struct retained_entry *at; /* that entry, valid while retained.removed has not changed; NULL: look it up by `after` */
  uint64_t removed;
};

struct replay {
  struct list of_target, of_node; /* session.replays or peer.spread.replays */
  struct target to;
  struct place place;
  uint64_t last; /* retained_entry.seq, newest at subscription: later ones were sent as they came */
  size_t len;
  char pattern[];
};

static struct node *node_of(const struct target *t) { return t->s ? t->s->node : t->p->node; }

static int send_one(struct target *t, const struct retained_entry *e) {
  if (t->s) return publish_retained(t->s, e);
  int err = t->room > 0 ? recall_send(t->p, t->number, e) : MACULA_EFULL;
  if (!err) t->room -= (int64_t)RECALL_COST(0, retained_size(e));
  return err;
}

static void end(struct replay *r) {
  list_remove(&r->of_target);
  list_remove(&r->of_node);
  struct node *n = node_of(&r->to);
  assert(!r->to.p || r->to.p->spread.replay_count > 0);
  if (r->to.p) r->to.p->spread.replay_count--;
  assert(n->replays.count > 0);
  n->replays.count--;
  mem_free(&n->rows.mem[ROW_REPLAYS], r);
}

static const struct retained_entry *entry_of(const struct list *l) { return container_of(l, struct retained_entry, all); }

static const struct list *resume(struct node *n, const struct place *p) {
  const struct list *head = &n->messages.retained.all, *l = head;
  size_t skipped = 0;
  if (p->at && p->removed == n->messages.retained.removed) return &p->at->all;
  for (; l->next != head && entry_of(l->next)->seq <= p->after; l = l->next) skipped++;
  n->replays.visits += skipped / SKIPS_A_VISIT;
  return l;
}

/* Sends the retained messages after `p` and moves `p` along. Returns whether the replay is complete. */
static bool run(struct target *t, struct slice pattern, uint64_t last, struct place *p) {
  struct node *n = node_of(t);
  if (!pattern_is_wild(pattern)) {
    const struct retained_entry *e = retained_find(&n->messages.retained, pattern);
    n->replays.visits++;
    return !e || e->seq > last || send_one(t, e) != MACULA_EFULL;
  }
  const struct list *l = resume(n, p);
  for (uint32_t fresh = 0; (l = l->next) != &n->messages.retained.all && entry_of(l)->seq <= last; fresh++) {
    const struct retained_entry *e = entry_of(l);
    uint32_t steps = 0;
    if (n->replays.visits >= VISITS_A_TURN && fresh >= VISITS_AT_LEAST) return false;
    if (fresh % LOOK == LOOK - 1 && node_spent(n)) return false;
    bool wanted = retained_matches(e, pattern, &steps);
    n->replays.visits += 1 + steps / STEPS_A_VISIT;
    if (wanted && send_one(t, e) == MACULA_EFULL) return false;
    *p = (struct place){e->seq, e, n->messages.retained.removed};
  }
  return true;
}

static void start(struct target *t, struct list *replays, struct slice pattern) {
  struct node *n = node_of(t);
  struct place p = {0};
  if (!retained_count(&n->messages.retained)) return;
  if (list_empty(replays) && n->replays.visits < VISITS_A_TURN && run(t, pattern, n->messages.retained.last_seq, &p)) return;
  bool room =
      n->replays.count < n->limits.max_replays && (!t->p || t->p->spread.replay_count < n->limits.max_replays / PEER_SHARE + 1);
  struct replay *r = room ? mem_alloc(&n->rows.mem[ROW_REPLAYS], sizeof *r + pattern.n) : NULL;
  if (!r) {
    n->stats.replays_refused++;
    n->stats.dropped++; /* how many messages are lost is not known: at least one */
    return;
  }
  *r = (struct replay){.to = *t, .place = p, .last = n->messages.retained.last_seq, .len = pattern.n};
  memcpy(r->pattern, pattern.p, pattern.n);
  list_append(replays, &r->of_target);
  list_append(&n->replays.all, &r->of_node);
  n->replays.count++;
  if (t->p) t->p->spread.replay_count++;
}

void replay_start(struct session *s, struct slice pattern) {
  if (s->state == SESSION_IN) start(&(struct target){.s = s}, &s->replays, pattern);
}

void replay_peer_start(struct peer *p, uint64_t number, struct slice pattern, uint64_t room) {
  struct target t = {.p = p, .number = number, .room = (int64_t)room, .gave = p->node->now};
  start(&t, &p->spread.replays, pattern);
}

void replay_peer_more(struct peer *p, uint64_t number, uint64_t room) {
  list_for_safe(it, &p->spread.replays) {
    struct replay *r = container_of(it, struct replay, of_target);
    if (r->to.number != number) continue;
    if (!room) {
      end(r);
      continue;
    }
    r->to.room += (int64_t)room;
    if (r->to.room > RECALL_MOST) r->to.room = RECALL_MOST;
    r->to.gave = p->node->now;
  }
}

void replay_stop(struct session *s, struct slice pattern) {
  list_for_safe(it, &s->replays) {
    struct replay *r = container_of(it, struct replay, of_target);
    if (slice_eq(slice_of(r->pattern, r->len), pattern)) end(r);
  }
}

void replay_end(struct session *s) { list_for_safe(it, &s->replays) end(container_of(it, struct replay, of_target)); }
void replay_peer_end(struct peer *p) { list_for_safe(it, &p->spread.replays) end(container_of(it, struct replay, of_target)); }

/* Whether the receiver has room for enough bytes that going on is worth it. */
static bool has_room(const struct target *t) {
  return t->s ? session_queued(t->s) <= t->s->node->limits.client_queue / 2 : t->room > 0 && spread_queued(t->p) <= 128u << 10;
}

void replay_step(struct node *n) {
  n->replays.visits = 0;
  struct list *done = &n->replays.mark;
  list_append(&n->replays.all, done);
  while (n->replays.all.next != done && n->replays.visits < VISITS_A_TURN) {
    struct replay *r = container_of(n->replays.all.next, struct replay, of_node);
    list_remove(&r->of_node);
    list_append(&n->replays.all, &r->of_node);
    n->replays.visits++;
    if (r->to.p && time_since(n->now, r->to.gave) > PEER_PATIENCE) {
      end(r); /* the other node has given no more room for long: it no longer wants this */
      continue;
    }
    if (!has_room(&r->to)) continue;
    if ((r->to.s && r->to.s->state != SESSION_IN) || run(&r->to, slice_of(r->pattern, r->len), r->last, &r->place)) end(r);
    if (node_spent(n)) break;
  }
  list_remove(done);
}

bool replay_is_due(const struct node *n) { return n->replays.visits >= VISITS_A_TURN && !list_empty(&n->replays.all); }

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
const char *replay_check(const struct node *n) {
  uint32_t listed = 0;
  CHECK(list_has(&n->replays.all, n->replays.count), "replay: they are not as many as counted");
  list_for(it, &n->replays.all) {
    const struct replay *r = container_of(it, const struct replay, of_node);
    CHECK(!r->to.s == (r->to.p != NULL), "replay: it is for a session and a node, or for nobody");
    CHECK(!r->to.s || (r->to.s->node == n && !r->to.s->ended), "replay: it is for one that has ended");
    CHECK(r->last <= n->messages.retained.last_seq && r->place.after <= r->last, "replay: it is beyond its end");
  }
  list_for(it, &n->sessions.all) listed += list_count(&container_of(it, const struct session, all)->replays);
  list_for(it, &n->peers.all) listed += container_of(it, const struct peer, all)->spread.replay_count;
  CHECK(listed == n->replays.count, "replay: its session or node does not know it");
  return NULL;
}

size_t replay_owned(const struct node *n) {
  size_t sum = 0;
  list_for(it, &n->replays.all) sum += mem_cost(container_of(it, const struct replay, of_node));
  return sum;
}
