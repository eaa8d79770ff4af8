/* One client's connection: how it is let in, refused, told things, and ended. */
#include "node/session/session.h"

#include <stdio.h>

#include "base/utf8.h"
#include "node/session/lane.h"
#include "node/session/loss.h"
#include "node/session/room.h"
#include "wire/answer.h"
#include "wire/names.h"

#define LINGER (1 * NS_SEC)        /* how long a closing connection may take to deliver what is queued */
#define CONTROL_SLACK (64u * 1024) /* bytes of a queue beyond what messages may fill, for answers and control frames */
#define NOTICES_A_TURN 1000u
#define REFUSALS_A_SECOND 2.0 /* lines about clients that were refused or ended */
#define REFUSALS_AT_ONCE 20.0

/* ---- telling ---------------------------------------------------------------------------------------------------------------
 */
static int64_t way_for(const struct session *s, enum lane lane, bool answer) {
  return answer && s->at >= 0 ? s->at : s->door.way[lane];
}

size_t session_queued(const struct session *s) { return s->lanes.bytes + door_queued(&s->door, DOOR_ALL); }

/* What is delivered by a way of its own has its own limit (room.h): all else goes on beside it. */
static size_t queued_beside(const struct session *s) {
  bool own = s->door.way[LANE_PUBLISHES] != s->door.home;
  return session_queued(s) - (own ? room_deliveries(s) : 0);
}

static int write_msg(struct session *s, enum lane lane, int64_t way, const struct msg *m, size_t most) {
  struct parcel p;
  size_t queued = queued_beside(s);
  int err = parcel_encode(&p, &s->node->rows.mem[ROW_SEND], m, !queued ? SIZE_MAX : queued < most ? most - queued : 0);
  if (err) return err;
  err = lanes_write(s, lane, way, &p);
  parcel_done(&p);
  return err;
}

static size_t queue_of(const struct session *s) { return s->peer ? s->node->limits.peer_queue : s->node->limits.client_queue; }

static int send_msg(struct session *s, const struct msg *m, bool answer, size_t slack) {
  enum lane lane = lane_for(s, m);
  int64_t way = way_for(s, lane, answer);
  if (s->state == SESSION_OVER || way == -1) return MACULA_ECLOSED;
  size_t most = queue_of(s);
  if (lane == LANE_LARGE && !slack) most = most / 4 * 3; /* the rest is for small ones */
  return write_msg(s, lane, way, m, most + slack);
}

int session_send(struct session *s, const struct msg *m, bool answer) { return send_msg(s, m, answer, 0); }

int session_write(struct session *s, enum lane lane, struct parcel *p) {
  size_t queued = lane == LANE_PUBLISHES ? session_queued(s) : queued_beside(s);
  bool fits = !queued || queued + p->frame.n <= queue_of(s);
  if (!fits && (lane != LANE_PUBLISHES || room_for(s, p->frame.n) != ROOM_YES)) return MACULA_EFULL;
  return lanes_write(s, lane, s->door.way[lane], p);
}

void session_drained(struct session *s) { lanes_pump(s); }

void session_tell(struct session *s, const struct msg *m, bool answer) {
  int err = send_msg(s, m, answer, CONTROL_SLACK);
  if (err == MACULA_EFULL) session_cut(s, MACULA_SLOW_CONSUMER);
  if (err == MACULA_ENOMEM) session_cut(s, err);
}

void session_ack(struct session *s, bool has_ref, uint64_t ref, int err, const char *text) {
  s->refused += err != 0;
  if (err && s->base) session_left_out(s, err, text);
  if (!has_ref || !(s->caps & CAP_ACK)) return;
  struct msg m = answer_ack(ref, err, text);
  session_tell(s, &m, true);
}

