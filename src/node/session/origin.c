#include "node/session/origin.h"

#include <assert.h>

#include "base/check.h"
#include "base/err.h"
#include "node/session/session.h"

#define SAY_FULL (60 * NS_SEC) /* between two log lines */
#define LINES_A_SECOND 1.0     /* about nodes whose announcements are wrong */
#define LINES_AT_ONCE 10.0

/* What this node's numbers stand for in the slots of the receiver, or what the sender's stand for in ours. Of a number only
 * its round is kept, number / 256 + 1, as the rest is the slot's place; 0: the slot is empty. */
struct origin_slots {
  uint32_t round[ANNOUNCE_SLOTS];
};
struct origin_heard {
  struct origin_slots slots;
  struct principal *p[ANNOUNCE_SLOTS];
};

static uint32_t place_of(uint64_t number) { return (uint32_t)(number % ANNOUNCE_SLOTS); }
static uint32_t round_of(uint64_t number) { return (uint32_t)(number / ANNOUNCE_SLOTS) + 1; }
static int kind_of(enum lane lane) { return lane == LANE_PUBLISHES ? ANNOUNCE_PUBLISHER : ANNOUNCE_CALLER; }

/* Slots may not take the room that principals need. */
static void *slots_new(struct node *n, size_t size) {
  struct mem *mem = &n->rows.mem[ROW_ORIGINS];
  return mem->bytes + size <= mem->limit / 4 * 3 ? mem_calloc(mem, 1, size) : NULL;
}

/* ---- of our own clients ----------------------------------------------------------------------------------------------------
 */
static void say_full(struct node *n) {
  if (n->now < n->sessions.origins_said) return;
  n->sessions.origins_said = time_add(n->now, SAY_FULL);
  log_warn(n->log, "origins_full",
           "principals=%u text=\"no room for one more principal: some subscribers and providers are not told who published and "
           "called; raise origin_bytes\"",
           n->sessions.principals.tab.count);
}

static struct principal *get(struct node *n, const struct principal_name *name, const struct id *node) {
  struct principal *p = principals_get(&n->sessions.principals, name, node);
  if (!p) say_full(n);
  return p;
}

struct principal *origin_of(struct session *s) {
  struct principal_name name = {.kind = PRINCIPAL_ANONYMOUS};
  if (s->origin) return s->origin;
  struct slice user = session_user(s);
  if (user.n)
    name = (struct principal_name){PRINCIPAL_USER, user};
  else if (s->client.verified)
    name = (struct principal_name){PRINCIPAL_KEY, slice_of(s->client.id.b, ID_LEN)};
  return s->origin = get(s->node, &name, &s->node->id);
}

/* ---- telling ---------------------------------------------------------------------------------------------------------------
 */
static int announce(struct session *to, enum lane lane, const struct principal *p) {
  struct msg m = {.type = MSG_ANNOUNCE,
                  .announce = {.kind = (uint64_t)kind_of(lane), .number = p->number, .principal = principal_bytes(p)}};
  struct parcel parcel;
  if (!to->peer) m.announce.node = slice_of(p->node.b, ID_LEN);
  int err = parcel_encode(&parcel, &to->node->rows.mem[ROW_SEND], &m, SIZE_MAX);
  if (err) return err;
  parcel.qos = lane == LANE_PUBLISHES; /* if a lane loses it, the session ends: what follows would name somebody else */
  err = session_write(to, lane, &parcel);
  parcel_done(&parcel);
  return err;
}

int origin_tell(struct session *to, enum lane lane, const struct principal *p) {
  struct origin_slots **told = &to->native->origins.told[lane == LANE_PUBLISHES];
  uint32_t place = place_of(p->number), round = round_of(p->number);
  if (*told && (*told)->round[place] == round) return 0;
  int err = announce(to, lane, p);
  if (err) return err;
  if (!*told) *told = slots_new(to->node, sizeof **told);
  if (*told) (*told)->round[place] = round;
  return 0;
}

int origin_put(struct session *link, enum lane lane, const struct principal *p, struct msg_origin *ret_origin) {
  *ret_origin = (struct msg_origin){0};
  if (!p || (link && !origin_is_told(link))) return 0;
  int err = link ? origin_tell(link, lane, p) : 0;
  if (err) return err;
  if (link)
    ret_origin->number = p->number;
  else
    ret_origin->in_full = principal_bytes(p);
  return 0;
}

/* ---- hearing ---------------------------------------------------------------------------------------------------------------
 */
