/* From bytes of streams to frames, and the credit that senders get for them.
 *
 * Every byte received is given back as credit (door_resume) when its frame has been handled. Until then credit is withheld
 * for
 *   an unfinished frame, unless room for its whole length could be reserved;
 *   what a session has sent whose account has no tokens left, or has had its share of the turn (trust/account.h);
 *   what a paused publisher has sent already. A publisher is paused while the node-wide pool of send queues is nearly full,
 *   and while the node is starting (mesh/start.h). Only PUBLISH waits, and what follows it on its stream, but PING, REPLY and
 *   CANCEL are handled meanwhile;
 *   likewise a publish that waits for a reader (messages/hold.h);
 *   a publish for which there is no time in this turn, or while another one is being delivered (messages/deliver.h);
 *   any frame for which there is no time, behind FRAMES_AT_ONCE that came with it: behind one lost packet a whole window;
 *   a CONNECT whose verdict comes later, and whatever follows it on any stream.
 * A stream here is a way of the door (doors/door.h). It gets a record the first time that some of its bytes must be held; a
 * one-way stream has one from its first byte to its end. Of such a stream only its own credit is withheld: the connection's is
 * given back on receipt, so that what else the peer sends never waits behind a publish.
 *
 * A goodbye takes effect when all that was sent before it is read, after GOODBYE_TIMEOUT at the latest. */
#include "node/receive.h"

#include "base/check.h"
#include "base/err.h"
#include "node/dispatch.h"
#include "node/messages/deliver.h"
#include "node/messages/gather.h"
#include "node/messages/hold.h"
#include "node/session/session.h"
#include "node/trust/account.h"
#include "wire/frame.h"

#define MAX_WINDOW (1024u * 1024)     /* the window of the CONNECT way grows up to this with use */
#define BASE_MAX_PAYLOAD (16u << 20)  /* the original's limit: larger ones end the connection */
#define PARTIAL_TIMEOUT (60 * NS_SEC) /* an unfinished frame */
#define GOODBYE_TIMEOUT (5 * NS_SEC)
#define FRAMES_AT_ONCE 64u      /* that are handled in any case; a datagram has fewer */
#define LOOK 16u                /* of further ones, between two looks at the time */
#define SIGN_AFTER (2 * NS_SEC) /* a held publisher that got no credit for so long gets some, as a sign of life: so much, */
#define SIGN (ONE_WAY_WINDOW / 2 + 1) /* as less is not told, */
#define SIGNS_MOST (256u << 10)       /* up to so much, which is kept back later */

struct stash {
  uint8_t *p;
  size_t at, len, cap; /* what is before `at` has been read */
  size_t ahead;        /* up to here it was searched for frames that do not wait */
  bool calls;          /* among what was searched there is a CALL: its CANCEL must not overtake it */
};

struct stream {
  struct list of_session;
  struct list partial; /* node.partials; in no list: the stream has no unfinished frame */
  struct session *s;
  int64_t id;
  struct framer framer;
  nanotime since;    /* of the unfinished frame */
  uint32_t reserved; /* this stream's part of node.receive.reserved: for that frame, also while it waits in the stash */
  bool fin, one_way;
  struct window window;    /* one_way */
  nanotime credited;       /* likewise: when it was last given credit, */
  uint32_t signs;          /* and how much of it was for nothing: this part of node.receive.window_more */
  size_t withheld;         /* credit not given back */
  struct stash stash;      /* received bytes that are not parsed yet */
  struct stash being_read; /* what was the stash, while its frames are handled */
};

static size_t put_aside_bytes(const struct stream *st) { return st->stash.len - st->stash.at; }

/* Bytes whose credit is withheld. For a frame with a reservation it was given back as its bytes came. */
static size_t to_withhold(const struct stream *st) {
  if (st->stash.p) return put_aside_bytes(st) - st->reserved;
  return st->reserved ? 0 : framer_held(&st->framer);
}

/* The way by which frames of this stream are answered. */
static int64_t back_way(const struct stream *st) { return st->one_way ? st->s->door.home : st->id; }

/* What reservations may take, and likewise windows beyond the first ones: so all windows and reservations fit into
 * receive_pool. */
