#include "node/messages/deliver.h"

#include <assert.h>

#include "base/check.h"
#include "base/err.h"
#include "node/memory/plan.h"
#include "node/messages/gather.h"
#include "node/messages/publish.h"
#include "node/messages/spread.h"
#include "node/session/session.h"
#include "node/session/tally.h"
#include "node/trust/account.h"
#include "wire/names.h"

/* ---- matching --------------------------------------------------------------------------------------------------------------
 *
 * A client can choose its patterns so that one topic makes the index visit all of them; a publish of 80 bytes would then take a
 * second. The steps that nearly every match needs are free. Steps beyond these share one budget for the whole node, so that
 * only expensive publishes are refused. */
#define MATCH_FREE 1000      /* steps (trie nodes and positions) that each match may take: some 0.1 ms with cold caches */
#define MATCH_RATE 1000000.0 /* further steps a second, for the whole node, */
#define MATCH_BURST 250000.0
#define MATCH_MOST 20000u /* of which one match may take so many: some 2 ms */
/* What a publish costs an identity with a quota of messages beyond its one token (trust/account.h): */
#define STEPS_A_TOKEN 200.0 /* further steps */
#define OWN_A_TOKEN 2.0     /* copies for its own connections: else many of them make much of little */

#define LOOK 32u /* copies between two looks at the time */
/* A publish or a copy is a unit of work, some 0.3 us. Between two publishes the time is looked at after so many units: */
#define WORK_LOOK 16u
#define STEPS_A_UNIT 64u /* of a match */
#define BYTES_A_UNIT 4096u

uint32_t match_begin(struct node *n) {
  double further = bucket_level(&n->messages.match_rate, MATCH_RATE, MATCH_BURST, n->now);
  return MATCH_FREE + (further < MATCH_MOST ? (uint32_t)further : MATCH_MOST);
}

int match_end(struct node *n, uint32_t given, uint32_t left) {
  uint32_t spent = given - left;
  if (spent > MATCH_FREE) n->messages.match_rate.tokens -= spent - MATCH_FREE;
  if (left) return 0;
  n->stats.matches_refused++;
  return MACULA_RATE_LIMITED;
}

static int matched(struct node *n, struct session *from, uint32_t given, uint32_t left, struct topic_subscriber *hit,
                   struct topic_subscriber **ret_hit) {
  int err = match_end(n, given, left);
  n->work += 1 + (given - left) / STEPS_A_UNIT;
  if (from && given - left > MATCH_FREE) account_charge(from, (given - left - MATCH_FREE) / STEPS_A_TOKEN);
  if (!err) *ret_hit = hit;
  return err;
}

int deliver_match(struct node *n, struct session *from, struct slice topic, struct topic_subscriber **ret_hit) {
  uint32_t given = match_begin(n), left = given;
  struct topic_subscriber *hit = topic_index_match_within(n->messages.topics, topic, &left);
  return matched(n, from, given, left, hit, ret_hit);
}

int deliver_match_first(struct node *n, struct session *from, struct slice topic, struct topic_subscriber **ret_hit,
                        bool *ret_more) {
  uint32_t given = match_begin(n), left = given;
  struct topic_want want = {.own = from, .flags = name_is_reserved(topic) ? TOPIC_OF_NODE : 0};
  struct topic_subscriber *hit = topic_index_match_first(n->messages.topics, topic, &want, &left, ret_more);
  return matched(n, from, given, left, hit, ret_hit);
}

/* ---- copies ----------------------------------------------------------------------------------------------------------------
 */
/* An error only if nobody has a copy; where others have one, this receiver loses it. */
static int hand_over(struct fanout *f, struct session *to, uint64_t qos, uint64_t *cut) {
  struct parcel *p = NULL;
  f->n->work += 1 + (uint32_t)(f->m->payload.n / BYTES_A_UNIT);
  if (f->expires <= f->n->now) {
    f->n->stats.expired++;
    tally_lost(to, f->topic, TALLY_EXPIRED);
    return 0;
  }
  int err = fanout_for(f, to, &p);
  if (err && !fanout_has_form(f)) return err;
  uint32_t lost = qos ? door_lost(&to->door) : 0;
  bool went = parcel_deliver(f->n, to, p);
  if (!went && !qos) tally_lost(to, f->topic, TALLY_SLOW);
  if (!qos) return 0;
  if (!went && !(went = session_shed(to) && p && parcel_deliver(f->n, to, p))) tally_lost(to, f->topic, TALLY_CUT);
  *cut += !went || door_lost(&to->door) != lost;
  return 0;
}

