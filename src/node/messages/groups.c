#include "node/messages/groups.h"

#include "base/check.h"
#include "base/err.h"
#include "node/messages/deliver.h"
#include "node/messages/spread.h"
#include "node/session/lane.h"
#include "node/session/loss.h"
#include "node/session/room.h"
#include "node/session/session.h"
#include "node/trust/account.h"

#define COPIES_PART 8 /* of send_pool */
#define LOOKED_AT 32u /* members of a group, and nodes, from the one whose turn it is */

struct group_copy { /* of a message with QoS 1, that a member has not acknowledged */
  struct list all;  /* session.group_copies, or groups.left */
  struct shbuf *frame;
  struct principal *by; /* a reference; NULL: unknown */
  nanotime expires;
  uint64_t id;
  uint64_t until; /* it is acknowledged when so many bytes of its way are; UINT64_MAX: its door says so */
};

static struct mem *mem_of(struct node *n) { return &n->rows.mem[ROW_SEND]; }

void groups_init(struct node *n) {
  list_init(&n->messages.groups.members);
  list_init(&n->messages.groups.left);
}

/* ---- choosing --------------------------------------------------------------------------------------------------------------
 */
enum rank { RANK_BEST, RANK_AWAY, RANK_BUSY, RANK_FULL, RANK_NONE };

static bool is_away(const struct session *s) { return door_is_away(&s->door); }

static enum rank rank_of(struct session *s, size_t need) {
  switch (room_for(s, need)) {
  case ROOM_YES:
    return is_away(s) ? RANK_AWAY : RANK_BEST;
  case ROOM_LATER:
    return RANK_BUSY;
  case ROOM_NONE:
    break;
  }
  return RANK_FULL;
}

static size_t need_of(const struct msg_publish *m) { return m->topic.n + m->payload.n + m->headers.raw.n + 512; }

static struct topic_sub *best_member(const struct topic_group *g, const struct session *from, const struct msg_publish *m,
                                     enum rank *ret_rank) {
  struct topic_sub *best = NULL;
  size_t need = need_of(m);
  bool own = name_is_reserved(m->topic);
  uint32_t k = 0;
  *ret_rank = RANK_NONE;
  for (struct topic_sub *sub = NULL; *ret_rank && (sub = topic_group_member(g, sub)) && k < LOOKED_AT; k++) {
    const struct topic_subscriber *who = topic_sub_subscriber(sub);
    struct session *s = who->user;
    if (own && !(topic_sub_flags(sub) & TOPIC_OF_NODE)) continue;
    if (who->left || s->state != SESSION_IN || (s == from && !(topic_sub_flags(sub) & TOPIC_OWN))) continue;
    enum rank rank = rank_of(s, need);
    if (rank >= *ret_rank) continue;
    *ret_rank = rank;
    best = sub;
  }
  return best;
}

static struct topic_sub *best_node(const struct topic_group *g, size_t need, enum rank *ret_rank) {
  struct topic_sub *best = NULL;
  uint32_t k = 0;
  *ret_rank = RANK_NONE;
  for (struct topic_sub *sub = NULL; *ret_rank && (sub = topic_group_member(g, sub)) && k < LOOKED_AT; k++) {
    const struct topic_subscriber *who = topic_sub_subscriber(sub);
    struct peer *p = who->left ? NULL : who->user;
    if (!p || p->spread.dead) continue;
    enum rank rank = !spread_answers(p) ? RANK_FULL : !p->link ? RANK_AWAY : rank_of(p->link, need);
    if (rank >= *ret_rank) continue;
    *ret_rank = rank;
    best = sub;
  }
  return best;
}

static void pick(struct node *n, struct group_picks *p, struct topic_group *g, struct topic_sub *sub, bool here) {
  if (p->count == GROUPS_A_MESSAGE) {
    n->messages.groups.left_out++;
    return;
  }
  p->at[p->count++] = (struct group_pick){g, sub, here ? sub : NULL, here ? NULL : topic_sub_subscriber(sub)->user};
}

void groups_took(const struct group_picks *p) {
  for (uint32_t i = 0; i < p->count; i++) topic_group_took(p->at[i].g, p->at[i].sub);
}

static void choose_for(struct node *n, struct session *from, const struct msg_publish *m, struct topic_group *g,
                       struct group_picks *ret) {
  char key[NAME_MAX_LEN + 1];
  enum rank rank, other_rank = RANK_NONE;
  struct topic_sub *member = best_member(g, from, m, &rank), *node = NULL;
  struct topic_group *other = NULL;
  if (rank != RANK_BEST) other = interest_group(n->spread.interest, slice_of(key, topic_group_key(g, key)));
  if (other) node = best_node(other, need_of(m), &other_rank);
  if (node && other_rank < rank)
    pick(n, ret, other, node, false);
  else if (member)
    pick(n, ret, g, member, true);
}