static void tell_notice(struct session *s, int err, const char *text) {
  struct node *n = s->node;
  struct msg m = {.type = MSG_NOTICE,
                  .notice = {.code = slice_str(macula_err_name(err)),
                             .message = slice_str(text ? text : macula_err_text(err)),
                             .count = s->unnoticed}};
  s->unnoticed = 0;
  s->notice_at = time_add(n->now, NS_SEC);
  list_remove(&s->noticed);
  list_append(&n->sessions.noticed, &s->noticed);
  session_tell(s, &m, false);
  mem_free(&n->rows.mem[ROW_SESSIONS], s->unnoticed_text);
  s->unnoticed_text = NULL;
}

static void keep_notice(struct session *s, int err, const char *text) {
  struct mem *mem = &s->node->rows.mem[ROW_SESSIONS];
  s->unnoticed_err = err;
  if (text && !s->unnoticed_text) s->unnoticed_text = mem_alloc(mem, NOTICE_KEPT + 1);
  if (s->unnoticed_text) snprintf(s->unnoticed_text, NOTICE_KEPT + 1, "%s", text ? text : macula_err_text(err));
}

static void tell_rest(struct session *s) {
  if (s->unnoticed) tell_notice(s, s->unnoticed_err, s->unnoticed_text);
}

void session_notice(struct session *s, int err, const char *text) {
  s->refused++;
  if (!(s->caps & CAP_NOTICE)) return;
  s->unnoticed++;
  if (list_empty(&s->noticed))
    tell_notice(s, err, text);
  else
    keep_notice(s, err, text);
}

nanotime notices_deadline(const struct node *n) {
  const struct list *first = n->sessions.noticed.next;
  return first == &n->sessions.noticed ? TIME_NEVER : container_of(first, const struct session, noticed)->notice_at;
}

void notices_tick(struct node *n) {
  for (unsigned i = 0; i < NOTICES_A_TURN && notices_deadline(n) <= n->now; i++) {
    struct session *s = container_of(n->sessions.noticed.next, struct session, noticed);
    list_remove(&s->noticed);
    tell_rest(s);
    bool lost = s->untold;
    loss_say(s);
    if (!lost || !list_empty(&s->noticed) || s->state != SESSION_IN) continue;
    s->notice_at = time_add(n->now, NS_SEC); /* no more before */
    list_append(&n->sessions.noticed, &s->noticed);
  }
}

void session_ack_partly(struct session *s, uint64_t ref, int err, const char *text, const struct msg_partly *partly) {
  if (!(s->caps & CAP_ACK)) return;
  s->refused += err != 0;
  struct msg m = answer_ack(ref, err, text);
  m.ack.partly = *partly;
  session_tell(s, &m, true);
}

void session_error(struct session *s, struct slice call_id, int err, const char *text) {
  s->refused++;
  struct msg m = answer_error(call_id, err, text, !s->base);
  session_tell(s, &m, true);
}

/* ---- refusals --------------------------------------------------------------------------------------------------------------
 */
/* These log lines have a budget of their own, so that a flood of refusals neither floods the log nor uses up the budget of
 * other lines. */
void session_say_ended(struct node *n, const char *event, const struct addr *from, const struct id *id, int err,
                       struct slice text) {
  char at[ADDR_TEXT_LEN], who[ID_HEX_LEN + 1] = "none";
  if (!err || err == MACULA_SHUTTING_DOWN || err == MACULA_REPLACED || err == MACULA_DUPLICATE) return;
  if (!bucket_take(&n->sessions.refusals, REFUSALS_A_SECOND, REFUSALS_AT_ONCE, n->now)) {
    n->sessions.refusals_left_out++;
    return;
  }
  addr_text(from, at);
  if (id) id_hex(id, who);
  log_warn(n->log, event, "address=%s id=%s code=%s text=\"%.*s\" left_out=%llu", at, who, macula_err_name(err), (int)text.n,
           (const char *)text.p, (unsigned long long)n->sessions.refusals_left_out);
  n->sessions.refusals_left_out = 0;
}

void session_refused(struct node *n, const struct addr *from, const struct id *id, int err, struct slice text) {
  n->stats.refused[-err < 128 ? -err : 0]++;
  session_say_ended(n, "client_refused", from, id, err, text);
}

