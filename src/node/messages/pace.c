#include "node/messages/pace.h"

#include "base/check.h"
#include "node/messages/deliver.h"
#include "node/messages/hold.h"
#include "node/peers/peer.h"
#include "node/peers/route.h"
#include "node/session/room.h"
#include "node/session/session.h"
#include "node/trust/account.h"

#define LOOK_EVERY (20 * NS_MS)              /* at readers that others wait for, */
#define LOOK_EACH (10 * NS_US)               /* and so much less often for each */
#define SAY_EVERY (PACE_LONGEST * NS_MS / 3) /* so that two may be late */
#define SWEEP_PACED (PACE_LONGEST * NS_MS)   /* of what has lapsed */
#define LOW (ROOM_MARK / 2)                  /* a queue that is no fuller is short */
#define ROOM_LEAST 4096u                     /* bytes; those that may go on have at least so much, */
#define ROUND_MORE NS_MS                     /* in a round trip, and so much longer */
#define WINDOW_GROWS 4u                      /* each time by so much of itself */
#define WINDOW_MOST (64u << 20)
#define WINDOW_LEAST (16u << 10) /* whatever is said */
#define SOON_STEPS 4             /* of room_step: a queue that will be empty soon */
#define CREDIT_LEAST                                                                                                           \
  0.1 /* s, for others to begin to wait for it beside hungry ones: each time they do so for longer than is known */
#define OVER_FOR NS_SEC /* others are not kept waiting beside hungry ones, after the account of one was found empty */
#define LATELY NS_SEC   /* whom a connection's messages went to within it counts beside those of this one */

_Static_assert(sizeof(struct flow_paced) <= PLAN_PACE, "each is planned for, and a block of that size is no larger");
_Static_assert(sizeof(struct flow_pacing) + PLAN_SLOT <= PLAN_PACE, "likewise, with its slot");

/* ---- said ------------------------------------------------------------------------------------------------------------------
 */
struct key { /* as struct flow_pacing begins after its link in the table */
  const struct peer *peer;
  uint64_t connection;
};
_Static_assert(offsetof(struct flow_pacing, connection) - offsetof(struct flow_pacing, peer) ==
                   offsetof(struct key, connection),
               "the key is a part of the record");

static bool key_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(&container_of(h, struct flow_pacing, h)->peer, key, len) == 0;
}

static struct flow_pacing *find(struct node *n, const struct peer *peer, uint64_t connection) {
  struct key key = {peer, connection};
  struct hlink *h = n->flow.pacing.tab.count ? htab_find(&n->flow.pacing.tab, &key, sizeof key) : NULL;
  return h ? container_of(h, struct flow_pacing, h) : NULL;
}

/* ---- places ----------------------------------------------------------------------------------------------------------------
 *
 * Neither kind takes the room of the other, and no node that of others: when there is none left, one that has less than its
 * share, the places by the nodes that have some, gets the oldest of one that has more. */
enum kind { PACED, PACING };

static void took(struct peer *p, enum kind kind) {
  struct flow *f = &p->node->flow;
  *(kind == PACED ? &f->paced.nodes : &f->pacing.nodes) += !p->spread.paces[kind]++;
}

static void gave_back(struct peer *p, enum kind kind) {
  struct flow *f = &p->node->flow;
  assert(p->spread.paces[kind]);
  *(kind == PACED ? &f->paced.nodes : &f->pacing.nodes) -= !--p->spread.paces[kind];
}

static void lapse(struct flow_paced *p);
static void may_go_on(struct flow_pacing *p, bool worth_it);

/* The oldest of a node that has more than that. */
static void displace(struct flow *f, enum kind kind, uint32_t share) {
  if (kind == PACED) list_for(it, &f->paced.all) {
      struct flow_paced *p = container_of(it, struct flow_paced, all);
      if (p->peer->spread.paces[PACED] > share) return lapse(p);
    }
  if (kind == PACING) list_for(it, &f->pacing.all) {
      struct flow_pacing *p = container_of(it, struct flow_pacing, all);
      if (p->peer->spread.paces[PACING] > share) return may_go_on(p, true);
    }
}

