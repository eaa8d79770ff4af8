#include "node/messages/gather.h"

#include <assert.h>

#include "base/err.h"
#include "node/messages/pace.h"
#include "node/messages/spread.h"
#include "node/peers/peer.h"
#include "node/session/session.h"
#include "wire/names.h"
#include "wire/pattern.h"

#define LOOK 32u  /* subscriptions, or subscribers, between two looks at the time */
#define MORE 256u /* subscribers that may come meanwhile */

enum step { FINDING, CHOOSING, READY };

struct gather {
  enum step step;
  struct hold_ask ask; /* ask.from NULL: nobody is asked */
  uint64_t session;    /* serial of ask.from */
  uint32_t own;        /* connections of the publisher's identity among these */
  uint64_t reader;     /* serial of the one that it is to wait for; 0: none */
  bool anew;           /* the list, or who has ended, makes it worthless */
  bool has_peer;       /* else it is this node's own message, or a client's */
  struct id peer;
  struct pace_look pace;
  struct topic_subscriber **last; /* of the chain, while it is one: in the turn in which it begins */
  size_t len;
  char topic[NAME_MAX_LEN];
};

static_assert(sizeof(struct gather) <= 2048, "the row fanout plans less"); /* PLAN_FANOUT, beside deliver.c's */

static struct mem *mem_of(struct node *n) { return &n->rows.mem[ROW_FANOUT]; }

static struct gather *of(const struct node *n) { return n->messages.rest ? n->messages.rest->g : NULL; }

bool gather_is_on(const struct node *n) { return of(n) != NULL; }

void gather_free(struct node *n, struct delivery *d) {
  if (!d) return;
  assert(d != n->messages.rest);
  mem_free(mem_of(n), d->g);
  mem_free(mem_of(n), d);
}

uint32_t gather_own(const struct delivery *d) { return d->g->own; }
bool gather_was_sliced(const struct delivery *d) { return !d->g->last; }

static struct delivery *new_list(struct node *n, struct slice topic, struct topic_subscriber **hit) {
  uint32_t all = clients_total(&n->sessions.clients), limit = n->limits.max_clients + n->limits.max_operators;
  uint32_t most = all + MORE < limit ? all + MORE : all > limit ? all : limit;
  struct delivery *d = mem_alloc(mem_of(n), sizeof *d + most * sizeof d->to[0]);
  struct gather *g = d ? mem_calloc(mem_of(n), 1, sizeof *g) : NULL;
  if (!g) {
    mem_free(mem_of(n), d);
    return NULL;
  }
  *d = (struct delivery){.g = g, .most = most};
  g->last = hit;
  g->len = topic.n;
  memcpy(g->topic, topic.p, topic.n);
  return d;
}

/* ---- finding ---------------------------------------------------------------------------------------------------------------
 */
static void found(struct delivery *d, struct topic_subscriber *who) {
  struct gather *g = d->g;
  struct session *to = who->user, *from = g->ask.from;
  if (to->state != SESSION_IN) return;
  if (d->count == d->most) {
    g->anew = true;
    return;
  }
  d->to[d->count++] = who->session;
  pace_look_at(&g->pace, to);
  if (g->last) *g->last = who;
  if (g->last) g->last = &who->next_hit;
  if (!from) return;
  g->own += to->account == from->account;
  if (to != from) hold_ask_one(&g->ask, to);
}

/* Those that the match has found at once; they are few (topic_index.h). */
static void take_chain(struct delivery *d, struct topic_subscriber *hit) {
  *d->g->last = NULL;
  bool of_node = name_is_reserved(slice_of(d->g->topic, d->g->len));
  for (struct topic_subscriber *next; hit; hit = next) {
    next = hit->next_hit;
    if (deliver_is_for(hit, d->g->ask.from) && (!of_node || hit->flags & TOPIC_OF_NODE))
      found(d, hit);
    else
      topic_index_match_omit(hit); /* maybe it gets it by another pattern */
    if (d->g->last) *d->g->last = NULL;
  }
}

/* False: the time is over. */
static bool find(struct node *n, struct delivery *d) {
  for (uint32_t steps = LOOK;; steps = LOOK) {
    struct topic_subscriber *who;
    while ((who = topic_index_match_more(n->messages.topics, &steps))) found(d, who);
    if (steps) break;
    if (node_spent(n)) return false;
  }
  if (d->g->last) *d->g->last = NULL;
  return true;
}

/* Whom the publish is to wait for: the first one, if for any. False: the time is over. */
static bool choose(struct node *n, struct delivery *d) {
  struct gather *g = d->g;
  for (uint32_t k = 1; g->ask.later && !g->reader && d->at < d->count; k++) {
    struct clients_entry *e = clients_of_session(&n->sessions.clients, d->to[d->at++]);
    struct session *to = e ? e->user : NULL;
    if (to && to != g->ask.from && to->state == SESSION_IN && hold_is_for(&g->ask, to)) g->reader = to->serial;
    if (k % LOOK == 0 && d->at < d->count && node_spent(n)) return false;
  }
  d->at = 0;
  return true;
}

static bool go_on(struct node *n, struct delivery *d) {
  struct gather *g = d->g;
  if (g->step == FINDING && find(n, d)) g->step = CHOOSING;
  if (g->step == CHOOSING && (!g->ask.from || choose(n, d))) g->step = READY;
  return g->step == READY;
}

/* ---- a client's ------------------------------------------------------------------------------------------------------------
 */
/* All at once; deliver_begin counts it, as there is no memory for its list either. */
static void find_all(struct node *n, struct slice topic, struct topic_subscriber **ret_hit) {
  uint32_t left = UINT32_MAX;
  *ret_hit = topic_index_match_within(n->messages.topics, topic, &left);
}