void session_say_lost(const struct session *s, uint64_t publishes) {
  struct node *n = s->node;
  char at[ADDR_TEXT_LEN], who[ID_HEX_LEN + 1] = "none";
  if (!publishes) return;
  n->stats.publishes_lost += publishes;
  if (!s->door.conn) return; /* the node itself ends */
  if (!bucket_take(&n->sessions.refusals, REFUSALS_A_SECOND, REFUSALS_AT_ONCE, n->now)) {
    n->sessions.refusals_left_out++;
    return;
  }
  addr_text(door_remote(&s->door), at);
  if (door_id(&s->door)) id_hex(door_id(&s->door), who);
  log_warn(n->log, "publishes_lost",
           "name=\"%s\" address=%s id=%s count=%llu left_out=%llu text=\"its connection ended while it was held\"",
           s->name ? s->name : "", at, who, (unsigned long long)publishes, (unsigned long long)n->sessions.refusals_left_out);
  n->sessions.refusals_left_out = 0;
}

void session_left_out(struct session *s, int err, const char *text) {
  s->node->stats.left_out[-err < 128 ? -err : 0]++;
  if (s->said_left_out) return;
  s->said_left_out = true;
  session_say_ended(s->node, "frame_left_out", door_remote(&s->door), door_id(&s->door), err,
                    slice_str(text ? text : macula_err_text(err)));
}

/* Logs that the node ended a client's session; for links other lines are logged. */
static void say_closed(const struct session *s, int err, const char *text) {
  if (s->peer || s->dialled) return;
  session_say_ended(s->node, s->state <= SESSION_JUDGING ? "client_refused" : "client_ended", door_remote(&s->door),
                    door_id(&s->door), err, slice_str(text));
}

/* ---- ends ------------------------------------------------------------------------------------------------------------------
 */
void session_drop_will(struct session *s) {
  shbuf_unref(s->will);
  s->will = NULL;
}

/* Whether who ends so leaves a will: not who said goodbye or goes on with another connection, and not who has no right to be
 * here. */
static bool leaves_will(int err) {
  switch (err) {
  case 0:
  case MACULA_REPLACED:
  case MACULA_SHUTTING_DOWN:
  case MACULA_NOT_AUTHORIZED:
  case MACULA_FORBIDDEN:
  case MACULA_PASS_INVALID:
  case MACULA_PASS_EXPIRED:
  case MACULA_PASS_REVOKED:
  case MACULA_CERTIFICATE_EXPIRED:
    return false;
  default:
    return true;
  }
}

static void doom(struct session *s, int err) {
  struct node *n = s->node;
  if (!leaves_will(err)) session_drop_will(s);
  s->end_reason = err ? macula_err_name(err) : "goodbye";
  if (err) n->stats.refused[-err < 128 ? -err : 0]++;
  s->ended_by_us = err && err != MACULA_REPLACED && err != MACULA_DUPLICATE && !door_silent(&s->door);
  s->goodbye = err != MACULA_REPLACED;
  s->state = SESSION_OVER;
  list_remove(&s->fresh);
  list_remove(&s->leaving.all);
  list_remove(&s->judged.all);
  if (!s->ended && list_empty(&s->doomed)) list_append(&n->sessions.doomed, &s->doomed);
}

void session_close(struct session *s, int err, const char *text) {
  if (s->state == SESSION_OVER) return;
  tell_rest(s);
  loss_say(s);
  if (s->state == SESSION_OVER) return; /* that did not fit any more */
  /* So that DISCONNECT goes behind everything that is queued; to one that waits for its verdict, where CONNECT came. */
  enum lane last = lanes_last(s);
  int64_t way = s->state == SESSION_JUDGING && s->at < 0 ? s->judged.way : way_for(s, last, true);
  text = text ? text : err ? macula_err_text(err) : "goodbye";
  log_debug(s->node->log, "client_closed", "conn=%llu code=%s", (unsigned long long)s->serial, macula_err_name(err));
  say_closed(s, err, text);
  bool normal = !err || err == MACULA_SHUTTING_DOWN;
  struct msg m = {.type = MSG_DISCONNECT,
                  .disconnect = {.reason = slice_str(normal                  ? "normal"
                                                     : err == MACULA_TIMEOUT ? "timeout"
                                                                             : "error"),
                                 .message = slice_str(text)}};
  if (err) m.disconnect.code = slice_str(macula_err_name(err));
  if (way >= 0)
    (void)write_msg(s, last, way, &m, SIZE_MAX);
  else
    lanes_clear(s);
  door_more(&s->door, s->lanes.bytes > 0);
  door_close(&s->door, err, text, time_add(s->node->now, LINGER));
  doom(s, err);
}