/* Whether there is a place for one more of this node. */
static bool has_place(const struct peer *peer, enum kind kind) {
  struct flow *f = &peer->node->flow;
  uint32_t count[] = {f->paced.count, f->pacing.tab.count}, own = peer->spread.paces[kind];
  if (count[PACED] + count[PACING] < PACE_MOST && count[kind] < PACE_MOST / 4 * 3) return true;
  uint32_t share = count[kind] / ((kind == PACED ? f->paced.nodes : f->pacing.nodes) + !own);
  if (own >= share) return false;
  displace(f, kind, share);
  f->displaced++;
  return true;
}

static uint64_t rtt_of(const struct flow_pacing *p) { return peer_path_rtt(p->peer, p->link); }

static int tell(struct peer *p, const struct msg *m) { return p->link ? session_send(p->link, m, false) : route_send(p, m); }

/* If there is no room for it, it is said at the next look. */
static void say(struct flow_pacing *p, uint64_t ms, uint64_t room) {
  struct node *n = p->link->node;
  struct msg m = {.type = MSG_PACE,
                  .pace = {.connection = p->connection,
                           .ms = ms,
                           .room = room,
                           .moves = p->moves && ms,
                           .beside = p->beside && ms,
                           .lately = p->lately && ms}};
  if (p->link->state != SESSION_IN || tell(p->peer, &m)) return;
  n->flow.pacing.said++;
  p->said_at = n->now;
}

static void belong(struct flow_pacing *p, struct flow_reader *r) {
  if (list_empty(&r->paces)) list_append(&r->at.s->node->flow.pacing.readers, &r->pacing);
  list_append(&r->paces, &p->of_reader);
  p->reader = r;
}

static void leave(struct flow_pacing *p) {
  list_remove(&p->of_reader);
  if (list_empty(&p->reader->paces)) list_remove(&p->reader->pacing);
}

static void forget(struct flow_pacing *p) {
  struct node *n = p->link->node;
  leave(p);
  list_remove(&p->all);
  htab_remove(&n->flow.pacing.tab, &p->h);
  gave_back(p->peer, PACING);
  mem_free(&n->rows.mem[ROW_PACE], p);
}

/* What a connection may send at first that does not wait, as its account is empty: other readers are to find room for it. */
static uint64_t room_beside(const struct flow_pacing *p) {
  struct clients_entry *e = p->other ? clients_of_session(&p->link->node->sessions.clients, p->other) : NULL;
  const struct session *s = e ? e->user : p->reader->at.s;
  size_t room = room_to_mark(s, rtt_of(p), s == p->reader->at.s);
  return room > ROOM_LEAST ? room : ROOM_LEAST;
}

/* Those that wait for one reader share what it has room for; one that is not worth it does not slow them down. */
static void may_go_on(struct flow_pacing *p, bool worth_it) {
  struct session *s = p->reader->at.s;
  size_t room = s->ended ? 0 : room_to_mark(s, rtt_of(p), !worth_it) / list_count(&p->reader->paces);
  say(p, 0, s->ended ? 0 : room > ROOM_LEAST ? room : ROOM_LEAST);
  forget(p);
}

/* steps: of room_step; 0: its queue is empty. */
static bool is_hungry(const struct session *s, size_t steps) {
  return s->state == SESSION_IN && room_deliveries(s) <= steps * room_step(s);
}

static bool other_is_hungry(const struct flow_pacing *p, size_t steps) {
  struct node *n = p->link->node;
  if (!p->other || time_since(n->now, p->other_at) > LATELY) return false;
  struct clients_entry *e = clients_of_session(&n->sessions.clients, p->other);
  return e && e->user != p->reader->at.s && is_hungry(e->user, steps);
}