static_assert(sizeof(struct fanout) + sizeof(struct delivery) <= PLAN_FANOUT - 4096,
              "what is kept of a message is not planned");

static struct delivery *new_list(struct node *n) {
  uint32_t most = clients_total(&n->sessions.clients); /* to count them would be another walk */
  struct delivery *d = mem_alloc(&n->rows.mem[ROW_FANOUT], sizeof *d + most * sizeof d->to[0]);
  if (d) *d = (struct delivery){.most = most};
  return d;
}

/* The list is the one of those who are left, and the message is kept with it. False: there is no memory for that, and all is as
 * it was. */
static bool keep(struct node *n, struct fanout *f, const struct msg_publish *m, struct delivery *d) {
  struct mem *mem = &n->rows.mem[ROW_FANOUT];
  struct fanout *kept = d ? mem_alloc(mem, sizeof *kept) : NULL;
  if (!kept || !fanout_keep(f, kept)) {
    mem_free(mem, kept);
    return false;
  }
  mem_free(mem, d->g);
  d->g = NULL;
  d->f = kept;
  d->qos = (unsigned)m->qos;
  n->messages.rest = d;
  return true;
}

static void end(struct node *n) {
  struct delivery *d = n->messages.rest;
  struct mem *mem = &n->rows.mem[ROW_FANOUT];
  n->messages.rest = NULL;
  if (d->f) fanout_kept_done(d->f);
  mem_free(mem, d->f);
  mem_free(mem, d->g);
  if (d->end.wanted && d->end.session) publish_delivered(n, d);
  if (d->end.wanted && !d->end.session) spread_delivered(n, d);
  if (d->end.number) spread_cut(n, d->end.number, d->end.partly.cut);
  mem_free(mem, d);
}

static bool is_for(const struct topic_subscriber *hit, const struct session *from, const struct msg_publish *m) {
  return deliver_is_for(hit, from) && (!name_is_reserved(m->topic) || hit->flags & TOPIC_OF_NODE);
}

/* Those from `hit` on, of which as many as this are connections of the publisher's identity. */
static uint32_t list_rest(struct delivery *d, struct topic_subscriber *hit, const struct session *from,
                          const struct msg_publish *m) {
  uint32_t own = 0;
  for (; hit; hit = hit->next_hit) {
    if (!is_for(hit, from, m)) continue;
    const struct session *to = hit->user;
    own += from && to->account == from->account;
    assert(d->count < d->most);
    d->to[d->count++] = hit->session;
  }
  return own;
}

/* The rest is left for the next turn, in this list, or in one that is made (*d NULL). False: there is no memory, and they get
 * their copies in this turn. */
static bool put_off(struct node *n, struct fanout *f, const struct msg_publish *m, struct delivery **d) {
  struct delivery *list = *d ? *d : new_list(n);
  bool kept = keep(n, f, m, list);
  if (!kept && !*d) mem_free(&n->rows.mem[ROW_FANOUT], list);
  if (kept) *d = NULL;
  *(kept ? &n->stats.fanouts_sliced : &n->stats.fanouts_whole) += 1;
  return kept;
}

int deliver_begin(struct node *n, struct session *from, struct topic_subscriber *hit, const struct msg_publish *m,
                  const struct principal *by, uint64_t *ret_cut, struct delivery *d) {
  uint32_t own = d ? gather_own(d) : 0, k = 0, done = 0;
  struct fanout f;
  int err = 0;
  bool whole = false, listed = d != NULL;
  assert(!n->messages.rest);
  fanout_init(&f, n, m, by);
  if (from) f.own = from->serial;
  for (; hit && !err && !n->messages.rest; hit = hit->next_hit) {
    struct session *to = hit->user;
    done++;
    if (!is_for(hit, from, m)) continue;
    own += from && !listed && to->account == from->account;
    err = hand_over(&f, to, m->qos, ret_cut);
    if (err || whole || ++k % LOOK || !hit->next_hit || !node_spent(n)) continue;
    whole = !put_off(n, &f, m, &d);
    if (!whole && listed) n->messages.rest->at = done;
    if (!whole && !listed) own += list_rest(n->messages.rest, hit->next_hit, from, m);
  }
  if (!n->messages.rest) fanout_done(&f);
  gather_free(n, d);
  if (own) account_charge(from, own / OWN_A_TOKEN);
  return err;
}

