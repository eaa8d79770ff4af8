/* One client's connection: how it is let in, refused, told things, and ended. */
#include "node/session/session.h"

#include "base/utf8.h"
#include "wire/answer.h"
#include "wire/names.h"

#define LINGER (1 * NS_SEC)        /* for the last words of a connection */
#define CONTROL_SLACK (64u * 1024) /* of a queue, beyond what messages may fill */
#define REFUSALS_A_SECOND 2.0      /* lines about clients that were refused or ended */
#define REFUSALS_AT_ONCE 20.0

/* ---- telling ---------------------------------------------------------------------------------------------------------------
 */
static int64_t stream_for(const struct session *s, bool answer) { return answer && s->at >= 0 ? s->at : s->stream; }

static int write_large(struct session *s, int64_t stream, const struct msg *m) {
  struct shbuf *b = shbuf_new(&s->node->rows.mem[ROW_SEND], msg_size(m));
  if (!b) return MACULA_ENOMEM;
  ptrdiff_t len = msg_encode(m, b->data, b->len);
  int err = len < 0 ? (int)len : quic_stream_write_ref(s->conn, stream, b);
  shbuf_unref(b);
  return err;
}

static int write_msg(struct session *s, int64_t stream, const struct msg *m, size_t most) {
  uint8_t buf[SMALL_FRAME];
  ptrdiff_t len = msg_encode(m, buf, sizeof buf);
  size_t queued = quic_queued(s->conn), size = len > 0 ? (size_t)len : len == MACULA_EINVAL ? msg_size(m) : 0;
  if (len < 0 && len != MACULA_EINVAL) return (int)len;
  if (queued && queued + size > most) return MACULA_EFULL;
  return len > 0 ? quic_stream_write(s->conn, stream, slice_of(buf, size)) : write_large(s, stream, m);
}

static size_t queue_of(const struct session *s) { return s->peer ? s->node->limits.peer_queue : s->node->limits.client_queue; }

int session_send(struct session *s, const struct msg *m, bool answer) {
  int64_t stream = stream_for(s, answer);
  if (s->state == SESSION_OVER || stream < 0) return MACULA_ECLOSED;
  return write_msg(s, stream, m, queue_of(s));
}

void session_tell(struct session *s, const struct msg *m, bool answer) {
  int64_t stream = stream_for(s, answer);
  if (s->state == SESSION_OVER || stream < 0) return;
  int err = write_msg(s, stream, m, queue_of(s) + CONTROL_SLACK);
  if (err == MACULA_EFULL) session_cut(s, MACULA_SLOW_CONSUMER);
  if (err == MACULA_ENOMEM) session_cut(s, err);
}

void session_ack(struct session *s, bool has_ref, uint64_t ref, int err, const char *text) {
  if (!has_ref || !(s->caps & CAP_ACK)) return;
  struct msg m = answer_ack(ref, err, text);
  session_tell(s, &m, true);
}

void session_error(struct session *s, struct slice call_id, int err, const char *text) {
  struct msg m = answer_error(call_id, err, text, !s->base);
  session_tell(s, &m, true);
}

/* ---- refusals --------------------------------------------------------------------------------------------------------------
 */
/* Lines of a budget of their own: a flood of refusals is neither a flood of lines nor what keeps others from the log. */
static void say_ended(struct node *n, const char *event, const struct addr *from, const struct id *id, int err,
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
  say_ended(n, "client_refused", from, id, err, text);
}

/* A client's end that the node wants; links have lines of their own. */
static void say_closed(const struct session *s, int err, const char *text) {
  if (s->peer || s->dialled) return;
  say_ended(s->node, s->state == SESSION_FRESH ? "client_refused" : "client_ended", quic_conn_remote(s->conn),
            quic_conn_peer_id(s->conn), err, slice_str(text));
}

/* ---- ends ------------------------------------------------------------------------------------------------------------------
 */