enum gathered gather_begin(struct session *from, const struct msg_publish *m, const struct listeners *to,
                           const struct group_picks *picks, struct topic_subscriber **ret_hit, struct delivery **ret_d) {
  struct node *n = from->node;
  struct topic_subscriber *hit = *ret_hit;
  struct delivery *d = new_list(n, m->topic, ret_hit);
  assert(!n->messages.rest);
  if (!d) {
    find_all(n, m->topic, ret_hit);
    return GATHERED_NOT;
  }
  d->g->session = from->serial;
  hold_ask_init(&d->g->ask, from, m);
  hold_ask_others(&d->g->ask, to, picks);
  take_chain(d, hit);
  if (go_on(n, d)) {
    *ret_d = d;
    return GATHERED;
  }
  d->g->last = NULL;
  n->messages.rest = d;
  n->stats.fanouts_sliced++;
  from->holds = true;
  return GATHERED_LATER;
}

struct session *gather_ready(const struct node *n) {
  const struct gather *g = of(n);
  return g && g->step == READY && g->session ? g->ask.from : NULL;
}

bool gather_is_for(const struct session *s, const struct msg_publish *m) {
  const struct gather *g = of(s->node);
  struct hold_ask a;
  if (gather_ready(s->node) != s || g->anew) return false;
  hold_ask_init(&a, g->ask.from, m);
  return slice_eq(m->topic, slice_of(g->topic, g->len)) && a.need == g->ask.need && a.kind == g->ask.kind;
}

struct delivery *gather_take(struct node *n) {
  struct delivery *d = n->messages.rest;
  assert(of(n) && of(n)->step == READY);
  n->messages.rest = NULL;
  return d;
}

void gather_unused(struct node *n) {
  if (of(n) && of(n)->step == READY) gather_free(n, gather_take(n)); /* else another has begun meanwhile */
}

bool gather_holds(struct delivery *d, const struct listeners *to, const struct group_picks *picks) {
  struct gather *g = d->g;
  struct node *n = g->ask.from->node;
  struct clients_entry *e = g->reader ? clients_of_session(&n->sessions.clients, g->reader) : NULL;
  if (g->reader && !e) { /* it has ended meanwhile: another may be worth waiting for */
    g->ask.from->holds = true;
    return true;
  }
  return hold_asked(&g->ask, e ? e->user : NULL, to, picks);
}

/* ---- other messages --------------------------------------------------------------------------------------------------------
 */
static void give(struct node *n, struct delivery *d) {
  struct peer *p = d->g->has_peer ? peer_find(n, &d->g->peer) : NULL;
  if (p) pace_look_end(&d->g->pace, p);
  mem_free(mem_of(n), d->g);
  d->g = NULL;
}

/* The message is kept, and the rest found in the next turns. False: there is no memory for it. */
static bool keep(struct node *n, struct delivery *d, const struct msg_publish *m, const struct principal *by) {
  struct fanout f;
  fanout_init(&f, n, m, by);
  d->f = mem_alloc(mem_of(n), sizeof *d->f);
  if (!d->f || !fanout_keep(&f, d->f)) {
    fanout_done(&f);
    mem_free(mem_of(n), d->f);
    d->f = NULL;
    return false;
  }
  d->g->last = NULL;
  d->qos = (unsigned)m->qos;
  n->messages.rest = d;
  n->stats.fanouts_sliced++;
  return true;
}

int gather_local(struct node *n, struct peer *peer, struct topic_subscriber *hit, uint64_t connection,
                 const struct msg_publish *m, const struct principal *by, uint64_t *ret_cut) {
  struct topic_subscriber *all = hit;
  struct delivery *d = new_list(n, m->topic, &all);
  struct msg_publish given = *m;
  given.connection = connection;
  assert(!n->messages.rest);
  if (!d) {
    find_all(n, m->topic, &all);
    if (peer) pace_publish(peer, &given, all);
    return all ? deliver_begin(n, NULL, all, m, by, ret_cut, NULL) : 0;
  }
  d->g->has_peer = peer != NULL;
  if (peer) d->g->peer = peer->id;
  if (peer) pace_look_begin(&d->g->pace, peer, &given);
  take_chain(d, hit);
  if (!go_on(n, d)) {
    if (keep(n, d, m, by)) return 0;
    while (!go_on(n, d)) continue;
    n->stats.fanouts_whole++;
  }
  if (peer) pace_look_end(&d->g->pace, peer);
  if (all) return deliver_begin(n, NULL, all, m, by, ret_cut, d);
  gather_free(n, d);
  return 0;
}

/* ---- turns and ends --------------------------------------------------------------------------------------------------------
 */
void gather_step(struct node *n) {
  struct delivery *d = n->messages.rest;
  if (d->g->step != READY && go_on(n, d) && !d->g->session) give(n, d);
}

void gather_subscribed(struct session *s, struct slice pattern) {
  struct node *n = s->node;
  struct gather *g = of(n);
  struct slice topic = g ? slice_of(g->topic, g->len) : SLICE_NONE;
  if (!g || s == g->ask.from || name_is_reserved(topic) || !pattern_match(pattern, topic)) return;
  if (topic_index_match_add(n->messages.topics, &s->topics)) found(n->messages.rest, &s->topics);
}

void gather_has(struct node *n, uint64_t session) {
  struct clients_entry *e = clients_of_session(&n->sessions.clients, session);
  struct session *s = e ? e->user : NULL;
  if (s) (void)topic_index_match_add(n->messages.topics, &s->topics);
}

void gather_session_end(struct session *s) {
  struct node *n = s->node;
  struct gather *g = of(n);
  if (!g || !g->session) return;
  if (g->session == s->serial) {
    g->step = READY;
    gather_unused(n);
    return;
  }
  hold_ask_forget(&g->ask, s);
}
