#include "node/messages/hold.h"

#include "base/check.h"
#include "node/flow/budget.h"
#include "node/messages/deliver.h"
#include "node/messages/pace.h"
#include "node/messages/spread.h"
#include "node/peers/peer.h"
#include "node/peers/route.h"
#include "node/session/room.h"
#include "node/session/session.h"
#include "node/trust/account.h"

#define LOOK_EVERY (20 * NS_MS) /* while somebody waits: the accounts */
#define LOOK_EACH (10 * NS_US)  /* and so much less often for each that waits */
#define SOON_STEPS 4            /* of room_step */
#define LATELY 1000u            /* ms: whom the publisher's messages went to within it counts beside those of this one */
#define BESIDE 1280u  /* bytes of a frame, and of what announces its publisher and topic, beside topic and payload at most */
#define UNSENT_PART 4 /* of a turn that could not send all a fourth counts as time in which this node could send */

/* ---- others ----------------------------------------------------------------------------------------------------------------
 */
static uint32_t ms_of(nanotime t) { return (uint32_t)(t / NS_MS); }

static struct flow_other other(struct session *s) {
  bool link = s->peer != NULL;
  s->is_other |= link;
  return (struct flow_other){link ? (uint64_t)(uintptr_t)s : s->serial, ms_of(s->node->now), link};
}

static struct session *find(struct node *n, const struct flow_other *o) {
  if (!o->who) return NULL;
  if (o->link) return (struct session *)(uintptr_t)o->who; /* it lives: hold_session_end */
  struct clients_entry *e = clients_of_session(&n->sessions.clients, o->who);
  return e ? e->user : NULL;
}

enum hunger {
  HUNGRY, /* its queue is empty */
  SOON    /* or will be */
};
static bool is_hungry(struct node *n, const struct flow_other *o, const struct session *reader, const struct session *from,
                      enum hunger how) {
  const struct session *s = find(n, o);
  if (!s || s == reader || s == from || s->state != SESSION_IN || (o->link && pace_is_full(from, s))) return false;
  return room_deliveries(s) <= (how == SOON ? SOON_STEPS * room_step(s) : 0);
}

/* Whether another one that it publishes to goes hungry while it waits, from `since` on, for this reader. */
static bool starves(struct session *from, const struct session *reader, const struct flow_other *least, nanotime since,
                    enum hunger how) {
  if (is_hungry(from->node, least, reader, from, how)) return true;
  for (int i = 0; i < 2 && from->own; i++) {
    const struct flow_others *all = &from->own->others;
    struct flow_other o = {all->who[i], all->at[i] & ~1u, all->at[i] & 1};
    if (o.who && ms_of(since) - o.at <= LATELY && is_hungry(from->node, &o, reader, from, how)) return true;
  }
  return false;
}

static struct flow_paced *far_of(struct flow_awaited *r) { return r->far ? container_of(r, struct flow_paced, at) : NULL; }

/* The same for one that waits. */
static bool is_starving(const struct flow_held *h, nanotime since, enum hunger how) {
  const struct flow_paced *p = far_of(h->awaited);
  if (p && p->window) return false; /* it waits for no reader, but goes on step by step */
  return (p && p->beside) || starves(h->s, h->awaited->s, &h->least, since, how);
}

static void remember(struct session *from, struct session *to) {
  if (!account_own(from)) return; /* no memory: nobody waits longer for that */
  struct flow_others *o = &from->own->others;
  struct flow_other now = other(to);
  if (o->who[0] != now.who) {
    o->who[1] = o->who[0];
    o->at[1] = o->at[0];
  }
  o->who[0] = now.who;
  o->at[0] = (now.at & ~1u) | now.link;
}

/* ---- asking ----------------------------------------------------------------------------------------------------------------
 */
static bool others_wait(const struct hold_ask *a, const struct session *to) {
  const struct flow_reader *r = to->reader;
  return r && !list_empty(&r->at.holders) && a->served != &r->at;
}

static struct flow_paced *paced_by(const struct hold_ask *a, const struct session *to) {
  return to->peer && a->peer ? pace_of(a->from, a->peer, a->kind) : NULL;
}

/* In an envelope it is larger. */
static size_t need_of(const struct hold_ask *a) { return a->need + (a->peer && !a->peer->link ? ROUTE_BESIDE : 0); }

static enum room room_of(const struct hold_ask *a, struct session *to) {
  const struct flow_paced *p = paced_by(a, to);
  size_t need = need_of(a);
  if (p) return p->moves ? ROOM_NONE : ROOM_LATER;
  if (others_wait(a, to) && room_keeps_up(to)) return ROOM_LATER;
  enum room room = room_ask(to, need);
  return room == ROOM_YES && room_is_ahead(to, need) ? ROOM_LATER : room;
}

