/* Publishes across nodes: which nodes have subscribers for a topic, and one copy of a message to each of these.
 *
 * Interest is exchanged with up to max_interested other nodes, as long as they are members or linked. When all places are
 * taken, one who has proved who it is takes the place of one that was only heard of, is silent or dead, and one of the
 * configuration that of any other; nobody else loses its place. Of nodes without a place it is unknown what their clients
 * listen to, and a QoS 1 publish is then never said to be done. Whenever the connection that leads to a node has changed (to a
 * new link, or to or from its gateway's link), both sides tell each other anew which version of the other's interest they have.
 * path_check notices the change before anything is sent or handled.
 *
 * A message from a client goes to the node's own subscribers and to each node that has subscribers; a message from another node
 * goes to own subscribers only. So there are no loops and no second copies, and the messages of one publisher reach each node
 * in order. */
#include "node/messages/spread.h"

#include <assert.h>
#include <stdio.h>

#include "base/err.h"
#include "node/messages/deliver.h"
#include "node/messages/pace.h"
#include "node/messages/publish.h"
#include "node/messages/recall.h"
#include "node/peers/join.h"
#include "node/peers/peer.h"
#include "node/session/loss.h"
#include "node/session/origin.h"
#include "node/session/session.h"
#include "node/session/tally.h"
#include "node/session/topics.h"
#include "wire/answer.h"
#include "wire/headers.h"
#include "wire/interest.h"
#include "wire/names.h"

#define MUTE (1500 * NS_MS)       /* a connection that brings nothing for so long, though something waits to be acknowledged */
#define PAGES_QUEUED (256u << 10) /* bytes in a link's queue; while there are more, pages of interest wait */
#define PAGE_MOST (16u << 10)
#define MOST_OF_A_PEER 100000u /* patterns */
#define CHECK_EVERY (30 * NS_SEC)
#define HAVE_RATE 1.0 /* INTEREST_HAVE a second that a peer may send: each makes us send what the peer says it lacks */
#define HAVE_BURST 20.0
#define RETRY_AFTER (100 * NS_MS) /* a page could not be sent for lack of memory */
#define ANSWER_TIME (5 * NS_SEC)  /* a QoS 1 message is to be acknowledged in, and a new path used */
#define SILENT_AFTER 3            /* unanswered messages in a row, of a node that has told its interest; else 1 */
#define LAPSE_LEAST (10 * NS_SEC) /* for how long a node that was found silent again stays so; doubled each time */
#define LAPSES_MOST 7
#define LAPSES_FORGOTTEN (600 * NS_SEC)
#define SILENT_LINE (60 * NS_SEC) /* between two lines about one node */

static struct peer *peer_of(struct list *l) { return container_of(l, struct peer, spread.of_node); }

static uint32_t max_peer(const struct node_limits *l) {
  return l->max_subscriptions < MOST_OF_A_PEER ? l->max_subscriptions : MOST_OF_A_PEER;
}

int spread_init(struct node *n) {
  const struct node_limits *l = &n->limits;
  struct spread *sp = &n->spread;
  struct interest_config c = {.own_mem = &n->rows.mem[ROW_TOPICS],
                              .mem = &n->rows.mem[ROW_INTEREST],
                              .rng = n->rng,
                              .max_own = l->max_subscriptions,
                              .max_removed = 10000,
                              .max_patterns = l->max_subscriptions,
                              .max_peer = max_peer(l)};
  list_init(&sp->peers);
  list_init(&sp->cleared);
  inflight_init(&sp->inflight, &n->rows.mem[ROW_INFLIGHT], n->rng, l->max_inflight, l->max_inflight / 4 + 1, ANSWER_TIME);
  sp->inflight.spent = &n->spent;
  gets_init(&sp->gets, &n->rows.mem[ROW_GETS], n->rng, l->max_gets, l->max_gets, 10 * NS_SEC);
  sp->gets.left = recall_left;
  sp->gets.spent = &n->spent;
  return interest_new(&c, &sp->interest);
}

void spread_done(struct node *n) {
  struct spread *sp = &n->spread;
  if (!sp->peers.next) return;
  while (!list_empty(&sp->peers)) spread_forget(peer_of(sp->peers.next));
  recall_done(n);
  inflight_done(&sp->inflight);
  gets_done(&sp->gets);
  interest_free(sp->interest);
  sp->interest = NULL;
}