void session_cut(struct session *s, int err) {
  if (s->state == SESSION_OVER) return;
  if (err == MACULA_SLOW_CONSUMER) s->node->stats.slow_consumers++;
  log_debug(s->node->log, "client_cut", "conn=%llu code=%s queued=%zu", (unsigned long long)s->serial, macula_err_name(err),
            session_queued(s));
  say_closed(s, err, macula_err_text(err));
  lanes_clear(s);
  door_close(&s->door, err, macula_err_text(err), 0);
  doom(s, err);
}

void session_unlist(struct session *s) {
  s->state = SESSION_OVER;
  loss_say(s);
  list_remove(&s->fresh);
  list_remove(&s->judged.all);
  list_remove(&s->doomed);
  list_remove(&s->paused);
  list_remove(&s->leaving.all);
  list_remove(&s->waits);
  if (s->native) list_remove(&s->native->watch);
  list_remove(&s->noticed);
}

void session_free(struct session *s) {
  struct node *n = s->node;
  session_unlist(s);
  lanes_clear(s);
  list_remove(&s->all);
  n->sessions.count--;
  session_drop_will(s);
  mem_free(&n->rows.mem[ROW_SESSIONS], s->name);
  mem_free(&n->rows.mem[ROW_SESSIONS], s->unnoticed_text);
  mem_free(&n->rows.mem[ROW_SESSIONS], s->own);
  mem_free(&n->rows.mem[ROW_SESSIONS], s->lanes.lane);
  mem_free(&n->rows.mem[ROW_SESSIONS], s->rights.proof);
  mem_free(&n->rows.mem[ROW_SESSIONS], s);
}

/* ---- arrival ---------------------------------------------------------------------------------------------------------------
 */
struct session *session_new(struct node *n, bool native) {
  struct {
    struct session s;
    struct native native;
  } *both = mem_calloc(&n->rows.mem[ROW_SESSIONS], 1, native ? sizeof *both : sizeof both->s);
  if (!both) return NULL;
  struct session *s = &both->s;
  if (native) {
    s->native = &both->native;
    s->native->session = s;
    list_init(&s->native->watch);
  }
  s->node = n;
  s->at = s->door.home = s->judged.way = -1;
  for (int i = 0; i < LANES; i++) s->door.way[i] = -1;
  s->since = n->now;
  s->window.size = STREAM_WINDOW;
  s->rights.round = n->trust.round;
  lanes_init(&s->lanes);
  list_init(&s->judged.all);
  list_init(&s->fresh);
  list_init(&s->doomed);
  list_init(&s->paused);
  list_init(&s->leaving.all);
  list_init(&s->waits);
  list_init(&s->noticed);
  list_init(&s->streams);
  list_init(&s->replays);
  list_init(&s->group_copies);
  list_init(&s->of_groups);
  inflight_party_init(&s->unacked, s);
  gets_party_init(&s->gets, s);
  list_append(&n->sessions.all, &s->all);
  n->sessions.count++;
  n->stats.sessions++;
  return s;
}

struct session *session_open(struct node *n, const struct door *door) {
  struct session *s = NULL;
  struct door d = *door;
  int err = n->draining                                                                     ? MACULA_SHUTTING_DOWN
            : !door_id(&d) && !n->allow_unverified && !n->trust.access && !d.ops->anonymous ? MACULA_NOT_AUTHORIZED
            : !(s = session_new(n, !d.ops->messages_only))                                  ? MACULA_ENOMEM
                                                                                            : 0;
  d.ops->owner(&d, s);
  if (err) {
    const char *text =
        err == MACULA_NOT_AUTHORIZED ? "clients without a certificate are not let in here" : macula_err_text(err);
    session_refused(n, door_remote(&d), door_id(&d), err, slice_str(text));
    door_close(&d, err, text, 0);
    return NULL;
  }
  s->door = d;
  s->serial = d.serial;
  list_append(&n->sessions.fresh, &s->fresh);
  return s;
}