void hold_ask_one(struct hold_ask *a, struct session *to) {
  size_t queued = session_queued(to);
  if (!a->first) a->first = to;
  if (queued < a->least_queued) {
    a->next = a->least;
    a->next_queued = a->least_queued;
    a->least = to;
    a->least_queued = queued;
  } else if (queued < a->next_queued) {
    a->next = to;
    a->next_queued = queued;
  }
  if (a->later || (!queued && !to->reader && !a->from->paced)) return;
  enum room room = room_of(a, to);
  a->later = room == ROOM_LATER || (room == ROOM_YES && room_is_ahead(to, need_of(a))) ||
             (room == ROOM_NONE && a->kind == BUDGET_KIND_QOS1 && room_moves(to));
}

static struct flow_other least_beside(const struct hold_ask *a, const struct session *to) {
  struct session *s = a->least == to ? a->next : a->least;
  return s ? other(s) : (struct flow_other){0};
}

bool hold_is_for(const struct hold_ask *a, struct session *to) {
  enum room room = room_of(a, to);
  const struct flow_paced *p = paced_by(a, to);
  if (p && p->window) return true;
  if (room == ROOM_YES || (room == ROOM_NONE && a->kind != BUDGET_KIND_QOS1)) return false;
  struct flow_other least = least_beside(a, to);
  if (room == ROOM_LATER && account_may_wait(a->from, to, a->kind, p ? p->lately : room_was_empty(to)) >= BUDGET_LEAST)
    return true;
  return !(p && p->beside) && !starves(a->from, to, &least, to->node->now, SOON) && (room == ROOM_LATER || room_moves(to));
}

/* Calls fn for each that gets the message but the publisher itself, until it returns true; returns for whom. */
static struct session *each(struct hold_ask *a, struct topic_subscriber *hit, const struct listeners *to,
                            const struct group_picks *picks, bool (*fn)(struct hold_ask *a, struct session *to)) {
  for (; hit; hit = hit->next_hit)
    if (hit->user != a->from && deliver_is_for(hit, a->from) && fn(a, hit->user)) return hit->user;
  for (uint32_t i = 0; i < picks->count; i++) {
    struct session *s = picks->at[i].member ? topic_sub_subscriber(picks->at[i].member)->user : NULL;
    if (s && s != a->from && fn(a, s)) return s;
  }
  for (uint32_t i = 0; i < to->count; i++) {
    struct session *link = peer_path(to->peers[i]);
    a->peer = to->peers[i];
    if (link && link->state == SESSION_IN && fn(a, link)) return link;
  }
  a->peer = NULL;
  return NULL;
}

static bool asked(struct hold_ask *a, struct session *to) { return hold_ask_one(a, to), false; }
static bool chosen(struct hold_ask *a, struct session *to) { return hold_is_for(a, to); }

/* Without memory for its record it is put off to the next turn. */
static void begin(const struct hold_ask *a, struct session *to) {
  struct session *s = a->from;
  struct node *n = s->node;
  struct flow *f = &n->flow;
  s->holds = true;
  if (s->held) return; /* on another of its ways something waits already */
  struct flow_paced *p = paced_by(a, to);
  struct flow_reader *reader = p ? NULL : room_reader(to);
  struct flow_awaited *r = p ? &p->at : reader ? &reader->at : NULL;
  struct flow_held *h = r ? mem_calloc(&n->rows.mem[ROW_FLOW], 1, sizeof *h) : NULL;
  if (!h) return;
  *h = (struct flow_held){.s = s,
                          .awaited = r,
                          .least = least_beside(a, to),
                          .since = n->now,
                          .charged = n->now,
                          .turn = f->turn,
                          .need = (uint32_t)need_of(a),
                          .kind = (uint8_t)a->kind};
  h->hungry = is_starving(h, n->now, HUNGRY);
  list_init(&h->of_awaited);
  if (list_empty(&r->holders)) { /* to the front */
    if (!r->far) list_remove(&r->all);
    list_prepend(&f->readers, &r->all);
  }
  list_append(&r->holders, &h->of_awaited);
  s->held = h;
  f->held++;
  f->held_count++;
  f->look_at = time_min(f->look_at, p && p->until > n->now ? time_min(p->until, time_add(n->now, LOOK_EVERY))
                                                           : time_add(n->now, LOOK_EVERY));
}

void hold_ask_init(struct hold_ask *a, struct session *from, const struct msg_publish *m) {
  *a = (struct hold_ask){.from = from,
                         .served = from->node->flow.served,
                         .need = m->topic.n + m->payload.n + m->headers.raw.n + BESIDE,
                         .kind = m->qos    ? BUDGET_KIND_QOS1
                                 : m->wait ? BUDGET_KIND_WAIT
                                           : BUDGET_KIND_QOS0,
                         .least_queued = SIZE_MAX,
                         .next_queued = SIZE_MAX};
}