static enum budget_kind kind_of(const struct msg_publish *m) { return m->qos ? BUDGET_KIND_QOS1 : BUDGET_KIND_QOS0; }

/* Whether others may go hungry for it still. */
static bool is_in_credit(struct session *s, enum budget_kind kind, double least) {
  return s->node->now >= s->reader->over_until && account_may_wait(NULL, s, kind, room_was_empty(s)) >= least;
}

static bool is_taking(struct session *s, enum budget_kind kind) {
  return room_keeps_up(s) || (kind == BUDGET_KIND_QOS1 && room_moves(s));
}

/* Whether there is a reason to wait for it. */
static bool is_worth_it(const struct flow_pacing *p) {
  struct session *s = p->reader->at.s;
  enum budget_kind kind = (enum budget_kind)p->kind;
  return is_taking(s, kind) && (is_in_credit(s, kind, 0) || !other_is_hungry(p, SOON_STEPS));
}

/* Whether something has changed that the other node needs to know. */
static bool judge(struct flow_pacing *p) {
  struct session *s = p->reader->at.s;
  bool moves = !room_keeps_up(s), beside = other_is_hungry(p, 0), lately = room_was_empty(s);
  bool changed = moves != p->moves || beside != p->beside || lately != p->lately;
  nanotime passed = time_since(s->node->now, p->looked_at) / 2 * (unsigned)(beside + p->beside);
  if (passed) account_waited(NULL, s, (enum budget_kind)p->kind, s->node->now - passed);
  if (beside && !p->beside) p->beside_at = s->node->now;
  p->moves = moves;
  p->beside = beside;
  p->lately = lately;
  p->looked_at = s->node->now;
  return changed;
}

static void look(struct flow_pacing *p) {
  bool changed = judge(p);
  bool worth_it = is_worth_it(p);
  if (room_fill(p->reader->at.s, rtt_of(p)) < LOW || !worth_it)
    may_go_on(p, worth_it);
  else if (changed || time_since(p->link->node->now, p->said_at) >= SAY_EVERY)
    say(p, PACE_LONGEST, room_beside(p));
}

static void note(uint64_t first[2], uint64_t serial) {
  if (!first[0])
    first[0] = serial;
  else if (!first[1])
    first[1] = serial;
}

/* One of both that is not this one; 0: there is none. */
static uint64_t other_than(const uint64_t of[2], uint64_t serial) { return of[0] != serial ? of[0] : of[1]; }

/* Of those that get the message, the one whose queue is filled most beyond its mark, and that may be waited for: one for which
 * others may go hungry, if there is any. */
static void choose(struct pace_look *l, struct session *s) {
  if (!s->reader) return;
  uint32_t full = room_fill(s, l->rtt);
  if (full < ROOM_MARK || !is_taking(s, l->kind)) return;
  bool credit = is_in_credit(s, l->kind, s->serial == l->now ? 0 : CREDIT_LEAST);
  if (l->best && (credit < l->best_credit || (credit == l->best_credit && full <= l->best_full))) return;
  l->best = s->serial;
  l->best_full = full;
  l->best_credit = credit;
}

void pace_look_at(struct pace_look *l, struct session *s) {
  if (!l->connection || s->state != SESSION_IN) return;
  if (!l->soon[1] && is_hungry(s, SOON_STEPS)) note(l->soon, s->serial);
  if (!l->hungry[1] && is_hungry(s, 0)) note(l->hungry, s->serial);
  l->last[1] = l->last[0];
  l->last[0] = s->serial;
  choose(l, s);
}

/* Another one than the reader: a hungry one if there is any. */
static void note_other(struct flow_pacing *p, const struct pace_look *l) {
  uint64_t reader = p->reader->at.s->serial, found = other_than(l->hungry, reader);
  if (!found) found = other_than(l->last, reader);
  if (!found) return;
  p->other = found;
  p->other_at = p->link->node->now;
}