static size_t half_left(const struct node *n) {
  const struct node_limits *l = &n->limits;
  size_t each = ONE_WAY_WINDOW + sizeof(struct stream), clients = (size_t)l->max_clients + l->max_operators;
  size_t first = each * (clients + (size_t)limits_links(l) * LINK_WAYS), pool = l->receive_pool;
  return (pool - first > pool / 4 && first < pool ? pool - first : pool / 4) / 2;
}

static bool pool_above(const struct node *n, size_t sixteenths) {
  return n->rows.mem[ROW_SEND].bytes > SEND_POOL(n) / 16 * sixteenths;
}

static struct stream *find(const struct session *s, int64_t id) {
  list_for(it, &s->streams) {
    struct stream *st = container_of(it, struct stream, of_session);
    if (st->id == id) return st;
  }
  return NULL;
}

/* ---- an unfinished frame ---------------------------------------------------------------------------------------------------
 */
static void partial_end(struct stream *st) {
  list_remove(&st->partial);
  st->s->node->receive.reserved -= st->reserved;
  st->reserved = 0;
}

static void partial_reserve(struct stream *st) {
  struct node *n = st->s->node;
  uint32_t need = st->framer.need;
  if (!need || st->reserved || n->receive.reserved + need > half_left(n)) return;
  st->reserved = need;
  n->receive.reserved += need;
}

/* ---- stash -----------------------------------------------------------------------------------------------------------------
 */
static int stash_add(struct stream *st, struct slice data) {
  struct mem *m = &st->s->node->rows.mem[ROW_RECEIVE];
  struct stash *h = &st->stash;
  if (!data.n) return 0;
  if (h->at > h->cap / 2) {
    memmove(h->p, h->p + h->at, h->len - h->at);
    h->len -= h->at;
    h->ahead -= h->ahead < h->at ? h->ahead : h->at;
    h->at = 0;
  }
  if (h->len + data.n > h->cap) { /* no more than a fourth beyond what is needed: windows are planned for */
    size_t cap = (h->len + data.n + 4095) / 4096 * 4096;
    if (cap < h->cap + h->cap / 4) cap = h->cap + h->cap / 4;
    uint8_t *p = mem_realloc(m, h->p, cap);
    if (!p) return MACULA_ENOMEM;
    h->p = p;
    h->cap = cap;
  }
  memcpy(h->p + h->len, data.p, data.n);
  h->len += data.n;
  return 0;
}

/* A frame that waits, and what follows it. When it comes from the stash, that is kept as it is: many frames may wait, and only
 * a few be handled at a time. */
static int put_aside(struct stream *st, const struct frame *f, struct slice rest) {
  const uint8_t *from = f->payload.p - FRAME_HEADER_LEN;
  struct stash *old = &st->being_read;
  int err = 0;
  if (old->p && from >= old->p && from < old->p + old->len) {
    st->stash = *old;
    st->stash.at = (size_t)(from - old->p);
    *old = (struct stash){0};
  } else {
    err = stash_add(st, slice_of(from, f->payload.n + FRAME_HEADER_LEN));
    if (!err) err = stash_add(st, rest);
  }
  framer_done(&st->framer);
  return err;
}

static bool clients_wait(const struct node *n) { return n->mesh.starting || pool_above(n, 15); }

static bool is_publish(const struct session *s, const struct frame *f) {
  return f->type == MSG_PUBLISH || (s->peer && f->type == MSG_PUBSUB_ROUTE);
}

static int hold_back(struct stream *st, const struct frame *f, struct slice rest) {
  struct node *n = st->s->node;
  bool publish = is_publish(st->s, f), full = publish && !st->s->peer && clients_wait(n);
  list_remove(&st->partial);
  if (st->s->state == SESSION_IN && list_empty(&st->s->paused) && !st->s->held) {
    if (full && list_empty(&n->sessions.paused)) n->sessions.paused_at = n->now;
    enum later which = !publish ? LATER_OTHERS : st->s->peer ? LATER_LINKS : LATER_CLIENTS;
    list_append(full ? &n->sessions.paused : &n->receive.later[which], &st->s->paused);
    *(full ? &n->stats.pauses : &n->stats.put_off) += 1;
  }
  return put_aside(st, f, rest);
}