void spread_set_limits(struct node *n) {
  interest_set_max(n->spread.interest, n->limits.max_subscriptions, n->limits.max_subscriptions, max_peer(&n->limits));
  n->spread.inflight.max_parts = n->spread.inflight.tab.max = n->limits.max_inflight;
  n->spread.inflight.max_publisher = n->limits.max_inflight / 4 + 1;
  gets_set_max(&n->spread.gets, n->limits.max_gets, n->limits.max_gets);
}

/* ---- members and paths -----------------------------------------------------------------------------------------------------
 */
void spread_peer_init(struct peer *p) {
  inflight_party_init(&p->spread.unacked, p);
  gets_node_init(&p->spread.answers, p);
  list_init(&p->spread.of_node);
  list_init(&p->spread.replays);
}

/* Counts a node without a place, if it has proved itself by a link: anybody can tell of any number of others. */
static void set_outside(struct peer *p, bool outside) {
  outside = outside && (p->link || p->since);
  struct spread *sp = &p->node->spread;
  if (p->spread.outside == outside) return;
  assert(outside || (sp->outside > 0 && sp->outside_silent >= p->spread.silent));
  p->spread.outside = outside;
  sp->outside = outside ? sp->outside + 1 : sp->outside - 1;
  sp->outside_silent += outside ? p->spread.silent : 0u - p->spread.silent;
  if (!outside) return;
  sp->left_out++;
  struct peer_text t = peer_text(p->name, &p->id, &p->addr);
  if (!sp->full_said)
    log_warn(p->node->log, "interest_full",
             PEER_FIELDS " members=%u text=\"more members than subscriptions can be exchanged with: publishes do not reach the "
                         "clients of this one and of others, and QoS 1 is answered listeners_unknown; raise max_interested\"",
             PEER_VALUES(t), sp->count);
  sp->full_said = true;
}

/* Who may take whose place: a higher rank that of a lower one. */
enum rank { RANK_DEAD, RANK_TOLD_OF, RANK_SILENT, RANK_PROVED, RANK_CONFIGURED };

static enum rank rank_of(const struct peer *p) {
  const struct spread_peer *s = &p->spread;
  if (s->dead) return RANK_DEAD;
  if (!p->link && !(s->on && s->interest.epoch)) return RANK_TOLD_OF;
  if (s->silent) return RANK_SILENT;
  return join_is_configured(p->node, &p->id) ? RANK_CONFIGURED : RANK_PROVED;
}

/* The one with the lowest rank below this one; NULL: none. */
static struct peer *lowest(const struct spread *sp, enum rank below) {
  struct peer *found = NULL;
  list_for(it, &sp->peers) {
    enum rank r = rank_of(peer_of(it));
    if (r >= below) continue;
    below = r;
    found = peer_of(it);
    if (r == RANK_DEAD) break;
  }
  return found;
}

static void leave_place(struct peer *p) {
  struct spread *sp = &p->node->spread;
  if (p->spread.unacked.all.next) inflight_node_gone(&sp->inflight, &p->spread.unacked, MACULA_NO_ROUTE);
  recall_peer_gone(p);
  if (!p->spread.on) return;
  interest_peer_done(sp->interest, &p->spread.interest);
  list_remove(&p->spread.of_node);
  p->spread.on = false;
  p->spread.path = 0;
  assert(sp->count > 0);
  sp->count--;
}

static bool make_room(struct peer *comer) {
  struct spread *sp = &comer->node->spread;
  struct peer *p = lowest(sp, rank_of(comer));
  if (!p) return false;
  leave_place(p);
  if (!p->spread.dead) set_outside(p, true);
  return true;
}

static bool start(struct peer *p) {
  struct node *n = p->node;
  struct spread *sp = &n->spread;
  if (p->spread.on) return true;
  if (!sp->interest) return false;
  if (sp->count >= n->limits.max_interested && !make_room(p)) {
    set_outside(p, true);
    return false;
  }
  set_outside(p, false);
  interest_peer_init(sp->interest, &p->spread.interest, &p->id, p);
  list_append(&sp->peers, &p->spread.of_node);
  sp->count++;
  p->spread.on = true;
  return true;
}

void spread_forget(struct peer *p) {
  struct spread *sp = &p->node->spread;
  leave_place(p);
  set_outside(p, false);
  assert(sp->silent >= p->spread.silent);
  sp->silent -= p->spread.silent;
  p->spread.silent = false;
}

static bool path_check(struct peer *p);

/* Members that found no room take places that have become free, or whose owners have sunk below them. (Which node stands at an
 * address of the configuration may be known only after it came.) */