static struct flow_pacing *begin(struct peer *peer, struct session *link, uint64_t connection, struct session *reader) {
  struct node *n = peer->node;
  struct flow_reader *r = room_reader(reader);
  struct flow_pacing *p = r && has_place(peer, PACING) ? mem_calloc(&n->rows.mem[ROW_PACE], 1, sizeof *p) : NULL;
  if (!p) goto refused;
  *p = (struct flow_pacing){.peer = peer, .connection = connection, .link = link, .looked_at = n->now};
  if (htab_insert(&n->flow.pacing.tab, &p->h, &p->peer, sizeof(struct key))) goto no_slot;
  list_init(&p->of_reader);
  list_append(&n->flow.pacing.all, &p->all);
  belong(p, r);
  took(peer, PACING);
  link->paces = true;
  return p;
no_slot:
  mem_free(&n->rows.mem[ROW_PACE], p);
refused:
  n->flow.pacing.refused++;
  return NULL;
}

/* Of a connection that goes on though it was told that others go hungry, its node has found that its account is empty. */
static void note_over(struct flow_pacing *p) {
  nanotime now = p->link->node->now;
  if (!p->beside || p->said_at < p->beside_at || time_since(now, p->said_at) <= 2 * rtt_of(p) + ROUND_MORE) return;
  p->reader->over_until = time_add(now, OVER_FOR);
}

static void choose_other(struct flow_pacing *p, struct session *reader) {
  enum budget_kind kind = (enum budget_kind)p->kind;
  struct session *was = p->reader->at.s;
  if (was == reader) return;
  if (is_in_credit(was, kind, 0) && room_fill(reader, rtt_of(p)) <= room_fill(was, rtt_of(p))) return;
  leave(p);
  belong(p, reader->reader);
  if (judge(p)) say(p, PACE_LONGEST, room_beside(p));
}

void pace_look_begin(struct pace_look *l, struct peer *peer, const struct msg_publish *m) {
  struct session *link = peer_path(peer);
  *l = (struct pace_look){.connection = link ? m->connection : 0, .kind = kind_of(m)};
  if (!l->connection) return;
  struct flow_pacing *p = find(peer->node, peer, m->connection);
  l->rtt = peer_path_rtt(peer, link);
  if (p) l->now = p->reader->at.s->serial;
}

void pace_look_end(const struct pace_look *l, struct peer *peer) {
  struct node *n = peer->node;
  struct session *link = peer_path(peer);
  if (!l->connection || !l->last[0] || !link) return;
  struct flow_pacing *p = find(n, peer, l->connection);
  if (p && p->link != link) { /* another way leads there now */
    p->link = link;
    link->paces = true;
  }
  if (p) note_over(p);
  if (p) note_other(p, l);
  struct clients_entry *e =
      l->best && (l->best_credit || !other_than(l->soon, l->best)) ? clients_of_session(&n->sessions.clients, l->best) : NULL;
  struct session *reader = e ? e->user : NULL;
  if (!reader || !reader->reader || reader->state != SESSION_IN) return;
  if (p) {
    p->kind = (uint8_t)l->kind;
    choose_other(p, reader);
    return;
  }
  if (!(p = begin(peer, link, l->connection, reader))) return;
  p->kind = (uint8_t)l->kind;
  note_other(p, l);
  (void)judge(p);
  say(p, PACE_LONGEST, room_beside(p));
  n->flow.pacing.look_at = time_min(n->flow.pacing.look_at, time_add(n->now, LOOK_EVERY));
}

void pace_publish(struct peer *peer, const struct msg_publish *m, struct topic_subscriber *hit) {
  struct pace_look l;
  pace_look_begin(&l, peer, m);
  for (; hit && l.connection; hit = hit->next_hit) pace_look_at(&l, hit->user);
  pace_look_end(&l, peer);
}

/* ---- heard -----------------------------------------------------------------------------------------------------------------
 */
