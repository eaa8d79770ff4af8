#include "node/session/parcel.h"

#include "base/err.h"
#include "node/session/lane.h"
#include "node/session/loss.h"
#include "node/session/origin.h"
#include "node/session/room.h"
#include "node/session/session.h"
#include "node/session/topics.h"
#include "wire/frame.h"
#include "wire/headers.h"
#include "wire/names.h"

/* ---- frames ----------------------------------------------------------------------------------------------------------------
 */
/* The buffer for a frame of len bytes: the parcel's own if it is small, else one that all receivers share. NULL: no memory. */
static uint8_t *place(struct parcel *p, struct mem *mem, size_t len) {
  p->mem = mem;
  p->waits = false;
  p->expires = TIME_NEVER;
  p->by = NULL;
  p->shared = len > SMALL_FRAME ? shbuf_new(mem, len) : NULL;
  if (len > SMALL_FRAME && !p->shared) return NULL;
  uint8_t *at = p->shared ? p->shared->data : p->small;
  p->frame = slice_of(at, len);
  return at;
}

int parcel_encode(struct parcel *p, struct mem *mem, const struct msg *m, size_t most) {
  ptrdiff_t len = msg_encode(m, p->small, sizeof p->small); /* most frames are small, and this is all there is to do */
  size_t size = len >= 0 ? (size_t)len : len == MACULA_EINVAL ? msg_size(m) : 0;
  if (!size) return (int)len;
  if (size > most) return MACULA_EFULL;
  uint8_t *at = place(p, mem, size);
  if (!at) return MACULA_ENOMEM;
  if (len < 0) len = msg_encode(m, at, size);
  p->qos = m->type == MSG_PUBLISH ? (uint8_t)m->publish.qos : 0;
  p->retain = m->type == MSG_PUBLISH && m->publish.retain;
  if (len < 0) parcel_done(p);
  return len < 0 ? (int)len : 0;
}

int parcel_raw(struct parcel *p, struct mem *mem, uint8_t type, struct slice payload) {
  if (payload.n > FRAME_MAX_PAYLOAD) return MACULA_FRAME_TOO_LARGE;
  uint8_t *at = place(p, mem, FRAME_HEADER_LEN + payload.n);
  if (!at) return MACULA_ENOMEM;
  frame_header(at, type, (uint32_t)payload.n);
  if (payload.n) memcpy(at + FRAME_HEADER_LEN, payload.p, payload.n);
  p->qos = 0;
  p->retain = false;
  return 0;
}

void parcel_of(struct parcel *p, struct shbuf *frame) {
  p->shared = shbuf_ref(frame);
  p->waits = false;
  p->expires = TIME_NEVER;
  p->frame = shbuf_view(frame);
  p->by = NULL;
  p->qos = 0;
  p->retain = false;
}

void parcel_done(struct parcel *p) { shbuf_unref(p->shared); }

struct shbuf *parcel_share(struct parcel *p) {
  if (!p->shared) p->shared = shbuf_dup(p->mem, p->frame);
  return p->shared;
}

/* ---- messages --------------------------------------------------------------------------------------------------------------
 */
void fanout_init(struct fanout *f, struct node *n, const struct msg_publish *m, const struct principal *by) {
  f->n = n;
  f->m = m;
  f->by = by;
  f->own = 0;
  f->number = m->payload.n < SMALL_FRAME ? m->topic_number : 0;
  f->topic = m->topic;
  f->has_id = false;
  uint64_t ms = m->expires_ms < EXPIRES_MOST ? m->expires_ms : EXPIRES_MOST;
  f->expires = ms ? time_add(n->now, ms * NS_MS) : TIME_NEVER;
  memset(f->made, 0, sizeof f->made);
}

struct slice fanout_id(struct fanout *f) {
  if (f->m->message_id.p) return f->m->message_id;
  if (!f->has_id) (void)serial_next(&f->n->messages.made, f->id);
  f->has_id = true;
  return slice_of(f->id, sizeof f->id);
}

/* link: for other nodes, which are told the spelling; else for clients. */
static int make(struct fanout *f, unsigned at, bool link) {
  enum form form = at % FORMS;
  struct msg m = {.type = MSG_PUBLISH, .publish = *f->m};
  char topic[NAME_MAX_LEN];
  m.publish.brief = form >= FORM_SHORT;
  m.publish.own = form == FORM_OWN;
  m.publish.wait = false; /* between its publisher and the publisher's node */
  m.publish.topic_number = form == FORM_NUMBER ? f->number : 0;
  m.publish.origin = (struct msg_origin){.number = f->by && (m.publish.brief || form == FORM_BY) ? f->by->number : 0};
  if (!m.publish.brief) m.publish.message_id = fanout_id(f);
  if (!link) m.publish.slashes = 0;
  if (at < FORMS) m.publish.headers = m.publish.groups = (struct msg_list){0};
  if (at < FORMS) m.publish.exactly_once = false;
  m.publish.expires_ms = at < FORMS || f->expires == TIME_NEVER ? 0 : parcel_ms_left(f->expires, f->n->now);
  if (form == FORM_SLASHES) {
    memcpy(topic, f->m->topic.p, f->m->topic.n);
    name_respell(topic, f->m->topic.n, f->m->slashes);
    m.publish.topic = slice_of(topic, f->m->topic.n);
  }
  int err = parcel_encode(&f->form[at], &f->n->rows.mem[ROW_SEND], &m, SIZE_MAX);
  if (err) return err == MACULA_ENOMEM ? err : MACULA_PAYLOAD_TOO_LARGE;
  if (m.publish.origin.number) f->form[at].by = f->by;
  f->form[at].expires = f->expires;
  f->made[at] = true;
  return 0;
}