/* ---- frames ----------------------------------------------------------------------------------------------------------------
 */
/* Whether the frame must wait. Frames of other nodes never wait for the pool. What a node sends on further streams may come
 * before its PONG. */
static bool must_wait(const struct session *s, const struct frame *f) {
  if (s->state == SESSION_JUDGING) return !s->judged.given;
  if (s->state == SESSION_DIALLING) return s->at != s->door.home;
  if (s->state != SESSION_IN || !is_publish(s, f)) return false;
  return (!s->peer && clients_wait(s->node)) || (!deliver_is_awaited(s) && deliver_waits(s->node));
}

/* The original's clients do not come back when their connection ends: what they send in vain is left out. */
static bool leave_out(struct stream *st, struct slice *in) {
  struct session *s = st->s;
  if (s->state != SESSION_IN || !s->base || !framer_skip(&st->framer, in, BASE_MAX_PAYLOAD)) return false;
  if (!list_empty(&st->partial)) partial_end(st);
  session_left_out(s, MACULA_FRAME_TOO_LARGE, NULL);
  return true;
}

static int next_frame(struct stream *st, struct slice *in, struct frame *ret) {
  for (;;) {
    int r = framer_next(&st->framer, in, ret);
    if (r != MACULA_FRAME_TOO_LARGE || !leave_out(st, in)) return r;
  }
}

/* Whether the peer may send this frame on this stream. A client's one-way stream is for publishes (and for what announces
 * them), and comes after PONG. */
static bool belongs(const struct stream *st, const struct frame *f) {
  struct session *s = st->s;
  if (!st->one_way || s->peer || s->dialled) return true;
  if (s->state == SESSION_IN && (s->caps & CAP_STREAMS) && (f->type == MSG_PUBLISH || f->type == MSG_ANNOUNCE)) return true;
  session_close(s, s->state == SESSION_IN ? MACULA_BAD_FRAME : MACULA_CONNECT_REQUIRED,
                "a unidirectional stream is for publishes, after a PONG that says `streams`");
  return false;
}

/* handled: frames of those that came with it. */
static bool takes_long(const struct session *s, uint32_t handled) {
  return s->state == SESSION_IN && handled >= FRAMES_AT_ONCE && handled % LOOK == 0 && node_spent(s->node);
}

static void resume_others(struct session *s, const struct stream *but);

static int read_frames(struct stream *st, struct slice in) {
  struct session *s = st->s;
  struct node *n = s->node;
  struct frame f;
  uint32_t k = 0;
  int r = 0;
  while (s->state != SESSION_OVER && (r = next_frame(st, &in, &f)) > 0) {
    bool dialling = s->state == SESSION_DIALLING;
    if (!belongs(st, &f)) return 0;
    s->at = dialling ? st->id : back_way(st);
    if (must_wait(s, &f) || takes_long(s, k++)) return hold_back(st, &f, in);
    if (account_holds_back(s, &f)) {
      list_remove(&st->partial);
      return (r = account_wait(s)) != 0 ? r : put_aside(st, &f, in);
    }
    dispatch_frame(s, &f);
    if (s->holds) {
      s->holds = false;
      account_unpaid(s, &f);
      return hold_back(st, &f, in);
    }
    if (dialling && s->state == SESSION_IN) resume_others(s, st);
    if (s->state == SESSION_JUDGING) { /* the CONNECT is kept, and read again when the verdict is there */
      s->judged.way = st->id;
      return hold_back(st, &f, in);
    }
    partial_end(st);
    n->stats.frames++;
  }
  s->at = back_way(st);
  return r < 0 ? r : 0;
}

/* ---- frames that do not wait behind a held one -----------------------------------------------------------------------------
 */
static bool waits_for_none(const struct stash *h, uint8_t type) {
  return type == MSG_PING || type == MSG_REPLY || (type == MSG_CANCEL && !h->calls);
}

static void leave(struct session *s);