void hold_ask_others(struct hold_ask *a, const struct listeners *to, const struct group_picks *picks) {
  (void)each(a, NULL, to, picks, asked);
}

void hold_ask_forget(struct hold_ask *a, const struct session *s) {
  if (a->first == s) a->first = NULL;
  if (a->next == s) a->next = NULL;
  if (a->least != s) return;
  a->least = a->next;
  a->least_queued = a->least ? a->next_queued : SIZE_MAX;
  a->next = NULL;
}

bool hold_asked(struct hold_ask *a, struct session *reader, const struct listeners *to, const struct group_picks *picks) {
  if (!reader && a->later) reader = each(a, NULL, to, picks, chosen);
  if (reader)
    begin(a, reader);
  else if (a->first)
    remember(a->from, a->first);
  return reader != NULL;
}

bool hold_publish(struct session *s, const struct msg_publish *m, struct topic_subscriber *hit, const struct listeners *to,
                  const struct group_picks *picks) {
  struct hold_ask a;
  hold_ask_init(&a, s, m);
  (void)each(&a, hit, to, picks, asked);
  struct session *reader = a.later ? each(&a, hit, to, picks, chosen) : NULL;
  if (reader)
    begin(&a, reader);
  else if (a.first)
    remember(s, a.first);
  return reader != NULL;
}

/* ---- going on --------------------------------------------------------------------------------------------------------------
 */
/* Takes it out of its reader's list, to those that go on in any case. */
static void let_go(struct flow_held *h) {
  struct flow_awaited *r = h->awaited;
  struct flow *f = &h->s->node->flow;
  list_remove(&h->of_awaited);
  list_append(&f->released, &h->of_awaited);
  h->awaited = NULL;
  if (!r || !list_empty(&r->holders)) return;
  list_remove(&r->all); /* behind those that are waited for */
  if (!r->far) list_append(&f->readers, &r->all);
}

/* Seconds that it may wait still for its reader. */
static double may_wait(const struct flow_held *h) {
  const struct flow_paced *p = far_of(h->awaited);
  return account_may_wait(h->s, h->awaited->s, (enum budget_kind)h->kind, p ? p->lately : room_was_empty(h->awaited->s));
}

/* Charges the time since the last look, half of it where another one is hungry only now, or was only then. Most waits for a
 * reader that is nearly as fast as its publisher are shorter than the time between two looks: each is charged as it ends. */
static void charge_time(struct flow_held *h) {
  struct session *s = h->s, *to = h->awaited->s;
  struct node *n = s->node;
  bool was = h->hungry;
  h->hungry = is_starving(h, h->since, HUNGRY);
  nanotime passed = (n->now - h->charged) / 2 * (unsigned)(was + h->hungry);
  h->charged = n->now;
  if (!passed) return;
  n->flow.waited += (double)passed / (double)NS_SEC;
  account_waited(s, to, (enum budget_kind)h->kind, n->now - passed);
}

static struct session *take(struct flow_held *h) {
  struct session *s = h->s;
  struct flow *f = &s->node->flow;
  if (h->awaited) charge_time(h);
  if (h->awaited) let_go(h);
  list_remove(&h->of_awaited);
  assert(f->held_count);
  f->held_count--;
  s->held = NULL;
  mem_free(&s->node->rows.mem[ROW_FLOW], h);
  return s;
}

static enum room room_at(struct flow_awaited *r, size_t need) {
  const struct flow_paced *p = far_of(r);
  enum room room = p ? ROOM_YES : room_ask(r->s, need);
  if (!p) return room == ROOM_YES && room_is_ahead(r->s, need) ? ROOM_LATER : room;
  return r->s->node->now >= p->until ? ROOM_YES : p->moves ? ROOM_NONE : ROOM_LATER;
}

/* Asking anew has its cost, so there is to be room for some more. */
static bool may_go(struct flow_held *h) {
  struct session *to = h->awaited->s;
  if (to->state != SESSION_IN || h->s->state != SESSION_IN) return true;
  enum room room = room_at(h->awaited, h->need);
  bool long_ago = time_since(to->node->now, h->since) >= NS_SEC;
  if (room == ROOM_YES && (long_ago || room_at(h->awaited, h->need + room_more(to)) == ROOM_YES)) return true;
  if (room != ROOM_NONE) return may_wait(h) <= 0 && is_starving(h, h->since, HUNGRY);
  return h->kind != BUDGET_KIND_QOS1 || !room_moves(to) || is_starving(h, h->since, SOON);
}