static void fill(struct node *n) {
  struct spread *sp = &n->spread;
  bool sunk = lowest(sp, RANK_PROVED) != NULL;
  list_for(it, &n->peers.all) {
    struct peer *p = container_of(it, struct peer, all);
    bool full = sp->count >= n->limits.max_interested;
    if (p->spread.on || p->spread.dead || !(p->link || (p->member && !full))) continue;
    if (full && !sunk && !join_is_configured(n, &p->id)) continue;
    if (start(p) && full) sunk = lowest(sp, RANK_PROVED) != NULL;
    if (p->spread.on) (void)path_check(p);
  }
  if (!sp->outside) sp->full_said = false;
}

/* ---- silent nodes ----------------------------------------------------------------------------------------------------------
 *
 * A node that lives and leaves acknowledgements open, or never says anything of its interest, gets its copies and is not waited
 * for: publishers are told how many such nodes there are. It is waited for again when it acknowledges in time what it is sent.
 * Each time that it is found silent again within LAPSES_FORGOTTEN it has to wait twice as long for that, since each time costs
 * publishers ANSWER_TIME. */
/* Whether what was sent on the path has arrived, or arrives. Where it does not, the node is not silent but out of reach. */
static bool path_lives(const struct peer *p) {
  const struct session *s = peer_path(p);
  return s && (!session_queued(s) || time_since(p->node->now, door_progress(&s->door, DOOR_ALL)) < ANSWER_TIME);
}

static void say_silent(struct peer *p, const char *why) {
  struct node *n = p->node;
  if (n->now < p->spread.silent_line_at) return;
  p->spread.silent_line_at = time_add(n->now, SILENT_LINE);
  struct peer_text t = peer_text(p->name, &p->id, &p->addr);
  log_warn(n->log, "peer_silent", PEER_FIELDS " text=\"%s: QoS 1 publishes do not wait for it until it does, and say so\"",
           PEER_VALUES(t), why);
}

static void fall_silent(struct peer *p) {
  struct node *n = p->node;
  struct spread_peer *s = &p->spread;
  if (s->silent || !path_lives(p)) return;
  if (time_since(n->now, s->spoke_at) > LAPSES_FORGOTTEN) s->lapses = 0;
  s->silent = true;
  s->silent_until = s->lapses ? time_add(n->now, LAPSE_LEAST << (s->lapses - 1)) : n->now;
  if (s->lapses < LAPSES_MOST) s->lapses++;
  s->probe = 0;
  n->spread.silent++;
  n->spread.silenced++;
  inflight_node_silent(&n->spread.inflight, &s->unacked);
  say_silent(p, "it acknowledges no messages");
}

static void speak_again(struct peer *p) {
  struct node *n = p->node;
  struct spread_peer *s = &p->spread;
  if (!s->silent || n->now < s->silent_until) return;
  assert(n->spread.silent > 0);
  s->silent = false;
  s->spoke_at = n->now;
  s->unacked.unanswered = 0;
  n->spread.silent--;
  struct peer_text t = peer_text(p->name, &p->id, &p->addr);
  log_info(n->log, "peer_answers", PEER_FIELDS, PEER_VALUES(t));
}

/* Nothing comes from it, and it was not declared dead yet: its connection has brought nothing for longer than a moment in which
 * no more calls are sent to it (door_silent), or there is none and membership suspects it. It may be dead or stand still: it
 * gets its copies, as far as there is room, and is not waited for. */
static bool is_mute(const struct peer *p) {
  const struct session *path = peer_path(p);
  if (path) return door_unheard(&path->door) >= MUTE;
  const struct member *m = p->member && !p->unreachable ? membership_find(p->node->mesh.membership, &p->id) : NULL;
  return m && m->state == MEMBER_SUSPECT;
}

static bool is_silent(const struct peer *p) { return p->spread.silent || is_mute(p); }

void spread_mute(struct peer *p) {
  if (!p->spread.unacked.count || !is_mute(p)) return;
  inflight_node_silent(&p->node->spread.inflight, &p->spread.unacked);
  say_silent(p, "it sends nothing");
  spread_results(p->node);
}

/* Messages have waited in vain. */
static void find_silent(struct node *n) {
  list_for(it, &n->spread.peers) {
    struct peer *p = peer_of(it);
    if (p->spread.path && p->spread.unacked.unanswered >= (p->spread.interest.whole ? SILENT_AFTER : 1)) fall_silent(p);
  }
}

