/* A client of HTTP: the door of its native session, how it comes, and how it ends. */
#include <assert.h>
#include <stdio.h>

#include "base/err.h"
#include "base/utf8.h"
#include "node/doors/http_state.h"
#include "node/doors/inert.h"
#include "node/receive.h"
#include "node/session/session.h"
#include "trust/crypto.h"
#include "wire/frame.h"

#define SERIALS (UINT64_C(3) << 61) /* those of QUIC and MQTT are others */

static struct http_client *of(const struct door *d) { return d->conn; }
static struct mem *mem_of(const struct http_client *c) { return node_http_mem(c->n); }

struct http_result http_failure(int err, const char *text) {
  return (struct http_result){.err = err,
                              .code = slice_str(err ? macula_err_name(err) : ""),
                              .text = slice_str(text && *text ? text : macula_err_text(err))};
}

/* ---- what the node sends ---------------------------------------------------------------------------------------------------
 */
static struct http_ask *ask_in(struct list *l) { return container_of(l, struct http_ask, all); }

static void answer(struct http_ask *a, const struct http_result *r) {
  list_remove(&a->all);
  a->client = NULL;
  a->done(a, r);
}

/* A name that this version knows, or another, which a provider has chosen. */
static int code_of(struct slice code) {
  int err = code.n ? err_from_name((const char *)code.p, code.n) : 0;
  return code.n && !err ? MACULA_HANDLER_ERROR : err;
}

static void take_ack(struct http_client *c, const struct msg_ack *m) {
  struct http_result r = {.err = code_of(m->code), .code = m->code, .text = m->message, .part = m->partly};
  if (c->stream) {
    http_stream_acked(c->stream, &r);
    return;
  }
  list_for(it, &c->asks) {
    struct http_ask *a = ask_in(it);
    if (a->kind != HTTP_PUBLISH || !a->sent || a->ref != m->ref) continue;
    answer(a, &r);
    return;
  }
}

static void take_reply(struct http_client *c, const struct msg_reply *m) {
  struct http_result r = {.result = m->result};
  if (m->is_error) {
    r = (struct http_result){
        .err = code_of(m->error.code), .code = m->error.code, .text = m->error.message, .may_have_run = m->error.may_have_run};
    if (!r.err) r.err = MACULA_HANDLER_ERROR;
  }
  list_for(it, &c->asks) {
    struct http_ask *a = ask_in(it);
    if (a->kind != HTTP_CALL || !a->sent || !slice_eq(slice_of(a->call_id, CALL_ID_LEN), m->call_id)) continue;
    answer(a, &r);
    return;
  }
}

static int take_frame(struct http_client *c, struct slice frame, struct shbuf *shared) {
  struct msg m;
  if (frame.n < FRAME_HEADER_LEN) return MACULA_EINVAL;
  uint8_t type = frame.p[1];
  if (c->stream && (type == MSG_PUBLISH || type == MSG_ANNOUNCE)) return http_stream_take(c->stream, type, frame, shared);
  if (type == MSG_PUBLISH || msg_decode(type, slice_of(frame.p + FRAME_HEADER_LEN, frame.n - FRAME_HEADER_LEN), &m)) return 0;
  if (type == MSG_ACK) take_ack(c, &m.ack);
  if (type == MSG_REPLY) take_reply(c, &m.reply);
  if (type == MSG_NOTICE && c->stream) {
    c->stream->dropped += m.notice.count;
    http_dirty(c);
  }
  if (type == MSG_PONG && !c->in) {
    c->welcome = true;
    http_dirty(c);
  }
  return 0; /* DISCONNECT comes with close */
}

/* ---- the door --------------------------------------------------------------------------------------------------------------
 * What the reader has begun to take counts as sent and acknowledged: nobody says more. */
size_t http_client_unsent(const struct http_client *c) { return c->stream && !c->stream->sheds ? c->stream->waiting_bytes : 0; }

static size_t queued_of(struct http_client *c) {
  size_t queued = http_client_unsent(c);
  if (queued < c->last_queued || (queued && !c->last_queued)) c->progress = c->n->now;
  c->last_queued = queued;
  uint64_t acked = c->written > queued ? c->written - queued : 0;
  if (acked > c->acked) c->acked = acked;
  return queued;
}