void origin_refuse(struct session *link, const char *text) {
  char id[ID_HEX_LEN + 1];
  id_hex(door_id(&link->door), id);
  if (bucket_take(&link->node->sessions.origin_lines, LINES_A_SECOND, LINES_AT_ONCE, link->node->now))
    log_warn(link->node->log, "node_bad_origin", "id=%s text=\"%s\"", id, text);
  link->end_err = MACULA_BAD_FRAME;
  session_close(link, MACULA_BAD_FRAME, text);
}

void origin_heard(struct session *link, const struct msg_announce *m) {
  struct node *n = link->node;
  struct principal_name name;
  if (m->kind != ANNOUNCE_PUBLISHER && m->kind != ANNOUNCE_CALLER) return;
  if (m->number > PRINCIPALS_LAST || principal_read(m->principal, &name)) {
    origin_refuse(link, "ANNOUNCE has no principal, or no number that can be");
    return;
  }
  struct origin_heard **heard = &link->native->origins.heard[m->kind == ANNOUNCE_PUBLISHER];
  if (!*heard && !(*heard = slots_new(n, sizeof **heard))) {
    link->native->origins.deaf = true;
    say_full(n);
    return;
  }
  uint32_t place = place_of(m->number);
  principal_unref((*heard)->p[place]);
  (*heard)->p[place] = name.kind ? get(n, &name, &link->peer->id) : NULL;
  (*heard)->slots.round[place] = round_of(m->number);
}

static bool by_number(struct session *link, enum lane lane, uint64_t number, struct principal **ret) {
  const struct origin_heard *heard = link->native->origins.heard[lane == LANE_PUBLISHES];
  uint32_t place = place_of(number);
  if (!heard && link->native->origins.deaf) return true;
  if (number > PRINCIPALS_LAST || !heard || heard->slots.round[place] != round_of(number)) {
    origin_refuse(link, "a message names its origin by a number that was not announced");
    return false;
  }
  *ret = principal_ref(heard->p[place]);
  return true;
}

bool origin_from(struct node *n, struct session *link, const struct id *node, enum lane lane, const struct msg_origin *m,
                 struct principal **ret_principal) {
  struct principal_name name;
  *ret_principal = NULL;
  if (link && m->number) return by_number(link, lane, m->number, ret_principal);
  if (m->in_full.p && !principal_read(m->in_full, &name) && name.kind) *ret_principal = get(n, &name, node);
  return true;
}

/* ---- life ------------------------------------------------------------------------------------------------------------------
 */
void origins_init(struct node *n) { principals_init(&n->sessions.principals, &n->rows.mem[ROW_ORIGINS], n->rng, &n->id); }
void origins_done(struct node *n) { principals_done(&n->sessions.principals); }

void origin_end(struct session *s) {
  struct mem *mem = &s->node->rows.mem[ROW_ORIGINS];
  for (int i = 0; s->native && i < 2; i++) {
    for (unsigned k = 0; s->native->origins.heard[i] && k < ANNOUNCE_SLOTS; k++)
      principal_unref(s->native->origins.heard[i]->p[k]);
    mem_free(mem, s->native->origins.heard[i]);
    mem_free(mem, s->native->origins.told[i]);
  }
  principal_unref(s->origin);
  s->origin = NULL;
  if (s->native) s->native->origins = (struct origins){0};
}

static uint64_t refs_of(const struct session *s) {
  uint64_t refs = s->origin != NULL;
  for (int i = 0; s->native && i < 2; i++)
    for (unsigned k = 0; s->native->origins.heard[i] && k < ANNOUNCE_SLOTS; k++)
      refs += s->native->origins.heard[i]->p[k] != NULL;
  return refs;
}

const char *origins_check(const struct node *n, uint64_t others) {
  uint64_t refs = others, counted;
  CHECK_PART(principals_check(&n->sessions.principals, &counted));
  list_for(it, &n->sessions.all) refs += refs_of(container_of(it, const struct session, all));
  CHECK(refs == counted, "origins: principals are not referred to as often as they say");
  return NULL;
}

size_t origins_owned(const struct node *n) {
  size_t sum = principals_owned(&n->sessions.principals);
  list_for(it, &n->sessions.all) {
    const struct session *s = container_of(it, const struct session, all);
    for (int i = 0; s->native && i < 2; i++)
      sum += mem_cost(s->native->origins.heard[i]) + mem_cost(s->native->origins.told[i]);
  }
  return sum;
}