static void doom(struct session *s, int err) {
  struct node *n = s->node;
  if (err) n->stats.refused[-err < 128 ? -err : 0]++;
  s->state = SESSION_OVER;
  list_remove(&s->fresh);
  if (!s->ended && list_empty(&s->doomed)) list_append(&n->sessions.doomed, &s->doomed);
}

void session_close(struct session *s, int err, const char *text) {
  int64_t stream = stream_for(s, true);
  if (s->state == SESSION_OVER) return;
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
  if (stream >= 0) (void)write_msg(s, stream, &m, SIZE_MAX);
  quic_conn_close_after(s->conn, err, text, time_add(s->node->now, LINGER));
  doom(s, err);
}

void session_cut(struct session *s, int err) {
  if (s->state == SESSION_OVER) return;
  if (err == MACULA_SLOW_CONSUMER) s->node->stats.slow_consumers++;
  log_debug(s->node->log, "client_cut", "conn=%llu code=%s queued=%zu", (unsigned long long)s->serial, macula_err_name(err),
            quic_queued(s->conn));
  say_closed(s, err, macula_err_text(err));
  quic_conn_close(s->conn, err, macula_err_text(err));
  doom(s, err);
}

void session_unlist(struct session *s) {
  s->state = SESSION_OVER;
  list_remove(&s->fresh);
  list_remove(&s->doomed);
  list_remove(&s->paused);
  list_remove(&s->watch);
}

void session_free(struct session *s) {
  struct node *n = s->node;
  session_unlist(s);
  list_remove(&s->all);
  n->sessions.count--;
  mem_free(&n->rows.mem[ROW_SESSIONS], s->name);
  mem_free(&n->rows.mem[ROW_SESSIONS], s);
}

/* ---- arrival ---------------------------------------------------------------------------------------------------------------
 */
struct session *session_new(struct node *n) {
  struct session *s = mem_calloc(&n->rows.mem[ROW_SESSIONS], 1, sizeof *s);
  if (!s) return NULL;
  s->node = n;
  s->stream = s->at = -1;
  s->since = n->now;
  s->window = STREAM_WINDOW;
  list_init(&s->fresh);
  list_init(&s->doomed);
  list_init(&s->paused);
  list_init(&s->watch);
  list_init(&s->streams);
  list_init(&s->replays);
  inflight_party_init(&s->unacked, s);
  gets_party_init(&s->gets, s);
  list_append(&n->sessions.all, &s->all);
  n->sessions.count++;
  n->stats.sessions++;
  return s;
}

void session_open(struct node *n, struct quic_conn *c) {
  struct session *s = NULL;
  int err = n->draining                                     ? MACULA_SHUTTING_DOWN
            : !quic_conn_peer_id(c) && !n->allow_unverified ? MACULA_NOT_AUTHORIZED
            : !(s = session_new(n))                         ? MACULA_ENOMEM
                                                            : 0;
  quic_conn_set_user(c, s);
  if (err) {
    const char *text =
        err == MACULA_NOT_AUTHORIZED ? "clients without a certificate are not let in here" : macula_err_text(err);
    session_refused(n, quic_conn_remote(c), quic_conn_peer_id(c), err, slice_str(text));
    quic_conn_close(c, err, text);
    return;
  }
  s->conn = c;
  s->serial = quic_conn_serial(c);
  list_append(&n->sessions.fresh, &s->fresh);
}

static bool token_matches(const struct node *n, struct slice given) {
  size_t len = strlen(n->token);
  uint8_t diff = given.n != len;
  for (size_t i = 0; i < given.n && len; i++) diff |= given.p[i] ^ (uint8_t)n->token[i % len]; /* constant time */
  return !diff && len;
}

static bool is_admin(const struct session *s) {
  const struct node *n = s->node;
  const struct id *peer = quic_conn_peer_id(s->conn);
  if (addr_is_loopback(quic_conn_remote(s->conn))) return true;
  for (size_t i = 0; peer && i < n->admin_key_count; i++)
    if (id_eq(peer, &n->admin_keys[i])) return true;
  return false;
}