static int take(struct http_client *c, struct slice frame, struct shbuf *shared) {
  (void)queued_of(c);
  c->written += frame.n;
  int err = take_frame(c, frame, shared);
  (void)queued_of(c);
  return err;
}
static int write_copy(struct door *d, int64_t way, struct slice bytes) { return (void)way, take(of(d), bytes, NULL); }
static int write_ref(struct door *d, int64_t way, struct shbuf *b) { return (void)way, take(of(d), shbuf_view(b), b); }
/* A message with QoS 1 has no room: the reader loses what waits, the oldest of it, and is told, rather than its stream. At most
 * DOOR_UNSENT of it at a time, as it is in the midst of a message to many. */
static bool overdue(struct door *d) {
  struct http_client *c = of(d);
  if (!c->s || !c->stream || c->stream->sheds) return false;
  size_t before = c->stream->waiting_bytes + c->s->lanes.bytes;
  c->stream->sheds = true;
  if (!http_stream_shed(c->stream)) session_drained(c->s);
  c->stream->sheds = false;
  (void)queued_of(c);
  return c->s && c->stream->waiting_bytes + c->s->lanes.bytes < before;
}
/* That was not enough, or the room is needed elsewhere: it loses all of it. */
static bool shed(struct door *d, int err, const char *text) {
  bool any = false;
  (void)err, (void)text;
  while (overdue(d)) any = true;
  return any;
}
static size_t queued(const struct door *d, int64_t way) { return (void)way, queued_of(of(d)); }
static size_t unsent(const struct door *d, int64_t way) { return (void)way, http_client_unsent(of(d)); }
static nanotime progress(const struct door *d, int64_t way) {
  (void)way, (void)queued_of(of(d));
  return of(d)->progress;
}
static uint32_t written(const struct door *d) { return (uint32_t)of(d)->written; }
static bool offsets(const struct door *d, int64_t way, struct door_offsets *ret) {
  (void)way, (void)queued_of(of(d));
  *ret = (struct door_offsets){of(d)->written, of(d)->acked, of(d)->acked};
  return true;
}
static void more(struct door *d, bool on) {
  if (on) http_dirty(of(d));
}
static void resume(struct door *d, int64_t way, size_t n) {
  struct http_client *c = of(d);
  (void)way;
  bool was = c->window <= 0;
  c->window += (int64_t)n;
  if (was && c->window > 0) http_dirty(c);
}
static void close_door(struct door *d, int err, const char *text, nanotime deadline) {
  struct http_client *c = of(d);
  (void)deadline;
  if (!c) return;
  c->closed = true;
  c->err = err;
  snprintf(c->why, sizeof c->why, "%s", text ? text : "");
  http_dirty(c);
}
static void owner(struct door *d, void *session) { of(d)->s = session; }
static bool is_owner(const struct door *d, const void *session) { return of(d) && of(d)->s == session; }
static const struct addr *remote(const struct door *d) { return &of(d)->remote; }
static const struct id *id(const struct door *d) { return (void)d, NULL; }
static uint64_t id_end(const struct door *d) { return (void)d, UINT64_MAX; }
static bool login(const struct door *d, struct slice *ret_user, struct slice *ret_password) {
  const struct http_client *c = of(d);
  if (!c || !c->user) return false;
  *ret_user = slice_str(c->user);
  *ret_password = c->password ? slice_of(c->password, c->password_len) : SLICE_NONE;
  return true;
}
static bool shown(const struct door *d, struct door_shown *ret) {
  const struct http_client *c = of(d);
  if (!c) return false;
  *ret = (struct door_shown){.token = c->has_token ? c->token : NULL,
                             .vouched = c->has_vouched ? c->vouched : NULL,
                             .grant = c->grant ? slice_str(c->grant) : SLICE_NONE};
  return true;
}
static size_t held(const struct door *d, size_t *ret_peak) {
  const struct http_client *c = of(d);
  const struct http_stream *st = c->stream;
  size_t of_stream =
      st ? sizeof *st + st->waiting_bytes + (st->now ? st->now->frame->len : 0) + st->text.cap + st->tail.cap : 0;
  return *ret_peak = sizeof *c + of_stream;
}
static void pays(struct door *d, struct bucket *units) { (void)d, (void)units; }

static void view(const struct door *d, struct door_view *ret) {
  const struct http_client *c = of(d);
  *ret = (struct door_view){.door = c && c->secret ? "https" : "http", .protocol = c && c->stream ? "events" : "requests"};
  if (c && c->stream) ret->dropped = c->stream->lost;
}