void groups_choose(struct node *n, struct session *from, const struct msg_publish *m, struct topic_group *ours,
                   struct topic_group *theirs, bool again, struct group_picks *ret) {
  char key[NAME_MAX_LEN + 1];
  enum rank rank;
  ret->count = 0;
  for (; ours && !again; ours = topic_group_next(ours)) choose_for(n, from, m, ours, ret);
  for (; theirs; theirs = topic_group_next(theirs)) {
    if (topic_group_find(n->messages.topics, slice_of(key, topic_group_key(theirs, key)))) continue;
    struct topic_sub *node = best_node(theirs, need_of(m), &rank);
    if (node) pick(n, ret, theirs, node, false);
  }
}

/* ---- copies that are not acknowledged --------------------------------------------------------------------------------------
 */
static struct group_copy *copy_of(struct list *l) { return container_of(l, struct group_copy, all); }

static void copy_free(struct node *n, struct group_copy *c) {
  size_t bytes = mem_cost(c) + mem_cost(c->frame);
  list_remove(&c->all);
  shbuf_unref(c->frame);
  principal_unref(c->by);
  mem_free(mem_of(n), c);
  assert(n->messages.groups.bytes >= bytes);
  n->messages.groups.bytes -= bytes;
  assert(n->messages.groups.count > 0);
  n->messages.groups.count--;
}

static void unlist(struct session *s) {
  if (list_empty(&s->group_copies)) list_remove(&s->of_groups);
}

/* Bytes of its deliveries' way that were acknowledged; false: there is no way yet, or no more. */
static bool acked_of(const struct session *s, uint64_t *ret_acked, uint64_t *ret_written) {
  struct door_offsets at = {0};
  int64_t way = s->door.way[LANE_PUBLISHES];
  if (!s->door.conn) return false;
  if (way != DOOR_TO_OPEN && !(way >= 0 && door_offsets(&s->door, way, &at))) return false;
  *ret_acked = at.acked;
  *ret_written = at.written;
  return true;
}

static void let_go(struct session *s) {
  uint64_t acked, written;
  if (list_empty(&s->group_copies) || s->door.ops->tells_replays || !acked_of(s, &acked, &written)) return;
  while (!list_empty(&s->group_copies) && copy_of(s->group_copies.next)->until <= acked)
    copy_free(s->node, copy_of(s->group_copies.next));
  unlist(s);
}

void groups_sweep(struct node *n) {
  list_for_safe(it, &n->messages.groups.members) let_go(container_of(it, struct session, of_groups));
}

/* Where the lanes share a way, what goes before it may be more than what waits in its own. */
static uint64_t until_of(const struct session *s) {
  uint64_t acked = 0, written = 0;
  bool shared = s->door.way[LANE_PUBLISHES] == s->door.home;
  if (s->door.ops->tells_replays) return UINT64_MAX;
  (void)acked_of(s, &acked, &written);
  return written + (shared ? s->lanes.bytes : lane_bytes(s, LANE_PUBLISHES));
}

/* Before it is sent, as it may be acknowledged at once; len: of the frame. NULL: it is not kept. */
static struct group_copy *keep(struct session *s, const struct msg_publish *m, const struct principal *by, nanotime expires,
                               uint64_t id, size_t len) {
  struct node *n = s->node;
  struct parcel p;
  struct msg msg = {.type = MSG_PUBLISH, .publish = *m};
  msg.publish.brief = msg.publish.has_ref = false;
  msg.publish.topic_number = 0;
  msg.publish.origin = (struct msg_origin){0};
  bool room = n->messages.groups.bytes + len <= n->limits.send_pool / COPIES_PART;
  struct group_copy *c = room ? mem_calloc(mem_of(n), 1, sizeof *c) : NULL;
  int err = c ? parcel_encode(&p, mem_of(n), &msg, SIZE_MAX) : MACULA_ENOMEM;
  if (!err && parcel_share(&p)) c->frame = shbuf_ref(p.shared);
  if (!err) parcel_done(&p);
  if (!c || !c->frame) {
    mem_free(mem_of(n), c);
    n->messages.groups.unkept++;
    return NULL;
  }
  c->by = principal_ref((struct principal *)by);
  c->expires = expires;
  c->id = id;
  c->until = until_of(s);
  if (c->until != UINT64_MAX) c->until += len;
  list_init(&c->all);
  if (list_empty(&s->group_copies)) list_append(&n->messages.groups.members, &s->of_groups);
  list_append(&s->group_copies, &c->all);
  n->messages.groups.count++;
  n->messages.groups.bytes += mem_cost(c) + mem_cost(c->frame);
  return c;
}