/* Handles those that have come since the last time, and takes them out of the stash. */
static void read_ahead(struct stream *st) {
  struct session *s = st->s;
  struct stash *h = &st->stash;
  if (!h->p || s->state != SESSION_IN || s->peer || st->one_way) return;
  size_t from = h->ahead > h->at ? h->ahead : h->at, to = from;
  while (s->state == SESSION_IN) {
    struct framer fr;
    struct frame f;
    struct slice in = slice_of(h->p + from, h->len - from);
    framer_init(&fr, NULL, s->node->limits.max_frame);
    if (in.n < FRAME_HEADER_LEN || in.n < FRAME_HEADER_LEN + frame_payload_len(in.p) || framer_next(&fr, &in, &f) <= 0) break;
    size_t n = FRAME_HEADER_LEN + f.payload.n;
    h->calls |= f.type == MSG_CALL;
    if (f.type == MSG_DISCONNECT) leave(s);
    if (waits_for_none(h, f.type)) {
      s->at = st->id;
      dispatch_frame(s, &f);
      s->node->stats.frames++;
    } else {
      if (to < from) memmove(h->p + to, h->p + from, n);
      to += n;
    }
    from += n;
  }
  if (to < from) memmove(h->p + to, h->p + from, h->len - from);
  h->len -= from - to;
  h->ahead = to;
}

/* ---- windows ---------------------------------------------------------------------------------------------------------------
 */
static void grow_window(struct session *s, struct window *w, int64_t way, size_t consumed) {
  struct node *n = s->node;
  w->used += (uint32_t)consumed;
  if (w->used < w->size) return;
  /* ngtcp2 holds data that arrives out of order, up to the window, in connection_pool. So all windows granted beyond the
   * initial ones must fit into half of that pool, and one window into half of what a connection may hold. */
  size_t pool = n->limits.connection_pool, left = half_left(n), all = pool / 2 < left ? pool / 2 : left;
  if (w->size < MAX_WINDOW && w->size <= pool / 32 && time_since(n->now, w->since) <= NS_SEC &&
      n->receive.window_more + w->size <= all) {
    door_resume(&s->door, way, w->size);
    n->receive.window_more += w->size;
    w->size *= 2;
  }
  w->used = 0;
  w->since = n->now;
}

/* n bytes of the stream were handled. */
static void give_credit(struct stream *st, size_t n) {
  struct session *s = st->s;
  uint32_t back = st->signs < n ? st->signs : (uint32_t)n;
  st->signs -= back;
  s->node->receive.window_more -= back;
  st->credited = s->node->now;
  if (st->one_way)
    door_credit(&s->door, st->id, n - back);
  else
    door_resume(&s->door, st->id, n);
  if (st->one_way && !st->fin)
    grow_window(s, &st->window, st->id, n);
  else if (st->id == s->door.home && s->state == SESSION_IN)
    grow_window(s, &s->window, st->id, n);
}

/* While more than three quarters of the receive pool are used, closes the session with the oldest unfinished frame, if that is
 * at least a second old. */
static void make_room(struct node *n) {
  if (n->rows.mem[ROW_RECEIVE].bytes <= n->limits.receive_pool / 4 * 3) return;
  struct stream *oldest = container_of(n->receive.partials.next, struct stream, partial);
  if (time_since(n->now, oldest->since) >= NS_SEC)
    session_close(oldest->s, MACULA_ENOMEM, "the node's memory for unfinished frames is used up");
}

/* Called after frames were read: brings credit, the unfinished frame's time and the stream's record up to date with the bytes
 * that are still held. before: bytes whose credit was withheld so far. */
static void account(struct stream *st, size_t before) {
  struct session *s = st->s;
  struct node *n = s->node;
  size_t held = framer_held(&st->framer);
  if (held && list_empty(&st->partial)) {
    st->since = n->now;
    list_append(&n->receive.partials, &st->partial);
    make_room(n);
  }
  if (held) partial_reserve(st);
  st->withheld = to_withhold(st);
  if (before > st->withheld) give_credit(st, before - st->withheld);
}