/* Whether there is a path to the peer. On a new path both sides first tell each other what they have. */
static bool path_check(struct peer *p) {
  struct node *n = p->node;
  struct spread_peer *s = &p->spread;
  const struct session *path = peer_path(p);
  uint64_t serial = path ? path->serial : 0;
  if (serial == s->path) return serial != 0;
  if (s->path) {
    interest_link(&s->interest, false, true);
    recall_path_down(p);
  }
  s->path = serial;
  if (!serial) spread_mute(p);
  if (!serial) return false;
  s->dead = s->heard = s->have_waits = false;
  s->path_at = n->now;
  static const uint8_t none[INSTANCE_LEN];
  bool is_first = memcmp(s->instance, none, INSTANCE_LEN) == 0;
  /* the peer was restarted: messages that its last run did not acknowledge have failed */
  if (!is_first && memcmp(s->instance, p->instance, INSTANCE_LEN) != 0)
    inflight_node_gone(&n->spread.inflight, &s->unacked, MACULA_NO_ROUTE);
  memcpy(s->instance, p->instance, INSTANCE_LEN);
  interest_link(&s->interest, true, p->link != NULL);
  s->check_at = time_add(n->now, CHECK_EVERY / 2 + rng_below(n->rng, CHECK_EVERY));
  recall_path_up(p);
  return true;
}

void spread_link_up(struct peer *p) {
  if (start(p)) (void)path_check(p);
}

void spread_alive(struct peer *p) {
  p->spread.dead = false;
  (void)start(p);
}

void spread_dead(struct peer *p) {
  struct node *n = p->node;
  p->spread.dead = true;
  set_outside(p, false);
  inflight_node_gone(&n->spread.inflight, &p->spread.unacked, MACULA_NO_ROUTE);
  spread_results(n);
}

void spread_lost(struct peer *p) {
  inflight_node_gone(&p->node->spread.inflight, &p->spread.unacked, MACULA_NO_ROUTE);
  spread_results(p->node);
}

size_t spread_queued(const struct peer *p) {
  const struct session *path = peer_path(p);
  return path ? session_queued(path) : SIZE_MAX;
}

static void send_pages(struct peer *p) {
  struct node *n = p->node;
  struct spread_peer *s = &p->spread;
  struct msg m;
  uint8_t type;
  if (n->now < s->retry_at) return;
  while (spread_queued(p) < PAGES_QUEUED && interest_next(n->spread.interest, &s->interest, PAGE_MOST, &type, &m.raw)) {
    m.type = (enum msg_type)type;
    if (peer_upkeep(p, &m) == 0) continue;
    interest_lost(&s->interest);
    s->retry_at = time_add(n->now, RETRY_AFTER);
    return;
  }
}

void spread_step(struct node *n) {
  list_for_safe(it, &n->spread.peers) {
    struct peer *p = peer_of(it);
    if (!path_check(p)) continue;
    if (interest_pending(n->spread.interest, &p->spread.interest)) send_pages(p);
    recall_tell(p);
  }
  recall_step(n);
  topic_index_step(n->messages.topics, &n->spent);
  interest_step(n->spread.interest, &n->spent);
}

bool spread_is_due(const struct node *n) {
  return topic_index_is_leaving(n->messages.topics) || interest_is_due(n->spread.interest);
}

/* One INTEREST_HAVE is as good as the last: where it comes too soon after others it waits, in the place of any before it. */
static int hear_have(struct peer *p, struct slice payload) {
  struct spread_peer *s = &p->spread;
  s->have_waits = false;
  if (bucket_take(&s->haves, HAVE_RATE, HAVE_BURST, p->node->now))
    return interest_recv(p->node->spread.interest, &s->interest, MSG_INTEREST_HAVE, payload);
  int err = wire_have_decode(payload, &s->have);
  s->have_waits = !err;
  return err;
}

static void take_have(struct peer *p) {
  uint8_t buf[64];
  (void)hear_have(p, slice_of(buf, wire_have_encode(&p->spread.have, buf, sizeof buf))); /* that it is no bad frame is known */
}

/* Once a second: who is to be checked. Links to members are kept up by mesh.c. */
void spread_sweep(struct node *n) {
  if (n->spread.outside) fill(n);
  list_for_safe(it, &n->spread.peers) {
    struct peer *p = peer_of(it);
    struct spread_peer *s = &p->spread;
    if (s->path && !s->heard && time_since(n->now, s->path_at) >= ANSWER_TIME) fall_silent(p);
    if (s->path && s->have_waits) take_have(p);
    if (!s->path || n->now < s->check_at) continue;
    s->check_at = time_add(n->now, CHECK_EVERY);
    interest_check(&s->interest);
  }
}

nanotime spread_deadline(const struct node *n) {
  return time_min(inflight_deadline(&n->spread.inflight), gets_deadline(&n->spread.gets));
}