static const struct door_ops ops = {.view = view,
                                    .anonymous = true,
                                    .tells_replays = true,
                                    .write = write_copy,
                                    .write_ref = write_ref,
                                    .overdue = overdue,
                                    .shed = shed,
                                    .finish = inert_finish,
                                    .queued = queued,
                                    .unsent = unsent,
                                    .progress = progress,
                                    .written = written,
                                    .offsets = offsets,
                                    .more = more,
                                    .resume = resume,
                                    .credit = resume,
                                    .home = inert_home,
                                    .close = close_door,
                                    .owner = owner,
                                    .is_owner = is_owner,
                                    .remote = remote,
                                    .is_short = inert_is_short,
                                    .id = id,
                                    .id_end = id_end,
                                    .login = login,
                                    .shown = shown,
                                    .exporter = inert_exporter,
                                    .rtt = inert_rtt,
                                    .held = held,
                                    .admit = inert_nothing,
                                    .pays = pays,
                                    .brief = inert_nothing,
                                    .shares = inert_shares,
                                    .keep_alive = inert_keep_alive,
                                    .ping = inert_nothing,
                                    .hold = inert_on_off,
                                    .watch = inert_on_off,
                                    .silent = inert_silent,
                                    .unheard = inert_unheard};

/* ---- arrival ---------------------------------------------------------------------------------------------------------------
 */
static void say_connect(struct http_client *c) {
  static const uint8_t nobody[ID_LEN];
  uint8_t instance[INSTANCE_LEN] = "http";
  memcpy(instance + 8, &c->serial, sizeof c->serial);
  struct msg m = {.type = MSG_CONNECT,
                  .connect = {.version = slice_str("1.0"),
                              .node_id = slice_of(nobody, ID_LEN),
                              .realm_id = slice_str(c->n->realm),
                              .caps = CAP_PUBSUB | CAP_RPC | CAP_ACK | CAP_NOTICE | CAP_HEADERS | (c->stream ? CAP_ORIGIN : 0),
                              .instance = slice_of(instance, INSTANCE_LEN),
                              .name = slice_str(c->name ? c->name : "")}};
  int err = http_hand_in(c, &m);
  if (err && c->s) session_close(c->s, err, NULL);
}

void http_client_key(const struct http_rooms *rooms, const struct http_login *l, uint8_t ret_key[HTTP_KEY_LEN]) {
  bool four = l->from.sa.sa_family == AF_INET;
  uint8_t which[5] = {four, l->secret, l->vouched != NULL, l->token != NULL, l->password.p != NULL};
  const struct slice parts[] = {
      slice_of(which, sizeof which),
      four ? slice_of(&l->from.v4.sin_addr, 4) : slice_of(&l->from.v6.sin6_addr, 16),
      l->vouched ? slice_of(l->vouched, PASSWORD_KEY_LEN) : SLICE_NONE,
      l->token ? slice_of(l->token, 32) : SLICE_NONE,
      l->user,
      slice_of("", 1), /* none of these names has such a byte */
      l->grant,
      slice_of("", 1),
      l->client,
      slice_of("", 1),
      l->password,
  };
  crypto_mac(rooms->secret, parts, sizeof parts / sizeof parts[0], ret_key, HTTP_KEY_LEN);
}

static bool keep(struct http_client *c, struct slice text, size_t most, char **ret) {
  char label[NAME_KEPT + ACCESS_MAX_NAME + GRANT_MAX_NAME + 1];
  assert(most < sizeof label);
  if (!text.n) return true;
  size_t n = utf8_label(text, label, most);
  return (*ret = mem_dup(mem_of(c), label, n)) != NULL;
}

static void forget_password(struct http_client *c) {
  if (c->password) crypto_wipe(c->password, c->password_len);
  mem_free(mem_of(c), c->password);
  c->password = NULL;
}

static bool keep_login(struct http_client *c, const struct http_login *l) {
  c->remote = l->from;
  c->secret = l->secret;
  if ((c->has_vouched = l->vouched)) memcpy(c->vouched, l->vouched, sizeof c->vouched);
  if ((c->has_token = l->token)) memcpy(c->token, l->token, sizeof c->token);
  if (!keep(c, l->user, ACCESS_MAX_NAME, &c->user) || !keep(c, l->grant, GRANT_MAX_NAME, &c->grant) ||
      !keep(c, l->client, NAME_KEPT, &c->name))
    return false;
  if (!l->password.p) return true;
  c->password_len = l->password.n;
  c->password = mem_dup(mem_of(c), l->password.p, l->password.n);
  return c->password != NULL;
}