void groups_acked(struct session *s, uint64_t id) {
  list_for_safe(it, &s->group_copies) {
    if (copy_of(it)->id != id) continue;
    copy_free(s->node, copy_of(it));
    break;
  }
  unlist(s);
}

static void move(struct list *from, struct list *to) {
  list_for_safe(it, from) {
    list_remove(it);
    list_append(to, it);
  }
}

void groups_adopt(struct session *from, struct session *to) {
  if (list_empty(&from->group_copies)) return;
  if (list_empty(&to->group_copies)) list_append(&to->node->messages.groups.members, &to->of_groups);
  move(&from->group_copies, &to->group_copies);
  unlist(from);
}

void groups_session_end(struct session *s, bool closed) {
  if (list_empty(&s->group_copies) || (s->door.ops->tells_replays && !closed)) return;
  let_go(s);
  move(&s->group_copies, &s->node->messages.groups.left);
  unlist(s);
}

void groups_done(struct node *n) {
  if (!n->messages.groups.left.next) return;
  list_for_safe(it, &n->messages.groups.left) copy_free(n, copy_of(it));
}

/* ---- giving ----------------------------------------------------------------------------------------------------------------
 */
/* To one member. */
static int give(struct session *to, struct slice key, const struct msg_publish *given, const struct principal *by,
                const struct session *from) {
  struct node *n = to->node;
  struct msg_publish m = *given;
  struct fanout f;
  struct parcel *p = NULL;
  uint8_t id[CALL_ID_LEN];
  m.groups = (struct msg_list){.count = 1, .items = &key};
  m.publisher = m.instance = SLICE_NONE;
  m.retained_ms = m.replay = 0;
  m.has_ref = m.qos && to->door.ops->tells_replays;
  if (m.has_ref) m.ref = ++n->messages.groups.last;
  if (!m.message_id.p && m.qos) m.message_id = serial_next(&n->messages.made, id);
  fanout_init(&f, n, &m, by);
  if (from) f.own = from->serial;
  int err = fanout_for(&f, to, &p);
  if (m.qos) let_go(to);
  struct group_copy *c = !err && m.qos ? keep(to, &m, by, f.expires, m.has_ref ? m.ref : 0, p->frame.n) : NULL;
  bool went = !err && parcel_deliver(n, to, p);
  if (c && went && !m.has_ref) c->until = until_of(to); /* with what was announced before it */
  if (c && !went) copy_free(n, c);
  if (c && !went) unlist(to);
  fanout_done(&f);
  return err ? err : went ? 0 : MACULA_EFULL;
}

static int hand_over(struct topic_sub *sub, struct topic_group *g, const struct msg_publish *m, const struct principal *by,
                     const struct session *from, uint64_t *ret_cut) {
  char key[NAME_MAX_LEN + 1];
  struct session *to = topic_sub_subscriber(sub)->user;
  uint32_t lost = m->qos ? door_lost(&to->door) : 0;
  int err = give(to, slice_of(key, topic_group_key(g, key)), m, by, from);
  if (err == MACULA_EFULL && m->qos && session_shed(to)) err = give(to, slice_of(key, topic_group_key(g, key)), m, by, from);
  *ret_cut += m->qos && (err == MACULA_EFULL || door_lost(&to->door) != lost);
  return err;
}

void groups_deliver(struct session *from, const struct msg_publish *m, const struct group_picks *p, const struct principal *by,
                    uint64_t *ret_cut) {
  for (uint32_t i = 0; i < p->count; i++)
    if (p->at[i].member) (void)hand_over(p->at[i].member, p->at[i].g, m, by, from, ret_cut);
}

uint32_t groups_of_node(const struct group_picks *p, const struct peer *node, struct slice items[GROUPS_A_MESSAGE],
                        char text[GROUPS_A_MESSAGE][NAME_MAX_LEN + 1]) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < p->count; i++) {
    if (p->at[i].node != node) continue;
    items[count] = slice_of(text[count], topic_group_key(p->at[i].g, text[count]));
    count++;
  }
  return count;
}