static int deliver_now(struct fanout *f, const struct delivery *d, unsigned qos, uint64_t *ret_cut) {
  int err = 0;
  f->n->stats.fanouts_whole++;
  for (uint32_t i = 0; i < d->count && !err; i++) {
    struct clients_entry *e = clients_of_session(&f->n->sessions.clients, d->to[i]);
    struct session *to = e ? e->user : NULL;
    if (to && to->state == SESSION_IN) err = hand_over(f, to, qos, ret_cut);
  }
  return err;
}

int deliver_list(struct node *n, struct session *from, struct delivery *d, const struct msg_publish *m,
                 const struct principal *by, uint64_t *ret_cut) {
  uint32_t own = gather_own(d);
  struct fanout f;
  int err = 0;
  assert(!n->messages.rest);
  fanout_init(&f, n, m, by);
  f.own = from->serial;
  if (!keep(n, &f, m, d)) {
    err = deliver_now(&f, d, m->qos, ret_cut);
    fanout_done(&f);
    gather_free(n, d);
  }
  if (own) account_charge(from, own / OWN_A_TOKEN);
  return err;
}

bool deliver_tell(struct node *n, uint64_t session, const struct id *peer, uint64_t ref, int err,
                  const struct msg_partly *partly) {
  struct delivery *d = n->messages.rest;
  if (!d) return false;
  d->end.wanted = true;
  d->end.session = session;
  if (peer) d->end.peer = *peer;
  d->end.ref = ref;
  d->end.err = err;
  d->end.partly = *partly;
  return true;
}

void deliver_counts(struct node *n, uint64_t number) {
  if (n->messages.rest) n->messages.rest->end.number = number;
}

void deliver_step(struct node *n) {
  struct delivery *d = n->messages.rest;
  if (d && d->g) gather_step(n);
  if (!d || d->g) return;
  for (uint32_t k = 1; d->at < d->count; k++) {
    struct clients_entry *e = clients_of_session(&n->sessions.clients, d->to[d->at++]);
    struct session *to = e ? e->user : NULL;
    if (to && to->state == SESSION_IN) (void)hand_over(d->f, to, d->qos, &d->end.partly.cut);
    if (k % LOOK == 0 && node_spent(n) && d->at < d->count) return;
  }
  end(n);
  spread_results(n); /* those that were held back so that no acknowledgement comes before the last copy */
}

void deliver_replaced(struct node *n, uint64_t was, uint64_t is) {
  struct delivery *d = n->messages.rest;
  for (uint32_t i = d && !d->g ? d->at : 0; d && i < d->count; i++) {
    if (d->to[i] != was) continue;
    d->to[i] = is;
    if (d->g) gather_has(n, is);
  }
}

void deliver_done(struct node *n) {
  if (!n->messages.rest) return;
  n->messages.rest->end.wanted = false;
  n->messages.rest->end.number = 0;
  end(n);
}

/* What was queued before is sent first, so that queues grow only as fast as they are sent. */
bool deliver_waits(struct node *n) { return n->messages.rest || n->unsent || (n->work >= WORK_LOOK && node_spent(n)); }

bool deliver_is_awaited(const struct session *s) { return gather_ready(s->node) == s; }

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
uint64_t deliver_origins(const struct node *n) {
  const struct fanout *f = n->messages.rest ? n->messages.rest->f : NULL;
  return f && f->by;
}

const char *deliver_check(const struct node *n) {
  const struct delivery *d = n->messages.rest;
  CHECK(!d || d->g || d->f, "deliver: nothing is on its way");
  CHECK(!d || (d->at <= d->count && d->count <= d->most), "deliver: a message is on its way to more than there is room for");
  return NULL;
}

double deliver_frames_owned(const struct node *n) {
  const struct fanout *f = n->messages.rest ? n->messages.rest->f : NULL;
  double sum = 0;
  for (int i = 0; f && i < FORMS; i++)
    if (f->made[i] && f->form[i].shared) sum += shbuf_part(f->form[i].shared, &n->rows.mem[ROW_SEND]);
  return sum;
}

size_t deliver_owned(const struct node *n) {
  const struct delivery *d = n->messages.rest;
  return d ? mem_cost(d) + mem_cost(d->f) + mem_cost(d->g) : 0;
}