void session_proved(const struct session *s, struct token_session *ret) {
  const struct node *n = s->node;
  static const struct id none;
  const struct id *peer = door_id(&s->door) ? door_id(&s->door) : &none;
  const uint8_t *exporter = door_exporter(&s->door);
  *ret = (struct token_session){.client = s->dialled ? n->id : *peer, .node = s->dialled ? *peer : n->id};
  if (exporter) memcpy(ret->exporter, exporter, sizeof ret->exporter);
}

int session_check(const struct session *s, const struct msg_connect *m, char why[NAME_WHY_LEN], const char **ret_text) {
  const struct node *n = s->node;
  const struct id *peer = door_id(&s->door);
  char realm[NAME_MAX_LEN + 1];
  size_t len;
  *ret_text = NULL;
  if (n->draining) return MACULA_SHUTTING_DOWN;
  if (name_realm(m->realm_id, realm, &len)) {
    *ret_text = name_why(MACULA_INVALID_REALM, NAME_REALM, m->realm_id, why);
    return MACULA_INVALID_REALM;
  }
  if (!slice_is(slice_of(realm, len), n->realm)) return MACULA_REALM_MISMATCH;
  if (peer && !slice_eq(m->node_id, slice_of(peer->b, ID_LEN))) {
    *ret_text = "node_id in CONNECT is not the id of the certificate's key";
    return MACULA_IDENTITY_MISMATCH;
  }
  if (peer && node_wall_ms(n) / 1000 >= door_id_end(&s->door)) return MACULA_CERTIFICATE_EXPIRED;
  return 0;
}

/* Names the client: by its proven id, else by the id that it claims, a mere label; and by its instance, else by its
 * connection's number. */
static void name_client(struct session *s, const struct msg_connect *m) {
  const struct id *peer = door_id(&s->door);
  s->client.verified = peer != NULL;
  if (peer)
    s->client.id = *peer;
  else if (m->node_id.n)
    memcpy(s->client.id.b, m->node_id.p, m->node_id.n < ID_LEN ? m->node_id.n : ID_LEN);
  if (!s->base && m->instance.n == INSTANCE_LEN)
    memcpy(s->client.instance, m->instance.p, INSTANCE_LEN);
  else
    memcpy(s->client.instance, &s->serial, sizeof s->serial);
  s->client.session = s->serial;
  s->client.user = s;
}

void session_own_ways(struct session *s) {
  if (!door_has_ways(&s->door)) s->caps &= ~(uint32_t)CAP_STREAMS;
  if (!(s->caps & CAP_STREAMS)) return;
  s->door.way[LANE_PUBLISHES] = DOOR_TO_OPEN;
  if (!s->peer) return;
  s->door.way[LANE_CALLS] = s->door.way[LANE_LARGE] = DOOR_TO_OPEN;
  door_grant_ways(&s->door, LINK_WAYS - 1);
}

static void welcome(struct session *s, struct slice proof) {
  struct node *n = s->node;
  uint64_t ms = node_wall_ms(n);
  struct msg pong = {.type = MSG_PONG, .pong = {.timestamp = ms, .server_time = ms}};
  if (!s->base) {
    pong.pong.has_caps = true;
    pong.pong.caps = s->caps;
    pong.pong.node_id = slice_of(n->id.b, ID_LEN);
    if (n->name[0]) pong.pong.name = slice_str(n->name);
    pong.pong.proof = proof;
    if (n->trust.pass.n) pong.pong.pass = n->trust.pass;
  } else {
    door_keep_alive(&s->door, n->keep_alive);
  }
  session_tell(s, &pong, true);
}