static struct flow_paced *heard_of(const struct session *from, const struct peer *peer) {
  for (struct flow_paced *p = from->paced; p; p = p->next)
    if (p->peer == peer) return p;
  return NULL;
}

struct flow_paced *pace_of(const struct session *from, const struct peer *peer, enum budget_kind kind) {
  struct flow_paced *p = heard_of(from, peer);
  return p && from->node->now < p->until && (!p->moves || kind == BUDGET_KIND_QOS1) ? p : NULL;
}

bool pace_is_full(const struct session *from, const struct session *link) {
  for (const struct flow_paced *p = from->paced; p; p = p->next)
    if (p->at.s == link && !p->beside && from->node->now < p->full_until) return true;
  return false;
}

static void lapse(struct flow_paced *p) {
  struct node *n = p->from->node;
  struct flow_paced **at = &p->from->paced;
  hold_release(&p->at);
  while (*at != p) at = &(*at)->next;
  *at = p->next;
  list_remove(&p->all);
  assert(n->flow.paced.count);
  n->flow.paced.count--;
  gave_back(p->peer, PACED);
  mem_free(&n->rows.mem[ROW_PACE], p);
}

static struct flow_paced *hear(struct session *from, struct peer *peer, struct session *link) {
  struct node *n = from->node;
  struct flow_paced *p = heard_of(from, peer);
  if (p || !has_place(peer, PACED)) return p;
  if (!(p = mem_calloc(&n->rows.mem[ROW_PACE], 1, sizeof *p))) return NULL;
  flow_awaited_init(&p->at, link);
  p->at.far = true;
  p->peer = peer;
  p->from = from;
  p->next = from->paced;
  from->paced = p;
  took(peer, PACED);
  if (!n->flow.paced.count++) n->flow.paced.sweep_at = time_add(n->now, SWEEP_PACED);
  list_append(&n->flow.paced.all, &p->all);
  link->paces = true;
  return p;
}

static void begin_window(struct flow_paced *p, uint64_t room) {
  p->window = room > WINDOW_LEAST ? room : WINDOW_LEAST;
  p->sent = 0;
  p->round_at = p->until = p->from->node->now;
}

/* What waits at its own node would come all at once, before anybody could say that it is too much. */
static void go_on(struct flow_paced *p, uint64_t room) {
  if (!room) {
    lapse(p);
    return;
  }
  p->full_until = 0;
  hold_release(&p->at);
  if (!p->window) begin_window(p, room);
}

/* A round trip in which less was sent than could be shows that it is held back no more. */
void pace_sent(struct session *from, const struct peer *peer, size_t bytes) {
  struct node *n = from->node;
  struct flow_paced *p = heard_of(from, peer);
  if (p && !p->window && n->now < p->until) begin_window(p, p->room); /* it does not wait, as an account is empty */
  if (!p || !p->window) return;
  uint64_t trip = peer_path_rtt(peer, p->at.s) + ROUND_MORE;
  if (time_since(n->now, p->round_at) >= trip) {
    bool held_back = p->sent >= p->window && time_since(n->now, p->round_at) < 2 * trip;
    if (!held_back || p->window > WINDOW_MOST) {
      p->window = 0;
      return;
    }
    p->window += p->window / WINDOW_GROWS;
    p->sent = 0;
    p->round_at = n->now;
  }
  p->sent += bytes;
  if (p->sent < p->window) return;
  p->until = time_add(p->round_at, trip);
  n->flow.look_at = time_min(n->flow.look_at, p->until);
}