uint64_t parcel_ms_left(nanotime expires, nanotime now) {
  uint64_t left = time_since(expires, now) / NS_MS;
  return left ? left : 1;
}

static bool is_rich(const struct fanout *f) {
  return f->m->headers.count || f->m->groups.count || f->m->exactly_once || f->expires != TIME_NEVER;
}

static enum form form_for(const struct fanout *f, struct session *to) {
  if (topics_are_told(to)) {
    if (to->serial == f->own) return FORM_OWN;
    return f->number && topics_named(to, f->number, f->topic) ? FORM_NUMBER : FORM_SHORT;
  }
  if (to->slashes && f->m->slashes) return FORM_SLASHES;
  return f->by && origin_is_told(to) ? FORM_BY : FORM_PLAIN;
}

int fanout_for(struct fanout *f, struct session *to, struct parcel **ret) {
  enum form form = form_for(f, to);
  unsigned rich = is_rich(f) && to->caps & CAP_HEADERS ? FORMS : 0, at = rich + form;
  bool link = to->peer != NULL;
  if (f->made[at] && f->form[at].frame.n > SHARED_FRAME) (void)parcel_share(&f->form[at]); /* else it is copied again */
  int err = f->made[at] ? 0 : make(f, at, link);
  if (err && form != FORM_PLAIN && form != FORM_OWN) { /* the largest are sent, even if no room is left for a number */
    at = rich + FORM_PLAIN;
    err = f->made[at] ? 0 : make(f, at, link);
  }
  if (!err) *ret = &f->form[at];
  return err;
}

void fanout_done(struct fanout *f) {
  for (int i = 0; i < 2 * FORMS; i++)
    if (f->made[i]) parcel_done(&f->form[i]);
}

bool fanout_has_form(const struct fanout *f) {
  for (int i = 0; i < 2 * FORMS; i++)
    if (f->made[i]) return true;
  return false;
}

/* The plain form is the message: what else is wanted in later turns is made from it. */
bool fanout_keep(struct fanout *f, struct fanout *ret) {
  struct msg m;
  unsigned plain = is_rich(f) ? FORMS + FORM_PLAIN : FORM_PLAIN;
  if (!f->made[plain] && make(f, plain, false)) return false;
  *ret = *f;
  for (int i = 0; i < 2 * FORMS; i++)
    if (f->made[i] && f->form[i].frame.p == f->form[i].small) ret->form[i].frame.p = ret->form[i].small;
  if (msg_decode(MSG_PUBLISH, parcel_payload(&ret->form[plain]), &m)) return false;
  ret->kept = m.publish;
  ret->kept.slashes = f->m->slashes;
  if (f->has_id) ret->kept.message_id = SLICE_NONE;
  ret->m = &ret->kept;
  ret->topic = ret->kept.topic;
  ret->by = principal_ref((struct principal *)f->by);
  return true;
}

void fanout_kept_done(struct fanout *f) {
  principal_unref((struct principal *)f->by);
  fanout_done(f);
}

bool parcel_fits(struct session *s, const struct parcel *p) { return room_for(s, p->frame.n) == ROOM_YES; }

int parcel_write(struct session *s, struct parcel *p) {
  room_note(s, session_queued(s));
  int err = p->by ? origin_tell(s, LANE_PUBLISHES, p->by) : 0;
  return err ? err : lanes_write(s, LANE_PUBLISHES, s->door.way[LANE_PUBLISHES], p);
}

/* Its door may have a queue for what is overdue. */
static bool makes_room(struct session *s, const struct parcel *p) {
  if (!s->door.ops->overdue) return false;
  s->set_aside = true;
  return s->door.ops->overdue(&s->door) && parcel_fits(s, p);
}

bool parcel_deliver(struct node *n, struct session *s, struct parcel *p) {
  int err = MACULA_EFULL;
  if (p && (parcel_fits(s, p) || (p->qos && makes_room(s, p)))) err = parcel_write(s, p);
  if (err == MACULA_EFULL || err == MACULA_ENOMEM) {
    loss_note(s);
    return false;
  }
  n->stats.delivered += !err;
  return true;
}