static void stream_free(struct stream *st) {
  struct node *n = st->s->node;
  partial_end(st);
  framer_done(&st->framer);
  if (st->one_way) n->receive.window_more -= st->window.size - ONE_WAY_WINDOW + st->signs;
  mem_free(&n->rows.mem[ROW_RECEIVE], st->stash.p);
  list_remove(&st->of_session);
  mem_free(&n->rows.mem[ROW_RECEIVE], st);
}

/* ---- goodbye ---------------------------------------------------------------------------------------------------------------
 */
static bool is_read_out(const struct session *s) {
  list_for(it, &s->streams) if (container_of(it, struct stream, of_session)->stash.p) return false;
  const struct native *n = s->native;
  return !n || (n->ways.ended >= n->ways.seen && n->ways.ended >= n->ways.last);
}

/* From now on the session has so much time. */
static void leave(struct session *s) {
  if (s->state != SESSION_IN || s->leaving.until) return;
  s->leaving.until = time_add(s->node->now, GOODBYE_TIMEOUT);
  list_append(&s->node->sessions.leaving, &s->leaving.all);
}

void receive_goodbye(struct session *s, uint64_t ways) {
  if (s->native && s->native->ways.last < ways) s->native->ways.last = ways;
  if (s->state == SESSION_IN && !s->peer && !is_read_out(s))
    leave(s);
  else
    session_close(s, 0, NULL);
}

nanotime receive_deadline(const struct node *n) {
  const struct list *l = &n->sessions.leaving;
  return list_empty(l) ? TIME_NEVER : container_of(l->next, const struct session, leaving.all)->leaving.until;
}

void receive_tick(struct node *n) {
  while (receive_deadline(n) <= n->now)
    session_close(container_of(n->sessions.leaving.next, struct session, leaving.all), MACULA_TIMEOUT,
                  "what was published before the goodbye could not be read within 5 s");
}

static uint64_t publishes_in(const struct stream *st) {
  uint64_t publishes = 0;
  for (size_t at = st->stash.at; at + FRAME_HEADER_LEN <= st->stash.len;) {
    const uint8_t *header = st->stash.p + at;
    publishes += header[1] == MSG_PUBLISH;
    at += FRAME_HEADER_LEN + (size_t)frame_payload_len(header);
  }
  return publishes;
}

/* The peer has ended this stream, and it is read. The end of the CONNECT stream is the client's goodbye. */
static void finish(struct session *s, int64_t id, bool one_way) {
  if (one_way) {
    s->native->ways.ended++;
    if (s->leaving.until && is_read_out(s)) session_close(s, 0, NULL);
  } else if (id == s->door.home) {
    receive_goodbye(s, 0);
  } else {
    door_finish(&s->door, id);
  }
}

/* The stream may be freed by this. */
static void settle(struct stream *st) {
  struct session *s = st->s;
  s->at = -1;
  if (!st->fin || st->stash.p || s->state == SESSION_OVER) return;
  int64_t id = st->id;
  bool one_way = st->one_way, cut = one_way && framer_held(&st->framer);
  if (cut) session_close(s, MACULA_BAD_FRAME, "a stream ended within a frame");
  if (one_way) stream_free(st);
  finish(s, id, one_way);
}

/* ---- bytes -----------------------------------------------------------------------------------------------------------------
 */
static void work(struct stream *st, struct slice data, size_t before) {
  struct session *s = st->s;
  int err = st->stash.p ? stash_add(st, data) : read_frames(st, data);
  if (err) session_close(s, err, NULL);
  read_ahead(st);
  account(st, before);
}

static struct stream *keep(struct session *s, const struct stream *as) {
  struct stream *st = mem_alloc(&s->node->rows.mem[ROW_RECEIVE], sizeof *st);
  if (!st) return NULL;
  *st = *as;
  list_init(&st->partial);
  list_init(&st->of_session);
  list_append(&s->streams, &st->of_session);
  return st;
}

static struct stream *keep_one_way(struct session *s, int64_t id) {
  struct stream as = {.s = s, .id = id, .one_way = true, .window = {ONE_WAY_WINDOW, 0, s->node->now}, .credited = s->node->now};
  framer_init(&as.framer, &s->node->rows.mem[ROW_RECEIVE], s->node->limits.max_frame);
  s->native->ways.seen++;
  struct stream *st = keep(s, &as);
  if (!st) session_close(s, MACULA_ENOMEM, NULL);
  return st;
}