void pace_heard(struct peer *peer, const struct msg_pace *m) {
  struct node *n = peer->node;
  struct clients_entry *e = clients_of_session(&n->sessions.clients, m->connection);
  struct session *from = e ? e->user : NULL, *link = peer_path(peer);
  bool known = from && link && from->state == SESSION_IN && link->state == SESSION_IN;
  struct flow_paced *p = !known ? NULL : m->ms ? hear(from, peer, link) : heard_of(from, peer);
  n->flow.paced.heard++;
  if (p && !m->ms) {
    go_on(p, m->room);
    return;
  }
  if (!p) {
    n->flow.paced.ignored += m->ms > 0;
    return;
  }
  p->room = m->room;
  p->full_until = time_add(n->now, (m->ms < PACE_LONGEST ? m->ms : PACE_LONGEST) * NS_MS);
  if (p->window && m->beside) return; /* it has gone on beside hungry ones, as far as they can take it */
  p->until = p->full_until;
  p->window = 0;
  p->moves = m->moves;
  p->beside = m->beside;
  p->lately = m->lately;
  p->at.again_at = 0;
}

/* ---- time and ends ---------------------------------------------------------------------------------------------------------
 */
/* A queue may become short at any time, and its publishers are to know at once. */
static void look_at_queues(struct node *n) {
  list_for_safe(it, &n->flow.pacing.readers) {
    struct flow_reader *r = container_of(it, struct flow_reader, pacing);
    nanotime progress = door_progress(&r->at.s->door, DOOR_ALL);
    if (progress == r->paced_at) continue;
    r->paced_at = progress;
    list_for_safe(at, &r->paces) {
      struct flow_pacing *p = container_of(at, struct flow_pacing, of_reader);
      if (room_fill(r->at.s, rtt_of(p)) < LOW) may_go_on(p, true);
    }
  }
}

static void look_at_all(struct node *n) {
  list_for_safe(it, &n->flow.pacing.all) look(container_of(it, struct flow_pacing, all));
  nanotime every = LOOK_EVERY + n->flow.pacing.tab.count * LOOK_EACH;
  n->flow.pacing.look_at = n->flow.pacing.tab.count ? time_add(n->now, every) : TIME_NEVER;
}

static void sweep(struct node *n) {
  list_for_safe(it, &n->flow.paced.all) {
    struct flow_paced *p = container_of(it, struct flow_paced, all);
    if (n->now >= p->until && n->now >= p->full_until && (!p->window || time_since(n->now, p->round_at) >= SWEEP_PACED))
      lapse(p);
  }
  n->flow.paced.sweep_at = n->flow.paced.count ? time_add(n->now, SWEEP_PACED) : TIME_NEVER;
}

void pace_tick(struct node *n) {
  look_at_queues(n);
  if (n->now >= n->flow.pacing.look_at) look_at_all(n);
  if (n->now >= n->flow.paced.sweep_at) sweep(n);
}

nanotime pace_deadline(const struct node *n) { return time_min(n->flow.pacing.look_at, n->flow.paced.sweep_at); }

static void link_ends(struct session *s) {
  struct node *n = s->node;
  list_for_safe(it, &n->flow.pacing.all) {
    struct flow_pacing *p = container_of(it, struct flow_pacing, all);
    if (p->link == s) forget(p);
  }
  list_for_safe(it, &n->flow.paced.all) {
    struct flow_paced *p = container_of(it, struct flow_paced, all);
    if (p->at.s == s) lapse(p);
  }
  s->paces = false;
}

void pace_session_end(struct session *s) {
  while (s->paced) lapse(s->paced);
  while (s->reader && !list_empty(&s->reader->paces))
    may_go_on(container_of(s->reader->paces.next, struct flow_pacing, of_reader), false);
  if (s->paces) link_ends(s);
}

void pace_peer_gone(struct peer *peer) {
  struct node *n = peer->node;
  list_for_safe(it, &n->flow.pacing.all) {
    struct flow_pacing *p = container_of(it, struct flow_pacing, all);
    if (p->peer == peer) forget(p);
  }
  list_for_safe(it, &n->flow.paced.all) {
    struct flow_paced *p = container_of(it, struct flow_paced, all);
    if (p->peer == peer) lapse(p);
  }
}