/* Nothing has changed since the last look, as far as is cheap to see. */
static bool is_idle(struct flow_awaited *r) {
  const struct flow_paced *p = far_of(r);
  if (p) return r->s->node->now < r->again_at && r->s->node->now < p->until;
  return r->s->node->now < r->again_at && door_progress(&r->s->door, DOOR_ALL) == r->progress && r->s->state == SESSION_IN;
}

static void looked_at(struct flow_awaited *r, const struct flow_held *h) {
  bool over = may_wait(h) <= 0; /* then another one's queue decides */
  r->progress = door_progress(&r->s->door, DOOR_ALL);
  r->again_at = over ? 0 : time_add(r->s->node->now, LOOK_EVERY);
}

struct session *hold_next(struct node *n) {
  struct flow *f = &n->flow;
  f->served = NULL;
  if (!list_empty(&f->released)) return take(container_of(f->released.next, struct flow_held, of_awaited));
  list_for(it, &f->readers) {
    struct flow_awaited *r = container_of(it, struct flow_awaited, all);
    if (list_empty(&r->holders)) break;
    struct flow_held *h = container_of(r->holders.next, struct flow_held, of_awaited);
    if (h->turn == f->turn || is_idle(r)) continue; /* it has had its turn */
    if (may_go(h)) {
      f->served = r;
      return take(h);
    }
    looked_at(r, h);
  }
  return NULL;
}

/* ---- time and accounts -----------------------------------------------------------------------------------------------------
 */
static void charge(struct flow_held *h) {
  charge_time(h);
  if (!h->hungry || may_wait(h) > 0) return;
  h->s->node->flow.over++;
  let_go(h);
}

static void look(struct node *n) {
  struct flow *f = &n->flow;
  list_for_safe(it, &f->readers) {
    struct flow_awaited *r = container_of(it, struct flow_awaited, all);
    if (list_empty(&r->holders)) {
      if (!room_deliveries(r->s) && list_empty(&r->s->reader->paces)) room_forget(r->s);
      continue;
    }
    list_for_safe(at, &r->holders) charge(container_of(at, struct flow_held, of_awaited));
  }
  nanotime every = f->held_count ? LOOK_EVERY + f->held_count * LOOK_EACH : ROOM_FORGET;
  f->look_at = list_empty(&f->readers) ? TIME_NEVER : time_add(n->now, every);
}

void hold_tick(struct node *n) {
  struct flow *f = &n->flow;
  uint64_t passed = time_since(n->now, f->last), stood = f->stood < passed ? f->stood : passed;
  f->clock += (passed - stood) / (n->unsent ? UNSENT_PART : 1);
  f->last = n->now;
  f->stood = 0;
  f->turn++;
  if (n->now >= f->look_at) look(n);
}

void hold_stood(struct node *n, uint64_t ns) {
  struct flow *f = &n->flow;
  if (ns > f->stood_said) f->stood += ns - f->stood_said;
  f->stood_said = ns;
}

nanotime hold_deadline(const struct node *n) { return list_empty(&n->flow.released) ? n->flow.look_at : n->now; }

void hold_release(struct flow_awaited *r) {
  while (!list_empty(&r->holders)) let_go(container_of(r->holders.next, struct flow_held, of_awaited));
}

void hold_session_end(struct session *s) {
  struct node *n = s->node;
  if (s->held) (void)take(s->held);
  if (s->reader) hold_release(&s->reader->at);
  room_forget(s);
  if (!s->is_other) return;
  struct flow_other it = {.who = (uint64_t)(uintptr_t)s};
  list_for(at, &n->sessions.all) {
    struct session *c = container_of(at, struct session, all);
    struct flow_others *o = c->own ? &c->own->others : NULL;
    for (int i = 0; i < 2 && o; i++)
      if (o->at[i] & 1 && o->who[i] == it.who) o->who[i] = 0;
    if (c->held && c->held->least.link && c->held->least.who == it.who) c->held->least = (struct flow_other){0};
  }
}

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
const char *hold_check(const struct node *n) {
  const struct flow *f = &n->flow;
  uint32_t held = list_count(&f->released), sessions = 0;
  CHECK(list_holds(&f->released), "hold: a list is broken");
  list_for(it, &f->readers) {
    const struct flow_awaited *r = container_of(it, const struct flow_awaited, all);
    held += list_count(&r->holders);
    list_for(h, &r->holders)
        CHECK(container_of(h, const struct flow_held, of_awaited)->awaited == r, "hold: one waits for another reader");
  }
  list_for(it, &n->sessions.all) {
    const struct session *s = container_of(it, const struct session, all);
    sessions += s->held != NULL;
    CHECK(!s->held || (s->held->s == s && !s->ended), "hold: what waits is another's, or has ended");
    CHECK(!s->holds, "hold: a frame is being held between turns");
  }
  CHECK(held == f->held_count && sessions == held, "hold: those that wait are not as many as counted");
  return NULL;
}