void receive_data(struct session *s, int64_t id, struct slice data, bool fin) {
  struct stream *st = s->state == SESSION_OVER || list_empty(&s->streams) ? NULL : find(s, id);
  bool one_way = door_is_one_way(&s->door, id);
  if (s->state != SESSION_OVER && !st && one_way) st = keep_one_way(s, id);
  if (s->state == SESSION_OVER) {
    door_resume(&s->door, id, data.n);
    return;
  }
  if (one_way) door_credit(&s->door, DOOR_ALL, data.n);
  if (st) {
    st->fin |= fin;
    work(st, data, st->withheld + data.n);
    settle(st);
    return;
  }
  /* Most often whole frames come and no bytes are left to hold: then no record is made. */
  struct stream tmp = {.s = s, .id = id, .fin = fin};
  list_init(&tmp.of_session);
  list_init(&tmp.partial);
  framer_init(&tmp.framer, &s->node->rows.mem[ROW_RECEIVE], s->node->limits.max_frame);
  int err = read_frames(&tmp, data);
  if (!err && s->state != SESSION_OVER && (framer_held(&tmp.framer) || tmp.framer.skip || tmp.stash.p)) {
    if ((st = keep(s, &tmp)) != NULL) {
      read_ahead(st);
      account(st, data.n);
      s->at = -1;
      return;
    }
    err = MACULA_ENOMEM;
  }
  if (err) session_close(s, err, NULL);
  framer_done(&tmp.framer);
  mem_free(&s->node->rows.mem[ROW_RECEIVE], tmp.stash.p);
  give_credit(&tmp, data.n);
  if (fin && s->state != SESSION_OVER) finish(s, id, false);
  s->at = -1;
}

static bool is_of_lane(const struct session *s, int64_t id) {
  for (int i = 0; i < LANES; i++)
    if (s->door.way[i] == id) return true;
  return false;
}

/* One that was read to its end, or is going to be, is closed all the same. A client that resets its stream, or refuses ours,
 * ends: what was on it is gone, and neither side could say which. */
static void one_way_closed(struct session *s, int64_t id) {
  struct stream *st = find(s, id);
  bool ours = s->door.ops->is_ours(&s->door, id);
  if (!ours) s->native->ways.closed++;
  if (st ? st->fin : ours ? !is_of_lane(s, id) : s->native->ways.closed <= s->native->ways.seen) return;
  if (st) stream_free(st);
  if (!ours && !st) s->native->ways.seen++;
  s->native->ways.ended += !ours;
  if (s->state == SESSION_IN && (ours || !s->peer))
    session_close(s, MACULA_BAD_FRAME, "a unidirectional stream was reset or refused");
}

void receive_closed(struct session *s, int64_t id) {
  if (door_is_one_way(&s->door, id)) {
    one_way_closed(s, id);
    return;
  }
  struct stream *st = find(s, id);
  if (st) stream_free(st);
  if (id != s->door.home && s->state == SESSION_IN && account_owes(s, 1)) {
    door_hold(&s->door, true);
    if (account_wait(s)) session_close(s, MACULA_ENOMEM, NULL);
  }
  if (id == s->door.home && s->state == SESSION_IN) {
    door_home(&s->door, -1); /* the way of CONNECT is gone, so that no goodbye can be written */
    session_close(s, 0, NULL);
  }
  /* the client has reset the stream of its CONNECT: it gives up */
  if (s->state == SESSION_JUDGING && id == s->judged.way) session_close(s, 0, NULL);
}

void receive_end(struct session *s) {
  uint64_t lost = 0;
  list_for_safe(it, &s->streams) {
    struct stream *st = container_of(it, struct stream, of_session);
    lost += publishes_in(st);
    stream_free(st);
  }
  session_say_lost(s, lost);
  s->node->receive.window_more -= s->window.size - STREAM_WINDOW;
  s->window.size = STREAM_WINDOW;
}

/* ---- pool and time ---------------------------------------------------------------------------------------------------------
 */