void spread_tick(struct node *n) {
  uint64_t before = n->spread.inflight.timeouts;
  inflight_expire(&n->spread.inflight, n->now);
  if (n->spread.inflight.timeouts != before) find_silent(n);
  gets_expire(&n->spread.gets, n->now);
  spread_results(n);
}

void spread_frame(struct peer *p, uint8_t type, struct slice payload) {
  struct node *n = p->node;
  int err = 0;
  bool again = type == MSG_INTEREST_HAVE;
  if (!p->spread.on || !path_check(p)) {
    n->stats.ignored_frames++;
    return;
  }
  if (!p->spread.heard && (type == MSG_INTEREST || again)) {
    p->spread.heard = true;
    speak_again(p);
  }
  if (type == MSG_RETAINED_GET)
    err = recall_get(p, payload);
  else if (type == MSG_RETAINED_MOVED)
    err = recall_moved(p, payload);
  else if (again)
    err = hear_have(p, payload);
  else
    err = interest_recv(n->spread.interest, &p->spread.interest, type, payload);
  if (err == MACULA_BAD_FRAME && p->link) session_close(p->link, err, NULL);
}

/* ---- clients' patterns -----------------------------------------------------------------------------------------------------
 */
int spread_subscribe(struct node *n, struct slice pattern) { return interest_add(n->spread.interest, pattern); }
void spread_unsubscribe(struct node *n, struct slice pattern) { interest_remove(n->spread.interest, pattern); }
void spread_pattern_gone(void *ctx, struct slice pattern) { spread_unsubscribe(ctx, pattern); }

void spread_session_init(struct session *s) {
  inflight_party_init(&s->unacked, s);
  gets_party_init(&s->gets, s);
}

void spread_session_end(struct session *s) {
  struct node *n = s->node;
  inflight_publisher_gone(&n->spread.inflight, &s->unacked);
  gets_party_gone(&n->spread.gets, &s->gets);
}

/* ---- messages --------------------------------------------------------------------------------------------------------------
 */
/* Sends over the peer's link, with the encoding that all links share; without a link the message waits for one or goes through
 * a gateway. */
static int send_to(struct peer *p, const struct msg_publish *m, struct fanout *f) {
  struct session *link = p->link;
  struct parcel *parcel;
  int err = peer_want(p, WANT_USE);
  if (err && err != MACULA_EBUSY) return err;
  if (err || !link) {
    struct msg out = {.type = MSG_PUBLISH, .publish = *m};
    out.publish.brief = false;
    out.publish.message_id = fanout_id(f);
    err = origin_put(NULL, LANE_PUBLISHES, f->by, &out.publish.origin);
    return err ? err : peer_post(p, &out, WANT_USE, 0);
  }
  err = fanout_for(f, link, &parcel);
  if (err) return err;
  if (!parcel_fits(link, parcel)) return MACULA_EFULL;
  return parcel_write(link, parcel);
}

static void add_listener(struct listeners *l, struct peer *p) {
  if (p->spread.dead || l->count == SPREAD_MOST) return;
  assert(p->spread.on);
  l->peers[l->count] = p;
  l->nodes[l->count++] = &p->spread.unacked;
}

static bool has_listener(const struct listeners *l, const struct peer *p) {
  for (uint32_t i = 0; i < l->count; i++)
    if (l->peers[i] == p) return true;
  return false;
}

static void add_hits(struct listeners *l, struct topic_subscriber *hit, bool silent) {
  for (; hit; hit = hit->next_hit) {
    struct peer *p = hit->user;
    if (is_silent(p) == silent && !(silent && has_listener(l, p))) add_listener(l, p);
  }
}

/* A node that is up and has not told all of its patterns may have a subscriber. It gets a copy, and its acknowledgement is an
 * answer, too. One behind a gateway that has not said a word yet may be somebody's invention, and holds up nobody. */
static void add_unsure(struct node *n, struct listeners *l, bool waits) {
  list_for(it, &n->spread.peers) {
    struct peer *p = peer_of(it);
    if (p->spread.interest.whole || !peer_is_up(p) || has_listener(l, p)) continue;
    if (waits == (!is_silent(p) && (p->link || p->spread.heard))) add_listener(l, p);
  }
}

/* QoS 1 must also hold for subscribers at nodes whose patterns are not known. An unreachable node is treated as if it had a
 * subscriber. */
static void add_unreachable(struct node *n, struct listeners *l) {
  list_for(it, &n->spread.peers) {
    struct peer *p = peer_of(it);
    if (p->unreachable && !peer_is_up(p) && !has_listener(l, p)) add_listener(l, p);
  }
}