int session_check(const struct session *s, const struct msg_connect *m, char why[NAME_WHY_LEN], const char **ret_text) {
  const struct node *n = s->node;
  const struct id *peer = quic_conn_peer_id(s->conn);
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
  if (peer && node_wall_ms(n) / 1000 >= quic_conn_peer_expiry(s->conn)) return MACULA_CERTIFICATE_EXPIRED;
  if (n->access == NODE_ACCESS_TOKEN && !token_matches(n, m->token)) {
    *ret_text = m->token.n ? "the access token is wrong" : "an access token is needed";
    return MACULA_NOT_AUTHORIZED;
  }
  return 0;
}

/* Who the client is: its proven id, or a mere label; its instance, or else its connection. */
static void name_client(struct session *s, const struct msg_connect *m) {
  const struct id *peer = quic_conn_peer_id(s->conn);
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

static void welcome(struct session *s) {
  struct node *n = s->node;
  uint64_t ms = node_wall_ms(n);
  struct msg pong = {.type = MSG_PONG, .pong = {.timestamp = ms, .server_time = ms}};
  if (!s->base) {
    pong.pong.has_caps = true;
    pong.pong.caps = s->caps;
    pong.pong.node_id = slice_of(n->id.b, ID_LEN);
    if (n->name[0]) pong.pong.name = slice_str(n->name);
  } else {
    quic_conn_keep_alive(s->conn, n->keep_alive);
  }
  session_tell(s, &pong, true);
}

void session_admit(struct session *s, const struct msg_connect *m) {
  struct node *n = s->node;
  struct clients_entry *replaced = NULL;
  char name[NAME_KEPT + 1];
  int err;
  s->base = !(m->caps & CAP_EXTENSIONS);
  s->trusted = is_admin(s);
  name_client(s, m);
  topic_subscriber_init(&s->topics, s->serial, s);
  rpc_party_init(&s->rpc, s->serial, &s->client.id, s);
  if ((err = clients_add(&n->sessions.clients, &s->client, (m->caps & CAP_OPERATOR) && s->trusted, &replaced)) != 0) {
    session_close(s, err, NULL);
    return;
  }
  if (replaced) session_close(replaced->user, MACULA_REPLACED, NULL);
  size_t len = utf8_label(m->name, name, NAME_KEPT);
  if (len) s->name = mem_dup(&n->rows.mem[ROW_SESSIONS], name, len);
  s->caps = m->caps;
  if (!s->client.op) s->caps &= ~(uint32_t)CAP_OPERATOR;
  s->state = SESSION_IN;
  s->stream = s->at;
  s->since = n->now;
  s->window_since = n->now;
  list_remove(&s->fresh);
  quic_conn_admit(s->conn);
  n->stats.admitted++;
  welcome(s);
}

/* ---- watching --------------------------------------------------------------------------------------------------------------
 */
void session_watch(struct session *s) {
  if (s->watched || s->state != SESSION_IN) return;
  s->watched = true;
  list_append(&s->node->sessions.watched, &s->watch);
  quic_conn_watch(s->conn, true);
}

/* A pool that stays full is freed from those who have stopped reading, since else nobody could ever publish again. */
void sessions_shed(struct node *n) {
  if (list_empty(&n->sessions.paused) || time_since(n->now, n->sessions.paused_at) < SWEEP_EVERY) return;
  size_t enough = n->limits.send_pool / 8, freed = 0;
  list_for_safe(it, &n->sessions.all) {
    struct session *s = container_of(it, struct session, all);
    size_t queued = s->state == SESSION_IN ? quic_queued(s->conn) : 0;
    if (queued < SMALL_FRAME || time_since(n->now, quic_queue_progress(s->conn)) < SWEEP_EVERY) continue;
    n->stats.sheds++;
    session_cut(s, MACULA_SLOW_CONSUMER);
    if ((freed += queued) >= enough) break;
  }
}