int session_place(struct session *s, const struct msg_connect *m, struct session **ret_replaced) {
  struct clients_entry *replaced = NULL;
  s->base = !(m->caps & CAP_EXTENSIONS);
  name_client(s, m);
  topic_subscriber_init(&s->topics, s->serial, s);
  if (s->native) rpc_party_init(&s->native->rpc, s->serial, &s->client.id, s);
  int err = clients_add(&s->node->sessions.clients, &s->client, (m->caps & CAP_OPERATOR) && s->trusted, &replaced);
  *ret_replaced = replaced ? replaced->user : NULL;
  return err;
}

void session_admit(struct session *s, const struct msg_connect *m, struct slice proof) {
  struct node *n = s->node;
  char name[NAME_KEPT + 1];
  size_t len = utf8_label(m->name, name, NAME_KEPT);
  if (len) s->name = mem_dup(&n->rows.mem[ROW_SESSIONS], name, len);
  s->caps = m->caps;
  if (!s->client.op) s->caps &= ~(uint32_t)CAP_OPERATOR;
  if (!(s->caps & CAP_ORIGIN)) s->caps &= ~(uint32_t)CAP_TOPICS;
  if (!(s->caps & CAP_HEADERS)) s->caps &= ~(uint32_t)CAP_GROUPS;
  s->state = SESSION_IN;
  door_home(&s->door, s->at);
  session_own_ways(s);
  s->since = n->now;
  s->window.since = n->now;
  list_remove(&s->fresh);
  door_admit(&s->door);
  n->stats.admitted++;
  welcome(s, proof);
}

/* ---- the verdict on CONNECT ----------------------------------------------------------------------------------------------
 */
void session_judge(struct session *s, const struct msg_connect *m) {
  s->state = SESSION_JUDGING;
  s->judged.connect = m;
  list_append(&s->node->sessions.judged, &s->judged.all);
}

/* Searches from the latest session on, as it is mostly that one. */
struct session *session_judged(struct node *n, uint64_t serial) {
  for (struct list *it = n->sessions.judged.prev; it != &n->sessions.judged; it = it->prev) {
    struct session *s = container_of(it, struct session, judged.all);
    if (s->serial == serial) return s;
  }
  return NULL;
}

struct slice session_user(const struct session *s) {
  struct slice user, password;
  if (!s->rights.by_user || !s->door.ops->login(&s->door, &user, &password)) return SLICE_NONE;
  return user;
}

const char *session_protocol(const struct session *s) {
  const char *of_door = door_view(&s->door).protocol;
  return of_door ? of_door : s->base ? "base" : "native";
}

/* ---- watching --------------------------------------------------------------------------------------------------------------
 */
void session_watch(struct session *s) {
  if (s->watched || s->state != SESSION_IN || !s->native) return;
  s->watched = true;
  list_append(&s->node->sessions.watched, &s->native->watch);
  door_watch(&s->door, true);
}

bool session_shed(struct session *s) {
  if (s->state == SESSION_IN && door_shed(&s->door, MACULA_SLOW_CONSUMER, macula_err_text(MACULA_SLOW_CONSUMER))) {
    s->node->stats.slow_consumers++;
    return true;
  }
  session_cut(s, MACULA_SLOW_CONSUMER);
  return false;
}

/* When the send pool stays full, lets those go whose peers have stopped reading; else no publisher could ever go on. */
void sessions_shed(struct node *n) {
  if (list_empty(&n->sessions.paused) || n->mesh.starting || time_since(n->now, n->sessions.paused_at) < SWEEP_EVERY) return;
  size_t enough = SEND_POOL(n) / 8, freed = 0;
  list_for_safe(it, &n->sessions.all) {
    struct session *s = container_of(it, struct session, all);
    size_t queued = s->state == SESSION_IN ? session_queued(s) : 0;
    if (queued < SMALL_FRAME || time_since(n->now, door_progress(&s->door, DOOR_ALL)) < SWEEP_EVERY) continue;
    n->stats.sheds++;
    (void)session_shed(s);
    if ((freed += queued) >= enough) break;
  }
}