int spread_find(struct session *from, const struct msg_publish *m, struct topic_group *ours, bool again, struct listeners *ret,
                struct group_picks *ret_picks) {
  struct node *n = from->node;
  uint32_t given = match_begin(n), left = given;
  ret->count = ret->known = ret->sure = 0;
  if (list_empty(&n->spread.peers)) {
    groups_choose(n, from, m, ours, NULL, again, ret_picks);
    return 0;
  }
  struct topic_subscriber *hit = interest_match(n->spread.interest, m->topic, &left);
  int err = match_end(n, given, left);
  if (err) return err;
  groups_choose(n, from, m, ours, interest_groups(n->spread.interest), again, ret_picks);
  add_hits(ret, hit, false);
  for (uint32_t i = 0; i < ret_picks->count; i++)
    if (ret_picks->at[i].node && !has_listener(ret, ret_picks->at[i].node)) add_listener(ret, ret_picks->at[i].node);
  if (m->qos) add_unreachable(n, ret);
  ret->known = ret->count;
  if (m->qos) add_unsure(n, ret, true);
  ret->sure = ret->count;
  add_hits(ret, hit, true);
  if (m->qos) add_unsure(n, ret, false);
  return 0;
}

/* What the publisher is told when its message could not be sent to a node. 0: nothing yet, as that node may still acknowledge
 * it or turn out to be dead. */
static int unsent(const struct peer *p, int err) {
  if (err && err != MACULA_NOT_CONNECTED) return MACULA_RATE_LIMITED;
  return err && p->unreachable ? MACULA_NO_ROUTE : 0;
}

static uint32_t count_silent(const struct listeners *to) {
  uint32_t n = 0;
  for (uint32_t i = to->sure; i < to->count; i++) n += is_silent(to->peers[i]);
  return n;
}

/* Silent nodes get this message as well, and show by acknowledging it that they answer again. */
static void probe_silent(const struct listeners *to, uint64_t number, nanotime now) {
  for (uint32_t i = to->sure; i < to->count; i++) {
    struct spread_peer *s = &to->peers[i]->spread;
    if (!s->silent) continue;
    if (s->probe && time_since(now, s->probe_at) < ANSWER_TIME) continue;
    s->probe = number;
    s->probe_at = now;
  }
}

/* Begins to wait for all who must acknowledge the message; its number, 0: nobody will. */
static int wait_for(struct session *from, const struct listeners *to, uint64_t ref, uint64_t *ret_number, bool *ret_waits,
                    struct msg_partly *ret_partly) {
  struct node *n = from->node;
  struct inflight *f = &n->spread.inflight;
  struct inflight_to all = {to->nodes, to->sure, to->known, count_silent(to) + n->spread.outside_silent,
                            n->spread.outside - n->spread.outside_silent};
  if (to->sure) {
    int err = inflight_begin(f, &from->unacked, ref, &all, n->now, ret_number);
    if (err) return err == MACULA_EFULL ? MACULA_RATE_LIMITED : err;
    *ret_waits = true;
    inflight_cut(f, *ret_number, NULL, ret_partly->cut);
    deliver_counts(n, *ret_number);
  } else {
    ret_partly->silent = all.silent;
    ret_partly->unknown = all.unknown;
    *ret_number = to->count ? inflight_number(f) : 0;
  }
  probe_silent(to, *ret_number, n->now);
  return 0;
}

bool spread_answers(const struct peer *p) { return peer_is_up(p) && !is_silent(p); }

int spread_send(struct peer *p, const struct msg_publish *m, const struct principal *by) {
  struct fanout f;
  fanout_init(&f, p->node, m, by);
  int err = send_to(p, m, &f);
  fanout_done(&f);
  p->node->spread.sent += !err;
  p->node->spread.dropped += err != 0;
  return err;
}

/* With the groups for which the node was chosen, if it was for any. */
static int send_with_groups(struct peer *p, const struct msg_publish *m, const struct group_picks *picks,
                            struct fanout *plain) {
  struct slice items[GROUPS_A_MESSAGE];
  char text[GROUPS_A_MESSAGE][NAME_MAX_LEN + 1];
  uint32_t count = picks->count ? groups_of_node(picks, p, items, text) : 0;
  if (!count) return send_to(p, m, plain);
  struct fanout f;
  struct msg_publish named = *m;
  named.groups = (struct msg_list){.count = count, .items = items};
  fanout_init(&f, p->node, &named, plain->by);
  int err = send_to(p, &named, &f);
  fanout_done(&f);
  return err;
}