/* To a member of this node. MACULA_NO_ROUTE: there is none. */
static int serve(struct node *n, struct slice key, const struct msg_publish *m, const struct principal *by, uint64_t *ret_cut) {
  enum rank rank;
  struct topic_group *g = topic_group_find(n->messages.topics, key);
  struct topic_sub *sub = g ? best_member(g, NULL, m, &rank) : NULL;
  if (!sub) return MACULA_NO_ROUTE;
  topic_group_took(g, sub);
  (void)hand_over(sub, g, m, by, NULL, ret_cut);
  return 0;
}

int groups_receive(struct node *n, const struct msg_publish *m, const struct principal *by, uint64_t *ret_cut) {
  struct msg_list keys = m->groups;
  struct slice key;
  int err = 0;
  for (uint32_t i = 0; i < GROUPS_A_MESSAGE && msg_list_next(&keys, &key); i++) {
    int e = key.n > NAME_MAX_LEN ? MACULA_NO_ROUTE : serve(n, key, m, by, ret_cut);
    if (e) n->messages.groups.missed++;
    if (e) err = e;
  }
  return err;
}

/* ---- what members have left ------------------------------------------------------------------------------------------------
 */
/* To another node, which is not asked to acknowledge it: nobody here waits for that. */
static int pass_on(struct node *n, struct slice key, const struct msg_publish *m, const struct principal *by) {
  enum rank rank;
  struct topic_group *g = interest_group(n->spread.interest, key);
  struct topic_sub *node = g ? best_node(g, need_of(m), &rank) : NULL;
  if (!node) return MACULA_NO_ROUTE;
  topic_group_took(g, node);
  return spread_send(topic_sub_subscriber(node)->user, m, by);
}

static void again(struct node *n, struct group_copy *c) {
  struct msg m;
  struct slice key, frame = shbuf_view(c->frame);
  if (c->expires <= n->now) {
    n->stats.expired++;
    return;
  }
  if (msg_decode(MSG_PUBLISH, slice_of(frame.p + FRAME_HEADER_LEN, frame.n - FRAME_HEADER_LEN), &m)) return;
  struct msg_list keys = m.publish.groups;
  if (!msg_list_next(&keys, &key)) return;
  if (c->expires != TIME_NEVER) m.publish.expires_ms = parcel_ms_left(c->expires, n->now);
  uint64_t cut = 0; /* its publisher has its answer */
  int err = serve(n, key, &m.publish, c->by, &cut);
  if (err) err = pass_on(n, key, &m.publish, c->by);
  n->messages.groups.moved += !err;
  if (!err) return;
  n->messages.groups.lost++;
  if (bucket_take(&n->messages.groups.lines, 2.0, 20.0, n->now))
    log_warn(n->log, "group_message_lost",
             "group=\"%.*s\" topic=\"%.*s\" code=%s text=\"its member ended, and there is no other\"", (int)key.n,
             (const char *)key.p, (int)m.publish.topic.n, (const char *)m.publish.topic.p, macula_err_name(err));
}

void groups_step(struct node *n) {
  while (!list_empty(&n->messages.groups.left) && !n->messages.rest) {
    struct group_copy *c = copy_of(n->messages.groups.left.next);
    again(n, c);
    copy_free(n, c);
    if (node_spent(n)) return;
  }
}

bool groups_are_due(const struct node *n) { return !list_empty(&n->messages.groups.left); }

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
struct sums {
  uint64_t count, origins;
  size_t bytes;
};
static void sum_up(const struct list *copies, struct sums *sums) {
  list_for(it, copies) {
    const struct group_copy *c = container_of(it, const struct group_copy, all);
    sums->count++;
    sums->origins += c->by != NULL;
    sums->bytes += mem_cost(c) + mem_cost(c->frame);
  }
}

static struct sums sums_of(const struct node *n) {
  struct sums sums = {0};
  sum_up(&n->messages.groups.left, &sums);
  list_for(it, &n->messages.groups.members) sum_up(&container_of(it, const struct session, of_groups)->group_copies, &sums);
  return sums;
}

uint64_t groups_origins(const struct node *n) { return sums_of(n).origins; }
size_t groups_owned(const struct node *n) { return sums_of(n).bytes; }

const char *groups_check(const struct node *n) {
  struct sums sums = sums_of(n);
  CHECK(sums.count == n->messages.groups.count && sums.bytes == n->messages.groups.bytes,
        "groups: the copies are not as many as counted");
  list_for(it, &n->messages.groups.members)
      CHECK(!list_empty(&container_of(it, const struct session, of_groups)->group_copies), "groups: a member without copies");
  return NULL;
}