static void resume_stream(struct stream *st) {
  struct mem *m = &st->s->node->rows.mem[ROW_RECEIVE];
  struct slice data = slice_of(st->stash.p + st->stash.at, put_aside_bytes(st));
  st->being_read = st->stash;
  st->stash = (struct stash){0};
  work(st, data, st->withheld);
  mem_free(m, st->being_read.p);
  st->being_read = (struct stash){0};
  settle(st);
}

static void resume_others(struct session *s, const struct stream *but) {
  list_for_safe(it, &s->streams) {
    struct stream *st = container_of(it, struct stream, of_session);
    if (st != but && st->stash.p) resume_stream(st);
  }
}

static void resume_session(struct session *s) {
  door_hold(&s->door, false);
  resume_others(s, NULL);
}

void receive_judged(struct session *s) {
  struct stream *st = find(s, s->judged.way);
  if (st && st->stash.p) resume_stream(st);
  resume_session(s);
}

void receive_resume(struct node *n) {
  if (list_empty(&n->sessions.paused) || n->mesh.starting || pool_above(n, 14)) return;
  struct list *waiting = &n->receive.mark;
  list_insert(&n->sessions.paused, waiting);
  while (n->sessions.paused.next != waiting && !pool_above(n, 14)) {
    struct session *s = container_of(n->sessions.paused.next, struct session, paused);
    list_remove(&s->paused);
    resume_session(s);
  }
  list_remove(waiting);
}

/* Who waits for a confirmation gives up when it has heard nothing for a while, credit included. */
static void sign_of_life(struct session *s) {
  struct node *n = s->node;
  list_for(it, &s->streams) {
    struct stream *st = container_of(it, struct stream, of_session);
    if (!st->one_way || !st->stash.p || st->fin || time_since(n->now, st->credited) < SIGN_AFTER) continue;
    if (st->signs + SIGN > SIGNS_MOST || n->receive.window_more + SIGN > half_left(n)) continue;
    st->credited = n->now;
    st->signs += SIGN;
    n->receive.window_more += SIGN;
    door_credit(&s->door, st->id, SIGN);
  }
}

static void signs_of_life(struct node *n) {
  if (!n->flow.held_count || n->now < n->receive.sign_at) return;
  n->receive.sign_at = time_add(n->now, NS_SEC);
  list_for(it, &n->flow.readers) {
    const struct flow_awaited *r = container_of(it, const struct flow_awaited, all);
    list_for(h, &r->holders) sign_of_life(container_of(h, const struct flow_held, of_awaited)->s);
  }
}

void receive_held(struct node *n) {
  n->flow.ready = false;
  if (!n->flow.held_count) return; /* to ask whether there is time would call for another turn */
  for (struct session *s; !(n->flow.ready = deliver_waits(n)) && (s = hold_next(n)); resume_session(s)) continue;
  n->flow.served = NULL;
  signs_of_life(n);
}

/* Those that wait for the next turn, each until it must wait again. */
static void go_on(struct node *n, struct list *later) {
  struct list *waiting = &n->receive.mark;
  list_append(later, waiting);
  while (later->next != waiting) {
    struct session *s = container_of(later->next, struct session, paused);
    if (deliver_waits(n)) break;
    list_remove(&s->paused);
    resume_session(s);
  }
  list_remove(waiting);
}

/* The publish whose receivers were found and asked. */
static void go_on_gathered(struct node *n) {
  struct session *s = gather_ready(n);
  if (!s || node_spent(n)) return;
  list_remove(&s->paused);
  resume_session(s);
  gather_unused(n);
}

/* By turns first, so that neither keeps the others waiting. */
void receive_go_on(struct node *n) {
  go_on_gathered(n);
  bool links = n->receive.links_first;
  n->receive.links_first = !links;
  go_on(n, &n->receive.later[links]);
  go_on(n, &n->receive.later[!links]);
}

/* One in any case, and each at most once. */
void receive_others(struct node *n) {
  struct list *later = &n->receive.later[LATER_OTHERS], *waiting = &n->receive.mark;
  list_append(later, waiting);
  while (later->next != waiting) {
    struct session *s = container_of(later->next, struct session, paused);
    list_remove(&s->paused);
    resume_session(s);
    if (node_spent(n)) break;
  }
  list_remove(waiting);
}