int spread_own(struct node *n, const struct msg_publish *m, const struct principal *by) {
  struct topic_subscriber *hit;
  struct group_picks picks;
  struct listeners to = {0};
  struct fanout f;
  uint64_t cut = 0;
  bool more; /* only the groups are looked for here */
  int err = deliver_match_first(n, NULL, m->topic, &hit, &more);
  struct topic_group *ours = err ? NULL : topic_index_groups(n->messages.topics), *theirs = NULL;
  uint32_t given = match_begin(n), left = given;
  hit = list_empty(&n->spread.peers) ? NULL : interest_match(n->spread.interest, m->topic, &left);
  if (!list_empty(&n->spread.peers)) theirs = interest_groups(n->spread.interest);
  err = match_end(n, given, left);
  groups_choose(n, NULL, m, ours, theirs, false, &picks);
  groups_took(&picks);
  add_hits(&to, hit, false);
  add_hits(&to, hit, true);
  for (uint32_t i = 0; i < picks.count; i++)
    if (picks.at[i].node && !has_listener(&to, picks.at[i].node)) add_listener(&to, picks.at[i].node);
  groups_deliver(NULL, m, &picks, by, &cut);
  fanout_init(&f, n, m, by);
  for (uint32_t i = 0; i < to.count; i++) {
    int e = send_with_groups(to.peers[i], m, &picks, &f);
    n->spread.sent += !e;
    n->spread.dropped += e != 0;
  }
  fanout_done(&f);
  return err;
}

int spread_publish(struct session *from, const struct msg_publish *m, const struct listeners *to,
                   const struct group_picks *picks, const struct dedup_key *key, bool wants_ack, uint64_t ref, bool *ret_waits,
                   struct msg_partly *ret_partly) {
  struct node *n = from->node;
  struct spread *sp = &n->spread;
  int err = 0;
  uint64_t number = 0;
  struct fanout f;
  *ret_waits = false;
  if (m->qos && wants_ack) err = wait_for(from, to, ref, &number, ret_waits, ret_partly);
  if (err) return err;
  err = ret_partly->unknown ? MACULA_LISTENERS_UNKNOWN : 0;
  if (!to->count) return err;
  struct msg_publish out = *m;
  out.connection = from->serial;
  if (key) {
    out.publisher = slice_of(key->publisher.b, ID_LEN);
    out.instance = slice_of(key->instance, INSTANCE_LEN);
  }
  if (number) {
    out.ref = number;
    out.has_ref = true;
  }
  fanout_init(&f, n, &out, origin_of(from));
  for (uint32_t i = 0; i < to->count; i++) {
    int e = send_with_groups(to->peers[i], &out, picks, &f);
    if (!e) sp->sent++;
    if (!e) pace_sent(from, to->peers[i], m->topic.n + m->payload.n);
    if (e) sp->dropped++;
    if (e) tally_lost_to_node(to->peers[i], m->topic, e == MACULA_EFULL ? TALLY_LINK : TALLY_NO_WAY);
    if (e == MACULA_EFULL && to->peers[i]->link) loss_note(to->peers[i]->link);
    if (number && i < to->sure && peer_path(to->peers[i])) session_watch(peer_path(to->peers[i]));
    if (number && i < to->sure && (e = unsent(to->peers[i], e)) != 0) inflight_answer(&sp->inflight, number, to->nodes[i], e);
  }
  fanout_done(&f);
  return err;
}

const char *spread_text(int err, const struct msg_partly *partly, char buf[SPREAD_TEXT_LEN]) {
  if (err == MACULA_NO_ROUTE) return "a node whose clients may listen was not reached; the others have the message";
  if (err != MACULA_LISTENERS_UNKNOWN) return NULL;
  snprintf(buf, SPREAD_TEXT_LEN, "what the clients of %llu other node%s listen to is not known; all others have the message",
           (unsigned long long)partly->unknown, partly->unknown == 1 ? "" : "s");
  return buf;
}

static void answer(struct peer *p, const struct msg_publish *m, int err, uint64_t cut) {
  if (!m->has_ref) return;
  struct msg a = answer_ack(m->ref, err, NULL);
  a.ack.partly.cut = cut;
  if (p->link)
    session_tell(p->link, &a, false);
  else
    (void)peer_send(p, &a, WANT_UPKEEP);
}