void pace_init(struct node *n) {
  list_init(&n->flow.paced.all);
  list_init(&n->flow.pacing.all);
  list_init(&n->flow.pacing.readers);
  htab_init(&n->flow.pacing.tab, &n->rows.mem[ROW_PACE], n->rng, PACE_MOST, key_eq);
  n->flow.paced.sweep_at = n->flow.pacing.look_at = TIME_NEVER;
}

void pace_done(struct node *n) {
  assert(!n->flow.pacing.tab.count && !n->flow.paced.count);
  htab_done(&n->flow.pacing.tab);
}

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
static const char *said_check(const struct flow *f) {
  uint32_t of_readers = 0;
  CHECK_PART(htab_check(&f->pacing.tab));
  CHECK(list_has(&f->pacing.all, f->pacing.tab.count), "pace: those that wait elsewhere are not as many as counted");
  list_for(it, &f->pacing.all) {
    const struct flow_pacing *p = container_of(it, const struct flow_pacing, all);
    CHECK(htab_has(&f->pacing.tab, &p->h, &p->peer, sizeof(struct key)), "pace: one that waits elsewhere is not found");
    CHECK(p->link->paces && !p->link->ended, "pace: one waits at a link that has ended");
    CHECK(p->reader->at.s->reader == p->reader, "pace: one waits for nobody");
  }
  list_for(it, &f->pacing.readers) {
    const struct flow_reader *r = container_of(it, const struct flow_reader, pacing);
    CHECK(!list_empty(&r->paces) && list_holds(&r->paces), "pace: a reader is waited for by nobody");
    of_readers += list_count(&r->paces);
  }
  CHECK(of_readers == f->pacing.tab.count, "pace: those that wait are not as many as readers say");
  return NULL;
}

static const char *places_check(const struct node *n) {
  uint32_t count[2] = {0}, nodes[2] = {0};
  list_for(it, &n->peers.all) for (int kind = 0; kind < 2; kind++) {
    uint32_t k = container_of(it, const struct peer, all)->spread.paces[kind];
    count[kind] += k;
    nodes[kind] += k > 0;
  }
  CHECK(count[PACED] == n->flow.paced.count && count[PACING] == n->flow.pacing.tab.count,
        "pace: other nodes have not as many places as are taken");
  CHECK(nodes[PACED] == n->flow.paced.nodes && nodes[PACING] == n->flow.pacing.nodes,
        "pace: the nodes that have places are not as many as counted");
  return NULL;
}

const char *pace_check(const struct node *n) {
  const struct flow *f = &n->flow;
  uint32_t of_sessions = 0;
  CHECK_PART(said_check(f));
  CHECK_PART(places_check(n));
  CHECK(list_has(&f->paced.all, f->paced.count), "pace: publishers that are to wait are not as many as counted");
  list_for(it, &f->paced.all) {
    const struct flow_paced *p = container_of(it, const struct flow_paced, all);
    CHECK(p->at.far && p->at.s->paces && !p->at.s->ended, "pace: a publisher waits for a link that has ended");
    CHECK(heard_of(p->from, p->peer) == p, "pace: a publisher does not know that it is to wait");
    CHECK(list_holds(&p->at.holders) && list_count(&p->at.holders) <= 1, "pace: more wait than publish");
  }
  list_for(it, &n->sessions.all) for (const struct flow_paced *p = container_of(it, const struct session, all)->paced; p;
                                      p = p->next) of_sessions++;
  CHECK(of_sessions == f->paced.count, "pace: sessions are to wait that nobody knows");
  return NULL;
}

size_t pace_owned(const struct node *n) {
  size_t sum = htab_owned(&n->flow.pacing.tab);
  list_for(it, &n->flow.pacing.all) sum += mem_cost(container_of(it, const struct flow_pacing, all));
  list_for(it, &n->flow.paced.all) sum += mem_cost(container_of(it, const struct flow_paced, all));
  return sum;
}