struct http_client *http_client_new(struct node *n, const struct http_login *l, struct http_stream *st) {
  struct http_rooms *rooms = n->http;
  struct http_client *c = mem_calloc(node_http_mem(n), 1, sizeof *c);
  if (!c) return NULL;
  c->n = n;
  c->stream = st;
  c->refs = 1;
  c->serial = SERIALS | ++rooms->last_serial;
  c->window = STREAM_WINDOW;
  c->progress = n->now;
  list_init(&c->all);
  list_init(&c->dirty);
  list_init(&c->asks);
  if (!keep_login(c, l)) {
    http_client_free(c);
    return NULL;
  }
  http_client_key(rooms, l, c->key);
  list_append(&rooms->clients, &c->all);
  rooms->count++;
  struct door d = {.ops = &ops, .conn = c, .serial = c->serial};
  inert_home(&d, -1);
  if (session_open(n, &d)) say_connect(c);
  return c;
}

void http_client_free(struct http_client *c) {
  assert(list_empty(&c->asks));
  if (c->stream && !list_empty(&c->all)) http_stream_forget(c->stream);
  forget_password(c);
  mem_free(mem_of(c), c->user);
  mem_free(mem_of(c), c->grant);
  mem_free(mem_of(c), c->name);
  if (!list_empty(&c->all)) c->n->http->count--;
  list_remove(&c->all);
  list_remove(&c->dirty);
  mem_free(mem_of(c), c);
}

/* ---- steps -----------------------------------------------------------------------------------------------------------------
 */
static void over(struct http_client *c) {
  struct session *s = c->s;
  struct door_end end = {.err = c->err, .by_peer = c->goodbye};
  c->closed = false;
  c->over = true;
  c->in = c->welcome = false; /* what let it in may have come in the same turn */
  if (s) session_closed(s, &end);
  c->s = NULL;
  int err = c->err ? c->err : MACULA_ECLOSED;
  struct http_result r = http_failure(err, c->why);
  while (!list_empty(&c->asks)) answer(ask_in(c->asks.next), &r);
  if (c->stream) http_stream_gone(c->stream);
}

static bool is_awaited(const struct http_ask *a, enum http_kind kind) { return a->kind == kind && !a->sent; }

static void let_in(struct http_client *c) {
  struct http_result r = {0};
  c->welcome = false;
  c->in = true;
  forget_password(c);
  list_for_safe(it, &c->asks) if (is_awaited(ask_in(it), HTTP_LOGIN)) answer(ask_in(it), &r);
}

static struct http_ask *next_ask(struct http_client *c) {
  list_for(it, &c->asks) if (!ask_in(it)->sent && ask_in(it)->kind != HTTP_LOGIN) return ask_in(it);
  return NULL;
}

/* One that is handed in may be answered within that, and gone. */
static void hand_in_asks(struct http_client *c) {
  struct http_ask *a;
  while (c->s && c->s->state == SESSION_IN && c->window > 0 && (a = next_ask(c))) {
    a->sent = true;
    int err = http_hand_in(c, &a->m);
    if (!err) continue;
    struct http_result r = http_failure(err, NULL);
    answer(a, &r);
  }
}

/* Nobody has asked anything for a while, or a stream is read no more. */
static void leave(struct http_client *c) {
  if (c->refs || c->goodbye || c->over || !list_empty(&c->asks)) return;
  if (!c->stream && c->in && c->idle && time_since(c->n->now, c->idle) < HTTP_LINGER && !c->n->draining) return;
  c->goodbye = true;
  if (c->s && c->s->state != SESSION_OVER) session_close(c->s, 0, NULL);
}

void http_client_step(struct http_client *c) {
  if (c->welcome && !c->closed && c->s) let_in(c);
  hand_in_asks(c);
  leave(c);
  if (c->stream) http_stream_step(c->stream);
  if (c->s && c->s->lanes.bytes && http_client_unsent(c) < DOOR_UNSENT) {
    session_drained(c->s);
    if (c->s && c->s->lanes.bytes && !http_client_unsent(c)) http_dirty(c);
  }
  if (c->closed) over(c);
  if (c->over && !c->refs) http_client_free(c);
}