static void receive(struct peer *p, const struct msg_publish *given, struct principal *by) {
  struct node *n = p->node;
  struct msg_publish m = *given;
  char topic[NAME_MAX_LEN + 1];
  struct dedup_key key;
  struct msg_partly partly = {0};
  size_t len;
  int err = m.qos > 1 ? MACULA_UNSUPPORTED_QOS : m.topic_number ? 0 : name_topic(m.topic, topic, &len);
  bool keyed = !err && m.qos && m.publisher.n == ID_LEN && m.instance.n == INSTANCE_LEN && m.message_id.n == CALL_ID_LEN;
  if (!err && !m.topic_number) m.topic = slice_of(topic, len);
  const char *text;
  if (!err && m.headers.count) err = headers_check(m.headers, &text);
  if (!err && m.brief && !msg_publish_fits(&m)) err = MACULA_PAYLOAD_TOO_LARGE;
  if (m.replay) {
    if (!err) recall_answer(p, &m, by);
    return;
  }
  if (keyed) {
    key.node = p->id;
    memcpy(key.publisher.b, m.publisher.p, ID_LEN);
    memcpy(key.instance, m.instance.p, INSTANCE_LEN);
    memcpy(key.message_id, m.message_id.p, CALL_ID_LEN);
    if (dedup_seen(&n->messages.dedup, &key, n->now)) {
      n->spread.duplicates++;
      answer(p, given, 0, 0);
      return;
    }
  }
  /* The queues are so full that a publisher at this node would have to wait: refuse it. */
  if (!err && m.has_ref && n->rows.mem[ROW_SEND].bytes > SEND_POOL(n) / 16 * 15) err = MACULA_RATE_LIMITED;
  if (!err) {
    m.publisher = m.instance = SLICE_NONE;
    m.has_ref = false;
    if (m.groups.count) err = groups_receive(n, &m, by, &partly.cut);
    m.groups.count = 0;
    int e = publish_local(n, p, &m, by, &partly.cut);
    if (e) err = e;
  }
  if (!err) {
    n->spread.received++;
    if (given->retain && given->retained_ms) recall_live(p, m.topic, given->retained_ms);
    if (keyed) (void)dedup_add(&n->messages.dedup, &key, n->now);
  }
  if (!given->has_ref || err || !deliver_tell(n, 0, &p->id, given->ref, 0, &partly)) answer(p, given, err, partly.cut);
}

void spread_delivered(struct node *n, const struct delivery *d) {
  struct peer *p = peer_find(n, &d->end.peer);
  if (p) answer(p, &(struct msg_publish){.ref = d->end.ref, .has_ref = true}, 0, d->end.partly.cut);
}

void spread_cut(struct node *n, uint64_t number, uint64_t count) { inflight_cut(&n->spread.inflight, number, NULL, count); }

/* A message from another node's client, for this node's own subscribers only. */
void spread_receive(struct peer *p, const struct msg_publish *m) {
  struct principal *by;
  struct msg_publish named = *m;
  if (!m->topic.p && m->topic_number) {
    struct topic_slot *slot = p->link ? topics_by_number(p->link, m->topic_number) : NULL;
    if (!slot) return;
    named.topic = slice_of(slot->topic->name, slot->topic->len);
    named.topic_number = slot->topic->number;
  } else {
    named.topic_number = 0;
  }
  if (!origin_from(p->node, p->link, &p->id, LANE_PUBLISHES, &m->origin, &by)) return;
  receive(p, &named, by);
  principal_unref(by);
}

void spread_ack(struct peer *p, const struct msg_ack *m) {
  struct node *n = p->node;
  struct spread_peer *s = &p->spread;
  int err = m->code.n ? err_from_name((const char *)m->code.p, m->code.n) : 0;
  if (m->code.n && !err) err = MACULA_EINTERNAL;
  if (s->on && s->probe && m->ref - s->probe <= n->spread.inflight.last - s->probe &&
      time_since(n->now, s->probe_at) < ANSWER_TIME)
    speak_again(p);
  inflight_cut(&n->spread.inflight, m->ref, &p->spread.unacked, m->partly.cut);
  inflight_answer(&n->spread.inflight, m->ref, &p->spread.unacked, err);
  spread_results(n);
}

void spread_results(struct node *n) {
  struct inflight_result r;
  char buf[SPREAD_TEXT_LEN];
  if (n->messages.rest) return; /* it may be the one of which our own clients have not all had their copies */
  while (inflight_next(&n->spread.inflight, &r)) {
    struct session *s = r.publisher;
    struct msg_partly partly = {.cut = r.cut, .silent = r.silent, .unknown = r.unknown};
    if (s->state == SESSION_IN) session_ack_partly(s, r.ref, r.err, spread_text(r.err, &partly, buf), &partly);
    if (node_spent(n)) return;
  }
}