/* The sessions of an account are read in turn, each until the account has no tokens again. */
void receive_paced(struct node *n) {
  struct list *waiting = &n->receive.mark;
  for (struct account *a; (a = account_due(n)); account_waits(n, a)) {
    list_append(&a->waiting, waiting);
    while (a->waiting.next != waiting && account_may_go_on(n, a)) {
      struct session *s = container_of(a->waiting.next, struct session, waits);
      list_remove(&s->waits);
      resume_session(s);
    }
    list_remove(waiting);
  }
}

void receive_sweep(struct node *n) {
  list_for_safe(it, &n->receive.partials) {
    struct stream *st = container_of(it, struct stream, partial);
    if (st->s->state == SESSION_OVER || st->stash.p) continue;
    if (time_since(n->now, st->since) >= PARTIAL_TIMEOUT)
      session_close(st->s, MACULA_TIMEOUT, "a frame was not finished within 60 s");
    else if (!st->reserved)
      account(st, st->withheld); /* tries again to reserve the rest of the frame */
  }
}

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
static const char *stream_check(const struct session *s, const struct stream *st) {
  const struct node *n = s->node;
  size_t held = framer_held(&st->framer);
  CHECK(st->s == s, "receive: a stream is of another session");
  CHECK(!st->stash.p == !st->stash.cap && st->stash.at <= st->stash.len && st->stash.len <= st->stash.cap &&
            st->stash.ahead <= st->stash.len && !st->being_read.p,
        "receive: more is put aside than has room");
  CHECK(!st->reserved || !list_empty(&st->partial) || st->reserved <= put_aside_bytes(st),
        "receive: what is reserved is for no frame");
  CHECK(!st->one_way || st->window.size >= ONE_WAY_WINDOW, "receive: a window is smaller than at the start");
  if (s->state == SESSION_OVER) return NULL;
  CHECK(!held == list_empty(&st->partial), "receive: an unfinished frame is not among those, or another is");
  CHECK(!st->reserved || st->stash.p || st->reserved == st->framer.need,
        "receive: more or less is reserved than the frame needs");
  CHECK(st->withheld == to_withhold(st), "receive: the credit withheld is not what is held");
  CHECK(!st->stash.p || s->held || !list_empty(&s->paused) || !list_empty(&s->waits) || s->state == SESSION_JUDGING ||
            s->state == SESSION_DIALLING,
        "receive: what is put aside waits for nothing");
  CHECK(st->since <= n->now, "receive: a frame began in the future");
  return NULL;
}

const char *receive_check(const struct node *n) {
  size_t reserved = 0, window_more = 0;
  uint32_t partials = 0;
  nanotime last = 0;
  list_for(it, &n->sessions.all) {
    const struct session *s = container_of(it, const struct session, all);
    window_more += s->window.size - STREAM_WINDOW;
    list_for(l, &s->streams) {
      const struct stream *st = container_of(l, const struct stream, of_session);
      CHECK_PART(stream_check(s, st));
      reserved += st->reserved;
      window_more += st->one_way ? st->window.size - ONE_WAY_WINDOW + st->signs : 0;
      partials += !list_empty(&st->partial);
    }
  }
  CHECK(list_has(&n->receive.partials, partials), "receive: the unfinished frames are not as many as say so");
  list_for(it, &n->receive.partials) {
    const struct stream *st = container_of(it, const struct stream, partial);
    CHECK(st->since >= last, "receive: the unfinished frames are not in order");
    last = st->since;
  }
  CHECK(reserved == n->receive.reserved, "receive: the bytes reserved are not as many as counted");
  CHECK(window_more == n->receive.window_more, "receive: the windows are not as large as counted");
  return NULL;
}

size_t receive_owned(const struct node *n) {
  size_t sum = 0;
  list_for(s, &n->sessions.all) list_for(it, &container_of(s, const struct session, all)->streams) {
    const struct stream *st = container_of(it, const struct stream, of_session);
    sum += mem_cost(st) + mem_cost(st->stash.p) + mem_cost(st->framer.buf);
  }
  return sum;
}
